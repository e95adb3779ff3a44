/* State with a log: versions made again from what was logged of them, and notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "base/log.h"
#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/state_impl.h"

static void replay_one(rl_state_op *op, int64_t time, const rl_buf *changes)
{
  const rl_state_changes c = {changes->p, changes->n};
  ok(rl_state_replay(op, time, &c, 1));
}

/* Comparing -------------------------------------------------------------------------------------------------------- */

static void expect_equal_scans(rl_state_op *a, rl_state_op *b)
{
  rl_state_scan *x = NULL, *y = NULL;
  rl_value xk, xv, yk, yv;
  int64_t xt, yt;
  bool xf = true, yf = true;
  ok(rl_state_scan_open(a, RL_NO_TIME, 0, RL_KEY_GROUPS, NULL, 0, &x));
  ok(rl_state_scan_open(b, RL_NO_TIME, 0, RL_KEY_GROUPS, NULL, 0, &y));
  while (ok(rl_state_scan_next(x, &xk, &xv, &xt, &xf)), xf) {
    ok(rl_state_scan_next(y, &yk, &yv, &yt, &yf));
    assert_true(yf && rl_key_equal(xk, yk) && rl_value_equal(xv, yv) && xt == yt);
  }
  ok(rl_state_scan_next(y, &yk, &yv, &yt, &yf));
  assert_false(yf);
  rl_state_scan_close(x);
  rl_state_scan_close(y);
}

static void expect_equal_due(rl_state_op *a, rl_state_op *b, uint32_t p, uint32_t n, int64_t before)
{
  rl_state_update *ua = update_of(a, p, n), *ub = update_of(b, p, n);
  rl_state_due *x = NULL, *y = NULL;
  rl_value xk, yk;
  bool xf = true, yf = true;
  ok(rl_state_due_open(ua, before, &x));
  ok(rl_state_due_open(ub, before, &y));
  while (ok(rl_state_due_next(x, &xk, &xf)), xf) {
    ok(rl_state_due_next(y, &yk, &yf));
    assert_true(yf && rl_key_equal(xk, yk));
  }
  ok(rl_state_due_next(y, &yk, &yf));
  assert_false(yf);
  rl_state_due_close(x);
  rl_state_due_close(y);
  rl_state_update_delete(ua);
  rl_state_update_delete(ub);
}

static void expect_equal_ops(rl_state_op *a, rl_state_op *b, uint32_t parts, int64_t before)
{
  assert_int_equal(rl_state_sealed(a), rl_state_sealed(b));
  assert_int_equal(rl_state_count(a), rl_state_count(b));
  expect_equal_scans(a, b);
  for (uint32_t p = 0; p < parts && a->timed; p++) expect_equal_due(a, b, p, parts, before);
}

/* Any updates ------------------------------------------------------------------------------------------------------ */

#define KEYS 200
#define OPS 3
#define ROUNDS 60
#define PARTS_MAX 5

static const struct {
  const char *uid;
  bool timed;
  uint32_t parts;
} ops[OPS] = {{"timed", true, 3}, {"plain", false, 1}, {"also timed", true, PARTS_MAX}};

typedef struct record { /* of the log */
  int64_t time;
  int op;
  rl_buf parts[PARTS_MAX];
} record;

typedef struct twins {
  uint64_t seed;
  char *dirs[2];
  rl_state *made, *replayed;
  record log[ROUNDS * OPS];
  size_t nlog;
  rl_value keys[KEYS];
  rl_buf key_bytes[KEYS];
} twins;

static uint64_t dice(twins *t, uint64_t sides)
{
  return records_random(&t->seed) % sides;
}

static rl_state_op *op_at(rl_state *s, int i)
{
  return op_of(s, ops[i].uid, ops[i].timed);
}

