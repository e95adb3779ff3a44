/* The write-ahead log when calls fail and machines crash: no acknowledged record is lost, none is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>

#include "wal_model.h"

/* Two lives of a log: groups of one and of several records, rolling, trimming. Whatever fails ends a life. */
static rl_status live(wal_model *m, bool trims)
{
  rl_wal *w = NULL;
  rl_status st = model_open(m, &w);
  if (st != RL_OK) return st;
  for (unsigned i = 1; i <= 6 && st == RL_OK; i++) st = model_append(m, w, i);
  if (st == RL_OK && trims) st = model_trim(m, w);
  if (st == RL_OK) st = model_append(m, w, 2);
  rl_status closed = rl_wal_close(w);
  return st == RL_OK ? closed : st;
}

static rl_status two_lives(wal_model *m)
{
  rl_status st = live(m, true);
  return st == RL_OK ? live(m, false) : st;
}

/* Runs the work with each step failing in turn, until it has no more steps. */
static void fail_each_step(const char *dir, faulty_kind kind, int error, bool must_succeed)
{
  unsigned step = 1;
  for (bool met = true; met; step++) {
    wal_model *m = model_new(dir, "log");
    faulty_begin(kind, step, error);
    rl_status st = two_lives(m);
    met = faulty_end();
    faulty_forget();
    if (!met || must_succeed) assert_int_equal(st, RL_OK);
    model_check(m);
    model_delete(m);
  }
  assert_true(step > 100);
}

/* After the failure another process goes on, then the power fails. */
static void power_fails_after_each_failing_step(void **state)
{
  unsigned step = 1;
  for (bool met = true; met; step++) {
    wal_model *m = model_new(*state, "log");
    faulty_begin(FAULTY_ERROR, step, EIO);
    two_lives(m);
    met = faulty.met;
    faulty.at = 0;
    assert_int_equal(live(m, false), RL_OK);
    faulty_end();
    faulty_crash(FAULTY_LOSE, 0);
    model_check(m);
    model_delete(m);
  }
}

static void each_step_failing_loses_nothing(void **state)
{
  fail_each_step(*state, FAULTY_ERROR, EIO, false);
  fail_each_step(*state, FAULTY_ERROR, ENOSPC, false);
}

static void each_step_interrupted_or_short_loses_nothing(void **state)
{
  fail_each_step(*state, FAULTY_ERROR, EINTR, false);
  fail_each_step(*state, FAULTY_SHORT, 0, true);
}

static void crash_each_step(const char *dir, faulty_loss loss, uint64_t seed)
{
  unsigned step = 1;
  for (bool met = true; met; step++) {
    wal_model *m = model_new(dir, "log");
    faulty_begin(FAULTY_CRASH, step, 0);
    rl_status st = two_lives(m);
    met = faulty_end();
    assert_true(met || st == RL_OK);
    faulty_crash(loss, seed + step);
    model_check(m);
    model_delete(m);
  }
}

static void each_step_crashed_loses_nothing(void **state)
{
  crash_each_step(*state, FAULTY_KEEP, 0);
  crash_each_step(*state, FAULTY_LOSE, 0);
  for (uint64_t seed = 1; seed <= 5; seed++) crash_each_step(*state, FAULTY_SOME, seed << 32);
}

/* Lives one after the other in the same directory, each crashed somewhere, recovery included. */
static void many_crashes_in_a_row_lose_nothing(void **state)
{
  for (uint64_t run = 1; run <= 10; run++) {
    wal_model *m = model_new(*state, "log");
    uint64_t seed = run;
    for (unsigned life = 0; life < 30; life++) {
      faulty_begin(FAULTY_CRASH, 1 + (unsigned)(faulty_random(&seed) % 120), 0);
      live(m, faulty_random(&seed) % 2);
      faulty_end();
      faulty_crash((faulty_loss)(faulty_random(&seed) % 3), faulty_random(&seed));
    }
    model_check(m);
    model_delete(m);
  }
}

/* A process that is killed
 * --------------------------------------------------------------------------------------------- */

typedef struct child {
  wal_model *m;
  int pipe;
} child;

static void tell_parent(void *user, rl_status st, const rl_wal_at *at)
{
  const child *c = user;
  if (st != RL_OK || write(c->pipe, &at->seq, sizeof at->seq) != sizeof at->seq) _exit(1);
}

static void append_for_ever(const child *c)
{
  rl_wal *w = NULL;
  rl_buf b = {0};
  if (model_open(c->m, &w) != RL_OK) _exit(2);
  for (uint64_t next = model_next(w), first = next;; next++) {
    model_payload(next, c->m->life, &b);
    rl_wal_part part = {NULL, b.p, b.n};
    if (rl_wal_append_async(w, 1, &part, 1, tell_parent, (void *)c, NULL) != RL_OK) _exit(3);
    if (next % 64 == 0) rl_wal_wait(w, next);
    if (next == first + 100) rl_wal_trim(w, c->m->floor);
  }
}

