/* What jobs keep: shuffle outputs and persisted partitions that leave memory, and what happens when they cannot. */
#include "engine.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "scratch.h"

/* So little that nearly everything kept must go. */
static rl_context *tiny_context(const char *dir)
{
  const char *const settings[] = {"rille.memory.fraction", "0.0000001", "rille.local.dir", dir,
                                  "rille.task.maxFailures", "2", NULL};
  return new_context(settings);
}

static rl_status by_remainder(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  (void)user;
  (void)n;
  rl_value kv[2] = {rl_int(f[0].i % 1000), f[0]};
  return rl_emit_record(out, kv, 2);
}

static rl_status count_calls(void *user, const rl_value *f, uint32_t n, rl_emit *out)
{
  atomic_fetch_add((atomic_int *)user, 1);
  return rl_emit_record(out, f, n);
}

static rl_rdd *mapped(rl_rdd *r, rl_native_map *f, void *user)
{
  return apply((rl_op){.kind = RL_OP_NARROW, .name = "map", .fn = rl_fn_map(f, user, NULL)}, r);
}

static rl_rdd *shuffled(rl_rdd *r, rl_partkind part)
{
  return apply((rl_op){.kind = RL_OP_SHUFFLE, .name = "partitionBy", .part = part, .partitions = 5}, r);
}

static rl_memory_stats stats_of(rl_context *c)
{
  rl_memory_stats stats;
  rl_memory_stats_read(rl_context_memory(c), &stats);
  return stats;
}

static rl_level level_of(const char *name)
{
  rl_level level;
  assert_int_equal(rl_level_parse(name, &level), RL_OK);
  return level;
}

#define RECORDS 50000

static char *collect_shuffled(rl_context *c, rl_partkind part)
{
  rl_rdd *r = shuffled(mapped(integers(1, RECORDS, 4), by_remainder, NULL), part);
  char *text = collect(c, r);
  rl_rdd_unref(r);
  return text;
}

static void a_shuffle_that_spills_gives_the_same(void **state)
{
  static const rl_partkind kinds[] = {RL_PART_HASH, RL_PART_ROUND_ROBIN};
  for (size_t i = 0; i < 2; i++) {
    rl_context *plenty = new_context(NULL), *tiny = tiny_context(*state);
    char *expected = collect_shuffled(plenty, kinds[i]), *got = collect_shuffled(tiny, kinds[i]);
    assert_string_equal(got, expected);
    assert_int_equal(stats_of(plenty).spilled_total, 0);
    assert_true(stats_of(tiny).spilled_total > 0);
    assert_int_equal(stats_of(tiny).spilled_now, 0); /* it went with the RDD */
    rl_free(expected);
    rl_free(got);
    rl_context_unref(plenty);
    rl_context_unref(tiny);
  }
}

