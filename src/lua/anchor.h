/* anchor.h - values kept alive by number: in the array part of one table of the registry, in
 * slots that are used again. Cheaper than luaL_ref, and freeing cannot fail. Loop thread. */
#ifndef LP_LUA_ANCHOR_H
#define LP_LUA_ANCHOR_H

#include "lua/context.h"

/* Pops the value at the top and returns its slot, never 0; raises when out of memory. */
int lp__anchor(lua_State *L, lp__context_t *ctx);

/* The same where the table of anchors is at hand at index `table`: in methods it is their
 * second upvalue (LP__ANCHORS), on an idle calls_L it lies at LP__CALLS_ANCHORS. A quarter of
 * the calls. */
int lp__anchor_in(lua_State *L, lp__context_t *ctx, int table);
void lp__anchor_free_in(lua_State *L, lp__context_t *ctx, int table, int slot);
#define LP__ANCHORS lua_upvalueindex(2)

/* The next `count` values can be anchored without raising: for whoever needs several. */
void lp__anchor_reserve(lua_State *L, lp__context_t *ctx, int count);

/* Pushes the value. Allocates nothing. */
void lp__anchor_push(lua_State *L, lp__context_t *ctx, int slot);

/* Frees the slot; 0 is allowed. Allocates nothing, cannot raise. */
void lp__anchor_free(lua_State *L, lp__context_t *ctx, int slot);

#endif
