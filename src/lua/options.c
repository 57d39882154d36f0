/* options.c - see options.h. */
#include "lua/options.h"

#include <lauxlib.h>
#include <string.h>

#include "core/backend.h"
#include "core/options.h"
#include "lua/errors.h"
#include "lua/seconds.h"

static const lp_backend_t *const *known_backends(size_t *count)
{
    static const lp_backend_t *backends[1];
    backends[0] = lp_backend_thread();
    *count = sizeof backends / sizeof *backends;
    return backends;
}

/* In quotes; zeros as \0, and a long one is cut where it says so. */
static const char *show_string(lua_State *L, int index)
{
    enum { SHOWN = 80 };
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    luaL_Buffer shown;
    luaL_buffinit(L, &shown);
    luaL_addchar(&shown, '"');
    for (size_t i = 0; i < length && i < SHOWN; i++) {
        if (text[i])
            luaL_addchar(&shown, text[i]);
        else
            luaL_addstring(&shown, "\\0");
    }
    luaL_addstring(&shown, length > SHOWN ? "\"..." : "\"");
    luaL_pushresult(&shown);
    return lua_tostring(L, -1);
}

const char *lp__options_show(lua_State *L, int index)
{
    int type = lua_type(L, index);
    if (type == LUA_TSTRING)
        return show_string(L, index);
    if (type == LUA_TNUMBER || type == LUA_TBOOLEAN)
        return luaL_tolstring(L, index, NULL);
    return lua_pushstring(L, luaL_typename(L, index));
}

/* The same name in any letter case? */
static bool same_name(const char *name, const char *given, size_t length)
{
    if (strlen(name) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] != (given[i] | 0x20))
            return false;
    return true;
}

static const lp_backend_t *parse_backend(lua_State *L, int index)
{
    static const char *const absent[] = {"interpreter", "process"};
    size_t count, length = 0;
    const lp_backend_t *const *backends = known_backends(&count);
    const char *given = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : "";
    lua_pushliteral(L, "");
    for (size_t i = 0; i < count; i++) {
        if (same_name(backends[i]->name, given, length))
            return backends[i];
        lua_pushfstring(L, "%s%s\"%s\"", lua_tostring(L, -1), i > 0 ? ", " : "", backends[i]->name);
        lua_remove(L, -2);
    }
    const char *allowed = lua_tostring(L, -1);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (same_name(absent[i], given, length))
            lp__error_raise(L, LP_ENOTSUP,
                            "backend: got \"%s\", which this build does not have; it has: %s",
                            given, allowed);
    lp__error_raise(L, LP_EINVAL, "backend: got %s, allowed: %s", lp__options_show(L, index),
                    allowed);
    return NULL;
}

static void refuse(lua_State *L, const lp__option_t *row, int index)
{
    char allowed[96];
    lp__option_allowed(row, allowed, sizeof allowed);
    lp__error_raise(L, LP_EINVAL, "%s: got %s, allowed: %s", row->name, lp__options_show(L, index),
                    allowed);
}

static void parse_row(lua_State *L, const lp__option_t *row, int index, void *options)
{
    char *field = (char *)options + row->offset;
    if (row->type == LP__OPTION_INTEGER) {
        if (lua_type(L, index) != LUA_TNUMBER || !lua_isinteger(L, index))
            refuse(L, row, index); /* 4.0 and "4" are refused too */
        int64_t value = lua_tointeger(L, index);
        memcpy(field, &value, sizeof value);
        return;
    }
    size_t length;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    if (!text || strlen(text) != length)
        refuse(L, row, index);
    memcpy(field, &text, sizeof text); /* the caller's table keeps it alive */
}

static void refuse_unknown(lua_State *L, const lp__option_t *rows, size_t count, int key)
{
    const char *name = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : NULL;
    const char *nearest = name ? lp__option_nearest(rows, count, name) : NULL;
    if (nearest)
        lp__error_raise(L, LP_EINVAL, "unknown option \"%s\"; did you mean \"%s\"?", name, nearest);
    lp__error_raise(L, LP_EINVAL, "unknown option %s", lp__options_show(L, key));
}

const lp_backend_t *lp__options_parse_manager(lua_State *L, int index,
                                              lp_manager_options_t *options)
{
    const lp_backend_t *backend = lp_backend_thread();
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    lp_manager_options_init(options);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int value = lua_gettop(L), key = value - 1;
        const char *name = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : "";
        const lp__option_t *row = lp__option_find(rows, count, name);
        if (row)
            parse_row(L, row, value, options);
        else if (strcmp(name, "backend") == 0)
            backend = parse_backend(L, value);
        else
            refuse_unknown(L, rows, count, key);
        lua_settop(L, key);
    }
    lua_pushliteral(L, "max_pools");
    if (lua_rawget(L, index) == LUA_TNIL)
        lp__error_raise(L, LP_EINVAL,
                        "max_pools: got nil, allowed: an integer from 1; it has no default");
    lua_pop(L, 1);
    return backend;
}

void lp__options_parse_acquire(lua_State *L, int index, lp__acquire_options_t *options)
{
    lp_acquire_options_init(&options->core);
    options->wait = true;
    if (lua_isnoneornil(L, index))
        return;
    if (lua_type(L, index) != LUA_TTABLE)
        lp__error_raise(L, LP_EINVAL, "manager:acquire: got %s, allowed: a table of options",
                        luaL_typename(L, index));
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int value = lua_gettop(L), type = lua_type(L, value);
        const char *name = lua_type(L, value - 1) == LUA_TSTRING ? lua_tostring(L, value - 1) : "";
        if (strcmp(name, "owner") == 0) {
            size_t length;
            const char *owner = type == LUA_TSTRING ? lua_tolstring(L, value, &length) : NULL;
            if (!owner || strlen(owner) != length)
                lp__error_raise(L, LP_EINVAL, "owner: got %s, allowed: a string without zeros",
                                lp__options_show(L, value));
            options->core.owner = owner;
        } else if (strcmp(name, "timeout") == 0) {
            options->core.timeout_ns = lp__seconds_check(L, value, "manager:acquire", "timeout");
        } else if (strcmp(name, "wait") == 0) {
            if (type != LUA_TBOOLEAN)
                lp__error_raise(L, LP_EINVAL, "wait: got %s, allowed: true or false",
                                lp__options_show(L, value));
            options->wait = lua_toboolean(L, value);
        } else {
            lp__error_raise(L, LP_EINVAL,
                            "manager:acquire: unknown option %s; allowed: owner, timeout, wait",
                            lp__options_show(L, value - 1));
        }
        lua_settop(L, value - 1);
    }
}
