/* native.h - what the tests of native jobs share: a call without a worker, arguments for it, and
 * what it has returned.
 *
 * Arguments are written as the encoder (src/lua/encode.c) writes them; `text_of` makes a text of
 * each value. */
#ifndef SPEC_C_NATIVE_H
#define SPEC_C_NATIVE_H

#include "core/native.h"
#include "support.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* ---- A call -------------------------------------------------------------------- */

typedef struct {
    lp_call_api_t api;
    lp__call_state_t state;
    lp__message_t args, results;
} fixture_t;

static inline int setup(void **state)
{
    fixture_t *f = calloc(1, sizeof *f);
    assert_non_null(f);
    lp__message_init(&f->args);
    lp__message_init(&f->results);
    lp__call_fill_api(&f->api);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    fixture_t *f = *state;
    lp__message_free(&f->args);
    lp__message_free(&f->results);
    free(f);
    return 0;
}

/* A call begins, with these arguments so far. */
static inline lp_call_t *begin(fixture_t *f)
{
    f->state.call.api = &f->api;
    lp__call_begin(&f->state, &f->args, &f->results);
    return &f->state.call;
}

/* The header of arguments that are written next. */
static inline lp__message_t *args_of(fixture_t *f, int count)
{
    lp__message_reset(&f->args);
    assert_int_equal(lp__write_byte(&f->args, LP__WIRE_VERSION | LP__WIRE_FLAGS), 0);
    assert_int_equal(lp__write_int(&f->args, count), 0);
    return &f->args;
}

static inline uint32_t open_table(lp__message_t *m)
{
    uint32_t at;
    assert_int_equal(lp__write_table_open(m, &at), 0);
    return at;
}

static inline uint32_t open_ext(lp__message_t *m, int type)
{
    uint32_t at;
    assert_int_equal(lp__write_ext_open(m, type, &at), 0);
    return at;
}

static inline void write_text(lp__message_t *m, const char *text)
{
    assert_int_equal(lp__write_string(m, text, strlen(text)), 0);
}

static inline void write_int(lp__message_t *m, int64_t value)
{
    assert_int_equal(lp__write_int(m, value), 0);
}

static inline void write_ref(lp__message_t *m, uint32_t number)
{
    assert_int_equal(lp__write_ext_number(m, LP__EXT_REF, number), 0);
}

/* { [name] = n }: a table that says which one it is. */
static inline void write_marked(lp__message_t *m, int64_t n)
{
    uint32_t at = open_table(m);
    write_text(m, "mark");
    write_int(m, n);
    lp__write_map_close(m, at, 1);
}

/* ---- A value as text ------------------------------------------------------------- */

typedef struct {
    char at[4096];
    size_t len;
} text_t;

static inline void add(text_t *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text->at + text->len, sizeof text->at - text->len, format, args);
    va_end(args);
    assert_true(len >= 0 && text->len + (size_t)len < sizeof text->at);
    text->len += (size_t)len;
}

static inline void add_value(lp_call_t *call, text_t *text, lp_value_t value, int depth)
{
    int boolean;
    int64_t integer;
    double number;
    const char *bytes;
    size_t len;
    switch (value.type) {
    case LP_TYPE_NONE:
        add(text, "none");
        break;
    case LP_TYPE_NIL:
        add(text, "nil");
        break;
    case LP_TYPE_BOOLEAN:
        assert_int_equal(lp_get_boolean(call, value, &boolean), 0);
        add(text, boolean ? "true" : "false");
        break;
    case LP_TYPE_INTEGER:
        assert_int_equal(lp_get_integer(call, value, &integer), 0);
        add(text, "%lld", (long long)integer);
        break;
    case LP_TYPE_NUMBER:
        assert_int_equal(lp_get_number(call, value, &number), 0);
        add(text, "%.17gf", number);
        break;
    case LP_TYPE_STRING:
        assert_int_equal(lp_get_string(call, value, &bytes, &len), 0);
        add(text, "'%.*s'", (int)len, bytes);
        break;
    case LP_TYPE_TABLE: {
        lp_cursor_t cursor = {NULL, 0, 0};
        lp_value_t key, element;
        add(text, "{");
        while (depth > 0 && lp_table_next(call, value, &cursor, &key, &element)) {
            add_value(call, text, key, depth - 1);
            add(text, "=");
            add_value(call, text, element, depth - 1);
            add(text, " ");
        }
        add(text, depth > 0 ? "}" : "..}");
        break;
    }
    case LP_TYPE_OTHER:
        add(text, "other");
        break;
    }
}

static inline const char *text_of(lp_call_t *call, lp_value_t value)
{
    static text_t text;
    text.len = 0;
    add_value(call, &text, value, 4);
    return text.at;
}

/* All that was returned, as the arguments of a call that follows. */
static inline const char *results_of(fixture_t *f)
{
    static text_t text;
    fixture_t again;
    text.len = 0;
    text.at[0] = '\0';
    assert_int_equal(lp__call_end(&f->state), 0);
    assert_int_equal(lp__wire_check(f->results.data, f->results.len, 0), 0);
    again.state.call.api = &f->api;
    lp__message_init(&again.results);
    lp__call_begin(&again.state, &f->results, &again.results);
    lp_call_t *call = &again.state.call;
    for (int i = 1; i <= lp_arg_count(call); i++) {
        if (i > 1)
            add(&text, ", ");
        add_value(call, &text, lp_arg(call, i), 200);
    }
    lp__message_free(&again.results);
    return text.at;
}

#endif
