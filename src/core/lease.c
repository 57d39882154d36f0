/* lease.c - see lease.h. */
#include "core/lease.h"

#include <assert.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "core/interrupt.h"
#include "core/runtime.h"
#include "core/sizing.h"

/* Kept for reuse by each manager; acquire and release then allocate nothing. A collection gives
 * back 10,000 handles at once, even of a script that does nothing else: with a tenth of that kept
 * an acquisition took 50 ns more. */
#define MAX_SPARE 16384

static _Atomic uint64_t last_id; /* lease ids are unique in the process */

static void on_deadline(lp__deadline_t *deadline);

/* ---- Life --------------------------------------------------------------------- */

/* Zeroed, or one that lp__lease_free has unlinked everywhere. */
static lp_lease_t *new_lease(lp_manager_t *manager)
{
    lp__list_t *spare = lp__list_pop_front(&manager->spare_leases);
    if (!spare)
        return lp__calloc(LP_MEM_CORE, sizeof(lp_lease_t));
    manager->spare_count--;
    return LP__CONTAINER(spare, lp_lease_t, link);
}

/* Sets both expiries, and the deadline for the first. */
static void set_expiries(lp_lease_t *lease, uint64_t now_ns, uint64_t length_ns)
{
    lp_manager_t *manager = lease->manager;
    lease->soft_ns = lp__clock_after(now_ns, length_ns);
    lp__store_relaxed(&lease->hard_ns,
                      lp__clock_after(lease->soft_ns, manager->options.lease_grace_ns));
    lease->soft_told = false;
    lp__runtime_undefer(&lease->tell);
    lp__runtime_set_deadline(manager->rt, &lease->deadline, lease->soft_ns, on_deadline);
}

int lp__lease_create(lp_lease_t **out, lp_manager_t *manager, lp__executor_t *executor, char *owner,
                     const lp_acquire_options_t *options)
{
    lp_lease_t *lease = new_lease(manager);
    if (!lease) {
        lp__free(owner);
        return LP_ENOMEM;
    }
    lp__list_init(&lease->tell.link); /* field by field: to clear 328 bytes takes 13 ns of 100 */
    lease->manager = manager;
    lease->executor = executor;
    lease->id = lp__add_relaxed(&last_id, 1) + 1;
    lease->owner = owner;
    lease->state = LP_LEASE_ACTIVE;
    lease->ended = LP__END_NOT_YET;
    lease->broken_reason = NULL;
    lease->batch = NULL;
    lease->in_flight = 0;
    lease->pins = 0;
    lease->handle_open = true;
    lease->on_expiry =
        (uint8_t)(options->on_expiry == LP_EXPIRY_DEFAULT ? manager->options.on_expiry
                                                          : options->on_expiry);
    lease->on_soft_expiry = options->on_soft_expiry;
    lease->soft_data = options->soft_data;
    lease->leased_ns = lp__clock_now_ns(&manager->rt->clock);
    lease->length_ns = options->lease_ns ? options->lease_ns : manager->options.default_lease_ns;
    set_expiries(lease, lease->leased_ns, lease->length_ns);
    if (lease->on_soft_expiry)
        manager->rt->hopes++;
    executor->lease = lease;
    lp__list_push_back(&manager->leases, &lease->link);
    manager->leased_count++;
    manager->acquired++;
    *out = lease;
    return 0;
}

void lp__lease_free(lp_lease_t *lease)
{
    lp_manager_t *manager = lease->manager;
    lp__runtime_clear_deadline(manager->rt, &lease->deadline);
    lp__list_remove(&lease->link);
    lp__free(lease->owner);
    lp__free(lease->broken_reason);
    if (manager->spare_count < MAX_SPARE) {
        manager->spare_count++;
        lp__list_push_front(&manager->spare_leases, &lease->link);
    } else {
        lp__free(lease);
    }
}

/* ---- States ------------------------------------------------------------------- */

/* The one place where a lease changes its state. */
static void change_state(lp_lease_t *lease, lp_lease_state_t to)
{
    enum {
        ACTIVE = 1 << LP_LEASE_ACTIVE,
        GRACE = 1 << LP_LEASE_GRACE,
        DRAINING = 1 << LP_LEASE_DRAINING,
        EXPIRED = 1 << LP_LEASE_EXPIRED,
        BROKEN = 1 << LP_LEASE_BROKEN,
        CLOSED = 1 << LP_LEASE_CLOSED
    };
    static const int allowed[] = {
        [LP_LEASE_ACTIVE] = GRACE | DRAINING | EXPIRED | BROKEN,
        [LP_LEASE_GRACE] = ACTIVE | DRAINING | EXPIRED | BROKEN,
        [LP_LEASE_DRAINING] = EXPIRED | BROKEN | CLOSED,
        [LP_LEASE_EXPIRED] = CLOSED,
        [LP_LEASE_BROKEN] = CLOSED,
        [LP_LEASE_CLOSED] = 0,
    };
    assert(allowed[lease->state] & 1 << to);
    (void)allowed;
    lease->state = to;
}

