/* fake.h - a backend without threads: its workers stand still until the test moves them, or run
 * on the loop's thread when they are woken. With it goes a clock that stands still. */
#ifndef SPEC_C_FAKE_H
#define SPEC_C_FAKE_H

#include "support.h"

#include "base/list.h"
#include "core/backend.h"
#include "core/job.h"
#include "core/worker.h"

static struct {
    int starts, joins, wakes, stops;
    int fail_starts; /* so many starts fail, with `fail_with` */
    int fail_with;
    bool lazy;    /* jobs stay queued until fake_take or fake_work */
    bool linger;  /* workers that may end do so in fake_leave_all */
    int overlaps; /* jobs of two leases that stood on one executor */
} fake;

/* ---- Workers ------------------------------------------------------------------ */

/* A worker keeps the job that it stands in as its `state`; one that has left has itself as
 * `runner_data`. */

static inline lp__worker_t *fake_worker(lp__list_t *link)
{
    return LP__CONTAINER(link, lp__worker_t, link);
}

static inline void fake_leave(lp__worker_t *worker)
{
    if (worker->state || worker->runner_data || !worker->executor->queue.stopping)
        return;
    worker->runner_data = worker;
    lp__inbox_post(worker->inbox, &worker->exit);
}

static inline void fake_note_overlaps(lp__executor_t *executor, lp_job_t *job)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp_job_t *other = fake_worker(at)->state;
        fake.overlaps += other && lp__job_lease(other) != lp__job_lease(job);
    }
}

/* An idle worker takes the oldest job and stands in it; NULL: no such worker, or no job. */
static inline lp_job_t *fake_take(lp__executor_t *executor)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__worker_t *worker = fake_worker(at);
        if (worker->state || worker->runner_data)
            continue;
        lp__node_t *node = lp__queue_try_take(&executor->queue, &worker->desk);
        if (!node)
            return NULL;
        lp_job_t *job = lp__job_of(node);
        fake_note_overlaps(executor, job);
        job->priv.worker = worker->index;
        lp__desk_ready(&worker->desk);
        worker->state = job;
        return job;
    }
    return NULL;
}

static inline void fake_finish_worker(lp__worker_t *worker)
{
    lp_job_t *job = worker->state;
    if (job) {
        worker->state = NULL;
        job->priv.work(job);
        (void)lp__desk_clear(&worker->desk);
        job->priv.node.status = lp__job_noticed(job) ? lp__job_stop_reason(job) : 0;
        lp__inbox_post(worker->inbox, &job->priv.node);
    }
    if (!fake.linger)
        fake_leave(worker);
}

/* The worker that stands in `job` runs it to its end. */
static inline void fake_finish(lp_job_t *job)
{
    lp__executor_t *executor = lp__job_lease(job)->executor;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        if (fake_worker(at)->state == job) {
            fake_finish_worker(fake_worker(at));
            return;
        }
    }
    fail_msg("no worker stands in the job");
}

/* Runs every queued job, as far as workers are idle. */
static inline void fake_work(lp__executor_t *executor)
{
    lp_job_t *job;
    while ((job = fake_take(executor)) != NULL)
        fake_finish(job);
}

/* Calls `each` for every worker of a manager. */
static inline void fake_each(lp_manager_t *manager, void (*each)(lp__worker_t *))
{
    for (lp__list_t *at = manager->executors.next; at != &manager->executors; at = at->next) {
        lp__executor_t *executor = LP__CONTAINER(at, lp__executor_t, all_link);
        for (lp__list_t *w = executor->workers.next; w != &executor->workers; w = w->next)
            each(fake_worker(w));
    }
}

static inline void fake_finish_all(lp_manager_t *manager)
{
    fake_each(manager, fake_finish_worker);
}

static inline void fake_leave_all(lp_manager_t *manager)
{
    fake_each(manager, fake_leave);
}

/* ---- The backend -------------------------------------------------------------- */

static inline int fake_worker_start(lp__worker_t *worker)
{
    if (fake.fail_starts > 0) {
        fake.fail_starts--;
        return fake.fail_with;
    }
    fake.starts++;
    lp__queue_always_wake(&worker->executor->queue);
    return 0;
}

static inline void fake_join(lp__worker_t *worker)
{
    worker->state = NULL;
    fake.joins++;
}

static inline void fake_wake(lp__executor_t *executor)
{
    fake.wakes++;
    if (!fake.lazy)
        fake_work(executor);
}

static inline void fake_stop(lp__executor_t *executor)
{
    fake.stops++;
    if (fake.linger)
        return;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next)
        fake_leave(fake_worker(at));
}

static const lp_backend_t fake_backend = {
    .name = "fake",
    .worker_start = fake_worker_start,
    .worker_join = fake_join,
    .wake = fake_wake,
    .stop = fake_stop,
};

/* ---- A host with it ----------------------------------------------------------- */

static inline void fake_open(host_t *host)
{
    memset(&fake, 0, sizeof fake);
    host_open(host);
    host_freeze(host);
    lp__thread_fault_arm(1); /* whoever starts a thread, fails */
}

static inline void fake_no_thread(void *arg)
{
    (void)arg;
}

static inline void fake_close(host_t *host)
{
    host_close(host);
    lp__thread_t thread;
    assert_int_equal(lp__thread_start(&thread, fake_no_thread, NULL), UV_EAGAIN); /* the first */
    assert_int_equal(fake.starts, fake.joins);
    assert_int_equal(fake.overlaps, 0);
}

static inline lp_manager_options_t fake_options(int64_t pools, int64_t workers)
{
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = pools;
    options.workers_per_pool = workers;
    return options;
}

/* Started. */
static inline lp_manager_t *fake_manager_with(host_t *host, const lp_manager_options_t *options)
{
    lp_manager_t *manager = NULL;
    assert_int_equal(lp_manager_create(&manager, host->rt, &fake_backend, options), 0);
    assert_int_equal(lp_manager_start(manager), 0);
    return manager;
}

static inline lp_manager_t *fake_manager(host_t *host, int64_t pools, int64_t workers)
{
    lp_manager_options_t options = fake_options(pools, workers);
    return fake_manager_with(host, &options);
}

/* Submits, and lets a worker stand in it. */
static inline void fake_stand(task_t *task, lp_lease_t *lease)
{
    bool lazy = fake.lazy;
    fake.lazy = true;
    memset(task, 0, sizeof *task);
    assert_int_equal(task_submit(task, lease), 0);
    fake.lazy = lazy;
    assert_ptr_equal(fake_take(lease->executor), &task->job);
}

#endif
