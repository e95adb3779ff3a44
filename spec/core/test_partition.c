#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "base/hash.h"
#include "data/codec.h"
#include "data/partition.h"
#include "records.h"

#define PARTS 7

static void clear_all(rl_chunks *lists, size_t n)
{
  for (size_t i = 0; i < n; i++) rl_chunks_clear(&lists[i]);
}

static rl_status split_one(rl_splitter *s, const rl_value *fields, uint32_t n)
{
  rl_chunk *c = records_one(fields, n);
  rl_status st = rl_splitter_add(s, c);
  rl_chunk_unref(c);
  return st;
}

/* The only output of n that got records. */
static uint32_t only_output(const rl_chunks *out, uint32_t n)
{
  uint32_t found = n;
  for (uint32_t i = 0; i < n; i++) {
    if (out[i].n == 0) continue;
    assert_int_equal(found, n);
    found = i;
  }
  assert_true(found < n);
  return found;
}

static void groups_cover_partitions_in_order(void **state)
{
  (void)state;
  static const uint32_t sizes[] = {1, 2, 3, 7, 100, 256};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    uint32_t last = 0;
    for (uint32_t g = 0; g < RL_KEY_GROUPS; g++) {
      uint32_t p = rl_group_partition(g, sizes[i]);
      assert_true(p == last || p == last + 1);
      last = p;
    }
    assert_int_equal(last, sizes[i] - 1);
  }
}

static void equal_keys_of_any_type_meet(void **state)
{
  (void)state;
  rl_splitter *s = rl_splitter_new(RL_PART_HASH, PARTS, true, 0);
  assert_int_equal(split_one(s, (rl_value[]){rl_int(3), records_str("int")}, 2), RL_OK);
  assert_int_equal(split_one(s, (rl_value[]){rl_float(3.0), records_str("float")}, 2), RL_OK);
  rl_chunks out[PARTS] = {0};
  rl_splitter_finish(s, out);
  uint32_t to = only_output(out, PARTS);
  assert_int_equal(to, rl_group_partition(rl_key_group(rl_key_hash(rl_int(3))), PARTS));
  records_expect(&out[to], "(3,int)\n(3,float)\n");
  clear_all(out, PARTS);
  rl_splitter_delete(s);
}

static void longer_records_become_key_and_tuple(void **state)
{
  (void)state;
  rl_splitter *s = rl_splitter_new(RL_PART_HASH, 1, true, 0);
  assert_int_equal(split_one(s, (rl_value[]){records_str("k"), rl_int(1), rl_nil()}, 3), RL_OK);
  assert_int_equal(split_one(s, (rl_value[]){rl_null(), rl_nil()}, 2), RL_OK);
  rl_chunks out[1] = {0};
  rl_splitter_finish(s, out);
  records_expect(out, "(k,(1,nil))\n(null,nil)\n");
  rl_value tuple = rl_chunk_get(out[0].v[0], 1, 0);
  uint64_t fields;
  rl_reader r;
  assert_int_equal(tuple.type, RL_T_TUPLE);
  assert_int_equal(rl_walk_tuple(tuple, &r, &fields), RL_OK);
  assert_int_equal(fields, 2);
  clear_all(out, 1);
  rl_splitter_delete(s);
}

static void expect_refused(const rl_value *fields, uint32_t n, rl_status code, const char *message)
{
  rl_splitter *s = rl_splitter_new(RL_PART_HASH, PARTS, true, 0);
  assert_int_equal(split_one(s, fields, n), code);
  assert_non_null(strstr(rl_error_message(), message));
  rl_splitter_delete(s);
}

static void bad_pairs_are_refused(void **state)
{
  (void)state;
  expect_refused((rl_value[]){rl_float(NAN), rl_int(1)}, 2, RL_EINVAL, "key is NaN");
  expect_refused((rl_value[]){rl_int(1)}, 1, RL_EINVAL, "a record of one value where (key, value) is needed");
  expect_refused((rl_value[]){records_str("k")}, 1, RL_EINVAL, "a record of one value where (key, value) is needed");
}

/* A chunk from elsewhere may break the promise that first fields are not nil. */
static void nil_keys_are_refused(void **state)
{
  (void)state;
  rl_chunk *c = records_one((rl_value[]){rl_int(1), rl_nil()}, 2);
  rl_column key = c->cols[0];
  c->cols[0] = c->cols[1];
  c->cols[1] = key;
  rl_splitter *s = rl_splitter_new(RL_PART_HASH, PARTS, true, 0);
  assert_int_equal(rl_splitter_add(s, c), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "key is nil"));
  rl_splitter_delete(s);
  rl_chunk_unref(c);
}

static void nesting_beyond_the_codec_is_refused(void **state)
{
  (void)state;
  rl_buf deep = {0};
  for (int i = 1; i < RL_CODEC_MAX_DEPTH; i++) rl_put_tuple(&deep, 1);
  rl_put_tuple(&deep, 0);
  rl_value v;
  rl_reader r = {deep.p, deep.p + deep.n};
  if (rl_get_value(&r, &v) != RL_OK) {
    rl_buf_free(&deep);
    fail_msg("%s", rl_error_message());
  }
  expect_refused((rl_value[]){rl_int(1), v, v}, 3, RL_ELIMIT, "nested deeper");
  rl_buf_free(&deep);
}

