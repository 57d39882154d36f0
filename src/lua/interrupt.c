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
    if (why == 0 || !interrupt->running.L) { /* it was for a job that has ended */
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
    int why = state && state->interrupt.running.L ? wanted(state) : 0;
    if (why == 0)
        return;
    if (state->interrupt.raised_ns == 0)
        state->interrupt.raised_ns = now_ns(state);
    raise_stop(L, why);
}

static bool is_wanted(const lp__running_t *running)
{
    return wanted(LP__CONTAINER(running, lp__state_t, interrupt.running)) != 0;
}

void lp__interrupt_init(lp__state_t *state)
{
    state->interrupt.running.hook = on_hook;
    state->interrupt.running.wanted = is_wanted;
}

void lp__interrupt_begin(lp__state_t *state)
{
    state->interrupt.exhausted = false;
    state->interrupt.hard = false;
    state->interrupt.raised_ns = 0;
    state->interrupt.running.L = state->L;
}

int lp__interrupt_end(lp__state_t *state)
{
    state->interrupt.running.L = NULL;
    if (lua_gethook(state->L)) /* also one that the job left behind: it is not the next one's */
        lua_sethook(state->L, NULL, 0, 0);
    if (state->interrupt.hard)
        state->worker->worn_out = true;
    return state->interrupt.raised_ns != 0 ? wanted(state) : 0;
}
