#include "plan/rdd.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "plan/lineage.h"
#include "plan/stated.h"

#define PARTITIONS_MAX 1000000

static _Atomic uint64_t next_id;

static rl_rdd *new_rdd(rl_op *op, uint32_t partitions)
{
  rl_rdd *r = RL_NEW(rl_rdd);
  atomic_init(&r->refs, 1);
  r->id = atomic_fetch_add(&next_id, 1);
  r->op = op;
  r->partitions = partitions;
  r->label = op->site ? rl_format("%s at %s", op->name, op->site) : rl_strdup(op->name);
  pthread_mutex_init(&r->lock, NULL);
  return r;
}

/* Sources ---------------------------------------------------------------------------------------------------------- */

rl_rdd *rl_rdd_from_source(rl_source *source)
{
  rl_op like = {.kind = RL_OP_SOURCE, .name = (char *)source->cls->name};
  rl_rdd *r = new_rdd(rl_op_new(&like), source->partitions);
  r->source = source;
  return r;
}

const rl_source *rl_rdd_source(const rl_rdd *r) { return r->source; }

typedef struct list_source {
  rl_source base;
  rl_chunks parts[];
} list_source;

static rl_status list_open(rl_source *self, uint32_t partition, const rl_task *task, rl_pull **out)
{
  (void)task;
  *out = rl_pull_chunks(&((list_source *)self)->parts[partition]);
  return RL_OK;
}

static void list_destroy(rl_source *self)
{
  for (uint32_t i = 0; i < self->partitions; i++) rl_chunks_clear(&((list_source *)self)->parts[i]);
  rl_free(self);
}

static const rl_source_class list_class = {"parallelize", list_open, list_destroy};
static const rl_source_class empty_class = {"empty", list_open, list_destroy};

bool rl_source_is_blank(const rl_source *source, uint32_t partition)
{
  return source->cls->open == list_open && ((const list_source *)source)->parts[partition].n == 0;
}

static rl_rdd *from_lists(const rl_source_class *cls, rl_chunks *parts, uint32_t n)
{
  list_source *s = rl_alloc(sizeof *s + n * sizeof *parts);
  atomic_init(&s->base.refs, 1);
  s->base.cls = cls;
  s->base.partitions = n;
  if (parts && n) {
    memcpy(s->parts, parts, n * sizeof *parts);
    memset(parts, 0, n * sizeof *parts);
  }
  return rl_rdd_from_source(&s->base);
}

rl_rdd *rl_rdd_from_chunks(rl_chunks *parts, uint32_t n) { return from_lists(&list_class, parts, n); }
rl_rdd *rl_rdd_empty(uint32_t partitions) { return from_lists(&empty_class, NULL, partitions); }

typedef struct block_source {
  rl_source base;
  rl_block *blocks[];
} block_source;

static rl_status block_open(rl_source *self, uint32_t partition, const rl_task *task, rl_pull **out)
{
  (void)task;
  *out = rl_block_open(((block_source *)self)->blocks[partition]);
  return RL_OK;
}

static void block_destroy(rl_source *self)
{
  for (uint32_t i = 0; i < self->partitions; i++) rl_block_unref(((block_source *)self)->blocks[i]);
  rl_free(self);
}

static const rl_source_class block_class = {"blocks", block_open, block_destroy};

rl_rdd *rl_rdd_from_blocks(rl_block *const *blocks, uint32_t n)
{
  block_source *s = rl_alloc(sizeof *s + n * sizeof(rl_block *));
  atomic_init(&s->base.refs, 1);
  s->base.cls = &block_class;
  s->base.partitions = n;
  for (uint32_t i = 0; i < n; i++) s->blocks[i] = rl_block_ref(blocks[i]);
  return rl_rdd_from_source(&s->base);
}

/* Applying operations ---------------------------------------------------------------------------------------------- */

static uint32_t largest(rl_rdd *const *parents, uint32_t n)
{
  uint32_t most = 0;
  for (uint32_t i = 0; i < n; i++)
    if (parents[i]->partitions > most) most = parents[i]->partitions;
  return most;
}

/* Where the op leaves it open: a parent already partitioned by key (the widest), then the default, then the largest
 * parent. */
