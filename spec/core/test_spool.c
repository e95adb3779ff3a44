/* Spools and their memory manager: what leaves memory comes back as it was, in the order of the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/log.h"
#include "data/codec.h"
#include "data/packed.h"
#include "records.h"
#include "scratch.h"
#include "store/replica.h"
#include "store/spool.h"

#define CHUNK_ROWS 1000
#define ALL SIZE_MAX / 4

/* What else this process holds is no business of a manager under test, so limits are given on top of it. */
static rl_memory *new_memory(const char *dir, size_t limit, bool compress)
{
  rl_memory_spec spec = {.limit = limit == ALL ? ALL : limit + (size_t)rl_mem_used(),
                         .fraction = 1,
                         .storage_fraction = 0,
                         .tasks = 2,
                         .compress = compress,
                         .local_dir = dir};
  return rl_memory_new(&spec);
}

static rl_level level_of(const char *name)
{
  rl_level level;
  assert_int_equal(rl_level_parse(name, &level), RL_OK);
  return level;
}

static rl_level needed(void) { return RL_LEVEL_WORK; }

/* Chunk number i: (number, text) records. */
static rl_chunk *make_chunk(int64_t i)
{
  rl_builder *b = rl_builder_new();
  for (int64_t k = 0; k < CHUNK_ROWS; k++) {
    char text[64];
    int n = snprintf(text, sizeof text, "record %" PRId64 " of chunk %" PRId64, k, i);
    const rl_value fields[2] = {rl_int(i * CHUNK_ROWS + k), rl_str(text, (size_t)n)};
    assert_int_equal(rl_builder_add(b, fields, 2), RL_OK);
  }
  rl_chunk *c = rl_builder_finish(b);
  rl_builder_delete(b);
  return c;
}

static size_t chunk_bytes(void)
{
  rl_chunk *c = make_chunk(0);
  size_t n = c->bytes;
  rl_chunk_unref(c);
  return n;
}

static rl_status fill(rl_spool *s, int64_t from, int64_t n)
{
  rl_status st = RL_OK;
  for (int64_t i = from; i < from + n && st == RL_OK; i++) st = rl_spool_add(s, make_chunk(i));
  rl_spool_seal(s);
  return st;
}

static rl_spool *filled(rl_memory *m, rl_level level, int64_t from, int64_t n)
{
  rl_spool *s = rl_spool_new(m, level);
  if (fill(s, from, n) != RL_OK) fail_msg("%s", rl_error_message());
  return s;
}

static rl_status read_all(rl_spool *s, rl_chunks *out)
{
  rl_pull *p = rl_spool_open(s);
  rl_status st = rl_pull_drain(p, out);
  rl_pull_close(p);
  return st;
}

static void expect_chunks(rl_spool *s, int64_t from, int64_t n)
{
  rl_chunks got = {0};
  if (read_all(s, &got) != RL_OK) fail_msg("%s", rl_error_message());
  assert_int_equal(got.n, n);
  for (int64_t i = 0; i < n; i++) {
    const rl_chunk *c = got.v[i];
    assert_int_equal(c->n, CHUNK_ROWS);
    assert_int_equal(rl_chunk_get(c, 0, 0).i, (from + i) * CHUNK_ROWS);
    assert_int_equal(rl_chunk_get(c, 0, CHUNK_ROWS - 1).i, (from + i) * CHUNK_ROWS + CHUNK_ROWS - 1);
    char text[64];
    int k = snprintf(text, sizeof text, "record 7 of chunk %" PRId64, from + i);
    rl_value v = rl_chunk_get(c, 1, 7);
    assert_int_equal(v.s.n, k);
    assert_memory_equal(v.s.p, text, (size_t)k);
  }
  rl_chunks_clear(&got);
}

static rl_memory_stats stats_of(rl_memory *m)
{
  rl_memory_stats stats;
  rl_memory_stats_read(m, &stats);
  return stats;
}

/* Names in a directory but the lock of a spill folder: how many, and the path of the first that begins so. */
static size_t list(const char *dir, const char *prefix, char **first)
{
  size_t n = 0;
  DIR *d = opendir(dir);
  if (!d) return 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || *e->d_name == '.' || strcmp(e->d_name, "lock") == 0)
      continue;
    if (n++ == 0 && first) *first = rl_path_join(dir, e->d_name);
  }
  closedir(d);
  return n;
}

