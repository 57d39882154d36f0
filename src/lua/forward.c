/* forward.c - see forward.h. */
#include "lua/forward.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/atomics.h"
#include "core/job.h"
#include "core/lease.h"
#include "core/runtime.h"
#include "lua/state.h"
#include "wire/reader.h"

struct lp__channel_s {
    atomic_uint refs; /* the state's, and each line's */
    lp__context_t *ctx;
    lp__inbox_t *inbox;
    lp__log_t *log;        /* loop thread */
    lp__level_t forwarded; /* the least level */
    atomic_uint lines;     /* not delivered yet */
    _Atomic size_t bytes;  /* of them */
    atomic_uint dropped;   /* not told yet */
    /* -- the worker's own -- */
    const lp__worker_t *worker;
    bool warnings; /* "@on" */
    bool warning;  /* more pieces follow */
    bool warnings_at_first;
    lp__message_t joined, fields;
    bool (*send)(void *data, const lp__piece_t *pieces, size_t count); /* NULL: to the inbox */
    void *send_data;
    char name[LP__WORKER_NAME_SIZE];
};

typedef struct {
    lp__call_t call;
    lp__channel_t *channel;
    lp__line_t line;
    lp__message_t fields;
    size_t bytes;
    unsigned dropped; /* before this one */
    bool notice;      /* of those that were dropped, and nothing else */
    bool written;     /* to standard error: it is the logger's */
    char text[];
} forwarded_t;

static void release(lp__channel_t *channel)
{
    if (lp__sub_acq_rel(&channel->refs, 1) == 1)
        lp__free(channel);
}

static void free_forwarded(forwarded_t *forwarded)
{
    lp__message_free(&forwarded->fields);
    lp__free(forwarded);
}

/* ---- Loop thread -------------------------------------------------------------- */

static void tell_dropped(lp__channel_t *channel, unsigned count)
{
    char text[64];
    if (count == 0)
        return;
    int length =
        snprintf(text, sizeof text, "%u line%s dropped", count, count == 1 ? " was" : "s were");
    lp__line_t line = {.level = LP__WARN, .text = text, .length = (size_t)length};
    line.worker = channel->name;
    lp__log_emit(channel->ctx, channel->log, true, &line);
}

static void deliver(lp__call_t *call)
{
    forwarded_t *forwarded = LP__CONTAINER(call, forwarded_t, call);
    lp__channel_t *channel = forwarded->channel;
    tell_dropped(channel, forwarded->dropped);
    if (!forwarded->notice)
        lp__log_emit(channel->ctx, channel->log, !forwarded->written, &forwarded->line);
    lp__sub_acq_rel(&channel->bytes, forwarded->bytes);
    if (lp__sub_acq_rel(&channel->lines, 1) == 1) /* nobody may write another one */
        tell_dropped(channel, lp__exchange_seq_cst(&channel->dropped, 0));
    free_forwarded(forwarded);
    release(channel);
}

/* ---- Fields, on the worker ---------------------------------------------------- */

enum { COPIED_DEPTH = 32 };

typedef struct {
    lp__codec_t *codec;
    lp__message_t *scratch;
    int seen; /* stack index: table -> its copy */
} copier_t;

static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

static void push_text(lua_State *L, int index)
{
    lua_pushcfunction(L, to_text);
    lua_pushvalue(L, index);
    if (lua_pcall(L, 1, 1, 0) == LUA_OK)
        return;
    lua_pop(L, 1); /* its __tostring raises too */
    lua_pushfstring(L, "%s: %p", luaL_typename(L, index), lua_topointer(L, index));
}

static void push_copy(lua_State *L, copier_t *copier, int index, int depth);

/* The table is at `index`; its copy at the top, empty. */
static void fill_copy(lua_State *L, copier_t *copier, int index, int depth)
{
    int copy = lua_gettop(L);
    lua_pushvalue(L, index);
    lua_pushvalue(L, copy);
    lua_rawset(L, copier->seen);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        push_copy(L, copier, copy + 1, depth + 1);
        push_copy(L, copier, copy + 2, depth + 1);
        lua_rawset(L, copy);
        lua_settop(L, copy + 1);
    }
}

