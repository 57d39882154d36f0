/* leasepool.h - lease bounded executors from a libuv loop, in C11 (or C++).
 *
 * A *manager* owns a bounded number of *executors*; an executor is a small pool of
 * *workers* behind one queue; a caller borrows a whole executor through a *lease*,
 * submits *jobs* to it and gives it back. One *runtime* ties all of it to one uv_loop_t.
 *
 * Conventions, as in libuv: functions return 0 or a negative LP_E... code; requests
 * (lp_acquire_t, lp_job_t, lp_stop_t) are memory of the caller, which must stay where it
 * is from the call that takes it until its callback has begun, and zeroed before it is used
 * for the first time; one that is in use is refused with LP_ESTATE. `data` in each of them is
 * the caller's. Option structs are filled by their init function before they are changed.
 *
 * Threads: every function belongs to the thread that runs the runtime's loop, and answers
 * LP_EWRONGTHREAD elsewhere, unless its comment says otherwise. Callbacks run on that
 * thread, from a later turn of the loop, never from inside the call that caused them.
 *
 * Durations and moments are nanoseconds on the monotonic clock. */
#ifndef LEASEPOOL_H
#define LEASEPOOL_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "leasepool_native.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__) && defined(LP_BUILDING)
#define LP_EXTERN __attribute__((visibility("default")))
#else
#define LP_EXTERN
#endif

#define LP_VERSION_MAJOR 0
#define LP_VERSION_MINOR 1
#define LP_VERSION_PATCH 0
#define LP_VERSION_STRING "0.1.0"

#define LP_MILLISECOND UINT64_C(1000000)
#define LP_SECOND UINT64_C(1000000000)
#define LP_FOREVER UINT64_MAX /* a timeout that never comes */

/* ---- Errors ------------------------------------------------------------------- */

/* The codes stand in leasepool_native.h. */

/* The sentence and the name ("LP_EEXPIRED") of a code; libuv's codes are passed on to
 * libuv. The strings live for ever. Any thread. */
LP_EXTERN const char *lp_strerror(int err);
LP_EXTERN const char *lp_err_name(int err);

/* "0.1.0". Any thread. */
LP_EXTERN const char *lp_version(void);

/* ---- Building blocks of the request structs; private -------------------------- */

typedef struct lp__list_s lp__list_t;
struct lp__list_s {
    lp__list_t *next, *prev;
};

typedef struct lp__heap_node_s lp__heap_node_t;
struct lp__heap_node_s {
    uint64_t key, order;
    lp__heap_node_t *child, *next; /* first child; next sibling */
    lp__heap_node_t *prev;         /* previous sibling, or the parent of a first child */
    int linked;
};

typedef struct lp__deadline_s lp__deadline_t;
struct lp__deadline_s {
    lp__heap_node_t node;
    void (*fire)(lp__deadline_t *self);
};

typedef struct lp__timed_s lp__timed_t;
typedef struct lp__wave_s lp__wave_t;

typedef struct lp__task_s lp__task_t;
struct lp__task_s {
    lp__list_t link;
    void (*run)(lp__task_t *self);
};

typedef struct lp__node_s lp__node_t;
struct lp__node_s {
    lp__node_t *next, *prev;
    uint32_t kind;
    int32_t status;
};

/* ---- Memory ------------------------------------------------------------------- */

typedef void *(*lp_malloc_fn)(size_t size);
typedef void *(*lp_realloc_fn)(void *ptr, size_t size);
typedef void *(*lp_calloc_fn)(size_t count, size_t size);
typedef void (*lp_free_fn)(void *ptr);

/* Replaces the allocator, for the whole process, before any other call. The functions
 * are called from workers too. LP_EINVAL when one is NULL. */
LP_EXTERN int lp_set_allocator(lp_malloc_fn malloc_fn, lp_realloc_fn realloc_fn,
                               lp_calloc_fn calloc_fn, lp_free_fn free_fn);

/* ---- Runtime ------------------------------------------------------------------ */