static char *the_spill_file(const char *dir)
{
  char *folder = NULL, *file = NULL;
  assert_int_equal(list(dir, "rille-spill-", &folder), 1);
  assert_int_equal(list(folder, "", &file), 1);
  rl_free(folder);
  return file;
}

/* Keeping and spilling. */

static void without_a_manager_all_stays_in_memory(void **state)
{
  (void)state;
  rl_spool *s = filled(NULL, needed(), 0, 5);
  assert_int_equal(rl_spool_chunks(s), 5);
  assert_int_equal(rl_spool_records(s), 5 * CHUNK_ROWS);
  assert_false(rl_spool_is_lost(s));
  expect_chunks(s, 0, 5);
  expect_chunks(s, 0, 5);
  rl_spool_unref(s);
  assert_true(rl_memory_quota(NULL) == SIZE_MAX);
}

static void within_the_limit_nothing_is_written(void **state)
{
  rl_memory *m = new_memory(*state, ALL, false);
  rl_spool *s = filled(m, needed(), 0, 20);
  assert_int_equal(stats_of(m).spilled_total, 0);
  assert_int_equal(stats_of(m).storage, rl_spool_bytes(s));
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
  expect_chunks(s, 0, 20);
  rl_spool_unref(s);
  assert_int_equal(stats_of(m).storage, 0);
  rl_memory_unref(m);
}

static void over_the_limit_chunks_go_to_disk_and_come_back(void **state)
{
  size_t limit = 4 * chunk_bytes();
  rl_memory *m = new_memory(*state, limit, false);
  rl_spool *s = filled(m, needed(), 0, 40);
  rl_memory_stats stats = stats_of(m);
  assert_true(stats.storage <= limit);
  assert_true(stats.spool_writes >= 35);
  assert_int_equal(stats.dropped_total, 0);
  expect_chunks(s, 0, 40);
  expect_chunks(s, 0, 40);
  rl_pull *p = rl_spool_open_at(s, 38);
  rl_chunk *c = NULL;
  assert_int_equal(rl_pull_next(p, &c), RL_OK);
  assert_int_equal(rl_chunk_get(c, 0, 0).i, 38 * CHUNK_ROWS);
  rl_chunk_unref(c);
  rl_pull_close(p);
  rl_spool_unref(s);
  assert_int_equal(stats_of(m).spilled_now, 0);
  rl_memory_unref(m);
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
}

static void a_spool_can_be_read_while_others_are_written(void **state)
{
  rl_memory *m = new_memory(*state, 2 * chunk_bytes(), false);
  rl_spool *a = filled(m, needed(), 0, 10);
  rl_pull *p = rl_spool_open(a);
  rl_spool *b = filled(m, needed(), 10, 10);
  rl_chunks got = {0};
  assert_int_equal(rl_pull_drain(p, &got), RL_OK);
  assert_int_equal(got.n, 10);
  rl_chunks_clear(&got);
  rl_pull_close(p);
  expect_chunks(b, 10, 10);
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_memory_unref(m);
}

static void the_least_recently_used_goes_first(void **state)
{
  size_t limit = 10 * chunk_bytes() + 100;
  rl_memory *m = new_memory(*state, limit, false);
  rl_level level = level_of("MEMORY_ONLY");
  rl_spool *a = filled(m, level, 0, 3), *b = filled(m, level, 3, 3), *c = filled(m, level, 6, 3);
  expect_chunks(a, 0, 3); /* used: b is the oldest now */
  rl_spool *d = filled(m, level, 9, 3);
  assert_false(rl_spool_is_lost(a));
  assert_true(rl_spool_is_lost(b));
  assert_false(rl_spool_is_lost(c));
  rl_spool *e = filled(m, level, 12, 3);
  assert_false(rl_spool_is_lost(a));
  assert_true(rl_spool_is_lost(c));
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
  assert_true(stats_of(m).dropped_total > 0);
  rl_chunks got = {0};
  assert_int_equal(read_all(b, &got), RL_ELOST);
  assert_true(rl_error_current()->retriable);
  rl_spool *all[] = {a, b, c, d, e};
  for (size_t i = 0; i < 5; i++) rl_spool_unref(all[i]);
  rl_memory_unref(m);
}

