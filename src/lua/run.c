/* run.c - leasepool.run: a main coroutine and all it spawns, until the last has ended. Loop
 * thread.
 *
 * Stack of run and of all its continuations: 1 the future of the main coroutine, 2 the holder
 * of the scope, a userdata that lets go of it when it is collected. */
#include "lua/run.h"

#include <lauxlib.h>

#include "lua/errors.h"
#include "lua/fiber.h"
#include "lua/seconds.h"
#include "lua/wait.h"

typedef struct {
    lp__scope_t *scope;
} holder_t;

enum { FUTURE = 1, HOLDER = 2 };

static void let_go(holder_t *holder)
{
    lp__scope_release(holder->scope);
    holder->scope = NULL;
}

/* For a run whose coroutine was closed. Not called in a closing state: so all others let go
 * by themselves. */
static int holder_gc(lua_State *L)
{
    let_go(lua_touserdata(L, 1));
    return 0;
}

/* Pushes a holder with a new scope. */
static lp__scope_t *new_scope(lua_State *L)
{
    holder_t *holder = lp__context_new(L, LP__TYPE_SCOPE, sizeof *holder, 0);
    holder->scope = lp__scope_new();
    if (!holder->scope)
        luaL_error(L, "not enough memory");
    return holder->scope;
}

static lp__scope_t *scope_of(lua_State *L)
{
    return ((holder_t *)lua_touserdata(L, HOLDER))->scope;
}

/* All have ended, or the main coroutine failed. */
static int finish(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__future_t *future = lua_touserdata(L, FUTURE);
    bool done = future->status == LP__FUTURE_DONE;
    if (!done)
        lp__fiber_cancel_scope(L, ctx, scope_of(L));
    let_go(lua_touserdata(L, HOLDER));
    lua_settop(L, HOLDER);
    int count = lp__future_values(L, ctx, FUTURE);
    if (done)
        return count;
    lp__fiber_add_traceback(L, FUTURE);
    return lua_error(L);
}

static int join_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_ended(L, (int)index);
    return finish(L);
}

static void withdraw(lp__wait_t *wait)
{
    lp__scope_t *scope = wait->source;
    scope->joining = NULL;
}

/* Waits for the scope. Called protected, with the same two values, so that Ctrl-C closes what
 * runs. */
static int join(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__scope_t *scope = scope_of(L);
    lp__wait_t *wait = lp__wait_begin(L, ctx, "leasepool.run");
    wait->source = scope;
    wait->withdraw = withdraw;
    scope->joining = wait;
    return lp__wait_park(L, wait, join_k);
}

static int join_over(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - HOLDER;
    if (scope_of(L)) /* interrupted; else the main coroutine failed, and all is cancelled */
        lp__fiber_cancel_scope(L, LP__CONTEXT(L), scope_of(L));
    let_go(lua_touserdata(L, HOLDER));
    return lua_error(L);
}

static int run(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    if (lua_type(L, 1) != LUA_TFUNCTION)
        lp__error_raise(L, LP_EINVAL, "leasepool.run: argument 1: got %s, allowed: a function",
                        lua_gettop(L) == 0 ? "no value" : luaL_typename(L, 1));
    lp__context_runtime(L, ctx);
    lp__wait_check(L, ctx, "leasepool.run");
    lp__scope_t *scope = new_scope(L);
    lua_insert(L, 1);
    lp__fiber_start(L, ctx, 2, scope, true);
    lua_insert(L, FUTURE);
    if (scope->live == 0 || scope->failed)
        return finish(L);
    lua_pushlightuserdata(L, ctx);
    lua_pushcclosure(L, join, 1);
    lua_pushvalue(L, FUTURE);
    lua_pushvalue(L, HOLDER);
    int status = lua_pcallk(L, 2, LUA_MULTRET, 0, 0, join_over);
    return join_over(L, status, 0);
}

/* ---- sleep -------------------------------------------------------------------- */

static int sleep_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_ended(L, (int)index);
    return 0;
}

static int run_sleep(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    uint64_t ns = lp__seconds_check(L, 1, "leasepool.sleep", "seconds");
    lp__wait_t *wait = lp__wait_begin(L, ctx, "leasepool.sleep");
    lp__wait_limit(wait, ns);
    return lp__wait_park(L, wait, sleep_k);
}

void lp__run_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg none[] = {{NULL, NULL}};
    static const luaL_Reg meta[] = {{"__gc", holder_gc}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"run", run}, {"sleep", run_sleep}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_SCOPE, "leasepool.scope", none, NULL, meta);
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
