/* Jobs over RDDs: narrow chains, shuffles, sorting, persisting, retries, failures, cancelling, the watchdog. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "base/clock.h"

static rl_status times_ten(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)n;
  rl_value v = rl_int(f[0].i * 10);
  return rl_emit_record(out, &v, 1);
}

static rl_status by_parity(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)n;
  rl_value kv[2] = {rl_int(f[0].i % 2), f[0]};
  return rl_emit_record(out, kv, 2);
}

static rl_status count_calls(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  atomic_fetch_add((atomic_int *)user, 1);
  return rl_emit_record(out, f, n);
}

static rl_rdd *mapped(rl_rdd *r, rl_native_map *f, void *user)
{
  return apply((rl_op){.kind = RL_OP_NARROW, .name = "map", .fn = rl_fn_map(f, user, NULL)}, r);
}

static rl_rdd *summed(rl_rdd *r, uint32_t partitions)
{
  return apply((rl_op){.kind = RL_OP_SHUFFLE,
                       .name = "reduceByKey",
                       .part = RL_PART_HASH,
                       .partitions = partitions,
                       .map_fn = rl_fn_fold_by_key(rl_native_sum, NULL, NULL),
                       .fn = rl_fn_fold_by_key(rl_native_sum, NULL, NULL)},
               r);
}

static void test_narrow_chain(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  rl_rdd *r = mapped(mapped(integers(1, 5, 3), times_ten, NULL), times_ten, NULL);
  char *text = collect(c, r);
  assert_string_equal(text, "100\n200\n300\n400\n500\n");
  rl_free(text);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_reduce_and_reuse(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  atomic_int calls = 0;
  rl_rdd *r = summed(mapped(mapped(integers(1, 1000, 7), count_calls, &calls), by_parity, NULL), 3);
  assert_int_equal(rl_rdd_partitions(r), 3);
  for (int again = 0; again < 2; again++) {
    char *text = collect(c, r);
    assert_true(strcmp(text, "(0,250500)\n(1,250000)\n") == 0 || strcmp(text, "(1,250000)\n(0,250500)\n") == 0);
    rl_free(text);
    assert_int_equal(calls, 1000); /* the second action reads the shuffle's outputs */
  }
  /* already partitioned by key: no second exchange */
  rl_rdd *again = summed(rl_rdd_ref(r), 0);
  rl_buf debug = {0};
  rl_rdd_debug(again, &debug);
  const char *first = strstr(rl_buf_cstr(&debug), "+-");
  assert_non_null(first);
  assert_null(strstr(first + 1, "+-"));
  rl_buf_free(&debug);
  rl_rdd_unref(again);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_sort(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  rl_rdd *r =
    apply((rl_op){.kind = RL_OP_SHUFFLE, .name = "sort", .part = RL_PART_RANGE, .partitions = 4, .descending = true},
          integers(1, 20000, 5));
  char *text = collect(c, r);
  char *p = text;
  for (long want = 20000; want >= 1; want--) {
    char *end;
    assert_int_equal(strtol(p, &end, 10), want);
    p = end + 1;
  }
  assert_int_equal(*p, '\0');
  rl_free(text);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_union_coalesce_roundrobin(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  rl_rdd *parents[3] = {integers(1, 3, 2), rl_rdd_empty(0), integers(4, 6, 3)};
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_UNION, .name = "union"});
  rl_rdd *all = NULL;
  assert_int_equal(rl_rdd_apply(op, parents, 3, 0, &all), RL_OK);
  assert_int_equal(rl_rdd_partitions(all), 5);
  rl_rdd *two = apply((rl_op){.kind = RL_OP_COALESCE, .name = "coalesce", .partitions = 2}, rl_rdd_ref(all));
  assert_int_equal(rl_rdd_partitions(two), 2);
  char *text = collect(c, two);
  assert_string_equal(text, "1\n2\n3\n4\n5\n6\n");
  rl_free(text);
  rl_rdd *spread =
    apply((rl_op){.kind = RL_OP_SHUFFLE, .name = "repartition", .part = RL_PART_ROUND_ROBIN, .partitions = 3},
          rl_rdd_ref(all));
  rl_job *job;
  assert_int_equal(run(c, spread, RL_JOB_COUNT, 0, &job), RL_OK);
  uint64_t sum = 0;
  for (uint32_t i = 0; i < 3; i++) sum += rl_job_count(job, i);
  assert_int_equal(sum, 6);
  rl_job_unref(job);
  for (int i = 0; i < 3; i++) rl_rdd_unref(parents[i]);
  rl_op_unref(op);
  rl_rdd_unref(two);
  rl_rdd_unref(spread);
  rl_rdd_unref(all);
  rl_context_unref(c);
}

static void test_persist(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  atomic_int calls = 0;
  rl_rdd *r = mapped(integers(1, 100, 4), count_calls, &calls);
  assert_int_equal(rl_rdd_persist(r, RL_LEVEL_MEMORY_ONLY), RL_OK);
  for (int again = 0; again < 2; again++) {
    rl_job *job;
    assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_OK);
    rl_job_unref(job);
    assert_int_equal(calls, 100);
  }
  rl_rdd_unpersist(r);
  rl_job *job;
  assert_int_equal(run(c, r, RL_JOB_COLLECT, 1, &job), RL_OK);
  assert_int_equal(rl_chunks_records(rl_job_chunks(job, 0)), 1);
  rl_job_unref(job);
  assert_int_equal(calls, 200);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

