/* runner.h - how a worker runs a job that is not a C function.
 *
 * The core knows no Lua: the Lua library registers this table. A worker opens a state of
 * its own when the first such job arrives (with the option prestart: at once) and keeps it for
 * its life, or for one lease, as the backend has it. The functions run on the worker's thread, but
 * for `explain`, `give_up` and `release`. */
#ifndef LP_CORE_RUNNER_H
#define LP_CORE_RUNNER_H

#include "core/backend.h"
#include "leasepool.h"
#include "wire/frame.h"

/* Room for any worker's name: prefix, two numbers, zero. */
#define LP__WORKER_NAME_SIZE 288

typedef struct {
    const char *name; /* what a worker's state is called in errors: "Lua" */

    /* Makes a state; `data` is what was registered with the table, `name` the worker's name,
     * `worker->executor->manager->runner_data` what the manager has for its states. 0 or a
     * negative code: then the job ends with it, and the next one tries again. With LP_EBROKEN
     * the executor is broken, and the reason is told by lp__worker_explain. When it was
     * interrupted, why. What `*state` is meanwhile, is what can be interrupted. */
    int (*open)(void *data, lp__worker_t *worker, const char *name, void **state);

    /* Takes what it needs of the job, which may be given up, and its memory gone, from here on. */
    void (*take)(void *state, lp_job_t *job);

    /* Runs it and returns its status: 0, or a negative code. LP_EBROKEN: the state cannot be kept;
     * as for `open`. */
    int (*call)(void *state);

    /* Moves the results, or the details of the failure, into the job. */
    void (*deliver)(void *state, lp_job_t *job);

    /* What runs in `state`, which may be one that is just being opened, is to stop. In a signal
     * handler. */
    void (*interrupt)(void *state);

    /* `job` ends although its worker still runs it and may read what `job` refers to: whatever
     * that is, is put into *kept, for `release` when the worker has gone. Loop thread; `release`:
     * any. */
    void (*give_up)(lp_job_t *job, void **kept);
    void (*release)(void *kept);

    void (*close)(void *state);

    /* `job` did not run, and ends with LP_EBROKEN for this reason (NULL: none is known), which
     * is to be put into the job. On the thread that has the job: loop or worker. */
    void (*explain)(lp_job_t *job, const char *reason);

    /* ---- The parent's side of a worker that is another process; all on the loop's thread ----
     *
     * Makes what is known of it here, in *state, and appends to `out` what makes its state there.
     * 0 or a negative code. */
    int (*setup)(void *data, lp__worker_t *worker, const char *name, lp__frames_t *out,
                 void **state);

    /* Appends the job, and whatever it needs that the worker has not got yet. 0 or a negative
     * code: then the job ends with it. */
    int (*pack)(void *state, lp_job_t *job, uint64_t id, lp__frames_t *out);

    /* Takes what the worker has answered, which nobody has looked at yet, into the job. 0;
     * LP_ETRANSFER: it is not what a worker may answer; LP_ENOMEM. */
    int (*unpack)(lp_job_t *job, const uint8_t *bytes, size_t len);

    /* A line for the log that the worker has sent: as `unpack`. One that it wrote to standard
     * error. */
    int (*line)(void *state, const uint8_t *bytes, size_t len);
    void (*wrote)(void *state, const char *text, size_t len);

    void (*forget)(void *state);
} lp__runner_t;

#endif
