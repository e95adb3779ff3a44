/* Memory managers, chunks by number and spools of them, for tests of what leaves memory. Include after cmocka.h. */
#ifndef SPEC_CORE_SPOOLS_H
#define SPEC_CORE_SPOOLS_H

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

#include "data/chunk.h"
#include "spec/core/scratch.h"
#include "store/spool.h"

#define CHUNK_ROWS 1000
#define ALL (SIZE_MAX / 4)

/* What else this process holds is no business of a manager under test, so limits are given on top of it. */
static inline rl_memory *new_memory(const char *dir, size_t limit, bool compress)
{
  rl_memory_spec spec = {.limit = limit == ALL ? ALL : limit + (size_t)rl_mem_used(),
                         .fraction = 1,
                         .storage_fraction = 0,
                         .tasks = 2,
                         .compress = compress,
                         .local_dir = dir};
  return rl_memory_new(&spec);
}

static inline rl_level level_of(const char *name)
{
  rl_level level;
  assert_int_equal(rl_level_parse(name, &level), RL_OK);
  return level;
}

static inline rl_level needed(void) { return RL_LEVEL_WORK; }

/* Chunk number i: (number, text) records. */
static inline rl_chunk *make_chunk(int64_t i)
{
  rl_builder *b = rl_builder_new();
  for (int64_t k = 0; k < CHUNK_ROWS; k++) {
    char text[64];
    int n = snprintf(text, sizeof text, "record %" PRId64 " of chunk %" PRId64, k, i);
    const rl_value fields[2] = {rl_int(i * CHUNK_ROWS + k), rl_str(text, (size_t)n)};
    assert_int_equal(rl_builder_add(b, fields, 2), RL_OK);
  }
  rl_chunk *c = rl_builder_finish(b);
  rl_builder_delete(b);
  return c;
}

static inline size_t chunk_bytes(void)
{
  rl_chunk *c = make_chunk(0);
  size_t n = c->bytes;
  rl_chunk_unref(c);
  return n;
}

static inline rl_status fill(rl_spool *s, int64_t from, int64_t n)
{
  rl_status st = RL_OK;
  for (int64_t i = from; i < from + n && st == RL_OK; i++) st = rl_spool_add(s, make_chunk(i));
  rl_spool_seal(s);
  return st;
}

static inline rl_spool *filled(rl_memory *m, rl_level level, int64_t from, int64_t n)
{
  rl_spool *s = rl_spool_new(m, level);
  if (fill(s, from, n) != RL_OK) fail_msg("%s", rl_error_message());
  return s;
}

static inline rl_status read_all(rl_spool *s, rl_chunks *out)
{
  rl_pull *p = rl_spool_open(s);
  rl_status st = rl_pull_drain(p, out);
  rl_pull_close(p);
  return st;
}

static inline void expect_chunks(rl_spool *s, int64_t from, int64_t n)
{
  rl_chunks got = {0};
  if (read_all(s, &got) != RL_OK) fail_msg("%s", rl_error_message());
  assert_int_equal(got.n, n);
  for (int64_t i = 0; i < n; i++) {
    const rl_chunk *c = got.v[i];
    assert_int_equal(c->n, CHUNK_ROWS);
    assert_int_equal(rl_chunk_get(c, 0, 0).i, (from + i) * CHUNK_ROWS);
    assert_int_equal(rl_chunk_get(c, 0, CHUNK_ROWS - 1).i, (from + i) * CHUNK_ROWS + CHUNK_ROWS - 1);
    char text[64];
    int k = snprintf(text, sizeof text, "record 7 of chunk %" PRId64, from + i);
    rl_value v = rl_chunk_get(c, 1, 7);
    assert_int_equal(v.s.n, k);
    assert_memory_equal(v.s.p, text, (size_t)k);
  }
  rl_chunks_clear(&got);
}

static inline rl_memory_stats stats_of(rl_memory *m)
{
  rl_memory_stats stats;
  rl_memory_stats_read(m, &stats);
  return stats;
}

/* Names in a directory but the lock of a spill folder: how many, and the path of the first that begins so. */
static inline size_t list(const char *dir, const char *prefix, char **first)
{
  size_t n = 0;
  DIR *d = opendir(dir);
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || *e->d_name == '.' || strcmp(e->d_name, "lock") == 0)
      continue;
    if (n++ == 0 && first) *first = rl_path_join(dir, e->d_name);
  }
  closedir(d);
  return n;
}

static inline char *the_spill_file(const char *dir)
{
  char *folder = NULL, *file = NULL;
  assert_int_equal(list(dir, "rille-spill-", &folder), 1);
  assert_int_equal(list(folder, "", &file), 1);
  rl_free(folder);
  return file;
}

#endif
