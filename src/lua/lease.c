/* lease.c - the lease as scripts see it: fields, renewal, release, collection. Loop thread.
 *
 * A lease is found by its number when its soft expiry must be told: in a table of the registry
 * with weak values, so that a lease that nobody holds is collected as ever. */
#include "core/lease.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <string.h>

#include "base/atomics.h"
#include "core/runtime.h"
#include "lua/errors.h"
#include "lua/log.h"
#include "lua/objects.h"
#include "lua/seconds.h"

typedef struct {
    lp_lease_t *lease;
} handle_t;

/* The user values of its userdata. It keeps the handle of its manager: were that collected first,
 * what the manager calls would be anchored, and might refer to the lease. Where the manager wants
 * tracebacks, the first is a list of it and of where the lease was acquired. */
enum { MANAGER = 1, ON_SOFT_EXPIRY, EXECUTOR, USER_VALUES = EXECUTOR };

static const char by_id_key; /* leases with a soft-expiry callback */

static const char *const state_names[] = {"ACTIVE",  "GRACE",  "DRAINING",
                                          "EXPIRED", "BROKEN", "CLOSED"};

const char *lp__lease_state_name(lp_lease_state_t state)
{
    return state_names[state];
}

lp_lease_t **lp__lease_new(lua_State *L, lp__context_t *ctx)
{
    handle_t *handle = lp__context_new(L, ctx, LP__TYPE_LEASE, sizeof *handle, USER_VALUES);
    return &handle->lease;
}

lp_lease_t *lp__lease_at(lua_State *L, lp__context_t *ctx, int index)
{
    handle_t *handle = lua_touserdata(L, index);
    return ctx->closed ? NULL : handle->lease;
}

lp_lease_t *lp__lease_check(lua_State *L, lp__context_t *ctx, const char *what)
{
    lp__context_check(L, ctx, 1, LP__TYPE_LEASE, what);
    lp_lease_t *lease = lp__lease_at(L, ctx, 1);
    if (!lease)
        lp__error_raise(L, LP_EEXPIRED, "%s: the lease was collected", what);
    return lease;
}

/* ---- Soft expiry -------------------------------------------------------------- */

void lp__lease_soft_expired(lp_lease_t *lease, void *data)
{
    lp__context_t *ctx = data;
    lua_State *L = ctx->calls_L;
    if (ctx->closed)
        return;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &by_id_key);
    lua_rawgeti(L, -1, (lua_Integer)lease->id);
    if (lua_isnil(L, -1)) { /* not adopted yet: told when it is */
        lease->soft_told = false;
        lua_pop(L, 2);
        return;
    }
    lua_getiuservalue(L, -1, ON_SOFT_EXPIRY);
    lua_replace(L, -3);
    lp__context_call(ctx, lp__log_of(lease->manager), 1, "on_soft_expiry");
}

static void keep_callback(lua_State *L, lp_lease_t *lease, int handle, int options)
{
    lua_getfield(L, options, "on_soft_expiry");
    lua_setiuservalue(L, handle, ON_SOFT_EXPIRY);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &by_id_key);
    lua_pushvalue(L, handle);
    lua_rawseti(L, -2, (lua_Integer)lease->id);
    lua_pop(L, 1);
    lp__lease_tell_soft_expiry(lease);
}

void lp__lease_adopt(lua_State *L, lp__context_t *ctx, int index, int options)
{
    (void)ctx;
    handle_t *handle = lua_touserdata(L, index);
    lua_pushvalue(L, 1);
    if (lp__manager_wants_traceback(L)) {
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        luaL_traceback(L, L, NULL, 1);
        lua_rawseti(L, -2, 2);
    }
    lua_setiuservalue(L, index, MANAGER);
    if (handle->lease->on_soft_expiry)
        keep_callback(L, handle->lease, index, options);
}

/* ---- Methods ------------------------------------------------------------------ */

static int lease_renew(lua_State *L)
{
    lp_lease_t *lease = lp__lease_check(L, LP__CONTEXT(L), "lease:renew");
    uint64_t length_ns =
        lua_isnoneornil(L, 2) ? 0 : lp__seconds_positive(L, 2, "lease:renew", "seconds");
    int rc = lp_lease_renew(lease, length_ns);
    if (rc == LP_EEXPIRED)
        return lp__error_raise(L, rc, "lease:renew: lease %I: %s", (lua_Integer)lease->id,
                               lp_lease_reason(lease));
    return rc == 0 ? 0 : lp__error_raise(L, rc, "lease:renew: %s", lp_strerror(rc));
}

