#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/queue.h"
#include "base/status.h"

static void clear_error(void)
{
  rl_error e;
  rl_error_take(&e);
  rl_error_clear(&e);
}

/* Errors. */

static void test_fail_makes_the_current_error(void **state)
{
  (void)state;
  assert_int_equal(rl_fail(RL_EDATA, "segment %d:\nbad", 7), RL_EDATA);
  assert_string_equal(rl_error_message(), "segment 7: bad");
  assert_int_equal(rl_error_current()->code, RL_EDATA);
  assert_false(rl_error_current()->retriable);
  assert_int_equal(rl_fail(RL_EIO, "%s again", rl_error_message()), RL_EIO);
  assert_string_equal(rl_error_message(), "segment 7: bad again");
  assert_true(rl_error_current()->retriable);
  clear_error();
}

static void test_fail_errno_tells_the_reason(void **state)
{
  (void)state;
  errno = ENOSPC;
  assert_int_equal(rl_fail_errno("cannot write %s", "a.log"), RL_EIO);
  assert_string_equal(rl_error_message(), "cannot write a.log: No space left on device");
  clear_error();
}

static void test_error_details(void **state)
{
  (void)state;
  rl_fail(RL_EUSER, "boom");
  rl_error_prefix("stage %u: ", 3u);
  rl_error_set_retriable(false);
  rl_error_set_trace("line 1\nline 2");
  rl_error copy;
  rl_error_copy(&copy, rl_error_current());
  assert_string_equal(copy.message, "stage 3: boom");
  assert_string_equal(copy.trace, "line 1\nline 2");
  assert_false(copy.retriable);
  rl_error_set_trace(NULL);
  assert_null(rl_error_current()->trace);
  rl_error_clear(&copy);
  assert_int_equal(copy.code, RL_OK);
  assert_null(copy.message);
  clear_error();
}

static void test_take_without_an_error(void **state)
{
  (void)state;
  rl_error e;
  rl_error_take(&e);
  assert_int_equal(e.code, RL_ESTATE);
  assert_string_equal(e.message, "unknown error");
  assert_string_equal(rl_error_message(), "");
  rl_error_prefix("nothing ");
  rl_error_set_trace("nothing");
  assert_int_equal(rl_error_current()->code, RL_OK);
  assert_null(rl_error_current()->trace);
  rl_error_clear(&e);
}

static void *fail_on_thread(void *out)
{
  rl_fail(RL_ETIMEOUT, "first");
  rl_fail(RL_ETIMEOUT, "the peer said nothing");
  rl_error_take(out);
  rl_fail(RL_ECLOSED, "left behind: freed with the thread");
  rl_error_set_trace("and its trace");
  return NULL;
}

static void test_errors_move_between_threads(void **state)
{
  (void)state;
  rl_error e = RL_ERROR_NONE;
  pthread_t t;
  assert_int_equal(pthread_create(&t, NULL, fail_on_thread, &e), 0);
  assert_int_equal(pthread_join(t, NULL), 0);
  assert_string_equal(rl_error_message(), "");
  assert_int_equal(rl_error_raise(&e), RL_ETIMEOUT);
  assert_null(e.message);
  assert_string_equal(rl_error_message(), "the peer said nothing");
  clear_error();
}

static void test_status_names(void **state)
{
  (void)state;
  assert_string_equal(rl_status_name(RL_EUNSUPPORTED), "EUNSUPPORTED");
  assert_string_equal(rl_status_text(RL_OK), "success");
}

/* Memory and buffers. */

static void test_alloc_is_zeroed_and_grows(void **state)
{
  (void)state;
  static const char zero[100];
  char *p = rl_alloc(100);
  assert_memory_equal(p, zero, 100);
  rl_free(p);
  rl_free(rl_alloc(0));
  assert_null(rl_strdup(NULL));
  size_t cap = 0;
  int *v = NULL;
  for (int i = 0; i < 1000; i++) {
    v = rl_grow(v, &cap, (size_t)i + 1, sizeof *v);
    v[i] = i;
  }
  assert_true(cap >= 1000 && cap < 2048);
  assert_int_equal(v[999], 999);
  rl_free(v);
}

