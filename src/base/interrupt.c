/* interrupt.c - see interrupt.h.
 *
 * `listener` belongs to its thread and is read by the handler on it: it is written while the signal
 * is blocked. What is static is written under `once`, or
 * by the thread that sets the signal before any worker runs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/interrupt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/atomics.h"
#include "leasepool.h"

/* ThreadSanitizer holds back signals that are not synchronous, for ever in a thread that blocks. */
#if defined(__SANITIZE_THREAD__)
#define DEFAULT_SIGNAL SIGSYS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DEFAULT_SIGNAL SIGSYS
#endif
#endif
#ifndef DEFAULT_SIGNAL
#define DEFAULT_SIGNAL SIGURG
#endif

static int chosen = DEFAULT_SIGNAL;
static atomic_bool in_use; /* a thread listens, or did: the choice is made */
static atomic_bool installed;
static uv_once_t once = UV_ONCE_INIT;
static struct sigaction before; /* us */

/* In the thread's static block: a handler must not allocate, as other models of thread-local
 * variables may. */
static _Thread_local struct {
    void (*volatile look)(void *data);
    void *volatile data;
} listener __attribute__((tls_model("initial-exec")));

static void on_signal(int signum, siginfo_t *info, void *context)
{
    int saved = errno;
    void (*look)(void *) = listener.look;
    if (look)
        look(listener.data);
    else if (before.sa_flags & SA_SIGINFO)
        before.sa_sigaction(signum, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(signum);
    errno = saved;
}

/* Without SA_RESTART: calls that block shall end. */
static void install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(chosen, NULL, &before); /* first: the handler may run before sigaction returns */
    sigaction(chosen, &action, NULL);
    lp__store_seq_cst(&installed, true);
}

/* The code goes: nothing may lead here any more. */
__attribute__((destructor)) static void uninstall(void)
{
    struct sigaction now;
    if (!lp__load_seq_cst(&installed) || sigaction(chosen, NULL, &now) != 0)
        return;
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_signal)
        sigaction(chosen, &before, NULL);
}

int lp_set_interrupt_signal(int signum)
{
    struct sigaction now;
    if (signum == chosen)
        return 0;
    if (lp__load_seq_cst(&in_use))
        return LP_ESTATE;
    if (signum != 0 && (signum < 0 || signum == SIGKILL || signum == SIGSTOP ||
                        sigaction(signum, NULL, &now) != 0))
        return LP_EINVAL;
    chosen = signum;
    return 0;
}

int lp__interrupt_signal(void)
{
    return chosen;
}

static void mask(int how)
{
    sigset_t set;
    if (chosen == 0)
        return;
    sigemptyset(&set);
    sigaddset(&set, chosen);
    pthread_sigmask(how, &set, NULL);
}

/* While nobody looks the signal is blocked: it is not for the handler that was there before. */
void lp__interrupt_listen(void (*look)(void *data), void *data)
{
    lp__store_seq_cst(&in_use, true);
    mask(SIG_BLOCK);
    listener.look = look;
    listener.data = data;
    if (look)
        mask(SIG_UNBLOCK);
}

/* A signal that is pending is delivered before the call that lets it through returns. */
void lp__interrupt_settle(void)
{
    if (!listener.look) /* it stays blocked: it is not for the handler that was there before */
        return;
    mask(SIG_BLOCK);
    mask(SIG_UNBLOCK);
}

void lp__interrupt_send(lp__thread_t thread)
{
    if (chosen == 0)
        return;
    uv_once(&once, install);
    pthread_kill(thread, chosen);
}
