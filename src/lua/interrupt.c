/* interrupt.c - see interrupt.h. */
#include "lua/interrupt.h"

#include <lauxlib.h>

#include "core/manager.h"
#include "core/worker.h"
#include "lua/errors.h"
#include "lua/state.h"

/* How many instructions a job whose memory is exhausted runs between two looks at the clock: nobody
 * sets its hook again. */
#define INSTRUCTIONS 1000

/* ---- The hook ----------------------------------------------------------------- */

static int wanted(const lp__state_t *state)
{
    int why = lp__desk_stop_wanted(&state->worker->desk);
    return why == 0 && state->interrupt.exhausted ? LP_ENOMEM : why;
}

static uint64_t now_ns(const lp__state_t *state)
{
    return lp__clock_now_ns(&state->worker->executor->manager->rt->clock);
}

static void raise_stop(lua_State *L, int why)
{
    if (why == LP_ENOMEM)
        lua_pushliteral(L, "not enough memory");
    else
        lp__error_push(L, why, "the job is to stop: %s", lp_strerror(why));
    lua_error(L);
}

static void on_hook(lua_State *L, lua_Debug *frame)
{
    lp__state_t *state = lp__state_of(L);
    (void)frame;
    if (!state) { /* the job has taken the registry apart */
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    lp__interrupt_t *interrupt = &state->interrupt;
    int why = wanted(state);
    if (why == 0 || !interrupt->running) { /* it was for a job that has ended */
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    uint64_t now = now_ns(state);
    bool first = interrupt->raised_ns == 0;
    if (first)
        interrupt->raised_ns = now;
    if (now - interrupt->raised_ns < state->worker->executor->manager->options.interrupt_grace_ns) {
        if (interrupt->exhausted)
            lua_sethook(L, on_hook, LUA_MASKCOUNT, INSTRUCTIONS);
        else
            lua_sethook(L, NULL, 0, 0); /* the loop asks again */
        if (!first)
            return;
    } else {
        interrupt->hard = true;
        if (lua_gethookcount(L) != 1) /* setting it goes through all of the stack */
            lua_sethook(L, on_hook, LUA_MASKCOUNT, 1);
    }
    raise_stop(L, why);
}

void lp__interrupt_check(lua_State *L)
{
    lp__state_t *state = lp__state_of(L);
    int why = state && state->interrupt.running ? wanted(state) : 0;
    if (why == 0)
        return;
    if (state->interrupt.raised_ns == 0)
        state->interrupt.raised_ns = now_ns(state);
    raise_stop(L, why);
}

void lp__interrupt_set(lp__state_t *state)
{
    lua_State *running = state->interrupt.running;
    if (running && (lua_gethook(running) != on_hook || lua_gethookcount(running) != 1))
        lua_sethook(running, on_hook, LUA_MASKCOUNT, 1);
}

void lp__interrupt_begin(lp__state_t *state)
{
    state->interrupt.exhausted = false;
    state->interrupt.hard = false;
    state->interrupt.raised_ns = 0;
    state->interrupt.running = state->L;
}

int lp__interrupt_end(lp__state_t *state)
{
    state->interrupt.running = NULL;
    if (lua_gethook(state->L)) /* also one that the job left behind: it is not the next one's */
        lua_sethook(state->L, NULL, 0, 0);
    if (state->interrupt.hard)
        state->worker->worn_out = true;
    return state->interrupt.raised_ns != 0 ? wanted(state) : 0;
}

/* ---- Coroutines --------------------------------------------------------------- */

/* `to` runs now. What is to stop must not get away by it. */
static void run_in(lp__state_t *state, lua_State *to)
{
    state->interrupt.running = to;
    if (wanted(state) != 0)
        lua_sethook(to, on_hook, LUA_MASKCOUNT, 1);
}

lua_State *lp__interrupt_switch(lp__state_t *state, lua_State *to)
{
    lua_State *before = state->interrupt.running;
    if (before && to)
        run_in(state, to);
    return before;
}

int lp__interrupt_resume(lp__state_t *state, lua_State *co, lua_State *from, int nargs,
                         int *nresults)
{
    if (!state->interrupt.running) /* the state is closing */
        return lua_resume(co, from, nargs, nresults);
    run_in(state, co);
    int status = lua_resume(co, from, nargs, nresults);
    run_in(state, from);
    return status;
}

int lp__interrupt_reset(lp__state_t *state, lua_State *co, lua_State *from)
{
    if (!state->interrupt.running)
        return lua_resetthread(co);
    run_in(state, co);
    int status = lua_resetthread(co);
    run_in(state, from);
    return status;
}

static lua_State *check_coroutine(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

static lp__state_t *state_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* Resumes with the `nargs` values at the top; leaves the results, and returns how many; -1: an
 * error, which it leaves. */
static int resume_with(lua_State *L, lua_State *co, int nargs)
{
    int count = 0;
    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, nargs);
    int status = lp__interrupt_resume(state_of(L), co, L, nargs, &count);
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return -1;
    }
    if (!lua_checkstack(L, count + 1)) {
        lua_pop(co, count);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, count);
    return count;
}

static int co_resume(lua_State *L)
{
    lua_State *co = check_coroutine(L);
    int count = resume_with(L, co, lua_gettop(L) - 1);
    lua_pushboolean(L, count >= 0);
    lua_insert(L, count >= 0 ? -count - 1 : -2);
    return count >= 0 ? count + 1 : 2;
}

/* The error of a dead coroutine closes it, and says where it was raised to. */
static int raise_from(lua_State *L, lua_State *co)
{
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) {
        status = lp__interrupt_reset(state_of(L), co, L);
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int call_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(2));
    int count = resume_with(L, co, lua_gettop(L));
    return count >= 0 ? count : raise_from(L, co);
}

static int co_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, call_wrapped, 2);
    return 1;
}

/* "suspended", "dead", or what cannot be closed. */
static const char *status_of(lua_State *L, lua_State *co)
{
    lua_Debug frame;
    if (L == co)
        return "running";
    if (lua_status(co) == LUA_OK && lua_getstack(co, 0, &frame))
        return "normal"; /* it resumed another */
    return NULL;
}

static int co_close(lua_State *L)
{
    lua_State *co = check_coroutine(L);
    const char *unfit = status_of(L, co);
    if (unfit)
        return luaL_error(L, "cannot close a %s coroutine", unfit);
    if (lp__interrupt_reset(state_of(L), co, L) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

/* debug.sethook: a job that sets hooks all the time would take ours away nearly as often as it
 * comes. The second upvalue is Lua's own. */
static int set_hook(lua_State *L)
{
    lp__state_t *state = state_of(L);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 0);
    if (state->interrupt.running && wanted(state) != 0)
        lp__interrupt_set(state);
    return 0;
}

static void replace_set_hook(lua_State *L, lp__state_t *state)
{
    if (lua_getglobal(L, "debug") == LUA_TTABLE) {
        lua_pushlightuserdata(L, state);
        lua_getfield(L, -2, "sethook");
        lua_pushcclosure(L, set_hook, 2);
        lua_setfield(L, -2, "sethook");
    }
    lua_pop(L, 1);
}

void lp__interrupt_open(lua_State *L, lp__state_t *state)
{
    replace_set_hook(L, state);
    static const luaL_Reg functions[] = {
        {"resume", co_resume}, {"wrap", co_wrap}, {"close", co_close}, {NULL, NULL}};
    if (lua_getglobal(L, "coroutine") == LUA_TTABLE) {
        lua_pushlightuserdata(L, state);
        luaL_setfuncs(L, functions, 1);
    }
    lua_pop(L, 1);
}
