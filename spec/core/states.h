/* Help for tests of the state store. Include after cmocka.h. */
#ifndef SPEC_CORE_STATES_H
#define SPEC_CORE_STATES_H

#include "data/partition.h"
#include "spec/core/records.h"
#include "spec/core/values.h"
#include "store/state.h"

#define MIB ((size_t)1024 * 1024)

static inline void ok(rl_status st)
{
  if (st != RL_OK) fail_msg("%s", rl_error_message());
}

static inline rl_state *open_at(const char *dir, bool scratch, size_t overlay)
{
  rl_state *s = NULL;
  ok(rl_state_open(&(rl_state_spec){.dir = dir, .scratch = scratch, .overlay_bytes = overlay}, &s));
  return s;
}

static inline rl_state_op *op_of(rl_state *s, const char *uid, bool timed)
{
  rl_state_op *op = NULL;
  ok(rl_state_operator(s, uid, timed, &op));
  return op;
}

static inline rl_state_update *update_of(rl_state_op *op, uint32_t partition, uint32_t n)
{
  rl_state_update *u = NULL;
  ok(rl_state_update_new(op, partition, n, &u));
  return u;
}

/* Sets a key in an update of one partition; returns what it was. */
static inline rl_value put(rl_state_update *u, rl_value key, rl_value value, int64_t stamp)
{
  rl_value old = rl_nil();
  int64_t old_stamp = 0;
  ok(rl_state_slot(u, key, &old, &old_stamp));
  ok(rl_state_set(u, rl_state_slots(u) - 1, value, stamp));
  return old;
}

static inline void seal(rl_state_op *op, int64_t time, rl_state_update *u)
{
  ok(rl_state_seal(op, time, &u, 1));
}

static inline void put_one(rl_state_op *op, int64_t time, rl_value key, rl_value value)
{
  rl_state_update *u = update_of(op, 0, 1);
  put(u, key, value, time);
  seal(op, time, u);
}

static inline void expect_state(rl_state_op *op, rl_value key, rl_value expected)
{
  rl_buf out = {0};
  bool found = false;
  ok(rl_state_get(op, key, &out, &found));
  assert_int_equal(found, expected.type != RL_T_NIL);
  if (found) assert_true(rl_value_equal(values_of(&out), expected));
  rl_buf_free(&out);
}

/* Keys by number: strings short, long and longer than the image's keys, and of each other kind some. `b`: its bytes. */
static inline rl_value states_key(rl_buf *b, int i)
{
  rl_value parts[2] = {rl_int(i), records_str("part")};
  rl_buf_clear(b);
  switch (i % 8) {
  case 0: return rl_int(i * 1000003 - 200000000);
  case 1: return rl_float(i + 0.5);
  case 2: return values_tuple(b, parts, 2);
  case 3:
    for (int n = 0; n < 455 + i; n++) rl_buf_putc(b, 'l');
    break;
  case 4: rl_buf_puts(b, "prefix/"); break;
  case 5:
    rl_buf_puts(b, "prefix/");
    for (int n = 0; n < 600; n++) rl_buf_putc(b, 'p');
    break;
  default: break;
  }
  if (i != 6) rl_buf_printf(b, "%d", i);
  return rl_str(b->p ? b->p : "", b->n);
}

/* One update in which n whole numbers have the version as their value. */
static inline void states_set_all(rl_state_op *op, int64_t version, int64_t n)
{
  rl_state_update *u = update_of(op, 0, 1);
  for (int64_t i = 0; i < n; i++) put(u, rl_int(i), rl_int(version), version);
  seal(op, version, u);
}

/* Each value is the version it was made in, of all keys at once. */
static inline void states_expect_all(rl_state_op *op, int64_t version, int64_t n)
{
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp, seen = 0;
  bool found = true;
  ok(rl_state_scan_open(op, version, 0, RL_KEY_GROUPS, NULL, 0, &scan));
  while (ok(rl_state_scan_next(scan, &key, &value, &stamp, &found)), found) {
    assert_int_equal(value.i, version);
    seen++;
  }
  rl_state_scan_close(scan);
  assert_int_equal(seen, n);
}

static inline rl_value states_long_text(void)
{
  static const char text[101] = "a value of a hundred bytes; a value of a hundred bytes; a value of a hundred bytes";
  return rl_str(text, 100);
}

static inline rl_state_update *states_large_update(rl_state_op *op, int64_t from, int64_t n, int64_t stamp)
{
  rl_state_update *u = update_of(op, 0, 1);
  for (int64_t i = from; i < from + n; i++) put(u, rl_int(i), states_long_text(), stamp);
  return u;
}

#endif
