/* test_process.c - children: what they are started with, and how their end is told. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process.h"

/* ---- Children that are shells ------------------------------------------------- */

static char why[256];

static int try_shell(lp__process_t *child, lp__process_options_t options, const char *script)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    options.argv = argv;
    strcpy(why, "nothing");
    return lp__process_start(child, &options, why, sizeof why);
}

static void start_shell(lp__process_t *child, lp__process_options_t options, const char *script)
{
    int rc = try_shell(child, options, script);
    if (rc != 0)
        fail_msg("%s: %s", lp_err_name(rc), why);
}

static void wait_for(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&wanted, 1, 20000), 1);
}

/* Everything until end-of-file. */
static const char *all_of(int fd)
{
    static char text[4096];
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, text + len, sizeof text - 1 - len);
        if (n == 0 || (n < 0 && errno == ECONNRESET))
            break;
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            wait_for(fd);
            continue;
        }
        len += (size_t)n;
    }
    text[len] = '\0';
    return text;
}

static lp__exit_t end_of(lp__process_t *child)
{
    lp__exit_t how;
    int rc;
    if (child->pidfd >= 0)
        wait_for(child->pidfd);
    else
        (void)all_of(child->channel);
    while ((rc = lp__process_reap(child, &how)) == UV_EAGAIN) /* it only dies yet */
        assert_int_equal(child->pidfd, -1);
    assert_int_equal(rc, 0);
    assert_int_equal(child->pid, 0);
    lp__process_close(child);
    return how;
}

static void assert_ends(lp__process_t *child, const char *wanted)
{
    char text[64];
    lp__exit_t how = end_of(child);
    lp__exit_text(&how, text, sizeof text);
    assert_string_equal(text, wanted);
}

