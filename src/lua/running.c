/* running.c - see running.h. Runs on whatever thread runs the Lua state. */
#include "lua/running.h"

#include <lauxlib.h>

void lp__running_hook(lp__running_t *running)
{
    lua_State *L = running->L;
    if (L && (lua_gethook(L) != running->hook || lua_gethookcount(L) != 1))
        lua_sethook(L, running->hook, LUA_MASKCOUNT, 1);
}

/* `to` runs now. What is to stop must not get away by it. */
static void run_in(lp__running_t *running, lua_State *to)
{
    running->L = to;
    if (running->wanted(running))
        lua_sethook(to, running->hook, LUA_MASKCOUNT, 1);
}

lua_State *lp__running_switch(lp__running_t *running, lua_State *to)
{
    lua_State *before = running->L;
    if (before && to)
        run_in(running, to);
    return before;
}

int lp__running_resume(lp__running_t *running, lua_State *co, lua_State *from, int nargs,
                       int *nresults)
{
    if (!running->L) /* the state is closing */
        return lua_resume(co, from, nargs, nresults);
    run_in(running, co);
    int status = lua_resume(co, from, nargs, nresults);
    run_in(running, from);
    return status;
}

/* As lua_resetthread. */
static int reset(lp__running_t *running, lua_State *co, lua_State *from)
{
    if (!running->L)
        return lua_resetthread(co);
    run_in(running, co);
    int status = lua_resetthread(co);
    run_in(running, from);
    return status;
}

static lua_State *check_coroutine(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

static lp__running_t *running_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Resumes with the `nargs` values at the top; leaves the results, and returns how many; -1: an
 * error, which it leaves. */
static int resume_with(lua_State *L, lua_State *co, int nargs)
{
    int count = 0;
    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, nargs);
    int status = lp__running_resume(running_of(L), co, L, nargs, &count);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return -1;
    }
    if (!lua_checkstack(L, count + 1)) {
        lua_pop(co, count);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, count);
    return count;
}

static int co_resume(lua_State *L)
{
    lua_State *co = check_coroutine(L);
    int count = resume_with(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, count >= 0);
    lua_insert(L, count >= 0 ? -count - 1 : -2);
    return count >= 0 ? count + 1 : 2;
}

/* The error of a dead coroutine closes it, and says where it was raised to. */
static int raise_from(lua_State *L, lua_State *co)
{
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = reset(running_of(L), co, L);
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int call_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(2));
    int count = resume_with(L, co, lua_gettop(L));
    return count >= 0 ? count : raise_from(L, co);
}

static int co_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, call_wrapped, 2);
    return 1;
}

/* "suspended", "dead", or what cannot be closed. */
static const char *status_of(lua_State *L, lua_State *co)
{
    lua_Debug frame;
    if (L == co)
        return "running";
    if (lua_status(co) == LUA_OK && lua_getstack(co, 0, &frame))
        return "normal"; /* it resumed another */
    return NULL;
}

static int co_close(lua_State *L)
{
    lua_State *co = check_coroutine(L);
    const char *unfit = status_of(L, co);
    if (unfit)
        return luaL_error(L, "cannot close a %s coroutine", unfit);
    if (reset(running_of(L), co, L) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

/* debug.sethook: a job that sets hooks all the time would take ours away nearly as often as it
 * comes. The second upvalue is Lua's own. */
static int set_hook(lua_State *L)
{
    lp__running_t *running = running_of(L);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    if (running->L && running->wanted(running))
        lp__running_hook(running);
    return 0;
}

static void replace_set_hook(lua_State *L, lp__running_t *running)
{
    if (lua_getglobal(L, "debug") == LUA_TTABLE) {
        lua_pushlightuserdata(L, running);
        lua_getfield(L, -2, "sethook");
        lua_pushcclosure(L, set_hook, 2);
        lua_setfield(L, -2, "sethook");
    }
    lua_pop(L, 1);
}

void lp__running_open(lua_State *L, lp__running_t *running)
{
    replace_set_hook(L, running);
    static const luaL_Reg functions[] = {
        {"resume", co_resume}, {"wrap", co_wrap}, {"close", co_close}, {NULL, NULL}};
    if (lua_getglobal(L, "coroutine") == LUA_TTABLE) {
        lua_pushlightuserdata(L, running);
        luaL_setfuncs(L, functions, 1);
    }
    lua_pop(L, 1);
}
