/* state.c - see state.h. Runs on the worker's thread, which alone touches its state.
 *
 * Stack of an idle state: 1 the message handler, 2 the dispatcher. A job is one protected
 * call of the dispatcher, which decodes the arguments, calls the function and encodes the
 * results; `phase` tells which of the three raised. */
#include "lua/state.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "core/lease.h"
#include "core/manager.h"
#include "lua/context.h"
#include "lua/errors.h"
#include "lua/job.h"
#include "lua/libs.h"
#include "lua/module.h"
#include "lua/native.h"
#include "lua/remote.h"
#include "lua/setup.h"
#include "lua/traits.h"

enum { HANDLER = 1, DISPATCHER = 2 };

static const char registry_key; /* its address: the lp__state_t */

lp__state_t *lp__state_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &registry_key);
    lp__state_t *state = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return state;
}

bool lp__state_is_closing(lua_State *L)
{
    const lp__state_t *state = lp__state_of(L);
    return state && state->closing;
}

/* ---- Errors ------------------------------------------------------------------- */

/* The usual surprise: a global of the script is none of the worker. */
static void explain_nil_global(lua_State *L)
{
    const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
    if (!text || !strstr(text, "a nil value (global '"))
        return;
    lua_pushfstring(L,
                    "%s; a global of the script is not a global of the worker: pass it as an "
                    "argument, as a local of the enclosing function, or in a module",
                    text);
    lua_replace(L, 1);
}

/* The dispatcher's frame is the lowest: it keeps the job's function as its first value. */
static bool find_dispatcher(lua_State *L, lua_Debug *frame)
{
    int low = 1, high = 1;
    while (lua_getstack(L, high, frame)) {
        low = high;
        high *= 2;
    }
    while (low < high) { /* the highest level is `low` or above, and below `high` */
        int middle = (low + high) / 2;
        if (lua_getstack(L, middle, frame))
            low = middle + 1;
        else
            high = middle;
    }
    return lua_getstack(L, low - 1, frame) != 0;
}

/* Pushes where the job's function was defined: "script.lua:12", or false. */
static void push_origin(lua_State *L)
{
    lua_Debug frame, function;
    if (!find_dispatcher(L, &frame) || !lua_getlocal(L, &frame, 1)) {
        lua_pushboolean(L, 0);
    } else if (!lua_isfunction(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 0);
    } else {
        lua_getinfo(L, ">S", &function);
        if (function.linedefined > 0)
            lua_pushfstring(L, "%s:%d", function.short_src, function.linedefined);
        else
            lua_pushstring(L, function.short_src);
    }
}

static int handle_error(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, lua_upvalueindex(1));
    if (state->phase == LP__RUNNING || state->phase == LP__INITIALIZING) {
        explain_nil_global(L);
        luaL_traceback(L, L, NULL, 1);
        lua_rawseti(L, LUA_REGISTRYINDEX, state->traceback);
        push_origin(L);
        lua_rawseti(L, LUA_REGISTRYINDEX, state->origin);
    }
    return 1;
}

static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* The value at `index` becomes text, also where its __tostring raises. */
static void to_text_at(lua_State *L, int index)
{
    lua_pushcfunction(L, to_text);
    lua_pushvalue(L, index);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        lua_pushfstring(L, "%s: %p", luaL_typename(L, index), lua_topointer(L, index));
    lua_replace(L, index);
}

/* Protected. Stack: the cause, the state. Fills the message with cause, traceback, worker, origin.
 */
static int encode_failure(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, 2);
    lp__message_t *message = &state->message;
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->traceback);
    lua_pushstring(L, state->name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->origin);
    int rc = lp__encode_values(state->codec, L, 1, 4, "cause", message);
    if (rc == LP_ETRANSFER) { /* a cause that cannot travel goes as its text */
        to_text_at(L, 1);
        lua_settop(L, 4);
        rc = lp__encode_values(state->codec, L, 1, 4, "cause", message);
    }
    state->status = rc == 0 ? LP_EJOB : rc;
    return 0;
}

