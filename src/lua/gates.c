/* gates.c - gates: a job waits for the spec at one, and the spec for the job, without sleeping.
 *
 * `require("leasepool.core").testing`; no part of the API. The gates of a process lie in a
 * file that other processes map, too, once they are given the name of one of its gates, which
 * is a string. Threads and processes meet in atomics and futexes there, never in a lock: a
 * process that is killed while it waits holds nobody up (but counts as one that waits until
 * its gate is opened).
 *
 * The file is made with the first gate and removed when its process ends by itself; mappings
 * stay to the end, for a thread may still wait in one. Any thread. */
#include "lua/gates.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#ifdef __linux__
#define DIRECTORY "/dev/shm"
#else
#define DIRECTORY "/tmp"
#endif

#include "base/atomics.h"
#include "base/word.h"
#include "leasepool.h"
#include "lua/context.h"

enum { GATES = 4096, GROUNDS = 64, NAME = 16 };

/* ---- Gates -------------------------------------------------------------------- */

#define OPEN (UINT32_C(1) << 31)

typedef struct {
    lp__word_t state;   /* OPEN, or how many wait */
    lp__word_t arrived; /* calls of gate_pass so far */
    lp__word_t asked;   /* how many of those that wait have been asked to stop, and cannot */
} gate_t;

/* What is in a file. All zero at first. */
typedef struct {
    _Atomic uint64_t arrivals; /* at all gates */
    lp__word_t made;
    gate_t gates[GATES]; /* in turn */
} ground_t;

/* Comes to the gate; true when it is open. Arrivals are counted before those that wait, and
 * whoever sees `arrived` change sees both. */
static bool arrive(ground_t *ground, gate_t *gate, uint64_t *arrival)
{
    *arrival = lp__add_seq_cst(&ground->arrivals, 1) + 1;
    uint32_t state = lp__load_seq_cst(&gate->state);
    while (!(state & OPEN) && !lp__cas_weak_seq_cst(&gate->state, &state, state + 1)) {
    }
    lp__add_seq_cst(&gate->arrived, 1);
    lp__word_wake(&gate->arrived);
    return state & OPEN;
}

/* Goes away from a closed gate; false when it is open by now. */
static bool leave(gate_t *gate)
{
    uint32_t state = lp__load_seq_cst(&gate->state);
    while (!(state & OPEN) && !lp__cas_weak_seq_cst(&gate->state, &state, state - 1)) {
    }
    return !(state & OPEN);
}

/* ---- Files -------------------------------------------------------------------- */

static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t lock;
static struct {
    char name[NAME + 1];
    ground_t *ground;
} known[GROUNDS];       /* under lock; only ever added to */
static int known_count; /* under lock */
static ground_t *own;   /* under lock; NULL until the first gate */
static char own_name[NAME + 1];
static uv_pid_t own_pid; /* a fork of this process removes nothing */

static void init_lock(void)
{
    if (uv_mutex_init(&lock) != 0)
        abort();
}

/* The name of a file is hexadecimal digits, so that it leads nowhere else. */
static void path_of(const char *name, char path[64])
{
    snprintf(path, 64, DIRECTORY "/leasepool-gates-%s", name);
}

static void remove_own(void)
{
    char path[64];
    path_of(own_name, path);
    if (uv_os_getpid() == own_pid)
        unlink(path);
}

/* Under lock. NULL, and errno, when it cannot be mapped. Closes the descriptor. */
static ground_t *add(int fd, const char *name)
{
    void *at = mmap(NULL, sizeof(ground_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return NULL;
    memcpy(known[known_count].name, name, NAME + 1);
    known[known_count++].ground = at;
    return at;
}

/* Under lock. NULL, and errno, when there can be none. */
static ground_t *make_own(void)
{
    char path[64];
    uint32_t random[2] = {0};
    int rc = uv_random(NULL, NULL, random, sizeof random, 0, NULL);
    snprintf(own_name, sizeof own_name, "%08x%08x", (unsigned)random[0], (unsigned)random[1]);
    path_of(own_name, path);
    int fd = rc == 0 && known_count < GROUNDS
                 ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
                 : -1;
    if (fd < 0)
        return NULL;
    own_pid = uv_os_getpid();
    if (atexit(remove_own) != 0 || ftruncate(fd, sizeof(ground_t)) != 0) {
        close(fd);
        unlink(path);
        return NULL;
    }
    return own = add(fd, own_name);
}

/* Under lock. NULL when there is none of that name. */
static ground_t *find(const char *name)
{
    char path[64];
    struct stat there;
    for (int i = 0; i < known_count; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].ground;
    path_of(name, path);
    int fd = known_count < GROUNDS ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &there) == 0 && there.st_size == sizeof(ground_t))
        return add(fd, name);
    close(fd);
    return NULL;
}

/* The gate that the first argument names: "0123456789abcdef:17". */
static gate_t *check_gate(lua_State *L, ground_t **ground)
{
    size_t len;
    const char *id = luaL_checklstring(L, 1, &len);
    char name[NAME + 1], *end;
    luaL_argcheck(L, len > NAME + 1 && strspn(id, "0123456789abcdef") == NAME && id[NAME] == ':', 1,
                  "no gate");
    unsigned long number = strtoul(id + NAME + 1, &end, 10);
    luaL_argcheck(L, *end == '\0' && number < GATES, 1, "no gate");
    memcpy(name, id, NAME);
    name[NAME] = '\0';
    uv_mutex_lock(&lock);
    *ground = find(name);
    uv_mutex_unlock(&lock);
    luaL_argcheck(L, *ground, 1, "no gate any more");
    return &(*ground)->gates[number];
}

