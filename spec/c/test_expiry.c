/* test_expiry.c - what time does to leases: soft and hard expiry, renewal, the place that
 * becomes free. Nanosecond by nanosecond; the timeouts of jobs are in test_timeouts.c. */
#include "expiry.h"

/* ---- Soft callbacks ----------------------------------------------------------- */

typedef struct {
    int calls;
    void (*act)(lp_lease_t *lease);
    lp_lease_state_t state;
    int order; /* among the callbacks of acquires */
} soft_t;

static void on_soft(lp_lease_t *lease, void *data)
{
    soft_t *soft = data;
    soft->calls++;
    soft->state = lp_lease_state(lease);
    soft->order = ++wait_order;
    if (soft->act)
        soft->act(lease);
}

static lp_lease_t *lease_with(lp_manager_t *manager, soft_t *soft)
{
    lp_acquire_options_t options;
    lp_lease_t *lease = NULL;
    lp_acquire_options_init(&options);
    options.on_soft_expiry = on_soft;
    options.soft_data = soft;
    assert_int_equal(lp_try_acquire(manager, &options, &lease), 0);
    return lease;
}

/* ---- States ------------------------------------------------------------------- */

static void a_lease_changes_its_state_at_the_exact_nanosecond(void **state)
{
    (void)state;
    for (int with_turn = 0; with_turn < 2; with_turn++) {
        fixture_t f;
        lp_manager_t *manager = open_pools(&f, 2);
        lp_lease_t *busy = lease_of(manager), *idle = lease_of(manager);
        task_t task;
        fake_stand(&task, busy);
        lp_lease_times_t times;
        lp_lease_times(busy, &times);
        assert_int_equal(times.leased_ns, host_now(&f.host));
        assert_int_equal(times.length_ns, SOFT);
        assert_int_equal(times.soft_expiry_ns, times.leased_ns + SOFT);
        assert_int_equal(times.hard_expiry_ns, times.leased_ns + HARD);
        pass(&f.host, SOFT - 1, with_turn);
        assert_int_equal(lp_lease_state(busy), LP_LEASE_ACTIVE);
        pass(&f.host, 1, with_turn);
        assert_int_equal(lp_lease_state(busy), LP_LEASE_GRACE);
        assert_null(lp_lease_reason(busy));
        pass(&f.host, GRACE - 1, with_turn);
        assert_int_equal(lp_lease_state(busy), LP_LEASE_GRACE);
        assert_int_equal(lp_lease_state(idle), LP_LEASE_GRACE);
        pass(&f.host, 1, with_turn);
        assert_int_equal(lp_lease_state(busy), LP_LEASE_EXPIRED);
        assert_int_equal(lp_lease_state(idle), LP_LEASE_CLOSED);
        assert_string_equal(lp_lease_reason(busy), "expired");
        assert_string_equal(lp_lease_reason(idle), "expired");
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.expired, 2);
        assert_int_equal(s.retiring, 1);
        assert_int_equal(s.hold.max_ns, HARD);
        fake_finish(&task.job);
        assert_int_equal(lp_lease_state(busy), LP_LEASE_EXPIRED); /* not delivered yet */
        host_turn(&f.host);
        assert_int_equal(lp_lease_state(busy), LP_LEASE_CLOSED);
        assert_int_equal(task.status, 0);
        assert_int_equal(assert_equations(manager).retiring, 0);
        lp_lease_close(busy);
        lp_lease_close(idle);
        assert_equations(manager);
        close_all(&f);
    }
}

