#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

static int system_open(const char *path, int flags, mode_t mode)
{
  return open(path, flags, mode);
}

const rl_fs rl_fs_system = {
    .open = system_open,
    .read = read,
    .pread = pread,
    .write = write,
    .pwrite = pwrite,
    .pwritev = pwritev,
    .ftruncate = ftruncate,
    .fallocate = fallocate,
    .flock = flock,
    .fsync = fsync,
    .fdatasync = fdatasync,
    .close = close,
    .rename = rename,
    .unlink = unlink,
    .mkdir = mkdir,
    .chmod = chmod,
    .rmdir = rmdir,
    .stat = stat,
    .fstat = fstat,
    .opendir = opendir,
    .readdir = readdir,
    .closedir = closedir,
};

static const rl_fs *fs = &rl_fs_system;

const rl_fs *rl_fs_get(void)
{
  return fs;
}

void rl_fs_set(const rl_fs *table)
{
  fs = table ? table : &rl_fs_system;
}

char *rl_user_name(uid_t user)
{
  struct passwd entry, *found = NULL;
  char room[1024];
  if (getpwuid_r(user, &entry, room, sizeof room, &found) == 0 && found) return rl_strdup(found->pw_name);
  return rl_format("%lu", (unsigned long)user);
}

static rl_status fail_permission(const char *verb, const char *path)
{
  char *user = rl_user_name(geteuid());
  rl_status st = rl_fail(RL_EIO, "cannot %s %s: %s (as user %s)", verb, path, strerror(EACCES), user);
  rl_free(user);
  errno = EACCES;
  return st;
}

/* The current errno as an error about `path`: "cannot open data/x: No such file or directory". */
static rl_status fail_path(const char *verb, const char *path)
{
  int reason = errno;
  if (reason == EACCES) return fail_permission(verb, path);
  rl_status st = reason == ENOENT ? rl_fail(RL_ENOTFOUND, "cannot %s %s: %s", verb, path, strerror(ENOENT))
                                  : rl_fail_errno("cannot %s %s", verb, path);
  errno = reason;
  return st;
}

static rl_status open_with(const char *path, int flags, mode_t mode, int *fd)
{
  do {
    *fd = fs->open(path, flags | O_CLOEXEC, mode);
  } while (*fd < 0 && errno == EINTR);
  return *fd < 0 ? fail_path("open", path) : RL_OK;
}

rl_status rl_file_open(const char *path, int flags, int *fd)
{
  return open_with(path, flags, 0666, fd);
}

rl_status rl_file_open_private(const char *path, int flags, int *fd)
{
  return open_with(path, flags, 0600, fd);
}

/* The descriptor is gone also after EINTR. */
rl_status rl_file_close(int fd, const char *path)
{
  return fs->close(fd) != 0 && errno != EINTR ? fail_path("close", path) : RL_OK;
}

static rl_status sync_by(int (*call)(int fd), int fd, const char *path)
{
  int rc;
  do {
    rc = call(fd);
  } while (rc != 0 && errno == EINTR);
  return rc != 0 ? fail_path("sync", path) : RL_OK;
}

rl_status rl_file_sync(int fd, const char *path)
{
  return sync_by(fs->fsync, fd, path);
}

rl_status rl_file_sync_data(int fd, const char *path)
{
  return sync_by(fs->fdatasync, fd, path);
}

rl_status rl_file_truncate(int fd, const char *path, int64_t size)
{
  int rc;
  do {
    rc = fs->ftruncate(fd, (off_t)size);
  } while (rc != 0 && errno == EINTR);
  return rc != 0 ? fail_path("truncate", path) : RL_OK;
}

rl_status rl_file_size(const char *path, uint64_t *size)
{
  struct stat st;
  if (fs->stat(path, &st) != 0) return fail_path("look at", path);
  *size = (uint64_t)st.st_size;
  return RL_OK;
}

rl_status rl_file_has_name(int fd, const char *path, bool *has)
{
  struct stat st;
  if (fs->fstat(fd, &st) != 0) return fail_path("look at", path);
  *has = st.st_nlink > 0;
  return RL_OK;
}

