/* test_wire.c - messages, the writer, the reader, and the check of whole messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "leasepool.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* ---- Messages ---- */

static void message_starts_inline_and_empty(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    assert_int_equal(m.len, 0);
    assert_ptr_equal(m.data, m.small);
    assert_null(m.attached);
    assert_int_equal(lp__message_reserve(&m, LP__MESSAGE_SMALL), 0);
    assert_ptr_equal(m.data, m.small);
    lp__message_free(&m);
}

static void message_grows_and_keeps_its_bytes(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(lp__write_byte(&m, (uint8_t)(i * 7)), 0);
    assert_int_equal(m.len, 100000);
    assert_true(m.cap < 100000 * 2 + 256);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(m.data[i], (uint8_t)(i * 7));
    lp__message_free(&m);
    assert_ptr_equal(m.data, m.small);
    assert_int_equal(m.cap, LP__MESSAGE_SMALL);
}

static void message_reset_keeps_the_buffer_and_fit_gives_back_what_is_not_needed(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    assert_int_equal(lp__message_reserve(&m, 1000000), 0);
    uint8_t *block = m.data;
    m.len = 1000000;
    lp__message_reset(&m);
    assert_int_equal(m.len, 0);
    assert_ptr_equal(m.data, block);
    memset(m.data, 7, 1000);
    m.len = 1000;
    lp__message_fit(&m); /* to what is in it */
    assert_int_equal(m.cap, 1000);
    assert_int_equal(m.len, 1000);
    assert_int_equal(m.data[999], 7);
    m.len = LP__MESSAGE_SMALL;
    lp__message_fit(&m); /* back into the struct */
    assert_ptr_equal(m.data, m.small);
    assert_int_equal(m.len, LP__MESSAGE_SMALL);
    assert_int_equal(m.data[LP__MESSAGE_SMALL - 1], 7);
    assert_false(lp__message_is_large(&m));
    lp__message_fit(&m);
    assert_ptr_equal(m.data, m.small);
    lp__message_free(&m);
}

static void a_moved_message_is_whole_in_its_new_place(void **state)
{
    (void)state;
    lp__message_t from, to;
    lp__message_init(&from);
    memcpy(from.data, "abc", 3);
    from.len = 3;
    lp__message_move(&to, &from);
    assert_ptr_equal(to.data, to.small);
    assert_memory_equal(to.data, "abc", 3);
    assert_int_equal(from.len, 0);
    assert_int_equal(lp__message_reserve(&to, 5000), 0);
    uint8_t *block = to.data;
    lp__message_move(&from, &to);
    assert_ptr_equal(from.data, block);
    assert_memory_equal(from.data, "abc", 3);
    assert_ptr_equal(to.data, to.small);
    lp__message_free(&from);
    lp__message_free(&to);
}

static void message_refuses_what_is_too_long(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    assert_int_equal(lp__message_reserve(&m, (size_t)LP__MESSAGE_MAX + 1), LP_ETRANSFER);
    assert_int_equal(lp__message_reserve(&m, SIZE_MAX), LP_ETRANSFER);
    assert_int_equal(lp__write_byte(&m, 1), 0);
    assert_int_equal(lp__message_reserve(&m, LP__MESSAGE_MAX), LP_ETRANSFER);
    assert_int_equal(lp__write_string(&m, "", SIZE_MAX - 2), LP_ETRANSFER);
    assert_int_equal(m.len, 1);
    lp__message_free(&m);
}

static void message_survives_failing_allocations(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    assert_int_equal(lp__write_int(&m, 5), 0);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 1);
    assert_int_equal(lp__message_reserve(&m, 100), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
    assert_ptr_equal(m.data, m.small);
    assert_int_equal(m.len, 1);
    assert_int_equal(lp__message_reserve(&m, 100), 0);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 1);
    assert_int_equal(lp__message_reserve(&m, 1000), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
    assert_int_equal(m.data[0], 5);
    lp__message_free(&m);
}

typedef struct {
    lp__shared_t shared;
    int *freed;
} object_t;