typedef struct lp_runtime_s lp_runtime_t;
typedef struct lp_manager_s lp_manager_t;
typedef struct lp_lease_s lp_lease_t;
typedef struct lp_backend_s lp_backend_t;
typedef struct lp_acquire_s lp_acquire_t;
typedef struct lp_job_s lp_job_t;
typedef struct lp_stop_s lp_stop_t;
typedef struct lp_grinder_s lp_grinder_t;

typedef void (*lp_runtime_close_cb)(void *data);

/* Makes a runtime on `loop`, owned by the calling thread. The loop must outlive it. While
 * nobody waits for anything the runtime does not keep the loop alive.
 * LP_EINVAL (loop is NULL), LP_ENOMEM, or libuv's code. */
LP_EXTERN int lp_runtime_create(lp_runtime_t **runtime, uv_loop_t *loop);

/* Ends the runtime: managers that run are stopped as by lp_manager_stop without time, threads are
 * joined, handles closed, memory freed; then `cb(data)` is called (it may be NULL) and the
 * pointer is dead. Every lease, manager and request must not be used after `cb` began. A thread
 * whose work cannot be stopped is left to itself, and the code of leasepool stays loaded; see
 * lp_job_still_running. LP_ESTATE when closing already. */
LP_EXTERN int lp_runtime_close(lp_runtime_t *runtime, lp_runtime_close_cb cb, void *data);

/* What was wrong with the options or arguments of the last call that returned LP_EINVAL:
 * "max_pools: got 0, allowed: an integer from 1 to 1000000". Valid until the next call. */
LP_EXTERN const char *lp_last_error(const lp_runtime_t *runtime);

typedef enum { LP_LOG_DEBUG, LP_LOG_INFO, LP_LOG_WARN, LP_LOG_ERROR } lp_log_level_t;

/* What leasepool itself has to say: a size provider that fails, executors that break. `manager`
 * may be NULL. Called on the loop's thread, also from inside other calls: it must not call
 * back. */
typedef void (*lp_log_cb)(void *data, lp_manager_t *manager, lp_log_level_t level,
                          const char *message);

/* `cb` NULL: warnings and errors go to standard error, as they do at first. */
LP_EXTERN int lp_set_logger(lp_runtime_t *runtime, lp_log_cb cb, void *data);

/* ---- Managers ----------------------------------------------------------------- */

/* The thread backend: a worker is a thread of this process. Lives for ever. Any thread. */
LP_EXTERN const lp_backend_t *lp_backend_thread(void);

/* The same, with a new Lua state for each lease: nothing of one lease is seen by the next. */
LP_EXTERN const lp_backend_t *lp_backend_interpreter(void);

typedef enum {
    LP_EXPIRY_DEFAULT = -1, /* of a lease: what its manager has */
    LP_EXPIRY_LEAVE,        /* running jobs finish and deliver */
    LP_EXPIRY_INTERRUPT,    /* they are stopped; what cannot be is given up */
    LP_EXPIRY_KILL          /* they are stopped; a worker that goes on is killed: processes only */
} lp_on_expiry_t;

/* The process backend: a worker is a child process, with a Lua state that stays. What a worker
 * does there is the Lua library's: work in C is refused (LP_ENOTSUP), as a function's address
 * means nothing elsewhere. NULL where the system has no such processes (Linux with glibc 2.34 or
 * newer has). */
LP_EXTERN const lp_backend_t *lp_backend_process(void);

/* A limit of a child process: a name as the shell's manual of ulimit has it ("nofile", "as",
 * "cpu"), and bytes, seconds or a number; UINT64_MAX: unlimited. */
typedef struct lp_rlimit_s {
    const char *name;
    uint64_t value;
} lp_rlimit_t;

/* Tells the size of what the executors serve; called on the loop's thread, from a turn or from
 * lp_manager_start and lp_notify_scale_changed. May call into the manager. Not 0: it failed, and
 * the last good size stands, 0 at first; so it does when `*size` is no finite number. What went
 * wrong is logged once until it changes. */
typedef int (*lp_size_cb)(void *data, double *size);

