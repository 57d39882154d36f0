/* child.c - see child.h.
 *
 * The worker's state looks at a worker, its executor, manager and lease: here they are filled from
 * what the parent sends, and nothing else of the core runs. `lock` guards what both threads use;
 * it is never held while Lua runs. Nothing is freed: the process ends. */
#include "lua/child.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/process.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/manager.h"
#include "lua/child_codes.h"
#include "lua/job.h"
#include "lua/remote.h"
#include "lua/setup.h"
#include "lua/state.h"
#include "wire/child.h"

/* Results wait so long for those of the next jobs, and so many bytes of them, or of lines for the
 * log before those are counted instead. */
#define RESULTS_NS (20 * UINT64_C(1000))
#define RESULTS_BYTES ((size_t)32 << 10)
#define LINES_BYTES ((size_t)1 << 20)

typedef struct {
    lp__context_t ctx;
    lp_runtime_t rt;
    lp_manager_t manager;
    lp__executor_t executor;
    lp_lease_t lease;
    lp__setup_t setup;
    lp__worker_t worker;
    lp__lua_job_t job;
    lp__child_codes_t codes;
    lp__frames_t in;
    char *name, *owner;
    uint64_t ended_ns, unsent_ns; /* the last job; the first result in `out` */

    uv_mutex_t lock;
    /* -- under lock -- */
    lp__frames_t out;
    uint64_t begun; /* the last job that was begun, or was not because it had been withdrawn */
    bool running;   /* it is */
    uint64_t refused[2 * LP__CHILD_AHEAD / 64]; /* one bit for each job after `begun` */
    uint64_t renewed_lease;
    lp__child_renew_t renewed;
    /* -- the second thread's -- */
    lp__frames_t control_in, control_out;
} child_t;

static child_t *child; /* one for the process */

/* What a parent of this build does not do. */
static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("leasepool: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(70);
}

/* ---- Sending ------------------------------------------------------------------ */

/* Whoever cannot be written to has gone. */
static void flush_all(void)
{
    uv_mutex_lock(&child->lock);
    int rc = lp__frames_flush_wait(&child->out, LP__PROCESS_CHANNEL);
    uv_mutex_unlock(&child->lock);
    if (rc != 0)
        _exit(1);
}

/* os.exit in a job: what earlier ones said is sent. */
static void flush_at_exit(void)
{
    uv_mutex_lock(&child->lock);
    (void)lp__frames_flush_wait(&child->out, LP__PROCESS_CHANNEL);
    uv_mutex_unlock(&child->lock);
}

static int put(uint32_t kind, uint64_t id, const lp__piece_t *pieces, size_t count)
{
    uv_mutex_lock(&child->lock);
    int rc = lp__frames_put(&child->out, kind, id, pieces, count);
    uv_mutex_unlock(&child->lock);
    return rc;
}

static bool send_line(void *data, const lp__piece_t *pieces, size_t count)
{
    (void)data;
    uv_mutex_lock(&child->lock);
    bool sent = lp__frames_left(&child->out) < LINES_BYTES &&
                lp__frames_put(&child->out, LP__CHILD_LINE, 0, pieces, count) == 0;
    (void)lp__frames_flush(&child->out, LP__PROCESS_CHANNEL);
    uv_mutex_unlock(&child->lock);
    return sent;
}

/* ---- The second thread -------------------------------------------------------- */

static bool take_refusal(uint64_t id)
{
    uint64_t *word = &child->refused[id % (2 * LP__CHILD_AHEAD) / 64];
    uint64_t bit = UINT64_C(1) << id % 64;
    bool refused = (*word & bit) != 0;
    *word &= ~bit;
    return refused;
}

static void stop(uint64_t id, int why)
{
    uv_mutex_lock(&child->lock);
    if (child->running && id == child->begun) {
        lp__desk_t *desk = &child->worker.desk;
        lp__desk_want_stop(desk, lp__load_relaxed(&desk->serial), why);
        lp__worker_interrupt(&child->worker);
    }
    uv_mutex_unlock(&child->lock);
}

/* What is done so far is told, too: the job that runs may take long. */
static void withdraw(uint64_t first, uint64_t last)
{
    uv_mutex_lock(&child->lock);
    if (first <= child->begun)
        first = child->begun + 1;
    if (last - child->begun >= 2 * LP__CHILD_AHEAD && last > child->begun)
        fail("a job was withdrawn that is too far away");
    for (uint64_t id = first; id <= last; id++)
        child->refused[id % (2 * LP__CHILD_AHEAD) / 64] |= UINT64_C(1) << id % 64;
    if (child->running)
        (void)lp__frames_flush(&child->out, LP__PROCESS_CHANNEL);
    uv_mutex_unlock(&child->lock);
    const lp__piece_t piece = {&last, sizeof last};
    if (lp__frames_put(&child->control_out, LP__CHILD_WITHDRAWN, first, &piece, 1) != 0 ||
        lp__frames_flush_wait(&child->control_out, LP__PROCESS_CONTROL) != 0)
        _exit(1);
}