typedef struct flaky {
  atomic_int left;
  bool retriable;
} flaky;

static rl_status fail_some(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  flaky *w = user;
  if (f[0].i == 7 && atomic_fetch_sub(&w->left, 1) > 0) {
    rl_fail(RL_EUSER, "seven is bad");
    rl_error_set_retriable(w->retriable);
    return RL_EUSER;
  }
  return rl_emit_record(out, f, n);
}

static void test_retries(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  flaky three = {3, true}, four = {4, true}, once = {1, false};
  struct {
    flaky *f;
    bool ok;
    int left;
  } cases[] = {{&three, true, -1}, {&four, false, 0}, {&once, false, 0}};
  for (int i = 0; i < 3; i++) {
    rl_rdd *r = summed(mapped(mapped(integers(1, 10, 2), fail_some, cases[i].f), by_parity, NULL), 2);
    rl_job *job = NULL;
    rl_status st = run(c, r, RL_JOB_COUNT, 0, &job);
    assert_int_equal(st, cases[i].ok ? RL_OK : RL_EUSER);
    if (!cases[i].ok) assert_non_null(strstr(rl_error_message(), "seven is bad"));
    assert_int_equal(cases[i].f->left, cases[i].left);
    rl_job_unref(job);
    if (!cases[i].ok) { /* the same RDD can be run again after a failure */
      assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_OK);
      rl_job_unref(job);
    }
    rl_rdd_unref(r);
  }
  rl_context_unref(c);
}

static rl_status spin(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  while (!atomic_load((atomic_bool *)user)) continue;
  return rl_emit_record(out, f, n);
}

static void test_stuck_worker_is_replaced(void **state)
{
  (void)state;
  static const char *settings[] = {"rille.task.maxSeconds", "1s", "rille.log.level", "off", NULL};
  rl_context *c = new_context(settings);
  static atomic_bool let_go;
  rl_rdd *r = mapped(integers(1, 2, 2), spin, &let_go);
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_ETIMEOUT);
  assert_non_null(strstr(rl_error_message(), "stuck"));
  rl_job_unref(job);
  rl_rdd_unref(r);
  r = mapped(integers(1, 4, 4), times_ten, NULL);
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_OK); /* replaced workers go on */
  rl_job_unref(job);
  rl_rdd_unref(r);
  atomic_store(&let_go, true); /* the lost threads come back, see that they were given up, and end */
  rl_context_unref(c);
}

static void count_attempt(void *user, void *local, const rl_task *task)
{
  (void)local;
  (void)task;
  atomic_fetch_add((atomic_int *)user, 1);
}

/* How many tasks counting its records takes. Gives r up. */
static int tasks_of(rl_rdd *r, uint64_t records)
{
  atomic_int tasks = 0;
  rl_context *c = new_context_with(&(rl_worker_hooks){.user = &tasks, .begin = count_attempt}, NULL);
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_OK);
  uint64_t counted = 0;
  for (uint32_t p = 0; p < rl_job_partitions(job); p++) counted += rl_job_count(job, p);
  assert_int_equal(counted, records);
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
  return tasks;
}

static rl_rdd *both(rl_opkind kind, rl_rdd *a, rl_rdd *b)
{
  rl_op *op = rl_op_new(&(rl_op){.kind = kind, .name = "both"});
  rl_rdd *parents[2] = {a, b}, *r = NULL;
  assert_int_equal(rl_rdd_apply(op, parents, 2, 0, &r), RL_OK);
  rl_op_unref(op);
  rl_rdd_unref(a);
  rl_rdd_unref(b);
  return r;
}

static rl_rdd *nothing(uint32_t partitions) { return mapped(rl_rdd_empty(partitions), by_parity, NULL); }

static void test_partitions_without_records_need_no_task(void **state)
{
  (void)state;
  assert_int_equal(tasks_of(nothing(3), 0), 0);
  assert_int_equal(tasks_of(summed(nothing(0), 4), 0), 0);
  assert_int_equal(tasks_of(summed(summed(nothing(5), 4), 3), 0), 0);
  /* One of four partitions has a record, which goes to one of three. */
  assert_int_equal(tasks_of(summed(mapped(integers(1, 1, 4), by_parity, NULL), 3), 1), 2);
  assert_int_equal(tasks_of(both(RL_OP_UNION, nothing(3), integers(1, 4, 2)), 4), 2);
  assert_int_equal(tasks_of(both(RL_OP_UNION, summed(nothing(2), 2), summed(nothing(3), 2)), 0), 0);
  assert_int_equal(tasks_of(both(RL_OP_ZIP, nothing(3), nothing(3)), 0), 0);
  assert_int_equal(tasks_of(both(RL_OP_CARTESIAN, nothing(2), nothing(2)), 0), 0);
  assert_int_equal(tasks_of(both(RL_OP_CARTESIAN, nothing(2), integers(1, 4, 2)), 0), 4); /* which reads the other */
  rl_op two = {.kind = RL_OP_COALESCE, .name = "coalesce", .partitions = 2};
  assert_int_equal(tasks_of(apply(two, integers(1, 1, 4)), 1), 1);
  rl_op sort = {.kind = RL_OP_SHUFFLE, .name = "sort", .part = RL_PART_RANGE, .partitions = 2};
  assert_int_equal(tasks_of(apply(sort, nothing(0)), 0), 0);
}

