/* encode.c - values of the sender's state to a message. Runs on the thread of that state,
 * runs no Lua code, and leaves nothing behind when Lua's memory error passes through.
 *
 * One pass over each table: its header is left open, elements are appended without keys as
 * long as lua_next gives 1, 2, 3 .., and what follows goes into a map (wire/format.h).
 *
 * Where the encoder is in a value is told by places on the C stack (lua/path.h): they cost
 * next to nothing until something cannot travel. */
#include <stdio.h>
#include <string.h>

#include "lua/codec_internal.h"
#include "lua/errors.h"
#include "lua/handle.h"
#include "lua/path.h"
#include "wire/writer.h"

typedef struct {
    lp__codec_t *codec;
    lua_State *L;
    lp__message_t *message;
    const char *what;
    const lp__slice_t *slice; /* of the first argument; NULL: the whole */
    uint32_t objects, cells;
    uint32_t generation;
    uint8_t flags;
    bool sends_code, takes_handles;
    bool explained; /* the codec's error text is about this message */
} encoder_t;

static int encode_value(encoder_t *e, int index, unsigned depth, const lp__place_t *up);

/* Refuses what lies at `place` for this reason. */
static int fail(encoder_t *e, const lp__place_t *place, const char *reason)
{
    e->explained = true;
    return lp__path_fail(e->codec, e->L, e->what, place, reason, NULL);
}

/* Refuses the value at `index`, which lies at `place`, for what it is. */
static int refuse(encoder_t *e, int index, const lp__place_t *place)
{
    e->explained = true;
    return lp__path_refuse(e->codec, e->L, e->what, place, index);
}

static inline bool seen_find(const encoder_t *e, const void *key, uint32_t *number)
{
    return lp__seen_find(&e->codec->seen, key, e->generation, number);
}

/* Numbers a new object or cell: `counter` is where those are counted. */
static inline int seen_add(encoder_t *e, const void *key, uint32_t *counter)
{
    uint32_t used = e->objects + e->cells;
    return lp__seen_add(&e->codec->seen, key, e->generation, (*counter)++, used);
}

/* ---- Tables ---- */

static inline int encode_string(encoder_t *e, int index)
{
    size_t len;
    const char *bytes = lua_tolstring(e->L, index, &len);
    return lp__write_string(e->message, bytes, len);
}

static inline int encode_number(encoder_t *e, int index)
{
    if (lua_isinteger(e->L, index))
        return lp__write_int(e->message, lua_tointegerx(e->L, index, NULL));
    return lp__write_float(e->message, lua_tonumberx(e->L, index, NULL));
}

/* The pairs from the one on the stack (key at `key`, value above it) to the last. */
static int encode_pairs(encoder_t *e, int table, int key, unsigned depth, lp__place_t *place)
{
    lua_State *L = e->L;
    uint32_t at, count = 0;
    int rc = lp__write_table_open(e->message, &at);
    if (rc != 0)
        return rc;
    do {
        if (lua_type(L, key) == LUA_TSTRING) {
            rc = encode_string(e, key);
        } else {
            place->in_key = true;
            rc = encode_value(e, key, depth, place);
            place->in_key = false;
        }
        if (rc != 0 || (rc = encode_value(e, key + 1, depth, place)) != 0)
            return rc;
        count++;
        lua_settop(L, key);
    } while (lua_next(L, table));
    lp__write_map_close(e->message, at, count);
    return 0;
}

/* The same, as the last element of the array opened at `at`. */
static int encode_tail(encoder_t *e, int table, int key, unsigned depth, lp__place_t *place)
{
    uint32_t ext;
    int rc = lp__write_ext_open(e->message, LP__EXT_TAIL, &ext);
    if (rc == 0)
        rc = encode_pairs(e, table, key, depth, place);
    if (rc == 0)
        lp__write_ext_close(e->message, ext);
    return rc;
}

