/* Segment files: which there are, how one is made, how the last one is put in order after a crash. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/wal_impl.h"

typedef struct listing {
  const char *dir;
  bool clean;
  rl_wal_firsts *out;
} listing;

/* log-<16 digits>.tmp: a segment that never came to be. floor.tmp: likewise. */
static bool is_leftover(const char *name)
{
  size_t n = strlen(name), k = strlen(RL_WAL_MAKING);
  if (n <= k || strcmp(name + n - k, RL_WAL_MAKING) != 0) return false;
  if (strcmp(name, RL_WAL_FLOOR RL_WAL_MAKING) == 0) return true;
  char *segment = rl_strndup(name, n - k);
  uint64_t first;
  bool is = rl_wal_parse_name(segment, &first);
  rl_free(segment);
  return is;
}

static rl_status list_one(void *user, const char *name)
{
  const listing *l = user;
  uint64_t first;
  if (rl_wal_parse_name(name, &first)) {
    l->out->v = rl_grow(l->out->v, &l->out->cap, l->out->n + 1, sizeof *l->out->v);
    l->out->v[l->out->n++] = first;
  } else if (l->clean && is_leftover(name)) {
    char *path = rl_path_join(l->dir, name);
    rl_status st = rl_file_unlink(path);
    rl_free(path);
    return st;
  }
  return RL_OK;
}

static int by_number(const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

rl_status rl_wal_list(const char *dir, bool clean, rl_wal_firsts *out)
{
  listing l = {dir, clean, out};
  rl_status st = rl_dir_each(dir, list_one, &l);
  if (out->n > 1) qsort(out->v, out->n, sizeof *out->v, by_number);
  return st;
}

static uint64_t new_id(void)
{
  uint64_t id;
  while (getrandom(&id, sizeof id, 0) != sizeof id) {
    if (errno != EINTR) abort();
  }
  return id;
}

/* The header is on disk before the file has its name, so a segment with a bad header was damaged, not interrupted. */
rl_status rl_wal_segment_make(const char *dir, uint64_t first, rl_wal_segment *out, int *fd, rl_wal_step *step)
{
  rl_wal_header h = rl_wal_header_make(new_id(), first, rl_wall_ms()), both[RL_WAL_COPIES] = {h, h};
  char *path = rl_wal_path(dir, first), *making = rl_format("%s" RL_WAL_MAKING, path);
  *step = RL_WAL_WRITING;
  rl_status st = rl_file_open_private(making, O_RDWR | O_CREAT | O_TRUNC, fd);
  if (st == RL_OK) st = rl_file_pwrite(*fd, making, both, sizeof both, 0);
  if (st == RL_OK) {
    *step = RL_WAL_SYNCING;
    st = rl_file_sync(*fd, making);
  }
  if (st == RL_OK) {
    *step = RL_WAL_WRITING;
    st = rl_file_rename(making, path);
  }
  if (st == RL_OK) {
    *step = RL_WAL_SYNCING;
    st = rl_dir_sync(dir);
  }
  int reason = errno;
  if (st == RL_OK) *out = (rl_wal_segment){first, h.id, sizeof both, sizeof both};
  else if (*fd >= 0) rl_fs_get()->close(*fd);
  if (st != RL_OK) rl_fs_get()->unlink(making); /* if it stays: it does no harm, and the next open removes it */
  rl_free(path);
  rl_free(making);
  errno = reason;
  return st;
}

/* The last group may never have been synced, or unsuccessfully: then its pages pass for clean although the disk does
 * not have them. Writing them once more makes the sync true. Every earlier group was synced before the next was
 * written. */
static rl_status write_again(const rl_wal_cursor *c, int fd)
{
  rl_buf b = {0};
  rl_status st = RL_OK;
  for (uint64_t at = c->group_at; at < c->at && st == RL_OK;) {
    uint64_t n = c->at - at < UINT64_C(1) << 20 ? c->at - at : UINT64_C(1) << 20;
    size_t got;
    rl_buf_clear(&b);
    rl_buf_reserve(&b, n);
    st = rl_file_pread(fd, c->path, b.p, n, (int64_t)at, &got);
    if (st == RL_OK && got < n) st = rl_wal_damaged(c->path, at + got, "the file became shorter while it was read");
    if (st == RL_OK) st = rl_file_pwrite(fd, c->path, b.p, n, (int64_t)at);
    at += n;
  }
  rl_buf_free(&b);
  return st;
}

rl_status rl_wal_settle(rl_wal_cursor *c)
{
  int fd;
  rl_status st = rl_file_open(c->path, O_RDWR, &fd);
  if (st != RL_OK) return st;
  if (c->at < c->size) st = rl_file_truncate(fd, c->path, (int64_t)c->at);
  if (st == RL_OK) st = write_again(c, fd); /* a mark: it alone, as it says that all before it is on disk */
  if (st == RL_OK) st = rl_file_sync(fd, c->path);
  rl_status closed = rl_file_close(fd, c->path);
  return st != RL_OK ? st : closed;
}
