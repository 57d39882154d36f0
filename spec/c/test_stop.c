/* test_stop.c - stops with a limit: what they wait for, what they write off, what comes after. */
#include "fake.h"

enum { TIMEOUT = 1000, FIRST_GRACE = 200, EXIT_GRACE = 500, GRACES = FIRST_GRACE + EXIT_GRACE };
enum { LIMIT = TIMEOUT + GRACES };

typedef struct {
    host_t host;
    lp_manager_t *manager;
    log_t log;
} fixture_t;

static lp_manager_t *open_pools(fixture_t *f, int64_t pools)
{
    memset(f, 0, sizeof *f);
    fake_open(&f->host);
    fake.lazy = true;
    lp_set_logger(f->host.rt, log_line, &f->log);
    lp_manager_options_t options = fake_options(pools, 2);
    options.interrupt_grace_ns = FIRST_GRACE;
    options.exit_grace_ns = EXIT_GRACE;
    f->manager = fake_manager_with(&f->host, &options);
    return f->manager;
}

static void assert_report(const stop_t *stop, uint64_t finished, uint64_t cancelled,
                          uint64_t abandoned)
{
    assert_int_equal(stop->calls, 1);
    assert_int_equal(stop->report.finished, finished);
    assert_int_equal(stop->report.cancelled, cancelled);
    assert_int_equal(stop->report.abandoned, abandoned);
    assert_int_equal(stop->report.interrupted, 0);
    assert_int_equal(stop->report.killed, 0);
}

/* ---- Within the limit --------------------------------------------------------- */

static void a_stop_ends_with_the_last_job_and_not_with_its_limit(void **state)
{
    (void)state;
    fixture_t f;
    task_t task;
    stop_t stop;
    lp_manager_t *manager = open_pools(&f, 1);
    fake_stand(&task, lease_of(manager));
    assert_int_equal(stop_within(&stop, manager, TIMEOUT), 0);
    host_advance(&f.host, TIMEOUT);
    host_advance(&f.host, GRACES - 1);
    assert_int_equal(stop.calls, 0);
    fake_finish(&task.job);
    host_turn(&f.host);
    assert_report(&stop, 1, 0, 0);
    assert_int_equal(lp__runtime_next_ns(f.host.rt), LP_FOREVER); /* no limit is left behind */
    host_advance(&f.host, LIMIT);
    assert_int_equal(f.log.lines, 0);
    assert_int_equal(stop.calls, 1);
    assert_equations(manager);
    fake_close(&f.host);
}

static void a_stop_gives_up_at_the_exact_nanosecond(void **state)
{
    (void)state;
    for (int with_call = 0; with_call < 2; with_call++) {
        fixture_t f;
        task_t standing[3], queued = {0};
        stop_t stop;
        lp_manager_t *manager = open_pools(&f, 2);
        lp_lease_t *a = lease_of(manager), *b = lease_of(manager);
        fake_stand(&standing[0], a);
        fake_stand(&standing[1], a);
        fake_stand(&standing[2], b);
        assert_int_equal(task_submit(&queued, a), 0);
        assert_int_equal(stop_within(&stop, manager, TIMEOUT), 0);
        host_advance(&f.host, TIMEOUT);
        host_advance(&f.host, GRACES - 1);
        assert_int_equal(stop.calls, 0);
        assert_int_equal(lp_manager_start(manager), LP_ESTATE);
        host_pass(&f.host, 1);
        if (with_call) /* which finds the limit passed, but tells nobody */
            assert_equations(manager);
        assert_int_equal(stop.calls, 0);
        host_turn(&f.host);
        assert_report(&stop, 0, 1, 3);
        assert_int_equal(f.log.lines, 4); /* one for each of them, too */
        assert_string_equal(f.log.last, "the stop does not wait for 3 workers that go on");
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.retiring, 2);
        assert_int_equal(s.running, 0);
        assert_int_equal(s.cancelled, 1);
        assert_int_equal(s.failed, 3); /* to stop */
        assert_int_equal(s.interrupted, 0);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(standing[i].calls, 1);
            assert_int_equal(standing[i].status, LP_ECANCELLED);
            assert_true(standing[i].lost);
            memset(&standing[i], 0xaa, sizeof standing[i]); /* nobody looks at it any more */
        }
        assert_int_equal(lp_lease_state(a), LP_LEASE_CLOSED);
        fake_return(manager, &standing[0].job);
        host_turn(&f.host);
        assert_int_equal(assert_equations(manager).retiring, 2);
        fake_finish_all(manager);
        host_turn(&f.host);
        s = assert_equations(manager);
        assert_int_equal(s.retiring, 0);
        assert_int_equal(s.done, 0);
        assert_int_equal(s.stopped, 2);
        assert_int_equal(stop.calls, 1);
        fake_close(&f.host);
    }
}

