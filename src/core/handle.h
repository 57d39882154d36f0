/* handle.h - what other threads have of a manager or a grinder, and how they ask it something.
 *
 * The object keeps one reference to its handle, which is made when somebody asks for it, and
 * closes it before it goes, or when its runtime begins to close: from then on nothing is posted,
 * and what was posted before finds no object once that has gone. So nothing that is asked stays
 * without an answer as long as the loop is run, and the loop is not left by a runtime before its
 * inbox is empty.
 *
 * `lock` guards `open` against the post that must not be late. What is asked is a block of memory
 * with two references: one of whoever asks, one of the loop until it has answered. */
#ifndef LP_CORE_HANDLE_H
#define LP_CORE_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "base/word.h"
#include "core/inbox.h"
#include "core/runtime.h"
#include "leasepool.h"
#include "wire/message.h"

typedef enum { LP__HANDLE_OF_MANAGER, LP__HANDLE_OF_GRINDER } lp__handle_of_t;

struct lp_handle_s {
    lp__shared_t shared; /* so that a message can carry it */
    lp__handle_of_t of;
    bool processes;     /* its workers are */
    uv_thread_t thread; /* the loop's */
    lp__inbox_t *inbox; /* a reference */
    void *object;       /* loop thread; NULL: it has gone */

    uv_mutex_t lock;
    bool open; /* under lock */
};

/* One more reference to the handle at `*place`, which is made if there is none. 0, LP_ENOMEM,
 * LP_ESTATE (the runtime closes) or libuv's code. Loop thread. */
int lp__handle_get(lp_handle_t **place, lp__handle_of_t of, void *object, lp_manager_t *manager,
                   lp_handle_t **handle);

/* The object goes. NULL is allowed. Loop thread. */
void lp__handle_close(lp_handle_t *handle);

/* The handle that a message carries; NULL: it is none. Any thread. */
lp_handle_t *lp__handle_of(lp__shared_t *shared);

/* LP_EWRONGTHREAD on the loop's thread. */
int lp__handle_check_thread(const lp_handle_t *handle);

/* Hands the call to the loop; LP_ENOTSTARTED: the object has gone. Any thread. */
int lp__handle_post(lp_handle_t *handle, lp__call_t *call);

/* ---- Asking ------------------------------------------------------------------- */

typedef struct lp__ask_s lp__ask_t;
struct lp__ask_s {
    lp__call_t call;
    lp_handle_t *handle; /* a reference */
    atomic_uint refs;
    lp__word_t ended;
    int status;                     /* once it has ended */
    void (*serve)(lp__ask_t *self); /* loop thread, in a turn: answers, now or later */
    void (*free)(lp__ask_t *self);  /* the thread that drops the last reference */
};

/* Fills in all of it, with one reference, the caller's. */
void lp__ask_init(lp__ask_t *ask, lp_handle_t *handle, void (*serve)(lp__ask_t *),
                  void (*free_fn)(lp__ask_t *));
void lp__ask_release(lp__ask_t *ask); /* any thread */

/* LP_ENOTSTARTED: the object has gone. */
int lp__ask_post(lp__ask_t *ask);

/* The answer, from the loop, whose reference goes. */
void lp__ask_end(lp__ask_t *ask, int status);

/* Has it come? Any thread. */
bool lp__ask_has_ended(const lp__ask_t *ask);

/* 0: the answer is there; LP_ETIMEDOUT; or why the job of the calling worker is to stop. */
int lp__ask_wait(lp__ask_t *ask, uint64_t timeout_ns);

#endif
