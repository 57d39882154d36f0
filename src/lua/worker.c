/* worker.c - `leasepool.worker`: what a job can ask its worker, and tell it.
 *
 * The module is the same table in every state; what it answers depends on whether a
 * worker runs the state. There its fields change from job to job, so they are looked up each
 * time. Runs on the thread that runs the state. */
#include <lauxlib.h>
#include <string.h>

#include "core/lease.h"
#include "lua/errors.h"
#include "lua/module.h"
#include "lua/options.h"
#include "lua/state.h"

static lp__state_t *check(lua_State *L, const char *what)
{
    lp__state_t *state = lp__state_of(L);
    if (!state)
        lp__error_raise(L, LP_EWRONGTHREAD, "%s: there is no worker here: only a job has one",
                        what);
    return state;
}

/* ---- Fields ------------------------------------------------------------------- */

/* The lease cannot go, and its number and owner do not change, while a job of it runs here. */
static const lp_lease_t *lease_of(const lp__state_t *state)
{
    return state ? state->worker->lease : NULL;
}

static int worker_index(lua_State *L)
{
    const lp__state_t *state = lp__state_of(L);
    const lp_lease_t *lease = lease_of(state);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (state && strcmp(name, "name") == 0)
        lua_pushstring(L, state->name);
    else if (lease && strcmp(name, "lease_id") == 0)
        lua_pushinteger(L, (lua_Integer)lease->id);
    else if (lease && strcmp(name, "owner") == 0)
        lua_pushstring(L, lp__state_owner(state));
    else
        lua_pushnil(L);
    return 1;
}

/* Fields are what the worker says, not what a job writes for the next one to read. */
static int worker_newindex(lua_State *L)
{
    return lp__error_raise(L, LP_EINVAL, "leasepool.worker: %s cannot be set; its fields are read",
                           lp__options_show(L, 2));
}

static int worker_cancelled(lua_State *L)
{
    const lp__state_t *state = check(L, "worker.cancelled");
    lua_pushboolean(L, lp__desk_stop_wanted(&state->worker->desk) != 0);
    return 1;
}

static int worker_remaining(lua_State *L)
{
    const lp__state_t *state = check(L, "worker.remaining");
    uint64_t left_ns = lease_of(state) ? lp__worker_remaining_ns(state->worker) : LP_FOREVER;
    if (left_ns == LP_FOREVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)left_ns / 1e9);
    return 1;
}

/* ---- Logs --------------------------------------------------------------------- */

/* The message is at `index`, the fields behind it. */
static int log_line(lua_State *L, const char *what, const lp__state_t *state, lp__level_t level,
                    int index)
{
    if (lua_gettop(L) < index)
        lp__error_raise(L, LP_EINVAL, "%s: message: got no value, allowed: any value", what);
    lua_settop(L, index + 1);
    int fields = index + 1, type = lua_type(L, fields);
    if (type != LUA_TNIL && type != LUA_TTABLE)
        lp__error_raise(L, LP_EINVAL, "%s: fields: got %s, allowed: a table", what,
                        lp__options_show(L, fields));
    if (!lp__channel_wants(state->channel, level))
        return 0;
    size_t length;
    const char *text = luaL_tolstring(L, index, &length);
    lp__channel_send(state->channel, L, state->codec, level, text, length,
                     type == LUA_TTABLE ? fields : 0);
    return 0;
}

static int worker_log(lua_State *L)
{
    lp__level_t level;
    size_t length;
    const lp__state_t *state = check(L, "worker.log");
    const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &length) : NULL;
    if (!name || !lp__level_parse(name, length, &level))
        return lp__error_raise(L, LP_EINVAL, "worker.log: level: got %s, allowed: " LP__LEVELS,
                               lp__options_show(L, 1));
    return log_line(L, "worker.log", state, level, 2);
}

static int worker_debug(lua_State *L)
{
    return log_line(L, "worker.debug", check(L, "worker.debug"), LP__DEBUG, 1);
}

static int worker_info(lua_State *L)
{
    return log_line(L, "worker.info", check(L, "worker.info"), LP__INFO, 1);
}

static int worker_warn(lua_State *L)
{
    return log_line(L, "worker.warn", check(L, "worker.warn"), LP__WARN, 1);
}

static int worker_error(lua_State *L)
{
    return log_line(L, "worker.error", check(L, "worker.error"), LP__ERROR, 1);
}

void lp__worker_push(lua_State *L)
{
    static const luaL_Reg functions[] = {{"cancelled", worker_cancelled},
                                         {"remaining", worker_remaining},
                                         {"log", worker_log},
                                         {"debug", worker_debug},
                                         {"info", worker_info},
                                         {"warn", worker_warn},
                                         {"error", worker_error},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, worker_index);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, worker_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "leasepool.worker");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);
}
