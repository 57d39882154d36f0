/* test_stats.c - what a manager tells of itself, also while its workers run; and what it does when
 * memory fails it anywhere. */
#include "fake.h"

static lp_lease_t *lease_for(lp_manager_t *manager, const char *owner, uint64_t lease_ns)
{
    lp_acquire_options_t options;
    lp_lease_t *lease = NULL;
    lp_acquire_options_init(&options);
    options.owner = owner;
    options.lease_ns = lease_ns;
    assert_int_equal(lp_try_acquire(manager, &options, &lease), 0);
    return lease;
}

/* ---- Counters ----------------------------------------------------------------- */

static void every_lease_is_counted_once_by_its_first_end(void **state)
{
    (void)state;
    host_t host;
    log_t log = {0};
    fake_open(&host);
    fake.lazy = true;
    lp_set_logger(host.rt, log_line, &log);
    lp_manager_options_t options = fake_options(8, 1);
    options.lease_grace_ns = 10;
    lp_manager_t *manager = fake_manager_with(&host, &options);
    lp_lease_t *leases[8];
    task_t tasks[8];
    for (size_t i = 0; i < 8; i++) {
        leases[i] = lease_for(manager, NULL, i < 5 ? 1000 : 90);
        fake_stand(&tasks[i], leases[i]);
        assert_equations(manager);
    }
    lp_release(leases[0]);                             /* released, expired, stopped */
    lp__lease_leak(leases[1]);                         /* leaked, broken */
    lp__executor_break(leases[1]->executor, "broken"); /* its handle is gone */
    lp__executor_break(leases[2]->executor, "broken"); /* broken, released, expired */
    lp_release(leases[2]);
    assert_equations(manager);
    host_pass(&host, 100);
    lp_manager_stats_t s = assert_equations(manager); /* 5 to 7 expired */
    assert_int_equal(s.live, 2);
    lp_lease_close(leases[5]);
    lp__executor_break(leases[6]->executor, "too late");
    host_pass(&host, 1000);
    s = assert_equations(manager);
    assert_int_equal(s.expired, 5); /* with 3 and 4 */
    assert_int_equal(s.live, 0);
    stop_t stop;
    host_advance(&host, 20 * LP_MILLISECOND); /* the pause after two that broke */
    lp_lease_t *last = lease_for(manager, NULL, 0);
    assert_int_equal(assert_equations(manager).live, 1);
    assert_int_equal(stop_begin(&stop, manager), 0);
    lp_lease_close(last);
    fake_finish_all(manager);
    host_turn(&host);
    s = assert_equations(manager);
    assert_int_equal(stop.calls, 1);
    assert_int_equal(s.acquired, 9);
    assert_int_equal(s.released, 1);
    assert_int_equal(s.leaked, 1);
    assert_int_equal(s.broken, 1);
    assert_int_equal(s.expired, 5);
    assert_int_equal(s.stopped, 1);
    assert_int_equal(s.done, 8);
    assert_int_equal(s.created, s.retired);
    fake_close(&host);
}

static void acquires_that_came_to_nothing_are_counted(void **state)
{
    (void)state;
    host_t host;
    fake_open(&host);
    lp_manager_options_t options = fake_options(1, 1);
    options.max_waiters = 1;
    lp_manager_t *manager = fake_manager_with(&host, &options);
    lp_lease_t *lease = lease_of(manager), *none;
    wait_t waiters[4];
    assert_int_equal(lp_try_acquire(manager, NULL, &none), LP_EUNAVAILABLE);
    assert_int_equal(wait_begin(&waiters[0], manager, 0), 0);
    assert_int_equal(wait_begin(&waiters[1], manager, 5), 0);
    assert_int_equal(assert_equations(manager).waiters, 1);
    assert_int_equal(wait_begin(&waiters[2], manager, 5), LP_EUNAVAILABLE);
    host_advance(&host, 5);
    assert_int_equal(wait_begin(&waiters[3], manager, LP_FOREVER), 0);
    assert_int_equal(lp_acquire_cancel(&waiters[3].req), 0);
    lp_manager_stats_t s = assert_equations(manager);
    assert_int_equal(s.timeouts, 2);
    assert_int_equal(s.rejected, 2);
    assert_int_equal(s.waiters, 0);
    assert_int_equal(s.acquired, 1);
    lp_lease_close(lease);
    fake_close(&host);
}

