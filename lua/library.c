/* What generated code (stdlib/rille/fuse.lua) calls. Most take `op` first; steps are named by number. */
#include <lauxlib.h>
#include <math.h>

#include "data/codec.h"
#include "operator.h"
#include "recognise.h"
#include "values.h"

#define SHOWN 200 /* bytes of a record that a message shows */

static rl_luaop *op_at(lua_State *L)
{
  return lua_touserdata(L, 1);
}

static int fail_nil(lua_State *L, rl_luaop *op, lua_Integer producer)
{
  return rl_luaop_fail(L, op, producer,
      "the function given to %s returned nil; return a value, or leave the record out with filter",
      rl_luaop_name(op, producer));
}

static int fail_long(lua_State *L, rl_luaop *op, lua_Integer producer)
{
  return rl_luaop_fail(L, op, producer, "the function given to %s returned more than %d values",
                       rl_luaop_name(op, producer), RL_MAX_FIELDS);
}

/* The record's text is in op->text. */
static int fail_single(lua_State *L, rl_luaop *op, lua_Integer consumer)
{
  int n = (int)(op->text.n > SHOWN ? SHOWN : op->text.n);
  return rl_luaop_fail(L, op, consumer,
      "%s needs (key, value) records, but got a record of one value: %.*s; return key, value before it",
                       rl_luaop_name(op, consumer), n, n ? op->text.p : "");
}

int rl_luaop_fail_row(lua_State *L, rl_luaop *op)
{
  rl_buf_clear(&op->text);
  rl_chunk_format(op->chunk, op->row, &op->text);
  return fail_single(L, op, op->segment.consumer);
}

int rl_luaop_fail_record(lua_State *L, rl_luaop *op)
{
  const rl_step *step = rl_luaop_step(op, op->segment.producer);
  if (step) rl_error_prefix("%s%s%s: ", step->site ? step->site : "", step->site ? ": " : "", step->name);
  return rl_luaop_raise(L, op);
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

static inline void push_cell(lua_State *L, const rl_chunk *c, uint32_t col, uint32_t row)
{
  const rl_column *k = &c->cols[col];
  if (!k->nulls && k->type == RL_COL_BYTES)
    lua_pushlstring(L, k->data->data + k->s[row].at, k->s[row].n);
  else if (!k->nulls && k->type == RL_COL_INT)
    lua_pushinteger(L, k->i[row]);
  else
    rl_lua_push_value(L, rl_chunk_get(c, col, row));
}

/* for v1, v2, ... in read, op: as many fields as the code has variables. */
static int lib_read(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (!rl_luaop_advance(L, op)) return 0;
  uint32_t n = (uint32_t)op->segment.vars;
  if (n > op->chunk->ncols) n = op->chunk->ncols;
  if (n > 10) luaL_checkstack(L, (int)n + 6, NULL);
  for (uint32_t col = 0; col < n; col++) push_cell(L, op->chunk, col, op->row);
  return (int)n;
}

void rl_luaop_push_paired(lua_State *L, const rl_chunk *c, uint32_t row)
{
  uint32_t arity = rl_chunk_arity(c, row);
  if (arity == 2) {
    push_cell(L, c, 1, row);
    return;
  }
  luaL_checkstack(L, (int)arity + 6, NULL);
  int first = lua_gettop(L) + 1;
  for (uint32_t col = 1; col < arity; col++) push_cell(L, c, col, row);
  rl_lua_pack(L, first, (int)arity - 1);
  lua_replace(L, first);
  lua_settop(L, first);
}

/* pairRow(op): the current row as key and value. */
static int lib_pair_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (rl_chunk_arity(op->chunk, op->row) < 2) return rl_luaop_fail_row(L, op);
  push_cell(L, op->chunk, 0, op->row);
  rl_luaop_push_paired(L, op->chunk, op->row);
  return 2;
}

/* for k, v in pairs, op */
static int lib_pairs(lua_State *L)
{
  return rl_luaop_advance(L, op_at(L)) ? lib_pair_row(L) : 0;
}

/* packRow(op): the current row as one value, plain or a tuple. */
static int lib_pack_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_lua_push_record(L, op->chunk, op->row);
  return 1;
}

/* for r in packs, op */
static int lib_packs(lua_State *L)
{
  return rl_luaop_advance(L, op_at(L)) ? lib_pack_row(L) : 0;
}

/* fieldsRow(op): all fields of the current row. */
static int lib_fields_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  return rl_lua_push_fields(L, op->chunk, op->row);
}

/* for word in words(op, class): the runs of bytes of a class in the text of every record, without a string for the
 * text. */
