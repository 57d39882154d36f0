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

typedef enum { LP__OPTION_INTEGER, LP__OPTION_STRING } lp__option_type_t;

typedef struct {
    const char *name;
    lp__option_type_t type;
    size_t offset; /* of the field in the options struct: int64_t, const char * */
    bool required;
    int64_t min, max, fallback; /* of an integer; `fallback` is the default */
    const char *text_fallback;  /* of a string */
    const char *unit;           /* for people: "jobs", "executors", "" */
    const char *doc;
} lp__option_t;

/* The rows of lp_manager_options_t. */
const lp__option_t *lp__manager_option_rows(size_t *count);

/* The row called `name`; NULL: unknown. */
const lp__option_t *lp__option_find(const lp__option_t *rows, size_t count, const char *name);

/* The known name nearest to `name` by edit distance; NULL when none is near. */
const char *lp__option_nearest(const lp__option_t *rows, size_t count, const char *name);

/* Writes what a row allows: "an integer from 1 to 65536". */
void lp__option_allowed(const lp__option_t *row, char *text, size_t size);

/* Copies a caller's struct, of an older or newer size, over defaults. */
void lp__options_copy(void *to, size_t to_size, const void *from, size_t from_size);

/* 0, or LP_EINVAL with the option, what was given and what is allowed in `text`. */
int lp__manager_options_check(const lp_manager_options_t *options, char *text, size_t size);

#endif
