/* codec.c - the life of a codec, and its error texts. Runs on the thread of its state.
 *
 * The codec is a userdata in the registry: it goes when the state goes, after everything
 * that could use it. The references it holds are released by its __gc. */
#include "lua/codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "lua/codec_internal.h"

static const char registry_key; /* its address */

static int codec_gc(lua_State *L)
{
    lp__codec_t *codec = lua_touserdata(L, 1);
    codec->closed = true;
    lp__seen_free(&codec->seen);
    lp__modules_free(&codec->modules);
    lp__code_cache_free(&codec->codes);
    lp__code_release(codec->last_code);
    codec->last_code = NULL;
    codec->last = NULL;
    lp__message_free(&codec->dump);
    lp__free(codec->error);
    codec->error = NULL;
    return 0;
}

lp__codec_t *lp__codec_new(lua_State *L)
{
    luaL_checkstack(L, 6, "codec");
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key) == LUA_TUSERDATA) {
        lp__codec_t *codec = lua_touserdata(L, -1);
        lua_pop(L, 1);
        return codec;
    }
    lua_pop(L, 1);

    lp__codec_t *codec = lua_newuserdatauv(L, sizeof *codec, 0);
    memset(codec, 0, sizeof *codec);
    lp__message_init(&codec->dump);
    codec->sends_code = true;
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, codec_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "leasepool.codec");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);

    lp__modules_init(&codec->modules, L);
    lua_createtable(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    codec->known_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_createtable(L, 0, 0);
    codec->loaded_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushboolean(L, 0); /* luaL_ref would give nil no place */
    codec->last_ref = luaL_ref(L, LUA_REGISTRYINDEX);

    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
    return codec;
}

void lp__codec_take_handles(lp__codec_t *codec, bool take)
{
    codec->takes_handles = take;
}

void lp__codec_send_no_code(lp__codec_t *codec)
{
    codec->sends_code = false;
}

bool lp__error_open(lp__codec_t *codec, lp__text_t *text)
{
    codec->path_len = 0;
    if (!codec->error) {
        codec->error = lp__malloc(LP_MEM_BINDING, LP__ERROR_MAX);
        if (!codec->error)
            return false;
    }
    codec->error[0] = '\0';
    text->at = codec->error;
    text->end = codec->error + LP__ERROR_MAX;
    text->cut = false;
    return true;
}

void lp__text_add(lp__text_t *text, const char *bytes, size_t len)
{
    size_t room = (size_t)(text->end - text->at) - 4; /* for the dots and the final zero */
    if (text->cut)
        return;
    if (len > room) {
        memcpy(text->at, bytes, room);
        memcpy(text->at + room, "...", 4);
        text->at += room;
        text->cut = true;
        return;
    }
    memcpy(text->at, bytes, len);
    text->at += len;
    *text->at = '\0';
}

void lp__text_addz(lp__text_t *text, const char *string)
{
    lp__text_add(text, string, strlen(string));
}

static void add_formatted(lp__text_t *text, const char *format, va_list args)
{
    size_t room = (size_t)(text->end - text->at) - 4;
    if (text->cut)
        return;
    int len = vsnprintf(text->at, room + 1, format, args);
    if (len < 0)
        return;
    if ((size_t)len > room) {
        memcpy(text->at + room, "...", 4);
        text->at += room;
        text->cut = true;
    } else {
        text->at += len;
    }
}

void lp__text_addf(lp__text_t *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_formatted(text, format, args);
    va_end(args);
}

int lp__codec_fail(lp__codec_t *codec, const char *format, ...)
{
    lp__text_t text;
    if (lp__error_open(codec, &text)) {
        va_list args;
        va_start(args, format);
        add_formatted(&text, format, args);
        va_end(args);
    }
    return LP_ETRANSFER;
}

const char *lp__codec_error(const lp__codec_t *codec)
{
    return codec->error && codec->error[0] ? codec->error : lp_strerror(LP_ETRANSFER);
}

size_t lp__codec_error_path_len(const lp__codec_t *codec)
{
    return codec->error ? codec->path_len : 0;
}
