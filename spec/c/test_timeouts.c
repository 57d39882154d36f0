/* test_timeouts.c - jobs that wait too long, and what else may end a job in the queue. */
#include "expiry.h"

#include <sched.h>

static void a_queued_job_times_out_at_the_exact_nanosecond(void **state)
{
    (void)state;
    fixture_t f;
    task_t tasks[3];
    lp_manager_t *manager = open_pools(&f, 1);
    lp_lease_t *lease = lease_of(manager);
    memset(tasks, 0, sizeof tasks);
    assert_int_equal(task_submit_within(&tasks[0], lease, 10), 0);
    assert_int_equal(task_submit_within(&tasks[1], lease, 0), 0);
    assert_int_equal(task_submit_within(&tasks[2], lease, LP_FOREVER - 1), 0);
    assert_int_equal(task_submit_within(&tasks[0], lease, 10), LP_ESTATE);
    host_turn(&f.host);
    assert_int_equal(tasks[1].status, LP_ETIMEDOUT);
    host_advance(&f.host, 9);
    assert_int_equal(tasks[0].calls, 0);
    host_advance(&f.host, 1);
    assert_int_equal(tasks[0].calls, 1);
    assert_int_equal(tasks[0].status, LP_ETIMEDOUT);
    assert_int_equal(task_submit_within(&tasks[0], lease, 10), 0); /* again */
    host_pass(&f.host, 9);
    assert_int_equal(lp_job_remaining_ns(&tasks[0].job), 1);
    assert_int_equal(lp_job_remaining_ns(&tasks[2].job), HARD - 19);
    assert_ptr_equal(fake_take(lease->executor), &tasks[2].job);
    assert_ptr_equal(fake_take(lease->executor), &tasks[0].job);
    host_advance(&f.host, 10);
    assert_int_equal(lp_job_remaining_ns(&tasks[0].job), 0);
    assert_int_equal(fake.asks, 1); /* it runs */
    assert_int_equal(lp_job_cancel(&tasks[0].job), 0);
    assert_int_equal(fake.asks, 1);
    assert_int_equal(tasks[0].calls, 1);
    fake_finish(&tasks[0].job); /* without a look whether it is to stop */
    host_turn(&f.host);
    assert_int_equal(tasks[0].status, 0);
    lp_manager_stats_t s = assert_equations(manager);
    assert_int_equal(s.failed, 2);
    assert_int_equal(s.done, 1);
    assert_int_equal(s.running, 1);
    close_all(&f);
    assert_int_equal(tasks[2].status, 0);
}

/* What happens to one queued job, in every order; the first decides. */
enum { TIMEOUT, CANCEL, EXPIRY, STOP, TAKEN, BROKEN, ENDS };

static void do_end(fixture_t *f, lp_lease_t *lease, task_t *task, int end)
{
    switch (end) {
    case CANCEL:
        (void)lp_job_cancel(&task->job);
        break;
    case STOP:
        assert_int_equal(lp_manager_stop(f->manager, NULL, LP_FOREVER, NULL), 0);
        break;
    case TAKEN:
        (void)fake_take(lease->executor);
        break;
    case BROKEN:
        lp__runtime_look(f->host.rt); /* as the turn does that comes here */
        lp__executor_break(lease->executor, "test");
        break;
    default: /* time does it */
        break;
    }
}

static void the_first_end_of_a_job_is_the_one_it_gets(void **state)
{
    (void)state;
    static const int statuses[] = {LP_ETIMEDOUT, LP_ECANCELLED, LP_EEXPIRED, LP_ECANCELLED, 0,
                                   LP_EBROKEN};
    for (int first = 0; first < ENDS; first++) {
        for (int second = 0; second < ENDS; second++) {
            for (int turns = 0; turns < 4; turns++) { /* a turn after each of the two, or none */
                if (first == second)
                    continue;
                fixture_t f;
                task_t task = {0}, other;
                lp_manager_t *manager = open_pools(&f, 1);
                lp_set_logger(f.host.rt, log_line, &(log_t){0});
                lp_lease_t *lease = lease_of(manager);
                fake_stand(&other, lease); /* keeps the executor */
                uint64_t timeout = first == TIMEOUT ? HARD + 10 : second == TIMEOUT ? HARD + 20 : 0;
                uint64_t hard = first == EXPIRY ? HARD + 10 : HARD + 20;
                assert_int_equal(lp_lease_renew(lease, hard - GRACE), 0);
                assert_int_equal(task_submit_within(&task, lease, timeout ? timeout : LP_FOREVER),
                                 0);
                if (first != EXPIRY && second != EXPIRY)
                    assert_int_equal(lp_lease_renew(lease, LP_SECOND), 0);
                pass(&f.host, HARD + 10, turns & 1 && first <= EXPIRY);
                do_end(&f, lease, &task, first);
                if (turns & 1)
                    host_turn(&f.host);
                pass(&f.host, 10, turns & 2 && second <= EXPIRY);
                if (second != TAKEN || first > STOP || first == CANCEL)
                    if (!(second == BROKEN && (first == EXPIRY || first == STOP)))
                        do_end(&f, lease, &task, second);
                assert_equations(manager);
                host_turn(&f.host);
                fake_finish_all(manager);
                host_turn(&f.host);
                assert_int_equal(task.calls, 1);
                assert_int_equal(task.status, statuses[first]);
                assert_int_equal(lp__load_relaxed(&task.runs), first == TAKEN);
                if (task.status == LP_EBROKEN)
                    assert_string_equal(lp_broken_reason(f.host.rt), "test");
                assert_equations(manager);
                close_all(&f);
            }
        }
    }
}

