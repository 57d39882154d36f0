/* atomics.h - C11 atomics with the memory order in the name of the operation.
 *
 * No fences: ThreadSanitizer does not model them. Where a store must not pass a
 * later load (who sleeps, who wakes), both sides use the seq_cst forms. */
#ifndef LP_BASE_ATOMICS_H
#define LP_BASE_ATOMICS_H

#include <stdatomic.h>
#include <stdbool.h>

#define lp__load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define lp__load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define lp__load_seq_cst(p) atomic_load_explicit((p), memory_order_seq_cst)
#define lp__store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define lp__store_seq_cst(p, v) atomic_store_explicit((p), (v), memory_order_seq_cst)
#define lp__add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define lp__add_seq_cst(p, v) atomic_fetch_add_explicit((p), (v), memory_order_seq_cst)
#define lp__sub_acq_rel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define lp__exchange_seq_cst(p, v) atomic_exchange_explicit((p), (v), memory_order_seq_cst)
#define lp__cas_weak_seq_cst(p, expected, v)                                                       \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_seq_cst,              \
                                          memory_order_relaxed)

/* Tells the CPU that this is a waiting loop. */
static inline void lp__cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif
