/* frame.c - see frame.h. No state of its own.
 *
 * The bytes of a buffer are moved as rarely as can be: a reader moves what there is of the
 * last frame only when little room is left behind it, a writer only when as much was sent as
 * is to be moved. A buffer that became big for a big frame is given back when it is empty. */
#include "wire/frame.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "leasepool.h"
#include "wire/message.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* such a system has no child processes here, see base/process.c */
#endif

#define BLOCK ((size_t)64 * 1024)       /* one read(2) of small frames */
#define FIRST_OUT ((size_t)4 * 1024)    /* the first block of a writer */
#define KEEP_EMPTY ((size_t)256 * 1024) /* an empty buffer beyond this is given back */

typedef struct {
    uint32_t len, kind;
    uint64_t id;
} header_t;

_Static_assert(sizeof(header_t) == 16, "a header has no holes");

/* ---- The buffer --------------------------------------------------------------- */

void lp__frames_free(lp__frames_t *frames)
{
    lp__free(frames->data);
    *frames = (lp__frames_t){0};
}

static int resize(lp__frames_t *frames, size_t cap)
{
    uint8_t *data = lp__realloc(LP_MEM_WIRE, frames->data, cap);
    if (!data)
        return LP_ENOMEM;
    frames->data = data;
    frames->cap = cap;
    return 0;
}

static void move_down(lp__frames_t *frames)
{
    size_t left = lp__frames_left(frames);
    if (frames->pos == 0)
        return;
    memmove(frames->data, frames->data + frames->pos, left);
    frames->pos = 0;
    frames->end = left;
}

static void when_empty(lp__frames_t *frames)
{
    if (frames->pos != frames->end)
        return;
    frames->pos = frames->end = 0;
    if (frames->cap > KEEP_EMPTY)
        lp__frames_free(frames);
}

/* ---- Reading ------------------------------------------------------------------ */

/* How long the first frame will be, as far as one knows. 0 or LP_ETRANSFER. */
static int first_size(const lp__frames_t *in, header_t *header, size_t *size)
{
    *size = sizeof *header;
    if (lp__frames_left(in) < sizeof *header)
        return 0;
    memcpy(header, in->data + in->pos, sizeof *header);
    if (header->len > LP__MESSAGE_MAX)
        return LP_ETRANSFER;
    *size += header->len;
    return 0;
}

/* Room behind what is there. A frame of `size` that fills the buffer lets it double. */
static int make_room(lp__frames_t *in, size_t size)
{
    when_empty(in);
    if (in->cap - in->end < in->cap / 2)
        move_down(in);
    if (in->end < in->cap)
        return 0;
    size_t cap = in->cap ? in->cap * 2 : BLOCK;
    return resize(in, in->cap && size < cap ? size : cap);
}

int lp__frames_read(lp__frames_t *in, int fd)
{
    header_t header;
    size_t size;
    ssize_t got;
    int rc = first_size(in, &header, &size);
    if (rc != 0 || lp__frames_left(in) >= size) /* hand it out first: the buffer is bounded */
        return rc;
    rc = make_room(in, size);
    if (rc != 0)
        return rc;
    do
        got = read(fd, in->data + in->end, in->cap - in->end);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        in->end += (size_t)got;
        return 0;
    }
    if (got == 0 || errno == ECONNRESET) /* it ended without reading what it was sent */
        return UV_EOF;
    return uv_translate_sys_error(errno);
}

int lp__frames_next(lp__frames_t *in, lp__frame_t *frame)
{
    header_t header;
    size_t size;
    int rc = first_size(in, &header, &size);
    if (rc != 0)
        return rc;
    if (lp__frames_left(in) < size) {
        when_empty(in);
        return UV_EAGAIN;
    }
    frame->len = header.len;
    frame->kind = header.kind;
    frame->id = header.id;
    frame->payload = in->data + in->pos + sizeof header;
    in->pos += size;
    return 0;
}

int lp__frames_peek(const lp__frames_t *in, uint32_t *kind)
{
    if (lp__frames_left(in) < sizeof(header_t))
        return UV_EAGAIN;
    memcpy(kind, in->data + in->pos + offsetof(header_t, kind), sizeof *kind);
    return 0;
}

/* ---- Writing ------------------------------------------------------------------ */

static int reserve(lp__frames_t *out, size_t more)
{
    if (more <= out->cap - out->end)
        return 0;
    if (out->pos >= lp__frames_left(out))
        move_down(out);
    if (more <= out->cap - out->end)
        return 0;
    if (more > SIZE_MAX / 2 - out->end)
        return LP_ENOMEM;
    size_t cap = out->cap ? out->cap * 2 : FIRST_OUT;
    return resize(out, cap < out->end + more ? out->end + more : cap);
}

static void append(lp__frames_t *out, const void *data, size_t len)
{
    if (len == 0) /* of nowhere, perhaps */
        return;
    memcpy(out->data + out->end, data, len);
    out->end += len;
}

int lp__frames_put(lp__frames_t *out, uint32_t kind, uint64_t id, const lp__piece_t *pieces,
                   size_t count)
{
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len > LP__MESSAGE_MAX - len)
            return LP_ETRANSFER;
        len += pieces[i].len;
    }
    const header_t header = {.len = (uint32_t)len, .kind = kind, .id = id};
    int rc = reserve(out, sizeof header + len);
    if (rc != 0)
        return rc;
    append(out, &header, sizeof header);
    for (size_t i = 0; i < count; i++)
        append(out, pieces[i].data, pieces[i].len);
    return 0;
}

static int flush(lp__frames_t *out, int fd, int flags)
{
    while (out->pos < out->end) {
        ssize_t sent = send(fd, out->data + out->pos, lp__frames_left(out), MSG_NOSIGNAL | flags);
        if (sent >= 0)
            out->pos += (size_t)sent;
        else if (errno == ECONNRESET)
            return UV_EPIPE;
        else if (errno != EINTR)
            return uv_translate_sys_error(errno);
    }
    when_empty(out);
    return 0;
}

int lp__frames_flush(lp__frames_t *out, int fd)
{
    return flush(out, fd, MSG_DONTWAIT);
}

int lp__frames_flush_wait(lp__frames_t *out, int fd)
{
    return flush(out, fd, 0);
}
