/* handle.c - see handle.h. */
#include "core/handle.h"

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/interrupt.h"
#include "core/grinder.h"
#include "core/manager.h"
#include "core/worker.h"

/* A worker that waits is woken, by a signal, when its job is to stop; where there is none for that,
 * it looks so often. */
#define LOOK_NS (50 * LP_MILLISECOND)

static void handle_free(lp__shared_t *shared)
{
    lp_handle_t *handle = LP__CONTAINER(shared, lp_handle_t, shared);
    uv_mutex_destroy(&handle->lock);
    lp__inbox_release(handle->inbox);
    lp__free(handle);
}

static int make(lp_handle_t **out, lp__handle_of_t of, void *object, lp_manager_t *manager)
{
    lp_runtime_t *rt = manager->rt;
    lp_handle_t *handle = lp__calloc(LP_MEM_CORE, sizeof *handle);
    if (!handle)
        return LP_ENOMEM;
    int rc = uv_mutex_init(&handle->lock);
    if (rc != 0) {
        lp__free(handle);
        return rc;
    }
    lp__shared_init(&handle->shared, handle_free);
    handle->of = of;
    handle->processes = manager->backend->processes;
    handle->thread = rt->thread;
    handle->inbox = rt->inbox;
    lp__inbox_retain(handle->inbox);
    handle->object = object;
    handle->open = true;
    *out = handle;
    return 0;
}

int lp__handle_get(lp_handle_t **place, lp__handle_of_t of, void *object, lp_manager_t *manager,
                   lp_handle_t **handle)
{
    int rc = manager->rt->closing ? LP_ESTATE : 0;
    if (rc == 0 && !*place)
        rc = make(place, of, object, manager);
    if (rc != 0)
        return rc;
    *handle = *place;
    lp_handle_retain(*handle);
    return 0;
}

void lp__handle_close(lp_handle_t *handle)
{
    if (!handle)
        return;
    uv_mutex_lock(&handle->lock);
    handle->open = false;
    uv_mutex_unlock(&handle->lock);
    handle->object = NULL;
}

lp_handle_t *lp__handle_of(lp__shared_t *shared)
{
    return shared->free == handle_free ? LP__CONTAINER(shared, lp_handle_t, shared) : NULL;
}

void lp_handle_retain(lp_handle_t *handle)
{
    lp__shared_retain(&handle->shared);
}

void lp_handle_release(lp_handle_t *handle)
{
    lp__shared_release(handle ? &handle->shared : NULL);
}

int lp_grinder_handle(lp_grinder_t *grinder, lp_handle_t **handle)
{
    if (!grinder || !handle)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(grinder->manager->rt);
    return rc != 0 ? rc
                   : lp__handle_get(&grinder->handle, LP__HANDLE_OF_GRINDER, grinder,
                                    grinder->manager, handle);
}

int lp_manager_handle(lp_manager_t *manager, lp_handle_t **handle)
{
    if (!manager || !handle)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(manager->rt);
    return rc != 0
               ? rc
               : lp__handle_get(&manager->handle, LP__HANDLE_OF_MANAGER, manager, manager, handle);
}

int lp__handle_check_thread(const lp_handle_t *handle)
{
    uv_thread_t self = uv_thread_self();
    return uv_thread_equal(&self, &handle->thread) ? LP_EWRONGTHREAD : 0;
}

int lp__handle_post(lp_handle_t *handle, lp__call_t *call)
{
    uv_mutex_lock(&handle->lock);
    bool open = handle->open;
    if (open)
        lp__inbox_post(handle->inbox, &call->node);
    uv_mutex_unlock(&handle->lock);
    return open ? 0 : LP_ENOTSTARTED;
}

/* ---- Asking ------------------------------------------------------------------- */

static void serve(lp__call_t *call)
{
    lp__ask_t *ask = LP__CONTAINER(call, lp__ask_t, call);
    if (ask->handle->object)
        ask->serve(ask);
    else
        lp__ask_end(ask, LP_ENOTSTARTED);
}

void lp__ask_init(lp__ask_t *ask, lp_handle_t *handle, void (*serve_fn)(lp__ask_t *),
                  void (*free_fn)(lp__ask_t *))
{
    ask->call.node.kind = LP__NODE_CALL;
    ask->call.deliver = serve;
    ask->handle = handle;
    lp_handle_retain(handle);
    lp__store_relaxed(&ask->refs, 1);
    lp__store_relaxed(&ask->ended, 0);
    ask->serve = serve_fn;
    ask->free = free_fn;
}

