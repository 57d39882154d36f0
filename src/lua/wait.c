/* wait.c - see wait.h. */
#include "lua/wait.h"

#include <lauxlib.h>

#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/fiber.h"
#include "lua/log.h"

static const char closing_key; /* weak set of coroutines that are being closed */

/* The set is asked only once there has been one: 300 instructions less for most waits, which ask
 * twice. */
static bool is_closing(lua_State *L, const lp__context_t *ctx)
{
    bool closing = false;
    if (!ctx->some_closed)
        return false;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &closing_key) == LUA_TTABLE) {
        lua_pushthread(L);
        closing = lua_rawget(L, -2) != LUA_TNIL;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return closing;
}

typedef enum { NOT_AT_ALL, BY_YIELDING, BY_DRIVING } way_t;

/* A coroutine in which coroutine.close runs handlers looks yieldable and is not. */
static way_t way_to_wait(lua_State *L, const lp__context_t *ctx)
{
    bool closing = is_closing(L, ctx);
    if (!closing && lua_isyieldable(L))
        return BY_YIELDING;
    bool idle = !ctx->driving && !ctx->attached && !(ctx->rt && ctx->rt->in_turn);
    return idle && (closing || L == ctx->L) ? BY_DRIVING : NOT_AT_ALL;
}

bool lp__wait_possible(lua_State *L, lp__context_t *ctx)
{
    return way_to_wait(L, ctx) != NOT_AT_ALL;
}

static way_t check_way(lua_State *L, lp__context_t *ctx, const char *what)
{
    way_t way = way_to_wait(L, ctx);
    if (way == NOT_AT_ALL && ctx->attached && L == ctx->L)
        lp__error_raise(L, LP_EWOULDBLOCK,
                        "%s: would have to wait, and the loop that is attached cannot be run from "
                        "here; wait in a coroutine, or use a form that returns a future",
                        what);
    if (way == NOT_AT_ALL)
        lp__error_raise(L, LP_EWOULDBLOCK,
                        "%s: would have to wait where nothing can wait (a callback, a comparator, "
                        "a metamethod); use leasepool.spawn, or a form that returns a future",
                        what);
    return way;
}

void lp__wait_check(lua_State *L, lp__context_t *ctx, const char *what)
{
    check_way(L, ctx, what);
}

lp__wait_t *lp__wait_begin(lua_State *L, lp__context_t *ctx, const char *what)
{
    lp__context_runtime(L, ctx);
    way_t way = check_way(L, ctx, what);
    luaL_checkstack(L, 20, "waiting");
    lp__wait_t *wait = lp__context_new(L, ctx, LP__TYPE_WAIT, sizeof *wait, 1);
    wait->ctx = ctx;
    lp__list_init(&wait->link);
    if (way == BY_YIELDING) { /* now, as nothing may raise once somebody refers to the wait */
        lua_pushthread(L);
        lua_setiuservalue(L, -2, 1);
        lua_pushvalue(L, -1);
        wait->anchor = lp__anchor(L, ctx);
        lua_toclose(L, lua_gettop(L));
        wait->in_slot = true;
    } else {
        luaL_checkstack(ctx->L, 20, "waiting");
    }
    return wait;
}

static void clear_limit(lp__wait_t *wait)
{
    if (!wait->limited)
        return;
    wait->limited = false;
    lp__runtime_clear_deadline(wait->ctx->rt, &wait->deadline);
    lp__runtime_unhold(wait->ctx->rt);
}

static void on_timeout(lp__deadline_t *deadline)
{
    lp__wait_t *wait = LP__CONTAINER(deadline, lp__wait_t, deadline);
    wait->timed_out = true;
    if (wait->withdraw)
        wait->withdraw(wait);
    wait->withdraw = wait->discard = NULL;
    lp__wait_wake(wait);
}

void lp__wait_limit(lp__wait_t *wait, uint64_t timeout_ns)
{
    lp_runtime_t *rt = wait->ctx->rt;
    uint64_t now_ns = lp__clock_now_ns(&rt->clock);
    if (timeout_ns >= UINT64_MAX - now_ns)
        return;
    wait->limited = true;
    lp__runtime_hold(rt);
    lp__runtime_set_deadline(rt, &wait->deadline, now_ns + timeout_ns, on_timeout);
}

/* Takes the wait out of everything that refers to it. */
static void release(lp__wait_t *wait)
{
    wait->parked = false;
    lp__list_remove(&wait->link);
    if (wait->ctx->rt) {
        clear_limit(wait);
        if (wait->task.run)
            lp__runtime_undefer(&wait->task);
    }
    lp__scope_release(wait->scope);
    wait->scope = NULL;
}

/* Tells the source that nobody will take what it has or will have. */
static void give_up(lp__wait_t *wait)
{
    void (*tell)(lp__wait_t *) = wait->ended ? wait->discard : wait->withdraw;
    wait->withdraw = wait->discard = NULL;
    if (tell)
        tell(wait);
}

void lp__wait_abandon(lp__wait_t *wait)
{
    release(wait);
    give_up(wait);
}

/* Nobody refers to the wait any more. */
static void free_anchors(lua_State *L, lp__wait_t *wait)
{
    lp__anchor_free(L, wait->ctx, wait->anchor);
    lp__anchor_free(L, wait->ctx, wait->error);
    wait->anchor = wait->error = 0;
}

