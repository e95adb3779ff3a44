#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "base/mem.h"
#include "data/native.h"
#include "data/text.h"
#include "records.h"

static rl_chunks text_chunks(const char *text)
{
  rl_chunks list = {0};
  size_t n = strlen(text), at = 0;
  rl_bytes *data = rl_bytes_from(text, n);
  for (rl_chunk *c = rl_text_next(data, &at, n); c; c = rl_text_next(data, &at, n)) rl_chunks_add(&list, c);
  rl_bytes_unref(data);
  return list;
}

/* Runs functions over a list (cleared) and gives what comes out. */
static rl_status run(rl_fn *const *fns, size_t n, const rl_task *task, rl_chunks *in, rl_chunks *out)
{
  rl_pull *input = rl_pull_chunks(in), *p = NULL;
  rl_chunks_clear(in);
  rl_status st = fns[0]->cls->open(fns, n, task, &input, 1, &p);
  if (st == RL_OK) st = rl_pull_drain(p, out);
  rl_chunk *more = NULL;
  if (st == RL_OK) assert_int_equal(rl_pull_next(p, &more), RL_OK);
  assert_null(more);
  rl_pull_close(p);
  return st;
}

static void expect_run(rl_fn *const *fns, size_t n, rl_chunks in, const char *text)
{
  rl_chunks out = {0};
  assert_int_equal(run(fns, n, NULL, &in, &out), RL_OK);
  records_expect(&out, text);
  rl_chunks_clear(&out);
}

static void count_destroyed(void *user)
{
  ++*(int *)user;
}

/* (a, ...) -> nothing for an odd number of bytes, else the record twice. */
static rl_status twice_if_even(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)user;
  if (fields[0].s.n % 2) return RL_OK;
  rl_status st = rl_emit_record(out, fields, n);
  return st == RL_OK ? rl_emit_record(out, fields, n) : st;
}

static void words_are_counted(void **state)
{
  (void)state;
  rl_fn *fns[] = {rl_fn_map(rl_native_words, NULL, NULL), rl_fn_fold_by_key(rl_native_sum, NULL, NULL)};
  expect_run(fns, 2, text_chunks("to be or  not\tto be\n\n \v\f\rbe\n"), "(to,2)\n(be,3)\n(or,1)\n(not,1)\n");
  expect_run(fns, 2, text_chunks(""), "");
  for (int i = 0; i < 2; i++) rl_fn_unref(fns[i]);
}

static void neighbours_run_as_one(void **state)
{
  (void)state;
  int destroyed = 0;
  rl_fn *map = rl_fn_map(twice_if_even, &destroyed, count_destroyed);
  rl_fn *fns[] = {rl_fn_map(rl_native_words, NULL, NULL), map, rl_fn_ref(map),
                  rl_fn_fold_by_key(rl_native_sum, NULL, NULL), map};
  expect_run(fns, 2, text_chunks("ab c de"), "(ab,1)\n(ab,1)\n(de,1)\n(de,1)\n");
  expect_run(fns, 5, text_chunks("ab c ab"), "(ab,8)\n(ab,8)\n");
  rl_fn_unref(fns[0]);
  rl_fn_unref(fns[3]);
  rl_fn_unref(map);
  assert_int_equal(destroyed, 0);
  rl_fn_unref(map);
  assert_int_equal(destroyed, 1);
  rl_fn_unref(NULL);
}

static rl_status emit_many(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)fields;
  (void)n;
  for (int64_t i = 0; i < *(int64_t *)user; i++) {
    rl_status st = rl_emit_record(out, (rl_value[]){rl_int(i), rl_int(i)}, 2);
    if (st != RL_OK) return st;
  }
  return RL_OK;
}

