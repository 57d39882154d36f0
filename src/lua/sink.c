/* sink.c - see sink.h.
 *
 * A script's sink lies in a user value of the manager's handle, and is found in a table with weak
 * values: so a logger that refers to its manager keeps nothing alive. When the handle is
 * collected before the manager has ended, the sinks are anchored for the rest. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* flockfile */
#endif
#include "lua/sink.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/manager.h"
#include "lua/anchor.h"
#include "lua/errors.h"
#include "lua/log.h"
#include "lua/options.h"
#include "lua/setup.h"

typedef enum { STDERR, FUNCTION, OBJECT } kind_t;

typedef struct {
    kind_t kind;
    int slot;         /* user value of the handle */
    int anchor;       /* 0: the handle is there */
    const char *name; /* of the option */
} sink_t;

static const char sinks_key; /* the weak table, by the address of the sink */

struct lp__log_s {
    lp__context_t *ctx;
    unsigned refs;
    bool own_target; /* log_target was given */
    sink_t logger, target;
};

/* ---- Levels ------------------------------------------------------------------- */

static const char *const level_names[] = {"DEBUG", "INFO", "WARN", "ERROR"};

const char *lp__level_name(lp__level_t level)
{
    return level_names[level];
}

bool lp__level_parse(const char *name, size_t length, lp__level_t *level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++) {
        size_t at = 0;
        if (strlen(level_names[i]) != length)
            continue;
        while (at < length && toupper((unsigned char)name[at]) == level_names[i][at])
            at++;
        if (at == length) {
            *level = (lp__level_t)i;
            return true;
        }
    }
    return false;
}

/* ---- Life --------------------------------------------------------------------- */

/* A value with a method `log`? */
static bool has_method(lua_State *L, int index)
{
    int type = lua_type(L, index);
    if (type != LUA_TTABLE && !(type == LUA_TUSERDATA && luaL_getmetafield(L, index, "__index")))
        return false;
    lua_settop(L, index);
    bool yes = lua_getfield(L, index, "log") == LUA_TFUNCTION;
    lua_pop(L, 1);
    return yes;
}

/* Pushes the weak table, made on first use. */
static void push_sinks(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &sinks_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &sinks_key);
}

/* Reads one of the two options. False: it is not there. */
static bool parse_sink(lua_State *L, int options, int handle, sink_t *sink)
{
    const char *name = sink->name;
    int top = lua_gettop(L);
    lua_pushstring(L, name);
    lua_rawget(L, options);
    if (lua_isnil(L, -1)) {
        lua_settop(L, top);
        return false;
    }
    kind_t kind = STDERR;
    if (lua_isfunction(L, -1))
        kind = FUNCTION;
    else if (has_method(L, lua_gettop(L)))
        kind = OBJECT;
    if (kind == STDERR)
        lp__options_refuse(L, name, top + 1);
    push_sinks(L);
    lua_pushvalue(L, top + 1);
    lua_rawsetp(L, -2, sink);
    lua_pushvalue(L, top + 1);
    lua_setiuservalue(L, handle, sink->slot);
    sink->kind = kind;
    lua_settop(L, top);
    return true;
}

void lp__log_make(lua_State *L, lp__context_t *ctx, int options, int handle, lp__log_t **out)
{
    lp__log_t *log = *out = lp__calloc(LP_MEM_BINDING, sizeof *log);
    if (!log)
        luaL_error(L, "not enough memory");
    log->ctx = ctx;
    log->refs = 1;
    log->logger = (sink_t){.slot = LP__LOG_VALUE, .name = "logger"};
    log->target = (sink_t){.slot = LP__LOG_TARGET_VALUE, .name = "log_target"};
    parse_sink(L, options, handle, &log->logger);
    log->own_target = parse_sink(L, options, handle, &log->target);
}

/* Protected. Stack: the handle, the log. */
static int anchor_sinks(lua_State *L)
{
    lp__log_t *log = lua_touserdata(L, 2);
    sink_t *sinks[] = {&log->logger, &log->target};
    for (int i = 0; i < 2; i++) {
        if (sinks[i]->kind == STDERR || sinks[i]->anchor != 0)
            continue;
        lua_getiuservalue(L, 1, sinks[i]->slot);
        sinks[i]->anchor = lp__anchor(L, log->ctx);
    }
    return 0;
}

void lp__log_keep(lua_State *L, lp__log_t *log, int handle)
{
    if (!log)
        return;
    lua_pushcfunction(L, anchor_sinks);
    lua_pushvalue(L, handle);
    lua_pushlightuserdata(L, log);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) /* without memory: standard error has the rest */
        lua_pop(L, 1);
}

void lp__log_retain(lp__log_t *log)
{
    if (log)
        log->refs++;
}

/* Allocates nothing and runs no Lua code, so that any thread of the state will do. */
static void drop_sink(lp__context_t *ctx, sink_t *sink)
{
    lua_State *L = ctx->calls_L;
    if (sink->kind != STDERR && !ctx->closed) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &sinks_key);
        if (lua_rawgetp(L, -1, sink) != LUA_TNIL) {
            lua_pushnil(L);
            lua_rawsetp(L, -3, sink);
        }
        lua_pop(L, 2);
        lp__anchor_free(L, ctx, sink->anchor);
    }
    sink->kind = STDERR;
    sink->anchor = 0;
}

