/* test_acquire.c - who gets an executor and when: order, timeouts, cancelling, releasing. */
#include "support.h"

/* A host with one executor, which `held` holds. */
typedef struct {
    host_t host;
    lp_manager_t *manager;
    lp_lease_t *held;
} fixture_t;

static void set_up(fixture_t *f)
{
    host_open(&f->host);
    host_freeze(&f->host);
    f->manager = manager_of(&f->host, 1, 2);
    f->held = lease_of(f->manager);
    wait_order = 0;
}

static void tear_down(fixture_t *f)
{
    host_close(&f->host);
}

static void an_executor_goes_to_the_waiters_in_the_order_they_came(void **state)
{
    (void)state;
    enum { WAITERS = 200 };
    static wait_t waiters[WAITERS];
    fixture_t f;
    set_up(&f);
    for (size_t i = 0; i < WAITERS; i++)
        assert_int_equal(wait_begin(&waiters[i], f.manager, LP_FOREVER), 0);
    assert_int_equal(counts_of(f.manager).waiters, WAITERS);
    lp_lease_close(f.held);
    for (int i = 0; i < WAITERS; i++) {
        host_turn(&f.host);
        assert_int_equal(waiters[i].calls, 1);
        assert_int_equal(waiters[i].status, 0);
        assert_int_equal(waiters[i].order, i + 1);
        if (i + 1 < WAITERS)
            assert_int_equal(waiters[i + 1].calls, 0);
        lp_lease_close(waiters[i].lease);
    }
    assert_int_equal(counts_of(f.manager).available, 1);
    assert_int_equal(counts_of(f.manager).leased, 0);
    tear_down(&f);
}

static void a_late_caller_never_overtakes_a_waiter(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t first, late;
    lp_lease_t *lease = NULL;
    assert_int_equal(wait_begin(&first, f.manager, LP_FOREVER), 0);
    assert_int_equal(lp_try_acquire(f.manager, NULL, &lease), LP_EUNAVAILABLE);
    assert_int_equal(lp_release(f.held), 0); /* handed over, not yet told */
    assert_int_equal(lp_try_acquire(f.manager, NULL, &lease), LP_EUNAVAILABLE);
    assert_null(lease);
    assert_int_equal(wait_begin(&late, f.manager, 0), 0);
    host_turn(&f.host);
    assert_int_equal(first.status, 0);
    assert_non_null(first.lease);
    assert_int_equal(late.status, LP_ETIMEDOUT);
    assert_true(first.order < late.order);
    tear_down(&f);
}

static void an_executor_is_made_on_demand_up_to_max_pools(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 3, 1);
    assert_int_equal(counts_of(manager).total, 1); /* min_pools */
    lp_lease_t *leases[3], *none = NULL;
    for (int i = 0; i < 3; i++) {
        leases[i] = lease_of(manager);
        assert_int_equal(counts_of(manager).leased, i + 1);
    }
    assert_int_equal(lp_try_acquire(manager, NULL, &none), LP_EUNAVAILABLE);
    assert_ptr_not_equal(leases[0]->executor, leases[1]->executor);
    assert_ptr_not_equal(leases[1]->executor, leases[2]->executor);
    for (int i = 0; i < 3; i++)
        lp_lease_close(leases[i]);
    assert_int_equal(counts_of(manager).available, 3);
    assert_int_equal(counts_of(manager).total, 3);
    host_close(&host);
}

static void leases_have_ids_of_their_own_and_keep_a_copy_of_the_owner(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 2, 1);
    char owner[] = "upload";
    lp_acquire_options_t options;
    lp_acquire_options_init(&options);
    options.owner = owner;
    lp_lease_t *a = NULL, *b = lease_of(manager);
    assert_int_equal(lp_try_acquire(manager, &options, &a), 0);
    owner[0] = 'X';
    assert_string_equal(lp_lease_owner(a), "upload");
    assert_null(lp_lease_owner(b));
    assert_int_not_equal(lp_lease_id(a), lp_lease_id(b));
    assert_ptr_equal(lp_lease_manager(a), manager);
    uint64_t last = lp_lease_id(a);
    lp_lease_close(a);
    assert_true(lp_lease_id(lease_of(manager)) > last); /* also where the memory is reused */
    host_close(&host);
}

/* ---- Timeouts ----------------------------------------------------------------- */