/* The lease has ended, if it had not before: counts it. */
static void end(lp_lease_t *lease, lp__lease_end_t by)
{
    lp_manager_t *manager = lease->manager;
    if (lease->ended != LP__END_NOT_YET)
        return;
    lease->ended = by;
    manager->lease_ends[by]++;
    lp__histogram_record(&manager->hold, lp__clock_now_ns(&manager->rt->clock) - lease->leased_ns);
    lp__runtime_undefer(&lease->tell);
    if (lease->on_soft_expiry)
        manager->rt->hopes--;
}

/* The executor of a lease that was released: it is free, or retires where not all of its workers
 * are fit for the next lease. */
static void give_back(lp_manager_t *manager, lp__executor_t *executor)
{
    executor->lease = NULL;
    manager->leased_count--;
    if (executor->lost_count == 0) {
        if (executor->backend->lease_ended)
            executor->backend->lease_ended(executor);
        lp__manager_take_back(manager, executor);
        return;
    }
    manager->busy++;
    lp__executor_end(executor);
    lp__sizing_arrange(manager);
    lp__manager_leave(manager);
}

/* Closes a lease of which nothing is in flight any more; frees one that nobody holds. */
static void settle(lp_lease_t *lease)
{
    lp_manager_t *manager = lease->manager;
    if (lease->in_flight > 0 || lease->state <= LP_LEASE_GRACE)
        return;
    if (lease->state != LP_LEASE_CLOSED) {
        lp__executor_t *executor = lease->executor;
        bool leased = lease->state == LP_LEASE_DRAINING;
        change_state(lease, LP_LEASE_CLOSED);
        lp__runtime_clear_deadline(manager->rt, &lease->deadline);
        lease->executor = NULL;
        if (leased)
            give_back(manager, executor);
    }
    if (lease->handle_open || lease->pins > 0)
        return;
    lp__lease_free(lease);
    lp__manager_lease_freed(manager); /* may free the manager */
}

/* Takes the executor away: it retires, and its place is free. */
static void retire(lp_lease_t *lease, lp_lease_state_t to)
{
    change_state(lease, to);
    lp__runtime_clear_deadline(lease->manager->rt, &lease->deadline);
    lease->manager->leased_count--;
    lease->executor->lease = NULL;
    lp__executor_end(lease->executor);
}

/* The hard expiry has come. */
static void expire(lp_lease_t *lease)
{
    lp_manager_t *manager = lease->manager;
    end(lease, LP__END_EXPIRED);
    lp__executor_end_queued(lease->executor, LP_EEXPIRED);
    if (lease->on_expiry != LP_EXPIRY_LEAVE)
        lp__interrupt_executor(lease->executor, LP_EEXPIRED, lease->on_expiry == LP_EXPIRY_KILL);
    manager->busy++;
    retire(lease, LP_LEASE_EXPIRED);
    settle(lease);
    lp__sizing_arrange(manager);
    lp__manager_leave(manager);
}

static void tell(lp__task_t *task)
{
    lp_lease_t *lease = LP__CONTAINER(task, lp_lease_t, tell);
    lease->soft_told = true;
    lease->on_soft_expiry(lease, lease->soft_data); /* may free it */
}

void lp__lease_tell_soft_expiry(lp_lease_t *lease)
{
    if (lease->state != LP_LEASE_GRACE || lease->soft_told || !lease->on_soft_expiry)
        return;
    lp__runtime_undefer(&lease->tell);
    lp__runtime_defer(lease->manager->rt, &lease->tell, tell);
}

/* When both expiries are over, the second still comes as a deadline of its own: what is due
 * between them is first. */
static void on_deadline(lp__deadline_t *deadline)
{
    lp_lease_t *lease = LP__CONTAINER(deadline, lp_lease_t, deadline);
    uint64_t hard_ns = lp__load_relaxed(&lease->hard_ns);
    if (deadline->node.key >= hard_ns) {
        expire(lease);
        return;
    }
    lp__runtime_set_deadline(lease->manager->rt, deadline, hard_ns, on_deadline);
    if (lease->state == LP_LEASE_ACTIVE) {
        change_state(lease, LP_LEASE_GRACE);
        lp__lease_tell_soft_expiry(lease);
    }
}

void lp__lease_pin(lp_lease_t *lease)
{
    lease->pins++;
}

void lp__lease_unpin(lp_lease_t *lease)
{
    lease->pins--;
    settle(lease);
}

/* ---- From the executor and the manager ---------------------------------------- */

