/* queue.c - see queue.h. */
#include "core/queue.h"

#include <string.h>

#include "base/atomics.h"

/* Waking a worker takes about 5 us of two CPUs. One that had less than SHORT_WORK_NS to do when it
 * was woken naps. */
#define SHORT_WORK_NS UINT64_C(10000)
#define NAP_NS UINT64_C(1000000)

int lp__queue_init(lp__queue_t *queue)
{
    memset(queue, 0, sizeof *queue);
    int rc = uv_mutex_init(&queue->lock);
    if (rc != 0)
        return rc;
    rc = uv_cond_init(&queue->wake);
    if (rc != 0)
        uv_mutex_destroy(&queue->lock);
    return rc;
}

void lp__queue_destroy(lp__queue_t *queue)
{
    uv_cond_destroy(&queue->wake);
    uv_mutex_destroy(&queue->lock);
}

/* ---- Under the lock ----------------------------------------------------------- */

/* Moves what the loop has pushed behind the ordered list. */
static void collect_incoming(lp__queue_t *queue)
{
    lp__node_t *newest = lp__exchange_seq_cst(&queue->incoming, NULL);
    if (!newest)
        return;
    lp__node_t *node = newest, *later = NULL;
    for (;;) { /* `next` led to the older node so far; now it leads to the younger one */
        lp__node_t *older = node->next;
        node->next = later;
        node->prev = older;
        if (!older)
            break;
        later = node;
        node = older;
    }
    node->prev = queue->tail;
    if (queue->tail)
        queue->tail->next = node;
    else
        queue->head = node;
    queue->tail = newest;
}

static void unlink_node(lp__queue_t *queue, lp__node_t *node)
{
    if (node->prev)
        node->prev->next = node->next;
    else
        queue->head = node->next;
    if (node->next)
        node->next->prev = node->prev;
    else
        queue->tail = node->prev;
    node->prev = node; /* taken */
}

static void count_taken(lp__queue_t *queue, uint64_t count)
{
    lp__store_relaxed(&queue->taken, lp__load_relaxed(&queue->taken) + count);
}

static lp__node_t *pop(lp__queue_t *queue)
{
    if (!queue->head)
        collect_incoming(queue);
    lp__node_t *node = queue->head;
    if (node) {
        unlink_node(queue, node);
        count_taken(queue, 1);
    }
    return node;
}

/* Claims the right to wake one sleeper; whoever gets true must signal. */
static bool claim_wake(lp__queue_t *queue)
{
    if (lp__load_relaxed(&queue->sleeping) == 0 || lp__load_relaxed(&queue->waking))
        return false;
    lp__store_seq_cst(&queue->waking, true);
    return true;
}

/* One naps at a time, and only while another is awake. (Of a new worker the loop tells with its
 * next push.) */
static bool may_nap(lp__queue_t *queue)
{
    return !lp__load_relaxed(&queue->napping) &&
           lp__load_relaxed(&queue->sleeping) + 1 < lp__load_relaxed(&queue->workers);
}

/* Or, in a nap, until that is over. */
static void sleep_until_signal(lp__queue_t *queue, bool nap)
{
    /* The count is up before the last look at `incoming`, and the loop looks at the count
     * after it has pushed: one of the two sees the other. */
    if (nap)
        lp__store_seq_cst(&queue->napping, true);
    lp__store_seq_cst(&queue->sleeping, lp__load_relaxed(&queue->sleeping) + 1);
    if (!lp__load_seq_cst(&queue->incoming)) {
        lp__spin_busy_end();
        if (nap)
            uv_cond_timedwait(&queue->wake, &queue->lock, NAP_NS);
        else
            uv_cond_wait(&queue->wake, &queue->lock);
        lp__spin_busy_begin();
    }
    lp__store_seq_cst(&queue->sleeping, lp__load_relaxed(&queue->sleeping) - 1);
    if (nap)
        lp__store_seq_cst(&queue->napping, false);
    lp__store_seq_cst(&queue->waking, false);
}

static bool look_for_incoming(void *queue)
{
    return lp__load_relaxed(&((lp__queue_t *)queue)->incoming) != NULL;
}

static void spin_for_incoming(lp__queue_t *queue)
{
    queue->spinning = true;
    uv_mutex_unlock(&queue->lock);
    lp__spin(look_for_incoming, queue);
    uv_mutex_lock(&queue->lock);
    queue->spinning = false;
}

/* Waits until there is a node, the queue stops, or somebody nudges. */
static lp__node_t *wait_for_node(lp__queue_t *queue, const lp__desk_t *desk)
{
    lp__node_t *node = NULL;
    uint64_t began_ns = uv_hrtime();
    if (!queue->spinning && lp__spin_allowed(&queue->spin))
        spin_for_incoming(queue);
    bool slept = false, nap = began_ns - queue->woken_ns < SHORT_WORK_NS;
    while (!(node = pop(queue)) && !queue->stopping && desk->nudges == queue->nudges) {
        sleep_until_signal(queue, nap && may_nap(queue));
        slept = true;
        nap = !nap; /* woken in vain; or nothing came in all of a nap */
    }
    uint64_t now_ns = uv_hrtime();
    if (slept)
        queue->woken_ns = now_ns;
    lp__spin_learn(&queue->spin, now_ns - began_ns);
    return node;
}

/* ---- Loop thread -------------------------------------------------------------- */

