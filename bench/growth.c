/* growth.c - what one operation of the core costs while there are n executors, leases, waiters or
 * queued jobs. bench/growth.lua runs it and draws what it prints.
 *
 *     growth SERIES N ROUNDS     a line of JSON for each operation of the series
 *
 * The backend has no threads and the core's clock stands still, so that the core alone is
 * measured. A round has STEPS batches; `ns` is of the quickest round, as whatever disturbs a round
 * makes it slower. Each operation is a function of its own, so that callgrind can count the
 * instructions of all `count` operations by its name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/list.h"
#include "core/backend.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"
#include "core/worker.h"

enum { BATCH = 10, STEPS = 50, MAX_OPERATIONS = 3 };

#define OPERATION static __attribute__((noinline)) /* callgrind sees it */

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "growth: %s\n", what);
    exit(1);
}

/* ---- A backend whose workers run when they are told -------------------------------- */

static int start_worker(lp__worker_t *worker)
{
    lp__queue_always_wake(&worker->executor->queue);
    return 0;
}

static void join_worker(lp__worker_t *worker)
{
    (void)worker;
}

static void wake(lp__executor_t *executor)
{
    (void)executor;
}

static void stop_workers(lp__executor_t *executor)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__worker_t *worker = LP__CONTAINER(at, lp__worker_t, link);
        lp__inbox_post(worker->inbox, &worker->exit);
    }
}

static const lp_backend_t backend = {
    .name = "fake",
    .worker_start = start_worker,
    .worker_join = join_worker,
    .wake = wake,
    .stop = stop_workers,
};

/* Runs the oldest job of an executor. */
static void run_one(lp__executor_t *executor)
{
    static lp__desk_t desk;
    lp__node_t *node = lp__queue_try_take(&executor->queue, &desk);
    check(node != NULL, "no job is queued");
    lp_job_t *job = lp__job_of(node);
    job->priv.worker = 1;
    job->priv.work(job);
    node->status = 0;
    lp__inbox_post(executor->manager->rt->inbox, node);
}

/* ---- The world of one series -------------------------------------------------------- */

typedef struct {
    int n;
    uv_loop_t loop;
    lp_runtime_t *rt;
    lp_manager_t *manager;
    uint64_t now_ns;
    uint64_t taken_ns[MAX_OPERATIONS], count[MAX_OPERATIONS]; /* of this round */

    lp_lease_t **leases; /* n of them, or one; and BATCH for the step */
    lp_acquire_t *requests;
    lp_job_t *jobs;
    bool same_length;       /* of the leases */
    size_t next;            /* where the step goes on in one of these rings */
    size_t told;            /* leases whose soft expiry was told: they lie in `leases`, */
    size_t ended;           /* and those before this one have expired */
    lp_lease_t *last;       /* that a waiter got */
    lp_acquire_t *answered; /* the last of them */
    lp_acquire_t *chosen;   /* to be withdrawn */
    uint64_t timeout_ns;    /* of jobs */
    int calls;              /* of `done` */
} world_t;

static uint64_t random_state = 88172645463325252u;

static uint64_t random_below(uint64_t limit) /* G. Marsaglia, "Xorshift RNGs" (2003) */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

static void *array(size_t count, size_t size)
{
    void *block = calloc(count, size);
    check(block != NULL, "out of memory");
    return block;
}

static void turn(world_t *w)
{
    while (lp__runtime_turn(w->rt))
        continue;
}

static void set_clock(world_t *w, uint64_t now_ns)
{
    w->now_ns = now_ns;
    lp__clock_set_manual(&w->rt->clock, now_ns);
}

/* The operation `place` of the series: `run` does `count` of them. */
static void timed(world_t *w, int place, void (*run)(world_t *), uint64_t count)
{
    uint64_t begun_ns = uv_hrtime();
    run(w);
    w->taken_ns[place] += uv_hrtime() - begun_ns;
    w->count[place] += count;
}

static lp_lease_t *acquire(world_t *w, uint64_t lease_ns, lp_lease_cb on_soft_expiry)
{
    lp_lease_t *lease = NULL;
    lp_acquire_options_t options;
    lp_acquire_options_init(&options);
    options.lease_ns = lease_ns;
    options.on_soft_expiry = on_soft_expiry;
    options.soft_data = w;
    check(lp_try_acquire(w->manager, &options, &lease) == 0, "no lease");
    return lease;
}