/* Each is the first to come after the hard expiry. */
static void every_public_call_looks_at_the_clock_first(void **state)
{
    (void)state;
    for (int call = 0; call < 9; call++) {
        fixture_t f;
        lp_manager_t *manager = open_pools(&f, 1);
        lp_lease_t *lease = lease_of(manager), *next = NULL;
        task_t standing, queued = {0};
        stop_t stop;
        wait_t waiter;
        soft_t seen = {0};
        memset(&stop, 0, sizeof stop);
        memset(&waiter, 0, sizeof waiter);
        fake_stand(&standing, lease);
        assert_int_equal(task_submit(&queued, lease), 0);
        if (call == 8)
            assert_int_equal(wait_begin(&waiter, manager, LP_FOREVER), 0);
        host_pass(&f.host, HARD);
        switch (call) {
        case 0:
            assert_int_equal(lp_try_acquire(manager, NULL, &next), 0); /* the place is free */
            lp_lease_close(next);
            break;
        case 1:
            assert_int_equal(lp_job_cancel(&queued.job), LP_ESTATE);
            break;
        case 2:
            assert_int_equal(lp_lease_renew(lease, 0), LP_EEXPIRED);
            break;
        case 3:
            assert_int_equal(lp_release(lease), 0);
            break;
        case 4:
            assert_int_equal(lp_submit(lease, &(lp_job_t){0}, task_run, NULL), LP_EEXPIRED);
            break;
        case 5:
            assert_int_equal(stop_begin(&stop, manager), 0);
            break;
        case 6:
            assert_int_equal(lp_notify_scale_changed(manager), 0);
            break;
        case 7:
            assert_int_equal(lp_manager_each_lease(manager, on_soft, &seen), 0);
            assert_int_equal(seen.calls, 1);
            assert_int_equal(seen.state, LP_LEASE_EXPIRED);
            break;
        case 8: /* it has been served, and passes the executor on */
            assert_int_equal(lp_acquire_cancel(&waiter.req), 0);
            break;
        }
        assert_int_equal(lease->state, LP_LEASE_EXPIRED);
        assert_string_equal(lp_lease_reason(lease), "expired");
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.expired, 1);
        assert_int_equal(s.stopped, 0);
        host_turn(&f.host);
        assert_int_equal(queued.calls, 1);
        assert_int_equal(queued.status, LP_EEXPIRED);
        assert_int_equal(stop.report.cancelled, 0);
        close_all(&f);
        assert_int_equal(standing.status, 0);
        assert_int_equal(lp__load_relaxed(&queued.runs), 0);
    }
}

static void a_grace_of_nothing_expires_hard_at_once(void **state)
{
    (void)state;
    fixture_t f;
    soft_t soft = {0};
    lp_manager_t *manager = open_pools(&f, 1);
    manager->options.lease_grace_ns = 0;
    lp_lease_t *lease = lease_with(manager, &soft);
    host_advance(&f.host, SOFT - 1);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE);
    host_advance(&f.host, 1);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
    assert_int_equal(soft.calls, 0);
    assert_int_equal(f.host.rt->hopes, 0);
    close_all(&f);
}

/* ---- Soft expiry -------------------------------------------------------------- */

static void a_soft_expiry_is_told_once_and_from_a_turn(void **state)
{
    (void)state;
    for (int looked = 0; looked < 2; looked++) {
        fixture_t f;
        soft_t soft = {0};
        lp_manager_t *manager = open_pools(&f, 1);
        lp_lease_t *lease = lease_with(manager, &soft);
        host_pass(&f.host, SOFT);
        if (looked)
            assert_int_equal(lp_lease_state(lease), LP_LEASE_GRACE);
        assert_int_equal(soft.calls, 0);
        host_turn(&f.host);
        assert_int_equal(soft.calls, 1);
        assert_int_equal(soft.state, LP_LEASE_GRACE);
        assert_int_equal(lp_lease_state(lease), LP_LEASE_GRACE);
        host_advance(&f.host, GRACE - 1);
        task_t task = {0};
        assert_int_equal(task_submit(&task, lease), 0); /* it still works */
        fake_work(lease->executor);
        host_turn(&f.host);
        assert_int_equal(task.status, 0);
        host_advance(&f.host, 1);
        assert_int_equal(soft.calls, 1);
        assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
        close_all(&f);
    }
}

static void nobody_is_told_of_a_lease_that_ended_first(void **state)
{
    (void)state;
    for (int how = 0; how < 5; how++) {
        fixture_t f;
        soft_t soft = {0};
        lp_manager_t *manager = open_pools(&f, 1);
        lp_lease_t *lease = lease_with(manager, &soft);
        stop_t stop;
        host_pass(&f.host, how == 4 ? HARD : SOFT);
        switch (how) { /* how == 4: no turn came before the hard expiry */
        case 0:
            lp_release(lease);
            break;
        case 1:
            lp_lease_close(lease);
            break;
        case 2:
            assert_int_equal(stop_begin(&stop, manager), 0);
            break;
        case 3:
            lp__executor_break(lease->executor, "test");
            break;
        }
        host_advance(&f.host, HARD);
        assert_int_equal(soft.calls, 0);
        assert_int_equal(f.host.rt->hopes, 0);
        assert_equations(manager);
        close_all(&f);
    }
}

