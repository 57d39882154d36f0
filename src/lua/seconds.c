/* seconds.c - see seconds.h. */
#include "lua/seconds.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>

#include "leasepool.h"
#include "lua/errors.h"
#include "lua/options.h"

uint64_t lp__seconds_to_ns(double seconds)
{
    double ns = seconds * 1e9;
    if (ns >= 9e18)
        return UINT64_C(9000000000000000000); /* 285 years */
    uint64_t whole = (uint64_t)ns;            /* rounded up, without libm */
    return (double)whole < ns ? whole + 1 : whole;
}

/* Raises unless the value is a finite number, >= 0, or > 0. */
static double check(lua_State *L, int index, const char *what, const char *name, bool positive)
{
    double seconds = lua_type(L, index) == LUA_TNUMBER ? lua_tonumber(L, index) : -1;
    if (!(isfinite(seconds) && seconds >= 0) || (positive && seconds == 0)) {
        const char *given = lp__options_show(L, index);
        if (isnan(seconds))
            given = "nan"; /* printf may give it a sign */
        lp__error_raise(L, LP_EINVAL, "%s: %s: got %s, allowed: a finite number of seconds %s 0",
                        what, name, given, positive ? ">" : ">=");
    }
    return seconds;
}

uint64_t lp__seconds_check(lua_State *L, int index, const char *what, const char *name)
{
    return lp__seconds_to_ns(check(L, index, what, name, false));
}

uint64_t lp__seconds_positive(lua_State *L, int index, const char *what, const char *name)
{
    return lp__seconds_to_ns(check(L, index, what, name, true));
}

uint64_t lp__seconds_opt(lua_State *L, int index, const char *what, const char *name,
                         uint64_t fallback)
{
    return lua_isnoneornil(L, index) ? fallback : lp__seconds_check(L, index, what, name);
}
