/* Images of values and functions in tests: out of a driver's state, into a worker's. */
#ifndef RL_SPEC_CAPTURES_H
#define RL_SPEC_CAPTURES_H

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

#include "base/log.h"
#include "lua/capture.h"

/* Each test has a driver's state and a worker's. */
typedef struct fixture {
  lua_State *driver, *worker;
} fixture;

static int warnings;
static char warning[1024];

static inline void count_warning(void *user, rl_log_level level, const char *line)
{
  (void)user;
  assert_int_equal(level, RL_LOG_WARN);
  warnings++;
  snprintf(warning, sizeof warning, "%s", line);
}

static inline lua_State *new_state(void)
{
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  rl_capture_prepare(L);
  return L;
}

static inline int setup(void **state)
{
  fixture *f = calloc(1, sizeof *f);
  f->driver = new_state();
  f->worker = new_state();
  warnings = 0;
  warning[0] = '\0';
  rl_log_set_sink(count_warning, NULL);
  *state = f;
  return 0;
}

static inline int teardown(void **state)
{
  fixture *f = *state;
  rl_log_set_sink(NULL, NULL);
  lua_close(f->driver);
  lua_close(f->worker);
  free(f);
  return 0;
}

/* Runs a chunk named job.lua; what it returns is left on the stack. */
static inline int run(lua_State *L, const char *code)
{
  int top = lua_gettop(L);
  if (luaL_loadbuffer(L, code, strlen(code), "=job.lua") != LUA_OK || lua_pcall(L, 0, LUA_MULTRET, 0) != LUA_OK) {
    fail_msg("%s", lua_tostring(L, -1));
  }
  return lua_gettop(L) - top;
}

static inline rl_status capture_results(lua_State *L, const char *code, rl_image **img)
{
  rl_capture_root roots[8];
  int n = run(L, code);
  int top = lua_gettop(L);
  for (int i = 0; i < n; i++) {
    roots[i] = (rl_capture_root){top - n + 1 + i, "the function given to map", "job.lua:12", false};
  }
  rl_status st = rl_capture(L, roots, (size_t)n, img);
  assert_int_equal(lua_gettop(L), top);
  lua_pop(L, n);
  return st;
}

static inline int push_image(lua_State *L)
{
  rl_image_push(L, lua_touserdata(L, 1));
  return 1;
}

/* The restored roots become the worker's global `r`. */
static inline void restore(lua_State *L, rl_image *img)
{
  lua_pushcfunction(L, push_image);
  lua_pushlightuserdata(L, img);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    fail_msg("%s", lua_tostring(L, -1));
  }
  lua_setglobal(L, "r");
}

/* What the driver's code returns is carried over, and the worker's code looks at it. */
static inline void carry(fixture *f, const char *code, const char *check)
{
  rl_image *img;
  if (capture_results(f->driver, code, &img) != RL_OK) {
    fail_msg("%s", rl_error_message());
  }
  restore(f->worker, img);
  rl_image_unref(img);
  lua_settop(f->worker, 0);
  run(f->worker, check);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
