/* Checkpoint directories of a small job, made without the engine, for tests of inspecting, repairing and copying them.
 * Include after cmocka.h.
 *
 * The job has one receiver, "in", whose records are texts, each another; and one operator, "seen", of two partitions:
 * for each record how often it was seen, and under "total" how many there were. So after any repair it can be told
 * which records are lost, that none was counted twice, and that versions were built on each other. */
#ifndef SPEC_CORE_CHECKPOINTS_H
#define SPEC_CORE_CHECKPOINTS_H

#include <inttypes.h>

#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/inspect.h"
#include "store/wal.h"

enum { CK_PARTS = 2, CK_BLOCK = 3, CK_MS = 100, CK_MOST = 4096 };

static uint64_t ck_segment_bytes = 1000; /* of the logs of jobs that are made from now on */

typedef struct ck_job {
  char *dir;
  rl_wal *wal;
  rl_state *store;
  rl_state_op *op;
  uint64_t blocks[64]; /* in no batch yet */
  size_t nblocks;
  unsigned records; /* ever received */
  int64_t last;     /* batch time */
} ck_job;

/* For main: directories are made by the thousand, and no power is cut: where there is a disk in memory, they lie
 * there. */
static inline void ck_be_fast(void)
{
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 0);
}

/* How far a batch is taken. */
typedef enum ck_stage { CK_BEGUN, CK_STATED, CK_ENDED, CK_COMPLETE, CK_APPLIED } ck_stage;

static inline uint64_t ck_append(ck_job *j, rl_journal_type type, rl_buf *b)
{
  uint64_t seq = 0;
  ok(rl_wal_append(j->wal, (uint16_t)type, &(rl_wal_part){.p = b->p, .n = b->n}, 1, &seq));
  rl_buf_free(b);
  return seq;
}

static inline void ck_start(ck_job *j)
{
  rl_buf b = {0};
  char *log = rl_checkpoint_log(j->dir), *state = rl_checkpoint_state(j->dir);
  ok(rl_wal_open(&(rl_wal_spec){.dir = log, .segment_bytes = ck_segment_bytes}, &j->wal));
  ok(rl_state_open(&(rl_state_spec){.dir = state, .overlay_bytes = MIB}, &j->store));
  j->op = op_of(j->store, "seen", false);
  rl_journal_put_start(&b, &(rl_journal_start){0, CK_MS, 1790000000000, 1, {"job", 3}, {"0.1.0", 5}, {0}});
  ck_append(j, RL_JOURNAL_START, &b);
  rl_free(log);
  rl_free(state);
}

static inline void ck_open(ck_job *j, const char *dir)
{
  *j = (ck_job){.dir = rl_strdup(dir)};
  ck_start(j);
}

static inline void ck_stop(ck_job *j)
{
  ok(rl_wal_close(j->wal));
  rl_state_close(j->store);
}

static inline void ck_close(ck_job *j)
{
  ck_stop(j);
  rl_free(j->dir);
}

static inline void ck_receive(ck_job *j)
{
  rl_buf b = {0};
  unsigned from = j->records;
  j->records += CK_BLOCK;
  rl_journal_put_block(&b, &(rl_journal_block){{"in", 2}, CK_BLOCK, j->records, true, {0}});
  for (unsigned i = from; i < j->records; i++) rl_buf_printf(&b, "r%u\n", i);
  j->blocks[j->nblocks++] = ck_append(j, RL_JOURNAL_BLOCK, &b);
}