/* ---- Functions for specs ------------------------------------------------------ */

/* A new gate, closed: its id, which means the same gate in other processes. */
static int gate_new(lua_State *L)
{
    uv_mutex_lock(&lock);
    ground_t *ground = own ? own : make_own();
    uv_mutex_unlock(&lock);
    if (!ground)
        return luaL_error(L, "gates cannot be made in %s: %s", DIRECTORY, strerror(errno));
    uint32_t number = lp__add_seq_cst(&ground->made, 1) % GATES;
    lp__store_seq_cst(&ground->gates[number].arrived, 0);
    lp__store_seq_cst(&ground->gates[number].asked, 0);
    lp__store_seq_cst(&ground->gates[number].state, 0);
    lua_pushfstring(L, "%s:%d", own_name, (int)number);
    return 1;
}

/* Is the Lua code that called to stop? Handlers of signals set a hook for that. */
static bool is_asked(lua_State *L)
{
    return lua_gethook(L) != NULL;
}

/* Until the gate is open; false when it was asked to stop before, and may. A signal that comes just
 * before the wait does not end it: that is why it is short. */
static bool wait_for_gate(lua_State *L, gate_t *gate, bool interruptible)
{
    uint32_t state;
    bool asked = false;
    while (!((state = lp__load_seq_cst(&gate->state)) & OPEN)) {
        if (asked || !is_asked(L)) {
            lp__word_wait(&gate->state, state, asked ? 3600 * LP_SECOND : 5 * LP_MILLISECOND);
            continue;
        }
        if (interruptible && leave(gate))
            return false;
        lp__add_seq_cst(&gate->asked, 1);
        asked = true;
    }
    return true;
}

static int pass(lua_State *L, bool interruptible)
{
    ground_t *ground;
    gate_t *gate = check_gate(L, &ground);
    uint64_t arrival;
    if (!arrive(ground, gate, &arrival) && !wait_for_gate(L, gate, interruptible))
        lua_pushboolean(L, false);
    else
        lua_pushinteger(L, (lua_Integer)arrival);
    return 1;
}

/* Waits for the gate to be open, whatever signals come: for jobs that cannot be interrupted.
 * Returns the number of this arrival: the how many-th at any gate of the process that made it. */
static int gate_pass(lua_State *L)
{
    return pass(L, false);
}

/* The same, until the Lua code is to stop: then false, and a hook raises at once. */
static int gate_pass_interruptible(lua_State *L)
{
    return pass(L, true);
}

static int gate_open(lua_State *L)
{
    ground_t *ground;
    gate_t *gate = check_gate(L, &ground);
    lp__store_seq_cst(&gate->state, OPEN); /* nobody waits from here on, whenever they notice */
    lp__word_wake(&gate->state);
    return 0;
}

/* How many came so far to any gate that this process made, how many wait at one now, and how many
 * of these were asked to stop, and cannot. */
static int gate_counts(lua_State *L)
{
    lua_Integer arrivals = 0, waiting = 0, asked = 0;
    uv_mutex_lock(&lock);
    ground_t *ground = own;
    uv_mutex_unlock(&lock);
    if (ground) {
        uint32_t made = lp__load_seq_cst(&ground->made);
        for (uint32_t i = 0; i < made && i < GATES; i++) {
            gate_t *gate = &ground->gates[i];
            uint32_t of_gate = lp__load_seq_cst(&gate->asked);
            uint32_t state = lp__load_seq_cst(&gate->state);
            waiting += state & OPEN ? 0 : state;
            asked += state & OPEN ? 0 : of_gate;
        }
        arrivals = (lua_Integer)lp__load_seq_cst(&ground->arrivals);
    }
    lua_pushinteger(L, arrivals);
    lua_pushinteger(L, waiting);
    lua_pushinteger(L, asked);
    return 3;
}

/* Children of this state are started and given their jobs by the loop. */
static bool hear_children(lua_State *L)
{
    lp__context_t *ctx = lp__context_get(L);
    lua_State *outer = ctx->turn_L;
    if (!ctx->rt || ctx->rt->watched == 0)
        return false;
    ctx->turn_L = L;
    uv_run(&ctx->loop, UV_RUN_NOWAIT);
    ctx->turn_L = outer;
    return true;
}

/* Waits until so many calls of gate_pass have come, at most so many seconds (20); true when
 * they have. It blocks the thread, but children are heard: 0 s only asks. */
static int gate_await(lua_State *L)
{
    ground_t *ground;
    gate_t *gate = check_gate(L, &ground);
    lua_Integer count = luaL_optinteger(L, 2, 1);
    uint64_t deadline = uv_hrtime() + (uint64_t)(luaL_optnumber(L, 3, 20) * 1e9);
    uint32_t arrived;
    while ((arrived = lp__load_seq_cst(&gate->arrived)) < count) {
        uint64_t now = uv_hrtime();
        if (now >= deadline)
            break;
        uint64_t most_ns = hear_children(L) ? LP_MILLISECOND : deadline - now;
        lp__word_wait(&gate->arrived, arrived, most_ns);
    }
    lua_pushboolean(L, arrived >= count);
    return 1;
}

void lp__gates_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"gate", gate_new},
                                         {"gate_pass", gate_pass},
                                         {"gate_pass_interruptible", gate_pass_interruptible},
                                         {"gate_open", gate_open},
                                         {"gate_counts", gate_counts},
                                         {"gate_await", gate_await},
                                         {NULL, NULL}};
    uv_once(&once, init_lock);
    luaL_setfuncs(L, functions, 0);
}
