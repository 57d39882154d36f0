/* native.c - see native.h. */
#include "lua/native.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "lua/codec.h"
#include "lua/context.h"
#include "lua/errors.h"
#include "lua/interrupt.h"
#include "lua/job.h"
#include "lua/options.h"
#include "lua/state.h"
#include "wire/writer.h"

/* ---- In any state --------------------------------------------------------------- */

/* Gives the userdata at the top this finalizer; `key` is where its metatable is kept. */
static void set_finalizer(lua_State *L, const char *key, lua_CFunction finalizer)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, finalizer);
        lua_setfield(L, -2, "__gc");
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, key);
    }
    lua_setmetatable(L, -2);
}

typedef struct {
    lp__message_t args, results;
} messages_t;

static const char messages_key;

static int messages_gc(lua_State *L)
{
    messages_t *messages = lua_touserdata(L, 1);
    lp__message_free(&messages->args);
    lp__message_free(&messages->results);
    return 0;
}

/* The reference that a closure holds. Finalizers of the script may still call the closure when it
 * is gone. */
typedef struct {
    lp__native_t *native;
} box_t;

static const char box_key;

static int box_gc(lua_State *L)
{
    box_t *box = lua_touserdata(L, 1);
    lp__native_release(box->native);
    box->native = NULL;
    return 0;
}

/* Pushes two messages that are freed whatever is raised: here by the collector, who does not know
 * how large they are, else by the caller. */
static messages_t *push_messages(lua_State *L)
{
    messages_t *messages = lua_newuserdatauv(L, sizeof *messages, 0);
    lp__message_init(&messages->args);
    lp__message_init(&messages->results);
    set_finalizer(L, &messages_key, messages_gc);
    return messages;
}

/* Called by Lua code. */
static int call(lua_State *L)
{
    const lp__native_t *native = ((const box_t *)lua_touserdata(L, lua_upvalueindex(1)))->native;
    if (!native)
        return lp__error_raise(L, LP_ENOTSTARTED, "leasepool: the Lua state is closing");
    lp__codec_t *codec = lp__codec_new(L);
    int nargs = lua_gettop(L);
    messages_t *messages = push_messages(L);
    lua_insert(L, 1);
    int rc = lp__encode_values(codec, L, 2, nargs, "arg", &messages->args);
    if (rc != 0)
        lp__job_refuse(L, codec, rc, native->name);
    const lp__state_t *state = lp__state_of(L);
    rc = lp__native_call(native, state ? state->worker : NULL, &messages->args, &messages->results);
    lp__message_free(&messages->args);
    if (rc == 0)
        rc = lp__decode_values(codec, L, &messages->results);
    else if (rc == LP_EJOB)
        lua_pushlstring(L, (const char *)messages->results.data, messages->results.len);
    lp__message_free(&messages->results);
    if (rc == LP_EJOB)
        return lua_error(L);
    lp__interrupt_check(L);
    return rc >= 0 ? rc : luaL_error(L, "%s: %s", native->name, lp_strerror(rc));
}

void lp__native_push(lua_State *L, lp__native_t *native)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, native) == LUA_TFUNCTION)
        return;
    lua_pop(L, 1);
    box_t *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->native = NULL;
    set_finalizer(L, &box_key, box_gc);
    lp__shared_retain(&native->shared);
    box->native = native;
    lua_pushcclosure(L, call, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, native);
}

lp__native_t *lp__native_at(lua_State *L, int index)
{
    if (lua_tocfunction(L, index) != call || !lua_getupvalue(L, index, 1))
        return NULL;
    const box_t *box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return box->native;
}

/* ---- As a job ------------------------------------------------------------------- */

/* What a message of a job that failed, or was stopped, holds: see job.h. */
static int write_end(lp__message_t *message, const lp__message_t *cause, const char *worker,
                     const char *name)
{
    lp__message_reset(message);
    int rc = lp__write_byte(message, LP__WIRE_VERSION);
    if (rc == 0)
        rc = lp__write_int(message, cause ? 4 : 3);
    if (rc == 0 && cause)
        rc = lp__write_string(message, (const char *)cause->data, cause->len);
    if (rc == 0)
        rc = lp__write_bool(message, false); /* no traceback */
    if (rc == 0)
        rc = lp__write_string(message, worker, strlen(worker));
    return rc == 0 ? lp__write_string(message, name, strlen(name)) : rc;
}

/* The same of one whose results cannot travel: there is one reason. */
static int write_refusal(lp__message_t *message)
{
    char text[64];
    int len = snprintf(text, sizeof text, "the values take more than %u bytes",
                       (unsigned)LP__MESSAGE_MAX);
    lp__message_reset(message);
    int rc = lp__write_byte(message, LP__WIRE_VERSION);
    if (rc == 0)
        rc = lp__write_int(message, 2);
    if (rc == 0)
        rc = lp__write_string(message, text, (size_t)len);
    return rc == 0 ? lp__write_int(message, 0) : rc; /* bytes of a path */
}