static void timeouts_without_a_turn_come_in_the_order_of_their_times(void **state)
{
    (void)state;
    fixture_t f;
    task_t early = {0}, late = {0}, standing;
    lp_manager_t *manager = open_pools(&f, 1);
    lp_lease_t *lease = lease_of(manager);
    fake_stand(&standing, lease);
    assert_int_equal(task_submit_within(&early, lease, HARD - 1), 0);
    assert_int_equal(task_submit_within(&late, lease, HARD + 1), 0);
    host_pass(&f.host, 2 * HARD);
    assert_int_equal(lp_lease_state(lease), LP_LEASE_EXPIRED);
    host_turn(&f.host);
    assert_int_equal(early.status, LP_ETIMEDOUT);
    assert_int_equal(late.status, LP_EEXPIRED);
    close_all(&f);
}

static void a_timeout_that_finds_no_memory_queues_nothing(void **state)
{
    (void)state;
    fixture_t f;
    task_t task = {0};
    lp_manager_t *manager = open_pools(&f, 1);
    lp_lease_t *lease = lease_of(manager);
    lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 1);
    assert_int_equal(task_submit_within(&task, lease, 10), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 2); /* the worker */
    assert_int_equal(task_submit_within(&task, lease, 10), LP_ENOMEM);
    lp__alloc_fault_arm(LP_MEM_CORE, LP_ROLE_LOOP, 0);
    assert_int_equal(lp_job_cancel(&task.job), LP_ESTATE);
    assert_int_equal(assert_equations(manager).jobs, 0);
    host_advance(&f.host, 20); /* and no deadline is left behind */
    assert_int_equal(task_submit_within(&task, lease, 10), 0);
    host_advance(&f.host, 10);
    assert_int_equal(task.status, LP_ETIMEDOUT);
    close_all(&f);
}

/* ---- With threads --------------------------------------------------------------- */

/* The loop is busy: no turn comes, and a worker gets to the jobs. */
static void a_worker_runs_no_job_whose_time_is_over(void **state)
{
    (void)state;
    for (int expires = 0; expires < 2; expires++) {
        host_t host;
        gate_t gate, last;
        task_t late = {0}, early = {0};
        host_open(&host);
        host_freeze(&host);
        lp_manager_t *manager = manager_of(&host, 1, 1);
        lp_lease_t *lease = lease_of(manager);
        gate_shut(&gate, lease);
        gate_init(&last);
        assert_int_equal(task_submit_within(&late, lease, 10), 0);
        assert_int_equal(task_submit_within(&early, lease, expires ? LP_FOREVER : 11), 0);
        assert_int_equal(lp_submit(lease, &last.task.job, gate_run, task_done), 0);
        host_pass(&host, expires ? 1000 * LP_SECOND : 10);
        gate_open(&gate);
        if (!expires)
            uv_sem_wait(&last.begun);
        while (lp__queue_length(&lease->executor->queue) > 0)
            sched_yield();
        gate_open(&last);
        assert_int_equal(lease->state, LP_LEASE_ACTIVE); /* as the loop knows */
        host_until(&host, &last.task.calls, 1);
        assert_int_equal(late.status, LP_ETIMEDOUT);
        assert_int_equal(lp__load_relaxed(&late.runs), 0);
        assert_int_equal(early.status, expires ? LP_EEXPIRED : 0);
        assert_int_equal(lp__load_relaxed(&early.runs), !expires);
        assert_int_equal(last.task.status, expires ? LP_EEXPIRED : 0);
        assert_int_equal(gate.task.status, 0); /* it had begun in time */
        assert_int_equal(assert_equations(manager).run.count, expires ? 1 : 3);
        host_close(&host);
        gate_destroy(&gate);
        gate_destroy(&last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queued_job_times_out_at_the_exact_nanosecond),
        cmocka_unit_test(the_first_end_of_a_job_is_the_one_it_gets),
        cmocka_unit_test(timeouts_without_a_turn_come_in_the_order_of_their_times),
        cmocka_unit_test(a_timeout_that_finds_no_memory_queues_nothing),
        cmocka_unit_test(a_worker_runs_no_job_whose_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