/* Protected. Stack: what the stopped job raised at last, the state. Fills the message with
 * traceback, worker, origin. */
static int encode_stop(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, 2);
    int why = state->status;
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->traceback);
    lua_pushstring(L, state->name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->origin);
    if (lp__encode_values(state->codec, L, 1, 3, "error", &state->message) != 0)
        lp__message_reset(&state->message);
    state->status = why;
    return 0;
}

/* Protected. Stack: nil, the state. Fills the message with what the codec complained of. */
static int encode_refusal(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, 2);
    lua_pushstring(L, lp__codec_error(state->codec));
    lua_pushinteger(L, (lua_Integer)lp__codec_error_path_len(state->codec));
    int rc = lp__encode_values(state->codec, L, 3, 2, "error", &state->message);
    state->status = rc == 0 ? LP_ETRANSFER : rc;
    return 0;
}

/* Calls one of the two with the value at the top, which is popped. Nothing allocates
 * outside of the protected call. */
static int report(lp__state_t *state, lua_CFunction encode)
{
    lua_State *L = state->L;
    size_t limit = state->memory.limit;
    state->memory.limit = SIZE_MAX; /* what the job must not take is there for its error */
    lua_pushcfunction(L, encode);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, state);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        lp__message_reset(&state->message);
        if (encode != encode_stop)
            state->status = LP_ENOMEM;
    }
    state->memory.limit = limit;
    return state->status;
}

/* ---- Running a job ------------------------------------------------------------ */

static int dispatch(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, 1);
    int rc = state->code ? lp__push_code(state->codec, L, state->code) : 0;
    if (rc == 0)
        rc = lp__decode_values(state->codec, L, &state->message);
    if (rc >= 0) {
        lp__message_reset(&state->message);
        state->phase = LP__RUNNING;
        lua_copy(L, 2, 1); /* the function, for push_origin */
        lua_call(L, lua_gettop(L) - 2, LUA_MULTRET);
        state->phase = LP__ENCODING;
        rc = lp__encode_values(state->codec, L, 2, lua_gettop(L) - 1, "result", &state->message);
    }
    state->status = rc < 0 ? rc : 0;
    return 0;
}

/* Protected. */
static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT);
    return 0;
}

/* What jobs left behind goes now, finalizers included. */
static void collect_garbage(lp__state_t *state)
{
    lua_State *L = state->L;
    lua_pushcfunction(L, collect);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        lua_pop(L, 1);
    state->memory.live = state->memory.used;
}

/* There was no memory for the job, or none within its limit. */
static int out_of_memory(lp__state_t *state)
{
    lua_State *L = state->L;
    lua_pushboolean(L, 0); /* nor was there for a traceback */
    lua_rawseti(L, LUA_REGISTRYINDEX, state->traceback);
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, state->origin);
    return report(state, encode_failure);
}

/* It was made to stop, and its error is how it did. */
static int stopped(lp__state_t *state, int why)
{
    if (state->phase != LP__RUNNING) { /* the texts are of an earlier error */
        lua_pop(state->L, 1);
        lp__message_reset(&state->message);
        return why;
    }
    state->status = why;
    return report(state, encode_stop);
}

static int outcome(lp__state_t *state, int rc, int why)
{
    lua_State *L = state->L;
    bool refused = state->memory.refusals > 0;
    if (rc == LUA_OK && state->status == 0)
        return 0;
    if (rc != LUA_OK && why == LP_ENOMEM)
        return out_of_memory(state);
    if (rc != LUA_OK && why != 0)
        return stopped(state, why);
    if (rc == LUA_OK && state->status == LP_ETRANSFER) {
        lua_pushnil(L);
        return report(state, encode_refusal);
    }
    if (rc == LUA_OK && !(state->status == LP_ENOMEM && refused))
        return state->status;
    if (rc == LUA_OK) { /* the codec found no room on the stack */
        lua_pushliteral(L, "not enough memory");
        return out_of_memory(state);
    }
    if (rc == LUA_ERRRUN && state->phase == LP__RUNNING)
        return report(state, encode_failure);
    if (rc == LUA_ERRMEM && (state->phase == LP__RUNNING || refused))
        return out_of_memory(state);
    lua_pop(L, 1);
    lp__message_reset(&state->message);
    return LP_ENOMEM;
}

