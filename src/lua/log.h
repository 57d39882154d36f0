/* log.h - what is told to people, on standard error, and callbacks whose errors end there.
 * Loop thread. */
#ifndef LP_LUA_LOG_H
#define LP_LUA_LOG_H

#include "lua/context.h"

/* Writes a line for people: "leasepool: <level>: <text>". */
void lp__log(lp__context_t *ctx, const char *level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* An idle calls_L has two values at its bottom: the message handler of lp__context_call, and
 * the table of anchors. */
enum { LP__CALLS_HANDLER = 1, LP__CALLS_ANCHORS = 2 };

/* Makes calls_L. May raise. */
void lp__context_make_calls(lua_State *L, lp__context_t *ctx);

/* Calls the function below its `nargs` arguments at the top of an idle calls_L, without
 * results. An error is logged, with its traceback, as one of `what`. Cannot raise. */
void lp__context_call(lp__context_t *ctx, int nargs, const char *what);

/* Pops the error at the top of L and logs it as one of `what`, with the traceback of `from`
 * (NULL: none). Cannot raise, whatever the error is. */
void lp__log_error(lp__context_t *ctx, lua_State *L, const char *what, lua_State *from);

#endif