rl_status rl_file_pread(int fd, const char *path, void *p, size_t n, int64_t at, size_t *got)
{
  *got = 0;
  while (*got < n) {
    ssize_t k = fs->pread(fd, (char *)p + *got, n - *got, (off_t)(at + (int64_t)*got));
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return fail_path("read", path);
    if (k == 0) break;
    *got += (size_t)k;
  }
  return RL_OK;
}

rl_status rl_file_write(int fd, const char *path, const void *p, size_t n)
{
  const char *at = p;
  while (n > 0) {
    ssize_t k = fs->write(fd, at, n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return fail_path("write", path);
    at += k;
    n -= (size_t)k;
  }
  return RL_OK;
}

rl_status rl_file_pwrite(int fd, const char *path, const void *p, size_t n, int64_t at)
{
  const char *from = p;
  while (n > 0) {
    ssize_t k = fs->pwrite(fd, from, n, (off_t)at);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return fail_path("write", path);
    from += k;
    at += k;
    n -= (size_t)k;
  }
  return RL_OK;
}

/* Takes k bytes off the front. */
static void pass(struct iovec **v, size_t *n, size_t k)
{
  while (*n > 0 && k >= (*v)->iov_len) {
    k -= (*v)->iov_len;
    ++*v;
    --*n;
  }
  if (k == 0) return;
  (*v)->iov_base = (char *)(*v)->iov_base + k;
  (*v)->iov_len -= k;
}

rl_status rl_file_pwritev(int fd, const char *path, struct iovec *v, size_t n, int64_t at)
{
  pass(&v, &n, 0); /* empty ones in front */
  while (n > 0) {
    ssize_t k = fs->pwritev(fd, v, n < IOV_MAX ? (int)n : IOV_MAX, (off_t)at);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return fail_path("write", path);
    at += k;
    pass(&v, &n, (size_t)k);
  }
  return RL_OK;
}

void rl_file_punch(int fd, int64_t at, int64_t n)
{
  while (fs->fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n) != 0) {
    if (errno != EINTR) return; /* not every file system can: the space goes with the file then */
  }
}

rl_status rl_file_lock(int fd, const char *path, bool *got)
{
  int rc;
  do {
    rc = fs->flock(fd, LOCK_EX | LOCK_NB);
  } while (rc != 0 && errno == EINTR);
  *got = rc == 0;
  return rc == 0 || errno == EWOULDBLOCK ? RL_OK : fail_path("lock", path);
}

/* "1: FLOCK  ADVISORY  WRITE 1234 08:01:12345 0 EOF" */
static int64_t find_locker(FILE *locks, const struct stat *of)
{
  char line[256];
  while (fgets(line, sizeof line, locks)) {
    int64_t pid;
    unsigned major, minor;
    uint64_t inode;
    if (sscanf(line, "%*[^:]: FLOCK %*s WRITE %" SCNd64 " %x:%x:%" SCNu64, &pid, &major, &minor, &inode) != 4) continue;
    if (inode == of->st_ino && major == major(of->st_dev) && minor == minor(of->st_dev)) return pid;
  }
  return 0;
}

int64_t rl_file_locker(const char *path)
{
  struct stat st;
  FILE *locks = fs->stat(path, &st) == 0 ? fopen("/proc/locks", "re") : NULL;
  if (!locks) return 0;
  int64_t pid = find_locker(locks, &st);
  fclose(locks);
  return pid;
}

rl_status rl_file_lock_soon(int fd, const char *path, bool *got)
{
  enum { TRIES = 50 };
  const struct timespec pause = {.tv_nsec = 20000000};
  rl_status st = rl_file_lock(fd, path, got);
  for (int i = 0; i < TRIES && st == RL_OK && !*got && rl_file_locker(path) != getpid(); i++) {
    nanosleep(&pause, NULL); /* a signal shortens it, and that is fine */
    st = rl_file_lock(fd, path, got);
  }
  return st;
}

char *rl_file_locker_name(const char *path)
{
  int64_t pid = rl_file_locker(path);
  if (pid == getpid()) return rl_strdup("this process");
  return pid > 0 ? rl_format("another process (%" PRId64 ")", pid) : rl_strdup("another process");
}

