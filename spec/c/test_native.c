/* test_native.c - what a native job reads: arguments of every kind, the same object again, and
 * damaged messages. */
#include <limits.h>

#include "native.h"

/* ---- Reading --------------------------------------------------------------------- */

static void every_kind_of_value_is_read(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 8);
    int boolean = 7;
    int64_t integer = 7;
    double number = 7;
    const char *bytes = NULL;
    size_t len = 7;
    assert_int_equal(lp__write_nil(m), 0);
    assert_int_equal(lp__write_bool(m, true), 0);
    assert_int_equal(lp__write_bool(m, false), 0);
    write_int(m, INT64_MIN);
    assert_int_equal(lp__write_float(m, 0.5), 0);
    assert_int_equal(lp__write_string(m, "a\0b", 3), 0);
    assert_int_equal(lp__write_empty_table(m), 0);
    assert_int_equal(lp__write_ext_number(m, LP__EXT_HANDLE, 0), 0);
    lp_call_t *call = begin(f);

    assert_int_equal(lp_arg_count(call), 8);
    assert_int_equal(lp_arg(call, 1).type, LP_TYPE_NIL);
    assert_int_equal(lp_arg_boolean(call, 2, &boolean), 0);
    assert_int_equal(boolean, 1);
    assert_int_equal(lp_arg_boolean(call, 3, &boolean), 0);
    assert_int_equal(boolean, 0);
    assert_int_equal(lp_arg_integer(call, 4, &integer), 0);
    assert_true(integer == INT64_MIN);
    assert_int_equal(lp_arg_number(call, 5, &number), 0);
    assert_true(number > 0.4 && number < 0.6);
    assert_int_equal(lp_arg_string(call, 6, &bytes, &len), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(bytes, "a\0b", 3);
    assert_int_equal(lp_arg(call, 7).type, LP_TYPE_TABLE);
    assert_int_equal(lp_table_length(call, lp_arg(call, 7), &len), 0);
    assert_int_equal(len, 0);
    assert_int_equal(lp_arg(call, 8).type, LP_TYPE_OTHER);
    assert_int_equal(lp_arg(call, 0).type, LP_TYPE_NONE);
    assert_int_equal(lp_arg(call, 9).type, LP_TYPE_NONE);
    assert_int_equal(lp_arg(call, -1).type, LP_TYPE_NONE);
    assert_int_equal(lp_arg(call, INT_MAX).type, LP_TYPE_NONE);
}

static void an_integer_is_a_number_and_no_float_is_an_integer(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 2);
    int64_t integer = 7;
    double number = 0;
    write_int(m, 3);
    assert_int_equal(lp__write_float(m, 3), 0);
    lp_call_t *call = begin(f);
    assert_int_equal(lp_arg_number(call, 1, &number), 0);
    assert_true(number > 2.9 && number < 3.1);
    assert_true(lp_arg_integer(call, 2, &integer) < 0);
    assert_true(integer == 7);
}

static void a_wrong_type_is_refused_and_writes_nothing(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 8);
    assert_int_equal(lp__write_nil(m), 0);
    assert_int_equal(lp__write_bool(m, true), 0);
    write_int(m, 1);
    assert_int_equal(lp__write_float(m, 0.5), 0);
    write_text(m, "1");
    assert_int_equal(lp__write_empty_table(m), 0);
    assert_int_equal(lp__write_ext_number(m, LP__EXT_FUNCTION, 0), 0);
    assert_int_equal(lp__write_nil(m), 0);
    lp_call_t *call = begin(f);
    for (int i = 1; i <= 9; i++) { /* one more than there are */
        lp_value_t value = lp_arg(call, i), key, element;
        lp_cursor_t cursor = {NULL, 0, 0};
        int boolean = 7;
        int64_t integer = 7;
        double number = 7;
        const char *bytes = "untouched";
        size_t len = 7;
        assert_true(lp_get_boolean(call, value, &boolean) == 0 ? i == 2 : boolean == 7);
        assert_true(lp_get_integer(call, value, &integer) == 0 ? i == 3 : integer == 7);
        if (lp_get_number(call, value, &number) == 0)
            assert_true(i == 3 || i == 4);
        else
            assert_true(number > 6.9 && number < 7.1);
        if (lp_get_string(call, value, &bytes, &len) == 0)
            assert_int_equal(i, 5);
        else
            assert_true(strcmp(bytes, "untouched") == 0 && len == 7);
        assert_true(lp_table_length(call, value, &len) == 0 ? i == 6 : (len == 7 || i == 5));
        assert_int_equal(lp_table_at(call, value, 1).type, LP_TYPE_NONE);
        assert_int_equal(lp_table_get(call, value, "x").type, LP_TYPE_NONE);
        assert_int_equal(lp_table_next(call, value, &cursor, &key, &element), 0);
        assert_int_equal(key.type, LP_TYPE_NONE);
        assert_int_equal(element.type, LP_TYPE_NONE);
    }
}

