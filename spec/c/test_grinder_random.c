/* test_grinder_random.c - random calls to grinders, their manager and their workers, from outside
 * and from every callback, with memory and workers that fail; what must hold is looked at after
 * each.
 *
 * A walk is known by its seed, which is printed. LEASEPOOL_SEED=n walks that one alone. */
#include "grind.h"

enum { WALKS = 6, STEPS = 20000, GRINDERS = 3, JOBS = 48, STOPS = 4, BORROWERS = 3 };

typedef struct {
    lp_job_t job;
    bool active;
    int grinder; /* which, of all that there were */
    int runs, seen;
    uint64_t number;     /* of the submission */
    uint64_t timeout_at; /* LP_FOREVER: none */
} item_t;

/* What is known of a grinder without looking into it. */
typedef struct {
    lp_grinder_t *handle; /* NULL: its handle was closed, or there is none yet */
    int id;
    uint64_t accepted, ended, uncounted; /* the last: cancelled while they were pending */
    uint64_t done, failed, cancelled;
    uint64_t last_taken; /* number of the last job that was given to a lease */
} known_t;

typedef struct {
    lp_stop_t req;
    bool active;
} stopper_t;

static struct {
    host_t host;
    log_t log;
    uint64_t random;
    lp_manager_t *manager; /* NULL: its handle was closed */
    known_t known[GRINDERS];
    item_t items[JOBS];
    stopper_t grinder_stops[STOPS], manager_stops[STOPS];
    wait_t waits[BORROWERS];
    lp_lease_t *outside[BORROWERS];
    uint64_t submitted;
    int ids, depth;
    bool calling, stuck;
    int told[24];
} w;

static uint32_t below(uint32_t limit)
{
    w.random ^= w.random << 13;
    w.random ^= w.random >> 7;
    w.random ^= w.random << 17;
    return (uint32_t)(w.random >> 33) % limit;
}

static void step(void);

static void step_in_callback(void)
{
    w.depth++;
    for (uint32_t steps = w.depth < 4 ? below(3) : 0; steps > 0; steps--)
        step();
    w.depth--;
}

/* No callback comes before the call has returned. */
#define CALL(into, call)                                                                           \
    do {                                                                                           \
        w.calling = true;                                                                          \
        into = (call);                                                                             \
        w.calling = false;                                                                         \
    } while (0)

/* ---- Invariants --------------------------------------------------------------- */

static item_t *item_of(lp__node_t *node)
{
    return (item_t *)(void *)lp__job_of(node);
}

/* The pending jobs are in the order of their submission, and none is behind one that was given to a
 * lease. */
static void check_order(known_t *known)
{
    uint64_t last = 0;
    lp__node_t *head = &known->handle->pending;
    for (lp__node_t *at = head->next; at != head; at = at->next) {
        item_t *item = item_of(at);
        assert_true(item->active);
        assert_int_equal(item->runs, 0);
        assert_int_equal(item->grinder, known->id);
        assert_true(item->number > last);
        last = item->number;
    }
    for (size_t i = 0; i < JOBS; i++) {
        item_t *item = &w.items[i];
        lp__job_state_t job = (lp__job_state_t)item->job.priv.state;
        assert_int_equal(item->active, job != LP__JOB_IDLE);
        if ((job == LP__JOB_IN_FLIGHT || job == LP__JOB_IN_FLIGHT_TIMED) &&
            item->grinder == known->id && item->number > known->last_taken)
            known->last_taken = item->number;
    }
    if (head->next != head)
        assert_true(item_of(head->next)->number > known->last_taken);
}

static void check_grinder(known_t *known)
{
    lp_grinder_t *grinder = known->handle;
    lp_grinder_stats_t s = assert_grinder(grinder);
    uint64_t on_their_way = (uint64_t)grinder->ended_count;
    check_order(known);
    assert_int_equal(known->accepted - known->ended,
                     (uint64_t)(s.pending + s.in_flight) + on_their_way);
    assert_true(s.items <= known->accepted - known->uncounted);
    if (on_their_way > 0)
        return;
    assert_int_equal(s.items, known->accepted - known->uncounted);
    assert_int_equal(s.done, known->done);
    assert_int_equal(s.failed, known->failed);
    assert_int_equal(s.cancelled, known->cancelled);
}

static void check_everything(void)
{
    lp__list_t *managers = &w.host.rt->managers;
    for (lp__list_t *at = managers->next; at != managers; at = at->next)
        (void)assert_equations(LP__CONTAINER(at, lp_manager_t, link));
    for (size_t i = 0; i < GRINDERS; i++)
        if (w.known[i].handle)
            check_grinder(&w.known[i]);
    assert_int_equal(fake.overlaps, 0);
}

