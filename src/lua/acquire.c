/* acquire.c - borrowing: manager:acquire, try_acquire and request. Loop thread.
 *
 * A request of acquire lies in C memory of its own: the core needs it until its callback, which
 * may come after whoever waited has gone. One of manager:request lies in the userdata of its
 * future; the lease is the future's until somebody asks for it. A future that is collected before
 * withdraws its request, or gives the lease back: so it has a finalizer from the beginning, and
 * is not anchored unless a callback waits for it. */
#include <lauxlib.h>

#include "base/alloc.h"
#include "core/acquire.h"
#include "core/manager.h"
#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/future.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/wait.h"
#include "lua/watcher.h"

static void check_kill(lua_State *L, const lp_manager_t *manager)
{
    if (manager->backend->kill)
        return;
    lp__manager_refuse_kill(manager->rt, manager->backend);
    lp__error_raise(L, LP_EINVAL, "manager:acquire: %s", lp_last_error(manager->rt));
}

/* Reads the options at index 2, of the manager at 1. With a callback among them, what is left there
 * is a table of our own that has it: the caller may change his while he waits. */
static void parse(lua_State *L, lp__context_t *ctx, lp__acquire_options_t *options)
{
    lua_settop(L, 2);
    lp__options_parse_acquire(L, 2, options);
    if (options->core.on_expiry == LP_EXPIRY_KILL)
        check_kill(L, lp__manager_check(L, ctx, "manager:acquire"));
    if (!options->has_soft_expiry)
        return;
    options->core.on_soft_expiry = lp__lease_soft_expired;
    options->core.soft_data = ctx;
    lua_createtable(L, 1, 1);
    lua_pushliteral(L, "on_soft_expiry");
    lua_pushvalue(L, -1);
    lua_rawget(L, 2);
    lua_rawset(L, -3);
    lua_pushvalue(L, 2); /* the owner's text lives in it */
    lua_rawseti(L, -2, 1);
    lua_replace(L, 2);
}

/* Pushes why there is no lease. */
static void push_failure(lua_State *L, const char *what, int status)
{
    switch (status) {
    case LP_ENOTSTARTED:
        lp__error_push(L, status, "%s: the manager is not started, or stops", what);
        break;
    case LP_EUNAVAILABLE:
        lp__error_push(L, status, "%s: all executors are leased", what);
        break;
    case LP_ETIMEDOUT:
        lp__error_push(L, status, "%s: no executor became free in time", what);
        break;
    case LP_ECANCELLED:
        lp__error_push(L, status, "%s: the request was cancelled", what);
        break;
    default:
        lp__error_push(L, status, "%s: %s", what, lp_strerror(status));
        break;
    }
}

/* The core refused to let the caller wait. */
static void push_refusal(lua_State *L, const lp_manager_t *manager, const char *what, int status)
{
    if (status == LP_EUNAVAILABLE)
        lp__error_push(L, status, "%s: %d callers wait already (max_waiters)", what,
                       (int)manager->options.max_waiters);
    else
        push_failure(L, what, status);
}

/* ---- acquire and try_acquire -------------------------------------------------- */

/* Both wait in the same way and differ in how they tell of a failure. */
typedef enum { ACQUIRE, TRY } form_t;

static const char *const form_names[] = {"manager:acquire", "manager:try_acquire"};

/* A request that waits; outlives the wait when that is withdrawn. */
typedef struct {
    lp_acquire_t req;
    lp__wait_t *wait; /* NULL: nobody waits any more */
    int status;
    lp_lease_t *lease;
} request_t;

/* The error is at the top. */
static int fail(lua_State *L, form_t form)
{
    if (form == ACQUIRE)
        return lua_error(L);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
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
static int wait_over(lua_State *L, int index, form_t form)
{
    lp__wait_t *wait = lua_touserdata(L, index);
    lp__wait_ended(L, index);
    request_t *request = wait->source;
    int status = request->status;
    lp_lease_t **lease = lua_touserdata(L, 3);
    *lease = request->lease;
    lp__free(request);
    if (status != 0) {
        push_failure(L, form_names[form], status);
        return fail(L, form);
    }
    lua_settop(L, 3);
    lp__lease_adopt(L, LP__CONTEXT(L), 3, 2);
    return 1;
}

static int acquire_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    return wait_over(L, (int)index, ACQUIRE);
}

static int try_acquire_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    return wait_over(L, (int)index, TRY);
}

/* Stack: manager, options, lease. */
static int wait_for_lease(lua_State *L, lp__context_t *ctx, lp_manager_t *manager,
                          const lp__acquire_options_t *options, form_t form)
{
    lp__wait_t *wait = lp__wait_begin(L, ctx, form_names[form]);
    request_t *request = lp__calloc(LP_MEM_BINDING, sizeof *request);
    if (!request)
        return luaL_error(L, "not enough memory");
    request->wait = wait;
    int rc = lp_acquire(manager, &request->req, &options->core, on_lease);
    if (rc != 0) {
        lp__free(request);
        push_refusal(L, manager, form_names[form], rc);
        return fail(L, form);
    }
    wait->source = request;
    wait->withdraw = withdraw_request;
    wait->discard = discard_request;
    return lp__wait_park(L, wait, form == ACQUIRE ? acquire_k : try_acquire_k);
}

