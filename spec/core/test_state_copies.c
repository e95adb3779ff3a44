/* Copying images, also while they are written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "spec/core/images.h"
#include "spec/core/scratch.h"

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
      in_a_folder(a_killed_reader_holds_no_pages),
      in_a_folder(an_open_store_is_copied_while_it_is_written),
      in_a_folder(a_store_of_another_process_is_copied_and_verified),
      in_a_folder(a_copy_takes_nothing_away),
      in_a_folder(a_copy_that_fails_is_removed),
      in_a_folder(an_image_is_read_where_address_space_is_short),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
