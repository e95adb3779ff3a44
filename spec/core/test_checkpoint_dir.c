/* Whose a checkpoint directory is: what is open to others is closed, where it may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/log.h"
#include "scratch.h"
#include "store/checkpoint_dir.h"

static char *heard; /* the last line */

static void hear(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  rl_free(heard);
  heard = rl_strdup(line);
}

static unsigned mode_of(const char *path)
{
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  return st.st_mode & 07777;
}

static char *make(const char *dir, const char *name, bool folder)
{
  char *path = rl_path_join(dir, name);
  if (folder) {
    assert_int_equal(mkdir(path, 0755), 0);
  } else {
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
  }
  assert_int_equal(chmod(path, folder ? 0755 : 0644), 0);
  return path;
}

static void claim(const char *dir, rl_status expected, const char *said)
{
  rl_free(heard);
  heard = NULL;
  rl_log_set_sink(hear, NULL);
  rl_status st = rl_checkpoint_claim(dir);
  rl_log_set_sink(NULL, NULL);
  assert_int_equal(st, expected);
  const char *line = st == RL_OK ? heard : rl_error_message();
  if (said) assert_non_null(strstr(line ? line : "", said));
  else assert_null(heard);
}

static void an_open_directory_is_closed(void **state)
{
  char *log = make(*state, "log", true), *segment = make(log, "log-0000000000000001", false);
  assert_int_equal(chmod(*state, 0750), 0);
  claim(*state, RL_OK, "its mode was 750 and is 700 now");
  assert_int_equal(mode_of(*state), 0700);
  assert_int_equal(mode_of(log), 0700);
  assert_int_equal(mode_of(segment), 0600);
  claim(*state, RL_OK, NULL);
  rl_free(segment);
  rl_free(log);
}

static void other_things_keep_it_open(void **state)
{
  char *other = make(*state, "notes.txt", false), *log = make(*state, "log", true);
  assert_int_equal(chmod(*state, 0755), 0);
  claim(*state, RL_OK, "its mode stays 755, as there are other things in it (notes.txt)");
  assert_int_equal(mode_of(*state), 0755);
  assert_int_equal(mode_of(log), 0700);
  assert_int_equal(mode_of(other), 0644);
  rl_free(other);
  rl_free(log);
}

static void somebody_elses_is_not_touched(void **state)
{
  if (geteuid() != 0) skip();
  assert_int_equal(chmod(*state, 01777), 0);
  assert_int_equal(chown(*state, 65534, 65534), 0);
  claim(*state, RL_EINVAL, "anybody may write to it (mode 1777): give the job a directory of its own");
  assert_int_equal(chmod(*state, 0755), 0);
  claim(*state, RL_OK, "and the job runs as root");
  assert_int_equal(mode_of(*state), 0755);
  assert_int_equal(chown(*state, 0, 0), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(an_open_directory_is_closed),
      in_a_folder(other_things_keep_it_open),
      in_a_folder(somebody_elses_is_not_touched),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rl_free(heard);
  return failed;
}