/* Pushes what travels in place of the value at `index`. */
static void push_copy(lua_State *L, copier_t *copier, int index, int depth)
{
    int top = lua_gettop(L), type = lua_type(L, index);
    luaL_checkstack(L, 12, "log fields");
    if (type == LUA_TTABLE && !lua_getmetatable(L, index) && depth < COPIED_DEPTH) {
        lua_pushvalue(L, index);
        if (lua_rawget(L, copier->seen) == LUA_TNIL) {
            lua_settop(L, top);
            lua_newtable(L);
            fill_copy(L, copier, index, depth);
        }
        return;
    }
    lua_settop(L, top);
    int rc = lp__encode_values(copier->codec, L, index, 1, "fields", copier->scratch);
    lp__message_reset(copier->scratch);
    if (rc == 0)
        lua_pushvalue(L, index);
    else
        push_text(L, index);
}

/* Protected. Stack: the table, the copier. */
static int copy_fields(lua_State *L)
{
    copier_t *copier = lua_touserdata(L, 2);
    lua_newtable(L);
    copier->seen = 3;
    push_copy(L, copier, 1, 0);
    return 1;
}

/* Fills channel->fields with the table at `index`, or with as much of it as can travel. */
static void encode_fields(lp__channel_t *channel, lua_State *L, lp__codec_t *codec, int index)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, 8, "log fields");
    int rc = lp__encode_values(codec, L, index, 1, "fields", &channel->fields);
    if (rc != LP_ETRANSFER)
        return;
    copier_t copier = {.codec = codec, .scratch = &channel->fields};
    lua_pushcfunction(L, copy_fields);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, &copier);
    rc = lua_pcall(L, 2, 1, 0);
    if (rc == LUA_ERRMEM)
        lua_error(L);
    if (rc != LUA_OK) { /* a __tostring changed the table, say */
        lua_newtable(L);
        lua_insert(L, -2);
        push_text(L, lua_gettop(L));
        lua_setfield(L, -3, "fields");
        lua_settop(L, top + 1);
    }
    lp__encode_values(codec, L, top + 1, 1, "fields", &channel->fields);
    lua_settop(L, top);
}

/* ---- Lines, on the worker ----------------------------------------------------- */

static void drop(lp__channel_t *channel)
{
    lp__message_reset(&channel->fields);
    lp__add_relaxed(&channel->dropped, 1);
}

static bool has_room(lp__channel_t *channel, size_t bytes)
{
    size_t used = lp__load_relaxed(&channel->bytes);
    return lp__load_relaxed(&channel->lines) < LP__CHANNEL_LINES &&
           (used == 0 || used + bytes <= LP__CHANNEL_BYTES);
}

/* To the parent process. */
static void send_away(lp__channel_t *channel, forwarded_t *forwarded)
{
    const lp__line_t *line = &forwarded->line;
    const lp__channel_line_t head = {.lease_id = line->lease_id,
                                     .level = (uint32_t)line->level,
                                     .dropped = lp__exchange_seq_cst(&channel->dropped, 0),
                                     .owner_len = line->owner ? (uint32_t)strlen(line->owner) : 0,
                                     .text_len = (uint32_t)line->length,
                                     .has_owner = line->owner != NULL,
                                     .notice = forwarded->notice};
    const lp__piece_t pieces[] = {{&head, sizeof head},
                                  {line->owner, head.owner_len},
                                  {line->text, head.text_len},
                                  {forwarded->fields.data, forwarded->fields.len}};
    if (!channel->send(channel->send_data, pieces, 4))
        lp__add_relaxed(&channel->dropped, head.dropped + !forwarded->notice);
    free_forwarded(forwarded);
}

static void post(lp__channel_t *channel, forwarded_t *forwarded)
{
    if (channel->send) {
        send_away(channel, forwarded);
        return;
    }
    forwarded->call.node.kind = LP__NODE_CALL;
    forwarded->call.deliver = deliver;
    forwarded->channel = channel;
    forwarded->line.worker = channel->name;
    forwarded->dropped = lp__exchange_seq_cst(&channel->dropped, 0);
    lp__add_relaxed(&channel->refs, 1);
    lp__add_relaxed(&channel->bytes, forwarded->bytes);
    lp__add_relaxed(&channel->lines, 1);
    lp__inbox_post(channel->inbox, &forwarded->call.node);
}

static const lp_lease_t *lease_of(const lp__channel_t *channel)
{
    return channel->worker->lease;
}

