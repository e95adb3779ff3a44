/* Lineages over several parents: zip and cartesian, and what they refuse. */
#include "engine.h"

#include <string.h>

static rl_status with_square(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)n;
  rl_value pair[2] = {f[0], rl_int(f[0].i * f[0].i)};
  return rl_emit_record(out, pair, 2);
}

static rl_rdd *squares(rl_rdd *r)
{
  return apply((rl_op){.kind = RL_OP_NARROW, .name = "map", .fn = rl_fn_map(with_square, NULL, NULL)}, r);
}

/* Applies to parents, which are given up. */
static rl_status apply_to(rl_op like, rl_rdd **parents, uint32_t n, rl_rdd **out)
{
  rl_op *op = rl_op_new(&like);
  rl_status st = rl_rdd_apply(op, parents, n, 0, out);
  rl_op_unref(op);
  for (uint32_t i = 0; i < n; i++) rl_rdd_unref(parents[i]);
  return st;
}

static rl_rdd *applied(rl_op like, rl_rdd *a, rl_rdd *b)
{
  rl_rdd *parents[2] = {a, b}, *r = NULL;
  if (apply_to(like, parents, 2, &r) != RL_OK) fail_msg("%s", rl_error_message());
  return r;
}

static const rl_op zip = {.kind = RL_OP_ZIP, .name = "zip"};
static const rl_op uneven_zip = {.kind = RL_OP_ZIP, .name = "zipPartitions", .uneven = true};
static const rl_op cartesian = {.kind = RL_OP_CARTESIAN, .name = "cartesian"};

static void expect(rl_rdd *r, uint32_t partitions, const char *text)
{
  rl_context *c = new_context(NULL);
  assert_int_equal(rl_rdd_partitions(r), partitions);
  char *got = collect(c, r);
  assert_string_equal(got, text);
  rl_free(got);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void zip_pairs_records(void **state)
{
  (void)state;
  expect(applied(zip, integers(1, 4, 2), integers(11, 14, 2)), 2, "(1,11)\n(2,12)\n(3,13)\n(4,14)\n");
  expect(applied(zip, squares(integers(1, 2, 1)), squares(integers(3, 4, 1))), 1, "((1,1),(3,9))\n((2,4),(4,16))\n");
  expect(applied(zip, rl_rdd_empty(0), rl_rdd_empty(0)), 0, "");
  expect(applied(zip, rl_rdd_empty(2), rl_rdd_empty(2)), 2, "");
}

/* Chunks of the two sides end at different records. */
static void zip_crosses_chunks(void **state)
{
  (void)state;
  rl_context *c = new_context(NULL);
  enum { N = 3 * RL_CHUNK_RECORDS + 7 };
  rl_rdd *odd[2] = {integers(1, 5, 1), integers(6, N, 1)}, *left = NULL, *one = NULL;
  assert_int_equal(apply_to((rl_op){.kind = RL_OP_UNION, .name = "union"}, odd, 2, &left), RL_OK);
  one = apply((rl_op){.kind = RL_OP_COALESCE, .name = "coalesce", .partitions = 1}, left);
  rl_rdd *r = applied(zip, one, integers(1, N, 1));
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COLLECT, 0, &job), RL_OK);
  const rl_chunks *list = rl_job_chunks(job, 0);
  assert_int_equal(rl_chunks_records(list), N);
  for (size_t k = 0; k < list->n; k++)
    for (uint32_t row = 0; row < list->v[k]->n; row++)
      assert_int_equal(rl_chunk_get(list->v[k], 0, row).i, rl_chunk_get(list->v[k], 1, row).i);
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void expect_failure(rl_rdd *r, const char *text)
{
  rl_context *c = new_context(NULL);
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), text));
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void zip_wants_equal_lengths(void **state)
{
  (void)state;
  const char *text = "zip: partition 1 of one RDD has 2 records and that of another more";
  expect_failure(applied(zip, integers(1, 4, 2), integers(1, 5, 2)), text);
  expect_failure(applied(zip, integers(1, 5, 2), integers(1, 4, 2)), text);
  expect_failure(applied(zip, rl_rdd_empty(1), integers(1, 1, 1)), "has 0 records");
}