static int next_word(lua_State *L)
{
  rl_luaop *op = op_at(L);
  size_t n;
  const char *word;
  while (!(word = rl_tokens_next(&op->tokens, &n))) {
    if (!rl_luaop_advance(L, op)) return 0;
    rl_value line = rl_chunk_get(op->chunk, 0, op->row);
    if (line.type != RL_T_BYTES) return luaL_error(L, "attempt to index a value that is not a string");
    rl_tokens_start(&op->tokens, op->tokens.class, line.s.p, line.s.n);
  }
  lua_pushlstring(L, word, n);
  return 1;
}

static int lib_words(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_tokens_start(&op->tokens, lua_tostring(L, 2), "", 0);
  lua_pushcfunction(L, next_word);
  lua_pushlightuserdata(L, op);
  return 2;
}

/* input(op, i): reads go to the i-th input from now on. */
static int lib_input(lua_State *L)
{
  rl_luaop *op = op_at(L);
  op->input = (size_t)lua_tointeger(L, 2) - 1;
  op->row = UINT32_MAX;
  op->nrows = 0;
  return 0;
}

/* attempt(f, ...): true and what f gives, as one value; or false and what it raises. */
static int lib_attempt(lua_State *L)
{
  bool ok = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0) == LUA_OK;
  int n = lua_gettop(L);
  if (n == 0) lua_pushnil(L);
  if (n > 1) rl_lua_pack(L, 1, n);
  lua_pushboolean(L, ok);
  lua_insert(L, -2);
  return 2;
}

/* The iterator that functions of partitions get: all fields of a record. Users may keep it, so it holds a box that
 * its operator empties. */
static int iterate(lua_State *L)
{
  rl_luaop *op = *(rl_luaop **)lua_touserdata(L, lua_upvalueindex(1));
  if (!op) return luaL_error(L, "the iterator of a partition is used after its task has ended");
  return rl_luaop_advance(L, op) ? rl_lua_push_fields(L, op->chunk, op->row) : 0;
}

static int lib_iterator(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luaop **box = lua_newuserdatauv(L, sizeof(rl_luaop *), 0);
  *box = NULL;
  lua_pushvalue(L, -1);
  op->box_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  *box = op;
  lua_pushcclosure(L, iterate, 1);
  return 1;
}

/* Writing ---------------------------------------------------------------------------------------------------------- */

int rl_luaop_hand_over(lua_State *L, rl_luaop *op)
{
  op->full = rl_builder_finish(op->builder);
  return lua_yield(L, 0);
}

static int hand_over_if_full(lua_State *L, rl_luaop *op)
{
  return rl_builder_full(op->builder) ? rl_luaop_hand_over(L, op) : 0;
}

/* The record in the values from stack index *first up, which `producer` returned: a tuple is spread, *first moved
 * there. Their number, at least 1. */
static int spread(lua_State *L, rl_luaop *op, lua_Integer producer, int *first)
{
  int n = rl_lua_spread(L, first, lua_gettop(L) - *first + 1);
  if (n < 0) fail_long(L, op, producer);
  if (n == 0 || lua_isnil(L, *first)) fail_nil(L, op, producer);
  return n;
}

void rl_luaop_add(lua_State *L, rl_luaop *op, int first)
{
  rl_value fields[RL_MAX_FIELDS];
  int n = lua_gettop(L) - first + 1;
  uint32_t arity = (uint32_t)n;
  bool plain = n >= 1 && n <= 4;
  for (int i = 0; plain && i < n; i++) plain = rl_luaop_plain_value(L, first + i, &fields[i]);
  if (!plain) {
    n = spread(L, op, op->segment.producer, &first);
    if (rl_lua_to_record(L, first, n, fields, &arity, &op->scratch) != RL_OK) rl_luaop_fail_record(L, op);
  }
  if (rl_builder_add(op->builder, fields, arity) != RL_OK) rl_luaop_fail_record(L, op);
}

/* emit(op, ...): the values are the record; a single tuple is spread. */
static int lib_emit(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luaop_add(L, op, 2);
  return hand_over_if_full(L, op);
}

/* emitRow(op): the current row, as it is. */
static int lib_emit_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (rl_builder_add_row(op->builder, op->chunk, op->row) != RL_OK) return rl_luaop_raise(L, op);
  return hand_over_if_full(L, op);
}

/* Records between steps -------------------------------------------------------------------------------------------- */

/* fields(op, producer, ...): the fields of the record that was returned. */
static int lib_fields(lua_State *L)
{
  int first = 3;
  return spread(L, op_at(L), lua_tointeger(L, 2), &first);
}

/* pack(op, producer, ...): that record as one value. */
static int lib_pack(lua_State *L)
{
  int first = 3, n = spread(L, op_at(L), lua_tointeger(L, 2), &first);
  if (n == 1)
    lua_settop(L, first);
  else
    rl_lua_pack(L, first, n);
  return 1;
}

