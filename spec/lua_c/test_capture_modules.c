/* Modules, and the texts that functions were compiled from. */
#include <unistd.h>

#include "base/file.h"
#include "spec/lua_c/captures.h"

typedef struct folder {
  char path[64];
} folder;

static void make_folder(folder *d)
{
  snprintf(d->path, sizeof d->path, "/tmp/rille-capture-XXXXXX");
  assert_non_null(mkdtemp(d->path));
}

static void write_file(const folder *d, const char *name, const char *text)
{
  char *path = rl_path_join(d->path, name);
  assert_int_equal(rl_file_replace(path, text, strlen(text), false), RL_OK);
  free(path);
}

static void search_in(lua_State *L, const folder *d)
{
  lua_getglobal(L, "package");
  lua_pushfstring(L, "%s/?.lua", d->path);
  lua_setfield(L, -2, "path");
  lua_pop(L, 1);
}

static void test_modules_travel_with_their_source(void **state)
{
  fixture *f = *state;
  folder d;
  rl_image *img;
  make_folder(&d);
  write_file(&d, "part.lua", "loads = (loads or 0) + 1 return { unit = 'km' }");
  write_file(&d, "whole.lua",
             "#!/usr/bin/env lua\n"
             "local part = require 'part'\n"
             "local M = { name = ... } M.__index = M\n"
             "function M.show(n) return n .. part.unit end\n"
             "return M");
  search_in(f->driver, &d);
  assert_int_equal(capture_results(f->driver,
                                   "local whole = require 'whole'\n"
                                   "local show = whole.show\n"
                                   "local obj = setmetatable({}, whole)\n"
                                   "return function(n) return whole.show(n), show(n), whole, obj end", &img), RL_OK);
  assert_int_equal(rl_dir_remove(d.path), RL_OK);
  restore(f->worker, img);
  run(f->worker,
      "local a, b, m, obj = r[1](5)\n"
      "assert(a == '5km' and b == '5km' and m == require 'whole' and m.name == 'whole' and loads == 1)\n"
      "assert(getmetatable(obj) == m) first = m");
  restore(f->worker, img);
  run(f->worker, "local a, b, m = r[1](5) assert(m == first and loads == 1)");
  rl_image_unref(img);
}

static void test_a_new_text_is_another_module(void **state)
{
  fixture *f = *state;
  folder d;
  make_folder(&d);
  search_in(f->driver, &d);
  write_file(&d, "m.lua", "return { version = 1 }");
  carry(f, "local m = require 'm' return function() return m.version end", "old = r[1] assert(old() == 1)");
  write_file(&d, "m.lua", "return { version = 2 }");
  carry(f, "package.loaded.m = nil local m = require 'm' return function() return m.version end",
        "assert(r[1]() == 2 and old() == 1)");
  assert_int_equal(rl_dir_remove(d.path), RL_OK);
}

static void test_preloaded_and_required_inside(void **state)
{
  fixture *f = *state;
  folder d;
  rl_image *img;
  make_folder(&d);
  search_in(f->driver, &d);
  write_file(&d, "late.lua", "return 'late'");
  assert_int_equal(capture_results(f->driver,
                                   "local greeting = 'hi'\n"
                                   "package.preload.pre = function(name) return { name = name, say = greeting } end\n"
                                   "local pre = require 'pre'\n"
                                   "return function() return pre.say, require('late'), pre.name end", &img), RL_OK);
  assert_int_equal(rl_dir_remove(d.path), RL_OK);
  restore(f->worker, img);
  rl_image_unref(img);
  run(f->worker, "local s, l, n = r[1]() assert(s == 'hi' and l == 'late' and n == 'pre')");
}

/* Workers hide their libraries behind read-only tables; `require` shall look where the driver's does all the same. */
static void test_search_path_of_the_driver(void **state)
{
  fixture *f = *state;
  folder d;
  make_folder(&d);
  search_in(f->driver, &d);
  write_file(&d, "any.lua", "return 'found'");
  run(f->worker,
      "local frozen = setmetatable({}, { __index = package, __newindex = error })\n"
      "package.loaded.package = frozen package = frozen");
  carry(f, "return function(name) return require(name) end", "assert(r[1]('any') == 'found')");
  assert_int_equal(rl_dir_remove(d.path), RL_OK);
}

