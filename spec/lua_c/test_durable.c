/* The durable form of functions: through bytes into another state, and what is refused on both ways. With RILLE_SEEDS
 * set to a folder, what is encoded is written there as seeds for spec/fuzz/fuzz_closure.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "lua/capture_durable.h"
#include "lua/shared.h"

#define FRONT (sizeof RL_CLOSURE_MAGIC - 1 + 8)

typedef struct fixture {
  lua_State *driver, *fresh;
  rl_buf bytes;
  char folder[32];
} fixture;

static lua_State *new_state(void)
{
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  rl_capture_prepare(L);
  rl_broadcast_prepare(L);
  lua_pushcfunction(L, rl_lua_broadcast);
  lua_setglobal(L, "broadcast");
  return L;
}

static int setup(void **state)
{
  fixture *f = calloc(1, sizeof *f);
  f->driver = new_state();
  f->fresh = new_state();
  rl_log_set_level(RL_LOG_OFF);
  strcpy(f->folder, "/tmp/rille-durable-XXXXXX");
  if (!mkdtemp(f->folder)) return -1;
  *state = f;
  return 0;
}

static int teardown(void **state)
{
  fixture *f = *state;
  lua_close(f->driver);
  lua_close(f->fresh);
  rl_buf_free(&f->bytes);
  rl_log_set_level(RL_LOG_WARN);
  rl_status st = rl_dir_remove(f->folder);
  free(f);
  return st;
}

/* --- helpers ------------------------------------------------------------------------------------------------------ */

/* Runs a chunk that was loaded without a name; what it returns is left on the stack. */
static int run(lua_State *L, const char *code, const char *name)
{
  int top = lua_gettop(L);
  if (luaL_loadbufferx(L, code, strlen(code), name ? name : code, "t") || lua_pcall(L, 0, LUA_MULTRET, 0))
    fail_msg("%s", lua_tostring(L, -1));
  return lua_gettop(L) - top;
}

static void write_seed(const rl_buf *bytes)
{
  static int number;
  char path[1024];
  const char *folder = getenv("RILLE_SEEDS");
  if (!folder) return;
  snprintf(path, sizeof path, "%s/closure-%02d", folder, ++number);
  assert_int_equal(rl_file_replace(path, bytes->p + FRONT, bytes->n - FRONT, false), RL_OK);
}

/* Encodes what the chunk returns. */
static rl_status encode(fixture *f, const char *code, const char *name)
{
  rl_image *img = NULL;
  lua_State *L = f->driver;
  rl_capture_root roots[8];
  int n = run(L, code, name);
  for (int i = 0; i < n; i++)
    roots[i] = (rl_capture_root){lua_gettop(L) - n + 1 + i, "the function given to getOrCreate", "job.lua:12", false};
  rl_buf_clear(&f->bytes);
  rl_status st = rl_capture_durable(L, roots, (size_t)n, &img);
  if (st == RL_OK) st = rl_closure_encode(img, &f->bytes, NULL);
  rl_image_unref(img);
  lua_pop(L, n);
  if (st == RL_OK) write_seed(&f->bytes);
  return st;
}

static rl_status decode(lua_State *L, const char *p, size_t n, rl_image **img)
{
  int top = lua_gettop(L);
  rl_status st = rl_closure_decode(L, p, n, img);
  assert_int_equal(lua_gettop(L), top);
  return st;
}

static int push_home(lua_State *L)
{
  rl_image_push_home(L, lua_touserdata(L, 1));
  return 1;
}

/* The roots in a fresh state: its global `r`. */
static void restore(fixture *f)
{
  rl_image *img = NULL;
  lua_State *L = f->fresh;
  if (decode(L, f->bytes.p, f->bytes.n, &img)) fail_msg("%s", rl_error_message());
  rl_buf again = {0};
  assert_int_equal(rl_closure_encode(img, &again, NULL), RL_OK);
  assert_int_equal(again.n, f->bytes.n);
  assert_memory_equal(again.p, f->bytes.p, again.n);
  rl_buf_free(&again);
  lua_pushcfunction(L, push_home);
  lua_pushlightuserdata(L, img);
  if (lua_pcall(L, 1, 1, 0)) fail_msg("%s", lua_tostring(L, -1));
  rl_image_unref(img);
  lua_setglobal(L, "r");
}