static uint32_t shuffle_partitions(const rl_op *op, rl_rdd *const *parents, uint32_t n, uint32_t parallelism)
{
  if (op->partitions) return op->partitions;
  uint32_t most = 0;
  if (op->part == RL_PART_HASH)
    for (uint32_t i = 0; i < n; i++)
      if (parents[i]->part == RL_PART_HASH && parents[i]->partitions > most) most = parents[i]->partitions;
  if (most) return most;
  if (parallelism) return parallelism;
  most = largest(parents, n);
  return most ? most : 1;
}

static void plan_shuffle(rl_rdd *r, const rl_op *op)
{
  r->exchanges = rl_calloc(r->nparents, sizeof *r->exchanges);
  r->part = op->part == RL_PART_HASH ? RL_PART_HASH : RL_PART_NONE;
  for (uint32_t i = 0; i < r->nparents; i++) {
    rl_exchange *x = &r->exchanges[i];
    rl_rdd *parent = r->parents[i];
    x->maps = parent->partitions;
    x->narrow = op->part == RL_PART_HASH && parent->part == RL_PART_HASH && parent->partitions == r->partitions;
    atomic_init(&x->done, x->narrow || x->maps == 0); /* no map tasks: nothing to wait for */
    if (x->narrow || x->maps == 0) continue;
    if (op->part == RL_PART_RANGE) x->runs = rl_calloc(x->maps, sizeof *x->runs);
    else x->out = rl_calloc((size_t)x->maps * r->partitions, sizeof(rl_spool *));
  }
}

/* Section 3.7 of the reference: parents without partitions are skipped; if the rest share one partitioner, it is kept.
 */
static uint32_t plan_union(rl_rdd *r)
{
  uint64_t sum = 0;
  uint32_t same = 0;
  bool shared = true;
  for (uint32_t i = 0; i < r->nparents; i++) {
    const rl_rdd *parent = r->parents[i];
    if (parent->partitions == 0) continue;
    sum += parent->partitions;
    if (parent->part != RL_PART_HASH || (same && parent->partitions != same)) shared = false;
    same = parent->partitions;
  }
  r->zipped = shared && same > 0;
  if (r->zipped) r->part = RL_PART_HASH;
  return r->zipped ? same : (uint32_t)sum;
}

static rl_status check_zip(const rl_op *op, rl_rdd *const *parents, uint32_t n)
{
  if (n < 2 || n >= RL_MAX_FIELDS)
    return rl_fail(RL_EINVAL, "%s takes 2 to %d RDDs, not %" PRIu32, op->name, RL_MAX_FIELDS - 1, n);
  for (uint32_t i = 1; i < n; i++)
    if (parents[i]->partitions != parents[0]->partitions)
      return rl_fail(RL_EINVAL,
                     "%s: the RDDs have %" PRIu32 " and %" PRIu32
                     " partitions, and need as many each; repartition changes the number",
                     op->name, parents[0]->partitions, parents[i]->partitions);
  return RL_OK;
}

static rl_status check_cartesian(const rl_op *op, rl_rdd *const *parents, uint32_t n)
{
  if (n != 2) return rl_fail(RL_EINVAL, "%s takes two RDDs, not %" PRIu32, op->name, n);
  if ((uint64_t)parents[0]->partitions * parents[1]->partitions <= PARTITIONS_MAX) return RL_OK;
  return rl_fail(RL_ELIMIT, "%s: %" PRIu32 " times %" PRIu32 " partitions are more than %d; coalesce gives fewer",
                 op->name, parents[0]->partitions, parents[1]->partitions, PARTITIONS_MAX);
}

static rl_status check_parents(const rl_op *op, rl_rdd *const *parents, uint32_t n)
{
  if (n == 0 || op->kind == RL_OP_SOURCE || op->kind >= RL_OP_STATE) return rl_fail(RL_EINVAL, "%s needs a parent", op->name);
  if (n > 1 && (op->kind == RL_OP_NARROW || op->kind == RL_OP_COALESCE))
    return rl_fail(RL_EINVAL, "%s takes one parent, not %" PRIu32, op->name, n);
  if (op->kind == RL_OP_NARROW && !op->fn) return rl_fail(RL_EINVAL, "%s needs a function", op->name);
  for (uint32_t i = 0; i < n; i++)
    if (parents[i]->depth >= RL_LINEAGE_MAX_DEPTH)
      return rl_fail(RL_ELIMIT,
                     "%s: the lineage is over %d operations deep; collect it, or persist and parallelize it anew",
                     op->name, RL_LINEAGE_MAX_DEPTH);
  if (op->kind == RL_OP_ZIP) return check_zip(op, parents, n);
  return op->kind == RL_OP_CARTESIAN ? check_cartesian(op, parents, n) : RL_OK;
}

