/* How often and when a crashed job is started again, as options say it. (What is then done: spec/e2e/supervise.sh.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "run/supervise.h"

#define SECOND INT64_C(1000000000)

static rl_supervision defaults(void)
{
  rl_supervision p = {0};
  assert_int_equal(rl_supervision_restarts(&p, RL_SUPERVISION_RESTARTS), RL_OK);
  assert_int_equal(rl_supervision_backoff(&p, RL_SUPERVISION_BACKOFF), RL_OK);
  return p;
}

static void defaults_are_as_documented(void **state)
{
  (void)state;
  rl_supervision p = defaults();
  assert_int_equal(p.restarts, 10);
  assert_int_equal(p.window_ns, 600 * SECOND);
  assert_int_equal(p.first_ns, SECOND);
  assert_int_equal(p.longest_ns, 60 * SECOND);
}

static void what_is_not_named_stays(void **state)
{
  (void)state;
  rl_supervision p = defaults();
  assert_int_equal(rl_supervision_restarts(&p, "0"), RL_OK);
  assert_int_equal(p.restarts, 0);
  assert_int_equal(p.window_ns, 600 * SECOND);
  assert_int_equal(rl_supervision_restarts(&p, "3/1h"), RL_OK);
  assert_int_equal(p.restarts, 3);
  assert_int_equal(p.window_ns, 3600 * SECOND);
  assert_int_equal(rl_supervision_backoff(&p, "20ms"), RL_OK);
  assert_int_equal(p.first_ns, SECOND / 50);
  assert_int_equal(p.longest_ns, 60 * SECOND);
  assert_int_equal(rl_supervision_backoff(&p, "2m"), RL_OK);
  assert_int_equal(p.longest_ns, 120 * SECOND);
  assert_int_equal(rl_supervision_backoff(&p, "0.5,3"), RL_OK);
  assert_int_equal(p.first_ns, SECOND / 2);
  assert_int_equal(p.longest_ns, 3 * SECOND);
}

static void nonsense_is_refused_and_changes_nothing(void **state)
{
  (void)state;
  rl_supervision p = defaults();
  const char *restarts[] = {"", "x", "-1", "3/", "3/x", "3/0", "3x", "100001", "99999999999999999999"};
  for (size_t i = 0; i < sizeof restarts / sizeof *restarts; i++) {
    assert_int_equal(rl_supervision_restarts(&p, restarts[i]), RL_EINVAL);
    assert_non_null(strstr(rl_error_message(), "10/10m"));
  }
  const char *backoffs[] = {"", "0", "x", "1s,", ",1s", "2s,1s", "1s,2s,3s", "-1s", "nan"};
  for (size_t i = 0; i < sizeof backoffs / sizeof *backoffs; i++) {
    assert_int_equal(rl_supervision_backoff(&p, backoffs[i]), RL_EINVAL);
    assert_non_null(strstr(rl_error_message(), "1s,60s"));
  }
  assert_int_equal(p.restarts, 10);
  assert_int_equal(p.window_ns, 600 * SECOND);
  assert_int_equal(p.first_ns, SECOND);
  assert_int_equal(p.longest_ns, 60 * SECOND);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(defaults_are_as_documented),
    cmocka_unit_test(what_is_not_named_stays),
    cmocka_unit_test(nonsense_is_refused_and_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
