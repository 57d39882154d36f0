/* grind.h - the calls that give work to a grinder, on itself or on a view of it. Loop thread. */
#ifndef LP_LUA_GRIND_H
#define LP_LUA_GRIND_H

#include "lua/context.h"

/* The grinder of the userdata at `index`, which is one; NULL: it was collected, or the state
 * closes. */
lp_grinder_t *lp__grinder_at(lua_State *L, lp__context_t *ctx, int index);

/* Pushes the table that grinder:stats gives. */
int lp__grinder_push_stats(lua_State *L, const lp_grinder_stats_t *stats);

int lp__grind_submit(lua_State *L);
int lp__grind_enqueue(lua_State *L);
int lp__grind_with(lua_State *L);

/* Makes the metatable of views. */
void lp__grind_register(lua_State *L, lp__context_t *ctx);

#endif
