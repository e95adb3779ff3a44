#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "records.h"
#include "scratch.h"
#include "store/grouper.h"
#include "store/memory.h"

enum { SIDES = 3 };

static rl_memory *tiny_memory(const char *dir)
{
  return rl_memory_new(&(rl_memory_spec){.limit = 1024, .fraction = 0.5, .storage_fraction = 0.5, .tasks = 1,
                                         .local_dir = dir});
}

/* Key number k: integers, texts, null. */
static rl_value key_of(uint64_t k, char text[32])
{
  if (k == 7) return rl_null();
  if (k % 3 == 0) return rl_int((int64_t)k);
  snprintf(text, 32, "key %" PRIu64, k);
  return records_str(text);
}

typedef struct shape {
  const char *name;
  uint64_t records, keys;
  uint64_t hot; /* of 100 records so many have key 1 */
  size_t quota;
} shape;

/* The naive model: for each key, in the order of first sight, its records as numbers of arrival. */
typedef struct model {
  uint64_t *order, *count, nkeys; /* keys by first sight; records by key */
  uint64_t *next, *last, *head;   /* lists of records by key */
} model;

static model new_model(const shape *s)
{
  model m = {.order = calloc(s->keys, sizeof(uint64_t)), .count = calloc(s->keys, sizeof(uint64_t)),
             .next = calloc(s->records + 1, sizeof(uint64_t)), .last = calloc(s->keys, sizeof(uint64_t)),
             .head = calloc(s->keys, sizeof(uint64_t))};
  assert_true(m.order && m.count && m.next && m.last && m.head);
  return m;
}

static void model_add(model *m, uint64_t key, uint64_t record)
{
  if (m->count[key]++ == 0) {
    m->order[m->nkeys++] = key;
    m->head[key] = record;
  } else {
    m->next[m->last[key]] = record;
  }
  m->last[key] = record;
}

static void model_free(model *m)
{
  free(m->order);
  free(m->count);
  free(m->next);
  free(m->last);
  free(m->head);
}

static uint64_t pick_key(const shape *s, uint64_t *seed)
{
  return records_random(seed) % 100 < s->hot ? 1 : records_random(seed) % s->keys;
}

static rl_groups *fill(rl_memory *m, const shape *s, uint64_t *seed, model *expected)
{
  const rl_task task = {.memory = m, .quota = s->quota};
  rl_grouper *g = rl_grouper_new(&task);
  for (uint64_t i = 0; i < s->records; i++) {
    char text[32];
    uint64_t key = pick_key(s, seed);
    model_add(expected, key, i);
    rl_value value = i % 5 ? rl_int((int64_t)i) : rl_nil();
    assert_int_equal(rl_grouper_add(g, key_of(key, text), (uint32_t)(i * SIDES / s->records), value), RL_OK);
  }
  rl_groups *groups;
  assert_int_equal(rl_grouper_finish(g, &groups), RL_OK);
  rl_grouper_delete(g);
  return groups;
}

static void expect_group(rl_groups *groups, const shape *s, const model *m, uint64_t key, bool all)
{
  uint64_t record = m->head[key];
  bool any;
  uint32_t side;
  rl_value value;
  for (uint64_t i = 0; i < m->count[key] && (all || i < 2); i++, record = m->next[record]) {
    assert_int_equal(rl_groups_value(groups, &side, &value, &any), RL_OK);
    assert_true(any);
    assert_int_equal(side, record * SIDES / s->records);
    assert_int_equal(value.type, record % 5 ? RL_T_INT : RL_T_NIL);
    if (record % 5) assert_int_equal(value.i, record);
  }
  if (!all) return;
  assert_int_equal(rl_groups_value(groups, &side, &value, &any), RL_OK);
  assert_false(any);
}

static void check(rl_memory *m, const shape *s, uint64_t *seed)
{
  model expected = new_model(s);
  rl_groups *groups = fill(m, s, seed, &expected);
  rl_value key;
  bool any;
  for (uint64_t i = 0; i < expected.nkeys; i++) {
    char text[32];
    assert_int_equal(rl_groups_next(groups, &key, &any), RL_OK);
    assert_true(any);
    assert_true(rl_value_equal(key, key_of(expected.order[i], text)));
    expect_group(groups, s, &expected, expected.order[i], i % 7 != 3); /* now and then the rest is passed over */
  }
  assert_int_equal(rl_groups_next(groups, &key, &any), RL_OK);
  assert_false(any);
  rl_groups_delete(groups);
  model_free(&expected);
}

