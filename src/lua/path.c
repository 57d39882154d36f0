/* path.c - see path.h. */
#include "lua/path.h"

#include <string.h>

#include "lua/codec_internal.h"

static bool is_identifier(const char *s, size_t len)
{
    if (len == 0 || (s[0] >= '0' && s[0] <= '9'))
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c >= '0' && c <= '9')))
            return false;
    }
    return true;
}

static void add_quoted(lp__text_t *text, const char *s, size_t len)
{
    lp__text_add(text, "[\"", 2);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            lp__text_addf(text, "\\%c", c);
        else if (c < 32 || c == 127)
            lp__text_addf(text, "\\%03d", c);
        else
            lp__text_add(text, &s[i], 1);
    }
    lp__text_add(text, "\"]", 2);
}

static void add_key(lua_State *L, lp__text_t *text, int index)
{
    size_t len;
    const char *s;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        s = lua_tolstring(L, index, &len);
        if (is_identifier(s, len)) {
            lp__text_add(text, ".", 1);
            lp__text_add(text, s, len);
        } else {
            add_quoted(text, s, len);
        }
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            lp__text_addf(text, "[" LUA_INTEGER_FMT "]", lua_tointeger(L, index));
        else
            lp__text_addf(text, "[" LUA_NUMBER_FMT "]", lua_tonumber(L, index));
        break;
    case LUA_TBOOLEAN:
        lp__text_addz(text, lua_toboolean(L, index) ? "[true]" : "[false]");
        break;
    default:
        lp__text_addf(text, "[%s]", luaL_typename(L, index));
        break;
    }
}

static void add_path(lua_State *L, lp__text_t *text, const char *what, const lp__place_t *place)
{
    if (place->up)
        add_path(L, text, what, place->up);
    switch (place->kind) {
    case LP__PLACE_VALUE:
        if (place->index == 0)
            lp__text_addz(text, "function");
        else
            lp__text_addf(text, "%s %d", what, place->index);
        break;
    case LP__PLACE_TABLE:
        if (place->in_key)
            lp__text_addz(text, ": key");
        else
            add_key(L, text, place->index);
        break;
    case LP__PLACE_UPVALUE: {
        const char *name = lua_getupvalue(L, place->index, place->number);
        bool called = place->up->kind == LP__PLACE_VALUE && place->up->index == 0;
        lp__text_addz(text, called ? ": upvalue " : ": function: upvalue ");
        if (name && name[0] && name[0] != '(')
            lp__text_addz(text, name);
        else
            lp__text_addf(text, "%d", place->number);
        if (name)
            lua_pop(L, 1);
        break;
    }
    }
}

int lp__path_fail(lp__codec_t *codec, lua_State *L, const char *what, const lp__place_t *place,
                  const char *reason, const char *detail)
{
    lp__text_t text;
    if (!lp__error_open(codec, &text))
        return LP_ENOMEM;
    add_path(L, &text, what, place);
    if (text.cut) { /* thousands of bytes; what they lead to matters more */
        text.at -= LP__ERROR_MAX / 2;
        text.cut = false;
        lp__text_addz(&text, "...");
    }
    codec->path_len = (size_t)(text.at - codec->error);
    lp__text_addf(&text, detail ? ": %s (%s)" : ": %s", reason, detail);
    return LP_ETRANSFER;
}

int lp__path_refuse(lp__codec_t *codec, lua_State *L, const char *what, const lp__place_t *place,
                    int index)
{
    const char *reason = luaL_typename(L, index);
    switch (lua_type(L, index)) {
    case LUA_TTABLE:
        reason = "table with a metatable";
        break;
    case LUA_TFUNCTION:
        reason = "C function that no module holds";
        break;
    case LUA_TLIGHTUSERDATA:
        return lp__path_fail(codec, L, what, place, "light userdata", NULL);
    case LUA_TTHREAD:
        reason = "coroutine";
        break;
    default:
        break;
    }
    const char *detail = NULL;
    int top = lua_gettop(L);
    if (lua_getmetatable(L, index)) {
        lua_pushliteral(L, "__name");
        lua_rawget(L, -2);
        if (lua_type(L, -1) == LUA_TSTRING)
            detail = lua_tostring(L, -1);
    }
    int rc = lp__path_fail(codec, L, what, place, reason, detail);
    lua_settop(L, top);
    return rc;
}
