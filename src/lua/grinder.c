/* grinder.c - leasepool.grinder{...} as scripts see it: making, starting, stopping, statistics.
 * What gives it work is in grind.c. Loop thread.
 *
 * Its callback (on_progress) lies in a user value of its handle; the handle is found by the
 * grinder's address in a table with weak values, so that a callback which holds the grinder keeps
 * nothing alive. The handle keeps the manager's. */
#include "core/grinder.h"

#include <lauxlib.h>
#include <string.h>

#include "core/manager.h"
#include "core/runtime.h"
#include "lua/errors.h"
#include "lua/grind.h"
#include "lua/handle.h"
#include "lua/log.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/setup.h"
#include "lua/wait.h"

typedef struct {
    lp_grinder_t *grinder;
    lp__context_t *ctx;
} handle_t;

enum { MANAGER = 1, ON_PROGRESS, USER_VALUES = ON_PROGRESS };

static const char handles_key; /* by the address of the core's grinder */

lp_grinder_t *lp__grinder_at(lua_State *L, lp__context_t *ctx, int index)
{
    handle_t *handle = lua_touserdata(L, index);
    return ctx->closed ? NULL : handle->grinder;
}

static lp_grinder_t *check(lua_State *L, lp__context_t *ctx, const char *what)
{
    lp__context_check(L, ctx, 1, LP__TYPE_GRINDER, what);
    lp__context_runtime(L, ctx);
    lp_grinder_t *grinder = lp__grinder_at(L, ctx, 1);
    if (!grinder)
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the grinder was collected", what);
    return grinder;
}

/* ---- Making ------------------------------------------------------------------- */

/* Where it was collected nobody is told. */
static void tell_progress(lp_grinder_t *grinder, uint64_t done, uint64_t total, void *data)
{
    lp__context_t *ctx = data;
    lua_State *L = ctx->calls_L;
    if (ctx->closed)
        return;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    lua_rawgetp(L, -1, grinder);
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    lua_getiuservalue(L, -1, ON_PROGRESS);
    lua_remove(L, -2);
    lua_pushinteger(L, (lua_Integer)done);
    lua_pushinteger(L, (lua_Integer)total);
    lp__context_call(ctx, lp__log_of(grinder->manager), 2, "on_progress");
}

/* Pushes the value of an option that is the binding's, at `name`. */
static int push_option(lua_State *L, const char *name)
{
    lua_pushstring(L, name);
    return lua_rawget(L, 1);
}

/* Pushes the manager's handle. */
static lp_manager_t *read_manager(lua_State *L, lp__context_t *ctx)
{
    push_option(L, "manager");
    if (!lp__context_test(L, ctx, -1, LP__TYPE_MANAGER))
        lp__options_refuse(L, "manager", -1);
    lua_insert(L, 1);
    lp_manager_t *manager = lp__manager_check(L, ctx, "leasepool.grinder");
    lua_pushvalue(L, 1);
    lua_remove(L, 1);
    return manager;
}

static int grinder_new(lua_State *L)
{
    enum { OPTIONS = 1, MANAGER_HANDLE, CALLBACK, HANDLE };
    lp__context_t *ctx = LP__CONTEXT(L);
    if (lua_type(L, 1) != LUA_TTABLE)
        return lp__error_raise(L, LP_EINVAL,
                               "leasepool.grinder: got %s, allowed: a table of options",
                               lua_gettop(L) == 0 ? "no value" : luaL_typename(L, 1));
    lp_runtime_t *rt = lp__context_runtime(L, ctx);
    lp_grinder_options_t options;
    lua_settop(L, OPTIONS);
    lp__options_parse_grinder(L, OPTIONS, &options);
    lp_manager_t *manager = read_manager(L, ctx);
    if (push_option(L, "on_progress") != LUA_TNIL && lua_type(L, CALLBACK) != LUA_TFUNCTION)
        lp__options_refuse(L, "on_progress", CALLBACK);
    if (!lua_isnil(L, CALLBACK)) {
        options.on_progress = tell_progress;
        options.progress_data = ctx;
    }
    handle_t *handle = lp__context_new(L, ctx, LP__TYPE_GRINDER, sizeof *handle, USER_VALUES);
    handle->ctx = ctx;
    lua_pushvalue(L, MANAGER_HANDLE);
    lua_setiuservalue(L, HANDLE, MANAGER);
    lua_pushvalue(L, CALLBACK);
    lua_setiuservalue(L, HANDLE, ON_PROGRESS);
    int rc = lp_grinder_create(&handle->grinder, manager, &options);
    if (rc == LP_EINVAL)
        return lp__error_raise(L, rc, "%s", lp_last_error(rt));
    if (rc != 0)
        return lp__error_raise(L, rc, "leasepool.grinder: %s", lp_strerror(rc));
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    lua_pushvalue(L, HANDLE);
    lua_rawsetp(L, -2, handle->grinder);
    lua_settop(L, HANDLE);
    return 1;
}

/* ---- Methods ------------------------------------------------------------------ */

static int grinder_start(lua_State *L)
{
    lp_grinder_t *grinder = check(L, LP__CONTEXT(L), "grinder:start");
    int rc = lp_grinder_start(grinder);
    if (rc == LP_ENOTSTARTED)
        return lp__error_raise(L, rc, "grinder:start: the manager is not started, or stops");
    if (rc == LP_ESTATE)
        return lp__error_raise(L, LP_ENOTSTARTED, "grinder:start: the grinder is stopping");
    if (rc != 0)
        return lp__error_raise(L, rc, "grinder:start: %s", lp_strerror(rc));
    lua_settop(L, 1);
    return 1;
}

