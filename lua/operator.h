/* Operators of a chain of Lua steps (luafn.h): one segment of fused steps as an rl_pull, and the steps that need no Lua. Private to lua/.
 *
 * A segment's generated function runs as a coroutine of the worker's state. It pulls its input through C iterators and gives its output through `emit`,
 * which yields when a chunk is full. Generated code names steps by their number in the segment, from 1. */
#ifndef RL_LUA_OPERATOR_H
#define RL_LUA_OPERATOR_H

#include "luafn.h"
#include "worker_impl.h"

/* What a segment needs to know besides its function. */
typedef struct rl_segment {
  rl_fn *const *fns; /* of its steps */
  size_t n;
  int vars;          /* how many fields `read` gives */
  int producer;      /* the step whose results are emitted; 0: the input's records pass */
  int consumer;      /* the step that reads the input as pairs; 0: none */
} rl_segment;

typedef struct rl_luaop rl_luaop;

/* Takes over inputs[0..n), also on failure. May raise only before anything is taken over: the operator exists, or nothing has happened. The stack of w->L: segment table
 * of the generator, its function on top (popped). Protected call needed. */
rl_luaop *rl_luaop_new(lua_State *L, rl_worker *w, const rl_task *task, const rl_segment *s);
void rl_luaop_feed(rl_luaop *op, rl_pull **inputs, size_t n);
rl_pull *rl_luaop_pull(rl_luaop *op);

/* Pushes the table of what generated code calls. */
void rl_luaop_push_library(lua_State *L);

/* Steps without Lua; NULL when `kind` is none of them. Takes over `input`. */
rl_pull *rl_records_open(const rl_step *step, const rl_task *task, rl_pull *input);
bool rl_records_is(const char *kind);

#endif