/* One partition of a batch: `records` are numbers. */
static inline rl_state_update *ck_update(rl_state_op *op, uint32_t partition, const unsigned *records, size_t n)
{
  rl_state_update *u = update_of(op, partition, CK_PARTS);
  rl_value old;
  int64_t stamp;
  for (size_t i = 0; i <= n; i++) {
    char text[16];
    snprintf(text, sizeof text, "r%u", i < n ? records[i] : 0);
    rl_value key = i < n ? records_str(text) : records_str("total");
    if (rl_group_partition(rl_key_group(rl_key_hash(key)), CK_PARTS) != partition) continue;
    ok(rl_state_slot(u, key, &old, &stamp));
    int64_t before = old.type == RL_T_INT ? old.i : 0;
    ok(rl_state_set(u, rl_state_slots(u) - 1, rl_int(before + (i < n ? 1 : (int64_t)n)), 0));
  }
  return u;
}

static inline void ck_log_state(ck_job *j, int64_t time, uint32_t partition, const rl_state_update *u)
{
  rl_buf changes = {0}, b = {0};
  rl_state_update_encode(u, &changes);
  rl_chunk *c = records_one((rl_value[]){rl_int(time)}, 1);
  rl_journal_put_state(&b, &(rl_journal_state){.time = time, .uid = {"seen", 4}, .partition = partition,
                                               .partitions = CK_PARTS, .changes = {changes.p, changes.n}, .chunks = 1});
  rl_chunk_encode(c, &b);
  ck_append(j, RL_JOURNAL_STATE, &b);
  rl_chunk_unref(c);
  rl_buf_free(&changes);
}

static inline void ck_batch(ck_job *j, ck_stage stage)
{
  rl_buf b = {0};
  rl_state_update *updates[CK_PARTS];
  unsigned records[64 * CK_BLOCK];
  size_t n = j->nblocks * CK_BLOCK;
  for (size_t i = 0; i < n; i++) records[i] = j->records - (unsigned)n + (unsigned)i;
  int64_t time = j->last += CK_MS;
  rl_journal_put_begin(&b, &(rl_journal_begin){.time = time, .batch_ms = CK_MS, .script = 1, .ninputs = 2});
  rl_journal_put_input(&b, &(rl_journal_input){.uid = {"in", 2}, .kind = RL_JOURNAL_BLOCKS, .records = (int64_t)n,
                                               .position = j->records, .blocks = j->blocks, .nblocks = j->nblocks});
  rl_journal_put_input(&b, &(rl_journal_input){.uid = {"files", 5}, .kind = RL_JOURNAL_SAVED, .records = 0,
                                               .bytes = {"offset", 6}});
  ck_append(j, RL_JOURNAL_BEGIN, &b);
  j->nblocks = 0;
  if (stage == CK_BEGUN) return;
  for (uint32_t p = 0; p < CK_PARTS; p++) {
    updates[p] = ck_update(j->op, p, records, n);
    ck_log_state(j, time, p, updates[p]);
  }
  ok(rl_state_seal(j->op, time, updates, CK_PARTS));
  if (stage == CK_STATED) return;
  rl_journal_put_end(&b, &(rl_journal_end){.time = time});
  ck_append(j, RL_JOURNAL_END, &b);
  if (stage == CK_ENDED) return;
  rl_journal_put_output(&b, &(rl_journal_output){.time = time, .key = {"seen/print/1", 12}});
  ck_append(j, RL_JOURNAL_OUTPUT, &b);
  rl_journal_put_complete(&b, &(rl_journal_complete){time, false, {"kept", 4}});
  uint64_t seq = ck_append(j, RL_JOURNAL_COMPLETE, &b);
  ok(rl_wal_wait(j->wal, seq));
  if (stage == CK_APPLIED) rl_state_end(j->store, time);
  if (stage == CK_APPLIED) ok(rl_state_flush(j->store));
}

/* Recovering it ---------------------------------------------------------------------------------------------------- */

typedef struct ck_record {
  rl_wal_at at;
  rl_buf b;
  bool used; /* BLOCK */
} ck_record;

typedef struct ck_found {
  ck_record *v;
  size_t n, cap;
} ck_found;

static inline rl_status ck_collect(void *user, const rl_wal_record *r)
{
  ck_found *f = user;
  f->v = rl_grow(f->v, &f->cap, f->n + 1, sizeof *f->v);
  f->v[f->n] = (ck_record){.at = r->at};
  rl_buf_add(&f->v[f->n++].b, r->p, r->at.length);
  return RL_OK;
}

