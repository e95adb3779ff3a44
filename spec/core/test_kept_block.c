/* Received blocks under a memory manager. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "records.h"
#include "run/gather.h"
#include "scratch.h"
#include "store/kept_block.h"
#include "store/replica.h"

static rl_memory *new_memory(const char *dir, size_t limit)
{
  rl_memory_spec spec = {
    .limit = limit + (size_t)rl_mem_used(), .fraction = 1, .storage_fraction = 0, .tasks = 2, .local_dir = dir};
  return rl_memory_new(&spec);
}

static rl_memory_stats stats_of(rl_memory *m)
{
  rl_memory_stats stats;
  rl_memory_stats_read(m, &stats);
  return stats;
}

#define PLENTY ((size_t)1 << 40)

/* "0\n" to "999\n" in one buffer. */
static rl_bytes *numbers(void)
{
  rl_bytes *data = rl_bytes_new(10000);
  for (int i = 0; i < 1000; i++) data->n += (size_t)sprintf(data->data + data->n, "%d\n", i);
  return data;
}

static void expect_numbers(rl_block *b, int from, int n)
{
  rl_chunks got = {0};
  rl_pull *p = rl_block_open(b);
  if (rl_pull_drain(p, &got) != RL_OK) fail_msg("%s", rl_error_message());
  rl_pull_close(p);
  assert_int_equal(rl_chunks_records(&got), n);
  char first[32];
  snprintf(first, sizeof first, "%d", from);
  rl_value v = rl_chunk_get(got.v[0], 0, 0);
  assert_int_equal(v.s.n, strlen(first));
  assert_memory_equal(v.s.p, first, v.s.n);
  rl_chunks_clear(&got);
}

static size_t line_at(const rl_bytes *data, int number)
{
  char text[32];
  int n = snprintf(text, sizeof text, "\n%d\n", number);
  const char *p = memmem(data->data, data->n, text, (size_t)n);
  assert_non_null(p);
  return (size_t)(p + 1 - data->data);
}

static void text_leaves_a_shared_buffer_and_comes_back(void **state)
{
  rl_memory *m = new_memory(*state, 0);
  int64_t before = rl_mem_used();
  rl_bytes *data = numbers();
  size_t middle = line_at(data, 400);
  rl_block *a = rl_block_text(data, 0, middle, NULL), *b = rl_block_text(data, middle, data->n, NULL);
  size_t bytes = data->n;
  rl_bytes_unref(data);
  rl_block_keep(a, m, RL_LEVEL_RECEIVED);
  rl_block_keep(b, m, RL_LEVEL_RECEIVED);
  assert_int_equal(stats_of(m).storage, bytes);
  assert_true(rl_mem_used() > before);
  rl_blocks_make_room(m);
  assert_int_equal(stats_of(m).storage, 0);
  assert_int_equal(rl_mem_used(), before); /* the buffer went with the last of its blocks */
  assert_true(stats_of(m).spilled_now > 0);
  expect_numbers(a, 0, 400);
  expect_numbers(b, 400, 600);
  expect_numbers(b, 400, 600);
  rl_block_unref(a);
  rl_block_unref(b);
  assert_int_equal(stats_of(m).spilled_now, 0);
  rl_memory_unref(m);
}

static void a_block_that_is_read_can_leave(void **state)
{
  rl_memory *m = new_memory(*state, 0);
  rl_bytes *data = numbers();
  rl_block *b = rl_block_text(data, 0, data->n, NULL);
  rl_bytes_unref(data);
  rl_block_keep(b, m, RL_LEVEL_RECEIVED);
  rl_pull *p = rl_block_open(b);
  rl_chunk *c = NULL;
  assert_int_equal(rl_pull_next(p, &c), RL_OK);
  rl_blocks_make_room(m);
  assert_int_equal(c->n, 1000);
  rl_chunk_unref(c);
  assert_int_equal(rl_pull_next(p, &c), RL_OK);
  assert_null(c);
  rl_pull_close(p);
  rl_block_unref(b);
  rl_memory_unref(m);
}

static rl_level level_of(const char *name)
{
  rl_level level;
  assert_int_equal(rl_level_parse(name, &level), RL_OK);
  return level;
}

static rl_block *new_records(void)
{
  rl_chunks list = {0};
  rl_builder *b = rl_builder_new();
  for (int i = 0; i < 10000; i++) {
    char text[32];
    rl_value v = rl_str(text, (size_t)snprintf(text, sizeof text, "%d", i));
    records_add(b, &list, &v, 1);
  }
  records_end(b, &list);
  return rl_block_chunks(&list, NULL);
}

static void records_leave_and_come_back(void **state)
{
  rl_memory *m = new_memory(*state, 0);
  rl_block *b = new_records();
  rl_block_keep(b, m, RL_LEVEL_RECEIVED);
  assert_int_equal(stats_of(m).storage, b->bytes);
  rl_blocks_make_room(m);
  assert_int_equal(stats_of(m).storage, 0);
  expect_numbers(b, 0, 10000);
  rl_block_unref(b);
  assert_int_equal(stats_of(m).spilled_now, 0);
  rl_memory_unref(m);
}

