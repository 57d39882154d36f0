/* future.h - what a script holds of something that will end: a job, a spawned coroutine or a
 * requested lease.
 *
 * A future ends exactly once: done, failed or cancelled. It is the first member of what it
 * stands for (a Lua job, a fiber), and that lies in the userdata the script holds. Until it
 * ends it is anchored; then it lives as long as somebody holds it. Loop thread. */
#ifndef LP_LUA_FUTURE_H
#define LP_LUA_FUTURE_H

#include "lua/context.h"
#include "lua/sink.h"

typedef enum {
    LP__FUTURE_PENDING,
    LP__FUTURE_DONE,
    LP__FUTURE_FAILED,
    LP__FUTURE_CANCELLED
} lp__future_status_t;

/* What a future can stand for. */
typedef enum {
    LP__FUTURE_OF_JOB,
    LP__FUTURE_OF_FIBER,
    LP__FUTURE_OF_STOP,
    LP__FUTURE_OF_REQUEST,
    LP__FUTURE_KIND_COUNT
} lp__future_of_t;

typedef struct lp__future_s lp__future_t;

typedef struct {
    /* Pushes what the future at `index` ended with: its results, or one error; returns how
     * many. Ended only; may raise. */
    int (*push)(lua_State *L, lp__context_t *ctx, int index, lp__future_t *future);
    /* Asks it to stop; true when that was possible. Pending only. */
    bool (*cancel)(lua_State *L, lp__context_t *ctx, lp__future_t *future);
    /* Frees what the finalizer is for; NULL: nothing. Runs no Lua code. */
    void (*free)(lp__future_t *future);
    /* Who is told of a failure that nobody looked at; NULL: standard error. */
    lp__log_t *(*log)(const lp__future_t *future);
    const char *name; /* "job", "coroutine" */
    const char *what; /* in the log: "a job that nobody awaited" */
} lp__future_kind_t;

/* 16 bytes, as there is one in every job. */
struct lp__future_s {
    union {
        lp__watcher_t *watchers; /* waits and callbacks, oldest first */
        void *pointer;           /* the owner's, where the future is in no userdata */
    } to;
    int anchor;      /* of the userdata until it ends; 0: none, as nobody needs to be told */
    uint8_t kind;    /* lp__future_of_t */
    uint8_t status;  /* lp__future_status_t */
    uint8_t detail;  /* the owner's */
    bool cached : 1; /* the values are in the table of values */
    bool seen : 1;   /* somebody asked for the values */
};

extern const lp__future_kind_t lp__future_of_job;     /* in job.c */
extern const lp__future_kind_t lp__future_of_fiber;   /* in fiber.c */
extern const lp__future_kind_t lp__future_of_request; /* in acquire.c */
extern const lp__future_kind_t lp__future_of_stop;    /* in stop.c */

/* future:await; `return lp__future_await(L)` also ends other methods, with the future as the only
 * value of the stack. */
int lp__future_await(lua_State *L);

void lp__future_register(lua_State *L, lp__context_t *ctx);

/* Pushes a userdata with a block of `size` zeroed bytes, which begins with its future. */
void *lp__future_new(lua_State *L, lp__context_t *ctx, lp__future_of_t kind, size_t size,
                     int user_values);

/* Anchors the future at the top of the stack, which stays there, until it ends; the table of
 * anchors is at index `anchors`. May raise. */
void lp__future_begin(lua_State *L, lp__context_t *ctx, lp__future_t *future, int anchors);

/* Before the end is told: the userdata owns memory that its kind's `free` must free, or its
 * failure must be logged should nobody look at it. (A finalizer makes a future several times
 * as expensive, so most have none.) */
void lp__future_needs_finalizer(lua_State *L, lp__context_t *ctx, lp__future_t *future);

/* The log of the manager that the future belongs to, as far as it is known: that of a job which
 * has ended well is not. NULL: none. */
lp__log_t *lp__future_log(const lp__future_t *future);

/* Pushes what the future at `index` ended with, the same objects each time, and returns how
 * many values: the results, or one error. */
int lp__future_values(lua_State *L, lp__context_t *ctx, int index);

/* The future at `index`, or NULL. */
lp__future_t *lp__future_test(lua_State *L, lp__context_t *ctx, int index);

/* It has ended with `status`: wakes who waits, orders the callbacks. */
void lp__future_end(lua_State *L, lp__context_t *ctx, lp__future_t *future,
                    lp__future_status_t status);

#endif
