/* codec_testing.c - what specs need to try the codec: two states in one thread, and damage.
 *
 * `require("leasepool.core").testing.codec`. Not part of the interface. All of it runs on
 * the thread of the calling state; the second state is made here and closed here. */
#include "lua/codec_testing.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "leasepool.h"
#include "lua/codec.h"
#include "wire/reader.h"

static const char bench_name[] = "leasepool.testing.bench";

/* Everything that must be freed however a helper ends. */
typedef struct {
    lua_State *peer; /* the second state */
    size_t used, peak;
    uint64_t fail_in; /* this many allocations of the peer from now, memory ends; 0: never */
    bool exhausted;   /* it has; once is not enough, as Lua collects garbage and tries again */
    lp__message_t there, back;
    lp__code_t *code;
    uint8_t *copy; /* a damaged message, in a block of just its size */
} bench_t;

static void *counting_alloc(void *ud, void *block, size_t old, size_t size)
{
    bench_t *bench = ud;
    if (!block)
        old = 0;
    if (size == 0) {
        free(block);
        bench->used -= old;
        return NULL;
    }
    bool growing = size > old;
    if (growing && bench->fail_in > 0 && --bench->fail_in == 0)
        bench->exhausted = true;
    if (growing && bench->exhausted)
        return NULL;
    void *moved = realloc(block, size);
    if (moved) {
        bench->used += size - old;
        if (bench->used > bench->peak)
            bench->peak = bench->used;
    }
    return moved;
}

static int bench_gc(lua_State *L)
{
    bench_t *bench = lua_touserdata(L, 1);
    if (bench->peer)
        lua_close(bench->peer);
    bench->peer = NULL;
    lp__message_free(&bench->there);
    lp__message_free(&bench->back);
    lp__code_release(bench->code);
    bench->code = NULL;
    free(bench->copy);
    bench->copy = NULL;
    return 0;
}

/* Pushes a bench, which closes itself when the caller's `<close>` or the collector says. */
static bench_t *bench_new(lua_State *L)
{
    bench_t *bench = lua_newuserdatauv(L, sizeof *bench, 0);
    memset(bench, 0, sizeof *bench);
    lp__message_init(&bench->there);
    lp__message_init(&bench->back);
    if (luaL_newmetatable(L, bench_name)) {
        lua_pushcfunction(L, bench_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, bench_gc);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, -1);
    return bench;
}

static void copy_path(lua_State *from, lua_State *to, const char *field)
{
    lua_getglobal(from, "package");
    lua_getfield(from, -1, field);
    lua_getglobal(to, "package");
    lua_pushstring(to, lua_tostring(from, -1));
    lua_setfield(to, -2, field);
    lua_pop(to, 1);
    lua_pop(from, 2);
}

static void open_peer(lua_State *L, bench_t *bench)
{
    bench->peer = lua_newstate(counting_alloc, bench);
    if (!bench->peer)
        luaL_error(L, "out of memory");
    luaL_openlibs(bench->peer);
    copy_path(L, bench->peer, "path");
    copy_path(L, bench->peer, "cpath");
    lp__codec_new(bench->peer);
}

/* Raises what the codec of `of` says about `rc`. */
static int raise_codec_error(lua_State *L, lua_State *of, int rc)
{
    lua_pushstring(L, rc == LP_ETRANSFER ? lp__codec_error(lp__codec_new(of)) : lp_strerror(rc));
    return lua_error(L);
}

/* ---- transfer(...) -> ...: to a second state and back ---- */

static int transfer(lua_State *L)
{
    lp__codec_t *codec = lp__codec_new(L);
    int count = lua_gettop(L);
    bench_t *bench = bench_new(L);
    open_peer(L, bench);
    lp__codec_t *peer_codec = lp__codec_new(bench->peer);

    int rc = lp__encode_values(codec, L, 1, count, "arg", &bench->there);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    rc = lp__decode_values(peer_codec, bench->peer, &bench->there);
    if (rc >= 0)
        rc = lp__encode_values(peer_codec, bench->peer, 1, rc, "result", &bench->back);
    if (rc < 0)
        return raise_codec_error(L, bench->peer, rc);
    rc = lp__decode_values(codec, L, &bench->back);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    return rc;
}

/* ---- transfer_call(fn, ...) -> ...: runs there; raises the error as a string ---- */

