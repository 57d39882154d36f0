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
    int asks;          /* interrupts */
    int terms, forces; /* kills */
    void (*on_ask)(lp__worker_t *worker);
    void (*on_kill)(lp__worker_t *worker, bool by_force);
    lp__worker_t *away[256]; /* detached, and not back */
    int detached, away_count;
    int fail_starts; /* so many starts fail, with `fail_with` */
    int fail_with;
    bool lazy;    /* jobs stay queued until fake_take or fake_work */
    bool linger;  /* workers that may end close their states, until fake_leave_all */
    int overlaps; /* jobs of two leases that stood on one executor */
} fake;

/* ---- Workers ------------------------------------------------------------------ */

/* A worker keeps the job that it stands in as its `state`; one that has left has itself as
 * `runner_data`. */

static inline lp__worker_t *fake_worker(lp__list_t *link)
{
    return LP__CONTAINER(link, lp__worker_t, link);
}

static inline bool fake_is_lost(const lp__worker_t *worker)
{
    lp__desk_hold_t hold = lp__desk_hold(&worker->desk);
    return hold == LP__DESK_LOST || hold == LP__DESK_DETACHED;
}

static inline bool fake_may_leave(const lp__worker_t *worker)
{
    return !worker->state && !worker->runner_data &&
           (worker->executor->queue.stopping || fake_is_lost(worker));
}

static inline void fake_leave(lp__worker_t *worker)
{
    if (!fake_may_leave(worker))
        return;
    worker->runner_data = worker;
    lp__worker_leave(worker); /* may be gone */
}

static inline void fake_close_state(lp__worker_t *worker)
{
    if (!fake_may_leave(worker) || lp__desk_hold(&worker->desk) != LP__DESK_FREE)
        return;
    lp__desk_take(&worker->desk, NULL);
    lp__desk_ready(&worker->desk);
}

/* A job that was given up is not looked at: its memory is the caller's. */
static inline void fake_note_overlaps(lp__executor_t *executor, lp_job_t *job)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__worker_t *worker = fake_worker(at);
        const lp_lease_t *lease = worker->lost_lease;
        if (!lease && worker->state)
            lease = lp__job_lease(worker->state);
        fake.overlaps += lease && lease != lp__job_lease(job);
    }
}

/* An idle worker takes the oldest job and stands in it; NULL: no such worker, or no job. */
static inline lp_job_t *fake_take(lp__executor_t *executor)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__worker_t *worker = fake_worker(at);
        if (worker->state || worker->runner_data || lp__desk_hold(&worker->desk) != LP__DESK_FREE)
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
    worker->state = NULL;
    if (job && !fake_is_lost(worker))
        job->priv.work(job);
    if (job && lp__desk_clear(&worker->desk)) {
        job->priv.node.status = lp__job_noticed(job) ? lp__job_stop_reason(job) : 0;
        lp__inbox_post(worker->inbox, &job->priv.node);
    }
    if (!fake.linger)
        fake_leave(worker);
    else
        fake_close_state(worker);
}

/* The worker was killed, and so was what it stood in. */
static inline void fake_die(lp__worker_t *worker)
{
    lp_job_t *job = worker->state;
    if (worker->runner_data)
        return;
    worker->state = NULL;
    worker->runner_data = worker;
    if (job && lp__desk_clear(&worker->desk)) {
        lp__job_mark(job, LP__JOB_KILLED);
        job->priv.node.status = lp__job_stop_reason(job);
        lp__inbox_post(worker->inbox, &job->priv.node);
    }
    lp__worker_leave(worker);
}

/* Those that were detached come back, and free themselves. */
static inline void fake_come_back(void)
{
    fake.linger = false;
    while (fake.away_count > 0)
        fake_finish_worker(fake.away[--fake.away_count]);
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

/* The worker whose job was given up comes back from it. */
static inline void fake_return(lp_manager_t *manager, const lp_job_t *job)
{
    for (lp__list_t *at = manager->executors.next; at != &manager->executors; at = at->next) {
        lp__executor_t *executor = LP__CONTAINER(at, lp__executor_t, all_link);
        for (lp__list_t *w = executor->workers.next; w != &executor->workers; w = w->next) {
            if (fake_worker(w)->state == job && fake_is_lost(fake_worker(w))) {
                fake_finish_worker(fake_worker(w));
                return;
            }
        }
    }
    fail_msg("no lost worker stands in the job");
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
    worker->thread = (lp__thread_t)(uintptr_t)worker;
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
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        if (fake.linger)
            fake_close_state(fake_worker(at));
        else
            fake_leave(fake_worker(at));
    }
}

static inline void fake_interrupt(lp__worker_t *worker)
{
    fake.asks++;
    if (fake.on_ask)
        fake.on_ask(worker);
}

static inline void fake_detach(lp__thread_t thread)
{
    fake.detached++;
    assert_true((size_t)fake.away_count < COUNT_OF(fake.away));
    fake.away[fake.away_count++] = (lp__worker_t *)(uintptr_t)thread;
}

static inline void fake_kill(lp__worker_t *worker, bool by_force)
{
    fake.terms += !by_force;
    fake.forces += by_force;
    if (fake.on_kill)
        fake.on_kill(worker, by_force);
}

static const lp_backend_t fake_backend = {
    .name = "fake",
    .worker_start = fake_worker_start,
    .worker_join = fake_join,
    .wake = fake_wake,
    .stop = fake_stop,
    .interrupt = fake_interrupt,
    .detach = fake_detach,
};

/* The same with workers that can be killed. */
static inline const lp_backend_t *fake_killable(void)
{
    static lp_backend_t backend;
    backend = fake_backend;
    backend.name = "killable";
    backend.detach = NULL;
    backend.kill = fake_kill;
    return &backend;
}

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
    assert_int_equal(fake.starts, fake.joins + fake.detached);
    fake_come_back();
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
