/* The write-ahead log: what a crash may leave is recovered, what is damaged is found. test_wal_marks.c has more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/wal_impl.h"
#include "wal_flips.h"

static const char *const GROUP[] = {"first of three", "second of three", "third of three", NULL};
#define BEFORE "1:9= "
#define FIRST "2:1=first of three "
#define SECOND "3:1=second of three "
#define THIRD "4:1=third of three "

typedef struct bytes_of {
  char *path;
  rl_buf b;
  size_t group; /* where the last group begins */
} bytes_of;

/* A log whose process was killed behind a group of three: no mark of a clean end. */
static bytes_of killed_log(const char *dir)
{
  rl_buf text = {0};
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = dir};
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  append_group(w, GROUP);
  close_log(w);
  bytes_of f = {.path = rl_path_join(dir, "log-0000000000000001"), .group = HEAD + FRAME};
  assert_int_equal(rl_file_read_all(f.path, &f.b), RL_OK);
  f.b.n -= FRAME;
  rl_buf_free(&text);
  return f;
}

static void put(const bytes_of *f, const rl_buf *b)
{
  scratch_write_bytes(f->path, b->p, b->n);
}

static void free_bytes_of(bytes_of *f)
{
  rl_free(f->path);
  rl_buf_free(&f->b);
}

/* One of the states that the log may be in before, within and behind the group. */
static void expect_part_of_group(const char *dir, const char *when, size_t at)
{
  static const char *const states[] = {BEFORE, BEFORE FIRST, BEFORE FIRST SECOND, BEFORE FIRST SECOND THIRD};
  rl_buf text = {0};
  close_log(open_log(dir, &text));
  bool known = false;
  for (size_t i = 0; i < 4; i++) known = known || strcmp(rl_buf_cstr(&text), states[i]) == 0;
  if (!known) fail_msg("%s at %zu: %s", when, at, rl_buf_cstr(&text));
  expect_log(dir, rl_buf_cstr(&text)); /* what was recovered stays */
  rl_buf_free(&text);
}

static void a_tail_lost_or_zeroed_anywhere_is_cut(void **state)
{
  bytes_of f = killed_log(*state);
  for (size_t at = f.group; at <= f.b.n; at++) {
    rl_buf b = {0};
    rl_buf_add(&b, f.b.p, at);
    put(&f, &b);
    expect_part_of_group(*state, "cut", at);
    static const char zeros[4096];
    rl_buf_add(&b, zeros, at % 2 ? sizeof zeros : f.b.n - at);
    put(&f, &b);
    expect_part_of_group(*state, "zeroed", at);
    rl_buf_free(&b);
  }
  free_bytes_of(&f);
}

/* Sectors of 16 bytes for once, so that every set of lost ones can be tried for each place of the group. */
static void parts_of_a_group_that_reached_the_disk_alone_are_cut(void **state)
{
  bytes_of f = killed_log(*state);
  size_t sectors = (f.b.n - f.group + 15) / 16;
  assert_in_range(sectors, 10, 14);
  for (size_t set = 0; set < (size_t)1 << sectors; set += 1 + set % 7) {
    rl_buf b = {0};
    rl_buf_add(&b, f.b.p, f.b.n);
    for (size_t i = 0; i < sectors; i++) {
      size_t from = f.group + i * 16, n = b.n - from < 16 ? b.n - from : 16;
      if (!(set >> i & 1)) memset(b.p + from, 0, n);
    }
    put(&f, &b);
    expect_part_of_group(*state, "sectors", set);
    rl_buf_free(&b);
  }
  free_bytes_of(&f);
}

static void stale_bytes_and_garbage_are_no_records(void **state)
{
  char *other_dir = rl_path_join(*state, "other"), *dir = rl_path_join(*state, "log");
  bytes_of stale = killed_log(other_dir), f = killed_log(dir);
  rl_buf b = {0};
  rl_buf_add(&b, f.b.p, f.b.n);
  rl_buf_add(&b, stale.b.p, stale.b.n); /* a segment of another life */
  put(&f, &b);
  expect_log(dir, BEFORE FIRST SECOND THIRD);
  b.n = f.group; /* the same sequences at the same places */
  rl_buf_add(&b, stale.b.p + f.group, stale.b.n - f.group);
  put(&f, &b);
  expect_log(dir, BEFORE);
  b.n = f.b.n;
  memcpy(b.p, f.b.p, f.b.n); /* its own frames once more, at another place */
  rl_buf_add(&b, f.b.p + HEAD, f.b.n - HEAD);
  put(&f, &b);
  expect_log(dir, BEFORE FIRST SECOND THIRD);
  rl_buf_free(&b);
  free_bytes_of(&f);
  free_bytes_of(&stale);
  rl_free(dir);
  rl_free(other_dir);
}

/* A log of three segments, closed: every record is known to be on disk. */
static void closed_log(const char *dir)
{
  static const char *const two[] = {"one of two", "two of two", NULL};
  rl_buf text = {0};
  rl_wal *w = open_log(dir, &text);
  append_group(w, GROUP);
  append_group(w, two);
  append_group(w, two);
  close_log(w);
  rl_buf_free(&text);
}

