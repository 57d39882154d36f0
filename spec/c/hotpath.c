/* hotpath.c - walks the core's hot paths on the fake backend, for spec/support/instructions.sh,
 * which counts their instructions. Each path is taken PATHS times. */
#include "fake.h"

enum { PATHS = 20000, WINDOW = 100 };

static void acquire_and_release(lp_manager_t *manager)
{
    for (int i = 0; i < PATHS; i++) {
        lp_lease_t *lease = NULL;
        lp_try_acquire(manager, NULL, &lease);
        lp_lease_close(lease);
    }
}

static void work(lp_job_t *job)
{
    (void)job;
}

static int delivered;

static void done(lp_job_t *job, int status)
{
    (void)job;
    delivered += status == 0;
}

static void submit_and_deliver(host_t *host, lp_manager_t *manager)
{
    static lp_job_t jobs[WINDOW];
    lp_lease_t *lease = lease_of(manager);
    fake.lazy = true; /* its workers are no part of what is counted */
    for (int i = 0; i < PATHS / WINDOW; i++) {
        for (int j = 0; j < WINDOW; j++)
            lp_submit(lease, &jobs[j], work, done);
        fake_work(lease->executor);
        host_turn(host);
    }
    lp_lease_close(lease);
}

static void walk(void **state)
{
    (void)state;
    host_t host;
    fake_open(&host);
    lp_manager_t *manager = fake_manager(&host, 1, 1);
    acquire_and_release(manager);
    submit_and_deliver(&host, manager);
    assert_int_equal(delivered, PATHS);
    fake_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(walk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
