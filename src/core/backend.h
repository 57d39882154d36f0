/* backend.h - what a worker is, as a table of functions.
 *
 * The core never includes a backend; a host passes one to lp_manager_create. All functions
 * run on the loop's thread and must not block, but for worker_join. */
#ifndef LP_CORE_BACKEND_H
#define LP_CORE_BACKEND_H

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
};

#endif
