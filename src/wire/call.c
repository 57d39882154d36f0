/* call.c - see call.h and leasepool_native.h. */
#include "wire/call.h"

#include "leasepool.h"
#include "wire/reader.h"
#include "wire/writer.h"

static lp__call_state_t *state_of(lp_call_t *call)
{
    return (lp__call_state_t *)(void *)call;
}

/* ---- Reading -------------------------------------------------------------------- */

static void read_from(const lp__call_state_t *state, lp__reader_t *reader, const uint8_t *at)
{
    lp__reader_init(reader, at, (size_t)(state->args->data + state->args->len - at));
}

/* Passes a whole value. */
static bool skip(lp__reader_t *reader)
{
    lp__token_t token;
    for (uint64_t left = 1; left > 0; left--) {
        if (lp__reader_next(reader, &token) != 0)
            return false;
        if (token.kind == LP__TOKEN_ARRAY)
            left += token.len;
        else if (token.kind == LP__TOKEN_MAP)
            left += UINT64_C(2) * token.len;
    }
    return true;
}

static bool is_table(const lp__token_t *token)
{
    return token->kind == LP__TOKEN_ARRAY || token->kind == LP__TOKEN_MAP;
}

/* Deeper than extensions lie in each other in any message: each of the tables and functions that
 * may has one of its own, and a TAIL, and is the field of an error. */
#define MAX_DEPTH (4 * LP__WIRE_MAX_DEPTH)

/* Finds the n-th object from here on. What lies in extensions counts, too: functions are objects
 * that hold others, an error is one with its fields. */
static const uint8_t *find_object(lp__reader_t *reader, uint32_t *n, int depth)
{
    lp__token_t token;
    lp__reader_t outer;
    while (reader->pos < reader->end) {
        const uint8_t *at = reader->pos, *found = NULL;
        if (lp__reader_next(reader, &token) != 0)
            return NULL;
        bool ext = token.kind == LP__TOKEN_EXT;
        bool object = is_table(&token) || (ext && token.ext == LP__EXT_FUNCTION);
        if (object && (*n)-- == 0)
            return at;
        if (!ext || token.ext == LP__EXT_REF || token.ext == LP__EXT_CELL ||
            token.ext == LP__EXT_HANDLE || token.ext == LP__EXT_MODULE)
            continue;
        if (depth == MAX_DEPTH)
            return NULL;
        lp__reader_enter(reader, &token, &outer);
        uint32_t before = *n;
        lp__token_t first;
        if (token.ext == LP__EXT_TAIL) /* its map is no object of its own */
            (void)lp__reader_next(reader, &first);
        if (token.ext == LP__EXT_FUNCTION || token.ext == LP__EXT_ERROR)
            (void)lp__reader_next(reader, &first); /* a number; the name of a class */
        found = find_object(reader, n, depth + 1);
        if (found)
            return token.ext == LP__EXT_ERROR && before == 0 ? at : found;
        *reader = outer;
    }
    return NULL;
}

static const uint8_t *object_at(const lp__call_state_t *state, uint32_t number)
{
    lp__reader_t reader;
    uint8_t flags;
    uint32_t count;
    lp__reader_init(&reader, state->args->data, state->args->len);
    return lp__reader_begin(&reader, &flags, &count) == 0 ? find_object(&reader, &number, 0) : NULL;
}

static lp_type_t type_of(const lp__token_t *token)
{
    switch (token->kind) {
    case LP__TOKEN_NIL:
        return LP_TYPE_NIL;
    case LP__TOKEN_BOOL:
        return LP_TYPE_BOOLEAN;
    case LP__TOKEN_INT:
        return LP_TYPE_INTEGER;
    case LP__TOKEN_FLOAT:
        return LP_TYPE_NUMBER;
    case LP__TOKEN_STRING:
        return LP_TYPE_STRING;
    case LP__TOKEN_ARRAY:
    case LP__TOKEN_MAP:
        return LP_TYPE_TABLE;
    case LP__TOKEN_EXT:
        break;
    }
    return LP_TYPE_OTHER;
}