/* The content of a table, whose first pair lies on the stack as above. */
static int encode_fields(encoder_t *e, int table, unsigned depth, const lp__place_t *up)
{
    lua_State *L = e->L;
    int key = lua_gettop(L) - 1;
    lp__place_t place = {.up = up, .kind = LP__PLACE_TABLE, .index = key};
    if (!lua_isinteger(L, key) || lua_tointegerx(L, key, NULL) != 1)
        return encode_pairs(e, table, key, depth, &place);

    uint32_t at, count = 0;
    int rc = lp__write_table_open(e->message, &at);
    if (rc != 0)
        return rc;
    do {
        int type = lua_type(L, key + 1);
        if (type == LUA_TNUMBER)
            rc = encode_number(e, key + 1);
        else if (type == LUA_TSTRING)
            rc = encode_string(e, key + 1);
        else
            rc = encode_value(e, key + 1, depth, &place);
        if (rc != 0)
            return rc;
        count++;
        lua_settop(L, key);
        if (!lua_next(L, table)) {
            lp__write_array_close(e->message, at, count);
            return 0;
        }
    } while (lua_tointegerx(L, key, NULL) == (lua_Integer)count + 1 && lua_isinteger(L, key));

    rc = encode_tail(e, table, key, depth, &place);
    if (rc == 0)
        lp__write_array_close(e->message, at, count + 1);
    return rc;
}

static int write_module(encoder_t *e, const char *module, size_t module_len, const char *key,
                        size_t key_len)
{
    uint32_t ext;
    int rc = lp__write_ext_open(e->message, LP__EXT_MODULE, &ext);
    if (rc == 0)
        rc = lp__write_string(e->message, module, module_len);
    if (rc == 0)
        rc = key ? lp__write_string(e->message, key, key_len) : lp__write_nil(e->message);
    if (rc == 0)
        lp__write_ext_close(e->message, ext);
    return rc;
}

/* 1 when the table is a module's and was written as such; 0, or an error. */
static int encode_as_module(encoder_t *e, int index)
{
    lp__module_name_t name;
    int rc = lp__modules_find(&e->codec->modules, e->L, index, e->generation, false, &name);
    if (rc <= 0)
        return rc;
    rc = write_module(e, name.module, name.module_len, name.key, name.key_len);
    return rc == 0 ? 1 : rc;
}

/* A table with a metatable: one of our errors, a module's, or refused. */
static int encode_special(encoder_t *e, int index, unsigned depth, const lp__place_t *up)
{
    lua_State *L = e->L;
    const char *class = lp__error_class(L, index);
    if (!class) {
        int rc = encode_as_module(e, index);
        return rc == 0 ? refuse(e, index, up) : rc < 0 ? rc : 0;
    }
    uint32_t ext;
    int rc = seen_add(e, lua_topointer(L, index), &e->objects);
    if (rc == 0)
        rc = lp__write_ext_open(e->message, LP__EXT_ERROR, &ext);
    if (rc == 0)
        rc = lp__write_string(e->message, class, strlen(class));
    if (rc != 0)
        return rc;
    lua_pushnil(L);
    rc = lua_next(L, index) ? encode_fields(e, index, depth + 1, up)
                            : lp__write_empty_table(e->message);
    if (rc == 0)
        lp__write_ext_close(e->message, ext);
    return rc;
}

/* May the table be a module's? Data in the form of a list never is: a walk over
 * package.loaded for each of them would cost more than the table. */
static bool is_list(lua_State *L, int table, int key)
{
    if (lua_isinteger(L, key) && lua_tointegerx(L, key, NULL) == 1)
        return true;
    bool yes = lua_rawgeti(L, table, 1) != LUA_TNIL;
    lua_pop(L, 1);
    return yes;
}

static int too_deep(encoder_t *e, const lp__place_t *up)
{
    char reason[48];
    snprintf(reason, sizeof reason, "nested more than %d levels deep", LP__WIRE_MAX_DEPTH);
    return fail(e, up, reason);
}

