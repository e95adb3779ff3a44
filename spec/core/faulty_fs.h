/* A table of file calls (base/file.h) that counts its steps, fails one of them, or crashes there: from that step on
 * nothing reaches the disk, and faulty_crash() then takes away what had not been synced, wholly or in part. Beneath are
 * the system's calls, so use folders of a test's own.
 *
 *   for (unsigned step = 1; ; step++) {
 *     faulty_begin(FAULTY_CRASH, step, 0);
 *     ... the work, which may fail ...
 *     bool met = faulty_end();            the system's table is set again
 *     faulty_crash(FAULTY_LOSE, seed);    what the disk holds after a power cut
 *     ... recover, check ...
 *     if (!met) break;                    the work has fewer steps
 *   }
 *
 * FAULTY_EXIT ends the process there instead, for a job in a child of the test's: what the disk holds then is made in
 * it, by faulty.loss and faulty.seed. faulty.under and faulty.spill name folders: other files' steps do not count, nor
 * do other calls than faulty.only where that is set.
 *
 * What a power cut may do is modelled like this: writes and truncations of a file since its last sync are undone, or
 * some of their sectors, independently; files created and renamed since the last sync of a directory are not from some
 * operation on, files unlinked may be there again, each. A sync that fails leaves the changes for clean, as Linux does:
 * later ones do not bring them to the disk, unless they were written again. A rename over a file that is undone brings
 * that file back. Works for files opened through the table. Until it is forgotten, what was unlinked or renamed over
 * lies beside it as NAME.unlinked-N. */
#ifndef SPEC_CORE_FAULTY_FS_H
#define SPEC_CORE_FAULTY_FS_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

typedef enum faulty_kind {
  FAULTY_ERROR, /* the step fails with `error` and does nothing */
  FAULTY_SHORT, /* a transfer of more than one byte does a part of it; other calls are left alone */
  FAULTY_CRASH, /* it and all later ones fail with EIO and do nothing, but closing */
  FAULTY_EXIT,  /* the process ends before it with FAULTY_STATUS */
  FAULTY_TORN,  /* likewise, in the middle of it when it transfers more than one byte */
} faulty_kind;

typedef enum faulty_loss {
  FAULTY_KEEP, /* the process was killed, the machine goes on: nothing is lost */
  FAULTY_LOSE, /* everything since the last sync */
  FAULTY_SOME, /* some of it, by the seed */
} faulty_loss;

enum { FAULTY_FDS = 256, FAULTY_SECTOR = 512, FAULTY_STATUS = 99 };

typedef struct faulty_undo {
  struct faulty_undo *next; /* the one before it in time */
  enum { FAULTY_WRITE, FAULTY_SIZE, FAULTY_CREATE, FAULTY_RENAME, FAULTY_UNLINK } what;
  char *path, *other; /* RENAME: to `other`; UNLINK: kept as `other` */
  char *over;         /* RENAME: the file that was `other` before, kept as this; NULL: there was none */
  size_t at, n;       /* WRITE, SIZE: stretch; the bytes before are old[0 .. had) */
  size_t had, size;   /* and the file's size */
  bool dropped;       /* a sync failed: WRITE is not on disk, and is not brought there */
  char *old;
} faulty_undo;

