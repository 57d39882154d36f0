/* test_grinder_limits.c - what grinders refuse, and what they do without memory. */
#include "grind.h"

/* ---- The queue ---------------------------------------------------------------- */

static void a_full_queue_refuses_and_loses_nothing(void **state)
{
    (void)state;
    mill_t mill;
    task_t tasks[4], refused = {0};
    lp_manager_options_t options = fake_options(1, 1);
    lp_grinder_options_t grinder = grind_options(20);
    grinder.max_pending = 4;
    mill_open_with(&mill, &options, &grinder);
    fake.lazy = true;
    grind_all(&mill, tasks, 4);
    assert_int_equal(grind(&mill, &refused, LP_FOREVER), LP_EQUEUEFULL);
    assert_int_equal(grind(&mill, &refused, LP_SECOND), LP_EQUEUEFULL);
    assert_int_equal(lp_job_cancel(&refused.job), LP_ESTATE);
    assert_int_equal(lp_job_cancel(&tasks[1].job), 0);
    assert_int_equal(grind(&mill, &refused, LP_FOREVER), 0); /* there is room at once */
    host_advance(&mill.host, 10 * LP_SECOND);
    mill_run(&mill);
    assert_int_equal(told(tasks, 4, 0), 3);
    assert_int_equal(refused.status, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(tasks[i].runs, i == 1 ? 0 : 1);
    assert_int_equal(grinder_counts(mill.grinder).items, 4);
    mill_close(&mill);
}

/* ---- What is refused ---------------------------------------------------------- */

static void ask_elsewhere(void *arg)
{
    mill_t *mill = arg;
    lp_grinder_t *grinder;
    lp_grinder_stats_t s;
    task_t task = {0};
    assert_int_equal(lp_grinder_create(&grinder, mill->manager, NULL), LP_EWRONGTHREAD);
    assert_int_equal(lp_grinder_start(mill->grinder), LP_EWRONGTHREAD);
    assert_int_equal(lp_grinder_stop(mill->grinder, NULL, 1, NULL), LP_EWRONGTHREAD);
    assert_int_equal(lp_grinder_stats(mill->grinder, &s), LP_EWRONGTHREAD);
    assert_int_equal(lp_grinder_submit(mill->grinder, &task.job, LP_FOREVER, task_run, task_done),
                     LP_EWRONGTHREAD);
    lp_grinder_close(mill->grinder); /* does nothing */
}

static void calls_from_other_threads_and_with_wrong_arguments_are_refused(void **state)
{
    (void)state;
    mill_t mill;
    task_t task = {0};
    stop_t stop = {0};
    lp_grinder_t *grinder;
    lp_grinder_options_t options = grind_options(0);
    mill_open(&mill, 1, 1, 1);
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, ask_elsewhere, &mill), 0);
    uv_thread_join(&thread);
    assert_int_equal(lp_grinder_create(&grinder, NULL, NULL), LP_EINVAL);
    assert_int_equal(lp_grinder_create(NULL, mill.manager, NULL), LP_EINVAL);
    assert_int_equal(lp_grinder_create(&grinder, mill.manager, &options), LP_EINVAL);
    assert_non_null(strstr(lp_last_error(mill.host.rt), "batch_size_threshold"));
    options = grind_options(1);
    options.owner_prefix = NULL;
    assert_int_equal(lp_grinder_create(&grinder, mill.manager, &options), LP_EINVAL);
    options.size = 0;
    assert_int_equal(lp_grinder_create(&grinder, mill.manager, &options), LP_EINVAL);
    assert_int_equal(lp_grinder_start(NULL), LP_EINVAL);
    assert_int_equal(lp_grinder_stop(NULL, NULL, 0, NULL), LP_EINVAL);
    assert_int_equal(lp_grinder_stop(mill.grinder, NULL, 0, stop_done), LP_EINVAL);
    assert_int_equal(grinder_counts(mill.grinder).started, 1);
    assert_int_equal(lp_grinder_stats(mill.grinder, NULL), LP_EINVAL);
    assert_int_equal(lp_grinder_submit(NULL, &task.job, 0, task_run, task_done), LP_EINVAL);
    assert_int_equal(lp_grinder_submit(mill.grinder, NULL, 0, task_run, task_done), LP_EINVAL);
    assert_int_equal(lp_grinder_submit(mill.grinder, &task.job, 0, NULL, task_done), LP_EINVAL);
    assert_int_equal(lp_grinder_create(&grinder, mill.manager, NULL), 0); /* not started */
    assert_int_equal(lp_grinder_submit(grinder, &task.job, 0, task_run, NULL), LP_ENOTSTARTED);
    assert_int_equal(grinder_stop(&stop, grinder, 0), 0);
    host_turn(&mill.host);
    assert_int_equal(stop.calls, 1);
    lp_manager_t *stopped = manager_make(&mill.host, &fake_backend, 1, 1);
    lp_grinder_t *waiting;
    assert_int_equal(lp_grinder_create(&waiting, stopped, NULL), 0);
    assert_int_equal(lp_grinder_start(waiting), LP_ENOTSTARTED);
    lp_backend_t processes = fake_backend;
    processes.processes = true;
    const char *const command[] = {"unused", NULL};
    lp_manager_options_t with_command = fake_options(1, 1);
    with_command.command = command;
    lp_manager_t *other;
    assert_int_equal(lp_manager_create(&other, mill.host.rt, &processes, &with_command), 0);
    assert_int_equal(lp_manager_start(other), 0);
    grinder = grinder_with(other, NULL);
    assert_int_equal(lp_grinder_submit(grinder, &task.job, 0, task_run, NULL), LP_ENOTSUP);
    assert_int_equal(lp_grinder_submit(mill.grinder, &task.job, LP_FOREVER, task_run, NULL), 0);
    mill_run(&mill); /* nobody wants to know */
    assert_int_equal(task.runs, 1);
    mill_close(&mill);
}

