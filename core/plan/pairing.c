#include "plan/pairing.h"

#include <inttypes.h>

#include "base/mem.h"
#include "data/pair.h"
#include "store/spool.h"

/* An input at one of its records. */
typedef struct cursor {
  rl_pull *in;
  rl_chunk *chunk; /* NULL before the first record and at the end */
  uint32_t row;
  bool ended;
  rl_buf scratch;
} cursor;

/* Goes to the next record, if there is one. */
static rl_status advance(cursor *c)
{
  if (c->ended) return RL_OK;
  if (c->chunk && ++c->row < c->chunk->n) return RL_OK;
  rl_chunk_unref(c->chunk);
  c->chunk = NULL;
  c->row = 0;
  rl_status st = rl_pull_next(c->in, &c->chunk);
  if (!st) c->ended = !c->chunk;
  return st;
}

static rl_status current(cursor *c, rl_value *out) { return rl_record_pack(c->chunk, c->row, &c->scratch, out); }

static void cursor_close(cursor *c)
{
  rl_pull_close(c->in);
  rl_chunk_unref(c->chunk);
  rl_buf_free(&c->scratch);
}

static rl_status in_the_name_of(const rl_op *op, rl_status st)
{
  rl_error_prefix("%s%s%s: ", op->site ? op->site : "", op->site ? ": " : "", op->name);
  return st;
}

/* zip -------------------------------------------------------------------------------------------------------------- */

typedef struct zip {
  rl_pull base;
  const rl_op *op;
  uint32_t partition, n;
  bool uneven;
  uint64_t rows;
  rl_builder *builder;
  cursor inputs[];
} zip;

static rl_status differ(const zip *z)
{
  rl_fail(RL_EINVAL, "partition %" PRIu32 " of one RDD has %" PRIu64 " records and that of another more; zipPartitions "
          "can deal with that", z->partition, z->rows);
  return in_the_name_of(z->op, RL_EINVAL);
}

/* All inputs one record on; *left: how many still have one. */
static rl_status advance_all(zip *z, uint32_t *left)
{
  *left = 0;
  for (uint32_t i = 0; i < z->n; i++) {
    rl_status st = advance(&z->inputs[i]);
    if (st) return st;
    *left += !z->inputs[i].ended;
  }
  return RL_OK;
}

static rl_status add_row(zip *z)
{
  rl_value fields[RL_MAX_FIELDS];
  uint32_t at = 0;
  if (z->uneven) fields[at++] = rl_bool(true);
  for (uint32_t i = 0; i < z->n; i++, at++) {
    fields[at] = rl_nil();
    rl_status st = z->inputs[i].ended ? RL_OK : current(&z->inputs[i], &fields[at]);
    if (st) return in_the_name_of(z->op, st);
  }
  z->rows++;
  return rl_builder_add(z->builder, fields, at);
}

static rl_status zip_next(rl_pull *self, rl_chunk **out)
{
  zip *z = (zip *)self;
  *out = NULL;
  while (!rl_builder_full(z->builder)) {
    uint32_t left;
    rl_status st = advance_all(z, &left);
    if (!st && left > 0 && left < z->n && !z->uneven) st = differ(z);
    if (st) return st;
    if (left == 0) break;
    st = add_row(z);
    if (st) return st;
  }
  *out = rl_builder_finish(z->builder);
  return RL_OK;
}

static void zip_close(rl_pull *self)
{
  zip *z = (zip *)self;
  for (uint32_t i = 0; i < z->n; i++) cursor_close(&z->inputs[i]);
  rl_builder_delete(z->builder);
  rl_free(z);
}

static const rl_pull_class zip_class = {zip_next, zip_close};

rl_pull *rl_pull_zip(rl_pull *const *inputs, uint32_t n, bool uneven, const rl_op *op, uint32_t partition)
{
  zip *z = rl_alloc(sizeof *z + n * sizeof(cursor));
  z->base.cls = &zip_class;
  z->op = op;
  z->partition = partition;
  z->n = n;
  z->uneven = uneven;
  z->builder = rl_builder_new();
  for (uint32_t i = 0; i < n; i++) z->inputs[i].in = inputs[i];
  return &z->base;
}

/* cartesian -------------------------------------------------------------------------------------------------------- */

