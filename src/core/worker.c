/* worker.c - see worker.h. */
#include "core/worker.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/list.h"
#include "core/job.h"
#include "core/manager.h"
#include "core/runtime.h"

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

void lp__worker_ended(lp__node_t *exit)
{
    lp__worker_t *worker = LP__CONTAINER(exit, lp__worker_t, exit);
    lp__executor_t *executor = worker->executor;
    executor->backend->worker_join(worker);
    lp__inbox_release(worker->inbox);
    lp__list_remove(&worker->link);
    lp__histogram_add(&executor->manager->run, &worker->run_times);
    lp__free(worker);
    lp__executor_worker_gone(executor);
}

/* ---- Worker thread ------------------------------------------------------------ */

static int run_with_state(lp__worker_t *worker, lp_job_t *job)
{
    if (!worker->runner)
        return LP_ENOTSUP;
    if (!worker->state) {
        char name[LP__WORKER_NAME_SIZE];
        snprintf(name, sizeof name, "%s-%u-%u", worker->executor->manager->name_prefix,
                 worker->executor->id, worker->index);
        int rc = worker->runner->open(worker->runner_data, name, &worker->state);
        if (rc != 0)
            return rc;
    }
    return worker->runner->call(worker->state, job);
}

void lp__worker_serve(lp__worker_t *worker)
{
    lp__queue_t *queue = &worker->executor->queue;
    lp__inbox_t *inbox = worker->inbox;
    const lp__clock_t *clock = &worker->executor->manager->rt->clock;
    lp__node_t *node;
    lp__spin_busy_begin();
    while ((node = lp__queue_take(queue)) != NULL) {
        lp_job_t *job = lp__job_of(node);
        uint64_t began_ns = lp__clock_now_ns(clock);
        job->priv.worker = worker->index;
        node->status = 0;
        if (job->priv.work)
            job->priv.work(job);
        else
            node->status = run_with_state(worker, job);
        lp__histogram_record(&worker->run_times, lp__clock_now_ns(clock) - began_ns);
        lp__inbox_post(inbox, node);
    }
    lp__spin_busy_end();
    if (worker->state)
        worker->runner->close(worker->state);
    lp__inbox_retain(inbox); /* the post may let the loop free the worker and its reference */
    lp__inbox_post(inbox, &worker->exit);
    lp__inbox_release(inbox);
}
