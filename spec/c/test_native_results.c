/* test_native_results.c - what a native job returns, what it may do wrong, and what becomes of
 * that: src/wire/call.c and src/core/native.c. */
#include <math.h>

#include "native.h"

/* ---- Writing --------------------------------------------------------------------- */

static void every_kind_of_value_is_returned(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    assert_string_equal(results_of(f), "");
    call = begin(f);
    assert_int_equal(lp_return_nil(call), 0);
    assert_int_equal(lp_return_boolean(call, 1), 0);
    assert_int_equal(lp_return_boolean(call, 0), 0);
    assert_int_equal(lp_return_boolean(call, 42), 0);
    assert_int_equal(lp_return_integer(call, INT64_MAX), 0);
    assert_int_equal(lp_return_integer(call, INT64_MIN), 0);
    assert_int_equal(lp_return_number(call, 1), 0); /* stays a float */
    assert_int_equal(lp_return_string(call, "text", 4), 0);
    assert_int_equal(lp_return_string(call, NULL, 0), 0);
    assert_int_equal(lp_open_table(call), 0);
    assert_int_equal(lp_close_table(call), 0);
    assert_string_equal(results_of(f), "nil, true, false, true, 9223372036854775807, "
                                       "-9223372036854775808, 1f, 'text', '', {}");
}

