#include "sink/lmdb_env.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#define MAX_DBS 128
#define NS_PER_S INT64_C(1000000000)

int64_t rl_lmdb_patience_ns = 10 * NS_PER_S;

struct rl_lmdb {
  rl_lmdb *next; /* under the list's lock, as is refs */
  unsigned refs;
  dev_t device; /* of the data file, with inode: what it is known by */
  ino_t inode;
  char *path;
  MDB_env *env;
  bool read_only;
  pthread_mutex_t naming; /* held while a database is opened: LMDB wants one at a time */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned active; /* transactions; as all that follows under `lock` */
  bool resizing;
  bool broken; /* it could not be mapped anew */
  size_t map;
};

static struct {
  pthread_mutex_t lock; /* taken before that of an environment */
  rl_lmdb *first;
} list = {.lock = PTHREAD_MUTEX_INITIALIZER};

static rl_status fail_at(const char *path, int rc, const char *what)
{
  switch (rc) {
  case ENOSPC:
  case EDQUOT:
    return rl_fail(RL_EIO, "cannot %s %s: %s; make room there, or write elsewhere", what, path, strerror(rc));
  case EIO: /* also for what was written in part */
    return rl_fail(RL_EIO, "cannot %s %s: %s, or no space left there", what, path, strerror(rc));
  case MDB_INVALID:
  case MDB_VERSION_MISMATCH:
    return rl_fail(RL_EDATA, "cannot %s %s: that is no LMDB environment (%s)", what, path, mdb_strerror(rc));
  case MDB_CORRUPTED:
  case MDB_PAGE_NOTFOUND: return rl_fail(RL_EDATA, "cannot %s %s: it is damaged (%s)", what, path, mdb_strerror(rc));
  case MDB_PANIC:
    return rl_fail(RL_ESTATE, "cannot %s %s: writing failed before; the program must be started again", what, path);
  case MDB_TXN_FULL:
    return rl_fail(RL_ELIMIT, "cannot %s %s: a batch is too much for one transaction; make batches shorter", what,
                   path);
  case ENOMEM: return rl_fail(RL_ENOMEM, "cannot %s %s: %s", what, path, strerror(rc));
  case ENOENT: return rl_fail(RL_ENOTFOUND, "cannot %s %s: there is no LMDB environment", what, path);
  default: return rl_fail(RL_EIO, "cannot %s %s: %s", what, path, mdb_strerror(rc));
  }
}

rl_status rl_lmdb_fail(const rl_lmdb *e, int rc, const char *what)
{
  return fail_at(e->path, rc, what);
}

/* Opening ---------------------------------------------------------------------------------------------------------- */

static rl_lmdb *find(const char *file)
{
  struct stat st;
  if (rl_fs_get()->stat(file, &st) != 0) return NULL;
  for (rl_lmdb *e = list.first; e; e = e->next) {
    if (e->device == st.st_dev && e->inode == st.st_ino) return e;
  }
  return NULL;
}

static int open_env(rl_lmdb *e, unsigned flags)
{
  int rc = mdb_env_create(&e->env);
  if (rc != 0) return rc;
  rc = mdb_env_set_maxdbs(e->env, MAX_DBS);
  if (rc == 0) rc = mdb_env_open(e->env, e->path, flags | MDB_NOTLS, 0666);
  if (rc == 0) return 0;
  mdb_env_close(e->env);
  e->env = NULL;
  return rc;
}

/* Who may only read does. */
static int open_either(rl_lmdb *e, bool create, bool is_file)
{
  unsigned flags = is_file ? MDB_NOSUBDIR : 0;
  int rc = open_env(e, flags);
  if (create || (rc != EACCES && rc != EROFS)) return rc;
  e->read_only = true;
  return open_env(e, flags | MDB_RDONLY);
}

static int read_size(rl_lmdb *e)
{
  MDB_envinfo info;
  int rc = mdb_env_info(e->env, &info);
  e->map = rc == 0 ? info.me_mapsize : 0;
  return rc;
}

static int settle(rl_lmdb *e, size_t map)
{
  int fd, dead = 0;
  struct stat st;
  int rc = mdb_env_get_fd(e->env, &fd);
  if (rc == 0 && fstat(fd, &st) != 0) rc = errno;
  if (rc == 0) rc = mdb_reader_check(e->env, &dead);
  if (rc == 0) rc = read_size(e);
  if (rc == 0 && !e->read_only && e->map < map) {
    rc = mdb_env_set_mapsize(e->env, map);
    if (rc == 0) rc = read_size(e);
  }
  if (rc != 0) return rc;
  e->device = st.st_dev;
  e->inode = st.st_ino;
  return 0;
}

