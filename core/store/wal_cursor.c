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

/* The header ------------------------------------------------------------------------------------------------------- */

typedef struct headers {
  rl_wal_header h[RL_WAL_COPIES];
  const char *wrong[RL_WAL_COPIES]; /* NULL: it is right */
} headers;

/* Of a file of the first version, the second copy is the first frame. */
static rl_status read_headers(rl_wal_cursor *c, headers *x)
{
  const char *p;
  uint64_t n = c->size < sizeof x->h ? c->size : sizeof x->h;
  rl_status st = n > 0 ? load(c, 0, n, &p) : RL_OK;
  if (st != RL_OK) return st;
  if (n > 0) memcpy(x->h, p, n);
  for (uint64_t i = 0; i < RL_WAL_COPIES; i++) {
    if (rl_wal_header_is_foreign(&x->h[i])) {
      return rl_fail(RL_EUNSUPPORTED, "%s: written by another version of Rille, in format %u, which this one does not "
                     "know: use that version", c->path, (unsigned)x->h[i].version);
    }
    x->wrong[i] = n < (i + 1) * sizeof *x->h ? "the header is cut short" : rl_wal_header_check(&x->h[i], c->first);
  }
  bool differ = !x->wrong[0] && !x->wrong[1] && memcmp(&x->h[0], &x->h[1], sizeof *x->h) != 0;
  if (differ) x->wrong[1] = "the header is not the one at the beginning";
  return RL_OK;
}

static void begin_behind(rl_wal_cursor *c, uint64_t header, uint64_t id)
{
  c->header = c->at = c->group_at = header;
  c->id = id;
}

/* Both copies are damaged: an id that is made of what they have of it is the right one if the first frame is signed by
 * it. */
static rl_status find_id(rl_wal_cursor *c, const headers *x)
{
  const uint64_t ends[] = {sizeof x->h, sizeof *x->h};
  rl_wal_frame f;
  const char *p;
  for (size_t i = 0; i < sizeof ends / sizeof *ends && c->header == 0; i++) {
    if (c->size < ends[i] + sizeof f) continue;
    rl_status st = load(c, ends[i], sizeof f, &p);
    if (st != RL_OK) return st;
    memcpy(&f, p, sizeof f);
    for (unsigned set = 0; set < 1u << sizeof(uint64_t) && f.seq == c->first; set++) {
      uint64_t id = 0;
      for (unsigned byte = 0; byte < sizeof id; byte++) id |= x->h[set >> byte & 1].id & UINT64_C(0xff) << byte * 8;
      if (!rl_wal_frame_is_signed(&f, id, ends[i])) continue;
      begin_behind(c, ends[i], id);
      break;
    }
  }
  return RL_OK;
}

static rl_status read_header(rl_wal_cursor *c)
{
  headers x = {0};
  rl_status st = read_headers(c, &x);
  if (st != RL_OK) return st;
  bool first = !x.wrong[0], once = first && rl_wal_header_end(&x.h[0]) == sizeof *x.h;
  c->next = c->group = c->first;
  if (first || !x.wrong[1]) {
    const rl_wal_header *h = &x.h[first ? 0 : 1];
    begin_behind(c, rl_wal_header_end(h), h->id);
    c->made_ms = h->made_ms;
  } else {
    st = find_id(c, &x);
  }
  if (st != RL_OK || (first && (once || !x.wrong[1]))) return st;
  c->bad = first ? sizeof *x.h : 0;
  return rl_wal_damaged(c->path, c->bad, "%s", x.wrong[first ? 1 : 0]);
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

/* Frames ----------------------------------------------------------------------------------------------------------- */

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

/* Of a frame that was found behind the bad one: does it show that this one had been synced? Its head is enough: no
 * frame is begun before all earlier groups are on disk. At the place of the bad one itself there may be one that goes
 * on in a group whose beginning did not reach the disk, which has the mark before that instead. */
static bool is_proof(const rl_wal_cursor *c, uint64_t at, const rl_wal_frame *f, uint64_t group, uint64_t before)
{
  return (at == c->at && !c->marked) || !is_of_torn_group(c, f, group, before);
}

rl_status rl_wal_cursor_look_behind(rl_wal_cursor *c, rl_wal_behind *out)
{
  uint64_t group = 0, before = c->next;
  *out = (rl_wal_behind){.torn = true, .zeros = true};
  for (uint64_t at = c->at; out->torn || !out->more;) {
    rl_wal_frame f;
    const char *payload, *wrong;
    rl_status st = candidate(c, &at, &out->zeros);
    if (st != RL_OK || at == c->size) return st;
    out->zeros = false;
    st = whole_frame(c, at, &f, &payload, &wrong);
    if (st != RL_OK) return st;
    bool mark = f.type == RL_WAL_MARK, itself = wrong && at == c->at;
    if (group == 0) group = f.seq - f.index;
    if (out->torn && !itself && is_proof(c, at, &f, group, before)) {
      out->torn = false;
      out->proof = at;
      out->proof_mark = mark;
    }
    if (!wrong && !out->more) {
      out->more = true;
      out->at = at;
      out->seq = f.seq;
      out->mark = mark;
    }
    before = f.seq;
    at += wrong ? 1 : sizeof f + f.length;
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

static rl_status try_header(rl_wal_cursor *c, const rl_wal_cursor *other)
{
  rl_wal_behind behind;
  begin_behind(c, other->header, other->id);
  rl_status st = c->size > c->at ? rl_wal_cursor_look_behind(c, &behind) : RL_OK;
  if (st != RL_OK || c->size <= c->at || !behind.more) c->header = 0;
  return st;
}

rl_status rl_wal_cursor_adopt(rl_wal_cursor *c, const char *copy)
{
  rl_wal_cursor other;
  rl_error damage = RL_ERROR_NONE;
  rl_error_take(&damage);
  rl_status st = rl_wal_cursor_open(&other, copy, c->first);
  bool known = st == RL_OK || (st == RL_EDATA && other.header > 0);
  st = known ? try_header(c, &other) : RL_OK;
  rl_wal_cursor_close(&other);
  if (st == RL_OK) rl_error_raise(&damage);
  else rl_error_clear(&damage);
  return st;
}
