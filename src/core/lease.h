/* lease.h - the right to use one executor, until released, expired, or broken.
 *
 * States and moves: see lp_lease_state_t. The executor goes back to the pool from DRAINING
 * alone; from EXPIRED and BROKEN it retires. One deadline stands for the next expiry.
 *
 * Loop thread, but for `id`, `owner` and `hard_ns`, which workers read while a job of the
 * lease is in flight. The memory belongs to the manager; it is reused when the handle was
 * closed and nothing of the lease is in flight. */
#ifndef LP_CORE_LEASE_H
#define LP_CORE_LEASE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "core/executor.h"
#include "core/manager.h"
#include "core/runtime.h"
#include "leasepool.h"

typedef struct lp__batch_s lp__batch_t;

struct lp_lease_s {
    lp__list_t link; /* in manager->leases, or in manager->spare_leases */
    lp_manager_t *manager;
    lp__executor_t *executor; /* NULL once CLOSED */
    uint64_t id;
    char *owner; /* NULL: none given */
    lp_lease_state_t state;
    lp__lease_end_t ended; /* by what, first */
    char *broken_reason;   /* NULL: none */
    lp__batch_t *batch;    /* a grinder's, that has this lease; NULL: none */
    uint32_t in_flight;    /* jobs queued, running, or not yet delivered */
    uint32_t pins;         /* workers that were written off and may still look at it */
    uint8_t on_expiry;     /* lp_on_expiry_t */
    bool handle_open;

    uint64_t leased_ns, length_ns, soft_ns;
    lp__deadline_t deadline; /* the soft expiry, then the hard one; until CLOSED */
    bool soft_told;          /* of the soft expiry that stands */
    lp__task_t tell;         /* of it */
    lp_lease_cb on_soft_expiry;
    void *soft_data;

    char apart[64]; /* workers read it before each job; the rest changes with each */
    _Atomic uint64_t hard_ns;
    char apart_too[56];
};

/* An ACTIVE lease of `executor`. `owner` (may be NULL) is the lease's from here on, also when
 * this fails with LP_ENOMEM. */
int lp__lease_create(lp_lease_t **lease, lp_manager_t *manager, lp__executor_t *executor,
                     char *owner, const lp_acquire_options_t *options);

/* The state by the clock, also where no turn has come. */
static inline lp_lease_state_t lp__lease_look(lp_lease_t *lease)
{
    lp__runtime_look(lease->manager->rt);
    return lease->state;
}

/* May jobs be submitted? */
static inline bool lp__lease_is_open(lp_lease_t *lease)
{
    return lease->state <= LP_LEASE_GRACE && lp__lease_look(lease) <= LP_LEASE_GRACE;
}

/* Why none may. */
static inline int lp__lease_closed_code(const lp_lease_t *lease)
{
    return lease->ended == LP__END_BROKEN ? LP_EBROKEN : LP_EEXPIRED;
}

/* One of its jobs ended and is about to be delivered; `finished`: a worker had it, and ran it to
 * its end. May free the lease. */
void lp__lease_job_done(lp_lease_t *lease, const lp_job_t *job, int status, bool finished);

/* As lp_release, for a handle that was lost. */
void lp__lease_leak(lp_lease_t *lease);

/* Whoever is to be told of the soft expiry was not ready when it came: tells in a turn. */
void lp__lease_tell_soft_expiry(lp_lease_t *lease);

/* Its executor broke: BROKEN, unless it has expired. May free the lease. */
void lp__lease_break(lp_lease_t *lease, const char *reason);

/* The manager stops: cancels what is queued, ends the executor. How many were cancelled. May
 * free the lease. */
uint64_t lp__lease_stop(lp_lease_t *lease);

/* Keeps the memory, whatever else ends. `unpin` may free the lease. */
void lp__lease_pin(lp_lease_t *lease);
void lp__lease_unpin(lp_lease_t *lease);

void lp__lease_free(lp_lease_t *lease);

#endif
