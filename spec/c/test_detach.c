/* test_detach.c - threads whose work is to stop: what the signal does and whom it reaches, and
 * workers that come back late, long after the runtime, or never. */
#include "support.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "core/executor.h"
#include "core/worker.h"

#define MS LP_MILLISECOND

static void ignore_log(void *data, lp_manager_t *manager, lp_log_level_t level, const char *text)
{
    (void)data;
    (void)manager;
    (void)level;
    (void)text;
}

/* A host whose workers are given up after so long. */
static lp_manager_t *open_workers(host_t *host, int64_t pools, int64_t workers, uint64_t first_ns,
                                  uint64_t exit_ns)
{
    lp_manager_options_t options;
    lp_manager_t *manager;
    host_open(host);
    lp_set_logger(host->rt, ignore_log, NULL);
    lp_manager_options_init(&options);
    options.max_pools = pools;
    options.workers_per_pool = workers;
    options.interrupt_grace_ns = first_ns;
    options.exit_grace_ns = exit_ns;
    assert_int_equal(lp_manager_create(&manager, host->rt, lp_backend_thread(), &options), 0);
    assert_int_equal(lp_manager_start(manager), 0);
    return manager;
}

/* ---- Which signal ------------------------------------------------------------- */

static int first_signal; /* before anybody has set one */

/* Reads from a pipe that nobody writes to, until it is to stop. */
typedef struct {
    task_t task;
    uv_sem_t begun;
    int from, error, why;
} reader_t;

static void read_run(lp_job_t *job)
{
    char byte;
    reader_t *reader = (reader_t *)(void *)job;
    task_run(job);
    uv_sem_post(&reader->begun);
    do {
        reader->error = read(reader->from, &byte, 1) < 0 ? errno : 0;
        reader->why = lp_job_cancelled(job);
    } while (reader->error == EINTR && reader->why == 0);
}

static void reader_init(reader_t *reader, int from)
{
    memset(reader, 0, sizeof *reader);
    reader->from = from;
    assert_int_equal(uv_sem_init(&reader->begun, 0), 0);
}

static void reader_begin(reader_t *reader, lp_lease_t *lease)
{
    assert_int_equal(lp_submit(lease, &reader->task.job, read_run, task_done), 0);
    uv_sem_wait(&reader->begun);
}

/* In a process of its own, as the choice is made once for all: with this signal, is a blocking
 * read ended, or given up? */
static int read_with(int signum)
{
    host_t host;
    reader_t reader;
    int ends[2];
    if (lp_set_interrupt_signal(signum) != 0 || lp_set_interrupt_signal(SIGKILL) != LP_EINVAL ||
        lp__interrupt_signal() != signum || pipe(ends) != 0)
        return 10;
    lp_manager_t *manager = open_workers(&host, 1, 1, MS, 20 * MS);
    reader_init(&reader, ends[0]);
    reader_begin(&reader, lease_of(manager));
    if (lp_set_interrupt_signal(SIGUSR2) != LP_ESTATE || lp_set_interrupt_signal(signum) != 0)
        return 11; /* too late for another one */
    if (lp_job_cancel(&reader.task.job) != 0)
        return 12;
    host_until(&host, &reader.task.calls, 1);
    return reader.task.lost ? 1 : reader.task.status == LP_ECANCELLED ? 2 : 13;
}

static int in_a_process_of_its_own(int (*run)(int), int arg)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(run(arg));
    assert_true(pid > 0);
    while (waitpid(pid, &status, 0) != pid)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void the_signal_may_be_chosen_or_none_before_the_first_worker(void **state)
{
    (void)state;
    static const int wrong[] = {-1, SIGKILL, SIGSTOP, 1000};
    first_signal = lp__interrupt_signal();
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(lp_set_interrupt_signal(wrong[i]), LP_EINVAL);
    assert_int_equal(lp__interrupt_signal(), first_signal);
    assert_int_equal(in_a_process_of_its_own(read_with, 0), 1);
    assert_int_equal(in_a_process_of_its_own(read_with, SIGSYS), 2);
    assert_int_equal(in_a_process_of_its_own(read_with, first_signal), 2);
}

/* ---- Whom it reaches ---------------------------------------------------------- */