static int encode_table(encoder_t *e, int index, unsigned depth, const lp__place_t *up)
{
    lua_State *L = e->L;
    uint32_t number;
    const void *address = lua_topointer(L, index);
    if (seen_find(e, address, &number)) {
        e->flags |= LP__WIRE_REFS;
        return lp__write_ext_number(e->message, LP__EXT_REF, number);
    }
    if (!lua_checkstack(L, 12))
        return LP_ENOMEM;
    if (depth >= LP__WIRE_MAX_DEPTH)
        return too_deep(e, up);
    int top = lua_gettop(L);
    if (lua_getmetatable(L, index)) {
        lua_settop(L, top);
        int rc = encode_special(e, index, depth, up);
        lua_settop(L, top);
        return rc;
    }
    lua_pushnil(L);
    bool empty = !lua_next(L, index);
    if (empty || !is_list(L, index, top + 1)) {
        int rc = encode_as_module(e, index);
        if (rc != 0) {
            lua_settop(L, top);
            return rc < 0 ? rc : 0;
        }
    }
    int rc = seen_add(e, address, &e->objects);
    if (rc == 0)
        rc = empty ? lp__write_empty_table(e->message) : encode_fields(e, index, depth + 1, up);
    lua_settop(L, top);
    return rc;
}

/* ---- Functions ---- */

static int encode_upvalue(encoder_t *e, int function, int n, unsigned depth, const lp__place_t *up)
{
    uint32_t number;
    const void *cell = lua_upvalueid(e->L, function, n);
    if (seen_find(e, cell, &number)) {
        e->flags |= LP__WIRE_CELLS;
        return lp__write_ext_number(e->message, LP__EXT_CELL, number);
    }
    int rc = seen_add(e, cell, &e->cells);
    if (rc != 0)
        return rc;
    lp__place_t place = {.up = up, .kind = LP__PLACE_UPVALUE, .index = function, .number = n};
    lua_getupvalue(e->L, function, n);
    rc = encode_value(e, lua_gettop(e->L), depth, &place);
    lua_pop(e->L, 1);
    return rc;
}

/* Writes a function whose code is known; `code` may go once anything else is encoded, but
 * not while the message holds it. */
static int encode_closure(encoder_t *e, int index, lp__code_t *code, unsigned depth,
                          const lp__place_t *up)
{
    if (depth >= LP__WIRE_MAX_DEPTH)
        return too_deep(e, up);
    uint32_t ext, attached;
    int rc = lp__message_attach(e->message, &code->shared, &attached);
    if (rc == 0)
        rc = seen_add(e, lua_topointer(e->L, index), &e->objects);
    if (rc == 0 && code->travelling == 0)
        return lp__write_ext_number(e->message, LP__EXT_FUNCTION, attached);
    if (rc == 0)
        rc = lp__write_ext_open(e->message, LP__EXT_FUNCTION, &ext);
    if (rc == 0)
        rc = lp__write_int(e->message, attached);
    for (int n = 1; rc == 0 && n <= code->upvalues; n++)
        if (!lp__code_is_globals(code, n))
            rc = encode_upvalue(e, index, n, depth + 1, up);
    if (rc == 0)
        lp__write_ext_close(e->message, ext);
    return rc;
}

static int encode_function(encoder_t *e, int index, unsigned depth, const lp__place_t *up)
{
    uint32_t number;
    if (seen_find(e, lua_topointer(e->L, index), &number)) {
        e->flags |= LP__WIRE_REFS;
        return lp__write_ext_number(e->message, LP__EXT_REF, number);
    }
    if (!lua_checkstack(e->L, 12))
        return LP_ENOMEM;
    lp__code_t *code;
    int rc = lp__code_of(e->codec, e->L, index, &code);
    if (rc != 0)
        return rc == LP_ETRANSFER ? refuse(e, index, up) : rc;
    if (code->kind == LP__CODE_REFERENCE)
        return write_module(e, code->module, code->module_len, code->key, code->key_len);
    if (!e->sends_code)
        return fail(e, up, "function, and a child process sends no code");
    return encode_closure(e, index, code, depth, up);
}