bool lp__queue_push(lp__queue_t *queue, lp__node_t *node, uint32_t workers)
{
    node->prev = NULL;
    lp__node_t *newest = lp__load_relaxed(&queue->incoming);
    do {
        node->next = newest;
    } while (!lp__cas_weak_seq_cst(&queue->incoming, &newest, node));
    queue->pushed++;
    lp__store_relaxed(&queue->workers, workers);
    uint32_t sleeping = lp__load_seq_cst(&queue->sleeping);
    if (sleeping == 0 || lp__load_seq_cst(&queue->waking))
        return false;
    return sleeping >= workers || !lp__load_seq_cst(&queue->napping);
}

void lp__queue_wake(lp__queue_t *queue)
{
    uv_mutex_lock(&queue->lock);
    bool signal = claim_wake(queue);
    uv_mutex_unlock(&queue->lock);
    if (signal)
        uv_cond_signal(&queue->wake);
}

void lp__queue_always_wake(lp__queue_t *queue)
{
    lp__store_relaxed(&queue->sleeping, 1); /* and nobody will ever wake */
}

lp__node_t *lp__queue_try_take(lp__queue_t *queue, lp__desk_t *desk)
{
    uv_mutex_lock(&queue->lock);
    lp__node_t *node = pop(queue);
    if (node)
        lp__desk_take(desk, node);
    uv_mutex_unlock(&queue->lock);
    return node;
}

lp__node_t *lp__queue_take_ahead(lp__queue_t *queue)
{
    uv_mutex_lock(&queue->lock);
    if (!queue->head)
        collect_incoming(queue);
    lp__node_t *node = queue->head;
    if (node)
        unlink_node(queue, node);
    uv_mutex_unlock(&queue->lock);
    return node;
}

void lp__queue_begun(lp__queue_t *queue)
{
    uv_mutex_lock(&queue->lock);
    count_taken(queue, 1);
    uv_mutex_unlock(&queue->lock);
}

void lp__queue_give_back(lp__queue_t *queue, lp__node_t *node)
{
    uv_mutex_lock(&queue->lock);
    node->prev = NULL;
    node->next = queue->head;
    if (queue->head)
        queue->head->prev = node;
    else
        queue->tail = node;
    queue->head = node;
    uv_mutex_unlock(&queue->lock);
}

uint64_t lp__queue_length(lp__queue_t *queue)
{
    queue->taken_seen = lp__load_relaxed(&queue->taken);
    return queue->pushed - queue->taken_seen;
}

bool lp__queue_full(lp__queue_t *queue, uint64_t limit)
{
    return queue->pushed - queue->taken_seen >= limit && lp__queue_length(queue) >= limit;
}

bool lp__queue_remove(lp__queue_t *queue, lp__node_t *node)
{
    uv_mutex_lock(&queue->lock);
    collect_incoming(queue);
    bool waiting = node->prev != node;
    if (waiting) {
        unlink_node(queue, node);
        count_taken(queue, 1);
    }
    uv_mutex_unlock(&queue->lock);
    return waiting;
}

lp__node_t *lp__queue_remove_all(lp__queue_t *queue)
{
    uv_mutex_lock(&queue->lock);
    collect_incoming(queue);
    lp__node_t *first = queue->head;
    uint64_t count = 0;
    for (lp__node_t *node = first; node; node = node->next) {
        node->prev = node;
        count++;
    }
    queue->head = queue->tail = NULL;
    count_taken(queue, count);
    uv_mutex_unlock(&queue->lock);
    return first;
}

void lp__queue_stop(lp__queue_t *queue)
{
    uv_mutex_lock(&queue->lock);
    queue->stopping = true;
    uv_mutex_unlock(&queue->lock);
    uv_cond_broadcast(&queue->wake);
}

lp__node_t *lp__queue_look(lp__queue_t *queue, const lp__desk_t *desk, uint64_t *serial)
{
    uv_mutex_lock(&queue->lock);
    lp__node_t *node = lp__load_relaxed(&desk->node);
    *serial = lp__load_relaxed(&desk->serial);
    uv_mutex_unlock(&queue->lock);
    return node;
}

void lp__queue_nudge(lp__queue_t *queue)
{
    uv_mutex_lock(&queue->lock);
    queue->nudges++;
    uv_mutex_unlock(&queue->lock);
    uv_cond_broadcast(&queue->wake);
}

/* ---- Workers ------------------------------------------------------------------ */

/* Under the lock. A node that is taken after a nudge is news enough: it was pushed after it. */
static lp__take_t outcome(const lp__queue_t *queue, lp__desk_t *desk, bool waited)
{
    desk->nudges = queue->nudges;
    if (lp__load_relaxed(&desk->node))
        return waited ? LP__TAKEN_AFTER_WAIT : LP__TAKEN;
    return queue->stopping ? LP__STOPPED : LP__NUDGED;
}

lp__take_t lp__queue_take(lp__queue_t *queue, lp__desk_t *desk, lp__node_t **out)
{
    uv_mutex_lock(&queue->lock);
#ifdef LP_TEST_RACE /* a build that ThreadSanitizer must refuse */
    uv_mutex_unlock(&queue->lock);
#endif
    lp__node_t *node = pop(queue);
#ifdef LP_TEST_RACE
    uv_mutex_lock(&queue->lock);
#endif
    bool waited = !node;
    if (waited && !queue->stopping)
        node = wait_for_node(queue, desk);
    if (node)
        lp__desk_take(desk, node);
    lp__take_t take = outcome(queue, desk, waited);
    bool more = queue->head || lp__load_seq_cst(&queue->incoming);
    bool signal = node && more && !lp__load_relaxed(&queue->napping) && claim_wake(queue);
    uv_mutex_unlock(&queue->lock);
    if (signal)
        uv_cond_signal(&queue->wake);
    *out = node;
    return take;
}
