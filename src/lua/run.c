/* run.c - leasepool.run: a main coroutine and all it spawns, until the last has ended. Loop
 * thread.
 *
 * When the main one raises, or when the wait for the end is interrupted (Ctrl-C, a cancelled
 * coroutine that is in a nested run), all are cancelled and waited for, as their handlers may
 * wait; then the error is raised. What interrupts the second wait as well, other than
 * another cancellation, closes whatever is still there and is not waited for.
 *
 * Stack of run and of all its continuations: 1 the future of the main coroutine, 2 the holder
 * of the scope, a to-be-closed userdata, 3 what interrupted the wait, or nil. */
#include "lua/run.h"

#include <lauxlib.h>
#include <string.h>

#include "lua/errors.h"
#include "lua/fiber.h"
#include "lua/seconds.h"
#include "lua/wait.h"

typedef struct {
    lp__scope_t *scope;
} holder_t;

enum { FUTURE = 1, HOLDER, INTERRUPTION };

static void let_go(holder_t *holder)
{
    lp__scope_release(holder->scope);
    holder->scope = NULL;
}

/* For a run whose coroutine was never resumed and is collected. */
static int holder_gc(lua_State *L)
{
    let_go(lua_touserdata(L, 1));
    return 0;
}

/* The run is over, or its coroutine is closed: then what it started is cancelled. */
static int holder_close(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    holder_t *holder = lua_touserdata(L, 1);
    if (holder->scope && holder->scope->live > 0 && !ctx->closed)
        lp__fiber_cancel_scope(L, ctx, holder->scope);
    let_go(holder);
    return 0;
}

/* Pushes a holder with a new scope. */
static lp__scope_t *new_scope(lua_State *L, lp__context_t *ctx)
{
    holder_t *holder = lp__context_new(L, ctx, LP__TYPE_SCOPE, sizeof *holder, 0);
    holder->scope = lp__scope_new();
    if (!holder->scope)
        luaL_error(L, "not enough memory");
    return holder->scope;
}

static lp__scope_t *scope_of(lua_State *L)
{
    return ((holder_t *)lua_touserdata(L, HOLDER))->scope;
}

/* All have ended, or were given up. */
static int finish(lua_State *L)
{
    lp__future_t *future = lua_touserdata(L, FUTURE);
    lua_settop(L, INTERRUPTION);
    if (!lua_isnil(L, INTERRUPTION))
        return lua_error(L);
    int count = lp__future_values(L, LP__CONTEXT(L), FUTURE);
    if (future->status == LP__FUTURE_DONE)
        return count;
    lp__fiber_add_traceback(L, FUTURE);
    return lua_error(L);
}

static int join_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_ended(L, (int)index);
    return 0;
}

static void withdraw(lp__wait_t *wait)
{
    lp__scope_t *scope = wait->source;
    scope->joining = NULL;
}

/* Waits until the scope is empty, or its main coroutine failed. Called protected, with the same
 * values. */
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

/* The wait raised what is at the top. Is there still something to wait for? */
static bool interrupted(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    const char *class = lp__error_class(L, -1);
    bool again = !lua_isnil(L, INTERRUPTION);
    bool patient = !again || (class && strcmp(class, "CancelledError") == 0);
    if (patient)
        lp__fiber_cancel_scope(L, ctx, scope_of(L));
    else
        lp__fiber_close_scope(L, ctx, scope_of(L));
    if (!again)
        lua_replace(L, INTERRUPTION);
    lua_settop(L, INTERRUPTION);
    return patient;
}

static int join_over(lua_State *L, int status, lua_KContext context);

static int go_on(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__scope_t *scope = scope_of(L);
    if (scope->failed && scope->round == 0)
        lp__fiber_cancel_scope(L, ctx, scope);
    if (scope->live == 0)
        return finish(L);
    lua_pushlightuserdata(L, ctx);
    lua_pushcclosure(L, join, 1);
    lua_pushvalue(L, FUTURE);
    lua_pushvalue(L, HOLDER);
    return join_over(L, lua_pcallk(L, 2, 0, 0, 0, join_over), 0);
}

static int join_over(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    bool raised = status != LUA_OK && status != LUA_YIELD;
    return raised && !interrupted(L) ? finish(L) : go_on(L);
}

static int run(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    if (lua_type(L, 1) != LUA_TFUNCTION)
        lp__error_raise(L, LP_EINVAL, "leasepool.run: argument 1: got %s, allowed: a function",
                        lua_gettop(L) == 0 ? "no value" : luaL_typename(L, 1));
    lp__context_runtime(L, ctx);
    lp__wait_check(L, ctx, "leasepool.run");
    lp__scope_t *scope = new_scope(L, ctx);
    lua_insert(L, 1);
    lp__fiber_start(L, ctx, 2, scope, true);
    lua_insert(L, FUTURE);
    lua_toclose(L, HOLDER);
    lua_pushnil(L);
    return go_on(L);
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
    static const luaL_Reg meta[] = {{"__gc", holder_gc}, {"__close", holder_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"run", run}, {"sleep", run_sleep}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_SCOPE, "leasepool.scope", none, NULL, meta);
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
