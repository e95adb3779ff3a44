/* The checkpoint directory itself, for store/inspect.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/inspect.h"

#define LOCKS "/proc/locks"

char *rl_checkpoint_log(const char *dir)
{
  return rl_path_join(dir, "log");
}

char *rl_checkpoint_state(const char *dir)
{
  return rl_path_join(dir, "state");
}

rl_status rl_checkpoint_check(const char *dir)
{
  char *log = rl_checkpoint_log(dir), *state = rl_checkpoint_state(dir);
  bool found = rl_path_is_dir(log) || rl_path_is_dir(state);
  rl_free(log);
  rl_free(state);
  return found ? RL_OK : rl_fail(RL_ENOTFOUND, "%s is no checkpoint directory: there is neither log nor state in it", dir);
}

/* "1: FLOCK  ADVISORY  WRITE 1234 08:01:12345 0 EOF" */
static int64_t locker(FILE *f, const struct stat *of)
{
  char line[256];
  while (fgets(line, sizeof line, f)) {
    int64_t pid;
    unsigned major, minor;
    uint64_t inode;
    if (sscanf(line, "%*[^:]: FLOCK %*s WRITE %" SCNd64 " %x:%x:%" SCNu64, &pid, &major, &minor, &inode) != 4) continue;
    if (inode == of->st_ino && major == major(of->st_dev) && minor == minor(of->st_dev)) return pid;
  }
  return 0;
}

int64_t rl_checkpoint_user(const char *dir)
{
  char *log = rl_checkpoint_log(dir), *lock = rl_path_join(log, "lock");
  struct stat st;
  int64_t pid = 0;
  FILE *f = rl_fs_get()->stat(lock, &st) == 0 ? fopen(LOCKS, "re") : NULL;
  if (f) {
    pid = locker(f, &st);
    fclose(f);
  }
  rl_free(lock);
  rl_free(log);
  return pid;
}