/* The job may be given up, and its owner's name gone. Without memory it is the lease's that is
 * told. */
static void keep_owner(lp__state_t *state, const char *owner)
{
    size_t size = owner ? strlen(owner) + 1 : 0;
    if (size > state->owner_cap) {
        char *larger = lp__realloc(LP_MEM_BINDING, state->owner, size);
        state->owner = larger ? larger : state->owner;
        state->owner_cap = larger ? size : state->owner_cap;
    }
    state->has_owner = size > 0 && size <= state->owner_cap;
    if (state->has_owner)
        memcpy(state->owner, owner, size);
}

const char *lp__state_owner(const lp__state_t *state)
{
    const lp_lease_t *lease = state->worker->lease;
    if (!lease)
        return NULL;
    return state->has_owner ? state->owner : lease->owner;
}

/* The code stays the job's, which keeps it for as long as this state may look at it. */
static void state_take(void *opaque, lp_job_t *base)
{
    lp__state_t *state = opaque;
    lp__lua_job_t *job = LP__CONTAINER(base, lp__lua_job_t, job);
    const lp__traits_t *traits = base->data;
    lp__message_move(&state->message, &job->message);
    state->code = job->code;
    state->has_owner = false;
    if (traits && traits->owner)
        keep_owner(state, traits->owner);
}

static void state_deliver(void *opaque, lp_job_t *base)
{
    lp__state_t *state = opaque;
    lp__message_move(&LP__CONTAINER(base, lp__lua_job_t, job)->message, &state->message);
}

static int state_call(void *opaque)
{
    lp__state_t *state = opaque;
    lua_State *L = state->L;
    if (state->code && state->code->native) /* no Lua code runs */
        return lp__native_run(state, state->code->native);
    if (lp__memory_is_tight(&state->memory))
        collect_garbage(state);
    lp__memory_begin(&state->memory);
    lp__channel_begin_job(state->channel);
    state->phase = LP__DECODING;
    lua_pushvalue(L, DISPATCHER);
    lua_pushlightuserdata(L, state);
    lp__interrupt_begin(state);
    int rc = lua_pcall(L, 1, 0, HANDLER);
    int why = lp__interrupt_end(state);
    int status = outcome(state, rc, why);
    state->phase = LP__IDLE;
    if (state->memory.refusals > 0) {
        collect_garbage(state);
        if (state->memory.used > state->memory.limit / 2) /* what stays leaves none for the next */
            state->worker->worn_out = true;
    }
    lp__channel_end_job(state->channel);
    return status;
}

/* What the state may look at until its worker has gone. */
static void state_give_up(lp_job_t *base, void **kept)
{
    lp__lua_job_t *job = LP__CONTAINER(base, lp__lua_job_t, job);
    *kept = job->code;
    job->code = NULL;
}

static void state_release(void *kept)
{
    lp__code_release(kept);
}

static void state_interrupt(void *opaque)
{
    lp__running_hook(&((lp__state_t *)opaque)->interrupt.running);
}

static void state_explain(lp_job_t *base, const char *reason)
{
    lp__job_explain(LP__CONTAINER(base, lp__lua_job_t, job), reason);
}

/* ---- Life --------------------------------------------------------------------- */

static int refuse_in_job(lua_State *L)
{
    return luaL_error(L, "%s: not allowed in a job: it would act on the whole program",
                      lua_tostring(L, lua_upvalueindex(1)));
}

static void refuse_function(lua_State *L, const char *name, const char *full_name)
{
    if (lua_getglobal(L, "os") == LUA_TTABLE) {
        lua_pushstring(L, full_name);
        lua_pushcclosure(L, refuse_in_job, 1);
        lua_setfield(L, -2, name);
    }
    lua_pop(L, 1);
}