static void a_list_has_a_length_and_elements(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 1);
    uint32_t at = open_table(m);
    size_t length = 0;
    for (int i = 1; i <= 300; i++)
        write_int(m, i * 1000);
    lp__write_array_close(m, at, 300);
    lp_call_t *call = begin(f);
    lp_value_t table = lp_arg(call, 1), key, value;
    assert_int_equal(lp_table_length(call, table, &length), 0);
    assert_int_equal(length, 300);
    assert_string_equal(text_of(call, lp_table_at(call, table, 1)), "1000");
    assert_string_equal(text_of(call, lp_table_at(call, table, 300)), "300000");
    assert_int_equal(lp_table_at(call, table, 0).type, LP_TYPE_NONE);
    assert_int_equal(lp_table_at(call, table, 301).type, LP_TYPE_NONE);
    assert_int_equal(lp_table_at(call, table, SIZE_MAX).type, LP_TYPE_NONE);
    assert_int_equal(lp_table_get(call, table, "1").type, LP_TYPE_NONE);
    lp_cursor_t cursor = {NULL, 0, 0};
    int64_t k, v, steps = 0;
    double also;
    while (lp_table_next(call, table, &cursor, &key, &value)) {
        steps++;
        assert_int_equal(lp_get_integer(call, key, &k), 0);
        assert_int_equal(lp_get_number(call, key, &also), 0);
        assert_int_equal(lp_get_integer(call, value, &v), 0);
        assert_true(k == steps && v == steps * 1000 && (int64_t)also == steps);
    }
    assert_int_equal(steps, 300);
    assert_int_equal(lp_table_next(call, table, &cursor, &key, &value), 0); /* and stays there */
}

/* { "a", "b", x = true, [0.5] = "half", [{}] = 1 } */
static void write_both(lp__message_t *m)
{
    uint32_t at = open_table(m);
    write_text(m, "a");
    write_text(m, "b");
    uint32_t tail = open_ext(m, LP__EXT_TAIL), map = open_table(m);
    write_text(m, "x");
    assert_int_equal(lp__write_bool(m, true), 0);
    assert_int_equal(lp__write_float(m, 0.5), 0);
    write_text(m, "half");
    assert_int_equal(lp__write_empty_table(m), 0);
    write_int(m, 1);
    lp__write_map_close(m, map, 3);
    lp__write_ext_close(m, tail);
    lp__write_array_close(m, at, 3);
}

static void a_list_with_fields_has_its_elements_first(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 2);
    size_t length = 0;
    write_both(m);
    write_text(m, "behind");
    lp_call_t *call = begin(f);
    lp_value_t table = lp_arg(call, 1);
    assert_string_equal(text_of(call, table), "{1='a' 2='b' 'x'=true 0.5f='half' {}=1 }");
    assert_int_equal(lp_table_length(call, table, &length), 0);
    assert_int_equal(length, 2);
    assert_string_equal(text_of(call, lp_table_at(call, table, 2)), "'b'");
    assert_int_equal(lp_table_at(call, table, 3).type, LP_TYPE_NONE);
    assert_string_equal(text_of(call, lp_table_get(call, table, "x")), "true");
    assert_int_equal(lp_table_get(call, table, "y").type, LP_TYPE_NONE);
    assert_string_equal(text_of(call, lp_arg(call, 2)), "'behind'");
}

