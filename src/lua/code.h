/* code.h - what stands for a function on its way between Lua states.
 *
 * A code is immutable after it was made, shared between threads by its reference count,
 * and owns a copy of everything in it. The sender's code cache, messages and jobs hold
 * references; a receiver remembers by `id` what it made of a code. */
#ifndef LP_LUA_CODE_H
#define LP_LUA_CODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/native.h"
#include "wire/message.h"

typedef enum {
    LP__CODE_BYTECODE,  /* a Lua function, as lua_dump wrote it */
    LP__CODE_REFERENCE, /* what require(module)[key] gives, or require(module) */
    LP__CODE_NATIVE     /* a native job; see native.h */
} lp__code_kind_t;

typedef struct {
    lp__shared_t shared;
    char apart[64]; /* the loop counts references for each job; workers read the rest */
    uint64_t id;    /* unique in the process, never given again */
    uint64_t hash;
    lp__code_kind_t kind;

    /* BYTECODE. An upvalue is either the globals of whoever runs the function, or its
     * value travels with each submission. */
    bool unnamed;        /* stripped: which upvalues are the globals depends on their values */
    uint8_t upvalues;    /* all of them */
    uint8_t travelling;  /* those that are not the globals */
    uint8_t globals[32]; /* one bit for each upvalue: it is the globals */
    const uint8_t *bytes;
    size_t len;

    /* REFERENCE */
    const char *module, *key; /* key is NULL: the module itself */
    size_t module_len, key_len;

    /* NATIVE: `module` is the path of its library, "" for the host's, and `key` its name. */
    lp__native_t *native; /* with a reference; NULL: this process does not have it */

    char text[]; /* what the pointers above point to */
} lp__code_t;

/* Is upvalue `n` (from 1) the globals? */
static inline bool lp__code_is_globals(const lp__code_t *code, int n)
{
    return (code->globals[(n - 1) >> 3] >> ((n - 1) & 7) & 1) != 0;
}

static inline void lp__code_release(lp__code_t *code)
{
    if (code)
        lp__shared_release(&code->shared);
}

/* A code with these contents, which are copied; with one reference. NULL: no memory. */
lp__code_t *lp__code_new(const lp__code_t *made);

/* The code that a message has attached at `index`; NULL when there is none. */
lp__code_t *lp__code_attached(const lp__message_t *message, uint32_t index);

/* ---- The sender's cache ---- */

typedef struct {
    lp__code_t *code;
    uint32_t next; /* in its chain; place + 1, 0 ends it */
    bool used;     /* since the clock hand passed */
} lp__code_slot_t;

/* Codes by the hash of their content: bounded in number and bytes; holds a reference to
 * each. A zeroed cache is an empty one. */
typedef struct {
    lp__code_slot_t *slots;
    uint32_t *heads; /* twice as many as slots */
    uint32_t cap, count, hand;
    size_t bytes;
} lp__code_cache_t;

void lp__code_cache_free(lp__code_cache_t *cache);

/* Where `code` is kept now, as a number that lp__code_cache_get turns back into the code,
 * or into NULL once the code was evicted. */
int64_t lp__code_cache_ticket(const lp__code_t *code, uint32_t place);
lp__code_t *lp__code_cache_get(lp__code_cache_t *cache, int64_t ticket);

/* The code of this content, made if it is not cached; the cache keeps the reference.
 * `made` has the fields that tell codes apart filled in, and its pointers point at memory
 * of the caller. 0 or LP_ENOMEM. */
int lp__code_cache_intern(lp__code_cache_t *cache, const lp__code_t *made, lp__code_t **code,
                          int64_t *ticket);

#endif