/* One record that becomes many chunks; the keys make the table grow; they come out in first-seen order. */
static void many_records_and_keys(void **state)
{
  (void)state;
  int64_t many = 3 * RL_CHUNK_RECORDS + 5;
  rl_fn *fns[] = {rl_fn_map(emit_many, &many, NULL), rl_fn_fold_by_key(rl_native_sum, NULL, NULL)};
  rl_chunks in = text_chunks("a\nb"), out = {0};
  assert_int_equal(run(fns, 2, NULL, &in, &out), RL_OK);
  assert_int_equal(rl_chunks_records(&out), many);
  assert_int_equal(out.n, 4);
  int64_t i = 0;
  for (size_t c = 0; c < out.n; c++) {
    for (uint32_t row = 0; row < out.v[c]->n; row++, i++) {
      assert_int_equal(rl_chunk_get(out.v[c], 0, row).i, i);
      assert_int_equal(rl_chunk_get(out.v[c], 1, row).i, 2 * i);
    }
  }
  rl_chunks_clear(&out);
  for (int f = 0; f < 2; f++) rl_fn_unref(fns[f]);
}

static rl_chunks records(const rl_value (*pairs)[2], size_t n)
{
  rl_chunks list = {0};
  rl_builder *b = rl_builder_new();
  for (size_t i = 0; i < n; i++) records_add(b, &list, pairs[i], 2);
  records_end(b, &list);
  return list;
}

static void keys_meet_normalised(void **state)
{
  (void)state;
  const rl_value pairs[][2] = {
    {rl_float(1.0), rl_int(1)}, {rl_int(1), rl_int(2)},        {records_str("1"), rl_int(4)},
    {rl_float(-0.0), rl_int(8)}, {rl_int(0), rl_float(0.5)},   {rl_bool(false), rl_int(16)},
    {rl_null(), rl_int(32)},    {records_str(""), rl_int(64)}, {rl_null(), rl_int(1)},
  };
  rl_fn *fold = rl_fn_fold_by_key(rl_native_sum, NULL, NULL);
  expect_run(&fold, 1, records(pairs, sizeof pairs / sizeof *pairs),
             "(1,3)\n(1,4)\n(0,8.5)\n(false,16)\n(null,33)\n(,64)\n");
  rl_fn_unref(fold);
}

/* Appends; its result lies in a buffer that the next call overwrites. */
static rl_status concat(void *user, rl_value acc, rl_value value, rl_value *result)
{
  rl_buf *buf = user;
  rl_buf_clear(buf);
  rl_buf_add(buf, acc.s.p, acc.s.n);
  rl_buf_add(buf, value.s.p, value.s.n);
  *result = rl_str(buf->p, buf->n);
  return RL_OK;
}

/* Drops the first byte: the result lies in the accumulator itself. */
static rl_status shorten(void *user, rl_value acc, rl_value value, rl_value *result)
{
  (void)user;
  (void)value;
  *result = acc.s.n > 1 ? rl_str(acc.s.p + 1, acc.s.n - 1) : rl_int(0);
  return RL_OK;
}

static void accumulators_are_copied(void **state)
{
  (void)state;
  const rl_value pairs[][2] = {
    {records_str("a"), records_str("one")}, {records_str("b"), records_str("1")},
    {records_str("a"), records_str("two")}, {records_str("b"), records_str("2")},
    {records_str("a"), records_str("3")},   {records_str("c"), records_str("")},
  };
  size_t n = sizeof pairs / sizeof *pairs;
  rl_buf buf = {0};
  rl_fn *fold = rl_fn_fold_by_key(concat, &buf, NULL), *cut = rl_fn_fold_by_key(shorten, NULL, NULL);
  expect_run(&fold, 1, records(pairs, n), "(a,onetwo3)\n(b,12)\n(c,)\n");
  expect_run(&cut, 1, records(pairs, n), "(a,e)\n(b,0)\n(c,)\n");
  rl_fn_unref(fold);
  rl_fn_unref(cut);
  rl_buf_free(&buf);
}