static void each_flipped_byte_is_found(void **state)
{
  rl_buf text = {0};
  closed_log(*state);
  close_log(open_log(*state, &text));
  rl_buf_cstr(&text);
  flip_each_byte(*state, "log-0000000000000001", false, text.p);
  flip_each_byte(*state, "log-0000000000000006", true, text.p);
  expect_log(*state, text.p);
  rl_buf_free(&text);
}

/* In a log that was not closed, the group before the last is known to be on disk by the last. */
static void damage_before_the_last_group_is_no_torn_tail(void **state)
{
  bytes_of f = killed_log(*state);
  f.b.p[HEAD + 8] ^= 1; /* in the first record, which is a group of its own */
  put(&f, &f.b);
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000001 at offset 96", "stands behind it, at offset 136");
  free_bytes_of(&f);
}

static void remove_file(const char *dir, const char *name)
{
  char *path = rl_path_join(dir, name);
  assert_int_equal(unlink(path), 0);
  rl_free(path);
}

static void a_missing_segment_is_found(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  for (int i = 0; i < 10; i++) write_text(w, 1, "0123456789012345678901234567890123456789");
  close_log(w);
  remove_file(*state, "log-0000000000000004");
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000007 at offset 0", "record 7, the segment before it ends so");
  remove_file(*state, "log-0000000000000007");
  remove_file(*state, "log-000000000000000a");
  expect_refused(*state, 8, RL_EDATA, *state, "ends with record 3");
  remove_file(*state, "log-0000000000000001");
  expect_refused(*state, 2, RL_EDATA, *state, "all its segments are missing");
  remove_file(*state, "floor");
  expect_refused(*state, 2, RL_EDATA, *state, "ends with record 0");
  rl_buf_free(&text);
}

static void a_segment_with_another_name_is_found(void **state)
{
  rl_buf text = {0};
  close_log(open_log(*state, &text));
  char *from = rl_path_join(*state, "log-0000000000000001"), *to = rl_path_join(*state, "log-0000000000000003");
  assert_int_equal(rename(from, to), 0);
  expect_refused(*state, 0, RL_EDATA, *state, "records from 1 on are missing, it begins with record 3");
  assert_int_equal(rl_wal_floor_make(*state, 3), RL_OK);
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000003 at offset 0", "another name");
  scratch_write_bytes(to, "RLLEWAL1", 8);
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000003 at offset 0", "the header is cut short");
  rl_free(from);
  rl_free(to);
  rl_buf_free(&text);
}

/* A log whose first segment was trimmed: it begins with record 4, and records 4 and 7 begin segments. */
static void trimmed_log(const char *dir)
{
  rl_buf text = {0};
  rl_wal *w = open_log(dir, &text);
  for (int i = 0; i < 10; i++) write_text(w, 1, "0123456789012345678901234567890123456789");
  assert_int_equal(rl_wal_trim(w, 4), RL_OK);
  close_log(w);
  assert_false(scratch_exists(dir, "log-0000000000000001"));
  rl_buf_free(&text);
}

static void missing_first_segments_are_found(void **state)
{
  unsigned damages = 0;
  trimmed_log(*state);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){NULL, count_damage, &damages}), RL_OK);
  remove_file(*state, "log-0000000000000004");
  for (int i = 0; i < 2; i++) /* nothing is changed by it */
    expect_refused(*state, 0, RL_EDATA, *state, "records from 4 on are missing, it begins with record 7");
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){NULL, count_damage, &damages}), RL_EDATA);
  assert_int_equal(damages, 1);
  remove_file(*state, "floor"); /* which says no more than that all were there */
  expect_refused(*state, 0, RL_EDATA, *state, "records from 1 on are missing");
  rl_wal *w = NULL;
  rl_wal_spec accepting = {.dir = *state, .accept_missing = true};
  assert_int_equal(rl_wal_open(&accepting, &w), RL_OK);
  close_log(w);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){NULL, NULL, NULL}), RL_OK); /* from now on it is whole */
}

static uint64_t first_opened(const rl_wal_spec *spec)
{
  rl_wal *w = NULL;
  rl_wal_stats stats;
  assert_int_equal(rl_wal_open(spec, &w), RL_OK);
  write_text(w, 1, "more");
  rl_wal_stats_read(w, &stats);
  close_log(w);
  assert_int_equal(rl_wal_verify(spec->dir, &(rl_wal_verifier){NULL, NULL, NULL}), RL_OK);
  return stats.first;
}

static void a_log_is_begun_where_it_should_and_only_then(void **state)
{
  uint64_t floor;
  bool there;
  for (int i = 0; i < 2; i++) assert_int_equal(first_opened(&(rl_wal_spec){.dir = *state, .first = 112}), 112);
  assert_int_equal(first_opened(&(rl_wal_spec){.dir = *state, .first = 7}), 112);
  assert_int_equal(rl_wal_floor_read(*state, &floor, &there), RL_OK);
  assert_int_equal(floor, 112);
  expect_log(*state, "112:1=more 113:1=more 114:1=more ");
}

