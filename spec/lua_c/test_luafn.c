#include "chain.h"

#include "data/text.h"

static void test_map(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'map', function(x) return x + 1 end } }, { 1, 2, 3.5 }", "2 3 4.5");
  check(f, "return { { 'map', function(w) return w, 1 end } }, { 'a', 'b' }", "(a,1) (b,1)");
  check(f, "return { { 'map', function(w) return tuple(w, nil, 3) end } }, { 'a' }", "(a,nil,3)");
  check(f, "return { { 'map', function(w) return tuple(w) end } }, { 'a' }", "a");
  check(f, "return { { 'map', function(w) return tuple(tuple(w, 1)) end } }, { 'a' }", "(a,1)");
  check(f, "return { { 'map', function(a, b, c) return c, b, a end } }, { tuple(1, 2, 3), tuple(4, nil, 6) }",
        "(3,2,1) (6,nil,4)");
  check(f, "return { { 'map', function(...) return select('#', ...) end } }, { 1, tuple(1, 2), tuple(1, nil, nil) }",
        "1 2 3");
  check(f, "return { { 'map', string.upper } }, { 'a', 'b' }", "A B");
  check(f, "return { { 'map', function() return 7 end } }, { 1, 2 }", "7 7");
  check(f, "return { { 'map', function(x) return { x, k = { x } } end } }, { 1 }", "{1,k={1}}");
  check(f, "return { { 'map', function(x) return false end } }, { 1 }", "false");
  check(f, "return { { 'map', function(x) return rille.null, rille.null end } }, { 1 }", "(null,null)");
  check(f, "return { { 'map', function(x) if x > 1 then return x end return x, 0 end } }, { 1, 2 }", "(1,0) 2");
  check(f, "return { { 'map', function(x) return x end } }, {}", "");
}

static void test_chains(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'map', function(w) return w, #w end }, { 'filter', function(w, n) return n > 1 end }, { 'map', "
        "function(w, n) return n, w end } }, "
        "{ 'a', 'bb', 'ccc' }", "(2,bb) (3,ccc)");
  check(f, "return { { 'map', function(w) return tuple(w, 1) end }, { 'map', function(a, b) return b, a end } }, { "
        "'x' }", "(1,x)");
  check(f, "return { { 'map', function(w) if w == 'x' then return tuple(w, 1) end return w, 2 end }, { 'map', "
        "function(a, b) return b, a end } }, { 'x', 'y' }",
        "(1,x) (2,y)");
  check(f, "return { { 'map', function(w) return { w } end }, { 'map', function(t) return t[1] end } }, { 'x' }", "x");
  check(f, "return { { 'map', function(...) return ... end }, { 'filter', function(...) return select('#', ...) == 2 "
        "end }, { 'map', function(a, ...) return ..., a end } }, "
        "{ 'x', tuple(1, 2) }", "(2,1)");
  check(f, "return { { 'map', function(x) return x * 2, -x end }, { 'map', function(a, b) return a - b, a .. '', 'k' "
        "end }, { 'filter', function(a) return a ~= 6 end } }, { 1, 2 }",
        "(3,2,k)");
}

static void test_filter(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'filter', function(x) return x % 2 == 0 end } }, { 1, 2, 3, 4 }", "2 4");
  check(f, "return { { 'filter', function(k) return k ~= 'b' end }, { 'filter', function(_, v) return v end } }, { "
        "tuple('a', 1), tuple('b', 1), tuple('c', nil) }", "(a,1)");
  check(f, "return { { 'filter', function() return true end } }, { tuple('a', 1, nil), { 1 } }", "(a,1,nil) {1}");
  check(f, "return { { 'filter', function(x) return x > 1 end }, { 'map', function(a, b) return b end } }, { tuple(1, "
        "2), tuple(3, 4) }", "4");
}

