/* job.h - a Lua function on its way to a worker and back.
 *
 * One block of 136 bytes (200,000 may be queued): the core's job, the code, and the message
 * with the arguments, later with the results. Made and freed by the loop's thread, recycled through a list of the
 * context. While it is in flight the worker owns `message`, and nothing else. */
#ifndef LP_LUA_JOB_H
#define LP_LUA_JOB_H

#include "lua/context.h"
#include "lua/future.h"
#include "lua/wait.h"
#include "wire/message.h"

/* Who gets the results: `future.detail`, with what is needed for it in `future.to`. */
typedef enum {
    LP__JOB_FOR_FUTURE,   /* to.watchers */
    LP__JOB_FOR_WAIT,     /* lease:run; to.pointer is the wait */
    LP__JOB_FOR_CALLBACK, /* lease:post; to.anchor is the callback */
    LP__JOB_FOR_NOBODY,   /* whoever wanted them has gone */
    LP__JOB_SPARE         /* in the list of jobs to use again; to.pointer is the next */
} lp__job_for_t;

typedef struct lp__lua_job_s lp__lua_job_t;
struct lp__lua_job_s {
    lp_job_t job; /* data is the context */
    lp__future_t future;
    lp__code_t *code; /* NULL: the function is the message's first value */
    lp__message_t message;
};

/* What a message holds after the job, by the job's status:
 *   0             the results
 *   LP_EJOB       cause, traceback, name of the worker
 *   LP_ETRANSFER  why the arguments or results cannot travel
 *   others        nothing */

/* Encodes the function at `fn` and the `nargs` values behind it. Raises TransferError or
 * ConfigError, naming `what`; nothing is left over then. */
lp__lua_job_t *lp__job_prepare(lua_State *L, lp__context_t *ctx, int fn, int nargs,
                               const char *what);

/* Submits a prepared job; on failure it is freed and the code returned. */
int lp__job_start(lp__context_t *ctx, lp__lua_job_t *job, lp_lease_t *lease);

void lp__job_free(lp__context_t *ctx, lp__lua_job_t *job);

/* Pushes the results or the error of an ended job; returns how many values. May raise. */
int lp__job_push(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job);

void lp__job_free_spares(lp__context_t *ctx);

#endif