typedef struct lp_manager_options_s {
    size_t size;                  /* set by lp_manager_options_init */
    int64_t max_pools;            /* executors at once; required */
    int64_t min_pools;            /* executors kept ready; 1 */
    int64_t workers_per_pool;     /* 4 */
    int64_t units_per_pool;       /* of the size, for one executor; 10 */
    int64_t max_queue;            /* jobs waiting in one executor; 65536 */
    int64_t max_waiters;          /* callers waiting in lp_acquire; 65536 */
    int64_t max_retiring;         /* retiring executors beside max_pools; 1 */
    int64_t max_tasks_per_worker; /* jobs after which a worker is replaced; 0: never */
    int64_t memory_limit;         /* bytes of a worker's Lua state; 0: none */
    uint64_t check_interval_ns;   /* period of the size check; 120 s */
    uint64_t default_lease_ns;    /* from hand-over to soft expiry; 300 s */
    uint64_t lease_grace_ns;      /* from soft to hard expiry; 15 s */
    uint64_t idle_ns;             /* an idle executor above the target is kept so long; 10 s */
    uint64_t interrupt_grace_ns;  /* of Lua code that was interrupted, before it is again; 50 ms */
    uint64_t kill_grace_ns;       /* from SIGTERM to SIGKILL; 3 s */
    uint64_t exit_grace_ns;       /* before what cannot be stopped is given up; 1 s */
    int on_expiry;                /* lp_on_expiry_t; LP_EXPIRY_LEAVE */
    int prestart;                 /* start all workers of an executor at once; 0 */
    lp_size_cb size_provider;     /* NULL: the size is 0 */
    void *size_data;              /* for size_provider */
    const char *name_prefix;      /* of worker threads; copied; "leasepool" */
    /* Of the process backend alone, and copied: */
    const char *const *command; /* program and arguments, then NULL; required there */
    const char *const *env;     /* "NAME=value", then NULL; NULL: what this process has */
    const char *cwd;            /* where children start; NULL: where this process is */
    const lp_rlimit_t *rlimits; /* their limits, soft and hard */
    size_t rlimit_count;
} lp_manager_options_t;

/* Fills in the defaults. Any thread. */
LP_EXTERN void lp_manager_options_init(lp_manager_options_t *options);

/* Makes a manager, not started; it holds no executor yet. Copies the options.
 * LP_EINVAL (lp_last_error says which option), LP_ENOMEM. */
LP_EXTERN int lp_manager_create(lp_manager_t **manager, lp_runtime_t *runtime,
                                const lp_backend_t *backend, const lp_manager_options_t *options);

/* Starts, or starts again after a stop; makes the first executors. Does nothing on a
 * started manager. LP_ESTATE while stopping, LP_ENOMEM, or libuv's code. */
LP_EXTERN int lp_manager_start(lp_manager_t *manager);

/* The size has changed: asks the provider and makes or ends executors now, not at the next
 * check. Does nothing on a manager that is not started. */
LP_EXTERN int lp_notify_scale_changed(lp_manager_t *manager);

/* How many executors the size asks for: min(max_pools, max(min_pools, ceil(size /
 * units_per_pool))), by the last good size. */
LP_EXTERN int64_t lp_manager_desired(const lp_manager_t *manager);

typedef struct lp_stop_report_s {
    uint64_t finished;    /* jobs that ran to their end during the stop */
    uint64_t cancelled;   /* jobs that were queued */
    uint64_t interrupted; /* running jobs that were stopped */
    uint64_t killed;      /* running jobs whose worker was killed for it */
    uint64_t abandoned;   /* jobs that still run: the stop did not wait for them */
} lp_stop_report_t;

typedef void (*lp_stop_cb)(lp_stop_t *req, const lp_stop_report_t *report);

struct lp_stop_s {
    void *data;
    struct { /* private */
        lp_stop_cb cb;
        lp_runtime_t *rt;
        lp__list_t link;
        lp__task_t task;
        lp_stop_report_t report;
    } priv;
};

/* Refuses new leases, fails every waiter with LP_ENOTSTARTED, cancels queued jobs
 * (LP_ECANCELLED), expires the leases, waits for running jobs and joins every worker; then
 * calls `cb`. After `timeout_ns` (LP_FOREVER: no limit) what still runs is stopped, as by
 * lp_job_cancel; after interrupt_grace_ns and exit_grace_ns more, what could not be is given up and
 * counted as abandoned: until its work returns, its executor counts as retiring. A second stop
 * joins the first, and may give it less time. On a manager that is not started, `cb` is called with
 * an empty report. Where `cb` is NULL, `req` may be NULL too. LP_ESTATE when the runtime has closed
 * already, or `req` is in use. */
