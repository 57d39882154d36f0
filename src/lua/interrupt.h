/* interrupt.h - how Lua code of a worker is made to stop: a hook that raises.
 *
 * The hook is set from a signal handler, on the thread that runs the state and for the coroutine
 * that runs at that moment, so what resumes coroutines in a worker says which one it is. A hook
 * that is not set costs nothing. It raises once, so that the job's handlers and <close> variables
 * run; after interrupt_grace it raises at every instruction, which also ends `while true do
 * pcall(f) end`, and the worker leaves after the job. It belongs to one job: the desk knows which
 * one is to stop.
 *
 * A job that its memory limit refused for good is stopped in the same way, as pcall can swallow
 * that error for ever. Worker thread. */
#ifndef LP_LUA_INTERRUPT_H
#define LP_LUA_INTERRUPT_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct lp__state_s lp__state_t;

typedef struct {
    lua_State *volatile running; /* the coroutine that runs; NULL: nothing that may be stopped */
    volatile bool exhausted;     /* its memory is */
    bool hard;                   /* it has been raised at every instruction */
    uint64_t raised_ns;          /* when it was raised first; 0: not yet */
} lp__interrupt_t;

/* From here to `end` what runs in the state may be stopped. */
void lp__interrupt_begin(lp__state_t *state);

/* Why it was, and has not done as if nothing had happened: an error code, LP_ENOMEM for its memory
 * limit; 0: it was not. */
int lp__interrupt_end(lp__state_t *state);

/* A C function has given up its wait: if that was because the job of the worker is to stop, raises
 * what the hook would. */
void lp__interrupt_check(lua_State *L);

/* Sets the hook. In a signal handler, or where memory is allocated. */
void lp__interrupt_set(lp__state_t *state);

/* `to` runs now, and not the coroutine that is returned (NULL: nothing that may be stopped), which
 * is to be switched back to. */
lua_State *lp__interrupt_switch(lp__state_t *state, lua_State *to);

/* As lua_resume, of a coroutine in a worker's state. */
int lp__interrupt_resume(lp__state_t *state, lua_State *co, lua_State *from, int nargs,
                         int *nresults);

/* As lua_resetthread. */
int lp__interrupt_reset(lp__state_t *state, lua_State *co, lua_State *from);

/* Puts `resume`, `wrap` and `close` that do so into the library of coroutines, and a `sethook` that
 * leaves ours alone into that for debugging, where the state has them. */
void lp__interrupt_open(lua_State *L, lp__state_t *state);

#endif
