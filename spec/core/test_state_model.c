/* The state store against a model of it: any sequence of calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "data/partition.h"
#include "spec/core/scratch.h"
#include "spec/core/states.h"
#include "store/state.h"
#include "store/state_impl.h"

#define KEYS 400
#define VERSIONS 120
#define PARTS 3

typedef struct cell {
  int64_t value, stamp; /* value 0: none */
} cell;

typedef struct model {
  rl_state *s;
  rl_state_op *op;
  uint64_t seed;
  const char *dir;
  rl_value keys[KEYS];
  rl_buf key_bytes[KEYS];
  cell cells[VERSIONS + 1][KEYS];
  int64_t latest; /* version number; 0: none */
  int64_t ended;
  int pins[VERSIONS + 1];
} model;

static uint64_t dice(model *m, uint64_t sides)
{
  return records_random(&m->seed) % sides;
}

static rl_value value_of(cell c, rl_buf *room)
{
  if (c.value == 0) return rl_nil();
  if (c.value % 3 == 0) return rl_int(c.value);
  rl_buf_clear(room);
  rl_buf_printf(room, "%lld", (long long)c.value);
  while (c.value % 50 == 1 && room->n < 9000) rl_buf_putc(room, '.');
  return rl_str(room->p, room->n);
}

static void expect_cell(cell c, rl_value v, int64_t stamp)
{
  rl_buf room = {0};
  assert_true(rl_value_equal(v, value_of(c, &room)));
  if (c.value) assert_int_equal(stamp, c.stamp);
  rl_buf_free(&room);
}

static int key_number(model *m, rl_value key)
{
  for (int i = 0; i < KEYS; i++) {
    if (rl_key_equal(m->keys[i], key)) return i;
  }
  fail_msg("a key that nobody put");
  return -1;
}

static uint32_t part_of(model *m, int i)
{
  return rl_group_partition(rl_key_group(rl_key_hash(m->keys[i])), PARTS);
}

static void change(model *m, rl_state_update **u, cell *next, int i)
{
  rl_value old;
  int64_t stamp;
  rl_buf room = {0};
  uint32_t p = part_of(m, i);
  ok(rl_state_slot(u[p], m->keys[i], &old, &stamp));
  expect_cell(m->cells[m->latest][i], old, stamp);
  if (dice(m, 5) == 0) return;
  for (uint64_t times = 1 + dice(m, 2); times > 0; times--) {
    next[i] = dice(m, 4) == 0 ? (cell){0} : (cell){1 + (int64_t)dice(m, 200), m->latest + 1 - (int64_t)dice(m, 3)};
    ok(rl_state_set(u[p], rl_state_slots(u[p]) - 1, value_of(next[i], &room), next[i].stamp));
  }
  rl_buf_free(&room);
}

/* Walks what is due in each partition: what it should, each once; each is changed or removed. */
static void walk_due(model *m, rl_state_update **u, cell *next, const bool *slotted)
{
  int64_t before = m->latest - (int64_t)dice(m, 12);
  bool met[KEYS] = {false};
  bool cut = dice(m, 4) == 0;
  for (uint32_t p = 0; p < PARTS; p++) {
    rl_state_due *d = NULL;
    rl_value key, old;
    bool found = true;
    int64_t stamp;
    ok(rl_state_due_open(u[p], before, &d));
    while (ok(rl_state_due_next(d, &key, &found)), found) {
      int i = key_number(m, key);
      assert_false(met[i] || slotted[i]);
      assert_true(m->cells[m->latest][i].value && m->cells[m->latest][i].stamp < before);
      assert_int_equal(part_of(m, i), p);
      met[i] = true;
      if (dice(m, 8) == 0) continue; /* it is met again another time */
      ok(rl_state_slot(u[p], key, &old, &stamp));
      next[i] = dice(m, 3) == 0 ? (cell){7, m->latest + 1} : (cell){0};
      ok(rl_state_set(u[p], rl_state_slots(u[p]) - 1, next[i].value ? rl_str("7", 1) : rl_nil(), next[i].stamp));
      if (cut && dice(m, 3) == 0) break;
    }
    rl_state_due_close(d);
  }
  for (int i = 0; i < KEYS && !cut; i++) {
    cell c = m->cells[m->latest][i];
    if (c.value && c.stamp < before && !slotted[i]) assert_true(met[i]);
  }
}

static void next_version(model *m)
{
  rl_state_update *u[PARTS];
  cell *next = m->cells[m->latest + 1];
  bool slotted[KEYS] = {false};
  for (uint32_t p = 0; p < PARTS; p++) u[p] = update_of(m->op, p, PARTS);
  memcpy(next, m->cells[m->latest], sizeof m->cells[0]);
  for (uint64_t n = dice(m, 3) == 0 ? 0 : dice(m, KEYS); n > 0; n--) {
    int i = (int)dice(m, KEYS);
    if (slotted[i]) continue;
    slotted[i] = true;
    change(m, u, next, i);
  }
  if (dice(m, 2)) walk_due(m, u, next, slotted);
  for (uint32_t p = 0; p < PARTS; p++) {
    if (dice(m, 2)) rl_state_update_rest(u[p]);
  }
  if (dice(m, 10) == 0) { /* the tasks fail */
    for (uint32_t p = 0; p < PARTS; p++) rl_state_update_delete(u[p]);
    return;
  }
  ok(rl_state_seal(m->op, m->latest + 1, u, PARTS));
  m->latest++;
}

