/* test_threads_ending.c - other threads, when what they wait for ends, is to stop, or lacks memory.
 */
#include "threads.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Workers that wait -------------------------------------------------------- */

/* A job that waits for one which does not come, on a lease of its own. */
typedef struct {
    task_t task;
    lp_handle_t *handle;
    uv_sem_t begun;
    bool asks; /* for statistics */
    atomic_int runs;
    int rc, status, why;
} waiter_t;

static void wait_in_job(lp_job_t *job)
{
    waiter_t *waiter = (waiter_t *)(void *)job;
    lp_ticket_t *ticket = NULL;
    lp_grinder_stats_t stats;
    task_run(job);
    if (waiter->asks) {
        uv_sem_post(&waiter->begun);
        waiter->rc = lp_grinder_stats_from_thread(waiter->handle, &stats, LP_FOREVER);
    } else {
        CHECK(lp_grinder_submit_from_thread(waiter->handle, &ticket, LP_FOREVER, count_up,
                                            &waiter->runs) == 0);
        uv_sem_post(&waiter->begun);
        waiter->rc = lp_ticket_wait(ticket, LP_FOREVER, &waiter->status);
        CHECK(waiter->rc != 0 ? !lp_ticket_has_ended(ticket) : lp_ticket_has_ended(ticket));
    }
    waiter->why = lp_job_cancelled(job);
    lp_ticket_release(ticket);
}

enum { BY_CANCEL, BY_TIMEOUT, BY_EXPIRY, BY_STOP, WHYS };

/* On a manager of its own. */
static lp_manager_t *waiter_begin(waiter_t *waiter, fixture_t *f, int why)
{
    lp_manager_options_t manager_options;
    lp_manager_t *manager;
    lp_acquire_options_t options;
    lp_lease_t *lease;
    lp_manager_options_init(&manager_options);
    manager_options.max_pools = manager_options.workers_per_pool = 1;
    manager_options.exit_grace_ns = HOUR;
    manager_options.lease_grace_ns = 0;
    assert_int_equal(lp_manager_create(&manager, f->host.rt, lp_backend_thread(), &manager_options),
                     0);
    assert_int_equal(lp_manager_start(manager), 0);
    memset(waiter, 0, sizeof *waiter);
    waiter->handle = f->handle;
    waiter->status = 1;
    assert_int_equal(uv_sem_init(&waiter->begun, 0), 0);
    lp_acquire_options_init(&options);
    options.on_expiry = LP_EXPIRY_INTERRUPT;
    if (why == BY_EXPIRY)
        options.lease_ns = 5 * MS;
    assert_int_equal(lp_try_acquire(manager, &options, &lease), 0);
    assert_int_equal(lp_submit_within(lease, &waiter->task.job,
                                      why == BY_TIMEOUT ? 5 * MS : LP_FOREVER, wait_in_job,
                                      task_done),
                     0);
    return manager;
}

static void a_worker_that_waits_is_interrupted(int why)
{
    static const int codes[] = {LP_ECANCELLED, LP_ETIMEDOUT, LP_EEXPIRED, LP_ECANCELLED};
    fixture_t f;
    waiter_t waiter;
    open_slow(&f);
    lp_manager_t *manager = waiter_begin(&waiter, &f, why);
    if (why == BY_CANCEL || why == BY_STOP)
        uv_sem_wait(&waiter.begun);
    if (why == BY_CANCEL)
        assert_int_equal(lp_job_cancel(&waiter.task.job), 0);
    if (why == BY_STOP)
        assert_int_equal(lp_manager_stop(manager, NULL, 0, NULL), 0);
    host_until(&f.host, &waiter.task.calls, 1);
    assert_false(waiter.task.lost);
    assert_int_equal(waiter.task.status, codes[why]);
    if (lp__load_relaxed(&waiter.task.runs) == 1) { /* else its time was over before it began */
        assert_int_equal(waiter.rc, codes[why]);
        assert_int_equal(waiter.why, codes[why]);
    }
    assert_int_equal(lp__load_relaxed(&waiter.runs), 0);
    uv_sem_destroy(&waiter.begun);
    close_all(&f);
}