static void floats_that_are_no_numbers_are_returned(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    assert_int_equal(lp_return_number(call, NAN), 0);
    assert_int_equal(lp_return_number(call, -INFINITY), 0);
    assert_int_equal(lp_return_number(call, -0.0), 0);
    assert_int_equal(lp__call_end(&f->state), 0);
    lp__reader_t reader;
    lp__token_t token;
    uint8_t flags;
    uint32_t count;
    lp__reader_init(&reader, f->results.data, f->results.len);
    assert_int_equal(lp__reader_begin(&reader, &flags, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_true(isnan(token.u.number));
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_true(isinf(token.u.number) && token.u.number < 0);
    assert_int_equal(lp__reader_next(&reader, &token), 0);
    assert_true(signbit(token.u.number));
}

static void lists_and_fields_and_both_are_built(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    assert_int_equal(lp_open_table(call), 0); /* a list */
    assert_int_equal(lp_return_integer(call, 1), 0);
    assert_int_equal(lp_return_nil(call), 0);
    assert_int_equal(lp_return_integer(call, 3), 0);
    assert_int_equal(lp_close_table(call), 0);
    assert_int_equal(lp_open_table(call), 0); /* fields */
    assert_int_equal(lp_return_key(call, "k"), 0);
    assert_int_equal(lp_open_table(call), 0);
    assert_int_equal(lp_return_string(call, "in it", 5), 0);
    assert_int_equal(lp_close_table(call), 0);
    assert_int_equal(lp_return_key(call, "l"), 0);
    assert_int_equal(lp_return_boolean(call, 1), 0);
    assert_int_equal(lp_close_table(call), 0);
    assert_int_equal(lp_open_table(call), 0); /* both */
    assert_int_equal(lp_return_string(call, "element", 7), 0);
    assert_int_equal(lp_open_table(call), 0);
    assert_int_equal(lp_close_table(call), 0);
    assert_int_equal(lp_return_key(call, "a"), 0);
    assert_int_equal(lp_return_integer(call, 1), 0);
    assert_int_equal(lp_return_key(call, "b"), 0);
    assert_int_equal(lp_open_table(call), 0);
    assert_int_equal(lp_return_key(call, "c"), 0);
    assert_int_equal(lp_return_integer(call, 2), 0);
    assert_int_equal(lp_close_table(call), 0);
    assert_int_equal(lp_close_table(call), 0);
    assert_int_equal(lp_return_integer(call, 9), 0);
    assert_string_equal(results_of(f), "{1=1 2=nil 3=3 }, {'k'={1='in it' } 'l'=true }, "
                                       "{1='element' 2={} 'a'=1 'b'={'c'=2 } }, 9");
}

static void results_may_be_as_deep_as_a_message_and_no_deeper(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    for (int i = 0; i < LP__WIRE_MAX_DEPTH; i++)
        assert_int_equal(lp_open_table(call), 0);
    for (int i = 0; i < LP__WIRE_MAX_DEPTH; i++)
        assert_int_equal(lp_close_table(call), 0);
    assert_int_equal(lp__call_end(&f->state), 0);
    assert_int_equal(lp__wire_check(f->results.data, f->results.len, 0), 0);
    call = begin(f);
    for (int i = 0; i < LP__WIRE_MAX_DEPTH; i++)
        assert_int_equal(lp_open_table(call), 0);
    assert_int_equal(lp_open_table(call), LP_ESTATE);
    for (int i = 0; i < LP__WIRE_MAX_DEPTH; i++)
        assert_int_equal(lp_close_table(call), LP_ESTATE);
    assert_int_equal(lp__call_end(&f->state), LP_ESTATE);
}

/* Each line is one wrong use: o opens, c closes, k is a key, v a value. The last one is refused. */
static void a_table_that_is_built_wrongly_is_refused_and_remembered(void **state)
{
    fixture_t *f = *state;
    static const char *const wrong[] = {"c",    "k",     "vk",    "vc",     "occ",  "okk",
                                        "okc",  "ovkc",  "okvkk", "ovkvkc", "okvv", "ovkvv",
                                        "okvo", "okoco", "ovkvo", "okocv",  "ookc", "okockokc"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        lp_call_t *call = begin(f);
        int rc = 0;
        const char *step = wrong[i];
        for (; *step && rc == 0; step++)
            rc = *step == 'o'   ? lp_open_table(call)
                 : *step == 'c' ? lp_close_table(call)
                 : *step == 'k' ? lp_return_key(call, "key")
                                : lp_return_integer(call, 1);
        if (rc != LP_ESTATE || *step)
            fail_msg("%s: %d, and not: %s", wrong[i], rc, step);
        uint32_t len = f->results.len;
        assert_int_equal(lp_return_integer(call, 1), LP_ESTATE); /* nothing goes on from here */
        assert_int_equal(lp_return_nil(call), LP_ESTATE);
        assert_int_equal(lp_return_boolean(call, 1), LP_ESTATE);
        assert_int_equal(lp_return_number(call, 1), LP_ESTATE);
        assert_int_equal(lp_return_string(call, "", 0), LP_ESTATE);
        assert_int_equal(lp_return_key(call, ""), LP_ESTATE);
        assert_int_equal(lp_open_table(call), LP_ESTATE);
        assert_int_equal(lp_close_table(call), LP_ESTATE);
        assert_int_equal(f->results.len, len);
        assert_int_equal(lp__call_end(&f->state), LP_ESTATE);
    }
}

static void a_table_that_is_open_at_the_end_is_refused(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    assert_int_equal(lp_open_table(call), 0);
    assert_int_equal(lp__call_end(&f->state), LP_ESTATE);
    call = begin(f); /* what the last one did wrong is forgotten */
    assert_int_equal(lp_return_nil(call), 0);
    assert_string_equal(results_of(f), "nil");
}

static void the_last_error_replaces_all_results(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    assert_int_equal(lp_return_integer(call, 1), 0);
    assert_int_equal(lp_open_table(call), 0);
    assert_int_equal(lp_return_error(call, "the first"), LP_EJOB);
    assert_int_equal(lp_return_integer(call, 1), LP_EJOB);
    assert_int_equal(lp_close_table(call), LP_EJOB);
    assert_int_equal(lp_return_error(call, "the second one"), LP_EJOB);
    assert_true(f->state.failed);
    assert_int_equal(f->results.len, 14);
    assert_memory_equal(f->results.data, "the second one", 14);
    assert_int_equal(f->api.return_error(call, NULL, 0), LP_EJOB);
    assert_int_equal(f->results.len, 0);
}

static void an_error_after_wrong_use_is_the_error(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    assert_int_equal(lp_close_table(call), LP_ESTATE);
    assert_int_equal(lp_return_error(call, "because"), LP_EJOB);
    assert_memory_equal(f->results.data, "because", 7);
}

static void what_is_too_large_is_refused(void **state)
{
    fixture_t *f = *state;
    lp_call_t *call = begin(f);
    uint32_t len = f->results.len;
    assert_int_equal(lp_return_string(call, "", (size_t)LP__MESSAGE_MAX + 1), LP_ETRANSFER);
    assert_int_equal(lp_return_string(call, "", SIZE_MAX), LP_ETRANSFER);
    assert_int_equal(lp_return_integer(call, 1), LP_ETRANSFER);
    assert_int_equal(f->results.len, len);
    assert_int_equal(lp__call_end(&f->state), LP_ETRANSFER);
}

/* ---- Without memory ---------------------------------------------------------------- */

static int build_much(lp_call_t *call)
{
    char text[3000];
    memset(text, 'x', sizeof text);
    int rc = lp_return_string(call, text, sizeof text);
    for (int i = 0; i < 40 && rc == 0; i++) {
        if ((rc = lp_open_table(call)) != 0 || (rc = lp_return_number(call, 0.5)) != 0 ||
            (rc = lp_return_string(call, text, (size_t)i * 70)) != 0)
            return rc;
        rc = lp_return_key(call, "a key that takes some room");
    }
    if (rc == 0)
        rc = lp_return_nil(call);
    for (int i = 0; i < 40 && rc == 0; i++)
        rc = lp_close_table(call);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    fixture_t *f = *state;
    begin(f);
    lp__message_free(&f->results);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, UINT64_MAX);
    assert_int_equal(build_much(begin(f)), 0);
    uint64_t count = lp__alloc_fault_seen();
    assert_true(count > 3);
    for (uint64_t nth = 1; nth <= count; nth++) {
        lp__message_free(&f->results);
        lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, nth);
        lp_call_t *call = begin(f);
        assert_int_equal(build_much(call), LP_ENOMEM);
        lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
        assert_int_equal(lp_return_nil(call), LP_ENOMEM); /* it is remembered */
        assert_int_equal(lp__call_end(&f->state), LP_ENOMEM);
        assert_int_equal(lp_return_error(call, "but there is memory for an error"), LP_EJOB);
    }
    lp__message_free(&f->results);
    lp_call_t *call = begin(f);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 1);
    assert_int_equal(lp_return_error(call, "longer than what lies in the struct"), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
    assert_int_equal(f->results.len, 0);
}

