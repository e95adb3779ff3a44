/* The write-ahead log: what is appended comes back, and what is damaged is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <inttypes.h>

#include "wal_model.h"

/* A log as text: "1:7=hello 2:1= ..." (sequence, type, payload) ------------------------------------------------------
 * */

static rl_status add_text(void *user, const rl_wal_record *r)
{
  rl_buf_printf(user, "%" PRIu64 ":%d=%.*s ", r->at.seq, r->at.type, (int)r->at.length, r->p);
  return RL_OK;
}

static rl_status open_from(const char *dir, uint64_t from, rl_buf *text, rl_wal **out)
{
  rl_wal_spec spec = {.dir = dir, .from = from, .replay = add_text, .user = text, .segment_bytes = 300};
  rl_buf_clear(text);
  return rl_wal_open(&spec, out);
}

static rl_wal *open_log(const char *dir, rl_buf *text)
{
  rl_wal *w = NULL;
  if (open_from(dir, 0, text, &w) != RL_OK) fail_msg("%s", rl_error_message());
  return w;
}

static void close_log(rl_wal *w)
{
  assert_int_equal(rl_wal_close(w), RL_OK);
}

static rl_wal_at write_text(rl_wal *w, uint16_t type, const char *text)
{
  rl_wal_part part = {NULL, text, strlen(text)};
  rl_wal_at at;
  if (rl_wal_write(w, type, &part, 1, &at) != RL_OK) fail_msg("%s", rl_error_message());
  return at;
}

static void expect_log(const char *dir, const char *expected)
{
  rl_buf text = {0};
  close_log(open_log(dir, &text));
  assert_string_equal(rl_buf_cstr(&text), expected);
  rl_buf_free(&text);
}

/* Opening fails so. */
static void expect_refused(const char *dir, uint64_t from, rl_status st, const char *file, const char *what)
{
  rl_buf text = {0};
  rl_wal *w = NULL;
  assert_int_equal(open_from(dir, from, &text, &w), st);
  if (!strstr(rl_error_message(), file) || !strstr(rl_error_message(), what)) fail_msg("%s", rl_error_message());
  rl_buf_free(&text);
}

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
  expect_refused(*state, 0, RL_ESTATE, *state, "another process");
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

/* The log's thread is held in the callback of a first record, so that the next ones make one group. */
typedef struct gate {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool reached, open;
} gate;

static void hold(void *user, rl_status st, const rl_wal_at *at)
{
  gate *g = user;
  (void)st;
  (void)at;
  pthread_mutex_lock(&g->lock);
  g->reached = true;
  pthread_cond_broadcast(&g->changed);
  while (!g->open) pthread_cond_wait(&g->changed, &g->lock);
  pthread_mutex_unlock(&g->lock);
}

static void append_group(rl_wal *w, const char *const *texts)
{
  gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, false};
  uint64_t seq;
  assert_int_equal(rl_wal_append_async(w, 9, NULL, 0, hold, &g, &seq), RL_OK);
  pthread_mutex_lock(&g.lock);
  while (!g.reached) pthread_cond_wait(&g.changed, &g.lock);
  pthread_mutex_unlock(&g.lock);
  for (; *texts; texts++) {
    rl_wal_part part = {NULL, *texts, strlen(*texts)};
    assert_int_equal(rl_wal_append(w, 1, &part, 1, &seq), RL_OK);
  }
  pthread_mutex_lock(&g.lock);
  g.open = true;
  pthread_cond_broadcast(&g.changed);
  pthread_mutex_unlock(&g.lock);
  assert_int_equal(rl_wal_wait(w, seq), RL_OK);
}

/* Crash states and damage ------------------------------------------------------------------------------------------ */

enum { HEAD = 48, FRAME = 40 };

static const char *const GROUP[] = {"first of three", "second of three", "third of three", NULL};
#define BEFORE "1:9= "
#define FIRST "2:1=first of three "
#define SECOND "3:1=second of three "
#define THIRD "4:1=third of three "

