/* test_frame.c - frames over a socket: whole or in pieces, trusted or not. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/frame.h"
#include "wire/message.h"

enum { HEADER = 16, BLOCK = 64 * 1024, KEPT = 256 * 1024 };

/* ---- A socket with frames at both ends ---------------------------------------- */

typedef struct {
    int reader, writer;
    lp__frames_t in, out;
} wire_t;

static void wire_open(wire_t *wire)
{
    int fds[2];
    memset(wire, 0, sizeof *wire);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    wire->reader = fds[0];
    wire->writer = fds[1];
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
}

static void wire_close(wire_t *wire)
{
    close(wire->reader);
    close(wire->writer);
    lp__frames_free(&wire->in);
    lp__frames_free(&wire->out);
}

static void feed(wire_t *wire, const void *bytes, size_t len)
{
    assert_int_equal(send(wire->writer, bytes, len, MSG_NOSIGNAL), len);
}

static void feed_header(wire_t *wire, uint32_t len, uint32_t kind, uint64_t id)
{
    feed(wire, &len, sizeof len);
    feed(wire, &kind, sizeof kind);
    feed(wire, &id, sizeof id);
}

/* A byte of the payload of the id-th frame. */
static uint8_t byte_of(uint64_t id, size_t at)
{
    return (uint8_t)(id * 31 + at * 7 + (at >> 8));
}

