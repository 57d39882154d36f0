/* child.h - what the parts of the process backend (process.c, process_jobs.c, process_io.c,
 * process_end.c) share. Nobody else includes this.
 *
 * A lp__child_t is the parent's side of one worker: its process, its sockets and the jobs it was
 * sent. It is made by worker_start, and freed when the worker is joined, after the process was
 * reaped. Everything on the loop's thread; nothing waits.
 *
 *     STARTING --ready--> SERVING --end sent--> LEAVING --+
 *         |                  |                     |      +--> DYING --reaped--> GONE
 *         +------------------+---------------------+------+
 *                 channel closed, or nonsense received
 */
#ifndef LP_BACKEND_CHILD_H
#define LP_BACKEND_CHILD_H

#include <stdbool.h>
#include <uv.h>

#include "base/process.h"
#include "core/job.h"
#include "core/manager.h"
#include "core/worker.h"
#include "wire/child.h"
#include "wire/frame.h"

typedef enum {
    LP__CHILD_STARTING, /* it was sent its setup; on the desk is something that is no job */
    LP__CHILD_SERVING,
    LP__CHILD_LEAVING, /* it gets no more jobs; when it has none, the desk is as at the start */
    LP__CHILD_DYING,   /* nothing it says counts any more */
    LP__CHILD_GONE     /* worker->exit was posted */
} lp__child_stage_t;

/* A job that the child has, or had when it was withdrawn. */
typedef struct {
    lp__node_t *node;
    uint64_t id;
    int end_with; /* when it will not begin: the status it ends with; 0: back to the queue */
} lp__sent_t;

typedef struct lp__child_s lp__child_t;

enum { LP__POLL_CHANNEL, LP__POLL_CONTROL, LP__POLL_ERRORS, LP__POLL_DEATH, LP__POLL_COUNT };

/* Memory of its own: libuv lets go of handles some time after they were closed. */
typedef struct {
    uv_poll_t polls[LP__POLL_COUNT];
    int events[LP__POLL_COUNT];
    unsigned open;
    lp__child_t *child; /* NULL: it is gone */
} lp__watches_t;

struct lp__child_s {
    lp__worker_t *worker;
    lp__child_stage_t stage;
    lp__process_t process;
    lp__watches_t *watches;
    void *state; /* the runner's */
    lp__frames_t in, out, control_in, control_out;

    /* The jobs it has, the oldest first, in a ring. The first one is on the worker's desk, unless
     * the child may say yet that it will not begin it. */
    lp__sent_t sent[LP__CHILD_AHEAD];
    unsigned first, count;
    bool on_desk;
    uint64_t last_id;
    uint64_t began_ns;    /* the first one, as far as is known here */
    uint64_t job_ns;      /* how long jobs took lately; LP_FOREVER: not known */
    unsigned withdrawing; /* requests that were not answered */
    lp__deadline_t recall;

    /* What it writes to standard error, up to a line's end. */
    size_t written;
    char line[4096];

    /* Its end. */
    bool ready, leaving;     /* it has been in those stages */
    lp__deadline_t deadline; /* to leave by, or to look whether it is dead */
    uint64_t look_ns;        /* until the next look */
    uint64_t dying_ns;       /* since when */
    bool killed;             /* because of its channel, and not what it runs */
    bool kill_later;         /* as soon as it has no job but the first */
    const char *nonsense;    /* what it did wrong; NULL: nothing */
};

static inline lp__child_t *lp__child_of(const lp__worker_t *worker)
{
    return worker->child;
}

static inline lp_runtime_t *lp__child_runtime(const lp__child_t *child)
{
    return child->worker->executor->manager->rt;
}

/* ---- Jobs (process_jobs.c) ---- */

/* It is ready: serves from here on. */
void lp__child_serve(lp__child_t *child);

/* Gives it what it may have of the queue, and sends that. */
void lp__child_feed(lp__child_t *child);

/* An answer to a job. False: nonsense. */
bool lp__child_take_result(lp__child_t *child, const lp__frame_t *frame);

/* It will not begin these jobs. False: nonsense. */
bool lp__child_take_withdrawn(lp__child_t *child, uint64_t first, uint64_t last);

/* Asks for the jobs back that it has not begun. */
void lp__child_recall(lp__child_t *child);

/* It will never answer: ends the jobs that it has, the first with `status`, unless that is 0: it
 * has none, or it was given up. */
void lp__child_end_jobs(lp__child_t *child, int status);

/* Sends it away if there is nothing left to do for it. */
void lp__child_leave_if_done(lp__child_t *child);
void lp__child_leave(lp__child_t *child);

void lp__child_wake(lp__executor_t *executor);
bool lp__child_withdraw_job(lp_job_t *job, int why);
uint64_t lp__child_withdraw_all(lp__executor_t *executor, int status);
void lp__child_renewed(lp__executor_t *executor);

/* ---- Sockets (process_io.c) ---- */

/* Watches the descriptors. 0 or a negative code; then nothing is watched. */
int lp__child_watch(lp__child_t *child);
void lp__child_unwatch(lp__child_t *child);

/* Watches one of them no longer. */
void lp__child_stop_watching(lp__child_t *child, int which);

/* Sends what is in `out`, as far as the socket takes it; the rest follows. */
void lp__child_flush(lp__child_t *child);

/* Puts a frame into `control_out` and sends it. */
void lp__child_say(lp__child_t *child, uint32_t kind, uint64_t id, const void *data, size_t len);

/* Takes what is still there of a dead child. */
void lp__child_drain(lp__child_t *child);

/* ---- The end (process_end.c) ---- */

/* The channel is closed, or is as good as that because of `nonsense` (a text that lives for
 * ever). */
void lp__child_begin_dying(lp__child_t *child, const char *nonsense);

/* Has it died? Then worker->exit is posted. */
void lp__child_look(lp__child_t *child);

/* It has been told to end, and has some time for that. */
void lp__child_limit_leaving(lp__child_t *child);

void lp__child_kill(lp__worker_t *worker, bool by_force);

/* Of a child that was not even set up. */
void lp__child_discard(lp__child_t *child);

#endif
