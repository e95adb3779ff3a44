/* Writing a group: one gathered write, one fdatasync, and what is done when they fail. On the log's thread. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/wal_impl.h"

/* Marks ------------------------------------------------------------------------------------------------------------ */

/* A part of it may be left when this fails. */
static rl_status write_mark(rl_wal *w)
{
  rl_wal_frame f = {.type = RL_WAL_MARK, .seq = w->expected, .payload_sum = rl_wal_payload_sum(NULL, 0)};
  rl_status st = w->fd >= 0 ? RL_OK : rl_file_open(w->path, O_RDWR, &w->fd);
  if (st != RL_OK) return st;
  rl_wal_frame_sign(&f, w->current.id, w->current.bytes);
  w->tail = RL_WAL_SPOILT;
  st = rl_file_pwrite(w->fd, w->path, &f, sizeof f, (int64_t)w->current.bytes);
  if (st == RL_OK) w->tail = RL_WAL_MARKED;
  return st;
}

/* When the process is killed it is in the system's memory, and tells damage of the last group from its being torn. It
 * is not synced: when the machine is, the group may be torn. Without it the log is as good otherwise, so nobody is told
 * when it cannot be written; what is wrong with the disk the next group will meet. */
void rl_wal_put_mark(rl_wal *w)
{
  rl_status st = w->current.bytes > w->current.header ? write_mark(w) : RL_OK;
  if (st != RL_OK && w->tail == RL_WAL_SPOILT) {
    st = rl_file_truncate(w->fd, w->path, (int64_t)w->current.bytes);
    if (st == RL_OK) w->tail = RL_WAL_BARE;
  }
  rl_error_drop();
}

void rl_wal_end(rl_wal *w)
{
  rl_status st = w->tail == RL_WAL_MARKED ? RL_OK : write_mark(w);
  if (st == RL_OK && w->fd < 0) st = rl_file_open(w->path, O_RDWR, &w->fd);
  if (st == RL_OK) st = rl_file_sync_data(w->fd, w->path);
  if (st != RL_OK) rl_warn("write-ahead log: %s; its clean end is not marked", rl_error_message());
}

/* Groups ----------------------------------------------------------------------------------------------------------- */

/* The file may end behind the records of a write that failed. Cut and synced, so that also after a crash nothing stands
 * behind the last acknowledged record of a segment that others follow. */
static rl_status cut_back(rl_wal *w)
{
  if (w->fd < 0) return RL_OK; /* not even opened */
  rl_status st = rl_file_truncate(w->fd, w->path, (int64_t)w->current.bytes);
  if (st == RL_OK) st = rl_file_sync(w->fd, w->path);
  if (st == RL_OK) w->tail = RL_WAL_BARE;
  return st;
}

static bool must_roll(const rl_wal *w, uint64_t bytes)
{
  if (w->current.bytes == w->current.header) return false;
  if (w->current.bytes + bytes > w->spec.segment_bytes) return true;
  return w->spec.roll_ms > 0 && rl_mono_ns() - w->made_ns >= w->spec.roll_ms * 1000000;
}

/* A segment that others follow ends with a whole frame on disk: else it is damaged. */
static rl_status end_segment(rl_wal *w)
{
  if (w->tail == RL_WAL_BARE) return RL_OK;
  rl_status st = w->fd >= 0 ? RL_OK : rl_file_open(w->path, O_RDWR, &w->fd);
  if (st != RL_OK) return st;
  st = w->tail == RL_WAL_MARKED ? rl_file_sync_data(w->fd, w->path) : cut_back(w);
  w->final = st != RL_OK;
  return st;
}

static rl_status roll(rl_wal *w, uint64_t first)
{
  rl_wal_segment s;
  rl_wal_step step;
  rl_status st = end_segment(w);
  if (st != RL_OK) return st;
  int fd = -1, old = w->fd;
  st = rl_wal_segment_make(w->spec.dir, first, &s, &fd, &step);
  if (st != RL_OK) {
    w->final = step == RL_WAL_SYNCING;
    return st;
  }
  if (old >= 0) rl_fs_get()->close(old); /* all of it is synced */
  rl_wal_set_current(w, &s, fd);
  return RL_OK;
}

static void sign(rl_wal *w, rl_wal_queue *group, struct iovec *v)
{
  uint64_t offset = w->current.bytes;
  uint32_t index = 0;
  for (rl_wal_entry *e = group->head; e; e = e->next) {
    e->offset = offset;
    e->head.index = index++;
    rl_wal_frame_sign(&e->head, w->current.id, offset);
    memcpy(v, e->iov, e->niov * sizeof *v);
    v += e->niov;
    offset += e->bytes;
  }
}

/* errno tells why it failed. */
static rl_status write_once(rl_wal *w, rl_wal_queue *group)
{
  rl_status st = must_roll(w, group->bytes) ? roll(w, group->head->head.seq) : RL_OK;
  if (st == RL_OK && w->fd < 0) st = rl_file_open(w->path, O_RDWR, &w->fd);
  if (st != RL_OK) return st;
  struct iovec *v = rl_calloc(group->niov, sizeof *v);
  sign(w, group, v);
  st = rl_file_pwritev(w->fd, w->path, v, group->niov, (int64_t)w->current.bytes);
  int reason = errno;
  rl_free(v);
  errno = reason;
  return st;
}

