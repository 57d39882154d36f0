/* acquire.h - waiting for an executor: strictly first come, first served. Loop thread.
 *
 *     IDLE --lp_acquire--> WAITING --handed over, timed out, cancelled--> ENDED --callback--> IDLE
 *
 * A lease exists from the moment of the hand-over; the callback comes in a later turn. */
#ifndef LP_CORE_ACQUIRE_H
#define LP_CORE_ACQUIRE_H

#include "core/manager.h"

/* As lp_try_acquire, but what is refused is not counted: the caller goes on to wait. */
int lp__acquire_now(lp_manager_t *manager, const lp_acquire_options_t *options, lp_lease_t **lease);

/* Takes a request back, wherever it is, without a callback: its memory goes. A lease on its way
 * goes to the next waiter. */
void lp__acquire_withdraw(lp_acquire_t *req);

/* Hands `executor` to the oldest waiter; false when there is none. */
bool lp__acquire_grant_oldest(lp_manager_t *manager, lp__executor_t *executor);

/* Does anybody wait whose time is not over? Ends those before him whose time is. */
bool lp__acquire_somebody_waits(lp_manager_t *manager);

/* Ends every waiter with `status`. */
void lp__acquire_fail_all(lp_manager_t *manager, int status);

#endif
