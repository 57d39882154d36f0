/* frame.h - messages over a byte stream, between a parent and a child process.
 *
 *     frame = uint32 length of the payload, uint32 kind, uint64 id, payload
 *
 * in the byte order of the machine: both ends run on it. What a kind means is the caller's.
 *
 * The reading half trusts nothing: a length beyond LP__MESSAGE_MAX is an error, and what one
 * below it announces is allocated as it arrives, never at once. The writing half never raises
 * SIGPIPE. Both work on blocking descriptors, too, for the threads of a child.
 *
 * Threads: an lp__frames_t serves one direction and has one owner at a time, no lock; the two
 * directions of a socket may belong to two threads. What ends it: lp__frames_free; the
 * descriptor is the caller's. */
#ifndef LP_WIRE_FRAME_H
#define LP_WIRE_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* What has been received and not handed out, or put in and not sent: data[pos .. end). All
 * zero is empty. */
typedef struct {
    uint8_t *data;
    size_t pos, end, cap;
} lp__frames_t;

typedef struct {
    uint32_t len, kind;
    uint64_t id;
    const uint8_t *payload; /* until the next call for these frames */
} lp__frame_t;

typedef struct {
    const void *data;
    size_t len;
} lp__piece_t;

/* Frees the buffer; what was in it is gone. */
void lp__frames_free(lp__frames_t *frames);

/* Bytes of half a frame when reading, unsent bytes when writing. */
static inline size_t lp__frames_left(const lp__frames_t *frames)
{
    return frames->end - frames->pos;
}

/* ---- Reading ------------------------------------------------------------------ */

/* Reads once what is there. 0: call lp__frames_next until it has no more, then read again.
 * Otherwise UV_EAGAIN: nothing now (a blocking descriptor waits instead); UV_EOF: the other
 * end is gone (lp__frames_left: in the middle of a frame); LP_ENOMEM: may be tried again;
 * LP_ETRANSFER as below; or a libuv error. */
int lp__frames_read(lp__frames_t *in, int fd);

/* The next whole frame. 0; UV_EAGAIN: not yet there; LP_ETRANSFER: it would be too long, and
 * nothing that follows can be understood. */
int lp__frames_next(lp__frames_t *in, lp__frame_t *frame);

/* The kind of the next frame, as soon as its beginning is there. 0 or UV_EAGAIN. */
int lp__frames_peek(const lp__frames_t *in, uint32_t *kind);

/* ---- Writing ------------------------------------------------------------------ */

/* Appends a frame whose payload is all the pieces, which are copied. 0; LP_ETRANSFER: longer
 * than LP__MESSAGE_MAX; LP_ENOMEM. On failure nothing was appended. */
int lp__frames_put(lp__frames_t *out, uint32_t kind, uint64_t id, const lp__piece_t *pieces,
                   size_t count);

/* Sends what a socket takes, without waiting. 0: everything is sent; UV_EAGAIN: go on when it
 * is writable; UV_EPIPE: the other end is gone; or another libuv error. */
int lp__frames_flush(lp__frames_t *out, int fd);

/* Sends everything, waiting if it must: for a thread that may. Signals do not end it. 0 or a
 * libuv error, UV_EPIPE as above. */
int lp__frames_flush_wait(lp__frames_t *out, int fd);

#endif