/* ---- Without memory ----------------------------------------------------------- */

/* Each allocation of what follows fails once; every accepted job is told of its end all the same.
 */
static void whichever_allocation_fails_every_job_ends_once(void **state)
{
    (void)state;
    enum { JOBS = 6 };
    bool went_through = false;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    for (uint64_t nth = 1; !went_through; nth++) {
        mill_t mill;
        task_t tasks[JOBS] = {0};
        int accepted = 0, ended = 0;
        log_t log = {0};
        mill_open(&mill, 2, 2, 3);
        lp_set_logger(mill.host.rt, log_line, &log);
        lp_lease_t *outside = lease_of(mill.manager);
        lp_grinder_t *other = NULL;
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, nth);
        if (lp_grinder_create(&other, mill.manager, NULL) == 0)
            lp_grinder_close(other);
        for (size_t i = 0; i < JOBS; i++) {
            int rc = grind(&mill, &tasks[i], i % 2 ? 20 * LP_SECOND : LP_FOREVER);
            assert_true(rc == 0 || rc == LP_ENOMEM);
            accepted += rc == 0;
            host_advance(&mill.host, 5 * LP_MILLISECOND);
        }
        lp_lease_close(outside);
        mill_run(&mill);
        host_advance(&mill.host, 10 * LP_SECOND);
        mill_run(&mill);
        went_through = lp__alloc_fault_seen() < nth;
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
        host_advance(&mill.host, LP_SECOND); /* the manager makes a pause */
        mill_run(&mill);
        for (size_t i = 0; i < JOBS; i++) {
            assert_true(tasks[i].calls <= 1);
            assert_int_equal(tasks[i].runs, tasks[i].calls == 1 && tasks[i].status == 0);
            ended += tasks[i].calls;
        }
        assert_int_equal(ended, accepted);
        assert_int_equal(assert_grinder(mill.grinder).items, accepted);
        mill_close(&mill);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    }
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_queue_refuses_and_loses_nothing),
        cmocka_unit_test(calls_from_other_threads_and_with_wrong_arguments_are_refused),
        cmocka_unit_test(whichever_allocation_fails_every_job_ends_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
