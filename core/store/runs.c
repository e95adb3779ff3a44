#include "store/runs.h"

#include <string.h>

#include "base/mem.h"
#include "data/order.h"
#include "data/sort.h"
#include "store/runs_impl.h"

#define CHUNKS_A_QUOTA 64 /* chunks of a run are so small that as many fit, ... */
#define CHUNK_LEAST ((size_t)16 << 10)
#define MARK_BYTES 64 /* that are kept of a key where it can be cut short */
#define MARK_MOST 256 /* and where it cannot: of a longer one, only the type */

struct rl_sorter {
  rl_memory *m;
  size_t quota, chunk_bytes;
  bool descending;
  rl_chunks gathered;
  size_t held; /* bytes of what is gathered, and of sorting it */
  rl_runs *runs;
};

rl_sorter *rl_sorter_new(rl_memory *m, size_t quota, bool descending, uint32_t ranges)
{
  rl_sorter *s = RL_NEW(rl_sorter);
  size_t chunk_bytes = quota / CHUNKS_A_QUOTA;
  *s = (rl_sorter){.m = m, .quota = quota, .descending = descending, .runs = RL_NEW(rl_runs)};
  if (chunk_bytes < CHUNK_LEAST) chunk_bytes = CHUNK_LEAST;
  s->chunk_bytes = chunk_bytes > RL_CHUNK_BYTES ? RL_CHUNK_BYTES : chunk_bytes;
  s->runs->sample = ranges > 0 ? rl_sample_new(ranges) : NULL;
  return s;
}

void rl_sorter_delete(rl_sorter *s)
{
  if (!s) return;
  rl_chunks_clear(&s->gathered);
  rl_runs_delete(s->runs);
  rl_free(s);
}

/* Runs ------------------------------------------------------------------------------------------------------------- */

static rl_mark mark_of(rl_value key)
{
  if (key.type < RL_T_BYTES) return (rl_mark){key, true};
  bool text = key.type == RL_T_BYTES, whole = key.s.n <= (text ? MARK_BYTES : MARK_MOST);
  size_t n = whole ? key.s.n : text ? MARK_BYTES : 0;
  char *p = rl_alloc(n + 1);
  if (n > 0) memcpy(p, key.s.p, n);
  key.s.p = p;
  key.s.n = n;
  return (rl_mark){key, whole};
}

/* Whatever the whole key was: it goes before `bound`. */
static bool surely_before(const rl_mark *mark, bool descending, rl_value bound)
{
  if (mark->whole) return rl_order_keys(descending, mark->key, bound) < 0;
  if (mark->key.type != bound.type) return descending ? mark->key.type > bound.type : mark->key.type < bound.type;
  if (mark->key.type != RL_T_BYTES) return false;
  if (bound.s.n > MARK_BYTES) bound.s.n = MARK_BYTES;
  return rl_order_keys(descending, mark->key, bound) < 0;
}

size_t rl_run_first_chunk(const rl_run *run, bool descending, rl_value bound)
{
  size_t lo = 0, hi = run->nmarks;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    if (surely_before(&run->marks[mid], descending, bound)) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

void rl_runs_delete(rl_runs *r)
{
  if (!r) return;
  for (size_t i = 0; i < r->n; i++) {
    rl_run *run = &r->v[i];
    for (size_t k = 0; k < run->nmarks; k++)
      if (run->marks[k].key.type >= RL_T_BYTES) rl_free((void *)run->marks[k].key.s.p);
    rl_free(run->marks);
    rl_spool_unref(run->spool);
  }
  rl_free(r->v);
  rl_sample_delete(r->sample);
  rl_free(r);
}

size_t rl_runs_count(const rl_runs *r) { return r->n; }

rl_bounds *rl_runs_bounds(rl_runs *const *runs, size_t n, bool descending, uint32_t ranges)
{
  rl_sample **samples = rl_calloc(n, sizeof *samples);
  for (size_t i = 0; i < n; i++) samples[i] = runs[i] ? runs[i]->sample : NULL;
  rl_bounds *b = rl_bounds_pick(samples, n, descending, ranges);
  rl_free(samples);
  return b;
}

/* Sorting ---------------------------------------------------------------------------------------------------------- */

static rl_status put_sorted(void *to, rl_chunk *c)
{
  rl_run *run = to;
  run->kind = rl_order_kind(run->kind, c);
  if (c->bytes > run->most) run->most = c->bytes;
  run->marks = rl_grow(run->marks, &run->marks_cap, run->nmarks + 1, sizeof *run->marks);
  run->marks[run->nmarks++] = mark_of(rl_chunk_get(c, 0, c->n - 1));
  return rl_spool_add(run->spool, c);
}

/* What is gathered becomes a run. */
static rl_status write_run(rl_sorter *s)
{
  rl_runs *r = s->runs;
  r->v = rl_grow(r->v, &r->cap, r->n + 1, sizeof *r->v);
  rl_run *run = &r->v[r->n++];
  *run = (rl_run){.spool = rl_spool_new(s->m, RL_LEVEL_WORK), .kind = RL_COL_NIL};
  rl_status st = rl_sort_chunks(&s->gathered, s->descending, s->chunk_bytes, put_sorted, run);
  rl_spool_seal(run->spool);
  rl_chunks_clear(&s->gathered);
  s->held = 0;
  return st;
}

rl_status rl_sorter_add(rl_sorter *s, rl_chunk *c)
{
  size_t more = c->bytes + (size_t)c->n * RL_SORT_ITEM_BYTES;
  bool full = s->held >= s->quota || more > s->quota - s->held;
  rl_status st = s->held > 0 && full ? write_run(s) : RL_OK;
  if (st != RL_OK) {
    rl_chunk_unref(c);
    return st;
  }
  if (s->runs->sample) rl_sample_add(s->runs->sample, c);
  rl_chunks_add(&s->gathered, c);
  s->held += more;
  return RL_OK;
}

rl_status rl_sorter_finish(rl_sorter *s, rl_runs **out)
{
  rl_status st = s->gathered.n > 0 ? write_run(s) : RL_OK;
  if (st != RL_OK) return st;
  *out = s->runs;
  s->runs = NULL;
  return RL_OK;
}
