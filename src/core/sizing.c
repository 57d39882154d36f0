/* sizing.c - see sizing.h. */
#include "core/sizing.h"

#include <math.h>

#include "core/acquire.h"
#include "core/runtime.h"

#define FIRST_PAUSE_NS (10 * LP_MILLISECOND)
#define LONGEST_PAUSE_NS (10 * LP_SECOND)

int64_t lp_manager_desired(const lp_manager_t *manager)
{
    const lp_manager_options_t *options = &manager->options;
    double wanted = manager->sizing.size / (double)options->units_per_pool;
    if (wanted <= (double)options->min_pools)
        return options->min_pools;
    if (wanted >= (double)options->max_pools)
        return options->max_pools;
    int64_t whole = (int64_t)wanted; /* rounded up, without libm */
    return (double)whole < wanted ? whole + 1 : whole;
}

static int64_t total(const lp_manager_t *manager)
{
    return (int64_t)manager->available_count + manager->leased_count;
}

bool lp__sizing_may_add(const lp_manager_t *manager)
{
    int64_t over = (int64_t)lp__manager_retiring(manager) - manager->options.max_retiring;
    if (total(manager) + (over > 0 ? over : 0) >= manager->options.max_pools)
        return false;
    return manager->sizing.failures == 0 ||
           lp__clock_passed(&manager->rt->clock, manager->sizing.pause_until_ns);
}

/* ---- Executors that break --------------------------------------------------------- */

static void on_pause_over(lp__deadline_t *deadline)
{
    lp__sizing_arrange(LP__CONTAINER(deadline, lp_manager_t, sizing.pause));
}

void lp__sizing_failed(lp_manager_t *manager)
{
    uint32_t failures = manager->sizing.failures++;
    uint64_t pause_ns = failures < 10 ? FIRST_PAUSE_NS << failures : LONGEST_PAUSE_NS;
    if (manager->state != LP__MANAGER_RUNNING)
        return;
    manager->sizing.pause_until_ns = lp__clock_now_ns(&manager->rt->clock) + pause_ns;
    lp__runtime_set_deadline(manager->rt, &manager->sizing.pause, manager->sizing.pause_until_ns,
                             on_pause_over);
}

void lp__sizing_succeeded(lp_manager_t *manager)
{
    if (manager->sizing.failures == 0)
        return;
    manager->sizing.failures = 0;
    lp__runtime_clear_deadline(manager->rt, &manager->sizing.pause);
    lp__sizing_arrange(manager); /* for whoever waited until the pause is over */
}

/* ---- Executors that are idle -------------------------------------------------- */

static void on_idle(lp__deadline_t *deadline)
{
    lp__sizing_arrange(LP__CONTAINER(deadline, lp_manager_t, sizing.idle));
}

/* The one that has been idle longest: the last of the list. */
static lp__executor_t *longest_idle(lp_manager_t *manager)
{
    return lp__list_empty(&manager->available)
               ? NULL
               : LP__CONTAINER(manager->available.prev, lp__executor_t, link);
}

/* Ends those above the target whose time is over, and arranges to come back for the next. */
static void end_idle(lp_manager_t *manager)
{
    lp_runtime_t *rt = manager->rt;
    lp__executor_t *executor;
    while (total(manager) > lp_manager_desired(manager) && (executor = longest_idle(manager))) {
        uint64_t due_ns = executor->idle_since_ns + manager->options.idle_ns;
        if (!lp__clock_passed(&rt->clock, due_ns)) {
            lp__runtime_set_deadline(rt, &manager->sizing.idle, due_ns, on_idle);
            return;
        }
        lp__list_remove(&executor->link);
        manager->available_count--;
        lp__executor_end(executor);
    }
    lp__runtime_clear_deadline(rt, &manager->sizing.idle);
}

/* The deadline is left as it is when it stands: it then finds out when to come back. */
void lp__sizing_idle(lp_manager_t *manager)
{
    if (total(manager) > lp_manager_desired(manager) && !manager->sizing.idle.node.linked)
        end_idle(manager);
}

/* ---- Arranging ---------------------------------------------------------------- */

/* Makes one, for the oldest waiter or available; false when none could be made. */
static bool add(lp_manager_t *manager)
{
    lp__executor_t *executor;
    if (!lp__sizing_may_add(manager))
        return false;
    if (lp__executor_create(&executor, manager) != 0) {
        lp__sizing_failed(manager);
        return false;
    }
    lp__manager_take_back(manager, executor);
    return true;
}

/* Ending an executor, and a lease that a waiter gets, may come back here: then whoever runs
 * already looks once more. */
