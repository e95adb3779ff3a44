/* Copies of the image. LMDB writes a copy of one moment, without unused pages, to a descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/state_impl.h"

/* map = 0: as large as the store had it. LMDB takes at least what the file has. */
static int open_reader(const char *dir, size_t map, MDB_env **out)
{
  MDB_env *env = NULL;
  int rc = mdb_env_create(&env);
  if (rc != 0) return rc;
  rc = mdb_env_set_maxreaders(env, RL_IMAGE_READERS);
  if (rc == 0) rc = mdb_env_set_maxdbs(env, 3 + RL_NOTE_KINDS);
  if (rc == 0 && map > 0) rc = mdb_env_set_mapsize(env, map);
  if (rc == 0) rc = mdb_env_open(env, dir, MDB_RDONLY | MDB_NOTLS | MDB_NORDAHEAD, 0600);
  if (rc == 0) {
    *out = env;
  } else {
    mdb_env_close(env);
  }
  return rc;
}

/* As the store's own map, less is tried where address space is short: the store may have had more of it. */
int rl_env_open_reader(const char *dir, MDB_env **out)
{
  int rc = open_reader(dir, 0, out);
  for (size_t map = RL_IMAGE_MAP_LARGEST / 2; rc == ENOMEM && map >= RL_IMAGE_MAP_SMALLEST; map /= 2) {
    rc = open_reader(dir, map, out);
  }
  return rc;
}

static rl_status copy_failed(const char *dir, const char *to, int rc)
{
  return rl_fail(rc == ENOMEM ? RL_ENOMEM : RL_EIO, "cannot copy the state in %s to %s: %s", dir, to, mdb_strerror(rc));
}

/* MDB_INCOMPATIBLE: LMDB knows of pages that are neither used nor unused; a plain copy has them as well. */
static rl_status write_copy(MDB_env *env, const char *dir, const char *to, int fd, const char *path)
{
  int rc = mdb_env_copyfd2(env, fd, MDB_CP_COMPACT);
  if (rc == MDB_INCOMPATIBLE) {
    rl_status st = rl_file_truncate(fd, path, 0);
    if (st != RL_OK) return st;
    if (lseek(fd, 0, SEEK_SET) != 0) return rl_fail_errno("cannot seek in %s", path);
    rc = mdb_env_copyfd2(env, fd, 0);
  }
  if (rc != 0) return copy_failed(dir, to, rc);
  return rl_file_sync(fd, path);
}

static rl_status copy_into(MDB_env *env, const char *dir, const char *to)
{
  char *path = rl_path_join(to, "data.mdb");
  int fd = -1;
  rl_status st = rl_file_open_private(path, O_RDWR | O_CREAT | O_EXCL, &fd);
  if (st == RL_OK) st = write_copy(env, dir, to, fd, path);
  if (fd >= 0) {
    rl_status closed = rl_file_close(fd, path);
    if (st == RL_OK) st = closed;
  }
  rl_free(path);
  return st == RL_OK ? rl_dir_sync(to) : st;
}

static rl_status copy(MDB_env *env, const char *dir, const char *to)
{
  if (access(to, F_OK) == 0) return rl_fail(RL_ESTATE, "%s is there already; name a new folder for the copy", to);
  rl_status st = rl_dir_make_private(to);
  if (st != RL_OK) return st;
  char *above = rl_path_parent(to);
  st = copy_into(env, dir, to);
  if (st == RL_OK) st = rl_dir_sync(above);
  rl_free(above);
  if (st == RL_OK) return st;
  rl_error why;
  rl_error_take(&why);
  (void)rl_dir_remove(to); /* the first error is the one to tell */
  return rl_error_raise(&why);
}

rl_status rl_state_backup(rl_state *s, const char *to)
{
  rl_outside_begin(s);
  rl_status st = copy(s->image.env, s->image.dir, to);
  rl_outside_end(s);
  return st;
}

rl_status rl_state_backup_dir(const char *dir, const char *to)
{
  char *path = rl_path_join(dir, "data.mdb");
  uint64_t size = 0;
  rl_status looked = rl_file_size(path, &size);
  MDB_env *env = NULL;
  rl_free(path);
  if (looked == RL_ENOTFOUND) return rl_fail(RL_ENOTFOUND, "there is no state in %s", dir);
  if (looked != RL_OK) return looked;
  if (size == 0) return rl_image_sound(dir);
  int rc = rl_env_open_reader(dir, &env);
  if (rc != 0) return copy_failed(dir, to, rc);
  rl_status st = copy(env, dir, to);
  mdb_env_close(env);
  return st;
}