static inline ck_record *ck_find(const ck_found *f, uint64_t seq)
{
  for (size_t i = 0; i < f->n; i++) {
    if (f->v[i].at.seq == seq) return &f->v[i];
  }
  return NULL;
}

/* Numbers of the records in a block. */
static inline size_t ck_records(ck_record *r, unsigned *records, size_t n)
{
  rl_journal_block block;
  ok(rl_journal_get_block(r->b.p, r->b.n, &block));
  r->used = true;
  for (const char *p = block.data.p, *end = p + block.data.n; p < end;) {
    records[n++] = (unsigned)strtoul(p + 1, NULL, 10);
    p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1;
  }
  return n;
}

static inline void ck_run(rl_state_op *op, int64_t time, const unsigned *records, size_t n)
{
  rl_state_update *updates[CK_PARTS];
  for (uint32_t p = 0; p < CK_PARTS; p++) updates[p] = ck_update(op, p, records, n);
  ok(rl_state_seal(op, time, updates, CK_PARTS));
}

/* The records of the log about a batch. */
static inline bool ck_has(const ck_found *f, unsigned type, int64_t time)
{
  for (size_t i = 0; i < f->n; i++) {
    rl_journal_end end;
    rl_journal_complete complete;
    if (f->v[i].at.type != type) continue;
    const rl_buf *b = &f->v[i].b;
    if (type == RL_JOURNAL_END && rl_journal_get_end(b->p, b->n, &end) == RL_OK && end.time == time) return true;
    if (type != RL_JOURNAL_COMPLETE) continue;
    if (rl_journal_get_complete(b->p, b->n, &complete) == RL_OK && complete.time == time) return true;
  }
  return false;
}

static inline void ck_replay(const ck_found *f, rl_state_op *op, int64_t time)
{
  rl_state_changes changes[CK_PARTS] = {{0}};
  for (size_t i = 0; i < f->n; i++) {
    rl_journal_state s;
    if (f->v[i].at.type != RL_JOURNAL_STATE) continue;
    ok(rl_journal_get_state(f->v[i].b.p, f->v[i].b.n, &s));
    if (s.time == time) changes[s.partition] = (rl_state_changes){s.changes.p, s.changes.n};
  }
  for (uint32_t p = 0; p < CK_PARTS; p++) assert_true(changes[p].n > 0);
  ok(rl_state_replay(op, time, changes, CK_PARTS));
}

static inline void ck_recover_batch(ck_found *f, rl_state_op *op, const ck_record *r, int64_t *last)
{
  rl_journal_begin begin;
  rl_journal_input in;
  unsigned records[1024];
  size_t n = 0;
  uint64_t seq;
  ok(rl_journal_get_begin(r->b.p, r->b.n, &begin));
  assert_true(begin.time > *last);
  *last = begin.time;
  for (uint64_t i = 0; i < begin.ninputs; i++) {
    ok(rl_journal_next_input(&begin, &in));
    while (rl_journal_next_block(&in, &seq)) {
      ck_record *block = ck_find(f, seq);
      if (!block && begin.time <= rl_state_sealed(op)) continue; /* trimmed */
      assert_non_null(block);
      assert_int_equal(block->at.type, RL_JOURNAL_BLOCK);
      assert_false(block->used);
      n = ck_records(block, records, n);
    }
  }
  if (begin.time <= rl_state_sealed(op)) {
    assert_true(ck_has(f, RL_JOURNAL_COMPLETE, begin.time)); /* the image never is ahead of a pending batch */
  } else if (ck_has(f, RL_JOURNAL_END, begin.time)) {
    ck_replay(f, op, begin.time);
  } else {
    assert_false(ck_has(f, RL_JOURNAL_COMPLETE, begin.time));
    ck_run(op, begin.time, records, n);
  }
}

