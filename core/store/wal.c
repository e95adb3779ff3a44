#include "store/wal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/wal_impl.h"

#define GROUP_BYTES (UINT64_C(8) << 20) /* of a group that more could be added to */

/* The queue -------------------------------------------------------------------------------------------------------- */

static void push(rl_wal_queue *q, rl_wal_entry *e)
{
  if (!q->head) q->tail = &q->head;
  *q->tail = e;
  q->tail = &e->next;
  q->bytes += e->bytes;
  q->niov += e->niov;
  q->n++;
}

static rl_wal_entry *pop(rl_wal_queue *q)
{
  rl_wal_entry *e = q->head;
  q->head = e->next;
  e->next = NULL;
  q->bytes -= e->bytes;
  q->niov -= e->niov;
  q->n--;
  return e;
}

static void delete_entry(rl_wal_entry *e)
{
  for (size_t i = 0; i < e->nrefs; i++) rl_bytes_unref(e->refs[i]);
  rl_free(e);
}

/* What is copied lies behind the head in one piece with it, as far as nothing referenced comes in between. */
static void fill(rl_wal_entry *e, const rl_wal_part *v, size_t n)
{
  char *to = (char *)(&e->head + 1);
  e->iov[e->niov++] = (struct iovec){&e->head, sizeof e->head};
  for (size_t i = 0; i < n; i++) {
    if (v[i].n == 0) continue;
    struct iovec *last = &e->iov[e->niov - 1];
    if (v[i].bytes) {
      e->refs[e->nrefs++] = rl_bytes_ref(v[i].bytes);
      e->iov[e->niov++] = (struct iovec){(void *)v[i].p, v[i].n};
    } else {
      memcpy(to, v[i].p, v[i].n);
      if ((char *)last->iov_base + last->iov_len == to) last->iov_len += v[i].n;
      else e->iov[e->niov++] = (struct iovec){to, v[i].n};
      to += v[i].n;
    }
  }
}

static uint64_t sum_of(const rl_wal_entry *e)
{
  struct iovec first = e->iov[0];
  first.iov_base = (char *)first.iov_base + sizeof e->head;
  first.iov_len -= sizeof e->head;
  if (e->niov == 1) return rl_wal_payload_sum(&first, 1);
  if (first.iov_len == 0) return rl_wal_payload_sum(e->iov + 1, e->niov - 1);
  struct iovec *v = rl_calloc(e->niov, sizeof *v);
  memcpy(v, e->iov, e->niov * sizeof *v);
  v[0] = first;
  uint64_t sum = rl_wal_payload_sum(v, e->niov);
  rl_free(v);
  return sum;
}

/* In one piece of memory: the entry, its lists, the copied stretches. */
static rl_wal_entry *new_entry(uint16_t type, const rl_wal_part *v, size_t n, uint64_t length)
{
  size_t copied = 0;
  for (size_t i = 0; i < n; i++) copied += v[i].bytes ? 0 : v[i].n;
  size_t lists = sizeof(rl_wal_entry) + (copied + 7) / 8 * 8;
  rl_wal_entry *e = rl_alloc(lists + (n + 1) * sizeof *e->iov + n * sizeof *e->refs);
  e->iov = (struct iovec *)((char *)e + lists);
  e->refs = (rl_bytes **)(e->iov + n + 1);
  fill(e, v, n);
  e->bytes = sizeof e->head + length;
  e->head.length = (uint32_t)length;
  e->head.type = type;
  e->head.payload_sum = sum_of(e);
  return e;
}

/* The failure of the log as the thread's current error. Locked. */
static rl_status raise_failure(const rl_wal *w)
{
  rl_error e = RL_ERROR_NONE;
  rl_error_copy(&e, &w->failed);
  return rl_error_raise(&e);
}

