/* The write-ahead log: what is appended comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <sys/file.h>

#include "wal_text.h"

static void records_come_back_in_order(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  assert_int_equal(text.n, 0);
  write_text(w, 7, "hello");
  write_text(w, 1, "");
  close_log(w);
  w = open_log(*state, &text);
  assert_string_equal(rl_buf_cstr(&text), "1:7=hello 2:1= ");
  write_text(w, RL_WAL_TYPE_MOST, "world");
  close_log(w);
  expect_log(*state, "1:7=hello 2:1= 3:65534=world ");
  expect_log(*state, "1:7=hello 2:1= 3:65534=world ");
  rl_buf_free(&text);
}

static void replay_begins_where_it_is_told(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  for (int i = 0; i < 4; i++) write_text(w, 1, "x");
  close_log(w);
  assert_int_equal(open_from(*state, 3, &text, &w), RL_OK);
  assert_string_equal(rl_buf_cstr(&text), "3:1=x 4:1=x ");
  close_log(w);
  assert_int_equal(open_from(*state, 5, &text, &w), RL_OK);
  assert_int_equal(text.n, 0);
  close_log(w);
  expect_refused(*state, 6, RL_EDATA, *state, "ends with record 4");
  rl_buf_free(&text);
}

static rl_status refuse_second(void *user, const rl_wal_record *r)
{
  (void)user;
  return r->at.seq == 2 ? rl_fail(RL_EUSER, "no") : RL_OK;
}

static void an_error_of_replay_ends_the_opening(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  for (int i = 0; i < 3; i++) write_text(w, 1, "x");
  close_log(w);
  rl_wal_spec spec = {.dir = *state, .replay = refuse_second};
  assert_int_equal(rl_wal_open(&spec, &w), RL_EUSER);
  expect_log(*state, "1:1=x 2:1=x 3:1=x "); /* and it is not locked */
  rl_buf_free(&text);
}

static void what_is_no_record_is_refused(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  static const rl_wal_part halves[2] = {{NULL, "", RL_WAL_RECORD_MOST}, {NULL, "", 1}};
  uint64_t seq = 0;
  assert_int_equal(rl_wal_append(w, 0, NULL, 0, &seq), RL_EINVAL);
  assert_int_equal(rl_wal_append(w, UINT16_MAX, NULL, 0, &seq), RL_EINVAL);
  assert_int_equal(rl_wal_append(w, 1, halves, 2, &seq), RL_ELIMIT);
  assert_int_equal(rl_wal_wait(w, 1), RL_EINVAL);
  rl_wal_stop(w);
  assert_int_equal(rl_wal_append(w, 1, NULL, 0, &seq), RL_ECLOSED);
  close_log(w);
  assert_int_equal(rl_wal_close(NULL), RL_OK);
  rl_buf_free(&text);
}

static void one_opener_at_a_time(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  expect_refused(*state, 0, RL_ESTATE, *state, "this process has it open");
  close_log(w);
  rl_buf_free(&text);
}

static int refusals;

static int dying_flock(int fd, int how)
{
  if (refusals-- <= 0) return flock(fd, how);
  errno = EWOULDBLOCK;
  return -1;
}

/* Another process that was killed has its locks for a moment more. */
static void a_dying_holder_is_waited_for(void **state)
{
  rl_fs dying = rl_fs_system;
  dying.flock = dying_flock;
  rl_buf text = {0};
  refusals = 3;
  rl_fs_set(&dying);
  rl_wal *w = open_log(*state, &text);
  assert_int_equal(refusals, -1);
  refusals = INT_MAX;
  expect_refused(*state, 0, RL_ESTATE, *state, "has it open");
  rl_fs_set(NULL);
  close_log(w);
  rl_buf_free(&text);
}

/* Payloads of all lengths in parts, copied and referenced, read back by their handles. */
static void payloads_are_gathered(void **state)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = *state, .segment_bytes = 1 << 20, .close_after_write = true};
  rl_buf b = {0};
  uint64_t seed = 1;
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  for (size_t n = 0; n < 1500000; n = n * 2 + 1) {
    while (b.n < n) {
      uint64_t x = faulty_random(&seed);
      rl_buf_add(&b, &x, sizeof x);
    }
    rl_bytes *bytes = rl_bytes_from(b.p, n);
    rl_wal_part parts[] = {{NULL, b.p, n / 5}, {NULL, b.p, 0}, {NULL, b.p + n / 5, n / 5},
                           {bytes, bytes->data + n / 5 * 2, n / 5}, {NULL, b.p + n / 5 * 3, n - n / 5 * 3}};
    rl_wal_at at = {0};
    rl_bytes *got = NULL;
    assert_int_equal(rl_wal_write(w, 3, parts, 5, &at), RL_OK);
    assert_int_equal(at.length, n);
    assert_int_equal(rl_wal_read(w, &at, &got), RL_OK);
    assert_int_equal(got->n, n);
    assert_memory_equal(got->data, bytes->data, n);
    rl_bytes_unref(got);
    rl_bytes_unref(bytes);
  }
  close_log(w);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){0}), RL_OK);
  rl_buf_free(&b);
}

