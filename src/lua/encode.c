/* encode.c - values of the sender's state to a message. Runs on the thread of that state,
 * runs no Lua code, and leaves nothing behind when Lua's memory error passes through.
 *
 * One pass over each table: its header is left open, elements are appended without keys as
 * long as lua_next gives 1, 2, 3 .., and what follows goes into a map (wire/format.h).
 *
 * The path to what cannot travel is made only when it is needed: each level of the
 * recursion is linked to the one above it, and says which stack slot holds its key. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "lua/codec_internal.h"
#include "lua/errors.h"
#include "wire/writer.h"

typedef enum { FRAME_VALUE, FRAME_TABLE, FRAME_UPVALUE } frame_kind_t;

typedef struct frame_s frame_t;
struct frame_s {
    const frame_t *up;
    frame_kind_t kind;
    bool in_key;
    int index;  /* VALUE: its number, 0 is the called function; else a stack index: the key
                 * in use, or the function */
    int number; /* of the upvalue */
};

typedef struct {
    lp__codec_t *codec;
    lua_State *L;
    lp__message_t *message;
    const char *what;
    uint32_t objects, cells;
    uint32_t generation;
    uint8_t flags;
    bool explained; /* the codec's error text is about this message */
} encoder_t;

static int encode_value(encoder_t *e, int index, unsigned depth, const frame_t *up);

/* ---- What cannot travel, and where it is ---- */

static bool is_identifier(const char *s, size_t len)
{
    if (len == 0 || (s[0] >= '0' && s[0] <= '9'))
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9')))
            return false;
    }
    return true;
}

static void add_quoted(lp__text_t *text, const char *s, size_t len)
{
    lp__text_add(text, "[\"", 2);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            lp__text_addf(text, "\\%c", c);
        else if (c < 32 || c == 127)
            lp__text_addf(text, "\\%03d", c);
        else
            lp__text_add(text, &s[i], 1);
    }
    lp__text_add(text, "\"]", 2);
}

static void add_key(lua_State *L, lp__text_t *text, int index)
{
    size_t len;
    const char *s;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        s = lua_tolstring(L, index, &len);
        if (is_identifier(s, len)) {
            lp__text_add(text, ".", 1);
            lp__text_add(text, s, len);
        } else {
            add_quoted(text, s, len);
        }
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            lp__text_addf(text, "[" LUA_INTEGER_FMT "]", lua_tointeger(L, index));
        else
            lp__text_addf(text, "[" LUA_NUMBER_FMT "]", lua_tonumber(L, index));
        break;
    case LUA_TBOOLEAN:
        lp__text_addz(text, lua_toboolean(L, index) ? "[true]" : "[false]");
        break;
    default:
        lp__text_addf(text, "[%s]", luaL_typename(L, index));
        break;
    }
}

static void add_path(const encoder_t *e, lp__text_t *text, const frame_t *frame)
{
    if (frame->up)
        add_path(e, text, frame->up);
    switch (frame->kind) {
    case FRAME_VALUE:
        if (frame->index == 0)
            lp__text_addz(text, "function");
        else
            lp__text_addf(text, "%s %d", e->what, frame->index);
        break;
    case FRAME_TABLE:
        if (frame->in_key)
            lp__text_addz(text, ": key");
        else
            add_key(e->L, text, frame->index);
        break;
    case FRAME_UPVALUE: {
        const char *name = lua_getupvalue(e->L, frame->index, frame->number);
        bool called = frame->up->kind == FRAME_VALUE && frame->up->index == 0;
        lp__text_addz(text, called ? ": upvalue " : ": function: upvalue ");
        if (name && name[0] && name[0] != '(')
            lp__text_addz(text, name);
        else
            lp__text_addf(text, "%d", frame->number);
        if (name)
            lua_pop(e->L, 1);
        break;
    }
    }
}

static int fail(encoder_t *e, const frame_t *frame, const char *reason, const char *detail)
{
    lp__text_t text;
    if (!lp__error_open(e->codec, &text))
        return LP_ENOMEM;
    add_path(e, &text, frame);
    if (text.cut) { /* thousands of bytes; what they lead to matters more */
        text.at -= LP__ERROR_MAX / 2;
        text.cut = false;
        lp__text_addz(&text, "...");
    }
    e->codec->path_len = (size_t)(text.at - e->codec->error);
    lp__text_addf(&text, detail ? ": %s (%s)" : ": %s", reason, detail);
    e->explained = true;
    return LP_ETRANSFER;
}

