#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "data/sort.h"
#include "records.h"

typedef enum keys { KEYS_INT, KEYS_FLOAT, KEYS_BYTES, KEYS_MIXED, KEYS_FEW, KEYS_SORTED, KEYS_KINDS } keys;

typedef struct record {
  rl_value key;
  int64_t arrival;
} record;

static rl_value random_float(uint64_t x)
{
  static const double special[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1e300, -1e-300, 1.0};
  return rl_float(x % 3 ? (double)(int64_t)x / 1e6 : special[x % 8]);
}

static rl_value random_bytes(uint64_t x)
{
  static const char text[] = "abababab\0\0ab\xff\x80zabababababb\0a";
  return rl_str(text + x % 8, (x >> 8) % 20);
}

static rl_value random_key(keys kind, uint64_t *seed, int64_t arrival)
{
  uint64_t x = records_random(seed);
  switch (kind) {
  case KEYS_INT: return rl_int(x % 9 ? (int64_t)x : x % 2 ? INT64_MIN : INT64_MAX);
  case KEYS_FLOAT: return random_float(x);
  case KEYS_BYTES: return random_bytes(x);
  case KEYS_FEW: return rl_int((int64_t)(x % 3));
  case KEYS_SORTED: return rl_int(arrival / 2);
  default: break;
  }
  if (x % 5 == 0) return rl_null();
  if (x % 5 == 1) return rl_bool(x & 64);
  if (x % 5 == 2) return rl_int((int64_t)(x >> 60));
  return x % 5 == 3 ? random_float(x >> 3) : random_bytes(x);
}

/* n records (key, arrival) in chunks of uneven sizes. */
static void random_records(rl_chunks *list, keys kind, uint64_t *seed, int64_t n, int64_t arrival)
{
  rl_builder *b = rl_builder_new();
  for (int64_t i = 0; i < n; i++, arrival++) {
    records_add(b, list, (rl_value[]){random_key(kind, seed, arrival), rl_int(arrival)}, 2);
    if (records_random(seed) % 50 == 0) rl_chunks_add(list, rl_builder_finish(b));
  }
  records_end(b, list);
}

static record record_at(const rl_chunk *c, uint32_t row)
{
  return (record){rl_chunk_get(c, 0, row), rl_chunk_get(c, 1, row).i};
}

static record *read_records(const rl_chunks *list, size_t *n)
{
  record *v = calloc((size_t)rl_chunks_records(list) + 1, sizeof *v);
  assert_non_null(v);
  *n = 0;
  for (size_t i = 0; i < list->n; i++) {
    for (uint32_t row = 0; row < list->v[i]->n; row++) v[(*n)++] = record_at(list->v[i], row);
  }
  return v;
}

static int compare_ascending(const void *x, const void *y)
{
  const record *a = x, *b = y;
  int c = rl_value_compare(a->key, b->key);
  return c != 0 ? c : (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

static int compare_descending(const void *x, const void *y)
{
  const record *a = x, *b = y;
  int c = rl_value_compare(b->key, a->key);
  return c != 0 ? c : (a->arrival > b->arrival) - (a->arrival < b->arrival);
}

/* `got` must be the records of `in`, sorted by a sort that knows nothing of chunks. */
static void expect_sorted(const rl_chunks *in, bool descending, const rl_chunks *got)
{
  size_t n, m;
  record *expected = read_records(in, &n), *actual = read_records(got, &m);
  qsort(expected, n, sizeof *expected, descending ? compare_descending : compare_ascending);
  assert_int_equal(n, m);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(actual[i].arrival, expected[i].arrival);
    assert_true(rl_value_equal(actual[i].key, expected[i].key));
  }
  free(expected);
  free(actual);
}

static void any_records_are_sorted(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  static const int64_t sizes[] = {0, 1, 2, 15, 16, 17, 33, 1000, 5000};
  for (keys kind = 0; kind < KEYS_KINDS; kind++) {
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
      rl_chunks in = {0}, out = {0};
      random_records(&in, kind, &seed, sizes[i / 2], 0);
      assert_int_equal(rl_sort_chunks(&in, i % 2, &out), RL_OK);
      expect_sorted(&in, i % 2, &out);
      rl_chunks_clear(&in);
      rl_chunks_clear(&out);
    }
  }
}

static void append_all(rl_chunks *to, const rl_chunks *from)
{
  for (size_t i = 0; i < from->n; i++) rl_chunks_add(to, rl_chunk_ref(from->v[i]));
}

static void expect_apart(const rl_chunks *before, const rl_chunks *after)
{
  if (before->n == 0 || after->n == 0) return;
  const rl_chunk *last = before->v[before->n - 1];
  rl_value a = rl_chunk_get(last, 0, last->n - 1), b = rl_chunk_get(after->v[0], 0, 0);
  assert_true(rl_value_compare(a, b) != 0);
}