LP_EXTERN int lp_manager_stop(lp_manager_t *manager, lp_stop_t *req, uint64_t timeout_ns,
                              lp_stop_cb cb);

/* Gives up the handle: when its last lease has ended, the manager stops by itself and its
 * memory goes. NULL is allowed. */
LP_EXTERN void lp_manager_close(lp_manager_t *manager);

/* ---- Statistics --------------------------------------------------------------- */

/* Durations seen so far. The percentiles are at most an eighth too large. */
typedef struct lp_durations_s {
    uint64_t count, mean_ns, p50_ns, p90_ns, p99_ns, max_ns;
} lp_durations_t;

/* Two equations hold at any moment:
 *   acquired = live + released + expired + broken + stopped + leaked
 *   jobs     = queued + running + done + failed + cancelled */
typedef struct lp_manager_stats_s {
    const char *backend; /* its name; lives for ever */
    int64_t max_pools, min_pools, workers_per_pool;
    int64_t desired;                  /* executors that the size asks for */
    int64_t available, leased, total; /* executors; draining counts as leased */
    int64_t retiring;                 /* executors that end, and are none of `total` */
    int64_t waiters;                  /* callers waiting in lp_acquire */
    int64_t live;                     /* leases that have not ended */
    int64_t queued, running;          /* jobs; running until `done` is called */
    /* so far: */
    uint64_t acquired, released, expired, broken, stopped, leaked; /* leases */
    uint64_t timeouts, rejected;            /* acquires: too late; refused at once */
    uint64_t jobs, done, failed, cancelled; /* jobs */
    uint64_t interrupted, killed;           /* some of those that failed or were cancelled */
    uint64_t created, retired;              /* executors: made; taken out of `total` */
    lp_durations_t wait;                    /* from lp_acquire to the hand-over */
    lp_durations_t hold;                    /* from the hand-over to the end of the lease */
    lp_durations_t run;                     /* of jobs, on the worker */
} lp_manager_stats_t;

LP_EXTERN int lp_manager_stats(lp_manager_t *manager, lp_manager_stats_t *stats);

/* Calls `cb` for every lease that is not CLOSED, oldest first. `cb` must not release or close
 * leases, nor stop the manager. */
typedef void (*lp_lease_cb)(lp_lease_t *lease, void *data);
LP_EXTERN int lp_manager_each_lease(lp_manager_t *manager, lp_lease_cb cb, void *data);

/* ---- Leases ------------------------------------------------------------------- */

typedef struct lp_acquire_options_s {
    size_t size;         /* set by lp_acquire_options_init */
    const char *owner;   /* who borrows, for people; copied; NULL: none */
    uint64_t timeout_ns; /* LP_FOREVER; 0 is one attempt */
    uint64_t lease_ns;   /* from the hand-over to the soft expiry; 0: default_lease_ns */
    int on_expiry;       /* lp_on_expiry_t; LP_EXPIRY_DEFAULT */

    /* Called from a turn each time that the lease passes its soft expiry, unless it ends
     * first; may renew or release it. NULL: nobody is told. */
    lp_lease_cb on_soft_expiry;
    void *soft_data;
} lp_acquire_options_t;

LP_EXTERN void lp_acquire_options_init(lp_acquire_options_t *options);

/* `status` 0: `lease` is the caller's, to lp_release and lp_lease_close. Otherwise
 * LP_ETIMEDOUT, LP_ECANCELLED, LP_ENOTSTARTED (the manager stopped) or LP_ENOMEM. */
typedef void (*lp_acquire_cb)(lp_acquire_t *req, int status, lp_lease_t *lease);

