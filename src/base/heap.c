/* heap.c - see heap.h. */
#include "base/heap.h"

#include <stdbool.h>
#include <stddef.h>

static bool before(const lp__heap_node_t *a, const lp__heap_node_t *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

/* Makes the later of two roots the first child of the other. Either may be NULL. */
static lp__heap_node_t *meld(lp__heap_node_t *a, lp__heap_node_t *b)
{
    if (!a || !b)
        return a ? a : b;
    if (before(b, a)) {
        lp__heap_node_t *swap = a;
        a = b;
        b = swap;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child)
        a->child->prev = b;
    a->child = b;
    return a;
}

/* Two passes over a list of siblings: meld pairs from the left, then all pairs
 * from the right. Iterative, as a heap of n equal deadlines has a list of n. */
static lp__heap_node_t *merge_siblings(lp__heap_node_t *first)
{
    lp__heap_node_t *pairs = NULL;
    while (first) {
        lp__heap_node_t *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        lp__heap_node_t *pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    lp__heap_node_t *root = NULL;
    while (pairs) {
        lp__heap_node_t *next = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

void lp__heap_insert(lp__heap_t *heap, lp__heap_node_t *node, uint64_t key)
{
    node->key = key;
    node->order = heap->next_order++;
    node->child = node->next = node->prev = NULL;
    node->linked = true;
    heap->root = meld(heap->root, node);
}

void lp__heap_remove(lp__heap_t *heap, lp__heap_node_t *node)
{
    if (!node->linked)
        return;
    lp__heap_node_t *children = merge_siblings(node->child);
    if (node == heap->root) {
        heap->root = children;
    } else {
        if (node->prev->child == node)
            node->prev->child = node->next;
        else
            node->prev->next = node->next;
        if (node->next)
            node->next->prev = node->prev;
        heap->root = meld(heap->root, children);
    }
    node->child = node->next = node->prev = NULL;
    node->linked = false;
}
