/* fiber.h - coroutines that spawn and run start, and the futures of their results.
 *
 * A fiber belongs to the scope of the run in which it was spawned: run returns when its
 * scope is empty. There is no scheduler: completions resume coroutines. Loop thread. */
#ifndef LP_LUA_FIBER_H
#define LP_LUA_FIBER_H

#include "lua/context.h"
#include "lua/future.h"

/* Adds spawn, run and sleep to the table at the top. */
void lp__fiber_register(lua_State *L, lp__context_t *ctx);

#endif