/* The value that begins at `at`; one that came before, and an error's fields, are found. */
static int value_at(const lp__call_state_t *state, const uint8_t *at, lp_value_t *value)
{
    lp__reader_t reader, outer;
    lp__token_t token, name;
    uint32_t number;
    *value = (lp_value_t){.type = LP_TYPE_NONE};
    read_from(state, &reader, at);
    if (lp__reader_next(&reader, &token) != 0)
        return LP_EINVAL;
    if (token.kind == LP__TOKEN_EXT && token.ext == LP__EXT_REF) {
        if (lp__reader_ext_number(&token, &number) != 0 || !(at = object_at(state, number)))
            return LP_EINVAL;
        read_from(state, &reader, at);
        if (lp__reader_next(&reader, &token) != 0)
            return LP_EINVAL;
    }
    if (token.kind == LP__TOKEN_EXT && token.ext == LP__EXT_ERROR) {
        lp__reader_enter(&reader, &token, &outer);
        if (lp__reader_next(&reader, &name) != 0)
            return LP_EINVAL;
        at = reader.pos;
        if (lp__reader_next(&reader, &token) != 0 || !is_table(&token))
            return LP_EINVAL;
    }
    value->type = type_of(&token);
    value->at = at;
    return 0;
}

static int count(lp_call_t *call)
{
    lp__reader_t reader;
    uint8_t flags;
    uint32_t args;
    const lp__message_t *message = state_of(call)->args;
    lp__reader_init(&reader, message->data, message->len);
    return lp__reader_begin(&reader, &flags, &args) == 0 ? (int)args : 0;
}

static int arg(lp_call_t *call, int index, lp_value_t *value)
{
    lp__call_state_t *state = state_of(call);
    lp__reader_t reader;
    uint8_t flags;
    uint32_t args;
    *value = (lp_value_t){.type = LP_TYPE_NONE};
    lp__reader_init(&reader, state->args->data, state->args->len);
    if (lp__reader_begin(&reader, &flags, &args) != 0 || index < 1 || (uint32_t)index > args)
        return LP_EINVAL;
    for (int i = 1; i < index; i++)
        if (!skip(&reader))
            return LP_EINVAL;
    return value_at(state, reader.pos, value);
}

/* The token of a value of that type. */
static int token_of(lp_call_t *call, const lp_value_t *value, lp_type_t type, lp__token_t *token)
{
    lp__reader_t reader;
    if (value->type != type)
        return LP_EINVAL;
    read_from(state_of(call), &reader, value->at);
    return lp__reader_next(&reader, token) == 0 ? 0 : LP_EINVAL;
}

static int boolean(lp_call_t *call, const lp_value_t *value, int *out)
{
    lp__token_t token;
    int rc = token_of(call, value, LP_TYPE_BOOLEAN, &token);
    if (rc == 0)
        *out = token.u.boolean;
    return rc;
}

static int integer(lp_call_t *call, const lp_value_t *value, int64_t *out)
{
    lp__token_t token;
    if (value->type == LP_TYPE_INTEGER && !value->at) {
        *out = value->index;
        return 0;
    }
    int rc = token_of(call, value, LP_TYPE_INTEGER, &token);
    if (rc == 0)
        *out = token.u.integer;
    return rc;
}

static int number(lp_call_t *call, const lp_value_t *value, double *out)
{
    lp__token_t token;
    int64_t whole;
    if (integer(call, value, &whole) == 0) {
        *out = (double)whole;
        return 0;
    }
    int rc = token_of(call, value, LP_TYPE_NUMBER, &token);
    if (rc == 0)
        *out = token.u.number;
    return rc;
}

static int string(lp_call_t *call, const lp_value_t *value, const char **bytes, size_t *len)
{
    lp__token_t token;
    int rc = token_of(call, value, LP_TYPE_STRING, &token);
    if (rc != 0)
        return rc;
    *bytes = (const char *)token.u.bytes;
    *len = token.len;
    return 0;
}

/* ---- Tables --------------------------------------------------------------------- */

/* The pairs that the token at hand begins, or, of the last element of a list, holds. */
static bool enter_pairs(lp__reader_t *reader, lp__token_t *token)
{
    lp__reader_t outer;
    if (token->kind == LP__TOKEN_EXT && token->ext == LP__EXT_TAIL) {
        lp__reader_enter(reader, token, &outer);
        if (lp__reader_next(reader, token) != 0)
            return false;
    }
    return token->kind == LP__TOKEN_MAP;
}

static bool is_tail(const lp__reader_t *reader)
{
    lp__reader_t ahead = *reader;
    lp__token_t token;
    return lp__reader_next(&ahead, &token) == 0 && token.kind == LP__TOKEN_EXT &&
           token.ext == LP__EXT_TAIL;
}