static void renew(uint64_t lease_id, const lp__child_renew_t *renewed)
{
    uv_mutex_lock(&child->lock);
    child->renewed_lease = lease_id;
    child->renewed = *renewed;
    if (child->running && child->lease.id == lease_id)
        lp__store_relaxed(&child->lease.hard_ns, renewed->hard_ns);
    uv_mutex_unlock(&child->lock);
}

static void heed(const lp__frame_t *frame)
{
    union {
        lp__child_stop_t stop;
        lp__child_renew_t renew;
        uint64_t last;
    } said;
    memset(&said, 0, sizeof said);
    memcpy(&said, frame->payload, frame->len < sizeof said ? frame->len : sizeof said);
    switch (frame->kind) {
    case LP__CHILD_STOP:
        stop(frame->id, said.stop.why);
        break;
    case LP__CHILD_WITHDRAW:
        withdraw(frame->id, said.last);
        break;
    case LP__CHILD_RENEW:
        renew(frame->id, &said.renew);
        break;
    default:
        fail("the parent said something unknown (%u)", (unsigned)frame->kind);
    }
}

static void listen_to_parent(void *arg)
{
    lp__frame_t frame;
    int rc;
    (void)arg;
    while ((rc = lp__frames_read(&child->control_in, LP__PROCESS_CONTROL)) == 0)
        while (lp__frames_next(&child->control_in, &frame) == 0)
            heed(&frame);
    _exit(1); /* the parent has gone, and nobody waits for anything here */
}

/* ---- What the parent sends ---------------------------------------------------- */

/* The next `len` bytes. */
static const uint8_t *take(lp__frame_t *frame, size_t len)
{
    const uint8_t *at = frame->payload;
    if (len > frame->len)
        fail("the parent's message is too short");
    frame->payload += len;
    frame->len -= (uint32_t)len;
    return at;
}

static char *take_text(lp__frame_t *frame, size_t len)
{
    char *text = lp__malloc(LP_MEM_BINDING, len + 1);
    if (!text)
        fail("out of memory");
    memcpy(text, take(frame, len), len);
    text[len] = '\0';
    return text;
}

static lp__code_t *find_code(uint64_t id)
{
    lp__code_t *code = id != 0 ? lp__child_codes_find(&child->codes, id) : NULL;
    if (id != 0 && !code)
        fail("the parent did not send a code");
    return code;
}

/* The rest of a frame: the numbers of codes, and a message. 0 or LP_ENOMEM. */
static int take_message(lp__frame_t *frame, uint32_t attached, lp__message_t *message)
{
    const uint8_t *ids = take(frame, attached * sizeof(uint64_t));
    int rc = lp__message_reserve(message, frame->len);
    for (uint32_t i = 0; rc == 0 && i < attached; i++) {
        uint64_t id;
        uint32_t index;
        memcpy(&id, ids + i * sizeof id, sizeof id);
        rc = lp__message_attach(message, &find_code(id)->shared, &index);
    }
    if (rc != 0)
        return rc;
    memcpy(message->data, frame->payload, frame->len);
    message->len = frame->len;
    return 0;
}

/* ---- Jobs --------------------------------------------------------------------- */

/* False: it was withdrawn. */
static bool begin(uint64_t id, const lp__remote_job_t *head)
{
    lp__worker_t *worker = &child->worker;
    uv_mutex_lock(&child->lock);
    bool refused = take_refusal(id);
    child->begun = id;
    child->running = !refused;
    child->lease.id = head->lease_id;
    bool renewed = child->renewed_lease == head->lease_id && id <= child->renewed.through;
    lp__store_relaxed(&child->lease.hard_ns, renewed ? child->renewed.hard_ns : head->hard_ns);
    if (!refused)
        lp__desk_take(&worker->desk, &child->job.job.priv.node);
    uv_mutex_unlock(&child->lock);
    return !refused;
}

static void end(void)
{
    uv_mutex_lock(&child->lock);
    child->running = false;
    lp__desk_ready(&child->worker.desk);
    (void)lp__desk_clear(&child->worker.desk);
    uv_mutex_unlock(&child->lock);
}

