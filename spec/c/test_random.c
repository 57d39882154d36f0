/* test_random.c - random calls at random times over the fake backend, from outside and from every
 * callback, with memory and workers that fail; what must hold is looked at after each.
 *
 * A walk is known by its seed, which is printed. LEASEPOOL_SEED=n walks that one alone. */
#include "fake.h"

#include "core/sizing.h"

enum { WALKS = 8, STEPS = 20000, LEASES = 8, WAITS = 8, JOBS = 40, STOPS = 3 };

typedef struct {
    lp_lease_t *lease; /* NULL: the place is free */
    lp_lease_state_t seen;
} place_t;

typedef struct {
    lp_acquire_t req;
    place_t *place;
    uint64_t number;
    int generation; /* of managers */
    bool active;
} asker_t;

typedef struct {
    lp_job_t job;
    bool active;
    int runs, seen; /* why it is to stop, if it has looked */
} work_t;

typedef struct {
    lp_stop_t req;
    bool active;
} stopper_t;

static struct {
    host_t host;
    log_t log;
    uint64_t random;
    lp_manager_t *manager; /* NULL: its handle was closed */
    place_t places[LEASES];
    asker_t askers[WAITS];
    work_t works[JOBS];
    stopper_t stoppers[STOPS];
    uint64_t asked, last_granted; /* by the manager of this generation */
    int generation;
    int depth; /* of callbacks */
    bool stuck;
    int told[32];
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

/* ---- Invariants --------------------------------------------------------------- */

static void check_place(place_t *place)
{
    static const int later[] = {
        [LP_LEASE_ACTIVE] = 0x3f,  [LP_LEASE_GRACE] = 0x3f,  [LP_LEASE_DRAINING] = 0x3c,
        [LP_LEASE_EXPIRED] = 0x28, [LP_LEASE_BROKEN] = 0x30, [LP_LEASE_CLOSED] = 0x20};
    lp_lease_t *lease = place->lease;
    lp_lease_times_t times;
    uint64_t now_ns = host_now(&w.host);
    lp_lease_state_t state = lp_lease_state(lease);
    lp_lease_times(lease, &times);
    assert_true(later[place->seen] & 1 << state);
    assert_true(times.soft_expiry_ns <= times.hard_expiry_ns);
    if (state == LP_LEASE_ACTIVE)
        assert_true(now_ns < times.soft_expiry_ns);
    if (state == LP_LEASE_GRACE)
        assert_true(times.soft_expiry_ns <= now_ns);
    if (state <= LP_LEASE_DRAINING)
        assert_true(now_ns < times.hard_expiry_ns);
    assert_true((lp_lease_reason(lease) == NULL) == (state <= LP_LEASE_GRACE));
    if (state == LP_LEASE_CLOSED)
        assert_int_equal(lease->in_flight, 0);
    place->seen = state;
}

/* Nobody waits for what could be made now, and nothing idles beyond its time. */
static void check_sizes(lp_manager_t *manager, const lp_manager_stats_t *s)
{
    if (manager->state != LP__MANAGER_RUNNING || w.depth > 0)
        return;
    if (lp__sizing_may_add(manager)) {
        assert_int_equal(s->waiters, 0);
        assert_true(s->total >= s->desired);
    }
    if (s->total > s->desired && s->available > 0) {
        lp__executor_t *oldest = LP__CONTAINER(manager->available.prev, lp__executor_t, link);
        assert_true(host_now(&w.host) < oldest->idle_since_ns + manager->options.idle_ns);
    }
}

static void check_everything(void)
{
    lp__list_t *managers = &w.host.rt->managers;
    for (lp__list_t *at = managers->next; at != managers; at = at->next) {
        lp_manager_t *manager = LP__CONTAINER(at, lp_manager_t, link);
        lp_manager_stats_t s = assert_equations(manager);
        check_sizes(manager, &s);
    }
    for (size_t i = 0; i < LEASES; i++)
        if (w.places[i].lease)
            check_place(&w.places[i]);
    assert_int_equal(fake.overlaps, 0);
}

/* ---- Callbacks ---------------------------------------------------------------- */

static void on_lease(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    asker_t *asker = (asker_t *)(void *)req;
    assert_true(asker->active);
    assert_true((status == 0) == (lease != NULL));
    asker->active = false;
    w.told[0] += status == 0;
    w.told[1] += status == LP_ETIMEDOUT;
    w.told[2] += status == LP_ECANCELLED;
    w.told[3] += status == LP_ENOTSTARTED;
    w.told[4] += status == LP_ENOMEM;
    if (status == 0 && asker->generation == w.generation) {
        assert_true(asker->number > w.last_granted); /* nobody is overtaken */
        w.last_granted = asker->number;
    }
    if (lease && asker->place->lease)
        lp_lease_close(lease); /* the place was taken meanwhile */
    else if (lease)
        *asker->place = (place_t){.lease = lease};
    step_in_callback();
}

static void on_soft(lp_lease_t *lease, void *data)
{
    place_t *place = data;
    w.told[5]++;
    assert_int_equal(lease->state, LP_LEASE_GRACE);
    if (place->lease == lease && below(2)) {
        if (below(2)) {
            (void)lp_lease_renew(lease, below(200));
        } else {
            place->lease = NULL;
            lp_lease_close(lease);
        }
    }
    step_in_callback();
}

static void work(lp_job_t *job)
{
    work_t *one = (work_t *)(void *)job;
    one->runs++;
    if (below(2))
        one->seen = lp_job_cancelled(job);
}

/* Of a job that was given up, nobody looks at the memory any more. */
static void forget_lost(work_t *one, int status)
{
    assert_true(status == LP_ECANCELLED || status == LP_ETIMEDOUT || status == LP_EEXPIRED);
    assert_int_equal(one->runs, 0);
    w.told[15]++;
    memset(&one->job, 0, sizeof one->job); /* it may be submitted at once */
}

static void on_done(lp_job_t *job, int status)
{
    work_t *one = (work_t *)(void *)job;
    assert_true(one->active);
    assert_int_equal(one->runs, status == 0 || one->seen != 0 ? 1 : 0);
    assert_int_equal(status, one->seen != 0 ? one->seen : status);
    w.told[14] += one->seen != 0;
    w.told[16] += (lp__job_marks(job) & LP__JOB_KILLED) != 0;
    if (lp_job_still_running(job))
        forget_lost(one, status);
    one->active = false;
    w.told[6] += status == 0;
    w.told[7] += status == LP_ECANCELLED;
    w.told[8] += status == LP_ETIMEDOUT;
    w.told[9] += status == LP_EEXPIRED;
    w.told[10] += status == LP_EBROKEN;
    step_in_callback();
}

static void on_stopped(lp_stop_t *req, const lp_stop_report_t *report)
{
    stopper_t *stopper = (stopper_t *)(void *)req;
    assert_true(stopper->active);
    stopper->active = false;
    w.told[11]++;
    w.told[12] += report->abandoned > 0;
    w.told[17] += report->killed > 0;
    w.told[18] += report->interrupted > 0;
    step_in_callback();
}

static int on_size(void *data, double *size)
{
    (void)data;
    w.told[13]++;
    *size = below(8) == 0 ? -1.0 / 0.0 : below(60);
    step_in_callback();
    return below(8) == 0 ? LP_EJOB : 0;
}

/* ---- Workers ------------------------------------------------------------------ */

/* Some end at once. */
static void on_ask(lp__worker_t *worker)
{
    if (!w.stuck && below(4) == 0)
        fake_finish_worker(worker);
}

static void on_kill(lp__worker_t *worker, bool by_force)
{
    if (by_force ? !w.stuck || below(2) : below(2))
        fake_die(worker);
}

/* ---- Steps -------------------------------------------------------------------- */

static bool is_one_of(int rc, const int *codes)
{
    while (*codes != rc && *codes != 1)
        codes++;
    return *codes == rc;
}

#define ASSERT_ONE_OF(rc, ...)                                                                     \
    assert_true(is_one_of(rc, (const int[]){0, LP_ENOMEM, __VA_ARGS__, 1}))

static void make_manager(void)
{
    w.generation++;
    w.last_granted = 0;
    lp_manager_options_t options = fake_options(1 + below(4), 1 + below(3));
    options.min_pools = 1 + below((uint32_t)options.max_pools);
    options.max_retiring = below(4);
    options.max_queue = 1 + below(6);
    options.max_waiters = 1 + below(WAITS);
    options.default_lease_ns = 1 + below(400);
    options.lease_grace_ns = below(3) ? below(100) : 0;
    options.idle_ns = below(3) ? below(300) : 0;
    options.on_expiry = below(2) ? LP_EXPIRY_INTERRUPT : LP_EXPIRY_LEAVE;
    options.interrupt_grace_ns = below(3) ? below(100) : 0;
    options.exit_grace_ns = below(3) ? below(100) : 0;
    options.kill_grace_ns = below(100);
    options.check_interval_ns = 50 + below(500);
    options.size_provider = below(2) ? on_size : NULL;
    const lp_backend_t *backend = below(3) ? &fake_backend : fake_killable();
    if (lp_manager_create(&w.manager, w.host.rt, backend, &options) != 0)
        w.manager = NULL;
}

static void acquire(place_t *place)
{
    lp_acquire_options_t options;
    lp_acquire_options_init(&options);
    options.owner = below(2) ? "walker" : NULL;
    options.timeout_ns = below(4) ? below(150) : LP_FOREVER;
    options.lease_ns = below(2) ? below(300) : 0;
    options.on_soft_expiry = below(2) ? on_soft : NULL;
    options.soft_data = place;
    if (below(2)) {
        lp_lease_t *lease = NULL;
        int rc = lp_try_acquire(w.manager, &options, &lease);
        ASSERT_ONE_OF(rc, LP_EUNAVAILABLE, LP_ENOTSTARTED);
        assert_true((rc == 0) == (lease != NULL));
        if (lease)
            *place = (place_t){.lease = lease};
        return;
    }
    asker_t *asker = &w.askers[below(WAITS)];
    uint64_t number = ++w.asked;
    int rc = lp_acquire(w.manager, &asker->req, &options, on_lease);
    assert_true((rc == LP_ESTATE) == (asker->active && rc != LP_ENOTSTARTED));
    ASSERT_ONE_OF(rc, LP_EUNAVAILABLE, LP_ENOTSTARTED, LP_ESTATE);
    if (rc == 0) {
        asker->place = place;
        asker->number = number;
        asker->generation = w.generation;
        asker->active = true;
    }
}

static void use_lease(place_t *place)
{
    lp_lease_t *lease = place->lease;
    work_t *one = &w.works[below(JOBS)];
    int rc;
    switch (lp_lease_state(lease) > LP_LEASE_GRACE && below(2) ? 1 : below(12)) {
    case 0:
        assert_int_equal(lp_release(lease), 0);
        break;
    case 1:
        place->lease = NULL;
        lp_lease_close(lease);
        break;
    case 2:
        rc = lp_lease_renew(lease, below(200));
        assert_int_equal(rc, lp_lease_state(lease) <= LP_LEASE_GRACE ? 0 : LP_EEXPIRED);
        break;
    default:
        if (!one->active)
            one->runs = one->seen = 0;
        rc = lp_submit_within(lease, &one->job, below(2) ? below(150) : LP_FOREVER, work, on_done);
        assert_true((rc == LP_ESTATE) == one->active);
        ASSERT_ONE_OF(rc, LP_EEXPIRED, LP_EQUEUEFULL, LP_EBROKEN, LP_ESTATE);
        one->active |= rc == 0;
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
    if (below(100) == 0) /* for a while nobody finishes */
        w.stuck = !w.stuck;
    if (below(2))
        (void)fake_take(executor);
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next)
        if (!w.stuck && below(fake_is_lost(fake_worker(at)) ? 8 : 2))
            fake_finish_worker(fake_worker(at));
}

static void stop_manager(void)
{
    stopper_t *stopper = &w.stoppers[below(STOPS)];
    lp_stop_t *req = below(3) ? &stopper->req : NULL;
    uint64_t timeout_ns = below(2) ? below(200) : LP_FOREVER;
    int rc = lp_manager_stop(w.manager, req, timeout_ns, req ? on_stopped : NULL);
    assert_int_equal(rc, req && stopper->active ? LP_ESTATE : 0);
    stopper->active |= req != NULL;
}

static void use_manager(void)
{
    place_t *place = &w.places[below(LEASES)];
    uint32_t what = below(100);
    if (!w.manager) {
        make_manager();
    } else if (what == 0) {
        stop_manager();
    } else if (what == 1 && below(2)) {
        lp_manager_close(w.manager);
        w.manager = NULL;
    } else if (what < 4) {
        assert_int_equal(lp_notify_scale_changed(w.manager), 0);
    } else if (what < 16) {
        ASSERT_ONE_OF(lp_manager_start(w.manager), LP_ESTATE);
    } else if (!place->lease) {
        acquire(place);
    }
}

static void let_time_pass(void)
{
    uint64_t ns = below(64) == 0 ? 1000 * below(40000) : below(20); /* pauses last 10 ms */
    if (w.depth == 0 && below(2))
        host_advance(&w.host, ns);
    else
        host_pass(&w.host, ns);
}

/* One with an open lease, mostly. */
static place_t *some_place(void)
{
    place_t *place = NULL;
    for (int tries = 0; tries < 8; tries++) {
        place = &w.places[below(LEASES)];
        if (place->lease && place->seen <= LP_LEASE_GRACE)
            break;
    }
    return place;
}

static void choose(void)
{
    place_t *place = some_place();
    lp__executor_t *executor;
    switch (below(16)) {
    case 0:
    case 1:
        let_time_pass();
        break;
    case 2:
        if (w.depth == 0)
            host_turn(&w.host);
        break;
    case 3:
        (void)lp_acquire_cancel(&w.askers[below(WAITS)].req);
        break;
    case 4:
        (void)lp_job_cancel(&w.works[below(JOBS)].job);
        break;
    case 5:
    case 6:
    case 7:
        move_workers();
        break;
    case 8:
        executor = below(3) == 0 ? some_executor() : NULL;
        if (executor)
            lp__executor_break(executor, "a random break");
        break;
    case 9:
    case 10:
    case 11:
        use_manager();
        break;
    default:
        if (place->lease)
            use_lease(place);
        else
            use_manager();
    }
}

static void step(void)
{
    bool faults = w.depth == 0 && below(16) == 0;
    if (faults) {
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 1 + below(3));
        fake.fail_starts = (int)below(2);
        fake.fail_with = UV_EAGAIN;
    }
    fake.lazy = below(4) != 0;
    fake.linger = below(8) == 0;
    choose();
    if (faults) {
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
        fake.fail_starts = 0;
    }
    check_everything();
}