static rl_status enqueue(rl_wal *w, rl_wal_entry *e, bool wait, uint64_t *seq)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&w->lock);
  while (wait && w->held >= w->spec.queue_bytes && !w->stopping && w->failed.code == RL_OK) {
    pthread_cond_wait(&w->room, &w->lock);
  }
  if (w->failed.code != RL_OK) st = raise_failure(w);
  else if (w->stopping) st = rl_fail(RL_ECLOSED, "write-ahead log %s: it was stopped", w->spec.dir);
  if (st == RL_OK) {
    e->head.seq = w->next++;
    if (seq) *seq = e->head.seq;
    w->held += e->bytes;
    if (!w->queue.head) pthread_cond_signal(&w->work);
    push(&w->queue, e);
  }
  pthread_mutex_unlock(&w->lock);
  return st;
}

static rl_status append(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, const rl_wal_entry *like, bool wait,
                        uint64_t *seq)
{
  uint64_t length = 0;
  for (size_t i = 0; i < n; i++) length += v[i].n;
  if (type == 0 || type > RL_WAL_TYPE_MOST) return rl_fail(RL_EINVAL, "no type of a log record: %u", (unsigned)type);
  if (length > RL_WAL_RECORD_MOST) {
    return rl_fail(RL_ELIMIT, "write-ahead log %s: a record of %" PRIu64 " bytes; at most %" PRIu32, w->spec.dir,
                   length, RL_WAL_RECORD_MOST);
  }
  rl_wal_entry *e = new_entry(type, v, n, length);
  e->done = like->done;
  e->user = like->user;
  rl_status st = enqueue(w, e, wait, seq);
  if (st != RL_OK) delete_entry(e);
  return st;
}

rl_status rl_wal_append_async(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, rl_wal_done *done, void *user,
                              uint64_t *seq)
{
  return append(w, type, v, n, &(rl_wal_entry){.done = done, .user = user}, true, seq);
}

rl_status rl_wal_append_now(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, rl_wal_done *done, void *user,
                            uint64_t *seq)
{
  return append(w, type, v, n, &(rl_wal_entry){.done = done, .user = user}, false, seq);
}

rl_status rl_wal_append(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, uint64_t *seq)
{
  return rl_wal_append_async(w, type, v, n, NULL, NULL, seq);
}

rl_status rl_wal_wait(rl_wal *w, uint64_t seq)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&w->lock);
  if (seq >= w->next) st = rl_fail(RL_EINVAL, "write-ahead log %s: no record %" PRIu64 " yet", w->spec.dir, seq);
  while (st == RL_OK && w->durable < seq && !w->ended) pthread_cond_wait(&w->durable_cond, &w->lock);
  if (st == RL_OK && w->durable < seq) st = raise_failure(w);
  pthread_mutex_unlock(&w->lock);
  return st;
}

/* The place is known before the waiter is told: done runs first (tell). */
static void note_place(void *user, rl_status st, const rl_wal_at *at)
{
  if (st == RL_OK) *(rl_wal_at *)user = *at;
}

rl_status rl_wal_write(rl_wal *w, uint16_t type, const rl_wal_part *v, size_t n, rl_wal_at *at)
{
  rl_wal_at place;
  uint64_t seq;
  rl_status st = rl_wal_append_async(w, type, v, n, note_place, &place, &seq);
  if (st == RL_OK) st = rl_wal_wait(w, seq);
  if (st == RL_OK && at) *at = place;
  return st;
}

/* The log's thread ------------------------------------------------------------------------------------------------- */

/* The next group; an empty one when the log ends. */
static rl_wal_queue take_group(rl_wal *w)
{
  rl_wal_queue group = {0};
  pthread_mutex_lock(&w->lock);
  while (!w->queue.head && !w->stopping) pthread_cond_wait(&w->work, &w->lock);
  while (w->queue.head && (!group.head || group.bytes + w->queue.head->bytes <= GROUP_BYTES)) {
    push(&group, pop(&w->queue));
  }
  pthread_mutex_unlock(&w->lock);
  return group;
}

