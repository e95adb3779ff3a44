/* What a log must hold, for tests of store/wal.h. Payloads follow from sequence and `life`, the number of times the log
 * was opened, which they begin with. Include after cmocka.h. */
#ifndef SPEC_CORE_WAL_MODEL_H
#define SPEC_CORE_WAL_MODEL_H

#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "faulty_fs.h"
#include "scratch.h"
#include "store/wal.h"

enum { MODEL_MOST = 1 << 16 };

typedef struct wal_model {
  char *dir;
  uint32_t life;
  uint32_t of[MODEL_MOST]; /* by sequence: the life of an acknowledged or once recovered record; 0: none such */
  _Atomic uint64_t last;   /* the last of them */
  uint64_t floor;          /* what is below may have been trimmed */
  uint64_t next;           /* replay: the next one expected; 0: whichever comes */
} wal_model;

static inline wal_model *model_new(const char *dir, const char *name)
{
  wal_model *m = RL_NEW(wal_model);
  m->dir = rl_path_join(dir, name);
  m->floor = 1;
  return m;
}

static inline void model_delete(wal_model *m)
{
  assert_int_equal(rl_dir_remove(m->dir), RL_OK);
  rl_free(m->dir);
  rl_free(m);
}

static inline void model_payload(uint64_t seq, uint32_t life, rl_buf *out)
{
  uint64_t seed = seq * 1000003 + life;
  size_t n = sizeof life + faulty_random(&seed) % 900;
  rl_buf_clear(out);
  rl_buf_add(out, &life, sizeof life);
  while (out->n < n) {
    uint64_t x = faulty_random(&seed);
    rl_buf_add(out, &x, sizeof x);
  }
  out->n = n;
}

static inline void model_acknowledge(wal_model *m, uint64_t seq, uint32_t life)
{
  assert_true(seq < MODEL_MOST);
  m->of[seq] = life;
  if (seq > atomic_load(&m->last)) atomic_store(&m->last, seq);
}

/* Replay: nothing wrong, nothing missing in between; what was seen once stays. */
static inline rl_status model_replay(void *user, const rl_wal_record *r)
{
  wal_model *m = user;
  rl_buf expected = {0};
  uint32_t life = 0;
  assert_true(r->at.length >= sizeof life);
  memcpy(&life, r->p, sizeof life);
  if (m->next != 0) assert_int_equal(r->at.seq, m->next);
  else assert_true(r->at.seq <= m->floor);
  m->next = r->at.seq + 1;
  assert_in_range(life, 1, m->life);
  if (m->of[r->at.seq] != 0) assert_int_equal(life, m->of[r->at.seq]);
  model_payload(r->at.seq, life, &expected);
  assert_int_equal(r->at.length, expected.n);
  assert_memory_equal(r->p, expected.p, expected.n);
  rl_buf_free(&expected);
  model_acknowledge(m, r->at.seq, life);
  return RL_OK;
}

/* Opens, and checks what is replayed, with small segments and the system's calls or those of the table that is set. */
static inline rl_status model_open(wal_model *m, rl_wal **out)
{
  rl_wal_spec spec = {.dir = m->dir, .replay = model_replay, .user = m, .segment_bytes = 4000, .retry_ms = 1,
                      .max_failures = 2};
  m->next = 0;
  m->life++;
  uint64_t last = atomic_load(&m->last);
  rl_status st = rl_wal_open(&spec, out);
  if (st == RL_OK && m->next <= last && last >= m->floor) fail_msg("record %d was lost", (int)last);
  return st;
}

/* Recovers with nothing failing. */
static inline void model_check(wal_model *m)
{
  rl_wal *w = NULL;
  if (model_open(m, &w) != RL_OK) fail_msg("%s", rl_error_message());
  if (rl_wal_close(w) != RL_OK) fail_msg("%s", rl_error_message());
}

static inline uint64_t model_next(rl_wal *w)
{
  rl_wal_stats s;
  rl_wal_stats_read(w, &s);
  return s.next;
}

static inline void model_done(void *user, rl_status st, const rl_wal_at *at)
{
  wal_model *m = user;
  if (st == RL_OK) model_acknowledge(m, at->seq, m->life);
}

/* Appends n records, half of each by reference, and waits for the last. One thread does so at a time. */
static inline rl_status model_append(wal_model *m, rl_wal *w, unsigned n)
{
  rl_buf b = {0};
  uint64_t seq = 0, next = model_next(w);
  rl_status st = RL_OK;
  for (unsigned i = 0; i < n && st == RL_OK; i++) {
    model_payload(next++, m->life, &b);
    rl_bytes *bytes = rl_bytes_from(b.p, b.n);
    rl_wal_part parts[] = {{NULL, b.p, b.n / 3}, {bytes, bytes->data + b.n / 3, b.n / 3},
                           {NULL, b.p + b.n / 3 * 2, b.n - b.n / 3 * 2}};
    st = rl_wal_append_async(w, (uint16_t)(1 + i), parts, 3, model_done, m, &seq);
    rl_bytes_unref(bytes);
  }
  if (st == RL_OK) assert_int_equal(seq + 1, next);
  rl_buf_free(&b);
  return st == RL_OK ? rl_wal_wait(w, seq) : st;
}

static inline rl_status model_trim(wal_model *m, rl_wal *w)
{
  uint64_t below = atomic_load(&m->last) > 3 ? atomic_load(&m->last) - 3 : 1;
  if (below > m->floor) m->floor = below;
  return rl_wal_trim(w, below);
}

static inline void model_quiet(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  (void)line;
}

#endif
