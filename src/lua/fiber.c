/* fiber.c - see fiber.h.
 *
 * The user's function runs through lua_pcallk inside the coroutine: only then are its
 * to-be-closed variables closed when it raises, and may wait while they are. */
#include "lua/fiber.h"

#include <lauxlib.h>

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
};

/* The user values of a fiber's userdata. */
enum {
    VALUES = 1, /* the packed results, or the error */
    TRACEBACK,  /* the error's, for whoever cannot catch it */
    SCOPE,      /* the userdata of its scope, when that is another fiber */
    USER_VALUES = SCOPE
};

/* ---- Ending ------------------------------------------------------------------- */

/* Pops a value and keeps it with the fiber, which has not ended. */
static void keep(lua_State *L, lp__fiber_t *fiber, int which)
{
    lp__anchor_push(L, fiber->ctx, fiber->future.anchor);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, which);
    lua_pop(L, 1);
}

/* Pops the packed results or the error. `L` is any thread of the state. */
static void fiber_end(lua_State *L, lp__fiber_t *fiber, lp__future_status_t status)
{
    lp__context_t *ctx = fiber->ctx;
    lp__fiber_t *scope = fiber->scope;
    keep(L, fiber, VALUES);
    lp__anchor_free(L, ctx, fiber->thread);
    fiber->thread = 0;
    lp__list_remove(&fiber->link);
    lp__future_end(L, ctx, &fiber->future, status); /* nothing here collects garbage: */
    if (!scope)                                     /* fiber and scope still lie where they did */
        return;
    scope->live--;
    bool failed_main = fiber == scope && status != LP__FUTURE_DONE;
    if (scope->joining && (scope->live == 0 || failed_main)) {
        lp__wait_t *joining = scope->joining;
        scope->joining = NULL;
        lp__wait_wake(joining);
    }
}

static int push_values(lua_State *L, lp__context_t *ctx, int index, lp__future_t *future)
{
    (void)ctx;
    lua_getiuservalue(L, index, VALUES);
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
    lp__fiber_t *fiber = (lp__fiber_t *)future;
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

const lp__future_kind_t lp__future_of_fiber = {
    .push = push_values, .cancel = cancel, .free = NULL, .name = "coroutine"};

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
    keep(L, fiber, TRACEBACK);
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

/* Keeps the scope of a new fiber (at the top) alive: it is the fiber that spawns, or the
 * scope of that one. */
static void join_scope(lua_State *L, lp__fiber_t *fiber, lp__fiber_t *parent)
{
    if (!parent || !parent->scope)
        return;
    fiber->scope = parent->scope;
    lp__anchor_push(L, fiber->ctx, parent->future.anchor);
    if (parent != parent->scope) {
        lua_getiuservalue(L, -1, SCOPE);
        lua_remove(L, -2);
    }
    lua_setiuservalue(L, -2, SCOPE);
}

/* Replaces the function at `fn` and all values above it by the future of a coroutine that was
 * started with them. */
static lp__fiber_t *start(lua_State *L, lp__context_t *ctx, int fn, bool new_scope)
{
    int nargs = lua_gettop(L) - fn;
    lp__fiber_t *fiber = lp__future_new(L, LP__FUTURE_OF_FIBER, sizeof *fiber, USER_VALUES);
    fiber->ctx = ctx;
    lp__list_init(&fiber->link);
    join_scope(L, fiber, new_scope ? NULL : ctx->fiber);
    if (new_scope)
        fiber->scope = fiber;
    lua_pushvalue(L, -1);
    lua_insert(L, fn);
    lua_State *co = lua_newthread(L);
    if (!lua_checkstack(co, nargs + 8))
        luaL_error(L, "too many arguments");
    fiber->thread = lp__anchor(L, ctx);
    lp__future_begin(L, ctx, &fiber->future);
    lua_pop(L, 1);
    lp__list_push_back(&ctx->fibers, &fiber->link);
    if (fiber->scope)
        fiber->scope->live++;
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
static void add_traceback(lua_State *L, int scope)
{
    if (lua_getiuservalue(L, scope, TRACEBACK) == LUA_TNIL) {
        lua_pop(L, 1);
    } else if (lua_type(L, -2) == LUA_TSTRING) {
        lua_pushliteral(L, "\n");
        lua_insert(L, -2);
        lua_concat(L, 3);
    } else if (lp__error_class(L, -2) && lua_getfield(L, -2, "traceback") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_setfield(L, -2, "traceback");
    } else {
        lua_settop(L, scope + 1);
    }
}

/* The scope's userdata lies at 1. */
static int run_over(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__fiber_t *scope = lua_touserdata(L, 1);
    bool done = scope->future.status == LP__FUTURE_DONE;
    if (!done)
        cancel_scope(L, ctx, scope);
    lua_settop(L, 1);
    int count = push_values(L, ctx, 1, &scope->future);
    if (done)
        return count;
    add_traceback(L, 1);
    return lua_error(L);
}

static int run_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_ended(L, (int)index);
    return run_over(L);
}

/* Waits until the scope (its userdata is the argument) is empty or its main function failed.
 * Called protected, so that Ctrl-C closes what runs. */
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

/* Stack: the scope's userdata, the results or the error. */
static int join_over(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    if (status != LUA_OK && status != LUA_YIELD) {
        cancel_scope(L, LP__CONTEXT(L), lua_touserdata(L, 1));
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
        return run_over(L);
    lua_pushlightuserdata(L, ctx);
    lua_pushcclosure(L, join, 1);
    lua_pushvalue(L, 1);
    int status = lua_pcallk(L, 1, LUA_MULTRET, 0, 0, join_over);
    return join_over(L, status, 0);
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
