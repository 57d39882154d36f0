/* alloc.c - see alloc.h. The fault plan is a handful of process-wide atomics:
 * workers count against it while the loop thread arms and reads it. */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#include "base/atomics.h"
#include "leasepool.h"

static struct {
    lp_malloc_fn malloc;
    lp_realloc_fn realloc;
    lp_calloc_fn calloc;
    lp_free_fn free;
} allocator = {malloc, realloc, calloc, free};

static struct {
    atomic_bool armed;
    atomic_int who, role;
    _Atomic uint64_t nth, seen;
} fault;

static _Thread_local lp__role_t thread_role = LP_ROLE_LOOP;

int lp_set_allocator(lp_malloc_fn malloc_fn, lp_realloc_fn realloc_fn, lp_calloc_fn calloc_fn,
                     lp_free_fn free_fn)
{
    if (!malloc_fn || !realloc_fn || !calloc_fn || !free_fn)
        return LP_EINVAL;
    allocator.malloc = malloc_fn;
    allocator.realloc = realloc_fn;
    allocator.calloc = calloc_fn;
    allocator.free = free_fn;
    return 0;
}

static bool must_fail(lp__mem_t who)
{
    if (!lp__load_relaxed(&fault.armed))
        return false;
    if (lp__load_relaxed(&fault.who) != (int)who ||
        lp__load_relaxed(&fault.role) != (int)thread_role)
        return false;
    return lp__add_relaxed(&fault.seen, 1) + 1 == lp__load_relaxed(&fault.nth);
}

void *lp__malloc(lp__mem_t who, size_t size)
{
    return must_fail(who) ? NULL : allocator.malloc(size);
}

void *lp__calloc(lp__mem_t who, size_t size)
{
    return must_fail(who) ? NULL : allocator.calloc(1, size);
}

void *lp__realloc(lp__mem_t who, void *old, size_t size)
{
    return must_fail(who) ? NULL : allocator.realloc(old, size);
}

void lp__free(void *block)
{
    allocator.free(block);
}

void lp__alloc_set_role(lp__role_t role)
{
    thread_role = role;
}

void lp__alloc_fault_arm(lp__mem_t who, lp__role_t role, uint64_t nth)
{
    lp__store_relaxed(&fault.armed, false);
    lp__store_relaxed(&fault.who, (int)who);
    lp__store_relaxed(&fault.role, (int)role);
    lp__store_relaxed(&fault.nth, nth);
    lp__store_relaxed(&fault.seen, 0);
    lp__store_relaxed(&fault.armed, nth != 0);
}

uint64_t lp__alloc_fault_seen(void)
{
    return lp__load_relaxed(&fault.seen);
}
