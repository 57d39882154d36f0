/* submit.c - the calls that give work to a lease, on itself, on a view of it or on its executor:
 * run, submit, try_submit, post. Loop thread.
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

/* Pushes why a job could not be submitted. */
static void push_failure(lua_State *L, const lp_lease_t *lease, const char *what, int rc)
{
    if (lease && lease->ended == LP__END_BROKEN)
        rc = LP_EBROKEN;
    switch (rc) {
    case LP_EEXPIRED:
        if (lease)
            lp__error_push(L, rc, "%s: lease %I: %s", what, (lua_Integer)lease->id,
                           lp_lease_reason(lease));
        else
            lp__error_push(L, rc, "%s: the lease was collected", what);
        break;
    case LP_EQUEUEFULL:
        lp__error_push(L, rc, "%s: %d jobs wait already (max_queue)", what,
                       (int)lease->manager->options.max_queue);
        break;
    case LP_EBROKEN:
        lp__error_push(L, rc, "%s: lease %I: the executor broke: %s", what, (lua_Integer)lease->id,
                       lp_lease_reason(lease));
        lp__error_set_reason(L, lp_lease_reason(lease));
        break;
    default:
        lp__error_push(L, rc, "%s: %s", what, lp_strerror(rc));
        break;
    }
}

static int failed(lua_State *L, const lp_lease_t *lease, const char *what, int rc)
{
    push_failure(L, lease, what, rc);
    return lua_error(L);
}

/* Not yet by the clock, which lp__job_start asks. */
static bool is_open(const lp_lease_t *lease)
{
    return lease && lease->state <= LP_LEASE_GRACE;
}

/* Whom the call at hand gives work to; raises when that takes none. */
static lp_lease_t *active_target(lua_State *L, lp__context_t *ctx, const char *what,
                                 lp__traits_t **traits)
{
    lp_lease_t *lease = lp__lease_target(L, ctx, what, traits);
    if (!is_open(lease))
        failed(L, lease, what, LP_EEXPIRED);
    return lease;
}

/* ---- run ---------------------------------------------------------------------- */

int lp__lease_run(lua_State *L)
{
    static const char what[] = "lease:run";
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *traits;
    lp_lease_t *lease = active_target(L, ctx, what, &traits);
    lp__wait_check(L, ctx, what);
    lp__job_prepare(L, ctx, 2, lua_gettop(L) - 2, NULL, traits, what);
    lua_settop(L, 1);
    lp__wait_t *wait = lp__wait_begin(L, ctx, what);
    lp__lua_job_t *job = lp__job_take(ctx);
    lp__job_set_traits(job, traits);
    job->future.detail = LP__JOB_FOR_WAIT;
    job->future.to.pointer = wait;
    int rc = lp__job_start(L, ctx, job, lease);
    return rc == 0 ? lp__job_wait(L, wait, job) : failed(L, lease, what, rc);
}

/* ---- submit, try_submit and post ---------------------------------------------- */

/* Submits what was prepared. Pushes the future, or an error, and returns the code. */
static int submit_prepared(lua_State *L, lp__context_t *ctx, lp_lease_t *lease,
                           lp__traits_t *traits, const char *what)
{
    int rc = is_open(lease) ? 0 : LP_EEXPIRED;
    if (rc == 0) {
        lp__lua_job_t *job = lp__job_take_future(L, ctx);
        lp__job_set_traits(job, traits);
        rc = lp__job_start(L, ctx, job, lease);
    }
    if (rc != 0)
        push_failure(L, lease, what, rc);
    return rc;
}

static int submit(lua_State *L, const char *what)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *traits;
    lp_lease_t *lease = lp__lease_target(L, ctx, what, &traits);
    lp__job_prepare(L, ctx, 2, lua_gettop(L) - 2, NULL, traits,
                    what); /* wrong arguments are told first */
#ifdef LP_TEST_SLOW        /* a build that the instruction budgets must refuse: a tenth more */
    for (volatile int i = 0; i < 36; i++)
        continue;
#endif
    return submit_prepared(L, ctx, lease, traits, what);
}

int lp__lease_submit(lua_State *L)
{
    return submit(L, "lease:submit") == 0 ? 1 : lua_error(L);
}

/* The future; or nil and the error. */
static int give_or_refuse(lua_State *L, int rc)
{
    if (rc == 0)
        return 1;
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

int lp__lease_try_submit(lua_State *L)
{
    return give_or_refuse(L, submit(L, "lease:try_submit"));
}

int lp__lease_submit_slice(lua_State *L)
{
    static const char what[] = "lease:try_submit";
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *traits;
    lp_lease_t *lease = lp__lease_target(L, ctx, what, &traits);
    lp__slice_t slice = {.first = luaL_checkinteger(L, 4), .count = luaL_checkinteger(L, 5)};
    lua_remove(L, 4);
    lp__job_prepare(L, ctx, 2, 2, &slice, traits, what);
    return give_or_refuse(L, submit_prepared(L, ctx, lease, traits, what));
}

int lp__lease_post(lua_State *L)
{
    static const char what[] = "lease:post";
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *traits;
    lp_lease_t *lease = lp__lease_target(L, ctx, what, &traits);
    if (lua_type(L, 2) != LUA_TFUNCTION)
        return lp__error_raise(L, LP_EINVAL, "lease:post: callback: got %s, allowed: a function",
                               luaL_typename(L, 2));
    if (!is_open(lease))
        return failed(L, lease, what, LP_EEXPIRED);
    lp__job_prepare(L, ctx, 3, lua_gettop(L) - 3, NULL, traits, what);
    lua_pushvalue(L, 2);
    int callback = lp__anchor_in(L, ctx, LP__ANCHORS);
    lp__lua_job_t *job = lp__job_take(ctx);
    lp__job_set_traits(job, traits);
    job->future.detail = LP__JOB_FOR_CALLBACK;
    job->future.anchor = callback;
    int rc = lp__job_start(L, ctx, job, lease);
    return rc == 0 ? 0 : failed(L, lease, what, rc);
}