/* One with workers that were not let go of. */
static lp_manager_t *some_manager_with_workers(void)
{
    lp__list_t *managers = &w.host.rt->managers;
    for (lp__list_t *at = managers->next; at != managers; at = at->next) {
        lp_manager_t *manager = LP__CONTAINER(at, lp_manager_t, link);
        for (lp__list_t *e = manager->executors.next; e != &manager->executors; e = e->next)
            if (!lp__list_empty(&LP__CONTAINER(e, lp__executor_t, all_link)->workers))
                return manager;
    }
    return NULL;
}

static void finish_all(void)
{
    for (lp_manager_t *manager; (manager = some_manager_with_workers()) != NULL;) {
        fake_finish_all(manager);
        assert_true(lp__runtime_turn(w.host.rt)); /* never without progress */
        host_turn(&w.host);
    }
}

/* Nobody finishes who need not. */
static void let_go_of_all(void)
{
    fake.on_ask = NULL;
    fake.on_kill = NULL;
    host_advance(&w.host, LP_SECOND);
    host_advance(&w.host, LP_SECOND);
    lp__list_t *managers = &w.host.rt->managers;
    for (lp__list_t *at = managers->next; at != managers; at = at->next)
        if (LP__CONTAINER(at, lp_manager_t, link)->backend->kill)
            fake_each(LP__CONTAINER(at, lp_manager_t, link), fake_die);
    host_advance(&w.host, LP_SECOND);
}