/* Sends the line with what is in channel->fields. */
static void send_line(lp__channel_t *channel, lp__level_t level, const char *text, size_t length)
{
    const lp_lease_t *lease = lease_of(channel);
    const lp__state_t *state = channel->worker->state;
    const char *owner = state ? lp__state_owner(state) : NULL;
    size_t owner_size = owner ? strlen(owner) + 1 : 0;
    size_t bytes = sizeof(forwarded_t) + length + 1 + owner_size;
    if (!has_room(channel, bytes + channel->fields.len)) {
        drop(channel);
        return;
    }
    forwarded_t *forwarded = lp__malloc(LP_MEM_BINDING, bytes);
    if (!forwarded) {
        drop(channel);
        return;
    }
    memset(forwarded, 0, sizeof *forwarded);
    memcpy(forwarded->text, text, length);
    forwarded->text[length] = '\0';
    forwarded->line.level = level;
    forwarded->line.text = forwarded->text;
    forwarded->line.length = length;
    if (lease)
        forwarded->line.lease_id = lease->id;
    if (owner_size > 0)
        forwarded->line.owner = memcpy(forwarded->text + length + 1, owner, owner_size);
    forwarded->bytes = bytes + channel->fields.len;
    if (channel->fields.len > 0)
        forwarded->line.more = &forwarded->fields;
    lp__message_move(&forwarded->fields, &channel->fields);
    post(channel, forwarded);
}

bool lp__channel_wants(const lp__channel_t *channel, lp__level_t level)
{
    return level >= channel->forwarded;
}

void lp__channel_send(lp__channel_t *channel, lua_State *L, lp__codec_t *codec, lp__level_t level,
                      const char *text, size_t length, int fields)
{
    lp__message_reset(&channel->fields);
    if (!has_room(channel, length)) {
        drop(channel);
        return;
    }
    if (fields != 0)
        encode_fields(channel, L, codec, fields);
    send_line(channel, level, text, length);
}

/* Tells what was dropped with no line to come. */
static void send_notice(lp__channel_t *channel)
{
    if (lp__load_relaxed(&channel->dropped) == 0 || !has_room(channel, sizeof(forwarded_t)))
        return;
    forwarded_t *forwarded = lp__calloc(LP_MEM_BINDING, sizeof *forwarded);
    if (!forwarded)
        return;
    lp__message_init(&forwarded->fields);
    forwarded->notice = true;
    forwarded->bytes = sizeof *forwarded;
    post(channel, forwarded);
}

/* ---- Lines of a child process, in its parent ---------------------------------- */

void lp__channel_redirect(lp__channel_t *channel,
                          bool (*send_line_to)(void *data, const lp__piece_t *pieces, size_t count),
                          void *data)
{
    channel->send = send_line_to;
    channel->send_data = data;
}

/* With the fields in channel->fields, and room for the owner behind the text. */
static forwarded_t *new_line(lp__channel_t *channel, lp__level_t level, const void *text,
                             size_t length, const void *owner, size_t owner_len)
{
    size_t bytes = sizeof(forwarded_t) + length + 1 + owner_len + 1;
    if (!has_room(channel, bytes + channel->fields.len)) {
        drop(channel);
        return NULL;
    }
    forwarded_t *forwarded = lp__calloc(LP_MEM_BINDING, bytes);
    if (!forwarded) {
        drop(channel);
        return NULL;
    }
    memcpy(forwarded->text, text, length);
    if (owner)
        forwarded->line.owner = memcpy(forwarded->text + length + 1, owner, owner_len);
    forwarded->line.level = level;
    forwarded->line.text = forwarded->text;
    forwarded->line.length = length;
    forwarded->bytes = bytes + channel->fields.len;
    if (channel->fields.len > 0)
        forwarded->line.more = &forwarded->fields;
    lp__message_move(&forwarded->fields, &channel->fields);
    return forwarded;
}

static bool is_sound(const lp__channel_line_t *head, const uint8_t *bytes, size_t len)
{
    if (head->level > LP__ERROR || head->owner_len > len ||
        head->text_len > len - head->owner_len || head->dropped > 1u << 30)
        return false;
    if (head->owner_len > 0 && memchr(bytes, 0, head->owner_len))
        return false;
    size_t before = (size_t)head->owner_len + head->text_len;
    return len == before || lp__wire_check(bytes + before, len - before, 0) == 0;
}

