/* ticket.h - a job that another thread submits to a grinder, and may wait for.
 *
 * A ticket is asked (handle.h): the loop submits its job, and the end of the job is the answer.
 * Where it is cancelled the loop is told of that by a call of its own, which holds a reference. */
#ifndef LP_CORE_TICKET_H
#define LP_CORE_TICKET_H

#include "core/handle.h"
#include "leasepool.h"

struct lp_ticket_s {
    lp__ask_t ask;
    lp__call_t cancel;
    atomic_bool cancelling; /* it was posted */
    lp_job_t *job;          /* the loop's, from the post on */
    /* Submits the job; 0, or the code with which the ticket ends. Loop thread, in a turn. When the
     * job has ended, lp__ticket_end is called. */
    int (*start)(lp_ticket_t *self, lp_grinder_t *grinder);
};

/* Fills in all of it, with one reference, the caller's; `free_fn` gets `ask`. */
void lp__ticket_init(lp_ticket_t *ticket, lp_handle_t *handle, lp_job_t *job,
                     int (*start)(lp_ticket_t *, lp_grinder_t *), void (*free_fn)(lp__ask_t *));

/* Is the handle one that takes jobs from the calling thread? 0, LP_EINVAL or LP_EWRONGTHREAD. */
int lp__ticket_check(const lp_handle_t *handle);

/* LP_ENOTSTARTED: the grinder has gone. */
int lp__ticket_post(lp_ticket_t *ticket);

void lp__ticket_end(lp_ticket_t *ticket, int status); /* loop thread */

#endif