/* ---- What becomes of it ------------------------------------------------------------- */

/* Calls it, with no arguments and no worker; the error's text, or what it has returned. */
static int call_it(fixture_t *f, const char *name, lp_native_cb fn, void *data)
{
    lp__native_t *native = lp__native_new(NULL, name, fn, data);
    assert_non_null(native);
    (void)args_of(f, 0);
    int rc = lp__native_call(native, NULL, &f->args, &f->results);
    lp__native_release(native);
    return rc;
}

static void assert_error(fixture_t *f, const char *name, lp_native_cb fn, const char *text)
{
    assert_int_equal(call_it(f, name, fn, NULL), LP_EJOB);
    assert_int_equal(f->results.len, strlen(text));
    assert_memory_equal(f->results.data, text, strlen(text));
}

static int return_data(lp_call_t *call)
{
    return lp_return_integer(call, *(int *)call->data);
}

static int return_nothing(lp_call_t *call)
{
    (void)call;
    return 0;
}

static void a_native_gets_its_data_and_may_return_nothing(void **state)
{
    fixture_t *f = *state;
    int data = 42;
    assert_int_equal(call_it(f, "n", return_data, &data), 0);
    assert_int_equal(lp__wire_check(f->results.data, f->results.len, 0), 0);
    assert_int_equal(f->results.data[f->results.len - 1], 42);
    assert_int_equal(call_it(f, "n", return_nothing, NULL), 0);
    assert_int_equal(lp__wire_check(f->results.data, f->results.len, 0), 0);
}

static int ask_for_time(lp_call_t *call)
{
    if (lp_cancelled(call) != 0 || lp_remaining_ns(call) != UINT64_MAX)
        return lp_return_error(call, "there is no job");
    return 0;
}

static void without_a_job_there_is_no_end(void **state)
{
    assert_int_equal(call_it(*state, "n", ask_for_time, NULL), 0);
}

static int return_five(lp_call_t *call)
{
    (void)lp_return_integer(call, 1);
    return 5;
}

static int return_success_after_an_error(lp_call_t *call)
{
    (void)lp_return_error(call, "it failed");
    return 0;
}

static int leave_open(lp_call_t *call)
{
    return lp_open_table(call);
}

static int go_too_deep(lp_call_t *call)
{
    while (lp_open_table(call) == 0) {
    }
    return 1;
}

static void a_native_that_fails_says_why(void **state)
{
    static const char wrongly[] =
        "the native job n built its results wrongly: a table that is open or too deep, an element "
        "behind fields, or a key without a value";
    assert_error(*state, "n", return_five, "the native job n returned 5");
    assert_error(*state, "n", return_success_after_an_error, "it failed");
    assert_error(*state, "n", leave_open, wrongly);
    assert_error(*state, "n", go_too_deep, wrongly);
}

