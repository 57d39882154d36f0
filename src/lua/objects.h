/* objects.h - the manager and the lease as scripts see them. Loop thread. */
#ifndef LP_LUA_OBJECTS_H
#define LP_LUA_OBJECTS_H

#include "lua/context.h"

/* Makes the metatable, and adds `leasepool.manager` to the table at the top. */
void lp__manager_register(lua_State *L, lp__context_t *ctx);
void lp__lease_register(lua_State *L, lp__context_t *ctx);

/* Pushes an empty lease and returns where its handle belongs: made before the executor is
 * acquired, as making it may raise. An empty one is collected silently. */
lp_lease_t **lp__lease_new(lua_State *L);

/* What the first argument of a method stands for; raises, naming `what`, when it is none or was
 * collected. */
lp_manager_t *lp__manager_check(lua_State *L, lp__context_t *ctx, const char *what);
lp_lease_t *lp__lease_check(lua_State *L, lp__context_t *ctx, const char *what);

/* Methods that lie in files of their own. */
int lp__manager_acquire(lua_State *L); /* acquire.c */
int lp__lease_run(lua_State *L);       /* submit.c */
int lp__lease_submit(lua_State *L);
int lp__lease_post(lua_State *L);

#endif
