/* fiber.c - see fiber.h.
 *
 * The user's function runs through lua_pcallk inside the coroutine: only then are its
 * to-be-closed variables closed when it raises, and may wait while they are. */
#include "lua/fiber.h"

#include <lauxlib.h>

#include "base/alloc.h"
#include "lua/errors.h"
#include "lua/seconds.h"
#include "lua/wait.h"

struct lp__fiber_s {
    lp__future_t future;
    lp__context_t *ctx;
    lp__list_t link;     /* in ctx->fibers until it ended */
    lp__fiber_t *scope;  /* the run it belongs to; itself for the main one; NULL: none */
    lp__wait_t *joining; /* a scope's: the run that waits for it to be empty */
    uint32_t live;       /* a scope's: fibers of it that have not ended */
    int thread;          /* anchor of the coroutine; 0 once ended */
    int values;          /* anchor of the packed results, or of the error */
    int traceback;       /* anchor of the error's traceback, for whoever cannot catch it */
};

static lp__fiber_t *of_future(lp__future_t *future)
{
    return LP__CONTAINER(future, lp__fiber_t, future);
}

static void fiber_free_when_forgotten(lua_State *L, lp__fiber_t *fiber)
{
    if (fiber->future.held || fiber->future.status == LP__FUTURE_PENDING || fiber->live > 0)
        return;
    lp__anchor_free(L, fiber->ctx, fiber->values);
    lp__anchor_free(L, fiber->ctx, fiber->traceback);
    lp__free(fiber);
}

/* ---- Ending ------------------------------------------------------------------- */

/* Pops the packed results or the error. `L` is any thread of the state. */
static void fiber_end(lua_State *L, lp__fiber_t *fiber, lp__future_status_t status)
{
    lp__context_t *ctx = fiber->ctx;
    fiber->values = lp__anchor(L, ctx);
    lp__anchor_free(L, ctx, fiber->thread);
    fiber->thread = 0;
    lp__list_remove(&fiber->link);
    lp__fiber_t *scope = fiber->scope;
    lp__future_end(L, ctx, &fiber->future, status);
    if (scope) {
        scope->live--;
        bool failed_main = fiber == scope && status != LP__FUTURE_DONE;
        if (scope->joining && (scope->live == 0 || failed_main)) {
            lp__wait_t *joining = scope->joining;
            scope->joining = NULL;
            lp__wait_wake(joining);
        }
        if (scope != fiber)
            fiber_free_when_forgotten(L, scope);
    }
    fiber_free_when_forgotten(L, fiber);
}

static int push_values(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    lp__anchor_push(L, ctx, of_future(future)->values);
    if (future->status != LP__FUTURE_DONE)
        return 1;
    int table = lua_gettop(L);
    lua_rawgeti(L, table, 0);
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, count, "results");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return count;
}

/* Closes the waiting coroutine; its to-be-closed variables are closed now. */
static bool cancel(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    lp__fiber_t *fiber = of_future(future);
    lp__anchor_push(L, ctx, fiber->thread);
    lua_State *co = lua_tothread(L, -1);
    if (lua_status(co) != LUA_YIELD) { /* it runs, or has called what runs */
        lua_pop(L, 1);
        return false;
    }
    lp__fiber_t *outer = ctx->fiber;
    ctx->fiber = fiber;
    int status = lua_resetthread(co);
    ctx->fiber = outer;
    if (status != LUA_OK)
        lp__log(ctx, "ERROR", "closing a cancelled coroutine failed: %s",
                luaL_tolstring(co, -1, NULL));
    lua_pop(L, 1);
    lp__error_push(L, LP_ECANCELLED, "the coroutine was cancelled");
    fiber_end(L, fiber, LP__FUTURE_CANCELLED);
    return true;
}

static void drop(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    (void)ctx;
    fiber_free_when_forgotten(L, of_future(future));
}

const lp__future_kind_t lp__future_of_fiber = {
    .push = push_values, .cancel = cancel, .drop = drop, .name = "coroutine"};

