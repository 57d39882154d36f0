/* acquire.c - acquire and release of a free executor in C: prints the nanoseconds that a pair
 * takes. bench/run.lua runs it as the row acquire_release_c.
 *
 *     acquire leasepool|floor COUNT     the floor: an entry leaves a free list and comes back */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "leasepool.h"

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "acquire: %s\n", what);
    exit(1);
}

static uint64_t measure_leasepool(long count)
{
    uv_loop_t loop;
    lp_runtime_t *rt = NULL;
    lp_manager_t *manager = NULL;
    lp_manager_options_t options;
    lp_manager_options_init(&options);
    options.max_pools = options.min_pools = 4;
    check(uv_loop_init(&loop) == 0 && lp_runtime_create(&rt, &loop) == 0, "no runtime");
    check(lp_manager_create(&manager, rt, lp_backend_thread(), &options) == 0, "no manager");
    check(lp_manager_start(manager) == 0, "not started");
    uint64_t begun_ns = uv_hrtime();
    for (long i = 0; i < count; i++) {
        lp_lease_t *lease;
        check(lp_try_acquire(manager, NULL, &lease) == 0, "no lease");
        lp_lease_close(lease);
    }
    uint64_t taken_ns = uv_hrtime() - begun_ns;
    lp_manager_stats_t stats;
    check(lp_manager_stats(manager, &stats) == 0 && stats.released == (uint64_t)count &&
              stats.available == 4,
          "a lease was lost");
    check(lp_runtime_close(rt, NULL, NULL) == 0, "not closed");
    uv_run(&loop, UV_RUN_DEFAULT);
    check(uv_loop_close(&loop) == 0, "the loop is not empty");
    return taken_ns;
}

static uint64_t measure_floor(long count)
{
    lp__list_t available, leased, entries[4];
    lp__list_init(&available);
    lp__list_init(&leased);
    for (int i = 0; i < 4; i++)
        lp__list_push_back(&available, &entries[i]);
    uint64_t begun_ns = uv_hrtime();
    for (long i = 0; i < count; i++) {
        lp__list_t *entry = lp__list_pop_front(&available);
        lp__list_push_back(&leased, entry);
        __asm__ __volatile__("" : : "r"(entry) : "memory"); /* it is used by somebody */
        lp__list_remove(entry);
        lp__list_push_front(&available, entry);
    }
    uint64_t taken_ns = uv_hrtime() - begun_ns;
    check(lp__list_empty(&leased), "an entry was lost");
    return taken_ns;
}

int main(int argc, char **argv)
{
    check(argc == 3, "usage: acquire leasepool|floor COUNT");
    long count = atol(argv[2]);
    bool floor = strcmp(argv[1], "floor") == 0;
    uint64_t taken_ns = floor ? measure_floor(count) : measure_leasepool(count);
    printf("%.6g\n", (double)taken_ns / (double)count);
    return 0;
}
