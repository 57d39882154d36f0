/* manager.h - who may borrow, and in which order. Loop thread.
 *
 *     STOPPED --start--> RUNNING --stop--> STOPPING --last executor gone--> STOPPED
 *
 * An executor is available, leased (draining included), or ending. While somebody waits,
 * none is available: one that comes back goes straight to the oldest waiter.
 *
 * The memory goes with the runtime, or when the handle was closed, no lease is left and
 * the manager has stopped. */
#ifndef LP_CORE_MANAGER_H
#define LP_CORE_MANAGER_H

#include <stdbool.h>

#include "base/list.h"
#include "core/executor.h"
#include "leasepool.h"

typedef enum { LP__MANAGER_STOPPED, LP__MANAGER_RUNNING, LP__MANAGER_STOPPING } lp__manager_state_t;

struct lp_manager_s {
    lp__list_t link; /* in runtime->managers */
    lp_runtime_t *rt;
    const lp_backend_t *backend;
    lp_manager_options_t options;
    char *name_prefix; /* the options' copy; workers read it */

    lp__manager_state_t state;
    bool handle_open;

    lp__list_t available; /* lp__executor_t, last returned first */
    lp__list_t leases;    /* lp_lease_t with an open handle or jobs in flight */
    lp__list_t waiters;   /* lp_acquire_t, oldest first */
    lp__list_t spare_leases;
    lp__list_t stops;        /* lp_stop_t that wait for the end */
    uint32_t executor_count; /* available + leased + ending */
    uint32_t available_count, leased_count, waiter_count, spare_count;
    lp_stop_report_t report;
};

/* An executor for a new lease: available, or made on demand; NULL when all are leased or
 * somebody waits already. *err is LP_EUNAVAILABLE or why none could be made. */
lp__executor_t *lp__manager_take_free(lp_manager_t *manager, int *err);

/* An executor is free again: for the oldest waiter, or available. */
void lp__manager_take_back(lp_manager_t *manager, lp__executor_t *executor);

void lp__manager_lease_freed(lp_manager_t *manager);
void lp__manager_executor_ended(lp_manager_t *manager);

void lp__manager_begin_stop(lp_manager_t *manager);
bool lp__manager_ended(const lp_manager_t *manager);

/* Frees a stopped manager and all of its leases, whatever handles are open. */
void lp__manager_destroy(lp_manager_t *manager);

#endif
