/* process.c - see process.h. No state of its own; the loop's thread only.
 *
 * posix_spawn does nearly all of it in the child, between vfork and exec, where no code of
 * ours runs: signals, directory, descriptors. Only limits are set from outside. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pipe2, posix_spawn_file_actions_addclosefrom_np, prlimit, P_PIDFD */
#endif
#include "base/process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "leasepool.h"

#ifdef __linux__
#include <features.h>
#endif

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- Limits ------------------------------------------------------------------- */

#define RESOURCES(XX)                                                                              \
    XX("as", AS)                                                                                   \
    XX("core", CORE)                                                                               \
    XX("cpu", CPU)                                                                                 \
    XX("data", DATA)                                                                               \
    XX("fsize", FSIZE)                                                                             \
    XX("locks", LOCKS)                                                                             \
    XX("memlock", MEMLOCK)                                                                         \
    XX("msgqueue", MSGQUEUE)                                                                       \
    XX("nice", NICE)                                                                               \
    XX("nofile", NOFILE)                                                                           \
    XX("nproc", NPROC)                                                                             \
    XX("rss", RSS)                                                                                 \
    XX("rtprio", RTPRIO)                                                                           \
    XX("rttime", RTTIME)                                                                           \
    XX("sigpending", SIGPENDING)                                                                   \
    XX("stack", STACK)

static const struct {
    const char *name;
    int resource;
} resources[] = {
#define XX(name, constant) {name, (int)RLIMIT_##constant},
    RESOURCES(XX)
#undef XX
};

int lp__rlimit_find(const char *name)
{
    for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
        if (strcmp(resources[i].name, name) == 0)
            return resources[i].resource;
    return -1;
}

const char *lp__rlimit_names(void)
{
#define XX(name, constant) ", " name
    static const char names[] = RESOURCES(XX);
#undef XX
    return names + 2;
}

static const char *name_of_resource(int resource)
{
    for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
        if (resources[i].resource == resource)
            return resources[i].name;
    return "?";
}

static int set_limits(pid_t pid, const lp__process_options_t *options, char *why, size_t size)
{
    for (size_t i = 0; i < options->limit_count; i++) {
        const lp__rlimit_t *limit = &options->limits[i];
        rlim_t value = limit->value == LP__RLIMIT_NONE ? RLIM_INFINITY : (rlim_t)limit->value;
        const struct rlimit both = {value, value};
        if (prlimit(pid, (__rlimit_resource_t)limit->resource, &both, NULL) != 0) {
            int rc = uv_translate_sys_error(errno);
            if (rc == UV_ESRCH) /* dead already, and the host ignores SIGCHLD */
                return 0;
            snprintf(why, size, "the limit \"%s\" cannot be set: %s",
                     name_of_resource(limit->resource), lp_strerror(rc));
            return rc;
        }
    }
    return 0;
}

/* ---- Descriptors -------------------------------------------------------------- */

/* The descriptors of a start: the child's end and ours. -1 where there is none. */
typedef struct {
    int child, ours;
} ends_t;

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Moves a descriptor out of the way of those that a child is given. They are low when the
 * host has closed its own, and then ours must not be taken for its standard error either. */
static int move_up(int *fd)
{
    if (*fd > LP__PROCESS_CONTROL)
        return 0;
    int higher = fcntl(*fd, F_DUPFD_CLOEXEC, LP__PROCESS_CONTROL + 1);
    if (higher < 0)
        return -1;
    close(*fd);
    *fd = higher;
    return 0;
}

/* Both out of the way, ours non-blocking. */
static int prepare(ends_t *ends)
{
    if (move_up(&ends->child) != 0 || move_up(&ends->ours) != 0)
        return -1;
    int flags = fcntl(ends->ours, F_GETFL);
    return flags < 0 ? -1 : fcntl(ends->ours, F_SETFL, flags | O_NONBLOCK);
}

static int open_socket(ends_t *ends)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return -1;
    *ends = (ends_t){.child = fds[0], .ours = fds[1]};
    return prepare(ends);
}

static int open_pipe(ends_t *ends)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    *ends = (ends_t){.child = fds[1], .ours = fds[0]};
    return prepare(ends);
}

enum { CHANNEL, CONTROL, ERRORS, ENDS };

