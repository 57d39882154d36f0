/* reader.h - takes MessagePack apart, token by token. Trusts nothing.
 *
 * A reader never looks beyond its end, and it believes no count that the bytes which are
 * left cannot hold: an element takes at least one byte, and elements that were announced
 * before and have not come yet take theirs first. So what a receiver allocates for
 * announced elements is bounded by the length of the message, however it is nested.
 *
 * A reader allocates nothing; it points into the bytes, which must outlive it. Any thread. */
#ifndef LP_WIRE_READER_H
#define LP_WIRE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leasepool.h"
#include "wire/format.h"

typedef enum {
    LP__TOKEN_NIL,
    LP__TOKEN_BOOL,
    LP__TOKEN_INT,
    LP__TOKEN_FLOAT,
    LP__TOKEN_STRING, /* str and bin */
    LP__TOKEN_ARRAY,  /* `len` elements follow */
    LP__TOKEN_MAP,    /* `len` pairs follow */
    LP__TOKEN_EXT     /* skipped as a whole, unless the caller enters it */
} lp__token_kind_t;

typedef struct {
    lp__token_kind_t kind;
    uint32_t len; /* bytes of a string or payload; elements; pairs */
    int ext;      /* LP__EXT_... */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const uint8_t *bytes; /* string, payload */
    } u;
} lp__token_t;

typedef struct {
    const uint8_t *pos, *end;
    size_t owed; /* elements announced and not read yet */
} lp__reader_t;

static inline void lp__reader_init(lp__reader_t *reader, const uint8_t *bytes, size_t len)
{
    reader->pos = bytes;
    reader->end = bytes + len;
    reader->owed = 0;
}

static inline size_t lp__reader_left(const lp__reader_t *reader)
{
    return (size_t)(reader->end - reader->pos);
}

/* Announces `count` more elements. 0, or LP_ETRANSFER when they cannot be there. */
static inline int lp__reader_expect(lp__reader_t *reader, uint64_t count)
{
    size_t left = lp__reader_left(reader);
    if (count > left || reader->owed > left - (size_t)count)
        return LP_ETRANSFER;
    reader->owed += (size_t)count;
    return 0;
}

/* Everything that lp__reader_next does not do inline. */
int lp__reader_next_slow(lp__reader_t *reader, lp__token_t *token);

/* Reads the next token. 0, or LP_ETRANSFER: the bytes end too soon, are not MessagePack,
 * or hold something that has no place in a message. */
static inline int lp__reader_next(lp__reader_t *reader, lp__token_t *token)
{
    if (reader->pos == reader->end)
        return LP_ETRANSFER;
    uint8_t first = *reader->pos;
    if (first <= 0x7f) {
        reader->pos++;
        reader->owed -= reader->owed != 0;
        token->kind = LP__TOKEN_INT;
        token->u.integer = first;
        return 0;
    }
    return lp__reader_next_slow(reader, token);
}

/* Reads the header byte and the count of a message. 0 or LP_ETRANSFER. */
int lp__reader_begin(lp__reader_t *reader, uint8_t *flags, uint32_t *count);

/* Goes into the payload of the extension just read, as if it were all there is; `outer`
 * keeps the way back. */
static inline void lp__reader_enter(lp__reader_t *reader, const lp__token_t *ext,
                                    lp__reader_t *outer)
{
    *outer = *reader;
    lp__reader_init(reader, ext->u.bytes, ext->len);
}

/* Comes back out. LP_ETRANSFER when the payload was not read to its end. */
static inline int lp__reader_leave(lp__reader_t *reader, const lp__reader_t *outer)
{
    int rc = reader->pos == reader->end ? 0 : LP_ETRANSFER;
    *reader = *outer;
    return rc;
}

/* The payload of REF or CELL, and numbers inside of others: one unsigned integer of 32 bits. */
int lp__reader_number(lp__reader_t *reader, uint32_t *number);
int lp__reader_ext_number(const lp__token_t *ext, uint32_t *number);

/* Walks a whole message: is it well-formed, are all its references to objects, cells and
 * its `attached` objects in range, is it flat enough? 0 or LP_ETRANSFER. What it cannot
 * know is whether the modules and error classes named exist, and how many upvalues an
 * attached code wants. */
int lp__wire_check(const uint8_t *bytes, size_t len, uint32_t attached);

#endif
