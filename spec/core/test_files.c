/* Files as RDDs, and the file stream's rules. */
#include "engine.h"
#include "lines.h"
#include "records.h"
#include "scratch.h"
#include "source/sources.h"
#include "store/journal.h"
#include "store/wal.h"
#include "streams.h"

/* RDDs. */

static char *collect_text(rl_context *c, const char *path, uint32_t partitions, uint32_t *got)
{
  rl_rdd *r = NULL;
  if (rl_rdd_text_file(path, partitions, &r) != RL_OK) fail_msg("%s", rl_error_message());
  if (got) *got = rl_rdd_partitions(r);
  char *text = collect(c, r);
  rl_rdd_unref(r);
  return text;
}

static void expect_text(rl_context *c, const char *path, uint32_t partitions, const char *expected)
{
  char *got = collect_text(c, path, partitions, NULL);
  assert_string_equal(got, expected);
  rl_free(got);
}

/* The lines of a text, each with \n. */
static char *normal(const char *p, size_t n)
{
  rl_buf out = {0};
  for (size_t i = 0; i < n; i++) {
    if (p[i] == '\r' && i + 1 < n && p[i + 1] == '\n') continue;
    rl_buf_putc(&out, p[i] == '\r' ? '\n' : p[i]);
  }
  if (n > 0 && p[n - 1] != '\n' && p[n - 1] != '\r') rl_buf_putc(&out, '\n');
  char *text = rl_strdup(rl_buf_cstr(&out));
  rl_buf_free(&out);
  return text;
}

static void any_split_gives_all_lines_once(void **state)
{
  uint64_t seed = records_seed(__func__);
  rl_context *c = new_context(NULL);
  char *path = rl_path_join(*state, "text");
  static const char *const alphabets[] = {"x\n", "abcdefghijklm\n", "x\r\n", "ab\r", "abcdefgh\r\n", "\r\n"};
  char text[300];
  for (int round = 0; round < 60; round++) {
    const char *alphabet = alphabets[records_random(&seed) % (sizeof alphabets / sizeof *alphabets)];
    size_t n = records_random(&seed) % sizeof text, letters = strlen(alphabet);
    for (size_t i = 0; i < n; i++) text[i] = alphabet[records_random(&seed) % letters];
    scratch_write_bytes(path, text, n);
    char *expected = normal(text, n);
    uint32_t parts = 1 + (uint32_t)(records_random(&seed) % 9), got;
    char *lines = collect_text(c, path, parts, &got);
    assert_string_equal(lines, expected);
    if (n >= parts) assert_true(got >= parts);
    rl_free(lines);
    rl_free(expected);
  }
  rl_free(path);
  rl_context_unref(c);
}

/* Line ends around the borders of reads: 8 KiB when the first line of a split is looked for, 1 MiB when lines are read.
 */
static void line_ends_at_borders_of_reads(void **state)
{
  static const char *const ends[] = {"\n", "\r", "\r\n", "\n\r", "\r\r\n"};
  rl_context *c = new_context(NULL);
  char *path = rl_path_join(*state, "text");
  size_t n = (size_t)5 << 19; /* split in the middle: at 1.25 MiB */
  char *text = rl_alloc(n);
  for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
    for (size_t d = 0; d < 4; d++) {
      memset(text, 'x', n);
      memcpy(text + n / 2 + 8192 - 3 + d, ends[e], strlen(ends[e]));
      memcpy(text + (1 << 20) - 2 + d, ends[e], strlen(ends[e]));
      scratch_write_bytes(path, text, n);
      char *expected = normal(text, n);
      expect_text(c, path, 2, expected);
      rl_free(expected);
    }
  }
  rl_free(text);
  rl_free(path);
  rl_context_unref(c);
}

static void a_line_longer_than_a_read_is_one_line(void **state)
{
  rl_context *c = new_context(NULL);
  char *path = rl_path_join(*state, "text");
  size_t n = ((size_t)7 << 19) + 3;
  char *text = rl_alloc(n + 1);
  memset(text, 'x', n);
  text[5] = '\n';
  scratch_write_bytes(path, text, n);
  text[n] = '\n';
  rl_buf expected = {0};
  rl_buf_add(&expected, text, n + 1);
  for (uint32_t parts = 1; parts < 5; parts++) expect_text(c, path, parts, rl_buf_cstr(&expected));
  rl_buf_free(&expected);
  rl_free(text);
  rl_free(path);
  rl_context_unref(c);
}

