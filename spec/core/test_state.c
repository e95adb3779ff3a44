#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "data/partition.h"
#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/state.h"
#include "store/state_impl.h"

#define PATIENCE_NS INT64_C(10000000000)

static void set_all(rl_state_op *op, int64_t version, int64_t n)
{
  rl_state_update *u = update_of(op, 0, 1);
  for (int64_t i = 0; i < n; i++) put(u, rl_int(i), rl_int(version), version);
  seal(op, version, u);
}

/* Each value is the version it was made in, of all keys at once. */
static void check_all_equal(rl_state_op *op, int64_t version, int64_t n)
{
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp, seen = 0;
  bool found = true;
  ok(rl_state_scan_open(op, version, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  while (ok(rl_state_scan_next(scan, &key, &value, &stamp, &found)), found) {
    assert_int_equal(value.i, version);
    seen++;
  }
  rl_state_scan_close(scan);
  assert_int_equal(seen, n);
}

/* Small cases ------------------------------------------------------------------------------------------------------ */

static void a_version_is_read_after_its_seal(void **state)
{
  rl_state *s = open_at(*state, true, MIB);
  rl_state_op *op = op_of(s, "count", false);
  assert_ptr_equal(rl_state_find(s, "count"), op);
  assert_null(rl_state_find(s, "other"));
  assert_true(rl_state_sealed(op) == RL_NO_TIME);
  rl_state_update *u = update_of(op, 0, 1);
  assert_int_equal(put(u, records_str("a"), rl_int(1), 10).type, RL_T_NIL);
  expect_state(op, records_str("a"), rl_nil());
  seal(op, 10, u);
  expect_state(op, records_str("a"), rl_int(1));
  assert_int_equal(rl_state_count(op), 1);
  rl_state_end(s, 10);
  ok(rl_state_flush(s));
  u = update_of(op, 0, 1);
  assert_true(rl_value_equal(put(u, records_str("a"), rl_nil(), 0), rl_int(1)));
  assert_true(rl_key_equal(rl_state_slot_key(u, 0), records_str("a")));
  seal(op, 20, u);
  expect_state(op, records_str("a"), rl_nil());
  assert_int_equal(rl_state_sealed(op), 20);
  assert_int_equal(rl_state_count(op), 0);
  rl_state_close(s);
  rl_state_close(NULL);
}

static void a_deleted_update_leaves_nothing(void **state)
{
  rl_state *s = open_at(*state, true, MIB);
  rl_state_op *op = op_of(s, "x", false);
  rl_state_update *u = update_of(op, 0, 1);
  put(u, rl_int(1), rl_int(1), 1);
  rl_state_update_delete(u);
  rl_state_update_delete(NULL);
  expect_state(op, rl_int(1), rl_nil());
  rl_state_close(s);
}

static void a_seal_needs_one_update_of_each_partition(void **state)
{
  rl_state *s = open_at(*state, true, MIB);
  rl_state_op *op = op_of(s, "x", false);
  rl_state_update *twice[] = {update_of(op, 0, 2), update_of(op, 0, 2)};
  assert_int_equal(rl_state_seal(op, 1, twice, 2), RL_EINVAL);
  rl_state_update *two[] = {update_of(op, 1, 2), update_of(op, 0, 2)};
  rl_state_update *late = update_of(op, 0, 1), *old;
  ok(rl_state_seal(op, 5, two, 2));
  assert_int_equal(rl_state_seal(op, 6, &late, 1), RL_ESTATE);
  old = update_of(op, 0, 1);
  assert_int_equal(rl_state_seal(op, 5, &old, 1), RL_ESTATE);
  rl_state_update *u = update_of(op, 0, 2);
  rl_value v;
  int64_t stamp;
  int64_t i = 0;
  while (rl_group_partition(rl_key_group(rl_key_hash(rl_int(i))), 2) == 0) i++;
  assert_int_equal(rl_state_slot(u, rl_int(i), &v, &stamp), RL_EINVAL);
  rl_state_update_delete(u);
  rl_state_close(s);
}

static void an_equal_value_writes_nothing(void **state)
{
  rl_state *s = open_at(*state, true, MIB);
  rl_state_op *op = op_of(s, "x", false);
  put_one(op, 1, rl_int(1), records_str("same"));
  rl_state_stats before, after;
  rl_state_stats_read(s, &before);
  rl_state_update *u = update_of(op, 0, 1);
  put(u, rl_int(1), records_str("other"), 1);
  ok(rl_state_set(u, 0, records_str("same"), 1));
  seal(op, 2, u);
  expect_state(op, rl_int(1), records_str("same"));
  rl_state_end(s, 2);
  ok(rl_state_flush(s));
  rl_state_stats_read(s, &after);
  assert_int_equal(after.versions, 0);
  assert_int_equal(after.keys, 1);
  expect_state(op, rl_int(1), records_str("same"));
  rl_state_close(s);
}

static void a_resting_update_is_read_no_more(void **state)
{
  rl_state *s = open_at(*state, true, MIB);
  rl_state_op *op = op_of(s, "x", false);
  rl_state_update *u = update_of(op, 0, 1);
  rl_value v;
  int64_t stamp;
  put(u, rl_int(1), rl_int(1), 1);
  rl_state_update_rest(u);
  rl_state_update_rest(u);
  assert_int_equal(rl_state_slot(u, rl_int(2), &v, &stamp), RL_ESTATE);
  assert_int_equal(rl_state_set(u, 0, rl_int(2), 1), RL_ESTATE);
  seal(op, 1, u);
  expect_state(op, rl_int(1), rl_int(1));
  rl_state_close(s);
}

/* Folders ---------------------------------------------------------------------------------------------------------- */

static void a_kept_folder_is_found_again(void **state)
{
  char *dir = rl_format("%s/deep/state", (char *)*state);
  rl_state *s = open_at(dir, false, MIB);
  rl_state_op *a = op_of(s, "a", true), *b = op_of(s, "b", false);
  put_one(a, 100, records_str("key"), rl_int(1));
  put_one(b, 100, records_str("key"), rl_int(2));
  put_one(a, 200, records_str("more"), rl_int(3));
  rl_state_end(s, 200);
  ok(rl_state_flush(s));
  rl_state *second = NULL;
  assert_int_equal(rl_state_open(&(rl_state_spec){dir, false, MIB, 0, 0}, &second), RL_ESTATE);
  rl_state_close(s);

  s = open_at(dir, false, MIB);
  a = rl_state_find(s, "a");
  b = rl_state_find(s, "b");
  assert_non_null(a);
  assert_non_null(b);
  assert_int_equal(rl_state_sealed(a), 200);
  assert_int_equal(rl_state_sealed(b), 100);
  assert_int_equal(rl_state_count(a), 2);
  expect_state(a, records_str("key"), rl_int(1));
  expect_state(b, records_str("key"), rl_int(2));
  assert_int_equal(rl_state_operator(s, "b", true, &b), RL_EUNSUPPORTED);
  rl_state_op *c = op_of(s, "c", false);
  put_one(c, 300, records_str("key"), rl_int(4));
  put_one(a, 300, records_str("key"), rl_int(5));
  rl_state_end(s, 300);
  ok(rl_state_flush(s));
  expect_state(c, records_str("key"), rl_int(4));
  expect_state(a, records_str("key"), rl_int(5));
  expect_state(rl_state_find(s, "b"), records_str("key"), rl_int(2));
  rl_state_close(s);
  rl_free(dir);
}

static void a_scratch_folder_goes_with_its_store(void **state)
{
  char *dead = rl_format("%s/rille-state-abcdef", (char *)*state);
  assert_int_equal(mkdir(dead, 0700), 0);
  rl_free(scratch_file(dead, "alive", ""));
  rl_free(scratch_file(dead, "data.mdb", "rubbish"));
  rl_state *one = open_at(*state, true, MIB), *two = open_at(*state, true, MIB);
  assert_false(scratch_exists(*state, "rille-state-abcdef"));
  assert_true(rl_path_is_dir(one->image.dir));
  put_one(op_of(one, "x", false), 1, rl_int(1), rl_int(1));
  rl_state_end(one, 1);
  ok(rl_state_flush(one));
  rl_state_close(one);
  rl_state_close(two);
  assert_int_equal(rmdir(*state), 0);
  assert_int_equal(mkdir(*state, 0700), 0);
  rl_free(dead);
}

/* Moves one version after the other into the image, until it is killed. */
static _Noreturn void be_killed(const char *kept, const char *scratch, int out)
{
  rl_state *s = open_at(kept, false, MIB);
  open_at(scratch, true, MIB);
  rl_state_op *op = op_of(s, "x", true);
  for (int64_t t = 1;; t++) {
    set_all(op, t, 500);
    rl_state_end(s, t);
    if (t == 50 && write(out, "", 1) != 1) _exit(1);
  }
}

static void a_killed_process_leaves_whole_versions(void **state)
{
  char *kept = rl_path_join(*state, "kept"), *scratch = rl_path_join(*state, "scratch"), ready;
  int pipes[2], status;
  assert_int_equal(pipe(pipes), 0);
  pid_t child = scratch_fork();
  if (child == 0) be_killed(kept, scratch, pipes[1]);
  assert_int_equal(close(pipes[1]), 0);
  assert_int_equal(read(pipes[0], &ready, 1), 1);
  assert_int_equal(close(pipes[0]), 0);
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, &status, 0), child);
  rl_state *s = open_at(kept, false, MIB);
  rl_state_op *op = rl_state_find(s, "x");
  assert_non_null(op);
  assert_true(rl_state_sealed(op) > 0);
  check_all_equal(op, rl_state_sealed(op), 500);
  rl_state_close(s);
  rl_state_close(open_at(scratch, true, MIB));
  assert_int_equal(rmdir(scratch), 0);
  rl_free(kept);
  rl_free(scratch);
}

