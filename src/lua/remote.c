/* remote.c - see remote.h. */
#include "lua/remote.h"

#include <string.h>

#include "base/alloc.h"
#include "base/interrupt.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/manager.h"
#include "lua/context.h"
#include "lua/forward.h"
#include "lua/job.h"
#include "lua/setup.h"
#include "wire/child.h"
#include "wire/reader.h"

/* Codes that a child has, in number and bytes. Beyond that it forgets all at once: whoever goes
 * through so many has little use for them. */
#define MAX_CODES 1024u
#define MAX_BYTES ((size_t)16 << 20)

typedef struct {
    lp__channel_t *channel;
    uint64_t *known; /* numbers of codes; open addressing, 0 is a free place */
    uint32_t count, cap;
    size_t bytes;
} remote_t;

/* ---- Which codes it has ------------------------------------------------------- */

static uint64_t *place_of(remote_t *remote, uint64_t id)
{
    uint32_t at = (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    while (remote->known[at & (remote->cap - 1)] != 0 &&
           remote->known[at & (remote->cap - 1)] != id)
        at++;
    return &remote->known[at & (remote->cap - 1)];
}

static bool knows(remote_t *remote, uint64_t id)
{
    return remote->cap > 0 && *place_of(remote, id) == id;
}

static int remember(remote_t *remote, uint64_t id)
{
    if (remote->count >= remote->cap / 2) {
        uint32_t cap = remote->cap ? remote->cap * 2 : 32, old_cap = remote->cap;
        uint64_t *known = lp__calloc(LP_MEM_BINDING, cap * sizeof *known), *old = remote->known;
        if (!known)
            return LP_ENOMEM;
        remote->known = known;
        remote->cap = cap;
        for (uint32_t i = 0; i < old_cap; i++)
            if (old[i] != 0)
                *place_of(remote, old[i]) = old[i];
        lp__free(old);
    }
    *place_of(remote, id) = id;
    remote->count++;
    return 0;
}

static int forget_all(remote_t *remote, lp__frames_t *out)
{
    int rc = lp__frames_put(out, LP__CHILD_FORGET, 0, NULL, 0);
    if (rc != 0)
        return rc;
    lp__free(remote->known);
    remote->known = NULL;
    remote->count = remote->cap = 0;
    remote->bytes = 0;
    return 0;
}

/* ---- Codes -------------------------------------------------------------------- */

static int put_code(remote_t *remote, const lp__code_t *code, lp__frames_t *out)
{
    bool reference = code->kind != LP__CODE_BYTECODE; /* or a native: a path and a name */
    size_t len = reference ? code->module_len : code->len;
    if (knows(remote, code->id))
        return 0;
    if (len > UINT32_MAX || code->key_len > UINT32_MAX)
        return LP_ETRANSFER;
    lp__remote_code_t head = {.kind = (uint32_t)code->kind,
                              .len = (uint32_t)len,
                              .key_len = reference && code->key ? (uint32_t)code->key_len : 0,
                              .has_key = reference && code->key,
                              .unnamed = code->unnamed,
                              .upvalues = code->upvalues,
                              .travelling = code->travelling};
    memcpy(head.globals, code->globals, sizeof head.globals);
    const lp__piece_t pieces[] = {{&head, sizeof head},
                                  {reference ? (const void *)code->module : code->bytes, len},
                                  {reference ? code->key : NULL, head.key_len}};
    int rc = lp__frames_put(out, LP__CHILD_CODE, code->id, pieces, 3);
    if (rc == 0)
        rc = remember(remote, code->id);
    remote->bytes += len;
    return rc;
}

static uint32_t attached_count(const lp__message_t *message)
{
    return message->attached ? message->attached->count : 0;
}

/* Everything that the message and its code need is there, all at once: a child that has to
 * forget does so before. */
static int put_codes(remote_t *remote, const lp__code_t *code, const lp__message_t *message,
                     lp__frames_t *out)
{
    uint32_t count = attached_count(message);
    int rc = 0;
    if (remote->count + count >= MAX_CODES || remote->bytes >= MAX_BYTES)
        rc = forget_all(remote, out);
    if (rc == 0 && code)
        rc = put_code(remote, code, out);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        const lp__code_t *attached = lp__code_attached(message, i);
        rc = attached ? put_code(remote, attached, out) : LP_ETRANSFER;
    }
    return rc;
}

/* Their numbers, in `few` or in a block of their own; NULL: no memory. */
static uint64_t *number_codes(const lp__message_t *message, uint64_t few[16])
{
    uint32_t count = attached_count(message);
    uint64_t *ids = count <= 16 ? few : lp__malloc(LP_MEM_BINDING, count * sizeof *ids);
    for (uint32_t i = 0; ids && i < count; i++)
        ids[i] = lp__code_attached(message, i)->id;
    return ids;
}

/* ---- Out ---------------------------------------------------------------------- */

static size_t length_of(const char *text)
{
    return text ? strlen(text) : 0;
}