/* A key gets a slot, and often a new value. */
static void change(twins *t, rl_state_update *u, rl_value key, int64_t time)
{
  rl_value old;
  int64_t stamp;
  rl_buf room = {0};
  ok(rl_state_slot(u, key, &old, &stamp));
  uint32_t slot = rl_state_slots(u) - 1;
  for (uint64_t times = dice(t, 4); times > 0; times--) {
    rl_value v = rl_nil();
    while (v.type == RL_T_NIL && dice(t, 3) > 0) {
      rl_buf_clear(&room);
      values_put_random(&room, &t->seed, 3);
      v = values_of(&room);
    }
    ok(rl_state_set(u, slot, v, time - (int64_t)dice(t, 9)));
  }
  rl_buf_free(&room);
}

static void walk_due(twins *t, rl_state_update *u, int64_t time)
{
  rl_state_due *d = NULL;
  rl_value key;
  bool found = true, all = dice(t, 2) > 0;
  ok(rl_state_due_open(u, time - (int64_t)dice(t, 12), &d));
  while (ok(rl_state_due_next(d, &key, &found)), found) {
    if (all) put(u, key, dice(t, 2) ? rl_nil() : rl_int(time), time);
    else if (dice(t, 2)) change(t, u, key, time);
  }
  rl_state_due_close(d);
}

static void make_update(twins *t, const record *r, rl_state_update *u, uint32_t part)
{
  bool slotted[KEYS] = {false};
  for (uint64_t n = dice(t, 3) ? dice(t, 30) : 0; n > 0; n--) {
    size_t i = dice(t, KEYS);
    uint32_t at = rl_group_partition(rl_key_group(rl_key_hash(t->keys[i])), ops[r->op].parts);
    if (at != part || slotted[i]) continue;
    slotted[i] = true;
    change(t, u, t->keys[i], r->time);
  }
  if (ops[r->op].timed && dice(t, 2)) walk_due(t, u, r->time);
}

static void replay(twins *t, const record *r)
{
  rl_state_changes changes[PARTS_MAX];
  for (uint32_t p = 0; p < ops[r->op].parts; p++) {
    changes[p] = (rl_state_changes){r->parts[p].p, r->parts[p].n};
  }
  ok(rl_state_replay(op_at(t->replayed, r->op), r->time, changes, ops[r->op].parts));
}

static void make_version(twins *t, int64_t time, int op)
{
  record *r = &t->log[t->nlog++];
  rl_state_update *u[PARTS_MAX];
  *r = (record){.time = time, .op = op};
  for (uint32_t p = 0; p < ops[op].parts; p++) {
    rl_buf again = {0};
    u[p] = update_of(op_at(t->made, op), p, ops[op].parts);
    make_update(t, r, u[p], p);
    rl_state_update_encode(u[p], &r->parts[p]);
    rl_state_update_rest(u[p]);
    rl_buf_puts(&again, "before");
    rl_state_update_encode(u[p], &again);
    assert_int_equal(again.n, r->parts[p].n + 6);
    assert_memory_equal(again.p + 6, r->parts[p].p, r->parts[p].n);
    rl_buf_free(&again);
  }
  ok(rl_state_seal(op_at(t->made, op), time, u, ops[op].parts));
  replay(t, r);
}

/* The process ends; what the image lacks is replayed. */
static void reopen(twins *t)
{
  int64_t needed = rl_state_unapplied_time(t->replayed);
  if (dice(t, 2)) ok(rl_state_flush(t->replayed));
  rl_state_close(t->replayed);
  ok(rl_state_verify(t->dirs[1], NULL, NULL, NULL));
  t->replayed = open_at(t->dirs[1], false, 64 * MIB);
  for (size_t i = 0; i < t->nlog; i++) {
    const record *r = &t->log[i];
    rl_state_op *op = op_at(t->replayed, r->op);
    if (r->time <= rl_state_sealed(op)) continue;
    assert_true(r->time >= needed);
    replay(t, r);
  }
}

static void end_some(twins *t, rl_state *s, int64_t time)
{
  rl_state_end(s, time - (int64_t)dice(t, 6));
  if (dice(t, 3) == 0) ok(rl_state_flush(s));
}

