/* state.h - the Lua state of a worker, as the runner that the core calls.
 *
 * Made, used and closed on the worker's thread. */
#ifndef LP_LUA_STATE_H
#define LP_LUA_STATE_H

#include <lua.h>

#include "core/runner.h"
#include "core/worker.h"
#include "lua/codec.h"
#include "lua/forward.h"
#include "lua/interrupt.h"
#include "lua/memory.h"

typedef enum { LP__IDLE, LP__INITIALIZING, LP__DECODING, LP__RUNNING, LP__ENCODING } lp__phase_t;

typedef struct lp__state_s lp__state_t;
struct lp__state_s {
    lua_State *L;
    lp__codec_t *codec;
    lp__channel_t *channel;
    lp__worker_t *worker;
    lp__phase_t phase;
    lp__code_t *code;      /* of the job that runs, as long as the phase is DECODING */
    lp__message_t message; /* its arguments, later its results */
    int status;
    int traceback; /* registry reference of the last error's traceback */
    int origin;    /* registry reference: where the function that raised it was defined */
    lp__memory_t memory;
    lp__interrupt_t interrupt;
    char *path, *cpath;
    char *owner; /* of the job that runs, if it has one of its own; see lp__state_owner */
    size_t owner_cap;
    bool has_owner;
    bool closing; /* finalizers run */
    char name[LP__WORKER_NAME_SIZE];
};

/* The table; its data is the context of the state that submits. */
const lp__runner_t *lp__state_runner(void);

/* Who the job that runs is for; NULL: nobody was named, or none runs. */
const char *lp__state_owner(const lp__state_t *state);

/* What the Lua state belongs to; NULL: it is not a worker's. Leaves the stack as it was. */
lp__state_t *lp__state_of(lua_State *L);

/* Is it a worker's, and closing? Then nothing that is made in it is finalised. */
bool lp__state_is_closing(lua_State *L);

#endif
