/* lease.c - the lease as scripts see it: fields, release, collection. Loop thread. */
#include "core/lease.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <string.h>

#include "lua/errors.h"
#include "lua/log.h"
#include "lua/objects.h"

typedef struct {
    lp_lease_t *lease;
} handle_t;

static const char *const state_names[] = {"ACTIVE", "DRAINING", "EXPIRED", "CLOSED"};

lp_lease_t **lp__lease_new(lua_State *L)
{
    handle_t *handle = lp__context_new(L, LP__TYPE_LEASE, sizeof *handle, 0);
    return &handle->lease;
}

lp_lease_t *lp__lease_check(lua_State *L, lp__context_t *ctx, const char *what)
{
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, what);
    if (ctx->closed)
        lp__error_raise(L, LP_EEXPIRED, "%s: the Lua state is closing", what);
    if (!handle->lease)
        lp__error_raise(L, LP_EEXPIRED, "%s: the lease was collected", what);
    return handle->lease;
}

static int lease_release(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, "lease:release");
    if (!ctx->closed && handle->lease)
        lp_release(handle->lease);
    return 0;
}

static int lease_gc(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lua_touserdata(L, 1);
    lp_lease_t *lease = handle->lease;
    handle->lease = NULL;
    if (!lease || ctx->closed)
        return 0;
    if (lease->state == LP_LEASE_ACTIVE)
        lp__log(ctx, "WARN",
                "lease %" PRIu64 " (owner: %s) was collected unreleased; use "
                "`local lease <close>`, or call release",
                lease->id, lease->owner ? lease->owner : "none");
    lp_lease_close(lease);
    return 0;
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
        lua_pushstring(L, state_names[lease->state]);
    else if (strcmp(name, "leased_at") == 0)
        lua_pushnumber(L, (lua_Number)lease->acquired_ns / 1e9);
    else
        return 0;
    return 1;
}

static int lease_tostring(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    handle_t *handle = lp__context_check(L, ctx, 1, LP__TYPE_LEASE, "tostring");
    if (ctx->closed || !handle->lease)
        lua_pushliteral(L, "lease CLOSED");
    else
        lua_pushfstring(L, "lease %I owner=%s %s", (lua_Integer)handle->lease->id,
                        handle->lease->owner ? handle->lease->owner : "none",
                        state_names[handle->lease->state]);
    return 1;
}

void lp__lease_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg methods[] = {{"run", lp__lease_run},
                                       {"submit", lp__lease_submit},
                                       {"post", lp__lease_post},
                                       {"release", lease_release},
                                       {NULL, NULL}};
    static const luaL_Reg meta[] = {{"__close", lease_release},
                                    {"__gc", lease_gc},
                                    {"__tostring", lease_tostring},
                                    {NULL, NULL}};
    lp__context_register(L, ctx, LP__TYPE_LEASE, "leasepool.lease", methods, lease_index, meta);
}
