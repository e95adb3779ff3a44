/* The image is one moment's; the log has to reach from its versions on without a hole, while the job removes old
 * segments and makes new ones. So all segments there are are opened first: what is open can be copied also when its
 * name is gone. Then the image is copied, and meanwhile new segments are opened as they come. What was there before the
 * image's moment is all it can need, and what comes behind is contiguous, which is checked at the end. */
#include "store/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/apart.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/inspect.h"
#include "store/state_impl.h"
#include "store/wal_impl.h"

#define TRIES 3
#define COPY_BYTES ((size_t)1 << 20)

typedef struct segment {
  uint64_t first;
  int fd; /* -1: copied */
} segment;

typedef struct backup {
  char *log, *state, *to_log, *to_state;
  segment *segments; /* by first sequence */
  size_t n, cap;
} backup;

/* Segments --------------------------------------------------------------------------------------------------------- */

static rl_status copy_bytes(int from, const char *from_path, int to, const char *path)
{
  rl_buf b = {0};
  struct stat info;
  rl_status st = fstat(from, &info) == 0 ? RL_OK : rl_fail_errno("cannot look at %s", from_path);
  rl_buf_reserve(&b, COPY_BYTES);
  for (int64_t at = 0; st == RL_OK && at < info.st_size;) {
    size_t n = (size_t)(info.st_size - at) < COPY_BYTES ? (size_t)(info.st_size - at) : COPY_BYTES, got = 0;
    st = rl_file_pread(from, from_path, b.p, n, at, &got);
    if (st == RL_OK && got > 0) st = rl_file_write(to, path, b.p, got);
    if (got == 0) break; /* a tail that could not be written was cut meanwhile */
    at += (int64_t)got;
  }
  if (st == RL_OK) st = rl_file_sync(to, path);
  rl_buf_free(&b);
  return st;
}

static rl_status copy_segment(const backup *b, segment *s)
{
  char *from = rl_wal_path(b->log, s->first), *path = rl_wal_path(b->to_log, s->first);
  int fd;
  rl_status st = rl_file_open_private(path, O_WRONLY | O_CREAT | O_EXCL, &fd);
  if (st == RL_OK) {
    st = copy_bytes(s->fd, from, fd, path);
    rl_status closed = rl_file_close(fd, path);
    if (st == RL_OK) st = closed;
  }
  rl_fs_get()->close(s->fd);
  s->fd = -1;
  rl_free(from);
  rl_free(path);
  return st;
}

/* RL_ENOTFOUND: it was removed before it could be opened. */
static rl_status add_segment(backup *b, uint64_t first)
{
  char *path = rl_wal_path(b->log, first);
  int fd;
  rl_status st = rl_file_open(path, O_RDONLY, &fd);
  rl_free(path);
  if (st != RL_OK) return st;
  b->segments = rl_grow(b->segments, &b->cap, b->n + 1, sizeof *b->segments);
  b->segments[b->n++] = (segment){first, fd};
  return RL_OK;
}

/* Opens the segments behind those that are known, and copies those that are written to their end: which others
 * follow. */
static rl_status follow_log(void *user)
{
  backup *b = user;
  rl_wal_firsts firsts = {0};
  rl_status st = rl_wal_list(b->log, false, &firsts);
  for (size_t i = 0; i < firsts.n && st == RL_OK; i++) {
    if (b->n == 0 || firsts.v[i] > b->segments[b->n - 1].first) st = add_segment(b, firsts.v[i]);
  }
  rl_free(firsts.v);
  for (size_t i = 0; i + 1 < b->n && st == RL_OK; i++) {
    if (b->segments[i].fd >= 0) st = copy_segment(b, &b->segments[i]);
  }
  return st;
}

static void forget_segments(backup *b)
{
  for (size_t i = 0; i < b->n; i++) {
    if (b->segments[i].fd >= 0) rl_fs_get()->close(b->segments[i].fd);
  }
  b->n = 0;
}

/* The copy --------------------------------------------------------------------------------------------------------- */

static rl_status copy_image(void *user, rl_apart *a)
{
  const backup *b = user;
  (void)a;
  return rl_state_backup_dir(b->state, b->to_state);
}

/* Why the child crashed over the image, if that can be told. */
static rl_status explain_crash(const char *state)
{
  rl_error crash = RL_ERROR_NONE;
  rl_error_take(&crash);
  rl_status st = rl_image_sound(state);
  if (st == RL_EDATA) {
    rl_error_clear(&crash);
    return st;
  }
  st = rl_error_raise(&crash);
  rl_error_prefix("the state in %s: while it was copied: ", state);
  return st;
}