/* What a script writes to its channel. */
static void assert_says(lp__process_options_t options, const char *script, const char *wanted)
{
    lp__process_t child;
    start_shell(&child, options, script);
    assert_string_equal(all_of(child.channel), wanted);
    assert_ends(&child, "exited with code 0");
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static const lp__process_options_t plain;

/* ---- What a child is given ---------------------------------------------------- */

static void a_child_talks_over_its_channel_both_ways(void **state)
{
    (void)state;
    lp__process_t child;
    start_shell(&child, plain, "read line <&3; echo \"got $line\" >&3");
    char none;
    assert_int_equal(read(child.channel, &none, 1), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(send(child.channel, "hello\n", 6, MSG_NOSIGNAL), 6);
    assert_string_equal(all_of(child.channel), "got hello\n");
    assert_ends(&child, "exited with code 0");
}

static void standard_error_is_a_pipe_and_standard_input_is_empty(void **state)
{
    (void)state;
    lp__process_t child;
    start_shell(&child, plain, "cat; read line || echo nothing to read >&2");
    char none;
    if (read(child.errors, &none, 1) < 0) /* it may have been quick */
        assert_int_equal(errno, EAGAIN);
    else
        assert_int_equal(none, 'n');
    assert_non_null(strstr(all_of(child.errors), "othing to read\n"));
    assert_ends(&child, "exited with code 0");
}

static void an_environment_replaces_the_parents(void **state)
{
    (void)state;
    const char *const env[] = {"ONE=1", "PATH=/usr/bin:/bin", NULL};
    setenv("LEASEPOOL_TEST", "inherited", 1);
    assert_says(plain, "echo $LEASEPOOL_TEST >&3", "inherited\n");
    assert_says((lp__process_options_t){.env = env}, "echo $ONE $LEASEPOOL_TEST >&3", "1\n");
    unsetenv("LEASEPOOL_TEST");
}

static void a_child_starts_in_its_directory(void **state)
{
    (void)state;
    assert_says((lp__process_options_t){.directory = "/proc"}, "pwd >&3", "/proc\n");
}

static void limits_hold_before_the_first_message_comes(void **state)
{
    (void)state;
    const lp__rlimit_t limits[] = {{lp__rlimit_find("nofile"), 57},
                                   {lp__rlimit_find("core"), 0},
                                   {lp__rlimit_find("cpu"), 1234}};
    lp__process_t child;
    start_shell(&child, (lp__process_options_t){.limits = limits, .limit_count = COUNT_OF(limits)},
                "read go <&3; { ulimit -n; ulimit -Hn; ulimit -c; ulimit -t; } >&3");
    assert_int_equal(send(child.channel, "\n", 1, MSG_NOSIGNAL), 1);
    assert_string_equal(all_of(child.channel), "57\n57\n0\n1234\n");
    assert_ends(&child, "exited with code 0");

    struct rlimit own;
    assert_int_equal(getrlimit(RLIMIT_CPU, &own), 0);
    assert_true(own.rlim_cur != 1234);
}

static void limits_are_known_by_name(void **state)
{
    (void)state;
    assert_int_equal(lp__rlimit_find("as"), RLIMIT_AS);
    assert_int_equal(lp__rlimit_find("stack"), RLIMIT_STACK);
    assert_int_equal(lp__rlimit_find("files"), -1);
    assert_int_equal(lp__rlimit_find(""), -1);
    assert_ptr_equal(strstr(lp__rlimit_names(), "as, core, cpu, "), lp__rlimit_names());
}

static void no_descriptor_of_the_parent_reaches_a_child(void **state)
{
    (void)state;
    int fds[8];
    for (size_t i = 0; i < COUNT_OF(fds); i++) {
        fds[i] = open("/dev/null", O_RDONLY); /* as io.open does: without O_CLOEXEC */
        assert_true(fds[i] >= 3);
    }
    int high = fcntl(fds[0], F_DUPFD, 500);
    assert_true(high >= 500);
    assert_says(plain,
                "exec >&3; n=0;"
                "while [ $n -lt 600 ]; do [ -e /proc/$$/fd/$n ] && echo $n; n=$((n + 1)); done",
                "0\n1\n2\n3\n4\n");
    for (size_t i = 0; i < COUNT_OF(fds); i++)
        close(fds[i]);
    close(high);
}

static void signals_are_at_their_defaults_in_a_child(void **state)
{
    (void)state;
    sigset_t term, saved;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &term, &saved), 0);
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    assert_says(plain, "exec grep -E '^Sig(Blk|Ign)' /proc/self/status >&3",
                "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    sigset_t now;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &saved, &now), 0);
    assert_true(sigismember(&now, SIGTERM));
    assert_true(signal(SIGPIPE, before) == SIG_IGN);
}

/* Ours must not land on 0 to 4 in such a host, where a child is given something else. */
static void a_host_without_standard_descriptors_starts_children_too(void **state)
{
    (void)state;
    enum { LOW = 5 };
    int saved[LOW];
    for (int fd = 0; fd < LOW; fd++) {
        saved[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
        close(fd);
    }
    lp__process_t child;
    int rc = try_shell(&child, plain, "echo out && echo err >&2 && echo channel >&3");
    for (int fd = 0; fd < LOW; fd++) {
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        if (saved[fd] < 0)
            continue;
        dup2(saved[fd], fd);
        close(saved[fd]);
    }
    assert_int_equal(rc, 0);
    assert_string_equal(all_of(child.channel), "channel\n");
    assert_string_equal(all_of(child.errors), "err\n");
    assert_ends(&child, "exited with code 0");
}

/* ---- What fails --------------------------------------------------------------- */

static void assert_refused(const char *program, const char *directory, int code, const char *text)
{
    const char *argv[] = {program, NULL};
    lp__process_t child;
    int before = count_descriptors();
    int rc = lp__process_start(
        &child, &(lp__process_options_t){.argv = argv, .directory = directory}, why, sizeof why);
    assert_int_equal(rc, code);
    assert_string_equal(why, text);
    assert_true(child.pid == 0 && child.pidfd == -1 && child.channel == -1 && child.control == -1 &&
                child.errors == -1);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie */
    assert_int_equal(errno, ECHILD);
}

static void a_start_that_fails_names_the_program_or_the_directory(void **state)
{
    (void)state;
    assert_refused("leasepool-no-such-program", NULL, UV_ENOENT,
                   "the program \"leasepool-no-such-program\" cannot be started: "
                   "no such file or directory");
    assert_refused("/dev/null", NULL, UV_EACCES,
                   "the program \"/dev/null\" cannot be started: permission denied");
    assert_refused("leasepool-no-such-program", "/proc", UV_ENOENT,
                   "the program \"leasepool-no-such-program\" cannot be started: "
                   "no such file or directory");
    assert_refused("sh", "/no/such/directory", UV_ENOENT,
                   "the directory \"/no/such/directory\" cannot be entered: "
                   "no such file or directory");
    assert_refused("sh", "/dev/null", UV_ENOTDIR,
                   "the directory \"/dev/null\" cannot be entered: not a directory");
}

static void a_limit_that_the_system_refuses_ends_the_start(void **state)
{
    (void)state;
    const lp__rlimit_t limit = {lp__rlimit_find("nofile"), LP__RLIMIT_NONE};
    lp__process_t child;
    int before = count_descriptors();
    int rc = try_shell(&child, (lp__process_options_t){.limits = &limit, .limit_count = 1},
                       "read line <&3");
    assert_int_equal(rc, UV_EPERM); /* even for root: fs.nr_open */
    assert_string_equal(why, "the limit \"nofile\" cannot be set: operation not permitted");
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_start_without_descriptors_says_so(void **state)
{
    (void)state;
    struct rlimit saved, none;
    int low = open("/dev/null", O_RDONLY | O_CLOEXEC); /* so that ours need not move up */
    int low_too = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int before = count_descriptors(), next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(low >= 3 && low_too >= 3 && next > LP__PROCESS_CONTROL);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved), 0);
    for (rlim_t room = 0; room < 6; room++) { /* the sockets, then the pipe */
        none = saved;
        none.rlim_cur = (rlim_t)next + room;
        lp__process_t child;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        int rc = try_shell(&child, plain, "exit");
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &saved), 0);
        assert_int_equal(rc, UV_EMFILE);
        assert_non_null(strstr(why, room < 4 ? "socket" : "pipe"));
        assert_non_null(strstr(why, "cannot be made: too many open files"));
        assert_int_equal(count_descriptors(), before);
    }
    close(low);
    close(low_too);
}