int lp__native_run(lp__state_t *state, const lp__native_t *native)
{
    lp__message_t results, *message = &state->message;
    lp__message_init(&results);
    int status = lp__native_call(native, state->worker, message, &results), rc = 0;
    if (status == 0) {
        lp__message_free(message);
        lp__message_move(message, &results);
        return 0;
    }
    if (status == LP_EJOB)
        rc = write_end(message, &results, state->name, native->name);
    else if (status == LP_ETRANSFER)
        rc = write_refusal(message);
    else if (status == lp__desk_stop_wanted(&state->worker->desk))
        rc = write_end(message, NULL, state->name, native->name);
    else
        lp__message_reset(message);
    lp__message_free(&results);
    if (rc != 0)
        lp__message_reset(message);
    return rc != 0 && status == LP_EJOB ? rc : status;
}

/* ---- Loading -------------------------------------------------------------------- */

/* The library stays, as does what it may have started. */
static lp_native_cb load(const char *path, const char *symbol, char *why, size_t size)
{
    void *found = NULL;
    uv_lib_t *lib = lp__malloc(LP_MEM_BINDING, sizeof *lib);
    if (!lib) {
        snprintf(why, size, "not enough memory");
        return NULL;
    }
    if (uv_dlopen(path, lib) != 0 || uv_dlsym(lib, symbol, &found) != 0 || !found) {
        snprintf(why, size, "%s", uv_dlerror(lib));
        uv_dlclose(lib);
        lp__free(lib);
        return NULL;
    }
    lp__free(lib); /* what it says of the library is not needed any more */
    lp_native_cb fn;
    memcpy(&fn, &found, sizeof fn);
    return fn;
}

lp__native_t *lp__native_load_here(const char *path, size_t path_len, const char *name, char *why,
                                   size_t size)
{
    char *copy = path_len > 0 ? lp__malloc(LP_MEM_BINDING, path_len + 1) : NULL;
    if (path_len == 0)
        snprintf(why, size, "the host has registered it, which a child process does not have");
    else if (!copy)
        snprintf(why, size, "not enough memory");
    if (!copy)
        return NULL;
    memcpy(copy, path, path_len);
    copy[path_len] = '\0';
    lp_native_cb fn = load(copy, name, why, size);
    lp__native_t *native = fn ? lp__native_new(copy, name, fn, NULL) : NULL;
    lp__free(copy);
    return native;
}

static const char *check_text(lua_State *L, int index, const char *what, const char *name)
{
    size_t length = 0;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    if (!text || length == 0 || strlen(text) != length)
        lp__error_raise(L, LP_EINVAL, "%s: %s: got %s, allowed: a string without zeros", what, name,
                        lua_isnone(L, index) ? "no value" : lp__options_show(L, index));
    return text;
}

/* native(name) */
static int find_native(lua_State *L)
{
    lp_runtime_t *rt = lp__context_runtime(L, LP__CONTEXT(L));
    const char *name = check_text(L, 1, "leasepool.native", "name");
    lp__native_t *native = lp__native_find(rt, name);
    if (!native)
        return lp__error_raise(L, LP_EINVAL,
                               "leasepool.native: got \"%s\", allowed: a native job that the host "
                               "has registered, or leasepool.load_native has loaded",
                               name);
    lp__native_push(L, native);
    return 1;
}

/* Pushes the path under which the library is found from everywhere: a child process may start in
 * another directory. One without a slash is for the system to look for. */
static const char *push_whole_path(lua_State *L, const char *path)
{
    char whole[4096];
    uv_fs_t req;
    if (!strchr(path, '/'))
        return lua_pushstring(L, path);
    if (uv_fs_realpath(NULL, &req, path, NULL) == 0 && strlen(req.ptr) < sizeof whole)
        path = strcpy(whole, req.ptr);
    uv_fs_req_cleanup(&req);
    return lua_pushstring(L, path);
}

/* load_native(path, symbol) */
static int load_native(lua_State *L)
{
    static const char what[] = "leasepool.load_native";
    char why[512];
    lp__native_t *native;
    lp_runtime_t *rt = lp__context_runtime(L, LP__CONTEXT(L));
    const char *path = check_text(L, 1, what, "path"), *symbol = check_text(L, 2, what, "symbol");
    path = push_whole_path(L, path);
    lp_native_cb fn = load(path, symbol, why, sizeof why);
    if (!fn)
        return lp__error_raise(L, LP_EINVAL, "%s: %s", what, why);
    int rc = lp__native_add(rt, path, symbol, fn, NULL, &native);
    if (rc != 0)
        return lp__error_raise(L, rc, "%s: %s", what, lp_strerror(rc));
    lp__native_push(L, native);
    return 1;
}

void lp__native_register(lua_State *L, lp__context_t *ctx)
{
    static const luaL_Reg functions[] = {
        {"native", find_native}, {"load_native", load_native}, {NULL, NULL}};
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, functions, 1);
}