/* Where nothing can wait, a callback, stopping is begun and goes on by itself. */
static int grinder_stop(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_grinder_t *grinder = check(L, ctx, "grinder:stop");
    lp__stop_options_t options;
    lua_settop(L, 2);
    lp__options_parse_grinder_stop(L, 2, &options);
    bool waits = options.wait && lp__wait_possible(L, ctx);
    lp__stop_grinder(L, ctx, grinder, options.timeout_ns, "grinder:stop");
    return waits ? lp__future_await(L) : 1;
}

static int grinder_close(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__context_check(L, ctx, 1, LP__TYPE_GRINDER, "grinder <close>");
    lp_grinder_t *grinder = lp__grinder_at(L, ctx, 1);
    if (!grinder || grinder->state == LP__GRINDER_STOPPED)
        return 0;
    bool waits = lp__wait_possible(L, ctx);
    uint64_t patience_ns = ctx->ending ? 0 : lp__stop_patience_ns(grinder);
    lp__stop_grinder(L, ctx, grinder, patience_ns, "grinder <close>");
    return waits ? lp__future_await(L) : 0;
}

int lp__grinder_push_stats(lua_State *L, const lp_grinder_stats_t *stats)
{
    const struct {
        const char *name;
        int64_t value;
    } integers[] = {
        {"pending", stats->pending},
        {"in_flight", stats->in_flight},
        {"batch_size_threshold", stats->batch_size_threshold},
        {"running", stats->running},
        {"waiting", stats->waiting},
        {"batches", (int64_t)stats->batches},
        {"items", (int64_t)stats->items},
        {"done", (int64_t)stats->done},
        {"failed", (int64_t)stats->failed},
        {"cancelled", (int64_t)stats->cancelled},
    };
    const struct {
        const char *name;
        uint64_t ns;
    } seconds[] = {
        {"max_wait_seconds", stats->max_wait_ns},
        {"lease_seconds", stats->lease_ns},
        {"oldest_wait_seconds", stats->oldest_wait_ns},
    };
    lua_createtable(L, 0, 16);
    lua_pushboolean(L, stats->started);
    lua_setfield(L, -2, "started");
    lua_pushboolean(L, stats->stopping);
    lua_setfield(L, -2, "stopping");
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        lua_pushinteger(L, integers[i].value);
        lua_setfield(L, -2, integers[i].name);
    }
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        lua_pushnumber(L, (lua_Number)seconds[i].ns / 1e9);
        lua_setfield(L, -2, seconds[i].name);
    }
    return 1;
}

static int grinder_stats(lua_State *L)
{
    lp_grinder_stats_t stats;
    lp_grinder_t *grinder = check(L, LP__CONTEXT(L), "grinder:stats");
    int rc = lp_grinder_stats(grinder, &stats);
    if (rc != 0)
        return lp__error_raise(L, rc, "grinder:stats: %s", lp_strerror(rc));
    return lp__grinder_push_stats(L, &stats);
}

/* ---- Fields ------------------------------------------------------------------- */

static int grinder_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    lp__context_check(L, LP__CONTEXT(L), 1, LP__TYPE_GRINDER, "grinder");
    if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "manager") != 0)
        return 0;
    lua_getiuservalue(L, 1, MANAGER);
    return 1;
}

/* "grinder running: 3 pending, 20 in flight" */
static int grinder_tostring(lua_State *L)
{
    static const char *const states[] = {"stopped", "running", "stopping"};
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__context_check(L, ctx, 1, LP__TYPE_GRINDER, "tostring");
    lp_grinder_t *grinder = lp__grinder_at(L, ctx, 1);
    if (!grinder)
        lua_pushliteral(L, "grinder closed");
    else
        lua_pushfstring(L, "grinder %s: %I pending, %I in flight", states[grinder->state],
                        (lua_Integer)grinder->pending_count, (lua_Integer)grinder->in_flight);
    return 1;
}

/* What it has goes on to its end. */
static int grinder_gc(lua_State *L)
{
    handle_t *handle = lua_touserdata(L, 1);
    if (handle->grinder && !handle->ctx->closed)
        lp_grinder_close(handle->grinder);
    handle->grinder = NULL;
    return 0;
}

/* ---- For other threads --------------------------------------------------------- */

static int get_handle(lua_State *L, int index, lp_handle_t **out)
{
    const handle_t *handle = lua_touserdata(L, index);
    return handle->grinder && !handle->ctx->closed ? lp_grinder_handle(handle->grinder, out) : 0;
}

static int refuse_submit(lua_State *L)
{
    return lp__handle_refuse(L, "grinder:submit_from_thread", "grinder:submit or grinder:enqueue");
}

static int refuse_stats(lua_State *L)
{
    return lp__handle_refuse(L, "grinder:stats_from_thread", "grinder:stats");
}

void lp__grinder_register(lua_State *L, lp__context_t *ctx)
{
    static const lp__carrier_t carrier = {get_handle};
    static const luaL_Reg methods[] = {{"start", grinder_start},
                                       {"stop", grinder_stop},
                                       {"stats", grinder_stats},
                                       {"submit", lp__grind_submit},
                                       {"enqueue", lp__grind_enqueue},
                                       {"with", lp__grind_with},
                                       {"submit_from_thread", refuse_submit},
                                       {"stats_from_thread", refuse_stats},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", grinder_close},
                                    {"__gc", grinder_gc},
                                    {"__tostring", grinder_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg functions[] = {{"grinder", grinder_new}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_GRINDER, "leasepool.grinder", methods, grinder_index,
                         meta);
    lp__context_push_metatable(L, ctx, LP__TYPE_GRINDER);
    lp__carrier_register(L, &carrier);
    lua_pop(L, 1);
    lp__grind_register(L, ctx);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handles_key);
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