static void object_free(lp__shared_t *shared)
{
    object_t *object = (object_t *)(void *)shared;
    ++*object->freed;
    free(object);
}

static object_t *object_new(int *freed)
{
    object_t *object = malloc(sizeof *object);
    assert_non_null(object);
    lp__shared_init(&object->shared, object_free);
    object->freed = freed;
    return object;
}

static void attached_objects_live_as_long_as_the_message(void **state)
{
    (void)state;
    int freed = 0;
    lp__message_t m;
    lp__message_init(&m);
    object_t *first = NULL;
    for (uint32_t i = 0; i < 20; i++) {
        object_t *object = object_new(&freed);
        if (i == 0)
            first = object;
        uint32_t index = 99;
        assert_int_equal(lp__message_attach(&m, &object->shared, &index), 0);
        assert_int_equal(index, i);
        lp__shared_release(&object->shared);
    }
    uint32_t again = 99;
    assert_int_equal(lp__message_attach(&m, &first->shared, &again), 0);
    assert_int_equal(again, 0);
    assert_int_equal(m.attached->count, 20);
    assert_int_equal(freed, 0);
    lp__message_reset(&m);
    assert_int_equal(freed, 20);
    assert_null(m.attached);
    lp__message_free(&m);
}

static void attaching_without_memory_takes_no_reference(void **state)
{
    (void)state;
    int freed = 0;
    object_t *object = object_new(&freed);
    lp__message_t m;
    lp__message_init(&m);
    uint32_t index;
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 1);
    assert_int_equal(lp__message_attach(&m, &object->shared, &index), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
    assert_null(m.attached);
    lp__shared_retain(&object->shared);
    lp__shared_release(&object->shared);
    assert_int_equal(freed, 0);
    lp__shared_release(&object->shared);
    lp__shared_release(NULL);
    assert_int_equal(freed, 1);
    lp__message_free(&m);
}

/* ---- Tokens ---- */

static lp__token_t only_token(const lp__message_t *m)
{
    lp__reader_t reader;
    lp__token_t token;
    lp__reader_init(&reader, m->data, m->len);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_ptr_equal(reader.pos, reader.end);
    return token;
}

static void expect_int(int64_t value, uint32_t bytes)
{
    lp__message_t m;
    lp__message_init(&m);
    assert_int_equal(lp__write_int(&m, value), 0);
    assert_int_equal(m.len, bytes);
    lp__token_t token = only_token(&m);
    assert_int_equal(token.kind, LP__TOKEN_INT);
    assert_true(token.u.integer == value);
    lp__message_free(&m);
}

static void integers_take_their_shortest_form(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        uint32_t bytes;
    } rows[] = {
        {0, 1},
        {127, 1},
        {128, 2},
        {255, 2},
        {256, 3},
        {65535, 3},
        {65536, 5},
        {UINT32_MAX, 5},
        {INT64_C(1) << 32, 9},
        {INT64_MAX, 9},
        {-1, 1},
        {-32, 1},
        {-33, 2},
        {-128, 2},
        {-129, 3},
        {-32768, 3},
        {-32769, 5},
        {INT32_MIN, 5},
        {(int64_t)INT32_MIN - 1, 9},
        {INT64_MIN, 9},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_int(rows[i].value, rows[i].bytes);
}

static void floats_keep_every_bit(void **state)
{
    (void)state;
    static const uint64_t patterns[] = {
        0, UINT64_C(1) << 63,           UINT64_C(0x7ff0000000000000), UINT64_C(0x7ff8000000000123),
        1, UINT64_C(0x3ff0000000000000)};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        double value;
        uint64_t back;
        memcpy(&value, &patterns[i], sizeof value);
        lp__message_t m;
        lp__message_init(&m);
        assert_int_equal(lp__write_float(&m, value), 0);
        lp__token_t token = only_token(&m);
        assert_int_equal(token.kind, LP__TOKEN_FLOAT);
        memcpy(&back, &token.u.number, sizeof back);
        assert_true(back == patterns[i]);
        lp__message_free(&m);
    }
}

