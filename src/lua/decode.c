/* decode.c - a message to values of the receiver's state. Runs on the thread of that state.
 *
 * The bytes are not trusted: everything that is wrong with them ends in LP_ETRANSFER, what
 * is allocated is bounded by their length (wire/reader.h), and so is the recursion. The
 * state of a decoding lies on the C stack and the Lua stack, as a module that is required
 * here may come back to the same codec. */
#include <string.h>

#include "lua/codec_internal.h"
#include "lua/errors.h"
#include "lua/handle.h"
#include "wire/reader.h"

typedef struct {
    lp__codec_t *codec;
    lua_State *L;
    lp__message_t *message;
    lp__reader_t reader;
    uint32_t objects, cells; /* begun so far; counted only if they are kept */
    int objects_at;          /* stack index of the table of objects; 0: no REF will come */
    int cells_at;            /* of closures and upvalue numbers, in turn; 0: no CELL will come */
} decoder_t;

static int decode_token(decoder_t *d, const lp__token_t *token, unsigned depth);

static int malformed(decoder_t *d, const char *what)
{
    return lp__codec_fail(d->codec, "malformed message: %s", what);
}

static inline int next(decoder_t *d, lp__token_t *token)
{
    int rc = lp__reader_next(&d->reader, token);
    return rc == 0 ? 0 : malformed(d, "not a value");
}

/* Numbers the object at the top. */
static inline void keep_object(decoder_t *d)
{
    if (d->objects_at == 0)
        return;
    lua_pushvalue(d->L, -1);
    lua_rawseti(d->L, d->objects_at, (lua_Integer)++d->objects);
}

static int leave(decoder_t *d, const lp__reader_t *outer)
{
    return lp__reader_leave(&d->reader, outer) == 0 ? 0 : malformed(d, "an extension is too long");
}

/* ---- Tables ---- */

static int decode_value(decoder_t *d, unsigned depth)
{
    lp__token_t token;
    int rc = next(d, &token);
    return rc == 0 ? decode_token(d, &token, depth) : rc;
}

/* Sets `count` pairs in the table at the top. */
static int decode_pairs(decoder_t *d, uint32_t count, unsigned depth)
{
    lua_State *L = d->L;
    for (uint32_t i = 0; i < count; i++) {
        lp__token_t token;
        int rc = next(d, &token);
        if (rc != 0)
            return rc;
        if (token.kind == LP__TOKEN_STRING) {
            lua_pushlstring(L, (const char *)token.u.bytes, token.len);
        } else {
            if ((rc = decode_token(d, &token, depth)) != 0)
                return rc;
            if (lua_isnil(L, -1) || !lua_rawequal(L, -1, -1)) /* nil, NaN */
                return malformed(d, "nil or NaN as a key");
        }
        if ((rc = decode_value(d, depth)) != 0)
            return rc;
        lua_rawset(L, -3);
    }
    return 0;
}

static int decode_tail(decoder_t *d, const lp__token_t *ext, unsigned depth)
{
    lp__reader_t outer;
    lp__reader_enter(&d->reader, ext, &outer);
    lp__token_t map;
    int rc = next(d, &map);
    if (rc != 0)
        return rc;
    if (map.kind != LP__TOKEN_MAP)
        return malformed(d, "fields that are no map");
    rc = decode_pairs(d, map.len, depth);
    return rc == 0 ? leave(d, &outer) : rc;
}