static uint8_t *payload_of(uint64_t id, size_t len)
{
    uint8_t *bytes = malloc(len + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_of(id, i);
    return bytes;
}

static void put(lp__frames_t *out, uint64_t id, size_t len)
{
    uint8_t *bytes = payload_of(id, len);
    const lp__piece_t pieces[] = {{bytes, len / 3}, {NULL, 0}, {bytes + len / 3, len - len / 3}};
    assert_int_equal(lp__frames_put(out, (uint32_t)id + 5, id, pieces, COUNT_OF(pieces)), 0);
    free(bytes);
}

static void assert_frame(const lp__frame_t *frame, uint64_t id, size_t len)
{
    assert_int_equal(frame->id, id);
    assert_int_equal(frame->kind, (uint32_t)id + 5);
    assert_int_equal(frame->len, len);
    for (size_t i = 0; i < len; i++)
        if (frame->payload[i] != byte_of(id, i))
            fail_msg("frame %d differs at %zu of %zu", (int)id, i, len);
}

/* ---- Reading ------------------------------------------------------------------ */

static void a_frame_that_comes_byte_by_byte_is_handed_out_once(void **state)
{
    (void)state;
    wire_t w;
    lp__frame_t frame;
    wire_open(&w);
    for (uint64_t id = 1; id <= 3; id++) {
        put(&w.out, id, id * 10);
        for (size_t left = lp__frames_left(&w.out); left > 0; left--) {
            assert_int_equal(lp__frames_next(&w.in, &frame), UV_EAGAIN);
            assert_int_equal(lp__frames_read(&w.in, w.reader), UV_EAGAIN);
            feed(&w, w.out.data + w.out.end - left, 1);
            assert_int_equal(lp__frames_read(&w.in, w.reader), 0);
        }
        lp__frames_free(&w.out);
        assert_int_equal(lp__frames_next(&w.in, &frame), 0);
        assert_frame(&frame, id, id * 10);
    }
    assert_int_equal(lp__frames_next(&w.in, &frame), UV_EAGAIN);
    assert_int_equal(lp__frames_left(&w.in), 0);
    wire_close(&w);
}

static void many_frames_come_with_one_read(void **state)
{
    (void)state;
    enum { FRAMES = 1000 };
    wire_t w;
    lp__frame_t frame;
    wire_open(&w);
    for (uint64_t id = 0; id < FRAMES; id++)
        put(&w.out, id, id % 40);
    assert_int_equal(lp__frames_flush(&w.out, w.writer), 0);
    assert_int_equal(lp__frames_read(&w.in, w.reader), 0);
    const uint8_t *data = w.in.data;
    for (uint64_t id = 0; id < FRAMES; id++) {
        assert_int_equal(lp__frames_next(&w.in, &frame), 0);
        assert_frame(&frame, id, id % 40);
        assert_ptr_equal(w.in.data, data);
    }
    assert_int_equal(lp__frames_next(&w.in, &frame), UV_EAGAIN);
    assert_int_equal(lp__frames_read(&w.in, w.reader), UV_EAGAIN);
    assert_int_equal(w.in.cap, BLOCK);
    wire_close(&w);
}

static void a_frame_that_waits_is_handed_out_before_more_is_read(void **state)
{
    (void)state;
    wire_t w;
    lp__frame_t frame;
    wire_open(&w);
    put(&w.out, 1, 100);
    assert_int_equal(lp__frames_flush(&w.out, w.writer), 0);
    assert_int_equal(lp__frames_read(&w.in, w.reader), 0);
    put(&w.out, 2, 100);
    assert_int_equal(lp__frames_flush(&w.out, w.writer), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(lp__frames_read(&w.in, w.reader), 0);
    assert_int_equal(lp__frames_left(&w.in), HEADER + 100);
    assert_int_equal(lp__frames_next(&w.in, &frame), 0);
    assert_frame(&frame, 1, 100);
    assert_int_equal(lp__frames_read(&w.in, w.reader), 0);
    assert_int_equal(lp__frames_next(&w.in, &frame), 0);
    assert_frame(&frame, 2, 100);
    wire_close(&w);
}

/* Sends what the socket takes and reads it, until a frame is there. */
static void pump(wire_t *w, lp__frame_t *frame)
{
    size_t arrived = lp__frames_left(&w->in);
    int rc;
    while ((rc = lp__frames_next(&w->in, frame)) == UV_EAGAIN) {
        rc = lp__frames_flush(&w->out, w->writer);
        assert_true(rc == 0 || rc == UV_EAGAIN);
        size_t before = lp__frames_left(&w->in);
        assert_int_equal(lp__frames_read(&w->in, w->reader), 0);
        arrived += lp__frames_left(&w->in) - before;
        assert_true(w->in.cap <= BLOCK || w->in.cap <= 2 * arrived);
    }
    assert_int_equal(rc, 0);
}

static void a_frame_larger_than_any_buffer_is_put_together(void **state)
{
    (void)state;
    enum { LARGE = 5000000 };
    wire_t w;
    lp__frame_t frame;
    wire_open(&w);
    for (uint64_t round = 0; round < 2; round++) {
        put(&w.out, round, LARGE + round);
        put(&w.out, 7, 3);
        assert_int_equal(lp__frames_flush(&w.out, w.writer), UV_EAGAIN);
        pump(&w, &frame);
        assert_frame(&frame, round, LARGE + round);
        pump(&w, &frame);
        assert_frame(&frame, 7, 3);
        assert_int_equal(lp__frames_next(&w.in, &frame), UV_EAGAIN);
        assert_true(w.in.cap <= KEPT); /* neither end keeps it */
        assert_int_equal(lp__frames_flush(&w.out, w.writer), 0);
        assert_true(w.out.cap <= KEPT);
    }
    wire_close(&w);
}

static void a_length_beyond_the_limit_is_an_error(void **state)
{
    (void)state;
    static const uint32_t lengths[] = {UINT32_MAX, LP__MESSAGE_MAX + 1};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        wire_t w;
        lp__frame_t frame;
        wire_open(&w);
        feed_header(&w, lengths[i], 1, 1);
        assert_int_equal(lp__frames_read(&w.in, w.reader), 0);
        assert_int_equal(lp__frames_next(&w.in, &frame), LP_ETRANSFER);
        assert_int_equal(lp__frames_read(&w.in, w.reader), LP_ETRANSFER);
        assert_int_equal(lp__frames_next(&w.in, &frame), LP_ETRANSFER);
        wire_close(&w);
    }
}

static void what_is_announced_is_not_allocated_before_it_comes(void **state)
{
    (void)state;
    wire_t w;
    lp__frame_t frame;
    static uint8_t some[BLOCK];
    wire_open(&w);
    feed_header(&w, LP__MESSAGE_MAX, 1, 1);
    size_t arrived = HEADER;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(lp__frames_next(&w.in, &frame), UV_EAGAIN);
        feed(&w, some, sizeof some);
        arrived += sizeof some;
        int rc;
        while ((rc = lp__frames_read(&w.in, w.reader)) == 0) {
        }
        assert_int_equal(rc, UV_EAGAIN);
        assert_true(w.in.cap <= 2 * arrived);
    }
    wire_close(&w);
}