static void kill_after(wal_model *m, uint64_t acknowledgements)
{
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    close(ends[0]);
    append_for_ever(&(child){m, ends[1]});
  }
  close(ends[1]);
  m->life++; /* as the child's */
  uint64_t seq, n = 0;
  while (read(ends[0], &seq, sizeof seq) == sizeof seq) {
    model_acknowledge(m, seq, m->life);
    if (++n == acknowledgements) kill(pid, SIGKILL);
  }
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void a_killed_process_loses_nothing(void **state)
{
  wal_model *m = model_new(*state, "log");
  uint64_t seed = 5;
  for (unsigned i = 0; i < 40; i++) {
    uint64_t last = atomic_load(&m->last);
    if (last > 50) m->floor = last - 50;
    kill_after(m, 1 + faulty_random(&seed) % 300);
    model_check(m);
  }
  model_delete(m);
}

/* One kind of failure
 * -------------------------------------------------------------------------------------------------- */

static char lines[4096];

static void keep_line(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  strncat(lines, line, sizeof lines - strlen(lines) - 2);
  strcat(lines, "\n");
}

static const char *failing_call;
static int failing_error;
static unsigned failing_times;

static int fail_call(const char *call)
{
  if (failing_times == 0 || strcmp(call, failing_call) != 0) return 0;
  failing_times--;
  return failing_error;
}

static void let_fail(const char *call, int error, unsigned times)
{
  failing_call = call;
  failing_error = error;
  failing_times = times;
  faulty_begin(FAULTY_ERROR, 0, 0);
  faulty.fails = fail_call;
  lines[0] = '\0';
  rl_log_set_sink(keep_line, NULL);
}

static void end_failing(void)
{
  faulty_end();
  faulty_forget();
  rl_log_set_sink(model_quiet, NULL);
}

static void count_failures(void *user, rl_status st, const rl_wal_at *at)
{
  (void)at;
  if (st == RL_EIO && strstr(rl_error_message(), "cannot ")) ++*(unsigned *)user;
}

/* In a log whose calls begin to fail once it is open. */
static rl_status append_failing(const char *dir, const char *call, int error, unsigned times, unsigned *failures)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = dir, .retry_ms = 1, .max_failures = 3};
  rl_wal_part part = {NULL, "record", 6};
  uint64_t seq;
  let_fail(call, error, 0);
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  assert_int_equal(rl_wal_write(w, 1, &part, 1, NULL), RL_OK);
  failing_times = times;
  assert_int_equal(rl_wal_append_async(w, 1, &part, 1, count_failures, failures, &seq), RL_OK);
  rl_status st = rl_wal_wait(w, seq);
  if (st != RL_OK) assert_int_equal(rl_wal_append(w, 1, &part, 1, &seq), RL_EIO);
  assert_int_equal(rl_wal_close(w), st);
  assert_false(rl_error_current()->retriable && st != RL_OK);
  end_failing();
  return st;
}

static void a_failed_sync_is_final(void **state)
{
  unsigned failures = 0;
  assert_int_equal(append_failing(*state, "fdatasync", EIO, 1, &failures), RL_EIO);
  assert_int_equal(failures, 1);
  assert_non_null(strstr(rl_error_message(), "log-0000000000000001"));
  assert_non_null(strstr(rl_error_message(), "(offset 142, record 2)"));
  assert_non_null(strstr(rl_error_message(), "start again"));
}

static void a_failing_write_is_tried_max_failures_times(void **state)
{
  unsigned failures = 0;
  assert_int_equal(append_failing(*state, "pwritev", EIO, 2, &failures), RL_OK);
  assert_int_equal(failures, 0);
  assert_int_equal(append_failing(*state, "pwritev", EIO, 3, &failures), RL_EIO);
  assert_int_equal(failures, 1);
}

static void a_full_disk_pauses_says_so_and_goes_on(void **state)
{
  unsigned failures = 0;
  assert_int_equal(append_failing(*state, "pwritev", ENOSPC, 20, &failures), RL_OK);
  assert_int_equal(failures, 0);
  const char *full = strstr(lines, "the disk is full"), *room = strstr(lines, "there is room on the disk again");
  assert_non_null(full);
  assert_non_null(room);
  assert_true(full < room);
  assert_null(strstr(full + 1, "the disk is full"));
  assert_null(strstr(room + 1, "there is room on"));
  assert_int_equal(append_failing(*state, "pwritev", EDQUOT, 20, &failures), RL_OK);
}

/* The group that does not fit goes into the next segment: nothing of it may be left in the one before. */
static void a_segment_left_on_a_full_disk_ends_with_a_whole_record(void **state)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = *state, .roll_ms = 200, .retry_ms = 300};
  rl_wal_part part = {NULL, "record", 6};
  rl_wal_at at;
  let_fail("pwritev", ENOSPC, 0);
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  assert_int_equal(rl_wal_write(w, 1, &part, 1, NULL), RL_OK);
  failing_times = 1;
  assert_int_equal(rl_wal_write(w, 1, &part, 1, &at), RL_OK);
  assert_int_equal(at.segment, 2);
  assert_int_equal(rl_wal_close(w), RL_OK);
  faulty_end();
  faulty_crash(FAULTY_LOSE, 0);
  rl_log_set_sink(model_quiet, NULL);
  if (rl_wal_open(&spec, &w) != RL_OK) fail_msg("%s", rl_error_message());
  assert_int_equal(model_next(w), 3);
  assert_int_equal(rl_wal_close(w), RL_OK);
}