static int next(lp_call_t *call, const lp_value_t *table, lp_cursor_t *cursor, lp_value_t *key,
                lp_value_t *value)
{
    lp__call_state_t *state = state_of(call);
    lp__reader_t reader;
    lp__token_t token;
    *key = *value = (lp_value_t){.type = LP_TYPE_NONE};
    if (table->type != LP_TYPE_TABLE)
        return 0;
    if (!cursor->at) { /* the beginning; `index` counts elements, and is 0 among fields */
        read_from(state, &reader, table->at);
        if (lp__reader_next(&reader, &token) != 0)
            return 0;
        cursor->at = reader.pos;
        cursor->left = token.len;
        cursor->index = token.kind == LP__TOKEN_ARRAY ? 1 : 0;
    }
    if (cursor->left == 0)
        return 0;
    read_from(state, &reader, cursor->at);
    if (cursor->index > 0 && cursor->left == 1 && is_tail(&reader)) {
        if (lp__reader_next(&reader, &token) != 0 || !enter_pairs(&reader, &token))
            return 0;
        cursor->left = token.len;
        cursor->index = 0;
        cursor->at = reader.pos;
        if (cursor->left == 0)
            return 0;
        read_from(state, &reader, cursor->at);
    }
    if (cursor->index > 0) {
        *key = (lp_value_t){.type = LP_TYPE_INTEGER, .index = (int64_t)cursor->index};
        cursor->index++;
    } else if (value_at(state, reader.pos, key) != 0 || !skip(&reader)) {
        return 0;
    }
    if (value_at(state, reader.pos, value) != 0 || !skip(&reader))
        return 0;
    cursor->at = reader.pos;
    cursor->left--;
    return 1;
}

static int length(lp_call_t *call, const lp_value_t *table, size_t *out)
{
    lp__reader_t reader;
    lp__token_t token;
    int rc = token_of(call, table, LP_TYPE_TABLE, &token);
    if (rc != 0)
        return rc;
    if (token.kind != LP__TOKEN_ARRAY || token.len == 0) {
        *out = 0;
        return 0;
    }
    read_from(state_of(call), &reader, table->at);
    (void)lp__reader_next(&reader, &token);
    for (uint32_t i = 1; i < token.len; i++)
        if (!skip(&reader))
            return LP_EINVAL;
    *out = token.len - is_tail(&reader);
    return 0;
}

static int element(lp_call_t *call, const lp_value_t *table, size_t index, lp_value_t *value)
{
    lp__reader_t reader;
    lp__token_t token;
    *value = (lp_value_t){.type = LP_TYPE_NONE};
    int rc = token_of(call, table, LP_TYPE_TABLE, &token);
    if (rc != 0 || token.kind != LP__TOKEN_ARRAY || index < 1 || index > token.len)
        return LP_EINVAL;
    read_from(state_of(call), &reader, table->at);
    (void)lp__reader_next(&reader, &token);
    for (size_t i = 1; i < index; i++)
        if (!skip(&reader))
            return LP_EINVAL;
    return is_tail(&reader) ? LP_EINVAL : value_at(state_of(call), reader.pos, value);
}

static int field(lp_call_t *call, const lp_value_t *table, const char *name, size_t len,
                 lp_value_t *value)
{
    lp_cursor_t cursor = {NULL, 0, 0};
    lp_value_t key;
    const char *bytes;
    size_t size;
    while (next(call, table, &cursor, &key, value))
        if (string(call, &key, &bytes, &size) == 0 && size == len && memcmp(bytes, name, len) == 0)
            return 0;
    *value = (lp_value_t){.type = LP_TYPE_NONE};
    return LP_EINVAL;
}

/* ---- Writing -------------------------------------------------------------------- */

static int remember(lp__call_state_t *state, int rc)
{
    if (state->rc == 0)
        state->rc = rc;
    return rc;
}

/* A value is about to be written. */
static int begin_value(lp__call_state_t *state)
{
    if (state->rc != 0)
        return state->rc;
    if (state->depth == 0) {
        state->count++;
        return 0;
    }
    lp__open_table_t *table = &state->open[state->depth - 1];
    if (table->key) {
        table->key = false;
        return 0;
    }
    if (table->form == LP__MAP || table->form == LP__BOTH)
        return remember(state, LP_ESTATE);
    table->form = LP__LIST;
    table->count++;
    return 0;
}

static int return_nil(lp_call_t *call)
{
    lp__call_state_t *state = state_of(call);
    int rc = begin_value(state);
    return rc != 0 ? rc : remember(state, lp__write_nil(state->results));
}

static int return_boolean(lp_call_t *call, int value)
{
    lp__call_state_t *state = state_of(call);
    int rc = begin_value(state);
    return rc != 0 ? rc : remember(state, lp__write_bool(state->results, value != 0));
}

static int return_integer(lp_call_t *call, int64_t value)
{
    lp__call_state_t *state = state_of(call);
    int rc = begin_value(state);
    return rc != 0 ? rc : remember(state, lp__write_int(state->results, value));
}

