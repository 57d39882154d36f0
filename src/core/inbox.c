/* inbox.c - see inbox.h.
 *
 * `head` and `polling` are the shared words. `lock` guards `closed` against the
 * one call that must not be late: uv_async_send on a closed handle aborts. */
#include "core/inbox.h"

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/list.h"

struct lp__inbox_s {
    _Atomic(lp__node_t *) head;
    atomic_bool polling;
    atomic_uint refs;

    uv_mutex_t lock;
    bool closed;

    uv_async_t async; /* loop thread, but for uv_async_send under `lock` */
    void (*on_closed)(void *data);
    void *on_closed_data;
};

int lp__inbox_create(lp__inbox_t **out, uv_loop_t *loop, uv_async_cb on_wake, void *data)
{
    lp__inbox_t *inbox = lp__calloc(LP_MEM_CORE, sizeof *inbox);
    if (!inbox)
        return LP_ENOMEM;
    int rc = uv_mutex_init(&inbox->lock);
    if (rc == 0) {
        rc = uv_async_init(loop, &inbox->async, on_wake);
        if (rc != 0)
            uv_mutex_destroy(&inbox->lock);
    }
    if (rc != 0) {
        lp__free(inbox);
        return rc;
    }
    inbox->async.data = data;
    lp__store_relaxed(&inbox->refs, 1);
    *out = inbox;
    return 0;
}

void lp__inbox_retain(lp__inbox_t *inbox)
{
    lp__add_relaxed(&inbox->refs, 1);
}

void lp__inbox_release(lp__inbox_t *inbox)
{
    if (lp__sub_acq_rel(&inbox->refs, 1) != 1)
        return;
    uv_mutex_destroy(&inbox->lock);
    lp__free(inbox);
}

void lp__inbox_wake(lp__inbox_t *inbox)
{
    uv_mutex_lock(&inbox->lock);
    if (!inbox->closed)
        uv_async_send(&inbox->async);
    uv_mutex_unlock(&inbox->lock);
}

void lp__inbox_post(lp__inbox_t *inbox, lp__node_t *node)
{
    lp__node_t *head = lp__load_relaxed(&inbox->head);
    do {
        node->next = head;
    } while (!lp__cas_weak_seq_cst(&inbox->head, &head, node));
    if (!head && !lp__load_seq_cst(&inbox->polling))
        lp__inbox_wake(inbox);
}

lp__node_t *lp__inbox_take(lp__inbox_t *inbox)
{
    if (!lp__inbox_ready(inbox))
        return NULL;
    lp__node_t *newest = lp__exchange_seq_cst(&inbox->head, NULL), *oldest = NULL;
    while (newest) {
        lp__node_t *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

bool lp__inbox_ready(lp__inbox_t *inbox)
{
    return lp__load_seq_cst(&inbox->head) != NULL;
}

void lp__inbox_poll_begin(lp__inbox_t *inbox)
{
    lp__store_seq_cst(&inbox->polling, true);
}

void lp__inbox_poll_end(lp__inbox_t *inbox)
{
    lp__store_seq_cst(&inbox->polling, false);
}

void lp__inbox_ref(lp__inbox_t *inbox, bool alive)
{
    if (alive)
        uv_ref((uv_handle_t *)&inbox->async);
    else
        uv_unref((uv_handle_t *)&inbox->async);
}

static void on_handle_closed(uv_handle_t *handle)
{
    lp__inbox_t *inbox = LP__CONTAINER(handle, lp__inbox_t, async);
    inbox->on_closed(inbox->on_closed_data);
    lp__inbox_release(inbox);
}

void lp__inbox_close(lp__inbox_t *inbox, void (*on_closed)(void *data), void *data)
{
    uv_mutex_lock(&inbox->lock);
    inbox->closed = true;
    uv_mutex_unlock(&inbox->lock);
    inbox->on_closed = on_closed;
    inbox->on_closed_data = data;
    lp__inbox_retain(inbox); /* for libuv, until it has let go */
    uv_close((uv_handle_t *)&inbox->async, on_handle_closed);
}
