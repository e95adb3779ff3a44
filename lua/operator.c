#include "operator.h"

#include <lauxlib.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tokens.h"
#include "values.h"

struct rl_luaop {
  rl_pull pull;
  rl_worker *w;
  const rl_task *task;
  rl_segment segment; /* fns: copied behind the struct */

  lua_State *co;
  int co_ref, lines_ref, iterator_ref;
  bool started, done;
  rl_error error; /* why it failed; code RL_OK while all is well */

  rl_pull **inputs;
  size_t ninputs, input; /* the one being read */
  rl_chunk *chunk;       /* being read; NULL between chunks */
  uint32_t row, nrows;
  rl_tokens tokens;      /* inside of the row, when rows are read word by word */

  rl_builder *builder;
  rl_chunk *full; /* handed over by emit as it yields */
  rl_buf scratch;
};

static rl_luaop *op_at(lua_State *L)
{
  return lua_touserdata(L, 1);
}

/* Failing --------------------------------------------------------------------------------------------------------------- */

static const rl_step *step_at(const rl_luaop *op, lua_Integer number)
{
  return number >= 1 && (size_t)number <= op->segment.n ? rl_luafn_step(op->segment.fns[number - 1]) : NULL;
}

/* Keeps the thread's current error for op_next and leaves the generated function. */
static int raise_current(lua_State *L, rl_luaop *op)
{
  if (op->error.code == RL_OK) rl_error_take(&op->error);
  return rl_raise(L);
}

static int fail_at(lua_State *L, rl_luaop *op, lua_Integer number, const char *fmt, ...) RL_PRINTF(4, 5);
static int fail_at(lua_State *L, rl_luaop *op, lua_Integer number, const char *fmt, ...)
{
  const rl_step *step = step_at(op, number);
  va_list args;
  va_start(args, fmt);
  char *text = rl_vformat(fmt, args);
  va_end(args);
  rl_fail(RL_EUSER, "%s%s%s", step && step->site ? step->site : "", step && step->site ? ": " : "", text);
  rl_free(text);
  return raise_current(L, op);
}

static const char *name_at(const rl_luaop *op, lua_Integer number)
{
  const rl_step *step = step_at(op, number);
  return step ? step->name : "the input";
}

static int fail_nil(lua_State *L, rl_luaop *op, lua_Integer producer)
{
  return fail_at(L, op, producer, "the function given to %s returned %s; return a value, or leave the record out with filter or an empty flatMap",
                 name_at(op, producer), "nil");
}

/* The current error says what cannot be in a record; adds whose record it was. */
static int fail_record(lua_State *L, rl_luaop *op, lua_Integer producer)
{
  const rl_step *step = step_at(op, producer);
  if (step) rl_error_prefix("%s%s%s: ", step->site ? step->site : "", step->site ? ": " : "", step->name);
  return raise_current(L, op);
}

/* Reading --------------------------------------------------------------------------------------------------------------- */

static rl_status next_chunk(rl_luaop *op)
{
  rl_chunk_unref(op->chunk);
  op->chunk = NULL;
  op->nrows = 0;
  op->row = UINT32_MAX;
  if (op->task->cancelled && atomic_load_explicit(op->task->cancelled, memory_order_relaxed))
    return rl_fail(RL_ECANCELLED, "the task was cancelled");
  return op->input < op->ninputs ? rl_pull_next(op->inputs[op->input], &op->chunk) : RL_OK;
}

static bool refill(lua_State *L, rl_luaop *op)
{
  if (op->error.code != RL_OK) rl_raise(L);
  if (next_chunk(op) != RL_OK) raise_current(L, op);
  if (!op->chunk) return false;
  op->nrows = op->chunk->n;
  op->row = 0;
  return true;
}

static inline bool advance(lua_State *L, rl_luaop *op)
{
  return ++op->row < op->nrows || refill(L, op);
}

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
static int op_read(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (!advance(L, op)) return 0;
  uint32_t n = (uint32_t)op->segment.vars;
  if (n > op->chunk->ncols) n = op->chunk->ncols;
  if (n > 10) luaL_checkstack(L, (int)n + 6, NULL);
  for (uint32_t col = 0; col < n; col++) push_cell(L, op->chunk, col, op->row);
  return (int)n;
}