static int decode_elements(decoder_t *d, uint32_t count, unsigned depth)
{
    lua_State *L = d->L;
    for (uint32_t i = 0; i < count; i++) {
        lp__token_t token;
        int rc = next(d, &token);
        if (rc != 0)
            return rc;
        if (token.kind == LP__TOKEN_INT) {
            lua_pushinteger(L, (lua_Integer)token.u.integer);
        } else if (token.kind == LP__TOKEN_EXT && token.ext == LP__EXT_TAIL && i == count - 1) {
            return decode_tail(d, &token, depth);
        } else if ((rc = decode_token(d, &token, depth)) != 0) {
            return rc;
        }
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 0;
}

/* lua_createtable takes ints; a larger table grows as it is filled. */
static int size_hint(uint32_t count)
{
    return count < (1u << 26) ? (int)count : 1 << 26;
}

/* Pushes the table that `token` begins. On failure too something may be left on the stack:
 * whoever began cleans up. */
static int decode_table(decoder_t *d, const lp__token_t *token, unsigned depth)
{
    if (depth >= LP__WIRE_MAX_DEPTH)
        return malformed(d, "nested too deeply");
    if (!lua_checkstack(d->L, 8))
        return LP_ENOMEM;
    if (token->kind == LP__TOKEN_ARRAY) {
        lua_createtable(d->L, size_hint(token->len), 0);
        keep_object(d);
        return decode_elements(d, token->len, depth + 1);
    }
    lua_createtable(d->L, 0, size_hint(token->len));
    keep_object(d);
    return decode_pairs(d, token->len, depth + 1);
}

/* ---- Extensions ---- */

static int decode_ref(decoder_t *d, const lp__token_t *ext)
{
    uint32_t number;
    if (lp__reader_ext_number(ext, &number) != 0 || number >= d->objects || d->objects_at == 0)
        return malformed(d, "a reference to nothing");
    lua_rawgeti(d->L, d->objects_at, (lua_Integer)number + 1);
    return 0;
}

/* Makes upvalue `n` of the closure at the top share the cell that `ext` names. */
static int join_cell(decoder_t *d, const lp__token_t *ext, int n)
{
    lua_State *L = d->L;
    uint32_t number;
    if (lp__reader_ext_number(ext, &number) != 0 || number >= d->cells || d->cells_at == 0)
        return malformed(d, "a reference to no upvalue");
    lua_rawgeti(L, d->cells_at, (lua_Integer)number * 2 + 1);
    lua_rawgeti(L, d->cells_at, (lua_Integer)number * 2 + 2);
    int m = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_upvaluejoin(L, -2, n, -1, m);
    lua_pop(L, 1);
    return 0;
}

/* The value of upvalue `n` of the closure at the top. */
static int decode_upvalue(decoder_t *d, int n, unsigned depth)
{
    lua_State *L = d->L;
    lp__token_t token;
    int rc = next(d, &token);
    if (rc != 0)
        return rc;
    if (token.kind == LP__TOKEN_EXT && token.ext == LP__EXT_CELL)
        return join_cell(d, &token, n);
    if (d->cells_at != 0) {
        uint32_t number = d->cells++;
        lua_pushvalue(L, -1);
        lua_rawseti(L, d->cells_at, (lua_Integer)number * 2 + 1);
        lua_pushinteger(L, n);
        lua_rawseti(L, d->cells_at, (lua_Integer)number * 2 + 2);
    }
    if ((rc = decode_token(d, &token, depth)) != 0)
        return rc;
    lua_setupvalue(L, -2, n);
    return 0;
}

static int decode_function(decoder_t *d, unsigned depth)
{
    uint32_t index;
    if (lp__reader_number(&d->reader, &index) != 0)
        return malformed(d, "a function without its code");
    lp__code_t *code = lp__code_attached(d->message, index);
    if (!code || code->kind == LP__CODE_REFERENCE)
        return malformed(d, "a function without its code");
    if (depth >= LP__WIRE_MAX_DEPTH)
        return malformed(d, "nested too deeply");
    if (!lua_checkstack(d->L, 8))
        return LP_ENOMEM;
    int rc = lp__push_code(d->codec, d->L, code);
    if (rc != 0)
        return rc;
    keep_object(d);
    for (int n = 1; rc == 0 && n <= code->upvalues; n++)
        if (!lp__code_is_globals(code, n))
            rc = decode_upvalue(d, n, depth + 1);
    return rc;
}

static int decode_module(decoder_t *d)
{
    lp__token_t module, key;
    int rc = next(d, &module);
    if (rc == 0)
        rc = next(d, &key);
    if (rc != 0)
        return rc;
    bool whole = key.kind == LP__TOKEN_NIL;
    if (module.kind != LP__TOKEN_STRING || !(whole || key.kind == LP__TOKEN_STRING))
        return malformed(d, "a module without a name");
    return lp__push_module(d->codec, d->L, (const char *)module.u.bytes, module.len,
                           whole ? NULL : (const char *)key.u.bytes, whole ? 0 : key.len);
}

static int decode_error(decoder_t *d, unsigned depth)
{
    char class[64];
    lp__token_t name, fields;
    int rc = next(d, &name);
    if (rc == 0)
        rc = next(d, &fields);
    if (rc != 0)
        return rc;
    if (name.kind != LP__TOKEN_STRING || name.len >= sizeof class ||
        (fields.kind != LP__TOKEN_ARRAY && fields.kind != LP__TOKEN_MAP))
        return malformed(d, "an error without a class");
    memcpy(class, name.u.bytes, name.len);
    class[name.len] = '\0';
    if ((rc = decode_table(d, &fields, depth)) != 0)
        return rc;
    return lp__error_set_class(d->L, class) == 0 ? 0 : malformed(d, "an error of no known class");
}

static int decode_handle(decoder_t *d, const lp__token_t *ext)
{
    uint32_t number;
    const lp__attached_t *attached = d->message->attached;
    if (lp__reader_ext_number(ext, &number) != 0 || !attached || number >= attached->count)
        return malformed(d, "a handle to nothing");
    lp_handle_t *handle = lp__handle_of(attached->items[number]);
    if (!handle)
        return malformed(d, "a handle to nothing");
    lp__handle_push(d->L, handle);
    return 0;
}

static int decode_ext(decoder_t *d, const lp__token_t *ext, unsigned depth)
{
    int rc;
    if (ext->ext == LP__EXT_REF)
        return decode_ref(d, ext);
    if (ext->ext == LP__EXT_HANDLE)
        return decode_handle(d, ext);
    lp__reader_t outer;
    lp__reader_enter(&d->reader, ext, &outer);
    switch (ext->ext) {
    case LP__EXT_FUNCTION:
        rc = decode_function(d, depth);
        break;
    case LP__EXT_MODULE:
        rc = decode_module(d);
        break;
    case LP__EXT_ERROR:
        rc = decode_error(d, depth);
        break;
    default:
        return malformed(d, "an extension where none may be");
    }
    return rc == 0 ? leave(d, &outer) : rc;
}

/* ---- Values ---- */

/* Pushes the value that `token` begins; a free slot is there for it. */
static int decode_token(decoder_t *d, const lp__token_t *token, unsigned depth)
{
    lua_State *L = d->L;
    switch (token->kind) {
    case LP__TOKEN_NIL:
        lua_pushnil(L);
        return 0;
    case LP__TOKEN_BOOL:
        lua_pushboolean(L, token->u.boolean);
        return 0;
    case LP__TOKEN_INT:
        lua_pushinteger(L, (lua_Integer)token->u.integer);
        return 0;
    case LP__TOKEN_FLOAT:
        lua_pushnumber(L, (lua_Number)token->u.number);
        return 0;
    case LP__TOKEN_STRING:
        lua_pushlstring(L, (const char *)token->u.bytes, token->len);
        return 0;
    case LP__TOKEN_ARRAY:
    case LP__TOKEN_MAP:
        return decode_table(d, token, depth);
    case LP__TOKEN_EXT:
        return lua_checkstack(L, 8) ? decode_ext(d, token, depth) : LP_ENOMEM;
    }
    return malformed(d, "not a value");
}

static int decode_all(decoder_t *d, uint8_t flags, uint32_t count)
{
    lua_State *L = d->L;
    int keep = 0;
    if (count > INT32_MAX - 16 || !lua_checkstack(L, (int)count + 16))
        return lp__codec_fail(d->codec, "more values (%u) than the Lua stack can take",
                              (unsigned)count);
    if (flags & LP__WIRE_REFS) {
        lua_createtable(L, 8, 0);
        d->objects_at = lua_gettop(L);
        keep++;
    }
    if (flags & LP__WIRE_CELLS) {
        lua_createtable(L, 4, 0);
        d->cells_at = lua_gettop(L);
        keep++;
    }
    for (uint32_t i = 0; i < count; i++) {
        int rc = decode_value(d, 0);
        if (rc != 0)
            return rc;
    }
    if (d->reader.pos != d->reader.end)
        return malformed(d, "bytes after the last value");
    for (; keep > 0; keep--)
        lua_remove(L, -(int)count - 1);
    return (int)count;
}

int lp__decode_values(lp__codec_t *codec, lua_State *L, lp__message_t *message)
{
    decoder_t d = {.codec = codec, .L = L, .message = message};
    uint8_t flags;
    uint32_t count;
    lp__reader_init(&d.reader, message->data, message->len);
    int top = lua_gettop(L);
    int rc = lp__reader_begin(&d.reader, &flags, &count) == 0 ? decode_all(&d, flags, count)
                                                              : malformed(&d, "no header");
    if (rc < 0)
        lua_settop(L, top);
    return rc;
}
