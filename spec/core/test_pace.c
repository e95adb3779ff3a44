/* The pace of a receiver: a rate that holds, for text and records; memory that holds sources back before it spills. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine.h"
#include "records.h"
#include "run/receiver_impl.h"
#include "streams.h"

/* A source that the test stores into; one with `hold` says whether it is held back. */
typedef struct probe {
  rl_receiver *r;
  atomic_bool held;
  atomic_int holds;
  int64_t begun_ns;
  pthread_t thread; /* of one that stores by itself: `wanted` records */
  int64_t wanted;
  atomic_int stored;
} probe;

static rl_status probe_start(void *self, rl_receiver *r)
{
  probe *p = self;
  p->r = r;
  return RL_OK;
}

static void probe_hold(void *self, bool on)
{
  probe *p = self;
  atomic_store(&p->held, on);
  if (on) atomic_fetch_add(&p->holds, 1);
}

static void *store_all(void *arg)
{
  probe *p = arg;
  rl_status st = RL_OK;
  for (int64_t i = 0; st == RL_OK && i < p->wanted; i++) {
    rl_value v = rl_int(i);
    st = rl_receiver_store(p->r, &v, 1);
  }
  return NULL;
}

static rl_status threaded_start(void *self, rl_receiver *r)
{
  probe *p = self;
  p->r = r;
  assert_int_equal(pthread_create(&p->thread, NULL, store_all, p), 0);
  return RL_OK;
}

static void threaded_stop(void *self) { pthread_join(((probe *)self)->thread, NULL); }

static const rl_receiver_class held_class = {
  .name = "Probe", .stream = "Probe stream", .start = probe_start, .hold = probe_hold};
static const rl_receiver_class threaded_class = {
  .name = "Probe", .stream = "Probe stream", .start = threaded_start, .stop = threaded_stop};

static void add(streams *f, const rl_receiver_class *cls, probe *p)
{
  rl_dstream *d = NULL;
  p->begun_ns = rl_mono_ns();
  assert_int_equal(rl_streaming_add_receiver(f->s, cls, p, NULL, &d), RL_OK);
  streams_output(f, d);
}

/* On the manual clock: batches come when the test says so, permits by the real one. */
static void begin(streams *f, const rl_receiver_class *cls, probe *p, const char *key, const char *value)
{
  const char *settings[] = {"clock", "manual", key, value, NULL};
  streams_begin(f, 1000, settings);
  add(f, cls, p);
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
}

static void batch(streams *f) { assert_int_equal(rl_streaming_advance(f->s, 1000), RL_OK); }

static void put_bytes(probe *p, const char *bytes, size_t n)
{
  char *room;
  size_t has;
  assert_int_equal(rl_receiver_reserve(p->r, n, &room, &has), RL_OK);
  memcpy(room, bytes, n);
  assert_int_equal(rl_receiver_commit(p->r, n), RL_OK);
}

static void put(probe *p, const char *text) { put_bytes(p, text, strlen(text)); }

/* "0\n1\n ...", with all line ends that there are. */
static void put_numbers(probe *p, int from, int to)
{
  static const char *const ends[] = {"\n", "\r\n", "\n", "\r"};
  rl_buf text = {0};
  for (int i = from; i < to; i++) rl_buf_printf(&text, "%d%s", i, ends[i % 4]);
  put_bytes(p, text.p, text.n);
  rl_buf_free(&text);
}

static void assert_numbers(streams *f, int64_t n)
{
  const char *line = rl_buf_cstr(&f->records);
  assert_int_equal(f->seen, n);
  for (int64_t i = 0; i < n; i++) {
    char *end;
    assert_int_equal(strtoll(line, &end, 10), i);
    line = end + 1;
  }
}

/* No more than the rate allows since the source began. */
static void assert_within(const streams *f, const probe *p, double rate)
{
  double seconds = (double)(rl_mono_ns() - p->begun_ns) / 1e9;
  assert_true((double)f->seen <= rate * seconds + 1);
}

