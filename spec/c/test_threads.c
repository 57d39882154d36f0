/* test_threads.c - other threads: they submit to grinders, wait, cancel and ask for statistics. */
#include "threads.h"

#include <sched.h>

/* ---- Many at once ------------------------------------------------------------- */

enum { EACH = 20000 / SLOWER, WINDOW = 250 };

static atomic_int runs_of[CROWD][EACH];

static void submit_many(member_t *member)
{
    lp_ticket_t *tickets[WINDOW];
    atomic_int *runs = runs_of[member->number];
    for (int first = 0; first < EACH; first += WINDOW) {
        for (int i = 0; i < WINDOW; i++)
            tickets[i] = submit(member->crowd->f->handle, &runs[first + i]);
        for (int i = WINDOW; i-- > 0;) {
            CHECK(status_of(tickets[i]) == 0);
            CHECK(lp__load_relaxed(&runs[first + i]) == 1);
            CHECK(lp_ticket_cancel(tickets[i]) == LP_ESTATE);
            lp_ticket_release(tickets[i]);
        }
    }
    crowd_told(member->crowd);
}

static void submit_or_ask(member_t *member)
{
    lp_grinder_stats_t grinder;
    lp_manager_stats_t manager;
    lp_handle_t *of_manager = member->crowd->data;
    if (member->number < CROWD - 1) {
        submit_many(member);
        return;
    }
    uint64_t done = 0;
    do {
        CHECK(lp_grinder_stats_from_thread(member->crowd->f->handle, &grinder, LP_FOREVER) == 0);
        CHECK(lp_manager_stats_from_thread(of_manager, &manager, LP_FOREVER) == 0);
        check_grinder(&grinder);
        CHECK(grinder.started && grinder.done >= done);
        CHECK(manager.jobs == (uint64_t)(manager.queued + manager.running) + manager.done +
                                  manager.failed + manager.cancelled);
        done = grinder.done;
    } while (lp__load_relaxed(&member->crowd->begun) < CROWD - 1);
}

static void eight_threads_that_submit_at_once_lose_no_job_and_run_none_twice(void **state)
{
    (void)state;
    fixture_t f;
    crowd_t crowd;
    open_quick(&f);
    memset(runs_of, 0, sizeof runs_of);
    crowd_begin(&crowd, &f, CROWD, submit_many, NULL);
    crowd_end(&crowd);
    for (int i = 0; i < CROWD; i++)
        for (int k = 0; k < EACH; k++)
            assert_int_equal(lp__load_relaxed(&runs_of[i][k]), 1);
    lp_grinder_stats_t s;
    assert_int_equal(lp_grinder_stats(f.grinder, &s), 0);
    assert_int_equal(s.items, CROWD * EACH);
    assert_int_equal(s.done, CROWD * EACH);
    assert_int_equal(s.pending + s.in_flight, 0);
    assert_int_equal(assert_equations(f.manager).done, CROWD * EACH);
    close_all(&f);
}

static void statistics_add_up_whenever_a_thread_asks(void **state)
{
    (void)state;
    fixture_t f;
    crowd_t crowd;
    lp_handle_t *of_manager;
    open_quick(&f);
    memset(runs_of, 0, sizeof runs_of);
    assert_int_equal(lp_manager_handle(f.manager, &of_manager), 0);
    crowd_begin(&crowd, &f, CROWD, submit_or_ask, of_manager);
    crowd_end(&crowd);
    lp_handle_release(of_manager);
    close_all(&f);
}

/* Half of the tickets go before the jobs have ended, half of the others before they have begun. */
static void drop_tickets(member_t *member)
{
    for (int i = 0; i < EACH / 10; i++) {
        lp_ticket_t *ticket = submit(member->crowd->f->handle, member->crowd->data);
        lp_ticket_retain(ticket);
        lp_ticket_release(ticket);
        if (i % 8 == 0)
            CHECK(status_of(ticket) == 0);
        lp_ticket_release(ticket);
    }
}

