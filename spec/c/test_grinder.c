/* test_grinder.c - when a batch begins, which jobs it takes, and how each of them ends. How a
 * grinder ends is in test_grinder_stop.c. */
#include "grind.h"

/* ---- When a batch begins ------------------------------------------------------ */

static const char *owner_of_only_lease(lp_manager_t *manager)
{
    assert_int_equal(list_length(&manager->leases), 1);
    return lp_lease_owner(LP__CONTAINER(manager->leases.next, lp_lease_t, link));
}

static void a_batch_begins_when_enough_jobs_are_pending(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[6];
    mill_open(&mill, 1, 2, 3);
    for (size_t n = 1; n <= 2; n++) {
        grind_all(&mill, tasks, 2);
        host_advance(&mill.host, LP_SECOND);
        assert_int_equal(counts_of(mill.manager).leased, 0);
        memset(&tasks[2], 0, sizeof tasks[2]);
        assert_int_equal(grind(&mill, &tasks[2], LP_FOREVER), 0);
        assert_string_equal(owner_of_only_lease(mill.manager),
                            n == 1 ? "work-grinder-batch-1" : "work-grinder-batch-2");
        mill_run(&mill);
        assert_int_equal(told(tasks, 3, 0), 3);
        assert_int_equal(grinder_counts(mill.grinder).batches, n);
        assert_int_equal(counts_of(mill.manager).leased, 0);
    }
    mill_close(&mill);
}

static void a_batch_begins_when_the_oldest_job_has_waited_long_enough(void **state)
{
    (void)state;
    mill_t mill;
    task_t first = {0}, second = {0}, third = {0};
    mill_open(&mill, 1, 1, 20);
    assert_int_equal(grind(&mill, &first, LP_FOREVER), 0);
    host_advance(&mill.host, 4 * LP_SECOND);
    assert_int_equal(grind(&mill, &second, LP_FOREVER), 0);
    assert_int_equal(grinder_counts(mill.grinder).oldest_wait_ns, 4 * LP_SECOND);
    assert_int_equal(lp_job_cancel(&first.job), 0); /* then it is the next one that counts */
    assert_int_equal(grinder_counts(mill.grinder).oldest_wait_ns, 0);
    host_advance(&mill.host, 6 * LP_SECOND);
    assert_int_equal(first.calls, 1);
    assert_int_equal(grind(&mill, &third, LP_FOREVER), 0);
    host_advance(&mill.host, 4 * LP_SECOND - 1);
    assert_int_equal(grinder_counts(mill.grinder).pending, 2);
    host_advance(&mill.host, 1);
    assert_int_equal(grinder_counts(mill.grinder).in_flight, 2); /* the younger goes along */
    mill_run(&mill);
    assert_int_equal(second.calls + third.calls, 2);
    mill_close(&mill);
}

static void a_lease_takes_the_oldest_jobs_of_the_moment_it_is_granted(void **state)
{
    (void)state;
    enum { JOBS = 8 };
    mill_t mill;
    task_t tasks[JOBS];
    mill_open(&mill, 1, 1, 2);
    lp_lease_t *outside = lease_of(mill.manager);
    grind_all(&mill, tasks, JOBS);
    assert_int_equal(grinder_counts(mill.grinder).waiting, 1); /* max_pools */
    assert_int_equal(lp_job_cancel(&tasks[0].job), 0);
    assert_int_equal(lp_job_cancel(&tasks[5].job), 0);
    lp_lease_close(outside);
    host_turn(&mill.host);
    assert_int_equal(told(tasks, JOBS, LP_ECANCELLED), 2);
    assert_int_equal(assert_grinder(mill.grinder).in_flight, 6);
    for (size_t i = 1; i < JOBS; i++) {
        if (i == 5)
            continue;
        assert_ptr_equal(fake_take(executor_of(mill.manager, 0)), &tasks[i].job);
        fake_finish(&tasks[i].job);
    }
    host_turn(&mill.host);
    assert_int_equal(told(tasks, JOBS, 0), 6);
    assert_int_equal(grinder_counts(mill.grinder).items, 6);
    mill_close(&mill);
}