/* Calls the dones of a group and frees it. Its failure, if any, is the thread's current error. */
static void tell(rl_wal *w, rl_wal_queue *group, rl_status st)
{
  rl_error failure = RL_ERROR_NONE;
  if (st != RL_OK) rl_error_take(&failure);
  while (group->head) {
    rl_wal_entry *e = pop(group);
    rl_wal_at at = {w->current.first, e->offset, e->head.seq, e->head.length, (uint16_t)e->head.type};
    if (e->done) {
      rl_error copy = RL_ERROR_NONE;
      rl_error_copy(&copy, &failure);
      if (st != RL_OK) rl_error_raise(&copy);
      e->done(e->user, st, &at);
    }
    delete_entry(e);
  }
  if (st != RL_OK) rl_error_raise(&failure);
}

/* After what was to be told to each: waiters may give away what the dones use. */
static void end_group(rl_wal *w, uint64_t last, uint64_t bytes)
{
  pthread_mutex_lock(&w->lock);
  w->durable = last;
  w->groups++;
  w->appended += bytes;
  w->held -= bytes;
  pthread_cond_broadcast(&w->room);
  pthread_cond_broadcast(&w->durable_cond);
  pthread_mutex_unlock(&w->lock);
}

/* Takes the thread's current error. Appends fail from here on, so the queue is complete. */
static void fail_all(rl_wal *w, rl_wal_queue *group)
{
  pthread_mutex_lock(&w->lock);
  rl_error_take(&w->failed);
  rl_wal_queue rest = w->queue;
  w->queue = (rl_wal_queue){0};
  w->held = 0;
  rl_status st = raise_failure(w);
  pthread_mutex_unlock(&w->lock);
  rl_err("%s", rl_error_message());
  tell(w, group, st);
  tell(w, &rest, st);
  pthread_mutex_lock(&w->lock);
  w->ended = true;
  pthread_cond_broadcast(&w->room);
  pthread_cond_broadcast(&w->durable_cond);
  pthread_mutex_unlock(&w->lock);
}

static void *log_thread(void *arg)
{
  rl_wal *w = arg;
  for (;;) {
    rl_wal_queue group = take_group(w);
    if (!group.head) break;
    uint64_t last = group.head->head.seq + group.n - 1, bytes = group.bytes;
    rl_status st = rl_wal_write_group(w, &group);
    if (st != RL_OK) {
      fail_all(w, &group);
      return NULL;
    }
    tell(w, &group, RL_OK);
    end_group(w, last, bytes);
  }
  if (w->unmarked) rl_wal_end(w);
  return NULL;
}

static rl_status start_thread(rl_wal *w)
{
  sigset_t all, before;
  sigfillset(&all);
  int err = pthread_sigmask(SIG_SETMASK, &all, &before); /* the thread inherits it */
  if (err == 0) {
    err = pthread_create(&w->thread, NULL, log_thread, w);
    if (pthread_sigmask(SIG_SETMASK, &before, NULL) != 0) abort();
  }
  if (err != 0) return rl_fail(RL_ENOMEM, "write-ahead log: cannot start its thread: %s", strerror(err));
  w->started = true;
  return RL_OK;
}

/* Open and close --------------------------------------------------------------------------------------------------- */

static rl_status lock_directory(rl_wal *w)
{
  bool got = false;
  rl_status st = rl_file_open_private(w->lock_path, O_RDWR | O_CREAT, &w->lock_fd);
  if (st == RL_OK) st = rl_file_lock_soon(w->lock_fd, w->lock_path, &got);
  if (st != RL_OK || got) return st;
  char *who = rl_file_locker_name(w->lock_path);
  st = rl_fail(RL_ESTATE, "write-ahead log %s: %s has it open; stop that one first", w->spec.dir, who);
  rl_free(who);
  return st;
}

static void init_sync(rl_wal *w)
{
  pthread_condattr_t monotonic;
  bool ok = pthread_condattr_init(&monotonic) == 0;
  ok = ok && pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0;
  ok = ok && pthread_mutex_init(&w->lock, NULL) == 0 && pthread_mutex_init(&w->trimming, NULL) == 0;
  ok = ok && pthread_cond_init(&w->work, &monotonic) == 0 && pthread_cond_init(&w->room, NULL) == 0;
  ok = ok && pthread_cond_init(&w->durable_cond, NULL) == 0;
  if (!ok) abort();
  pthread_condattr_destroy(&monotonic);
}