static void tickets_that_nobody_keeps_run_all_the_same_and_leave_nothing(void **state)
{
    (void)state;
    fixture_t f;
    crowd_t crowd;
    atomic_int runs = 0;
    long before = lp__load_relaxed(&live_blocks);
    open_quick(&f);
    crowd_begin(&crowd, &f, CROWD, drop_tickets, &runs);
    crowd_end(&crowd);
    while (lp__load_relaxed(&runs) < CROWD * (EACH / 10))
        uv_run(&f.host.loop, UV_RUN_ONCE);
    close_all(&f);
    assert_int_equal(lp__load_relaxed(&runs), CROWD * (EACH / 10));
    assert_int_equal(lp__load_relaxed(&live_blocks), before);
}

static void cancel_some(member_t *member)
{
    atomic_int *ends = member->crowd->data; /* ran, did not */
    for (int i = 0; i < EACH / 10; i++) {
        atomic_int runs = 0;
        lp_ticket_t *ticket = submit(member->crowd->f->handle, &runs);
        if (i % 3 == 0) /* it may not even be pending yet */
            CHECK(lp_ticket_cancel(ticket) == 0 || lp_ticket_has_ended(ticket));
        else if (i % 3 == 1 && lp_ticket_wait(ticket, 1, &(int){0}) != 0)
            CHECK(lp_ticket_cancel(ticket) == 0 || lp_ticket_has_ended(ticket));
        int status = status_of(ticket);
        CHECK(status == 0 || status == LP_ECANCELLED);
        CHECK(lp__load_relaxed(&runs) == (status == 0));
        CHECK(lp_ticket_cancel(ticket) == LP_ESTATE);
        lp__add_relaxed(&ends[status != 0], 1);
        lp_ticket_release(ticket);
    }
}

static void a_cancel_that_races_with_the_loop_and_the_workers_ends_every_ticket_once(void **state)
{
    (void)state;
    fixture_t f;
    crowd_t crowd;
    atomic_int ends[2] = {0, 0};
    open_quick(&f);
    crowd_begin(&crowd, &f, CROWD, cancel_some, ends);
    crowd_end(&crowd);
    assert_int_equal(lp__load_relaxed(&ends[0]) + lp__load_relaxed(&ends[1]), CROWD * (EACH / 10));
    assert_true(lp__load_relaxed(&ends[0]) > 0 && lp__load_relaxed(&ends[1]) > 0);
    close_all(&f);
}

/* ---- One ticket --------------------------------------------------------------- */

static void wait_in_vain(member_t *member)
{
    one_t *one = member->crowd->data;
    one->status = 12345;
    CHECK(!lp_ticket_has_ended(one->ticket) && !lp_ticket_still_running(one->ticket));
    CHECK(lp_ticket_wait(one->ticket, 0, &one->status) == LP_ETIMEDOUT);
    CHECK(lp_ticket_wait(one->ticket, 2 * MS, &one->status) == LP_ETIMEDOUT);
    CHECK(one->status == 12345);
}

static void wait_again(member_t *member)
{
    one_t *one = member->crowd->data;
    for (int i = 0; i < 3; i++) {
        int status = 1;
        CHECK(lp_ticket_wait(one->ticket, i == 0 ? 0 : i == 1 ? MS : LP_FOREVER, &status) == 0);
        CHECK(status == one->status);
    }
    CHECK(lp_ticket_cancel(one->ticket) == LP_ESTATE);
}

static void cancel_one(member_t *member)
{
    one_t *one = member->crowd->data;
    CHECK(lp_ticket_cancel(one->ticket) == 0);
    CHECK(lp_ticket_cancel(one->ticket) == 0);
}

static void a_wait_ends_at_its_time_and_the_job_goes_on(void **state)
{
    (void)state;
    fixture_t f;
    one_t one = {0};
    open_quick(&f);
    alone(&f, submit_one, &one);
    alone(&f, wait_in_vain, &one);
    elsewhere(&f, wait_for_one, &one);
    assert_int_equal(one.status, 0);
    assert_int_equal(lp__load_relaxed(&one.runs), 1);
    alone(&f, wait_again, &one);
    lp_ticket_release(one.ticket);
    close_all(&f);
}