static void disk_only_is_written_though_there_is_room_and_memory_only_never(void **state)
{
  static const char *const levels[] = {"DISK_ONLY", "MEMORY_AND_DISK", "MEMORY_ONLY"};
  for (int i = 0; i < 6; i++) {
    bool disk = i % 3 == 0;
    rl_memory *m = new_memory(*state, i % 3 == 2 ? 0 : PLENTY);
    rl_bytes *data = numbers();
    rl_block *b = i < 3 ? rl_block_text(data, 0, data->n, NULL) : new_records();
    rl_bytes_unref(data);
    rl_block_keep(b, m, level_of(levels[i % 3]));
    rl_blocks_make_room(m);
    assert_int_equal(stats_of(m).storage, disk ? 0 : b->bytes);
    assert_int_equal(stats_of(m).dropped_total, 0);
    expect_numbers(b, 0, i < 3 ? 1000 : 10000);
    rl_block_unref(b);
    rl_memory_unref(m);
  }
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

static char last_warning[1024];

static void note_warning(void *user, rl_log_level level, const char *line)
{
  (void)user;
  if (level >= RL_LOG_WARN) snprintf(last_warning, sizeof last_warning, "%s", line);
}

static void a_full_disk_loses_nothing(void **state)
{
  rl_fs fs = rl_fs_system;
  fs.pwrite = full_disk;
  rl_fs_set(&fs);
  rl_log_set_sink(note_warning, NULL);
  rl_memory *m = new_memory(*state, 0);
  rl_block *b = new_records();
  rl_block_keep(b, m, RL_LEVEL_RECEIVED);
  rl_blocks_make_room(m);
  rl_log_set_sink(NULL, NULL);
  rl_fs_set(NULL);
  assert_non_null(strstr(last_warning, "No space left on device; what was received stays in memory"));
  expect_numbers(b, 0, 10000);
  rl_block_unref(b);
  rl_memory_unref(m);
}

static void cut_spill_file(const char *dir)
{
  DIR *d = opendir(dir);
  for (struct dirent *e; (e = readdir(d));) {
    if (*e->d_name == '.') continue;
    char *path = rl_format("%s/%s/0.spill", dir, e->d_name);
    assert_int_equal(truncate(path, 100), 0);
    rl_free(path);
  }
  closedir(d);
}

/* A place for one second copy. */
static rl_status put_copy(void *user, uint64_t id, const char *p, size_t n)
{
  assert_int_equal(id, 1);
  rl_buf_add(user, p, n);
  return RL_OK;
}

static rl_status get_copy(void *user, uint64_t id, rl_buf *out)
{
  (void)id;
  const rl_buf *copy = user;
  rl_buf_add(out, copy->p, copy->n);
  return RL_OK;
}

static void drop_copy(void *user, uint64_t id)
{
  (void)id;
  rl_buf_free(user);
}

static void a_second_copy_stands_in(void **state)
{
  rl_buf copy = {0};
  rl_memory *m = new_memory(*state, 0);
  rl_memory_set_replica(m, &(rl_replica){&copy, put_copy, get_copy, drop_copy});
  rl_bytes *data = numbers();
  rl_block *b = rl_block_text(data, 0, data->n, NULL);
  rl_bytes_unref(data);
  rl_block_keep(b, m, RL_LEVEL_RECEIVED);
  rl_blocks_make_room(m);
  cut_spill_file(*state);
  rl_log_set_sink(note_warning, NULL);
  expect_numbers(b, 0, 1000);
  rl_log_set_sink(NULL, NULL);
  assert_non_null(strstr(last_warning, "cut short; its second copy is taken"));
  rl_block_unref(b);
  assert_null(copy.p);
  rl_memory_unref(m);
}

static void damage_names_what_was_lost(void **state)
{
  rl_memory *m = new_memory(*state, 0);
  rl_bytes *data = numbers();
  rl_block *b = rl_block_text(data, 0, data->n, NULL);
  rl_bytes_unref(data);
  rl_block_keep(b, m, RL_LEVEL_RECEIVED);
  rl_blocks_make_room(m);
  cut_spill_file(*state);
  rl_chunks got = {0};
  rl_pull *p = rl_block_open(b);
  assert_int_equal(rl_pull_drain(p, &got), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "0.spill at offset 0 ("));
  assert_non_null(strstr(rl_error_message(), "cut short; it held a received block of 1000 lines"));
  rl_pull_close(p);
  rl_chunks_clear(&got);
  rl_block_unref(b);
  rl_memory_unref(m);
}

/* What a source stores while memory is short goes to disk on its own thread. */
static void a_gatherer_makes_room_as_it_goes(void **state)
{
  rl_memory *m = new_memory(*state, (size_t)1 << 20);
  rl_gather_spec spec = {.max_record = 1000, .max_buffered = PLENTY, .memory = m, .level = RL_LEVEL_RECEIVED};
  rl_gather *g = rl_gather_new(&spec);
  for (int i = 0; i < 400000; i++) {
    char text[64];
    rl_value v = rl_str(text, (size_t)snprintf(text, sizeof text, "%d", i));
    assert_int_equal(rl_gather_store(g, &v, 1), RL_OK);
  }
  assert_true(stats_of(m).spilled_total > 0);
  rl_blocks blocks = {0};
  rl_gather_take(g, &blocks);
  rl_gather_delete(g);
  uint64_t records = 0;
  for (size_t i = 0; i < blocks.n; i++) {
    expect_numbers(blocks.v[i], (int)records, (int)blocks.v[i]->records);
    records += blocks.v[i]->records;
  }
  assert_int_equal(records, 400000);
  rl_blocks_clear(&blocks);
  assert_int_equal(stats_of(m).storage, 0);
  rl_memory_unref(m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    in_a_folder(text_leaves_a_shared_buffer_and_comes_back),
    in_a_folder(a_block_that_is_read_can_leave),
    in_a_folder(records_leave_and_come_back),
    in_a_folder(disk_only_is_written_though_there_is_room_and_memory_only_never),
    in_a_folder(a_full_disk_loses_nothing),
    in_a_folder(damage_names_what_was_lost),
    in_a_folder(a_second_copy_stands_in),
    in_a_folder(a_gatherer_makes_room_as_it_goes),
  };
  return cmocka_run_group_tests_name("kept_block", tests, NULL, NULL);
}
