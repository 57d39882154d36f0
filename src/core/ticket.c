/* ticket.c - see ticket.h and leasepool.h. */
#include "core/ticket.h"

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/list.h"
#include "core/grinder.h"
#include "core/manager.h"

static lp_ticket_t *ticket_of(lp__ask_t *ask)
{
    return LP__CONTAINER(ask, lp_ticket_t, ask);
}

static void serve(lp__ask_t *ask)
{
    lp_ticket_t *ticket = ticket_of(ask);
    int rc = ticket->start(ticket, ask->handle->object);
    if (rc != 0)
        lp__ask_end(ask, rc);
}

/* It may have ended meanwhile. */
static void deliver_cancel(lp__call_t *call)
{
    lp_ticket_t *ticket = LP__CONTAINER(call, lp_ticket_t, cancel);
    if (!lp__ask_has_ended(&ticket->ask))
        (void)lp_job_cancel(ticket->job);
    lp_ticket_release(ticket);
}

void lp__ticket_init(lp_ticket_t *ticket, lp_handle_t *handle, lp_job_t *job,
                     int (*start)(lp_ticket_t *, lp_grinder_t *), void (*free_fn)(lp__ask_t *))
{
    lp__ask_init(&ticket->ask, handle, serve, free_fn);
    ticket->cancel.node.kind = LP__NODE_CALL;
    ticket->cancel.deliver = deliver_cancel;
    lp__store_relaxed(&ticket->cancelling, false);
    ticket->job = job;
    ticket->start = start;
}

int lp__ticket_check(const lp_handle_t *handle)
{
    if (!handle || handle->of != LP__HANDLE_OF_GRINDER)
        return LP_EINVAL;
    return lp__handle_check_thread(handle);
}

int lp__ticket_post(lp_ticket_t *ticket)
{
    return lp__ask_post(&ticket->ask);
}

void lp__ticket_end(lp_ticket_t *ticket, int status)
{
    lp__ask_end(&ticket->ask, status);
}

void lp_ticket_retain(lp_ticket_t *ticket)
{
    lp__add_relaxed(&ticket->ask.refs, 1);
}

void lp_ticket_release(lp_ticket_t *ticket)
{
    if (ticket)
        lp__ask_release(&ticket->ask);
}

int lp_ticket_has_ended(const lp_ticket_t *ticket)
{
    return lp__ask_has_ended(&ticket->ask);
}

int lp_ticket_still_running(const lp_ticket_t *ticket)
{
    return lp__ask_has_ended(&ticket->ask) && lp_job_still_running(ticket->job);
}

int lp_ticket_wait(lp_ticket_t *ticket, uint64_t timeout_ns, int *status)
{
    if (!ticket || !status)
        return LP_EINVAL;
    int rc = lp__handle_check_thread(ticket->ask.handle);
    if (rc == 0)
        rc = lp__ask_wait(&ticket->ask, timeout_ns);
    if (rc == 0)
        *status = ticket->ask.status;
    return rc;
}

int lp_ticket_cancel(lp_ticket_t *ticket)
{
    if (!ticket)
        return LP_EINVAL;
    int rc = lp__handle_check_thread(ticket->ask.handle);
    if (rc != 0)
        return rc;
    if (lp__ask_has_ended(&ticket->ask))
        return LP_ESTATE;
    if (lp__exchange_seq_cst(&ticket->cancelling, true))
        return 0;
    lp_ticket_retain(ticket);
    rc = lp__handle_post(ticket->ask.handle, &ticket->cancel);
    if (rc == 0)
        return 0;
    lp__store_seq_cst(&ticket->cancelling, false);
    lp_ticket_release(ticket);
    return LP_ESTATE; /* the grinder has gone, and with it the job, or as good as */
}

/* ---- Of C threads --------------------------------------------------------------- */

typedef struct work_ticket_s work_ticket_t;
struct work_ticket_s {
    lp_ticket_t ticket;
    lp_job_t job;
    uint64_t timeout_ns;
    lp_work_cb work;
    work_ticket_t *next; /* of those given up */
};

/* Their work still runs, and looks at the job, and nobody tells when it returns: they stay, and
 * can be found. */
static _Atomic(work_ticket_t *) given_up;

static void keep(work_ticket_t *own)
{
    lp_ticket_retain(&own->ticket);
    own->next = lp__load_relaxed(&given_up);
    while (!lp__cas_weak_seq_cst(&given_up, &own->next, own))
        continue;
}

static void free_ticket(lp__ask_t *ask)
{
    lp__free(LP__CONTAINER(ticket_of(ask), work_ticket_t, ticket));
}

static void on_done(lp_job_t *job, int status)
{
    work_ticket_t *own = LP__CONTAINER(job, work_ticket_t, job);
    if (lp_job_still_running(job))
        keep(own);
    lp__ticket_end(&own->ticket, status);
}

static int start(lp_ticket_t *ticket, lp_grinder_t *grinder)
{
    work_ticket_t *own = LP__CONTAINER(ticket, work_ticket_t, ticket);
    return lp_grinder_submit(grinder, &own->job, own->timeout_ns, own->work, on_done);
}

int lp_grinder_submit_from_thread(lp_handle_t *handle, lp_ticket_t **ticket, uint64_t timeout_ns,
                                  lp_work_cb work, void *data)
{
    int rc = ticket && work ? lp__ticket_check(handle) : LP_EINVAL;
    if (rc != 0)
        return rc;
    work_ticket_t *own = lp__calloc(LP_MEM_CORE, sizeof *own);
    if (!own)
        return LP_ENOMEM;
    lp__ticket_init(&own->ticket, handle, &own->job, start, free_ticket);
    own->job.data = data;
    own->timeout_ns = timeout_ns;
    own->work = work;
    rc = lp__ticket_post(&own->ticket);
    if (rc == 0)
        *ticket = &own->ticket;
    else
        lp_ticket_release(&own->ticket);
    return rc;
}
