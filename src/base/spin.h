/* spin.h - when to look a little longer before sleeping.
 *
 * Waking a thread on another CPU costs about 44 us here (a halted virtual CPU), while two
 * spinning threads exchange a word in 0.1 us; but a spin that does not pay made sporadic
 * jobs 4 to 7 times slower. So: spin only after recent waits were short, only while a CPU
 * is to spare, and a bounded time.
 *
 * A lp__spin_t belongs to one waiting place and the lock or thread that guards it. The
 * number of busy threads is one for the process; any thread. */
#ifndef LP_BASE_SPIN_H
#define LP_BASE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/* As long as a wake-up takes; longer gains nothing. */
#define LP__SPIN_NS UINT64_C(50000)

typedef struct {
    uint8_t credit; /* 0: sleep at once. A zeroed one has to earn its first spin */
} lp__spin_t;

/* May a thread that counts as busy spin here now? */
bool lp__spin_allowed(const lp__spin_t *spin);

/* A wait took so long, from its beginning to the work, sleep and wake-up included. */
void lp__spin_learn(lp__spin_t *spin, uint64_t waited_ns);

/* Calls `look(data)` until it is true or LP__SPIN_NS have passed; what it said last. */
bool lp__spin(bool (*look)(void *data), void *data);

/* This thread begins or ends to keep a CPU busy, running or spinning. The loop's thread is
 * counted without asking. */
void lp__spin_busy_begin(void);
void lp__spin_busy_end(void);

/* Turns spinning off for the process (and on again): for measurements and tests. */
void lp__spin_enable(bool enabled);

#endif
