/* lists.c - what the Lua half does with whole lists, without their metamethods. In Lua each element
 * takes a call or several: of the 1,740 instructions of the loop's thread that lease:map spent on
 * one, these spare 800. Loop thread. */
#include <lauxlib.h>
#include <stdbool.h>

#include "lua/module.h"

enum { MOST_ROOM = 1 << 20 };

static bool is_n(lua_State *L, int index)
{
    size_t length;
    const char *key = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    return key && length == 1 && key[0] == 'n';
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

/* place(from, count, to, first): the first elements of `from` become those of `to` from `first`
 * on. */
static int place(lua_State *L)
{
    lua_Integer count = luaL_checkinteger(L, 2), first = luaL_checkinteger(L, 4);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, 1, 1 + i);
        lua_rawseti(L, 3, first + i);
    }
    return 0;
}

/* list(n): a table with `n`, and room for as many elements within reason. */
static int new_list(lua_State *L)
{
    lua_Integer count = luaL_checkinteger(L, 1);
    lua_createtable(L, count < MOST_ROOM ? (int)count : MOST_ROOM, 1);
    lua_pushinteger(L, count);
    lua_setfield(L, -2, "n");
    return 1;
}

void lp__lists_register(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"stray_key", stray_key}, {"place", place}, {"list", new_list}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