/* What the chunk returns is restored; then the second chunk gives this text there. */
static void check(fixture *f, const char *code, const char *use, const char *expected)
{
  if (encode(f, code, NULL)) fail_msg("%s", rl_error_message());
  restore(f);
  run(f->fresh, use, "=use");
  const char *got = luaL_tolstring(f->fresh, -1, NULL);
  if (strcmp(got, expected) != 0) fail_msg("%s\n gives %s instead of %s", code, got, expected);
  lua_settop(f->fresh, 0);
}

static void check_refused(fixture *f, const char *code, const char *name, const char *message)
{
  assert_int_equal(encode(f, code, name), RL_EINVAL);
  if (!strstr(rl_error_message(), message)) fail_msg("%s\n is refused with: %s", code, rl_error_message());
}

static void sign(rl_buf *b)
{
  uint64_t sum = rl_hash_bytes(b->p + FRONT, b->n - FRONT, RL_HASH_SEED);
  for (int i = 0; i < 8; i++) b->p[FRONT - 8 + (size_t)i] = (char)(sum >> (8 * i) & 0xff);
}

/* --- there and back ----------------------------------------------------------------------------------------------- */

static void functions_come_back_with_their_variables(void **state)
{
  check(*state, "local n, f = 3, nil f = function(k) if k == 0 then return n end return f(k - 1) end return f",
        "return r[1](5)", "3");
  check(*state, "local n = 1 return function() n = n + 1 return n end, function() return n end",
        "r[1]() r[1]() return r[2]()", "3");
  check(*state, "local a, b, c = nil, false, 2.5 return function() return tostring(a) .. tostring(b) .. c end",
        "return r[1]()", "nilfalse2.5");
  check(*state, "return function(...) return select('#', ...) end", "return r[1](1, nil, nil)", "3");
}

static void nested_functions_are_found_in_their_text(void **state)
{
  check(*state,
        "local function one() return 1 end local function outer(x)\n"
        "  local function inner(y) return function(z) return x + y + z + one() end end\n"
        "  return inner(x)\nend return outer(10)",
        "return r[1](100)", "121");
  check(*state, "return (function() local t = {} for i = 1, 3 do t[i] = function() return i end end return t end)()",
        "return r[1][1]() + r[1][2]() * 10 + r[1][3]() * 100", "321");
}

static void a_main_chunk_comes_back(void **state)
{
  check(*state, "return load('local x = ... ; return (x or 0) + 1')", "return r[1](41)", "42");
}

static void the_first_variable_is_no_environment(void **state)
{
  check(*state, "local n = 41 return function() return n + 1 end", "return r[1]()", "42");
  check(*state, "local t return function() return t, print end", "return r[1]() == nil and 'nil' or 'set'", "nil");
}

static void globals_and_standard_functions_come_back(void **state)
{
  check(*state, "limit = 7 function over(x) return x > limit end return function(x) return over(x) end",
        "return tostring(r[1](8)) .. tostring(r[1](7)) .. type(limit)", "truefalsenil");
  check(*state, "local up = string.upper return function(s) return up(s) .. math.max(1, 2) end", "return r[1]('a')",
        "A2");
}

static void tables_come_back(void **state)
{
  check(*state, "local t = { 1, 2, [2.5] = 'x', s = {} } t.self = t t.s.t = t return t",
        "local t = r[1] return (t.self == t and t.s.t == t) and #t .. t[2.5]", "2x");
  check(*state, "local m = { __index = function(_, k) return k .. '!' end } return setmetatable({}, m)",
        "return r[1].hey", "hey!");
  check(*state, "local s = ('x'):rep(100) return function() return s end, s", "return #r[1]() + #r[2]", "200");
}