/* ---- How it ends -------------------------------------------------------------- */

static void an_exit_code_is_told(void **state)
{
    (void)state;
    lp__process_t child;
    start_shell(&child, plain, "exit 3");
    assert_ends(&child, "exited with code 3");
}

static void the_signal_that_killed_a_child_is_told(void **state)
{
    (void)state;
    static const struct {
        int signal;
        const char *text;
    } cases[] = {{SIGSEGV, "killed by signal 11 (SIGSEGV)"},
                 {SIGKILL, "killed by signal 9 (SIGKILL)"},
                 {SIGTERM, "killed by signal 15 (SIGTERM)"},
                 {36, "killed by signal 36"}};
    const lp__rlimit_t no_core = {lp__rlimit_find("core"), 0};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        lp__process_t child;
        lp__exit_t how;
        start_shell(&child, (lp__process_options_t){.limits = &no_core, .limit_count = 1},
                    "read line <&3");
        assert_int_equal(lp__process_reap(&child, &how), UV_EAGAIN);
        assert_int_equal(lp__process_kill(&child, cases[i].signal), 0);
        assert_ends(&child, cases[i].text);
        assert_int_equal(lp__process_kill(&child, SIGKILL), UV_ESRCH);
    }
}

static void a_pidfd_is_readable_from_the_death_on(void **state)
{
    (void)state;
    lp__process_t child;
    start_shell(&child, plain, "read line <&3");
    if (child.pidfd < 0) {
        lp__process_kill(&child, SIGKILL);
        (void)end_of(&child);
        skip();
    }
    struct pollfd wanted = {.fd = child.pidfd, .events = POLLIN};
    assert_int_equal(poll(&wanted, 1, 0), 0);
    assert_int_equal(lp__process_kill(&child, SIGKILL), 0);
    wait_for(child.pidfd);
    assert_int_equal(lp__process_kill(&child, SIGKILL), 0); /* dead, and still ours */
    assert_ends(&child, "killed by signal 9 (SIGKILL)");
}

static void a_child_is_watched_without_a_pidfd_too(void **state)
{
    (void)state;
    lp__process_t child;
    start_shell(&child, plain, "read line <&3");
    close(child.pidfd);
    child.pidfd = -1;
    assert_int_equal(lp__process_kill(&child, SIGTERM), 0);
    assert_ends(&child, "killed by signal 15 (SIGTERM)");
}

static void a_status_that_somebody_else_took_is_unknown(void **state)
{
    (void)state;
    lp__process_t child;
    for (int pidfd = 0; pidfd < 2; pidfd++) {
        start_shell(&child, plain, "exit 3");
        assert_int_equal(waitpid(-1, NULL, 0), child.pid); /* a host that waits for all */
        if (!pidfd) {
            close(child.pidfd);
            child.pidfd = -1;
        }
        assert_ends(&child, "ended (its status was taken by somebody else)");
    }
}

