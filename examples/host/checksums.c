/* checksums.c - a C program on a libuv loop that leases threads for blocking work: no Lua.
 *
 *     checksums FILE...
 *
 * Two files at a time are read on the threads of one lease, while a timer of the program's own goes
 * on ticking on the loop. */
#include <leasepool.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* One file: a job is memory of the caller, so it may simply be a part of something. */
typedef struct {
    lp_job_t job; /* first */
    const char *name;
    uint32_t sum;
    int failed;
} file_t;

static lp_lease_t *lease;
static lp_manager_t *manager;
static uv_timer_t ticker;
static int ticks, left, status;

/* Adler-32 (RFC 1950). On a worker: it may block. It touches its own memory only. */
static void read_file(lp_job_t *job)
{
    file_t *file = (file_t *)job;
    unsigned char buffer[65536];
    uint32_t a = 1, b = 0;
    size_t count;
    FILE *stream = fopen(file->name, "rb");
    if (!stream) {
        file->failed = 1;
        return;
    }
    while ((count = fread(buffer, 1, sizeof buffer, stream)) > 0)
        for (size_t i = 0; i < count; i++) {
            a = (a + buffer[i]) % 65521;
            b = (b + a) % 65521;
        }
    file->sum = b << 16 | a;
    fclose(stream);
}

static void on_stopped(lp_stop_t *stop, const lp_stop_report_t *report)
{
    (void)stop;
    (void)report;
    uv_close((uv_handle_t *)&ticker, NULL); /* nothing is left on the loop: uv_run returns */
}

/* On the loop, when the job has ended. */
static void on_read(lp_job_t *job, int code)
{
    static lp_stop_t stop;
    const file_t *file = (const file_t *)job;
    if (code != 0 || file->failed) {
        fprintf(stderr, "%s: %s\n", file->name, code ? lp_strerror(code) : "cannot be read");
        status = EXIT_FAILURE;
    } else {
        printf("%08" PRIx32 "  %s\n", file->sum, file->name);
    }
    if (--left > 0)
        return;
    lp_lease_close(lease);
    lp_manager_stop(manager, &stop, LP_FOREVER, on_stopped);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
    ticks++;
}

static void check(int code, const char *what)
{
    if (code == 0)
        return;
    fprintf(stderr, "%s: %s\n", what, lp_strerror(code));
    exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    lp_runtime_t *rt;
    lp_manager_options_t options;
    file_t *files = calloc((size_t)argc, sizeof *files);
    if (!files || argc < 2) {
        fprintf(stderr, "usage: checksums FILE...\n");
        return EXIT_FAILURE;
    }
    check(lp_runtime_create(&rt, loop), "runtime");
    lp_manager_options_init(&options);
    options.max_pools = 1;
    options.workers_per_pool = 2;
    check(lp_manager_create(&manager, rt, lp_backend_thread(), &options), lp_last_error(rt));
    check(lp_manager_start(manager), "manager");
    check(lp_try_acquire(manager, NULL, &lease), "lease");

    uv_timer_init(loop, &ticker);
    uv_timer_start(&ticker, on_tick, 0, 1);
    left = argc - 1;
    for (int i = 1; i < argc; i++) {
        files[i].name = argv[i];
        check(lp_submit(lease, &files[i].job, read_file, on_read), argv[i]);
    }
    uv_run(loop, UV_RUN_DEFAULT);

    check(lp_runtime_close(rt, NULL, NULL), "close");
    uv_run(loop, UV_RUN_DEFAULT);
    check(uv_loop_close(loop), "loop");
    free(files);
    fprintf(stderr, "the loop ticked: %s\n", ticks > 0 ? "yes" : "no");
    return status;
}