/* ---- Handles ---- */

static int encode_userdata(encoder_t *e, int index, const lp__place_t *up)
{
    uint32_t attached;
    lp_handle_t *handle;
    if (!lua_checkstack(e->L, 4))
        return LP_ENOMEM;
    int rc = lp__handle_find(e->L, index, &handle);
    if (rc == 0 && !handle)
        return refuse(e, index, up);
    if (rc == 0 && !e->takes_handles)
        rc = fail(e, up,
                  handle->of == LP__HANDLE_OF_GRINDER
                      ? "grinder, which a child process cannot have"
                      : "manager, which a child process cannot have");
    if (rc == 0)
        rc = lp__message_attach(e->message, &handle->shared, &attached);
    lp_handle_release(handle);
    return rc == 0 ? lp__write_ext_number(e->message, LP__EXT_HANDLE, attached) : rc;
}

/* ---- Values ---- */

/* `index` is absolute. `depth` says in how many tables and functions the value lies. */
static int encode_value(encoder_t *e, int index, unsigned depth, const lp__place_t *up)
{
    switch (lua_type(e->L, index)) {
    case LUA_TNIL:
        return lp__write_nil(e->message);
    case LUA_TBOOLEAN:
        return lp__write_bool(e->message, lua_toboolean(e->L, index) != 0);
    case LUA_TNUMBER:
        return encode_number(e, index);
    case LUA_TSTRING:
        return encode_string(e, index);
    case LUA_TTABLE:
        return encode_table(e, index, depth, up);
    case LUA_TFUNCTION:
        return encode_function(e, index, depth, up);
    case LUA_TUSERDATA:
        return encode_userdata(e, index, up);
    default:
        return lua_checkstack(e->L, 4) ? refuse(e, index, up) : LP_ENOMEM;
    }
}

/* Elements of the list at `table`, as a list of their own. Inlined it would cost every other
 * message 20 instructions. */
__attribute__((noinline)) static int encode_slice(encoder_t *e, int table, const lp__place_t *up)
{
    lua_State *L = e->L;
    uint32_t at, count = (uint32_t)e->slice->count;
    if (!lua_checkstack(L, 12))
        return LP_ENOMEM;
    lua_pushnil(L); /* the key, for who asks where an element lies */
    int key = lua_gettop(L);
    lp__place_t place = {.up = up, .kind = LP__PLACE_TABLE, .index = key};
    int rc = seen_add(e, e, &e->objects); /* an object that the sender does not have */
    if (rc == 0)
        rc = lp__write_table_open(e->message, &at);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        int type = lua_rawgeti(L, table, e->slice->first + i);
        if (type == LUA_TNUMBER) {
            rc = encode_number(e, key + 1);
        } else {
            lua_pushinteger(L, (lua_Integer)i + 1);
            lua_replace(L, key);
            rc = encode_value(e, key + 1, 1, &place);
        }
        lua_settop(L, key);
    }
    if (rc == 0)
        lp__write_array_close(e->message, at, count);
    lua_settop(L, key - 1);
    return rc;
}

static int begin(encoder_t *e, lp__codec_t *codec, lua_State *L, const char *what,
                 lp__message_t *message)
{
    if (codec->closed)
        return LP_ESTATE;
    if (++codec->generation == 0) { /* after 2^32 messages: old stamps must not match again */
        lp__seen_free(&codec->seen);
        codec->modules.checked = codec->modules.built = 0;
        codec->generation = 1;
    }
    e->codec = codec;
    e->L = L;
    e->message = message;
    e->what = what;
    e->slice = NULL;
    e->objects = e->cells = 0;
    e->generation = codec->generation;
    e->flags = 0;
    e->explained = false;
    e->sends_code = true;
    e->takes_handles = codec->takes_handles;
    lp__message_reset(message);
    return 0;
}

