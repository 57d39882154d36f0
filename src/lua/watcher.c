/* watcher.c - see watcher.h. */
#include "lua/watcher.h"

#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/log.h"
#include "lua/seconds.h"
#include "lua/sink.h"

typedef struct lp__watch_s watch_t;

struct lp__watcher_s {
    lp__watcher_t *next, *prev; /* of the same future */
    lp__context_t *ctx;
    lp__future_t *future; /* NULL: told, or in no list */
    lp__wait_t *wait;     /* of one future */
    watch_t *watch;       /* of several: the watcher lies in it */
    int callback;         /* anchor */
    int userdata;         /* anchor of the future, which is one for all of its callbacks ... */
    bool last;            /* ... and freed by the last */
    lp__log_t *log;       /* where the callback's error goes, a reference; NULL: standard error */
    lp__task_t task;
};

/* A wait for some of several futures; on the stack of the call that waits. */
struct lp__watch_s {
    lp__wait_t *wait;
    int left;  /* so many must still end */
    int first; /* index of the one that ended first; 0: none yet */
    int count;
    lp__watcher_t watchers[]; /* one for each element of the list */
};

/* ---- Life --------------------------------------------------------------------- */

/* Watchers are used again, as each callback takes one. */
enum { MAX_SPARE = 4096 };

/* NULL: out of memory. */
static lp__watcher_t *new_watcher(lp__context_t *ctx)
{
    lp__watcher_t *watcher = ctx->spare_watchers;
    if (watcher) {
        ctx->spare_watchers = watcher->next;
        ctx->spare_watcher_count--;
    } else if ((watcher = lp__malloc(LP_MEM_BINDING, sizeof *watcher)) == NULL) {
        return NULL;
    }
    *watcher = (lp__watcher_t){.ctx = ctx};
    return watcher;
}

static void free_watcher(lp__watcher_t *watcher)
{
    lp__context_t *ctx = watcher->ctx;
    lp__log_release(watcher->log);
    if (ctx->spare_watcher_count == MAX_SPARE || ctx->closed) {
        lp__free(watcher);
        return;
    }
    watcher->next = ctx->spare_watchers;
    ctx->spare_watchers = watcher;
    ctx->spare_watcher_count++;
}

void lp__watcher_free_spares(lp__context_t *ctx)
{
    lp__watcher_t *watcher;
    while ((watcher = ctx->spare_watchers) != NULL) {
        ctx->spare_watchers = watcher->next;
        lp__free(watcher);
    }
}

/* ---- The list of a future ----------------------------------------------------- */

static void link_watcher(lp__watcher_t *watcher, lp__future_t *future)
{
    lp__watcher_t *first = future->to.watchers;
    watcher->future = future;
    watcher->next = NULL;
    if (first) {
        watcher->prev = first->prev;
        first->prev->next = watcher;
        first->prev = watcher;
    } else {
        watcher->prev = watcher;
        future->to.watchers = watcher;
    }
}

static void unlink_watcher(lp__watcher_t *watcher)
{
    lp__future_t *future = watcher->future;
    lp__watcher_t *first = future->to.watchers, *next = watcher->next;
    if (next)
        next->prev = watcher->prev;
    else
        first->prev = watcher->prev;
    if (watcher == first)
        future->to.watchers = next;
    else
        watcher->prev->next = next;
    watcher->future = NULL;
}

/* ---- Waits for several -------------------------------------------------------- */

static void unlink_all(watch_t *watch)
{
    for (int i = 0; i < watch->count; i++)
        if (watch->watchers[i].future)
            unlink_watcher(&watch->watchers[i]);
}

static void count_ended(watch_t *watch, lp__watcher_t *watcher)
{
    if (watch->first == 0)
        watch->first = (int)(watcher - watch->watchers) + 1;
    if (--watch->left > 0)
        return;
    unlink_all(watch);
    lp__wait_wake(watch->wait);
}