static void segments_roll_and_are_trimmed(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  rl_wal_at at[10];
  rl_wal_stats s;
  for (int i = 0; i < 10; i++) at[i] = write_text(w, 1, "0123456789012345678901234567890123456789"); /* 80 bytes each */
  rl_wal_stats_read(w, &s);
  assert_int_equal(s.segments, 4); /* 1-3, 4-6, 7-9, 10 */
  assert_int_equal(s.durable, 10);
  assert_int_equal(rl_wal_trim(w, 6), RL_OK);
  rl_wal_stats_read(w, &s);
  assert_int_equal(s.first, 4);
  assert_int_equal(rl_wal_trim(w, 1000), RL_OK);
  rl_wal_stats_read(w, &s);
  assert_int_equal(s.first, 10);
  assert_int_equal(s.segments, 1);
  rl_bytes *got = NULL;
  assert_int_equal(rl_wal_read(w, &at[8], &got), RL_ENOTFOUND);
  assert_int_equal(rl_wal_read(w, &at[9], &got), RL_OK);
  rl_bytes_unref(got);
  at[9].seq++;
  assert_int_equal(rl_wal_read(w, &at[9], &got), RL_EDATA);
  close_log(w);
  expect_log(*state, "10:1=0123456789012345678901234567890123456789 ");
  expect_refused(*state, 9, RL_EDATA, *state, "no records before 10");
  rl_buf_free(&text);
}

static void an_old_segment_is_left(void **state)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = *state, .roll_ms = 1};
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  rl_wal_at first = write_text(w, 1, "a"), at = first;
  while (at.segment == first.segment) at = write_text(w, 1, "b");
  assert_int_equal(at.segment, at.seq);
  close_log(w);
}

/* Threads ---------------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, EACH = 2000 };

typedef struct appender {
  rl_wal *w;
  uint64_t *last; /* in the callbacks: the last sequence told, of all threads */
  uint64_t told;
} appender;

static void note_told(void *user, rl_status st, const rl_wal_at *at)
{
  appender *a = user;
  assert_int_equal(st, RL_OK);
  assert_int_equal(at->seq, *a->last + 1);
  *a->last = at->seq;
  a->told++;
}

static void *append_many(void *arg)
{
  appender *a = arg;
  uint64_t seq = 0, before = 0;
  for (int i = 0; i < EACH; i++, before = seq) {
    rl_wal_part part = {NULL, &i, sizeof i};
    assert_int_equal(rl_wal_append_async(a->w, 1, &part, 1, note_told, a, &seq), RL_OK);
    assert_true(seq > before);
    if (i % 100 == 0) assert_int_equal(rl_wal_wait(a->w, seq), RL_OK);
    if (i % 500 == 0) assert_int_equal(rl_wal_trim(a->w, seq / 2), RL_OK);
  }
  assert_int_equal(rl_wal_wait(a->w, seq), RL_OK);
  return NULL;
}

static void threads_append_and_are_told_in_order(void **state)
{
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = *state, .segment_bytes = 20000, .queue_bytes = 5000};
  pthread_t threads[THREADS];
  appender a[THREADS];
  uint64_t last = 0;
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  for (int i = 0; i < THREADS; i++) {
    a[i] = (appender){w, &last, 0};
    assert_int_equal(pthread_create(&threads[i], NULL, append_many, &a[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
  close_log(w);
  for (int i = 0; i < THREADS; i++) assert_int_equal(a[i].told, EACH);
  assert_int_equal(last, THREADS * EACH);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){0}), RL_OK);
}

int main(void)
{
  rl_log_set_sink(model_quiet, NULL);
  const struct CMUnitTest tests[] = {
      in_a_folder(records_come_back_in_order),
      in_a_folder(replay_begins_where_it_is_told),
      in_a_folder(an_error_of_replay_ends_the_opening),
      in_a_folder(what_is_no_record_is_refused),
      in_a_folder(one_opener_at_a_time),
      in_a_folder(a_dying_holder_is_waited_for),
      in_a_folder(payloads_are_gathered),
      in_a_folder(segments_roll_and_are_trimmed),
      in_a_folder(an_old_segment_is_left),
      in_a_folder(threads_append_and_are_told_in_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
