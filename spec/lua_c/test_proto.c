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

#include "base/buf.h"
#include "lua/proto.h"

static lua_State *L;

static int open_lua(void **state)
{
  (void)state;
  L = luaL_newstate();
  luaL_openlibs(L);
  return 0;
}

static int close_lua(void **state)
{
  (void)state;
  lua_close(L);
  return 0;
}

static int add(lua_State *l, const void *p, size_t n, void *user)
{
  (void)l;
  rl_buf_add(user, p, n);
  return 0;
}

/* Dumps the function that `code` returns. */
static rl_buf dump(const char *code, bool strip)
{
  rl_buf b = {0};
  if (luaL_loadbuffer(L, code, strlen(code), "@job.lua") != LUA_OK || lua_pcall(L, 0, 1, 0) != LUA_OK) {
    fail_msg("%s: %s", code, lua_tostring(L, -1));
  }
  assert_int_equal(lua_dump(L, add, &b, strip), 0);
  lua_pop(L, 1);
  return b;
}

static rl_proto *read_function(const char *code)
{
  rl_proto *p;
  rl_buf b = dump(code, false);
  assert_int_equal(rl_proto_read(b.p, b.n, &p), RL_OK);
  rl_buf_free(&b); /* the prototype has memory of its own */
  return p;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static void test_header_of_a_function(void **state)
{
  (void)state;
  rl_proto *p = read_function("local a, b = 1, 2\n\nreturn function(x, y, ...)\n  b = x return a, print\nend");
  assert_int_equal(p->source_n, strlen("@job.lua"));
  assert_memory_equal(p->source, "@job.lua", p->source_n);
  assert_int_equal(p->line_defined, 3);
  assert_int_equal(p->last_line, 5);
  assert_int_equal(p->num_params, 2);
  assert_true(p->is_vararg);
  assert_int_equal(p->nupvals, 3);
  assert_string_equal(p->upvals[0].name, "b");
  assert_string_equal(p->upvals[1].name, "a");
  assert_string_equal(p->upvals[2].name, "_ENV");
  assert_true(p->upvals[0].instack && p->upvals[0].index == 1);
  assert_false(p->upvals[2].instack);
  rl_proto_delete(p);
}

static void test_constants(void **state)
{
  (void)state;
  rl_proto *p = read_function("return function(x) return { x == 'a\\0b', 1 << 40, 0.1, x // 1e300, ('s'):rep(2) } end");
  bool string = false, integer = false, number = false;
  for (size_t i = 0; i < p->nk; i++) {
    const rl_constant *k = &p->k[i];
    string = string || (k->type == RL_K_STRING && k->n == 3 && memcmp(k->s, "a\0b", 3) == 0);
    integer = integer || (k->type == RL_K_INT && k->i == INT64_C(1) << 40);
    number = number || (k->type == RL_K_FLOAT && k->f == 0.1);
  }
  assert_true(string && integer && number);
  rl_proto_delete(p);
}

static void test_nested_functions(void **state)
{
  (void)state;
  rl_proto *p = read_function("return function()\n"
                              "  local function one() return function() return 1 end end\n"
                              "  local function two(a, b, c) end\n"
                              "  return one, two end");
  assert_int_equal(p->nprotos, 2);
  assert_int_equal(p->protos[0]->nprotos, 1);
  assert_int_equal(p->protos[1]->num_params, 3);
  const rl_proto *inner = p->protos[0]->protos[0];
  assert_int_equal(inner->line_defined, 2);
  assert_int_equal(inner->source_n, p->source_n);
  assert_memory_equal(inner->source, "@job.lua", inner->source_n);
  assert_true(inner->body > p->protos[0]->body && inner->body + inner->body_n < p->body + p->body_n);
  rl_proto_delete(p);
}

static void test_stripped(void **state)
{
  (void)state;
  rl_proto *p;
  rl_buf b = dump("local n = 1 return function() return n, print end", true);
  assert_int_equal(rl_proto_read(b.p, b.n, &p), RL_OK);
  assert_null(p->source);
  assert_int_equal(p->nupvals, 2);
  assert_string_equal(p->upvals[0].name, "");
  rl_proto_delete(p);
  rl_buf_free(&b);
}

static void test_other_headers_are_refused(void **state)
{
  (void)state;
  rl_proto *p;
  rl_buf b = dump("return function() end", false);
  for (size_t i = 0; i < 31; i++) {
    b.p[i] ^= 1;
    assert_int_equal(rl_proto_read(b.p, b.n, &p), RL_EUNSUPPORTED);
    b.p[i] ^= 1;
  }
  rl_buf_putc(&b, 'x');
  assert_int_equal(rl_proto_read(b.p, b.n, &p), RL_EDATA);
  rl_buf_free(&b);
}

/* --- returns ------------------------------------------------------------------------------------------------------ */

static void check_returns(const char *body, int expected)
{
  char code[512];
  snprintf(code, sizeof code, "return function(a, b, c) %s end", body);
  rl_proto *p = read_function(code);
  int n = rl_proto_returns(p);
  if (n != expected) {
    fail_msg("%s: %d returns, not %d", body, n, expected);
  }
  rl_proto_delete(p);
}

static void test_returns(void **state)
{
  (void)state;
  check_returns("return a", 1);
  check_returns("return a, 1", 2);
  check_returns("return a, b, c", 3);
  check_returns("return", 0);
  check_returns("local x = a", 0);
  check_returns("if a then return b end return c", 1);
  check_returns("if a then return b end return b, c", -1);
  check_returns("if a then return b end", -1);
  check_returns("if a then return b else return c end", 1);
  check_returns("if a == 1 then return b elseif a < 5 then return a elseif a ~= 'x' then return 1 else return c end",
                1);
  check_returns("return a > b, a and b or c", 2);
  check_returns("return not (a <= 3)", 1);
  check_returns("return f(a)", -1);
  check_returns("return (f(a))", 1);
  check_returns("return a, f(a)", -1);
  check_returns("return a:gmatch('x')", -1);
  check_returns("error('no')", 0);
}

static void test_returns_through_loops(void **state)
{
  (void)state;
  check_returns("for i = 1, a do if i == b then return i end end return c", 1);
  check_returns("for i = 1, a do if i == b then return i end end", -1);
  check_returns("for i = 1, a do return i end return nil", 1);
  check_returns("for i = 1, a do return i, i end return nil", -1);
  check_returns("for k, v in pairs(a) do if v == b then return k end end return nil", 1);
  check_returns("for k, v in pairs(a) do return k, v end return 1, 2", 2);
  check_returns("for k, v in pairs(a) do return k, v end", -1);
  check_returns("while a do a = a.next if b then return b end end return c", 1);
  check_returns("while true do if a then return b, c end end", 2);
  check_returns("repeat local x = a.y if x then return x end until b return c", 1);
  check_returns("while true do end", -1);
  check_returns("goto last ::first:: do return 1, 2 end ::last:: if a then goto first end return b, c", 2);
  check_returns("do return 1 end return 1, 2", 1);
}

static void test_returns_of_varargs_and_tricky_forms(void **state)
{
  (void)state;
  rl_proto *p = read_function("return function(...) return ... end");
  assert_int_equal(rl_proto_returns(p), -1);
  rl_proto_delete(p);
  p = read_function("return function(...) return (...) end");
  assert_int_equal(rl_proto_returns(p), 1);
  rl_proto_delete(p);
  p = read_function("return function(...) local a, b = ... return a, b end");
  assert_int_equal(rl_proto_returns(p), 2);
  rl_proto_delete(p);
  check_returns("local x <close> = a return b, c", 2);
  check_returns("local x <close> = a return f(b)", -1);
  check_returns("local function inner() return 1, 2, 3 end return function() return a end", 1);
  check_returns("local t = {} for i = 1, 100 do t[i] = { a, b, c, i } end return t", 1);
}

/* --- upvalues ----------------------------------------------------------------------------------------------------- */

static bool assigned(const char *body)
{
  char code[512];
  snprintf(code, sizeof code, "local n, other = 0, 0 return function(x) local keep = n %s end", body);
  rl_proto *p = read_function(code);
  assert_string_equal(p->upvals[0].name, "n");
  bool result = rl_proto_assigns_upvalue(p, 0);
  assert_false(rl_proto_assigns_upvalue(p, 99));
  rl_proto_delete(p);
  return result;
}

static void test_assigned_upvalues(void **state)
{
  (void)state;
  assert_false(assigned(""));
  assert_false(assigned("other = 1"));
  assert_false(assigned("n.x = 1 n[1] = 2"));
  assert_false(assigned("local n = 1 n = 2"));
  assert_false(assigned("return function() local n n = 1 return function() n = 2 end end"));
  assert_true(assigned("n = 1"));
  assert_true(assigned("return function() n = 1 end"));
  assert_true(assigned("return function() return function() other, n = 1, 2 end end"));
  assert_true(assigned("function n() end"));
  assert_true(assigned("for i = 1, 3 do if x then n = n + i end end"));
}

/* --- globals ------------------------------------------------------------------------------------------------------ */

typedef struct seen {
  char text[4096];
} seen;

/* Writes "name " or "name= " for one that is assigned. */
static void see(void *user, const char *name, size_t n, bool is_assigned)
{
  seen *s = user;
  size_t at = strlen(s->text);
  snprintf(s->text + at, sizeof s->text - at, "%.*s%s ", (int)n, name, is_assigned ? "=" : "");
}

static void check_globals(const char *code, const char *expected, bool expect_dynamic)
{
  seen s = {""};
  bool dynamic = !expect_dynamic;
  rl_proto *p = read_function(code);
  rl_proto_globals(p, see, &s, &dynamic);
  assert_string_equal(s.text, expected);
  assert_int_equal(dynamic, expect_dynamic);
  rl_proto_delete(p);
}

static void test_globals(void **state)
{
  (void)state;
  check_globals("return function() end", "", false);
  check_globals("return function(x) return f(x) + f(y) end", "f y ", false);
  check_globals("return function(x) a = x b.c = 1 a = b end", "a= b ", false);
  check_globals("return function(x) return function() return function() deep = string.rep end end end", "string deep= ",
                false);
  check_globals("local t = { x = 1 } return function() t.y = t.x end", "", false);
  check_globals("return function() local _ENV = { print = print } return inner end", "print ", false);
  check_globals("return function() local e = _ENV return e.x end", "x ", true);
  check_globals("return function() return _G.x + _G.y.z end", "_G x y ", false);
  check_globals("return function(a) local g = _G local t = { z = 1 } g.x = t.z + a return g.y end", "_G x= y ", false);
  check_globals("return function(k) return _G[k], print(_G) end", "_G print ", false);
  check_globals("return function(k) return _ENV[k] end", "", true);
  check_globals("return function(k) return _ENV.named end", "named ", false);
  check_globals("return function(k) _ENV = k return after end", "after ", true);
  check_globals("return function(k) return function() return function(x) return _ENV, one end end end", "one ", true);
}

static void check_computes(const char *code, bool expected)
{
  rl_proto *p = read_function(code);
  assert_int_equal(rl_proto_computes_globals(p), expected);
  rl_proto_delete(p);
}

static void test_computed_globals(void **state)
{
  (void)state;
  check_computes("return function(k) return _G[k] end", true);
  check_computes("return function(k) return _ENV[k] end", true);
  check_computes("return function(k) return function() local g = _G g[k] = 1 end end", true);
  check_computes("return function(k) return _G.x[k], _ENV.y[k], print(_G) end", false);
  check_computes("return function(k) local g = _G g = { 1 } return g[k] end", false);
}

/* Names too long for a short string, or behind the 256th constant, are compiled to another form of access. */
static void test_globals_of_the_long_form(void **state)
{
  (void)state;
  static const char long_name[] = "a_name_that_is_longer_than_the_forty_characters_of_short_strings";
  char code[8192];
  char expected[128];
  snprintf(code, sizeof code, "return function() return %s end", long_name);
  snprintf(expected, sizeof expected, "%s ", long_name);
  check_globals(code, expected, false);
  size_t n = (size_t)snprintf(code, sizeof code, "return function() local t = {");
  for (int i = 0; i < 400; i++) {
    n += (size_t)snprintf(code + n, sizeof code - n, "%d.5,", i);
  }
  snprintf(code + n, sizeof code - n, "} return near(far) end");
  check_globals(code, "near far ", false);
  snprintf(code + n, sizeof code - n, "} far = 1 end");
  check_globals(code, "far= ", true);
}

static void see_required(void *user, const char *name, size_t n)
{
  see(user, name, n, false);
}

static void test_fields_and_requires(void **state)
{
  (void)state;
  seen s = {""};
  rl_proto *p = read_function("local G = _G return function(x) local m = require 'one' G.a = G.b\n"
                              "  return function() return pcall(require, 'two.three'), require(x) end end");
  size_t g = strcmp(p->upvals[0].name, "G") == 0 ? 0 : 1;
  rl_proto_fields(p, g, see, &s, NULL);
  assert_string_equal(s.text, "b a= ");
  s.text[0] = '\0';
  rl_proto_requires(p, see_required, &s);
  assert_string_equal(s.text, "one two.three ");
  rl_proto_delete(p);
}

/* --- robustness --------------------------------------------------------------------------------------------------- */

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
  seed = seed * UINT32_C(1664525) + UINT32_C(1013904223);
  return (seed >> 8) % n;
}

