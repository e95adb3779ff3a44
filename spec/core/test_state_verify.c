/* Verifying images: damage of any kind is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "spec/core/images.h"
#include "spec/core/scratch.h"

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
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
