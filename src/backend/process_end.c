/* process_end.c - how a child ends, and what that says of its executor.
 *
 * What it had sent before it died counts. A child that was told to leave, or was killed because of
 * what it ran, is replaced like a thread that leaves; any other death breaks the executor. */
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "backend/child.h"
#include "base/alloc.h"
#include "core/interrupt.h"

/* A child whose channel is closed is about to be dead, or is made so after this time. */
#define DYING_NS (250 * LP_MILLISECOND)
#define LONGEST_LOOK_NS (50 * LP_MILLISECOND)

static void on_deadline(lp__deadline_t *deadline);

static uint64_t now_ns(const lp__child_t *child)
{
    return lp__clock_now_ns(&lp__child_runtime(child)->clock);
}

static void come_back(lp__child_t *child, uint64_t wait_ns)
{
    lp__runtime_set_deadline(lp__child_runtime(child), &child->deadline,
                             lp__clock_after(now_ns(child), wait_ns), on_deadline);
}

void lp__child_limit_leaving(lp__child_t *child)
{
    come_back(child, child->worker->executor->manager->options.exit_grace_ns);
}

void lp__child_begin_dying(lp__child_t *child, const char *nonsense)
{
    if (child->stage >= LP__CHILD_DYING)
        return;
    child->stage = LP__CHILD_DYING;
    child->nonsense = nonsense;
    child->dying_ns = now_ns(child);
    child->look_ns = LP_MILLISECOND;
    lp__child_stop_watching(child, LP__POLL_CHANNEL);
    lp__child_stop_watching(child, LP__POLL_CONTROL);
    if (nonsense)
        lp__process_kill(&child->process, SIGKILL);
    come_back(child, child->look_ns);
}

/* ---- The verdict -------------------------------------------------------------- */

/* The first job, which is the one that was to stop if anything was. */
static bool was_to_stop(const lp__child_t *child)
{
    const lp__worker_t *worker = child->worker;
    if (!child->on_desk)
        return worker->interrupt.killed > 0;
    return worker->interrupt.killed > 0 &&
           lp__job_stop_reason(lp__job_of(child->sent[child->first].node)) != 0;
}

static void explain(lp__child_t *child, const lp__exit_t *how, bool early)
{
    char name[LP__WORKER_NAME_SIZE], text[96], reason[LP__WORKER_NAME_SIZE + 192];
    bool was_killed = how->kind == LP__EXIT_SIGNAL;
    lp__worker_name(child->worker, name);
    lp__exit_text(how, text, sizeof text);
    if (child->nonsense)
        snprintf(reason, sizeof reason, "the worker %s %s", name, child->nonsense);
    else if (child->killed)
        snprintf(reason, sizeof reason, "the worker %s closed its channel", name);
    else
        snprintf(reason, sizeof reason, "the worker %s %s%s%s%s", name, was_killed ? "was " : "",
                 text, child->worker->interrupt.killed > 0 ? " by its manager" : "",
                 early ? " before it was ready" : "");
    lp__worker_explain(child->worker, reason);
}

/* Whatever becomes of its jobs, they end. */
static void settle(lp__child_t *child, const lp__exit_t *how)
{
    lp__worker_t *worker = child->worker;
    bool given_up = lp__desk_hold(&worker->desk) == LP__DESK_LOST;
    bool left = child->leaving && child->count == 0;
    bool to_stop = !given_up && was_to_stop(child);
    int status = LP_EBROKEN;
    bool breaks = child->nonsense || !(left || to_stop || given_up);
    if (!child->nonsense && to_stop && child->on_desk)
        status = lp__job_stop_reason(lp__job_of(child->sent[child->first].node));
    if (breaks || child->count > 1)
        explain(child, how, !child->ready && !child->leaving);
    if (breaks)
        lp__worker_broke(worker);
    if (!breaks && left && !to_stop && !worker->reason &&
        (how->kind != LP__EXIT_CODE || how->value != 0)) {
        char text[96];
        lp__exit_text(how, text, sizeof text);
        lp__runtime_log(lp__child_runtime(child), worker->executor->manager, LP_LOG_WARN,
                        "worker %u-%u was to leave, and %s%s", worker->executor->id, worker->index,
                        how->kind == LP__EXIT_SIGNAL ? "was " : "", text);
    }
    (void)lp__desk_clear(&worker->desk);
    lp__child_end_jobs(child, given_up ? 0 : status);
}

void lp__child_look(lp__child_t *child)
{
    lp__exit_t how;
    lp__worker_t *worker = child->worker;
    lp_runtime_t *rt = lp__child_runtime(child);
    if (child->stage == LP__CHILD_GONE || lp__process_reap(&child->process, &how) != 0)
        return;
    lp__child_drain(child);
    settle(child, &how);
    child->stage = LP__CHILD_GONE;
    lp__runtime_clear_deadline(rt, &child->deadline);
    lp__runtime_clear_deadline(rt, &child->recall);
    lp__child_unwatch(child);
    lp__process_close(&child->process);
    lp__child_wake(worker->executor); /* others may have waited for what this one still had */
    lp__worker_leave(worker);
}

/* ---- Waiting for it ----------------------------------------------------------- */

static void on_deadline(lp__deadline_t *deadline)
{
    lp__child_t *child = LP__CONTAINER(deadline, lp__child_t, deadline);
    if (child->stage == LP__CHILD_LEAVING) {
        lp__interrupt_worker(child->worker, LP_ECANCELLED, true);
        return;
    }
    if (child->stage != LP__CHILD_DYING)
        return;
    lp__child_look(child);
    if (child->stage == LP__CHILD_GONE)
        return;
    if (!child->nonsense && !child->killed && now_ns(child) - child->dying_ns >= DYING_NS) {
        child->killed = true;
        lp__process_kill(&child->process, SIGKILL);
    }
    if (child->look_ns < LONGEST_LOOK_NS)
        child->look_ns *= 2;
    come_back(child, child->look_ns);
}

/* Politely only when it has said that it will not begin the other jobs that it was sent: they are
 * asked back since the first interrupt, and would be lost with it. */
void lp__child_kill(lp__worker_t *worker, bool by_force)
{
    lp__child_t *child = lp__child_of(worker);
    child->kill_later = !by_force && child->count > 1;
    if (!child->kill_later)
        lp__process_kill(&child->process, by_force ? SIGKILL : SIGTERM);
}

void lp__child_discard(lp__child_t *child)
{
    lp__exit_t how;
    const struct timespec moment = {.tv_nsec = 100000};
    lp__child_unwatch(child);
    lp__process_kill(&child->process, SIGKILL);
    while (lp__process_reap(&child->process, &how) == UV_EAGAIN)
        nanosleep(&moment, NULL); /* it dies at once */
    lp__process_close(&child->process);
}
