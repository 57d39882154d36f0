/* writer.c - see writer.h. What is not hot. */
#include "wire/writer.h"

uint32_t lp__put_wide_int(uint8_t *at, int64_t value)
{
    if (value >= 0) {
        if (value <= UINT8_MAX) {
            at[0] = 0xcc;
            at[1] = (uint8_t)value;
            return 2;
        }
        if (value <= UINT16_MAX) {
            at[0] = 0xcd;
            lp__store_be16(at + 1, (uint16_t)value);
            return 3;
        }
        if (value <= UINT32_MAX) {
            at[0] = 0xce;
            lp__store_be32(at + 1, (uint32_t)value);
            return 5;
        }
        at[0] = 0xcf;
    } else {
        if (value >= INT8_MIN) {
            at[0] = 0xd0;
            at[1] = (uint8_t)value;
            return 2;
        }
        if (value >= INT16_MIN) {
            at[0] = 0xd1;
            lp__store_be16(at + 1, (uint16_t)value);
            return 3;
        }
        if (value >= INT32_MIN) {
            at[0] = 0xd2;
            lp__store_be32(at + 1, (uint32_t)value);
            return 5;
        }
        at[0] = 0xd3;
    }
    lp__store_be64(at + 1, (uint64_t)value);
    return 9;
}

int lp__write_long_string(lp__message_t *message, const char *bytes, size_t len)
{
    if (len > LP__MESSAGE_MAX) /* or the sum below could wrap where size_t has 32 bits */
        return lp__message_reserve(message, len);
    int rc = lp__writer_room(message, len + 5);
    if (rc != 0)
        return rc;
    uint8_t *at = message->data + message->len;
    uint32_t header;
    if (len <= UINT8_MAX) {
        at[0] = 0xd9;
        at[1] = (uint8_t)len;
        header = 2;
    } else if (len <= UINT16_MAX) {
        at[0] = 0xda;
        lp__store_be16(at + 1, (uint16_t)len);
        header = 3;
    } else {
        at[0] = 0xdb;
        lp__store_be32(at + 1, (uint32_t)len);
        header = 5;
    }
    memcpy(at + header, bytes, len);
    message->len += header + (uint32_t)len;
    return 0;
}

int lp__write_ext_number(lp__message_t *message, int type, uint32_t number)
{
    uint8_t payload[LP__WRITE_INT_MAX];
    uint32_t len = 1;
    if (number <= 127)
        payload[0] = (uint8_t)number;
    else
        len = lp__put_wide_int(payload, number);

    int rc = lp__writer_room(message, 3 + len);
    if (rc != 0)
        return rc;
    uint8_t *at = message->data + message->len;
    if (len <= 2) { /* fixext 1 and 2 */
        *at++ = (uint8_t)(0xd3 + len);
        message->len += 2 + len;
    } else { /* ext 8 */
        *at++ = 0xc7;
        *at++ = (uint8_t)len;
        message->len += 3 + len;
    }
    *at++ = (uint8_t)type;
    memcpy(at, payload, len);
    return 0;
}

int lp__write_ext_open(lp__message_t *message, int type, uint32_t *at)
{
    int rc = lp__writer_room(message, 6);
    *at = message->len;
    if (rc != 0)
        return rc;
    message->data[message->len] = 0xc9;
    message->data[message->len + 5] = (uint8_t)type;
    message->len += 6;
    return 0;
}

void lp__write_ext_close(lp__message_t *message, uint32_t at)
{
    lp__store_be32(message->data + at + 1, message->len - at - 6);
}