void lp__lease_job_done(lp_lease_t *lease, const lp_job_t *job, int status, bool finished)
{
    lp_manager_t *manager = lease->manager;
    lease->in_flight--;
    if (status == LP_ECANCELLED && !lp_job_still_running(job)) /* else it has failed to stop */
        manager->jobs_cancelled++;
    else if (status == 0)
        manager->jobs_done++;
    else
        manager->jobs_failed++;
    if (manager->state == LP__MANAGER_STOPPING && finished)
        manager->stop.report.finished++;
    if (!lease->executor->proved && (status == 0 || status == LP_EJOB || status == LP_ETRANSFER)) {
        lease->executor->proved = true;
        lp__sizing_succeeded(manager);
    }
    lp__executor_job_done(lease->executor);
    settle(lease);
}

void lp__lease_break(lp_lease_t *lease, const char *reason)
{
    size_t size = strlen(reason) + 1;
    lease->broken_reason = lp__malloc(LP_MEM_CORE, size); /* without memory: without a reason */
    if (lease->broken_reason)
        memcpy(lease->broken_reason, reason, size);
    end(lease, LP__END_BROKEN);
    lp__executor_end_queued(lease->executor, LP_EBROKEN);
    retire(lease, LP_LEASE_BROKEN);
    settle(lease);
}

uint64_t lp__lease_stop(lp_lease_t *lease)
{
    if (lease->state >= LP_LEASE_EXPIRED)
        return 0;
    end(lease, LP__END_STOPPED);
    uint64_t cancelled = lp__executor_end_queued(lease->executor, LP_ECANCELLED);
    retire(lease, LP_LEASE_EXPIRED);
    settle(lease);
    return cancelled;
}

/* ---- Public ------------------------------------------------------------------- */

static void release(lp_lease_t *lease, lp__lease_end_t by)
{
    if (!lp__lease_is_open(lease))
        return;
    end(lease, by);
    change_state(lease, LP_LEASE_DRAINING);
}

int lp_release(lp_lease_t *lease)
{
    if (!lease)
        return LP_EINVAL;
    int rc = lp__runtime_check_thread(lease->manager->rt);
    if (rc != 0)
        return rc;
    release(lease, LP__END_RELEASED);
    settle(lease);
    return 0;
}

static void close_handle(lp_lease_t *lease, lp__lease_end_t by)
{
    release(lease, by);
    lease->handle_open = false;
    settle(lease);
#ifdef LP_TEST_UAF /* a build that AddressSanitizer must refuse */
    char *gone = lp__malloc(LP_MEM_CORE, 16);
    lp__free(gone);
    *(volatile char *)gone = 1;
#endif
}

void lp_lease_close(lp_lease_t *lease)
{
    if (lease && lease->handle_open && lp__runtime_check_thread(lease->manager->rt) == 0)
        close_handle(lease, LP__END_RELEASED);
}

void lp__lease_leak(lp_lease_t *lease)
{
    close_handle(lease, LP__END_LEAKED);
}

int lp_lease_renew(lp_lease_t *lease, uint64_t lease_ns)
{
    if (!lease)
        return LP_EINVAL;
    lp_runtime_t *rt = lease->manager->rt;
    int rc = lp__runtime_check_thread(rt);
    if (rc != 0)
        return rc;
    if (!lp__lease_is_open(lease))
        return LP_EEXPIRED;
    if (lease->state == LP_LEASE_GRACE)
        change_state(lease, LP_LEASE_ACTIVE);
    set_expiries(lease, lp__clock_now_ns(&rt->clock), lease_ns ? lease_ns : lease->length_ns);
    if (lease->executor->backend->renewed)
        lease->executor->backend->renewed(lease->executor);
    return 0;
}

lp_lease_state_t lp_lease_state(lp_lease_t *lease)
{
    return lp__lease_look(lease);
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

const char *lp_lease_reason(const lp_lease_t *lease)
{
    switch (lease->ended) {
    case LP__END_RELEASED:
    case LP__END_LEAKED:
        return "released";
    case LP__END_EXPIRED:
        return "expired";
    case LP__END_STOPPED:
        return "the manager stopped";
    case LP__END_BROKEN:
        return lease->broken_reason ? lease->broken_reason : "its executor broke";
    default:
        return NULL;
    }
}

void lp_lease_times(const lp_lease_t *lease, lp_lease_times_t *times)
{
    times->length_ns = lease->length_ns;
    times->leased_ns = lease->leased_ns;
    times->soft_expiry_ns = lease->soft_ns;
    times->hard_expiry_ns = lp__load_relaxed(&lease->hard_ns);
}

void lp_lease_jobs(const lp_lease_t *lease, int64_t *queued, int64_t *running)
{
    *queued = lease->executor ? (int64_t)lp__queue_length(&lease->executor->queue) : 0;
    *running = (int64_t)lease->in_flight - *queued;
}