static void test_flat_map(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'flatMap', function(l) return l:gmatch('%S+') end } }, { 'a b', '', ' c  d ' }", "a b c d");
  check(f, "return { { 'flatMap', function(l) return l:gmatch('[^,]+') end } }, { 'a,,b c', ',' }", "a b c");
  check(f, "return { { 'flatMap', function(l) return l:gmatch('%w%w') end } }, { 'abcde' }", "ab cd");
  check(f, "return { { 'flatMap', function(l) return l:gmatch('(%w)=(%w)') end } }, { 'a=1 b=2' }", "(a,1) (b,2)");
  check(f, "return { { 'filter', function(l) return #l > 3 end }, { 'flatMap', function(l) return l:gmatch('%a+') end "
        "}, { 'map', function(w) return w, 1 end } }, { 'a b', 'c d1' }",
        "(c,1) (d,1)");
  check(f, "return { { 'map', string.upper }, { 'flatMap', function(l) return l:gmatch('%a+') end } }, { 'a b' }",
        "A B");
  check(f, "return { { 'flatMap', function(x) return { x, tuple(x, 1), { x } } end } }, { 1, 2 }",
        "1 (1,1) {1} 2 (2,1) {2}");
  check(f, "return { { 'flatMap', function(x) return {} end } }, { 1 }", "");
  check(f, "return { { 'flatMap', function(x) return { x, x * 10 } end }, { 'map', function(y) return y + 1 end } }, "
        "{ 1, 2 }", "2 11 3 21");
  check(f, "return { { 'flatMap', function(x) return { x, tuple(x, 5) } end }, { 'map', function(a, b) return b, a "
        "end, name = 'map' }, { 'filter', function() return true end } }, { }", "");
  check(f, "return { { 'flatMap', function(x) return { tuple(x, 5), tuple(x, 6) } end }, { 'map', function(a, b) "
        "return b, a end } }, { 'k' }", "(5,k) (6,k)");
  check(f, "return { { 'flatMap', function(n) local i = 0 return function() i = i + 1 if i <= n then return i, i * i "
        "end end end } }, { 2, 0, 1 }", "(1,1) (2,4) (1,1)");
  check(f, "return { { 'flatMap', function(n) return ipairs { n, n } end } }, { 'a' }", "(1,a) (2,a)");
  check(f, "return { { 'flatMap', function(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end "
        "end) end } }, { 2 }", "1 2");
  check(f, "return { { 'flatMap', function(n) return { n, n } end }, { 'flatMap', function(n) return { n, n + 1 } end "
        "} }, { 1 }", "1 2 1 2");
}

static void test_pairs(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'mapValues', function(v) return v * 2 end } }, { tuple('a', 1), tuple('b', 2) }", "(a,2) (b,4)");
  check(f, "return { { 'mapValues', function(v) return v end } }, { tuple('a', 1, 2) }", "(a,(1,2))");
  check(f, "return { { 'mapValues', function(v) return v, 1 end } }, { tuple('a', 1) }", "(a,(1,1))");
  check(f, "return { { 'mapValues', function(v) return nil end } }, { tuple('a', 1) }", "(a,nil)");
  check_error(f, "return { { 'mapValues', function(v) end } }, { tuple('a', 1) }",
              "job.lua:7: the function given to mapValues returned nothing; return a value");
  check_error(f, "return { { 'mapValues', function(v) if v > 1 then return v end end } }, { tuple('a', 2), tuple('a', 1) }",
              "job.lua:7: the function given to mapValues returned nothing; return a value");
  check(f, "return { { 'flatMapValues', function(v) return { v, v + 1 } end } }, { tuple('a', 1) }", "(a,1) (a,2)");
  check(f, "return { { 'flatMapValues', function(v) return { tuple(v, 1) } end } }, { tuple('a', 1) }", "(a,(1,1))");
  check(f, "return { { 'flatMapValues', function(v) return ipairs { v } end } }, { tuple('a', 'x') }", "(a,(1,x))");
  check(f, "return { { 'map', function(x) return 'x', 1 end }, { 'flatMapValues', function(v) return { v } end } }, { "
        "1, 2 }", "(x,1) (x,1)");
  check(f, "return { { 'keyed', function(a, b) return b end } }, { tuple('a', 1), tuple('b', 2) }",
        "(1,(a,1)) (2,(b,2))");
  check(f, "return { { 'keyed', function(a) return -a end } }, { 3 }", "(-3,3)");
  check(f, "return { { 'keyed', function(a, b) return a, b end } }, { tuple('a', 1) }", "((a,1),(a,1))");
  check(f, "return { { 'keyed', function(...) return ... end }, { 'unpack' } }, { tuple('a', 1), 'z' }", "(a,1) z");
  check(f, "return { { 'pack' }, { 'map', function(t) return t end } }, { tuple('a', 1), 'b' }", "(a,1) b");
  check(f, "return { { 'pack' }, { 'glom' } }, { tuple('a', 1), 'b' }", "{(a,1),b}");
}

