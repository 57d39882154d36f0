/* process.h - starts a child process and learns how it ends.
 *
 * Not uv_spawn: that one replaces the host's SIGCHLD handler, and two copies of libuv in one
 * program steal each other's children. Here no handler is installed and nobody else's child
 * is waited for.
 *
 * A child has two sockets to its parent on the descriptors LP__PROCESS_CHANNEL and
 * LP__PROCESS_CONTROL (it should make them close-on-exec first thing): what is said on the one
 * is heard while the other waits. It has nothing on standard input, the parent's standard
 * output, a pipe to the parent as standard error, and no other descriptor; every signal at its
 * default and none blocked. It stays in the parent's process group.
 *
 * Threads: an lp__process_t belongs to the thread that runs the loop. Nothing blocks, but for
 * the moment until the child has its program. What ends it: lp__process_close, which closes
 * the descriptors and neither kills nor waits. */
#ifndef LP_BASE_PROCESS_H
#define LP_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LP__PROCESS_CHANNEL 3
#define LP__PROCESS_CONTROL 4

/* A limit for the child, soft and hard, in the units of setrlimit (bytes, seconds, a number). */
typedef struct {
    int resource;   /* of lp__rlimit_find */
    uint64_t value; /* LP__RLIMIT_NONE: unlimited */
} lp__rlimit_t;

#define LP__RLIMIT_NONE UINT64_MAX

/* Everything is the caller's and is not needed after the start. */
typedef struct {
    const char *const *argv; /* program and arguments, then NULL; without a slash, by PATH */
    const char *const *env;  /* "NAME=value", then NULL; NULL: the parent's environment */
    const char *directory;   /* where the child starts, and a relative program is; NULL: here */
    const lp__rlimit_t *limits;
    size_t limit_count;
} lp__process_options_t;

/* The descriptors are close-on-exec and, but for the pidfd, non-blocking. */
typedef struct {
    pid_t pid;   /* 0: there is none, or it was reaped */
    int pidfd;   /* readable when the child is dead; -1: the system has none, wait for the
                  * channel's end-of-file */
    int channel; /* our ends of the sockets */
    int control;
    int errors; /* what the child writes to standard error */
} lp__process_t;

typedef enum {
    LP__EXIT_CODE,   /* `value` is what it returned from main or gave to exit */
    LP__EXIT_SIGNAL, /* `value` is the signal that killed it */
    LP__EXIT_UNKNOWN /* somebody else waited for it, or the host ignores SIGCHLD */
} lp__exit_kind_t;

typedef struct {
    lp__exit_kind_t kind;
    int value;
} lp__exit_t;

/* Can this system have child processes? */
bool lp__process_supported(void);

/* Starts a child. Its limits hold from a moment after its start: it should wait for the first
 * message of its parent. 0; LP_ENOTSUP where the system lacks what is needed; or a libuv error,
 * and `why` (of `size` bytes) says what failed: `the program "x" cannot be started: no such
 * file or directory`. On failure there is no child, and *process holds nothing. */
int lp__process_start(lp__process_t *process, const lp__process_options_t *options, char *why,
                      size_t size);

/* Sends a signal. 0, or a libuv error: UV_ESRCH when the child is gone. */
int lp__process_kill(const lp__process_t *process, int signal);

/* Takes the status of a child that has ended: 0 once, when pid becomes 0; UV_EAGAIN while it
 * runs. */
int lp__process_reap(lp__process_t *process, lp__exit_t *how);

/* Closes the descriptors. The pid stays: a child that was not reaped can still be. */
void lp__process_close(lp__process_t *process);

/* "exited with code 3", "killed by signal 11 (SIGSEGV)", "ended (its status was taken by
 * somebody else)". Cuts at `size` bytes. */
void lp__exit_text(const lp__exit_t *how, char *text, size_t size);

/* The reverse, where such a text occurs in another one. False: none does. */
bool lp__exit_find(const char *text, lp__exit_t *how);

/* The resource of a name as in ulimit's manual ("nofile"), or -1; all names, "as, core, ...". */
int lp__rlimit_find(const char *name);
const char *lp__rlimit_names(void);

#endif
