/* test_fake_backend.c - the core on a backend without threads: its workers run on the loop's
 * thread when they are woken. What holds here needs nothing but the table of functions. */
#include "fake.h"

static void jobs_run_and_come_back_without_a_thread(void **state)
{
    (void)state;
    host_t host;
    fake_open(&host);
    lp_manager_t *manager = fake_manager(&host, 1, 4);
    lp_lease_t *lease = lease_of(manager);
    task_t tasks[100];
    memset(tasks, 0, sizeof tasks);
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        assert_int_equal(task_submit(&tasks[i], lease), 0);
        assert_int_equal(lp__load_relaxed(&tasks[i].runs), 1); /* on this thread, when woken */
        assert_int_equal(tasks[i].calls, 0);                   /* but told in a turn */
        assert_int_equal(lp_job_cancel(&tasks[i].job), LP_ESTATE);
    }
    assert_int_equal(counts_of(manager).queued, 0);
    assert_int_equal(counts_of(manager).running, 100); /* not yet delivered */
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        assert_int_equal(tasks[i].calls, 1);
        assert_int_equal(tasks[i].status, 0);
    }
    assert_int_equal(counts_of(manager).running, 0);
    assert_true(fake.wakes >= 1);
    fake_close(&host);
}

static void workers_are_started_on_demand_and_ended_once(void **state)
{
    (void)state;
    host_t host;
    fake_open(&host);
    fake.lazy = true;
    lp_manager_t *manager = fake_manager(&host, 2, 3);
    lp_lease_t *lease = lease_of(manager), *unused = lease_of(manager);
    task_t tasks[10];
    memset(tasks, 0, sizeof tasks);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(task_submit(&tasks[i], lease), 0);
        assert_int_equal(fake.starts, i < 3 ? i + 1 : 3);
    }
    fake_work(lease->executor);
    host_turn(&host);
    lp_lease_close(unused);
    stop_t stop;
    assert_int_equal(stop_begin(&stop, manager), 0);
    host_turn(&host);
    assert_int_equal(stop.calls, 1);
    assert_int_equal(fake.stops, 2); /* one for each executor, used or not */
    assert_int_equal(fake.joins, 3);
    fake_close(&host);
}

static void a_backend_that_cannot_start_a_worker_breaks_the_executor(void **state)
{
    (void)state;
    static const struct {
        int backend, caller;
    } cases[] = {{UV_EAGAIN, LP_EBROKEN}, {LP_ENOTSUP, LP_EBROKEN}, {LP_ENOMEM, LP_ENOMEM}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        host_t host;
        fake_open(&host);
        lp_manager_t *manager = fake_manager(&host, 1, 2);
        lp_lease_t *lease = lease_of(manager);
        task_t task = {0};
        fake.fail_starts = 1;
        fake.fail_with = cases[i].backend;
        assert_int_equal(task_submit(&task, lease), cases[i].caller);
        assert_int_equal(lp_job_cancel(&task.job), LP_ESTATE);
        if (cases[i].caller == LP_EBROKEN) { /* memory may come back: then the lease goes on */
            assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
            lp_lease_close(lease);
            host_advance(&host, 10 * LP_MILLISECOND);
            lease = lease_of(manager);
        }
        assert_int_equal(task_submit(&task, lease), 0);
        host_turn(&host);
        assert_int_equal(task.calls, 1);
        fake.fail_starts = 1; /* one worker is there: it takes the job */
        fake.lazy = true;
        task_t second = {0};
        assert_int_equal(task_submit(&task, lease), 0);
        assert_int_equal(task_submit(&second, lease), 0);
        assert_int_equal(fake.fail_starts, 0);
        fake_work(lease->executor);
        host_turn(&host);
        assert_int_equal(second.calls, 1);
        fake_close(&host);
    }
}