static void check_scan(model *m, int64_t version, uint32_t from, uint32_t to, const char *prefix)
{
  rl_state_scan *scan = NULL;
  rl_value key, value;
  int64_t stamp;
  bool found = true, met[KEYS] = {false};
  uint32_t group = 0;
  size_t n = prefix ? strlen(prefix) : 0;
  ok(rl_state_scan_open(m->op, version, from, to, prefix, n, &scan));
  while (ok(rl_state_scan_next(scan, &key, &value, &stamp, &found)), found) {
    int i = key_number(m, key);
    uint32_t g = rl_key_group(rl_key_hash(key));
    assert_true(g >= group && g >= from && g < to);
    group = g;
    assert_false(met[i]);
    met[i] = true;
    expect_cell(m->cells[version][i], value, stamp);
  }
  rl_state_scan_close(scan);
  for (int i = 0; i < KEYS; i++) {
    uint32_t g = rl_key_group(rl_key_hash(m->keys[i]));
    rl_value k = m->keys[i];
    bool in = m->cells[version][i].value && g >= from && g < to;
    if (prefix) in = in && k.type == RL_T_BYTES && k.s.n >= n && memcmp(k.s.p, prefix, n) == 0;
    assert_int_equal(met[i], in);
  }
}

static void check_version(model *m, int64_t version)
{
  static const char *const prefixes[] = {NULL, NULL, "prefix/", "l", "", "1", "nothing"};
  uint32_t from = (uint32_t)dice(m, 200), to = from + (uint32_t)dice(m, 56);
  if (dice(m, 2)) from = 0, to = RL_KEY_GROUPS;
  if (version > 0) check_scan(m, version, from, to, prefixes[dice(m, sizeof prefixes / sizeof *prefixes)]);
}

static void check_count(model *m)
{
  uint64_t n = 0;
  rl_buf room = {0};
  for (int i = 0; i < KEYS; i++) {
    cell c = m->cells[m->latest][i];
    n += c.value != 0;
    if (dice(m, 8) == 0) expect_state(m->op, m->keys[i], value_of(c, &room));
  }
  assert_int_equal(rl_state_count(m->op), n);
  rl_buf_free(&room);
}

static void pin_something(model *m)
{
  if (m->latest == 0) return;
  m->pins[m->latest]++;
  rl_state_pin(m->op, m->latest);
}

static void unpin_something(model *m)
{
  for (int64_t v = (int64_t)dice(m, VERSIONS); v >= 0; v--) {
    if (m->pins[v] == 0) continue;
    m->pins[v]--;
    rl_state_unpin(m->op, v);
    return;
  }
}

static void check_pinned(model *m)
{
  for (int64_t v = 1; v <= m->latest; v++) {
    if (m->pins[v] || v == m->latest) check_version(m, v);
  }
}

static void end_some(model *m)
{
  int64_t time = m->latest - (int64_t)dice(m, 3);
  rl_state_end(m->s, time);
  if (time > m->ended) m->ended = time;
}

static void take_back(model *m)
{
  if (m->latest <= m->ended) {
    assert_int_equal(rl_state_unseal(m->op, m->latest), RL_ESTATE);
  } else if (m->pins[m->latest] == 0) {
    ok(rl_state_unseal(m->op, m->latest--));
    assert_int_equal(rl_state_sealed(m->op), m->latest ? m->latest : RL_NO_TIME);
    if (m->latest) check_version(m, m->latest);
  }
}

static void reopen(model *m)
{
  for (int v = 0; v <= VERSIONS; v++) {
    for (; m->pins[v] > 0; m->pins[v]--) rl_state_unpin(m->op, v);
  }
  rl_state_end(m->s, m->latest);
  m->ended = m->latest;
  ok(rl_state_flush(m->s));
  rl_state_close(m->s);
  ok(rl_state_verify(m->dir, NULL, NULL, NULL));
  m->s = open_at(m->dir, false, 256 * MIB);
  m->op = op_of(m->s, "model", true);
  assert_int_equal(rl_state_sealed(m->op), m->latest ? m->latest : RL_NO_TIME);
}

static void run_model(const char *dir, uint64_t seed)
{
  model *m = RL_NEW(model);
  *m = (model){.seed = seed, .dir = dir};
  for (int i = 0; i < KEYS; i++) m->keys[i] = states_key(&m->key_bytes[i], i);
  m->s = open_at(dir, false, 256 * MIB);
  m->op = op_of(m->s, "model", true);
  while (m->latest < VERSIONS) {
    switch (dice(m, 13)) {
    case 0: pin_something(m); break;
    case 1: unpin_something(m); break;
    case 2: check_pinned(m); break;
    case 3: ok(rl_state_flush(m->s)); break;
    case 4:
      if (dice(m, 5) == 0) reopen(m);
      break;
    case 5:
    case 6: end_some(m); break;
    case 7: check_count(m); break;
    case 8: take_back(m); break;
    default: next_version(m); break;
    }
  }
  check_pinned(m);
  reopen(m);
  check_pinned(m);
  check_count(m);
  rl_state_close(m->s);
  for (int i = 0; i < KEYS; i++) rl_buf_free(&m->key_bytes[i]);
  rl_free(m);
}

static void any_sequence_of_calls_agrees_with_a_model(void **state)
{
  uint64_t seed = records_seed("state");
  for (uint64_t i = 0; i < 6; i++) {
    char *dir = rl_format("%s/%d", (char *)*state, (int)i);
    run_model(dir, seed + i);
    rl_free(dir);
  }
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      in_a_folder(any_sequence_of_calls_agrees_with_a_model),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