static int push_quietly(lua_State *L)
{
  rl_image_push(L, lua_touserdata(L, 1));
  return 0;
}

static void test_what_a_worker_does_not_have(void **state)
{
  fixture *f = *state;
  rl_image *img;
  run(f->driver, "package.loaded.rille = { Context = function() end }");
  run(f->worker, "package.loaded.rille = {}");
  assert_int_equal(capture_results(f->driver, "local C = require('rille').Context return function() return C() end",
                                   &img), RL_OK);
  lua_pushcfunction(f->worker, push_quietly);
  lua_pushlightuserdata(f->worker, img);
  assert_int_equal(lua_pcall(f->worker, 1, 0, 0), LUA_ERRRUN);
  assert_string_equal(lua_tostring(f->worker, -1), "rille.Context is not there in functions that run in workers");
  rl_image_unref(img);
}

static void test_modules_without_a_file_go_by_value(void **state)
{
  carry(*state,
        "package.loaded.made = { f = function() return 'made' end }\n"
        "local made = require 'made'\n"
        "return function() return made.f() end",
        "assert(r[1]() == 'made' and package.loaded.made == nil)");
}

static void test_our_own_modules_go_by_name(void **state)
{
  fixture *f = *state;
  run(f->driver, "package.loaded.rille = { secret = io.tmpfile(), tuple = function() return 'driver' end }");
  run(f->worker, "package.loaded.rille = { tuple = function() return 'worker' end }");
  carry(f, "local rille = require 'rille' local tuple = rille.tuple return function() return rille, tuple() end",
        "local m, s = r[1]() assert(m == package.loaded.rille and s == 'worker')");
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

typedef struct sources {
  size_t n, with_text, path_sum, levels;
  const char *text;
} sources;

static void look(void *user, const rl_image_fn *fn)
{
  sources *s = user;
  s->n++;
  if (fn->text) {
    assert_true(s->text == NULL || s->text == fn->text); /* one copy for all */
    s->text = fn->text;
    s->with_text++;
    s->levels += fn->npath;
    for (size_t i = 0; i < fn->npath; i++) {
      s->path_sum += fn->path[i];
    }
  }
}

static void test_functions_keep_their_chunks_text(void **state)
{
  fixture *f = *state;
  folder d;
  rl_image *img;
  sources s = {0};
  make_folder(&d);
  write_file(&d, "chunk.lua",
             "local a = function() return 1 end\n"
             "local b = function() local c = function() return 2 end return c end\n"
             "return function() return a, b, c end");
  char *path = rl_path_join(d.path, "chunk.lua");
  lua_pushstring(f->driver, path);
  lua_setglobal(f->driver, "path");
  assert_int_equal(capture_results(f->driver, "local f = dofile(path) local _, b = f() return f, b()", &img), RL_OK);
  rl_image_functions(img, look, &s);
  assert_int_equal(s.n, 4);
  assert_int_equal(s.with_text, 4);
  assert_int_equal(s.levels, 1 + 1 + 1 + 2);
  assert_int_equal(s.path_sum, 2 + 0 + 1 + (1 + 0));
  rl_image_unref(img);

  s = (sources){0};
  write_file(&d, "chunk.lua", "return function() return 1 end");
  run(f->driver, "f = dofile(path)");
  write_file(&d, "chunk.lua", "return function() return 2 end");
  assert_int_equal(capture_results(f->driver, "return f", &img), RL_OK);
  rl_image_functions(img, look, &s);
  assert_int_equal(s.n, 1);
  assert_int_equal(s.with_text, 0);
  rl_image_unref(img);

  s = (sources){0};
  assert_int_equal(capture_results(f->driver, "return load('return function() end'), load('return function() end')()",
                                   &img), RL_OK);
  rl_image_functions(img, look, &s);
  assert_int_equal(s.with_text, 2);
  assert_int_equal(s.levels, 1);
  rl_image_unref(img);
  free(path);
  assert_int_equal(rl_dir_remove(d.path), RL_OK);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(test_modules_travel_with_their_source),
    TEST(test_a_new_text_is_another_module),
    TEST(test_preloaded_and_required_inside),
    TEST(test_search_path_of_the_driver),
    TEST(test_what_a_worker_does_not_have),
    TEST(test_modules_without_a_file_go_by_value),
    TEST(test_our_own_modules_go_by_name),
    TEST(test_functions_keep_their_chunks_text),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
