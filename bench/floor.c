/* floor.c - what Lua on both sides of a thread costs at the least: the Lua module `floor`, which
 * bench/rows measure beside leasepool in the same run.
 *
 *     pool = floor.pool(workers, code[, spins])
 *                                        threads, each with a Lua state that has loaded `code`
 *     pool:send(integer)                 the function will be called with it
 *     pool:send_items(list, i, j)        or with each of these
 *     pool:drive(callback)               calls back with each result until nothing is on its way
 *     pool:drive_items(results)          or stores them where the items were
 *     pool:close()                       joins the threads
 *     holder:acquire():release()         a free list of one
 *
 * It has no leases, futures, cancellation, timeouts, limits or errors, and carries integers alone:
 * it aborts where leasepool would raise. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

/* The one symbol of the module. */
#define FLOOR_EXTERN __attribute__((visibility("default")))

enum { SPIN_NS = 50000, MOST_AT_ONCE = 64, MAX_WORKERS = 64 };

typedef struct job_s job_t;
struct job_s {
    job_t *next;
    lua_Integer value;
    int first, count; /* of items; 0: it is `value` */
    lua_Integer items[];
};

typedef struct {
    uv_mutex_t lock;
    uv_cond_t wake;
    job_t *head, *tail; /* under the lock, as all down to `stopping` */
    int length, sleeping;
    bool waking, stopping;
    atomic_int queued; /* the length, to look at without the lock */

    _Atomic(job_t *) done; /* newest first */
    atomic_bool loop_sleeps;
    uv_sem_t loop_wake;

    job_t *spare; /* of the loop */
    long in_flight;
    bool spins; /* before it sleeps, where a CPU is there for each worker and the loop */
    int workers;
    uv_thread_t threads[MAX_WORKERS];
    const char *code;
    size_t code_size;
} pool_t;

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "floor: %s\n", what);
    abort();
}

static bool spin_until(bool (*look)(pool_t *), pool_t *pool)
{
    if (!pool->spins)
        return look(pool);
    for (uint64_t end_ns = uv_hrtime() + SPIN_NS; uv_hrtime() < end_ns;)
        for (int i = 0; i < 32; i++)
            if (look(pool))
                return true;
    return look(pool);
}

/* ---- Workers ------------------------------------------------------------------------- */

static bool has_jobs(pool_t *pool)
{
    return atomic_load_explicit(&pool->queued, memory_order_relaxed) > 0;
}

/* A share of what waits; NULL: the end. One worker at a time is woken, and wakes the next. */
static job_t *take(pool_t *pool)
{
    uv_mutex_lock(&pool->lock);
    if (!pool->head && !pool->stopping) {
        uv_mutex_unlock(&pool->lock);
        spin_until(has_jobs, pool);
        uv_mutex_lock(&pool->lock);
    }
    while (!pool->head && !pool->stopping) {
        pool->sleeping++;
        uv_cond_wait(&pool->wake, &pool->lock);
        pool->sleeping--;
        pool->waking = false;
    }
    int count = pool->length / (2 * pool->workers);
    count = count < 1 ? 1 : (count > MOST_AT_ONCE ? MOST_AT_ONCE : count);
    job_t *first = pool->head, *last = first;
    if (first) {
        for (int i = 1; i < count && last->next; i++, pool->length--)
            last = last->next;
        pool->length--;
        pool->head = last->next;
        last->next = NULL;
    }
    atomic_store_explicit(&pool->queued, pool->length, memory_order_relaxed);
    bool wake = pool->head && pool->sleeping > 0 && !pool->waking;
    pool->waking |= wake;
    uv_mutex_unlock(&pool->lock);
    if (wake)
        uv_cond_signal(&pool->wake);
    return first;
}

static void finish(pool_t *pool, job_t *job)
{
    job_t *head = atomic_load(&pool->done);
    do
        job->next = head;
    while (!atomic_compare_exchange_weak(&pool->done, &head, job));
    if (!head && atomic_load(&pool->loop_sleeps) && atomic_exchange(&pool->loop_sleeps, false))
        uv_sem_post(&pool->loop_wake);
}

static lua_Integer call(lua_State *L, lua_Integer value)
{
    lua_pushvalue(L, 1);
    lua_pushinteger(L, value);
    check(lua_pcall(L, 1, 1, 0) == LUA_OK, "a job raised");
    value = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static void serve(void *data)
{
    pool_t *pool = data;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    check(luaL_loadbuffer(L, pool->code, pool->code_size, "=job") == LUA_OK, "bad code");
    for (job_t *job, *next; (job = take(pool)) != NULL;) {
        for (; job; job = next) {
            next = job->next;
            if (job->count == 0)
                job->value = call(L, job->value);
            for (int i = 0; i < job->count; i++)
                job->items[i] = call(L, job->items[i]);
            finish(pool, job);
        }
    }
    lua_close(L);
}

/* ---- The loop ------------------------------------------------------------------------ */

static pool_t *pool_at(lua_State *L)
{
    return luaL_checkudata(L, 1, "floor.pool");
}

static int new_pool(lua_State *L)
{
    int workers = (int)luaL_checkinteger(L, 1);
    pool_t *pool = lua_newuserdatauv(L, sizeof *pool, 1);
    *pool = (pool_t){.workers = workers};
    luaL_argcheck(L, workers > 0 && workers <= MAX_WORKERS, 1, "too many");
    pool->code = luaL_checklstring(L, 2, &pool->code_size);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, "floor.pool");
    pool->spins = lua_toboolean(L, 3) && (unsigned)workers < uv_available_parallelism();
    check(uv_mutex_init(&pool->lock) == 0 && uv_cond_init(&pool->wake) == 0 &&
              uv_sem_init(&pool->loop_wake, 0) == 0,
          "out of resources");
    for (int i = 0; i < workers; i++)
        check(uv_thread_create(&pool->threads[i], serve, pool) == 0, "no thread");
    return 1;
}