/* A random function: statements of all kinds, nested to a few levels. */
static void generate(rl_buf *b, int depth)
{
  static const char *const simple[] = {
    "a = a + 1 ", "n = n .. 'x\\0y' ", "glob = glob and a or 2.5 ", "local t = { a, x = 1, [b] = 'a string' } ",
    "print(a, b, ...) ", "a, b = b, a ", "n = -n ~ 3 ", "local z <const> = 12 ", "t = #a < 3 ", "a.b.c = a[1][2] "};
  static const char *const blocks[] = {"if a then ", "while b < 3 do ", "for i = 1, n do ", "for k, v in pairs(a) do ",
                                       "do ", "local function f(a, b, ...) ", "n = function(...) "};
  for (uint32_t i = random_below(4) + 1; i > 0; i--) {
    if (depth > 0 && random_below(2) == 0) {
      rl_buf_puts(b, blocks[random_below(sizeof blocks / sizeof *blocks)]);
      generate(b, depth - 1);
      rl_buf_puts(b, "end ");
    } else {
      rl_buf_puts(b, simple[random_below(sizeof simple / sizeof *simple)]);
    }
  }
}

/* `...` is legal in vararg functions only: a random text may not compile, then the next one is tried. */
static rl_buf random_dump(void)
{
  for (;;) {
    rl_buf code = {0};
    rl_buf b = {0};
    rl_buf_puts(&code, "local n, b = 1, 2 return function(a, ...) ");
    generate(&code, 2);
    rl_buf_puts(&code, random_below(2) ? "return a, n end" : "end");
    bool good = luaL_loadbuffer(L, code.p, code.n, "=r") == LUA_OK && lua_pcall(L, 0, 1, 0) == LUA_OK;
    if (good) {
      assert_int_equal(lua_dump(L, add, &b, random_below(4) == 0), 0);
    }
    lua_settop(L, 0);
    rl_buf_free(&code);
    if (good) {
      return b;
    }
  }
}

