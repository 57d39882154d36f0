/* context.h - what one Lua state knows of leasepool: its runtime, its loop, its anchors.
 *
 * A context is a userdata in the state's registry. It belongs to the thread that runs the
 * state. The runtime and its loop are made when the first call needs them (a worker that
 * merely requires the module has none) and end when the state closes: managers are
 * stopped, queued jobs cancelled, workers joined. */
#ifndef LP_LUA_CONTEXT_H
#define LP_LUA_CONTEXT_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <uv.h>

#include "base/spin.h"
#include "core/runtime.h"
#include "leasepool.h"
#include "lua/codec.h"
#include "lua/running.h"

typedef struct lp__context_s lp__context_t;
typedef struct lp__scope_s lp__scope_t;
typedef struct lp__watcher_s lp__watcher_t;

/* Which metatable a userdata has; each is made once for each state. */
typedef enum {
    LP__TYPE_MANAGER,
    LP__TYPE_LEASE,
    LP__TYPE_VIEW,     /* of a lease, with options for its jobs; see view.c */
    LP__TYPE_EXECUTOR, /* `lease.executor` */
    LP__TYPE_GRINDER,
    LP__TYPE_GRINDER_VIEW, /* as LP__TYPE_VIEW; see grind.c */
    LP__TYPE_FUTURE,
    LP__TYPE_FUTURE_TO_FREE, /* a future that needs a finalizer, see future.c */
    LP__TYPE_WAIT,
    LP__TYPE_GUARD, /* of a spawned coroutine, see fiber.c */
    LP__TYPE_SCOPE, /* of a run, see run.c */
    LP__TYPE_COUNT
} lp__type_t;

typedef struct lp__traits_s lp__traits_t;

struct lp__context_s {
    lua_State *L;           /* the main thread */
    lua_State *turn_L;      /* the thread that runs the current turn and resumes coroutines */
    lua_State *calls_L;     /* callbacks run on this one: a hook that Ctrl-C sets on the main
                             * thread is for whoever waits there, not for a callback */
    lp__running_t *running; /* told what is resumed; NULL: nobody asks */
    lp_runtime_t *rt;       /* NULL: not made yet, or ended */
    uv_loop_t loop;
    bool closed;
    bool some_closed; /* a coroutine was closed while it waited (wait.c) */
    bool driving;     /* a blocked call runs the loop */
    bool attached;    /* another loop does; see attach.c */
    bool ending;      /* the program was told to end: a <close> stops jobs that run */
    lp__spin_t spin;  /* of the driving call */
    lp__codec_t *codec;
    const void *metatables[LP__TYPE_COUNT]; /* lua_topointer of each */
    int metatable_refs[LP__TYPE_COUNT];     /* in the registry; by an address it takes 100
                                             * instructions more to find one */

    int anchors; /* registry reference of the table of anchored values */
    int *free_slots;
    int free_count, free_cap, slot_count;

    lp__scope_t *scope; /* of the coroutine that runs now; NULL: of no run */
    lp__list_t fibers;  /* all that have not ended */
    lp__list_t parked;  /* lp__wait_t: all that wait */
    struct lp__lua_job_s *prepared_job, *spare_jobs;
    lp__watcher_t *spare_watchers;
    unsigned spare_count, spare_watcher_count;
    size_t spare_bytes; /* of the buffers of spare jobs */

    uint64_t lost_jobs; /* that came back while the state closes */

    uv_mutex_t paths_lock; /* guards the two strings, which opening workers read */
    char *path, *cpath;
};

/* The context of a function registered with lp__context_register. */
#define LP__CONTEXT(L) ((lp__context_t *)lua_touserdata((L), lua_upvalueindex(1)))

/* The state's context, made on first use. Leaves the stack as it was. */
lp__context_t *lp__context_get(lua_State *L);

/* Its runtime, made on first use. Raises LeasePoolNotStartedError once the state closes. */
lp_runtime_t *lp__context_runtime(lua_State *L, lp__context_t *ctx);

/* Makes the metatable of `type`, with `methods` (fetched by `index` when that is given: it
 * gets the methods table as second upvalue) and `meta` methods. All get the context as first
 * upvalue, the methods the table of anchors as second. */
void lp__context_register(lua_State *L, lp__context_t *ctx, lp__type_t type, const char *name,
                          const luaL_Reg *methods, lua_CFunction index, const luaL_Reg *meta);

/* A new userdata of `type`, zeroed, on the stack. */
void *lp__context_new(lua_State *L, lp__context_t *ctx, lp__type_t type, size_t size,
                      int user_values);

/* Pushes the metatable of `type`. */
void lp__context_push_metatable(lua_State *L, lp__context_t *ctx, lp__type_t type);

/* The block of the userdata at `index`; NULL when it is none of `type`. */
void *lp__context_test(lua_State *L, lp__context_t *ctx, int index, lp__type_t type);

/* The same, raising ConfigError that names `what`: "lease:run". */
void *lp__context_check(lua_State *L, lp__context_t *ctx, int index, lp__type_t type,
                        const char *what);

/* Captures package.path and package.cpath for workers that open from now on. */
void lp__context_capture_paths(lua_State *L, lp__context_t *ctx);

#endif
