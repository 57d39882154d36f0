/* options.c - see options.h. */
#include "core/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/grinder.h"

#define AT(field) offsetof(lp_manager_options_t, field)
#define LONGEST_NS INT64_C(9000000000000000000) /* 285 years */

#define INTEGER(option, presence_, min_, max_, fallback_, unit_, doc_)                             \
    {                                                                                              \
        .name = #option, .type = LP__OPTION_INTEGER, .offset = AT(option), .presence = presence_,  \
        .min = min_, .max = max_, .fallback = fallback_, .unit = unit_, .doc = doc_                \
    }
#define DURATION(option, field, min_, fallback_, doc_)                                             \
    {                                                                                              \
        .name = #option, .type = LP__OPTION_DURATION, .offset = AT(field), .min = min_,            \
        .max = LONGEST_NS, .fallback = (int64_t)(fallback_), .unit = "seconds", .doc = doc_        \
    }
#define BINDING(option, allowed_, text_fallback_, doc_)                                            \
    {                                                                                              \
        .name = #option, .type = LP__OPTION_BINDING, .allowed = allowed_,                          \
        .text_fallback = text_fallback_, .unit = "", .doc = doc_                                   \
    }

static const lp__option_t manager_rows[] = {
    BINDING(backend, "\"thread\", \"interpreter\" or \"process\"", "\"thread\"",
            "What a worker is; any letter case."),
    INTEGER(max_pools, LP__REQUIRED, 1, 1000000, 0, "executors",
            "Executors available or leased at once."),
    INTEGER(min_pools, LP__OPTIONAL, 1, 1000000, 1, "executors",
            "Executors kept ready, whatever the size; at most `max_pools`."),
    INTEGER(workers_per_pool, LP__OPTIONAL, 1, 65536, 4, "workers",
            "Workers of each executor, started when they are needed."),
    INTEGER(units_per_pool, LP__OPTIONAL, 1, INT32_MAX, 10, "units",
            "How much of the size one executor serves. The target is "
            "`min(max_pools, max(min_pools, ceil(size / units_per_pool)))`."),
    BINDING(size_provider, "a function", "none",
            "Called without arguments, from the loop; returns the size, a finite number. One that "
            "raises or returns something else keeps the last good value, 0 at first."),
    DURATION(check_interval, check_interval_ns, 1, 120 * LP_SECOND,
             "Period of the size check, and of nothing else; `notify_scale_changed` does not wait "
             "for it."),
    DURATION(default_lease_seconds, default_lease_ns, 1, 300 * LP_SECOND,
             "From the hand-over to the soft expiry, where `acquire` does not say."),
    DURATION(lease_grace_seconds, lease_grace_ns, 0, 15 * LP_SECOND,
             "From the soft expiry to the hard one."),
    {.name = "on_expiry",
     .type = LP__OPTION_CHOICE,
     .offset = AT(on_expiry),
     .choices = {"leave", "interrupt", "kill"},
     .unit = "",
     .doc = "What hard expiry does to running jobs. `leave`: they finish and deliver. `interrupt`: "
            "they are stopped. `kill`, on `process` only: they are stopped, and a worker that goes "
            "on is killed."},
    DURATION(interrupt_grace_seconds, interrupt_grace_ns, 0, 50 * LP_MILLISECOND,
             "How long a job that was interrupted may take to tidy up. Then it is interrupted at "
             "every instruction; a process is sent SIGTERM after twice the time."),
    DURATION(kill_grace_seconds, kill_grace_ns, 0, 3 * LP_SECOND,
             "From SIGTERM to SIGKILL, of a process that cannot be interrupted."),
    DURATION(exit_grace_seconds, exit_grace_ns, 0, 1 * LP_SECOND,
             "How long work that cannot be interrupted is waited for, before it is given up."),
    DURATION(idle_seconds, idle_ns, 0, 10 * LP_SECOND,
             "How long an idle executor above the target is kept."),
    INTEGER(max_queue, LP__OPTIONAL, 1, INT32_MAX, 65536, "jobs",
            "Jobs waiting in one executor; one more is refused with QueueFullError."),
    INTEGER(max_waiters, LP__OPTIONAL, 1, INT32_MAX, 65536, "callers",
            "Callers waiting in `acquire`; one more is refused with LeaseUnavailableError."),
    INTEGER(max_retiring, LP__OPTIONAL, 0, 1000000, 1, "executors",
            "Retiring executors (still busy after expiry or breakage) allowed beside `max_pools`; "
            "each one more takes a place of `max_pools` until it ends. So workers never exceed "
            "`(max_pools + max_retiring) * workers_per_pool`."),
    INTEGER(max_tasks_per_worker, LP__NONE_IS_0, 1, INT32_MAX, 0, "jobs",
            "A worker is replaced after that many jobs."),
    INTEGER(memory_limit, LP__NONE_IS_0, 65536, INT64_MAX, 0, "bytes",
            "Of the Lua state of each worker."),
    BINDING(initializer, "a function", "none",
            "Run once in each new worker, before its first job."),
    BINDING(initargs, "a list", "none",
            "Arguments of `initializer`, encoded when the manager is made."),
    {.name = "prestart",
     .type = LP__OPTION_BOOLEAN,
     .offset = AT(prestart),
     .unit = "",
     .doc = "Start all workers of an executor when it is made, not when they are needed."},
    {.name = "name_prefix",
     .type = LP__OPTION_STRING,
     .offset = AT(name_prefix),
     .min = 1,
     .max = 255,
     .text_fallback = "leasepool",
     .unit = "bytes",
     .doc = "Worker threads are named `<prefix>-<executor>-<worker>`; where the system cuts, the "
            "prefix is shortened, never the numbers."},
    BINDING(libs, "a list of names of standard libraries", "all",
            "On `interpreter` only: the libraries that jobs get: base, coroutine, debug, io, math, "
            "os, package, string, table, utf8."),
    BINDING(command, "a list of strings", "the interpreter that runs the script",
            "On `process` only: the program and its arguments. It has to do "
            "`require \"leasepool.child\"`; without a stand-alone interpreter it is required."),
    BINDING(env, "a map of strings", "the script's",
            "On `process` only: replaces the environment of the children."),
    BINDING(cwd, "a string", "the script's", "On `process` only: the directory they start in."),
    BINDING(rlimits, "a map from names to integers", "the script's",
            "On `process` only: their limits, soft and hard, by the names of the shell's `ulimit` "
            "manual: as, core, cpu, data, fsize, nofile, nproc, stack and others."),
    BINDING(leak_traceback, "true or false", "false",
            "Remember where each lease was acquired, and say so when it leaks."),
    BINDING(logger, "a function, or an object with a method log", "warnings to standard error",
            "`function(level, message, fields)`, or an object of LuaLogging's shape. One that "
            "raises is replaced by standard error, once."),
    BINDING(forward_logs, "true or false", "true",
            "Whether what workers log reaches `log_target`."),
    BINDING(log_level, "\"DEBUG\", \"INFO\", \"WARN\" or \"ERROR\"", "\"INFO\"",
            "The least level that workers forward."),
    BINDING(log_target, "a function, or an object with a method log", "the logger",
            "Where the lines of workers go, and only there."),
};

