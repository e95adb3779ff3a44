/* What a service manager is told, read from a real socket; and when it is told that the process is alive. */
#include "engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"
#include "run/service.h"
#include "scratch.h"

typedef struct manager {
  int fd;
  void *dir; /* scratch_setup's */
  char *path;
} manager;

/* Listens at a path, or at an abstract name. */
static void listen_at(manager *m, const char *name, bool abstract)
{
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  size_t n = strlen(name);
  assert_true(n < sizeof at.sun_path);
  memcpy(at.sun_path, name, n);
  if (abstract) at.sun_path[0] = '\0';
  m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  assert_true(m->fd >= 0);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
  assert_int_equal(bind(m->fd, (const struct sockaddr *)&at, length), 0);
  setenv("NOTIFY_SOCKET", name, 1);
}

static int begin(void **state)
{
  manager *m = RL_NEW(manager);
  scratch_setup(&m->dir);
  m->path = rl_format("%s/notify", (const char *)m->dir);
  listen_at(m, m->path, false);
  unsetenv("WATCHDOG_USEC");
  unsetenv("WATCHDOG_PID");
  *state = m;
  return 0;
}

static int end(void **state)
{
  manager *m = *state;
  unsetenv("NOTIFY_SOCKET");
  close(m->fd);
  scratch_teardown(&m->dir);
  rl_free(m->path);
  rl_free(m);
  return 0;
}

/* Between processes of one machine a datagram is there when sendto returns. */
static void expect_told(const manager *m, const char *text)
{
  char got[512];
  ssize_t n = recv(m->fd, got, sizeof got - 1, 0);
  if (n < 0) fail_msg("nothing was told instead of '%s'", text);
  got[n] = '\0';
  assert_string_equal(got, text);
}

static void expect_silence(const manager *m)
{
  char got[512];
  assert_true(recv(m->fd, got, sizeof got, 0) < 0 && errno == EAGAIN);
}

static void message_is_one_datagram(void **state)
{
  const manager *m = *state;
  assert_true(rl_notify_wanted());
  assert_int_equal(rl_notify("READY=1\nSTATUS=here"), RL_OK);
  assert_int_equal(rl_notify_at_once("WATCHDOG=1"), RL_OK);
  expect_told(m, "READY=1\nSTATUS=here");
  expect_told(m, "WATCHDOG=1");
  expect_silence(m);
}

static void abstract_name_is_understood(void **state)
{
  manager *m = *state;
  close(m->fd);
  char *name = rl_format("@rille-spec-%ld", (long)getpid());
  listen_at(m, name, true);
  assert_int_equal(rl_notify("STOPPING=1"), RL_OK);
  expect_told(m, "STOPPING=1");
  rl_free(name);
}

static void nobody_to_tell_is_no_error(void **state)
{
  const manager *m = *state;
  unsetenv("NOTIFY_SOCKET");
  assert_false(rl_notify_wanted());
  assert_int_equal(rl_notify("READY=1"), RL_OK);
  setenv("NOTIFY_SOCKET", "", 1);
  assert_int_equal(rl_notify("READY=1"), RL_OK);
  expect_silence(m);
}

static void bad_address_is_named(void **state)
{
  (void)state;
  setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
  assert_int_equal(rl_notify("READY=1"), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "'vsock:2:1234'"));
  setenv("NOTIFY_SOCKET", "/nowhere/rille/notify", 1);
  assert_int_equal(rl_notify("READY=1"), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "/nowhere/rille/notify"));
}

static void full_queue_holds_nobody_up(void **state)
{
  (void)state;
  rl_status st = RL_OK;
  for (int i = 0; i < 100000 && st == RL_OK; i++) st = rl_notify_at_once("WATCHDOG=1");
  assert_int_equal(st, RL_EIO);
}

static void watchdog_is_for_the_process_it_names(void **state)
{
  (void)state;
  assert_int_equal(rl_notify_watchdog_us(), 0);
  setenv("WATCHDOG_USEC", "3000000", 1);
  assert_int_equal(rl_notify_watchdog_us(), 3000000);
  char *own = rl_format("%ld", (long)getpid());
  setenv("WATCHDOG_PID", own, 1);
  rl_free(own);
  assert_int_equal(rl_notify_watchdog_us(), 3000000);
  setenv("WATCHDOG_PID", "1", 1);
  assert_int_equal(rl_notify_watchdog_us(), 0);
  unsetenv("WATCHDOG_PID");
  setenv("WATCHDOG_USEC", "soon", 1);
  assert_int_equal(rl_notify_watchdog_us(), 0);
}

static bool no_more(void *arg)
{
  (void)arg;
  return false;
}

/* The timer is fired by hand here: the limit is an hour. */
static void driver_that_serves_nothing_is_not_alive(void **state)
{
  const manager *m = *state;
  setenv("WATCHDOG_USEC", "3600000000", 1);
  rl_context *c = new_context(NULL);
  rl_service s = {0};
  rl_service_start(&s, c, 1500);
  expect_told(m, "READY=1\nSTATUS=Started, with batches of 1.5 s.");
  s.timer.fire(&s.timer);
  expect_told(m, "WATCHDOG=1");
  s.timer.fire(&s.timer);
  s.timer.fire(&s.timer);
  expect_silence(m);
  rl_driver_serve(rl_context_driver(c), no_more, NULL, 0);
  s.timer.fire(&s.timer);
  expect_told(m, "WATCHDOG=1");
  rl_service_stopping(&s, true);
  expect_told(m, "STOPPING=1\nSTATUS=Stopping.");
  rl_service_end(&s);
  rl_service_end(&s);
  rl_service_stopping(&s, true);
  expect_silence(m);
  rl_context_unref(c);
}

static void without_a_limit_nothing_is_repeated(void **state)
{
  const manager *m = *state;
  rl_context *c = new_context(NULL);
  rl_service s = {0};
  rl_service_start(&s, c, 1000);
  expect_told(m, "READY=1\nSTATUS=Started, with batches of 1 s.");
  assert_false(s.timer.armed);
  rl_service_stopping(&s, false);
  expect_told(m, "STATUS=Stopping the streams.");
  rl_service_end(&s);
  rl_context_unref(c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
  const struct CMUnitTest tests[] = {
    TEST(message_is_one_datagram),
    TEST(abstract_name_is_understood),
    TEST(nobody_to_tell_is_no_error),
    TEST(bad_address_is_named),
    TEST(full_queue_holds_nobody_up),
    TEST(watchdog_is_for_the_process_it_names),
    TEST(driver_that_serves_nothing_is_not_alive),
    TEST(without_a_limit_nothing_is_repeated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