static void test_buf(void **state)
{
  (void)state;
  rl_buf b = {0};
  assert_string_equal(rl_buf_cstr(&b), "");
  rl_buf_add(&b, NULL, 0);
  rl_buf_puts(&b, "ab");
  rl_buf_putc(&b, 'c');
  for (int i = 0; i < 100; i++) rl_buf_printf(&b, "%03d", i);
  assert_int_equal(b.n, 303);
  assert_memory_equal(rl_buf_cstr(&b) + 297, "098099", 7);
  rl_buf_clear(&b);
  assert_int_equal(b.n, 0);
  rl_buf_printf(&b, "%s", "x");
  assert_string_equal(rl_buf_cstr(&b), "x");
  rl_buf_free(&b);
  assert_null(b.p);
  assert_int_equal(b.cap, 0);
}

static void test_bytes_are_counted(void **state)
{
  (void)state;
  int64_t before = rl_mem_used();
  rl_bytes *b = rl_bytes_from("hello", 5);
  assert_int_equal(b->n, 5);
  assert_true(rl_mem_used() - before >= 5);
  assert_ptr_equal(rl_bytes_ref(b), b);
  rl_bytes_unref(b);
  assert_memory_equal(b->data, "hello", 5);
  rl_bytes_unref(b);
  rl_bytes_unref(NULL);
  assert_int_equal(rl_mem_used(), before);
}

static void test_too_large_a_buffer_is_an_error(void **state)
{
  (void)state;
  int64_t before = rl_mem_used();
  assert_null(rl_bytes_new(SIZE_MAX - 1));
  assert_int_equal(rl_error_current()->code, RL_ENOMEM);
  assert_int_equal(rl_mem_used(), before);
  clear_error();
}

/* Hashes decide partitions: these values never change. */
static void test_hashes_are_stable(void **state)
{
  (void)state;
  assert_true(rl_hash_bytes("", 0, 0) == UINT64_C(0x2d06800538d394c2));
  assert_true(rl_hash_bytes("rille", 5, RL_HASH_SEED) == UINT64_C(0x8e16d1c9412d7638));
  assert_true(rl_hash_u64(0, 0) == 0);
  assert_true(rl_hash_u64(1, RL_HASH_SEED) == UINT64_C(0x93c84301025dd24e));
  assert_true(rl_hash_u64(1, RL_HASH_SEED) != rl_hash_u64(1, RL_HASH_SEED + 1));
}

/* Neighbouring integers must not crowd into few key groups. */
static void test_integer_hash_spreads_low_bits(void **state)
{
  (void)state;
  unsigned counts[256] = {0};
  for (uint64_t i = 0; i < 256 * 64; i++) counts[rl_hash_u64(i * 1024, RL_HASH_SEED) & 255]++;
  for (int i = 0; i < 256; i++) assert_in_range(counts[i], 24, 120);
}

static void test_manual_clock_never_goes_back(void **state)
{
  (void)state;
  rl_clock *c = rl_clock_new_manual(1000);
  assert_true(rl_clock_is_manual(c));
  rl_clock_set(c, 5000);
  rl_clock_set(c, 3000);
  assert_int_equal(rl_clock_now(c), 5000);
  rl_clock_delete(c);
}

static void test_system_clock(void **state)
{
  (void)state;
  rl_clock *c = rl_clock_new_system();
  assert_false(rl_clock_is_manual(c));
  int64_t before = rl_wall_ms(), mono = rl_mono_ns();
  assert_true(rl_clock_now(c) >= before);
  assert_true(before > INT64_C(1700000000000));
  assert_true(rl_mono_ns() >= mono);
  rl_clock_delete(c);
}

/* Log. */

typedef struct lines {
  size_t n;
  rl_log_level last_level;
  char last[256];
} lines;

static void collect(void *user, rl_log_level level, const char *line)
{
  lines *l = user;
  l->n++;
  l->last_level = level;
  snprintf(l->last, sizeof l->last, "%s", line);
}

