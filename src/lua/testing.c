/* testing.c - the seams through which specs drive time, failures and order.
 *
 * `require("leasepool.core").testing`; no part of the API. Gates are the way to make a job
 * wait for the spec, and the spec for the job, without sleeping: process-wide, guarded by
 * one lock, so that they work from every state. */
#include <lauxlib.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "lua/codec.h"
#include "lua/context.h"
#include "lua/module.h"

int lp__codec_testing_open(lua_State *L);

/* ---- Gates -------------------------------------------------------------------- */

enum { GATES = 4096 };

static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t lock;
static uv_cond_t changed;
static struct {
    bool open;
    int arrived; /* calls of gate_pass so far */
    int inside;  /* of them those that wait */
} gates[GATES];  /* under lock */
static int gate_count;
static lua_Integer arrivals; /* at all gates; under lock */
static int insiders;         /* of all gates; under lock */

static void init_gates(void)
{
    if (uv_mutex_init(&lock) != 0 || uv_cond_init(&changed) != 0)
        abort();
}

static int check_gate(lua_State *L)
{
    lua_Integer gate = luaL_checkinteger(L, 1);
    luaL_argcheck(L, gate >= 0 && gate < GATES, 1, "no gate");
    return (int)gate;
}

static int gate_new(lua_State *L)
{
    uv_mutex_lock(&lock);
    int gate = gate_count++ % GATES;
    memset(&gates[gate], 0, sizeof gates[gate]);
    uv_mutex_unlock(&lock);
    lua_pushinteger(L, gate);
    return 1;
}

/* Waits for the gate to be open. For jobs. Returns the number of this arrival: the how many-th
 * at any gate of this process. */
static int gate_pass(lua_State *L)
{
    int gate = check_gate(L);
    uv_mutex_lock(&lock);
    lua_Integer arrival = ++arrivals;
    gates[gate].arrived++;
    if (!gates[gate].open) {
        gates[gate].inside++;
        insiders++;
    }
    uv_cond_broadcast(&changed);
    while (!gates[gate].open)
        uv_cond_wait(&changed, &lock);
    uv_mutex_unlock(&lock);
    lua_pushinteger(L, arrival);
    return 1;
}

static int gate_open(lua_State *L)
{
    int gate = check_gate(L);
    uv_mutex_lock(&lock);
    gates[gate].open = true;
    insiders -= gates[gate].inside; /* they go on from here, whenever their threads get to it */
    gates[gate].inside = 0;
    uv_cond_broadcast(&changed);
    uv_mutex_unlock(&lock);
    return 0;
}

/* How many came to any gate so far, and how many wait at one now. */
static int gate_counts(lua_State *L)
{
    uv_mutex_lock(&lock);
    lua_pushinteger(L, arrivals);
    lua_pushinteger(L, insiders);
    uv_mutex_unlock(&lock);
    return 2;
}

/* Waits until so many calls of gate_pass have come, at most 20 s; true when they have. */
static int gate_await(lua_State *L)
{
    int gate = check_gate(L);
    int count = (int)luaL_optinteger(L, 2, 1);
    uint64_t deadline = uv_hrtime() + 20 * LP_SECOND;
    uv_mutex_lock(&lock);
    while (gates[gate].arrived < count) {
        uint64_t now = uv_hrtime();
        if (now >= deadline || uv_cond_timedwait(&changed, &lock, deadline - now) != 0)
            break;
    }
    bool came = gates[gate].arrived >= count;
    uv_mutex_unlock(&lock);
    lua_pushboolean(L, came);
    return 1;
}

/* Lets other threads run. */
static int give_way(lua_State *L)
{
    (void)L;
    sched_yield();
    return 0;
}

/* ---- Time and failures -------------------------------------------------------- */

/* Stops the clock of this state's runtime, or moves it on by so many seconds. */
static int clock_advance(lua_State *L)
{
    lp__context_t *ctx = lp__context_get(L);
    lp_runtime_t *rt = lp__context_runtime(L, ctx);
    uint64_t step_ns = (uint64_t)(luaL_optnumber(L, 1, 0) * 1e9);
    lp__clock_set_manual(&rt->clock, lp__clock_now_ns(&rt->clock) + step_ns);
    return 0;
}

static lp__mem_t check_component(lua_State *L)
{
    static const char *const names[] = {"core", "wire", "binding", "state", NULL};
    return (lp__mem_t)luaL_checkoption(L, 1, NULL, names);
}

/* fail_allocation(component, role, nth): nth = 0 disarms. */
static int fail_allocation(lua_State *L)
{
    static const char *const roles[] = {"loop", "worker", NULL};
    lp__mem_t who = check_component(L);
    lp__role_t role = (lp__role_t)luaL_checkoption(L, 2, NULL, roles);
    lp__alloc_fault_arm(who, role, (uint64_t)luaL_checkinteger(L, 3));
    return 0;
}

static int allocations_seen(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)lp__alloc_fault_seen());
    return 1;
}

static int fail_thread(lua_State *L)
{
    lp__thread_fault_arm((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

/* Runs turns until nothing is due; true when anything ran. Not from inside a turn. */
static int turn(lua_State *L)
{
    lp__context_t *ctx = lp__context_get(L);
    lp_runtime_t *rt = lp__context_runtime(L, ctx);
    luaL_argcheck(L, !rt->in_turn, 1, "already in a turn");
    lua_State *outer = ctx->turn_L;
    ctx->turn_L = L;
    bool any = lp__runtime_turn(rt);
    ctx->turn_L = outer;
    lua_pushboolean(L, any);
    return 1;
}

void lp__testing_push(lua_State *L)
{
    static const luaL_Reg functions[] = {{"gate", gate_new},
                                         {"gate_pass", gate_pass},
                                         {"gate_open", gate_open},
                                         {"gate_counts", gate_counts},
                                         {"give_way", give_way},
                                         {"gate_await", gate_await},
                                         {"clock_advance", clock_advance},
                                         {"fail_allocation", fail_allocation},
                                         {"allocations_seen", allocations_seen},
                                         {"fail_thread", fail_thread},
                                         {"turn", turn},
                                         {NULL, NULL}};
    uv_once(&once, init_gates);
    luaL_newlib(L, functions);
    lp__codec_testing_open(L);
    lua_setfield(L, -2, "codec");
}
