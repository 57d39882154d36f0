/* test_interrupt.c - jobs that run and are to stop: who asks, when, how often, with which reason,
 * and when their workers are written off. By the clock of the test, without a thread. */
#include "fake.h"

#define MS LP_MILLISECOND
#define FIRST_GRACE (50 * MS)
#define EXIT_GRACE LP_SECOND
#define GRACES (FIRST_GRACE + EXIT_GRACE)

typedef struct {
    host_t host;
    lp_manager_t *manager;
    log_t log;
} fixture_t;

static lp_manager_t *open_with(fixture_t *f, const lp_backend_t *backend,
                               const lp_manager_options_t *options)
{
    memset(f, 0, sizeof *f);
    fake_open(&f->host);
    fake.lazy = true;
    lp_set_logger(f->host.rt, log_line, &f->log);
    assert_int_equal(lp_manager_create(&f->manager, f->host.rt, backend, options), 0);
    assert_int_equal(lp_manager_start(f->manager), 0);
    return f->manager;
}

static lp_manager_t *open_pools(fixture_t *f, int64_t pools, int64_t workers)
{
    lp_manager_options_t options = fake_options(pools, workers);
    return open_with(f, &fake_backend, &options);
}

static void close_all(fixture_t *f)
{
    fake_finish_all(f->manager);
    fake_close(&f->host);
}

/* Does not wait for what does not end by itself. */
static void close_after_the_graces(fixture_t *f)
{
    assert_int_equal(lp_runtime_close(f->host.rt, host_on_closed, &f->host), 0);
    host_turn(&f->host);
    host_advance(&f->host, GRACES);
    fake_close(&f->host);
}

/* Looks whether it is to stop, once. */
static void look_run(lp_job_t *job)
{
    task_t *task = (task_t *)(void *)job;
    task_run(job);
    task->job.data = (void *)(intptr_t)lp_job_cancelled(job);
}

static int seen_by(const task_t *task)
{
    return (int)(intptr_t)task->job.data;
}

/* Submits, and lets a worker stand in it. */
static void stand_within(task_t *task, lp_lease_t *lease, uint64_t timeout_ns, lp_work_cb work)
{
    memset(task, 0, sizeof *task);
    assert_int_equal(lp_submit_within(lease, &task->job, timeout_ns, work, task_done), 0);
    assert_ptr_equal(fake_take(lease->executor), &task->job);
}

static lp__worker_t *worker_in(lp__executor_t *executor, const lp_job_t *job)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next)
        if (fake_worker(at)->state == job)
            return fake_worker(at);
    return NULL;
}

/* ---- Asking ------------------------------------------------------------------- */

static void a_request_is_repeated_after_1_2_4_and_so_on_to_50_ms(void **state)
{
    (void)state;
    static const uint64_t pauses_ms[] = {1, 2, 4, 8, 16, 32, 50, 50, 50, 50};
    fixture_t f;
    task_t task;
    lp_lease_t *lease = lease_of(open_pools(&f, 1, 1));
    stand_within(&task, lease, LP_FOREVER, look_run);
    host_advance(&f.host, LP_SECOND);
    assert_int_equal(fake.asks, 0); /* nobody asks of himself */
    assert_int_equal(lp_job_cancel(&task.job), 0);
    assert_int_equal(fake.asks, 1); /* at once */
    for (size_t i = 0; i < COUNT_OF(pauses_ms); i++) {
        host_advance(&f.host, pauses_ms[i] * MS - 1);
        assert_int_equal(fake.asks, 1 + i);
        assert_int_equal(lp_job_cancel(&task.job), 0); /* again changes nothing */
        assert_int_equal(fake.asks, 1 + i);
        host_advance(&f.host, 1);
        assert_int_equal(fake.asks, 2 + i);
    }
    fake_finish(&task.job);
    host_turn(&f.host);
    assert_int_equal(task.status, LP_ECANCELLED);
    assert_false(task.lost);
    lp_manager_stats_t s = assert_equations(f.manager);
    assert_int_equal(s.cancelled, 1);
    assert_int_equal(s.interrupted, 1);
    assert_int_equal(lp__heap_min(&f.host.rt->deadlines)->key, lease->soft_ns); /* no other */
    host_advance(&f.host, LP_SECOND);
    assert_int_equal(fake.asks, 1 + COUNT_OF(pauses_ms));
    close_all(&f);
}

