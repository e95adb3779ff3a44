/* Repairing checkpoint directories with a backup: what it has is taken from it, and nothing of another job's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "repairs.h"

/* A backup forks: its process is one without threads, or the thread sanitizer ends the child. */
static void back_up(ck_job *j, const char *to)
{
  rl_backup made;
  ck_stop(j);
  ok(rl_backup_run(j->dir, to, &made));
  ck_start(j);
}

static void a_backup_and_the_log_make_all_of_it(void **state)
{
  char *dir = rl_path_join(*state, "job"), *backup = rl_path_join(*state, "backup");
  const bool lost[CK_MOST] = {false};
  rl_buf said = {0};
  ck_job j;
  ck_open(&j, dir);
  for (int i = 0; i < 12; i++) {
    ck_receive(&j);
    ck_batch(&j, i < 11 ? CK_APPLIED : CK_ENDED);
    if (i == 6) back_up(&j, backup);
    if (i == 6) trim(&j);
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

/* A log of one segment, of which the backup has the first half. */
static unsigned make_backed_up(const char *dir, const char *backup)
{
  ck_job j;
  ck_segment_bytes = MIB;
  ck_open(&j, dir);
  for (int i = 0; i < 8; i++) {
    ck_receive(&j);
    ck_batch(&j, i < 5 ? CK_APPLIED : CK_COMPLETE); /* what is not applied would be gone with the stop */
    if (i == 4) back_up(&j, backup);
  }
  ck_receive(&j);
  ck_close(&j);
  ck_segment_bytes = 1000;
  assert_int_equal(first_of(dir), 1);
  return j.records;
}

/* The file with its bytes from here to there zeroed. */
static void wipe(const char *dir, size_t from, size_t to)
{
  rl_buf b = {0};
  char *path = ck_segment(dir, 1);
  ok(rl_file_read_all(path, &b));
  memset(b.p + from, 0, (to < b.n ? to : b.n) - from);
  scratch_write_bytes(path, b.p, b.n);
  rl_buf_free(&b);
  rl_free(path);
}

static void a_backup_has_what_is_damaged_in_the_only_segment(void **state)
{
  char *dir = rl_path_join(*state, "job"), *copy = rl_path_join(*state, "copy");
  char *backup = rl_path_join(*state, "backup");
  bool lost[CK_MOST] = {false};
  rl_buf said = {0};
  unsigned records = make_backed_up(dir, backup);
  ck_found had = frames_of(backup);
  const rl_wal_at *last = &had.v[had.n - 1].at;
  for (unsigned kind = 0; kind < 3; kind++) {
    ck_copy(dir, copy);
    wipe(copy, kind == 2 ? 96 : 0, kind == 0 ? 96 : last->offset + 40); /* headers; all that it has; the same without */
    expect_repaired(copy, backup, &said);
    assert_null(strstr(said.p, "lost"));
    expect_counted(copy, records, lost, &said, "wiped", kind);
  }
  ck_copy(dir, copy);
  wipe(copy, 0, SIZE_MAX); /* the log has nothing any more */
  expect_repaired(copy, backup, &said);
  assert_non_null(strstr(said.p, "it goes on from position 15,"));
  for (unsigned i = 15; i < records; i++) lost[i] = true;
  expect_counted(copy, records, lost, &said, "nothing", 0);
  free_frames(&had);
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(backup);
  rl_free(copy);
}

static void without_any_batch_inputs_are_told_to_begin_anew(void **state)
{
  char *dir = rl_path_join(*state, "job"), *backup = rl_path_join(*state, "backup");
  rl_buf said = {0};
  make_backed_up(dir, backup);
  wipe(dir, 0, SIZE_MAX);
  assert_int_equal(repair(dir, NULL, &said), RL_OK);
  assert_non_null(strstr(said.p, "no batch is left that tells how far inputs were taken"));
  assert_non_null(strstr(said.p, "records of the log from 1 on are lost"));
  assert_non_null(strstr(said.p, "the state is that of batch 500"));
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(backup);
}

/* A job that has been started and has done one thing at most. */
static void make_started(const char *dir, const rl_journal_start *start, const char *op)
{
  rl_buf b = {0};
  rl_wal *w = NULL;
  char *log = rl_checkpoint_log(dir);
  ok(rl_dir_remove(dir));
  ok(rl_wal_open(&(rl_wal_spec){.dir = log}, &w));
  rl_journal_put_start(&b, start);
  ok(rl_wal_append(w, RL_JOURNAL_START, &(rl_wal_part){.p = b.p, .n = b.n}, 1, NULL));
  rl_buf_clear(&b);
  rl_journal_put_state(&b, &(rl_journal_state){.time = CK_MS, .uid = {op, strlen(op)}, .partitions = 1});
  ok(rl_wal_append(w, RL_JOURNAL_STATE, &(rl_wal_part){.p = b.p, .n = b.n}, 1, NULL));
  ok(rl_wal_close(w));
  rl_buf_free(&b);
  rl_free(log);
}

static void expect_no_backup(const char *dir, const char *from, rl_status st, const char *why)
{
  rl_buf said = {0};
  assert_int_equal(repair(dir, from, &said), st);
  if (!strstr(rl_error_message(), from) || !strstr(rl_error_message(), why)) fail_msg("%s", rl_error_message());
  assert_false(scratch_exists(dir, "quarantine"));
  rl_buf_free(&said);
}

static void a_backup_of_another_job_is_refused(void **state)
{
  char *dir = rl_path_join(*state, "job"), *other = rl_path_join(*state, "other");
  const rl_journal_start same = {0, CK_MS, 1790000000000, 1, {"job", 3}, {"0.1.0", 5}, {0}};
  rl_buf said = {0};
  make_job(dir, 3);
  for (int damaged = 0; damaged < 2; damaged++) {
    rl_journal_start start = same;
    expect_no_backup(dir, "/nonexistent", RL_ENOTFOUND, "");
    expect_no_backup(dir, dir, RL_EINVAL, "is no backup of it");
    start.now++;
    make_started(other, &start, "seen");
    expect_no_backup(dir, other, RL_EINVAL, "that one began at 1790000000001 ms");
    start = same;
    start.zero = 7;
    make_started(other, &start, "seen");
    expect_no_backup(dir, other, RL_EINVAL, "batches of 100 ms are counted from 7");
    start = same;
    start.app = (rl_slice){"jobs", 4};
    make_started(other, &start, "seen");
    expect_no_backup(dir, other, RL_EINVAL, "application 'jobs', and not of 'job'");
    make_started(other, &same, "counts");
    expect_no_backup(dir, other, RL_EINVAL, "state of 'counts', and not of 'seen'");
    if (!damaged) damage_image(dir);
  }
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(other);
}

int main(void)
{
  rl_log_set_sink(quiet, NULL);
  ck_be_fast();
  const struct CMUnitTest tests[] = {
      in_a_folder(a_backup_and_the_log_make_all_of_it),
      in_a_folder(a_backup_of_another_job_s_log_fills_no_gaps),
      in_a_folder(a_backup_has_what_is_damaged_in_the_only_segment),
      in_a_folder(without_any_batch_inputs_are_told_to_begin_anew),
      in_a_folder(a_backup_of_another_job_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
