/* list.h - a circular, intrusive, doubly linked list.
 *
 * A node lies inside the object it links; LP__CONTAINER gets back to the object.
 * An unlinked node points at itself, so removing it twice is harmless. Not
 * thread-safe: a list belongs to one thread or to one lock, which its owner names. */
#ifndef LP_BASE_LIST_H
#define LP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "leasepool.h" /* lp__list_t */

#define LP__CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void lp__list_init(lp__list_t *list)
{
    list->next = list->prev = list;
}

static inline bool lp__list_empty(const lp__list_t *list)
{
    return list->next == list;
}

static inline void lp__list_insert_before(lp__list_t *at, lp__list_t *node)
{
    node->next = at;
    node->prev = at->prev;
    at->prev->next = node;
    at->prev = node;
}

static inline void lp__list_push_back(lp__list_t *list, lp__list_t *node)
{
    lp__list_insert_before(list, node);
}

static inline void lp__list_push_front(lp__list_t *list, lp__list_t *node)
{
    lp__list_insert_before(list->next, node);
}

static inline void lp__list_remove(lp__list_t *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    lp__list_init(node);
}

/* Removes and returns the first node; NULL when the list is empty. */
static inline lp__list_t *lp__list_pop_front(lp__list_t *list)
{
    if (lp__list_empty(list))
        return NULL;
    lp__list_t *node = list->next;
    lp__list_remove(node);
    return node;
}

/* Moves all nodes of `from` to the end of `to`; `from` is empty afterwards. */
static inline void lp__list_splice_back(lp__list_t *to, lp__list_t *from)
{
    if (lp__list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    lp__list_init(from);
}

#endif
