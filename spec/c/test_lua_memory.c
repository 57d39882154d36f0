/* test_lua_memory.c - a Lua state whose own allocations fail: every call of the binding survives
 * a memory error anywhere, loses nothing, and works again afterwards.
 *
 * What the state runs are the scenarios of spec/support/scenarios.lua, each in a state of its
 * own, first whole, then with the n-th allocation refused for every n. Lua answers the first
 * refusal with an emergency collection and tries again, so there are three ways to refuse: only
 * the first attempt (the collection runs at that place), both (a memory error there), and all
 * from there on (what clean-up needs is refused too). */
#include <lauxlib.h>
#include <lualib.h>

#include "lua/module.h"
#include "support.h"

typedef enum { COLLECT, FAIL, STAY_OUT, WAYS } way_t;

static const char *const way_names[] = {"collect", "fail", "stay out"};

typedef struct {
    bool armed;
    way_t way;
    long nth, seen;
} refusal_t;

static bool must_refuse(refusal_t *refusal)
{
    if (!refusal->armed)
        return false;
    long ahead = ++refusal->seen - refusal->nth;
    switch (refusal->way) {
    case COLLECT:
        return ahead == 0;
    case FAIL:
        return ahead == 0 || ahead == 1;
    default:
        return ahead >= 0;
    }
}

static void *allocate(void *data, void *block, size_t old_size, size_t size)
{
    if (size == 0) {
        free(block);
        return NULL;
    }
    if ((!block || size > old_size) && must_refuse(data))
        return NULL;
    return realloc(block, size);
}

/* ---- Blocks of leasepool ------------------------------------------------------ */

static atomic_long live_blocks;

static void *count(void *block)
{
    if (block)
        atomic_fetch_add(&live_blocks, 1);
    return block;
}

static void *counted_malloc(size_t size)
{
    return count(malloc(size));
}

static void *counted_calloc(size_t number, size_t size)
{
    return count(calloc(number, size));
}

static void *counted_realloc(void *old, size_t size)
{
    void *block = realloc(old, size);
    return old ? block : count(block);
}

static void counted_free(void *block)
{
    if (block)
        atomic_fetch_sub(&live_blocks, 1);
    free(block);
}

/* ---- States ------------------------------------------------------------------- */

static lua_State *open_state(refusal_t *refusal)
{
    lua_State *L = lua_newstate(allocate, refusal);
    assert_non_null(L);
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_leasepool_core);
    lua_setfield(L, -2, "leasepool.core");
    lua_pop(L, 1);
    assert_int_equal(luaL_dostring(L, "package.path = 'lua/?.lua;lua/?/init.lua'"), LUA_OK);
    return L;
}

static void must_be(lua_State *L, int status)
{
    if (status != LUA_OK)
        fail_msg("%s", luaL_tolstring(L, -1, NULL));
}

/* Is the error at the top one that a lack of memory explains? */
static bool is_fit(lua_State *L)
{
    const char *text = luaL_tolstring(L, -1, NULL);
    bool fit = strstr(text, "memory") || luaL_getmetafield(L, -2, "__name") != LUA_TNIL;
    if (!fit)
        print_error("an unfit error: %s\n", text);
    return fit;
}

/* Runs the function at the top of the stack, which stays, with the n-th allocation refused; true
 * when there was an n-th one. */
static bool run_refusing(lua_State *L, refusal_t *refusal, way_t way, long nth)
{
    *refusal = (refusal_t){.armed = true, .way = way, .nth = nth};
    lua_pushvalue(L, -1);
    int status = lua_pcall(L, 0, 0, 0);
    refusal->armed = false;
    bool reached = refusal->seen >= nth;
    if (status != LUA_OK) {
        if (!reached || !is_fit(L))
            fail_msg("%s at %ld: %s", way_names[way], nth, luaL_tolstring(L, -1, NULL));
        lua_settop(L, -2);
    }
    return reached;
}

static void run_whole(lua_State *L)
{
    lua_pushvalue(L, -1);
    must_be(L, lua_pcall(L, 0, 0, 0));
}

typedef struct {
    long lua_bytes, blocks;
} use_t;

/* What is in use after a whole run, when everything that can be collected was. */
static use_t use_of(lua_State *L)
{
    run_whole(L);
    lua_gc(L, LUA_GCCOLLECT);
    lua_gc(L, LUA_GCCOLLECT);
    long bytes = (long)lua_gc(L, LUA_GCCOUNT) * 1024 + lua_gc(L, LUA_GCCOUNTB);
    return (use_t){bytes, atomic_load(&live_blocks)};
}