static void fields_are_found_by_their_name(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 1);
    uint32_t at = open_table(m);
    write_int(m, 7);
    write_text(m, "seven");
    write_text(m, "");
    write_text(m, "empty");
    assert_int_equal(lp__write_string(m, "k\0", 2), 0);
    write_text(m, "with a zero");
    write_text(m, "k");
    assert_int_equal(lp__write_nil(m), 0);
    lp__write_map_close(m, at, 4);
    lp_call_t *call = begin(f);
    lp_value_t table = lp_arg(call, 1);
    size_t length = 7;
    assert_string_equal(text_of(call, lp_table_get(call, table, "")), "'empty'");
    assert_string_equal(text_of(call, lp_table_get(call, table, "k")), "nil");
    assert_int_equal(lp_table_get(call, table, "7").type, LP_TYPE_NONE);
    assert_int_equal(lp_table_at(call, table, 7).type, LP_TYPE_NONE); /* no element: a field */
    assert_int_equal(lp_table_length(call, table, &length), 0);
    assert_int_equal(length, 0);
}

static void empty_tables_have_nothing(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 3);
    assert_int_equal(lp__write_empty_table(m), 0);
    lp__write_map_close(m, open_table(m), 0);
    uint32_t at = open_table(m), tail = open_ext(m, LP__EXT_TAIL);
    lp__write_map_close(m, open_table(m), 0);
    lp__write_ext_close(m, tail);
    lp__write_array_close(m, at, 1);
    lp_call_t *call = begin(f);
    for (int i = 1; i <= 3; i++) {
        lp_value_t table = lp_arg(call, i), key, value;
        lp_cursor_t cursor = {NULL, 0, 0};
        size_t length = 7;
        assert_int_equal(lp_table_length(call, table, &length), 0);
        assert_int_equal(length, 0);
        assert_int_equal(lp_table_at(call, table, 1).type, LP_TYPE_NONE);
        assert_int_equal(lp_table_next(call, table, &cursor, &key, &value), 0);
        assert_int_equal(lp_table_next(call, table, &cursor, &key, &value), 0);
    }
}

static void tables_lie_in_tables_as_deep_as_a_message_may_go(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 1);
    uint32_t at[LP__WIRE_MAX_DEPTH];
    for (int i = 0; i < LP__WIRE_MAX_DEPTH; i++)
        at[i] = open_table(m);
    write_text(m, "deep");
    for (int i = LP__WIRE_MAX_DEPTH; i > 0; i--)
        lp__write_array_close(m, at[i - 1], 1);
    assert_int_equal(lp__wire_check(m->data, m->len, 0), 0);
    lp_call_t *call = begin(f);
    lp_value_t value = lp_arg(call, 1);
    for (int i = 0; i < LP__WIRE_MAX_DEPTH; i++) {
        assert_int_equal(value.type, LP_TYPE_TABLE);
        value = lp_table_at(call, value, 1);
    }
    assert_string_equal(text_of(call, value), "'deep'");
}

static void a_large_string_is_not_copied(void **state)
{
    fixture_t *f = *state;
    size_t size = 5000000, len = 0;
    char *text = malloc(size);
    const char *bytes = NULL;
    assert_non_null(text);
    memset(text, 'x', size);
    assert_int_equal(lp__write_string(args_of(f, 1), text, size), 0);
    lp_call_t *call = begin(f);
    assert_int_equal(lp_arg_string(call, 1, &bytes, &len), 0);
    assert_int_equal(len, size);
    assert_ptr_equal(bytes + len, f->args.data + f->args.len);
    assert_int_equal(lp_return_string(call, bytes, len), 0);
    assert_int_equal(lp__call_end(&f->state), 0);
    assert_int_equal(lp__wire_check(f->results.data, f->results.len, 0), 0);
    assert_memory_equal(f->results.data + f->results.len - size, text, size);
    free(text);
}

/* ---- The same object again --------------------------------------------------------- */

static void a_table_that_comes_twice_is_the_same_table(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 3);
    write_marked(m, 1);
    write_ref(m, 0);
    uint32_t at = open_table(m);
    write_ref(m, 0);
    lp__write_array_close(m, at, 1);
    lp_call_t *call = begin(f);
    assert_string_equal(text_of(call, lp_arg(call, 2)), "{'mark'=1 }");
    assert_string_equal(text_of(call, lp_arg(call, 3)), "{1={'mark'=1 } }");
}