struct lp_acquire_s {
    void *data;
    struct { /* private */
        lp_acquire_cb cb;
        lp_runtime_t *rt;
        lp_manager_t *manager; /* while it waits */
        lp__list_t link;
        lp__task_t task;
        lp__deadline_t deadline;
        lp_acquire_options_t options; /* its owner is the request's copy */
        uint64_t began_ns;
        lp_lease_t *lease;
        int status;
        int state;
    } priv;
};

/* Waits for an executor, first come first served. `options` may be NULL.
 * LP_ENOTSTARTED, LP_EUNAVAILABLE (too many waiters), LP_EINVAL, LP_ENOMEM, LP_ESTATE (the
 * request is in use); then `cb` is not called. */
LP_EXTERN int lp_acquire(lp_manager_t *manager, lp_acquire_t *req,
                         const lp_acquire_options_t *options, lp_acquire_cb cb);

/* Withdraws a waiting request: its callback gets LP_ECANCELLED, and an executor handed to
 * it in the same instant goes to the next waiter. LP_ESTATE when it ended already. */
LP_EXTERN int lp_acquire_cancel(lp_acquire_t *req);

/* A lease now, or LP_EUNAVAILABLE (timeout_ns is ignored). Errors as lp_acquire. */
LP_EXTERN int lp_try_acquire(lp_manager_t *manager, const lp_acquire_options_t *options,
                             lp_lease_t **lease);

/*   ACTIVE --soft expiry--> GRACE --hard expiry--> EXPIRED --last job gone--> CLOSED
 *     |  ^----- renew -------|                      ^
 *     +------- release ------+--> DRAINING ---------+ hard expiry
 *                                     +--last job done--> CLOSED
 *   any of the first three --executor broken--> BROKEN --last job gone--> CLOSED */
typedef enum {
    LP_LEASE_ACTIVE,   /* jobs may be submitted */
    LP_LEASE_GRACE,    /* past the soft expiry: they may still */
    LP_LEASE_DRAINING, /* released; submitted jobs finish */
    LP_LEASE_EXPIRED,  /* past the hard expiry, or the manager stopped */
    LP_LEASE_BROKEN,   /* its executor broke */
    LP_LEASE_CLOSED    /* nothing of it runs any more */
} lp_lease_state_t;

/* No new jobs; the executor goes to the next borrower when the submitted ones are done.
 * Idempotent. */
LP_EXTERN int lp_release(lp_lease_t *lease);

/* Moves the soft expiry to `lease_ns` from now (0: the lease's length), and the hard expiry
 * with it. LP_EEXPIRED unless the lease is ACTIVE or GRACE. */
LP_EXTERN int lp_lease_renew(lp_lease_t *lease, uint64_t lease_ns);

/* Releases, and gives up the handle. NULL is allowed. */
LP_EXTERN void lp_lease_close(lp_lease_t *lease);

LP_EXTERN lp_lease_state_t lp_lease_state(lp_lease_t *lease);  /* by the clock */
LP_EXTERN uint64_t lp_lease_id(const lp_lease_t *lease);       /* unique in the process */
LP_EXTERN const char *lp_lease_owner(const lp_lease_t *lease); /* NULL: none given */
LP_EXTERN lp_manager_t *lp_lease_manager(const lp_lease_t *lease);

/* Why the lease ended: "released", "expired", "the manager stopped", or why its executor broke.
 * NULL while it is ACTIVE or GRACE; does not look at the clock. Valid until the handle is closed.
 */
LP_EXTERN const char *lp_lease_reason(const lp_lease_t *lease);

typedef struct lp_lease_times_s {
    uint64_t length_ns; /* from the hand-over to the first soft expiry */
    uint64_t leased_ns; /* moments, on the monotonic clock */
    uint64_t soft_expiry_ns, hard_expiry_ns;
} lp_lease_times_t;

LP_EXTERN void lp_lease_times(const lp_lease_t *lease, lp_lease_times_t *times);

/* Its jobs that wait, and that a worker has. */
LP_EXTERN void lp_lease_jobs(const lp_lease_t *lease, int64_t *queued, int64_t *running);

/* ---- Jobs --------------------------------------------------------------------- */

/* Runs on a worker. Must not touch the runtime, its managers or leases. */
typedef void (*lp_work_cb)(lp_job_t *job);

