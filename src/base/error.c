/* error.c - the words for the codes of LP_ERRNO_MAP. No state; any thread. */
#include "leasepool.h"

const char *lp_strerror(int err)
{
    switch (err) {
    case 0:
        return "success";
#define XX(name, number, text)                                                                     \
    case LP_##name:                                                                                \
        return text;
        LP_ERRNO_MAP(XX)
#undef XX
#define XX(name, text) case UV_##name:
        UV_ERRNO_MAP(XX)
#undef XX
        return uv_strerror(err);
    default: /* not libuv's: it would allocate a text that nobody frees */
        return "unknown error";
    }
}

const char *lp_err_name(int err)
{
    switch (err) {
    case 0:
        return "0";
#define XX(name, number, text)                                                                     \
    case LP_##name:                                                                                \
        return "LP_" #name;
        LP_ERRNO_MAP(XX)
#undef XX
#define XX(name, text) case UV_##name:
        UV_ERRNO_MAP(XX)
#undef XX
        return uv_err_name(err);
    default:
        return "UNKNOWN";
    }
}

const char *lp_version(void)
{
    return LP_VERSION_STRING;
}
