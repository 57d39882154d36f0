/* testing.c - the seams through which specs drive time, failures and order.
 *
 * `require("leasepool.core").testing`; no part of the API. The gates are in gates.c. */
#include <lauxlib.h>
#include <sched.h>

#include "base/alloc.h"
#include "base/thread.h"
#include "core/interrupt.h"
#include "core/manager.h"
#include "core/worker.h"
#include "lua/codec.h"
#include "lua/context.h"
#include "lua/gates.h"
#include "lua/module.h"

int lp__codec_testing_open(lua_State *L);

/* Lets other threads run. */
static int give_way(lua_State *L)
{
    (void)L;
    sched_yield();
    return 0;
}

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
    if (rt->watched > 0) /* what children say comes through libuv */
        uv_run(&ctx->loop, UV_RUN_NOWAIT);
    bool any = lp__runtime_turn(rt);
    ctx->turn_L = outer;
    lua_pushboolean(L, any);
    return 1;
}

typedef struct {
    lua_Integer asked, lost, leaving, taking;
} unrest_t;

static void count_executor(unrest_t *unrest, lp__executor_t *executor)
{
    uint64_t queued = lp__queue_length(&executor->queue), running = executor->in_flight - queued;
    for (lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next)
        unrest->asked += lp__interrupt_stands(LP__CONTAINER(at, lp__worker_t, link));
    unrest->lost += executor->lost_count;
    unrest->leaving += executor->ending && executor->in_flight + executor->lost_count == 0;
    unrest->taking += queued > 0 && running < executor->max_workers - executor->lost_count;
}

/* What threads are about to do, whoever's: how many workers were asked to stop and have not, how
 * many were given up and are not back; how many executors are about to end, and how many have jobs
 * that a worker is about to take. */
static int unrest(lua_State *L)
{
    lp_runtime_t *rt = lp__context_runtime(L, lp__context_get(L));
    unrest_t sum = {0};
    for (lp__list_t *at = rt->managers.next; at != &rt->managers; at = at->next) {
        lp_manager_t *manager = LP__CONTAINER(at, lp_manager_t, link);
        for (lp__list_t *e = manager->executors.next; e != &manager->executors; e = e->next)
            count_executor(&sum, LP__CONTAINER(e, lp__executor_t, all_link));
    }
    lua_pushinteger(L, sum.asked);
    lua_pushinteger(L, sum.lost);
    lua_pushinteger(L, sum.leaving);
    lua_pushinteger(L, sum.taking);
    return 4;
}

void lp__testing_push(lua_State *L)
{
    static const luaL_Reg functions[] = {{"give_way", give_way},
                                         {"clock_advance", clock_advance},
                                         {"fail_allocation", fail_allocation},
                                         {"allocations_seen", allocations_seen},
                                         {"fail_thread", fail_thread},
                                         {"turn", turn},
                                         {"unrest", unrest},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lp__gates_open(L);
    lp__codec_testing_open(L);
    lua_setfield(L, -2, "codec");
}