static struct {
  pthread_mutex_t lock;
  faulty_kind kind;
  unsigned at, steps; /* 0: none fails */
  int error;
  bool met;
  const char *under, *spill; /* only files in these folders count; both NULL: all */
  const char *only;          /* only this call; NULL: all */
  void (*met_at)(const char *call, const char *path); /* told of the step; under the lock */
  faulty_loss loss;                                   /* FAULTY_EXIT */
  uint64_t seed;                                      /* likewise */
  int (*fails)(const char *call); /* tests that want one call only: errno, or 0 to go on; called under the lock */
  char *paths[FAULTY_FDS];
  faulty_undo *undo; /* the latest first */
  unsigned kept;     /* names of unlinked files */
} faulty = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline uint64_t faulty_random(uint64_t *seed)
{
  *seed += UINT64_C(0x9e3779b97f4a7c15);
  uint64_t x = *seed;
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static inline void faulty_crash(faulty_loss loss, uint64_t seed);

static inline bool faulty_is_in(const char *dir, const char *path)
{
  size_t n = dir ? strlen(dir) : 0;
  return n > 0 && strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static inline bool faulty_counts(const char *call, const char *path)
{
  if (faulty.only && strcmp(call, faulty.only) != 0) return false;
  if (!faulty.under && !faulty.spill) return true;
  return path && (faulty_is_in(faulty.under, path) || faulty_is_in(faulty.spill, path));
}

static inline void faulty_exit(void)
{
  faulty_crash(faulty.loss, faulty.seed);
  _exit(FAULTY_STATUS);
}

/* Takes the lock, which faulty_leave gives back. Whether the call is to fail; *part: is to be short. */
static inline bool faulty_enter_path(const char *call, const char *path, bool *part)
{
  if (part) *part = false;
  int reason = faulty.fails ? faulty.fails(call) : 0;
  if (!faulty_counts(call, path)) {
    if (reason != 0) errno = reason;
    return reason != 0;
  }
  bool hit = ++faulty.steps == faulty.at;
  if (hit) faulty.met = true;
  if (hit && faulty.met_at) faulty.met_at(call, path ? path : "");
  if (hit && (faulty.kind == FAULTY_EXIT || (faulty.kind == FAULTY_TORN && !part))) faulty_exit();
  if (faulty.kind == FAULTY_CRASH && faulty.met) reason = EIO;
  else if (hit && faulty.kind == FAULTY_ERROR) reason = faulty.error;
  else if (hit && part) *part = true;
  if (reason != 0) errno = reason;
  return reason != 0;
}

static inline bool faulty_enter(const char *call, const char *path, bool *part)
{
  pthread_mutex_lock(&faulty.lock);
  return faulty_enter_path(call, path, part);
}

static inline bool faulty_enter_fd(const char *call, int fd, bool *part)
{
  pthread_mutex_lock(&faulty.lock);
  return faulty_enter_path(call, fd >= 0 && fd < FAULTY_FDS ? faulty.paths[fd] : NULL, part);
}

static inline ssize_t faulty_leave(ssize_t result)
{
  int reason = errno;
  if (faulty.kind == FAULTY_TORN && faulty.met) faulty_exit();
  pthread_mutex_unlock(&faulty.lock);
  errno = reason;
  return result;
}

static inline void faulty_note(faulty_undo u, const char *path, const char *other)
{
  faulty_undo *p = RL_NEW(faulty_undo);
  *p = u;
  p->path = rl_strdup(path);
  p->other = rl_strdup(other);
  p->next = faulty.undo;
  faulty.undo = p;
}

static inline void faulty_free_undo(faulty_undo *u)
{
  if (u->what == FAULTY_UNLINK) unlink(u->other);
  if (u->over) unlink(u->over);
  rl_free(u->over);
  rl_free(u->path);
  rl_free(u->other);
  rl_free(u->old);
  rl_free(u);
}

/* Its changes are not, and never will be. */
static inline void faulty_not_synced(int fd)
{
  if (fd >= FAULTY_FDS || !faulty.paths[fd] || faulty.kind == FAULTY_CRASH || errno == EINTR) return;
  for (faulty_undo *u = faulty.undo; u; u = u->next) {
    if (u->what == FAULTY_WRITE && strcmp(u->path, faulty.paths[fd]) == 0) u->dropped = true;
  }
}

/* What is written again may come to the disk again; what is cut off is of no interest any more. */
static inline void faulty_changed(const char *path, size_t at, size_t n)
{
  for (faulty_undo *u = faulty.undo; u; u = u->next) {
    bool within = u->at >= at && (n == SIZE_MAX || u->at + u->n <= at + n);
    if (u->dropped && within && strcmp(u->path, path) == 0) u->dropped = false;
  }
}

/* The bytes of fd that a change of [at, at + n) replaces, and those a cut to `at` takes away (n = SIZE_MAX). */
static inline void faulty_note_change(int what, int fd, size_t at, size_t n)
{
  struct stat st;
  if (fd >= FAULTY_FDS || !faulty.paths[fd] || fstat(fd, &st) != 0) return;
  faulty_changed(faulty.paths[fd], at, n);
  size_t size = (size_t)st.st_size, end = n > SIZE_MAX - at || at + n > size ? size : at + n;
  faulty_undo u = {.what = what, .at = at, .n = n, .size = size};
  u.had = end > at ? end - at : 0;
  u.old = u.had > 0 ? rl_alloc(u.had) : NULL;
  int reader = u.had > 0 ? open(faulty.paths[fd], O_RDONLY) : -1;
  if (reader >= 0 && pread(reader, u.old, u.had, (off_t)at) != (ssize_t)u.had) abort();
  if (reader >= 0) close(reader);
  faulty_note(u, faulty.paths[fd], NULL);
}

/* The changes of a file, or of a directory's entries, are on disk. */
static inline void faulty_synced(const char *path)
{
  size_t n = strlen(path);
  for (faulty_undo **p = &faulty.undo; *p;) {
    faulty_undo *u = *p;
    bool data = u->what == FAULTY_WRITE || u->what == FAULTY_SIZE;
    bool entry = !data && strncmp(u->path, path, n) == 0 && u->path[n] == '/' && !strchr(u->path + n + 1, '/');
    if ((data && !u->dropped && strcmp(u->path, path) == 0) || entry) {
      *p = u->next;
      faulty_free_undo(u);
    } else {
      p = &u->next;
    }
  }
}

/* The calls -------------------------------------------------------------------------------------------------------- */

static inline void faulty_name(int fd, const char *path)
{
  if (fd < 0 || fd >= FAULTY_FDS) return;
  rl_free(faulty.paths[fd]);
  faulty.paths[fd] = rl_strdup(path);
}

static inline int faulty_open(const char *path, int flags, mode_t mode)
{
  if (faulty_enter("open", path, NULL)) return (int)faulty_leave(-1);
  bool created = (flags & O_CREAT) && access(path, F_OK) != 0;
  int fd = open(path, flags, mode);
  faulty_name(fd, path);
  if (fd >= 0 && created) faulty_note((faulty_undo){.what = FAULTY_CREATE}, path, NULL);
  return (int)faulty_leave(fd);
}

static inline ssize_t faulty_read(int fd, void *p, size_t n)
{
  bool part;
  if (faulty_enter_fd("read", fd, &part)) return faulty_leave(-1);
  return faulty_leave(read(fd, p, part && n > 1 ? n / 2 : n));
}

static inline ssize_t faulty_pread(int fd, void *p, size_t n, off_t at)
{
  bool part;
  if (faulty_enter_fd("pread", fd, &part)) return faulty_leave(-1);
  return faulty_leave(pread(fd, p, part && n > 1 ? n / 2 : n, at));
}

static inline ssize_t faulty_pwrite(int fd, const void *p, size_t n, off_t at)
{
  bool part;
  if (faulty_enter_fd("pwrite", fd, &part)) return faulty_leave(-1);
  if (part && n > 1) n /= 2;
  faulty_note_change(FAULTY_WRITE, fd, (size_t)at, n);
  return faulty_leave(pwrite(fd, p, n, at));
}

static inline ssize_t faulty_write(int fd, const void *p, size_t n)
{
  bool part;
  if (faulty_enter_fd("write", fd, &part)) return faulty_leave(-1);
  if (part && n > 1) n /= 2;
  faulty_note_change(FAULTY_WRITE, fd, (size_t)lseek(fd, 0, SEEK_CUR), n);
  return faulty_leave(write(fd, p, n));
}

/* A short one ends in the middle of the stretches; before that it may fail behind a part, as on a full disk. */
static inline ssize_t faulty_pwritev(int fd, const struct iovec *v, int n, off_t at)
{
  bool part;
  bool fails = faulty_enter_fd("pwritev", fd, &part);
  if (fails && faulty.kind == FAULTY_ERROR && n > 0 && v->iov_len > 1) { /* what was written before it failed */
    int reason = errno;
    faulty_note_change(FAULTY_WRITE, fd, (size_t)at, v->iov_len / 2);
    if (pwrite(fd, v->iov_base, v->iov_len / 2, at) < 0) abort();
    errno = reason;
  }
  if (fails) return faulty_leave(-1);
  size_t bytes = 0;
  for (int i = 0; i < n; i++) bytes += v[i].iov_len;
  struct iovec half = {v->iov_base, v->iov_len / 2};
  faulty_note_change(FAULTY_WRITE, fd, (size_t)at, part ? half.iov_len : bytes);
  return faulty_leave(part && half.iov_len > 0 ? pwritev(fd, &half, 1, at) : pwritev(fd, v, n, at));
}

static inline int faulty_ftruncate(int fd, off_t size)
{
  if (faulty_enter_fd("ftruncate", fd, NULL)) return (int)faulty_leave(-1);
  faulty_note_change(FAULTY_SIZE, fd, (size_t)size, SIZE_MAX);
  return (int)faulty_leave(ftruncate(fd, size));
}

static inline int faulty_fallocate(int fd, int mode, off_t at, off_t n)
{
  return (int)(faulty_enter_fd("fallocate", fd, NULL) ? faulty_leave(-1) : faulty_leave(fallocate(fd, mode, at, n)));
}

static inline int faulty_flock(int fd, int operation)
{
  return (int)(faulty_enter_fd("flock", fd, NULL) ? faulty_leave(-1) : faulty_leave(flock(fd, operation)));
}

/* Not waited for the disk: nobody cuts the power. */
static inline int faulty_sync(const char *call, int fd)
{
  if (faulty_enter_fd(call, fd, NULL)) {
    faulty_not_synced(fd);
    return (int)faulty_leave(-1);
  }
  if (fd < FAULTY_FDS && faulty.paths[fd]) faulty_synced(faulty.paths[fd]);
  return (int)faulty_leave(0);
}

static inline int faulty_fsync(int fd)
{
  return faulty_sync("fsync", fd);
}

static inline int faulty_fdatasync(int fd)
{
  return faulty_sync("fdatasync", fd);
}

/* Closes in any case, so that no descriptor is left over. */
static inline int faulty_close(int fd)
{
  bool fails = faulty_enter_fd("close", fd, NULL);
  int reason = errno;
  faulty_name(fd, NULL);
  int rc = close(fd);
  if (fails) errno = reason;
  return (int)faulty_leave(fails ? -1 : rc);
}

static inline void faulty_replace(char **path, const char *from, const char *to)
{
  if (!*path || strcmp(*path, from) != 0) return;
  rl_free(*path);
  *path = rl_strdup(to);
}

/* A file has another name; its changes are undone under that. */
static inline void faulty_follow(const char *from, const char *to)
{
  for (int i = 0; i < FAULTY_FDS; i++) faulty_replace(&faulty.paths[i], from, to);
  for (faulty_undo *u = faulty.undo; u; u = u->next) {
    if (u->what == FAULTY_WRITE || u->what == FAULTY_SIZE) faulty_replace(&u->path, from, to);
  }
}

/* A second name of the file; NULL: there is no file. */
static inline char *faulty_keep(const char *path)
{
  char *kept = rl_format("%s.unlinked-%u", path, faulty.kept++);
  if (link(path, kept) == 0) return kept;
  rl_free(kept);
  return NULL;
}

static inline int faulty_rename(const char *from, const char *to)
{
  if (faulty_enter("rename", from, NULL)) return (int)faulty_leave(-1);
  char *over = faulty_keep(to);
  int rc = rename(from, to);
  if (rc == 0) {
    if (over) faulty_follow(to, over);
    faulty_note((faulty_undo){.what = FAULTY_RENAME, .over = over}, from, to);
    faulty_follow(from, to);
  } else if (over) {
    unlink(over);
    rl_free(over);
  }
  return (int)faulty_leave(rc);
}

static inline int faulty_unlink(const char *path)
{
  if (faulty_enter("unlink", path, NULL)) return (int)faulty_leave(-1);
  char *kept = faulty_keep(path);
  if (kept) faulty_note((faulty_undo){.what = FAULTY_UNLINK}, path, kept);
  rl_free(kept);
  return (int)faulty_leave(unlink(path));
}

static inline int faulty_mkdir(const char *path, mode_t mode)
{
  return (int)(faulty_enter("mkdir", path, NULL) ? faulty_leave(-1) : faulty_leave(mkdir(path, mode)));
}

static inline int faulty_chmod(const char *path, mode_t mode)
{
  return (int)(faulty_enter("chmod", path, NULL) ? faulty_leave(-1) : faulty_leave(chmod(path, mode)));
}

static inline int faulty_rmdir(const char *path)
{
  return (int)(faulty_enter("rmdir", path, NULL) ? faulty_leave(-1) : faulty_leave(rmdir(path)));
}

static inline int faulty_stat(const char *path, struct stat *st)
{
  return (int)(faulty_enter("stat", path, NULL) ? faulty_leave(-1) : faulty_leave(stat(path, st)));
}

static inline int faulty_fstat(int fd, struct stat *st)
{
  return (int)(faulty_enter_fd("fstat", fd, NULL) ? faulty_leave(-1) : faulty_leave(fstat(fd, st)));
}

static inline DIR *faulty_opendir(const char *path)
{
  DIR *d = faulty_enter("opendir", path, NULL) ? NULL : opendir(path);
  if (d) faulty_name(dirfd(d), path);
  faulty_leave(0);
  return d;
}

static inline int faulty_closedir(DIR *d)
{
  pthread_mutex_lock(&faulty.lock);
  faulty_name(dirfd(d), NULL);
  return (int)faulty_leave(closedir(d));
}

static inline struct dirent *faulty_readdir(DIR *d)
{
  struct dirent *e = faulty_enter_fd("readdir", dirfd(d), NULL) ? NULL : readdir(d);
  faulty_leave(0);
  return e;
}

static const rl_fs faulty_table = {
    .open = faulty_open,
    .read = faulty_read,
    .pread = faulty_pread,
    .write = faulty_write,
    .pwrite = faulty_pwrite,
    .pwritev = faulty_pwritev,
    .ftruncate = faulty_ftruncate,
    .fallocate = faulty_fallocate,
    .flock = faulty_flock,
    .fsync = faulty_fsync,
    .fdatasync = faulty_fdatasync,
    .close = faulty_close,
    .rename = faulty_rename,
    .unlink = faulty_unlink,
    .mkdir = faulty_mkdir,
    .chmod = faulty_chmod,
    .rmdir = faulty_rmdir,
    .stat = faulty_stat,
    .fstat = faulty_fstat,
    .opendir = faulty_opendir,
    .readdir = faulty_readdir,
    .closedir = faulty_closedir,
};

/* Use -------------------------------------------------------------------------------------------------------------- */

/* Sets the table. Step `at` (from 1; 0: none) fails as said; `error`: for FAULTY_ERROR. */
static inline void faulty_begin(faulty_kind kind, unsigned at, int error)
{
  faulty.kind = kind;
  faulty.at = at;
  faulty.error = error;
  faulty.steps = 0;
  faulty.met = false;
  rl_fs_set(&faulty_table);
}

/* Sets the system's table. True: the step was met. */
static inline bool faulty_end(void)
{
  rl_fs_set(NULL);
  faulty.fails = NULL;
  return faulty.met;
}

static inline void faulty_restore(const faulty_undo *u, size_t from, size_t to)
{
  int fd = open(u->path, O_WRONLY);
  if (fd < 0) return; /* its creation was undone */
  static const char zeros[FAULTY_SECTOR];
  for (size_t at = from, k; at < to; at += k) {
    size_t old_end = u->at + u->had;
    k = to - at < FAULTY_SECTOR ? to - at : FAULTY_SECTOR;
    if (at < old_end && k > old_end - at) k = old_end - at;
    if (pwrite(fd, at < old_end ? u->old + (at - u->at) : zeros, k, (off_t)at) != (ssize_t)k) abort();
  }
  close(fd);
}

/* All of a change. */
static inline void faulty_undo_change(const faulty_undo *u)
{
  faulty_restore(u, u->at, u->at + u->had);
  if (truncate(u->path, (off_t)u->size) != 0 && errno != ENOENT) abort();
}

/* Some sectors of a write; the file stays as long as its last sector that is kept, or longer. */
static inline void faulty_undo_sectors(const faulty_undo *u, uint64_t *seed)
{
  size_t end = u->at + u->n, kept_to = u->at;
  for (size_t at = u->at, next; at < end; at = next) {
    next = (at / FAULTY_SECTOR + 1) * FAULTY_SECTOR;
    if (next > end) next = end;
    if (faulty_random(seed) % 2) kept_to = next;
    else faulty_restore(u, at, next);
  }
  if (end <= u->size || faulty_random(seed) % 2) return;
  if (truncate(u->path, (off_t)(kept_to > u->size ? kept_to : u->size)) != 0 && errno != ENOENT) abort();
}

static inline void faulty_undo_entry(const faulty_undo *u)
{
  int rc = 0;
  if (u->what == FAULTY_CREATE) rc = unlink(u->path);
  if (u->what == FAULTY_RENAME) rc = rename(u->other, u->path);
  if (u->what == FAULTY_UNLINK) rc = link(u->other, u->path);
  if (rc != 0 && errno != ENOENT && errno != EEXIST) abort();
  if (u->what == FAULTY_RENAME) faulty_follow(u->other, u->path);
  if (!u->over) return;
  if (rename(u->over, u->other) != 0) abort();
  faulty_follow(u->over, u->other);
}

/* After faulty_end(): makes the disk what it may be after the crash, and forgets. Without a call of this,
 * faulty_forget. */
static inline void faulty_crash(faulty_loss loss, uint64_t seed)
{
  size_t entries = 0;
  for (const faulty_undo *u = faulty.undo; u; u = u->next) {
    entries += u->what == FAULTY_CREATE || u->what == FAULTY_RENAME;
  }
  size_t undone = loss == FAULTY_LOSE ? entries : loss == FAULTY_SOME ? faulty_random(&seed) % (entries + 1) : 0;
  while (faulty.undo) {
    faulty_undo *u = faulty.undo;
    faulty.undo = u->next;
    if (u->what == FAULTY_UNLINK) {
      if (loss == FAULTY_LOSE || (loss == FAULTY_SOME && faulty_random(&seed) % 2)) faulty_undo_entry(u);
    } else if (u->what > FAULTY_SIZE) {
      if (undone > 0) faulty_undo_entry(u);
      undone -= undone > 0;
    } else if (u->dropped) {
      if (loss != FAULTY_KEEP) faulty_restore(u, u->at, u->at + u->n);
    } else if (loss == FAULTY_LOSE || (loss == FAULTY_SOME && u->what == FAULTY_SIZE && faulty_random(&seed) % 2)) {
      faulty_undo_change(u);
    } else if (loss == FAULTY_SOME && u->what == FAULTY_WRITE) {
      faulty_undo_sectors(u, &seed);
    }
    faulty_free_undo(u);
  }
  for (int i = 0; i < FAULTY_FDS; i++) {
    rl_free(faulty.paths[i]);
    faulty.paths[i] = NULL;
  }
}

static inline void faulty_forget(void)
{
  faulty_crash(FAULTY_KEEP, 0);
}

#endif