/* ---- Callbacks ---------------------------------------------------------------- */

static void work(lp_job_t *job)
{
    item_t *item = (item_t *)(void *)job;
    assert_true(item->active);
    item->runs++;
    if (below(2))
        item->seen = lp_job_cancelled(job);
}

static void count_end(item_t *item, int status, bool was_pending, bool lost)
{
    known_t *known = &w.known[item->grinder % GRINDERS];
    if (known->id != item->grinder)
        return; /* of one that was closed */
    known->ended++;
    if (status == LP_ECANCELLED && was_pending)
        known->uncounted++;
    else if (status == LP_ECANCELLED && !lost)
        known->cancelled++;
    else if (status == 0)
        known->done++;
    else
        known->failed++;
}

static void on_done(lp_job_t *job, int status)
{
    item_t *item = (item_t *)(void *)job;
    bool was_pending = job->priv.node.kind == LP__NODE_PENDING_JOB;
    bool lost = lp_job_still_running(job);
    assert_true(item->active && !w.calling && w.host.rt->in_turn);
    assert_int_equal(item->runs, status == 0 || item->seen != 0 ? 1 : 0);
    if (status == LP_ETIMEDOUT)
        assert_true(item->timeout_at <= host_now(&w.host));
    assert_true(status != LP_EQUEUEFULL);
    item->active = false;
    w.told[0] += status == 0;
    w.told[1] += status == LP_ECANCELLED && was_pending;
    w.told[2] += status == LP_ECANCELLED && !was_pending;
    w.told[3] += status == LP_ETIMEDOUT && was_pending;
    w.told[4] += status == LP_ETIMEDOUT && !was_pending;
    w.told[5] += status == LP_EEXPIRED && was_pending;
    w.told[6] += status == LP_EEXPIRED && !was_pending;
    w.told[7] += status == LP_EBROKEN && was_pending;
    w.told[8] += status == LP_EBROKEN && !was_pending;
    w.told[9] += status == LP_ENOTSTARTED;
    w.told[10] += status == LP_ENOMEM;
    w.told[11] += status == LP_EUNAVAILABLE;
    w.told[12] += lost;
    count_end(item, status, was_pending, lost);
    if (lost)
        memset(&item->job, 0, sizeof item->job);
    step_in_callback();
}

static void on_progress(lp_grinder_t *grinder, uint64_t done, uint64_t total, void *data)
{
    assert_true(!w.calling && w.host.rt->in_turn);
    assert_true(done <= total);
    assert_int_equal(grinder->done + grinder->failed + grinder->cancelled, done);
    (void)data;
    w.told[13]++;
    step_in_callback();
}

static void on_stopped(lp_stop_t *req, const lp_stop_report_t *report)
{
    stopper_t *stopper = (stopper_t *)(void *)req;
    (void)report;
    assert_true(stopper->active && !w.calling && w.host.rt->in_turn);
    stopper->active = false;
    w.told[stopper >= w.manager_stops && stopper < w.manager_stops + STOPS ? 15 : 14]++;
    step_in_callback();
}

static void on_lease(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    size_t i = (size_t)((wait_t *)(void *)req - w.waits);
    wait_done(req, status, lease);
    if (lease && w.outside[i])
        lp_lease_close(lease);
    else
        w.outside[i] = lease;
    w.told[16] += status == 0;
    step_in_callback();
}

/* ---- Steps -------------------------------------------------------------------- */

static void make_manager(void)
{
    lp_manager_options_t options = fake_options(1 + below(4), 1 + below(3));
    options.min_pools = 1;
    options.max_retiring = below(4);
    options.max_queue = below(2) ? 1 + below(6) : 100;
    options.max_waiters = below(2) ? 1 + below(3) : 100;
    options.lease_grace_ns = below(3) ? below(100) : 0;
    options.idle_ns = below(300);
    options.on_expiry = below(2) ? LP_EXPIRY_INTERRUPT : LP_EXPIRY_LEAVE;
    options.interrupt_grace_ns = below(3) ? below(100) : 0;
    options.exit_grace_ns = below(3) ? below(100) : 0;
    options.kill_grace_ns = below(100);
    if (lp_manager_create(&w.manager, w.host.rt, &fake_backend, &options) != 0)
        w.manager = NULL;
}