static void ignore(void *user, const char *name, size_t n, bool is_assigned)
{
  (void)name;
  *(size_t *)user += n + is_assigned;
}

static void ignore_required(void *user, const char *name, size_t n)
{
  (void)name;
  *(size_t *)user += n;
}

static void analyse(const rl_proto *p)
{
  size_t sum = 0;
  bool dynamic;
  rl_proto_returns(p);
  rl_proto_globals(p, ignore, &sum, &dynamic);
  rl_proto_requires(p, ignore_required, &sum);
  for (size_t i = 0; i < p->nupvals; i++) {
    rl_proto_assigns_upvalue(p, i);
    rl_proto_fields(p, i, ignore, &sum, &dynamic);
  }
}

static void test_dumps_cut_short(void **state)
{
  (void)state;
  for (int i = 0; i < 700; i++) {
    rl_proto *p;
    rl_buf b = random_dump();
    assert_int_equal(rl_proto_read(b.p, b.n, &p), RL_OK);
    analyse(p);
    rl_proto_delete(p);
    for (size_t n = 0; n < b.n; n += i < 60 ? 1 : random_below(40) + 1) {
      char *cut = malloc(n ? n : 1); /* of just this size, so that a sanitizer sees a read behind the end */
      assert_non_null(cut);
      memcpy(cut, b.p, n);
      assert_true(rl_proto_read(cut, n, &p) != RL_OK);
      free(cut);
    }
    rl_buf_free(&b);
  }
}

