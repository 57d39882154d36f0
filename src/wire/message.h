/* message.h - one flat buffer of encoded values, and what it refers to outside of itself.
 *
 * A message belongs to one side at a time, as its job does: the loop fills it,
 * a worker reads it and fills it again with the results, the loop reads those.
 * A small message lies inside the struct, so that a queued small job is one
 * block of memory.
 *
 * What cannot lie in a buffer (code, later pinned strings) is attached: a list
 * of reference-counted objects, to which the bytes refer by index. A message
 * holds one reference to each. */
#ifndef LP_WIRE_MESSAGE_H
#define LP_WIRE_MESSAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Messages beyond this are refused, never cut. */
#define LP__MESSAGE_MAX UINT32_C(0x7fffffff)
#define LP__MESSAGE_SMALL 24

/* An object that several threads may hold; embed as the first member. */
typedef struct lp__shared_s lp__shared_t;
struct lp__shared_s {
    atomic_uint refs;
    void (*free)(lp__shared_t *self); /* called by the thread that drops the last reference */
};

void lp__shared_init(lp__shared_t *self, void (*free_fn)(lp__shared_t *)); /* with one reference */
void lp__shared_retain(lp__shared_t *self);
void lp__shared_release(lp__shared_t *self); /* NULL is allowed */

typedef struct {
    uint32_t count, cap;
    lp__shared_t *items[];
} lp__attached_t;

typedef struct {
    uint8_t *data; /* `small`, or a block of its own */
    uint32_t len, cap;
    lp__attached_t *attached; /* NULL when nothing is */
    uint8_t small[LP__MESSAGE_SMALL];
} lp__message_t;

/* An empty message; it must not be moved in memory afterwards. Cannot fail. */
void lp__message_init(lp__message_t *message);

/* Empties the message and drops what is attached; keeps the buffer for what comes next. */
void lp__message_reset(lp__message_t *message);

/* Gives back what of the buffer is not needed for its content. Never fails. */
void lp__message_fit(lp__message_t *message);

/* Frees everything but the struct itself, which is left empty. */
void lp__message_free(lp__message_t *message);

/* Moves all of `from`, which is empty afterwards, into the uninitialised `to`. */
void lp__message_move(lp__message_t *to, lp__message_t *from);

/* Does it own memory outside of the struct? */
static inline bool lp__message_is_large(const lp__message_t *message)
{
    return message->data != message->small || message->attached;
}

/* Makes room for `more` bytes behind `len`. 0, LP_ENOMEM, or LP_ETRANSFER when
 * the message would pass LP__MESSAGE_MAX. */
int lp__message_reserve(lp__message_t *message, size_t more);

/* Attaches `object`, taking one more reference; *index is its place.
 * An object attached before keeps its place. 0 or LP_ENOMEM. */
int lp__message_attach(lp__message_t *message, lp__shared_t *object, uint32_t *index);

#endif