static void destroy(rl_lmdb *e)
{
  if (e->env) mdb_env_close(e->env);
  pthread_cond_destroy(&e->changed);
  pthread_mutex_destroy(&e->lock);
  pthread_mutex_destroy(&e->naming);
  rl_free(e->path);
  rl_free(e);
}

static rl_status open_new(const char *path, bool create, bool is_file, size_t map, rl_lmdb **out)
{
  rl_lmdb *e = RL_NEW(rl_lmdb);
  e->refs = 1;
  e->path = rl_strdup(path);
  pthread_mutex_init(&e->naming, NULL);
  pthread_mutex_init(&e->lock, NULL);
  pthread_cond_init(&e->changed, NULL);
  int rc = open_either(e, create, is_file);
  if (rc == 0) rc = settle(e, map);
  rl_status st = rc != 0 ? fail_at(path, rc, "open") : RL_OK;
  if (st == RL_OK && create && !is_file) st = rl_dir_try_sync(path); /* the names of new files */
  if (st != RL_OK) {
    destroy(e);
    return st;
  }
  e->next = list.first;
  list.first = e;
  *out = e;
  return RL_OK;
}

static rl_status open_locked(const char *path, bool create, size_t map, rl_lmdb **out)
{
  struct stat info;
  bool there = rl_fs_get()->stat(path, &info) == 0;
  if (!there && !create) return fail_at(path, errno, "open");
  rl_status st = there ? RL_OK : rl_dir_make_shared(path);
  if (st != RL_OK) return st;
  bool is_file = there && S_ISREG(info.st_mode);
  char *file = is_file ? rl_strdup(path) : rl_path_join(path, "data.mdb");
  rl_lmdb *e = find(file);
  bool missing = !e && !create && rl_fs_get()->stat(file, &info) != 0;
  rl_free(file);
  if (missing) return fail_at(path, ENOENT, "open"); /* LMDB would make one */
  if (!e) return open_new(path, create, is_file, map, out);
  if (create && e->read_only) return fail_at(path, EACCES, "write to");
  e->refs++;
  *out = e;
  return RL_OK;
}

rl_status rl_lmdb_open(const char *path, bool create, size_t map, rl_lmdb **out)
{
  pthread_mutex_lock(&list.lock);
  rl_status st = open_locked(path, create, map, out);
  pthread_mutex_unlock(&list.lock);
  return st;
}

rl_lmdb *rl_lmdb_ref(rl_lmdb *e)
{
  pthread_mutex_lock(&list.lock);
  e->refs++;
  pthread_mutex_unlock(&list.lock);
  return e;
}

/* Closed under the lock: nobody opens it anew before it is. */
void rl_lmdb_unref(rl_lmdb *e)
{
  if (!e) return;
  pthread_mutex_lock(&list.lock);
  if (--e->refs == 0) {
    rl_lmdb **at = &list.first;
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    destroy(e);
  }
  pthread_mutex_unlock(&list.lock);
}

const char *rl_lmdb_path(const rl_lmdb *e)
{
  return e->path;
}

size_t rl_lmdb_map(rl_lmdb *e)
{
  pthread_mutex_lock(&e->lock);
  size_t map = e->map;
  pthread_mutex_unlock(&e->lock);
  return map;
}

size_t rl_lmdb_max_key(const rl_lmdb *e)
{
  return (size_t)mdb_env_get_maxkeysize(e->env);
}

/* Databases -------------------------------------------------------------------------------------------------------- */

static rl_status open_db(rl_lmdb *e, const char *name, bool create, MDB_dbi *out) /* NOLINT(misc-no-recursion) */
{
  MDB_txn *txn = NULL;
  unsigned flags = 0;
  size_t map = rl_lmdb_map(e);
  rl_status st = rl_lmdb_begin(e, create, false, &txn);
  if (st != RL_OK) return st;
  int rc = mdb_dbi_open(txn, name, create ? MDB_CREATE : 0, out);
  if (rc == 0) rc = mdb_dbi_flags(txn, *out, &flags);
  if (rc == 0 && (flags & (MDB_DUPSORT | MDB_INTEGERKEY))) {
    rl_lmdb_abort(e, txn);
    return rl_fail(RL_EUNSUPPORTED, "the database '%s' in %s has %s; choose another", name, e->path,
                   flags & MDB_DUPSORT ? "several values a key" : "integers as keys");
  }
  if (rc == 0) {
    rc = rl_lmdb_commit(e, txn);
  } else {
    rl_lmdb_abort(e, txn);
  }
  if (rc == MDB_MAP_FULL) {
    st = rl_lmdb_grow(e, map);
    return st == RL_OK ? open_db(e, name, create, out) : st;
  }
  if (rc == MDB_NOTFOUND) return rl_fail(RL_ENOTFOUND, "there is no database '%s' in %s", name, e->path);
  if (rc == MDB_DBS_FULL) return rl_fail(RL_ELIMIT, "more than %d databases are used in %s", MAX_DBS, e->path);
  if (rc == MDB_INCOMPATIBLE) return rl_fail(RL_EUNSUPPORTED, "'%s' in %s is a value, not a database", name, e->path);
  return rc != 0 ? rl_lmdb_fail(e, rc, "open a database in") : RL_OK;
}

