/* runtime.c - see runtime.h.
 *
 * Ending: lp_runtime_close stops every manager, and gives them no time but the graces; when the
 * last has ended, workers that go on were detached and no callback is due, the inbox and the timer
 * are closed; when libuv has let go of both, the managers' and the runtime's memory goes, unless
 * a detached worker may still look at it, and the callback runs. */
#include "core/runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "core/grinder.h"
#include "core/job.h"
#include "core/manager.h"
#include "core/native.h"
#include "core/stop.h"
#include "core/worker.h"

/* A turn that keeps finding work gives way after this time, or as soon after it as a callback
 * has returned: the loop has other handles, and Ctrl-C wants to be seen. So do nodes to tasks
 * and tasks to nodes. Looked at before each callback on the coarse clock (3 ns), which moves in
 * steps of 4 ms. */
#define SLICE_NS (8 * LP_MILLISECOND)

static void on_inbox(uv_async_t *async)
{
    lp__runtime_turn(async->data);
}

static void on_timer(uv_timer_t *timer)
{
    lp_runtime_t *rt = timer->data;
    rt->armed_ns = LP_FOREVER;
    lp__runtime_turn(rt);
}

int lp_runtime_create(lp_runtime_t **out, uv_loop_t *loop)
{
    if (!out || !loop)
        return LP_EINVAL;
    lp_runtime_t *rt = lp__calloc(LP_MEM_CORE, sizeof *rt);
    if (!rt)
        return LP_ENOMEM;
    lp__store_relaxed(&rt->refs, 1);
    rt->loop = loop;
    rt->thread = uv_thread_self();
    rt->armed_ns = LP_FOREVER;
    lp__list_init(&rt->tasks);
    lp__list_init(&rt->task_batch);
    lp__list_init(&rt->managers);
    lp__list_init(&rt->natives);
    int rc = lp__inbox_create(&rt->inbox, loop, on_inbox, rt);
    if (rc != 0) {
        lp__free(rt);
        return rc;
    }
    lp__inbox_ref(rt->inbox, false);
    uv_timer_init(loop, &rt->timer); /* cannot fail */
    uv_unref((uv_handle_t *)&rt->timer);
    rt->timer.data = rt;
    *out = rt;
    return 0;
}

/* ---- Closing ------------------------------------------------------------------ */

void lp__runtime_retain(lp_runtime_t *rt)
{
    lp__add_relaxed(&rt->refs, 1);
}

void lp__runtime_release(lp_runtime_t *rt)
{
    if (lp__sub_acq_rel(&rt->refs, 1) != 1)
        return;
    while (!lp__list_empty(&rt->managers)) /* those with detached workers */
        lp__manager_destroy(LP__CONTAINER(rt->managers.next, lp_manager_t, link));
    lp__inbox_release(rt->inbox);
    lp__native_release_all(rt);
    lp__free(rt->broken_reason);
    lp__free(rt);
}