/* __close of a wait. Closing while parked means that the coroutine is closed. */
static int wait_close(lua_State *L)
{
    lp__wait_t *wait = lua_touserdata(L, 1);
    bool was_parked = wait->parked;
    if (was_parked)
        lp__wait_abandon(wait);
    free_anchors(L, wait);
    if (!was_parked || wait->resumed)
        return 0;
    wait->ctx->some_closed = true;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &closing_key) == LUA_TTABLE) {
        lua_pushthread(L);
        lua_pushboolean(L, 1);
        lua_rawset(L, -3);
    }
    return 0;
}

void lp__wait_abandon_all(lp__context_t *ctx)
{
    while (!lp__list_empty(&ctx->parked))
        lp__wait_abandon(LP__CONTAINER(ctx->parked.next, lp__wait_t, link));
}

void lp__wait_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg none[] = {{NULL, NULL}};
    /* No __gc: what is parked is anchored, or on the stack of whoever drives or resumes it. */
    static const luaL_Reg meta[] = {{"__close", wait_close}, {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_WAIT, "leasepool.wait", none, NULL, meta);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &closing_key);
}

int lp__wait_park(lua_State *L, lp__wait_t *wait, lua_KFunction k)
{
    int index = lua_gettop(L);
    wait->scope = wait->ctx->scope;
    lp__scope_retain(wait->scope);
    wait->parked = true;
    lp__list_push_back(&wait->ctx->parked, &wait->link);
    if (wait->in_slot)
        return lua_yieldk(L, 0, (lua_KContext)index, k);
    if (!wait->ended)
        lp__drive(L, wait->ctx, wait);
    return k(L, LUA_OK, (lua_KContext)index);
}

static int take_room(lua_State *L)
{
    (void)L;
    return 0;
}

bool lp__wait_ended(lua_State *L, int index)
{
    lp__wait_t *wait = lua_touserdata(L, index);
    bool ended = wait->ended, cancelled = wait->error != 0;
    wait->resumed = true;
    if (wait->in_slot) { /* closing needs room for a call: should there be none, raise here, */
        lua_pushcfunction(L, take_room); /* while closing still gives back what came */
        lua_call(L, 0, 0);
    }
    if (cancelled)
        lp__anchor_push(L, wait->ctx, wait->error);
    free_anchors(L, wait); /* of the thread still: a stranger resumed it */
    if (ended) {
        release(wait);
        wait->discard = NULL; /* the continuation has it */
    } else {
        lp__wait_abandon(wait);
    }
    if (wait->in_slot) {
        /* Closed here and not by lua_settop, which in Lua 5.4.4 goes on with a stale stack
         * when closing has moved it. */
        lua_pushvalue(L, index);
        lua_closeslot(L, index);
        lua_replace(L, index);
    }
    if (cancelled)
        lua_error(L);
    if (!ended)
        luaL_error(L, "leasepool: this coroutine waits for leasepool and was resumed by "
                      "something else");
    return !wait->timed_out;
}

/* ---- Waking ------------------------------------------------------------------- */

int lp__resume(lp__context_t *ctx, lua_State *co, lp__scope_t *scope, int nargs)
{
    lua_State *L = ctx->turn_L ? ctx->turn_L : ctx->L;
    lp__scope_t *outer = ctx->scope;
    ctx->scope = scope;
    lp__scope_retain(scope);
    int nresults;
    int status = ctx->running ? lp__running_resume(ctx->running, co, L, nargs, &nresults)
                              : lua_resume(co, L, nargs, &nresults);
    lp__scope_release(scope);
    ctx->scope = outer;
    if (status == LUA_YIELD || status == LUA_OK)
        lua_pop(co, nresults); /* values for nobody: the resumer is the loop */
    return status;
}

static void resume_parked(lp__task_t *task)
{
    lp__wait_t *wait = LP__CONTAINER(task, lp__wait_t, task);
    lp__context_t *ctx = wait->ctx;
    if (ctx->closed) /* the state closes: no Lua code runs any more */
        return;
    lua_State *L = ctx->turn_L ? ctx->turn_L : ctx->L;
    lp__anchor_push(L, ctx, wait->anchor); /* both stay on L's stack while it runs */
    lua_getiuservalue(L, -1, 1);
    lp__anchor_free(L, ctx, wait->anchor);
    wait->anchor = 0;
    lua_State *co = lua_tothread(L, -1);
    int status = lp__resume(ctx, co, wait->scope, 0);
    if (status != LUA_OK && status != LUA_YIELD) {
        /* A coroutine that leasepool did not start: there is no one to raise this to. */
        lua_xmove(co, L, 1);
        lp__log_error(ctx, NULL, L, "a coroutine that leasepool resumed", co);
        lua_resetthread(co);
    }
    if (wait->parked) /* without memory for its continuation, or for closing it */
        lp__wait_abandon(wait);
    lua_pop(L, 2);
}

void lp__wait_wake(lp__wait_t *wait)
{
    wait->ended = true;
    wait->withdraw = NULL;
    clear_limit(wait);
    if (wait->anchor != 0)
        lp__runtime_defer(wait->ctx->rt, &wait->task, resume_parked);
}

void lp__wait_cancel(lua_State *L, lp__wait_t *wait)
{
    int error = lp__anchor(L, wait->ctx);
    lp__anchor_free(L, wait->ctx, wait->error); /* of an earlier cancellation, not yet raised */
    wait->error = error;
    bool woken = wait->ended;
    give_up(wait);
    if (!woken)
        lp__wait_wake(wait);
}

lp__wait_t *lp__wait_of(lp__context_t *ctx, lua_State *co)
{
    if (lua_status(co) != LUA_YIELD || lua_gettop(co) == 0)
        return NULL;
    lp__wait_t *wait = lp__context_test(co, ctx, -1, LP__TYPE_WAIT);
    return wait && wait->parked ? wait : NULL;
}
