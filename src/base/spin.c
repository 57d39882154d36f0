/* spin.c - see spin.h. */
#include "base/spin.h"

#include <uv.h>

#include "base/atomics.h"

/* A wait that would have been this short without sleeping pays a spin next time. Sleeping
 * adds the wake-up to what is measured, so it is twice the length of a spin. */
#define SHORT_WAIT_NS (2 * LP__SPIN_NS)
#define MAX_CREDIT 8

static atomic_int busy; /* workers that run or spin */
static atomic_int cpus; /* 0: not asked yet */
static atomic_bool disabled;

static int cpu_count(void)
{
    int count = lp__load_relaxed(&cpus);
    if (count == 0) {
        count = (int)uv_available_parallelism();
        lp__store_relaxed(&cpus, count);
    }
    return count;
}

bool lp__spin_allowed(const lp__spin_t *spin)
{
    return spin->credit > 0 && lp__load_relaxed(&busy) + 1 <= cpu_count() &&
           !lp__load_relaxed(&disabled);
}

void lp__spin_learn(lp__spin_t *spin, uint64_t waited_ns)
{
    if (waited_ns > SHORT_WAIT_NS)
        spin->credit /= 2;
    else if (spin->credit < MAX_CREDIT)
        spin->credit++;
}

bool lp__spin(bool (*look)(void *data), void *data)
{
    uint64_t end_ns = uv_hrtime() + LP__SPIN_NS;
    do {
        for (int i = 0; i < 32; i++) { /* a clock costs as much as a few looks */
            if (look(data))
                return true;
            lp__cpu_relax();
        }
    } while (uv_hrtime() < end_ns);
    return look(data);
}

void lp__spin_busy_begin(void)
{
    lp__add_relaxed(&busy, 1);
}

void lp__spin_busy_end(void)
{
    lp__add_relaxed(&busy, -1);
}

void lp__spin_enable(bool enabled)
{
    lp__store_relaxed(&disabled, !enabled);
}
