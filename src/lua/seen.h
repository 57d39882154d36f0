/* seen.h - the objects and upvalues met so far in one message, and their numbers.
 *
 * Open addressing with linear probing, keyed by address. A slot of another generation is
 * free, so a new message empties the map by counting. Part of a codec, on its thread.
 *
 * A finaliser may encode another message while one is encoded: then both write into the
 * map, each under its own generation. The outer one may lose entries to the inner one, and
 * then sends an object twice; it never finds a wrong one. */
#ifndef LP_LUA_SEEN_H
#define LP_LUA_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const void *key;
    uint32_t generation; /* 0: never used */
    uint32_t number;
} lp__seen_slot_t;

/* A zeroed map is an empty one. */
typedef struct {
    lp__seen_slot_t *slots;
    uint32_t mask;
} lp__seen_t;

/* The slot of `key`, or the free one where it belongs. There are slots, and free ones. */
static inline lp__seen_slot_t *lp__seen_probe(const lp__seen_t *seen, const void *key,
                                              uint32_t generation)
{
    uint64_t h = (uint64_t)(uintptr_t)key * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t i = (uint32_t)(h >> 32) & seen->mask;
    while (seen->slots[i].generation == generation && seen->slots[i].key != key)
        i = (i + 1) & seen->mask;
    return &seen->slots[i];
}

/* The number that `key` has in this generation. */
static inline bool lp__seen_find(const lp__seen_t *seen, const void *key, uint32_t generation,
                                 uint32_t *number)
{
    if (!seen->slots)
        return false;
    const lp__seen_slot_t *slot = lp__seen_probe(seen, key, generation);
    *number = slot->number;
    return slot->generation == generation;
}

/* Makes room for one more. 0 or LP_ENOMEM. */
int lp__seen_grow(lp__seen_t *seen, uint32_t generation);

/* Gives `key` its number. `used` is how many keys of this generation were added before; the
 * sender counts them, as a message that comes between would disturb a count kept here.
 * 0 or LP_ENOMEM. */
static inline int lp__seen_add(lp__seen_t *seen, const void *key, uint32_t generation,
                               uint32_t number, uint32_t used)
{
    if (!seen->slots || used >= seen->mask / 2) {
        int rc = lp__seen_grow(seen, generation);
        if (rc != 0)
            return rc;
    }
    *lp__seen_probe(seen, key, generation) = (lp__seen_slot_t){key, generation, number};
    return 0;
}

/* A message ended: memory that only a large one needs is given back. */
void lp__seen_end(lp__seen_t *seen);

void lp__seen_free(lp__seen_t *seen);

#endif
