/* manager.c - leasepool.manager{...}, its fields and its smaller methods. Loop thread.
 *
 * What a manager calls back (the size provider) lies in a user value of its handle; the handle
 * is found by the manager's address in a table with weak values, so that a callback which
 * holds the manager keeps nothing alive. */
#include "core/manager.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <string.h>

#include "core/backend.h"
#include "core/lease.h"
#include "core/runtime.h"
#include "lua/command.h"
#include "lua/errors.h"
#include "lua/handle.h"
#include "lua/log.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/setup.h"

typedef struct {
    lp_manager_t *manager;
    lp__context_t *ctx;
    bool leak_traceback;
} handle_t;

enum { SIZE_PROVIDER = 1, USER_VALUES = LP__LOG_TARGET_VALUE };

static const char handles_key; /* by the address of the core's manager */

lp_manager_t *lp__manager_test(lua_State *L, lp__context_t *ctx, const char *what)
{
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_MANAGER, what);
    return handle->manager;
}

lp_manager_t *lp__manager_check(lua_State *L, lp__context_t *ctx, const char *what)
{
    lp_manager_t *manager = lp__manager_test(L, ctx, what);
    lp__context_runtime(L, ctx);
    if (!manager)
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the manager was collected", what);
    return manager;
}

bool lp__manager_wants_traceback(lua_State *L)
{
    return ((handle_t *)lua_touserdata(L, 1))->leak_traceback;
}

/* ---- The size provider -------------------------------------------------------- */

/* Protected. Stack: the handle. Returns the size. */
static int call_size_provider(lua_State *L)
{
    lua_getiuservalue(L, 1, SIZE_PROVIDER);
    lua_call(L, 0, 1);
    if (lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "got %s, allowed: a finite number", lp__options_show(L, -1));
    return 1;
}

static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Keeps what the provider raised, which is popped: it may be anything. */
static int refuse_size(lua_State *L, lp_runtime_t *rt)
{
    const char *type = luaL_typename(L, -1);
    lua_pushcfunction(L, to_text);
    lua_insert(L, -2);
    bool told = lua_pcall(L, 1, 1, 0) == LUA_OK;
    int rc = lp__runtime_invalid(rt, "%s", told ? lua_tostring(L, -1) : type);
    lua_pop(L, 1);
    return rc;
}

static int ask_size(void *data, double *size)
{
    handle_t *handle = data;
    lp__context_t *ctx = handle->ctx;
    lua_State *L = ctx->calls_L;
    int top = lua_gettop(L), rc = 0;
    if (ctx->closed)
        return LP_ESTATE;
    lua_pushcfunction(L, call_size_provider);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    lua_rawgetp(L, -1, handle->manager);
    lua_remove(L, -2);
    if (lua_isnil(L, -1)) {
        rc = LP_ESTATE; /* being collected */
    } else if (lp__context_pcall(ctx, 1, 1, 0) == LUA_OK) {
        *size = lua_tonumber(L, -1);
    } else {
        rc = refuse_size(L, ctx->rt);
    }
    lua_settop(L, top);
    return rc;
}

/* ---- Making --------------------------------------------------------------------- */

/* The options that only the binding knows. Stack: options, handle. */
static void read_own_options(lua_State *L, handle_t *handle)
{
    lua_pushliteral(L, "leak_traceback");
    if (lua_rawget(L, 1) != LUA_TNIL && lua_type(L, -1) != LUA_TBOOLEAN)
        lp__options_refuse(L, "leak_traceback", -1);
    handle->leak_traceback = lua_toboolean(L, -1);
    lua_pushliteral(L, "size_provider");
    if (lua_rawget(L, 1) != LUA_TNIL && lua_type(L, -1) != LUA_TFUNCTION)
        lp__options_refuse(L, "size_provider", -1);
    lua_setiuservalue(L, 2, SIZE_PROVIDER);
    lua_settop(L, 2);
}

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
    handle_t *handle = lp__context_new(L, ctx, LP__TYPE_MANAGER, sizeof *handle, USER_VALUES);
    handle->ctx = ctx;
    read_own_options(L, handle);
    if (lua_getiuservalue(L, 2, SIZE_PROVIDER) != LUA_TNIL) {
        options.size_provider = ask_size;
        options.size_data = handle;
    }
    lua_settop(L, 2);
    lp__command_read(L, 1, backend, &options);
    int rc = lp_manager_create(&handle->manager, rt, backend, &options);
    if (rc == LP_EINVAL)
        return lp__error_raise(L, rc, "%s", lp_last_error(rt));
    if (rc != 0)
        return lp__error_raise(L, rc, "leasepool.manager: %s", lp_strerror(rc));
    lua_rawgetp(L, LUA_REGISTRYINDEX, &handles_key);
    lua_pushvalue(L, 2);
    lua_rawsetp(L, -2, handle->manager);
    lua_settop(L, 2);
    lp__setup_make(L, ctx, 1, 2, handle->manager);
    return 1;
}

