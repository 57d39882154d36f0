/* executor.h - a small pool of workers behind one queue; what a lease lends.
 *
 * Loop thread, but for `queue`, which has its own rules, and what workers read: manager
 * (fixed), id. Workers are started on demand: one more whenever more jobs are in
 * flight than there are workers. */
#ifndef LP_CORE_EXECUTOR_H
#define LP_CORE_EXECUTOR_H

#include <stdbool.h>

#include "core/backend.h"
#include "core/queue.h"
#include "leasepool.h"

struct lp__executor_s {
    lp_manager_t *manager; /* workers read it for each job */
    lp__list_t link;       /* in the manager's list of available executors, or in none */
    lp__list_t all_link;   /* in the manager's list of all */
    const lp_backend_t *backend;
    uint32_t id;
    uint32_t worker_count, max_workers, last_worker;
    uint32_t lost_count;    /* of its workers: written off, and not back yet */
    lp_lease_t *lease;      /* that may use it; NULL: available, or ending */
    uint64_t idle_since_ns; /* while available */
    bool proved;            /* it has run a job */
    bool ending;            /* its queue was stopped; freed when the last worker and job are gone */
    char why[256];          /* the last worker could not be started; "": not known */
    lp__list_t workers;
    uint32_t in_flight; /* jobs queued, running, or not yet delivered; as `queue`, away from
                         * what workers read */
    lp__queue_t queue;
};

/* With no worker yet. 0 or LP_ENOMEM (or libuv's code). */
int lp__executor_create(lp__executor_t **executor, lp_manager_t *manager);

/* Queues a job. 0; LP_EQUEUEFULL; LP_EBROKEN: it has no worker and none can be started. */
int lp__executor_submit(lp__executor_t *executor, lp_job_t *job);

/* Posts every queued job with `status`; returns how many. */
uint64_t lp__executor_end_queued(lp__executor_t *executor, int status);

/* One of its jobs is about to be delivered. May free the executor. */
void lp__executor_job_done(lp__executor_t *executor);

/* It cannot go on: a worker died, or none could be made. Queued jobs end with LP_EBROKEN, its
 * lease becomes BROKEN, and it retires: workers that run a job finish it. `reason` is for
 * people, and copied. May free the executor. */
void lp__executor_break(lp__executor_t *executor, const char *reason);

/* Lets the workers end when the queue is empty; when they and the jobs are gone, the executor
 * frees itself and tells its manager (lp__manager_executor_ended), which may happen before
 * this returns. */
void lp__executor_end(lp__executor_t *executor);

/* A worker has gone. May free the executor. */
void lp__executor_worker_gone(lp__executor_t *executor);

/* A worker was written off. Where none can take its place, or nobody has leased it, the executor
 * breaks: what is free has all of its workers. */
void lp__executor_worker_lost(lp__executor_t *executor);

/* Why no worker can be started. */
static inline const char *lp__executor_why(const lp__executor_t *executor)
{
    return executor->why[0] ? executor->why : "no worker could be started";
}

/* Workers that may take a job. */
static inline uint32_t lp__executor_usable(const lp__executor_t *executor)
{
    return executor->worker_count - executor->lost_count;
}

/* Frees one that has only lost workers left, and tells nobody. They do not touch its memory any
 * more. */
void lp__executor_free(lp__executor_t *executor);

#endif
