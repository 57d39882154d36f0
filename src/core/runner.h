/* runner.h - how a worker runs a job that is not a C function.
 *
 * The core knows no Lua: the Lua library registers this table. A worker opens a state of
 * its own when the first such job arrives and keeps it for its life. All functions run on
 * the worker's thread. */
#ifndef LP_CORE_RUNNER_H
#define LP_CORE_RUNNER_H

#include "leasepool.h"

/* Room for any worker's name: prefix, two numbers, zero. */
#define LP__WORKER_NAME_SIZE 288

typedef struct {
    const char *name; /* what a worker's state is called in errors: "Lua" */

    /* Makes a state; `data` is what was registered with the table, `worker` the worker's
     * name. 0 or a negative code: then the job ends with it, and the next one tries again. */
    int (*open)(void *data, const char *worker, void **state);

    /* Runs `job` and returns its status: 0, or a negative code whose details lie in the job. */
    int (*call)(void *state, lp_job_t *job);

    void (*close)(void *state);
} lp__runner_t;

#endif
