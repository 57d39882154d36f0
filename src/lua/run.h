/* run.h - leasepool.run and leasepool.sleep. */
#ifndef LP_LUA_RUN_H
#define LP_LUA_RUN_H

#include "lua/context.h"

/* Adds run and sleep to the table at the top. */
void lp__run_register(lua_State *L, lp__context_t *ctx);

#endif
