/* view.c - views of a lease (lease:with) and its executor as scripts see it (lease.executor).
 *
 * Both are userdata whose first user value is the lease, which they keep alive; a view shares its
 * traits with the jobs that are submitted through it. Loop thread. */
#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/lease.h"
#include "core/manager.h"
#include "lua/errors.h"
#include "lua/job.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/seconds.h"
#include "lua/setup.h"

typedef struct {
    lp__traits_t *traits;
} view_t;

enum { LEASE = 1 };

lp_lease_t *lp__lease_target(lua_State *L, lp__context_t *ctx, const char *what,
                             lp__traits_t **traits)
{
    *traits = NULL;
    if (lp__context_test(L, ctx, 1, LP__TYPE_LEASE)) {
        lp_lease_t *own = lp__lease_at(L, ctx, 1);
        if (own)
            *traits = lp__setup_traits(own->manager);
        return own;
    }
    view_t *view = lp__context_test(L, ctx, 1, LP__TYPE_VIEW);
    if (view && view->traits) /* else it was finalised, and so was the lease, or will be */
        *traits = view->traits;
    else if (!view && !lp__context_test(L, ctx, 1, LP__TYPE_EXECUTOR))
        lp__context_check(L, ctx, 1, LP__TYPE_LEASE, what); /* raises */
    lua_getiuservalue(L, 1, LEASE);
    lp_lease_t *lease = lp__lease_at(L, ctx, -1);
    if (lease && !*traits)
        *traits = lp__setup_traits(lease->manager);
    lua_pop(L, 1);
    return lease;
}

/* ---- Views -------------------------------------------------------------------- */

int lp__lease_with(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__traits_t *base, traits;
    if (!lp__lease_target(L, ctx, "lease:with", &base))
        return lp__error_raise(L, LP_EEXPIRED, "lease:with: the lease was collected");
    traits = *base;
    lp__options_parse_with(L, 2, &(lp__with_options_t){.what = "lease:with", .traits = &traits});
    bool of_view = lp__context_test(L, ctx, 1, LP__TYPE_VIEW) != NULL;
    view_t *view = lp__context_new(L, ctx, LP__TYPE_VIEW, sizeof *view, 1);
    if (of_view)
        lua_getiuservalue(L, 1, LEASE);
    else
        lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, LEASE);
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

static view_t *check_view(lua_State *L, lp__context_t *ctx, const char *what)
{
    view_t *view = lp__context_check(L, ctx, 1, LP__TYPE_VIEW, what);
    if (!view->traits)
        lp__error_raise(L, LP_EEXPIRED, "%s: the view was collected", what);
    return view;
}

static void push_name(lua_State *L, const lp__traits_t *traits)
{
    if (traits->name)
        lua_pushlstring(L, traits->name, traits->name_len);
    else
        lua_pushnil(L);
}

static void push_timeout(lua_State *L, const lp__traits_t *traits)
{
    if (traits->timeout_ns != LP_FOREVER)
        lua_pushnumber(L, (lua_Number)traits->timeout_ns / 1e9);
    else
        lua_pushnil(L);
}

static int view_index(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    view_t *view = check_view(L, LP__CONTEXT(L), "view");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "lease") == 0)
        lua_getiuservalue(L, 1, LEASE);
    else if (strcmp(name, "name") == 0)
        push_name(L, view->traits);
    else if (strcmp(name, "timeout") == 0)
        push_timeout(L, view->traits);
    else
        return 0;
    return 1;
}

static int view_tostring(lua_State *L)
{
    view_t *view = check_view(L, LP__CONTEXT(L), "tostring");
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, LEASE);
    const char *lease = luaL_tolstring(L, 2, NULL);
    push_name(L, view->traits);
    const char *name = luaL_tolstring(L, -1, NULL);
    push_timeout(L, view->traits);
    const char *timeout = luaL_tolstring(L, -1, NULL);
    lua_pushfstring(L, "view name=%s timeout=%s of %s", name, timeout, lease);
    return 1;
}

/* ---- The executor --------------------------------------------------------------- */

int lp__lease_push_executor(lua_State *L, lp__context_t *ctx, int index, int user_value)
{
    index = lua_absindex(L, index);
    if (lua_getiuservalue(L, index, user_value) != LUA_TNIL)
        return 1;
    lua_pop(L, 1);
    lp__context_new(L, ctx, LP__TYPE_EXECUTOR, 1, 1);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, LEASE);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, index, user_value);
    return 1;
}

static int executor_shutdown(lua_State *L)
{
    lp__context_check(L, LP__CONTEXT(L), 1, LP__TYPE_EXECUTOR, "lease.executor:shutdown");
    return lp__error_raise(L, LP_EINVAL,
                           "lease.executor:shutdown: the executor is the manager's and goes on to "
                           "the next borrower; release the lease instead");
}

static int executor_tostring(lua_State *L)
{
    lp__context_check(L, LP__CONTEXT(L), 1, LP__TYPE_EXECUTOR, "tostring");
    lua_getiuservalue(L, 1, LEASE);
    lua_pushfstring(L, "executor of %s", luaL_tolstring(L, -1, NULL));
    return 1;
}

/* worker_count(lease or view): how many its executor has at most. */
static int worker_count(lua_State *L)
{
    lp__traits_t *traits;
    lp_lease_t *lease = lp__lease_target(L, LP__CONTEXT(L), "leasepool", &traits);
    if (!lease)
        return lp__error_raise(L, LP_EEXPIRED, "leasepool: the lease was collected");
    lua_pushinteger(L, (lua_Integer)lease->manager->options.workers_per_pool);
    return 1;
}

void lp__view_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg methods[] = {{"run", lp__lease_run},
                                       {"submit", lp__lease_submit},
                                       {"try_submit", lp__lease_try_submit},
                                       {"post", lp__lease_post},
                                       {"with", lp__lease_with},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", view_gc}, {"__tostring", view_tostring}, {NULL, NULL}};
    static const luaL_Reg executor_methods[] = {
        {"submit", lp__lease_submit}, {"shutdown", executor_shutdown}, {NULL, NULL}};
    static const luaL_Reg executor_meta[] = {{"__tostring", executor_tostring}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_VIEW, "leasepool.view", methods, view_index, meta);
    lp__context_register(L, ctx, LP__TYPE_EXECUTOR, "leasepool.executor", executor_methods, NULL,
                         executor_meta);
    static const luaL_Reg functions[] = {{"worker_count", worker_count}, {NULL, NULL}};
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
    static const luaL_Reg method[] = {{"submit_slice", lp__lease_submit_slice}, {NULL, NULL}};
    lua_pushlightuserdata(L, ctx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    luaL_setfuncs(L, method, 2); /* the upvalues of a method */
}