static void a_batch_takes_as_many_as_the_queue_has_room_for(void **state)
{
    (void)state;
    enum { JOBS = 7 };
    mill_t mill;
    task_t tasks[JOBS];
    lp_manager_options_t options = fake_options(1, 1);
    lp_grinder_options_t grinder = grind_options(JOBS);
    options.max_queue = 3;
    mill_open_with(&mill, &options, &grinder);
    fake.lazy = true;
    grind_all(&mill, tasks, JOBS);
    assert_int_equal(grinder_counts(mill.grinder).in_flight, 3);
    assert_int_equal(grinder_counts(mill.grinder).pending, 4); /* fewer than a batch */
    mill_run(&mill);
    assert_int_equal(told(tasks, JOBS, 0), 3);
    host_advance(&mill.host, 10 * LP_SECOND);
    mill_run(&mill);
    assert_int_equal(told(tasks, JOBS, 0), JOBS); /* the last as soon as it could */
    assert_int_equal(grinder_counts(mill.grinder).batches, 3);
    mill_close(&mill);
}

static void batches_that_wait_share_what_is_pending(void **state)
{
    (void)state;
    enum { JOBS = 10 };
    mill_t mill;
    task_t tasks[JOBS];
    mill_open(&mill, 3, 1, 4);
    lp_lease_t *outside[3];
    for (size_t i = 0; i < 3; i++)
        outside[i] = lease_of(mill.manager);
    grind_all(&mill, tasks, JOBS);
    assert_int_equal(grinder_counts(mill.grinder).waiting, 2);
    lp_lease_close(outside[0]);
    host_turn(&mill.host);
    assert_int_equal(grinder_counts(mill.grinder).in_flight, 5);
    lp_lease_close(outside[1]);
    host_turn(&mill.host);
    assert_int_equal(assert_grinder(mill.grinder).in_flight, 10);
    assert_int_equal(grinder_counts(mill.grinder).running, 2);
    mill_run(&mill);
    assert_int_equal(told(tasks, JOBS, 0), JOBS);
    lp_lease_close(outside[2]);
    mill_close(&mill);
}

static void there_are_never_more_batches_than_max_batches(void **state)
{
    (void)state;
    enum { JOBS = 30 };
    mill_t mill;
    task_t tasks[JOBS];
    lp_manager_options_t options = fake_options(4, 1);
    lp_grinder_options_t grinder = grind_options(1);
    grinder.max_batches = 2;
    mill_open_with(&mill, &options, &grinder);
    fake.lazy = true;
    grind_all(&mill, tasks, JOBS);
    assert_int_equal(grinder_counts(mill.grinder).running, 2);
    assert_int_equal(counts_of(mill.manager).leased, 2);
    mill_run(&mill);
    assert_int_equal(told(tasks, JOBS, 0), JOBS);
    lp_lease_t *outside[4];
    for (size_t i = 0; i < 4; i++)
        outside[i] = lease_of(mill.manager);
    grind_all(&mill, tasks, JOBS);
    assert_int_equal(counts_of(mill.manager).waiters, 2); /* waiting ones included */
    for (size_t i = 0; i < 4; i++)
        lp_lease_close(outside[i]);
    mill_run(&mill);
    assert_int_equal(told(tasks, JOBS, 0), JOBS);
    mill_close(&mill);
}

static void a_batch_that_is_refused_harms_none_that_another_waits_for(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[3];
    lp_manager_options_t options = fake_options(3, 1);
    lp_grinder_options_t grinder = grind_options(1);
    options.max_waiters = 1;
    mill_open_with(&mill, &options, &grinder);
    lp_lease_t *outside[3];
    for (size_t i = 0; i < 3; i++)
        outside[i] = lease_of(mill.manager);
    grind_all(&mill, tasks, 3); /* one waiter alone is allowed */
    host_turn(&mill.host);
    assert_int_equal(assert_grinder(mill.grinder).pending, 3);
    lp_lease_close(outside[0]);
    mill_run(&mill);
    assert_int_equal(told(tasks, 3, 0), 3);
    wait_t wait; /* now somebody else is it */
    outside[0] = lease_of(mill.manager);
    assert_int_equal(wait_begin(&wait, mill.manager, LP_FOREVER), 0);
    grind_all(&mill, tasks, 1);
    host_turn(&mill.host);
    assert_int_equal(told(tasks, 1, LP_EUNAVAILABLE), 1);
    assert_int_equal(lp_acquire_cancel(&wait.req), 0);
    mill_close(&mill);
}

