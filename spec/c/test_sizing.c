/* test_sizing.c - how many executors there are: the target, the provider of the size, executors on
 * demand, idle ones, and those that break. */
#include "fake.h"

#include <float.h>
#include <math.h>

#define IDLE (10 * LP_SECOND)
#define CHECK (120 * LP_SECOND)

typedef struct {
    host_t host;
    lp_manager_t *manager;
    log_t log;
    double size;
    int rc;
    int asked;
    void (*act)(void); /* what the provider does before it answers */
} fixture_t;

static fixture_t f;

static int tell_size(void *data, double *size)
{
    assert_ptr_equal(data, &f);
    f.asked++;
    if (f.act)
        f.act();
    *size = f.size;
    return f.rc;
}

static void prepare(void)
{
    memset(&f, 0, sizeof f);
    fake_open(&f.host);
    fake.lazy = true;
    lp_set_logger(f.host.rt, log_line, &f.log);
}

static lp_manager_options_t sized(int64_t pools)
{
    lp_manager_options_t options = fake_options(pools, 2);
    options.size_provider = tell_size;
    options.size_data = &f;
    options.default_lease_ns = 1000 * LP_SECOND;
    return options;
}

static lp_manager_t *open_with(const lp_manager_options_t *options)
{
    f.manager = fake_manager_with(&f.host, options);
    return f.manager;
}

static void close_all(void)
{
    if (!lp__list_empty(&f.host.rt->managers))
        fake_finish_all(f.manager);
    fake_close(&f.host);
}

static int64_t total(void)
{
    return assert_equations(f.manager).total;
}

static void resize(double size)
{
    f.size = size;
    assert_int_equal(lp_notify_scale_changed(f.manager), 0);
}

/* ---- The target --------------------------------------------------------------- */

static void the_target_is_the_size_in_units_between_the_limits(void **state)
{
    (void)state;
    static const struct {
        double size;
        int64_t desired;
    } cases[] = {{0, 2},        {0.001, 2},   {20, 2},     {20.0000001, 3},
                 {30, 3},       {31, 4},      {50, 5},     {51, 5},
                 {1e9, 5},      {DBL_MAX, 5}, {-1, 2},     {-0.0, 2},
                 {-DBL_MAX, 2}, {DBL_MIN, 2}, {9.3e18, 5}, {18446744073709551616.0, 5}};
    prepare();
    lp_manager_options_t options = sized(5);
    options.min_pools = 2;
    lp_manager_t *manager = open_with(&options);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        resize(cases[i].size);
        assert_int_equal(lp_manager_desired(manager), cases[i].desired);
        assert_int_equal(assert_equations(manager).desired, cases[i].desired);
        assert_true(total() >= cases[i].desired);
    }
    assert_int_equal(f.log.lines, 0);
    close_all();
}

static void a_growing_size_makes_executors_at_once(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = sized(5);
    f.size = 21;
    open_with(&options);
    assert_int_equal(total(), 3);
    resize(40);
    assert_int_equal(total(), 4);
    f.size = 50; /* and at the next check, to the nanosecond */
    host_advance(&f.host, CHECK - 1);
    assert_int_equal(total(), 4);
    assert_int_equal(f.asked, 2);
    host_advance(&f.host, 1);
    assert_int_equal(f.asked, 3);
    assert_int_equal(total(), 5);
    host_advance(&f.host, 10 * CHECK); /* a busy loop asks once for all it has missed */
    assert_int_equal(f.asked, 4);
    close_all();
}

