/* manager.c - see manager.h and leasepool.h. */
#include "core/manager.h"

#include <string.h>

#include "base/alloc.h"
#include "core/acquire.h"
#include "core/lease.h"
#include "core/options.h"
#include "core/runtime.h"

int lp_manager_create(lp_manager_t **out, lp_runtime_t *rt, const lp_backend_t *backend,
                      const lp_manager_options_t *given)
{
    if (!rt)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(rt);
    if (rc != 0)
        return rc;
    if (!out || !backend || !given)
        return lp__runtime_invalid(rt, "%s: got NULL, allowed: a pointer",
                                   !out ? "manager" : (!backend ? "backend" : "options"));
    if (given->size == 0)
        return lp__runtime_invalid(
            rt, "options.size: got 0, allowed: what lp_manager_options_init sets");
    if (rt->closing)
        return LP_ESTATE;
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    lp__options_copy(&options, sizeof options, given, given->size);
    rc = lp__manager_options_check(&options, rt->last_error, sizeof rt->last_error);
    if (rc != 0)
        return rc;
    lp_manager_t *manager = lp__calloc(LP_MEM_CORE, sizeof *manager);
    if (!manager)
        return LP_ENOMEM;
    size_t prefix_size = strlen(options.name_prefix) + 1;
    manager->name_prefix = lp__malloc(LP_MEM_CORE, prefix_size);
    if (!manager->name_prefix) {
        lp__free(manager);
        return LP_ENOMEM;
    }
    memcpy(manager->name_prefix, options.name_prefix, prefix_size);
    options.name_prefix = manager->name_prefix;
    manager->rt = rt;
    manager->backend = backend;
    manager->options = options;
    manager->handle_open = true;
    lp__list_init(&manager->available);
    lp__list_init(&manager->leases);
    lp__list_init(&manager->waiters);
    lp__list_init(&manager->spare_leases);
    lp__list_init(&manager->stops);
    lp__list_push_back(&rt->managers, &manager->link);
    *out = manager;
    return 0;
}

/* ---- Executors ---------------------------------------------------------------- */

static int add_executor(lp_manager_t *manager)
{
    lp__executor_t *executor;
    int rc = lp__executor_create(&executor, manager);
    if (rc != 0)
        return rc;
    manager->executor_count++;
    manager->available_count++;
    lp__list_push_back(&manager->available, &executor->link);
    return 0;
}

lp__executor_t *lp__manager_take_free(lp_manager_t *manager, int *err)
{
    *err = LP_EUNAVAILABLE;
    if (!lp__list_empty(&manager->waiters))
        return NULL;
    if (manager->available_count == 0 && manager->executor_count < manager->options.max_pools)
        *err = add_executor(manager);
    lp__list_t *link = lp__list_pop_front(&manager->available);
    if (!link)
        return NULL;
    manager->available_count--;
    return LP__CONTAINER(link, lp__executor_t, link);
}

void lp__manager_take_back(lp_manager_t *manager, lp__executor_t *executor)
{
    if (lp__acquire_grant_oldest(manager, executor))
        return;
    manager->available_count++;
    lp__list_push_front(&manager->available, &executor->link);
}

/* ---- Start and stop ----------------------------------------------------------- */

int lp_manager_start(lp_manager_t *manager)
{
    if (!manager)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(manager->rt);
    if (rc != 0 || manager->state == LP__MANAGER_RUNNING)
        return rc;
    if (manager->state == LP__MANAGER_STOPPING || manager->rt->closing)
        return LP_ESTATE;
    while (manager->executor_count < manager->options.min_pools) {
        rc = add_executor(manager);
        if (rc != 0)
            break;
    }
    manager->state = LP__MANAGER_RUNNING;
    if (rc != 0)
        lp__manager_begin_stop(manager);
    return rc;
}

static void deliver_stop(lp__task_t *task)
{
    lp_stop_t *req = LP__CONTAINER(task, lp_stop_t, priv.task);
    lp__runtime_unhold(req->priv.rt);
    if (req->priv.cb)
        req->priv.cb(req, &req->priv.report);
}

static void destroy_when_forgotten(lp_manager_t *manager)
{
    if (manager->handle_open || !lp__list_empty(&manager->leases))
        return;
    if (manager->state == LP__MANAGER_RUNNING)
        lp__manager_begin_stop(manager); /* comes back here when it has ended */
    else if (manager->state == LP__MANAGER_STOPPED && !manager->rt->closing)
        lp__manager_destroy(manager);
}