static void handle_closed(void *data)
{
    lp_runtime_t *rt = data;
    if (--rt->open_handles > 0)
        return;
    lp_runtime_close_cb cb = rt->close_cb;
    void *cb_data = rt->close_data;
    for (lp__list_t *at = rt->managers.next, *next; at != &rt->managers; at = next) {
        lp_manager_t *manager = LP__CONTAINER(at, lp_manager_t, link);
        next = at->next;
        if (lp__stop_is_complete(manager))
            lp__manager_destroy(manager);
    }
    lp__runtime_release(rt);
    if (cb)
        cb(cb_data);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static void close_handles(lp_runtime_t *rt)
{
    rt->open_handles = 2;
    lp__runtime_unhold(rt);
    lp__inbox_close(rt->inbox, handle_closed, rt);
    uv_close((uv_handle_t *)&rt->timer, on_timer_closed);
}

static void look_again(lp__deadline_t *deadline)
{
    (void)deadline; /* the turn does, at its end */
}

/* The last step of closing, once every manager has ended and everybody was told. Outside of
 * turns. */
static void close_when_ended(lp_runtime_t *rt)
{
    bool all = true;
    if (!rt->closing || rt->open_handles > 0)
        return;
    lp__runtime_clear_deadline(rt, &rt->look_again);
    if (lp__runtime_next_ns(rt) == 0)
        return; /* the turn that comes for them comes back here */
    for (lp__list_t *at = rt->managers.next; at != &rt->managers; at = at->next)
        if (LP__CONTAINER(at, lp_manager_t, link)->state != LP__MANAGER_STOPPED)
            return;
    for (lp__list_t *at = rt->managers.next; at != &rt->managers; at = at->next)
        all &= lp__stop_let_go(LP__CONTAINER(at, lp_manager_t, link));
    if (lp__runtime_next_ns(rt) == 0)
        return; /* what was written off just now */
    if (all)
        close_handles(rt);
    else
        lp__runtime_set_deadline(rt, &rt->look_again,
                                 lp__clock_now_ns(&rt->clock) + 10 * LP_MILLISECOND, look_again);
}

int lp_runtime_close(lp_runtime_t *rt, lp_runtime_close_cb cb, void *data)
{
    int rc = lp__runtime_check_thread(rt);
    if (rc != 0)
        return rc;
    if (rt->closing)
        return LP_ESTATE;
    rt->closing = true;
    rt->close_cb = cb;
    rt->close_data = data;
    lp__runtime_hold(rt);
    for (lp__list_t *at = rt->managers.next, *next; at != &rt->managers; at = next) {
        lp_manager_t *manager = LP__CONTAINER(at, lp_manager_t, link);
        next = at->next;
        lp__manager_close_handles(manager); /* what other threads send would keep turns coming */
        manager->busy++;
        lp__grinder_stop_all(manager);
        lp__stop_begin(manager);
        lp__stop_limit(manager, 0);
        lp__manager_leave(manager);
    }
    if (!rt->in_turn) /* else the turn comes to it at its end */
        close_when_ended(rt);
    return 0;
}

/* ---- Turns -------------------------------------------------------------------- */

static uint64_t slice_end_ns(const lp_runtime_t *rt)
{
    return lp__clock_coarse_ns(&rt->clock) + SLICE_NS;
}

static bool is_over(const lp_runtime_t *rt, uint64_t end_ns)
{
    return lp__clock_coarse_ns(&rt->clock) > end_ns;
}

void lp__runtime_fire(lp_runtime_t *rt)
{
    uint64_t now_ns = lp__clock_now_ns(&rt->clock);
    lp__heap_node_t *min;
    while ((min = lp__heap_min(&rt->deadlines)) != NULL && min->key <= now_ns) {
        lp__heap_remove(&rt->deadlines, min);
        lp__deadline_t *deadline = LP__CONTAINER(min, lp__deadline_t, node);
        deadline->fire(deadline);
    }
}

static bool run_tasks(lp_runtime_t *rt)
{
    lp__list_splice_back(&rt->task_batch, &rt->tasks);
    lp__list_t *link;
    bool any = false;
    uint64_t end_ns = slice_end_ns(rt);
    while (!is_over(rt, end_ns) && (link = lp__list_pop_front(&rt->task_batch)) != NULL) {
        lp__task_t *task = LP__CONTAINER(link, lp__task_t, link);
        task->run(task);
        any = true;
    }
    return any;
}

static void deliver_node(lp__node_t *node)
{
    switch ((lp__node_kind_t)node->kind) {
    case LP__NODE_JOB:
        lp__job_deliver(node);
        break;
    case LP__NODE_PENDING_JOB:
        lp__grinder_deliver(node);
        break;
    case LP__NODE_WORKER_EXIT:
        lp__worker_ended(node);
        break;
    case LP__NODE_CALL: {
        lp__call_t *call = LP__CONTAINER(node, lp__call_t, node);
        call->deliver(call);
        break;
    }
    }
}

static bool deliver_nodes(lp_runtime_t *rt)
{
    if (!rt->undelivered)
        rt->undelivered = lp__inbox_take(rt->inbox);
    bool any = false;
    lp__node_t *node;
    uint64_t end_ns = slice_end_ns(rt);
    while (!is_over(rt, end_ns) && (node = rt->undelivered) != NULL) {
        rt->undelivered = node->next;
        deliver_node(node);
        any = true;
    }
    return any;
}

static bool run_round(lp_runtime_t *rt)
{
    bool deadlines = lp__runtime_look(rt);
    bool nodes = deliver_nodes(rt);
    bool tasks = run_tasks(rt);
    return deadlines || nodes || tasks;
}

/* The timer is moved only when it would come too late: a lease that is released long
 * before it expires touches the heap, never the timer. Rounded up to libuv's
 * milliseconds, counted from a fresh loop time. */
static void arm_timer(lp_runtime_t *rt)
{
    lp__heap_node_t *min = lp__heap_min(&rt->deadlines);
    if (rt->driven || !min || min->key >= rt->armed_ns || rt->open_handles > 0)
        return;
    uint64_t now_ns = lp__clock_now_ns(&rt->clock);
    uint64_t wait_ns = min->key > now_ns ? min->key - now_ns : 0;
    uint64_t wait_ms = wait_ns / LP_MILLISECOND + (wait_ns % LP_MILLISECOND != 0);
    uv_update_time(rt->loop);
    uv_timer_start(&rt->timer, on_timer, wait_ms, 0);
    rt->armed_ns = min->key;
}

bool lp__runtime_turn(lp_runtime_t *rt)
{
    bool any = false;
    if (rt->in_turn) /* a callback has run the loop: the turn that called it goes on after it */
        return false;
    rt->in_turn = true;
    uint64_t end_ns = slice_end_ns(rt);
    lp__inbox_poll_begin(rt->inbox);
    while (!is_over(rt, end_ns) && run_round(rt))
        any = true;
    lp__inbox_poll_end(rt->inbox);
    rt->in_turn = false;
    if (!rt->driven && lp__runtime_next_ns(rt) == 0)
        lp__inbox_wake(rt->inbox); /* more waits, or came in just now */
    arm_timer(rt);
    close_when_ended(rt);
    return any;
}

void lp__runtime_abandon_turn(lp_runtime_t *rt)
{
    rt->in_turn = false;
}

bool lp__runtime_has_nodes(lp_runtime_t *rt)
{
    return rt->undelivered || lp__inbox_ready(rt->inbox);
}

static bool work_waits(lp_runtime_t *rt)
{
    return !lp__list_empty(&rt->tasks) || !lp__list_empty(&rt->task_batch) ||
           lp__runtime_has_nodes(rt);
}

uint64_t lp__runtime_next_ns(lp_runtime_t *rt)
{
    if (work_waits(rt))
        return 0;
    lp__heap_node_t *min = lp__heap_min(&rt->deadlines);
    return min ? min->key : LP_FOREVER;
}

void lp__runtime_defer(lp_runtime_t *rt, lp__task_t *task, void (*run)(lp__task_t *))
{
    bool first = lp__list_empty(&rt->tasks);
    task->run = run;
    lp__list_push_back(&rt->tasks, &task->link);
    if (first && !rt->in_turn && (!rt->driven || rt->attached))
        lp__inbox_wake(rt->inbox);
}

void lp__runtime_undefer(lp__task_t *task)
{
    lp__list_remove(&task->link);
}

void lp__runtime_set_deadline(lp_runtime_t *rt, lp__deadline_t *deadline, uint64_t at_ns,
                              void (*fire)(lp__deadline_t *))
{
    deadline->fire = fire;
    lp__heap_remove(&rt->deadlines, &deadline->node);
    lp__heap_insert(&rt->deadlines, &deadline->node, at_ns);
    if (!rt->in_turn)
        arm_timer(rt);
    if (rt->attached && at_ns < rt->told_ns) {
        rt->told_ns = at_ns; /* once is enough */
        lp__inbox_wake(rt->inbox);
    }
}

void lp__runtime_clear_deadline(lp_runtime_t *rt, lp__deadline_t *deadline)
{
    lp__heap_remove(&rt->deadlines, &deadline->node);
}

void lp__runtime_hold(lp_runtime_t *rt)
{
    if (rt->holds++ > 0)
        return;
    if (!rt->driven) {
        lp__inbox_ref(rt->inbox, true);
        uv_ref((uv_handle_t *)&rt->timer);
    } else if (rt->attached) {
        rt->on_alive(rt->alive_data, true);
    }
}

void lp__runtime_unhold(lp_runtime_t *rt)
{
    if (--rt->holds > 0)
        return;
    if (!rt->driven) {
        lp__inbox_ref(rt->inbox, false);
        uv_unref((uv_handle_t *)&rt->timer);
    } else if (rt->attached) {
        rt->on_alive(rt->alive_data, false);
    }
}

void lp__runtime_attach(lp_runtime_t *rt, void (*on_alive)(void *data, bool alive), void *data)
{
    rt->attached = on_alive != NULL;
    rt->on_alive = on_alive;
    rt->alive_data = data;
    rt->told_ns = LP_FOREVER;
    if (rt->attached)
        lp__inbox_wake(rt->inbox); /* it has been told nothing so far */
}

void lp__runtime_expect_watch(lp_runtime_t *rt)
{
    rt->new_watches = true;
    if (rt->attached)
        lp__inbox_wake(rt->inbox);
}

uint64_t lp__runtime_tell_next_ns(lp_runtime_t *rt)
{
    return rt->told_ns = lp__runtime_next_ns(rt);
}

/* ---- Logging ------------------------------------------------------------------ */

int lp_set_logger(lp_runtime_t *rt, lp_log_cb cb, void *data)
{
    int rc = lp__runtime_check_thread(rt);
    if (rc != 0)
        return rc;
    rt->log = cb;
    rt->log_data = data;
    return 0;
}

static void log_text(lp_runtime_t *rt, lp_manager_t *manager, lp_log_level_t level,
                     const char *text)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    if (rt->log)
        rt->log(rt->log_data, manager, level, text);
    else if (level >= LP_LOG_WARN)
        fprintf(stderr, "leasepool: %s: %s\n", names[level], text);
}

