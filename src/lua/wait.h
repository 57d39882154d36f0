/* wait.h - park and wake: the one way in which Lua code waits.
 *
 * A wait is a userdata on the stack of the call that waits. In a coroutine the call yields
 * and the completion resumes exactly that coroutine, from a turn. On the idle main thread
 * the call drives the loop itself. Anywhere else nothing can wait: WouldBlockError.
 *
 *     wait = lp__wait_begin(L, ctx, "lease:run");   pushes the wait, or raises
 *     ... tell the source: wait->withdraw, wait->source; it will call lp__wait_wake
 *     return lp__wait_park(L, wait, continuation);
 *
 *     continuation: lp__wait_ended(L, index of the wait) -> false when it timed out
 *
 * Whatever ends the wait early (the coroutine is closed, a stranger resumes it, Ctrl-C)
 * calls `withdraw`, once: then the source must forget the wait. Loop thread. */
#ifndef LP_LUA_WAIT_H
#define LP_LUA_WAIT_H

#include "lua/context.h"

typedef struct lp__wait_s lp__wait_t;
struct lp__wait_s {
    lp__context_t *ctx;
    lp__wait_t *next; /* for the source's list of waits */
    void (*withdraw)(lp__wait_t *wait);
    void *source;
    lp__task_t task;         /* the resume that was ordered */
    lp__deadline_t deadline; /* the timeout */
    lp__fiber_t *fiber;
    int thread;  /* anchor of the parked coroutine; 0: the loop is driven */
    bool parked; /* between park and the end */
    bool ended;  /* woken or timed out */
    bool timed_out;
};

void lp__wait_register(lua_State *L, lp__context_t *ctx);

/* Pushes a wait. `what` names the call in the error. */
lp__wait_t *lp__wait_begin(lua_State *L, lp__context_t *ctx, const char *what);

/* Can the calling code wait at all? */
bool lp__wait_possible(lua_State *L, lp__context_t *ctx);

/* The wait ends after `timeout_ns` at the latest; LP_FOREVER: no limit. */
void lp__wait_limit(lp__wait_t *wait, uint64_t timeout_ns);

/* Call as `return lp__wait_park(...)`: the wait is on the stack at the top; `k` gets the
 * wait's index as its context. */
int lp__wait_park(lua_State *L, lp__wait_t *wait, lua_KFunction k);

/* What was waited for is there. The coroutine goes on in a later step of the turn. */
void lp__wait_wake(lp__wait_t *wait);

/* In the continuation: true when woken, false when timed out; raises when a stranger
 * resumed the coroutine. */
bool lp__wait_ended(lua_State *L, int index);

/* Runs turns until the wait has ended; the calling thread sleeps in between. */
void lp__drive(lua_State *L, lp__context_t *ctx, lp__wait_t *wait);

/* Drives until `*flag`, without Lua around it: for a closing state. */
void lp__drive_until(lp__context_t *ctx, const bool *flag);

/* Resumes a coroutine that a fiber or a wait owns. Reports what it raises. */
void lp__resume(lp__context_t *ctx, lua_State *co, lp__fiber_t *fiber, int nargs);

#endif