static void run_twins(const char *dir, uint64_t seed)
{
  twins *t = RL_NEW(twins);
  t->seed = seed;
  for (int i = 0; i < KEYS; i++) t->keys[i] = states_key(&t->key_bytes[i], i);
  for (int i = 0; i < 2; i++) t->dirs[i] = rl_format("%s/%d", dir, i);
  t->made = open_at(t->dirs[0], false, 64 * MIB);
  t->replayed = open_at(t->dirs[1], false, 64 * MIB);
  for (int64_t time = 1; time <= ROUNDS; time++) {
    for (int i = 0; i < OPS; i++) {
      if (dice(t, 4)) make_version(t, time, i);
    }
    end_some(t, t->made, time);
    end_some(t, t->replayed, time);
    if (dice(t, 3) == 0) reopen(t);
    for (int i = 0; i < OPS; i++) {
      int64_t before = time - (int64_t)dice(t, 15);
      expect_equal_ops(op_at(t->made, i), op_at(t->replayed, i), ops[i].parts, before);
    }
  }
  rl_state_end(t->replayed, ROUNDS);
  ok(rl_state_flush(t->replayed));
  assert_true(rl_state_unapplied_time(t->replayed) == INT64_MAX);
  rl_state_close(t->made);
  rl_state_close(t->replayed);
  ok(rl_state_verify(t->dirs[0], NULL, NULL, NULL));
  for (size_t i = 0; i < t->nlog; i++) {
    for (int p = 0; p < PARTS_MAX; p++) rl_buf_free(&t->log[i].parts[p]);
  }
  for (int i = 0; i < KEYS; i++) rl_buf_free(&t->key_bytes[i]);
  for (int i = 0; i < 2; i++) rl_free(t->dirs[i]);
  rl_free(t);
}

static void what_is_replayed_is_what_was_sealed(void **state)
{
  uint64_t seed = records_seed("state_log");
  for (uint64_t i = 0; i < 3; i++) {
    char *dir = rl_format("%s/%d", (char *)*state, (int)i);
    run_twins(dir, seed + i);
    rl_free(dir);
  }
}

static void what_is_not_in_the_image_is_known(void **state)
{
  rl_state *s = open_at(*state, false, MIB);
  rl_state_op *a = op_of(s, "a", false), *b = op_of(s, "b", false);
  assert_true(rl_state_unapplied_time(s) == INT64_MAX);
  put_one(b, 20, rl_int(1), rl_int(1)); /* sealed first, and later in time */
  put_one(a, 10, rl_int(1), rl_int(1));
  assert_int_equal(rl_state_unapplied_time(s), 10);
  rl_state_end(s, 20);
  ok(rl_state_flush(s));
  assert_true(rl_state_unapplied_time(s) == INT64_MAX);
  put_one(a, 30, rl_int(1), rl_nil());
  assert_int_equal(rl_state_unapplied_time(s), 30);
  rl_state_close(s);
}

/* Bad bytes -------------------------------------------------------------------------------------------------------- */

/* Keys of one partition, some changed, some removed, and times visited. */
static rl_buf encoded(rl_state *s)
{
  rl_state_op *op = op_of(s, "source", true);
  rl_state_update *u = update_of(op, 0, 1);
  rl_buf room = {0}, out = {0};
  for (int i = 0; i < 24; i++) put(u, states_key(&room, i), rl_int(i), i);
  seal(op, 100, u);
  u = update_of(op, 0, 1);
  rl_state_due *d = NULL;
  rl_value key;
  bool found = true;
  ok(rl_state_due_open(u, 10, &d));
  while (ok(rl_state_due_next(d, &key, &found)), found) put(u, key, rl_nil(), 0);
  rl_state_due_close(d);
  for (int i = 10; i < 20; i++) put(u, states_key(&room, i), records_str("changed"), 200);
  rl_state_update_encode(u, &out);
  rl_state_update_delete(u);
  rl_buf_free(&room);
  return out;
}

static void fix_checksum(rl_buf *b)
{
  if (b->n < 8) return;
  uint64_t check = rl_hash_bytes(b->p + 8, b->n - 8, RL_HASH_SEED);
  for (int i = 0; i < 8; i++, check >>= 8) b->p[i] = (char)(check & 0xff);
}

