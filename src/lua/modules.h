/* modules.h - which module holds a function or table: the reverse of package.loaded.
 *
 * Part of a codec, on the thread that runs its state. The index maps addresses to names,
 * so it keeps nothing alive and may be out of date: every hit is checked against
 * package.loaded before it is believed, and so is the first miss of each message, by a
 * fingerprint that tells whether a module came or went.
 *
 * `_G` is not a module in this sense: its Lua functions and tables are the script's own.
 * Its C functions (print, pairs) are found, and so is the table of globals itself. */
#ifndef LP_LUA_MODULES_H
#define LP_LUA_MODULES_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const void *object;
    uint32_t module, key; /* places in the table of names; key 0: the module itself */
} lp__module_entry_t;

typedef struct {
    lp__module_entry_t *entries; /* open addressing; object NULL is a free place */
    uint32_t mask, count;
    uint32_t names;       /* how many the table of names holds */
    int names_ref;        /* registry reference of that table */
    uint64_t fingerprint; /* of package.loaded when the index was made */
    uint32_t checked;     /* the generation of the last freshness check */
    uint32_t built;       /* the generation of the last build */
} lp__modules_t;

typedef struct {
    const char *module, *key; /* key is NULL: the module itself */
    size_t module_len, key_len;
} lp__module_name_t;

/* Creates the table of names. Raises memory errors. */
void lp__modules_init(lp__modules_t *modules, lua_State *L);
void lp__modules_free(lp__modules_t *modules);

/* Looks for the function or table at `index`. `generation` numbers the message at hand; it
 * is not 0. `thorough`: build the index anew when nothing is found (once for each message).
 * 1 (*name is filled, valid until the next call), 0, or LP_ENOMEM. */
int lp__modules_find(lp__modules_t *modules, lua_State *L, int index, uint32_t generation,
                     bool thorough, lp__module_name_t *name);

#endif
