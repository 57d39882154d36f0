/* leasepool_native.h - C functions that scripts run as jobs.
 *
 *     static int add(lp_call_t *call)
 *     {
 *         int64_t a, b;
 *         if (lp_arg_integer(call, 1, &a) != 0 || lp_arg_integer(call, 2, &b) != 0)
 *             return lp_return_error(call, "add: two integers expected");
 *         return lp_return_integer(call, a + b);
 *     }
 *
 * A host registers such a function with lp_register_native; a script loads one from a shared
 * library with leasepool.load_native(path, symbol), for which the library needs this header and
 * nothing to link with: the functions here go through a table that comes with the call.
 *
 * A native job runs on a worker and gets no Lua state. It must not touch a runtime, its managers or
 * leases. Nothing interrupts it but its blocking system calls (EINTR): long ones ask lp_cancelled.
 * The call, and all that it has given out, is valid until the function returns. Worker thread. */
#ifndef LEASEPOOL_NATIVE_H
#define LEASEPOOL_NATIVE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ------------------------------------------------------------------- */

#define LP_ERRNO_MAP(XX)                                                                           \
    XX(EINVAL, 20001, "an option or argument is wrong")                                            \
    XX(ENOTSTARTED, 20002, "the manager is not started")                                           \
    XX(EUNAVAILABLE, 20003, "no executor is free")                                                 \
    XX(ETIMEDOUT, 20004, "timed out")                                                              \
    XX(EEXPIRED, 20005, "the lease is released or expired")                                        \
    XX(EQUEUEFULL, 20006, "the queue is full")                                                     \
    XX(ETRANSFER, 20007, "the value cannot be transferred")                                        \
    XX(EJOB, 20008, "the job failed")                                                              \
    XX(ECANCELLED, 20009, "cancelled")                                                             \
    XX(EBROKEN, 20010, "the executor is broken")                                                   \
    XX(ENOTSUP, 20011, "not supported by this backend or platform")                                \
    XX(EWRONGTHREAD, 20012, "called from the wrong thread")                                        \
    XX(EWOULDBLOCK, 20013, "the call would have to wait where nothing can wait")                   \
    XX(ENOMEM, 20014, "out of memory")                                                             \
    XX(ESTATE, 20015, "the object is in the wrong state for this call")

enum {
#define XX(name, number, text) LP_##name = -(number),
    LP_ERRNO_MAP(XX)
#undef XX
};

/* ---- Calls -------------------------------------------------------------------- */

typedef struct lp_call_s lp_call_t;

/* 0: the results are what was returned; otherwise the job fails, with what lp_return_error was told
 * last. */
typedef int (*lp_native_cb)(lp_call_t *call);

typedef enum {
    LP_TYPE_NONE, /* no such argument or element */
    LP_TYPE_NIL,
    LP_TYPE_BOOLEAN,
    LP_TYPE_INTEGER,
    LP_TYPE_NUMBER, /* a float */
    LP_TYPE_STRING,
    LP_TYPE_TABLE,
    LP_TYPE_OTHER /* a function, a grinder: nothing for C */
} lp_type_t;

/* An argument, or something in one. */
typedef struct lp_value_s {
    lp_type_t type;
    const unsigned char *at; /* private */
    int64_t index;           /* private: of an element, where `at` is NULL */
} lp_value_t;

/* Where a walk over a table is; zeroed before it begins. */
typedef struct lp_cursor_s {
    const unsigned char *at; /* private */
    size_t left, index;
} lp_cursor_t;

/* What comes with a call; use the functions below. */
typedef struct lp_call_api_s {
    size_t size;
    int (*count)(lp_call_t *call);
    int (*arg)(lp_call_t *call, int index, lp_value_t *value);
    int (*boolean)(lp_call_t *call, const lp_value_t *value, int *out);
    int (*integer)(lp_call_t *call, const lp_value_t *value, int64_t *out);
    int (*number)(lp_call_t *call, const lp_value_t *value, double *out);
    int (*string)(lp_call_t *call, const lp_value_t *value, const char **bytes, size_t *len);
    int (*length)(lp_call_t *call, const lp_value_t *table, size_t *length);
    int (*element)(lp_call_t *call, const lp_value_t *table, size_t index, lp_value_t *value);
    int (*field)(lp_call_t *call, const lp_value_t *table, const char *name, size_t len,
                 lp_value_t *value);
    int (*next)(lp_call_t *call, const lp_value_t *table, lp_cursor_t *cursor, lp_value_t *key,
                lp_value_t *value);
    int (*return_nil)(lp_call_t *call);
    int (*return_boolean)(lp_call_t *call, int value);
    int (*return_integer)(lp_call_t *call, int64_t value);
    int (*return_number)(lp_call_t *call, double value);
    int (*return_string)(lp_call_t *call, const char *bytes, size_t len);
    int (*open_table)(lp_call_t *call);
    int (*key)(lp_call_t *call, const char *name, size_t len);
    int (*close_table)(lp_call_t *call);
    int (*return_error)(lp_call_t *call, const char *message, size_t len);
    int (*cancelled)(lp_call_t *call);
    uint64_t (*remaining_ns)(lp_call_t *call);
} lp_call_api_t;

