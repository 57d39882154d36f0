/* worker.c - see worker.h. */
#include "core/worker.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/interrupt.h"
#include "base/list.h"
#include "core/interrupt.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/manager.h"

/* ---- Loop thread -------------------------------------------------------------- */

static void deliver_broken(lp__call_t *call)
{
    lp__worker_t *worker = LP__CONTAINER(call, lp__worker_t, broken);
    lp__executor_break(worker->executor,
                       worker->reason ? worker->reason : "a worker's state could not be made");
}

/* An executor that ends has its own limits. */
static void deliver_tidying(lp__call_t *call)
{
    lp__worker_t *worker = LP__CONTAINER(call, lp__worker_t, tidying);
    lp__store_seq_cst(&worker->tidying_told, false); /* first: what begins now tells of itself */
    if (!worker->executor->ending)
        lp__interrupt_work(worker, lp__load_seq_cst(&worker->tidying_serial), LP_ECANCELLED);
}

int lp__worker_create(lp__executor_t *executor)
{
    lp_runtime_t *rt = executor->manager->rt;
    lp__worker_t *worker = lp__calloc(LP_MEM_CORE, sizeof *worker);
    if (!worker)
        return LP_ENOMEM;
    worker->executor = executor;
    worker->index = ++executor->last_worker;
    worker->inbox = rt->inbox;
    worker->runner = rt->runner;
    worker->runner_data = rt->runner_data;
    worker->exit.kind = LP__NODE_WORKER_EXIT;
    worker->broken.node.kind = LP__NODE_CALL;
    worker->broken.deliver = deliver_broken;
    worker->tidying.node.kind = LP__NODE_CALL;
    worker->tidying.deliver = deliver_tidying;
    worker->desk.nudges = executor->queue.nudges;
    lp__inbox_retain(worker->inbox);
    lp__list_push_back(&executor->workers, &worker->link);
    executor->worker_count++;
    int rc = executor->backend->worker_start(worker);
    if (rc != 0) {
        lp__list_remove(&worker->link);
        executor->worker_count--;
        lp__inbox_release(worker->inbox);
        lp__free(worker);
    }
    return rc;
}

int lp__worker_prestart(lp__executor_t *executor)
{
    int rc = 0;
    if (!executor->manager->options.prestart)
        return 0;
    while (rc == 0 && executor->worker_count < executor->max_workers)
        rc = lp__worker_create(executor);
    return executor->worker_count > 0 ? 0 : rc;
}

/* A worker of an executor that goes on has left. With jobs in the queue and nobody to run them
 * the executor is broken, or they would wait for ever. */
static void replace(lp__executor_t *executor)
{
    bool jobs_wait = lp__queue_length(&executor->queue) > 0;
    if (!jobs_wait && !executor->manager->options.prestart)
        return;
    int rc = lp__worker_create(executor);
    if (rc == 0 || lp__executor_usable(executor) > 0 || !jobs_wait)
        return;
    char reason[320];
    snprintf(reason, sizeof reason, "no worker could be started: %s",
             executor->why[0] ? executor->why : lp_strerror(rc));
    lp__executor_break(executor, reason);
}

/* Loop thread, or the worker's when nobody waits for it. What was kept for a job that was written
 * off goes too. */
static void free_worker(lp__worker_t *worker)
{
    if (worker->kept)
        worker->runner->release(worker->kept);
    lp__inbox_release(worker->inbox);
    lp__free(worker->reason);
    lp__free(worker);
}

void lp__worker_ended(lp__node_t *exit)
{
    lp__worker_t *worker = LP__CONTAINER(exit, lp__worker_t, exit);
    lp__executor_t *executor = worker->executor;
    lp_manager_t *manager = executor->manager;
    executor->backend->worker_join(worker);
    lp__interrupt_forget(worker);
    lp__list_remove(&worker->link);
    lp__histogram_add(&manager->run, &worker->run_times);
    manager->busy++;
    executor->lost_count -= worker->lost;
    if (worker->lost_lease)
        lp__lease_unpin(worker->lost_lease);
    free_worker(worker);
    bool goes_on = !executor->ending;
    lp__executor_worker_gone(executor); /* may free it, unless it goes on */
    if (goes_on)
        replace(executor);
    lp__manager_leave(manager);
}