void lp__sizing_arrange(lp_manager_t *manager)
{
    manager->sizing.again = true;
    if (manager->sizing.arranging)
        return;
    manager->sizing.arranging = true;
    while (manager->sizing.again && manager->state == LP__MANAGER_RUNNING) {
        manager->sizing.again = false;
        while (lp__acquire_somebody_waits(manager) && add(manager))
            continue;
        while (total(manager) < lp_manager_desired(manager) && add(manager))
            continue;
        end_idle(manager);
    }
    manager->sizing.arranging = false;
}

/* ---- The size ----------------------------------------------------------------- */

/* A hash of what is wrong, to tell it once until it changes (FNV-1a). */
static uint64_t hash(const char *text)
{
    uint64_t value = UINT64_C(14695981039346656037);
    for (; *text; text++)
        value = (value ^ (unsigned char)*text) * UINT64_C(1099511628211);
    return value;
}

static void complain(lp_manager_t *manager, const char *text)
{
    uint64_t complaint = hash(text);
    if (complaint == manager->sizing.complaint)
        return;
    manager->sizing.complaint = complaint;
    lp__runtime_log(manager->rt, manager, LP_LOG_WARN, "size_provider: %s; the size stays %g", text,
                    manager->sizing.size);
}

/* Asks the provider. What it calls meanwhile sees the last good size. */
static void update_size(lp_manager_t *manager)
{
    const lp_manager_options_t *options = &manager->options;
    double size = 0;
    if (!options->size_provider || manager->sizing.asking)
        return;
    manager->sizing.asking = true;
    int rc = options->size_provider(options->size_data, &size);
    manager->sizing.asking = false;
    if (rc == LP_EINVAL) {
        complain(manager, lp_last_error(manager->rt));
    } else if (rc != 0) {
        complain(manager, lp_strerror(rc));
    } else if (!isfinite(size)) {
        complain(manager, isnan(size) ? "got nan, allowed: a finite number"
                                      : "got inf, allowed: a finite number");
    } else {
        manager->sizing.size = size > 0 ? size : 0;
        manager->sizing.complaint = 0;
    }
}

static void on_check(lp__deadline_t *deadline);

static void check_again(lp_manager_t *manager)
{
    uint64_t now_ns = lp__clock_now_ns(&manager->rt->clock);
    lp__runtime_set_deadline(manager->rt, &manager->sizing.check,
                             now_ns + manager->options.check_interval_ns, on_check);
}

static void ask_and_arrange(lp_manager_t *manager)
{
    manager->busy++;
    update_size(manager);
    lp__sizing_arrange(manager);
    lp__manager_leave(manager);
}

static void on_ask(lp__task_t *task)
{
    ask_and_arrange(LP__CONTAINER(task, lp_manager_t, sizing.ask));
}

static void on_check(lp__deadline_t *deadline)
{
    lp_manager_t *manager = LP__CONTAINER(deadline, lp_manager_t, sizing.check);
    check_again(manager);
    lp__runtime_undefer(&manager->sizing.ask); /* a loop that was busy for long asks once */
    lp__runtime_defer(manager->rt, &manager->sizing.ask, on_ask);
}

int lp_notify_scale_changed(lp_manager_t *manager)
{
    if (!manager)
        return LP_EINVAL;
    int rc = lp__runtime_enter(manager->rt);
    if (rc == 0 && manager->state == LP__MANAGER_RUNNING)
        ask_and_arrange(manager);
    return rc;
}

int lp__sizing_start(lp_manager_t *manager)
{
    manager->sizing.failures = 0;
    if (manager->options.size_provider) {
        manager->rt->hopes++;
        check_again(manager);
    }
    update_size(manager);
    if (manager->state != LP__MANAGER_RUNNING) /* the provider has stopped it */
        return 0;
    /* The first are made here, as a manager that cannot make them does not start. */
    while (manager->state == LP__MANAGER_RUNNING && total(manager) < lp_manager_desired(manager) &&
           lp__sizing_may_add(manager)) {
        lp__executor_t *executor;
        int rc = lp__executor_create(&executor, manager);
        if (rc != 0)
            return rc;
        lp__manager_take_back(manager, executor);
    }
    lp__sizing_arrange(manager);
    return 0;
}

void lp__sizing_stop(lp_manager_t *manager)
{
    if (manager->sizing.check.node.linked)
        manager->rt->hopes--;
    lp__runtime_clear_deadline(manager->rt, &manager->sizing.check);
    lp__runtime_undefer(&manager->sizing.ask);
    lp__runtime_clear_deadline(manager->rt, &manager->sizing.idle);
    lp__runtime_clear_deadline(manager->rt, &manager->sizing.pause);
}