static void garbage_is_refused_or_waits_for_more(void **state)
{
    (void)state;
    uint32_t random = 12345;
    for (int round = 0; round < 200; round++) {
        wire_t w;
        lp__frame_t frame;
        uint8_t bytes[3000];
        wire_open(&w);
        for (size_t i = 0; i < sizeof bytes; i++) {
            random = random * 1664525u + 1013904223u;
            bytes[i] = round % 2 ? (uint8_t)(random >> 24) : (uint8_t)(random >> 30);
        }
        feed(&w, bytes, sizeof bytes);
        close(w.writer);
        w.writer = -1;
        int rc;
        do {
            while ((rc = lp__frames_next(&w.in, &frame)) == 0)
                assert_true(frame.payload + frame.len <= w.in.data + w.in.end);
            if (rc == UV_EAGAIN)
                rc = lp__frames_read(&w.in, w.reader);
        } while (rc == 0);
        assert_true(rc == LP_ETRANSFER || rc == UV_EOF);
        assert_int_equal(w.in.cap, BLOCK);
        wire_close(&w);
    }
}

static void the_end_is_told_and_what_was_half_there(void **state)
{
    (void)state;
    for (size_t cut = 0; cut <= HEADER + 10; cut++) {
        wire_t w;
        lp__frame_t frame;
        wire_open(&w);
        put(&w.out, 1, 10);
        if (cut > 0)
            feed(&w, w.out.data, cut);
        close(w.writer);
        w.writer = -1;
        if (cut > 0)
            assert_int_equal(lp__frames_read(&w.in, w.reader), 0);
        bool whole = cut == HEADER + 10;
        assert_int_equal(lp__frames_next(&w.in, &frame), whole ? 0 : UV_EAGAIN);
        assert_int_equal(lp__frames_read(&w.in, w.reader), UV_EOF);
        assert_int_equal(lp__frames_left(&w.in), whole ? 0 : cut);
        wire_close(&w);
    }
}

/* As a child that is killed leaves it. */
static void a_peer_that_went_without_reading_is_an_end_like_any_other(void **state)
{
    (void)state;
    wire_t w;
    lp__frame_t frame;
    wire_open(&w);
    put(&w.out, 1, 10);
    assert_int_equal(lp__frames_flush(&w.out, w.writer), 0);
    assert_int_equal(send(w.reader, "unread", 6, MSG_NOSIGNAL), 6);
    close(w.writer);
    w.writer = -1;
    int rc = lp__frames_read(&w.in, w.reader);
    if (rc == 0) {
        assert_int_equal(lp__frames_next(&w.in, &frame), 0);
        assert_frame(&frame, 1, 10);
        rc = lp__frames_read(&w.in, w.reader);
    }
    assert_int_equal(rc, UV_EOF);
    wire_close(&w);
}

static void a_descriptor_that_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    lp__frames_t in = {0};
    assert_int_equal(lp__frames_read(&in, -1), UV_EBADF);
    lp__frames_free(&in);
}

/* ---- Writing ------------------------------------------------------------------ */

static void a_full_socket_leaves_the_rest_for_later(void **state)
{
    (void)state;
    enum { FRAMES = 300, LEN = 5000 };
    wire_t w;
    lp__frame_t frame;
    wire_open(&w);
    uint64_t got = 0;
    for (uint64_t id = 0; id < FRAMES; id++) {
        put(&w.out, id, LEN);
        int rc = lp__frames_flush(&w.out, w.writer);
        assert_int_equal(rc, lp__frames_left(&w.out) ? UV_EAGAIN : 0);
        if (id % 3 == 2) {
            pump(&w, &frame);
            assert_frame(&frame, got++, LEN);
        }
    }
    assert_true(lp__frames_left(&w.out) > 0);
    assert_true(w.out.cap < FRAMES * (LEN + HEADER) * 2);
    while (got < FRAMES) {
        pump(&w, &frame);
        assert_frame(&frame, got++, LEN);
    }
    assert_int_equal(lp__frames_flush(&w.out, w.writer), 0);
    assert_int_equal(lp__frames_left(&w.out), 0);
    wire_close(&w);
}