static uint64_t some_seconds(void)
{
    return 100 * LP_SECOND + random_below(100 * LP_SECOND);
}

/* A started manager with room for `executors`, which are there from the beginning; `held` of
 * them are leased, for times that differ. */
static void open_world(world_t *w, int64_t executors, int held)
{
    check(uv_loop_init(&w->loop) == 0 && lp_runtime_create(&w->rt, &w->loop) == 0, "no runtime");
    set_clock(w, 1000 * LP_SECOND);
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = options.min_pools = executors;
    options.workers_per_pool = 1;
    options.max_waiters = options.max_queue = w->n + BATCH;
    options.lease_grace_ns = LP_SECOND;
    check(lp_manager_create(&w->manager, w->rt, &backend, &options) == 0, "no manager");
    check(lp_manager_start(w->manager) == 0, "not started");
    w->leases = array((size_t)w->n + BATCH, sizeof *w->leases);
    for (int i = 0; i < held; i++)
        w->leases[i] = acquire(w, some_seconds(), NULL);
}

static void on_closed(void *data)
{
    *(bool *)data = true;
}

static void close_world(world_t *w)
{
    bool closed = false;
    check(lp_runtime_close(w->rt, on_closed, &closed) == 0, "not closed");
    while (!closed)
        uv_run(&w->loop, UV_RUN_ONCE);
    check(uv_loop_close(&w->loop) == 0, "the loop is not empty");
    free(w->leases);
    free(w->requests);
    free(w->jobs);
}

/* ---- acquire and release, with n leases held of n executors (and BATCH more) -------- */

static void begin_leases(world_t *w)
{
    open_world(w, w->n + BATCH, w->n);
}

OPERATION void op_acquire(world_t *w)
{
    for (int i = 0; i < BATCH; i++)
        lp_try_acquire(w->manager, NULL, &w->leases[w->n + i]);
}

OPERATION void op_renew(world_t *w)
{
    for (int i = 0; i < BATCH; i++)
        lp_lease_renew(w->leases[w->n + i], 50 * LP_SECOND);
}

OPERATION void op_release(world_t *w)
{
    for (int i = 0; i < BATCH; i++)
        lp_lease_close(w->leases[w->n + i]);
}

static void step_leases(world_t *w)
{
    timed(w, 0, op_acquire, BATCH);
    timed(w, 1, op_renew, BATCH);
    check(w->manager->leased_count == (uint32_t)w->n + BATCH, "a lease is missing");
    timed(w, 2, op_release, BATCH);
    check(w->manager->leased_count == (uint32_t)w->n, "a lease was lost");
}

/* ---- n leases that expire: the next of them, and one more comes ---------------------- */

static void on_soft_expiry(lp_lease_t *lease, void *data)
{
    world_t *w = data;
    w->leases[w->told++ % ((size_t)w->n + BATCH)] = lease;
}

/* Leases of different lengths end in another order than they came, which is what is hard for a
 * heap; most hosts give all of them the same. */
static uint64_t length_ns(const world_t *w)
{
    return w->same_length ? 100 * LP_SECOND : some_seconds();
}

static uint64_t expired(const world_t *w)
{
    return w->manager->lease_ends[LP__END_EXPIRED];
}

/* Of one lease as a rule; of none when the next deadline is a soft one. */
OPERATION void op_expire(world_t *w)
{
    turn(w);
}

static void expire_batch(world_t *w, void (*expire)(world_t *))
{
    uint64_t enough = expired(w) + BATCH;
    while (expired(w) < enough) {
        uint64_t before = expired(w);
        set_clock(w, lp__heap_min(&w->rt->deadlines)->key);
        timed(w, 0, expire, 0);
        w->count[0] += expired(w) - before;
        for (; w->ended < w->told; w->ended++) { /* in this order, as the grace is the same */
            lp_lease_t *lease = w->leases[w->ended % ((size_t)w->n + BATCH)];
            if (lp_lease_state(lease) != LP_LEASE_CLOSED)
                break;
            lp_lease_close(lease);
            acquire(w, length_ns(w), on_soft_expiry);
        }
    }
}

static void step_expiry(world_t *w)
{
    expire_batch(w, op_expire);
}

