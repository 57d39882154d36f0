/* libs.h - which of Lua's standard libraries a worker's state opens. Any thread. */
#ifndef LP_LUA_LIBS_H
#define LP_LUA_LIBS_H

#include <lua.h>

#define LP__LIBS_ALL 0x3ffu
#define LP__LIBS_NAMES                                                                             \
    "\"base\", \"coroutine\", \"debug\", \"io\", \"math\", \"os\", \"package\", \"string\", "      \
    "\"table\", \"utf8\""

/* The bit of the library called `name`; 0: there is none. */
unsigned lp__libs_find(const char *name);

/* Opens those whose bits are set. May raise. */
void lp__libs_open(lua_State *L, unsigned libs);

#endif
