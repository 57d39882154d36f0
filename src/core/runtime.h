/* runtime.h - one loop's leasepool: its inbox, its deadlines, its deferred work.
 *
 * Everything here belongs to the thread that runs the loop. A *turn* is the one place
 * from which callbacks run: it fires due deadlines, runs deferred tasks and
 * delivers what workers posted. libuv starts turns (the inbox's async, the timer), and so
 * does the Lua binding while it drives the loop for a blocked main thread.
 *
 * A deadline calls no user code, it defers a task for that. So public calls, too, fire what is
 * due before they do anything: none acts on what is over, and everything ends in the order of
 * its time, whether or not a turn came in between. */
#ifndef LP_CORE_RUNTIME_H
#define LP_CORE_RUNTIME_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "core/inbox.h"
#include "core/runner.h"
#include "leasepool.h"

/* What a node in the inbox is; `lp__node_t.kind`. */
typedef enum {
    LP__NODE_JOB,
    LP__NODE_PENDING_JOB, /* one that ended before it was in a batch */
    LP__NODE_WORKER_EXIT,
    LP__NODE_CALL
} lp__node_kind_t;

/* Whatever else a worker has to tell: `deliver` runs in a turn, in the order of the posts. The
 * memory is the poster's, and from the post on `deliver`'s. A worker posts before its exit, so
 * the worker and its manager are still there. */
typedef struct lp__call_s lp__call_t;
struct lp__call_s {
    lp__node_t node; /* kind LP__NODE_CALL */
    void (*deliver)(lp__call_t *self);
};

struct lp_runtime_s {
    atomic_uint refs; /* the loop's, and that of each worker that was detached */
    uv_loop_t *loop;
    uv_thread_t thread; /* the loop's */
    lp__clock_t clock;
    lp__inbox_t *inbox;

    lp__heap_t deadlines;
    uv_timer_t timer;
    uint64_t armed_ns; /* when the timer fires; LP_FOREVER while stopped */
    bool driven;       /* the owner calls turns in time: the timer is not used */
    bool attached;     /* by a loop that someone else runs; see lp__runtime_attach */
    uint64_t told_ns;  /* when that will look again, whatever happens */
    void (*on_alive)(void *data, bool alive);
    void *alive_data;
    unsigned watched; /* so many things whose descriptors libuv watches: children */
    bool new_watches; /* of descriptors, that libuv does not watch before it has run again */

    lp__list_t tasks;
    lp__list_t task_batch;   /* taken by the turn, not yet run */
    lp__node_t *undelivered; /* taken from the inbox, not yet delivered */
    lp__list_t managers;
    unsigned holds; /* reasons to keep the loop alive */
    unsigned hopes; /* things that may call user code although nobody waits: leases with a
                     * soft-expiry callback, managers with a size provider */
    bool in_turn;
    char *broken_reason; /* of the last job that ended with LP_EBROKEN; NULL: unknown */

    lp_log_cb log;
    void *log_data;

    lp__list_t natives;         /* lp__native_t; see native.h */
    const lp__runner_t *runner; /* NULL until the Lua library registers one */
    void *runner_data;

    bool closing;
    lp__deadline_t look_again; /* at workers that were about to leave */
    unsigned open_handles;
    lp_runtime_close_cb close_cb;
    void *close_data;
    uint32_t next_executor;
    char last_error[256];
};

/* One more who may look at it and at its managers. Loop thread. */
void lp__runtime_retain(lp_runtime_t *rt);

/* The last one frees it, with its managers. Any thread. */
void lp__runtime_release(lp_runtime_t *rt);

/* LP_EWRONGTHREAD unless on the loop's thread. */
int lp__runtime_check_thread(const lp_runtime_t *rt);

/* Begins a public call: LP_EWRONGTHREAD, or 0 and nothing is overdue any more. */
int lp__runtime_enter(lp_runtime_t *rt);

/* Fires the deadlines that are due, the earliest first. Frees no lease whose handle is open, nor
 * its manager. */
void lp__runtime_fire(lp_runtime_t *rt);

/* The same, quick when none is due. True when any was. */
static inline bool lp__runtime_look(lp_runtime_t *rt)
{
    lp__heap_node_t *min = lp__heap_min(&rt->deadlines);
    if (!min || !lp__clock_passed(&rt->clock, min->key))
        return false;
    lp__runtime_fire(rt);
    return true;
}

/* Runs callbacks until nothing is due, or until its slice of time is over; then the loop is
 * asked to come back, and deadlines and whoever drives have their chance before the rest. True when
 * anything ran; inside a turn nothing does. */
bool lp__runtime_turn(lp_runtime_t *rt);

/* The turn that runs will not go on: its caller is never returned to (the Lua state is closed
 * from a callback). What it had taken is left for the next one. */
void lp__runtime_abandon_turn(lp_runtime_t *rt);

/* Has a worker posted what is not delivered yet? */
bool lp__runtime_has_nodes(lp_runtime_t *rt);

/* When the next deadline is due; LP_FOREVER: none; 0: work waits already. */
uint64_t lp__runtime_next_ns(lp_runtime_t *rt);

/* Runs `task` in a later turn, in order. Unlinked by lp__runtime_undefer. */
void lp__runtime_defer(lp_runtime_t *rt, lp__task_t *task, void (*run)(lp__task_t *));
void lp__runtime_undefer(lp__task_t *task);

/* `fire` runs at or after `at_ns`, in a turn or a public call, and calls no user code; setting a
 * deadline again moves it. */
void lp__runtime_set_deadline(lp_runtime_t *rt, lp__deadline_t *deadline, uint64_t at_ns,
                              void (*fire)(lp__deadline_t *));
void lp__runtime_clear_deadline(lp_runtime_t *rt, lp__deadline_t *deadline);

/* Somebody waits: the loop stays alive until as many unholds came. */
void lp__runtime_hold(lp_runtime_t *rt);
void lp__runtime_unhold(lp_runtime_t *rt);

/* Registers how workers run the jobs that are not C functions. Once, before the first job. */
void lp__runtime_set_runner(lp_runtime_t *rt, const lp__runner_t *runner, void *data);

/* The owner of the loop promises to call turns by lp__runtime_next_ns and when the loop's
 * backend descriptor is readable; the inbox then stays referenced, as an unreferenced
 * one would not be polled. */
void lp__runtime_set_driven(lp_runtime_t *rt);

/* The owner, who has promised that, runs another loop, which waits for the descriptor and for the
 * time that it was told last: whatever would come earlier makes the descriptor readable.
 * `on_alive` is called, in the middle of other calls, when somebody begins or ceases to wait.
 * NULL: not any more. */
void lp__runtime_attach(lp_runtime_t *rt, void (*on_alive)(void *data, bool alive), void *data);

/* A descriptor was given to libuv, which has to run before it watches that. */
void lp__runtime_expect_watch(lp_runtime_t *rt);

/* As lp__runtime_next_ns, for that loop. */
uint64_t lp__runtime_tell_next_ns(lp_runtime_t *rt);

/* Tells the logger, or standard error. */
void lp__runtime_log(lp_runtime_t *rt, lp_manager_t *manager, lp_log_level_t level,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Keeps a copy of why an executor broke, until the next. */
void lp__runtime_keep_reason(lp_runtime_t *rt, const char *reason);

/* Formats lp_last_error; returns LP_EINVAL. */
int lp__runtime_invalid(lp_runtime_t *rt, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