static void groups_come_in_the_order_of_first_sight(void **state)
{
  uint64_t seed = records_seed(__func__);
  static const shape shapes[] = {
    {"nothing", 0, 1, 0, 1000},
    {"one key", 5000, 2, 100, 0},
    {"all fits", 3000, 500, 0, SIZE_MAX},
    {"keys fit, values do not", 20000, 100, 0, 50000},
    {"few keys fit", 20000, 8000, 0, 0},
    {"a part of the keys fits", 60000, 20000, 10, 200000},
    {"hot key", 20000, 5000, 90, 20000},
    {"all distinct, nearly", 30000, 10000000, 0, 0},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    printf("%s\n", shapes[i].name);
    rl_memory *m = tiny_memory(*state);
    check(m, &shapes[i], &seed);
    rl_memory_stats stats;
    rl_memory_stats_read(m, &stats);
    assert_int_equal(stats.spilled_now, 0);
    assert_int_equal(stats.spilled_total > 0, shapes[i].records > 0);
    rl_memory_unref(m);
  }
}

/* What the records take in memory is bounded, whatever there is of them. */
static void memory_is_bounded(void **state)
{
  uint64_t seed = records_seed(__func__);
  enum { QUOTA = 1 << 20 };
  rl_memory *m = rl_memory_new(&(rl_memory_spec){.limit = 2 * QUOTA, .fraction = 1, .storage_fraction = 0.5, .tasks = 1,
                                                 .local_dir = *state});
  const rl_task task = {.memory = m, .quota = QUOTA};
  rl_grouper *g = rl_grouper_new(&task);
  char value[100] = "v";
  int64_t before = rl_mem_used(), most = 0;
  for (int i = 0; i < 200000; i++) {
    rl_value key = rl_int((int64_t)(records_random(&seed) % 100000));
    assert_int_equal(rl_grouper_add(g, key, 0, rl_str(value, sizeof value)), RL_OK);
    if (rl_mem_used() - before > most) most = rl_mem_used() - before;
  }
  rl_groups *groups;
  assert_int_equal(rl_grouper_finish(g, &groups), RL_OK);
  rl_value key;
  bool any = true;
  while (any) {
    assert_int_equal(rl_groups_next(groups, &key, &any), RL_OK);
    if (rl_mem_used() - before > most) most = rl_mem_used() - before;
  }
  printf("20 MB of values: at most %lld bytes\n", (long long)most);
  assert_true(most < 5 * QUOTA);
  rl_groups_delete(groups);
  rl_grouper_delete(g);
  rl_memory_unref(m);
}

/* Nothing can be spilled any more: said, and nothing is left behind. */
static void what_cannot_be_written_is_said(void **state)
{
  rl_memory *m = tiny_memory(*state);
  const rl_task task = {.memory = m};
  rl_grouper *g = rl_grouper_new(&task);
  rl_status st = RL_OK;
  for (int i = 0; i < 2000 && st == RL_OK; i++) st = rl_grouper_add(g, rl_int(i), 0, rl_int(i));
  assert_int_equal(st, RL_OK);
  rl_memory_close(m);
  rl_groups *groups = NULL;
  for (int i = 0; i < 200000 && st == RL_OK; i++) st = rl_grouper_add(g, rl_int(i), 0, rl_int(i));
  assert_int_equal(st, RL_ECLOSED);
  assert_int_equal(rl_grouper_finish(g, &groups), RL_ECLOSED);
  rl_grouper_delete(g);
  rl_memory_unref(m);
}

static void a_cancelled_task_stops(void **state)
{
  rl_memory *m = tiny_memory(*state);
  atomic_bool cancelled = false;
  const rl_task task = {.memory = m, .cancelled = &cancelled};
  rl_grouper *g = rl_grouper_new(&task);
  for (int i = 0; i < 2000; i++) assert_int_equal(rl_grouper_add(g, rl_int(i), 0, rl_int(i)), RL_OK);
  cancelled = true;
  rl_groups *groups;
  assert_int_equal(rl_grouper_finish(g, &groups), RL_ECANCELLED);
  rl_grouper_delete(g);
  rl_memory_unref(m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    in_a_folder(groups_come_in_the_order_of_first_sight),
    in_a_folder(memory_is_bounded),
    in_a_folder(what_cannot_be_written_is_said),
    in_a_folder(a_cancelled_task_stops),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
