/* What cannot travel, and what is warned about. */
#include "spec/lua_c/captures.h"

static void refuse(fixture *f, const char *code, const char *message)
{
  rl_image *img;
  assert_int_equal(capture_results(f->driver, code, &img), RL_EINVAL);
  assert_string_equal(rl_error_message(), message);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

#define SITE "job.lua:12: the function given to map "
#define OPEN "; open it inside foreachPartition, or see rille.once"

static void test_refused_userdata(void **state)
{
  refuse(*state, "local conn = io.tmpfile() return function() return conn end",
         SITE "captures 'conn' (userdata, via upvalue 'conn')" OPEN);
  refuse(*state, "local pool = { conn = io.tmpfile() } return function() return pool end",
         SITE "captures 'conn' (userdata, via upvalue 'pool.conn')" OPEN);
  refuse(*state, "local pool = { { io.tmpfile() } } return function() return pool end",
         SITE "captures 'pool[1][1]' (userdata, via upvalue 'pool[1][1]')" OPEN);
  refuse(*state, "local p = { ['odd key'] = { [true] = { [1.5] = io.tmpfile() } } } return function() return p end",
         SITE "captures 'p[\"odd key\"][true][1.5]' (userdata, via upvalue 'p[\"odd key\"][true][1.5]')" OPEN);
  refuse(*state, "local p = { [io.tmpfile()] = 1 } return function() return p end",
         SITE "captures 'p[userdata]' (userdata, via upvalue 'p[userdata]')" OPEN);
  refuse(*state, "local p = setmetatable({}, { __index = { f = io.tmpfile() } }) return function() return p end",
         SITE "captures 'f' (userdata, via upvalue 'p@metatable.__index.f')" OPEN);
  refuse(*state, "return { list = { io.tmpfile() } }",
         SITE "captures 'list[1]' (userdata, via field 'list[1]')" OPEN);
  refuse(*state, "return io.tmpfile()", SITE "is a userdata, which cannot travel to the workers" OPEN);
}

static void test_refused_through_functions(void **state)
{
  refuse(*state,
         "local x = { {}, {}, { y = io.tmpfile() } }\n"
         "function helper() return x end\n"
         "return function() return helper() end",
         SITE "captures 'y' (userdata, via global 'helper', its upvalue 'x[3].y')" OPEN);
  refuse(*state,
         "conn = io.tmpfile()\n"
         "local tools = { send = function() return conn end }\n"
         "return function() return tools.send() end",
         SITE "captures 'conn' (userdata, via upvalue 'tools.send', its global 'conn')" OPEN);
}

static void test_refused_kinds(void **state)
{
  fixture *f = *state;
  refuse(f, "local co = coroutine.create(print) return function() return co end",
         SITE "captures 'co' (thread, via upvalue 'co'); create it inside the function");
  refuse(f, "local nxt = coroutine.wrap(print) return function() return nxt() end",
         SITE "captures 'nxt' (coroutine.wrap function, via upvalue 'nxt'); create it inside the function");
  refuse(f, "local it = ('a b'):gmatch('%a') return function() return it() end",
         SITE "captures 'it' (C function, via upvalue 'it'); require its module inside the function");
  lua_pushlightuserdata(f->driver, f);
  lua_setglobal(f->driver, "handle");
  refuse(f, "return function() return handle end",
         SITE "captures 'handle' (light userdata, via global 'handle')" OPEN);
}

static void test_refused_far_away(void **state)
{
  fixture *f = *state;
  rl_image *img;
  assert_int_equal(capture_results(f->driver,
                                   "local list = { io.tmpfile() }\n"
                                   "for i = 1, 5000 do list = { next = list } end\n"
                                   "return function() return list end", &img), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "via upvalue 'list.next.next.next"));
  assert_non_null(strstr(rl_error_message(), ".next.next ... .next.next"));
  assert_non_null(strstr(rl_error_message(), ".next.next[1]')" OPEN));
  assert_true(strlen(rl_error_message()) < 500);
}

