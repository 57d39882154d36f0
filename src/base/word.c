/* word.c - see word.h. */
#include "base/word.h"

#include <limits.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include "base/atomics.h"
#include "leasepool.h"

void lp__word_wait(lp__word_t *word, uint32_t value, uint64_t most_ns)
{
    struct timespec limit = {.tv_sec = (time_t)(most_ns / LP_SECOND),
                             .tv_nsec = (long)(most_ns % LP_SECOND)};
#ifdef __linux__
    (void)syscall(SYS_futex, (void *)word, FUTEX_WAIT, value, &limit, NULL, 0);
#else
    if (most_ns > LP_MILLISECOND)
        limit = (struct timespec){.tv_nsec = LP_MILLISECOND};
    if (lp__load_seq_cst(word) == value)
        nanosleep(&limit, NULL);
#endif
}

void lp__word_wake(lp__word_t *word)
{
#ifdef __linux__
    (void)syscall(SYS_futex, (void *)word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
#else
    (void)word;
#endif
}
