/* module.c - see module.h. */
#include "lua/module.h"

#include <lauxlib.h>
#include <limits.h>
#include <string.h>

#include "lua/attach.h"
#include "lua/child.h"
#include "lua/context.h"
#include "lua/errors.h"
#include "lua/fiber.h"
#include "lua/future.h"
#include "lua/native.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/run.h"
#include "lua/watcher.h"

static int is_error(lua_State *L)
{
    const char *class = lp__error_class(L, 1);
    if (lua_isnoneornil(L, 2)) {
        lua_pushboolean(L, class != NULL);
        return 1;
    }
    const char *wanted = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
    if (!wanted)
        return lp__error_raise(L, LP_EINVAL,
                               "leasepool.is_error: class: got %s, allowed: the name of a class",
                               luaL_typename(L, 2));
    lp__errors_push_classes(L);
    if (lua_getfield(L, -1, wanted) == LUA_TNIL)
        return lp__error_raise(L, LP_EINVAL,
                               "leasepool.is_error: class: got \"%s\", which is no "
                               "error class",
                               wanted);
    lua_pushboolean(L, false);
    if (class) { /* up the chain of bases */
        lua_getfield(L, -3, class);
        while (lua_istable(L, -1)) {
            if (lua_rawequal(L, -1, -3)) {
                lua_pushboolean(L, true);
                return 1;
            }
            lua_getfield(L, -1, "base");
            lua_remove(L, -2);
        }
        lua_pop(L, 1);
    }
    return 1;
}

/* mine(): the caller's file, and all beside it, are the Lua half of the module. */
static int mine(lua_State *L)
{
    lp__errors_own_folder(L);
    return 0;
}

/* raise(code, message): for the Lua half of the module. */
static int raise_error(lua_State *L)
{
    const char *wanted = luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    int err = 0;
#define XX(name, number, text)                                                                     \
    if (err == 0 && strcmp(wanted, #name) == 0)                                                    \
        err = -(number);
    LP_ERRNO_MAP(XX)
#undef XX
    lp__error_push(L, err, "");
    lua_pushvalue(L, 2); /* whole, zeros included */
    lua_setfield(L, -2, "message");
    return lp__error_throw(L);
}

/* What the Lua half can tell apart and add methods to. */
static const char *const type_names[] = {"manager", "lease", "view", "grinder", NULL};
static const lp__type_t types[] = {LP__TYPE_MANAGER, LP__TYPE_LEASE, LP__TYPE_VIEW,
                                   LP__TYPE_GRINDER};

/* type_of(value): "manager", "lease", "view", "grinder", or nil. */
static int type_of(lua_State *L)
{
    lp__context_t *ctx = lp__context_get(L);
    for (int i = 0; type_names[i]; i++) {
        if (!lp__context_test(L, ctx, 1, types[i]))
            continue;
        lua_pushstring(L, type_names[i]);
        return 1;
    }
    return 0;
}

/* extend(type, name, function): adds a method. */
static int extend(lua_State *L)
{
    lp__context_push_metatable(L, lp__context_get(L),
                               types[luaL_checkoption(L, 1, NULL, type_names)]);
    lua_getfield(L, -1, "__index"); /* a function whose second upvalue is the methods */
    lua_getupvalue(L, -1, 2);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    return 0;
}

/* Now, on the clock that deadlines use. */
static int now(lua_State *L)
{
    lp_runtime_t *rt = lp__context_runtime(L, lp__context_get(L));
    lua_pushnumber(L, (lua_Number)lp__clock_now_ns(&rt->clock) / 1e9);
    return 1;
}

/* set_interrupt_signal(number | false) */
static int set_interrupt_signal(lua_State *L)
{
    bool none = lua_isboolean(L, 1) && !lua_toboolean(L, 1);
    lua_Integer signum = lua_isinteger(L, 1) ? lua_tointeger(L, 1) : -1;
    int rc = none || (signum > 0 && signum <= INT_MAX)
                 ? lp_set_interrupt_signal((int)signum * !none)
                 : LP_EINVAL;
    if (rc == LP_EINVAL)
        return lp__error_raise(L, rc,
                               "leasepool.set_interrupt_signal: got %s, allowed: the number of a "
                               "signal that can be caught, or false",
                               lp__options_show(L, 1));
    if (rc != 0)
        return lp__error_raise(L, LP_EINVAL,
                               "leasepool.set_interrupt_signal: a worker has been started already");
    return 0;
}

static const char module_key;

/* A state has one module, however often it is required: what one copy of the Lua half has made
 * serves the others. */
int luaopen_leasepool_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"is_error", is_error},
        {"raise", raise_error},
        {"mine", mine},
        {"now", now},
        {"type_of", type_of},
        {"extend", extend},
        {"option_rows", lp__options_rows},
        {"serve", lp__child_serve_forever},
        {"backends", lp__options_backends},
        {"set_interrupt_signal", set_interrupt_signal},
        {NULL, NULL},
    };
    luaL_checkversion(L);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) == LUA_TTABLE)
        return 1;
    lp__context_t *ctx = lp__context_get(L);
    lua_createtable(L, 0, 16);
    luaL_setfuncs(L, functions, 0);
    lua_pushstring(L, lp_version());
    lua_setfield(L, -2, "version");
    lp__errors_push_classes(L);
    lua_setfield(L, -2, "errors");
    lp__future_register(L, ctx);
    lp__lease_register(L, ctx);
    lp__manager_register(L, ctx);
    lp__grinder_register(L, ctx);
    lp__fiber_register(L, ctx);
    lp__run_register(L, ctx);
    lp__native_register(L, ctx);
    lp__attach_register(L, ctx);
    lp__watcher_register(L, ctx);
    lp__lists_register(L);
    lp__worker_push(L);
    lua_setfield(L, -2, "worker");
    lp__testing_push(L);
    lua_setfield(L, -2, "testing");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
    return 1;
}