static int run(lp__frame_t *frame, const lp__remote_job_t *head)
{
    lp__worker_t *worker = &child->worker;
    lp__lua_job_t *job = &child->job;
    job->code = find_code(head->code);
    int rc = take_message(frame, head->attached, &job->message);
    if (rc == 0) {
        worker->runner->take(worker->state, &job->job);
        lp__desk_ready(&worker->desk);
        rc = worker->runner->call(worker->state);
        worker->runner->deliver(worker->state, &job->job);
    }
    job->code = NULL;
    return rc;
}

/* Results larger than a frame may be are as those that cannot travel. */
static void answer(uint64_t id, const lp__child_result_t *result)
{
    lp__message_t *message = &child->job.message;
    lp__child_result_t lesser = *result;
    const lp__piece_t pieces[] = {{result, sizeof *result}, {message->data, message->len}};
    const lp__piece_t piece = {&lesser, sizeof lesser};
    bool first = lp__frames_left(&child->out) == 0;
    int rc = put(LP__CHILD_RESULT, id, pieces, 2);
    if (rc != 0) {
        lesser.status = rc;
        rc = put(LP__CHILD_RESULT, id, &piece, 1);
    }
    if (rc != 0)
        fail("out of memory");
    if (first)
        child->unsent_ns = child->ended_ns;
    lp__message_reset(message);
}

static void leave(void)
{
    lp__worker_t *worker = &child->worker;
    flush_all();
    worker->runner->close(worker->state);
    worker->state = NULL;
    exit(0);
}

static void serve_job(lp__frame_t frame, bool waited)
{
    lp__worker_t *worker = &child->worker;
    const lp__clock_t *clock = &child->rt.clock;
    lp__remote_job_t head;
    lp__child_result_t result = {.status = 0};
    memcpy(&head, take(&frame, sizeof head), sizeof head);
    if (head.manual_ns != 0)
        lp__clock_set_manual(&child->rt.clock, head.manual_ns);
    uint64_t began_ns = waited ? lp__clock_now_ns(clock) : child->ended_ns;
    if (lp__frames_left(&child->out) > 0 &&
        (began_ns - child->unsent_ns > RESULTS_NS || lp__frames_left(&child->out) > RESULTS_BYTES))
        flush_all();
    lp__free(child->owner);
    child->owner = head.has_owner ? take_text(&frame, head.owner_len) : NULL;
    child->lease.owner = child->owner;
    if (!begin(frame.id, &head))
        return;
    uint64_t hard_ns = lp__load_relaxed(&child->lease.hard_ns);
    worker->lease = &child->lease;
    worker->timeout_at_ns = head.timeout_at_ns;
    if (began_ns >= head.timeout_at_ns || began_ns >= hard_ns) {
        result.status = head.timeout_at_ns < hard_ns ? LP_ETIMEDOUT : LP_EEXPIRED;
        child->ended_ns = began_ns;
    } else {
        result.status = run(&frame, &head);
        child->ended_ns = lp__clock_now_ns(clock);
        result.flags = LP__RESULT_RAN;
    }
    worker->lease = NULL;
    end();
    result.run_ns = child->ended_ns - began_ns;
    bool leaves = worker->worn_out || result.status == LP_EBROKEN;
    if (leaves)
        result.flags |= LP__RESULT_LEAVING;
    answer(frame.id, &result);
    if (leaves)
        leave();
}

static void serve_frame(const lp__frame_t *frame, bool waited)
{
    switch (frame->kind) {
    case LP__CHILD_JOB:
        serve_job(*frame, waited);
        break;
    case LP__CHILD_CODE:
        if (lp__child_codes_add(&child->codes, frame) != 0)
            fail("a code could not be taken");
        break;
    case LP__CHILD_FORGET:
        lp__child_codes_free(&child->codes);
        break;
    case LP__CHILD_END:
        leave();
        break;
    default:
        fail("the parent sent something unknown (%u)", (unsigned)frame->kind);
    }
}

/* Ends with the parent, or with what it says. */
static void serve(void)
{
    lp__frame_t frame;
    for (;;) {
        bool waited = true;
        while (lp__frames_next(&child->in, &frame) == 0) {
            serve_frame(&frame, waited);
            waited = false;
        }
        flush_all();
        if (lp__frames_read(&child->in, LP__PROCESS_CHANNEL) != 0)
            _exit(1);
    }
}

/* ---- The start ---------------------------------------------------------------- */