static void what_is_read_is_not_dropped(void **state)
{
  rl_memory *m = new_memory(*state, 4 * chunk_bytes(), false);
  rl_level level = level_of("MEMORY_ONLY_SER");
  rl_spool *a = filled(m, level, 0, 3);
  rl_pull *p = rl_spool_open(a);
  rl_spool *b = filled(m, level, 3, 3);
  assert_false(rl_spool_is_lost(a));
  assert_true(rl_spool_is_lost(b));
  rl_pull_close(p);
  rl_spool *c = filled(m, level, 6, 3);
  assert_true(rl_spool_is_lost(a));
  assert_false(rl_spool_is_lost(c));
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_spool_unref(c);
  rl_memory_unref(m);
}

static void spools_of_a_group_do_not_push_each_other_out(void **state)
{
  rl_memory *m = new_memory(*state, 8 * chunk_bytes() + 100, false);
  rl_level level = level_of("MEMORY_ONLY");
  rl_spool *other = filled(m, level, 0, 3), *group[4];
  for (int i = 0; i < 4; i++) {
    group[i] = rl_spool_new(m, level);
    rl_spool_set_group(group[i], 7);
    assert_int_equal(fill(group[i], 3 * i, 3), RL_OK);
  }
  assert_true(rl_spool_is_lost(other));
  assert_false(rl_spool_is_lost(group[0]));
  assert_false(rl_spool_is_lost(group[1]));
  assert_true(rl_spool_is_lost(group[2]));
  assert_true(rl_spool_is_lost(group[3]));
  assert_true(stats_of(m).storage <= 8 * chunk_bytes());
  for (int i = 0; i < 4; i++) rl_spool_unref(group[i]);
  rl_spool_unref(other);
  rl_memory_unref(m);
}

static void what_is_needed_is_never_dropped(void **state)
{
  rl_memory *m = new_memory(*state, 2 * chunk_bytes(), false);
  rl_level memory_only = level_of("MEMORY_ONLY");
  memory_only.needed = true;
  rl_spool *a = filled(m, memory_only, 0, 10), *b = filled(m, needed(), 10, 10);
  assert_false(rl_spool_is_lost(a));
  expect_chunks(a, 0, 10);
  expect_chunks(b, 10, 10);
  assert_int_equal(stats_of(m).dropped_total, 0);
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_memory_unref(m);
}

static void disk_only_holds_nothing_in_memory_and_none_holds_nothing(void **state)
{
  rl_memory *m = new_memory(*state, ALL, false);
  rl_spool *s = filled(m, level_of("DISK_ONLY"), 0, 5), *none = filled(m, level_of("NONE"), 0, 5);
  assert_int_equal(stats_of(m).storage, 0);
  assert_true(stats_of(m).spilled_now > 0);
  expect_chunks(s, 0, 5);
  assert_true(rl_spool_is_lost(none));
  rl_spool_unref(s);
  rl_spool_unref(none);
  rl_memory_unref(m);
}

static void serialised_levels_are_compressed_when_asked_for(void **state)
{
  rl_memory *m = new_memory(*state, ALL, true);
  rl_spool *plain = filled(m, level_of("MEMORY_AND_DISK"), 0, 5);
  uint64_t before = stats_of(m).storage;
  rl_spool *small = filled(m, level_of("MEMORY_AND_DISK_SER"), 5, 5);
  assert_true((stats_of(m).storage - before) * 2 < before);
  expect_chunks(plain, 0, 5);
  expect_chunks(small, 5, 5);
  rl_spool_unref(plain);
  rl_spool_unref(small);
  rl_memory_unref(m);
  m = new_memory(*state, chunk_bytes(), true);
  small = filled(m, level_of("MEMORY_AND_DISK_SER"), 5, 20);
  assert_true(stats_of(m).spilled_total > 0);
  expect_chunks(small, 5, 20);
  rl_spool_unref(small);
  rl_memory_unref(m);
}

