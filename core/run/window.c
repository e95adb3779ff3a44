/* Windows over the batches of a stream (section 7 of the reference). */
#include <inttypes.h>

#include "base/mem.h"
#include "run/stream.h"

#define SECONDS(ms) ((double)(ms) / 1000)

/* Durations are shown as jobs write them, in seconds. */
static rl_status check_multiple(const char *name, const char *which, int64_t ms, int64_t slide)
{
  if (ms > 0 && ms % slide == 0) return RL_OK;
  int64_t below = ms > slide ? ms - ms % slide : 0;
  if (below == 0 || below > INT64_MAX - slide)
    return rl_fail(RL_EINVAL, "%s: the %s of %.15g s is no multiple of the stream's slide of %.15g s; %.15g s would fit",
                   name, which, SECONDS(ms), SECONDS(slide), SECONDS(below ? below : slide));
  return rl_fail(RL_EINVAL,
                 "%s: the %s of %.15g s is no multiple of the stream's slide of %.15g s; %.15g s or %.15g s would fit",
                 name, which, SECONDS(ms), SECONDS(slide), SECONDS(below), SECONDS(below + slide));
}

rl_status rl_window_check(const char *name, int64_t parent_slide_ms, int64_t window_ms, int64_t slide_ms)
{
  rl_status st = check_multiple(name, "window", window_ms, parent_slide_ms);
  return st ? st : check_multiple(name, "slide", slide_ms, parent_slide_ms);
}

rl_status rl_dstream_window(rl_dstream *parent, const rl_op *named, int64_t window_ms, int64_t slide_ms,
                            rl_dstream **out)
{
  rl_status st = rl_graph_check_open(parent->s, named->name);
  if (!st) st = rl_window_check(named->name, parent->slide, window_ms, slide_ms);
  if (st) return st;
  const rl_op like = {.kind = RL_OP_UNION, .name = named->name, .site = named->site, .uid = named->uid};
  *out = rl_graph_add(parent->s, RL_NODE_WINDOW, rl_op_new(&like), &parent, 1);
  (*out)->window = window_ms;
  (*out)->slide = slide_ms;
  if (!rl_level_keeps(parent->level)) rl_dstream_persist(parent, RL_LEVEL_MEMORY_ONLY_SER);
  return RL_OK;
}

static rl_status collect(rl_dstream *parent, int64_t first, int64_t last, rl_rdd **rdds,
                         uint32_t *n) /* NOLINT(misc-no-recursion) */
{
  for (int64_t at = first; at <= last; at += parent->slide) {
    rl_status st = rl_dstream_get(parent, at, &rdds[*n]);
    if (st) return st;
    if (rdds[*n]) ++*n;
  }
  return RL_OK;
}

rl_status rl_window_rdd(rl_dstream *parent, rl_op *op, int64_t after, int64_t until,
                        rl_rdd **out) /* NOLINT(misc-no-recursion) */
{
  int64_t zero = parent->s->zero, first = (after > zero ? after : zero) + parent->slide;
  if (first > until) {
    *out = rl_rdd_empty(0);
    return RL_OK;
  }
  rl_rdd **rdds = rl_calloc((size_t)((until - first) / parent->slide + 1), sizeof(rl_rdd *));
  uint32_t n = 0;
  rl_status st = collect(parent, first, until, rdds, &n);
  if (!st && n == 0) *out = rl_rdd_empty(0);
  else if (!st) st = rl_rdd_apply(op, rdds, n, 0, out);
  while (n > 0) rl_rdd_unref(rdds[--n]);
  rl_free(rdds);
  return st;
}

static int64_t begin_of(const rl_dstream *d, int64_t time)
{
  return time - d->window > d->s->zero ? time - d->window : d->s->zero;
}

bool rl_window_is_cut(const rl_dstream *d, int64_t time)
{
  return begin_of(d, time) + d->parents[0]->slide <= d->parents[0]->forgotten;
}

bool rl_window_is_withheld(const rl_dstream *d, int64_t time)
{
  if (d->kind == RL_NODE_STATEFUL) return d->window && rl_stateful_begins(d) && rl_window_is_cut(d, time);
  return d->kind == RL_NODE_WINDOW && rl_window_is_cut(d, time);
}

rl_status rl_window_compute(rl_dstream *d, int64_t time, rl_rdd **out) /* NOLINT(misc-no-recursion) */
{
  if (rl_window_is_withheld(d, time)) return RL_OK;
  return rl_window_rdd(d->parents[0], d->op, begin_of(d, time), time, out);
}