static void a_table_may_hold_itself(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 1);
    uint32_t at = open_table(m);
    write_ref(m, 0);
    uint32_t tail = open_ext(m, LP__EXT_TAIL), map = open_table(m);
    write_text(m, "self");
    write_ref(m, 0);
    lp__write_map_close(m, map, 1);
    lp__write_ext_close(m, tail);
    lp__write_array_close(m, at, 2);
    lp_call_t *call = begin(f);
    lp_value_t value = lp_arg(call, 1);
    for (int i = 0; i < 1000; i++) {
        value = i % 2 ? lp_table_at(call, value, 1) : lp_table_get(call, value, "self");
        assert_int_equal(value.type, LP_TYPE_TABLE);
    }
}

/* Everything that is an object, that is none, and that holds some, in the order in which the
 * encoder numbers them: when they begin. A mark says what number a table ought to have. */
static void write_all_objects(lp__message_t *m)
{
    uint32_t at, tail, map, function, error, inner;
    at = open_table(m); /* 0: a list with fields */
    write_marked(m, 1);
    assert_int_equal(lp__write_ext_number(m, LP__EXT_HANDLE, 0), 0);
    uint32_t module = open_ext(m, LP__EXT_MODULE);
    write_text(m, "string");
    assert_int_equal(lp__write_nil(m), 0);
    lp__write_ext_close(m, module);
    tail = open_ext(m, LP__EXT_TAIL);
    map = open_table(m); /* none: the fields of 0 */
    write_marked(m, 2);  /* a key */
    write_marked(m, 3);
    lp__write_map_close(m, map, 1);
    lp__write_ext_close(m, tail);
    lp__write_array_close(m, at, 4);

    function = open_ext(m, LP__EXT_FUNCTION); /* 4 */
    write_int(m, 0);
    write_marked(m, 5); /* an upvalue */
    assert_int_equal(lp__write_ext_number(m, LP__EXT_CELL, 0), 0);
    inner = open_ext(m, LP__EXT_FUNCTION); /* 6 */
    write_int(m, 0);
    write_ref(m, 4);
    write_marked(m, 7);
    lp__write_ext_close(m, inner);
    write_marked(m, 8);
    lp__write_ext_close(m, function);

    assert_int_equal(lp__write_ext_number(m, LP__EXT_FUNCTION, 1), 0); /* 9 */

    error = open_ext(m, LP__EXT_ERROR); /* 10 */
    write_text(m, "JobError");
    map = open_table(m); /* none: its fields */
    write_text(m, "mark");
    write_int(m, 10);
    write_text(m, "cause");
    uint32_t cause = open_ext(m, LP__EXT_ERROR); /* 11 */
    write_text(m, "TimeoutError");
    at = open_table(m);
    write_marked(m, 12);
    tail = open_ext(m, LP__EXT_TAIL);
    inner = open_table(m);
    write_text(m, "mark");
    write_int(m, 11);
    lp__write_map_close(m, inner, 1);
    lp__write_ext_close(m, tail);
    lp__write_array_close(m, at, 2);
    lp__write_ext_close(m, cause);
    lp__write_map_close(m, map, 2);
    lp__write_ext_close(m, error);

    error = open_ext(m, LP__EXT_ERROR); /* 13: without fields */
    write_text(m, "JobError");
    assert_int_equal(lp__write_empty_table(m), 0);
    lp__write_ext_close(m, error);
    write_marked(m, 14);
}

enum { ALL_OBJECTS = 15, ALL_VALUES = 6 };

