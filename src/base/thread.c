/* thread.c - see thread.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np */
#endif
#include "base/thread.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static unsigned starts_until_fault;

void lp__thread_fault_arm(unsigned nth)
{
    starts_until_fault = nth;
}

bool lp__thread_fault_due(void)
{
    return starts_until_fault && --starts_until_fault == 0;
}

int lp__thread_start(lp__thread_t *thread, void (*entry)(void *), void *arg)
{
    if (lp__thread_fault_due())
        return UV_EAGAIN;
    sigset_t all, saved;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved);
    int rc = uv_thread_create(thread, entry, arg);
    pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return rc;
}

/* The object that this function lies in stays loaded, if it is one that could go. */
static void keep_loaded(void)
{
#if defined(RTLD_NODELETE) && defined(RTLD_NOLOAD)
    Dl_info info;
    if (dladdr((void *)(uintptr_t)&keep_loaded, &info) != 0)
        (void)dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

void lp__thread_detach(lp__thread_t thread)
{
    keep_loaded();
    pthread_detach(thread);
}

void lp__thread_set_name(const char *prefix, unsigned executor, unsigned worker)
{
    enum { SYSTEM_LIMIT = 15 };
    char numbers[24], name[64];
    int room = SYSTEM_LIMIT - snprintf(numbers, sizeof numbers, "-%u-%u", executor, worker);
    snprintf(name, sizeof name, "%.*s%s", room > 0 ? room : 0, prefix, numbers);
    name[SYSTEM_LIMIT] = '\0'; /* numbers alone may be longer */
#if defined(__APPLE__)
    pthread_setname_np(name);
#elif defined(__linux__) || defined(__FreeBSD__)
    pthread_setname_np(pthread_self(), name);
#endif
}