/* Refuses the value at `index` by its type, with the __name of its metatable if any. */
static int refuse(encoder_t *e, int index, const frame_t *frame)
{
    lua_State *L = e->L;
    const char *reason = luaL_typename(L, index);
    switch (lua_type(L, index)) {
    case LUA_TTABLE:
        reason = "table with a metatable";
        break;
    case LUA_TFUNCTION:
        reason = "C function that no module holds";
        break;
    case LUA_TLIGHTUSERDATA:
        return fail(e, frame, "light userdata", NULL);
    case LUA_TTHREAD:
        reason = "coroutine";
        break;
    default:
        break;
    }
    const char *detail = NULL;
    int top = lua_gettop(L);
    if (lua_getmetatable(L, index)) {
        lua_pushliteral(L, "__name");
        lua_rawget(L, -2);
        if (lua_type(L, -1) == LUA_TSTRING)
            detail = lua_tostring(L, -1);
    }
    int rc = fail(e, frame, reason, detail);
    lua_settop(L, top);
    return rc;
}

/* ---- What was met before ---- */

#define FIRST_SEEN 64u
#define KEEP_SEEN 4096u /* slots that stay for the next message: 64 KiB */

static lp__seen_slot_t *seen_probe(const lp__seen_t *seen, const void *key, uint32_t generation)
{
    uint64_t h = (uint64_t)(uintptr_t)key * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t i = (uint32_t)(h >> 32) & seen->mask;
    while (seen->slots[i].generation == generation && seen->slots[i].key != key)
        i = (i + 1) & seen->mask;
    return &seen->slots[i];
}

static int seen_grow(lp__seen_t *seen, uint32_t generation)
{
    uint32_t cap = seen->slots ? (seen->mask + 1) * 2 : FIRST_SEEN;
    if (cap == 0)
        return LP_ENOMEM;
    lp__seen_t grown = {.mask = cap - 1, .count = seen->count};
    grown.slots = lp__calloc(LP_MEM_BINDING, (size_t)cap * sizeof *grown.slots);
    if (!grown.slots)
        return LP_ENOMEM;
    for (uint32_t i = 0; seen->slots && i <= seen->mask; i++)
        if (seen->slots[i].generation == generation)
            *seen_probe(&grown, seen->slots[i].key, generation) = seen->slots[i];
    lp__free(seen->slots);
    *seen = grown;
    return 0;
}

/* The number that `key` has had in this message. */
static bool seen_find(const encoder_t *e, const void *key, uint32_t *number)
{
    const lp__seen_t *seen = &e->codec->seen;
    if (!seen->slots)
        return false;
    const lp__seen_slot_t *slot = seen_probe(seen, key, e->generation);
    *number = slot->number;
    return slot->generation == e->generation;
}

static int seen_add(encoder_t *e, const void *key, uint32_t number)
{
    lp__seen_t *seen = &e->codec->seen;
    if (!seen->slots || seen->count >= seen->mask / 2) {
        int rc = seen_grow(seen, e->generation);
        if (rc != 0)
            return rc;
    }
    lp__seen_slot_t *slot = seen_probe(seen, key, e->generation);
    seen->count += slot->generation != e->generation;
    *slot = (lp__seen_slot_t){key, e->generation, number};
    return 0;
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
static int encode_pairs(encoder_t *e, int table, int key, unsigned depth, frame_t *frame)
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
            frame->in_key = true;
            rc = encode_value(e, key, depth, frame);
            frame->in_key = false;
        }
        if (rc != 0 || (rc = encode_value(e, key + 1, depth, frame)) != 0)
            return rc;
        count++;
        lua_settop(L, key);
    } while (lua_next(L, table));
    lp__write_map_close(e->message, at, count);
    return 0;
}

/* The same, as the last element of the array opened at `at`. */
static int encode_tail(encoder_t *e, int table, int key, unsigned depth, frame_t *frame)
{
    uint32_t ext;
    int rc = lp__write_ext_open(e->message, LP__EXT_TAIL, &ext);
    if (rc == 0)
        rc = encode_pairs(e, table, key, depth, frame);
    if (rc == 0)
        lp__write_ext_close(e->message, ext);
    return rc;
}

