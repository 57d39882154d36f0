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

/* How long after the first request the next step is due; LP_FOREVER: none is left. */
static uint64_t next_step_ns(const lp__worker_t *worker)
{
    const lp_manager_options_t *options = &worker->executor->manager->options;
    if (!worker->executor->backend->kill || !worker->interrupt.may_kill)
        return options->interrupt_grace_ns + options->exit_grace_ns;
    if (worker->interrupt.killed == 0)
        return 2 * options->interrupt_grace_ns;
    if (worker->interrupt.killed == 1)
        return 2 * options->interrupt_grace_ns + options->kill_grace_ns;
    return LP_FOREVER;
}

static void kill_worker(lp__worker_t *worker, bool by_force)
{
    if (worker->interrupt.killed == 0)
        worker->executor->manager->workers_killed++;
    worker->interrupt.killed = by_force ? 2 : 1;
    worker->executor->backend->kill(worker, by_force);
}

static void ask(lp__worker_t *worker)
{
    if (worker->executor->backend->interrupt)
        worker->executor->backend->interrupt(worker);
}

/* Comes back after the pause, or for the next step if that is earlier. */
static void come_back(lp__worker_t *worker, uint64_t now_ns)
{
    lp_runtime_t *rt = worker->executor->manager->rt;
    uint64_t step_ns = next_step_ns(worker), at_ns = now_ns + worker->interrupt.pause_ns;
    if (step_ns != LP_FOREVER && worker->interrupt.began_ns + step_ns < at_ns)
        at_ns = worker->interrupt.began_ns + step_ns;
    if (worker->interrupt.pause_ns < LONGEST_PAUSE_NS / 2)
        worker->interrupt.pause_ns *= 2;
    else
        worker->interrupt.pause_ns = LONGEST_PAUSE_NS;
    lp__runtime_set_deadline(rt, &worker->interrupt.deadline, at_ns, on_deadline);
}

/* Has the worker finished what was to stop? */
static bool is_over(const lp__worker_t *worker)
{
    return !lp__desk_is_held(&worker->desk) ||
           lp__load_relaxed(&worker->desk.serial) != worker->interrupt.serial;
}

static void on_deadline(lp__deadline_t *deadline)
{
    lp__worker_t *worker = LP__CONTAINER(deadline, lp__worker_t, interrupt.deadline);
    uint64_t now_ns = lp__clock_now_ns(&worker->executor->manager->rt->clock);
    uint64_t step_ns = next_step_ns(worker);
    if (is_over(worker)) {
        lp__interrupt_forget(worker);
        return;
    }
    ask(worker);
    if (step_ns != LP_FOREVER && now_ns - worker->interrupt.began_ns >= step_ns) {
        if (worker->executor->backend->kill && worker->interrupt.may_kill)
            kill_worker(worker, worker->interrupt.killed > 0);
        else if (lp__worker_write_off(worker, worker->interrupt.why))
            return;
    }
    come_back(worker, now_ns);
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
    come_back(worker, worker->interrupt.began_ns);
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

bool lp__interrupt_give_up(lp__worker_t *worker, int why)
{
    if (!lp__desk_is_held(&worker->desk))
        return false;
    if (!worker->executor->backend->kill)
        return lp__worker_write_off(worker, why);
    if (worker->interrupt.killed > 1)
        return true;
    lp__interrupt_worker(worker, why, true);
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