static void changes_of_a_batch_have_a_limit(void **state)
{
  rl_state *s = NULL;
  rl_state_op *op = NULL;
  const rl_state_spec spec = {.dir = *state, .scratch = true, .overlay_bytes = MIB, .update_bytes = 64 * 1024};
  ok(rl_state_open(&spec, &s));
  ok(rl_state_operator(s, "a", false, &op));
  char *text = rl_alloc(40 * 1024);
  memset(text, 'x', 40 * 1024);
  rl_value large = rl_str(text, 40 * 1024);
  for (int64_t time = 100; time < 400; time += 100) { /* sealed or deleted, it no longer counts */
    rl_state_update *halves[2] = {update_of(op, 0, 2), update_of(op, 1, 2)};
    uint32_t both = 0;
    for (int64_t i = 0; both != 3; i++) {
      rl_value key = rl_int(time * 100 + i), old;
      int64_t stamp;
      uint32_t half = rl_group_partition(rl_key_group(rl_key_hash(key)), 2);
      if (both & 1u << half) continue;
      ok(rl_state_slot(halves[half], key, &old, &stamp));
      rl_status st = rl_state_set(halves[half], 0, large, time);
      assert_int_equal(st, both ? RL_ELIMIT : RL_OK);
      both |= 1u << half;
    }
    if (time < 300) {
      ok(rl_state_seal(op, time, halves, 2));
    } else {
      for (int i = 0; i < 2; i++) rl_state_update_delete(halves[i]);
    }
    rl_state_end(s, time);
  }
  put_one(op, 500, rl_int(1), large);
  rl_free(text);
  rl_state_close(s);
}

