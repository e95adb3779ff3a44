#include "chain.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>


static void test_errors_of_functions(void **state)
{
  fixture *f = *state;
  check_error(f, "return { { 'filter',\nfunction(x) return x > nil end } }, { 1 }",
        "job.lua:2: attempt to compare nil with number (in the function given to filter, declared at job.lua:7)");
  assert_string_equal(f->trace.p, "  job.lua:2: in function <job.lua:2>");
  check_error(f, "local function deep(x)\nerror('no ' .. x .. '\\nmore') end\nreturn { { 'map', function(x)\n deep(x) "
        "return 1 end } }, { 'luck' }",
        "job.lua:2: no luck (in the function given to map, declared at job.lua:7)");
  assert_string_equal(f->trace.p, "  job.lua:2: in upvalue 'deep'\n  job.lua:4: in function <job.lua:3>");
  check_error(f, "return { { 'map', function(x) return x end }, { 'reduce', function(a, b) return a + b end, name = "
        "'top' } }, { 1, {} }",
        "job.lua:1: attempt to perform arithmetic on a table value (local 'b') (in the function given to top, "
        "declared at job.lua:7)");
  check_error(f, "return { { 'map', function(x) error(nil) end } }, { 1 }",
        "job.lua:1: nil (in the function given to map, declared at job.lua:7)");
  check_error(f, "return { { 'map', function(x) error({ code = 7 }) end } }, { 1 }",
        "job.lua:1: {code=7} (in the function given to map, declared at job.lua:7)");
  check_error(f, "return { { 'map', function(x) error(setmetatable({}, { __tostring = function() return 'mine' end "
        "})) end } }, { 1 }",
        "job.lua:1: mine (in the function given to map, declared at job.lua:7)");
  check_error(f, "return { { 'map', string.rep } }, { {} }",
        "bad argument #1 (string expected, got table) (in the function given to map, declared at job.lua:7)");
  check_error(f, "return { { 'flatMap', function(n) return coroutine.wrap(function() error('inside') end) end } }, { "
        "1 }",
        "job.lua:1: inside (in the function given to flatMap, declared at job.lua:7)");
  check_error(f, "return { { 'map', function(x) coroutine.yield(1) return x end } }, { 1 }",
        "job.lua:1: attempt to yield from outside a coroutine (in the function given to map, declared at "
        "job.lua:7)");
}

static void test_errors_of_results(void **state)
{
  fixture *f = *state;
  const char *nothing = "job.lua:7: the function given to map returned nil; return a value, or leave the record out "
        "with filter";
  check_error(f, "return { { 'map', function(x) end } }, { 1 }", nothing);
  check_error(f, "return { { 'map', function(x) return nil, 1 end } }, { 1 }", nothing);
  check_error(f, "return { { 'map', function(x) return tuple() end } }, { 1 }", nothing);
  check_error(f, "return { { 'map', function(x) return nil end }, { 'map', function(x) return 1 end } }, { 1 }",
        nothing);
  check_error(f, "return { { 'map', function(x) return nil, 2 end }, { 'filter', function() return true end }, { "
        "'glom' } }, { 1 }", nothing);
  check_error(f, "return { { 'map', function(x) return x.y end }, { 'combine', function(a) return a end } }, { {} }",
        nothing);
  check_error(f, "return { { 'map', function(x) return print end } }, { 1 }",
        "job.lua:7: map: a function cannot be in a record");
  check_error(f, "return { { 'map', function(x) return 1, { a = { 1, coroutine.create(print) } } end } }, { 1 }",
        "job.lua:7: map: a coroutine cannot be in a record (field 2, .a[2])");
  check_error(f, "return { { 'map', function(x) local t = {} t.me = t return t end } }, { 1 }",
        "job.lua:7: map: a table that contains itself cannot be in a record (.me)");
  check_error(f, "return { { 'flatMap', function(x) end } }, { 1 }",
        "job.lua:7: the function given to flatMap returned nil; it must return an array (an empty one for no "
        "records) or an iterator");
  check_error(f, "return { { 'flatMap', function(x) return 5 end } }, { 1 }",
        "job.lua:7: the function given to flatMap returned a number; it must return an array (an empty one for "
        "no records) or an iterator");
  check_error(f, "return { { 'mapPartitions', function(x) return tuple(1, 2) end } }, { 1 }",
        "job.lua:7: the function given to mapPartitions returned one rille.tuple; it must return an array (an "
        "empty one for no records) or an iterator");
  check_error(f, "return { { 'flatMap', function(x) local t = { 1, 2, 3 } t[2] = nil return t end } }, { 1 }",
        "job.lua:7: the array that the function given to flatMap returned has nil at index 2");
}