static void test_partitions(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'mapPartitions', function(it) local n = 0 for _, v in it do n = n + v end return { n } end } "
        "}, { tuple('a', 1), tuple('b', 2) }", "3");
  check(f, "return { { 'mapPartitions', function(it) return { it() == nil } end } }, {}", "true");
  check(f, "return { { 'mapPartitionsWithIndex', function(i, it) return function() local x = it() if x then return i, "
        "x end end end } }, { 'a', 'b' }", "(3,a) (3,b)");
  check(f, "return { { 'map', function(x) return x, x end }, { 'mapPartitions', function(it) return "
        "coroutine.wrap(function() for a, b in it do coroutine.yield(a + b) end end) end }, "
        "{ 'map', function(x) return x + 1 end } }, { 1, 2, 3 }", "3 5 7");
  check(f, "return { { 'glom' } }, { 1, tuple('a', 2) }", "{1,(a,2)}");
  check(f, "return { { 'glom' } }, {}", "{}");
  check(f, "return { { 'map', function(x) return x end }, { 'glom' }, { 'map', function(t) return #t end } }, { 1, 2 }",
        "2");
  check(f, "return { { 'reduce', function(a, b) return a + b end } }, { 1, 2, 3 }", "6");
  check(f, "return { { 'reduce', function(a, b) return a + b end } }, {}", "");
  check(f, "return { { 'reduce', function(a, b) return tuple(a[1] .. b[1], a[2] + b[2]) end } }, { tuple('a', 1), "
        "tuple('b', 2) }", "(ab,3)");
  check(f, "return { { 'reduce', math.max } }, { 1, 3, 2 }", "3");
  check(f, "return { { 'take', param = 2 } }, { 1, 2, 3, 4 }", "1 2");
  check(f, "return { { 'countRecords' } }, { 1, tuple(2, 3) }", "2");
  check(f, "return { { 'filter', function(x) return x > 1 end }, { 'countRecords' }, { 'map', function(n) return 'n', "
        "n end } }, { 1, 2, 3 }", "(n,2)");
  check(f, "return { { 'foreach', function(x) end } }, { 1, 2 }", "");
  check(f, "return { { 'foreachPartition', function(it) for x in it do local _ = x + 1 end end } }, { 1, 2 }", "");
}

static void test_aggregation(void **state)
{
  fixture *f = *state;
  const char *sum = "return { { 'combine', function(a, b) return a + b end } }, { tuple('b', 1), tuple('a', 2), "
        "tuple('b', 3) }";
  check(f, sum, "(b,4) (a,2)");
  check(f, "return { { 'combine', function(a, b) return a + b end } }, { tuple(1, 1), tuple(1.0, 2), tuple(2.0, 3), "
        "tuple(0.0, 1), tuple(-0.0, 1) }", "(1,3) (2,3) (0,2)");
  check(f, "return { { 'combine', function(v) return { v } end, function(c, v) c[#c + 1] = v return c end } }, { "
        "tuple('a', 1), tuple('b', 2), tuple('a', 3) }", "(a,{1,3}) (b,{2})");
  check(f, "return { { 'combine', function(a, b) return a + b end, param = 2 } }, { tuple('a', 1), tuple('b', 1), "
        "tuple('c', 1), tuple('a', 1) }", "(a,1) (b,1) (c,1) (a,1)");
  check(f, "return { { 'combine', function(a, b) return (a or 0) + (b or 0) end } }, { tuple('a', nil), tuple('a', "
        "2), tuple('b', nil) }", "(a,2) (b,nil)");
  check(f, "return { { 'combine', function(a, b) return nil end } }, { tuple('a', 1), tuple('a', 2), tuple('a', 3), "
        "tuple('b', 1) }", "(a,nil) (b,1)");
  check(f, "return { { 'aggregate', function(v) return { n = v } end, function(c, v) c.n = c.n + v return c end }, { "
        "'mapValues', function(c) return c.n end } }, "
        "{ tuple({ 1, x = 2.0 }, 1), tuple({ 1, x = 2 }, 2), tuple({ 1 }, 4) }", "({1,x=2},3) ({1},4)");
  check(f, "return { { 'merge', function(a, b) return a .. b end }, { 'map', function(k, v) return v end } }, { "
        "tuple('a', 'x'), tuple('a', 'y') }", "xy");
  check(f, "return { { 'merge', math.max } }, { tuple(tuple('a', 1), 2), tuple(tuple('a', 1.0), 3), tuple(rille.null, "
        "1), tuple(true, 1) }", "((a,1),3) (null,1) (true,1)");
  check(f, "return { { 'combine', function(a, b) return a end } }, { tuple('a', 1, 2), tuple('a', 3, 4) }",
        "(a,(1,2))");
  check(f, "return { { 'map', function(w) return w, 1 end }, { 'combine', function(a, b) return a + b end }, { 'map', "
        "function(w, n) return n, w end }, "
        "{ 'combine', function(a, b) return a .. b end } }, { 'a', 'b', 'c', 'a' }", "(2,a) (1,bc)");
  check(f, "return { { 'group' } }, { tuple('a', 1), tuple('b', 2), tuple('a', 3), tuple('a', 4, 5) }",
        "(a,{1,3,(4,5)}) (b,{2})");
  check(f, "return { { 'group' } }, { tuple('a', { 1, x = 2 }), tuple('a', tuple(1, 'b')), tuple('a', 1.0), "
        "tuple(true, rille.null), tuple('a', nil, 2) }", "(a,{{1,x=2},(1,b),1.0,(nil,2)}) (true,{null})");
  check(f, "return { { 'group' } }, { tuple(1.0, 1), tuple({ 1.0 }, 2), tuple({ 1 }, 3), tuple(1, 4), tuple('', 5), "
        "tuple(-0.0, 6) }", "(1,{1,4}) ({1},{2,3}) (,{5}) (0,{6})");
  check(f, "return { { 'merge', function(a, b) return nil end } }, { tuple('a', 1), tuple('a', 2), tuple('b', { 1 }), "
        "tuple('c', nil) }", "(a,nil) (b,{1}) (c,nil)");
  check(f, "return { { 'map', function(x) local k = x % 2 if k == 0 then return 'even', x end return 'odd', x, 'o' "
        "end }, { 'group' } }, { 1, 2, 3 }", "(odd,{(1,o),(3,o)}) (even,{2})");
}

