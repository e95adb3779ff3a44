/* Spools and their memory manager: what leaves memory comes back as it was, in the order of the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "spec/core/spools.h"

/* Keeping and spilling. */

static void without_a_manager_all_stays_in_memory(void **state)
{
  (void)state;
  rl_spool *s = filled(NULL, needed(), 0, 5);
  assert_int_equal(rl_spool_chunks(s), 5);
  assert_int_equal(rl_spool_records(s), 5 * CHUNK_ROWS);
  assert_false(rl_spool_is_lost(s));
  expect_chunks(s, 0, 5);
  expect_chunks(s, 0, 5);
  rl_spool_unref(s);
  assert_true(rl_memory_quota(NULL) == SIZE_MAX);
}

static void within_the_limit_nothing_is_written(void **state)
{
  rl_memory *m = new_memory(*state, ALL, false);
  rl_spool *s = filled(m, needed(), 0, 20);
  assert_int_equal(stats_of(m).spilled_total, 0);
  assert_int_equal(stats_of(m).storage, rl_spool_bytes(s));
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
  expect_chunks(s, 0, 20);
  rl_spool_unref(s);
  assert_int_equal(stats_of(m).storage, 0);
  rl_memory_unref(m);
}

static void over_the_limit_chunks_go_to_disk_and_come_back(void **state)
{
  size_t limit = 4 * chunk_bytes();
  rl_memory *m = new_memory(*state, limit, false);
  rl_spool *s = filled(m, needed(), 0, 40);
  rl_memory_stats stats = stats_of(m);
  assert_true(stats.storage <= limit);
  assert_true(stats.spool_writes >= 35);
  assert_int_equal(stats.dropped_total, 0);
  expect_chunks(s, 0, 40);
  expect_chunks(s, 0, 40);
  rl_pull *p = rl_spool_open_at(s, 38);
  rl_chunk *c = NULL;
  assert_int_equal(rl_pull_next(p, &c), RL_OK);
  assert_int_equal(rl_chunk_get(c, 0, 0).i, 38 * CHUNK_ROWS);
  rl_chunk_unref(c);
  rl_pull_close(p);
  rl_spool_unref(s);
  assert_int_equal(stats_of(m).spilled_now, 0);
  rl_memory_unref(m);
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
}

static void a_spool_can_be_read_while_others_are_written(void **state)
{
  rl_memory *m = new_memory(*state, 2 * chunk_bytes(), false);
  rl_spool *a = filled(m, needed(), 0, 10);
  rl_pull *p = rl_spool_open(a);
  rl_spool *b = filled(m, needed(), 10, 10);
  rl_chunks got = {0};
  assert_int_equal(rl_pull_drain(p, &got), RL_OK);
  assert_int_equal(got.n, 10);
  rl_chunks_clear(&got);
  rl_pull_close(p);
  expect_chunks(b, 10, 10);
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_memory_unref(m);
}

static void the_least_recently_used_goes_first(void **state)
{
  size_t limit = 10 * chunk_bytes() + 100;
  rl_memory *m = new_memory(*state, limit, false);
  rl_level level = level_of("MEMORY_ONLY");
  rl_spool *a = filled(m, level, 0, 3), *b = filled(m, level, 3, 3), *c = filled(m, level, 6, 3);
  expect_chunks(a, 0, 3); /* used: b is the oldest now */
  rl_spool *d = filled(m, level, 9, 3);
  assert_false(rl_spool_is_lost(a));
  assert_true(rl_spool_is_lost(b));
  assert_false(rl_spool_is_lost(c));
  rl_spool *e = filled(m, level, 12, 3);
  assert_false(rl_spool_is_lost(a));
  assert_true(rl_spool_is_lost(c));
  assert_int_equal(list(*state, "rille-spill-", NULL), 0);
  assert_true(stats_of(m).dropped_total > 0);
  rl_chunks got = {0};
  assert_int_equal(read_all(b, &got), RL_ELOST);
  assert_true(rl_error_current()->retriable);
  rl_spool *all[] = {a, b, c, d, e};
  for (size_t i = 0; i < 5; i++) rl_spool_unref(all[i]);
  rl_memory_unref(m);
}

static void what_is_read_is_not_dropped(void **state)
{
  rl_memory *m = new_memory(*state, 4 * chunk_bytes(), false);
  rl_level level = level_of("MEMORY_ONLY_SER");
  rl_spool *a = filled(m, level, 0, 3);
  rl_pull *p = rl_spool_open(a);
  rl_spool *b = filled(m, level, 3, 3);
  assert_false(rl_spool_is_lost(a));
  assert_true(rl_spool_is_lost(b));
  rl_pull_close(p);
  rl_spool *c = filled(m, level, 6, 3);
  assert_true(rl_spool_is_lost(a));
  assert_false(rl_spool_is_lost(c));
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_spool_unref(c);
  rl_memory_unref(m);
}