static void the_next_job_of_the_worker_is_not_asked(void **state)
{
    (void)state;
    for (int told = 0; told < 2; told++) { /* is the end of the first known when time passes? */
        fixture_t f;
        task_t first, next;
        lp_lease_t *lease = lease_of(open_pools(&f, 1, 1));
        stand_within(&first, lease, LP_FOREVER, look_run);
        assert_int_equal(lp_job_cancel(&first.job), 0);
        fake_finish(&first.job);
        stand_within(&next, lease, LP_FOREVER, look_run);
        if (told)
            host_turn(&f.host);
        host_pass(&f.host, 2 * GRACES);
        assert_equations(f.manager); /* fires what is due */
        assert_int_equal(fake.asks, 1);
        assert_int_equal(lp_job_cancel(&first.job), LP_ESTATE);
        host_advance(&f.host, 2 * GRACES);
        assert_int_equal(fake.asks, 1);
        assert_int_equal(first.status, LP_ECANCELLED);
        assert_int_equal(next.calls, 0);
        fake_finish(&next.job);
        host_turn(&f.host);
        assert_int_equal(next.status, 0);
        assert_int_equal(seen_by(&next), 0);
        assert_int_equal(f.log.lines, 0);
        close_all(&f);
    }
}

static void a_job_that_looks_ends_with_the_reason_and_one_that_does_not_as_ever(void **state)
{
    (void)state;
    for (int looks = 0; looks < 2; looks++) {
        fixture_t f;
        task_t task;
        lp_lease_t *lease = lease_of(open_pools(&f, 1, 1));
        stand_within(&task, lease, LP_FOREVER, looks ? look_run : task_run);
        assert_int_equal(lp_job_cancel(&task.job), 0);
        host_advance(&f.host, GRACES - 1);
        assert_int_equal(task.calls, 0);
        fake_finish(&task.job);
        assert_int_equal(lp_job_cancel(&task.job), LP_ESTATE); /* it is on its way */
        host_advance(&f.host, 1);
        assert_int_equal(task.calls, 1);
        assert_int_equal(task.status, looks ? LP_ECANCELLED : 0);
        assert_false(task.lost);
        lp_manager_stats_t s = assert_equations(f.manager);
        assert_int_equal(s.done, !looks);
        assert_int_equal(s.cancelled, looks);
        assert_int_equal(s.interrupted, looks);
        assert_int_equal(task_submit(&task, lease), 0); /* nothing of it is left */
        fake_work(lease->executor);
        host_turn(&f.host);
        assert_int_equal(task.status, 0);
        close_all(&f);
    }
}

/* ---- Reasons ------------------------------------------------------------------ */

enum { CANCEL, TIMEOUT, EXPIRY, STOP, REASONS };

static const int status_of[] = {LP_ECANCELLED, LP_ETIMEDOUT, LP_EEXPIRED, LP_ECANCELLED};

static void ask_by(fixture_t *f, task_t *task, int reason)
{
    if (reason == CANCEL)
        (void)lp_job_cancel(&task->job);
    if (reason == STOP)
        assert_int_equal(lp_manager_stop(f->manager, NULL, 0, NULL), 0);
}

static void the_first_reason_stands(void **state)
{
    (void)state;
    enum { FINISHES, IS_GIVEN_UP, WAYS };
    for (int first = 0; first < REASONS; first++) {
        for (int second = 0; second < REASONS; second++) {
            for (int way = 0; way < WAYS; way++) {
                if (first == second || first == STOP)
                    continue; /* after a stop no lease expires, and the reason is the same */
                fixture_t f;
                task_t task;
                lp_manager_options_t options = fake_options(1, 2);
                options.on_expiry = LP_EXPIRY_INTERRUPT;
                options.lease_grace_ns = 0;
                lp_manager_t *manager = open_with(&f, &fake_backend, &options);
                lp_lease_t *lease = lease_of(manager);
                uint64_t timeout_ns = first == TIMEOUT    ? MS
                                      : second == TIMEOUT ? 2 * MS
                                                          : LP_FOREVER;
                uint64_t hard_ns = first == EXPIRY    ? MS
                                   : second == EXPIRY ? 2 * MS
                                                      : 100 * LP_SECOND;
                assert_int_equal(lp_lease_renew(lease, hard_ns), 0);
                stand_within(&task, lease, timeout_ns, look_run);
                host_advance(&f.host, MS - 1);
                assert_int_equal(fake.asks, 0);
                host_advance(&f.host, 1);
                ask_by(&f, &task, first);
                assert_int_equal(fake.asks, 1);
                host_advance(&f.host, MS);
                ask_by(&f, &task, second);
                host_turn(&f.host);
                if (way == FINISHES)
                    fake_finish(&task.job);
                else
                    host_advance(&f.host, GRACES);
                host_turn(&f.host);
                assert_int_equal(task.calls, 1);
                assert_int_equal(task.status, status_of[first]);
                assert_int_equal(task.lost, way == IS_GIVEN_UP);
                if (way == FINISHES)
                    assert_int_equal(seen_by(&task), status_of[first]);
                lp_manager_stats_t s = assert_equations(manager);
                assert_int_equal(s.interrupted, way == FINISHES);
                assert_int_equal(s.done, 0);
                close_all(&f);
            }
        }
    }
}

