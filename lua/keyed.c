/* Aggregation by key over the input of a segment, for generated code (stdlib/rille/kinds.lua). The keys are kept
 * outside of Lua's heap and numbered in the order of first sight, so a record makes no string, no entry of a Lua table
 * and no work for the collector.
 *
 *   slots, keys, emitSlots      a Lua value is gathered for each key: the code keeps it in an array, by number from 1
 *   gather, groups, emitGroups  the values themselves are, of each side (input): they stay in their chunks until the
 *                               arrays of their key are made
 *   emitPairs                   what was gathered in Lua's tables */
#include <lauxlib.h>

#include "base/mem.h"
#include "data/codec.h"
#include "data/keys.h"
#include "operator.h"
#include "values.h"

typedef struct place {
  uint32_t chunk, row;
} place;

typedef struct side {
  rl_chunks chunks;
  uint32_t *numbers; /* of the key of each record, in the order of arrival */
  size_t n, cap;
  place *places; /* of the records, by key */
  size_t *ends;  /* of each key's records in `places` */
} side;

struct rl_keyed {
  rl_keys *keys;
  uint32_t numbers[RL_KEYS_AT_ONCE]; /* of the keys of rows [row, row + nrows) of the chunk being read */
  uint32_t row, nrows;
  side *sides;
  size_t nsides, sides_cap;
  bool arranged;
  uint32_t given; /* how many keys have gone to what follows */
  rl_buf scratch;
};

static rl_luaop *op_at(lua_State *L)
{
  return lua_touserdata(L, 1);
}

static rl_keyed *keyed_of(rl_luaop *op)
{
  if (!op->keyed) {
    op->keyed = RL_NEW(rl_keyed);
    op->keyed->keys = rl_keys_new();
  }
  return op->keyed;
}

void rl_keyed_delete(rl_keyed *k)
{
  if (!k) return;
  for (size_t i = 0; i < k->nsides; i++) {
    rl_chunks_clear(&k->sides[i].chunks);
    rl_free(k->sides[i].numbers);
    rl_free(k->sides[i].places);
    rl_free(k->sides[i].ends);
  }
  rl_free(k->sides);
  rl_keys_delete(k->keys);
  rl_buf_free(&k->scratch);
  rl_free(k);
}

/* Keys of such a column are normalised as they stand. */
static bool is_plain(const rl_column *c)
{
  return (c->type == RL_COL_INT || c->type == RL_COL_BYTES) && !c->nulls;
}

/* Numbers the keys of some rows from the current one on. */
static void number_rows(lua_State *L, rl_luaop *op, rl_keyed *k)
{
  const rl_chunk *c = op->chunk;
  rl_value keys[RL_KEYS_AT_ONCE];
  uint32_t n = is_plain(&c->cols[0]) && !c->arity ? op->nrows - op->row : 1;
  if (rl_chunk_arity(c, op->row) < 2) rl_luaop_fail_row(L, op);
  if (n > RL_KEYS_AT_ONCE) n = RL_KEYS_AT_ONCE;
  for (uint32_t i = 0; i < n; i++) keys[i] = rl_chunk_get(c, 0, op->row + i);
  if (n == 1 && rl_key_normalise(&keys[0], &k->scratch) != RL_OK) {
    rl_error_prefix("a "); /* "key is NaN" */
    rl_luaop_fail_key(L, op, op->segment.consumer, rl_error_message());
  }
  if (rl_keys_put_all(k->keys, keys, n, k->numbers) != RL_OK) rl_luaop_raise(L, op);
  k->row = op->row;
  k->nrows = n;
}

/* The number of the current row's key. */
static inline uint32_t number_of_row(lua_State *L, rl_luaop *op, rl_keyed *k)
{
  if (op->row == 0 || op->row - k->row >= k->nrows) number_rows(L, op, k);
  return k->numbers[op->row - k->row];
}

/* One Lua value a key ---------------------------------------------------------------------------------------------- */

/* for n, v in slots, op: the number of each record's key, and its value. */
static int lib_slots(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (!rl_luaop_advance(L, op)) return 0;
  lua_pushinteger(L, (lua_Integer)number_of_row(L, op, keyed_of(op)) + 1);
  rl_luaop_push_paired(L, op->chunk, op->row);
  return 2;
}

/* for n, k in keys, op */
static int lib_keys(lua_State *L)
{
  rl_keyed *k = keyed_of(op_at(L));
  if (k->given == rl_keys_count(k->keys)) return 0;
  rl_value key = rl_keys_get(k->keys, k->given++);
  lua_pushinteger(L, k->given);
  rl_lua_push_value(L, key);
  return 2;
}