static void test_errors_of_keys(void **state)
{
  fixture *f = *state;
  check_error(f, "return { { 'combine', function(a, b) return a end, name = 'reduceByKey' } }, { tuple(0/0, 1) }",
        "job.lua:7: reduceByKey: a key is NaN; leave such records out with filter before it, or give them "
        "another key");
  check_error(f, "return { { 'combine', function(a, b) return a + b end, name = 'reduceByKey', param = 2 } }, { "
        "tuple(1, 1), tuple(2, 1), tuple(0/0, 1) }",
        "job.lua:7: reduceByKey: a key is NaN; leave such records out with filter before it, or give them "
        "another key");
  check_error(f, "return { { 'merge', function(a, b) return a end, name = 'reduceByKey' } }, { tuple(1, 1), "
        "tuple(0/0, 1) }",
        "job.lua:7: reduceByKey: a key is NaN; leave such records out with filter before it, or give them "
        "another key");
  check_error(f, "return { { 'aggregate', function(v) return print end, function(a, b) return a end, name = "
        "'aggregateByKey' } }, { tuple(1, 1) }",
        "job.lua:7: aggregateByKey: a function cannot be in a record (field 2)");
  check_error(f, "return { { 'group', name = 'groupByKey' } }, { 'lonely' }",
        "job.lua:7: groupByKey needs (key, value) records, but got a record of one value: lonely; return key, "
        "value before it");
  check_error(f, "return { { 'map', function(x) return x end }, { 'mapValues', function(v) return v end } }, { { 1 } }",
        "job.lua:7: mapValues needs (key, value) records, but got a record of one value: {1}; return key, value "
        "before it");
  check_error(f, "return { { 'filter', function(x) return true end }, { 'mapValues', function(v) return v end } }, { "
        "5 }",
        "job.lua:7: mapValues needs (key, value) records, but got a record of one value: 5; return key, value "
        "before it");
  check_error(f, "return { { 'group', name = 'groupByKey' } }, { tuple('a', 1), tuple('a', nil) }",
        "job.lua:7: groupByKey: a value of key a is nil, and an array cannot hold nil; use rille.null for it, "
        "or leave the record out");
  check_error(f, "return { { 'group', name = 'groupByKey' } }, { tuple('b', nil) }",
        "job.lua:7: groupByKey: a value of key b is nil, and an array cannot hold nil; use rille.null for it, "
        "or leave the record out");
  check_error(f, "return { { 'cogroup', name = 'join' } }, { tuple('b', 1) }, { tuple('b', nil) }",
        "job.lua:7: join: a value of key b is nil, and an array cannot hold nil; use rille.null for it, or "
        "leave the record out");
}

/* A first attempt with recognised functions may fail with less to say; what it fails for is the same. */
static void test_recognised_functions_fail_too(void **state)
{
  fixture *f = *state;
  const char *cases[] = {
        "return { { 'map', function(a) return a + 1 end } }, { {} }",
        "return { { 'flatMap', function(l) return l:gmatch('%S+') end } }, { 5 }",
        "return { { 'map', function(x) return x, 1 end }, { 'flatMap', function(l) return l:gmatch('%a') end } }, { 5 }",
        "return { { 'filter', function(x) return x < 1 end } }, { 'a' }",
        "return { { 'map', function(x) return x.y.z end } }, { {} }",
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    f->task.max_attempts = 4;
    assert_int_equal(run_chain(f, cases[i], 1), RL_EUSER);
    f->task.attempt = 1;
    assert_int_equal(run_chain(f, cases[i], 1), RL_EUSER);
    assert_non_null(strstr(f->text.p, "job.lua:1: attempt to"));
    f->task.attempt = 0;
  }
}

/* An error of the input that the user's pcall swallows fails the task all the same. */
static void test_swallowed_errors(void **state)
{
  fixture *f = *state;
  check_error(f, "return { { 'map', function(x) error('upstream', 0) end }, { 'mapPartitions', function(it) pcall(it) "
        "pcall(it) return { 1 } end } }, { 1 }",
        "upstream (in the function given to map, declared at job.lua:7)");
}