static void the_callback_of_the_acquire_comes_before_that_of_the_soft_expiry(void **state)
{
    (void)state;
    for (int waits = 0; waits < 2; waits++) {
        fixture_t f;
        soft_t soft = {.act = lp_lease_close};
        wait_t wait;
        lp_manager_t *manager = open_pools(&f, 1);
        lp_lease_t *first = waits ? lease_of(manager) : NULL;
        lp_acquire_options_t options;
        lp_acquire_options_init(&options);
        options.on_soft_expiry = on_soft;
        options.soft_data = &soft;
        memset(&wait, 0, sizeof wait);
        wait_order = 0;
        assert_int_equal(lp_acquire(manager, &wait.req, &options, wait_done), 0);
        lp_lease_close(first); /* handed over */
        host_advance(&f.host, SOFT);
        assert_int_equal(wait.calls, 1);
        assert_int_equal(wait.status, 0);
        assert_int_equal(wait.order, 1);
        assert_int_equal(soft.calls, 1);
        assert_int_equal(soft.order, 2);
        assert_equations(manager);
        close_all(&f);
    }
}

static void renew_it(lp_lease_t *lease)
{
    assert_int_equal(lp_lease_renew(lease, 10), 0);
}

static void release_it(lp_lease_t *lease)
{
    assert_int_equal(lp_release(lease), 0);
}

static void stop_it(lp_lease_t *lease)
{
    assert_int_equal(lp_manager_stop(lease->manager, NULL, LP_FOREVER, NULL), 0);
}

static void close_its_manager(lp_lease_t *lease)
{
    lp_manager_close(lease->manager);
}

static void close_both(lp_lease_t *lease)
{
    lp_manager_close(lease->manager);
    lp_lease_close(lease);
}

static void close_both_the_other_way(lp_lease_t *lease)
{
    lp_manager_t *manager = lease->manager;
    lp_lease_close(lease);
    lp_manager_close(manager);
}

static void close_the_runtime(lp_lease_t *lease)
{
    host_t *host = LP__CONTAINER(lease->manager->rt->loop, host_t, loop);
    assert_int_equal(lp_runtime_close(host->rt, host_on_closed, host), 0);
}

static void break_it(lp_lease_t *lease)
{
    lp__executor_break(lease->executor, "in the callback");
}

static void a_soft_callback_may_do_anything_to_its_lease(void **state)
{
    (void)state;
    static void (*const acts[])(lp_lease_t *) = {
        renew_it,          release_it, lp_lease_close,           stop_it,
        close_its_manager, close_both, close_both_the_other_way, close_the_runtime,
        break_it};
    enum { QUEUED = 1, STANDING = 2 };
    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        for (int jobs = 0; jobs < 4; jobs++) {
            fixture_t f;
            soft_t soft = {.act = acts[i]};
            task_t standing = {0}, queued = {0};
            lp_manager_t *manager = open_pools(&f, 1);
            lp_set_logger(f.host.rt, log_line, &(log_t){0});
            lp_lease_t *lease = lease_with(manager, &soft);
            if (jobs & STANDING)
                fake_stand(&standing, lease);
            if (jobs & QUEUED)
                assert_int_equal(task_submit(&queued, lease), 0);
            host_advance(&f.host, SOFT);
            assert_int_equal(soft.calls, 1);
            if (acts[i] == renew_it) {
                assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE);
                host_advance(&f.host, 9);
                assert_int_equal(soft.calls, 1);
                host_advance(&f.host, 1); /* told again, of the new expiry */
                assert_int_equal(soft.calls, 2);
            }
            if (!lp__list_empty(&f.host.rt->managers)) {
                assert_equations(manager);
                fake_finish_all(manager);
                host_turn(&f.host);
            }
            if (!f.host.closed && !lp__list_empty(&f.host.rt->managers)) {
                assert_equations(manager);
                if (manager->executors.next != &manager->executors)
                    fake_work(LP__CONTAINER(manager->executors.next, lp__executor_t, all_link));
            }
            fake_close(&f.host);
            assert_int_equal(queued.calls, jobs & QUEUED ? 1 : 0);
            assert_int_equal(standing.calls, jobs & STANDING ? 1 : 0);
        }
    }
}

/* ---- Hard expiry -------------------------------------------------------------- */

