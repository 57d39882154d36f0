/* process_io.c - the sockets of a child and its standard error, as the loop sees them.
 *
 * What is received is handled at once, as far as it changes what is known of the child; jobs that
 * ended and lines for the log go through the inbox, like those of threads, and a turn follows. */
#include <string.h>
#include <unistd.h>

#include "backend/child.h"
#include "base/alloc.h"
#include "base/atomics.h"

/* Reads of one socket before others have their chance. */
#define READS 16

/* ---- Frames ------------------------------------------------------------------- */

/* The child has said why it cannot serve, and ends. */
static bool take_failure(lp__child_t *child, const lp__frame_t *frame)
{
    lp__worker_t *worker = child->worker;
    int status = frame->id < 65536 ? -(int)frame->id : LP_EBROKEN;
    char reason[1024];
    size_t len = frame->len < sizeof reason ? frame->len : sizeof reason - 1;
    if (child->stage != LP__CHILD_STARTING && child->stage != LP__CHILD_LEAVING)
        return false;
    memcpy(reason, frame->payload, len);
    reason[len] = '\0';
    child->stage = LP__CHILD_LEAVING;
    child->leaving = true;
    lp__child_limit_leaving(child);
    if (worker->interrupt.why != 0 && status == worker->interrupt.why)
        return true; /* so it was told; the next one tries again */
    lp__worker_explain(worker, len > 0 ? reason : lp_strerror(status));
    lp__worker_broke(worker);
    return true;
}

static bool take_ready(lp__child_t *child, const lp__frame_t *frame)
{
    if (frame->id != LP__CHILD_PROTOCOL || frame->len != 0)
        return false;
    if (child->stage == LP__CHILD_STARTING)
        lp__child_serve(child);
    else if (child->stage != LP__CHILD_LEAVING)
        return false;
    return true;
}

static bool take_frame(lp__child_t *child, const lp__frame_t *frame)
{
    switch (frame->kind) {
    case LP__CHILD_READY:
        return take_ready(child, frame);
    case LP__CHILD_FAILED:
        return take_failure(child, frame);
    case LP__CHILD_RESULT:
        return lp__child_take_result(child, frame);
    case LP__CHILD_LINE:
        return child->worker->runner->line(child->state, frame->payload, frame->len) !=
               LP_ETRANSFER;
    default:
        return false;
    }
}

static bool take_control(lp__child_t *child, const lp__frame_t *frame)
{
    uint64_t last;
    if (frame->kind != LP__CHILD_WITHDRAWN || frame->len != sizeof last)
        return false;
    memcpy(&last, frame->payload, sizeof last);
    return lp__child_take_withdrawn(child, frame->id, last);
}

/* ---- Receiving ---------------------------------------------------------------- */

typedef bool (*take_fn)(lp__child_t *child, const lp__frame_t *frame);

/* Hands out the frames that are there. False: there was nonsense. One that is not there yet may
 * be large: what begins with nonsense is not waited for. */
static bool take_frames(lp__child_t *child, lp__frames_t *in, take_fn take)
{
    lp__frame_t frame;
    uint32_t kind;
    int rc;
    while ((rc = lp__frames_next(in, &frame)) == 0)
        if (!take(child, &frame))
            return false;
    if (rc != UV_EAGAIN)
        return false;
    return lp__frames_peek(in, &kind) != 0 ||
           (kind >= LP__CHILD_READY && kind <= LP__CHILD_WITHDRAWN);
}

/* Reads what is there; UV_EAGAIN: that was all; UV_EOF: and nothing will follow. */
static int receive(lp__child_t *child, lp__frames_t *in, int fd, take_fn take)
{
    for (int i = 0; i < READS; i++) {
        int rc = lp__frames_read(in, fd);
        bool more = in->end == in->cap; /* what there is may not have had room */
        if (rc == LP_ETRANSFER || (rc == 0 && !take_frames(child, in, take))) {
            lp__child_begin_dying(child, "sent what no worker sends");
            return UV_EOF;
        }
        if (rc == UV_EOF && lp__frames_left(in) > 0) {
            lp__child_begin_dying(child, "ended in the middle of a message");
            return UV_EOF;
        }
        if (rc != 0)
            return rc == LP_ENOMEM ? UV_EAGAIN : rc;
        if (!more)
            break;
    }
    return UV_EAGAIN;
}

static void receive_channel(lp__child_t *child)
{
    if (child->stage >= LP__CHILD_DYING)
        return;
    if (receive(child, &child->in, child->process.channel, take_frame) != UV_EAGAIN) {
        lp__child_begin_dying(child, NULL);
        return;
    }
    lp__child_feed(child);
}

static void receive_control(lp__child_t *child)
{
    if (child->stage >= LP__CHILD_DYING)
        return;
    if (receive(child, &child->control_in, child->process.control, take_control) != UV_EAGAIN)
        lp__child_stop_watching(child, LP__POLL_CONTROL);
}

/* ---- Standard error ----------------------------------------------------------- */

static void tell_line(lp__child_t *child, const char *text, size_t len)
{
    if (len > 0 && text[len - 1] == '\r')
        len--;
    if (len > 0)
        child->worker->runner->wrote(child->state, text, len);
}

/* Tells whole lines, and what is longer than there is room for. */
static void tell_lines(lp__child_t *child, bool all)
{
    char *at = child->line, *end = child->line + child->written, *newline;
    while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        tell_line(child, at, (size_t)(newline - at));
        at = newline + 1;
    }
    if (all || (at == child->line && child->written == sizeof child->line)) {
        tell_line(child, at, (size_t)(end - at));
        at = end;
    }
    child->written = (size_t)(end - at);
    memmove(child->line, at, child->written);
}