/* Fold against a plain array over random keys. */
static void any_keys_are_folded_once(void **state)
{
  (void)state;
  uint64_t seed = records_seed(__func__);
  enum { KEYS = 3000, RECORDS = 20000 };
  int64_t *sums = calloc(KEYS, sizeof *sums);
  assert_non_null(sums);
  rl_chunks in = {0}, out = {0};
  rl_builder *b = rl_builder_new();
  for (int i = 0; i < RECORDS; i++) {
    uint64_t x = records_random(&seed) % KEYS;
    char text[64];
    int n = snprintf(text, sizeof text, "%0*" PRIu64, (int)(4 + x % 50), x);
    sums[x] += i;
    records_add(b, &in, (rl_value[]){rl_str(text, (size_t)n), rl_int(i)}, 2);
  }
  records_end(b, &in);
  rl_fn *fold = rl_fn_fold_by_key(rl_native_sum, NULL, NULL);
  assert_int_equal(run(&fold, 1, NULL, &in, &out), RL_OK);
  for (size_t c = 0; c < out.n; c++) {
    for (uint32_t row = 0; row < out.v[c]->n; row++) {
      rl_value key = rl_chunk_get(out.v[c], 0, row);
      char text[64] = {0};
      memcpy(text, key.s.p, key.s.n);
      uint64_t x = strtoull(text, NULL, 10);
      assert_int_equal(rl_chunk_get(out.v[c], 1, row).i, sums[x]);
      sums[x] = 0;
    }
  }
  for (int i = 0; i < KEYS; i++) assert_int_equal(sums[i], 0);
  rl_chunks_clear(&out);
  rl_fn_unref(fold);
  free(sums);
}

static void sums_follow_lua(void **state)
{
  (void)state;
  rl_value r;
  assert_int_equal(rl_native_sum(NULL, rl_int(INT64_MAX), rl_int(1), &r), RL_OK);
  assert_true(rl_value_equal(r, rl_int(INT64_MIN)));
  assert_int_equal(rl_native_sum(NULL, rl_int(1), rl_float(0.5), &r), RL_OK);
  assert_true(rl_value_equal(r, rl_float(1.5)));
  assert_int_equal(rl_native_sum(NULL, rl_float(1), rl_float(1), &r), RL_OK);
  assert_true(rl_value_equal(r, rl_float(2)));
  assert_int_equal(rl_native_sum(NULL, rl_int(1), records_str("1"), &r), RL_EINVAL);
  assert_int_equal(rl_native_sum(NULL, rl_nil(), rl_int(1), &r), RL_EINVAL);
}

/* Emits a record that is none, and does not look at the answer. */
static rl_status careless(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)fields;
  (void)n;
  (void)rl_emit_record(out, user, user ? 1 : 0);
  return RL_OK;
}

static rl_status refuse(void *user, const rl_value *fields, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)fields;
  (void)n;
  (void)out;
  return rl_fail(RL_EUSER, "no");
}

static void expect_failure(rl_fn *const *fns, size_t n, const rl_task *task, rl_chunks in, rl_status code,
                           const char *message)
{
  rl_chunks out = {0};
  assert_int_equal(run(fns, n, task, &in, &out), code);
  assert_string_equal(rl_error_message(), message);
  rl_chunks_clear(&out);
}