static rl_status copy_once(backup *b)
{
  bool crashed, there;
  uint64_t floor;
  rl_status st = rl_dir_make_private(b->to_log);
  if (st == RL_OK) st = follow_log(b);
  if (st == RL_OK) st = rl_wal_floor_read(b->log, &floor, &there); /* none of what it tells is missing, if all is well */
  if (st == RL_OK) st = rl_wal_floor_make(b->to_log, floor);
  if (st != RL_OK) return st;
  st = rl_apart_run(&(rl_apart_spec){.work = copy_image, .idle = follow_log, .user = b}, &crashed);
  if (st == RL_ENOTFOUND && !rl_path_is_dir(b->state)) st = RL_OK; /* no image yet: all is in the log */
  if (st != RL_OK && crashed) st = explain_crash(b->state);
  if (st == RL_OK) st = follow_log(b);
  if (st == RL_OK && b->n > 0) st = copy_segment(b, &b->segments[b->n - 1]);
  return st == RL_OK ? rl_dir_sync(b->to_log) : st;
}

static rl_status clear(const backup *b)
{
  rl_status st = rl_dir_remove(b->to_log);
  return st == RL_OK ? rl_dir_remove(b->to_state) : st;
}

static void note_missing(void *user, const rl_inspect_damage *d)
{
  bool *missing = user;
  if (!d->torn && d->file && strstr(d->message, "are missing before segment")) *missing = true;
}

/* Segments that came and went while nobody looked leave a hole: RL_ENOTFOUND. */
static rl_status verify(const char *to, rl_backup *out)
{
  rl_inspect_verified v;
  bool missing = false;
  rl_status st = rl_inspect_verify(to, note_missing, &missing, &v);
  *out = (rl_backup){v.segments, v.records, v.bytes, v.operators, v.entries};
  if (st == RL_EDATA && missing) return rl_fail(RL_ENOTFOUND, "segments are missing in the copy");
  if (st != RL_OK) rl_error_prefix("the copy has the damage of what it was made of: ");
  return st;
}

static rl_status copy(backup *b, const char *dir, const char *to, rl_backup *out)
{
  rl_status st = RL_ENOTFOUND;
  for (int i = 0; i < TRIES && st == RL_ENOTFOUND; i++) {
    forget_segments(b);
    st = clear(b);
    if (st == RL_OK) st = copy_once(b);
    if (st == RL_OK) st = verify(to, out);
  }
  if (st != RL_ENOTFOUND) return st;
  return rl_fail(RL_ESTATE, "the job in %s removes segments of its log faster than they can be copied; try again when "
                 "it is less busy", dir);
}

/* Where to --------------------------------------------------------------------------------------------------------- */

static rl_status refuse(void *user, const char *name)
{
  return rl_fail(RL_ESTATE, "there is something in %s already (%s); a backup needs a new directory", (const char *)user,
                 name);
}

static char *up(char *path)
{
  char *above = rl_format("%s/..", path);
  rl_free(path);
  return above;
}

/* By what the directories are, whatever their names. */
static rl_status check_outside(const char *dir, const char *to)
{
  const rl_fs *fs = rl_fs_get();
  struct stat of, at, above;
  if (fs->stat(dir, &of) != 0) return rl_fail_errno("cannot look at %s", dir);
  char *path = rl_strdup(to);
  while (fs->stat(path, &at) != 0 && errno == ENOENT) {
    char *parent = rl_path_parent(path);
    rl_free(path);
    path = parent;
  }
  bool inside = false, more = true;
  while (!inside && more && fs->stat(path, &at) == 0) {
    inside = at.st_dev == of.st_dev && at.st_ino == of.st_ino;
    path = up(path);
    more = fs->stat(path, &above) == 0 && (above.st_dev != at.st_dev || above.st_ino != at.st_ino);
  }
  rl_free(path);
  return inside ? rl_fail(RL_EINVAL, "%s is %s itself, or in it; a backup needs a directory outside", to, dir) : RL_OK;
}

/* *made: it was not there. */
static rl_status prepare(const char *to, bool *made)
{
  struct stat info;
  *made = rl_fs_get()->stat(to, &info) != 0 && errno == ENOENT;
  if (*made) return rl_dir_make_durable(to);
  rl_status st = rl_dir_each(to, refuse, (void *)to);
  if (st == RL_OK) st = rl_file_chmod(to, 0700);
  return st;
}

static void undo(const backup *b, const char *to, bool made)
{
  rl_error why = RL_ERROR_NONE;
  rl_error_take(&why);
  if (clear(b) == RL_OK && made) (void)rl_dir_remove(to); /* what is left is told by its presence */
  (void)rl_error_raise(&why);
}

rl_status rl_backup_run(const char *dir, const char *to, rl_backup *out)
{
  bool made = false;
  *out = (rl_backup){0};
  rl_status st = rl_checkpoint_check(dir);
  if (st == RL_OK) st = check_outside(dir, to);
  if (st == RL_OK) st = prepare(to, &made);
  if (st != RL_OK) return st;
  backup b = {.log = rl_checkpoint_log(dir), .state = rl_checkpoint_state(dir)};
  b.to_log = rl_checkpoint_log(to);
  b.to_state = rl_checkpoint_state(to);
  st = copy(&b, dir, to, out);
  if (st == RL_OK) st = rl_dir_sync(to);
  if (st != RL_OK) undo(&b, to, made);
  forget_segments(&b);
  rl_free(b.segments);
  rl_free(b.log);
  rl_free(b.state);
  rl_free(b.to_log);
  rl_free(b.to_state);
  return st;
}
