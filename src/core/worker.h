/* worker.h - one worker of an executor, and the loop that thread-like backends run in it.
 *
 * Made and freed by the loop's thread. In between, the worker's own thread reads the
 * fields above the line and owns those below it. */
#ifndef LP_CORE_WORKER_H
#define LP_CORE_WORKER_H

#include "base/histogram.h"
#include "base/thread.h"
#include "core/backend.h"
#include "core/executor.h"
#include "core/inbox.h"
#include "core/runner.h"

struct lp__worker_s {
    lp__executor_t *executor;
    lp__list_t link; /* in executor->workers; loop thread */
    uint32_t index;  /* 1, 2, ... within the executor, never reused */
    lp__inbox_t *inbox;
    const lp__runner_t *runner;
    void *runner_data;
    lp__thread_t thread; /* the backend's */
    lp__node_t exit;     /* posted when the worker is about to be gone */
    /* -- the worker's own -- */
    lp__histogram_t run_times; /* of its jobs; the loop may read it meanwhile */
    void *state;               /* the runner's; NULL until a job needs it */
};

/* Starts one more worker. 0, LP_ENOMEM, or the backend's code. Loop thread. */
int lp__worker_create(lp__executor_t *executor);

/* Runs jobs until the executor's queue stops, then closes the state and posts the exit.
 * Worker thread. The worker must not be touched afterwards. */
void lp__worker_serve(lp__worker_t *worker);

/* The exit came back. Loop thread. */
void lp__worker_ended(lp__node_t *exit);

#endif