/* The header and `count`, then the values from `first` on; `called` of them is the function. */
static int encode_all(encoder_t *e, int first, int count, int called)
{
    int rc = lp__write_byte(e->message, LP__WIRE_VERSION);
    if (rc == 0)
        rc = lp__write_int(e->message, count);
    for (int i = 0; rc == 0 && i < count; i++) {
        lp__place_t place = {.kind = LP__PLACE_VALUE, .index = i + 1 - called};
        rc = e->slice && i == called ? encode_slice(e, first + i, &place)
                                     : encode_value(e, first + i, 0, &place);
    }
    if (rc == 0)
        e->message->data[0] |= e->flags;
    return rc;
}

static int finish(encoder_t *e, int top, int rc)
{
    lp__codec_t *codec = e->codec;
    lp__seen_end(&codec->seen);
    if (rc == 0)
        return 0;
    lua_settop(e->L, top);
    lp__message_reset(e->message);
    if (rc == LP_ETRANSFER && !e->explained)
        lp__codec_fail(codec, "the values take more than %u bytes", (unsigned)LP__MESSAGE_MAX);
    return rc;
}

int lp__encode_values(lp__codec_t *codec, lua_State *L, int first, int count, const char *what,
                      lp__message_t *message)
{
    encoder_t e;
    int rc = begin(&e, codec, L, what, message);
    if (rc != 0)
        return rc;
    e.sends_code = e.takes_handles = codec->sends_code;
    int top = lua_gettop(L);
    return finish(&e, top, encode_all(&e, lua_absindex(L, first), count, 0));
}

/* Is the function at `function` the one of last time? Otherwise makes it so, if it is one
 * that a code alone stands for. NULL with *rc == 0: it is not. */
static lp__code_t *call_code(lp__codec_t *codec, lua_State *L, int function, int *rc)
{
    const void *address = lua_topointer(L, function);
    *rc = 0;
    if (codec->last_code && codec->last == address)
        return codec->last_code;
    if (lua_type(L, function) != LUA_TFUNCTION)
        return NULL;
    lp__code_t *code;
    *rc = lp__code_of(codec, L, function, &code);
    if (*rc != 0) {
        *rc = *rc == LP_ETRANSFER ? 0 : *rc; /* encode_all finds the words for it */
        return NULL;
    }
    if (code->kind == LP__CODE_BYTECODE && code->travelling > 0)
        return NULL;
    if (code->unnamed) /* may be another code the next time */
        return code;
    lua_pushvalue(L, function);
    lua_rawseti(L, LUA_REGISTRYINDEX, codec->last_ref);
    lp__shared_retain(&code->shared);
    lp__code_release(codec->last_code);
    codec->last_code = code;
    codec->last = address;
    return code;
}

int lp__encode_call(lp__codec_t *codec, lua_State *L, int function, int nargs,
                    const lp__slice_t *slice, lp__message_t *message, lp__code_t **code)
{
    encoder_t e;
    *code = NULL;
    int rc = begin(&e, codec, L, "arg", message);
    if (rc != 0)
        return rc;
    e.slice = slice;
    int top = lua_gettop(L);
    if (!lua_checkstack(L, 2))
        return finish(&e, top, LP_ENOMEM);
    function = lua_absindex(L, function);
    lp__code_t *found = call_code(codec, L, function, &rc);
    if (rc != 0)
        return finish(&e, top, rc);
    if (!found)
        return finish(&e, top, encode_all(&e, function, nargs + 1, 1));

    /* Handed over before the arguments, which may push it out of the cache. */
    lp__shared_retain(&found->shared);
    *code = found;
    rc = encode_all(&e, function + 1, nargs, 0);
    if (rc != 0) {
        *code = NULL;
        lp__code_release(found);
    }
    return finish(&e, top, rc);
}
