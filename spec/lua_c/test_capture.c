/* What travels, and arrives as it was. */
#include "spec/lua_c/captures.h"

/* --- values ------------------------------------------------------------------------------------------------------- */

static void test_scalars(void **state)
{
  carry(*state,
        "local i, x, s, t, n = 3, 3.0, 'a\\0b', true, nil\n"
        "return function() return i, x, s, t, n end, 7, 'direct', false",
        "local i, x, s, t, n = r[1]()\n"
        "assert(math.type(i) == 'integer' and i == 3)\n"
        "assert(math.type(x) == 'float' and x == 3.0)\n"
        "assert(s == 'a\\0b' and #s == 3 and t == true and n == nil)\n"
        "assert(r[2] == 7 and r[3] == 'direct' and r[4] == false)");
}

static void test_special_numbers(void **state)
{
  carry(*state,
        "local v = { math.huge, -math.huge, 0/0, -0.0, math.maxinteger, math.mininteger, [1.5] = 'x' }\n"
        "return v",
        "local v = r[1]\n"
        "assert(v[1] == math.huge and v[2] == -math.huge and v[3] ~= v[3] and 1/v[4] == -math.huge)\n"
        "assert(v[5] == math.maxinteger and v[6] == math.mininteger and v[1.5] == 'x')");
}

static void test_first_upvalue_is_a_counter(void **state)
{
  carry(*state,
        "local n = 41\n"
        "return function() return n + 1 end, (function() local e return function() return e end end)()",
        "assert(r[1]() == 42)\n"
        "assert(r[2]() == nil)");
}

static void test_shared_upvalues(void **state)
{
  carry(*state,
        "local n = 10\n"
        "local function get() return n end\n"
        "local function set(v) n = v end\n"
        "return get, set, { get, set }",
        "r[2](5) assert(r[1]() == 5) assert(r[3][1] == r[1] and r[3][2] == r[2])");
}

static void test_separate_closures_of_one_prototype(void **state)
{
  carry(*state,
        "local function counter(n) return function() n = n + 1 return n end end\n"
        "return counter(0), counter(100)",
        "assert(r[1]() == 1 and r[1]() == 2 and r[2]() == 101)");
}

static void test_recursion(void **state)
{
  carry(*state,
        "local function fact(n) return n < 2 and 1 or n * fact(n - 1) end\n"
        "local even, odd\n"
        "function even(n) return n == 0 or odd(n - 1) end\n"
        "function odd(n) return n ~= 0 and even(n - 1) end\n"
        "return fact, even",
        "assert(r[1](5) == 120 and r[2](10) and not r[2](7))");
}

static void test_cycles(void **state)
{
  carry(*state,
        "local t = { name = 't' } t.self = t t.list = { t, { t } } t[t] = 'itself'\n"
        "t.fn = function() return t end\n"
        "return t, function() return t end",
        "local t = r[1]\n"
        "assert(t.self == t and t.list[1] == t and t.list[2][1] == t and t[t] == 'itself')\n"
        "assert(t.fn() == t and r[2]() == t)");
}

static void test_nested_closures_and_varargs(void **state)
{
  carry(*state,
        "local base = 100\n"
        "return function(...) local n, first = select('#', ...), ...\n"
        "  return function(...) local v = table.pack(...)\n"
        "    return function(x) return base + n + x, first, table.unpack(v, 1, v.n) end end end",
        "local t = table.pack(r[1](1, nil)('a', nil)(4))\n"
        "assert(t.n == 4 and t[1] == 106 and t[2] == 1 and t[3] == 'a' and t[4] == nil)");
}

static void test_long_strings_are_shared(void **state)
{
  fixture *f = *state;
  rl_image *img;
  assert_int_equal(capture_results(f->driver,
                                   "local s = ('x'):rep(100000)\n"
                                   "return { s, s, s, [s] = s }, function() return s end", &img), RL_OK);
  assert_true(rl_image_size(img) < 150000);
  restore(f->worker, img);
  rl_image_unref(img);
  run(f->worker, "local s = ('x'):rep(100000) assert(r[1][3] == s and r[1][s] == s and r[2]() == s)");
}

static void test_deep_tables(void **state)
{
  carry(*state,
        "local list\n"
        "for i = 1, 100000 do list = { value = i, next = list } end\n"
        "return list",
        "local n, sum, l = 0, 0, r[1]\n"
        "while l do n, sum, l = n + 1, sum + l.value, l.next end\n"
        "assert(n == 100000 and sum == 5000050000)");
}

/* --- metatables --------------------------------------------------------------------------------------------------- */