static void take_setup(lp__frame_t *frame)
{
    lp__remote_setup_t head;
    if (frame->id != LP__CHILD_PROTOCOL)
        fail("the parent has another version of leasepool (protocol %llu, here %d)",
             (unsigned long long)frame->id, LP__CHILD_PROTOCOL);
    memcpy(&head, take(frame, sizeof head), sizeof head);
    child->name = take_text(frame, head.name_len);
    char *path = take_text(frame, head.path_len), *cpath = take_text(frame, head.cpath_len);
    child->ctx.path = head.has_path ? path : NULL;
    child->ctx.cpath = head.has_cpath ? cpath : NULL;
    child->setup.code = find_code(head.code);
    child->setup.has_initializer = head.has_initializer;
    child->setup.forwarded = (lp__level_t)head.forwarded;
    child->setup.libs = LP__LIBS_ALL;
    if (take_message(frame, head.attached, &child->setup.initargs) != 0)
        fail("out of memory");
    child->manager.options.memory_limit = (int64_t)head.memory_limit;
    child->manager.options.interrupt_grace_ns = head.interrupt_grace_ns;
    if (head.signal != 0)
        (void)lp_set_interrupt_signal(head.signal);
}

static void wait_for_setup(void)
{
    lp__frame_t frame;
    for (;;) {
        while (lp__frames_next(&child->in, &frame) == 0) {
            if (frame.kind == LP__CHILD_SETUP) {
                take_setup(&frame);
                return;
            }
            serve_frame(&frame, true);
        }
        if (lp__frames_read(&child->in, LP__PROCESS_CHANNEL) != 0)
            _exit(1);
    }
}

static void fill(void)
{
    lp__worker_t *worker = &child->worker;
    lp_manager_options_init(&child->manager.options);
    child->manager.rt = &child->rt;
    child->manager.runner_data = &child->setup;
    child->executor.manager = &child->manager;
    child->executor.backend = lp_backend_process();
    worker->executor = &child->executor;
    worker->runner = lp__state_runner();
    worker->forward = send_line;
    worker->runner_data = &child->ctx;
    lp__message_init(&child->setup.initargs);
    lp__message_init(&child->job.message);
    child->job.job.priv.state = LP__JOB_IN_FLIGHT;
    child->job.job.priv.of.lease = &child->lease;
    worker->thread = uv_thread_self();
    if (uv_mutex_init(&child->lock) != 0 || uv_mutex_init(&child->ctx.paths_lock) != 0)
        fail("no mutex can be made");
}

/* The state, and what the initializer does. STOP number 0 is for this. */
static void open_state(void)
{
    lp__worker_t *worker = &child->worker;
    uv_mutex_lock(&child->lock);
    child->running = true;
    lp__desk_take(&worker->desk, NULL);
    uv_mutex_unlock(&child->lock);
    lp__worker_listen(worker, true);
    int rc = worker->runner->open(&child->ctx, worker, child->name, &worker->state);
    end();
    if (rc == 0) {
        put(LP__CHILD_READY, LP__CHILD_PROTOCOL, NULL, 0);
        return;
    }
    const char *reason = worker->reason ? worker->reason : lp_strerror(rc);
    const lp__piece_t piece = {reason, strlen(reason)};
    put(LP__CHILD_FAILED, (uint64_t)-rc, &piece, 1);
    flush_all();
    exit(0);
}

static void ignore(int signum)
{
    (void)signum;
}

/* Ctrl-C is for the whole group, and the parent decides what it means. A handler that does
 * nothing, and not SIG_IGN, which programs started by jobs would inherit. */
static void leave_interrupts_to_parent(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = ignore;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
}

static bool is_socket(int fd)
{
    int type;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

int lp__child_serve_forever(lua_State *L)
{
    lp__thread_t second;
    if (child || !is_socket(LP__PROCESS_CHANNEL) || !is_socket(LP__PROCESS_CONTROL))
        return luaL_error(L, "leasepool.child: this is for child processes that a manager with "
                             "the backend process has started");
    fcntl(LP__PROCESS_CHANNEL, F_SETFD, FD_CLOEXEC);
    fcntl(LP__PROCESS_CONTROL, F_SETFD, FD_CLOEXEC);
    leave_interrupts_to_parent();
    child = lp__calloc(LP_MEM_BINDING, sizeof *child);
    if (!child)
        return luaL_error(L, "not enough memory");
    fill();
    wait_for_setup();
    if (lp__thread_start(&second, listen_to_parent, NULL) != 0)
        fail("no thread can be started");
    atexit(flush_at_exit);
    open_state();
    serve();
    return 0;
}
