/* lists.c - what the Lua half does with whole lists, without their metamethods. In Lua each element
 * takes a call or several: of the 1,740 instructions of the loop's thread that lease:map spent on
 * one, these three spare 780. Loop thread. */
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "lua/module.h"

static bool is_n(lua_State *L, int index)
{
    return lua_type(L, index) == LUA_TSTRING && strcmp(lua_tostring(L, index), "n") == 0;
}

/* stray_key(list, count): a key that is neither one of 1 to count nor "n"; nothing: there is
 * none. */
static int stray_key(lua_State *L)
{
    lua_Integer count = luaL_checkinteger(L, 2);
    lua_settop(L, 1);
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_settop(L, 2);
        lua_Integer place = lua_isinteger(L, 2) ? lua_tointegerx(L, 2, NULL) : 0;
        if ((place < 1 || place > count) && !is_n(L, 2))
            return 1;
    }
    return 0;
}

static void copy(lua_State *L, int from, lua_Integer first, lua_Integer count, int to,
                 lua_Integer to_first)
{
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, from, first + i);
        lua_rawseti(L, to, to_first + i);
    }
}

/* slice(list, first, last): a new list of these elements. */
static int slice(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2), count = luaL_checkinteger(L, 3) - first + 1;
    lua_createtable(L, count < (1 << 20) ? (int)count : 0, 0);
    copy(L, 1, first, count, lua_gettop(L), 1);
    return 1;
}

/* place(from, count, to, first): the first elements of `from` become those of `to` from `first`
 * on. */
static int place(lua_State *L)
{
    copy(L, 1, 1, luaL_checkinteger(L, 2), 3, luaL_checkinteger(L, 4));
    return 0;
}

void lp__lists_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"stray_key", stray_key}, {"slice", slice}, {"place", place}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
