/* drive.c - running the loop from a blocked call of the main thread.
 *
 * The runtime's private loop has nothing but leasepool's own handles, and its turns fire
 * deadlines themselves; so libuv only has to be asked (without blocking) when its backend
 * descriptor is readable.
 *
 * Ctrl-C: lua5.4's SIGINT handler sets a hook on the main thread, which fires at the next
 * Lua instruction. There is none while C code sleeps: so after every turn and every
 * sleep a hook gets one (any hook: a debugger's does not mind). Signals are blocked between the
 * last look and the sleep, which unblocks them: none is missed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* ppoll */
#endif
#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "lua/errors.h"
#include "lua/wait.h"

static const char tick_key; /* an empty Lua function */

/* Executes one Lua instruction on the main thread, in which a hook of it may raise. 0 or the
 * error's status, with the error at the top of `L`. */
static int tick(lp__context_t *ctx, lua_State *L)
{
    lua_State *main = ctx->L;
    if (lua_rawgetp(main, LUA_REGISTRYINDEX, &tick_key) != LUA_TFUNCTION) {
        lua_pop(main, 1);
        if (luaL_loadstring(main, "return") == LUA_OK) {
            lua_pushvalue(main, -1);
            lua_rawsetp(main, LUA_REGISTRYINDEX, &tick_key);
        }
    }
    int status = lua_pcall(main, 0, 0, 0);
    if (status != LUA_OK && main != L)
        lua_xmove(main, L, 1);
    return status;
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

/* Sleeps until the loop has something to do or a signal came; true when libuv has. A hook
 * other than `known` on the main thread is a signal that came already. */
static bool sleep_on(lp__context_t *ctx, lua_Hook known)
{
    lp_runtime_t *rt = ctx->rt;
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &mask);
    uint64_t next_ns = lp__runtime_next_ns(rt);
    bool awake = lua_gethook(ctx->L) != known;
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

/* Where child processes are watched, also at what the loop watches: their answers come there. */
static bool look_for_work(void *data)
{
    lp__context_t *ctx = data;
    struct pollfd pfd = {.fd = uv_backend_fd(&ctx->loop), .events = POLLIN};
    return lp__inbox_ready(ctx->rt->inbox) || (ctx->rt->watched > 0 && poll(&pfd, 1, 0) > 0);
}

/* Waits for something to do, at first (if that paid lately) with open eyes: then workers
 * need not wake this thread. */
static void wait_for_work(lp__context_t *ctx, lua_Hook known)
{
    lp__inbox_t *inbox = ctx->rt->inbox;
    if (ctx->rt->new_watches) {
        ctx->rt->new_watches = false;
        uv_run(&ctx->loop, UV_RUN_NOWAIT);
        return;
    }
    uint64_t began_ns = uv_hrtime();
    bool found = false;
    if (lp__spin_allowed(&ctx->spin)) {
        lp__inbox_poll_begin(inbox);
        found = lp__spin(look_for_work, ctx);
        lp__inbox_poll_end(inbox);
    }
    if (found ? ctx->rt->watched > 0 : sleep_on(ctx, known))
        uv_run(&ctx->loop, UV_RUN_NOWAIT);
    lp__spin_learn(&ctx->spin, uv_hrtime() - began_ns);
}

/* Nothing is under way that could end a wait: no job, no waiter, no wait with a limit (all of
 * these hold the runtime), and nothing that could call user code. Deadlines say nothing: there
 * are always some, of size checks and leases. */
static bool is_hopeless(lp_runtime_t *rt)
{
    return rt->holds == 0 && rt->hopes == 0 && lp__runtime_next_ns(rt) != 0;
}

void lp__drive(lua_State *L, lp__context_t *ctx, lp__wait_t *wait)
{
    lua_State *outer_turn = ctx->turn_L;
    ctx->turn_L = L;
    ctx->driving = true;
    int status = LUA_OK;
    bool hopeless = false;
    while (!wait->ended && !hopeless) {
        bool any = lp__runtime_turn(ctx->rt);
        if (lua_gethook(ctx->L) && (status = tick(ctx, L)) != LUA_OK)
            break;
        if (any && ctx->rt->watched > 0) /* turns that always find something must not hide it */
            uv_run(&ctx->loop, UV_RUN_NOWAIT);
        if (any || wait->ended)
            continue;
        hopeless = is_hopeless(ctx->rt);
        if (!hopeless)
            wait_for_work(ctx, lua_gethook(ctx->L));
    }
    ctx->driving = false;
    ctx->turn_L = outer_turn;
    if (status == LUA_OK && !hopeless)
        return;
    lp__wait_abandon(wait);
    if (hopeless)
        lp__error_push(L, LP_EWOULDBLOCK,
                       "leasepool: this wait would never end: no job, no timer and no other "
                       "waiter is left that could end it");
    lua_error(L);
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
            sleep_on(ctx, lua_gethook(ctx->L));
    }
    ctx->turn_L = outer_turn;
}
