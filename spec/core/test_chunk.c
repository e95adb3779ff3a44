#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "data/chunk.h"
#include "data/codec.h"
#include "spec/core/records.h"
#include "spec/core/values.h"

/* All that chunks and buffers counted is given back at the end of each test. */
static int note_memory(void **state)
{
  static int64_t before;
  before = rl_mem_used();
  *state = &before;
  return 0;
}

static int expect_memory_back(void **state)
{
  return rl_mem_used() == *(int64_t *)*state ? 0 : -1;
}

static rl_chunk *finish(rl_builder *b)
{
  rl_chunk *c = rl_builder_finish(b);
  rl_builder_delete(b);
  return c;
}

static void add(rl_builder *b, const rl_value *fields, uint32_t n)
{
  assert_int_equal(rl_builder_add(b, fields, n), RL_OK);
}

/* Columns. */

static void test_typed_columns(void **state)
{
  (void)state;
  rl_builder *b = rl_builder_new();
  for (int i = 0; i < 1000; i++) {
    char text[16];
    rl_value fields[] = {rl_int(i), rl_float(i / 2.0), rl_bool(i % 3 == 0), rl_str(text, 0), rl_nil()};
    fields[3].s.n = (size_t)snprintf(text, sizeof text, "%d", i);
    add(b, fields, 5);
  }
  assert_int_equal(rl_builder_count(b), 1000);
  rl_chunk *c = finish(b);
  const rl_coltype types[] = {RL_COL_INT, RL_COL_FLOAT, RL_COL_BOOL, RL_COL_BYTES, RL_COL_NIL};
  assert_int_equal(c->ncols, 5);
  assert_null(c->arity);
  for (int i = 0; i < 5; i++) {
    assert_int_equal(c->cols[i].type, types[i]);
    assert_null(c->cols[i].nulls);
  }
  assert_int_equal(c->cols[0].i[999], 999);
  assert_true(rl_value_equal(rl_chunk_get(c, 1, 7), rl_float(3.5)));
  assert_true(rl_value_equal(rl_chunk_get(c, 2, 9), rl_bool(true)));
  assert_true(rl_value_equal(rl_chunk_get(c, 3, 123), records_str("123")));
  assert_int_equal(rl_chunk_get(c, 4, 0).type, RL_T_NIL);
  assert_int_equal(rl_chunk_get(c, 5, 0).type, RL_T_NIL);
  assert_int_equal(c->cols[3].data->n, 2890);
  rl_chunk_unref(c);
}

static void test_nils_and_arity(void **state)
{
  (void)state;
  rl_builder *b = rl_builder_new();
  for (int i = 0; i < 100; i++) {
    rl_value fields[] = {rl_int(i), i % 10 == 9 ? rl_int(-i) : rl_nil(), records_str("third")};
    add(b, fields, i == 42 ? 3 : i < 50 ? 2 : 1);
  }
  rl_chunk *c = finish(b);
  assert_int_equal(c->ncols, 3);
  assert_null(c->cols[0].nulls);
  for (uint32_t i = 0; i < 100; i++) {
    assert_int_equal(rl_chunk_arity(c, i), i == 42 ? 3 : i < 50 ? 2 : 1);
    rl_value second = i % 10 == 9 && i < 50 ? rl_int(-(int64_t)i) : rl_nil();
    assert_true(rl_value_equal(rl_chunk_get(c, 1, i), second));
    assert_int_equal(rl_chunk_get(c, 2, i).type, i == 42 ? RL_T_BYTES : RL_T_NIL);
  }
  rl_chunk_unref(c);
}

/* A column of one type turns MIXED at the first value of another; what was there keeps its value and type. */
static void test_mixed_columns(void **state)
{
  (void)state;
  rl_buf composite = {0};
  rl_value parts[] = {rl_int(1), records_str("in")};
  rl_value tuple = values_tuple(&composite, parts, 2);
  const rl_value kinds[] = {rl_int(7), rl_float(7.0), rl_bool(true), records_str("text"), rl_null(), tuple};
  const size_t n = sizeof kinds / sizeof *kinds;
  for (size_t i = 0; i < n; i++) {
    rl_builder *b = rl_builder_new();
    for (size_t k = 0; k < 2 * n; k++) {
      rl_value fields[] = {rl_int(0), kinds[(i + k / 2) % n]};
      add(b, fields, k % 4 == 3 ? 1 : 2);
    }
    rl_chunk *c = finish(b);
    assert_int_equal(c->cols[1].type, RL_COL_MIXED);
    for (uint32_t k = 0; k < 2 * n; k++) {
      assert_true(rl_value_equal(rl_chunk_get(c, 1, k), k % 4 == 3 ? rl_nil() : kinds[(i + k / 2) % n]));
    }
    rl_chunk_unref(c);
  }
  rl_buf_free(&composite);
}

