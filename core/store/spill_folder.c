#include "store/spill_folder.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#define PREFIX "rille-spill-"
#define YOUNG_S 60 /* a folder without a lock may still be in the making */

static rl_status lock_folder(const char *path, int *fd)
{
  char *making = rl_path_join(path, "lock.new"), *made = rl_path_join(path, "lock");
  bool got = false;
  rl_status st = rl_file_open(making, O_RDWR | O_CREAT | O_EXCL, fd);
  if (st == RL_OK) st = rl_file_lock(*fd, making, &got);
  if (st == RL_OK && !got) st = rl_fail(RL_EIO, "cannot lock %s: somebody else has it", making);
  if (st == RL_OK) st = rl_file_rename(making, made);
  rl_free(making);
  rl_free(made);
  return st;
}

rl_status rl_spill_folder_make(const char *dir, rl_spill_folder *out)
{
  static _Atomic unsigned serial;
  rl_status st = rl_dir_make(dir);
  if (st != RL_OK) return st;
  char *name = rl_format(PREFIX "%ld-%u-%llx", (long)getpid(), atomic_fetch_add(&serial, 1),
                         (unsigned long long)rl_mono_ns());
  *out = (rl_spill_folder){rl_path_join(dir, name), -1};
  rl_free(name);
  st = rl_dir_make_private(out->path);
  if (st == RL_OK) st = lock_folder(out->path, &out->lock);
  if (st == RL_OK) return RL_OK;
  rl_error error;
  rl_error_take(&error);
  rl_spill_folder_remove(out);
  return rl_error_raise(&error);
}

void rl_spill_folder_remove(rl_spill_folder *f)
{
  if (f->path && rl_dir_remove(f->path) != RL_OK) rl_warn("spill folder: %s", rl_error_message());
  if (f->lock >= 0 && rl_file_close(f->lock, f->path) != RL_OK) rl_warn("spill folder: %s", rl_error_message());
  rl_free(f->path);
  *f = RL_SPILL_NO_FOLDER;
}

/* Takes the lock of a folder nobody lives in, so that two cleaners do not meet; *fd stays -1 when there is none. */
static bool is_orphan(const char *path, int *fd)
{
  struct stat st;
  if (rl_fs_get()->stat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid()) return false;
  char *lock = rl_path_join(path, "lock");
  bool got = false;
  rl_status opened = rl_file_open(lock, O_RDWR, fd);
  if (opened == RL_ENOTFOUND) got = time(NULL) - st.st_mtime > YOUNG_S;
  else if (opened == RL_OK && rl_file_lock(*fd, lock, &got) != RL_OK) got = false;
  rl_free(lock);
  return got;
}

static rl_status clean_one(void *dir, const char *name)
{
  if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) return RL_OK;
  char *path = rl_path_join(dir, name);
  int fd = -1;
  if (is_orphan(path, &fd)) {
    if (rl_dir_remove(path) == RL_OK) rl_info("removed %s, left behind by a process that is no more", path);
    else rl_info("%s", rl_error_message());
  }
  if (fd >= 0) (void)rl_file_close(fd, path);
  rl_free(path);
  return RL_OK;
}

void rl_spill_folder_clean(const char *dir)
{
  if (rl_dir_each(dir, clean_one, (void *)dir) != RL_OK) rl_info("%s", rl_error_message());
}