static void test_what_may_do_something_without_records_runs(void **state)
{
  (void)state;
  rl_fn *fn = rl_fn_map(times_ten, NULL, NULL);
  fn->idle = false;
  rl_op op = {.kind = RL_OP_NARROW, .name = "mapPartitions", .fn = fn};
  assert_int_equal(tasks_of(mapped(apply(op, nothing(3)), times_ten, NULL), 0), 3);
  rl_rdd *kept = nothing(3);
  assert_int_equal(rl_rdd_persist(kept, RL_LEVEL_MEMORY_ONLY), RL_OK);
  assert_int_equal(tasks_of(kept, 0), 3);
  fn = rl_fn_map(by_parity, NULL, NULL);
  fn->idle = false;
  rl_op sends = {.kind = RL_OP_SHUFFLE, .name = "partitionBy", .part = RL_PART_HASH, .partitions = 2, .map_fn = fn};
  assert_int_equal(tasks_of(apply(sends, rl_rdd_empty(3)), 0), 3);
}

static bool is_true(void *arg) { return atomic_load((atomic_int *)arg) > 0; }

static rl_status say_and_spin(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  atomic_int *w = user;
  atomic_fetch_add(w, 1);
  while (atomic_load(w) < 100) continue;
  return rl_emit_record(out, f, n);
}

static void test_cancel(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  atomic_int w = 0;
  rl_rdd *r = summed(mapped(mapped(integers(1, 100, 4), say_and_spin, &w), by_parity, NULL), 2);
  rl_job_spec spec = {.rdd = r, .kind = RL_JOB_COUNT, .batch_time = RL_NO_TIME, .what = "count"};
  rl_job *job = NULL;
  assert_int_equal(rl_job_submit(c, &spec, NULL, &job), RL_OK);
  while (!is_true(&w)) rl_driver_serve(rl_context_driver(c), is_true, &w, 1000000);
  rl_job_cancel(job);
  assert_int_equal(rl_job_wait(job), RL_ECANCELLED);
  atomic_store(&w, 1000);
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_conf(void **state)
{
  (void)state;
  rl_conf *conf = rl_conf_new();
  assert_int_equal(rl_conf_set(conf, "rille.streaming.blockIntervall", "1"), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "did you mean 'rille.streaming.blockInterval'"));
  assert_int_equal(rl_conf_set(conf, "rille.streaming.blockInterval", "0.05"), RL_OK);
  assert_int_equal(rl_conf_us(conf, "rille.streaming.blockInterval"), 50000);
  assert_int_equal(rl_conf_set(conf, "spark.streaming.blockInterval", "200"), RL_OK);
  assert_int_equal(rl_conf_us(conf, "rille.streaming.blockInterval"), 200000);
  assert_int_equal(rl_conf_set(conf, "rille.streaming.blockInterval", "1h"), RL_OK);
  assert_int_equal(rl_conf_us(conf, "rille.streaming.blockInterval"), INT64_C(3600000000));
  assert_int_equal(rl_conf_set(conf, "rille.streaming.blockInterval", "5 apples"), RL_EINVAL);
  assert_int_equal(rl_conf_set(conf, "rille.streaming.blockInterval", "-1"), RL_EINVAL);
  assert_int_equal(rl_conf_set(conf, "master", "local[0]"), RL_EINVAL);
  assert_int_equal(rl_conf_set(conf, "master", "yarn"), RL_EINVAL);
  assert_int_equal(rl_conf_set(conf, "rille.task.maxMemory", "1g"), RL_OK);
  assert_int_equal(rl_conf_size(conf, "rille.task.maxMemory"), INT64_C(1) << 30);
  assert_int_equal(rl_conf_set(conf, "rille.task.maxFailures", "many"), RL_EINVAL);
  uint32_t n;
  assert_int_equal(rl_conf_set(conf, "spark.master", "local[3]"), RL_OK);
  assert_int_equal(rl_conf_workers(conf, &n), RL_OK);
  assert_int_equal(n, 3);
  rl_conf_delete(conf);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_narrow_chain), cmocka_unit_test(test_reduce_and_reuse), cmocka_unit_test(test_sort),
    cmocka_unit_test(test_union_coalesce_roundrobin), cmocka_unit_test(test_persist), cmocka_unit_test(test_retries),
    cmocka_unit_test(test_stuck_worker_is_replaced), cmocka_unit_test(test_cancel),
    cmocka_unit_test(test_partitions_without_records_need_no_task),
    cmocka_unit_test(test_what_may_do_something_without_records_runs),
    cmocka_unit_test(test_conf),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
