/* writer.h - appends MessagePack to a message.
 *
 * Every function makes room itself and returns 0, LP_ENOMEM or LP_ETRANSFER (the message
 * would pass LP__MESSAGE_MAX); then the message is as long as before. Integers take their
 * shortest form, floats always eight bytes. The scalars are inline: a table of integers is
 * a loop over lp__write_int.
 *
 * A container whose size is not known yet is opened, filled and closed: its header has a
 * fixed width and is patched in place, so that nothing is ever moved or encoded twice. */
#ifndef LP_WIRE_WRITER_H
#define LP_WIRE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire/format.h"
#include "wire/message.h"

static inline void lp__store_be16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static inline void lp__store_be32(uint8_t *at, uint32_t v)
{
    lp__store_be16(at, (uint16_t)(v >> 16));
    lp__store_be16(at + 2, (uint16_t)v);
}

static inline void lp__store_be64(uint8_t *at, uint64_t v)
{
    lp__store_be32(at, (uint32_t)(v >> 32));
    lp__store_be32(at + 4, (uint32_t)v);
}

static inline int lp__writer_room(lp__message_t *message, size_t more)
{
    return more <= message->cap - message->len ? 0 : lp__message_reserve(message, more);
}

static inline int lp__write_byte(lp__message_t *message, uint8_t byte)
{
    int rc = lp__writer_room(message, 1);
    if (rc == 0)
        message->data[message->len++] = byte;
    return rc;
}

static inline int lp__write_nil(lp__message_t *message)
{
    return lp__write_byte(message, 0xc0);
}

static inline int lp__write_bool(lp__message_t *message, bool value)
{
    return lp__write_byte(message, value ? 0xc3 : 0xc2);
}

/* How many bytes lp__write_int needs at most. */
#define LP__WRITE_INT_MAX 9

/* The widths beyond one byte; writes without a check and returns how many bytes. */
uint32_t lp__put_wide_int(uint8_t *at, int64_t value);

static inline int lp__write_int(lp__message_t *message, int64_t value)
{
    int rc = lp__writer_room(message, LP__WRITE_INT_MAX);
    if (rc != 0)
        return rc;
    uint8_t *at = message->data + message->len;
    if (value >= -32 && value <= 127) {
        at[0] = (uint8_t)value;
        message->len += 1;
    } else {
        message->len += lp__put_wide_int(at, value);
    }
    return 0;
}

static inline int lp__write_float(lp__message_t *message, double value)
{
    int rc = lp__writer_room(message, 9);
    if (rc != 0)
        return rc;
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint8_t *at = message->data + message->len;
    at[0] = 0xcb;
    lp__store_be64(at + 1, bits);
    message->len += 9;
    return 0;
}

/* Strings of 32 bytes and more. */
int lp__write_long_string(lp__message_t *message, const char *bytes, size_t len);

static inline int lp__write_string(lp__message_t *message, const char *bytes, size_t len)
{
    if (len > 31)
        return lp__write_long_string(message, bytes, len);
    int rc = lp__writer_room(message, len + 1);
    if (rc != 0)
        return rc;
    uint8_t *at = message->data + message->len;
    at[0] = (uint8_t)(0xa0 | len);
    memcpy(at + 1, bytes, len);
    message->len += (uint32_t)len + 1;
    return 0;
}

static inline int lp__write_empty_table(lp__message_t *message)
{
    return lp__write_byte(message, 0x90);
}

/* REF and CELL: an extension whose payload is one number. */
int lp__write_ext_number(lp__message_t *message, int type, uint32_t number);

/* Opens an array or a map; which of them, its closing says. *at is for that. */
static inline int lp__write_table_open(lp__message_t *message, uint32_t *at)
{
    int rc = lp__writer_room(message, 5);
    *at = message->len;
    if (rc == 0)
        message->len += 5;
    return rc;
}

static inline void lp__write_array_close(lp__message_t *message, uint32_t at, uint32_t count)
{
    message->data[at] = 0xdd;
    lp__store_be32(message->data + at + 1, count);
}

static inline void lp__write_map_close(lp__message_t *message, uint32_t at, uint32_t count)
{
    message->data[at] = 0xdf;
    lp__store_be32(message->data + at + 1, count);
}

/* Opens an extension; what is written until lp__write_ext_close is its payload. */
int lp__write_ext_open(lp__message_t *message, int type, uint32_t *at);
void lp__write_ext_close(lp__message_t *message, uint32_t at);

#endif
