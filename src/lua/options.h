/* options.h - tables of options, as scripts give them. Loop thread.
 *
 * The manager's come from the core's table of rows: names, types, ranges and defaults are
 * known there and nowhere else. Refusals raise ConfigError. */
#ifndef LP_LUA_OPTIONS_H
#define LP_LUA_OPTIONS_H

#include <lua.h>
#include <stdbool.h>

#include "leasepool.h"
#include "lua/traits.h"

/* Reads the table at `index`; returns the backend. Strings in `options` live as long as the
 * table. */
const lp_backend_t *lp__options_parse_manager(lua_State *L, int index,
                                              lp_manager_options_t *options);

/* The same for a grinder's; the manager and the callback are left to others. */
void lp__options_parse_grinder(lua_State *L, int index, lp_grinder_options_t *options);

typedef struct {
    lp_acquire_options_t core; /* the owner lives as long as the table */
    bool wait;
    bool has_soft_expiry; /* a function under that name */
} lp__acquire_options_t;

/* Reads the table at `index`; nil or none gives the defaults. */
void lp__options_parse_acquire(lua_State *L, int index, lp__acquire_options_t *options);

typedef struct {
    uint64_t timeout_ns;
    bool wait;
} lp__stop_options_t;

/* Reads the table at `index`; nil or none gives the defaults. */
void lp__options_parse_stop(lua_State *L, int index, lp__stop_options_t *options);

/* The same for a grinder's; `cancel_pending` is a timeout of 0. */
void lp__options_parse_grinder_stop(lua_State *L, int index, lp__stop_options_t *options);

/* What a view of a lease or of a grinder asks for. */
typedef struct {
    const char *what;     /* "lease:with" */
    bool has_owner;       /* is that an option? */
    lp__traits_t *traits; /* where it is put; texts live as long as the table */
} lp__with_options_t;

/* Reads the table at `index`, which must be one. */
void lp__options_parse_with(lua_State *L, int index, lp__with_options_t *options);

/* Raises ConfigError for the manager's or grinder's option `name`, whose value is at `index`. */
void lp__options_refuse(lua_State *L, const char *name, int index);

/* option_rows("manager" | "grinder"): what is known of each option, in order: a list of tables with
 * name, allowed, default, unit, doc. For the documentation. */
int lp__options_rows(lua_State *L);

/* backends(): the names of those that this build has, in a new list. */
int lp__options_backends(lua_State *L);

/* The key at `index` as the name of an option; "" where it cannot be one. */
const char *lp__options_name(lua_State *L, int index);

/* How the value at `index` is shown in a refusal; pushes the text. */
const char *lp__options_show(lua_State *L, int index);

#endif