static void a_worker_that_waits_is_interrupted_when_its_job_is_to_stop(void **state)
{
    (void)state;
    for (int why = 0; why < WHYS; why++)
        a_worker_that_waits_is_interrupted(why);
}

static void a_worker_that_waits_is_interrupted_without_a_signal_too(void **state)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) { /* the choice is made once for all */
        if (lp_set_interrupt_signal(0) != 0)
            _exit(10);
        a_worker_that_waits_is_interrupted_when_its_job_is_to_stop(state);
        _exit(lp__load_relaxed(&wrong) == 0 ? 0 : 11);
    }
    assert_true(pid > 0);
    while (waitpid(pid, &status, 0) != pid)
        assert_int_equal(errno, EINTR);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_worker_that_asks_for_statistics_is_interrupted_as_well(void **state)
{
    (void)state;
    fixture_t f;
    host_t silent; /* its loop is not run */
    lp_grinder_t *grinder;
    waiter_t waiter = {.asks = true};
    open_quick(&f);
    host_open(&silent);
    assert_int_equal(lp_grinder_create(&grinder, manager_of(&silent, 1, 1), NULL), 0);
    assert_int_equal(lp_grinder_handle(grinder, &waiter.handle), 0);
    assert_int_equal(uv_sem_init(&waiter.begun, 0), 0);
    assert_int_equal(lp_submit(lease_of(f.manager), &waiter.task.job, wait_in_job, task_done), 0);
    uv_sem_wait(&waiter.begun);
    assert_int_equal(lp_job_cancel(&waiter.task.job), 0);
    host_until(&f.host, &waiter.task.calls, 1);
    assert_int_equal(waiter.rc, LP_ECANCELLED);
    assert_int_equal(waiter.task.status, LP_ECANCELLED);
    lp_handle_release(waiter.handle);
    uv_sem_destroy(&waiter.begun);
    host_close(&silent); /* answers what nobody waits for any more */
    close_all(&f);
}

static void a_worker_may_wait_for_what_another_worker_does(void **state)
{
    (void)state;
    fixture_t f;
    waiter_t waiter;
    open_quick(&f);
    waiter_begin(&waiter, &f, BY_CANCEL);
    host_until(&f.host, &waiter.task.calls, 1);
    assert_int_equal(waiter.rc, 0);
    assert_int_equal(waiter.status, 0);
    assert_int_equal(lp__load_relaxed(&waiter.runs), 1);
    assert_int_equal(waiter.task.status, 0);
    uv_sem_destroy(&waiter.begun);
    close_all(&f);
}

/* ---- While everything ends ---------------------------------------------------- */

enum { STOP, STOP_AND_CANCEL, CLOSE, STOP_MANAGER, CLOSE_MANAGER, CLOSE_RUNTIME, ENDS };

static void end_somehow(fixture_t *f, int way)
{
    switch (way) {
    case STOP:
    case STOP_AND_CANCEL:
        assert_int_equal(lp_grinder_stop(f->grinder, NULL, way == STOP ? LP_FOREVER : 0, NULL), 0);
        break;
    case CLOSE_MANAGER:
        lp_manager_close(f->manager); /* the grinder holds it */
        lp_grinder_close(f->grinder);
        break;
    case CLOSE:
        lp_grinder_close(f->grinder);
        break;
    case STOP_MANAGER:
        assert_int_equal(lp_manager_stop(f->manager, NULL, 0, NULL), 0);
        break;
    case CLOSE_RUNTIME:
        assert_int_equal(lp_runtime_close(f->host.rt, host_on_closed, &f->host), 0);
        break;
    }
}

static bool is_end(int status)
{
    return status == LP_ENOTSTARTED || status == LP_ECANCELLED;
}