/* value(...): what a function returned, as one value: nil, itself, or a tuple of several. */
static int lib_value(lua_State *L)
{
  int n = lua_gettop(L);
  if (n == 0) lua_pushnil(L);
  if (n > 1) rl_lua_pack(L, 1, n);
  return 1;
}

/* returned(op, step, ...): likewise, of what a function returned. */
static int lib_returned(lua_State *L)
{
  rl_luaop *op = op_at(L);
  int n = lua_gettop(L) - 2;
  lua_Integer step = lua_tointeger(L, 2);
  if (n == 0)
    return rl_luaop_fail(L, op, step, "the function given to %s returned nothing; return a value",
                         rl_luaop_name(op, step));
  if (n > 1) rl_lua_pack(L, 3, n);
  return 1;
}

/* pair(op, consumer, producer, ...): that record as key and value. */
static int lib_pair(lua_State *L)
{
  rl_luaop *op = op_at(L);
  int first = 4, n = spread(L, op, lua_tointeger(L, 3), &first);
  if (n == 1) {
    rl_buf_clear(&op->text);
    if (rl_lua_format(L, first, &op->text) != RL_OK) rl_buf_puts(&op->text, luaL_typename(L, first));
    return fail_single(L, op, lua_tointeger(L, 2));
  }
  if (n > 2) {
    rl_lua_pack(L, first + 1, n - 1);
    lua_replace(L, first + 1);
    lua_settop(L, first + 1);
  }
  return 2;
}

/* elements(op, step, it): the length of the array that was returned, nil for an iterator; anything else is an error. */
static int lib_elements(lua_State *L)
{
  rl_luaop *op = op_at(L);
  lua_Integer step = lua_tointeger(L, 2);
  if (lua_isfunction(L, 3)) return 0;
  const char *got = luaL_typename(L, 3);
  bool tuple = rl_lua_is_tuple(L, 3);
  if (lua_istable(L, 3) && !tuple) {
    if (luaL_getmetafield(L, 3, "__call") != LUA_TNIL) return 0; /* called like any iterator */
    lua_Integer n = luaL_len(L, 3);
    lua_pushnil(L);
    if (n > 0 || lua_next(L, 3) == 0) {
      lua_pushinteger(L, n);
      return 1;
    }
    got = "table that is no array";
  }
  if (tuple) got = "one rille.tuple";
  return rl_luaop_fail(L, op, step,
      "the function given to %s returned %s%s; it must return an array (an empty one for no records) or an iterator",
                       rl_luaop_name(op, step), lua_isnoneornil(L, 3) || tuple ? "" : "a ", got);
}

/* plain(array, n): is no element nil or a table? Then each is a record of one value as it is. */
static int lib_plain(lua_State *L)
{
  lua_Integer n = lua_tointeger(L, 2);
  bool plain = true;
  for (lua_Integer i = 1; plain && i <= n; i++) {
    int type = lua_rawgeti(L, 1, i);
    plain = type != LUA_TNIL && type != LUA_TTABLE;
    lua_pop(L, 1);
  }
  lua_pushboolean(L, plain);
  return 1;
}

/* hole(op, step, i): the array has nil at i. */
static int lib_hole(lua_State *L)
{
  rl_luaop *op = op_at(L);
  lua_Integer step = lua_tointeger(L, 2);
  return rl_luaop_fail(L, op, step, "the array that the function given to %s returned has nil at index %lld",
      rl_luaop_name(op, step),
                       (long long)lua_tointeger(L, 3));
}

/* Keys ------------------------------------------------------------------------------------------------------------- */

int rl_luaop_fail_key(lua_State *L, rl_luaop *op, lua_Integer step, const char *what)
{
  return rl_luaop_fail(L, op, step, "%s: %s; leave such records out with filter before it, or give them another key",
      rl_luaop_name(op, step), what);
}

/* Pushes what stands for the table (or tuple) at `index`: the one object for all with equal content, kept in the table
 * at `interned`; or, where that is 0, the table itself. */
static rl_status push_interned(lua_State *L, rl_luaop *op, int index, int interned)
{
  rl_value key;
  rl_buf_clear(&op->scratch);
  rl_status st = rl_lua_to_value(L, index, &key, &op->scratch);
  if (st == RL_OK) st = rl_key_normalise(&key, &op->text);
  if (st != RL_OK) return st;
  if (interned == 0) {
    lua_pushvalue(L, index);
    return RL_OK;
  }
  lua_pushlstring(L, key.s.p, key.s.n);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, interned) != LUA_TNIL) return RL_OK;
  lua_pop(L, 1);
  rl_lua_push_value(L, key);
  lua_pushvalue(L, -2);
  lua_pushvalue(L, -2);
  lua_rawset(L, interned);
  return RL_OK;
}