/* Every n-th place is enough where a sanitizer makes each run slow. */
static long stride(void)
{
    const char *sanitizer = getenv("LEASEPOOL_SANITIZE");
    return !sanitizer ? 1 : strcmp(sanitizer, "address") == 0 ? 5 : 13;
}

/* The function at the top of the stack, with refusals everywhere. */
static void refuse_everywhere(lua_State *L, refusal_t *refusal)
{
    use_t before = {0}, after = {0};
    for (int i = 0; i < 4; i++)
        before = use_of(L);
    int top = lua_gettop(L);
    for (way_t way = 0; way < WAYS; way++) {
        long nth = 1;
        for (; run_refusing(L, refusal, way, nth); nth += stride()) {
            lua_settop(L, top);
            lua_gc(L, LUA_GCCOLLECT);
            if (nth % 16 == 0)
                run_whole(L);
        }
        lua_settop(L, top);
    }
    /* Managers that were forgotten end while the loop turns. Lists of slots and pools of spares
     * may have grown; a leak at each place is far more. */
    bool leaks = true;
    for (int i = 0; i < 50 && leaks; i++) {
        after = use_of(L);
        leaks =
            after.blocks > before.blocks + 100 || after.lua_bytes > before.lua_bytes + 32 * 1024;
    }
    if (leaks)
        fail_msg("%ld blocks and %ld bytes of Lua before, %ld and %ld after", before.blocks,
                 before.lua_bytes, after.blocks, after.lua_bytes);
}

static void run_scenario(const char *name)
{
    refusal_t refusal = {0};
    long blocks = atomic_load(&live_blocks);
    lua_State *L = open_state(&refusal);
    must_be(L, luaL_dofile(L, "spec/support/scenarios.lua"));
    lua_getfield(L, -1, name);
    assert_true(lua_isfunction(L, -1));
    refuse_everywhere(L, &refusal);
    lua_close(L);
    assert_int_equal(atomic_load(&live_blocks), blocks);
}

/* ---- Tests -------------------------------------------------------------------- */

static void leases_survive(void **state)
{
    (void)state;
    run_scenario("leases");
}

static void workers_and_logs_survive(void **state)
{
    (void)state;
    run_scenario("workers and logs");
}

static void waiters_survive(void **state)
{
    (void)state;
    run_scenario("waiters and several futures");
}

static void expiry_survives(void **state)
{
    (void)state;
    run_scenario("expiry");
}

/* Opens the module until it succeeds, in a state that has seen it fail. */
static void require_can_be_tried_again(void **state)
{
    (void)state;
    static const char again[] = "for name in pairs(package.loaded) do\n"
                                "  if name:find '^leasepool' then package.loaded[name] = nil end\n"
                                "end\n"
                                "return require 'leasepool'";
    static const char use[] = "local leasepool = ...\n"
                              "leasepool.run(function()\n"
                              "  local manager <close> = leasepool.manager{max_pools = 1}:start()\n"
                              "  local lease <close> = manager:acquire()\n"
                              "  leasepool.sleep(0)\n"
                              "  assert(lease:map(string.upper, {'a'})[1] == 'A')\n"
                              "end)";
    refusal_t refusal = {0};
    long blocks = atomic_load(&live_blocks);
    for (way_t way = COLLECT; way < WAYS; way++) {
        bool reached = true;
        for (long nth = 1; reached; nth += stride()) {
            lua_State *L = open_state(&refusal);
            must_be(L, luaL_loadstring(L, again));
            reached = run_refusing(L, &refusal, way, nth);
            lua_settop(L, 0);
            must_be(L, luaL_loadstring(L, use));
            must_be(L, luaL_dostring(L, again));
            lua_settop(L, 2);
            must_be(L, lua_pcall(L, 1, 0, 0));
            lua_close(L);
            assert_int_equal(atomic_load(&live_blocks), blocks);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(require_can_be_tried_again),
        cmocka_unit_test(leases_survive),
        cmocka_unit_test(expiry_survives),
        cmocka_unit_test(waiters_survive),
        cmocka_unit_test(workers_and_logs_survive),
    };
    lp_set_allocator(counted_malloc, counted_realloc, counted_calloc, counted_free);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
