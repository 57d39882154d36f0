/* lua_main.c - a small `lua`: runs a script with its arguments, or -e chunks.
 *
 * The sanitizer stages build it with -fsanitize, because an instrumented module needs an
 * instrumented host, and distributions ship none. */
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

int dlclose(void *handle);

/* Takes the place of libc's: a module stays mapped when its state closes, so that reports
 * at exit still name its functions, and what its globals point to is not a leak. */
__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

static lua_State *main_state;

static void raise_interrupted(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    luaL_error(L, "interrupted!");
}

static void on_sigint(int sig)
{
    signal(sig, SIG_DFL);
    lua_sethook(main_state, raise_interrupted,
                LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

static int fail(lua_State *L)
{
    fprintf(stderr, "lua_main: %s\n", lua_tostring(L, -1));
    lua_close(L);
    return 1;
}

/* Calls the chunk below `nargs` arguments. */
static int call(lua_State *L, int nargs)
{
    int base = lua_gettop(L) - nargs;
    lua_pushcfunction(L, traceback);
    lua_insert(L, base);
    signal(SIGINT, on_sigint);
    int rc = lua_pcall(L, nargs, 0, base);
    signal(SIGINT, SIG_DFL);
    lua_remove(L, base);
    return rc;
}

int main(int argc, char **argv)
{
    lua_State *L = main_state = luaL_newstate();
    if (!L)
        return 1;
    luaL_openlibs(L);

    int script = argc > 1 && !strcmp(argv[1], "-E") ? 2 : 1; /* the environment is not looked at */
    for (; script + 1 < argc && !strcmp(argv[script], "-e"); script += 2)
        if (luaL_loadbuffer(L, argv[script + 1], strlen(argv[script + 1]), "=(command line)") ||
            call(L, 0))
            return fail(L);

    if (script < argc) {
        lua_createtable(L, argc, 1);
        for (int i = 0; i < argc; i++) {
            lua_pushstring(L, argv[i]);
            lua_rawseti(L, -2, i - script);
        }
        lua_setglobal(L, "arg");

        const char *path = strcmp(argv[script], "-") ? argv[script] : NULL; /* NULL: stdin */
        int rc = luaL_loadfile(L, path);
        for (int i = script + 1; i < argc; i++)
            lua_pushstring(L, argv[i]);
        if (rc || call(L, argc - script - 1))
            return fail(L);
    }
    lua_close(L);
    return 0;
}
