/* Help for tests over records: a seeded random source and short ways to make and read chunks. */
#ifndef SPEC_CORE_RECORDS_H
#define SPEC_CORE_RECORDS_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "data/chunk.h"

/* RILLE_TEST_SEED in the environment runs a failed case again. */
static inline uint64_t records_seed(const char *test)
{
  const char *given = getenv("RILLE_TEST_SEED");
  uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)rl_mono_ns();
  printf("%s: RILLE_TEST_SEED=%" PRIu64 "\n", test, seed);
  return seed;
}

/* splitmix64 */
static inline uint64_t records_random(uint64_t *seed)
{
  uint64_t x = *seed += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 31;
}

static inline rl_value records_str(const char *s)
{
  return rl_str(s, strlen(s));
}

/* Appends a record; full chunks move to the list. */
static inline void records_add(rl_builder *b, rl_chunks *list, const rl_value *fields, uint32_t n)
{
  assert_int_equal(rl_builder_add(b, fields, n), RL_OK);
  if (rl_builder_full(b)) rl_chunks_add(list, rl_builder_finish(b));
}

static inline void records_end(rl_builder *b, rl_chunks *list)
{
  rl_chunk *rest = rl_builder_finish(b);
  if (rest) rl_chunks_add(list, rest);
  rl_builder_delete(b);
}

static inline rl_chunk *records_one(const rl_value *fields, uint32_t n)
{
  rl_builder *b = rl_builder_new();
  assert_int_equal(rl_builder_add(b, fields, n), RL_OK);
  rl_chunk *c = rl_builder_finish(b);
  rl_builder_delete(b);
  return c;
}

/* All records as text, one a line; owned by the caller. */
static inline char *records_text(const rl_chunks *list)
{
  rl_buf out = {0};
  for (size_t i = 0; i < list->n; i++) {
    for (uint32_t row = 0; row < list->v[i]->n; row++) {
      rl_chunk_format(list->v[i], row, &out);
      rl_buf_putc(&out, '\n');
    }
  }
  char *text = strdup(rl_buf_cstr(&out));
  rl_buf_free(&out);
  assert_non_null(text);
  return text;
}

static inline void records_expect(const rl_chunks *list, const char *text)
{
  char *got = records_text(list);
  assert_string_equal(got, text);
  free(got);
}

#endif
