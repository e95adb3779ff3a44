/* Recovery: every segment is read and checked, records are replayed, the last segment's torn tail is cut. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/wal_impl.h"

static rl_status replay_frames(const rl_wal *w, rl_wal_cursor *c, rl_wal_found *found, const char **wrong)
{
  rl_wal_record r;
  for (;;) {
    rl_status st = rl_wal_cursor_next(c, found, &r, wrong);
    if (st != RL_OK || *found != RL_WAL_RECORD) return st;
    if (!w->spec.replay || r.at.seq < w->spec.from) continue;
    st = w->spec.replay(w->spec.user, &r);
    if (st != RL_OK) return st;
  }
}

static rl_status check_tail(rl_wal_cursor *c, const char *wrong)
{
  rl_wal_behind behind;
  rl_status st = rl_wal_cursor_look_behind(c, &behind);
  if (st != RL_OK) return st;
  if (!behind.torn) {
    return rl_wal_damaged(c->path, c->at, "%s (record %" PRIu64 " is expected there), and %s stands behind it, at "
                          "offset %" PRIu64, wrong, c->next,
                          behind.proof_mark ? "the mark that all before it is on disk" : "a later one", behind.proof);
  }
  if (!behind.zeros) {
    rl_warn("write-ahead log %s: cut at offset %" PRIu64 ", behind record %" PRIu64 ": %" PRIu64 " bytes of an "
            "unfinished group stood there, which was never acknowledged", c->path, c->at, c->next - 1, c->size - c->at);
  }
  return RL_OK;
}

static rl_status recover_segment(const rl_wal *w, rl_wal_cursor *c, bool last)
{
  rl_wal_found found;
  const char *wrong = NULL;
  rl_status st = replay_frames(w, c, &found, &wrong);
  if (st != RL_OK) return st;
  if (found == RL_WAL_BAD && !last) return rl_wal_damaged(c->path, c->at, "%s, in a segment that others follow", wrong);
  if (found == RL_WAL_BAD) st = check_tail(c, wrong);
  return st == RL_OK && last ? rl_wal_settle(c) : st;
}

static rl_status check_succession(const rl_wal *w, uint64_t first, uint64_t expected)
{
  if (w->nsegments > 0 && first != expected) {
    char *path = rl_wal_path(w->spec.dir, first);
    rl_status st = rl_wal_damaged(path, 0, "it begins with record %" PRIu64 ", the segment before it ends so that %"
                                  PRIu64 " is expected: a segment is missing or was cut", first, expected);
    rl_free(path);
    return st;
  }
  if (w->nsegments == 0 && w->spec.from > 0 && w->spec.from < first) {
    return rl_fail(RL_EDATA, "damaged log: %s has no records before %" PRIu64 ", but those from %" PRIu64
                   " on are needed: a segment is missing", w->spec.dir, first, w->spec.from);
  }
  return RL_OK;
}

void rl_wal_set_current(rl_wal *w, const rl_wal_segment *s, int fd)
{
  pthread_mutex_lock(&w->lock);
  w->segments = rl_grow(w->segments, &w->cap, w->nsegments + 1, sizeof *w->segments);
  w->segments[w->nsegments++] = *s;
  pthread_mutex_unlock(&w->lock);
  rl_free(w->path);
  w->path = rl_wal_path(w->spec.dir, s->first);
  w->fd = fd;
  w->tail = RL_WAL_BARE;
  w->current = *s;
  w->made_ns = w->looked_ns = rl_mono_ns();
}

static rl_status read_segments(rl_wal *w, const rl_wal_firsts *firsts)
{
  rl_status st = RL_OK;
  for (size_t i = 0; i < firsts->n && st == RL_OK; i++) {
    rl_wal_cursor c = {.fd = -1};
    st = check_succession(w, firsts->v[i], w->next);
    if (st != RL_OK) break;
    st = rl_wal_cursor_open(&c, w->spec.dir, firsts->v[i]);
    if (st == RL_OK) st = recover_segment(w, &c, i + 1 == firsts->n);
    if (st == RL_OK) {
      rl_wal_segment s = {c.first, c.id, c.at, c.header};
      w->next = c.next;
      w->unmarked = !c.marked && c.at > c.header;
      int64_t age_ms = rl_wall_ms() - c.made_ms;
      rl_wal_set_current(w, &s, -1);
      if (age_ms > 0) w->made_ns -= age_ms * 1000000;
    }
    rl_wal_cursor_close(&c);
  }
  return st;
}

static rl_status begin_anew(rl_wal *w)
{
  rl_wal_segment s;
  rl_wal_step step;
  int fd;
  rl_status st = rl_wal_segment_make(w->spec.dir, w->next, &s, &fd, &step);
  if (st == RL_OK) rl_wal_set_current(w, &s, fd);
  return st;
}

/* What is missing and accepted is not asked for again: the floor is made anew. */
static rl_status check_beginning(rl_wal *w, const rl_wal_firsts *firsts, bool *has_floor)
{
  rl_status st = rl_wal_floor_check(w->spec.dir, firsts, has_floor);
  if (st != RL_EDATA || !w->spec.accept_missing) return st;
  rl_warn("%s", rl_error_message());
  rl_error_drop();
  *has_floor = false;
  if (firsts->n == 0) w->next = rl_wal_floor_to_go_on(w->spec.dir);
  return RL_OK;
}

rl_status rl_wal_recover(rl_wal *w)
{
  rl_wal_firsts firsts = {0};
  bool has_floor = false;
  w->next = w->spec.first > 0 ? w->spec.first : 1;
  rl_status st = rl_wal_list(w->spec.dir, true, &firsts);
  if (st == RL_OK) st = check_beginning(w, &firsts, &has_floor);
  if (st == RL_OK) st = read_segments(w, &firsts);
  if (st == RL_OK && w->spec.from > w->next) {
    st = rl_fail(RL_EDATA, "damaged log: %s ends with record %" PRIu64 ", but those from %" PRIu64
                 " on are needed: its last segments are missing", w->spec.dir, w->next - 1, w->spec.from);
  }
  if (st == RL_OK && firsts.n == 0) st = begin_anew(w);
  if (st == RL_OK && !has_floor) st = rl_wal_floor_make(w->spec.dir, w->segments[0].first);
  w->durable = w->next - 1;
  w->expected = w->next;
  if (st == RL_OK && w->unmarked) rl_wal_put_mark(w);
  rl_free(firsts.v);
  return st;
}