static void a_long_name_is_cut(void **state)
{
    fixture_t *f = *state;
    char name[1000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(call_it(f, name, return_five, NULL), LP_EJOB);
    assert_int_equal(f->results.len, strlen("the native job  returned 5") + 200);
    assert_int_equal(call_it(f, name, leave_open, NULL), LP_EJOB);
    assert_memory_equal(f->results.data + f->results.len - 5, "value", 5);
}

/* What it returns then is its own number. */
static int return_too_much(lp_call_t *call)
{
    return lp_return_string(call, "", (size_t)LP__MESSAGE_MAX + 1) == 0 ? 0 : 1;
}

static int return_much(lp_call_t *call)
{
    return build_much(call) == 0 ? 0 : LP_EBROKEN;
}

static void what_could_not_be_returned_is_told_whatever_the_function_returns(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(call_it(f, "n", return_too_much, NULL), LP_ETRANSFER);
    (void)args_of(f, 0);
    lp__message_free(&f->results);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 1);
    assert_int_equal(call_it(f, "n", return_much, NULL), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
    assert_int_equal(call_it(f, "n", return_much, NULL), 0);
}

static void without_memory_for_its_reason_there_is_no_memory(void **state)
{
    fixture_t *f = *state;
    (void)args_of(f, 0);
    lp__message_free(&f->results);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 1);
    assert_int_equal(call_it(f, "n", return_five, NULL), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
}

/* ---- Names ---------------------------------------------------------------------------- */

static void register_elsewhere(void *rt)
{
    assert_int_equal(lp_register_native(rt, "n", return_nothing, NULL), LP_EWRONGTHREAD);
}

static void a_host_registers_natives_by_name(void **state)
{
    (void)state;
    host_t host;
    uv_thread_t thread;
    int data = 1;
    char name[] = "n";
    host_open(&host);
    assert_null(lp__native_find(host.rt, "n"));
    assert_int_equal(lp_register_native(host.rt, name, return_data, &data), 0);
    name[0] = 'x'; /* it was copied */
    const lp__native_t *native = lp__native_find(host.rt, "n");
    assert_non_null(native);
    assert_true(native->fn == return_data && native->data == &data && !native->path);
    assert_int_equal(lp_register_native(host.rt, "n", return_data, &data), LP_ESTATE);
    assert_int_equal(lp_register_native(host.rt, "n", return_nothing, NULL), LP_ESTATE);
    assert_int_equal(lp_register_native(host.rt, "", return_nothing, NULL), LP_EINVAL);
    assert_int_equal(lp_register_native(host.rt, NULL, return_nothing, NULL), LP_EINVAL);
    assert_int_equal(lp_register_native(host.rt, "m", NULL, NULL), LP_EINVAL);
    assert_null(lp__native_find(host.rt, "m"));
    assert_int_equal(uv_thread_create(&thread, register_elsewhere, host.rt), 0);
    uv_thread_join(&thread);
    host_close(&host);
}

static void a_name_is_the_hosts_first_then_that_of_the_first_library(void **state)
{
    (void)state;
    host_t host;
    lp__native_t *first, *second, *again;
    host_open(&host);
    assert_int_equal(lp__native_add(host.rt, "/a", "n", return_nothing, NULL, &first), 0);
    assert_int_equal(lp__native_add(host.rt, "/b", "n", return_five, NULL, &second), 0);
    assert_int_equal(lp__native_add(host.rt, "/b", "n", return_five, NULL, &again), 0);
    assert_ptr_not_equal(first, second);
    assert_ptr_equal(second, again);
    assert_ptr_equal(lp__native_find(host.rt, "n"), first);
    assert_int_equal(lp__native_add(host.rt, "/b", "n", leave_open, NULL, &again), LP_ESTATE);
    assert_int_equal(lp_register_native(host.rt, "n", return_data, NULL), 0);
    assert_true(lp__native_find(host.rt, "n")->fn == return_data);
    host_close(&host);
}

static void registering_without_memory_registers_nothing(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 1);
    assert_int_equal(lp_register_native(host.rt, "n", return_nothing, NULL), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
    assert_null(lp__native_find(host.rt, "n"));
    assert_int_equal(lp_register_native(host.rt, "n", return_nothing, NULL), 0);
    host_close(&host);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_kind_of_value_is_returned),
        T(floats_that_are_no_numbers_are_returned),
        T(lists_and_fields_and_both_are_built),
        T(results_may_be_as_deep_as_a_message_and_no_deeper),
        T(a_table_that_is_built_wrongly_is_refused_and_remembered),
        T(a_table_that_is_open_at_the_end_is_refused),
        T(the_last_error_replaces_all_results),
        T(an_error_after_wrong_use_is_the_error),
        T(what_is_too_large_is_refused),
        T(every_allocation_may_fail),
        T(a_native_gets_its_data_and_may_return_nothing),
        T(without_a_job_there_is_no_end),
        T(a_native_that_fails_says_why),
        T(a_long_name_is_cut),
        T(what_could_not_be_returned_is_told_whatever_the_function_returns),
        T(without_memory_for_its_reason_there_is_no_memory),
        T(a_host_registers_natives_by_name),
        T(a_name_is_the_hosts_first_then_that_of_the_first_library),
        T(registering_without_memory_registers_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
