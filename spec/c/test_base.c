/* test_base.c - lists, the heap, the clock, allocation, threads, error texts. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_getname_np */
#endif
#include "support.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include "base/clock.h"
#include "base/heap.h"
#include "base/histogram.h"
#include "base/list.h"

/* ---- Lists -------------------------------------------------------------------- */

static void a_list_gives_back_its_nodes_in_order(void **state)
{
    (void)state;
    lp__list_t list, a, b, c;
    lp__list_init(&list);
    assert_null(lp__list_pop_front(&list));
    lp__list_push_back(&list, &b);
    lp__list_push_back(&list, &c);
    lp__list_push_front(&list, &a);
    assert_false(lp__list_empty(&list));
    assert_ptr_equal(lp__list_pop_front(&list), &a);
    assert_ptr_equal(lp__list_pop_front(&list), &b);
    assert_ptr_equal(lp__list_pop_front(&list), &c);
    assert_true(lp__list_empty(&list));
}

static void removing_a_list_node_twice_is_harmless(void **state)
{
    (void)state;
    lp__list_t list, a, b, c;
    lp__list_init(&list);
    lp__list_push_back(&list, &a);
    lp__list_push_back(&list, &b);
    lp__list_push_back(&list, &c);
    lp__list_remove(&b);
    lp__list_remove(&b);
    assert_ptr_equal(a.next, &c);
    assert_ptr_equal(c.prev, &a);
}

static void splicing_moves_every_node_behind_the_others(void **state)
{
    (void)state;
    lp__list_t to, from, nodes[4];
    lp__list_init(&to);
    lp__list_init(&from);
    lp__list_splice_back(&to, &from); /* nothing to nothing */
    assert_true(lp__list_empty(&to));
    for (size_t i = 0; i < 4; i++)
        lp__list_push_back(i < 2 ? &to : &from, &nodes[i]);
    lp__list_splice_back(&to, &from);
    assert_true(lp__list_empty(&from));
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(lp__list_pop_front(&to), &nodes[i]);
    assert_true(lp__list_empty(&to));
}

/* ---- Heap --------------------------------------------------------------------- */

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

/* The node that must come first, found by looking at every one. */
static lp__heap_node_t *first_of(lp__heap_node_t *nodes, size_t count)
{
    lp__heap_node_t *first = NULL;
    for (size_t i = 0; i < count; i++)
        if (nodes[i].linked && (!first || nodes[i].key < first->key ||
                                (nodes[i].key == first->key && nodes[i].order < first->order)))
            first = &nodes[i];
    return first;
}

static void a_heap_agrees_with_a_model_under_random_inserts_and_removes(void **state)
{
    (void)state;
    enum { NODES = 200, STEPS = 20000 };
    static lp__heap_node_t nodes[NODES];
    memset(nodes, 0, sizeof nodes);
    lp__heap_t heap = {0};
    for (int step = 0; step < STEPS; step++) {
        lp__heap_node_t *node = &nodes[random_below(NODES)];
        if (random_below(8) == 0 && lp__heap_min(&heap))
            node = lp__heap_min(&heap);
        if (node->linked) {
            lp__heap_remove(&heap, node);
            assert_false(node->linked);
        } else {
            lp__heap_insert(&heap, node, random_below(40));
            assert_true(node->linked);
        }
        assert_ptr_equal(lp__heap_min(&heap), first_of(nodes, NODES));
    }
    lp__heap_node_t *min;
    while ((min = lp__heap_min(&heap)) != NULL) {
        assert_ptr_equal(min, first_of(nodes, NODES));
        lp__heap_remove(&heap, min);
    }
    assert_null(first_of(nodes, NODES));
}

static void a_hundred_thousand_equal_keys_leave_in_order_of_insertion(void **state)
{
    (void)state;
    enum { NODES = 100000 };
    lp__heap_node_t *nodes = calloc(NODES, sizeof *nodes);
    assert_non_null(nodes);
    lp__heap_t heap = {0};
    for (size_t i = 0; i < NODES; i++)
        lp__heap_insert(&heap, &nodes[i], 7);
    for (size_t i = 1; i < NODES; i += 3)
        lp__heap_remove(&heap, &nodes[i]);
    for (size_t i = 0; i < NODES; i++) {
        if (i % 3 == 1)
            continue;
        assert_ptr_equal(lp__heap_min(&heap), &nodes[i]);
        lp__heap_remove(&heap, &nodes[i]);
    }
    assert_null(lp__heap_min(&heap));
    free(nodes);
}