/* The ranges of several runs, one behind the other, are the sort of everything, and equal keys share a range. */
static void check_ranges(keys kind, uint64_t *seed, size_t nruns, uint32_t n, bool descending)
{
  rl_chunks in = {0}, all = {0}, last = {0}, runs[9] = {0};
  int64_t arrival = 0;
  for (size_t r = 0; r < nruns; r++) {
    rl_chunks part = {0};
    int64_t size = (int64_t)(records_random(seed) % 700) * (r != 1); /* the second run is empty */
    random_records(&part, kind, seed, size, arrival);
    arrival += size;
    assert_int_equal(rl_sort_chunks(&part, descending, &runs[r]), RL_OK);
    append_all(&in, &part);
    rl_chunks_clear(&part);
  }
  rl_bounds *b = rl_bounds_pick(runs, nruns, descending, n);
  for (uint32_t p = 0; p < n; p++) {
    rl_chunks range = {0};
    assert_int_equal(rl_sort_merge(runs, nruns, b, descending, p, &range), RL_OK);
    append_all(&all, &range);
    expect_apart(&last, &range);
    if (range.n > 0) {
      rl_chunks_clear(&last);
      last = range;
    }
  }
  expect_sorted(&in, descending, &all);
  rl_bounds_unref(b);
  for (size_t r = 0; r < nruns; r++) rl_chunks_clear(&runs[r]);
  rl_chunks_clear(&last);
  rl_chunks_clear(&all);
  rl_chunks_clear(&in);
}

static void ranges_together_are_the_whole_sort(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  static const size_t nruns[] = {0, 1, 2, 9};
  static const uint32_t nranges[] = {1, 2, 5, 40};
  for (keys kind = 0; kind < KEYS_KINDS; kind++) {
    for (int i = 0; i < 32; i++) check_ranges(kind, &seed, nruns[i % 4], nranges[i / 4 % 4], i / 16);
  }
}

static void ranges_are_about_even(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  enum { RUNS = 4, RANGES = 8, EACH = 10000 };
  rl_chunks runs[RUNS] = {0};
  for (int r = 0; r < RUNS; r++) {
    rl_chunks part = {0};
    random_records(&part, KEYS_INT, &seed, EACH, 0);
    assert_int_equal(rl_sort_chunks(&part, false, &runs[r]), RL_OK);
    rl_chunks_clear(&part);
  }
  /* KEYS_INT puts about a ninth of its keys on two values, one at each end: the ranges between share the rest. */
  rl_bounds *b = rl_bounds_pick(runs, RUNS, false, RANGES);
  for (uint32_t p = 0; p < RANGES; p++) {
    rl_chunks range = {0};
    assert_int_equal(rl_sort_merge(runs, RUNS, b, false, p, &range), RL_OK);
    uint64_t n = rl_chunks_records(&range);
    assert_true(n > RUNS * EACH / RANGES * 8 / 10 && n < RUNS * EACH / RANGES * 12 / 10);
    rl_chunks_clear(&range);
  }
  rl_bounds_unref(b);
  for (int r = 0; r < RUNS; r++) rl_chunks_clear(&runs[r]);
}

/* Bounds outlive the runs they were read off. */
static void bounds_own_their_keys(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  rl_chunks runs[1] = {0}, part = {0}, range = {0};
  random_records(&part, KEYS_BYTES, &seed, 2000, 0);
  assert_int_equal(rl_sort_chunks(&part, false, &runs[0]), RL_OK);
  rl_bounds *b = rl_bounds_ref(rl_bounds_pick(runs, 1, false, 8));
  rl_bounds_unref(b);
  uint64_t total = rl_chunks_records(&runs[0]);
  rl_chunks_clear(&runs[0]);
  assert_int_equal(rl_sort_chunks(&part, false, &runs[0]), RL_OK);
  for (uint32_t p = 0; p < 8; p++) assert_int_equal(rl_sort_merge(runs, 1, b, false, p, &range), RL_OK);
  assert_int_equal(rl_chunks_records(&range), total);
  expect_sorted(&part, false, &range);
  rl_bounds_unref(b);
  rl_chunks_clear(&range);
  rl_chunks_clear(&runs[0]);
  rl_chunks_clear(&part);
}

static void equal_keys_stay_in_one_range(void **state)
{
  (void)state;
  rl_chunks in = {0}, out = {0};
  rl_builder *b = rl_builder_new();
  for (int i = 0; i < 100; i++) records_add(b, &in, (rl_value[]){records_str("same"), rl_int(i)}, 2);
  records_end(b, &in);
  rl_bounds *bounds = rl_bounds_pick(&in, 1, false, 4);
  assert_int_equal(rl_sort_merge(&in, 1, bounds, false, 0, &out), RL_OK);
  expect_sorted(&in, false, &out);
  rl_bounds_unref(bounds);
  rl_chunks_clear(&in);
  rl_chunks_clear(&out);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(any_records_are_sorted),
    cmocka_unit_test(ranges_together_are_the_whole_sort),
    cmocka_unit_test(ranges_are_about_even),
    cmocka_unit_test(bounds_own_their_keys),
    cmocka_unit_test(equal_keys_stay_in_one_range),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
