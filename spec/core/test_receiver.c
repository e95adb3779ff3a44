/* Receivers in a streaming context: blocks become batches, life and events. Cutting itself: test_gather.c. */
#include <pthread.h>

#include "engine.h"
#include "records.h"
#include "run/receiver.h"
#include "streams.h"

/* A source that the test stores into, or that stores on a thread of its own until it is told to stop. */
typedef struct probe {
  rl_receiver *r;
  bool fails, threaded;
  int started, stopped, destroyed;
  pthread_t thread;
} probe;

static void *store_until_stopped(void *arg)
{
  probe *p = arg;
  rl_status st = RL_OK;
  for (int64_t i = 0; st == RL_OK && !rl_receiver_is_stopping(p->r); i++) {
    rl_value v = rl_int(i);
    st = rl_receiver_store(p->r, &v, 1);
  }
  return NULL;
}

static rl_status probe_start(void *self, rl_receiver *r)
{
  probe *p = self;
  p->r = r;
  if (p->fails) return rl_fail(RL_EIO, "told to fail");
  p->started++;
  rl_receiver_started(r);
  if (p->threaded) assert_int_equal(pthread_create(&p->thread, NULL, store_until_stopped, p), 0);
  return RL_OK;
}

static void probe_stop(void *self)
{
  probe *p = self;
  p->stopped++;
  rl_value last = rl_int(-1);
  if (p->threaded) {
    pthread_join(p->thread, NULL);
  } else {
    assert_int_equal(rl_receiver_store(p->r, &last, 1), RL_OK); /* still counts */
  }
}

static void probe_destroy(void *self) { ((probe *)self)->destroyed++; }

static const rl_receiver_class probe_class = {"ProbeReceiver", "Probe stream", probe_start,
                                              probe_stop,      NULL, NULL,     probe_destroy};

static void add(streams *f, probe *p)
{
  rl_dstream *d = NULL;
  assert_int_equal(rl_streaming_add_receiver(f->s, &probe_class, p, NULL, &d), RL_OK);
  streams_output(f, d);
}

static void begin(streams *f, const char *key, const char *value)
{
  const char *settings[] = {"clock", "manual", key, value, NULL};
  streams_begin(f, 1000, settings);
  f->with_times = true;
}

static void store(probe *p, int64_t i)
{
  rl_value v = rl_int(i);
  assert_int_equal(rl_receiver_store(p->r, &v, 1), RL_OK);
}

static void store_block(probe *p, int64_t i)
{
  rl_value v = rl_int(i);
  rl_chunks own = {0};
  rl_chunks_add(&own, records_one(&v, 1));
  assert_int_equal(rl_receiver_store_block(p->r, &own), RL_OK);
}

static void what_is_stored_belongs_to_the_next_batch(void **state)
{
  (void)state;
  streams f;
  probe p = {0}, q = {0};
  begin(&f, NULL, NULL);
  add(&f, &p);
  add(&f, &q);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_receiver_stream_id(q.r), 1);
  assert_string_equal(rl_receiver_name(q.r), "ProbeReceiver-1");
  store(&p, 1);
  store_block(&p, 2);
  store(&p, 3);
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), "@1000 1 2 3 @1000 ");
  assert_int_equal(f.partitions_max, 3);
  assert_int_equal(f.counted, 3);
  store(&q, 4);
  rl_buf_clear(&f.records);
  assert_int_equal(rl_streaming_advance(f.s, 2000), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), "@2000 @2000 4 @3000 @3000 ");
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
  assert_int_equal(p.stopped, 1);
  assert_int_equal(p.destroyed, 1);
}

static void a_graceful_stop_works_off_the_rest(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  begin(&f, NULL, NULL);
  add(&f, &p);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  store(&p, 1);
  char *room;
  size_t n;
  assert_int_equal(rl_receiver_reserve(p.r, 10, &room, &n), RL_OK);
  assert_true(n >= 10);
  memcpy(room, "line\nopen", 9);
  assert_int_equal(rl_receiver_commit(p.r, 9), RL_OK);
  assert_int_equal(rl_streaming_stop(f.s, true, true), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), "@1000 line open 1 -1 ");
  assert_string_equal(rl_buf_cstr(&f.receiver), "started stopped ");
  rl_value v = rl_int(1);
  assert_int_equal(rl_receiver_store(p.r, &v, 1), RL_ECANCELLED);
  streams_end(&f);
}

static void a_failed_start_stops_the_others(void **state)
{
  (void)state;
  streams f;
  probe p = {0}, q = {.fails = true}, r = {0};
  begin(&f, NULL, NULL);
  add(&f, &p);
  add(&f, &q);
  add(&f, &r);
  assert_int_equal(rl_streaming_start(f.s), RL_EIO);
  assert_string_equal(rl_error_message(), "told to fail");
  assert_int_equal(rl_streaming_state(f.s), RL_STOPPED);
  assert_int_equal(p.started, 1);
  assert_int_equal(p.stopped, 1);
  assert_int_equal(q.stopped + r.started + r.stopped, 0);
  streams_end(&f);
  assert_int_equal(p.destroyed + q.destroyed + r.destroyed, 3);
}

static void a_source_is_owned_also_when_it_comes_too_late(void **state)
{
  (void)state;
  streams f;
  probe p = {0}, late = {0};
  begin(&f, NULL, NULL);
  add(&f, &p);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  rl_dstream *d = NULL;
  assert_int_equal(rl_streaming_add_receiver(f.s, &probe_class, &late, NULL, &d), RL_ESTATE);
  assert_int_equal(late.destroyed, 1);
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
}