static atomic_int host_signals, strange_signals;
static pthread_t host_thread;

static void on_host_signal(int signum)
{
    (void)signum;
    if (pthread_equal(pthread_self(), host_thread))
        lp__add_relaxed(&host_signals, 1);
    else
        lp__add_relaxed(&strange_signals, 1);
}

static void on_host_signal_with_details(int signum, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_signo == signum)
        on_host_signal(signum);
}

/* A host that handles the same signal itself, and whose workers are asked to stop now and then. */
static int share_the_signal(int with_details)
{
    enum { ROUNDS = 50 };
    host_t host;
    reader_t reader;
    int ends[2];
    struct sigaction action;
    memset(&action, 0, sizeof action);
    if (with_details) {
        action.sa_flags = SA_SIGINFO;
        action.sa_sigaction = on_host_signal_with_details;
    } else {
        action.sa_handler = on_host_signal;
    }
    host_thread = pthread_self();
    if (sigaction(first_signal, &action, NULL) != 0 || pipe(ends) != 0)
        return 10;
    lp_manager_t *manager = open_workers(&host, 1, 1, 10 * LP_SECOND, 0);
    lp_lease_t *lease = lease_of(manager);
    reader_init(&reader, ends[0]);
    for (int i = 1; i <= ROUNDS; i++) {
        reader_begin(&reader, lease);
        if (lp_job_cancel(&reader.task.job) != 0)
            return 11;
        raise(first_signal);
        host_until(&host, &reader.task.calls, i);
        if (reader.task.status != LP_ECANCELLED || reader.error != EINTR)
            return 12;
        if (lp__load_relaxed(&host_signals) != i)
            return 13;
    }
    host_close(&host);
    return lp__load_relaxed(&strange_signals) == 0 ? 0 : 14;
}

static void a_handler_of_the_host_gets_what_is_not_for_workers(void **state)
{
    (void)state;
    for (int with_details = 0; with_details < 2; with_details++)
        assert_int_equal(in_a_process_of_its_own(share_the_signal, with_details), 0);
}

/* The library, loaded beside what this program is made of, stops a job and goes. */
static int load_and_unload(int late)
{
    uv_loop_t loop;
    reader_t reader;
    int ends[2];
    char path[1024];
    struct sigaction action;
    lp_runtime_t *rt;
    lp_manager_t *manager;
    lp_lease_t *lease;
    lp_manager_options_t options;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_host_signal;
    snprintf(path, sizeof path, "%s/libleasepool.so", getenv("LEASEPOOL_BUILD"));
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library || pipe(ends) != 0 || uv_loop_init(&loop) != 0)
        return 10;
#define FROM_LIBRARY(name)                                                                         \
    __typeof__(name) *name##_;                                                                     \
    *(void **)&name##_ = dlsym(library, #name)
    FROM_LIBRARY(lp_runtime_create);
    FROM_LIBRARY(lp_runtime_close);
    FROM_LIBRARY(lp_backend_thread);
    FROM_LIBRARY(lp_manager_create);
    FROM_LIBRARY(lp_manager_start);
    FROM_LIBRARY(lp_try_acquire);
    FROM_LIBRARY(lp_submit);
    FROM_LIBRARY(lp_job_cancel);
    FROM_LIBRARY(lp_set_interrupt_signal);
    lp_manager_options_init(&options);
    options.max_pools = 1;
    if (sigaction(first_signal, &action, NULL) != 0 || lp_set_interrupt_signal_(first_signal) != 0)
        return 11;
    if (lp_runtime_create_(&rt, &loop) != 0 ||
        lp_manager_create_(&manager, rt, lp_backend_thread_(), &options) != 0 ||
        lp_manager_start_(manager) != 0 || lp_try_acquire_(manager, NULL, &lease) != 0)
        return 12;
    reader_init(&reader, ends[0]);
    if (lp_submit_(lease, &reader.task.job, read_run, task_done) != 0)
        return 13;
    uv_sem_wait(&reader.begun);
    if (lp_job_cancel_(&reader.task.job) != 0)
        return 14;
    uv_run(&loop, UV_RUN_DEFAULT);
    if (late && sigaction(first_signal, NULL, &action) != 0)
        return 15;
    if (late) { /* somebody else has put a handler over it, and hands on to it no more */
        action.sa_flags = 0;
        action.sa_handler = SIG_IGN;
        sigaction(first_signal, &action, NULL);
    }
    lp_runtime_close_(rt, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    dlclose(library);
    sigaction(first_signal, NULL, &action);
    if (reader.task.status != LP_ECANCELLED || reader.error != EINTR)
        return 16;
    return action.sa_handler == (late ? SIG_IGN : on_host_signal) ? 0 : 17;
}

