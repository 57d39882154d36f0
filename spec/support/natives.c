/* natives.c - native jobs for spec/native_spec.lua, which compiles this as a library of its own. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "leasepool_native.h"

/* ---- Small ones ------------------------------------------------------------------ */

int add(lp_call_t *call)
{
    int64_t a, b;
    if (lp_arg_integer(call, 1, &a) != 0 || lp_arg_integer(call, 2, &b) != 0)
        return lp_return_error(call, "add: two integers expected");
    return lp_return_integer(call, a + b);
}

int measure(lp_call_t *call)
{
    const char *bytes;
    size_t len;
    if (lp_arg_string(call, 1, &bytes, &len) != 0)
        return lp_return_error(call, "measure: a string expected");
    return lp_return_integer(call, (int64_t)len);
}

/* How many arguments, and their types. */
int types(lp_call_t *call)
{
    static const char *const names[] = {"none",   "nil",    "boolean", "integer",
                                        "number", "string", "table",   "other"};
    (void)lp_return_integer(call, lp_arg_count(call));
    for (int i = 1; i <= lp_arg_count(call); i++) {
        const char *name = names[lp_arg(call, i).type];
        (void)lp_return_string(call, name, strlen(name));
    }
    return 0;
}

int values(lp_call_t *call)
{
    (void)lp_return_nil(call);
    (void)lp_return_boolean(call, 1);
    (void)lp_return_boolean(call, 0);
    (void)lp_return_integer(call, INT64_MIN);
    (void)lp_return_number(call, 3);
    (void)lp_return_number(call, -HUGE_VAL);
    (void)lp_return_string(call, "with\0zero", 9);
    (void)lp_open_table(call);
    (void)lp_close_table(call);
    (void)lp_open_table(call);
    (void)lp_return_string(call, "one", 3);
    (void)lp_open_table(call);
    (void)lp_return_key(call, "two");
    (void)lp_return_integer(call, 2);
    (void)lp_close_table(call);
    (void)lp_return_key(call, "field");
    (void)lp_return_boolean(call, 1);
    (void)lp_close_table(call);
    return lp_return_nil(call);
}

/* As many bytes as are asked for. */
int bytes(lp_call_t *call)
{
    int64_t count = 0;
    char *block;
    int rc;
    if (lp_arg_integer(call, 1, &count) != 0 || count < 0 || !(block = malloc((size_t)count + 1)))
        return lp_return_error(call, "bytes: cannot");
    memset(block, 'x', (size_t)count);
    rc = lp_return_string(call, block, (size_t)count);
    free(block);
    return rc;
}

/* ---- What goes wrong ---------------------------------------------------------------- */

int fail(lp_call_t *call)
{
    const char *text = NULL;
    size_t len = 0;
    (void)lp_arg_string(call, 1, &text, &len);
    (void)lp_return_integer(call, 1);
    return call->api->return_error(call, text, len);
}

int end_with(lp_call_t *call)
{
    int64_t code = 0;
    (void)lp_arg_integer(call, 1, &code);
    return (int)code;
}

int leave_open(lp_call_t *call)
{
    return lp_open_table(call);
}

/* More than fits, and then a number of its own. */
int too_much(lp_call_t *call)
{
    return lp_return_string(call, "", (size_t)3 << 30) == 0 ? 0 : 1;
}

int die(lp_call_t *call)
{
    (void)call;
    return raise(SIGKILL);
}

/* ---- Time ------------------------------------------------------------------------- */

