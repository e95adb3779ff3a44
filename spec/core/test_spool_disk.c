/* Spools on disk: damage, disks that are full, second copies, and the folders that spill files lie in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/log.h"
#include "spec/core/spools.h"
#include "store/replica.h"

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

int main(void)
{
  const struct CMUnitTest tests[] = {
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
  };
  return cmocka_run_group_tests_name("spool_disk", tests, NULL, NULL);
}