static void small_scalars_round_trip(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    assert_int_equal(lp__write_nil(&m), 0);
    assert_int_equal(only_token(&m).kind, LP__TOKEN_NIL);
    lp__message_reset(&m);
    assert_int_equal(lp__write_bool(&m, true), 0);
    lp__token_t token = only_token(&m);
    assert_int_equal(token.kind, LP__TOKEN_BOOL);
    assert_true(token.u.boolean);
    lp__message_reset(&m);
    assert_int_equal(lp__write_bool(&m, false), 0);
    assert_false(only_token(&m).u.boolean);
    lp__message_reset(&m);
    assert_int_equal(lp__write_empty_table(&m), 0);
    token = only_token(&m);
    assert_int_equal(token.kind, LP__TOKEN_ARRAY);
    assert_int_equal(token.len, 0);
    lp__message_free(&m);
}

static void strings_round_trip_at_every_header(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 300000};
    char *text = malloc(300000);
    assert_non_null(text);
    for (size_t i = 0; i < 300000; i++)
        text[i] = (char)(i * 31);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        lp__message_t m;
        lp__message_init(&m);
        assert_int_equal(lp__write_string(&m, text, lengths[i]), 0);
        lp__token_t token = only_token(&m);
        assert_int_equal(token.kind, LP__TOKEN_STRING);
        assert_int_equal(token.len, lengths[i]);
        assert_memory_equal(token.u.bytes, text, lengths[i]);
        lp__message_free(&m);
    }
    free(text);
}

static void containers_are_closed_in_place(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    uint32_t array, ext, map;
    assert_int_equal(lp__write_table_open(&m, &array), 0);
    assert_int_equal(lp__write_int(&m, 1), 0);
    assert_int_equal(lp__write_ext_open(&m, LP__EXT_TAIL, &ext), 0);
    assert_int_equal(lp__write_table_open(&m, &map), 0);
    assert_int_equal(lp__write_string(&m, "k", 1), 0);
    assert_int_equal(lp__write_nil(&m), 0);
    lp__write_map_close(&m, map, 1);
    lp__write_ext_close(&m, ext);
    lp__write_array_close(&m, array, 2);

    lp__reader_t reader, outer;
    lp__token_t token;
    lp__reader_init(&reader, m.data, m.len);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(token.kind, LP__TOKEN_ARRAY);
    assert_int_equal(token.len, 2);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(token.u.integer, 1);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(token.kind, LP__TOKEN_EXT);
    assert_int_equal(token.ext, LP__EXT_TAIL);
    assert_ptr_equal(reader.pos, reader.end);
    lp__reader_enter(&reader, &token, &outer);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(token.kind, LP__TOKEN_MAP);
    assert_int_equal(token.len, 1);
    lp__reader_t early = reader;
    assert_int_equal(lp__reader_leave(&early, &outer), LP_ETRANSFER); /* the pair is unread */
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(token.kind, LP__TOKEN_STRING);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(lp__reader_leave(&reader, &outer), 0);
    assert_ptr_equal(reader.pos, reader.end);
    lp__message_free(&m);
}

static void extension_numbers_round_trip(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {0, 127, 128, 255, 256, 65535, 65536, UINT32_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        lp__message_t m;
        lp__message_init(&m);
        assert_int_equal(lp__write_ext_number(&m, LP__EXT_REF, numbers[i]), 0);
        lp__token_t token = only_token(&m);
        uint32_t number = 1;
        assert_int_equal(token.ext, LP__EXT_REF);
        assert_int_equal(lp__reader_ext_number(&token, &number), 0);
        assert_int_equal(number, numbers[i]);
        lp__message_free(&m);
    }
}

static int next_of(const char *bytes, size_t len, lp__token_t *token)
{
    uint8_t *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    lp__reader_t reader;
    lp__reader_init(&reader, exact, len);
    int rc = lp__reader_next(&reader, token);
    assert_true(reader.pos <= reader.end);
    free(exact);
    return rc;
}