/* Runs on the loop. `status` 0: the work ran; LP_ECANCELLED, LP_ETIMEDOUT (it took too long),
 * LP_EEXPIRED (the lease expired first): it did not, or has seen that it is to stop (see
 * lp_job_cancelled), or was given up (see lp_job_still_running); LP_EBROKEN: its worker is gone.
 * The job may be freed or submitted again from here. */
typedef void (*lp_done_cb)(lp_job_t *job, int status);

struct lp_job_s {
    void *data;
    struct {             /* private */
        lp__node_t node; /* in the queue, then in the inbox */
        union {
            lp_lease_t *lease;
            lp__timed_t *timed; /* of a job with a timeout; leads to the lease, or the wave */
            lp__wave_t *wave;   /* of a job that waits in a grinder */
            lp_grinder_t *grinder;
        } of;
        lp_work_cb work;
        lp_done_cb done;
        uint16_t state;
        uint16_t stop; /* 1: requested; atomic */
        uint32_t worker;
    } priv;
};

/* Queues `work` on the lease's executor; jobs of one executor start in this order.
 * LP_EEXPIRED, LP_EQUEUEFULL (max_queue jobs are not taken by a worker yet), LP_EBROKEN (no
 * worker can be started), LP_ENOMEM, LP_EINVAL, LP_ESTATE (the job is in flight), LP_ENOTSUP (the
 * workers are processes); then nothing was queued and `done` is not called. `done` may be NULL. */
LP_EXTERN int lp_submit(lp_lease_t *lease, lp_job_t *job, lp_work_cb work, lp_done_cb done);

/* The same, with a limit from now on: a job that no worker has taken by then ends with
 * LP_ETIMEDOUT and never runs; one that runs is stopped, as by lp_job_cancel. */
LP_EXTERN int lp_submit_within(lp_lease_t *lease, lp_job_t *job, uint64_t timeout_ns,
                               lp_work_cb work, lp_done_cb done);

/* Takes a queued or pending job back: `done` gets LP_ECANCELLED. Of one that runs, asks it to stop:
 * its blocking system calls end (EINTR) and lp_job_cancelled tells it; when it does not return
 * within interrupt_grace_ns and exit_grace_ns, it is given up. LP_ESTATE when it has ended. */
LP_EXTERN int lp_job_cancel(lp_job_t *job);

/* Is the job to stop? 0, or why: LP_ECANCELLED, LP_ETIMEDOUT, LP_EEXPIRED; then that is what
 * `done` gets. For the job's own worker, while the work runs. */
LP_EXTERN int lp_job_cancelled(lp_job_t *job);

/* 1 when the job ended because it was given up: its work could not be stopped and has not returned.
 * Then what the work uses, the job itself included if it looks at that, must stay as it is, and
 * nobody will tell when the work returns. For `done`. */
LP_EXTERN int lp_job_still_running(const lp_job_t *job);

/* Which signal makes workers look up from what they run: its number, SIGURG at first; 0: none, so
 * that Lua code cannot be stopped, only given up. Its handler is installed for the process
 * when the first job is stopped; signals on other threads than workers go on to the handler
 * that was there before. LP_EINVAL: no signal that can be caught; LP_ESTATE: a worker runs, or ran.
 * Any thread, before the first runtime. */
LP_EXTERN int lp_set_interrupt_signal(int signum);

/* Why the executor of the job that ended last with LP_EBROKEN broke. Valid until the next such
 * job ends. */
LP_EXTERN const char *lp_broken_reason(const lp_runtime_t *runtime);

/* How long until the earlier of the lease's hard expiry and the job's timeout; 0 when past.
 * For the job's own worker, while the work runs. */
LP_EXTERN uint64_t lp_job_remaining_ns(const lp_job_t *job);

/* ---- Native jobs ---------------------------------------------------------------- */

/* From here on `leasepool.native(name)` is this function in the scripts of this runtime; see
 * leasepool_native.h. Several workers may call it at once. `data` comes with each call, and must
 * live until the runtime has closed. The name is copied. Workers that are processes have only what
 * a script has loaded. LP_EINVAL, LP_ESTATE (there is one of that name), LP_ENOMEM. */