void lp__log_release(lp__log_t *log)
{
    if (!log || --log->refs > 0)
        return;
    drop_sink(log->ctx, &log->logger);
    drop_sink(log->ctx, &log->target);
    lp__free(log);
}

lp__log_t *lp__log_of(const lp_manager_t *manager)
{
    const lp__setup_t *setup = manager ? manager->runner_data : NULL;
    return setup ? setup->log : NULL;
}

/* ---- Fields ------------------------------------------------------------------- */

enum { MAX_DEPTH = 4 };

/* The whole line as a table of fields, on the stack. */
static void push_fields(lua_State *L, lp__context_t *ctx, const lp__line_t *line)
{
    int top = lua_gettop(L);
    if (!line->more || lp__decode_values(ctx->codec, L, line->more) != 1 ||
        !lua_istable(L, top + 1)) {
        lua_settop(L, top);
        lua_createtable(L, 0, 3);
    }
    if (line->worker) {
        lua_pushstring(L, line->worker);
        lua_setfield(L, -2, "worker");
    }
    if (line->lease_id != 0) {
        lua_pushinteger(L, (lua_Integer)line->lease_id);
        lua_setfield(L, -2, "lease_id");
    }
    if (line->owner) {
        lua_pushstring(L, line->owner);
        lua_setfield(L, -2, "owner");
    }
}

/* The string at the top, in quotes where it would not read as one word. */
static void quote(lua_State *L)
{
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    bool plain = length > 0;
    for (size_t i = 0; i < length && plain; i++)
        plain = isgraph((unsigned char)text[i]) && !strchr("\"=,{}\\", text[i]);
    if (plain)
        return;
    luaL_Buffer quoted;
    luaL_buffinit(L, &quoted);
    luaL_addchar(&quoted, '"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        char escaped[8];
        if (c == '"' || c == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c == '\n')
            snprintf(escaped, sizeof escaped, "\\n");
        else if (c < 32 || c == 127)
            snprintf(escaped, sizeof escaped, "\\%03d", c);
        else
            snprintf(escaped, sizeof escaped, "%c", c);
        luaL_addstring(&quoted, escaped);
    }
    luaL_addchar(&quoted, '"');
    luaL_pushresult(&quoted);
    lua_remove(L, -2);
}

typedef struct {
    const char *text; /* anchored by the list */
    int rank;
} item_t;

static int compare_items(const void *a, const void *b)
{
    const item_t *left = a, *right = b;
    return left->rank != right->rank ? left->rank - right->rank : strcmp(left->text, right->text);
}

/* What is known of every line comes first. */
static int rank_of(lua_State *L, int key, int depth)
{
    static const char *const first[] = {"worker", "lease_id", "owner"};
    for (int i = 0; i < 3 && depth == 0 && lua_type(L, key) == LUA_TSTRING; i++)
        if (strcmp(lua_tostring(L, key), first[i]) == 0)
            return i;
    return 3;
}

static void push_value(lua_State *L, int index, int depth);

/* Pushes "key=value", or the value alone for a whole number. */
static void push_item(lua_State *L, int key, int depth)
{
    int top = lua_gettop(L);
    if (lua_isinteger(L, key)) {
        push_value(L, key + 1, depth + 1);
        return;
    }
    luaL_tolstring(L, key, NULL);
    quote(L);
    lua_pushliteral(L, "=");
    push_value(L, key + 1, depth + 1);
    lua_concat(L, lua_gettop(L) - top);
}

/* Pushes the pairs of the table at `index`, sorted, with `separator` in between. */
static void push_pairs(lua_State *L, int index, int depth, const char *separator)
{
    luaL_checkstack(L, 16, "log fields");
    int count = 0, top = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        count++;
        lua_pop(L, 1);
    }
    lua_createtable(L, count, 0); /* keeps the texts */
    item_t *items = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *items, 0);
    int at = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int key = lua_gettop(L) - 1;
        push_item(L, key, depth);
        items[at].text = lua_tostring(L, -1);
        items[at].rank = rank_of(L, key, depth);
        lua_rawseti(L, top + 1, ++at);
        lua_settop(L, key);
    }
    qsort(items, (size_t)count, sizeof *items, compare_items);
    luaL_Buffer all;
    luaL_buffinit(L, &all);
    for (int i = 0; i < count; i++) {
        if (i > 0)
            luaL_addstring(&all, separator);
        luaL_addstring(&all, items[i].text);
    }
    luaL_pushresult(&all);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

static void push_value(lua_State *L, int index, int depth)
{
    if (lua_type(L, index) != LUA_TTABLE || luaL_getmetafield(L, index, "__tostring")) {
        int top = lua_gettop(L);
        luaL_tolstring(L, index, NULL);
        quote(L);
        if (lua_type(L, index) == LUA_TTABLE) {
            lua_replace(L, top);
            lua_settop(L, top);
        }
        return;
    }
    if (depth >= MAX_DEPTH) {
        lua_pushliteral(L, "{...}");
        return;
    }
    lua_pushliteral(L, "{");
    push_pairs(L, index, depth, ", ");
    lua_pushliteral(L, "}");
    lua_concat(L, 3);
}