#undef AT
#define AT(field) offsetof(lp_grinder_options_t, field)

static const lp__option_t grinder_rows[] = {
    BINDING(manager, "a manager", "required", "Whose executors it leases."),
    INTEGER(batch_size_threshold, LP__OPTIONAL, 1, INT32_MAX, 20, "jobs",
            "So many pending jobs begin a batch."),
    DURATION(max_wait_seconds, max_wait_ns, 0, 10 * LP_SECOND,
             "A batch begins, too, when the oldest pending job has waited so long."),
    DURATION(lease_seconds, lease_ns, 1, 60 * LP_SECOND,
             "Of a batch's lease, from the hand-over to the soft expiry."),
    {.name = "owner_prefix",
     .type = LP__OPTION_STRING,
     .offset = AT(owner_prefix),
     .min = 1,
     .max = LP__OWNER_PREFIX_MAX,
     .text_fallback = "work-grinder",
     .unit = "bytes",
     .doc = "The owner of a batch's lease is `<prefix>-batch-<n>`."},
    INTEGER(max_pending, LP__OPTIONAL, 1, INT32_MAX, 65536, "jobs",
            "Pending jobs; one more is refused with QueueFullError."),
    INTEGER(max_batches, LP__NONE_IS_0, 1, 1000000, 0, "batches",
            "Batches at once, those that wait for a lease included; none: `max_pools` of the "
            "manager."),
    BINDING(on_progress, "a function", "none",
            "`function(done, total)`, called from the loop when jobs have ended, once for all that "
            "ended at the same time."),
};

