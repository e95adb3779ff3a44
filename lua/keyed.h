/* Aggregation by key: shared by keyed.c (keys and their numbers, one Lua value a key) and grouped.c (arrays of values);
 * private to them.
 *
 * What takes too much goes to a grouper (store/grouper.h), and comes back key by key, keys in the order of first sight.
 * The records that come out are the same, and in the same order, as if everything had fitted. */
#ifndef RL_LUA_KEYED_H
#define RL_LUA_KEYED_H

#include "data/keys.h"
#include "data/pair.h"
#include "operator.h"
#include "store/grouper.h"

#define RL_NO_NUMBER UINT32_MAX

typedef struct rl_keyed_place {
  uint32_t chunk, row;
} rl_keyed_place;

/* The records of one input. */
typedef struct rl_keyed_side {
  rl_chunks chunks;
  uint32_t *numbers; /* of the key of each record, in the order of arrival */
  size_t n, cap;
  rl_keyed_place *places; /* of the records, by key */
  size_t *ends;           /* of each key's records in `places` */
} rl_keyed_side;

struct rl_keyed {
  rl_keys *keys;
  uint32_t numbers[RL_KEYS_AT_ONCE]; /* of the keys of rows [row, row + nrows) of the chunk being read */
  uint32_t row, nrows;
  uint32_t given; /* how many keys have gone to what follows */
  rl_buf scratch;
  rl_pair_scratch pair;

  rl_keyed_side *sides;
  size_t nsides, sides_cap;
  bool arranged;

  /* What does not fit. */
  bool bounded; /* keys may go to the grouper: those that come when there are many have RL_NO_NUMBER */
  bool full;    /* there are many */
  size_t held;  /* bytes of what the sides have */
  rl_grouper *over;
  rl_groups *groups; /* once all is in */
  bool ended;        /* they have */

  bool making; /* the arrays of a key: */
  rl_value key;
  rl_buf text;
};

rl_keyed *rl_keyed_of(rl_luaop *op);
uint32_t rl_keyed_number(lua_State *L, rl_luaop *op);
/* The current row as key, normalised, and value, both views; raises for what is none. */
void rl_keyed_pair(lua_State *L, rl_luaop *op, rl_keyed *k, rl_value pair[2]);
/* All is in what has gone to the grouper, if anything has: to k->groups with it. Raises. */
void rl_keyed_end_input(lua_State *L, rl_luaop *op, rl_keyed *k);
/* An operation on the grouper has failed: raises, in the name of the step. */
int rl_keyed_fail(lua_State *L, rl_luaop *op);

void rl_grouped_add_library(lua_State *L);
void rl_grouped_delete(rl_keyed *k); /* the sides */

#endif
