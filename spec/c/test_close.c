/* test_close.c - ending a runtime: with nothing, with everything in flight, from every kind of
 * callback. Whoever was promised a callback gets one before the close callback. */
#include "support.h"

static void a_runtime_with_nothing_closes_in_a_later_turn(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    host_t host;
    host_open(&host);
    assert_int_equal(lp_runtime_close(host.rt, host_on_closed, &host), 0);
    assert_false(host.closed);
    assert_int_equal(lp_runtime_close(host.rt, NULL, NULL), LP_ESTATE);
    host_close(&host);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

static void a_close_without_a_callback_frees_the_loop_too(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    manager_of(&host, 1, 1);
    assert_int_equal(lp_runtime_close(host.rt, NULL, NULL), 0);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&host.loop), 0);
}

static void running_managers_are_stopped_by_the_close(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    host_t host;
    host_open(&host);
    manager_make(&host, lp_backend_thread(), 1, 1); /* never started */
    manager_of(&host, 3, 1);
    lp_manager_t *stopped = manager_of(&host, 1, 1), *worked = manager_of(&host, 1, 4);
    stop_t stop;
    assert_int_equal(stop_begin(&stop, stopped), 0);
    host_until(&host, &stop.calls, 1);
    lp_lease_t *lease = lease_of(worked);
    task_t tasks[4];
    memset(tasks, 0, sizeof tasks);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(task_submit(&tasks[i], lease), 0);
    for (size_t i = 0; i < 4; i++)
        host_until(&host, &tasks[i].calls, 1);
    host_close(&host); /* with workers asleep */
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

/* Two leases, one running job, one queued, two waiters, one hand-over under way, a stop that
 * waits: everything a close can meet. */
typedef struct {
    host_t host;
    lp_manager_t *manager;
    lp_lease_t *lease, *idle;
    gate_t gate;
    task_t queued;
    wait_t handed, waiting[2], timed_out;
    stop_t stop;
    bool with_stop;
} crowd_t;

static void crowd_open(crowd_t *c, bool with_stop)
{
    memset(c, 0, sizeof *c);
    host_open(&c->host);
    host_freeze(&c->host);
    c->with_stop = with_stop;
    c->manager = manager_of(&c->host, 3, 1);
    c->lease = lease_of(c->manager);
    c->idle = lease_of(c->manager);
    lp_lease_t *third = lease_of(c->manager);
    gate_shut(&c->gate, c->lease);
    assert_int_equal(task_submit(&c->queued, c->lease), 0);
    assert_int_equal(wait_begin(&c->handed, c->manager, LP_FOREVER), 0);
    assert_int_equal(wait_begin(&c->waiting[0], c->manager, LP_FOREVER), 0);
    assert_int_equal(wait_begin(&c->waiting[1], c->manager, LP_SECOND), 0);
    assert_int_equal(wait_begin(&c->timed_out, c->manager, 0), 0);
    lp_lease_close(third);
    if (with_stop)
        assert_int_equal(stop_begin(&c->stop, c->manager), 0);
}

static void crowd_check(crowd_t *c)
{
    assert_true(c->host.closed);
    assert_int_equal(c->gate.task.calls, 1);
    assert_int_equal(c->gate.task.status, 0);
    assert_int_equal(c->queued.calls, 1);
    assert_int_equal(c->queued.status, LP_ECANCELLED);
    assert_int_equal(c->handed.calls, 1);
    assert_int_equal(c->waiting[0].calls, 1);
    assert_int_equal(c->waiting[0].status, LP_ENOTSTARTED);
    assert_int_equal(c->waiting[1].calls, 1);
    assert_int_equal(c->waiting[1].status, LP_ENOTSTARTED);
    assert_int_equal(c->timed_out.calls, 1);
    assert_int_equal(c->timed_out.status, LP_ETIMEDOUT);
    assert_int_equal(c->stop.calls, c->with_stop);
    gate_destroy(&c->gate);
}

static void a_close_with_everything_in_flight_tells_everybody(void **state)
{
    (void)state;
    for (int with_stop = 0; with_stop < 2; with_stop++) {
        static crowd_t c;
        crowd_open(&c, with_stop);
        assert_int_equal(lp_runtime_close(c.host.rt, host_on_closed, &c.host), 0);
        assert_int_equal(c.waiting[0].calls, 0);
        host_turn(&c.host);
        assert_int_equal(c.waiting[0].calls, 1);
        assert_false(c.host.closed); /* a job still runs */
        assert_int_equal(lp_lease_state(c.lease), LP_LEASE_EXPIRED);
        gate_open(&c.gate);
        host_close(&c.host);
        assert_int_equal(c.handed.status, LP_ENOTSTARTED);
        crowd_check(&c);
    }
}

static void a_close_with_no_worker_still_tells_everybody(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    wait_t waiting, timed_out;
    stop_t stop;
    assert_int_equal(wait_begin(&waiting, manager, LP_FOREVER), 0);
    assert_int_equal(wait_begin(&timed_out, manager, 0), 0);
    assert_int_equal(stop_begin(&stop, manager), 0);
    lp_lease_close(lease);
    host_close(&host); /* all managers have ended before this returns to the loop */
    assert_int_equal(waiting.calls, 1);
    assert_int_equal(waiting.status, LP_ENOTSTARTED);
    assert_int_equal(timed_out.calls, 1);
    assert_int_equal(stop.calls, 1);
}

/* ---- From inside callbacks ---------------------------------------------------- */

static crowd_t crowd;

static void close_now(void)
{
    if (lp_runtime_close(crowd.host.rt, host_on_closed, &crowd.host) == 0)
        gate_open(&crowd.gate);
}

static void close_in_done(lp_job_t *job, int status)
{
    task_done(job, status);
    close_now();
}

static void close_in_lease(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    wait_done(req, status, lease);
    close_now();
}

static void close_in_stop(lp_stop_t *req, const lp_stop_report_t *report)
{
    stop_done(req, report);
    close_now();
}

static void close_in_timer(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
    close_now();
}

static void a_runtime_may_be_closed_in_a_done_callback(void **state)
{
    (void)state;
    crowd_open(&crowd, false);
    task_t task = {0};
    assert_int_equal(lp_submit(crowd.idle, &task.job, task_run, close_in_done), 0);
    host_until(&crowd.host, &task.calls, 1);
    host_close(&crowd.host);
    crowd_check(&crowd);
}

static void a_runtime_may_be_closed_in_a_lease_callback(void **state)
{
    (void)state;
    crowd_open(&crowd, false);
    wait_t wait;
    memset(&wait, 0, sizeof wait);
    lp_acquire_options_t options;
    lp_acquire_options_init(&options);
    options.timeout_ns = 0;
    assert_int_equal(lp_acquire(crowd.manager, &wait.req, &options, close_in_lease), 0);
    host_until(&crowd.host, &wait.calls, 1);
    host_close(&crowd.host);
    crowd_check(&crowd);
}

static void a_runtime_may_be_closed_in_a_stop_callback(void **state)
{
    (void)state;
    crowd_open(&crowd, false);
    lp_manager_t *other = manager_of(&crowd.host, 1, 1);
    stop_t stop;
    memset(&stop, 0, sizeof stop);
    assert_int_equal(lp_manager_stop(other, &stop.req, LP_FOREVER, close_in_stop), 0);
    host_until(&crowd.host, &stop.calls, 1);
    host_close(&crowd.host);
    crowd_check(&crowd);
}

static void a_runtime_may_be_closed_in_a_timer_of_the_host(void **state)
{
    (void)state;
    crowd_open(&crowd, true);
    uv_timer_t timer;
    assert_int_equal(uv_timer_init(&crowd.host.loop, &timer), 0);
    assert_int_equal(uv_timer_start(&timer, close_in_timer, 0, 0), 0);
    while (!crowd.host.closed)
        uv_run(&crowd.host.loop, UV_RUN_ONCE);
    host_close(&crowd.host);
    crowd_check(&crowd);
}

/* ---- Handles until the callback ----------------------------------------------- */

typedef struct {
    uv_check_t check;
    host_t *host;
    lp_manager_t *manager;
    lp_lease_t *lease;
    int errors, looks, stop_answer;
    stop_t stop;
} watcher_t;

/* Runs in every turn of the loop, before the closing callbacks. */
static void use_handles(uv_check_t *check)
{
    watcher_t *w = check->data;
    lp_lease_t *lease;
    lp_manager_stats_t counts;
    task_t task = {0};
    wait_t wait;
    if (w->looks++ == 0)
        w->stop_answer = stop_begin(&w->stop, w->manager);
    w->errors += lp_manager_stats(w->manager, &counts) != 0 || counts.available != 0;
    w->errors += lp_try_acquire(w->manager, NULL, &lease) != LP_ENOTSTARTED;
    w->errors += wait_begin(&wait, w->manager, 0) != LP_ENOTSTARTED;
    w->errors += lp_manager_start(w->manager) != LP_ESTATE;
    w->errors += task_submit(&task, w->lease) != LP_EEXPIRED;
    w->errors += lp_lease_state(w->lease) != LP_LEASE_CLOSED;
    w->errors += lp_release(w->lease) != 0;
}

static void handles_stay_valid_until_the_close_callback_begins(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    watcher_t w = {.host = &host, .manager = manager_of(&host, 1, 1)};
    w.lease = lease_of(w.manager);
    assert_int_equal(uv_check_init(&host.loop, &w.check), 0);
    w.check.data = &w;
    assert_int_equal(uv_check_start(&w.check, use_handles), 0);
    assert_int_equal(lp_runtime_close(host.rt, host_on_closed, &host), 0);
    while (!host.closed)
        uv_run(&host.loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&w.check, NULL);
    host_close(&host);
    assert_int_equal(w.errors, 0);
    assert_true(w.looks >= 1);
    assert_true(w.stop_answer == LP_ESTATE || w.stop.calls == 1); /* refused, or answered */
}

static void many_runtimes_open_and_close_with_work_in_flight(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        host_t host;
        host_open(&host);
        lp_manager_t *manager = manager_of(&host, 2, 2);
        lp_lease_t *leases[2] = {lease_of(manager), lease_of(manager)};
        task_t tasks[40];
        memset(tasks, 0, sizeof tasks);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
            assert_int_equal(task_submit(&tasks[i], leases[i % 2]), 0);
        if (round % 2)
            lp_lease_close(leases[0]);
        host_close(&host);
        for (size_t i = 0; i < COUNT_OF(tasks); i++) {
            assert_int_equal(tasks[i].calls, 1);
            assert_int_equal(lp__load_relaxed(&tasks[i].runs), tasks[i].status == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_runtime_with_nothing_closes_in_a_later_turn),
        cmocka_unit_test(a_close_without_a_callback_frees_the_loop_too),
        cmocka_unit_test(running_managers_are_stopped_by_the_close),
        cmocka_unit_test(a_close_with_everything_in_flight_tells_everybody),
        cmocka_unit_test(a_close_with_no_worker_still_tells_everybody),
        cmocka_unit_test(a_runtime_may_be_closed_in_a_done_callback),
        cmocka_unit_test(a_runtime_may_be_closed_in_a_lease_callback),
        cmocka_unit_test(a_runtime_may_be_closed_in_a_stop_callback),
        cmocka_unit_test(a_runtime_may_be_closed_in_a_timer_of_the_host),
        cmocka_unit_test(handles_stay_valid_until_the_close_callback_begins),
        cmocka_unit_test(many_runtimes_open_and_close_with_work_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
