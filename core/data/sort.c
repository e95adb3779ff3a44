#include "data/sort.h"

#include <inttypes.h>
#include <string.h>

#include "data/order.h"

typedef struct item {
  uint64_t image;
  uint32_t chunk, row;
} item;

typedef struct sorter {
  rl_order by;
  rl_chunk *const *chunks;
} sorter;

#define RUN 16 /* items sorted by insertion before merging begins */

static rl_value item_key(const sorter *s, const item *it)
{
  return rl_chunk_get(s->chunks[it->chunk], 0, it->row);
}

static int compare_items(const sorter *s, const item *a, const item *b)
{
  if (a->image != b->image) return a->image < b->image ? -1 : 1;
  if (s->by.kind == RL_COL_INT || s->by.kind == RL_COL_FLOAT) return 0;
  return rl_order_keys(s->by.descending, item_key(s, a), item_key(s, b));
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

static size_t fill_items(const sorter *s, size_t nchunks, item *out)
{
  size_t n = 0;
  for (uint32_t c = 0; c < nchunks; c++) {
    for (uint32_t row = 0; row < s->chunks[c]->n; row++)
      out[n++] = (item){rl_order_image(s->by, rl_chunk_get(s->chunks[c], 0, row)), c, row};
  }
  return n;
}

static rl_status give(const sorter *s, const item *items, size_t n, size_t chunk_bytes, rl_chunk_sink *sink, void *to)
{
  rl_status st = RL_OK;
  rl_builder *b = rl_builder_new();
  for (size_t i = 0; i < n && st == RL_OK; i++) {
    st = rl_builder_add_row(b, s->chunks[items[i].chunk], items[i].row);
    if (st == RL_OK && (rl_builder_full(b) || rl_builder_bytes(b) >= chunk_bytes)) st = sink(to, rl_builder_finish(b));
  }
  rl_chunk *rest = st == RL_OK ? rl_builder_finish(b) : NULL;
  if (rest) st = sink(to, rest);
  rl_builder_delete(b);
  return st;
}

rl_status rl_sort_chunks(const rl_chunks *in, bool descending, size_t chunk_bytes, rl_chunk_sink *sink, void *to)
{
  _Static_assert(2 * sizeof(item) == RL_SORT_ITEM_BYTES, "items are counted by their size");
  uint64_t total = rl_chunks_records(in);
  if (total == 0) return RL_OK;
  if (total > SIZE_MAX / RL_SORT_ITEM_BYTES || in->n > UINT32_MAX)
    return rl_fail(RL_ELIMIT, "%" PRIu64 " records are too many to sort at once; use more partitions", total);
  rl_bytes *mem = rl_bytes_new((size_t)total * RL_SORT_ITEM_BYTES);
  if (!mem) return RL_ENOMEM;
  rl_coltype kind = RL_COL_NIL;
  for (size_t i = 0; i < in->n; i++) kind = rl_order_kind(kind, in->v[i]);
  sorter s = {rl_order_of(kind, descending), in->v};
  item *items = (item *)(void *)mem->data;
  size_t n = fill_items(&s, in->n, items);
  rl_status st = give(&s, sort_items(&s, items, items + n, n), n, chunk_bytes, sink, to);
  rl_bytes_unref(mem);
  return st;
}
