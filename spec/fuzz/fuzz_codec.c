/* What decodes is sound: a value encodes to the very bytes it came from and stands up to all that reads it; a chunk
 * likewise, and it decodes to the same again.
 *
 * Input: a byte k and the rest; by k % 4 that is 0 a value, 1 a chunk, 2 a chunk without its checksum, 3 two values. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "data/chunk.h"
#include "data/codec.h"

static void expect(bool holds)
{
  if (!holds) abort();
}

static void expect_same(const rl_buf *b, const char *p, size_t n)
{
  expect(b->n == n && (n == 0 || memcmp(b->p, p, n) == 0));
}

/* A normalised key stands as a table's key, unless it belongs to the array part or is too deep for one level more. */
static void check_as_table_key(rl_value key)
{
  rl_buf b = {0};
  rl_put_table(&b, 0);
  rl_put_varint(&b, 1);
  rl_put_value(&b, key);
  rl_put_value(&b, rl_null());
  rl_reader r = {b.p, b.p + b.n};
  rl_value table;
  bool in_array = key.type == RL_T_INT && key.i == 1;
  expect(rl_get_value(&r, &table) == RL_OK || in_array || strstr(rl_error_message(), "nested deeper"));
  rl_buf_free(&b);
}

static void check_key(rl_value v)
{
  rl_buf scratch = {0}, again = {0};
  if (rl_key_normalise(&v, &scratch) == RL_OK) {
    rl_value twice = v;
    expect(rl_key_normalise(&twice, &again) == RL_OK);
    expect(rl_key_equal(v, twice) && rl_key_hash(v) == rl_key_hash(twice));
    check_as_table_key(v);
  }
  rl_buf_free(&scratch);
  rl_buf_free(&again);
}

static void check_value(rl_value v, const char *p, size_t n)
{
  rl_buf b = {0};
  rl_put_value(&b, v);
  expect_same(&b, p, n);
  expect(rl_value_equal(v, v));
  rl_buf_clear(&b);
  rl_value_format(v, &b);
  check_key(v);
  rl_buf_free(&b);
}

static void fuzz_value(rl_reader r)
{
  rl_value v;
  const char *start = r.p;
  if (rl_get_value(&r, &v) != RL_OK) expect(rl_error_current()->code == RL_EDATA);
  else check_value(v, start, (size_t)(r.p - start));
  expect(r.p >= start && r.p <= r.end);
}

static void fuzz_pair(rl_reader r)
{
  rl_value a, b;
  if (rl_get_value(&r, &a) != RL_OK || rl_get_value(&r, &b) != RL_OK) return;
  int order = rl_value_compare(a, b), back = rl_value_compare(b, a);
  expect((order < 0) == (back > 0) && (order == 0) == (back == 0));
  expect(rl_value_equal(a, b) == (order == 0));
}

static void fuzz_chunk(rl_reader r)
{
  rl_chunk *c = NULL, *again = NULL;
  const char *start = r.p;
  if (rl_chunk_decode(&r, &c) != RL_OK) return;
  rl_buf b = {0};
  rl_chunk_encode(c, &b);
  expect_same(&b, start, (size_t)(r.p - start));
  rl_reader second = {b.p, b.p + b.n};
  expect(rl_chunk_decode(&second, &again) == RL_OK && again->n == c->n);
  for (uint32_t row = 0; row < c->n; row++) {
    expect(rl_chunk_arity(c, row) == rl_chunk_arity(again, row));
    for (uint32_t col = 0; col < c->ncols; col++) {
      expect(rl_value_equal(rl_chunk_get(c, col, row), rl_chunk_get(again, col, row)));
    }
  }
  rl_buf_free(&b);
  rl_chunk_unref(c);
  rl_chunk_unref(again);
}

/* The fuzzer cannot guess a checksum: it is put behind the bytes for it. */
static void fuzz_summed_chunk(rl_reader r)
{
  rl_buf b = {0};
  rl_buf_add(&b, r.p, (size_t)(r.end - r.p));
  uint64_t sum = rl_hash_bytes(r.p, (size_t)(r.end - r.p), 0);
  for (int i = 0; i < 8; i++) rl_buf_putc(&b, (char)(sum >> (8 * i) & 0xff));
  fuzz_chunk((rl_reader){b.p, b.p + b.n});
  rl_buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  if (size == 0) return 0;
  rl_reader r = {(const char *)input + 1, (const char *)input + size};
  switch (input[0] % 4) {
  case 0: fuzz_value(r); break;
  case 1: fuzz_chunk(r); break;
  case 2: fuzz_summed_chunk(r); break;
  default: fuzz_pair(r); break;
  }
  return 0;
}
