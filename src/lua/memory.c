/* memory.c - see memory.h. */
#include "lua/memory.h"

#include <stdint.h>

#include "base/alloc.h"

/* Lua asks a second time after a collection; others ask once, and may ask for ever. */
#define MAX_REFUSALS 100

static void refuse(lp__memory_t *memory)
{
    bool again = memory->again;
    memory->again = true;
    memory->refusals++;
    if ((again || memory->refusals >= MAX_REFUSALS) && memory->exhausted)
        memory->exhausted(memory->data);
}

/* `old_size` of a new block is what Lua will put there. */
void *lp__memory_allocate(void *data, void *block, size_t old_size, size_t size)
{
    lp__memory_t *memory = data;
    if (!block)
        old_size = 0;
    if (size == 0) {
        lp__free(block);
        memory->used -= old_size;
        return NULL;
    }
    if (size > old_size && memory->limit >= memory->used &&
        size - old_size > memory->limit - memory->used) {
        refuse(memory);
        return NULL;
    }
    void *moved = lp__realloc(LP_MEM_STATE, block, size);
    if (moved)
        memory->used += size - old_size;
    if (size > old_size)
        memory->again = false;
    return moved;
}

void lp__memory_begin(lp__memory_t *memory)
{
    memory->refusals = 0;
    memory->again = false;
}

bool lp__memory_is_tight(const lp__memory_t *memory)
{
    if (memory->limit == SIZE_MAX || memory->used <= memory->live)
        return false;
    return memory->used > memory->limit ||
           memory->used - memory->live > (memory->limit - memory->used) / 2;
}
