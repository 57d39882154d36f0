/* child.h - the program of a child process: a worker that hears from its parent over a socket.
 *
 * The main thread reads jobs and runs them, in a Lua state made by the code that threads use; a
 * second thread hears what concerns the job at hand, and ends the process when its parent has
 * gone, whatever the main thread does. */
#ifndef LP_LUA_CHILD_H
#define LP_LUA_CHILD_H

#include <lua.h>

/* serve(): serves on the descriptors that base/process.h names, and does not return: the process
 * exits when its parent says so. Raises when there is no parent. */
int lp__child_serve_forever(lua_State *L);

#endif
