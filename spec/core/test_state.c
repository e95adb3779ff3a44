/* The state store: versions, folders, what is taken back, timeouts. test_state_*.c have more of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>

#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/state.h"
#include "store/state_impl.h"

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

/* Of what there was only that stays which is set again, also to what it was. */
static void an_update_anew_leaves_what_it_sets(void **state)
{
  rl_state *s = open_at(*state, true, MIB);
  rl_state_op *op = op_of(s, "x", false);
  rl_state_scan *scan = NULL;
  states_set_all(op, 1, 100);
  rl_state_update *u = update_of(op, 0, 1);
  rl_state_update_anew(u);
  ok(rl_state_update_scan(u, &scan));
  assert_null(scan);
  assert_int_equal(put(u, rl_int(1), rl_int(7), 2).type, RL_T_NIL);
  assert_int_equal(put(u, rl_int(2), rl_int(1), 1).type, RL_T_NIL); /* as it was */
  assert_int_equal(put(u, rl_int(3), rl_nil(), 2).type, RL_T_NIL);
  put(u, records_str("new"), rl_int(8), 2);
  ok(rl_state_update_sweep(u));
  seal(op, 2, u);
  rl_state_end(s, 2);
  ok(rl_state_flush(s));
  assert_int_equal(rl_state_count(op), 3);
  for (int i = 0; i < 100; i++) expect_state(op, rl_int(i), i == 1 ? rl_int(7) : i == 2 ? rl_int(1) : rl_nil());
  expect_state(op, records_str("new"), rl_int(8));
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
    states_set_all(op, t, 500);
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
  states_expect_all(op, rl_state_sealed(op), 500);
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
  for (int64_t time = 1; time <= 4; time++) seal(op, time, states_large_update(op, 50 * (5 - time), 50, time));
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
  states_set_all(op, 1, n);
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

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(a_version_is_read_after_its_seal),
      in_a_folder(a_deleted_update_leaves_nothing),
      in_a_folder(a_seal_needs_one_update_of_each_partition),
      in_a_folder(an_equal_value_writes_nothing),
      in_a_folder(a_resting_update_is_read_no_more),
      in_a_folder(an_update_anew_leaves_what_it_sets),
      in_a_folder(a_kept_folder_is_found_again),
      in_a_folder(a_scratch_folder_goes_with_its_store),
      in_a_folder(a_killed_process_leaves_whole_versions),
      in_a_folder(changes_of_a_batch_have_a_limit),
      in_a_folder(a_folder_that_cannot_be_made_is_an_error),
      in_a_folder(a_flipped_byte_is_found_out),
      in_a_folder(a_version_is_taken_back),
      in_a_folder(what_is_due_comes_in_one_order),
      in_a_folder(what_was_due_leaves_the_index),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
