/* job.h - one piece of work on its way: loop -> queue -> worker -> inbox -> loop.
 *
 * A job belongs to exactly one side at a time; the hand-over is the only synchronisation. One
 * with a timeout has a lp__timed_t beside it, which the loop makes and frees, so that a job
 * without one is no larger for it. */
#ifndef LP_CORE_JOB_H
#define LP_CORE_JOB_H

#include <stdbool.h>

#include "base/list.h"
#include "leasepool.h"

typedef enum { LP__JOB_IDLE, LP__JOB_IN_FLIGHT, LP__JOB_IN_FLIGHT_TIMED } lp__job_state_t;

struct lp__timed_s {
    lp_lease_t *lease;
    lp_job_t *job;
    uint64_t at_ns;
    lp__deadline_t deadline;
};

static inline lp_job_t *lp__job_of(lp__node_t *node)
{
    return LP__CONTAINER(node, lp_job_t, priv.node);
}

/* Of a job in flight. Loop thread, or the job's worker. */
static inline lp_lease_t *lp__job_lease(const lp_job_t *job)
{
    return job->priv.state == LP__JOB_IN_FLIGHT_TIMED ? job->priv.of.timed->lease
                                                      : job->priv.of.lease;
}

/* Was its stop requested? Loop thread, or the job's worker. */
static inline bool lp__job_stop_requested(const lp_job_t *job)
{
    return __atomic_load_n(&job->priv.stop, __ATOMIC_RELAXED) != 0;
}

/* Has the time of a queued job passed, although the loop has not looked at its clock?
 * LP_ETIMEDOUT, LP_EEXPIRED, or 0. The job's worker. */
int lp__job_too_late(const lp_job_t *job, uint64_t now_ns);

/* As lp_submit_within, for a job that the runner runs. Without the argument and thread
 * checks. */
int lp__job_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done,
                   uint64_t timeout_ns);

/* A job came back: settles the lease's accounts, then calls `done`. In a turn. */
void lp__job_deliver(lp__node_t *node);

#endif
