/* process_jobs.c - which jobs a child has, and how it loses them.
 *
 * While jobs are short a child is sent several at once: a round trip for each would cost more
 * than they do. Only the first of them counts as running. The others can be taken back, and are
 * as soon as the first takes long, so that none waits behind it while another worker is idle: the
 * child says which it will not begin. They go to the front of the queue, in their order. */
#include <signal.h>
#include <string.h>

#include "backend/child.h"
#include "base/atomics.h"
#include "base/spin.h"
#include "core/interrupt.h"
#include "core/lease.h"

/* Work that a child is sent ahead, and how long its first job may take before the others are
 * taken back. */
#define AHEAD_NS (200 * UINT64_C(1000))
#define AHEAD_BYTES ((size_t)256 << 10)
#define HOSTAGE_NS LP_MILLISECOND

static lp__sent_t *sent_at(lp__child_t *child, unsigned place)
{
    return &child->sent[(child->first + place) % LP__CHILD_AHEAD];
}

static uint64_t now_ns(const lp__child_t *child)
{
    return lp__clock_now_ns(&lp__child_runtime(child)->clock);
}

static void end_job(lp__child_t *child, lp_job_t *job, int status)
{
    job->priv.node.status = status;
    lp__inbox_post(child->worker->inbox, &job->priv.node);
}

static void begin_first(lp__child_t *child);

/* ---- Taking back -------------------------------------------------------------- */

static void on_recall(lp__deadline_t *deadline)
{
    lp__child_t *child = LP__CONTAINER(deadline, lp__child_t, recall);
    lp_runtime_t *rt = lp__child_runtime(child);
    if (child->count <= 1 || child->stage >= LP__CHILD_DYING)
        return;
    uint64_t due_ns = child->began_ns + HOSTAGE_NS;
    if (now_ns(child) >= due_ns)
        lp__child_recall(child);
    else
        lp__runtime_set_deadline(rt, deadline, due_ns, on_recall);
}

/* The deadline is left where it is: it then finds out when to come back. */
static void limit_hostages(lp__child_t *child)
{
    if (child->count > 1 && !child->recall.node.linked)
        lp__runtime_set_deadline(lp__child_runtime(child), &child->recall,
                                 child->began_ns + HOSTAGE_NS, on_recall);
}

static void withdraw(lp__child_t *child, uint64_t first, uint64_t last)
{
    child->withdrawing++;
    lp__child_say(child, LP__CHILD_WITHDRAW, first, &last, sizeof last);
}

void lp__child_recall(lp__child_t *child)
{
    if (child->withdrawing > 0 || child->count <= 1)
        return; /* what is asked for will be answered first */
    withdraw(child, sent_at(child, 1)->id, sent_at(child, child->count - 1)->id);
    uint64_t took_ns = now_ns(child) - child->began_ns;
    if (child->job_ns < took_ns)
        child->job_ns = took_ns; /* no more ahead, for a while */
}

/* One that will not begin: it ends, or waits again. */
static void lose(lp__child_t *child, const lp__sent_t *sent)
{
    lp__executor_t *executor = child->worker->executor;
    lp_job_t *job = lp__job_of(sent->node);
    int status = lp__job_stop_reason(job);
    if (status == 0)
        status = sent->end_with;
    if (status == 0) {
        lp__queue_give_back(&executor->queue, sent->node);
        return;
    }
    lp__queue_begun(&executor->queue);
    end_job(child, job, status);
}

/* Those from `place` on whose numbers are in the range; the later ones first, so that the queue
 * has them in order. */
static void lose_from(lp__child_t *child, unsigned place, uint64_t first, uint64_t last)
{
    unsigned kept = place;
    for (unsigned i = child->count; i-- > place;)
        if (sent_at(child, i)->id >= first && sent_at(child, i)->id <= last)
            lose(child, sent_at(child, i));
    for (unsigned i = place; i < child->count; i++)
        if (sent_at(child, i)->id < first || sent_at(child, i)->id > last)
            *sent_at(child, kept++) = *sent_at(child, i);
    child->count = kept;
}

