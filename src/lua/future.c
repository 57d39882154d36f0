/* future.c - see future.h.
 *
 * Values are decoded once: a future that yields tables or functions keeps them in a table
 * with weak keys, from its userdata to the packed list, so that every awaiter gets the
 * same ones and a result that refers to its own future is no leak. */
#include "lua/future.h"

#include <lauxlib.h>

#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/fiber.h"
#include "lua/log.h"
#include "lua/seconds.h"
#include "lua/wait.h"
#include "lua/watcher.h"

static const char values_key;

static const lp__future_kind_t *kind_of(const lp__future_t *future)
{
    static const lp__future_kind_t *const kinds[] = {
        [LP__FUTURE_OF_JOB] = &lp__future_of_job,
        [LP__FUTURE_OF_FIBER] = &lp__future_of_fiber,
        [LP__FUTURE_OF_STOP] = &lp__future_of_stop,
        [LP__FUTURE_OF_REQUEST] = &lp__future_of_request,
    };
    return kinds[future->kind];
}

lp__future_t *lp__future_test(lua_State *L, lp__context_t *ctx, int index)
{
    void *block = lp__context_test(L, ctx, index, LP__TYPE_FUTURE);
    return block ? block : lp__context_test(L, ctx, index, LP__TYPE_FUTURE_TO_FREE);
}

static lp__future_t *check_any(lua_State *L, lp__context_t *ctx, const char *what)
{
    lp__future_t *future = lp__future_test(L, ctx, 1);
    return future ? future : lp__context_check(L, ctx, 1, LP__TYPE_FUTURE, what);
}

static lp__future_t *check(lua_State *L, lp__context_t *ctx, const char *what)
{
    lp__future_t *future = check_any(L, ctx, what);
    lp__context_runtime(L, ctx);
    return future;
}

/* ---- Values ------------------------------------------------------------------- */

static bool has_identity(lua_State *L, int first)
{
    for (int i = first; i <= lua_gettop(L); i++)
        if (lua_type(L, i) > LUA_TSTRING)
            return true;
    return false;
}

int lp__future_values(lua_State *L, lp__context_t *ctx, int index)
{
    lp__future_t *future = lua_touserdata(L, index);
    int top = lua_gettop(L);
    future->seen = true;
    if (future->cached) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &values_key);
        lua_pushvalue(L, index);
        lua_rawget(L, -2);
        lua_rawgeti(L, -1, 0);
        int count = (int)lua_tointeger(L, -1);
        luaL_checkstack(L, count, "results");
        for (int i = 1; i <= count; i++)
            lua_rawgeti(L, top + 2, i);
        for (int i = 0; i < 3; i++)
            lua_remove(L, top + 1);
        return count;
    }
    int count = kind_of(future)->push(L, ctx, index, future);
    if (!has_identity(L, top + 1))
        return count;
    luaL_checkstack(L, count + 4, "results");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &values_key);
    lua_pushvalue(L, index);
    lua_createtable(L, count, 1);
    for (int i = 1; i <= count; i++) {
        lua_pushvalue(L, top + i);
        lua_rawseti(L, -2, i);
    }
    lua_pushinteger(L, count);
    lua_rawseti(L, -2, 0);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    future->cached = true;
    return count;
}

void lp__future_end(lua_State *L, lp__context_t *ctx, lp__future_t *future,
                    lp__future_status_t status)
{
    future->status = (uint8_t)status;
    lp__watcher_tell_all(L, ctx, future);
}

/* ---- Methods ------------------------------------------------------------------ */

/* Both forms wait in the same way and differ in how they tell of a failure. */
typedef enum { AWAIT, RESULT } form_t;

static int give(lua_State *L, lp__context_t *ctx, form_t form)
{
    lp__future_t *future = lua_touserdata(L, 1);
    lua_settop(L, 1);
    int count = lp__future_values(L, ctx, 1);
    if (form == AWAIT)
        return future->status == LP__FUTURE_DONE ? count : lua_error(L);
    lua_pushboolean(L, future->status == LP__FUTURE_DONE);
    lua_insert(L, 2);
    return count + 1;
}

static int give_timeout(lua_State *L, form_t form, double seconds)
{
    lp__error_push(L, LP_ETIMEDOUT, "future:%s: not ended after %f seconds",
                   form == AWAIT ? "await" : "result", (lua_Number)seconds);
    if (form == AWAIT)
        return lua_error(L);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int wait_over(lua_State *L, int index, form_t form)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__future_t *future = lua_touserdata(L, 1);
    if (lp__wait_ended(L, index) || future->status != LP__FUTURE_PENDING)
        return give(L, ctx, form);
    return give_timeout(L, form, lua_tonumber(L, 2));
}

static int await_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    return wait_over(L, (int)index, AWAIT);
}

static int result_k(lua_State *L, int status, lua_KContext index)
{
    (void)status;
    return wait_over(L, (int)index, RESULT);
}

