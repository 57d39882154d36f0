/* desk.h - what one worker works on, as the loop may see it and speak to it.
 *
 * The worker takes a node onto its desk under the queue's lock, so a loop that finds a node in
 * flight and not in the queue finds it on a desk, or knows that it is on its way back. Each piece
 * of work has a number. Whoever wants it to stop, or gives it up, says so with that number, and so
 * never touches the next one. Nor does what the worker is sent meanwhile, a signal: the loop says
 * that it is about to send, then looks whether the work is still there; the worker says that it is
 * done, then waits until nothing is being sent to it.
 *
 * `hold` decides who has the work when it takes too long; the number is in it:
 *
 *     FREE --take--> TAKING <--ready--> BUSY --done--> FREE
 *                                        |
 *                                        +--give up--> LOST --done--> GONE
 *                                                        |
 *                                                        +--detach--> DETACHED
 *
 * While it is TAKING the worker looks at the job, which so cannot be given up. A worker whose work
 * is LOST leaves when that returns, and is GONE; when it is DETACHED nobody waits for it. */
#ifndef LP_CORE_DESK_H
#define LP_CORE_DESK_H

#include "base/atomics.h"
#include "leasepool.h"

typedef enum {
    LP__DESK_FREE,
    LP__DESK_TAKING,
    LP__DESK_BUSY,
    LP__DESK_LOST,
    LP__DESK_GONE,
    LP__DESK_DETACHED
} lp__desk_hold_t;

typedef struct {
    _Atomic(lp__node_t *) node; /* the worker writes it; NULL: none */
    _Atomic uint64_t serial;    /* of the piece of work; the worker writes it */
    _Atomic uint64_t wanted;    /* to stop: serial << 16 | why; the loop writes it */
    _Atomic uint64_t hold;      /* serial << 3 | lp__desk_hold_t */
    atomic_bool asking;         /* the loop is about to interrupt; the loop writes it */
    uint64_t nudges;            /* of the queue, as the worker knows; under its lock */
} lp__desk_t;

/* Takes the next piece of work; NULL: one that is no job. Worker, under the queue's lock if it is
 * one of the queue. */
static inline void lp__desk_take(lp__desk_t *desk, lp__node_t *node)
{
    uint64_t serial = lp__load_relaxed(&desk->serial) + 1;
    lp__store_relaxed(&desk->serial, serial);
    lp__store_relaxed(&desk->hold, serial << 3 | LP__DESK_TAKING);
    lp__store_relaxed(&desk->node, node);
}

/* The worker does not look at the job from here on. */
static inline void lp__desk_ready(lp__desk_t *desk)
{
    uint64_t serial = lp__load_relaxed(&desk->serial);
    atomic_store_explicit(&desk->hold, serial << 3 | LP__DESK_BUSY, memory_order_release);
}

static inline lp__desk_hold_t lp__desk_hold(const lp__desk_t *desk)
{
    return (lp__desk_hold_t)(lp__load_seq_cst(&desk->hold) & 7);
}

/* Has the worker something that the loop has not given up? */
static inline bool lp__desk_is_held(const lp__desk_t *desk)
{
    lp__desk_hold_t hold = lp__desk_hold(desk);
    return hold == LP__DESK_TAKING || hold == LP__DESK_BUSY;
}

/* And is it the one with this number? */
static inline bool lp__desk_holds(const lp__desk_t *desk, uint64_t serial)
{
    uint64_t hold = lp__load_seq_cst(&desk->hold);
    return hold == (serial << 3 | LP__DESK_TAKING) || hold == (serial << 3 | LP__DESK_BUSY);
}

/* Moves on from one hold to another; false when it is another by now. Any thread. */
static inline bool lp__desk_move(lp__desk_t *desk, lp__desk_hold_t from, lp__desk_hold_t to)
{
    uint64_t hold = lp__load_acquire(&desk->hold);
    return (hold & 7) == from &&
           atomic_compare_exchange_strong(&desk->hold, &hold, (hold & ~UINT64_C(7)) | to);
}

/* Gives up the work with this number; false: the worker has something else by now, or looks at the
 * job. Loop. */
static inline bool lp__desk_give_up(lp__desk_t *desk, uint64_t serial)
{
    uint64_t busy = serial << 3 | LP__DESK_BUSY;
    return atomic_compare_exchange_strong(&desk->hold, &busy, serial << 3 | LP__DESK_LOST);
}

/* It is done. False: it was given up meanwhile, and is not the worker's any more. Worker. */
static inline bool lp__desk_clear(lp__desk_t *desk)
{
    if (!lp__desk_move(desk, LP__DESK_BUSY, LP__DESK_FREE))
        return false;
    lp__store_relaxed(&desk->node, NULL);
    return true;
}

/* May the worker be interrupted because of this work? If so the loop does, and then says so.
 * Loop. */
static inline bool lp__desk_ask_begin(lp__desk_t *desk, uint64_t serial)
{
    lp__store_seq_cst(&desk->asking, true);
    return lp__desk_holds(desk, serial);
}

static inline void lp__desk_ask_end(lp__desk_t *desk)
{
    atomic_store_explicit(&desk->asking, false, memory_order_release);
}

/* The work that was cleared may have been asked to stop. Worker. */
static inline bool lp__desk_was_asked(const lp__desk_t *desk)
{
    return lp__load_seq_cst(&desk->wanted) >> 16 == lp__load_relaxed(&desk->serial);
}

static inline bool lp__desk_is_being_asked(const lp__desk_t *desk)
{
    return lp__load_acquire(&desk->asking);
}

/* The work with this number is to stop, because of `why`, an error code. Loop. */
static inline void lp__desk_want_stop(lp__desk_t *desk, uint64_t serial, int why)
{
    lp__store_seq_cst(&desk->wanted, serial << 16 | (uint64_t)-why);
}

/* Why the work at hand is to stop, an error code; 0: it is not. The worker, also in a signal
 * handler. */
static inline int lp__desk_stop_wanted(const lp__desk_t *desk)
{
    uint64_t wanted = lp__load_relaxed(&desk->wanted);
    return wanted >> 16 == lp__load_relaxed(&desk->serial) ? -(int)(wanted & 0xffff) : 0;
}

#endif