static void zip_wants_equal_partitions(void **state)
{
  (void)state;
  rl_rdd *parents[2] = {integers(1, 4, 2), integers(1, 4, 3)}, *r = NULL;
  assert_int_equal(apply_to(zip, parents, 2, &r), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "have 2 and 3 partitions"));
  parents[0] = integers(1, 1, 1);
  assert_int_equal(apply_to(zip, parents, 1, &r), RL_EINVAL);
  assert_null(r);
}

static void uneven_zip_fills_up(void **state)
{
  (void)state;
  expect(applied(uneven_zip, integers(1, 3, 1), squares(integers(7, 7, 1))), 1,
         "(true,1,(7,49))\n(true,2,nil)\n(true,3,nil)\n");
  expect(applied(uneven_zip, rl_rdd_empty(1), integers(1, 2, 1)), 1, "(true,nil,1)\n(true,nil,2)\n");
}

static void three_can_be_zipped(void **state)
{
  (void)state;
  rl_rdd *parents[3] = {integers(1, 2, 1), integers(3, 4, 1), integers(5, 6, 1)}, *r = NULL;
  assert_int_equal(apply_to(zip, parents, 3, &r), RL_OK);
  expect(r, 1, "(1,3,5)\n(2,4,6)\n");
}

static void cartesian_has_all_pairs(void **state)
{
  (void)state;
  expect(applied(cartesian, integers(1, 3, 2), integers(7, 9, 3)), 6,
         "(1,7)\n(1,8)\n(1,9)\n(2,7)\n(3,7)\n(2,8)\n(3,8)\n(2,9)\n(3,9)\n");
  expect(applied(cartesian, squares(integers(2, 2, 1)), squares(integers(3, 3, 1))), 1, "((2,4),(3,9))\n");
  expect(applied(cartesian, integers(1, 3, 2), rl_rdd_empty(2)), 4, "");
  expect(applied(cartesian, rl_rdd_empty(2), integers(1, 3, 2)), 4, "");
  expect(applied(cartesian, integers(1, 3, 2), rl_rdd_empty(0)), 0, "");
}

static void cartesian_has_a_limit(void **state)
{
  (void)state;
  rl_rdd *parents[2] = {rl_rdd_empty(2000), rl_rdd_empty(2000)}, *r = NULL;
  assert_int_equal(apply_to(cartesian, parents, 2, &r), RL_ELIMIT);
  assert_non_null(strstr(rl_error_message(), "2000 times 2000 partitions"));
}

/* An exchange above a zip is filled before it runs. */
static void zip_stands_on_shuffles(void **state)
{
  (void)state;
  rl_op sort = {.kind = RL_OP_SHUFFLE, .name = "sort", .part = RL_PART_RANGE, .partitions = 2};
  rl_op down = sort;
  down.descending = true;
  expect(applied(zip, apply(sort, integers(1, 4, 3)), apply(down, integers(1, 4, 1))), 2,
         "(1,4)\n(2,3)\n(3,2)\n(4,1)\n");
}

static void exchanges_are_told(void **state)
{
  (void)state;
  rl_op by_key = {.kind = RL_OP_SHUFFLE, .name = "partitionBy", .part = RL_PART_HASH, .partitions = 2};
  rl_rdd *one = apply(by_key, squares(integers(1, 4, 2)));
  assert_true(rl_rdd_is_exchanged(one, 0));
  rl_rdd *same = apply(by_key, one);
  assert_false(rl_rdd_is_exchanged(same, 0));
  rl_rdd *pairs = applied(cartesian, same, integers(1, 1, 1));
  assert_false(rl_rdd_is_exchanged(pairs, 0));
  assert_int_equal(rl_rdd_partitioner(pairs), RL_PART_NONE);
  rl_rdd_unref(pairs);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(zip_pairs_records),
    cmocka_unit_test(zip_crosses_chunks),
    cmocka_unit_test(zip_wants_equal_lengths),
    cmocka_unit_test(zip_wants_equal_partitions),
    cmocka_unit_test(uneven_zip_fills_up),
    cmocka_unit_test(three_can_be_zipped),
    cmocka_unit_test(cartesian_has_all_pairs),
    cmocka_unit_test(cartesian_has_a_limit),
    cmocka_unit_test(zip_stands_on_shuffles),
    cmocka_unit_test(exchanges_are_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