static void forms_of_other_encoders_are_read(void **state)
{
    (void)state;
    lp__token_t token;
    assert_int_equal(next_of("\xca\x3f\x80\x00\x00", 5, &token), 0);
    assert_true(token.kind == LP__TOKEN_FLOAT && token.u.number > 0.99 && token.u.number < 1.01);
    assert_int_equal(next_of("\xc4\x01z", 3, &token), 0);
    assert_int_equal(token.kind, LP__TOKEN_STRING);
    assert_int_equal(next_of("\xc6\x00\x00\x00\x01z", 6, &token), 0);
    assert_int_equal(next_of("\xdc\x00\x01\xc0", 4, &token), 0);
    assert_true(token.kind == LP__TOKEN_ARRAY && token.len == 1);
    assert_int_equal(next_of("\xde\x00\x01\xc0\xc0", 5, &token), 0);
    assert_true(token.kind == LP__TOKEN_MAP && token.len == 1);
    assert_int_equal(next_of("\xd3\x80\x00\x00\x00\x00\x00\x00\x00", 9, &token), 0);
    assert_true(token.u.integer == INT64_MIN);
    assert_int_equal(next_of("\xd8\x01"
                             "0123456789abcdef",
                             18, &token),
                     0);
    assert_true(token.kind == LP__TOKEN_EXT && token.len == 16);
}

