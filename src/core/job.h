/* job.h - one piece of work on its way: loop -> queue -> worker -> inbox -> loop.
 *
 * A job belongs to exactly one side at a time; the hand-over is the only synchronisation. One
 * with a timeout has a lp__timed_t beside it, which the loop makes and frees, so that a job
 * without one is no larger for it. Before it is in flight it may be pending, in a grinder; from
 * there it may also go to the inbox at once.
 *
 *     IDLE --lp_submit--------------------> IN_FLIGHT --delivered--> IDLE
 *       +----lp_grinder_submit--> PENDING --batch--^
 *                                    +--ended--> ENDED ---delivered--> IDLE */
#ifndef LP_CORE_JOB_H
#define LP_CORE_JOB_H

#include <stdbool.h>

#include "base/list.h"
#include "leasepool.h"

typedef enum {
    LP__JOB_IDLE,
    LP__JOB_IN_FLIGHT,
    LP__JOB_IN_FLIGHT_TIMED,
    LP__JOB_PENDING,
    LP__JOB_PENDING_TIMED,
    LP__JOB_ENDED /* while it was pending; on its way to the loop */
} lp__job_state_t;

struct lp__timed_s {
    lp_lease_t *lease; /* in flight */
    lp__wave_t *wave;  /* pending */
    lp_job_t *job;
    uint64_t at_ns;
    lp__deadline_t deadline;
};

static inline lp_job_t *lp__job_of(lp__node_t *node)
{
    return LP__CONTAINER(node, lp_job_t, priv.node);
}

static inline bool lp__job_is_timed(const lp_job_t *job)
{
    return job->priv.state == LP__JOB_IN_FLIGHT_TIMED || job->priv.state == LP__JOB_PENDING_TIMED;
}

static inline bool lp__job_is_pending(const lp_job_t *job)
{
    return job->priv.state == LP__JOB_PENDING || job->priv.state == LP__JOB_PENDING_TIMED;
}

/* Of a pending job. */
static inline lp__wave_t *lp__job_wave(const lp_job_t *job)
{
    return job->priv.state == LP__JOB_PENDING_TIMED ? job->priv.of.timed->wave : job->priv.of.wave;
}

/* Of a job in flight. Loop thread, or the job's worker. */
static inline lp_lease_t *lp__job_lease(const lp_job_t *job)
{
    return job->priv.state == LP__JOB_IN_FLIGHT_TIMED ? job->priv.of.timed->lease
                                                      : job->priv.of.lease;
}

/* What `priv.stop` says: why the job is to stop, an error code without its sign and LP__JOB_BASE,
 * and what became of that. */
enum {
    LP__JOB_BASE = 20000,
    LP__JOB_WHY = 0xff,
    LP__JOB_NOTICED = 0x100, /* its work has seen the request */
    LP__JOB_LOST = 0x200,    /* it was given up: its work still runs */
    LP__JOB_KILLED = 0x400,  /* its worker was killed, which ended it */
    LP__JOB_STOPPED = 0x800  /* its runner has stopped it, and the details are in the job */
};

/* Loop thread, or the job's worker. */
static inline unsigned lp__job_marks(const lp_job_t *job)
{
    return __atomic_load_n(&job->priv.stop, __ATOMIC_RELAXED);
}

static inline void lp__job_mark(lp_job_t *job, unsigned marks)
{
    __atomic_fetch_or(&job->priv.stop, (uint16_t)marks, __ATOMIC_RELAXED);
}

static inline void lp__job_want_stop(lp_job_t *job, int why)
{
    if (lp__job_marks(job) == 0) /* the first reason stands */
        lp__job_mark(job, (unsigned)-why - LP__JOB_BASE);
}

/* Why it is to stop, an error code; 0: it is not. */
static inline int lp__job_stop_reason(const lp_job_t *job)
{
    unsigned why = lp__job_marks(job) & LP__JOB_WHY;
    return why ? -(int)(why + LP__JOB_BASE) : 0;
}

static inline bool lp__job_noticed(const lp_job_t *job)
{
    return (lp__job_marks(job) & LP__JOB_NOTICED) != 0;
}

/* When its timeout is over; LP_FOREVER: it has none. */
static inline uint64_t lp__job_timeout_at_ns(const lp_job_t *job)
{
    return job->priv.state == LP__JOB_IN_FLIGHT_TIMED ? job->priv.of.timed->at_ns : LP_FOREVER;
}

/* Must a job that was just taken not begin? Why it is to stop; LP_ETIMEDOUT or LP_EEXPIRED, when
 * its time has passed although the loop has not looked at its clock; or 0. The job's worker. */
int lp__job_too_late(const lp_job_t *job, uint64_t now_ns);

/* Makes an idle job ready to be pending, and sets its timeout. 0 or LP_ENOMEM. */
int lp__job_make_pending(lp_runtime_t *rt, lp_job_t *job, lp_work_cb work, lp_done_cb done,
                         uint64_t timeout_ns);

/* Takes back the timeout of one that will not be, or is not any more, in flight. */
void lp__job_clear_timeout(lp_runtime_t *rt, lp_job_t *job);

/* Gives a pending job, which is in no list any more, to the lease, which is open. 0, or the codes
 * of lp_submit. */
int lp__job_start_pending(lp_lease_t *lease, lp_job_t *job);

/* As lp_submit_within, for a job that the runner runs. Without the argument and thread
 * checks. */
int lp__job_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done,
                   uint64_t timeout_ns);

/* A job came back: settles the lease's accounts, then calls `done`. In a turn. */
void lp__job_deliver(lp__node_t *node);

#endif