static void a_pending_job_that_is_cancelled_never_runs(void **state)
{
    (void)state;
    fixture_t f;
    for (int taken = 0; taken < 2; taken++) { /* has the loop heard of it? */
        one_t one = {0};
        open_slow(&f);
        alone(&f, submit_one, &one);
        if (taken)
            host_turn(&f.host);
        alone(&f, cancel_one, &one);
        elsewhere(&f, wait_for_one, &one);
        assert_int_equal(one.status, LP_ECANCELLED);
        assert_int_equal(lp__load_relaxed(&one.runs), 0);
        alone(&f, wait_again, &one);
        lp_ticket_release(one.ticket);
        close_all(&f);
    }
}

/* Stands in its job until it is to stop, or, where it does not look, until it is let go. */
typedef struct {
    one_t one;
    uv_sem_t begun, open, left;
    bool looks;
    int why; /* once it has left */
} stander_t;

static void stand(lp_job_t *job)
{
    stander_t *stander = job->data;
    uv_sem_post(&stander->begun);
    while (stander->looks && lp_job_cancelled(job) == 0)
        sched_yield();
    if (!stander->looks)
        uv_sem_wait(&stander->open);
    stander->why = lp_job_cancelled(job); /* the job is still there */
    CHECK(job->data == stander);
    uv_sem_post(&stander->left);
}

static void submit_stander(member_t *member)
{
    stander_t *stander = member->crowd->data;
    CHECK(lp_grinder_submit_from_thread(member->crowd->f->handle, &stander->one.ticket, LP_FOREVER,
                                        stand, stander) == 0);
    uv_sem_wait(&stander->begun);
}

static void stander_init(stander_t *stander, bool looks)
{
    memset(stander, 0, sizeof *stander);
    assert_int_equal(uv_sem_init(&stander->begun, 0), 0);
    assert_int_equal(uv_sem_init(&stander->open, 0), 0);
    assert_int_equal(uv_sem_init(&stander->left, 0), 0);
    stander->looks = looks;
}

static void stander_destroy(stander_t *stander)
{
    uv_sem_destroy(&stander->begun);
    uv_sem_destroy(&stander->open);
    uv_sem_destroy(&stander->left);
}

static void a_running_job_that_is_cancelled_is_asked_to_stop(void **state)
{
    (void)state;
    fixture_t f;
    stander_t stander;
    open_with(&f, 1, MS, HOUR);
    stander_init(&stander, true);
    elsewhere(&f, submit_stander, &stander);
    alone(&f, wait_in_vain, &stander.one);
    alone(&f, cancel_one, &stander.one);
    elsewhere(&f, wait_for_one, &stander.one);
    assert_int_equal(stander.one.status, LP_ECANCELLED);
    assert_int_equal(stander.why, LP_ECANCELLED);
    assert_int_equal(lp_ticket_still_running(stander.one.ticket), 0);
    lp_ticket_release(stander.one.ticket);
    stander_destroy(&stander);
    close_all(&f);
}

static void
a_job_that_was_given_up_may_look_at_itself_long_after_its_ticket_was_released(void **state)
{
    (void)state;
    fixture_t f;
    stander_t stander;
    for (int first = 0; first < 2; first++) { /* has it come back before the ticket goes? */
        open_with(&f, 1, MS, MS);
        stander_init(&stander, false);
        elsewhere(&f, submit_stander, &stander);
        alone(&f, cancel_one, &stander.one);
        elsewhere(&f, wait_for_one, &stander.one);
        assert_int_equal(stander.one.status, LP_ECANCELLED);
        assert_int_equal(uv_sem_trywait(&stander.left), UV_EAGAIN);
        assert_int_equal(lp_ticket_still_running(stander.one.ticket), 1);
        if (!first)
            lp_ticket_release(stander.one.ticket);
        uv_sem_post(&stander.open);
        uv_sem_wait(&stander.left);
        assert_int_equal(stander.why, LP_ECANCELLED);
        if (first)
            lp_ticket_release(stander.one.ticket);
        while (counts_of(f.manager).retiring > 0 || f.manager->executor_count > 0) {
            assert_int_equal(lp_manager_stop(f.manager, NULL, LP_FOREVER, NULL), 0);
            uv_run(&f.host.loop, UV_RUN_ONCE);
        }
        stander_destroy(&stander);
        close_all(&f);
    }
}

