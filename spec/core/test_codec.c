#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/codec.h"
#include "spec/core/records.h"
#include "spec/core/values.h"

static void expect_bytes(rl_buf *b, const char *bytes, size_t n)
{
  assert_int_equal(b->n, n);
  assert_memory_equal(b->p, bytes, n);
  rl_buf_clear(b);
}

/* The format on disk, byte by byte: it changes with RL_CODEC_VERSION only. */
static void test_format(void **state)
{
  (void)state;
  rl_buf b = {0};
  rl_put_value(&b, rl_nil());
  rl_put_value(&b, rl_null());
  rl_put_value(&b, rl_bool(false));
  rl_put_value(&b, rl_bool(true));
  expect_bytes(&b, "\0\1\2\3", 4);
  rl_put_int(&b, -1);
  rl_put_int(&b, 64);
  expect_bytes(&b, "\4\1\4\x80\1", 5);
  rl_put_int(&b, INT64_MIN);
  expect_bytes(&b, "\4\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11);
  rl_put_float(&b, 1.5);
  expect_bytes(&b, "\5\0\0\0\0\0\0\xf8\x3f", 9);
  rl_put_bytes(&b, "hi", 2);
  expect_bytes(&b, "\6\2hi", 4);
  rl_value fields[] = {rl_nil(), rl_int(1)};
  values_tuple(&b, fields, 2);
  expect_bytes(&b, "\7\2\0\4\2", 5);
  values_table(&b, &fields[1], 1, (rl_value[]){records_str("x"), rl_null()}, 1);
  expect_bytes(&b, "\10\1\4\2\1\6\1x\1", 9);
  rl_buf_free(&b);
}

static void test_varints(void **state)
{
  (void)state;
  const uint64_t numbers[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};
  rl_buf b = {0};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    rl_buf_clear(&b);
    rl_put_varint(&b, numbers[i]);
    rl_reader r = {b.p, b.p + b.n};
    uint64_t x;
    assert_int_equal(rl_get_varint(&r, &x), RL_OK);
    assert_true(x == numbers[i]);
    assert_ptr_equal(r.p, r.end);
    r = (rl_reader){b.p, b.p + b.n - 1};
    assert_int_equal(rl_get_varint(&r, &x), RL_EDATA);
  }
  rl_buf_free(&b);
}

/* Every random value comes back equal, byte for byte, and no part of it decodes. */
static void test_random_values_come_back(void **state)
{
  (void)state;
  uint64_t seed = records_seed("random_values_come_back");
  rl_buf b = {0}, again = {0};
  for (int i = 0; i < 2000; i++) {
    rl_buf_clear(&b);
    rl_buf_clear(&again);
    values_put_random(&b, &seed, 5);
    rl_value v = values_of(&b);
    rl_put_value(&again, v);
    assert_int_equal(again.n, b.n);
    assert_memory_equal(again.p, b.p, b.n);
    size_t cut = (size_t)(records_random(&seed) % b.n);
    rl_reader r = {b.p, b.p + cut};
    assert_int_equal(rl_get_value(&r, &v), RL_EDATA);
  }
  rl_buf_free(&b);
  rl_buf_free(&again);
}

static void test_walking(void **state)
{
  (void)state;
  rl_buf b = {0}, inner = {0};
  rl_value fields[] = {rl_int(5), rl_nil(), records_str("x")};
  rl_value pairs[] = {records_str("t"), values_tuple(&inner, fields, 3)};
  rl_value table = values_table(&b, fields, 1, pairs, 1), v;
  rl_reader r;
  uint64_t n;
  assert_int_equal(rl_walk_table(table, &r, &n), RL_OK);
  assert_int_equal(n, 1);
  assert_int_equal(rl_get_value(&r, &v), RL_OK);
  assert_int_equal(v.i, 5);
  assert_int_equal(rl_walk_pairs(&r, &n), RL_OK);
  assert_int_equal(n, 1);
  assert_int_equal(rl_get_value(&r, &v), RL_OK);
  assert_memory_equal(v.s.p, "t", 1);
  assert_int_equal(rl_get_value(&r, &v), RL_OK);
  assert_ptr_equal(r.p, r.end);
  assert_int_equal(rl_walk_tuple(v, &r, &n), RL_OK);
  assert_int_equal(n, 3);
  assert_int_equal(rl_walk_table(v, &r, &n), RL_EDATA);
  rl_buf_free(&b);
  rl_buf_free(&inner);
}

