/* attach.h - see attach.c. */
#ifndef LP_LUA_ATTACH_H
#define LP_LUA_ATTACH_H

#include "lua/context.h"

/* Adds attach, detach, fd, timeout and step to the table at the top. */
void lp__attach_register(lua_State *L, lp__context_t *ctx);

#endif
