#include "chain.h"

static int setup_driver(void **state)
{
  *state = new_driver();
  return 0;
}

static int teardown_driver(void **state)
{
  lua_close(*state);
  return 0;
}

/* The value of a Lua expression as print shows it, having gone to C and back. */
static void check_value(lua_State *L, const char *expression, const char *expected)
{
  rl_buf code = {0}, scratch = {0}, text = {0};
  rl_value v;
  rl_buf_printf(&code, "return %s", expression);
  run_code(L, rl_buf_cstr(&code));
  if (rl_lua_to_value(L, 1, &v, &scratch) != RL_OK) fail_msg("%s: %s", expression, rl_error_message());
  rl_lua_push_value(L, v);
  assert_int_equal(lua_type(L, -1), lua_type(L, 1));
  assert_int_equal(lua_isinteger(L, -1), lua_isinteger(L, 1));
  assert_int_equal(rl_lua_is_tuple(L, -1), rl_lua_is_tuple(L, 1));
  assert_int_equal(rl_lua_format(L, lua_gettop(L), &text), RL_OK);
  assert_string_equal(rl_buf_cstr(&text), expected);
  rl_buf_free(&code);
  rl_buf_free(&scratch);
  rl_buf_free(&text);
}

static void test_values(void **state)
{
  lua_State *L = *state;
  check_value(L, "nil", "nil");
  check_value(L, "true", "true");
  check_value(L, "1", "1");
  check_value(L, "1.0", "1.0");
  check_value(L, "math.mininteger", "-9223372036854775808");
  check_value(L, "-1e300", "-1e+300");
  check_value(L, "''", "");
  check_value(L, "'a\\nb'", "a\nb");
  check_value(L, "rille.null", "null");
  check_value(L, "{}", "{}");
  check_value(L, "{ 1, 2, { 'x' } }", "{1,2,{x}}");
  check_value(L, "{ b = 1, a = { c = {} }, 7 }", "{7,a={c={}},b=1}");
  check_value(L, "{ 1, nil, 3 }", "{1,3=3}");
  check_value(L, "{ [1.5] = 1, [true] = 2, [-1] = 3 }", "{true=2,-1=3,1.5=1}");
  check_value(L, "tuple()", "()");
  check_value(L, "tuple(1, nil, tuple('a', {}), nil)", "(1,nil,(a,{}),nil)");
  check_value(L, "{ tuple(1, 2) }", "{(1,2)}");
}

static void check_refused(lua_State *L, const char *expression, const char *message)
{
  rl_buf scratch = {0};
  rl_value v;
  char code[200];
  snprintf(code, sizeof code, "return %s", expression);
  run_code(L, code);
  rl_buf_puts(&scratch, "kept");
  assert_int_equal(rl_lua_to_value(L, 1, &v, &scratch), RL_EINVAL);
  assert_string_equal(rl_error_message(), message);
  assert_int_equal(scratch.n, 4);
  assert_int_equal(lua_gettop(L), 1);
  rl_buf_free(&scratch);
}

static void test_refusals(void **state)
{
  lua_State *L = *state;
  check_refused(L, "print", "a function cannot be in a record");
  check_refused(L, "io.stdout", "a userdata cannot be in a record");
  check_refused(L, "{ a = { ['b c'] = { 1, coroutine.create(print) } } }",
        "a coroutine cannot be in a record (.a[\"b c\"][2])");
  check_refused(L, "tuple(1, print)", "a function cannot be in a record ([2])");
  check_refused(L, "{ [print] = 1 }", "a function cannot be in a record ([a function])");
  check_refused(L, "setmetatable({}, {})", "a table with a metatable cannot be in a record");
  check_refused(L, "{ x = setmetatable({}, {}) }", "a table with a metatable cannot be in a record (.x)");
  check_refused(L, "{ [{}] = 1, [{ }] = 2 }", "a table with two keys of the same content cannot be in a record");
  check_refused(L, "(function() local t = {} t.a = { t } return t end)()",
        "a table that contains itself cannot be in a record (.a[1])");
  run_code(L, "local t = {} for i = 1, 200 do t = { t } end return t");
  rl_buf scratch = {0};
  rl_value v;
  assert_int_equal(rl_lua_to_value(L, 1, &v, &scratch), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "a table nested more than 100 deep cannot be in a record ([1][1]"));
  rl_buf_free(&scratch);
}

/* However a table came about, equal ones have equal bytes. */
static void test_tables_have_one_form(void **state)
{
  lua_State *L = *state;
  rl_buf a = {0}, b = {0};
  rl_value va, vb;
  run_code(L, "local a, b = {}, {} for i = 1, 100 do a['k' .. i] = i b['k' .. 101 - i] = 101 - i end "
        "for i = 1, 10 do a[i] = i b[11 - i] = 11 - i end b.gone = 1 b.gone = nil return a, b");
  assert_int_equal(rl_lua_to_value(L, 1, &va, &a), RL_OK);
  assert_int_equal(rl_lua_to_value(L, 2, &vb, &b), RL_OK);
  assert_int_equal(va.s.n, vb.s.n);
  assert_memory_equal(va.s.p, vb.s.p, va.s.n);
  rl_buf_free(&a);
  rl_buf_free(&b);
}