static void objects_are_numbered_as_the_encoder_numbers_them(void **state)
{
    fixture_t *f = *state;
    static const int functions[] = {4, 6, 9}, unmarked[] = {0, 13};
    for (uint32_t number = 0; number <= ALL_OBJECTS; number++) {
        lp__message_t *m = args_of(f, ALL_VALUES + 1);
        write_all_objects(m);
        write_ref(m, number);
        if (number < ALL_OBJECTS)
            assert_int_equal(lp__wire_check(m->data, m->len, 2), 0);
        lp_call_t *call = begin(f);
        lp_value_t value = lp_arg(call, ALL_VALUES + 1);
        int64_t mark = -1;
        lp_type_t expected = LP_TYPE_TABLE;
        bool marked = true;
        for (size_t i = 0; i < COUNT_OF(functions); i++)
            if ((int)number == functions[i])
                expected = LP_TYPE_OTHER;
        for (size_t i = 0; i < COUNT_OF(unmarked); i++)
            marked = marked && (int)number != unmarked[i];
        if (number == ALL_OBJECTS) /* there are not so many */
            expected = LP_TYPE_NONE;
        assert_int_equal(value.type, expected);
        if (expected != LP_TYPE_TABLE || !marked)
            continue;
        assert_int_equal(lp_get_integer(call, lp_table_get(call, value, "mark"), &mark), 0);
        assert_int_equal(mark, number);
    }
}

static void what_objects_hold_is_read(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, ALL_VALUES);
    write_all_objects(m);
    lp_call_t *call = begin(f);
    assert_string_equal(text_of(call, lp_arg(call, 1)),
                        "{1={'mark'=1 } 2=other 3=other {'mark'=2 }={'mark'=3 } }");
    assert_string_equal(text_of(call, lp_arg(call, 2)), "other");
    assert_string_equal(text_of(call, lp_arg(call, 3)), "other");
    assert_string_equal(text_of(call, lp_arg(call, 4)),
                        "{'mark'=10 'cause'={1={'mark'=12 } 'mark'=11 } }");
    assert_string_equal(text_of(call, lp_arg(call, 5)), "{}");
    assert_string_equal(text_of(call, lp_arg(call, 6)), "{'mark'=14 }");
}

/* ---- Damage ------------------------------------------------------------------------ */

static uint64_t seed;

static uint32_t below(uint32_t bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % bound;
}

/* A value of any kind, whether the message is right or not. */
static void write_random(lp__message_t *m, int depth)
{
    uint32_t at, ext, count = below(4);
    switch (below(depth > 0 ? 12 : 7)) {
    case 0:
        assert_int_equal(lp__write_nil(m), 0);
        break;
    case 1:
        assert_int_equal(lp__write_bool(m, below(2)), 0);
        break;
    case 2:
        write_int(m, (int64_t)below(200000) - 100000);
        break;
    case 3:
        assert_int_equal(lp__write_float(m, 0.25), 0);
        break;
    case 4:
        assert_int_equal(lp__write_string(m, "some words of some length, and more", below(36)), 0);
        break;
    case 5:
        write_ref(m, below(8));
        break;
    case 6:
        assert_int_equal(lp__write_ext_number(m, LP__EXT_CELL, below(3)), 0);
        break;
    case 7:
    case 8:
        at = open_table(m);
        for (uint32_t i = 0; i < count; i++)
            write_random(m, depth - 1);
        lp__write_array_close(m, at, count);
        break;
    case 9:
        at = open_table(m);
        for (uint32_t i = 0; i < 2 * count; i++)
            write_random(m, depth - 1);
        lp__write_map_close(m, at, count);
        break;
    default:
        ext = open_ext(m, 1 + (int)below(LP__EXT_LAST));
        for (uint32_t i = 0; i < count; i++)
            write_random(m, depth - 1);
        lp__write_ext_close(m, ext);
        break;
    }
}

/* Looks at all there is to be seen, in `steps` steps at most. */
static void look_at(lp_call_t *call, lp_value_t value, int depth, int *steps)
{
    int boolean, walked = 0;
    int64_t integer;
    double number;
    const char *bytes;
    size_t len = 0;
    volatile char sum = 0;
    if (--*steps < 0)
        return;
    (void)lp_get_boolean(call, value, &boolean);
    (void)lp_get_integer(call, value, &integer);
    (void)lp_get_number(call, value, &number);
    if (lp_get_string(call, value, &bytes, &len) == 0)
        for (size_t i = 0; i < len; i++)
            sum = (char)(sum + bytes[i]);
    if (lp_table_length(call, value, &len) == 0 && len < 10)
        for (size_t i = 0; i <= len + 1; i++)
            (void)lp_table_at(call, value, i);
    (void)lp_table_get(call, value, "some");
    lp_cursor_t cursor = {NULL, 0, 0};
    lp_value_t key, element;
    while (depth > 0 && *steps > 0 && walked++ < 20 &&
           lp_table_next(call, value, &cursor, &key, &element)) {
        look_at(call, key, depth - 1, steps);
        look_at(call, element, depth - 1, steps);
    }
}

