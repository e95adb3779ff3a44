#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "data/value.h"
#include "spec/core/records.h"
#include "spec/core/values.h"

static int sign(int x)
{
  return (x > 0) - (x < 0);
}

/* Values of every type in strictly ascending order; the composites live in the buffers. */
enum { ORDERED = 39, BUFFERS = 10 };

static void make_ordered(rl_value v[ORDERED], rl_buf b[BUFFERS])
{
  rl_value numbers[] = {rl_int(1), rl_int(2), rl_nil()}, one_float[] = {rl_int(1), rl_float(2.0)};
  rl_value one_text[] = {rl_int(1), records_str("x")}, x_two[] = {records_str("x"), rl_int(2)};
  rl_value x_one[] = {records_str("x"), rl_int(1), records_str("y"), rl_int(0)};
  rl_value list[ORDERED] = {
      rl_nil(), rl_null(), rl_bool(false), rl_bool(true),
      rl_float(-INFINITY), rl_float(-0x1.8p63), rl_int(INT64_MIN), rl_float(-0x1p63), rl_int(INT64_MIN + 1),
      rl_float(-1.5), rl_int(-1), rl_float(-0.5), rl_int(0), rl_float(0.0), rl_float(0.5), rl_int(1), rl_float(1.0),
      rl_int(INT64_C(1) << 53), rl_float(0x1p53), rl_int((INT64_C(1) << 53) + 1),
      rl_int(INT64_MAX), rl_float(0x1p63), rl_float(INFINITY), rl_float(NAN),
      rl_str("", 0), rl_str("\0", 1), records_str("a"), records_str("aa"), records_str("\xff"),
      values_tuple(&b[0], NULL, 0), values_tuple(&b[1], numbers, 2), values_tuple(&b[2], numbers, 3),
      values_tuple(&b[3], one_float, 2), values_tuple(&b[4], one_text, 2),
      values_table(&b[5], NULL, 0, x_one, 1), values_table(&b[6], NULL, 0, x_one, 2),
      values_table(&b[7], NULL, 0, x_two, 1),
      values_table(&b[8], numbers, 2, NULL, 0), values_table(&b[9], numbers, 2, x_two, 1),
  };
  memcpy(v, list, sizeof list);
}

static void test_total_order(void **state)
{
  (void)state;
  rl_value v[ORDERED];
  rl_buf b[BUFFERS] = {0};
  make_ordered(v, b);
  for (int i = 0; i < ORDERED; i++) {
    for (int j = 0; j < ORDERED; j++) {
      if (sign(rl_value_compare(v[i], v[j])) != (i > j) - (i < j)) fail_msg("values %d and %d", i, j);
      assert_int_equal(rl_value_equal(v[i], v[j]), i == j);
    }
  }
  for (int i = 0; i < BUFFERS; i++) rl_buf_free(&b[i]);
}

/* 1 and 1.0, 2^53 and its neighbours: no rounding. */
static void test_integers_and_floats_compare_exactly(void **state)
{
  (void)state;
  int64_t big = INT64_C(9007199254740993);
  assert_true(rl_value_compare(rl_int(big), rl_float(9007199254740992.0)) > 0);
  assert_true(rl_value_compare(rl_float(9007199254740994.0), rl_int(big)) > 0);
  assert_true(rl_value_compare(rl_int(INT64_MAX), rl_float(9223372036854774784.0)) > 0);
  assert_true(rl_value_compare(rl_int(-2), rl_float(-1.5)) < 0);
  assert_true(rl_value_compare(rl_int(-1), rl_float(-1.5)) > 0);
  assert_false(rl_value_equal(rl_int(1), rl_float(1.0)));
  assert_true(rl_value_equal(rl_float(NAN), rl_float(NAN)));
}

static void test_composites_equal_by_content(void **state)
{
  (void)state;
  rl_buf a = {0}, b = {0};
  rl_value left[] = {rl_float(0.0), rl_float(NAN)}, right[] = {rl_float(-0.0), rl_float(-NAN)};
  rl_value x = values_tuple(&a, left, 2), y = values_tuple(&b, right, 2);
  assert_true(rl_value_equal(x, y));
  y = values_tuple(&b, right, 1);
  assert_false(rl_value_equal(x, y));
  rl_buf_free(&a);
  rl_buf_free(&b);
}

