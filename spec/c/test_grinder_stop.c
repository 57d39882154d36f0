/* test_grinder_stop.c - how a grinder ends: stopped, closed, or with its manager or its runtime. */
#include "grind.h"

/* ---- Stopping ----------------------------------------------------------------- */

static void a_stop_drains_what_is_pending(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[3], refused = {0};
    stop_t stop;
    mill_open(&mill, 1, 1, 20);
    grind_all(&mill, tasks, 3);
    assert_int_equal(grinder_stop(&stop, mill.grinder, LP_FOREVER), 0);
    assert_int_equal(assert_grinder(mill.grinder).in_flight, 3); /* in a last batch */
    assert_int_equal(grinder_counts(mill.grinder).stopping, 1);
    assert_int_equal(grind(&mill, &refused, LP_FOREVER), LP_ENOTSTARTED);
    assert_int_equal(lp_grinder_start(mill.grinder), LP_ESTATE);
    assert_int_equal(lp_grinder_stop(mill.grinder, &stop.req, LP_FOREVER, stop_done), LP_ESTATE);
    host_advance(&mill.host, LP_SECOND);
    assert_int_equal(stop.calls, 0);
    mill_run(&mill);
    assert_int_equal(told(tasks, 3, 0), 3);
    assert_int_equal(stop.calls, 1);
    assert_int_equal(stop.report.finished, 3);
    assert_int_equal(stop.report.cancelled, 0);
    assert_int_equal(grind(&mill, &refused, LP_FOREVER), LP_ENOTSTARTED);
    assert_int_equal(counts_of(mill.manager).leased, 0);
    mill_close(&mill);
}

static void a_stop_drains_in_as_many_batches_as_it_takes(void **state)
{
    (void)state;
    enum { JOBS = 11 };
    mill_t mill;
    task_t tasks[JOBS];
    stop_t stop;
    lp_manager_options_t options = fake_options(2, 1);
    lp_grinder_options_t grinder = grind_options(20);
    options.max_queue = 2;
    mill_open_with(&mill, &options, &grinder);
    fake.lazy = true;
    lp_lease_t *outside = lease_of(mill.manager), *other = lease_of(mill.manager);
    grind_all(&mill, tasks, JOBS);
    assert_int_equal(grinder_stop(&stop, mill.grinder, LP_FOREVER), 0);
    assert_int_equal(assert_grinder(mill.grinder).waiting, 1);
    lp_lease_close(outside);
    mill_run(&mill);
    assert_int_equal(told(tasks, JOBS, 0), JOBS);
    assert_int_equal(grinder_counts(mill.grinder).batches, 6);
    assert_int_equal(stop.report.finished, JOBS);
    lp_lease_close(other);
    mill_close(&mill);
}

static void a_stop_without_time_begins_nothing(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[3];
    stop_t stop;
    mill_open(&mill, 1, 1, 20);
    fake.lazy = false; /* who gets a job would run it at once */
    grind_all(&mill, tasks, 3);
    assert_int_equal(grinder_stop(&stop, mill.grinder, 0), 0);
    host_turn(&mill.host);
    assert_int_equal(told(tasks, 3, LP_ECANCELLED), 3);
    assert_int_equal(counts_of(mill.manager).acquired, 0);
    assert_int_equal(grinder_counts(mill.grinder).items, 0);
    assert_int_equal(stop.calls, 1);
    assert_int_equal(stop.report.cancelled, 3);
    mill_close(&mill);
}

