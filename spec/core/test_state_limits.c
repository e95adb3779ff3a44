/* The state store where room is short: a full disk, a small map, versions that somebody holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/log.h"
#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/state.h"
#include "store/state_impl.h"

#define PATIENCE_NS INT64_C(10000000000)

static void no_log(void *user, rl_log_level level, const char *line)
{
  (void)user, (void)level, (void)line;
}

static void limit_files(rlim_t bytes)
{
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_waited_for(void **state)
{
  assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
  rl_log_set_sink(no_log, NULL);
  rl_state *s = open_at(*state, true, 64 * 1024);
  rl_state_op *op = op_of(s, "x", false);
  limit_files(256 * 1024);
  seal(op, 1, states_large_update(op, 0, 10000, 1));
  rl_state_end(s, 1);
  assert_int_equal(rl_state_flush(s), RL_EIO);
  rl_state_update *u = states_large_update(op, 5000, 10, 1);
  expect_state(op, rl_int(9999), states_long_text());
  assert_int_equal(rl_state_seal(op, 2, &u, 1), RL_EIO);
  assert_int_equal(rl_state_sealed(op), 1);
  limit_files(RLIM_INFINITY);
  ok(rl_state_flush(s));
  expect_state(op, rl_int(9999), states_long_text());
  seal(op, 2, states_large_update(op, 5000, 10, 2));
  rl_state_close(s);
  rl_log_set_sink(NULL, NULL);
}

/* While somebody looks, the map stays as it is; nothing is lost meanwhile, in a scratch store and in a kept one. */
static void a_small_map_grows(void **state)
{
  size_t usual = rl_image_first_map;
  rl_log_set_sink(no_log, NULL);
  for (int scratch = 0; scratch < 2; scratch++) {
    char *dir = rl_format("%s/%d", (char *)*state, scratch);
    rl_image_first_map = 256 * 1024;
    rl_state *s = open_at(dir, scratch, MIB);
    rl_state_op *op = op_of(s, "x", false);
    put_one(op, 1, rl_int(0), states_long_text());
    rl_state_update *reads = update_of(op, 0, 1);
    rl_state_scan *scan = NULL;
    ok(rl_state_scan_open(op, 1, 0, RL_KEY_GROUPS, NULL, 0, &scan));
    rl_state_scan_close(scan); /* leaves an idle transaction */
    seal(op, 2, states_large_update(op, 0, 20000, 2));
    rl_state_end(s, 2);
    assert_int_equal(rl_state_flush(s), RL_EIO);
    expect_state(op, rl_int(19999), states_long_text());
    rl_state_update_delete(reads);
    while (rl_state_flush(s) != RL_OK) continue;
    expect_state(op, rl_int(19999), states_long_text());
    assert_int_equal(rl_state_count(op), 20000);
    assert_true(s->image.map > 256 * 1024);
    rl_state_close(s);
    if (!scratch) {
      s = open_at(dir, false, MIB); /* by what the file tells of itself */
      expect_state(op_of(s, "x", false), rl_int(19999), states_long_text());
      rl_state_close(s);
      ok(rl_state_verify(dir, NULL, NULL, NULL));
    }
    rl_free(dir);
  }
  rl_image_first_map = usual;
  rl_log_set_sink(NULL, NULL);
}

static void pins_hold_back_until_the_limit(void **state)
{
  rl_state *s = open_at(*state, true, 64 * 1024);
  rl_state_op *op = op_of(s, "pinned", false);
  put_one(op, 1, rl_int(1), rl_int(1));
  rl_state_pin(op, 1);
  seal(op, 2, states_large_update(op, 0, 2000, 2));
  seal(op, 3, states_large_update(op, 0, 1, 3)); /* waits for nothing: no batch has ended */
  rl_state_end(s, 3);
  rl_state_update *u = states_large_update(op, 0, 1, 4);
  rl_state_patience_ns = 0;
  assert_int_equal(rl_state_seal(op, 4, &u, 1), RL_ELIMIT);
  assert_non_null(strstr(rl_error_message(), "a remembered version of 'pinned'"));
  rl_state_scan *scan = NULL;
  rl_value k, v;
  int64_t stamp;
  bool found = false;
  ok(rl_state_scan_open(op, 1, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  ok(rl_state_scan_next(scan, &k, &v, &stamp, &found));
  assert_true(found && k.i == 1 && v.i == 1 && stamp == 1);
  ok(rl_state_scan_next(scan, &k, &v, &stamp, &found));
  assert_false(found);
  rl_state_scan_close(scan);
  rl_state_unpin(op, 1);
  assert_int_equal(rl_state_scan_open(op, 1, 0, RL_KEY_GROUPS, NULL, 0, &scan), RL_ESTATE);
  seal(op, 4, states_large_update(op, 0, 1, 4));
  rl_state_patience_ns = PATIENCE_NS;
  rl_state_close(s);
}

/* The main thread, which sleeps as soon as it waits. */
static bool main_sleeps(void)
{
  char *path = rl_format("/proc/self/task/%d/stat", (int)getpid());
  rl_buf b = {0};
  ok(rl_file_read_all(path, &b));
  bool sleeps = strrchr(rl_buf_cstr(&b), ')')[2] == 'S';
  rl_buf_free(&b);
  rl_free(path);
  return sleeps;
}

static void *let_go(void *pinned)
{
  while (!main_sleeps()) sched_yield();
  rl_state_unpin(pinned, 1);
  return NULL;
}

static void a_seal_waits_for_who_lets_go(void **state)
{
  rl_state *s = open_at(*state, true, 64 * 1024);
  rl_state_op *op = op_of(s, "pinned", false);
  put_one(op, 1, rl_int(1), rl_int(1));
  rl_state_pin(op, 1);
  seal(op, 2, states_large_update(op, 0, 2000, 2));
  rl_state_end(s, 2);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, let_go, op), 0);
  seal(op, 3, states_large_update(op, 0, 1, 3));
  pthread_join(thread, NULL);
  rl_state_close(s);
}

/* As a loop over the state does that never goes on. */
static void a_scan_does_not_hold_a_seal_for_ever(void **state)
{
  rl_state *s = open_at(*state, true, 64 * 1024);
  rl_state_op *op = op_of(s, "looped", false);
  put_one(op, 1, rl_int(1), rl_int(1));
  rl_state_scan *scan = NULL;
  ok(rl_state_scan_open(op, RL_NO_TIME, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  seal(op, 2, states_large_update(op, 0, 2000, 2));
  rl_state_end(s, 2);
  rl_state_update *u = states_large_update(op, 0, 1, 3);
  rl_state_patience_ns = 1000000;
  assert_int_equal(rl_state_seal(op, 3, &u, 1), RL_ELIMIT);
  assert_non_null(strstr(rl_error_message(), "a loop over the state of 'looped'"));
  rl_state_patience_ns = PATIENCE_NS;
  rl_state_scan_close(scan);
  seal(op, 3, states_large_update(op, 0, 1, 3));
  rl_state_close(s);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(a_full_disk_is_waited_for),
      in_a_folder(a_small_map_grows),
      in_a_folder(pins_hold_back_until_the_limit),
      in_a_folder(a_seal_waits_for_who_lets_go),
      in_a_folder(a_scan_does_not_hold_a_seal_for_ever),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