static void jobs_that_came_back_in_time_are_not_abandoned(void **state)
{
    (void)state;
    fixture_t f;
    task_t done, queued[10];
    stop_t stop;
    lp_manager_t *manager = open_pools(&f, 1);
    manager->options.interrupt_grace_ns = 0;
    manager->options.exit_grace_ns = 0;
    lp_lease_t *lease = lease_of(manager);
    fake_stand(&done, lease);
    memset(queued, 0, sizeof queued);
    for (size_t i = 0; i < COUNT_OF(queued); i++)
        assert_int_equal(task_submit(&queued[i], lease), 0);
    assert_int_equal(stop_within(&stop, manager, 0), 0);
    fake_finish(&done.job); /* the limit has come too, and no turn yet */
    host_turn(&f.host);
    assert_report(&stop, 1, 10, 0);
    assert_int_equal(f.log.lines, 0);
    fake_close(&f.host);
}

/* The first callback takes so long that its turn puts off the others. */
static void slow_done(lp_job_t *job, int status)
{
    task_done(job, status);
    host_pass(job->data, 100 * LP_MILLISECOND);
}

static void jobs_that_came_back_but_were_not_told_yet_are_not_abandoned(void **state)
{
    (void)state;
    fixture_t f;
    task_t first = {0}, second = {0};
    stop_t stop;
    lp_manager_t *manager = open_pools(&f, 1);
    lp_lease_t *lease = lease_of(manager);
    first.job.data = &f.host;
    assert_int_equal(lp_submit(lease, &first.job, task_run, slow_done), 0);
    assert_int_equal(task_submit(&second, lease), 0);
    assert_non_null(fake_take(lease->executor));
    assert_non_null(fake_take(lease->executor));
    assert_int_equal(stop_within(&stop, manager, TIMEOUT), 0);
    fake_finish(&first.job);
    fake_finish(&second.job);
    host_pass(&f.host, LIMIT);
    host_turn(&f.host);
    assert_report(&stop, 2, 0, 0);
    assert_int_equal(f.log.lines, 0);
    fake_close(&f.host);
}

static void jobs_that_ended_without_running_are_not_finished(void **state)
{
    (void)state;
    fixture_t f;
    task_t late = {0}, cancelled = {0}, expired = {0}, standing, posted;
    stop_t stop;
    lp_manager_t *manager = open_pools(&f, 2);
    lp_lease_t *lease = lease_of(manager), *other = lease_of(manager);
    assert_int_equal(lp_lease_renew(lease, 2 * LP_SECOND), 0);
    assert_int_equal(lp_lease_renew(other, 1), 0);
    manager->options.lease_grace_ns = 0;
    assert_int_equal(lp_lease_renew(other, 1), 0);
    fake_stand(&standing, lease);
    fake_stand(&posted, lease);
    fake_finish(&posted.job);
    assert_int_equal(task_submit_within(&late, lease, 1), 0);
    assert_int_equal(task_submit(&cancelled, lease), 0);
    assert_int_equal(task_submit(&expired, other), 0);
    assert_int_equal(lp_job_cancel(&cancelled.job), 0);
    host_pass(&f.host, 1);
    assert_int_equal(stop_begin(&stop, manager), 0); /* all but one are on their way */
    host_turn(&f.host);
    assert_int_equal(late.status, LP_ETIMEDOUT);
    assert_int_equal(cancelled.status, LP_ECANCELLED);
    assert_int_equal(expired.status, LP_EEXPIRED);
    fake_finish(&standing.job);
    host_turn(&f.host);
    assert_report(&stop, 2, 0, 0);
    lp_manager_stats_t s = assert_equations(manager);
    assert_int_equal(s.expired, 1);
    assert_int_equal(s.stopped, 1);
    fake_close(&f.host);
}

