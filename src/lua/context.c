/* context.c - see context.h. */
#include "lua/context.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "lua/errors.h"
#include "lua/fiber.h"
#include "lua/job.h"
#include "lua/log.h"
#include "lua/state.h"
#include "lua/wait.h"
#include "lua/watcher.h"

static const char context_key;

/* ---- Life --------------------------------------------------------------------- */

static void on_runtime_closed(void *data)
{
    *(bool *)data = true;
}

/* The state closes: everything stops here, before any object of the module is freed. */
static int context_gc(lua_State *L)
{
    lp__context_t *ctx = lua_touserdata(L, 1);
    if (ctx->closed)
        return 0;
    ctx->closed = true;
    if (ctx->rt) {
        lp__runtime_abandon_turn(ctx->rt); /* os.exit in a callback */
        lp__wait_abandon_all(ctx);
        bool done = false;
        lp_runtime_close(ctx->rt, on_runtime_closed, &done);
        lp__drive_until(ctx, &done);
        ctx->rt = NULL;
        uv_loop_close(&ctx->loop);
    }
    if (ctx->lost_jobs > 0)
        lp__log(ctx, NULL, LP__WARN,
                "%" PRIu64 " jobs were lost: they had not ended when the state closed",
                ctx->lost_jobs);
    lp__fiber_forget_all(ctx);
    lp__job_free_spares(ctx);
    lp__watcher_free_spares(ctx);
    lp__free(ctx->free_slots);
    lp__free(ctx->path);
    lp__free(ctx->cpath);
    uv_mutex_destroy(&ctx->paths_lock);
    return 0;
}

lp__context_t *lp__context_get(lua_State *L)
{
    lp__context_t *ctx;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &context_key) == LUA_TUSERDATA) {
        ctx = lua_touserdata(L, -1);
        lua_pop(L, 1);
        return ctx;
    }
    lua_pop(L, 1);
    lp__codec_t *codec = lp__codec_new(L); /* made first, so finalised last */
    ctx = lua_newuserdatauv(L, sizeof *ctx, 0);
    memset(ctx, 0, sizeof *ctx);
    ctx->codec = codec;
    lp__state_t *state = lp__state_of(L);
    ctx->running = state ? &state->interrupt.running : NULL;
    lp__list_init(&ctx->fibers);
    lp__list_init(&ctx->parked);
    lua_createtable(L, 8, 0);
    ctx->anchors = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    ctx->L = lua_tothread(L, -1);
    lua_pop(L, 1);
    lp__wait_register(L, ctx);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, context_gc);
    lua_setfield(L, -2, "__gc");
    if (uv_mutex_init(&ctx->paths_lock) != 0)
        luaL_error(L, "leasepool: no mutex can be made");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX,
                &context_key); /* at last: should anything raise, not at all */
    return ctx;
}

/* Standard descriptors that are closed are opened on /dev/null: else the loop's own would
 * take their numbers, at which libuv aborts when it closes them. */
static void occupy_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
            return; /* no /dev/null */
}

/* What the core has to say goes where its manager's lines go. */
static void log_of_core(void *data, lp_manager_t *manager, lp_log_level_t level,
                        const char *message)
{
    lp__log(data, lp__log_of(manager), (lp__level_t)level, "%s", message);
}

lp_runtime_t *lp__context_runtime(lua_State *L, lp__context_t *ctx)
{
    if (ctx->rt && !ctx->closed)
        return ctx->rt;
    if (ctx->closed)
        lp__error_raise(L, LP_ENOTSTARTED, "leasepool: the Lua state is closing");
    if (!ctx->calls_L)
        lp__context_make_calls(L, ctx);
    occupy_standard_descriptors();
    int rc = uv_loop_init(&ctx->loop);
    if (rc != 0)
        luaL_error(L, "leasepool: no event loop can be made: %s", lp_strerror(rc));
    rc = lp_runtime_create(&ctx->rt, &ctx->loop);
    if (rc != 0) {
        ctx->rt = NULL;
        uv_loop_close(&ctx->loop);
        luaL_error(L, "leasepool: no runtime can be made: %s", lp_strerror(rc));
    }
    lp__runtime_set_driven(ctx->rt);
    lp_set_logger(ctx->rt, log_of_core, ctx);
    uv_run(&ctx->loop, UV_RUN_NOWAIT); /* before its first run a loop watches no descriptor */
    lp__runtime_set_runner(ctx->rt, lp__state_runner(), ctx);
    return ctx->rt;
}

