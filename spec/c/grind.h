/* grind.h - what the tests of grinders share: a grinder over the fake backend, and what holds of
 * one at any moment. */
#ifndef SPEC_C_GRIND_H
#define SPEC_C_GRIND_H

#include "fake.h"

#include "core/grinder.h"

static inline lp_grinder_stats_t grinder_counts(lp_grinder_t *grinder)
{
    lp_grinder_stats_t counts;
    assert_int_equal(lp_grinder_stats(grinder, &counts), 0);
    return counts;
}

static inline int64_t list_length(const lp__list_t *list)
{
    int64_t length = 0;
    for (const lp__list_t *at = list->next; at != list; at = at->next)
        length++;
    return length;
}

/* Each pending job is in a wave, and only the last wave may have none. */
static inline void assert_waves(lp_grinder_t *grinder)
{
    int64_t waiting = 0, jobs = 0;
    uint64_t since_ns = 0;
    lp__list_t *waves = &grinder->waves;
    for (lp__list_t *at = waves->next; at != waves; at = at->next) {
        const lp__wave_t *wave = LP__CONTAINER(at, lp__wave_t, link);
        assert_ptr_equal(wave->grinder, grinder);
        assert_true(wave->count > 0 || at->next == waves);
        assert_true(wave->since_ns >= since_ns);
        since_ns = wave->since_ns;
        waiting += (int64_t)wave->count;
    }
    for (lp__node_t *at = grinder->pending.next; at != &grinder->pending; at = at->next) {
        assert_true(lp__job_is_pending(lp__job_of(at)));
        assert_ptr_equal(lp__job_wave(lp__job_of(at))->grinder, grinder);
        jobs++;
    }
    assert_int_equal(grinder->pending_count, waiting);
    assert_int_equal(grinder->pending_count, jobs);
}

/* Whoever is pending is thought of. */
static inline void assert_batch_to_come(lp_grinder_t *grinder)
{
    const lp_grinder_options_t *options = &grinder->options;
    const lp__node_t *first = grinder->pending.next;
    const lp__heap_node_t *deadline = &grinder->batch.deadline.node;
    int64_t batches = grinder->batch.waiting_count + grinder->batch.running_count;
    assert_true(batches <= options->max_batches);
    if (first == &grinder->pending) {
        assert_int_equal(grinder->batch.waiting_count, 0);
        return;
    }
    if (grinder->batch.waiting_count > 0 || batches == options->max_batches)
        return;
    assert_int_not_equal(grinder->state, LP__GRINDER_STOPPING);
    assert_true(grinder->pending_count < options->batch_size_threshold);
    assert_true(
        !lp__list_empty(&grinder->batch.due.link) ||
        (deadline->linked &&
         deadline->key <= lp__clock_after(lp__grinder_oldest_ns(grinder), options->max_wait_ns)));
}

/* What holds of a grinder at any moment; its statistics, for the caller to look at. */
static inline lp_grinder_stats_t assert_grinder(lp_grinder_t *grinder)
{
    lp_grinder_stats_t s = grinder_counts(grinder);
    int64_t in_flight = 0;
    lp__list_t *leases = &grinder->manager->leases;
    for (lp__list_t *at = leases->next; at != leases; at = at->next) {
        const lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        char owner[300];
        snprintf(owner, sizeof owner, "%s-batch-", grinder->owner_prefix);
        if (lease->batch && strncmp(lease->owner, owner, strlen(owner)) == 0)
            in_flight += lease->in_flight;
    }
    assert_true(s.pending >= 0 && s.in_flight >= 0);
    assert_int_equal(s.items,
                     (uint64_t)(s.pending + s.in_flight) + s.done + s.failed + s.cancelled);
    assert_int_equal(s.in_flight, in_flight);
    assert_int_equal(s.running, list_length(&grinder->batch.running));
    assert_int_equal(s.waiting, list_length(&grinder->batch.waiting));
    assert_true(s.pending <= grinder->options.max_pending);
    assert_true(s.running <= s.in_flight);
    if (grinder->manager->state != LP__MANAGER_RUNNING)
        assert_int_equal(s.pending, 0);
    assert_true(s.pending > 0 || s.oldest_wait_ns == 0);
    assert_false(s.started && s.stopping);
    if (!s.started && !s.stopping)
        assert_int_equal(s.pending + s.running + s.waiting, 0);
    assert_waves(grinder);
    assert_batch_to_come(grinder);
    return s;
}

