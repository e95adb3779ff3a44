/* Copies of checkpoint directories of a job that runs meanwhile, in another process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "checkpoints.h"
#include "store/backup.h"

static void quiet(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  (void)line;
}

#define CK_LAST ((int64_t)((CK_MOST - 1) / CK_BLOCK) * CK_MS)

/* Batches all the time; the image follows some of them behind, and what it has is removed from the log. */
static _Noreturn void work(const char *dir)
{
  ck_job j;
  ck_open(&j, dir);
  while (j.records + CK_BLOCK < CK_MOST) {
    rl_wal_stats stats;
    ck_receive(&j);
    ck_batch(&j, CK_COMPLETE);
    if (j.last > 10 * CK_MS) rl_state_end(j.store, j.last - 10 * CK_MS);
    rl_wal_stats_read(j.wal, &stats);
    int64_t lag = rl_state_unapplied_time(j.store);
    if (lag > j.last - 20 * CK_MS && stats.next > 400) ok(rl_wal_trim(j.wal, stats.next - 300));
    usleep(2000);
  }
  for (;;) pause();
}

static pid_t start_job(const char *dir)
{
  pid_t pid = scratch_fork();
  if (pid == 0) work(dir);
  return pid;
}

static void end_job(pid_t pid)
{
  assert_int_equal(kill(pid, SIGKILL), 0);
  assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static uint64_t batches_in(const char *dir, int64_t *last)
{
  rl_inspect_log l;
  ok(rl_inspect_log_read(dir, &l));
  uint64_t first = l.nsegments > 0 ? l.segments[0].first : 0;
  *last = l.last_batch;
  rl_inspect_log_free(&l);
  return first;
}

/* All records up to some one were counted once, none behind it. */
static unsigned expect_moment(const char *dir)
{
  static int64_t seen[CK_MOST];
  unsigned n = 0;
  ck_recover(dir, CK_MOST - CK_BLOCK, seen);
  while (n < CK_MOST - CK_BLOCK && seen[n] == 1) n++;
  for (unsigned i = n; i < CK_MOST - CK_BLOCK; i++) assert_int_equal(seen[i], 0);
  return n;
}

/* Until the job's log has so late a batch, or the last one. */
static void await_batch(const char *dir, pid_t job, int64_t time)
{
  int64_t last = RL_NO_TIME;
  if (time > CK_LAST) time = CK_LAST;
  while (!rl_path_is_dir(dir) || batches_in(dir, &last) == 0 || last < time) {
    assert_int_equal(waitpid(job, NULL, WNOHANG), 0);
    usleep(1000);
  }
}

static void a_job_goes_on_from_the_copy_of_any_moment(void **state)
{
  char *dir = rl_path_join(*state, "job"), *to = rl_path_join(*state, "copy");
  rl_backup b;
  unsigned before = 0, trimmed = 0;
  int64_t last = RL_NO_TIME;
  pid_t pid = start_job(dir);
  await_batch(dir, pid, CK_MS);
  for (int copies = 0; copies < 12;) {
    rl_status st = rl_backup_run(dir, to, &b);
    if (st == RL_ESTATE) continue; /* too busy a machine, until the job has no more to do: nothing is left of it */
    ok(st);
    copies++;
    trimmed += batches_in(to, &last) > 1;
    unsigned now = expect_moment(to);
    assert_true(now >= before);
    before = now;
    ok(rl_dir_remove(to));
    await_batch(dir, pid, last + 20 * CK_MS);
  }
  end_job(pid);
  assert_true(before > 0);
  printf("%u records; the log was trimmed in %u copies\n", before, trimmed);
  rl_free(dir);
  rl_free(to);
}

static void a_backup_needs_a_new_directory(void **state)
{
  char *dir = rl_path_join(*state, "job"), *to = rl_path_join(*state, "copy");
  struct stat info;
  rl_backup b;
  ck_job j;
  ck_open(&j, dir);
  ck_receive(&j);
  ck_batch(&j, CK_APPLIED);
  ck_close(&j);
  assert_int_equal(rl_backup_run("/nonexistent", to, &b), RL_ENOTFOUND);
  assert_false(rl_path_is_dir(to));
  assert_int_equal(mkdir(to, 0755), 0);
  rl_free(scratch_file(to, "mine", "precious"));
  assert_int_equal(rl_backup_run(dir, to, &b), RL_ESTATE);
  assert_non_null(strstr(rl_error_message(), "(mine)"));
  scratch_expect(to, "mine", "precious");
  char *mine = rl_path_join(to, "mine");
  ok(rl_file_unlink(mine));
  ok(rl_backup_run(dir, to, &b));
  assert_int_equal(stat(to, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0700);
  assert_true(b.records > 5 && b.segments > 0);
  assert_int_equal(b.entries, 4);
  assert_int_equal(expect_moment(to), 3);
  rl_free(mine);
  rl_free(dir);
  rl_free(to);
}

static void what_is_damaged_is_not_copied(void **state)
{
  char *dir = rl_path_join(*state, "job"), *to = rl_path_join(*state, "copy");
  rl_backup b;
  ck_job j;
  ck_open(&j, dir);
  for (int i = 0; i < 5; i++) {
    ck_receive(&j);
    ck_batch(&j, CK_APPLIED);
  }
  ck_close(&j);
  char *path = ck_segment(dir, 1);
  ck_flip(path, 100);
  assert_int_equal(rl_backup_run(dir, to, &b), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "the copy has the damage"));
  assert_false(rl_path_is_dir(to));
  rl_free(path);
  rl_free(dir);
  rl_free(to);
}

int main(void)
{
  rl_log_set_sink(quiet, NULL);
  ck_be_fast();
  const struct CMUnitTest tests[] = {
      in_a_folder(a_job_goes_on_from_the_copy_of_any_moment),
      in_a_folder(a_backup_needs_a_new_directory),
      in_a_folder(what_is_damaged_is_not_copied),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
