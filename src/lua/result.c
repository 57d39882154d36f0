/* result.c - what an ended job ended with: its results or its error, as values. See job.h. On the
 * thread that has the job. */
#include <lauxlib.h>

#include "core/job.h"
#include "lua/errors.h"
#include "lua/job.h"
#include "lua/traits.h"

/* NULL: it ended without anything to tell. */
static lp__traits_t *traits_of(const lp__lua_job_t *job)
{
    return job->job.data;
}

void lp__job_push_transfer_error(lua_State *L, const char *prefix, const char *text,
                                 size_t path_len)
{
    lp__error_push(L, LP_ETRANSFER, "%s%s", prefix, text);
    if (path_len > 0) {
        lua_pushlstring(L, text, path_len);
        lua_setfield(L, -2, "path");
    }
}

/* Sets a field of the error at the top to the value at `index`, unless that is false. */
static void set_known(lua_State *L, int index, const char *field)
{
    if (!lua_toboolean(L, index))
        return;
    lua_pushvalue(L, index);
    lua_setfield(L, -2, field);
}

/* The error of a job that raised: what is known of it lies in the message. */
static int push_job_error(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    int top = lua_gettop(L);
    if (lp__decode_values(ctx->codec, L, &job->message) != 4) {
        lua_settop(L, top);
        lp__error_push(L, LP_EJOB, "the job failed, and its error could not be read");
        return 1;
    }
    lp__error_push(L, LP_EJOB, "");
    luaL_tolstring(L, top + 1, NULL); /* whole, zeros included */
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, top + 1);
    lua_setfield(L, -2, "cause");
    set_known(L, top + 2, "traceback");
    set_known(L, top + 3, "worker");
    set_known(L, top + 4, "job");
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
    return 1;
}

/* Why the arguments or results cannot travel: text and length of the path in the message. */
static int push_refusal(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    int top = lua_gettop(L);
    if (lp__decode_values(ctx->codec, L, &job->message) == 2)
        lp__job_push_transfer_error(L, "cannot transfer ", lua_tostring(L, top + 1),
                                    (size_t)lua_tointeger(L, top + 2));
    else
        lp__error_push(L, LP_ETRANSFER, "%s", lp_strerror(LP_ETRANSFER));
    lua_insert(L, top + 1);
    lua_settop(L, top + 1);
    return 1;
}

/* Why the executor broke is the message's only value, if it is known. */
static int push_broken_error(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    int top = lua_gettop(L);
    if (job->message.len > 0 && lp__decode_values(ctx->codec, L, &job->message) == 1) {
        lp__error_push(L, LP_EBROKEN, "the executor broke: %s", lua_tostring(L, top + 1));
        lp__error_set_reason(L, lua_tostring(L, top + 1));
    } else {
        lua_settop(L, top);
        lp__error_push(L, LP_EBROKEN, "%s", lp_strerror(LP_EBROKEN));
    }
    lua_insert(L, top + 1);
    lua_settop(L, top + 1);
    return 1;
}

/* Why it was to end: "it was cancelled". */
static void push_stop_reason(lua_State *L, const lp__lua_job_t *job)
{
    const lp__traits_t *traits = traits_of(job);
    switch (job->job.priv.node.status) {
    case LP_ECANCELLED:
        lua_pushliteral(L, "it was cancelled");
        break;
    case LP_ETIMEDOUT:
        lua_pushfstring(L, "its timeout of %f seconds was over",
                        traits ? (lua_Number)traits->timeout_ns / 1e9 : 0.0);
        break;
    case LP_EEXPIRED:
        lua_pushliteral(L, "its lease expired");
        break;
    case LP_ENOTSTARTED: /* of a grinder's batch, as what follows */
        lua_pushliteral(L, "its batch got no lease, as the manager is not started, or stops");
        break;
    case LP_EUNAVAILABLE:
        lua_pushliteral(L, "its batch got no lease: too many wait for one (max_waiters)");
        break;
    default:
        lua_pushstring(L, lp_strerror(job->job.priv.node.status));
        break;
    }
}

static const char *what_befell(const lp__lua_job_t *job, bool told)
{
    unsigned marks = lp__job_marks(&job->job);
    if (marks & LP__JOB_LOST)
        return "cannot be stopped, and was given up";
    if (marks & LP__JOB_KILLED)
        return "was stopped by killing its worker";
    return told ? "was stopped" : "was not run";
}

/* Where it was when it was stopped lies in the message, if it had begun. */
static int push_stop_error(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    int top = lua_gettop(L), status = job->job.priv.node.status;
    bool still_running = lp_job_still_running(&job->job) != 0;
    bool told = (lp__job_marks(&job->job) & LP__JOB_STOPPED) != 0 && job->message.len > 0 &&
                lp__decode_values(ctx->codec, L, &job->message) == 3;
    if (!told)
        lua_settop(L, top);
    push_stop_reason(L, job);
    bool killed = (lp__job_marks(&job->job) & LP__JOB_KILLED) != 0;
    lp__error_push(L, status, "the job %s: %s", what_befell(job, told), lua_tostring(L, -1));
    if (told) {
        set_known(L, top + 1, "traceback");
        set_known(L, top + 2, "worker");
        set_known(L, top + 3, "job");
    }
    if (still_running || killed) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, killed ? "killed" : "still_running");
    }
    lua_insert(L, top + 1);
    lua_settop(L, top + 1);
    return 1;
}

static int push_error(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    switch (job->job.priv.node.status) {
    case LP_EJOB:
        return push_job_error(L, ctx, job);
    case LP_ETRANSFER:
        return push_refusal(L, ctx, job);
    case LP_EBROKEN:
        return push_broken_error(L, ctx, job);
    default:
        return push_stop_error(L, ctx, job);
    }
}

int lp__job_push(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    const lp__traits_t *traits = traits_of(job);
    int count = 1;
    if (job->job.priv.node.status == 0) {
        count = lp__decode_values(ctx->codec, L, &job->message);
        if (count >= 0)
            return count;
        lp__error_push(L, count, "result: %s",
                       count == LP_ETRANSFER ? lp__codec_error(ctx->codec) : lp_strerror(count));
        job->job.priv.node.status = count; /* told as what it is: the results are lost */
        count = 1;
    } else {
        count = push_error(L, ctx, job);
    }
    if (traits && traits->name) {
        lua_pushlstring(L, traits->name, traits->name_len);
        lua_setfield(L, -2, "job");
    }
    return count;
}

/* Protected. Stack: the job. */
static int push_ended(lua_State *L)
{
    lp__lua_job_t *job = lua_touserdata(L, 1);
    lua_settop(L, 0);
    return lp__job_push(L, traits_of(job)->ctx, job);
}

int lp__job_finish(lua_State *L, lp__context_t *ctx, lp__lua_job_t *job)
{
    int top = lua_gettop(L);
    lua_pushcfunction(L, push_ended);
    lua_pushlightuserdata(L, job);
    int status = lua_pcall(L, 1, LUA_MULTRET, 0);
    bool done = status == LUA_OK && job->job.priv.node.status == 0;
    lp__job_free(ctx, job);
    return done ? lua_gettop(L) - top : lua_error(L);
}
