#include "data/bounds.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "data/order.h"

#define KEYS_A_RANGE 64
#define KEYS_LEAST 1024 /* kept at most, for however few ranges ... */
#define KEYS_MOST 16384 /* ... or however many */
#define KEYS_BYTES ((size_t)128 << 10)
#define KEYS_ALWAYS 16 /* are kept however large they are */

typedef struct kept {
  uint64_t hash; /* of the record's number */
  rl_value key;
} kept;

/* Of 2^shift records one is kept: those whose hash ends in so many zero bits. */
struct rl_sample {
  kept *v;
  size_t n, cap, most, bytes;
  uint64_t seen;
  uint32_t shift;
  rl_coltype kind;
};

rl_sample *rl_sample_new(uint32_t n)
{
  size_t most = (size_t)n * KEYS_A_RANGE;
  rl_sample *s = RL_NEW(rl_sample);
  s->most = most < KEYS_LEAST ? KEYS_LEAST : most > KEYS_MOST ? KEYS_MOST : most;
  return s;
}

static bool has_bytes(rl_value v) { return v.type >= RL_T_BYTES; }

static rl_value own_key(rl_value v)
{
  if (!has_bytes(v)) return v;
  char *p = rl_alloc(v.s.n + 1);
  if (v.s.n > 0) memcpy(p, v.s.p, v.s.n);
  v.s.p = p;
  return v;
}

static void free_key(rl_value v)
{
  if (has_bytes(v)) rl_free((void *)v.s.p);
}

static bool is_kept(const rl_sample *s, uint64_t hash) { return (hash & ((UINT64_C(1) << s->shift) - 1)) == 0; }

static void thin(rl_sample *s)
{
  size_t n = 0;
  s->shift++;
  s->bytes = 0;
  for (size_t i = 0; i < s->n; i++) {
    kept k = s->v[i];
    if (!is_kept(s, k.hash)) {
      free_key(k.key);
      continue;
    }
    s->bytes += has_bytes(k.key) ? k.key.s.n : 0;
    s->v[n++] = k;
  }
  s->n = n;
}

static void keep(rl_sample *s, uint64_t hash, rl_value key)
{
  s->v = rl_grow(s->v, &s->cap, s->n + 1, sizeof *s->v);
  s->v[s->n++] = (kept){hash, own_key(key)};
  s->bytes += has_bytes(key) ? key.s.n : 0;
  while (s->shift < 63 && (s->n > s->most || (s->bytes > KEYS_BYTES && s->n > KEYS_ALWAYS))) thin(s);
}

void rl_sample_add(rl_sample *s, const rl_chunk *c)
{
  s->kind = rl_order_kind(s->kind, c);
  for (uint32_t row = 0; row < c->n; row++) {
    uint64_t hash = rl_hash_u64(s->seen++, RL_HASH_SEED);
    if (is_kept(s, hash)) keep(s, hash, rl_chunk_get(c, 0, row));
  }
}

void rl_sample_delete(rl_sample *s)
{
  if (!s) return;
  for (size_t i = 0; i < s->n; i++) free_key(s->v[i].key);
  rl_free(s->v);
  rl_free(s);
}

/* Bounds ----------------------------------------------------------------------------------------------------------- */

struct rl_bounds {
  _Atomic uint32_t refs;
  uint32_t n;
  rl_value *keys; /* bytes and composites point to memory of their own */
};

/* A sampled key, and for how many records it stands. */
typedef struct item {
  uint64_t image, weight;
  rl_value key;
  rl_order by;
} item;

static int compare_items(const void *x, const void *y)
{
  const item *a = x, *b = y;
  return rl_order_compare(a->by, a->image, a->key, b->image, b->key);
}

static item *collect(rl_sample *const *samples, size_t nsamples, bool descending, size_t *count)
{
  rl_coltype kind = RL_COL_NIL;
  size_t n = 0;
  for (size_t i = 0; i < nsamples; i++) {
    if (!samples[i]) continue;
    kind = rl_order_join(kind, samples[i]->kind);
    n += samples[i]->n;
  }
  rl_order by = rl_order_of(kind, descending);
  item *items = rl_calloc(n, sizeof *items);
  *count = 0;
  for (size_t i = 0; i < nsamples; i++) {
    const rl_sample *s = samples[i];
    for (size_t k = 0; s && k < s->n; k++) {
      rl_value key = s->v[k].key;
      items[(*count)++] = (item){rl_order_image(by, key), UINT64_C(1) << s->shift, key, by};
    }
  }
  return items;
}

/* The keys at even distances. */
static void pick_keys(rl_bounds *b, const item *items, size_t nitems, uint32_t n)
{
  uint64_t total = 0, passed = items[0].weight; /* passed: up to and with items[at] */
  for (size_t i = 0; i < nitems; i++) total += items[i].weight;
  const item *before = &items[0];
  size_t at = 0;
  for (uint32_t k = 1; k < n; k++) {
    uint64_t wanted = total / n * k + total % n * k / n;
    while (passed <= wanted && at + 1 < nitems) passed += items[++at].weight;
    if (compare_items(before, &items[at]) >= 0) continue;
    b->keys[b->n++] = own_key(items[at].key);
    before = &items[at];
  }
}

rl_bounds *rl_bounds_pick(rl_sample *const *samples, size_t nsamples, bool descending, uint32_t n)
{
  rl_bounds *b = RL_NEW(rl_bounds);
  atomic_init(&b->refs, 1);
  if (n < 2) return b;
  size_t count;
  item *items = collect(samples, nsamples, descending, &count);
  if (count > 0) {
    qsort(items, count, sizeof *items, compare_items);
    b->keys = rl_calloc(n - 1, sizeof *b->keys);
    pick_keys(b, items, count, n);
  }
  rl_free(items);
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
  for (uint32_t i = 0; i < b->n; i++) free_key(b->keys[i]);
  rl_free(b->keys);
  rl_free(b);
}

bool rl_bounds_range(const rl_bounds *b, uint32_t p, const rl_value **from, const rl_value **to)
{
  *from = p > 0 && p <= b->n ? &b->keys[p - 1] : NULL;
  *to = p < b->n ? &b->keys[p] : NULL;
  return p <= b->n;
}
