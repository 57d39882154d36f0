/* path.h - where the encoder is in a value, told in words when something cannot travel.
 *
 * Each level of the encoder's recursion has a place on the C stack, linked to the one above
 * it, which says where on the Lua stack its key lies. The words are made on failure only:
 * "arg 2.user.socket: userdata", "result 1[3]: coroutine", "arg 1: key: coroutine",
 * "function: upvalue conn: userdata (FILE*)". Private to the codec, on its thread. */
#ifndef LP_LUA_PATH_H
#define LP_LUA_PATH_H

#include <lua.h>
#include <stdbool.h>

#include "lua/codec.h"

typedef enum { LP__PLACE_VALUE, LP__PLACE_TABLE, LP__PLACE_UPVALUE } lp__place_kind_t;

typedef struct lp__place_s lp__place_t;
struct lp__place_s {
    const lp__place_t *up; /* NULL: a value of its own */
    lp__place_kind_t kind;
    bool in_key; /* TABLE: it is the key that is encoded */
    int index;   /* VALUE: its number, 0 for the called function; TABLE: the stack index of the
                  * key; UPVALUE: of the function */
    int number;  /* UPVALUE */
};

/* Sets the codec's error to the path of `place`, the reason and, in brackets, the detail
 * unless it is NULL. `what` names the values: "arg". LP_ETRANSFER, or LP_ENOMEM. */
int lp__path_fail(lp__codec_t *codec, lua_State *L, const char *what, const lp__place_t *place,
                  const char *reason, const char *detail);

/* The same for the value at stack index `index`; the reason is its type, the detail the
 * `__name` of its metatable. */
int lp__path_refuse(lp__codec_t *codec, lua_State *L, const char *what, const lp__place_t *place,
                    int index);

#endif