static void the_handler_goes_with_the_library(void **state)
{
    (void)state;
    if (!getenv("LEASEPOOL_BUILD"))
        skip();
    for (int late = 0; late < 2; late++)
        assert_int_equal(in_a_process_of_its_own(load_and_unload, late), 0);
}

static void a_blocking_read_ends(void **state)
{
    (void)state;
    enum { ROUNDS = 200 };
    host_t host;
    reader_t reader;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    lp_manager_t *manager = open_workers(&host, 1, 2, 10 * LP_SECOND, 0);
    lp_lease_t *lease = lease_of(manager);
    reader_init(&reader, ends[0]);
    for (int i = 1; i <= ROUNDS; i++) {
        reader_begin(&reader, lease); /* it reads, or is about to */
        assert_int_equal(lp_job_cancel(&reader.task.job), 0);
        host_until(&host, &reader.task.calls, i);
        assert_int_equal(reader.task.status, LP_ECANCELLED);
        assert_int_equal(reader.error, EINTR);
        assert_int_equal(reader.why, LP_ECANCELLED);
    }
    assert_int_equal(assert_equations(manager).interrupted, ROUNDS);
    host_close(&host);
    uv_sem_destroy(&reader.begun);
    close(ends[0]);
    close(ends[1]);
}

/* Others may send that signal, too: no interrupt is missing for it. */
static void signals_of_others_use_up_no_interrupt(void **state)
{
    (void)state;
    enum { ROUNDS = 20 };
    host_t host;
    reader_t reader;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    lp_manager_t *manager = open_workers(&host, 1, 1, 10 * LP_SECOND, 0);
    lp_lease_t *lease = lease_of(manager);
    reader_init(&reader, ends[0]);
    for (int i = 1; i <= ROUNDS; i++) {
        reader_begin(&reader, lease);
        if (i > 1) { /* the handler is there */
            lp__worker_t *worker = LP__CONTAINER(lease->executor->workers.next, lp__worker_t, link);
            for (int j = 0; j < 3; j++)
                pthread_kill(worker->thread, lp__interrupt_signal());
        }
        assert_int_equal(lp_job_cancel(&reader.task.job), 0);
        host_until(&host, &reader.task.calls, i);
        assert_int_equal(reader.task.status, LP_ECANCELLED);
        assert_false(reader.task.lost);
    }
    host_close(&host);
    uv_sem_destroy(&reader.begun);
    close(ends[0]);
    close(ends[1]);
}

/* Waits a little, many times: whoever interrupts that interrupts the wrong one. */
typedef struct {
    task_t task;
    int interrupted;
} innocent_t;

static void wait_run(lp_job_t *job)
{
    innocent_t *innocent = (innocent_t *)(void *)job;
    task_run(job);
    innocent->interrupted += poll(NULL, 0, 1) < 0;
}

/* Ends at about the time when it is to. */
static void end_soon_run(lp_job_t *job)
{
    uint64_t end_ns = uv_hrtime() + (uint64_t)(uintptr_t)job->data;
    task_run(job);
    while (uv_hrtime() < end_ns && lp_job_cancelled(job) == 0)
        continue;
}

