/* stop.c - see stop.h and leasepool.h.
 *
 * Stopping refuses what is new, cancels what is queued and ends every executor; it is over
 * when the last one has ended. With a limit it goes on in steps: at its time what runs is
 * interrupted; after the graces what could not be is killed by force, or written off: then its
 * executor counts as retiring until its job returns, also when the manager has been started
 * again; and a last step is for workers that even a kill does not end. */
#include "core/stop.h"

#include <string.h>

#include "core/acquire.h"
#include "core/grinder.h"
#include "core/interrupt.h"
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

/* Calls `each` for every worker; how many it said true of. */
static unsigned for_workers(lp_manager_t *manager, bool (*each)(lp__worker_t *))
{
    unsigned count = 0;
    for (lp__list_t *at = manager->executors.next; at != &manager->executors; at = at->next) {
        lp__executor_t *executor = LP__CONTAINER(at, lp__executor_t, all_link);
        for (lp__list_t *w = executor->workers.next; w != &executor->workers; w = w->next)
            count += each(LP__CONTAINER(w, lp__worker_t, link));
    }
    return count;
}

static bool is_lost(lp__worker_t *worker)
{
    return worker->lost;
}

static bool has_lost_job(lp__worker_t *worker)
{
    return worker->lost_lease != NULL;
}

static void end(lp_manager_t *manager)
{
    lp__list_t *link;
    lp_stop_report_t *report = &manager->stop.report;
    manager->state = LP__MANAGER_STOPPED;
    report->abandoned = for_workers(manager, has_lost_job);
    report->interrupted = manager->jobs_interrupted - manager->stop.interrupted;
    report->killed = manager->jobs_killed - manager->stop.killed;
    lp__runtime_clear_deadline(manager->rt, &manager->stop.deadline);
    lp__runtime_undefer(&manager->stop.give_up);
    while ((link = lp__list_pop_front(&manager->stop.requests)) != NULL) {
        lp_stop_t *req = LP__CONTAINER(link, lp_stop_t, priv.link);
        req->priv.report = *report;
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

/* ---- What does not end -------------------------------------------------------- */

static void on_deadline(lp__deadline_t *deadline);

static void come_back(lp_manager_t *manager, uint64_t wait_ns)
{
    uint64_t at_ns = lp__clock_after(lp__clock_now_ns(&manager->rt->clock), wait_ns);
    lp__runtime_set_deadline(manager->rt, &manager->stop.deadline, at_ns, on_deadline);
}

static bool interrupt(lp__worker_t *worker)
{
    return lp__interrupt_worker(worker, LP_ECANCELLED, true);
}

static bool kill_by_force(lp__worker_t *worker)
{
    return lp__interrupt_kill(worker, LP_ECANCELLED);
}

static bool write_off(lp__worker_t *worker)
{
    return lp__worker_write_off(worker, lp__load_relaxed(&worker->desk.serial), LP_ECANCELLED);
}

/* Just about to begin, or to finish? */
static bool is_held(lp__worker_t *worker)
{
    return lp__desk_is_held(&worker->desk);
}

/* What has come back already is delivered first, and was not abandoned. */
static void give_up(lp__task_t *task)
{
    lp_manager_t *manager = LP__CONTAINER(task, lp_manager_t, stop.give_up);
    if (lp__runtime_has_nodes(manager->rt)) {
        lp__runtime_defer(manager->rt, task, give_up);
        return;
    }
    if (manager->stop.step == 2 && for_workers(manager, kill_by_force) > 0) {
        come_back(manager, LP_SECOND);
        return;
    }
    for_workers(manager, write_off);
    if (for_workers(manager, is_held) > 0) {
        lp__runtime_defer(manager->rt, task, give_up);
        return;
    }
    lp__runtime_log(manager->rt, manager, LP_LOG_WARN,
                    "the stop does not wait for %u workers that go on",
                    for_workers(manager, is_lost));
    end(manager);
}

static void on_deadline(lp__deadline_t *deadline)
{
    lp_manager_t *manager = LP__CONTAINER(deadline, lp_manager_t, stop.deadline);
    const lp_manager_options_t *options = &manager->options;
    if (++manager->stop.step == 1) {
        for_workers(manager, interrupt);
        come_back(manager, lp__clock_after(options->interrupt_grace_ns, options->exit_grace_ns));
        return;
    }
    lp__runtime_undefer(&manager->stop.give_up);
    lp__runtime_defer(manager->rt, &manager->stop.give_up, give_up);
}

static bool let_go(lp__worker_t *worker)
{
    if (!worker->executor->backend->detach) {
        kill_by_force(worker);
        return false;
    }
    write_off(worker);
    return lp__worker_detach(worker);
}

bool lp__stop_let_go(lp_manager_t *manager)
{
    bool all = true;
    for (lp__list_t *at = manager->executors.next; at != &manager->executors; at = at->next) {
        lp__executor_t *executor = LP__CONTAINER(at, lp__executor_t, all_link);
        for (lp__list_t *w = executor->workers.next, *next; w != &executor->workers; w = next) {
            next = w->next; /* a worker that is let go leaves the list */
            all &= let_go(LP__CONTAINER(w, lp__worker_t, link));
        }
    }
    return all && manager->state == LP__MANAGER_STOPPED;
}

/* ---- Stopping ----------------------------------------------------------------- */

void lp__stop_begin(lp_manager_t *manager)
{
    if (manager->state != LP__MANAGER_RUNNING)
        return;
    manager->state = LP__MANAGER_STOPPING;
    memset(&manager->stop.report, 0, sizeof manager->stop.report);
    manager->stop.interrupted = manager->jobs_interrupted;
    manager->stop.killed = manager->jobs_killed;
    manager->stop.step = 0;
    lp__runtime_hold(manager->rt);
    /* What ends below may end the whole stop; the last line is the place for that. */
    manager->executor_count++;
    lp__sizing_stop(manager);
    lp__grinder_lose_manager(manager);
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

/* The deadline of the first step is the earliest that somebody asked for. */
void lp__stop_limit(lp_manager_t *manager, uint64_t timeout_ns)
{
    const lp__deadline_t *deadline = &manager->stop.deadline;
    if (timeout_ns == LP_FOREVER || manager->state != LP__MANAGER_STOPPING ||
        manager->stop.step > 0)
        return;
    uint64_t at_ns = lp__clock_after(lp__clock_now_ns(&manager->rt->clock), timeout_ns);
    if (!deadline->node.linked || at_ns < deadline->node.key)
        come_back(manager, timeout_ns);
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
    lp__stop_limit(manager, timeout_ns);
    lp__manager_leave(manager);
    return 0;
}

bool lp__stop_is_complete(const lp_manager_t *manager)
{
    return manager->state == LP__MANAGER_STOPPED && manager->executor_count == 0;
}
