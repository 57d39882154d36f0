/* module.h - the C half of the Lua module. */
#ifndef LP_LUA_MODULE_H
#define LP_LUA_MODULE_H

#include <lua.h>

/* require "leasepool.core": the functions that lua/leasepool/init.lua builds on. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
int luaopen_leasepool_core(lua_State *L);

/* Pushes the table `leasepool.core.testing`: the seams for specs, no part of the API. */
void lp__testing_push(lua_State *L);

/* Adds what is done with lists to the table at the top. */
void lp__lists_register(lua_State *L);

/* Pushes the module leasepool.worker. */
void lp__worker_push(lua_State *L);

#endif
