/* Reading runs: many into one, a chunk of each at a time. */
#include "base/mem.h"
#include "data/order.h"
#include "store/runs_impl.h"

#define FAN_LEAST 4 /* runs that are merged at once, however large their chunks */

typedef struct cursor {
  rl_pull *in;
  size_t index;    /* of the run: earlier ones go first among equal keys */
  rl_chunk *chunk; /* NULL: at the end */
  uint32_t row, end;
  uint64_t image;
  rl_value key;
} cursor;

typedef struct merger {
  rl_pull base;
  rl_order by;
  bool cut; /* there is no record from *upper on */
  rl_value upper;
  cursor **heap;
  size_t n;
  size_t ncursors;
  cursor *cursors;
  rl_builder *builder;
  size_t chunk_bytes; /* of what it gives */
  const char *name;   /* for messages, or NULL */
  rl_bounds *bounds; /* which own `upper`; NULL: there are none */
} merger;

/* First row in [from, c->n) whose key is not before `bound`. */
static uint32_t lower_bound(const rl_chunk *c, uint32_t from, bool descending, rl_value bound)
{
  uint32_t to = c->n;
  while (from < to) {
    uint32_t mid = from + (to - from) / 2;
    if (rl_order_keys(descending, rl_chunk_get(c, 0, mid), bound) < 0) from = mid + 1;
    else to = mid;
  }
  return from;
}

static void load_key(const merger *m, cursor *c)
{
  c->key = rl_chunk_get(c->chunk, 0, c->row);
  c->image = rl_order_image(m->by, c->key);
}

static void end_cursor(cursor *c)
{
  rl_chunk_unref(c->chunk);
  c->chunk = NULL;
  rl_pull_close(c->in);
  c->in = NULL;
}

/* To the next chunk, if that has anything below the upper bound. */
static rl_status next_chunk(const merger *m, cursor *c)
{
  rl_chunk_unref(c->chunk);
  c->chunk = NULL;
  rl_status st = rl_pull_next(c->in, &c->chunk);
  if (st != RL_OK) return st;
  c->row = 0;
  c->end = 0;
  if (c->chunk) {
    rl_value last = rl_chunk_get(c->chunk, 0, c->chunk->n - 1);
    bool beyond = m->cut && rl_order_keys(m->by.descending, last, m->upper) >= 0;
    c->end = beyond ? lower_bound(c->chunk, 0, m->by.descending, m->upper) : c->chunk->n;
  }
  if (c->end == 0) end_cursor(c);
  else load_key(m, c);
  return RL_OK;
}

/* To the first record from `lower` on. */
static rl_status skip_below(const merger *m, cursor *c, rl_value lower)
{
  while (c->chunk) {
    c->row = lower_bound(c->chunk, 0, m->by.descending, lower);
    if (c->row < c->end) {
      load_key(m, c);
      return RL_OK;
    }
    if (c->end < c->chunk->n) { /* the rest is beyond the upper bound */
      end_cursor(c);
      return RL_OK;
    }
    rl_status st = next_chunk(m, c);
    if (st != RL_OK) return st;
  }
  return RL_OK;
}

/* The heap --------------------------------------------------------------------------------------------------------- */

static bool goes_first(rl_order by, const cursor *a, const cursor *b)
{
  int c = rl_order_compare(by, a->image, a->key, b->image, b->key);
  return c != 0 ? c < 0 : a->index < b->index;
}

static void sift_down(merger *m, size_t i)
{
  cursor *c = m->heap[i];
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= m->n) break;
    if (child + 1 < m->n && goes_first(m->by, m->heap[child + 1], m->heap[child])) child++;
    if (!goes_first(m->by, m->heap[child], c)) break;
    m->heap[i] = m->heap[child];
    i = child;
  }
  m->heap[i] = c;
}

static rl_status advance(merger *m, cursor *c)
{
  if (++c->row < c->end) {
    load_key(m, c);
  } else if (c->end < c->chunk->n) {
    end_cursor(c);
  } else {
    rl_status st = next_chunk(m, c);
    if (st != RL_OK) return st;
  }
  if (!c->chunk) m->heap[0] = m->heap[--m->n];
  if (m->n > 0) sift_down(m, 0);
  return RL_OK;
}