/* Nothing is changed by bytes that are refused; what is taken can be read and written. */
static rl_status try_bytes(rl_state *s, const rl_buf *bytes)
{
  static int number; /* of the operator: a new one after each that has a version */
  char *uid = rl_format("target %d", number), *copy = rl_alloc(bytes->n + 1);
  rl_state_op *op = op_of(s, uid, true);
  if (bytes->n > 0) memcpy(copy, bytes->p, bytes->n);
  copy = rl_realloc(copy, bytes->n ? bytes->n : 1); /* so that a sanitizer sees the end */
  op->count = 24; /* as before the changes */
  const rl_state_changes c = {copy, bytes->n};
  rl_status st = rl_state_replay(op, 200, &c, 1);
  rl_free(copy);
  if (st == RL_OK) {
    rl_state_scan *scan = NULL;
    rl_value key, value;
    int64_t stamp;
    bool found = true;
    ok(rl_state_scan_open(op, 200, 0, RL_KEY_GROUPS, NULL, 0, &scan));
    while (ok(rl_state_scan_next(scan, &key, &value, &stamp, &found)), found) continue;
    rl_state_scan_close(scan);
    number++;
  } else {
    assert_int_equal(st, RL_EDATA);
    assert_non_null(strstr(rl_error_message(), uid));
    assert_true(rl_state_sealed(op) == RL_NO_TIME);
    assert_int_equal(rl_state_count(op), 24);
  }
  rl_free(uid);
  return st;
}

static void malformed_bytes_are_refused(void **state)
{
  rl_state *s = open_at(*state, true, 256 * MIB);
  rl_buf whole = encoded(s), bad = {0};
  assert_int_equal(try_bytes(s, &whole), RL_OK);
  for (size_t n = 0; n < whole.n; n++) {
    rl_buf_clear(&bad);
    rl_buf_add(&bad, whole.p, n);
    assert_int_equal(try_bytes(s, &bad), RL_EDATA);
    fix_checksum(&bad);
    assert_int_equal(try_bytes(s, &bad), RL_EDATA);
  }
  static const unsigned char masks[] = {0x01, 0x80, 0xff};
  for (size_t i = 0; i < whole.n * 3; i++) {
    rl_buf_clear(&bad);
    rl_buf_add(&bad, whole.p, whole.n);
    bad.p[i / 3] = (char)(bad.p[i / 3] ^ masks[i % 3]);
    assert_int_equal(try_bytes(s, &bad), RL_EDATA);
    fix_checksum(&bad);
    (void)try_bytes(s, &bad);
  }
  rl_buf_add(&whole, "", 1);
  fix_checksum(&whole);
  assert_int_equal(try_bytes(s, &whole), RL_EDATA);
  rl_state_end(s, 200);
  ok(rl_state_flush(s));
  rl_buf_free(&whole);
  rl_buf_free(&bad);
  rl_state_close(s);
}

static void add_octets(rl_buf *b, const char *p, size_t n)
{
  rl_put_varint(b, n);
  rl_buf_add(b, p, n);
}

/* One change, of a string key. */
static rl_buf change_of(uint64_t count, const char *form, size_t form_n, const char *old, const char *new)
{
  rl_buf b = {0};
  rl_buf_add(&b, "\0\0\0\0\0\0\0\0\1\0", 10);
  rl_put_varint(&b, count);
  for (uint64_t i = 0; i < count; i++) {
    add_octets(&b, form, form_n);
    add_octets(&b, old, strlen(old));
    add_octets(&b, new, strlen(new));
  }
  fix_checksum(&b);
  return b;
}

static void expect_refused(rl_state_op *op, rl_buf b, uint32_t n, uint32_t part, const char *why)
{
  rl_state_changes c[2];
  rl_buf none = change_of(0, "", 0, "", "");
  for (uint32_t i = 0; i < n; i++) c[i] = (rl_state_changes){i == part ? b.p : none.p, i == part ? b.n : none.n};
  assert_int_equal(rl_state_replay(op, 1, c, n), RL_EDATA);
  if (!strstr(rl_error_message(), why)) fail_msg("%s (not %s)", rl_error_message(), why);
  assert_true(rl_state_sealed(op) == RL_NO_TIME);
  rl_buf_free(&none);
  rl_buf_free(&b);
}