/* Antisymmetry and agreement of equality with order, on random values. */
static void test_order_of_random_values(void **state)
{
  (void)state;
  uint64_t seed = records_seed("order_of_random_values");
  rl_buf a = {0}, b = {0};
  for (int i = 0; i < 3000; i++) {
    uint64_t from = records_random(&seed) % 50, other = records_random(&seed) % 50;
    rl_buf_clear(&a);
    rl_buf_clear(&b);
    values_put_random(&a, &from, 4);
    values_put_random(&b, &other, 4);
    rl_value x = values_of(&a), y = values_of(&b);
    assert_int_equal(sign(rl_value_compare(x, y)), -sign(rl_value_compare(y, x)));
    assert_int_equal(rl_value_equal(x, y), rl_value_compare(x, y) == 0);
    assert_true(rl_value_equal(x, x));
  }
  rl_buf_free(&a);
  rl_buf_free(&b);
}

/* Keys. */

static void test_scalar_keys(void **state)
{
  (void)state;
  rl_buf scratch = {0};
  const double whole[] = {1.0, -0.0, 0.0, -0x1p63, 0x1p62, 1e15};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    rl_value v = rl_float(whole[i]);
    assert_int_equal(rl_key_normalise(&v, &scratch), RL_OK);
    assert_int_equal(v.type, RL_T_INT);
    assert_true(v.i == (int64_t)whole[i]);
  }
  const double others[] = {1.5, 0x1p63, -0x1.8p63, INFINITY, -INFINITY};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    rl_value v = rl_float(others[i]);
    assert_int_equal(rl_key_normalise(&v, &scratch), RL_OK);
    assert_int_equal(v.type, RL_T_FLOAT);
  }
  rl_value null = rl_null();
  assert_int_equal(rl_key_normalise(&null, &scratch), RL_OK);
  rl_buf_free(&scratch);
}

static void test_nil_and_nan_are_no_keys(void **state)
{
  (void)state;
  rl_buf scratch = {0};
  rl_value nil = rl_nil(), nan = rl_float(NAN);
  assert_int_equal(rl_key_normalise(&nil, &scratch), RL_EINVAL);
  assert_string_equal(rl_error_message(), "key is nil");
  assert_int_equal(rl_key_normalise(&nan, &scratch), RL_EINVAL);
  assert_string_equal(rl_error_message(), "key is NaN");
  rl_buf_free(&scratch);
}

static void expect_same_key(rl_value a, rl_value b)
{
  rl_buf sa = {0}, sb = {0};
  assert_int_equal(rl_key_normalise(&a, &sa), RL_OK);
  assert_int_equal(rl_key_normalise(&b, &sb), RL_OK);
  assert_true(rl_key_equal(a, b));
  assert_true(rl_key_hash(a) == rl_key_hash(b));
  assert_true(rl_value_equal(a, b));
  rl_buf_free(&sa);
  rl_buf_free(&sb);
}

static void test_composite_keys_are_normalised_inside(void **state)
{
  (void)state;
  rl_buf a = {0}, b = {0}, inner_a = {0}, inner_b = {0};
  rl_value floats[] = {rl_float(1.0), rl_float(-0.0), rl_float(NAN), rl_float(0.5), rl_nil()};
  rl_value ints[] = {rl_int(1), rl_int(0), rl_float(-NAN), rl_float(0.5), rl_nil()};
  rl_value x = values_tuple(&inner_a, floats, 5), y = values_tuple(&inner_b, ints, 5);
  expect_same_key(x, y);
  rl_value pairs_x[] = {records_str("k"), x}, pairs_y[] = {records_str("k"), y};
  expect_same_key(values_table(&a, floats, 4, pairs_x, 1), values_table(&b, ints, 4, pairs_y, 1));
  rl_buf_free(&a);
  rl_buf_free(&b);
  rl_buf_free(&inner_a);
  rl_buf_free(&inner_b);
}

static void test_normal_composite_stays_where_it_is(void **state)
{
  (void)state;
  rl_buf b = {0}, scratch = {0};
  rl_value fields[] = {rl_int(1), records_str("x")};
  rl_value v = values_tuple(&b, fields, 2);
  assert_int_equal(rl_key_normalise(&v, &scratch), RL_OK);
  assert_ptr_equal(v.s.p, b.p);
  rl_buf_free(&b);
  rl_buf_free(&scratch);
}

