/* setup.c - see setup.h. Loop thread. */
#include "lua/setup.h"

#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "core/backend.h"
#include "core/manager.h"
#include "lua/errors.h"
#include "lua/options.h"

/* Pushes the option; its type. */
static int push_option(lua_State *L, int options, const char *name)
{
    lua_pushstring(L, name);
    return lua_rawget(L, options);
}

static void setup_free(void *data)
{
    lp__setup_t *setup = data;
    lp__traits_release(setup->traits);
    lp__log_release(setup->log);
    lp__code_release(setup->code);
    lp__message_free(&setup->initargs);
    lp__free(setup);
}

/* ---- Lists -------------------------------------------------------------------- */

/* Is the key at `index` in a list of so many, or its `n`? What is in no place would be lost. */
static bool is_in_list(lua_State *L, int index, lua_Integer count)
{
    if (lua_isinteger(L, index))
        return lua_tointeger(L, index) >= 1 && lua_tointeger(L, index) <= count;
    return strcmp(lp__options_name(L, index), "n") == 0;
}

/* Pushes the elements of the list at the top, which is one if `n` (table.pack) or the border
 * says how long it is; returns how many. */
static int push_list(lua_State *L, const char *option)
{
    int list = lua_gettop(L);
    lua_Integer count = (lua_Integer)lua_rawlen(L, list);
    lua_pushliteral(L, "n");
    if (lua_rawget(L, list) != LUA_TNIL)
        count = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
    lua_settop(L, list);
    if (count < 0 || count > 1000000 || !lua_checkstack(L, (int)count + 8))
        lp__options_refuse(L, option, list);
    lua_pushnil(L);
    while (lua_next(L, list)) {
        if (!is_in_list(L, list + 1, count))
            lp__options_refuse(L, option, list);
        lua_settop(L, list + 1);
    }
    for (lua_Integer i = 1; i <= count; i++)
        lua_rawgeti(L, list, i);
    return (int)count;
}

/* ---- The initializer ---------------------------------------------------------- */

static void parse_initializer(lua_State *L, lp__context_t *ctx, int options, bool processes,
                              lp__setup_t *setup)
{
    int top = lua_gettop(L), nargs = 0;
    int type = push_option(L, options, "initializer");
    if (type != LUA_TNIL && type != LUA_TFUNCTION)
        lp__options_refuse(L, "initializer", top + 1);
    int list = push_option(L, options, "initargs");
    if (list != LUA_TNIL && list != LUA_TTABLE)
        lp__options_refuse(L, "initargs", top + 2);
    if (list == LUA_TTABLE && type == LUA_TNIL)
        lp__error_raise(L, LP_EINVAL, "initargs: got a list, allowed: nil without an initializer");
    if (type == LUA_TNIL) {
        lua_settop(L, top);
        return;
    }
    if (list == LUA_TTABLE)
        nargs = push_list(L, "initargs");
    lua_remove(L, top + 2);
    lp__codec_take_handles(ctx->codec, !processes);
    int rc = lp__encode_call(ctx->codec, L, top + 1, nargs, NULL, &setup->initargs, &setup->code);
    if (rc == LP_ETRANSFER) {
        size_t path_len = lp__codec_error_path_len(ctx->codec);
        const char *text = lp__codec_error(ctx->codec);
        lp__error_push(L, rc, "initializer: cannot transfer %s", text);
        if (path_len > 0) {
            lua_pushlstring(L, text, path_len);
            lua_setfield(L, -2, "path");
        }
        lua_error(L);
    }
    if (rc != 0)
        luaL_error(L, "initializer: %s", lp_strerror(rc));
    setup->has_initializer = true;
    lua_settop(L, top);
}

/* ---- Libraries ---------------------------------------------------------------- */

static void parse_libs(lua_State *L, int options, const lp_manager_t *manager, lp__setup_t *setup)
{
    int top = lua_gettop(L), list = top + 1;
    setup->libs = LP__LIBS_ALL;
    int type = push_option(L, options, "libs");
    if (type != LUA_TNIL && !manager->backend->fresh_states)
        lp__error_raise(L, LP_EINVAL, "libs: got %s, allowed: nil on the backend %s",
                        lp__options_show(L, list), manager->backend->name);
    if (type != LUA_TNIL && type != LUA_TTABLE)
        lp__options_refuse(L, "libs", list);
    if (type == LUA_TTABLE) {
        setup->libs = 0;
        int count = push_list(L, "libs");
        for (int i = 0; i < count; i++) {
            const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
            unsigned lib = lp__libs_find(name);
            if (lib == 0)
                lp__error_raise(L, LP_EINVAL, "libs: got %s, allowed: " LP__LIBS_NAMES,
                                lp__options_show(L, -1));
            setup->libs |= lib;
            lua_pop(L, 1);
        }
    }
    lua_settop(L, top);
}

/* ---- Logs --------------------------------------------------------------------- */

static void parse_forwarding(lua_State *L, int options, lp__setup_t *setup)
{
    int top = lua_gettop(L);
    setup->forwarded = LP__INFO;
    if (push_option(L, options, "log_level") != LUA_TNIL) {
        size_t length;
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
        if (!name || !lp__level_parse(name, length, &setup->forwarded))
            lp__options_refuse(L, "log_level", top + 1);
    }
    int type = push_option(L, options, "forward_logs");
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        lp__options_refuse(L, "forward_logs", top + 2);
    if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        setup->forwarded = LP__SILENCE;
    lua_settop(L, top);
}

void lp__setup_make(lua_State *L, lp__context_t *ctx, int options, int handle,
                    lp_manager_t *manager)
{
    lp__setup_t *setup = lp__calloc(LP_MEM_BINDING, sizeof *setup);
    if (!setup)
        luaL_error(L, "not enough memory");
    lp__message_init(&setup->initargs);
    manager->runner_data = setup;
    manager->runner_data_free = setup_free;
    parse_forwarding(L, options, setup);
    parse_libs(L, options, manager, setup);
    parse_initializer(L, ctx, options, manager->backend->processes, setup);
    lp__log_make(L, ctx, options, handle, &setup->log);
    setup->traits = lp__traits_new(ctx, setup->log);
    if (!setup->traits)
        luaL_error(L, "not enough memory");
    setup->traits->processes = manager->backend->processes;
    if (setup->forwarded < LP__WARN && !lp__log_calls(setup->log, true))
        setup->forwarded = LP__WARN; /* standard error shows no more */
}

lp__traits_t *lp__setup_traits(const lp_manager_t *manager)
{
    return ((const lp__setup_t *)manager->runner_data)->traits;
}