/* The content of a table, whose first pair lies on the stack as above. */
static int encode_fields(encoder_t *e, int table, unsigned depth, const frame_t *up)
{
    lua_State *L = e->L;
    int key = lua_gettop(L) - 1;
    frame_t frame = {.up = up, .kind = FRAME_TABLE, .index = key};
    if (!lua_isinteger(L, key) || lua_tointegerx(L, key, NULL) != 1)
        return encode_pairs(e, table, key, depth, &frame);

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
            rc = encode_value(e, key + 1, depth, &frame);
        if (rc != 0)
            return rc;
        count++;
        lua_settop(L, key);
        if (!lua_next(L, table)) {
            lp__write_array_close(e->message, at, count);
            return 0;
        }
    } while (lua_tointegerx(L, key, NULL) == (lua_Integer)count + 1 && lua_isinteger(L, key));

    rc = encode_tail(e, table, key, depth, &frame);
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
static int encode_special(encoder_t *e, int index, unsigned depth, const frame_t *up)
{
    lua_State *L = e->L;
    const char *class = lp__error_class(L, index);
    if (!class) {
        int rc = encode_as_module(e, index);
        return rc == 0 ? refuse(e, index, up) : rc < 0 ? rc : 0;
    }
    uint32_t ext;
    int rc = seen_add(e, lua_topointer(L, index), e->objects++);
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

static int too_deep(encoder_t *e, const frame_t *up)
{
    char reason[48];
    snprintf(reason, sizeof reason, "nested more than %d levels deep", LP__WIRE_MAX_DEPTH);
    return fail(e, up, reason, NULL);
}

static int encode_table(encoder_t *e, int index, unsigned depth, const frame_t *up)
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
    int rc = seen_add(e, address, e->objects++);
    if (rc == 0)
        rc = empty ? lp__write_empty_table(e->message) : encode_fields(e, index, depth + 1, up);
    lua_settop(L, top);
    return rc;
}

/* ---- Functions ---- */

static int encode_upvalue(encoder_t *e, int function, int n, unsigned depth, const frame_t *up)
{
    uint32_t number;
    const void *cell = lua_upvalueid(e->L, function, n);
    if (seen_find(e, cell, &number)) {
        e->flags |= LP__WIRE_CELLS;
        return lp__write_ext_number(e->message, LP__EXT_CELL, number);
    }
    int rc = seen_add(e, cell, e->cells++);
    if (rc != 0)
        return rc;
    frame_t frame = {.up = up, .kind = FRAME_UPVALUE, .index = function, .number = n};
    lua_getupvalue(e->L, function, n);
    rc = encode_value(e, lua_gettop(e->L), depth, &frame);
    lua_pop(e->L, 1);
    return rc;
}

/* Writes a function whose code is known; `code` may go once anything else is encoded, but
 * not while the message holds it. */
static int encode_closure(encoder_t *e, int index, lp__code_t *code, unsigned depth,
                          const frame_t *up)
{
    if (depth >= LP__WIRE_MAX_DEPTH)
        return too_deep(e, up);
    uint32_t ext, attached;
    int rc = lp__message_attach(e->message, &code->shared, &attached);
    if (rc == 0)
        rc = seen_add(e, lua_topointer(e->L, index), e->objects++);
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

static int encode_function(encoder_t *e, int index, unsigned depth, const frame_t *up)
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
    return encode_closure(e, index, code, depth, up);
}

/* ---- Values ---- */

/* `index` is absolute. `depth` says in how many tables and functions the value lies. */
static int encode_value(encoder_t *e, int index, unsigned depth, const frame_t *up)
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
    default:
        return lua_checkstack(e->L, 4) ? refuse(e, index, up) : LP_ENOMEM;
    }
}

static int begin(encoder_t *e, lp__codec_t *codec, lua_State *L, const char *what,
                 lp__message_t *message)
{
    if (codec->closed)
        return LP_ESTATE;
    if (++codec->generation == 0) { /* after 2^32 messages: old stamps must not match again */
        if (codec->seen.slots)
            memset(codec->seen.slots, 0,
                   (size_t)(codec->seen.mask + 1) * sizeof *codec->seen.slots);
        codec->modules.checked = codec->modules.built = 0;
        codec->generation = 1;
    }
    codec->seen.count = 0;
    e->codec = codec;
    e->L = L;
    e->message = message;
    e->what = what;
    e->objects = e->cells = 0;
    e->generation = codec->generation;
    e->flags = 0;
    e->explained = false;
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
        frame_t frame = {.kind = FRAME_VALUE, .index = i + 1 - called};
        rc = encode_value(e, first + i, 0, &frame);
    }
    if (rc == 0)
        e->message->data[0] |= e->flags;
    return rc;
}

static int finish(encoder_t *e, int top, int rc)
{
    lp__codec_t *codec = e->codec;
    if (codec->seen.slots && codec->seen.mask >= KEEP_SEEN) {
        lp__free(codec->seen.slots);
        codec->seen = (lp__seen_t){0};
    }
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
                    lp__message_t *message, lp__code_t **code)
{
    encoder_t e;
    *code = NULL;
    int rc = begin(&e, codec, L, "arg", message);
    if (rc != 0)
        return rc;
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
