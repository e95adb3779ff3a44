/* Repairing checkpoint directories: whatever is damaged, what is made of it is right, and what is lost is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "checkpoints.h"
#include "store/backup.h"
#include "store/repair.h"

static void quiet(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  (void)line;
}

static void keep_line(void *user, const char *line)
{
  rl_buf_puts(user, line);
  rl_buf_putc(user, '\n');
}

static rl_status repair(const char *dir, const char *from, rl_buf *said)
{
  rl_buf_clear(said);
  rl_status st = rl_repair_run(&(rl_repair){dir, from, keep_line, said});
  rl_buf_cstr(said);
  return st;
}

static void expect_repaired(const char *dir, const char *from, rl_buf *said)
{
  rl_inspect_verified v;
  if (repair(dir, from, said) != RL_OK) fail_msg("%s\n%s", rl_error_message(), said->p);
  if (rl_inspect_verify(dir, NULL, NULL, &v) != RL_OK) fail_msg("%s", rl_error_message());
}

/* Jobs ------------------------------------------------------------------------------------------------------------- */

/* Seven batches; the image has the first `applied`; two blocks are in no batch. */
static unsigned make_job(const char *dir, unsigned applied)
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

static ck_found frames_of(const char *dir)
{
  ck_found f = {0};
  char *log = rl_checkpoint_log(dir);
  ok(rl_wal_verify(log, &(rl_wal_verifier){ck_collect, NULL, &f}));
  rl_free(log);
  return f;
}

static void free_frames(ck_found *f)
{
  for (size_t i = 0; i < f->n; i++) rl_buf_free(&f->v[i].b);
  rl_free(f->v);
}