static void a_late_waiter_takes_no_place_in_the_queue(void **state)
{
    (void)state;
    host_t host;
    fake_open(&host);
    lp_manager_options_t options = fake_options(1, 1);
    options.max_waiters = 1;
    lp_manager_t *manager = fake_manager_with(&host, &options);
    (void)lease_of(manager);
    wait_t late, next;
    assert_int_equal(wait_begin(&late, manager, 5), 0);
    host_pass(&host, 5); /* no turn has told it */
    assert_int_equal(wait_begin(&next, manager, LP_FOREVER), 0);
    host_turn(&host);
    assert_int_equal(late.status, LP_ETIMEDOUT);
    assert_int_equal(assert_equations(manager).waiters, 1);
    fake_close(&host);
}

/* ---- Times -------------------------------------------------------------------- */

static void waits_and_holds_are_measured_from_call_to_hand_over_to_end(void **state)
{
    (void)state;
    host_t host;
    fake_open(&host);
    lp_manager_t *manager = fake_manager(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    wait_t waiter;
    assert_int_equal(wait_begin(&waiter, manager, LP_FOREVER), 0);
    host_advance(&host, 700);
    lp_lease_close(lease);
    host_advance(&host, 30); /* the lease began with the hand-over */
    lp_release(waiter.lease);
    host_advance(&host, 1000);
    lp_lease_close(waiter.lease);
    lp_manager_stats_t s = assert_equations(manager);
    assert_int_equal(s.wait.count, 2);
    assert_int_equal(s.wait.max_ns, 700);
    assert_int_equal(s.wait.mean_ns, 350);
    assert_int_equal(s.wait.p50_ns, 0);
    assert_int_equal(s.wait.p90_ns, 700);
    assert_int_equal(s.hold.count, 2);
    assert_int_equal(s.hold.max_ns, 700);
    assert_int_equal(s.hold.mean_ns, 365);
    fake_close(&host);
}

static void runs_are_counted_while_workers_live_and_after(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 2, 2);
    uint64_t jobs = 0;
    for (int round = 0; round < 4; round++) {
        lp_lease_t *lease = lease_of(manager);
        task_t tasks[10];
        memset(tasks, 0, sizeof tasks);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
            assert_int_equal(task_submit(&tasks[i], lease), 0);
        for (size_t i = 0; i < COUNT_OF(tasks); i++)
            host_until(&host, &tasks[i].calls, 1);
        jobs += COUNT_OF(tasks);
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.run.count, jobs);
        assert_int_equal(s.done, jobs);
        assert_true(s.run.mean_ns <= s.run.max_ns && s.run.p50_ns <= s.run.p99_ns);
        stop_t stop;
        if (round % 2) {
            assert_int_equal(stop_begin(&stop, manager), 0);
            host_until(&host, &stop.calls, 1);
            assert_int_equal(assert_equations(manager).run.count, jobs);
            assert_int_equal(lp_manager_start(manager), 0);
        }
        lp_lease_close(lease);
    }
    host_close(&host);
}

/* ---- Leases ------------------------------------------------------------------- */

typedef struct {
    const lp_lease_t *seen[8];
    size_t count;
} list_t;

static void note_lease(lp_lease_t *lease, void *data)
{
    list_t *list = data;
    (void)lp_lease_state(lease); /* which looks at the clock */
    list->seen[list->count++] = lease;
}

static void leases_are_listed_oldest_first_until_they_are_closed(void **state)
{
    (void)state;
    host_t host;
    fake_open(&host);
    fake.lazy = true;
    lp_manager_options_t options = fake_options(4, 1);
    options.lease_grace_ns = 0;
    options.max_retiring = 4;
    lp_manager_t *manager = fake_manager_with(&host, &options);
    lp_lease_t *leases[4];
    task_t task;
    for (size_t i = 0; i < 4; i++)
        leases[i] = lease_for(manager, NULL, i < 2 ? 10 : 100);
    fake_stand(&task, leases[1]);
    lp_lease_close(leases[2]);
    host_pass(&host, 10); /* 0 is closed, 1 expired */
    list_t list = {0};
    assert_int_equal(lp_manager_each_lease(manager, note_lease, &list), 0);
    assert_int_equal(list.count, 2);
    assert_ptr_equal(list.seen[0], leases[1]);
    assert_ptr_equal(list.seen[1], leases[3]);
    int64_t queued, running;
    lp_lease_jobs(leases[1], &queued, &running);
    assert_int_equal(queued, 0);
    assert_int_equal(running, 1);
    assert_int_equal(lp_manager_each_lease(manager, NULL, NULL), LP_EINVAL);
    assert_int_equal(lp_manager_each_lease(NULL, note_lease, &list), LP_EINVAL);
    assert_int_equal(lp_manager_stats(manager, NULL), LP_EINVAL);
    assert_int_equal(lp_manager_stats(NULL, &(lp_manager_stats_t){0}), LP_EINVAL);
    fake_finish_all(manager);
    fake_close(&host);
}