/* False: nothing more will come. */
static bool receive_errors(lp__child_t *child, int reads)
{
    while (reads-- > 0) {
        ssize_t got = read(child->process.errors, child->line + child->written,
                           sizeof child->line - child->written);
        if (got == 0)
            return false;
        if (got < 0)
            return true;
        child->written += (size_t)got;
        tell_lines(child, false);
    }
    return true;
}

void lp__child_drain(lp__child_t *child)
{
    int rounds = 64; /* more than a socket holds; others may still write to standard error */
    receive_control(child);
    while (child->stage < LP__CHILD_DYING && rounds-- > 0)
        receive_channel(child);
    receive_control(child);
    (void)receive_errors(child, READS * 16);
    tell_lines(child, true);
}

/* ---- Sending ------------------------------------------------------------------ */

static void watch(lp__child_t *child, int which, int events);

/* An error is no reason to do anything: the child is gone, and that is told. */
static void flush(lp__child_t *child, lp__frames_t *out, int fd, int which)
{
    int rc = lp__frames_flush(out, fd);
    watch(child, which, rc == UV_EAGAIN ? UV_READABLE | UV_WRITABLE : UV_READABLE);
    if (rc != 0 && rc != UV_EAGAIN)
        lp__frames_free(out);
}

void lp__child_flush(lp__child_t *child)
{
    if (child->stage < LP__CHILD_DYING && lp__frames_left(&child->out) > 0)
        flush(child, &child->out, child->process.channel, LP__POLL_CHANNEL);
}

void lp__child_say(lp__child_t *child, uint32_t kind, uint64_t id, const void *data, size_t len)
{
    const lp__piece_t piece = {data, len};
    if (child->stage >= LP__CHILD_DYING ||
        lp__frames_put(&child->control_out, kind, id, &piece, 1) != 0)
        return;
    flush(child, &child->control_out, child->process.control, LP__POLL_CONTROL);
}

/* ---- Watching ----------------------------------------------------------------- */

static void handle(lp__child_t *child, int which, int status, int events)
{
    bool readable = status < 0 || (events & UV_READABLE);
    bool writable = status >= 0 && (events & UV_WRITABLE);
    if (writable && which == LP__POLL_CHANNEL)
        lp__child_flush(child);
    if (writable && which == LP__POLL_CONTROL)
        flush(child, &child->control_out, child->process.control, LP__POLL_CONTROL);
    if (!readable)
        return;
    if (which == LP__POLL_CHANNEL)
        receive_channel(child);
    else if (which == LP__POLL_CONTROL)
        receive_control(child);
    else if (which == LP__POLL_DEATH)
        lp__child_look(child);
    else if (!receive_errors(child, READS))
        lp__child_stop_watching(child, LP__POLL_ERRORS);
}

static void on_event(uv_poll_t *poll, int status, int events)
{
    lp__watches_t *watches = poll->data;
    lp__child_t *child = watches->child;
    if (!child)
        return;
    lp_runtime_t *rt = lp__child_runtime(child);
    lp__inbox_poll_begin(rt->inbox);
    handle(child, (int)(poll - watches->polls), status, events);
    lp__inbox_poll_end(rt->inbox);
    lp__runtime_turn(rt);
}

/* A handle that is not closing may be started again, with other events. */
static void watch(lp__child_t *child, int which, int events)
{
    lp__watches_t *watches = child->watches;
    if (!watches || watches->events[which] == events)
        return;
    watches->events[which] = events;
    uv_poll_start(&watches->polls[which], events, on_event);
    lp__runtime_expect_watch(lp__child_runtime(child));
}

void lp__child_stop_watching(lp__child_t *child, int which)
{
    lp__watches_t *watches = child->watches;
    if (!watches || watches->events[which] == 0)
        return;
    watches->events[which] = 0;
    uv_poll_stop(&watches->polls[which]);
}

static void on_closed(uv_handle_t *handle)
{
    lp__watches_t *watches = handle->data;
    if (--watches->open == 0)
        lp__free(watches);
}

void lp__child_unwatch(lp__child_t *child)
{
    lp__watches_t *watches = child->watches;
    child->watches = NULL;
    if (!watches)
        return;
    watches->child = NULL;
    lp__child_runtime(child)->watched--;
    unsigned open = watches->open;
    for (unsigned i = 0; open > 0 && i < LP__POLL_COUNT; i++) {
        if (!watches->polls[i].data)
            continue;
        uv_close((uv_handle_t *)&watches->polls[i], on_closed);
        open--;
    }
}

int lp__child_watch(lp__child_t *child)
{
    const int fds[LP__POLL_COUNT] = {child->process.channel, child->process.control,
                                     child->process.errors, child->process.pidfd};
    lp__watches_t *watches = lp__calloc(LP_MEM_CORE, sizeof *watches);
    if (!watches)
        return LP_ENOMEM;
    child->watches = watches;
    watches->child = child;
    lp__child_runtime(child)->watched++;
    for (int i = 0; i < LP__POLL_COUNT; i++) {
        if (fds[i] < 0)
            continue;
        int rc = uv_poll_init(lp__child_runtime(child)->loop, &watches->polls[i], fds[i]);
        if (rc != 0) {
            bool any = watches->open > 0;
            lp__child_unwatch(child);
            if (!any)
                lp__free(watches);
            return rc;
        }
        watches->polls[i].data = watches;
        watches->open++;
        uv_unref((uv_handle_t *)&watches->polls[i]);
        watch(child, i, UV_READABLE);
    }
    return 0;
}