static int open_ends(ends_t ends[ENDS], char *why, size_t size)
{
    const char *what = NULL;
    if (open_socket(&ends[CHANNEL]) != 0 || open_socket(&ends[CONTROL]) != 0)
        what = "the sockets to a child";
    else if (open_pipe(&ends[ERRORS]) != 0)
        what = "the pipe for a child's standard error";
    if (!what)
        return 0;
    int rc = uv_translate_sys_error(errno);
    snprintf(why, size, "%s cannot be made: %s", what, lp_strerror(rc));
    return rc;
}

/* ---- The start ---------------------------------------------------------------- */

/* What the child does with descriptors and directory. 0 or an errno. */
static int describe_files(posix_spawn_file_actions_t *files, const char *directory,
                          const ends_t ends[ENDS])
{
    bool closed = fcntl(STDOUT_FILENO, F_GETFD) < 0;
    int err = 0;
    if (!err)
        err = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!err && closed)
        err = posix_spawn_file_actions_addopen(files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!err && !closed) /* onto itself: inherited, even if it is close-on-exec here */
        err = posix_spawn_file_actions_adddup2(files, STDOUT_FILENO, STDOUT_FILENO);
    if (!err)
        err = posix_spawn_file_actions_adddup2(files, ends[ERRORS].child, STDERR_FILENO);
    if (!err)
        err = posix_spawn_file_actions_adddup2(files, ends[CHANNEL].child, LP__PROCESS_CHANNEL);
    if (!err)
        err = posix_spawn_file_actions_adddup2(files, ends[CONTROL].child, LP__PROCESS_CONTROL);
    if (!err)
        err = posix_spawn_file_actions_addclosefrom_np(files, LP__PROCESS_CONTROL + 1);
    if (!err && directory)
        err = posix_spawn_file_actions_addchdir_np(files, directory);
    return err;
}

static int describe_signals(posix_spawnattr_t *attributes)
{
    sigset_t all, none;
    memset(&all, 0xff, sizeof all); /* sigfillset omits glibc's own, which it would then ignore */
    sigemptyset(&none);
    int err = posix_spawnattr_setsigdefault(attributes, &all);
    if (!err)
        err = posix_spawnattr_setsigmask(attributes, &none);
    if (!err)
        err = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    return err;
}

/* 0 or an errno: glibc tells of a failure in the child, too. */
static int spawn(pid_t *pid, const lp__process_options_t *options, const ends_t ends[ENDS])
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int err = posix_spawn_file_actions_init(&files);
    if (err)
        return err;
    err = posix_spawnattr_init(&attributes);
    if (err)
        goto out;
    err = describe_files(&files, options->directory, ends);
    if (!err)
        err = describe_signals(&attributes);
    if (!err) /* the strings are not written to */
        err = posix_spawnp(pid, options->argv[0], &files, &attributes,
                           (char *const *)(uintptr_t)options->argv,
                           options->env ? (char *const *)(uintptr_t)options->env : environ);
    posix_spawnattr_destroy(&attributes);
out:
    posix_spawn_file_actions_destroy(&files);
    return err;
}

/* An errno alone does not tell whether it was the program or the directory. */
static int tell_spawn(const lp__process_options_t *options, int err, char *why, size_t size)
{
    int rc = uv_translate_sys_error(err);
    if (options->directory) {
        int fd = open(options->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int wrong = fd < 0 || faccessat(fd, ".", X_OK, AT_EACCESS) != 0 ? errno : 0;
        close_one(&fd);
        if (wrong == err) {
            snprintf(why, size, "the directory \"%s\" cannot be entered: %s", options->directory,
                     lp_strerror(rc));
            return rc;
        }
    }
    snprintf(why, size, "the program \"%s\" cannot be started: %s", options->argv[0],
             lp_strerror(rc));
    return rc;
}

/* A child that must not run. It has done nothing yet and dies at once, so this waits. */
static void undo(pid_t pid)
{
    siginfo_t info;
    kill(pid, SIGKILL);
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) != 0 && errno == EINTR) {
    }
}

bool lp__process_supported(void)
{
    return true;
}

static const lp__process_t nothing = {
    .pid = 0, .pidfd = -1, .channel = -1, .control = -1, .errors = -1};

