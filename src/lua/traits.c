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

/* Lua's strings end with a zero. */
static char *copy_text(const char *text, size_t len)
{
    char *copy = lp__malloc(LP_MEM_BINDING, len + 1);
    return copy ? memcpy(copy, text, len + 1) : NULL;
}

lp__traits_t *lp__traits_copy(const lp__traits_t *from)
{
    lp__traits_t *traits = lp__traits_new(from->ctx, from->log);
    if (!traits)
        return NULL;
    traits->processes = from->processes;
    traits->timeout_ns = from->timeout_ns;
    traits->name_len = from->name_len;
    traits->name = from->name ? copy_text(from->name, from->name_len) : NULL;
    traits->owner = from->owner ? copy_text(from->owner, strlen(from->owner)) : NULL;
    if ((from->name && !traits->name) || (from->owner && !traits->owner)) {
        lp__traits_release(traits);
        return NULL;
    }
    return traits;
}

void lp__traits_release(lp__traits_t *traits)
{
    if (!traits || --traits->refs > 0)
        return;
    lp__log_release(traits->log);
    lp__free(traits->name);
    lp__free(traits->owner);
    lp__free(traits);
}
