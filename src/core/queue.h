/* queue.h - the way out: one queue for each executor, from the loop to its workers.
 *
 * The loop pushes onto a stack that workers take whole when their ordered list is
 * empty, so under load the two sides hardly meet. Only workers (and the loop when it takes
 * jobs back) use the lock, which guards the ordered list and who sleeps.
 *
 * Wake policy: one sleeping worker at a time is being woken; once awake it wakes the next
 * if there is more to do. (Signalling for each job was 11 times slower with four workers.)
 *
 * A worker that was woken for next to nothing, as others had taken the jobs before it came, naps:
 * for a millisecond none is woken, unless all sleep; then it looks by itself. So a job may wait
 * that long behind a long one that comes after many short ones. (With two workers on two CPUs
 * every sixth trivial job woke one in vain; 1.1 M jobs/s became 2.8 M.)
 *
 * Before it sleeps, one worker at a time may look a little longer (base/spin.h).
 *
 * A node that was taken points at itself by `prev`, which only the lock's holder writes. */
#ifndef LP_CORE_QUEUE_H
#define LP_CORE_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

#include "base/spin.h"
#include "core/desk.h"
#include "leasepool.h"

typedef struct {
    /* the loop's side */
    _Atomic(lp__node_t *) incoming; /* newest first */
    uint64_t pushed, taken_seen;
    atomic_uint workers; /* that there are, as of the last push */

    char apart[64]; /* the two sides share no cache line */

    /* who sleeps: written under lock, and seldom, but read by each push */
    atomic_uint sleeping;
    atomic_bool napping; /* one of those comes by itself */
    atomic_bool waking;  /* a signal is on its way */

    char apart_too[64]; /* from what changes with each job: 12 % fewer jobs/s without */

    /* the workers' side */
    uv_mutex_t lock;
    lp__node_t *head, *tail; /* oldest first; under lock */
    bool stopping;           /* under lock */
    uint64_t nudges;         /* under lock */
    bool spinning;           /* under lock: a worker looks at `incoming` without it */
    lp__spin_t spin;         /* under lock */
    uv_cond_t wake;
    uint64_t woken_ns;      /* under lock: when a worker last came to work from a sleep */
    _Atomic uint64_t taken; /* written under lock */
} lp__queue_t;

int lp__queue_init(lp__queue_t *queue); /* 0 or libuv's code */
void lp__queue_destroy(lp__queue_t *queue);

/* ---- Loop thread ---- */

/* Appends. True when one of the `workers` has to be woken: call lp__queue_wake. */
bool lp__queue_push(lp__queue_t *queue, lp__node_t *node, uint32_t workers);
void lp__queue_wake(lp__queue_t *queue);

/* For a backend whose workers do not stand in lp__queue_take: every push says true. */
void lp__queue_always_wake(lp__queue_t *queue);

/* The oldest node, on `desk` then; NULL when there is none; does not wait. For such a backend. */
lp__node_t *lp__queue_try_take(lp__queue_t *queue, lp__desk_t *desk);

/* The same, ahead of its time: it counts as waiting until lp__queue_begun. A node that need not
 * wait at a worker any more is given back, in front of all others. */
lp__node_t *lp__queue_take_ahead(lp__queue_t *queue);
void lp__queue_begun(lp__queue_t *queue);
void lp__queue_give_back(lp__queue_t *queue, lp__node_t *node);

/* Nodes that wait; and whether they are `limit` or more, which mostly spares the cache miss
 * that counting costs. */
uint64_t lp__queue_length(lp__queue_t *queue);
bool lp__queue_full(lp__queue_t *queue, uint64_t limit);

/* Takes a waiting node back; false when a worker has it. */
bool lp__queue_remove(lp__queue_t *queue, lp__node_t *node);

/* Takes everything that waits, oldest first, linked by `next`. */
lp__node_t *lp__queue_remove_all(lp__queue_t *queue);

/* From here on there is nothing to wait for: workers leave once the queue is empty. */
void lp__queue_stop(lp__queue_t *queue);

/* Each worker that has nothing to do returns once from lp__queue_take, the others before they wait
 * next. */
void lp__queue_nudge(lp__queue_t *queue);

/* The node on a desk, NULL if there is none, and the number of the work. */
lp__node_t *lp__queue_look(lp__queue_t *queue, const lp__desk_t *desk, uint64_t *serial);

/* ---- Workers ---- */

typedef enum {
    LP__TAKEN,            /* there was one */
    LP__TAKEN_AFTER_WAIT, /* at first there was none */
    LP__NUDGED,           /* none; lp__queue_nudge was called since this desk saw it last */
    LP__STOPPED           /* none, and none will come */
} lp__take_t;

/* Takes the oldest node onto `desk`, waiting for one. */
lp__take_t lp__queue_take(lp__queue_t *queue, lp__desk_t *desk, lp__node_t **node);

#endif
