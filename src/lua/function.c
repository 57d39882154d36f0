/* function.c - the sending side of functions: from a closure to its code.
 *
 * Three ways, from fast to slow: the closure was seen before (a weak table from closures to
 * tickets of the code cache), it is a module's, or its bytecode is dumped and looked up by
 * content. Runs no Lua code and starts no garbage collection. */
#include <string.h>

#include "base/alloc.h"
#include "lua/codec_internal.h"
#include "lua/native.h"

static int write_dump(lua_State *L, const void *bytes, size_t len, void *data)
{
    lp__message_t *dump = data;
    (void)L;
    if (len > dump->cap - dump->len) {
        int rc = lp__message_reserve(dump, len);
        if (rc != 0)
            return rc;
    }
    memcpy(dump->data + dump->len, bytes, len);
    dump->len += (uint32_t)len;
    return 0;
}

/* Stripped code names no upvalue; how the absence is spelled differs between releases. */
static bool is_unnamed(const char *name)
{
    return name[0] == '\0' || strcmp(name, "(no name)") == 0 || strcmp(name, "(*no name)") == 0;
}

/* Fills in what `made` says of upvalues. The globals are the upvalue named `_ENV`, whatever
 * it holds, and an unnamed one that holds the sender's globals. */
static void describe_upvalues(lua_State *L, int index, lp__code_t *made)
{
    const char *name;
    made->unnamed = false;
    made->upvalues = made->travelling = 0;
    memset(made->globals, 0, sizeof made->globals);
    lua_pushglobaltable(L);
    for (int n = 1; (name = lua_getupvalue(L, index, n)) != NULL; n++) {
        bool globals = strcmp(name, "_ENV") == 0;
        if (!globals && is_unnamed(name)) {
            made->unnamed = true;
            globals = lua_rawequal(L, -1, -2) != 0;
        }
        lua_pop(L, 1);
        made->upvalues++;
        if (globals)
            made->globals[(n - 1) >> 3] |= (uint8_t)(1u << ((n - 1) & 7));
        else
            made->travelling++;
    }
    lua_pop(L, 1);
}

/* A closure whose upvalues have no names is another code once their values changed. */
static bool still_fits(lua_State *L, int index, const lp__code_t *code)
{
    if (!code->unnamed)
        return true;
    lp__code_t now;
    describe_upvalues(L, index, &now);
    return memcmp(now.globals, code->globals, sizeof now.globals) == 0;
}

static lp__code_t *known_code(lp__codec_t *codec, lua_State *L, int index)
{
    lp__code_t *code = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->known_ref);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) == LUA_TNUMBER)
        code = lp__code_cache_get(&codec->codes, lua_tointeger(L, -1));
    lua_pop(L, 2);
    return code && still_fits(L, index, code) ? code : NULL;
}

static void remember(lp__codec_t *codec, lua_State *L, int index, int64_t ticket)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, codec->known_ref);
    lua_pushvalue(L, index);
    lua_pushinteger(L, (lua_Integer)ticket);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int dump_code(lp__codec_t *codec, lua_State *L, int index, lp__code_t *made)
{
    lp__message_reset(&codec->dump);
    lua_pushvalue(L, index);
    int rc = lua_dump(L, write_dump, &codec->dump, 0);
    lua_pop(L, 1);
    if (rc != 0)
        return rc;
    made->kind = LP__CODE_BYTECODE;
    made->bytes = codec->dump.data;
    made->len = codec->dump.len;
    describe_upvalues(L, index, made);
    return 0;
}

int lp__code_of(lp__codec_t *codec, lua_State *L, int index, lp__code_t **code)
{
    if (!lua_checkstack(L, 6))
        return LP_ENOMEM;
    index = lua_absindex(L, index);
    if ((*code = known_code(codec, L, index)) != NULL)
        return 0;

    lp__module_name_t name;
    bool in_c = lua_iscfunction(L, index) != 0;
    lp__native_t *native = in_c ? lp__native_at(L, index) : NULL;
    int rc =
        native ? 0 : lp__modules_find(&codec->modules, L, index, codec->generation, in_c, &name);
    if (rc < 0)
        return rc;
    lp__code_t made;
    memset(&made, 0, sizeof made);
    if (native) {
        made.kind = LP__CODE_NATIVE;
        made.native = native;
        made.module = native->path ? native->path : "";
        made.module_len = strlen(made.module);
        made.key = native->name;
        made.key_len = strlen(native->name);
    } else if (rc == 1) {
        made.kind = LP__CODE_REFERENCE;
        made.module = name.module;
        made.module_len = name.module_len;
        made.key = name.key;
        made.key_len = name.key_len;
    } else if (in_c) {
        return LP_ETRANSFER;
    } else if ((rc = dump_code(codec, L, index, &made)) != 0) {
        return rc;
    }
    int64_t ticket;
    rc = lp__code_cache_intern(&codec->codes, &made, code, &ticket);
    /* Not a module's function: it would stay one when the module is gone. */
    if (rc == 0 && made.kind == LP__CODE_BYTECODE)
        remember(codec, L, index, ticket);
    lp__message_reset(&codec->dump);
    if (codec->dump.cap > 65536)
        lp__message_free(&codec->dump); /* one huge function shall not stay twice */
    return rc;
}