static void test_refused_records(void **state)
{
  (void)state;
  rl_value fields[RL_MAX_FIELDS + 1];
  for (int i = 0; i <= RL_MAX_FIELDS; i++) fields[i] = rl_int(i);
  rl_builder *b = rl_builder_new();
  add(b, fields, 2);
  assert_int_equal(rl_builder_add(b, fields, 0), RL_EINVAL);
  assert_int_equal(rl_builder_add(b, fields, RL_MAX_FIELDS + 1), RL_ELIMIT);
  rl_value nil_first[] = {rl_nil(), rl_int(1)};
  assert_int_equal(rl_builder_add(b, nil_first, 2), RL_EINVAL);
  rl_value huge[] = {rl_int(0), rl_str("", RL_CODEC_MAX_BYTES + 1)};
  assert_int_equal(rl_builder_add(b, huge, 2), RL_ELIMIT);
  add(b, fields, RL_MAX_FIELDS);
  rl_chunk *c = finish(b);
  assert_int_equal(c->n, 2);
  assert_int_equal(rl_chunk_arity(c, 0), 2);
  assert_int_equal(rl_chunk_arity(c, 1), RL_MAX_FIELDS);
  assert_true(rl_value_equal(rl_chunk_get(c, RL_MAX_FIELDS - 1, 1), rl_int(RL_MAX_FIELDS - 1)));
  rl_chunk_unref(c);
}

/* The builder. */

static void test_builder_is_used_again(void **state)
{
  (void)state;
  rl_builder *b = rl_builder_new();
  assert_null(rl_builder_finish(b));
  for (int round = 0; round < 3; round++) {
    rl_value fields[] = {round == 1 ? records_str("a") : rl_int(round), rl_int(1)};
    while (!rl_builder_full(b)) add(b, fields, round == 2 ? 1 : 2);
    assert_int_equal(rl_builder_count(b), RL_CHUNK_RECORDS);
    rl_chunk *c = rl_builder_finish(b);
    assert_int_equal(c->ncols, round == 2 ? 1 : 2);
    assert_int_equal(c->cols[0].type, round == 1 ? RL_COL_BYTES : RL_COL_INT);
    assert_null(c->arity);
    assert_int_equal(rl_builder_count(b), 0);
    assert_int_equal(rl_builder_bytes(b), 0);
    rl_chunk_unref(c);
  }
  rl_builder_delete(b);
  rl_builder_delete(NULL);
}

static void test_builder_is_full_at_its_bytes(void **state)
{
  (void)state;
  char *text = rl_alloc(RL_CHUNK_BYTES / 4);
  rl_builder *b = rl_builder_new();
  rl_value field = rl_str(text, RL_CHUNK_BYTES / 4);
  for (int i = 0; i < 4; i++) {
    assert_false(rl_builder_full(b));
    add(b, &field, 1);
  }
  assert_true(rl_builder_full(b));
  rl_chunk *c = finish(b);
  assert_true(c->bytes >= RL_CHUNK_BYTES && c->bytes < RL_CHUNK_BYTES + 4096);
  rl_chunk_unref(c);
  rl_free(text);
}

static void test_unfinished_builder_frees_all(void **state)
{
  (void)state;
  rl_builder *b = rl_builder_new();
  rl_value fields[] = {records_str("a"), rl_int(1), rl_nil(), rl_null()};
  add(b, fields, 4);
  add(b, fields, 1);
  rl_builder_delete(b);
}

/* Random chunks: what is checked is text and encoding of every record. */

/* Columns change their mind about types every now and then, and most have a type. */
static void add_random(rl_builder *b, uint64_t *seed, rl_buf *scratch)
{
  rl_value fields[6];
  size_t ends[6];
  uint32_t n = 1 + (uint32_t)(records_random(seed) % (records_random(seed) % 4 == 0 ? 6 : 2));
  rl_buf_clear(scratch);
  for (uint32_t i = 0; i < n; i++) {
    if (records_random(seed) % 8 == 0) values_put_random(scratch, seed, 3);
    else if (i % 2 == 0) rl_put_bytes(scratch, "some text", records_random(seed) % 10);
    else rl_put_int(scratch, (int64_t)records_random(seed));
    ends[i] = scratch->n;
  }
  rl_reader r = {scratch->p, scratch->p + ends[n - 1]};
  for (uint32_t i = 0; i < n; i++) {
    assert_int_equal(rl_get_value(&r, &fields[i]), RL_OK);
    if (i > 0 && records_random(seed) % 5 == 0) fields[i] = rl_nil();
  }
  add(b, fields, n);
}

