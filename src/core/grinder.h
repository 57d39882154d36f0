/* grinder.h - many small jobs from many callers, run in batches, each on one lease.
 *
 *     STOPPED --start--> RUNNING --stop--> STOPPING --nothing left--> STOPPED
 *
 * A job that was submitted is pending: it lies in the grinder's list, oldest first. Jobs that came
 * within one tick of the coarse clock (4 ms) form a wave, which alone knows since when they wait:
 * so a pending job is no larger than another, and the clock is read once for all of them. A batch
 * (batch.h) takes jobs out of the list and gives them to its lease; from there on they are like any
 * other job of the lease. What ends before goes to the inbox from here.
 *
 * Loop thread. The memory belongs to the manager; it goes when the handle was closed and nothing
 * is left, or with the manager. */
#ifndef LP_CORE_GRINDER_H
#define LP_CORE_GRINDER_H

#include <stdbool.h>

#include "base/list.h"
#include "core/batch.h"
#include "core/runtime.h"
#include "leasepool.h"

/* Bytes of the option owner_prefix. */
#define LP__OWNER_PREFIX_MAX 255

struct lp__wave_s {
    lp__list_t link; /* in grinder->waves */
    lp_grinder_t *grinder;
    uint64_t tick_ns;  /* of the coarse clock */
    uint64_t since_ns; /* when the first came */
    uint64_t count;    /* jobs that are pending still */
};

typedef enum { LP__GRINDER_STOPPED, LP__GRINDER_RUNNING, LP__GRINDER_STOPPING } lp__grinder_state_t;

struct lp_grinder_s {
    lp__list_t link; /* in manager->grinders */
    lp_manager_t *manager;
    lp_grinder_options_t options;
    char *owner_prefix;  /* the options' copy */
    lp_handle_t *handle; /* of other threads; NULL: none has one */
    char *reason;        /* why the last executor broke; NULL: not known */
    lp__grinder_state_t state;
    bool handle_open;
    unsigned busy; /* calls that are in the middle of something; it is not freed */

    lp__node_t pending; /* head of a ring of jobs, oldest first */
    lp__list_t waves;   /* oldest first; all but the last have pending jobs */
    int64_t pending_count;
    int64_t ended_count; /* jobs that ended while they were pending, and are not delivered yet */

    struct { /* batch.c */
        lp__list_t waiting, running, spare;
        int64_t waiting_count, running_count, spare_count;
        uint64_t last_number;
        bool arranging, again;   /* it runs; it has to look once more */
        lp__deadline_t deadline; /* the oldest job has waited long enough, or sooner */
        lp__task_t due;
    } batch;

    struct {
        lp__list_t requests; /* lp_stop_t that wait for the end */
        lp_stop_report_t report;
        lp__deadline_t deadline; /* of the time that it has */
    } stop;

    lp__task_t progress;
    int64_t in_flight;
    uint64_t batches, items, done, failed, cancelled;
};

/* As lp_grinder_submit, for a job that the runner runs too. Without the argument and thread
 * checks. */
int lp__grinder_submit(lp_grinder_t *grinder, lp_job_t *job, uint64_t timeout_ns, lp_work_cb work,
                       lp_done_cb done);

/* Takes the oldest pending job, which there is, out of the list. */
lp_job_t *lp__grinder_take(lp_grinder_t *grinder);

/* Ends a job that was taken out, and will not be in a batch. */
void lp__grinder_end(lp_grinder_t *grinder, lp_job_t *job, int status);

/* Takes a pending job out and ends it with `status`. */
void lp__grinder_take_back(lp_job_t *job, int status);

/* Why the executor of a batch broke, for those of its jobs that had not begun. */
void lp__grinder_keep_reason(lp_grinder_t *grinder, const char *reason);

/* Since when the oldest waits; LP_FOREVER: there is none. */
uint64_t lp__grinder_oldest_ns(const lp_grinder_t *grinder);

/* A job that ended while it was pending. In a turn. */
void lp__grinder_deliver(lp__node_t *node);

/* A job has ended: counts it, and tells of the progress later. */
void lp__grinder_count(lp_grinder_t *grinder, int status, bool cancelled);

/* `busy` goes down by one; when nothing is left a stop ends, and the grinder may be gone. */
void lp__grinder_leave(lp_grinder_t *grinder);

/* The runtime closes: cancels all that the manager's grinders have. */
void lp__grinder_stop_all(lp_manager_t *manager);

/* The manager stops: what is pending ends with LP_ENOTSTARTED. */
void lp__grinder_lose_manager(lp_manager_t *manager);

void lp__grinder_free(lp_grinder_t *grinder);

#endif
