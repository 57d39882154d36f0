/* watcher.h - who is told when a future ends: waits, callbacks, and waits for several.
 *
 * A future's watchers are a list, oldest first, in which the first one's `prev` is the last.
 * They are told in that order; telling runs no Lua code. Loop thread. */
#ifndef LP_LUA_WATCHER_H
#define LP_LUA_WATCHER_H

#include "lua/future.h"
#include "lua/wait.h"

/* `wait` ends when `future`, which is pending, does. 0 or LP_ENOMEM. */
int lp__watcher_add_wait(lp__context_t *ctx, lp__future_t *future, lp__wait_t *wait);

/* The callback, an anchored function, is called with the future when that ends; on one that has
 * ended, soon. The future is at the top of the stack. 0 or LP_ENOMEM; may raise. */
int lp__watcher_add_callback(lua_State *L, lp__context_t *ctx, lp__future_t *future, int callback);

/* The future, whose anchor still is, has ended: tells all. The last that is told frees the anchor.
 */
void lp__watcher_tell_all(lua_State *L, lp__context_t *ctx, lp__future_t *future);

/* Frees all of a future that will never end. */
void lp__watcher_forget_all(lp__future_t *future);

void lp__watcher_free_spares(lp__context_t *ctx);

/* Adds check_wait(what), which raises WouldBlockError where nothing can wait, and wait_some to the
 * table at the top:
 *
 *     wait_some(what, list, count, needed, timeout) -> index
 *
 * Waits until `needed` of the `count` futures of a list have ended: the index of the first that
 * did (of those that had before, the first of the list); nil when the time (seconds; nil: no
 * limit) is over before. Raises ConfigError, naming `what`, for an element that is no future. */
void lp__watcher_register(lua_State *L, lp__context_t *ctx);

#endif
