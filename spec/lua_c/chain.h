/* Running chains of Lua steps in tests: from Lua code to text. */
#ifndef RL_SPEC_CHAIN_H
#define RL_SPEC_CHAIN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/mem.h"
#include "lua/capture.h"
#include "lua/luafn.h"
#include "lua/values.h"
#include "lua/worker.h"

#define CHAIN_MAX 40

/* A driver's state, and a worker as the context has it. */
typedef struct fixture {
  lua_State *driver;
  rl_worker_config config;
  rl_worker_hooks hooks;
  void *local;
  rl_task task;
  rl_buf text, trace;
} fixture;

static inline lua_State *new_driver(void)
{
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  rl_capture_prepare(L);
  rl_values_prepare(L);
  lua_newtable(L);
  lua_pushcfunction(L, rl_lua_tuple);
  lua_setfield(L, -2, "tuple");
  rl_lua_push_null(L);
  lua_setfield(L, -2, "null");
  lua_pushcfunction(L, rl_lua_once);
  rl_capture_register(L, -1, "rille.once");
  lua_setfield(L, -2, "once");
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "rille");
  lua_settop(L, 0);
  return L;
}

static inline int setup_with(void **state, int64_t max_memory)
{
  fixture *f = calloc(1, sizeof *f);
  f->driver = new_driver();
  f->config.max_memory = max_memory;
  rl_worker_hooks_init(&f->hooks, &f->config);
  f->local = f->hooks.start(f->hooks.user, 0);
  f->task = (rl_task){.local = f->local, .max_attempts = 1, .batch_time = 1000, .seed = 7, .partition = 3};
  *state = f;
  return 0;
}

static inline int setup(void **state) { return setup_with(state, 0); }

static inline int teardown(void **state)
{
  fixture *f = *state;
  f->hooks.stop(f->hooks.user, f->local);
  lua_close(f->driver);
  rl_buf_free(&f->text);
  rl_buf_free(&f->trace);
  free(f);
  return 0;
}

/* Runs a chunk named job.lua, whose first line stands behind `local rille = ...`. What it returns is all that is on
 * the stack. */