static rl_status push_number_key(lua_State *L, int index)
{
  lua_Integer i;
  lua_Number f = lua_tonumber(L, index);
  if (lua_isinteger(L, index) || !(lua_numbertointeger(floor(f), &i) && (lua_Number)i == f)) {
    if (isnan(f)) return rl_fail(RL_EINVAL, "a key is NaN");
    lua_pushvalue(L, index);
  } else {
    lua_pushinteger(L, i);
  }
  return RL_OK;
}

/* Pushes the key at 3 as it is emitted; RL_EINVAL when it cannot be one. `interned`: see push_interned. */
static rl_status push_key(lua_State *L, rl_luaop *op, int interned)
{
  switch (lua_type(L, 3)) {
    case LUA_TBOOLEAN:
    case LUA_TSTRING: lua_pushvalue(L, 3); return RL_OK;
    case LUA_TNUMBER: return push_number_key(L, 3);
    case LUA_TTABLE: return push_interned(L, op, 3, interned);
    case LUA_TNIL:
    case LUA_TNONE: return rl_fail(RL_EINVAL, "a key is nil");
    default:
      rl_lua_push_null(L);
      return lua_rawequal(L, 3, -1) ? RL_OK : rl_fail(RL_EINVAL, "a key is a %s", luaL_typename(L, 3));
  }
}

static int fail_pushed_key(lua_State *L, rl_luaop *op)
{
  return rl_luaop_fail_key(L, op, lua_tointeger(L, 2), rl_error_message());
}

/* key(op, step, k, interned): the key as it is emitted. */
static int lib_key(lua_State *L)
{
  rl_luaop *op = op_at(L);
  return push_key(L, op, 4) == RL_OK ? 1 : fail_pushed_key(L, op);
}

/* emitKeyed(op, step, k, v): likewise, and emits it with v. */
static int lib_emit_keyed(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_value fields[2];
  bool plain = rl_luaop_plain_value(L, 3, &fields[0]) && rl_luaop_plain_value(L, 4, &fields[1]);
  if (!plain || rl_key_normalise(&fields[0], &op->scratch) != RL_OK) {
    lua_settop(L, 4);
    if (push_key(L, op, 0) != RL_OK) return fail_pushed_key(L, op);
    lua_pushvalue(L, 4);
    rl_luaop_add(L, op, 5);
  } else if (rl_builder_add(op->builder, fields, 2) != RL_OK) {
    return rl_luaop_fail_record(L, op);
  }
  return hand_over_if_full(L, op);
}

/* goodKey(op, step, k[, interned]): likewise; or nil and what is wrong. */
static int lib_good_key(lua_State *L)
{
  if (push_key(L, op_at(L), lua_gettop(L) >= 4 ? 4 : 0) == RL_OK) return 1;
  lua_pushnil(L);
  lua_pushstring(L, rl_error_message());
  return 2;
}

int rl_luaop_fail_absent(lua_State *L, rl_luaop *op, lua_Integer step)
{
  rl_buf_clear(&op->text);
  if (rl_lua_format(L, -1, &op->text) != RL_OK) rl_buf_puts(&op->text, "?");
  int n = (int)(op->text.n > SHOWN ? SHOWN : op->text.n);
  return rl_luaop_fail(L, op, step,
      "%s: a value of key %.*s is nil, and an array cannot hold nil; use rille.null for it, or leave the record out",
                       rl_luaop_name(op, step), n, n ? op->text.p : "");
}

/* room(n): two tables, with room for n keys in a row and for n keys of any kind. */
static int lib_room(lua_State *L)
{
  int n = (int)lua_tointeger(L, 1);
  lua_createtable(L, n, 0);
  lua_createtable(L, 0, n);
  return 2;
}

void rl_luaop_push_library(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"attempt", lib_attempt}, {"bad", rl_badness_add}, {"goodKey", lib_good_key},
      {"elements", lib_elements}, {"emit", lib_emit}, {"emitKeyed", lib_emit_keyed}, {"emitRow", lib_emit_row},
      {"fields", lib_fields}, {"fieldsRow", lib_fields_row}, {"hole", lib_hole}, {"input", lib_input},
      {"inspect", rl_recognise}, {"iterator", lib_iterator}, {"key", lib_key}, {"pack", lib_pack},
      {"packRow", lib_pack_row}, {"packs", lib_packs}, {"pair", lib_pair}, {"pairRow", lib_pair_row},
      {"pairs", lib_pairs}, {"plain", lib_plain}, {"read", lib_read}, {"returned", lib_returned}, {"room", lib_room},
      {"tokens", rl_lua_tokens},
      {"tuple", rl_lua_tuple}, {"value", lib_value}, {"words", lib_words},
      {NULL, NULL},
  };
  luaL_newlib(L, functions);
  rl_keyed_add_library(L);
  rl_luastate_add_library(L);
}