static void what_is_read_back_stays_when_there_is_room(void **state)
{
  rl_memory *m = new_memory(*state, 10 * chunk_bytes() + 100, false);
  rl_spool *a = filled(m, level_of("MEMORY_AND_DISK"), 0, 8), *b = filled(m, level_of("MEMORY_AND_DISK"), 8, 8);
  uint64_t written = stats_of(m).spilled_total;
  rl_spool_unref(b);
  expect_chunks(a, 0, 8);
  assert_int_equal(stats_of(m).storage, rl_spool_bytes(a));
  b = filled(m, level_of("MEMORY_AND_DISK"), 8, 8);
  assert_int_equal(stats_of(m).spilled_total, written); /* it lies on disk already */
  expect_chunks(a, 0, 8);
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_memory_unref(m);
}

static void execution_pushes_storage_down_to_the_floor_only(void **state)
{
  size_t one = chunk_bytes();
  rl_memory_spec spec = {
    .limit = 20 * one, .fraction = 1, .storage_fraction = 0.5, .tasks = 2, .local_dir = *state};
  rl_memory *m = rl_memory_new(&spec);
  assert_int_equal(rl_memory_quota(m), 10 * one / 2);
  rl_mem_add((int64_t)(100 * one)); /* what running tasks hold */
  rl_spool *s = filled(m, needed(), 0, 15);
  assert_true(stats_of(m).storage > 9 * one && stats_of(m).storage <= 10 * one);
  rl_mem_add(-(int64_t)(100 * one));
  rl_spool_unref(s);
  rl_memory_unref(m);
}

static void levels_have_names(void **state)
{
  (void)state;
  static const char *const names[] = {
    "NONE", "MEMORY_ONLY", "MEMORY_ONLY_2", "MEMORY_ONLY_SER", "MEMORY_ONLY_SER_2", "MEMORY_AND_DISK",
    "MEMORY_AND_DISK_2", "MEMORY_AND_DISK_SER", "MEMORY_AND_DISK_SER_2", "DISK_ONLY", "DISK_ONLY_2", "OFF_HEAP"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_string_equal(rl_level_name(level_of(names[i])), names[i]);
  rl_level off = level_of("OFF_HEAP");
  assert_true(off.memory && off.disk && off.serialised);
  assert_int_equal(rl_level_parse("MEMORY", &off), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "MEMORY_AND_DISK_SER"));
}

/* Bad disks. */

static void damage_is_found_and_told(void **state)
{
  rl_memory *m = new_memory(*state, 1, false);
  rl_spool *s = filled(m, needed(), 0, 3);
  char *path = the_spill_file(*state);
  int fd = open(path, O_RDWR);
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  char byte;
  assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
  byte ^= 1;
  assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
  rl_chunks got = {0};
  assert_int_equal(read_all(s, &got), RL_EDATA);
  assert_int_equal(got.n, 1);
  assert_non_null(strstr(rl_error_message(), path));
  assert_non_null(strstr(rl_error_message(), "at offset "));
  assert_non_null(strstr(rl_error_message(), "wrong checksum; it held chunk 2 of 3: records 1001 to 2000 of 3000"));
  rl_chunks_clear(&got);
  assert_int_equal(ftruncate(fd, 10), 0);
  assert_int_equal(read_all(s, &got), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "cut short; it held chunk 1 of 3"));
  close(fd);
  rl_free(path);
  rl_spool_unref(s);
  rl_memory_unref(m);
}

static _Atomic int writes_left;

static ssize_t full_disk(int fd, const void *p, size_t n, off_t at)
{
  if (writes_left > 0) {
    writes_left--;
    return pwrite(fd, p, n, at);
  }
  errno = ENOSPC;
  return -1;
}

static int read_only_mkdir(const char *path, mode_t mode)
{
  (void)path;
  (void)mode;
  errno = EROFS;
  return -1;
}

static char last_warning[1024];
static unsigned warnings;

static void note_warning(void *user, rl_log_level level, const char *line)
{
  (void)user;
  if (level < RL_LOG_WARN) return;
  warnings++;
  snprintf(last_warning, sizeof last_warning, "%s", line);
}

