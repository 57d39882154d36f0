/* traits.c - see traits.h. */
#include "lua/traits.h"

#include <string.h>

#include "base/alloc.h"
#include "lua/sink.h"

lp__traits_t *lp__traits_new(lp__context_t *ctx, lp__log_t *log)
{
    lp__traits_t *traits = lp__calloc(LP_MEM_BINDING, sizeof *traits);
    if (!traits)
        return NULL;
    traits->ctx = ctx;
    traits->log = log;
    traits->refs = 1;
    traits->timeout_ns = LP_FOREVER;
    lp__log_retain(log);
    return traits;
}

lp__traits_t *lp__traits_copy(const lp__traits_t *from)
{
    lp__traits_t *traits = lp__traits_new(from->ctx, from->log);
    if (!traits)
        return NULL;
    traits->timeout_ns = from->timeout_ns;
    if (!from->name)
        return traits;
    traits->name = lp__malloc(LP_MEM_BINDING, from->name_len + 1);
    if (!traits->name) {
        lp__traits_release(traits);
        return NULL;
    }
    traits->name_len = from->name_len;
    memcpy(traits->name, from->name, from->name_len + 1); /* Lua's strings end with a zero */
    return traits;
}

void lp__traits_release(lp__traits_t *traits)
{
    if (!traits || --traits->refs > 0)
        return;
    lp__log_release(traits->log);
    lp__free(traits->name);
    lp__free(traits);
}