/* Where keys hardly come again, records pass a combining step as they are: behind the first two here. */
static void test_combining_that_does_not_pay(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'combine', function(a, b) return a + b end, param = 2 } }, { tuple('a', 1), tuple(2, 1), "
        "tuple('a', 2), tuple(2.0, 3), tuple({ 4.0 }, { 5 }), tuple('b', nil), tuple(rille.null, true) }",
        "(a,1) (2,1) (a,2) (2,3) ({4.0},{5}) (b,nil) (null,true)");
  check(f, "return { { 'combine', function(v) return { v } end, function(c, v) c[#c + 1] = v return c end, param = 2 "
        "}, { 'map', function(k, c) return c, k end } }, { tuple('a', 1), tuple('b', 1), tuple('a', 2), tuple('a', 3) "
        "}",
        "({1},a) ({1},b) ({2},a) ({3},a)");
  check(f, "return { { 'combine', function(a, b) return a + b end, param = 2 } }, { tuple('a', 1), tuple('a', 1), "
        "tuple('b', 1), tuple('a', 1), tuple('b', 1), tuple('c', 1) }", "(a,2) (b,1) (a,1) (b,1) (c,1)");
}

/* More keys, and more values of one, than a chunk has records; then they are counted and folded again. */
static void test_many_keys(void **state)
{
  fixture *f = *state;
  const char *steps[] = {
      "{ 'combine', function(a, b) return a + b end }", "{ 'merge', function(a, b) return a + b end }",
      "{ 'merge', function(a, b) return b end }", "{ 'group' }, { 'mapValues', function(t) return t[1] + #t - 1 end }",
      "{ 'group' }, { 'pack' }, { 'map', function(t) return t[1], #t[2] end }",
      "{ 'cogroup', param = 2 }, { 'pack' }, { 'map', function(t) return t[1], #t[2] + #t[3] end }",
      ("{ 'merge', function(a, b) return a + b end }, { 'map', function(k, v) return k, v end }, { 'combine', "
       "function(a, b) return a + b end }"),
  };
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    char code[700];
    snprintf(code, sizeof code, "local t = {} for i = 1, 30000 do t[i] = tuple(i %% 3 == 0 and 'k' or i, 1) end "
        "return { %s, { 'map', function(k, v) return k == 'k' and 'k' or 'others', v end }, { 'merge', function(a, b) "
        "return a + b end } }, t", steps[i]);
    assert_int_equal(run_chain(f, code, 4096), RL_OK);
    assert_string_equal(f->text.p, i == 2 ? "(others,20000) (k,1)" : "(others,20000) (k,10000)");
  }
}