static void a_stop_without_time_takes_back_the_batch_that_waits(void **state)
{
    (void)state;
    for (int handed_over = 0; handed_over < 2; handed_over++) {
        mill_t mill;
        task_t tasks[2];
        stop_t stop;
        wait_t next;
        mill_open(&mill, 1, 1, 2);
        lp_lease_t *outside = lease_of(mill.manager);
        grind_all(&mill, tasks, 2);
        assert_int_equal(wait_begin(&next, mill.manager, LP_FOREVER), 0);
        if (handed_over) /* and not delivered yet */
            lp_lease_close(outside);
        assert_int_equal(grinder_stop(&stop, mill.grinder, 0), 0);
        assert_int_equal(assert_grinder(mill.grinder).waiting, 0);
        host_turn(&mill.host);
        assert_int_equal(stop.calls, 1);
        assert_int_equal(told(tasks, 2, LP_ECANCELLED), 2);
        assert_int_equal(next.calls, handed_over);
        if (!handed_over)
            lp_lease_close(outside);
        host_turn(&mill.host);
        assert_int_equal(next.status, 0);
        lp_lease_close(next.lease);
        mill_close(&mill);
    }
}

static void a_second_stop_joins_the_first_and_may_cancel(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[5];
    stop_t stops[2];
    mill_open(&mill, 1, 1, 3);
    grind_all(&mill, tasks, 5); /* three in a batch, two pending */
    assert_ptr_equal(fake_take(executor_of(mill.manager, 0)), &tasks[0].job);
    assert_int_equal(grinder_stop(&stops[0], mill.grinder, LP_FOREVER), 0);
    host_turn(&mill.host);
    assert_int_equal(lp_grinder_stop(mill.grinder, NULL, LP_FOREVER, NULL), 0);
    assert_int_equal(grinder_stop(&stops[1], mill.grinder, 0), 0);
    host_turn(&mill.host);
    assert_int_equal(told(tasks, 5, LP_ECANCELLED), 4);
    assert_int_equal(fake.asks, 1); /* the one that runs */
    assert_int_equal(stops[0].calls + stops[1].calls, 0);
    assert_int_equal(lp_job_cancelled(&tasks[0].job), LP_ECANCELLED);
    fake_finish(&tasks[0].job);
    host_turn(&mill.host);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(stops[i].calls, 1);
        assert_int_equal(stops[i].report.cancelled, 5);
        assert_int_equal(stops[i].report.finished, 0);
    }
    lp_grinder_stats_t s = assert_grinder(mill.grinder);
    assert_int_equal(s.items, 3);
    assert_int_equal(s.cancelled, 3);
    mill_close(&mill);
}

static void what_is_left_when_the_time_of_a_stop_is_over_is_cancelled(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[6];
    stop_t stops[3];
    lp_manager_options_t options = fake_options(1, 1);
    lp_grinder_options_t grinder = grind_options(6);
    options.max_queue = 2;
    mill_open_with(&mill, &options, &grinder);
    fake.lazy = true;
    grind_all(&mill, tasks, 6); /* two in a batch, four pending */
    assert_int_equal(grinder_stop(&stops[0], mill.grinder, 5 * LP_SECOND), 0);
    assert_int_equal(grinder_stop(&stops[1], mill.grinder, 2 * LP_SECOND), 0);
    assert_int_equal(grinder_stop(&stops[2], mill.grinder, LP_FOREVER), 0);
    fake_finish(fake_take(executor_of(mill.manager, 0)));
    fake_finish(fake_take(executor_of(mill.manager, 0)));
    host_advance(&mill.host, 2 * LP_SECOND - 1);
    assert_int_equal(told(tasks, 6, 0), 2);
    assert_int_equal(assert_grinder(mill.grinder).in_flight, 2); /* it drains */
    host_advance(&mill.host, 1);
    assert_int_equal(told(tasks, 6, LP_ECANCELLED), 4);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(stops[i].calls, 1);
        assert_int_equal(stops[i].report.finished, 2);
        assert_int_equal(stops[i].report.cancelled, 4);
    }
    assert_int_equal(lp_grinder_start(mill.grinder), 0); /* and has no limit any more */
    grind_all(&mill, tasks, 1);
    assert_int_equal(grinder_stop(&stops[0], mill.grinder, LP_FOREVER), 0);
    host_advance(&mill.host, 5 * LP_SECOND);
    mill_run(&mill);
    assert_int_equal(tasks[0].status, 0);
    mill_close(&mill);
}

