/* test_lua_native.c - natives that a host has registered, in the scripts of its runtime. The module
 * is linked into this program, as it is into a host's. */
#include <lauxlib.h>
#include <libgen.h>
#include <limits.h>
#include <lualib.h>
#include <unistd.h>

#include "lua/context.h"
#include "lua/module.h"
#include "support.h"

/* The module for child processes lies beside this program: BUILD/ctest/test_lua_native,
 * BUILD/lua/leasepool/core.so. */
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
    lua_getfield(L, -1, "preload");
    lua_pushcfunction(L, luaopen_leasepool_core);
    lua_setfield(L, -2, "leasepool.core");
    lua_pop(L, 2);
    const char *lua = getenv("LEASEPOOL_LUA");
    lua_pushstring(L, lua ? lua : "lua5.4");
    lua_setglobal(L, "interpreter");
}

static void run(lua_State *L, const char *code)
{
    if (luaL_dostring(L, code) != LUA_OK)
        fail_msg("%s", luaL_tolstring(L, -1, NULL));
    lua_settop(L, 0);
}

static int count(lp_call_t *call)
{
    int *calls = call->data;
    return lp_return_integer(call, ++*calls);
}

static int add(lp_call_t *call)
{
    int64_t a, b;
    if (lp_arg_integer(call, 1, &a) != 0 || lp_arg_integer(call, 2, &b) != 0)
        return lp_return_error(call, "two integers expected");
    return lp_return_integer(call, a + b);
}

static lua_State *open_state(int *calls)
{
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    luaL_openlibs(L);
    set_paths(L);
    run(L, "leasepool = require 'leasepool'");
    lp_runtime_t *rt = lp__context_runtime(L, lp__context_get(L));
    assert_int_equal(lp_register_native(rt, "count", count, calls), 0);
    assert_int_equal(lp_register_native(rt, "add", add, NULL), 0);
    assert_int_equal(lp_register_native(rt, "add", add, NULL), LP_ESTATE);
    return L;
}

static void a_script_finds_what_its_host_has_registered(void **state)
{
    (void)state;
    int calls = 0;
    lua_State *L = open_state(&calls);
    run(L, "assert(leasepool.native 'add' == leasepool.native 'add')\n"
           "assert(leasepool.native 'add'(1, 2) == 3)\n"
           "assert(leasepool.native 'count'() == 1)\n"
           "assert(not pcall(leasepool.native, 'subtract'))\n");
    assert_int_equal(calls, 1);
    lua_close(L);
}

static void workers_that_are_threads_have_it(void **state)
{
    (void)state;
    int calls = 0;
    lua_State *L = open_state(&calls);
    run(L, "for _, backend in ipairs { 'thread', 'interpreter' } do\n"
           "  local manager <close> = leasepool.manager {\n"
           "    backend = backend, max_pools = 1, workers_per_pool = 1 }\n"
           "  manager:start()\n"
           "  local count, add = leasepool.native 'count', leasepool.native 'add'\n"
           "  local before = manager:run(count)\n"
           "  assert(manager:run(function() return count() end) == before + 1)\n"
           "  assert(manager:run(add, 40, 2) == 42)\n"
           "  local ok, err = pcall(manager.run, manager, add, 1)\n"
           "  assert(err.cause == 'two integers expected' and err.job == 'add')\n"
           "  assert(manager:run(function(f) return f end, add) == add)\n"
           "end\n");
    assert_int_equal(calls, 4);
    lua_close(L);
}

static void a_child_process_does_not_and_says_so(void **state)
{
    (void)state;
    int calls = 0;
    lua_State *L = open_state(&calls);
    run(L, "local start = ('package.path = %q package.cpath = %q require \"leasepool.child\"')\n"
           "local manager <close> = leasepool.manager {\n"
           "  backend = 'process', max_pools = 1, workers_per_pool = 1,\n"
           "  command = { interpreter, '-e', start:format(package.path, package.cpath) } }\n"
           "manager:start()\n"
           "local add = leasepool.native 'add'\n"
           "for _, run in ipairs {\n"
           "  function() return manager:run(add, 1, 2) end,\n"
           "  function() return manager:run(function() return add(1, 2) end) end,\n"
           "} do\n"
           "  local ok, err = pcall(run)\n"
           "  assert(not ok and err.name == 'TransferError', tostring(err))\n"
           "  assert(err.message == \"cannot transfer the native job 'add': the host has \" ..\n"
           "    'registered it, which a child process does not have', err.message)\n"
           "end\n"
           "assert(manager:run(string.upper, 'a') == 'A')\n");
    lua_close(L);
}

static void a_state_that_closes_lets_go_of_it(void **state)
{
    (void)state;
    int calls = 0;
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    lua_State *L = open_state(&calls);
    run(L, "local manager <close> = leasepool.manager { max_pools = 1 }\n"
           "manager:start()\n"
           "add, count = leasepool.native 'add', leasepool.native 'count'\n"
           "assert(manager:run(add, 1, 2) == 3)\n");
    lua_close(L);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_that_closes_lets_go_of_it),
        cmocka_unit_test(a_script_finds_what_its_host_has_registered),
        cmocka_unit_test(workers_that_are_threads_have_it),
        cmocka_unit_test(a_child_process_does_not_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