rl_rdd *rl_rdd_new(rl_op *op, rl_rdd *const *parents, uint32_t n, uint32_t partitions)
{
  rl_rdd *r = new_rdd(rl_op_ref(op), partitions);
  r->parents = rl_calloc(n, sizeof *r->parents);
  r->nparents = n;
  for (uint32_t i = 0; i < n; i++) {
    r->parents[i] = rl_rdd_ref(parents[i]);
    if (parents[i]->depth + 1 > r->depth) r->depth = parents[i]->depth + 1;
  }
  return r;
}

rl_status rl_rdd_apply(rl_op *op, rl_rdd *const *parents, uint32_t n, uint32_t parallelism, rl_rdd **out)
{
  rl_status st = check_parents(op, parents, n);
  if (st) return st;
  rl_rdd *r = rl_rdd_new(op, parents, n, 0);
  switch (op->kind) {
  case RL_OP_NARROW:
    r->partitions = parents[0]->partitions;
    r->part = op->keeps_keys ? parents[0]->part : RL_PART_NONE;
    break;
  case RL_OP_SHUFFLE:
    r->partitions = shuffle_partitions(op, parents, n, parallelism);
    plan_shuffle(r, op);
    break;
  case RL_OP_UNION: r->partitions = plan_union(r); break;
  case RL_OP_COALESCE:
    r->partitions = parents[0]->partitions;
    if (op->partitions && op->partitions < r->partitions) r->partitions = op->partitions;
    else r->part = parents[0]->part;
    break;
  case RL_OP_ZIP: r->partitions = parents[0]->partitions; break;
  case RL_OP_CARTESIAN: r->partitions = parents[0]->partitions * parents[1]->partitions; break;
  default: break; /* not applied to parents (check_parents) */
  }
  *out = r;
  return RL_OK;
}

/* Life ------------------------------------------------------------------------------------------------------------- */

rl_rdd *rl_rdd_ref(rl_rdd *r)
{
  atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
  return r;
}

/* Takes the kept partitions out of an RDD. Locked; they are given back without the lock, as files may go with them. */
static rl_spool **take_cache(rl_rdd *r)
{
  rl_spool **cache = r->cache;
  r->cache = NULL;
  return cache;
}

static void drop_cache(rl_spool **cache, uint32_t n)
{
  for (uint32_t p = 0; cache && p < n; p++) rl_spool_unref(cache[p]);
  rl_free(cache);
}

void rl_exchange_clear(const rl_rdd *target, rl_exchange *x)
{
  for (uint32_t m = 0; x->runs && m < x->maps; m++) {
    rl_runs_delete(x->runs[m]);
    x->runs[m] = NULL;
  }
  for (size_t i = 0; x->out && i < (size_t)x->maps * target->partitions; i++) {
    rl_spool_unref(x->out[i]);
    x->out[i] = NULL;
  }
}

static void drop_exchanges(rl_rdd *r)
{
  for (uint32_t i = 0; r->exchanges && i < r->nparents; i++) {
    rl_exchange *x = &r->exchanges[i];
    rl_exchange_clear(r, x);
    rl_free(x->out);
    rl_free(x->runs);
    rl_bounds_unref(x->bounds);
  }
  rl_free(r->exchanges);
}

static void destroy(rl_rdd *r)
{
  drop_cache(take_cache(r), r->partitions);
  drop_exchanges(r);
  rl_stated_delete(r);
  if (r->source && atomic_fetch_sub_explicit(&r->source->refs, 1, memory_order_acq_rel) == 1)
    r->source->cls->destroy(r->source);
  rl_op_unref(r->op);
  rl_free(r->parents);
  rl_free(r->label);
  rl_free(r->name);
  pthread_mutex_destroy(&r->lock);
  rl_free(r);
}

/* Recurses up the lineage, whose depth is bounded. */
void rl_rdd_unref(rl_rdd *r) /* NOLINT(misc-no-recursion) */
{
  if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t i = 0; i < r->nparents; i++) rl_rdd_unref(r->parents[i]);
  destroy(r);
}