/* The job's memory is the caller's again, whatever its work does with it. */
static void end_lost_job(lp__worker_t *worker, lp_job_t *job, int why)
{
    lp__job_want_stop(job, why);
    lp__job_mark(job, LP__JOB_LOST);
    worker->lost_lease = lp__job_lease(job);
    lp__lease_pin(worker->lost_lease);
    if (!job->priv.work && worker->runner)
        worker->runner->give_up(job, &worker->kept);
    job->priv.worker = worker->index;
    job->priv.node.status = lp__job_stop_reason(job);
    lp__inbox_post(worker->inbox, &job->priv.node);
}

bool lp__worker_write_off(lp__worker_t *worker, uint64_t serial, int why)
{
    lp__executor_t *executor = worker->executor;
    if (!lp__desk_give_up(&worker->desk, serial))
        return false;
    lp__node_t *node = lp__load_relaxed(&worker->desk.node);
    lp__interrupt_forget(worker);
    worker->lost = true;
    executor->lost_count++;
    lp__runtime_log(executor->manager->rt, executor->manager, LP_LOG_WARN,
                    "worker %u-%u runs what cannot be stopped, and is given up", executor->id,
                    worker->index);
    if (node)
        end_lost_job(worker, lp__job_of(node), why);
    lp__executor_worker_lost(executor);
    return true;
}

bool lp__worker_detach(lp__worker_t *worker)
{
    lp__executor_t *executor = worker->executor;
    lp_runtime_t *rt = executor->manager->rt;
    lp__thread_t thread = worker->thread;
    lp__runtime_retain(rt);
    lp__list_remove(&worker->link);
    if (!lp__desk_move(&worker->desk, LP__DESK_LOST, LP__DESK_DETACHED)) {
        lp__list_push_front(&executor->workers, &worker->link);
        lp__runtime_release(rt);
        return false;
    }
    executor->backend->detach(thread); /* the worker itself may be gone already */
    return true;
}

/* ---- Worker thread ------------------------------------------------------------ */

static _Thread_local const lp__worker_t *self;

const lp__worker_t *lp__worker_self(void)
{
    return self;
}

void lp__worker_explain(lp__worker_t *worker, const char *reason)
{
    size_t size = strlen(reason) + 1;
    char *copy = lp__malloc(LP_MEM_CORE, size);
    lp__free(worker->reason);
    worker->reason = copy ? memcpy(copy, reason, size) : NULL;
}

void lp__worker_broke(lp__worker_t *worker)
{
    if (!worker->is_broken)
        lp__inbox_post(worker->inbox, &worker->broken.node);
    worker->is_broken = true;
}

void lp__worker_name(const lp__worker_t *worker, char *name)
{
    snprintf(name, LP__WORKER_NAME_SIZE, "%s-%u-%u", worker->executor->manager->name_prefix,
             worker->executor->id, worker->index);
}

/* Opens one, if there is none. What is to stop does not begin. */
static int open_state(lp__worker_t *worker)
{
    char name[LP__WORKER_NAME_SIZE];
    if (worker->state)
        return 0;
    lp__worker_name(worker, name);
    worker->state_lease = 0;
    int rc = worker->runner->open(worker->runner_data, worker, name, &worker->state);
    if (rc != 0)
        worker->state = NULL;
    return rc;
}

static void close_one(lp__worker_t *worker, void **place)
{
    void *state = *place;
    *place = NULL; /* nothing of it can be interrupted */
    if (state)
        worker->runner->close(state);
}

static void close_states(lp__worker_t *worker)
{
    close_one(worker, &worker->left_state);
    close_one(worker, &worker->state);
}

static bool state_fits(const lp__worker_t *worker)
{
    return worker->state && (!worker->executor->backend->fresh_states || worker->state_lease == 0 ||
                             worker->state_lease == worker->lease->id);
}

/* A state for the job, which may be given up meanwhile; then none is made: whom it is for may be
 * gone. What is run to make it is no part of the job. Nor is what closes the one before: that comes
 * after the job, as its finalizers may take long. */
static int change_state(lp__worker_t *worker)
{
    const lp_lease_t *lease = worker->lease;
    worker->lease = NULL;
    lp__desk_ready(&worker->desk);
    worker->left_state = worker->state;
    worker->state = NULL;
    int rc = lp__desk_is_held(&worker->desk) ? open_state(worker) : LP_ECANCELLED;
    worker->lease = lease;
    return lp__desk_move(&worker->desk, LP__DESK_BUSY, LP__DESK_TAKING) ? rc : LP_ECANCELLED;
}

