/* Arrays of the values of each key, of each side (input), for generated code: see keyed.c.
 *
 *   gather              takes in a chunk; the values stay in it until the arrays of their key are made
 *   collect             likewise; what gets too much goes to the grouper, all of it
 *   groups, emitGroups  the keys with their arrays */
#include <lauxlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "keyed.h"
#include "values.h"

typedef rl_keyed_side side;
typedef rl_keyed_place place;

static rl_luaop *op_at(lua_State *L)
{
  return lua_touserdata(L, 1);
}

static void clear_side(side *s)
{
  rl_chunks_clear(&s->chunks);
  rl_free(s->numbers);
  rl_free(s->places);
  rl_free(s->ends);
  *s = (side){0};
}

void rl_grouped_delete(rl_keyed *k)
{
  for (size_t i = 0; i < k->nsides; i++) clear_side(&k->sides[i]);
  rl_free(k->sides);
}

/* Gathering -------------------------------------------------------------------------------------------------------- */

static side *side_at(rl_keyed *k, size_t i)
{
  while (k->nsides <= i) {
    k->sides = rl_grow(k->sides, &k->sides_cap, k->nsides + 1, sizeof *k->sides);
    k->sides[k->nsides++] = (side){0};
  }
  return &k->sides[i];
}

/* The value in the current row may not be nil. */
static void check_value(lua_State *L, rl_luaop *op, rl_value key)
{
  if (rl_chunk_arity(op->chunk, op->row) != 2 || !rl_column_is_nil(&op->chunk->cols[1], op->row)) return;
  rl_lua_push_value(L, key);
  rl_luaop_fail_absent(L, op, op->segment.consumer);
}

static void gather_chunk(lua_State *L, rl_luaop *op, rl_keyed *k, side *s)
{
  s->numbers = rl_grow(s->numbers, &s->cap, s->n + op->nrows, sizeof *s->numbers);
  for (; op->row < op->nrows; op->row++) {
    uint32_t number = rl_keyed_number(L, op);
    check_value(L, op, rl_keys_get(k->keys, number));
    s->numbers[s->n++] = number;
  }
  rl_chunks_add(&s->chunks, rl_chunk_ref(op->chunk));
}

/* while gather(op, side) do end: takes in a chunk. */
static int lib_gather(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = rl_keyed_of(op);
  side *s = side_at(k, (size_t)lua_tointeger(L, 2) - 1);
  if (!rl_luaop_refill(L, op)) return 0;
  gather_chunk(L, op, k, s);
  lua_pushboolean(L, true);
  return 1;
}

static rl_status put_chunk(rl_keyed *k, uint32_t number, const rl_chunk *c)
{
  rl_status st = RL_OK;
  for (uint32_t row = 0; row < c->n && st == RL_OK; row++) {
    rl_value pair[2];
    st = rl_pair_read(c, row, &k->pair, pair);
    if (st == RL_OK) st = rl_grouper_add(k->over, pair[0], number, pair[1]);
  }
  return st;
}

/* All that was gathered goes to the grouper, in the order in which it came. */
static rl_status put_all(rl_luaop *op, rl_keyed *k)
{
  rl_status st = RL_OK;
  k->over = rl_grouper_new(op->task);
  rl_keys_delete(k->keys);
  k->keys = rl_keys_new();
  for (uint32_t i = 0; i < k->nsides; i++) {
    side *s = &k->sides[i];
    for (size_t c = 0; c < s->chunks.n && st == RL_OK; c++) {
      st = put_chunk(k, i, s->chunks.v[c]);
      rl_chunk_unref(s->chunks.v[c]);
      s->chunks.v[c] = NULL;
      if (st == RL_OK) st = rl_task_check(op->task);
    }
    clear_side(s);
  }
  return st;
}

/* The current chunk, record by record. */
static void put_current(lua_State *L, rl_luaop *op, rl_keyed *k, uint32_t number)
{
  for (; op->row < op->nrows; op->row++) {
    rl_value pair[2];
    rl_keyed_pair(L, op, k, pair);
    check_value(L, op, pair[0]);
    if (rl_grouper_add(k->over, pair[0], number, pair[1]) != RL_OK) rl_keyed_fail(L, op);
  }
}