void lp__runtime_log(lp_runtime_t *rt, lp_manager_t *manager, lp_log_level_t level,
                     const char *format, ...)
{
    char line[256], *text = line;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(line, sizeof line, format, args);
    if (length >= (int)sizeof line) { /* told whole, if there is memory for it */
        char *longer = lp__malloc(LP_MEM_CORE, (size_t)length + 1);
        if (longer) {
            vsnprintf(longer, (size_t)length + 1, format, again);
            text = longer;
        }
    }
    log_text(rt, manager, level, text);
    if (text != line)
        lp__free(text);
    va_end(again);
    va_end(args);
}

void lp__runtime_keep_reason(lp_runtime_t *rt, const char *reason)
{
    size_t size = reason ? strlen(reason) + 1 : 0;
    lp__free(rt->broken_reason);
    rt->broken_reason = reason ? lp__malloc(LP_MEM_CORE, size) : NULL;
    if (rt->broken_reason)
        memcpy(rt->broken_reason, reason, size);
}

const char *lp_broken_reason(const lp_runtime_t *rt)
{
    return rt->broken_reason ? rt->broken_reason : "unknown";
}

/* ---- Small things ------------------------------------------------------------- */

int lp__runtime_check_thread(const lp_runtime_t *rt)
{
    uv_thread_t self = uv_thread_self();
    if (!rt)
        return LP_EINVAL;
    return uv_thread_equal(&self, &rt->thread) ? 0 : LP_EWRONGTHREAD;
}

int lp__runtime_enter(lp_runtime_t *rt)
{
    int rc = lp__runtime_check_thread(rt);
    if (rc == 0)
        lp__runtime_look(rt);
    return rc;
}

void lp__runtime_set_runner(lp_runtime_t *rt, const lp__runner_t *runner, void *data)
{
    rt->runner = runner;
    rt->runner_data = data;
}

void lp__runtime_set_driven(lp_runtime_t *rt)
{
    rt->driven = true;
    lp__inbox_ref(rt->inbox, true);
}

const char *lp_last_error(const lp_runtime_t *rt)
{
    return rt->last_error;
}

int lp__runtime_invalid(lp_runtime_t *rt, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(rt->last_error, sizeof rt->last_error, format, args);
    va_end(args);
    return LP_EINVAL;
}
