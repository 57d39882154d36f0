/* stop.c - see stop.h and leasepool.h.
 *
 * Stopping refuses what is new, cancels what is queued and ends every executor; it is over
 * when the last one has ended. One that does not end in time is written off: it counts as
 * retiring until its job returns, also when the manager has been started again. */
#include "core/stop.h"

#include <inttypes.h>
#include <string.h>

#include "core/acquire.h"
#include "core/lease.h"
#include "core/runtime.h"
#include "core/sizing.h"

static void deliver(lp__task_t *task)
{
    lp_stop_t *req = LP__CONTAINER(task, lp_stop_t, priv.task);
    lp__runtime_unhold(req->priv.rt);
    req->priv.rt = NULL;
    if (req->priv.cb)
        req->priv.cb(req, &req->priv.report);
}

static void end(lp_manager_t *manager)
{
    lp__list_t *link;
    manager->state = LP__MANAGER_STOPPED;
    lp__runtime_clear_deadline(manager->rt, &manager->stop.deadline);
    lp__runtime_undefer(&manager->stop.write_off);
    while ((link = lp__list_pop_front(&manager->stop.requests)) != NULL) {
        lp_stop_t *req = LP__CONTAINER(link, lp_stop_t, priv.link);
        req->priv.report = manager->stop.report;
        lp__runtime_defer(manager->rt, &req->priv.task, deliver);
    }
    lp__runtime_unhold(manager->rt);
    lp__manager_destroy_when_forgotten(manager);
}

void lp__stop_end_when_done(lp_manager_t *manager)
{
    if (manager->state == LP__MANAGER_STOPPING && manager->executor_count == 0)
        end(manager);
}

/* What has come back already is delivered first, and was not abandoned. */
static void write_off(lp__task_t *task)
{
    lp_manager_t *manager = LP__CONTAINER(task, lp_manager_t, stop.write_off);
    if (manager->rt->undelivered) {
        lp__runtime_defer(manager->rt, task, write_off);
        return;
    }
    for (lp__list_t *at = manager->leases.next; at != &manager->leases; at = at->next)
        manager->stop.report.abandoned += LP__CONTAINER(at, lp_lease_t, link)->in_flight;
    lp__runtime_log(manager->rt, manager, LP_LOG_WARN,
                    "the stop does not wait for %" PRIu64 " jobs that still run, in %u executors",
                    manager->stop.report.abandoned, manager->executor_count);
    end(manager);
}

static void on_deadline(lp__deadline_t *deadline)
{
    lp_manager_t *manager = LP__CONTAINER(deadline, lp_manager_t, stop.deadline);
    lp__runtime_undefer(&manager->stop.write_off);
    lp__runtime_defer(manager->rt, &manager->stop.write_off, write_off);
}

void lp__stop_begin(lp_manager_t *manager)
{
    if (manager->state != LP__MANAGER_RUNNING)
        return;
    manager->state = LP__MANAGER_STOPPING;
    memset(&manager->stop.report, 0, sizeof manager->stop.report);
    lp__runtime_hold(manager->rt);
    /* What ends below may end the whole stop; the last line is the place for that. */
    manager->executor_count++;
    lp__sizing_stop(manager);
    lp__acquire_fail_all(manager, LP_ENOTSTARTED);
    for (lp__list_t *at = manager->leases.next, *next; at != &manager->leases; at = next) {
        next = at->next;
        manager->stop.report.cancelled += lp__lease_stop(LP__CONTAINER(at, lp_lease_t, link));
    }
    lp__list_t *link;
    while ((link = lp__list_pop_front(&manager->available)) != NULL) {
        manager->available_count--;
        lp__executor_end(LP__CONTAINER(link, lp__executor_t, link));
    }
    manager->executor_count--;
    lp__stop_end_when_done(manager);
}

/* The deadline is the earliest that somebody asked for. */
static void limit(lp_manager_t *manager, uint64_t timeout_ns)
{
    lp__deadline_t *deadline = &manager->stop.deadline;
    if (timeout_ns == LP_FOREVER || manager->state != LP__MANAGER_STOPPING)
        return;
    uint64_t at_ns = lp__clock_after(lp__clock_now_ns(&manager->rt->clock), timeout_ns);
    at_ns = lp__clock_after(at_ns, manager->options.exit_grace_ns);
    if (!deadline->node.linked || at_ns < deadline->node.key)
        lp__runtime_set_deadline(manager->rt, deadline, at_ns, on_deadline);
}

int lp_manager_stop(lp_manager_t *manager, lp_stop_t *req, uint64_t timeout_ns, lp_stop_cb cb)
{
    if (!manager)
        return LP_EINVAL;
    int rc = lp__runtime_enter(manager->rt);
    if (rc != 0)
        return rc;
    if (manager->rt->open_handles > 0)
        return LP_ESTATE; /* the runtime has closed: no turn comes any more */
    if (req && req->priv.rt)
        return LP_ESTATE; /* it waits for a stop already */
    if (!req && cb)
        return lp__runtime_invalid(manager->rt, "req: got NULL, allowed: a pointer");
    if (req) {
        memset(&req->priv, 0, sizeof req->priv);
        req->priv.cb = cb;
        req->priv.rt = manager->rt;
        lp__list_init(&req->priv.link);
        lp__runtime_hold(manager->rt); /* until the callback */
        if (manager->state == LP__MANAGER_STOPPED) {
            lp__runtime_defer(manager->rt, &req->priv.task, deliver);
            return 0;
        }
        lp__list_push_back(&manager->stop.requests, &req->priv.link);
    }
    manager->busy++;
    lp__stop_begin(manager);
    limit(manager, timeout_ns);
    lp__manager_leave(manager);
    return 0;
}

bool lp__stop_is_complete(const lp_manager_t *manager)
{
    return manager->state == LP__MANAGER_STOPPED && manager->executor_count == 0;
}
