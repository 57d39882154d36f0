/* job.c - see job.h. Loop thread. */
#include "lua/job.h"

#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/grinder.h"
#include "core/job.h"
#include "lua/anchor.h"
#include "lua/code.h"
#include "lua/errors.h"
#include "lua/log.h"
#include "lua/traits.h"
#include "wire/writer.h"

/* Kept for reuse: more than are in flight in a busy window, few enough to forget. The buffers
 * of large messages are kept too, as the system takes big freed blocks back at once, which
 * halves the rate; all together they are bounded. */
#define MAX_SPARE 4096
#define MAX_SPARE_BYTES (16u << 20)

/* ---- Life --------------------------------------------------------------------- */

/* The spare jobs: a stack, from which a job is taken as new. */
static void spare_push(lp__context_t *ctx, lp__lua_job_t *job)
{
    job->future = (lp__future_t){.kind = LP__FUTURE_OF_JOB, .detail = LP__JOB_SPARE};
    job->future.to.pointer = ctx->spare_jobs;
    ctx->spare_jobs = job;
    ctx->spare_count++;
    ctx->spare_bytes += job->message.cap;
}

static lp__lua_job_t *spare_pop(lp__context_t *ctx)
{
    lp__lua_job_t *job = ctx->spare_jobs;
    if (job) {
        ctx->spare_jobs = job->future.to.pointer;
        ctx->spare_count--;
        ctx->spare_bytes -= job->message.cap;
        job->future.to.pointer = NULL;
    }
    return job;
}

static lp__lua_job_t *job_new(lua_State *L)
{
    lp__lua_job_t *job = lp__calloc(LP_MEM_BINDING, sizeof *job);
    if (!job)
        luaL_error(L, "not enough memory");
    lp__message_init(&job->message);
    return job;
}

static void release_code(lp__lua_job_t *job)
{
    if (job->code)
        lp__shared_release(&job->code->shared);
    job->code = NULL;
}

/* NULL: not started, or ended without anything to tell. */
static lp__traits_t *traits_of(const lp__lua_job_t *job)
{
    return job->job.data;
}

void lp__job_set_traits(lp__lua_job_t *job, lp__traits_t *traits)
{
    job->job.data = lp__traits_retain(traits);
}

static void drop_traits(lp__lua_job_t *job)
{
    lp__traits_release(traits_of(job));
    job->job.data = NULL;
}

void lp__job_free(lp__context_t *ctx, lp__lua_job_t *job)
{
    release_code(job);
    drop_traits(job);
    if (ctx->spare_bytes + job->message.cap > MAX_SPARE_BYTES)
        lp__message_free(&job->message);
    lp__message_reset(&job->message);
    if (ctx->spare_count < MAX_SPARE && !ctx->closed) {
        spare_push(ctx, job);
    } else {
        lp__message_free(&job->message);
        lp__free(job);
    }
}

void lp__job_free_spares(lp__context_t *ctx)
{
    lp__lua_job_t *job;
    if (ctx->prepared_job)
        spare_push(ctx, ctx->prepared_job);
    ctx->prepared_job = NULL;
    while ((job = spare_pop(ctx)) != NULL) {
        release_code(job);
        lp__message_free(&job->message);
        lp__free(job);
    }
}

void lp__job_refuse(lua_State *L, lp__codec_t *codec, int rc, const char *what)
{
    if (rc == LP_ETRANSFER) {
        lua_pushfstring(L, "%s: cannot transfer ", what);
        lp__job_push_transfer_error(L, lua_tostring(L, -1), lp__codec_error(codec),
                                    lp__codec_error_path_len(codec));
        lua_error(L);
    }
    luaL_error(L, "%s: %s", what, lp_strerror(rc));
}

