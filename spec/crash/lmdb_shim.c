/* A library to be preloaded, for tests: it fails one of the system calls by which a library that cannot be told
 * otherwise (LMDB) writes. Calls on files of one directory, and on the directory itself, are counted from 1.
 *
 *   RILLE_SHIM_DIR     the directory, as the system names it
 *   RILLE_SHIM_STEP    the call that fails; 0: none
 *   RILLE_SHIM_ACTION  kill    the process, before the call
 *                      tear    likewise, after a part of what it writes, in sectors
 *                      lose    as a power cut does: what was not synced is gone
 *                      some    likewise, of some sectors
 *                      EIO     the call fails, the ones after it do not
 *                      ENOSPC  it fails, and so does every one after it
 *   RILLE_SHIM_SEED    for `some`
 *   RILLE_SHIM_TOTAL   a descriptor: at the end of the process it gets the number of calls, in 4 bytes
 *
 * Syncs are not waited for. Written by one thread at a time, as LMDB does. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR 512
#define PATH_BYTES 4096

/* What was there before a write that is not synced. */
typedef struct undo {
  struct undo *next;
  int fd;
  dev_t dev;
  ino_t file;
  off_t at, size;
  size_t n, had;
  char old[];
} undo;

static struct {
  bool ready;
  char dir[PATH_BYTES];
  const char *action;
  unsigned step, count;
  uint64_t seed;
  int total;
  bool full;
  undo *undone;
} shim;

static void *real(const char *name)
{
  void *f = dlsym(RTLD_NEXT, name);
  if (!f) abort();
  return f;
}