/* Looking at it ---------------------------------------------------------------------------------------------------- */

uint64_t rl_rdd_id(const rl_rdd *r) { return r->id; }
uint32_t rl_rdd_partitions(const rl_rdd *r) { return r->partitions; }
rl_partkind rl_rdd_partitioner(const rl_rdd *r) { return r->part; }
const rl_op *rl_rdd_op(const rl_rdd *r) { return r->op; }
const char *rl_rdd_label(const rl_rdd *r) { return r->label; }

uint32_t rl_rdd_parents(const rl_rdd *r, rl_rdd *const **parents)
{
  *parents = r->parents;
  return r->nparents;
}

bool rl_rdd_is_exchanged(const rl_rdd *r, uint32_t parent)
{
  return r->op->kind == RL_OP_SHUFFLE && !r->exchanges[parent].narrow;
}

void rl_rdd_set_name(rl_rdd *r, const char *name)
{
  pthread_mutex_lock(&r->lock);
  rl_free(r->name);
  r->name = rl_strdup(name);
  pthread_mutex_unlock(&r->lock);
}

const char *rl_rdd_name(const rl_rdd *r) { return r->name; }

rl_status rl_rdd_persist(rl_rdd *r, rl_level level)
{
  if (!rl_level_keeps(level)) {
    rl_rdd_unpersist(r);
    return RL_OK;
  }
  pthread_mutex_lock(&r->lock);
  const char *now = rl_level_name(r->level), *wanted = rl_level_name(level);
  bool other = rl_level_keeps(r->level) && now != wanted;
  if (!other) r->level = level;
  if (!r->cache) r->cache = rl_calloc(r->partitions ? r->partitions : 1, sizeof(rl_spool *));
  pthread_mutex_unlock(&r->lock);
  if (!other) return RL_OK;
  return rl_fail(RL_ESTATE, "%s is persisted at %s already; unpersist it before it is persisted at %s", r->label, now,
                 wanted);
}

void rl_rdd_unpersist(rl_rdd *r)
{
  pthread_mutex_lock(&r->lock);
  r->level = RL_LEVEL_NONE;
  rl_spool **cache = take_cache(r);
  pthread_mutex_unlock(&r->lock);
  drop_cache(cache, r->partitions);
}

rl_level rl_rdd_level(const rl_rdd *r)
{
  rl_rdd *w = (rl_rdd *)r;
  pthread_mutex_lock(&w->lock);
  rl_level level = r->level;
  pthread_mutex_unlock(&w->lock);
  return level;
}

bool rl_rdd_is_persisted(const rl_rdd *r) { return rl_level_keeps(rl_rdd_level(r)); }

bool rl_rdd_is_cached(rl_rdd *r)
{
  pthread_mutex_lock(&r->lock);
  bool all = r->cache != NULL;
  for (uint32_t p = 0; all && p < r->partitions; p++) all = r->cache[p] && !rl_spool_is_lost(r->cache[p]);
  pthread_mutex_unlock(&r->lock);
  return all;
}

static void debug_level(const rl_rdd *r, rl_buf *out, unsigned indent) /* NOLINT(misc-no-recursion) */
{
  for (; r; indent += 2) {
    rl_buf_printf(out, "%*s(%" PRIu32 ") ", (int)indent, "", r->partitions);
    if (r->name) rl_buf_printf(out, "%s ", r->name);
    rl_buf_printf(out, "%s", r->label);
    if (r->op->uid) rl_buf_printf(out, " [uid %s]", r->op->uid);
    if (rl_rdd_is_persisted(r)) rl_buf_puts(out, " [persisted]");
    rl_buf_putc(out, '\n');
    for (uint32_t i = 0; i < r->nparents; i++)
      if (rl_rdd_is_exchanged(r, i))
        rl_buf_printf(out, "%*s +-(%" PRIu32 " to %" PRIu32 " partitions)\n", (int)indent, "", r->exchanges[i].maps,
                      r->partitions);
    for (uint32_t i = 0; r->nparents > 1 && i < r->nparents; i++) debug_level(r->parents[i], out, indent + 2);
    r = r->nparents == 1 ? r->parents[0] : NULL;
  }
}

void rl_rdd_debug(const rl_rdd *r, rl_buf *out) { debug_level(r, out, 0); }
