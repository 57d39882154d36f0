/* heap.h - an intrusive pairing heap, smallest key first, equal keys in order of insertion.
 *
 * Fredman, Sedgewick, Sleator and Tarjan, "The pairing heap: a new form of
 * self-adjusting heap" (1986). Insert is O(1); taking the minimum is O(log n)
 * amortised; removing a node without children, which is what a deadline that
 * never fires is, is O(1). Nodes lie inside their objects: no call allocates.
 *
 * Not thread-safe: a heap belongs to one thread. */
#ifndef LP_BASE_HEAP_H
#define LP_BASE_HEAP_H

#include <stdint.h>

#include "leasepool.h" /* lp__heap_node_t */

typedef struct {
    lp__heap_node_t *root;
    uint64_t next_order;
} lp__heap_t;

/* `node` must not be in a heap; a zeroed node is fit for use. */
void lp__heap_insert(lp__heap_t *heap, lp__heap_node_t *node, uint64_t key);

/* Does nothing when `node` is in no heap. */
void lp__heap_remove(lp__heap_t *heap, lp__heap_node_t *node);

/* The node with the smallest key, still in the heap; NULL when empty. */
static inline lp__heap_node_t *lp__heap_min(const lp__heap_t *heap)
{
    return heap->root;
}

#endif