static void a_full_disk_is_an_error_for_what_is_needed(void **state)
{
  rl_fs fs = rl_fs_system;
  fs.pwrite = full_disk;
  writes_left = 3;
  rl_fs_set(&fs);
  rl_memory *m = new_memory(*state, 2 * chunk_bytes(), false);
  rl_spool *s = rl_spool_new(m, needed());
  assert_int_equal(fill(s, 0, 20), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "cannot spill to disk (rille.local.dir): cannot write "));
  assert_non_null(strstr(rl_error_message(), "No space left on device"));
  rl_spool_unref(s);
  rl_memory_unref(m);
  fs = rl_fs_system;
  fs.mkdir = read_only_mkdir;
  m = new_memory(*state, 2 * chunk_bytes(), false);
  s = rl_spool_new(m, needed());
  assert_int_equal(fill(s, 0, 20), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "Read-only file system"));
  rl_spool_unref(s);
  rl_memory_unref(m);
  rl_fs_set(NULL);
}

static void a_full_disk_drops_caches_and_warns_once(void **state)
{
  rl_fs fs = rl_fs_system;
  fs.pwrite = full_disk;
  writes_left = 3;
  rl_fs_set(&fs);
  warnings = 0;
  rl_log_set_sink(note_warning, NULL);
  rl_memory *m = new_memory(*state, 2 * chunk_bytes(), false);
  rl_spool *a = filled(m, level_of("MEMORY_AND_DISK"), 0, 20), *b = filled(m, level_of("DISK_ONLY"), 0, 20);
  rl_log_set_sink(NULL, NULL);
  rl_fs_set(NULL);
  assert_true(rl_spool_is_lost(a));
  assert_true(rl_spool_is_lost(b));
  assert_int_equal(warnings, 1);
  assert_non_null(strstr(last_warning, "computed anew"));
  assert_int_equal(stats_of(m).storage, 0);
  assert_int_equal(stats_of(m).spilled_now, 0);
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_memory_unref(m);
}

/* Second copies: a target that keeps them in memory. */

#define COPIES 64

typedef struct target {
  pthread_mutex_t lock;
  rl_buf copies[COPIES];
  int live, puts;
  bool broken;
} target;

static rl_status target_put(void *user, uint64_t id, const char *p, size_t n)
{
  target *t = user;
  if (t->broken) return rl_fail(RL_EIO, "the other machine is gone");
  pthread_mutex_lock(&t->lock);
  assert_true(id < COPIES);
  rl_buf_add(&t->copies[id], p, n);
  t->live++;
  t->puts++;
  pthread_mutex_unlock(&t->lock);
  return RL_OK;
}

static rl_status target_get(void *user, uint64_t id, rl_buf *out)
{
  target *t = user;
  if (t->broken) return rl_fail(RL_EIO, "the other machine is gone");
  pthread_mutex_lock(&t->lock);
  rl_buf_add(out, t->copies[id].p, t->copies[id].n);
  pthread_mutex_unlock(&t->lock);
  return RL_OK;
}

static void target_drop(void *user, uint64_t id)
{
  target *t = user;
  pthread_mutex_lock(&t->lock);
  rl_buf_free(&t->copies[id]);
  t->live--;
  pthread_mutex_unlock(&t->lock);
}

static rl_memory *new_memory_with(target *t, const char *dir, size_t limit)
{
  *t = (target){.lock = PTHREAD_MUTEX_INITIALIZER};
  rl_memory *m = new_memory(dir, limit, false);
  rl_memory_set_replica(m, &(rl_replica){t, target_put, target_get, target_drop});
  return m;
}

static void cut_spill_file(const char *dir)
{
  char *path = the_spill_file(dir);
  assert_int_equal(truncate(path, 10), 0);
  rl_free(path);
}

