/* command.c - see command.h. */
#include "lua/command.h"

#include <lauxlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/process.h"
#include "core/backend.h"
#include "lua/errors.h"
#include "lua/options.h"

enum { MAX_WORDS = 65536 };

/* Pushes the option, if it is there and of this type. */
static bool push_table(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    int type = lua_rawget(L, index);
    if (type != LUA_TNIL && type != LUA_TTABLE)
        lp__options_refuse(L, name, -1);
    return type == LUA_TTABLE;
}

/* A string without zeros, or NULL. */
static const char *text_at(lua_State *L, int index)
{
    size_t length;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    return text && strlen(text) == length ? text : NULL;
}

/* Pushes room for so many pointers, and one that is NULL. */
static const char **push_pointers(lua_State *L, size_t count)
{
    const char **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    memset(list, 0, (count + 1) * sizeof *list);
    return list;
}

/* ---- The program -------------------------------------------------------------- */

static void read_command(lua_State *L, lp_manager_options_t *options)
{
    int list = lua_gettop(L);
    size_t count = lua_rawlen(L, list), pairs = 0;
    lua_pushnil(L);
    while (lua_next(L, list)) {
        pairs++;
        lua_pop(L, 1);
    }
    if (count == 0 || count > MAX_WORDS || pairs != count)
        lp__options_refuse(L, "command", list);
    luaL_checkstack(L, (int)count + 4, "command");
    const char **words = push_pointers(L, count);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1); /* stays, as what is pointed to */
        words[i] = text_at(L, -1);
        if (!words[i] || (i == 0 && !words[i][0]))
            lp__error_raise(L, LP_EINVAL, "command: got %s at %d, allowed: a string without zeros",
                            lp__options_show(L, -1), (int)i + 1);
    }
    options->command = words;
}

/* The file that runs; false: it is not known. */
static bool find_program(char *name, size_t size)
{
    return uv_exepath(name, &size) == 0 && access(name, X_OK) == 0;
}

/* Is it a stand-alone interpreter that runs the script? Those have `arg`, with the names of the
 * interpreter (below 0) and of the script; without a script, the interpreter's alone. */
static bool is_interpreter(lua_State *L)
{
    char name[4096];
    int top = lua_gettop(L);
    bool yes = lua_getfield(L, LUA_REGISTRYINDEX, LP__WORKER_KEY) == LUA_TSTRING;
    if (!yes && lua_getglobal(L, "arg") == LUA_TTABLE) {
        yes = lua_rawgeti(L, -1, -1) == LUA_TSTRING;
        if (!yes && lua_rawgeti(L, -2, 0) == LUA_TSTRING && find_program(name, sizeof name)) {
            const char *slash = strrchr(name, '/');
            yes = strncmp(slash ? slash + 1 : name, "lua", 3) == 0;
        }
    }
    lua_settop(L, top);
    return yes;
}

/* Adds a string as Lua source. */
static void add_quoted(luaL_Buffer *source, const char *text)
{
    luaL_addchar(source, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n')
            luaL_addchar(source, '\\');
        if (*text == '\r')
            luaL_addstring(source, "\\r");
        else
            luaL_addchar(source, *text);
    }
    luaL_addchar(source, '"');
}

static void add_path(lua_State *L, luaL_Buffer *source, const char *field, const char *text)
{
    (void)L;
    if (!text)
        return;
    luaL_addstring(source, "package.");
    luaL_addstring(source, field);
    luaL_addchar(source, '=');
    add_quoted(source, text);
    luaL_addchar(source, ' ');
}

/* Pushes the chunk that finds this module again, whatever the child's environment. */
static const char *push_bootstrap(lua_State *L)
{
    const char *path = NULL, *cpath = NULL;
    luaL_Buffer source;
    if (lua_getglobal(L, "package") == LUA_TTABLE) {
        lua_getfield(L, -1, "path");
        path = text_at(L, -1);
        lua_getfield(L, -2, "cpath");
        cpath = text_at(L, -1);
    }
    luaL_buffinit(L, &source);
    add_path(L, &source, "path", path);
    add_path(L, &source, "cpath", cpath);
    luaL_addstring(&source, "require('leasepool.core').serve()");
    luaL_pushresult(&source);
    return lua_tostring(L, -1);
}