static void text_is_let_through_line_by_line(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  begin(&f, &held_class, &p, "rille.streaming.receiver.maxRate", "2000");
  put_numbers(&p, 0, 6000); /* for three seconds, so that a busy machine has time for some batches, too */
  assert_true(atomic_load(&p.held));
  int batches = 0;
  for (; f.seen < 5999; batches++) { /* the last line's \r may be half of an end */
    batch(&f);
    assert_within(&f, &p, 2000);
  }
  assert_true(batches > 3);
  while (atomic_load(&p.held)) batch(&f);
  put(&p, "6000\n60");
  put(&p, "01\n6002"); /* the rest of the line was counted when it ended */
  rl_receiver_end_text(p.r);
  batch(&f);
  assert_numbers(&f, 6003);
  streams_end(&f);
}

static void a_stop_lets_all_through_that_was_read(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  begin(&f, &held_class, &p, "spark.streaming.receiver.maxRate", "1");
  put_numbers(&p, 0, 500);
  put(&p, "500");
  assert_true(atomic_load(&p.held));
  assert_int_equal(rl_streaming_stop(f.s, true, true), RL_OK);
  assert_numbers(&f, 501);
  streams_end(&f);
}

static void store_calls_wait_for_permits(void **state)
{
  (void)state;
  streams f;
  probe p = {.wanted = 300};
  begin(&f, &threaded_class, &p, "rille.streaming.receiver.maxRate", "400");
  while (f.seen < 300) {
    batch(&f);
    assert_within(&f, &p, 400);
  }
  assert_numbers(&f, 300);
  streams_end(&f);
}

static void a_waiting_store_call_is_let_go_by_a_stop(void **state)
{
  (void)state;
  streams f;
  probe p = {.wanted = 100000000};
  begin(&f, &threaded_class, &p, "rille.streaming.receiver.maxRate", "1");
  while (f.seen < 1) batch(&f);
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
}

static void whole_blocks_are_not_counted(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  begin(&f, &held_class, &p, "rille.streaming.receiver.maxRate", "1");
  for (int64_t i = 0; i < 50; i++) {
    rl_value v = rl_int(i);
    rl_chunks own = {0};
    rl_chunks_add(&own, records_one(&v, 1));
    assert_int_equal(rl_receiver_store_block(p.r, &own), RL_OK);
  }
  batch(&f);
  assert_numbers(&f, 50);
  assert_false(atomic_load(&p.held));
  streams_end(&f);
}

/* Blocks of 200 records, numbered through. */
static rl_status put_block(probe *p, int64_t block)
{
  rl_chunks own = {0};
  for (int64_t i = 0; i < 200; i++) {
    rl_value v = rl_int(200 * block + i);
    rl_chunks_add(&own, records_one(&v, 1));
  }
  return rl_receiver_store_block(p->r, &own);
}

static void *store_blocks(void *arg)
{
  probe *p = arg;
  for (int64_t i = 0; i < p->wanted && put_block(p, i) == RL_OK; i++) atomic_fetch_add(&p->stored, 1);
  return NULL;
}

static rl_status blocks_start(void *self, rl_receiver *r)
{
  probe *p = self;
  p->r = r;
  assert_int_equal(pthread_create(&p->thread, NULL, store_blocks, p), 0);
  return RL_OK;
}

static const rl_receiver_class blocks_class = {
  .name = "Probe", .stream = "Probe stream", .start = blocks_start, .stop = threaded_stop};

static void begin_with_backpressure(streams *f, const rl_receiver_class *cls, probe *p, const char *rate)
{
  const char *settings[] = {"clock", "manual", "rille.streaming.backpressure.enabled", "true",
                            "rille.streaming.receiver.maxRate", rate, NULL};
  streams_begin(f, 1000, settings);
  add(f, cls, p);
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
}

/* A block comes when the one before it is allowed for. */
static void assert_blocks_within(const streams *f, const probe *p, double rate)
{
  double seconds = (double)(rl_mono_ns() - p->begun_ns) / 1e9;
  assert_true((double)f->seen <= rate * seconds + 200);
}