const lp__option_t *lp__manager_option_rows(size_t *count)
{
    *count = sizeof manager_rows / sizeof *manager_rows;
    return manager_rows;
}

const lp__option_t *lp__grinder_option_rows(size_t *count)
{
    *count = sizeof grinder_rows / sizeof *grinder_rows;
    return grinder_rows;
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

/* What is written fits: the longest row decides the buffers of the callers (192). */
void lp__option_allowed(const lp__option_t *row, char *text, size_t size)
{
    switch (row->type) {
    case LP__OPTION_INTEGER:
        snprintf(text, size, "an integer from %" PRId64 " to %" PRId64, row->min, row->max);
        break;
    case LP__OPTION_DURATION:
        snprintf(text, size, "a finite number of seconds %s 0", row->min > 0 ? ">" : ">=");
        break;
    case LP__OPTION_BOOLEAN:
        snprintf(text, size, "true or false");
        break;
    case LP__OPTION_CHOICE:
        text[0] = '\0';
        for (size_t i = 0, used = 0; i < LP__MAX_CHOICES && row->choices[i]; i++)
            used += (size_t)snprintf(text + used, size - used, "%s\"%s\"", i > 0 ? ", " : "",
                                     row->choices[i]);
        break;
    case LP__OPTION_STRING:
        snprintf(text, size, "a string of %" PRId64 " to %" PRId64 " bytes without zeros", row->min,
                 row->max);
        break;
    case LP__OPTION_BINDING:
        snprintf(text, size, "%s", row->allowed);
        break;
    }
}

void lp__option_default(const lp__option_t *row, char *text, size_t size)
{
    if (row->presence == LP__REQUIRED)
        snprintf(text, size, "required");
    else if (row->presence == LP__NONE_IS_0)
        snprintf(text, size, "none");
    else if (row->type == LP__OPTION_INTEGER)
        snprintf(text, size, "%" PRId64, row->fallback);
    else if (row->type == LP__OPTION_DURATION)
        snprintf(text, size, "%g", (double)row->fallback / 1e9);
    else if (row->type == LP__OPTION_BOOLEAN)
        snprintf(text, size, "%s", row->fallback ? "true" : "false");
    else if (row->type == LP__OPTION_CHOICE)
        snprintf(text, size, "\"%s\"", row->choices[row->fallback]);
    else if (row->type == LP__OPTION_STRING)
        snprintf(text, size, "\"%s\"", row->text_fallback);
    else
        snprintf(text, size, "%s", row->text_fallback);
}

void lp__options_copy(void *to, size_t to_size, const void *from, size_t from_size)
{
    memcpy(to, from, from_size < to_size ? from_size : to_size);
    memcpy(to, &to_size, sizeof to_size); /* the struct's first field is its size */
}

static int refuse_row(const lp__option_t *row, const char *given, char *text, size_t size)
{
    char allowed[192];
    lp__option_allowed(row, allowed, sizeof allowed);
    snprintf(text, size, "%s: got %s, allowed: %s", row->name, given, allowed);
    return LP_EINVAL;
}

static int check_integer(const lp__option_t *row, int64_t value, char *text, size_t size)
{
    char given[32];
    if (value == 0 && row->presence == LP__NONE_IS_0)
        return 0;
    snprintf(given, sizeof given, "%" PRId64, value);
    return value < row->min || value > row->max ? refuse_row(row, given, text, size) : 0;
}

/* C hosts give nanoseconds. */
static int check_duration(const lp__option_t *row, uint64_t value, char *text, size_t size)
{
    if (value >= (uint64_t)row->min && value <= (uint64_t)row->max)
        return 0;
    snprintf(text, size, "%s: got %" PRIu64 " ns, allowed: from %" PRId64 " to %" PRId64 " ns",
             row->name, value, row->min, row->max);
    return LP_EINVAL;
}

static int check_choice(const lp__option_t *row, int value, char *text, size_t size)
{
    char given[32];
    if (value >= 0 && value < LP__MAX_CHOICES && row->choices[value])
        return 0;
    snprintf(given, sizeof given, "%d", value);
    return refuse_row(row, given, text, size);
}

static int check_string(const lp__option_t *row, const char *value, char *text, size_t size)
{
    char given[32];
    if (!value)
        return refuse_row(row, "NULL", text, size);
    size_t length = strlen(value);
    if (length >= (size_t)row->min && length <= (size_t)row->max)
        return 0;
    snprintf(given, sizeof given, "%zu bytes", length);
    return refuse_row(row, given, text, size);
}

static int check_row(const lp__option_t *row, const void *options, char *text, size_t size)
{
    const char *field = (const char *)options + row->offset;
    union {
        int64_t integer;
        uint64_t duration;
        int small;
        const char *string;
    } value;
    switch (row->type) {
    case LP__OPTION_INTEGER:
        memcpy(&value.integer, field, sizeof value.integer);
        return check_integer(row, value.integer, text, size);
    case LP__OPTION_DURATION:
        memcpy(&value.duration, field, sizeof value.duration);
        return check_duration(row, value.duration, text, size);
    case LP__OPTION_CHOICE:
        memcpy(&value.small, field, sizeof value.small);
        return check_choice(row, value.small, text, size);
    case LP__OPTION_STRING:
        memcpy(&value.string, field, sizeof value.string);
        return check_string(row, value.string, text, size);
    case LP__OPTION_BOOLEAN:
    case LP__OPTION_BINDING:
        break;
    }
    return 0;
}

static int check_rows(const lp__option_t *rows, size_t count, const void *options, char *text,
                      size_t size)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = check_row(&rows[i], options, text, size);
    return rc;
}

