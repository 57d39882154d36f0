/* options.c - see options.h. */
#include "core/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(lp_manager_options_t, field)

static const lp__option_t manager_rows[] = {
    {"max_pools", LP__OPTION_INTEGER, AT(max_pools), true, 1, 1000000, 0, NULL, "executors",
     "Executors available or leased at once."},
    {"min_pools", LP__OPTION_INTEGER, AT(min_pools), false, 1, 1000000, 1, NULL, "executors",
     "Executors made at start; at most max_pools."},
    {"workers_per_pool", LP__OPTION_INTEGER, AT(workers_per_pool), false, 1, 65536, 4, NULL,
     "workers", "Workers of each executor, started on demand."},
    {"max_queue", LP__OPTION_INTEGER, AT(max_queue), false, 1, INT32_MAX, 65536, NULL, "jobs",
     "Jobs waiting in one executor; one more is refused with QueueFullError."},
    {"max_waiters", LP__OPTION_INTEGER, AT(max_waiters), false, 1, INT32_MAX, 65536, NULL,
     "callers", "Callers waiting in acquire; one more is refused with LeaseUnavailableError."},
    {"name_prefix", LP__OPTION_STRING, AT(name_prefix), false, 1, 255, 0, "leasepool", "bytes",
     "Worker threads are named <prefix>-<executor>-<worker>; the system may shorten the prefix."},
};

const lp__option_t *lp__manager_option_rows(size_t *count)
{
    *count = sizeof manager_rows / sizeof *manager_rows;
    return manager_rows;
}

const lp__option_t *lp__option_find(const lp__option_t *rows, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

/* Levenshtein's distance with one row of memory; names beyond 31 bytes are far from all. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[32], b_len = strlen(b);
    if (b_len >= sizeof row / sizeof *row)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i] != b[j - 1]);
            size_t shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < shorter ? change : shorter;
        }
    }
    return row[b_len];
}

const char *lp__option_nearest(const lp__option_t *rows, size_t count, const char *name)
{
    const char *nearest = NULL;
    size_t least = strlen(name) / 2 + 1; /* more than half of it wrong: not near */
    if (strlen(name) > 64)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(name, rows[i].name);
        if (distance < least) {
            least = distance;
            nearest = rows[i].name;
        }
    }
    return nearest;
}

void lp__option_allowed(const lp__option_t *row, char *text, size_t size)
{
    switch (row->type) {
    case LP__OPTION_INTEGER:
        snprintf(text, size, "an integer from %" PRId64 " to %" PRId64, row->min, row->max);
        break;
    case LP__OPTION_STRING:
        snprintf(text, size, "a string of %" PRId64 " to %" PRId64 " bytes without zeros", row->min,
                 row->max);
        break;
    }
}

void lp__options_copy(void *to, size_t to_size, const void *from, size_t from_size)
{
    memcpy(to, from, from_size < to_size ? from_size : to_size);
    memcpy(to, &to_size, sizeof to_size); /* the struct's first field is its size */
}

static int refuse_row(const lp__option_t *row, const char *given, char *text, size_t size)
{
    char allowed[96];
    lp__option_allowed(row, allowed, sizeof allowed);
    snprintf(text, size, "%s: got %s, allowed: %s", row->name, given, allowed);
    return LP_EINVAL;
}

static int check_row(const lp__option_t *row, const void *options, char *text, size_t size)
{
    const char *field = (const char *)options + row->offset;
    if (row->type == LP__OPTION_INTEGER) {
        int64_t value;
        memcpy(&value, field, sizeof value);
        char given[32];
        snprintf(given, sizeof given, "%" PRId64, value);
        return value < row->min || value > row->max ? refuse_row(row, given, text, size) : 0;
    }
    const char *value;
    memcpy(&value, field, sizeof value);
    if (!value)
        return refuse_row(row, "NULL", text, size);
    size_t length = strlen(value);
    if (length >= (size_t)row->min && length <= (size_t)row->max)
        return 0;
    char given[32];
    snprintf(given, sizeof given, "%zu bytes", length);
    return refuse_row(row, given, text, size);
}

int lp__manager_options_check(const lp_manager_options_t *options, char *text, size_t size)
{
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    for (size_t i = 0; i < count; i++) {
        int rc = check_row(&rows[i], options, text, size);
        if (rc != 0)
            return rc;
    }
    if (options->min_pools > options->max_pools) {
        snprintf(text, size,
                 "min_pools: got %" PRId64 ", allowed: an integer from 1 to max_pools (%" PRId64
                 ")",
                 options->min_pools, options->max_pools);
        return LP_EINVAL;
    }
    return 0;
}

void lp_manager_options_init(lp_manager_options_t *options)
{
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    for (size_t i = 0; i < count; i++) {
        char *field = (char *)options + rows[i].offset;
        if (rows[i].type == LP__OPTION_INTEGER)
            memcpy(field, &rows[i].fallback, sizeof rows[i].fallback);
        else
            memcpy(field, &rows[i].text_fallback, sizeof rows[i].text_fallback);
    }
}