static void test_the_sandbox(void **state)
{
  fixture *f = *state;
  check_error(f, "return { { 'map', function(x) os.exit(1) end } }, { 1 }",
        "job.lua:1: os.exit is closed in functions that run in workers: raise an error to fail the task (in the "
        "function given to map, declared at job.lua:7)");
  const char *closed[] = {"os.setlocale('C')", "io.read()", "io.lines()", "return io.stdin", "io.input()",
        "string.x = 1", "math.pi = 3", "collectgarbage('stop')",
        "load(string.dump(function() end))()", "rille.StreamingContext({}, 1)"};
  for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
    char code[200];
    snprintf(code, sizeof code, "return { { 'map', function(x) %s end } }, { 1 }", closed[i]);
    assert_int_equal(run_chain(f, code, 1), RL_EUSER);
  }
  check(f, "return { { 'map', function(x) return load('return 1 + ...')(x), type(debug.sethook), math.floor(2.5), "
        "('x'):rep(2), (select(2, coroutine.running())) end } }, { 1 }",
        "(2,nil,2,xx,true)");
  check(f, "local n = 0 for _ in pairs(string) do n = n + 1 end return { { 'map', function(x) local m = 0 for _ in "
        "pairs(string) do m = m + 1 end return m == n end } }, { 1 }", "true");
  check(f, "return { { 'map', function(x) return require('rille').tuple(x, rille.null) end } }, { 1 }", "(1,null)");
}

static void test_once_and_random(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'map', function(x) local t = rille.once('counter', function() return { 0 } end) t[1] = t[1] + "
        "1 return x end } }, { 1, 2 }", "1 2");
  assert_int_equal(run_chain(f, "return { { 'map', function(x) return rille.once('counter', error)[1] end } }, { 1 }",
      1), RL_OK);
  assert_string_equal(f->text.p, "8");
  check_error(f, "return { { 'map', function(x) return rille.once('none', function() end) end } }, { 1 }",
        "job.lua:1: the function given to rille.once for 'none' returned nil (in the function given to map, "
        "declared at job.lua:7)");
  const char *random = "return { { 'map', function(x) return math.random(1000000000) end } }, { 1, 2 }";
  char first[100];
  run_chain(f, random, 1);
  snprintf(first, sizeof first, "%s", f->text.p);
  run_chain(f, random, 2);
  assert_string_equal(f->text.p, first);
  f->task.seed++;
  run_chain(f, random, 1);
  assert_string_not_equal(f->text.p, first);
}

static void test_coroutines_of_users(void **state)
{
  fixture *f = *state;
  check(f, "return { { 'map', function(x) local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) "
        "error('e' .. b, 0) end) "
        "local _, r = coroutine.resume(co, x) local ok, why = coroutine.resume(co, 5) return r, ok, why, "
        "coroutine.status(co), (coroutine.close(co)) end } }, { 1 }",
        "(2,false,e5,dead,false)");
  check(f, "return { { 'map', function(x) local co = coroutine.wrap(function() coroutine.yield() end) co() co() "
        "return (select(2, pcall(co))) end } }, { 1 }",
        "cannot resume dead coroutine");
  check(f, "return { { 'map', function(x) local co = coroutine.wrap(function() return xpcall(function(a) error(a .. "
        "coroutine.yield(5)) end, function(m) return 'handled ' .. m end, 'why ') end) "
        "return co(), co('not') end } }, { 1 }", "(5,false,handled job.lua:1: why not)");
  check(f, "return { { 'map', function(x) return coroutine.isyieldable(), coroutine.wrap(function() return "
        "coroutine.isyieldable() end)() end } }, { 1 }", "(false,true)");
  check(f, "return { { 'map', function(x) local main = coroutine.running() return (coroutine.resume(main)), "
        "(pcall(coroutine.close, main)) end } }, { 1 }", "(false,false)");
}

/* Interrupts ------------------------------------------------------------------------------------------------------- */

static fixture *interrupted;

static void on_signal(int sig)
{
  (void)sig;
  interrupted->hooks.interrupt(interrupted->hooks.user, interrupted->local, RL_ETIMEOUT);
}

typedef struct shooter {
  pthread_t target;
  sem_t over;
} shooter;

static bool is_over(shooter *s)
{
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 10 * 1000 * 1000;
  if (until.tv_nsec >= 1000 * 1000 * 1000) {
    until.tv_nsec -= 1000 * 1000 * 1000;
    until.tv_sec++;
  }
  return sem_timedwait(&s->over, &until) == 0;
}

/* Interrupts the target every now and then, until it is told that the task has ended. */
static void *shoot(void *arg)
{
  shooter *s = arg;
  while (!is_over(s)) pthread_kill(s->target, SIGUSR1);
  return NULL;
}

/* Runs a chain that does not end by itself. */
static rl_status run_under_fire(fixture *f, const char *code)
{
  shooter s = {.target = pthread_self()};
  pthread_t thread;
  sem_init(&s.over, 0, 0);
  assert_int_equal(pthread_create(&thread, NULL, shoot, &s), 0);
  rl_status st = run_chain(f, code, 1);
  sem_post(&s.over);
  pthread_join(thread, NULL);
  sem_destroy(&s.over);
  return st;
}

