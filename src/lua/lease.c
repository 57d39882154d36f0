/* lease.c - the lease as scripts see it: run, submit, post, release. Loop thread. */
#include "core/lease.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <string.h>

#include "core/manager.h"
#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/job.h"
#include "lua/log.h"
#include "lua/objects.h"
#include "lua/wait.h"

typedef struct {
    lp_lease_t *lease;
} handle_t;

static const char *const state_names[] = {"ACTIVE", "DRAINING", "EXPIRED", "CLOSED"};

lp_lease_t **lp__lease_new(lua_State *L)
{
    handle_t *handle = lp__context_new(L, LP__TYPE_LEASE, sizeof *handle, 0);
    return &handle->lease;
}

static lp_lease_t *check(lua_State *L, lp__context_t *ctx, const char *what)
{
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, what);
    if (ctx->closed)
        lp__error_raise(L, LP_EEXPIRED, "%s: the Lua state is closing", what);
    if (!handle->lease)
        lp__error_raise(L, LP_EEXPIRED, "%s: the lease was collected", what);
    return handle->lease;
}

static int submit_failed(lua_State *L, const lp_lease_t *lease, const char *what, int rc)
{
    switch (rc) {
    case LP_EEXPIRED:
        return lp__error_raise(L, rc, "%s: lease %I: %s", what, (lua_Integer)lease->id,
                               lease->manager_stopped ? "the manager stopped" : "released");
    case LP_EQUEUEFULL:
        return lp__error_raise(L, rc, "%s: %d jobs wait already (max_queue)", what,
                               (int)lease->manager->options.max_queue);
    case LP_EBROKEN:
        return lp__error_raise(L, rc, "%s: no worker can be started", what);
    default:
        return lp__error_raise(L, rc, "%s: %s", what, lp_strerror(rc));
    }
}

/* ---- run ---------------------------------------------------------------------- */

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

static int run_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__wait_t *wait = lua_touserdata(L, (int)index);
    lp__wait_ended(L, (int)index);
    lp__lua_job_t *job = wait->source;
    int count = lp__job_push(L, ctx, job);
    bool ok = job->job.priv.node.status == 0;
    lp__job_free(ctx, job);
    return ok ? count : lua_error(L);
}

static int lease_run(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = check(L, ctx, "lease:run");
    if (lease->state != LP_LEASE_ACTIVE)
        return submit_failed(L, lease, "lease:run", LP_EEXPIRED);
    lp__wait_check(L, ctx, "lease:run");
    lp__job_prepare(L, ctx, 2, lua_gettop(L) - 2, "lease:run");
    lua_settop(L, 1);
    lp__wait_t *wait = lp__wait_begin(L, ctx, "lease:run");
    lp__lua_job_t *job = lp__job_take(ctx);
    job->future.detail = LP__JOB_FOR_WAIT;
    job->future.to.pointer = wait;
    int rc = lp__job_start(L, ctx, job, lease);
    if (rc != 0)
        return submit_failed(L, lease, "lease:run", rc);
    wait->source = job;
    wait->withdraw = abandon;
    wait->discard = discard;
    return lp__wait_park(L, wait, run_k);
}

/* ---- submit and post ---------------------------------------------------------- */

static int lease_submit(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = check(L, ctx, "lease:submit");
    if (lease->state != LP_LEASE_ACTIVE)
        return submit_failed(L, lease, "lease:submit", LP_EEXPIRED);
    lp__job_prepare(L, ctx, 2, lua_gettop(L) - 2, "lease:submit");
    lp__lua_job_t *job = lp__job_take_future(L, ctx);
    int rc = lp__job_start(L, ctx, job, lease);
    return rc == 0 ? 1 : submit_failed(L, lease, "lease:submit", rc);
}

static int lease_post(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = check(L, ctx, "lease:post");
    if (lua_type(L, 2) != LUA_TFUNCTION)
        return lp__error_raise(L, LP_EINVAL, "lease:post: callback: got %s, allowed: a function",
                               luaL_typename(L, 2));
    if (lease->state != LP_LEASE_ACTIVE)
        return submit_failed(L, lease, "lease:post", LP_EEXPIRED);
    lp__job_prepare(L, ctx, 3, lua_gettop(L) - 3, "lease:post");
    lua_pushvalue(L, 2);
    int callback = lp__anchor_in(L, ctx, LP__ANCHORS);
    lp__lua_job_t *job = lp__job_take(ctx);
    job->future.detail = LP__JOB_FOR_CALLBACK;
    job->future.anchor = callback;
    int rc = lp__job_start(L, ctx, job, lease);
    return rc == 0 ? 0 : submit_failed(L, lease, "lease:post", rc);
}

/* ---- The rest ----------------------------------------------------------------- */

static int lease_release(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, "lease:release");
    if (!ctx->closed && handle->lease)
        lp_release(handle->lease);
    return 0;
}

static int lease_gc(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lua_touserdata(L, 1);
    lp_lease_t *lease = handle->lease;
    handle->lease = NULL;
    if (!lease || ctx->closed)
        return 0;
    if (lease->state == LP_LEASE_ACTIVE)
        lp__log(ctx, "WARN",
                "lease %" PRIu64 " (owner: %s) was collected unreleased; use "
                "`local lease <close>`, or call release",
                lease->id, lease->owner ? lease->owner : "none");
    lp_lease_close(lease);
    return 0;
}

static int lease_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = check(L, ctx, "lease");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "lease_id") == 0)
        lua_pushinteger(L, (lua_Integer)lease->id);
    else if (strcmp(name, "owner") == 0)
        lua_pushstring(L, lease->owner);
    else if (strcmp(name, "state") == 0)
        lua_pushstring(L, state_names[lease->state]);
    else if (strcmp(name, "leased_at") == 0)
        lua_pushnumber(L, (lua_Number)lease->acquired_ns / 1e9);
    else
        return 0;
    return 1;
}

static int lease_tostring(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, "tostring");
    if (ctx->closed || !handle->lease)
        lua_pushliteral(L, "lease CLOSED");
    else
        lua_pushfstring(L, "lease %I owner=%s %s", (lua_Integer)handle->lease->id,
                        handle->lease->owner ? handle->lease->owner : "none",
                        state_names[handle->lease->state]);
    return 1;
}

void lp__lease_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg methods[] = {{"run", lease_run},
                                       {"submit", lease_submit},
                                       {"post", lease_post},
                                       {"release", lease_release},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", lease_release},
                                    {"__gc", lease_gc},
                                    {"__tostring", lease_tostring},
                                    {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_LEASE, "leasepool.lease", methods, lease_index, meta);
}