static void submit_with_no_time(member_t *member)
{
    one_t *one = member->crowd->data;
    CHECK(lp_grinder_submit_from_thread(member->crowd->f->handle, &one->ticket, MS, count_up,
                                        &one->runs) == 0);
    one->status = status_of(one->ticket);
    lp_ticket_release(one->ticket);
}

static void a_job_whose_time_is_over_while_it_is_pending_never_runs(void **state)
{
    (void)state;
    fixture_t f;
    one_t one = {0};
    open_slow(&f);
    elsewhere(&f, submit_with_no_time, &one);
    assert_int_equal(one.status, LP_ETIMEDOUT);
    assert_int_equal(lp__load_relaxed(&one.runs), 0);
    close_all(&f);
}

static void submit_too_many(member_t *member)
{
    atomic_int *runs = member->crowd->data;
    lp_ticket_t *tickets[5];
    for (int i = 0; i < 5; i++)
        tickets[i] = submit(member->crowd->f->handle, runs);
    for (int i = 3; i < 5; i++)
        CHECK(status_of(tickets[i]) == LP_EQUEUEFULL);
    for (int i = 0; i < 3; i++)
        CHECK(!lp_ticket_has_ended(tickets[i]));
    for (int i = 0; i < 5; i++)
        lp_ticket_release(tickets[i]);
}

static void jobs_beyond_max_pending_end_as_refused(void **state)
{
    (void)state;
    fixture_t f;
    atomic_int runs = 0;
    open_slow(&f);
    f.grinder->options.max_pending = 3;
    elsewhere(&f, submit_too_many, &runs);
    assert_int_equal(lp_grinder_stop(f.grinder, NULL, LP_FOREVER, NULL), 0);
    while (f.grinder->state != LP__GRINDER_STOPPED)
        uv_run(&f.host.loop, UV_RUN_ONCE);
    assert_int_equal(lp__load_relaxed(&runs), 3);
    close_all(&f);
}

/* ---- Refusals ----------------------------------------------------------------- */

static void misuse(member_t *member)
{
    lp_handle_t *handle = member->crowd->f->handle, *of_manager = member->crowd->data;
    lp_ticket_t *ticket = NULL;
    lp_grinder_stats_t grinder;
    lp_manager_stats_t manager;
    int status;
    CHECK(lp_grinder_submit_from_thread(NULL, &ticket, 0, count_up, NULL) == LP_EINVAL);
    CHECK(lp_grinder_submit_from_thread(handle, NULL, 0, count_up, NULL) == LP_EINVAL);
    CHECK(lp_grinder_submit_from_thread(handle, &ticket, 0, NULL, NULL) == LP_EINVAL);
    CHECK(lp_grinder_submit_from_thread(of_manager, &ticket, 0, count_up, NULL) == LP_EINVAL);
    CHECK(lp_grinder_stats_from_thread(NULL, &grinder, 0) == LP_EINVAL);
    CHECK(lp_grinder_stats_from_thread(handle, NULL, 0) == LP_EINVAL);
    CHECK(lp_grinder_stats_from_thread(of_manager, &grinder, 0) == LP_EINVAL);
    CHECK(lp_manager_stats_from_thread(NULL, &manager, 0) == LP_EINVAL);
    CHECK(lp_manager_stats_from_thread(of_manager, NULL, 0) == LP_EINVAL);
    CHECK(lp_manager_stats_from_thread(handle, &manager, 0) == LP_EINVAL);
    CHECK(lp_ticket_wait(NULL, 0, &status) == LP_EINVAL);
    CHECK(lp_ticket_cancel(NULL) == LP_EINVAL);
    CHECK(lp_grinder_handle(member->crowd->f->grinder, &handle) == LP_EWRONGTHREAD);
    CHECK(lp_manager_handle(member->crowd->f->manager, &handle) == LP_EWRONGTHREAD);
    CHECK(!ticket);
    lp_ticket_release(NULL);
    lp_handle_release(NULL);
    /* no answer in time: the loop is not run meanwhile */
    CHECK(lp_grinder_stats_from_thread(member->crowd->f->handle, &grinder, 0) == LP_ETIMEDOUT);
    CHECK(lp_grinder_stats_from_thread(member->crowd->f->handle, &grinder, MS) == LP_ETIMEDOUT);
    CHECK(lp_manager_stats_from_thread(of_manager, &manager, MS) == LP_ETIMEDOUT);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    fixture_t f;
    lp_handle_t *of_manager, *again;
    open_quick(&f);
    assert_int_equal(lp_manager_handle(f.manager, &of_manager), 0);
    assert_int_equal(lp_manager_handle(f.manager, &again), 0);
    assert_ptr_equal(again, of_manager);
    lp_handle_release(again);
    assert_int_equal(lp_manager_handle(NULL, &again), LP_EINVAL);
    assert_int_equal(lp_manager_handle(f.manager, NULL), LP_EINVAL);
    assert_int_equal(lp_grinder_handle(NULL, &again), LP_EINVAL);
    assert_int_equal(lp_grinder_handle(f.grinder, NULL), LP_EINVAL);
    alone(&f, misuse, of_manager);
    lp_handle_release(of_manager);
    close_all(&f);
}