int lp__channel_receive(lp__channel_t *channel, const uint8_t *bytes, size_t len)
{
    lp__channel_line_t head;
    if (len < sizeof head)
        return LP_ETRANSFER;
    memcpy(&head, bytes, sizeof head);
    bytes += sizeof head;
    len -= sizeof head;
    if (!is_sound(&head, bytes, len))
        return LP_ETRANSFER;
    lp__add_relaxed(&channel->dropped, head.dropped);
    if (head.notice) {
        send_notice(channel);
        return 0;
    }
    const uint8_t *text = bytes + head.owner_len, *fields = text + head.text_len;
    size_t fields_len = len - head.owner_len - head.text_len;
    lp__message_reset(&channel->fields);
    if (fields_len > 0 && lp__message_reserve(&channel->fields, fields_len) == 0) {
        memcpy(channel->fields.data, fields, fields_len);
        channel->fields.len = (uint32_t)fields_len;
    }
    forwarded_t *forwarded = new_line(channel, (lp__level_t)head.level, text, head.text_len,
                                      head.has_owner ? bytes : NULL, head.owner_len);
    if (!forwarded)
        return LP_ENOMEM;
    forwarded->line.lease_id = head.lease_id;
    post(channel, forwarded);
    return 0;
}

void lp__channel_wrote(lp__channel_t *channel, const char *text, size_t len)
{
    lp__message_reset(&channel->fields);
    forwarded_t *forwarded = new_line(channel, LP__WARN, text, len, NULL, 0);
    if (!forwarded)
        return;
    forwarded->written = true;
    post(channel, forwarded);
}

/* ---- Warnings ----------------------------------------------------------------- */

static void add_piece(lp__channel_t *channel, const char *piece)
{
    size_t length = strlen(piece);
    if (lp__message_reserve(&channel->joined, length) != 0)
        return; /* the rest is missing */
    memcpy(channel->joined.data + channel->joined.len, piece, length);
    channel->joined.len += (uint32_t)length;
}

/* Runs in the middle of anything, a collection too: does not touch the Lua state. */
static void on_warning(void *data, const char *piece, int more)
{
    lp__channel_t *channel = data;
    bool first = !channel->warning;
    channel->warning = more != 0;
    if (first && !more && piece[0] == '@') {
        if (strcmp(piece, "@on") == 0)
            channel->warnings = true;
        else if (strcmp(piece, "@off") == 0)
            channel->warnings = false;
        return;
    }
    if (!channel->warnings || !lp__channel_wants(channel, LP__WARN))
        return;
    add_piece(channel, piece);
    if (more)
        return;
    lp__message_reset(&channel->fields);
    send_line(channel, LP__WARN, (const char *)channel->joined.data, channel->joined.len);
    lp__message_reset(&channel->joined);
}

void lp__channel_take_warnings(lp__channel_t *channel, lua_State *L)
{
    channel->warnings = channel->warnings_at_first = true;
    lua_setwarnf(L, on_warning, channel);
}

void lp__channel_keep_warnings(lp__channel_t *channel)
{
    channel->warnings_at_first = channel->warnings;
}

/* ---- Life --------------------------------------------------------------------- */

lp__channel_t *lp__channel_new(lp__context_t *ctx, lp__worker_t *worker, const char *name,
                               const lp__setup_t *setup)
{
    lp__channel_t *channel = lp__calloc(LP_MEM_BINDING, sizeof *channel);
    if (!channel)
        return NULL;
    lp__store_relaxed(&channel->refs, 1);
    channel->ctx = ctx;
    channel->inbox = worker->inbox;
    channel->log = setup ? setup->log : NULL;
    channel->forwarded = setup ? setup->forwarded : LP__SILENCE;
    channel->worker = worker;
    lp__message_init(&channel->joined);
    lp__message_init(&channel->fields);
    strncpy(channel->name, name, sizeof channel->name - 1);
    return channel;
}

void lp__channel_begin_job(lp__channel_t *channel)
{
    channel->warnings = channel->warnings_at_first;
    channel->warning = false;
    lp__message_reset(&channel->joined);
}

void lp__channel_end_job(lp__channel_t *channel)
{
    send_notice(channel);
}

void lp__channel_close(lp__channel_t *channel)
{
    if (!channel)
        return;
    send_notice(channel);
    lp__message_free(&channel->joined);
    lp__message_free(&channel->fields);
    release(channel);
}