static int run_with_state(lp__worker_t *worker, lp_job_t *job)
{
    int rc = worker->runner ? 0 : LP_ENOTSUP;
    uint64_t lease_id = worker->lease->id;
    if (rc == 0 && !state_fits(worker))
        rc = change_state(worker);
    if (rc != 0)
        return rc;
    worker->state_lease = lease_id;
    worker->runner->take(worker->state, job);
    lp__desk_ready(&worker->desk);
    return worker->runner->call(worker->state);
}

static int run(lp__worker_t *worker, lp_job_t *job)
{
    worker->served++;
    job->priv.worker = worker->index;
    if (!job->priv.work)
        return run_with_state(worker, job);
    lp_work_cb work = job->priv.work;
    lp__desk_ready(&worker->desk);
    work(job);
    return 0;
}

/* Ends what is on the desk. False: it was given up. */
static bool clear_desk(lp__worker_t *worker)
{
    lp__desk_t *desk = &worker->desk;
    if (lp__desk_hold(desk) == LP__DESK_TAKING)
        lp__desk_ready(desk);
    if (!lp__desk_clear(desk))
        return false;
    if (lp__desk_was_asked(desk)) { /* nothing of that shall reach the next one */
        while (lp__desk_is_being_asked(desk))
            lp__cpu_relax();
        lp__interrupt_settle();
    }
    return true;
}

/* The job is still the worker's: what there is to say of its end is put into it. */
static int conclude(lp__worker_t *worker, lp_job_t *job, int status)
{
    if (job->priv.work)
        return lp__job_noticed(job) ? lp__job_stop_reason(job) : status;
    if (!worker->runner)
        return status;
    if (worker->state && status != LP_EBROKEN) {
        worker->runner->deliver(worker->state, job);
        if (status != 0 && status == lp__job_stop_reason(job))
            lp__job_mark(job, LP__JOB_STOPPED);
    }
    if (status == LP_EBROKEN && worker->runner->explain)
        worker->runner->explain(job, worker->reason);
    return status;
}

/* A job whose time is over ends here too: the loop may be busy, and it must not run. Where a
 * job follows another at once, it begins when that one ended: the clock, which takes 22 ns, is
 * read once for each. False: the worker leaves. */
static bool serve_job(lp__worker_t *worker, lp_job_t *job, bool waited)
{
    const lp__clock_t *clock = &worker->executor->manager->rt->clock;
    uint64_t began_ns = waited ? lp__clock_now_ns(clock) : worker->ended_ns;
    int status = lp__job_too_late(job, began_ns);
    bool runs = status == 0;
    worker->ended_ns = began_ns;
    worker->lease = lp__job_lease(job);
    worker->timeout_at_ns = lp__job_timeout_at_ns(job);
    if (runs) {
        status = run(worker, job);
        worker->ended_ns = lp__clock_now_ns(clock);
        lp__histogram_record(&worker->run_times, worker->ended_ns - began_ns);
    }
    worker->lease = NULL;
    if (!clear_desk(worker))
        return false;
    if (runs)
        status = conclude(worker, job, status);
    if (status == LP_EBROKEN)
        lp__worker_broke(worker);
    job->priv.node.status = status;
    lp__inbox_post(worker->inbox, &job->priv.node);
    return status != LP_EBROKEN && !worker->worn_out;
}

/* Closes a state that no job waits for. Its finalizers may take as long as they wish, so it is work
 * like other work, of which the loop is told: it is given up after the graces. False: it was. */
static bool tidy_up(lp__worker_t *worker, bool all)
{
    lp__desk_take(&worker->desk, NULL);
    lp__desk_ready(&worker->desk);
    lp__store_seq_cst(&worker->tidying_serial, lp__load_relaxed(&worker->desk.serial));
    if ((worker->left_state || (all && worker->state)) &&
        !lp__exchange_seq_cst(&worker->tidying_told, true))
        lp__inbox_post(worker->inbox, &worker->tidying.node);
    close_one(worker, &worker->left_state);
    if (all)
        close_one(worker, &worker->state);
    return clear_desk(worker);
}

/* Makes the state before any job: at the start with the option prestart, and for the next lease
 * where a state serves one alone. Where memory was short the first job tries again. False: the
 * worker leaves. */