/* ---- Userdata ----------------------------------------------------------------- */

void lp__context_register(lua_State *L, lp__context_t *ctx, lp__type_t type, const char *name,
                          const luaL_Reg *methods, lua_CFunction index, const luaL_Reg *meta)
{
    lua_newtable(L); /* the metatable */
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    lua_pushlightuserdata(L, ctx);
    luaL_setfuncs(L, meta, 1);
    lua_pushlightuserdata(L, ctx);
    lua_newtable(L); /* the methods */
    lua_pushlightuserdata(L, ctx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    luaL_setfuncs(L, methods, 2);
    if (index) {
        lua_pushcclosure(L, index, 2);
    } else {
        lua_remove(L, -2);
    }
    lua_setfield(L, -2, "__index");
    ctx->metatables[type] = lua_topointer(L, -1);
    ctx->metatable_refs[type] = luaL_ref(L, LUA_REGISTRYINDEX);
}

void lp__context_push_metatable(lua_State *L, lp__context_t *ctx, lp__type_t type)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->metatable_refs[type]);
}

void *lp__context_new(lua_State *L, lp__context_t *ctx, lp__type_t type, size_t size,
                      int user_values)
{
    void *block = lua_newuserdatauv(L, size, user_values);
    memset(block, 0, size);
    lp__context_push_metatable(L, ctx, type);
    lua_setmetatable(L, -2);
    return block;
}

void *lp__context_test(lua_State *L, lp__context_t *ctx, int index, lp__type_t type)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    bool same = lua_topointer(L, -1) == ctx->metatables[type];
    lua_pop(L, 1);
    return same ? lua_touserdata(L, index) : NULL;
}

void *lp__context_check(lua_State *L, lp__context_t *ctx, int index, lp__type_t type,
                        const char *what)
{
    static const char *const names[] = {
        [LP__TYPE_MANAGER] = "manager",      [LP__TYPE_LEASE] = "lease",
        [LP__TYPE_VIEW] = "view of a lease", [LP__TYPE_EXECUTOR] = "lease.executor",
        [LP__TYPE_GRINDER] = "grinder",      [LP__TYPE_GRINDER_VIEW] = "view of a grinder",
        [LP__TYPE_FUTURE] = "future"};
    void *block = lp__context_test(L, ctx, index, type);
    if (!block)
        lp__error_raise(L, LP_EINVAL,
                        "%s: argument %d: got %s, allowed: a %s (call it with a colon)", what,
                        index, luaL_typename(L, index), names[type]);
    return block;
}

/* ---- Paths for workers ------------------------------------------------------- */

static char *copy_field(lua_State *L, const char *field)
{
    size_t length;
    char *copy = NULL;
    lua_getfield(L, -1, field);
    const char *text = lua_tolstring(L, -1, &length);
    if (text && (copy = lp__malloc(LP_MEM_BINDING, length + 1)) != NULL)
        memcpy(copy, text, length + 1);
    lua_pop(L, 1);
    return copy;
}

void lp__context_capture_paths(lua_State *L, lp__context_t *ctx)
{
    char *path = NULL, *cpath = NULL;
    if (lua_getglobal(L, "package") == LUA_TTABLE) {
        path = copy_field(L, "path");
        cpath = copy_field(L, "cpath");
    }
    lua_pop(L, 1);
    uv_mutex_lock(&ctx->paths_lock);
    char *old_path = ctx->path, *old_cpath = ctx->cpath;
    ctx->path = path;
    ctx->cpath = cpath;
    uv_mutex_unlock(&ctx->paths_lock);
    lp__free(old_path);
    lp__free(old_cpath);
}