static inline int64_t ck_value(rl_state_op *op, const char *key)
{
  rl_buf b = {0};
  bool found = false;
  ok(rl_state_get(op, records_str(key), &b, &found));
  int64_t x = found ? values_of(&b).i : 0;
  rl_buf_free(&b);
  return x;
}

/* Starts the job once more as the engine would: seen[i] becomes how often record i was. */
static inline void ck_recover(const char *dir, unsigned records, int64_t *seen)
{
  ck_found f = {0};
  rl_wal *w = NULL;
  rl_state *s = NULL;
  int64_t last = RL_NO_TIME, total = 0;
  unsigned rest[CK_MOST];
  size_t n = 0;
  char *log = rl_checkpoint_log(dir), *state = rl_checkpoint_state(dir);
  ok(rl_wal_open(&(rl_wal_spec){.dir = log, .replay = ck_collect, .user = &f}, &w));
  ok(rl_state_open(&(rl_state_spec){.dir = state, .overlay_bytes = MIB}, &s));
  rl_state_op *op = op_of(s, "seen", false);
  for (size_t i = 0; i < f.n; i++) {
    if (f.v[i].at.type == RL_JOURNAL_BEGIN) ck_recover_batch(&f, op, &f.v[i], &last);
  }
  for (size_t i = 0; i < f.n; i++) {
    if (f.v[i].at.type == RL_JOURNAL_BLOCK && !f.v[i].used) n = ck_records(&f.v[i], rest, n);
  }
  ck_run(op, (last == RL_NO_TIME ? 0 : last) + CK_MS, rest, n);
  for (unsigned i = 0; i < records; i++) {
    char key[16];
    snprintf(key, sizeof key, "r%u", i);
    seen[i] = ck_value(op, key);
    total += seen[i];
  }
  assert_int_equal(ck_value(op, "total"), total);
  ok(rl_wal_close(w));
  rl_state_close(s);
  for (size_t i = 0; i < f.n; i++) rl_buf_free(&f.v[i].b);
  rl_free(f.v);
  rl_free(log);
  rl_free(state);
}

/* Copies of directories, to be damaged ----------------------------------------------------------------------------- */

static inline rl_status ck_copy_file(void *user, const char *name)
{
  char *const *dirs = user;
  rl_buf b = {0};
  char *from = rl_path_join(dirs[0], name), *to = rl_path_join(dirs[1], name);
  ok(rl_file_read_all(from, &b));
  scratch_write_bytes(to, b.p, b.n);
  rl_buf_free(&b);
  rl_free(from);
  rl_free(to);
  return RL_OK;
}

static inline void ck_copy(const char *dir, const char *to)
{
  char *dirs[4] = {rl_checkpoint_log(dir), rl_checkpoint_log(to), rl_checkpoint_state(dir), rl_checkpoint_state(to)};
  ok(rl_dir_remove(to));
  ok(rl_dir_make_durable(dirs[1]));
  ok(rl_dir_each(dirs[0], ck_copy_file, &dirs[0]));
  if (rl_path_is_dir(dirs[2])) {
    ok(rl_dir_make_durable(dirs[3]));
    ok(rl_dir_each(dirs[2], ck_copy_file, &dirs[2]));
  }
  for (int i = 0; i < 4; i++) rl_free(dirs[i]);
}

static inline void ck_flip(const char *path, uint64_t at)
{
  rl_buf b = {0};
  ok(rl_file_read_all(path, &b));
  assert_true(at < b.n);
  b.p[at] ^= 0x10;
  scratch_write_bytes(path, b.p, b.n);
  rl_buf_free(&b);
}

static inline char *ck_segment(const char *dir, uint64_t first)
{
  char *log = rl_checkpoint_log(dir), *name = rl_format("log-%016" PRIx64, first), *path = rl_path_join(log, name);
  rl_free(log);
  rl_free(name);
  return path;
}

#endif