static void a_log_that_is_lost_and_accepted_has_no_record_1(void **state)
{
  rl_wal_spec accepting = {.dir = *state, .accept_missing = true};
  assert_int_equal(first_opened(&accepting), 1); /* a new one has */
  remove_file(*state, "log-0000000000000001");
  assert_int_equal(first_opened(&accepting), 2);
  assert_int_equal(rl_wal_floor_raise(*state, 6), RL_OK);
  remove_file(*state, "log-0000000000000002");
  assert_int_equal(first_opened(&accepting), 6);
  remove_file(*state, "log-0000000000000006");
  char *path = rl_path_join(*state, "floor");
  scratch_write_bytes(path, "", 0);
  assert_int_equal(first_opened(&accepting), 2);
  rl_free(path);
}

static void each_flipped_byte_of_the_floor_is_harmless_or_found(void **state)
{
  trimmed_log(*state);
  char *path = rl_path_join(*state, "floor");
  rl_buf b = {0}, text = {0};
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  assert_int_equal(b.n, 48);
  unsigned found = 0;
  for (size_t at = 0; at < b.n; at++) {
    b.p[at] ^= 0x10;
    scratch_write_bytes(path, b.p, b.n);
    rl_wal *w = NULL;
    rl_status st = open_from(*state, 0, &text, &w);
    if (st == RL_OK) close_log(w);
    else if (!strstr(rl_error_message(), "records from 1 on are missing") ||
             !strstr(rl_error_message(), at < b.n / 2 ? "floor at offset 0" : "floor at offset 24"))
      fail_msg("%zu: %s", at, rl_error_message());
    found += st != RL_OK;
    b.p[at] ^= 0x10;
  }
  assert_int_equal(found, b.n / 2); /* all of the newest slot */
  scratch_write_bytes(path, b.p, b.n / 2);
  expect_refused(*state, 0, RL_EDATA, "floor at offset 0", "does not tell any more");
  rl_buf_free(&b);
  rl_buf_free(&text);
  rl_free(path);
}

static void a_segment_in_the_making_is_removed(void **state)
{
  rl_buf text = {0};
  rl_free(scratch_file(*state, "log-0000000000000007.tmp", "RLLE"));
  rl_free(scratch_file(*state, "floor.tmp", ""));
  rl_free(scratch_file(*state, "notes", "not ours"));
  close_log(open_log(*state, &text));
  assert_false(scratch_exists(*state, "log-0000000000000007.tmp"));
  assert_false(scratch_exists(*state, "floor.tmp"));
  assert_true(scratch_exists(*state, "notes"));
  rl_buf_free(&text);
}

static void verifying_goes_on_behind_damage(void **state)
{
  rl_buf text = {0};
  unsigned damages = 0;
  closed_log(*state);
  char *path = rl_path_join(*state, "log-0000000000000001");
  rl_buf b = {0};
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  b.p[HEAD + FRAME + FRAME + 2] ^= 1;  /* record 2 */
  b.p[b.n - FRAME - 1] ^= 1;           /* record 5, the last of the segment; a mark is behind it */
  scratch_write_bytes(path, b.p, b.n);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){NULL, count_damage, &damages}), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "log-0000000000000001 at offset 136"));
  assert_non_null(strstr(rl_error_message(), "the next whole one is 3"));
  assert_int_equal(damages, 2);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){add_text, NULL, &text}), RL_EDATA);
  assert_string_equal(rl_buf_cstr(&text), BEFORE SECOND THIRD "6:1=one of two 7:1=two of two 8:9= 9:1=one of two "
                      "10:1=two of two ");
  rl_buf_free(&text);
  rl_buf_free(&b);
  rl_free(path);
}

int main(void)
{
  rl_log_set_sink(model_quiet, NULL);
  if (access("/dev/shm", W_OK) == 0) (void)setenv("TMPDIR", "/dev/shm", 0); /* no power is cut */
  const struct CMUnitTest tests[] = {
      in_a_folder(a_tail_lost_or_zeroed_anywhere_is_cut),
      in_a_folder(parts_of_a_group_that_reached_the_disk_alone_are_cut),
      in_a_folder(stale_bytes_and_garbage_are_no_records),
      in_a_folder(each_flipped_byte_is_found),
      in_a_folder(damage_before_the_last_group_is_no_torn_tail),
      in_a_folder(a_missing_segment_is_found),
      in_a_folder(missing_first_segments_are_found),
      in_a_folder(a_log_is_begun_where_it_should_and_only_then),
      in_a_folder(a_log_that_is_lost_and_accepted_has_no_record_1),
      in_a_folder(each_flipped_byte_of_the_floor_is_harmless_or_found),
      in_a_folder(a_segment_with_another_name_is_found),
      in_a_folder(a_segment_in_the_making_is_removed),
      in_a_folder(verifying_goes_on_behind_damage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
