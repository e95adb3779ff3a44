/* Partitions that need no task: all they are made of has no records, and no function in between does anything without.
 * An empty batch has no others, and costs no more than the walk. */
#include "plan/lineage.h"
#include "plan/stated.h"

static bool all_blank(rl_rdd *r, uint32_t from, uint32_t to) /* NOLINT(misc-no-recursion) */
{
  for (uint32_t p = from; p < to; p++)
    if (!rl_rdd_is_blank(r, p, NULL)) return false;
  return true;
}

static bool exchange_is_blank(const rl_rdd *r, uint32_t i, uint32_t p) /* NOLINT(misc-no-recursion) */
{
  const rl_exchange *x = &r->exchanges[i];
  if (x->narrow) return rl_rdd_is_blank(r->parents[i], p, r->op->map_fn);
  if (r->op->part == RL_PART_RANGE) return x->maps == 0;
  for (size_t m = 0; m < x->maps; m++)
    if (x->out[m * r->partitions + p]) return false;
  return true;
}

static bool shuffle_is_blank(const rl_rdd *r, uint32_t p) /* NOLINT(misc-no-recursion) */
{
  for (uint32_t i = 0; i < r->nparents; i++)
    if (!exchange_is_blank(r, i, p)) return false;
  return true;
}

/* Partition p of each parent; parents without partitions have no records (open_union). */
static bool parents_are_blank(const rl_rdd *r, uint32_t p) /* NOLINT(misc-no-recursion) */
{
  for (uint32_t i = 0; i < r->nparents; i++)
    if (r->parents[i]->partitions && !rl_rdd_is_blank(r->parents[i], p, NULL)) return false;
  return true;
}

static bool union_is_blank(const rl_rdd *r, uint32_t p) /* NOLINT(misc-no-recursion) */
{
  if (r->zipped) return parents_are_blank(r, p);
  uint32_t i = 0;
  while (p >= r->parents[i]->partitions) p -= r->parents[i++]->partitions;
  return rl_rdd_is_blank(r->parents[i], p, NULL);
}

static bool coalesced_is_blank(const rl_rdd *r, uint32_t p) /* NOLINT(misc-no-recursion) */
{
  uint32_t from, to;
  rl_coalesced_range(r, p, &from, &to);
  return all_blank(r->parents[0], from, to);
}

static bool product_is_blank(const rl_rdd *r, uint32_t p) /* NOLINT(misc-no-recursion) */
{
  uint32_t m = r->parents[1]->partitions;
  return rl_rdd_is_blank(r->parents[0], p / m, NULL) && rl_rdd_is_blank(r->parents[1], p % m, NULL);
}

bool rl_rdd_is_blank(rl_rdd *r, uint32_t p, const rl_fn *tail) /* NOLINT(misc-no-recursion) */
{
  /* What is persisted is there, and shown as being there, once a task has come by. */
  if ((tail && !tail->idle) || (r->op->fn && !r->op->fn->idle) || rl_rdd_is_persisted(r)) return false;
  switch (r->op->kind) {
  case RL_OP_SOURCE: return rl_source_is_blank(r->source, p);
  case RL_OP_NARROW: return rl_rdd_is_blank(r->parents[0], p, NULL);
  case RL_OP_SHUFFLE: return shuffle_is_blank(r, p);
  case RL_OP_UNION: return union_is_blank(r, p);
  case RL_OP_COALESCE: return coalesced_is_blank(r, p);
  case RL_OP_ZIP: return parents_are_blank(r, p);
  case RL_OP_CARTESIAN: return product_is_blank(r, p);
  case RL_OP_STATE: return rl_spool_records(r->stated->out[p]) == 0;
  default: return false;
  }
}