static rl_chunk *random_chunk(uint64_t *seed, uint32_t n)
{
  rl_buf scratch = {0};
  rl_builder *b = rl_builder_new();
  for (uint32_t i = 0; i < n; i++) add_random(b, seed, &scratch);
  rl_buf_free(&scratch);
  return finish(b);
}

static void expect_same_records(const rl_chunk *a, uint32_t from, const rl_chunk *b, uint32_t n)
{
  for (uint32_t row = 0; row < n; row++) {
    assert_int_equal(rl_chunk_arity(a, from + row), rl_chunk_arity(b, row));
    for (uint32_t col = 0; col < a->ncols; col++) {
      assert_true(rl_value_equal(rl_chunk_get(a, col, from + row), rl_chunk_get(b, col, row)));
    }
  }
}

static void test_rows_are_copied(void **state)
{
  (void)state;
  uint64_t seed = records_seed("rows_are_copied");
  for (int round = 0; round < 50; round++) {
    rl_chunk *c = random_chunk(&seed, 1 + (uint32_t)(records_random(&seed) % 300));
    rl_builder *b = rl_builder_new();
    for (uint32_t row = 0; row < c->n; row++) assert_int_equal(rl_builder_add_row(b, c, row), RL_OK);
    rl_chunk *copy = finish(b);
    assert_int_equal(copy->n, c->n);
    assert_int_equal(copy->ncols, c->ncols);
    expect_same_records(c, 0, copy, c->n);
    rl_chunk_unref(copy);
    rl_chunk_unref(c);
  }
}

static void test_slices(void **state)
{
  (void)state;
  uint64_t seed = records_seed("slices");
  for (int round = 0; round < 100; round++) {
    rl_chunk *c = random_chunk(&seed, 1 + (uint32_t)(records_random(&seed) % 200));
    uint32_t from = (uint32_t)(records_random(&seed) % c->n);
    uint32_t n = 1 + (uint32_t)(records_random(&seed) % (c->n - from));
    rl_chunk *s = rl_chunk_slice(c, from, n);
    assert_int_equal(s->n, n);
    expect_same_records(c, from, s, n);
    rl_chunk_unref(c);
    rl_chunk_unref(s);
  }
}

static void test_small_slice_does_not_hold_the_buffer(void **state)
{
  (void)state;
  rl_bytes *data = rl_bytes_from("a\nbb\nccc\nd", 10);
  rl_span *spans = rl_calloc(4, sizeof *spans);
  memcpy(spans, (rl_span[]){{0, 1}, {2, 2}, {5, 3}, {9, 1}}, 4 * sizeof *spans);
  rl_chunk *c = rl_chunk_from_spans(data, spans, 4);
  assert_int_equal(atomic_load(&data->refs), 2);
  rl_chunk *small = rl_chunk_slice(c, 1, 2), *most = rl_chunk_slice(c, 1, 3), *all = rl_chunk_slice(c, 0, 4);
  assert_ptr_not_equal(small->cols[0].data, data);
  assert_int_equal(small->cols[0].data->n, 5);
  assert_ptr_equal(most->cols[0].data, data);
  assert_ptr_equal(all, c);
  assert_true(rl_value_equal(rl_chunk_get(small, 0, 1), records_str("ccc")));
  assert_true(rl_value_equal(rl_chunk_get(most, 0, 2), records_str("d")));
  rl_chunk *held[] = {small, most, all, c};
  for (int i = 0; i < 4; i++) rl_chunk_unref(held[i]);
  assert_int_equal(atomic_load(&data->refs), 1);
  rl_bytes_unref(data);
}

static void test_records_as_text(void **state)
{
  (void)state;
  rl_value fields[] = {records_str("a"), rl_nil(), rl_float(2.0)};
  rl_chunk *c = records_one(fields, 3), *single = records_one(fields, 1);
  rl_buf out = {0};
  rl_chunk_format(c, 0, &out);
  rl_chunk_format(single, 0, &out);
  assert_string_equal(rl_buf_cstr(&out), "(a,nil,2.0)a");
  rl_buf_free(&out);
  rl_chunk_unref(c);
  rl_chunk_unref(single);
}

/* Encoded chunks. */

