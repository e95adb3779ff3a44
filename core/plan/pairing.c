#include "plan/pairing.h"

#include <inttypes.h>

#include "base/mem.h"
#include "data/pair.h"

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

typedef struct product {
  rl_pull base;
  const rl_op *op;
  cursor left;
  rl_pull *right_in; /* NULL once it is read */
  rl_chunks right;
  size_t chunk; /* of the right side, for the current record of the left */
  uint32_t row;
  rl_buf scratch;
  rl_builder *builder;
} product;

static rl_status read_right(product *p)
{
  rl_status st = rl_pull_drain(p->right_in, &p->right);
  if (st) return st;
  rl_pull_close(p->right_in);
  p->right_in = NULL;
  p->chunk = p->right.n;
  if (p->right.n == 0) p->left.ended = true;
  return RL_OK;
}

/* To the next combination; *any: is there one? */
static rl_status step(product *p, bool *any)
{
  rl_status st = p->right_in ? read_right(p) : RL_OK;
  if (!st && p->chunk == p->right.n) {
    p->chunk = 0;
    p->row = 0;
    st = advance(&p->left);
  }
  *any = !st && !p->left.ended;
  return st;
}

static rl_status combine(product *p)
{
  rl_value fields[2];
  const rl_chunk *c = p->right.v[p->chunk];
  rl_status st = current(&p->left, &fields[0]);
  if (!st) st = rl_record_pack(c, p->row, &p->scratch, &fields[1]);
  if (st) return in_the_name_of(p->op, st);
  if (++p->row == c->n) {
    p->row = 0;
    p->chunk++;
  }
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
  rl_chunks_clear(&p->right);
  rl_buf_free(&p->scratch);
  rl_builder_delete(p->builder);
  rl_free(p);
}

static const rl_pull_class product_class = {product_next, product_close};

rl_pull *rl_pull_cartesian(rl_pull *left, rl_pull *right, const rl_op *op)
{
  product *p = RL_NEW(product);
  p->base.cls = &product_class;
  p->op = op;
  p->left.in = left;
  p->right_in = right;
  p->builder = rl_builder_new();
  return &p->base;
}