/* Pushes the text, and behind it the fields of the table at the top, which is popped. */
static void push_text(lua_State *L, const lp__line_t *line)
{
    int fields = lua_gettop(L);
    lua_pushlstring(L, line->text, line->length);
    lua_pushnil(L);
    if (lua_next(L, fields)) {
        lua_settop(L, fields + 1);
        lua_pushliteral(L, " ");
        push_pairs(L, fields, 0, " ");
        lua_concat(L, 3);
    }
    lua_remove(L, fields);
}

/* ---- Standard error ----------------------------------------------------------- */

void lp__log_write(lp__level_t level, const char *text, size_t length)
{
    flockfile(stderr); /* one line at a time, of whatever length */
    fprintf(stderr, "leasepool: %s: ", level_names[level]);
    fwrite(text, 1, length, stderr);
    fputc('\n', stderr);
    funlockfile(stderr);
}

/* Protected. Stack: the line, the context. */
static int write_whole(lua_State *L)
{
    const lp__line_t *line = lua_touserdata(L, 1);
    size_t length;
    push_fields(L, lua_touserdata(L, 2), line);
    push_text(L, line);
    const char *text = lua_tolstring(L, -1, &length);
    lp__log_write(line->level, text, length);
    return 0;
}

static void write_line(lp__context_t *ctx, const lp__line_t *line)
{
    if (line->level < LP__WARN)
        return;
    lua_State *L = ctx->calls_L;
    if (!ctx->closed && (line->worker || line->more)) {
        lua_pushcfunction(L, write_whole);
        lua_pushlightuserdata(L, (void *)(uintptr_t)line);
        lua_pushlightuserdata(L, ctx);
        if (lua_pcall(L, 2, 0, 0) == LUA_OK)
            return;
        lua_pop(L, 1);
    }
    lp__log_write(line->level, line->text, line->length);
}

/* ---- Scripts' sinks ----------------------------------------------------------- */

/* Stack: the sink's value, the sink, the line, the context. */
static int call_sink(lua_State *L)
{
    const sink_t *sink = lua_touserdata(L, 2);
    const lp__line_t *line = lua_touserdata(L, 3);
    lp__context_t *ctx = lua_touserdata(L, 4);
    if (sink->kind == OBJECT) {
        lua_getfield(L, 1, "log");
        lua_pushvalue(L, 1);
    } else {
        lua_pushvalue(L, 1);
    }
    lua_pushstring(L, level_names[line->level]);
    if (sink->kind == OBJECT) {
        push_fields(L, ctx, line);
        push_text(L, line);
    } else {
        lua_pushlstring(L, line->text, line->length);
        push_fields(L, ctx, line);
    }
    lua_call(L, 3, 0);
    return 0;
}

/* Pushes the script's value, on an idle calls_L; nil and false: it is just being collected. */
static bool push_sink(lua_State *L, const sink_t *sink)
{
    if (sink->anchor != 0) {
        lua_rawgeti(L, LP__CALLS_ANCHORS, sink->anchor);
        return true;
    }
    lua_rawgetp(L, LUA_REGISTRYINDEX, &sinks_key);
    lua_rawgetp(L, -1, sink);
    lua_remove(L, -2);
    return !lua_isnil(L, -1);
}

/* True when the line was taken. */
static bool give(lp__context_t *ctx, sink_t *sink, const lp__line_t *line)
{
    char what[64];
    lua_State *L = ctx->calls_L;
    lua_pushcfunction(L, call_sink);
    if (!push_sink(L, sink)) {
        lua_pop(L, 2);
        return false;
    }
    lua_pushlightuserdata(L, sink);
    lua_pushlightuserdata(L, (void *)(uintptr_t)line);
    lua_pushlightuserdata(L, ctx);
    int rc = lp__context_pcall(ctx, 4, 0, LP__CALLS_HANDLER);
    if (rc == LUA_OK)
        return true;
    if (rc == LUA_ERRMEM) { /* the sink may be as good as before */
        lua_pop(L, 1);
        return false;
    }
    drop_sink(ctx, sink);
    snprintf(what, sizeof what, "the %s, which standard error replaces,", sink->name);
    lp__log_raised(ctx, what);
    return false;
}

static sink_t *sink_of(lp__log_t *log, bool target)
{
    return target && log->own_target ? &log->target : &log->logger;
}

bool lp__log_calls(lp__log_t *log, bool target)
{
    return log && !log->ctx->closed && sink_of(log, target)->kind != STDERR;
}

void lp__log_emit(lp__context_t *ctx, lp__log_t *log, bool target, const lp__line_t *line)
{
    lp__log_retain(log); /* the script may stop and forget its manager */
    if (!lp__log_calls(log, target) || !give(ctx, sink_of(log, target), line))
        write_line(ctx, line);
    lp__log_release(log);
}