/* False when the log is to end meanwhile. */
static bool pause_writing(rl_wal *w)
{
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  int64_t ns = until.tv_nsec + w->spec.retry_ms * 1000000;
  until.tv_sec += ns / 1000000000;
  until.tv_nsec = ns % 1000000000;
  pthread_mutex_lock(&w->lock);
  bool begins = !w->paused;
  w->paused = true;
  if (begins) {
    rl_warn("write-ahead log %s: the disk is full (%s); nothing is acknowledged until there is room", w->spec.dir,
            rl_error_message());
  }
  while (!w->stopping && pthread_cond_timedwait(&w->work, &w->lock, &until) != ETIMEDOUT) continue;
  bool goes_on = !w->stopping;
  pthread_mutex_unlock(&w->lock);
  return goes_on;
}

/* Where the log waited for room when it was stopped: what is lost by that. */
static rl_status give_up(rl_wal *w, const rl_wal_queue *group)
{
  pthread_mutex_lock(&w->lock);
  uint64_t last = w->next - 1;
  pthread_mutex_unlock(&w->lock);
  rl_status st = rl_fail(RL_EIO, "write-ahead log %s: the disk is full, and the log ends without its records %" PRIu64
                         " to %" PRIu64 " (%s). No source was told that they are safe; what was done of their batches "
                         "is done again at the next start: make room first", w->spec.dir, group->head->head.seq, last,
                         rl_error_message());
  rl_error_set_retriable(false);
  return st;
}

static void end_pause(rl_wal *w)
{
  pthread_mutex_lock(&w->lock);
  bool paused = w->paused;
  w->paused = false;
  pthread_mutex_unlock(&w->lock);
  if (paused) rl_warn("write-ahead log %s: there is room on the disk again, and it goes on", w->spec.dir);
}

/* Until it succeeds or there is no more to try. Nothing of the group was acknowledged, so it may be written anew. */
static rl_status write_until(rl_wal *w, rl_wal_queue *group)
{
  bool last = false;
  for (uint32_t failures = 0;;) {
    rl_status st = write_once(w, group);
    int reason = errno;
    if (st == RL_OK) return RL_OK;
    bool full = reason == ENOSPC || reason == EDQUOT;
    if (w->final || last || (!full && ++failures >= w->spec.max_failures)) return st;
    rl_error why;
    rl_error_take(&why);
    st = cut_back(w);
    if (st == RL_OK) rl_wal_put_mark(w);
    rl_error_raise(&why);
    if (st != RL_OK) return st;
    if (full) last = !pause_writing(w);
    else rl_warn("write-ahead log: %s; it is tried again", rl_error_message());
  }
}

static rl_status close_file(rl_wal *w)
{
  rl_status st = rl_file_close(w->fd, w->path);
  w->fd = -1;
  return st;
}

static rl_status fail_for_good(const rl_wal *w, const rl_wal_queue *group, uint64_t at)
{
  rl_status st = rl_fail(RL_EIO, "write-ahead log %s: %s (offset %" PRIu64 ", record %" PRIu64 "). Nothing more is "
                         "written to it, all records before are on disk: see to the disk, then start again", w->path,
                         rl_error_message(), at, group->head->head.seq);
  rl_error_set_retriable(false);
  return st;
}

#define LOOK_NS INT64_C(1000000000)

/* Somebody may delete the checkpoint of a job that runs. A look a second is enough: nobody has more of what was written
 * since by looking more often. */
static rl_status look_for_file(rl_wal *w, const rl_wal_queue *group)
{
  int64_t now = rl_mono_ns();
  bool has = true;
  if (now - w->looked_ns < LOOK_NS) return RL_OK;
  w->looked_ns = now;
  rl_status st = rl_file_has_name(w->fd, w->path, &has);
  if (st != RL_OK) return fail_for_good(w, group, w->current.bytes);
  if (has) return RL_OK;
  st = rl_fail(RL_EIO, "write-ahead log %s: the file was deleted while the job runs. Nothing more is acknowledged, and "
               "what is in it is lost: put the checkpoint directory back from a backup, or start anew", w->path);
  rl_error_set_retriable(false);
  return st;
}

/* The next group is there, and written at once: its frames say as much as a mark. */
static bool is_followed(rl_wal *w)
{
  pthread_mutex_lock(&w->lock);
  bool is = w->queue.head != NULL;
  pthread_mutex_unlock(&w->lock);
  return is;
}

rl_status rl_wal_write_group(rl_wal *w, rl_wal_queue *group)
{
  rl_status st = write_until(w, group);
  if (st != RL_OK && rl_wal_is_paused(w)) return give_up(w, group);
  end_pause(w);
  uint64_t at = w->current.bytes;
  if (st == RL_OK) st = rl_file_sync_data(w->fd, w->path);
  if (st != RL_OK) return fail_for_good(w, group, at);
  st = look_for_file(w, group);
  if (st != RL_OK) return st;
  w->current.bytes += group->bytes;
  w->expected = group->head->head.seq + group->n;
  w->tail = RL_WAL_BARE;
  w->unmarked = true;
  if (!is_followed(w)) rl_wal_put_mark(w);
  if (w->spec.close_after_write && close_file(w) != RL_OK) return fail_for_good(w, group, at);
  pthread_mutex_lock(&w->lock);
  w->segments[w->nsegments - 1].bytes = w->current.bytes;
  pthread_mutex_unlock(&w->lock);
  return RL_OK;
}
