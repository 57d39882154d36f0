/* test_manager.c - a manager's life: start, stop, joined stops, close; memory and threads that
 * run out. */
#include "support.h"

static void a_manager_lends_only_between_start_and_stop(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_make(&host, lp_backend_thread(), 1, 1);
    lp_lease_t *lease = NULL;
    wait_t waiter;
    stop_t stop;
    assert_int_equal(lp_try_acquire(manager, NULL, &lease), LP_ENOTSTARTED);
    assert_int_equal(wait_begin(&waiter, manager, 0), LP_ENOTSTARTED);
    assert_int_equal(lp_manager_start(manager), 0);
    assert_int_equal(lp_manager_start(manager), 0); /* idempotent */
    assert_int_equal(counts_of(manager).total, 1);
    lp_lease_close(lease_of(manager));
    assert_int_equal(stop_begin(&stop, manager), 0);
    assert_int_equal(lp_try_acquire(manager, NULL, &lease), LP_ENOTSTARTED);
    host_until(&host, &stop.calls, 1);
    assert_int_equal(lp_try_acquire(manager, NULL, &lease), LP_ENOTSTARTED);
    assert_null(lease);
    assert_int_equal(waiter.calls, 0);
    host_close(&host);
}

static void stopping_what_is_not_started_reports_nothing_later(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_make(&host, lp_backend_thread(), 1, 1);
    stop_t stop;
    assert_int_equal(stop_begin(&stop, manager), 0);
    assert_int_equal(stop.calls, 0);
    stop.report.finished = stop.report.cancelled = 77;
    host_until(&host, &stop.calls, 1);
    assert_int_equal(stop.report.finished, 0);
    assert_int_equal(stop.report.cancelled, 0);
    host_close(&host);
}

static void a_stop_counts_what_finished_and_what_it_cancelled(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 2, 1);
    lp_lease_t *a = lease_of(manager), *b = lease_of(manager);
    gate_t gates[2];
    task_t early = {0}, queued[10];
    memset(queued, 0, sizeof queued);
    assert_int_equal(task_submit(&early, a), 0);
    host_until(&host, &early.calls, 1); /* before the stop: not in its report */
    gate_shut(&gates[0], a);
    gate_shut(&gates[1], b);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(task_submit(&queued[i], i < 7 ? a : b), 0);
    stop_t stop;
    assert_int_equal(stop_begin(&stop, manager), 0);
    assert_int_equal(lp_lease_state(a), LP_LEASE_EXPIRED);
    assert_int_equal(task_submit(&early, a), LP_EEXPIRED);
    assert_int_equal(lp_manager_start(manager), LP_ESTATE);
    for (size_t i = 0; i < 10; i++)
        host_until(&host, &queued[i].calls, 1);
    assert_int_equal(stop.calls, 0); /* two jobs still run */
    gate_open(&gates[0]);
    host_until(&host, &gates[0].task.calls, 1);
    gate_open(&gates[1]);
    host_until(&host, &stop.calls, 1);
    assert_int_equal(gates[1].task.calls, 1);
    assert_int_equal(stop.report.finished, 2);
    assert_int_equal(stop.report.cancelled, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(queued[i].status, LP_ECANCELLED);
        assert_int_equal(lp__load_relaxed(&queued[i].runs), 0);
        assert_int_equal(queued[i].calls, 1);
    }
    assert_int_equal(gates[0].task.status, 0);
    assert_int_equal(lp_lease_state(a), LP_LEASE_CLOSED);
    assert_int_equal(lp_release(a), 0);
    assert_int_equal(counts_of(manager).total, 0);
    host_close(&host);
    gate_destroy(&gates[0]);
    gate_destroy(&gates[1]);
}

static void a_second_stop_joins_the_first(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    gate_t gate;
    gate_shut(&gate, lease_of(manager));
    stop_t first, second;
    assert_int_equal(stop_begin(&first, manager), 0);
    host_turn(&host);
    assert_int_equal(stop_begin(&second, manager), 0);
    host_turn(&host);
    assert_int_equal(first.calls + second.calls, 0);
    gate_open(&gate);
    host_until(&host, &second.calls, 1);
    assert_int_equal(first.calls, 1);
    assert_int_equal(first.report.finished, 1);
    assert_int_equal(second.report.finished, 1);
    host_close(&host);
    gate_destroy(&gate);
}