static int put_setup(remote_t *remote, const lp__context_t *ctx, const lp_manager_t *manager,
                     const char *name, lp__frames_t *out)
{
    const lp__setup_t *setup = manager->runner_data;
    uint64_t few[16];
    int rc = put_codes(remote, setup->code, &setup->initargs, out);
    uint64_t *ids = rc == 0 ? number_codes(&setup->initargs, few) : NULL;
    if (!ids)
        return rc != 0 ? rc : LP_ENOMEM;
    const lp__remote_setup_t head = {.memory_limit = (uint64_t)manager->options.memory_limit,
                                     .interrupt_grace_ns = manager->options.interrupt_grace_ns,
                                     .code = setup->code ? setup->code->id : 0,
                                     .name_len = (uint32_t)strlen(name),
                                     .path_len = (uint32_t)length_of(ctx->path),
                                     .cpath_len = (uint32_t)length_of(ctx->cpath),
                                     .attached = attached_count(&setup->initargs),
                                     .signal = lp__interrupt_signal(),
                                     .forwarded = (uint8_t)setup->forwarded,
                                     .has_initializer = setup->has_initializer,
                                     .has_path = ctx->path != NULL,
                                     .has_cpath = ctx->cpath != NULL};
    const lp__piece_t pieces[] = {{&head, sizeof head},
                                  {name, head.name_len},
                                  {ctx->path, head.path_len},
                                  {ctx->cpath, head.cpath_len},
                                  {ids, head.attached * sizeof *ids},
                                  {setup->initargs.data, setup->initargs.len}};
    rc = lp__frames_put(out, LP__CHILD_SETUP, LP__CHILD_PROTOCOL, pieces, 6);
    if (ids != few)
        lp__free(ids);
    return rc;
}

int lp__remote_setup(void *data, lp__worker_t *worker, const char *name, lp__frames_t *out,
                     void **state)
{
    lp__context_t *ctx = data;
    const lp_manager_t *manager = worker->executor->manager;
    if (!manager->runner_data)
        return LP_ENOTSUP; /* a C host's manager: it has no Lua jobs */
    remote_t *remote = lp__calloc(LP_MEM_BINDING, sizeof *remote);
    if (!remote)
        return LP_ENOMEM;
    *state = remote;
    remote->channel = lp__channel_new(ctx, worker, name, manager->runner_data);
    return remote->channel ? put_setup(remote, ctx, manager, name, out) : LP_ENOMEM;
}

int lp__remote_pack(void *state, lp_job_t *base, uint64_t id, lp__frames_t *out)
{
    remote_t *remote = state;
    const lp__lua_job_t *job = LP__CONTAINER(base, lp__lua_job_t, job);
    const lp__message_t *message = &job->message;
    const lp_lease_t *lease = lp__job_lease(base);
    const lp__clock_t *clock = &lease->manager->rt->clock;
    const lp__traits_t *traits = base->data;
    const char *owner = traits->owner ? traits->owner : lease->owner;
    uint64_t few[16];
    int rc = put_codes(remote, job->code, message, out);
    uint64_t *ids = rc == 0 ? number_codes(message, few) : NULL;
    if (!ids)
        return rc != 0 ? rc : LP_ENOMEM;
    const lp__remote_job_t head = {
        .lease_id = lease->id,
        .hard_ns = lp__load_relaxed(&lease->hard_ns),
        .timeout_at_ns = lp__job_timeout_at_ns(base),
        .manual_ns = lp__load_relaxed(&clock->manual) ? lp__clock_now_ns(clock) : 0,
        .code = job->code ? job->code->id : 0,
        .owner_len = (uint32_t)length_of(owner),
        .has_owner = owner != NULL,
        .attached = attached_count(message)};
    const lp__piece_t pieces[] = {{&head, sizeof head},
                                  {owner, head.owner_len},
                                  {ids, head.attached * sizeof *ids},
                                  {message->data, message->len}};
    rc = lp__frames_put(out, LP__CHILD_JOB, id, pieces, 4);
    if (ids != few)
        lp__free(ids);
    return rc;
}

/* ---- Back --------------------------------------------------------------------- */

int lp__remote_unpack(lp_job_t *base, const uint8_t *bytes, size_t len)
{
    lp__lua_job_t *job = LP__CONTAINER(base, lp__lua_job_t, job);
    if (len > 0 && lp__wire_check(bytes, len, 0) != 0)
        return LP_ETRANSFER;
    lp__message_reset(&job->message);
    int rc = lp__message_reserve(&job->message, len);
    if (rc != 0)
        return rc;
    if (len > 0)
        memcpy(job->message.data, bytes, len);
    job->message.len = (uint32_t)len;
    return 0;
}

int lp__remote_line(void *state, const uint8_t *bytes, size_t len)
{
    return lp__channel_receive(((remote_t *)state)->channel, bytes, len);
}

void lp__remote_wrote(void *state, const char *text, size_t len)
{
    lp__channel_wrote(((remote_t *)state)->channel, text, len);
}

void lp__remote_forget(void *state)
{
    remote_t *remote = state;
    lp__channel_close(remote->channel);
    lp__free(remote->known);
    lp__free(remote);
}