void lp__fiber_forget_all(lp__context_t *ctx)
{
    lp__list_t *link;
    while ((link = lp__list_pop_front(&ctx->fibers)) != NULL)
        lp__free(LP__CONTAINER(link, lp__fiber_t, link));
}

/* ---- The body of a fiber's coroutine ------------------------------------------- */

/* The error as it is, and where it was raised: { error, traceback }. */
static int on_error(lua_State *L)
{
    lua_settop(L, 1);
    luaL_traceback(L, L, NULL, 1);
    lua_createtable(L, 2, 0);
    lua_insert(L, 1);
    lua_rawseti(L, 1, 2);
    lua_rawseti(L, 1, 1);
    return 1;
}

static void keep_traceback(lua_State *L, lp__fiber_t *fiber)
{
    if (lua_type(L, -1) != LUA_TTABLE) /* out of memory: no handler was called */
        return;
    lua_rawgeti(L, -1, 2);
    fiber->traceback = lp__anchor(L, fiber->ctx);
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
}

/* Stack: fiber, handler, results or error. */
static int body_over(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    lp__fiber_t *fiber = lua_touserdata(L, 1);
    if (status != LUA_OK && status != LUA_YIELD) {
        keep_traceback(L, fiber);
        fiber_end(L, fiber, LP__FUTURE_FAILED);
        return 0;
    }
    int count = lua_gettop(L) - 2;
    lua_createtable(L, count, 1);
    lua_insert(L, 3);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 3, i);
    lua_pushinteger(L, count);
    lua_rawseti(L, 3, 0);
    fiber_end(L, fiber, LP__FUTURE_DONE);
    return 0;
}

/* Stack: fiber, handler, function, arguments. */
static int body(lua_State *L)
{
    int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, body_over);
    return body_over(L, status, 0);
}

/* Starts a coroutine with the function at `fn` and all values above it; pushes nothing. */
static lp__fiber_t *start(lua_State *L, lp__context_t *ctx, int fn, bool new_scope)
{
    int nargs = lua_gettop(L) - fn;
    lp__fiber_t *fiber = lp__calloc(LP_MEM_BINDING, sizeof *fiber);
    if (!fiber)
        luaL_error(L, "not enough memory");
    fiber->future.kind = LP__FUTURE_OF_FIBER;
    fiber->ctx = ctx;
    lp__list_push_back(&ctx->fibers, &fiber->link);
    lp__future_push(L, ctx, &fiber->future); /* owns it from here on, should something raise */
    lua_insert(L, fn);
    lua_State *co = lua_newthread(L);
    fiber->thread = lp__anchor(L, ctx);
    fiber->scope = new_scope ? fiber : (ctx->fiber ? ctx->fiber->scope : NULL);
    if (fiber->scope)
        fiber->scope->live++;
    if (!lua_checkstack(co, nargs + 8))
        luaL_error(L, "too many arguments");
    lua_pushcfunction(co, body);
    lua_pushlightuserdata(co, fiber);
    lua_pushcfunction(co, on_error);
    lua_xmove(L, co, nargs + 1);
    lua_State *outer = ctx->turn_L;
    ctx->turn_L = L;
    lp__resume(ctx, co, fiber, nargs + 3);
    ctx->turn_L = outer;
    return fiber;
}

static void check_function(lua_State *L, const char *what)
{
    if (lua_type(L, 1) != LUA_TFUNCTION)
        lp__error_raise(L, LP_EINVAL, "%s: argument 1: got %s, allowed: a function", what,
                        lua_gettop(L) == 0 ? "no value" : luaL_typename(L, 1));
}

static int spawn(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    check_function(L, "leasepool.spawn");
    lp__context_runtime(L, ctx);
    start(L, ctx, 1, false);
    return 1;
}

/* ---- run ---------------------------------------------------------------------- */

