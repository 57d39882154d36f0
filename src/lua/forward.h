/* forward.h - log lines on their way from a worker to the loop.
 *
 * A worker's Lua state has one channel. Lines are posted to the runtime's inbox, so they arrive
 * in the order in which they were written, and before the end of the job that wrote them. What
 * has not arrived yet is bounded; lines beyond that are counted instead, and the count is told as
 * a line of its own as soon as there is room.
 *
 * Worker thread; the loop delivers. The channel lives as long as its state and its lines; the
 * log it leads to is its manager's, which outlives both. */
#ifndef LP_LUA_FORWARD_H
#define LP_LUA_FORWARD_H

#include <lua.h>

#include "core/worker.h"
#include "lua/codec.h"
#include "lua/setup.h"
#include "wire/frame.h"

/* A line on its way from a child process; behind it owner, text and fields. */
typedef struct {
    uint64_t lease_id;
    uint32_t level, dropped;
    uint32_t owner_len, text_len;
    uint8_t has_owner, notice, unused[6];
} lp__channel_line_t;

/* Not delivered yet, for each worker; one line may be longer. */
#define LP__CHANNEL_LINES 1024
#define LP__CHANNEL_BYTES (1u << 20)

typedef struct lp__channel_s lp__channel_t;

/* `name` is the worker's. `setup` may be NULL: nothing is forwarded. NULL: out of memory. */
lp__channel_t *lp__channel_new(lp__context_t *ctx, lp__worker_t *worker, const char *name,
                               const lp__setup_t *setup);

/* In a child process: lines go to `send` instead, which says whether it had room for one. */
void lp__channel_redirect(lp__channel_t *channel,
                          bool (*send)(void *data, const lp__piece_t *pieces, size_t count),
                          void *data);

/* In its parent: a line that was sent so: 0, LP_ETRANSFER when it cannot have been, LP_ENOMEM. And
 * one that the child wrote to standard error, a warning to the logger. Loop thread. */
int lp__channel_receive(lp__channel_t *channel, const uint8_t *bytes, size_t len);
void lp__channel_wrote(lp__channel_t *channel, const char *text, size_t len);

/* The state is closed. NULL is allowed. */
void lp__channel_close(lp__channel_t *channel);

/* Would a line of this level go anywhere? */
bool lp__channel_wants(const lp__channel_t *channel, lp__level_t level);

/* Sends a line that is wanted. `fields` is the index of a table, 0: none; what cannot travel in
 * it is sent as its text. Raises nothing but Lua's memory error. */
void lp__channel_send(lp__channel_t *channel, lua_State *L, lp__codec_t *codec, lp__level_t level,
                      const char *text, size_t length, int fields);

/* A job begins, or ended: warnings are as the initializer left them, and what was dropped is told
 * if that is possible. */
void lp__channel_begin_job(lp__channel_t *channel);
void lp__channel_end_job(lp__channel_t *channel);

/* The state is ready: what it did with warnings holds for each job. */
void lp__channel_keep_warnings(lp__channel_t *channel);

/* Makes Lua's `warn` write to the channel, which must live until the state is closed. */
void lp__channel_take_warnings(lp__channel_t *channel, lua_State *L);

#endif
