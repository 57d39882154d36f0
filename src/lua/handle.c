/* handle.c - see handle.h. */
#include "lua/handle.h"

#include <lauxlib.h>

#include "lua/errors.h"
#include "lua/grind.h"
#include "lua/interrupt.h"
#include "lua/objects.h"
#include "lua/seconds.h"
#include "lua/state.h"

static const char carrier_key;       /* in metatables: the lp__carrier_t */
static const char metatable_keys[2]; /* in the registry: of handles, by lp__handle_of_t */

typedef struct {
    lp_handle_t *handle; /* NULL: finalised */
} own_t;

void lp__carrier_register(lua_State *L, const lp__carrier_t *carrier)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)carrier);
    lua_rawsetp(L, -2, &carrier_key);
}

int lp__handle_find(lua_State *L, int index, lp_handle_t **handle)
{
    *handle = NULL;
    if (!lua_getmetatable(L, index))
        return 0;
    lua_rawgetp(L, -1, &carrier_key);
    const lp__carrier_t *carrier = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return carrier ? carrier->get(L, index, handle) : 0;
}

static int get_own(lua_State *L, int index, lp_handle_t **handle)
{
    const own_t *own = lua_touserdata(L, index);
    if (own->handle)
        lp_handle_retain(own->handle);
    *handle = own->handle;
    return 0;
}

/* ---- Methods ------------------------------------------------------------------ */

int lp__handle_refuse(lua_State *L, const char *what, const char *instead)
{
    return lp__error_raise(L, LP_EWRONGTHREAD,
                           "%s: called on the loop's own thread, which would wait for itself; use "
                           "%s, or pass the object to a job",
                           what, instead);
}

lp_handle_t *lp__handle_check(lua_State *L, lp__handle_of_t of, const char *what)
{
    const own_t *own = NULL;
    if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_keys[of]);
        own = lua_rawequal(L, -1, -2) ? lua_touserdata(L, 1) : NULL;
        lua_pop(L, 2);
    }
    if (!own)
        lp__error_raise(L, LP_EINVAL,
                        "%s: argument 1: got %s, allowed: a %s that was passed to a job (call it "
                        "with a colon)",
                        what, luaL_typename(L, 1),
                        of == LP__HANDLE_OF_GRINDER ? "grinder" : "manager");
    if (!own->handle)
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the handle was collected", what);
    if (lp__state_is_closing(L)) /* what is made from here on is not finalised */
        lp__error_raise(L, LP_ENOTSTARTED, "%s: the Lua state is closing", what);
    if (lp__handle_check_thread(own->handle) != 0)
        lp__handle_refuse(L, what, "the object itself");
    return own->handle;
}

static int failed(lua_State *L, const char *what, int rc, uint64_t timeout_ns)
{
    lp__interrupt_check(L);
    if (rc == LP_ENOTSTARTED)
        return lp__error_raise(L, rc, "%s: it has ended, with all that belonged to it", what);
    if (rc == LP_ETIMEDOUT && timeout_ns != LP_FOREVER)
        return lp__error_raise(
            L, rc, "%s: no answer after %f seconds: the loop is busy, or nobody runs it", what,
            (lua_Number)timeout_ns / 1e9);
    return lp__error_raise(L, rc, "%s: %s", what, lp_strerror(rc));
}

static int grinder_stats(lua_State *L)
{
    static const char what[] = "grinder:stats_from_thread";
    lp_grinder_stats_t stats;
    lp_handle_t *handle = lp__handle_check(L, LP__HANDLE_OF_GRINDER, what);
    uint64_t timeout_ns = lp__seconds_opt(L, 2, what, "timeout", LP_FOREVER);
    int rc = lp_grinder_stats_from_thread(handle, &stats, timeout_ns);
    return rc == 0 ? lp__grinder_push_stats(L, &stats) : failed(L, what, rc, timeout_ns);
}

static int manager_stats(lua_State *L)
{
    static const char what[] = "manager:stats_from_thread";
    lp_manager_stats_t stats;
    lp_handle_t *handle = lp__handle_check(L, LP__HANDLE_OF_MANAGER, what);
    uint64_t timeout_ns = lp__seconds_opt(L, 2, what, "timeout", LP_FOREVER);
    int rc = lp_manager_stats_from_thread(handle, &stats, timeout_ns);
    return rc == 0 ? lp__manager_push_stats(L, &stats) : failed(L, what, rc, timeout_ns);
}

static int handle_eq(lua_State *L)
{
    const own_t *a = lua_touserdata(L, 1), *b = lua_touserdata(L, 2);
    bool same = lua_getmetatable(L, 1) && lua_getmetatable(L, 2) && lua_rawequal(L, -1, -2);
    lua_pushboolean(L, same && a->handle == b->handle);
    return 1;
}

static int handle_tostring(lua_State *L)
{
    lua_pushfstring(L, "handle of a %s", lua_tostring(L, lua_upvalueindex(1)));
    return 1;
}

static int handle_gc(lua_State *L)
{
    own_t *own = lua_touserdata(L, 1);
    lp_handle_release(own->handle);
    own->handle = NULL;
    return 0;
}

/* ---- Userdata ----------------------------------------------------------------- */

/* Pushes the metatable, made with the state's first handle of that kind. */
static void push_metatable(lua_State *L, lp__handle_of_t of)
{
    static const lp__carrier_t carrier = {get_own};
    static const luaL_Reg of_manager[] = {{"stats_from_thread", manager_stats}, {NULL, NULL}};
    static const luaL_Reg of_grinder[] = {{"stats_from_thread", grinder_stats},
                                          {"submit_from_thread", lp__ticket_submit},
                                          {NULL, NULL}};
    bool grinder = of == LP__HANDLE_OF_GRINDER;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_keys[of]) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, grinder ? "leasepool.grinder_handle" : "leasepool.manager_handle");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushstring(L, grinder ? "grinder" : "manager");
    lua_pushcclosure(L, handle_tostring, 1);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, handle_eq);
    lua_setfield(L, -2, "__eq");
    lua_pushcfunction(L, handle_gc);
    lua_setfield(L, -2, "__gc");
    lua_createtable(L, 0, 2);
    luaL_setfuncs(L, grinder ? of_grinder : of_manager, 0);
    lua_setfield(L, -2, "__index");
    lp__carrier_register(L, &carrier);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_keys[of]);
}

void lp__handle_push(lua_State *L, lp_handle_t *handle)
{
    own_t *own = lua_newuserdatauv(L, sizeof *own, 0);
    own->handle = NULL;
    push_metatable(L, handle->of);
    lua_setmetatable(L, -2);
    lp_handle_retain(handle);
    own->handle = handle;
}