static void push_rest(lua_State *L, const rl_luaop *op, uint32_t arity)
{
  luaL_checkstack(L, (int)arity + 6, NULL);
  int first = lua_gettop(L) + 1;
  for (uint32_t col = 1; col < arity; col++) push_cell(L, op->chunk, col, op->row);
  rl_lua_pack(L, first, (int)arity - 1);
  lua_replace(L, first);
  lua_settop(L, first);
}

/* The current row as key and value. */
static int op_pair_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  uint32_t arity = rl_chunk_arity(op->chunk, op->row);
  if (arity < 2) {
    rl_buf_clear(&op->scratch);
    rl_chunk_format(op->chunk, op->row, &op->scratch);
    return fail_at(L, op, op->segment.consumer, "%s needs (key, value) records, but got a record of one value: %.*s; return key, value before it",
                   name_at(op, op->segment.consumer), (int)(op->scratch.n > 200 ? 200 : op->scratch.n), op->scratch.n ? op->scratch.p : "");
  }
  push_cell(L, op->chunk, 0, op->row);
  if (arity == 2)
    push_cell(L, op->chunk, 1, op->row);
  else
    push_rest(L, op, arity);
  return 2;
}

/* for k, v in pairs, op */
static int op_pairs(lua_State *L)
{
  return advance(L, op_at(L)) ? op_pair_row(L) : 0;
}

static int op_pack_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_lua_push_record(L, op->chunk, op->row);
  return 1;
}

/* for r in packs, op: each record as one value, plain or a tuple. */
static int op_packs(lua_State *L)
{
  return advance(L, op_at(L)) ? op_pack_row(L) : 0;
}

static int op_fields_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  return rl_lua_push_fields(L, op->chunk, op->row);
}

/* for word in tokens, op, class: the runs of bytes of `class` in the text of every record. */
static int op_tokens(lua_State *L)
{
  rl_luaop *op = op_at(L);
  size_t n;
  const char *word = rl_tokens_next(&op->tokens, &n);
  while (!word) {
    if (!advance(L, op)) return 0;
    rl_value line = rl_chunk_get(op->chunk, 0, op->row);
    if (line.type != RL_T_BYTES) return luaL_error(L, "attempt to index a value that is not a string");
    rl_tokens_start(&op->tokens, op->tokens.class, line.s.p, line.s.n);
    word = rl_tokens_next(&op->tokens, &n);
  }
  lua_pushlstring(L, word, n);
  return 1;
}

static int op_set_class(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_tokens_start(&op->tokens, lua_touserdata(L, 2), "", 0);
  return 0;
}

/* input(op, i): reads go to the i-th input from now on. */
static int op_input(lua_State *L)
{
  rl_luaop *op = op_at(L);
  op->input = (size_t)lua_tointeger(L, 2) - 1;
  op->row = UINT32_MAX;
  op->nrows = 0;
  return 0;
}

/* The iterator that functions of partitions get: any number of fields. It outlives its operator at the user's hands, so it goes through a box. */
static int iterate(lua_State *L)
{
  rl_luaop *op = *(rl_luaop **)lua_touserdata(L, lua_upvalueindex(1));
  if (!op) return luaL_error(L, "the iterator of a partition is used after its task has ended");
  if (!advance(L, op)) return 0;
  return rl_lua_push_fields(L, op->chunk, op->row);
}

static int op_iterator(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_luaop **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = op;
  lua_pushvalue(L, -1);
  op->iterator_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushcclosure(L, iterate, 1);
  return 1;
}

/* Writing --------------------------------------------------------------------------------------------------------------- */

static int hand_over_if_full(lua_State *L, rl_luaop *op)
{
  if (!rl_builder_full(op->builder)) return 0;
  op->full = rl_builder_finish(op->builder);
  return lua_yield(L, 0);
}

