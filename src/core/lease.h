/* lease.h - the right to use one executor, until released.
 *
 *     ACTIVE --release--> DRAINING --last job done--> CLOSED   (executor: back to the pool)
 *        \                    |
 *         +---manager stops---+--> EXPIRED --last job gone--> CLOSED   (executor: ended)
 *
 * Loop thread. The memory belongs to the manager; it is reused when the handle was closed
 * and nothing of the lease is in flight. */
#ifndef LP_CORE_LEASE_H
#define LP_CORE_LEASE_H

#include <stdbool.h>

#include "core/executor.h"
#include "leasepool.h"

struct lp_lease_s {
    lp__list_t link; /* in manager->leases, or in manager->spare_leases */
    lp_manager_t *manager;
    lp__executor_t *executor; /* NULL once CLOSED */
    uint64_t id;
    uint64_t acquired_ns;
    char *owner; /* NULL: none given */
    lp_lease_state_t state;
    uint32_t in_flight; /* jobs queued, running, or not yet delivered */
    bool handle_open;
    bool manager_stopped; /* why it ended, for the error of whoever uses it after that */
};

/* An ACTIVE lease of `executor`; takes `owner` (may be NULL), also when it fails with
 * LP_ENOMEM. */
int lp__lease_create(lp_lease_t **lease, lp_manager_t *manager, lp__executor_t *executor,
                     char *owner);

/* One of its jobs ended with `status` and is about to be delivered. */
void lp__lease_job_done(lp_lease_t *lease, int status);

/* The manager stops: no new jobs; CLOSED as soon as nothing is in flight. */
void lp__lease_expire(lp_lease_t *lease);

void lp__lease_free(lp_lease_t *lease);

#endif