static void the_loops_own_thread_is_refused(void **state)
{
    (void)state;
    fixture_t f;
    lp_handle_t *of_manager;
    lp_ticket_t *ticket = NULL;
    lp_grinder_stats_t grinder;
    lp_manager_stats_t manager;
    one_t one = {0};
    int status;
    open_quick(&f);
    assert_int_equal(lp_manager_handle(f.manager, &of_manager), 0);
    assert_int_equal(lp_grinder_submit_from_thread(f.handle, &ticket, 0, count_up, NULL),
                     LP_EWRONGTHREAD);
    assert_null(ticket);
    assert_int_equal(lp_grinder_stats_from_thread(f.handle, &grinder, 0), LP_EWRONGTHREAD);
    assert_int_equal(lp_manager_stats_from_thread(of_manager, &manager, 0), LP_EWRONGTHREAD);
    alone(&f, submit_one, &one);
    for (int ended = 0; ended < 2; ended++) {
        assert_int_equal(lp_ticket_wait(one.ticket, 0, &status), LP_EWRONGTHREAD);
        assert_int_equal(lp_ticket_cancel(one.ticket), LP_EWRONGTHREAD);
        if (!ended)
            elsewhere(&f, wait_for_one, &one);
    }
    lp_ticket_retain(one.ticket);
    lp_ticket_release(one.ticket);
    lp_ticket_release(one.ticket);
    lp_handle_release(of_manager);
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_threads_that_submit_at_once_lose_no_job_and_run_none_twice),
        cmocka_unit_test(statistics_add_up_whenever_a_thread_asks),
        cmocka_unit_test(tickets_that_nobody_keeps_run_all_the_same_and_leave_nothing),
        cmocka_unit_test(a_cancel_that_races_with_the_loop_and_the_workers_ends_every_ticket_once),
        cmocka_unit_test(a_wait_ends_at_its_time_and_the_job_goes_on),
        cmocka_unit_test(a_pending_job_that_is_cancelled_never_runs),
        cmocka_unit_test(a_running_job_that_is_cancelled_is_asked_to_stop),
        cmocka_unit_test(
            a_job_that_was_given_up_may_look_at_itself_long_after_its_ticket_was_released),
        cmocka_unit_test(a_job_whose_time_is_over_while_it_is_pending_never_runs),
        cmocka_unit_test(jobs_beyond_max_pending_end_as_refused),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(the_loops_own_thread_is_refused),
    };
    count_blocks();
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
