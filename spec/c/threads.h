/* threads.h - a grinder, and threads beside the loop. */
#ifndef SPEC_C_THREADS_H
#define SPEC_C_THREADS_H

#include "support.h"

#include "core/grinder.h"
#include "core/handle.h"

#define MS LP_MILLISECOND
#define HOUR (3600 * LP_SECOND)

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SLOWER = 4 };
#else
enum { SLOWER = 1 };
#endif

/* An assertion of another thread: cmocka's would jump out of the wrong one. */
static atomic_int wrong;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition) && lp__add_relaxed(&wrong, 1) < 20)                                       \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
    } while (0)

typedef struct {
    host_t host;
    lp_manager_t *manager;
    lp_grinder_t *grinder;
    lp_handle_t *handle; /* the grinder's */
    uv_async_t news;     /* keeps the loop alive; somebody has left */
} fixture_t;

static inline void ignore_log(void *data, lp_manager_t *manager, lp_log_level_t level,
                              const char *text)
{
    (void)data;
    (void)manager;
    (void)level;
    (void)text;
}

static inline void on_news(uv_async_t *async)
{
    (void)async;
}

/* Batches of `threshold` jobs, or of those that have waited so long. Who cannot be stopped is
 * given up after `exit_ns`. */
static inline void open_with(fixture_t *f, int64_t threshold, uint64_t wait_ns, uint64_t exit_ns)
{
    lp_manager_options_t options;
    lp_grinder_options_t grinder;
    memset(f, 0, sizeof *f);
    lp__store_relaxed(&wrong, 0);
    host_open(&f->host);
    lp_set_logger(f->host.rt, ignore_log, NULL);
    lp_manager_options_init(&options);
    options.max_pools = 2;
    options.workers_per_pool = 2;
    options.interrupt_grace_ns = MS;
    options.exit_grace_ns = exit_ns;
    assert_int_equal(lp_manager_create(&f->manager, f->host.rt, lp_backend_thread(), &options), 0);
    assert_int_equal(lp_manager_start(f->manager), 0);
    lp_grinder_options_init(&grinder);
    grinder.batch_size_threshold = threshold;
    grinder.max_wait_ns = wait_ns;
    assert_int_equal(lp_grinder_create(&f->grinder, f->manager, &grinder), 0);
    assert_int_equal(lp_grinder_start(f->grinder), 0);
    assert_int_equal(lp_grinder_handle(f->grinder, &f->handle), 0);
    assert_int_equal(uv_async_init(&f->host.loop, &f->news, on_news), 0);
}

static inline void open_quick(fixture_t *f)
{
    open_with(f, 20, MS, LP_SECOND);
}

/* Its jobs wait until somebody stops it. */
static inline void open_slow(fixture_t *f)
{
    open_with(f, 1000000, HOUR, LP_SECOND);
}

static inline void close_all(fixture_t *f)
{
    uv_close((uv_handle_t *)&f->news, NULL);
    host_close(&f->host);
    lp_handle_release(f->handle);
    assert_int_equal(lp__load_relaxed(&wrong), 0);
}

typedef struct crowd_s crowd_t;

typedef struct {
    crowd_t *crowd;
    int number; /* from 0 */
    uv_thread_t thread;
} member_t;

enum { CROWD = 8 };

struct crowd_s {
    fixture_t *f;
    void (*work)(member_t *);
    void *data;
    uv_barrier_t start;
    atomic_int present, begun; /* begun: what the members count there themselves */
    int size;
    member_t members[CROWD];
};

static inline void enter_crowd(void *data)
{
    member_t *member = data;
    crowd_t *crowd = member->crowd;
    uv_barrier_wait(&crowd->start);
    crowd->work(member);
    lp__add_relaxed(&crowd->present, -1);
    uv_async_send(&crowd->f->news);
}

static inline void crowd_begin(crowd_t *crowd, fixture_t *f, int size, void (*work)(member_t *),
                               void *data)
{
    memset(crowd, 0, sizeof *crowd);
    crowd->f = f;
    crowd->work = work;
    crowd->data = data;
    crowd->size = size;
    lp__store_relaxed(&crowd->present, size);
    assert_int_equal(uv_barrier_init(&crowd->start, (unsigned)size), 0);
    for (int i = 0; i < size; i++) {
        crowd->members[i] = (member_t){.crowd = crowd, .number = i};
        assert_int_equal(
            uv_thread_create(&crowd->members[i].thread, enter_crowd, &crowd->members[i]), 0);
    }
}

/* Runs the loop until all have left. */
static inline void crowd_end(crowd_t *crowd)
{
    while (lp__load_relaxed(&crowd->present) > 0)
        uv_run(&crowd->f->host.loop, UV_RUN_ONCE);
    for (int i = 0; i < crowd->size; i++)
        assert_int_equal(uv_thread_join(&crowd->members[i].thread), 0);
    uv_barrier_destroy(&crowd->start);
}

/* Runs the loop until the members have counted so far. */
static inline void crowd_until(crowd_t *crowd, int count)
{
    while (lp__load_relaxed(&crowd->begun) < count)
        uv_run(&crowd->f->host.loop, UV_RUN_ONCE);
}

static inline void crowd_told(crowd_t *crowd)
{
    lp__add_relaxed(&crowd->begun, 1);
    uv_async_send(&crowd->f->news);
}

/* One thread, while the loop is run. */
static inline void elsewhere(fixture_t *f, void (*work)(member_t *), void *data)
{
    crowd_t crowd;
    crowd_begin(&crowd, f, 1, work, data);
    crowd_end(&crowd);
    assert_int_equal(lp__load_relaxed(&wrong), 0);
}

/* One thread, while the loop is not. */
static inline void alone(fixture_t *f, void (*work)(member_t *), void *data)
{
    crowd_t crowd;
    crowd_begin(&crowd, f, 1, work, data);
    assert_int_equal(uv_thread_join(&crowd.members[0].thread), 0);
    uv_barrier_destroy(&crowd.start);
    assert_int_equal(lp__load_relaxed(&wrong), 0);
}

static inline void count_up(lp_job_t *job)
{
    lp__add_relaxed((atomic_int *)job->data, 1);
}

/* A job that counts itself. */
static inline lp_ticket_t *submit(lp_handle_t *handle, atomic_int *runs)
{
    lp_ticket_t *ticket = NULL;
    CHECK(lp_grinder_submit_from_thread(handle, &ticket, LP_FOREVER, count_up, runs) == 0);
    return ticket;
}

static inline int status_of(lp_ticket_t *ticket)
{
    int status = 1;
    CHECK(lp_ticket_wait(ticket, LP_FOREVER, &status) == 0);
    CHECK(lp_ticket_has_ended(ticket));
    return status;
}

static inline void check_grinder(const lp_grinder_stats_t *s)
{
    CHECK(s->pending >= 0 && s->in_flight >= 0 && s->running >= 0 && s->waiting >= 0);
    CHECK(s->items == (uint64_t)(s->pending + s->in_flight) + s->done + s->failed + s->cancelled);
}

/* ---- One ticket --------------------------------------------------------------- */

typedef struct {
    lp_ticket_t *ticket;
    atomic_int runs;
    int status;
} one_t;

static inline void submit_one(member_t *member)
{
    one_t *one = member->crowd->data;
    one->ticket = submit(member->crowd->f->handle, &one->runs);
}

static inline void wait_for_one(member_t *member)
{
    one_t *one = member->crowd->data;
    one->status = status_of(one->ticket);
}

#endif