static void stopping_a_job_never_touches_the_next_one(void **state)
{
    (void)state;
    enum { ROUNDS = 1000 };
    host_t host;
    lp_manager_t *manager = open_workers(&host, 1, 1, 10 * LP_SECOND, 0);
    lp_lease_t *lease = lease_of(manager);
    task_t guilty = {0};
    innocent_t innocent = {.interrupted = 0};
    int stopped = 0;
    for (int i = 1; i <= ROUNDS; i++) {
        uint64_t lasts_ns = (uint64_t)(i * 7919 % 200) * 1000, until_ns;
        guilty.job.data = (void *)(uintptr_t)lasts_ns;
        assert_int_equal(lp_submit(lease, &guilty.job, end_soon_run, task_done), 0);
        assert_int_equal(lp_submit(lease, &innocent.task.job, wait_run, task_done), 0);
        until_ns = uv_hrtime() + (uint64_t)(i * 104729 % 200) * 1000;
        while (uv_hrtime() < until_ns)
            continue;
        (void)lp_job_cancel(&guilty.job); /* queued, running, or just about to end */
        host_until(&host, &innocent.task.calls, i);
        assert_int_equal(innocent.task.status, 0);
        assert_int_equal(guilty.calls, i);
        stopped += guilty.status == LP_ECANCELLED;
    }
    assert_int_equal(innocent.interrupted, 0);
    assert_true(stopped > 0);
    assert_equations(manager);
    host_close(&host);
}

/* ---- Workers that come back late ---------------------------------------------- */

static atomic_int in_the_way, may_go, went; /* of jobs that do not look at themselves */

static void block_run(lp_job_t *job)
{
    (void)job;
    lp__add_relaxed(&in_the_way, 1);
    while (lp__load_acquire(&may_go) == 0)
        (void)poll(NULL, 0, 1);
    lp__add_relaxed(&went, 1);
}

static void begin_blocking(void)
{
    lp__store_relaxed(&in_the_way, 0);
    lp__store_relaxed(&may_go, 0);
    lp__store_relaxed(&went, 0);
}

/* Whoever comes back late frees everything. */
static void wait_until_freed(long before)
{
    while (lp__load_seq_cst(&live_blocks) != before)
        sched_yield();
}

static int told_lost; /* jobs that were */

static void free_lost(lp_job_t *job, int status)
{
    assert_int_equal(status, lp_job_still_running(job) ? LP_ECANCELLED : 0);
    told_lost += lp_job_still_running(job);
    memset(job, 0xaa, sizeof *job);
    free(job);
}

/* Submits a job of its own, and waits until it is in the way. */
static lp_job_t *submit_blocking(lp_lease_t *lease)
{
    lp_job_t *job = calloc(1, sizeof *job);
    int before = lp__load_relaxed(&in_the_way);
    assert_non_null(job);
    assert_int_equal(lp_submit(lease, job, block_run, free_lost), 0);
    while (lp__load_relaxed(&in_the_way) == before)
        sched_yield();
    return job;
}

static void a_worker_that_comes_back_is_joined_and_its_executor_freed(void **state)
{
    (void)state;
    long before = lp__load_seq_cst(&live_blocks);
    for (int broken = 0; broken < 2; broken++) {
        host_t host;
        wait_t wait;
        task_t next = {0};
        begin_blocking();
        told_lost = 0;
        lp_manager_t *manager = open_workers(&host, 1, broken ? 1 : 2, MS, MS);
        lp_lease_t *lease = lease_of(manager);
        assert_int_equal(lp_job_cancel(submit_blocking(lease)), 0);
        host_until(&host, &told_lost, 1);
        assert_int_equal(lp_lease_state(lease), broken ? LP_LEASE_CLOSED : LP_LEASE_ACTIVE);
        if (!broken) {
            assert_int_equal(task_submit(&next, lease), 0);
            host_until(&host, &next.calls, 1);
        }
        lp_lease_close(lease);
        assert_int_equal(assert_equations(manager).retiring, 1);
        assert_int_equal(wait_begin(&wait, manager, LP_FOREVER), 0);
        host_until(&host, &wait.calls, 1);
        lp_lease_close(wait.lease);
        lp__store_seq_cst(&may_go, 1);
        while (assert_equations(manager).retiring > 0) /* that keeps no loop alive */
            host_turn(&host);
        host_close(&host);
        assert_int_equal(lp__load_relaxed(&went), 1);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    }
    wait_until_freed(before);
}

