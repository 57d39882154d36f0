/* manager.h - who may borrow, and in which order; the executors that there are. Loop thread.
 *
 *     STOPPED --start--> RUNNING --stop--> STOPPING --last executor gone--> STOPPED
 *                                             (or: written off, see stop.c)
 *
 * An executor is available, leased (draining included), or retiring: it ends, as soon as its
 * last job has. While somebody waits, none is available: one that comes back goes straight to
 * the oldest waiter. How many there should be is sizing.h's; how a manager ends is stop.h's.
 *
 * The memory goes with the runtime, or when the handle was closed, no lease and no executor
 * is left and the manager has stopped. */
#ifndef LP_CORE_MANAGER_H
#define LP_CORE_MANAGER_H

#include <stdbool.h>

#include "base/histogram.h"
#include "base/list.h"
#include "core/command.h"
#include "core/executor.h"
#include "leasepool.h"

typedef enum { LP__MANAGER_STOPPED, LP__MANAGER_RUNNING, LP__MANAGER_STOPPING } lp__manager_state_t;

/* How a lease first ended; what is counted for each. */
typedef enum {
    LP__END_NOT_YET,
    LP__END_RELEASED,
    LP__END_EXPIRED,
    LP__END_BROKEN,
    LP__END_STOPPED,
    LP__END_LEAKED,
    LP__END_COUNT
} lp__lease_end_t;

struct lp_manager_s {
    lp__list_t link; /* in runtime->managers */
    lp_runtime_t *rt;
    const lp_backend_t *backend;
    lp_manager_options_t options;
    char *name_prefix;     /* the options' copy; workers read it */
    lp__command_t command; /* the options' copy */

    /* What the runner's states get to know of this manager; freed with it, so after its last
     * worker has ended. Set before the first start. */
    void *runner_data;
    void (*runner_data_free)(void *);

    lp__manager_state_t state;
    bool handle_open;
    unsigned busy; /* calls that are in the middle of something; it is not destroyed */

    lp__list_t executors; /* lp__executor_t, all of them, by all_link */
    lp__list_t available; /* those that nobody uses, last returned first */
    lp__list_t leases;    /* lp_lease_t with an open handle or jobs in flight */
    lp__list_t waiters;   /* lp_acquire_t, oldest first */
    lp__list_t spare_leases;
    lp__list_t grinders;     /* lp_grinder_t */
    lp_handle_t *handle;     /* of other threads; NULL: none has one */
    uint32_t executor_count; /* available + leased + retiring */
    uint32_t available_count, leased_count, waiter_count, spare_count;

    struct {         /* sizing.c */
        double size; /* the last good one */
        bool asking;
        uint64_t complaint;      /* a hash of what the provider did wrong; 0: nothing */
        bool arranging, again;   /* it runs; it has to look once more */
        uint32_t failures;       /* executors that broke right after their start, in a row */
        uint64_t pause_until_ns; /* none is made before */
        lp__deadline_t check, idle, pause;
        lp__task_t ask; /* the provider, when `check` has fired */
    } sizing;

    struct {                 /* stop.c */
        lp__list_t requests; /* lp_stop_t that wait for the end */
        lp_stop_report_t report;
        uint64_t interrupted, killed; /* jobs, before it */
        lp__deadline_t deadline;
        int step; /* so many deadlines have passed */
        lp__task_t give_up;
    } stop;

    uint64_t lease_ends[LP__END_COUNT];
    uint64_t acquired, timeouts, rejected;
    uint64_t jobs, jobs_done, jobs_failed, jobs_cancelled;
    uint64_t jobs_interrupted, jobs_killed; /* some of the last two */
    uint64_t created;
    lp__histogram_t wait, hold, run; /* the last: of workers that have ended */
};

/* An executor for a new lease: available, or made on demand; NULL when all are leased or
 * somebody waits already. *err is LP_EUNAVAILABLE or why none could be made. */
lp__executor_t *lp__manager_take_free(lp_manager_t *manager, int *err);

/* An executor is free again: for the oldest waiter, or available. */
void lp__manager_take_back(lp_manager_t *manager, lp__executor_t *executor);

/* on_expiry = "kill" is not for this backend: LP_EINVAL, with the text. */
int lp__manager_refuse_kill(lp_runtime_t *rt, const lp_backend_t *backend);

/* Executors that end. */
uint32_t lp__manager_retiring(const lp_manager_t *manager);

void lp__manager_lease_freed(lp_manager_t *manager);
void lp__manager_executor_ended(lp_manager_t *manager);

/* Gives up what nobody can reach any more. */
void lp__manager_destroy_when_forgotten(lp_manager_t *manager);

/* `busy` goes down by one; the manager may be gone afterwards. */
void lp__manager_leave(lp_manager_t *manager);

/* Nothing comes from other threads any more, to the manager and its grinders. */
void lp__manager_close_handles(lp_manager_t *manager);

/* Frees a stopped manager and all of its leases, whatever handles are open. */
void lp__manager_destroy(lp_manager_t *manager);

#endif
