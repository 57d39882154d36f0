/* process.c - the process backend: a worker is a child process, which has its own Lua state for
 * its life. Here is the table and the start; child.h says where the rest is.
 *
 * There is no thread for a child: its sockets, its standard error and its death are watched by
 * the loop. A child is given jobs only when it has said that it is ready, so that a command which
 * never does holds none of them up. */
#include <string.h>

#include "backend/child.h"
#include "base/alloc.h"
#include "core/backend.h"

/* ---- The start ---------------------------------------------------------------- */

static int start_process(lp__child_t *child)
{
    lp__executor_t *executor = child->worker->executor;
    lp_manager_t *manager = executor->manager;
    const lp__command_t *command = &manager->command;
    const lp__process_options_t options = {
        .argv = (const char *const *)command->argv,
        .env = (const char *const *)command->env,
        .directory = command->cwd,
        .limits = command->limits,
        .limit_count = command->limit_count,
    };
    int rc = lp__process_start(&child->process, &options, executor->why, sizeof executor->why);
    if (rc != 0)
        lp__runtime_log(manager->rt, manager, LP_LOG_WARN, "worker %u-%u: %s", executor->id,
                        child->worker->index, executor->why);
    return rc;
}

static int set_up(lp__child_t *child)
{
    lp__worker_t *worker = child->worker;
    char name[LP__WORKER_NAME_SIZE];
    lp__worker_name(worker, name);
    int rc = worker->runner->setup(worker->runner_data, worker, name, &child->out, &child->state);
    if (rc == 0)
        rc = lp__child_watch(child);
    return rc;
}

static void free_child(lp__child_t *child)
{
    if (child->state)
        child->worker->runner->forget(child->state);
    lp__frames_free(&child->in);
    lp__frames_free(&child->out);
    lp__frames_free(&child->control_in);
    lp__frames_free(&child->control_out);
    lp__free(child);
}

static int worker_start(lp__worker_t *worker)
{
    if (!worker->runner)
        return LP_ENOTSUP; /* there is no work for it */
    lp__child_t *child = lp__calloc(LP_MEM_CORE, sizeof *child);
    if (!child)
        return LP_ENOMEM;
    child->worker = worker;
    worker->executor->why[0] = '\0';
    child->job_ns = LP_FOREVER;
    int rc = lp__thread_fault_due() ? UV_EAGAIN : start_process(child);
    if (rc == 0 && (rc = set_up(child)) != 0)
        lp__child_discard(child);
    if (rc != 0) {
        free_child(child);
        return rc;
    }
    worker->child = child;
    lp__queue_always_wake(&worker->executor->queue);
    lp__desk_take(&worker->desk, NULL);
    lp__desk_ready(&worker->desk);
    lp__child_flush(child);
    return 0;
}

static void worker_join(lp__worker_t *worker)
{
    free_child(lp__child_of(worker));
    worker->child = NULL;
}

/* ---- The rest of the table ---------------------------------------------------- */

static void stop(lp__executor_t *executor)
{
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next) {
        lp__child_t *child = lp__child_of(LP__CONTAINER(at, lp__worker_t, link));
        if (child)
            lp__child_leave_if_done(child);
    }
}

/* Where the last request lies unsent the child does not listen. */
static void interrupt(lp__worker_t *worker)
{
    lp__child_t *child = lp__child_of(worker);
    lp__child_stop_t stop = {.why = worker->interrupt.why};
    if (child->stage >= LP__CHILD_DYING || lp__frames_left(&child->control_out) > 0)
        return;
    if (child->count > 1)
        lp__child_recall(child);
    lp__child_say(child, LP__CHILD_STOP, child->on_desk ? child->sent[child->first].id : 0, &stop,
                  sizeof stop);
}

static const lp_backend_t process_backend = {
    .name = "process",
    .worker_start = worker_start,
    .worker_join = worker_join,
    .wake = lp__child_wake,
    .stop = stop,
    .interrupt = interrupt,
    .kill = lp__child_kill,
    .processes = true,
    .withdraw = lp__child_withdraw_job,
    .withdraw_all = lp__child_withdraw_all,
    .renewed = lp__child_renewed,
};

const lp_backend_t *lp_backend_process(void)
{
    return lp__process_supported() ? &process_backend : NULL;
}