static void ten_thousand_executors_are_lent_and_taken_back(void **state)
{
    (void)state;
    enum { POOLS = 10000 };
    static lp_lease_t *leases[POOLS];
    static wait_t waiters[POOLS];
    host_t host;
    fake_open(&host);
    lp_manager_t *manager = fake_manager(&host, POOLS, 1);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < POOLS; i++)
            leases[i] = lease_of(manager);
        assert_int_equal(counts_of(manager).leased, POOLS);
        wait_order = 0;
        for (size_t i = 0; i < POOLS; i++)
            assert_int_equal(wait_begin(&waiters[i], manager, LP_SECOND), 0);
        for (size_t i = 0; i < POOLS; i++) /* in some other order than they were lent */
            lp_lease_close(leases[(i * 7919) % POOLS]);
        assert_int_equal(counts_of(manager).waiters, 0);
        host_turn(&host);
        for (size_t i = 0; i < POOLS; i++) {
            assert_int_equal(waiters[i].status, 0);
            assert_int_equal(waiters[i].order, i + 1);
            lp_lease_close(waiters[i].lease);
        }
        host_advance(&host, 2 * LP_SECOND); /* no timeout is left behind */
        assert_int_equal(wait_order, POOLS);
        assert_int_equal(counts_of(manager).available, POOLS);
        assert_int_equal(counts_of(manager).total, POOLS);
    }
    assert_int_equal(fake.starts, 0); /* nobody worked, so no worker was made */
    fake_close(&host);
}

/* ---- A random walk ------------------------------------------------------------ */

static uint32_t random_state;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

enum { WALKERS = 40, WALK_POOLS = 3, STEPS = 20000 };

typedef struct {
    wait_t wait;
    task_t task;
    uint64_t asked; /* a number that grows with each request */
    bool active;
} walker_t;

static uint64_t last_granted;
static int overtaken;

static void walker_granted(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    walker_t *walker = (walker_t *)(void *)req;
    wait_done(req, status, lease);
    walker->active = false;
    if (status != 0)
        return;
    overtaken += walker->asked < last_granted;
    last_granted = walker->asked;
}

static void in_a_random_walk_nobody_is_overtaken_and_the_counts_agree(void **state)
{
    (void)state;
    static walker_t walkers[WALKERS];
    host_t host;
    fake_open(&host);
    memset(walkers, 0, sizeof walkers);
    random_state = 7;
    last_granted = 0;
    overtaken = 0;
    lp_manager_t *manager = fake_manager(&host, WALK_POOLS, 2);
    int endings[3] = {0}; /* granted, timed out, cancelled */
    for (uint64_t step = 1; step <= STEPS; step++) {
        walker_t *walker = &walkers[random_below(WALKERS)];
        wait_t *wait = &walker->wait;
        if (random_below(16) == 0) {
            host_advance(&host, random_below(5) * LP_MILLISECOND);
        } else if (wait->lease) {
            if (random_below(2) && walker->task.job.priv.state == LP__JOB_IDLE)
                assert_int_equal(task_submit(&walker->task, wait->lease), 0);
            if (random_below(2)) {
                lp_lease_close(wait->lease);
                wait->lease = NULL;
            }
        } else if (walker->active) {
            if (random_below(3) == 0 && lp_acquire_cancel(&wait->req) == 0)
                endings[2]++;
        } else if (walker->task.job.priv.state == LP__JOB_IDLE) {
            lp_acquire_options_t options;
            lp_acquire_options_init(&options);
            options.timeout_ns = random_below(8) * 4 * LP_MILLISECOND;
            walker->asked = step;
            walker->active = true;
            wait->status = 0;
            assert_int_equal(lp_acquire(manager, &wait->req, &options, walker_granted), 0);
        }
        if (random_below(4) == 0)
            host_turn(&host);
        fake.lazy = random_below(2);
        lp_manager_stats_t counts = counts_of(manager);
        assert_int_equal(counts.available + counts.leased, counts.total);
        assert_in_range(counts.total, 1, WALK_POOLS);
        assert_true(counts.waiters == 0 || counts.available == 0);
        assert_true(counts.queued >= 0 && counts.running >= 0);
        if (fake.lazy == false)
            for (size_t i = 0; i < WALKERS; i++)
                if (walkers[i].task.job.priv.of.lease)
                    fake_work(walkers[i].task.job.priv.of.lease->executor);
        endings[0] += walker->wait.calls > 0 && walker->wait.status == 0;
        endings[1] += walker->wait.status == LP_ETIMEDOUT;
    }
    for (size_t i = 0; i < WALKERS; i++)
        lp_lease_close(walkers[i].wait.lease);
    fake_close(&host);
    assert_int_equal(overtaken, 0);
    for (size_t i = 0; i < 3; i++)
        assert_true(endings[i] > 100); /* the walk went everywhere */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_and_come_back_without_a_thread),
        cmocka_unit_test(workers_are_started_on_demand_and_ended_once),
        cmocka_unit_test(a_backend_that_cannot_start_a_worker_breaks_the_executor),
        cmocka_unit_test(ten_thousand_executors_are_lent_and_taken_back),
        cmocka_unit_test(in_a_random_walk_nobody_is_overtaken_and_the_counts_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
