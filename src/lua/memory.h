/* memory.h - the allocator of a worker's Lua state, which knows its limit. Worker thread. */
#ifndef LP_LUA_MEMORY_H
#define LP_LUA_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t used, limit;            /* bytes; limit SIZE_MAX: none */
    size_t live;                   /* of them after the last collection that the limit caused */
    unsigned refusals;             /* because of the limit, since lp__memory_begin */
    bool again;                    /* the last request that was to grow was refused */
    void (*exhausted)(void *data); /* the limit holds, also after a collection */
    void *data;
} lp__memory_t;

/* A lua_Alloc; `data` is the lp__memory_t. */
void *lp__memory_allocate(void *data, void *block, size_t old_size, size_t size);

/* A job begins. */
void lp__memory_begin(lp__memory_t *memory);

/* Does what is no longer live deserve a collection before the next job? It shall not fail for the
 * garbage of others: the buffers of lauxlib do not collect it where they are refused, as Lua
 * itself does. */
bool lp__memory_is_tight(const lp__memory_t *memory);

#endif