static void waiters_time_out_in_the_order_of_their_deadlines(void **state)
{
    (void)state;
    static const uint64_t orders[6][3] = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3},
                                          {2, 3, 1}, {3, 1, 2}, {3, 2, 1}};
    for (size_t o = 0; o < COUNT_OF(orders); o++) {
        fixture_t f;
        set_up(&f);
        wait_t waiters[3];
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(wait_begin(&waiters[i], f.manager, orders[o][i] * LP_SECOND), 0);
        host_advance(&f.host, LP_SECOND - 1);
        assert_int_equal(wait_order, 0);
        host_advance(&f.host, 1);
        assert_int_equal(wait_order, 1);
        host_advance(&f.host, LP_SECOND);
        assert_int_equal(wait_order, 2);
        host_advance(&f.host, LP_SECOND);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(waiters[i].calls, 1);
            assert_int_equal(waiters[i].status, LP_ETIMEDOUT);
            assert_null(waiters[i].lease);
            assert_int_equal(waiters[i].order, orders[o][i]);
        }
        assert_int_equal(counts_of(f.manager).waiters, 0);
        tear_down(&f);
    }
}

static void equal_deadlines_end_first_come_first_served(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t waiters[50];
    for (size_t i = 0; i < COUNT_OF(waiters); i++)
        assert_int_equal(wait_begin(&waiters[i], f.manager, LP_SECOND), 0);
    host_advance(&f.host, LP_SECOND);
    for (size_t i = 0; i < COUNT_OF(waiters); i++)
        assert_int_equal(waiters[i].order, i + 1);
    tear_down(&f);
}

static void a_waiter_that_timed_out_leaves_no_trace(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t gone, next;
    assert_int_equal(wait_begin(&gone, f.manager, LP_SECOND), 0);
    assert_int_equal(wait_begin(&next, f.manager, 5 * LP_SECOND), 0);
    host_advance(&f.host, LP_SECOND);
    assert_int_equal(gone.status, LP_ETIMEDOUT);
    assert_int_equal(lp_acquire_cancel(&gone.req), LP_ESTATE);
    assert_int_equal(lp_release(f.held), 0);
    host_advance(&f.host, 10 * LP_SECOND); /* its deadline went with the hand-over */
    assert_int_equal(next.calls, 1);
    assert_int_equal(next.status, 0);
    assert_int_equal(gone.calls, 1);
    lp_lease_close(next.lease);
    assert_int_equal(counts_of(f.manager).available, 1);
    tear_down(&f);
}

static void a_timeout_of_zero_is_one_attempt(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t busy, free_one;
    assert_int_equal(wait_begin(&busy, f.manager, 0), 0);
    assert_int_equal(counts_of(f.manager).waiters, 0);
    assert_int_equal(busy.calls, 0); /* never from inside the call */
    lp_lease_close(f.held);          /* too late for it */
    host_turn(&f.host);
    assert_int_equal(busy.status, LP_ETIMEDOUT);
    assert_int_equal(wait_begin(&free_one, f.manager, 0), 0);
    assert_int_equal(free_one.calls, 0);
    host_turn(&f.host);
    assert_int_equal(free_one.status, 0);
    tear_down(&f);
}

static void the_longest_timeouts_do_not_overflow(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    assert_int_equal(lp_lease_renew(f.held, LP_FOREVER), 0);
    wait_t waiters[3];
    assert_int_equal(wait_begin(&waiters[0], f.manager, LP_FOREVER - 1), 0);
    assert_int_equal(wait_begin(&waiters[1], f.manager, LP_FOREVER / 2), 0);
    assert_int_equal(wait_begin(&waiters[2], f.manager, LP_FOREVER), 0);
    host_advance(&f.host, 1000000 * LP_SECOND);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(waiters[i].calls, 0);
        assert_int_equal(lp_acquire_cancel(&waiters[i].req), 0);
    }
    host_turn(&f.host);
    tear_down(&f);
}

/* ---- Cancelling --------------------------------------------------------------- */

