/* The folder of a store. A file in it is locked while the store is open: so no environment is opened twice, and who
 * finds a scratch folder whose lock is free knows that its process is dead. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/state_impl.h"

#define PREFIX "rille-state-"
#define PATTERN PREFIX "XXXXXX"
#define LOCK_NAME "alive"
#define YOUNG_S 60 /* a folder without the file may be about to get it */
#define TRIES 8

static bool is_gone(int fd)
{
  struct stat st;
  return fstat(fd, &st) != 0 || st.st_nlink == 0;
}

typedef rl_status lock_call(int fd, const char *path, bool *got);

/* *fd = -1: somebody else has it. */
static rl_status take_lock(const char *path, int flags, lock_call *lock, int *fd)
{
  bool got = false;
  do *fd = rl_fs_get()->open(path, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
  while (*fd < 0 && errno == EINTR);
  if (*fd < 0) return rl_fail_errno("cannot open %s", path);
  rl_status st = lock(*fd, path, &got);
  if (got) return RL_OK;
  rl_fs_get()->close(*fd); /* nothing was written */
  *fd = -1;
  return st;
}

/* Dead processes' folders ------------------------------------------------------------------------------------------ */

static bool is_old(const struct stat *st)
{
  return time(NULL) - st->st_mtime > YOUNG_S;
}

static void remove_if_dead(const char *dir)
{
  struct stat st;
  int fd = -1;
  if (lstat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) return;
  char *lock = rl_path_join(dir, LOCK_NAME);
  bool missing = access(lock, F_OK) != 0 && errno == ENOENT;
  bool dead = missing ? is_old(&st) : take_lock(lock, 0, rl_file_lock, &fd) == RL_OK && fd >= 0;
  /* What cannot be removed now is found again by the next one. */
  if (dead) (void)rl_dir_remove(dir);
  if (fd >= 0) rl_fs_get()->close(fd);
  rl_free(lock);
}

static rl_status remove_one(void *parent, const char *name)
{
  if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0 || strlen(name) != sizeof PATTERN - 1) return RL_OK;
  char *dir = rl_path_join(parent, name);
  remove_if_dead(dir);
  rl_free(dir);
  return RL_OK;
}

/* What cannot be looked at now is found again by the next one. */
static void remove_dead(const char *parent)
{
  if (rl_dir_each(parent, remove_one, (char *)parent) != RL_OK) rl_error_drop();
}

/* Opening ---------------------------------------------------------------------------------------------------------- */

/* Between the folder and the lock another process may take the folder for a dead one's: then a new one is made. */
static rl_status make_scratch(rl_state *s, const char *parent, char **dir)
{
  for (int i = 0; i < TRIES; i++) {
    *dir = rl_path_join(parent, PATTERN);
    if (!mkdtemp(*dir)) {
      rl_status st = rl_fail_errno("cannot make a folder for state in %s", parent);
      rl_free(*dir);
      *dir = NULL;
      return st;
    }
    s->lock_path = rl_path_join(*dir, LOCK_NAME);
    rl_status st = take_lock(s->lock_path, O_CREAT | O_EXCL, rl_file_lock, &s->lock_fd);
    if (st == RL_OK && s->lock_fd >= 0 && !is_gone(s->lock_fd)) return RL_OK;
    rl_state_dir_close(s, *dir, true);
    rl_free(*dir);
    *dir = NULL;
  }
  return rl_fail(RL_EIO, "cannot make a folder for state in %s: others remove it", parent);
}

static rl_status open_kept(rl_state *s, const char *path, char **dir)
{
  if (rl_fs_get()->mkdir(path, 0700) != 0 && errno != EEXIST) return rl_fail_errno("cannot make %s", path);
  s->lock_path = rl_path_join(path, LOCK_NAME);
  rl_status st = take_lock(s->lock_path, O_CREAT, rl_file_lock_soon, &s->lock_fd);
  if (st == RL_OK && s->lock_fd < 0) {
    char *who = rl_file_locker_name(s->lock_path);
    st = rl_fail(RL_ESTATE, "the state in %s is in use by %s; stop that one first", path, who);
    rl_free(who);
  }
  if (st != RL_OK) {
    rl_state_dir_close(s, path, false);
    return st;
  }
  *dir = rl_strdup(path);
  return RL_OK;
}

char *rl_path_parent(const char *path)
{
  size_t n = strlen(path);
  while (n > 1 && path[n - 1] == '/') n--;
  while (n > 0 && path[n - 1] != '/') n--;
  while (n > 1 && path[n - 1] == '/') n--;
  return n > 0 ? rl_strndup(path, n) : rl_strdup(".");
}

rl_status rl_state_dir_open(rl_state *s, const rl_state_spec *spec, char **dir)
{
  s->lock_fd = -1;
  char *above = spec->scratch ? rl_strdup(spec->dir) : rl_path_parent(spec->dir);
  rl_status st = rl_dir_make(above);
  if (st == RL_OK && spec->scratch) {
    remove_dead(above);
    st = make_scratch(s, above, dir);
  } else if (st == RL_OK) {
    st = open_kept(s, spec->dir, dir);
  }
  rl_free(above);
  return st;
}

void rl_state_dir_close(rl_state *s, const char *dir, bool scratch)
{
  if (scratch && rl_dir_remove(dir) != RL_OK) rl_warn("%s", rl_error_message());
  if (s->lock_fd >= 0) rl_fs_get()->close(s->lock_fd);
  s->lock_fd = -1;
  rl_free(s->lock_path);
  s->lock_path = NULL;
}
