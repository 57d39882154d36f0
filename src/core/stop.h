/* stop.h - how a manager ends. Loop thread. */
#ifndef LP_CORE_STOP_H
#define LP_CORE_STOP_H

#include "core/manager.h"

/* Begins to stop a manager that runs, without a limit; else does nothing. */
void lp__stop_begin(lp_manager_t *manager);

/* Gives a stop that goes on so much time, unless it has less. */
void lp__stop_limit(lp_manager_t *manager, uint64_t timeout_ns);

/* The runtime closes, and does not wait for workers that go on after the stop: they are detached.
 * False: some are just leaving, or the stop is not over. */
bool lp__stop_let_go(lp_manager_t *manager);

/* An executor has ended: maybe it was the last. */
void lp__stop_end_when_done(lp_manager_t *manager);

/* Stopped, and nothing of it runs any more, be it written off. */
bool lp__stop_is_complete(const lp_manager_t *manager);

#endif