typedef struct bytes_of {
  char *path;
  rl_buf b;
  size_t group; /* where the last group begins */
} bytes_of;

/* A log whose process was killed behind a group of three: no mark of a clean end. */
static bytes_of killed_log(const char *dir)
{
  rl_buf text = {0};
  rl_wal *w = NULL;
  rl_wal_spec spec = {.dir = dir};
  assert_int_equal(rl_wal_open(&spec, &w), RL_OK);
  append_group(w, GROUP);
  close_log(w);
  bytes_of f = {.path = rl_path_join(dir, "log-0000000000000001"), .group = HEAD + FRAME};
  assert_int_equal(rl_file_read_all(f.path, &f.b), RL_OK);
  f.b.n -= FRAME;
  rl_buf_free(&text);
  return f;
}

static void put(const bytes_of *f, const rl_buf *b)
{
  scratch_write_bytes(f->path, b->p, b->n);
}

static void free_bytes_of(bytes_of *f)
{
  rl_free(f->path);
  rl_buf_free(&f->b);
}

/* One of the states that the log may be in before, within and behind the group. */
static void expect_part_of_group(const char *dir, const char *when, size_t at)
{
  static const char *const states[] = {BEFORE, BEFORE FIRST, BEFORE FIRST SECOND, BEFORE FIRST SECOND THIRD};
  rl_buf text = {0};
  close_log(open_log(dir, &text));
  bool known = false;
  for (size_t i = 0; i < 4; i++) known = known || strcmp(rl_buf_cstr(&text), states[i]) == 0;
  if (!known) fail_msg("%s at %zu: %s", when, at, rl_buf_cstr(&text));
  expect_log(dir, rl_buf_cstr(&text)); /* what was recovered stays */
  rl_buf_free(&text);
}

static void a_tail_lost_or_zeroed_anywhere_is_cut(void **state)
{
  bytes_of f = killed_log(*state);
  for (size_t at = f.group; at <= f.b.n; at++) {
    rl_buf b = {0};
    rl_buf_add(&b, f.b.p, at);
    put(&f, &b);
    expect_part_of_group(*state, "cut", at);
    static const char zeros[4096];
    rl_buf_add(&b, zeros, at % 2 ? sizeof zeros : f.b.n - at);
    put(&f, &b);
    expect_part_of_group(*state, "zeroed", at);
    rl_buf_free(&b);
  }
  free_bytes_of(&f);
}

/* Sectors of 16 bytes for once, so that every set of lost ones can be tried for each place of the group. */
static void parts_of_a_group_that_reached_the_disk_alone_are_cut(void **state)
{
  bytes_of f = killed_log(*state);
  size_t sectors = (f.b.n - f.group + 15) / 16;
  assert_in_range(sectors, 10, 14);
  for (size_t set = 0; set < (size_t)1 << sectors; set += 1 + set % 7) {
    rl_buf b = {0};
    rl_buf_add(&b, f.b.p, f.b.n);
    for (size_t i = 0; i < sectors; i++) {
      size_t from = f.group + i * 16, n = b.n - from < 16 ? b.n - from : 16;
      if (!(set >> i & 1)) memset(b.p + from, 0, n);
    }
    put(&f, &b);
    expect_part_of_group(*state, "sectors", set);
    rl_buf_free(&b);
  }
  free_bytes_of(&f);
}

static void stale_bytes_and_garbage_are_no_records(void **state)
{
  char *other_dir = rl_path_join(*state, "other"), *dir = rl_path_join(*state, "log");
  bytes_of stale = killed_log(other_dir), f = killed_log(dir);
  rl_buf b = {0};
  rl_buf_add(&b, f.b.p, f.b.n);
  rl_buf_add(&b, stale.b.p, stale.b.n); /* a segment of another life */
  put(&f, &b);
  expect_log(dir, BEFORE FIRST SECOND THIRD);
  b.n = f.group; /* the same sequences at the same places */
  rl_buf_add(&b, stale.b.p + f.group, stale.b.n - f.group);
  put(&f, &b);
  expect_log(dir, BEFORE);
  b.n = f.b.n;
  memcpy(b.p, f.b.p, f.b.n); /* its own frames once more, at another place */
  rl_buf_add(&b, f.b.p + HEAD, f.b.n - HEAD);
  put(&f, &b);
  expect_log(dir, BEFORE FIRST SECOND THIRD);
  rl_buf_free(&b);
  free_bytes_of(&f);
  free_bytes_of(&stale);
  rl_free(dir);
  rl_free(other_dir);
}

