/* program.c - the program `leasepool`: runs a script as the main coroutine of a runtime, and is the
 * worker program of its process backend.
 *
 * This half makes the Lua state, with this copy of the core, and turns the first SIGINT or SIGTERM
 * into an error in whatever Lua code runs: waits end, coroutines are cancelled, <close> variables
 * run. The second one ends the process at once. The other half, lua/leasepool/program.lua, reads
 * the arguments and runs the script. One thread; the handler runs on it. */
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "lua/command.h"
#include "lua/context.h"
#include "lua/module.h"
#include "lua/running.h"

#ifndef LEASEPOOL_PATH
#define LEASEPOOL_PATH "" /* where the Lua half is, from the program's folder */
#endif

/* ---- Signals ------------------------------------------------------------------ */

static lua_State *main_state;
static volatile sig_atomic_t received; /* the first signal; 0: none */
static volatile bool wanted;           /* it has not been raised yet */

static struct {
    int signum;
    bool handled;
} signals[] = {{SIGINT, false}, {SIGTERM, false}};

enum { SIGNAL_COUNT = sizeof signals / sizeof *signals };

static void stop_handling(void)
{
    for (int i = 0; i < SIGNAL_COUNT; i++)
        if (signals[i].handled)
            signal(signals[i].signum, SIG_DFL);
}

/* Raises where it comes first. In a coroutine that need not end the run: the hook of the main state
 * stays, which ends the wait of leasepool.run, and that cancels all coroutines. */
static void raise_interrupted(lua_State *L, lua_Debug *frame)
{
    (void)frame;
    lua_sethook(L, NULL, 0, 0);
    if (L != main_state && !wanted)
        return;
    wanted = false;
    lp__context_get(L)->ending = true;
    lua_pushliteral(L, "interrupted!");
    lua_error(L);
}

static bool is_wanted(const lp__running_t *running)
{
    (void)running;
    return wanted;
}

static lp__running_t running = {.hook = raise_interrupted, .wanted = is_wanted};

static void on_signal(int signum)
{
    stop_handling();
    received = signum;
    wanted = true;
    lua_sethook(main_state, raise_interrupted, LUA_MASKCOUNT, 1);
    lp__running_hook(&running);
}

/* What the parent has set to be ignored (nohup) is. */
static void handle_signals(void)
{
    struct sigaction action;
    for (int i = 0; i < SIGNAL_COUNT; i++) {
        if (sigaction(signals[i].signum, NULL, &action) != 0 || action.sa_handler == SIG_IGN)
            continue;
        memset(&action, 0, sizeof action);
        action.sa_handler = on_signal;
        signals[i].handled = true;
        sigaction(signals[i].signum, &action, NULL);
    }
}

/* failing(): the main coroutine fails, and the run with it. If it was interrupted, that is enough:
 * what its handlers wait for is not. */
static int failing(lua_State *L)
{
    (void)L;
    if (received && !wanted)
        lua_sethook(main_state, NULL, 0, 0);
    return 0;
}

static int on_end(lua_State *L)
{
    (void)L;
    stop_handling();
    return 0;
}

/* When the state closes, which os.exit can do too, this is collected last, as it is made first:
 * then there is nothing left to set a hook in. */
static void watch_end(lua_State *L)
{
    lua_newuserdatauv(L, 0, 0);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, on_end);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
}

/* ---- The state ---------------------------------------------------------------- */

/* -E anywhere before the script: nothing of the environment is looked at. */
static bool ignores_environment(int argc, char **argv)
{
    for (int i = 1; i < argc && argv[i][0] == '-' && argv[i][1] && strcmp(argv[i], "--") != 0;
         i++) {
        if (strcmp(argv[i], "-E") == 0)
            return true;
        if (strcmp(argv[i], "-e") == 0 || strcmp(argv[i], "-l") == 0)
            i++;
    }
    return false;
}

/* Takes the last part of a path off. */
static bool go_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

/* Pushes the folder of the Lua half, which has moved with the program if that was moved, and
 * returns true; false: this program is not installed. */
static bool push_folder(lua_State *L)
{
    char folder[4096];
    size_t size = sizeof folder;
    const char *path = LEASEPOOL_PATH;
    if (uv_exepath(folder, &size) != 0 || !go_up(folder))
        return false;
    for (; strncmp(path, "../", 3) == 0; path += 3)
        go_up(folder);
    if (path[0] == '/')
        lua_pushstring(L, path);
    else
        lua_pushfstring(L, "%s/%s", folder, path);
    const char *file = lua_pushfstring(L, "%s/leasepool/program.lua", lua_tostring(L, -1));
    bool found = access(file, R_OK) == 0;
    lua_pop(L, found ? 1 : 2);
    return found;
}

/* The program's own Lua half comes before all others: it is of the same version. */
static void add_path(lua_State *L)
{
    if (!push_folder(L))
        return;
    const char *folder = lua_tostring(L, -1);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", folder, folder, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 3);
}

static void open_libraries(lua_State *L, bool looks_at_environment)
{
    lua_pushboolean(L, !looks_at_environment);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_leasepool_core);
    lua_setfield(L, -2, "leasepool.core");
    lua_pop(L, 1);
    lua_pushliteral(L, LP__WORKER_OPTION); /* how this program starts its children */
    lua_setfield(L, LUA_REGISTRYINDEX, LP__WORKER_KEY);
    add_path(L);
}

/* A child of the process backend: runs a chunk, and nothing else. */
static int run_worker(lua_State *L, const char *chunk)
{
    open_libraries(L, false);
    if (luaL_loadbuffer(L, chunk, strlen(chunk), "=(worker)") != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 0);
    lua_pushinteger(L, EXIT_SUCCESS);
    return 1;
}

static void make_interruptible(lua_State *L)
{
    running.L = L;
    lp__running_open(L, &running);
    lp__context_get(L)->running = &running;
}

/* Protected. Stack: argc, argv. Returns the exit code. */
static int run(lua_State *L)
{
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);
    if (argc == 3 && strcmp(argv[1], LP__WORKER_OPTION) == 0)
        return run_worker(L, argv[2]);
    watch_end(L);
    open_libraries(L, !ignores_environment(argc, argv));
    make_interruptible(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "leasepool.program");
    lua_call(L, 1, 1);
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_pushboolean(L, isatty(STDIN_FILENO));
    lua_pushcfunction(L, failing);
    handle_signals();
    lua_call(L, 3, 1);
    return 1;
}

int main(int argc, char **argv)
{
    lua_State *L = main_state = luaL_newstate();
    if (!L) {
        fprintf(stderr, "leasepool: not enough memory\n");
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, run);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    int code = EXIT_FAILURE;
    if (lua_pcall(L, 2, 1, 0) == LUA_OK)
        code = (int)lua_tointeger(L, -1);
    else
        fprintf(stderr, "leasepool: %s\n", lua_tostring(L, -1));
    if (code != EXIT_SUCCESS && received) /* and not one that comes from here on */
        code = 128 + received;
    lua_close(L);
    return code;
}