static void with_backpressure_blocks_wait_until_those_before_are_allowed_for(void **state)
{
  (void)state;
  streams f;
  probe p = {.wanted = 5};
  begin_with_backpressure(&f, &blocks_class, &p, "1000");
  while (f.seen < 1000) {
    batch(&f);
    assert_blocks_within(&f, &p, 1000);
  }
  assert_numbers(&f, 1000);
  streams_end(&f);
}

static void with_backpressure_a_block_holds_its_source_back(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  begin_with_backpressure(&f, &held_class, &p, "1000");
  for (int64_t i = 0; i < 5; i++) {
    assert_int_equal(put_block(&p, i), RL_OK);
    assert_true(atomic_load(&p.held));
    while (atomic_load(&p.held)) batch(&f);
    assert_blocks_within(&f, &p, 1000);
  }
  batch(&f);
  assert_numbers(&f, 1000);
  assert_int_equal(p.holds, 5);
  streams_end(&f);
}

static void a_long_block_owes_ten_seconds_at_most(void **state)
{
  (void)state;
  streams f;
  probe p = {.wanted = 3};
  const char *all = getenv("RILLE_LONG");
  if (!all || strcmp(all, "1") != 0) skip();
  begin_with_backpressure(&f, &blocks_class, &p, "1");
  while (atomic_load(&p.stored) < 2) sched_yield(); /* all of it would be 200 s */
  assert_true(rl_mono_ns() - p.begun_ns > INT64_C(9900000000));
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
}

static void a_new_rate_is_taken_up_at_once(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  begin(&f, &held_class, &p, "rille.streaming.backpressure.initialRate", "1"); /* holds without backpressure, too */
  put_numbers(&p, 0, 1000);
  assert_true(atomic_load(&p.held));
  rl_pace_update(rl_receiver_pace(p.r), 1000000); /* at one a second it would be a quarter of an hour */
  while (atomic_load(&p.held)) batch(&f);
  rl_receiver_end_text(p.r);
  batch(&f);
  assert_numbers(&f, 1000);
  streams_end(&f);
}

/* Memory ----------------------------------------------------------------------------------------------------------- */

#define BLOCK_BYTES ((size_t)256 << 10)

static void store_filler(probe *p)
{
  char *filler = rl_alloc(BLOCK_BYTES);
  rl_value v = rl_str(filler, BLOCK_BYTES);
  rl_chunks own = {0};
  rl_chunks_add(&own, records_one(&v, 1));
  assert_int_equal(rl_receiver_store_block(p->r, &own), RL_OK);
  rl_free(filler);
}

static void count_records(void *user, rl_rdd *rdd, int64_t time, rl_output_run *out)
{
  (void)time;
  streams *f = user;
  rl_job *job = NULL;
  rl_status st = run(f->c, rdd, RL_JOB_COUNT, 0, &job);
  for (uint32_t i = 0; i < rl_job_partitions(job); i++) f->seen += rl_job_count(job, i);
  rl_job_unref(job);
  rl_output_done(out, st);
}

static void begin_small(streams *f, const rl_receiver_class *cls, probe *p, int n)
{
  static const char *settings[] = {"clock", "manual", "rille.memory.limit", "64m", "rille.task.maxMemory", "8m",
                                   "rille.streaming.receiver.maxBufferedBytes", "0", NULL};
  streams_begin(f, 1000, settings);
  for (int i = 0; i < n; i++) {
    rl_dstream *d = NULL;
    assert_int_equal(rl_streaming_add_receiver(f->s, cls, &p[i], NULL, &d), RL_OK);
    assert_int_equal(rl_dstream_output(d, "count", NULL, NULL, count_records, f, NULL), RL_OK);
  }
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
}

static uint64_t spilled(streams *f)
{
  rl_memory_stats stats;
  rl_memory_stats_read(rl_context_memory(f->c), &stats);
  return stats.spilled_total;
}

static size_t times(const char *text, const char *what)
{
  size_t n = 0;
  for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) n++;
  return n;
}

