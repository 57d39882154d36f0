/* test_core.c - what keeps the loop alive, threads, the inbox, the queue. */
#include "support.h"

#include "base/spin.h"
#include "core/inbox.h"
#include "core/queue.h"

/* ---- Liveness and deadlines --------------------------------------------------- */

static void an_idle_runtime_does_not_keep_the_loop_alive(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    lp_manager_t *manager = manager_of(&host, 2, 2);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0); /* started */
    lp_lease_t *lease = lease_of(manager);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0); /* leased */
    task_t task = {0};
    assert_int_equal(task_submit(&task, lease), 0);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0); /* back when the job was */
    assert_int_equal(task.calls, 1);
    assert_int_equal(lp_release(lease), 0);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    host_close(&host);
}

static void a_waiter_a_job_and_a_stop_keep_the_loop_alive(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    wait_t waiter;
    assert_false(uv_loop_alive(&host.loop));
    assert_int_equal(wait_begin(&waiter, manager, LP_FOREVER), 0);
    assert_true(uv_loop_alive(&host.loop));
    assert_int_equal(lp_acquire_cancel(&waiter.req), 0);
    assert_true(uv_loop_alive(&host.loop)); /* until the callback */
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(waiter.calls, 1);

    gate_t gate;
    gate_shut(&gate, lease);
    assert_true(uv_loop_alive(&host.loop));
    gate_open(&gate);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(gate.task.calls, 1);

    stop_t stop;
    assert_int_equal(stop_begin(&stop, manager), 0);
    assert_true(uv_loop_alive(&host.loop));
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(stop.calls, 1);
    host_close(&host);
    gate_destroy(&gate);
}

static void a_timeout_ends_a_loop_that_nothing_else_wakes(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lease_of(manager);
    wait_t late, soon, next;
    uint64_t begun_ns = lp__clock_now_ns(&host.rt->clock);
    assert_int_equal(wait_begin(&late, manager, 3600 * LP_SECOND), 0);
    assert_int_equal(wait_begin(&next, manager, 4 * LP_MILLISECOND), 0);
    assert_int_equal(wait_begin(&soon, manager, 2 * LP_MILLISECOND), 0); /* moves the timer */
    host_until(&host, &soon.calls, 1);
    assert_true(lp__clock_now_ns(&host.rt->clock) - begun_ns >= 2 * LP_MILLISECOND);
    host_until(&host, &next.calls, 1);
    assert_true(lp__clock_now_ns(&host.rt->clock) - begun_ns >= 4 * LP_MILLISECOND);
    assert_int_equal(soon.status, LP_ETIMEDOUT);
    assert_int_equal(next.status, LP_ETIMEDOUT);
    assert_true(soon.order < next.order);
    assert_int_equal(late.calls, 0);
    assert_int_equal(lp_acquire_cancel(&late.req), 0);
    assert_int_equal(uv_run(&host.loop, UV_RUN_DEFAULT), 0); /* not for an hour */
    host_close(&host);
}

/* ---- Threads ------------------------------------------------------------------ */

typedef struct {
    lp_runtime_t *rt;
    lp_manager_t *manager;
    lp_lease_t *lease;
    lp_acquire_t *req;
    lp_job_t *job;
    int wrong, calls;
} stranger_t;

static void call_everything(void *arg)
{
    stranger_t *s = arg;
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = 1;
    lp_manager_t *manager;
    lp_manager_stats_t counts;
    lp_lease_t *lease;
    lp_acquire_t req;
    lp_stop_t stop;
    lp_job_t job = {0};
    const int answers[] = {
        lp_runtime_close(s->rt, NULL, NULL),
        lp_manager_create(&manager, s->rt, lp_backend_thread(), &options),
        lp_manager_start(s->manager),
        lp_manager_stop(s->manager, &stop, LP_FOREVER, NULL),
        lp_manager_stats(s->manager, &counts),
        lp_acquire(s->manager, &req, NULL, wait_done),
        lp_try_acquire(s->manager, NULL, &lease),
        lp_acquire_cancel(s->req),
        lp_submit(s->lease, &job, task_run, NULL),
        lp_job_cancel(s->job),
        lp_release(s->lease),
    };
    lp_lease_close(s->lease);
    lp_manager_close(s->manager);
    for (size_t i = 0; i < COUNT_OF(answers); i++, s->calls++)
        s->wrong += answers[i] != LP_EWRONGTHREAD;
}

static void calls_from_another_thread_are_refused_and_change_nothing(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    wait_t waiter;
    assert_int_equal(wait_begin(&waiter, manager, LP_FOREVER), 0);
    gate_t gate;
    gate_shut(&gate, lease);
    task_t queued = {0};
    assert_int_equal(task_submit(&queued, lease), 0);
    stranger_t stranger = {
        .rt = host.rt, .manager = manager, .lease = lease, .req = &waiter.req, .job = &queued.job};
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, call_everything, &stranger), 0);
    uv_thread_join(&thread);
    assert_int_equal(stranger.calls, 11);
    assert_int_equal(stranger.wrong, 0);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_ACTIVE);
    assert_int_equal(counts_of(manager).waiters, 1);
    assert_int_equal(counts_of(manager).queued, 1);
    gate_open(&gate);
    host_until(&host, &queued.calls, 1);
    assert_int_equal(queued.status, 0);
    host_close(&host);
    gate_destroy(&gate);
}

