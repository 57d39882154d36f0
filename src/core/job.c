/* job.c - see job.h and leasepool.h. Loop thread. */
#include "core/job.h"

#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"

int lp__job_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done)
{
    if (lease->state != LP_LEASE_ACTIVE)
        return LP_EEXPIRED;
    job->priv.node.kind = LP__NODE_JOB;
    job->priv.lease = lease;
    job->priv.work = work;
    job->priv.done = done;
    job->priv.worker = 0;
    int rc = lp__executor_submit(lease->executor, job);
    if (rc != 0)
        return rc;
    job->priv.state = LP__JOB_IN_FLIGHT;
    lease->in_flight++;
    lp__runtime_hold(lease->manager->rt);
    return 0;
}

int lp_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done)
{
    if (!lease)
        return LP_EINVAL;
    lp_runtime_t *rt = lease->manager->rt;
    int rc = lp__runtime_check_thread(rt);
    if (rc != 0)
        return rc;
    if (!job || !work)
        return lp__runtime_invalid(rt, "%s: got NULL, allowed: a pointer", job ? "work" : "job");
    if (job->priv.state != LP__JOB_IDLE)
        return LP_ESTATE;
    return lp__job_submit(lease, job, work, done);
}

int lp_job_cancel(lp_job_t *job)
{
    if (!job || job->priv.state != LP__JOB_IN_FLIGHT)
        return LP_ESTATE;
    lp_runtime_t *rt = job->priv.lease->manager->rt;
    int rc = lp__runtime_check_thread(rt);
    if (rc != 0)
        return rc;
    lp__executor_t *executor = job->priv.lease->executor;
    if (!executor || !lp__queue_remove(&executor->queue, &job->priv.node))
        return LP_ESTATE;
    job->priv.node.status = LP_ECANCELLED;
    lp__inbox_post(rt->inbox, &job->priv.node);
    return 0;
}

void lp__job_deliver(lp__node_t *node)
{
    lp_job_t *job = lp__job_of(node);
    lp_lease_t *lease = job->priv.lease;
    lp_runtime_t *rt = lease->manager->rt;
    int status = node->status;
    lp_done_cb done = job->priv.done;
    job->priv.state = LP__JOB_IDLE;
    job->priv.lease = NULL;
    lp__lease_job_done(lease, status); /* the lease may be gone after this */
    lp__runtime_unhold(rt);
    if (done)
        done(job, status);
}