static void a_stop_without_a_callback_stops_too(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    task_t task = {0};
    assert_int_equal(task_submit(&task, lease_of(manager)), 0);
    assert_int_equal(lp_manager_stop(manager, NULL, LP_FOREVER, NULL), 0);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(manager->state, LP__MANAGER_STOPPED);
    assert_int_equal(task.calls, 1);
    host_close(&host);
}

static void a_stop_fails_every_waiter_and_the_lease_on_its_way(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    wait_t handed, waiting[3];
    stop_t stop;
    assert_int_equal(wait_begin(&handed, manager, LP_FOREVER), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(wait_begin(&waiting[i], manager, LP_SECOND), 0);
    lp_lease_close(lease); /* handed over; the callback has not run */
    assert_int_equal(stop_begin(&stop, manager), 0);
    host_until(&host, &stop.calls, 1);
    assert_int_equal(handed.status, LP_ENOTSTARTED);
    assert_null(handed.lease);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(waiting[i].calls, 1);
        assert_int_equal(waiting[i].status, LP_ENOTSTARTED);
    }
    assert_int_equal(counts_of(manager).waiters, 0);
    host_close(&host);
}

static void a_stop_while_a_lease_drains_waits_for_its_jobs(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    gate_t gate;
    task_t queued = {0};
    stop_t stop;
    gate_shut(&gate, lease);
    assert_int_equal(task_submit(&queued, lease), 0);
    lp_lease_close(lease); /* drains without a handle */
    assert_int_equal(stop_begin(&stop, manager), 0);
    host_turn(&host);
    assert_int_equal(queued.status, LP_ECANCELLED);
    assert_int_equal(stop.calls, 0);
    gate_open(&gate);
    host_until(&host, &stop.calls, 1);
    assert_int_equal(stop.report.finished, 1);
    assert_int_equal(stop.report.cancelled, 1);
    host_close(&host);
    gate_destroy(&gate);
}

static void a_stopped_manager_starts_again(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 2, 2);
    for (int round = 0; round < 20; round++) {
        lp_lease_t *lease = lease_of(manager);
        task_t task = {0};
        stop_t stop;
        assert_int_equal(task_submit(&task, lease), 0);
        host_until(&host, &task.calls, 1);
        assert_int_equal(stop_begin(&stop, manager), 0);
        host_until(&host, &stop.calls, 1);
        assert_int_equal(counts_of(manager).total, 0);
        assert_int_equal(lp_manager_start(manager), 0);
        assert_int_equal(task_submit(&task, lease), LP_EEXPIRED); /* the old lease stays dead */
        lp_lease_close(lease);
        assert_int_equal(counts_of(manager).available, 1);
    }
    host_close(&host);
}

typedef struct {
    lp_stop_t req;
    lp_manager_t *manager;
    int left, errors, calls;
} restart_t;

static void start_and_stop_again(lp_stop_t *req, const lp_stop_report_t *report)
{
    restart_t *r = (restart_t *)(void *)req;
    (void)report;
    r->calls++;
    if (--r->left == 0)
        return;
    r->errors += lp_manager_start(r->manager) != 0;
    r->errors += lp_manager_stop(r->manager, req, LP_FOREVER, start_and_stop_again) != 0;
}

static void a_stop_callback_may_start_and_stop_again(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    restart_t r = {.manager = manager_of(&host, 1, 1), .left = 100};
    assert_int_equal(lp_manager_stop(r.manager, &r.req, LP_FOREVER, start_and_stop_again), 0);
    host_until(&host, &r.calls, 100);
    assert_int_equal(r.errors, 0);
    host_close(&host);
}

/* ---- Giving up the handle ----------------------------------------------------- */

static void a_closed_manager_ends_with_its_last_lease(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 2, 1);
    lp_lease_t *a = lease_of(manager), *b = lease_of(manager);
    task_t task = {0};
    lp_manager_close(manager);
    assert_int_equal(task_submit(&task, a), 0); /* leases go on */
    lp_lease_close(a);
    host_until(&host, &task.calls, 1);
    assert_int_equal(task.status, 0);
    assert_int_equal(lp_lease_state(b), LP_LEASE_ACTIVE);
    assert_false(lp__list_empty(&host.rt->managers));
    lp_lease_close(b);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    assert_true(lp__list_empty(&host.rt->managers));
    host_close(&host);
}

