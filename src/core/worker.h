/* worker.h - one worker of an executor, and the loop that thread-like backends run in it.
 *
 * Made and freed by the loop's thread. In between, the worker's own thread reads the
 * fields above the line and owns those below it; the desk is for both.
 *
 * A worker ends when the queue stops, when it has run max_tasks_per_worker jobs, when its state
 * is worn out, or when it is broken: its state could not be made. Then it tells the loop
 * (`broken`), before the job that needed the state and before its exit, so that the lease is
 * BROKEN when the job's end is told.
 *
 * One whose job cannot be stopped is written off: the job ends without it, and it leaves when the
 * job has returned. Should the runtime close before, nobody waits for it: it is detached, and
 * what it may still look at (its lease, manager and runtime) stays until it has gone. */
#ifndef LP_CORE_WORKER_H
#define LP_CORE_WORKER_H

#include <stdatomic.h>

#include "base/histogram.h"
#include "base/thread.h"
#include "core/backend.h"
#include "core/desk.h"
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
    lp__thread_t thread; /* the backend's, of a thread */
    void *child;         /* the same, of a process */

    /* In a child process: where its lines for the log go. NULL: to the inbox. */
    bool (*forward)(void *data, const lp__piece_t *pieces, size_t count);
    lp__node_t exit; /* posted when the worker is about to be gone */
    struct {         /* loop thread: see interrupt.h */
        lp__deadline_t deadline;
        uint64_t began_ns, pause_ns, serial;
        int why; /* 0: nothing is to stop */
        bool may_kill;
        int killed;         /* how often */
        uint64_t killed_ns; /* when first */
    } interrupt;
    bool lost;              /* it was written off; loop thread */
    lp_lease_t *lost_lease; /* of the job that was; NULL: it was no job */
    void *kept;             /* by the runner for that job; loop thread, then the worker's */
    lp__desk_t desk;
    atomic_bool unheard; /* a signal was sent that the handler has not seen; both sides write it */
    /* -- the worker's own -- */
    lp__histogram_t run_times; /* of its jobs; the loop may read it meanwhile */
    void *state;               /* the runner's; NULL until a job needs it */
    void *left_state;          /* of the lease before, to be closed after the job; NULL: none */
    uint64_t state_lease;      /* whose jobs the state has run; 0: none yet */
    const lp_lease_t *lease;   /* of the job that runs; NULL: none */
    uint64_t timeout_at_ns;    /* of that job; LP_FOREVER: it has none */
    lp__call_t tidying;        /* posted before a state is closed that no job waits for */
    _Atomic uint64_t tidying_serial; /* of that work */
    atomic_bool tidying_told;        /* `tidying` is in the inbox */
    bool worn_out;                   /* its state cannot be trusted any more: it leaves */
    uint64_t served;                 /* jobs */
    uint64_t ended_ns;               /* when the last of them ended */
    lp__call_t broken;               /* posted at most once, then the loop's, with the reason */
    bool is_broken;                  /* it was */
    char *reason;                    /* why it is broken; NULL: not known */
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

/* The name, "<prefix>-<executor>-<worker>", into LP__WORKER_NAME_SIZE bytes. Any thread. */
void lp__worker_name(const lp__worker_t *worker, char *name);

/* What the worker runs can be interrupted on the calling thread from here on, or no longer. */
void lp__worker_listen(lp__worker_t *worker, bool on);

/* Why the worker is broken, for the runner to say before it returns LP_EBROKEN. The text is
 * copied. Worker thread. */
void lp__worker_explain(lp__worker_t *worker, const char *reason);

/* The worker is broken, for the reason that was explained: its executor breaks, before what is
 * posted from here on is delivered. Once. Worker thread. */
void lp__worker_broke(lp__worker_t *worker);

/* The exit came back: joins and frees the worker, and replaces it where jobs wait. Loop thread. */
void lp__worker_ended(lp__node_t *exit);

/* Gives up the work with this number: its job ends with `why`, unless it was to stop for another
 * reason before. False when it has just finished, or the worker looks at the job. Loop thread. */
bool lp__worker_write_off(lp__worker_t *worker, uint64_t serial, int why);

/* Lets go of a worker that was written off; false when it has just come back, and its exit comes.
 * It is in no list any more, and frees itself when it comes back; what it may look at stays until
 * then, by a reference to the runtime. Loop thread. */
bool lp__worker_detach(lp__worker_t *worker);

/* The last act of a worker that closed its state: posts its exit, or frees it where nobody waits
 * for it. Worker thread. */
void lp__worker_leave(lp__worker_t *worker);

/* The worker that the calling thread is; NULL: none. Any thread. */
const lp__worker_t *lp__worker_self(void);

/* Makes the worker's thread look up from what it runs, if its desk says that this is to stop. For
 * whoever says so. */
void lp__worker_interrupt(lp__worker_t *worker);

/* How long until the job that runs is to be over: the earlier of its timeout and the hard expiry;
 * LP_FOREVER: none runs. Worker thread. */
uint64_t lp__worker_remaining_ns(const lp__worker_t *worker);

#endif
