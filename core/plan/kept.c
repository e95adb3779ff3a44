#include "plan/kept.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"

/* Persisted partitions --------------------------------------------------------------------------------------------- */

typedef struct kept {
  rl_pull base;
  rl_pull *in;
  rl_spool *spool;
  const rl_rdd *rdd;
  uint32_t partition;
} kept;

static rl_status kept_next(rl_pull *self, rl_chunk **out)
{
  kept *k = (kept *)self;
  rl_status st = rl_pull_next(k->in, out);
  if (st != RL_EDATA && st != RL_EIO) return st;
  rl_error_prefix("%s, persisted partition %" PRIu32 ": ", k->rdd->label, k->partition);
  rl_warn("%s; it is computed anew", rl_error_message());
  rl_error_set_retriable(true);
  rl_spool_lose(k->spool);
  return st;
}

static void kept_close(rl_pull *self)
{
  kept *k = (kept *)self;
  rl_pull_close(k->in);
  rl_spool_unref(k->spool);
  rl_free(k);
}

static const rl_pull_class kept_class = {kept_next, kept_close};

/* While it is open it is not dropped, so one look at whether it is lost is enough. */
rl_pull *rl_kept_open(rl_rdd *r, uint32_t p)
{
  pthread_mutex_lock(&r->lock);
  rl_spool *s = r->cache && r->cache[p] ? rl_spool_ref(r->cache[p]) : NULL;
  pthread_mutex_unlock(&r->lock);
  if (!s) return NULL;
  rl_pull *in = rl_spool_open(s);
  if (rl_spool_is_lost(s)) {
    rl_pull_close(in);
    rl_spool_unref(s);
    return NULL;
  }
  kept *k = RL_NEW(kept);
  *k = (kept){.base.cls = &kept_class, .in = in, .spool = s, .rdd = r, .partition = p};
  return &k->base;
}

/* Keeping a partition while it goes by. */

typedef struct tee {
  rl_pull base;
  rl_pull *in;
  rl_rdd *rdd;
  uint32_t partition;
  rl_spool *seen; /* NULL once it was handed over */
} tee;

/* The first to reach the end wins; all have the same records. */
static void hand_over(tee *t)
{
  rl_spool_seal(t->seen);
  pthread_mutex_lock(&t->rdd->lock);
  rl_spool **slot = t->rdd->cache ? &t->rdd->cache[t->partition] : NULL;
  if (slot && (!*slot || rl_spool_is_lost(*slot))) {
    rl_spool *lost = *slot;
    *slot = t->seen;
    t->seen = lost;
  }
  pthread_mutex_unlock(&t->rdd->lock);
  rl_spool_unref(t->seen);
  t->seen = NULL;
}

static rl_status tee_next(rl_pull *self, rl_chunk **out)
{
  tee *t = (tee *)self;
  rl_status st = rl_pull_next(t->in, out);
  if (st || !t->seen) return st;
  if (!*out) {
    hand_over(t);
    return RL_OK;
  }
  st = rl_spool_add(t->seen, rl_chunk_ref(*out));
  if (st) rl_chunk_unref(*out);
  return st;
}

static void tee_close(rl_pull *self)
{
  tee *t = (tee *)self;
  rl_pull_close(t->in);
  rl_spool_unref(t->seen);
  rl_free(t);
}

static const rl_pull_class tee_class = {tee_next, tee_close};

rl_pull *rl_kept_tee(rl_pull *in, rl_rdd *r, uint32_t p, const rl_task *task)
{
  tee *t = RL_NEW(tee);
  *t = (tee){.base.cls = &tee_class, .in = in, .rdd = r, .partition = p,
             .seen = rl_spool_new(task->memory, rl_rdd_level(r))};
  rl_spool_set_group(t->seen, r->id + 1);
  return &t->base;
}

/* Exchanges -------------------------------------------------------------------------------------------------------- */

/* One spool is open at a time, and its chunks are asked for one by one. */
typedef struct fetch {
  rl_pull base;
  rl_pull *open;
  const rl_rdd *rdd;
  const rl_exchange *x;
  uint32_t map, partition; /* the next map task */
} fetch;

static rl_status fetch_next(rl_pull *self, rl_chunk **out)
{
  fetch *f = (fetch *)self;
  *out = NULL;
  for (;;) {
    if (f->open) {
      rl_status st = rl_pull_next(f->open, out);
      if (st) rl_error_prefix("%s, partition %" PRIu32 ", what map task %" PRIu32 " left for it: ", f->rdd->label,
                              f->partition, f->map - 1);
      if (st || *out) return st;
      rl_pull_close(f->open);
      f->open = NULL;
    }
    if (f->map == f->x->maps) return RL_OK;
    rl_spool *s = f->x->out[(size_t)f->map++ * f->rdd->partitions + f->partition];
    if (s) f->open = rl_spool_open(s);
  }
}

static void fetch_close(rl_pull *self)
{
  fetch *f = (fetch *)self;
  rl_pull_close(f->open);
  rl_free(f);
}

static const rl_pull_class fetch_class = {fetch_next, fetch_close};

rl_pull *rl_exchange_open(rl_rdd *r, uint32_t i, uint32_t p)
{
  fetch *f = RL_NEW(fetch);
  *f = (fetch){.base.cls = &fetch_class, .rdd = r, .x = &r->exchanges[i], .partition = p};
  return &f->base;
}

rl_status rl_sorted_open(rl_rdd *r, uint32_t i, uint32_t p, const rl_task *task, rl_pull **out)
{
  const rl_exchange *x = &r->exchanges[i];
  const rl_merge m = {.runs = x->runs, .n = x->maps, .descending = r->op->descending, .bounds = x->bounds, .range = p,
                      .task = task, .name = r->label};
  return rl_merge_open(&m, out);
}
