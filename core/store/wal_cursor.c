/* Reading a segment. What is bad is not judged where it is met but by what stands behind it: frames of the same group
 * may reach the disk in any order, those of a later group only when all of the earlier is there. So a bad frame is the
 * torn tail of a crash when nothing stands behind it but frames of its own group, and damage otherwise. */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "store/wal_impl.h"

#define WINDOW (UINT64_C(256) << 10)

/* Makes the window hold [at, at + n); the file is as long. *p is valid until the next load. */
static rl_status load(rl_wal_cursor *c, uint64_t at, uint64_t n, const char **p)
{
  if (at < c->window_at || at + n > c->window_at + c->window.n) {
    uint64_t want = n > WINDOW ? n : WINDOW;
    if (want > c->size - at) want = c->size - at;
    size_t got;
    rl_buf_clear(&c->window);
    rl_buf_reserve(&c->window, want);
    rl_status st = rl_file_pread(c->fd, c->path, c->window.p, want, (int64_t)at, &got);
    if (st != RL_OK) return st;
    if (got < n) return rl_wal_damaged(c->path, at + got, "the file became shorter while it was read");
    c->window_at = at;
    c->window.n = got;
  }
  *p = c->window.p + (at - c->window_at);
  return RL_OK;
}

static rl_status read_header(rl_wal_cursor *c)
{
  rl_wal_header h;
  const char *p;
  if (c->size < sizeof h) return rl_wal_damaged(c->path, 0, "the header is cut short");
  rl_status st = load(c, 0, sizeof h, &p);
  if (st != RL_OK) return st;
  memcpy(&h, p, sizeof h);
  const char *wrong = rl_wal_header_check(&h, c->first);
  if (wrong) return rl_wal_damaged(c->path, 0, "%s", wrong);
  c->id = h.id;
  c->made_ms = h.made_ms;
  c->at = c->group_at = sizeof h;
  c->next = c->group = c->first;
  return RL_OK;
}

rl_status rl_wal_cursor_open(rl_wal_cursor *c, const char *dir, uint64_t first)
{
  *c = (rl_wal_cursor){.path = rl_wal_path(dir, first), .fd = -1, .first = first};
  rl_status st = rl_file_size(c->path, &c->size);
  if (st == RL_OK) st = rl_file_open(c->path, O_RDONLY, &c->fd);
  return st == RL_OK ? read_header(c) : st;
}

void rl_wal_cursor_close(rl_wal_cursor *c)
{
  if (c->fd >= 0) rl_fs_get()->close(c->fd); /* only read from: nothing can be lost */
  rl_buf_free(&c->window);
  rl_free(c->path);
  *c = (rl_wal_cursor){.fd = -1};
}

/* The frame at an offset, when one lies there whole; *f is its head, *payload valid until the next load. */
static rl_status whole_frame(rl_wal_cursor *c, uint64_t at, rl_wal_frame *f, const char **payload, const char **wrong)
{
  const char *p;
  *wrong = "a frame is cut short";
  if (c->size - at < sizeof *f) return RL_OK;
  rl_status st = load(c, at, sizeof *f, &p);
  if (st != RL_OK) return st;
  memcpy(f, p, sizeof *f);
  *wrong = "no frame begins there, or its head is damaged";
  if (!rl_wal_frame_is_signed(f, c->id, at)) return RL_OK;
  *wrong = "a frame is cut short";
  if (f->length > c->size - at - sizeof *f) return RL_OK;
  st = load(c, at, sizeof *f + f->length, &p);
  if (st != RL_OK) return st;
  *payload = p + sizeof *f;
  struct iovec v = {(void *)*payload, f->length};
  *wrong = rl_wal_payload_sum(&v, 1) == f->payload_sum ? NULL : "wrong checksum of a payload";
  return RL_OK;
}

static bool follows(const rl_wal_cursor *c, const rl_wal_frame *f)
{
  return f->seq == c->next && (f->index == 0 || f->seq - f->index == c->group);
}

