/* acquire.c - see acquire.h and leasepool.h. */
#include "core/acquire.h"

#include <string.h>

#include "base/alloc.h"
#include "core/lease.h"
#include "core/options.h"
#include "core/runtime.h"

enum { IDLE, WAITING, ENDED };

void lp_acquire_options_init(lp_acquire_options_t *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    options->timeout_ns = LP_FOREVER;
    options->on_expiry = LP_EXPIRY_DEFAULT;
}

static const lp_acquire_options_t *or_defaults(const lp_acquire_options_t *given,
                                               lp_acquire_options_t *storage)
{
    lp_acquire_options_init(storage);
    if (given)
        lp__options_copy(storage, sizeof *storage, given, given->size);
    return storage;
}

static int check(lp_manager_t *manager, const lp_acquire_options_t *options)
{
    if (!manager)
        return LP_EINVAL;
    int rc = lp__runtime_enter(manager->rt);
    if (rc != 0)
        return rc;
    if (options && options->size == 0)
        return lp__runtime_invalid(
            manager->rt, "options.size: got 0, allowed: what lp_acquire_options_init sets");
    if (options && options->size >= sizeof *options &&
        (options->on_expiry < LP_EXPIRY_DEFAULT || options->on_expiry > LP_EXPIRY_KILL))
        return lp__runtime_invalid(manager->rt, "on_expiry: got %d, allowed: from %d to %d",
                                   options->on_expiry, LP_EXPIRY_DEFAULT, LP_EXPIRY_KILL);
    if (options && options->size >= sizeof *options && options->on_expiry == LP_EXPIRY_KILL &&
        !manager->backend->kill)
        return lp__manager_refuse_kill(manager->rt, manager->backend);
    return manager->state == LP__MANAGER_RUNNING ? 0 : LP_ENOTSTARTED;
}

static int copy_owner(const char *owner, char **copy)
{
    *copy = NULL;
    if (!owner)
        return 0;
    size_t size = strlen(owner) + 1;
    *copy = lp__malloc(LP_MEM_CORE, size);
    if (!*copy)
        return LP_ENOMEM;
    memcpy(*copy, owner, size);
    return 0;
}

int lp__acquire_now(lp_manager_t *manager, const lp_acquire_options_t *options, lp_lease_t **lease)
{
    int rc = check(manager, options);
    if (rc != 0)
        return rc;
    if (!lease)
        return lp__runtime_invalid(manager->rt, "lease: got NULL, allowed: a pointer");
    lp_acquire_options_t storage;
    options = or_defaults(options, &storage);
    lp__executor_t *executor = lp__manager_take_free(manager, &rc);
    if (!executor)
        return rc;
    char *owner;
    rc = copy_owner(options->owner, &owner);
    if (rc == 0)
        rc = lp__lease_create(lease, manager, executor, owner, options);
    if (rc != 0)
        lp__manager_take_back(manager, executor);
    else
        lp__histogram_record(&manager->wait, 0);
    return rc;
}

int lp_try_acquire(lp_manager_t *manager, const lp_acquire_options_t *options, lp_lease_t **lease)
{
    int rc = lp__acquire_now(manager, options, lease);
    if (rc == LP_EUNAVAILABLE)
        manager->rejected++;
    return rc;
}

/* ---- Waiting ------------------------------------------------------------------ */

static void deliver(lp__task_t *task)
{
    lp_acquire_t *req = LP__CONTAINER(task, lp_acquire_t, priv.task);
    lp_lease_t *lease = req->priv.lease;
    if (lease && lease->ended == LP__END_STOPPED) { /* in between */
        lp_lease_close(lease);
        lease = NULL;
        req->priv.status = LP_ENOTSTARTED;
    }
    req->priv.state = IDLE;
    lp__runtime_unhold(req->priv.rt);
    req->priv.cb(req, req->priv.status, lease);
}

static void end(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    req->priv.state = ENDED;
    req->priv.manager = NULL; /* may be gone before the callback comes */
    req->priv.status = status;
    req->priv.lease = lease;
    if (!lease)
        lp__free((char *)(uintptr_t)req->priv.options.owner);
    req->priv.options.owner = NULL;
    lp__runtime_defer(req->priv.rt, &req->priv.task, deliver);
}

static void leave_queue(lp_acquire_t *req)
{
    lp__list_remove(&req->priv.link);
    req->priv.manager->waiter_count--;
    lp__runtime_clear_deadline(req->priv.rt, &req->priv.deadline);
}

static void end_late(lp_acquire_t *req)
{
    req->priv.manager->timeouts++;
    leave_queue(req);
    end(req, LP_ETIMEDOUT, NULL);
}

static void on_timeout(lp__deadline_t *deadline)
{
    end_late(LP__CONTAINER(deadline, lp_acquire_t, priv.deadline));
}