static void removing_a_node_that_is_in_no_heap_does_nothing(void **state)
{
    (void)state;
    lp__heap_t heap = {0};
    lp__heap_node_t in = {0}, out = {0};
    lp__heap_insert(&heap, &in, 1);
    lp__heap_remove(&heap, &out);
    assert_ptr_equal(lp__heap_min(&heap), &in);
    lp__heap_remove(&heap, &in);
    lp__heap_remove(&heap, &in);
    assert_null(lp__heap_min(&heap));
}

/* ---- Clock -------------------------------------------------------------------- */

static void the_coarse_clock_is_never_later_than_the_exact_one(void **state)
{
    (void)state;
    lp__clock_t clock = {0};
    uint64_t last_ns = 0;
    for (int i = 0; i < 100000; i++) {
        uint64_t before_ns = lp__clock_now_ns(&clock);
        uint64_t coarse_ns = lp__clock_coarse_ns(&clock);
        uint64_t after_ns = lp__clock_now_ns(&clock);
        assert_true(coarse_ns <= after_ns);
        assert_true(coarse_ns + LP__CLOCK_SLACK_NS >= before_ns);
        assert_true(coarse_ns >= last_ns);
        last_ns = coarse_ns;
    }
}

static void a_deadline_has_passed_from_its_own_moment_on(void **state)
{
    (void)state;
    lp__clock_t clock = {0};
    lp__clock_set_manual(&clock, 1000);
    assert_false(lp__clock_passed(&clock, 1001));
    assert_true(lp__clock_passed(&clock, 1000));
    assert_true(lp__clock_passed(&clock, 999));
    assert_false(lp__clock_passed(&clock, 1000 + 2 * LP__CLOCK_SLACK_NS));
    assert_false(lp__clock_passed(&clock, LP_FOREVER));

    lp__clock_t real = {0};
    uint64_t now_ns = lp__clock_now_ns(&real);
    assert_true(lp__clock_passed(&real, now_ns));
    assert_false(lp__clock_passed(&real, now_ns + 3600 * LP_SECOND));
}

static void a_manual_clock_stands_still_and_never_goes_back(void **state)
{
    (void)state;
    lp__clock_t clock = {0};
    lp__clock_set_manual(&clock, 5000);
    assert_int_equal(lp__clock_now_ns(&clock), 5000);
    assert_int_equal(lp__clock_coarse_ns(&clock), 5000);
    lp__clock_set_manual(&clock, 4999);
    assert_int_equal(lp__clock_now_ns(&clock), 5000);
    lp__clock_set_manual(&clock, 5001);
    assert_int_equal(lp__clock_now_ns(&clock), 5001);
}

/* ---- Allocation --------------------------------------------------------------- */

static bool fails(lp__mem_t who)
{
    void *block = lp__malloc(who, 16);
    lp__free(block);
    return !block;
}

static void the_nth_allocation_of_one_component_fails_once(void **state)
{
    (void)state;
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 3);
    assert_false(fails(LP_MEM_WIRE));
    for (int i = 0; i < 5; i++)
        assert_false(fails(LP_MEM_CORE)); /* not counted */
    void *block = lp__calloc(LP_MEM_WIRE, 8);
    assert_non_null(block);
    assert_null(lp__realloc(LP_MEM_WIRE, block, 64)); /* the third; `block` is untouched */
    assert_false(fails(LP_MEM_WIRE));
    assert_int_equal(lp__alloc_fault_seen(), 4);
    lp__free(block);
    lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
    assert_false(fails(LP_MEM_WIRE));
    assert_int_equal(lp__alloc_fault_seen(), 0);
}

static void fail_as_worker(void *arg)
{
    lp__alloc_set_role(LP_ROLE_WORKER);
    *(bool *)arg = fails(LP_MEM_STATE);
}

static void a_fault_for_workers_spares_the_loop(void **state)
{
    (void)state;
    lp__alloc_fault_arm(LP_MEM_STATE, LP_ROLE_WORKER, 1);
    assert_false(fails(LP_MEM_STATE));
    bool failed = false;
    lp__thread_t thread;
    assert_int_equal(lp__thread_start(&thread, fail_as_worker, &failed), 0);
    uv_thread_join(&thread);
    assert_true(failed);
    lp__alloc_fault_arm(LP_MEM_STATE, LP_ROLE_LOOP, 0);
}

