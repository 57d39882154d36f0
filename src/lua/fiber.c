/* fiber.c - see fiber.h.
 *
 * The user's function runs through lua_pcallk inside the coroutine: only then are its
 * to-be-closed variables closed when it raises, and may wait while they are. At the bottom of
 * the coroutine's stack lies a guard, a to-be-closed value that ends the fiber when somebody
 * closes the coroutine. */
#include "lua/fiber.h"

#include <lauxlib.h>

#include "base/alloc.h"
#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/log.h"
#include "lua/wait.h"
#include "lua/watcher.h"

typedef struct lp__fiber_s lp__fiber_t;

typedef struct {
    lp__fiber_t *fiber; /* NULL: ended */
} guard_t;

struct lp__fiber_s {
    lp__future_t future;
    lp__context_t *ctx;
    lp__list_t link;    /* in ctx->fibers until it ended */
    lp__scope_t *scope; /* a reference until it ended; NULL: of no run */
    guard_t *guard;     /* on the coroutine's stack */
    int thread;         /* anchor of the coroutine until it ended */
    int count;          /* of its results */
    unsigned round;     /* of its scope's cancellations, the last that came here */
    bool is_main;       /* of its scope */
};

/* The user values of a fiber's userdata. */
enum {
    VALUES = 1, /* the result, or a list of them, or the error; until it ends: what it was
                 * cancelled with, or nil */
    TRACEBACK,  /* the error's, for whoever cannot catch it */
    USER_VALUES = TRACEBACK
};

/* ---- Scopes ------------------------------------------------------------------- */

lp__scope_t *lp__scope_new(void)
{
    lp__scope_t *scope = lp__calloc(LP_MEM_BINDING, sizeof *scope);
    if (scope)
        scope->refs = 1;
    return scope;
}

void lp__scope_retain(lp__scope_t *scope)
{
    if (scope)
        scope->refs++;
}

void lp__scope_release(lp__scope_t *scope)
{
    if (scope && --scope->refs == 0)
        lp__free(scope);
}

static void leave_scope(lp__fiber_t *fiber, bool failed)
{
    lp__scope_t *scope = fiber->scope;
    fiber->scope = NULL;
    if (!scope)
        return;
    scope->live--;
    if (fiber->is_main && failed)
        scope->failed = true;
    if (scope->joining && (scope->live == 0 || (scope->failed && scope->round == 0))) {
        lp__wait_t *joining = scope->joining;
        scope->joining = NULL;
        lp__wait_wake(joining);
    }
    lp__scope_release(scope);
}

/* ---- Ending ------------------------------------------------------------------- */

/* Pops a value and keeps it with the fiber, which has not ended. */
static void keep(lua_State *L, lp__fiber_t *fiber, int which)
{
    lp__anchor_push(L, fiber->ctx, fiber->future.anchor);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, which);
    lua_pop(L, 1);
}

/* Pops the result, the list of results, or the error. `L` is any thread of the state. The fiber may
 * be collected afterwards. */
static void end(lua_State *L, lp__fiber_t *fiber, lp__future_status_t status)
{
    lp__context_t *ctx = fiber->ctx;
    keep(L, fiber, VALUES);
    if (fiber->guard)
        fiber->guard->fiber = NULL;
    fiber->guard = NULL;
    lp__anchor_free(L, ctx, fiber->thread);
    fiber->thread = 0;
    lp__list_remove(&fiber->link);
    leave_scope(fiber, status != LP__FUTURE_DONE);
    if (status == LP__FUTURE_FAILED)
        lp__future_needs_finalizer(L, ctx, &fiber->future); /* tells when nobody looked */
    lp__future_end(L, ctx, &fiber->future, status);
}

/* Pushes the CancelledError of a fiber that has not ended, the same each time. */
static void push_cancellation(lua_State *L, lp__fiber_t *fiber)
{
    lp__anchor_push(L, fiber->ctx, fiber->future.anchor);
    if (lua_getiuservalue(L, -1, VALUES) == LUA_TNIL) {
        lua_pop(L, 1);
        lp__error_push(L, LP_ECANCELLED, "the coroutine was cancelled");
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -3, VALUES);
    }
    lua_remove(L, -2);
}

static void end_cancelled(lua_State *L, lp__fiber_t *fiber)
{
    push_cancellation(L, fiber);
    end(L, fiber, LP__FUTURE_CANCELLED);
}

/* Is the error at the top what the fiber was cancelled with? */
static bool is_cancellation(lua_State *L, lp__fiber_t *fiber)
{
    lp__anchor_push(L, fiber->ctx, fiber->future.anchor);
    lua_getiuservalue(L, -1, VALUES);
    bool same = lua_istable(L, -1) && lua_rawequal(L, -1, -3);
    lua_pop(L, 2);
    return same;
}