/* Makes the lease; false when there was no memory for it: then the request has failed. */
static bool grant(lp_acquire_t *req, lp__executor_t *executor)
{
    lp_lease_t *lease = NULL;
    lp_manager_t *manager = req->priv.manager;
    int rc = lp__lease_create(&lease, manager, executor, (char *)(uintptr_t)req->priv.options.owner,
                              &req->priv.options);
    req->priv.options.owner = NULL; /* the lease's now, or freed */
    if (rc == 0)
        lp__histogram_record(&manager->wait, lease->leased_ns - req->priv.began_ns);
    end(req, rc, lease);
    return rc == 0;
}

/* The oldest waiter; NULL: none. Whose time came before the executor is late, only the timer
 * has not run yet. */
static lp_acquire_t *oldest(lp_manager_t *manager)
{
    while (!lp__list_empty(&manager->waiters)) {
        lp_acquire_t *req = LP__CONTAINER(manager->waiters.next, lp_acquire_t, priv.link);
        bool late = req->priv.deadline.node.linked &&
                    lp__clock_passed(&req->priv.rt->clock, req->priv.deadline.node.key);
        if (!late)
            return req;
        end_late(req);
    }
    return NULL;
}

bool lp__acquire_somebody_waits(lp_manager_t *manager)
{
    return oldest(manager) != NULL;
}

bool lp__acquire_grant_oldest(lp_manager_t *manager, lp__executor_t *executor)
{
    lp_acquire_t *req;
    while ((req = oldest(manager)) != NULL) {
        leave_queue(req);
        if (grant(req, executor))
            return true;
    }
    return false;
}

void lp__acquire_fail_all(lp_manager_t *manager, int status)
{
    while (!lp__list_empty(&manager->waiters)) {
        lp_acquire_t *req = LP__CONTAINER(manager->waiters.next, lp_acquire_t, priv.link);
        leave_queue(req);
        end(req, status, NULL);
    }
}

int lp_acquire(lp_manager_t *manager, lp_acquire_t *req, const lp_acquire_options_t *options,
               lp_acquire_cb cb)
{
    int rc = check(manager, options);
    if (rc != 0)
        return rc;
    lp_runtime_t *rt = manager->rt;
    if (!req || !cb)
        return lp__runtime_invalid(rt, "%s: got NULL, allowed: a pointer", req ? "cb" : "req");
    if (req->priv.state != IDLE)
        return LP_ESTATE;
    lp_acquire_options_t storage;
    options = or_defaults(options, &storage);
    lp__executor_t *executor = lp__manager_take_free(manager, &rc);
    bool would_wait = !executor && options->timeout_ns > 0;
    if (!executor && rc != LP_EUNAVAILABLE)
        return rc;
    if (would_wait && manager->waiter_count >= manager->options.max_waiters) {
        manager->rejected++;
        return LP_EUNAVAILABLE;
    }
    memset(&req->priv, 0, sizeof req->priv);
    req->priv.rt = rt;
    req->priv.manager = manager;
    req->priv.cb = cb;
    req->priv.options = *options;
    req->priv.began_ns = lp__clock_now_ns(&rt->clock);
    lp__list_init(&req->priv.link);
    char *owner;
    rc = copy_owner(options->owner, &owner);
    if (rc != 0) {
        if (executor)
            lp__manager_take_back(manager, executor);
        return rc;
    }
    req->priv.options.owner = owner;
    req->priv.state = WAITING;
    lp__runtime_hold(rt);
    if (executor) {
        if (!grant(req, executor))
            lp__manager_take_back(manager, executor);
    } else if (!would_wait) {
        manager->timeouts++;
        end(req, LP_ETIMEDOUT, NULL);
    } else {
        lp__list_push_back(&manager->waiters, &req->priv.link);
        manager->waiter_count++;
        if (options->timeout_ns != LP_FOREVER)
            lp__runtime_set_deadline(rt, &req->priv.deadline,
                                     lp__clock_after(req->priv.began_ns, options->timeout_ns),
                                     on_timeout);
    }
    return 0;
}

int lp_acquire_cancel(lp_acquire_t *req)
{
    if (!req || req->priv.state == IDLE)
        return LP_ESTATE;
    int rc = lp__runtime_enter(req->priv.rt);
    if (rc != 0)
        return rc;
    if (req->priv.state == WAITING) {
        leave_queue(req);
        end(req, LP_ECANCELLED, NULL);
        return 0;
    }
    if (req->priv.status != 0)
        return LP_ESTATE;
    lp_lease_close(req->priv.lease); /* handed over in the same instant: to the next one */
    req->priv.lease = NULL;
    req->priv.status = LP_ECANCELLED;
    return 0;
}

void lp__acquire_withdraw(lp_acquire_t *req)
{
    if (req->priv.state == IDLE)
        return;
    if (req->priv.state == WAITING) {
        leave_queue(req);
        lp__free((char *)(uintptr_t)req->priv.options.owner);
    } else {
        lp__runtime_undefer(&req->priv.task);
        lp_lease_close(req->priv.lease);
    }
    req->priv.state = IDLE;
    lp__runtime_unhold(req->priv.rt);
}