static rl_wal *new_wal(const rl_wal_spec *spec)
{
  rl_wal *w = RL_NEW(rl_wal);
  w->spec = *spec;
  w->spec.dir = rl_strdup(spec->dir);
  if (w->spec.segment_bytes == 0) w->spec.segment_bytes = RL_WAL_SEGMENT_BYTES;
  if (w->spec.queue_bytes == 0) w->spec.queue_bytes = RL_WAL_QUEUE_BYTES;
  if (w->spec.max_failures == 0) w->spec.max_failures = 1;
  if (w->spec.retry_ms == 0) w->spec.retry_ms = 1000;
  w->lock_path = rl_path_join(spec->dir, "lock");
  w->lock_fd = w->fd = -1;
  init_sync(w);
  return w;
}

static void delete_wal(rl_wal *w)
{
  if (w->fd >= 0) rl_fs_get()->close(w->fd); /* all that was acknowledged is synced */
  if (w->lock_fd >= 0) rl_fs_get()->close(w->lock_fd);
  pthread_cond_destroy(&w->work);
  pthread_cond_destroy(&w->room);
  pthread_cond_destroy(&w->durable_cond);
  pthread_mutex_destroy(&w->lock);
  pthread_mutex_destroy(&w->trimming);
  rl_error_clear(&w->failed);
  rl_free(w->segments);
  rl_free(w->path);
  rl_free(w->lock_path);
  rl_free((char *)w->spec.dir);
  rl_free(w);
}

rl_status rl_wal_open(const rl_wal_spec *spec, rl_wal **out)
{
  rl_status st = rl_dir_make_durable(spec->dir);
  if (st != RL_OK) return st;
  rl_wal *w = new_wal(spec);
  st = lock_directory(w);
  if (st == RL_OK) st = rl_wal_recover(w);
  if (st == RL_OK) st = start_thread(w);
  if (st == RL_OK) *out = w;
  else delete_wal(w);
  return st;
}

static rl_status note_segment(void *user, const char *name)
{
  uint64_t first;
  if (rl_wal_parse_name(name, &first)) *(bool *)user = true;
  return RL_OK;
}

bool rl_wal_exists(const char *dir)
{
  bool found = false;
  if (rl_dir_each(dir, note_segment, &found) != RL_OK) rl_error_drop();
  return found;
}

void rl_wal_stop(rl_wal *w)
{
  pthread_mutex_lock(&w->lock);
  w->stopping = true;
  pthread_cond_broadcast(&w->work);
  pthread_cond_broadcast(&w->room);
  pthread_mutex_unlock(&w->lock);
}

rl_status rl_wal_close(rl_wal *w)
{
  if (!w) return RL_OK;
  rl_wal_stop(w);
  if (pthread_join(w->thread, NULL) != 0) abort();
  rl_status st = w->failed.code == RL_OK ? RL_OK : rl_error_raise(&w->failed);
  delete_wal(w);
  return st;
}

bool rl_wal_is_paused(rl_wal *w)
{
  pthread_mutex_lock(&w->lock);
  bool paused = w->paused;
  pthread_mutex_unlock(&w->lock);
  return paused;
}

void rl_wal_stats_read(rl_wal *w, rl_wal_stats *out)
{
  pthread_mutex_lock(&w->lock);
  *out = (rl_wal_stats){.first = w->segments[0].first, .next = w->next, .durable = w->durable};
  out->segments = w->nsegments;
  for (size_t i = 0; i < w->nsegments; i++) out->bytes += w->segments[i].bytes;
  out->queued = w->held;
  out->groups = w->groups;
  out->appended = w->appended;
  pthread_mutex_unlock(&w->lock);
}