/* ---- A grinder ---------------------------------------------------------------- */

typedef struct {
    host_t host;
    lp_manager_t *manager;
    lp_grinder_t *grinder;
} mill_t;

static inline lp_grinder_options_t grind_options(int64_t threshold)
{
    lp_grinder_options_t options;
    lp_grinder_options_init(&options);
    options.batch_size_threshold = threshold;
    return options;
}

static inline lp_grinder_t *grinder_with(lp_manager_t *manager, const lp_grinder_options_t *options)
{
    lp_grinder_t *grinder = NULL;
    assert_int_equal(lp_grinder_create(&grinder, manager, options), 0);
    assert_int_equal(lp_grinder_start(grinder), 0);
    return grinder;
}

static inline void mill_open_with(mill_t *mill, const lp_manager_options_t *manager,
                                  const lp_grinder_options_t *grinder)
{
    fake_open(&mill->host);
    mill->manager = fake_manager_with(&mill->host, manager);
    mill->grinder = grinder_with(mill->manager, grinder);
}

/* Its workers run what they get when the test says so. */
static inline void mill_open(mill_t *mill, int64_t pools, int64_t workers, int64_t threshold)
{
    lp_manager_options_t options = fake_options(pools, workers);
    lp_grinder_options_t grinder = grind_options(threshold);
    mill_open_with(mill, &options, &grinder);
    fake.lazy = true;
}

static inline void mill_close(mill_t *mill)
{
    fake.lazy = false;
    fake_close(&mill->host);
}

static inline int grind(mill_t *mill, task_t *task, uint64_t timeout_ns)
{
    int calls = task->calls;
    int rc = lp_grinder_submit(mill->grinder, &task->job, timeout_ns, task_run, task_done);
    assert_int_equal(task->calls, calls); /* later, if at all */
    (void)assert_grinder(mill->grinder);
    return rc;
}

static inline void grind_all(mill_t *mill, task_t *tasks, size_t count)
{
    memset(tasks, 0, count * sizeof *tasks);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(grind(mill, &tasks[i], LP_FOREVER), 0);
}

/* So many of them have been told of their end, each once and with this. */
static inline size_t told(const task_t *tasks, size_t count, int status)
{
    size_t number = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(tasks[i].calls <= 1);
        number += tasks[i].calls == 1 && tasks[i].status == status;
    }
    return number;
}

static inline lp__executor_t *executor_of(lp_manager_t *manager, int index)
{
    lp__list_t *at = manager->executors.next;
    while (index-- > 0)
        at = at->next;
    assert_ptr_not_equal(at, &manager->executors);
    return LP__CONTAINER(at, lp__executor_t, all_link);
}

/* Everything that workers have is run, and told of. */
static inline void mill_run(mill_t *mill)
{
    do {
        lp__list_t *executors = &mill->manager->executors;
        for (lp__list_t *at = executors->next; at != executors; at = at->next)
            fake_work(LP__CONTAINER(at, lp__executor_t, all_link));
    } while (lp__runtime_turn(mill->host.rt));
    (void)assert_grinder(mill->grinder);
}

static inline int grinder_stop(stop_t *stop, lp_grinder_t *grinder, uint64_t timeout_ns)
{
    memset(stop, 0, sizeof *stop);
    int rc = lp_grinder_stop(grinder, &stop->req, timeout_ns, stop_done);
    assert_int_equal(stop->calls, 0);
    return rc;
}

#endif