static void broadcasts_come_back_with_their_value(void **state)
{
  check(*state, "local b = broadcast({ a = { 1, 2, 3 } }) return function() return #b:value().a end, b",
        "assert(r[2]:value() == r[2]:value()) return r[1]()", "3");
  check(*state, "local inner = broadcast('deep') local b = broadcast({ inner }) return b",
        "return r[1]:value()[1]:value()", "deep");
  check(*state, "return broadcast(1)", "r[1]:unpersist() r[1]:destroy() return (pcall(r[1].value, r[1]))", "false");
}

/* Takes `what` through a checkpoint, which has `m`, a module of this text, whose file is gone by then. */
static void restore_with_module(fixture *f, const char *text, const char *what)
{
  char code[512], path[64];
  snprintf(path, sizeof path, "%s/helper.lua", f->folder);
  assert_int_equal(rl_file_replace(path, text, strlen(text), false), RL_OK);
  snprintf(code, sizeof code, "package.path = '%s/?.lua' local m = require 'helper' return %s", f->folder, what);
  assert_int_equal(encode(f, code, NULL), RL_OK);
  assert_int_equal(rl_file_unlink(path), RL_OK);
  restore(f);
}

static void modules_come_back_with_their_text(void **state)
{
  fixture *f = *state;
  restore_with_module(f, "#!shebang\nlocal M = { n = 0 } function M.add(x) M.n = M.n + x return M.n end return M",
                      "function() return m.add(2) end");
  run(f->fresh, "return r[1]() + r[1]() + require('helper').n", "=use");
  assert_int_equal(lua_tointeger(f->fresh, -1), 10);
}

/* What was restored can go into a checkpoint again, although no file is there. */
static void what_came_back_goes_again(void **state)
{
  fixture *f = *state;
  restore_with_module(f, "return { twice = function(x) return 2 * x end }", "function(x) return m.twice(x) end");
  lua_close(f->driver);
  f->driver = f->fresh;
  f->fresh = new_state();
  assert_int_equal(encode(f, "return r[1]", NULL), RL_OK);
  restore(f);
  run(f->fresh, "return r[1](21)", "=use");
  assert_int_equal(lua_tointeger(f->fresh, -1), 42);
}

static void there_is_no_bytecode_in_it(void **state)
{
  fixture *f = *state;
  assert_int_equal(encode(f, "local n = 1 return function() return n end", NULL), RL_OK);
  assert_null(memmem(f->bytes.p, f->bytes.n, LUA_SIGNATURE, strlen(LUA_SIGNATURE)));
  assert_non_null(memmem(f->bytes.p, f->bytes.n, "local n = 1", strlen("local n = 1")));
}

/* --- refused ------------------------------------------------------------------------------------------------------ */

static void functions_without_text_are_refused(void **state)
{
  fixture *f = *state;
  check_refused(f, "return load(string.dump(function() return 1 end, true))", NULL,
                "job.lua:12: the function given to getOrCreate has no source text, so a checkpoint cannot keep it: it "
                "was stripped of its debug information");
  check_refused(f, "local g = load(string.dump(function() return 1 end, true)) return function() return g() end", NULL,
                "captures 'g' (a function without source text, via upvalue 'g')");
  check_refused(f, "return function() end", "=console", "it was loaded under a name that stands for no text");
  check_refused(f, "return function() end", "=stdin", "it was typed in, or piped; put it into a file");
  check_refused(f, "local n = 0 return load(function() n = n + 1 return n == 1 and 'return 1' or nil end)", NULL,
                "load was given it in pieces; give it the whole text as one string");
  check_refused(f, "return function() end", "@/nowhere/job.lua", "its file is gone, or has changed");
  check_refused(f, "local s = io.tmpfile() return function() return s end", NULL, "captures 's' (userdata");
}

