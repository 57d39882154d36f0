/* code.c - see code.h. Codes are made by senders, on the thread of the sender's state, and
 * freed by whichever thread lets go last. */
#include "lua/code.h"

#include <string.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "base/list.h"
#include "leasepool.h"

#define MAX_CODES 1024u
#define FIRST_CODES 16u
#define MAX_BYTES ((size_t)16 << 20) /* of all cached codes; one alone may be larger */

static _Atomic uint64_t last_id;

static void code_free(lp__shared_t *shared)
{
    lp__code_t *code = LP__CONTAINER(shared, lp__code_t, shared);
    lp__native_release(code->native);
    lp__free(code);
}

lp__code_t *lp__code_attached(const lp__message_t *message, uint32_t index)
{
    if (!message->attached || index >= message->attached->count)
        return NULL;
    lp__shared_t *object = message->attached->items[index];
    return object->free == code_free ? LP__CONTAINER(object, lp__code_t, shared) : NULL;
}

static size_t text_len(const lp__code_t *code)
{
    return code->kind == LP__CODE_BYTECODE ? code->len : code->module_len + code->key_len + 2;
}

lp__code_t *lp__code_new(const lp__code_t *made)
{
    lp__code_t *code = lp__malloc(LP_MEM_BINDING, sizeof *code + text_len(made));
    if (!code)
        return NULL;
    *code = *made;
    lp__shared_init(&code->shared, code_free);
    code->id = lp__add_relaxed(&last_id, 1) + 1;
    if (code->kind == LP__CODE_BYTECODE) {
        memcpy(code->text, made->bytes, made->len);
        code->bytes = (const uint8_t *)code->text;
        return code;
    }
    if (code->native)
        lp__shared_retain(&code->native->shared);
    char *at = code->text;
    memcpy(at, made->module, made->module_len);
    at[made->module_len] = '\0';
    code->module = at;
    if (made->key) {
        at += made->module_len + 1;
        memcpy(at, made->key, made->key_len);
        at[made->key_len] = '\0';
        code->key = at;
    }
    return code;
}

/* ---- Hashing: 64 bits, eight bytes at a time; not against an adversary, as every match
 * is compared in full ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static uint64_t hash_bytes(uint64_t h, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    h = mix(h, len);
    for (; len >= 8; at += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        h = mix(h, word);
    }
    uint64_t rest = 0;
    if (len > 0)
        memcpy(&rest, at, len);
    return mix(h, rest);
}

static uint64_t hash_of(const lp__code_t *code)
{
    if (code->kind == LP__CODE_BYTECODE) {
        uint64_t h = hash_bytes(1, code->bytes, code->len);
        return hash_bytes(h, code->globals, sizeof code->globals);
    }
    uint64_t h = hash_bytes((uint64_t)code->kind + 2, code->module, code->module_len);
    return code->key ? hash_bytes(h, code->key, code->key_len) : h;
}

static bool same(const lp__code_t *a, const lp__code_t *b)
{
    if (a->hash != b->hash || a->kind != b->kind)
        return false;
    if (a->kind == LP__CODE_BYTECODE)
        return a->len == b->len && memcmp(a->globals, b->globals, sizeof a->globals) == 0 &&
               memcmp(a->bytes, b->bytes, a->len) == 0;
    return a->module_len == b->module_len && memcmp(a->module, b->module, a->module_len) == 0 &&
           !a->key == !b->key && a->key_len == b->key_len &&
           (!a->key || memcmp(a->key, b->key, a->key_len) == 0);
}

/* ---- The cache ---- */

void lp__code_cache_free(lp__code_cache_t *cache)
{
    for (uint32_t i = 0; i < cache->count; i++)
        lp__code_release(cache->slots[i].code);
    lp__free(cache->slots);
    lp__free(cache->heads);
    memset(cache, 0, sizeof *cache);
}

int64_t lp__code_cache_ticket(const lp__code_t *code, uint32_t place)
{
    return (int64_t)(code->id * MAX_CODES + place);
}