static void test_cogroup(void **state)
{
  fixture *f = *state;
  const char *inputs = "{ tuple('a', 1), tuple('b', 2), tuple('a', 3) }, { tuple('c', 'x'), tuple('a', 'y'), "
        "tuple('a', 'z') }";
  const struct {
    const char *step, *expected;
  } cases[] = {
      {"", "(a,{1,3},{y,z}) (b,{2},{}) (c,{},{x})"},
      {", { 'joinInner' }", "(a,1,y) (a,1,z) (a,3,y) (a,3,z)"},
      {", { 'joinLeft' }", "(a,1,y) (a,1,z) (a,3,y) (a,3,z) (b,2,nil)"},
      {", { 'joinRight' }", "(a,1,y) (a,1,z) (a,3,y) (a,3,z) (c,nil,x)"},
      {", { 'joinFull' }", "(a,1,y) (a,1,z) (a,3,y) (a,3,z) (b,2,nil) (c,nil,x)"},
      {", { 'joinInner' }, { 'filter', function(k, l, r) return l == 1 end }, { 'map', function(k, l, r) return k .. "
          "l .. r end }", "a1y a1z"},
      {", { 'mapValues', function(v) return #v[1] end }", "(a,2) (b,1) (c,0)"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char code[600];
    snprintf(code, sizeof code, "return { { 'cogroup', param = 2 }%s }, %s", cases[i].step, inputs);
    check(f, code, cases[i].expected);
  }
  check(f, "return { { 'cogroup', param = 3 } }, { tuple(1, 'a') }, {}, { tuple(1.0, 'b'), tuple(2, 'c') }",
        "(1,{a},{},{b}) (2,{},{},{c})");
}

/* Rows longer than a chunk, more steps than a segment, more fields than variables. */
static void test_sizes(void **state)
{
  fixture *f = *state;
  assert_int_equal(run_chain(f,
        "local t = {} for i = 1, 10000 do t[i] = i end return { { 'flatMap', function(x) return { x, x } end }, { "
        "'countRecords' } }, t", 4096), RL_OK);
  assert_string_equal(f->text.p, "20000");
  check(f, "local s = {} for i = 1, 39 do s[i] = { 'map', function(x) local y = x + 1 return y end } end return s, { "
        "0 }", "39");
  check(f, "local s = {} for i = 1, 39 do s[i] = { 'filter', function(x) return x > 0 end } end return s, { 0, 1 }",
        "1");
  check(f, "local s = {} for i = 1, 20 do s[i] = { 'map', function(a, b, c, d, e, f, g, h, i, j) return b, c, d, e, "
        "f, g, h, i, j, a end } end return s, { tuple(1, 2, 3, 4, 5, 6, 7, 8, 9, 10) }",
        "(1,2,3,4,5,6,7,8,9,10)");
  check(f, "local t = {} for i = 1, 200 do t[i] = i end return { { 'map', function(...) return select('#', ...), "
        "(select(200, ...)) end } }, { tuple(table.unpack(t)) }", "(200,200)");
}

static void test_recognised(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'map', function(a, b) return a // b, a % b, a / b, a ^ 2, -a, ~a, a & b, a | 1, a ~ b, a << 1, "
        "a >> 1, 1 << b end } }, { tuple(7, 2) }",
        "(3,1,3.5,49.0,-7,-8,2,7,5,14,3,4)");
  check(f, "return { { 'map', function(a) return a < 2, a <= 2, a > 2, a >= 2, a == 2, a ~= 2, not (a < 2), not a end "
        "} }, { 1, 2, 3 }",
        "(true,true,false,false,false,true,false,false) (false,true,false,true,true,false,true,false) "
        "(false,false,true,true,false,true,true,false)");
  check(f, "return { { 'map', function(a) return 3 - a, a - 3, 3 * a, 10 // a, -3 ^ a, a .. 'x' .. 1.5, #'abc', "
        "1e100, 0.1, -2, 5e-324 end } }, { 2 }",
        "(1,-1,6,5,-9.0,2x1.5,3,1e+100,0.1,-2,4.9406564584125e-324)");
  check(f, "return { { 'map', function(r) return r.user, r.amount * 2, r[1], #r end } }, { { 'q', user = 'u', amount "
        "= 3 } }", "(u,6,q,1)");
  check(f, "return { { 'map', function(a) return a + 1, a + 1.0, a == 1.0, 'a\\1\\n\"%' .. a end } }, { 1, 1.5 }",
        "(2,2.0,true,a\001\n\"%1) (2.5,2.5,false,a\001\n\"%1.5)");
}