static void round_robin_deals_out_whole_records(void **state)
{
  (void)state;
  rl_splitter *s = rl_splitter_new(RL_PART_ROUND_ROBIN, 3, false, 5); /* starts at 5 % 3 */
  for (int i = 0; i < 5; i++) {
    assert_int_equal(split_one(s, (rl_value[]){rl_int(i), records_str("a"), rl_bool(true)}, i % 2 ? 3 : 1), RL_OK);
  }
  rl_chunks out[3] = {0};
  rl_splitter_finish(s, out);
  records_expect(&out[2], "0\n(3,a,true)\n");
  records_expect(&out[0], "(1,a,true)\n4\n");
  records_expect(&out[1], "2\n");
  clear_all(out, 3);
  rl_splitter_delete(s);
}

static void whole_records_can_go_by_their_key(void **state)
{
  (void)state;
  rl_splitter *s = rl_splitter_new(RL_PART_HASH, PARTS, false, 0);
  assert_int_equal(split_one(s, (rl_value[]){rl_float(2.0)}, 1), RL_OK);
  assert_int_equal(split_one(s, (rl_value[]){rl_int(2), rl_int(1), rl_int(0)}, 3), RL_OK);
  rl_chunks out[PARTS] = {0};
  rl_splitter_finish(s, out);
  records_expect(&out[only_output(out, PARTS)], "2.0\n(2,1,0)\n");
  clear_all(out, PARTS);
  rl_splitter_delete(s);
}

static void kinds_that_cannot_split_say_so(void **state)
{
  (void)state;
  rl_splitter *s = rl_splitter_new(RL_PART_RANGE, 2, false, 0);
  assert_int_equal(split_one(s, (rl_value[]){rl_int(1)}, 1), RL_EINVAL);
  rl_splitter_delete(s);
}

static rl_value random_key(uint64_t *seed, char text[24])
{
  uint64_t x = records_random(seed);
  switch (x % 4) {
  case 0: return rl_int((int64_t)(x >> 40));
  case 1: return rl_float((double)(x >> 60) / 2);
  case 2: return rl_bool(x & 64);
  default: return rl_str(text, (size_t)snprintf(text, 24, "%" PRIu64, x >> 44));
  }
}

/* All records of an output belong there and are in order; returns how many. */
static uint64_t check_output(const rl_chunks *out, uint32_t p, uint32_t n)
{
  int64_t last = -1;
  for (size_t c = 0; c < out->n; c++) {
    const rl_chunk *chunk = out->v[c];
    assert_in_range(chunk->n, 1, RL_CHUNK_RECORDS);
    for (uint32_t row = 0; row < chunk->n; row++) {
      uint64_t hash = rl_key_hash(rl_chunk_get(chunk, 0, row));
      assert_int_equal(rl_group_partition(rl_key_group(hash), n), p);
      int64_t arrival = rl_chunk_get(chunk, 1, row).i;
      assert_true(arrival > last);
      last = arrival;
    }
  }
  return rl_chunks_records(out);
}

/* Every record comes out once, where its key belongs; more outputs than groups leave some empty. */
static void any_records_go_where_they_belong(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  static const uint32_t sizes[] = {1, 2, 16, 300};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    uint32_t n = sizes[i];
    rl_splitter *s = rl_splitter_new(RL_PART_HASH, n, true, 0);
    rl_builder *b = rl_builder_new();
    rl_chunks in = {0};
    for (int k = 0; k < 10000; k++) {
      char text[24];
      rl_value key = i % 2 ? rl_int(k) : random_key(&seed, text);
      records_add(b, &in, (rl_value[]){key, rl_int(k)}, 2);
    }
    records_end(b, &in);
    for (size_t c = 0; c < in.n; c++) assert_int_equal(rl_splitter_add(s, in.v[c]), RL_OK);
    rl_chunks *out = calloc(n, sizeof *out);
    assert_non_null(out);
    rl_splitter_finish(s, out);
    uint64_t seen = 0;
    for (uint32_t p = 0; p < n; p++) seen += check_output(&out[p], p, n);
    assert_int_equal(seen, 10000);
    clear_all(out, n);
    free(out);
    rl_chunks_clear(&in);
    rl_splitter_delete(s);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(groups_cover_partitions_in_order),
    cmocka_unit_test(equal_keys_of_any_type_meet),
    cmocka_unit_test(longer_records_become_key_and_tuple),
    cmocka_unit_test(bad_pairs_are_refused),
    cmocka_unit_test(nil_keys_are_refused),
    cmocka_unit_test(nesting_beyond_the_codec_is_refused),
    cmocka_unit_test(round_robin_deals_out_whole_records),
    cmocka_unit_test(whole_records_can_go_by_their_key),
    cmocka_unit_test(kinds_that_cannot_split_say_so),
    cmocka_unit_test(any_records_go_where_they_belong),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