static void spools_of_a_group_do_not_push_each_other_out(void **state)
{
  rl_memory *m = new_memory(*state, 8 * chunk_bytes() + 100, false);
  rl_level level = level_of("MEMORY_ONLY");
  rl_spool *other = filled(m, level, 0, 3), *group[4];
  for (int i = 0; i < 4; i++) {
    group[i] = rl_spool_new(m, level);
    rl_spool_set_group(group[i], 7);
    assert_int_equal(fill(group[i], 3 * i, 3), RL_OK);
  }
  assert_true(rl_spool_is_lost(other));
  assert_false(rl_spool_is_lost(group[0]));
  assert_false(rl_spool_is_lost(group[1]));
  assert_true(rl_spool_is_lost(group[2]));
  assert_true(rl_spool_is_lost(group[3]));
  assert_true(stats_of(m).storage <= 8 * chunk_bytes());
  for (int i = 0; i < 4; i++) rl_spool_unref(group[i]);
  rl_spool_unref(other);
  rl_memory_unref(m);
}

static void what_is_needed_is_never_dropped(void **state)
{
  rl_memory *m = new_memory(*state, 2 * chunk_bytes(), false);
  rl_level memory_only = level_of("MEMORY_ONLY");
  memory_only.needed = true;
  rl_spool *a = filled(m, memory_only, 0, 10), *b = filled(m, needed(), 10, 10);
  assert_false(rl_spool_is_lost(a));
  expect_chunks(a, 0, 10);
  expect_chunks(b, 10, 10);
  assert_int_equal(stats_of(m).dropped_total, 0);
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_memory_unref(m);
}

static void disk_only_holds_nothing_in_memory_and_none_holds_nothing(void **state)
{
  rl_memory *m = new_memory(*state, ALL, false);
  rl_spool *s = filled(m, level_of("DISK_ONLY"), 0, 5), *none = filled(m, level_of("NONE"), 0, 5);
  assert_int_equal(stats_of(m).storage, 0);
  assert_true(stats_of(m).spilled_now > 0);
  expect_chunks(s, 0, 5);
  assert_true(rl_spool_is_lost(none));
  rl_spool_unref(s);
  rl_spool_unref(none);
  rl_memory_unref(m);
}

static void serialised_levels_are_compressed_when_asked_for(void **state)
{
  rl_memory *m = new_memory(*state, ALL, true);
  rl_spool *plain = filled(m, level_of("MEMORY_AND_DISK"), 0, 5);
  uint64_t before = stats_of(m).storage;
  rl_spool *small = filled(m, level_of("MEMORY_AND_DISK_SER"), 5, 5);
  assert_true((stats_of(m).storage - before) * 2 < before);
  expect_chunks(plain, 0, 5);
  expect_chunks(small, 5, 5);
  rl_spool_unref(plain);
  rl_spool_unref(small);
  rl_memory_unref(m);
  m = new_memory(*state, chunk_bytes(), true);
  small = filled(m, level_of("MEMORY_AND_DISK_SER"), 5, 20);
  assert_true(stats_of(m).spilled_total > 0);
  expect_chunks(small, 5, 20);
  rl_spool_unref(small);
  rl_memory_unref(m);
}

static void what_is_read_back_stays_when_there_is_room(void **state)
{
  rl_memory *m = new_memory(*state, 10 * chunk_bytes() + 100, false);
  rl_spool *a = filled(m, level_of("MEMORY_AND_DISK"), 0, 8), *b = filled(m, level_of("MEMORY_AND_DISK"), 8, 8);
  uint64_t written = stats_of(m).spilled_total;
  rl_spool_unref(b);
  expect_chunks(a, 0, 8);
  assert_int_equal(stats_of(m).storage, rl_spool_bytes(a));
  b = filled(m, level_of("MEMORY_AND_DISK"), 8, 8);
  assert_int_equal(stats_of(m).spilled_total, written); /* it lies on disk already */
  expect_chunks(a, 0, 8);
  rl_spool_unref(a);
  rl_spool_unref(b);
  rl_memory_unref(m);
}

