/* The gate before a log that is closed while others may still come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "scratch.h"
#include "store/log_gate.h"

static rl_wal *open_log(const char *dir)
{
  rl_wal *w = NULL;
  assert_int_equal(rl_wal_open(&(rl_wal_spec){.dir = dir, .queue_bytes = 1}, &w), RL_OK);
  return w;
}

static rl_status append(rl_log_gate *g)
{
  const rl_wal_part part = {.p = "record", .n = 6};
  rl_wal *w = rl_log_gate_enter(g);
  if (!w) return RL_ECLOSED;
  rl_status st = rl_wal_append(w, 1, &part, 1, NULL);
  rl_log_gate_leave(g);
  return st;
}

static void nobody_enters_behind_the_end(void **state)
{
  rl_wal *w = open_log(*state);
  rl_log_gate *g = rl_log_gate_new(w), *late = rl_log_gate_ref(g);
  assert_int_equal(append(late), RL_OK);
  rl_log_gate_close(g);
  assert_int_equal(rl_wal_close(w), RL_OK);
  rl_log_gate_unref(g);
  assert_int_equal(append(late), RL_ECLOSED);
  rl_log_gate_close(late);
  rl_log_gate_unref(late);
}

typedef struct guest {
  rl_log_gate *gate;
  _Atomic int appended;
} guest;

static void *come_again(void *arg)
{
  guest *v = arg;
  rl_status st;
  while ((st = append(v->gate)) == RL_OK) atomic_fetch_add(&v->appended, 1);
  assert_int_equal(st, RL_ECLOSED);
  rl_log_gate_unref(v->gate);
  return NULL;
}

/* Those inside have left, those who waited in there for room, too, when close returns. */
static void the_end_waits_for_those_inside(void **state)
{
  rl_wal *w = open_log(*state);
  rl_log_gate *g = rl_log_gate_new(w);
  pthread_t threads[3];
  guest guests[3] = {{0}};
  for (int i = 0; i < 3; i++) {
    guests[i].gate = rl_log_gate_ref(g);
    assert_int_equal(pthread_create(&threads[i], NULL, come_again, &guests[i]), 0);
  }
  for (int i = 0; i < 3; i++)
    while (atomic_load(&guests[i].appended) < 10) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  rl_log_gate_close(g);
  assert_int_equal(rl_wal_close(w), RL_OK);
  rl_log_gate_unref(g);
  for (int i = 0; i < 3; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    in_a_folder(nobody_enters_behind_the_end),
    in_a_folder(the_end_waits_for_those_inside),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
