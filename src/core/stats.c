/* stats.c - what a manager tells of itself. See leasepool.h. Loop thread.
 *
 * Counters are kept where things happen; sums over leases and workers are made here. */
#include <string.h>

#include "core/lease.h"
#include "core/manager.h"
#include "core/runtime.h"
#include "core/worker.h"

static void add_runs(lp__histogram_t *runs, const lp__executor_t *executor)
{
    for (const lp__list_t *at = executor->workers.next; at != &executor->workers; at = at->next)
        lp__histogram_add(runs, &LP__CONTAINER(at, lp__worker_t, link)->run_times);
}

/* Of all workers that there are and were. */
static void read_runs(const lp_manager_t *manager, lp_durations_t *durations)
{
    lp__histogram_t runs;
    memset(&runs, 0, sizeof runs);
    lp__histogram_add(&runs, &manager->run);
    for (const lp__list_t *at = manager->executors.next; at != &manager->executors; at = at->next)
        add_runs(&runs, LP__CONTAINER(at, lp__executor_t, all_link));
    lp__histogram_read(&runs, durations);
}

int lp_manager_stats(lp_manager_t *manager, lp_manager_stats_t *stats)
{
    if (!manager || !stats)
        return LP_EINVAL;
    int rc = lp__runtime_enter(manager->rt);
    if (rc != 0)
        return rc;
    memset(stats, 0, sizeof *stats);
    stats->backend = manager->backend->name;
    stats->max_pools = manager->options.max_pools;
    stats->min_pools = manager->options.min_pools;
    stats->workers_per_pool = manager->options.workers_per_pool;
    stats->desired = lp_manager_desired(manager);
    stats->available = manager->available_count;
    stats->leased = manager->leased_count;
    stats->total = stats->available + stats->leased;
    stats->retiring = lp__manager_retiring(manager);
    stats->waiters = manager->waiter_count;
    stats->acquired = manager->acquired;
    stats->released = manager->lease_ends[LP__END_RELEASED];
    stats->expired = manager->lease_ends[LP__END_EXPIRED];
    stats->broken = manager->lease_ends[LP__END_BROKEN];
    stats->stopped = manager->lease_ends[LP__END_STOPPED];
    stats->leaked = manager->lease_ends[LP__END_LEAKED];
    stats->timeouts = manager->timeouts;
    stats->rejected = manager->rejected;
    stats->jobs = manager->jobs;
    stats->done = manager->jobs_done;
    stats->failed = manager->jobs_failed;
    stats->cancelled = manager->jobs_cancelled;
    stats->interrupted = manager->jobs_interrupted;
    stats->killed = manager->jobs_killed;
    stats->created = manager->created;
    stats->retired = manager->created - (uint64_t)stats->total;
    for (lp__list_t *at = manager->leases.next; at != &manager->leases; at = at->next) {
        lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        int64_t queued, running;
        lp_lease_jobs(lease, &queued, &running);
        stats->live += lease->ended == LP__END_NOT_YET;
        stats->queued += queued;
        stats->running += running;
    }
    lp__histogram_read(&manager->wait, &stats->wait);
    lp__histogram_read(&manager->hold, &stats->hold);
    read_runs(manager, &stats->run);
    return 0;
}

int lp_manager_each_lease(lp_manager_t *manager, lp_lease_cb cb, void *data)
{
    if (!manager || !cb)
        return LP_EINVAL;
    int rc = lp__runtime_enter(manager->rt);
    if (rc != 0)
        return rc;
    for (lp__list_t *at = manager->leases.next, *next; at != &manager->leases; at = next) {
        next = at->next;
        lp_lease_t *lease = LP__CONTAINER(at, lp_lease_t, link);
        if (lease->state != LP_LEASE_CLOSED)
            cb(lease, data);
    }
    return 0;
}
