/* state.h - the Lua state of a worker, as the runner that the core calls. */
#ifndef LP_LUA_STATE_H
#define LP_LUA_STATE_H

#include "core/runner.h"

/* The table; its data is the context of the state that submits. */
const lp__runner_t *lp__state_runner(void);

#endif
