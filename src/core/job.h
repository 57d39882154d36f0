/* job.h - one piece of work on its way: loop -> queue -> worker -> inbox -> loop.
 *
 * A job belongs to exactly one side at a time; the hand-over is the only synchronisation. */
#ifndef LP_CORE_JOB_H
#define LP_CORE_JOB_H

#include "base/list.h"
#include "leasepool.h"

typedef enum { LP__JOB_IDLE, LP__JOB_IN_FLIGHT } lp__job_state_t;

static inline lp_job_t *lp__job_of(lp__node_t *node)
{
    return LP__CONTAINER(node, lp_job_t, priv.node);
}

/* As lp_submit, for a job that the runner runs. Without the argument and thread checks. */
int lp__job_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done);

/* A job came back: settles the lease's accounts, then calls `done`. In a turn. */
void lp__job_deliver(lp__node_t *node);

#endif