#define STORED "\2\3" /* stamp 1, true */

static void changes_that_no_update_makes_are_refused(void **state)
{
  rl_state *s = open_at(*state, true, MIB);
  rl_state_op *op = op_of(s, "x", false);
  const char *form = "\6a";
  uint32_t part = rl_group_partition(rl_key_group(rl_key_hash(records_str("a"))), 2);
  expect_refused(op, change_of(2, form, 2, "", STORED), 1, 0, "a key comes twice");
  expect_refused(op, change_of(1, form, 2, "", STORED), 2, 1 - part, "a key of another partition");
  expect_refused(op, change_of(1, form, 2, "", ""), 1, 0, "from nothing to nothing");
  expect_refused(op, change_of(1, form, 2, STORED, ""), 1, 0, "more keys are removed than there are");
  expect_refused(op, change_of(1, form, 2, "", "\2\3\3"), 1, 0, "bytes behind a value");
  expect_refused(op, change_of(1, form, 2, "\2", STORED), 1, 0, "partition 0 of 1");
  expect_refused(op, change_of(1, "", 0, "", STORED), 1, 0, "partition 0 of 1");
  expect_refused(op, change_of(1, "\0", 1, "", STORED), 1, 0, "key is nil");
  expect_refused(op, change_of(1, "\5\0\0\0\0\0\0\xf0\x3f", 9, "", STORED), 1, 0, "a key in another form");
  rl_buf nil = change_of(1, form, 2, "", "\2\3");
  nil.p[nil.n - 1] = 0;
  fix_checksum(&nil);
  expect_refused(op, nil, 1, 0, "a value that is nil");
  rl_buf due = change_of(0, "", 0, "", "");
  due.p[9] = 1;
  rl_buf_add(&due, "", 1);
  fix_checksum(&due);
  expect_refused(op, due, 1, 0, "times of an operator without timeouts");
  rl_buf format = change_of(1, form, 2, "", STORED);
  format.p[8] = 2;
  fix_checksum(&format);
  expect_refused(op, format, 1, 0, "another format");

  rl_buf good = change_of(1, form, 2, "", STORED);
  replay_one(op, 5, &good);
  expect_state(op, records_str("a"), rl_bool(true));
  const rl_state_changes c = {good.p, good.n};
  assert_int_equal(rl_state_replay(op, 5, &c, 1), RL_ESTATE);
  assert_int_equal(rl_state_replay(op, 6, &c, 0), RL_EINVAL);
  rl_buf_free(&good);
  rl_state_close(s);
}

/* Full disks ------------------------------------------------------------------------------------------------------- */

#define NO_RIGHT 77

static void no_log(void *user, rl_log_level level, const char *line)
{
  (void)user, (void)level, (void)line;
}

/* On a disk of its own, in a process that sees it alone. */
static int wait_for_room(const char *disk)
{
  if (unshare(CLONE_NEWNS) != 0 || mount("tmpfs", disk, "tmpfs", 0, "size=4m") != 0) return NO_RIGHT;
  char *dir = rl_path_join(disk, "state"), *ballast = rl_path_join(disk, "ballast");
  rl_log_set_sink(no_log, NULL);
  rl_state *s = open_at(dir, false, 64 * MIB);
  rl_state_op *op = op_of(s, "x", false);
  int fd = open(ballast, O_CREAT | O_WRONLY, 0600);
  assert_true(fd >= 0 && posix_fallocate(fd, 0, 3 * MIB + MIB / 2) == 0 && close(fd) == 0);
  rl_state_update *u = update_of(op, 0, 1);
  char *text = rl_alloc(1000);
  for (int i = 0; i < 2000; i++) put(u, rl_int(i), rl_str(text, 1000), 1);
  seal(op, 1, u);
  rl_state_end(s, 1);
  assert_int_equal(rl_state_flush(s), RL_EIO);
  expect_state(op, rl_int(1999), rl_str(text, 1000));
  assert_int_equal(rl_state_unapplied_time(s), 1);
  assert_int_equal(unlink(ballast), 0);
  ok(rl_state_flush(s));
  expect_state(op, rl_int(1999), rl_str(text, 1000));
  rl_state_close(s);
  ok(rl_state_verify(dir, NULL, NULL, NULL));
  rl_free(text);
  rl_free(ballast);
  rl_free(dir);
  return 0;
}

