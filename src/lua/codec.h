/* codec.h - values of a Lua state to a message, and back.
 *
 * Each Lua state has one codec, made on first use and freed with the state. It belongs to
 * the thread that runs the state; `L` may be any coroutine of it. Encoding happens in the
 * sender's state and decoding in the receiver's: nobody touches a foreign state.
 *
 * No function here calls lua_error, but Lua may raise its memory error through all of
 * them; then codec and message are as usable as before. After every error return the Lua
 * stack is as it was. Encoding runs no Lua code (tables are read raw). Decoding does where
 * it resolves a module by `require`, in a protected call. */
#ifndef LP_LUA_CODEC_H
#define LP_LUA_CODEC_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "lua/code.h"
#include "wire/message.h"

typedef struct lp__codec_s lp__codec_t;

/* The codec of this state, made on first use; raises Lua's memory error only. */
lp__codec_t *lp__codec_new(lua_State *L);

/* Functions that no module holds, managers and grinders are no values from here on: this is the
 * state of a child process, whose parent takes none of them. Such functions still can be called, by
 * workers of its own. */
void lp__codec_send_no_code(lp__codec_t *codec);

/* May managers and grinders, which become handles, lie in the next call? To be said before each
 * lp__encode_call: not where a child process is called, as they mean something to the threads of
 * this process alone. */
void lp__codec_take_handles(lp__codec_t *codec, bool take);

/* Replaces what is in `message` by the `count` values from stack index `first` on. `what`
 * ("arg", "result") begins the path in errors; it must be a literal.
 * 0, LP_ETRANSFER (see lp__codec_error), LP_ENOMEM; then the message is empty. */
int lp__encode_values(lp__codec_t *codec, lua_State *L, int first, int count, const char *what,
                      lp__message_t *message);

/* Some elements of a list. */
typedef struct {
    lua_Integer first, count;
} lp__slice_t;

/* Encodes a call of the value at `function` with the `nargs` values behind it.
 *
 * When the function is a module's, or needs no value but its globals, *code is set, with a
 * reference for the caller, and the message holds the arguments. Otherwise *code is NULL
 * and the message holds the function and then the arguments. Submitting the same function
 * again costs a comparison. Errors as above; then *code is NULL. When Lua's memory error
 * passes through, *code is either: let it lie where it will be released.
 *
 * With a `slice` (else NULL) the first argument is a list, and these elements alone travel, as a
 * list from 1 on: encoding a list that was made for them took 230 instructions more for each.
 * Metamethods are not asked. */
int lp__encode_call(lp__codec_t *codec, lua_State *L, int function, int nargs,
                    const lp__slice_t *slice, lp__message_t *message, lp__code_t **code);

/* Pushes all values of the message and returns how many, or LP_ETRANSFER (malformed; a
 * module that cannot be required) or LP_ENOMEM. The message is untouched. */
int lp__decode_values(lp__codec_t *codec, lua_State *L, lp__message_t *message);

/* Pushes the function that `code` stands for. One that needs no upvalue values is loaded
 * or looked up once for each state (the cache is bounded); any other is loaded afresh, with
 * nil in its upvalues. 0, LP_ETRANSFER or LP_ENOMEM. */
int lp__push_code(lp__codec_t *codec, lua_State *L, lp__code_t *code);

/* What the last LP_ETRANSFER of this codec was about: "arg 2.user.socket: userdata". For an
 * encoding error, lp__codec_error_path_len tells how much of it is the path ("arg
 * 2.user.socket"); 0 when there is none. Valid until the next call on the codec. */
const char *lp__codec_error(const lp__codec_t *codec);
size_t lp__codec_error_path_len(const lp__codec_t *codec);

#endif