static void test_log_lines(void **state)
{
  (void)state;
  lines got = {0};
  rl_log_set_sink(collect, &got);
  rl_info("below the default level");
  rl_warn("disk is %d%% full\nof logs", 91);
  rl_log_set_level(RL_LOG_OFF);
  rl_err("silent");
  rl_log_set_level(RL_LOG_WARN);
  rl_log_set_sink(NULL, NULL);
  assert_int_equal(got.n, 1);
  assert_int_equal(got.last_level, RL_LOG_WARN);
  assert_string_equal(got.last + strlen("2026-11-20 16:17:12.123"), " WARN  disk is 91% full of logs");
  assert_int_equal(got.last[4], '-');
  assert_int_equal(got.last[19], '.');
}

static void *log_much(void *unused)
{
  (void)unused;
  for (int i = 0; i < 500; i++) rl_warn("line");
  return NULL;
}

static void test_log_from_threads(void **state)
{
  (void)state;
  lines got = {0};
  rl_log_set_sink(collect, &got);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, log_much, NULL), 0);
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(t[i], NULL), 0);
  rl_log_set_sink(NULL, NULL);
  assert_int_equal(got.n, 2000);
}

static void test_log_levels_have_names(void **state)
{
  (void)state;
  rl_log_level level = RL_LOG_OFF;
  assert_true(rl_log_parse_level("debug", &level));
  assert_int_equal(level, RL_LOG_DEBUG);
  assert_true(rl_log_parse_level("ERROR", &level));
  assert_int_equal(level, RL_LOG_ERROR);
  assert_false(rl_log_parse_level("loud", &level));
  assert_int_equal(level, RL_LOG_ERROR);
}

/* Queue. */

static int items[8];

static void test_queue_keeps_order_and_bounds(void **state)
{
  (void)state;
  rl_queue *q = rl_queue_new(3);
  assert_null(rl_queue_pop(q, 0));
  assert_null(rl_queue_pop(q, 1000));
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 3; i++) assert_true(rl_queue_try_push(q, &items[i]));
    assert_false(rl_queue_try_push(q, &items[3]));
    assert_int_equal(rl_queue_size(q), 3);
    for (int i = 0; i < 3; i++) assert_ptr_equal(rl_queue_pop(q, round == 1 ? -1 : 0), &items[i]);
  }
  rl_queue_delete(q);
}

static void test_closed_queue_drains(void **state)
{
  (void)state;
  rl_queue *q = rl_queue_new(2);
  assert_true(rl_queue_push(q, &items[0]));
  rl_queue_close(q);
  assert_false(rl_queue_push(q, &items[1]));
  assert_false(rl_queue_try_push(q, &items[1]));
  assert_ptr_equal(rl_queue_pop(q, -1), &items[0]);
  assert_null(rl_queue_pop(q, -1));
  rl_queue_delete(q);
}

enum { MANY = 5000 };
static int numbers[MANY];

static void *produce(void *q)
{
  for (int i = 0; i < MANY && rl_queue_push(q, &numbers[i]); i++) {
  }
  return NULL;
}

typedef struct consumer {
  rl_queue *q;
  int taken;
  pthread_t thread;
} consumer;

static void *consume(void *user)
{
  consumer *c = user;
  while (rl_queue_pop(c->q, -1)) c->taken++;
  return NULL;
}

static void test_queue_between_threads(void **state)
{
  (void)state;
  rl_queue *q = rl_queue_new(7);
  pthread_t producers[2];
  consumer consumers[2] = {{.q = q}, {.q = q}};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_create(&consumers[i].thread, NULL, consume, &consumers[i]), 0);
    assert_int_equal(pthread_create(&producers[i], NULL, produce, q), 0);
  }
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(producers[i], NULL), 0);
  rl_queue_close(q);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(consumers[i].thread, NULL), 0);
  assert_int_equal(consumers[0].taken + consumers[1].taken, 2 * MANY);
  rl_queue_delete(q);
}

static void *push_one(void *q)
{
  return rl_queue_push(q, &items[1]) ? q : NULL;
}

