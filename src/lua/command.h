/* command.h - the options that say how child processes are started. Loop thread. */
#ifndef LP_LUA_COMMAND_H
#define LP_LUA_COMMAND_H

#include <lua.h>

#include "leasepool.h"

/* A program that has the module inside says so in the registry, under the key; then a child is the
 * same program with this option and a chunk. */
#define LP__WORKER_KEY "leasepool.worker_option"
#define LP__WORKER_OPTION "--worker"

/* Reads `command`, `env`, `cwd` and `rlimits` from the table at `index` into `options`, with the
 * interpreter that runs this script as the default command. What the fields point to lies on the
 * stack, above what was there. Raises ConfigError. */
void lp__command_read(lua_State *L, int index, const lp_backend_t *backend,
                      lp_manager_options_t *options);

#endif
