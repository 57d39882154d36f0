/* test_runner.c - the table through which workers run jobs that are no C functions. */
#include "support.h"

#include "core/job.h"
#include "core/runner.h"
#include "core/worker.h"

/* A runner of its own instead of Lua's. Written by workers, read after they were joined. */
typedef struct {
    atomic_int opened, called, closed, refuse_opens, break_opens, explained, interrupted;
    char names[8][32];
} fake_t;

typedef struct {
    fake_t *fake;
    int calls;
} fake_state_t;

static int fake_open(void *data, lp__worker_t *worker, const char *name, void **out)
{
    fake_t *fake = data;
    if (lp__load_relaxed(&fake->refuse_opens) > 0) {
        lp__add_relaxed(&fake->refuse_opens, -1);
        return LP_ENOMEM;
    }
    if (lp__load_relaxed(&fake->break_opens) > 0) {
        lp__add_relaxed(&fake->break_opens, -1);
        lp__worker_explain(worker, "no state today");
        return LP_EBROKEN;
    }
    fake_state_t *state = calloc(1, sizeof *state);
    state->fake = fake;
    int place = lp__add_relaxed(&fake->opened, 1);
    snprintf(fake->names[place], sizeof fake->names[place], "%s", name);
    *out = state;
    return 0;
}

static void fake_take(void *opaque, lp_job_t *job)
{
    (void)opaque;
    lp__add_relaxed(&((task_t *)(void *)job)->runs, 1);
}

static void fake_deliver(void *opaque, lp_job_t *job)
{
    (void)opaque;
    (void)job;
}

static int fake_call(void *opaque)
{
    fake_state_t *state = opaque;
    lp__add_relaxed(&state->fake->called, 1);
    return ++state->calls == 2 ? LP_EJOB : 0; /* the second job of each state fails */
}

static void fake_interrupt(void *opaque) /* in a signal handler */
{
    lp__add_relaxed(&((fake_state_t *)opaque)->fake->interrupted, 1);
}

static void fake_close(void *opaque)
{
    fake_state_t *state = opaque;
    lp__add_relaxed(&state->fake->closed, 1);
    free(state);
}

static void ignore_log(void *data, lp_manager_t *manager, lp_log_level_t level, const char *text)
{
    (void)data;
    (void)manager;
    (void)level;
    (void)text;
}

static fake_t *explained_to;

static void fake_explain(lp_job_t *job, const char *reason)
{
    (void)job;
    if (reason && strcmp(reason, "no state today") == 0)
        lp__add_relaxed(&explained_to->explained, 1);
}

static const lp__runner_t fake_runner = {.name = "fake",
                                         .open = fake_open,
                                         .take = fake_take,
                                         .call = fake_call,
                                         .deliver = fake_deliver,
                                         .interrupt = fake_interrupt,
                                         .close = fake_close,
                                         .explain = fake_explain};

/* A host with a fake runner, and a started manager of one executor. */
static lp_manager_t *begin(host_t *host, fake_t *fake, void (*change)(lp_manager_options_t *))
{
    lp_manager_options_t options;
    lp_manager_t *manager;
    host_open(host);
    lp__runtime_set_runner(host->rt, &fake_runner, fake);
    explained_to = fake;
    lp_set_logger(host->rt, ignore_log, NULL);
    lp_manager_options_init(&options);
    options.max_pools = 1;
    change(&options);
    assert_int_equal(lp_manager_create(&manager, host->rt, lp_backend_thread(), &options), 0);
    assert_int_equal(lp_manager_start(manager), 0);
    return manager;
}

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

static void one_worker(lp_manager_options_t *options)
{
    options->workers_per_pool = 1;
}

static void a_state_that_never_can_be_opened_breaks_the_executor(void **unused)
{
    (void)unused;
    host_t host;
    fake_t fake;
    task_t tasks[3];
    memset(&fake, 0, sizeof fake);
    memset(tasks, 0, sizeof tasks);
    lp__store_relaxed(&fake.break_opens, 1);
    lp_lease_t *lease = lease_of(begin(&host, &fake, one_worker));
    for (size_t i = 0; i < COUNT_OF(tasks); i++)
        assert_int_equal(run_task(&tasks[i], lease), 0);
    for (size_t i = 0; i < COUNT_OF(tasks); i++) {
        host_until(&host, &tasks[i].calls, 1);
        assert_int_equal(tasks[i].status, LP_EBROKEN);
    }
    assert_string_equal(lp_broken_reason(host.rt), "no state today");
    assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
    assert_string_equal(lp_lease_reason(lease), "no state today");
    assert_int_equal(lp__load_relaxed(&fake.explained), 1); /* to the job that a worker had */
    host_close(&host);
    assert_int_equal(lp__load_relaxed(&fake.opened), 0);
}

