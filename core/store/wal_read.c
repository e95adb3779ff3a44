/* Reading single records back, removing segments, and looking over a log as a whole. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/wal_impl.h"

/* Reading back ----------------------------------------------------------------------------------------------------- */

static bool find_segment(rl_wal *w, uint64_t first, rl_wal_segment *out)
{
  bool found = false;
  pthread_mutex_lock(&w->lock);
  for (size_t i = w->nsegments; i-- > 0 && !found;) {
    found = w->segments[i].first == first;
    if (found) *out = w->segments[i];
  }
  pthread_mutex_unlock(&w->lock);
  return found;
}

static rl_status read_record(int fd, const char *path, uint64_t id, const rl_wal_at *at, rl_bytes *out)
{
  rl_wal_frame f;
  size_t got;
  rl_status st = rl_file_pread(fd, path, &f, sizeof f, (int64_t)at->offset, &got);
  if (st != RL_OK) return st;
  if (got < sizeof f) return rl_wal_damaged(path, at->offset, "a frame is cut short");
  if (!rl_wal_frame_is_signed(&f, id, at->offset)) {
    return rl_wal_damaged(path, at->offset, "no frame begins there, or its head is damaged");
  }
  if (f.seq != at->seq || f.length != at->length || f.type != at->type) {
    return rl_wal_damaged(path, at->offset, "record %" PRIu64 " stands where %" PRIu64 " is looked for", f.seq,
                          at->seq);
  }
  st = rl_file_pread(fd, path, out->data, at->length, (int64_t)(at->offset + sizeof f), &out->n);
  if (st != RL_OK) return st;
  if (out->n < at->length) return rl_wal_damaged(path, at->offset, "a frame is cut short");
  struct iovec v = {out->data, out->n};
  return rl_wal_payload_sum(&v, 1) == f.payload_sum ? RL_OK
                                                     : rl_wal_damaged(path, at->offset, "wrong checksum of a payload");
}

rl_status rl_wal_read(rl_wal *w, const rl_wal_at *at, rl_bytes **out)
{
  rl_wal_segment s;
  if (!find_segment(w, at->segment, &s)) {
    return rl_fail(RL_ENOTFOUND, "write-ahead log %s: record %" PRIu64 " was removed", w->spec.dir, at->seq);
  }
  rl_bytes *b = rl_bytes_new(at->length);
  if (!b) return RL_ENOMEM;
  char *path = rl_wal_path(w->spec.dir, s.first);
  int fd;
  rl_status st = rl_file_open(path, O_RDONLY, &fd);
  if (st == RL_OK) {
    st = read_record(fd, path, s.id, at, b);
    rl_fs_get()->close(fd);
  }
  rl_free(path);
  if (st == RL_OK) *out = b;
  else rl_bytes_unref(b);
  return st;
}

/* Removing --------------------------------------------------------------------------------------------------------- */

static bool oldest_below(rl_wal *w, uint64_t below, uint64_t *first)
{
  pthread_mutex_lock(&w->lock);
  bool is = w->nsegments > 1 && w->segments[1].first <= below;
  *first = w->segments[0].first;
  pthread_mutex_unlock(&w->lock);
  return is;
}

static void forget_oldest(rl_wal *w)
{
  pthread_mutex_lock(&w->lock);
  w->nsegments--;
  memmove(w->segments, w->segments + 1, w->nsegments * sizeof *w->segments);
  pthread_mutex_unlock(&w->lock);
}

/* Of the oldest segment that stays; 0: none is to go. */
static uint64_t first_to_stay(rl_wal *w, uint64_t below)
{
  uint64_t first = 0;
  pthread_mutex_lock(&w->lock);
  for (size_t i = 1; i < w->nsegments && w->segments[i].first <= below; i++) first = w->segments[i].first;
  pthread_mutex_unlock(&w->lock);
  return first;
}

/* One after the other, each removal on disk before the next: a crash must not leave a hole. */
rl_status rl_wal_trim(rl_wal *w, uint64_t below)
{
  uint64_t first;
  pthread_mutex_lock(&w->trimming);
  uint64_t floor = first_to_stay(w, below);
  rl_status st = floor > 0 ? rl_wal_floor_raise(w->spec.dir, floor) : RL_OK;
  while (st == RL_OK && oldest_below(w, below, &first)) {
    char *path = rl_wal_path(w->spec.dir, first);
    st = rl_file_unlink(path);
    if (st == RL_OK) st = rl_dir_sync(w->spec.dir);
    if (st == RL_OK) forget_oldest(w);
    rl_free(path);
  }
  pthread_mutex_unlock(&w->trimming);
  return st;
}

/* Verifying -------------------------------------------------------------------------------------------------------- */