static void a_hosts_allocator_gets_every_block_and_gets_it_back(void **state)
{
    (void)state;
    assert_int_equal(lp_set_allocator(NULL, realloc, calloc, free), LP_EINVAL);
    assert_int_equal(lp_set_allocator(malloc, NULL, calloc, free), LP_EINVAL);
    assert_int_equal(lp_set_allocator(malloc, realloc, NULL, free), LP_EINVAL);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, NULL), LP_EINVAL);
    count_blocks();
    long before = lp__load_relaxed(&live_blocks);
    void *a = lp__malloc(LP_MEM_CORE, 1), *b = lp__calloc(LP_MEM_CORE, 64);
    void *c = lp__realloc(LP_MEM_CORE, NULL, 10);
    assert_int_equal(lp__load_relaxed(&live_blocks) - before, 3);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(((char *)b)[i], 0);
    lp__free(a);
    lp__free(b);
    lp__free(c);
    lp__free(NULL);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
    assert_int_equal(lp_set_allocator(malloc, realloc, calloc, free), 0);
}

/* ---- Threads ------------------------------------------------------------------ */

typedef struct {
    const char *prefix;
    unsigned executor, worker;
    char name[32];
    int unblocked; /* signals that could be delivered there */
} look_t;

static void look(void *arg)
{
    look_t *seen = arg;
    lp__thread_set_name(seen->prefix, seen->executor, seen->worker);
    pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGUSR1, SIGURG, SIGPIPE};
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        seen->unblocked += !sigismember(&mask, signals[i]);
}

static look_t look_at(const char *prefix, unsigned executor, unsigned worker)
{
    look_t seen = {.prefix = prefix, .executor = executor, .worker = worker};
    lp__thread_t thread;
    assert_int_equal(lp__thread_start(&thread, look, &seen), 0);
    uv_thread_join(&thread);
    return seen;
}

static void a_long_thread_name_loses_letters_never_numbers(void **state)
{
    (void)state;
    assert_string_equal(look_at("pool", 1, 2).name, "pool-1-2");
    assert_string_equal(look_at("leasepool", 12, 4).name, "leasepool-12-4");
    assert_string_equal(look_at("leasepool", 123, 42).name, "leasepoo-123-42");
    assert_string_equal(look_at("a-very-long-prefix", 100000, 64).name, "a-ver-100000-64");
    assert_string_equal(look_at("x", 10000000, 65536).name, "-10000000-65536");
    assert_int_equal(strlen(look_at("x", 4294967295u, 4294967295u).name), 15);
}

static void a_thread_starts_with_every_signal_blocked(void **state)
{
    (void)state;
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(look_at("x", 1, 1).unblocked, 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
}

static void the_nth_thread_start_fails_once(void **state)
{
    (void)state;
    lp__thread_fault_arm(2);
    look_t seen = look_at("x", 1, 1);
    lp__thread_t thread;
    assert_int_equal(lp__thread_start(&thread, look, &seen), UV_EAGAIN);
    look_at("x", 1, 1);
    lp__thread_fault_arm(1);
    lp__thread_fault_arm(0);
    look_at("x", 1, 1);
}

/* ---- Errors ------------------------------------------------------------------- */

static void every_error_code_has_a_name_and_a_text_of_its_own(void **state)
{
    (void)state;
    static const struct {
        int code;
        const char *name;
    } all[] = {
#define XX(name, number, text) {LP_##name, "LP_" #name},
        LP_ERRNO_MAP(XX)
#undef XX
    };
    assert_int_equal(COUNT_OF(all), 15);
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        assert_true(all[i].code < 0);
        assert_string_equal(lp_err_name(all[i].code), all[i].name);
        assert_true(strlen(lp_strerror(all[i].code)) > 5);
        assert_string_not_equal(lp_strerror(all[i].code), lp_strerror(0));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(lp_strerror(all[i].code), lp_strerror(all[j].code));
    }
}

