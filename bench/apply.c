/* bench_apply DIR KEYS: how fast changes of state go into the image, with syncs. Makes a store of KEYS keys in DIR; then
 * for each line DIRTY of its input it changes DIRTY random keys in each of some versions, and answers with the keys a
 * second that it takes from the end of the first batch until all are in the image. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "store/state.h"

#define LOADED_AT_ONCE 200000
#define VERSIONS 20

static int64_t version;
static uint64_t keys;
static rl_state *store;
static rl_state_op *op;

static _Noreturn void die(const char *what)
{
  fprintf(stderr, "bench_apply: %s\n", what);
  exit(1);
}

static void check(rl_status st)
{
  if (st != RL_OK) die(rl_error_message());
}

static uint64_t next_random(void)
{
  static uint64_t x = 88172645463325252;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return x;
}

/* Each key is looked up once in an update: one of each stretch is drawn. */
static uint64_t pick(uint64_t i, uint64_t dirty)
{
  uint64_t stretch = keys / dirty;
  return i * stretch + next_random() % stretch;
}

static void seal(uint64_t from, uint64_t n, bool random)
{
  rl_state_update *u;
  check(rl_state_update_new(op, 0, 1, &u));
  for (uint64_t i = 0; i < n; i++) {
    char key[32];
    rl_value old;
    int64_t stamp;
    int length = snprintf(key, sizeof key, "user-%09" PRIu64, random ? pick(i, n) : from + i);
    check(rl_state_slot(u, rl_str(key, (size_t)length), &old, &stamp));
    check(rl_state_set(u, (uint32_t)i, rl_int(version + (int64_t)i), version));
  }
  check(rl_state_seal(op, ++version, &u, 1));
}

static double measure(uint64_t dirty)
{
  for (int i = 0; i < VERSIONS; i++) seal(0, dirty, true);
  int64_t begun = rl_mono_ns();
  rl_state_end(store, version);
  check(rl_state_flush(store));
  return (double)(dirty * VERSIONS) / ((double)(rl_mono_ns() - begun) / 1e9);
}

int main(int argc, char **argv)
{
  if (argc != 3) die("usage: bench_apply DIR KEYS");
  keys = strtoull(argv[2], NULL, 10);
  const rl_state_spec spec = {.dir = argv[1], .overlay_bytes = (size_t)256 << 20};
  check(rl_state_open(&spec, &store));
  check(rl_state_operator(store, "counts", false, &op));
  for (uint64_t at = 0; at < keys; at += LOADED_AT_ONCE) {
    seal(at, keys - at < LOADED_AT_ONCE ? keys - at : LOADED_AT_ONCE, false);
    rl_state_end(store, version);
  }
  check(rl_state_flush(store));
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    printf("%.0f\n", measure(strtoull(line, NULL, 10)));
    fflush(stdout);
  }
  rl_state_close(store);
  return 0;
}