static void a_check_that_a_call_has_found_due_asks_from_a_turn(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = sized(5);
    lp_manager_t *manager = open_with(&options);
    f.size = 50;
    host_pass(&f.host, CHECK);
    assert_int_equal(assert_equations(manager).total, 1);
    assert_int_equal(f.asked, 1);
    host_turn(&f.host);
    assert_int_equal(f.asked, 2);
    assert_int_equal(assert_equations(manager).total, 5);
    host_pass(&f.host, CHECK);
    assert_equations(manager);
    assert_int_equal(lp_manager_stop(manager, NULL, LP_FOREVER, NULL), 0);
    host_turn(&f.host);
    assert_int_equal(f.asked, 2); /* it stopped first */
    assert_int_equal(f.host.rt->hopes, 0);
    close_all();
}

/* ---- Idle executors ----------------------------------------------------------- */

static void a_shrinking_size_ends_executors_when_they_have_been_idle_long_enough(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = sized(4);
    f.size = 40;
    lp_manager_t *manager = open_with(&options);
    lp_lease_t *leases[4];
    for (size_t i = 0; i < 4; i++)
        leases[i] = lease_of(manager);
    for (size_t i = 0; i < 3; i++) { /* idle since 1, 2 and 3 seconds */
        host_advance(&f.host, LP_SECOND);
        lp_lease_close(leases[i]);
    }
    resize(10);
    assert_int_equal(total(), 4); /* none has been idle for so long */
    for (int64_t left = 3; left > 0; left--) {
        host_advance(&f.host, left == 3 ? IDLE - 2 * LP_SECOND - 1 : LP_SECOND - 1);
        assert_int_equal(total(), left + 1);
        host_advance(&f.host, 1);
        assert_int_equal(total(), left);
    }
    host_advance(&f.host, 100 * LP_SECOND);
    assert_int_equal(total(), 1); /* the leased one, which is the target */
    lp_lease_close(leases[3]);
    host_advance(&f.host, 100 * LP_SECOND);
    assert_int_equal(total(), 1);
    close_all();
}

static void executors_idle_for_long_end_as_soon_as_the_size_shrinks(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = sized(4);
    f.size = 40;
    lp_manager_t *manager = open_with(&options);
    lp_lease_t *lease = lease_of(manager);
    host_advance(&f.host, IDLE);
    resize(0);
    assert_int_equal(total(), 1); /* three ended; the leased one never */
    lp_lease_close(lease);
    assert_int_equal(total(), 1);
    close_all();
}

static void an_executor_made_on_demand_ends_after_its_idle_time(void **state)
{
    (void)state;
    static const uint64_t times[] = {0, 1, IDLE};
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        prepare();
        lp_manager_options_t options = fake_options(3, 1);
        options.idle_ns = times[i];
        lp_manager_t *manager = open_with(&options);
        lp_lease_t *leases[3];
        for (size_t j = 0; j < 3; j++)
            leases[j] = lease_of(manager);
        assert_int_equal(assert_equations(manager).created, 3);
        for (size_t j = 0; j < 3; j++)
            lp_lease_close(leases[j]);
        if (times[i] > 0) {
            host_advance(&f.host, times[i] - 1);
            assert_int_equal(total(), 3);
            host_advance(&f.host, 1);
        }
        assert_int_equal(total(), 1);
        assert_int_equal(assert_equations(manager).retired, 2);
        close_all();
    }
}

static void who_is_busy_again_and_again_keeps_no_idle_executor_alive(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = fake_options(3, 1);
    lp_manager_t *manager = open_with(&options);
    lp_lease_t *a = lease_of(manager), *b = lease_of(manager), *c = lease_of(manager);
    lp_lease_close(a);
    lp_lease_close(b);
    lp_lease_close(c);
    for (int i = 0; i < 30; i++) { /* the one that was returned last is lent first */
        lp_lease_close(lease_of(manager));
        host_advance(&f.host, LP_SECOND);
        assert_int_equal(total(), i + 1 < 10 ? 3 : 1);
    }
    close_all();
}

/* ---- Providers ---------------------------------------------------------------- */

