#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "data/codec.h"
#include "data/sort.h"
#include "records.h"
#include "scratch.h"
#include "store/runs.h"

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

static rl_status collect(void *to, rl_chunk *chunk)
{
  rl_chunks_add(to, chunk);
  return RL_OK;
}

static void any_records_are_sorted(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  static const int64_t sizes[] = {0, 1, 2, 15, 16, 17, 33, 1000, 5000};
  static const size_t chunk_bytes[] = {SIZE_MAX, 1, 5000};
  for (keys kind = 0; kind < KEYS_KINDS; kind++) {
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
      rl_chunks in = {0}, out = {0};
      random_records(&in, kind, &seed, sizes[i / 2], 0);
      assert_int_equal(rl_sort_chunks(&in, i % 2, chunk_bytes[i % 3], collect, &out), RL_OK);
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

/* A sort under way, and the sorters' runs. */
enum { MOST_SORTERS = 9 };

typedef struct sorting {
  rl_task task; /* how much fits */
  bool descending;
  uint32_t n; /* ranges */
  rl_runs *runs[MOST_SORTERS];
  size_t nruns;
  rl_bounds *bounds;
} sorting;

static void sort_part(sorting *s, const rl_chunks *part)
{
  rl_sorter *sorter = rl_sorter_new(s->task.memory, s->task.quota, s->descending, s->n);
  for (size_t i = 0; i < part->n; i++) assert_int_equal(rl_sorter_add(sorter, rl_chunk_ref(part->v[i])), RL_OK);
  assert_int_equal(rl_sorter_finish(sorter, &s->runs[s->nruns++]), RL_OK);
  rl_sorter_delete(sorter);
}

static rl_pull *open_range(const sorting *s, uint32_t p)
{
  rl_pull *in;
  const rl_merge spec = {.runs = s->runs, .n = s->nruns, .descending = s->descending, .bounds = s->bounds, .range = p,
                         .task = &s->task};
  assert_int_equal(rl_merge_open(&spec, &in), RL_OK);
  return in;
}

static void read_range(const sorting *s, uint32_t p, rl_chunks *out)
{
  rl_pull *in = open_range(s, p);
  assert_int_equal(rl_pull_drain(in, out), RL_OK);
  rl_pull_close(in);
}

static void pick(sorting *s) { s->bounds = rl_runs_bounds(s->runs, s->nruns, s->descending, s->n); }

static void end_sorting(sorting *s)
{
  rl_bounds_unref(s->bounds);
  for (size_t i = 0; i < s->nruns; i++) rl_runs_delete(s->runs[i]);
}

/* The ranges of several sorts, one behind the other, are the sort of everything, and equal keys share a range. `sizes`:
 * records of each range, to be filled in. */
static void check_ranges(sorting *s, keys kind, uint64_t *seed, size_t nsorters, uint64_t *sizes)
{
  rl_chunks in = {0}, all = {0}, last = {0};
  int64_t arrival = 0;
  for (size_t r = 0; r < nsorters; r++) {
    rl_chunks part = {0};
    int64_t size = (int64_t)(records_random(seed) % 700) * (r != 1); /* the second part is empty */
    random_records(&part, kind, seed, size, arrival);
    arrival += size;
    sort_part(s, &part);
    append_all(&in, &part);
    rl_chunks_clear(&part);
  }
  pick(s);
  for (uint32_t p = 0; p < s->n; p++) {
    rl_chunks range = {0};
    read_range(s, p, &range);
    sizes[p] = rl_chunks_records(&range);
    append_all(&all, &range);
    expect_apart(&last, &range);
    if (range.n > 0) {
      rl_chunks_clear(&last);
      last = range;
    }
  }
  expect_sorted(&in, s->descending, &all);
  end_sorting(s);
  rl_chunks_clear(&last);
  rl_chunks_clear(&all);
  rl_chunks_clear(&in);
}

static void ranges_together_are_the_whole_sort(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__), sizes[40];
  static const size_t nsorters[] = {0, 1, 2, MOST_SORTERS};
  static const uint32_t nranges[] = {1, 2, 5, 40};
  for (keys kind = 0; kind < KEYS_KINDS; kind++) {
    for (int i = 0; i < 32; i++) {
      sorting s = {.task.quota = SIZE_MAX, .descending = i / 16, .n = nranges[i / 4 % 4]};
      check_ranges(&s, kind, &seed, nsorters[i % 4], sizes);
    }
  }
}

static rl_memory *tiny_memory(const char *dir)
{
  return rl_memory_new(&(rl_memory_spec){.limit = 1024, .fraction = 0.5, .storage_fraction = 0.5, .tasks = 1,
                                         .local_dir = dir});
}

/* With runs of a few records, on disk, so many that they must be merged in steps: the same, cut in the same places. */
static void sorts_that_do_not_fit_are_the_same(void **state)
{
  uint64_t seed = records_seed(__func__), sizes[2][40];
  rl_memory *m = tiny_memory(*state);
  static const size_t quotas[] = {1, 3000, 20000};
  static const uint32_t nranges[] = {1, 3, 40};
  for (keys kind = 0; kind < KEYS_KINDS; kind++) {
    for (int i = 0; i < 18; i++) {
      uint64_t again = seed;
      sorting whole = {.task.quota = SIZE_MAX, .descending = i / 9, .n = nranges[i / 3 % 3]};
      sorting s = whole;
      s.task.memory = m;
      s.task.quota = quotas[i % 3];
      check_ranges(&s, kind, &seed, 4, sizes[0]);
      check_ranges(&whole, kind, &again, 4, sizes[1]);
      assert_memory_equal(sizes[0], sizes[1], whole.n * sizeof sizes[0][0]);
    }
  }
  rl_memory_stats stats;
  rl_memory_stats_read(m, &stats);
  assert_true(stats.spilled_total > 0);
  assert_int_equal(stats.spilled_now, 0);
  rl_memory_unref(m);
}

/* Keys too long to be remembered as a whole, of which many begin alike. */
static rl_value long_key(uint64_t x, rl_buf *scratch)
{
  rl_buf_clear(scratch);
  size_t n = x % 400;
  if (x & 1024) rl_put_tuple(scratch, 2);
  if (x & 1024) rl_put_int(scratch, (int64_t)(x >> 60));
  size_t at = scratch->n;
  rl_buf text = {0};
  for (size_t i = 0; i < n; i++) rl_buf_putc(&text, i < 70 ? 'a' : (char)('a' + (x >> 32) % 3));
  if (x & 1024) rl_put_bytes(scratch, text.p, text.n);
  else if (text.n > 0) rl_buf_add(scratch, text.p, text.n);
  rl_buf_free(&text);
  if (x & 1024) return (rl_value){.type = RL_T_TUPLE, .s = {scratch->p, scratch->n}};
  return rl_str(scratch->p + at, scratch->n - at);
}

static void long_keys_are_found_again(void **state)
{
  uint64_t seed = records_seed(__func__);
  rl_memory *m = tiny_memory(*state);
  rl_buf scratch = {0};
  for (int i = 0; i < 4; i++) {
    sorting s = {.task = {.memory = m, .quota = 30000}, .descending = i % 2, .n = 20};
    rl_chunks in = {0}, all = {0};
    rl_builder *b = rl_builder_new();
    for (int64_t k = 0; k < 1000; k++) {
      records_add(b, &in, (rl_value[]){long_key(records_random(&seed), &scratch), rl_int(k)}, 2);
      if (k % 10 == 0) rl_chunks_add(&in, rl_builder_finish(b));
    }
    records_end(b, &in);
    sort_part(&s, &in);
    assert_true(rl_runs_count(s.runs[0]) > 2);
    pick(&s);
    for (uint32_t p = 0; p < s.n; p++) read_range(&s, p, &all);
    expect_sorted(&in, s.descending, &all);
    end_sorting(&s);
    rl_chunks_clear(&in);
    rl_chunks_clear(&all);
  }
  rl_buf_free(&scratch);
  rl_memory_unref(m);
}

static void ranges_are_about_even(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  enum { SORTERS = 4, RANGES = 8, EACH = 10000 };
  sorting s = {.task.quota = SIZE_MAX, .n = RANGES};
  for (int r = 0; r < SORTERS; r++) {
    rl_chunks part = {0};
    random_records(&part, KEYS_INT, &seed, EACH, 0);
    sort_part(&s, &part);
    rl_chunks_clear(&part);
  }
  /* KEYS_INT puts about a ninth of its keys on two values, one at each end: the ranges between share the rest. */
  pick(&s);
  for (uint32_t p = 0; p < RANGES; p++) {
    rl_chunks range = {0};
    read_range(&s, p, &range);
    uint64_t n = rl_chunks_records(&range);
    assert_true(n > SORTERS * EACH / RANGES * 7 / 10 && n < SORTERS * EACH / RANGES * 13 / 10);
    rl_chunks_clear(&range);
  }
  end_sorting(&s);
}

/* A sample of a long part counts for more than one of a short part. */
static void samples_count_by_what_they_stand_for(void **state)
{
  (void)state;
  sorting s = {.task.quota = SIZE_MAX, .n = 2};
  static const int64_t sizes[] = {100000, 1000};
  for (int r = 0; r < 2; r++) {
    rl_chunks part = {0};
    rl_builder *b = rl_builder_new();
    for (int64_t i = 0; i < sizes[r]; i++) records_add(b, &part, (rl_value[]){rl_int(r ? -i : i), rl_int(i)}, 2);
    records_end(b, &part);
    sort_part(&s, &part);
    rl_chunks_clear(&part);
  }
  pick(&s);
  rl_chunks range = {0};
  read_range(&s, 0, &range);
  uint64_t n = rl_chunks_records(&range);
  assert_true(n > 40000 && n < 60000);
  rl_chunks_clear(&range);
  end_sorting(&s);
}

static void equal_keys_stay_in_one_range(void **state)
{
  (void)state;
  rl_chunks in = {0}, out = {0};
  sorting s = {.task.quota = 1, .n = 4};
  rl_builder *b = rl_builder_new();
  for (int i = 0; i < 100; i++) {
    records_add(b, &in, (rl_value[]){records_str("same"), rl_int(i)}, 2);
    if (i % 10 == 0) rl_chunks_add(&in, rl_builder_finish(b));
  }
  records_end(b, &in);
  sort_part(&s, &in);
  pick(&s);
  read_range(&s, 0, &out);
  expect_sorted(&in, false, &out);
  end_sorting(&s);
  rl_chunks_clear(&in);
  rl_chunks_clear(&out);
}

/* A merge that is given up in the middle, and one that cannot write. */
static void what_goes_wrong_leaves_nothing_behind(void **state)
{
  uint64_t seed = records_seed(__func__);
  rl_memory *m = tiny_memory(*state);
  sorting s = {.task = {.memory = m, .quota = 3000}, .n = 3};
  rl_chunks part = {0};
  random_records(&part, KEYS_INT, &seed, 5000, 0);
  sort_part(&s, &part);
  pick(&s);
  rl_pull *in = open_range(&s, 1);
  rl_chunk *c;
  assert_int_equal(rl_pull_next(in, &c), RL_OK);
  rl_chunk_unref(c);
  rl_pull_close(in);
  rl_memory_close(m);
  rl_sorter *sorter = rl_sorter_new(m, 3000, false, 0);
  rl_status st = RL_OK;
  for (size_t i = 0; i < part.n && st == RL_OK; i++) st = rl_sorter_add(sorter, rl_chunk_ref(part.v[i]));
  assert_int_equal(st, RL_ECLOSED);
  rl_sorter_delete(sorter);
  const rl_merge spec = {.runs = s.runs, .n = 1, .task = &s.task, .name = "sortByKey"};
  assert_int_equal(rl_merge_open(&spec, &in), RL_ECLOSED);
  assert_non_null(strstr(rl_error_message(), "sortByKey: "));
  end_sorting(&s);
  rl_chunks_clear(&part);
  rl_memory_unref(m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(any_records_are_sorted),
    cmocka_unit_test(ranges_together_are_the_whole_sort),
    in_a_folder(sorts_that_do_not_fit_are_the_same),
    in_a_folder(long_keys_are_found_again),
    cmocka_unit_test(ranges_are_about_even),
    cmocka_unit_test(samples_count_by_what_they_stand_for),
    cmocka_unit_test(equal_keys_stay_in_one_range),
    in_a_folder(what_goes_wrong_leaves_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