static void a_stop_does_not_wait_for_what_cannot_be_stopped(void **state)
{
    (void)state;
    mill_t mill;
    task_t task;
    stop_t stop;
    mill_open(&mill, 1, 1, 1);
    log_t log = {0};
    lp_set_logger(mill.host.rt, log_line, &log);
    grind_all(&mill, &task, 1);
    assert_ptr_equal(fake_take(executor_of(mill.manager, 0)), &task.job);
    assert_int_equal(grinder_stop(&stop, mill.grinder, 0), 0);
    for (int i = 0; i < 4; i++)
        host_advance(&mill.host, LP_SECOND);
    assert_int_equal(task.status, LP_ECANCELLED);
    assert_true(task.lost);
    assert_int_equal(stop.calls, 1);
    assert_int_equal(grinder_counts(mill.grinder).failed, 1); /* it was not stopped */
    fake_return(mill.manager, &task.job);
    mill_close(&mill);
}

static void a_stop_ends_when_the_last_pending_job_is_cancelled(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[2] = {0};
    stop_t stop;
    mill_open(&mill, 1, 1, 2);
    lp_lease_t *outside = lease_of(mill.manager);
    assert_int_equal(grind(&mill, &tasks[0], LP_SECOND), 0);
    assert_int_equal(grind(&mill, &tasks[1], LP_FOREVER), 0);
    assert_int_equal(grinder_stop(&stop, mill.grinder, LP_FOREVER), 0);
    assert_int_equal(lp_job_cancel(&tasks[1].job), 0);
    host_turn(&mill.host);
    assert_int_equal(stop.calls, 0);
    host_advance(&mill.host, LP_SECOND);
    assert_int_equal(tasks[0].status, LP_ETIMEDOUT);
    assert_int_equal(stop.calls, 1); /* though nobody gave a lease back */
    lp_lease_close(outside);
    mill_close(&mill);
}

static void a_grinder_can_be_started_again(void **state)
{
    (void)state;
    mill_t mill;
    task_t task = {0};
    stop_t stop;
    mill_open(&mill, 1, 1, 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lp_grinder_start(mill.grinder), 0);
        assert_int_equal(lp_grinder_start(mill.grinder), 0);
        assert_int_equal(grind(&mill, &task, LP_FOREVER), 0);
        assert_int_equal(grinder_stop(&stop, mill.grinder, LP_FOREVER), 0);
        mill_run(&mill);
        assert_int_equal(task.calls, i + 1);
        assert_int_equal(stop.report.finished, 1); /* of this stop */
        assert_int_equal(grinder_stop(&stop, mill.grinder, 0), 0);
        host_turn(&mill.host);
        assert_int_equal(stop.calls, 1); /* nothing to stop */
        assert_int_equal(stop.report.finished, 0);
    }
    assert_int_equal(grinder_counts(mill.grinder).items, 3);
    mill_close(&mill);
}

/* ---- From callbacks ----------------------------------------------------------- */

static struct {
    mill_t *mill;
    stop_t stop;
    int cancel;
    bool close;
} inside;

static void stop_inside(void)
{
    assert_int_equal(
        grinder_stop(&inside.stop, inside.mill->grinder, inside.cancel ? 0 : LP_FOREVER), 0);
    if (inside.close)
        lp_grinder_close(inside.mill->grinder);
}

static void done_stops(lp_job_t *job, int status)
{
    task_done(job, status);
    if (!inside.stop.req.data) {
        stop_inside();
        inside.stop.req.data = &inside;
    }
}

static void progress_stops(lp_grinder_t *grinder, uint64_t done, uint64_t total, void *data)
{
    (void)done;
    (void)total;
    (void)data;
    assert_ptr_equal(grinder, inside.mill->grinder);
    if (!inside.stop.req.data) {
        stop_inside();
        inside.stop.req.data = &inside;
    }
}