static int run_call(lua_State *peer)
{
    bench_t *bench = lua_touserdata(peer, 1);
    lp__codec_t *codec = lp__codec_new(peer);
    lua_settop(peer, 0);
    int rc = bench->code ? lp__push_code(codec, peer, bench->code) : 0;
    if (rc == 0)
        rc = lp__decode_values(codec, peer, &bench->there);
    if (rc < 0)
        return raise_codec_error(peer, peer, rc);
    lua_call(peer, lua_gettop(peer) - 1, LUA_MULTRET);
    rc = lp__encode_values(codec, peer, 1, lua_gettop(peer), "result", &bench->back);
    if (rc < 0)
        return raise_codec_error(peer, peer, rc);
    return 0;
}

static void call_in_peer(lua_State *L, bench_t *bench)
{
    lua_pushcfunction(bench->peer, run_call);
    lua_pushlightuserdata(bench->peer, bench);
    if (lua_pcall(bench->peer, 1, 0, 0) != LUA_OK) {
        lua_pushstring(L, luaL_tolstring(bench->peer, -1, NULL));
        lua_error(L);
    }
}

static int transfer_call(lua_State *L)
{
    lp__codec_t *codec = lp__codec_new(L);
    int count = lua_gettop(L);
    luaL_checkany(L, 1);
    bench_t *bench = bench_new(L);
    open_peer(L, bench);
    int rc = lp__encode_call(codec, L, 1, count - 1, NULL, &bench->there, &bench->code);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    call_in_peer(L, bench);
    rc = lp__decode_values(codec, L, &bench->back);
    return rc < 0 ? raise_codec_error(L, L, rc) : rc;
}

/* ---- call_kind(fn) -> "code" | "reference" | "message", bytes, inline ---- */

static int call_kind(lua_State *L)
{
    int count = lua_gettop(L);
    bench_t *bench = bench_new(L);
    int rc = lp__encode_call(lp__codec_new(L), L, 1, count - 1, NULL, &bench->there, &bench->code);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    lua_pushstring(L, !bench->code                             ? "message"
                      : bench->code->kind == LP__CODE_BYTECODE ? "code"
                                                               : "reference");
    lua_pushinteger(L, bench->there.len);
    lua_pushboolean(L, bench->there.data == bench->there.small);
    lua_pushinteger(L, bench->code ? (lua_Integer)bench->code->id : 0);
    return 4;
}

/* ---- session() -> a function(fn, ...) like transfer_call, always with the same peer ---- */

static int session_call(lua_State *L)
{
    bench_t *bench = lua_touserdata(L, lua_upvalueindex(1));
    lp__codec_t *codec = lp__codec_new(L);
    luaL_checkany(L, 1);
    lp__code_release(bench->code);
    bench->code = NULL;
    int rc = lp__encode_call(codec, L, 1, lua_gettop(L) - 1, NULL, &bench->there, &bench->code);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    call_in_peer(L, bench);
    rc = lp__decode_values(codec, L, &bench->back);
    return rc < 0 ? raise_codec_error(L, L, rc) : rc;
}

static int session(lua_State *L)
{
    bench_t *bench = lua_newuserdatauv(L, sizeof *bench, 0);
    memset(bench, 0, sizeof *bench);
    lp__message_init(&bench->there);
    lp__message_init(&bench->back);
    luaL_getmetatable(L, bench_name);
    lua_setmetatable(L, -2);
    open_peer(L, bench);
    lua_pushcclosure(L, session_call, 1);
    return 1;
}

/* ---- encode(...) -> bytes; decode(bytes, ...) -> ... or nil, message; check(bytes) ----
 *
 * Behind what it decodes `decode` takes values, from whose message the attached objects are. */

static int encode(lua_State *L)
{
    int count = lua_gettop(L);
    bench_t *bench = bench_new(L);
    int rc = lp__encode_values(lp__codec_new(L), L, 1, count, "arg", &bench->there);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    lua_pushlstring(L, (const char *)bench->there.data, bench->there.len);
    return 1;
}

static int decode(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    int count = lua_gettop(L) - 1;
    bench_t *bench = bench_new(L);
    if (lp__encode_values(lp__codec_new(L), L, 2, count, "arg", &bench->there) != 0)
        return luaL_error(L, "the values cannot travel");
    bench->there.len = 0;
    if (lp__message_reserve(&bench->there, len) != 0)
        return luaL_error(L, "out of memory");
    memcpy(bench->there.data, bytes, len);
    bench->there.len = (uint32_t)len;
    int rc = lp__decode_values(lp__codec_new(L), L, &bench->there);
    if (rc >= 0)
        return rc;
    lua_pushnil(L);
    lua_pushstring(L, lp__codec_error(lp__codec_new(L)));
    return 2;
}