static void a_folder_that_cannot_be_made_is_an_error(void **state)
{
  char *file = scratch_file(*state, "file", ""), *below = rl_path_join(file, "state");
  rl_state *s = NULL;
  assert_int_equal(rl_state_open(&(rl_state_spec){below, true, MIB, 0, 0}, &s), RL_EIO);
  assert_int_equal(rl_state_open(&(rl_state_spec){below, false, MIB, 0, 0}, &s), RL_EIO);
  assert_int_equal(rl_state_open(&(rl_state_spec){file, false, MIB, 0, 0}, &s), RL_EIO);
  rl_free(below);
  rl_free(file);
}

/* Failing writes --------------------------------------------------------------------------------------------------- */

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

static rl_value long_text(void)
{
  static const char text[101] = "a value of a hundred bytes; a value of a hundred bytes; a value of a hundred bytes";
  return rl_str(text, 100);
}

static rl_state_update *large_update(rl_state_op *op, int64_t from, int64_t n, int64_t stamp)
{
  rl_state_update *u = update_of(op, 0, 1);
  for (int64_t i = from; i < from + n; i++) put(u, rl_int(i), long_text(), stamp);
  return u;
}

static void a_full_disk_is_waited_for(void **state)
{
  assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
  rl_log_set_sink(no_log, NULL);
  rl_state *s = open_at(*state, true, 64 * 1024);
  rl_state_op *op = op_of(s, "x", false);
  limit_files(256 * 1024);
  seal(op, 1, large_update(op, 0, 10000, 1));
  rl_state_end(s, 1);
  assert_int_equal(rl_state_flush(s), RL_EIO);
  rl_state_update *u = large_update(op, 5000, 10, 1);
  expect_state(op, rl_int(9999), long_text());
  assert_int_equal(rl_state_seal(op, 2, &u, 1), RL_EIO);
  assert_int_equal(rl_state_sealed(op), 1);
  limit_files(RLIM_INFINITY);
  ok(rl_state_flush(s));
  expect_state(op, rl_int(9999), long_text());
  seal(op, 2, large_update(op, 5000, 10, 2));
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
    put_one(op, 1, rl_int(0), long_text());
    rl_state_update *reads = update_of(op, 0, 1);
    rl_state_scan *scan = NULL;
    ok(rl_state_scan_open(op, 1, 0, RL_KEY_GROUPS, NULL, 0, &scan));
    rl_state_scan_close(scan); /* leaves an idle transaction */
    seal(op, 2, large_update(op, 0, 20000, 2));
    rl_state_end(s, 2);
    assert_int_equal(rl_state_flush(s), RL_EIO);
    expect_state(op, rl_int(19999), long_text());
    rl_state_update_delete(reads);
    while (rl_state_flush(s) != RL_OK) continue;
    expect_state(op, rl_int(19999), long_text());
    assert_int_equal(rl_state_count(op), 20000);
    assert_true(s->image.map > 256 * 1024);
    rl_state_close(s);
    if (!scratch) {
      s = open_at(dir, false, MIB); /* by what the file tells of itself */
      expect_state(op_of(s, "x", false), rl_int(19999), long_text());
      rl_state_close(s);
      ok(rl_state_verify(dir, NULL, NULL, NULL));
    }
    rl_free(dir);
  }
  rl_image_first_map = usual;
  rl_log_set_sink(NULL, NULL);
}

static void a_flipped_byte_is_found_out(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  rl_state *s = open_at(dir, false, MIB);
  put_one(op_of(s, "op", false), 1, records_str("key"), records_str("a value to be found"));
  rl_state_end(s, 1);
  ok(rl_state_flush(s));
  rl_state_close(s);
  rl_buf bytes = {0};
  ok(rl_file_read_all(path, &bytes));
  char *at = memmem(bytes.p, bytes.n, "a value to be", 13);
  assert_non_null(at);
  for (; at; at = memmem(at, bytes.n - (size_t)(at - bytes.p), "a value to be", 13)) at[2] = 'V';
  scratch_write_bytes(path, bytes.p, bytes.n);
  rl_buf_free(&bytes);
  s = open_at(dir, false, MIB);
  bool found;
  assert_int_equal(rl_state_get(rl_state_find(s, "op"), records_str("key"), &bytes, &found), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "'op', key key: wrong checksum"));
  rl_state_close(s);
  rl_buf_free(&bytes);
  rl_free(path);
  rl_free(dir);
}

