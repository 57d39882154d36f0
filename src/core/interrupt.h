/* interrupt.h - how work that runs is made to stop, whatever the backend.
 *
 * The loop asks the worker again and again, after 1, 2, 4 .. 50 ms, as a request may come just
 * before a call that blocks. A worker that can be killed is, at first so that it may tidy up (after
 * twice interrupt_grace), then by force (after kill_grace more). One that cannot is written
 * off (after interrupt_grace and exit_grace): its job ends without it. Whoever finishes meanwhile
 * has finished. Loop thread. */
#ifndef LP_CORE_INTERRUPT_H
#define LP_CORE_INTERRUPT_H

#include <stdbool.h>

#include "core/worker.h"

/* The job, which is not in the queue, is to stop because of `why`, an error code, with which it
 * then ends. False: no worker has it any more. `may_kill`: its worker, too, where that can be. */
bool lp__interrupt_job(lp_job_t *job, int why, bool may_kill);

/* The same for whatever the worker has on its desk. False: nothing. */
bool lp__interrupt_worker(lp__worker_t *worker, int why, bool may_kill);

/* The same for the work with this number, which is no job. */
bool lp__interrupt_work(lp__worker_t *worker, uint64_t serial, int why);

/* The same for every worker of an executor; how many. */
unsigned lp__interrupt_executor(lp__executor_t *executor, int why, bool may_kill);

/* Kills the worker by force, at once, and what it works on, even if that was written off. False:
 * it works on nothing, or cannot be killed. */
bool lp__interrupt_kill(lp__worker_t *worker, int why);

/* Was the worker asked to stop what it still has on its desk? */
bool lp__interrupt_stands(const lp__worker_t *worker);

/* The job has ended, or the worker is gone. */
void lp__interrupt_forget(lp__worker_t *worker);
void lp__interrupt_forget_job(lp__executor_t *executor, const lp_job_t *job);

#endif
