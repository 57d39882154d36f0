/* traits.h - what many jobs have in common, kept once: `data` of the core's job.
 *
 * A manager has its own; a view of a lease or of a grinder has a copy with its timeout, name and
 * owner. Counted by
 * references: the manager's or the view's, and one of each job in flight, and of each failed
 * one at which nobody has looked. Loop thread, but for `owner`, which workers read while a job is
 * in flight. */
#ifndef LP_LUA_TRAITS_H
#define LP_LUA_TRAITS_H

#include "lua/context.h"

typedef struct lp__log_s lp__log_t;

struct lp__traits_s {
    lp__context_t *ctx;
    lp__log_t *log; /* a reference; NULL: standard error */
    bool processes; /* the workers are */
    unsigned refs;
    char apart[64]; /* each job counts, and its worker reads what is below */
    char *owner;    /* who the jobs are for; NULL: the lease's owner */
    uint64_t timeout_ns;
    size_t name_len;
    char *name; /* for people; NULL: none */
};

/* With one reference, and one of `log` (NULL is allowed); NULL: out of memory. */
lp__traits_t *lp__traits_new(lp__context_t *ctx, lp__log_t *log);

/* A copy of `from`, name and owner included, with one reference; NULL: out of memory. */
lp__traits_t *lp__traits_copy(const lp__traits_t *from);

static inline lp__traits_t *lp__traits_retain(lp__traits_t *traits)
{
    traits->refs++;
    return traits;
}

void lp__traits_release(lp__traits_t *traits); /* NULL is allowed */

#endif