static void it_is_stopped_and_closed_from_inside_of_callbacks(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        enum { JOBS = 7 };
        mill_t mill;
        task_t tasks[JOBS] = {0};
        lp_manager_options_t options = fake_options(1, 1);
        lp_grinder_options_t grinder = grind_options(4);
        grinder.on_progress = i & 4 ? progress_stops : NULL;
        mill_open_with(&mill, &options, &grinder);
        fake.lazy = true;
        memset(&inside, 0, sizeof inside);
        inside.mill = &mill;
        inside.cancel = i & 1;
        inside.close = i & 2;
        for (size_t j = 0; j < JOBS; j++)
            assert_int_equal(lp_grinder_submit(mill.grinder, &tasks[j].job, LP_FOREVER, task_run,
                                               i & 4 ? task_done : done_stops),
                             0);
        fake_finish(fake_take(executor_of(mill.manager, 0)));
        host_turn(&mill.host);
        assert_int_equal(inside.stop.calls, inside.cancel);
        while (told(tasks, JOBS, 0) + told(tasks, JOBS, LP_ECANCELLED) < JOBS) {
            fake_work(executor_of(mill.manager, 0));
            assert_true(lp__runtime_turn(mill.host.rt));
        }
        assert_int_equal(told(tasks, JOBS, 0), inside.cancel ? 1 : JOBS);
        host_turn(&mill.host);
        assert_int_equal(inside.stop.calls, 1);
        assert_int_equal(list_length(&mill.manager->grinders), inside.close ? 0 : 1);
        mill_close(&mill);
    }
}

/* ---- With the manager and the runtime ------------------------------------------- */