/* Looked for first: that waits for no writer. */
rl_status rl_lmdb_db(rl_lmdb *e, const char *name, bool create, MDB_dbi *out)
{
  pthread_mutex_lock(&e->naming);
  rl_status st = open_db(e, name, false, out);
  if (st == RL_ENOTFOUND && create) st = open_db(e, name, true, out);
  pthread_mutex_unlock(&e->naming);
  return st;
}

/* Transactions ----------------------------------------------------------------------------------------------------- */

static rl_status enter(rl_lmdb *e, bool within)
{
  pthread_mutex_lock(&e->lock);
  while (e->resizing && !within) pthread_cond_wait(&e->changed, &e->lock);
  bool broken = e->broken;
  e->active += !broken;
  pthread_mutex_unlock(&e->lock);
  return broken ? rl_lmdb_fail(e, MDB_PANIC, "use") : RL_OK;
}

static void leave(rl_lmdb *e)
{
  pthread_mutex_lock(&e->lock);
  e->active--;
  pthread_cond_broadcast(&e->changed);
  pthread_mutex_unlock(&e->lock);
}

/* Waits for a change; false: it is over with patience. */
static bool await_change(rl_lmdb *e, int64_t due)
{
  const struct timespec until = {.tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S};
  return pthread_cond_clockwait(&e->changed, &e->lock, CLOCK_MONOTONIC, &until) == 0;
}

static rl_status busy(const rl_lmdb *e)
{
  rl_fail(RL_ELIMIT, "cannot reserve more for %s while it is read: end the readers of this program, or set mapSize",
          e->path);
  rl_error_set_retriable(true);
  return RL_ELIMIT;
}

/* size 0: what another process made it. `lock` is held. */
static rl_status resize(rl_lmdb *e, size_t size, size_t seen)
{
  int64_t due = rl_mono_ns() + rl_lmdb_patience_ns;
  while (e->resizing) {
    if (!await_change(e, due)) return busy(e);
  }
  if (size != 0 && e->map != seen) return RL_OK;
  e->resizing = true;
  bool patient = true;
  while (e->active > 0 && patient) patient = await_change(e, due);
  int rc = 0;
  if (e->active == 0) {
    rc = mdb_env_set_mapsize(e->env, size);
    if (rc == 0) rc = read_size(e);
    e->broken |= rc != 0; /* it may have no map at all now */
  }
  bool done = e->active == 0;
  e->resizing = false;
  pthread_cond_broadcast(&e->changed);
  if (rc != 0) return rl_lmdb_fail(e, rc, "reserve more for");
  return done ? RL_OK : busy(e);
}

static rl_status resize_now(rl_lmdb *e, size_t size, size_t seen)
{
  pthread_mutex_lock(&e->lock);
  rl_status st = resize(e, size, seen);
  pthread_mutex_unlock(&e->lock);
  return st;
}

rl_status rl_lmdb_grow(rl_lmdb *e, size_t seen)
{
  return resize_now(e, seen * 2, seen);
}

rl_status rl_lmdb_begin(rl_lmdb *e, bool write, bool within, MDB_txn **out)
{
  for (;;) {
    rl_status st = enter(e, within);
    if (st != RL_OK) return st;
    int rc = mdb_txn_begin(e->env, NULL, write ? 0 : MDB_RDONLY, out);
    if (rc == 0) return RL_OK;
    leave(e);
    if (rc == MDB_READERS_FULL) return rl_fail(RL_ELIMIT, "%s is read by too many at once", e->path);
    if (rc != MDB_MAP_RESIZED || within) return rl_lmdb_fail(e, rc, write ? "write to" : "read");
    st = resize_now(e, 0, 0);
    if (st != RL_OK) return st;
  }
}

int rl_lmdb_commit(rl_lmdb *e, MDB_txn *txn)
{
  int rc = mdb_txn_commit(txn);
  leave(e);
  return rc;
}

void rl_lmdb_abort(rl_lmdb *e, MDB_txn *txn)
{
  mdb_txn_abort(txn);
  leave(e);
}
