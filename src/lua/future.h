/* future.h - what a script holds of something that will end: a job or a spawned coroutine.
 *
 * A future ends exactly once: done, failed or cancelled. It lies inside what it stands for
 * (a Lua job, a fiber), and the userdata the script holds points there: when the script
 * forgets it, `drop` is called. Loop thread. */
#ifndef LP_LUA_FUTURE_H
#define LP_LUA_FUTURE_H

#include "lua/context.h"

typedef enum {
    LP__FUTURE_PENDING,
    LP__FUTURE_DONE,
    LP__FUTURE_FAILED,
    LP__FUTURE_CANCELLED
} lp__future_status_t;

/* What a future can stand for. */
typedef enum { LP__FUTURE_OF_JOB, LP__FUTURE_OF_FIBER, LP__FUTURE_KIND_COUNT } lp__future_of_t;

typedef struct lp__future_s lp__future_t;
typedef struct lp__watcher_s lp__watcher_t;

typedef struct {
    /* Pushes what it ended with: its results, or one error; returns how many. Ended only;
     * inside a protected call. */
    int (*push)(lua_State *L, lp__context_t *ctx, lp__future_t *future);
    /* Asks it to stop; true when that was possible. Pending only. */
    bool (*cancel)(lua_State *L, lp__context_t *ctx, lp__future_t *future);
    /* The script holds it no longer. */
    void (*drop)(lua_State *L, lp__context_t *ctx, lp__future_t *future);
    const char *name; /* "job", "coroutine" */
} lp__future_kind_t;

/* 16 bytes, as there is one in every job: the kind is an index, and the pointer is free for
 * the owner's use while no userdata holds the future. */
struct lp__future_s {
    union {
        lp__watcher_t *watchers; /* waits and callbacks, latest first */
        void *pointer;
        int anchor;
    } to;
    uint8_t kind;   /* index into lp__future_kinds */
    uint8_t status; /* lp__future_status_t */
    uint8_t detail; /* free for the owner's use */
    bool held;      /* by a userdata */
    bool cached;    /* the userdata's values are in the table of values */
};

extern const lp__future_kind_t lp__future_of_job;   /* in job.c */
extern const lp__future_kind_t lp__future_of_fiber; /* in fiber.c */

void lp__future_register(lua_State *L, lp__context_t *ctx);

/* Pushes the userdata that holds `future`. */
void lp__future_push(lua_State *L, lp__context_t *ctx, lp__future_t *future);

/* It has ended with `status`: wakes who waits, orders the callbacks. */
void lp__future_end(lua_State *L, lp__context_t *ctx, lp__future_t *future,
                    lp__future_status_t status);

#endif
