/* errors.h - the error classes of the contract, as Lua objects.
 *
 * An error is a table { name, code, message, ... } with its class's metatable. Classes
 * live in the registry of each state; workers have them too, so that an error which a job
 * raises keeps its class on the way back. */
#ifndef LP_LUA_ERRORS_H
#define LP_LUA_ERRORS_H

#include <lua.h>

/* Pushes the table of all classes by name (`leasepool.errors`), made on first use. */
void lp__errors_push_classes(lua_State *L);

/* Pushes a new error of the class that belongs to the core's code `err`, with a formatted
 * message; fields may be added before lua_error. Formats as lua_pushfstring. */
void lp__error_push(lua_State *L, int err, const char *format, ...);

/* Says of the BrokenExecutorError at the top why: its fields `reason`, and of a process that died
 * `signal` or `exit_code`, and `killed` when its manager has killed it. */
void lp__error_set_reason(lua_State *L, const char *reason);

/* Raises the error at the top, which is one of ours, with its field `where`. */
int lp__error_throw(lua_State *L);

/* The folder of the Lua function that called is that of the module's Lua half: errors are raised
 * where the script called that. */
void lp__errors_own_folder(lua_State *L);

/* Pushes and raises; the field `where` ("script.lua:5: ") begins the error's text. */
int lp__error_raise(lua_State *L, int err, const char *format, ...);

/* The class name of the value at `index` when it is one of our errors, else NULL. The
 * string lives for ever. Leaves the stack as it was. */
const char *lp__error_class(lua_State *L, int index);

/* Gives the table at the top the metatable of class `name`; 0, or LP_EINVAL when there is
 * no such class. */
int lp__error_set_class(lua_State *L, const char *name);

#endif
