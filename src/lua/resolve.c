/* resolve.c - the receiving side of functions: from a code to a function of this state, and
 * from a module's name to what it holds. Runs on the thread of the receiver's state. */
#include <string.h>

#include "base/alloc.h"
#include "lua/codec_internal.h"
#include "lua/native.h"

/* Functions remembered for each state. Beyond this all are forgotten at once: a receiver
 * that goes through so many has little use for them. */
#define MAX_LOADED 1024

typedef struct {
    const lp__code_t *code;
    bool read;
} piece_t;

static const char *read_code(lua_State *L, void *data, size_t *len)
{
    piece_t *piece = data;
    (void)L;
    *len = piece->read ? 0 : piece->code->len;
    piece->read = true;
    return *len ? (const char *)piece->code->bytes : NULL;
}

/* Gives the function at the top its globals. */
static void set_globals(lua_State *L, const lp__code_t *code)
{
    for (int n = 1; n <= code->upvalues; n++) {
        if (!lp__code_is_globals(code, n))
            continue;
        lua_pushglobaltable(L);
        lua_setupvalue(L, -2, n);
    }
}

int lp__load_code(lp__codec_t *codec, lua_State *L, const lp__code_t *code)
{
    if (!lua_checkstack(L, 4))
        return LP_ENOMEM;
    piece_t piece = {code, false};
    int status = lua_load(L, read_code, &piece, "=(transferred)", "b");
    if (status != LUA_OK) {
        const char *reason = lua_tostring(L, -1);
        int rc = status == LUA_ERRMEM
                     ? LP_ENOMEM
                     : lp__codec_fail(codec, "code cannot be loaded: %s", reason ? reason : "?");
        lua_pop(L, 1);
        return rc;
    }
    set_globals(L, code);
    if (code->upvalues > 0 && !lp__code_is_globals(code, 1)) {
        lua_pushnil(L); /* lua_load takes the first upvalue for the globals */
        lua_setupvalue(L, -2, 1);
    }
    return 0;
}

static void remember(lp__codec_t *codec, lua_State *L, const lp__code_t *code)
{
    if (codec->loaded_count >= MAX_LOADED) {
        lua_createtable(L, 0, 0);
        lua_rawseti(L, LUA_REGISTRYINDEX, codec->loaded_ref);
        codec->loaded_count = 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->loaded_ref);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)code->id);
    lua_pop(L, 1);
    codec->loaded_count++;
}

static int push_native(lp__codec_t *codec, lua_State *L, const lp__code_t *code)
{
    char why[256];
    lp__native_t *native = code->native, *loaded = NULL;
    if (!native) /* a child process: it did not succeed when the code came */
        native = loaded =
            lp__native_load_here(code->module, code->module_len, code->key, why, sizeof why);
    if (!native)
        return lp__codec_fail(codec, "the native job '%s': %s", code->key, why);
    lp__native_push(L, native);
    lp__native_release(loaded);
    return 0;
}

int lp__push_code(lp__codec_t *codec, lua_State *L, lp__code_t *code)
{
    if (!lua_checkstack(L, 6))
        return LP_ENOMEM;
    if (code->kind == LP__CODE_BYTECODE && code->travelling > 0)
        return lp__load_code(codec, L, code);
    if (code->kind == LP__CODE_NATIVE)
        return push_native(codec, L, code);

    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->loaded_ref);
    if (lua_rawgeti(L, -1, (lua_Integer)code->id) != LUA_TNIL) {
        lua_copy(L, -1, -2);
        lua_pop(L, 1);
        if (code->kind == LP__CODE_BYTECODE)
            set_globals(L, code); /* the last call may have assigned to its `_ENV` */
        return 0;
    }
    lua_pop(L, 2);
    int rc =
        code->kind == LP__CODE_BYTECODE
            ? lp__load_code(codec, L, code)
            : lp__push_module(codec, L, code->module, code->module_len, code->key, code->key_len);
    if (rc == 0)
        remember(codec, L, code);
    return rc;
}

/* ---- Modules ---- */

/* Raw look-up in package.loaded; pushes the value if it is there. */
static bool push_loaded(lua_State *L, const char *module, size_t module_len, const char *key,
                        size_t key_len)
{
    int top = lua_gettop(L);
    if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) == LUA_TTABLE) {
        lua_pushlstring(L, module, module_len);
        int type = lua_rawget(L, -2);
        if (key && type == LUA_TTABLE) {
            lua_pushlstring(L, key, key_len);
            type = lua_rawget(L, -2);
        } else if (key || type == LUA_TBOOLEAN) {
            type = LUA_TNIL;
        }
        if (type != LUA_TNIL) {
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
            return true;
        }
    }
    lua_settop(L, top);
    return false;
}

typedef struct {
    const char *module, *key;
    size_t module_len, key_len;
    bool required; /* what failed is the indexing */
} request_t;

/* Protected: may run the module's chunk and its metamethods. */
static int require_protected(lua_State *L)
{
    request_t *request = lua_touserdata(L, 1);
    lua_getglobal(L, "require");
    lua_pushlstring(L, request->module, request->module_len);
    lua_call(L, 1, 1);
    request->required = true;
    if (request->key) {
        lua_pushlstring(L, request->key, request->key_len);
        lua_gettable(L, -2);
    }
    return 1;
}

int lp__push_module(lp__codec_t *codec, lua_State *L, const char *module, size_t module_len,
                    const char *key, size_t key_len)
{
    if (!lua_checkstack(L, 6))
        return LP_ENOMEM;
    if (push_loaded(L, module, module_len, key, key_len))
        return 0;

    request_t request = {module, key, module_len, key_len, false};
    lua_pushcfunction(L, require_protected);
    lua_pushlightuserdata(L, &request);
    int status = lua_pcall(L, 1, 1, 0);
    if (status == LUA_OK && !lua_isnil(L, -1))
        return 0;

    int rc;
    int shown = module_len < 200 ? (int)module_len : 200; /* from a message: no zero ends it */
    int key_shown = key_len < 200 ? (int)key_len : 200;
    const char *reason = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    if (status == LUA_ERRMEM)
        rc = LP_ENOMEM;
    else if (request.required)
        rc = lp__codec_fail(codec, "module '%.*s' of the worker has no '%.*s'%s%s", shown, module,
                            key ? key_shown : 5, key ? key : "value", reason ? ": " : "",
                            reason ? reason : "");
    else
        rc = lp__codec_fail(codec,
                            "module '%.*s' could not be required by the worker (one that exists "
                            "only in the script's package.preload or package.loaded cannot be "
                            "found there): %s",
                            shown, module, reason ? reason : "the error is not a string");
    lua_pop(L, 1);
    return rc;
}
