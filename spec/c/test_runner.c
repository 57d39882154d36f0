/* test_runner.c - the table through which workers run jobs that are no C functions. */
#include "support.h"

#include "core/job.h"
#include "core/runner.h"

/* A runner of its own instead of Lua's. Written by workers, read after they were joined. */
typedef struct {
    atomic_int opened, called, closed, refuse_opens;
    char names[8][32];
} fake_t;

typedef struct {
    fake_t *fake;
    int calls;
} fake_state_t;

static int fake_open(void *data, lp__worker_t *worker, const char *name, void **out)
{
    fake_t *fake = data;
    (void)worker;
    if (lp__load_relaxed(&fake->refuse_opens) > 0) {
        lp__add_relaxed(&fake->refuse_opens, -1);
        return LP_ENOMEM;
    }
    fake_state_t *state = calloc(1, sizeof *state);
    state->fake = fake;
    int place = lp__add_relaxed(&fake->opened, 1);
    snprintf(fake->names[place], sizeof fake->names[place], "%s", name);
    *out = state;
    return 0;
}

static int fake_call(void *opaque, lp_job_t *job)
{
    fake_state_t *state = opaque;
    lp__add_relaxed(&state->fake->called, 1);
    lp__add_relaxed(&((task_t *)(void *)job)->runs, 1);
    return ++state->calls == 2 ? LP_EJOB : 0; /* the second job of each state fails */
}

static void fake_close(void *opaque)
{
    fake_state_t *state = opaque;
    lp__add_relaxed(&state->fake->closed, 1);
    free(state);
}

static const lp__runner_t fake_runner = {
    .name = "fake", .open = fake_open, .call = fake_call, .close = fake_close};

static int run_task(task_t *task, lp_lease_t *lease)
{
    return lp__job_submit(lease, &task->job, NULL, task_done, LP_FOREVER);
}

static void a_state_is_opened_by_the_first_job_and_kept_until_the_worker_ends(void **unused)
{
    (void)unused;
    host_t host;
    fake_t fake;
    memset(&fake, 0, sizeof fake);
    host_open(&host);
    lp__runtime_set_runner(host.rt, &fake_runner, &fake);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    task_t native = {0}, tasks[3];
    memset(tasks, 0, sizeof tasks);
    assert_int_equal(task_submit(&native, lease), 0);
    host_until(&host, &native.calls, 1);
    assert_int_equal(lp__load_relaxed(&fake.opened), 0); /* a C function needs none */
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        assert_int_equal(run_task(&tasks[i], lease), 0);
        host_until(&host, &tasks[i].calls, 1);
        assert_int_equal(tasks[i].status, i == 1 ? LP_EJOB : 0);
    }
    assert_int_equal(lp__load_relaxed(&fake.closed), 0);
    host_close(&host);
    assert_int_equal(lp__load_relaxed(&fake.opened), 1);
    assert_int_equal(lp__load_relaxed(&fake.called), 3);
    assert_int_equal(lp__load_relaxed(&fake.closed), 1);
    assert_string_equal(fake.names[0], "leasepool-1-1");
}

static void each_worker_has_a_state_of_its_own(void **unused)
{
    (void)unused;
    host_t host;
    fake_t fake;
    memset(&fake, 0, sizeof fake);
    host_open(&host);
    lp__runtime_set_runner(host.rt, &fake_runner, &fake);
    lp_lease_t *lease = lease_of(manager_of(&host, 1, 2));
    gate_t gate;
    task_t first = {0}, second = {0};
    assert_int_equal(run_task(&first, lease), 0); /* on the first worker */
    host_until(&host, &first.calls, 1);
    gate_shut(&gate, lease); /* it, or the second, is busy */
    assert_int_equal(run_task(&second, lease), 0);
    host_until(&host, &second.calls, 1);
    gate_open(&gate);
    host_close(&host);
    gate_destroy(&gate);
    int opened = lp__load_relaxed(&fake.opened);
    assert_true(opened == 1 || opened == 2);
    assert_int_equal(lp__load_relaxed(&fake.closed), opened);
    if (opened == 2)
        assert_string_not_equal(fake.names[0], fake.names[1]);
}

static void a_state_that_cannot_be_opened_fails_its_job_and_the_next_tries_again(void **unused)
{
    (void)unused;
    host_t host;
    fake_t fake;
    memset(&fake, 0, sizeof fake);
    lp__store_relaxed(&fake.refuse_opens, 1);
    host_open(&host);
    lp__runtime_set_runner(host.rt, &fake_runner, &fake);
    lp_lease_t *lease = lease_of(manager_of(&host, 1, 1));
    task_t first = {0}, second = {0};
    assert_int_equal(run_task(&first, lease), 0);
    assert_int_equal(run_task(&second, lease), 0);
    host_until(&host, &second.calls, 1);
    assert_int_equal(first.status, LP_ENOMEM);
    assert_int_equal(second.status, 0);
    host_close(&host);
    assert_int_equal(lp__load_relaxed(&fake.closed), 1);
}

static void without_a_runner_such_a_job_is_not_supported(void **unused)
{
    (void)unused;
    host_t host;
    host_open(&host);
    lp_lease_t *lease = lease_of(manager_of(&host, 1, 1));
    task_t task = {0};
    assert_int_equal(run_task(&task, lease), 0);
    host_until(&host, &task.calls, 1);
    assert_int_equal(task.status, LP_ENOTSUP);
    host_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_is_opened_by_the_first_job_and_kept_until_the_worker_ends),
        cmocka_unit_test(each_worker_has_a_state_of_its_own),
        cmocka_unit_test(a_state_that_cannot_be_opened_fails_its_job_and_the_next_tries_again),
        cmocka_unit_test(without_a_runner_such_a_job_is_not_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