static void hard_expiry_ends_what_is_queued_and_leaves_what_runs(void **state)
{
    (void)state;
    enum { QUEUED = 1, STANDING = 2, POSTED = 4, REMOVED = 8 };
    for (int with_turn = 0; with_turn < 2; with_turn++) {
        for (int jobs = 0; jobs < 16; jobs++) {
            fixture_t f;
            task_t standing = {0}, queued = {0}, posted = {0}, removed = {0};
            lp_manager_t *manager = open_pools(&f, 1);
            lp_lease_t *lease = lease_of(manager);
            if (jobs & STANDING)
                fake_stand(&standing, lease);
            if (jobs & POSTED) {
                fake_stand(&posted, lease);
                fake_finish(&posted.job);
            }
            if (jobs & REMOVED) {
                assert_int_equal(task_submit(&removed, lease), 0);
                assert_int_equal(lp_job_cancel(&removed.job), 0);
            }
            if (jobs & QUEUED)
                assert_int_equal(task_submit(&queued, lease), 0);
            host_pass(&f.host, HARD);
            if (with_turn) /* in which deadlines come before what was posted */
                host_turn(&f.host);
            bool busy = jobs & STANDING || (!with_turn && jobs);
            assert_int_equal(lp_lease_state(lease), busy ? LP_LEASE_EXPIRED : LP_LEASE_CLOSED);
            int64_t waiting, running;
            lp_lease_jobs(lease, &waiting, &running);
            assert_int_equal(waiting, 0);
            assert_equations(manager);
            assert_int_equal(lp_submit(lease, &(lp_job_t){0}, task_run, NULL), LP_EEXPIRED);
            host_turn(&f.host);
            lp_manager_stats_t s = assert_equations(manager);
            assert_int_equal(s.queued, 0);
            assert_int_equal(s.running, jobs & STANDING ? 1 : 0);
            assert_int_equal(s.failed, jobs & QUEUED ? 1 : 0);
            assert_int_equal(s.cancelled, jobs & REMOVED ? 1 : 0);
            assert_int_equal(s.done, jobs & POSTED ? 1 : 0);
            if (jobs & STANDING) {
                fake_finish(&standing.job);
                host_turn(&f.host);
                assert_int_equal(standing.status, 0); /* it has delivered */
                assert_int_equal(lp__load_relaxed(&standing.runs), 1);
            }
            assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
            assert_int_equal(assert_equations(manager).retiring, 0);
            assert_int_equal(queued.status, jobs & QUEUED ? LP_EEXPIRED : 0);
            assert_int_equal(lp__load_relaxed(&queued.runs), 0);
            close_all(&f);
        }
    }
}

static void a_lease_released_too_late_never_returns_its_executor(void **state)
{
    (void)state;
    for (int closes = 0; closes < 2; closes++) {
        fixture_t f;
        task_t task;
        lp_manager_t *manager = open_pools(&f, 1);
        lp_lease_t *lease = lease_of(manager);
        uint32_t executor = lease->executor->id;
        fake_stand(&task, lease);
        host_pass(&f.host, HARD);
        if (closes)
            lp_lease_close(lease);
        else
            assert_int_equal(lp_release(lease), 0);
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.released, 0);
        assert_int_equal(s.expired, 1);
        fake_finish(&task.job);
        host_turn(&f.host);
        s = assert_equations(manager);
        assert_int_equal(s.available, 1); /* below the target another one was made */
        assert_int_equal(s.created, 2);
        lp_lease_t *next = lease_of(manager);
        assert_int_not_equal(next->executor->id, executor);
        close_all(&f);
    }
}

static void a_draining_lease_expires_hard_and_was_released(void **state)
{
    (void)state;
    for (int open = 0; open < 2; open++) {
        fixture_t f;
        soft_t soft = {0};
        task_t standing, queued = {0};
        lp_manager_t *manager = open_pools(&f, 1);
        lp_lease_t *lease = lease_with(manager, &soft);
        fake_stand(&standing, lease);
        assert_int_equal(task_submit(&queued, lease), 0);
        if (open)
            lp_release(lease);
        else
            lp_lease_close(lease);
        assert_int_equal(assert_equations(manager).leased, 1);
        host_advance(&f.host, HARD - 1);
        assert_int_equal(lease->state, LP_LEASE_DRAINING);
        assert_int_equal(queued.calls, 0);
        host_advance(&f.host, 1);
        assert_int_equal(lease->state, LP_LEASE_EXPIRED);
        assert_int_equal(queued.status, LP_EEXPIRED);
        assert_int_equal(soft.calls, 0);
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.released, 1); /* by its first end */
        assert_int_equal(s.expired, 0);
        assert_int_equal(s.retiring, 1);
        assert_int_equal(s.leased, 0);
        if (open)
            assert_string_equal(lp_lease_reason(lease), "released");
        close_all(&f);
    }
}