/* Each record of the job was counted once, or was in a damaged block and is told to be lost. */
static void expect_counted(const char *dir, unsigned records, const bool *may_be_lost, const rl_buf *said,
                           const char *what, uint64_t seq)
{
  int64_t seen[CK_MOST];
  unsigned lost = 0;
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

static void note_block(ck_record *r, bool *lost)
{
  unsigned records[64];
  if (r->at.type != RL_JOURNAL_BLOCK) return;
  size_t n = ck_records(r, records, 0);
  for (size_t i = 0; i < n; i++) lost[records[i]] = true;
}

/* Damage ----------------------------------------------------------------------------------------------------------- */

static void flip_frame(const char *dir, const ck_record *r, size_t at)
{
  char *path = ck_segment(dir, r->at.segment);
  ck_flip(path, r->at.offset + at);
  rl_free(path);
}

static void each_damaged_record(const char *root, unsigned applied)
{
  char *dir = rl_path_join(root, "job"), *copy = rl_path_join(root, "copy");
  rl_buf said = {0};
  unsigned records = make_job(dir, applied);
  ck_found f = frames_of(dir);
  assert_true(f.n > 40);
  for (size_t i = 0; i < f.n; i++) {
    bool lost[CK_MOST] = {false};
    note_block(&f.v[i], lost);
    for (size_t at = 0; at < 2; at++) {
      ck_copy(dir, copy);
      flip_frame(copy, &f.v[i], at == 0 ? 3 : 40 + f.v[i].at.length - 1);
      expect_repaired(copy, NULL, &said);
      expect_counted(copy, records, lost, &said, rl_journal_name(f.v[i].at.type), f.v[i].at.seq);
    }
  }
  free_frames(&f);
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(copy);
}

static void a_damaged_record_costs_no_more_than_itself(void **state)
{
  each_damaged_record(*state, 0);
}

static void also_when_the_image_has_half_of_the_batches(void **state)
{
  each_damaged_record(*state, 3);
}

static void also_when_the_image_has_nearly_all(void **state)
{
  each_damaged_record(*state, 5);
}

static void several_damaged_records_cost_no_more_than_themselves(void **state)
{
  char *dir = rl_path_join(*state, "job"), *copy = rl_path_join(*state, "copy");
  uint64_t seed = records_seed("several_damaged_records");
  rl_buf said = {0};
  for (unsigned round = 0; round < 120; round++) {
    if (round % 20 == 0) ok(rl_dir_remove(dir));
    static unsigned records;
    if (round % 20 == 0) records = make_job(dir, (unsigned)(records_random(&seed) % 6));
    ck_found f = frames_of(dir);
    bool lost[CK_MOST] = {false};
    ck_copy(dir, copy);
    size_t n = 1 + records_random(&seed) % 5, at = records_random(&seed) % f.n;
    for (size_t i = 0; i < n; i++) {
      if (records_random(&seed) % 2) at = records_random(&seed) % f.n;
      ck_record *r = &f.v[at];
      if (!r->used || r->at.type != RL_JOURNAL_BLOCK) flip_frame(copy, r, records_random(&seed) % (40 + r->at.length));
      if (r->at.type == RL_JOURNAL_BLOCK) note_block(r, lost);
      at = (at + 1) % f.n;
    }
    if (repair(copy, NULL, &said) != RL_OK) fail_msg("round %u: %s", round, rl_error_message());
    expect_counted(copy, records, lost, &said, "round", round);
    free_frames(&f);
  }
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(copy);
}

static void a_damaged_or_missing_segment_costs_what_was_in_it(void **state)
{
  char *dir = rl_path_join(*state, "job"), *copy = rl_path_join(*state, "copy");
  rl_buf said = {0};
  for (unsigned applied = 0; applied < 6; applied += 2) {
    ok(rl_dir_remove(dir));
    unsigned records = make_job(dir, applied);
    ck_found f = frames_of(dir);
    for (size_t i = 0; i < f.n; i++) {
      uint64_t segment = f.v[i].at.segment;
      bool lost[CK_MOST] = {false};
      if (i > 0 && f.v[i - 1].at.segment == segment) continue;
      for (size_t k = 0; k < f.n; k++) {
        if (f.v[k].at.segment == segment) note_block(&f.v[k], lost);
      }
      ck_copy(dir, copy);
      char *path = ck_segment(copy, segment);
      if (i % 2 && segment != 1 && segment != f.v[f.n - 1].at.segment) ok(rl_file_unlink(path));
      else ck_flip(path, 17);
      rl_free(path);
      expect_repaired(copy, NULL, &said);
      expect_counted(copy, records, lost, &said, "segment", segment);
    }
    free_frames(&f);
  }
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(copy);
}

/* Images ----------------------------------------------------------------------------------------------------------- */

static void damage_image(const char *dir)
{
  char *state = rl_checkpoint_state(dir), *path = rl_path_join(state, "data.mdb");
  uint64_t size;
  ok(rl_file_size(path, &size));
  for (uint64_t at = 100; at < size; at += 512) ck_flip(path, at);
  rl_free(state);
  rl_free(path);
}

static void a_damaged_image_is_made_of_the_whole_log(void **state)
{
  char *dir = rl_path_join(*state, "job");
  const bool lost[CK_MOST] = {false};
  rl_buf said = {0};
  unsigned records = make_job(dir, 4);
  damage_image(dir);
  expect_repaired(dir, NULL, &said);
  assert_non_null(strstr(said.p, "the state is made from the log"));
  assert_null(strstr(said.p, "lost"));
  expect_counted(dir, records, lost, &said, "image", 0);
  rl_buf_free(&said);
  rl_free(dir);
}

static uint64_t first_of(const char *dir)
{
  rl_inspect_log l;
  ok(rl_inspect_log_read(dir, &l));
  uint64_t first = l.segments[0].first;
  rl_inspect_log_free(&l);
  return first;
}

/* A job that has removed the oldest part of its log. */
static void trim(ck_job *j)
{
  rl_wal_stats stats;
  rl_wal_stats_read(j->wal, &stats);
  ok(rl_wal_trim(j->wal, stats.next - 5));
  assert_true(first_of(j->dir) > 1);
}

static void without_a_backup_a_trimmed_log_makes_no_image(void **state)
{
  char *dir = rl_path_join(*state, "job");
  rl_buf said = {0};
  ck_job j;
  ck_open(&j, dir);
  for (int i = 0; i < 8; i++) {
    ck_receive(&j);
    ck_batch(&j, CK_APPLIED);
  }
  trim(&j);
  ck_close(&j);
  damage_image(dir);
  assert_int_equal(repair(dir, NULL, &said), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "nothing can be rebuilt"));
  assert_false(scratch_exists(dir, "quarantine"));
  char *path = rl_checkpoint_state(dir);
  ok(rl_dir_remove(path));
  assert_int_equal(repair(dir, NULL, &said), RL_EDATA);
  assert_non_null(strstr(said.p, "is missing, and the log begins with record"));
  rl_free(path);
  rl_buf_free(&said);
  rl_free(dir);
}