void lp__job_prepare(lua_State *L, lp__context_t *ctx, int fn, int nargs, const lp__slice_t *slice,
                     const lp__traits_t *traits, const char *what)
{
    if (lua_type(L, fn) != LUA_TFUNCTION)
        lp__error_raise(L, LP_EINVAL, "%s: argument 1: got %s, allowed: a function", what,
                        fn > lua_gettop(L) ? "no value" : luaL_typename(L, fn));
    /* Should encoding raise (out of memory), it is still the one prepared: nothing is lost. */
    if (!ctx->prepared_job && !(ctx->prepared_job = spare_pop(ctx)))
        ctx->prepared_job = job_new(L);
    lp__lua_job_t *job = ctx->prepared_job;
    release_code(job);
    lp__codec_take_handles(ctx->codec, !traits || !traits->processes);
    int rc = lp__encode_call(ctx->codec, L, fn, nargs, slice, &job->message, &job->code);
    if (rc != 0)
        lp__job_refuse(L, ctx->codec, rc, what);
}

lp__lua_job_t *lp__job_take(lp__context_t *ctx)
{
    lp__lua_job_t *job = ctx->prepared_job;
    ctx->prepared_job = NULL;
    return job;
}

lp__lua_job_t *lp__job_take_future(lua_State *L, lp__context_t *ctx)
{
    lp__lua_job_t *job = lp__future_new(L, ctx, LP__FUTURE_OF_JOB, sizeof *job, 0);
    lp__future_begin(L, ctx, &job->future, LP__ANCHORS);
    job->future.detail = LP__JOB_FOR_FUTURE;
    lp__message_move(&job->message, &ctx->prepared_job->message);
    job->code = ctx->prepared_job->code;
    ctx->prepared_job->code = NULL;
    return job;
}

/* ---- Delivery ----------------------------------------------------------------- */

/* A job that was given up still runs, so it is not cancelled, whatever the error. */
static lp__future_status_t outcome(const lp__lua_job_t *job)
{
    int status = job->job.priv.node.status;
    if (status == 0)
        return LP__FUTURE_DONE;
    return status == LP_ECANCELLED && !lp_job_still_running(&job->job) ? LP__FUTURE_CANCELLED
                                                                       : LP__FUTURE_FAILED;
}

/* Stack: the callback, the job. The callback gets true and the results, or false and the error. */
static int call_back(lua_State *L)
{
    lp__lua_job_t *job = lua_touserdata(L, 2);
    lua_pushboolean(L, job->job.priv.node.status == 0);
    lua_replace(L, 2);
    int count = lp__job_push(L, traits_of(job)->ctx, job);
    lua_call(L, count + 1, 0);
    return 0;
}

static void deliver_to_callback(lp__context_t *ctx, lp__lua_job_t *job)
{
    if (!ctx->closed) {
        lua_State *L = ctx->calls_L;
        lua_pushcfunction(L, call_back);
        lua_rawgeti(L, LP__CALLS_ANCHORS, job->future.anchor);
        lp__anchor_free_in(L, ctx, LP__CALLS_ANCHORS, job->future.anchor);
        lua_pushlightuserdata(L, job);
        lp__context_call(ctx, traits_of(job)->log, 2, "a callback of lease:post");
    }
    lp__job_free(ctx, job);
}

/* Nothing that the userdata owns may be left to free, or it needs a finalizer. */
static void deliver_to_future(lp__context_t *ctx, lp__lua_job_t *job)
{
    lp__future_status_t ended = outcome(job);
    bool named = traits_of(job)->name != NULL;
    bool tells = ended == LP__FUTURE_FAILED || (ended == LP__FUTURE_CANCELLED && named);
    lp__message_fit(&job->message);
    if (ctx->closed) /* no finalizer would run */
        lp__message_free(&job->message);
    else if (tells || lp__message_is_large(&job->message))
        lp__future_needs_finalizer(ctx->calls_L, ctx, &job->future);
    if (ctx->closed || !tells)
        drop_traits(job);
    lp__future_end(ctx->calls_L, ctx, &job->future, ended);
}

void lp__job_explain(lp__lua_job_t *job, const char *reason)
{
    lp__message_t *message = &job->message;
    lp__message_reset(message);
    if (!reason)
        return;
    if (lp__write_byte(message, LP__WIRE_VERSION) != 0 || lp__write_int(message, 1) != 0 ||
        lp__write_string(message, reason, strlen(reason)) != 0)
        lp__message_reset(message);
}

