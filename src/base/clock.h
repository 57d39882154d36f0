/* clock.h - the monotonic clock, in nanoseconds, and the seam through which tests drive it.
 *
 * A clock is read by the loop's thread and by workers (run times, lp_job_remaining_ns);
 * a manual clock is set by the loop's thread only. */
#ifndef LP_BASE_CLOCK_H
#define LP_BASE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    atomic_bool manual; /* time stands still until lp__clock_set_manual moves it */
    _Atomic uint64_t manual_ns;
} lp__clock_t;

/* Now, on the system's monotonic clock or as the test has set it. 22 ns. */
uint64_t lp__clock_now_ns(const lp__clock_t *clock);

/* A moment not later than now and at most LP__CLOCK_SLACK_NS before it. 3 ns:
 * enough to know that a deadline minutes away has not passed. */
#define LP__CLOCK_SLACK_NS UINT64_C(20000000)
uint64_t lp__clock_coarse_ns(const lp__clock_t *clock);

/* Has `deadline_ns` passed? Reads the exact clock only when it is near. */
static inline bool lp__clock_passed(const lp__clock_t *clock, uint64_t deadline_ns)
{
    uint64_t coarse = lp__clock_coarse_ns(clock);
    return deadline_ns < coarse + LP__CLOCK_SLACK_NS && deadline_ns <= lp__clock_now_ns(clock);
}

/* So much later than a moment, or as late as can be. */
static inline uint64_t lp__clock_after(uint64_t moment_ns, uint64_t wait_ns)
{
    uint64_t left_ns = UINT64_MAX - 1 - moment_ns;
    return moment_ns + (wait_ns < left_ns ? wait_ns : left_ns);
}

/* Test seam: stops the clock at `now_ns`, or moves it there. It never goes back. */
void lp__clock_set_manual(lp__clock_t *clock, uint64_t now_ns);

#endif