static void on_hard_expiry_a_lease_leaves_its_jobs_or_interrupts_them(void **state)
{
    (void)state;
    for (int by_manager = LP_EXPIRY_LEAVE; by_manager <= LP_EXPIRY_INTERRUPT; by_manager++) {
        for (int by_lease = LP_EXPIRY_DEFAULT; by_lease <= LP_EXPIRY_INTERRUPT; by_lease++) {
            fixture_t f;
            task_t running[2], queued = {0};
            lp_lease_t *lease;
            lp_acquire_options_t how;
            lp_manager_options_t options = fake_options(1, 2);
            options.on_expiry = by_manager;
            lp_manager_t *manager = open_with(&f, &fake_backend, &options);
            lp_acquire_options_init(&how);
            how.on_expiry = by_lease;
            how.lease_ns = MS;
            assert_int_equal(lp_try_acquire(manager, &how, &lease), 0);
            int is = by_lease == LP_EXPIRY_DEFAULT ? by_manager : by_lease;
            stand_within(&running[0], lease, LP_FOREVER, look_run);
            stand_within(&running[1], lease, LP_FOREVER, look_run);
            assert_int_equal(task_submit(&queued, lease), 0);
            host_advance(&f.host, MS + options.lease_grace_ns - 1);
            assert_int_equal(fake.asks, 0);
            host_advance(&f.host, 1);
            assert_int_equal(queued.status, LP_EEXPIRED);
            assert_int_equal(fake.asks, is == LP_EXPIRY_INTERRUPT ? 2 : 0);
            fake_finish(&running[0].job);
            host_advance(&f.host, 10 * GRACES);
            assert_int_equal(running[0].status, is == LP_EXPIRY_INTERRUPT ? LP_EEXPIRED : 0);
            assert_int_equal(running[1].calls, is == LP_EXPIRY_INTERRUPT);
            assert_int_equal(running[1].lost, is == LP_EXPIRY_INTERRUPT);
            assert_equations(manager);
            close_all(&f);
        }
    }
}

static void what_may_be_done_on_expiry_is_checked(void **state)
{
    (void)state;
    static const int wrong[] = {-2, 3, LP_EXPIRY_KILL};
    fixture_t f;
    lp_manager_t *manager = open_pools(&f, 1, 1), *other = NULL;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        lp_lease_t *lease = NULL;
        lp_acquire_options_t how;
        lp_manager_options_t options = fake_options(1, 1);
        lp_acquire_options_init(&how);
        options.on_expiry = how.on_expiry = wrong[i];
        assert_int_equal(lp_try_acquire(manager, &how, &lease), LP_EINVAL);
        assert_non_null(strstr(lp_last_error(f.host.rt), "on_expiry: got "));
        assert_int_equal(lp_manager_create(&other, f.host.rt, &fake_backend, &options), LP_EINVAL);
        assert_non_null(strstr(lp_last_error(f.host.rt), "on_expiry: got "));
        assert_null(other);
    }
    close_all(&f);
}

/* ---- Giving up ---------------------------------------------------------------- */

static lp_manager_t *counted; /* looked at when the job is freed */

static void free_job(lp_job_t *job, int status)
{
    int *calls = job->data;
    assert_int_equal(status, LP_ECANCELLED);
    assert_int_equal(lp_job_still_running(job), 1);
    memset(job, 0xaa, sizeof *job);
    free(job);
    ++*calls;
    assert_equations(counted);
}

static void a_worker_is_written_off_at_the_exact_nanosecond(void **state)
{
    (void)state;
    for (int with_call = 0; with_call < 2; with_call++) {
        fixture_t f;
        task_t other, next = {0};
        int calls = 0;
        lp_manager_t *manager = counted = open_pools(&f, 1, 2);
        lp_lease_t *lease = lease_of(manager);
        lp_job_t *job = calloc(1, sizeof *job);
        job->data = &calls;
        assert_int_equal(lp_submit(lease, job, task_run, free_job), 0);
        assert_ptr_equal(fake_take(lease->executor), job);
        stand_within(&other, lease, LP_FOREVER, look_run);
        lp__worker_t *lost = worker_in(lease->executor, job);
        assert_int_equal(lp_job_cancel(job), 0);
        host_advance(&f.host, GRACES - 1);
        assert_int_equal(calls, 0);
        host_pass(&f.host, 1);
        if (with_call) /* which gives it up, and tells nobody */
            assert_int_equal(lp_job_cancel(job), LP_ESTATE);
        assert_int_equal(calls, 0);
        host_turn(&f.host);
        assert_int_equal(calls, 1);
        assert_int_equal(f.log.lines, 1);
        assert_string_equal(f.log.last, "worker 1-1 runs what cannot be stopped, and is given up");
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.failed, 1); /* to stop */
        assert_int_equal(s.cancelled, 0);
        assert_int_equal(s.interrupted, 0);
        assert_int_equal(s.running, 1);
        assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE); /* with the other worker */
        assert_int_equal(task_submit(&next, lease), 0);
        assert_int_equal(fake.starts, 2); /* the lost one has its place still */
        assert_null(fake_take(lease->executor));
        fake_finish(&other.job);
        fake_work(lease->executor);
        int asks = fake.asks;
        host_advance(&f.host, 10 * GRACES);
        assert_int_equal(next.status, 0);
        assert_int_equal(other.status, 0);
        assert_int_equal(fake.asks, asks); /* what was given up is asked no more */
        fake_finish_worker(lost);
        host_turn(&f.host);
        assert_int_equal(fake.joins, 1);
        assert_int_equal(lease->executor->worker_count, 1);
        assert_int_equal(lease->executor->lost_count, 0);
        assert_equations(manager);
        close_all(&f);
    }
}