static void test_dumps_with_wrong_bytes(void **state)
{
  (void)state;
  for (int i = 0; i < 60; i++) {
    rl_proto *p;
    rl_buf b = random_dump();
    for (size_t at = 31; at < b.n; at++) {
      char right = b.p[at];
      b.p[at] = (char)random_below(256);
      if (rl_proto_read(b.p, b.n, &p) == RL_OK) {
        analyse(p);
        rl_proto_delete(p);
      }
      b.p[at] = right;
    }
    rl_buf_free(&b);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_header_of_a_function),
    cmocka_unit_test(test_constants),
    cmocka_unit_test(test_nested_functions),
    cmocka_unit_test(test_stripped),
    cmocka_unit_test(test_other_headers_are_refused),
    cmocka_unit_test(test_returns),
    cmocka_unit_test(test_returns_through_loops),
    cmocka_unit_test(test_returns_of_varargs_and_tricky_forms),
    cmocka_unit_test(test_assigned_upvalues),
    cmocka_unit_test(test_globals),
    cmocka_unit_test(test_computed_globals),
    cmocka_unit_test(test_globals_of_the_long_form),
    cmocka_unit_test(test_fields_and_requires),
    cmocka_unit_test(test_dumps_cut_short),
    cmocka_unit_test(test_dumps_with_wrong_bytes),
  };
  return cmocka_run_group_tests(tests, open_lua, close_lua);
}