static void test_words_in_place(void **state)
{
  fixture *f = *state;
  chain c;
  const char *text = "one two\r\nthree\n\n four\tfive";
  rl_bytes *data = rl_bytes_from(text, strlen(text));
  size_t at = 0;
  rl_chunks lines = {0};
  rl_chunks_add(&lines, rl_text_next(data, &at, data->n));
  rl_bytes_unref(data);
  run_code(f->driver, "return { { 'flatMap', function(l) return l:gmatch('%S+') end }, { 'map', function(w) return w, "
        "1 end }, { 'combine', function(a, b) return a + b end } }");
  make_chain(f->driver, &c);
  for (f->task.max_attempts = 1; f->task.max_attempts <= 2; f->task.max_attempts++) {
    rl_pull *input = rl_pull_chunks(&lines);
    assert_int_equal(run_task(f, &c, &input, 1), RL_OK);
    assert_string_equal(f->text.p, "(one,1) (two,1) (three,1) (four,1) (five,1)");
  }
  free_chain(&c);
  rl_chunks_clear(&lines);
}

/* Closures over other values are other closures, though the code made for them is the same. */
static void test_shapes_are_shared(void **state)
{
  fixture *f = *state;
  char code[200], expected[20];
  for (int i = 0; i < 300; i++) {
    snprintf(code, sizeof code, "local n = %d return { { 'map', function(x) local y = x + n return y end } }, { 1 }",
        i);
    snprintf(expected, sizeof expected, "%d", i + 1);
    assert_int_equal(run_chain(f, code, 1), RL_OK);
    assert_string_equal(f->text.p, expected);
  }
}

static void test_closing_before_the_end(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'flatMap', function(n) local i = 0 return function() i = i + 1 return i end end }, { 'take', "
        "param = 3 } }, { 1 }", "1 2 3");
  check(f, "return { { 'flatMap', function(n) return setmetatable({}, { __call = 1 }) end } }, {}", "");
  check(f, "return { { 'flatMap', function(n) local open = 'open' local t = setmetatable({}, { __close = function() "
        "open = 'closed' end }) local i = 0 "
        "return function() i = i + 1 if i < 3 then return open end end, nil, nil, t end } }, { 1, 2 }",
        "open open open open");
}

static void test_unknown_kinds(void **state)
{
  (void)state;
  rl_step unknown = {.kind = "mop", .name = "mop"}, few = {.kind = "map", .name = "map"};
  assert_null(rl_luafn_new(&unknown));
  assert_int_equal(rl_error_current()->code, RL_EINVAL);
  assert_null(rl_luafn_new(&few));
  rl_step step = {.kind = "map", .name = "map", .functions = 1, .site = "job.lua:1", .param = 5};
  rl_fn *fn = rl_luafn_new(&step);
  assert_true(rl_fn_is_lua(fn));
  assert_false(rl_luafn_is_bound(fn));
  assert_string_equal(rl_luafn_step(fn)->site, "job.lua:1");
  assert_null(rl_luafn_step(fn)->uid);
  rl_fn_unref(fn);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_map, setup, teardown),
      cmocka_unit_test_setup_teardown(test_chains, setup, teardown),
      cmocka_unit_test_setup_teardown(test_filter, setup, teardown),
      cmocka_unit_test_setup_teardown(test_flat_map, setup, teardown),
      cmocka_unit_test_setup_teardown(test_pairs, setup, teardown),
      cmocka_unit_test_setup_teardown(test_partitions, setup, teardown),
      cmocka_unit_test_setup_teardown(test_aggregation, setup, teardown),
      cmocka_unit_test_setup_teardown(test_combining_that_does_not_pay, setup, teardown),
      cmocka_unit_test_setup_teardown(test_many_keys, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cogroup, setup, teardown),
      cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
      cmocka_unit_test_setup_teardown(test_recognised, setup, teardown),
      cmocka_unit_test_setup_teardown(test_words_in_place, setup, teardown),
      cmocka_unit_test_setup_teardown(test_shapes_are_shared, setup, teardown),
      cmocka_unit_test_setup_teardown(test_closing_before_the_end, setup, teardown),
      cmocka_unit_test(test_unknown_kinds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