static void what_a_worker_owned_goes_with_it_long_after_the_runtime(void **state)
{
    (void)state;
    enum { ROUNDS = 20 };
    long before = lp__load_seq_cst(&live_blocks);
    for (int round = 0; round < ROUNDS; round++) {
        host_t host;
        begin_blocking();
        told_lost = 0;
        lp_manager_t *manager = open_workers(&host, 2, 2, MS, MS);
        lp_manager_t *other = manager_of(&host, 1, 1); /* has nothing to do with it */
        lp_lease_t *leases[2] = {lease_of(manager), lease_of(manager)};
        task_t task = {0};
        assert_int_equal(task_submit(&task, lease_of(other)), 0);
        for (int i = 0; i < 3; i++) {
            lp_job_t *job = submit_blocking(leases[i / 2]);
            if (i == 0 && round % 2) /* given up before the runtime is closed, or by that */
                assert_int_equal(lp_job_cancel(job), 0);
        }
        if (round % 2)
            host_until(&host, &told_lost, 1);
        if (round % 3 == 0) /* they come back while it closes */
            lp__store_seq_cst(&may_go, 1);
        assert_int_equal(lp_runtime_close(host.rt, host_on_closed, &host), 0);
        while (!host.closed) {
            uv_run(&host.loop, UV_RUN_ONCE);
            if (round % 3 == 1 && told_lost > 1)
                lp__store_seq_cst(&may_go, 1);
        }
        host_close(&host);
        lp__store_seq_cst(&may_go, 1);
        wait_until_freed(before);
        assert_int_equal(lp__load_relaxed(&went), 3);
    }
    wait_until_freed(before);
}

/* Asks for its time again and again, although nobody waits for it. */
static atomic_int asked_late;

static void ask_time_run(lp_job_t *job)
{
    lp__add_relaxed(&in_the_way, 1);
    while (lp__load_acquire(&may_go) == 0)
        lp__store_relaxed(&asked_late, lp_job_remaining_ns(job) == 0 && lp_job_cancelled(job) != 0);
    lp__add_relaxed(&went, 1);
}

static void a_job_that_was_given_up_may_still_ask(void **state)
{
    (void)state;
    host_t host;
    static task_t task; /* it stays */
    long before = lp__load_seq_cst(&live_blocks);
    begin_blocking();
    lp_manager_t *manager = open_workers(&host, 1, 2, MS, MS);
    lp_lease_t *lease = lease_of(manager);
    assert_int_equal(lp_submit_within(lease, &task.job, 5 * MS, ask_time_run, task_done), 0);
    host_until(&host, &task.calls, 1);
    assert_int_equal(task.status, LP_ETIMEDOUT);
    assert_true(task.lost);
    lp__store_relaxed(&asked_late, 0);
    lp_lease_close(lease);
    assert_int_equal(lp_runtime_close(host.rt, host_on_closed, &host), 0);
    host_close(&host);
    while (lp__load_relaxed(&asked_late) == 0)
        sched_yield();
    lp__store_seq_cst(&may_go, 1);
    wait_until_freed(before);
}

/* ---- Races -------------------------------------------------------------------- */

static atomic_uint short_runs;

static void short_run(lp_job_t *job)
{
    (void)job; /* it may be gone */
    unsigned length = lp__add_relaxed(&short_runs, 1) % 16;
    for (volatile int i = 0; i < 300 << length / 2; i++)
        continue;
    for (int i = 0; i < 2 && length == 15; i++)
        (void)poll(NULL, 0, 1);
}

typedef struct {
    int left, lost, done, cancelled;
} tally_t;

static void tally_up(lp_job_t *job, int status)
{
    tally_t *tally = job->data;
    int lost = lp_job_still_running(job);
    assert_true(status == 0 || status == LP_ECANCELLED || status == LP_EBROKEN);
    assert_true(!lost || status == LP_ECANCELLED);
    tally->lost += lost;
    tally->done += status == 0;
    tally->cancelled += status == LP_ECANCELLED;
    tally->left--;
    memset(job, 0xaa, sizeof *job);
    free(job);
}

