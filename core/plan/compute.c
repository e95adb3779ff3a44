/* Opening a partition: from an RDD down to shuffle inputs, sources and cached partitions, with neighbouring functions
 * of one class opened together. */
#include <string.h>

#include "base/mem.h"
#include "plan/kept.h"
#include "plan/pairing.h"
#include "plan/stated.h"

/* A partition opened only when it is reached, so that a union or coalesce of many does not hold them all open. */
typedef struct part_ref {
  rl_rdd *rdd;
  uint32_t partition;
} part_ref;

typedef struct lazy_concat {
  rl_pull base;
  const rl_task *task;
  rl_pull *open;
  size_t at, n;
  part_ref parts[];
} lazy_concat;

static rl_status concat_next(rl_pull *self, rl_chunk **out) /* NOLINT(misc-no-recursion) */
{
  lazy_concat *c = (lazy_concat *)self;
  for (;;) {
    *out = NULL;
    if (!c->open) {
      if (c->at == c->n) return RL_OK;
      rl_status st = rl_rdd_open(c->parts[c->at].rdd, c->parts[c->at].partition, c->task, NULL, 0, &c->open);
      if (st) return st;
      c->at++;
    }
    rl_status st = rl_pull_next(c->open, out);
    if (st || *out) return st;
    rl_pull_close(c->open);
    c->open = NULL;
  }
}

static void concat_close(rl_pull *self)
{
  lazy_concat *c = (lazy_concat *)self;
  rl_pull_close(c->open);
  rl_free(c);
}

static const rl_pull_class concat_class = {concat_next, concat_close};

static lazy_concat *new_concat(const rl_task *task, size_t n)
{
  lazy_concat *c = rl_alloc(sizeof *c + n * sizeof(part_ref));
  c->base.cls = &concat_class;
  c->task = task;
  return c;
}

/* The parents are held by the RDD, which its stage holds. */
static rl_pull *open_union(rl_rdd *r, uint32_t p, const rl_task *task)
{
  lazy_concat *c = new_concat(task, r->nparents);
  for (uint32_t i = 0; i < r->nparents; i++) {
    rl_rdd *parent = r->parents[i];
    if (r->zipped) {
      if (parent->partitions) c->parts[c->n++] = (part_ref){parent, p};
    } else if (p < parent->partitions) {
      c->parts[c->n++] = (part_ref){parent, p};
      break;
    } else {
      p -= parent->partitions;
    }
  }
  return &c->base;
}

void rl_coalesced_range(const rl_rdd *r, uint32_t partition, uint32_t *from, uint32_t *to)
{
  uint64_t all = r->parents[0]->partitions, p = partition;
  *from = (uint32_t)(p * all / r->partitions);
  *to = (uint32_t)((p + 1) * all / r->partitions);
}

static rl_pull *open_coalesced(rl_rdd *r, uint32_t p, const rl_task *task)
{
  uint32_t from, to;
  rl_coalesced_range(r, p, &from, &to);
  lazy_concat *c = new_concat(task, to - from);
  for (uint32_t i = from; i < to; i++) c->parts[c->n++] = (part_ref){r->parents[0], i};
  return &c->base;
}

/* Parents of which one partition each is read at the same time. */
static rl_status open_together(const part_ref *parts, uint32_t n, const rl_task *task,
                               rl_pull **inputs) /* NOLINT(misc-no-recursion) */
{
  for (uint32_t i = 0; i < n; i++) {
    rl_status st = rl_rdd_open(parts[i].rdd, parts[i].partition, task, NULL, 0, &inputs[i]);
    if (st) {
      while (i--) rl_pull_close(inputs[i]);
      return st;
    }
  }
  return RL_OK;
}

static rl_status open_zip(rl_rdd *r, uint32_t p, const rl_task *task, rl_pull **out) /* NOLINT(misc-no-recursion) */
{
  part_ref parts[RL_MAX_FIELDS];
  rl_pull *inputs[RL_MAX_FIELDS];
  for (uint32_t i = 0; i < r->nparents; i++) parts[i] = (part_ref){r->parents[i], p};
  rl_status st = open_together(parts, r->nparents, task, inputs);
  if (!st) *out = rl_pull_zip(inputs, r->nparents, r->op->uneven, r->op, p);
  return st;
}

static rl_status open_cartesian(rl_rdd *r, uint32_t p, const rl_task *task,
                                rl_pull **out) /* NOLINT(misc-no-recursion) */
{
  uint32_t m = r->parents[1]->partitions;
  const part_ref parts[2] = {{r->parents[0], p / m}, {r->parents[1], p % m}};
  rl_pull *inputs[2];
  rl_status st = open_together(parts, 2, task, inputs);
  if (!st) *out = rl_pull_cartesian(inputs[0], inputs[1], r->op, task);
  return st;
}

static rl_status open_exchange(rl_rdd *r, uint32_t i, uint32_t p, const rl_task *task,
                               rl_pull **out) /* NOLINT(misc-no-recursion) */
{
  rl_exchange *x = &r->exchanges[i];
  if (x->narrow) return rl_rdd_open(r->parents[i], p, task, &r->op->map_fn, r->op->map_fn ? 1 : 0, out);
  if (r->op->part == RL_PART_RANGE) return rl_sorted_open(r, i, p, task, out);
  *out = rl_exchange_open(r, i, p);
  return RL_OK;
}

