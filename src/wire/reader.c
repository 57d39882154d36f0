/* reader.c - see reader.h. */
#include "wire/reader.h"

#include <string.h>

static uint64_t load_be(const uint8_t *at, unsigned width)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < width; i++)
        v = v << 8 | at[i];
    return v;
}

/* The big-endian number of `width` bytes at the cursor, which moves on. */
static bool take(lp__reader_t *reader, unsigned width, uint64_t *value)
{
    if (lp__reader_left(reader) < width)
        return false;
    const uint8_t *at = reader->pos;
    switch (width) { /* constant widths, or the compiler makes it a loop */
    case 1:
        *value = at[0];
        break;
    case 2:
        *value = load_be(at, 2);
        break;
    case 4:
        *value = load_be(at, 4);
        break;
    default:
        *value = load_be(at, 8);
        break;
    }
    reader->pos += width;
    return true;
}

static int take_signed(lp__reader_t *reader, lp__token_t *token, unsigned width)
{
    uint64_t v;
    if (!take(reader, width, &v))
        return LP_ETRANSFER;
    token->kind = LP__TOKEN_INT;
    switch (width) {
    case 1:
        token->u.integer = (int8_t)v;
        break;
    case 2:
        token->u.integer = (int16_t)v;
        break;
    case 4:
        token->u.integer = (int32_t)v;
        break;
    default:
        token->u.integer = (int64_t)v;
        break;
    }
    return 0;
}

static int take_unsigned(lp__reader_t *reader, lp__token_t *token, unsigned width)
{
    uint64_t v;
    if (!take(reader, width, &v) || v > INT64_MAX)
        return LP_ETRANSFER;
    token->kind = LP__TOKEN_INT;
    token->u.integer = (int64_t)v;
    return 0;
}

static int take_float(lp__reader_t *reader, lp__token_t *token, unsigned width)
{
    uint64_t v;
    if (!take(reader, width, &v))
        return LP_ETRANSFER;
    token->kind = LP__TOKEN_FLOAT;
    if (width == 4) {
        uint32_t bits = (uint32_t)v;
        float single;
        memcpy(&single, &bits, sizeof single);
        token->u.number = (double)single;
    } else {
        memcpy(&token->u.number, &v, sizeof token->u.number);
    }
    return 0;
}

static int take_bytes(lp__reader_t *reader, lp__token_t *token, uint64_t len)
{
    if (len > lp__reader_left(reader))
        return LP_ETRANSFER;
    token->len = (uint32_t)len;
    token->u.bytes = reader->pos;
    reader->pos += len;
    return 0;
}

static int take_string(lp__reader_t *reader, lp__token_t *token, unsigned width)
{
    uint64_t len;
    if (!take(reader, width, &len))
        return LP_ETRANSFER;
    token->kind = LP__TOKEN_STRING;
    return take_bytes(reader, token, len);
}

static int take_ext(lp__reader_t *reader, lp__token_t *token, uint64_t len)
{
    uint64_t type;
    if (!take(reader, 1, &type) || type < LP__EXT_REF || type > LP__EXT_LAST)
        return LP_ETRANSFER;
    token->kind = LP__TOKEN_EXT;
    token->ext = (int)type;
    return take_bytes(reader, token, len);
}

static int take_sized_ext(lp__reader_t *reader, lp__token_t *token, unsigned width)
{
    uint64_t len;
    if (!take(reader, width, &len))
        return LP_ETRANSFER;
    return take_ext(reader, token, len);
}

static int container(lp__reader_t *reader, lp__token_t *token, lp__token_kind_t kind,
                     uint64_t count)
{
    token->kind = kind;
    token->len = (uint32_t)count;
    return lp__reader_expect(reader, kind == LP__TOKEN_MAP ? count * 2 : count);
}

static int take_container(lp__reader_t *reader, lp__token_t *token, lp__token_kind_t kind,
                          unsigned width)
{
    uint64_t count;
    if (!take(reader, width, &count))
        return LP_ETRANSFER;
    return container(reader, token, kind, count);
}

