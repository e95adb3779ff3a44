/* Updates of tasks: once a task however often it is tried, in the order of tasks, not again for a stage that does not
 * run again; the end hook's say in a task's success. */
#include <stdatomic.h>
#include <string.h>

#include "engine.h"

/* A task's update: its partition as a letter, in lower case when it was not the first attempt. */
static void report(void *user, void *local, const rl_task *task)
{
  (void)user;
  (void)local;
  rl_buf_putc(task->updates, (char)((task->attempt ? 'a' : 'A') + (int)task->partition));
}

static const rl_worker_hooks reporting = {.begin = report};

static char *take(rl_context *c)
{
  rl_buf all = {0};
  rl_context_take_updates(c, &all);
  return rl_buf_cstr(&all); /* the caller's */
}

static void assert_updates(rl_context *c, const char *expected)
{
  char *text = take(c);
  assert_string_equal(text, expected);
  rl_free(text);
}

/* Counts down; fails while above 0. The last partitions come to their end first. */
static rl_status fail_first(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  if (f[0].i % 2 == 0 && atomic_fetch_sub((atomic_int *)user, 1) > 0) {
    rl_fail(RL_EUSER, "not yet");
    return RL_EUSER;
  }
  return rl_emit_record(out, f, n);
}

static rl_rdd *flaky(rl_rdd *r, atomic_int *failures)
{
  return apply((rl_op){.kind = RL_OP_NARROW, .name = "map", .fn = rl_fn_map(fail_first, failures, NULL)}, r);
}

static rl_status count(rl_context *c, rl_rdd *r)
{
  rl_job *job = NULL;
  rl_status st = run(c, r, RL_JOB_COUNT, 0, &job);
  rl_job_unref(job);
  return st;
}

static void test_order_and_taking(void **state)
{
  (void)state;
  rl_context *c = new_context_with(&reporting, NULL);
  rl_rdd *r = integers(1, 26, 26);
  assert_updates(c, "");
  for (int again = 0; again < 20; again++) {
    assert_int_equal(count(c, r), RL_OK);
    assert_updates(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  }
  assert_int_equal(count(c, r), RL_OK);
  assert_int_equal(count(c, r), RL_OK);
  assert_updates(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ");
  assert_updates(c, "");
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_retries_count_once(void **state)
{
  (void)state;
  rl_context *c = new_context_with(&reporting, NULL);
  atomic_int failures = 2;
  rl_rdd *r = flaky(integers(2, 2, 1), &failures);
  assert_int_equal(count(c, r), RL_OK);
  assert_updates(c, "a");
  failures = 1000000;
  assert_int_equal(count(c, r), RL_EUSER);
  assert_updates(c, "");
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_failed_job_keeps_what_succeeded(void **state)
{
  (void)state;
  static const char *settings[] = {"master", "local", NULL};
  rl_context *c = new_context_with(&reporting, settings);
  atomic_int failures = 1000000;
  rl_rdd *r = flaky(integers(1, 2, 2), &failures);
  assert_int_equal(count(c, r), RL_EUSER);
  assert_updates(c, "A");
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_reused_stage_is_silent(void **state)
{
  (void)state;
  rl_context *c = new_context_with(&reporting, NULL);
  const rl_op spread = {.kind = RL_OP_SHUFFLE, .name = "repartition", .part = RL_PART_ROUND_ROBIN, .partitions = 2};
  rl_rdd *r = apply(spread, integers(1, 30, 3));
  assert_int_equal(count(c, r), RL_OK);
  assert_updates(c, "ABCAB");
  assert_int_equal(count(c, r), RL_OK);
  assert_updates(c, "AB");
  rl_rdd_unref(r);
  rl_context_unref(c);
}

/* Refuses the first attempts of tasks that went well. */
static rl_status refuse(void *user, void *local, const rl_task *task, rl_status status)
{
  (void)user;
  (void)local;
  if (status == RL_OK && task->attempt == 0) return rl_fail(RL_EUSER, "refused");
  return status;
}

static void test_end_hook_may_refuse(void **state)
{
  (void)state;
  rl_worker_hooks hooks = reporting;
  hooks.end = refuse;
  rl_context *c = new_context_with(&hooks, NULL);
  rl_rdd *r = integers(1, 3, 3);
  assert_int_equal(count(c, r), RL_OK);
  assert_updates(c, "abc");
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_stop_drops_what_nobody_took(void **state)
{
  (void)state;
  rl_context *c = new_context_with(&reporting, NULL);
  rl_rdd *r = integers(1, 3, 3);
  assert_int_equal(count(c, r), RL_OK);
  rl_rdd_unref(r);
  rl_context_stop(c);
  assert_updates(c, "ABC"); /* until the context goes */
  rl_context_unref(c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_order_and_taking), cmocka_unit_test(test_retries_count_once),
    cmocka_unit_test(test_failed_job_keeps_what_succeeded), cmocka_unit_test(test_reused_stage_is_silent),
    cmocka_unit_test(test_end_hook_may_refuse), cmocka_unit_test(test_stop_drops_what_nobody_took),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