static void count_at(const char *dir, const char *level, int calls_after_two)
{
  rl_context *c = tiny_context(dir);
  atomic_int calls = 0;
  rl_rdd *r = mapped(integers(1, RECORDS, 4), count_calls, &calls);
  assert_int_equal(rl_rdd_persist(r, level_of(level)), RL_OK);
  assert_string_equal(rl_level_name(rl_rdd_level(r)), level);
  for (int again = 0; again < 2; again++) {
    rl_job *job;
    if (run(c, r, RL_JOB_COUNT, 0, &job)) fail_msg("%s", rl_error_message());
    uint64_t sum = 0;
    for (uint32_t p = 0; p < 4; p++) sum += rl_job_count(job, p);
    assert_int_equal(sum, RECORDS);
    rl_job_unref(job);
  }
  assert_int_equal(calls, calls_after_two);
  rl_rdd_unpersist(r);
  assert_int_equal(stats_of(c).storage, 0);
  assert_int_equal(stats_of(c).spilled_now, 0);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void levels_with_disk_spill_and_others_compute_anew(void **state)
{
  count_at(*state, "MEMORY_AND_DISK", RECORDS);
  count_at(*state, "MEMORY_AND_DISK_SER_2", RECORDS);
  count_at(*state, "DISK_ONLY", RECORDS);
  count_at(*state, "MEMORY_ONLY", 2 * RECORDS);
  count_at(*state, "MEMORY_ONLY_SER", 2 * RECORDS);
}

static void a_level_is_kept_until_unpersist(void **state)
{
  (void)state;
  rl_rdd *r = integers(1, 10, 1);
  assert_int_equal(rl_rdd_persist(r, level_of("MEMORY_ONLY")), RL_OK);
  assert_int_equal(rl_rdd_persist(r, level_of("MEMORY_ONLY")), RL_OK);
  assert_int_equal(rl_rdd_persist(r, level_of("DISK_ONLY")), RL_ESTATE);
  assert_non_null(strstr(rl_error_message(), "is persisted at MEMORY_ONLY already; unpersist it"));
  assert_int_equal(rl_rdd_persist(r, RL_LEVEL_NONE), RL_OK);
  assert_false(rl_rdd_is_persisted(r));
  assert_int_equal(rl_rdd_persist(r, level_of("DISK_ONLY")), RL_OK);
  rl_rdd_unref(r);
}

/* A partition that is dropped behind a shuffle is made of the shuffle's outputs, without its map side. */
static void what_is_dropped_behind_a_shuffle_needs_no_second_map_side(void **state)
{
  rl_context *c = tiny_context(*state);
  atomic_int before = 0, behind = 0;
  rl_rdd *pairs = mapped(mapped(integers(1, RECORDS, 4), count_calls, &before), by_remainder, NULL);
  rl_rdd *r = mapped(shuffled(pairs, RL_PART_HASH), count_calls, &behind);
  assert_int_equal(rl_rdd_persist(r, level_of("MEMORY_ONLY")), RL_OK);
  for (int again = 1; again < 4; again++) {
    rl_free(collect(c, r));
    assert_int_equal(before, RECORDS);
    assert_int_equal(behind, again * RECORDS);
  }
  rl_rdd_unref(r);
  rl_context_unref(c);
}

/* Bad disks. */

static char last_warning[2048];
static atomic_uint warnings;

static void note_warning(void *user, rl_log_level level, const char *line)
{
  (void)user;
  if (level < RL_LOG_WARN) return;
  warnings++;
  snprintf(last_warning, sizeof last_warning, "%s", line);
}

/* Changes a byte in the middle of every spill file below. */
static void damage(const char *dir)
{
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (*e->d_name == '.' || strcmp(e->d_name, "lock") == 0) continue;
    char *path = rl_path_join(dir, e->d_name);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    if (S_ISDIR(st.st_mode)) {
      damage(path);
    } else {
      int fd = open(path, O_RDWR);
      char byte;
      assert_int_equal(pread(fd, &byte, 1, st.st_size / 2), 1);
      byte ^= 1;
      assert_int_equal(pwrite(fd, &byte, 1, st.st_size / 2), 1);
      close(fd);
    }
    rl_free(path);
  }
  closedir(d);
}

static void a_damaged_cache_is_computed_anew(void **state)
{
  rl_context *c = tiny_context(*state);
  atomic_int calls = 0;
  rl_rdd *r = mapped(integers(1, RECORDS, 4), count_calls, &calls);
  assert_int_equal(rl_rdd_persist(r, level_of("DISK_ONLY")), RL_OK);
  char *expected = collect(c, r);
  damage(*state);
  rl_log_set_sink(note_warning, NULL);
  warnings = 0;
  char *got = collect(c, r);
  rl_log_set_sink(NULL, NULL);
  assert_string_equal(got, expected);
  assert_int_equal(warnings, 1);
  assert_non_null(strstr(last_warning, "map, persisted partition "));
  assert_non_null(strstr(last_warning, "damaged spill file "));
  assert_non_null(strstr(last_warning, "; it is computed anew"));
  assert_true(calls > RECORDS && calls < 2 * RECORDS); /* the one partition only */
  rl_free(expected);
  rl_free(got);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void a_damaged_shuffle_output_fails_the_job(void **state)
{
  rl_context *c = tiny_context(*state);
  rl_rdd *r = shuffled(mapped(integers(1, RECORDS, 4), by_remainder, NULL), RL_PART_HASH);
  rl_free(collect(c, r));
  damage(*state);
  rl_job *job;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "partitionBy, partition "));
  assert_non_null(strstr(rl_error_message(), "what map task "));
  assert_non_null(strstr(rl_error_message(), "wrong checksum; it held chunk "));
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static ssize_t full_disk(int fd, const void *p, size_t n, off_t at)
{
  (void)fd;
  (void)p;
  (void)n;
  (void)at;
  errno = ENOSPC;
  return -1;
}

