/* interrupt.h - how Lua code of a worker is made to stop: a hook that raises (see running.h).
 *
 * It raises once, so that the job's handlers and <close> variables run; after interrupt_grace it
 * raises at every instruction, which also ends `while true do pcall(f) end`, and the worker leaves
 * after the job. It belongs to one job: the desk knows which one is to stop.
 *
 * A job that its memory limit refused for good is stopped in the same way, as pcall can swallow
 * that error for ever. Worker thread. */
#ifndef LP_LUA_INTERRUPT_H
#define LP_LUA_INTERRUPT_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "lua/running.h"

typedef struct lp__state_s lp__state_t;

typedef struct {
    lp__running_t running;
    volatile bool exhausted; /* its memory is */
    bool hard;               /* it has been raised at every instruction */
    uint64_t raised_ns;      /* when it was raised first; 0: not yet */
} lp__interrupt_t;

/* Of a state that is zeroed. */
void lp__interrupt_init(lp__state_t *state);

/* From here to `end` what runs in the state may be stopped. */
void lp__interrupt_begin(lp__state_t *state);

/* Why it was, and has not done as if nothing had happened: an error code, LP_ENOMEM for its memory
 * limit; 0: it was not. */
int lp__interrupt_end(lp__state_t *state);

/* A C function has given up its wait: if that was because the job of the worker is to stop, raises
 * what the hook would. */
void lp__interrupt_check(lua_State *L);

#endif
