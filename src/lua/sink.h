/* sink.h - where the log lines of a manager go: a function, an object of LuaLogging's shape,
 * or standard error, which has warnings and errors only.
 *
 * A lp__log_t holds two sinks, `logger` and `log_target`, which may be the same one. It is
 * counted by references: its manager's, and those of whoever may have something to say after the
 * manager has gone. Loop thread. Scripts' sinks are called from a turn, on an idle calls_L; one
 * that raises is replaced by standard error for good. */
#ifndef LP_LUA_SINK_H
#define LP_LUA_SINK_H

#include "lua/context.h"
#include "lua/traits.h"

typedef enum {
    LP__DEBUG,
    LP__INFO,
    LP__WARN,
    LP__ERROR,
    LP__SILENCE /* above all levels: as a threshold */
} lp__level_t;

/* "WARN". Any thread. */
const char *lp__level_name(lp__level_t level);

/* The level of that name, in any letter case; false: there is none. Any thread. */
bool lp__level_parse(const char *name, size_t length, lp__level_t *level);
#define LP__LEVELS "\"DEBUG\", \"INFO\", \"WARN\" or \"ERROR\""

/* The user values of a manager's handle in which a script's sinks lie. */
enum { LP__LOG_VALUE = 2, LP__LOG_TARGET_VALUE = 3 };

/* The log of a manager with these options (the table at `options`), and its handle; with one
 * reference in *log as soon as there is something to release. Raises ConfigError. */
void lp__log_make(lua_State *L, lp__context_t *ctx, int options, int handle, lp__log_t **log);

/* The handle is being finalised, but its manager may go on: keeps the sinks for it. Cannot raise.
 * `log` may be NULL. */
void lp__log_keep(lua_State *L, lp__log_t *log, int handle);

void lp__log_retain(lp__log_t *log);  /* NULL is allowed */
void lp__log_release(lp__log_t *log); /* NULL is allowed. Cannot raise */

/* The manager's; NULL: it has none (a C host's), or is NULL. */
lp__log_t *lp__log_of(const lp_manager_t *manager);

/* One line. Whoever makes it owns it. */
typedef struct {
    lp__level_t level;
    const char *text;
    size_t length;
    /* the fields; */
    const char *worker, *owner; /* NULL: none */
    uint64_t lease_id;          /* 0: none */
    lp__message_t *more;        /* one table; NULL: none */
} lp__line_t;

/* Is the logger (or the target) a script's? Otherwise its lines go to standard error. */
bool lp__log_calls(lp__log_t *log, bool target);

/* Gives the line to the logger, or, when `target` is set, to the target. `log` may be NULL:
 * standard error. In a turn, with an idle calls_L, unless standard error is where it goes.
 * Cannot raise. */
void lp__log_emit(lp__context_t *ctx, lp__log_t *log, bool target, const lp__line_t *line);

/* The bare line on standard error, without Lua: "leasepool: WARN: text". */
void lp__log_write(lp__level_t level, const char *text, size_t length);

#endif