static void errors_are_logged_stamped_and_passed_on(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  rl_buf log = {0};
  rl_log_set_sink(streams_catch_line, &log);
  begin(&f, NULL, NULL);
  add(&f, &p);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  rl_receiver_error(p.r, "cannot fetch: reason", "reason");
  rl_receiver_error(p.r, "cannot fetch", "because");
  rl_receiver_stopped(p.r, "restarting");
  rl_receiver_started(p.r);
  rl_receiver_started(p.r); /* is so already */
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.receiver),
                      "started error(cannot fetch: reason) error(cannot fetch) stopped started stopped ");
  assert_non_null(strstr(rl_buf_cstr(&log), "probe stream [0]: cannot fetch: reason\n"));
  assert_non_null(strstr(rl_buf_cstr(&log), "probe stream [0]: cannot fetch: because\n"));
  streams_end(&f);
  rl_log_set_sink(NULL, NULL);
  rl_buf_free(&log);
}

static void a_long_line_is_reported(void **state)
{
  (void)state;
  streams f;
  probe p = {0};
  rl_log_set_level(RL_LOG_OFF);
  begin(&f, "rille.streaming.receiver.maxRecordBytes", "4");
  add(&f, &p);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  char *room;
  size_t n;
  for (int connection = 0; connection < 2; connection++) {
    for (int i = 0; i < 3; i++) {
      assert_int_equal(rl_receiver_reserve(p.r, 10, &room, &n), RL_OK);
      memcpy(room, "12345678\n", 9);
      assert_int_equal(rl_receiver_commit(p.r, 9), RL_OK);
    }
    rl_receiver_end_text(p.r);
  }
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), "@1000 1234 5678 1234 5678 1234 5678 1234 5678 1234 5678 1234 5678 ");
  const char *message = "error(a line is longer than 4 bytes and was cut; "
                        "rille.streaming.receiver.maxRecordBytes is the limit) ";
  char *expected = rl_format("started %s%s", message, message); /* once a connection */
  assert_string_equal(rl_buf_cstr(&f.receiver), expected);
  rl_free(expected);
  streams_end(&f);
  rl_log_set_level(RL_LOG_WARN);
}

/* A source that never pauses, on the real clock: nothing is lost. */
static void with_a_source_that_never_pauses(const char *buffered, bool (*done)(void *))
{
  const char *settings[] = {"rille.streaming.blockInterval", "5ms", "rille.streaming.receiver.maxBufferedBytes",
                            buffered, NULL};
  streams f;
  probe p = {.threaded = true};
  streams_begin(&f, 50, settings);
  add(&f, &p);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  streams_until(&f, done);
  assert_int_equal(rl_streaming_stop(f.s, true, true), RL_OK);
  assert_int_equal(f.counted, f.seen);
  const char *line = rl_buf_cstr(&f.records);
  for (uint64_t i = 0; i < f.seen; i++) {
    char *end;
    long long got = strtoll(line, &end, 10);
    assert_int_equal(got, i);
    line = end + 1;
  }
  streams_end(&f);
}

static bool some_batch_has_several_blocks(void *user) { return ((streams *)user)->partitions_max > 1; }

static void blocks_are_cut_by_time(void **state)
{
  (void)state;
  with_a_source_that_never_pauses("2m", some_batch_has_several_blocks);
}

static bool was_let_go_again(void *user) { return ((streams *)user)->seen > 1000; }

static void a_source_held_back_is_let_go_when_batches_are_done(void **state)
{
  (void)state;
  with_a_source_that_never_pauses("10k", was_let_go_again);
}

/* A thread that its source could not end goes on using the receiver. */
static void abandoning_stop(void *self) { rl_receiver_abandon(((probe *)self)->r); }

static const rl_receiver_class abandoning_class = {"ProbeReceiver", "Probe stream", probe_start,
                                                   abandoning_stop, NULL, NULL,     probe_destroy};

static void a_receiver_left_behind_stays_usable(void **state)
{
  (void)state;
  static probe p; /* reachable, as it would be from its thread */
  streams f;
  rl_log_set_level(RL_LOG_OFF);
  begin(&f, NULL, NULL);
  rl_dstream *d = NULL;
  assert_int_equal(rl_streaming_add_receiver(f.s, &abandoning_class, &p, NULL, &d), RL_OK);
  streams_output(&f, d);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_stop(f.s, true, false), RL_OK);
  streams_end(&f);
  assert_int_equal(p.destroyed, 0);
  rl_value v = rl_int(1);
  assert_int_equal(rl_receiver_store(p.r, &v, 1), RL_ECANCELLED);
  rl_receiver_error(p.r, "too late", "");
  rl_receiver_stopped(p.r, NULL);
  assert_true(rl_receiver_is_stopping(p.r));
  rl_log_set_level(RL_LOG_WARN);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_stored_belongs_to_the_next_batch),
    cmocka_unit_test(a_graceful_stop_works_off_the_rest),
    cmocka_unit_test(a_failed_start_stops_the_others),
    cmocka_unit_test(a_source_is_owned_also_when_it_comes_too_late),
    cmocka_unit_test(errors_are_logged_stamped_and_passed_on),
    cmocka_unit_test(a_long_line_is_reported),
    cmocka_unit_test(blocks_are_cut_by_time),
    cmocka_unit_test(a_source_held_back_is_let_go_when_batches_are_done),
    cmocka_unit_test(a_receiver_left_behind_stays_usable),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
