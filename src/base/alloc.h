/* alloc.h - every allocation of leasepool goes through here.
 *
 * Two things hang on this seam: a host may bring its own allocator
 * (lp_set_allocator), and tests may make the n-th allocation of one component
 * on one kind of thread fail. The second costs one relaxed load while unarmed.
 *
 * Threads: all functions may be called from any thread. The fault plan is
 * armed and read by tests only, from the thread that runs the loop.
 */
#ifndef LP_BASE_ALLOC_H
#define LP_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

/* Who allocates. Counted separately, so that a test can fail one part at a time. */
typedef enum {
    LP_MEM_CORE,    /* managers, leases, executors, inboxes */
    LP_MEM_WIRE,    /* messages and what is attached to them */
    LP_MEM_BINDING, /* Lua jobs, futures, code */
    LP_MEM_STATE,   /* the heaps of worker Lua states */
    LP_MEM_COUNT
} lp__mem_t;

/* Which kind of thread allocates. A thread is LP_ROLE_LOOP until it says otherwise. */
typedef enum { LP_ROLE_LOOP, LP_ROLE_WORKER, LP_ROLE_COUNT } lp__role_t;

/* Return NULL when memory is exhausted (or a test says so); a size of 0 is not allowed. */
void *lp__malloc(lp__mem_t who, size_t size);
void *lp__calloc(lp__mem_t who, size_t size);

/* As realloc: `old` may be NULL, and is untouched when NULL is returned. */
void *lp__realloc(lp__mem_t who, void *old, size_t size);

/* `block` may be NULL. */
void lp__free(void *block);

/* Declares the kind of the calling thread. */
void lp__alloc_set_role(lp__role_t role);

/* Test seam. The `nth` allocation (1 is the next) of `who` on threads of kind
 * `role` returns NULL, once; nth = 0 disarms. Counters restart at 0. */
void lp__alloc_fault_arm(lp__mem_t who, lp__role_t role, uint64_t nth);

/* Allocations of `who` on `role` seen since the plan was armed; 0 while unarmed. */
uint64_t lp__alloc_fault_seen(void);

#endif