/* Of the only run left, what is left of its chunk goes as it is. */
static rl_status pass(merger *m, rl_chunk **out)
{
  cursor *c = m->heap[0];
  *out = rl_chunk_slice(c->chunk, c->row, c->end - c->row);
  c->row = c->end - 1;
  rl_status st = advance(m, c);
  if (st == RL_OK) return RL_OK;
  rl_chunk_unref(*out);
  *out = NULL;
  return st;
}

static rl_status merge_on(merger *m, rl_chunk **out)
{
  *out = NULL;
  while (m->n > 0 && !rl_builder_full(m->builder) && rl_builder_bytes(m->builder) < m->chunk_bytes) {
    if (m->n == 1) {
      if (rl_builder_count(m->builder) > 0) break;
      return pass(m, out);
    }
    cursor *c = m->heap[0];
    rl_status st = rl_builder_add_row(m->builder, c->chunk, c->row);
    if (st == RL_OK) st = advance(m, c);
    if (st != RL_OK) return st;
  }
  *out = rl_builder_finish(m->builder);
  return RL_OK;
}

static rl_status name_it(const char *name, rl_status st)
{
  if (st != RL_OK && name) rl_error_prefix("%s: ", name);
  return st;
}

static rl_status merger_next(rl_pull *self, rl_chunk **out)
{
  merger *m = (merger *)self;
  return name_it(m->name, merge_on(m, out));
}

static void merger_close(rl_pull *self)
{
  merger *m = (merger *)self;
  for (size_t i = 0; i < m->ncursors; i++) end_cursor(&m->cursors[i]);
  rl_free(m->cursors);
  rl_free(m->heap);
  rl_builder_delete(m->builder);
  rl_bounds_unref(m->bounds);
  rl_free(m);
}

static const rl_pull_class merger_class = {merger_next, merger_close};

static merger *new_merger(rl_order by, size_t room)
{
  merger *m = RL_NEW(merger);
  *m = (merger){.base.cls = &merger_class, .by = by, .builder = rl_builder_new(), .chunk_bytes = RL_CHUNK_BYTES};
  m->cursors = rl_calloc(room, sizeof *m->cursors);
  m->heap = rl_calloc(room, sizeof(cursor *));
  return m;
}

/* Takes over the input. */
static rl_status add_input(merger *m, rl_pull *in, const rl_value *lower)
{
  cursor *c = &m->cursors[m->ncursors];
  *c = (cursor){.in = in, .index = m->ncursors++};
  rl_status st = next_chunk(m, c);
  if (st == RL_OK && lower) st = skip_below(m, c, *lower);
  if (st == RL_OK && c->chunk) m->heap[m->n++] = c;
  return st;
}

static void order_heap(merger *m)
{
  for (size_t i = m->n / 2; i-- > 0;) sift_down(m, i);
}

/* Opening ---------------------------------------------------------------------------------------------------------- */

typedef struct opening {
  const rl_merge *spec;
  rl_order by;
  const rl_value *lower, *upper; /* NULL: none */
  const rl_run **runs;
  size_t n;
  uint64_t bytes; /* of all runs */
  size_t most;    /* of their largest chunk */
  size_t fan;     /* how many are merged at once */
} opening;

static void list_runs(opening *o)
{
  const rl_merge *spec = o->spec;
  rl_coltype kind = RL_COL_NIL;
  size_t total = 0;
  o->most = 1;
  for (size_t i = 0; i < spec->n; i++) total += spec->runs[i] ? spec->runs[i]->n : 0;
  o->runs = rl_calloc(total, sizeof *o->runs);
  for (size_t i = 0; i < spec->n; i++) {
    for (size_t k = 0; spec->runs[i] && k < spec->runs[i]->n; k++) {
      const rl_run *run = &spec->runs[i]->v[k];
      kind = rl_order_join(kind, run->kind);
      if (run->most > o->most) o->most = run->most;
      o->bytes += rl_spool_bytes(run->spool);
      o->runs[o->n++] = run;
    }
  }
  o->by = rl_order_of(kind, spec->descending);
  o->fan = o->bytes <= spec->task->quota ? SIZE_MAX : spec->task->quota / o->most;
  if (o->fan < FAN_LEAST) o->fan = FAN_LEAST;
}

