/* support.h - what the C tests share: a loop with a runtime on it, gates, recorded callbacks.
 *
 * Nothing here sleeps: a test waits for an event by running the loop, or for a thread by a
 * gate. A hang is ended by the test runner's time limit. */
#ifndef SPEC_C_SUPPORT_H
#define SPEC_C_SUPPORT_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/thread.h"
#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"
#include "core/worker.h"
#include "leasepool.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* ThreadSanitizer delivers at once only what could be the thread's own fault, and cmocka sets
 * handlers of its own for most of that, anew for each test. */
#ifdef __SANITIZE_THREAD__
__attribute__((constructor)) static inline void choose_signal(void)
{
    (void)lp_set_interrupt_signal(SIGTRAP);
}
#endif

/* ---- A loop with a runtime ---------------------------------------------------- */

typedef struct {
    uv_loop_t loop;
    lp_runtime_t *rt;
    bool closed;
} host_t;

static inline void host_open(host_t *host)
{
    memset(host, 0, sizeof *host);
    assert_int_equal(uv_loop_init(&host->loop), 0);
    assert_int_equal(lp_runtime_create(&host->rt, &host->loop), 0);
}

static inline void host_on_closed(void *data)
{
    ((host_t *)data)->closed = true;
}

/* Ends what host_open began; the loop must end by itself and hold nothing any more. */
static inline void host_close(host_t *host)
{
    if (host->rt && !host->closed)
        (void)lp_runtime_close(host->rt, host_on_closed, host);
    while (!host->closed)
        assert_true(uv_run(&host->loop, UV_RUN_ONCE) != 0 || host->closed);
    assert_int_equal(uv_run(&host->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&host->loop), 0);
}

/* Runs the loop until `*count` is at least `least`. */
static inline void host_until(host_t *host, const int *count, int least)
{
    while (*count < least)
        if (uv_run(&host->loop, UV_RUN_ONCE) == 0 && *count < least)
            fail_msg("the loop ended at %d of %d", *count, least);
}

/* Everything that is due now. */
static inline void host_turn(host_t *host)
{
    while (lp__runtime_turn(host->rt)) {
    }
}

/* From here on time moves only by host_pass and host_advance. */
static inline void host_freeze(host_t *host)
{
    lp__clock_set_manual(&host->rt->clock, lp__clock_now_ns(&host->rt->clock));
}

/* Time goes by, and no turn comes. */
static inline void host_pass(host_t *host, uint64_t ns)
{
    lp__clock_set_manual(&host->rt->clock, lp__clock_now_ns(&host->rt->clock) + ns);
}

static inline void host_advance(host_t *host, uint64_t ns)
{
    host_pass(host, ns);
    host_turn(host);
}

static inline uint64_t host_now(host_t *host)
{
    return lp__clock_now_ns(&host->rt->clock);
}

static inline lp_manager_t *manager_make(host_t *host, const lp_backend_t *backend, int64_t pools,
                                         int64_t workers)
{
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = pools;
    options.workers_per_pool = workers;
    lp_manager_t *manager = NULL;
    assert_int_equal(lp_manager_create(&manager, host->rt, backend, &options), 0);
    return manager;
}

/* A started manager of threads. */
static inline lp_manager_t *manager_of(host_t *host, int64_t pools, int64_t workers)
{
    lp_manager_t *manager = manager_make(host, lp_backend_thread(), pools, workers);
    assert_int_equal(lp_manager_start(manager), 0);
    return manager;
}

static inline lp_lease_t *lease_of(lp_manager_t *manager)
{
    lp_lease_t *lease = NULL;
    assert_int_equal(lp_try_acquire(manager, NULL, &lease), 0);
    assert_non_null(lease);
    return lease;
}

static inline lp_manager_stats_t counts_of(lp_manager_t *manager)
{
    lp_manager_stats_t counts;
    assert_int_equal(lp_manager_stats(manager, &counts), 0);
    return counts;
}