/* ---- Renewal ------------------------------------------------------------------ */

static void renewing_moves_both_expiries_from_active_and_grace(void **state)
{
    (void)state;
    fixture_t f;
    soft_t soft = {0};
    lp_manager_t *manager = open_pools(&f, 1);
    lp_lease_t *lease = lease_with(manager, &soft);
    lp_lease_times_t times;
    host_advance(&f.host, SOFT - 1);
    assert_int_equal(lp_lease_renew(lease, 0), 0); /* the length it had */
    host_advance(&f.host, SOFT - 1);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE);
    assert_int_equal(lp_lease_renew(lease, 10), 0); /* shorter, counted from now */
    host_advance(&f.host, 10);
    assert_int_equal(soft.calls, 1);
    host_pass(&f.host, GRACE - 1); /* the last nanosecond */
    assert_int_equal(lp_lease_renew(lease, 0), 0);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE);
    lp_lease_times(lease, &times);
    assert_int_equal(times.soft_expiry_ns, host_now(&f.host) + SOFT);
    assert_int_equal(times.hard_expiry_ns, host_now(&f.host) + HARD);
    host_turn(&f.host);
    assert_int_equal(soft.calls, 1);
    host_pass(&f.host, SOFT);
    assert_int_equal(lp_lease_renew(lease, SOFT), 0); /* before any turn could tell */
    host_turn(&f.host);
    assert_int_equal(soft.calls, 1);
    host_advance(&f.host, SOFT);
    assert_int_equal(soft.calls, 2);
    assert_int_equal(lp_lease_renew(lease, LP_FOREVER), 0); /* as far as time goes */
    host_advance(&f.host, 1000 * LP_SECOND);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE);
    assert_int_equal(lp_lease_renew(lease, 1), 0);
    host_pass(&f.host, 1 + GRACE);
    assert_int_equal(lp_lease_renew(lease, 0), LP_EEXPIRED);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
    assert_equations(manager);
    close_all(&f);
}

static void renewing_what_has_ended_is_refused(void **state)
{
    (void)state;
    fixture_t f;
    lp_manager_t *manager = open_pools(&f, 6);
    lp_set_logger(f.host.rt, log_line, &(log_t){0});
    lp_lease_t *leases[6];
    task_t tasks[6];
    stop_t stop;
    for (size_t i = 0; i < 6; i++) {
        leases[i] = lease_of(manager);
        fake_stand(&tasks[i], leases[i]);
    }
    assert_int_equal(lp_lease_renew(leases[0], LP_SECOND), 0);
    assert_int_equal(lp_lease_renew(leases[1], LP_SECOND), 0);
    lp_release(leases[1]); /* draining */
    fake_finish(&tasks[2].job);
    host_turn(&f.host);
    lp_release(leases[2]); /* closed */
    lp__executor_break(leases[3]->executor, "test");
    host_pass(&f.host, HARD); /* 4 and 5 expire */
    fake_finish(&tasks[5].job);
    host_turn(&f.host); /* 5 is closed */
    static const lp_lease_state_t states[] = {LP_LEASE_ACTIVE, LP_LEASE_DRAINING, LP_LEASE_CLOSED,
                                              LP_LEASE_BROKEN, LP_LEASE_EXPIRED,  LP_LEASE_CLOSED};
    static const char *const reasons[] = {NULL,   "released", "released",
                                          "test", "expired",  "expired"};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(lp_lease_state(leases[i]), states[i]);
        assert_int_equal(lp_lease_renew(leases[i], LP_SECOND), i == 0 ? 0 : LP_EEXPIRED);
        assert_int_equal(lp_lease_state(leases[i]), states[i]);
        if (reasons[i])
            assert_string_equal(lp_lease_reason(leases[i]), reasons[i]);
        else
            assert_null(lp_lease_reason(leases[i]));
    }
    assert_int_equal(lp_lease_renew(NULL, 0), LP_EINVAL);
    assert_int_equal(stop_begin(&stop, manager), 0);
    assert_int_equal(lp_lease_renew(leases[0], 0), LP_EEXPIRED);
    assert_string_equal(lp_lease_reason(leases[0]), "the manager stopped");
    assert_equations(manager);
    close_all(&f);
}

/* ---- The place that becomes free ---------------------------------------------- */