static void a_peer_that_is_gone_raises_no_signal(void **state)
{
    (void)state;
    wire_t w;
    struct sigaction action;
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    wire_open(&w);
    put(&w.out, 1, 1000000);
    assert_int_equal(lp__frames_flush(&w.out, w.writer), UV_EAGAIN);
    close(w.reader);
    w.reader = -1;
    assert_int_equal(lp__frames_flush(&w.out, w.writer), UV_EPIPE);
    assert_int_equal(lp__frames_flush(&w.out, w.writer), UV_EPIPE);
    assert_int_equal(lp__frames_flush_wait(&w.out, w.writer), UV_EPIPE);
    assert_true(lp__frames_left(&w.out) > 0);
    wire_close(&w);
}

static void a_payload_that_is_too_long_is_refused(void **state)
{
    (void)state;
    lp__frames_t out = {0};
    const lp__piece_t pieces[] = {{"x", 1}, {"y", LP__MESSAGE_MAX}}; /* never looked at */
    assert_int_equal(lp__frames_put(&out, 1, 1, pieces, 2), LP_ETRANSFER);
    const lp__piece_t huge = {"x", SIZE_MAX};
    assert_int_equal(lp__frames_put(&out, 1, 1, &huge, 1), LP_ETRANSFER);
    assert_int_equal(lp__frames_left(&out), 0);
    assert_null(out.data);
    assert_int_equal(lp__frames_put(&out, 1, 1, NULL, 0), 0);
    assert_int_equal(lp__frames_left(&out), HEADER);
    lp__frames_free(&out);
}

/* ---- A thread that may wait --------------------------------------------------- */

enum { ECHOED = 200 };

static size_t echo_len(uint64_t id)
{
    return (size_t)(id * 4001 % 100000);
}

/* What a child does: reads and writes back, on a blocking socket. */
static void echo(void *arg)
{
    int fd = *(int *)arg;
    lp__frames_t in = {0}, out = {0};
    lp__frame_t frame;
    int rc;
    while ((rc = lp__frames_read(&in, fd)) == 0)
        while (rc == 0 && lp__frames_next(&in, &frame) == 0) {
            const lp__piece_t piece = {frame.payload, frame.len};
            rc = lp__frames_put(&out, frame.kind, frame.id, &piece, 1);
            if (rc == 0)
                rc = lp__frames_flush_wait(&out, fd);
        }
    lp__frames_free(&in);
    lp__frames_free(&out);
    shutdown(fd, SHUT_RDWR);
}

static void both_ways_at_once_with_a_thread_that_waits(void **state)
{
    (void)state;
    wire_t w;
    lp__frame_t frame;
    uv_thread_t thread;
    wire_open(&w);
    assert_int_equal(uv_thread_create(&thread, echo, &w.writer), 0);
    for (uint64_t id = 0; id < ECHOED; id++)
        put(&w.out, id, echo_len(id));
    uint64_t got = 0;
    while (got < ECHOED) {
        int sent = lp__frames_flush(&w.out, w.reader);
        assert_true(sent == 0 || sent == UV_EAGAIN);
        int rc = lp__frames_read(&w.in, w.reader);
        assert_true(rc == 0 || rc == UV_EAGAIN);
        while (lp__frames_next(&w.in, &frame) == 0) {
            assert_frame(&frame, got, echo_len(got));
            got++;
        }
    }
    shutdown(w.reader, SHUT_WR);
    assert_int_equal(uv_thread_join(&thread), 0);
    wire_close(&w);
}

/* ---- Memory ------------------------------------------------------------------- */