static void a_host_that_ignores_sigchld_learns_of_the_end(void **state)
{
    (void)state;
    lp__process_t child;
    lp__exit_t how;
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    start_shell(&child, plain, "read line <&3");
    assert_int_equal(lp__process_reap(&child, &how), UV_EAGAIN);
    assert_int_equal(lp__process_kill(&child, SIGKILL), 0);
    assert_ends(&child, "ended (its status was taken by somebody else)");
    assert_true(signal(SIGCHLD, before) == SIG_IGN);
}

static void children_of_the_host_are_left_to_it(void **state)
{
    (void)state;
    lp__process_t child, other;
    start_shell(&other, plain, "exit 7"); /* somebody else's */
    wait_for(other.pidfd >= 0 ? other.pidfd : other.channel);
    start_shell(&child, plain, "exit 3");
    assert_ends(&child, "exited with code 3");
    assert_ends(&other, "exited with code 7");
    struct sigaction action;
    assert_int_equal(sigaction(SIGCHLD, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
}

static volatile sig_atomic_t own_ends;
static pid_t own_child;

static void on_child(int signum)
{
    int status;
    (void)signum;
    if (waitpid(own_child, &status, WNOHANG) == own_child && WEXITSTATUS(status) == 5)
        own_ends++;
}

static void a_host_that_handles_sigchld_counts_its_own(void **state)
{
    (void)state;
    lp__process_t child;
    struct sigaction action, before, now;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_child;
    assert_int_equal(sigaction(SIGCHLD, &action, &before), 0);
    own_ends = 0;
    for (int i = 1; i <= 10; i++) {
        sigset_t chld, saved;
        sigemptyset(&chld);
        sigaddset(&chld, SIGCHLD);
        sigprocmask(SIG_BLOCK, &chld, &saved); /* until its number is known */
        own_child = fork();
        if (own_child == 0)
            _exit(5);
        start_shell(&child, plain, "exit 3");
        assert_ends(&child, "exited with code 3");
        while (own_ends < i)
            sigsuspend(&saved);
        sigprocmask(SIG_SETMASK, &saved, NULL);
    }
    assert_int_equal(own_ends, 10);
    assert_int_equal(sigaction(SIGCHLD, &before, &now), 0);
    assert_true(now.sa_handler == on_child);
}

static void a_hundred_children_leave_nothing_behind(void **state)
{
    (void)state;
    int before = count_descriptors();
    lp__process_t children[100];
    for (size_t i = 0; i < COUNT_OF(children); i++)
        start_shell(&children[i], plain, "read line <&3");
    for (size_t i = 0; i < COUNT_OF(children); i++)
        assert_int_equal(lp__process_kill(&children[i], SIGKILL), 0);
    for (size_t i = 0; i < COUNT_OF(children); i++)
        assert_ends(&children[i], "killed by signal 9 (SIGKILL)");
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_talks_over_its_channel_both_ways),
        cmocka_unit_test(standard_error_is_a_pipe_and_standard_input_is_empty),
        cmocka_unit_test(an_environment_replaces_the_parents),
        cmocka_unit_test(a_child_starts_in_its_directory),
        cmocka_unit_test(limits_hold_before_the_first_message_comes),
        cmocka_unit_test(limits_are_known_by_name),
        cmocka_unit_test(no_descriptor_of_the_parent_reaches_a_child),
        cmocka_unit_test(signals_are_at_their_defaults_in_a_child),
        cmocka_unit_test(a_host_without_standard_descriptors_starts_children_too),
        cmocka_unit_test(a_start_that_fails_names_the_program_or_the_directory),
        cmocka_unit_test(a_limit_that_the_system_refuses_ends_the_start),
        cmocka_unit_test(a_start_without_descriptors_says_so),
        cmocka_unit_test(an_exit_code_is_told),
        cmocka_unit_test(the_signal_that_killed_a_child_is_told),
        cmocka_unit_test(a_pidfd_is_readable_from_the_death_on),
        cmocka_unit_test(a_child_is_watched_without_a_pidfd_too),
        cmocka_unit_test(a_status_that_somebody_else_took_is_unknown),
        cmocka_unit_test(a_host_that_ignores_sigchld_learns_of_the_end),
        cmocka_unit_test(a_host_that_handles_sigchld_counts_its_own),
        cmocka_unit_test(children_of_the_host_are_left_to_it),
        cmocka_unit_test(a_hundred_children_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
