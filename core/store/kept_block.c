#include "store/kept_block.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "data/text.h"
#include "store/spool_impl.h"

/* Blocks of records: their chunks are in a spool. */

typedef struct kept_records {
  rl_block_home home; /* first */
  rl_spool *spool;
} kept_records;

/* The block is held, not only its spool: as long as it is worked on it counts for its source. */
typedef struct holder {
  rl_pull base;
  rl_pull *in;
  rl_block *block;
} holder;

static rl_status holder_next(rl_pull *self, rl_chunk **out) { return rl_pull_next(((holder *)self)->in, out); }

static void holder_close(rl_pull *self)
{
  holder *h = (holder *)self;
  rl_pull_close(h->in);
  rl_block_unref(h->block);
  rl_free(h);
}

static const rl_pull_class holder_class = {holder_next, holder_close};

static rl_pull *records_open(rl_block *b)
{
  holder *h = RL_NEW(holder);
  *h = (holder){.base.cls = &holder_class, .in = rl_spool_open(((kept_records *)b->home)->spool), .block = rl_block_ref(b)};
  return &h->base;
}

static void records_leave(rl_block *b)
{
  kept_records *k = (kept_records *)b->home;
  rl_spool_unref(k->spool);
  rl_free(k);
}

static const rl_block_home_class records_class = {records_open, records_leave};

static void keep_records(rl_block *b, rl_memory *m, rl_level level)
{
  kept_records *k = RL_NEW(kept_records);
  k->home.cls = &records_class;
  k->spool = rl_spool_new(m, (rl_level){.memory = true, .disk = level.disk, .needed = true, .copies = level.copies});
  if (!level.memory) rl_spool_hurry(k->spool);
  for (size_t i = 0; i < b->chunks.n; i++) rl_spool_put(k->spool, rl_chunk_ref(b->chunks.v[i]));
  rl_spool_seal(k->spool);
  rl_chunks_clear(&b->chunks);
  b->home = &k->home;
}

/* Blocks of text: their bytes are in a buffer or in an extent. */

typedef struct kept_text {
  rl_keeper keeper; /* first */
  rl_block_home home;
  rl_memory *m;
  rl_block *block;
  rl_level level;
  uint64_t copy; /* of its second copy; 0: none. Whoever makes it leave */
  /* under the manager's lock, as is block->data */
  rl_extent extent;
  bool leaving;
} kept_text;

static kept_text *text_of(const rl_block *b) { return (kept_text *)((char *)b->home - offsetof(kept_text, home)); }

static bool text_can_go(const rl_keeper *k)
{
  const kept_text *t = (const kept_text *)k;
  return t->level.disk && !t->leaving && t->block->data;
}

static bool text_try_ref(rl_keeper *k)
{
  rl_block *b = ((kept_text *)k)->block;
  uint32_t n = atomic_load_explicit(&b->refs, memory_order_relaxed);
  while (n > 0)
    if (atomic_compare_exchange_weak_explicit(&b->refs, &n, n + 1, memory_order_acquire, memory_order_relaxed)) return true;
  return false;
}

static void text_set_leaving(kept_text *t, bool on)
{
  t->leaving = on;
  t->m->leaving += on ? t->block->bytes : -t->block->bytes;
}

static rl_status text_give_up(rl_keeper *k)
{
  kept_text *t = (kept_text *)k;
  rl_block *b = t->block;
  rl_extent extent = {0};
  rl_memory_lock(t->m);
  bool mine = text_can_go(k);
  if (mine) text_set_leaving(t, true);
  rl_memory_unlock(t->m);
  if (!mine) return RL_OK;
  if (!t->copy && rl_replica_is_wanted(t->m, t->level)) t->copy = rl_replica_put(t->m, b->data->data + b->at, b->bytes);
  rl_status st = rl_memory_spill(t->m, b->data->data + b->at, b->bytes, &extent);
  rl_memory_lock(t->m);
  rl_bytes *data = NULL;
  text_set_leaving(t, false);
  if (st == RL_OK) {
    data = b->data;
    b->data = NULL;
    t->extent = extent;
    rl_keeper_count(t->m, k, -(int64_t)b->bytes, false);
  }
  rl_memory_unlock(t->m);
  rl_bytes_unref(data);
  return st;
}