static void what_has_no_place_is_refused(void **state)
{
    (void)state;
    lp__token_t token;
    assert_int_equal(next_of("", 0, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xc1", 1, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xcf\x80\x00\x00\x00\x00\x00\x00\x00", 9, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xd4\x00\x00", 3, &token), LP_ETRANSFER); /* type 0 */
    assert_int_equal(next_of("\xd4\x08\x00", 3, &token), LP_ETRANSFER); /* one too many */
    assert_int_equal(next_of("\xd4\xff\x00", 3, &token), LP_ETRANSFER); /* MessagePack's own */
}

static void counts_are_checked_against_what_is_left(void **state)
{
    (void)state;
    lp__token_t token;
    assert_int_equal(next_of("\xdd\xff\xff\xff\xff\xc0", 6, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xdf\xff\xff\xff\xff\xc0", 6, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xdf\x80\x00\x00\x00\xc0", 6, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xdb\xff\xff\xff\xff\xc0", 6, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xc6\xff\xff\xff\xff\xc0", 6, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xc9\xff\xff\xff\xff\x01", 6, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\x92\xc0", 2, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\x81\xc0", 2, &token), LP_ETRANSFER);
    assert_int_equal(next_of("\xa2x", 2, &token), LP_ETRANSFER);
}

static void announced_elements_are_counted_once(void **state)
{
    (void)state;
    /* [[.., ..], ..] with one byte less than the two arrays together announce */
    static const uint8_t bytes[] = {0x93, 0x93, 0xc0, 0xc0, 0xc0, 0xc0};
    lp__reader_t reader;
    lp__token_t token;
    lp__reader_init(&reader, bytes, sizeof bytes);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(lp__reader_next(&reader, &token), LP_ETRANSFER);
    static const uint8_t enough[] = {0x93, 0x93, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0};
    lp__reader_init(&reader, enough, sizeof enough);
    for (int i = 0; i < 7; i++)
        assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_int_equal(reader.owed, 0);
    assert_int_equal(lp__reader_next(&reader, &token), LP_ETRANSFER);
}

/* ---- Whole messages ---- */

static int check(const char *bytes, size_t len, uint32_t attached)
{
    uint8_t *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, len);
    int rc = lp__wire_check(exact, len, attached);
    free(exact);
    return rc;
}

#define ACCEPTED(bytes, attached) assert_int_equal(check(bytes, sizeof(bytes) - 1, attached), 0)
#define REFUSED(bytes, attached)                                                                   \
    assert_int_equal(check(bytes, sizeof(bytes) - 1, attached), LP_ETRANSFER)

static void whole_messages_are_checked(void **state)
{
    (void)state;
    ACCEPTED("\x01\x00", 0);
    ACCEPTED("\x01\x02\xc0\x81\xa1k\x93\x01\x02\x03", 0);
    REFUSED("", 0);
    REFUSED("\x01", 0);
    REFUSED("\x00\x00", 0);
    REFUSED("\x81\x00", 0);
    REFUSED("\x01\x01", 0);
    REFUSED("\x01\x01\xc0\xc0", 0);
    REFUSED("\x01\xff", 0);
    /* references: only backwards, only when announced; a table may hold itself */
    ACCEPTED("\x11\x01\x91\xd4\x01\x00", 0);
    REFUSED("\x01\x01\x91\xd4\x01\x00", 0);
    REFUSED("\x11\x01\x91\xd4\x01\x01", 0);
    REFUSED("\x11\x01\xd4\x01\x00", 0);
    REFUSED("\x11\x01\x91\xd5\x01\x00\x00", 0);
    REFUSED("\x11\x01\x91\xd4\x01\xff", 0);
    /* tails: only last in an array, only maps */
    ACCEPTED("\x01\x01\x92\x01\xd4\x02\x80", 0);
    ACCEPTED("\x01\x01\x92\x01\xc7\x04\x02\x81\xa1k\x05", 0);
    REFUSED("\x01\x01\x92\xd4\x02\x80\x01", 0);
    REFUSED("\x01\x01\xd4\x02\x80", 0);
    REFUSED("\x01\x01\x91\xd4\x02\x90", 0);
    REFUSED("\x01\x01\x91\xd5\x02\x80\x80", 0);
    REFUSED("\x01\x01\x91\xc7\x00\x02", 0);
    /* keys */
    REFUSED("\x01\x01\x81\xc0\x01", 0);
    REFUSED("\x01\x01\x81\xca\x7f\xc0\x00\x00\x01", 0);
    ACCEPTED("\x01\x01\x81\x90\x01", 0);
    /* functions and cells */
    ACCEPTED("\x01\x01\xd4\x03\x00", 1);
    REFUSED("\x01\x01\xd4\x03\x00", 0);
    REFUSED("\x01\x01\xd4\x03\x01", 1);
    ACCEPTED("\x21\x01\xc7\x05\x03\x00\x07\xd4\x04\x00", 1);
    ACCEPTED("\x31\x01\xc7\x04\x03\x00\xd4\x01\x00", 1);
    REFUSED("\x01\x01\xc7\x05\x03\x00\x07\xd4\x04\x00", 1);
    REFUSED("\x21\x01\xc7\x05\x03\x00\x07\xd4\x04\x01", 1);
    REFUSED("\x21\x01\xd4\x04\x00", 1);
    REFUSED("\x01\x01\xc7\x00\x03", 1);
    /* modules */
    ACCEPTED("\x01\x01\xc7\x03\x05\xa1m\xc0", 0);
    ACCEPTED("\x01\x01\xc7\x04\x05\xa1m\xa1k", 0);
    REFUSED("\x01\x01\xc7\x02\x05\xa1m", 0);
    REFUSED("\x01\x01\xc7\x03\x05\xa1m\x01", 0);
    REFUSED("\x01\x01\xc7\x05\x05\xa1m\xa1k\xc0", 0);
    /* errors */
    ACCEPTED("\x01\x01\xc7\x03\x06\xa1"
             "E\x80",
             0);
    ACCEPTED("\x11\x02\xc7\x03\x06\xa1"
             "E\x80\xd4\x01\x00",
             0);
    REFUSED("\x01\x01\xc7\x03\x06\xa1"
            "E\xc0",
            0);
    REFUSED("\x01\x01\xd5\x06\x80\x80", 0);
    /* handles: a number, and nothing else, of something attached; whether that is one is not told
     */
    ACCEPTED("\x01\x02\xd4\x07\x00\xd4\x07\x01", 2);
    ACCEPTED("\x01\x01\x81\xd4\x07\x00\xd4\x07\x00", 1);
    ACCEPTED("\x01\x01\xd5\x07\xcc\xc8", 201);
    REFUSED("\x01\x01\xd5\x07\xcc\xc8", 200);
    REFUSED("\x01\x01\xd4\x07\x00", 0);
    REFUSED("\x01\x01\xd4\x07\x01", 1);
    REFUSED("\x01\x01\xd4\x07\xff", 1);
    REFUSED("\x01\x01\xd4\x07\xc0", 1);
    REFUSED("\x01\x01\xd5\x07\x00\x00", 1);
    REFUSED("\x01\x01\xd5\x07\xa1\x00", 1);
    REFUSED("\x01\x01\xc7\x00\x07", 1);
    REFUSED("\x01\x01\xc7\x05\x07\xce\xff\xff\xff\xff", UINT32_MAX);
    ACCEPTED("\x01\x01\xc7\x05\x07\xce\xff\xff\xff\xfe", UINT32_MAX);
    REFUSED("\x11\x02\xd4\x07\x00\xd4\x01\x00", 1); /* is no object */
    REFUSED("\x21\x01\xc7\x05\x03\x00\xd4\x07\x00\xd4", 1);
    ACCEPTED("\x01\x01\xc7\x04\x03\x00\xd4\x07\x00", 1);
}

static int check_nested(unsigned levels)
{
    char bytes[1024] = "\x01\x01";
    memset(bytes + 2, 0x91, levels);
    bytes[2 + levels] = (char)0xc0;
    return check(bytes, levels + 3, 0);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(check_nested(LP__WIRE_MAX_DEPTH), 0);
    assert_int_equal(check_nested(LP__WIRE_MAX_DEPTH + 1), LP_ETRANSFER);
    assert_int_equal(check_nested(1000), LP_ETRANSFER);
    size_t len = 1 << 20;
    uint8_t *deep = malloc(len);
    assert_non_null(deep);
    memset(deep, 0x91, len);
    deep[0] = deep[1] = 1;
    assert_int_equal(lp__wire_check(deep, len, 0), LP_ETRANSFER);
    free(deep);
}

/* One message of everything. */
static void write_corpus(lp__message_t *m)
{
    uint32_t array, ext, map;
    int rc = lp__write_byte(m, LP__WIRE_VERSION | LP__WIRE_FLAGS);
    rc |= lp__write_int(m, 12);
    rc |= lp__write_nil(m);
    rc |= lp__write_bool(m, true);
    rc |= lp__write_int(m, 70000);
    rc |= lp__write_int(m, -5000000000);
    rc |= lp__write_float(m, 2.5);
    rc |= lp__write_string(m, "short", 5);
    rc |= lp__write_string(m, "a string that is longer than thirty-one bytes", 45);
    /* 8: a table of both kinds, which holds itself */
    rc |= lp__write_table_open(m, &array);
    rc |= lp__write_int(m, 300);
    rc |= lp__write_ext_open(m, LP__EXT_TAIL, &ext);
    rc |= lp__write_table_open(m, &map);
    rc |= lp__write_string(m, "self", 4);
    rc |= lp__write_ext_number(m, LP__EXT_REF, 0);
    rc |= lp__write_float(m, 1.5);
    rc |= lp__write_empty_table(m);
    lp__write_map_close(m, map, 2);
    lp__write_ext_close(m, ext);
    lp__write_array_close(m, array, 2);
    /* 9: a function with a value, itself, and a shared cell */
    rc |= lp__write_ext_open(m, LP__EXT_FUNCTION, &ext);
    rc |= lp__write_int(m, 1);
    rc |= lp__write_int(m, 42);
    rc |= lp__write_ext_number(m, LP__EXT_REF, 2);
    rc |= lp__write_ext_number(m, LP__EXT_CELL, 0);
    lp__write_ext_close(m, ext);
    /* 10: a module */
    rc |= lp__write_ext_open(m, LP__EXT_MODULE, &ext);
    rc |= lp__write_string(m, "string", 6);
    rc |= lp__write_string(m, "upper", 5);
    lp__write_ext_close(m, ext);
    /* 11: an error */
    rc |= lp__write_ext_open(m, LP__EXT_ERROR, &ext);
    rc |= lp__write_string(m, "JobError", 8);
    rc |= lp__write_table_open(m, &map);
    rc |= lp__write_string(m, "message", 7);
    rc |= lp__write_string(m, "boom", 4);
    lp__write_map_close(m, map, 1);
    lp__write_ext_close(m, ext);
    /* 12: a handle */
    rc |= lp__write_ext_number(m, LP__EXT_HANDLE, 1);
    assert_int_equal(rc, 0);
}

/* Reads tokens, into every extension, until the end or an error. */
static void read_all(const uint8_t *bytes, size_t len, unsigned depth)
{
    lp__reader_t reader;
    lp__token_t token;
    lp__reader_init(&reader, bytes, len);
    while (lp__reader_next(&reader, &token) == 0) {
        assert_true(reader.pos <= reader.end);
        if (token.kind == LP__TOKEN_STRING || token.kind == LP__TOKEN_EXT) {
            assert_true(token.u.bytes >= bytes && token.u.bytes + token.len <= bytes + len);
            volatile uint8_t sum = 0; /* touch every byte, for the sanitizers */
            for (uint32_t i = 0; i < token.len; i++)
                sum = (uint8_t)(sum + token.u.bytes[i]);
        }
        if (token.kind == LP__TOKEN_EXT && depth < 32)
            read_all(token.u.bytes, token.len, depth + 1);
    }
    assert_true(reader.pos <= reader.end);
}

static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    lp__message_t m;
    lp__message_init(&m);
    write_corpus(&m);
    assert_int_equal(check((const char *)m.data, m.len, 2), 0);

    for (uint32_t len = 0; len < m.len; len++) {
        uint8_t *prefix = malloc(len ? len : 1);
        assert_non_null(prefix);
        memcpy(prefix, m.data, len);
        assert_int_equal(lp__wire_check(prefix, len, 2), LP_ETRANSFER);
        read_all(prefix, len, 0);
        free(prefix);
    }
    unsigned refused = 0;
    for (uint32_t bit = 0; bit < m.len * 8; bit++) {
        uint8_t *flipped = malloc(m.len);
        assert_non_null(flipped);
        memcpy(flipped, m.data, m.len);
        flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused += lp__wire_check(flipped, m.len, 2) != 0;
        read_all(flipped, m.len, 0);
        free(flipped);
    }
    assert_true(refused > m.len); /* far from all: a flipped letter is another letter */
    lp__message_free(&m);
}

static void noise_is_refused_or_harmless(void **state)
{
    (void)state;
    uint32_t seed = 20240229;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[48];
        size_t len = 2 + (size_t)round % (sizeof bytes - 1);
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = (uint8_t)(seed >> 24);
        }
        bytes[0] = LP__WIRE_VERSION | LP__WIRE_FLAGS;
        bytes[1] &= 3;
        uint8_t *exact = malloc(len);
        assert_non_null(exact);
        memcpy(exact, bytes, len);
        (void)lp__wire_check(exact, len, 1);
        read_all(exact, len, 0);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_starts_inline_and_empty),
        cmocka_unit_test(message_grows_and_keeps_its_bytes),
        cmocka_unit_test(message_reset_keeps_the_buffer_and_fit_gives_back_what_is_not_needed),
        cmocka_unit_test(a_moved_message_is_whole_in_its_new_place),
        cmocka_unit_test(message_refuses_what_is_too_long),
        cmocka_unit_test(message_survives_failing_allocations),
        cmocka_unit_test(attached_objects_live_as_long_as_the_message),
        cmocka_unit_test(attaching_without_memory_takes_no_reference),
        cmocka_unit_test(integers_take_their_shortest_form),
        cmocka_unit_test(floats_keep_every_bit),
        cmocka_unit_test(small_scalars_round_trip),
        cmocka_unit_test(strings_round_trip_at_every_header),
        cmocka_unit_test(containers_are_closed_in_place),
        cmocka_unit_test(extension_numbers_round_trip),
        cmocka_unit_test(forms_of_other_encoders_are_read),
        cmocka_unit_test(what_has_no_place_is_refused),
        cmocka_unit_test(counts_are_checked_against_what_is_left),
        cmocka_unit_test(announced_elements_are_counted_once),
        cmocka_unit_test(whole_messages_are_checked),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(damage_is_refused_or_harmless),
        cmocka_unit_test(noise_is_refused_or_harmless),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
