/* clock.c - see clock.h. */
#include "base/clock.h"

#include <time.h>
#include <uv.h>

#include "base/atomics.h"

static uint64_t read_manual(const lp__clock_t *clock)
{
    return lp__load_relaxed(&clock->manual_ns);
}

uint64_t lp__clock_now_ns(const lp__clock_t *clock)
{
    return lp__load_relaxed(&clock->manual) ? read_manual(clock) : uv_hrtime();
}

uint64_t lp__clock_coarse_ns(const lp__clock_t *clock)
{
    if (lp__load_relaxed(&clock->manual))
        return read_manual(clock);
#ifdef CLOCK_MONOTONIC_COARSE /* same origin as CLOCK_MONOTONIC, advanced at each tick */
    struct timespec t;
    if (clock_gettime(CLOCK_MONOTONIC_COARSE, &t) == 0)
        return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
#endif
    return uv_hrtime();
}

void lp__clock_set_manual(lp__clock_t *clock, uint64_t now_ns)
{
    if (lp__load_relaxed(&clock->manual) && now_ns < read_manual(clock))
        return;
    lp__store_relaxed(&clock->manual_ns, now_ns);
    lp__store_relaxed(&clock->manual, true);
}
