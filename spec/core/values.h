/* Help for tests over values: short ways to write them, and random ones. Include after cmocka.h and records.h. */
#ifndef SPEC_CORE_VALUES_H
#define SPEC_CORE_VALUES_H

#include <math.h>

#include "data/codec.h"

/* The one value that was put into `b`. */
static inline rl_value values_of(const rl_buf *b)
{
  rl_reader r = {b->p, b->p + b->n};
  rl_value v = rl_nil();
  assert_int_equal(rl_get_value(&r, &v), RL_OK);
  assert_ptr_equal(r.p, r.end);
  return v;
}

static inline rl_value values_tuple(rl_buf *b, const rl_value *fields, size_t n)
{
  rl_buf_clear(b);
  rl_put_tuple(b, n);
  for (size_t i = 0; i < n; i++) rl_put_value(b, fields[i]);
  return values_of(b);
}

/* `pairs`: key, value, key, value ... in order of the keys. */
static inline rl_value values_table(rl_buf *b, const rl_value *array, size_t n, const rl_value *pairs, size_t npairs)
{
  rl_buf_clear(b);
  rl_put_table(b, n);
  for (size_t i = 0; i < n; i++) rl_put_value(b, array[i]);
  rl_put_varint(b, npairs);
  for (size_t i = 0; i < 2 * npairs; i++) rl_put_value(b, pairs[i]);
  return values_of(b);
}

static inline void values_put_random_scalar(rl_buf *b, uint64_t *seed)
{
  static const double floats[] = {0.0, -0.0, 1.0, 1.5, -2.25, 1e15, 1e300, 0x1p63, INFINITY, -INFINITY, NAN};
  uint64_t x = records_random(seed);
  char text[40];
  memset(text, 'a' + (int)(x % 26), sizeof text);
  switch (x >> 8 & 7) {
  case 0: rl_put_value(b, rl_null()); break;
  case 1: rl_put_value(b, rl_bool(x & 1)); break;
  case 2: rl_put_float(b, floats[x % (sizeof floats / sizeof *floats)]); break;
  case 3:
  case 4: rl_put_bytes(b, text, x % sizeof text); break;
  default: rl_put_int(b, (int64_t)records_random(seed) >> (x % 64)); break;
  }
}

static inline void values_put_random(rl_buf *b, uint64_t *seed, int depth);

static inline void values_put_random_table(rl_buf *b, uint64_t *seed, int depth)
{
  uint64_t n = records_random(seed) % 4, pairs = records_random(seed) % 4;
  rl_put_table(b, n);
  for (uint64_t i = 0; i < n; i++) values_put_random(b, seed, depth);
  rl_put_varint(b, pairs);
  int64_t key = (int64_t)n + 1;
  for (uint64_t i = 0; i < pairs; i++) {
    key += 1 + (int64_t)(records_random(seed) % 1000);
    rl_put_int(b, key);
    values_put_random(b, seed, depth);
  }
}

/* Any value but nil, at most `depth` composites deep. */
static inline void values_put_random(rl_buf *b, uint64_t *seed, int depth)
{
  uint64_t x = records_random(seed);
  if (depth == 0 || x % 3 != 0) {
    values_put_random_scalar(b, seed);
  } else if (x & 8) {
    rl_put_tuple(b, x >> 4 & 3);
    for (uint64_t i = 0; i < (x >> 4 & 3); i++) {
      if (x >> (8 + i) & 1) rl_put_value(b, rl_nil());
      else values_put_random(b, seed, depth - 1);
    }
  } else {
    values_put_random_table(b, seed, depth - 1);
  }
}

#endif
