/* word.h - threads and processes that wait for a word of memory to change. Any thread. */
#ifndef LP_BASE_WORD_H
#define LP_BASE_WORD_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint32_t lp__word_t;

/* Waits while the word is `value`, or shorter: at most `most_ns`. A signal ends the wait, whether
 * its handler restarts system calls or not: one with a time limit never restarts. */
void lp__word_wait(lp__word_t *word, uint32_t value, uint64_t most_ns);

/* The word has changed: wakes all who wait for that. */
void lp__word_wake(lp__word_t *word);

#endif
