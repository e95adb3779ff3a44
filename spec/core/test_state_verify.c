/* Verifying and copying images. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/apart.h"
#include "base/hash.h"
#include "base/log.h"
#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/look.h"
#include "store/state_impl.h"

/* Images ----------------------------------------------------------------------------------------------------------- */

/* Keys of all kinds and values of all sizes over three operators, removed ones, due ones, notes. */
static void make_image(const char *dir, int keys, size_t large)
{
  static const char *const uids[] = {"orders", "visits", "empty"};
  rl_state *s = open_at(dir, false, 64 * MIB);
  rl_buf room = {0};
  char *text = rl_alloc(large + 1);
  memset(text, 't', large);
  for (int64_t time = 1; time <= 6; time++) {
    for (int i = 0; i < 2; i++) {
      rl_state_op *op = op_of(s, uids[i], i == 0);
      rl_state_update *u = update_of(op, 0, 1);
      for (int k = 0; k < keys; k++) {
        if ((k + time) % 3 == 0) continue;
        rl_value v = (k + time) % 4 == 0 ? rl_nil() : k % 10 == 0 ? rl_str(text, large) : rl_int(k * time);
        put(u, states_key(&room, k), v, time);
      }
      if (i == 0 && time == 4) {
        rl_state_due *d = NULL;
        rl_value key;
        bool found = true;
        ok(rl_state_due_open(u, 2, &d));
        while (ok(rl_state_due_next(d, &key, &found)), found) put(u, key, rl_nil(), 0);
        rl_state_due_close(d);
      }
      seal(op, time, u);
    }
    rl_state_end(s, time);
    ok(rl_state_flush(s));
  }
  seal(op_of(s, uids[2], true), 7, update_of(op_of(s, uids[2], true), 0, 1));
  rl_state_end(s, 7);
  ok(rl_state_flush(s));
  ok(rl_state_put_note(s, "script", "main", "print('a script')", 17));
  ok(rl_state_put_note(s, "script", "other", text, large));
  ok(rl_state_put_note(s, "graph", "now", "edges", 5));
  rl_state_close(s);
  rl_buf_free(&room);
  rl_free(text);
}

static void note_damage(void *user, const rl_state_damage *d)
{
  rl_buf_printf(user, "%s|%s|%s\n", d->uid ? d->uid : "", d->key ? d->key : "", d->what);
}

static rl_state_verified expect_whole(const char *dir)
{
  rl_state_verified seen;
  rl_buf damage = {0};
  rl_status st = rl_state_verify(dir, note_damage, &damage, &seen);
  if (st != RL_OK) fail_msg("%s\n%s", rl_error_message(), rl_buf_cstr(&damage));
  assert_int_equal(damage.n, 0);
  return seen;
}

