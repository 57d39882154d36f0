/* histogram.h - how long things took: counts in buckets whose width grows with the value.
 *
 * Eight buckets for each power of two, so that a percentile is at most an eighth too large
 * (G. Tene's HdrHistogram does the same with more of them). Recording is O(1) and allocates
 * nothing.
 *
 * One thread records. Any thread may add the histogram to another of its own meanwhile: each
 * counter is an atomic, and what is read may lack the latest few. */
#ifndef LP_BASE_HISTOGRAM_H
#define LP_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#include "leasepool.h" /* lp_durations_t */

/* Values from 24 days on share the last bucket; the maximum is exact. */
#define LP__HISTOGRAM_BUCKETS 392

typedef struct {
    _Atomic uint64_t count, sum_ns, max_ns;
    _Atomic uint64_t buckets[LP__HISTOGRAM_BUCKETS];
} lp__histogram_t;

void lp__histogram_record(lp__histogram_t *histogram, uint64_t ns);

/* Adds what `from` has seen to `to`, which belongs to the calling thread. */
void lp__histogram_add(lp__histogram_t *to, const lp__histogram_t *from);

void lp__histogram_read(const lp__histogram_t *histogram, lp_durations_t *durations);

#endif