static void withdraw_watch(lp__wait_t *wait)
{
    unlink_all(wait->source);
}

/* ---- Telling ------------------------------------------------------------------ */

static void run_callback(lp__task_t *task)
{
    lp__watcher_t *watcher = LP__CONTAINER(task, lp__watcher_t, task);
    lp__context_t *ctx = watcher->ctx;
    if (!ctx->closed) {
        lua_State *L = ctx->calls_L;
        lua_rawgeti(L, LP__CALLS_ANCHORS, watcher->callback);
        lua_rawgeti(L, LP__CALLS_ANCHORS, watcher->userdata);
        lp__anchor_free_in(L, ctx, LP__CALLS_ANCHORS, watcher->callback);
        if (watcher->last)
            lp__anchor_free_in(L, ctx, LP__CALLS_ANCHORS, watcher->userdata);
        lp__context_call(ctx, watcher->log, 1, "a callback of on_done");
    }
    free_watcher(watcher);
}

/* It is in no list any more. */
static void tell(lp__watcher_t *watcher)
{
    if (watcher->watch) {
        count_ended(watcher->watch, watcher);
    } else if (watcher->wait) {
        lp__wait_wake(watcher->wait);
        free_watcher(watcher);
    } else {
        lp__runtime_defer(watcher->ctx->rt, &watcher->task, run_callback);
    }
}

void lp__watcher_tell_all(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    lp__watcher_t *watcher, *callback = NULL;
    for (watcher = future->to.watchers; watcher; watcher = watcher->next) {
        watcher->userdata = future->anchor;
        if (!watcher->wait && !watcher->watch)
            callback = watcher;
    }
    if (callback)
        callback->last = true;
    else
        lp__anchor_free(L, ctx, future->anchor);
    future->anchor = 0;
    while ((watcher = future->to.watchers) != NULL) {
        unlink_watcher(watcher);
        tell(watcher);
    }
}

void lp__watcher_forget_all(lp__future_t *future)
{
    lp__watcher_t *watcher;
    while ((watcher = future->to.watchers) != NULL) {
        unlink_watcher(watcher);
        if (watcher->watch)
            continue;
        if (watcher->wait)
            watcher->wait->withdraw = NULL;
        free_watcher(watcher);
    }
}

/* ---- Adding ------------------------------------------------------------------- */

static void withdraw_one(lp__wait_t *wait)
{
    lp__watcher_t *watcher = wait->source;
    unlink_watcher(watcher);
    free_watcher(watcher);
}

int lp__watcher_add_wait(lp__context_t *ctx, lp__future_t *future, lp__wait_t *wait)
{
    lp__watcher_t *watcher = new_watcher(ctx);
    if (!watcher)
        return LP_ENOMEM;
    watcher->wait = wait;
    link_watcher(watcher, future);
    wait->source = watcher;
    wait->withdraw = withdraw_one;
    return 0;
}

int lp__watcher_add_callback(lua_State *L, lp__context_t *ctx, lp__future_t *future, int callback)
{
    bool pending = future->status == LP__FUTURE_PENDING;
    int userdata = 0;
    if (!pending || future->anchor == 0) { /* the callback is called, whoever holds the future */
        lua_pushvalue(L, -1);
        userdata = lp__anchor(L, ctx);
    }
    lp__watcher_t *watcher = new_watcher(ctx);
    if (!watcher) {
        lp__anchor_free(L, ctx, userdata);
        return LP_ENOMEM;
    }
    watcher->callback = callback;
    watcher->log = lp__future_log(future);
    lp__log_retain(watcher->log);
    if (pending) {
        if (userdata != 0)
            future->anchor = userdata;
        link_watcher(watcher, future);
    } else {
        watcher->userdata = userdata;
        watcher->last = true;
        tell(watcher);
    }
    return 0;
}

/* ---- wait_some ---------------------------------------------------------------- */