/* Until it is over; then once more. */
static void submit_until_the_end(member_t *member)
{
    lp_handle_t *handle = member->crowd->f->handle;
    bool over = false;
    for (int i = 0; !over; i++) {
        lp_ticket_t *ticket;
        lp_grinder_stats_t stats;
        atomic_int runs = 0;
        int rc = lp_grinder_submit_from_thread(handle, &ticket, LP_FOREVER, count_up, &runs);
        if (i == 20)
            crowd_told(member->crowd);
        CHECK(rc == 0 || rc == LP_ENOTSTARTED);
        over = rc != 0;
        if (rc == 0) {
            if (i % 7 == member->number)
                CHECK(lp_ticket_cancel(ticket) == 0 || true);
            int status = status_of(ticket);
            CHECK(status == 0 || is_end(status));
            CHECK(lp__load_relaxed(&runs) == (status == 0));
            over = status == LP_ENOTSTARTED;
            lp_ticket_release(ticket);
        }
        if (i % 5 == member->number) {
            rc = lp_grinder_stats_from_thread(handle, &stats, LP_FOREVER);
            CHECK(rc == 0 || rc == LP_ENOTSTARTED);
            if (rc == 0)
                check_grinder(&stats);
        }
    }
}

static void threads_that_submit_while_everything_ends_get_an_answer_each_time(void **state)
{
    (void)state;
    long before = lp__load_relaxed(&live_blocks);
    for (int round = 0; round < 10; round++) {
        for (int way = 0; way < ENDS; way++) {
            fixture_t f;
            crowd_t crowd;
            open_quick(&f);
            crowd_begin(&crowd, &f, CROWD, submit_until_the_end, NULL);
            crowd_until(&crowd, CROWD);
            end_somehow(&f, way);
            crowd_end(&crowd);
            close_all(&f);
            assert_int_equal(lp__load_relaxed(&live_blocks), before);
        }
    }
}

/* Asks for nothing but room. */
static void flood(member_t *member)
{
    lp_handle_t *handle = member->crowd->f->handle;
    atomic_int *runs = member->crowd->data;
    lp_ticket_t *ticket;
    int rc;
    for (int i = 0;
         (rc = lp_grinder_submit_from_thread(handle, &ticket, LP_FOREVER, count_up, runs)) == 0;
         i++) {
        lp_ticket_release(ticket);
        if (i == 20)
            crowd_told(member->crowd);
    }
    CHECK(rc == LP_ENOTSTARTED);
}

static void a_flood_from_threads_does_not_keep_a_runtime_from_closing(void **state)
{
    (void)state;
    fixture_t f;
    crowd_t crowd;
    static atomic_int runs;
    long before = lp__load_relaxed(&live_blocks);
    open_quick(&f);
    crowd_begin(&crowd, &f, CROWD, flood, &runs);
    crowd_until(&crowd, CROWD);
    end_somehow(&f, CLOSE_RUNTIME);
    crowd_end(&crowd);
    close_all(&f);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
}

static void meet_the_end(member_t *member)
{
    lp_ticket_t *ticket = NULL;
    lp_grinder_stats_t grinder;
    lp_manager_stats_t manager;
    lp_handle_t *handle = member->crowd->f->handle, *of_manager = member->crowd->data;
    lp_handle_retain(handle);
    CHECK(lp_grinder_submit_from_thread(handle, &ticket, LP_FOREVER, count_up, NULL) ==
          LP_ENOTSTARTED);
    CHECK(!ticket);
    CHECK(lp_grinder_stats_from_thread(handle, &grinder, LP_FOREVER) == LP_ENOTSTARTED);
    CHECK(lp_manager_stats_from_thread(of_manager, &manager, LP_FOREVER) == LP_ENOTSTARTED);
    lp_handle_release(handle);
}

typedef struct {
    lp_handle_t *grinder, *manager;
    lp_ticket_t *ticket;
    atomic_int runs;
} leftover_t;

