#include "data/order.h"

#include <math.h>
#include <string.h>

#define SIGN_BIT (UINT64_C(1) << 63)

rl_coltype rl_order_join(rl_coltype kind, rl_coltype more)
{
  if (kind == RL_COL_NIL || more == RL_COL_NIL) return kind == RL_COL_NIL ? more : kind;
  return kind == more ? kind : RL_COL_MIXED;
}

rl_coltype rl_order_kind(rl_coltype kind, const rl_chunk *c)
{
  if (c->n == 0) return kind;
  const rl_column *k = &c->cols[0];
  return rl_order_join(kind, k->nulls || k->type == RL_COL_NIL ? RL_COL_MIXED : k->type);
}

rl_order rl_order_of(rl_coltype kind, bool descending)
{
  bool imaged = kind == RL_COL_INT || kind == RL_COL_FLOAT || kind == RL_COL_BYTES;
  return (rl_order){imaged ? kind : RL_COL_MIXED, descending};
}

static uint64_t float_image(double f)
{
  if (isnan(f)) return UINT64_MAX;
  if (f == 0) f = 0; /* both zeros are equal */
  uint64_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits & SIGN_BIT ? ~bits : bits | SIGN_BIT;
}

static uint64_t bytes_image(const char *p, size_t n)
{
  uint64_t image = 0;
  for (size_t i = 0; i < sizeof image; i++) image = image << 8 | (i < n ? (unsigned char)p[i] : 0u);
  return image;
}

uint64_t rl_order_image(rl_order by, rl_value key)
{
  uint64_t image = 0;
  if (by.kind == RL_COL_INT) image = (uint64_t)key.i ^ SIGN_BIT;
  else if (by.kind == RL_COL_FLOAT) image = float_image(key.f);
  else if (by.kind == RL_COL_BYTES) image = bytes_image(key.s.p, key.s.n);
  return by.descending ? ~image : image;
}

int rl_order_keys(bool descending, rl_value a, rl_value b)
{
  int c = rl_value_compare(a, b);
  return descending ? (c < 0) - (c > 0) : c;
}