static void a_lease_with_a_lost_worker_retires_its_executor_when_it_ends(void **state)
{
    (void)state;
    for (int back = 0; back < 2; back++) { /* before the release */
        fixture_t f;
        task_t task;
        wait_t wait;
        lp_manager_t *manager = open_pools(&f, 1, 2);
        lp_lease_t *lease = lease_of(manager);
        uint32_t id = lease->executor->id;
        stand_within(&task, lease, LP_FOREVER, look_run);
        assert_int_equal(lp_job_cancel(&task.job), 0);
        host_advance(&f.host, GRACES);
        assert_true(task.lost);
        if (back) {
            fake_return(manager, &task.job);
            host_turn(&f.host);
        }
        assert_int_equal(wait_begin(&wait, manager, LP_FOREVER), 0);
        host_turn(&f.host);
        assert_int_equal(wait.calls, 0);
        lp_lease_close(lease);
        host_turn(&f.host);
        assert_int_equal(wait.status, 0);
        assert_int_equal(wait.lease->executor->id == id, back);
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.released, 1);
        assert_int_equal(s.retiring, !back);
        assert_int_equal(s.leased, 1);
        if (!back) {
            assert_false(lp__list_empty(&manager->leases));
            fake_return(manager, &task.job);
            host_turn(&f.host);
        }
        assert_int_equal(assert_equations(manager).retiring, 0);
        assert_int_equal(fake.joins, 1);
        close_all(&f);
    }
}

static void with_its_last_worker_lost_the_executor_is_broken(void **state)
{
    (void)state;
    for (int64_t workers = 1; workers <= 3; workers++) {
        fixture_t f;
        task_t tasks[3], waiting = {0};
        wait_t wait;
        lp_manager_t *manager = open_pools(&f, 1, workers);
        lp_lease_t *lease = lease_of(manager);
        for (int64_t i = 0; i < workers; i++) {
            stand_within(&tasks[i], lease, LP_FOREVER, look_run);
            assert_int_equal(lp_job_cancel(&tasks[i].job), 0);
            assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE);
            if (i == workers - 1) {
                assert_int_equal(task_submit(&waiting, lease), 0);
                assert_int_equal(wait_begin(&wait, manager, LP_FOREVER), 0);
            }
            host_advance(&f.host, GRACES);
            assert_true(tasks[i].lost);
            assert_int_equal(tasks[i].status, LP_ECANCELLED);
        }
        assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
        assert_string_equal(lp_lease_reason(lease),
                            "all of its workers run what cannot be stopped");
        assert_int_equal(waiting.status, LP_EBROKEN);
        assert_string_equal(lp_broken_reason(f.host.rt), lp_lease_reason(lease));
        assert_int_equal(wait.status, 0); /* the next is there, without a pause */
        assert_int_equal(wait.calls, 1);
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.broken, 1);
        assert_int_equal(s.retiring, 1);
        assert_int_equal(s.leased, 1);
        for (int64_t i = 0; i < workers; i++) {
            fake_return(manager, &tasks[i].job);
            host_turn(&f.host);
            assert_int_equal(assert_equations(manager).retiring, i < workers - 1);
        }
        close_all(&f);
    }
}

static void lost_workers_take_places_until_they_are_back(void **state)
{
    (void)state;
    fixture_t f;
    task_t tasks[4];
    lp_lease_t *lease;
    lp_manager_t *manager = open_pools(&f, 2, 1); /* and one retiring */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lp_try_acquire(manager, NULL, &lease), 0);
        stand_within(&tasks[i], lease, LP_FOREVER, look_run);
        assert_int_equal(lp_job_cancel(&tasks[i].job), 0);
        host_advance(&f.host, GRACES);
        lp_lease_close(lease);
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.retiring, i + 1);
    }
    assert_int_equal(lp_try_acquire(manager, NULL, &lease), LP_EUNAVAILABLE);
    assert_int_equal(assert_equations(manager).total, 0);
    for (int i = 0; i < 3; i++) {
        fake_return(manager, &tasks[i].job);
        host_turn(&f.host);
        assert_equations(manager);
    }
    lease = lease_of(manager);
    (void)lease_of(manager);
    close_all(&f);
}