static void look_at_leftovers(void *data)
{
    leftover_t *left = data;
    int status = 1;
    lp_grinder_stats_t grinder;
    lp_manager_stats_t manager;
    lp_ticket_t *ticket;
    CHECK(lp_ticket_wait(left->ticket, LP_FOREVER, &status) == 0);
    CHECK(status == LP_ECANCELLED);
    CHECK(lp_ticket_cancel(left->ticket) == LP_ESTATE);
    CHECK(lp_grinder_submit_from_thread(left->grinder, &ticket, LP_FOREVER, count_up, NULL) ==
          LP_ENOTSTARTED);
    CHECK(lp_grinder_stats_from_thread(left->grinder, &grinder, LP_FOREVER) == LP_ENOTSTARTED);
    CHECK(lp_manager_stats_from_thread(left->manager, &manager, LP_FOREVER) == LP_ENOTSTARTED);
    lp_handle_release(left->grinder);
    lp_handle_release(left->manager);
    lp_ticket_release(left->ticket);
}

static void keep_one(member_t *member)
{
    leftover_t *left = member->crowd->data;
    left->ticket = submit(member->crowd->f->handle, &left->runs);
}

static void handles_and_tickets_outlive_everything(void **state)
{
    (void)state;
    long before = lp__load_relaxed(&live_blocks);
    fixture_t *f = malloc(sizeof *f);
    leftover_t left = {0};
    uv_thread_t thread;
    assert_non_null(f);
    open_slow(f);
    assert_int_equal(lp_manager_handle(f->manager, &left.manager), 0);
    left.grinder = f->handle;
    lp_handle_retain(f->handle);
    alone(f, keep_one, &left);
    host_turn(&f->host);
    close_all(f);
    free(f);
    assert_true(lp__load_relaxed(&live_blocks) > before);
    assert_int_equal(uv_thread_create(&thread, look_at_leftovers, &left), 0);
    assert_int_equal(uv_thread_join(&thread), 0);
    assert_int_equal(lp__load_relaxed(&wrong), 0);
    assert_int_equal(lp__load_relaxed(&left.runs), 0);
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
}

static void what_was_posted_before_a_grinder_went_ends_when_the_loop_comes_to_it(void **state)
{
    (void)state;
    fixture_t f;
    one_t one = {0};
    open_quick(&f);
    alone(&f, submit_one, &one);
    lp_grinder_close(f.grinder); /* nothing is left: it goes at once */
    assert_true(lp__list_empty(&f.manager->grinders));
    elsewhere(&f, wait_for_one, &one);
    assert_int_equal(one.status, LP_ENOTSTARTED);
    assert_int_equal(lp__load_relaxed(&one.runs), 0);
    lp_ticket_release(one.ticket);
    close_all(&f);
}

static void a_runtime_that_closes_makes_no_handle_and_takes_nothing_by_one(void **state)
{
    (void)state;
    fixture_t f;
    lp_grinder_t *grinder;
    lp_handle_t *of_manager, *none = NULL;
    open_quick(&f);
    assert_int_equal(lp_grinder_create(&grinder, f.manager, NULL), 0);
    assert_int_equal(lp_manager_handle(f.manager, &of_manager), 0);
    end_somehow(&f, CLOSE_RUNTIME);
    assert_int_equal(lp_grinder_handle(grinder, &none), LP_ESTATE);
    assert_int_equal(lp_manager_handle(f.manager, &none), LP_ESTATE);
    assert_null(none);
    alone(&f, meet_the_end, of_manager);
    lp_handle_release(of_manager);
    close_all(&f);
}

static void cancel_late(member_t *member)
{
    one_t *one = member->crowd->data;
    for (int i = 0; i < 2; i++) {
        CHECK(!lp_ticket_has_ended(one->ticket));
        CHECK(lp_ticket_cancel(one->ticket) == LP_ESTATE);
    }
}

static void a_cancel_that_comes_too_late_says_so_each_time(void **state)
{
    (void)state;
    fixture_t f;
    one_t one = {0};
    open_slow(&f);
    alone(&f, submit_one, &one);
    host_turn(&f.host);
    end_somehow(&f, CLOSE_RUNTIME);
    alone(&f, cancel_late, &one);
    elsewhere(&f, wait_for_one, &one);
    assert_int_equal(one.status, LP_ECANCELLED);
    lp_ticket_release(one.ticket);
    close_all(&f);
}

