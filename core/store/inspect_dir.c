/* The checkpoint directory itself, for store/inspect.h. */
#include <errno.h>
#include <fcntl.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/inspect.h"

char *rl_checkpoint_log(const char *dir)
{
  return rl_path_join(dir, "log");
}

char *rl_checkpoint_state(const char *dir)
{
  return rl_path_join(dir, "state");
}

/* Is there such a directory? RL_EIO: it may be, but cannot be read. */
static rl_status look(const char *path, bool *found)
{
  int fd = -1;
  rl_status st = rl_file_open(path, O_RDONLY | O_DIRECTORY, &fd);
  *found = st == RL_OK;
  if (*found) return rl_file_close(fd, path);
  return errno == ENOENT || errno == ENOTDIR ? RL_OK : st;
}

rl_status rl_checkpoint_check(const char *dir)
{
  char *log = rl_checkpoint_log(dir), *state = rl_checkpoint_state(dir);
  bool there = false, has_log = false, has_state = false;
  rl_status st = look(dir, &there);
  if (st == RL_OK && there) st = look(log, &has_log);
  if (st == RL_OK && there) st = look(state, &has_state);
  rl_free(log);
  rl_free(state);
  if (st != RL_OK || has_log || has_state) return st;
  return rl_fail(RL_ENOTFOUND, "%s is no checkpoint directory: there is %s", dir,
                 there ? "neither log nor state in it" : "no directory of that name");
}

int64_t rl_checkpoint_user(const char *dir)
{
  char *log = rl_checkpoint_log(dir), *lock = rl_path_join(log, "lock");
  int64_t pid = rl_file_locker(lock);
  rl_free(lock);
  rl_free(log);
  return pid;
}