static void a_lost_worker_is_replaced_for_the_jobs_that_wait(void **state)
{
    (void)state;
    for (int fails = 0; fails < 3; fails++) {
        fixture_t f;
        task_t task, waiting[2] = {{.calls = 0}};
        lp_manager_t *manager = open_pools(&f, 1, 2);
        lp_lease_t *lease = lease_of(manager);
        stand_within(&task, lease, LP_FOREVER, look_run);
        fake.fail_starts = 1; /* so that the first one has all the work */
        fake.fail_with = UV_EAGAIN;
        assert_int_equal(task_submit(&waiting[0], lease), 0);
        assert_int_equal(lp_job_cancel(&task.job), 0);
        fake.fail_starts = fails == 1;
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, fails == 2);
        host_advance(&f.host, GRACES);
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
        assert_true(task.lost);
        if (fails) {
            assert_int_equal(waiting[0].status, LP_EBROKEN);
            assert_int_equal(lp_lease_state(lease), LP_LEASE_CLOSED);
        } else {
            assert_int_equal(lease->executor->worker_count, 2);
            fake_work(lease->executor);
            host_turn(&f.host);
            assert_int_equal(waiting[0].status, 0);
        }
        assert_equations(manager);
        fake_return(manager, &task.job);
        host_turn(&f.host);
        assert_equations(manager);
        close_all(&f);
    }
}

static void a_job_may_be_submitted_again_when_it_was_given_up(void **state)
{
    (void)state;
    fixture_t f;
    task_t task;
    lp_manager_t *manager = open_pools(&f, 1, 3);
    lp_lease_t *lease = lease_of(manager);
    stand_within(&task, lease, 5 * MS, look_run);
    host_advance(&f.host, 5 * MS);
    host_advance(&f.host, GRACES);
    assert_int_equal(task.status, LP_ETIMEDOUT);
    assert_true(task.lost);
    /* the same memory, while the first worker stands in it */
    assert_int_equal(lp_submit(lease, &task.job, task_run, task_done), 0);
    assert_ptr_equal(fake_take(lease->executor), &task.job);
    assert_int_equal(lp_job_cancel(&task.job), 0);
    host_advance(&f.host, GRACES - 1);
    assert_int_equal(task.calls, 1);
    fake_return(manager, &task.job); /* the first one: nothing of the second */
    host_turn(&f.host);
    assert_int_equal(task.calls, 1);
    fake_finish(&task.job);
    host_turn(&f.host);
    assert_int_equal(task.calls, 2);
    assert_int_equal(task.status, 0);
    assert_false(task.lost);
    assert_equations(manager);
    close_all(&f);
}