static void a_second_copy_stands_in_for_a_damaged_piece(void **state)
{
  target t;
  rl_memory *m = new_memory_with(&t, *state, 1);
  rl_spool *two = filled(m, level_of("MEMORY_AND_DISK_2"), 0, 5), *disk = filled(m, level_of("DISK_ONLY_2"), 5, 5),
           *one = filled(m, level_of("MEMORY_AND_DISK"), 10, 5);
  assert_int_equal(t.puts, 10);
  cut_spill_file(*state);
  warnings = 0;
  rl_log_set_sink(note_warning, NULL);
  expect_chunks(two, 0, 5);
  expect_chunks(disk, 5, 5);
  rl_log_set_sink(NULL, NULL);
  assert_int_equal(warnings, 10);
  rl_chunks got = {0};
  assert_int_equal(read_all(one, &got), RL_EDATA);
  t.broken = true;
  rl_log_set_sink(note_warning, NULL);
  assert_int_equal(read_all(disk, &got), RL_EIO);
  rl_log_set_sink(NULL, NULL);
  assert_non_null(strstr(rl_error_message(), "the second copy cannot be had: the other machine is gone"));
  rl_spool_unref(one);
  rl_spool_unref(two);
  rl_spool_unref(disk);
  assert_int_equal(t.live, 0);
  rl_memory_unref(m);
}

static void what_has_a_second_copy_is_not_lost_when_it_is_dropped(void **state)
{
  target t;
  rl_memory *m = new_memory_with(&t, *state, 2 * chunk_bytes());
  rl_spool *a = filled(m, level_of("MEMORY_ONLY_2"), 0, 5), *b = filled(m, level_of("MEMORY_ONLY_SER_2"), 5, 5);
  assert_false(rl_spool_is_lost(a));
  assert_true(stats_of(m).storage <= 2 * chunk_bytes());
  expect_chunks(a, 0, 5);
  expect_chunks(b, 5, 5);
  rl_spool_unref(a);
  rl_spool_unref(b);
  assert_int_equal(t.live, 0);
  t.broken = true; /* no copies then, and a warning */
  warnings = 0;
  rl_log_set_sink(note_warning, NULL);
  a = filled(m, level_of("MEMORY_ONLY_2"), 0, 5);
  rl_log_set_sink(NULL, NULL);
  assert_true(warnings > 0);
  assert_true(rl_spool_is_lost(a));
  rl_spool_unref(a);
  rl_memory_unref(m);
}

/* Folders. */

