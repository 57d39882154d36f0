/* errors.c - see errors.h. Runs on whatever thread runs the Lua state. */
#include "lua/errors.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <string.h>

#include "base/process.h"
#include "leasepool.h"

typedef struct {
    const char *name, *code;
    int err; /* the core's code; 0: the base class */
} class_t;

static const class_t classes[] = {
    {"LeasePoolError", "error", 0},
    {"ConfigError", "invalid_option", LP_EINVAL},
    {"LeasePoolNotStartedError", "not_started", LP_ENOTSTARTED},
    {"LeaseUnavailableError", "lease_unavailable", LP_EUNAVAILABLE},
    {"TimeoutError", "timeout", LP_ETIMEDOUT},
    {"LeaseExpiredError", "lease_expired", LP_EEXPIRED},
    {"QueueFullError", "queue_full", LP_EQUEUEFULL},
    {"TransferError", "not_transferable", LP_ETRANSFER},
    {"JobError", "job_failed", LP_EJOB},
    {"CancelledError", "cancelled", LP_ECANCELLED},
    {"BrokenExecutorError", "executor_broken", LP_EBROKEN},
    {"UnsupportedBackendError", "unsupported_backend", LP_ENOTSUP},
    {"WrongThreadError", "wrong_thread", LP_EWRONGTHREAD},
    {"WouldBlockError", "would_block", LP_EWOULDBLOCK},
};
enum { CLASS_COUNT = sizeof classes / sizeof *classes };

static const char registry_key; /* its address: the table of classes in the registry */

static const class_t *class_of_err(int err)
{
    for (size_t i = 1; i < CLASS_COUNT; i++)
        if (classes[i].err == err)
            return &classes[i];
    return &classes[0];
}

/* tostring: where it was raised, the message, and where the error has one, the worker's
 * traceback. */
static int error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "message");
    luaL_tolstring(L, -1, NULL);
    lua_getfield(L, 1, "where");
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_insert(L, -2);
        lua_concat(L, 2);
    } else {
        lua_pop(L, 1);
    }
    lua_getfield(L, 1, "traceback");
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushliteral(L, "\n");
        lua_insert(L, -2);
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
    }
    return 1;
}

static int error_concat(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

static void push_class(lua_State *L, const class_t *class, int base_index)
{
    lua_createtable(L, 0, 6); /* the class is the metatable of its errors */
    lua_pushstring(L, class->name);
    lua_setfield(L, -2, "__name");
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, error_concat);
    lua_setfield(L, -2, "__concat");
    lua_pushstring(L, class->name);
    lua_setfield(L, -2, "name");
    if (class->err != 0) {
        lua_getfield(L, base_index, "LeasePoolError");
        lua_setfield(L, -2, "base");
    }
}

void lp__errors_push_classes(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    luaL_checkstack(L, 8, "error classes");
    lua_createtable(L, 0, CLASS_COUNT);
    int table = lua_gettop(L);
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        push_class(L, &classes[i], table);
        lua_setfield(L, table, classes[i].name);
    }
    lua_pushvalue(L, table);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
}

static void push_error(lua_State *L, const class_t *class, const char *format, va_list args)
{
    luaL_checkstack(L, 8, "error");
    lua_createtable(L, 0, 6);
    lua_pushvfstring(L, format, args);
    lua_setfield(L, -2, "message");
    lua_pushstring(L, class->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, class->code);
    lua_setfield(L, -2, "code");
    lp__errors_push_classes(L);
    lua_getfield(L, -1, class->name);
    lua_setmetatable(L, -3);
    lua_pop(L, 1);
}

void lp__error_push(lua_State *L, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    push_error(L, class_of_err(err), format, args);
    va_end(args);
}

/* ---- Where --------------------------------------------------------------------- */

static const char folder_key; /* "@/usr/share/lua/5.4/leasepool/": of the module's Lua half */

void lp__errors_own_folder(lua_State *L)
{
    lua_Debug frame;
    if (!lua_getstack(L, 1, &frame) || !lua_getinfo(L, "S", &frame))
        return;
    const char *slash = strrchr(frame.source, '/');
    if (!slash)
        return;
    lua_pushlstring(L, frame.source, (size_t)(slash - frame.source) + 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &folder_key);
}

/* Pushes where the script called the module, whichever half of it raises: "script.lua:5: ", or
 * "" for a caller in C. */
static void push_where(lua_State *L)
{
    lua_Debug frame;
    int level = 1;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &folder_key);
    const char *folder = lua_tostring(L, -1);
    while (folder && lua_getstack(L, level, &frame) && lua_getinfo(L, "S", &frame) &&
           strncmp(frame.source, folder, strlen(folder)) == 0)
        level++;
    luaL_where(L, level);
    lua_remove(L, -2);
}

void lp__error_set_reason(lua_State *L, const char *reason)
{
    lp__exit_t how;
    lua_pushstring(L, reason);
    lua_setfield(L, -2, "reason");
    if (strncmp(reason, "the worker ", 11) != 0 || !lp__exit_find(reason, &how))
        return; /* texts of the script may say anything */
    lua_pushinteger(L, how.value);
    lua_setfield(L, -2, how.kind == LP__EXIT_SIGNAL ? "signal" : "exit_code");
    if (!strstr(reason, " by its manager"))
        return;
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "killed");
}

int lp__error_throw(lua_State *L)
{
    push_where(L);
    lua_setfield(L, -2, "where");
    return lua_error(L);
}

int lp__error_raise(lua_State *L, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    push_error(L, class_of_err(err), format, args);
    va_end(args);
    return lp__error_throw(L);
}

const char *lp__error_class(lua_State *L, int index)
{
    const char *found = NULL;
    index = lua_absindex(L, index);
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
        return NULL;
    lua_pushliteral(L, "name");
    lua_rawget(L, -2);
    const char *name = lua_tostring(L, -1); /* anchored by the class while we look */
    lp__errors_push_classes(L);
    for (size_t i = 0; name && !found && i < CLASS_COUNT; i++) {
        if (strcmp(classes[i].name, name) != 0)
            continue;
        lua_getfield(L, -1, classes[i].name);
        if (lua_rawequal(L, -1, -4))
            found = classes[i].name;
        lua_pop(L, 1);
    }
    lua_pop(L, 3);
    return found;
}

int lp__error_set_class(lua_State *L, const char *name)
{
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        if (strcmp(classes[i].name, name) != 0)
            continue;
        lp__errors_push_classes(L);
        lua_getfield(L, -1, classes[i].name);
        lua_setmetatable(L, -3);
        lua_pop(L, 1);
        return 0;
    }
    return LP_EINVAL;
}