/* Function pointers, which C cannot make of others without a union. */
#define REAL(type, name) \
  static union { \
    void *p; \
    type f; \
  } name##_real; \
  if (!name##_real.p) name##_real.p = real(#name)

typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef ssize_t write_fn(int, const void *, size_t);
typedef ssize_t writev_fn(int, const struct iovec *, int);
typedef ssize_t pwritev_fn(int, const struct iovec *, int, off_t);
typedef int sync_fn(int);
typedef int msync_fn(void *, size_t, int);
typedef int ftruncate_fn(int, off_t);

static ssize_t real_pwrite(int fd, const void *p, size_t n, off_t at)
{
  REAL(pwrite_fn *, pwrite);
  return pwrite_real.f(fd, p, n, at);
}

/* The file once more, without its O_DSYNC, which the system would wait for. */
static int open_again(int fd, int flags)
{
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int again = open(link, flags | O_CLOEXEC);
  if (again < 0) abort();
  return again;
}

static ssize_t quick_pwrite(int fd, const void *p, size_t n, off_t at)
{
  if (!(fcntl(fd, F_GETFL) & O_DSYNC)) return real_pwrite(fd, p, n, at);
  int again = open_again(fd, O_WRONLY);
  ssize_t done = real_pwrite(again, p, n, at);
  if (close(again) != 0) abort();
  return done;
}

static void begin(void)
{
  shim.ready = true;
  const char *dir = getenv("RILLE_SHIM_DIR"), *step = getenv("RILLE_SHIM_STEP"), *seed = getenv("RILLE_SHIM_SEED");
  const char *total = getenv("RILLE_SHIM_TOTAL");
  shim.action = getenv("RILLE_SHIM_ACTION");
  shim.step = step ? (unsigned)strtoul(step, NULL, 10) : 0;
  shim.seed = seed ? strtoull(seed, NULL, 10) : 1;
  shim.total = total ? (int)strtol(total, NULL, 10) : -1;
  snprintf(shim.dir, sizeof shim.dir, "%s", dir ? dir : "");
}

__attribute__((destructor)) static void end(void)
{
  REAL(write_fn *, write);
  if (shim.total >= 0 && write_real.f(shim.total, &shim.count, sizeof shim.count) < 0) abort();
}

static bool is_ours(int fd)
{
  char link[64], path[PATH_BYTES];
  if (!shim.ready) begin();
  size_t dir = strlen(shim.dir);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (dir == 0 || n < (ssize_t)dir) return false;
  path[n] = '\0';
  return strncmp(path, shim.dir, dir) == 0 && (path[dir] == '/' || path[dir] == '\0');
}

/* Power cuts ------------------------------------------------------------------------------------------------------- */

static uint64_t dice(void)
{
  shim.seed ^= shim.seed << 13;
  shim.seed ^= shim.seed >> 7;
  return shim.seed ^= shim.seed << 17;
}

static bool is_action(const char *name)
{
  return shim.action && strcmp(shim.action, name) == 0;
}

/* A write with O_DSYNC is synced when it returns. */
static void remember(int fd, off_t at, size_t n)
{
  struct stat st;
  if ((!is_action("lose") && !is_action("some")) || (fcntl(fd, F_GETFL) & O_DSYNC)) return;
  undo *u = malloc(sizeof *u + n);
  if (!u || fstat(fd, &st) != 0) abort();
  *u = (undo){.next = shim.undone, .fd = fd, .dev = st.st_dev, .file = st.st_ino, .at = at, .size = st.st_size, .n = n};
  int reader = open_again(fd, O_RDONLY); /* the descriptor may be for writing only */
  ssize_t got = pread(reader, u->old, n, at);
  if (got < 0 || close(reader) != 0) abort();
  u->had = (size_t)got;
  shim.undone = u;
}

static void synced(int fd)
{
  struct stat st;
  if (fstat(fd, &st) != 0) abort();
  for (undo **at = &shim.undone; *at;) {
    undo *u = *at;
    if (u->dev == st.st_dev && u->file == st.st_ino) {
      *at = u->next;
      free(u);
    } else {
      at = &u->next;
    }
  }
}

static void take_back(const undo *u, bool some)
{
  static const char zeros[SECTOR];
  for (size_t i = 0, k; i < u->n; i += k) {
    k = SECTOR - (size_t)(u->at + (off_t)i) % SECTOR;
    if (k > u->n - i) k = u->n - i;
    if (some && dice() % 2) continue;
    size_t old = u->had > i ? u->had - i : 0;
    if (old > k) old = k;
    if (old > 0 && real_pwrite(u->fd, u->old + i, old, u->at + (off_t)i) != (ssize_t)old) abort();
    if (old < k && real_pwrite(u->fd, zeros, k - old, u->at + (off_t)(i + old)) != (ssize_t)(k - old)) abort();
  }
}

static void cut_power(bool some)
{
  REAL(ftruncate_fn *, ftruncate);
  for (const undo *u = shim.undone; u; u = u->next) {
    take_back(u, some);
    if (!some && ftruncate_real.f(u->fd, u->size) != 0) abort();
  }
}

/* Steps ------------------------------------------------------------------------------------------------------------ */

static void die(void)
{
  if (is_action("lose")) cut_power(false);
  if (is_action("some")) cut_power(true);
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* True: the call fails, errno is set. `writes`: bytes, a part of which may be written. */
static bool fails(bool writes)
{
  bool met = ++shim.count == shim.step;
  if (is_action("EIO") || is_action("ENOSPC")) {
    shim.full = shim.full || (met && is_action("ENOSPC"));
    errno = is_action("EIO") ? EIO : ENOSPC;
    return met || shim.full;
  }
  if (met && (!writes || !is_action("tear"))) die();
  return false;
}

static ssize_t write_at(int fd, const void *p, size_t n, off_t at)
{
  if (fails(true)) return -1;
  remember(fd, at, n);
  if (shim.count == shim.step && is_action("tear")) {
    size_t part = n / 2 / SECTOR * SECTOR;
    if (part > 0 && quick_pwrite(fd, p, part, at) != (ssize_t)part) abort();
    die();
  }
  return quick_pwrite(fd, p, n, at);
}

/* Each stretch is a write of its own; the position moves on. */
static ssize_t write_all(int fd, const struct iovec *v, int n, off_t at, bool moves)
{
  ssize_t all = 0;
  for (int i = 0; i < n; i++) {
    ssize_t k = write_at(fd, v[i].iov_base, v[i].iov_len, at + (off_t)all);
    if (k < 0) return all > 0 ? all : -1;
    all += k;
  }
  if (moves && lseek(fd, at + (off_t)all, SEEK_SET) < 0) abort();
  return all;
}

static int sync_file(int fd)
{
  if (fails(false)) return -1;
  synced(fd);
  return 0;
}

/* Calls ------------------------------------------------------------------------------------------------------------ */

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
  return is_ours(fd) ? write_at(fd, p, n, at) : real_pwrite(fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
  REAL(write_fn *, write);
  struct iovec v = {.iov_len = n};
  memcpy(&v.iov_base, &p, sizeof p);
  return is_ours(fd) ? write_all(fd, &v, 1, lseek(fd, 0, SEEK_CUR), true) : write_real.f(fd, p, n);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
  REAL(writev_fn *, writev);
  return is_ours(fd) ? write_all(fd, v, n, lseek(fd, 0, SEEK_CUR), true) : writev_real.f(fd, v, n);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
  REAL(pwritev_fn *, pwritev);
  return is_ours(fd) ? write_all(fd, v, n, at, false) : pwritev_real.f(fd, v, n, at);
}

int fsync(int fd)
{
  REAL(sync_fn *, fsync);
  return is_ours(fd) ? sync_file(fd) : fsync_real.f(fd);
}

int fdatasync(int fd)
{
  REAL(sync_fn *, fdatasync);
  return is_ours(fd) ? sync_file(fd) : fdatasync_real.f(fd);
}

/* Of a mapping there is no descriptor: all of them are counted. */
int msync(void *p, size_t n, int flags)
{
  REAL(msync_fn *, msync);
  if (!shim.ready) begin();
  return shim.dir[0] && fails(false) ? -1 : msync_real.f(p, n, flags);
}

int ftruncate(int fd, off_t size)
{
  REAL(ftruncate_fn *, ftruncate);
  return is_ours(fd) && fails(false) ? -1 : ftruncate_real.f(fd, size);
}