static void failures_come_through(void **state)
{
  (void)state;
  rl_value nil = rl_nil();
  rl_fn *none = rl_fn_map(careless, NULL, NULL), *nils = rl_fn_map(careless, &nil, NULL);
  rl_fn *words = rl_fn_map(rl_native_words, NULL, NULL), *fold = rl_fn_fold_by_key(rl_native_sum, NULL, NULL);
  rl_fn *fail = rl_fn_map(refuse, NULL, NULL);
  expect_failure(&none, 1, NULL, text_chunks("a"), RL_EINVAL, "a record needs at least one value");
  expect_failure(&nils, 1, NULL, text_chunks("a"), RL_EINVAL, "the first value of a record is nil");
  expect_failure((rl_fn *[]){none, words}, 2, NULL, text_chunks("a"), RL_EINVAL, "a record needs at least one value");
  expect_failure((rl_fn *[]){words, fail}, 2, NULL, text_chunks("a"), RL_EUSER, "no");
  expect_failure(&fold, 1, NULL, text_chunks("a"), RL_EINVAL,
                 "a record of one value where (key, value) is needed; return key, value before it");
  const rl_value nan_key[][2] = {{rl_float(NAN), rl_int(1)}}, numbers[][2] = {{rl_int(1), rl_int(1)}};
  expect_failure(&fold, 1, NULL, records(nan_key, 1), RL_EINVAL,
                 "a key is NaN; leave such records out with filter before it, or give them another key");
  expect_failure(&words, 1, NULL, records(numbers, 1), RL_EINVAL, "words of a value that is not a string");
  atomic_bool cancelled = true;
  rl_task task = {.cancelled = &cancelled};
  expect_failure(&words, 1, &task, text_chunks("a"), RL_ECANCELLED, "the task was cancelled");
  expect_failure(&fold, 1, &task, text_chunks("a"), RL_ECANCELLED, "the task was cancelled");
  rl_fn *all[] = {none, nils, words, fold, fail};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) rl_fn_unref(all[i]);
}

static void inputs_come_one_after_another(void **state)
{
  (void)state;
  rl_chunks a = text_chunks("a\nb"), b = text_chunks("c"), out = {0};
  rl_pull *inputs[] = {rl_pull_chunks(&a), rl_pull_empty(), rl_pull_chunks(&b)}, *p = NULL;
  rl_fn *words = rl_fn_map(rl_native_words, NULL, NULL);
  assert_int_equal(words->cls->open(&words, 1, NULL, inputs, 3, &p), RL_OK);
  rl_fn_unref(words); /* the operator holds it */
  assert_int_equal(rl_pull_drain(p, &out), RL_OK);
  records_expect(&out, "(a,1)\n(b,1)\n(c,1)\n");
  rl_pull_close(p);
  rl_chunks_clear(&out);
  rl_chunks_clear(&a);
  rl_chunks_clear(&b);
}

static void closing_early_lets_all_go(void **state)
{
  (void)state;
  int64_t before = rl_mem_used();
  rl_fn *words = rl_fn_map(rl_native_words, NULL, NULL);
  rl_chunks in = text_chunks("a\nb");
  rl_chunks_add(&in, rl_chunk_ref(in.v[0]));
  rl_pull *inputs[] = {rl_pull_chunks(&in), rl_pull_chunks(&in)}, *p = rl_pull_concat(inputs, 2), *q = NULL;
  assert_int_equal(words->cls->open(&words, 1, NULL, &p, 1, &q), RL_OK);
  rl_pull_close(q);
  rl_pull *r = rl_pull_chunks(&in);
  rl_chunk *c = NULL;
  assert_int_equal(rl_pull_next(r, &c), RL_OK);
  rl_pull_close(r);
  rl_pull_close(NULL);
  rl_chunks_clear(&in);
  assert_int_equal(c->n, 2);
  rl_chunk_unref(c);
  rl_fn_unref(words);
  assert_int_equal(rl_mem_used(), before);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(words_are_counted),
    cmocka_unit_test(neighbours_run_as_one),
    cmocka_unit_test(many_records_and_keys),
    cmocka_unit_test(keys_meet_normalised),
    cmocka_unit_test(accumulators_are_copied),
    cmocka_unit_test(any_keys_are_folded_once),
    cmocka_unit_test(sums_follow_lua),
    cmocka_unit_test(failures_come_through),
    cmocka_unit_test(inputs_come_one_after_another),
    cmocka_unit_test(closing_early_lets_all_go),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
