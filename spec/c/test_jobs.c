/* test_jobs.c - jobs: order, limits, cancelling, and workers that race with the loop. */
#include "support.h"

#include "base/spin.h"

typedef struct {
    host_t host;
    lp_manager_t *manager;
    lp_lease_t *lease;
} fixture_t;

static void set_up(fixture_t *f, int64_t workers, int64_t max_queue)
{
    host_open(&f->host);
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = 1;
    options.workers_per_pool = workers;
    options.max_queue = max_queue;
    assert_int_equal(lp_manager_create(&f->manager, f->host.rt, lp_backend_thread(), &options), 0);
    assert_int_equal(lp_manager_start(f->manager), 0);
    f->lease = lease_of(f->manager);
}

/* ---- Order and limits --------------------------------------------------------- */

typedef struct {
    task_t task;
    int started_as;
} ordered_t;

static atomic_int started; /* reset by each test */
static int delivered;

static void ordered_run(lp_job_t *job)
{
    ordered_t *o = (ordered_t *)(void *)job;
    o->started_as = lp__add_relaxed(&started, 1);
}

static void ordered_done(lp_job_t *job, int status)
{
    ordered_t *o = (ordered_t *)(void *)job;
    task_done(job, status);
    if (o->started_as == delivered)
        delivered++;
}

static void jobs_of_one_worker_start_and_come_back_in_order_of_submission(void **state)
{
    (void)state;
    enum { JOBS = 5000 };
    static ordered_t jobs[JOBS];
    fixture_t f;
    set_up(&f, 1, JOBS);
    lp__store_relaxed(&started, 0);
    delivered = 0;
    memset(jobs, 0, sizeof jobs);
    gate_t gate;
    gate_shut(&gate, f.lease);
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(lp_submit(f.lease, &jobs[i].task.job, ordered_run, ordered_done), 0);
        if (i == JOBS / 2)
            gate_open(&gate); /* half of them wait, half meet a busy worker */
    }
    host_until(&f.host, &jobs[JOBS - 1].task.calls, 1);
    for (size_t i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].started_as, i);
    assert_int_equal(delivered, JOBS);
    host_close(&f.host);
    gate_destroy(&gate);
}

static int done_jobs;

static void count_done(lp_job_t *job, int status)
{
    task_done(job, status);
    done_jobs++;
}

static void four_workers_run_every_one_of_100000_jobs_once(void **state)
{
    (void)state;
    enum { JOBS = 100000 };
    task_t *tasks = calloc(JOBS, sizeof *tasks);
    assert_non_null(tasks);
    fixture_t f;
    set_up(&f, 4, 1000);
    done_jobs = 0;
    for (int next = 0; done_jobs < JOBS;) {
        int rc = LP_EQUEUEFULL;
        while (next < JOBS &&
               (rc = lp_submit(f.lease, &tasks[next].job, task_run, count_done)) == 0)
            next++;
        assert_true(next == JOBS || rc == LP_EQUEUEFULL);
        uv_run(&f.host.loop, UV_RUN_ONCE);
    }
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(lp__load_relaxed(&tasks[i].runs), 1);
        assert_int_equal(tasks[i].calls, 1);
        assert_int_equal(tasks[i].status, 0);
        assert_in_range(tasks[i].job.priv.worker, 1, 4);
    }
    assert_false(uv_loop_alive(&f.host.loop));
    host_close(&f.host);
    free(tasks);
}

static void one_job_too_many_is_refused_and_nothing_is_queued(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f, 1, 3);
    gate_t gate;
    task_t tasks[4];
    memset(tasks, 0, sizeof tasks);
    gate_shut(&gate, f.lease);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(task_submit(&tasks[i], f.lease), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(task_submit(&tasks[3], f.lease), LP_EQUEUEFULL);
    assert_int_equal(counts_of(f.manager).queued, 3);
    assert_int_equal(counts_of(f.manager).running, 1);
    assert_int_equal(lp_job_cancel(&tasks[3].job), LP_ESTATE);
    assert_int_equal(lp_job_cancel(&tasks[0].job), 0); /* makes room at once */
    assert_int_equal(task_submit(&tasks[3], f.lease), 0);
    gate_open(&gate);
    host_until(&f.host, &tasks[3].calls, 1);
    assert_int_equal(lp__load_relaxed(&tasks[0].runs), 0);
    assert_int_equal(lp__load_relaxed(&tasks[3].runs), 1);
    assert_int_equal(tasks[3].calls, 1);
    host_close(&f.host);
    gate_destroy(&gate);
}