static void test_close_wakes_a_waiting_push(void **state)
{
  (void)state;
  rl_queue *q = rl_queue_new(1);
  assert_true(rl_queue_push(q, &items[0]));
  pthread_t t;
  void *pushed;
  assert_int_equal(pthread_create(&t, NULL, push_one, q), 0);
  rl_queue_close(q);
  assert_int_equal(pthread_join(t, &pushed), 0);
  assert_null(pushed);
  rl_queue_delete(q);
}

/* Files. Each test gets a scratch directory as *state. */

static int make_scratch(void **state)
{
  const char *base = getenv("TMPDIR");
  char *dir = rl_path_join(base ? base : "/tmp", "rille-base-XXXXXX");
  *state = mkdtemp(dir);
  return *state ? 0 : -1;
}

static int remove_scratch(void **state)
{
  rl_fs_set(NULL);
  rl_status st = rl_dir_remove(*state);
  rl_free(*state);
  return st == RL_OK ? 0 : -1;
}

static void expect_content(const char *path, const char *content)
{
  rl_buf b = {0};
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  assert_string_equal(rl_buf_cstr(&b), content);
  rl_buf_free(&b);
}

static void test_path_join(void **state)
{
  (void)state;
  const char *cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *p = rl_path_join(cases[i][0], cases[i][1]);
    assert_string_equal(p, cases[i][2]);
    rl_free(p);
  }
}

static void test_replace_and_read(void **state)
{
  char *path = rl_path_join(*state, "f");
  assert_int_equal(rl_file_replace(path, "one", 3, false), RL_OK);
  expect_content(path, "one");
  assert_int_equal(rl_file_replace(path, "second", 6, true), RL_OK);
  expect_content(path, "second");
  assert_int_equal(rl_file_replace(path, NULL, 0, true), RL_OK);
  expect_content(path, "");
  rl_free(path);
}

static void test_pread_stops_at_the_end(void **state)
{
  char *path = rl_path_join(*state, "f");
  assert_int_equal(rl_file_replace(path, "0123456789", 10, false), RL_OK);
  int fd;
  assert_int_equal(rl_file_open(path, O_RDONLY, &fd), RL_OK);
  assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
  char p[8];
  size_t got;
  assert_int_equal(rl_file_pread(fd, path, p, 4, 2, &got), RL_OK);
  assert_int_equal(got, 4);
  assert_memory_equal(p, "2345", 4);
  assert_int_equal(rl_file_pread(fd, path, p, 8, 7, &got), RL_OK);
  assert_int_equal(got, 3);
  assert_int_equal(close(fd), 0);
  rl_free(path);
}

static void test_missing_file_is_named(void **state)
{
  char *path = rl_path_join(*state, "none");
  rl_buf b = {0};
  assert_int_equal(rl_file_read_all(path, &b), RL_ENOTFOUND);
  assert_non_null(strstr(rl_error_message(), path));
  assert_non_null(strstr(rl_error_message(), "No such file"));
  assert_int_equal(rl_file_read_all(*state, &b), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "directory"));
  rl_buf_free(&b);
  rl_free(path);
  clear_error();
}

static void test_directories(void **state)
{
  char *top = rl_path_join(*state, "a");
  char *deep = rl_format("%s/b//c/", top);
  char *file = rl_path_join(deep, "f");
  char *outside = rl_path_join(*state, "outside");
  char *inner = rl_path_join(outside, "keep");
  char *link = rl_path_join(deep, "link");
  assert_int_equal(rl_dir_make(deep), RL_OK);
  assert_int_equal(rl_dir_make(deep), RL_OK);
  assert_true(rl_path_is_dir(deep));
  assert_int_equal(rl_file_replace(file, "x", 1, false), RL_OK);
  assert_false(rl_path_is_dir(file));
  assert_int_equal(rl_dir_make(file), RL_EIO);
  assert_int_equal(rl_dir_make(outside), RL_OK);
  assert_int_equal(rl_file_replace(inner, "y", 1, false), RL_OK);
  assert_int_equal(symlink(outside, link), 0);
  assert_int_equal(rl_dir_remove(top), RL_OK);
  assert_false(rl_path_is_dir(top));
  expect_content(inner, "y");
  assert_int_equal(rl_dir_remove(top), RL_OK);
  char *all[] = {top, deep, file, outside, inner, link};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) rl_free(all[i]);
  clear_error();
}

