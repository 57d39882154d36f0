/* worker.h - one worker of an executor, and the loop that thread-like backends run in it.
 *
 * Made and freed by the loop's thread. In between, the worker's own thread reads the
 * fields above the line and owns those below it.
 *
 * A worker ends when the queue stops, when it has run max_tasks_per_worker jobs, or when it
 * is broken: its state could not be made. Then it tells the loop (`broken`), before the job that
 * needed the state and before its exit, so that the lease is BROKEN when the job's end is told. */
#ifndef LP_CORE_WORKER_H
#define LP_CORE_WORKER_H

#include "base/histogram.h"
#include "base/thread.h"
#include "core/backend.h"
#include "core/executor.h"
#include "core/inbox.h"
#include "core/runner.h"
#include "core/runtime.h"

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
    lp_job_t *job;             /* the one that the runner runs; NULL: none */
    uint64_t served;           /* jobs */
    uint64_t ended_ns;         /* when the last of them ended */
    lp__call_t broken;         /* posted at most once, then the loop's, with the reason */
    char *reason;              /* why it is broken; NULL: not known */
};

/* Starts one more worker. 0, LP_ENOMEM, or the backend's code. Loop thread. */
int lp__worker_create(lp__executor_t *executor);

/* The option prestart: starts all workers of a new executor, if it is set. What cannot be
 * started now is tried again when jobs need it; the code of the failure if there is none at all.
 * Loop thread. */
int lp__worker_prestart(lp__executor_t *executor);

/* Runs jobs until the worker's end, then closes the state and posts the exit.
 * Worker thread. The worker must not be touched afterwards. */
void lp__worker_serve(lp__worker_t *worker);

/* Why the worker is broken, for the runner to say before it returns LP_EBROKEN. The text is
 * copied. Worker thread. */
void lp__worker_explain(lp__worker_t *worker, const char *reason);

/* The exit came back: joins and frees the worker, and replaces it where jobs wait. Loop thread. */
void lp__worker_ended(lp__node_t *exit);

#endif