static lp_lease_state_t state_when_told;

static void note_state(lp_job_t *job, int status)
{
    task_t *task = (task_t *)(void *)job;
    state_when_told = lp_lease_state(job->data);
    task->status = status;
    task->calls++;
}

static void the_lease_is_broken_before_its_jobs_are_told(void **unused)
{
    (void)unused;
    host_t host;
    fake_t fake;
    task_t task = {0};
    memset(&fake, 0, sizeof fake);
    lp__store_relaxed(&fake.break_opens, 1);
    lp_lease_t *lease = lease_of(begin(&host, &fake, one_worker));
    task.job.data = lease;
    assert_int_equal(lp__job_submit(lease, &task.job, NULL, note_state, LP_FOREVER), 0);
    host_until(&host, &task.calls, 1);
    assert_int_equal(task.status, LP_EBROKEN);
    assert_true(state_when_told == LP_LEASE_BROKEN || state_when_told == LP_LEASE_CLOSED);
    host_close(&host);
}

static void two_jobs_for_each_of_two_prestarted_workers(lp_manager_options_t *options)
{
    options->workers_per_pool = 2;
    options->prestart = 1;
    options->max_tasks_per_worker = 2;
}

static void workers_are_replaced_after_their_jobs_and_no_job_is_lost(void **unused)
{
    (void)unused;
    host_t host;
    fake_t fake;
    task_t tasks[12];
    memset(&fake, 0, sizeof fake);
    memset(tasks, 0, sizeof tasks);
    lp_lease_t *lease = lease_of(begin(&host, &fake, two_jobs_for_each_of_two_prestarted_workers));
    assert_int_equal(lease->executor->worker_count, 2);
    for (size_t i = 0; i < COUNT_OF(tasks); i++)
        assert_int_equal(run_task(&tasks[i], lease), 0);
    for (size_t i = 0; i < COUNT_OF(tasks); i++)
        host_until(&host, &tasks[i].calls, 1);
    host_close(&host);
    int opened = lp__load_relaxed(&fake.opened);
    assert_int_equal(lp__load_relaxed(&fake.called), 12);
    assert_true(opened >= 6 && opened <= 8); /* prestart has made the next ones already */
    assert_int_equal(lp__load_relaxed(&fake.closed), opened);
    for (int i = 0; i < opened; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(fake.names[i], fake.names[k]);
}

static void a_prestarted_state_that_breaks_leaves_no_job_waiting(void **unused)
{
    (void)unused;
    host_t host;
    fake_t fake;
    task_t task = {0};
    memset(&fake, 0, sizeof fake);
    lp__store_relaxed(&fake.break_opens, 2);
    lp_manager_t *manager = begin(&host, &fake, two_jobs_for_each_of_two_prestarted_workers);
    wait_t wait;
    do { /* until the executor was replaced by one that works */
        assert_int_equal(wait_begin(&wait, manager, LP_FOREVER), 0);
        host_until(&host, &wait.calls, 1);
        assert_int_equal(wait.status, 0);
        memset(&task, 0, sizeof task);
        if (run_task(&task, wait.lease) == 0)
            host_until(&host, &task.calls, 1);
        lp_lease_close(wait.lease);
    } while (task.calls == 0 || task.status == LP_EBROKEN);
    assert_int_equal(task.status, 0);
    host_close(&host);
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
        cmocka_unit_test(a_state_that_never_can_be_opened_breaks_the_executor),
        cmocka_unit_test(the_lease_is_broken_before_its_jobs_are_told),
        cmocka_unit_test(workers_are_replaced_after_their_jobs_and_no_job_is_lost),
        cmocka_unit_test(a_prestarted_state_that_breaks_leaves_no_job_waiting),
        cmocka_unit_test(without_a_runner_such_a_job_is_not_supported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
