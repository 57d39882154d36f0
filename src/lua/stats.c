/* stats.c - manager:stats(). Loop thread. */
#include <lauxlib.h>

#include "base/atomics.h"
#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"
#include "lua/errors.h"
#include "lua/objects.h"

static void set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void set_seconds(lua_State *L, const char *name, double ns)
{
    lua_pushnumber(L, ns / 1e9);
    lua_setfield(L, -2, name);
}

static void set_durations(lua_State *L, const char *name, const lp_durations_t *durations)
{
    lua_createtable(L, 0, 6);
    set_integer(L, "count", (int64_t)durations->count);
    set_seconds(L, "mean", (double)durations->mean_ns);
    set_seconds(L, "p50", (double)durations->p50_ns);
    set_seconds(L, "p90", (double)durations->p90_ns);
    set_seconds(L, "p99", (double)durations->p99_ns);
    set_seconds(L, "max", (double)durations->max_ns);
    lua_setfield(L, -2, name);
}

static void set_counters(lua_State *L, const lp_manager_stats_t *stats)
{
    const struct {
        const char *name;
        uint64_t count;
    } counters[] = {
        {"acquired", stats->acquired},
        {"released", stats->released},
        {"expired", stats->expired},
        {"broken", stats->broken},
        {"stopped", stats->stopped},
        {"leaked", stats->leaked},
        {"timeouts", stats->timeouts},
        {"rejected", stats->rejected},
        {"jobs", stats->jobs},
        {"done", stats->done},
        {"failed", stats->failed},
        {"cancelled", stats->cancelled},
        {"interrupted", stats->interrupted},
        {"killed", stats->killed},
        {"created", stats->created},
        {"retired", stats->retired},
    };
    enum { COUNTERS = sizeof counters / sizeof *counters };
    lua_createtable(L, 0, COUNTERS);
    for (size_t i = 0; i < COUNTERS; i++)
        set_integer(L, counters[i].name, (int64_t)counters[i].count);
    lua_setfield(L, -2, "counters");
}

/* Appends a lease to the list at the top. */
static void push_lease(lua_State *L, lp_lease_t *lease, double now_ns)
{
    int64_t queued, running;
    lp_lease_jobs(lease, &queued, &running);
    lua_createtable(L, 0, 7);
    set_integer(L, "lease_id", (int64_t)lease->id);
    lua_pushstring(L, lease->owner);
    lua_setfield(L, -2, "owner");
    lua_pushstring(L, lp__lease_state_name(lease->state));
    lua_setfield(L, -2, "state");
    set_seconds(L, "seconds_until_soft_expiry", (double)lease->soft_ns - now_ns);
    set_seconds(L, "seconds_until_hard_expiry", (double)lp__load_relaxed(&lease->hard_ns) - now_ns);
    set_integer(L, "queued", queued);
    set_integer(L, "running", running);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* Protected. Stack: the manager. Returns the list. */
static int list_leases(lua_State *L)
{
    lp_manager_t *manager = lua_touserdata(L, 1);
    double now_ns = (double)lp__clock_now_ns(&manager->rt->clock);
    lua_newtable(L);
    for (lp__list_t *at = manager->leases.next; at != &manager->leases; at = at->next) {
        lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        if (lease->state != LP_LEASE_CLOSED)
            push_lease(L, lease, now_ns);
    }
    return 1;
}

/* No finalizer runs meanwhile: it might close a lease on which the walk stands. */
static void set_leases(lua_State *L, lp_manager_t *manager)
{
    bool collecting = lua_gc(L, LUA_GCISRUNNING) != 0;
    lua_pushcfunction(L, list_leases);
    lua_pushlightuserdata(L, manager);
    lua_gc(L, LUA_GCSTOP);
    int status = lua_pcall(L, 1, 1, 0);
    if (collecting)
        lua_gc(L, LUA_GCRESTART);
    if (status != LUA_OK)
        lua_error(L);
    lua_setfield(L, -2, "leases");
}

/* What another thread is told: all but the leases. */
int lp__manager_push_stats(lua_State *L, const lp_manager_stats_t *stats)
{
    lua_createtable(L, 0, 18);
    lua_pushstring(L, stats->backend);
    lua_setfield(L, -2, "backend");
    set_integer(L, "max_pools", stats->max_pools);
    set_integer(L, "min_pools", stats->min_pools);
    set_integer(L, "workers_per_pool", stats->workers_per_pool);
    set_integer(L, "desired", stats->desired);
    set_integer(L, "available", stats->available);
    set_integer(L, "leased", stats->leased);
    set_integer(L, "total", stats->total);
    set_integer(L, "retiring", stats->retiring);
    set_integer(L, "waiters", stats->waiters);
    set_integer(L, "live", stats->live);
    set_integer(L, "queued", stats->queued);
    set_integer(L, "running", stats->running);
    set_counters(L, stats);
    lua_createtable(L, 0, 3);
    set_durations(L, "wait", &stats->wait);
    set_durations(L, "hold", &stats->hold);
    set_durations(L, "run", &stats->run);
    lua_setfield(L, -2, "times");
    return 1;
}

int lp__manager_stats(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_check(L, ctx, "manager:stats");
    lp_manager_stats_t stats;
    int rc = lp_manager_stats(manager, &stats);
    if (rc != 0)
        return lp__error_raise(L, rc, "manager:stats: %s", lp_strerror(rc));
    lp__manager_push_stats(L, &stats);
    set_leases(L, manager);
    return 1;
}
