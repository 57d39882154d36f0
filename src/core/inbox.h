/* inbox.h - the way back: workers post, the loop takes everything at once.
 *
 * A stack that any thread pushes to and only the loop's thread takes, whole
 * (R. K. Treiber, "Systems programming: coping with parallelism", 1986; taking all
 * at once needs no protection against ABA). The loop is woken only when the
 * stack was empty and the loop has not said that it will look again anyway.
 *
 * Lifetime: reference-counted, one reference for the runtime and one for each
 * worker. It outlives the runtime, so that a worker which comes back late finds
 * a closed inbox instead of freed memory. */
#ifndef LP_CORE_INBOX_H
#define LP_CORE_INBOX_H

#include <stdbool.h>
#include <uv.h>

#include "leasepool.h"

typedef struct lp__inbox_s lp__inbox_t;

/* `on_wake` runs on the loop after a post to an empty inbox. Loop thread. With one
 * reference. 0, LP_ENOMEM or libuv's code. */
int lp__inbox_create(lp__inbox_t **inbox, uv_loop_t *loop, uv_async_cb on_wake, void *data);

void lp__inbox_retain(lp__inbox_t *inbox);  /* any thread */
void lp__inbox_release(lp__inbox_t *inbox); /* any thread */

/* Hands `node` to the loop; it belongs to the loop from here on. Any thread. */
void lp__inbox_post(lp__inbox_t *inbox, lp__node_t *node);

/* Makes on_wake run in a later turn, whatever the inbox holds. Any thread. */
void lp__inbox_wake(lp__inbox_t *inbox);

/* Loop thread: all nodes, first posted first; NULL when there are none. */
lp__node_t *lp__inbox_take(lp__inbox_t *inbox);

/* Loop thread: something may be there; costs a load. */
bool lp__inbox_ready(lp__inbox_t *inbox);

/* Loop thread: between begin and end the loop looks at the inbox by itself and posts
 * wake nobody. After `end` the loop must look once more before it sleeps. */
void lp__inbox_poll_begin(lp__inbox_t *inbox);
void lp__inbox_poll_end(lp__inbox_t *inbox);

/* Does the inbox keep its loop alive? Loop thread. */
void lp__inbox_ref(lp__inbox_t *inbox, bool alive);

/* Loop thread: no post touches the loop any more; `on_closed(data)` runs when libuv has
 * let go of the handle. The caller's reference remains. */
void lp__inbox_close(lp__inbox_t *inbox, void (*on_closed)(void *data), void *data);

#endif