static void test_classes(void **state)
{
  carry(*state,
        "local Account = {} Account.__index = Account\n"
        "function Account.new(b) return setmetatable({ balance = b }, Account) end\n"
        "function Account:add(v) return Account.new(self.balance + v) end\n"
        "Account.__eq = function(a, b) return a.balance == b.balance end\n"
        "local one = Account.new(1)\n"
        "return one, function(v) return one:add(v) end",
        "local a = r[2](4)\n"
        "assert(a.balance == 5 and getmetatable(a) == getmetatable(r[1]) and a == r[1]:add(4))");
}

static void test_no_metamethod_is_called(void **state)
{
  carry(*state,
        "local function never() error('called') end\n"
        "local t = setmetatable({ 1 }, { __index = never, __newindex = never, __pairs = never, __len = never,\n"
        "  __eq = never, __metatable = 'locked', __name = 'T' })\n"
        "return function() return t end",
        "assert(rawget(r[1](), 1) == 1 and getmetatable(r[1]()) == 'locked')\n"
        "assert(not pcall(function() return r[1]().x end))");
}

static void test_weak_tables(void **state)
{
  carry(*state,
        "local t = setmetatable({}, { __mode = 'k' }) local key = {}\n"
        "t[key] = 'v'\n"
        "return t, key",
        "collectgarbage() assert(r[1][r[2]] == 'v') r[2] = nil collectgarbage() assert(next(r[1]) == nil)");
}

static void register_both(fixture *f, const char *code, const char *name)
{
  lua_State *states[] = {f->driver, f->worker};
  for (size_t i = 0; i < 2; i++) {
    run(states[i], code);
    rl_capture_register(states[i], -1, name);
    lua_pop(states[i], 1);
  }
}

static void test_registered_objects_travel_by_name(void **state)
{
  fixture *f = *state;
  register_both(f, "Tuple = { __name = 'tuple' } return Tuple", "rille.tuple's metatable");
  lua_State *states[] = {f->driver, f->worker};
  for (size_t i = 0; i < 2; i++) {
    lua_pushlightuserdata(states[i], i == 0 ? (void *)&warnings : (void *)warning);
    rl_capture_register(states[i], -1, "rille.null");
    lua_setglobal(states[i], "null");
  }
  carry(f, "local t = setmetatable({ 1, 2 }, Tuple) local none = null return function() return t, none end",
        "local t, none = r[1]() assert(getmetatable(t) == Tuple and none == null and t[2] == 2)");
}

/* --- globals ------------------------------------------------------------------------------------------------------ */

static void test_globals_defined_later(void **state)
{
  carry(*state,
        "local f = function(x) return helper(x) + (missing or 0) end\n"
        "function helper(x) return x * factor end\n"
        "factor = 3\n"
        "return f",
        "assert(r[1](5) == 15)\n"
        "assert(helper == nil and factor == nil)");
}

static void test_globals_are_the_images_own(void **state)
{
  fixture *f = *state;
  carry(f, "seen = 'first' return function() seen = seen .. '!' return seen end",
        "first = r[1] assert(first() == 'first!')");
  carry(f, "seen = 'second' return function() return seen end, function() return _G.seen end",
        "assert(r[1]() == 'second' and r[2]() == 'second' and first() == 'first!!' and seen == nil)");
}

static void test_standard_functions_go_by_name(void **state)
{
  carry(*state,
        "local gsub, s, out = string.gsub, string, io.stdout\n"
        "local old = tostring\n"
        "tostring = function(x) return '<' .. old(x) .. '>' end\n"
        "sort = table.sort\n"
        "return function(x) return gsub(tostring(x), '%d', 'n') end, function() return s, out, sort, print end",
        "assert(r[1](5) == '<n>')\n"
        "local s, out, sort, p = r[2]()\n"
        "assert(s == string and out == io.stdout and sort == table.sort and p == print)");
}

static void test_local_alias_of_the_globals(void **state)
{
  carry(*state,
        "local G = _G\n"
        "function twice(x) return 2 * x end\n"
        "return function(x) return G.twice(x) end, load('local f = ... return function(x) return twice(x) end')()",
        "assert(r[1](4) == 8 and r[2](5) == 10)");
}

/* With hundreds of constants in front, names no longer fit the short form of a global access. */
static void test_globals_behind_many_constants(void **state)
{
  carry(*state,
        "local code = { 'return function() local t = {' }\n"
        "for i = 1, 400 do code[#code + 1] = ('%d.5, '):format(i) end\n"
        "code[#code + 1] = '} far_away = far_away .. \"!\" return far_away end'\n"
        "far_away = 'yes'\n"
        "return load(table.concat(code))()",
        "assert(r[1]() == 'yes!')");
}

