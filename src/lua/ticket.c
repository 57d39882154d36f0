/* ticket.c - grinder:submit_from_thread inside a job, and the future that it returns there.
 *
 * Function and arguments are encoded by the worker's codec on its thread; the job is the loop's
 * from the post until the ticket has ended, and then the worker's again, which decodes the results.
 * The future's userdata has one reference to the ticket; its user value is the list of what the job
 * ended with, once somebody has asked. Runs on the worker's thread, but for what says otherwise. */
#include "core/ticket.h"

#include <lauxlib.h>

#include "base/alloc.h"
#include "base/list.h"
#include "core/grinder.h"
#include "core/job.h"
#include "core/manager.h"
#include "lua/code.h"
#include "lua/context.h"
#include "lua/errors.h"
#include "lua/handle.h"
#include "lua/interrupt.h"
#include "lua/job.h"
#include "lua/seconds.h"
#include "lua/setup.h"
#include "lua/state.h"
#include "lua/traits.h"

typedef struct {
    lp_ticket_t ticket;
    lp__lua_job_t job;
    bool taken; /* by the grinder; the loop's, as the job is */
} own_t;

typedef struct {
    own_t *own; /* NULL: finalised */
} future_t;

static const char metatable_key;

enum { VALUES = 1 };

/* ---- The loop's ----------------------------------------------------------------- */

static void release_code(lp__lua_job_t *job)
{
    if (job->code)
        lp__code_release(job->code);
    job->code = NULL;
}

static void drop_traits(lp__lua_job_t *job)
{
    lp__traits_release(job->job.data);
    job->job.data = NULL;
}

/* Loop thread. */
static void on_done(lp_job_t *base, int status)
{
    own_t *own = LP__CONTAINER(base, own_t, job.job);
    lp__lua_job_t *job = &own->job;
    lp_runtime_t *rt = ((lp__traits_t *)base->data)->ctx->rt;
    release_code(job);
    if (status == LP_EBROKEN && base->priv.worker == 0) /* else the worker has explained it */
        lp__job_explain(job, lp_broken_reason(rt));
    drop_traits(job);
    lp__ticket_end(&own->ticket, status);
}

/* Loop thread. */
static int start(lp_ticket_t *ticket, lp_grinder_t *grinder)
{
    own_t *own = LP__CONTAINER(ticket, own_t, ticket);
    lp__job_set_traits(&own->job, lp__setup_traits(grinder->manager));
    int rc = lp__grinder_submit(grinder, &own->job.job, LP_FOREVER, NULL, on_done);
    own->taken = rc == 0;
    if (rc != 0)
        drop_traits(&own->job);
    return rc;
}

/* The thread that drops the last reference. */
static void free_own(lp__ask_t *ask)
{
    own_t *own = LP__CONTAINER(LP__CONTAINER(ask, lp_ticket_t, ask), own_t, ticket);
    release_code(&own->job);
    lp__message_free(&own->job.message);
    lp__free(own);
}

/* ---- The future ----------------------------------------------------------------- */

static own_t *check(lua_State *L, const char *what)
{
    const future_t *future = NULL;
    if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
        future = lua_rawequal(L, -1, -2) ? lua_touserdata(L, 1) : NULL;
        lua_pop(L, 2);
    }
    if (!future)
        lp__error_raise(L, LP_EINVAL,
                        "%s: argument 1: got %s, allowed: a future of submit_from_thread (call it "
                        "with a colon)",
                        what, luaL_typename(L, 1));
    if (!future->own)
        lp__error_raise(L, LP_EINVAL, "%s: the future was collected", what);
    return future->own;
}

/* Pushes why the grinder did not take it. */
static int push_refusal(lua_State *L, int status)
{
    static const char what[] = "grinder:submit_from_thread";
    if (status == LP_ENOTSTARTED)
        lp__error_push(L, status, "%s: the grinder, or its manager, is not started, or stops",
                       what);
    else if (status == LP_EQUEUEFULL)
        lp__error_push(L, status, "%s: too many jobs are pending already (max_pending)", what);
    else
        lp__error_push(L, status, "%s: %s", what, lp_strerror(status));
    return 1;
}

static bool is_done(const own_t *own)
{
    return own->taken && own->job.job.priv.node.status == 0; /* also once its results were read */
}

/* Pushes what the job ended with, the same objects each time; returns how many values: the
 * results, or one error. */
static int push_values(lua_State *L, own_t *own)
{
    lp__context_t *ctx = lp__context_get(L);
    int top = lua_gettop(L);
    if (lua_getiuservalue(L, 1, VALUES) == LUA_TTABLE) {
        int count = (int)lua_rawlen(L, -1) - 1;
        luaL_checkstack(L, count + 1, "results");
        for (int i = 1; i <= count; i++)
            lua_rawgeti(L, top + 1, i);
        lua_remove(L, top + 1);
        return count;
    }
    lua_pop(L, 1);
    int count =
        own->taken ? lp__job_push(L, ctx, &own->job) : push_refusal(L, own->ticket.ask.status);
    luaL_checkstack(L, 2, "results");
    lua_createtable(L, count + 1, 0);
    lua_pushboolean(L, 1); /* behind the last value, which may be nil */
    lua_rawseti(L, -2, count + 1);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, top + i);
        lua_rawseti(L, -2, i);
    }
    lua_setiuservalue(L, 1, VALUES);
    return count;
}

