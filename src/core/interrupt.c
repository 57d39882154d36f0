/* interrupt.c - see interrupt.h. */
#include "core/interrupt.h"

#include "core/job.h"
#include "core/lease.h"
#include "core/manager.h"

#define FIRST_PAUSE_NS LP_MILLISECOND
#define LONGEST_PAUSE_NS (50 * LP_MILLISECOND)

static void on_deadline(lp__deadline_t *deadline);

static lp__worker_t *next_worker(lp__list_t *link)
{
    return LP__CONTAINER(link, lp__worker_t, link);
}

static bool can_be_killed(const lp__worker_t *worker)
{
    return worker->executor->backend->kill && worker->interrupt.may_kill;
}

/* When the next step is due; LP_FOREVER: none is left. */
static uint64_t next_step_ns(const lp__worker_t *worker)
{
    const lp_manager_options_t *options = &worker->executor->manager->options;
    uint64_t grace_ns = options->interrupt_grace_ns, began_ns = worker->interrupt.began_ns;
    if (worker->interrupt.killed > 1)
        return LP_FOREVER;
    if (worker->interrupt.killed == 1)
        return lp__clock_after(worker->interrupt.killed_ns, options->kill_grace_ns);
    began_ns = lp__clock_after(began_ns, grace_ns);
    return lp__clock_after(began_ns, can_be_killed(worker) ? grace_ns : options->exit_grace_ns);
}

static void kill_worker(lp__worker_t *worker, bool by_force)
{
    lp_manager_t *manager = worker->executor->manager;
    if (worker->interrupt.killed == 0)
        worker->interrupt.killed_ns = lp__clock_now_ns(&manager->rt->clock);
    worker->interrupt.killed = by_force ? 2 : 1;
    worker->executor->backend->kill(worker, by_force);
}

static void ask(lp__worker_t *worker)
{
    if (!worker->executor->backend->interrupt)
        return;
    if (lp__desk_ask_begin(&worker->desk, worker->interrupt.serial))
        worker->executor->backend->interrupt(worker);
    lp__desk_ask_end(&worker->desk);
}

/* Comes back after the pause, or for the next step if that is earlier, and after `done_ns`. One
 * that is overdue comes as a deadline of its own all the same: what is due before is first. */
static void come_back(lp__worker_t *worker, uint64_t done_ns, uint64_t now_ns)
{
    lp_runtime_t *rt = worker->executor->manager->rt;
    uint64_t step_ns = next_step_ns(worker), at_ns = now_ns + worker->interrupt.pause_ns;
    if (step_ns < at_ns && step_ns > done_ns)
        at_ns = step_ns;
    if (worker->interrupt.pause_ns < LONGEST_PAUSE_NS / 2)
        worker->interrupt.pause_ns *= 2;
    else
        worker->interrupt.pause_ns = LONGEST_PAUSE_NS;
    lp__runtime_set_deadline(rt, &worker->interrupt.deadline, at_ns, on_deadline);
}

/* Has the worker finished what was to stop? */
static bool is_over(const lp__worker_t *worker)
{
    return !lp__desk_holds(&worker->desk, worker->interrupt.serial);
}

/* False: the worker is written off, and there is nothing to come back for. */
static bool do_step(lp__worker_t *worker)
{
    if (can_be_killed(worker) || worker->interrupt.killed > 0) {
        kill_worker(worker, worker->interrupt.killed > 0);
        return true;
    }
    return !lp__worker_write_off(worker, worker->interrupt.serial, worker->interrupt.why);
}

bool lp__interrupt_stands(const lp__worker_t *worker)
{
    return worker->interrupt.why != 0 && !is_over(worker);
}

static void on_deadline(lp__deadline_t *deadline)
{
    lp__worker_t *worker = LP__CONTAINER(deadline, lp__worker_t, interrupt.deadline);
    uint64_t at_ns = deadline->node.key;
    if (is_over(worker)) {
        lp__interrupt_forget(worker);
        return;
    }
    ask(worker);
    if (next_step_ns(worker) > at_ns || do_step(worker))
        come_back(worker, at_ns, lp__clock_now_ns(&worker->executor->manager->rt->clock));
}

static void begin(lp__worker_t *worker, lp__node_t *node, uint64_t serial, int why, bool may_kill)
{
    if (worker->interrupt.why != 0 && worker->interrupt.serial == serial) {
        worker->interrupt.may_kill |= may_kill;
        return;
    }
    if (node)
        lp__job_want_stop(lp__job_of(node), why);
    worker->interrupt.began_ns = lp__clock_now_ns(&worker->executor->manager->rt->clock);
    worker->interrupt.pause_ns = FIRST_PAUSE_NS;
    worker->interrupt.serial = serial;
    worker->interrupt.why = why;
    worker->interrupt.may_kill = may_kill;
    worker->interrupt.killed = 0;
    lp__desk_want_stop(&worker->desk, serial, why);
    ask(worker);
    come_back(worker, worker->interrupt.began_ns - 1, worker->interrupt.began_ns);
}

bool lp__interrupt_worker(lp__worker_t *worker, int why, bool may_kill)
{
    uint64_t serial;
    lp__node_t *node = lp__queue_look(&worker->executor->queue, &worker->desk, &serial);
    if (!lp__desk_is_held(&worker->desk))
        return false;
    begin(worker, node, serial, why, may_kill);
    return true;
}

bool lp__interrupt_work(lp__worker_t *worker, uint64_t serial, int why)
{
    if (!lp__desk_holds(&worker->desk, serial))
        return false;
    begin(worker, NULL, serial, why, false);
    return true;
}

bool lp__interrupt_job(lp_job_t *job, int why, bool may_kill)
{
    lp__executor_t *executor = lp__job_lease(job)->executor;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        uint64_t serial;
        lp__worker_t *worker = next_worker(at);
        if (lp__queue_look(&executor->queue, &worker->desk, &serial) != &job->priv.node ||
            !lp__desk_is_held(&worker->desk))
            continue;
        begin(worker, &job->priv.node, serial, why, may_kill);
        return true;
    }
    return false;
}

unsigned lp__interrupt_executor(lp__executor_t *executor, int why, bool may_kill)
{
    unsigned count = 0;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next)
        count += lp__interrupt_worker(next_worker(at), why, may_kill);
    return count;
}

bool lp__interrupt_kill(lp__worker_t *worker, int why)
{
    lp__desk_hold_t hold = lp__desk_hold(&worker->desk);
    if (!worker->executor->backend->kill || hold == LP__DESK_FREE || hold == LP__DESK_GONE)
        return false;
    lp__interrupt_worker(worker, why, true);
    if (worker->interrupt.killed < 2)
        kill_worker(worker, true);
    return true;
}

void lp__interrupt_forget(lp__worker_t *worker)
{
    worker->interrupt.why = 0;
    lp__runtime_clear_deadline(worker->executor->manager->rt, &worker->interrupt.deadline);
}

void lp__interrupt_forget_job(lp__executor_t *executor, const lp_job_t *job)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__worker_t *worker = next_worker(at);
        if (worker->index == job->priv.worker && is_over(worker) && worker->interrupt.killed == 0)
            lp__interrupt_forget(worker);
    }
}