static int push_values(lua_State *L, lp__context_t *ctx, int index, lp__future_t *future)
{
    (void)ctx;
    int count = ((lp__fiber_t *)future)->count;
    lua_getiuservalue(L, index, VALUES);
    if (future->status != LP__FUTURE_DONE || count == 1)
        return 1;
    int list = lua_gettop(L);
    luaL_checkstack(L, count, "results");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, list, i);
    lua_remove(L, list);
    return count;
}

/* Closes the coroutine of a fiber, which is suspended; its to-be-closed variables are closed now.
 */
static void close_fiber(lua_State *L, lua_State *co, lp__fiber_t *fiber)
{
    lp__context_t *ctx = fiber->ctx;
    lp__anchor_push(L, ctx, fiber->future.anchor); /* both live until this function ends */
    lp__anchor_push(L, ctx, fiber->thread);
    lp__scope_t *outer = ctx->scope;
    ctx->scope = fiber->scope;
    int status = lua_resetthread(co);
    ctx->scope = outer;
    if (status != LUA_OK) {
        lua_xmove(co, L, 1);
        lp__log_error(ctx, NULL, L, "closing a cancelled coroutine", NULL);
    }
    if (fiber->future.status == LP__FUTURE_PENDING)
        end_cancelled(L, fiber); /* it never came to have a guard */
    lua_pop(L, 2);
}

static lua_State *coroutine_of(lua_State *L, lp__fiber_t *fiber)
{
    lp__anchor_push(L, fiber->ctx, fiber->thread);
    lua_State *co = lua_tothread(L, -1);
    lua_pop(L, 1);
    return co;
}

/* A coroutine that waits gets a CancelledError there; one that has yielded by itself is closed. */
static bool cancel(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    lp__fiber_t *fiber = (lp__fiber_t *)future;
    lua_State *co = coroutine_of(L, fiber);
    if (lua_status(co) != LUA_YIELD) /* it runs, or has called what runs */
        return false;
    lp__wait_t *wait = lp__wait_of(ctx, co);
    if (wait) {
        push_cancellation(L, fiber);
        lp__wait_cancel(L, wait);
    } else {
        close_fiber(L, co, fiber);
    }
    return true;
}

const lp__future_kind_t lp__future_of_fiber = {
    .push = push_values,
    .cancel = cancel,
    .free = NULL,
    .name = "coroutine",
    .what = "a coroutine whose future nobody looked at",
};

/* The last spawned of a scope that this round has not come to yet; NULL: none. */
static lp__fiber_t *next_of_round(lp__context_t *ctx, lp__scope_t *scope, lp__list_t *at)
{
    for (; at != &ctx->fibers; at = at->prev) {
        lp__fiber_t *fiber = LP__CONTAINER(at, lp__fiber_t, link);
        if (fiber->scope == scope && fiber->round != scope->round)
            return fiber;
    }
    return NULL;
}

void lp__fiber_cancel_scope(lua_State *L, lp__context_t *ctx, lp__scope_t *scope)
{
    lp__fiber_t *fiber;
    lp__list_t *at = ctx->fibers.prev;
    scope->round++;
    while ((fiber = next_of_round(ctx, scope, at)) != NULL) {
        bool waits = lp__wait_of(ctx, coroutine_of(L, fiber)) != NULL;
        fiber->round = scope->round;
        at = fiber->link.prev;
        cancel(L, ctx, &fiber->future);
        if (!waits) /* it was closed: its handlers may have changed the list */
            at = ctx->fibers.prev;
    }
}

void lp__fiber_close_scope(lua_State *L, lp__context_t *ctx, lp__scope_t *scope)
{
    lp__fiber_t *fiber;
    scope->round++;
    while ((fiber = next_of_round(ctx, scope, ctx->fibers.prev)) != NULL) {
        lua_State *co = coroutine_of(L, fiber);
        fiber->round = scope->round;
        if (lua_status(co) == LUA_YIELD)
            close_fiber(L, co, fiber);
    }
}

void lp__fiber_forget_all(lp__context_t *ctx)
{
    lp__list_t *link;
    while ((link = lp__list_pop_front(&ctx->fibers)) != NULL) {
        lp__fiber_t *fiber = LP__CONTAINER(link, lp__fiber_t, link);
        lp__watcher_forget_all(&fiber->future);
        lp__scope_release(fiber->scope);
        fiber->scope = NULL;
    }
}

/* ---- The body of a fiber's coroutine ------------------------------------------- */

/* Message handler; the fiber is its upvalue. The error stays as it is. */
static int on_error(lua_State *L)
{
    lp__fiber_t *fiber = lua_touserdata(L, lua_upvalueindex(1));
    luaL_traceback(L, L, NULL, 1);
    keep(L, fiber, TRACEBACK);
    return 1;
}