static void pins_hold_back_until_the_limit(void **state)
{
  rl_state *s = open_at(*state, true, 64 * 1024);
  rl_state_op *op = op_of(s, "pinned", false);
  put_one(op, 1, rl_int(1), rl_int(1));
  rl_state_pin(op, 1);
  seal(op, 2, large_update(op, 0, 2000, 2));
  seal(op, 3, large_update(op, 0, 1, 3)); /* waits for nothing: no batch has ended */
  rl_state_end(s, 3);
  rl_state_update *u = large_update(op, 0, 1, 4);
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
  seal(op, 4, large_update(op, 0, 1, 4));
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
  seal(op, 2, large_update(op, 0, 2000, 2));
  rl_state_end(s, 2);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, let_go, op), 0);
  seal(op, 3, large_update(op, 0, 1, 3));
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
  seal(op, 2, large_update(op, 0, 2000, 2));
  rl_state_end(s, 2);
  rl_state_update *u = large_update(op, 0, 1, 3);
  rl_state_patience_ns = 1000000;
  assert_int_equal(rl_state_seal(op, 3, &u, 1), RL_ELIMIT);
  assert_non_null(strstr(rl_error_message(), "a loop over the state of 'looped'"));
  rl_state_patience_ns = PATIENCE_NS;
  rl_state_scan_close(scan);
  seal(op, 3, large_update(op, 0, 1, 3));
  rl_state_close(s);
}

/* Taking back ------------------------------------------------------------------------------------------------------ */

static void seal_key(rl_state_op *op, int64_t time, int64_t key, rl_value value)
{
  rl_state_update *u = update_of(op, 0, 1);
  put(u, rl_int(key), value, time);
  seal(op, time, u);
}

/* -1: no state. */
static int64_t state_of_key(rl_state_op *op, int64_t key)
{
  rl_buf bytes = {0};
  bool found = false;
  rl_value v = rl_int(-1);
  ok(rl_state_get(op, rl_int(key), &bytes, &found));
  rl_reader r = {bytes.p, bytes.p + bytes.n};
  if (found) ok(rl_get_value(&r, &v));
  rl_buf_free(&bytes);
  return v.i;
}

