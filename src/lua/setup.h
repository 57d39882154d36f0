/* setup.h - what a manager has for the Lua states of its workers: the initializer, and where
 * log lines go.
 *
 * Made with the manager on the loop's thread, owned by it (manager->runner_data), and freed after
 * its last worker has ended. Workers read what is below the line, which never changes. */
#ifndef LP_LUA_SETUP_H
#define LP_LUA_SETUP_H

#include "lua/code.h"
#include "lua/libs.h"
#include "lua/sink.h"
#include "lua/traits.h"
#include "wire/message.h"

typedef struct {
    lp__log_t *log;       /* loop thread */
    lp__traits_t *traits; /* of its jobs; loop thread */
    /* ---- */
    bool has_initializer;
    lp__code_t *code;       /* of the initializer; NULL: it is the message's first value */
    lp__message_t initargs; /* its arguments */
    lp__level_t forwarded;  /* the least level that workers forward */
    unsigned libs;          /* the libraries that a state opens: bits, see libs.h */
} lp__setup_t;

/* Gives `manager`, whose handle is at `handle`, what the table of options at `options` says. Raises
 * ConfigError and TransferError; then the manager has what can be freed with it. */
void lp__setup_make(lua_State *L, lp__context_t *ctx, int options, int handle,
                    lp_manager_t *manager);

/* What the jobs of a manager have in common. */
lp__traits_t *lp__setup_traits(const lp_manager_t *manager);

#endif
