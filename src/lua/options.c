/* options.c - see options.h. */
#include "lua/options.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "core/backend.h"
#include "core/options.h"
#include "lua/errors.h"
#include "lua/seconds.h"

static const lp_backend_t *const *known_backends(size_t *count)
{
    static const lp_backend_t *backends[3];
    backends[0] = lp_backend_thread();
    backends[1] = lp_backend_interpreter();
    backends[2] = lp_backend_process();
    *count = backends[2] ? 3 : 2;
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

const char *lp__options_name(lua_State *L, int index)
{
    size_t length;
    const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    return name && strlen(name) == length ? name : "";
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

int lp__options_backends(lua_State *L)
{
    size_t count;
    const lp_backend_t *const *backends = known_backends(&count);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, backends[i]->name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static const lp_backend_t *parse_backend(lua_State *L, int index)
{
    static const char *const absent[] = {"process"};
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
    char allowed[192];
    lp__option_allowed(row, allowed, sizeof allowed);
    lp__error_raise(L, LP_EINVAL, "%s: got %s, allowed: %s", row->name, lp__options_show(L, index),
                    allowed);
}

/* Names of the grinder's that are the manager's, too, would mean the same. */
void lp__options_refuse(lua_State *L, const char *name, int index)
{
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    const lp__option_t *row = lp__option_find(rows, count, name);
    if (!row) {
        rows = lp__grinder_option_rows(&count);
        row = lp__option_find(rows, count, name);
    }
    refuse(L, row, lua_absindex(L, index));
}

static int64_t parse_integer(lua_State *L, const lp__option_t *row, int index)
{
    if (lua_type(L, index) != LUA_TNUMBER || !lua_isinteger(L, index))
        refuse(L, row, index); /* 4.0 and "4" are refused too */
    int64_t value = lua_tointeger(L, index);
    if (value < row->min || value > row->max) /* here, as 0 may mean none to the core */
        refuse(L, row, index);
    return value;
}

static uint64_t parse_duration(lua_State *L, const lp__option_t *row, int index)
{
    double seconds = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : -1;
    if (!isfinite(seconds) || seconds < 0 || (seconds == 0 && row->min > 0))
        refuse(L, row, index);
    return lp__seconds_to_ns(seconds);
}

static int parse_choice(lua_State *L, const lp__option_t *row, int index)
{
    const char *given = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
    for (int i = 0; i < LP__MAX_CHOICES && row->choices[i]; i++)
        if (strcmp(given, row->choices[i]) == 0)
            return i;
    refuse(L, row, index);
    return 0;
}

static int parse_boolean(lua_State *L, const lp__option_t *row, int index)
{
    if (lua_type(L, index) != LUA_TBOOLEAN)
        refuse(L, row, index);
    return lua_toboolean(L, index);
}

/* The caller's table keeps it alive. */
static const char *parse_string(lua_State *L, const lp__option_t *row, int index)
{
    size_t length;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    if (!text || strlen(text) != length)
        refuse(L, row, index);
    return text;
}

static void parse_row(lua_State *L, const lp__option_t *row, int index, void *options)
{
    char *field = (char *)options + row->offset;
    union {
        int64_t integer;
        uint64_t duration;
        int small;
        const char *string;
    } value;
    switch (row->type) {
    case LP__OPTION_INTEGER:
        value.integer = parse_integer(L, row, index);
        memcpy(field, &value.integer, sizeof value.integer);
        break;
    case LP__OPTION_DURATION:
        value.duration = parse_duration(L, row, index);
        memcpy(field, &value.duration, sizeof value.duration);
        break;
    case LP__OPTION_BOOLEAN:
        value.small = parse_boolean(L, row, index);
        memcpy(field, &value.small, sizeof value.small);
        break;
    case LP__OPTION_CHOICE:
        value.small = parse_choice(L, row, index);
        memcpy(field, &value.small, sizeof value.small);
        break;
    case LP__OPTION_STRING:
        value.string = parse_string(L, row, index);
        memcpy(field, &value.string, sizeof value.string);
        break;
    case LP__OPTION_BINDING: /* its own reader looks at it */
        break;
    }
}

static void refuse_unknown(lua_State *L, const lp__option_t *rows, size_t count, int key)
{
    const char *name = lp__options_name(L, key);
    const char *nearest = name[0] ? lp__option_nearest(rows, count, name) : NULL;
    if (nearest)
        lp__error_raise(L, LP_EINVAL, "unknown option \"%s\"; did you mean \"%s\"?", name, nearest);
    const char *given = lp__options_show(L, key);
    luaL_Buffer names;
    luaL_buffinit(L, &names);
    for (size_t i = 0; i < count; i++) {
        luaL_addstring(&names, i > 0 ? ", " : "");
        luaL_addstring(&names, rows[i].name);
    }
    luaL_pushresult(&names);
    lp__error_raise(L, LP_EINVAL, "unknown option %s; allowed: %s", given, lua_tostring(L, -1));
}

/* Reads the table at `index` into the struct that the rows are of. */
static void parse_rows(lua_State *L, int index, const lp__option_t *rows, size_t count,
                       void *options)
{
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int value = lua_gettop(L), key = value - 1;
        const lp__option_t *row = lp__option_find(rows, count, lp__options_name(L, key));
        if (row)
            parse_row(L, row, value, options);
        else
            refuse_unknown(L, rows, count, key);
        lua_settop(L, key);
    }
}

const lp_backend_t *lp__options_parse_manager(lua_State *L, int index,
                                              lp_manager_options_t *options)
{
    const lp_backend_t *backend = lp_backend_thread();
    int top = lua_gettop(L);
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    lp_manager_options_init(options);
    parse_rows(L, index, rows, count, options);
    lua_pushliteral(L, "backend");
    if (lua_rawget(L, index) != LUA_TNIL)
        backend = parse_backend(L, lua_gettop(L));
    lua_pushliteral(L, "max_pools");
    if (lua_rawget(L, index) == LUA_TNIL)
        lp__error_raise(L, LP_EINVAL,
                        "max_pools: got nil, allowed: an integer from 1; it has no default");
    lua_settop(L, top);
    return backend;
}

void lp__options_parse_grinder(lua_State *L, int index, lp_grinder_options_t *options)
{
    size_t count;
    const lp__option_t *rows = lp__grinder_option_rows(&count);
    lp_grinder_options_init(options);
    parse_rows(L, index, rows, count, options);
}

int lp__options_rows(lua_State *L)
{
    static const char *const kinds[] = {"manager", "grinder", NULL};
    bool of_grinder = luaL_checkoption(L, 1, "manager", kinds) == 1;
    size_t count;
    const lp__option_t *rows =
        of_grinder ? lp__grinder_option_rows(&count) : lp__manager_option_rows(&count);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        char text[192];
        lua_createtable(L, 0, 5);
        lua_pushstring(L, rows[i].name);
        lua_setfield(L, -2, "name");
        lp__option_allowed(&rows[i], text, sizeof text);
        lua_pushstring(L, text);
        lua_setfield(L, -2, "allowed");
        lp__option_default(&rows[i], text, sizeof text);
        lua_pushstring(L, text);
        lua_setfield(L, -2, "default");
        lua_pushstring(L, rows[i].unit);
        lua_setfield(L, -2, "unit");
        lua_pushstring(L, rows[i].doc);
        lua_setfield(L, -2, "doc");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* ---- Options of calls ------------------------------------------------------------ */

/* Calls `read` for each pair of the table at `index` (nil or none: for none): it reads the
 * value at the top and returns false when it does not know the name. */
static void parse_call(lua_State *L, int index, const char *what, const char *names,
                       bool (*read)(lua_State *L, const char *name, void *options), void *options)
{
    if (lua_isnoneornil(L, index))
        return;
    if (lua_type(L, index) != LUA_TTABLE)
        lp__error_raise(L, LP_EINVAL, "%s: got %s, allowed: a table of options", what,
                        lp__options_show(L, index));
    lua_pushnil(L);
    while (lua_next(L, index)) {
        int key = lua_gettop(L) - 1;
        const char *name = lp__options_name(L, key);
        if (!read(L, name, options))
            lp__error_raise(L, LP_EINVAL, "%s: unknown option %s; allowed: %s", what,
                            lp__options_show(L, key), names);
        lua_settop(L, key);
    }
}

static void refuse_value(lua_State *L, const char *what, const char *name, const char *allowed)
{
    lp__error_raise(L, LP_EINVAL, "%s: %s: got %s, allowed: %s", what, name,
                    lp__options_show(L, -1), allowed);
}

static bool read_boolean(lua_State *L, const char *what, const char *name)
{
    if (lua_type(L, -1) != LUA_TBOOLEAN)
        refuse_value(L, what, name, "true or false");
    return lua_toboolean(L, -1);
}

static const char *read_text(lua_State *L, const char *what, const char *name)
{
    size_t length;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
    if (!text || strlen(text) != length)
        refuse_value(L, what, name, "a string without zeros");
    return text;
}

static bool read_acquire(lua_State *L, const char *name, void *to)
{
    lp__acquire_options_t *options = to;
    int value = lua_gettop(L);
    if (strcmp(name, "owner") == 0) {
        options->core.owner = read_text(L, "manager:acquire", name);
    } else if (strcmp(name, "timeout") == 0) {
        options->core.timeout_ns = lp__seconds_check(L, value, "manager:acquire", name);
    } else if (strcmp(name, "wait") == 0) {
        options->wait = read_boolean(L, "manager:acquire", name);
    } else if (strcmp(name, "lease_seconds") == 0) {
        options->core.lease_ns = lp__seconds_positive(L, value, "manager:acquire", name);
    } else if (strcmp(name, "on_expiry") == 0) {
        size_t count;
        const lp__option_t *rows = lp__manager_option_rows(&count);
        options->core.on_expiry = parse_choice(L, lp__option_find(rows, count, name), value);
    } else if (strcmp(name, "on_soft_expiry") == 0) {
        if (lua_type(L, value) != LUA_TFUNCTION)
            refuse_value(L, "manager:acquire", name, "a function");
        options->has_soft_expiry = true;
    } else {
        return false;
    }
    return true;
}

void lp__options_parse_acquire(lua_State *L, int index, lp__acquire_options_t *options)
{
    lp_acquire_options_init(&options->core);
    options->wait = true;
    options->has_soft_expiry = false;
    parse_call(L, index, "manager:acquire",
               "lease_seconds, on_expiry, on_soft_expiry, owner, timeout, wait", read_acquire,
               options);
}

static bool read_stop(lua_State *L, const char *name, void *to)
{
    lp__stop_options_t *options = to;
    if (strcmp(name, "timeout") == 0)
        options->timeout_ns = lp__seconds_check(L, lua_gettop(L), "manager:stop", name);
    else if (strcmp(name, "wait") == 0)
        options->wait = read_boolean(L, "manager:stop", name);
    else
        return false;
    return true;
}

static bool read_grinder_stop(lua_State *L, const char *name, void *to)
{
    lp__stop_options_t *options = to;
    if (strcmp(name, "cancel_pending") == 0) {
        if (read_boolean(L, "grinder:stop", name))
            options->timeout_ns = 0;
    } else if (strcmp(name, "timeout") == 0) {
        uint64_t timeout_ns = lp__seconds_check(L, lua_gettop(L), "grinder:stop", name);
        if (timeout_ns < options->timeout_ns)
            options->timeout_ns = timeout_ns;
    } else if (strcmp(name, "wait") == 0) {
        options->wait = read_boolean(L, "grinder:stop", name);
    } else {
        return false;
    }
    return true;
}

void lp__options_parse_grinder_stop(lua_State *L, int index, lp__stop_options_t *options)
{
    *options = (lp__stop_options_t){.timeout_ns = LP_FOREVER, .wait = true};
    parse_call(L, index, "grinder:stop", "cancel_pending, timeout, wait", read_grinder_stop,
               options);
}

static bool read_with(lua_State *L, const char *name, void *to)
{
    lp__with_options_t *options = to;
    lp__traits_t *traits = options->traits;
    int value = lua_gettop(L);
    if (strcmp(name, "timeout") == 0) {
        traits->timeout_ns = lp__seconds_check(L, value, options->what, name);
    } else if (strcmp(name, "name") == 0) {
        if (lua_type(L, value) != LUA_TSTRING)
            refuse_value(L, options->what, name, "a string");
        traits->name = (char *)(uintptr_t)lua_tolstring(L, value, &traits->name_len);
    } else if (options->has_owner && strcmp(name, "owner") == 0) {
        traits->owner = (char *)(uintptr_t)read_text(L, options->what, name);
    } else {
        return false;
    }
    return true;
}

void lp__options_parse_with(lua_State *L, int index, lp__with_options_t *options)
{
    if (lua_type(L, index) != LUA_TTABLE)
        lp__error_raise(L, LP_EINVAL, "%s: got %s, allowed: a table of options", options->what,
                        lua_gettop(L) < index ? "no value" : luaL_typename(L, index));
    parse_call(L, index, options->what,
               options->has_owner ? "timeout, name, owner" : "timeout, name", read_with, options);
}

void lp__options_parse_stop(lua_State *L, int index, lp__stop_options_t *options)
{
    *options = (lp__stop_options_t){.timeout_ns = LP_FOREVER, .wait = true};
    parse_call(L, index, "manager:stop", "timeout, wait", read_stop, options);
}
