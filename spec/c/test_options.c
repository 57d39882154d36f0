/* test_options.c - defaults, refusals and sizes of option structs; arguments that are NULL. */
#include "support.h"

#include "core/options.h"

static void manager_options_start_at_their_documented_defaults(void **state)
{
    (void)state;
    lp_manager_options_t options;
    memset(&options, 0xff, sizeof options);
    lp_manager_options_init(&options);
    assert_int_equal(options.size, sizeof options);
    assert_int_equal(options.max_pools, 0); /* required: 0 is refused */
    assert_int_equal(options.min_pools, 1);
    assert_int_equal(options.workers_per_pool, 4);
    assert_int_equal(options.max_queue, 65536);
    assert_int_equal(options.max_waiters, 65536);
    assert_string_equal(options.name_prefix, "leasepool");

    lp_acquire_options_t acquire;
    memset(&acquire, 0xff, sizeof acquire);
    lp_acquire_options_init(&acquire);
    assert_int_equal(acquire.size, sizeof acquire);
    assert_null(acquire.owner);
    assert_true(acquire.timeout_ns == LP_FOREVER);
}

/* The text must be "<name>: got <given>, allowed: <allowed>". */
static void assert_refused(host_t *host, const lp_manager_options_t *options, const char *name,
                           const char *given)
{
    lp_manager_t *manager = NULL;
    assert_int_equal(lp_manager_create(&manager, host->rt, lp_backend_thread(), options),
                     LP_EINVAL);
    assert_null(manager);
    char start[160];
    snprintf(start, sizeof start, "%s: got %s, allowed: ", name, given);
    const char *text = lp_last_error(host->rt);
    if (strncmp(text, start, strlen(start)) != 0 || strlen(text) <= strlen(start) + 5)
        fail_msg("\"%s\" does not begin with \"%s\"", text, start);
}

static void every_refusal_names_the_option_what_was_given_and_what_is_allowed(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    assert_true(count >= 6);
    for (size_t i = 0; i < count; i++) {
        lp_manager_options_t options;
        char given[300], allowed[192];
        lp_manager_options_init(&options);
        options.max_pools = options.min_pools = 1;
        char *field = (char *)&options + rows[i].offset;
        lp__option_allowed(&rows[i], allowed, sizeof allowed);
        if (rows[i].type == LP__OPTION_INTEGER) {
            int64_t wrong[] = {rows[i].min - 1, rows[i].max, INT64_MIN, INT64_MAX};
            if (rows[i].max < INT64_MAX)
                wrong[1]++;
            for (size_t j = 0; j < COUNT_OF(wrong); j++) {
                bool in_range = wrong[j] >= rows[i].min && wrong[j] <= rows[i].max;
                if (in_range || (rows[i].presence == LP__NONE_IS_0 && wrong[j] == 0))
                    continue;
                memcpy(field, &wrong[j], sizeof wrong[j]);
                snprintf(given, sizeof given, "%lld", (long long)wrong[j]);
                assert_refused(&host, &options, rows[i].name, given);
                assert_non_null(strstr(lp_last_error(host.rt), allowed));
            }
        } else if (rows[i].type == LP__OPTION_DURATION) {
            uint64_t wrong[] = {(uint64_t)rows[i].min - 1, (uint64_t)rows[i].max + 1, UINT64_MAX};
            for (size_t j = rows[i].min == 0; j < COUNT_OF(wrong); j++) {
                memcpy(field, &wrong[j], sizeof wrong[j]);
                snprintf(given, sizeof given, "%llu ns", (unsigned long long)wrong[j]);
                assert_refused(&host, &options, rows[i].name, given);
            }
        } else if (rows[i].type == LP__OPTION_CHOICE) {
            int wrong[] = {-1, LP__MAX_CHOICES, 1000};
            for (size_t j = 0; j < COUNT_OF(wrong); j++) {
                memcpy(field, &wrong[j], sizeof wrong[j]);
                snprintf(given, sizeof given, "%d", wrong[j]);
                assert_refused(&host, &options, rows[i].name, given);
            }
        } else if (rows[i].type == LP__OPTION_STRING) {
            char text[300], *longer = text, *nothing = NULL, *empty = text + sizeof text - 1;
            memset(text, 'x', sizeof text);
            text[rows[i].max + 1] = text[sizeof text - 1] = '\0';
            snprintf(given, sizeof given, "%lld bytes", (long long)rows[i].max + 1);
            memcpy(field, &longer, sizeof longer);
            assert_refused(&host, &options, rows[i].name, given);
            memcpy(field, &nothing, sizeof nothing);
            assert_refused(&host, &options, rows[i].name, "NULL");
            memcpy(field, &empty, sizeof empty);
            assert_refused(&host, &options, rows[i].name, "0 bytes");
        }
    }
    host_close(&host);
}

