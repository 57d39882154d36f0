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
 * calls `withdraw`, once: then the source must forget the wait. When that happens after the
 * wake-up but before the continuation has run, `discard` is called instead: what was waited
 * for goes back. Loop thread. */
#ifndef LP_LUA_WAIT_H
#define LP_LUA_WAIT_H

#include "lua/context.h"

typedef struct lp__wait_s lp__wait_t;
struct lp__wait_s {
    lp__context_t *ctx;
    lp__list_t link; /* in ctx->parked */
    void (*withdraw)(lp__wait_t *wait);
    void (*discard)(lp__wait_t *wait); /* NULL: there is nothing to give back */
    void *source;
    lp__task_t task;         /* the resume that was ordered */
    lp__deadline_t deadline; /* the timeout */
    lp__scope_t *scope;
    int anchor;   /* of the wait, whose user value is the coroutine; 0: none, or it was resumed */
    bool parked;  /* between park and the end */
    bool resumed; /* its continuation has begun */
    bool in_slot; /* its stack slot is to be closed */
    bool ended;   /* woken, timed out or cancelled */
    bool timed_out;
    bool limited; /* its deadline is set, and holds the runtime */
    int error;    /* anchor of what the cancelled wait raises; 0: none */
};

void lp__wait_register(lua_State *L, lp__context_t *ctx);

/* Pushes a wait, which must stay where it is. `what` names the call in the error. From here to
 * lp__wait_park nothing may raise once the source knows the wait. */
lp__wait_t *lp__wait_begin(lua_State *L, lp__context_t *ctx, const char *what);

/* Can the calling code wait at all? The second form raises WouldBlockError if not. */
bool lp__wait_possible(lua_State *L, lp__context_t *ctx);
void lp__wait_check(lua_State *L, lp__context_t *ctx, const char *what);

/* The wait ends after `timeout_ns` at the latest; LP_FOREVER: no limit. */
void lp__wait_limit(lp__wait_t *wait, uint64_t timeout_ns);

/* Call as `return lp__wait_park(...)`: the wait is on the stack at the top; `k` gets the
 * wait's index as its context. */
int lp__wait_park(lua_State *L, lp__wait_t *wait, lua_KFunction k);

/* What was waited for is there. The coroutine goes on in a later step of the turn. */
void lp__wait_wake(lp__wait_t *wait);

/* The wait ends with the error at the top of `L`, which is popped: its source is told to forget it
 * (what came already goes back), and lp__wait_ended raises the error in the waiting coroutine, in a
 * later step of the turn. Runs no Lua code. */
void lp__wait_cancel(lua_State *L, lp__wait_t *wait);

/* The wait in which the suspended coroutine `co` is; NULL: it is suspended elsewhere. */
lp__wait_t *lp__wait_of(lp__context_t *ctx, lua_State *co);

/* First of all in the continuation: true when woken, false when timed out; raises when the wait
 * was cancelled, and when a stranger resumed the coroutine. The wait stays at `index`. */
bool lp__wait_ended(lua_State *L, int index);

/* The state closes: abandons all that are parked. */
void lp__wait_abandon_all(lp__context_t *ctx);

/* The wait ends without its continuation: withdraws it, or discards what came. */
void lp__wait_abandon(lp__wait_t *wait);

/* Runs turns until the wait has ended; the calling thread sleeps in between. */
void lp__drive(lua_State *L, lp__context_t *ctx, lp__wait_t *wait);

/* Drives until `*flag`, without Lua around it: for a closing state. */
void lp__drive_until(lp__context_t *ctx, const bool *flag);

/* Resumes a coroutine from a turn, in `scope`. Its status; with an error, that is at its top. */
int lp__resume(lp__context_t *ctx, lua_State *co, lp__scope_t *scope, int nargs);

#endif
