/* manager.c - leasepool.manager{...} and its methods. Loop thread. */
#include "core/manager.h"

#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/backend.h"
#include "lua/errors.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/wait.h"

typedef struct {
    lp_manager_t *manager;
} handle_t;

lp_manager_t *lp__manager_check(lua_State *L, lp__context_t *ctx, const char *what)
{
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_MANAGER, what);
    lp__context_runtime(L, ctx);
    if (!handle->manager)
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the manager was collected", what);
    return handle->manager;
}

/* ---- Making --------------------------------------------------------------------- */

static int manager_new(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    if (lua_type(L, 1) != LUA_TTABLE)
        return lp__error_raise(L, LP_EINVAL,
                               "leasepool.manager: got %s, allowed: a table of options",
                               lua_gettop(L) == 0 ? "no value" : luaL_typename(L, 1));
    lp_runtime_t *rt = lp__context_runtime(L, ctx);
    lua_settop(L, 1);
    lp_manager_options_t options;
    const lp_backend_t *backend = lp__options_parse_manager(L, 1, &options);
    handle_t *handle = lp__context_new(L, LP__TYPE_MANAGER, sizeof *handle, 0);
    int rc = lp_manager_create(&handle->manager, rt, backend, &options);
    if (rc == LP_EINVAL)
        return lp__error_raise(L, rc, "%s", lp_last_error(rt));
    if (rc != 0)
        return lp__error_raise(L, rc, "leasepool.manager: %s", lp_strerror(rc));
    return 1;
}

/* ---- Start and stop ----------------------------------------------------------- */

static int manager_start(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_check(L, ctx, "manager:start");
    lp__context_capture_paths(L, ctx);
    int rc = lp_manager_start(manager);
    if (rc == LP_ESTATE)
        return lp__error_raise(L, LP_ENOTSTARTED, "manager:start: the manager is stopping");
    if (rc != 0)
        return lp__error_raise(L, rc, "manager:start: %s", lp_strerror(rc));
    lua_settop(L, 1);
    return 1;
}

/* A stop that somebody may wait for; outlives the wait, as stopping goes on without it. */
typedef struct {
    lp_stop_t req;
    lp__wait_t *wait; /* NULL: nobody waits any more */
    lp_stop_report_t *report;
} stop_t;

static void on_stopped(lp_stop_t *req, const lp_stop_report_t *report)
{
    stop_t *stop = (stop_t *)req;
    if (stop->wait) {
        *stop->report = *report;
        lp__wait_wake(stop->wait);
    }
    lp__free(stop);
}

static void forget_stop(lp__wait_t *wait)
{
    stop_t *stop = wait->source;
    stop->wait = NULL;
}

static stop_t *stop_new(lua_State *L)
{
    stop_t *stop = lp__calloc(LP_MEM_BINDING, sizeof *stop);
    if (!stop)
        luaL_error(L, "not enough memory");
    return stop;
}

/* Stack: manager, report, wait. */
static int stop_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_ended(L, (int)index);
    const lp_stop_report_t *report = lua_touserdata(L, 2);
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, (lua_Integer)report->finished);
    lua_setfield(L, -2, "finished");
    lua_pushinteger(L, (lua_Integer)report->cancelled);
    lua_setfield(L, -2, "cancelled");
    return 1;
}

static int stop_and_wait(lua_State *L, lp__context_t *ctx, lp_manager_t *manager, const char *what)
{
    lua_settop(L, 1);
    lp_stop_report_t *report = lua_newuserdatauv(L, sizeof *report, 0);
    lp__wait_t *wait = lp__wait_begin(L, ctx, what);
    stop_t *stop = stop_new(L);
    stop->wait = wait;
    stop->report = report;
    wait->source = stop;
    wait->withdraw = forget_stop;
    int rc = lp_manager_stop(manager, &stop->req, on_stopped);
    if (rc != 0) {
        wait->withdraw = NULL;
        lp__free(stop);
        return lp__error_raise(L, rc, "%s: %s", what, lp_strerror(rc));
    }
    return lp__wait_park(L, wait, stop_k);
}

static int manager_stop(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_check(L, ctx, "manager:stop");
    if (!lua_isnoneornil(L, 2))
        lp__error_raise(L, LP_EINVAL, "manager:stop: got %s, allowed: no argument",
                        lp__options_show(L, 2));
    return stop_and_wait(L, ctx, manager, "manager:stop");
}

/* Where nothing can wait (a coroutine that is being closed inside a callback), stopping
 * is begun and goes on by itself. */
static int manager_close(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_MANAGER, "manager <close>");
    lp_manager_t *manager = handle->manager;
    if (ctx->closed || !manager || manager->state == LP__MANAGER_STOPPED)
        return 0;
    if (lp__wait_possible(L, ctx))
        return stop_and_wait(L, ctx, manager, "manager <close>");
    stop_t *stop = stop_new(L);
    if (lp_manager_stop(manager, &stop->req, on_stopped) != 0)
        lp__free(stop);
    return 0;
}

/* ---- Fields ------------------------------------------------------------------- */

static int manager_index(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_MANAGER, "manager");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    lp_manager_counts_t counts;
    if (ctx->closed || !handle->manager || lp_manager_counts(handle->manager, &counts) != 0)
        return 0;
    if (strcmp(name, "backend") == 0)
        lua_pushstring(L, handle->manager->backend->name);
    else if (strcmp(name, "available_count") == 0)
        lua_pushinteger(L, counts.available);
    else if (strcmp(name, "leased_count") == 0)
        lua_pushinteger(L, counts.leased);
    else if (strcmp(name, "total_count") == 0)
        lua_pushinteger(L, counts.total);
    else
        return 0;
    return 1;
}

static int manager_tostring(lua_State *L)
{
    static const char *const states[] = {"stopped", "running", "stopping"};
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_MANAGER, "tostring");
    lp_manager_counts_t counts;
    if (ctx->closed || !handle->manager || lp_manager_counts(handle->manager, &counts) != 0) {
        lua_pushliteral(L, "manager closed");
        return 1;
    }
    lua_pushfstring(L, "manager %s %s: %d available, %d leased of %d",
                    handle->manager->backend->name, states[handle->manager->state],
                    (int)counts.available, (int)counts.leased,
                    (int)handle->manager->options.max_pools);
    return 1;
}

static int manager_gc(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lua_touserdata(L, 1);
    if (!ctx->closed)
        lp_manager_close(handle->manager);
    handle->manager = NULL;
    return 0;
}

void lp__manager_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg methods[] = {{"start", manager_start},
                                       {"stop", manager_stop},
                                       {"acquire", lp__manager_acquire},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", manager_close},
                                    {"__gc", manager_gc},
                                    {"__tostring", manager_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg functions[] = {{"manager", manager_new}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_MANAGER, "leasepool.manager", methods, manager_index,
                         meta);
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
