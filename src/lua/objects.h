/* objects.h - the manager and the lease as scripts see them. Loop thread. */
#ifndef LP_LUA_OBJECTS_H
#define LP_LUA_OBJECTS_H

#include "lua/context.h"
#include "lua/future.h"

/* Makes the metatable, and adds `leasepool.manager` to the table at the top. */
void lp__manager_register(lua_State *L, lp__context_t *ctx);
void lp__lease_register(lua_State *L, lp__context_t *ctx);
void lp__grinder_register(lua_State *L, lp__context_t *ctx);

/* Pushes an empty lease and returns where its handle belongs: made before the executor is
 * acquired, as making it may raise. An empty one is collected silently. */
lp_lease_t **lp__lease_new(lua_State *L, lp__context_t *ctx);

/* Ties the lease at `lease`, which has just been acquired, to what the table of options at
 * `options` says of it (it may be nil). The manager is at index 1. */
void lp__lease_adopt(lua_State *L, lp__context_t *ctx, int lease, int options);

/* The core's callback of a lease whose options have one; `data` is the context. */
void lp__lease_soft_expired(lp_lease_t *lease, void *data);

const char *lp__lease_state_name(lp_lease_state_t state);

/* Does the manager at index 1 want to know where its leases were acquired? */
bool lp__manager_wants_traceback(lua_State *L);

/* What the first argument of a method stands for; raises, naming `what`, when it is none or was
 * collected. */
lp_manager_t *lp__manager_check(lua_State *L, lp__context_t *ctx, const char *what);
lp_manager_t *lp__manager_test(lua_State *L, lp__context_t *ctx, const char *what); /* or NULL */
lp_lease_t *lp__lease_check(lua_State *L, lp__context_t *ctx, const char *what);

/* The lease of the userdata at `index`, which is one; NULL: it was collected, or the state closes.
 */
lp_lease_t *lp__lease_at(lua_State *L, lp__context_t *ctx, int index);

/* What gives work to a lease: itself, a view of it, or its executor, at index 1; raises, naming
 * `what`, when it is none of them. NULL as lp__lease_at. */
lp_lease_t *lp__lease_target(lua_State *L, lp__context_t *ctx, const char *what,
                             lp__traits_t **traits);

/* Methods that lie in files of their own. */
int lp__manager_stop(lua_State *L); /* stop.c */
int lp__manager_close(lua_State *L);

/* Begins to stop a grinder, whose handle is at index 1; leaves the future of the stop as the only
 * value of the stack. */
void lp__stop_grinder(lua_State *L, lp__context_t *ctx, lp_grinder_t *grinder, uint64_t timeout_ns,
                      const char *what);

/* How long <close> waits for a grinder before it cancels what is left: until the last lease that
 * there is would expire, and one more that it may need. */
uint64_t lp__stop_patience_ns(const lp_grinder_t *grinder);
int lp__manager_stats(lua_State *L); /* stats.c */
int lp__manager_push_stats(lua_State *L, const lp_manager_stats_t *stats);
int lp__manager_acquire(lua_State *L); /* acquire.c */
int lp__manager_try_acquire(lua_State *L);
int lp__manager_request(lua_State *L);
int lp__lease_run(lua_State *L); /* submit.c */
int lp__lease_submit(lua_State *L);
int lp__lease_try_submit(lua_State *L);
int lp__lease_post(lua_State *L);

/* submit_slice(view, fn, list, first, count), as view:try_submit(fn, elements, count) with so many
 * elements of the list, from `first` on. */
int lp__lease_submit_slice(lua_State *L);
int lp__lease_with(lua_State *L); /* view.c */

/* Makes the metatables of views and executors. */
void lp__view_register(lua_State *L, lp__context_t *ctx);

/* Pushes the executor of the lease at `index`, the same each time: it is kept in a user value. */
int lp__lease_push_executor(lua_State *L, lp__context_t *ctx, int index, int user_value);

#endif