static int return_number(lp_call_t *call, double value)
{
    lp__call_state_t *state = state_of(call);
    int rc = begin_value(state);
    return rc != 0 ? rc : remember(state, lp__write_float(state->results, value));
}

static int return_string(lp_call_t *call, const char *bytes, size_t len)
{
    lp__call_state_t *state = state_of(call);
    int rc = begin_value(state);
    return rc != 0 ? rc : remember(state, lp__write_string(state->results, len ? bytes : "", len));
}

static int open_table(lp_call_t *call)
{
    lp__call_state_t *state = state_of(call);
    if (state->depth == LP__WIRE_MAX_DEPTH)
        return remember(state, LP_ESTATE);
    int rc = begin_value(state);
    if (rc != 0)
        return rc;
    lp__open_table_t *table = &state->open[state->depth++];
    memset(table, 0, sizeof *table);
    return remember(state, lp__write_table_open(state->results, &table->at));
}

static int key(lp_call_t *call, const char *name, size_t len)
{
    lp__call_state_t *state = state_of(call);
    if (state->rc != 0)
        return state->rc;
    if (state->depth == 0 || state->open[state->depth - 1].key)
        return remember(state, LP_ESTATE);
    lp__open_table_t *table = &state->open[state->depth - 1];
    int rc = 0;
    if (table->form == LP__LIST) { /* from here on its last element: all the fields */
        table->form = LP__BOTH;
        table->elements = table->count + 1;
        table->count = 0;
        rc = lp__write_ext_open(state->results, LP__EXT_TAIL, &table->tail);
        if (rc == 0)
            rc = lp__write_table_open(state->results, &table->map);
    } else if (table->form == LP__FRESH) {
        table->form = LP__MAP;
    }
    if (rc == 0)
        rc = lp__write_string(state->results, len ? name : "", len);
    table->count++;
    table->key = true;
    return remember(state, rc);
}

static int close_table(lp_call_t *call)
{
    lp__call_state_t *state = state_of(call);
    if (state->rc != 0)
        return state->rc;
    if (state->depth == 0 || state->open[state->depth - 1].key)
        return remember(state, LP_ESTATE);
    const lp__open_table_t *table = &state->open[--state->depth];
    switch (table->form) {
    case LP__FRESH:
    case LP__LIST:
        lp__write_array_close(state->results, table->at, table->count);
        break;
    case LP__MAP:
        lp__write_map_close(state->results, table->at, table->count);
        break;
    case LP__BOTH:
        lp__write_map_close(state->results, table->map, table->count);
        lp__write_ext_close(state->results, table->tail);
        lp__write_array_close(state->results, table->at, table->elements);
        break;
    }
    return 0;
}

/* The text replaces the results. */
static int return_error(lp_call_t *call, const char *message, size_t len)
{
    lp__call_state_t *state = state_of(call);
    lp__message_reset(state->results);
    state->failed = true;
    state->rc = lp__message_reserve(state->results, len);
    if (state->rc != 0)
        return state->rc;
    if (len > 0) /* else it may have no address */
        memcpy(state->results->data, message, len);
    state->results->len = (uint32_t)len;
    state->rc = LP_EJOB;
    return LP_EJOB;
}

/* ---- The call ------------------------------------------------------------------- */

/* The count of values always takes five bytes. */
enum { COUNT_AT = 1 };

void lp__call_begin(lp__call_state_t *state, const lp__message_t *args, lp__message_t *results)
{
    uint32_t at;
    state->args = args;
    state->results = results;
    state->count = state->depth = 0;
    state->failed = false;
    state->noticed = 0;
    lp__message_reset(results);
    state->rc = lp__write_byte(results, LP__WIRE_VERSION);
    if (state->rc == 0)
        state->rc = lp__write_table_open(results, &at); /* five bytes */
}

int lp__call_end(lp__call_state_t *state)
{
    if (state->rc != 0)
        return state->rc;
    if (state->depth > 0)
        return LP_ESTATE;
    state->results->data[COUNT_AT] = 0xce;
    lp__store_be32(state->results->data + COUNT_AT + 1, state->count);
    return 0;
}

void lp__call_fill_api(lp_call_api_t *api)
{
    *api = (lp_call_api_t){
        .size = sizeof *api,
        .count = count,
        .arg = arg,
        .boolean = boolean,
        .integer = integer,
        .number = number,
        .string = string,
        .length = length,
        .element = element,
        .field = field,
        .next = next,
        .return_nil = return_nil,
        .return_boolean = return_boolean,
        .return_integer = return_integer,
        .return_number = return_number,
        .return_string = return_string,
        .open_table = open_table,
        .key = key,
        .close_table = close_table,
        .return_error = return_error,
    };
}