static void a_full_disk_is_waited_for_in_a_kept_store(void **state)
{
  int status;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) _exit(wait_for_room(*state));
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == NO_RIGHT) skip();
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Notes ------------------------------------------------------------------------------------------------------------ */

static void expect_note(rl_state *s, const char *dbi, const char *name, const char *p, size_t n)
{
  rl_buf out = {0};
  bool found = false;
  rl_buf_puts(&out, "x");
  ok(rl_state_get_note(s, dbi, name, &out, &found));
  assert_int_equal(found, p != NULL);
  assert_int_equal(out.n, 1 + (p ? n : 0));
  if (p && n > 0) assert_memory_equal(out.p + 1, p, n);
  rl_buf_free(&out);
}

static rl_status list_note(void *user, const char *name, const char *p, size_t n)
{
  rl_buf_printf(user, "%s=%.*s ", name, (int)n, p);
  return strcmp(name, "stop") == 0 ? rl_fail(RL_EUSER, "stopped") : RL_OK;
}

static void notes_are_kept_beside_the_state(void **state)
{
  char *dir = rl_path_join(*state, "state"), *large = rl_alloc(3 * MIB), *name = rl_alloc(402);
  rl_state *s = open_at(dir, false, MIB);
  rl_buf list = {0};
  memset(large, 0xa5, 3 * MIB);
  memset(name, 'n', 401);
  ok(rl_state_each_note(s, "script", list_note, &list));
  expect_note(s, "script", "none", NULL, 0);
  ok(rl_state_put_note(s, "script", "none", NULL, 0));
  ok(rl_state_put_note(s, "script", "b", "second", 6));
  ok(rl_state_put_note(s, "script", "a", "a\0b", 3));
  ok(rl_state_put_note(s, "script", "c", "", 0));
  ok(rl_state_put_note(s, "closure", "a", large, 3 * MIB));
  ok(rl_state_put_note(s, "history", "gone", "x", 1));
  ok(rl_state_put_note(s, "history", "gone", NULL, 0));
  ok(rl_state_put_note(s, "script", "a", "first", 5));
  assert_int_equal(rl_state_put_note(s, "state", "a", "", 0), RL_EINVAL);
  assert_int_equal(rl_state_put_note(s, "batch", "", "", 0), RL_EINVAL);
  assert_int_equal(rl_state_put_note(s, "batch", name, "", 0), RL_EINVAL);
  for (int i = 0; i < 2; i++) {
    expect_note(s, "script", "a", "first", 5);
    expect_note(s, "script", "c", "", 0);
    expect_note(s, "closure", "a", large, 3 * MIB);
    expect_note(s, "history", "gone", NULL, 0);
    rl_buf_clear(&list);
    ok(rl_state_each_note(s, "script", list_note, &list));
    assert_string_equal(rl_buf_cstr(&list), "a=first b=second c= ");
    rl_state_close(s);
    s = open_at(dir, false, MIB);
  }
  ok(rl_state_put_note(s, "script", "stop", "", 0));
  ok(rl_state_put_note(s, "script", "tail", "", 0));
  assert_int_equal(rl_state_each_note(s, "script", list_note, &list), RL_EUSER);
  assert_null(strstr(rl_buf_cstr(&list), "tail"));
  rl_state_close(s);
  rl_buf_free(&list);
  rl_free(name);
  rl_free(large);
  rl_free(dir);
}