static void counts_tell_waiting_jobs_from_running_ones(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f, 2, 100);
    gate_t gates[2];
    task_t tasks[5];
    memset(tasks, 0, sizeof tasks);
    gate_shut(&gates[0], f.lease);
    gate_shut(&gates[1], f.lease);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(task_submit(&tasks[i], f.lease), 0);
    assert_int_equal(counts_of(f.manager).running, 2);
    assert_int_equal(counts_of(f.manager).queued, 5);
    gate_open(&gates[0]);
    for (size_t i = 0; i < 5; i++)
        host_until(&f.host, &tasks[i].calls, 1);
    host_until(&f.host, &gates[0].task.calls, 1);
    assert_int_equal(counts_of(f.manager).running, 1);
    assert_int_equal(counts_of(f.manager).queued, 0);
    gate_open(&gates[1]);
    host_until(&f.host, &gates[1].task.calls, 1);
    assert_int_equal(counts_of(f.manager).running, 0);
    host_close(&f.host);
    gate_destroy(&gates[0]);
    gate_destroy(&gates[1]);
}

static void workers_start_only_as_jobs_need_them(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f, 4, 100);
    task_t task = {0};
    for (int i = 1; i <= 10; i++) { /* one at a time: one worker is enough */
        assert_int_equal(task_submit(&task, f.lease), 0);
        host_until(&f.host, &task.calls, i);
    }
    assert_int_equal(f.lease->executor->worker_count, 1);
    gate_t gates[4];
    for (size_t i = 0; i < 4; i++)
        gate_shut(&gates[i], f.lease); /* four at a time: all stand in their gates at once */
    assert_int_equal(f.lease->executor->worker_count, 4);
    assert_int_equal(task_submit(&task, f.lease), 0);
    assert_int_equal(f.lease->executor->worker_count, 4);
    for (size_t i = 0; i < 4; i++)
        gate_open(&gates[i]);
    host_close(&f.host);
    for (size_t i = 0; i < 4; i++)
        gate_destroy(&gates[i]);
}

static void sleeping_workers_wake_each_other_until_all_have_work(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f, 4, 100);
    lp__spin_enable(false);
    gate_t gates[4];
    for (size_t i = 0; i < 4; i++)
        gate_shut(&gates[i], f.lease);
    for (int round = 1; round <= 50; round++) {
        for (size_t i = 0; i < 4; i++)
            gate_open(&gates[i]);
        for (size_t i = 0; i < 4; i++)
            host_until(&f.host, &gates[i].task.calls, round);
        while (lp__load_seq_cst(&f.lease->executor->queue.sleeping) < 4)
            lp__cpu_relax();
        for (size_t i = 0; i < 4; i++) /* only the first of these wakes anybody itself */
            assert_int_equal(lp_submit(f.lease, &gates[i].task.job, gate_run, task_done), 0);
        for (size_t i = 0; i < 4; i++)
            uv_sem_wait(&gates[i].begun); /* all four stand in their gates at once */
    }
    for (size_t i = 0; i < 4; i++)
        gate_open(&gates[i]);
    host_close(&f.host);
    for (size_t i = 0; i < 4; i++)
        gate_destroy(&gates[i]);
    lp__spin_enable(true);
}

/* ---- The same job again ------------------------------------------------------- */

static void a_job_in_flight_is_refused_and_may_be_submitted_again_afterwards(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f, 1, 100);
    gate_t gate;
    task_t queued = {0};
    gate_shut(&gate, f.lease);
    assert_int_equal(task_submit(&queued, f.lease), 0);
    assert_int_equal(task_submit(&gate.task, f.lease), LP_ESTATE); /* runs */
    assert_int_equal(task_submit(&queued, f.lease), LP_ESTATE);    /* waits */
    assert_int_equal(lp_job_cancel(&queued.job), 0);
    assert_int_equal(task_submit(&queued, f.lease), LP_ESTATE); /* cancelled, not yet told */
    assert_int_equal(counts_of(f.manager).queued, 0);
    host_until(&f.host, &queued.calls, 1);
    assert_int_equal(task_submit(&queued, f.lease), 0);
    gate_open(&gate);
    host_until(&f.host, &queued.calls, 2);
    assert_int_equal(queued.status, 0);
    assert_int_equal(lp__load_relaxed(&queued.runs), 1);
    host_close(&f.host);
    gate_destroy(&gate);
}

typedef struct {
    task_t task;
    lp_lease_t *lease;
    int left, errors;
} again_t;

static void submit_again(lp_job_t *job, int status)
{
    again_t *again = (again_t *)(void *)job;
    task_done(job, status);
    again->errors += status != 0;
    if (--again->left > 0)
        again->errors += lp_submit(again->lease, job, task_run, submit_again) != 0;
}

