#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "store/state_impl.h"

#define FIRST_BLOCK ((size_t)1024)
#define LAST_BLOCK ((size_t)256 * 1024)
#define FIRST_BUCKETS 8

/* Forms ------------------------------------------------------------------------------------------------------------ */

rl_status rl_form_of_key(rl_value key, rl_buf *out)
{
  rl_buf_clear(out);
  if (key.type == RL_T_BYTES) {
    rl_buf_putc(out, RL_TAG_BYTES);
    rl_buf_add(out, key.s.p, key.s.n);
  } else {
    rl_put_value(out, key);
  }
  if (out->n > RL_CODEC_MAX_BYTES) return rl_fail(RL_ELIMIT, "a key of %zu bytes is too large for state", out->n);
  return RL_OK;
}

rl_status rl_form_read(rl_octets form, rl_value *key)
{
  if (form.n > 0 && form.p[0] == RL_TAG_BYTES) {
    *key = rl_str(form.p + 1, form.n - 1);
    return RL_OK;
  }
  rl_reader r = {form.p, form.p + form.n};
  rl_status st = rl_get_value(&r, key);
  if (st == RL_OK && r.p != r.end) st = rl_fail(RL_EDATA, "bytes behind a key of the state");
  return st;
}

rl_status rl_stored_of(rl_value value, int64_t stamp, rl_buf *out)
{
  rl_buf_clear(out);
  if (value.type == RL_T_NIL) return RL_OK;
  rl_put_varint(out, ((uint64_t)stamp << 1) ^ (uint64_t)(stamp >> 63));
  size_t head = out->n;
  rl_put_value(out, value);
  if (out->n - head > RL_CODEC_MAX_BYTES) {
    return rl_fail(RL_ELIMIT, "a value of %zu bytes is too large for state", out->n - head);
  }
  return RL_OK;
}

static rl_status get_stamp(rl_reader *r, int64_t *stamp)
{
  uint64_t x = 0;
  rl_status st = rl_get_varint(r, &x);
  *stamp = (int64_t)(x >> 1) ^ -(int64_t)(x & 1);
  return st;
}

rl_status rl_stored_stamp(rl_octets stored, int64_t *stamp)
{
  rl_reader r = {stored.p, stored.p + stored.n};
  return get_stamp(&r, stamp);
}

rl_status rl_stored_read(rl_octets stored, rl_value *value, int64_t *stamp)
{
  *value = rl_nil();
  *stamp = RL_NO_TIME;
  if (stored.n == 0) return RL_OK;
  rl_reader r = {stored.p, stored.p + stored.n};
  rl_status st = get_stamp(&r, stamp);
  if (st == RL_OK) st = rl_get_value(&r, value);
  if (st == RL_OK && r.p != r.end) st = rl_fail(RL_EDATA, "bytes behind a value of the state");
  return st;
}

/* Memory ----------------------------------------------------------------------------------------------------------- */

/* Blocks grow, so that small updates stay small. */
static rl_bytes *new_block(rl_arena *a, size_t need)
{
  size_t size = a->n ? a->blocks[a->n - 1]->cap * 2 : FIRST_BLOCK;
  if (size > LAST_BLOCK) size = LAST_BLOCK;
  rl_bytes *b = rl_bytes_new(need > size ? need : size);
  if (!b) return NULL;
  a->blocks = rl_grow(a->blocks, &a->cap, a->n + 1, sizeof(rl_bytes *));
  a->blocks[a->n++] = b;
  a->bytes += b->cap;
  return b;
}

void *rl_arena_get(rl_arena *a, size_t n)
{
  n = (n + 7) & ~(size_t)7;
  rl_bytes *b = a->n ? a->blocks[a->n - 1] : NULL;
  if (!b || b->cap - b->n < n) b = new_block(a, n);
  if (!b) return NULL;
  void *p = b->data + b->n;
  b->n += n;
  return p;
}

void rl_arena_free(rl_arena *a)
{
  for (size_t i = 0; i < a->n; i++) rl_bytes_unref(a->blocks[i]);
  rl_free(a->blocks);
  *a = (rl_arena){0};
}

/* Layers ----------------------------------------------------------------------------------------------------------- */

static size_t entry_size(const rl_entry *e)
{
  return (sizeof *e + (size_t)e->key_n + e->old_n + e->new_n + 7) & ~(size_t)7;
}

static rl_bytes *block_of(const rl_entry_walk *w)
{
  const rl_arena *a = &w->layer->parts[w->part].arena;
  return w->block < a->n ? a->blocks[w->block] : NULL;
}