static void set_path(lua_State *L, const char *field, const char *value)
{
    if (!value)
        return;
    if (lua_getglobal(L, "package") == LUA_TTABLE) {
        lua_pushstring(L, value);
        lua_setfield(L, -2, field);
    }
    lua_pop(L, 1);
}

/* Lua's own seed is the second and an address, which states that follow each other may share. */
static void seed_random(lua_State *L)
{
    lua_Integer seed[2];
    if (uv_random(NULL, NULL, seed, sizeof seed, 0, NULL) != 0 ||
        lua_getglobal(L, "math") != LUA_TTABLE) {
        lua_settop(L, 1);
        return;
    }
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, seed[0]);
    lua_pushinteger(L, seed[1]);
    lua_call(L, 2, 0);
    lua_pop(L, 1);
}

/* Protected: everything a fresh state needs. */
static int prepare(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, 1);
    const lp__setup_t *setup = state->worker->executor->manager->runner_data;
    lua_pushvalue(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &registry_key);
    lua_gc(L, LUA_GCSTOP); /* nothing is garbage yet: a start takes 5 % less */
    lp__libs_open(L, setup ? setup->libs : LP__LIBS_ALL);
    lp__running_open(L, &state->interrupt.running);
    seed_random(L);
    if (!state->worker->executor->backend->processes) {
        refuse_function(L, "exit", "os.exit");
        refuse_function(L, "setlocale", "os.setlocale");
    }
    set_path(L, "path", state->path);
    set_path(L, "cpath", state->cpath);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_leasepool_core); /* this copy of the core, and no second one */
    lua_setfield(L, -2, "leasepool.core");
    state->codec = lp__codec_new(L);
    if (state->worker->executor->backend->processes)
        lp__codec_send_no_code(state->codec);
    lua_pushliteral(L, "");
    state->traceback = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushboolean(L, 0);
    state->origin = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, state);
    lua_pushcclosure(L, handle_error, 1);
    lua_gc(L, LUA_GCRESTART);
    return 1;
}

static char *copy_text(const char *text)
{
    size_t size = text ? strlen(text) + 1 : 0;
    char *copy = text ? lp__malloc(LP_MEM_BINDING, size) : NULL;
    return copy ? memcpy(copy, text, size) : NULL;
}

static void copy_paths(lp__state_t *state, lp__context_t *parent)
{
    uv_mutex_lock(&parent->paths_lock);
    state->path = copy_text(parent->path);
    state->cpath = copy_text(parent->cpath);
    uv_mutex_unlock(&parent->paths_lock);
}

static void state_close(void *opaque)
{
    lp__state_t *state = opaque;
    state->memory.limit = SIZE_MAX; /* finalizers run */
    state->closing = true;
    if (state->L)
        lua_close(state->L);
    lp__message_free(&state->message);
    lp__channel_close(state->channel);
    lp__free(state->path);
    lp__free(state->cpath);
    lp__free(state->owner);
    lp__free(state);
}

/* Protected. Stack: the state. */
static int initialize(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, 1);
    lp__setup_t *setup = state->worker->executor->manager->runner_data;
    int rc = setup->code ? lp__push_code(state->codec, L, setup->code) : 0;
    if (rc == 0)
        rc = lp__decode_values(state->codec, L, &setup->initargs);
    if (rc == LP_ETRANSFER)
        luaL_error(L, "%s", lp__codec_error(state->codec));
    if (rc < 0)
        luaL_error(L, "not enough memory");
    lua_call(L, lua_gettop(L) - 2, 0);
    return 0;
}

/* Protected. Stack: what the initializer raised, the state. */
static int explain_failure(lua_State *L)
{
    lp__state_t *state = lua_touserdata(L, 2);
    to_text_at(L, 1);
    const char *text = lua_tostring(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, state->traceback);
    const char *traceback = lua_tostring(L, -1);
    lp__worker_explain(state->worker,
                       lua_pushfstring(L, "the initializer failed: %s%s%s", text,
                                       traceback ? "\n" : "", traceback ? traceback : ""));
    return 0;
}