static void test_different_keys_differ(void **state)
{
  (void)state;
  rl_buf b = {0};
  rl_value one[] = {rl_int(1)};
  rl_value keys[] = {rl_int(0), rl_int(1), rl_float(0.5), rl_bool(false), rl_bool(true), rl_null(),
                     records_str(""), records_str("1"), values_tuple(&b, one, 1)};
  size_t n = sizeof keys / sizeof *keys;
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) {
      assert_int_equal(rl_key_equal(keys[i], keys[j]), i == j);
      assert_int_equal(rl_key_hash(keys[i]) == rl_key_hash(keys[j]), i == j);
    }
  }
  rl_buf_free(&b);
}

/* State and shuffles of one run are read by the next: these values never change. */
static void test_key_hashes_are_stable(void **state)
{
  (void)state;
  assert_true(rl_key_hash(rl_int(1)) == UINT64_C(0x93c84301025dd24e));
  assert_true(rl_key_hash(records_str("rille")) == UINT64_C(0x8e16d1c9412d7638));
  assert_true(rl_key_hash(rl_null()) == UINT64_C(0x9999b1ef7da5f007));
  assert_true(rl_key_hash(rl_float(0.5)) == UINT64_C(0x11d040c94ebbb37f));
}

/* Text. */

static void expect_text(rl_value v, const char *text)
{
  rl_buf out = {0};
  rl_value_format(v, &out);
  assert_string_equal(rl_buf_cstr(&out), text);
  rl_buf_free(&out);
}

static void test_scalars_as_text(void **state)
{
  (void)state;
  expect_text(rl_nil(), "nil");
  expect_text(rl_null(), "null");
  expect_text(rl_bool(true), "true");
  expect_text(rl_int(0), "0");
  expect_text(rl_int(-42), "-42");
  expect_text(rl_int(INT64_MIN), "-9223372036854775808");
  expect_text(rl_int(INT64_MAX), "9223372036854775807");
  expect_text(rl_float(1.0), "1.0");
  expect_text(rl_float(-0.0), "-0.0");
  expect_text(rl_float(0.1), "0.1");
  expect_text(rl_float(1e15), "1e+15");
  expect_text(rl_float(1e14), "1e+14");
  expect_text(rl_float(12345678901234.0), "12345678901234.0");
  expect_text(rl_float(INFINITY), "inf");
  expect_text(rl_float(-INFINITY), "-inf");
  expect_text(rl_float((double)NAN), "nan");
  expect_text(records_str("as it is\t\"x\""), "as it is\t\"x\"");
}

static void test_composites_as_text(void **state)
{
  (void)state;
  rl_buf a = {0}, b = {0}, c = {0};
  rl_value fields[] = {rl_int(1), rl_nil(), records_str("x")};
  rl_value tuple = values_tuple(&a, fields, 3);
  expect_text(tuple, "(1,nil,x)");
  expect_text(values_tuple(&b, NULL, 0), "()");
  rl_value array[] = {rl_int(1), tuple}, pairs[] = {rl_bool(true), rl_float(2.0), records_str("x"), rl_int(3)};
  expect_text(values_table(&b, array, 2, pairs, 2), "{1,(1,nil,x),true=2.0,x=3}");
  expect_text(values_table(&c, NULL, 0, pairs, 1), "{true=2.0}");
  expect_text(values_table(&c, NULL, 0, NULL, 0), "{}");
  rl_buf_free(&a);
  rl_buf_free(&b);
  rl_buf_free(&c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_total_order),
      cmocka_unit_test(test_integers_and_floats_compare_exactly),
      cmocka_unit_test(test_composites_equal_by_content),
      cmocka_unit_test(test_order_of_random_values),
      cmocka_unit_test(test_scalar_keys),
      cmocka_unit_test(test_nil_and_nan_are_no_keys),
      cmocka_unit_test(test_composite_keys_are_normalised_inside),
      cmocka_unit_test(test_normal_composite_stays_where_it_is),
      cmocka_unit_test(test_different_keys_differ),
      cmocka_unit_test(test_key_hashes_are_stable),
      cmocka_unit_test(test_scalars_as_text),
      cmocka_unit_test(test_composites_as_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