enum { WHAT = 1, LIST, COUNT, NEEDED, TIMEOUT, WATCH };

/* The index of the first element of the list that has ended, when `needed` have; else 0. Allocates
 * nothing, runs nothing. *wrong is the index of an element that is no future; 0: none. */
static int look(lua_State *L, lp__context_t *ctx, int count, int needed, int *wrong)
{
    int first = 0;
    *wrong = 0;
    for (int i = 1; i <= count && !*wrong; i++) {
        lua_rawgeti(L, LIST, i);
        lp__future_t *future = lp__future_test(L, ctx, -1);
        lua_pop(L, 1);
        if (!future)
            *wrong = i;
        else if (future->status != LP__FUTURE_PENDING && needed-- > 0 && first == 0)
            first = i;
    }
    return needed <= 0 ? first : 0;
}

static int give(lua_State *L, int index)
{
    if (index == 0)
        return 0;
    lua_pushinteger(L, index);
    return 1;
}

static int some_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    int wrong;
    if (lp__wait_ended(L, (int)index))
        return give(L, ((watch_t *)lua_touserdata(L, WATCH))->first);
    /* What ends in the round in which the time is over has ended in time. */
    int needed = (int)lua_tointeger(L, NEEDED), count = (int)lua_tointeger(L, COUNT);
    return give(L, look(L, LP__CONTEXT(L), count, needed, &wrong));
}

/* Makes all pending ones tell; those that ended count at once. */
static void watch_list(lua_State *L, lp__context_t *ctx, watch_t *watch)
{
    for (int i = 0; i < watch->count && watch->left > 0; i++) {
        lp__watcher_t *watcher = &watch->watchers[i];
        lua_rawgeti(L, LIST, i + 1);
        lp__future_t *future = lp__future_test(L, ctx, -1);
        lua_pop(L, 1);
        *watcher = (lp__watcher_t){.ctx = ctx, .watch = watch};
        if (future && future->status == LP__FUTURE_PENDING)
            link_watcher(watcher, future);
        else /* or a finalizer has changed the list just now */
            count_ended(watch, watcher);
    }
}

static int wait_some(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    const char *what = luaL_checkstring(L, WHAT);
    int count = (int)luaL_checkinteger(L, COUNT), needed = (int)luaL_checkinteger(L, NEEDED);
    lp__context_runtime(L, ctx);
    lua_settop(L, TIMEOUT);
    int wrong, first = look(L, ctx, count, needed, &wrong);
    if (wrong) {
        lua_rawgeti(L, LIST, wrong);
        return lp__error_raise(L, LP_EINVAL, "%s: element %d: got %s, allowed: a future", what,
                               wrong, luaL_typename(L, -1));
    }
    uint64_t timeout_ns = lp__seconds_opt(L, TIMEOUT, what, "timeout", LP_FOREVER);
    if (first != 0 || needed == 0 || timeout_ns == 0)
        return give(L, first);
    size_t size = sizeof(watch_t) + (size_t)count * sizeof(lp__watcher_t);
    watch_t *watch = lua_newuserdatauv(L, size, 0);
    memset(watch, 0, sizeof *watch);
    watch->left = needed;
    lp__wait_t *wait = lp__wait_begin(L, ctx, what);
    watch->wait = wait;
    watch->count = count;
    memset(watch->watchers, 0, (size_t)count * sizeof(lp__watcher_t));
    wait->source = watch;
    wait->withdraw = withdraw_watch;
    watch_list(L, ctx, watch);
    if (!wait->ended)
        lp__wait_limit(wait, timeout_ns);
    return lp__wait_park(L, wait, some_k);
}

/* check_wait(what) */
static int check_wait(lua_State *L)
{
    lp__wait_check(L, LP__CONTEXT(L), luaL_checkstring(L, 1));
    return 0;
}

void lp__watcher_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg functions[] = {
        {"wait_some", wait_some}, {"check_wait", check_wait}, {NULL, NULL}};
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
