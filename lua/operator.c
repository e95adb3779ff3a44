#include "operator.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

/* Failing ---------------------------------------------------------------------------------------------------------- */

const rl_step *rl_luaop_step(const rl_luaop *op, lua_Integer number)
{
  return number >= 1 && (size_t)number <= op->segment.n ? rl_luafn_step(op->segment.fns[number - 1]) : NULL;
}

const char *rl_luaop_name(const rl_luaop *op, lua_Integer number)
{
  const rl_step *step = rl_luaop_step(op, number);
  return step ? step->name : "the input";
}

int rl_luaop_raise(lua_State *L, rl_luaop *op)
{
  if (op->error.code == RL_OK) rl_error_take(&op->error);
  return rl_raise(L);
}

int rl_luaop_fail(lua_State *L, rl_luaop *op, lua_Integer number, const char *fmt, ...)
{
  const rl_step *step = rl_luaop_step(op, number);
  bool site = step && step->site;
  va_list args;
  va_start(args, fmt);
  char *text = rl_vformat(fmt, args);
  va_end(args);
  rl_fail(RL_EUSER, "%s%s%s", site ? step->site : "", site ? ": " : "", text);
  rl_free(text);
  return rl_luaop_raise(L, op);
}

/* "the function given to filter, declared at job.lua:10": of the step whose code is at `line`. */
static const char *describe(rl_luaop *op, int line, char *out, size_t size)
{
  lua_State *L = op->w->L;
  if (line == 0 || !lua_checkstack(L, 2)) return NULL;
  lua_rawgeti(L, LUA_REGISTRYINDEX, op->lines_ref);
  lua_rawgeti(L, -1, line);
  const rl_step *step = rl_luaop_step(op, lua_tointeger(L, -1));
  lua_pop(L, 2);
  if (!step) return NULL;
  const char *site = step->site ? step->site : "", *key = rl_luastate_key(op);
  if (!key) key = rl_keyed_key(op);
  const char *what = step->functions > 0 ? "the function given to " : "";
  snprintf(out, size, "%s%s%s%s%s%s", what, step->name, *site ? ", declared at " : "", site,
           key ? ", for key " : "", key ? key : "");
  return out;
}

static rl_status fail_again(rl_luaop *op)
{
  rl_error copy = RL_ERROR_NONE;
  rl_error_copy(&copy, &op->error);
  return rl_error_raise(&copy);
}

/* The coroutine stopped with an error. What it left open is closed once the error is known. */
static rl_status fail(rl_luaop *op, int status)
{
  rl_worker *w = op->w;
  bool raised = lua_touserdata(op->co, -1) == &rl_raised && op->error.code != RL_OK;
  if (!raised || w->interrupted) {
    char what[400];
    rl_buf_clear(&w->trace);
    rl_buf_clear(&w->where);
    int line = rl_failure_frames(op->co, &w->trace, &w->where);
    rl_worker_fail(w, op->co, status, describe(op, line, what, sizeof what));
    rl_error_clear(&op->error);
    rl_error_take(&op->error);
  }
  op->done = true;
  rl_worker_reset(w, op->co);
  return fail_again(op);
}

/* The pull --------------------------------------------------------------------------------------------------------- */

static int resume(rl_luaop *op)
{
  rl_worker *w = op->w;
  lua_State *engine = w->engine;
  int nargs = op->started ? 0 : 2, nresults;
  op->started = true;
  w->engine = op->co;
  int status = rl_worker_resume(w, op->co, nargs, &nresults);
  w->engine = engine;
  return status;
}

static rl_status op_next(rl_pull *self, rl_chunk **out)
{
  rl_luaop *op = (rl_luaop *)self;
  *out = NULL;
  if (op->error.code != RL_OK) return fail_again(op);
  if (op->done) return RL_OK;
  int status = resume(op);
  if (status == LUA_YIELD) {
    *out = op->full;
    op->full = NULL;
    return RL_OK;
  }
  if (status != LUA_OK) return fail(op, status);
  op->done = true;
  if (op->error.code != RL_OK) return fail_again(op); /* the user's pcall swallowed it */
  *out = rl_builder_finish(op->builder);
  return RL_OK;
}

static void take_back_iterator(rl_luaop *op)
{
  lua_State *L = op->w->L;
  if (op->box_ref == LUA_NOREF) return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, op->box_ref);
  *(rl_luaop **)lua_touserdata(L, -1) = NULL;
  lua_pop(L, 1);
  luaL_unref(L, LUA_REGISTRYINDEX, op->box_ref);
}

static void op_close(rl_pull *self)
{
  rl_luaop *op = (rl_luaop *)self;
  lua_State *L = op->w->L;
  if (op->started && !op->done) rl_worker_reset(op->w, op->co); /* iterators with a closing value */
  take_back_iterator(op);
  luaL_unref(L, LUA_REGISTRYINDEX, op->co_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, op->lines_ref);
  for (size_t i = 0; i < op->ninputs; i++) rl_pull_close(op->inputs[i]);
  rl_free(op->inputs);
  rl_chunk_unref(op->chunk);
  rl_chunk_unref(op->full);
  rl_luastate_delete(op);
  rl_keyed_delete(op->keyed);
  rl_builder_delete(op->builder);
  rl_buf_free(&op->scratch);
  rl_buf_free(&op->text);
  rl_error_clear(&op->error);
  rl_free(op);
}

static const rl_pull_class op_class = {op_next, op_close};

static rl_luaop *allocate(rl_worker *w, const rl_task *task, const rl_segment *s)
{
  rl_luaop *op = rl_alloc(sizeof *op + s->n * sizeof *s->fns);
  rl_fn **fns = (rl_fn **)(op + 1);
  for (size_t i = 0; i < s->n; i++) fns[i] = s->fns[i];
  *op = (rl_luaop){.pull = {&op_class}, .w = w, .task = task, .segment = *s, .box_ref = LUA_NOREF, .row = UINT32_MAX};
  op->segment.fns = fns;
  op->builder = rl_builder_new();
  return op;
}

rl_luaop *rl_luaop_new(rl_worker *w, const rl_task *task, const rl_segment *s)
{
  lua_State *L = w->L;
  luaL_checkstack(L, 4, NULL);
  lua_State *co = lua_newthread(L); /* function, lines, co */
  lua_pushvalue(L, -3);
  lua_xmove(L, co, 1);
  int co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  int lines_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pop(L, 1);
  rl_luaop *op = allocate(w, task, s);
  op->co = co;
  op->co_ref = co_ref;
  op->lines_ref = lines_ref;
  lua_pushlightuserdata(co, op);
  lua_pushinteger(co, task->partition);
  return op;
}

void rl_luaop_feed(rl_luaop *op, rl_pull **inputs, size_t n)
{
  op->inputs = rl_calloc(n ? n : 1, sizeof(rl_pull *));
  op->ninputs = n;
  for (size_t i = 0; i < n; i++) op->inputs[i] = inputs[i];
}

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

bool rl_luaop_refill(lua_State *L, rl_luaop *op)
{
  if (op->error.code != RL_OK) rl_raise(L);
  if (next_chunk(op) != RL_OK) rl_luaop_raise(L, op);
  if (!op->chunk) return false;
  op->nrows = op->chunk->n;
  op->row = 0;
  return true;
}