/* Whoever was accepted has been told. */
static void end_walk(void)
{
    w.depth = 100; /* callbacks do nothing more */
    for (size_t i = 0; i < LEASES; i++)
        lp_lease_close(w.places[i].lease);
    assert_int_equal(lp_runtime_close(w.host.rt, host_on_closed, &w.host), 0);
    fake.linger = false;
    w.stuck = false;
    if (below(2))
        finish_all();
    else
        let_go_of_all();
    fake_close(&w.host);
    w.told[19] += fake.detached > 0;
    for (size_t i = 0; i < WAITS; i++)
        assert_false(w.askers[i].active);
    for (size_t i = 0; i < JOBS; i++)
        assert_false(w.works[i].active);
    for (size_t i = 0; i < STOPS; i++)
        assert_false(w.stoppers[i].active);
}

static void walk(uint64_t seed)
{
    print_message("# seed %llu\n", (unsigned long long)seed);
    memset(&w, 0, sizeof w);
    w.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    fake_open(&w.host);
    fake.on_ask = on_ask;
    fake.on_kill = on_kill;
    lp_set_logger(w.host.rt, log_line, &w.log);
    for (int i = 0; i < STEPS; i++)
        step();
    end_walk();
}

static void whatever_is_called_and_whenever_the_accounts_agree(void **state)
{
    (void)state;
    const char *chosen = getenv("LEASEPOOL_SEED");
    int told[COUNT_OF(w.told)] = {0};
    if (chosen) {
        walk(strtoull(chosen, NULL, 10));
        return;
    }
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    for (uint64_t i = 0; i < WALKS; i++) {
        walk(i < WALKS - 1 ? 1 + i : uv_hrtime());
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
        for (size_t j = 0; j < COUNT_OF(told); j++)
            told[j] += w.told[j];
    }
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
    for (size_t i = 0; i < 19; i++) { /* the walks went everywhere */
        if (told[i] < 5)
            fail_msg("%zu: only %d", i, told[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_called_and_whenever_the_accounts_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
