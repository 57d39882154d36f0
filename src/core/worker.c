/* worker.c - see worker.h. */
#include "core/worker.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/list.h"
#include "core/job.h"
#include "core/manager.h"

/* ---- Loop thread -------------------------------------------------------------- */

static void deliver_broken(lp__call_t *call)
{
    lp__worker_t *worker = LP__CONTAINER(call, lp__worker_t, broken);
    lp__executor_break(worker->executor,
                       worker->reason ? worker->reason : "a worker's state could not be made");
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
    if (rc == 0 || executor->worker_count > 0 || !jobs_wait)
        return;
    char reason[128];
    snprintf(reason, sizeof reason, "no worker could be started: %s", lp_strerror(rc));
    lp__executor_break(executor, reason);
}

void lp__worker_ended(lp__node_t *exit)
{
    lp__worker_t *worker = LP__CONTAINER(exit, lp__worker_t, exit);
    lp__executor_t *executor = worker->executor;
    executor->backend->worker_join(worker);
    lp__inbox_release(worker->inbox);
    lp__list_remove(&worker->link);
    lp__histogram_add(&executor->manager->run, &worker->run_times);
    lp__free(worker->reason);
    lp__free(worker);
    bool goes_on = !executor->ending;
    lp__executor_worker_gone(executor); /* may free it, unless it goes on */
    if (goes_on)
        replace(executor);
}

/* ---- Worker thread ------------------------------------------------------------ */

void lp__worker_explain(lp__worker_t *worker, const char *reason)
{
    size_t size = strlen(reason) + 1;
    char *copy = lp__malloc(LP_MEM_CORE, size);
    lp__free(worker->reason);
    worker->reason = copy ? memcpy(copy, reason, size) : NULL;
}

static int open_state(lp__worker_t *worker)
{
    char name[LP__WORKER_NAME_SIZE];
    if (worker->state)
        return 0;
    snprintf(name, sizeof name, "%s-%u-%u", worker->executor->manager->name_prefix,
             worker->executor->id, worker->index);
    return worker->runner->open(worker->runner_data, worker, name, &worker->state);
}

static int run_with_state(lp__worker_t *worker, lp_job_t *job)
{
    if (!worker->runner)
        return LP_ENOTSUP;
    int rc = open_state(worker);
    if (rc == 0) {
        worker->job = job;
        rc = worker->runner->call(worker->state, job);
        worker->job = NULL;
    }
    if (rc == LP_EBROKEN && worker->runner->explain)
        worker->runner->explain(job, worker->reason);
    return rc;
}

static int run(lp__worker_t *worker, lp_job_t *job)
{
    worker->served++;
    job->priv.worker = worker->index;
    if (!job->priv.work)
        return run_with_state(worker, job);
    job->priv.work(job);
    return 0;
}

/* A job whose time is over ends here too: the loop may be busy, and it must not run. Where a
 * job follows another at once, it begins when that one ended: the clock, which takes 22 ns, is
 * read once for each. */
static int serve_job(lp__worker_t *worker, lp_job_t *job, bool waited)
{
    const lp__clock_t *clock = &worker->executor->manager->rt->clock;
    uint64_t began_ns = waited ? lp__clock_now_ns(clock) : worker->ended_ns;
    int status = lp__job_too_late(job, began_ns);
    worker->ended_ns = began_ns;
    if (status == 0) {
        status = run(worker, job);
        worker->ended_ns = lp__clock_now_ns(clock);
        lp__histogram_record(&worker->run_times, worker->ended_ns - began_ns);
    }
    if (status == LP_EBROKEN)
        lp__inbox_post(worker->inbox, &worker->broken.node);
    job->priv.node.status = status;
    lp__inbox_post(worker->inbox, &job->priv.node);
    return status;
}

/* Before any job. Where memory was short the first job tries again. */
static int prepare(lp__worker_t *worker)
{
    if (!worker->executor->manager->options.prestart || !worker->runner)
        return 0;
    int rc = open_state(worker);
    if (rc == LP_EBROKEN)
        lp__inbox_post(worker->inbox, &worker->broken.node);
    return rc;
}

static void serve_jobs(lp__worker_t *worker)
{
    lp__queue_t *queue = &worker->executor->queue;
    uint64_t limit = (uint64_t)worker->executor->manager->options.max_tasks_per_worker;
    lp__node_t *node;
    bool waited;
    int rc = prepare(worker);
    worker->ended_ns = lp__clock_now_ns(&worker->executor->manager->rt->clock);
    while (rc != LP_EBROKEN && (limit == 0 || worker->served < limit) &&
           (node = lp__queue_take(queue, &waited)) != NULL)
        rc = serve_job(worker, lp__job_of(node), waited);
}

void lp__worker_serve(lp__worker_t *worker)
{
    lp__inbox_t *inbox = worker->inbox;
    lp__spin_busy_begin();
    serve_jobs(worker);
    lp__spin_busy_end();
    if (worker->state)
        worker->runner->close(worker->state);
    lp__inbox_retain(inbox); /* the post may let the loop free the worker and its reference */
    lp__inbox_post(inbox, &worker->exit);
    lp__inbox_release(inbox);
}