/* A log of three segments, closed: every record is known to be on disk. */
static void closed_log(const char *dir)
{
  static const char *const two[] = {"one of two", "two of two", NULL};
  rl_buf text = {0};
  rl_wal *w = open_log(dir, &text);
  append_group(w, GROUP);
  append_group(w, two);
  append_group(w, two);
  close_log(w);
  rl_buf_free(&text);
}

static void count_damage(void *user, const rl_wal_damage *d)
{
  assert_non_null(strstr(d->message, d->path));
  ++*(unsigned *)user;
}

/* Opening and verifying agree, on an error that names file and frame or a clean cut behind all records. */
static void expect_found(const char *dir, const char *name, size_t at, bool may_be_cut, const char *whole)
{
  rl_buf text = {0};
  rl_wal *w = NULL;
  unsigned damages = 0;
  rl_status verified = rl_wal_verify(dir, &(rl_wal_verifier){NULL, count_damage, &damages});
  rl_status st = open_from(dir, 0, &text, &w);
  assert_int_equal(verified, st);
  assert_true(damages > 0);
  if (st == RL_OK) {
    close_log(w);
    assert_true(may_be_cut);
    assert_string_equal(rl_buf_cstr(&text), whole);
  } else {
    const char *offset = strstr(rl_error_message(), " at offset ");
    assert_int_equal(st, RL_EDATA);
    assert_non_null(strstr(rl_error_message(), name));
    assert_non_null(offset);
    size_t named = strtoul(offset + strlen(" at offset "), NULL, 10);
    assert_true(named <= at);
    assert_true(at < named + FRAME + 20); /* the frame's, or the header's */
    assert_memory_equal(text.p ? text.p : "", whole, text.n); /* what was replayed until then is right */
  }
  rl_buf_free(&text);
}

static void flip_each_byte(const char *dir, const char *name, bool last, const char *whole)
{
  char *path = rl_path_join(dir, name);
  rl_buf b = {0};
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  for (size_t at = 0; at < b.n; at++) {
    for (int bit = 0; bit < 9; bit += 4) {
      char before = b.p[at];
      b.p[at] = (char)(bit == 8 ? ~before : before ^ (1 << bit));
      scratch_write_bytes(path, b.p, b.n);
      expect_found(dir, name, at, last && at >= b.n - FRAME, whole);
      b.p[at] = before;
    }
  }
  scratch_write_bytes(path, b.p, b.n);
  rl_buf_free(&b);
  rl_free(path);
}

static void each_flipped_byte_is_found(void **state)
{
  rl_buf text = {0};
  closed_log(*state);
  close_log(open_log(*state, &text));
  rl_buf_cstr(&text);
  flip_each_byte(*state, "log-0000000000000001", false, text.p);
  flip_each_byte(*state, "log-0000000000000006", true, text.p);
  expect_log(*state, text.p);
  rl_buf_free(&text);
}

/* In a log that was not closed, the group before the last is known to be on disk by the last. */
static void damage_before_the_last_group_is_no_torn_tail(void **state)
{
  bytes_of f = killed_log(*state);
  f.b.p[HEAD + 8] ^= 1; /* in the first record, which is a group of its own */
  put(&f, &f.b);
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000001 at offset 48", "stands behind it, at offset 88");
  free_bytes_of(&f);
}

