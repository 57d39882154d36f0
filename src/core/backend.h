/* backend.h - what a worker is, as a table of functions.
 *
 * The core never includes a backend; a host passes one to lp_manager_create. All functions
 * run on the loop's thread and must not block, but for worker_join. */
#ifndef LP_CORE_BACKEND_H
#define LP_CORE_BACKEND_H

#include <stdbool.h>

#include "base/thread.h"
#include "leasepool.h"

typedef struct lp__worker_s lp__worker_t;
typedef struct lp__executor_s lp__executor_t;

struct lp_backend_s {
    const char *name;

    /* Begins to serve worker->executor->queue, until the queue says stop; then the worker
     * posts worker->exit as its very last act. 0 or a negative code: nothing was begun. */
    int (*worker_start)(lp__worker_t *worker);

    /* After worker->exit came back: waits for the worker to be gone, which takes no longer
     * than a thread needs to return. */
    void (*worker_join)(lp__worker_t *worker);

    /* The executor's queue has work and a worker sleeps. */
    void (*wake)(lp__executor_t *executor);

    /* The executor's queue was stopped; whoever sleeps there must look. */
    void (*stop)(lp__executor_t *executor);

    /* What the worker has on its desk is to stop, which the desk says. Called again and again
     * until it has. NULL: nothing more can be done. */
    void (*interrupt)(lp__worker_t *worker);

    /* Ends a worker that cannot be interrupted, and what it runs: `by_force` or so that it may
     * tidy up. The exit comes as ever. NULL: that cannot be done. */
    void (*kill)(lp__worker_t *worker, bool by_force);

    /* Nobody will join the worker that was this thread, and may be gone by now. NULL: the backend's
     * workers can be killed, and are waited for. */
    void (*detach)(lp__thread_t thread);

    /* The lease has ended and the executor is free for the next. NULL: nothing to do. */
    void (*lease_ended)(lp__executor_t *executor);

    /* A worker's state serves one lease alone. */
    bool fresh_states;

    /* A worker is a process of its own: it has no work in C, and its manager a command. */
    bool processes;

    /* Those of a backend whose workers are given jobs ahead of their time; else NULL.
     *
     * `job` is not in the queue, and is to end because of `why`: true when a worker has it and is
     * not known to have begun it. It ends so unless it was begun; then it is interrupted. */
    bool (*withdraw)(lp_job_t *job, int why);

    /* The same for all such jobs of an executor, but those that were begun go on. How many. */
    uint64_t (*withdraw_all)(lp__executor_t *executor, int status);

    /* The lease that has the executor was renewed. NULL: nobody need be told. */
    void (*renewed)(lp__executor_t *executor);
};

#endif