static void pass(rl_wal_cursor *c, const rl_wal_frame *f)
{
  if (f->index == 0) {
    c->group = f->seq;
    c->group_at = c->at;
  }
  c->marked = f->type == RL_WAL_MARK;
  c->at += sizeof *f + f->length;
  c->next = f->seq + !c->marked;
}

rl_status rl_wal_cursor_next(rl_wal_cursor *c, rl_wal_found *found, rl_wal_record *r, const char **wrong)
{
  rl_wal_frame f;
  *found = RL_WAL_END;
  while (c->at < c->size) {
    rl_status st = whole_frame(c, c->at, &f, &r->p, wrong);
    if (st != RL_OK) return st;
    if (!*wrong && !follows(c, &f)) *wrong = "a frame of another place stands there";
    *found = *wrong ? RL_WAL_BAD : RL_WAL_RECORD;
    if (*wrong) return RL_OK;
    r->at = (rl_wal_at){c->first, c->at, f.seq, f.length, (uint16_t)f.type};
    pass(c, &f);
    if (!c->marked) return RL_OK;
    *found = RL_WAL_END;
  }
  return RL_OK;
}

/* The next offset from `at` on that may hold a frame behind the cursor; the file's size when there is none. Cheap tests
 * only: a sequence that can be there by the number of bytes between. */
static rl_status candidate(rl_wal_cursor *c, uint64_t *at, bool *zeros)
{
  rl_wal_frame f;
  const char *p;
  for (; *at < c->size; ++*at) {
    bool room = c->size - *at >= sizeof f;
    rl_status st = load(c, *at, room ? sizeof f : c->size - *at, &p);
    if (st != RL_OK) return st;
    if (*p) *zeros = false;
    if (!room) continue;
    uint64_t seq, most = c->next + (*at - c->at) / sizeof f + 1;
    memcpy(&seq, p + offsetof(rl_wal_frame, seq), sizeof seq);
    if (seq < c->first || seq > most) continue;
    memcpy(&f, p, sizeof f);
    if (rl_wal_frame_is_signed(&f, c->id, *at)) return RL_OK;
  }
  return RL_OK;
}

/* Whether a whole frame found behind the bad one says nothing against its being torn: it is of the bad one's group,
 * which is that of the last whole frame, or begins with the bad one; and so are those found before it, the last with
 * sequence `before`. */
static bool is_of_torn_group(const rl_wal_cursor *c, const rl_wal_frame *f, uint64_t group, uint64_t before)
{
  return f->index > 0 && f->seq > before && f->seq - f->index == group && (group == c->group || group == c->next);
}

rl_status rl_wal_cursor_look_behind(rl_wal_cursor *c, rl_wal_behind *out)
{
  uint64_t group = 0, before = c->next;
  *out = (rl_wal_behind){.torn = true, .zeros = true};
  for (uint64_t at = c->at; at < c->size;) {
    rl_wal_frame f;
    const char *payload, *wrong;
    rl_status st = candidate(c, &at, &out->zeros);
    if (st != RL_OK || at == c->size) return st;
    st = whole_frame(c, at, &f, &payload, &wrong);
    if (st != RL_OK) return st;
    if (wrong) {
      at++;
      continue;
    }
    if (!out->more) {
      group = f.seq - f.index;
      *out = (rl_wal_behind){.torn = true, .more = true, .at = at, .seq = f.seq};
    }
    out->torn = at > c->at && is_of_torn_group(c, &f, group, before);
    if (!out->torn) return RL_OK;
    before = f.seq;
    at += sizeof f + f.length;
  }
  return RL_OK;
}

/* What of its group stands before that frame is not known. */
rl_status rl_wal_cursor_skip(rl_wal_cursor *c, const rl_wal_behind *b)
{
  rl_wal_frame f;
  const char *p;
  rl_status st = load(c, b->at, sizeof f, &p);
  if (st != RL_OK) return st;
  memcpy(&f, p, sizeof f);
  c->at = b->at;
  c->next = f.seq;
  c->group = f.seq - f.index;
  return RL_OK;
}