static void a_backup_and_the_log_make_all_of_it(void **state)
{
  char *dir = rl_path_join(*state, "job"), *backup = rl_path_join(*state, "backup");
  const bool lost[CK_MOST] = {false};
  rl_buf said = {0};
  rl_backup made;
  ck_job j;
  ck_open(&j, dir);
  for (int i = 0; i < 12; i++) {
    ck_receive(&j);
    ck_batch(&j, i < 11 ? CK_APPLIED : CK_ENDED);
    if (i != 6) continue;
    ck_stop(&j); /* a backup forks: its process is one without threads */
    ok(rl_backup_run(dir, backup, &made));
    ck_start(&j);
    trim(&j);
  }
  ck_receive(&j);
  ck_close(&j);
  damage_image(dir);
  ck_found f = frames_of(dir);
  flip_frame(dir, &f.v[0], 5); /* the backup has that */
  expect_repaired(dir, backup, &said);
  assert_non_null(strstr(said.p, "the state is the backup's"));
  assert_null(strstr(said.p, "lost"));
  expect_counted(dir, j.records, lost, &said, "backup", 0);
  free_frames(&f);
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(backup);
}

static void a_backup_of_another_job_s_log_fills_no_gaps(void **state)
{
  char *dir = rl_path_join(*state, "job"), *other = rl_path_join(*state, "other");
  char *backup = rl_path_join(*state, "backup");
  rl_buf said = {0};
  rl_backup made;
  unsigned records = make_job(dir, 2);
  make_job(other, 2);
  ok(rl_backup_run(other, backup, &made));
  ck_found f = frames_of(dir);
  bool lost[CK_MOST] = {false};
  ck_record *last = &f.v[f.n - 1];
  note_block(last, lost);
  flip_frame(dir, last, 4);
  expect_repaired(dir, backup, &said);
  assert_non_null(strstr(said.p, "are lost"));
  expect_counted(dir, records, lost, &said, "other", 0);
  free_frames(&f);
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(other);
  rl_free(backup);
}

/* Care --------------------------------------------------------------------------------------------------------------*/

static void what_is_in_use_is_left_alone(void **state)
{
  char *dir = rl_path_join(*state, "job");
  rl_buf said = {0};
  ck_job j;
  ck_open(&j, dir);
  assert_int_equal(repair(dir, NULL, &said), RL_ESTATE);
  assert_non_null(strstr(rl_error_message(), "stop the job first"));
  ck_close(&j);
  ok(repair(dir, NULL, &said));
  assert_string_equal(said.p, "nothing is damaged\n");
  assert_false(scratch_exists(dir, "quarantine"));
  assert_int_equal(repair("/nonexistent", NULL, &said), RL_ENOTFOUND);
  rl_buf_free(&said);
  rl_free(dir);
}

static rl_status count_file(void *user, const char *name)
{
  (void)name;
  ++*(unsigned *)user;
  return RL_OK;
}

static rl_status find_name(void *user, const char *name)
{
  char **found = user;
  rl_free(*found);
  *found = rl_strdup(name);
  return RL_OK;
}

static void what_was_damaged_is_kept(void **state)
{
  char *dir = rl_path_join(*state, "job"), *log = rl_checkpoint_log(dir), *all = rl_path_join(dir, "quarantine");
  char *stamp = NULL;
  rl_buf said = {0};
  unsigned before = 0, after = 0;
  make_job(dir, 3);
  ok(rl_dir_each(log, count_file, &before));
  ck_found f = frames_of(dir);
  flip_frame(dir, &f.v[12], 7);
  expect_repaired(dir, NULL, &said);
  ok(rl_dir_each(all, find_name, &stamp));
  assert_non_null(stamp);
  char *kept = rl_path_join(all, stamp), *kept_log = rl_checkpoint_log(kept);
  ok(rl_dir_each(kept_log, count_file, &after));
  assert_int_equal(after, before);
  assert_int_equal(rl_wal_verify(kept_log, &(rl_wal_verifier){0}), RL_EDATA);
  assert_false(scratch_exists(dir, "log.repaired"));
  free_frames(&f);
  rl_buf_free(&said);
  rl_free(kept);
  rl_free(kept_log);
  rl_free(stamp);
  rl_free(all);
  rl_free(log);
  rl_free(dir);
}

int main(void)
{
  rl_log_set_sink(quiet, NULL);
  ck_be_fast();
  const struct CMUnitTest tests[] = {
      in_a_folder(a_damaged_record_costs_no_more_than_itself),
      in_a_folder(also_when_the_image_has_half_of_the_batches),
      in_a_folder(also_when_the_image_has_nearly_all),
      in_a_folder(several_damaged_records_cost_no_more_than_themselves),
      in_a_folder(a_damaged_or_missing_segment_costs_what_was_in_it),
      in_a_folder(a_damaged_image_is_made_of_the_whole_log),
      in_a_folder(without_a_backup_a_trimmed_log_makes_no_image),
      in_a_folder(a_backup_and_the_log_make_all_of_it),
      in_a_folder(a_backup_of_another_job_s_log_fills_no_gaps),
      in_a_folder(what_is_in_use_is_left_alone),
      in_a_folder(what_was_damaged_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