static void a_provider_that_fails_keeps_the_last_good_size_and_is_logged_once(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = sized(5);
    f.rc = LP_EJOB;
    lp_manager_t *manager = open_with(&options);
    assert_int_equal(lp_manager_desired(manager), 1); /* 0 at first */
    assert_int_equal(f.log.lines, 1);
    assert_string_equal(f.log.last, "size_provider: the job failed; the size stays 0");
    f.rc = 0;
    resize(33.5);
    assert_int_equal(lp_manager_desired(manager), 4);
    const struct {
        int rc;
        double size;
        int lines;
    } steps[] = {{LP_EJOB, 1, 2},           {LP_EJOB, 2, 2},      {LP_ENOMEM, 3, 3},
                 {0, (double)NAN, 4},       {0, -(double)NAN, 4}, {0, (double)INFINITY, 5},
                 {0, -(double)INFINITY, 5}, {LP_EJOB, 0, 6},      {1234, 0, 7},
                 {UV_EACCES, 0, 8},         {UV_EACCES, 0, 8}};
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        f.rc = steps[i].rc;
        resize(steps[i].size);
        assert_int_equal(f.log.lines, steps[i].lines);
        assert_non_null(strstr(f.log.last, "the size stays 33.5"));
        assert_int_equal(lp_manager_desired(manager), 4);
        assert_int_equal(total(), 4);
    }
    f.rc = 0;
    resize(5);
    assert_int_equal(lp_manager_desired(manager), 1);
    f.rc = UV_EACCES; /* it was well in between: told again */
    resize(5);
    assert_int_equal(f.log.lines, 9);
    close_all();
}

static lp_lease_t *lent;
static wait_t waiting;

static void act_notify(void)
{
    assert_int_equal(lp_notify_scale_changed(f.manager ? f.manager : NULL),
                     f.manager ? 0 : LP_EINVAL);
    assert_int_equal(f.asked, 2); /* it is not asked while it is asked */
}

static void act_try(void)
{
    if (lp_try_acquire(f.manager, NULL, &lent) == 0)
        assert_int_equal(lp_lease_state(lent), LP_LEASE_ACTIVE);
    assert_equations(f.manager);
}

static void act_wait(void)
{
    assert_int_equal(wait_begin(&waiting, f.manager, LP_FOREVER), 0);
}

static void act_release(void)
{
    lp_lease_close(lent);
    lent = NULL;
    assert_equations(f.manager);
}

static void act_stop(void)
{
    assert_int_equal(lp_manager_stop(f.manager, NULL, LP_FOREVER, NULL), 0);
}

static void act_restart(void)
{
    f.act = NULL;
    assert_int_equal(lp_manager_stop(f.manager, NULL, LP_FOREVER, NULL), 0);
    (void)lp_manager_start(f.manager);
}

static void act_close(void)
{
    lp_manager_close(f.manager);
}

static void act_stop_and_close(void)
{
    act_stop();
    act_close();
}

static void act_close_runtime(void)
{
    assert_int_equal(lp_runtime_close(f.host.rt, host_on_closed, &f.host), 0);
}

static void act_stats(void)
{
    assert_equations(f.manager);
    assert_int_equal(lp_manager_desired(f.manager), 1); /* the last good size */
}

static void act_start(void)
{
    assert_int_equal(lp_manager_start(f.manager), 0);
}

