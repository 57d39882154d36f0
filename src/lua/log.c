/* log.c - see log.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* flockfile */
#endif
#include "lua/log.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>

void lp__log(lp__context_t *ctx, const char *level, const char *format, ...)
{
    (void)ctx;
    va_list args;
    va_start(args, format);
    flockfile(stderr); /* one line at a time, of whatever length */
    fprintf(stderr, "leasepool: %s: ", level);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    funlockfile(stderr);
    va_end(args);
}

/* Protected. Stack: the error, then the traceback or nil. */
static int write_error(lua_State *L)
{
    lp__context_t *ctx = lp__context_get(L);
    const char *what = lua_touserdata(L, 3);
    const char *text = luaL_tolstring(L, 1, NULL);
    const char *traceback = lua_tostring(L, 2);
    lp__log(ctx, "ERROR", "%s failed: %s%s%s", what, text, traceback ? "\n" : "",
            traceback ? traceback : "");
    return 0;
}

/* Stack: the error, the traceback or nil. */
static void log_pair(lp__context_t *ctx, lua_State *L, const char *what)
{
    const char *type = luaL_typename(L, -2);
    lua_pushcfunction(L, write_error);
    lua_insert(L, -3);
    lua_pushlightuserdata(L, (void *)(uintptr_t)what);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        lp__log(ctx, "ERROR", "%s failed: %s", what, type);
    }
}

static int make_traceback(lua_State *L)
{
    luaL_traceback(L, lua_touserdata(L, 1), NULL, 0);
    return 1;
}

void lp__log_error(lp__context_t *ctx, lua_State *L, const char *what, lua_State *from)
{
    lua_pushcfunction(L, make_traceback);
    lua_pushlightuserdata(L, from);
    if (!from || lua_pcall(L, 1, 1, 0) != LUA_OK) {
        if (!from)
            lua_pop(L, 1);
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    log_pair(ctx, L, what);
}

/* Message handler: the error and its traceback, in a table. */
static int add_traceback(lua_State *L)
{
    luaL_traceback(L, L, NULL, 1);
    lua_createtable(L, 2, 0);
    lua_insert(L, 1);
    lua_rawseti(L, 1, 2);
    lua_rawseti(L, 1, 1);
    return 1;
}

void lp__context_make_calls(lua_State *L, lp__context_t *ctx)
{
    lua_State *calls = lua_newthread(L);
    luaL_checkstack(calls, LUA_MINSTACK, "callbacks");
    lua_pushcfunction(calls, add_traceback);
    lua_rawgeti(calls, LUA_REGISTRYINDEX, ctx->anchors);
    luaL_ref(L, LUA_REGISTRYINDEX);
    ctx->calls_L = calls;
}

void lp__context_call(lp__context_t *ctx, int nargs, const char *what)
{
    lua_State *L = ctx->calls_L;
    if (lua_pcall(L, nargs, 0, LP__CALLS_HANDLER) == LUA_OK)
        return;
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
    } else {
        lua_pushvalue(L, -1); /* out of memory */
        lua_pushnil(L);
    }
    log_pair(ctx, L, what);
    lua_pop(L, 1);
}