LP_EXTERN int lp_register_native(lp_runtime_t *runtime, const char *name, lp_native_cb fn,
                                 void *data);

/* ---- Grinders ----------------------------------------------------------------- */

/* Ends of jobs are told once for all that came at the same time. `done` of them have ended, of
 * `total` that were submitted so far; those that were cancelled before they were in a batch count
 * as neither. */
typedef void (*lp_progress_cb)(lp_grinder_t *grinder, uint64_t done, uint64_t total, void *data);

/* A grinder collects small jobs and runs them in batches, each on one lease of its manager. */
typedef struct lp_grinder_options_s {
    size_t size;                  /* set by lp_grinder_options_init */
    int64_t batch_size_threshold; /* so many pending jobs begin a batch; 20 */
    int64_t max_pending;          /* 65536 */
    int64_t max_batches;          /* at once; 0: max_pools of the manager */
    uint64_t max_wait_ns;         /* or when the oldest has waited so long; 10 s */
    uint64_t lease_ns;            /* of a batch's lease; 60 s */
    const char *owner_prefix;     /* leases are `<prefix>-batch-<n>`'s; copied; "work-grinder" */
    lp_progress_cb on_progress;   /* NULL: nobody is told */
    void *progress_data;
} lp_grinder_options_t;

/* Fills in the defaults. Any thread. */
LP_EXTERN void lp_grinder_options_init(lp_grinder_options_t *options);

/* Makes a grinder, not started. Copies the options, which may be NULL. LP_EINVAL (lp_last_error
 * says which option), LP_ENOMEM. */
LP_EXTERN int lp_grinder_create(lp_grinder_t **grinder, lp_manager_t *manager,
                                const lp_grinder_options_t *options);

/* Starts, or starts again after a stop; does nothing on a started grinder. When its manager stops,
 * what is pending ends with LP_ENOTSTARTED, and so does each submission until that is started
 * again. LP_ENOTSTARTED: its
 * manager is not started; LP_ESTATE: it is stopping. */
LP_EXTERN int lp_grinder_start(lp_grinder_t *grinder);

/* Takes a job. It waits until `batch_size_threshold` jobs are pending or the oldest has waited
 * `max_wait_ns`; then a batch acquires a lease, and takes the oldest jobs that are pending when it
 * gets it, as many as the executor's queue has room for (its share, where several batches wait).
 * `done` is called as soon as the job has ended, with what lp_submit tells or why the batch
 * got no lease. `timeout_ns` counts from now on. lp_job_cancel works on it.
 * LP_ENOTSTARTED, LP_EQUEUEFULL (max_pending jobs wait), LP_ENOMEM, LP_EINVAL, LP_ESTATE (the job
 * is in flight), LP_ENOTSUP (the workers are processes). */
LP_EXTERN int lp_grinder_submit(lp_grinder_t *grinder, lp_job_t *job, uint64_t timeout_ns,
                                lp_work_cb work, lp_done_cb done);

/* Refuses new jobs, and calls `cb` when none is left: what is pending goes into a last batch. After
 * `timeout_ns` (LP_FOREVER: no limit; 0: at once) what is left is cancelled: pending jobs, batches
 * that wait for a lease, and what runs. The report counts jobs that ended meanwhile. A second stop
 * joins the first, and may give it less time. Where `cb` is NULL, `req` may be NULL too. On a
 * grinder that is not started, `cb` is called with an empty report. */
LP_EXTERN int lp_grinder_stop(lp_grinder_t *grinder, lp_stop_t *req, uint64_t timeout_ns,
                              lp_stop_cb cb);

/* Gives up the handle: the grinder stops without a limit and its memory goes. NULL is allowed. */
LP_EXTERN void lp_grinder_close(lp_grinder_t *grinder);

