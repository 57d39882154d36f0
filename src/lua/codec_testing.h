/* codec_testing.h - helpers by which specs try the codec; see codec_testing.c. */
#ifndef LP_LUA_CODEC_TESTING_H
#define LP_LUA_CODEC_TESTING_H

#include <lua.h>

/* Pushes the table of helpers. */
int lp__codec_testing_open(lua_State *L);

#endif