typedef struct verification {
  const rl_wal_verifier *v;
  const char *copy; /* NULL: none */
  rl_error first; /* damage */
} verification;

/* Of the thread's current error. */
static void report(verification *x, const char *path, uint64_t offset, uint64_t seq, bool torn)
{
  rl_wal_damage d = {path, offset, seq, rl_error_message(), torn};
  if (x->v->damage) x->v->damage(x->v->user, &d);
  if (!torn && x->first.code == RL_OK) rl_error_copy(&x->first, rl_error_current());
}

/* What a bad frame is, and the cursor behind it: at the next whole one, or at the end. */
static rl_status judge(verification *x, rl_wal_cursor *c, bool last, const char *wrong)
{
  rl_wal_behind behind;
  uint64_t at = c->at, seq = c->next;
  rl_status st = rl_wal_cursor_look_behind(c, &behind);
  if (st == RL_OK && behind.more) st = rl_wal_cursor_skip(c, &behind);
  if (st != RL_OK) return st;
  if (!behind.more) c->at = c->size;
  bool torn = last && behind.torn;
  if (torn) rl_fail(RL_EDATA, "unfinished tail: %s at offset %" PRIu64 ": %s", c->path, at, wrong);
  else if (!behind.more) rl_wal_damaged(c->path, at, "%s (record %" PRIu64 " is expected there)", wrong, seq);
  else if (behind.mark) rl_wal_damaged(c->path, at, "%s (record %" PRIu64 " is expected there); the mark before record "
                                       "%" PRIu64 " is at offset %" PRIu64, wrong, seq, behind.seq, behind.at);
  else rl_wal_damaged(c->path, at, "%s (record %" PRIu64 " is expected there); the next whole one is %" PRIu64
                      ", at offset %" PRIu64, wrong, seq, behind.seq, behind.at);
  report(x, c->path, at, seq, torn);
  return RL_OK;
}

static rl_status verify_frames(verification *x, rl_wal_cursor *c, bool last)
{
  for (;;) {
    rl_wal_found found;
    rl_wal_record r;
    const char *wrong;
    rl_status st = rl_wal_cursor_next(c, &found, &r, &wrong);
    if (st == RL_OK && found == RL_WAL_END) return RL_OK;
    if (st == RL_OK && found == RL_WAL_BAD) st = judge(x, c, last, wrong);
    else if (st == RL_OK && x->v->record) st = x->v->record(x->v->user, &r);
    if (st != RL_OK) return st;
  }
}

/* *next is 0 where what follows is not known: at the beginning, and behind a segment that could not be read. */
static rl_status verify_segment(verification *x, const char *dir, uint64_t first, bool last, uint64_t *next)
{
  rl_wal_cursor c = {.fd = -1};
  if (*next != 0 && *next != first) {
    rl_fail(RL_EDATA, "damaged log: %s: records from %" PRIu64 " on are missing before segment log-%016" PRIx64
            ", which begins with %" PRIu64, dir, *next, first, first);
    report(x, dir, 0, *next, false);
  }
  rl_status st = rl_wal_cursor_open(&c, dir, first);
  if (st == RL_EDATA) {
    st = c.header == 0 && x->copy ? rl_wal_cursor_adopt(&c, x->copy) : RL_OK;
    if (st == RL_OK) report(x, c.path, c.bad, c.header > 0 ? 0 : first, false);
  }
  if (st == RL_OK && c.header > 0) st = verify_frames(x, &c, last);
  if (st == RL_OK) *next = c.header > 0 ? c.next : 0;
  rl_wal_cursor_close(&c);
  return st;
}

rl_status rl_wal_verify(const char *dir, const rl_wal_verifier *v)
{
  return rl_wal_verify_by(dir, NULL, v);
}

rl_status rl_wal_verify_by(const char *dir, const char *copy, const rl_wal_verifier *v)
{
  verification x = {v, copy, RL_ERROR_NONE};
  rl_wal_firsts firsts = {0};
  uint64_t next = 0;
  bool there;
  rl_status st = rl_wal_list(dir, false, &firsts);
  if (st == RL_OK) st = rl_wal_floor_check(dir, &firsts, &there);
  if (st == RL_EDATA) {
    report(&x, dir, 0, 1, false);
    st = RL_OK;
  }
  for (size_t i = 0; i < firsts.n && st == RL_OK; i++) {
    st = verify_segment(&x, dir, firsts.v[i], i + 1 == firsts.n, &next);
  }
  rl_free(firsts.v);
  if (st == RL_OK && x.first.code != RL_OK) return rl_error_raise(&x.first);
  rl_error_clear(&x.first);
  return st;
}
