/* The order that sorting goes by: that of the first fields (rl_value_compare's, or its reverse).
 *
 * Keys are first compared by their image: 64 bits in the order of the keys. Where all keys are integers, or all are
 * floats, it says all; of byte strings it is their first eight, and equal images are followed by a look at the whole
 * keys; for all else it is 0. */
#ifndef RL_DATA_ORDER_H
#define RL_DATA_ORDER_H

#include "data/chunk.h"

typedef struct rl_order {
  rl_coltype kind; /* INT, FLOAT, BYTES when every key column is of it and without nil; else MIXED */
  bool descending;
} rl_order;

/* What all key columns are together: begin with RL_COL_NIL, go through the chunks, and make an order of it. */
rl_coltype rl_order_join(rl_coltype kind, rl_coltype more);
rl_coltype rl_order_kind(rl_coltype kind, const rl_chunk *c);
rl_order rl_order_of(rl_coltype kind, bool descending);

uint64_t rl_order_image(rl_order by, rl_value key);
int rl_order_keys(bool descending, rl_value a, rl_value b);

/* As the order says; the images are those of the keys. */
static inline int rl_order_compare(rl_order by, uint64_t image_a, rl_value a, uint64_t image_b, rl_value b)
{
  if (image_a != image_b) return image_a < image_b ? -1 : 1;
  if (by.kind == RL_COL_INT || by.kind == RL_COL_FLOAT) return 0;
  return rl_order_keys(by.descending, a, b);
}

#endif
