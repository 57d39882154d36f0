/* job.h - a Lua function on its way to a worker and back.
 *
 * One block of 144 bytes (200,000 may be queued): the core's job, the code, and the message
 * with the arguments, later with the results. It lies in the userdata of its future, or, where
 * there is none, in memory that is used again. Loop thread; while the job is in flight the
 * worker owns `message` and reads `code`, and nothing else. */
#ifndef LP_LUA_JOB_H
#define LP_LUA_JOB_H

#include "lua/context.h"
#include "lua/future.h"
#include "lua/sink.h"
#include "lua/wait.h"
#include "wire/message.h"

/* Who gets the results: `future.detail`. */
typedef enum {
    LP__JOB_FOR_FUTURE,   /* lease:submit; the job lies in the future's userdata */
    LP__JOB_FOR_WAIT,     /* lease:run; future.to.pointer is the wait */
    LP__JOB_FOR_CALLBACK, /* lease:post; future.anchor is the callback */
    LP__JOB_FOR_NOBODY,   /* whoever wanted them has gone */
    LP__JOB_SPARE         /* to be used again; future.to.pointer is the next */
} lp__job_for_t;

typedef struct lp__lua_job_s lp__lua_job_t;
struct lp__lua_job_s {
    lp__future_t future;
    lp_job_t job;     /* data is its lp__traits_t, with a reference */
    lp__code_t *code; /* NULL: the function is the message's first value */
    lp__message_t message;
};

/* What a message holds after the job, by the job's status:
 *   0             the results
 *   LP_EJOB       cause, traceback, name of the worker, where the function was defined (each of
 *                 these but the first may be false: unknown)
 *   LP_ETRANSFER  why the arguments or results cannot travel, and how many bytes of that
 *                 are the path
 *   LP_EBROKEN    why the executor broke, or nothing
 *   others        traceback, name of the worker and where the function was defined, if the job was
 *                 stopped while it ran; or nothing that can be read */

/* Encodes the function at `fn` and the `nargs` values behind it into the context's prepared
 * job; `slice` as lp__encode_call has it; `traits` are those with which it will be started, NULL
 * where it will not. Raises TransferError or ConfigError, naming `what`. */
void lp__job_prepare(lua_State *L, lp__context_t *ctx, int fn, int nargs, const lp__slice_t *slice,
                     const lp__traits_t *traits, const char *what);

/* Raises what lp__encode_call has returned, naming `what`. */
void lp__job_refuse(lua_State *L, lp__codec_t *codec, int rc, const char *what);

/* Takes the prepared job. It goes back by lp__job_free. */
lp__lua_job_t *lp__job_take(lp__context_t *ctx);

/* Pushes a future with what was prepared, anchored until its end. For methods. May raise. */
lp__lua_job_t *lp__job_take_future(lua_State *L, lp__context_t *ctx);

/* Gives the job, which was not started, the traits with which it will be. */
void lp__job_set_traits(lp__lua_job_t *job, lp__traits_t *traits);

/* Submits, to a lease or to a grinder. On failure the job is freed, or its future ended, and the
 * code returned. */
int lp__job_start(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job, lp_lease_t *lease);
int lp__job_grind(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job, lp_grinder_t *grinder);

/* Call as `return lp__job_wait(...)`: waits for a job that was started for this wait, and ends
 * with its results, or raises its error. */
int lp__job_wait(lua_State *L, lp__wait_t *wait, lp__lua_job_t *job);

/* Its executor broke before it could run, for this reason (NULL: unknown), which becomes all that
 * the message holds. Loop or worker, whoever has the job. */
void lp__job_explain(lp__lua_job_t *job, const char *reason);

void lp__job_free(lp__context_t *ctx, lp__lua_job_t *job);

/* Pushes a TransferError with its path as a field; `text` begins with `path_len` bytes of it. */
void lp__job_push_transfer_error(lua_State *L, const char *prefix, const char *text,
                                 size_t path_len);

/* Pushes the results or the error of an ended job; returns how many values. May raise. */
int lp__job_push(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job);

/* Pushes the results of an ended job and returns how many, or raises its error. The job is freed,
 * whatever is raised. */
int lp__job_finish(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job);

void lp__job_free_spares(lp__context_t *ctx);

#endif