static void directories_and_globs(void **state)
{
  rl_context *c = new_context(NULL);
  char *a = rl_path_join(*state, "a"), *b = rl_path_join(*state, "b"), *none = rl_path_join(*state, "none");
  char *files = rl_path_join(*state, "?/*.txt"), *dirs = rl_path_join(*state, "{b,a}");
  char *nothing = rl_path_join(*state, "a/*.csv");
  assert_int_equal(rl_dir_make(a) | rl_dir_make(b), RL_OK);
  rl_rdd *r = NULL;
  assert_int_equal(rl_rdd_text_file(a, 0, &r), RL_OK); /* empty, but there */
  assert_int_equal(rl_rdd_partitions(r), 0);
  rl_rdd_unref(r);
  rl_free(scratch_file(a, "2.txt", "a2\n"));
  rl_free(scratch_file(a, "1.txt", "a1\n"));
  rl_free(scratch_file(a, "0.log", "a0\n"));
  rl_free(scratch_file(a, "_SUCCESS", "no\n"));
  rl_free(scratch_file(a, ".hidden", "no\n"));
  rl_free(scratch_file(b, "1.txt", "b1"));
  char *hidden = rl_path_join(a, ".hidden");
  expect_text(c, a, 1, "a0\na1\na2\n");
  expect_text(c, files, 1, "a1\na2\nb1\n");
  expect_text(c, dirs, 1, "a0\na1\na2\nb1\n");
  expect_text(c, hidden, 1, "no\n");
  assert_int_equal(rl_rdd_text_file(none, 0, &r), RL_ENOTFOUND);
  assert_non_null(strstr(rl_error_message(), none));
  assert_int_equal(rl_rdd_text_file(nothing, 0, &r), RL_ENOTFOUND);
  char *all[] = {a, b, none, files, dirs, nothing, hidden};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) rl_free(all[i]);
  rl_context_unref(c);
}

static rl_status try_job(rl_context *c, rl_rdd *r)
{
  rl_job *job = NULL;
  rl_status st = run(c, r, RL_JOB_COUNT, 0, &job);
  rl_job_unref(job);
  return st;
}

static void files_that_change_after_they_were_listed(void **state)
{
  rl_context *c = new_context(NULL);
  char *path = scratch_file(*state, "f", "one\ntwo\nthree\n");
  rl_rdd *r = NULL;
  assert_int_equal(rl_rdd_text_file(path, 2, &r), RL_OK);
  scratch_write_bytes(path, "one\ntwo\nthree\nfour\n", 19);
  char *text = collect(c, r);
  assert_string_equal(text, "one\ntwo\nthree\n");
  rl_free(text);
  scratch_write_bytes(path, "one\nt", 5);
  assert_int_equal(try_job(c, r), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "/f shrank while it was read: 14 bytes when it was listed, 5 now"));
  assert_int_equal(unlink(path), 0);
  assert_int_equal(try_job(c, r), RL_ENOTFOUND);
  assert_non_null(strstr(rl_error_message(), path));
  rl_rdd_unref(r);
  rl_free(path);
  rl_context_unref(c);
}

static void records_of_one_length(void **state)
{
  rl_context *c = new_context(NULL);
  rl_rdd *r = NULL;
  char *path = scratch_file(*state, "f", "abcdef\n89");
  assert_int_equal(rl_rdd_binary_records(path, 3, &r), RL_OK);
  char *text = collect(c, r);
  assert_string_equal(text, "abc\ndef\n\n89\n");
  rl_free(text);
  rl_rdd_unref(r);
  assert_int_equal(rl_rdd_binary_records(path, 4, &r), RL_OK);
  assert_int_equal(try_job(c, r), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "/f has 9 bytes, which is no multiple of the record length 4"));
  rl_rdd_unref(r);
  assert_int_equal(rl_rdd_binary_records(path, 0, &r), RL_EINVAL);
  rl_free(path);
  rl_context_unref(c);
}