static void closing_the_handle_drains_and_frees(void **state)
{
    (void)state;
    enum { JOBS = 5 };
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    for (int order = 0; order < 3; order++) {
        mill_t mill;
        task_t tasks[JOBS];
        mill_open(&mill, 1, 1, 3);
        grind_all(&mill, tasks, JOBS);
        if (order == 0)
            lp_manager_close(mill.manager);
        lp_grinder_close(mill.grinder);
        if (order == 1)
            lp_manager_close(mill.manager);
        while (told(tasks, JOBS, 0) < JOBS) {
            fake_work(executor_of(mill.manager, 0));
            assert_true(lp__runtime_turn(mill.host.rt));
        }
        if (order < 2) /* and the manager with it */
            assert_true(lp__list_empty(&mill.host.rt->managers));
        else
            assert_true(lp__list_empty(&mill.manager->grinders));
        mill_close(&mill);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    }
    lp_grinder_close(NULL);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

static void when_the_manager_stops_what_is_pending_ends(void **state)
{
    (void)state;
    for (size_t jobs = 1; jobs <= 3; jobs += 2) { /* with a batch that waits, and without */
        mill_t mill;
        task_t tasks[3], refused = {0};
        stop_t stop, ground;
        mill_open(&mill, 1, 1, 3);
        lp_lease_t *outside = lease_of(mill.manager);
        grind_all(&mill, tasks, jobs);
        assert_int_equal(grinder_counts(mill.grinder).waiting, jobs == 3);
        assert_int_equal(stop_begin(&stop, mill.manager), 0);
        assert_int_equal(assert_grinder(mill.grinder).pending, 0);
        assert_int_equal(told(tasks, jobs, LP_ENOTSTARTED), 0); /* but later */
        assert_int_equal(grind(&mill, &refused, LP_FOREVER), LP_ENOTSTARTED);
        host_turn(&mill.host);
        assert_int_equal(told(tasks, jobs, LP_ENOTSTARTED), jobs);
        assert_int_equal(stop.calls, 1);
        assert_int_equal(lp_manager_start(mill.manager), 0);
        grind_all(&mill, tasks, 3); /* it goes on with its manager */
        mill_run(&mill);
        assert_int_equal(told(tasks, 3, 0), 3);
        grind_all(&mill, tasks, 2);
        assert_int_equal(grinder_stop(&ground, mill.grinder, LP_FOREVER), 0);
        assert_int_equal(stop_begin(&stop, mill.manager), 0);
        host_turn(&mill.host);
        assert_int_equal(told(tasks, 2, LP_ECANCELLED), 2); /* they were in its last batch */
        assert_int_equal(ground.calls, 1);
        assert_int_equal(lp_grinder_start(mill.grinder), LP_ENOTSTARTED);
        lp_lease_close(outside);
        mill_close(&mill);
    }
}

static void when_the_manager_stops_what_is_in_a_batch_ends_like_other_jobs(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[4];
    stop_t stop, ground;
    mill_open(&mill, 2, 1, 3);
    grind_all(&mill, tasks, 4);
    assert_ptr_equal(fake_take(executor_of(mill.manager, 0)), &tasks[0].job);
    assert_int_equal(stop_begin(&stop, mill.manager), 0);
    host_turn(&mill.host);
    assert_int_equal(told(tasks, 4, LP_ECANCELLED), 2);
    assert_int_equal(grinder_stop(&ground, mill.grinder, LP_FOREVER), 0);
    fake_finish(&tasks[0].job);
    host_turn(&mill.host);
    assert_int_equal(tasks[0].status, 0);
    assert_int_equal(tasks[3].status, LP_ENOTSTARTED); /* there was no batch for it */
    assert_int_equal(stop.calls + ground.calls, 2);
    assert_int_equal(assert_grinder(mill.grinder).cancelled, 2);
    mill_close(&mill);
}

static void when_the_runtime_closes_everything_is_cancelled(void **state)
{
    (void)state;
    enum { JOBS = 9 };
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    for (int i = 0; i < 8; i++) {
        mill_t mill;
        task_t tasks[JOBS];
        stop_t stop = {0};
        mill_open(&mill, 3, 1, 4);
        for (int leases = 0; leases < (i & 1 ? 2 : 0); leases++)
            (void)lease_of(mill.manager);
        grind_all(&mill, tasks, JOBS); /* in a batch, and waiting for one or pending */
        lp_job_t *runs = fake_take(executor_of(mill.manager, i & 1 ? 2 : 0));
        assert_ptr_equal(runs, &tasks[0].job);
        if (i & 2)
            assert_int_equal(grinder_stop(&stop, mill.grinder, LP_FOREVER), 0);
        if (i & 4)
            lp_grinder_close(mill.grinder);
        fake.lazy = false; /* who gets a job would run it at once */
        assert_int_equal(lp_runtime_close(mill.host.rt, host_on_closed, &mill.host), 0);
        if (!(i & 4)) {
            task_t refused = {0};
            lp_grinder_t *another;
            assert_int_equal(grind(&mill, &refused, LP_FOREVER), LP_ENOTSTARTED);
            assert_int_equal(lp_grinder_create(&another, mill.manager, NULL), LP_ESTATE);
        }
        fake_finish(runs);
        mill_close(&mill);
        assert_int_equal(told(tasks, JOBS, 0), 1);
        assert_int_equal(told(tasks, JOBS, LP_ECANCELLED), JOBS - 1);
        assert_int_equal(stop.calls, i & 2 ? 1 : 0);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    }
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_drains_what_is_pending),
        cmocka_unit_test(a_stop_drains_in_as_many_batches_as_it_takes),
        cmocka_unit_test(a_stop_without_time_begins_nothing),
        cmocka_unit_test(a_stop_without_time_takes_back_the_batch_that_waits),
        cmocka_unit_test(a_second_stop_joins_the_first_and_may_cancel),
        cmocka_unit_test(what_is_left_when_the_time_of_a_stop_is_over_is_cancelled),
        cmocka_unit_test(a_stop_does_not_wait_for_what_cannot_be_stopped),
        cmocka_unit_test(a_stop_ends_when_the_last_pending_job_is_cancelled),
        cmocka_unit_test(a_grinder_can_be_started_again),
        cmocka_unit_test(it_is_stopped_and_closed_from_inside_of_callbacks),
        cmocka_unit_test(closing_the_handle_drains_and_frees),
        cmocka_unit_test(when_the_manager_stops_what_is_pending_ends),
        cmocka_unit_test(when_the_manager_stops_what_is_in_a_batch_ends_like_other_jobs),
        cmocka_unit_test(when_the_runtime_closes_everything_is_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