static void make_grinder(size_t i)
{
    known_t *known = &w.known[i];
    lp_grinder_options_t options = grind_options(1 + below(8));
    char prefix[16];
    int id = w.ids - w.ids % GRINDERS + (int)i + GRINDERS; /* id % GRINDERS is its place */
    snprintf(prefix, sizeof prefix, "g%d", id);
    options.owner_prefix = prefix;
    options.max_pending = 1 + below(24);
    options.max_batches = below(3);
    options.max_wait_ns = below(4) ? below(200) : 0;
    options.lease_ns = 1 + below(400);
    options.on_progress = below(2) ? on_progress : NULL;
    memset(known, 0, sizeof *known);
    known->id = w.ids = id;
    if (lp_grinder_create(&known->handle, w.manager, &options) != 0)
        known->handle = NULL;
}

static void submit(known_t *known)
{
    item_t *item = &w.items[below(JOBS)];
    uint64_t timeout_ns = below(3) ? LP_FOREVER : below(300);
    bool was_active = item->active;
    int rc;
    if (!was_active) {
        item->grinder = known->id;
        item->runs = item->seen = 0;
        item->timeout_at = lp__clock_after(host_now(&w.host), timeout_ns);
        item->number = w.submitted + 1;
        item->active = true; /* it may run at once */
    }
    CALL(rc, lp_grinder_submit(known->handle, &item->job, timeout_ns, work, on_done));
    assert_int_equal(rc == LP_ESTATE, was_active);
    assert_true(rc == 0 || rc == LP_ESTATE || rc == LP_ENOTSTARTED || rc == LP_EQUEUEFULL ||
                rc == LP_ENOMEM);
    item->active = was_active || rc == 0;
    w.submitted += rc == 0;
    known->accepted += rc == 0;
    w.told[17] += rc == LP_EQUEUEFULL;
}

static void stop_grinder(known_t *known)
{
    stopper_t *stopper = &w.grinder_stops[below(STOPS)];
    lp_stop_t *req = below(3) ? &stopper->req : NULL;
    uint64_t timeout_ns = below(3) == 0 ? 0 : (below(2) ? below(200) : LP_FOREVER);
    int rc;
    CALL(rc, lp_grinder_stop(known->handle, req, timeout_ns, req ? on_stopped : NULL));
    assert_int_equal(rc, req && stopper->active ? LP_ESTATE : 0);
    stopper->active |= req != NULL;
}

static void use_grinder(void)
{
    size_t i = below(GRINDERS);
    known_t *known = &w.known[i];
    uint32_t what = below(256);
    int rc;
    if (!known->handle && w.manager) {
        make_grinder(i);
    } else if (!known->handle) {
        return;
    } else if (what < 2) {
        stop_grinder(known);
    } else if (what == 2 && below(3) == 0) {
        lp_grinder_t *grinder = known->handle;
        known->handle = NULL;
        known->id = -1;
        lp_grinder_close(grinder);
        w.told[18]++;
    } else if (what < 30) {
        CALL(rc, lp_grinder_start(known->handle));
        assert_true(rc == 0 || rc == LP_ESTATE || rc == LP_ENOTSTARTED);
    } else {
        submit(known);
    }
}

static void use_manager(void)
{
    stopper_t *stopper = &w.manager_stops[below(STOPS)];
    size_t i = below(BORROWERS);
    uint32_t what = below(200);
    int rc;
    if (!w.manager) {
        make_manager();
    } else if (what == 0) {
        CALL(rc, lp_manager_stop(w.manager, &stopper->req, below(2) ? below(200) : LP_FOREVER,
                                 on_stopped));
        assert_int_equal(rc, stopper->active ? LP_ESTATE : 0);
        stopper->active = true;
    } else if (what == 1 && below(4) == 0) {
        lp_manager_close(w.manager);
        w.manager = NULL;
    } else if (what < 30) {
        CALL(rc, lp_manager_start(w.manager));
        assert_true(rc == 0 || rc == LP_ESTATE || rc == LP_ENOMEM);
    } else if (w.outside[i]) {
        lp_lease_close(w.outside[i]);
        w.outside[i] = NULL;
    } else if (below(2)) {
        if (lp_try_acquire(w.manager, NULL, &w.outside[i]) != 0)
            w.outside[i] = NULL;
    } else {
        (void)lp_acquire(w.manager, &w.waits[i].req, NULL, on_lease);
    }
}