/* From a check, from a notification, and from the start. */
static void a_provider_may_call_into_the_manager(void **state)
{
    (void)state;
    static void (*const acts[])(void) = {
        act_notify,        act_try,     act_wait,  act_release,
        act_stop,          act_restart, act_close, act_stop_and_close,
        act_close_runtime, act_stats,   act_start};
    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        for (int from = 0; from < 3; from++) {
            for (int held = 0; held < 2; held++) {
                prepare();
                lp_manager_options_t options = sized(3);
                lent = NULL;
                memset(&waiting, 0, sizeof waiting);
                assert_int_equal(lp_manager_create(&f.manager, f.host.rt, &fake_backend, &options),
                                 0);
                if (from < 2) {
                    assert_int_equal(lp_manager_start(f.manager), 0);
                    if (held)
                        lent = lease_of(f.manager);
                } else {
                    f.asked = 1;
                }
                f.act = acts[i];
                f.size = 25;
                if (from == 0)
                    assert_int_equal(lp_notify_scale_changed(f.manager), 0);
                else if (from == 1)
                    host_advance(&f.host, CHECK);
                else
                    assert_int_equal(lp_manager_start(f.manager), 0);
                f.act = NULL;
                bool gone = lp__list_empty(&f.host.rt->managers);
                if (!gone && f.manager->state == LP__MANAGER_RUNNING) {
                    assert_int_equal(lp_manager_desired(f.manager), 3);
                    assert_int_equal(total(), 3);
                }
                host_turn(&f.host);
                if (acts[i] == act_wait)
                    assert_int_equal(waiting.status, 0);
                if (!lp__list_empty(&f.host.rt->managers))
                    assert_equations(f.manager);
                close_all();
            }
        }
    }
}

/* ---- On demand, within the limits --------------------------------------------- */

static void above_the_target_one_is_made_only_when_a_caller_would_wait(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = sized(4);
    f.size = 20;
    lp_manager_t *manager = open_with(&options);
    assert_int_equal(total(), 2);
    lp_lease_t *a = lease_of(manager), *b = lease_of(manager);
    assert_int_equal(total(), 2);
    lp_lease_t *c = lease_of(manager), *d = lease_of(manager), *none = NULL;
    assert_int_equal(total(), 4);
    assert_int_equal(lp_try_acquire(manager, NULL, &none), LP_EUNAVAILABLE);
    lp_lease_close(a);
    lp_lease_close(b);
    lp_lease_close(c);
    lp_lease_close(d);
    host_advance(&f.host, IDLE);
    assert_int_equal(total(), 2);
    close_all();
}

/* ---- Executors that break ----------------------------------------------------- */

static void the_pause_after_breakage_doubles_from_10_ms_to_10_s(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = fake_options(1, 1);
    lp_manager_t *manager = open_with(&options);
    uint64_t pause = 10 * LP_MILLISECOND;
    for (int i = 0; i < 14; i++) {
        lp_lease_t *lease = lease_of(manager), *none;
        lp__executor_break(lease->executor, "test");
        lp_lease_close(lease);
        assert_int_equal(total(), 0);
        host_advance(&f.host, pause - 1);
        assert_int_equal(total(), 0);
        assert_int_equal(lp_try_acquire(manager, NULL, &none), LP_EUNAVAILABLE);
        host_pass(&f.host, 1);
        assert_int_equal(total(), 1);
        pause = pause * 2 < 10 * LP_SECOND ? pause * 2 : 10 * LP_SECOND;
    }
    lp_lease_t *lease = lease_of(manager); /* one that works ends the row */
    task_t task = {0};
    assert_int_equal(task_submit(&task, lease), 0);
    fake_work(lease->executor);
    host_turn(&f.host);
    lp__executor_break(lease->executor, "later"); /* it had proved itself: no pause at all */
    assert_int_equal(total(), 1);
    lp_lease_close(lease);
    lease = lease_of(manager);
    lp__executor_break(lease->executor, "test");
    host_advance(&f.host, 10 * LP_MILLISECOND);
    assert_int_equal(total(), 1); /* it begins at 10 ms again */
    close_all();
}

static void a_job_that_never_ran_proves_nothing(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = fake_options(1, 1);
    lp_manager_t *manager = open_with(&options);
    lp_lease_t *lease = lease_of(manager);
    task_t task = {0};
    assert_int_equal(task_submit(&task, lease), 0);
    assert_int_equal(lp_job_cancel(&task.job), 0);
    assert_int_equal(task_submit_within(&(task_t){0}, lease, 0), 0);
    host_turn(&f.host);
    lp__executor_break(lease->executor, "test");
    assert_int_equal(total(), 0);
    host_advance(&f.host, 10 * LP_MILLISECOND);
    assert_int_equal(total(), 1);
    close_all();
}