/* Lost workers keep their places, and their leases. */
static inline void assert_workers(const lp__executor_t *executor)
{
    uint32_t count = 0, lost = 0;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        const lp__worker_t *worker = LP__CONTAINER(at, lp__worker_t, link);
        assert_true(worker->lost || !worker->lost_lease);
        assert_true(!worker->lost_lease || worker->lost_lease->pins > 0);
        lost += worker->lost;
        count++;
    }
    assert_true(executor->worker_count <= executor->max_workers);
    assert_true(executor->lost_count <= executor->worker_count);
    if (executor->manager->rt->closing) /* then some may be detached */
        return;
    assert_int_equal(executor->worker_count, count);
    assert_int_equal(executor->lost_count, lost);
    if (!executor->lease && !executor->ending)
        assert_int_equal(lost, 0); /* the next borrower gets a whole one */
}

/* What holds of a manager at any moment; its statistics, for the caller to look at. */
static inline lp_manager_stats_t assert_equations(lp_manager_t *manager)
{
    const lp_manager_options_t *options = &manager->options;
    lp_manager_stats_t s = counts_of(manager);
    int64_t open = 0, in_flight = 0, executors = 0, workers = 0;
    for (lp__list_t *at = manager->leases.next; at != &manager->leases; at = at->next) {
        lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        open += lease->state <= LP_LEASE_DRAINING;
        in_flight += lease->in_flight;
    }
    for (lp__list_t *at = manager->executors.next; at != &manager->executors; at = at->next) {
        assert_workers(LP__CONTAINER(at, lp__executor_t, all_link));
        workers += LP__CONTAINER(at, lp__executor_t, all_link)->worker_count;
        executors++;
    }
    assert_true(s.live >= 0 && s.queued >= 0 && s.running >= 0 && s.retiring >= 0);
    assert_int_equal(s.acquired,
                     (uint64_t)s.live + s.released + s.expired + s.broken + s.stopped + s.leaked);
    assert_int_equal(s.jobs, (uint64_t)(s.queued + s.running) + s.done + s.failed + s.cancelled);
    assert_true(s.interrupted + s.killed <= s.failed + s.cancelled);
    assert_int_equal(s.hold.count, s.acquired - (uint64_t)s.live);
    assert_int_equal(s.wait.count, s.acquired);
    assert_int_equal(s.queued + s.running, in_flight);
    assert_int_equal(s.total, s.available + s.leased);
    assert_int_equal(s.leased, open);
    assert_int_equal(s.total + s.retiring, executors);
    assert_int_equal(s.total, s.created - s.retired);
    assert_true(s.waiters == 0 || s.available == 0);
    int64_t over = s.retiring > options->max_retiring ? s.retiring - options->max_retiring : 0;
    assert_true(s.total + over <= options->max_pools);
    assert_true(workers <=
                (options->max_pools + options->max_retiring) * options->workers_per_pool);
    return s;
}

/* ---- Recorded requests -------------------------------------------------------- */

typedef struct {
    lp_acquire_t req;
    lp_lease_t *lease;
    int calls, status, order;
} wait_t;

static int wait_order; /* callbacks so far, for the order among them */

static inline void wait_done(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    wait_t *wait = (wait_t *)(void *)req;
    wait->calls++;
    wait->status = status;
    wait->lease = lease;
    wait->order = ++wait_order;
}

static inline int wait_begin(wait_t *wait, lp_manager_t *manager, uint64_t timeout_ns)
{
    lp_acquire_options_t options;
    lp_acquire_options_init(&options);
    options.timeout_ns = timeout_ns;
    memset(wait, 0, sizeof *wait);
    return lp_acquire(manager, &wait->req, &options, wait_done);
}

typedef struct {
    lp_stop_t req;
    lp_stop_report_t report;
    int calls;
} stop_t;

static inline void stop_done(lp_stop_t *req, const lp_stop_report_t *report)
{
    stop_t *stop = (stop_t *)(void *)req;
    stop->calls++;
    stop->report = *report;
}

