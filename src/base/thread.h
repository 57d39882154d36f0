/* thread.h - threads of our own, never libuv's pool: that one is global, shared with
 * file and DNS work, and cannot stop what runs.
 *
 * A thread starts with every signal blocked, or a handler of the host could run on it. */
#ifndef LP_BASE_THREAD_H
#define LP_BASE_THREAD_H

#include <stdbool.h>
#include <uv.h>

typedef uv_thread_t lp__thread_t;

/* Starts `entry(arg)`. 0, or a negative libuv error (UV_EAGAIN: the system allows no more). */
int lp__thread_start(lp__thread_t *thread, void (*entry)(void *), void *arg);

/* Nobody will join the thread, and it may run for ever: the code of leasepool is never unloaded
 * from here on. */
void lp__thread_detach(lp__thread_t thread);

/* Names the calling thread, as shown by ps and debuggers. The system keeps 15
 * bytes: of "<prefix>-<executor>-<worker>" the prefix is shortened, never the numbers. */
void lp__thread_set_name(const char *prefix, unsigned executor, unsigned worker);

/* Is the start of a worker at hand, be it no thread, to fail by the test seam? Loop thread. */
bool lp__thread_fault_due(void);

/* Test seam: the `nth` start from now fails with UV_EAGAIN; 0 disarms. Loop thread only. */
void lp__thread_fault_arm(unsigned nth);

#endif
