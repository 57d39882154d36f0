/* manager.c - see manager.h and leasepool.h. */
#include "core/manager.h"

#include <string.h>

#include "base/alloc.h"
#include "core/acquire.h"
#include "core/grinder.h"
#include "core/handle.h"
#include "core/lease.h"
#include "core/options.h"
#include "core/runtime.h"
#include "core/sizing.h"
#include "core/stop.h"

/* ---- Making ------------------------------------------------------------------- */

int lp__manager_refuse_kill(lp_runtime_t *rt, const lp_backend_t *backend)
{
    return lp__runtime_invalid(rt,
                               "on_expiry: got \"kill\", allowed: \"leave\", \"interrupt\" on "
                               "the backend %s, whose workers cannot be killed",
                               backend->name);
}

static int check_create(lp_manager_t **out, lp_runtime_t *rt, const lp_backend_t *backend,
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
    return rt->closing ? LP_ESTATE : 0;
}

int lp_manager_create(lp_manager_t **out, lp_runtime_t *rt, const lp_backend_t *backend,
                      const lp_manager_options_t *given)
{
    int rc = check_create(out, rt, backend, given);
    if (rc != 0)
        return rc;
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    lp__options_copy(&options, sizeof options, given, given->size);
    rc = lp__manager_options_check(&options, rt->last_error, sizeof rt->last_error);
    if (rc != 0)
        return rc;
    if (options.on_expiry == LP_EXPIRY_KILL && !backend->kill)
        return lp__manager_refuse_kill(rt, backend);
    rc = lp__command_check(&options, backend->processes, backend->name, rt->last_error,
                           sizeof rt->last_error);
    if (rc != 0)
        return rc;
    lp_manager_t *manager = lp__calloc(LP_MEM_CORE, sizeof *manager);
    if (!manager)
        return LP_ENOMEM;
    size_t prefix_size = strlen(options.name_prefix) + 1;
    manager->name_prefix = lp__malloc(LP_MEM_CORE, prefix_size);
    if (!manager->name_prefix || lp__command_copy(&manager->command, &options) != 0) {
        lp__free(manager->name_prefix);
        lp__free(manager);
        return LP_ENOMEM;
    }
    memcpy(manager->name_prefix, options.name_prefix, prefix_size);
    options.name_prefix = manager->name_prefix;
    options.command = options.env = NULL; /* manager->command has them */
    options.cwd = NULL;
    options.rlimits = NULL;
    manager->rt = rt;
    manager->backend = backend;
    manager->options = options;
    manager->handle_open = true;
    lp__list_init(&manager->executors);
    lp__list_init(&manager->available);
    lp__list_init(&manager->leases);
    lp__list_init(&manager->waiters);
    lp__list_init(&manager->spare_leases);
    lp__list_init(&manager->grinders);
    lp__list_init(&manager->sizing.ask.link);
    lp__list_init(&manager->stop.requests);
    lp__list_init(&manager->stop.give_up.link);
    lp__list_push_back(&rt->managers, &manager->link);
    *out = manager;
    return 0;
}

/* ---- Executors ---------------------------------------------------------------- */

lp__executor_t *lp__manager_take_free(lp_manager_t *manager, int *err)
{
    lp__executor_t *executor = NULL;
    *err = LP_EUNAVAILABLE;
    if (!lp__list_empty(&manager->waiters))
        return NULL;
    lp__list_t *link = lp__list_pop_front(&manager->available);
    if (link) {
        manager->available_count--;
        return LP__CONTAINER(link, lp__executor_t, link);
    }
    if (lp__sizing_may_add(manager))
        *err = lp__executor_create(&executor, manager);
    return executor;
}

void lp__manager_take_back(lp_manager_t *manager, lp__executor_t *executor)
{
    if (lp__acquire_grant_oldest(manager, executor))
        return;
    executor->idle_since_ns = lp__clock_coarse_ns(&manager->rt->clock); /* 19 ns less */
    manager->available_count++;
    lp__list_push_front(&manager->available, &executor->link);
    lp__sizing_idle(manager);
}

uint32_t lp__manager_retiring(const lp_manager_t *manager)
{
    return manager->executor_count - manager->available_count - manager->leased_count;
}

void lp__manager_executor_ended(lp_manager_t *manager)
{
    manager->busy++;
    manager->executor_count--;
    lp__sizing_arrange(manager);
    lp__stop_end_when_done(manager);
    lp__manager_leave(manager);
}

/* ---- Life --------------------------------------------------------------------- */

int lp_manager_start(lp_manager_t *manager)
{
    if (!manager)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(manager->rt);
    if (rc != 0 || manager->state == LP__MANAGER_RUNNING)
        return rc;
    if (manager->state == LP__MANAGER_STOPPING || manager->rt->closing)
        return LP_ESTATE;
    manager->state = LP__MANAGER_RUNNING;
    manager->busy++;
    rc = lp__sizing_start(manager);
    if (rc != 0)
        lp__stop_begin(manager);
    lp__manager_leave(manager);
    return rc;
}

void lp_manager_close(lp_manager_t *manager)
{
    if (!manager || !manager->handle_open || lp__runtime_check_thread(manager->rt) != 0)
        return;
    manager->handle_open = false;
    lp__manager_destroy_when_forgotten(manager);
}

void lp__manager_lease_freed(lp_manager_t *manager)
{
    lp__manager_destroy_when_forgotten(manager);
}

void lp__manager_destroy_when_forgotten(lp_manager_t *manager)
{
    if (manager->handle_open || manager->busy > 0 || !lp__list_empty(&manager->leases) ||
        !lp__list_empty(&manager->grinders))
        return;
    if (manager->state == LP__MANAGER_RUNNING)
        lp__stop_begin(manager); /* comes back here when it has ended */
    else if (lp__stop_is_complete(manager) && !manager->rt->closing)
        lp__manager_destroy(manager);
}

void lp__manager_leave(lp_manager_t *manager)
{
    manager->busy--;
    lp__manager_destroy_when_forgotten(manager);
}

void lp__manager_close_handles(lp_manager_t *manager)
{
    lp__handle_close(manager->handle);
    for (lp__list_t *at = manager->grinders.next; at != &manager->grinders; at = at->next)
        lp__handle_close(LP__CONTAINER(at, lp_grinder_t, link)->handle);
}

void lp__manager_destroy(lp_manager_t *manager)
{
    lp__handle_close(manager->handle);
    lp_handle_release(manager->handle);
    while (!lp__list_empty(&manager->grinders))
        lp__grinder_free(LP__CONTAINER(manager->grinders.next, lp_grinder_t, link));
    while (!lp__list_empty(&manager->leases))
        lp__lease_free(LP__CONTAINER(manager->leases.next, lp_lease_t, link));
    lp__list_t *spare;
    while ((spare = lp__list_pop_front(&manager->spare_leases)) != NULL)
        lp__free(LP__CONTAINER(spare, lp_lease_t, link));
    lp__list_remove(&manager->link);
    /* What detached workers may have read stays, as this may be one of them. */
    if (manager->runner_data_free && lp__list_empty(&manager->executors))
        manager->runner_data_free(manager->runner_data);
    while (!lp__list_empty(&manager->executors))
        lp__executor_free(LP__CONTAINER(manager->executors.next, lp__executor_t, all_link));
    lp__command_free(&manager->command);
    lp__free(manager->name_prefix);
    lp__free(manager);
}