static void a_note_that_was_changed_is_found_out(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  rl_state *s = open_at(dir, false, MIB);
  ok(rl_state_put_note(s, "graph", "name", "a note to be found", 18));
  rl_state_close(s);
  rl_buf bytes = {0};
  ok(rl_file_read_all(path, &bytes));
  for (char *at = bytes.p; (at = memmem(at, bytes.n - (size_t)(at - bytes.p), "a note to", 9)) != NULL;) at[2] = 'N';
  scratch_write_bytes(path, bytes.p, bytes.n);
  rl_buf_clear(&bytes);
  s = open_at(dir, false, MIB);
  bool found;
  assert_int_equal(rl_state_get_note(s, "graph", "name", &bytes, &found), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "'name' (graph)"));
  assert_int_equal(rl_state_each_note(s, "graph", list_note, &bytes), RL_EDATA);
  rl_state_close(s);
  rl_buf_free(&bytes);
  rl_free(path);
  rl_free(dir);
}

static void *move_versions(void *arg)
{
  rl_state *s = arg;
  rl_state_op *op = op_of(s, "x", false);
  for (int64_t t = 1; t <= 60; t++) {
    put_one(op, t, rl_int(t), rl_int(t));
    rl_state_end(s, t);
  }
  return NULL;
}

/* Also where the map is too small at first. */
/* Every start makes these anew. What is damaged may be the content, or the checksum; the sum of all is right after. */
static void a_damaged_script_is_replaced(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  for (size_t part = 0; part < 2; part++) {
    rl_state *s = open_at(dir, false, MIB);
    rl_buf bytes = {0};
    bool found;
    ok(rl_state_put_note(s, "script", "other", "one that stays", 14));
    ok(rl_state_put_note(s, "script", "job", "a script to be damaged", 22));
    rl_state_close(s);
    ok(rl_file_read_all(path, &bytes));
    for (char *at = bytes.p; (at = memmem(at, bytes.n - (size_t)(at - bytes.p), "a script to", 11)) != NULL; at++) {
      at[part ? -3 : 4] ^= 4;
    }
    scratch_write_bytes(path, bytes.p, bytes.n);
    rl_buf_clear(&bytes);
    rl_log_set_sink(no_log, NULL);
    s = open_at(dir, false, MIB);
    assert_int_equal(rl_state_get_note(s, "script", "job", &bytes, &found), RL_EDATA);
    ok(rl_state_put_note(s, "script", "job", "that of today", 13));
    expect_note(s, "script", "job", "that of today", 13);
    rl_state_close(s);
    rl_log_set_sink(NULL, NULL);
    ok(rl_state_verify(dir, NULL, NULL, NULL));
    rl_buf_free(&bytes);
  }
  rl_free(path);
  rl_free(dir);
}

static void notes_are_put_while_versions_move(void **state)
{
  size_t usual = rl_image_first_map;
  rl_image_first_map = 256 * 1024;
  rl_state *s = open_at(*state, false, MIB);
  pthread_t thread;
  char *text = rl_alloc(64 * 1024);
  assert_int_equal(pthread_create(&thread, NULL, move_versions, s), 0);
  for (int i = 0; i < 40; i++) {
    char name[32];
    snprintf(name, sizeof name, "note %d", i);
    ok(rl_state_put_note(s, "batch", name, text, 64 * 1024));
    expect_note(s, "batch", name, text, 64 * 1024);
  }
  assert_int_equal(pthread_join(thread, NULL), 0);
  while (rl_state_flush(s) != RL_OK) continue; /* the map was full */
  assert_int_equal(rl_state_count(rl_state_find(s, "x")), 60);
  assert_true(s->image.map > 40 * 64 * 1024);
  rl_state_close(s);
  rl_image_first_map = usual;
  rl_free(text);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(what_is_replayed_is_what_was_sealed),
      in_a_folder(what_is_not_in_the_image_is_known),
      in_a_folder(malformed_bytes_are_refused),
      in_a_folder(changes_that_no_update_makes_are_refused),
      in_a_folder(a_full_disk_is_waited_for_in_a_kept_store),
      in_a_folder(notes_are_kept_beside_the_state),
      in_a_folder(a_note_that_was_changed_is_found_out),
      in_a_folder(a_damaged_script_is_replaced),
      in_a_folder(notes_are_put_while_versions_move),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