/* The first to be taken from a heap pay for all that were put there: they are no part of what
 * is measured. */
static void begin_expiry(world_t *w)
{
    open_world(w, w->n, 0);
    for (int i = 0; i < w->n; i++) {
        set_clock(w, w->now_ns + 100); /* nobody acquires at the same moment */
        acquire(w, length_ns(w), on_soft_expiry);
    }
    for (int i = 0; i < STEPS; i++)
        expire_batch(w, turn);
}

static void begin_expiry_in_order(world_t *w)
{
    w->same_length = true;
    begin_expiry(w);
}

/* ---- n waiters: the oldest gets the lease that is released, and joins again ---------- */

static void on_lease(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    world_t *w = req->data;
    check(lease || status == LP_ECANCELLED || status == LP_ENOTSTARTED, "a waiter failed");
    if (lease)
        w->last = lease;
    w->answered = req;
}

static void join_waiters(world_t *w, lp_acquire_t *req)
{
    lp_acquire_options_t options;
    lp_acquire_options_init(&options);
    options.timeout_ns = some_seconds();
    req->data = w;
    check(lp_acquire(w->manager, req, &options, on_lease) == 0, "cannot wait");
}

static void begin_waiters(world_t *w)
{
    open_world(w, 1, 0);
    w->last = acquire(w, 0, NULL);
    w->requests = array((size_t)w->n, sizeof *w->requests);
    for (int i = 0; i < w->n; i++)
        join_waiters(w, &w->requests[i]);
}

OPERATION void op_hand_over(world_t *w)
{
    lp_lease_close(w->last);
    turn(w);
}

OPERATION void op_wait(world_t *w)
{
    join_waiters(w, w->answered);
}

OPERATION void op_stop_waiting(world_t *w)
{
    lp_acquire_cancel(w->chosen);
    turn(w);
}

/* The one that was answered waits again. */
static void step_waiters(world_t *w)
{
    for (int i = 0; i < BATCH; i++) {
        timed(w, 0, op_hand_over, 1);
        timed(w, 1, op_wait, 1);
        w->chosen = &w->requests[random_below((uint64_t)w->n)];
        timed(w, 2, op_stop_waiting, 1);
        check(w->answered == w->chosen, "not withdrawn");
        join_waiters(w, w->chosen);
    }
}

/* ---- n jobs queued in one executor: one more comes, the oldest runs and is delivered -- */

static void work(lp_job_t *job)
{
    (void)job;
}

static void done(lp_job_t *job, int status)
{
    world_t *w = job->data;
    w->calls += status == 0;
}

/* Room for n jobs and a batch; the rest of the ring is in flight. */
static lp_job_t *next_job(world_t *w)
{
    return &w->jobs[w->next++ % ((size_t)w->n + BATCH)];
}

static void begin_jobs_within(world_t *w, uint64_t timeout_ns)
{
    open_world(w, 1, 1);
    w->jobs = array((size_t)w->n + BATCH, sizeof *w->jobs);
    for (int i = 0; i < w->n + BATCH; i++)
        w->jobs[i].data = w;
    for (int i = 0; i < w->n; i++)
        lp_submit_within(w->leases[0], next_job(w), timeout_ns ? some_seconds() : LP_FOREVER, work,
                         done);
}

static void begin_jobs(world_t *w)
{
    begin_jobs_within(w, 0);
}

static void begin_timed(world_t *w)
{
    begin_jobs_within(w, 1);
}

OPERATION void op_submit(world_t *w)
{
    for (int i = 0; i < BATCH; i++)
        lp_submit(w->leases[0], next_job(w), work, done);
}

OPERATION void op_submit_within(world_t *w)
{
    for (int i = 0; i < BATCH; i++)
        lp_submit_within(w->leases[0], next_job(w), w->timeout_ns, work, done);
}

OPERATION void op_complete(world_t *w)
{
    turn(w);
}

static void complete(world_t *w)
{
    w->calls = 0;
    timed(w, 1, op_complete, BATCH);
    check(w->calls == BATCH, "a job was lost");
}

static void step_jobs(world_t *w)
{
    timed(w, 0, op_submit, BATCH);
    for (int i = 0; i < BATCH; i++)
        run_one(w->leases[0]->executor);
    complete(w);
}

