/* job.c - see job.h and leasepool.h. Loop thread, but for lp_job_remaining_ns. */
#include "core/job.h"

#include "base/alloc.h"
#include "base/atomics.h"
#include "core/grinder.h"
#include "core/interrupt.h"
#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"
#include "core/worker.h"

/* Takes a queued job back and ends it with `status`; false when a worker has it. */
static bool end_queued(lp_job_t *job, int status)
{
    lp_lease_t *lease = lp__job_lease(job);
    if (!lease->executor || !lp__queue_remove(&lease->executor->queue, &job->priv.node))
        return false;
    job->priv.node.status = status;
    lp__inbox_post(lease->manager->rt->inbox, &job->priv.node);
    return true;
}

/* Takes it back, or has it stopped. False: it has just ended. */
static bool stop_job(lp_job_t *job, int why)
{
    if (lp__job_is_pending(job)) {
        lp__grinder_take_back(job, why);
        return true;
    }
    lp__executor_t *executor = lp__job_lease(job)->executor;
    if (end_queued(job, why))
        return true;
    if (!executor)
        return false;
    return (executor->backend->withdraw && executor->backend->withdraw(job, why)) ||
           lp__interrupt_job(job, why, true);
}

static void on_timeout(lp__deadline_t *deadline)
{
    stop_job(LP__CONTAINER(deadline, lp__timed_t, deadline)->job, LP_ETIMEDOUT);
}

/* Before the job is queued: a worker may read it at once. */
static int set_timeout(lp_runtime_t *rt, lp_job_t *job, uint64_t timeout_ns)
{
    lp__timed_t *timed = lp__calloc(LP_MEM_CORE, sizeof *timed);
    if (!timed)
        return LP_ENOMEM;
    timed->job = job;
    timed->at_ns = lp__clock_after(lp__clock_now_ns(&rt->clock), timeout_ns);
    job->priv.of.timed = timed;
    lp__runtime_set_deadline(rt, &timed->deadline, timed->at_ns, on_timeout);
    return 0;
}

void lp__job_clear_timeout(lp_runtime_t *rt, lp_job_t *job)
{
    if (!lp__job_is_timed(job))
        return;
    lp__runtime_clear_deadline(rt, &job->priv.of.timed->deadline);
    lp__free(job->priv.of.timed);
}

static inline void fill(lp_job_t *job, lp_work_cb work, lp_done_cb done)
{
    job->priv.work = work;
    job->priv.done = done;
    job->priv.worker = 0;
    job->priv.stop = 0;
}

int lp__job_make_pending(lp_runtime_t *rt, lp_job_t *job, lp_work_cb work, lp_done_cb done,
                         uint64_t timeout_ns)
{
    fill(job, work, done);
    int rc = timeout_ns == LP_FOREVER ? 0 : set_timeout(rt, job, timeout_ns);
    if (rc == 0)
        job->priv.state = timeout_ns == LP_FOREVER ? LP__JOB_PENDING : LP__JOB_PENDING_TIMED;
    return rc;
}

static inline void point_at_lease(lp_job_t *job, lp_lease_t *lease, bool timed)
{
    job->priv.node.kind = LP__NODE_JOB;
    if (timed)
        job->priv.of.timed->lease = lease;
    else
        job->priv.of.lease = lease;
    job->priv.state = timed ? LP__JOB_IN_FLIGHT_TIMED : LP__JOB_IN_FLIGHT;
}

static inline int queue(lp_lease_t *lease, lp_job_t *job)
{
    lp_manager_t *manager = lease->manager;
    int rc = lp__executor_submit(lease->executor, job);
    if (rc != 0)
        return rc;
    manager->jobs++;
    lease->in_flight++;
    lp__runtime_hold(manager->rt);
    return 0;
}

int lp__job_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done,
                   uint64_t timeout_ns)
{
    if (!lp__lease_is_open(lease))
        return lp__lease_closed_code(lease);
    lp_runtime_t *rt = lease->manager->rt;
    bool timed = timeout_ns != LP_FOREVER;
    fill(job, work, done);
    int rc = timed ? set_timeout(rt, job, timeout_ns) : 0;
    if (rc != 0)
        return rc;
    point_at_lease(job, lease, timed);
    rc = queue(lease, job);
    if (rc != 0) {
        lp__job_clear_timeout(rt, job);
        job->priv.state = LP__JOB_IDLE;
    }
    return rc;
}