static void queue(pool_t *pool, job_t *job)
{
    job->next = NULL;
    pool->in_flight++;
    uv_mutex_lock(&pool->lock);
    if (pool->head)
        pool->tail->next = job;
    else
        pool->head = job;
    pool->tail = job;
    atomic_store_explicit(&pool->queued, ++pool->length, memory_order_relaxed);
    bool wake = pool->sleeping > 0 && !pool->waking;
    pool->waking |= wake;
    uv_mutex_unlock(&pool->lock);
    if (wake)
        uv_cond_signal(&pool->wake);
}

static int pool_send(lua_State *L)
{
    pool_t *pool = pool_at(L);
    job_t *job = pool->spare;
    if (job)
        pool->spare = job->next;
    else
        job = malloc(sizeof *job);
    check(job != NULL, "out of memory");
    job->count = 0;
    job->value = lua_tointeger(L, 2);
    queue(pool, job);
    return 0;
}

static int pool_send_items(lua_State *L)
{
    int first = (int)luaL_checkinteger(L, 3), count = (int)luaL_checkinteger(L, 4) - first + 1;
    job_t *job = malloc(sizeof *job + (size_t)count * sizeof *job->items);
    check(job && count > 0, "out of memory");
    job->first = first;
    job->count = count;
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, 2, first + i);
        job->items[i] = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    queue(pool_at(L), job);
    return 0;
}

static bool has_results(pool_t *pool)
{
    return atomic_load_explicit(&pool->done, memory_order_relaxed) != NULL;
}

/* All that have ended, oldest first; waits for one. */
static job_t *collect(pool_t *pool)
{
    while (!spin_until(has_results, pool)) {
        atomic_store(&pool->loop_sleeps, true);
        if (atomic_load(&pool->done) && atomic_exchange(&pool->loop_sleeps, false))
            break;
        uv_sem_wait(&pool->loop_wake);
    }
    job_t *newest = atomic_exchange(&pool->done, NULL), *oldest = NULL;
    while (newest) {
        job_t *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void call_back(lua_State *L, pool_t *pool, job_t *job)
{
    lua_Integer value = job->value;
    job->next = pool->spare;
    pool->spare = job;
    lua_pushvalue(L, 2);
    lua_pushinteger(L, value);
    lua_call(L, 1, 0);
}

static void store(lua_State *L, pool_t *pool, job_t *job)
{
    (void)pool;
    for (int i = 0; i < job->count; i++) {
        lua_pushinteger(L, job->items[i]);
        lua_rawseti(L, 2, job->first + i);
    }
    free(job);
}

static int drive(lua_State *L, void (*give)(lua_State *, pool_t *, job_t *))
{
    pool_t *pool = pool_at(L);
    lua_settop(L, 2);
    while (pool->in_flight > 0) {
        for (job_t *job = collect(pool), *next; job; job = next) {
            next = job->next;
            pool->in_flight--;
            give(L, pool, job);
        }
    }
    return 0;
}

static int pool_drive(lua_State *L)
{
    return drive(L, call_back);
}

static int pool_drive_items(lua_State *L)
{
    return drive(L, store);
}

static int pool_close(lua_State *L)
{
    pool_t *pool = pool_at(L);
    uv_mutex_lock(&pool->lock);
    pool->stopping = true;
    uv_mutex_unlock(&pool->lock);
    uv_cond_broadcast(&pool->wake);
    for (int i = 0; i < pool->workers; i++)
        uv_thread_join(&pool->threads[i]);
    while (pool->spare) {
        job_t *job = pool->spare;
        pool->spare = job->next;
        free(job);
    }
    uv_sem_destroy(&pool->loop_wake);
    uv_cond_destroy(&pool->wake);
    uv_mutex_destroy(&pool->lock);
    return 0;
}

/* ---- A free list --------------------------------------------------------------------- */

typedef struct {
    bool taken;
} holder_t;

static int new_holder(lua_State *L)
{
    *(holder_t *)lua_newuserdatauv(L, sizeof(holder_t), 0) = (holder_t){0};
    luaL_setmetatable(L, "floor.holder");
    return 1;
}

static int holder_acquire(lua_State *L)
{
    holder_t *holder = luaL_checkudata(L, 1, "floor.holder");
    check(!holder->taken, "it is taken");
    holder->taken = true;
    *(holder_t **)lua_newuserdatauv(L, sizeof holder, 0) = holder;
    luaL_setmetatable(L, "floor.held");
    return 1;
}

static int held_release(lua_State *L)
{
    holder_t **held = luaL_checkudata(L, 1, "floor.held");
    (*held)->taken = false;
    return 0;
}

/* ---- The module ---------------------------------------------------------------------- */

static void new_type(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

FLOOR_EXTERN int luaopen_floor(lua_State *L)
{
    static const luaL_Reg pool[] = {{"send", pool_send},   {"send_items", pool_send_items},
                                    {"drive", pool_drive}, {"drive_items", pool_drive_items},
                                    {"close", pool_close}, {NULL, NULL}};
    static const luaL_Reg holder[] = {{"acquire", holder_acquire}, {NULL, NULL}};
    static const luaL_Reg held[] = {{"release", held_release}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"pool", new_pool}, {"holder", new_holder}, {NULL, NULL}};
    new_type(L, "floor.pool", pool);
    new_type(L, "floor.holder", holder);
    new_type(L, "floor.held", held);
    luaL_newlib(L, functions);
    return 1;
}
