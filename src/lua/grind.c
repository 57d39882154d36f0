/* grind.c - see grind.h.
 *
 * A view (grinder:with) is a userdata whose user value is the grinder; it shares its traits with
 * the jobs that are submitted through it. All checks come before the job is taken; from then on
 * nothing raises that would lose it. */
#include "lua/grind.h"

#include <lauxlib.h>
#include <string.h>

#include "core/grinder.h"
#include "core/manager.h"
#include "lua/errors.h"
#include "lua/job.h"
#include "lua/options.h"
#include "lua/setup.h"
#include "lua/traits.h"
#include "lua/wait.h"

typedef struct {
    lp__traits_t *traits;
} view_t;

enum { GRINDER = 1 };

/* The grinder that the first argument stands for; raises, naming `what`, when it is none or was
 * collected. */
static lp_grinder_t *target(lua_State *L, lp__context_t *ctx, const char *what,
                            lp__traits_t **traits)
{
    lp_grinder_t *grinder = NULL;
    if (lp__context_test(L, ctx, 1, LP__TYPE_GRINDER)) {
        grinder = lp__grinder_at(L, ctx, 1);
        if (grinder) {
            *traits = lp__setup_traits(grinder->manager);
            return grinder;
        }
    } else {
        view_t *view = lp__context_test(L, ctx, 1, LP__TYPE_GRINDER_VIEW);
        if (!view)
            lp__context_check(L, ctx, 1, LP__TYPE_GRINDER, what); /* raises */
        *traits = view->traits;
        lua_getiuservalue(L, 1, GRINDER);
        grinder = view->traits ? lp__grinder_at(L, ctx, -1) : NULL;
        lua_pop(L, 1);
    }
    if (!grinder)
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the grinder was collected", what);
    return grinder;
}

static int failed(lua_State *L, const lp_grinder_t *grinder, const char *what, int rc)
{
    if (rc == LP_ENOTSTARTED)
        return lp__error_raise(L, rc, "%s: the %s is not started, or stops", what,
                               grinder->state == LP__GRINDER_RUNNING ? "manager" : "grinder");
    if (rc == LP_EQUEUEFULL)
        return lp__error_raise(L, rc, "%s: %I jobs are pending already (max_pending)", what,
                               (lua_Integer)grinder->options.max_pending);
    return lp__error_raise(L, rc, "%s: %s", what, lp_strerror(rc));
}

int lp__grind_submit(lua_State *L)
{
    static const char what[] = "grinder:submit";
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *traits;
    lp_grinder_t *grinder = target(L, ctx, what, &traits);
    lp__job_prepare(L, ctx, 2, lua_gettop(L) - 2, NULL, traits, what);
    if (grinder->state != LP__GRINDER_RUNNING)
        return failed(L, grinder, what, LP_ENOTSTARTED);
    lua_settop(L, 1);
    lp__wait_t *wait = lp__wait_begin(L, ctx, what);
    lp__lua_job_t *job = lp__job_take(ctx);
    lp__job_set_traits(job, traits);
    job->future.detail = LP__JOB_FOR_WAIT;
    job->future.to.pointer = wait;
    int rc = lp__job_grind(L, ctx, job, grinder);
    return rc == 0 ? lp__job_wait(L, wait, job) : failed(L, grinder, what, rc);
}

int lp__grind_enqueue(lua_State *L)
{
    static const char what[] = "grinder:enqueue";
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *traits;
    lp_grinder_t *grinder = target(L, ctx, what, &traits);
    lp__job_prepare(L, ctx, 2, lua_gettop(L) - 2, NULL, traits, what);
    if (grinder->state != LP__GRINDER_RUNNING)
        return failed(L, grinder, what, LP_ENOTSTARTED);
    lp__lua_job_t *job = lp__job_take_future(L, ctx);
    lp__job_set_traits(job, traits);
    int rc = lp__job_grind(L, ctx, job, grinder);
    return rc == 0 ? 1 : failed(L, grinder, what, rc);
}

/* ---- Views -------------------------------------------------------------------- */

int lp__grind_with(lua_State *L)
{
    static const char what[] = "grinder:with";
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *base, traits;
    target(L, ctx, what, &base);
    traits = *base;
    lua_settop(L, 2);
    lp__options_parse_with(
        L, 2, &(lp__with_options_t){.what = what, .has_owner = true, .traits = &traits});
    bool of_view = lp__context_test(L, ctx, 1, LP__TYPE_GRINDER_VIEW) != NULL;
    view_t *view = lp__context_new(L, ctx, LP__TYPE_GRINDER_VIEW, sizeof *view, 1);
    if (of_view)
        lua_getiuservalue(L, 1, GRINDER);
    else
        lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, GRINDER);
    view->traits = lp__traits_copy(&traits);
    if (!view->traits)
        return luaL_error(L, "not enough memory");
    return 1;
}

static int view_gc(lua_State *L)
{
    view_t *view = lua_touserdata(L, 1);
    lp__traits_release(view->traits);
    view->traits = NULL;
    return 0;
}

static const lp__traits_t *check_view(lua_State *L, const char *what)
{
    view_t *view = lp__context_check(L, LP__CONTEXT(L), 1, LP__TYPE_GRINDER_VIEW, what);
    if (!view->traits)
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the view was collected", what);
    return view->traits;
}

static int view_index(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    const lp__traits_t *traits = check_view(L, "view");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "grinder") == 0)
        lua_getiuservalue(L, 1, GRINDER);
    else if (strcmp(name, "owner") == 0)
        lua_pushstring(L, traits->owner);
    else if (strcmp(name, "name") == 0 && traits->name)
        lua_pushlstring(L, traits->name, traits->name_len);
    else if (strcmp(name, "timeout") == 0 && traits->timeout_ns != LP_FOREVER)
        lua_pushnumber(L, (lua_Number)traits->timeout_ns / 1e9);
    else
        return 0;
    return 1;
}

static int view_tostring(lua_State *L)
{
    const lp__traits_t *traits = check_view(L, "tostring");
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, GRINDER);
    const char *grinder = luaL_tolstring(L, 2, NULL);
    lua_pushfstring(L, "view owner=%s of %s", traits->owner ? traits->owner : "none", grinder);
    return 1;
}

void lp__grind_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg methods[] = {{"submit", lp__grind_submit},
                                       {"enqueue", lp__grind_enqueue},
                                       {"with", lp__grind_with},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", view_gc}, {"__tostring", view_tostring}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_GRINDER_VIEW, "leasepool.grinder_view", methods,
                         view_index, meta);
}