/* Adds (key, the value on top), which is popped; `none` lies at 2 and stands for nil. */
static void add_pair(lua_State *L, rl_luaop *op, rl_value key)
{
  rl_value fields[2] = {key, rl_nil()};
  int top = lua_gettop(L);
  if (rl_luaop_plain_value(L, top, &fields[1]) || lua_rawequal(L, top, 2)) {
    if (rl_builder_add(op->builder, fields, 2) != RL_OK) rl_luaop_fail_record(L, op);
  } else {
    rl_lua_push_value(L, key);
    lua_insert(L, top);
    rl_luaop_add(L, op, top);
  }
  lua_settop(L, top - 1);
}

/* repeat until emitSlots(op, none, vals): all keys with their values. */
static int lib_emit_slots(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = keyed_of(op);
  while (k->given < rl_keys_count(k->keys)) {
    if (rl_builder_full(op->builder)) return rl_luaop_hand_over(L, op);
    lua_rawgeti(L, 3, (lua_Integer)k->given + 1);
    add_pair(L, op, rl_keys_get(k->keys, k->given++));
  }
  lua_pushboolean(L, true);
  return 1;
}

/* repeat until emitPairs(op, none, vals, keys, n): the first n keys with their values. */
static int lib_emit_pairs(lua_State *L)
{
  rl_luaop *op = op_at(L);
  lua_Integer n = lua_tointeger(L, 5);
  while (op->emitted < n) {
    if (rl_builder_full(op->builder)) return rl_luaop_hand_over(L, op);
    rl_value key;
    lua_rawgeti(L, 4, ++op->emitted);
    lua_pushvalue(L, -1);
    lua_rawget(L, 3);
    if (rl_luaop_plain_value(L, -2, &key)) {
      add_pair(L, op, key);
    } else {
      if (lua_rawequal(L, -1, 2)) {
        lua_pushnil(L);
        lua_replace(L, -2);
      }
      rl_luaop_add(L, op, lua_gettop(L) - 1);
    }
    lua_settop(L, 5);
  }
  op->emitted = 0;
  lua_pushboolean(L, true);
  return 1;
}

/* The values ------------------------------------------------------------------------------------------------------- */

static side *side_at(rl_keyed *k, size_t i)
{
  while (k->nsides <= i) {
    k->sides = rl_grow(k->sides, &k->sides_cap, k->nsides + 1, sizeof *k->sides);
    k->sides[k->nsides++] = (side){0};
  }
  return &k->sides[i];
}

static void gather_row(lua_State *L, rl_luaop *op, rl_keyed *k, side *s)
{
  uint32_t number = number_of_row(L, op, k);
  if (rl_chunk_arity(op->chunk, op->row) == 2 && rl_column_is_nil(&op->chunk->cols[1], op->row)) {
    rl_lua_push_value(L, rl_keys_get(k->keys, number));
    rl_luaop_fail_absent(L, op, op->segment.consumer);
  }
  s->numbers[s->n++] = number;
}

/* while gather(op, side) do end: takes in a chunk. */
static int lib_gather(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = keyed_of(op);
  side *s = side_at(k, (size_t)lua_tointeger(L, 2) - 1);
  if (!rl_luaop_refill(L, op)) return 0;
  s->numbers = rl_grow(s->numbers, &s->cap, s->n + op->nrows, sizeof *s->numbers);
  for (; op->row < op->nrows; op->row++) gather_row(L, op, k, s);
  rl_chunks_add(&s->chunks, rl_chunk_ref(op->chunk));
  lua_pushboolean(L, true);
  return 1;
}

/* Brings the places of the records into the order of their keys: sorted by counting. */
static void arrange_side(side *s, uint32_t keys)
{
  s->ends = rl_calloc((size_t)keys + 1, sizeof *s->ends);
  s->places = rl_calloc(s->n + 1, sizeof *s->places);
  for (size_t i = 0; i < s->n; i++) s->ends[s->numbers[i] + 1]++;
  for (uint32_t i = 0; i < keys; i++) s->ends[i + 1] += s->ends[i];
  size_t at = 0; /* ends[key] is where its next one goes, and so its end when all are there */
  for (uint32_t c = 0; c < s->chunks.n; c++) {
    for (uint32_t row = 0; row < s->chunks.v[c]->n; row++) s->places[s->ends[s->numbers[at++]]++] = (place){c, row};
  }
  rl_free(s->numbers);
  s->numbers = NULL;
}

static void arrange(rl_keyed *k)
{
  if (k->arranged) return;
  for (size_t i = 0; i < k->nsides; i++) arrange_side(&k->sides[i], rl_keys_count(k->keys));
  k->arranged = true;
}