static void object_files_are_checked(void **state)
{
  static const struct {
    const char *bytes;
    size_t n;
    const char *message;
  } cases[] = {
    {"RLOB", 4, "cut short at byte 0"},
    {"some text\n", 10, "no header"},
    {"RLOBJ1\n\0\0", 9, "cut short at byte 7"},
    {"RLOBJ1\n\0\0\0\5abc", 14, "cut short"},
    {"RLOBJ1\n\0\0\0\3abc", 14, "chunk at byte 7"},
  };
  rl_context *c = new_context(NULL);
  char *path = rl_path_join(*state, "f");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    scratch_write_bytes(path, cases[i].bytes, cases[i].n);
    rl_rdd *r = NULL;
    assert_int_equal(rl_rdd_object_file(path, &r), RL_OK);
    assert_int_equal(try_job(c, r), RL_EDATA);
    const char *message = rl_error_message();
    if (!strstr(message, cases[i].message) || !strstr(message, path)) fail_msg("%s", message);
    rl_rdd_unref(r);
  }
  rl_free(path);
  rl_context_unref(c);
}

/* The stream. The manual clock starts at 0; files get their times of modification by hand. */

static void put(const char *dir, const char *name, int64_t mtime)
{
  char *path = scratch_file(dir, name, name);
  scratch_set_mtime(path, mtime);
  rl_free(path);
}

static void begin(streams *f, rl_file_stream spec, const char *remember)
{
  const char *settings[] = {"clock", "manual", "rille.streaming.fileStream.minRememberDuration", remember, NULL};
  streams_begin(f, 1000, settings);
  f->with_times = true;
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_files(f->s, &spec, NULL, &d), RL_OK);
  streams_output(f, d);
}

/* Advances by a second and compares what that batch gave. */
static void step(streams *f, const char *expected)
{
  rl_buf_clear(&f->records);
  assert_int_equal(rl_streaming_advance(f->s, 1000), RL_OK);
  assert_string_equal(rl_buf_cstr(&f->records), expected);
}

static void new_files_are_taken_once(void **state)
{
  const char *dir = *state;
  streams f;
  begin(&f, (rl_file_stream){.path = dir, .new_files_only = true}, "60");
  put(dir, "old", 0); /* not later than the threshold */
  put(dir, "a", 1);
  put(dir, "edge", 1000);
  put(dir, "later", 1001);
  put(dir, ".hidden", 500);
  char *sub = rl_path_join(dir, "sub");
  assert_int_equal(rl_dir_make(sub), RL_OK);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  step(&f, "@1000 a edge ");
  char *description = rl_format("%s/a\n%s/edge;", dir, dir);
  assert_string_equal(rl_buf_cstr(&f.descriptions), description);
  rl_free(description);
  step(&f, "@2000 later ");
  step(&f, "@3000 ");
  put(dir, "a", 3500); /* touched while it is remembered */
  step(&f, "@4000 ");
  assert_int_equal(f.counted, 0);
  assert_int_equal(rl_streaming_stop(f.s, true, true), RL_OK);
  streams_end(&f);
  rl_free(sub);
}

/* Remembered for 3 batches (2.5 s rounded up). */
static void what_left_the_window_is_out_of_reach_and_out_of_mind(void **state)
{
  const char *dir = *state;
  streams f;
  begin(&f, (rl_file_stream){.path = dir, .new_files_only = true}, "2.5");
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  put(dir, "a", 500);
  step(&f, "@1000 a ");
  step(&f, "@2000 ");
  step(&f, "@3000 ");
  put(dir, "a", 3500);
  step(&f, "@4000 "); /* still remembered: 1000 is not before 4000 - 3000 */
  put(dir, "a", 4500);
  put(dir, "late", 2000); /* appears too late: 2000 is not later than 5000 - 3000 */
  put(dir, "just", 2001);
  step(&f, "@5000 just ");
  step(&f, "@6000 a "); /* forgotten after batch 5000 */
  streams_end(&f);
}

static void old_files_on_request_as_far_as_the_window_goes(void **state)
{
  const char *dir = *state;
  const char *settings[] = {"clock", "manual", "rille.streaming.fileStream.minRememberDuration", "10", NULL};
  streams f;
  streams_begin(&f, 1000, settings);
  f.with_times = true;
  put(dir, "ancient", 9999);
  put(dir, "old", 12000);
  rl_clock_set(rl_streaming_clock(f.s), 19000);
  rl_dstream *d = NULL, *e = NULL;
  assert_int_equal(rl_source_files(f.s, &(rl_file_stream){.path = dir}, NULL, &d), RL_OK);
  assert_int_equal(rl_source_files(f.s, &(rl_file_stream){.path = dir, .new_files_only = true}, NULL, &e), RL_OK);
  streams_output(&f, d);
  streams_output(&f, e);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  step(&f, "@20000 old @20000 ");
  streams_end(&f);
}

