/* What the log has of an update: it is refused, or makes a version that can be read, written into the image and taken
 * back. The fuzzer cannot guess a checksum: it is put in front of the bytes for it.
 *
 * Input: a byte that says how many partitions, and a byte before each but the first that says how long that one is in
 * sixteenths of the rest. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "data/partition.h"
#include "store/state.h"

#define PARTS 3

static rl_state *store;
static rl_state_op *op;
static int64_t version;

static void expect(bool holds)
{
  if (!holds) abort();
}

static void open_store(void)
{
  const char *tmp = getenv("TMPDIR");
  const rl_state_spec spec = {.dir = tmp && *tmp ? tmp : "/tmp", .scratch = true, .overlay_bytes = (size_t)1 << 30};
  expect(rl_state_open(&spec, &store) == RL_OK);
  expect(rl_state_operator(store, "op", true, &op) == RL_OK);
}

static void close_store(void)
{
  rl_state_close(store);
}

static void read_all(void)
{
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp;
  bool found = true;
  expect(rl_state_scan_open(op, RL_NO_TIME, 0, RL_KEY_GROUPS, NULL, 0, &scan) == RL_OK);
  while (expect(rl_state_scan_next(scan, &key, &value, &stamp, &found) == RL_OK), found) {
    rl_buf out = {0};
    expect(rl_state_get(op, key, &out, &found) == RL_OK && found);
    rl_buf_free(&out);
  }
  rl_state_scan_close(scan);
}

static void add_part(rl_buf *b, const char *p, size_t n)
{
  uint64_t sum = rl_hash_bytes(p, n, RL_HASH_SEED);
  for (int i = 0; i < 8; i++) rl_buf_putc(b, (char)(sum >> (8 * i) & 0xff));
  rl_buf_add(b, p, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
  if (!store) {
    open_store();
    expect(atexit(close_store) == 0);
  }
  if (size == 0) return 0;
  uint32_t n = 1 + input[0] % PARTS;
  rl_buf parts[PARTS] = {0};
  rl_state_changes changes[PARTS];
  const char *p = (const char *)input + 1, *end = (const char *)input + size;
  for (uint32_t i = 0; i < n; i++) {
    size_t left = (size_t)(end - p), take = left;
    if (i + 1 < n && left > 0) take = --left * ((unsigned char)*p++ % 16) / 16;
    add_part(&parts[i], p, take);
    p += take;
    changes[i] = (rl_state_changes){parts[i].p, parts[i].n};
  }
  if (rl_state_replay(op, version + 1, changes, n) == RL_OK) {
    read_all();
    if (++version % 2) {
      rl_state_end(store, version);
      expect(rl_state_flush(store) == RL_OK);
      read_all();
    } else {
      expect(rl_state_unseal(op, version--) == RL_OK);
    }
  } else {
    expect(rl_error_current()->code == RL_EDATA);
  }
  for (uint32_t i = 0; i < n; i++) rl_buf_free(&parts[i]);
  return 0;
}