int lp__manager_options_check(const lp_manager_options_t *options, char *text, size_t size)
{
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    int rc = check_rows(rows, count, options, text, size);
    if (rc != 0)
        return rc;
    if (options->min_pools > options->max_pools) {
        snprintf(text, size,
                 "min_pools: got %" PRId64 ", allowed: an integer from 1 to max_pools (%" PRId64
                 ")",
                 options->min_pools, options->max_pools);
        return LP_EINVAL;
    }
    return 0;
}

int lp__grinder_options_check(const lp_grinder_options_t *options, char *text, size_t size)
{
    size_t count;
    const lp__option_t *rows = lp__grinder_option_rows(&count);
    return check_rows(rows, count, options, text, size);
}

/* Into a struct of zeros. */
static void set_defaults(const lp__option_t *rows, size_t count, void *options)
{
    for (size_t i = 0; i < count; i++) {
        char *field = (char *)options + rows[i].offset;
        int small = (int)rows[i].fallback;
        switch (rows[i].type) {
        case LP__OPTION_INTEGER:
        case LP__OPTION_DURATION:
            memcpy(field, &rows[i].fallback, sizeof rows[i].fallback);
            break;
        case LP__OPTION_BOOLEAN:
        case LP__OPTION_CHOICE:
            memcpy(field, &small, sizeof small);
            break;
        case LP__OPTION_STRING:
            memcpy(field, &rows[i].text_fallback, sizeof rows[i].text_fallback);
            break;
        case LP__OPTION_BINDING:
            break;
        }
    }
}

void lp_manager_options_init(lp_manager_options_t *options)
{
    size_t count;
    const lp__option_t *rows = lp__manager_option_rows(&count);
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    set_defaults(rows, count, options);
}

void lp_grinder_options_init(lp_grinder_options_t *options)
{
    size_t count;
    const lp__option_t *rows = lp__grinder_option_rows(&count);
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    set_defaults(rows, count, options);
}