/* The arguments lie in a block of just their size, so that the sanitizer sees what is beyond. */
static void look_at_all(fixture_t *f, const uint8_t *bytes, uint32_t len)
{
    int steps = 300;
    uint8_t *exact = malloc(len ? len : 1);
    lp__message_t args = {.data = exact, .len = len, .cap = len};
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    f->state.call.api = &f->api;
    lp__call_begin(&f->state, &args, &f->results);
    lp_call_t *call = &f->state.call;
    int count = lp_arg_count(call);
    for (int i = 0; i <= count + 1 && i < 20; i++)
        look_at(call, lp_arg(call, i), 5, &steps);
    free(exact);
}

static void nothing_is_read_beyond_a_damaged_message(void **state)
{
    fixture_t *f = *state;
    seed = UINT64_C(0x9e3779b97f4a7c15);
    for (int round = 0; round < 20000; round++) {
        lp__message_t *m = args_of(f, (int)below(5));
        for (int i = 0; i < 4; i++)
            write_random(m, 4);
        look_at_all(f, m->data, m->len);
        for (int damage = 0; damage < 4; damage++) {
            for (uint32_t i = 0; i <= below(3); i++)
                m->data[2 + below(m->len - 2)] = (uint8_t)below(256);
            look_at_all(f, m->data, m->len);
        }
        look_at_all(f, m->data, below(m->len + 1));
    }
    for (int round = 0; round < 100000; round++) {
        uint8_t bytes[40] = {LP__WIRE_VERSION, 3};
        for (size_t i = 2; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)below(256);
        look_at_all(f, bytes, below(sizeof bytes + 1));
    }
}

static void a_reference_to_an_error_that_is_that_reference_is_nothing(void **state)
{
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 2);
    uint32_t error = open_ext(m, LP__EXT_ERROR);
    write_text(m, "JobError");
    write_ref(m, 0);
    write_marked(m, 0);
    lp__write_ext_close(m, error);
    write_ref(m, 0);
    lp_call_t *call = begin(f);
    assert_int_equal(lp_arg(call, 1).type, LP_TYPE_NONE);
    assert_int_equal(lp_arg(call, 2).type, LP_TYPE_NONE);
}

static void extensions_in_extensions_are_searched_only_so_deep(void **state)
{
    enum { DEPTH = 500000 }; /* on the stack that would be tens of megabytes */
    fixture_t *f = *state;
    lp__message_t *m = args_of(f, 2);
    uint32_t *at = malloc(DEPTH * sizeof *at);
    assert_non_null(at);
    for (int i = 0; i < DEPTH; i++) {
        at[i] = open_ext(m, LP__EXT_TAIL);
        write_int(m, 0); /* what ought to be the map is passed */
    }
    write_marked(m, 0);
    for (int i = DEPTH; i > 0; i--)
        lp__write_ext_close(m, at[i - 1]);
    write_ref(m, 0);
    free(at);
    assert_int_equal(lp_arg(begin(f), 2).type, LP_TYPE_NONE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_kind_of_value_is_read),
        T(an_integer_is_a_number_and_no_float_is_an_integer),
        T(a_wrong_type_is_refused_and_writes_nothing),
        T(a_list_has_a_length_and_elements),
        T(a_list_with_fields_has_its_elements_first),
        T(fields_are_found_by_their_name),
        T(empty_tables_have_nothing),
        T(tables_lie_in_tables_as_deep_as_a_message_may_go),
        T(a_large_string_is_not_copied),
        T(a_table_that_comes_twice_is_the_same_table),
        T(a_table_may_hold_itself),
        T(objects_are_numbered_as_the_encoder_numbers_them),
        T(what_objects_hold_is_read),
        T(nothing_is_read_beyond_a_damaged_message),
        T(a_reference_to_an_error_that_is_that_reference_is_nothing),
        T(extensions_in_extensions_are_searched_only_so_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