/* The functions of a chain, first to run first. Collected from the end of the lineage upwards, so it grows at the
 * front. */
typedef struct chain {
  rl_fn **fns;
  size_t n, cap, first;
} chain;

static void chain_push_front(chain *c, rl_fn *fn)
{
  if (c->first == 0) {
    size_t cap = c->cap ? c->cap * 2 : 8;
    rl_fn **fns = rl_calloc(cap, sizeof *fns);
    size_t first = cap - c->n;
    if (c->n) memcpy(fns + first, c->fns, c->n * sizeof *fns);
    rl_free(c->fns);
    *c = (chain){fns, c->n, cap, first};
  }
  c->fns[--c->first] = fn;
  c->n++;
}

/* Opens the functions run by run over the inputs, which become the result's, or are closed on failure. */
static rl_status open_chain(const chain *c, const rl_task *task, rl_pull **inputs, size_t ninputs, rl_pull **out)
{
  rl_fn *const *fn = c->fns + c->first;
  rl_pull *one = NULL;
  for (size_t i = 0; i < c->n;) {
    size_t n = 1;
    while (i + n < c->n && fn[i + n]->cls == fn[i]->cls) n++;
    rl_pull *next;
    rl_status st = fn[i]->cls->open(fn + i, n, task, inputs, ninputs, &next);
    if (st) return st; /* the inputs are closed: *out stays as it was */
    one = next;
    inputs = &one;
    ninputs = 1;
    i += n;
  }
  *out = inputs[0];
  return RL_OK;
}

static rl_status open_leaf(rl_rdd *r, uint32_t p, const rl_task *task, rl_pull **out) /* NOLINT(misc-no-recursion) */
{
  switch (r->op->kind) {
  case RL_OP_UNION: *out = open_union(r, p, task); return RL_OK;
  case RL_OP_COALESCE: *out = open_coalesced(r, p, task); return RL_OK;
  case RL_OP_ZIP: return open_zip(r, p, task, out);
  case RL_OP_CARTESIAN: return open_cartesian(r, p, task, out);
  case RL_OP_STATE: *out = rl_spool_open(r->stated->out[p]); return RL_OK;
  case RL_OP_SNAPSHOT: return rl_snapshot_open(r, p, out);
  default: return r->source->cls->open(r->source, p, task, out);
  }
}

static rl_status open_inputs(rl_rdd *r, uint32_t p, const rl_task *task,
                             rl_pull **inputs) /* NOLINT(misc-no-recursion) */
{
  for (uint32_t i = 0; i < r->nparents; i++) {
    rl_status st = open_exchange(r, i, p, task, &inputs[i]);
    if (st) {
      while (i--) rl_pull_close(inputs[i]);
      return st;
    }
  }
  return RL_OK;
}

static rl_status open_bottom(rl_rdd *r, uint32_t p, const rl_task *task, chain *c,
                             rl_pull **out) /* NOLINT(misc-no-recursion) */
{
  if (r->op->kind != RL_OP_SHUFFLE) {
    rl_pull *input;
    rl_status st = open_leaf(r, p, task, &input);
    return st ? st : open_chain(c, task, &input, 1, out);
  }
  rl_pull **inputs = rl_calloc(r->nparents, sizeof(rl_pull *));
  rl_status st = open_inputs(r, p, task, inputs);
  if (!st && r->op->fn) {
    chain_push_front(c, r->op->fn);
    st = open_chain(c, task, inputs, r->nparents, out);
  } else if (!st) {
    rl_pull *input = r->nparents == 1 ? inputs[0] : rl_pull_concat(inputs, r->nparents);
    st = open_chain(c, task, &input, 1, out);
  }
  rl_free(inputs);
  return st;
}

/* The chain from `r` upwards, to the first RDD that is no plain function over its parent or that is persisted. */
static rl_status open_from(rl_rdd *r, uint32_t p, const rl_task *task, chain *c,
                           rl_pull **out) /* NOLINT(misc-no-recursion) */
{
  for (;;) {
    if (rl_rdd_is_persisted(r)) {
      rl_pull *input = rl_kept_open(r, p);
      if (!input) {
        chain own = {0};
        rl_status st = RL_OK;
        if (r->op->kind == RL_OP_NARROW) {
          chain_push_front(&own, r->op->fn);
          st = open_from(r->parents[0], p, task, &own, &input);
        } else {
          st = open_bottom(r, p, task, &own, &input);
        }
        rl_free(own.fns);
        if (st) return st;
        input = rl_kept_tee(input, r, p, task);
      }
      return open_chain(c, task, &input, 1, out);
    }
    if (r->op->kind != RL_OP_NARROW) return open_bottom(r, p, task, c, out);
    chain_push_front(c, r->op->fn);
    r = r->parents[0];
  }
}

rl_status rl_rdd_open(rl_rdd *r, uint32_t partition, const rl_task *task, rl_fn *const *tail, size_t n,
                      rl_pull **out) /* NOLINT(misc-no-recursion) */
{
  chain c = {0};
  while (n) chain_push_front(&c, tail[--n]);
  rl_status st = open_from(r, partition, task, &c, out);
  rl_free(c.fns);
  return st;
}
