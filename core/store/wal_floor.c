/* Where the log begins (docs/formats.md). Nothing in the segments that are left tells of those that were removed, so a
 * small file beside them does: it is raised before the first is removed. It is written in place, as removing must work
 * on a disk that is full, and its two slots in turn, as a write may be torn. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "store/wal_impl.h"

typedef struct slot {
  uint64_t generation; /* the newest slot counts */
  uint64_t floor;
  uint64_t sum; /* of the fields above */
} slot;

enum { SLOTS = 2 };

static uint64_t sum_of(const slot *s) { return rl_hash_bytes(s, offsetof(slot, sum), RL_HASH_SEED); }

static slot make_slot(uint64_t generation, uint64_t floor)
{
  slot s = {generation, floor, 0};
  s.sum = sum_of(&s);
  return s;
}

static char *path_in(const char *dir) { return rl_path_join(dir, RL_WAL_FLOOR); }

/* The newest whole one. */
static rl_status pick(const char *path, const slot *slots, size_t n, const slot **out)
{
  *out = NULL;
  for (size_t i = 0; i < SLOTS && n == SLOTS * sizeof *slots; i++) {
    bool whole = slots[i].sum == sum_of(&slots[i]);
    if (whole && (!*out || slots[i].generation > (*out)->generation)) *out = &slots[i];
  }
  return *out ? RL_OK : rl_wal_damaged(path, 0, "it does not tell any more where the log begins");
}

static rl_status read_slots(const char *path, int flags, int *fd, slot *slots, const slot **newest)
{
  size_t got;
  rl_status st = rl_file_open(path, flags, fd);
  if (st == RL_OK) st = rl_file_pread(*fd, path, slots, SLOTS * sizeof *slots, 0, &got);
  return st == RL_OK ? pick(path, slots, got, newest) : st;
}

/* `other`: where the slot is that does not count, if it is not whole; else -1. */
static rl_status read_floor(const char *dir, uint64_t *floor, bool *there, int *other)
{
  char *path = path_in(dir);
  slot slots[SLOTS];
  const slot *newest;
  int fd = -1;
  rl_status st = read_slots(path, O_RDONLY, &fd, slots, &newest);
  if (fd >= 0) rl_fs_get()->close(fd); /* only read from */
  *there = st != RL_ENOTFOUND;
  *floor = 1;
  *other = -1;
  if (st == RL_OK) {
    const slot *second = newest == slots ? slots + 1 : slots;
    *floor = newest->floor;
    if (second->sum != sum_of(second)) *other = (int)((size_t)(second - slots) * sizeof *slots);
  }
  if (st == RL_ENOTFOUND) {
    rl_error_drop();
    st = RL_OK;
  }
  rl_free(path);
  return st;
}

rl_status rl_wal_floor_read(const char *dir, uint64_t *floor, bool *there)
{
  int other;
  return read_floor(dir, floor, there, &other);
}

uint64_t rl_wal_floor_to_go_on(const char *dir)
{
  uint64_t floor;
  bool there;
  if (rl_wal_floor_read(dir, &floor, &there) != RL_OK) rl_error_drop();
  return floor > 2 ? floor : 2;
}

rl_status rl_wal_floor_make(const char *dir, uint64_t floor)
{
  const slot slots[SLOTS] = {make_slot(1, floor), make_slot(2, floor)};
  char *path = path_in(dir), *making = rl_format("%s" RL_WAL_MAKING, path);
  int fd;
  rl_status st = rl_file_open_private(making, O_RDWR | O_CREAT | O_TRUNC, &fd);
  if (st == RL_OK) {
    st = rl_file_pwrite(fd, making, slots, sizeof slots, 0);
    if (st == RL_OK) st = rl_file_sync(fd, making);
    rl_status closed = rl_file_close(fd, making);
    if (st == RL_OK) st = closed;
  }
  if (st == RL_OK) st = rl_file_rename(making, path);
  if (st == RL_OK) st = rl_dir_sync(dir);
  rl_free(path);
  rl_free(making);
  return st;
}

rl_status rl_wal_floor_raise(const char *dir, uint64_t floor)
{
  char *path = path_in(dir);
  slot slots[SLOTS];
  const slot *newest;
  int fd = -1;
  rl_status st = read_slots(path, O_RDWR, &fd, slots, &newest);
  if (st == RL_OK) {
    const slot next = make_slot(newest->generation + 1, floor);
    int64_t at = newest == slots ? (int64_t)sizeof next : 0;
    st = rl_file_pwrite(fd, path, &next, sizeof next, at);
  }
  if (st == RL_OK) st = rl_file_sync_data(fd, path);
  if (fd >= 0) {
    rl_status closed = rl_file_close(fd, path);
    if (st == RL_OK) st = closed;
  }
  rl_free(path);
  return st;
}

/* Logs of that version had no such file; where they begin, their first segment says. */
static bool is_of_first_version(const char *dir, uint64_t first)
{
  rl_wal_cursor c = {.fd = -1};
  if (rl_wal_cursor_open(&c, dir, first) != RL_OK) rl_error_drop(); /* told when it is read */
  bool is = c.header == sizeof(rl_wal_header);
  rl_wal_cursor_close(&c);
  return is;
}

rl_status rl_wal_floor_check(const char *dir, const rl_wal_firsts *firsts, bool *there)
{
  uint64_t floor;
  int other;
  rl_status st = read_floor(dir, &floor, there, &other);
  if (st == RL_OK && !*there && firsts->n > 0 && is_of_first_version(dir, firsts->v[0])) return RL_OK;
  if (st != RL_OK || (firsts->n == 0 && !*there) || (firsts->n > 0 && firsts->v[0] <= floor)) return st;
  const char *then = "put back a copy, or go on without them (rille.checkpoint.allowDropped = true)";
  if (firsts->n == 0) return rl_fail(RL_EDATA, "damaged log: %s: all its segments are missing; %s", dir, then);
  if (other >= 0)
    return rl_fail(RL_EDATA, "damaged log: %s/" RL_WAL_FLOOR " at offset %d: wrong checksum, so it may be that records "
                   "from %" PRIu64 " on are missing, as the log begins with record %" PRIu64 "; see rille inspect "
                   "--repair, or put back a copy", dir, other, floor, firsts->v[0]);
  return rl_fail(RL_EDATA, "damaged log: %s: records from %" PRIu64 " on are missing, it begins with record %" PRIu64
                 "; %s", dir, floor, firsts->v[0], then);
}