static void remove_file(const char *dir, const char *name)
{
  char *path = rl_path_join(dir, name);
  assert_int_equal(unlink(path), 0);
  rl_free(path);
}

static void a_missing_segment_is_found(void **state)
{
  rl_buf text = {0};
  rl_wal *w = open_log(*state, &text);
  for (int i = 0; i < 10; i++) write_text(w, 1, "0123456789012345678901234567890123456789");
  close_log(w);
  remove_file(*state, "log-0000000000000004");
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000007 at offset 0", "record 7, the segment before it ends so");
  remove_file(*state, "log-0000000000000007");
  remove_file(*state, "log-000000000000000a");
  expect_refused(*state, 8, RL_EDATA, *state, "ends with record 3");
  remove_file(*state, "log-0000000000000001");
  expect_refused(*state, 2, RL_EDATA, *state, "ends with record 0");
  rl_buf_free(&text);
}

static void a_segment_with_another_name_is_found(void **state)
{
  rl_buf text = {0};
  close_log(open_log(*state, &text));
  char *from = rl_path_join(*state, "log-0000000000000001"), *to = rl_path_join(*state, "log-0000000000000003");
  assert_int_equal(rename(from, to), 0);
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000003 at offset 0", "another name");
  scratch_write_bytes(to, "RLLEWAL1", 8);
  expect_refused(*state, 0, RL_EDATA, "log-0000000000000003 at offset 0", "the header is cut short");
  rl_free(from);
  rl_free(to);
  rl_buf_free(&text);
}

static void a_segment_in_the_making_is_removed(void **state)
{
  rl_buf text = {0};
  rl_free(scratch_file(*state, "log-0000000000000007.tmp", "RLLE"));
  rl_free(scratch_file(*state, "notes", "not ours"));
  close_log(open_log(*state, &text));
  assert_false(scratch_exists(*state, "log-0000000000000007.tmp"));
  assert_true(scratch_exists(*state, "notes"));
  rl_buf_free(&text);
}

static void verifying_goes_on_behind_damage(void **state)
{
  rl_buf text = {0};
  unsigned damages = 0;
  closed_log(*state);
  char *path = rl_path_join(*state, "log-0000000000000001");
  rl_buf b = {0};
  assert_int_equal(rl_file_read_all(path, &b), RL_OK);
  b.p[HEAD + FRAME + FRAME + 2] ^= 1;  /* record 2 */
  b.p[b.n - 1] ^= 1;                   /* record 5, the last of the segment */
  scratch_write_bytes(path, b.p, b.n);
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){NULL, count_damage, &damages}), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "log-0000000000000001 at offset 88"));
  assert_non_null(strstr(rl_error_message(), "the next whole one is 3"));
  assert_int_equal(damages, 3); /* and that 5 is missing before 6 */
  assert_int_equal(rl_wal_verify(*state, &(rl_wal_verifier){add_text, NULL, &text}), RL_EDATA);
  assert_string_equal(rl_buf_cstr(&text), BEFORE SECOND THIRD "6:1=one of two 7:1=two of two 8:9= 9:1=one of two "
                      "10:1=two of two ");
  rl_buf_free(&text);
  rl_buf_free(&b);
  rl_free(path);
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
      in_a_folder(payloads_are_gathered),
      in_a_folder(segments_roll_and_are_trimmed),
      in_a_folder(an_old_segment_is_left),
      in_a_folder(threads_append_and_are_told_in_order),
      in_a_folder(a_tail_lost_or_zeroed_anywhere_is_cut),
      in_a_folder(parts_of_a_group_that_reached_the_disk_alone_are_cut),
      in_a_folder(stale_bytes_and_garbage_are_no_records),
      in_a_folder(each_flipped_byte_is_found),
      in_a_folder(damage_before_the_last_group_is_no_torn_tail),
      in_a_folder(a_missing_segment_is_found),
      in_a_folder(a_segment_with_another_name_is_found),
      in_a_folder(a_segment_in_the_making_is_removed),
      in_a_folder(verifying_goes_on_behind_damage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