/* ---- Without memory ----------------------------------------------------------- */

typedef struct {
    lp_handle_t *of_manager;
    uint64_t nth;
    bool reached;
    atomic_int runs;
} scarcity_t;

static void do_all_of_it(member_t *member)
{
    scarcity_t *scarcity = member->crowd->data;
    lp_handle_t *handle = member->crowd->f->handle;
    lp_grinder_stats_t grinder;
    lp_manager_stats_t manager;
    lp_ticket_t *tickets[2] = {NULL, NULL};
    int errors = 0, codes[6] = {0};
    codes[0] = lp_grinder_stats_from_thread(handle, &grinder, LP_FOREVER);
    codes[1] = lp_manager_stats_from_thread(scarcity->of_manager, &manager, LP_FOREVER);
    for (int i = 0; i < 2; i++)
        codes[2 + i] =
            lp_grinder_submit_from_thread(handle, &tickets[i], HOUR, count_up, &scarcity->runs);
    for (int i = 0; i < 2; i++) {
        if (tickets[i] && i == 1)
            (void)lp_ticket_cancel(tickets[i]);
        if (tickets[i])
            CHECK(lp_ticket_wait(tickets[i], LP_FOREVER, &codes[4 + i]) == 0);
        lp_ticket_release(tickets[i]);
    }
    for (int i = 0; i < 6; i++) {
        CHECK(codes[i] == 0 || codes[i] == LP_ENOMEM || (i == 5 && codes[i] == LP_ECANCELLED));
        errors += codes[i] == LP_ENOMEM;
    }
    CHECK(errors == 0 || scarcity->nth > 0);
}

static void without_memory_everything_fails_cleanly_and_goes_on(void **state)
{
    (void)state;
    long before = lp__load_relaxed(&live_blocks);
    scarcity_t scarcity = {.reached = true};
    for (uint64_t nth = 1; scarcity.reached; nth++) {
        fixture_t f;
        int rc;
        open_quick(&f);
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, nth);
        scarcity.nth = nth;
        while ((rc = lp_manager_handle(f.manager, &scarcity.of_manager)) != 0)
            assert_int_equal(rc, LP_ENOMEM);
        elsewhere(&f, do_all_of_it, &scarcity);
        scarcity.reached = lp__alloc_fault_seen() >= nth;
        lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
        lp__store_relaxed(&scarcity.runs, 0);
        scarcity.nth = 0;
        elsewhere(&f, do_all_of_it, &scarcity);
        assert_true(lp__load_relaxed(&scarcity.runs) >= 1);
        lp_handle_release(scarcity.of_manager);
        close_all(&f);
        assert_int_equal(lp__load_relaxed(&live_blocks), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_that_waits_is_interrupted_without_a_signal_too), /* first */
        cmocka_unit_test(a_worker_that_waits_is_interrupted_when_its_job_is_to_stop),
        cmocka_unit_test(a_worker_that_asks_for_statistics_is_interrupted_as_well),
        cmocka_unit_test(a_worker_may_wait_for_what_another_worker_does),
        cmocka_unit_test(threads_that_submit_while_everything_ends_get_an_answer_each_time),
        cmocka_unit_test(a_flood_from_threads_does_not_keep_a_runtime_from_closing),
        cmocka_unit_test(handles_and_tickets_outlive_everything),
        cmocka_unit_test(what_was_posted_before_a_grinder_went_ends_when_the_loop_comes_to_it),
        cmocka_unit_test(a_runtime_that_closes_makes_no_handle_and_takes_nothing_by_one),
        cmocka_unit_test(a_cancel_that_comes_too_late_says_so_each_time),
        cmocka_unit_test(without_memory_everything_fails_cleanly_and_goes_on),
    };
    count_blocks();
    return cmocka_run_group_tests_name("threads ending", tests, NULL, NULL);
}
