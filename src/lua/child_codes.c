/* child_codes.c - see child_codes.h. */
#include "lua/child_codes.h"

#include <string.h>

#include "base/alloc.h"
#include "leasepool.h"
#include "lua/native.h"
#include "lua/remote.h"

static lp__child_code_t *place_of(const lp__child_codes_t *codes, uint64_t id)
{
    uint32_t at = (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    while (codes->places[at & (codes->cap - 1)].code &&
           codes->places[at & (codes->cap - 1)].id != id)
        at++;
    return &codes->places[at & (codes->cap - 1)];
}

lp__code_t *lp__child_codes_find(const lp__child_codes_t *codes, uint64_t id)
{
    return codes->cap > 0 ? place_of(codes, id)->code : NULL;
}

static int grow(lp__child_codes_t *codes)
{
    lp__child_codes_t old = *codes;
    uint32_t cap = old.cap ? old.cap * 2 : 32;
    codes->places = lp__calloc(LP_MEM_BINDING, cap * sizeof *codes->places);
    if (!codes->places) {
        *codes = old;
        return LP_ENOMEM;
    }
    codes->cap = cap;
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.places[i].code)
            *place_of(codes, old.places[i].id) = old.places[i];
    lp__free(old.places);
    return 0;
}

/* Why it cannot be loaded is told when it is run. */
static void load_native(lp__code_t *code)
{
    char why[256];
    code->native = lp__native_load_here(code->module, code->module_len, code->key, why, sizeof why);
}

int lp__child_codes_add(lp__child_codes_t *codes, const lp__frame_t *frame)
{
    lp__remote_code_t head;
    lp__code_t made;
    if (frame->len < sizeof head)
        return LP_ETRANSFER;
    memcpy(&head, frame->payload, sizeof head);
    const uint8_t *bytes = frame->payload + sizeof head;
    size_t len = frame->len - sizeof head;
    if (head.len > len || head.key_len != len - head.len || head.kind > LP__CODE_NATIVE)
        return LP_ETRANSFER;
    if (codes->count >= codes->cap / 2 && grow(codes) != 0)
        return LP_ENOMEM;
    memset(&made, 0, sizeof made);
    made.kind = (lp__code_kind_t)head.kind;
    made.unnamed = head.unnamed;
    made.upvalues = head.upvalues;
    made.travelling = head.travelling;
    memcpy(made.globals, head.globals, sizeof made.globals);
    if (made.kind == LP__CODE_BYTECODE) {
        made.bytes = bytes;
        made.len = head.len;
    } else {
        made.module = (const char *)bytes;
        made.module_len = head.len;
        made.key = head.has_key ? (const char *)bytes + head.len : NULL;
        made.key_len = head.key_len;
    }
    lp__child_code_t *place = place_of(codes, frame->id);
    if (place->code)
        return LP_ETRANSFER; /* twice */
    place->code = lp__code_new(&made);
    if (place->code && made.kind == LP__CODE_NATIVE)
        load_native(place->code);
    place->id = frame->id;
    codes->count += place->code != NULL;
    return place->code ? 0 : LP_ENOMEM;
}

void lp__child_codes_free(lp__child_codes_t *codes)
{
    for (uint32_t i = 0; i < codes->cap; i++)
        lp__code_release(codes->places[i].code);
    lp__free(codes->places);
    memset(codes, 0, sizeof *codes);
}
