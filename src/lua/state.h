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
#include "lua/job.h"

typedef enum { LP__INITIALIZING, LP__DECODING, LP__RUNNING, LP__ENCODING } lp__phase_t;

/* What the allocator knows of a state's memory. */
typedef struct {
    size_t used, limit; /* bytes; limit SIZE_MAX: none */
    size_t live;        /* of them after the last collection that the limit caused */
    bool refused;       /* something, because of the limit */
} lp__memory_t;

typedef struct {
    lua_State *L;
    lp__codec_t *codec;
    lp__channel_t *channel;
    lp__worker_t *worker;
    lp__lua_job_t *job; /* the one that runs; NULL: none */
    lp__phase_t phase;
    int status;
    int traceback; /* registry reference of the last error's traceback */
    int origin;    /* registry reference: where the function that raised it was defined */
    lp__memory_t memory;
    char *path, *cpath;
    char name[LP__WORKER_NAME_SIZE];
} lp__state_t;

/* The table; its data is the context of the state that submits. */
const lp__runner_t *lp__state_runner(void);

/* What the Lua state belongs to; NULL: it is not a worker's. Leaves the stack as it was. */
lp__state_t *lp__state_of(lua_State *L);

#endif