static void step_timed(world_t *w)
{
    w->timeout_ns = some_seconds();
    timed(w, 0, op_submit_within, BATCH);
    for (int i = 0; i < BATCH; i++)
        run_one(w->leases[0]->executor);
    complete(w);
}

/* ---- n executors, each leased: a job for some of them --------------------------------- */

static void begin_executors(world_t *w)
{
    open_world(w, w->n, w->n);
    w->jobs = array(BATCH, sizeof *w->jobs);
    for (int i = 0; i < BATCH; i++)
        w->jobs[i].data = w;
}

static lp_lease_t *some_lease(const world_t *w, int i)
{
    return w->leases[i * (w->n / BATCH)];
}

OPERATION void op_submit_to_some(world_t *w)
{
    for (int i = 0; i < BATCH; i++)
        lp_submit(some_lease(w, i), &w->jobs[i], work, done);
}

static void step_executors(world_t *w)
{
    timed(w, 0, op_submit_to_some, BATCH);
    for (int i = 0; i < BATCH; i++)
        run_one(some_lease(w, i)->executor);
    complete(w);
}

/* ---- All of them ---------------------------------------------------------------------- */

static const struct {
    const char *name, *of; /* n is the number of what */
    void (*begin)(world_t *w);
    void (*step)(world_t *w);
    const char *operations[MAX_OPERATIONS], *functions[MAX_OPERATIONS];
} series[] = {
    {"leases",
     "leases held",
     begin_leases,
     step_leases,
     {"acquire", "renew", "release"},
     {"op_acquire", "op_renew", "op_release"}},
    {"expiry", "leases held", begin_expiry, step_expiry, {"expire"}, {"op_expire"}},
    {"in_order",
     "leases held, equally long",
     begin_expiry_in_order,
     step_expiry,
     {"expire in order"},
     {"op_expire"}},
    {"waiters",
     "waiters",
     begin_waiters,
     step_waiters,
     {"hand over", "wait", "stop waiting"},
     {"op_hand_over", "op_wait", "op_stop_waiting"}},
    {"jobs",
     "jobs queued",
     begin_jobs,
     step_jobs,
     {"submit", "complete"},
     {"op_submit", "op_complete"}},
    {"timed",
     "jobs queued with timeouts",
     begin_timed,
     step_timed,
     {"submit within", "complete in time"},
     {"op_submit_within", "op_complete"}},
    {"executors",
     "executors leased",
     begin_executors,
     step_executors,
     {"submit to some", "complete for some"},
     {"op_submit_to_some", "op_complete"}},
};

static void measure(size_t which, int n, int rounds)
{
    world_t *w = array(1, sizeof *w);
    double best[MAX_OPERATIONS] = {0};
    uint64_t count[MAX_OPERATIONS] = {0};
    w->n = n;
    series[which].begin(w);
    for (int round = 0; round < rounds; round++) {
        memset(w->taken_ns, 0, sizeof w->taken_ns);
        memset(w->count, 0, sizeof w->count);
        for (int i = 0; i < STEPS; i++)
            series[which].step(w);
        for (int i = 0; i < MAX_OPERATIONS && series[which].operations[i]; i++) {
            double ns = (double)w->taken_ns[i] / (double)w->count[i];
            count[i] += w->count[i];
            if (round == 0 || ns < best[i])
                best[i] = ns;
        }
    }
    close_world(w);
    free(w);
    for (int i = 0; i < MAX_OPERATIONS && series[which].operations[i]; i++)
        printf("{\"of\":\"%s\",\"operation\":\"%s\",\"function\":\"%s\",\"n\":%d,"
               "\"count\":%llu,\"ns\":%.1f}\n",
               series[which].of, series[which].operations[i], series[which].functions[i], n,
               (unsigned long long)count[i], best[i]);
}

int main(int argc, char **argv)
{
    check(argc == 4, "usage: growth SERIES N ROUNDS");
    int n = atoi(argv[2]), rounds = atoi(argv[3]);
    check(n >= BATCH && n % BATCH == 0 && rounds > 0, "N is a multiple of 10, ROUNDS > 0");
    for (size_t i = 0; i < sizeof series / sizeof *series; i++) {
        if (strcmp(argv[1], series[i].name) == 0) {
            measure(i, n, rounds);
            return 0;
        }
    }
    check(false, "no such series");
}
