/* native.h - the C functions that scripts run as jobs, by name.
 *
 * A native is shared, by the list of its runtime and by whatever may call it: functions in Lua
 * states, codes, and so jobs. It may outlive its runtime, which a worker may have made for itself.
 * The list is the loop's; what is in one does not change. */
#ifndef LP_CORE_NATIVE_H
#define LP_CORE_NATIVE_H

#include "base/list.h"
#include "core/runtime.h"
#include "leasepool.h"
#include "wire/call.h"

typedef struct {
    lp__shared_t shared; /* first */
    lp__list_t link;     /* in runtime->natives, which holds a reference */
    lp_native_cb fn;
    void *data;
    const char *path; /* of the library that it was loaded from; NULL: the host has registered it */
    const char *name; /* and its symbol */
    char text[];
} lp__native_t;

/* As lp_register_native, of one loaded from `path` (NULL: registered). *native is it, the list's;
 * it may be the one of that path and name that there is. */
int lp__native_add(lp_runtime_t *rt, const char *path, const char *name, lp_native_cb fn,
                   void *data, lp__native_t **native);

/* One that is loaded counts as the one of its name, unless the host has registered that. NULL:
 * there is none. Loop thread. */
lp__native_t *lp__native_find(const lp_runtime_t *rt, const char *name);

/* Makes one that is in no list, with one reference. NULL: no memory. */
lp__native_t *lp__native_new(const char *path, const char *name, lp_native_cb fn, void *data);

void lp__native_release(lp__native_t *native); /* NULL is allowed */

void lp__native_release_all(lp_runtime_t *rt);

/* Calls it, for a job of `worker`, or for none. 0, and `results` is a message; LP_EJOB, and
 * `results` is the text of the error; another code: why the results are none, or that the job has
 * seen that it is to stop. Worker thread, or any other. */
int lp__native_call(const lp__native_t *native, const lp__worker_t *worker,
                    const lp__message_t *args, lp__message_t *results);

#endif
