/* A folder of a test's own, and files in it. Include after cmocka.h. */
#ifndef SPEC_CORE_SCRATCH_H
#define SPEC_CORE_SCRATCH_H

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

/* For cmocka_unit_test_setup_teardown: *state is the folder's path. */
static inline int scratch_setup(void **state)
{
  const char *tmp = getenv("TMPDIR");
  char *dir = rl_format("%s/rille-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
  *state = mkdtemp(dir);
  return *state ? 0 : -1;
}

static inline int scratch_teardown(void **state)
{
  rl_status st = rl_dir_remove(*state);
  rl_free(*state);
  return st == RL_OK ? 0 : -1;
}

#define in_a_folder(test) cmocka_unit_test_setup_teardown(test, scratch_setup, scratch_teardown)

static inline void scratch_write_bytes(const char *path, const void *p, size_t n)
{
  assert_int_equal(rl_file_replace(path, p, n, false), RL_OK);
}

/* dir/name with this text; the path is the caller's. */
static inline char *scratch_file(const char *dir, const char *name, const char *text)
{
  char *path = rl_path_join(dir, name);
  scratch_write_bytes(path, text, strlen(text));
  return path;
}

static inline void scratch_set_mtime(const char *path, int64_t ms)
{
  struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  const struct timespec both[2] = {t, t};
  assert_int_equal(utimensat(AT_FDCWD, path, both, 0), 0);
}

static inline void scratch_expect(const char *dir, const char *name, const char *text)
{
  char *path = rl_path_join(dir, name);
  rl_buf got = {0};
  if (rl_file_read_all(path, &got) != RL_OK) fail_msg("%s", rl_error_message());
  assert_string_equal(rl_buf_cstr(&got), text);
  rl_buf_free(&got);
  rl_free(path);
}

static inline bool scratch_exists(const char *dir, const char *name)
{
  char *path = rl_path_join(dir, name);
  bool exists = access(path, F_OK) == 0;
  rl_free(path);
  return exists;
}

/* A child that goes on until it is killed ends with its test, however that ends. */
static inline pid_t scratch_fork(void)
{
  pid_t parent = getpid(), pid = fork();
  assert_true(pid >= 0);
  if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) _exit(1);
  return pid;
}

#endif