static void min_pools_above_max_pools_is_refused_with_the_limit(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = 2;
    options.min_pools = 3;
    assert_refused(&host, &options, "min_pools", "3");
    assert_non_null(strstr(lp_last_error(host.rt), "max_pools (2)"));
    host_close(&host);
}

static void the_limits_themselves_are_allowed(void **state)
{
    (void)state;
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].type != LP__OPTION_INTEGER)
            continue;
        int64_t limits[] = {rows[i].min, rows[i].max};
        for (size_t j = 0; j < 2; j++) {
            lp_manager_options_t options;
            char text[256] = "";
            lp_manager_options_init(&options);
            options.max_pools = 1000000;
            memcpy((char *)&options + rows[i].offset, &limits[j], sizeof limits[j]);
            assert_int_equal(lp__manager_options_check(&options, text, sizeof text), 0);
            assert_string_equal(text, "");
        }
    }
}

static void an_unknown_name_gets_the_nearest_known_one_or_none(void **state)
{
    (void)state;
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    assert_string_equal(lp__option_nearest(rows, count, "max_pool"), "max_pools");
    assert_string_equal(lp__option_nearest(rows, count, "mx_waitrs"), "max_waiters");
    assert_string_equal(lp__option_nearest(rows, count, "worker_per_pool"), "workers_per_pool");
    assert_null(lp__option_nearest(rows, count, "colour"));
    assert_null(lp__option_nearest(rows, count, ""));
    char endless[1000];
    memset(endless, 'a', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    assert_null(lp__option_nearest(rows, count, endless));
    assert_null(lp__option_find(rows, count, "max_pool"));
    assert_string_equal(lp__option_find(rows, count, "max_pools")->name, "max_pools");
}

static void an_options_struct_of_an_older_header_keeps_the_new_defaults(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_options_t given;
    memset(&given, 0x7f, sizeof given); /* what lies behind the older struct is rubbish */
    given.size = offsetof(lp_manager_options_t, units_per_pool);
    given.max_pools = 3;
    given.min_pools = 2;
    given.workers_per_pool = 1;
    lp_manager_t *manager;
    assert_int_equal(lp_manager_create(&manager, host.rt, lp_backend_thread(), &given), 0);
    assert_int_equal(manager->options.size, sizeof given);
    assert_int_equal(manager->options.max_pools, 3);
    assert_int_equal(manager->options.min_pools, 2);
    assert_int_equal(manager->options.max_queue, 65536);
    assert_int_equal(manager->options.max_waiters, 65536);
    assert_string_equal(manager->options.name_prefix, "leasepool");
    host_close(&host);
}

static void an_options_struct_of_a_newer_header_is_read_as_far_as_it_is_known(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    struct {
        lp_manager_options_t known;
        char newer[64];
    } given;
    memset(&given, 0x7f, sizeof given);
    lp_manager_options_init(&given.known);
    given.known.size = sizeof given;
    given.known.max_pools = 1;
    lp_manager_t *manager;
    assert_int_equal(lp_manager_create(&manager, host.rt, lp_backend_thread(), &given.known), 0);
    assert_int_equal(manager->options.size, sizeof given.known);
    host_close(&host);
}

static void options_that_were_never_initialised_are_refused_by_their_size(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_manager_options_t options = {.max_pools = 1};
    assert_refused(&host, &options, "options.size", "0");

    lp_manager_t *manager = manager_of(&host, 1, 1);
    lp_acquire_options_t acquire = {.owner = "me"};
    lp_lease_t *lease = NULL;
    assert_int_equal(lp_try_acquire(manager, &acquire, &lease), LP_EINVAL);
    assert_non_null(strstr(lp_last_error(host.rt), "options.size: got 0, allowed: "));
    host_close(&host);
}

static void null_arguments_are_refused_by_name(void **state)
{
    (void)state;
    host_t host;
    host_open(&host);
    lp_runtime_t *other;
    assert_int_equal(lp_runtime_create(NULL, &host.loop), LP_EINVAL);
    assert_int_equal(lp_runtime_create(&other, NULL), LP_EINVAL);
    assert_int_equal(lp_runtime_close(NULL, NULL, NULL), LP_EINVAL);
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = 1;
    lp_manager_t *manager;
    assert_int_equal(lp_manager_create(NULL, host.rt, lp_backend_thread(), &options), LP_EINVAL);
    assert_non_null(strstr(lp_last_error(host.rt), "manager: got NULL"));
    assert_int_equal(lp_manager_create(&manager, NULL, lp_backend_thread(), &options), LP_EINVAL);
    assert_int_equal(lp_manager_create(&manager, host.rt, NULL, &options), LP_EINVAL);
    assert_non_null(strstr(lp_last_error(host.rt), "backend: got NULL"));
    assert_int_equal(lp_manager_create(&manager, host.rt, lp_backend_thread(), NULL), LP_EINVAL);
    assert_non_null(strstr(lp_last_error(host.rt), "options: got NULL"));
    manager = manager_of(&host, 1, 1);
    lp_lease_t *lease = lease_of(manager);
    lp_acquire_t req = {0};
    lp_job_t job = {0};
    assert_int_equal(lp_manager_start(NULL), LP_EINVAL);
    assert_int_equal(lp_manager_stop(NULL, NULL, LP_FOREVER, NULL), LP_EINVAL);
    assert_int_equal(lp_manager_stop(manager, NULL, LP_FOREVER, stop_done), LP_EINVAL);
    assert_int_equal(lp_manager_stats(manager, NULL), LP_EINVAL);
    assert_int_equal(lp_acquire(manager, NULL, NULL, wait_done), LP_EINVAL);
    assert_int_equal(lp_acquire(manager, &req, NULL, NULL), LP_EINVAL);
    assert_int_equal(lp_try_acquire(manager, NULL, NULL), LP_EINVAL);
    assert_int_equal(lp_submit(NULL, &job, task_run, NULL), LP_EINVAL);
    assert_int_equal(lp_submit(lease, NULL, task_run, NULL), LP_EINVAL);
    assert_non_null(strstr(lp_last_error(host.rt), "job: got NULL"));
    assert_int_equal(lp_submit(lease, &job, NULL, NULL), LP_EINVAL);
    assert_non_null(strstr(lp_last_error(host.rt), "work: got NULL"));
    assert_int_equal(lp_release(NULL), LP_EINVAL);
    lp_lease_close(NULL);
    lp_manager_close(NULL);
    assert_int_equal(counts_of(manager).leased, 1); /* nothing was taken by the refused ones */
    host_close(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manager_options_start_at_their_documented_defaults),
        cmocka_unit_test(every_refusal_names_the_option_what_was_given_and_what_is_allowed),
        cmocka_unit_test(min_pools_above_max_pools_is_refused_with_the_limit),
        cmocka_unit_test(the_limits_themselves_are_allowed),
        cmocka_unit_test(an_unknown_name_gets_the_nearest_known_one_or_none),
        cmocka_unit_test(an_options_struct_of_an_older_header_keeps_the_new_defaults),
        cmocka_unit_test(an_options_struct_of_a_newer_header_is_read_as_far_as_it_is_known),
        cmocka_unit_test(options_that_were_never_initialised_are_refused_by_their_size),
        cmocka_unit_test(null_arguments_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
