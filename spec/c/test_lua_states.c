/* test_lua_states.c - several Lua states in one process, and the module loaded and unloaded with
 * them.
 *
 * The states load the module as scripts do, as a shared object: the last one that closes
 * unloads it (not under sanitizers, which want its symbols at exit). So a thread that outlived
 * its state would run code that is gone. */
#include <dirent.h>
#include <lauxlib.h>
#include <libgen.h>
#include <limits.h>
#include <lualib.h>
#include <unistd.h>

#include "support.h"

/* ---- States ------------------------------------------------------------------- */

/* The module beside this program: BUILD/ctest/test_lua_states, BUILD/lua/leasepool/core.so. */
static void set_paths(lua_State *L)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(length > 0);
    path[length] = '\0';
    lua_getglobal(L, "package");
    lua_pushliteral(L, "lua/?.lua;lua/?/init.lua");
    lua_setfield(L, -2, "path");
    lua_pushfstring(L, "%s/lua/?.so", dirname(dirname(path)));
    lua_setfield(L, -2, "cpath");
    lua_pop(L, 1);
}

static void run(lua_State *L, const char *code)
{
    if (luaL_dostring(L, code) != LUA_OK)
        fail_msg("%s", luaL_tolstring(L, -1, NULL));
    lua_settop(L, 0);
}

static lua_State *open_state(void)
{
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    set_paths(L);
    run(L, "leasepool = require 'leasepool'");
    return L;
}

/* ---- What the process has ------------------------------------------------------ */

static int entries(const char *directory)
{
    DIR *dir = opendir(directory);
    int count = 0;
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* A thread that was joined is listed a moment longer. */
static int fewest_threads(int wanted)
{
    int count = entries("/proc/self/task");
    for (int i = 0; i < 1000 && count > wanted; i++)
        count = entries("/proc/self/task");
    return count;
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld %ld", &pages, &resident), 2);
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static bool is_loaded(void)
{
    char line[1024];
    bool found = false;
    FILE *file = fopen("/proc/self/maps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        found = found || strstr(line, "leasepool/core.so");
    fclose(file);
    return found;
}

/* ---- Work --------------------------------------------------------------------- */

static const char borrow[] =
    "manager = leasepool.manager{max_pools = 2, workers_per_pool = 2}:start()\n"
    "lease = manager:acquire()\n"
    "assert(lease:run(string.upper, 'a') == 'A')\n";

/* Left open: jobs that run and end, jobs that wait, waiters, requests, sleepers, a stop. */
static const char leave_work[] =
    "local function count(n) local s = 0 for i = 1, n do s = s + i end return s end\n"
    "futures = {}\n"
    "for i = 1, 20 do futures[i] = lease:submit(count, 20000) end\n"
    "lease:post(function() end, count, 1)\n"
    "other = manager:acquire()\n"
    "futures[21] = manager:request()\n"
    "futures[22] = leasepool.spawn(function() manager:acquire() end)\n"
    "futures[23] = leasepool.spawn(leasepool.sleep, 1000)\n"
    "futures[24] = leasepool.spawn(function() futures[20]:await() end)\n"
    "futures[25] = leasepool.spawn(function() leasepool.gather(futures) end)\n";

static const char begin_stop[] = "stopping = manager:stop{wait = false}\n";

/* Expects one warning on standard error, which is closed meanwhile. */
static void close_quietly(lua_State *L)
{
    fflush(stderr);
    int saved = dup(2);
    assert_non_null(freopen("/dev/null", "w", stderr));
    lua_close(L);
    fflush(stderr);
    assert_int_equal(dup2(saved, 2), 2);
    close(saved);
}

/* ---- Tests -------------------------------------------------------------------- */

static void states_close_in_either_order(void **state)
{
    (void)state;
    for (int order = 0; order < 2; order++) {
        for (int busy = 0; busy < 4; busy++) {
            lua_State *states[2];
            for (int i = 0; i < 2; i++) {
                states[i] = open_state();
                run(states[i], borrow);
            }
            for (int i = 0; i < 2; i++)
                if (busy & (1 << i))
                    run(states[i], leave_work);
            close_quietly(states[order]);
            run(states[!order], "assert(manager.leased_count > 0)");
            run(states[!order], "assert(lease:run(string.upper, 'b') == 'B')");
            close_quietly(states[!order]);
        }
    }
}

/* Each waits with turns of its own; what one does is no business of the other's. */
static void states_take_turns(void **state)
{
    (void)state;
    lua_State *a = open_state(), *b = open_state();
    run(a, borrow);
    run(b, borrow);
    for (int i = 0; i < 50; i++) {
        run(a, "future = lease:submit(string.upper, 'a')");
        run(b, "future = lease:submit(string.upper, 'b')");
        run(b, "assert(future:await() == 'B')");
        run(a, "assert(future:await() == 'A')");
    }
    run(a, "assert(lease.lease_id ~= nil); manager:stop()");
    run(b, "assert(lease:run(function() return 1 end) == 1); manager:stop()");
    lua_close(b);
    lua_close(a);
}

static void live_five_times(void *arg)
{
    const char *code = arg;
    for (int i = 0; i < 5; i++) {
        lua_State *L = open_state();
        run(L, borrow);
        run(L, code);
        lua_close(L);
    }
}

static void states_may_live_on_threads_of_their_own(void **state)
{
    (void)state;
    static char code[] = "for i = 1, 50 do\n"
                         "  assert(lease:map(string.upper, {'a', 'b'})[2] == 'B')\n"
                         "end\n"
                         "lease:release()\n"
                         "manager:stop()\n";
    uv_thread_t threads[3];
    const char *sanitizer = getenv("LEASEPOOL_SANITIZE");
    if (sanitizer && strcmp(sanitizer, "thread") == 0)
        skip(); /* it does not see libuv close a descriptor, and takes its next use for a race */
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(uv_thread_create(&threads[i], live_five_times, code), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(uv_thread_join(&threads[i]), 0);
}

static void a_life(int kind)
{
    lua_State *L = open_state();
    if (kind > 0)
        run(L, borrow);
    if (kind > 1)
        run(L, leave_work);
    if (kind > 2)
        run(L, begin_stop);
    close_quietly(L);
}

static void the_module_can_be_loaded_and_unloaded_for_ever(void **state)
{
    (void)state;
    bool sanitized = getenv("LEASEPOOL_SANITIZE") != NULL;
    int lives = sanitized ? 5 : 60;
    for (int kind = 0; kind < 4; kind++)
        a_life(kind);
    int threads = fewest_threads(1), descriptors = entries("/proc/self/fd");
    if (!sanitized)
        assert_false(is_loaded());
    long warm_kib = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < lives; i++)
            for (int kind = 0; kind < 4; kind++)
                a_life(kind);
        if (round == 0)
            warm_kib = resident_kib();
    }
    assert_true(fewest_threads(threads) <= threads);
    assert_int_equal(entries("/proc/self/fd"), descriptors);
    /* 240 lives: had each left a page behind, that were a megabyte. */
    if (!sanitized && resident_kib() > warm_kib + 900)
        fail_msg("%ld KiB after as many lives as made %ld KiB", resident_kib(), warm_kib);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_close_in_either_order),
        cmocka_unit_test(states_take_turns),
        cmocka_unit_test(states_may_live_on_threads_of_their_own),
        cmocka_unit_test(the_module_can_be_loaded_and_unloaded_for_ever),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
