/* native.h - native jobs (leasepool_native.h) as functions of Lua states.
 *
 * In every state, script's or worker's, a native is one C closure, whose upvalue holds a reference
 * to the core's lp__native_t. As the function of a job it is run without Lua; called by Lua code it
 * runs there and then. Runs on whatever thread runs the state, but for what says otherwise. */
#ifndef LP_LUA_NATIVE_H
#define LP_LUA_NATIVE_H

#include <lua.h>

#include "core/native.h"

typedef struct lp__context_s lp__context_t;
typedef struct lp__state_s lp__state_t;

/* Pushes the closure, the same each time, with a reference of its own. May raise Lua's memory error
 * only. */
void lp__native_push(lua_State *L, lp__native_t *native);

/* What the closure at `index` stands for; NULL: it is none. */
lp__native_t *lp__native_at(lua_State *L, int index);

/* Runs the job whose arguments are the state's message, which is what the job ends with then; the
 * status. Worker thread. */
int lp__native_run(lp__state_t *state, const lp__native_t *native);

/* In a child process: loads it, with one reference; NULL: it cannot be, for the reason in `why`.
 * The path need not be terminated. */
lp__native_t *lp__native_load_here(const char *path, size_t path_len, const char *name, char *why,
                                   size_t size);

/* Adds native(name) and load_native(path, symbol) to the table at the top. Loop thread. */
void lp__native_register(lua_State *L, lp__context_t *ctx);

#endif
