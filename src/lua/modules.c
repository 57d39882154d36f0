/* modules.c - see modules.h. Runs while a message is encoded, so nothing here may run Lua
 * code or start a garbage collection step, which could run a finaliser: the table of names
 * is made beforehand, strings are taken from the modules themselves, and all access is raw. */
#include "lua/modules.h"

#include <lauxlib.h>
#include <string.h>

#include "base/alloc.h"
#include "leasepool.h"

#define FIRST_ENTRIES 512u

/* Modules that every state has. What they hold is looked for there first, or `print` could
 * be taken from some library that happens to hold it too, and be searched for in vain. */
static const char *const standard[] = {"string", "table", "math",      "io",     "os",
                                       "utf8",   "debug", "coroutine", "package"};
static const char *const basic[] = {
    "assert",       "collectgarbage", "dofile",   "error",  "getmetatable", "ipairs",
    "load",         "loadfile",       "next",     "pairs",  "pcall",        "print",
    "rawequal",     "rawget",         "rawlen",   "rawset", "require",      "select",
    "setmetatable", "tonumber",       "tostring", "type",   "warn",         "xpcall"};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static bool one_of(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

void lp__modules_init(lp__modules_t *modules, lua_State *L)
{
    lua_createtable(L, 0, 0);
    modules->names_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void lp__modules_free(lp__modules_t *modules)
{
    lp__free(modules->entries);
    modules->entries = NULL;
    modules->mask = modules->count = 0;
    modules->built = modules->checked = 0;
    modules->fingerprint = 0;
}

/* ---- The table ---- */

static uint32_t hash_pointer(const void *object)
{
    uint64_t h = (uint64_t)(uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32);
}

static lp__module_entry_t *probe(const lp__modules_t *modules, const void *object)
{
    uint32_t i = hash_pointer(object) & modules->mask;
    while (modules->entries[i].object && modules->entries[i].object != object)
        i = (i + 1) & modules->mask;
    return &modules->entries[i];
}

static int grow(lp__modules_t *modules)
{
    uint32_t old_cap = modules->entries ? modules->mask + 1 : 0;
    uint32_t cap = old_cap ? old_cap * 2 : FIRST_ENTRIES;
    lp__module_entry_t *old = modules->entries;
    lp__module_entry_t *entries = lp__calloc(LP_MEM_BINDING, (size_t)cap * sizeof *entries);
    if (!entries)
        return LP_ENOMEM;
    modules->entries = entries;
    modules->mask = cap - 1;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].object)
            *probe(modules, old[i].object) = old[i];
    lp__free(old);
    return 0;
}

/* ---- Building. Stack, from `base`: names, package.loaded ---- */

typedef struct {
    lp__modules_t *modules;
    lua_State *L;
    int names; /* stack index */
} build_t;

/* Keeps the string at `index` and returns its place. */
static uint32_t keep_name(build_t *build, int index)
{
    lua_pushvalue(build->L, index);
    lua_rawseti(build->L, build->names, (lua_Integer)++build->modules->names);
    return build->modules->names;
}

static const char *name_at(lua_State *L, int names, uint32_t place, size_t *len)
{
    lua_rawgeti(L, names, (lua_Integer)place);
    const char *name = lua_tolstring(L, -1, len); /* the table keeps it */
    lua_pop(L, 1);
    return name;
}

/* Which of two names of the same object is better? Standard ones first, then the module
 * itself, then the shortest module name, then the alphabet: never the order of a hash table. */
static bool better(build_t *build, lp__module_entry_t a, lp__module_entry_t b)
{
    const char *module[2], *key[2];
    int rank[2];
    const lp__module_entry_t *both[2] = {&a, &b};
    for (int i = 0; i < 2; i++) {
        module[i] = name_at(build->L, build->names, both[i]->module, NULL);
        key[i] = both[i]->key ? name_at(build->L, build->names, both[i]->key, NULL) : NULL;
        bool is_globals = strcmp(module[i], "_G") == 0;
        if (is_globals && key[i] && one_of(key[i], basic, COUNT(basic)))
            rank[i] = 0;
        else if (one_of(module[i], standard, COUNT(standard)))
            rank[i] = 1;
        else
            rank[i] = is_globals ? (key[i] ? 4 : 0) : key[i] ? 3 : 2;
    }
    if (rank[0] != rank[1])
        return rank[0] < rank[1];
    size_t len0 = strlen(module[0]), len1 = strlen(module[1]);
    if (len0 != len1)
        return len0 < len1;
    int order = strcmp(module[0], module[1]);
    if (order != 0 || !key[0] || !key[1])
        return order < 0;
    return strcmp(key[0], key[1]) < 0;
}

static int add(build_t *build, const void *object, uint32_t module, int key_index)
{
    lp__modules_t *modules = build->modules;
    if (!modules->entries || modules->count >= modules->mask / 2) {
        int rc = grow(modules);
        if (rc != 0)
            return rc;
    }
    lp__module_entry_t *entry = probe(modules, object);
    lp__module_entry_t fresh = {
        .object = object,
        .module = module,
        .key = key_index ? keep_name(build, key_index) : 0,
    };
    if (!entry->object)
        modules->count++;
    else if (!better(build, fresh, *entry))
        return 0;
    *entry = fresh;
    return 0;
}