/* A value that needs no scratch. */
static inline bool plain_value(lua_State *L, int index, rl_value *v)
{
  size_t n;
  const char *s;
  switch (lua_type(L, index)) {
    case LUA_TSTRING:
      s = lua_tolstring(L, index, &n);
      *v = rl_str(s, n);
      return true;
    case LUA_TNUMBER:
      *v = lua_isinteger(L, index) ? rl_int(lua_tointeger(L, index)) : rl_float(lua_tonumber(L, index));
      return true;
    case LUA_TBOOLEAN: *v = rl_bool(lua_toboolean(L, index)); return true;
    default: return false;
  }
}

/* emit(op, ...): the values are the record; a single tuple is spread. */
static int op_emit(lua_State *L)
{
  rl_luaop *op = op_at(L);
  rl_value fields[RL_MAX_FIELDS];
  int n = lua_gettop(L) - 1;
  uint32_t arity = (uint32_t)n;
  bool plain = n >= 1 && n <= 4;
  for (int i = 0; plain && i < n; i++) plain = plain_value(L, i + 2, &fields[i]);
  if (!plain) {
    if (n == 0 || lua_isnil(L, 2)) return fail_nil(L, op, op->segment.producer);
    if (rl_lua_to_record(L, 2, n, fields, &arity, &op->scratch) != RL_OK) return fail_record(L, op, op->segment.producer);
  }
  if (rl_builder_add(op->builder, fields, arity) != RL_OK) return fail_record(L, op, op->segment.producer);
  return hand_over_if_full(L, op);
}

static int op_emit_row(lua_State *L)
{
  rl_luaop *op = op_at(L);
  if (rl_builder_add_row(op->builder, op->chunk, op->row) != RL_OK) return raise_current(L, op);
  return hand_over_if_full(L, op);
}

/* Between steps --------------------------------------------------------------------------------------------------------- */

/* The record in the n values from stack index 3 up: its first field, and how many there are. A tuple is spread. */
static int spread(lua_State *L, rl_luaop *op, lua_Integer producer, int *first)
{
  *first = 3;
  int n = rl_lua_spread(L, first, lua_gettop(L) - 2);
  if (n < 0) fail_at(L, op, producer, "%s gave a record of more than %d values", name_at(op, producer), RL_MAX_FIELDS);
  if (n == 0 || lua_isnil(L, *first)) fail_nil(L, op, producer);
  return n;
}

/* fields(op, producer, ...): the fields of the record that a function returned. */
static int op_fields(lua_State *L)
{
  int first;
  return spread(L, op_at(L), lua_tointeger(L, 2), &first);
}

/* pack(op, producer, ...): that record as one value. */
static int op_pack(lua_State *L)
{
  int first, n = spread(L, op_at(L), lua_tointeger(L, 2), &first);
  if (n == 1)
    lua_settop(L, first);
  else
    rl_lua_pack(L, first, n);
  return 1;
}

/* value(...): what a function returned, as one value: nil, itself, or a tuple of several. */
static int op_value(lua_State *L)
{
  int n = lua_gettop(L);
  if (n == 0) lua_pushnil(L);
  if (n > 1) rl_lua_pack(L, 1, n);
  return 1;
}

static int fail_single(lua_State *L, rl_luaop *op, lua_Integer consumer, int index)
{
  rl_buf_clear(&op->scratch);
  rl_buf text = {0};
  rl_value v;
  if (rl_lua_to_value(L, index, &v, &op->scratch) == RL_OK) rl_value_format(v, &text);
  fail_at(L, op, 0, "%s", "");
  rl_error_clear(&op->error);
  const rl_step *step = step_at(op, consumer);
  rl_fail(RL_EUSER, "%s%s%s needs (key, value) records, but got a record of one value: %.*s; return key, value before it",
          step->site ? step->site : "", step->site ? ": " : "", step->name, (int)(text.n > 200 ? 200 : text.n), text.n ? text.p : "");
  rl_buf_free(&text);
  return raise_current(L, op);
}