static inline int stop_within(stop_t *stop, lp_manager_t *manager, uint64_t timeout_ns)
{
    memset(stop, 0, sizeof *stop);
    return lp_manager_stop(manager, &stop->req, timeout_ns, stop_done);
}

static inline int stop_begin(stop_t *stop, lp_manager_t *manager)
{
    return stop_within(stop, manager, LP_FOREVER);
}

typedef struct {
    lp_job_t job;
    atomic_int runs;
    int calls, status;
    bool lost; /* it ended, and still ran */
} task_t;

static inline void task_run(lp_job_t *job)
{
    lp__add_relaxed(&((task_t *)(void *)job)->runs, 1);
}

static inline void task_done(lp_job_t *job, int status)
{
    task_t *task = (task_t *)(void *)job;
    task->calls++;
    task->status = status;
    task->lost = lp_job_still_running(job);
}

static inline int task_submit(task_t *task, lp_lease_t *lease)
{
    return lp_submit(lease, &task->job, task_run, task_done);
}

static inline int task_submit_within(task_t *task, lp_lease_t *lease, uint64_t timeout_ns)
{
    return lp_submit_within(lease, &task->job, timeout_ns, task_run, task_done);
}

/* ---- Log ---------------------------------------------------------------------- */

typedef struct {
    int lines;
    char last[256];
} log_t;

static inline void log_line(void *data, lp_manager_t *manager, lp_log_level_t level,
                            const char *message)
{
    log_t *log = data;
    (void)manager;
    (void)level;
    log->lines++;
    snprintf(log->last, sizeof log->last, "%s", message);
}

/* ---- Gates -------------------------------------------------------------------- */

/* A job that says when it has begun and ends when it is let through. */
typedef struct {
    task_t task;
    uv_sem_t begun, open;
} gate_t;

static inline void gate_run(lp_job_t *job)
{
    gate_t *gate = (gate_t *)(void *)job;
    task_run(job);
    uv_sem_post(&gate->begun);
    uv_sem_wait(&gate->open);
}

static inline void gate_init(gate_t *gate)
{
    memset(gate, 0, sizeof *gate);
    assert_int_equal(uv_sem_init(&gate->begun, 0), 0);
    assert_int_equal(uv_sem_init(&gate->open, 0), 0);
}

/* Submits the gate and waits until a worker stands in it. */
static inline void gate_shut(gate_t *gate, lp_lease_t *lease)
{
    gate_init(gate);
    assert_int_equal(lp_submit(lease, &gate->task.job, gate_run, task_done), 0);
    uv_sem_wait(&gate->begun);
}

static inline void gate_open(gate_t *gate)
{
    uv_sem_post(&gate->open);
}

static inline void gate_destroy(gate_t *gate)
{
    uv_sem_destroy(&gate->begun);
    uv_sem_destroy(&gate->open);
}

/* ---- Memory ------------------------------------------------------------------- */

/* Blocks that leasepool holds, after count_blocks() was called. */
static atomic_long live_blocks;

static inline void *counting_malloc(size_t size)
{
    void *block = malloc(size);
    if (block)
        lp__add_relaxed(&live_blocks, 1);
    return block;
}

static inline void *counting_calloc(size_t count, size_t size)
{
    void *block = calloc(count, size);
    if (block)
        lp__add_relaxed(&live_blocks, 1);
    return block;
}

static inline void *counting_realloc(void *old, size_t size)
{
    void *block = realloc(old, size);
    if (!old && block)
        lp__add_relaxed(&live_blocks, 1);
    return block;
}

static inline void counting_free(void *block)
{
    if (block)
        lp__add_relaxed(&live_blocks, -1);
    free(block);
}

static inline void count_blocks(void)
{
    assert_int_equal(
        lp_set_allocator(counting_malloc, counting_realloc, counting_calloc, counting_free), 0);
}

#endif
