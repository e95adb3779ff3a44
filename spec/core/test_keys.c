#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "data/keys.h"
#include "spec/core/records.h"
#include "spec/core/values.h"

static void expect_number(rl_keys *k, rl_value key, uint32_t expected)
{
  uint32_t number = UINT32_MAX;
  assert_int_equal(rl_keys_put(k, key, &number), RL_OK);
  assert_int_equal(number, expected);
  assert_true(rl_key_equal(rl_keys_get(k, number), key));
}

static void keys_are_numbered_as_they_come(void **state)
{
  (void)state;
  rl_keys *k = rl_keys_new();
  rl_buf b[2] = {0};
  rl_value one = rl_int(1), keys[] = {records_str("b"), rl_int(1), rl_float(1.5), records_str(""), rl_bool(true),
      rl_null(), values_tuple(&b[0], &one, 1), values_table(&b[1], &one, 1, NULL, 0), records_str("1")};
  uint32_t n = sizeof keys / sizeof *keys;
  assert_int_equal(rl_keys_count(k), 0);
  for (uint32_t i = 0; i < n; i++) expect_number(k, keys[i], i);
  for (uint32_t i = n; i-- > 0;) expect_number(k, keys[i], i);
  assert_int_equal(rl_keys_count(k), n);
  for (int i = 0; i < 2; i++) rl_buf_free(&b[i]);
  rl_keys_delete(k);
  rl_keys_delete(NULL);
}

static void bytes_are_copied(void **state)
{
  (void)state;
  rl_keys *k = rl_keys_new();
  char text[] = "first";
  expect_number(k, records_str(text), 0);
  memcpy(text, "other", 5);
  expect_number(k, records_str(text), 1);
  assert_memory_equal(rl_keys_get(k, 0).s.p, "first", 5);
  rl_keys_delete(k);
}

/* The same numbers at once and one by one, with keys that come again inside of a call, while the set grows. */
static void many_keys_at_once(void **state)
{
  (void)state;
  rl_keys *k = rl_keys_new();
  char texts[RL_KEYS_AT_ONCE][16];
  rl_value keys[RL_KEYS_AT_ONCE];
  uint32_t numbers[RL_KEYS_AT_ONCE];
  for (uint32_t round = 0; round < 400; round++) {
    for (uint32_t i = 0; i < RL_KEYS_AT_ONCE; i++) {
      uint32_t id = round * (RL_KEYS_AT_ONCE / 2) + i / 2;
      snprintf(texts[i], sizeof texts[i], "key %u", (unsigned)id);
      keys[i] = id % 2 ? rl_int(id) : records_str(texts[i]);
    }
    assert_int_equal(rl_keys_put_all(k, keys, RL_KEYS_AT_ONCE, numbers), RL_OK);
    for (uint32_t i = 0; i < RL_KEYS_AT_ONCE; i++) {
      assert_int_equal(numbers[i], round * (RL_KEYS_AT_ONCE / 2) + i / 2);
      expect_number(k, keys[i], numbers[i]);
    }
  }
  assert_int_equal(rl_keys_count(k), 400 * (RL_KEYS_AT_ONCE / 2));
  rl_keys_delete(k);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keys_are_numbered_as_they_come),
      cmocka_unit_test(bytes_are_copied),
      cmocka_unit_test(many_keys_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