enum { LOOP_JOBS = 2000 };

typedef struct {
    host_t host;
    lp_manager_t *manager;
    lp_lease_t *lease;
    task_t tasks[20];
    int done, errors;
    stop_t stop;
} loop_thread_t;

static void resubmit_until_enough(lp_job_t *job, int status)
{
    loop_thread_t *t = job->data;
    t->errors += status != 0;
    if (++t->done + (int)COUNT_OF(t->tasks) <= LOOP_JOBS)
        t->errors += lp_submit(t->lease, job, task_run, resubmit_until_enough) != 0;
}

static void run_a_loop(void *arg) /* no assertions here: cmocka's jump stays on its thread */
{
    loop_thread_t *t = arg;
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = 1;
    options.workers_per_pool = 2;
    t->errors += uv_loop_init(&t->host.loop) != 0;
    t->errors += lp_runtime_create(&t->host.rt, &t->host.loop) != 0;
    t->errors += lp_manager_create(&t->manager, t->host.rt, lp_backend_thread(), &options) != 0;
    t->errors += lp_manager_start(t->manager) != 0;
    t->errors += lp_try_acquire(t->manager, NULL, &t->lease) != 0;
    for (size_t i = 0; i < COUNT_OF(t->tasks); i++) {
        t->tasks[i].job.data = t;
        t->errors += lp_submit(t->lease, &t->tasks[i].job, task_run, resubmit_until_enough) != 0;
    }
    t->errors += uv_run(&t->host.loop, UV_RUN_DEFAULT) != 0;
    t->errors += lp_runtime_close(t->host.rt, host_on_closed, &t->host) != 0;
    t->errors += uv_run(&t->host.loop, UV_RUN_DEFAULT) != 0;
    t->errors += !t->host.closed;
    t->errors += uv_loop_close(&t->host.loop) != 0;
}

static void two_runtimes_on_two_threads_do_not_meet(void **state)
{
    (void)state;
    static loop_thread_t threads[2];
    uv_thread_t ids[2];
    memset(threads, 0, sizeof threads);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(uv_thread_create(&ids[i], run_a_loop, &threads[i]), 0);
    for (size_t i = 0; i < 2; i++)
        uv_thread_join(&ids[i]);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(threads[i].errors, 0);
        assert_int_equal(threads[i].done, LOOP_JOBS);
    }
}

/* ---- Inbox -------------------------------------------------------------------- */

enum { PRODUCERS = 4, POSTS = 20000 };

typedef struct {
    lp__node_t node;
    uint32_t producer, number;
} letter_t;

typedef struct {
    lp__inbox_t *inbox;
    uint32_t producer;
    letter_t *letters;
} producer_t;

typedef struct {
    lp__inbox_t *inbox;
    uint32_t next[PRODUCERS];
    int taken, disorder;
} consumer_t;

static void produce(void *arg)
{
    producer_t *p = arg;
    for (uint32_t i = 0; i < POSTS; i++) {
        p->letters[i].producer = p->producer;
        p->letters[i].number = i;
        lp__inbox_post(p->inbox, &p->letters[i].node);
    }
    lp__inbox_release(p->inbox);
}

/* As a turn does: what comes while it works wakes nobody. */
static void consume(uv_async_t *async)
{
    consumer_t *c = async->data;
    lp__inbox_poll_begin(c->inbox);
    lp__node_t *node = lp__inbox_take(c->inbox);
    for (; node; node = node->next, c->taken++) {
        letter_t *letter = (letter_t *)(void *)node;
        c->disorder += letter->number != c->next[letter->producer]++;
    }
    lp__inbox_poll_end(c->inbox);
    if (lp__inbox_ready(c->inbox))
        lp__inbox_wake(c->inbox);
}

static void set_flag(void *data)
{
    *(bool *)data = true;
}