/* ---- With threads ------------------------------------------------------------- */

/* Leases expire, break and are released while threads run their jobs. */
static void the_equations_hold_while_threads_work(void **state)
{
    (void)state;
    enum { POOLS = 3, ROUNDS = 60, JOBS = 12 };
    static task_t tasks[ROUNDS][JOBS];
    host_t host;
    log_t log = {0};
    int accepted = 0;
    memset(tasks, 0, sizeof tasks);
    host_open(&host);
    host_freeze(&host);
    lp_set_logger(host.rt, log_line, &log);
    lp_manager_t *manager = manager_make(&host, lp_backend_thread(), POOLS, 2);
    manager->options.default_lease_ns = 100;
    manager->options.lease_grace_ns = 0;
    manager->options.idle_ns = 200;
    assert_int_equal(lp_manager_start(manager), 0);
    for (int round = 0; round < ROUNDS; round++) {
        wait_t wait;
        assert_int_equal(wait_begin(&wait, manager, LP_FOREVER), 0);
        while (wait.calls == 0) {
            host_pass(&host, 10);
            assert_true(uv_run(&host.loop, UV_RUN_NOWAIT) != 0 || wait.calls > 0);
            assert_equations(manager);
        }
        for (int i = 0; i < JOBS; i++) {
            uint64_t timeout_ns = i % 3 ? LP_FOREVER : 20;
            accepted += task_submit_within(&tasks[round][i], wait.lease, timeout_ns) == 0;
            assert_equations(manager);
        }
        if (round % 5 == 0 && wait.lease->executor)
            lp__executor_break(wait.lease->executor, "test");
        if (round % 7 == 0)
            host_pass(&host, 10 * LP_SECOND);
        if (round % 3 == 0)
            (void)lp_job_cancel(&tasks[round][JOBS - 1].job);
        assert_equations(manager);
        lp_lease_close(wait.lease);
        assert_equations(manager);
    }
    host_close(&host);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < JOBS; i++) {
            task_t *task = &tasks[round][i];
            accepted -= task->calls;
            assert_int_equal(lp__load_relaxed(&task->runs), task->calls && task->status == 0);
        }
    }
    assert_int_equal(accepted, 0); /* each once */
}

/* ---- When memory fails -------------------------------------------------------- */

static void renew_or_release(lp_lease_t *lease, void *data)
{
    int *calls = data;
    if (++*calls % 2)
        (void)lp_lease_renew(lease, 50);
    else
        lp_release(lease);
}

static int growing_size(void *data, double *size)
{
    int *calls = data;
    *size = 10 * ++*calls;
    return *calls % 4 == 0 ? LP_EJOB : 0;
}

/* Expiries, timeouts, sizes, breaks, a stop that gives up, a start after it. How many calls found
 * no memory. */