rl_status rl_file_unlink(const char *path)
{
  return fs->unlink(path) != 0 && errno != ENOENT ? fail_path("remove", path) : RL_OK;
}

rl_status rl_file_rename(const char *from, const char *to)
{
  return fs->rename(from, to) != 0 ? fail_path("rename", from) : RL_OK;
}

static rl_status read_to_end(int fd, const char *path, rl_buf *out)
{
  for (;;) {
    rl_buf_reserve(out, 1 << 16);
    ssize_t k = fs->read(fd, out->p + out->n, out->cap - out->n);
    if (k < 0 && errno == EINTR) continue;
    if (k < 0) return fail_path("read", path);
    if (k == 0) return RL_OK;
    out->n += (size_t)k;
  }
}

rl_status rl_file_read_all(const char *path, rl_buf *out)
{
  int fd;
  rl_status st = rl_file_open(path, O_RDONLY, &fd);
  if (st != RL_OK) return st;
  st = read_to_end(fd, path, out);
  rl_status closed = rl_file_close(fd, path);
  return st != RL_OK ? st : closed;
}

rl_status rl_file_chmod(const char *path, mode_t mode)
{
  return fs->chmod(path, mode) != 0 ? fail_path("change the mode of", path) : RL_OK;
}

static rl_status write_new(const char *path, const void *p, size_t n, bool durable)
{
  int fd;
  rl_status st = rl_file_open(path, O_WRONLY | O_CREAT | O_TRUNC, &fd);
  if (st != RL_OK) return st;
  st = rl_file_write(fd, path, p, n);
  if (st == RL_OK && durable) st = rl_file_sync(fd, path);
  if (st == RL_OK) return rl_file_close(fd, path);
  fs->close(fd); /* the first error is the one to tell */
  return st;
}