static bool prepare_state(lp__worker_t *worker)
{
    if (worker->state_lease != 0 && !tidy_up(worker, true))
        return false;
    lp__desk_take(&worker->desk, NULL);
    lp__desk_ready(&worker->desk);
    int rc = lp__desk_is_held(&worker->desk) ? open_state(worker) : LP_ECANCELLED;
    if (!clear_desk(worker))
        return false;
    if (rc == LP_EBROKEN)
        lp__worker_broke(worker);
    return rc != LP_EBROKEN;
}

static bool serve_next(lp__worker_t *worker)
{
    lp__node_t *node;
    lp__take_t take = lp__queue_take(&worker->executor->queue, &worker->desk, &node);
    switch (take) {
    case LP__TAKEN:
    case LP__TAKEN_AFTER_WAIT:
        return serve_job(worker, lp__job_of(node), take == LP__TAKEN_AFTER_WAIT) &&
               (!worker->left_state || tidy_up(worker, false));
    case LP__NUDGED:
        return worker->state_lease == 0 || prepare_state(worker);
    default:
        return false;
    }
}

static void serve_jobs(lp__worker_t *worker)
{
    const lp_manager_options_t *options = &worker->executor->manager->options;
    uint64_t limit = (uint64_t)options->max_tasks_per_worker;
    bool goes_on = !options->prestart || !worker->runner || prepare_state(worker);
    worker->ended_ns = lp__clock_now_ns(&worker->executor->manager->rt->clock);
    while (goes_on && (limit == 0 || worker->served < limit))
        goes_on = serve_next(worker);
}

/* In a signal handler, at any moment of the worker's. */
static void look_up(void *data)
{
    lp__worker_t *worker = data;
    if (worker->state && lp__desk_stop_wanted(&worker->desk) != 0)
        worker->runner->interrupt(worker->state);
    lp__store_relaxed(&worker->unheard, false);
}

/* The handler walks the whole stack of the code that runs. Where that takes longer than the loop
 * waits, a second signal would come before the code has gone on by one instruction. */
void lp__worker_interrupt(lp__worker_t *worker)
{
    if (!lp__exchange_seq_cst(&worker->unheard, true))
        lp__interrupt_send(worker->thread);
}

void lp__worker_listen(lp__worker_t *worker, bool on)
{
    lp__interrupt_listen(on ? look_up : NULL, on ? worker : NULL);
}

/* Was written off, came back, and nobody waits for it. */
static void leave_alone(lp__worker_t *worker)
{
    lp_runtime_t *rt = worker->executor->manager->rt;
    free_worker(worker);
    lp__runtime_release(rt);
}

void lp__worker_leave(lp__worker_t *worker)
{
    lp__desk_t *desk = &worker->desk;
    if (!lp__desk_move(desk, LP__DESK_FREE, LP__DESK_GONE) &&
        !lp__desk_move(desk, LP__DESK_BUSY, LP__DESK_GONE) &&
        !lp__desk_move(desk, LP__DESK_LOST, LP__DESK_GONE)) {
        leave_alone(worker);
        return;
    }
    lp__inbox_t *inbox = worker->inbox;
    lp__inbox_retain(inbox); /* the post may let the loop free the worker and its reference */
    lp__inbox_post(inbox, &worker->exit);
    lp__inbox_release(inbox);
}

static void close_last_state(lp__worker_t *worker)
{
    if (lp__desk_hold(&worker->desk) == LP__DESK_FREE)
        (void)tidy_up(worker, true);
    else
        close_states(worker);
}

void lp__worker_serve(lp__worker_t *worker)
{
    self = worker;
    lp__worker_listen(worker, true);
    lp__spin_busy_begin();
    serve_jobs(worker);
    lp__spin_busy_end();
    lp__worker_listen(worker, false);
    close_last_state(worker);
    self = NULL;
    lp__worker_leave(worker);
}

uint64_t lp__worker_remaining_ns(const lp__worker_t *worker)
{
    if (!worker->lease)
        return LP_FOREVER;
    uint64_t hard_ns = lp__load_relaxed(&worker->lease->hard_ns);
    uint64_t at_ns = worker->timeout_at_ns < hard_ns ? worker->timeout_at_ns : hard_ns;
    uint64_t now_ns = lp__clock_now_ns(&worker->executor->manager->rt->clock);
    return at_ns > now_ns ? at_ns - now_ns : 0;
}
