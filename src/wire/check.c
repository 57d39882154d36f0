/* check.c - lp__wire_check: the walk over a message that a decoder makes, without Lua.
 *
 * Recursive, but no deeper than LP__WIRE_MAX_DEPTH. */
#include "wire/reader.h"

typedef struct {
    lp__reader_t reader;
    uint32_t objects, cells; /* begun so far */
    uint32_t attached;
    uint8_t flags;
} check_t;

static int check_value(check_t *check, unsigned depth);
static int check_token(check_t *check, const lp__token_t *token, unsigned depth);

static int check_pairs(check_t *check, uint32_t count, unsigned depth)
{
    for (uint32_t i = 0; i < count; i++) {
        lp__token_t key;
        int rc = lp__reader_next(&check->reader, &key);
        if (rc != 0)
            return rc;
        if (key.kind == LP__TOKEN_NIL ||
            (key.kind == LP__TOKEN_FLOAT && key.u.number != key.u.number))
            return LP_ETRANSFER; /* Lua has no such key */
        if ((rc = check_token(check, &key, depth)) != 0 || (rc = check_value(check, depth)) != 0)
            return rc;
    }
    return 0;
}

static int check_tail(check_t *check, const lp__token_t *ext, unsigned depth)
{
    lp__reader_t outer;
    lp__reader_enter(&check->reader, ext, &outer);
    lp__token_t map;
    int rc = lp__reader_next(&check->reader, &map);
    if (rc == 0)
        rc = map.kind == LP__TOKEN_MAP ? check_pairs(check, map.len, depth) : LP_ETRANSFER;
    return rc == 0 ? lp__reader_leave(&check->reader, &outer) : rc;
}

/* `depth` is the table's own. */
static int check_table(check_t *check, const lp__token_t *token, unsigned depth)
{
    if (depth >= LP__WIRE_MAX_DEPTH)
        return LP_ETRANSFER;
    check->objects++;
    if (token->kind == LP__TOKEN_MAP)
        return check_pairs(check, token->len, depth + 1);
    for (uint32_t i = 0; i < token->len; i++) {
        lp__token_t element;
        int rc = lp__reader_next(&check->reader, &element);
        if (rc != 0)
            return rc;
        if (element.kind == LP__TOKEN_EXT && element.ext == LP__EXT_TAIL && i == token->len - 1)
            rc = check_tail(check, &element, depth + 1);
        else
            rc = check_token(check, &element, depth + 1);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int check_function(check_t *check, unsigned depth)
{
    uint32_t index;
    int rc = lp__reader_number(&check->reader, &index);
    if (rc != 0)
        return rc;
    if (index >= check->attached || depth >= LP__WIRE_MAX_DEPTH)
        return LP_ETRANSFER;
    check->objects++;
    while (check->reader.pos != check->reader.end) {
        lp__token_t token;
        if ((rc = lp__reader_next(&check->reader, &token)) != 0)
            return rc;
        if (token.kind == LP__TOKEN_EXT && token.ext == LP__EXT_CELL) {
            uint32_t cell;
            if ((rc = lp__reader_ext_number(&token, &cell)) != 0)
                return rc;
            if (!(check->flags & LP__WIRE_CELLS) || cell >= check->cells)
                return LP_ETRANSFER;
        } else {
            check->cells++;
            if ((rc = check_token(check, &token, depth + 1)) != 0)
                return rc;
        }
    }
    return 0;
}

static int check_module(check_t *check)
{
    lp__token_t module, key;
    int rc = lp__reader_next(&check->reader, &module);
    if (rc == 0)
        rc = lp__reader_next(&check->reader, &key);
    if (rc != 0)
        return rc;
    if (module.kind != LP__TOKEN_STRING ||
        (key.kind != LP__TOKEN_STRING && key.kind != LP__TOKEN_NIL))
        return LP_ETRANSFER;
    return 0;
}

static int check_error(check_t *check, unsigned depth)
{
    lp__token_t name, fields;
    int rc = lp__reader_next(&check->reader, &name);
    if (rc == 0)
        rc = lp__reader_next(&check->reader, &fields);
    if (rc != 0)
        return rc;
    if (name.kind != LP__TOKEN_STRING ||
        (fields.kind != LP__TOKEN_ARRAY && fields.kind != LP__TOKEN_MAP))
        return LP_ETRANSFER;
    return check_table(check, &fields, depth);
}

static int check_ext(check_t *check, const lp__token_t *ext, unsigned depth)
{
    uint32_t number;
    int rc;
    if (ext->ext == LP__EXT_HANDLE) {
        rc = lp__reader_ext_number(ext, &number);
        return rc == 0 && number >= check->attached ? LP_ETRANSFER : rc;
    }
    if (ext->ext == LP__EXT_REF) {
        rc = lp__reader_ext_number(ext, &number);
        if (rc == 0 && (!(check->flags & LP__WIRE_REFS) || number >= check->objects))
            rc = LP_ETRANSFER;
        return rc;
    }
    lp__reader_t outer;
    lp__reader_enter(&check->reader, ext, &outer);
    switch (ext->ext) {
    case LP__EXT_FUNCTION:
        rc = check_function(check, depth);
        break;
    case LP__EXT_MODULE:
        rc = check_module(check);
        break;
    case LP__EXT_ERROR:
        rc = check_error(check, depth);
        break;
    default: /* a TAIL or CELL that is not where it belongs */
        return LP_ETRANSFER;
    }
    return rc == 0 ? lp__reader_leave(&check->reader, &outer) : rc;
}

static int check_token(check_t *check, const lp__token_t *token, unsigned depth)
{
    switch (token->kind) {
    case LP__TOKEN_ARRAY:
    case LP__TOKEN_MAP:
        return check_table(check, token, depth);
    case LP__TOKEN_EXT:
        return check_ext(check, token, depth);
    default:
        return 0;
    }
}

static int check_value(check_t *check, unsigned depth)
{
    lp__token_t token;
    int rc = lp__reader_next(&check->reader, &token);
    return rc == 0 ? check_token(check, &token, depth) : rc;
}

int lp__wire_check(const uint8_t *bytes, size_t len, uint32_t attached)
{
    check_t check = {.attached = attached};
    lp__reader_init(&check.reader, bytes, len);
    uint32_t count;
    int rc = lp__reader_begin(&check.reader, &check.flags, &count);
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = check_value(&check, 0);
    return rc == 0 && check.reader.pos != check.reader.end ? LP_ETRANSFER : rc;
}
