/* child_codes.h - the codes that a child process has been sent, by the numbers that its parent
 * gave them. Here they have numbers of their own: the process may make codes itself, for workers
 * of its own. Main thread of a child. */
#ifndef LP_LUA_CHILD_CODES_H
#define LP_LUA_CHILD_CODES_H

#include "lua/code.h"
#include "wire/frame.h"

typedef struct {
    uint64_t id;
    lp__code_t *code;
} lp__child_code_t;

/* All zero is empty. */
typedef struct {
    lp__child_code_t *places; /* open addressing; code NULL is free */
    uint32_t count, cap;
} lp__child_codes_t;

/* Takes what a frame of the kind CODE says. 0, LP_ENOMEM, or LP_ETRANSFER. */
int lp__child_codes_add(lp__child_codes_t *codes, const lp__frame_t *frame);

/* NULL: there is none of that number. */
lp__code_t *lp__child_codes_find(const lp__child_codes_t *codes, uint64_t id);

void lp__child_codes_free(lp__child_codes_t *codes);

#endif
