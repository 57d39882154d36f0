/* lease.c - see lease.h. */
#include "core/lease.h"

#include <assert.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "core/manager.h"
#include "core/runtime.h"

/* Kept for reuse by each manager; acquire and release then allocate nothing. */
#define MAX_SPARE 64

static _Atomic uint64_t last_id; /* lease ids are unique in the process */

int lp__lease_create(lp_lease_t **out, lp_manager_t *manager, lp__executor_t *executor, char *owner)
{
    lp_lease_t *lease;
    lp__list_t *spare = lp__list_pop_front(&manager->spare_leases);
    if (spare) {
        lease = LP__CONTAINER(spare, lp_lease_t, link);
        manager->spare_count--;
    } else {
        lease = lp__malloc(LP_MEM_CORE, sizeof *lease);
        if (!lease) {
            lp__free(owner);
            return LP_ENOMEM;
        }
    }
    lease->manager = manager;
    lease->executor = executor;
    lease->id = lp__add_relaxed(&last_id, 1) + 1;
    lease->acquired_ns = lp__clock_now_ns(&manager->rt->clock);
    lease->owner = owner;
    lease->state = LP_LEASE_ACTIVE;
    lease->in_flight = 0;
    lease->handle_open = true;
    lease->manager_stopped = false;
    lp__list_push_back(&manager->leases, &lease->link);
    manager->leased_count++;
    *out = lease;
    return 0;
}

/* The one place where a lease changes its state. */
static void change_state(lp_lease_t *lease, lp_lease_state_t to)
{
    static const unsigned allowed[] = {
        [LP_LEASE_ACTIVE] = 1u << LP_LEASE_DRAINING | 1u << LP_LEASE_EXPIRED,
        [LP_LEASE_DRAINING] = 1u << LP_LEASE_EXPIRED | 1u << LP_LEASE_CLOSED,
        [LP_LEASE_EXPIRED] = 1u << LP_LEASE_CLOSED,
        [LP_LEASE_CLOSED] = 0,
    };
    assert(allowed[lease->state] & 1u << to);
    (void)allowed;
    lease->state = to;
}

void lp__lease_free(lp_lease_t *lease)
{
    lp_manager_t *manager = lease->manager;
    lp__list_remove(&lease->link);
    lp__free(lease->owner);
    if (manager->spare_count < MAX_SPARE) {
        manager->spare_count++;
        lp__list_push_front(&manager->spare_leases, &lease->link);
    } else {
        lp__free(lease);
    }
}

/* Ends a lease of which nothing is in flight any more. */
static void settle(lp_lease_t *lease)
{
    if (lease->in_flight > 0 || lease->state == LP_LEASE_ACTIVE)
        return;
    lp_manager_t *manager = lease->manager;
    if (lease->state != LP_LEASE_CLOSED) {
        lp__executor_t *executor = lease->executor;
        bool reusable = lease->state == LP_LEASE_DRAINING;
        change_state(lease, LP_LEASE_CLOSED);
        lease->executor = NULL;
        manager->leased_count--;
        if (reusable)
            lp__manager_take_back(manager, executor);
    }
    if (lease->handle_open)
        return;
    lp__lease_free(lease);
    lp__manager_lease_freed(manager); /* may free the manager */
}

void lp__lease_job_done(lp_lease_t *lease, int status)
{
    lease->in_flight--;
    lease->executor->in_flight--;
    if (lease->manager->state == LP__MANAGER_STOPPING && status != LP_ECANCELLED)
        lease->manager->report.finished++;
    settle(lease);
}

void lp__lease_expire(lp_lease_t *lease)
{
    if (lease->state == LP_LEASE_EXPIRED || lease->state == LP_LEASE_CLOSED)
        return;
    lease->manager_stopped = lease->state == LP_LEASE_ACTIVE;
    change_state(lease, LP_LEASE_EXPIRED);
    settle(lease);
}

int lp_release(lp_lease_t *lease)
{
    if (!lease)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(lease->manager->rt);
    if (rc != 0)
        return rc;
    if (lease->state != LP_LEASE_ACTIVE)
        return 0;
    change_state(lease, LP_LEASE_DRAINING);
    settle(lease);
    return 0;
}

void lp_lease_close(lp_lease_t *lease)
{
    if (!lease || !lease->handle_open || lp__runtime_check_thread(lease->manager->rt) != 0)
        return;
    lease->handle_open = false;
    if (lease->state == LP_LEASE_ACTIVE)
        change_state(lease, LP_LEASE_DRAINING);
    settle(lease);
#ifdef LP_TEST_UAF /* a build that AddressSanitizer must refuse */
    char *gone = lp__malloc(LP_MEM_CORE, 16);
    lp__free(gone);
    *(volatile char *)gone = 1;
#endif
}

lp_lease_state_t lp_lease_state(const lp_lease_t *lease)
{
    return lease->state;
}

uint64_t lp_lease_id(const lp_lease_t *lease)
{
    return lease->id;
}

const char *lp_lease_owner(const lp_lease_t *lease)
{
    return lease->owner;
}

lp_manager_t *lp_lease_manager(const lp_lease_t *lease)
{
    return lease->manager;
}