static void end_stop_when_done(lp_manager_t *manager)
{
    if (manager->state != LP__MANAGER_STOPPING || manager->executor_count > 0)
        return;
    manager->state = LP__MANAGER_STOPPED;
    lp__list_t *link;
    while ((link = lp__list_pop_front(&manager->stops)) != NULL) {
        lp_stop_t *req = LP__CONTAINER(link, lp_stop_t, priv.link);
        req->priv.report = manager->report;
        lp__runtime_defer(manager->rt, &req->priv.task, deliver_stop);
    }
    lp__runtime_unhold(manager->rt);
    destroy_when_forgotten(manager);
}

void lp__manager_begin_stop(lp_manager_t *manager)
{
    if (manager->state != LP__MANAGER_RUNNING)
        return;
    manager->state = LP__MANAGER_STOPPING;
    memset(&manager->report, 0, sizeof manager->report);
    lp__runtime_hold(manager->rt);
    /* What ends below may end the whole stop; the last line is the place for that. */
    manager->executor_count++;
    lp__acquire_fail_all(manager, LP_ENOTSTARTED);
    for (lp__list_t *at = manager->leases.next, *next; at != &manager->leases; at = next) {
        next = at->next;
        lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        lp__executor_t *executor = lease->executor;
        if (!executor)
            continue;
        manager->report.cancelled += lp__executor_cancel_queued(executor);
        lp__lease_expire(lease);
        lp__executor_end(executor);
    }
    lp__list_t *link;
    while ((link = lp__list_pop_front(&manager->available)) != NULL) {
        manager->available_count--;
        lp__executor_end(LP__CONTAINER(link, lp__executor_t, link));
    }
    manager->executor_count--;
    end_stop_when_done(manager);
}

int lp_manager_stop(lp_manager_t *manager, lp_stop_t *req, lp_stop_cb cb)
{
    if (!manager)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(manager->rt);
    if (rc != 0)
        return rc;
    if (manager->rt->open_handles > 0)
        return LP_ESTATE; /* the runtime has closed: no turn comes any more */
    if (!req && !cb) {
        lp__manager_begin_stop(manager);
        return 0;
    }
    if (!req)
        return lp__runtime_invalid(manager->rt, "req: got NULL, allowed: a pointer");
    memset(&req->priv, 0, sizeof req->priv);
    req->priv.cb = cb;
    req->priv.rt = manager->rt;
    lp__list_init(&req->priv.link);
    lp__runtime_hold(manager->rt); /* until the callback */
    if (manager->state == LP__MANAGER_STOPPED) {
        lp__runtime_defer(manager->rt, &req->priv.task, deliver_stop);
        return 0;
    }
    lp__list_push_back(&manager->stops, &req->priv.link);
    lp__manager_begin_stop(manager);
    return 0;
}

void lp_manager_close(lp_manager_t *manager)
{
    if (!manager || !manager->handle_open || lp__runtime_check_thread(manager->rt) != 0)
        return;
    manager->handle_open = false;
    destroy_when_forgotten(manager);
}

void lp__manager_lease_freed(lp_manager_t *manager)
{
    destroy_when_forgotten(manager);
}

void lp__manager_executor_ended(lp_manager_t *manager)
{
    manager->executor_count--;
    end_stop_when_done(manager);
}

bool lp__manager_ended(const lp_manager_t *manager)
{
    return manager->state == LP__MANAGER_STOPPED;
}

void lp__manager_destroy(lp_manager_t *manager)
{
    while (!lp__list_empty(&manager->leases))
        lp__lease_free(LP__CONTAINER(manager->leases.next, lp_lease_t, link));
    lp__list_t *spare;
    while ((spare = lp__list_pop_front(&manager->spare_leases)) != NULL)
        lp__free(LP__CONTAINER(spare, lp_lease_t, link));
    lp__list_remove(&manager->link);
    lp__free(manager->name_prefix);
    lp__free(manager);
}

int lp_manager_counts(lp_manager_t *manager, lp_manager_counts_t *counts)
{
    if (!manager || !counts)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(manager->rt);
    if (rc != 0)
        return rc;
    memset(counts, 0, sizeof *counts);
    counts->available = manager->available_count;
    counts->leased = manager->leased_count;
    counts->total = counts->available + counts->leased;
    counts->waiters = manager->waiter_count;
    for (lp__list_t *at = manager->leases.next; at != &manager->leases; at = at->next) {
        lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        if (!lease->executor)
            continue;
        int64_t queued = (int64_t)lp__queue_length(&lease->executor->queue);
        counts->queued += queued;
        counts->running += (int64_t)lease->in_flight - queued;
    }
    return 0;
}
