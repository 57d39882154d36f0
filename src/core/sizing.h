/* sizing.h - how many executors there are. Loop thread.
 *
 * The target comes from the size, which a provider tells. Below it, executors are made at
 * once; above it, one is made only when a caller would otherwise wait, and one that has been
 * idle for idle_ns ends. Never more than max_pools are available or leased; a retiring one
 * beyond max_retiring takes a place of them until it has ended.
 *
 * When executors break right after their start, the next is made after a pause that doubles,
 * from 10 ms to 10 s. */
#ifndef LP_CORE_SIZING_H
#define LP_CORE_SIZING_H

#include "core/manager.h"

/* The manager runs: asks for the size, makes the first executors, begins to check. 0 or why
 * the first could not be made. */
int lp__sizing_start(lp_manager_t *manager);

/* The manager stops: nothing is checked or made any more. */
void lp__sizing_stop(lp_manager_t *manager);

/* Is there a place for one more executor, and may it be made now? */
bool lp__sizing_may_add(const lp_manager_t *manager);

/* Something has changed: serves waiters, makes what is missing, ends what is idle too long.
 * Does nothing unless the manager runs. */
void lp__sizing_arrange(lp_manager_t *manager);

/* An executor came back and is available. */
void lp__sizing_idle(lp_manager_t *manager);

/* An executor broke, or could not be made; one has proved itself. */
void lp__sizing_failed(lp_manager_t *manager);
void lp__sizing_succeeded(lp_manager_t *manager);

#endif