static void a_cancelled_waiter_leaves_the_queue_at_once(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t waiters[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(wait_begin(&waiters[i], f.manager, LP_SECOND), 0);
    assert_int_equal(lp_acquire_cancel(&waiters[1].req), 0);
    assert_int_equal(waiters[1].calls, 0);
    assert_int_equal(counts_of(f.manager).waiters, 2);
    assert_int_equal(lp_acquire_cancel(&waiters[1].req), LP_ESTATE);
    host_turn(&f.host);
    assert_int_equal(waiters[1].status, LP_ECANCELLED);
    lp_lease_close(f.held);
    host_turn(&f.host);
    assert_int_equal(waiters[0].status, 0);
    lp_lease_close(waiters[0].lease);
    host_turn(&f.host);
    assert_int_equal(waiters[2].status, 0);
    assert_int_equal(waiters[1].calls, 1);
    tear_down(&f);
}

static void cancelling_after_the_hand_over_passes_the_executor_on(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t first, second;
    assert_int_equal(wait_begin(&first, f.manager, LP_FOREVER), 0);
    assert_int_equal(wait_begin(&second, f.manager, LP_FOREVER), 0);
    assert_int_equal(lp_release(f.held), 0);
    assert_int_equal(lp_acquire_cancel(&first.req), 0);
    assert_int_equal(lp_acquire_cancel(&first.req), LP_ESTATE);
    host_turn(&f.host);
    assert_int_equal(first.calls, 1);
    assert_int_equal(first.status, LP_ECANCELLED);
    assert_null(first.lease);
    assert_int_equal(second.status, 0);
    assert_int_equal(lp_lease_state(second.lease), LP_LEASE_ACTIVE);
    assert_int_equal(counts_of(f.manager).leased, 1);
    tear_down(&f);
}

static void cancelling_the_last_after_the_hand_over_frees_the_executor(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t waiter;
    lp_lease_close(f.held);
    assert_int_equal(wait_begin(&waiter, f.manager, LP_FOREVER), 0); /* granted in the call */
    assert_int_equal(counts_of(f.manager).leased, 1);
    assert_int_equal(lp_acquire_cancel(&waiter.req), 0);
    assert_int_equal(counts_of(f.manager).available, 1);
    host_turn(&f.host);
    assert_int_equal(waiter.status, LP_ECANCELLED);
    tear_down(&f);
}

static void cancelling_an_ended_or_unused_request_is_a_wrong_state(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    wait_t waiter;
    lp_acquire_t unused;
    memset(&unused, 0, sizeof unused);
    assert_int_equal(lp_acquire_cancel(NULL), LP_ESTATE);
    assert_int_equal(lp_acquire_cancel(&unused), LP_ESTATE);
    assert_int_equal(wait_begin(&waiter, f.manager, LP_SECOND), 0);
    host_advance(&f.host, LP_SECOND);
    assert_int_equal(lp_acquire_cancel(&waiter.req), LP_ESTATE);
    tear_down(&f);
}

static void one_waiter_too_many_is_refused_at_once(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = 1;
    options.max_waiters = 2;
    lp_manager_t *manager;
    assert_int_equal(lp_manager_create(&manager, host.rt, lp_backend_thread(), &options), 0);
    assert_int_equal(lp_manager_start(manager), 0);
    lease_of(manager);
    wait_t waiters[3];
    assert_int_equal(wait_begin(&waiters[0], manager, LP_FOREVER), 0);
    assert_int_equal(wait_begin(&waiters[1], manager, LP_FOREVER), 0);
    assert_int_equal(wait_begin(&waiters[2], manager, LP_FOREVER), LP_EUNAVAILABLE);
    assert_int_equal(lp_acquire_cancel(&waiters[0].req), 0);
    assert_int_equal(wait_begin(&waiters[2], manager, LP_FOREVER), 0);
    host_close(&host);
    assert_int_equal(waiters[0].status, LP_ECANCELLED);
    assert_int_equal(waiters[1].status, LP_ENOTSTARTED);
    assert_int_equal(waiters[2].status, LP_ENOTSTARTED);
}

/* ---- Release ------------------------------------------------------------------ */

static void release_is_idempotent(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    assert_int_equal(lp_lease_state(f.held), LP_LEASE_ACTIVE);
    assert_int_equal(lp_release(f.held), 0);
    assert_int_equal(lp_lease_state(f.held), LP_LEASE_CLOSED);
    lp_lease_t *other = lease_of(f.manager);
    assert_int_equal(lp_release(f.held), 0); /* must not release the other's */
    assert_int_equal(lp_lease_state(other), LP_LEASE_ACTIVE);
    assert_int_equal(counts_of(f.manager).leased, 1);
    task_t task = {0};
    assert_int_equal(task_submit(&task, f.held), LP_EEXPIRED);
    lp_lease_close(f.held);
    assert_int_equal(counts_of(f.manager).leased, 1);
    tear_down(&f);
}

static void an_executor_is_lent_again_only_when_its_last_job_is_done(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    gate_t a, b;
    task_t queued = {0};
    wait_t next;
    gate_shut(&a, f.held);
    gate_shut(&b, f.held); /* both workers stand in a gate */
    assert_int_equal(task_submit(&queued, f.held), 0);
    assert_int_equal(wait_begin(&next, f.manager, LP_FOREVER), 0);
    assert_int_equal(lp_release(f.held), 0);
    assert_int_equal(lp_lease_state(f.held), LP_LEASE_DRAINING);
    assert_int_equal(counts_of(f.manager).leased, 1);
    task_t refused = {0};
    assert_int_equal(task_submit(&refused, f.held), LP_EEXPIRED);
    host_turn(&f.host);
    assert_int_equal(next.calls, 0);
    gate_open(&a);
    host_until(&f.host, &queued.calls, 1); /* b still runs */
    assert_int_equal(queued.status, 0);
    assert_int_equal(next.calls, 0);
    assert_int_equal(lp_lease_state(f.held), LP_LEASE_DRAINING);
    gate_open(&b);
    host_until(&f.host, &next.calls, 1);
    assert_int_equal(a.task.calls, 1);
    assert_int_equal(b.task.calls, 1);
    assert_int_equal(next.status, 0);
    assert_int_equal(lp_lease_state(f.held), LP_LEASE_CLOSED);
    tear_down(&f);
    gate_destroy(&a);
    gate_destroy(&b);
}

typedef struct {
    wait_t wait;
    lp_manager_t *manager;
    int left, errors;
} chain_t;

static void release_and_acquire_again(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    chain_t *chain = (chain_t *)(void *)req;
    chain->wait.calls++;
    chain->errors += status != 0;
    lp_lease_close(lease);
    if (--chain->left > 0)
        chain->errors += lp_acquire(chain->manager, req, NULL, release_and_acquire_again) != 0;
}

static void callers_that_release_in_their_callback_take_turns(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f);
    chain_t chains[3];
    memset(chains, 0, sizeof chains);
    for (size_t i = 0; i < 3; i++) {
        chains[i].manager = f.manager;
        chains[i].left = 1000;
        assert_int_equal(
            lp_acquire(f.manager, &chains[i].wait.req, NULL, release_and_acquire_again), 0);
    }
    lp_lease_close(f.held);
    assert_int_equal(uv_run(&f.host.loop, UV_RUN_DEFAULT), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(chains[i].wait.calls, 1000);
        assert_int_equal(chains[i].errors, 0);
    }
    assert_int_equal(counts_of(f.manager).available, 1);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_executor_goes_to_the_waiters_in_the_order_they_came),
        cmocka_unit_test(a_late_caller_never_overtakes_a_waiter),
        cmocka_unit_test(an_executor_is_made_on_demand_up_to_max_pools),
        cmocka_unit_test(leases_have_ids_of_their_own_and_keep_a_copy_of_the_owner),
        cmocka_unit_test(waiters_time_out_in_the_order_of_their_deadlines),
        cmocka_unit_test(equal_deadlines_end_first_come_first_served),
        cmocka_unit_test(a_waiter_that_timed_out_leaves_no_trace),
        cmocka_unit_test(a_timeout_of_zero_is_one_attempt),
        cmocka_unit_test(the_longest_timeouts_do_not_overflow),
        cmocka_unit_test(a_cancelled_waiter_leaves_the_queue_at_once),
        cmocka_unit_test(cancelling_after_the_hand_over_passes_the_executor_on),
        cmocka_unit_test(cancelling_the_last_after_the_hand_over_frees_the_executor),
        cmocka_unit_test(cancelling_an_ended_or_unused_request_is_a_wrong_state),
        cmocka_unit_test(one_waiter_too_many_is_refused_at_once),
        cmocka_unit_test(release_is_idempotent),
        cmocka_unit_test(an_executor_is_lent_again_only_when_its_last_job_is_done),
        cmocka_unit_test(callers_that_release_in_their_callback_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
