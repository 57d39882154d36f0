/* log.c - see log.h.
 *
 * A line for a script's logger becomes a task: the code that has something to say may be a
 * finalizer, in the middle of anything. */
#include "lua/log.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "core/lease.h"
#include "lua/running.h"

/* ---- Lines of our own --------------------------------------------------------- */

typedef struct {
    lp__task_t task;
    lp__context_t *ctx;
    lp__log_t *log; /* a reference; NULL: standard error */
    lp__line_t line;
    char text[];
} own_t;

static void emit(lp__task_t *task)
{
    own_t *own = LP__CONTAINER(task, own_t, task);
    lp__log_emit(own->ctx, own->log, false, &own->line);
    lp__log_release(own->log);
    lp__free(own);
}

/* Without memory the line is cut, and goes to standard error at once. */
static void write_short(lp__level_t level, const char *format, va_list args)
{
    char text[512];
    vsnprintf(text, sizeof text, format, args);
    lp__log_write(level, text, strlen(text));
}

static void log_line(lp__context_t *ctx, lp__log_t *log, lp__level_t level, const lp_lease_t *lease,
                     const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    size_t size = length > 0 ? (size_t)length + 1 : 1;
    size_t owner_size = lease && lease->owner ? strlen(lease->owner) + 1 : 0;
    own_t *own = length < 0 ? NULL : lp__malloc(LP_MEM_BINDING, sizeof *own + size + owner_size);
    if (!own) {
        write_short(level, format, args);
        return;
    }
    vsnprintf(own->text, size, format, args);
    own->ctx = ctx;
    own->log = log;
    own->line = (lp__line_t){.level = level, .text = own->text, .length = size - 1};
    if (lease)
        own->line.lease_id = lease->id;
    if (owner_size > 0)
        own->line.owner = memcpy(own->text + size, lease->owner, owner_size);
    if (ctx->rt && lp__log_calls(log, false)) {
        lp__log_retain(log);
        lp__runtime_defer(ctx->rt, &own->task, emit);
    } else {
        lp__log_write(level, own->text, size - 1);
        lp__free(own);
    }
}

void lp__log(lp__context_t *ctx, lp__log_t *log, lp__level_t level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line(ctx, log, level, NULL, format, args);
    va_end(args);
}

void lp__log_lease(lp__context_t *ctx, const lp_lease_t *lease, lp__level_t level,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    log_line(ctx, lp__log_of(lease->manager), level, lease, format, args);
    va_end(args);
}

/* ---- Errors ------------------------------------------------------------------- */

typedef struct {
    lp__context_t *ctx;
    lp__log_t *log;
    const char *what;
} about_t;

/* Protected. Stack: the error, the traceback or nil, what it is about. */
static int write_error(lua_State *L)
{
    const about_t *about = lua_touserdata(L, 3);
    const char *text = luaL_tolstring(L, 1, NULL);
    const char *traceback = lua_tostring(L, 2);
    lp__log(about->ctx, about->log, LP__ERROR, "%s failed: %s%s%s", about->what, text,
            traceback ? "\n" : "", traceback ? traceback : "");
    return 0;
}

/* Pops the error and the traceback or nil. */
static void log_pair(lua_State *L, const about_t *about)
{
    const char *type = luaL_typename(L, -2);
    lua_pushcfunction(L, write_error);
    lua_insert(L, -3);
    lua_pushlightuserdata(L, (void *)(uintptr_t)about);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        lp__log(about->ctx, about->log, LP__ERROR, "%s failed: %s", about->what, type);
    }
}

static int make_traceback(lua_State *L)
{
    luaL_traceback(L, lua_touserdata(L, 1), NULL, 0);
    return 1;
}

void lp__log_error(lp__context_t *ctx, lp__log_t *log, lua_State *L, const char *what,
                   lua_State *from)
{
    about_t about = {.ctx = ctx, .log = log, .what = what};
    lua_pushcfunction(L, make_traceback);
    lua_pushlightuserdata(L, from);
    if (!from || lua_pcall(L, 1, 1, 0) != LUA_OK) {
        if (!from)
            lua_pop(L, 1);
        lua_pop(L, 1);
        lua_pushnil(L);
    }
    log_pair(L, &about);
}

/* ---- Callbacks ---------------------------------------------------------------- */

/* Message handler: the error and its traceback, in a table. */
static int add_traceback(lua_State *L)
{
    luaL_traceback(L, L, NULL, 1);
    lua_createtable(L, 2, 0);
    lua_insert(L, 1);
    lua_rawseti(L, 1, 2);
    lua_rawseti(L, 1, 1);
    return 1;
}

void lp__context_make_calls(lua_State *L, lp__context_t *ctx)
{
    lua_State *calls = lua_newthread(L);
    luaL_checkstack(calls, LUA_MINSTACK, "callbacks");
    lua_pushcfunction(calls, add_traceback);
    lua_rawgeti(calls, LUA_REGISTRYINDEX, ctx->anchors);
    luaL_ref(L, LUA_REGISTRYINDEX);
    ctx->calls_L = calls;
}

/* Pops the error that a call with the handler left at the top of calls_L. */
static void log_raised(const about_t *about)
{
    lua_State *L = about->ctx->calls_L;
    if (lua_type(L, -1) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
    } else {
        lua_pushvalue(L, -1); /* out of memory */
        lua_pushnil(L);
    }
    log_pair(L, about);
    lua_pop(L, 1);
}

void lp__log_raised(lp__context_t *ctx, const char *what)
{
    about_t about = {.ctx = ctx, .what = what};
    log_raised(&about);
}

int lp__context_pcall(lp__context_t *ctx, int nargs, int nresults, int handler)
{
    lua_State *before = ctx->running ? lp__running_switch(ctx->running, ctx->calls_L) : NULL;
    int status = lua_pcall(ctx->calls_L, nargs, nresults, handler);
    if (before)
        lp__running_switch(ctx->running, before);
    return status;
}

void lp__context_call(lp__context_t *ctx, lp__log_t *log, int nargs, const char *what)
{
    about_t about = {.ctx = ctx, .log = log, .what = what};
    lp__log_retain(log); /* the callback may end its manager */
    if (lp__context_pcall(ctx, nargs, 0, LP__CALLS_HANDLER) != LUA_OK)
        log_raised(&about);
    lp__log_release(log);
}
