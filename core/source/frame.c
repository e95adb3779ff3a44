#include "source/frame.h"

#include <inttypes.h>

#include "data/codec.h"

#define KEEP_BYTES ((size_t)4 << 20) /* a buffer larger than this is not kept for the next frame */

void rl_frames_reset(rl_frames *f)
{
  rl_buf_free(&f->body);
  f->nhead = 0;
  f->length = 0;
  f->count = 0;
}

bool rl_frames_is_open(const rl_frames *f) { return f->nhead > 0; }

static rl_status decode_body(const rl_frames *f, rl_chunks *out)
{
  rl_reader r = {f->body.p, f->body.p + f->body.n};
  while (r.p < r.end) {
    rl_chunk *c;
    rl_status st = rl_chunk_decode(&r, &c);
    if (st != RL_OK) {
      rl_error_prefix("frame %" PRIu64 " is malformed at byte %zu of %zu: ", f->count + 1, (size_t)(r.p - f->body.p),
                      f->body.n);
      return st;
    }
    rl_chunks_add(out, c);
  }
  return RL_OK;
}

static rl_status end_frame(rl_frames *f, rl_frame_fn *fn, void *user)
{
  rl_chunks chunks = {0};
  rl_status st = f->body.n > 0 ? decode_body(f, &chunks) : RL_OK;
  f->count++;
  f->nhead = 0;
  if (f->body.cap > KEEP_BYTES) rl_buf_free(&f->body);
  rl_buf_clear(&f->body);
  if (st == RL_OK && rl_chunks_records(&chunks) > 0) return fn(user, &chunks);
  rl_chunks_clear(&chunks);
  return st;
}

static size_t take_head(rl_frames *f, const char *p, size_t n)
{
  size_t taken = 0;
  while (taken < n && f->nhead < RL_FRAME_HEAD) f->head[f->nhead++] = (uint8_t)p[taken++];
  return taken;
}

static rl_status read_head(rl_frames *f)
{
  f->length = (size_t)f->head[0] << 24 | (size_t)f->head[1] << 16 | (size_t)f->head[2] << 8 | f->head[3];
  if (f->length <= f->limit) return RL_OK;
  return rl_fail(RL_ELIMIT, "frame %" PRIu64 " is %zu bytes long, more than the %zu allowed", f->count + 1, f->length,
                 f->limit);
}

rl_status rl_frames_feed(rl_frames *f, const char *p, size_t n, rl_frame_fn *fn, void *user)
{
  rl_status st = RL_OK;
  while (st == RL_OK && n > 0) {
    size_t taken = take_head(f, p, n);
    p += taken;
    n -= taken;
    if (f->nhead < RL_FRAME_HEAD) return RL_OK;
    if (taken > 0) st = read_head(f);
    if (st != RL_OK) return st;
    size_t rest = f->length - f->body.n;
    size_t more = rest < n ? rest : n;
    rl_buf_add(&f->body, p, more);
    p += more;
    n -= more;
    if (f->body.n == f->length) st = end_frame(f, fn, user);
  }
  return st;
}
