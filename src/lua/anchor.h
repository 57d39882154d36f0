/* anchor.h - values kept alive by number: in the array part of one table of the registry, in
 * slots that are used again. Cheaper than luaL_ref, and freeing cannot fail. Loop thread. */
#ifndef LP_LUA_ANCHOR_H
#define LP_LUA_ANCHOR_H

#include "lua/context.h"

/* Pops the value at the top and returns its slot, never 0; raises when out of memory. */
int lp__anchor(lua_State *L, lp__context_t *ctx);

/* Pushes the value. Allocates nothing. */
void lp__anchor_push(lua_State *L, lp__context_t *ctx, int slot);

/* Frees the slot; 0 is allowed. Allocates nothing, cannot raise. */
void lp__anchor_free(lua_State *L, lp__context_t *ctx, int slot);

#endif