static void nobody_waits_for_a_lease_when_the_jobs_have_gone(void **state)
{
    (void)state;
    mill_t mill;
    task_t cancelled = {0}, late = {0};
    wait_t wait;
    mill_open(&mill, 1, 1, 1);
    lp_lease_t *outside = lease_of(mill.manager);
    assert_int_equal(grind(&mill, &cancelled, LP_FOREVER), 0);
    assert_int_equal(counts_of(mill.manager).waiters, 1);
    assert_int_equal(lp_job_cancel(&cancelled.job), 0);
    assert_int_equal(counts_of(mill.manager).waiters, 0);
    assert_int_equal(grind(&mill, &late, LP_SECOND), 0);
    host_advance(&mill.host, LP_SECOND);
    assert_int_equal(counts_of(mill.manager).waiters, 0);
    assert_int_equal(uv_run(&mill.host.loop, UV_RUN_DEFAULT), 0); /* it is not kept alive */
    assert_int_equal(cancelled.status, LP_ECANCELLED);
    assert_int_equal(late.status, LP_ETIMEDOUT);
    memset(&late, 0, sizeof late); /* and what was handed over goes to the next in line */
    assert_int_equal(grind(&mill, &late, LP_FOREVER), 0);
    assert_int_equal(wait_begin(&wait, mill.manager, LP_FOREVER), 0);
    lp_lease_close(outside);
    assert_int_equal(lp_job_cancel(&late.job), 0);
    host_turn(&mill.host);
    assert_int_equal(wait.calls, 1);
    assert_int_equal(wait.status, 0);
    assert_int_equal(grinder_counts(mill.grinder).items, 1); /* the late one */
    lp_lease_close(wait.lease);
    mill_close(&mill);
}

/* ---- How jobs end ------------------------------------------------------------- */

static void results_are_delivered_as_soon_as_they_are_there(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[3];
    mill_open(&mill, 1, 1, 3);
    grind_all(&mill, tasks, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(counts_of(mill.manager).leased, 1);
        fake_finish(fake_take(executor_of(mill.manager, 0)));
        assert_int_equal(tasks[i].calls, 0);
        host_turn(&mill.host);
        assert_int_equal(told(tasks, 3, 0), i + 1);
        assert_int_equal(assert_grinder(mill.grinder).in_flight, 2 - i);
    }
    assert_int_equal(counts_of(mill.manager).released, 1);
    mill_close(&mill);
}

static void a_cancelled_pending_job_leaves_at_once_and_is_not_counted(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[2], other = {0};
    mill_open(&mill, 1, 1, 20);
    lp_lease_t *lease = lease_of(mill.manager);
    grind_all(&mill, tasks, 2);
    assert_int_equal(grind(&mill, &tasks[0], LP_FOREVER), LP_ESTATE);
    assert_int_equal(task_submit(&tasks[0], lease), LP_ESTATE);
    assert_int_equal(lp_job_cancel(&tasks[0].job), 0);
    assert_int_equal(assert_grinder(mill.grinder).items, 1);
    assert_int_equal(grinder_counts(mill.grinder).pending, 1);
    assert_int_equal(lp_job_cancel(&tasks[0].job), LP_ESTATE); /* on its way to `done` */
    assert_int_equal(grind(&mill, &tasks[0], LP_FOREVER), LP_ESTATE);
    assert_int_equal(task_submit(&tasks[0], lease), LP_ESTATE);
    assert_int_equal(tasks[0].calls, 0);
    host_turn(&mill.host);
    assert_int_equal(told(tasks, 2, LP_ECANCELLED), 1);
    assert_int_equal(grinder_counts(mill.grinder).cancelled, 0);
    assert_int_equal(lp_job_cancel(&tasks[0].job), LP_ESTATE);
    assert_int_equal(lp_job_cancel(&other.job), LP_ESTATE);
    assert_int_equal(task_submit(&tasks[0], lease), 0); /* and is free for other work */
    assert_int_equal(grind(&mill, &tasks[0], LP_FOREVER), LP_ESTATE);
    lp_lease_close(lease);
    mill_run(&mill);
    assert_int_equal(tasks[0].status, 0);
    mill_close(&mill);
}

static void a_job_in_a_batch_is_cancelled_alone(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[4];
    mill_open(&mill, 1, 1, 4);
    grind_all(&mill, tasks, 4);
    assert_ptr_equal(fake_take(executor_of(mill.manager, 0)), &tasks[0].job);
    assert_int_equal(lp_job_cancel(&tasks[2].job), 0); /* queued */
    assert_int_equal(lp_job_cancel(&tasks[0].job), 0); /* runs, and is asked; does not listen */
    mill_run(&mill);
    fake_finish(&tasks[0].job);
    mill_run(&mill);
    assert_int_equal(told(tasks, 4, 0), 3);
    assert_int_equal(tasks[2].status, LP_ECANCELLED);
    lp_grinder_stats_t s = grinder_counts(mill.grinder);
    assert_int_equal(s.items, 4);
    assert_int_equal(s.cancelled, 1);
    mill_close(&mill);
}