static void test_interrupts(void **state)
{
#ifdef __SANITIZE_THREAD__ /* it holds signals back until the next call into libc, which a loop in Lua never makes */
  skip();
#endif
  fixture *f = *state;
  const char *const loops[] = {
      "while true do end",
      "coroutine.wrap(function() while true do end end)()",
      "coroutine.wrap(function() while true do pcall(coroutine.wrap(function() while true do end end)) end end)()",
      "while true do pcall(function() while true do end end) end",
      "while true do pcall(string.rep, 'x', -1) end",
      "while true do xpcall(error, function() while true do end end) end",
      "local t <close> = setmetatable({}, { __close = function() while true do end end })",
      "local c = coroutine.create(suspended) coroutine.resume(c) coroutine.close(c)",
      "table.sort({ 3, 2, 1 }, function() while true do end end)",
      "repeat coroutine.resume(coroutine.create(function() while true do end end)) until false",
  };
  struct sigaction act = {.sa_handler = on_signal}, before;
  interrupted = f;
  sigaction(SIGUSR1, &act, &before);
  for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
    char code[400];
    snprintf(code, sizeof code, "local forever = setmetatable({}, { __close = function() while true do end end }) "
                                "local function suspended() local t <close> = forever coroutine.yield() end "
                                "return { { 'map', function(x) %s end } }, { 1 }", loops[i]);
    assert_int_equal(run_under_fire(f, code), RL_ETIMEOUT);
    assert_non_null(strstr(f->text.p, "took longer than rille.task.maxSeconds allows (in the function given to map, "
                                      "declared at job.lua:7)"));
    check(f, "return { { 'map', function(x) return x end } }, { 1 }", "1");
  }
  sigaction(SIGUSR1, &before, NULL);
}

static void test_cancelled(void **state)
{
  fixture *f = *state;
  atomic_bool cancelled = true;
  f->task.cancelled = &cancelled;
  assert_int_equal(run_chain(f, "return { { 'map', function(x) return x end } }, { 1 }", 1), RL_ECANCELLED);
}

/* Memory ----------------------------------------------------------------------------------------------------------- */

static int setup_small(void **state) { return setup_with(state, 4 << 20); }

static void test_memory_limit(void **state)
{
  fixture *f = *state;
  assert_int_equal(run_chain(f,
        "return { { 'map', function(x) local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end } }, { 1 }",
      1), RL_ENOMEM);
  assert_non_null(strstr(f->text.p,
        "out of memory: a worker's Lua state may hold 4194304 bytes (rille.task.maxMemory) (in the function given to "
        "map, declared at job.lua:7)"));
  check(f, "return { { 'map', function(x) return x end } }, { 1 }", "1");
  assert_int_equal(run_chain(f, "return { { 'map', function(x) return #('x'):rep(1 << 30) end } }, { 1 }", 1),
      RL_ENOMEM);
  check(f, "return { { 'map', function(x) return x end } }, { 1 }", "1");
}

/* A limit that grows step by step: whatever fails, fails with a message, and the worker goes on. */
static void test_memory_at_every_step(void **state)
{
  fixture *f = *state;
  bool worked = false;
  for (int64_t limit = 20000; !worked && limit < 2000000; limit += 9973) {
    f->hooks.stop(f->hooks.user, f->local);
    f->config.max_memory = limit;
    f->local = f->task.local = f->hooks.start(f->hooks.user, 0);
    rl_status st = run_chain(f,
          "return { { 'flatMap', function(l) return l:gmatch('%S+') end }, { 'map', function(w) return w, { w } end }, "
          "{ 'combine', function(a, b) return { a[1] .. b[1] } end } }, { 'a b a', 'c' }", 1);
    assert_true(st == RL_OK || st == RL_ENOMEM);
    worked = st == RL_OK;
  }
  assert_true(worked);
  assert_string_equal(f->text.p, "(a,{aa}) (b,{b}) (c,{c})");
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_errors_of_functions, setup, teardown),
      cmocka_unit_test_setup_teardown(test_errors_of_results, setup, teardown),
      cmocka_unit_test_setup_teardown(test_errors_of_keys, setup, teardown),
      cmocka_unit_test_setup_teardown(test_recognised_functions_fail_too, setup, teardown),
      cmocka_unit_test_setup_teardown(test_swallowed_errors, setup, teardown),
      cmocka_unit_test_setup_teardown(test_the_sandbox, setup, teardown),
      cmocka_unit_test_setup_teardown(test_once_and_random, setup, teardown),
      cmocka_unit_test_setup_teardown(test_coroutines_of_users, setup, teardown),
      cmocka_unit_test_setup_teardown(test_interrupts, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
      cmocka_unit_test_setup_teardown(test_memory_limit, setup_small, teardown),
      cmocka_unit_test_setup_teardown(test_memory_at_every_step, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
