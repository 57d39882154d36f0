/* libs.c - see libs.h. */
#include "lua/libs.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

/* The first two in the order in which Lua opens them. */
static const struct {
    const char *option, *name;
    lua_CFunction open;
} libs[] = {
    {"base", LUA_GNAME, luaopen_base},
    {"package", LUA_LOADLIBNAME, luaopen_package},
    {"coroutine", LUA_COLIBNAME, luaopen_coroutine},
    {"debug", LUA_DBLIBNAME, luaopen_debug},
    {"io", LUA_IOLIBNAME, luaopen_io},
    {"math", LUA_MATHLIBNAME, luaopen_math},
    {"os", LUA_OSLIBNAME, luaopen_os},
    {"string", LUA_STRLIBNAME, luaopen_string},
    {"table", LUA_TABLIBNAME, luaopen_table},
    {"utf8", LUA_UTF8LIBNAME, luaopen_utf8},
};

enum { COUNT = sizeof libs / sizeof *libs };

unsigned lp__libs_find(const char *name)
{
    for (unsigned i = 0; i < COUNT; i++)
        if (strcmp(libs[i].option, name) == 0)
            return 1u << i;
    return 0;
}

void lp__libs_open(lua_State *L, unsigned wanted)
{
    for (unsigned i = 0; i < COUNT; i++) {
        if (!(wanted & 1u << i))
            continue;
        luaL_requiref(L, libs[i].name, libs[i].open, 1);
        lua_pop(L, 1);
    }
}