static void a_timeout_counts_from_the_submission(void **state)
{
    (void)state;
    mill_t mill;
    task_t pending = {0}, queued = {0}, done = {0}, blocker = {0};
    mill_open(&mill, 1, 1, 2);
    assert_int_equal(grind(&mill, &pending, LP_SECOND), 0);
    host_advance(&mill.host, LP_SECOND - 1);
    assert_int_equal(pending.calls, 0);
    host_pass(&mill.host, 1);
    assert_int_equal(lp_job_cancel(&pending.job), LP_ESTATE); /* its time was over before */
    assert_int_equal(grinder_counts(mill.grinder).failed, 1);
    host_turn(&mill.host);
    assert_int_equal(pending.status, LP_ETIMEDOUT);
    assert_int_equal(pending.runs, 0);
    assert_int_equal(grind(&mill, &done, 3 * LP_SECOND), 0);
    host_advance(&mill.host, LP_SECOND);
    assert_int_equal(grind(&mill, &queued, LP_SECOND), 0); /* they are in a batch now */
    fake_finish(fake_take(executor_of(mill.manager, 0)));
    host_advance(&mill.host, LP_SECOND);
    assert_int_equal(queued.status, LP_ETIMEDOUT);
    assert_int_equal(queued.runs, 0);
    assert_int_equal(done.status, 0);
    assert_int_equal(grind(&mill, &blocker, 0), 0); /* no time at all */
    assert_int_equal(grind(&mill, &done, LP_FOREVER), 0);
    host_turn(&mill.host);
    assert_int_equal(blocker.status, LP_ETIMEDOUT);
    assert_int_equal(assert_grinder(mill.grinder).pending, 1);
    assert_int_equal(grinder_counts(mill.grinder).failed, 3);
    mill_close(&mill);
}

static void when_the_lease_expires_what_has_not_begun_ends_with_it(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[4], next = {0};
    mill_open(&mill, 1, 1, 4);
    grind_all(&mill, tasks, 4);
    assert_ptr_equal(fake_take(executor_of(mill.manager, 0)), &tasks[0].job);
    assert_int_equal(grind(&mill, &next, LP_FOREVER), 0);
    host_advance(&mill.host, 75 * LP_SECOND); /* the lease, and its grace */
    assert_int_equal(told(tasks, 4, LP_EEXPIRED), 3);
    assert_int_equal(assert_grinder(mill.grinder).running, 1);
    fake_finish(&tasks[0].job);
    mill_run(&mill);
    assert_int_equal(tasks[0].status, 0);
    assert_int_equal(next.status, 0); /* the next batch's, on another lease */
    lp_grinder_stats_t s = assert_grinder(mill.grinder);
    assert_int_equal(s.done, 2);
    assert_int_equal(s.failed, 3);
    assert_int_equal(s.batches, 2);
    assert_int_equal(lp__load_relaxed(&tasks[1].runs), 0); /* nothing is tried again */
    mill_close(&mill);
}

/* ---- Submission that breaks off ----------------------------------------------- */

static host_t *passing;

/* The loop's thread runs it, while the batch is filled. */
static void let_the_lease_pass(lp_job_t *job)
{
    task_run(job);
    host_pass(passing, 100 * LP_SECOND);
}

static int wakes_until_break;

static void run_then_break(lp__executor_t *executor)
{
    fake_work(executor);
    if (--wakes_until_break == 0)
        lp__executor_break(executor, "it had to");
}

static void what_was_submitted_keeps_its_result_when_the_rest_cannot_be(void **state)
{
    (void)state;
    lp_backend_t backend = fake_backend;
    backend.wake = run_then_break;
    for (int i = 0; i < 2; i++) {
        mill_t mill;
        task_t tasks[6] = {0};
        log_t log = {0};
        int status = i == 0 ? LP_EEXPIRED : LP_EBROKEN;
        lp_manager_options_t options = fake_options(2, 1);
        lp_grinder_options_t grinder = grind_options(6);
        wakes_until_break = i == 0 ? 0 : 3;
        passing = &mill.host;
        fake_open(&mill.host);
        lp_set_logger(mill.host.rt, log_line, &log);
        assert_int_equal(lp_manager_create(&mill.manager, mill.host.rt, &backend, &options), 0);
        assert_int_equal(lp_manager_start(mill.manager), 0);
        mill.grinder = grinder_with(mill.manager, &grinder);
        for (size_t j = 0; j < 6; j++)
            assert_int_equal(lp_grinder_submit(mill.grinder, &tasks[j].job, LP_FOREVER,
                                               i == 0 && j == 2 ? let_the_lease_pass : task_run,
                                               task_done),
                             0);
        (void)assert_grinder(mill.grinder);
        host_turn(&mill.host);
        assert_int_equal(told(tasks, 6, 0), 3);
        assert_int_equal(told(tasks, 6, status), 3);
        if (status == LP_EBROKEN)
            assert_string_equal(lp_broken_reason(mill.host.rt), "it had to");
        assert_int_equal(assert_grinder(mill.grinder).failed, 3);
        mill_close(&mill);
    }
}

