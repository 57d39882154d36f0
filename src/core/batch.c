/* batch.c - see batch.h. */
#include "core/batch.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/list.h"
#include "core/acquire.h"
#include "core/executor.h"
#include "core/grinder.h"
#include "core/interrupt.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"

/* Kept for reuse: with a batch for each job half of the time went into memory. */
#define MAX_SPARE 64

struct lp__batch_s {
    lp__list_t link; /* in one of the grinder's lists */
    lp_grinder_t *grinder;
    lp_acquire_t req;  /* while it waits */
    lp_lease_t *lease; /* while it runs */
};

static lp__batch_t *batch_of(lp__list_t *link)
{
    return LP__CONTAINER(link, lp__batch_t, link);
}

/* ---- Life --------------------------------------------------------------------- */

static lp__batch_t *new_batch(lp_grinder_t *grinder)
{
    lp__list_t *spare = lp__list_pop_front(&grinder->batch.spare);
    lp__batch_t *batch = spare ? batch_of(spare) : lp__calloc(LP_MEM_CORE, sizeof *batch);
    if (!batch)
        return NULL;
    grinder->batch.spare_count -= spare != NULL;
    batch->grinder = grinder;
    lp__list_init(&batch->link);
    return batch;
}

static void drop_batch(lp__batch_t *batch)
{
    lp_grinder_t *grinder = batch->grinder;
    lp__list_remove(&batch->link);
    if (grinder->batch.spare_count >= MAX_SPARE) {
        lp__free(batch);
        return;
    }
    grinder->batch.spare_count++;
    lp__list_push_front(&grinder->batch.spare, &batch->link);
}

/* Its last job has ended, or it got none. */
static void end_running(lp__batch_t *batch)
{
    lp_grinder_t *grinder = batch->grinder;
    lp_lease_t *lease = batch->lease;
    batch->lease = NULL;
    lease->batch = NULL;
    grinder->batch.running_count--;
    drop_batch(batch);
    lp_lease_close(lease);
}

/* ---- Filling ------------------------------------------------------------------ */

/* Where other batches wait as well, this one leaves them their share. */
static int64_t share(const lp_grinder_t *grinder)
{
    int64_t batches = grinder->batch.waiting_count + 1;
    return (grinder->pending_count + batches - 1) / batches;
}

/* Counted before, as a logger may look on. */
static int start_oldest(lp_grinder_t *grinder, lp_lease_t *lease)
{
    lp_job_t *job = lp__grinder_take(grinder);
    grinder->in_flight++;
    int rc = lp__job_start_pending(lease, job);
    if (rc != 0) {
        grinder->in_flight--;
        lp__grinder_end(grinder, job, rc);
    }
    return rc;
}

/* Gives jobs to the lease, as many as there is room for. When one is refused for another reason,
 * the rest of them ends with that. */
static void fill(lp_grinder_t *grinder, lp_lease_t *lease)
{
    uint64_t room = (uint64_t)grinder->manager->options.max_queue;
    int rc = 0;
    bool broken = false;
    for (int64_t left = share(grinder); left > 0; left--) {
        bool open = lp__lease_is_open(lease); /* looks at the clock: some may end */
        if (grinder->pending_count == 0)
            return;
        if (rc == 0 && !open)
            rc = lp__lease_closed_code(lease);
        if (rc == 0 && lp__queue_full(&lease->executor->queue, room))
            return;
        if (rc == 0)
            rc = start_oldest(grinder, lease);
        else
            lp__grinder_end(grinder, lp__grinder_take(grinder), rc);
        if (rc == LP_EBROKEN && !broken)
            lp__grinder_keep_reason(grinder, lp_lease_reason(lease));
        broken = rc == LP_EBROKEN;
    }
}

static void begin_running(lp__batch_t *batch, lp_lease_t *lease)
{
    lp_grinder_t *grinder = batch->grinder;
    batch->lease = lease;
    lease->batch = batch;
    grinder->batch.running_count++;
    lp__list_push_back(&grinder->batch.running, &batch->link);
    fill(grinder, lease);
    if (lease->in_flight == 0)
        end_running(batch);
    else
        grinder->batches++;
}

/* ---- Waiting ------------------------------------------------------------------ */

/* There is no lease for the pending jobs. None will come either, unless other batches wait. */
static void fail_pending(lp_grinder_t *grinder, int status)
{
    if (grinder->batch.waiting_count > 0 && status != LP_ENOTSTARTED)
        return;
    while (grinder->pending_count > 0)
        lp__grinder_end(grinder, lp__grinder_take(grinder), status);
}

static void stop_waiting(lp__batch_t *batch)
{
    batch->grinder->batch.waiting_count--;
    lp__list_remove(&batch->link);
}

static void withdraw_waiting(lp_grinder_t *grinder)
{
    while (!lp__list_empty(&grinder->batch.waiting)) {
        lp__batch_t *batch = batch_of(grinder->batch.waiting.next);
        stop_waiting(batch);
        lp__acquire_withdraw(&batch->req);
        drop_batch(batch);
    }
}

void lp__batch_withdraw_idle(lp_grinder_t *grinder)
{
    if (grinder->pending_count == 0)
        withdraw_waiting(grinder);
}

static void on_lease(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    lp__batch_t *batch = LP__CONTAINER(req, lp__batch_t, req);
    lp_grinder_t *grinder = batch->grinder;
    grinder->busy++;
    stop_waiting(batch);
    if (status == 0) {
        begin_running(batch, lease);
    } else {
        drop_batch(batch);
        fail_pending(grinder, status);
    }
    lp__batch_arrange(grinder);
    lp__grinder_leave(grinder);
}