static void a_full_disk_fails_shuffles_and_costs_caches(void **state)
{
  rl_fs fs = rl_fs_system;
  fs.pwrite = full_disk;
  rl_fs_set(&fs);
  rl_log_set_sink(note_warning, NULL);
  warnings = 0;
  count_at(*state, "MEMORY_AND_DISK", 2 * RECORDS);
  assert_int_equal(warnings, 1);
  rl_context *c = tiny_context(*state);
  rl_rdd *r = shuffled(mapped(integers(1, RECORDS, 4), by_remainder, NULL), RL_PART_HASH);
  rl_job *job;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "cannot spill to disk (rille.local.dir): cannot write "));
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
  rl_log_set_sink(NULL, NULL);
  rl_fs_set(NULL);
}

/* The budget. */

static rl_status try_settings(const char *const *settings)
{
  rl_conf *conf = rl_conf_new();
  rl_context *c = NULL;
  for (; *settings; settings += 2) assert_int_equal(rl_conf_set(conf, settings[0], settings[1]), RL_OK);
  rl_status st = rl_context_new(conf, NULL, &c);
  if (st == RL_OK) rl_context_unref(c);
  rl_conf_delete(conf);
  return st;
}

static void a_limit_that_is_too_small_says_what_would_fit(void **state)
{
  (void)state;
  assert_int_equal(try_settings((const char *const[]){"master", "local[3]", "rille.memory.limit", "40m", NULL}),
                   RL_EINVAL);
  assert_string_equal(rl_error_message(),
                      "rille.memory.limit is 40m, too little for 4 Lua states (3 workers, and one for driver and "
                      "receivers) of 8m "
                                          "(rille.task.maxMemory) and records; make it 64m or more, or have fewer workers (rille.master)");
  assert_int_equal(try_settings((const char *const[]){"master", "local[3]", "rille.memory.limit", "64m", NULL}), RL_OK);
  assert_int_equal(try_settings((const char *const[]){"master", "local[3]", "rille.memory.limit", "1g",
                                                      "rille.task.maxMemory", "256m", NULL}), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(),
                         "make it 1040m or more, or have fewer workers (rille.master) or a smaller "
                         "rille.task.maxMemory"));
  assert_int_equal(try_settings((const char *const[]){"master", "local[3]", "rille.memory.limit", "1g",
                                                      "rille.task.maxMemory", "252m", NULL}), RL_OK);
  assert_int_equal(try_settings((const char *const[]){"rille.memory.limit", "0", NULL}), RL_OK);
  assert_true(rl_memory_default_limit() > 0);
}

static void fractions_are_checked(void **state)
{
  (void)state;
  rl_conf *conf = rl_conf_new();
  assert_int_equal(rl_conf_set(conf, "rille.memory.fraction", "0"), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "it must be a number above 0 and at most 1"));
  assert_int_equal(rl_conf_set(conf, "rille.memory.storageFraction", "1.5"), RL_EINVAL);
  assert_int_equal(rl_conf_set(conf, "rille.memory.storageFraction", "much"), RL_EINVAL);
  assert_int_equal(rl_conf_set(conf, "rille.memory.storageFraction", "0"), RL_OK);
  assert_int_equal(rl_conf_set(conf, "spark.memory.fraction", "0.5"), RL_OK);
  rl_conf_delete(conf);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    in_a_folder(a_shuffle_that_spills_gives_the_same),
    in_a_folder(levels_with_disk_spill_and_others_compute_anew),
    cmocka_unit_test(a_level_is_kept_until_unpersist),
    in_a_folder(what_is_dropped_behind_a_shuffle_needs_no_second_map_side),
    in_a_folder(a_damaged_cache_is_computed_anew),
    in_a_folder(a_damaged_shuffle_output_fails_the_job),
    in_a_folder(a_full_disk_fails_shuffles_and_costs_caches),
    cmocka_unit_test(a_limit_that_is_too_small_says_what_would_fit),
    cmocka_unit_test(fractions_are_checked),
  };
  return cmocka_run_group_tests_name("storage", tests, NULL, NULL);
}