static void codes_of_libuv_keep_libuvs_words(void **state)
{
    (void)state;
    assert_string_equal(lp_err_name(UV_EAGAIN), "EAGAIN");
    assert_string_equal(lp_strerror(UV_EAGAIN), uv_strerror(UV_EAGAIN));
    assert_string_equal(lp_err_name(0), "0");
    assert_string_equal(lp_strerror(0), "success");
    assert_string_equal(lp_version(), LP_VERSION_STRING);
}

static void codes_that_nobody_knows_have_words_that_nobody_frees(void **state)
{
    (void)state;
    static const int codes[] = {1, 1234, -1234567, INT_MAX, INT_MIN, -20000, -20016};
    for (size_t i = 0; i < COUNT_OF(codes); i++) { /* a leak is AddressSanitizer's to find */
        assert_string_equal(lp_strerror(codes[i]), "unknown error");
        assert_string_equal(lp_err_name(codes[i]), "UNKNOWN");
    }
}

/* ---- Histograms --------------------------------------------------------------- */

static void a_histogram_that_saw_nothing_is_all_zero(void **state)
{
    (void)state;
    lp__histogram_t histogram, sum;
    lp_durations_t d;
    memset(&histogram, 0, sizeof histogram);
    memset(&sum, 0, sizeof sum);
    lp__histogram_add(&sum, &histogram);
    memset(&d, 0xff, sizeof d);
    lp__histogram_read(&sum, &d);
    const lp_durations_t zero = {0};
    assert_memory_equal(&d, &zero, sizeof d);
}

static void a_histogram_of_one_value_tells_it_exactly(void **state)
{
    (void)state;
    for (int power = 0; power < 64; power++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t ns = (UINT64_C(1) << power) + (uint64_t)(int64_t)off;
            lp__histogram_t histogram;
            lp_durations_t d;
            memset(&histogram, 0, sizeof histogram);
            lp__histogram_record(&histogram, ns);
            lp__histogram_read(&histogram, &d);
            assert_int_equal(d.count, 1);
            assert_true(d.mean_ns == ns && d.max_ns == ns);
            assert_true(d.p50_ns == ns && d.p90_ns == ns && d.p99_ns == ns);
        }
    }
}

/* Leases may be held for days. */
static void a_percentile_is_at_most_an_eighth_too_large(void **state)
{
    (void)state;
    const uint64_t most_ns = 20 * 24 * 3600 * LP_SECOND;
    for (uint64_t ns = 0; ns < most_ns; ns += ns / 23 + 1) {
        lp__histogram_t histogram;
        lp_durations_t d;
        memset(&histogram, 0, sizeof histogram);
        lp__histogram_record(&histogram, ns);
        lp__histogram_record(&histogram, 2 * ns + 1000); /* so that the maximum does not help */
        lp__histogram_read(&histogram, &d);
        assert_true(d.p50_ns >= ns);
        assert_true(d.p50_ns <= ns + ns / 8);
        assert_true(d.p90_ns == 2 * ns + 1000 && d.max_ns == d.p99_ns);
        assert_true(d.mean_ns == (3 * ns + 1000) / 2);
    }
}

static void percentiles_are_nearest_ranks(void **state)
{
    (void)state;
    static const struct {
        uint64_t count, p50, p90, p99;
    } cases[] = {{1, 1, 1, 1},     {2, 1, 2, 2},      {3, 2, 3, 3},       {4, 2, 4, 4},
                 {5, 3, 5, 5},     {6, 3, 6, 6},      {7, 4, 7, 7},       {10, 5, 9, 10},
                 {99, 50, 90, 99}, {100, 50, 90, 99}, {101, 51, 91, 100}, {200, 100, 180, 198}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        lp__histogram_t histogram;
        lp_durations_t d, one;
        memset(&histogram, 0, sizeof histogram);
        for (uint64_t rank = cases[i].count; rank >= 1; rank--)
            lp__histogram_record(&histogram, rank);
        lp__histogram_read(&histogram, &d);
        const uint64_t ranks[] = {cases[i].p50, cases[i].p90, cases[i].p99};
        const uint64_t told[] = {d.p50_ns, d.p90_ns, d.p99_ns};
        for (size_t j = 0; j < 3; j++) { /* the bucket of exactly that value */
            memset(&histogram, 0, sizeof histogram);
            lp__histogram_record(&histogram, ranks[j]);
            lp__histogram_record(&histogram, cases[i].count);
            lp__histogram_read(&histogram, &one);
            assert_int_equal(told[j], one.p50_ns);
        }
        assert_int_equal(d.max_ns, cases[i].count);
        assert_int_equal(d.mean_ns, (cases[i].count + 1) / 2);
    }
}