/* Stack: guard, handler, results or error. */
static int body_over(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    guard_t *guard = lua_touserdata(L, 1);
    lp__fiber_t *fiber = guard->fiber;
    if (status != LUA_OK && status != LUA_YIELD) {
        end(L, fiber, is_cancellation(L, fiber) ? LP__FUTURE_CANCELLED : LP__FUTURE_FAILED);
        return 0;
    }
    int count = fiber->count = lua_gettop(L) - 2;
    if (count == 0) {
        lua_pushnil(L);
    } else if (count > 1) { /* one result needs no list */
        lua_createtable(L, count, 0);
        lua_insert(L, 3);
        for (int i = count; i >= 1; i--)
            lua_rawseti(L, 3, i);
    }
    end(L, fiber, LP__FUTURE_DONE);
    return 0;
}

/* Stack: guard, handler, function, arguments. */
static int body(lua_State *L)
{
    guard_t *guard = lua_touserdata(L, 1);
    lua_toclose(L, 1);
    guard->fiber->guard = guard;
    int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, body_over);
    return body_over(L, status, 0);
}

static int guard_close(lua_State *L)
{
    guard_t *guard = lua_touserdata(L, 1);
    if (guard->fiber)
        end_cancelled(L, guard->fiber);
    return 0;
}

lp__future_t *lp__fiber_start(lua_State *L, lp__context_t *ctx, int fn, lp__scope_t *scope,
                              bool is_main)
{
    int nargs = lua_gettop(L) - fn;
    luaL_checkstack(L, 8, "spawn");
    lp__anchor_reserve(L, ctx, 2);
    lp__fiber_t *fiber = lp__future_new(L, ctx, LP__FUTURE_OF_FIBER, sizeof *fiber, USER_VALUES);
    fiber->ctx = ctx;
    fiber->is_main = is_main;
    lp__list_init(&fiber->link);
    lua_insert(L, fn);
    guard_t *guard = lp__context_new(L, ctx, LP__TYPE_GUARD, sizeof *guard, 0);
    lua_pushlightuserdata(L, fiber);
    lua_pushcclosure(L, on_error, 1);
    lua_State *co = lua_newthread(L); /* stack: future, function, arguments, guard, handler, co */
    if (!lua_checkstack(co, nargs + 8))
        luaL_error(L, "too many arguments");
    lua_pushcfunction(co, body);
    lua_pushvalue(L, -1);
    int thread = lp__anchor(L, ctx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lua_pushvalue(L, fn);
    lp__future_begin(L, ctx, &fiber->future, lua_gettop(L) - 1); /* nothing raises from here on */
    lua_pop(L, 3); /* the future's copy, the anchors, co */
    lua_xmove(L, co, 2);
    lua_xmove(L, co, nargs + 1); /* co: body, guard, handler, function, arguments */
    guard->fiber = fiber;
    fiber->thread = thread;
    fiber->scope = scope;
    lp__scope_retain(scope);
    if (scope) {
        scope->live++;
        fiber->round = scope->round; /* not of those that were cancelled so far */
    }
    lp__list_push_back(&ctx->fibers, &fiber->link);
    lua_State *outer = ctx->turn_L;
    ctx->turn_L = L;
    int status = lp__resume(ctx, co, scope, nargs + 3);
    ctx->turn_L = outer;
    if (status != LUA_OK && status != LUA_YIELD && fiber->future.status == LP__FUTURE_PENDING) {
        lua_xmove(co, L, 1); /* the coroutine could not even begin: too many on top of it */
        end(L, fiber, LP__FUTURE_FAILED);
    }
    return &fiber->future;
}

void lp__fiber_add_traceback(lua_State *L, int index)
{
    int error = lua_gettop(L);
    if (lua_getiuservalue(L, index, TRACEBACK) == LUA_TSTRING) {
        if (lua_type(L, error) == LUA_TSTRING) {
            lua_pushfstring(L, "%s\n%s", lua_tostring(L, error), lua_tostring(L, -1));
            lua_replace(L, error);
        } else if (lp__error_class(L, error)) {
            if (lua_getfield(L, error, "traceback") == LUA_TNIL) {
                lua_pushvalue(L, error + 1);
                lua_setfield(L, error, "traceback");
            }
        }
    }
    lua_settop(L, error);
}

static int spawn(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    if (lua_type(L, 1) != LUA_TFUNCTION)
        lp__error_raise(L, LP_EINVAL, "leasepool.spawn: argument 1: got %s, allowed: a function",
                        lua_gettop(L) == 0 ? "no value" : luaL_typename(L, 1));
    lp__context_runtime(L, ctx);
    lp__fiber_start(L, ctx, 1, ctx->scope, false);
    return 1;
}

void lp__fiber_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg none[] = {{NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", guard_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"spawn", spawn}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_GUARD, "leasepool.guard", none, NULL, meta);
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