/* All that LMDB reads of a data file, in order, and key by key: as one number. */
static int dump_table(MDB_txn *txn, MDB_dbi dbi, uint64_t *sum, int deep)
{
  MDB_cursor *c = NULL;
  MDB_val key, value, again;
  int rc = mdb_cursor_open(txn, dbi, &c);
  while (rc == 0 && (rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == 0) {
    *sum = rl_hash_bytes(key.mv_data, key.mv_size, *sum);
    if (deep) {
      char name[32] = "";
      MDB_dbi table;
      if (key.mv_size >= sizeof name) return -1;
      memcpy(name, key.mv_data, key.mv_size);
      if (mdb_dbi_open(txn, name, 0, &table) != 0) return -1;
      rc = dump_table(txn, table, sum, 0);
    } else {
      *sum = rl_hash_bytes(value.mv_data, value.mv_size, *sum);
      rc = mdb_get(txn, dbi, &key, &again);
      if (rc == 0 && (again.mv_size != value.mv_size || again.mv_data != value.mv_data)) return -1;
    }
  }
  if (c) mdb_cursor_close(c);
  return rc == MDB_NOTFOUND ? 0 : rc;
}

static int dump(const char *dir, uint64_t *sum)
{
  MDB_env *env = NULL;
  MDB_txn *txn = NULL;
  *sum = 0;
  int rc = mdb_env_create(&env);
  if (rc == 0) rc = mdb_env_set_maxdbs(env, 16);
  if (rc == 0) rc = mdb_env_set_mapsize(env, RL_IMAGE_MAP_SMALLEST); /* what the store had may be too much */
  if (rc == 0) rc = mdb_env_open(env, dir, MDB_RDONLY | MDB_NOTLS, 0600);
  if (rc == 0) rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
  if (rc == 0) rc = dump_table(txn, 1, sum, 1);
  if (txn) mdb_txn_abort(txn);
  mdb_env_close(env);
  return rc;
}

/* Small cases ------------------------------------------------------------------------------------------------------ */

static void a_whole_image_is_found_whole(void **state)
{
  char *dir = rl_path_join(*state, "state");
  make_image(dir, 200, 5000);
  rl_state_verified seen = expect_whole(dir);
  assert_int_equal(seen.operators, 3);
  assert_int_equal(seen.notes, 3);
  assert_true(seen.due_lists > 0);
  rl_state *s = open_at(dir, false, MIB);
  rl_state_stats stats;
  rl_state_stats_read(s, &stats);
  assert_int_equal(seen.entries, stats.keys);
  ok(rl_state_put_note(s, "script", "main", NULL, 0));
  put_one(op_of(s, "orders", true), 100, rl_int(0), rl_int(1));
  rl_state_close(s); /* what is sealed and not moved is nothing to the image */
  assert_int_equal(expect_whole(dir).notes, 2);
  rl_free(dir);
}

static void what_is_no_state_is_told(void **state)
{
  char *dir = rl_path_join(*state, "state");
  assert_int_equal(rl_state_verify(dir, NULL, NULL, NULL), RL_ENOTFOUND);
  assert_int_equal(mkdir(dir, 0700), 0);
  rl_free(scratch_file(dir, "data.mdb", ""));
  assert_int_equal(rl_state_verify(dir, NULL, NULL, NULL), RL_EDATA);
  rl_free(scratch_file(dir, "data.mdb", "some text"));
  assert_int_equal(rl_state_verify(dir, NULL, NULL, NULL), RL_EDATA);
  rl_free(dir);
}

static void an_image_of_another_format_is_refused(void **state)
{
  char *dir = rl_path_join(*state, "state");
  rl_state *s = open_at(dir, false, MIB);
  MDB_txn *txn = NULL;
  char key[] = "format", old[5] = {0, 0, 0, 0, 1};
  uint32_t check = (uint32_t)rl_hash_bytes(old + 4, 1, rl_hash_bytes(key, 6, RL_HASH_SEED));
  memcpy(old, &check, 4);
  assert_int_equal(mdb_txn_begin(s->image.env, NULL, 0, &txn), 0);
  MDB_val k = {6, key}, v = {5, old};
  assert_int_equal(mdb_put(txn, s->image.meta, &k, &v, 0), 0);
  assert_int_equal(mdb_txn_commit(txn), 0);
  rl_state_close(s);
  assert_int_equal(rl_state_open(&(rl_state_spec){dir, false, MIB, 0, 0}, &s), RL_EUNSUPPORTED);
  assert_non_null(strstr(rl_error_message(), "has format 1, and this version of Rille reads 2"));
  assert_int_equal(rl_state_verify(dir, NULL, NULL, NULL), RL_EUNSUPPORTED);
  rl_free(dir);
}

/* Each as the file holds it. */
static void damage_is_named(void **state)
{
  static const struct {
    const char *bytes;
    const char *told;
  } cases[] = {{"a value to find", "orders|key to find|wrong checksum"},
               {"a note to find", "|script/name of it|wrong checksum"},
               {"key to find", "orders|"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *dir = rl_format("%s/%zu", (char *)*state, i), *path = rl_path_join(dir, "data.mdb");
    rl_state *s = open_at(dir, false, MIB);
    put_one(op_of(s, "orders", true), 1, records_str("key to find"), records_str("a value to find"));
    rl_state_end(s, 1);
    ok(rl_state_flush(s));
    ok(rl_state_put_note(s, "script", "name of it", "a note to find", 14));
    rl_state_close(s);
    rl_buf bytes = {0}, damage = {0};
    ok(rl_file_read_all(path, &bytes));
    size_t n = strlen(cases[i].bytes);
    for (char *at = bytes.p; (at = memmem(at, bytes.n - (size_t)(at - bytes.p), cases[i].bytes, n)) != NULL;) {
      at[2] ^= 4;
    }
    scratch_write_bytes(path, bytes.p, bytes.n);
    assert_int_equal(rl_state_verify(dir, note_damage, &damage, NULL), RL_EDATA);
    if (!strstr(rl_buf_cstr(&damage), cases[i].told)) fail_msg("%s", rl_buf_cstr(&damage));
    rl_buf_free(&damage);
    rl_buf_free(&bytes);
    rl_free(path);
    rl_free(dir);
  }
}

static void take_first_away(rl_state *s, MDB_dbi dbi)
{
  MDB_txn *txn = NULL;
  MDB_cursor *c = NULL;
  MDB_val key, value;
  assert_int_equal(mdb_txn_begin(s->image.env, NULL, 0, &txn), 0);
  assert_int_equal(mdb_cursor_open(txn, dbi, &c), 0);
  assert_int_equal(mdb_cursor_get(c, &key, &value, MDB_FIRST), 0);
  assert_int_equal(mdb_cursor_del(c, 0), 0);
  mdb_cursor_close(c);
  assert_int_equal(mdb_txn_commit(txn), 0);
}

/* Good entries, each for itself. */
static void what_is_missing_is_found_out(void **state)
{
  static const char *const told[] = {"orders||the set of its entries", "orders||the set of its lists of times",
                                     "||notes (script): the set of them", "||table 'meta': the set of its records"};
  for (int i = 0; i < 4; i++) {
    char *dir = rl_format("%s/%d", (char *)*state, i);
    rl_buf damage = {0};
    make_image(dir, 50, 100);
    rl_state *s = open_at(dir, false, MIB);
    const MDB_dbi dbis[] = {s->image.state, s->image.due, atomic_load(&s->image.notes[0]), s->image.meta};
    take_first_away(s, dbis[i]);
    rl_state_close(s);
    assert_int_equal(rl_state_verify(dir, note_damage, &damage, NULL), RL_EDATA);
    if (!strstr(rl_buf_cstr(&damage), told[i])) fail_msg("%s", rl_buf_cstr(&damage));
    rl_buf_free(&damage);
    rl_free(dir);
  }
}

/* An entry as it was before: its checksum is right. */
static void what_was_put_back_is_found_out(void **state)
{
  char *dir = rl_path_join(*state, "state");
  rl_buf damage = {0}, old = {0};
  rl_state *s = open_at(dir, false, MIB);
  rl_state_op *op = op_of(s, "orders", false);
  for (int64_t time = 1; time < 3; time++) {
    put_one(op, time, rl_int(7), rl_int(time));
    rl_state_end(s, time);
    ok(rl_state_flush(s));
    MDB_txn *txn = NULL;
    MDB_cursor *c = NULL;
    MDB_val key, value;
    assert_int_equal(mdb_txn_begin(s->image.env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_cursor_open(txn, s->image.state, &c), 0);
    assert_int_equal(mdb_cursor_get(c, &key, &value, MDB_FIRST), 0);
    if (time == 1) rl_buf_add(&old, value.mv_data, value.mv_size);
    value = (MDB_val){old.n, old.p};
    assert_int_equal(mdb_cursor_put(c, &key, &value, MDB_CURRENT), 0);
    mdb_cursor_close(c);
    assert_int_equal(mdb_txn_commit(txn), 0);
  }
  expect_state(op, rl_int(7), rl_int(1));
  rl_state_close(s);
  assert_int_equal(rl_state_verify(dir, note_damage, &damage, NULL), RL_EDATA);
  assert_non_null(strstr(rl_buf_cstr(&damage), "orders||the set of its entries is another one"));
  rl_buf_free(&damage);
  rl_buf_free(&old);
  rl_free(dir);
}

/* Flipped bytes ---------------------------------------------------------------------------------------------------- */

#if defined(__SANITIZE_THREAD__) /* each run takes long, and there is one thread */
#define SPARSE 12
#else
#define SPARSE 1
#endif

typedef struct flips { /* shared with the child */
  size_t at, found, crashed, harmless, missed, missed_at;
} flips;

static void flip(int fd, size_t at, unsigned char mask)
{
  unsigned char byte;
  if (pread(fd, &byte, 1, (off_t)at) != 1) abort();
  byte ^= mask;
  if (pwrite(fd, &byte, 1, (off_t)at) != 1) abort();
}

/* Damage is told, or LMDB reads just what was written. */
static void judge(const char *dir, flips *f, uint64_t whole)
{
  uint64_t sum = 0;
  if (rl_state_verify(dir, NULL, NULL, NULL) != RL_OK) {
    f->found++;
  } else if (dump(dir, &sum) == 0 && sum == whole) {
    f->harmless++;
  } else {
    f->missed++;
    f->missed_at = f->at;
  }
}

static void flip_all(const char *dir, size_t size, size_t step, unsigned char mask, flips *f)
{
  char *path = rl_path_join(dir, "data.mdb");
  uint64_t whole = 0;
  assert_int_equal(dump(dir, &whole), 0);
  int fd = open(path, O_RDWR);
  assert_true(fd >= 0);
  while (f->at < size) {
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      for (; f->at < size; f->at += step) {
        unsigned char m = mask ? mask : (unsigned char)(1U << f->at % 8);
        flip(fd, f->at, m);
        judge(dir, f, whole);
        flip(fd, f->at, m);
      }
      _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    flip(fd, f->at, mask ? mask : (unsigned char)(1U << f->at % 8));
    f->crashed++;
    f->at += step;
  }
  assert_int_equal(close(fd), 0);
  uint64_t after = 0;
  assert_int_equal(dump(dir, &after), 0);
  assert_true(after == whole);
  rl_free(path);
}

static void expect_flips_found(const char *dir, size_t step, unsigned char mask)
{
  char *path = rl_path_join(dir, "data.mdb");
  uint64_t size = 0;
  flips *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(f != MAP_FAILED);
  *f = (flips){0};
  step *= SPARSE;
  ok(rl_file_size(path, &size));
  flip_all(dir, (size_t)size, step, mask, f);
  print_message("%llu bytes: %zu found, %zu crashes, %zu mean nothing\n", (unsigned long long)size, f->found,
                f->crashed, f->harmless);
  if (f->missed > 0) fail_msg("%zu flips were not found, one at %zu", f->missed, f->missed_at);
  assert_int_equal(f->crashed, 0); /* the verifier believes nothing */
  assert_true(f->found > size / step / 10);
  assert_int_equal(munmap(f, sizeof *f), 0);
  rl_free(path);
}

static void any_flipped_byte_of_a_small_image_is_found(void **state)
{
  char *dir = rl_path_join(*state, "state");
  make_image(dir, 12, 2100);
  (void)expect_whole(dir);
  expect_flips_found(dir, 11, 0); /* pages that are not used, too */
  char *copy = rl_path_join(*state, "copy");
  ok(rl_state_backup_dir(dir, copy));
  (void)expect_whole(copy);
  expect_flips_found(copy, 1, 0);
  expect_flips_found(copy, 7, 0xff);
  rl_free(copy);
  rl_free(dir);
}

static void flipped_bytes_of_a_larger_image_are_found(void **state)
{
  char *dir = rl_path_join(*state, "state");
  make_image(dir, 900, 9000);
  (void)expect_whole(dir);
  expect_flips_found(dir, 3499, 0);
  rl_free(dir);
}

#define PAGE 4096

/* Gives the page other content, judges, and puts it back. */
static void replace_page(const char *dir, int fd, size_t number, const char *now, const char *other, flips *f,
                         uint64_t whole)
{
  if (memcmp(now, other, PAGE) == 0) return;
  f->at = number;
  if (pwrite(fd, other, PAGE, (off_t)(number * PAGE)) != PAGE) abort();
  judge(dir, f, whole);
  if (pwrite(fd, now, PAGE, (off_t)(number * PAGE)) != PAGE) abort();
}

/* As disks do it that lose a write, write it to another place, or give zeros. */
static void pages_that_are_others_are_found(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  static const char zeros[PAGE];
  rl_buf before = {0}, after = {0};
  uint64_t whole = 0;
  make_image(dir, 300, 2500);
  ok(rl_file_read_all(path, &before));
  rl_state *s = open_at(dir, false, MIB);
  for (int64_t time = 10; time < 14; time++) {
    seal(op_of(s, "orders", true), time, update_of(op_of(s, "orders", true), 0, 1));
    put_one(op_of(s, "visits", false), time, rl_int(time), records_str("one more"));
    rl_state_end(s, time);
    ok(rl_state_flush(s));
  }
  rl_state_close(s);
  ok(rl_file_read_all(path, &after));
  assert_int_equal(dump(dir, &whole), 0);
  flips f = {0};
  int fd = open(path, O_RDWR);
  assert_true(fd >= 0);
  for (size_t i = 0; i < after.n / PAGE; i++) {
    const char *now = after.p + i * PAGE, *next = after.p + (i + 1) % (after.n / PAGE) * PAGE;
    if ((i + 1) * PAGE <= before.n) replace_page(dir, fd, i, now, before.p + i * PAGE, &f, whole);
    replace_page(dir, fd, i, now, zeros, &f, whole);
    replace_page(dir, fd, i, now, next, &f, whole);
  }
  assert_int_equal(close(fd), 0);
  print_message("%zu pages: %zu found, %zu mean nothing\n", after.n / PAGE, f.found, f.harmless);
  if (f.missed > 0) fail_msg("%zu were not found, one at page %zu", f.missed, f.missed_at);
  assert_true(f.found > f.harmless / 4);
  rl_buf_free(&before);
  rl_buf_free(&after);
  rl_free(path);
  rl_free(dir);
}

/* Cut off ---------------------------------------------------------------------------------------------------------- */

/* Whether all that there is can be had, in a child: LMDB dies over a page that is not there. */
static rl_status read_all(void *user, rl_apart *a)
{
  (void)a;
  rl_look *l = NULL;
  uint64_t bytes;
  rl_status st = rl_look_open(user, &l);
  if (st == RL_OK) st = rl_look_bytes(l, "orders", &bytes);
  if (st == RL_OK) st = rl_look_bytes(l, "visits", &bytes);
  rl_look_close(l);
  return st;
}

/* What the opening lets pass can be read, and what is as it was made it lets pass. */
static void an_image_that_is_cut_off_is_refused(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  rl_buf whole = {0};
  size_t refused = 0, unused = 0;
  make_image(dir, 60, 2500);
  ok(rl_image_sound(dir));
  ok(rl_file_read_all(path, &whole));
  for (size_t n = whole.n / PAGE; n-- > 0;) {
    bool crashed = false;
    assert_int_equal(truncate(path, (off_t)(n * PAGE)), 0);
    rl_status st = rl_image_sound(dir);
    if (st == RL_OK) {
      ok(rl_apart_run(&(rl_apart_spec){.work = read_all, .user = dir}, &crashed));
      unused++;
      continue;
    }
    assert_int_equal(st, RL_EDATA);
    assert_non_null(strstr(rl_error_message(), path));
    assert_non_null(strstr(rl_error_message(), "--repair"));
    rl_state *s = NULL;
    assert_int_equal(rl_state_open(&(rl_state_spec){.dir = dir, .overlay_bytes = MIB}, &s), RL_EDATA);
    refused++;
  }
  assert_non_null(strstr(rl_error_message(), "it is empty"));
  print_message("%zu sizes: %zu refused, %zu without pages in use\n", refused + unused, refused, unused);
  assert_true(refused > unused);
  rl_buf_free(&whole);
  rl_free(path);
  rl_free(dir);
}

static void an_image_with_bad_metas_is_refused(void **state)
{
  char *dir = rl_path_join(*state, "state"), *path = rl_path_join(dir, "data.mdb");
  make_image(dir, 10, 100);
  for (off_t page = 0; page < 2; page++) {
    char kept[PAGE], noise[PAGE];
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    memset(noise, 0x5a, sizeof noise);
    assert_int_equal(pread(fd, kept, PAGE, page * PAGE), PAGE);
    assert_int_equal(pwrite(fd, noise, PAGE, page * PAGE), PAGE);
    assert_int_equal(rl_image_sound(dir), RL_EDATA);
    assert_non_null(strstr(rl_error_message(), page ? "meta page 1" : "meta page 0"));
    assert_int_equal(pwrite(fd, kept, PAGE, page * PAGE), PAGE);
    assert_int_equal(close(fd), 0);
  }
  ok(rl_image_sound(dir));
  rl_free(path);
  rl_free(dir);
}

/* Copies ----------------------------------------------------------------------------------------------------------- */

static int64_t expect_one_version(rl_state_op *op, int64_t n)
{
  int64_t version = rl_state_sealed(op);
  states_expect_all(op, version, n);
  return version;
}

/* A store like others, with what the image had. */
static void expect_copy(const char *copy, int64_t n)
{
  struct stat st;
  assert_int_equal(stat(copy, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
  (void)expect_whole(copy);
  rl_state *s = open_at(copy, false, MIB);
  rl_state_op *op = rl_state_find(s, "x");
  assert_non_null(op);
  int64_t version = expect_one_version(op, n);
  states_set_all(op, version + 1, n);
  rl_state_end(s, version + 1);
  ok(rl_state_flush(s));
  assert_int_equal(expect_one_version(op, n), version + 1);
  rl_state_close(s);
  (void)expect_whole(copy);
}

typedef struct writing {
  rl_state_op *op;
  atomic_bool stop;
} writing;

static void *keep_writing(void *arg)
{
  writing *w = arg;
  for (int64_t t = 2; !atomic_load(&w->stop); t++) {
    states_set_all(w->op, t, 500);
    rl_state_end(rl_state_of(w->op), t);
  }
  return NULL;
}

static void an_open_store_is_copied_while_it_is_written(void **state)
{
  for (int scratch = 0; scratch < 2; scratch++) {
    char *dir = rl_format("%s/state-%d", (char *)*state, scratch);
    rl_state *s = open_at(dir, scratch, MIB);
    writing w = {.op = op_of(s, "x", true)};
    pthread_t thread;
    states_set_all(w.op, 1, 500);
    rl_state_end(s, 1);
    ok(rl_state_flush(s));
    assert_int_equal(pthread_create(&thread, NULL, keep_writing, &w), 0);
    for (int i = 0; i < 5; i++) {
      char *copy = rl_format("%s/copy-%d-%d", (char *)*state, scratch, i);
      ok(rl_state_backup(s, copy));
      expect_copy(copy, 500);
      rl_free(copy);
    }
    atomic_store(&w.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    rl_state_close(s);
    rl_free(dir);
  }
}

/* In a process of its own, until it is killed. */
static _Noreturn void write_on(const char *dir, int out)
{
  rl_state *s = open_at(dir, false, MIB);
  writing w = {.op = op_of(s, "x", true)};
  states_set_all(w.op, 1, 500);
  rl_state_end(s, 1);
  ok(rl_state_flush(s));
  if (write(out, "", 1) != 1) _exit(1);
  (void)keep_writing(&w);
  _exit(1);
}

static void a_store_of_another_process_is_copied_and_verified(void **state)
{
  char *dir = rl_path_join(*state, "state"), ready;
  int pipes[2], status;
  assert_int_equal(pipe(pipes), 0);
  pid_t child = scratch_fork();
  if (child == 0) write_on(dir, pipes[1]);
  assert_int_equal(close(pipes[1]), 0);
  assert_int_equal(read(pipes[0], &ready, 1), 1);
  for (int i = 0; i < 40; i++) {
    (void)expect_whole(dir);
    if (i % 10 > 0) continue;
    char *copy = rl_format("%s/copy-%d", (char *)*state, i);
    ok(rl_state_backup_dir(dir, copy));
    expect_copy(copy, 500);
    rl_free(copy);
  }
  assert_int_equal(kill(child, SIGKILL), 0);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(close(pipes[0]), 0);
  (void)expect_whole(dir);
  rl_free(dir);
}

/* As a verifier does that is killed. */
static _Noreturn void read_until_killed(const char *dir, int start, int out)
{
  MDB_env *env = NULL;
  MDB_txn *txn = NULL;
  char byte;
  if (read(start, &byte, 1) != 1 || rl_env_open_reader(dir, &env) != 0) _exit(1);
  if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0 || write(out, "", 1) != 1) _exit(1);
  for (;;) pause();
}

static void a_killed_reader_holds_no_pages(void **state)
{
  char *dir = rl_path_join(*state, "state"), byte;
  int start[2], ready[2], status;
  assert_int_equal(pipe(start), 0);
  assert_int_equal(pipe(ready), 0);
  pid_t child = scratch_fork(); /* before there is a store in this process */
  if (child == 0) read_until_killed(dir, start[0], ready[1]);
  rl_state *s = open_at(dir, false, 64 * MIB);
  rl_state_op *op = op_of(s, "x", false);
  rl_state_stats first, last;
  for (int64_t t = 1; t <= 40; t++) {
    states_set_all(op, t, 2000);
    rl_state_end(s, t);
    ok(rl_state_flush(s));
    if (t == 3) {
      assert_int_equal(write(start[1], "", 1), 1);
      assert_int_equal(read(ready[0], &byte, 1), 1);
      assert_int_equal(kill(child, SIGKILL), 0);
      assert_int_equal(waitpid(child, &status, 0), child);
    }
    if (t == 10) rl_state_stats_read(s, &first);
  }
  rl_state_stats_read(s, &last);
  assert_int_equal(first.image_bytes, last.image_bytes); /* pages are used again */
  rl_state_close(s);
  for (int i = 0; i < 2; i++) assert_true(close(start[i]) == 0 && close(ready[i]) == 0);
  rl_free(dir);
}

static void a_copy_takes_nothing_away(void **state)
{
  char *dir = rl_path_join(*state, "state"), *copy = rl_path_join(*state, "copy");
  make_image(dir, 100, 5000);
  assert_int_equal(rl_state_backup_dir(copy, dir), RL_ENOTFOUND);
  assert_int_equal(rl_state_backup_dir(dir, dir), RL_ESTATE);
  assert_non_null(strstr(rl_error_message(), "is there already"));
  assert_int_equal(mkdir(copy, 0700), 0);
  assert_int_equal(rl_state_backup_dir(dir, copy), RL_ESTATE);
  assert_int_equal(rmdir(copy), 0);
  rl_state *s = open_at(dir, false, MIB);
  assert_int_equal(rl_state_backup(s, dir), RL_ESTATE);
  char *deep = rl_path_join(copy, "deep");
  assert_int_equal(rl_state_backup(s, deep), RL_ENOTFOUND);
  rl_free(deep);
  ok(rl_state_backup(s, copy));
  rl_state_close(s);
  uint64_t a = 0, b = 1, before = 0, after = 0;
  assert_int_equal(dump(dir, &a), 0);
  assert_int_equal(dump(copy, &b), 0);
  assert_true(a == b);
  char *from = rl_path_join(dir, "data.mdb"), *to = rl_path_join(copy, "data.mdb");
  ok(rl_file_size(from, &before));
  ok(rl_file_size(to, &after));
  assert_true(after < before);
  rl_free(from);
  rl_free(to);
  rl_free(copy);
  rl_free(dir);
}

static void a_copy_that_fails_is_removed(void **state)
{
  char *dir = rl_path_join(*state, "state"), *copy = rl_path_join(*state, "copy");
  struct rlimit limit;
  assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
  make_image(dir, 100, 5000);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  rlim_t usual = limit.rlim_cur;
  limit.rlim_cur = 64 * 1024;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_int_equal(rl_state_backup_dir(dir, copy), RL_EIO);
  limit.rlim_cur = usual;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_false(scratch_exists(*state, "copy"));
  ok(rl_state_backup_dir(dir, copy));
  (void)expect_whole(copy);
  rl_free(copy);
  rl_free(dir);
}

/* As under a limit of it, or a sanitizer, which leaves a program little: no piece as large as the store's own map. */
static void an_image_is_read_where_address_space_is_short(void **state)
{
  char *dir = rl_path_join(*state, "state"), *copy = rl_path_join(*state, "copy");
  static void *taken[1024];
  size_t n = 0;
  make_image(dir, 100, 5000);
  while (n < 1024) {
    void *p = mmap(NULL, RL_IMAGE_MAP_LARGEST, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) break;
    taken[n++] = p;
  }
  assert_true(n < 1024);
  (void)expect_whole(dir);
  ok(rl_state_backup_dir(dir, copy));
  (void)expect_whole(copy);
  while (n > 0) assert_int_equal(munmap(taken[--n], RL_IMAGE_MAP_LARGEST), 0);
  rl_free(copy);
  rl_free(dir);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(a_whole_image_is_found_whole),
      in_a_folder(what_is_no_state_is_told),
      in_a_folder(an_image_of_another_format_is_refused),
      in_a_folder(damage_is_named),
      in_a_folder(what_is_missing_is_found_out),
      in_a_folder(what_was_put_back_is_found_out),
      in_a_folder(any_flipped_byte_of_a_small_image_is_found),
      in_a_folder(flipped_bytes_of_a_larger_image_are_found),
      in_a_folder(pages_that_are_others_are_found),
      in_a_folder(an_image_that_is_cut_off_is_refused),
      in_a_folder(an_image_with_bad_metas_is_refused),
      in_a_folder(a_killed_reader_holds_no_pages),
      in_a_folder(an_open_store_is_copied_while_it_is_written),
      in_a_folder(a_store_of_another_process_is_copied_and_verified),
      in_a_folder(a_copy_takes_nothing_away),
      in_a_folder(a_copy_that_fails_is_removed),
      in_a_folder(an_image_is_read_where_address_space_is_short),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