static lp__executor_t *some_executor(void)
{
    lp__executor_t *chosen = NULL;
    lp__list_t *managers = &w.host.rt->managers;
    uint32_t seen = 0;
    for (lp__list_t *at = managers->next; at != managers; at = at->next) {
        lp_manager_t *manager = LP__CONTAINER(at, lp_manager_t, link);
        for (lp__list_t *e = manager->executors.next; e != &manager->executors; e = e->next)
            if (below(++seen) == 0)
                chosen = LP__CONTAINER(e, lp__executor_t, all_link);
    }
    return chosen;
}

static void move_workers(void)
{
    lp__executor_t *executor = some_executor();
    if (!executor)
        return;
    if (below(200) == 0) /* for a while nobody finishes */
        w.stuck = !w.stuck;
    if (below(2))
        (void)fake_take(executor);
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next)
        if (!w.stuck && below(fake_is_lost(fake_worker(at)) ? 8 : 2))
            fake_finish_worker(fake_worker(at));
}

static void let_time_pass(void)
{
    uint64_t ns = below(64) == 0 ? 1000 * below(40000) : below(20);
    if (w.depth == 0 && below(2))
        host_advance(&w.host, ns);
    else
        host_pass(&w.host, ns);
}

static void choose(void)
{
    lp__executor_t *executor;
    int rc;
    switch (below(20)) {
    case 0:
    case 1:
        let_time_pass();
        break;
    case 2:
        if (w.depth == 0)
            host_turn(&w.host);
        break;
    case 3:
        CALL(rc, lp_job_cancel(&w.items[below(JOBS)].job));
        assert_true(rc == 0 || rc == LP_ESTATE);
        break;
    case 4:
        executor = below(5) == 0 ? some_executor() : NULL;
        if (executor)
            lp__executor_break(executor, "a random break");
        break;
    case 5:
    case 6:
    case 7:
    case 8:
        move_workers();
        break;
    case 9:
    case 10:
        use_manager();
        break;
    default:
        use_grinder();
    }
}

static void step(void)
{
    bool faults = w.depth == 0 && below(16) == 0;
    if (faults) {
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 1 + below(4));
        fake.fail_starts = (int)below(2);
        fake.fail_with = UV_EAGAIN;
    }
    fake.lazy = below(4) != 0;
    choose();
    if (faults) {
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
        fake.fail_starts = 0;
    }
    check_everything();
}

/* Whoever was accepted has been told, however it ends. */
static void end_walk(void)
{
    w.depth = below(2) ? 100 : 1; /* callbacks do nothing more, or go on */
    w.stuck = false;
    fake.lazy = false;
    for (size_t i = 0; i < GRINDERS; i++) {
        if (w.known[i].handle && below(2)) {
            lp_grinder_t *grinder = w.known[i].handle;
            w.known[i].handle = NULL;
            lp_grinder_close(grinder);
        }
    }
    for (size_t i = 0; i < BORROWERS; i++)
        if (w.outside[i] && below(2)) {
            lp_lease_close(w.outside[i]);
            w.outside[i] = NULL;
        }
    if (w.manager && below(2)) {
        lp_manager_close(w.manager);
        w.manager = NULL;
    }
    assert_int_equal(lp_runtime_close(w.host.rt, host_on_closed, &w.host), 0);
    for (int i = 0; i < 4; i++)
        host_advance(&w.host, LP_SECOND);
    fake_close(&w.host);
    for (size_t i = 0; i < JOBS; i++)
        assert_false(w.items[i].active);
    for (size_t i = 0; i < STOPS; i++)
        assert_false(w.grinder_stops[i].active || w.manager_stops[i].active);
}

static void walk(uint64_t seed)
{
    print_message("# seed %llu\n", (unsigned long long)seed);
    memset(&w, 0, sizeof w);
    w.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    fake_open(&w.host);
    lp_set_logger(w.host.rt, log_line, &w.log);
    for (int i = 0; i < STEPS; i++)
        step();
    end_walk();
}

static void whatever_happens_each_job_ends_once_and_the_accounts_agree(void **state)
{
    (void)state;
    const char *chosen = getenv("LEASEPOOL_SEED");
    int told_in_all[COUNT_OF(w.told)] = {0};
    if (chosen) {
        walk(strtoull(chosen, NULL, 10));
        return;
    }
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    for (uint64_t i = 0; i < WALKS; i++) {
        walk(i < WALKS - 1 ? 1 + i : uv_hrtime());
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
        for (size_t j = 0; j < COUNT_OF(told_in_all); j++)
            told_in_all[j] += w.told[j];
    }
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
    for (size_t i = 0; i < 19; i++) { /* the walks went everywhere */
        if (told_in_all[i] < 3)
            fail_msg("%zu: only %d", i, told_in_all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_each_job_ends_once_and_the_accounts_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