static int acquire(lua_State *L, form_t form)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_check(L, ctx, form_names[form]);
    lp__acquire_options_t options;
    parse(L, ctx, &options);
    if (form == TRY && options.core.timeout_ns == LP_FOREVER)
        options.wait = false;
    lp_lease_t **lease = lp__lease_new(L, ctx);
    int rc = options.wait ? lp__acquire_now(manager, &options.core, lease)
                          : lp_try_acquire(manager, &options.core, lease);
    if (rc == 0) {
        lp__lease_adopt(L, ctx, 3, 2);
        return 1;
    }
    if (rc == LP_EUNAVAILABLE && options.wait && options.core.timeout_ns > 0)
        return wait_for_lease(L, ctx, manager, &options, form);
    if (rc == LP_EUNAVAILABLE && options.wait) {
        manager->timeouts++;
        rc = LP_ETIMEDOUT;
    }
    push_failure(L, form_names[form], rc);
    return fail(L, form);
}

int lp__manager_acquire(lua_State *L)
{
    return acquire(L, ACQUIRE);
}

int lp__manager_try_acquire(lua_State *L)
{
    return acquire(L, TRY);
}

/* ---- request ------------------------------------------------------------------ */

typedef struct {
    lp__future_t future;
    lp__context_t *ctx;
    lp_acquire_t req;
    lp_lease_t *lease; /* until somebody asks for it */
    int status;
} lease_future_t;

/* The user values of its userdata. */
enum { MANAGER = 1, OPTIONS, USER_VALUES = OPTIONS };

static void end_request(lua_State *L, lease_future_t *request, int status, lp_lease_t *lease)
{
    lp__context_t *ctx = request->ctx;
    lp__future_status_t ended = LP__FUTURE_FAILED;
    if (status == 0)
        ended = LP__FUTURE_DONE;
    else if (status == LP_ECANCELLED)
        ended = LP__FUTURE_CANCELLED;
    request->status = status;
    if (ctx->closed) { /* no finalizer would run */
        lp_lease_close(lease);
    } else {
        request->lease = lease;
    }
    lp__future_end(L, ctx, &request->future, ended);
}

static void on_request(lp_acquire_t *req, int status, lp_lease_t *lease)
{
    lease_future_t *request = LP__CONTAINER(req, lease_future_t, req);
    end_request(request->ctx->calls_L, request, status, lease);
}

/* Stack: manager, options, lease. */
static int adopt(lua_State *L)
{
    lp__lease_adopt(L, LP__CONTEXT(L), 3, 2);
    return 0;
}

static int request_push(lua_State *L, lp__context_t *ctx, int index, lp__future_t *future)
{
    lease_future_t *request = (lease_future_t *)future;
    if (request->status != 0) {
        push_failure(L, "manager:request", request->status);
        return 1;
    }
    lp_lease_t **lease = lp__lease_new(L, ctx);
    *lease = request->lease;
    request->lease = NULL;
    lua_pushlightuserdata(L, ctx);
    lua_pushcclosure(L, adopt, 1);
    lua_getiuservalue(L, index, MANAGER);
    lua_getiuservalue(L, index, OPTIONS);
    lua_pushvalue(L, -4);
    lua_call(L, 3, 0);
    return 1;
}

static bool request_cancel(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    (void)L;
    (void)ctx;
    return lp_acquire_cancel(&((lease_future_t *)future)->req) == 0;
}

static void request_free(lp__future_t *future)
{
    lease_future_t *request = (lease_future_t *)future;
    if (!request->ctx->closed) {
        lp__acquire_withdraw(&request->req);
        lp__watcher_forget_all(future); /* the state closes: else none would be left */
        lp_lease_close(request->lease);
    }
    request->lease = NULL;
}

const lp__future_kind_t lp__future_of_request = {
    .push = request_push,
    .cancel = request_cancel,
    .free = request_free,
    .name = "lease",
    .what = "a request whose future nobody looked at",
};

int lp__manager_request(lua_State *L)
{
    static const char what[] = "manager:request";
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_check(L, ctx, what);
    lp__acquire_options_t options;
    parse(L, ctx, &options);
    lease_future_t *request =
        lp__future_new(L, ctx, LP__FUTURE_OF_REQUEST, sizeof *request, USER_VALUES);
    request->ctx = ctx;
    for (int i = MANAGER; i <= OPTIONS; i++) { /* for whoever gets the lease */
        lua_pushvalue(L, i);
        lua_setiuservalue(L, 3, i);
    }
    lp__context_push_metatable(L, ctx, LP__TYPE_FUTURE_TO_FREE);
    lua_setmetatable(L, 3);
    int rc;
    if (options.wait) {
        rc = lp_acquire(manager, &request->req, &options.core, on_request);
    } else {
        lp_lease_t *lease;
        rc = lp_try_acquire(manager, &options.core, &lease);
        if (rc == 0)
            end_request(L, request, rc, lease);
    }
    if (rc == 0)
        return 1;
    if (options.wait)
        push_refusal(L, manager, what, rc);
    else
        push_failure(L, what, rc);
    return lua_error(L);
}