static void a_manager_may_be_closed_while_it_stops(void **state)
{
    (void)state;
    for (int with_worker = 0; with_worker < 2; with_worker++) {
        host_t host;
        host_open(&host);
        lp_manager_t *manager = manager_of(&host, 1, 1);
        lp_lease_t *lease = lease_of(manager);
        task_t task = {0};
        stop_t stops[2];
        if (with_worker)
            assert_int_equal(task_submit(&task, lease), 0);
        lp_lease_close(lease);
        assert_int_equal(stop_begin(&stops[0], manager), 0);
        assert_int_equal(stop_begin(&stops[1], manager), 0);
        lp_manager_close(manager); /* its memory goes before the callbacks run */
        host_until(&host, &stops[1].calls, 1);
        assert_int_equal(stops[0].calls, 1);
        assert_true(lp__list_empty(&host.rt->managers));
        assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
        host_close(&host);
    }
}

static void a_manager_may_be_closed_with_a_request_not_yet_called_back(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    wait_t timed_out, cancelled;
    assert_int_equal(wait_begin(&timed_out, manager, 0), 0);
    assert_int_equal(wait_begin(&cancelled, manager, LP_FOREVER), 0);
    lp_lease_close(lease); /* `cancelled` gets it */
    lp_manager_close(manager);
    assert_int_equal(lp_acquire_cancel(&cancelled.req), 0); /* the last lease: all is gone */
    assert_true(lp__list_empty(&host.rt->managers));
    assert_int_equal(lp_acquire_cancel(&cancelled.req), LP_ESTATE);
    host_turn(&host);
    assert_int_equal(timed_out.status, LP_ETIMEDOUT);
    assert_int_equal(cancelled.status, LP_ECANCELLED);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    host_close(&host);
}

static void close_in_stop(lp_stop_t *req, const lp_stop_report_t *report)
{
    stop_done(req, report);
    lp_manager_close(req->data);
}

static void the_first_of_two_stop_callbacks_may_close_the_manager(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    stop_t first, second;
    lp_manager_t *manager = manager_of(&host, 1, 1);
    memset(&first, 0, sizeof first);
    first.req.data = manager;
    assert_int_equal(lp_manager_stop(manager, &first.req, LP_FOREVER, close_in_stop), 0);
    assert_int_equal(stop_begin(&second, manager), 0);
    host_until(&host, &second.calls, 1);
    assert_int_equal(first.calls, 1);
    assert_true(lp__list_empty(&host.rt->managers));
    host_close(&host);
}

/* ---- When memory or threads run out ------------------------------------------- */

/* Counts the steps that were refused; every one must be refused cleanly. */
static int scenario(host_t *host)
{
    int refused = 0;
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = 2;
    options.min_pools = 2;
    options.workers_per_pool = 2;
    memset(host, 0, sizeof *host);
    assert_int_equal(uv_loop_init(&host->loop), 0);
    int rc = lp_runtime_create(&host->rt, &host->loop);
    if (rc != 0) {
        assert_int_equal(rc, LP_ENOMEM);
        assert_int_equal(uv_loop_close(&host->loop), 0);
        return 1;
    }
    lp_manager_t *manager = NULL;
    rc = lp_manager_create(&manager, host->rt, lp_backend_thread(), &options);
    if (rc == 0)
        rc = lp_manager_start(manager);
    if (rc != 0) {
        assert_int_equal(rc, LP_ENOMEM);
        refused++;
        if (manager) /* it works again, from the state before */
            assert_int_equal(lp_manager_start(manager), 0);
    }
    wait_t waits[4];
    task_t tasks[8];
    int asked = 0, done = 0;
    lp_acquire_options_t acquire;
    lp_acquire_options_init(&acquire);
    acquire.owner = "somebody";
    memset(waits, 0, sizeof waits);
    memset(tasks, 0, sizeof tasks);
    for (size_t i = 0; manager && i < COUNT_OF(waits); i++) {
        rc = lp_acquire(manager, &waits[i].req, &acquire, wait_done);
        assert_true(rc == 0 || rc == LP_ENOMEM);
        asked += rc == 0;
        refused += rc != 0;
        if (rc != 0) /* as a caller does who cleans up what may be there */
            assert_int_equal(lp_acquire_cancel(&waits[i].req), LP_ESTATE);
    }
    wait_order = 0;
    for (size_t given = 0; manager && given < COUNT_OF(waits);) {
        for (given = 0; given < COUNT_OF(waits); given++)
            if (waits[given].calls == 1 && waits[given].lease)
                break;
        if (given == COUNT_OF(waits)) {
            if (wait_order < asked) {
                host_until(host, &wait_order, wait_order + 1);
                given = 0;
            }
            continue;
        }
        task_t *pair = &tasks[2 * given];
        for (int i = 0; i < 2; i++) {
            rc = task_submit(&pair[i], waits[given].lease);
            assert_true(rc == 0 || rc == LP_ENOMEM);
            done += rc == 0;
            refused += rc != 0;
        }
        lp_lease_close(waits[given].lease);
        waits[given].lease = NULL;
    }
    host_close(host);
    for (size_t i = 0; i < COUNT_OF(waits); i++) {
        assert_true(waits[i].calls <= 1);
        refused += waits[i].status == LP_ENOMEM;
        asked -= waits[i].calls;
    }
    for (size_t i = 0; i < COUNT_OF(tasks); i++)
        done -= tasks[i].calls;
    assert_int_equal(asked, 0); /* everybody who was accepted was told */
    assert_int_equal(done, 0);
    return refused;
}