static void execution_pushes_storage_down_to_the_floor_only(void **state)
{
  size_t one = chunk_bytes();
  rl_memory_spec spec = {
    .limit = 20 * one, .fraction = 1, .storage_fraction = 0.5, .tasks = 2, .local_dir = *state};
  rl_memory *m = rl_memory_new(&spec);
  assert_int_equal(rl_memory_quota(m), 10 * one / 2);
  rl_mem_add((int64_t)(100 * one)); /* what running tasks hold */
  rl_spool *s = filled(m, needed(), 0, 15);
  assert_true(stats_of(m).storage > 9 * one && stats_of(m).storage <= 10 * one);
  rl_mem_add(-(int64_t)(100 * one));
  rl_spool_unref(s);
  rl_memory_unref(m);
}

static void levels_have_names(void **state)
{
  (void)state;
  static const char *const names[] = {
    "NONE", "MEMORY_ONLY", "MEMORY_ONLY_2", "MEMORY_ONLY_SER", "MEMORY_ONLY_SER_2", "MEMORY_AND_DISK",
    "MEMORY_AND_DISK_2", "MEMORY_AND_DISK_SER", "MEMORY_AND_DISK_SER_2", "DISK_ONLY", "DISK_ONLY_2", "OFF_HEAP"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_string_equal(rl_level_name(level_of(names[i])), names[i]);
  rl_level off = level_of("OFF_HEAP");
  assert_true(off.memory && off.disk && off.serialised);
  assert_int_equal(rl_level_parse("MEMORY", &off), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "MEMORY_AND_DISK_SER"));
}

/* Threads. */

typedef struct crowd {
  rl_memory *m;
  rl_spool *shared;
  int64_t number;
} crowd;

static void *in_a_crowd(void *arg)
{
  const crowd *c = arg;
  for (int round = 0; round < 3; round++) {
    rl_spool *own = rl_spool_new(c->m, c->number % 2 ? needed() : level_of("MEMORY_AND_DISK"));
    rl_spool *cache = rl_spool_new(c->m, level_of("MEMORY_ONLY"));
    if (fill(own, c->number * 100, 10) != RL_OK || fill(cache, 0, 3) != RL_OK) return "cannot fill";
    rl_chunks got = {0};
    for (int k = 0; k < 2; k++) {
      if (read_all(own, &got) != RL_OK || got.n != 10) return "cannot read its own";
      if (rl_chunk_get(got.v[9], 0, 5).i != (c->number * 100 + 9) * CHUNK_ROWS + 5) return "reads something else";
      rl_chunks_clear(&got);
      if (read_all(c->shared, &got) != RL_OK || got.n != 30) return "cannot read the shared one";
      rl_chunks_clear(&got);
      rl_status st = read_all(cache, &got);
      if (st != RL_OK && st != RL_ELOST) return "cannot read the cache";
      rl_chunks_clear(&got);
    }
    rl_spool_unref(own);
    rl_spool_unref(cache);
  }
  return NULL;
}

static void many_threads_add_and_read_at_once(void **state)
{
  rl_memory *m = new_memory(*state, 12 * chunk_bytes(), false);
  rl_spool *shared = filled(m, level_of("MEMORY_AND_DISK"), 0, 30);
  enum { THREADS = 6 };
  pthread_t threads[THREADS];
  crowd crowds[THREADS];
  for (int i = 0; i < THREADS; i++) {
    crowds[i] = (crowd){m, shared, i};
    assert_int_equal(pthread_create(&threads[i], NULL, in_a_crowd, &crowds[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *failure = NULL;
    assert_int_equal(pthread_join(threads[i], &failure), 0);
    if (failure) fail_msg("%s", (const char *)failure);
  }
  expect_chunks(shared, 0, 30);
  rl_spool_unref(shared);
  assert_int_equal(stats_of(m).storage, 0);
  assert_int_equal(stats_of(m).spilled_now, 0);
  rl_memory_unref(m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(without_a_manager_all_stays_in_memory),
    in_a_folder(within_the_limit_nothing_is_written),
    in_a_folder(over_the_limit_chunks_go_to_disk_and_come_back),
    in_a_folder(a_spool_can_be_read_while_others_are_written),
    in_a_folder(the_least_recently_used_goes_first),
    in_a_folder(what_is_read_is_not_dropped),
    in_a_folder(spools_of_a_group_do_not_push_each_other_out),
    in_a_folder(what_is_needed_is_never_dropped),
    in_a_folder(disk_only_holds_nothing_in_memory_and_none_holds_nothing),
    in_a_folder(serialised_levels_are_compressed_when_asked_for),
    in_a_folder(what_is_read_back_stays_when_there_is_room),
    in_a_folder(execution_pushes_storage_down_to_the_floor_only),
    cmocka_unit_test(levels_have_names),
    in_a_folder(many_threads_add_and_read_at_once),
  };
  return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
