/* anchor.c - values kept alive by number. See anchor.h. */
#include "lua/anchor.h"

#include <lauxlib.h>

#include "base/alloc.h"

int lp__anchor(lua_State *L, lp__context_t *ctx)
{
    int slot;
    if (ctx->free_count > 0) {
        slot = ctx->free_slots[ctx->free_count - 1];
    } else {
        slot = ctx->slot_count + 1;
        if (slot > ctx->free_cap) { /* every slot in use can be freed without allocating */
            int cap = ctx->free_cap ? 2 * ctx->free_cap : 16;
            int *slots = lp__realloc(LP_MEM_BINDING, ctx->free_slots, (size_t)cap * sizeof *slots);
            if (!slots)
                luaL_error(L, "not enough memory");
            ctx->free_slots = slots;
            ctx->free_cap = cap;
        }
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lua_insert(L, -2);
    lua_rawseti(L, -2, slot);
    lua_pop(L, 1);
    if (slot > ctx->slot_count)
        ctx->slot_count = slot;
    else
        ctx->free_count--;
    return slot;
}

void lp__anchor_push(lua_State *L, lp__context_t *ctx, int slot)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lua_rawgeti(L, -1, slot);
    lua_remove(L, -2);
}

void lp__anchor_free(lua_State *L, lp__context_t *ctx, int slot)
{
    if (slot == 0 || ctx->closed)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lua_pushboolean(L, 0); /* not nil: the slot stays in the array part */
    lua_rawseti(L, -2, slot);
    lua_pop(L, 1);
    ctx->free_slots[ctx->free_count++] = slot;
}