void lp__ask_release(lp__ask_t *ask)
{
    if (lp__sub_acq_rel(&ask->refs, 1) != 1)
        return;
    lp_handle_release(ask->handle);
    ask->free(ask);
}

int lp__ask_post(lp__ask_t *ask)
{
    lp__add_relaxed(&ask->refs, 1); /* the loop's */
    int rc = lp__handle_post(ask->handle, &ask->call);
    if (rc != 0)
        lp__sub_acq_rel(&ask->refs, 1);
    return rc;
}

void lp__ask_end(lp__ask_t *ask, int status)
{
    ask->status = status;
    lp__store_seq_cst(&ask->ended, 1);
    lp__word_wake(&ask->ended);
    lp__ask_release(ask);
}

bool lp__ask_has_ended(const lp__ask_t *ask)
{
    return lp__load_seq_cst(&ask->ended) != 0;
}

int lp__ask_wait(lp__ask_t *ask, uint64_t timeout_ns)
{
    const lp__worker_t *worker = lp__worker_self();
    uint64_t begin_ns = uv_hrtime();
    uint64_t most_ns = worker && lp__interrupt_signal() == 0 ? LOOK_NS : 3600 * LP_SECOND;
    while (!lp__ask_has_ended(ask)) {
        int why = worker ? lp__desk_stop_wanted(&worker->desk) : 0;
        uint64_t took_ns = uv_hrtime() - begin_ns;
        if (why != 0)
            return why;
        if (took_ns >= timeout_ns)
            return LP_ETIMEDOUT;
        uint64_t left_ns = timeout_ns - took_ns;
        lp__word_wait(&ask->ended, 0, left_ns < most_ns ? left_ns : most_ns);
    }
    return 0;
}

/* ---- Statistics --------------------------------------------------------------- */

typedef struct {
    lp__ask_t ask;
    union {
        lp_grinder_stats_t grinder;
        lp_manager_stats_t manager;
    } stats;
} stats_ask_t;

static void free_stats(lp__ask_t *ask)
{
    lp__free(LP__CONTAINER(ask, stats_ask_t, ask));
}

static void serve_stats(lp__ask_t *ask)
{
    stats_ask_t *asked = LP__CONTAINER(ask, stats_ask_t, ask);
    int rc = ask->handle->of == LP__HANDLE_OF_GRINDER
                 ? lp_grinder_stats(ask->handle->object, &asked->stats.grinder)
                 : lp_manager_stats(ask->handle->object, &asked->stats.manager);
    lp__ask_end(ask, rc);
}

/* On success *out has one reference. */
static int ask_stats(lp_handle_t *handle, lp__handle_of_t of, uint64_t timeout_ns,
                     stats_ask_t **out)
{
    if (!handle || handle->of != of)
        return LP_EINVAL;
    int rc = lp__handle_check_thread(handle);
    if (rc != 0)
        return rc;
    stats_ask_t *asked = lp__calloc(LP_MEM_CORE, sizeof *asked);
    if (!asked)
        return LP_ENOMEM;
    lp__ask_init(&asked->ask, handle, serve_stats, free_stats);
    rc = lp__ask_post(&asked->ask);
    if (rc == 0)
        rc = lp__ask_wait(&asked->ask, timeout_ns);
    if (rc == 0)
        rc = asked->ask.status;
    if (rc != 0)
        lp__ask_release(&asked->ask);
    *out = asked;
    return rc;
}

int lp_grinder_stats_from_thread(lp_handle_t *handle, lp_grinder_stats_t *stats,
                                 uint64_t timeout_ns)
{
    stats_ask_t *asked;
    int rc = stats ? ask_stats(handle, LP__HANDLE_OF_GRINDER, timeout_ns, &asked) : LP_EINVAL;
    if (rc != 0)
        return rc;
    *stats = asked->stats.grinder;
    lp__ask_release(&asked->ask);
    return 0;
}

int lp_manager_stats_from_thread(lp_handle_t *handle, lp_manager_stats_t *stats,
                                 uint64_t timeout_ns)
{
    stats_ask_t *asked;
    int rc = stats ? ask_stats(handle, LP__HANDLE_OF_MANAGER, timeout_ns, &asked) : LP_EINVAL;
    if (rc != 0)
        return rc;
    *stats = asked->stats.manager;
    lp__ask_release(&asked->ask);
    return 0;
}