/* ---- Two stops ---------------------------------------------------------------- */

static void the_shortest_limit_of_several_stops_holds(void **state)
{
    (void)state;
    static const struct {
        uint64_t first, second, ends;
    } cases[] = {{LP_FOREVER, 100, 150 + GRACES},
                 {100, LP_FOREVER, 100 + GRACES},
                 {1000, 100, 150 + GRACES},
                 {100, 1000, 100 + GRACES},
                 {100, 50, 100 + GRACES},
                 {100, 0, 50 + GRACES},
                 {50, 0, 50 + GRACES},
                 {LP_FOREVER, LP_FOREVER - 1, LP_FOREVER}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        fixture_t f;
        task_t task;
        stop_t first, second;
        lp_manager_t *manager = open_pools(&f, 1);
        fake_stand(&task, lease_of(manager));
        assert_int_equal(stop_within(&first, manager, cases[i].first), 0);
        host_advance(&f.host, 50);
        assert_int_equal(stop_within(&second, manager, cases[i].second), 0);
        bool ends = cases[i].ends != LP_FOREVER;
        if (ends) { /* the graces count from when the loop has asked */
            host_advance(&f.host, cases[i].ends - 50 - GRACES);
            host_advance(&f.host, GRACES - 1);
        } else {
            host_advance(&f.host, 1000 * LP_SECOND);
        }
        assert_int_equal(first.calls + second.calls, 0);
        if (ends)
            host_advance(&f.host, 1);
        else
            fake_finish(&task.job);
        host_turn(&f.host);
        assert_report(&first, !ends, 0, ends);
        assert_report(&second, !ends, 0, ends);
        fake_finish_all(manager);
        fake_close(&f.host);
    }
}

static void a_stop_request_in_use_is_refused(void **state)
{
    (void)state;
    for (int started = 0; started < 2; started++) {
        fixture_t f;
        task_t task;
        stop_t stop;
        lp_manager_t *manager = open_pools(&f, 1);
        if (!started)
            lp_manager_stop(manager, NULL, 0, NULL);
        else
            fake_stand(&task, lease_of(manager));
        assert_int_equal(stop_within(&stop, manager, LP_FOREVER), 0);
        assert_int_equal(lp_manager_stop(manager, &stop.req, 0, stop_done), LP_ESTATE);
        fake_finish_all(manager);
        host_turn(&f.host);
        assert_report(&stop, (uint64_t)started, 0, 0);
        assert_int_equal(lp_manager_stop(manager, &stop.req, 0, stop_done), 0); /* and again */
        host_turn(&f.host);
        assert_int_equal(stop.calls, 2);
        fake_close(&f.host);
    }
}

/* ---- After a stop that gave up ------------------------------------------------ */

/* A manager of two executors, both of them left behind with a job that was given up. */
static void leave_two(fixture_t *f, task_t tasks[2], lp_lease_t *leases[2], int64_t max_retiring)
{
    stop_t stop;
    lp_manager_t *manager = open_pools(f, 2);
    manager->options.max_retiring = max_retiring;
    for (size_t i = 0; i < 2; i++) {
        leases[i] = lease_of(manager);
        fake_stand(&tasks[i], leases[i]);
    }
    assert_int_equal(stop_within(&stop, manager, 0), 0);
    host_turn(&f->host);
    host_advance(&f->host, GRACES);
    assert_report(&stop, 0, 0, 2);
    assert_int_equal(assert_equations(manager).retiring, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(tasks[i].calls, 1);
        assert_int_equal(tasks[i].status, LP_ECANCELLED);
        assert_true(tasks[i].lost);
    }
}