static char *parent_of(const char *path)
{
  const char *slash = strrchr(path, '/');
  return !slash ? rl_strdup(".") : rl_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

rl_status rl_dir_sync(const char *path)
{
  int fd;
  rl_status st = rl_file_open(path, O_RDONLY | O_DIRECTORY, &fd);
  if (st != RL_OK) return st;
  st = rl_file_sync(fd, path);
  rl_status closed = rl_file_close(fd, path);
  return st != RL_OK ? st : closed;
}

rl_status rl_dir_try_sync(const char *path)
{
  rl_status st = rl_dir_sync(path);
  return st == RL_EIO && (errno == EINVAL || errno == EBADF || errno == EACCES) ? RL_OK : st;
}

static rl_status sync_parent_by(rl_status (*sync)(const char *dir), const char *path)
{
  char *dir = parent_of(path);
  rl_status st = sync(dir);
  rl_free(dir);
  return st;
}

static rl_status sync_parent(const char *path)
{
  return sync_parent_by(rl_dir_sync, path);
}

rl_status rl_file_replace(const char *path, const void *p, size_t n, bool durable)
{
  static _Atomic unsigned serial; /* threads may replace the same file at once */
  char *temporary = rl_format("%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&serial, 1));
  rl_status st = write_new(temporary, p, n, durable);
  if (st == RL_OK && fs->rename(temporary, path) != 0) st = fail_path("replace", path);
  if (st != RL_OK) fs->unlink(temporary);
  rl_free(temporary);
  return st == RL_OK && durable ? sync_parent(path) : st;
}

static rl_status make_one(const char *path, mode_t mode)
{
  if (fs->mkdir(path, mode) == 0) return RL_OK;
  int reason = errno;
  if (rl_path_is_dir(path)) return RL_OK; /* whatever the reason: it is there (EEXIST, EROFS, EISDIR) */
  errno = reason;
  return fail_path("make directory", path);
}

rl_status rl_dir_make(const char *path)
{
  char *part = rl_strdup(path);
  rl_status st = RL_OK;
  for (char *p = part; *p && st == RL_OK; p++) {
    if (*p != '/' || p == part || p[-1] == '/') continue;
    *p = '\0';
    st = make_one(part, 0777);
    *p = '/';
  }
  if (st == RL_OK) st = make_one(part, 0777);
  rl_free(part);
  return st;
}

rl_status rl_dir_make_private(const char *path)
{
  return fs->mkdir(path, 0700) != 0 ? fail_path("make directory", path) : RL_OK;
}

/* NOLINTNEXTLINE(misc-no-recursion) */
static rl_status make_synced(const char *path, mode_t mode, rl_status (*sync)(const char *dir))
{
  struct stat info;
  if (fs->stat(path, &info) == 0) {
    return S_ISDIR(info.st_mode) ? RL_OK : rl_fail(RL_EIO, "cannot make directory %s: a file has that name", path);
  }
  if (errno != ENOENT) return fail_path("look at", path);
  char *parent = parent_of(path);
  rl_status st = make_synced(parent, mode, sync);
  rl_free(parent);
  if (st == RL_OK) st = make_one(path, mode);
  return st == RL_OK ? sync_parent_by(sync, path) : st;
}

rl_status rl_dir_make_durable(const char *path)
{
  return make_synced(path, 0700, rl_dir_sync);
}

rl_status rl_dir_make_shared(const char *path)
{
  return make_synced(path, 0777, rl_dir_try_sync);
}

rl_status rl_dir_each(const char *path, rl_status (*f)(void *user, const char *name), void *user)
{
  DIR *d = fs->opendir(path);
  if (!d) return errno == ENOENT ? RL_OK : fail_path("read directory", path);
  rl_status st = RL_OK;
  while (st == RL_OK) {
    errno = 0;
    const struct dirent *e = fs->readdir(d);
    if (!e) {
      if (errno != 0) st = fail_path("read directory", path);
      break;
    }
    if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) st = f(user, e->d_name);
  }
  fs->closedir(d);
  return st;
}

typedef struct path_stack {
  char **v;
  size_t n, cap;
} path_stack;

static void push_path(path_stack *s, char *path)
{
  s->v = rl_grow(s->v, &s->cap, s->n + 1, sizeof *s->v);
  s->v[s->n++] = path;
}

/* Unlinks what is no directory, pushes what is one (unlink says EISDIR, or EPERM off Linux). Takes `path` over. */
static rl_status remove_entry(path_stack *s, char *path)
{
  rl_status st = RL_OK;
  if (fs->unlink(path) != 0 && errno != ENOENT) {
    int reason = errno;
    if (reason == EISDIR || (reason == EPERM && rl_path_is_dir(path))) {
      push_path(s, path);
      return RL_OK;
    }
    errno = reason;
    st = fail_path("remove", path);
  }
  rl_free(path);
  return st;
}

typedef struct removal {
  path_stack *stack;
  const char *dir;
} removal;

static rl_status remove_one(void *user, const char *name)
{
  const removal *r = user;
  return remove_entry(r->stack, rl_path_join(r->dir, name));
}

static rl_status remove_entries(path_stack *s, const char *dir)
{
  removal r = {s, dir};
  return rl_dir_each(dir, remove_one, &r);
}

/* The topmost directory of the stack: removes it when it is empty, else its contents (pushing its directories). */
static rl_status remove_top(path_stack *s)
{
  char *dir = s->v[s->n - 1];
  if (fs->rmdir(dir) == 0 || errno == ENOENT) {
    s->n--;
    rl_free(dir);
    return RL_OK;
  }
  if (errno != ENOTEMPTY && errno != EEXIST) return fail_path("remove directory", dir);
  return remove_entries(s, dir);
}

rl_status rl_dir_remove(const char *path)
{
  path_stack s = {0};
  rl_status st = remove_entry(&s, rl_strdup(path));
  while (st == RL_OK && s.n > 0) st = remove_top(&s);
  for (size_t i = 0; i < s.n; i++) rl_free(s.v[i]);
  rl_free(s.v);
  return st;
}

bool rl_path_is_dir(const char *path)
{
  struct stat st;
  return fs->stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *rl_path_join(const char *dir, const char *name)
{
  size_t n = strlen(dir);
  bool slash = n == 0 || dir[n - 1] == '/';
  return rl_format("%s%s%s", dir, slash ? "" : "/", name);
}