static void on_done(lp_job_t *base, int status)
{
    lp__lua_job_t *job = LP__CONTAINER(base, lp__lua_job_t, job);
    lp__context_t *ctx = traits_of(job)->ctx;
    release_code(job);
    if (status == LP_EBROKEN && base->priv.worker == 0) /* else the worker has explained it */
        lp__job_explain(job, lp_broken_reason(ctx->rt));
    if (ctx->closed)
        ctx->lost_jobs++;
    switch ((lp__job_for_t)job->future.detail) {
    case LP__JOB_FOR_FUTURE:
        deliver_to_future(ctx, job);
        break;
    case LP__JOB_FOR_WAIT:
        lp__wait_wake(job->future.to.pointer); /* its continuation frees the job */
        break;
    case LP__JOB_FOR_CALLBACK:
        deliver_to_callback(ctx, job);
        break;
    case LP__JOB_FOR_NOBODY:
        lp__job_free(ctx, job);
        break;
    case LP__JOB_SPARE: /* never in flight */
        break;
    }
}

static void undo_start(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    lp__anchor_free(L, ctx, job->future.anchor); /* of the future, or of the callback */
    job->future.anchor = 0;
    if (job->future.detail == LP__JOB_FOR_FUTURE) {
        release_code(job);
        drop_traits(job);
        lp__message_free(&job->message);
    } else {
        lp__job_free(ctx, job);
    }
}

int lp__job_start(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job, lp_lease_t *lease)
{
    int rc = lp__job_submit(lease, &job->job, NULL, on_done, traits_of(job)->timeout_ns);
    if (rc != 0)
        undo_start(L, ctx, job);
    return rc;
}

int lp__job_grind(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job, lp_grinder_t *grinder)
{
    int rc = lp__grinder_submit(grinder, &job->job, traits_of(job)->timeout_ns, NULL, on_done);
    if (rc != 0)
        undo_start(L, ctx, job);
    return rc;
}

/* ---- Waiting ------------------------------------------------------------------ */

/* Whoever waited has gone: a queued job never runs, a running one ends for nobody. */
static void abandon(lp__wait_t *wait)
{
    lp__lua_job_t *job = wait->source;
    job->future.detail = LP__JOB_FOR_NOBODY;
    lp_job_cancel(&job->job);
}

/* The job ended, and whoever waited has gone before it went on. */
static void discard(lp__wait_t *wait)
{
    lp__job_free(wait->ctx, wait->source);
}

static int wait_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__wait_t *wait = lua_touserdata(L, (int)index);
    lp__wait_ended(L, (int)index);
    return lp__job_finish(L, ctx, wait->source);
}

int lp__job_wait(lua_State *L, lp__wait_t *wait, lp__lua_job_t *job)
{
    wait->source = job;
    wait->withdraw = abandon;
    wait->discard = discard;
    return lp__wait_park(L, wait, wait_k);
}

/* ---- Futures ------------------------------------------------------------------ */

static int future_values(lua_State *L, lp__context_t *ctx, int index, lp__future_t *future)
{
    (void)index;
    lp__lua_job_t *job = (lp__lua_job_t *)future;
    int count = lp__job_push(L, ctx, job);
    if (job->job.priv.node.status != 0)
        future->status = (uint8_t)outcome(job);
    return count;
}

static bool future_cancel(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    (void)L;
    (void)ctx;
    return lp_job_cancel(&((lp__lua_job_t *)future)->job) == 0;
}

static void future_free(lp__future_t *future)
{
    lp__lua_job_t *job = (lp__lua_job_t *)future;
    lp__message_free(&job->message);
    drop_traits(job);
}

static lp__log_t *future_log(const lp__future_t *future)
{
    const lp__traits_t *traits = traits_of((const lp__lua_job_t *)future);
    return traits ? traits->log : NULL;
}

const lp__future_kind_t lp__future_of_job = {
    .push = future_values,
    .cancel = future_cancel,
    .free = future_free,
    .log = future_log,
    .name = "job",
    .what = "a job whose future nobody looked at",
};