static void without_a_worker_the_whole_batch_ends_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        int backend, jobs;
    } cases[] = {{UV_EAGAIN, LP_EBROKEN}, {LP_ENOMEM, LP_ENOMEM}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        mill_t mill;
        task_t tasks[3];
        log_t log = {0};
        mill_open(&mill, 1, 1, 3);
        lp_set_logger(mill.host.rt, log_line, &log);
        fake.fail_starts = 1;
        fake.fail_with = cases[i].backend;
        grind_all(&mill, tasks, 3);
        host_turn(&mill.host);
        assert_int_equal(told(tasks, 3, cases[i].jobs), 3);
        assert_int_equal(log.lines, cases[i].jobs == LP_EBROKEN);
        assert_int_equal(assert_grinder(mill.grinder).batches, 0);
        if (cases[i].jobs == LP_EBROKEN) {
            assert_non_null(strstr(lp_broken_reason(mill.host.rt), "worker"));
            host_advance(&mill.host, 10 * LP_MILLISECOND);
        }
        grind_all(&mill, tasks, 3); /* it goes on */
        mill_run(&mill);
        assert_int_equal(told(tasks, 3, 0), 3);
        mill_close(&mill);
    }
}

/* ---- Progress ----------------------------------------------------------------- */

typedef struct {
    int calls;
    uint64_t done, total;
} progress_t;

static void on_progress(lp_grinder_t *grinder, uint64_t done, uint64_t total, void *data)
{
    progress_t *progress = data;
    (void)assert_grinder(grinder);
    assert_true(done > progress->done);
    progress->calls++;
    progress->done = done;
    progress->total = total;
}

static void progress_is_told_once_for_all_that_ended_together(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[5];
    progress_t progress = {0};
    lp_manager_options_t options = fake_options(1, 1);
    lp_grinder_options_t grinder = grind_options(4);
    grinder.on_progress = on_progress;
    grinder.progress_data = &progress;
    mill_open_with(&mill, &options, &grinder);
    fake.lazy = true;
    grind_all(&mill, tasks, 5);
    for (size_t i = 0; i < 3; i++)
        fake_finish(fake_take(executor_of(mill.manager, 0)));
    host_turn(&mill.host);
    assert_int_equal(progress.calls, 1);
    assert_int_equal(progress.done, 3);
    assert_int_equal(progress.total, 5);
    assert_int_equal(lp_job_cancel(&tasks[4].job), 0);
    host_turn(&mill.host);
    assert_int_equal(progress.calls, 1); /* it was never there */
    mill_run(&mill);
    assert_int_equal(progress.calls, 2);
    assert_int_equal(progress.total, 4);
    mill_close(&mill);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_begins_when_enough_jobs_are_pending),
        cmocka_unit_test(a_batch_begins_when_the_oldest_job_has_waited_long_enough),
        cmocka_unit_test(a_lease_takes_the_oldest_jobs_of_the_moment_it_is_granted),
        cmocka_unit_test(a_batch_takes_as_many_as_the_queue_has_room_for),
        cmocka_unit_test(batches_that_wait_share_what_is_pending),
        cmocka_unit_test(there_are_never_more_batches_than_max_batches),
        cmocka_unit_test(a_batch_that_is_refused_harms_none_that_another_waits_for),
        cmocka_unit_test(nobody_waits_for_a_lease_when_the_jobs_have_gone),
        cmocka_unit_test(results_are_delivered_as_soon_as_they_are_there),
        cmocka_unit_test(a_cancelled_pending_job_leaves_at_once_and_is_not_counted),
        cmocka_unit_test(a_job_in_a_batch_is_cancelled_alone),
        cmocka_unit_test(a_timeout_counts_from_the_submission),
        cmocka_unit_test(when_the_lease_expires_what_has_not_begun_ends_with_it),
        cmocka_unit_test(what_was_submitted_keeps_its_result_when_the_rest_cannot_be),
        cmocka_unit_test(without_a_worker_the_whole_batch_ends_with_the_reason),
        cmocka_unit_test(progress_is_told_once_for_all_that_ended_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
