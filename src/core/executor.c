/* executor.c - see executor.h. */
#include "core/executor.h"

#include "base/alloc.h"
#include "base/list.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"
#include "core/sizing.h"
#include "core/worker.h"

int lp__executor_create(lp__executor_t **out, lp_manager_t *manager)
{
    lp__executor_t *executor = lp__calloc(LP_MEM_CORE, sizeof *executor);
    if (!executor)
        return LP_ENOMEM;
    int rc = lp__queue_init(&executor->queue);
    if (rc != 0) {
        lp__free(executor);
        return rc;
    }
    executor->manager = manager;
    executor->backend = manager->backend;
    executor->id = ++manager->rt->next_executor;
    executor->max_workers = (uint32_t)manager->options.workers_per_pool;
    lp__list_init(&executor->link);
    lp__list_init(&executor->workers);
    rc = lp__worker_prestart(executor);
    if (rc != 0) {
        lp__queue_destroy(&executor->queue);
        lp__free(executor);
        return rc;
    }
    lp__list_push_back(&manager->executors, &executor->all_link);
    manager->executor_count++;
    manager->created++;
    *out = executor;
    return 0;
}

/* Workers that can take a job now: some may be busy with a state that was, or will be. */
static uint32_t count_ready(const lp__executor_t *executor)
{
    uint32_t ready = lp__executor_usable(executor);
    if (!executor->backend->fresh_states && executor->manager->options.max_tasks_per_worker == 0)
        return ready;
    for (const lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        const lp__desk_t *desk = &LP__CONTAINER(at, lp__worker_t, link)->desk;
        ready -= lp__desk_is_held(desk) && !lp__load_relaxed(&desk->node);
    }
    return ready;
}

int lp__executor_submit(lp__executor_t *executor, lp_job_t *job)
{
    if (lp__queue_full(&executor->queue, (uint64_t)executor->manager->options.max_queue))
        return LP_EQUEUEFULL;
    if (executor->worker_count < executor->max_workers &&
        executor->in_flight >= count_ready(executor)) {
        int rc = lp__worker_create(executor);
        if (rc == LP_ENOMEM && lp__executor_usable(executor) == 0)
            return rc;
        if (rc != 0 &&
            lp__executor_usable(executor) == 0) { /* with others alive it only waits longer */
            lp__executor_break(executor, lp__executor_why(executor));
            return LP_EBROKEN;
        }
    }
    executor->in_flight++;
    if (lp__queue_push(&executor->queue, &job->priv.node, lp__executor_usable(executor)))
        executor->backend->wake(executor);
    return 0;
}

uint64_t lp__executor_end_queued(lp__executor_t *executor, int status)
{
    lp__node_t *node = lp__queue_remove_all(&executor->queue);
    uint64_t count = 0;
    while (node) {
        lp__node_t *next = node->next;
        node->status = status;
        lp__inbox_post(executor->manager->rt->inbox, node);
        node = next;
        count++;
    }
    if (executor->backend->withdraw_all)
        count += executor->backend->withdraw_all(executor, status);
    return count;
}

/* ---- Ending ------------------------------------------------------------------- */

void lp__executor_free(lp__executor_t *executor)
{
    lp__list_remove(&executor->link);
    lp__list_remove(&executor->all_link);
    lp__queue_destroy(&executor->queue);
    lp__free(executor);
}

static void free_when_gone(lp__executor_t *executor)
{
    lp_manager_t *manager = executor->manager;
    if (!executor->ending || executor->worker_count > 0 || executor->in_flight > 0)
        return;
    lp__executor_free(executor);
    lp__manager_executor_ended(manager);
}

void lp__executor_job_done(lp__executor_t *executor)
{
    executor->in_flight--;
    free_when_gone(executor);
}

void lp__executor_worker_gone(lp__executor_t *executor)
{
    executor->worker_count--;
    free_when_gone(executor);
}

void lp__executor_worker_lost(lp__executor_t *executor)
{
    if (executor->ending || (executor->lease && lp__executor_usable(executor) > 0))
        return;
    executor->proved = true; /* it has run a job, only too long */
    if (!executor->lease)
        lp__executor_break(executor, "what a job has left behind cannot be stopped");
    else if (executor->lost_count == executor->max_workers)
        lp__executor_break(executor, "all of its workers run what cannot be stopped");
    else if (lp__queue_length(&executor->queue) > 0 && lp__worker_create(executor) != 0)
        lp__executor_break(executor, lp__executor_why(executor));
}

void lp__executor_end(lp__executor_t *executor)
{
    if (executor->ending)
        return;
    executor->ending = true;
    lp__queue_stop(&executor->queue);
    executor->backend->stop(executor);
    free_when_gone(executor);
}

void lp__executor_break(lp__executor_t *executor, const char *reason)
{
    lp_manager_t *manager = executor->manager;
    if (executor->ending) { /* it retires already, and nothing new comes */
        lp__executor_end_queued(executor, LP_EBROKEN);
        return;
    }
    lp__runtime_log(manager->rt, manager, LP_LOG_WARN, "executor %u broke: %s", executor->id,
                    reason);
    if (!executor->proved)
        lp__sizing_failed(manager);
    manager->busy++;
    if (executor->lease) {
        lp__lease_break(executor->lease, reason);
    } else {
        lp__list_remove(&executor->link);
        manager->available_count--;
        lp__executor_end(executor);
    }
    lp__sizing_arrange(manager);
    lp__manager_leave(manager);
}