static void jobs_may_be_submitted_again_from_their_done_callback(void **state)
{
    (void)state;
    enum { ROUNDS = 2000 };
    fixture_t f;
    set_up(&f, 2, 100);
    again_t jobs[8];
    memset(jobs, 0, sizeof jobs);
    for (size_t i = 0; i < 8; i++) {
        jobs[i].lease = f.lease;
        jobs[i].left = ROUNDS;
        assert_int_equal(lp_submit(f.lease, &jobs[i].task.job, task_run, submit_again), 0);
    }
    assert_int_equal(uv_run(&f.host.loop, UV_RUN_DEFAULT), 0);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(jobs[i].task.calls, ROUNDS);
        assert_int_equal(lp__load_relaxed(&jobs[i].task.runs), ROUNDS);
        assert_int_equal(jobs[i].errors, 0);
    }
    host_close(&f.host);
}

static void free_the_job(lp_job_t *job, int status)
{
    int *calls = job->data;
    *calls += status == 0;
    free(job);
}

static void a_job_may_be_freed_in_its_done_callback_or_have_none(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f, 2, 100);
    int calls = 0;
    task_t silent = {0};
    assert_int_equal(lp_submit(f.lease, &silent.job, task_run, NULL), 0);
    for (int i = 0; i < 50; i++) {
        task_t *task = calloc(1, sizeof *task);
        assert_non_null(task);
        task->job.data = &calls;
        assert_int_equal(lp_submit(f.lease, &task->job, task_run, free_the_job), 0);
    }
    assert_int_equal(uv_run(&f.host.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(calls, 50);
    assert_int_equal(lp__load_relaxed(&silent.runs), 1);
    host_close(&f.host);
}

typedef struct {
    task_t task;
    lp_lease_t *lease;
    lp_lease_state_t seen;
} closer_t;

static void close_the_lease(lp_job_t *job, int status)
{
    closer_t *closer = (closer_t *)(void *)job;
    task_done(job, status);
    lp_release(closer->lease);
    closer->seen = lp_lease_state(closer->lease);
    lp_lease_close(closer->lease);
}

static void a_lease_may_be_closed_in_the_done_callback_of_its_last_job(void **state)
{
    (void)state;
    fixture_t f;
    set_up(&f, 1, 100);
    closer_t closer = {.lease = f.lease};
    wait_t next;
    assert_int_equal(wait_begin(&next, f.manager, LP_FOREVER), 0);
    assert_int_equal(lp_submit(f.lease, &closer.task.job, task_run, close_the_lease), 0);
    host_until(&f.host, &next.calls, 1);
    assert_int_equal(closer.task.calls, 1);
    assert_int_equal(closer.seen, LP_LEASE_CLOSED);
    assert_int_equal(next.status, 0);
    host_close(&f.host);
}

/* ---- Cancelling --------------------------------------------------------------- */

static void a_queued_job_can_be_taken_back_from_any_place(void **state)
{
    (void)state;
    /* bit i of a pattern: is job i cancelled? All of them, in both directions. */
    for (unsigned pattern = 0; pattern < 32; pattern++) {
        fixture_t f;
        set_up(&f, 1, 100);
        lp__store_relaxed(&started, 0);
        delivered = 0;
        gate_t gate;
        ordered_t jobs[5];
        memset(jobs, 0, sizeof jobs);
        gate_shut(&gate, f.lease);
        for (size_t i = 0; i < 5; i++)
            assert_int_equal(lp_submit(f.lease, &jobs[i].task.job, ordered_run, ordered_done), 0);
        assert_int_equal(lp_job_cancel(&gate.task.job), 0); /* it runs: it is asked, and goes on */
        for (size_t k = 0; k < 5; k++) {
            size_t i = pattern % 3 ? k : 4 - k;
            if (pattern & 1u << i) {
                assert_int_equal(lp_job_cancel(&jobs[i].task.job), 0);
                assert_int_equal(lp_job_cancel(&jobs[i].task.job), LP_ESTATE);
            }
        }
        assert_int_equal(jobs[0].task.calls, 0); /* never from inside the call */
        gate_open(&gate);
        int expected = 0;
        for (size_t i = 0; i < 5; i++) {
            host_until(&f.host, &jobs[i].task.calls, 1);
            bool cancelled = pattern & 1u << i;
            assert_int_equal(jobs[i].task.status, cancelled ? LP_ECANCELLED : 0);
            if (!cancelled)
                assert_int_equal(jobs[i].started_as, expected++);
            assert_int_equal(lp_job_cancel(&jobs[i].task.job), LP_ESTATE); /* ended */
        }
        assert_int_equal(lp__load_relaxed(&started), expected);
        assert_int_equal(gate.task.status, 0);
        host_close(&f.host);
        gate_destroy(&gate);
    }
}

static void cancelling_what_is_no_job_in_flight_is_a_wrong_state(void **state)
{
    (void)state;
    lp_job_t unused;
    memset(&unused, 0, sizeof unused);
    assert_int_equal(lp_job_cancel(NULL), LP_ESTATE);
    assert_int_equal(lp_job_cancel(&unused), LP_ESTATE);
}

static void a_cancel_that_races_with_the_workers_ends_every_job_once(void **state)
{
    (void)state;
    enum { ROUNDS = 400, JOBS = 64 };
    static task_t tasks[JOBS];
    fixture_t f;
    set_up(&f, 2, JOBS + 1);
    int cancelled = 0, ran = 0;
    for (int round = 0; round < ROUNDS; round++) {
        bool asked[JOBS] = {false}, gated = round % 2;
        gate_t gate; /* odd rounds race with workers that are let loose, even ones with busy ones */
        memset(tasks, 0, sizeof tasks);
        if (gated) {
            gate_shut(&gate, f.lease);
        } else {
            gate_init(&gate);
            gate_open(&gate);
            assert_int_equal(lp_submit(f.lease, &gate.task.job, gate_run, task_done), 0);
        }
        for (size_t i = 0; i < JOBS; i++)
            assert_int_equal(task_submit(&tasks[i], f.lease), 0);
        if (gated)
            gate_open(&gate);
        else
            uv_sem_wait(&gate.begun);
        for (size_t i = 0; i < JOBS; i++) { /* from both ends, against workers that eat the front */
            size_t at = i % 2 ? i / 2 : JOBS - 1 - i / 2;
            int rc = lp_job_cancel(&tasks[at].job);
            assert_true(rc == 0 || rc == LP_ESTATE);
            asked[at] = rc == 0;
        }
        assert_int_equal(uv_run(&f.host.loop, UV_RUN_DEFAULT), 0);
        for (size_t i = 0; i < JOBS; i++) {
            assert_int_equal(tasks[i].calls, 1);
            if (tasks[i].status != 0) /* one that runs is asked, too, and has not looked */
                assert_int_equal(tasks[i].status, asked[i] ? LP_ECANCELLED : 0);
            assert_int_equal(lp__load_relaxed(&tasks[i].runs), tasks[i].status == 0);
            assert_false(tasks[i].lost);
            cancelled += tasks[i].status != 0;
            ran += tasks[i].status == 0;
        }
        gate_destroy(&gate);
    }
    assert_int_equal(cancelled + ran, ROUNDS * JOBS);
    assert_true(cancelled > 0 && ran > 0);
    lp_manager_stats_t s = assert_equations(f.manager);
    assert_int_equal(s.cancelled, cancelled);
    assert_int_equal(s.interrupted, 0);
    host_close(&f.host);
}

static void a_stop_that_races_with_the_workers_ends_every_job_once(void **state)
{
    (void)state;
    enum { ROUNDS = 200, JOBS = 64 };
    static task_t tasks[JOBS];
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 2);
    for (int round = 0; round < ROUNDS; round++) {
        memset(tasks, 0, sizeof tasks);
        lp_lease_t *lease = lease_of(manager);
        for (size_t i = 0; i < JOBS; i++)
            assert_int_equal(task_submit(&tasks[i], lease), 0);
        stop_t stop;
        assert_int_equal(stop_begin(&stop, manager), 0);
        lp_lease_close(lease);
        assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(stop.calls, 1);
        uint64_t cancelled = 0;
        for (size_t i = 0; i < JOBS; i++) {
            assert_int_equal(tasks[i].calls, 1);
            assert_int_equal(lp__load_relaxed(&tasks[i].runs), tasks[i].status == 0);
            cancelled += tasks[i].status == LP_ECANCELLED;
        }
        assert_int_equal(stop.report.cancelled, cancelled);
        assert_int_equal(stop.report.finished, JOBS - cancelled);
        assert_int_equal(lp_manager_start(manager), 0);
    }
    host_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_of_one_worker_start_and_come_back_in_order_of_submission),
        cmocka_unit_test(four_workers_run_every_one_of_100000_jobs_once),
        cmocka_unit_test(one_job_too_many_is_refused_and_nothing_is_queued),
        cmocka_unit_test(counts_tell_waiting_jobs_from_running_ones),
        cmocka_unit_test(workers_start_only_as_jobs_need_them),
        cmocka_unit_test(sleeping_workers_wake_each_other_until_all_have_work),
        cmocka_unit_test(a_job_in_flight_is_refused_and_may_be_submitted_again_afterwards),
        cmocka_unit_test(jobs_may_be_submitted_again_from_their_done_callback),
        cmocka_unit_test(a_job_may_be_freed_in_its_done_callback_or_have_none),
        cmocka_unit_test(a_lease_may_be_closed_in_the_done_callback_of_its_last_job),
        cmocka_unit_test(a_queued_job_can_be_taken_back_from_any_place),
        cmocka_unit_test(cancelling_what_is_no_job_in_flight_is_a_wrong_state),
        cmocka_unit_test(a_cancel_that_races_with_the_workers_ends_every_job_once),
        cmocka_unit_test(a_stop_that_races_with_the_workers_ends_every_job_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
