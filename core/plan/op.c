#include "plan/op.h"

#include "base/mem.h"

rl_op *rl_op_new(const rl_op *like)
{
  rl_op *op = RL_NEW(rl_op);
  *op = *like;
  atomic_init(&op->refs, 1);
  op->name = rl_strdup(like->name ? like->name : "?");
  op->site = rl_strdup(like->site);
  op->uid = rl_strdup(like->uid);
  if (op->fn) rl_fn_ref(op->fn);
  if (op->map_fn) rl_fn_ref(op->map_fn);
  return op;
}

rl_op *rl_op_ref(rl_op *op)
{
  atomic_fetch_add_explicit(&op->refs, 1, memory_order_relaxed);
  return op;
}

void rl_op_unref(rl_op *op)
{
  if (!op || atomic_fetch_sub_explicit(&op->refs, 1, memory_order_acq_rel) != 1) return;
  rl_fn_unref(op->fn);
  rl_fn_unref(op->map_fn);
  rl_free(op->name);
  rl_free(op->site);
  rl_free(op->uid);
  rl_free(op);
}