/* Version 3 of op, which is made and taken back while a scan of it is open; before it comes key 1 = 12. */
static void taken_back_between_others(rl_state_op *op, rl_state_op *other, int64_t time)
{
  bool removes = time == 4, found = false;
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp;
  seal_key(other, time * 2, 1, rl_int(time));
  seal_key(op, 3, 1, removes ? rl_nil() : rl_int(13));
  seal_key(other, time * 2 + 1, 2, rl_int(time));
  assert_int_equal(state_of_key(op, 1), removes ? -1 : 13);
  ok(rl_state_scan_open(op, 3, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  assert_int_equal(rl_state_unseal(op, 2), RL_ESTATE);
  ok(rl_state_unseal(op, 3));
  assert_int_equal(rl_state_unseal(op, 3), RL_ESTATE);
  ok(rl_state_scan_next(scan, &key, &value, &stamp, &found)); /* what has begun goes on */
  assert_true(found != removes && (removes || value.i == 13));
  rl_state_scan_close(scan);
  assert_int_equal(state_of_key(op, 1), 12);
  assert_int_equal(rl_state_count(op), 1);
}

static void a_version_is_taken_back(void **state)
{
  rl_state *s = open_at(*state, true, 64 * 1024 * 1024);
  rl_state_op *op = op_of(s, "taken", true), *other = op_of(s, "other", false);
  seal_key(op, 1, 1, rl_int(10));
  assert_int_equal(rl_state_sealed(op), 1);
  ok(rl_state_unseal(op, 1)); /* the first */
  assert_int_equal(rl_state_sealed(op), RL_NO_TIME);
  assert_int_equal(rl_state_count(op), 0);
  assert_int_equal(state_of_key(op, 1), -1);

  seal_key(op, 1, 1, rl_int(11));
  rl_state_end(s, 1);
  assert_int_equal(rl_state_unseal(op, 1), RL_ESTATE);
  ok(rl_state_flush(s)); /* into the image */
  seal_key(op, 2, 1, rl_int(12));
  rl_state_end(s, 2);
  rl_state_pin(op, 2);
  for (int64_t time = 3; time < 6; time++) taken_back_between_others(op, other, time);
  rl_state_unpin(op, 2);
  seal_key(op, 3, 2, rl_int(20));
  rl_state_end(s, 100);
  ok(rl_state_flush(s));
  assert_int_equal(state_of_key(op, 1), 12);
  assert_int_equal(state_of_key(op, 2), 20);
  assert_int_equal(state_of_key(other, 2), 5);
  assert_int_equal(rl_state_count(op), 2);
  rl_state_close(s);
}

/* Timeouts --------------------------------------------------------------------------------------------------------- */

static size_t lists_in_index(rl_state *s)
{
  MDB_txn *txn = NULL;
  MDB_stat stat;
  assert_int_equal(mdb_txn_begin(s->image.env, NULL, MDB_RDONLY, &txn), 0);
  assert_int_equal(mdb_stat(txn, s->image.due, &stat), 0);
  mdb_txn_abort(txn);
  return stat.ms_entries;
}

/* Gives what is due, but for the first `spared` keys, a new stamp; returns how many are due. */
static int64_t touch_due(rl_state_op *op, int64_t before, int64_t time, int64_t spared)
{
  rl_state_update *u = update_of(op, 0, 1);
  rl_state_due *d = NULL;
  rl_value key;
  bool found = true;
  int64_t n = 0;
  ok(rl_state_due_open(u, before, &d));
  while (ok(rl_state_due_next(d, &key, &found)), found) {
    if (n++ >= spared) put(u, key, rl_int(time), time);
  }
  rl_state_due_close(d);
  seal(op, time, u);
  rl_state_end(op->s, time);
  return n;
}

/* Keys in the order in which they are due, as text. */
static char *due_order(rl_state_op *op, int64_t before)
{
  rl_state_update *u = NULL;
  rl_state_due *d = NULL;
  rl_value key;
  bool found = false;
  rl_buf out = {0};
  ok(rl_state_update_new(op, 0, 1, &u));
  ok(rl_state_due_open(u, before, &d));
  while (ok(rl_state_due_next(d, &key, &found)), found) rl_buf_printf(&out, "%lld ", (long long)key.i);
  rl_state_due_close(d);
  rl_state_update_delete(u);
  char *text = rl_strdup(rl_buf_cstr(&out));
  rl_buf_free(&out);
  return text;
}

/* However much of it is in the image by then. */
static void what_is_due_comes_in_one_order(void **state)
{
  rl_state *s = open_at(*state, true, 64 * 1024 * 1024);
  rl_state_op *op = op_of(s, "timed", true);
  for (int64_t time = 1; time <= 4; time++) seal(op, time, large_update(op, 50 * (5 - time), 50, time));
  char *of_memory = due_order(op, 5);
  rl_state_end(s, 2);
  ok(rl_state_flush(s));
  char *of_both = due_order(op, 5);
  rl_state_end(s, 4);
  ok(rl_state_flush(s));
  char *of_image = due_order(op, 5);
  assert_string_equal(of_memory, of_both);
  assert_string_equal(of_memory, of_image);
  rl_free(of_memory);
  rl_free(of_both);
  rl_free(of_image);
  rl_state_close(s);
}

static void what_was_due_leaves_the_index(void **state)
{
  rl_state *s = open_at(*state, true, 64 * MIB);
  rl_state_op *op = op_of(s, "x", true);
  int64_t n = 20000; /* more than one transaction */
  set_all(op, 1, n);
  rl_state_end(s, 1);
  ok(rl_state_flush(s));
  assert_true(lists_in_index(s) >= RL_KEY_GROUPS);
  assert_int_equal(touch_due(op, 1, 2, 0), 0);
  assert_int_equal(touch_due(op, 2, 3, 1), n);
  ok(rl_state_flush(s));
  size_t kept = lists_in_index(s);
  assert_int_equal(touch_due(op, 2, 4, 0), 1);
  ok(rl_state_flush(s));
  assert_true(lists_in_index(s) < kept);
  assert_int_equal(touch_due(op, 4, 5, 0), n - 1);
  assert_int_equal(touch_due(op, 5, 6, 0), 1);
  assert_int_equal(touch_due(op, INT64_MAX, 7, 0), n);
  ok(rl_state_flush(s));
  assert_int_equal(rl_state_count(op), n);
  rl_state_update *u = update_of(op_of(s, "untimed", false), 0, 1);
  rl_state_due *d = NULL;
  assert_int_equal(rl_state_due_open(u, 1, &d), RL_ESTATE);
  rl_state_update_delete(u);
  rl_state_close(s);
}

/* The model -------------------------------------------------------------------------------------------------------- */

#define KEYS 400
#define VERSIONS 120
#define PARTS 3

typedef struct cell {
  int64_t value, stamp; /* value 0: none */
} cell;

typedef struct model {
  rl_state *s;
  rl_state_op *op;
  uint64_t seed;
  const char *dir;
  rl_value keys[KEYS];
  rl_buf key_bytes[KEYS];
  cell cells[VERSIONS + 1][KEYS];
  int64_t latest; /* version number; 0: none */
  int64_t ended;
  int pins[VERSIONS + 1];
} model;

static uint64_t dice(model *m, uint64_t sides)
{
  return records_random(&m->seed) % sides;
}

static rl_value value_of(cell c, rl_buf *room)
{
  if (c.value == 0) return rl_nil();
  if (c.value % 3 == 0) return rl_int(c.value);
  rl_buf_clear(room);
  rl_buf_printf(room, "%lld", (long long)c.value);
  while (c.value % 50 == 1 && room->n < 9000) rl_buf_putc(room, '.');
  return rl_str(room->p, room->n);
}

static void expect_cell(cell c, rl_value v, int64_t stamp)
{
  rl_buf room = {0};
  assert_true(rl_value_equal(v, value_of(c, &room)));
  if (c.value) assert_int_equal(stamp, c.stamp);
  rl_buf_free(&room);
}

static int key_number(model *m, rl_value key)
{
  for (int i = 0; i < KEYS; i++) {
    if (rl_key_equal(m->keys[i], key)) return i;
  }
  fail_msg("a key that nobody put");
  return -1;
}

static uint32_t part_of(model *m, int i)
{
  return rl_group_partition(rl_key_group(rl_key_hash(m->keys[i])), PARTS);
}

static void change(model *m, rl_state_update **u, cell *next, int i)
{
  rl_value old;
  int64_t stamp;
  rl_buf room = {0};
  uint32_t p = part_of(m, i);
  ok(rl_state_slot(u[p], m->keys[i], &old, &stamp));
  expect_cell(m->cells[m->latest][i], old, stamp);
  if (dice(m, 5) == 0) return;
  for (uint64_t times = 1 + dice(m, 2); times > 0; times--) {
    next[i] = dice(m, 4) == 0 ? (cell){0} : (cell){1 + (int64_t)dice(m, 200), m->latest + 1 - (int64_t)dice(m, 3)};
    ok(rl_state_set(u[p], rl_state_slots(u[p]) - 1, value_of(next[i], &room), next[i].stamp));
  }
  rl_buf_free(&room);
}

/* Walks what is due in each partition: what it should, each once; each is changed or removed. */
static void walk_due(model *m, rl_state_update **u, cell *next, const bool *slotted)
{
  int64_t before = m->latest - (int64_t)dice(m, 12);
  bool met[KEYS] = {false};
  bool cut = dice(m, 4) == 0;
  for (uint32_t p = 0; p < PARTS; p++) {
    rl_state_due *d = NULL;
    rl_value key, old;
    bool found = true;
    int64_t stamp;
    ok(rl_state_due_open(u[p], before, &d));
    while (ok(rl_state_due_next(d, &key, &found)), found) {
      int i = key_number(m, key);
      assert_false(met[i] || slotted[i]);
      assert_true(m->cells[m->latest][i].value && m->cells[m->latest][i].stamp < before);
      assert_int_equal(part_of(m, i), p);
      met[i] = true;
      if (dice(m, 8) == 0) continue; /* it is met again another time */
      ok(rl_state_slot(u[p], key, &old, &stamp));
      next[i] = dice(m, 3) == 0 ? (cell){7, m->latest + 1} : (cell){0};
      ok(rl_state_set(u[p], rl_state_slots(u[p]) - 1, next[i].value ? rl_str("7", 1) : rl_nil(), next[i].stamp));
      if (cut && dice(m, 3) == 0) break;
    }
    rl_state_due_close(d);
  }
  for (int i = 0; i < KEYS && !cut; i++) {
    cell c = m->cells[m->latest][i];
    if (c.value && c.stamp < before && !slotted[i]) assert_true(met[i]);
  }
}

static void next_version(model *m)
{
  rl_state_update *u[PARTS];
  cell *next = m->cells[m->latest + 1];
  bool slotted[KEYS] = {false};
  for (uint32_t p = 0; p < PARTS; p++) u[p] = update_of(m->op, p, PARTS);
  memcpy(next, m->cells[m->latest], sizeof m->cells[0]);
  for (uint64_t n = dice(m, 3) == 0 ? 0 : dice(m, KEYS); n > 0; n--) {
    int i = (int)dice(m, KEYS);
    if (slotted[i]) continue;
    slotted[i] = true;
    change(m, u, next, i);
  }
  if (dice(m, 2)) walk_due(m, u, next, slotted);
  for (uint32_t p = 0; p < PARTS; p++) {
    if (dice(m, 2)) rl_state_update_rest(u[p]);
  }
  if (dice(m, 10) == 0) { /* the tasks fail */
    for (uint32_t p = 0; p < PARTS; p++) rl_state_update_delete(u[p]);
    return;
  }
  ok(rl_state_seal(m->op, m->latest + 1, u, PARTS));
  m->latest++;
}

static void check_scan(model *m, int64_t version, uint32_t from, uint32_t to, const char *prefix)
{
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp;
  bool found = true, met[KEYS] = {false};
  uint32_t group = 0;
  size_t n = prefix ? strlen(prefix) : 0;
  ok(rl_state_scan_open(m->op, version, from, to, prefix, n, &scan));
  while (ok(rl_state_scan_next(scan, &key, &value, &stamp, &found)), found) {
    int i = key_number(m, key);
    uint32_t g = rl_key_group(rl_key_hash(key));
    assert_true(g >= group && g >= from && g < to);
    group = g;
    assert_false(met[i]);
    met[i] = true;
    expect_cell(m->cells[version][i], value, stamp);
  }
  rl_state_scan_close(scan);
  for (int i = 0; i < KEYS; i++) {
    uint32_t g = rl_key_group(rl_key_hash(m->keys[i]));
    rl_value k = m->keys[i];
    bool in = m->cells[version][i].value && g >= from && g < to;
    if (prefix) in = in && k.type == RL_T_BYTES && k.s.n >= n && memcmp(k.s.p, prefix, n) == 0;
    assert_int_equal(met[i], in);
  }
}

static void check_version(model *m, int64_t version)
{
  static const char *const prefixes[] = {NULL, NULL, "prefix/", "l", "", "1", "nothing"};
  uint32_t from = (uint32_t)dice(m, 200), to = from + (uint32_t)dice(m, 56);
  if (dice(m, 2)) from = 0, to = RL_KEY_GROUPS;
  if (version > 0) check_scan(m, version, from, to, prefixes[dice(m, sizeof prefixes / sizeof *prefixes)]);
}

static void check_count(model *m)
{
  uint64_t n = 0;
  rl_buf room = {0};
  for (int i = 0; i < KEYS; i++) {
    cell c = m->cells[m->latest][i];
    n += c.value != 0;
    if (dice(m, 8) == 0) expect_state(m->op, m->keys[i], value_of(c, &room));
  }
  assert_int_equal(rl_state_count(m->op), n);
  rl_buf_free(&room);
}

static void pin_something(model *m)
{
  if (m->latest == 0) return;
  m->pins[m->latest]++;
  rl_state_pin(m->op, m->latest);
}

static void unpin_something(model *m)
{
  for (int64_t v = (int64_t)dice(m, VERSIONS); v >= 0; v--) {
    if (m->pins[v] == 0) continue;
    m->pins[v]--;
    rl_state_unpin(m->op, v);
    return;
  }
}

static void check_pinned(model *m)
{
  for (int64_t v = 1; v <= m->latest; v++) {
    if (m->pins[v] || v == m->latest) check_version(m, v);
  }
}

static void end_some(model *m)
{
  int64_t time = m->latest - (int64_t)dice(m, 3);
  rl_state_end(m->s, time);
  if (time > m->ended) m->ended = time;
}

static void take_back(model *m)
{
  if (m->latest <= m->ended) {
    assert_int_equal(rl_state_unseal(m->op, m->latest), RL_ESTATE);
  } else if (m->pins[m->latest] == 0) {
    ok(rl_state_unseal(m->op, m->latest--));
    assert_int_equal(rl_state_sealed(m->op), m->latest ? m->latest : RL_NO_TIME);
    if (m->latest) check_version(m, m->latest);
  }
}

static void reopen(model *m)
{
  for (int v = 0; v <= VERSIONS; v++) {
    for (; m->pins[v] > 0; m->pins[v]--) rl_state_unpin(m->op, v);
  }
  rl_state_end(m->s, m->latest);
  m->ended = m->latest;
  ok(rl_state_flush(m->s));
  rl_state_close(m->s);
  ok(rl_state_verify(m->dir, NULL, NULL, NULL));
  m->s = open_at(m->dir, false, 256 * MIB);
  m->op = op_of(m->s, "model", true);
  assert_int_equal(rl_state_sealed(m->op), m->latest ? m->latest : RL_NO_TIME);
}

static void run_model(const char *dir, uint64_t seed)
{
  model *m = RL_NEW(model);
  *m = (model){.seed = seed, .dir = dir};
  for (int i = 0; i < KEYS; i++) m->keys[i] = states_key(&m->key_bytes[i], i);
  m->s = open_at(dir, false, 256 * MIB);
  m->op = op_of(m->s, "model", true);
  while (m->latest < VERSIONS) {
    switch (dice(m, 13)) {
    case 0: pin_something(m); break;
    case 1: unpin_something(m); break;
    case 2: check_pinned(m); break;
    case 3: ok(rl_state_flush(m->s)); break;
    case 4:
      if (dice(m, 5) == 0) reopen(m);
      break;
    case 5:
    case 6: end_some(m); break;
    case 7: check_count(m); break;
    case 8: take_back(m); break;
    default: next_version(m); break;
    }
  }
  check_pinned(m);
  reopen(m);
  check_pinned(m);
  check_count(m);
  rl_state_close(m->s);
  for (int i = 0; i < KEYS; i++) rl_buf_free(&m->key_bytes[i]);
  rl_free(m);
}

static void any_sequence_of_calls_agrees_with_a_model(void **state)
{
  uint64_t seed = records_seed("state");
  for (uint64_t i = 0; i < 6; i++) {
    char *dir = rl_format("%s/%d", (char *)*state, (int)i);
    run_model(dir, seed + i);
    rl_free(dir);
  }
}

/* Scans of much, threads ------------------------------------------------------------------------------------------- */

static void a_scan_goes_on_while_the_image_moves(void **state)
{
  rl_state *s = open_at(*state, true, 64 * MIB);
  rl_state_op *op = op_of(s, "x", false);
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp, n = 20000;
  bool found = true;
  set_all(op, 1, n);
  set_all(op, 2, n);
  ok(rl_state_scan_open(op, 2, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  for (int64_t i = 0; i < n; i++) {
    ok(rl_state_scan_next(scan, &key, &value, &stamp, &found));
    assert_true(found && value.i == 2);
    if (i == 100) rl_state_end(s, 1);
    if (i == 5000) ok(rl_state_flush(s));
    if (i == 5001) set_all(op, 3, n);
    if (i == 6000) rl_state_end(s, 3);
    if (i == 10000) ok(rl_state_flush(s)); /* version 2, and not 3 */
  }
  ok(rl_state_scan_next(scan, &key, &value, &stamp, &found));
  assert_false(found);
  rl_state_scan_close(scan);
  ok(rl_state_flush(s));
  check_all_equal(op, 3, n);
  rl_state_close(s);
}

typedef struct crew {
  rl_state *s;
  rl_state_op *op[2];
  atomic_bool stop;
  int64_t n;
} crew;

static void *keep_scanning(void *arg)
{
  crew *c = arg;
  for (unsigned i = 0; !atomic_load(&c->stop); i++) {
    rl_state_op *op = c->op[i % 2];
    rl_buf out = {0};
    bool found;
    pthread_mutex_lock(&c->s->lock);
    int64_t version = op->sealed; /* sealed and pinned at once */
    rl_pin_add(op, version, false);
    pthread_mutex_unlock(&c->s->lock);
    if (version != RL_NO_TIME) check_all_equal(op, version, c->n);
    rl_state_unpin(op, version);
    ok(rl_state_get(op, rl_int(i % c->n), &out, &found));
    rl_buf_free(&out);
  }
  return NULL;
}

static void *keep_sealing(void *arg)
{
  crew *c = arg;
  for (int64_t t = 1; t <= 30; t++) set_all(c->op[1], t, c->n);
  return NULL;
}

static void threads_see_whole_versions(void **state)
{
  crew c = {.s = open_at(*state, true, 16 * MIB), .n = 3000};
  pthread_t scans[2], seals;
  c.op[0] = op_of(c.s, "a", true);
  c.op[1] = op_of(c.s, "b", false);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&scans[i], NULL, keep_scanning, &c), 0);
  assert_int_equal(pthread_create(&seals, NULL, keep_sealing, &c), 0);
  for (int64_t t = 1; t <= 30; t++) {
    set_all(c.op[0], t, c.n);
    rl_state_end(c.s, t);
  }
  assert_int_equal(pthread_join(seals, NULL), 0);
  atomic_store(&c.stop, true);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(scans[i], NULL), 0);
  ok(rl_state_flush(c.s));
  for (int i = 0; i < 2; i++) check_all_equal(c.op[i], 30, c.n);
  rl_state_stats stats;
  rl_state_stats_read(c.s, &stats);
  assert_int_equal(stats.versions, 0);
  assert_int_equal(stats.keys, 6000);
  rl_state_close(c.s);
}

/* Figures ---------------------------------------------------------------------------------------------------------- */

static size_t anonymous_kb(void)
{
  rl_buf text = {0};
  ok(rl_file_read_all("/proc/self/status", &text));
  const char *at = strstr(rl_buf_cstr(&text), "RssAnon:");
  size_t kb = at ? strtoul(at + 8, NULL, 10) : 0;
  rl_buf_free(&text);
  return kb;
}

static double ns_each(int64_t from, int64_t n)
{
  return (double)(rl_mono_ns() - from) / (double)n;
}

static rl_value user_key(char *room, size_t size, uint64_t i)
{
  unsigned long long id = i * 2654435761U % 1000000007U;
  return rl_str(room, (size_t)snprintf(room, size, "user-%012llu", id));
}

static void fill(rl_state *s, rl_state_op *op, int64_t n, int64_t step)
{
  char room[32];
  int64_t seal_ns = 0, set_ns = 0, apply_ns = 0, t = 1;
  for (int64_t from = 0; from < n; from += step, t++) {
    int64_t start = rl_mono_ns();
    rl_state_update *u = update_of(op, 0, 1);
    for (int64_t i = from; i < from + step; i++) put(u, user_key(room, sizeof room, (uint64_t)i), rl_int(i), t);
    rl_state_update_rest(u);
    set_ns += rl_mono_ns() - start;
    start = rl_mono_ns();
    seal(op, t, u);
    seal_ns += rl_mono_ns() - start;
    start = rl_mono_ns();
    rl_state_end(s, t);
    ok(rl_state_flush(s));
    apply_ns += rl_mono_ns() - start;
  }
  print_message("%lld keys: slot+set %.0f ns, seal %.0f ns an entry, apply %.0f entries/s\n", (long long)n,
                (double)set_ns / (double)n, (double)seal_ns / (double)n, (double)n * 1e9 / (double)apply_ns);
}

static void measure(const char *dir, int64_t n)
{
  size_t before = anonymous_kb();
  rl_state *s = open_at(dir, true, 256 * MIB);
  rl_state_op *op = op_of(s, "x", false);
  char room[32];
  rl_state_stats stats;
  fill(s, op, n, n / 20);
  rl_state_update *u = update_of(op, 0, 1);
  rl_value v;
  int64_t stamp, start = rl_mono_ns(), looks = 200000;
  uint64_t seed = 1;
  for (int64_t i = 0; i < looks; i++) {
    ok(rl_state_slot(u, user_key(room, sizeof room, records_random(&seed) % (uint64_t)n), &v, &stamp));
    assert_int_equal(v.type, RL_T_INT);
  }
  print_message("  look-up %.0f ns\n", ns_each(start, looks));
  rl_state_update_delete(u);
  start = rl_mono_ns();
  u = update_of(op, 0, 1);
  for (int64_t i = 0; i < 10000; i++) {
    put(u, user_key(room, sizeof room, (uint64_t)(i * (n / 10000))), rl_int(-i), 1000);
  }
  seal(op, 1000, u);
  rl_state_end(s, 1000);
  print_message("  a batch of 10000: %.0f ns a key", ns_each(start, 10000));
  ok(rl_state_flush(s));
  print_message(", %.0f ns until applied\n", ns_each(start, 10000));
  start = rl_mono_ns();
  rl_state_scan *scan = NULL;
  bool found = true;
  ok(rl_state_scan_open(op, 1000, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  rl_value k;
  while (ok(rl_state_scan_next(scan, &k, &v, &stamp, &found)), found) continue;
  rl_state_scan_close(scan);
  print_message("  scan %.0f ns a key\n", ns_each(start, n));
  rl_state_stats_read(s, &stats);
  print_message("  %.1f bytes a key in the image, %.1f anonymous\n", (double)stats.image_bytes / (double)n,
                ((double)anonymous_kb() - (double)before) * 1024 / (double)n);
  rl_state_close(s);
}

static void many_keys(void **state)
{
  const char *keys = getenv("RILLE_STATE_KEYS");
  const char *wanted = getenv("RILLE_LONG");
  if (!wanted || strcmp(wanted, "1") != 0) skip();
  measure(*state, keys ? strtoll(keys, NULL, 10) : 1000000);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(a_version_is_read_after_its_seal),
      in_a_folder(a_deleted_update_leaves_nothing),
      in_a_folder(a_seal_needs_one_update_of_each_partition),
      in_a_folder(an_equal_value_writes_nothing),
      in_a_folder(a_resting_update_is_read_no_more),
      in_a_folder(a_kept_folder_is_found_again),
      in_a_folder(a_scratch_folder_goes_with_its_store),
      in_a_folder(a_killed_process_leaves_whole_versions),
      in_a_folder(changes_of_a_batch_have_a_limit),
      in_a_folder(a_folder_that_cannot_be_made_is_an_error),
      in_a_folder(a_full_disk_is_waited_for),
      in_a_folder(a_small_map_grows),
      in_a_folder(a_flipped_byte_is_found_out),
      in_a_folder(pins_hold_back_until_the_limit),
      in_a_folder(a_seal_waits_for_who_lets_go),
      in_a_folder(a_scan_does_not_hold_a_seal_for_ever),
      in_a_folder(a_version_is_taken_back),
      in_a_folder(what_is_due_comes_in_one_order),
      in_a_folder(what_was_due_leaves_the_index),
      in_a_folder(any_sequence_of_calls_agrees_with_a_model),
      in_a_folder(a_scan_goes_on_while_the_image_moves),
      in_a_folder(threads_see_whole_versions),
      in_a_folder(many_keys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