bool lp__child_take_withdrawn(lp__child_t *child, uint64_t first, uint64_t last)
{
    if (child->withdrawing == 0)
        return false;
    child->withdrawing--;
    if (last > child->last_id || (child->on_desk && first <= sent_at(child, 0)->id))
        return false;
    lose_from(child, child->on_desk, first, last);
    if (child->kill_later && lp__interrupt_stands(child->worker))
        lp__child_kill(child->worker, false);
    begin_first(child);
    lp__child_wake(child->worker->executor);
    return true;
}

bool lp__child_withdraw_job(lp_job_t *job, int why)
{
    lp__executor_t *executor = lp__job_lease(job)->executor;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__child_t *child = lp__child_of(LP__CONTAINER(at, lp__worker_t, link));
        for (unsigned i = child && child->on_desk; child && i < child->count; i++) {
            const lp__sent_t *sent = sent_at(child, i);
            if (sent->node != &job->priv.node)
                continue;
            if (lp__job_stop_reason(job) == 0) {
                lp__job_want_stop(job, why);
                withdraw(child, sent->id, sent->id);
            }
            return true;
        }
    }
    return false;
}

uint64_t lp__child_withdraw_all(lp__executor_t *executor, int status)
{
    uint64_t count = 0;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__child_t *child = lp__child_of(LP__CONTAINER(at, lp__worker_t, link));
        if (!child || child->count <= child->on_desk)
            continue;
        for (unsigned i = child->on_desk; i < child->count; i++) {
            count += sent_at(child, i)->end_with == 0;
            if (sent_at(child, i)->end_with == 0)
                sent_at(child, i)->end_with = status;
        }
        withdraw(child, sent_at(child, child->on_desk)->id, sent_at(child, child->count - 1)->id);
    }
    return count;
}

/* ---- Giving ------------------------------------------------------------------- */

/* While it has something there it keeps a CPU busy, as far as is known here. */
static void set_on_desk(lp__child_t *child, bool on_desk)
{
    if (on_desk && !child->on_desk)
        lp__spin_busy_begin();
    else if (!on_desk && child->on_desk)
        lp__spin_busy_end();
    child->on_desk = on_desk;
}

static void put_on_desk(lp__child_t *child)
{
    lp__worker_t *worker = child->worker;
    const lp__sent_t *sent = sent_at(child, 0);
    lp_job_t *job = lp__job_of(sent->node);
    const lp_lease_t *lease = lp__job_lease(job);
    set_on_desk(child, true);
    lp__desk_take(&worker->desk, sent->node);
    lp__desk_ready(&worker->desk);
    lp__queue_begun(&worker->executor->queue);
    child->began_ns = now_ns(child);
    int why = lp__job_stop_reason(job);
    if (why != 0)
        lp__interrupt_worker(worker, why, true);
    else if (sent->end_with == LP_EEXPIRED && lease->on_expiry != LP_EXPIRY_LEAVE)
        lp__interrupt_worker(worker, LP_EEXPIRED, lease->on_expiry == LP_EXPIRY_KILL);
    limit_hostages(child);
}

/* The oldest job, if there is one, has begun or is about to, as far as is known. What was to stop
 * and has begun is interrupted. */
static void begin_first(lp__child_t *child)
{
    if (child->count > 0 && !child->on_desk && child->withdrawing == 0)
        put_on_desk(child);
}

/* How many jobs it may have. */
static unsigned depth(const lp__child_t *child)
{
    const lp__executor_t *executor = child->worker->executor;
    uint64_t limit = (uint64_t)executor->manager->options.max_tasks_per_worker;
    uint64_t most = 1;
    if (child->withdrawing == 0 && child->job_ns < AHEAD_NS)
        most =
            child->job_ns < AHEAD_NS / LP__CHILD_AHEAD ? LP__CHILD_AHEAD : AHEAD_NS / child->job_ns;
    if (limit > 0 && limit - child->worker->served < most)
        most = limit - child->worker->served;
    return (unsigned)most;
}

