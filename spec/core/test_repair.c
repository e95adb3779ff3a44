/* Repairing checkpoint directories: whatever is damaged, what is made of it is right, and what is lost is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "repairs.h"

/* Damage ----------------------------------------------------------------------------------------------------------- */

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
      else ck_flip(path, 17), ck_flip(path, 48 + 17); /* the same byte of both ids */
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

static void a_damaged_header_costs_nothing(void **state)
{
  char *dir = rl_path_join(*state, "job"), *copy = rl_path_join(*state, "copy");
  const bool lost[CK_MOST] = {false};
  rl_buf said = {0};
  unsigned records = make_job(dir, 3);
  ck_found f = frames_of(dir);
  for (size_t i = 0; i < f.n; i++) {
    if (i > 0 && f.v[i - 1].at.segment == f.v[i].at.segment) continue;
    for (unsigned kind = 0; kind < 3; kind++) {
      ck_copy(dir, copy);
      char *path = ck_segment(copy, f.v[i].at.segment);
      if (kind != 1) ck_flip(path, 20);
      if (kind != 0) ck_flip(path, 48 + 30);
      rl_free(path);
      expect_repaired(copy, NULL, &said);
      assert_null(strstr(said.p, "lost"));
      expect_counted(copy, records, lost, &said, "header", f.v[i].at.segment);
    }
  }
  free_frames(&f);
  rl_buf_free(&said);
  rl_free(dir);
  rl_free(copy);
}

/* Images ----------------------------------------------------------------------------------------------------------- */

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

/* Without its image: nothing passes for the job's beginning. */
static void expect_not_rebuilt(const char *dir)
{
  rl_buf said = {0};
  rl_inspect_verified v;
  char *path = rl_checkpoint_state(dir);
  damage_image(dir);
  assert_int_equal(repair(dir, NULL, &said), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "nothing can be rebuilt"));
  ok(rl_dir_remove(path));
  assert_int_equal(rl_inspect_verify(dir, NULL, NULL, &v), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "is missing, and the log begins with record"));
  rl_free(path);
  rl_buf_free(&said);
}

static void a_trimmed_log_that_was_repaired_does_not_go_back_to_the_beginning(void **state)
{
  char *dir = rl_path_join(*state, "job");
  rl_buf said = {0};
  ck_job j;
  ck_open(&j, dir);
  for (int i = 0; i < 8; i++) {
    ck_receive(&j);
    ck_batch(&j, CK_APPLIED);
    if (i == 5) ck_stop(&j), ck_start(&j);
  }
  trim(&j);
  ck_close(&j);
  uint64_t first = first_of(dir);
  char *path = ck_segment(dir, first);
  ck_flip(path, 20); /* one of two headers: nothing is lost */
  expect_repaired(dir, NULL, &said);
  assert_null(strstr(said.p, "lost"));
  assert_int_equal(first_of(dir), first);
  expect_not_rebuilt(dir);
  rl_free(path);
  rl_buf_free(&said);
  rl_free(dir);
}

/* What is lost is in the image, if that has any batch. Otherwise the batches run again, and all is in the log. */
static void nor_does_one_that_lacks_what_the_image_has(void **state)
{
  char *dir = rl_path_join(*state, "job");
  rl_buf said = {0};
  for (unsigned applied = 0; applied < 6; applied += 5) {
    ok(rl_dir_remove(dir));
    make_job(dir, applied);
    ck_found f = frames_of(dir);
    size_t at = 0;
    while (f.v[at].at.type != RL_JOURNAL_STATE) at++;
    flip_frame(dir, &f.v[at], 7);
    expect_repaired(dir, NULL, &said);
    assert_int_equal(first_of(dir), applied > 0 ? 2 : 1);
    if (applied > 0) expect_not_rebuilt(dir);
    free_frames(&f);
  }
  rl_buf_free(&said);
  rl_free(dir);
}

static rl_status remove_segment(void *user, const char *name)
{
  if (strncmp(name, "log-", 4) != 0) return RL_OK;
  char *path = rl_path_join(user, name);
  rl_status st = rl_file_unlink(path);
  rl_free(path);
  return st;
}

static void nor_one_of_which_no_segment_was_left(void **state)
{
  char *dir = rl_path_join(*state, "job"), *log = rl_checkpoint_log(dir);
  rl_buf said = {0};
  make_job(dir, 3);
  ok(rl_dir_each(log, remove_segment, log));
  ok(repair(dir, NULL, &said));
  assert_int_equal(first_of(dir), 2);
  rl_buf_free(&said);
  rl_free(log);
  rl_free(dir);
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
      in_a_folder(a_damaged_header_costs_nothing),
      in_a_folder(a_damaged_image_is_made_of_the_whole_log),
      in_a_folder(without_a_backup_a_trimmed_log_makes_no_image),
      in_a_folder(a_trimmed_log_that_was_repaired_does_not_go_back_to_the_beginning),
      in_a_folder(nor_does_one_that_lacks_what_the_image_has),
      in_a_folder(nor_one_of_which_no_segment_was_left),
      in_a_folder(what_is_in_use_is_left_alone),
      in_a_folder(what_was_damaged_is_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
