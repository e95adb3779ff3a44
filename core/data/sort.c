#include "data/sort.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

/* Keys are first compared by their image: 64 bits in the order of the keys, reversed when descending. For columns of
 * integers or floats only it says all; for bytes it is their first eight, and equal images are followed by a look at
 * the whole keys; for all else it is 0. */
typedef struct order {
  rl_coltype kind; /* INT, FLOAT, BYTES when every key column is of it and without nil; else MIXED */
  bool descending;
} order;

typedef struct item {
  uint64_t image;
  uint32_t chunk, row;
} item;

typedef struct sorter {
  order by;
  rl_chunk *const *chunks;
} sorter;

#define SIGN_BIT (UINT64_C(1) << 63)
#define RUN 16               /* items sorted by insertion before merging begins */
#define SAMPLES_PER_RANGE 64 /* keys looked at to place a bound */

static rl_coltype join_kinds(rl_coltype kind, const rl_chunks *list)
{
  for (size_t i = 0; i < list->n; i++) {
    const rl_chunk *c = list->v[i];
    if (c->n == 0) continue;
    const rl_column *k = &c->cols[0];
    if (kind == RL_COL_NIL) kind = k->type;
    if (k->type != kind || k->nulls) return RL_COL_MIXED;
  }
  return kind;
}

static order order_of(const rl_chunks *lists, size_t n, bool descending)
{
  rl_coltype kind = RL_COL_NIL;
  for (size_t i = 0; i < n && kind != RL_COL_MIXED; i++) kind = join_kinds(kind, &lists[i]);
  bool imaged = kind == RL_COL_INT || kind == RL_COL_FLOAT || kind == RL_COL_BYTES;
  return (order){imaged ? kind : RL_COL_MIXED, descending};
}

static uint64_t float_image(double f)
{
  if (isnan(f)) return UINT64_MAX;
  if (f == 0) f = 0; /* both zeros are equal */
  uint64_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits & SIGN_BIT ? ~bits : bits | SIGN_BIT;
}

static uint64_t bytes_image(const char *p, size_t n)
{
  uint64_t image = 0;
  for (size_t i = 0; i < sizeof image; i++) image = image << 8 | (i < n ? (unsigned char)p[i] : 0u);
  return image;
}

static uint64_t image_of(order by, rl_value key)
{
  uint64_t image = 0;
  if (by.kind == RL_COL_INT) image = (uint64_t)key.i ^ SIGN_BIT;
  else if (by.kind == RL_COL_FLOAT) image = float_image(key.f);
  else if (by.kind == RL_COL_BYTES) image = bytes_image(key.s.p, key.s.n);
  return by.descending ? ~image : image;
}

static int compare_keys(bool descending, rl_value a, rl_value b)
{
  int c = rl_value_compare(a, b);
  return descending ? (c < 0) - (c > 0) : c;
}

static bool image_is_key(order by)
{
  return by.kind == RL_COL_INT || by.kind == RL_COL_FLOAT;
}

static rl_value item_key(const sorter *s, const item *it)
{
  return rl_chunk_get(s->chunks[it->chunk], 0, it->row);
}

static int compare_items(const sorter *s, const item *a, const item *b)
{
  if (a->image != b->image) return a->image < b->image ? -1 : 1;
  if (image_is_key(s->by)) return 0;
  return compare_keys(s->by.descending, item_key(s, a), item_key(s, b));
}

static void insertion_sort(const sorter *s, item *v, size_t n)
{
  for (size_t i = 1; i < n; i++) {
    item it = v[i];
    size_t j = i;
    for (; j > 0 && compare_items(s, &v[j - 1], &it) > 0; j--) v[j] = v[j - 1];
    v[j] = it;
  }
}

/* Merges v[0..mid) and v[mid..n) into out. */
static void merge(const sorter *s, const item *v, size_t mid, size_t n, item *out)
{
  size_t a = 0, b = mid;
  if (mid < n && compare_items(s, &v[mid - 1], &v[mid]) > 0) {
    while (a < mid && b < n) *out++ = compare_items(s, &v[b], &v[a]) < 0 ? v[b++] : v[a++];
  }
  memcpy(out, v + a, (mid - a) * sizeof *v);
  memcpy(out + (mid - a), v + b, (n - b) * sizeof *v);
}

/* Stable merge sort from the bottom up. The result is in `v` or in `spare` (as long as v): the one returned. */
static item *sort_items(const sorter *s, item *v, item *spare, size_t n)
{
  for (size_t i = 0; i < n; i += RUN) insertion_sort(s, v + i, n - i < RUN ? n - i : RUN);
  for (size_t width = RUN; width < n; width *= 2) {
    for (size_t i = 0; i < n; i += 2 * width) {
      size_t len = n - i < 2 * width ? n - i : 2 * width;
      merge(s, v + i, len < width ? len : width, len, spare + i);
    }
    item *done = spare;
    spare = v;
    v = done;
  }
  return v;
}