static void short_memory_holds_all_sources_back_before_it_spills(void **state)
{
  (void)state;
  streams f;
  probe p[3] = {0};
  rl_buf log = {0};
  rl_log_set_sink(streams_catch_line, &log);
  begin_small(&f, &held_class, p, 3);
  uint64_t stored = 0;
  for (int episode = 0; episode < 3; episode++) {
    for (; !atomic_load(&p[2].held); stored++) store_filler(&p[stored % 2]);
    assert_true(atomic_load(&p[0].held) && atomic_load(&p[1].held));
    assert_int_equal(spilled(&f), 0);
    batch(&f);
    assert_int_equal(f.seen, stored);
    for (int i = 0; i < 3; i++) assert_false(atomic_load(&p[i].held));
    batch(&f); /* with which the one before is forgotten */
  }
  assert_true(stored > 3 * 20);
  assert_int_equal(p[2].holds, 3);
  assert_int_equal(times(rl_buf_cstr(&log), "sources are held back until batches have caught up"), 1);
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
  rl_log_set_sink(NULL, NULL);
  rl_buf_free(&log);
}

static void *store_fillers(void *arg)
{
  probe *p = arg;
  for (int64_t i = 0; i < p->wanted; i++) {
    store_filler(p);
    atomic_fetch_add(&p->stored, 1);
  }
  return NULL;
}

static rl_status filler_start(void *self, rl_receiver *r)
{
  probe *p = self;
  p->r = r;
  assert_int_equal(pthread_create(&p->thread, NULL, store_fillers, p), 0);
  return RL_OK;
}

static const rl_receiver_class filler_class = {
  .name = "Probe", .stream = "Probe stream", .start = filler_start, .stop = threaded_stop};

static void note_warning(void *user, rl_log_level level, const char *line)
{
  if (level == RL_LOG_WARN && strstr(line, "sources are held back")) atomic_store((atomic_bool *)user, true);
}

static void short_memory_lets_store_calls_wait(void **state)
{
  (void)state;
  streams f;
  probe p = {.wanted = 500}; /* several times what there is */
  atomic_bool held = false;
  rl_log_set_sink(note_warning, &held);
  begin_small(&f, &filler_class, &p, 1);
  while (!atomic_load(&held)) sched_yield();
  assert_true((size_t)atomic_load(&p.stored) * BLOCK_BYTES < ((size_t)24 << 20)); /* which is what may be kept */
  assert_int_equal(spilled(&f), 0);
  while (f.seen < 500) batch(&f);
  streams_end(&f);
  rl_log_set_sink(NULL, NULL);
}

static void a_source_is_let_go_however_little_memory_there_is(void **state)
{
  (void)state;
  static const char *settings[] = {"clock", "manual", "rille.memory.fraction", "1e-9", "rille.log.level", "off", NULL};
  streams f;
  probe p = {0};
  streams_begin(&f, 1000, settings);
  add(&f, &held_class, &p);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  batch(&f); /* the first look at memory, with nothing received */
  assert_false(atomic_load(&p.held));
  for (int i = 0; i < 3; i++) {
    put_numbers(&p, 4 * i, 4 * i + 4);
    rl_receiver_end_text(p.r);
    batch(&f);
    assert_false(atomic_load(&p.held));
  }
  assert_numbers(&f, 12);
  streams_end(&f);
  rl_log_set_level(RL_LOG_WARN);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(text_is_let_through_line_by_line),
    cmocka_unit_test(a_stop_lets_all_through_that_was_read),
    cmocka_unit_test(store_calls_wait_for_permits),
    cmocka_unit_test(a_waiting_store_call_is_let_go_by_a_stop),
    cmocka_unit_test(whole_blocks_are_not_counted),
    cmocka_unit_test(with_backpressure_blocks_wait_until_those_before_are_allowed_for),
    cmocka_unit_test(with_backpressure_a_block_holds_its_source_back),
    cmocka_unit_test(a_long_block_owes_ten_seconds_at_most),
    cmocka_unit_test(a_new_rate_is_taken_up_at_once),
    cmocka_unit_test(short_memory_holds_all_sources_back_before_it_spills),
    cmocka_unit_test(short_memory_lets_store_calls_wait),
    cmocka_unit_test(a_source_is_let_go_however_little_memory_there_is),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