static void what_is_left_behind_takes_places_of_the_next_start(void **state)
{
    (void)state;
    for (int64_t max_retiring = 0; max_retiring <= 2; max_retiring++) {
        fixture_t f;
        task_t tasks[2];
        lp_lease_t *leases[2], *next = NULL;
        wait_t waiters[2];
        leave_two(&f, tasks, leases, max_retiring);
        lp_manager_t *manager = f.manager;
        assert_int_equal(lp_manager_start(manager), 0);
        assert_int_equal(assert_equations(manager).total, max_retiring > 0 ? 1 : 0);
        assert_int_equal(lp_try_acquire(manager, NULL, &next),
                         max_retiring > 0 ? 0 : LP_EUNAVAILABLE);
        lp_lease_close(next);
        for (int i = 0; i < 2; i++)
            assert_int_equal(wait_begin(&waiters[i], manager, LP_FOREVER), 0);
        host_turn(&f.host);
        for (int ended = 0; ended <= 2; ended++) {
            int64_t places = max_retiring + ended < 2 ? max_retiring + ended : 2;
            assert_int_equal(waiters[0].calls + waiters[1].calls, places);
            assert_int_equal(assert_equations(manager).leased, places);
            if (ended < 2) {
                fake_return(manager, &tasks[ended].job);
                host_turn(&f.host);
                assert_int_equal(tasks[ended].calls, 1);
            }
        }
        lp_lease_close(waiters[0].lease);
        lp_lease_close(waiters[1].lease);
        assert_equations(manager);
        fake_close(&f.host);
    }
}

static void a_second_stop_waits_for_what_the_first_left_behind(void **state)
{
    (void)state;
    for (int gives_up = 0; gives_up < 2; gives_up++) {
        fixture_t f;
        task_t tasks[2];
        lp_lease_t *leases[2];
        stop_t stop;
        leave_two(&f, tasks, leases, 2);
        int asks = fake.asks;
        assert_int_equal(lp_manager_start(f.manager), 0);
        assert_int_equal(stop_within(&stop, f.manager, TIMEOUT), 0);
        host_turn(&f.host);
        assert_int_equal(stop.calls, 0);
        fake_return(f.manager, &tasks[0].job);
        host_advance(&f.host, gives_up ? TIMEOUT : 1);
        if (gives_up)
            host_advance(&f.host, GRACES);
        else
            fake_return(f.manager, &tasks[1].job);
        host_turn(&f.host);
        assert_report(&stop, 0, 0, gives_up ? 1 : 0);
        assert_int_equal(fake.asks, asks); /* what was given up is not asked again */
        fake_finish_all(f.manager);
        host_turn(&f.host);
        assert_equations(f.manager);
        fake_close(&f.host);
    }
}

