/* Repairs of small jobs (checkpoints.h), and what must hold after them. Include after cmocka.h. */
#ifndef SPEC_CORE_REPAIRS_H
#define SPEC_CORE_REPAIRS_H

#include "base/log.h"
#include "checkpoints.h"
#include "store/backup.h"
#include "store/repair.h"

static inline void quiet(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  (void)line;
}

static inline void keep_line(void *user, const char *line)
{
  rl_buf_puts(user, line);
  rl_buf_putc(user, '\n');
}

static inline rl_status repair(const char *dir, const char *from, rl_buf *said)
{
  rl_buf_clear(said);
  rl_status st = rl_repair_run(&(rl_repair){dir, from, keep_line, said});
  rl_buf_cstr(said);
  return st;
}

static inline void expect_repaired(const char *dir, const char *from, rl_buf *said)
{
  rl_inspect_verified v;
  if (repair(dir, from, said) != RL_OK) fail_msg("%s\n%s", rl_error_message(), said->p);
  if (rl_inspect_verify(dir, NULL, NULL, &v) != RL_OK) fail_msg("%s", rl_error_message());
}

/* Jobs ------------------------------------------------------------------------------------------------------------- */

/* Seven batches; the image has the first `applied`; two blocks are in no batch. */
static inline unsigned make_job(const char *dir, unsigned applied)
{
  ck_job j;
  ck_open(&j, dir);
  for (unsigned i = 0; i < 7; i++) {
    ck_receive(&j);
    if (i % 2) ck_receive(&j);
    ck_batch(&j, i < applied ? CK_APPLIED : i == 6 ? CK_BEGUN : i == 5 ? CK_ENDED : CK_COMPLETE);
  }
  ck_receive(&j);
  ck_receive(&j);
  ck_close(&j);
  return j.records;
}

static inline ck_found frames_of(const char *dir)
{
  ck_found f = {0};
  char *log = rl_checkpoint_log(dir);
  ok(rl_wal_verify(log, &(rl_wal_verifier){ck_collect, NULL, &f}));
  rl_free(log);
  return f;
}

static inline void free_frames(ck_found *f)
{
  for (size_t i = 0; i < f->n; i++) rl_buf_free(&f->v[i].b);
  rl_free(f->v);
}

/* Where the next start takes the input to have been (core/run/recover.c). */
static inline uint64_t place_of_input(const char *dir)
{
  ck_found f = frames_of(dir);
  uint64_t batch = 0, blocks = 0;
  for (size_t i = 0; i < f.n; i++) {
    const rl_buf *b = &f.v[i].b;
    rl_journal_begin begin;
    rl_journal_input in;
    rl_journal_block block;
    if (f.v[i].at.type == RL_JOURNAL_BLOCK) {
      ok(rl_journal_get_block(b->p, b->n, &block));
      if (block.position > blocks) blocks = block.position;
    } else if (f.v[i].at.type == RL_JOURNAL_BEGIN) {
      ok(rl_journal_get_begin(b->p, b->n, &begin));
      ok(rl_journal_next_input(&begin, &in));
      batch = in.position;
    }
  }
  free_frames(&f);
  return batch > blocks ? batch : blocks;
}

/* When it is not where it was, that is told. */
static inline void expect_place_told(const char *dir, unsigned records, const rl_buf *said)
{
  uint64_t place = place_of_input(dir);
  char *line = rl_format("input 'in': its newest place may be lost, it goes on from position %" PRIu64 ",", place);
  if (place < records && !strstr(said->p, line) && (place > 0 || !strstr(said->p, "their beginning, position 0"))) {
    fail_msg("it goes on from %d of %u, which is not told:\n%s", (int)place, records, said->p);
  }
  rl_free(line);
}

/* Each record of the job was counted once, or was in a damaged block and is told to be lost. */
static inline void expect_counted(const char *dir, unsigned records, const bool *may_be_lost, const rl_buf *said,
                           const char *what, uint64_t seq)
{
  int64_t seen[CK_MOST];
  unsigned lost = 0;
  expect_place_told(dir, records, said);
  ck_recover(dir, records, seen);
  for (unsigned i = 0; i < records; i++) {
    if (seen[i] == 1) continue;
    lost++;
    if (seen[i] != 0 || !may_be_lost[i]) {
      puts(said->p);
      fail_msg("%s, record %d: r%u was counted %d times", what, (int)seq, i, (int)seen[i]);
    }
  }
  if (lost > 0 && !strstr(said->p, "lost")) {
    fail_msg("%s, record %d: nothing tells the loss:\n%s", what, (int)seq, said->p);
  }
}

static inline void note_block(ck_record *r, bool *lost)
{
  unsigned records[64];
  if (r->at.type != RL_JOURNAL_BLOCK) return;
  size_t n = ck_records(r, records, 0);
  for (size_t i = 0; i < n; i++) lost[records[i]] = true;
}

static inline void flip_frame(const char *dir, const ck_record *r, size_t at)
{
  char *path = ck_segment(dir, r->at.segment);
  ck_flip(path, r->at.offset + at);
  rl_free(path);
}

static inline void damage_image(const char *dir)
{
  char *state = rl_checkpoint_state(dir), *path = rl_path_join(state, "data.mdb");
  uint64_t size;
  ok(rl_file_size(path, &size));
  for (uint64_t at = 100; at < size; at += 512) ck_flip(path, at);
  rl_free(state);
  rl_free(path);
}

static inline uint64_t first_of(const char *dir)
{
  rl_inspect_log l;
  ok(rl_inspect_log_read(dir, &l));
  uint64_t first = l.segments[0].first;
  rl_inspect_log_free(&l);
  return first;
}

/* A job that has removed the oldest part of its log. */
static inline void trim(ck_job *j)
{
  rl_wal_stats stats;
  rl_wal_stats_read(j->wal, &stats);
  ok(rl_wal_trim(j->wal, stats.next - 5));
  assert_true(first_of(j->dir) > 1);
}

#endif
