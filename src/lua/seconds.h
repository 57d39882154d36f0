/* seconds.h - durations as Lua gives them: finite seconds, never booleans or strings. */
#ifndef LP_LUA_SECONDS_H
#define LP_LUA_SECONDS_H

#include <lua.h>
#include <stdint.h>

/* The duration at `index` in nanoseconds, rounded up; raises ConfigError naming the call and
 * the parameter unless it is a number, finite and >= 0. */
uint64_t lp__seconds_check(lua_State *L, int index, const char *what, const char *name);

/* The same, and more than 0. */
uint64_t lp__seconds_positive(lua_State *L, int index, const char *what, const char *name);

/* As the first; nil or none gives `fallback`. */
uint64_t lp__seconds_opt(lua_State *L, int index, const char *what, const char *name,
                         uint64_t fallback);

/* A duration >= 0 in nanoseconds, rounded up, at most 285 years. */
uint64_t lp__seconds_to_ns(double seconds);

#endif