/* Several composite fields share a scratch that moves as it grows. */
static void test_records(void **state)
{
  lua_State *L = *state;
  rl_value fields[RL_MAX_FIELDS];
  uint32_t n;
  rl_buf scratch = {0}, text = {0};
  rl_builder *b = rl_builder_new();
  run_code(L, "return 'k', { 1 }, tuple('x', { ('y'):rep(5000) }), nil, { z = 2 }");
  assert_int_equal(rl_lua_to_record(L, 1, 5, fields, &n, &scratch), RL_OK);
  assert_int_equal(n, 5);
  assert_int_equal(rl_builder_add(b, fields, n), RL_OK);
  run_code(L, "return tuple(tuple('only', nil))");
  assert_int_equal(rl_lua_to_record(L, 1, 1, fields, &n, &scratch), RL_OK);
  assert_int_equal(n, 2);
  assert_int_equal(rl_builder_add(b, fields, n), RL_OK);
  run_code(L, "return 'plain'");
  assert_int_equal(rl_lua_to_record(L, 1, 1, fields, &n, &scratch), RL_OK);
  assert_int_equal(rl_builder_add(b, fields, n), RL_OK);
  rl_chunk *c = rl_builder_finish(b);
  lua_settop(L, 0);
  assert_int_equal(rl_lua_push_fields(L, c, 0), 5);
  assert_int_equal(lua_rawlen(L, 2), 1);
  assert_true(rl_lua_is_tuple(L, 3));
  assert_true(lua_isnil(L, 4));
  rl_lua_push_record(L, c, 1);
  rl_lua_format(L, lua_gettop(L), &text);
  assert_string_equal(rl_buf_cstr(&text), "(only,nil)");
  rl_lua_push_record(L, c, 2);
  assert_string_equal(lua_tostring(L, -1), "plain");
  rl_chunk_unref(c);
  rl_builder_delete(b);
  rl_buf_free(&scratch);
  rl_buf_free(&text);
}

static void check_no_record(lua_State *L, const char *code, rl_status expected, const char *message)
{
  rl_value fields[RL_MAX_FIELDS];
  uint32_t n;
  rl_buf scratch = {0};
  run_code(L, code);
  int top = lua_gettop(L);
  assert_int_equal(rl_lua_to_record(L, 1, top, fields, &n, &scratch), expected);
  assert_string_equal(rl_error_message(), message);
  assert_int_equal(lua_gettop(L), top);
  rl_buf_free(&scratch);
}

static void test_no_records(void **state)
{
  lua_State *L = *state;
  check_no_record(L, "return", RL_EINVAL, "a record without a value");
  check_no_record(L, "return tuple()", RL_EINVAL, "a record without a value");
  check_no_record(L, "return nil, 1", RL_EINVAL, "the first value of a record is nil");
  check_no_record(L, "return 1, { f = print }", RL_EINVAL, "a function cannot be in a record (field 2, .f)");
  check_no_record(L, "local t = {} for i = 1, 251 do t[i] = i end return table.unpack(t)", RL_ELIMIT,
        "a record of more than 250 values");
}

static void test_tuples(void **state)
{
  run_code(*state, "assert(tuple(1, 'a') == tuple(1, 'a')) assert(tuple(1, nil) ~= tuple(1)) assert(tuple(1) == "
        "tuple(1.0)) "
        "assert(tuple({ 1, { x = tuple(2) } }) == tuple({ 1, { x = tuple(2) } })) assert(tuple({ 1 }) ~= "
        "tuple({ 1, 2 })) assert(tuple({ 1, 2 }) ~= tuple({ 1 })) "
        "assert(tuple({}) ~= tuple(setmetatable({}, {}))) assert(tuple(1) ~= 1) "
        "local t = tuple('k', nil, 3) assert(t[1] == 'k' and t[2] == nil and t[3] == 3 and t.n == 3 and #t "
        "== 3) "
        "assert(tostring(t) == '(k,nil,3)') assert(tostring(tuple(tuple(1, 2), { 3 })) == '((1,2),{3})') "
        "assert(tostring(rille.null) == 'null') assert(rille.null == rille.null) assert(getmetatable(t) == "
        "'rille.tuple') "
        "assert(not pcall(setmetatable, t, {})) local ok, why = pcall(tostring, tuple(print)) assert(not "
        "ok and why:find('a function cannot be')) "
        "assert(not pcall(tuple, table.unpack({}, 1, 251)))");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_values, setup_driver, teardown_driver),
      cmocka_unit_test_setup_teardown(test_refusals, setup_driver, teardown_driver),
      cmocka_unit_test_setup_teardown(test_tables_have_one_form, setup_driver, teardown_driver),
      cmocka_unit_test_setup_teardown(test_records, setup_driver, teardown_driver),
      cmocka_unit_test_setup_teardown(test_no_records, setup_driver, teardown_driver),
      cmocka_unit_test_setup_teardown(test_tuples, setup_driver, teardown_driver),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