static void cancel_scope(lua_State *L, lp__context_t *ctx, lp__fiber_t *scope)
{
    for (;;) { /* closing one may end or start others: look anew each time */
        lp__fiber_t *found = NULL;
        for (lp__list_t *at = ctx->fibers.next; at != &ctx->fibers && !found; at = at->next) {
            lp__fiber_t *fiber = LP__CONTAINER(at, lp__fiber_t, link);
            if (fiber->scope == scope)
                found = fiber;
        }
        if (!found || !cancel(L, ctx, &found->future))
            return;
    }
}

static void withdraw_join(lp__wait_t *wait)
{
    lp__fiber_t *scope = wait->source;
    scope->joining = NULL;
}

/* The error at the top leaves the coroutine it was raised in: it takes the traceback along. */
static void add_traceback(lua_State *L, lp__fiber_t *fiber)
{
    if (fiber->traceback == 0)
        return;
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushliteral(L, "\n");
        lp__anchor_push(L, fiber->ctx, fiber->traceback);
        lua_concat(L, 3);
    } else if (lp__error_class(L, -1)) {
        if (lua_getfield(L, -1, "traceback") == LUA_TNIL) {
            lp__anchor_push(L, fiber->ctx, fiber->traceback);
            lua_setfield(L, -3, "traceback");
        }
        lua_pop(L, 1);
    }
}

static int run_over(lua_State *L, lp__fiber_t *scope)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    bool done = scope->future.status == LP__FUTURE_DONE;
    if (!done)
        cancel_scope(L, ctx, scope);
    int count = push_values(L, ctx, &scope->future);
    if (done)
        return count;
    add_traceback(L, scope);
    return lua_error(L);
}

static int run_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_t *wait = lua_touserdata(L, (int)index);
    lp__wait_ended(L, (int)index);
    return run_over(L, wait->source);
}

/* Waits until the scope (a light userdata) is empty or its main function failed. Called
 * protected, so that Ctrl-C closes what runs. */
static int join(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__fiber_t *scope = lua_touserdata(L, 1);
    lp__wait_t *wait = lp__wait_begin(L, ctx, "leasepool.run");
    wait->source = scope;
    wait->withdraw = withdraw_join;
    scope->joining = wait;
    return lp__wait_park(L, wait, run_k);
}

static int join_over(lua_State *L, int status, lua_KContext scope_context)
{
    lp__fiber_t *scope = (lp__fiber_t *)scope_context;
    if (status != LUA_OK && status != LUA_YIELD) {
        cancel_scope(L, LP__CONTEXT(L), scope);
        return lua_error(L);
    }
    return lua_gettop(L) - 1;
}

static int run(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    check_function(L, "leasepool.run");
    lp__context_runtime(L, ctx);
    if (!lp__wait_possible(L, ctx))
        return lp__error_raise(L, LP_EWOULDBLOCK,
                               "leasepool.run: would have to wait where nothing can wait (a "
                               "callback, a comparator, a metamethod); use leasepool.spawn");
    lp__fiber_t *scope = start(L, ctx, 1, true);
    if (scope->live == 0 || scope->future.status > LP__FUTURE_DONE)
        return run_over(L, scope);
    lua_pushlightuserdata(L, ctx);
    lua_pushcclosure(L, join, 1);
    lua_pushlightuserdata(L, scope);
    int status = lua_pcallk(L, 1, LUA_MULTRET, 0, (lua_KContext)scope, join_over);
    return join_over(L, status, (lua_KContext)scope);
}

/* ---- sleep -------------------------------------------------------------------- */

static int sleep_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_ended(L, (int)index);
    return 0;
}

static int fiber_sleep(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    uint64_t ns = lp__seconds_check(L, 1, "leasepool.sleep", "seconds");
    lp__wait_t *wait = lp__wait_begin(L, ctx, "leasepool.sleep");
    lp__wait_limit(wait, ns);
    return lp__wait_park(L, wait, sleep_k);
}

void lp__fiber_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg functions[] = {
        {"spawn", spawn}, {"run", run}, {"sleep", fiber_sleep}, {NULL, NULL}};
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