/* while collect(op, side) do end: takes in a chunk. */
static int lib_collect(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = rl_keyed_of(op);
  uint32_t number = (uint32_t)lua_tointeger(L, 2) - 1;
  side *s = side_at(k, number);
  if (!rl_luaop_refill(L, op)) return 0;
  if (k->over) {
    put_current(L, op, k, number);
  } else {
    gather_chunk(L, op, k, s);
    k->held += op->chunk->bytes + op->nrows * (sizeof(uint32_t) + sizeof(place));
    bool fits = k->held + rl_keys_bytes(k->keys) <= op->task->quota;
    if (!fits && put_all(op, k) != RL_OK) rl_keyed_fail(L, op);
  }
  lua_pushboolean(L, true);
  return 1;
}

/* In memory -------------------------------------------------------------------------------------------------------- */

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

static void push_arrays(lua_State *L, const rl_keyed *k, uint32_t number)
{
  for (size_t i = 0; i < k->nsides; i++) push_values(L, &k->sides[i], number);
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

static bool encode_arrays(rl_keyed *k, uint32_t number, rl_value *fields)
{
  size_t at = 0;
  rl_buf_clear(&k->scratch);
  for (size_t i = 0; i < k->nsides; i++) {
    if (!encode_values(&k->sides[i], number, &k->scratch)) return false;
    fields[i] = (rl_value){.type = RL_T_TABLE, .s = {NULL, k->scratch.n - at}};
    at = k->scratch.n;
  }
  at = 0;
  for (size_t i = 0; i < k->nsides; i++) {
    fields[i].s.p = k->scratch.p + at;
    at += fields[i].s.n;
  }
  return true;
}

/* From the grouper ------------------------------------------------------------------------------------------------- */

/* The arrays of a key, from the records that come of it. */
static void push_grouped(lua_State *L, rl_luaop *op, rl_keyed *k)
{
  int first = lua_gettop(L) + 1;
  lua_Integer n = 0;
  uint32_t side, last = UINT32_MAX;
  rl_value v;
  bool any = true;
  for (size_t i = 0; i < k->nsides; i++) lua_newtable(L);
  for (;;) {
    if (rl_groups_value(k->groups, &side, &v, &any) != RL_OK) rl_keyed_fail(L, op);
    if (!any) return;
    if (side != last) n = 0;
    last = side;
    rl_lua_push_value(L, v);
    lua_rawseti(L, first + (int)side, ++n);
  }
}

/* An array being encoded: room for its head, which says how many there are, is left in front. */
typedef struct array {
  rl_buf body;
  uint64_t n;
  bool nested;
} array;

#define HEAD_ROOM 16

static void add_value(array *a, rl_value v)
{
  static const char none[HEAD_ROOM];
  if (a->body.n == 0) rl_buf_add(&a->body, none, HEAD_ROOM);
  rl_put_value(&a->body, v);
  a->nested = a->nested || v.type >= RL_T_TUPLE;
  a->n++;
}

static rl_status end_array(array *a, rl_value *out)
{
  rl_buf head = {0};
  rl_put_table(&head, a->n);
  rl_put_varint(&a->body, 0);
  size_t from = HEAD_ROOM - head.n;
  memcpy(a->body.p + from, head.p, head.n);
  rl_buf_free(&head);
  *out = (rl_value){.type = RL_T_TABLE, .s = {a->body.p + from, a->body.n - from}};
  rl_reader r = {out->s.p, out->s.p + out->s.n};
  rl_value whole;
  return a->nested ? rl_get_value(&r, &whole) : RL_OK;
}

/* Reads the records of a key into arrays. They may take as much as a Lua state may. */
static rl_status read_arrays(rl_luaop *op, rl_keyed *k, array *arrays)
{
  int64_t most = op->w->config->max_memory;
  size_t bytes = 0;
  uint32_t side;
  rl_value v;
  bool any;
  for (;;) {
    rl_status st = rl_groups_value(k->groups, &side, &v, &any);
    if (st != RL_OK || !any) return st;
    size_t before = arrays[side].body.n;
    add_value(&arrays[side], v);
    bytes += arrays[side].body.n - before;
    if (most > 0 && bytes > (size_t)most)
      return rl_fail(RL_ELIMIT, "the values of key %s take more than %lld bytes (rille.task.maxMemory); reduceByKey or "
                     "aggregateByKey do not hold all values of a key", rl_keyed_key(op), (long long)most);
  }
}

static rl_status add_grouped(rl_luaop *op, rl_keyed *k, array *arrays)
{
  static const char none[HEAD_ROOM];
  rl_value fields[RL_MAX_FIELDS] = {k->key};
  rl_status st = read_arrays(op, k, arrays);
  for (size_t i = 0; i < k->nsides && st == RL_OK; i++) {
    if (arrays[i].n == 0) rl_buf_add(&arrays[i].body, none, HEAD_ROOM);
    st = end_array(&arrays[i], &fields[i + 1]);
  }
  return st == RL_OK ? rl_builder_add(op->builder, fields, (uint32_t)k->nsides + 1) : st;
}

static rl_status emit_grouped(rl_luaop *op, rl_keyed *k)
{
  array *arrays = rl_calloc(k->nsides, sizeof *arrays);
  rl_status st = add_grouped(op, k, arrays);
  for (size_t i = 0; i < k->nsides; i++) rl_buf_free(&arrays[i].body);
  rl_free(arrays);
  return st;
}

/* What follows ----------------------------------------------------------------------------------------------------- */

/* To the next key; its number where it is in memory. False: there is none. */
static bool next_key(lua_State *L, rl_luaop *op, rl_keyed *k, uint32_t *number)
{
  k->making = false;
  rl_keyed_end_input(L, op, k);
  if (k->groups) {
    if (rl_groups_next(k->groups, &k->key, &k->making) != RL_OK) rl_keyed_fail(L, op);
    return k->making;
  }
  arrange(k);
  *number = k->given;
  k->making = k->given < rl_keys_count(k->keys);
  if (!k->making) return false;
  k->given++;
  k->key = rl_keys_get(k->keys, *number);
  return true;
}

static int push_group(lua_State *L, rl_luaop *op, rl_keyed *k, uint32_t number)
{
  luaL_checkstack(L, (int)k->nsides + 8, NULL);
  rl_lua_push_value(L, k->key);
  if (k->groups) push_grouped(L, op, k);
  else push_arrays(L, k, number);
  return (int)k->nsides + 1;
}

/* for k, values... in groups, op */
static int lib_groups(lua_State *L)
{
  uint32_t number = 0;
  rl_luaop *op = op_at(L);
  rl_keyed *k = rl_keyed_of(op);
  if (!next_key(L, op, k, &number)) return 0;
  int n = push_group(L, op, k, number);
  k->making = false;
  return n;
}

static void emit_arranged(lua_State *L, rl_luaop *op, rl_keyed *k, uint32_t number)
{
  rl_value fields[RL_MAX_FIELDS] = {k->key};
  uint32_t n = (uint32_t)k->nsides + 1;
  if (encode_arrays(k, number, fields + 1) && rl_builder_add(op->builder, fields, n) == RL_OK) return;
  int first = lua_gettop(L) + 1;
  push_group(L, op, k, number);
  rl_luaop_add(L, op, first); /* raises, in the words of what Lua gives */
  lua_settop(L, first - 1);
}

/* repeat until emitGroups(op): all keys with their arrays. */
static int lib_emit_groups(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = rl_keyed_of(op);
  uint32_t number = 0;
  while (next_key(L, op, k, &number)) {
    if (!k->groups) emit_arranged(L, op, k, number);
    else if (emit_grouped(op, k) != RL_OK) rl_luaop_fail_record(L, op);
    k->making = false;
    if (rl_builder_full(op->builder)) return rl_luaop_hand_over(L, op);
  }
  lua_pushboolean(L, true);
  return 1;
}

void rl_keyed_push_values(lua_State *L, rl_luaop *op, size_t side, uint32_t number)
{
  rl_keyed *k = rl_keyed_of(op);
  side_at(k, side);
  arrange(k);
  push_values(L, &k->sides[side], number);
}

void rl_grouped_add_library(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"collect", lib_collect}, {"emitGroups", lib_emit_groups}, {"gather", lib_gather}, {"groups", lib_groups},
      {NULL, NULL},
  };
  luaL_setfuncs(L, functions, 0);
}