static int scenario(void)
{
    static char reason[400]; /* longer than a line of the log on the stack */
    host_t host;
    log_t log = {0};
    int refused = 0, soft_calls = 0, sizes = 0, accepted = 0, asked = 0, rc;
    memset(&fake, 0, sizeof fake);
    memset(&host, 0, sizeof host);
    memset(reason, 'x', sizeof reason - 1);
    fake.lazy = true;
    assert_int_equal(uv_loop_init(&host.loop), 0);
    if (lp_runtime_create(&host.rt, &host.loop) != 0) {
        assert_int_equal(uv_loop_close(&host.loop), 0);
        return 1;
    }
    host_freeze(&host);
    lp_set_logger(host.rt, log_line, &log);
    lp_manager_options_t options = fake_options(3, 2);
    options.lease_grace_ns = 50;
    options.idle_ns = 300;
    options.exit_grace_ns = 0;
    options.check_interval_ns = 1000;
    options.size_provider = growing_size;
    options.size_data = &sizes;
    lp_manager_t *manager = NULL;
    if (lp_manager_create(&manager, host.rt, &fake_backend, &options) != 0) {
        host_close(&host);
        return 1;
    }
    wait_t waits[12];
    task_t tasks[12][3];
    stop_t stop = {0};
    memset(waits, 0, sizeof waits);
    memset(tasks, 0, sizeof tasks);
    for (size_t i = 0; i < COUNT_OF(waits); i++) {
        rc = lp_manager_start(manager);
        assert_true(rc == 0 || rc == LP_ENOMEM || rc == LP_ESTATE);
        refused += rc == LP_ENOMEM;
        lp_acquire_options_t acquire;
        lp_acquire_options_init(&acquire);
        acquire.owner = "somebody";
        acquire.lease_ns = 100;
        acquire.timeout_ns = 500;
        acquire.on_soft_expiry = renew_or_release;
        acquire.soft_data = &soft_calls;
        rc = lp_acquire(manager, &waits[i].req, &acquire, wait_done);
        assert_true(rc == 0 || rc == LP_ENOMEM || rc == LP_ENOTSTARTED);
        refused += rc == LP_ENOMEM;
        asked += rc == 0;
        assert_equations(manager);
        host_turn(&host);
        for (size_t j = 0; j < 3 && waits[i].lease; j++) {
            uint64_t timeout_ns = j == 2 ? 40 : LP_FOREVER;
            rc = task_submit_within(&tasks[i][j], waits[i].lease, timeout_ns);
            assert_true(rc == 0 || rc == LP_ENOMEM);
            accepted += rc == 0;
            refused += rc == LP_ENOMEM;
            if (j == 0 && rc == 0)
                assert_non_null(fake_take(waits[i].lease->executor));
            assert_equations(manager);
        }
        if (i % 3 == 1 && waits[i].lease)
            lp__executor_break(waits[i].lease->executor, reason);
        assert_equations(manager);
        host_advance(&host, i % 4 == 3 ? 20 * LP_MILLISECOND : 120);
        assert_equations(manager);
        if (i % 4 == 2)
            fake_finish_all(manager);
        if (i == 6) { /* gives up at once */
            assert_int_equal(lp_manager_stop(manager, &stop.req, 0, stop_done), 0);
            host_turn(&host);
            assert_int_equal(stop.calls, 1);
        }
        lp_lease_close(waits[i].lease);
        waits[i].lease = NULL;
        assert_equations(manager);
    }
    host_advance(&host, 10 * LP_SECOND);
    for (size_t i = 0; i < COUNT_OF(waits); i++) {
        asked -= waits[i].calls;
        refused += waits[i].status == LP_ENOMEM;
        lp_lease_close(waits[i].lease);
    }
    assert_int_equal(asked, 0);
    fake_finish_all(manager);
    host_close(&host);
    for (size_t i = 0; i < COUNT_OF(waits); i++)
        for (size_t j = 0; j < 3; j++)
            accepted -= tasks[i][j].calls;
    assert_int_equal(accepted, 0);
    assert_int_equal(fake.starts, fake.joins);
    assert_true(soft_calls > 0 && sizes > 3);
    return refused;
}

static void the_equations_hold_whichever_allocation_fails(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    assert_int_equal(scenario(), 0);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
    uint64_t nth = 0, seen;
    int refused = 0;
    do {
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, ++nth);
        refused += scenario();
        seen = lp__alloc_fault_seen();
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    } while (seen >= nth);
    assert_true(nth > 60);
    assert_true(refused > 30);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_lease_is_counted_once_by_its_first_end),
        cmocka_unit_test(acquires_that_came_to_nothing_are_counted),
        cmocka_unit_test(a_late_waiter_takes_no_place_in_the_queue),
        cmocka_unit_test(waits_and_holds_are_measured_from_call_to_hand_over_to_end),
        cmocka_unit_test(runs_are_counted_while_workers_live_and_after),
        cmocka_unit_test(leases_are_listed_oldest_first_until_they_are_closed),
        cmocka_unit_test(the_equations_hold_while_threads_work),
        cmocka_unit_test(the_equations_hold_whichever_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