static void test_the_driver_stays_as_it_is(void **state)
{
  fixture *f = *state;
  run(f->driver, "n = 0 t = { 1, 2 } for k in pairs(_G) do n = n + 1 end");
  carry(f, "return function() t[3] = 3 return t end", "assert(#r[1]() == 3 and t == nil)");
  run(f->driver, "assert(#t == 2) for k in pairs(_G) do n = n - 1 end assert(n == 0)");
}

/* --- warnings ----------------------------------------------------------------------------------------------------- */

#define WARNED(names, what) \
  SITE "assigns " names ", " what " from outside: each worker has its own copy and the driver's stays as it is; " \
       "use an accumulator, or return the value"

static void test_assigned_variables_warn_once(void **state)
{
  fixture *f = *state;
  lua_State *L = f->driver;
  run(L, "local n = 0 return function(x) n = n + x return n end");
  const rl_capture_root root = {1, "the function given to map", "job.lua:12", false};
  rl_image *img;
  assert_int_equal(rl_capture_diagnose(L, 1, root.role, root.site), RL_OK);
  assert_int_equal(warnings, 1);
  assert_non_null(strstr(warning, WARNED("'n'", "a variable")));
  assert_int_equal(rl_capture_diagnose(L, 1, root.role, root.site), RL_OK);
  assert_int_equal(rl_capture(L, &root, 1, &img), RL_OK);
  rl_image_unref(img);
  assert_int_equal(warnings, 1);
  assert_int_equal(lua_gettop(L), 1);
}

static void test_assigned_variables_are_named(void **state)
{
  fixture *f = *state;
  carry(f, "local a, b = 0, 0 return function() return function() a, b = 1, 2 end end", "");
  assert_non_null(strstr(warning, WARNED("'a', 'b'", "variables")));
  carry(f, "local t = 0 local function add() t = t + 1 end return function() add() end", "");
  assert_non_null(strstr(warning, WARNED("'t' (in upvalue 'add')", "a variable")));
  carry(f, "total = 0 return function(x) total = total + x fresh = x end", "");
  assert_non_null(strstr(warning, WARNED("'total'", "a variable")));
  assert_int_equal(warnings, 3);
}

static void test_harmless_functions_do_not_warn(void **state)
{
  carry(*state, "local t = {} return function(x) local n = 0 t[1] = x return function() n = n + 1 end end", "");
  assert_int_equal(warnings, 0);
}

static void test_diagnose(void **state)
{
  fixture *f = *state;
  lua_State *L = f->driver;
  run(L, "return 5, print, coroutine.wrap(print), function() return io.tmpfile() end, string.gmatch('', '')");
  assert_int_equal(rl_capture_diagnose(L, 1, "the function given to map", "job.lua:3"), RL_EINVAL);
  assert_string_equal(rl_error_message(), "job.lua:3: the function given to map is not a function but of type number");
  assert_int_equal(rl_capture_diagnose(L, 2, "the function given to map", "job.lua:3"), RL_OK);
  assert_int_equal(rl_capture_diagnose(L, 3, "the function given to map", NULL), RL_EINVAL);
  assert_string_equal(rl_error_message(), "the function given to map is a coroutine.wrap function, which cannot travel "
                                          "to the workers; create it inside the function");
  assert_int_equal(rl_capture_diagnose(L, 4, "the function given to map", "job.lua:3"), RL_OK);
  assert_int_equal(rl_capture_diagnose(L, 5, "the function given to map", "job.lua:3"), RL_EINVAL);
  assert_int_equal(lua_gettop(L), 5);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(test_refused_userdata),
    TEST(test_refused_through_functions),
    TEST(test_refused_kinds),
    TEST(test_refused_far_away),
    TEST(test_the_driver_stays_as_it_is),
    TEST(test_assigned_variables_warn_once),
    TEST(test_assigned_variables_are_named),
    TEST(test_harmless_functions_do_not_warn),
    TEST(test_diagnose),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