static rl_status put_row(rl_builder *b, rl_chunks *out, const rl_chunk *c, uint32_t row)
{
  rl_status st = rl_builder_add_row(b, c, row);
  if (st == RL_OK && rl_builder_full(b)) rl_chunks_add(out, rl_builder_finish(b));
  return st;
}

/* Ends a row of put_row: adds what is left, or drops everything after a failure. */
static void put_end(rl_builder *b, rl_chunks *out, rl_status st)
{
  rl_chunk *rest = st == RL_OK ? rl_builder_finish(b) : NULL;
  if (rest) rl_chunks_add(out, rest);
  if (st != RL_OK) rl_chunks_clear(out);
  rl_builder_delete(b);
}

static item make_item(const sorter *s, uint32_t chunk, uint32_t row)
{
  return (item){image_of(s->by, rl_chunk_get(s->chunks[chunk], 0, row)), chunk, row};
}

rl_status rl_sort_chunks(const rl_chunks *in, bool descending, rl_chunks *out)
{
  uint64_t total = rl_chunks_records(in);
  if (total == 0) return RL_OK;
  if (total > SIZE_MAX / (2 * sizeof(item)) || in->n > UINT32_MAX) {
    return rl_fail(RL_ELIMIT, "%" PRIu64 " records are too many to sort at once; use more partitions", total);
  }
  size_t n = (size_t)total, at = 0;
  rl_bytes *mem = rl_bytes_new(2 * n * sizeof(item));
  if (!mem) return RL_ENOMEM;
  item *items = (item *)(void *)mem->data;
  sorter s = {order_of(in, 1, descending), in->v};
  for (uint32_t c = 0; c < in->n; c++) {
    for (uint32_t row = 0; row < in->v[c]->n; row++) items[at++] = make_item(&s, c, row);
  }
  items = sort_items(&s, items, items + n, n);

  rl_status st = RL_OK;
  rl_builder *b = rl_builder_new();
  for (size_t i = 0; i < n && st == RL_OK; i++) st = put_row(b, out, in->v[items[i].chunk], items[i].row);
  put_end(b, out, st);
  rl_bytes_unref(mem);
  return st;
}

/* Bounds. Range p holds the keys from bound p-1 (inclusive) up to bound p (exclusive), in the order of the sort. */

struct rl_bounds {
  _Atomic uint32_t refs;
  uint32_t n;
  rl_value *keys; /* bytes and composites point to memory of their own */
};

static bool has_bytes(rl_value v)
{
  return v.type >= RL_T_BYTES;
}

static rl_value own_key(rl_value v)
{
  if (!has_bytes(v)) return v;
  char *p = rl_alloc(v.s.n + 1);
  if (v.s.n > 0) memcpy(p, v.s.p, v.s.n);
  v.s.p = p;
  return v;
}

/* Takes every step-th record of all runs, counted through; returns how many. */
static size_t take_samples(const sorter *s, size_t nchunks, uint64_t step, item *out)
{
  size_t n = 0;
  uint64_t skip = step / 2;
  for (uint32_t c = 0; c < nchunks; c++) {
    uint64_t row = skip;
    for (; row < s->chunks[c]->n; row += step) out[n++] = make_item(s, c, (uint32_t)row);
    skip = row - s->chunks[c]->n;
  }
  return n;
}

static void pick_keys(rl_bounds *b, const sorter *s, const item *samples, size_t nsamples, uint32_t n)
{
  const item *before = &samples[0];
  for (uint32_t k = 1; k < n; k++) {
    const item *it = &samples[(size_t)((uint64_t)k * nsamples / n)];
    if (compare_items(s, before, it) >= 0) continue;
    b->keys[b->n++] = own_key(item_key(s, it));
    before = it;
  }
}

static rl_chunk **flatten(const rl_chunks *runs, size_t nruns, size_t *count)
{
  size_t n = 0;
  for (size_t i = 0; i < nruns; i++) n += runs[i].n;
  rl_chunk **all = rl_calloc(n, sizeof(rl_chunk *));
  *count = n;
  n = 0;
  for (size_t i = 0; i < nruns; i++) {
    for (size_t c = 0; c < runs[i].n; c++) all[n++] = runs[i].v[c];
  }
  return all;
}