/* ---- Methods ------------------------------------------------------------------ */

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

static int manager_notify(lua_State *L)
{
    lp_manager_t *manager = lp__manager_check(L, LP__CONTEXT(L), "manager:notify_scale_changed");
    lp_notify_scale_changed(manager);
    return 0;
}

static int manager_desired(lua_State *L)
{
    lp_manager_t *manager = lp__manager_check(L, LP__CONTEXT(L), "manager:desired_executor_count");
    lua_pushinteger(L, lp_manager_desired(manager));
    return 1;
}

/* By its number, for whoever no longer has the lease itself. */
static int manager_release(lua_State *L)
{
    lp_manager_t *manager = lp__manager_check(L, LP__CONTEXT(L), "manager:release");
    if (!lua_isinteger(L, 2))
        return lp__error_raise(L, LP_EINVAL,
                               "manager:release: lease_id: got %s, allowed: an integer",
                               lp__options_show(L, 2));
    uint64_t id = (uint64_t)lua_tointeger(L, 2);
    lp_lease_t *found = NULL;
    for (lp__list_t *at = manager->leases.next; at != &manager->leases && !found; at = at->next)
        if (LP__CONTAINER(at, lp_lease_t, link)->id == id)
            found = LP__CONTAINER(at, lp_lease_t, link);
    bool open = found && lp__lease_is_open(found);
    if (open)
        lp_release(found);
    lua_pushboolean(L, open);
    return 1;
}

/* ---- Fields ------------------------------------------------------------------- */

static int manager_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_MANAGER, "manager");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    lp_manager_t *manager = handle->manager;
    if (ctx->closed || !manager)
        return 0;
    if (strcmp(name, "backend") == 0) {
        lua_pushstring(L, manager->backend->name);
        return 1;
    }
    lp__runtime_look(manager->rt);
    if (strcmp(name, "available_count") == 0)
        lua_pushinteger(L, manager->available_count);
    else if (strcmp(name, "leased_count") == 0)
        lua_pushinteger(L, manager->leased_count);
    else if (strcmp(name, "total_count") == 0)
        lua_pushinteger(L, (lua_Integer)manager->available_count + manager->leased_count);
    else
        return 0;
    return 1;
}

static int manager_tostring(lua_State *L)
{
    static const char *const states[] = {"stopped", "running", "stopping"};
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_MANAGER, "tostring");
    lp_manager_t *manager = handle->manager;
    if (ctx->closed || !manager) {
        lua_pushliteral(L, "manager closed");
        return 1;
    }
    lp__runtime_look(manager->rt);
    lua_pushfstring(L, "manager %s %s: %d available, %d leased of %d", manager->backend->name,
                    states[manager->state], (int)manager->available_count,
                    (int)manager->leased_count, (int)manager->options.max_pools);
    return 1;
}

static int manager_gc(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lua_touserdata(L, 1);
    if (!ctx->closed && handle->manager) {
        handle->manager->options.size_provider = NULL; /* which needs the handle */
        lp__log_keep(L, lp__log_of(handle->manager), 1);
        lp_manager_close(handle->manager);
    }
    handle->manager = NULL;
    return 0;
}

/* ---- For other threads --------------------------------------------------------- */

static int get_handle(lua_State *L, int index, lp_handle_t **out)
{
    const handle_t *handle = lua_touserdata(L, index);
    return handle->manager && !handle->ctx->closed ? lp_manager_handle(handle->manager, out) : 0;
}

static int refuse_stats(lua_State *L)
{
    return lp__handle_refuse(L, "manager:stats_from_thread", "manager:stats");
}

void lp__manager_register(lua_State *L, lp__context_t *ctx)
{
    static const lp__carrier_t carrier = {get_handle};
    static const luaL_Reg methods[] = {{"start", manager_start},
                                       {"stop", lp__manager_stop},
                                       {"acquire", lp__manager_acquire},
                                       {"try_acquire", lp__manager_try_acquire},
                                       {"request", lp__manager_request},
                                       {"release", manager_release},
                                       {"stats", lp__manager_stats},
                                       {"stats_from_thread", refuse_stats},
                                       {"notify_scale_changed", manager_notify},
                                       {"desired_executor_count", manager_desired},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", lp__manager_close},
                                    {"__gc", manager_gc},
                                    {"__tostring", manager_tostring},
                                    {NULL, NULL}};
    static const luaL_Reg functions[] = {{"manager", manager_new}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_MANAGER, "leasepool.manager", methods, manager_index,
                         meta);
    lp__context_push_metatable(L, ctx, LP__TYPE_MANAGER);
    lp__carrier_register(L, &carrier);
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &handles_key);
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