static void adding_histograms_is_recording_everything_in_one(void **state)
{
    (void)state;
    static lp__histogram_t parts[3], sum, whole;
    lp_durations_t a, b;
    uint64_t ns = 1;
    memset(parts, 0, sizeof parts);
    memset(&sum, 0, sizeof sum);
    memset(&whole, 0, sizeof whole);
    for (int i = 0; i < 10000; i++) {
        ns = (ns * 6364136223846793005u + 1442695040888963407u);
        uint64_t value = ns >> (20 + i % 40);
        lp__histogram_record(&parts[i % 3], value);
        lp__histogram_record(&whole, value);
    }
    for (int i = 0; i < 3; i++)
        lp__histogram_add(&sum, &parts[i]);
    lp__histogram_read(&sum, &a);
    lp__histogram_read(&whole, &b);
    assert_memory_equal(&a, &b, sizeof a);
}

static atomic_bool recording;

static void record_much(void *histogram)
{
    for (uint64_t i = 0; i < 200000; i++)
        lp__histogram_record(histogram, i);
    lp__store_relaxed(&recording, false);
}

static void a_histogram_may_be_read_while_another_thread_records(void **state)
{
    (void)state;
    static lp__histogram_t shared;
    uv_thread_t thread;
    uint64_t last = 0;
    bool more;
    memset(&shared, 0, sizeof shared);
    lp__store_relaxed(&recording, true);
    assert_int_equal(uv_thread_create(&thread, record_much, &shared), 0);
    do {
        lp__histogram_t copy;
        lp_durations_t d;
        more = lp__load_relaxed(&recording);
        memset(&copy, 0, sizeof copy);
        lp__histogram_add(&copy, &shared);
        lp__histogram_read(&copy, &d);
        assert_true(d.count >= last && d.p50_ns <= d.p90_ns && d.p90_ns <= d.p99_ns);
        last = d.count;
    } while (more);
    assert_int_equal(uv_thread_join(&thread), 0);
    assert_int_equal(lp__load_relaxed(&shared.count), 200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_gives_back_its_nodes_in_order),
        cmocka_unit_test(removing_a_list_node_twice_is_harmless),
        cmocka_unit_test(splicing_moves_every_node_behind_the_others),
        cmocka_unit_test(a_heap_agrees_with_a_model_under_random_inserts_and_removes),
        cmocka_unit_test(a_hundred_thousand_equal_keys_leave_in_order_of_insertion),
        cmocka_unit_test(removing_a_node_that_is_in_no_heap_does_nothing),
        cmocka_unit_test(the_coarse_clock_is_never_later_than_the_exact_one),
        cmocka_unit_test(a_deadline_has_passed_from_its_own_moment_on),
        cmocka_unit_test(a_manual_clock_stands_still_and_never_goes_back),
        cmocka_unit_test(the_nth_allocation_of_one_component_fails_once),
        cmocka_unit_test(a_fault_for_workers_spares_the_loop),
        cmocka_unit_test(a_hosts_allocator_gets_every_block_and_gets_it_back),
        cmocka_unit_test(a_long_thread_name_loses_letters_never_numbers),
        cmocka_unit_test(a_thread_starts_with_every_signal_blocked),
        cmocka_unit_test(the_nth_thread_start_fails_once),
        cmocka_unit_test(every_error_code_has_a_name_and_a_text_of_its_own),
        cmocka_unit_test(codes_of_libuv_keep_libuvs_words),
        cmocka_unit_test(codes_that_nobody_knows_have_words_that_nobody_frees),
        cmocka_unit_test(a_histogram_that_saw_nothing_is_all_zero),
        cmocka_unit_test(a_histogram_of_one_value_tells_it_exactly),
        cmocka_unit_test(a_percentile_is_at_most_an_eighth_too_large),
        cmocka_unit_test(percentiles_are_nearest_ranks),
        cmocka_unit_test(adding_histograms_is_recording_everything_in_one),
        cmocka_unit_test(a_histogram_may_be_read_while_another_thread_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