/* The fields of the module at the top, whose name lies at `module`. */
static int add_fields(build_t *build, uint32_t module, bool is_globals)
{
    lua_State *L = build->L;
    int table = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, table)) {
        int type = lua_type(L, -1);
        bool wanted =
            is_globals ? lua_iscfunction(L, -1) != 0 : type == LUA_TFUNCTION || type == LUA_TTABLE;
        if (wanted && lua_type(L, -2) == LUA_TSTRING) {
            int rc = add(build, lua_topointer(L, -1), module, lua_absindex(L, -2));
            if (rc != 0)
                return rc;
        }
        lua_pop(L, 1);
    }
    return 0;
}

/* A sum, as the order of a walk changes when a table is rehashed. */
static uint64_t fingerprint(lua_State *L, int loaded)
{
    uint64_t sum = 1; /* never 0 in practice, which marks an index that is not there */
    lua_pushnil(L);
    while (lua_next(L, loaded)) {
        uint64_t name = (uint64_t)(uintptr_t)lua_topointer(L, -2);
        uint64_t value = (uint64_t)(uintptr_t)lua_topointer(L, -1);
        uint64_t h = (name ^ (value << 17 | value >> 47)) * UINT64_C(0x9e3779b97f4a7c15);
        sum += h ^ h >> 32;
        lua_pop(L, 1);
    }
    return sum;
}

static int build_index(lp__modules_t *modules, lua_State *L, int names, int loaded)
{
    build_t build = {modules, L, names};
    uint32_t old_names = modules->names;
    if (modules->entries)
        memset(modules->entries, 0, (size_t)(modules->mask + 1) * sizeof *modules->entries);
    modules->count = modules->names = 0;
    modules->fingerprint = 0; /* what no walk gives: an index left half-built is made again */

    lua_pushglobaltable(L);
    const void *globals = lua_topointer(L, -1);
    lua_pop(L, 1);
    lua_pushnil(L);
    while (lua_next(L, loaded)) {
        int type = lua_type(L, -1);
        if (lua_type(L, -2) == LUA_TSTRING && (type == LUA_TTABLE || type == LUA_TFUNCTION)) {
            bool is_globals = lua_topointer(L, -1) == globals;
            uint32_t module = keep_name(&build, lua_absindex(L, -2));
            /* The globals are `_G` and nothing else, whatever else the script calls them. */
            int rc = 0;
            if (!is_globals || strcmp(lua_tostring(L, -2), "_G") == 0) {
                rc = add(&build, lua_topointer(L, -1), module, 0);
                if (rc == 0 && type == LUA_TTABLE)
                    rc = add_fields(&build, module, is_globals);
            }
            if (rc != 0)
                return rc;
        }
        lua_pop(L, 1);
    }
    for (uint32_t i = modules->names + 1; i <= old_names; i++) {
        lua_pushnil(L);
        lua_rawseti(L, names, (lua_Integer)i);
    }
    modules->fingerprint = fingerprint(L, loaded);
    return 0;
}

/* ---- Looking up ---- */

/* Does package.loaded still say what the entry says? */
static bool holds(lua_State *L, int names, int loaded, const lp__module_entry_t *entry, int index)
{
    int top = lua_gettop(L);
    lua_rawgeti(L, names, (lua_Integer)entry->module);
    lua_rawget(L, loaded);
    if (entry->key) {
        if (lua_type(L, -1) != LUA_TTABLE) {
            lua_settop(L, top);
            return false;
        }
        lua_rawgeti(L, names, (lua_Integer)entry->key);
        lua_rawget(L, -2);
    }
    bool yes = lua_rawequal(L, -1, index) != 0;
    lua_settop(L, top);
    return yes;
}

static bool look_up(lp__modules_t *modules, lua_State *L, int names, int loaded, int index,
                    lp__module_name_t *name, bool *stale)
{
    const lp__module_entry_t *entry =
        modules->entries ? probe(modules, lua_topointer(L, index)) : NULL;
    if (!entry || !entry->object)
        return false;
    if (!holds(L, names, loaded, entry, index)) {
        *stale = true;
        return false;
    }
    name->module = name_at(L, names, entry->module, &name->module_len);
    name->key = NULL;
    name->key_len = 0;
    if (entry->key)
        name->key = name_at(L, names, entry->key, &name->key_len);
    return true;
}

static int find(lp__modules_t *modules, lua_State *L, int index, uint32_t generation, bool thorough,
                lp__module_name_t *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, modules->names_ref);
    int names = lua_gettop(L);
    if (lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE) != LUA_TTABLE)
        return 0;
    int loaded = names + 1;

    /* A hit was checked, so it is good however old the index is; only a miss must not be
     * believed before package.loaded was looked at. */
    bool stale = false;
    if (look_up(modules, L, names, loaded, index, name, &stale))
        return 1;
    bool fresh = modules->checked == generation;
    modules->checked = generation;
    bool changed = !fresh && modules->fingerprint != fingerprint(L, loaded);
    if (!changed && (!(thorough || stale) || modules->built == generation))
        return 0;
    int rc = build_index(modules, L, names, loaded);
    if (rc != 0) {
        modules->checked = 0;
        return rc;
    }
    modules->built = generation;
    return look_up(modules, L, names, loaded, index, name, &stale) ? 1 : 0;
}

int lp__modules_find(lp__modules_t *modules, lua_State *L, int index, uint32_t generation,
                     bool thorough, lp__module_name_t *name)
{
    if (!lua_checkstack(L, 12))
        return LP_ENOMEM;
    /* The common answer, from the second table of a message on. */
    if (modules->checked == generation && !thorough &&
        (!modules->entries || !probe(modules, lua_topointer(L, index))->object))
        return 0;
    index = lua_absindex(L, index);
    int top = lua_gettop(L);
    int rc = find(modules, L, index, generation, thorough, name);
    lua_settop(L, top);
    return rc;
}
