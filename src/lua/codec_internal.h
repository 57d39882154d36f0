/* codec_internal.h - what the parts of the codec (codec.c, encode.c, path.c, function.c,
 * decode.c, resolve.c) share. Nobody else includes this. */
#ifndef LP_LUA_CODEC_INTERNAL_H
#define LP_LUA_CODEC_INTERNAL_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#include "leasepool.h"
#include "lua/code.h"
#include "lua/codec.h"
#include "lua/modules.h"
#include "lua/seen.h"

struct lp__codec_s {
    bool closed;     /* the state is closing */
    bool sends_code; /* functions that no module holds may be values, managers and grinders too */
    bool takes_handles; /* managers and grinders may be arguments of the next call */

    /* Sending */
    uint32_t generation; /* numbers the messages encoded; never 0 while one is */
    lp__seen_t seen;
    lp__modules_t modules;
    lp__code_cache_t codes;
    int known_ref;         /* registry: closure -> ticket in `codes`, weak keys */
    int last_ref;          /* registry: anchors the function of last_code */
    const void *last;      /* its address */
    lp__code_t *last_code; /* a reference; NULL: none */
    lp__message_t dump;    /* lua_dump writes here */

    /* Receiving */
    int loaded_ref; /* registry: id of a code -> function */
    int loaded_count;

    /* The last error; allocated with the first one */
    char *error;
    size_t path_len;
};

/* ---- Errors ---- */

/* Longer texts are cut, with dots. */
#define LP__ERROR_MAX 4096

typedef struct {
    char *at, *end; /* at <= end - 4 */
    bool cut;
} lp__text_t;

/* The codec's error buffer, emptied. False when there is no memory for one. */
bool lp__error_open(lp__codec_t *codec, lp__text_t *text);
void lp__text_add(lp__text_t *text, const char *bytes, size_t len);
void lp__text_addz(lp__text_t *text, const char *string);
void lp__text_addf(lp__text_t *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets an error without a path; returns LP_ETRANSFER. */
int lp__codec_fail(lp__codec_t *codec, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Functions, the sending side (function.c) ---- */

/* The code of the function at `index`. *code is the cache's and may go with the next call.
 * 0, LP_ENOMEM, or LP_ETRANSFER for a C function that no module holds (without a text). */
int lp__code_of(lp__codec_t *codec, lua_State *L, int index, lp__code_t **code);

/* ---- Functions, the receiving side (resolve.c) ---- */

/* Loads a new closure of bytecode, with its globals in place and nil elsewhere. */
int lp__load_code(lp__codec_t *codec, lua_State *L, const lp__code_t *code);

/* Pushes what require(module)[key] gives; key NULL: require(module). */
int lp__push_module(lp__codec_t *codec, lua_State *L, const char *module, size_t module_len,
                    const char *key, size_t key_len);

#endif