static void closing_the_runtime_lets_go_of_what_was_left_behind(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    for (int back = 0; back <= 2; back++) { /* so many have come back, and are not joined yet */
        fixture_t f;
        task_t tasks[2];
        lp_lease_t *leases[2];
        leave_two(&f, tasks, leases, 1);
        for (int i = 0; i < back; i++)
            fake_return(f.manager, &tasks[i].job);
        assert_int_equal(lp_runtime_close(f.host.rt, host_on_closed, &f.host), 0);
        assert_false(f.host.closed);
        assert_int_equal(uv_run(&f.host.loop, UV_RUN_DEFAULT), 0);
        assert_true(f.host.closed);
        assert_int_equal(fake.detached, 2 - back);
        assert_int_equal(fake.joins, back);
        memset(tasks, 0xaa, sizeof tasks);
        if (back < 2)
            assert_true(lp__load_relaxed(&live_blocks) > before); /* what they may look at */
        fake_close(&f.host);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    }
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

static void a_manager_closed_after_a_stop_that_gave_up_goes_with_its_last_job(void **state)
{
    (void)state;
    for (int leases_first = 0; leases_first < 2; leases_first++) {
        fixture_t f;
        task_t tasks[2];
        lp_lease_t *leases[2];
        leave_two(&f, tasks, leases, 1);
        lp_manager_close(f.manager);
        for (size_t i = 0; i < 2 && leases_first; i++)
            lp_lease_close(leases[i]);
        fake_return(f.manager, &tasks[0].job);
        host_turn(&f.host);
        assert_false(lp__list_empty(&f.host.rt->managers));
        fake_return(f.manager, &tasks[1].job);
        host_turn(&f.host);
        for (size_t i = 0; i < 2 && !leases_first; i++) {
            assert_int_equal(lp_lease_state(leases[i]), LP_LEASE_CLOSED);
            lp_lease_close(leases[i]);
        }
        assert_true(lp__list_empty(&f.host.rt->managers));
        fake_close(&f.host);
    }
}

static void a_stop_that_gives_up_on_idle_workers_abandons_no_job(void **state)
{
    (void)state;
    fixture_t f;
    task_t task = {0};
    stop_t stop;
    lp_manager_t *manager = open_pools(&f, 1);
    lp_lease_t *lease = lease_of(manager);
    assert_int_equal(task_submit(&task, lease), 0);
    fake_work(lease->executor);
    host_turn(&f.host);
    fake.linger = true; /* its state takes long to close */
    assert_int_equal(stop_within(&stop, manager, 0), 0);
    host_turn(&f.host);
    host_advance(&f.host, GRACES);
    assert_report(&stop, 0, 0, 0);
    assert_string_equal(f.log.last, "the stop does not wait for 1 workers that go on");
    assert_int_equal(assert_equations(manager).retiring, 1);
    fake.linger = false;
    fake_leave_all(manager);
    host_turn(&f.host);
    assert_int_equal(assert_equations(manager).retiring, 0);
    fake_close(&f.host);
}

static void restart(lp_stop_t *req, const lp_stop_report_t *report)
{
    fixture_t *f = req->data;
    stop_t *stop = (stop_t *)(void *)req;
    stop->calls++;
    stop->report = *report;
    assert_int_equal(lp_manager_start(f->manager), 0);
    lp_lease_close(lease_of(f->manager));
}

static void the_callback_of_a_stop_that_gave_up_may_start_again(void **state)
{
    (void)state;
    fixture_t f;
    task_t task;
    stop_t stop;
    memset(&stop, 0, sizeof stop);
    lp_manager_t *manager = open_pools(&f, 1);
    fake_stand(&task, lease_of(manager));
    stop.req.data = &f;
    assert_int_equal(lp_manager_stop(manager, &stop.req, 0, restart), 0);
    host_turn(&f.host);
    host_advance(&f.host, GRACES);
    assert_report(&stop, 0, 0, 1);
    lp_manager_stats_t s = assert_equations(manager);
    assert_int_equal(s.available, 1);
    assert_int_equal(s.retiring, 1);
    fake_return(manager, &task.job);
    host_turn(&f.host);
    assert_int_equal(task.status, LP_ECANCELLED);
    assert_int_equal(assert_equations(manager).retiring, 0);
    fake_close(&f.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_ends_with_the_last_job_and_not_with_its_limit),
        cmocka_unit_test(a_stop_gives_up_at_the_exact_nanosecond),
        cmocka_unit_test(jobs_that_came_back_in_time_are_not_abandoned),
        cmocka_unit_test(jobs_that_came_back_but_were_not_told_yet_are_not_abandoned),
        cmocka_unit_test(jobs_that_ended_without_running_are_not_finished),
        cmocka_unit_test(the_shortest_limit_of_several_stops_holds),
        cmocka_unit_test(a_stop_request_in_use_is_refused),
        cmocka_unit_test(what_is_left_behind_takes_places_of_the_next_start),
        cmocka_unit_test(a_second_stop_waits_for_what_the_first_left_behind),
        cmocka_unit_test(closing_the_runtime_lets_go_of_what_was_left_behind),
        cmocka_unit_test(a_manager_closed_after_a_stop_that_gave_up_goes_with_its_last_job),
        cmocka_unit_test(a_stop_that_gives_up_on_idle_workers_abandons_no_job),
        cmocka_unit_test(the_callback_of_a_stop_that_gave_up_may_start_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
