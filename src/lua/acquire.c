/* acquire.c - manager:acquire. Loop thread.
 *
 * A request lies in C memory of its own: the core needs it until its callback, which may come
 * after whoever waited has gone. */
#include <lauxlib.h>

#include "base/alloc.h"
#include "core/acquire.h"
#include "core/manager.h"
#include "lua/errors.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/wait.h"

/* A request that waits; outlives the wait when that is withdrawn. */
typedef struct {
    lp_acquire_t req;
    lp__wait_t *wait; /* NULL: nobody waits any more */
    int status;
    lp_lease_t *lease;
} request_t;

static int acquire_failed(lua_State *L, int status)
{
    switch (status) {
    case LP_ENOTSTARTED:
        return lp__error_raise(L, status,
                               "manager:acquire: the manager is not started, or "
                               "stops");
    case LP_EUNAVAILABLE:
        return lp__error_raise(L, status, "manager:acquire: all executors are leased");
    case LP_ETIMEDOUT:
        return lp__error_raise(L, status, "manager:acquire: no executor became free in time");
    default:
        return lp__error_raise(L, status, "manager:acquire: %s", lp_strerror(status));
    }
}

static void on_lease(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    request_t *request = (request_t *)req;
    request->status = status;
    request->lease = lease;
    if (request->wait) {
        lp__wait_wake(request->wait); /* the continuation frees the request */
        return;
    }
    lp_lease_close(lease);
    lp__free(request);
}

static void withdraw_request(lp__wait_t *wait)
{
    request_t *request = wait->source;
    request->wait = NULL;
    lp_acquire_cancel(&request->req); /* its callback comes all the same */
}

/* The lease came, and whoever waited has gone before it went on. */
static void discard_request(lp__wait_t *wait)
{
    request_t *request = wait->source;
    lp_lease_close(request->lease);
    lp__free(request);
}

/* Stack: manager, options, lease, wait. */
static int acquire_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    lp__wait_t *wait = lua_touserdata(L, (int)index);
    lp__wait_ended(L, (int)index);
    request_t *request = wait->source;
    int rc = request->status;
    lp_lease_t **lease = lua_touserdata(L, 3);
    *lease = request->lease;
    lp__free(request);
    if (rc != 0)
        return acquire_failed(L, rc);
    lua_settop(L, 3);
    lp__lease_adopt(L, LP__CONTEXT(L), 3, 2);
    return 1;
}

int lp__manager_acquire(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_check(L, ctx, "manager:acquire");
    lp__acquire_options_t options;
    lua_settop(L, 2);
    lp__options_parse_acquire(L, 2, &options);
    if (options.has_soft_expiry) {
        options.core.on_soft_expiry = lp__lease_soft_expired;
        options.core.soft_data = ctx;
    }
    lp_lease_t **lease = lp__lease_new(L);
    int rc = options.wait ? lp__acquire_now(manager, &options.core, lease)
                          : lp_try_acquire(manager, &options.core, lease);
    if (rc == 0) {
        lp__lease_adopt(L, ctx, 3, 2);
        return 1;
    }
    if (rc != LP_EUNAVAILABLE || !options.wait)
        return acquire_failed(L, rc);
    if (options.core.timeout_ns == 0) {
        manager->timeouts++;
        return acquire_failed(L, LP_ETIMEDOUT);
    }
    lp__wait_t *wait = lp__wait_begin(L, ctx, "manager:acquire");
    request_t *request = lp__calloc(LP_MEM_BINDING, sizeof *request);
    if (!request)
        return luaL_error(L, "not enough memory");
    request->wait = wait;
    rc = lp_acquire(manager, &request->req, &options.core, on_lease);
    if (rc != 0) {
        lp__free(request);
        if (rc == LP_EUNAVAILABLE)
            return lp__error_raise(L, rc, "manager:acquire: %d callers wait already (max_waiters)",
                                   (int)manager->options.max_waiters);
        return acquire_failed(L, rc);
    }
    wait->source = request;
    wait->withdraw = withdraw_request;
    wait->discard = discard_request;
    return lp__wait_park(L, wait, acquire_k);
}