static int check(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    uint32_t attached = (uint32_t)luaL_optinteger(L, 2, 0);
    lua_pushboolean(L, lp__wire_check((const uint8_t *)bytes, len, attached) == 0);
    return 1;
}

/* ---- check_damage(...) -> { accepted, refused, raised, disagreed, base, peak, bytes } ---- */

typedef struct {
    bench_t *bench;
    lp__message_t *damaged;
    int rc;
} attempt_t;

static int attempt_protected(lua_State *peer)
{
    attempt_t *attempt = lua_touserdata(peer, 1);
    lua_settop(peer, 0);
    attempt->rc = lp__decode_values(lp__codec_new(peer), peer, attempt->damaged);
    if (attempt->rc < 0 && lua_gettop(peer) != 0)
        return luaL_error(peer, "the stack was left as it should not be");
    return 0;
}

typedef struct {
    lua_Integer accepted, refused, raised, disagreed;
} tally_t;

/* Decodes the first `len` bytes, with bit `bit` flipped unless it is negative. */
static void attempt(lua_State *L, bench_t *bench, uint32_t len, long bit, tally_t *tally)
{
    lp__message_t damaged = bench->there; /* with its attachments */
    free(bench->copy);
    bench->copy = malloc(len ? len : 1); /* exact, so that a sanitizer sees one byte too far */
    if (!bench->copy)
        luaL_error(L, "out of memory");
    memcpy(bench->copy, bench->there.data, len);
    if (bit >= 0)
        bench->copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    damaged.data = bench->copy;
    damaged.len = damaged.cap = len;

    attempt_t attempt = {bench, &damaged, 0};
    lua_State *peer = bench->peer;
    lua_pushcfunction(peer, attempt_protected);
    lua_pushlightuserdata(peer, &attempt);
    if (lua_pcall(peer, 1, 0, 0) != LUA_OK)
        tally->raised++;
    else if (attempt.rc < 0)
        tally->refused++;
    else
        tally->accepted++;
    lua_settop(peer, 0);
    /* What decodes must pass the walk without Lua too. */
    uint32_t attached = damaged.attached ? damaged.attached->count : 0;
    if (attempt.rc >= 0 && lp__wire_check(damaged.data, len, attached) != 0)
        tally->disagreed++;
}

static int check_damage(lua_State *L)
{
    int count = lua_gettop(L);
    bench_t *bench = bench_new(L);
    open_peer(L, bench);
    int rc = lp__encode_values(lp__codec_new(L), L, 1, count, "arg", &bench->there);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    /* Undamaged first: it loads the modules, which is not what is measured. */
    tally_t tally = {0, 0, 0, 0};
    attempt(L, bench, bench->there.len, -1, &tally);
    if (tally.accepted != 1)
        return luaL_error(L, "the undamaged message was refused");
    memset(&tally, 0, sizeof tally);
    lua_gc(bench->peer, LUA_GCCOLLECT);
    size_t base = bench->peak = bench->used;

    for (uint32_t len = 0; len < bench->there.len; len++)
        attempt(L, bench, len, -1, &tally);
    lua_Integer prefixes = tally.accepted;
    for (long bit = 0; bit < (long)bench->there.len * 8; bit++) {
        attempt(L, bench, bench->there.len, bit, &tally);
        if (bit % 256 == 0)
            lua_gc(bench->peer, LUA_GCCOLLECT);
    }

    lua_createtable(L, 0, 8);
    lua_pushinteger(L, tally.accepted);
    lua_setfield(L, -2, "accepted");
    lua_pushinteger(L, tally.refused);
    lua_setfield(L, -2, "refused");
    lua_pushinteger(L, tally.raised);
    lua_setfield(L, -2, "raised");
    lua_pushinteger(L, tally.disagreed);
    lua_setfield(L, -2, "disagreed");
    lua_pushinteger(L, prefixes);
    lua_setfield(L, -2, "accepted_prefixes");
    lua_pushinteger(L, (lua_Integer)base);
    lua_setfield(L, -2, "base");
    lua_pushinteger(L, (lua_Integer)bench->peak);
    lua_setfield(L, -2, "peak");
    lua_pushinteger(L, bench->there.len);
    lua_setfield(L, -2, "bytes");
    return 1;
}