static inline void run_code(lua_State *L, const char *code)
{
  rl_buf text = {0};
  rl_buf_printf(&text, "local rille = require 'rille' local tuple = rille.tuple %s", code);
  lua_settop(L, 0);
  int status = luaL_loadbuffer(L, text.p, text.n, "@job.lua");
  rl_buf_free(&text);
  if (status != LUA_OK || lua_pcall(L, 0, LUA_MULTRET, 0) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
}

typedef struct chain {
  rl_fn *fns[CHAIN_MAX];
  size_t n;
} chain;

/* Steps from the list at index 1: { kind, functions..., param =, name = }, all declared at job.lua:7. */
static inline void make_chain(lua_State *L, chain *c)
{
  rl_capture_root roots[CHAIN_MAX * 2];
  uint32_t first[CHAIN_MAX];
  size_t nroots = 0;
  *c = (chain){.n = lua_rawlen(L, 1)};
  luaL_checkstack(L, CHAIN_MAX * 8, NULL);
  for (size_t i = 0; i < c->n; i++) {
    lua_rawgeti(L, 1, (lua_Integer)i + 1);
    int at = lua_gettop(L);
    rl_step step = {.functions = (uint32_t)lua_rawlen(L, at) - 1, .site = "job.lua:7"};
    lua_rawgeti(L, at, 1);
    step.kind = lua_tostring(L, -1);
    step.name = lua_getfield(L, at, "name") == LUA_TSTRING ? lua_tostring(L, -1) : step.kind;
    lua_getfield(L, at, "param");
    step.param = lua_tointeger(L, -1);
    c->fns[i] = rl_luafn_new(&step);
    assert_non_null(c->fns[i]);
    first[i] = (uint32_t)nroots;
    for (uint32_t j = 0; j < step.functions; j++) {
      lua_rawgeti(L, at, (lua_Integer)j + 2);
      roots[nroots++] = (rl_capture_root){lua_gettop(L), "the function given to map", "job.lua:7", false};
    }
  }
  rl_image *image = NULL;
  if (rl_capture(L, roots, nroots, &image) != RL_OK) fail_msg("%s", rl_error_message());
  for (size_t i = 0; i < c->n; i++)
    if (!rl_luafn_is_bound(c->fns[i])) rl_luafn_bind(c->fns[i], image, first[i]);
  rl_image_unref(image);
}

static inline void free_chain(chain *c)
{
  for (size_t i = 0; i < c->n; i++) rl_fn_unref(c->fns[i]);
}

/* The records of the list at `index`, in chunks of at most `size`. */
static inline rl_pull *make_input(lua_State *L, int index, size_t size)
{
  rl_chunks chunks = {0};
  rl_builder *b = rl_builder_new();
  rl_buf scratch = {0};
  rl_value fields[RL_MAX_FIELDS];
  uint32_t arity;
  for (size_t i = 1; i <= lua_rawlen(L, index); i++) {
    lua_rawgeti(L, index, (lua_Integer)i);
    assert_int_equal(rl_lua_to_record(L, -1, 1, fields, &arity, &scratch), RL_OK);
    assert_int_equal(rl_builder_add(b, fields, arity), RL_OK);
    lua_pop(L, 1);
    if (rl_builder_count(b) == size) rl_chunks_add(&chunks, rl_builder_finish(b));
  }
  if (rl_builder_count(b) > 0) rl_chunks_add(&chunks, rl_builder_finish(b));
  rl_pull *p = rl_pull_chunks(&chunks);
  rl_chunks_clear(&chunks);
  rl_builder_delete(b);
  rl_buf_free(&scratch);
  return p;
}

static inline void format_records(const rl_chunks *out, rl_buf *text)
{
  for (size_t i = 0; i < out->n; i++) {
    for (uint32_t row = 0; row < out->v[i]->n; row++) {
      if (text->n > 0) rl_buf_putc(text, ' ');
      rl_chunk_format(out->v[i], row, text);
    }
  }
}

/* Runs a chain over inputs as one task. f->text: the records, or "error: " and the message; f->trace: the traceback. */
static inline rl_status run_task(fixture *f, const chain *c, rl_pull **inputs, size_t n)
{
  rl_chunks out = {0};
  rl_pull *p = NULL;
  rl_buf_clear(&f->text);
  rl_buf_clear(&f->trace);
  f->hooks.begin(f->hooks.user, f->local, &f->task);
  rl_status st = c->fns[0]->cls->open(c->fns, c->n, &f->task, inputs, n, &p);
  if (st == RL_OK) st = rl_pull_drain(p, &out);
  if (st == RL_OK) {
    format_records(&out, &f->text);
  } else {
    rl_buf_printf(&f->text, "error: %s", rl_error_message());
    if (rl_error_current()->trace) rl_buf_puts(&f->trace, rl_error_current()->trace);
  }
  rl_pull_close(p);
  rl_chunks_clear(&out);
  f->hooks.end(f->hooks.user, f->local, &f->task, st);
  rl_buf_cstr(&f->text);
  rl_buf_cstr(&f->trace);
  return st;
}

/* `code` returns the list of steps and the inputs' lists of records. */
static inline rl_status run_chain(fixture *f, const char *code, size_t chunk_size)
{
  lua_State *L = f->driver;
  rl_pull *inputs[4];
  chain c;
  run_code(L, code);
  int n = lua_gettop(L) - 1;
  make_chain(L, &c);
  for (int i = 0; i < n; i++) inputs[i] = make_input(L, i + 2, chunk_size);
  rl_status st = run_task(f, &c, inputs, (size_t)n);
  free_chain(&c);
  return st;
}

/* The chain gives these records, as closures and with recognised functions replaced, whatever the chunks. */
static inline void check(fixture *f, const char *code, const char *expected)
{
  for (uint32_t attempts = 1; attempts <= 2; attempts++) {
    for (size_t size = 1; size <= 3; size += 2) {
      f->task.max_attempts = attempts;
      run_chain(f, code, size);
      if (strcmp(f->text.p ? f->text.p : "", expected) != 0)
        fail_msg("%s\n  gives    %s\n  expected %s (attempts %u)\n%s", code, f->text.p, expected, attempts, f->trace.p);
    }
  }
  f->task.max_attempts = 1;
}

static inline void check_error(fixture *f, const char *code, const char *expected)
{
  f->task.max_attempts = 1;
  run_chain(f, code, 100);
  if (strncmp(f->text.p, "error: ", 7) != 0 || strcmp(f->text.p + 7, expected) != 0)
    fail_msg("%s\n  gives    %s\n  expected error: %s\n%s", code, f->text.p, expected, f->trace.p);
}

#endif