/* Makes the file whose name is an argument: so far it has come. */
static void tell(lp_call_t *call, int index)
{
    char path[300];
    const char *name;
    size_t len;
    if (lp_arg_string(call, index, &name, &len) != 0 || len >= sizeof path)
        return;
    memcpy(path, name, len);
    path[len] = '\0';
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

static int is_there(lp_call_t *call, int index)
{
    char path[300];
    const char *name;
    size_t len;
    struct stat status;
    if (lp_arg_string(call, index, &name, &len) != 0 || len >= sizeof path)
        return 1;
    memcpy(path, name, len);
    path[len] = '\0';
    return stat(path, &status) == 0;
}

/* Tells that it has begun, and works until it is to stop. */
int work(lp_call_t *call)
{
    tell(call, 1);
    while (lp_cancelled(call) == 0)
        (void)poll(NULL, 0, 1);
    return lp_return_string(call, "of no use any more", 18);
}

/* Blocks in one system call, which nothing but the request ends. */
int block(lp_call_t *call)
{
    int ends[2];
    char byte;
    if (pipe(ends) != 0)
        return lp_return_error(call, "block: no pipe");
    tell(call, 1);
    while (read(ends[0], &byte, 1) < 0 && errno == EINTR && lp_cancelled(call) == 0) {
    }
    close(ends[0]);
    close(ends[1]);
    return 0;
}

/* Tells that it has begun, and works until a file is there, whatever is asked of it. */
int ignore(lp_call_t *call)
{
    tell(call, 1);
    while (!is_there(call, 2))
        (void)poll(NULL, 0, 1);
    return lp_return_string(call, "done all the same", 17);
}

/* Seconds; nil: as many as there are. */
int remaining(lp_call_t *call)
{
    uint64_t left = lp_remaining_ns(call);
    return left == UINT64_MAX ? lp_return_nil(call) : lp_return_number(call, (double)left / 1e9);
}

/* ---- Arguments as text --------------------------------------------------------------- */

typedef struct {
    char *at;
    size_t len, size;
} text_t;

static void put(text_t *text, const char *bytes, size_t len)
{
    if (text->len + len + 1 > text->size) {
        text->size = 2 * (text->len + len + 1);
        text->at = realloc(text->at, text->size);
    }
    if (!text->at)
        abort();
    memcpy(text->at + text->len, bytes, len);
    text->len += len;
    text->at[text->len] = '\0';
}

static void putf(text_t *text, const char *format, ...)
{
    char buffer[64];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    put(text, buffer, (size_t)len);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void put_value(lp_call_t *call, text_t *text, lp_value_t value, int depth);

/* The pairs, as a list of texts in their order. */
static void put_table(lp_call_t *call, text_t *text, lp_value_t table, int depth)
{
    char **pairs = NULL;
    size_t count = 0;
    lp_cursor_t cursor = {NULL, 0, 0};
    lp_value_t key, value;
    while (lp_table_next(call, table, &cursor, &key, &value)) {
        text_t pair = {NULL, 0, 0};
        put_value(call, &pair, key, depth - 1);
        put(&pair, "=", 1);
        put_value(call, &pair, value, depth - 1);
        pairs = realloc(pairs, (count + 1) * sizeof *pairs);
        if (!pairs)
            abort();
        pairs[count++] = pair.at;
    }
    if (count > 0)
        qsort(pairs, count, sizeof *pairs, by_text);
    put(text, "{", 1);
    for (size_t i = 0; i < count; i++) {
        put(text, pairs[i], strlen(pairs[i]));
        put(text, ";", 1);
        free(pairs[i]);
    }
    put(text, "}", 1);
    free(pairs);
}

static void put_value(lp_call_t *call, text_t *text, lp_value_t value, int depth)
{
    int boolean;
    int64_t integer;
    double number;
    const char *string;
    size_t len;
    if (lp_get_boolean(call, value, &boolean) == 0)
        putf(text, "%s", boolean ? "true" : "false");
    else if (lp_get_integer(call, value, &integer) == 0)
        putf(text, "%" PRId64, integer);
    else if (lp_get_number(call, value, &number) == 0)
        putf(text, "%a", number);
    else if (lp_get_string(call, value, &string, &len) == 0) {
        put(text, "\"", 1);
        put(text, string, len);
        put(text, "\"", 1);
    } else if (value.type != LP_TYPE_TABLE) {
        putf(text, "%s", value.type == LP_TYPE_NIL ? "nil" : "other");
    } else if (depth == 0) {
        put(text, "..", 2);
    } else {
        put_table(call, text, value, depth);
    }
}

/* All arguments behind the first, which says how deep. */
int show(lp_call_t *call)
{
    text_t text = {NULL, 0, 0};
    int64_t depth = 0;
    (void)lp_arg_integer(call, 1, &depth);
    for (int i = 2; i <= lp_arg_count(call); i++) {
        put_value(call, &text, lp_arg(call, i), (int)depth);
        put(&text, " ", 1);
    }
    int rc = lp_return_string(call, text.at, text.len);
    free(text.at);
    return rc;
}

/* ---- Tables as they are --------------------------------------------------------------- */

static int give_back(lp_call_t *call, lp_value_t value, int depth);

static int give_back_table(lp_call_t *call, lp_value_t table, int depth)
{
    lp_cursor_t cursor = {NULL, 0, 0};
    lp_value_t key, value;
    const char *name;
    size_t len;
    int64_t index, count = 0;
    if (lp_open_table(call) != 0)
        return 1;
    while (lp_table_next(call, table, &cursor, &key, &value)) {
        if (lp_get_string(call, key, &name, &len) == 0)
            (void)call->api->key(call, name, len);
        else if (lp_get_integer(call, key, &index) != 0 || index != ++count)
            return lp_return_error(call, "echo: a key that is no string");
        if (give_back(call, value, depth + 1) != 0)
            return 1;
    }
    return lp_close_table(call);
}

static int give_back(lp_call_t *call, lp_value_t value, int depth)
{
    int boolean;
    int64_t integer;
    double number;
    const char *string;
    size_t len;
    if (depth > 200)
        return lp_return_error(call, "echo: a table that holds itself");
    if (lp_get_boolean(call, value, &boolean) == 0)
        return lp_return_boolean(call, boolean);
    if (lp_get_integer(call, value, &integer) == 0)
        return lp_return_integer(call, integer);
    if (lp_get_number(call, value, &number) == 0)
        return lp_return_number(call, number);
    if (lp_get_string(call, value, &string, &len) == 0)
        return lp_return_string(call, string, len);
    if (value.type == LP_TYPE_TABLE)
        return give_back_table(call, value, depth);
    return value.type == LP_TYPE_NIL ? lp_return_nil(call) : lp_return_error(call, "echo: other");
}

int echo(lp_call_t *call)
{
    int rc = 0;
    for (int i = 1; i <= lp_arg_count(call) && rc == 0; i++)
        rc = give_back(call, lp_arg(call, i), 0);
    return rc;
}