struct lp_call_s {
    const lp_call_api_t *api;
    void *data; /* what lp_register_native was given; NULL for one that a script has loaded */
};

/* ---- Arguments ------------------------------------------------------------------ */

/* Functions that read return 0, or LP_EINVAL when the value is not of that type (an integer is a
 * number, too, but no float is an integer) or there is none; then *out is untouched. Strings are
 * not zero-terminated, and not copied. */

static inline int lp_arg_count(lp_call_t *call)
{
    return call->api->count(call);
}

/* Argument `index`, from 1 on; of the type LP_TYPE_NONE where there is none. */
static inline lp_value_t lp_arg(lp_call_t *call, int index)
{
    lp_value_t value;
    call->api->arg(call, index, &value);
    return value;
}

static inline int lp_get_boolean(lp_call_t *call, lp_value_t value, int *out)
{
    return call->api->boolean(call, &value, out);
}

static inline int lp_get_integer(lp_call_t *call, lp_value_t value, int64_t *out)
{
    return call->api->integer(call, &value, out);
}

static inline int lp_get_number(lp_call_t *call, lp_value_t value, double *out)
{
    return call->api->number(call, &value, out);
}

static inline int lp_get_string(lp_call_t *call, lp_value_t value, const char **bytes, size_t *len)
{
    return call->api->string(call, &value, bytes, len);
}

static inline int lp_arg_boolean(lp_call_t *call, int index, int *out)
{
    return lp_get_boolean(call, lp_arg(call, index), out);
}

static inline int lp_arg_integer(lp_call_t *call, int index, int64_t *out)
{
    return lp_get_integer(call, lp_arg(call, index), out);
}

static inline int lp_arg_number(lp_call_t *call, int index, double *out)
{
    return lp_get_number(call, lp_arg(call, index), out);
}

static inline int lp_arg_string(lp_call_t *call, int index, const char **bytes, size_t *len)
{
    return lp_get_string(call, lp_arg(call, index), bytes, len);
}

/* Tables: the elements from 1 on without a hole, and all the other fields. Each call goes through
 * the table from its beginning, but for lp_table_next. */

static inline int lp_table_length(lp_call_t *call, lp_value_t table, size_t *length)
{
    return call->api->length(call, &table, length);
}

/* Element `index`, from 1 on. */
static inline lp_value_t lp_table_at(lp_call_t *call, lp_value_t table, size_t index)
{
    lp_value_t value;
    call->api->element(call, &table, index, &value);
    return value;
}

/* The field of that name, a string. */
static inline lp_value_t lp_table_get(lp_call_t *call, lp_value_t table, const char *name)
{
    lp_value_t value;
    call->api->field(call, &table, name, strlen(name), &value);
    return value;
}

/* The next pair: 1, or 0 when there is none any more (or it is no table). Elements come first. */
static inline int lp_table_next(lp_call_t *call, lp_value_t table, lp_cursor_t *cursor,
                                lp_value_t *key, lp_value_t *value)
{
    return call->api->next(call, &table, cursor, key, value);
}

/* ---- Results -------------------------------------------------------------------- */

/* Each call returns one more value, or adds one to the table that is open. 0, LP_ENOMEM,
 * LP_ETRANSFER (more than 2 GiB), or LP_ESTATE (an element behind the fields of a table, a key
 * without a value, a table more than 128 levels deep or not open). What went wrong is remembered:
 * nothing more is returned, and the job fails with it, whatever the function returns. */

static inline int lp_return_nil(lp_call_t *call)
{
    return call->api->return_nil(call);
}

static inline int lp_return_boolean(lp_call_t *call, int value)
{
    return call->api->return_boolean(call, value);
}

static inline int lp_return_integer(lp_call_t *call, int64_t value)
{
    return call->api->return_integer(call, value);
}

static inline int lp_return_number(lp_call_t *call, double value)
{
    return call->api->return_number(call, value);
}

/* Copies the bytes. */
static inline int lp_return_string(lp_call_t *call, const char *bytes, size_t len)
{
    return call->api->return_string(call, bytes, len);
}

/* What is returned until lp_close_table is in the table: its elements first, then its fields, each
 * after lp_return_key. Tables may lie in tables. */
static inline int lp_open_table(lp_call_t *call)
{
    return call->api->open_table(call);
}

static inline int lp_return_key(lp_call_t *call, const char *name)
{
    return call->api->key(call, name, strlen(name));
}

static inline int lp_close_table(lp_call_t *call)
{
    return call->api->close_table(call);
}

/* The job fails with this message, a JobError. Never 0: `return lp_return_error(...)`. */
static inline int lp_return_error(lp_call_t *call, const char *message)
{
    return call->api->return_error(call, message, strlen(message));
}

/* ---- Time ----------------------------------------------------------------------- */

/* Is the job to stop? 0, or why: LP_ECANCELLED, LP_ETIMEDOUT, LP_EEXPIRED; then that is what
 * becomes of the job. */
static inline int lp_cancelled(lp_call_t *call)
{
    return call->api->cancelled(call);
}

/* Nanoseconds until the job's timeout or the lease's hard expiry; UINT64_MAX: none. */
static inline uint64_t lp_remaining_ns(lp_call_t *call)
{
    return call->api->remaining_ns(call);
}

#ifdef __cplusplus
}
#endif
#endif
