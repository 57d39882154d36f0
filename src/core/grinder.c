/* grinder.c - see grinder.h and leasepool.h. */
#include "core/grinder.h"

#include <string.h>

#include "base/alloc.h"
#include "core/handle.h"
#include "core/job.h"
#include "core/manager.h"
#include "core/options.h"
#include "core/runtime.h"

static lp_grinder_t *grinder_of(lp__list_t *link)
{
    return LP__CONTAINER(link, lp_grinder_t, link);
}

static lp_runtime_t *runtime_of(const lp_grinder_t *grinder)
{
    return grinder->manager->rt;
}

/* ---- Making ------------------------------------------------------------------- */

static char *copy_text(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = lp__malloc(LP_MEM_CORE, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static int read_options(lp_manager_t *manager, const lp_grinder_options_t *given,
                        lp_grinder_options_t *options)
{
    lp_runtime_t *rt = manager->rt;
    lp_grinder_options_init(options);
    if (given && given->size == 0)
        return lp__runtime_invalid(
            rt, "options.size: got 0, allowed: what lp_grinder_options_init sets");
    if (given)
        lp__options_copy(options, sizeof *options, given, given->size);
    int rc = lp__grinder_options_check(options, rt->last_error, sizeof rt->last_error);
    if (options->max_batches == 0)
        options->max_batches = manager->options.max_pools;
    return rc;
}

int lp_grinder_create(lp_grinder_t **out, lp_manager_t *manager, const lp_grinder_options_t *given)
{
    lp_grinder_options_t options;
    if (!manager)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(manager->rt);
    if (rc != 0)
        return rc;
    if (!out)
        return lp__runtime_invalid(manager->rt, "grinder: got NULL, allowed: a pointer");
    if (manager->rt->closing)
        return LP_ESTATE;
    rc = read_options(manager, given, &options);
    if (rc != 0)
        return rc;
    lp_grinder_t *grinder = lp__calloc(LP_MEM_CORE, sizeof *grinder);
    char *owner_prefix = copy_text(options.owner_prefix);
    if (!grinder || !owner_prefix) {
        lp__free(grinder);
        lp__free(owner_prefix);
        return LP_ENOMEM;
    }
    grinder->manager = manager;
    grinder->options = options;
    grinder->owner_prefix = owner_prefix;
    grinder->handle_open = true;
    grinder->pending.next = grinder->pending.prev = &grinder->pending;
    lp__list_init(&grinder->waves);
    lp__list_init(&grinder->batch.waiting);
    lp__list_init(&grinder->batch.running);
    lp__list_init(&grinder->batch.spare);
    lp__list_init(&grinder->batch.due.link);
    lp__list_init(&grinder->stop.requests);
    lp__list_init(&grinder->progress.link);
    lp__list_push_back(&manager->grinders, &grinder->link);
    *out = grinder;
    return 0;
}

void lp__grinder_free(lp_grinder_t *grinder)
{
    lp__list_t *link;
    lp__batch_free_all(grinder);
    while ((link = lp__list_pop_front(&grinder->waves)) != NULL)
        lp__free(LP__CONTAINER(link, lp__wave_t, link));
    lp__runtime_clear_deadline(runtime_of(grinder), &grinder->stop.deadline);
    lp__runtime_undefer(&grinder->progress);
    lp__handle_close(grinder->handle);
    lp_handle_release(grinder->handle);
    lp__list_remove(&grinder->link);
    lp__free(grinder->owner_prefix);
    lp__free(grinder->reason);
    lp__free(grinder);
}

static int enter(const lp_grinder_t *grinder)
{
    return grinder ? lp__runtime_enter(runtime_of(grinder)) : LP_EINVAL;
}

int lp_grinder_start(lp_grinder_t *grinder)
{
    int rc = enter(grinder);
    if (rc != 0 || grinder->state == LP__GRINDER_RUNNING)
        return rc;
    if (grinder->state == LP__GRINDER_STOPPING)
        return LP_ESTATE;
    if (grinder->manager->state != LP__MANAGER_RUNNING)
        return LP_ENOTSTARTED;
    grinder->state = LP__GRINDER_RUNNING;
    return 0;
}

/* ---- Pending jobs ------------------------------------------------------------- */

/* The wave that a job of this moment belongs to; NULL: no memory. */
static lp__wave_t *wave_of_now(lp_grinder_t *grinder)
{
    const lp__clock_t *clock = &runtime_of(grinder)->clock;
    lp__wave_t *last = LP__CONTAINER(grinder->waves.prev, lp__wave_t, link);
    bool any = !lp__list_empty(&grinder->waves);
    uint64_t tick_ns = lp__clock_coarse_ns(clock);
    if (any && last->tick_ns == tick_ns && last->count > 0)
        return last;
    if (!any || last->count > 0) {
        last = lp__calloc(LP_MEM_CORE, sizeof *last);
        if (!last)
            return NULL;
        last->grinder = grinder;
        lp__list_push_back(&grinder->waves, &last->link);
    }
    last->tick_ns = tick_ns;
    last->since_ns = lp__clock_now_ns(clock);
    return last;
}

/* One job less. The last wave stays, for the next job. */
static void leave_wave(lp_grinder_t *grinder, lp__wave_t *wave)
{
    if (--wave->count > 0 || grinder->waves.prev == &wave->link)
        return;
    lp__list_remove(&wave->link);
    lp__free(wave);
}

uint64_t lp__grinder_oldest_ns(const lp_grinder_t *grinder)
{
    return grinder->pending_count > 0
               ? LP__CONTAINER(grinder->waves.next, lp__wave_t, link)->since_ns
               : LP_FOREVER;
}

static void unlink_job(lp_grinder_t *grinder, lp_job_t *job)
{
    lp__node_t *node = &job->priv.node;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    grinder->pending_count--;
    leave_wave(grinder, lp__job_wave(job));
}

lp_job_t *lp__grinder_take(lp_grinder_t *grinder)
{
    lp_job_t *job = lp__job_of(grinder->pending.next);
    unlink_job(grinder, job);
    lp__runtime_unhold(runtime_of(grinder));
    return job;
}

/* To the inbox: callbacks never run inside of the call that causes them. */
static void post(lp_grinder_t *grinder, lp_job_t *job, int status)
{
    lp_runtime_t *rt = runtime_of(grinder);
    lp__job_clear_timeout(rt, job);
    job->priv.state = LP__JOB_ENDED;
    job->priv.of.grinder = grinder;
    job->priv.node.kind = LP__NODE_PENDING_JOB;
    job->priv.node.status = status;
    grinder->ended_count++;
    lp__runtime_hold(rt);
    lp__inbox_post(rt->inbox, &job->priv.node);
}

void lp__grinder_end(lp_grinder_t *grinder, lp_job_t *job, int status)
{
    post(grinder, job, status);
    lp__grinder_count(grinder, status, false);
}

void lp__grinder_take_back(lp_job_t *job, int status)
{
    lp_grinder_t *grinder = lp__job_wave(job)->grinder;
    unlink_job(grinder, job);
    lp__runtime_unhold(runtime_of(grinder));
    if (status == LP_ECANCELLED) {
        grinder->items--; /* as if it had never been there */
        grinder->stop.report.cancelled++;
        post(grinder, job, status);
    } else {
        lp__grinder_end(grinder, job, status);
    }
    lp__batch_withdraw_idle(grinder);
}

void lp__grinder_deliver(lp__node_t *node)
{
    lp_job_t *job = lp__job_of(node);
    lp_grinder_t *grinder = job->priv.of.grinder;
    lp_runtime_t *rt = runtime_of(grinder);
    lp_done_cb done = job->priv.done;
    int status = node->status;
    job->priv.state = LP__JOB_IDLE;
    job->priv.of.grinder = NULL;
    if (status == LP_EBROKEN)
        lp__runtime_keep_reason(rt, grinder->reason);
    grinder->busy++;
    grinder->ended_count--;
    lp__grinder_leave(grinder);
    lp__runtime_unhold(rt);
    if (done)
        done(job, status);
}

int lp__grinder_submit(lp_grinder_t *grinder, lp_job_t *job, uint64_t timeout_ns, lp_work_cb work,
                       lp_done_cb done)
{
    lp_runtime_t *rt = runtime_of(grinder);
    if (grinder->state != LP__GRINDER_RUNNING || grinder->manager->state != LP__MANAGER_RUNNING)
        return LP_ENOTSTARTED;
    if (grinder->pending_count >= grinder->options.max_pending)
        lp__runtime_look(rt); /* some may be late */
    if (grinder->pending_count >= grinder->options.max_pending)
        return LP_EQUEUEFULL;
    lp__wave_t *wave = wave_of_now(grinder);
    int rc = wave ? lp__job_make_pending(rt, job, work, done, timeout_ns) : LP_ENOMEM;
    if (rc != 0)
        return rc;
    if (lp__job_is_timed(job))
        job->priv.of.timed->wave = wave;
    else
        job->priv.of.wave = wave;
    wave->count++;
    lp__node_t *node = &job->priv.node, *last = grinder->pending.prev;
    node->next = &grinder->pending;
    node->prev = last;
    last->next = grinder->pending.prev = node;
    grinder->items++;
    lp__runtime_hold(rt);
    if (grinder->pending_count++ == 0 || lp__batch_is_full(grinder))
        lp__batch_arrange(grinder);
    return 0;
}

int lp_grinder_submit(lp_grinder_t *grinder, lp_job_t *job, uint64_t timeout_ns, lp_work_cb work,
                      lp_done_cb done)
{
    int rc = enter(grinder);
    if (rc != 0)
        return rc;
    if (!job || !work)
        return lp__runtime_invalid(runtime_of(grinder), "%s: got NULL, allowed: a pointer",
                                   job ? "work" : "job");
    if (job->priv.state != LP__JOB_IDLE)
        return LP_ESTATE;
    if (grinder->manager->backend->processes)
        return LP_ENOTSUP;
    return lp__grinder_submit(grinder, job, timeout_ns, work, done);
}

/* ---- Counting ----------------------------------------------------------------- */

void lp__grinder_keep_reason(lp_grinder_t *grinder, const char *reason)
{
    lp__free(grinder->reason);
    grinder->reason = reason ? copy_text(reason) : NULL;
}

static void tell_progress(lp__task_t *task)
{
    lp_grinder_t *grinder = LP__CONTAINER(task, lp_grinder_t, progress);
    lp_grinder_options_t *options = &grinder->options;
    grinder->busy++;
    if (options->on_progress)
        options->on_progress(grinder, grinder->done + grinder->failed + grinder->cancelled,
                             grinder->items, options->progress_data);
    lp__grinder_leave(grinder);
}

void lp__grinder_count(lp_grinder_t *grinder, int status, bool cancelled)
{
    if (cancelled)
        grinder->cancelled++;
    else if (status == 0)
        grinder->done++;
    else
        grinder->failed++;
    if (grinder->state == LP__GRINDER_STOPPING && cancelled)
        grinder->stop.report.cancelled++;
    else if (grinder->state == LP__GRINDER_STOPPING)
        grinder->stop.report.finished++;
    if (grinder->options.on_progress && lp__list_empty(&grinder->progress.link))
        lp__runtime_defer(runtime_of(grinder), &grinder->progress, tell_progress);
}

int lp_grinder_stats(lp_grinder_t *grinder, lp_grinder_stats_t *stats)
{
    int rc = enter(grinder);
    if (rc != 0)
        return rc;
    if (!stats)
        return LP_EINVAL;
    uint64_t oldest_ns = lp__grinder_oldest_ns(grinder);
    uint64_t now_ns = lp__clock_now_ns(&runtime_of(grinder)->clock);
    *stats = (lp_grinder_stats_t){
        .started = grinder->state == LP__GRINDER_RUNNING,
        .stopping = grinder->state == LP__GRINDER_STOPPING,
        .batch_size_threshold = grinder->options.batch_size_threshold,
        .max_wait_ns = grinder->options.max_wait_ns,
        .lease_ns = grinder->options.lease_ns,
        .pending = grinder->pending_count,
        .in_flight = grinder->in_flight,
        .running = grinder->batch.running_count,
        .waiting = grinder->batch.waiting_count,
        .oldest_wait_ns = oldest_ns < now_ns ? now_ns - oldest_ns : 0,
        .batches = grinder->batches,
        .items = grinder->items,
        .done = grinder->done,
        .failed = grinder->failed,
        .cancelled = grinder->cancelled,
    };
    return 0;
}

/* ---- Ending ------------------------------------------------------------------- */

static void deliver_stop(lp__task_t *task)
{
    lp_stop_t *req = LP__CONTAINER(task, lp_stop_t, priv.task);
    lp__runtime_unhold(req->priv.rt);
    req->priv.rt = NULL;
    if (req->priv.cb)
        req->priv.cb(req, &req->priv.report);
}

static void end_stop(lp_grinder_t *grinder)
{
    lp__list_t *link;
    grinder->state = LP__GRINDER_STOPPED;
    lp__runtime_clear_deadline(runtime_of(grinder), &grinder->stop.deadline);
    while ((link = lp__list_pop_front(&grinder->stop.requests)) != NULL) {
        lp_stop_t *req = LP__CONTAINER(link, lp_stop_t, priv.link);
        req->priv.report = grinder->stop.report;
        lp__runtime_defer(runtime_of(grinder), &req->priv.task, deliver_stop);
    }
}

void lp__grinder_leave(lp_grinder_t *grinder)
{
    lp_manager_t *manager = grinder->manager;
    if (--grinder->busy > 0)
        return;
    bool empty = grinder->pending_count == 0 && grinder->ended_count == 0 &&
                 grinder->batch.running_count == 0 && grinder->batch.waiting_count == 0;
    if (empty && grinder->state == LP__GRINDER_STOPPING)
        end_stop(grinder);
    if (!empty || grinder->handle_open || grinder->state != LP__GRINDER_STOPPED ||
        !lp__list_empty(&grinder->progress.link)) /* the last of it is to be told */
        return;
    lp__grinder_free(grinder);
    lp__manager_destroy_when_forgotten(manager);
}

static void cancel_all(lp_grinder_t *grinder)
{
    lp__batch_cancel_all(grinder);
    while (grinder->pending_count > 0)
        lp__grinder_take_back(lp__job_of(grinder->pending.next), LP_ECANCELLED);
}

static void on_limit(lp__deadline_t *deadline)
{
    lp_grinder_t *grinder = LP__CONTAINER(deadline, lp_grinder_t, stop.deadline);
    grinder->busy++;
    cancel_all(grinder);
    lp__grinder_leave(grinder);
}

/* Gives the stop, if one goes on, so much time, unless it has less. */
static void limit_stop(lp_grinder_t *grinder, uint64_t timeout_ns)
{
    lp__deadline_t *deadline = &grinder->stop.deadline;
    lp_runtime_t *rt = runtime_of(grinder);
    uint64_t at_ns = lp__clock_after(lp__clock_now_ns(&rt->clock), timeout_ns);
    if (grinder->state != LP__GRINDER_STOPPING || timeout_ns == LP_FOREVER)
        return;
    if (timeout_ns == 0)
        cancel_all(grinder);
    else if (!deadline->node.linked || at_ns < deadline->node.key)
        lp__runtime_set_deadline(rt, deadline, at_ns, on_limit);
}

static void begin_stop(lp_grinder_t *grinder, uint64_t timeout_ns)
{
    if (grinder->state == LP__GRINDER_RUNNING) {
        grinder->state = LP__GRINDER_STOPPING;
        memset(&grinder->stop.report, 0, sizeof grinder->stop.report);
    }
    limit_stop(grinder, timeout_ns); /* first: what is cancelled does not begin */
    lp__batch_arrange(grinder);
}

int lp_grinder_stop(lp_grinder_t *grinder, lp_stop_t *req, uint64_t timeout_ns, lp_stop_cb cb)
{
    int rc = enter(grinder);
    if (rc != 0)
        return rc;
    lp_runtime_t *rt = runtime_of(grinder);
    if (cb && !req)
        return lp__runtime_invalid(rt, "req: got NULL, allowed: a pointer");
    if (rt->open_handles > 0 || (req && req->priv.rt))
        return LP_ESTATE;
    grinder->busy++;
    if (req) {
        memset(&req->priv, 0, sizeof req->priv);
        req->priv.cb = cb;
        req->priv.rt = rt;
        lp__list_init(&req->priv.link);
        lp__runtime_hold(rt); /* until the callback */
    }
    begin_stop(grinder, timeout_ns);
    if (req && grinder->state == LP__GRINDER_STOPPING)
        lp__list_push_back(&grinder->stop.requests, &req->priv.link);
    else if (req)
        lp__runtime_defer(rt, &req->priv.task, deliver_stop);
    lp__grinder_leave(grinder);
    return 0;
}

void lp_grinder_close(lp_grinder_t *grinder)
{
    if (!grinder || !grinder->handle_open || lp__runtime_check_thread(runtime_of(grinder)) != 0)
        return;
    grinder->busy++;
    grinder->handle_open = false;
    begin_stop(grinder, LP_FOREVER);
    lp__grinder_leave(grinder);
}

void lp__grinder_stop_all(lp_manager_t *manager)
{
    for (lp__list_t *at = manager->grinders.next, *next; at != &manager->grinders; at = next) {
        lp_grinder_t *grinder = grinder_of(at);
        next = at->next;
        grinder->busy++;
        begin_stop(grinder, 0);
        lp__grinder_leave(grinder);
    }
}

void lp__grinder_lose_manager(lp_manager_t *manager)
{
    for (lp__list_t *at = manager->grinders.next; at != &manager->grinders; at = at->next) {
        lp_grinder_t *grinder = grinder_of(at);
        while (grinder->pending_count > 0)
            lp__grinder_end(grinder, lp__grinder_take(grinder), LP_ENOTSTARTED);
        lp__batch_withdraw_idle(grinder);
    }
}
