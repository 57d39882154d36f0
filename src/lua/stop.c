/* stop.c - manager:stop, grinder:stop, and what <close> does to both. Loop thread.
 *
 * A stop is a future: its userdata holds the core's request and is anchored until the stop has
 * ended, so that stopping goes on when whoever waited has gone. */
#include "core/stop.h"

#include <lauxlib.h>

#include "base/atomics.h"
#include "core/grinder.h"
#include "core/lease.h"
#include "core/runtime.h"
#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/objects.h"
#include "lua/options.h"
#include "lua/wait.h"

typedef struct {
    lp__future_t future;
    lp_stop_t req;
    lp_stop_report_t report;
    bool of_grinder;
} stop_t;

static void on_stopped(lp_stop_t *req, const lp_stop_report_t *report)
{
    stop_t *stop = LP__CONTAINER(req, stop_t, req);
    lp__context_t *ctx = req->data;
    stop->report = *report;
    if (!ctx->closed)
        lp__future_end(ctx->calls_L, ctx, &stop->future, LP__FUTURE_DONE);
}

static int push_report(lua_State *L, lp__context_t *ctx, int index, lp__future_t *future)
{
    (void)ctx;
    (void)index;
    const lp_stop_report_t *report = &((stop_t *)future)->report;
    bool of_grinder = ((stop_t *)future)->of_grinder;
    const struct {
        const char *name;
        uint64_t count;
    } fields[] = {
        {"finished", report->finished},       {"cancelled", report->cancelled},
        {"interrupted", report->interrupted}, {"killed", report->killed},
        {"abandoned", report->abandoned},
    };
    enum { FIELDS = sizeof fields / sizeof *fields, OF_GRINDER = 2 };
    int count = of_grinder ? OF_GRINDER : FIELDS;
    lua_createtable(L, 0, count);
    for (int i = 0; i < count; i++) {
        lua_pushinteger(L, (lua_Integer)fields[i].count);
        lua_setfield(L, -2, fields[i].name);
    }
    return 1;
}

/* A stop cannot be taken back. */
static bool cancel(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    (void)L;
    (void)ctx;
    (void)future;
    return false;
}

const lp__future_kind_t lp__future_of_stop = {
    .push = push_report,
    .cancel = cancel,
    .free = NULL,
    .name = "stop",
    .what = "a stop whose future nobody looked at",
};

/* Pushes the future of a stop, anchored until its end, behind what is stopped, which would be
 * collected else. */
static stop_t *new_stop(lua_State *L, lp__context_t *ctx)
{
    lua_settop(L, 1);
    stop_t *stop = lp__future_new(L, ctx, LP__FUTURE_OF_STOP, sizeof *stop, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lua_pushvalue(L, 2);
    lp__future_begin(L, ctx, &stop->future, 3);
    lua_settop(L, 2);
    stop->req.data = ctx;
    return stop;
}

/* It has begun, or was refused with `rc`. Leaves its future as the only value of the stack. */
static void begun(lua_State *L, lp__context_t *ctx, stop_t *stop, int rc, const char *what)
{
    lua_remove(L, 1);
    if (rc != 0) {
        lp__future_end(L, ctx, &stop->future, LP__FUTURE_CANCELLED);
        lp__error_raise(L, rc, "%s: %s", what, lp_strerror(rc));
    }
}

static void begin(lua_State *L, lp__context_t *ctx, lp_manager_t *manager, uint64_t timeout_ns,
                  const char *what)
{
    stop_t *stop = new_stop(L, ctx);
    begun(L, ctx, stop, lp_manager_stop(manager, &stop->req, timeout_ns, on_stopped), what);
}

void lp__stop_grinder(lua_State *L, lp__context_t *ctx, lp_grinder_t *grinder, uint64_t timeout_ns,
                      const char *what)
{
    stop_t *stop = new_stop(L, ctx);
    stop->of_grinder = true;
    begun(L, ctx, stop, lp_grinder_stop(grinder, &stop->req, timeout_ns, on_stopped), what);
}

int lp__manager_stop(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_check(L, ctx, "manager:stop");
    lp__stop_options_t options;
    lua_settop(L, 2);
    lp__options_parse_stop(L, 2, &options);
    if (options.wait)
        lp__wait_check(L, ctx, "manager:stop");
    begin(L, ctx, manager, options.timeout_ns, "manager:stop");
    return options.wait ? lp__future_await(L) : 1;
}

/* Until the last of its leases would expire. */
static uint64_t latest_expiry_ns(const lp_manager_t *manager)
{
    uint64_t latest_ns = 0, now_ns = lp__clock_now_ns(&manager->rt->clock);
    for (lp__list_t *at = manager->leases.next; at != &manager->leases; at = at->next) {
        lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        uint64_t hard_ns = lp__load_relaxed(&lease->hard_ns);
        if (lease->state != LP_LEASE_CLOSED && hard_ns > latest_ns)
            latest_ns = hard_ns;
    }
    return latest_ns > now_ns ? latest_ns - now_ns : 0;
}

uint64_t lp__stop_patience_ns(const lp_grinder_t *grinder)
{
    uint64_t patience_ns = latest_expiry_ns(grinder->manager);
    if (grinder->pending_count == 0)
        return patience_ns;
    patience_ns = lp__clock_after(patience_ns, grinder->options.lease_ns);
    return lp__clock_after(patience_ns, grinder->manager->options.lease_grace_ns);
}

/* Where nothing can wait (a coroutine that is being closed inside a callback), stopping
 * is begun and goes on by itself. */
int lp__manager_close(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp_manager_t *manager = lp__manager_test(L, ctx, "manager <close>");
    if (ctx->closed || !manager || manager->state == LP__MANAGER_STOPPED)
        return 0;
    bool waits = lp__wait_possible(L, ctx);
    begin(L, ctx, manager, ctx->ending ? 0 : latest_expiry_ns(manager), "manager <close>");
    return waits ? lp__future_await(L) : 0;
}
