/* running.h - which coroutine of a Lua state runs, so that it can be stopped by a hook.
 *
 * The hook is set from a signal handler, on the thread that runs the state and for the coroutine
 * that runs at that moment; so what resumes coroutines says which one it is. A hook that is not set
 * costs nothing. */
#ifndef LP_LUA_RUNNING_H
#define LP_LUA_RUNNING_H

#include <lua.h>
#include <stdbool.h>

typedef struct lp__running_s lp__running_t;
struct lp__running_s {
    lua_State *volatile L; /* the coroutine that runs; NULL: nothing that may be stopped */
    lua_Hook hook;
    bool (*wanted)(const lp__running_t *running); /* is what runs to be stopped? */
};

/* Sets the hook. In a signal handler, or where memory is allocated. */
void lp__running_hook(lp__running_t *running);

/* `to` runs now, and not the coroutine that is returned (NULL: nothing that may be stopped), which
 * is to be switched back to. */
lua_State *lp__running_switch(lp__running_t *running, lua_State *to);

/* As lua_resume. */
int lp__running_resume(lp__running_t *running, lua_State *co, lua_State *from, int nargs,
                       int *nresults);

/* Puts `resume`, `wrap` and `close` that do so into the library of coroutines, and a `sethook` that
 * leaves ours alone into that for debugging, where the state has them. `running` lives as long as
 * the state. */
void lp__running_open(lua_State *L, lp__running_t *running);

#endif
