/* attach.c - what adapters to other loops need: a descriptor, a time, and a step. Loop thread.
 *
 * attach(fn) calls fn(true) when somebody begins to wait for something, a job or a timer, and
 * fn(false) when nobody does any more: the other loop is kept alive meanwhile. While a loop is
 * attached nobody drives ours from the main thread: what would wait there is refused. */
#include "lua/attach.h"

#include <lauxlib.h>

#include "lua/errors.h"
#include "lua/log.h"

static const char callback_key; /* the function */

/* In the middle of other calls: on a thread of its own, and nothing is raised. */
static void on_alive(void *data, bool alive)
{
    lp__context_t *ctx = data;
    lua_State *L = ctx->calls_L;
    if (ctx->closed || !lua_checkstack(L, 8))
        return;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &callback_key);
    lua_pushboolean(L, alive);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lp__log_error(ctx, NULL, L, "the adapter to another loop", NULL);
}

static int attach(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_runtime_t *rt = lp__context_runtime(L, ctx);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (ctx->attached)
        return lp__error_raise(L, LP_EINVAL,
                               "leasepool: a loop is attached already; detach it first");
    if (ctx->driving)
        return lp__error_raise(L, LP_EWOULDBLOCK,
                               "leasepool: a loop cannot be attached while leasepool's own runs");
    lua_settop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &callback_key);
    ctx->attached = true;
    lp__runtime_attach(rt, on_alive, ctx);
    lua_pushboolean(L, rt->holds > 0);
    return 1;
}

static int detach(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    if (ctx->attached && ctx->rt)
        lp__runtime_attach(ctx->rt, NULL, NULL);
    ctx->attached = false;
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &callback_key);
    return 0;
}

/* The descriptor that is readable when there is something to do. */
static int get_fd(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__context_runtime(L, ctx);
    lua_pushinteger(L, uv_backend_fd(&ctx->loop));
    return 1;
}

/* Seconds until there is something to do, whatever the descriptor says; nil: for ever. */
static int get_timeout(lua_State *L)
{
    lp_runtime_t *rt = lp__context_runtime(L, LP__CONTEXT(L));
    uint64_t next_ns = lp__runtime_tell_next_ns(rt), now_ns = lp__clock_now_ns(&rt->clock);
    if (next_ns == LP_FOREVER)
        return 0;
    lua_pushnumber(L, next_ns > now_ns ? (lua_Number)(next_ns - now_ns) / 1e9 : 0.0);
    return 1;
}

/* Does what there is to do, for a few milliseconds at most, and does not wait. */
static int step(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_runtime_t *rt = lp__context_runtime(L, ctx);
    lua_State *outer_turn = ctx->turn_L;
    if (ctx->driving || rt->in_turn)
        return lp__error_raise(L, LP_EWOULDBLOCK,
                               "leasepool.step: leasepool's own loop is running: this is a "
                               "callback of it");
    ctx->turn_L = L;
    uv_run(&ctx->loop, UV_RUN_NOWAIT);
    lp__runtime_turn(rt);
    ctx->turn_L = outer_turn;
    return 0;
}

void lp__attach_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg functions[] = {{"attach", attach}, {"detach", detach},
                                         {"fd", get_fd},     {"timeout", get_timeout},
                                         {"step", step},     {NULL, NULL}};
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
