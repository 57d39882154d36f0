/* anchor.c - values kept alive by number. See anchor.h. */
#include "lua/anchor.h"

#include <lauxlib.h>

#include "base/alloc.h"

/* The next slot that was never used. */
static int new_slot(lua_State *L, lp__context_t *ctx)
{
    int slot = ctx->slot_count + 1;
    if (slot > ctx->free_cap) { /* every slot in use can be freed without allocating */
        int cap = ctx->free_cap ? 2 * ctx->free_cap : 16;
        int *slots = lp__realloc(LP_MEM_BINDING, ctx->free_slots, (size_t)cap * sizeof *slots);
        if (!slots)
            luaL_error(L, "not enough memory");
        ctx->free_slots = slots;
        ctx->free_cap = cap;
    }
    return slot;
}

int lp__anchor_in(lua_State *L, lp__context_t *ctx, int table)
{
    int slot = ctx->free_count > 0 ? ctx->free_slots[ctx->free_count - 1] : new_slot(L, ctx);
    lua_rawseti(L, table, slot); /* may raise: then the slot is as free as before */
    if (slot > ctx->slot_count)
        ctx->slot_count = slot;
    else
        ctx->free_count--;
    return slot;
}

void lp__anchor_reserve(lua_State *L, lp__context_t *ctx, int count)
{
    if (ctx->free_count >= count)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    while (ctx->free_count < count) {
        int slot = new_slot(L, ctx);
        lua_pushboolean(L, 0);
        lua_rawseti(L, -2, slot);
        ctx->slot_count = slot;
        ctx->free_slots[ctx->free_count++] = slot;
    }
    lua_pop(L, 1);
}

int lp__anchor(lua_State *L, lp__context_t *ctx)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lua_insert(L, -2);
    int slot = lp__anchor_in(L, ctx, -2);
    lua_pop(L, 1);
    return slot;
}

void lp__anchor_push(lua_State *L, lp__context_t *ctx, int slot)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lua_rawgeti(L, -1, slot);
    lua_remove(L, -2);
}

void lp__anchor_free_in(lua_State *L, lp__context_t *ctx, int table, int slot)
{
    lua_pushboolean(L, 0); /* not nil: the slot stays in the array part */
    lua_rawseti(L, table, slot);
    ctx->free_slots[ctx->free_count++] = slot;
}

void lp__anchor_free(lua_State *L, lp__context_t *ctx, int slot)
{
    if (slot == 0 || ctx->closed)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ctx->anchors);
    lp__anchor_free_in(L, ctx, lua_gettop(L), slot);
    lua_pop(L, 1);
}