int lp__job_start_pending(lp_lease_t *lease, lp_job_t *job)
{
    point_at_lease(job, lease, lp__job_is_timed(job));
    return queue(lease, job);
}

int lp_submit_within(lp_lease_t *lease, lp_job_t *job, uint64_t timeout_ns, lp_work_cb work,
                     lp_done_cb done)
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
    if (lease->manager->backend->processes)
        return LP_ENOTSUP;
#ifdef LP_TEST_SLOW /* a build that the instruction budgets must refuse: a tenth more */
    for (volatile int i = 0; i < 4; i++)
        continue;
#endif
    return lp__job_submit(lease, job, work, done, timeout_ns);
}

int lp_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done)
{
    return lp_submit_within(lease, job, LP_FOREVER, work, done);
}

int lp_job_cancel(lp_job_t *job)
{
    if (!job || job->priv.state == LP__JOB_IDLE || job->priv.state == LP__JOB_ENDED)
        return LP_ESTATE;
    lp_manager_t *manager =
        lp__job_is_pending(job) ? lp__job_wave(job)->grinder->manager : lp__job_lease(job)->manager;
    int rc = lp__runtime_enter(manager->rt);
    if (rc != 0)
        return rc;
    if (job->priv.state == LP__JOB_ENDED) /* its time was over */
        return LP_ESTATE;
    return stop_job(job, LP_ECANCELLED) ? 0 : LP_ESTATE;
}

int lp__job_too_late(const lp_job_t *job, uint64_t now_ns)
{
    uint64_t hard_ns = lp__load_relaxed(&lp__job_lease(job)->hard_ns);
    uint64_t at_ns = lp__job_timeout_at_ns(job);
    if (now_ns < at_ns && now_ns < hard_ns)
        return lp__job_stop_reason(job);
    return at_ns < hard_ns ? LP_ETIMEDOUT : LP_EEXPIRED;
}

/* A job that was given up has no lease any more, but its worker has. */
uint64_t lp_job_remaining_ns(const lp_job_t *job)
{
    const lp__worker_t *worker = lp__worker_self();
    if (worker)
        return lp__worker_remaining_ns(worker);
    lp_lease_t *lease = lp__job_lease(job);
    uint64_t hard_ns = lp__load_relaxed(&lease->hard_ns), at_ns = lp__job_timeout_at_ns(job);
    uint64_t now_ns = lp__clock_now_ns(&lease->manager->rt->clock);
    if (hard_ns < at_ns)
        at_ns = hard_ns;
    return at_ns > now_ns ? at_ns - now_ns : 0;
}

int lp_job_cancelled(lp_job_t *job)
{
    int why = lp__job_stop_reason(job);
    if (why != 0)
        lp__job_mark(job, LP__JOB_NOTICED);
    return why;
}

int lp_job_still_running(const lp_job_t *job)
{
    return (lp__job_marks(job) & LP__JOB_LOST) != 0;
}

/* Its end was ordered: is that how it ended? */
static bool settle_stop(lp_lease_t *lease, const lp_job_t *job, int status)
{
    lp_manager_t *manager = lease->manager;
    unsigned marks = lp__job_marks(job);
    lp__interrupt_forget_job(lease->executor, job);
    if (status != lp__job_stop_reason(job) || job->priv.worker == 0)
        return false;
    if (marks & LP__JOB_KILLED)
        manager->jobs_killed++;
    else if (!(marks & LP__JOB_LOST))
        manager->jobs_interrupted++;
    return true;
}

void lp__job_deliver(lp__node_t *node)
{
    lp_job_t *job = lp__job_of(node);
    lp_lease_t *lease = lp__job_lease(job);
    lp_manager_t *manager = lease->manager;
    lp_runtime_t *rt = manager->rt;
    int status = node->status;
    lp_done_cb done = job->priv.done;
    bool finished = job->priv.worker != 0;
    if (lp__job_marks(job) != 0 && settle_stop(lease, job, status))
        finished = false;
    lp__job_clear_timeout(rt, job);
    job->priv.state = LP__JOB_IDLE;
    job->priv.of.lease = NULL;
    if (status == LP_EBROKEN)
        lp__runtime_keep_reason(rt, lease->broken_reason);
    lp__batch_t *batch = lease->batch;
    lp__lease_job_done(lease, job, status, finished); /* the lease may be gone after this */
    if (batch)
        lp__batch_job_done(batch, job, status);
    lp__runtime_unhold(rt);
    if (done)
        done(job, status);
}