static int run_initializer(lp__state_t *state)
{
    lua_State *L = state->L;
    const lp__setup_t *setup = state->worker->executor->manager->runner_data;
    if (!setup || !setup->has_initializer)
        return 0;
    state->phase = LP__INITIALIZING;
    lua_pushcfunction(L, initialize);
    lua_pushlightuserdata(L, state);
    lp__interrupt_begin(state);
    int rc = lua_pcall(L, 1, 0, HANDLER);
    int why = lp__interrupt_end(state);
    state->phase = LP__IDLE;
    if (rc == LUA_OK)
        return 0;
    if (why != 0 && why != LP_ENOMEM)
        return why; /* the next job tries again */
    lp__worker_explain(state->worker, "the initializer failed: not enough memory");
    state->memory.limit = SIZE_MAX;
    lua_pushcfunction(L, explain_failure);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, state);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        lua_pop(L, 1);
    return LP_EBROKEN;
}

static int make(lp__state_t *state)
{
    lua_State *L = state->L = lua_newstate(lp__memory_allocate, &state->memory);
    if (!L)
        return LP_ENOMEM;
    lp__channel_take_warnings(state->channel, L);
    lua_pushcfunction(L, prepare); /* light functions and pointers: no allocation */
    lua_pushlightuserdata(L, state);
    return lua_pcall(L, 1, 1, 0) == LUA_OK ? 0 : LP_ENOMEM;
}

/* A limit that a bare state does not fit in is not one that a later attempt would meet. */
static int explain_limit(lp__state_t *state)
{
    char reason[128];
    if (state->memory.refusals == 0)
        return LP_ENOMEM;
    snprintf(reason, sizeof reason,
             "memory_limit: %zu bytes are not enough for a worker's Lua state",
             state->memory.limit);
    lp__worker_explain(state->worker, reason);
    return LP_EBROKEN;
}

/* Where memory is allocated, at any moment. */
static void exhausted(void *opaque)
{
    lp__state_t *state = opaque;
    state->interrupt.exhausted = true;
    lp__running_hook(&state->interrupt.running);
}

static int state_open(void *data, lp__worker_t *worker, const char *name, void **out)
{
    const lp_manager_t *manager = worker->executor->manager;
    int64_t limit = manager->options.memory_limit;
    lp__state_t *state = lp__calloc(LP_MEM_BINDING, sizeof *state);
    if (!state)
        return LP_ENOMEM;
    state->worker = worker;
    lp__interrupt_init(state);
    lp__message_init(&state->message);
    state->memory.exhausted = exhausted;
    state->memory.data = state;
    state->memory.limit = limit > 0 && (uint64_t)limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
    strncpy(state->name, name, sizeof state->name - 1);
    copy_paths(state, data);
    state->channel = lp__channel_new(data, worker, name, manager->runner_data);
    if (state->channel && worker->forward)
        lp__channel_redirect(state->channel, worker->forward, worker);
    int rc = state->channel ? make(state) : LP_ENOMEM;
    if (rc != 0) {
        rc = explain_limit(state);
    } else {
        *out = state; /* the initializer can be interrupted */
        rc = run_initializer(state);
    }
    if (rc != 0) {
        *out = NULL;
        state_close(state);
        return rc;
    }
    lp__channel_keep_warnings(state->channel);
    lua_pushcfunction(state->L, dispatch);
    return 0;
}

const lp__runner_t *lp__state_runner(void)
{
    static const lp__runner_t runner = {.name = "Lua",
                                        .open = state_open,
                                        .take = state_take,
                                        .call = state_call,
                                        .deliver = state_deliver,
                                        .interrupt = state_interrupt,
                                        .give_up = state_give_up,
                                        .release = state_release,
                                        .close = state_close,
                                        .explain = state_explain,
                                        .setup = lp__remote_setup,
                                        .pack = lp__remote_pack,
                                        .unpack = lp__remote_unpack,
                                        .line = lp__remote_line,
                                        .wrote = lp__remote_wrote,
                                        .forget = lp__remote_forget};
    return &runner;
}