static void the_folder_is_private_and_goes_with_the_manager(void **state)
{
  char *dir = rl_path_join(*state, "made/when/needed"), *folder = NULL;
  rl_memory *m = new_memory(dir, 1, false);
  rl_spool *s = filled(m, needed(), 0, 3);
  assert_int_equal(list(dir, "rille-spill-", &folder), 1);
  struct stat st;
  assert_int_equal(stat(folder, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0700);
  rl_memory_close(m);
  assert_int_equal(access(folder, F_OK), -1);
  assert_int_equal(rl_spool_add(s, make_chunk(9)), RL_ECLOSED);
  rl_spool_unref(s);
  rl_memory_unref(m);
  rl_free(folder);
  rl_free(dir);
}

static void a_file_goes_with_its_last_extent(void **state)
{
  rl_memory *m = new_memory(*state, 1, false);
  rl_spool *a = filled(m, needed(), 0, 3), *b = filled(m, needed(), 3, 3);
  char *path = the_spill_file(*state);
  struct stat before, after;
  assert_int_equal(stat(path, &before), 0);
  rl_spool_unref(a);
  assert_int_equal(stat(path, &after), 0);
  assert_true(after.st_blocks < before.st_blocks);
  expect_chunks(b, 3, 3);
  rl_spool_unref(b);
  assert_int_equal(access(path, F_OK), -1);
  rl_spool *c = filled(m, needed(), 6, 3);
  expect_chunks(c, 6, 3);
  rl_spool_unref(c);
  rl_free(path);
  rl_memory_unref(m);
}

static void files_wait_while_a_lock_is_held(void **state)
{
  rl_memory *m = new_memory(*state, 1, false);
  rl_spool *a = filled(m, needed(), 0, 3);
  char *path = the_spill_file(*state);
  rl_memory_hold_files(true);
  rl_spool_unref(a);
  assert_int_equal(stats_of(m).spilled_now, 0);
  assert_int_equal(access(path, F_OK), 0);
  rl_memory_hold_files(false);
  rl_memory_sweep(m);
  assert_int_equal(access(path, F_OK), -1);
  rl_free(path);
  a = filled(m, needed(), 3, 3);
  rl_memory_hold_files(true);
  rl_spool_unref(a);
  rl_memory_hold_files(false);
  rl_memory_unref(m); /* nothing stays behind */
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
}

static void make_folder(const char *dir, const char *name, const char *lock, bool old)
{
  char *path = rl_path_join(dir, name);
  assert_int_equal(rl_dir_make_private(path), RL_OK);
  rl_free(scratch_file(path, "0.spill", "left behind"));
  if (lock) rl_free(scratch_file(path, lock, ""));
  if (old) scratch_set_mtime(path, 1000);
  rl_free(path);
}

static void folders_of_the_dead_are_cleaned_and_others_left(void **state)
{
  make_folder(*state, "rille-spill-1-0-dead", "lock", false);
  make_folder(*state, "rille-spill-1-0-living", "lock", false);
  make_folder(*state, "rille-spill-1-0-young", "lock.new", false);
  make_folder(*state, "rille-spill-1-0-halfmade", "lock.new", true);
  make_folder(*state, "somebody-elses", "lock", true);
  char *lock = rl_path_join(*state, "rille-spill-1-0-living/lock");
  int fd = open(lock, O_RDWR);
  assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
  rl_memory_unref(new_memory(*state, 1, false));
  assert_false(scratch_exists(*state, "rille-spill-1-0-dead"));
  assert_true(scratch_exists(*state, "rille-spill-1-0-living/0.spill"));
  assert_true(scratch_exists(*state, "rille-spill-1-0-young/0.spill"));
  assert_false(scratch_exists(*state, "rille-spill-1-0-halfmade"));
  assert_true(scratch_exists(*state, "somebody-elses/0.spill"));
  close(fd);
  rl_free(lock);
}

static void a_killed_process_is_cleaned_after(void **state)
{
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    rl_memory *m = new_memory(*state, 1, false);
    rl_spool *s = rl_spool_new(m, needed());
    if (fill(s, 0, 2) != RL_OK) _exit(1);
    raise(SIGKILL);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(list(*state, "rille-spill-", NULL), 1);
  rl_memory_unref(new_memory(*state, 1, false));
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
}

/* Threads. */

typedef struct crowd {
  rl_memory *m;
  rl_spool *shared;
  int64_t number;
} crowd;

static void *in_a_crowd(void *arg)
{
  const crowd *c = arg;
  for (int round = 0; round < 3; round++) {
    rl_spool *own = rl_spool_new(c->m, c->number % 2 ? needed() : level_of("MEMORY_AND_DISK"));
    rl_spool *cache = rl_spool_new(c->m, level_of("MEMORY_ONLY"));
    if (fill(own, c->number * 100, 10) != RL_OK || fill(cache, 0, 3) != RL_OK) return "cannot fill";
    rl_chunks got = {0};
    for (int k = 0; k < 2; k++) {
      if (read_all(own, &got) != RL_OK || got.n != 10) return "cannot read its own";
      if (rl_chunk_get(got.v[9], 0, 5).i != (c->number * 100 + 9) * CHUNK_ROWS + 5) return "reads something else";
      rl_chunks_clear(&got);
      if (read_all(c->shared, &got) != RL_OK || got.n != 30) return "cannot read the shared one";
      rl_chunks_clear(&got);
      rl_status st = read_all(cache, &got);
      if (st != RL_OK && st != RL_ELOST) return "cannot read the cache";
      rl_chunks_clear(&got);
    }
    rl_spool_unref(own);
    rl_spool_unref(cache);
  }
  return NULL;
}

static void many_threads_add_and_read_at_once(void **state)
{
  rl_memory *m = new_memory(*state, 12 * chunk_bytes(), false);
  rl_spool *shared = filled(m, level_of("MEMORY_AND_DISK"), 0, 30);
  enum { THREADS = 6 };
  pthread_t threads[THREADS];
  crowd crowds[THREADS];
  for (int i = 0; i < THREADS; i++) {
    crowds[i] = (crowd){m, shared, i};
    assert_int_equal(pthread_create(&threads[i], NULL, in_a_crowd, &crowds[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *failure = NULL;
    assert_int_equal(pthread_join(threads[i], &failure), 0);
    if (failure) fail_msg("%s", (const char *)failure);
  }
  expect_chunks(shared, 0, 30);
  rl_spool_unref(shared);
  assert_int_equal(stats_of(m).storage, 0);
  assert_int_equal(stats_of(m).spilled_now, 0);
  rl_memory_unref(m);
}

/* Packing. */

static void expect_packs(rl_chunk *c)
{
  rl_buf image = {0};
  rl_chunk_pack(c, &image);
  rl_chunk *back = NULL;
  if (rl_chunk_unpack(image.p, image.n, &back) != RL_OK) fail_msg("%s", rl_error_message());
  rl_chunks one = {0};
  rl_chunks_add(&one, rl_chunk_ref(c));
  char *text = records_text(&one);
  rl_chunks_clear(&one);
  rl_chunks_add(&one, back);
  records_expect(&one, text);
  assert_int_equal(back->ncols, c->ncols);
  for (uint32_t i = 0; i < c->ncols; i++) assert_int_equal(back->cols[i].type, c->cols[i].type);
  for (uint32_t row = 0; row < c->n; row++) assert_int_equal(rl_chunk_arity(back, row), rl_chunk_arity(c, row));
  for (size_t n = 0; n < image.n; n++) { /* cut anywhere, it is refused */
    rl_chunk *none = NULL;
    char *part = rl_alloc(n + 1);
    memcpy(part, image.p, n);
    assert_int_equal(rl_chunk_unpack(part, n, &none), RL_EDATA);
    rl_free(part);
  }
  rl_chunks_clear(&one);
  free(text);
  rl_buf_free(&image);
  rl_chunk_unref(c);
}

static void all_kinds_of_columns_are_packed(void **state)
{
  (void)state;
  rl_builder *b = rl_builder_new();
  const rl_value a[] = {rl_int(1), rl_float(1.5), rl_bool(true), rl_str("one", 3), rl_nil(), rl_int(9)};
  const rl_value c[] = {rl_int(2), rl_nil(), rl_nil(), rl_nil(), rl_nil(), rl_str("mixed", 5)};
  const rl_value d[] = {rl_int(3), rl_float(-0.0), rl_bool(false), rl_str("", 0)};
  assert_int_equal(rl_builder_add(b, a, 6), RL_OK);
  assert_int_equal(rl_builder_add(b, c, 6), RL_OK);
  assert_int_equal(rl_builder_add(b, d, 4), RL_OK);
  expect_packs(rl_builder_finish(b));
  assert_int_equal(rl_builder_add(b, d, 1), RL_OK);
  expect_packs(rl_builder_finish(b));
  rl_builder_delete(b);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(without_a_manager_all_stays_in_memory),
    in_a_folder(within_the_limit_nothing_is_written),
    in_a_folder(over_the_limit_chunks_go_to_disk_and_come_back),
    in_a_folder(a_spool_can_be_read_while_others_are_written),
    in_a_folder(the_least_recently_used_goes_first),
    in_a_folder(what_is_read_is_not_dropped),
    in_a_folder(spools_of_a_group_do_not_push_each_other_out),
    in_a_folder(what_is_needed_is_never_dropped),
    in_a_folder(disk_only_holds_nothing_in_memory_and_none_holds_nothing),
    in_a_folder(serialised_levels_are_compressed_when_asked_for),
    in_a_folder(what_is_read_back_stays_when_there_is_room),
    in_a_folder(execution_pushes_storage_down_to_the_floor_only),
    cmocka_unit_test(levels_have_names),
    in_a_folder(damage_is_found_and_told),
    in_a_folder(a_full_disk_is_an_error_for_what_is_needed),
    in_a_folder(a_full_disk_drops_caches_and_warns_once),
    in_a_folder(a_second_copy_stands_in_for_a_damaged_piece),
    in_a_folder(what_has_a_second_copy_is_not_lost_when_it_is_dropped),
    in_a_folder(the_folder_is_private_and_goes_with_the_manager),
    in_a_folder(a_file_goes_with_its_last_extent),
    in_a_folder(files_wait_while_a_lock_is_held),
    in_a_folder(folders_of_the_dead_are_cleaned_and_others_left),
    in_a_folder(a_killed_process_is_cleaned_after),
    in_a_folder(many_threads_add_and_read_at_once),
    cmocka_unit_test(all_kinds_of_columns_are_packed),
  };
  return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