static void who_waits_for_the_end_of_a_pause_is_served_when_another_executor_works(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = fake_options(2, 1);
    options.min_pools = 2;
    lp_manager_t *manager = open_with(&options);
    lp_lease_t *works = lease_of(manager), *breaks = lease_of(manager);
    task_t task;
    wait_t waiter;
    fake_stand(&task, works);
    lp__executor_break(breaks->executor, "test");
    assert_int_equal(wait_begin(&waiter, manager, LP_FOREVER), 0);
    host_turn(&f.host);
    assert_int_equal(waiter.calls, 0);
    fake_finish(&task.job);
    host_turn(&f.host);
    assert_int_equal(waiter.calls, 1);
    assert_int_equal(waiter.status, 0);
    assert_int_equal(total(), 2);
    close_all();
}

static void waiters_are_served_when_the_pause_is_over(void **state)
{
    (void)state;
    prepare();
    lp_manager_options_t options = fake_options(2, 1);
    lp_manager_t *manager = open_with(&options);
    lp_lease_t *a = lease_of(manager), *b = lease_of(manager);
    wait_t waiters[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(wait_begin(&waiters[i], manager, LP_FOREVER), 0);
    lp__executor_break(a->executor, "test");
    lp__executor_break(b->executor, "test"); /* the second in the row */
    host_advance(&f.host, 20 * LP_MILLISECOND - 1);
    assert_int_equal(waiters[0].calls, 0);
    host_advance(&f.host, 1);
    assert_int_equal(waiters[0].calls, 1);
    assert_int_equal(waiters[1].calls, 1);
    assert_int_equal(waiters[2].calls, 0);
    assert_equations(manager);
    close_all();
}

static void a_break_ends_the_lease_in_every_state(void **state)
{
    (void)state;
    enum { AVAILABLE, ACTIVE, GRACE, DRAINING, EXPIRED, CASES };
    for (int at = 0; at < CASES; at++) {
        for (int queued = 0; queued < 2; queued++) {
            prepare();
            lp_manager_options_t options = fake_options(1, 1);
            options.default_lease_ns = 100;
            options.lease_grace_ns = 50;
            lp_manager_t *manager = open_with(&options);
            lp_lease_t *lease = lease_of(manager);
            lp__executor_t *executor = lease->executor;
            task_t standing = {0}, waits = {0};
            if (at == AVAILABLE) {
                lp_lease_close(lease);
            } else {
                fake_stand(&standing, lease);
                if (queued)
                    assert_int_equal(task_submit(&waits, lease), 0);
                if (at == DRAINING)
                    lp_release(lease);
                host_advance(&f.host, at == GRACE ? 100 : (at == EXPIRED ? 150 : 0));
            }
            lp__executor_break(executor, "test");
            lp_manager_stats_t s = assert_equations(manager);
            assert_int_equal(s.total, at == EXPIRED ? 1 : 0); /* it had not proved itself */
            assert_int_equal(s.broken, at == ACTIVE || at == GRACE ? 1 : 0);
            assert_int_equal(s.released, at == AVAILABLE || at == DRAINING ? 1 : 0);
            assert_int_equal(s.expired, at == EXPIRED ? 1 : 0);
            assert_int_equal(f.log.lines, at == EXPIRED ? 0 : 1);
            if (at != AVAILABLE) {
                assert_int_equal(lp_lease_state(lease),
                                 at == EXPIRED ? LP_LEASE_EXPIRED : LP_LEASE_BROKEN);
                assert_int_equal(lp_submit(lease, &(lp_job_t){0}, task_run, NULL),
                                 at == ACTIVE || at == GRACE ? LP_EBROKEN : LP_EEXPIRED);
                assert_string_equal(lp_lease_reason(lease), at == DRAINING  ? "released"
                                                            : at == EXPIRED ? "expired"
                                                                            : "test");
                lp__executor_break(executor, "once more"); /* another worker of it died */
                host_turn(&f.host);
                assert_int_equal(waits.calls, queued);
                if (queued)
                    assert_int_equal(waits.status, at == EXPIRED ? LP_EEXPIRED : LP_EBROKEN);
                if (waits.status == LP_EBROKEN)
                    assert_string_equal(lp_broken_reason(f.host.rt), "test");
                fake_finish(&standing.job); /* whoever runs a job finishes it */
                host_turn(&f.host);
                assert_int_equal(standing.status, 0);
                assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
                assert_equations(manager);
            }
            host_advance(&f.host, 10 * LP_MILLISECOND);
            assert_int_equal(total(), 1);
            close_all();
        }
    }
}

static void break_when_done(lp_job_t *job, int status)
{
    task_done(job, status);
    lp_lease_t *lease = job->data;
    if (lease->executor)
        lp__executor_break(lease->executor, "done");
    assert_equations(f.manager);
}

static void an_executor_may_break_in_a_done_callback_of_its_own(void **state)
{
    (void)state;
    for (int drains = 0; drains < 2; drains++) {
        for (int others = 0; others < 2; others++) {
            prepare();
            lp_manager_options_t options = fake_options(1, 2);
            lp_manager_t *manager = open_with(&options);
            lp_lease_t *lease = lease_of(manager);
            task_t task = {0}, standing = {0}, queued = {0};
            wait_t waiter;
            if (others)
                fake_stand(&standing, lease);
            task.job.data = lease;
            assert_int_equal(lp_submit(lease, &task.job, task_run, break_when_done), 0);
            assert_ptr_equal(fake_take(lease->executor), &task.job);
            if (others)
                assert_int_equal(task_submit(&queued, lease), 0);
            assert_int_equal(wait_begin(&waiter, manager, LP_FOREVER), 0);
            if (drains)
                lp_release(lease); /* without others it has gone back before the callback */
            fake_finish(&task.job);
            host_turn(&f.host);
            assert_int_equal(task.calls, 1);
            assert_int_equal(queued.calls, others);
            assert_int_equal(queued.status, others ? LP_EBROKEN : 0);
            assert_int_equal(waiter.calls, 1); /* it had proved itself: no pause */
            assert_equations(manager);
            close_all();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_target_is_the_size_in_units_between_the_limits),
        cmocka_unit_test(a_growing_size_makes_executors_at_once),
        cmocka_unit_test(a_check_that_a_call_has_found_due_asks_from_a_turn),
        cmocka_unit_test(a_shrinking_size_ends_executors_when_they_have_been_idle_long_enough),
        cmocka_unit_test(executors_idle_for_long_end_as_soon_as_the_size_shrinks),
        cmocka_unit_test(an_executor_made_on_demand_ends_after_its_idle_time),
        cmocka_unit_test(who_is_busy_again_and_again_keeps_no_idle_executor_alive),
        cmocka_unit_test(a_provider_that_fails_keeps_the_last_good_size_and_is_logged_once),
        cmocka_unit_test(a_provider_may_call_into_the_manager),
        cmocka_unit_test(above_the_target_one_is_made_only_when_a_caller_would_wait),
        cmocka_unit_test(the_pause_after_breakage_doubles_from_10_ms_to_10_s),
        cmocka_unit_test(a_job_that_never_ran_proves_nothing),
        cmocka_unit_test(who_waits_for_the_end_of_a_pause_is_served_when_another_executor_works),
        cmocka_unit_test(waiters_are_served_when_the_pause_is_over),
        cmocka_unit_test(a_break_ends_the_lease_in_every_state),
        cmocka_unit_test(an_executor_may_break_in_a_done_callback_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
