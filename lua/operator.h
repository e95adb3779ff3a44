/* Operators of a chain of Lua steps (luafn.h): one segment of fused steps as an rl_pull, and the steps that need no
 * Lua. Private to lua/.
 *
 * A segment's generated function runs as a coroutine of the worker's state. It pulls its input through C iterators
 * and gives its output through `emit`, which yields when a chunk is full. Generated code names steps by their number
 * in the segment, from 1. */
#ifndef RL_LUA_OPERATOR_H
#define RL_LUA_OPERATOR_H

#include "luafn.h"
#include "tokens.h"
#include "worker_impl.h"

/* What a segment needs to know besides its function. */
typedef struct rl_segment {
  rl_fn *const *fns; /* of its steps */
  size_t n;
  int vars;     /* how many fields `read` gives */
  int producer; /* the step whose results are emitted; 0: the input's records pass */
  int consumer; /* the step that reads the input as pairs; 0: none */
} rl_segment;

typedef struct rl_keyed rl_keyed; /* keyed.c */

typedef struct rl_luaop {
  rl_pull pull;
  rl_worker *w;
  const rl_task *task;
  rl_segment segment; /* fns lie behind the struct */

  lua_State *co;
  /* in the registry: the coroutine, the lines of its code, what a partition's iterator holds */
  int co_ref, lines_ref, box_ref;
  bool started, done;
  rl_error error; /* why it failed; code RL_OK while all is well */

  rl_pull **inputs;
  size_t ninputs, input; /* the one being read */
  rl_chunk *chunk;       /* being read; NULL between chunks */
  uint32_t row, nrows;
  rl_tokens tokens; /* inside of the row, when rows are read word by word */
  struct rl_luastate *state; /* stateful.c; NULL: it has none */
  rl_keyed *keyed;  /* what is gathered by key; NULL: nothing yet */
  lua_Integer emitted; /* how far emitPairs has come */

  rl_builder *builder;
  rl_chunk *full; /* handed over by emit as it yields */
  rl_buf scratch, text;
} rl_luaop;

/* Makes the operator. On the stack: the generated function below, the table of its lines on top; both are popped.
 * Protected call needed: when it raises, nothing has been made. rl_luaop_feed must follow. */
rl_luaop *rl_luaop_new(rl_worker *w, const rl_task *task, const rl_segment *s);
void rl_luaop_feed(rl_luaop *op, rl_pull **inputs, size_t n); /* takes them over (the array is copied) */

/* The next record of the input; false at its end. Raises. */
bool rl_luaop_refill(lua_State *L, rl_luaop *op);
static inline bool rl_luaop_advance(lua_State *L, rl_luaop *op) 
{
  return ++op->row < op->nrows || rl_luaop_refill(L, op);
}

/* Keeps the thread's current error as the operator's and leaves the generated function. */
int rl_luaop_raise(lua_State *L, rl_luaop *op);
/* The step with this number (NULL when there is none), its name, and an error in its name: "job.lua:7: ". */
const rl_step *rl_luaop_step(const rl_luaop *op, lua_Integer number);
const char *rl_luaop_name(const rl_luaop *op, lua_Integer number);
int rl_luaop_fail(lua_State *L, rl_luaop *op, lua_Integer number, const char *fmt, ...) RL_PRINTF(4, 5);

/* What was raised last says what cannot be in a record; adds whose record it is. */
int rl_luaop_fail_record(lua_State *L, rl_luaop *op);
/* The current row is no pair; what is wrong with a key; the value of the key on top is nil, for an array. */
int rl_luaop_fail_row(lua_State *L, rl_luaop *op);
int rl_luaop_fail_key(lua_State *L, rl_luaop *op, lua_Integer step, const char *what);
int rl_luaop_fail_absent(lua_State *L, rl_luaop *op, lua_Integer step);

/* Pushes the value of a (key, value) row: a tuple of the fields behind the key where there are several. */
void rl_luaop_push_paired(lua_State *L, const rl_chunk *c, uint32_t row);
/* The value at `index` if it needs no scratch. */
static inline bool rl_luaop_plain_value(lua_State *L, int index, rl_value *v)
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
/* Adds the record in the values from stack index `first` up. Raises. */
void rl_luaop_add(lua_State *L, rl_luaop *op, int first);
/* Leaves the coroutine with the chunk that is full: to be returned. */
int rl_luaop_hand_over(lua_State *L, rl_luaop *op);

/* Pushes the table of what generated code calls; adds what keyed.c has to the one on top. */
void rl_luaop_push_library(lua_State *L);
void rl_keyed_add_library(lua_State *L);
void rl_keyed_delete(rl_keyed *k);

/* What stateful.c uses of keyed.c: the keys, the number of the current row's key, and the array of a side's values of a
 * key, pushed, once all have been gathered. */
struct rl_keys *rl_keyed_keys(rl_luaop *op);
uint32_t rl_keyed_number(lua_State *L, rl_luaop *op);
/* The key whose arrays are being made, as text for messages; NULL when none are. Valid until the next call. */
const char *rl_keyed_key(rl_luaop *op);
void rl_keyed_push_values(lua_State *L, rl_luaop *op, size_t side, uint32_t number);

/* stateful.c: what generated code calls for keyed state. */
void rl_luastate_add_library(lua_State *L);
void rl_luastate_delete(rl_luaop *op);
/* The key whose function runs now, as text for messages; NULL when none does. Valid until the next call. */
const char *rl_luastate_key(rl_luaop *op);

/* Steps without Lua. Takes over `input`. */
bool rl_records_is(const char *kind);
rl_pull *rl_records_open(const rl_step *step, rl_pull *input);

#endif
