/* handle.h - a manager or grinder that was passed to a job: there it is a handle, with which the
 * job can ask for statistics and submit jobs of its own.
 *
 * A handle's userdata has a reference to the core's. Runs on whatever thread runs the Lua state. */
#ifndef LP_LUA_HANDLE_H
#define LP_LUA_HANDLE_H

#include <lua.h>

#include "core/handle.h"

/* What userdata becomes a handle when it is passed to a job: its metatable has one of these. */
typedef struct {
    /* One reference to the handle of the userdata at `index`; NULL: the object has gone. 0 or
     * LP_ENOMEM. */
    int (*get)(lua_State *L, int index, lp_handle_t **handle);
} lp__carrier_t;

/* Makes the metatable at the top one of such userdata. */
void lp__carrier_register(lua_State *L, const lp__carrier_t *carrier);

/* One reference to the handle that the userdata at `index` becomes; NULL: it becomes none. 0 or
 * LP_ENOMEM. Runs no Lua code. */
int lp__handle_find(lua_State *L, int index, lp_handle_t **handle);

/* Pushes a handle, which takes one more reference. May raise Lua's memory error only. */
void lp__handle_push(lua_State *L, lp_handle_t *handle);

/* Argument 1 of a method; raises, naming `what`, when it is no handle of that, and on the loop's
 * own thread. */
lp_handle_t *lp__handle_check(lua_State *L, lp__handle_of_t of, const char *what);

/* Raises WrongThreadError: for methods of the objects themselves. */
int lp__handle_refuse(lua_State *L, const char *what, const char *instead);

/* submit_from_thread, of a grinder's handle; in ticket.c. */
int lp__ticket_submit(lua_State *L);

#endif