static rl_status only_even(void *user, const char *path, bool *take)
{
  ++*(int *)user;
  size_t n = strlen(path);
  if (path[n - 1] == '!') return rl_fail(RL_EUSER, "told to fail");
  *take = (path[n - 1] - '0') % 2 == 0;
  return RL_OK;
}

static void a_filter_replaces_the_rule_for_names(void **state)
{
  const char *dir = *state;
  int calls = 0;
  streams f;
  rl_log_set_level(RL_LOG_OFF);
  begin(&f, (rl_file_stream){.path = dir, .new_files_only = true, .filter = only_even, .user = &calls}, "60");
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  put(dir, ".2", 500);
  put(dir, "3", 500);
  put(dir, "4", 500);
  step(&f, "@1000 .2 4 ");
  assert_int_equal(calls, 3);
  put(dir, "5!", 1500);
  put(dir, "6", 1500);
  rl_buf_clear(&f.records);
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_int_equal(f.records.n, 0); /* the batch failed ... */
  bool stopped;
  assert_int_equal(rl_streaming_await(f.s, 0, false, &stopped), RL_EUSER);
  char *path = rl_path_join(dir, "5!");
  assert_int_equal(unlink(path), 0);
  step(&f, "@3000 6 "); /* ... and took nothing */
  rl_free(path);
  streams_end(&f);
  rl_log_set_level(RL_LOG_WARN);
}

static void a_glob_of_files_or_of_directories(void **state)
{
  const char *dir = *state;
  char *a = rl_path_join(dir, "in-a"), *b = rl_path_join(dir, "in-b");
  assert_int_equal(rl_dir_make(a) | rl_dir_make(b), RL_OK);
  char *dirs = rl_path_join(dir, "in-*"), *files = rl_path_join(dir, "*.log");
  streams f;
  begin(&f, (rl_file_stream){.path = dirs, .new_files_only = true}, "60");
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_files(f.s, &(rl_file_stream){.path = files, .new_files_only = true}, NULL, &d), RL_OK);
  streams_output(&f, d);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  put(a, "1", 500);
  put(b, "2", 500);
  put(dir, "x.log", 500);
  put(dir, "y.txt", 500);
  step(&f, "@1000 1 2 @1000 x.log ");
  put(dir, "z.log", 1500);
  step(&f, "@2000 @2000 z.log ");
  streams_end(&f);
  char *all[] = {a, b, dirs, files};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) rl_free(all[i]);
}

static size_t occurrences(rl_buf *text, const char *what)
{
  size_t n = 0;
  for (const char *p = rl_buf_cstr(text); (p = strstr(p, what)); p += strlen(what)) n++;
  return n;
}

static void a_missing_directory_is_told_once(void **state)
{
  char *dir = rl_path_join(*state, "in");
  rl_buf log = {0};
  rl_log_set_sink(streams_catch_line, &log);
  streams f;
  begin(&f, (rl_file_stream){.path = dir, .new_files_only = true}, "60");
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  step(&f, "@1000 ");
  step(&f, "@2000 ");
  assert_int_equal(occurrences(&log, "in does not exist"), 1);
  assert_int_equal(rl_dir_make(dir), RL_OK);
  put(dir, "a", 2500);
  step(&f, "@3000 a ");
  assert_int_equal(occurrences(&log, "can be read again"), 1);
  assert_int_equal(rl_dir_remove(dir), RL_OK);
  step(&f, "@4000 ");
  step(&f, "@5000 ");
  assert_int_equal(occurrences(&log, "in does not exist"), 2);
  rl_free(scratch_file(*state, "in", "a file"));
  step(&f, "@6000 ");
  assert_int_equal(occurrences(&log, "where a directory is needed"), 1);
  streams_end(&f);
  rl_log_set_sink(NULL, NULL);
  rl_buf_free(&log);
  rl_free(dir);
}