/* ---- check_memory(kind, ...) -> how many allocations were made to fail, one at a time ----
 *
 * Kinds: "wire" and "binding" (leasepool's own), "lua" (the peer's). Each round sends the
 * values to a new state and back. A round with a failure must end in LP_ENOMEM or in Lua's
 * own error, and the same codec must then do the same work. */

static int there_and_back(lua_State *peer)
{
    attempt_t *attempt = lua_touserdata(peer, 1);
    bench_t *bench = attempt->bench;
    lua_settop(peer, 0);
    lp__codec_t *codec = lp__codec_new(peer);
    lp__code_release(bench->code);
    bench->code = NULL;
    attempt->rc = lp__decode_values(codec, peer, &bench->there);
    if (attempt->rc > 0 && lua_isfunction(peer, 1))
        attempt->rc =
            lp__encode_call(codec, peer, 1, attempt->rc - 1, NULL, &bench->back, &bench->code);
    else if (attempt->rc >= 0)
        attempt->rc = lp__encode_values(codec, peer, 1, attempt->rc, "result", &bench->back);
    if (attempt->rc == 0 && bench->code)
        attempt->rc = lp__push_code(codec, peer, bench->code);
    return 0;
}

/* 0, LP_ENOMEM (also when Lua raised it), or what else went wrong. */
static int try_there_and_back(bench_t *bench)
{
    attempt_t attempt = {bench, NULL, 0};
    lua_State *peer = bench->peer;
    lua_settop(peer, 0);
    lua_pushcfunction(peer, there_and_back);
    lua_pushlightuserdata(peer, &attempt);
    int status = lua_pcall(peer, 1, 0, 0);
    return status == LUA_OK ? attempt.rc : status == LUA_ERRMEM ? LP_ENOMEM : LP_EJOB;
}

static int check_memory(lua_State *L)
{
    static const char *const kinds[] = {"wire", "binding", "lua", NULL};
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    int count = lua_gettop(L) - 1;
    bench_t *bench = bench_new(L);
    int rc = lp__encode_values(lp__codec_new(L), L, 2, count, "arg", &bench->there);
    if (rc < 0)
        return raise_codec_error(L, L, rc);
    lua_Integer failed = 0;
    for (uint64_t nth = 1;; nth++) {
        open_peer(L, bench);
        lp__message_free(&bench->back);
        if (kind == 2)
            bench->fail_in = nth;
        else
            lp__alloc_fault_arm(kind == 0 ? LP_MEM_WIRE : LP_MEM_BINDING, LP_ROLE_LOOP, nth);
        rc = try_there_and_back(bench);
        bool reached = kind == 2 ? bench->exhausted : lp__alloc_fault_seen() >= nth;
        bench->fail_in = 0;
        bench->exhausted = false;
        lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
        if (rc != 0 && !(reached && rc == LP_ENOMEM))
            return luaL_error(L, "allocation %d: %s", (int)nth, lp_err_name(rc));
        failed += rc != 0;
        if ((rc = try_there_and_back(bench)) != 0)
            return luaL_error(L, "after allocation %d: %s", (int)nth, lp_err_name(rc));
        lp__code_release(bench->code);
        bench->code = NULL;
        lua_close(bench->peer);
        bench->peer = NULL;
        if (!reached)
            break;
    }
    lua_pushinteger(L, failed);
    return 1;
}

/* decode_memory(bytes) -> peak growth of a state that decodes them, accepted */
static int decode_memory(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    bench_t *bench = bench_new(L);
    open_peer(L, bench);
    if (lp__message_reserve(&bench->there, len) != 0)
        return luaL_error(L, "out of memory");
    memcpy(bench->there.data, bytes, len);
    bench->there.len = (uint32_t)len;
    lua_gc(bench->peer, LUA_GCCOLLECT);
    size_t base = bench->peak = bench->used;
    tally_t tally = {0, 0, 0, 0};
    attempt(L, bench, (uint32_t)len, -1, &tally);
    lua_pushinteger(L, (lua_Integer)(bench->peak - base));
    lua_pushboolean(L, tally.accepted == 1);
    return 2;
}

int lp__codec_testing_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"transfer", transfer},
        {"transfer_call", transfer_call},
        {"session", session},
        {"call_kind", call_kind},
        {"encode", encode},
        {"decode", decode},
        {"check", check},
        {"check_damage", check_damage},
        {"check_memory", check_memory},
        {"decode_memory", decode_memory},
        {NULL, NULL},
    };
    if (luaL_newmetatable(L, bench_name)) {
        lua_pushcfunction(L, bench_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, bench_gc);
        lua_setfield(L, -2, "__close");
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}