/* Waits. False: not within the time. */
static bool wait(lua_State *L, own_t *own, uint64_t timeout_ns, const char *what)
{
    if (lp__state_is_closing(L)) /* what the results hold would not be finalised */
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the Lua state is closing", what);
    int status, rc = lp_ticket_wait(&own->ticket, timeout_ns, &status);
    if (rc == 0)
        return true;
    if (rc == LP_EWRONGTHREAD)
        lp__handle_refuse(L, what, "grinder:enqueue");
    lp__interrupt_check(L);
    return false;
}

static int give_timeout(lua_State *L, const char *what)
{
    lp__error_push(L, LP_ETIMEDOUT, "%s: not ended after %f seconds", what, lua_tonumber(L, 2));
    return 1;
}

static int future_result(lua_State *L)
{
    static const char what[] = "future:result";
    own_t *own = check(L, what);
    lua_settop(L, 2);
    if (!wait(L, own, lp__seconds_opt(L, 2, what, "timeout", LP_FOREVER), what)) {
        lua_pushboolean(L, 0);
        return 1 + give_timeout(L, what);
    }
    lua_settop(L, 1);
    int count = push_values(L, own);
    lua_pushboolean(L, is_done(own));
    lua_insert(L, 2);
    return count + 1;
}

static int future_await(lua_State *L)
{
    static const char what[] = "future:await";
    own_t *own = check(L, what);
    lua_settop(L, 2);
    if (!wait(L, own, lp__seconds_opt(L, 2, what, "timeout", LP_FOREVER), what)) {
        give_timeout(L, what);
        return lua_error(L);
    }
    lua_settop(L, 1);
    int count = push_values(L, own);
    return is_done(own) ? count : lua_error(L);
}

static int future_status(lua_State *L)
{
    own_t *own = check(L, "future:status");
    if (!lp_ticket_has_ended(&own->ticket)) {
        lua_pushliteral(L, "pending");
        return 1;
    }
    int status = own->ticket.ask.status;
    if (status == LP_ECANCELLED && !lp_job_still_running(&own->job.job))
        lua_pushliteral(L, "cancelled");
    else
        lua_pushstring(L, status == 0 ? "done" : "failed");
    return 1;
}

static int future_cancel(lua_State *L)
{
    own_t *own = check(L, "future:cancel");
    int rc = lp_ticket_cancel(&own->ticket);
    if (rc == LP_EWRONGTHREAD)
        return lp__handle_refuse(L, "future:cancel", "grinder:enqueue");
    lua_pushboolean(L, rc == 0);
    return 1;
}

static int future_gc(lua_State *L)
{
    future_t *future = lua_touserdata(L, 1);
    if (future->own)
        lp_ticket_release(&future->own->ticket);
    future->own = NULL;
    return 0;
}

static int future_tostring(lua_State *L)
{
    future_status(L);
    lua_pushfstring(L, "future of a job: %s", lua_tostring(L, -1));
    return 1;
}

/* Pushes the metatable, made with the state's first one. */
static void push_metatable(lua_State *L)
{
    static const luaL_Reg methods[] = {{"result", future_result},
                                       {"await", future_await},
                                       {"status", future_status},
                                       {"cancel", future_cancel},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {
        {"__gc", future_gc}, {"__tostring", future_tostring}, {NULL, NULL}};
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    luaL_newlib(L, meta);
    lua_pushliteral(L, "leasepool.thread_future");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}

/* ---- submit_from_thread --------------------------------------------------------- */

/* Pushes a future with a ticket, which is not posted yet. */
static own_t *new_future(lua_State *L, lp_handle_t *handle)
{
    future_t *future = lua_newuserdatauv(L, sizeof *future, VALUES);
    future->own = NULL;
    push_metatable(L);
    lua_setmetatable(L, -2);
    own_t *own = lp__calloc(LP_MEM_BINDING, sizeof *own);
    if (!own)
        luaL_error(L, "not enough memory");
    lp__message_init(&own->job.message);
    lp__ticket_init(&own->ticket, handle, &own->job.job, start, free_own);
    future->own = own;
    return own;
}

int lp__ticket_submit(lua_State *L)
{
    static const char what[] = "grinder:submit_from_thread";
    lp_handle_t *handle = lp__handle_check(L, LP__HANDLE_OF_GRINDER, what);
    lp__codec_t *codec = lp__codec_new(L);
    if (lua_type(L, 2) != LUA_TFUNCTION)
        return lp__error_raise(L, LP_EINVAL, "%s: argument 1: got %s, allowed: a function", what,
                               lua_gettop(L) < 2 ? "no value" : luaL_typename(L, 2));
    int nargs = lua_gettop(L) - 2;
    own_t *own = new_future(L, handle);
    lua_insert(L, 1);
    lp__codec_take_handles(codec, !handle->processes);
    int rc = lp__encode_call(codec, L, 3, nargs, NULL, &own->job.message, &own->job.code);
    if (rc != 0)
        lp__job_refuse(L, codec, rc, what);
    rc = lp__ticket_post(&own->ticket);
    if (rc == LP_ENOTSTARTED)
        return lp__error_raise(L, rc, "%s: the grinder has ended", what);
    if (rc != 0)
        return lp__error_raise(L, rc, "%s: %s", what, lp_strerror(rc));
    lua_settop(L, 1);
    return 1;
}
