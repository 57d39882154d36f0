/* options.h - one row for each option: from it come the checks in C, the parser in Lua, the
 * error messages and the documentation.
 *
 * No state; any thread, but for the message buffers of the callers. */
#ifndef LP_CORE_OPTIONS_H
#define LP_CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leasepool.h"

typedef enum {
    LP__OPTION_INTEGER,  /* int64_t */
    LP__OPTION_DURATION, /* uint64_t nanoseconds; in Lua seconds */
    LP__OPTION_BOOLEAN,  /* int */
    LP__OPTION_CHOICE,   /* int, the place in `choices` */
    LP__OPTION_STRING,   /* const char * */
    LP__OPTION_BINDING   /* no field: the Lua binding reads it; `allowed` says what it takes */
} lp__option_type_t;

#define LP__MAX_CHOICES 4

typedef struct {
    const char *name;
    lp__option_type_t type;
    size_t offset; /* of the field in the options struct */
    enum { LP__OPTIONAL, LP__REQUIRED, LP__NONE_IS_0 } presence; /* the last: 0 means none */
    int64_t min, max, fallback; /* of a number; `fallback` is the default */
    const char *text_fallback;  /* of a string */
    const char *allowed;        /* of a binding's option: "a function" */
    const char *choices[LP__MAX_CHOICES];
    const char *unit; /* for people: "jobs", "executors", "" */
    const char *doc;
} lp__option_t;

/* The rows of lp_manager_options_t, and of lp_grinder_options_t. */
const lp__option_t *lp__manager_option_rows(size_t *count);
const lp__option_t *lp__grinder_option_rows(size_t *count);

/* The row called `name`; NULL: unknown. */
const lp__option_t *lp__option_find(const lp__option_t *rows, size_t count, const char *name);

/* The known name nearest to `name` by edit distance; NULL when none is near. */
const char *lp__option_nearest(const lp__option_t *rows, size_t count, const char *name);

/* Writes what a row allows in Lua: "an integer from 1 to 65536", "a finite number of seconds
 * > 0". */
void lp__option_allowed(const lp__option_t *row, char *text, size_t size);

/* Writes the default as Lua would: `4`, `"leasepool"`, `none`, `required`. */
void lp__option_default(const lp__option_t *row, char *text, size_t size);

/* Copies a caller's struct, of an older or newer size, over defaults. */
void lp__options_copy(void *to, size_t to_size, const void *from, size_t from_size);

/* 0, or LP_EINVAL with the option, what was given and what is allowed in `text`. */
int lp__manager_options_check(const lp_manager_options_t *options, char *text, size_t size);
int lp__grinder_options_check(const lp_grinder_options_t *options, char *text, size_t size);

#endif
