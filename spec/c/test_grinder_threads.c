/* test_grinder_threads.c - grinders over real threads: what the workers and the loop do at the
 * same time. */
#include "grind.h"

static void open_threads(mill_t *mill, const lp_manager_options_t *options,
                         const lp_grinder_options_t *grinder)
{
    host_open(&mill->host);
    assert_int_equal(lp_manager_create(&mill->manager, mill->host.rt, lp_backend_thread(), options),
                     0);
    assert_int_equal(lp_manager_start(mill->manager), 0);
    mill->grinder = grinder_with(mill->manager, grinder);
}

static void every_job_runs_once_on_threads(void **state)
{
    (void)state;
    enum { JOBS = 20000 };
    static task_t tasks[JOBS];
    mill_t mill;
    stop_t stop;
    lp_manager_options_t options = fake_options(3, 2);
    lp_grinder_options_t grinder = grind_options(16);
    options.max_queue = 64;
    grinder.max_wait_ns = LP_MILLISECOND;
    grinder.max_pending = JOBS;
    open_threads(&mill, &options, &grinder);
    memset(tasks, 0, sizeof tasks);
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(lp_grinder_submit(mill.grinder, &tasks[i].job,
                                           i % 3 ? LP_FOREVER : 3600 * LP_SECOND, task_run,
                                           task_done),
                         0);
        if (i % 512 == 0)
            (void)uv_run(&mill.host.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(grinder_stop(&stop, mill.grinder, LP_FOREVER), 0);
    host_until(&mill.host, &stop.calls, 1);
    assert_int_equal(told(tasks, JOBS, 0), JOBS);
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(lp__load_relaxed(&tasks[i].runs), 1);
    assert_int_equal(assert_grinder(mill.grinder).done, JOBS);
    host_close(&mill.host);
}

static void a_lonely_job_does_not_wait_for_company_for_ever(void **state)
{
    (void)state;
    mill_t mill;
    task_t task = {0};
    lp_manager_options_t options = fake_options(1, 1);
    lp_grinder_options_t grinder = grind_options(20);
    grinder.max_wait_ns = LP_MILLISECOND;
    open_threads(&mill, &options, &grinder);
    assert_int_equal(lp_grinder_submit(mill.grinder, &task.job, LP_FOREVER, task_run, task_done),
                     0);
    assert_int_equal(uv_run(&mill.host.loop, UV_RUN_DEFAULT), 0); /* it keeps the loop alive */
    assert_int_equal(told(&task, 1, 0), 1);
    host_close(&mill.host);
}

static void run_until_asked(lp_job_t *job)
{
    gate_t *gate = (gate_t *)(void *)job;
    task_run(job);
    uv_sem_post(&gate->begun);
    while (lp_job_cancelled(job) == 0)
        lp__cpu_relax();
}

static void a_stop_without_time_stops_what_runs_on_threads(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        enum { JOBS = 40 };
        mill_t mill;
        gate_t gate;
        task_t tasks[JOBS] = {0};
        stop_t stop = {0};
        lp_manager_options_t options = fake_options(1, 1);
        lp_grinder_options_t grinder = grind_options(20);
        open_threads(&mill, &options, &grinder);
        gate_init(&gate);
        assert_int_equal(
            lp_grinder_submit(mill.grinder, &gate.task.job, LP_FOREVER, run_until_asked, task_done),
            0);
        for (size_t i = 0; i < JOBS; i++)
            assert_int_equal(
                lp_grinder_submit(mill.grinder, &tasks[i].job, LP_FOREVER, task_run, task_done), 0);
        uv_sem_wait(&gate.begun);
        if (how == 0)
            assert_int_equal(grinder_stop(&stop, mill.grinder, 0), 0);
        else if (how == 1)
            assert_int_equal(stop_within(&stop, mill.manager, 0), 0);
        if (how < 2)
            host_until(&mill.host, &gate.task.calls, 1);
        host_close(&mill.host);
        assert_int_equal(told(&gate.task, 1, LP_ECANCELLED), 1);
        size_t cancelled = how == 1 ? 19 : JOBS; /* the pending ones had no lease to hope for */
        assert_int_equal(told(tasks, JOBS, LP_ECANCELLED), cancelled);
        assert_int_equal(told(tasks, JOBS, LP_ENOTSTARTED), JOBS - cancelled);
        assert_int_equal(stop.calls, how < 2);
        gate_destroy(&gate);
    }
}

/* xorshift; the same walk each time, as far as threads allow. */
static uint32_t some(uint64_t *random, uint32_t limit)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (uint32_t)(*random >> 33) % limit;
}

static void jobs_are_cancelled_and_late_while_threads_run_them(void **state)
{
    (void)state;
    enum { JOBS = 64, STEPS = 20000 };
    static task_t tasks[JOBS];
    mill_t mill;
    uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t accepted = 0, ended = 0;
    lp_manager_options_t options = fake_options(2, 2);
    lp_grinder_options_t grinder = grind_options(4);
    options.max_queue = 5;
    grinder.max_wait_ns = 0;
    open_threads(&mill, &options, &grinder);
    memset(tasks, 0, sizeof tasks);
    for (int i = 0; i < STEPS; i++) {
        task_t *task = &tasks[some(&random, JOBS)];
        switch (some(&random, 8)) {
        case 0:
            (void)lp_job_cancel(&task->job);
            break;
        case 1:
            (void)uv_run(&mill.host.loop, UV_RUN_NOWAIT);
            break;
        case 2:
            if (some(&random, 100) == 0)
                assert_int_equal(
                    lp_grinder_stop(mill.grinder, NULL, some(&random, 2) ? 0 : LP_FOREVER, NULL),
                    0);
            break;
        case 3:
            (void)lp_grinder_start(mill.grinder);
            break;
        default:
            accepted += lp_grinder_submit(mill.grinder, &task->job,
                                          some(&random, 2) ? LP_FOREVER : some(&random, 100) * 1000,
                                          task_run, task_done) == 0;
        }
        (void)assert_grinder(mill.grinder);
    }
    assert_int_equal(lp_grinder_stop(mill.grinder, NULL, LP_FOREVER, NULL), 0);
    assert_int_equal(uv_run(&mill.host.loop, UV_RUN_DEFAULT), 0);
    for (size_t i = 0; i < JOBS; i++)
        ended += (uint64_t)tasks[i].calls;
    assert_int_equal(ended, accepted);
    assert_int_equal(assert_grinder(mill.grinder).in_flight, 0);
    host_close(&mill.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_runs_once_on_threads),
        cmocka_unit_test(a_lonely_job_does_not_wait_for_company_for_ever),
        cmocka_unit_test(a_stop_without_time_stops_what_runs_on_threads),
        cmocka_unit_test(jobs_are_cancelled_and_late_while_threads_run_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