lp__code_t *lp__code_cache_get(lp__code_cache_t *cache, int64_t ticket)
{
    uint32_t place = (uint32_t)((uint64_t)ticket % MAX_CODES);
    if (place >= cache->count)
        return NULL;
    lp__code_slot_t *slot = &cache->slots[place];
    if (!slot->code || slot->code->id != (uint64_t)ticket / MAX_CODES)
        return NULL;
    slot->used = true;
    return slot->code;
}

static uint32_t *head_of(lp__code_cache_t *cache, uint64_t hash)
{
    return &cache->heads[(hash >> 32) & (cache->cap * 2 - 1)];
}

static int grow(lp__code_cache_t *cache)
{
    uint32_t cap = cache->cap ? cache->cap * 2 : FIRST_CODES;
    uint32_t *heads = lp__calloc(LP_MEM_BINDING, (size_t)cap * 2 * sizeof *heads);
    lp__code_slot_t *slots = lp__realloc(LP_MEM_BINDING, cache->slots, (size_t)cap * sizeof *slots);
    if (slots)
        cache->slots = slots;
    if (!heads || !slots) {
        lp__free(heads);
        return LP_ENOMEM;
    }
    lp__free(cache->heads);
    cache->heads = heads;
    cache->cap = cap;
    for (uint32_t i = 0; i < cache->count; i++) {
        if (!slots[i].code)
            continue;
        uint32_t *head = head_of(cache, slots[i].code->hash);
        slots[i].next = *head;
        *head = i + 1;
    }
    return 0;
}

static void evict(lp__code_cache_t *cache, uint32_t place)
{
    lp__code_slot_t *slot = &cache->slots[place];
    uint32_t *link = head_of(cache, slot->code->hash);
    while (*link != place + 1)
        link = &cache->slots[*link - 1].next;
    *link = slot->next;
    cache->bytes -= text_len(slot->code);
    lp__code_release(slot->code);
    slot->code = NULL;
}

/* The next place whose code has not been used since the hand came by. */
static uint32_t next_victim(lp__code_cache_t *cache)
{
    for (;;) {
        uint32_t place = cache->hand;
        cache->hand = (place + 1) % cache->count;
        if (!cache->slots[place].code || !cache->slots[place].used)
            return place;
        cache->slots[place].used = false;
    }
}

/* A free place. Frees bytes as well as places when there is too much of either. */
static int find_place(lp__code_cache_t *cache, size_t more, uint32_t *place)
{
    for (uint32_t n = cache->count; cache->bytes + more > MAX_BYTES && cache->bytes > 0 && n > 0;
         n--) {
        uint32_t victim = next_victim(cache);
        if (cache->slots[victim].code)
            evict(cache, victim);
    }
    if (cache->count == cache->cap && cache->cap < MAX_CODES) {
        int rc = grow(cache);
        if (rc != 0)
            return rc;
    }
    if (cache->count < cache->cap) {
        *place = cache->count++;
        cache->slots[*place].code = NULL;
        return 0;
    }
    *place = next_victim(cache);
    if (cache->slots[*place].code)
        evict(cache, *place);
    return 0;
}

int lp__code_cache_intern(lp__code_cache_t *cache, const lp__code_t *made, lp__code_t **code,
                          int64_t *ticket)
{
    lp__code_t wanted = *made;
    wanted.hash = hash_of(made);
    if (cache->cap > 0) {
        for (uint32_t i = *head_of(cache, wanted.hash); i != 0; i = cache->slots[i - 1].next) {
            lp__code_slot_t *slot = &cache->slots[i - 1];
            if (!same(slot->code, &wanted))
                continue;
            slot->used = true;
            *code = slot->code;
            *ticket = lp__code_cache_ticket(slot->code, i - 1);
            return 0;
        }
    }

    lp__code_t *copy = lp__code_new(&wanted);
    if (!copy)
        return LP_ENOMEM;
    uint32_t place;
    int rc = find_place(cache, text_len(copy), &place);
    if (rc != 0) {
        lp__code_release(copy);
        return rc;
    }
    lp__code_slot_t *slot = &cache->slots[place];
    uint32_t *head = head_of(cache, copy->hash);
    slot->code = copy;
    slot->used = true;
    slot->next = *head;
    *head = place + 1;
    cache->bytes += text_len(copy);
    *code = copy;
    *ticket = lp__code_cache_ticket(copy, place);
    return 0;
}