/* Takes the oldest job of the queue; false: there is none, or it cannot be sent now. */
static bool give_one(lp__child_t *child)
{
    lp__worker_t *worker = child->worker;
    lp__queue_t *queue = &worker->executor->queue;
    lp__node_t *node = lp__queue_take_ahead(queue);
    if (!node)
        return false;
    lp_job_t *job = lp__job_of(node);
    int status = lp__job_too_late(job, now_ns(child));
    if (status == 0)
        status = worker->runner->pack(child->state, job, child->last_id + 1, &child->out);
    if (status != 0) {
        lp__queue_begun(queue);
        end_job(child, job, status);
        return true;
    }
    child->count++;
    *sent_at(child, child->count - 1) = (lp__sent_t){.node = node, .id = ++child->last_id};
    begin_first(child);
    return true;
}

/* What was withdrawn may still lie in the socket, and what is large would lie here. */
static bool may_have_more(const lp__child_t *child)
{
    return child->count == 0 ||
           (child->last_id - child->sent[child->first].id < LP__CHILD_AHEAD - 1 &&
            lp__frames_left(&child->out) < AHEAD_BYTES);
}

void lp__child_feed(lp__child_t *child)
{
    unsigned most;
    if (child->stage != LP__CHILD_SERVING)
        return;
    most = depth(child);
    if (child->count == 0 || child->count <= most / 2) {
        uint64_t waiting = lp__queue_length(&child->worker->executor->queue);
        uint64_t fair = 1 + waiting / child->worker->executor->worker_count;
        if (most > fair)
            most = (unsigned)fair;
        while (child->count < most && may_have_more(child) && give_one(child))
            continue;
        limit_hostages(child);
        lp__child_flush(child);
    }
    lp__child_leave_if_done(child);
}

void lp__child_wake(lp__executor_t *executor)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__child_t *child = lp__child_of(LP__CONTAINER(at, lp__worker_t, link));
        if (child && child->stage == LP__CHILD_SERVING && child->count == 0)
            lp__child_feed(child);
    }
}

void lp__child_serve(lp__child_t *child)
{
    child->stage = LP__CHILD_SERVING;
    child->ready = true;
    if (!lp__desk_clear(&child->worker->desk))
        lp__child_leave(child); /* it took too long, and was given up */
}

void lp__child_renewed(lp__executor_t *executor)
{
    const lp_lease_t *lease = executor->lease;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__child_t *child = lp__child_of(LP__CONTAINER(at, lp__worker_t, link));
        lp__child_renew_t renew = {.hard_ns = lp__load_relaxed(&lease->hard_ns)};
        if (!child || child->count == 0)
            continue;
        renew.through = child->last_id;
        lp__child_say(child, LP__CHILD_RENEW, lease->id, &renew, sizeof renew);
    }
}

/* ---- Results ------------------------------------------------------------------ */

static bool is_status(const lp_job_t *job, int status)
{
    switch (status) {
    case 0:
    case LP_EJOB:
    case LP_ETRANSFER:
    case LP_ENOMEM:
    case LP_ETIMEDOUT:
    case LP_EEXPIRED:
    case LP_EBROKEN:
        return true;
    default:
        return status == lp__job_stop_reason(job);
    }
}

/* The job is over, and its worker may have broken with it. */
static void conclude(lp__child_t *child, lp_job_t *job, const lp__child_result_t *result)
{
    lp__worker_t *worker = child->worker;
    uint64_t took_ns = now_ns(child) - child->began_ns;
    uint64_t run_ns = result->run_ns < took_ns ? result->run_ns : took_ns;
    job->priv.worker = result->flags & LP__RESULT_RAN ? worker->index : 0;
    if (result->flags & LP__RESULT_RAN) {
        worker->served++;
        lp__histogram_record(&worker->run_times, run_ns);
        child->job_ns = child->job_ns == LP_FOREVER ? run_ns : (child->job_ns * 3 + run_ns) / 4;
        if (result->status != 0 && result->status == lp__job_stop_reason(job))
            lp__job_mark(job, LP__JOB_STOPPED);
    }
    if (result->status == LP_EBROKEN) {
        lp__worker_explain(worker, "a worker's state could not be kept");
        worker->runner->explain(job, worker->reason);
        lp__worker_broke(worker);
    }
    end_job(child, job, result->status);
}

