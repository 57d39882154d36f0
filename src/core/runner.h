/* runner.h - how a worker runs a job that is not a C function.
 *
 * The core knows no Lua: the Lua library registers this table. A worker opens a state of
 * its own when the first such job arrives (with the option prestart: at once) and keeps it for
 * its life. The functions run on the worker's thread, but for `explain`. */
#ifndef LP_CORE_RUNNER_H
#define LP_CORE_RUNNER_H

#include "core/backend.h"
#include "leasepool.h"

/* Room for any worker's name: prefix, two numbers, zero. */
#define LP__WORKER_NAME_SIZE 288

typedef struct {
    const char *name; /* what a worker's state is called in errors: "Lua" */

    /* Makes a state; `data` is what was registered with the table, `name` the worker's name,
     * `worker->executor->manager->runner_data` what the manager has for its states. 0 or a
     * negative code: then the job ends with it, and the next one tries again. With LP_EBROKEN
     * the executor is broken, and the reason is told by lp__worker_explain. */
    int (*open)(void *data, lp__worker_t *worker, const char *name, void **state);

    /* Runs `job` and returns its status: 0, or a negative code whose details lie in the job.
     * LP_EBROKEN: the state cannot be kept; as for `open`. */
    int (*call)(void *state, lp_job_t *job);

    void (*close)(void *state);

    /* `job` did not run, and ends with LP_EBROKEN for this reason (NULL: none is known), which
     * is to be put into the job. On the thread that has the job: loop or worker. */
    void (*explain)(lp_job_t *job, const char *reason);
} lp__runner_t;

#endif
