/* thread.c - the thread backend: a worker is a thread of this process with, once it needs
 * one, a state of its own that stays warm from lease to lease; and the interpreter backend, whose
 * workers have a new state for each lease, made ready while they are idle.
 *
 * The functions of the tables run on the loop's thread; `entry` is the worker's thread. */
#include "base/thread.h"
#include "base/alloc.h"
#include "core/backend.h"
#include "core/executor.h"
#include "core/manager.h"
#include "core/worker.h"

static void entry(void *arg)
{
    lp__worker_t *worker = arg;
    lp__alloc_set_role(LP_ROLE_WORKER);
    lp__thread_set_name(worker->executor->manager->name_prefix, worker->executor->id,
                        worker->index);
    lp__worker_serve(worker);
}

static int worker_start(lp__worker_t *worker)
{
    return lp__thread_start(&worker->thread, entry, worker);
}

static void worker_join(lp__worker_t *worker)
{
    uv_thread_join(&worker->thread);
}

static void wake(lp__executor_t *executor)
{
    lp__queue_wake(&executor->queue);
}

static void stop(lp__executor_t *executor)
{
    (void)executor; /* lp__queue_stop has woken them all */
}

static void lease_ended(lp__executor_t *executor)
{
    lp__queue_nudge(&executor->queue);
}

#define OF_THREADS                                                                                 \
    .worker_start = worker_start, .worker_join = worker_join, .wake = wake, .stop = stop,          \
    .interrupt = lp__worker_interrupt, .detach = lp__thread_detach

static const lp_backend_t thread_backend = {.name = "thread", OF_THREADS};

static const lp_backend_t interpreter_backend = {
    .name = "interpreter", OF_THREADS, .lease_ended = lease_ended, .fresh_states = true};

const lp_backend_t *lp_backend_thread(void)
{
    return &thread_backend;
}

const lp_backend_t *lp_backend_interpreter(void)
{
    return &interpreter_backend;
}