static int lease_release(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, "lease:release");
    if (!ctx->closed && handle->lease)
        lp_release(handle->lease);
    return 0;
}

/* Stack: the lease. */
static void warn_of_leak(lua_State *L, lp__context_t *ctx, const lp_lease_t *lease)
{
    const char *traceback = NULL;
    if (lua_getiuservalue(L, 1, MANAGER) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 2);
        traceback = lua_tostring(L, -1);
    }
    lp__log_lease(ctx, lease, LP__WARN,
                  "lease %" PRIu64
                  " (owner: %s) was collected unreleased; use `local lease <close>`, or "
                  "call release%s%s",
                  lease->id, lease->owner ? lease->owner : "none",
                  traceback ? "\nacquired at: " : "", traceback ? traceback : "");
}

static int lease_gc(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lua_touserdata(L, 1);
    lp_lease_t *lease = handle->lease;
    handle->lease = NULL;
    if (!lease || ctx->closed)
        return 0;
    if (lp__lease_is_open(lease))
        warn_of_leak(L, ctx, lease);
    lp__lease_leak(lease);
    return 0;
}

/* ---- Fields ------------------------------------------------------------------- */

static lua_Number seconds(uint64_t ns)
{
    return (lua_Number)ns / 1e9;
}

static int lease_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(2)) != LUA_TNIL)
        return 1;
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_lease_t *lease = lp__lease_check(L, ctx, "lease");
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "lease_id") == 0)
        lua_pushinteger(L, (lua_Integer)lease->id);
    else if (strcmp(name, "owner") == 0)
        lua_pushstring(L, lease->owner);
    else if (strcmp(name, "state") == 0)
        lua_pushstring(L, state_names[lp__lease_look(lease)]);
    else if (strcmp(name, "lease_seconds") == 0)
        lua_pushnumber(L, seconds(lease->length_ns));
    else if (strcmp(name, "grace_seconds") == 0)
        lua_pushnumber(L, seconds(lease->manager->options.lease_grace_ns));
    else if (strcmp(name, "leased_at") == 0)
        lua_pushnumber(L, seconds(lease->leased_ns));
    else if (strcmp(name, "soft_expires_at") == 0)
        lua_pushnumber(L, seconds(lease->soft_ns));
    else if (strcmp(name, "hard_expires_at") == 0)
        lua_pushnumber(L, seconds(lp__load_relaxed(&lease->hard_ns)));
    else if (strcmp(name, "executor") == 0)
        return lp__lease_push_executor(L, ctx, 1, EXECUTOR);
    else
        return 0;
    return 1;
}

/* "lease 7 owner=report ACTIVE 298.2s": while it is open, with the time to its soft expiry, or
 * in GRACE to the hard one. */
static int lease_tostring(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, "tostring");
    lp_lease_t *lease = handle->lease;
    if (ctx->closed || !lease) {
        lua_pushliteral(L, "lease CLOSED");
        return 1;
    }
    lp_lease_state_t state = lp__lease_look(lease);
    lua_pushfstring(L, "lease %I owner=%s %s", (lua_Integer)lease->id,
                    lease->owner ? lease->owner : "none", state_names[state]);
    if (state <= LP_LEASE_GRACE) {
        uint64_t end_ns =
            state == LP_LEASE_ACTIVE ? lease->soft_ns : lp__load_relaxed(&lease->hard_ns);
        uint64_t now_ns = lp__clock_now_ns(&ctx->rt->clock);
        uint64_t tenths = now_ns < end_ns ? (end_ns - now_ns) / (LP_SECOND / 10) : 0;
        lua_pushfstring(L, " %I.%Is", (lua_Integer)(tenths / 10), (lua_Integer)(tenths % 10));
        lua_concat(L, 2);
    }
    return 1;
}

void lp__lease_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg methods[] = {{"run", lp__lease_run},
                                       {"submit", lp__lease_submit},
                                       {"try_submit", lp__lease_try_submit},
                                       {"post", lp__lease_post},
                                       {"with", lp__lease_with},
                                       {"renew", lease_renew},
                                       {"release", lease_release},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", lease_release},
                                    {"__gc", lease_gc},
                                    {"__tostring", lease_tostring},
                                    {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_LEASE, "leasepool.lease", methods, lease_index, meta);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &by_id_key);
    lp__view_register(L, ctx);
}
