/* fiber.h - coroutines that spawn and run start, and the futures of their results.
 *
 * A fiber belongs to the scope of the run in which it was spawned: run returns when its
 * scope is empty. There is no scheduler: completions resume coroutines. A fiber lies in the
 * userdata of its future. Loop thread. */
#ifndef LP_LUA_FIBER_H
#define LP_LUA_FIBER_H

#include "lua/context.h"
#include "lua/future.h"

/* One call of run: what was spawned inside of it, by it or by what it spawned. Held by the
 * run, by its fibers, and by every wait of a coroutine that belongs to it. */
struct lp__scope_s {
    unsigned refs;
    unsigned live;              /* fibers that have not ended */
    unsigned round;             /* how often it was cancelled */
    bool failed;                /* the main one raised */
    struct lp__wait_s *joining; /* the run that waits for the end; NULL: none */
};

lp__scope_t *lp__scope_new(void);          /* with one reference; NULL: out of memory */
void lp__scope_retain(lp__scope_t *scope); /* NULL is allowed, here too: */
void lp__scope_release(lp__scope_t *scope);

/* Replaces the function at `fn` and all values above it by the future of a coroutine that
 * belongs to `scope` (NULL: to none) and was started with them. */
lp__future_t *lp__fiber_start(lua_State *L, lp__context_t *ctx, int fn, lp__scope_t *scope,
                              bool is_main);

/* Cancels the coroutines that a scope has now, as future:cancel does, the last spawned first: each
 * before what it may use of the one that spawned it. They end later, if they like: their handlers
 * may wait and may spawn others. */
void lp__fiber_cancel_scope(lua_State *L, lp__context_t *ctx, lp__scope_t *scope);

/* For coroutines that do not end: closes all of a scope that are suspended, in the same order. */
void lp__fiber_close_scope(lua_State *L, lp__context_t *ctx, lp__scope_t *scope);

/* Adds the traceback of a failed fiber, whose future is at `index`, to its error at the top:
 * to a string as text, to one of our errors as a field. */
void lp__fiber_add_traceback(lua_State *L, int index);

/* Adds spawn to the table at the top. */
void lp__fiber_register(lua_State *L, lp__context_t *ctx);

/* The state closes: frees what fibers that never ended hold in C. */
void lp__fiber_forget_all(lp__context_t *ctx);

#endif