static void a_file_that_has_changed_is_refused(void **state)
{
  fixture *f = *state;
  char path[64], name[65];
  const char *before = "return function() return 1 end", *after = "return function() return 2 end";
  snprintf(path, sizeof path, "%s/job.lua", f->folder);
  snprintf(name, sizeof name, "@%s", path);
  assert_int_equal(rl_file_replace(path, before, strlen(before), false), RL_OK);
  assert_int_equal(encode(f, before, name), RL_OK);
  assert_int_equal(rl_file_replace(path, after, strlen(after), false), RL_OK);
  check_refused(f, before, name, "its file is gone, or has changed");
}

static void other_versions_are_unsupported(void **state)
{
  fixture *f = *state;
  rl_image *img = NULL;
  assert_int_equal(encode(f, "return function() return 1 end", NULL), RL_OK);
  f->bytes.p[7] = '9';
  assert_int_equal(decode(f->fresh, f->bytes.p, f->bytes.n, &img), RL_EUNSUPPORTED);
  f->bytes.p[7] = RL_CLOSURE_MAGIC[7];
  f->bytes.p[FRONT]--; /* the version of Lua */
  sign(&f->bytes);
  assert_int_equal(decode(f->fresh, f->bytes.p, f->bytes.n, &img), RL_EUNSUPPORTED);
}

static const char *const mixed =
  "limit = 3 local s = ('y'):rep(80) local b = broadcast({ 1 }) local t = setmetatable({ 1, x = 'q' }, { __len = print })"
  "local n = 1 local function f(x) n = n + x return s, t, b, limit end return f, function() return f(n) end";

static void damage_is_found_by_the_checksum(void **state)
{
  fixture *f = *state;
  rl_image *img = NULL;
  assert_int_equal(encode(f, mixed, NULL), RL_OK);
  for (size_t i = 0; i < f->bytes.n; i++) {
    f->bytes.p[i] ^= 0x10;
    rl_status st = decode(f->fresh, f->bytes.p, f->bytes.n, &img);
    assert_true(st == RL_EDATA || st == RL_EUNSUPPORTED);
    f->bytes.p[i] ^= 0x10;
  }
  for (size_t n = 0; n < f->bytes.n; n++) assert_int_equal(decode(f->fresh, f->bytes.p, n, &img), RL_EDATA);
  assert_int_equal(decode(f->fresh, f->bytes.p, f->bytes.n, &img), RL_OK);
  rl_image_unref(img);
}

/* Bytes made to deceive: the checksum is right, what is under it is not. Nothing may go wrong but with an error. */
static void crafted_bytes_do_no_harm(void **state)
{
  fixture *f = *state;
  assert_int_equal(encode(f, mixed, NULL), RL_OK);
  for (size_t i = FRONT; i < f->bytes.n; i++) {
    const char old = f->bytes.p[i];
    for (unsigned c = 0; c < 256; c += 1 + (i % 3)) {
      rl_image *img = NULL;
      f->bytes.p[i] = (char)c;
      sign(&f->bytes);
      if (decode(f->fresh, f->bytes.p, f->bytes.n, &img)) continue;
      lua_pushcfunction(f->fresh, push_home);
      lua_pushlightuserdata(f->fresh, img);
      lua_pcall(f->fresh, 1, 0, 0);
      lua_settop(f->fresh, 0);
      rl_image_unref(img);
    }
    f->bytes.p[i] = old;
  }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
    T(functions_come_back_with_their_variables),
    T(nested_functions_are_found_in_their_text),
    T(a_main_chunk_comes_back),
    T(the_first_variable_is_no_environment),
    T(globals_and_standard_functions_come_back),
    T(tables_come_back),
    T(broadcasts_come_back_with_their_value),
    T(modules_come_back_with_their_text),
    T(what_came_back_goes_again),
    T(there_is_no_bytecode_in_it),
    T(functions_without_text_are_refused),
    T(a_file_that_has_changed_is_refused),
    T(other_versions_are_unsupported),
    T(damage_is_found_by_the_checksum),
    T(crafted_bytes_do_no_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
