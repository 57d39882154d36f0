/* command.h - the options that say how child processes are started. Loop thread. */
#ifndef LP_LUA_COMMAND_H
#define LP_LUA_COMMAND_H

#include <lua.h>

#include "leasepool.h"

/* Reads `command`, `env`, `cwd` and `rlimits` from the table at `index` into `options`, with the
 * interpreter that runs this script as the default command. What the fields point to lies on the
 * stack, above what was there. Raises ConfigError. */
void lp__command_read(lua_State *L, int index, const lp_backend_t *backend,
                      lp_manager_options_t *options);

#endif
