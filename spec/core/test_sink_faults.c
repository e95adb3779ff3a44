/* Part files when calls fail and machines crash: a directory with _SUCCESS holds one run, whole, and a run that comes
 * again makes it so. */
#include <dirent.h>
#include <inttypes.h>

#include "base/log.h"
#include "engine.h"
#include "faulty_fs.h"
#include "scratch.h"
#include "sink/files.h"

/* Two runs of a batch that can be told apart; the second has fewer parts. Both write more than a sector. */
enum { FIRST_FROM = 1000, SECOND_FROM = 5000, RECORDS = 900 };

static rl_status write_parts(rl_context *c, const char *dir, int64_t from, uint32_t parts)
{
  rl_status st = rl_sink_prepare(dir, true, parts);
  if (st != RL_OK) return st;
  rl_rdd *sink = apply((rl_op){.kind = RL_OP_NARROW, .name = "save", .fn = rl_sink_fn(dir, RL_SINK_TEXT)},
                       integers(from, from + RECORDS - 1, parts));
  rl_job *job = NULL;
  st = run(c, sink, RL_JOB_RUN, 0, &job);
  if (job) rl_job_unref(job);
  rl_rdd_unref(sink);
  return st == RL_OK ? rl_sink_commit(dir) : st;
}

static rl_status write_first(rl_context *c, const char *dir)
{
  return write_parts(c, dir, FIRST_FROM, 3);
}

static rl_status write_second(rl_context *c, const char *dir)
{
  return write_parts(c, dir, SECOND_FROM, 2);
}

/* Threads have ended when this returns: the table may be changed. */
static rl_status two_runs(const char *dir, const char *attempts, faulty_kind kind, unsigned step, int error)
{
  const char *const settings[] = {"master", "local[1]", "rille.task.maxFailures", attempts, NULL};
  rl_context *c = new_context(settings);
  faulty_begin(kind, step, error);
  rl_status st = write_first(c, dir);
  if (st == RL_OK) st = write_second(c, dir);
  rl_error kept = RL_ERROR_NONE;
  if (st != RL_OK) rl_error_take(&kept);
  rl_context_unref(c);
  return st != RL_OK ? rl_error_raise(&kept) : RL_OK;
}

/* Checking --------------------------------------------------------------------------------------------------------- */

static void expect_part(const char *dir, uint32_t part, uint32_t parts, int64_t from)
{
  rl_buf wanted = {0};
  for (int64_t i = RECORDS * (int64_t)part / parts; i < RECORDS * (int64_t)(part + 1) / parts; i++) {
    rl_buf_printf(&wanted, "%" PRId64 "\n", from + i);
  }
  char *name = rl_format("part-%05u", part);
  scratch_expect(dir, name, rl_buf_cstr(&wanted));
  rl_free(name);
  rl_buf_free(&wanted);
}

static unsigned count_entries(const char *dir)
{
  unsigned n = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
    n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
  }
  closedir(d);
  return n;
}

static void expect_second(const char *dir)
{
  assert_true(scratch_exists(dir, "_SUCCESS"));
  for (uint32_t i = 0; i < 2; i++) expect_part(dir, i, 2, SECOND_FROM);
  assert_int_equal(count_entries(dir), 3);
}

/* What a reader may find: with _SUCCESS all of one run, and nothing else that looks like a part. */
static void expect_readable(const char *dir)
{
  if (!scratch_exists(dir, "_SUCCESS")) return;
  bool first = scratch_exists(dir, "part-00002");
  uint32_t parts = first ? 3 : 2;
  for (uint32_t i = 0; i < parts; i++) expect_part(dir, i, parts, first ? FIRST_FROM : SECOND_FROM);
  assert_false(scratch_exists(dir, "part-00003"));
}

static void run_again(const char *dir)
{
  rl_context *c = new_context(NULL);
  assert_int_equal(write_second(c, dir), RL_OK);
  rl_context_unref(c);
  expect_second(dir);
}

/* Tests ------------------------------------------------------------------------------------------------------------ */

static void fail_each_step(const char *root, const char *attempts, faulty_kind kind, int error, bool must_succeed)
{
  unsigned step = 1;
  for (bool met = true; met; step++) {
    char *dir = rl_format("%s/a/out-%u", root, step);
    rl_status st = two_runs(dir, attempts, kind, step, error);
    met = faulty_end();
    faulty_forget();
    if (!met || must_succeed) assert_int_equal(st, RL_OK);
    if (st != RL_OK) {
      assert_non_null(strstr(rl_error_message(), strerror(error)));
      assert_non_null(strstr(rl_error_message(), root));
      if (error == ENOSPC && !strstr(rl_error_message(), "look at") && !strstr(rl_error_message(), "read")) {
        assert_non_null(strstr(rl_error_message(), "make room there"));
      }
    } else {
      expect_second(dir);
    }
    if (access(dir, F_OK) == 0) expect_readable(dir);
    run_again(dir);
    assert_int_equal(rl_dir_remove(dir), RL_OK);
    rl_free(dir);
  }
  assert_true(step > 40);
}

static void each_step_failing_is_told_and_made_good(void **state)
{
  fail_each_step(*state, "1", FAULTY_ERROR, EIO, false);
  fail_each_step(*state, "1", FAULTY_ERROR, ENOSPC, false);
  fail_each_step(*state, "2", FAULTY_ERROR, EIO, false);
}

static void each_step_interrupted_or_short_loses_nothing(void **state)
{
  fail_each_step(*state, "1", FAULTY_ERROR, EINTR, false);
  fail_each_step(*state, "1", FAULTY_SHORT, 0, true);
}

static void crash_each_step(const char *root, faulty_loss loss, uint64_t seed)
{
  unsigned step = 1;
  for (bool met = true; met; step++) {
    char *dir = rl_format("%s/out-%u", root, step);
    rl_status st = two_runs(dir, "1", FAULTY_CRASH, step, 0);
    met = faulty_end();
    assert_true(met || st == RL_OK);
    faulty_crash(loss, seed + step);
    if (access(dir, F_OK) == 0) expect_readable(dir);
    if (!met) expect_second(dir);
    run_again(dir);
    assert_int_equal(rl_dir_remove(dir), RL_OK);
    rl_free(dir);
  }
}

static void each_step_crashed_loses_nothing(void **state)
{
  crash_each_step(*state, FAULTY_KEEP, 0);
  crash_each_step(*state, FAULTY_LOSE, 0);
  for (uint64_t seed = 1; seed <= 5; seed++) crash_each_step(*state, FAULTY_SOME, seed << 32);
}

int main(void)
{
  rl_log_set_level(RL_LOG_OFF);
  const struct CMUnitTest tests[] = {
    in_a_folder(each_step_failing_is_told_and_made_good),
    in_a_folder(each_step_interrupted_or_short_loses_nothing),
    in_a_folder(each_step_crashed_loses_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
