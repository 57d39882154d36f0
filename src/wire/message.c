/* message.c - see message.h. A message has one owner at a time and no lock; only the
 * reference counts of what is attached are shared between threads. */
#include "wire/message.h"

#include <string.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "leasepool.h"

#define FIRST_BLOCK 128u
#define FIRST_ATTACHED 4u

void lp__shared_init(lp__shared_t *self, void (*free_fn)(lp__shared_t *))
{
    atomic_init(&self->refs, 1);
    self->free = free_fn;
}

void lp__shared_retain(lp__shared_t *self)
{
    lp__add_relaxed(&self->refs, 1);
}

void lp__shared_release(lp__shared_t *self)
{
    if (self && lp__sub_acq_rel(&self->refs, 1) == 1)
        self->free(self);
}

void lp__message_init(lp__message_t *message)
{
    message->data = message->small;
    message->len = 0;
    message->cap = LP__MESSAGE_SMALL;
    message->attached = NULL;
}

static void drop_attached(lp__message_t *message)
{
    lp__attached_t *attached = message->attached;
    message->attached = NULL;
    for (uint32_t i = 0; i < attached->count; i++)
        lp__shared_release(attached->items[i]);
    lp__free(attached);
}

static void drop_buffer(lp__message_t *message)
{
    if (message->data != message->small)
        lp__free(message->data);
    message->data = message->small;
    message->cap = LP__MESSAGE_SMALL;
}

void lp__message_reset(lp__message_t *message)
{
    message->len = 0;
    if (message->attached)
        drop_attached(message);
}

void lp__message_fit(lp__message_t *message)
{
    if (message->data == message->small)
        return;
    if (message->len <= LP__MESSAGE_SMALL) {
        memcpy(message->small, message->data, message->len);
        drop_buffer(message);
    } else if (message->cap / 2 > message->len) {
        uint8_t *data = lp__realloc(LP_MEM_WIRE, message->data, message->len);
        if (data) {
            message->data = data;
            message->cap = message->len;
        }
    }
}

void lp__message_free(lp__message_t *message)
{
    message->len = 0;
    if (message->attached)
        drop_attached(message);
    drop_buffer(message);
}

void lp__message_move(lp__message_t *to, lp__message_t *from)
{
    *to = *from;
    if (from->data == from->small)
        to->data = to->small;
    lp__message_init(from);
}

int lp__message_reserve(lp__message_t *message, size_t more)
{
    if (more <= message->cap - message->len)
        return 0;
    if (more > LP__MESSAGE_MAX - message->len)
        return LP_ETRANSFER;

    /* Doubling keeps appending linear; a single large value gets what it needs. */
    uint32_t need = message->len + (uint32_t)more;
    uint32_t cap = message->cap > LP__MESSAGE_MAX / 2 ? LP__MESSAGE_MAX : message->cap * 2;
    if (cap < FIRST_BLOCK)
        cap = FIRST_BLOCK;
    if (cap < need)
        cap = need;

    uint8_t *data;
    if (message->data == message->small) {
        data = lp__malloc(LP_MEM_WIRE, cap);
        if (data)
            memcpy(data, message->small, message->len);
    } else {
        data = lp__realloc(LP_MEM_WIRE, message->data, cap);
    }
    if (!data)
        return LP_ENOMEM;
    message->data = data;
    message->cap = cap;
    return 0;
}

int lp__message_attach(lp__message_t *message, lp__shared_t *object, uint32_t *index)
{
    lp__attached_t *attached = message->attached;
    uint32_t count = attached ? attached->count : 0;
    for (uint32_t i = count; i-- > 0;) {
        if (attached->items[i] == object) {
            *index = i;
            return 0;
        }
    }
    if (!attached || count == attached->cap) {
        uint32_t cap = count ? count * 2 : FIRST_ATTACHED;
        attached = lp__realloc(LP_MEM_WIRE, attached,
                               sizeof *attached + (size_t)cap * sizeof attached->items[0]);
        if (!attached)
            return LP_ENOMEM;
        attached->count = count;
        attached->cap = cap;
        message->attached = attached;
    }
    lp__shared_retain(object);
    attached->items[count] = object;
    attached->count = count + 1;
    *index = count;
    return 0;
}
