/* Aggregation by key over the input of a segment, for generated code (stdlib/rille/kinds.lua). The keys are kept
 * outside of Lua's heap and numbered in the order of first sight, so a record makes no string, no entry of a Lua table
 * and no work for the collector.
 *
 *   slots, keys, emitSlots      a Lua value is gathered for each key: the code keeps it in an array, by number from 1
 *   folds, more                 slots, in rounds: when there are many keys, further ones come in later rounds
 *   gather, groups, emitGroups  grouped.c
 *   emitPairs                   what was gathered in Lua's tables */
#include <lauxlib.h>

#include "base/mem.h"
#include "keyed.h"
#include "values.h"

#define SHOWN 200      /* bytes of a key that a message shows */
#define ROUND_KEYS 4096 /* that come in a later round */

static rl_luaop *op_at(lua_State *L)
{
  return lua_touserdata(L, 1);
}

rl_keyed *rl_keyed_of(rl_luaop *op)
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
  rl_grouped_delete(k);
  rl_grouper_delete(k->over);
  rl_groups_delete(k->groups);
  rl_keys_delete(k->keys);
  rl_buf_free(&k->scratch);
  rl_buf_free(&k->text);
  rl_pair_scratch_free(&k->pair);
  rl_free(k);
}

/* Failing ---------------------------------------------------------------------------------------------------------- */

int rl_keyed_fail(lua_State *L, rl_luaop *op)
{
  const rl_step *step = rl_luaop_step(op, op->segment.consumer);
  if (step) rl_error_prefix("%s%s%s: ", step->site ? step->site : "", step->site ? ": " : "", step->name);
  return rl_luaop_raise(L, op);
}

const char *rl_keyed_key(rl_luaop *op)
{
  rl_keyed *k = op->keyed;
  if (!k || !k->making) return NULL;
  rl_buf_clear(&k->text);
  rl_value_format(k->key, &k->text);
  if (k->text.n > SHOWN) {
    k->text.n = SHOWN;
    rl_buf_puts(&k->text, "...");
  }
  return rl_buf_cstr(&k->text);
}

static int fail_key(lua_State *L, rl_luaop *op)
{
  rl_error_prefix("a "); /* "key is NaN" */
  return rl_luaop_fail_key(L, op, op->segment.consumer, rl_error_message());
}

/* Numbers ---------------------------------------------------------------------------------------------------------- */

/* Keys of such a column are normalised as they stand. */
static bool is_plain(const rl_column *c)
{
  return (c->type == RL_COL_INT || c->type == RL_COL_BYTES) && !c->nulls;
}

/* Are there so many keys that further ones are better left for later? They may take half of the task's share; what is
 * kept for them, half of what the state may hold. */
static bool are_many(const rl_luaop *op, const rl_keyed *k)
{
  int64_t most = op->w->config->max_memory;
  return rl_keys_bytes(k->keys) > op->task->quota / 2 || (most > 0 && op->w->used > (size_t)most / 2);
}

/* Numbers of keys that are known; RL_NO_NUMBER for the others. */
static void look_up(const rl_keyed *k, const rl_value *keys, uint32_t n, uint32_t *numbers)
{
  for (uint32_t i = 0; i < n; i++)
    if (!rl_keys_find(k->keys, keys[i], &numbers[i])) numbers[i] = RL_NO_NUMBER;
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
  if (n == 1 && rl_key_normalise(&keys[0], &k->scratch) != RL_OK) fail_key(L, op);
  if (k->bounded && !k->full) k->full = rl_keys_count(k->keys) > 0 && are_many(op, k);
  if (k->full) look_up(k, keys, n, k->numbers);
  else if (rl_keys_put_all(k->keys, keys, n, k->numbers) != RL_OK) rl_luaop_raise(L, op);
  k->row = op->row;
  k->nrows = n;
}

/* The number of the current row's key. */
static inline uint32_t number_of_row(lua_State *L, rl_luaop *op, rl_keyed *k)
{
  if (op->row == 0 || op->row - k->row >= k->nrows) number_rows(L, op, k);
  return k->numbers[op->row - k->row];
}

uint32_t rl_keyed_number(lua_State *L, rl_luaop *op) { return number_of_row(L, op, rl_keyed_of(op)); }
rl_keys *rl_keyed_keys(rl_luaop *op) { return rl_keyed_of(op)->keys; }