static void a_manager_goes_when_its_lost_worker_has_come_back(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    for (int back = 0; back < 2; back++) { /* or the runtime is closed first */
        fixture_t f;
        task_t task;
        lp_manager_t *manager = open_pools(&f, 1, 2);
        lp_lease_t *lease = lease_of(manager);
        stand_within(&task, lease, LP_FOREVER, look_run);
        assert_int_equal(lp_job_cancel(&task.job), 0);
        host_advance(&f.host, GRACES);
        lp__worker_t *lost = worker_in(lease->executor, &task.job);
        lp_lease_close(lease);
        lp_manager_close(manager);
        host_turn(&f.host);
        assert_false(lp__list_empty(&f.host.rt->managers));
        assert_ptr_equal(lost->lost_lease, lease); /* pinned: nobody has its memory */
        assert_int_equal(lease->pins, 1);
        if (back) {
            fake_finish_worker(lost);
            host_turn(&f.host);
            assert_true(lp__list_empty(&f.host.rt->managers));
        }
        close_after_the_graces(&f);
        assert_int_equal(fake.detached, !back);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    }
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

static void no_graces_at_all_give_up_at_once(void **state)
{
    (void)state;
    fixture_t f;
    task_t task;
    lp_manager_options_t options = fake_options(1, 2);
    options.interrupt_grace_ns = options.exit_grace_ns = 0;
    lp_manager_t *manager = open_with(&f, &fake_backend, &options);
    lp_lease_t *lease = lease_of(manager);
    stand_within(&task, lease, LP_FOREVER, look_run);
    assert_int_equal(lp_job_cancel(&task.job), 0);
    assert_int_equal(task.calls, 0);
    host_turn(&f.host);
    assert_true(task.lost);
    assert_int_equal(fake.asks, 2);
    close_all(&f);
}

/* ---- Stopping ----------------------------------------------------------------- */

/* Whoever is asked finishes at once, if its job looks. */
static void obey(lp__worker_t *worker)
{
    lp_job_t *job = worker->state;
    if (job && job->priv.work == look_run)
        fake_finish_worker(worker);
}

static void a_stop_finishes_interrupts_and_gives_up_in_steps(void **state)
{
    (void)state;
    fixture_t f;
    task_t soon, looking, deaf, late, queued = {0};
    stop_t stop;
    lp_manager_t *manager = open_pools(&f, 2, 2);
    lp_lease_t *a = lease_of(manager), *b = lease_of(manager);
    fake.on_ask = obey;
    stand_within(&soon, a, LP_FOREVER, task_run);
    stand_within(&looking, a, LP_FOREVER, look_run);
    stand_within(&deaf, b, LP_FOREVER, task_run);
    stand_within(&late, b, LP_FOREVER, task_run);
    assert_int_equal(task_submit(&queued, a), 0);
    assert_int_equal(stop_within(&stop, manager, 10 * MS), 0);
    host_turn(&f.host);
    assert_int_equal(queued.status, LP_ECANCELLED);
    fake_finish(&soon.job);
    host_advance(&f.host, 10 * MS - 1);
    assert_int_equal(fake.asks, 0);
    host_advance(&f.host, 1);
    assert_int_equal(fake.asks, 3);
    assert_int_equal(looking.status, LP_ECANCELLED);
    assert_int_equal(deaf.calls + late.calls, 0);
    host_advance(&f.host, GRACES - 1);
    fake_finish(&late.job); /* just in time, and has not looked */
    assert_int_equal(stop.calls, 0);
    host_advance(&f.host, 1);
    assert_int_equal(stop.calls, 1);
    assert_int_equal(stop.report.finished, 2);
    assert_int_equal(stop.report.cancelled, 1);
    assert_int_equal(stop.report.interrupted, 1);
    assert_int_equal(stop.report.abandoned, 1);
    assert_int_equal(stop.report.killed, 0);
    assert_int_equal(late.status, 0);
    assert_true(deaf.lost);
    lp_manager_stats_t s = assert_equations(manager);
    assert_int_equal(s.done, 2);
    assert_int_equal(s.cancelled, 2);
    assert_int_equal(s.failed, 1);
    assert_int_equal(s.interrupted, 1);
    close_all(&f);
}

static void a_job_given_up_before_a_stop_is_abandoned_by_it(void **state)
{
    (void)state;
    for (int back = 0; back < 2; back++) {
        fixture_t f;
        task_t task;
        stop_t stop;
        lp_manager_t *manager = open_pools(&f, 1, 2);
        lp_lease_t *lease = lease_of(manager);
        stand_within(&task, lease, LP_FOREVER, task_run);
        assert_int_equal(lp_job_cancel(&task.job), 0);
        host_advance(&f.host, GRACES);
        assert_true(task.lost);
        assert_int_equal(stop_within(&stop, manager, MS), 0);
        host_advance(&f.host, MS);
        host_advance(&f.host, GRACES - 1);
        assert_int_equal(stop.calls, 0); /* it waits for the worker */
        if (back)
            fake_return(manager, &task.job);
        host_advance(&f.host, 1);
        assert_int_equal(stop.calls, 1);
        assert_int_equal(stop.report.abandoned, !back);
        assert_int_equal(stop.report.finished + stop.report.interrupted, 0);
        assert_equations(manager);
        assert_int_equal(lp_manager_start(manager), 0);
        assert_equations(manager);
        close_all(&f);
    }
}

/* A worker that closes its state when the runtime closes is no job that was lost. */
static void a_state_that_takes_long_to_close_is_let_go(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    fixture_t f;
    task_t task = {0};
    lp_manager_t *manager = open_pools(&f, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    assert_int_equal(task_submit(&task, lease), 0);
    fake_work(lease->executor);
    host_turn(&f.host);
    fake.linger = true;
    assert_int_equal(lp_runtime_close(f.host.rt, host_on_closed, &f.host), 0);
    host_turn(&f.host);
    host_advance(&f.host, GRACES - 1);
    assert_int_equal(fake.detached, 0);
    host_advance(&f.host, 1);
    assert_int_equal(fake.detached, 1);
    assert_int_equal(uv_run(&f.host.loop, UV_RUN_DEFAULT), 0);
    assert_true(f.host.closed);
    fake_close(&f.host);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

/* ---- Killing ------------------------------------------------------------------ */

static lp_manager_t *open_killable(fixture_t *f, int64_t workers, int on_expiry)
{
    lp_manager_options_t options = fake_options(2, workers);
    options.on_expiry = on_expiry;
    options.lease_grace_ns = 0;
    return open_with(f, fake_killable(), &options);
}

static void die(lp__worker_t *worker, bool by_force)
{
    (void)by_force;
    fake_die(worker);
}

static void die_by_force(lp__worker_t *worker, bool by_force)
{
    if (by_force)
        fake_die(worker);
}

static void a_worker_is_asked_then_killed_then_killed_by_force(void **state)
{
    (void)state;
    for (int polite = 0; polite < 2; polite++) {
        fixture_t f;
        task_t task, sibling;
        lp_manager_t *manager = open_killable(&f, 2, LP_EXPIRY_LEAVE);
        lp_lease_t *lease = lease_of(manager);
        uint64_t kill_grace_ns = manager->options.kill_grace_ns;
        fake.on_kill = polite ? die : die_by_force;
        stand_within(&task, lease, LP_FOREVER, task_run);
        stand_within(&sibling, lease, LP_FOREVER, task_run);
        assert_int_equal(lp_job_cancel(&task.job), 0);
        host_advance(&f.host, 2 * FIRST_GRACE - 1);
        assert_true(fake.asks > 1);
        assert_int_equal(fake.terms, 0);
        host_advance(&f.host, 1);
        assert_int_equal(fake.terms, 1);
        if (!polite) {
            host_advance(&f.host, kill_grace_ns - 1);
            assert_int_equal(fake.terms, 1);
            assert_int_equal(fake.forces, 0);
            assert_int_equal(task.calls, 0);
            host_advance(&f.host, 1);
            assert_int_equal(fake.forces, 1);
        }
        host_turn(&f.host);
        assert_int_equal(task.calls, 1);
        assert_int_equal(task.status, LP_ECANCELLED);
        assert_false(task.lost);
        lp_manager_stats_t s = assert_equations(manager);
        assert_int_equal(s.killed, 1);
        assert_int_equal(s.interrupted, 0);
        int asks = fake.asks;
        host_advance(&f.host, 10 * kill_grace_ns);
        assert_int_equal(fake.asks, asks);
        assert_int_equal(fake.terms, 1);
        assert_int_equal(fake.forces, !polite);
        assert_int_equal(sibling.calls, 0);
        fake_finish(&sibling.job);
        host_turn(&f.host);
        assert_int_equal(sibling.status, 0);
        close_all(&f);
    }
}

static void a_worker_that_no_kill_ends_is_not_written_off(void **state)
{
    (void)state;
    fixture_t f;
    task_t task;
    lp_lease_t *lease = lease_of(open_killable(&f, 1, LP_EXPIRY_LEAVE));
    stand_within(&task, lease, LP_FOREVER, task_run);
    assert_int_equal(lp_job_cancel(&task.job), 0);
    for (int i = 0; i < 10; i++)
        host_advance(&f.host, 10 * LP_SECOND);
    assert_int_equal(fake.terms, 1);
    assert_int_equal(fake.forces, 1);
    assert_int_equal(task.calls, 0);
    fake_finish(&task.job); /* whoever finishes has finished */
    host_turn(&f.host);
    assert_int_equal(task.status, 0);
    assert_equations(f.manager);
    close_all(&f);
}

/* The loop may be so late that both times have passed. */
static void between_the_two_kills_there_is_time_to_tidy_up(void **state)
{
    (void)state;
    fixture_t f;
    task_t task;
    lp_lease_t *lease = lease_of(open_killable(&f, 1, LP_EXPIRY_LEAVE));
    uint64_t kill_grace_ns = f.manager->options.kill_grace_ns;
    stand_within(&task, lease, LP_FOREVER, task_run);
    assert_int_equal(lp_job_cancel(&task.job), 0);
    host_advance(&f.host, 10 * kill_grace_ns);
    assert_int_equal(fake.terms, 1);
    host_advance(&f.host, kill_grace_ns - 1);
    assert_int_equal(fake.forces, 0);
    host_advance(&f.host, 1);
    assert_int_equal(fake.forces, 1);
    fake_finish(&task.job);
    close_all(&f);
}

static void an_expiry_that_interrupts_does_not_kill_unless_somebody_else_wants_it(void **state)
{
    (void)state;
    for (int on_expiry = LP_EXPIRY_INTERRUPT; on_expiry <= LP_EXPIRY_KILL; on_expiry++) {
        for (int cancels = 0; cancels < 2; cancels++) {
            fixture_t f;
            task_t task;
            lp_manager_t *manager = open_killable(&f, 2, on_expiry);
            lp_lease_t *lease = lease_of(manager);
            bool kills = on_expiry == LP_EXPIRY_KILL || cancels;
            fake.on_kill = die;
            assert_int_equal(lp_lease_renew(lease, MS), 0);
            stand_within(&task, lease, LP_FOREVER, task_run);
            host_advance(&f.host, MS);
            assert_int_equal(fake.asks, 1);
            if (cancels)
                assert_int_equal(lp_job_cancel(&task.job), 0);
            host_advance(&f.host, 2 * FIRST_GRACE);
            assert_int_equal(fake.terms, kills);
            host_advance(&f.host, GRACES);
            assert_int_equal(task.calls, 1);
            assert_int_equal(task.status, LP_EEXPIRED);
            assert_int_equal(task.lost, !kills);
            assert_int_equal(assert_equations(manager).killed, kills);
            close_after_the_graces(&f); /* which kills what was written off */
            assert_int_equal(fake.forces, !kills);
        }
    }
}

static void a_stop_kills_by_force_what_does_not_end(void **state)
{
    (void)state;
    enum { ENDS, ENDS_LATE, ENDS_NEVER };
    for (int way = ENDS; way <= ENDS_NEVER; way++) {
        fixture_t f;
        task_t task, lost;
        stop_t stop;
        lp_manager_t *manager = open_killable(&f, 2, LP_EXPIRY_INTERRUPT);
        lp_lease_t *lease = lease_of(manager), *expired = lease_of(manager);
        fake.on_kill = way == ENDS ? die_by_force : NULL;
        stand_within(&lost, expired, LP_FOREVER, task_run);
        stand_within(&task, lease, LP_FOREVER, task_run);
        assert_int_equal(lp_lease_renew(expired, 0), 0);
        assert_int_equal(lp_lease_renew(expired, 1), 0);
        host_advance(&f.host, 1);
        host_advance(&f.host, GRACES);
        assert_true(lost.lost);
        assert_int_equal(stop_within(&stop, manager, 0), 0);
        host_turn(&f.host);
        host_advance(&f.host, GRACES - 1);
        assert_int_equal(fake.forces, 0);
        assert_int_equal(fake.terms, 1); /* of the job, by then */
        host_advance(&f.host, 1);
        assert_int_equal(fake.forces, 2);
        assert_int_equal(stop.calls, way == ENDS);
        host_advance(&f.host, LP_SECOND - 1);
        assert_int_equal(stop.calls, way == ENDS);
        if (way == ENDS_LATE)
            fake_each(manager, fake_die);
        host_advance(&f.host, 1);
        assert_int_equal(stop.calls, 1);
        assert_int_equal(stop.report.killed, way != ENDS_NEVER); /* the other one was written off */
        assert_int_equal(stop.report.abandoned, way == ENDS_NEVER ? 2 : 0);
        assert_int_equal(task.status, LP_ECANCELLED);
        assert_int_equal(task.lost, way == ENDS_NEVER);
        assert_equations(manager);
        if (way == ENDS_NEVER) { /* closing waits for the system to end them */
            assert_int_equal(lp_runtime_close(f.host.rt, host_on_closed, &f.host), 0);
            host_advance(&f.host, 10 * LP_SECOND);
            assert_false(f.host.closed);
            fake_each(manager, fake_die);
        }
        fake_close(&f.host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_repeated_after_1_2_4_and_so_on_to_50_ms),
        cmocka_unit_test(the_next_job_of_the_worker_is_not_asked),
        cmocka_unit_test(a_job_that_looks_ends_with_the_reason_and_one_that_does_not_as_ever),
        cmocka_unit_test(the_first_reason_stands),
        cmocka_unit_test(on_hard_expiry_a_lease_leaves_its_jobs_or_interrupts_them),
        cmocka_unit_test(what_may_be_done_on_expiry_is_checked),
        cmocka_unit_test(a_worker_is_written_off_at_the_exact_nanosecond),
        cmocka_unit_test(a_lease_with_a_lost_worker_retires_its_executor_when_it_ends),
        cmocka_unit_test(with_its_last_worker_lost_the_executor_is_broken),
        cmocka_unit_test(lost_workers_take_places_until_they_are_back),
        cmocka_unit_test(a_lost_worker_is_replaced_for_the_jobs_that_wait),
        cmocka_unit_test(a_job_may_be_submitted_again_when_it_was_given_up),
        cmocka_unit_test(a_manager_goes_when_its_lost_worker_has_come_back),
        cmocka_unit_test(no_graces_at_all_give_up_at_once),
        cmocka_unit_test(a_stop_finishes_interrupts_and_gives_up_in_steps),
        cmocka_unit_test(a_job_given_up_before_a_stop_is_abandoned_by_it),
        cmocka_unit_test(a_state_that_takes_long_to_close_is_let_go),
        cmocka_unit_test(a_worker_is_asked_then_killed_then_killed_by_force),
        cmocka_unit_test(a_worker_that_no_kill_ends_is_not_written_off),
        cmocka_unit_test(between_the_two_kills_there_is_time_to_tidy_up),
        cmocka_unit_test(an_expiry_that_interrupts_does_not_kill_unless_somebody_else_wants_it),
        cmocka_unit_test(a_stop_kills_by_force_what_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