/* At any moment: items = pending + in_flight + done + failed + cancelled. */
typedef struct lp_grinder_stats_s {
    int started, stopping;
    int64_t batch_size_threshold;
    uint64_t max_wait_ns, lease_ns;
    int64_t pending;         /* jobs that wait for a batch */
    int64_t in_flight;       /* jobs in a batch */
    int64_t running;         /* batches that have a lease */
    int64_t waiting;         /* batches that wait for one */
    uint64_t oldest_wait_ns; /* of the pending jobs; 0: there is none */
    /* so far: */
    uint64_t batches; /* that got jobs */
    uint64_t items;   /* jobs, without those that were cancelled while they were pending */
    uint64_t done, failed, cancelled;
} lp_grinder_stats_t;

LP_EXTERN int lp_grinder_stats(lp_grinder_t *grinder, lp_grinder_stats_t *stats);

/* ---- From other threads ------------------------------------------------------- */

/* What another thread has of a grinder or a manager; it stays valid when that has gone, and the
 * runtime too. The loop is not kept alive by it: where that has nothing else to wait for, uv_run
 * returns, and who asks waits until it is run again with something. Counted by references; retain
 * and release: any thread. */
typedef struct lp_handle_s lp_handle_t;

/* One more reference to the handle of the grinder or manager. LP_ENOMEM, LP_ESTATE (the runtime
 * closes). */
LP_EXTERN int lp_grinder_handle(lp_grinder_t *grinder, lp_handle_t **handle);
LP_EXTERN int lp_manager_handle(lp_manager_t *manager, lp_handle_t **handle);

LP_EXTERN void lp_handle_retain(lp_handle_t *handle);
LP_EXTERN void lp_handle_release(lp_handle_t *handle); /* NULL is allowed */

/* A job that another thread has submitted. Counted by references; every function of it: any
 * thread but the loop's, which may only retain and release. */
typedef struct lp_ticket_s lp_ticket_t;

/* As lp_grinder_submit, from another thread. `work` is called with a job whose `data` is `data`.
 * What the grinder says of it comes as the status of the ticket, which has one reference for the
 * caller. LP_EWRONGTHREAD: on the loop's thread, which would wait for itself; LP_ENOTSTARTED: the
 * grinder has gone; LP_EINVAL: the handle is not a grinder's; LP_ENOMEM. */
LP_EXTERN int lp_grinder_submit_from_thread(lp_handle_t *grinder, lp_ticket_t **ticket,
                                            uint64_t timeout_ns, lp_work_cb work, void *data);

/* Waits until the job has ended, and tells its status as lp_done_cb has it. LP_ETIMEDOUT: not
 * within `timeout_ns`, and it goes on. Where the calling thread is a worker whose job is to stop,
 * why: LP_ECANCELLED, LP_ETIMEDOUT, LP_EEXPIRED; see lp_job_cancelled. LP_EWRONGTHREAD. */
LP_EXTERN int lp_ticket_wait(lp_ticket_t *ticket, uint64_t timeout_ns, int *status);

/* Has it ended? */
LP_EXTERN int lp_ticket_has_ended(const lp_ticket_t *ticket);

/* 1 when it ended because it was given up, see lp_job_still_running: then what the work uses must
 * stay as it is. The job itself does, until the work returns. */
LP_EXTERN int lp_ticket_still_running(const lp_ticket_t *ticket);

/* As lp_job_cancel, later: whether the job was cancelled is in its status. LP_ESTATE: it has ended.
 * LP_EWRONGTHREAD. */
LP_EXTERN int lp_ticket_cancel(lp_ticket_t *ticket);

LP_EXTERN void lp_ticket_retain(lp_ticket_t *ticket);
LP_EXTERN void lp_ticket_release(lp_ticket_t *ticket); /* NULL is allowed */

/* As lp_grinder_stats and lp_manager_stats, from another thread: waits until the loop answers.
 * LP_ETIMEDOUT, LP_ENOTSTARTED (the object has gone), LP_EWRONGTHREAD, LP_EINVAL, LP_ENOMEM; or why
 * the job of the calling worker is to stop. */
LP_EXTERN int lp_grinder_stats_from_thread(lp_handle_t *grinder, lp_grinder_stats_t *stats,
                                           uint64_t timeout_ns);
LP_EXTERN int lp_manager_stats_from_thread(lp_handle_t *manager, lp_manager_stats_t *stats,
                                           uint64_t timeout_ns);

#ifdef __cplusplus
}
#endif
#endif