/* A file table that transfers one byte at a time, is interrupted every other call, and fails write number `fail_at`. */
static int calls, fail_at;

static bool interrupted(void)
{
  if (++calls % 2 == 0) return false;
  errno = EINTR;
  return true;
}

static ssize_t trickle_read(int fd, void *p, size_t n)
{
  return interrupted() ? -1 : read(fd, p, n > 0);
}

static ssize_t trickle_pread(int fd, void *p, size_t n, off_t at)
{
  return interrupted() ? -1 : pread(fd, p, n > 0, at);
}

static ssize_t trickle_write(int fd, const void *p, size_t n)
{
  if (interrupted()) return -1;
  if (fail_at > 0 && --fail_at == 0) {
    errno = ENOSPC;
    return -1;
  }
  return write(fd, p, n > 0);
}

static void use_trickle(int fail)
{
  static rl_fs fs;
  fs = rl_fs_system;
  fs.read = trickle_read;
  fs.pread = trickle_pread;
  fs.write = trickle_write;
  calls = 0;
  fail_at = fail;
  rl_fs_set(&fs);
}

static void test_short_transfers(void **state)
{
  char *path = rl_path_join(*state, "f");
  use_trickle(0);
  assert_int_equal(rl_file_replace(path, "trickling", 9, true), RL_OK);
  expect_content(path, "trickling");
  int fd;
  size_t got;
  char p[16];
  assert_int_equal(rl_file_open(path, O_RDONLY, &fd), RL_OK);
  assert_int_equal(rl_file_pread(fd, path, p, sizeof p, 1, &got), RL_OK);
  assert_int_equal(got, 8);
  assert_memory_equal(p, "rickling", 8);
  assert_int_equal(close(fd), 0);
  rl_free(path);
}

static void test_failed_replace_leaves_the_old_file(void **state)
{
  char *sub = rl_path_join(*state, "sub");
  char *path = rl_path_join(sub, "f");
  assert_int_equal(rl_dir_make(sub), RL_OK);
  assert_int_equal(rl_file_replace(path, "old", 3, true), RL_OK);
  use_trickle(4);
  assert_int_equal(rl_file_replace(path, "newer", 5, true), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "No space left on device"));
  rl_fs_set(NULL);
  expect_content(path, "old");
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(sub), 0); /* fails when the temporary file is left */
  rl_free(path);
  rl_free(sub);
  clear_error();
}

#define file_test(f) cmocka_unit_test_setup_teardown(f, make_scratch, remove_scratch)

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fail_makes_the_current_error),
      cmocka_unit_test(test_fail_errno_tells_the_reason),
      cmocka_unit_test(test_error_details),
      cmocka_unit_test(test_take_without_an_error),
      cmocka_unit_test(test_errors_move_between_threads),
      cmocka_unit_test(test_status_names),
      cmocka_unit_test(test_alloc_is_zeroed_and_grows),
      cmocka_unit_test(test_buf),
      cmocka_unit_test(test_bytes_are_counted),
      cmocka_unit_test(test_too_large_a_buffer_is_an_error),
      cmocka_unit_test(test_hashes_are_stable),
      cmocka_unit_test(test_integer_hash_spreads_low_bits),
      cmocka_unit_test(test_manual_clock_never_goes_back),
      cmocka_unit_test(test_system_clock),
      cmocka_unit_test(test_log_lines),
      cmocka_unit_test(test_log_from_threads),
      cmocka_unit_test(test_log_levels_have_names),
      cmocka_unit_test(test_queue_keeps_order_and_bounds),
      cmocka_unit_test(test_closed_queue_drains),
      cmocka_unit_test(test_queue_between_threads),
      cmocka_unit_test(test_close_wakes_a_waiting_push),
      cmocka_unit_test(test_path_join),
      file_test(test_replace_and_read),
      file_test(test_pread_stops_at_the_end),
      file_test(test_missing_file_is_named),
      file_test(test_directories),
      file_test(test_short_transfers),
      file_test(test_failed_replace_leaves_the_old_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