int lp__process_start(lp__process_t *process, const lp__process_options_t *options, char *why,
                      size_t size)
{
    ends_t ends[ENDS] = {{-1, -1}, {-1, -1}, {-1, -1}};
    pid_t pid = 0;
    *process = nothing;
    int rc = open_ends(ends, why, size);
    if (rc == 0) {
        int err = spawn(&pid, options, ends);
        if (err)
            rc = tell_spawn(options, err, why, size);
    }
    for (int i = 0; i < ENDS; i++)
        close_one(&ends[i].child);
    if (rc == 0) {
        rc = set_limits(pid, options, why, size);
        if (rc != 0)
            undo(pid);
    }
    if (rc != 0) {
        for (int i = 0; i < ENDS; i++)
            close_one(&ends[i].ours);
        return rc;
    }
    process->pid = pid;
    process->channel = ends[CHANNEL].ours;
    process->control = ends[CONTROL].ours;
    process->errors = ends[ERRORS].ours;
    process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process->pidfd >= 0 && move_up(&process->pidfd) != 0)
        close_one(&process->pidfd);
    return 0;
}

/* ---- The end ------------------------------------------------------------------ */

int lp__process_kill(const lp__process_t *process, int signal)
{
    if (process->pid == 0)
        return UV_ESRCH;
    long rc = -1;
    errno = ENOSYS;
    if (process->pidfd >= 0)
        rc = syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0);
    if (rc != 0 && errno == ENOSYS)
        rc = kill(process->pid, signal);
    return rc == 0 ? 0 : uv_translate_sys_error(errno);
}

int lp__process_reap(lp__process_t *process, lp__exit_t *how)
{
    siginfo_t info;
    int rc = -1;
    memset(&info, 0, sizeof info);
    errno = EINVAL;
    if (process->pidfd >= 0) /* is the child even when its number went to another one */
        rc = waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG);
    if (rc != 0 && errno == EINVAL)
        rc = waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG);
    if (rc == 0 && info.si_pid == 0)
        return UV_EAGAIN;
    if (rc != 0)
        *how = (lp__exit_t){LP__EXIT_UNKNOWN, 0};
    else
        *how = (lp__exit_t){info.si_code == CLD_EXITED ? LP__EXIT_CODE : LP__EXIT_SIGNAL,
                            info.si_status};
    process->pid = 0;
    return 0;
}

void lp__process_close(lp__process_t *process)
{
    close_one(&process->pidfd);
    close_one(&process->channel);
    close_one(&process->control);
    close_one(&process->errors);
}

static const char *name_of_signal(int signal)
{
    return sigabbrev_np(signal);
}

#else /* no such libc */

int lp__rlimit_find(const char *name)
{
    (void)name;
    return -1;
}

const char *lp__rlimit_names(void)
{
    return "";
}

bool lp__process_supported(void)
{
    return false;
}

int lp__process_start(lp__process_t *process, const lp__process_options_t *options, char *why,
                      size_t size)
{
    (void)options;
    *process = (lp__process_t){.pid = 0, .pidfd = -1, .channel = -1, .control = -1, .errors = -1};
    snprintf(why, size, "child processes are not supported on this platform");
    return LP_ENOTSUP;
}

int lp__process_kill(const lp__process_t *process, int signal)
{
    (void)process;
    (void)signal;
    return UV_ESRCH;
}

int lp__process_reap(lp__process_t *process, lp__exit_t *how)
{
    (void)process;
    *how = (lp__exit_t){LP__EXIT_UNKNOWN, 0};
    return 0;
}

void lp__process_close(lp__process_t *process)
{
    (void)process;
}

static const char *name_of_signal(int signal)
{
    (void)signal;
    return NULL;
}

#endif

void lp__exit_text(const lp__exit_t *how, char *text, size_t size)
{
    const char *name = how->kind == LP__EXIT_SIGNAL ? name_of_signal(how->value) : NULL;
    if (how->kind == LP__EXIT_CODE)
        snprintf(text, size, "exited with code %d", how->value);
    else if (how->kind == LP__EXIT_UNKNOWN)
        snprintf(text, size, "ended (its status was taken by somebody else)");
    else if (name)
        snprintf(text, size, "killed by signal %d (SIG%s)", how->value, name);
    else
        snprintf(text, size, "killed by signal %d", how->value);
}

bool lp__exit_find(const char *text, lp__exit_t *how)
{
    const char *at = strstr(text, "exited with code ");
    *how = (lp__exit_t){LP__EXIT_UNKNOWN, 0};
    if (at && sscanf(at, "exited with code %d", &how->value) == 1)
        how->kind = LP__EXIT_CODE;
    else if ((at = strstr(text, "killed by signal ")) &&
             sscanf(at, "killed by signal %d", &how->value) == 1)
        how->kind = LP__EXIT_SIGNAL;
    return how->kind != LP__EXIT_UNKNOWN;
}
