/* log.h - what is told to people: lines to a manager's logger or to standard error, and
 * callbacks whose errors end there. Loop thread. */
#ifndef LP_LUA_LOG_H
#define LP_LUA_LOG_H

#include "lua/context.h"
#include "lua/sink.h"

/* A line of leasepool's own to the logger of `log`; NULL: to standard error. A script's logger is
 * called in a later turn, whatever runs now. Cannot raise. */
void lp__log(lp__context_t *ctx, lp__log_t *log, lp__level_t level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The same about a lease, to its manager's logger, with its number and owner as fields. */
void lp__log_lease(lp__context_t *ctx, const lp_lease_t *lease, lp__level_t level,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* An idle calls_L has two values at its bottom: the message handler of lp__context_call, and
 * the table of anchors. */
enum { LP__CALLS_HANDLER = 1, LP__CALLS_ANCHORS = 2 };

/* Makes calls_L. May raise. */
void lp__context_make_calls(lua_State *L, lp__context_t *ctx);

/* As lua_pcall on calls_L: in a worker's state what it calls can be interrupted, too. */
int lp__context_pcall(lp__context_t *ctx, int nargs, int nresults, int handler);

/* Calls the function below its `nargs` arguments at the top of an idle calls_L, without
 * results. An error is logged to `log` (see lp__log), with its traceback, as one of `what`.
 * Cannot raise. */
void lp__context_call(lp__context_t *ctx, lp__log_t *log, int nargs, const char *what);

/* Pops what LP__CALLS_HANDLER made of an error from the top of calls_L and writes it to standard
 * error as one of `what`. Cannot raise. */
void lp__log_raised(lp__context_t *ctx, const char *what);

/* Pops the error at the top of L and logs it as one of `what`, with the traceback of `from`
 * (NULL: none). Cannot raise, whatever the error is. */
void lp__log_error(lp__context_t *ctx, lp__log_t *log, lua_State *L, const char *what,
                   lua_State *from);

#endif
