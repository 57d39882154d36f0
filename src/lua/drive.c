/* drive.c - running the loop from a blocked call of the main thread.
 *
 * The runtime's private loop has nothing but leasepool's own handles, and its turns fire
 * deadlines themselves; so libuv only has to be asked (without blocking) when its backend
 * descriptor is readable.
 *
 * Ctrl-C: lua5.4's SIGINT handler sets a hook on the main thread, which fires at the next
 * Lua instruction. There is none while C code sleeps: so after every turn and every
 * sleep a hook gets one. Signals are blocked between the last look and the sleep, which
 * unblocks them: none is missed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* ppoll */
#endif
#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "lua/wait.h"

static const char tick_key; /* an empty Lua function */

/* Executes one Lua instruction, in which a hook may raise. 0 or the error's status, with
 * the error on the stack. */
static int tick(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &tick_key) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        if (luaL_loadstring(L, "return") != LUA_OK)
            return LUA_ERRMEM;
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &tick_key);
    }
    return lua_pcall(L, 0, 0, 0);
}

static int poll_until(int fd, uint64_t wait_ns, const sigset_t *mask)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    struct timespec limit, *timeout = NULL;
    if (wait_ns != LP_FOREVER) {
        limit.tv_sec = (time_t)(wait_ns / LP_SECOND);
        limit.tv_nsec = (long)(wait_ns % LP_SECOND);
        timeout = &limit;
    }
#if defined(__APPLE__) /* no ppoll: a signal in this gap waits for the next event */
    pthread_sigmask(SIG_SETMASK, mask, NULL);
    int timeout_ms = timeout ? (int)(wait_ns / LP_MILLISECOND) + 1 : -1;
    return poll(&pfd, 1, timeout_ms);
#else
    return ppoll(&pfd, 1, timeout, mask);
#endif
}

/* Sleeps until the loop has something to do or a signal came; true when libuv has. */
static bool sleep_on(lp__context_t *ctx, lua_State *hooked)
{
    lp_runtime_t *rt = ctx->rt;
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &mask);
    uint64_t next_ns = lp__runtime_next_ns(rt);
    bool awake = hooked && lua_gethook(hooked) != NULL;
    int ready = 0;
    if (next_ns != 0 && !awake) {
        uint64_t now_ns = lp__clock_now_ns(&rt->clock), wait_ns = LP_FOREVER;
        if (next_ns != LP_FOREVER)
            wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
        ready = poll_until(uv_backend_fd(&ctx->loop), wait_ns, &mask);
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    return ready > 0;
}

static bool look_at_inbox(void *inbox)
{
    return lp__inbox_ready(inbox);
}

/* Waits for something to do, at first (if that paid lately) with open eyes: then workers
 * need not wake this thread. */
static void wait_for_work(lp__context_t *ctx)
{
    lp__inbox_t *inbox = ctx->rt->inbox;
    uint64_t began_ns = uv_hrtime();
    bool found = false;
    if (lp__spin_allowed(&ctx->spin)) {
        lp__inbox_poll_begin(inbox);
        found = lp__spin(look_at_inbox, inbox);
        lp__inbox_poll_end(inbox);
    }
    if (!found && sleep_on(ctx, ctx->L))
        uv_run(&ctx->loop, UV_RUN_NOWAIT);
    lp__spin_learn(&ctx->spin, uv_hrtime() - began_ns);
}

void lp__drive(lua_State *L, lp__context_t *ctx, lp__wait_t *wait)
{
    luaL_checkstack(L, 10, "driving the loop");
    lua_State *outer_turn = ctx->turn_L;
    ctx->turn_L = L;
    ctx->driving = true;
    int status = LUA_OK;
    while (!wait->ended) {
        bool any = lp__runtime_turn(ctx->rt);
        if (lua_gethook(ctx->L) && (status = tick(L)) != LUA_OK)
            break;
        if (!any && !wait->ended)
            wait_for_work(ctx);
    }
    ctx->driving = false;
    ctx->turn_L = outer_turn;
    if (status != LUA_OK) {
        if (wait->withdraw)
            wait->withdraw(wait);
        wait->withdraw = NULL;
        wait->parked = false;
        lp__runtime_clear_deadline(ctx->rt, &wait->deadline);
        lua_error(L);
    }
}

void lp__drive_until(lp__context_t *ctx, const bool *flag)
{
    lua_State *outer_turn = ctx->turn_L;
    ctx->turn_L = ctx->L;
    for (;;) {
        bool any = lp__runtime_turn(ctx->rt);
        uv_run(&ctx->loop, UV_RUN_NOWAIT); /* lets go of closed handles, at last of the runtime */
        if (*flag)
            break;
        if (!any)
            sleep_on(ctx, NULL);
    }
    ctx->turn_L = outer_turn;
}