static void no_letter_of_many_producers_is_lost_or_out_of_order(void **state)
{
    (void)state;
    uv_loop_t loop;
    consumer_t consumer = {0};
    producer_t producers[PRODUCERS];
    uv_thread_t threads[PRODUCERS];
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(lp__inbox_create(&consumer.inbox, &loop, consume, &consumer), 0);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        letter_t *letters = calloc(POSTS, sizeof *letters);
        producers[i] = (producer_t){consumer.inbox, i, letters};
        lp__inbox_retain(consumer.inbox);
        assert_int_equal(uv_thread_create(&threads[i], produce, &producers[i]), 0);
    }
    while (consumer.taken < PRODUCERS * POSTS) /* a lost wake-up hangs here */
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(consumer.disorder, 0);
    assert_null(lp__inbox_take(consumer.inbox));
    bool closed = false;
    lp__inbox_close(consumer.inbox, set_flag, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(closed);
    for (size_t i = 0; i < PRODUCERS; i++) {
        uv_thread_join(&threads[i]);
        free(producers[i].letters);
    }
    lp__inbox_release(consumer.inbox);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void a_post_after_the_runtime_closed_touches_no_loop(void **state)
{
    (void)state;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    host_t host;
    host_open(&host);
    lp__inbox_t *inbox = host.rt->inbox;
    lp__inbox_retain(inbox); /* as a worker that comes back late */
    host_close(&host);
    memset(&host.loop, 0x55, sizeof host.loop);
    assert_int_equal(lp__load_relaxed(&live_blocks) - before, 1);

    letter_t *letters = calloc(POSTS, sizeof *letters);
    producer_t late = {inbox, 0, letters};
    uv_thread_t thread;
    assert_int_equal(uv_thread_create(&thread, produce, &late), 0);
    uv_thread_join(&thread); /* it dropped the last reference */
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
    free(letters);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

/* ---- Queue -------------------------------------------------------------------- */

typedef struct {
    lp__queue_t queue;
    atomic_int taken;
} eater_t;

static void eat(void *arg)
{
    eater_t *eater = arg;
    lp__desk_t desk = {.nudges = 0};
    lp__node_t *node;
    while (lp__queue_take(&eater->queue, &desk, &node) != LP__STOPPED) {
        lp__desk_ready(&desk);
        assert_true(lp__desk_clear(&desk));
        atomic_fetch_add(&eater->taken, 1); /* hands the node back */
    }
}

/* Each push meets the worker on its way to sleep, at another place each time. */
static void a_worker_that_falls_asleep_misses_no_push(void **state)
{
    (void)state;
    enum { ROUNDS = 20000 };
    static eater_t eater;
    lp__node_t node = {0};
    uv_thread_t thread;
    lp__spin_enable(false);
    memset(&eater, 0, sizeof eater);
    assert_int_equal(lp__queue_init(&eater.queue), 0);
    assert_int_equal(uv_thread_create(&thread, eat, &eater), 0);
    uint64_t end_ns = uv_hrtime() + 60 * LP_SECOND;
    for (int round = 1; round <= ROUNDS; round++) {
        for (int i = round % 64; i > 0; i--)
            lp__cpu_relax();
        if (lp__queue_push(&eater.queue, &node, 1))
            lp__queue_wake(&eater.queue);
        while (lp__load_acquire(&eater.taken) < round)
            if (uv_hrtime() > end_ns)
                fail_msg("push %d was never taken", round);
    }
    assert_int_equal(lp__queue_length(&eater.queue), 0);
    lp__queue_stop(&eater.queue);
    uv_thread_join(&thread);
    lp__queue_destroy(&eater.queue);
    lp__spin_enable(true);
}

static void while_one_naps_a_push_wakes_nobody_unless_all_sleep(void **state)
{
    (void)state;
    static const struct {
        unsigned sleeping, workers;
        bool napping, waking, wakes;
    } cases[] = {
        {0, 1, false, false, false}, {1, 1, false, false, true}, {1, 2, false, false, true},
        {1, 2, true, false, false},  {1, 1, true, false, true},  {2, 3, true, false, false},
        {2, 2, true, false, true},   {2, 3, false, true, false}, {1, 1, true, true, false},
    };
    lp__queue_t queue;
    lp__desk_t desk = {.nudges = 0};
    assert_int_equal(lp__queue_init(&queue), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lp__node_t node = {0};
        lp__store_relaxed(&queue.sleeping, cases[i].sleeping);
        lp__store_relaxed(&queue.napping, cases[i].napping);
        lp__store_relaxed(&queue.waking, cases[i].waking);
        assert_int_equal(lp__queue_push(&queue, &node, cases[i].workers), cases[i].wakes);
        assert_ptr_equal(lp__queue_try_take(&queue, &desk), &node);
    }
    lp__queue_destroy(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_runtime_does_not_keep_the_loop_alive),
        cmocka_unit_test(a_waiter_a_job_and_a_stop_keep_the_loop_alive),
        cmocka_unit_test(a_timeout_ends_a_loop_that_nothing_else_wakes),
        cmocka_unit_test(calls_from_another_thread_are_refused_and_change_nothing),
        cmocka_unit_test(two_runtimes_on_two_threads_do_not_meet),
        cmocka_unit_test(no_letter_of_many_producers_is_lost_or_out_of_order),
        cmocka_unit_test(a_post_after_the_runtime_closed_touches_no_loop),
        cmocka_unit_test(a_worker_that_falls_asleep_misses_no_push),
        cmocka_unit_test(while_one_naps_a_push_wakes_nobody_unless_all_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
