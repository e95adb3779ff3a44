/* Work in a child process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/apart.h"
#include "base/buf.h"

typedef struct told {
  rl_buf b;
  size_t messages, bytes;
  unsigned idles;
} told;

static void hear(void *user, const char *p, size_t n)
{
  told *t = user;
  t->messages++;
  t->bytes += n;
  if (n < 100) rl_buf_add(&t->b, p, n);
}

static rl_status run(rl_status (*work)(void *, rl_apart *), rl_status (*idle)(void *), told *t, bool *crashed)
{
  *t = (told){0};
  return rl_apart_run(&(rl_apart_spec){work, hear, idle, t}, crashed);
}

static rl_status talk(void *user, rl_apart *a)
{
  static char large[300000];
  (void)user;
  rl_apart_tell(a, "one ", 4);
  rl_apart_tell(a, "", 0);
  rl_apart_tell(a, "two", 3);
  rl_apart_tell(a, large, sizeof large);
  return RL_OK;
}

static void messages_come_in_order(void **state)
{
  (void)state;
  told t;
  bool crashed = true;
  assert_int_equal(run(talk, NULL, &t, &crashed), RL_OK);
  assert_false(crashed);
  assert_int_equal(t.messages, 4);
  assert_int_equal(t.bytes, 300007);
  assert_string_equal(rl_buf_cstr(&t.b), "one two");
  rl_buf_free(&t.b);
}

static rl_status refuse(void *user, rl_apart *a)
{
  (void)user;
  rl_apart_tell(a, "before", 6);
  rl_fail(RL_ELIMIT, "too much of %s", "it");
  rl_error_set_retriable(true);
  return RL_ELIMIT;
}

static void an_error_is_the_caller_s(void **state)
{
  (void)state;
  told t;
  bool crashed = true;
  assert_int_equal(run(refuse, NULL, &t, &crashed), RL_ELIMIT);
  assert_false(crashed);
  assert_string_equal(rl_error_message(), "too much of it");
  assert_true(rl_error_current()->retriable);
  assert_string_equal(rl_buf_cstr(&t.b), "before");
  rl_buf_free(&t.b);
}

static rl_status crash(void *user, rl_apart *a)
{
  (void)user;
  rl_apart_tell(a, "still", 5);
  raise(SIGSEGV);
  return RL_OK;
}

static rl_status leave(void *user, rl_apart *a)
{
  (void)user;
  (void)a;
  _exit(3);
}

static void a_crash_is_damage(void **state)
{
  (void)state;
  told t;
  bool crashed = false;
  assert_int_equal(run(crash, NULL, &t, &crashed), RL_EDATA);
  assert_true(crashed);
  assert_string_equal(rl_error_message(), "it crashed (Segmentation fault)");
  assert_string_equal(rl_buf_cstr(&t.b), "still");
  rl_buf_free(&t.b);
  crashed = false;
  assert_int_equal(run(leave, NULL, &t, &crashed), RL_EDATA);
  assert_true(crashed);
  assert_string_equal(rl_error_message(), "it ended in the middle, with status 3");
}

static rl_status wait_for_ever(void *user, rl_apart *a)
{
  (void)user;
  (void)a;
  while (pause() != 0) continue;
  return RL_OK;
}

static rl_status give_up(void *user)
{
  told *t = user;
  return ++t->idles < 3 ? RL_OK : rl_fail(RL_ECANCELLED, "enough");
}

static void who_is_idle_can_end_it(void **state)
{
  (void)state;
  told t;
  bool crashed = true;
  assert_int_equal(run(wait_for_ever, give_up, &t, &crashed), RL_ECANCELLED);
  assert_false(crashed);
  assert_string_equal(rl_error_message(), "enough");
  assert_int_equal(t.idles, 3);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_come_in_order),
      cmocka_unit_test(an_error_is_the_caller_s),
      cmocka_unit_test(a_crash_is_damage),
      cmocka_unit_test(who_is_idle_can_end_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