/* A lease now, or later. False: neither. */
static bool begin(lp_grinder_t *grinder)
{
    char owner[LP__OWNER_PREFIX_MAX + 32];
    lp_acquire_options_t options;
    lp_lease_t *lease;
    lp__batch_t *batch = new_batch(grinder);
    if (!batch) {
        fail_pending(grinder, LP_ENOMEM);
        return false;
    }
    snprintf(owner, sizeof owner, "%s-batch-%" PRIu64, grinder->owner_prefix,
             ++grinder->batch.last_number);
    lp_acquire_options_init(&options);
    options.owner = owner;
    options.lease_ns = grinder->options.lease_ns;
    int rc = lp__acquire_now(grinder->manager, &options, &lease);
    if (rc == 0) {
        begin_running(batch, lease);
        return true;
    }
    if (rc == LP_EUNAVAILABLE)
        rc = lp_acquire(grinder->manager, &batch->req, &options, on_lease);
    if (rc != 0) {
        drop_batch(batch);
        fail_pending(grinder, rc);
        return false;
    }
    grinder->batch.waiting_count++;
    lp__list_push_back(&grinder->batch.waiting, &batch->link);
    return true;
}

/* ---- Deciding ----------------------------------------------------------------- */

static uint64_t due_ns(const lp_grinder_t *grinder)
{
    if (grinder->pending_count == 0)
        return LP_FOREVER;
    if (grinder->state == LP__GRINDER_STOPPING)
        return 0;
    return lp__clock_after(lp__grinder_oldest_ns(grinder), grinder->options.max_wait_ns);
}

/* How many are to wait for a lease. */
static int64_t wanted(const lp_grinder_t *grinder)
{
    const lp__clock_t *clock = &grinder->manager->rt->clock;
    int64_t full = grinder->pending_count / grinder->options.batch_size_threshold;
    return full > 0 ? full : lp__clock_passed(clock, due_ns(grinder));
}

/* Where one waits already, a second that would be one waiter too many is not missed, and not to be
 * counted as one that was refused. */
static bool may_begin(const lp_grinder_t *grinder)
{
    const lp_manager_t *manager = grinder->manager;
    if (grinder->batch.waiting_count > 0 && manager->waiter_count >= manager->options.max_waiters)
        return false;
    return grinder->batch.waiting_count + grinder->batch.running_count <
           grinder->options.max_batches;
}

static void on_due(lp__deadline_t *deadline);

/* A batch that waits for its lease, or may not begin yet, needs no deadline: it comes by itself. */
static void set_deadline(lp_grinder_t *grinder)
{
    lp__deadline_t *deadline = &grinder->batch.deadline;
    if (grinder->pending_count > 0 && grinder->batch.waiting_count == 0 && may_begin(grinder) &&
        !deadline->node.linked)
        lp__runtime_set_deadline(grinder->manager->rt, deadline, due_ns(grinder), on_due);
}

/* In a turn. */
static void arrange_due(lp__task_t *task)
{
    lp__batch_arrange(LP__CONTAINER(task, lp_grinder_t, batch.due));
}

/* The deadline is left where it was when the job that it was for has gone: it then finds out when
 * to come back. */
static void on_due(lp__deadline_t *deadline)
{
    lp_grinder_t *grinder = LP__CONTAINER(deadline, lp_grinder_t, batch.deadline);
    lp__runtime_undefer(&grinder->batch.due);
    if (lp__clock_passed(&grinder->manager->rt->clock, due_ns(grinder)))
        lp__runtime_defer(grinder->manager->rt, &grinder->batch.due, arrange_due);
    else
        set_deadline(grinder);
}

bool lp__batch_is_full(const lp_grinder_t *grinder)
{
    return grinder->pending_count >= grinder->options.batch_size_threshold && may_begin(grinder);
}

void lp__batch_arrange(lp_grinder_t *grinder)
{
    grinder->batch.again = true;
    if (grinder->batch.arranging)
        return;
    grinder->batch.arranging = true;
    while (grinder->batch.again) { /* a batch may end, or a deadline be due, meanwhile */
        grinder->batch.again = false;
        while (may_begin(grinder) && grinder->batch.waiting_count < wanted(grinder) &&
               begin(grinder))
            continue;
    }
    grinder->batch.arranging = false;
    lp__batch_withdraw_idle(grinder);
    set_deadline(grinder);
}

/* ---- Ending ------------------------------------------------------------------- */

void lp__batch_job_done(lp__batch_t *batch, const lp_job_t *job, int status)
{
    lp_grinder_t *grinder = batch->grinder;
    bool cancelled = status == LP_ECANCELLED && !lp_job_still_running(job);
    grinder->busy++;
    grinder->in_flight--;
    lp__grinder_count(grinder, status, cancelled);
    if (batch->lease->in_flight == 0) {
        end_running(batch);
        lp__batch_arrange(grinder);
    }
    lp__grinder_leave(grinder);
}

void lp__batch_cancel_all(lp_grinder_t *grinder)
{
    withdraw_waiting(grinder);
    for (lp__list_t *at = grinder->batch.running.next; at != &grinder->batch.running;
         at = at->next) {
        lp__executor_t *executor = batch_of(at)->lease->executor;
        lp__executor_end_queued(executor, LP_ECANCELLED);
        lp__interrupt_executor(executor, LP_ECANCELLED, true);
    }
}

static void free_list(lp__list_t *list)
{
    lp__list_t *link;
    while ((link = lp__list_pop_front(list)) != NULL)
        lp__free(batch_of(link));
}

void lp__batch_free_all(lp_grinder_t *grinder)
{
    free_list(&grinder->batch.waiting);
    free_list(&grinder->batch.running);
    free_list(&grinder->batch.spare);
    lp__runtime_clear_deadline(grinder->manager->rt, &grinder->batch.deadline);
    lp__runtime_undefer(&grinder->batch.due);
}