/* The interpreter's file, or, where it is gone since it was started, what the system still has. */
static const char *push_interpreter(lua_State *L)
{
    char name[4096];
    if (!find_program(name, sizeof name))
        return lua_pushliteral(L, "/proc/self/exe");
    return lua_pushstring(L, name);
}

static void use_interpreter(lua_State *L, lp_manager_options_t *options)
{
    if (!is_interpreter(L))
        lp__error_raise(L, LP_EINVAL,
                        "command: got nil, allowed: a list of strings, the program and its "
                        "arguments, as no stand-alone interpreter runs this script; it must do "
                        "require \"leasepool.child\"");
    const char **words = push_pointers(L, 4), **word = words;
    *word++ = push_interpreter(L);
    if (lua_getfield(L, LUA_REGISTRYINDEX, LP__WORKER_KEY) == LUA_TSTRING) {
        *word++ = LP__WORKER_OPTION;
    } else {
        *word++ = "-E";
        *word++ = "-e";
    }
    *word = push_bootstrap(L);
    options->command = words;
}

/* ---- What it is given --------------------------------------------------------- */

static void read_env(lua_State *L, lp_manager_options_t *options)
{
    int map = lua_gettop(L);
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, map)) {
        const char *name = text_at(L, -2);
        if (!name || !name[0] || strchr(name, '='))
            lp__error_raise(L, LP_EINVAL, "env: got the name %s, allowed: strings without '='",
                            lp__options_show(L, -2));
        if (!text_at(L, -1))
            lp__error_raise(L, LP_EINVAL, "env: %s: got %s, allowed: a string without zeros", name,
                            lp__options_show(L, -1));
        count++;
        lua_pop(L, 1);
    }
    if (count > MAX_WORDS)
        lp__options_refuse(L, "env", map);
    luaL_checkstack(L, (int)count + 4, "env");
    const char **env = push_pointers(L, count);
    size_t i = 0;
    lua_pushnil(L);
    while (lua_next(L, map)) {
        env[i++] = lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
        lua_replace(L, -2); /* it stays */
        lua_insert(L, -2);
    }
    options->env = env;
}

static void read_limits(lua_State *L, lp_manager_options_t *options)
{
    int map = lua_gettop(L);
    lp_rlimit_t *limits = NULL;
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, map)) {
        const char *name = text_at(L, -2);
        if (!name || lp__rlimit_find(name) < 0)
            lp__error_raise(L, LP_EINVAL, "rlimits: got %s, allowed: %s", lp__options_show(L, -2),
                            lp__rlimit_names());
        if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 0)
            lp__error_raise(L, LP_EINVAL, "rlimits: %s: got %s, allowed: an integer from 0", name,
                            lp__options_show(L, -1));
        count++;
        lua_pop(L, 1);
    }
    limits = lua_newuserdatauv(L, (count + 1) * sizeof *limits, 0);
    options->rlimits = limits;
    options->rlimit_count = count;
    lua_pushnil(L);
    while (lua_next(L, map)) {
        limits->name = lua_tostring(L, -2);
        limits++->value = (uint64_t)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
}

static void read_cwd(lua_State *L, int index, lp_manager_options_t *options)
{
    lua_pushliteral(L, "cwd");
    if (lua_rawget(L, index) == LUA_TNIL)
        return;
    options->cwd = text_at(L, -1);
    if (!options->cwd || !options->cwd[0])
        lp__options_refuse(L, "cwd", -1);
}

/* Another backend has none of these. */
static void refuse_all(lua_State *L, int index, const lp_backend_t *backend)
{
    static const char *const names[] = {"command", "cwd", "env", "rlimits"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_pushstring(L, names[i]);
        if (lua_rawget(L, index) != LUA_TNIL)
            lp__error_raise(L, LP_EINVAL, "%s: got %s, allowed: nil on the backend %s", names[i],
                            lp__options_show(L, -1), backend->name);
        lua_pop(L, 1);
    }
}

void lp__command_read(lua_State *L, int index, const lp_backend_t *backend,
                      lp_manager_options_t *options)
{
    if (!backend->processes) {
        refuse_all(L, index, backend);
        return;
    }
    luaL_checkstack(L, 16, "options");
    if (push_table(L, index, "command"))
        read_command(L, options);
    else
        use_interpreter(L, options);
    if (push_table(L, index, "env"))
        read_env(L, options);
    read_cwd(L, index, options);
    if (push_table(L, index, "rlimits"))
        read_limits(L, options);
}
