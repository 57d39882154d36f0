/* gates.h - gates, by which a spec makes a job wait for it and waits for the job; see gates.c. */
#ifndef LP_LUA_GATES_H
#define LP_LUA_GATES_H

#include <lua.h>

/* Puts gate, gate_pass, gate_pass_interruptible, gate_open, gate_await and gate_counts into
 * the table on top of the stack. Any thread. */
void lp__gates_open(lua_State *L);

#endif
