/* The state store under load: scans while the image moves and other threads seal; figures of many keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/state.h"
#include "store/state_impl.h"

static void a_scan_goes_on_while_the_image_moves(void **state)
{
  rl_state *s = open_at(*state, true, 64 * MIB);
  rl_state_op *op = op_of(s, "x", false);
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp, n = 20000;
  bool found = true;
  states_set_all(op, 1, n);
  states_set_all(op, 2, n);
  ok(rl_state_scan_open(op, 2, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  for (int64_t i = 0; i < n; i++) {
    ok(rl_state_scan_next(scan, &key, &value, &stamp, &found));
    assert_true(found && value.i == 2);
    if (i == 100) rl_state_end(s, 1);
    if (i == 5000) ok(rl_state_flush(s));
    if (i == 5001) states_set_all(op, 3, n);
    if (i == 6000) rl_state_end(s, 3);
    if (i == 10000) ok(rl_state_flush(s)); /* version 2, and not 3 */
  }
  ok(rl_state_scan_next(scan, &key, &value, &stamp, &found));
  assert_false(found);
  rl_state_scan_close(scan);
  ok(rl_state_flush(s));
  states_expect_all(op, 3, n);
  rl_state_close(s);
}

typedef struct crew {
  rl_state *s;
  rl_state_op *op[2];
  atomic_bool stop;
  int64_t n;
} crew;

static void *keep_scanning(void *arg)
{
  crew *c = arg;
  for (unsigned i = 0; !atomic_load(&c->stop); i++) {
    rl_state_op *op = c->op[i % 2];
    rl_buf out = {0};
    bool found;
    pthread_mutex_lock(&c->s->lock);
    int64_t version = op->sealed; /* sealed and pinned at once */
    rl_pin_add(op, version, false);
    pthread_mutex_unlock(&c->s->lock);
    if (version != RL_NO_TIME) states_expect_all(op, version, c->n);
    rl_state_unpin(op, version);
    ok(rl_state_get(op, rl_int(i % c->n), &out, &found));
    rl_buf_free(&out);
  }
  return NULL;
}

static void *keep_sealing(void *arg)
{
  crew *c = arg;
  for (int64_t t = 1; t <= 30; t++) states_set_all(c->op[1], t, c->n);
  return NULL;
}

static void threads_see_whole_versions(void **state)
{
  crew c = {.s = open_at(*state, true, 16 * MIB), .n = 3000};
  pthread_t scans[2], seals;
  c.op[0] = op_of(c.s, "a", true);
  c.op[1] = op_of(c.s, "b", false);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&scans[i], NULL, keep_scanning, &c), 0);
  assert_int_equal(pthread_create(&seals, NULL, keep_sealing, &c), 0);
  for (int64_t t = 1; t <= 30; t++) {
    states_set_all(c.op[0], t, c.n);
    rl_state_end(c.s, t);
  }
  assert_int_equal(pthread_join(seals, NULL), 0);
  atomic_store(&c.stop, true);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(scans[i], NULL), 0);
  ok(rl_state_flush(c.s));
  for (int i = 0; i < 2; i++) states_expect_all(c.op[i], 30, c.n);
  rl_state_stats stats;
  rl_state_stats_read(c.s, &stats);
  assert_int_equal(stats.versions, 0);
  assert_int_equal(stats.keys, 6000);
  rl_state_close(c.s);
}

/* Figures ---------------------------------------------------------------------------------------------------------- */

static size_t anonymous_kb(void)
{
  rl_buf text = {0};
  ok(rl_file_read_all("/proc/self/status", &text));
  const char *at = strstr(rl_buf_cstr(&text), "RssAnon:");
  size_t kb = at ? strtoul(at + 8, NULL, 10) : 0;
  rl_buf_free(&text);
  return kb;
}

static double ns_each(int64_t from, int64_t n)
{
  return (double)(rl_mono_ns() - from) / (double)n;
}

static rl_value user_key(char *room, size_t size, uint64_t i)
{
  unsigned long long id = i * 2654435761U % 1000000007U;
  return rl_str(room, (size_t)snprintf(room, size, "user-%012llu", id));
}

static void fill(rl_state *s, rl_state_op *op, int64_t n, int64_t step)
{
  char room[32];
  int64_t seal_ns = 0, set_ns = 0, apply_ns = 0, t = 1;
  for (int64_t from = 0; from < n; from += step, t++) {
    int64_t start = rl_mono_ns();
    rl_state_update *u = update_of(op, 0, 1);
    for (int64_t i = from; i < from + step; i++) put(u, user_key(room, sizeof room, (uint64_t)i), rl_int(i), t);
    rl_state_update_rest(u);
    set_ns += rl_mono_ns() - start;
    start = rl_mono_ns();
    seal(op, t, u);
    seal_ns += rl_mono_ns() - start;
    start = rl_mono_ns();
    rl_state_end(s, t);
    ok(rl_state_flush(s));
    apply_ns += rl_mono_ns() - start;
  }
  print_message("%lld keys: slot+set %.0f ns, seal %.0f ns an entry, apply %.0f entries/s\n", (long long)n,
                (double)set_ns / (double)n, (double)seal_ns / (double)n, (double)n * 1e9 / (double)apply_ns);
}

static void measure(const char *dir, int64_t n)
{
  size_t before = anonymous_kb();
  rl_state *s = open_at(dir, true, 256 * MIB);
  rl_state_op *op = op_of(s, "x", false);
  char room[32];
  rl_state_stats stats;
  fill(s, op, n, n / 20);
  rl_state_update *u = update_of(op, 0, 1);
  rl_value v;
  int64_t stamp, start = rl_mono_ns(), looks = 200000;
  uint64_t seed = 1;
  for (int64_t i = 0; i < looks; i++) {
    ok(rl_state_slot(u, user_key(room, sizeof room, records_random(&seed) % (uint64_t)n), &v, &stamp));
    assert_int_equal(v.type, RL_T_INT);
  }
  print_message("  look-up %.0f ns\n", ns_each(start, looks));
  rl_state_update_delete(u);
  start = rl_mono_ns();
  u = update_of(op, 0, 1);
  for (int64_t i = 0; i < 10000; i++) {
    put(u, user_key(room, sizeof room, (uint64_t)(i * (n / 10000))), rl_int(-i), 1000);
  }
  seal(op, 1000, u);
  rl_state_end(s, 1000);
  print_message("  a batch of 10000: %.0f ns a key", ns_each(start, 10000));
  ok(rl_state_flush(s));
  print_message(", %.0f ns until applied\n", ns_each(start, 10000));
  start = rl_mono_ns();
  rl_state_scan *scan = NULL;
  bool found = true;
  ok(rl_state_scan_open(op, 1000, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  rl_value k;
  while (ok(rl_state_scan_next(scan, &k, &v, &stamp, &found)), found) continue;
  rl_state_scan_close(scan);
  print_message("  scan %.0f ns a key\n", ns_each(start, n));
  rl_state_stats_read(s, &stats);
  print_message("  %.1f bytes a key in the image, %.1f anonymous\n", (double)stats.image_bytes / (double)n,
                ((double)anonymous_kb() - (double)before) * 1024 / (double)n);
  rl_state_close(s);
}

static void many_keys(void **state)
{
  const char *keys = getenv("RILLE_STATE_KEYS");
  const char *wanted = getenv("RILLE_LONG");
  if (!wanted || strcmp(wanted, "1") != 0) skip();
  measure(*state, keys ? strtoll(keys, NULL, 10) : 1000000);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(a_scan_goes_on_while_the_image_moves),
      in_a_folder(threads_see_whole_versions),
      in_a_folder(many_keys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
