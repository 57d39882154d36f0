/* submit.c - the calls of a lease that give it work: run, submit, post. Loop thread.
 *
 * All checks come before the job is taken; from then on nothing raises that would lose it. */
#include <lauxlib.h>

#include "core/lease.h"
#include "core/manager.h"
#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/job.h"
#include "lua/objects.h"
#include "lua/wait.h"

static int submit_failed(lua_State *L, const lp_lease_t *lease, const char *what, int rc)
{
    if (lease->ended == LP__END_BROKEN)
        rc = LP_EBROKEN;
    switch (rc) {
    case LP_EEXPIRED:
        return lp__error_raise(L, rc, "%s: lease %I: %s", what, (lua_Integer)lease->id,
                               lp_lease_reason(lease));
    case LP_EQUEUEFULL:
        return lp__error_raise(L, rc, "%s: %d jobs wait already (max_queue)", what,
                               (int)lease->manager->options.max_queue);
    case LP_EBROKEN:
        lp__error_push(L, rc, "%s: lease %I: the executor broke: %s", what, (lua_Integer)lease->id,
                       lp_lease_reason(lease));
        lua_pushstring(L, lp_lease_reason(lease));
        lua_setfield(L, -2, "reason");
        return lua_error(L);
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

int lp__lease_run(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = lp__lease_check(L, ctx, "lease:run");
    if (!lp__lease_is_open(lease))
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

int lp__lease_submit(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = lp__lease_check(L, ctx, "lease:submit");
    if (!lp__lease_is_open(lease))
        return submit_failed(L, lease, "lease:submit", LP_EEXPIRED);
    lp__job_prepare(L, ctx, 2, lua_gettop(L) - 2, "lease:submit");
    lp__lua_job_t *job = lp__job_take_future(L, ctx);
    int rc = lp__job_start(L, ctx, job, lease);
    return rc == 0 ? 1 : submit_failed(L, lease, "lease:submit", rc);
}

int lp__lease_post(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = lp__lease_check(L, ctx, "lease:post");
    if (lua_type(L, 2) != LUA_TFUNCTION)
        return lp__error_raise(L, LP_EINVAL, "lease:post: callback: got %s, allowed: a function",
                               luaL_typename(L, 2));
    if (!lp__lease_is_open(lease))
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