static void expect_refused(const char *bytes, size_t n, const char *why)
{
  rl_reader r = {bytes, bytes + n};
  rl_value v;
  assert_int_equal(rl_get_value(&r, &v), RL_EDATA);
  if (!strstr(rl_error_message(), why)) fail_msg("\"%s\" does not say \"%s\"", rl_error_message(), why);
  assert_true(r.p >= bytes && r.p <= bytes + n);
}

#define refused(bytes, why) expect_refused(bytes, sizeof(bytes) - 1, why)

static void test_malformed_values(void **state)
{
  (void)state;
  refused("", "cut short");
  refused("\11", "unknown tag 9");
  refused("\xff", "unknown tag 255");
  refused("\4", "cut short");
  refused("\4\x80", "cut short");
  refused("\4\x80\0", "superfluous");
  refused("\4\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", "64 bits");
  refused("\5\0\0\0\0\0\0\0", "cut short");
  refused("\6\3ab", "cut short");
  refused("\6\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "a string of");
  refused("\7\2\0", "cut short");
  refused("\7\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "cut short");
}

static void test_malformed_tables(void **state)
{
  (void)state;
  refused("\10\0", "cut short");
  refused("\10\1\0\0", "nil in a table");
  refused("\10\0\1\0\1", "key is nil");
  refused("\10\0\1\6\1x\0", "nil in a table");
  refused("\10\0\1\5\0\0\0\0\0\0\xf8\x7f\1", "key is NaN");
  refused("\10\0\1\5\0\0\0\0\0\0\xf0\x3f\1", "not normalised");
  refused("\10\0\1\7\1\5\0\0\0\0\0\0\xf0\x3f\1", "not normalised");
  refused("\10\0\1\7\1\5\1\0\0\0\0\0\xf8\x7f\1", "not normalised");
  refused("\10\0\1\4\2\1", "array part");
  refused("\10\1\1\1\4\4\1", "array part");
  refused("\10\0\2\6\1b\1\6\1a\1", "out of order");
  refused("\10\0\2\6\1a\1\6\1a\1", "out of order");
}

static void put_nested(rl_buf *b, int levels)
{
  rl_buf_clear(b);
  for (int i = 0; i < levels; i++) rl_put_tuple(b, 1);
  rl_put_int(b, 1);
}

static void test_depth_is_bounded(void **state)
{
  (void)state;
  rl_buf b = {0}, other = {0}, scratch = {0};
  put_nested(&b, RL_CODEC_MAX_DEPTH);
  put_nested(&other, RL_CODEC_MAX_DEPTH);
  other.p[other.n - 1] = 4;
  rl_value v = values_of(&b);
  assert_true(rl_value_compare(v, values_of(&other)) < 0);
  assert_int_equal(rl_key_normalise(&v, &scratch), RL_OK);
  put_nested(&b, RL_CODEC_MAX_DEPTH + 1);
  expect_refused(b.p, b.n, "nested deeper than 100 levels");
  put_nested(&b, 200000);
  expect_refused(b.p, b.n, "nested deeper than 100 levels");
  rl_buf_free(&b);
  rl_buf_free(&other);
  rl_buf_free(&scratch);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_format),
      cmocka_unit_test(test_varints),
      cmocka_unit_test(test_random_values_come_back),
      cmocka_unit_test(test_walking),
      cmocka_unit_test(test_malformed_values),
      cmocka_unit_test(test_malformed_tables),
      cmocka_unit_test(test_depth_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