static void a_failed_allocation_loses_nothing(void **state)
{
    (void)state;
    enum { LEN = 300000 };
    wire_t w;
    lp__frame_t frame;
    uint8_t *bytes = payload_of(1, LEN);
    const lp__piece_t piece = {bytes, LEN};
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        wire_open(&w);
        failed = false;
        lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, nth);
        int rc;
        while ((rc = lp__frames_put(&w.out, 6, 1, &piece, 1)) == LP_ENOMEM) {
            assert_int_equal(lp__frames_left(&w.out), 0);
            failed = true;
        }
        assert_int_equal(rc, 0);
        while ((rc = lp__frames_next(&w.in, &frame)) == UV_EAGAIN) {
            (void)lp__frames_flush(&w.out, w.writer);
            rc = lp__frames_read(&w.in, w.reader);
            failed = failed || rc == LP_ENOMEM;
            assert_true(rc == 0 || rc == LP_ENOMEM);
        }
        lp__alloc_fault_arm(LP_MEM_WIRE, LP_ROLE_LOOP, 0);
        assert_int_equal(rc, 0);
        assert_frame(&frame, 1, LEN);
        wire_close(&w);
        assert_true(failed || nth > 3);
    }
    free(bytes);
}

static void no_block_is_left_behind(void **state)
{
    (void)state;
    wire_t w;
    lp__frame_t frame;
    wire_open(&w);
    count_blocks();
    put(&w.out, 1, 1000000);
    pump(&w, &frame);
    put(&w.out, 2, 10);
    pump(&w, &frame);
    wire_close(&w);
    assert_int_equal(lp__load_relaxed(&live_blocks), 0);
}

/* ---- Wherever it is cut ------------------------------------------------------- */

static uint32_t random_state;

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)random_state * limit) >> 32);
}

static size_t random_len(void)
{
    static const uint32_t limits[] = {1, 50, 50, 50, 1000, 70000, 200000};
    return random_below(limits[random_below(COUNT_OF(limits))]);
}

static void frames_arrive_whole_wherever_the_stream_is_cut(void **state)
{
    (void)state;
    enum { ROUNDS = 40, FRAMES = 60 };
    for (uint32_t round = 0; round < ROUNDS; round++) {
        wire_t w;
        lp__frame_t frame;
        size_t lens[FRAMES];
        random_state = round;
        wire_open(&w);
        for (uint64_t id = 0; id < FRAMES; id++) {
            lens[id] = random_len();
            put(&w.out, id, lens[id]);
        }
        uint64_t got = 0;
        while (lp__frames_left(&w.out) > 0) {
            size_t left = lp__frames_left(&w.out), len = 1 + random_len() / 2;
            len = len < left ? len : left;
            feed(&w, w.out.data + w.out.pos, len);
            w.out.pos += len;
            int rc;
            while ((rc = lp__frames_read(&w.in, w.reader)) == 0) {
                while (lp__frames_next(&w.in, &frame) == 0) {
                    assert_true(got < FRAMES);
                    assert_frame(&frame, got, lens[got]);
                    got++;
                }
            }
            assert_int_equal(rc, UV_EAGAIN);
        }
        assert_int_equal(got, FRAMES);
        wire_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_that_comes_byte_by_byte_is_handed_out_once),
        cmocka_unit_test(many_frames_come_with_one_read),
        cmocka_unit_test(a_frame_that_waits_is_handed_out_before_more_is_read),
        cmocka_unit_test(a_frame_larger_than_any_buffer_is_put_together),
        cmocka_unit_test(a_length_beyond_the_limit_is_an_error),
        cmocka_unit_test(what_is_announced_is_not_allocated_before_it_comes),
        cmocka_unit_test(garbage_is_refused_or_waits_for_more),
        cmocka_unit_test(the_end_is_told_and_what_was_half_there),
        cmocka_unit_test(a_peer_that_went_without_reading_is_an_end_like_any_other),
        cmocka_unit_test(a_descriptor_that_cannot_be_read_is_an_error),
        cmocka_unit_test(a_full_socket_leaves_the_rest_for_later),
        cmocka_unit_test(a_peer_that_is_gone_raises_no_signal),
        cmocka_unit_test(a_payload_that_is_too_long_is_refused),
        cmocka_unit_test(both_ways_at_once_with_a_thread_that_waits),
        cmocka_unit_test(a_failed_allocation_loses_nothing),
        cmocka_unit_test(frames_arrive_whole_wherever_the_stream_is_cut),
        cmocka_unit_test(no_block_is_left_behind), /* the last: it counts from here on */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