static void text_unref(rl_keeper *k) { rl_block_unref(((kept_text *)k)->block); }

static const rl_keeper_class text_keeper = {text_can_go, text_try_ref, text_give_up, text_unref};

/* Its lines, cut as they are asked for, out of the buffer it was received into or out of what was read back. */
typedef struct text_pull {
  rl_pull base;
  rl_block *block;
  rl_bytes *data; /* NULL until the first is asked for */
  size_t at, end;
} text_pull;

static rl_status read_back(text_pull *p, const rl_extent *e)
{
  rl_buf bytes = {0};
  kept_text *t = text_of(p->block);
  rl_status st = rl_spill_read(t->m->spill, e, &bytes);
  if (st != RL_OK && t->copy) {
    rl_warn("%s; its second copy is taken", rl_error_message());
    st = rl_replica_get(t->m, t->copy, &bytes);
  }
  if (st == RL_EDATA)
    st = rl_fail(RL_EDATA, "%s; it held a received block of %" PRIu64 " lines", rl_error_message(), p->block->records);
  if (st == RL_OK && !(p->data = rl_bytes_from(bytes.p, bytes.n))) st = RL_ENOMEM;
  p->end = bytes.n;
  rl_buf_free(&bytes);
  return st;
}

static rl_status get_data(text_pull *p)
{
  rl_block *b = p->block;
  kept_text *t = text_of(b);
  rl_memory_lock(t->m);
  if (b->data) {
    p->data = rl_bytes_ref(b->data);
    p->at = b->at;
    p->end = b->end;
    rl_keeper_count(t->m, &t->keeper, 0, true);
  }
  rl_extent extent = t->extent;
  rl_memory_unlock(t->m);
  return p->data ? RL_OK : read_back(p, &extent);
}

static rl_status text_next(rl_pull *self, rl_chunk **out)
{
  text_pull *p = (text_pull *)self;
  *out = NULL;
  rl_status st = p->data ? RL_OK : get_data(p);
  if (st == RL_OK) *out = rl_text_next(p->data, &p->at, p->end);
  return st;
}

static void text_close(rl_pull *self)
{
  text_pull *p = (text_pull *)self;
  rl_bytes_unref(p->data);
  rl_block_unref(p->block);
  rl_free(p);
}

static const rl_pull_class text_class = {text_next, text_close};

static rl_pull *text_open(rl_block *b)
{
  text_pull *p = RL_NEW(text_pull);
  *p = (text_pull){.base.cls = &text_class, .block = rl_block_ref(b)};
  return &p->base;
}

static void text_leave(rl_block *b)
{
  kept_text *t = text_of(b);
  rl_memory_lock(t->m);
  rl_keeper_count(t->m, &t->keeper, -(int64_t)t->keeper.kept, false);
  rl_memory_unlock(t->m);
  if (t->extent.file) rl_spill_release(t->m->spill, &t->extent, 1);
  rl_replica_drop(t->m, t->copy);
  rl_memory_unref(t->m);
  rl_free(t);
}

static const rl_block_home_class text_home = {text_open, text_leave};

static void keep_text(rl_block *b, rl_memory *m, rl_level level)
{
  kept_text *t = RL_NEW(kept_text);
  *t = (kept_text){.keeper = {.cls = &text_keeper, .hurry = !level.memory}, .home.cls = &text_home, .m = rl_memory_ref(m), .block = b, .level = level};
  t->keeper.stays = !level.disk;
  b->home = &t->home;
  rl_memory_lock(m);
  rl_keeper_count(m, &t->keeper, (int64_t)b->bytes, true);
  rl_memory_unlock(m);
}

void rl_block_keep(rl_block *b, rl_memory *m, rl_level level)
{
  if (b->data) keep_text(b, m, level);
  else keep_records(b, m, level);
}

void rl_blocks_make_room(rl_memory *m)
{
  rl_status st = rl_memory_make_room(m);
  if (st != RL_OK && st != RL_ECLOSED) rl_memory_tell_full(m, "what was received stays in memory, and its sources are held back");
}
