/* call.h - what a native job reads and writes: messages, without Lua.
 *
 * The arguments are a message that does not change meanwhile; values point into it. The results
 * are written as they are returned: the count at their beginning, and the sizes of open tables,
 * are patched. Numbers of objects (REF) are found by counting from the beginning: seldom needed.
 * One thread. */
#ifndef LP_WIRE_CALL_H
#define LP_WIRE_CALL_H

#include <stdbool.h>

#include "leasepool_native.h"
#include "wire/format.h"
#include "wire/message.h"

/* A table that is open. */
typedef struct {
    uint32_t at, count; /* its header; elements, or fields of the map */
    uint32_t tail;      /* the extension around the fields behind elements */
    uint32_t map;       /* the header of those fields */
    uint32_t elements;  /* before them */
    enum { LP__FRESH, LP__LIST, LP__MAP, LP__BOTH } form;
    bool key; /* one was written, without its value so far */
} lp__open_table_t;

typedef struct {
    lp_call_t call; /* first */
    const lp__message_t *args;
    lp__message_t *results; /* also the error's text, when `failed` */
    uint32_t count;         /* results */
    uint32_t depth;
    int rc;             /* of what could not be returned; 0: nothing */
    bool failed;        /* lp_return_error was called */
    int noticed;        /* what lp_cancelled has told */
    const void *worker; /* the caller's; NULL: none */
    lp__open_table_t open[LP__WIRE_MAX_DEPTH];
} lp__call_state_t;

/* Everything but `api` and `data`. */
void lp__call_begin(lp__call_state_t *state, const lp__message_t *args, lp__message_t *results);

/* The results are complete. 0, or why they are not: LP_ESTATE: a table is open. */
int lp__call_end(lp__call_state_t *state);

/* Fills in all of the table but the last two. */
void lp__call_fill_api(lp_call_api_t *api);

#endif