/* Nothing is told, and the log goes on. (What each_step_failing_loses_nothing fails is among it a mark before another
 * segment.) */
static void a_mark_that_cannot_be_written_is_done_without(void **state)
{
  for (unsigned i = 0; i < 4; i++) {
    rl_wal *w = NULL;
    rl_wal_spec spec = {.dir = *state, .close_after_write = i / 2};
    rl_wal_part part = {NULL, "record", 6};
    rl_wal_stats stats;
    let_fail("pwrite", i % 2 ? EIO : ENOSPC, 0);
    assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
    for (unsigned k = 0; k < 3; k++) {
      assert_int_equal(rl_wal_write(w, 1, &part, 1, NULL), RL_OK);
      failing_times = 1;
    }
    rl_wal_stats_read(w, &stats);
    assert_int_equal(stats.durable, (i + 1) * 3);
    failing_times = 0;
    assert_int_equal(rl_wal_close(w), RL_OK);
    assert_string_equal(lines, "");
    end_failing();
    assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){0}), RL_OK);
  }
}

static void *append_until_stopped(void *arg)
{
  rl_wal_part part = {NULL, "record", 6};
  while (rl_wal_append(arg, 1, &part, 1, NULL) == RL_OK) continue;
  return NULL;
}

static void stopping_wakes_who_waits_for_a_full_disk(void **state)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = *state, .queue_bytes = 1000};
  pthread_t thread;
  let_fail("pwritev", ENOSPC, 1000);
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  assert_int_equal(pthread_create(&thread, NULL, append_until_stopped, w), 0);
  for (rl_wal_stats s = {0}; s.queued < 1000 || !rl_wal_is_paused(w); rl_wal_stats_read(w, &s)) sched_yield();
  rl_wal_stop(w);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(rl_wal_close(w), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "No space left on device"));
  assert_non_null(strstr(rl_error_message(), "the log ends without its records 1 to "));
  assert_non_null(strstr(lines, "the disk is full"));
  assert_null(strstr(lines, "there is room on the disk again"));
  end_failing();
}

/* Writes until it fails, which takes a second at most on a machine with nothing else to do. */
static rl_status write_for_a_while(rl_wal *w)
{
  rl_wal_part part = {NULL, "record", 6};
  rl_status st = RL_OK;
  for (unsigned i = 0; i < 600 && st == RL_OK; i++) {
    usleep(100000);
    st = rl_wal_write(w, 1, &part, 1, NULL);
  }
  return st;
}

static void a_log_that_was_deleted_acknowledges_nothing(void **state)
{
  rl_wal *w = NULL;
  rl_wal_part part = {NULL, "record", 6};
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = *state}, &w), RL_OK);
  assert_int_equal(rl_wal_write(w, 1, &part, 1, NULL), RL_OK);
  assert_int_equal(rl_dir_remove(*state), RL_OK);
  assert_int_equal(write_for_a_while(w), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "log-0000000000000001: the file was deleted while the job runs"));
  assert_false(rl_error_current()->retriable);
  assert_int_equal(rl_wal_write(w, 1, &part, 1, NULL), RL_EIO);
  assert_int_equal(rl_wal_close(w), RL_EIO);
}

static void a_log_that_cannot_be_looked_at_acknowledges_nothing(void **state)
{
  rl_wal *w = NULL;
  let_fail("fstat", EIO, 1);
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = *state}, &w), RL_OK);
  assert_int_equal(write_for_a_while(w), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "cannot look at"));
  assert_int_equal(rl_wal_close(w), RL_EIO);
  end_failing();
}

int main(void)
{
  rl_log_set_sink(model_quiet, NULL);
  const struct CMUnitTest tests[] = {
      in_a_folder(each_step_failing_loses_nothing),
      in_a_folder(power_fails_after_each_failing_step),
      in_a_folder(each_step_interrupted_or_short_loses_nothing),
      in_a_folder(each_step_crashed_loses_nothing),
      in_a_folder(many_crashes_in_a_row_lose_nothing),
      in_a_folder(a_killed_process_loses_nothing),
      in_a_folder(a_failed_sync_is_final),
      in_a_folder(a_failing_write_is_tried_max_failures_times),
      in_a_folder(a_full_disk_pauses_says_so_and_goes_on),
      in_a_folder(a_segment_left_on_a_full_disk_ends_with_a_whole_record),
      in_a_folder(a_mark_that_cannot_be_written_is_done_without),
      in_a_folder(stopping_wakes_who_waits_for_a_full_disk),
      in_a_folder(a_log_that_was_deleted_acknowledges_nothing),
      in_a_folder(a_log_that_cannot_be_looked_at_acknowledges_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