static int wait_for(lua_State *L, form_t form)
{
    static const char *const names[] = {"future:await", "future:result"};
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__future_t *future = check(L, ctx, names[form]);
    lua_settop(L, 2);
    uint64_t timeout_ns = lp__seconds_opt(L, 2, names[form], "timeout", LP_FOREVER);
    if (future->status != LP__FUTURE_PENDING)
        return give(L, ctx, form);
    if (timeout_ns == 0)
        return give_timeout(L, form, 0);
    lp__wait_t *wait = lp__wait_begin(L, ctx, names[form]);
    if (lp__watcher_add_wait(ctx, future, wait) != 0)
        return luaL_error(L, "not enough memory");
    lp__wait_limit(wait, timeout_ns);
    return lp__wait_park(L, wait, form == AWAIT ? await_k : result_k);
}

int lp__future_await(lua_State *L)
{
    return wait_for(L, AWAIT);
}

static int future_result(lua_State *L)
{
    return wait_for(L, RESULT);
}

static int future_status(lua_State *L)
{
    static const char *const names[] = {"pending", "done", "failed", "cancelled"};
    lua_pushstring(L, names[check(L, LP__CONTEXT(L), "future:status")->status]);
    return 1;
}

static int future_cancel(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__future_t *future = check(L, ctx, "future:cancel");
    lua_pushboolean(L, future->status == LP__FUTURE_PENDING &&
                           kind_of(future)->cancel(L, ctx, future));
    return 1;
}

static int future_on_done(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__future_t *future = check(L, ctx, "future:on_done");
    if (lua_type(L, 2) != LUA_TFUNCTION)
        return lp__error_raise(L, LP_EINVAL, "future:on_done: got %s, allowed: a function",
                               luaL_typename(L, 2));
    lua_settop(L, 2);
    lp__anchor_reserve(L, ctx, 2);
    int callback = lp__anchor_in(L, ctx, LP__ANCHORS); /* pops it: the future is at the top */
    if (lp__watcher_add_callback(L, ctx, future, callback) != 0) {
        lp__anchor_free(L, ctx, callback);
        return luaL_error(L, "not enough memory");
    }
    return 1; /* the future, for chaining */
}

static int future_tostring(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    static const char *const names[] = {"pending", "done", "failed", "cancelled"};
    lp__future_t *future = check_any(L, ctx, "tostring");
    if (ctx->closed)
        lua_pushliteral(L, "future closed");
    else
        lua_pushfstring(L, "future of a %s: %s", kind_of(future)->name, names[future->status]);
    return 1;
}

lp__log_t *lp__future_log(const lp__future_t *future)
{
    return kind_of(future)->log ? kind_of(future)->log(future) : NULL;
}

/* Protected. Stack: the future, the context. Returns the error. */
static int push_failure(lua_State *L)
{
    lp__future_t *future = lua_touserdata(L, 1);
    int count = kind_of(future)->push(L, lua_touserdata(L, 2), 1, future);
    if (future->kind == LP__FUTURE_OF_FIBER)
        lp__fiber_add_traceback(L, 1);
    return count;
}

/* A failure that nobody looked at is told here. */
static int future_gc(lua_State *L)
{
    lp__context_t *ctx = LP__CONTEXT(L);
    lp__future_t *future = lua_touserdata(L, 1);
    if (future->status == LP__FUTURE_FAILED && !future->seen && !ctx->closed) {
        lua_pushcfunction(L, push_failure);
        lua_pushvalue(L, 1);
        lua_pushlightuserdata(L, ctx);
        lua_pcall(L, 2, 1, 0); /* without memory, that is the error that is told */
        lp__log_error(ctx, lp__future_log(future), L, kind_of(future)->what, NULL);
    }
    if (kind_of(future)->free)
        kind_of(future)->free(future);
    return 0;
}

void *lp__future_new(lua_State *L, lp__context_t *ctx, lp__future_of_t kind, size_t size,
                     int user_values)
{
    lp__future_t *future = lp__context_new(L, ctx, LP__TYPE_FUTURE, size, user_values);
    future->kind = (uint8_t)kind;
    return future;
}

void lp__future_begin(lua_State *L, lp__context_t *ctx, lp__future_t *future, int anchors)
{
    lua_pushvalue(L, -1);
    future->anchor = lp__anchor_in(L, ctx, anchors);
}

void lp__future_needs_finalizer(lua_State *L, lp__context_t *ctx, lp__future_t *future)
{
    lp__anchor_push(L, ctx, future->anchor);
    lp__context_push_metatable(L, ctx, LP__TYPE_FUTURE_TO_FREE);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

void lp__future_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg methods[] = {
        {"await", lp__future_await}, {"result", future_result},   {"status", future_status},
        {"cancel", future_cancel},   {"on_done", future_on_done}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {{"__tostring", future_tostring}, {NULL, NULL}};
    static const luaL_Reg meta_to_free[] = {
        {"__tostring", future_tostring}, {"__gc", future_gc}, {NULL, NULL}};
    static const char name[] = "leasepool.future";
    lp__context_register(L, ctx, LP__TYPE_FUTURE, name, methods, NULL, meta);
    lp__context_register(L, ctx, LP__TYPE_FUTURE_TO_FREE, name, methods, NULL, meta_to_free);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &values_key);
}