/* The right side is held as a list while it fits, and in a spool when it does not, which is read anew for each record of
 * the left. */
typedef struct product {
  rl_pull base;
  const rl_op *op;
  const rl_task *task;
  cursor left;
  rl_pull *right_in; /* NULL once it is read */
  rl_chunks right;
  size_t next;     /* chunk of the list */
  rl_spool *spool; /* NULL: it is the list */
  rl_pull *reading;
  rl_chunk *held; /* what was read of the spool last */
  const rl_chunk *now; /* of the right side, for the current record of the left; NULL: none is left */
  uint32_t row;
  rl_buf scratch;
  rl_builder *builder;
} product;

static rl_status hold(product *p, rl_chunk *c, size_t *bytes)
{
  *bytes += c->bytes;
  if (p->spool) return rl_spool_add(p->spool, c);
  rl_chunks_add(&p->right, c);
  if (*bytes <= p->task->quota) return RL_OK;
  p->spool = rl_spool_new(p->task->memory, RL_LEVEL_WORK);
  return rl_spool_add_list(p->spool, &p->right);
}

static rl_status read_right(product *p)
{
  size_t bytes = 0;
  rl_chunk *c = NULL;
  rl_status st;
  while ((st = rl_pull_next(p->right_in, &c)) == RL_OK && c)
    if ((st = hold(p, c, &bytes)) != RL_OK) break;
  if (st) return st;
  rl_pull_close(p->right_in);
  p->right_in = NULL;
  if (p->spool) rl_spool_seal(p->spool);
  if (!p->spool && p->right.n == 0) p->left.ended = true;
  return RL_OK;
}

static rl_status next_right(product *p)
{
  p->row = 0;
  p->now = NULL;
  if (!p->spool) {
    if (p->next < p->right.n) p->now = p->right.v[p->next++];
    return RL_OK;
  }
  rl_chunk_unref(p->held);
  p->held = NULL;
  rl_status st = p->reading ? rl_pull_next(p->reading, &p->held) : RL_OK;
  p->now = p->held;
  return st;
}

static rl_status next_left(product *p)
{
  rl_status st = advance(&p->left);
  if (st || p->left.ended) return st;
  p->next = 0;
  rl_pull_close(p->reading);
  p->reading = p->spool ? rl_spool_open(p->spool) : NULL;
  return next_right(p);
}

/* To the next combination; *any: is there one? */
static rl_status step(product *p, bool *any)
{
  rl_status st = p->right_in ? read_right(p) : RL_OK;
  if (!st && p->now && p->row == p->now->n) st = next_right(p);
  if (!st && !p->now) st = next_left(p);
  *any = !st && !p->left.ended;
  return st;
}

static rl_status combine(product *p)
{
  rl_value fields[2];
  rl_status st = current(&p->left, &fields[0]);
  if (!st) st = rl_record_pack(p->now, p->row++, &p->scratch, &fields[1]);
  if (st) return in_the_name_of(p->op, st);
  return rl_builder_add(p->builder, fields, 2);
}

static rl_status product_next(rl_pull *self, rl_chunk **out)
{
  product *p = (product *)self;
  *out = NULL;
  while (!rl_builder_full(p->builder)) {
    bool any;
    rl_status st = step(p, &any);
    if (st) return st;
    if (!any) break;
    st = combine(p);
    if (st) return st;
  }
  *out = rl_builder_finish(p->builder);
  return RL_OK;
}

static void product_close(rl_pull *self)
{
  product *p = (product *)self;
  cursor_close(&p->left);
  rl_pull_close(p->right_in);
  rl_pull_close(p->reading);
  rl_chunk_unref(p->held);
  rl_spool_unref(p->spool);
  rl_chunks_clear(&p->right);
  rl_buf_free(&p->scratch);
  rl_builder_delete(p->builder);
  rl_free(p);
}

static const rl_pull_class product_class = {product_next, product_close};

rl_pull *rl_pull_cartesian(rl_pull *left, rl_pull *right, const rl_op *op, const rl_task *task)
{
  product *p = RL_NEW(product);
  p->base.cls = &product_class;
  p->op = op;
  p->task = task;
  p->left.in = left;
  p->right_in = right;
  p->builder = rl_builder_new();
  return &p->base;
}
