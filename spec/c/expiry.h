/* expiry.h - leases of a hundred nanoseconds on the fake backend. */
#ifndef SPEC_C_EXPIRY_H
#define SPEC_C_EXPIRY_H

#include "fake.h"

enum { SOFT = 100, GRACE = 50, HARD = SOFT + GRACE };

typedef struct {
    host_t host;
    lp_manager_t *manager;
} fixture_t;

static inline lp_manager_t *open_with(fixture_t *f, lp_manager_options_t options)
{
    fake_open(&f->host);
    fake.lazy = true;
    options.default_lease_ns = SOFT;
    options.lease_grace_ns = GRACE;
    f->manager = fake_manager_with(&f->host, &options);
    return f->manager;
}

static inline lp_manager_t *open_pools(fixture_t *f, int64_t pools)
{
    return open_with(f, fake_options(pools, 2));
}

/* Whoever stands in a job finishes. */
static inline void close_all(fixture_t *f)
{
    fake_finish_all(f->manager);
    fake_close(&f->host);
}

static inline void pass(host_t *host, uint64_t ns, bool with_turn)
{
    if (with_turn)
        host_advance(host, ns);
    else
        host_pass(host, ns);
}

#endif