static void waiters_are_served_as_places_become_free_within_max_retiring(void **state)
{
    (void)state;
    enum { POOLS = 3 };
    for (int64_t max_retiring = 0; max_retiring <= 4; max_retiring++) {
        fixture_t f;
        lp_manager_options_t options = fake_options(POOLS, 2);
        options.max_retiring = max_retiring;
        lp_manager_t *manager = open_with(&f, options);
        wait_t waiters[2 * POOLS];
        task_t tasks[POOLS];
        for (size_t i = 0; i < POOLS; i++)
            fake_stand(&tasks[i], lease_of(manager));
        for (size_t i = 0; i < COUNT_OF(waiters); i++)
            assert_int_equal(wait_begin(&waiters[i], manager, LP_FOREVER), 0);
        host_pass(&f.host, HARD);
        size_t served = max_retiring < POOLS ? (size_t)max_retiring : POOLS;
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.retiring, POOLS);
        assert_int_equal(s.leased, served);
        assert_int_equal(s.waiters, COUNT_OF(waiters) - served);
        host_turn(&f.host);
        for (size_t i = 0; i < COUNT_OF(waiters); i++)
            assert_int_equal(waiters[i].calls, i < served ? 1 : 0);
        for (size_t ended = 0; ended < POOLS; ended++) { /* a retiring one ends: so does its toll */
            fake_finish(&tasks[ended].job);
            host_turn(&f.host);
            s = assert_equations(manager);
            size_t retiring = POOLS - 1 - ended, free_of = (size_t)max_retiring;
            size_t over = retiring > free_of ? retiring - free_of : 0;
            assert_int_equal(s.leased, POOLS - over);
        }
        for (size_t i = 0; i < COUNT_OF(waiters); i++) {
            assert_int_equal(waiters[i].calls, i < POOLS ? 1 : 0);
            assert_int_equal(waiters[i].status, 0);
        }
        close_all(&f);
    }
}

static void a_draining_lease_that_expires_frees_its_place(void **state)
{
    (void)state;
    fixture_t f;
    task_t task;
    wait_t waiter;
    lp_manager_t *manager = open_pools(&f, 1);
    lp_lease_t *lease = lease_of(manager);
    fake_stand(&task, lease);
    lp_lease_close(lease);
    assert_int_equal(wait_begin(&waiter, manager, LP_FOREVER), 0);
    host_advance(&f.host, HARD - 1);
    assert_int_equal(waiter.calls, 0); /* work of two leases never overlaps */
    host_advance(&f.host, 1);
    assert_int_equal(waiter.status, 0);
    assert_int_equal(waiter.calls, 1);
    assert_equations(manager);
    close_all(&f);
}

static void a_waiter_that_was_late_gets_nothing_that_expiry_frees(void **state)
{
    (void)state;
    fixture_t f;
    wait_t waiters[3], next;
    lp_manager_t *manager = open_pools(&f, 1);
    (void)lease_of(manager);
    for (size_t i = 0; i < 3; i++) /* before, with, and after the expiry */
        assert_int_equal(wait_begin(&waiters[i], manager, HARD - 1 + i), 0);
    assert_int_equal(wait_begin(&next, manager, LP_FOREVER), 0);
    host_advance(&f.host, HARD + 1); /* one turn for all of it */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(waiters[i].status, LP_ETIMEDOUT);
    assert_int_equal(next.calls, 1);
    assert_int_equal(next.status, 0);
    assert_equations(manager);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_changes_its_state_at_the_exact_nanosecond),
        cmocka_unit_test(every_public_call_looks_at_the_clock_first),
        cmocka_unit_test(a_grace_of_nothing_expires_hard_at_once),
        cmocka_unit_test(a_soft_expiry_is_told_once_and_from_a_turn),
        cmocka_unit_test(nobody_is_told_of_a_lease_that_ended_first),
        cmocka_unit_test(the_callback_of_the_acquire_comes_before_that_of_the_soft_expiry),
        cmocka_unit_test(a_soft_callback_may_do_anything_to_its_lease),
        cmocka_unit_test(hard_expiry_ends_what_is_queued_and_leaves_what_runs),
        cmocka_unit_test(a_lease_released_too_late_never_returns_its_executor),
        cmocka_unit_test(a_draining_lease_expires_hard_and_was_released),
        cmocka_unit_test(renewing_moves_both_expiries_from_active_and_grace),
        cmocka_unit_test(renewing_what_has_ended_is_refused),
        cmocka_unit_test(waiters_are_served_as_places_become_free_within_max_retiring),
        cmocka_unit_test(a_draining_lease_that_expires_frees_its_place),
        cmocka_unit_test(a_waiter_that_was_late_gets_nothing_that_expiry_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