static void test_custom_environment_is_a_table(void **state)
{
  carry(*state,
        "function shared() return 'shared' end\n"
        "local env = setmetatable({ own = 'own' }, { __index = _G })\n"
        "return load('return own, shared(), type(1)', 'c', 't', env), load('x = 1 return x', 'd', 't', {})",
        "local own, shared, t = r[1]()\n"
        "assert(own == 'own' and shared == 'shared' and t == 'number' and r[2]() == 1)");
}

/* What busted gives a spec for its globals: an empty table that looks names up elsewhere. */
static void test_environment_that_stands_for_the_globals(void **state)
{
  carry(*state,
        "local conn = io.tmpfile()\n"
        "local defined = { helper = function(x) return tostring(x) .. '!' end }\n"
        "local env = setmetatable({}, { __index = function(_, k) return conn and (defined[k] or _G[k]) end })\n"
        "return load('return function(x) return helper(x), type(x), unknown end', 'c', 't', env)()",
        "local s, t, u = r[1](1) assert(s == '1!' and t == 'number' and u == nil)");
}

static void test_loaded_and_stripped_functions(void **state)
{
  carry(*state,
        "function helper() return 'helped' end\n"
        "local n = 7\n"
        "local f = load(string.dump(function() return helper(), n end, true))\n"
        "debug.setupvalue(f, 2, n)\n"
        "return load('local a = ... return a, helper()'), f",
        "local a, h = r[1](1) assert(a == 1 and h == 'helped')\n"
        "local h2, n = r[2]() assert(h2 == 'helped' and n == 7)");
}

/* --- images ------------------------------------------------------------------------------------------------------- */

static void test_images_are_counted_and_numbered(void **state)
{
  fixture *f = *state;
  rl_image *a, *b;
  assert_int_equal(capture_results(f->driver, "return print", &a), RL_OK);
  assert_int_equal(capture_results(f->driver, "return print", &b), RL_OK);
  assert_true(rl_image_id(a) != rl_image_id(b));
  assert_ptr_equal(rl_image_ref(a), a);
  rl_image_unref(a);
  restore(f->worker, a);
  run(f->worker, "assert(r[1] == print)");
  rl_image_unref(a);
  rl_image_unref(b);
}

/* --- out of memory ------------------------------------------------------------------------------------------------ */

typedef struct budget {
  size_t left;
  bool limited;
} budget;

static void *limited_alloc(void *user, void *p, size_t old, size_t n)
{
  budget *b = user;
  if (n == 0) {
    free(p);
    return NULL;
  }
  if (b->limited && n > (p ? old : 0)) {
    if (b->left == 0) {
      return NULL;
    }
    b->left--;
  }
  return realloc(p, n);
}

/* Every allocation of Lua's fails in turn, until a capture goes through. */
static void test_no_lua_error_leaves(void **state)
{
  (void)state;
  budget b = {0};
  lua_State *L = lua_newstate(limited_alloc, &b);
  luaL_openlibs(L);
  rl_capture_prepare(L);
  run(L, "local t = { 1, x = { 'y' } } local n = 0\n"
         "function helper() n = n + 1 return t, ('z'):rep(3) end\n"
         "return load('return function(...) return helper(...) end')()");
  const rl_capture_root root = {1, "the function given to map", "job.lua:12", false};
  rl_image *img;
  rl_status st = RL_ENOMEM;
  size_t fails = 0;
  for (; st != RL_OK; fails++) {
    b = (budget){.left = fails, .limited = true};
    st = rl_capture(L, &root, 1, &img);
    b.limited = false;
    assert_int_equal(lua_gettop(L), 1);
    assert_true(st == RL_OK || st == RL_ENOMEM);
    assert_true(fails < 10000);
  }
  assert_true(fails > 20);
  rl_image_unref(img);
  lua_close(L);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(test_scalars),
    TEST(test_special_numbers),
    TEST(test_first_upvalue_is_a_counter),
    TEST(test_shared_upvalues),
    TEST(test_separate_closures_of_one_prototype),
    TEST(test_recursion),
    TEST(test_cycles),
    TEST(test_nested_closures_and_varargs),
    TEST(test_long_strings_are_shared),
    TEST(test_deep_tables),
    TEST(test_classes),
    TEST(test_no_metamethod_is_called),
    TEST(test_weak_tables),
    TEST(test_registered_objects_travel_by_name),
    TEST(test_globals_defined_later),
    TEST(test_globals_are_the_images_own),
    TEST(test_standard_functions_go_by_name),
    TEST(test_local_alias_of_the_globals),
    TEST(test_globals_behind_many_constants),
    TEST(test_custom_environment_is_a_table),
    TEST(test_environment_that_stands_for_the_globals),
    TEST(test_loaded_and_stripped_functions),
    TEST(test_images_are_counted_and_numbered),
    TEST(test_no_lua_error_leaves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