rl_entry *rl_entry_next(rl_entry_walk *w)
{
  while (w->part < w->end) {
    rl_bytes *b = block_of(w);
    if (!b) {
      w->part++;
      w->block = 0;
    } else if (w->at >= b->n) {
      w->block++;
      w->at = 0;
    } else {
      rl_entry *e = (rl_entry *)(void *)(b->data + w->at);
      w->at += entry_size(e);
      if (e->version != RL_NO_TIME) return e;
    }
  }
  return NULL;
}

void rl_layer_free(rl_layer *l)
{
  for (uint32_t i = 0; i < l->nparts; i++) rl_arena_free(&l->parts[i].arena);
  rl_free(l);
}

/* Table ------------------------------------------------------------------------------------------------------------ */

void rl_table_init(rl_table_group *table)
{
  for (uint32_t i = 0; i < RL_KEY_GROUPS; i++) {
    if (pthread_mutex_init(&table[i].lock, NULL) != 0) abort();
  }
}

void rl_table_free(rl_table_group *table)
{
  for (uint32_t i = 0; i < RL_KEY_GROUPS; i++) {
    pthread_mutex_destroy(&table[i].lock);
    rl_free(table[i].buckets);
  }
}

/* The group's number is the hash's lowest byte: no use here. */
static rl_entry **bucket_of(const rl_table_group *g, uint32_t hash)
{
  return &g->buckets[(hash >> 8) & (g->nbuckets - 1)];
}

static bool same_key(const rl_entry *e, uint32_t hash, rl_octets form)
{
  return e->hash == hash && e->key_n == form.n && memcmp(e->bytes, form.p, form.n) == 0;
}

/* Where the newest entry of the key hangs, or would. */
static rl_entry **place_of(const rl_table_group *g, uint32_t hash, rl_octets form)
{
  rl_entry **at = bucket_of(g, hash);
  while (*at && !same_key(*at, hash, form)) at = &(*at)->next;
  return at;
}

static void resize(rl_table_group *g, uint32_t nbuckets)
{
  rl_table_group old = {.buckets = g->buckets, .nbuckets = g->nbuckets};
  g->buckets = rl_calloc(nbuckets, sizeof(rl_entry *));
  g->nbuckets = nbuckets;
  for (uint32_t i = 0; i < old.nbuckets; i++) {
    for (rl_entry *e = old.buckets[i], *next; e; e = next) {
      next = e->next;
      rl_entry **to = bucket_of(g, e->hash);
      e->next = *to;
      *to = e;
    }
  }
  rl_free(old.buckets);
}

void rl_table_link(rl_table_group *table, rl_entry *e)
{
  rl_table_group *g = &table[rl_entry_group(e)];
  pthread_mutex_lock(&g->lock);
  if (g->n >= g->nbuckets) resize(g, g->nbuckets ? g->nbuckets * 2 : FIRST_BUCKETS);
  rl_entry **at = place_of(g, e->hash, rl_entry_key(e));
  e->older = *at;
  e->next = *at ? (*at)->next : NULL;
  if (!*at) g->n++;
  *at = e;
  pthread_mutex_unlock(&g->lock);
}

static void free_if_empty(rl_table_group *g)
{
  if (g->n > 0) return;
  rl_free(g->buckets);
  g->buckets = NULL;
  g->nbuckets = 0;
}

void rl_table_unlink(rl_table_group *table, const rl_entry *e)
{
  rl_table_group *g = &table[rl_entry_group(e)];
  pthread_mutex_lock(&g->lock);
  rl_entry **at = place_of(g, e->hash, rl_entry_key(e));
  if (*at == e) {
    *at = e->next;
    g->n--;
  } else {
    rl_entry *newer = *at;
    while (newer && newer->older != e) newer = newer->older;
    if (newer) newer->older = NULL;
  }
  free_if_empty(g);
  pthread_mutex_unlock(&g->lock);
}

void rl_table_undo(rl_table_group *table, const rl_entry *e)
{
  rl_table_group *g = &table[rl_entry_group(e)];
  pthread_mutex_lock(&g->lock);
  rl_entry **at = place_of(g, e->hash, rl_entry_key(e));
  if (e->older) {
    e->older->next = e->next;
    *at = e->older;
  } else {
    *at = e->next;
    g->n--;
  }
  free_if_empty(g);
  pthread_mutex_unlock(&g->lock);
}

const rl_entry *rl_table_find(rl_table_group *table, uint32_t hash, rl_octets form, int64_t floor, int64_t at)
{
  rl_table_group *g = &table[rl_key_group(hash)];
  const rl_entry *e = NULL;
  pthread_mutex_lock(&g->lock);
  if (g->n > 0) e = *place_of(g, hash, form);
  while (e && e->version > at) e = e->older;
  if (e && e->version <= floor) e = NULL; /* it may go as soon as the lock does */
  pthread_mutex_unlock(&g->lock);
  return e;
}
