/* interrupt.h - a signal that makes one thread of ours look up from what it runs.
 *
 * Lua code is stopped by a hook, and lua_sethook may be called for a state that runs only from
 * a signal handler on the state's own thread. So the loop sends a signal to the thread, and the
 * handler calls what that thread has asked for. It also ends blocking system calls (EINTR).
 *
 * The signal is the process's: the handler is installed when the first interrupt is sent, hands
 * on what is not for a thread of ours to the handler that was there before, and goes when the
 * code is unloaded. Each function says which thread calls it. */
#ifndef LP_BASE_INTERRUPT_H
#define LP_BASE_INTERRUPT_H

#include "base/thread.h"

/* What lp_set_interrupt_signal has set; SIGURG unless it was called: the system ignores that where
 * nobody handles it. */
int lp__interrupt_signal(void);

/* Lets the signal through to the calling thread, which runs `look(data)` in the handler: only what
 * is safe there. NULL ends it. */
void lp__interrupt_listen(void (*look)(void *data), void *data);

/* What was sent to the calling thread until now has arrived when this returns, and interrupts
 * nothing that begins later. */
void lp__interrupt_settle(void);

/* Interrupts a thread that has not been joined; any thread. */
void lp__interrupt_send(lp__thread_t thread);

#endif