rl_bounds *rl_bounds_pick(const rl_chunks *runs, size_t nruns, bool descending, uint32_t n)
{
  rl_bounds *b = RL_NEW(rl_bounds);
  atomic_init(&b->refs, 1);
  uint64_t total = 0;
  for (size_t i = 0; i < nruns; i++) total += rl_chunks_records(&runs[i]);
  if (total == 0 || n < 2) return b;

  size_t nchunks;
  rl_chunk **chunks = flatten(runs, nruns, &nchunks);
  sorter s = {order_of(runs, nruns, descending), chunks};
  uint64_t step = total / ((uint64_t)n * SAMPLES_PER_RANGE);
  if (step == 0) step = 1;
  size_t room = (size_t)(total / step + 1);
  item *samples = rl_calloc(room, 2 * sizeof *samples);
  size_t nsamples = take_samples(&s, nchunks, step, samples);
  b->keys = rl_calloc(n - 1, sizeof *b->keys);
  pick_keys(b, &s, sort_items(&s, samples, samples + room, nsamples), nsamples, n);
  rl_free(samples);
  rl_free(chunks);
  return b;
}

rl_bounds *rl_bounds_ref(rl_bounds *b)
{
  atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
  return b;
}

void rl_bounds_unref(rl_bounds *b)
{
  if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t i = 0; i < b->n; i++) {
    if (has_bytes(b->keys[i])) rl_free((void *)b->keys[i].s.p);
  }
  rl_free(b->keys);
  rl_free(b);
}

/* Merging. */

typedef struct place {
  size_t chunk;
  uint32_t row;
} place;

typedef struct cursor {
  const rl_chunks *run;
  size_t index; /* of the run: earlier ones go first among equal keys */
  place at, end;
  uint64_t image;
  rl_value key;
} cursor;

typedef struct merger {
  order by;
  cursor **heap;
  size_t n;
} merger;

/* First record of the run whose key is not before `bound`. */
static place lower_bound(const rl_chunks *run, bool descending, rl_value bound)
{
  size_t lo = 0, hi = run->n;
  while (lo < hi) {
    size_t mid = lo + (hi - lo) / 2;
    const rl_chunk *c = run->v[mid];
    if (compare_keys(descending, rl_chunk_get(c, 0, c->n - 1), bound) < 0) lo = mid + 1;
    else hi = mid;
  }
  if (lo == run->n) return (place){lo, 0};
  uint32_t from = 0, to = run->v[lo]->n - 1;
  while (from < to) {
    uint32_t mid = from + (to - from) / 2;
    if (compare_keys(descending, rl_chunk_get(run->v[lo], 0, mid), bound) < 0) from = mid + 1;
    else to = mid;
  }
  return (place){lo, from};
}

static place range_start(const rl_chunks *run, const rl_bounds *b, bool descending, uint32_t p)
{
  if (p == 0) return (place){0, 0};
  if (p > b->n) return (place){run->n, 0};
  return lower_bound(run, descending, b->keys[p - 1]);
}

static bool at_end(const cursor *c)
{
  return c->at.chunk == c->end.chunk && c->at.row == c->end.row;
}

static void load_key(cursor *c, order by)
{
  c->key = rl_chunk_get(c->run->v[c->at.chunk], 0, c->at.row);
  c->image = image_of(by, c->key);
}

static void advance(cursor *c)
{
  if (++c->at.row < c->run->v[c->at.chunk]->n) return;
  c->at = (place){c->at.chunk + 1, 0};
}

static bool goes_first(order by, const cursor *a, const cursor *b)
{
  if (a->image != b->image) return a->image < b->image;
  int c = image_is_key(by) ? 0 : compare_keys(by.descending, a->key, b->key);
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

static rl_status run_merger(merger *m, rl_chunks *out)
{
  rl_status st = RL_OK;
  rl_builder *b = rl_builder_new();
  while (m->n > 0 && st == RL_OK) {
    cursor *c = m->heap[0];
    st = put_row(b, out, c->run->v[c->at.chunk], c->at.row);
    advance(c);
    if (at_end(c)) m->heap[0] = m->heap[--m->n];
    else load_key(c, m->by);
    if (m->n > 0) sift_down(m, 0);
  }
  put_end(b, out, st);
  return st;
}

rl_status rl_sort_merge(const rl_chunks *runs, size_t nruns, const rl_bounds *b, bool descending, uint32_t p,
                        rl_chunks *out)
{
  if (nruns == 0 || p > b->n) return RL_OK;
  merger m = {.by = order_of(runs, nruns, descending)};
  cursor *cursors = rl_calloc(nruns, sizeof *cursors);
  m.heap = rl_calloc(nruns, sizeof(cursor *));
  for (size_t i = 0; i < nruns; i++) {
    cursor *c = &cursors[i];
    *c = (cursor){.run = &runs[i], .index = i};
    c->at = range_start(c->run, b, descending, p);
    c->end = range_start(c->run, b, descending, p + 1);
    if (at_end(c)) continue;
    load_key(c, m.by);
    m.heap[m.n++] = c;
  }
  for (size_t i = m.n / 2; i-- > 0;) sift_down(&m, i);
  rl_status st = run_merger(&m, out);
  rl_free(m.heap);
  rl_free(cursors);
  return st;
}