int lp__reader_next_slow(lp__reader_t *reader, lp__token_t *token)
{
    if (reader->pos == reader->end)
        return LP_ETRANSFER;
    uint8_t first = *reader->pos++;
    reader->owed -= reader->owed != 0;

    if (first <= 0x7f || first >= 0xe0) {
        token->kind = LP__TOKEN_INT;
        token->u.integer = (int8_t)first;
        return 0;
    }
    if (first <= 0x8f)
        return container(reader, token, LP__TOKEN_MAP, first & 0x0fu);
    if (first <= 0x9f)
        return container(reader, token, LP__TOKEN_ARRAY, first & 0x0fu);
    if (first <= 0xbf) {
        token->kind = LP__TOKEN_STRING;
        return take_bytes(reader, token, first & 0x1fu);
    }
    switch (first) {
    case 0xc0:
        token->kind = LP__TOKEN_NIL;
        return 0;
    case 0xc2:
    case 0xc3:
        token->kind = LP__TOKEN_BOOL;
        token->u.boolean = first == 0xc3;
        return 0;
    case 0xc4: /* bin 8, 16, 32: a Lua string is either */
    case 0xd9:
        return take_string(reader, token, 1);
    case 0xc5:
    case 0xda:
        return take_string(reader, token, 2);
    case 0xc6:
    case 0xdb:
        return take_string(reader, token, 4);
    case 0xc7:
        return take_sized_ext(reader, token, 1);
    case 0xc8:
        return take_sized_ext(reader, token, 2);
    case 0xc9:
        return take_sized_ext(reader, token, 4);
    case 0xca:
        return take_float(reader, token, 4);
    case 0xcb:
        return take_float(reader, token, 8);
    case 0xcc:
        return take_unsigned(reader, token, 1);
    case 0xcd:
        return take_unsigned(reader, token, 2);
    case 0xce:
        return take_unsigned(reader, token, 4);
    case 0xcf:
        return take_unsigned(reader, token, 8);
    case 0xd0:
        return take_signed(reader, token, 1);
    case 0xd1:
        return take_signed(reader, token, 2);
    case 0xd2:
        return take_signed(reader, token, 4);
    case 0xd3:
        return take_signed(reader, token, 8);
    case 0xd4: /* fixext 1, 2, 4, 8, 16 */
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return take_ext(reader, token, UINT64_C(1) << (first - 0xd4));
    case 0xdc:
        return take_container(reader, token, LP__TOKEN_ARRAY, 2);
    case 0xdd:
        return take_container(reader, token, LP__TOKEN_ARRAY, 4);
    case 0xde:
        return take_container(reader, token, LP__TOKEN_MAP, 2);
    case 0xdf:
        return take_container(reader, token, LP__TOKEN_MAP, 4);
    default: /* 0xc1, which MessagePack never uses */
        return LP_ETRANSFER;
    }
}

int lp__reader_number(lp__reader_t *reader, uint32_t *number)
{
    lp__token_t token;
    int rc = lp__reader_next(reader, &token);
    if (rc != 0)
        return rc;
    if (token.kind != LP__TOKEN_INT || token.u.integer < 0 || token.u.integer > UINT32_MAX)
        return LP_ETRANSFER;
    *number = (uint32_t)token.u.integer;
    return 0;
}

int lp__reader_ext_number(const lp__token_t *ext, uint32_t *number)
{
    lp__reader_t payload;
    lp__reader_init(&payload, ext->u.bytes, ext->len);
    int rc = lp__reader_number(&payload, number);
    return rc == 0 && payload.pos != payload.end ? LP_ETRANSFER : rc;
}

int lp__reader_begin(lp__reader_t *reader, uint8_t *flags, uint32_t *count)
{
    if (reader->pos == reader->end)
        return LP_ETRANSFER;
    uint8_t header = *reader->pos++;
    *flags = header & (uint8_t)~LP__WIRE_VERSION_MASK;
    if ((header & LP__WIRE_VERSION_MASK) != LP__WIRE_VERSION || (*flags & ~LP__WIRE_FLAGS))
        return LP_ETRANSFER;
    int rc = lp__reader_number(reader, count);
    return rc == 0 ? lp__reader_expect(reader, *count) : rc;
}
