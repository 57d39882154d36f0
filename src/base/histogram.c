/* histogram.c - see histogram.h.
 *
 * Values below 8 have a bucket each; of a larger one, the power of two chooses a group of
 * eight and the next three bits the bucket in it. */
#include "base/histogram.h"

#include "base/atomics.h"

enum { SUB_BITS = 3, SUBS = 1 << SUB_BITS };

static unsigned bucket_of(uint64_t ns)
{
    if (ns < SUBS)
        return (unsigned)ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    unsigned sub = (unsigned)(ns >> (power - SUB_BITS)) & (SUBS - 1);
    unsigned bucket = (power - SUB_BITS + 1) * SUBS + sub;
    return bucket < LP__HISTOGRAM_BUCKETS ? bucket : LP__HISTOGRAM_BUCKETS - 1;
}

/* The largest value of a bucket. */
static uint64_t bucket_end_ns(unsigned bucket)
{
    if (bucket < SUBS)
        return bucket;
    unsigned shift = bucket / SUBS - 1;
    return ((uint64_t)(SUBS + bucket % SUBS + 1) << shift) - 1;
}

/* Only the owner writes: no read-modify-write is needed. */
static void bump(_Atomic uint64_t *counter, uint64_t by)
{
    lp__store_relaxed(counter, lp__load_relaxed(counter) + by);
}

void lp__histogram_record(lp__histogram_t *histogram, uint64_t ns)
{
    _Atomic uint64_t *bucket = &histogram->buckets[bucket_of(ns)];
    bump(&histogram->count, 1);
    bump(&histogram->sum_ns, ns);
    lp__store_relaxed(bucket, lp__load_relaxed(bucket) + 1);
    if (ns > lp__load_relaxed(&histogram->max_ns))
        lp__store_relaxed(&histogram->max_ns, ns);
}

void lp__histogram_add(lp__histogram_t *to, const lp__histogram_t *from)
{
    bump(&to->count, lp__load_relaxed(&from->count));
    bump(&to->sum_ns, lp__load_relaxed(&from->sum_ns));
    for (unsigned i = 0; i < LP__HISTOGRAM_BUCKETS; i++)
        lp__store_relaxed(&to->buckets[i],
                          lp__load_relaxed(&to->buckets[i]) + lp__load_relaxed(&from->buckets[i]));
    uint64_t max_ns = lp__load_relaxed(&from->max_ns);
    if (max_ns > lp__load_relaxed(&to->max_ns))
        lp__store_relaxed(&to->max_ns, max_ns);
}

/* The end of the bucket in which the value of that rank (1 is the smallest) lies. */
static uint64_t value_at(const lp__histogram_t *histogram, uint64_t rank)
{
    uint64_t max_ns = lp__load_relaxed(&histogram->max_ns), seen = 0;
    for (unsigned i = 0; i < LP__HISTOGRAM_BUCKETS - 1; i++) {
        seen += lp__load_relaxed(&histogram->buckets[i]);
        if (seen >= rank)
            return bucket_end_ns(i) < max_ns ? bucket_end_ns(i) : max_ns;
    }
    return max_ns;
}

void lp__histogram_read(const lp__histogram_t *histogram, lp_durations_t *durations)
{
    uint64_t count = lp__load_relaxed(&histogram->count);
    *durations = (lp_durations_t){.count = count};
    if (count == 0)
        return;
    durations->mean_ns = lp__load_relaxed(&histogram->sum_ns) / count;
    durations->p50_ns = value_at(histogram, count - count / 2);
    durations->p90_ns = value_at(histogram, count - count / 10);
    durations->p99_ns = value_at(histogram, count - count / 100);
    durations->max_ns = lp__load_relaxed(&histogram->max_ns);
}