/* The number of the next key, its arrays to be made; false when there is none. */
static bool next_group(rl_keyed *k, uint32_t *number)
{
  uint32_t keys = rl_keys_count(k->keys);
  arrange(k);
  *number = k->given;
  return k->given < keys && ++k->given;
}

static const place *values_of(const side *s, uint32_t number, size_t *n)
{
  size_t from = number > 0 ? s->ends[number - 1] : 0;
  *n = s->ends[number] - from;
  return s->places + from;
}

static void push_values(lua_State *L, const side *s, uint32_t number)
{
  size_t n;
  const place *p = values_of(s, number, &n);
  lua_createtable(L, n > INT32_MAX ? INT32_MAX : (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    rl_luaop_push_paired(L, s->chunks.v[p[i].chunk], p[i].row);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static int push_group(lua_State *L, const rl_keyed *k, uint32_t number)
{
  luaL_checkstack(L, (int)k->nsides + 8, NULL);
  rl_lua_push_value(L, rl_keys_get(k->keys, number));
  for (size_t i = 0; i < k->nsides; i++) push_values(L, &k->sides[i], number);
  return (int)k->nsides + 1;
}

/* for k, values... in groups, op */
static int lib_groups(lua_State *L)
{
  uint32_t number;
  rl_keyed *k = keyed_of(op_at(L));
  return next_group(k, &number) ? push_group(L, k, number) : 0;
}

/* The values as an encoded array; false when it cannot be one. */
static bool encode_values(const side *s, uint32_t number, rl_buf *out)
{
  size_t n, start = out->n;
  const place *p = values_of(s, number, &n);
  bool nested = false;
  rl_put_table(out, n);
  for (size_t i = 0; i < n; i++) {
    const rl_chunk *c = s->chunks.v[p[i].chunk];
    uint32_t arity = rl_chunk_arity(c, p[i].row);
    if (arity > 2) rl_put_tuple(out, arity - 1);
    for (uint32_t col = 1; col < arity; col++) {
      rl_value v = rl_chunk_get(c, col, p[i].row);
      nested = nested || v.type >= RL_T_TUPLE;
      rl_put_value(out, v);
    }
  }
  rl_put_varint(out, 0);
  rl_reader r = {out->p + start, out->p + out->n};
  rl_value whole;
  return out->n - start <= RL_CODEC_MAX_BYTES && (!nested || rl_get_value(&r, &whole) == RL_OK);
}

static bool add_encoded(rl_luaop *op, rl_keyed *k, uint32_t number)
{
  rl_value fields[RL_MAX_FIELDS];
  size_t at = 0;
  fields[0] = rl_keys_get(k->keys, number);
  rl_buf_clear(&k->scratch);
  for (size_t i = 0; i < k->nsides; i++) {
    if (!encode_values(&k->sides[i], number, &k->scratch)) return false;
    fields[i + 1] = (rl_value){.type = RL_T_TABLE, .s = {NULL, k->scratch.n - at}};
    at = k->scratch.n;
  }
  at = 0;
  for (size_t i = 1; i <= k->nsides; i++) {
    fields[i].s.p = k->scratch.p + at;
    at += fields[i].s.n;
  }
  return rl_builder_add(op->builder, fields, (uint32_t)k->nsides + 1) == RL_OK;
}

/* repeat until emitGroups(op): all keys with their arrays. */
static int lib_emit_groups(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = keyed_of(op);
  uint32_t number;
  while (next_group(k, &number)) {
    if (!add_encoded(op, k, number)) {
      int first = lua_gettop(L) + 1;
      push_group(L, k, number);
      rl_luaop_add(L, op, first); /* raises, in the words of what Lua gives */
      lua_settop(L, first - 1);
    }
    if (rl_builder_full(op->builder)) return rl_luaop_hand_over(L, op);
  }
  lua_pushboolean(L, true);
  return 1;
}

rl_keys *rl_keyed_keys(rl_luaop *op) { return keyed_of(op)->keys; }
uint32_t rl_keyed_number(lua_State *L, rl_luaop *op) { return number_of_row(L, op, keyed_of(op)); }

void rl_keyed_push_values(lua_State *L, rl_luaop *op, size_t side, uint32_t number)
{
  rl_keyed *k = keyed_of(op);
  side_at(k, side);
  arrange(k);
  push_values(L, &k->sides[side], number);
}

void rl_keyed_add_library(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"emitGroups", lib_emit_groups}, {"emitPairs", lib_emit_pairs}, {"emitSlots", lib_emit_slots},
      {"gather", lib_gather}, {"groups", lib_groups}, {"keys", lib_keys}, {"slots", lib_slots},
      {NULL, NULL},
  };
  luaL_setfuncs(L, functions, 0);
}