/* The child passes over what it was told not to begin, and what it then says of that may come
 * later than the result of the next job: there are two sockets. */
static void pass_over(lp__child_t *child, uint64_t id)
{
    if (child->withdrawing > 0 && !child->on_desk && child->count > 0 && id <= child->last_id)
        lose_from(child, 0, 0, id - 1);
}

bool lp__child_take_result(lp__child_t *child, const lp__frame_t *frame)
{
    lp__child_result_t result;
    pass_over(child, frame->id);
    if (child->count == 0 || frame->id != sent_at(child, 0)->id || frame->len < sizeof result)
        return false;
    memcpy(&result, frame->payload, sizeof result);
    if (!child->on_desk)
        put_on_desk(child);
    lp_job_t *job = lp__job_of(sent_at(child, 0)->node);
    bool given_up = lp__desk_hold(&child->worker->desk) != LP__DESK_BUSY;
    if (!given_up) {
        int rc = is_status(job, result.status)
                     ? child->worker->runner->unpack(job, frame->payload + sizeof result,
                                                     frame->len - sizeof result)
                     : LP_ETRANSFER;
        if (rc == LP_ETRANSFER)
            return false;
        if (rc != 0)
            result.status = rc;
        (void)lp__desk_clear(&child->worker->desk);
        conclude(child, job, &result);
    }
    if (given_up && child->count > 1 && !(result.flags & LP__RESULT_LEAVING)) {
        lp__process_kill(&child->process, SIGKILL); /* it may begin the others just now */
        return true;
    }
    child->first = (child->first + 1) % LP__CHILD_AHEAD;
    child->count--;
    set_on_desk(child, false);
    if (given_up || (result.flags & LP__RESULT_LEAVING)) {
        lose_from(child, 0, 0, UINT64_MAX);
        lp__child_leave(child);
        lp__child_wake(child->worker->executor);
    } else {
        begin_first(child);
    }
    return true;
}

/* ---- Leaving ------------------------------------------------------------------ */

void lp__child_leave(lp__child_t *child)
{
    lp__worker_t *worker = child->worker;
    if (child->stage >= LP__CHILD_LEAVING)
        return;
    if (lp__desk_hold(&worker->desk) == LP__DESK_FREE) {
        lp__desk_take(&worker->desk, NULL);
        lp__desk_ready(&worker->desk);
    }
    lp__frames_put(&child->out, LP__CHILD_END, 0, NULL, 0);
    lp__child_flush(child);
    child->stage = LP__CHILD_LEAVING;
    child->leaving = true;
    lp__child_limit_leaving(child);
}

void lp__child_leave_if_done(lp__child_t *child)
{
    lp__executor_t *executor = child->worker->executor;
    uint64_t limit = (uint64_t)executor->manager->options.max_tasks_per_worker;
    bool worn = limit > 0 && child->worker->served >= limit;
    bool ends = executor->ending && lp__queue_length(&executor->queue) == 0;
    if (child->count == 0 && (worn || ends))
        lp__child_leave(child);
}

void lp__child_end_jobs(lp__child_t *child, int status)
{
    lp__worker_t *worker = child->worker;
    lp__queue_t *queue = &worker->executor->queue;
    for (unsigned i = 0; i < child->count; i++) {
        lp_job_t *job = lp__job_of(sent_at(child, i)->node);
        bool first = i == 0 && child->on_desk;
        if (!first)
            lp__queue_begun(queue);
        else if (status == 0)
            continue; /* given up: it is nobody's */
        else if (status != LP_EBROKEN)
            lp__job_mark(job, LP__JOB_KILLED);
        int end_with = first ? status : LP_EBROKEN;
        job->priv.worker = worker->index;
        if (end_with == LP_EBROKEN)
            worker->runner->explain(job, worker->reason);
        end_job(child, job, end_with);
    }
    child->count = 0;
    set_on_desk(child, false);
}
