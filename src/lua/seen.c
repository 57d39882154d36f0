/* seen.c - see seen.h. */
#include "lua/seen.h"

#include <string.h>

#include "base/alloc.h"
#include "leasepool.h"

#define FIRST_SLOTS 64u
#define KEEP_SLOTS 4096u /* stay for the next message: 64 KiB */

int lp__seen_grow(lp__seen_t *seen, uint32_t generation)
{
    uint32_t cap = seen->slots ? (seen->mask + 1) * 2 : FIRST_SLOTS;
    if (cap == 0)
        return LP_ENOMEM;
    lp__seen_t grown = {.mask = cap - 1};
    grown.slots = lp__calloc(LP_MEM_BINDING, (size_t)cap * sizeof *grown.slots);
    if (!grown.slots)
        return LP_ENOMEM;
    for (uint32_t i = 0; seen->slots && i <= seen->mask; i++) {
        if (seen->slots[i].generation == generation)
            *lp__seen_probe(&grown, seen->slots[i].key, generation) = seen->slots[i];
    }
    lp__free(seen->slots);
    *seen = grown;
    return 0;
}

void lp__seen_end(lp__seen_t *seen)
{
    if (seen->slots && seen->mask >= KEEP_SLOTS)
        lp__seen_free(seen);
}

void lp__seen_free(lp__seen_t *seen)
{
    lp__free(seen->slots);
    memset(seen, 0, sizeof *seen);
}
