/* batch.h - a batch of a grinder: it waits for a lease, then for the jobs that it gave to it.
 *
 *     waiting --lease--> running --last job ended--> gone, its lease released
 *        +---none, or nobody needs it any more------> gone
 *
 * How many there are is decided in one place, lp__batch_arrange, called whenever jobs or batches
 * come or go. Loop thread. */
#ifndef LP_CORE_BATCH_H
#define LP_CORE_BATCH_H

#include <stdbool.h>

#include "leasepool.h"

typedef struct lp__batch_s lp__batch_t;

/* Begins batches, if the pending jobs are enough or have waited long enough. */
void lp__batch_arrange(lp_grinder_t *grinder);

/* Is there enough for a batch, by the number of jobs alone? */
bool lp__batch_is_full(const lp_grinder_t *grinder);

/* Jobs have left the queue: without any, no batch waits for a lease. */
void lp__batch_withdraw_idle(lp_grinder_t *grinder);

/* A job of a batch is about to be told of its end. May free the batch and its lease. */
void lp__batch_job_done(lp__batch_t *batch, const lp_job_t *job, int status);

/* Takes back those that wait for a lease, and stops the jobs of the others. */
void lp__batch_cancel_all(lp_grinder_t *grinder);

/* Frees them, wherever they are: the manager's memory goes. */
void lp__batch_free_all(lp_grinder_t *grinder);

#endif