static void binary_files_and_bad_settings(void **state)
{
  const char *dir = *state;
  streams f;
  rl_dstream *d = NULL;
  begin(&f, (rl_file_stream){.path = dir, .format = RL_FILES_BINARY, .record_length = 2, .new_files_only = true}, "60");
  rl_file_stream no_length = {.path = dir, .format = RL_FILES_BINARY}, no_path = {.path = ""};
  assert_int_equal(rl_source_files(f.s, &no_length, NULL, &d), RL_EINVAL);
  assert_int_equal(rl_source_files(f.s, &no_path, NULL, &d), RL_EINVAL);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  put(dir, "abcd", 500);
  step(&f, "@1000 ab cd ");
  streams_end(&f);
}

/* Between two processes of a job, of which the first began no batch. */
static void files_that_came_while_no_batch_had_begun_are_new(void **state)
{
  static const char *const settings[] = {"clock", "manual", "rille.log.level", "off", NULL};
  char *checkpoint = rl_path_join(*state, "checkpoint"), *incoming = rl_path_join(*state, "incoming");
  assert_int_equal(rl_dir_make(incoming), RL_OK);
  for (int64_t now = 0; now <= 5000; now += 5000) {
    streams f;
    rl_dstream *d;
    streams_begin(&f, 1000, settings);
    rl_clock_set(rl_streaming_clock(f.s), now);
    const rl_file_stream spec = {.path = incoming, .format = RL_FILES_TEXT, .new_files_only = true};
    assert_int_equal(rl_source_files(f.s, &spec, NULL, &d), RL_OK);
    streams_output(&f, d);
    assert_int_equal(rl_streaming_checkpoint(f.s, checkpoint), RL_OK);
    assert_int_equal(rl_streaming_start(f.s), RL_OK);
    assert_int_equal(rl_streaming_advance(f.s, 0), RL_OK);
    if (now) assert_string_equal(rl_buf_cstr(&f.records), "in time\n");
    assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
    streams_end(&f);
    char *path = scratch_file(incoming, "a", "in time\n");
    scratch_set_mtime(path, 500);
    rl_free(path);
  }
  rl_free(incoming);
  rl_free(checkpoint);
}

/* A log whose START has bytes for the job's graph that are none. */
static void a_graph_in_the_log_that_is_none_is_passed_over(void **state)
{
  static const char *const settings[] = {"clock", "manual", "rille.log.level", "off", NULL};
  char *checkpoint = rl_path_join(*state, "checkpoint"), *log = rl_path_join(checkpoint, "log");
  const rl_journal_start start = {.batch_ms = 1000, .script = 1, .graph = {"\x03\xff", 2}};
  rl_buf record = {0};
  rl_wal *w;
  rl_journal_put_start(&record, &start);
  assert_int_equal(rl_dir_make_durable(checkpoint), RL_OK);
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = log}, &w), RL_OK);
  const rl_wal_part part = {.p = record.p, .n = record.n};
  assert_int_equal(rl_wal_append(w, RL_JOURNAL_START, &part, 1, NULL), RL_OK);
  assert_int_equal(rl_wal_close(w), RL_OK);
  streams f;
  rl_dstream *d;
  streams_begin(&f, 1000, settings);
  assert_int_equal(rl_source_files(f.s, &(rl_file_stream){.path = *state, .format = RL_FILES_TEXT}, NULL, &d), RL_OK);
  streams_output(&f, d);
  assert_int_equal(rl_streaming_checkpoint(f.s, checkpoint), RL_OK);
  if (rl_streaming_start(f.s) != RL_OK) fail_msg("%s", rl_error_message());
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
  rl_buf_free(&record);
  rl_free(log);
  rl_free(checkpoint);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    in_a_folder(any_split_gives_all_lines_once),
    in_a_folder(line_ends_at_borders_of_reads),
    in_a_folder(a_line_longer_than_a_read_is_one_line),
    in_a_folder(directories_and_globs),
    in_a_folder(files_that_change_after_they_were_listed),
    in_a_folder(records_of_one_length),
    in_a_folder(object_files_are_checked),
    in_a_folder(new_files_are_taken_once),
    in_a_folder(files_that_came_while_no_batch_had_begun_are_new),
    in_a_folder(a_graph_in_the_log_that_is_none_is_passed_over),
    in_a_folder(what_left_the_window_is_out_of_reach_and_out_of_mind),
    in_a_folder(old_files_on_request_as_far_as_the_window_goes),
    in_a_folder(a_filter_replaces_the_rule_for_names),
    in_a_folder(a_glob_of_files_or_of_directories),
    in_a_folder(a_missing_directory_is_told_once),
    in_a_folder(binary_files_and_bad_settings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