static void every_failing_allocation_ends_in_a_clean_error(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    host_t host;
    assert_int_equal(scenario(&host), 0);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
    uint64_t nth = 0, seen;
    int refused = 0;
    do {
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, ++nth);
        refused += scenario(&host);
        seen = lp__alloc_fault_seen();
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    } while (seen >= nth);
    assert_true(nth > 12);
    assert_true(refused >= 10); /* a second worker of an executor is missed by nobody */
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

static void a_thread_that_cannot_start_breaks_the_executor(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 2);
    lp_lease_t *lease = lease_of(manager);
    task_t task = {0};
    lp__thread_fault_arm(1);
    assert_int_equal(task_submit(&task, lease), LP_EBROKEN);
    assert_int_equal(counts_of(manager).queued, 0);
    assert_false(uv_loop_alive(&host.loop)); /* nothing waits */
    assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
    assert_string_equal(lp_lease_reason(lease), "no worker could be started");
    assert_int_equal(task_submit(&task, lease), LP_EBROKEN);
    lp_lease_close(lease);
    assert_int_equal(lp_try_acquire(manager, NULL, &lease), LP_EUNAVAILABLE); /* after a pause */
    host_advance(&host, 10 * LP_MILLISECOND);
    lease = lease_of(manager);
    assert_int_equal(task_submit(&task, lease), 0);
    host_until(&host, &task.calls, 1);
    assert_int_equal(task.status, 0);
    assert_int_equal(lp__load_relaxed(&task.runs), 1);

    gate_t gate; /* with one worker alive, a second that cannot start only makes it slower */
    gate_shut(&gate, lease);
    lp__thread_fault_arm(1);
    assert_int_equal(task_submit(&task, lease), 0);
    lp__thread_fault_arm(0);
    gate_open(&gate);
    host_until(&host, &task.calls, 2);
    host_close(&host);
    gate_destroy(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manager_lends_only_between_start_and_stop),
        cmocka_unit_test(stopping_what_is_not_started_reports_nothing_later),
        cmocka_unit_test(a_stop_counts_what_finished_and_what_it_cancelled),
        cmocka_unit_test(a_second_stop_joins_the_first),
        cmocka_unit_test(a_stop_without_a_callback_stops_too),
        cmocka_unit_test(a_stop_fails_every_waiter_and_the_lease_on_its_way),
        cmocka_unit_test(a_stop_while_a_lease_drains_waits_for_its_jobs),
        cmocka_unit_test(a_stopped_manager_starts_again),
        cmocka_unit_test(a_stop_callback_may_start_and_stop_again),
        cmocka_unit_test(a_closed_manager_ends_with_its_last_lease),
        cmocka_unit_test(a_manager_may_be_closed_while_it_stops),
        cmocka_unit_test(a_manager_may_be_closed_with_a_request_not_yet_called_back),
        cmocka_unit_test(the_first_of_two_stop_callbacks_may_close_the_manager),
        cmocka_unit_test(every_failing_allocation_ends_in_a_clean_error),
        cmocka_unit_test(a_thread_that_cannot_start_breaks_the_executor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