void rl_keyed_pair(lua_State *L, rl_luaop *op, rl_keyed *k, rl_value pair[2])
{
  if (rl_chunk_arity(op->chunk, op->row) < 2) rl_luaop_fail_row(L, op);
  rl_value key = rl_chunk_get(op->chunk, 0, op->row);
  if (rl_key_normalise(&key, &k->scratch) != RL_OK) fail_key(L, op);
  if (rl_pair_read(op->chunk, op->row, &k->pair, pair) != RL_OK) rl_keyed_fail(L, op);
}

/* One Lua value a key ---------------------------------------------------------------------------------------------- */

/* for n, v in slots, op: the number of each record's key, and its value. */
static int lib_slots(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (!rl_luaop_advance(L, op)) return 0;
  lua_pushinteger(L, (lua_Integer)number_of_row(L, op, rl_keyed_of(op)) + 1);
  rl_luaop_push_paired(L, op->chunk, op->row);
  return 2;
}

/* The current row's key is one for later. */
static void put_off(lua_State *L, rl_luaop *op, rl_keyed *k)
{
  rl_value pair[2];
  rl_keyed_pair(L, op, k, pair);
  if (!k->over) k->over = rl_grouper_new(op->task);
  if (rl_grouper_add(k->over, pair[0], 0, pair[1]) != RL_OK) rl_keyed_fail(L, op);
}

void rl_keyed_end_input(lua_State *L, rl_luaop *op, rl_keyed *k)
{
  if (!k->over) return;
  if (rl_grouper_finish(k->over, &k->groups) != RL_OK) rl_keyed_fail(L, op);
  rl_grouper_delete(k->over);
  k->over = NULL;
}

/* A record of a later round: they come key by key. */
static int next_put_off(lua_State *L, rl_luaop *op, rl_keyed *k)
{
  for (;;) {
    rl_value v;
    uint32_t side, number;
    bool any;
    if (rl_groups_value(k->groups, &side, &v, &any) != RL_OK) rl_keyed_fail(L, op);
    if (any) {
      lua_pushinteger(L, (lua_Integer)rl_keys_count(k->keys));
      rl_lua_push_value(L, v);
      return 2;
    }
    if (rl_keys_count(k->keys) >= ROUND_KEYS || (rl_keys_count(k->keys) > 0 && are_many(op, k))) return 0;
    if (rl_groups_next(k->groups, &v, &any) != RL_OK) rl_keyed_fail(L, op);
    k->ended = !any;
    if (!any) return 0;
    if (rl_keys_put(k->keys, v, &number) != RL_OK) rl_keyed_fail(L, op);
  }
}

/* for n, v in folds, op: as slots, but for keys that are put off. */
static int lib_folds(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = rl_keyed_of(op);
  if (k->groups) return next_put_off(L, op, k);
  k->bounded = true;
  while (rl_luaop_advance(L, op)) {
    uint32_t number = number_of_row(L, op, k);
    if (number != RL_NO_NUMBER) {
      lua_pushinteger(L, (lua_Integer)number + 1);
      rl_luaop_push_paired(L, op->chunk, op->row);
      return 2;
    }
    put_off(L, op, k);
  }
  return 0;
}

/* repeat ... until not more(op): begins another round; false when there is nothing for it. */
static int lib_more(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_keyed *k = rl_keyed_of(op);
  rl_keyed_end_input(L, op, k);
  bool more = k->groups && !k->ended;
  if (more) {
    rl_keys_delete(k->keys);
    k->keys = rl_keys_new();
    k->given = 0;
  }
  lua_pushboolean(L, more);
  return 1;
}

/* for n, k in keys, op */
static int lib_keys(lua_State *L)
{
  rl_keyed *k = rl_keyed_of(op_at(L));
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
  rl_keyed *k = rl_keyed_of(op);
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

void rl_keyed_add_library(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"emitPairs", lib_emit_pairs}, {"emitSlots", lib_emit_slots}, {"folds", lib_folds}, {"keys", lib_keys},
      {"more", lib_more}, {"slots", lib_slots},
      {NULL, NULL},
  };
  luaL_setfuncs(L, functions, 0);
  rl_grouped_add_library(L);
}