/* Without any grace whoever is asked is given up at once, or has just ended, or just begins. */
static void giving_up_races_with_beginning_and_ending(void **state)
{
    (void)state;
    enum { ROUNDS = 3000 };
    host_t host;
    long before = lp__load_seq_cst(&live_blocks);
    tally_t tally = {0};
    lp_manager_t *manager = open_workers(&host, 2, 2, 0, 0);
    for (int round = 0; round < ROUNDS; round++) {
        wait_t wait;
        lp_job_t *jobs[4];
        int count = 0;
        assert_int_equal(wait_begin(&wait, manager, LP_FOREVER), 0);
        host_until(&host, &wait.calls, 1);
        for (int i = 0; i < 4; i++) {
            jobs[i] = calloc(1, sizeof **jobs);
            jobs[i]->data = &tally;
            if (lp_submit(wait.lease, jobs[i], short_run, tally_up) != 0) {
                free(jobs[i]);
                break;
            }
            tally.left++;
            count++;
        }
        for (volatile int i = 0; i < round * 37 % 3000; i++)
            continue;
        for (int i = round % 2; i < count; i += 2)
            (void)lp_job_cancel(jobs[i]); /* no callback comes in between */
        if (round % 5 == 0)
            lp_lease_close(wait.lease);
        while (tally.left > 0)
            uv_run(&host.loop, UV_RUN_ONCE);
        if (round % 5 != 0)
            lp_lease_close(wait.lease);
        assert_equations(manager);
    }
    assert_true(tally.lost > 0);
    assert_true(tally.done > 0);
    lp_manager_stats_t s = assert_equations(manager);
    assert_int_equal(s.done, tally.done);
    assert_int_equal(s.cancelled, tally.cancelled - tally.lost);
    host_close(&host);
    wait_until_freed(before);
}

static void runtimes_close_with_jobs_that_come_back_at_any_moment(void **state)
{
    (void)state;
    enum { ROUNDS = 300 };
    long before = lp__load_seq_cst(&live_blocks);
    for (int round = 0; round < ROUNDS; round++) {
        host_t host;
        tally_t tally = {0};
        lp_manager_t *manager = open_workers(&host, 2, 2, 0, 0);
        lp_lease_t *leases[2] = {lease_of(manager), lease_of(manager)};
        for (int i = 0; i < 8; i++) {
            lp_job_t *job = calloc(1, sizeof *job);
            job->data = &tally;
            assert_int_equal(lp_submit(leases[i % 2], job, short_run, tally_up), 0);
            tally.left++;
        }
        for (volatile int i = 0; i < round * 37 % 5000; i++)
            continue;
        host_close(&host);
        assert_int_equal(tally.left, 0);
    }
    wait_until_freed(before);
}

/* ---- Workers that never come back --------------------------------------------- */

static void never_run(lp_job_t *job)
{
    (void)job;
    lp__add_relaxed(&in_the_way, 1);
    for (;;)
        (void)poll(NULL, 0, -1);
}

/* The last test: its thread runs until the process ends. */
static void a_job_that_never_ends_does_not_keep_the_runtime_from_closing(void **state)
{
    (void)state;
    host_t host;
    task_t task = {0};
    begin_blocking();
    lp_manager_t *manager = open_workers(&host, 1, 1, MS, MS);
    assert_int_equal(lp_submit(lease_of(manager), &task.job, never_run, task_done), 0);
    while (lp__load_relaxed(&in_the_way) == 0)
        sched_yield();
    host_close(&host);
    assert_int_equal(task.calls, 1);
    assert_int_equal(task.status, LP_ECANCELLED);
    assert_true(task.lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signal_may_be_chosen_or_none_before_the_first_worker),
        cmocka_unit_test(a_handler_of_the_host_gets_what_is_not_for_workers),
        cmocka_unit_test(the_handler_goes_with_the_library),
        cmocka_unit_test(a_blocking_read_ends),
        cmocka_unit_test(signals_of_others_use_up_no_interrupt),
        cmocka_unit_test(stopping_a_job_never_touches_the_next_one),
        cmocka_unit_test(a_worker_that_comes_back_is_joined_and_its_executor_freed),
        cmocka_unit_test(what_a_worker_owned_goes_with_it_long_after_the_runtime),
        cmocka_unit_test(a_job_that_was_given_up_may_still_ask),
        cmocka_unit_test(giving_up_races_with_beginning_and_ending),
        cmocka_unit_test(runtimes_close_with_jobs_that_come_back_at_any_moment),
        cmocka_unit_test(a_job_that_never_ends_does_not_keep_the_runtime_from_closing),
    };
    count_blocks();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