/* The runs [from, to). */
static rl_status merge_runs(const opening *o, size_t from, size_t to, merger **out)
{
  merger *m = new_merger(o->by, to - from);
  m->cut = o->upper != NULL;
  if (o->upper) {
    m->upper = *o->upper;
    m->bounds = rl_bounds_ref((rl_bounds *)o->spec->bounds);
  }
  rl_status st = RL_OK;
  for (size_t i = from; i < to && st == RL_OK; i++) {
    size_t first = o->lower ? rl_run_first_chunk(o->runs[i], o->by.descending, *o->lower) : 0;
    if (first < o->runs[i]->nmarks) st = add_input(m, rl_spool_open_at(o->runs[i]->spool, first), o->lower);
  }
  order_heap(m);
  *out = m;
  return st;
}

/* Reads what a merger gives into a spool, and closes it. */
static rl_status write_out(const opening *o, merger *m, rl_status st, rl_spool **out)
{
  *out = rl_spool_new(o->spec->task->memory, RL_LEVEL_WORK);
  m->chunk_bytes = o->most;
  rl_chunk *c = NULL;
  while (st == RL_OK && (st = rl_pull_next(&m->base, &c)) == RL_OK && c) {
    st = rl_spool_add(*out, c);
    if (st == RL_OK) st = rl_task_check(o->spec->task);
  }
  rl_spool_seal(*out);
  rl_pull_close(&m->base);
  return st;
}

/* Spools, likewise. */
static rl_status merge_spools(const opening *o, rl_spool *const *spools, size_t n, merger **out)
{
  merger *m = new_merger(o->by, n);
  rl_status st = RL_OK;
  for (size_t i = 0; i < n && st == RL_OK; i++) st = add_input(m, rl_spool_open(spools[i]), NULL);
  order_heap(m);
  *out = m;
  return st;
}

static void unref_all(rl_spool **spools, size_t n)
{
  for (size_t i = 0; i < n; i++) rl_spool_unref(spools[i]);
}

/* Merges neighbours until there are few enough. */
static rl_status merge_down(const opening *o, rl_spool **spools, size_t *n)
{
  while (*n > o->fan) {
    size_t made = 0;
    for (size_t from = 0; from < *n; from += o->fan) {
      size_t k = *n - from < o->fan ? *n - from : o->fan;
      merger *m;
      rl_spool *merged;
      rl_status st = merge_spools(o, spools + from, k, &m);
      st = write_out(o, m, st, &merged);
      unref_all(spools + from, k);
      for (size_t i = from; i < from + k; i++) spools[i] = NULL;
      spools[made++] = merged;
      if (st != RL_OK) return st;
    }
    *n = made;
  }
  return RL_OK;
}

static rl_status merge_in_steps(const opening *o, merger **out)
{
  size_t room = o->n / o->fan + 1, n = 0;
  rl_spool **spools = rl_calloc(room, sizeof(rl_spool *));
  rl_status st = RL_OK;
  *out = NULL;
  for (size_t from = 0; from < o->n && st == RL_OK; from += o->fan) {
    merger *m;
    st = merge_runs(o, from, o->n - from < o->fan ? o->n : from + o->fan, &m);
    st = write_out(o, m, st, &spools[n++]);
  }
  if (st == RL_OK) st = merge_down(o, spools, &n);
  if (st == RL_OK) st = merge_spools(o, spools, n, out);
  unref_all(spools, room);
  rl_free(spools);
  return st;
}

rl_status rl_merge_open(const rl_merge *spec, rl_pull **out)
{
  opening o = {.spec = spec};
  if (spec->bounds && !rl_bounds_range(spec->bounds, spec->range, &o.lower, &o.upper)) {
    *out = rl_pull_empty();
    return RL_OK;
  }
  merger *m;
  list_runs(&o);
  rl_status st = o.n > o.fan ? merge_in_steps(&o, &m) : merge_runs(&o, 0, o.n, &m);
  rl_free(o.runs);
  if (st == RL_OK) {
    m->name = spec->name;
    *out = &m->base;
    return RL_OK;
  }
  if (m) rl_pull_close(&m->base);
  return name_it(spec->name, st);
}