static void test_encoded_chunks_come_back(void **state)
{
  (void)state;
  uint64_t seed = records_seed("encoded_chunks_come_back");
  rl_buf bytes = {0}, again = {0};
  for (int round = 0; round < 50; round++) {
    rl_chunk *c = random_chunk(&seed, 1 + (uint32_t)(records_random(&seed) % 200)), *back = NULL;
    rl_buf_clear(&bytes);
    rl_buf_clear(&again);
    rl_chunk_encode(c, &bytes);
    size_t n = bytes.n;
    rl_buf_puts(&bytes, "what follows is not read");
    rl_reader r = {bytes.p, bytes.p + bytes.n};
    assert_int_equal(rl_chunk_decode(&r, &back), RL_OK);
    assert_ptr_equal(r.p, bytes.p + n);
    expect_same_records(c, 0, back, c->n);
    rl_chunk_encode(back, &again);
    assert_int_equal(again.n, n);
    assert_memory_equal(again.p, bytes.p, n);
    rl_chunk_unref(c);
    rl_chunk_unref(back);
  }
  rl_buf_free(&bytes);
  rl_buf_free(&again);
}

static bool decodes(const char *p, size_t n)
{
  rl_reader r = {p, p + n};
  rl_chunk *c = NULL;
  bool fine = rl_chunk_decode(&r, &c) == RL_OK;
  rl_chunk_unref(c);
  return fine;
}

static void test_every_flipped_or_missing_byte_is_found(void **state)
{
  (void)state;
  rl_value fields[] = {records_str("key"), rl_int(12345), rl_float(0.25), rl_nil(), rl_null()};
  rl_chunk *c = records_one(fields, 5);
  rl_buf b = {0};
  rl_chunk_encode(c, &b);
  assert_true(decodes(b.p, b.n));
  for (size_t i = 0; i < b.n; i++) {
    assert_false(decodes(b.p, i));
    for (int bit = 0; bit < 8; bit++) {
      b.p[i] = (char)(b.p[i] ^ (1 << bit));
      assert_false(decodes(b.p, b.n));
      b.p[i] = (char)(b.p[i] ^ (1 << bit));
    }
  }
  rl_buf_free(&b);
  rl_chunk_unref(c);
}

static void expect_refused(const char *body, size_t n, const char *why)
{
  rl_buf b = {0};
  rl_buf_add(&b, body, n);
  uint64_t sum = rl_hash_bytes(body, n, 0);
  for (int i = 0; i < 8; i++) rl_buf_putc(&b, (char)(sum >> (8 * i) & 0xff));
  assert_false(decodes(b.p, b.n));
  if (!strstr(rl_error_message(), why)) fail_msg("\"%s\" does not say \"%s\"", rl_error_message(), why);
  rl_buf_free(&b);
}

#define refused(body, why) expect_refused(body, sizeof(body) - 1, why)

/* With a right checksum: it is no proof that the rest is sound. */
static void test_malformed_chunks(void **state)
{
  (void)state;
  refused("XX\1\1\1\4\2", "no chunk begins here");
  refused("RC\2\1\1\4\2", "version 2");
  refused("RC\1\0", "no records");
  refused("RC\1\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "cut short");
  refused("RC\1\1\0\4\2", "0 fields");
  refused("RC\1\1\xfb\1\4\2", "251 fields");
  refused("RC\1\1\1\0", "first value is nil");
  refused("RC\1\1\1\11", "unknown tag");
  assert_false(decodes("RC\1\1\1\4\2" "12345678", 15));
  assert_non_null(strstr(rl_error_message(), "checksum"));
}

/* Lists. */

static void test_lists(void **state)
{
  (void)state;
  rl_chunks l = {0};
  rl_value v = rl_int(1);
  rl_chunk *c = records_one(&v, 1);
  for (int i = 0; i < 10; i++) rl_chunks_add(&l, rl_chunk_ref(c));
  assert_int_equal(rl_chunks_records(&l), 10);
  assert_int_equal(rl_chunks_bytes(&l), 10 * c->bytes);
  rl_chunks_clear(&l);
  assert_int_equal(atomic_load(&c->refs), 1);
  assert_int_equal(l.n, 0);
  rl_chunk_unref(c);
  rl_chunk_unref(NULL);
}

#define test(f) cmocka_unit_test_setup_teardown(f, note_memory, expect_memory_back)

int main(void)
{
  const struct CMUnitTest tests[] = {
      test(test_typed_columns),
      test(test_nils_and_arity),
      test(test_mixed_columns),
      test(test_refused_records),
      test(test_builder_is_used_again),
      test(test_builder_is_full_at_its_bytes),
      test(test_unfinished_builder_frees_all),
      test(test_rows_are_copied),
      test(test_slices),
      test(test_small_slice_does_not_hold_the_buffer),
      test(test_records_as_text),
      test(test_encoded_chunks_come_back),
      test(test_every_flipped_or_missing_byte_is_found),
      test(test_malformed_chunks),
      test(test_lists),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
