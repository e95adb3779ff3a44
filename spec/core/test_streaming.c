/* The streaming context on the manual clock: which batches run, in which order, what is kept, what a failure does. */
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "run/receiver.h"
#include "run/streaming.h"

/* An input that gives the batch's time as its only record, none at times in `holes`. */
typedef struct ticker {
  rl_input base;
  int64_t hole;
  int64_t forgotten;
  int *destroyed;
} ticker;

static rl_status ticker_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  ticker *t = (ticker *)self;
  if (time == t->hole) return RL_OK;
  info->records = 1;
  *out = integers(time, time, 1);
  return RL_OK;
}

static void ticker_forget(rl_input *self, int64_t until) { ((ticker *)self)->forgotten = until; }

static void ticker_destroy(rl_input *self)
{
  ++*((ticker *)self)->destroyed;
  rl_free(self);
}

static const rl_input_class ticker_class = {
  .name = "Ticker", .compute = ticker_compute, .forget = ticker_forget, .destroy = ticker_destroy};

typedef struct fixture {
  rl_context *c;
  rl_streaming *s;
  ticker *input;
  rl_dstream *stream;
  int destroyed;
} fixture;

static fixture begin(int64_t batch_ms, const char *more_key, const char *more_value)
{
  const char *settings[] = {"clock", "manual", "rille.log.level", "off", more_key, more_value, NULL};
  fixture f = {.c = new_context(settings)};
  assert_int_equal(rl_streaming_new(f.c, batch_ms, &f.s), RL_OK);
  return f;
}

static void add_ticker(fixture *f, int64_t hole)
{
  f->input = RL_NEW(ticker);
  f->input->base.cls = &ticker_class;
  f->input->hole = hole;
  f->input->destroyed = &f->destroyed;
  assert_int_equal(rl_streaming_add_input(f->s, &f->input->base, NULL, &f->stream), RL_OK);
}

static void end(fixture *f)
{
  rl_streaming_unref(f->s);
  rl_context_unref(f->c);
}

/* Writes down what it sees: "<name>@<time>=<count> ". */
typedef struct recorder {
  fixture *f;
  const char *name;
  rl_buf *log;
  int64_t fail_at;
} recorder;

static void record(void *user, rl_rdd *rdd, int64_t time, rl_output_run *out)
{
  recorder *r = user;
  rl_job *job = NULL;
  rl_status st = run(r->f->c, rdd, RL_JOB_COUNT, 0, &job);
  uint64_t n = 0;
  for (uint32_t i = 0; !st && i < rl_job_partitions(job); i++) n += rl_job_count(job, i);
  rl_job_unref(job);
  rl_buf_printf(r->log, "%s@%lld=%llu ", r->name, (long long)time, (unsigned long long)n);
  if (!st && time == r->fail_at) st = rl_fail(RL_EUSER, "told to fail");
  rl_output_done(out, st);
}

static void test_batches_in_order(void **state)
{
  (void)state;
  fixture f = begin(500, NULL, NULL);
  add_ticker(&f, 1500);
  rl_buf log = {0};
  recorder a = {&f, "a", &log, 0}, b = {&f, "b", &log, 0};
  assert_int_equal(rl_dstream_output(f.stream, "out", "job.lua:1", NULL, record, &a, NULL), RL_OK);
  assert_int_equal(rl_dstream_output(f.stream, "out", "job.lua:2", NULL, record, &b, NULL), RL_OK);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_zero_time(f.s), 0);
  assert_int_equal(rl_streaming_advance(f.s, 499), RL_OK);
  assert_int_equal(log.n, 0);
  assert_int_equal(rl_streaming_advance(f.s, 1), RL_OK);
  assert_string_equal(rl_buf_cstr(&log), "a@500=1 b@500=1 ");
  assert_int_equal(rl_streaming_advance(f.s, 1500), RL_OK);
  assert_string_equal(rl_buf_cstr(&log), "a@500=1 b@500=1 a@1000=1 b@1000=1 a@2000=1 b@2000=1 "); /* none at 1500 */
  assert_int_equal(f.input->forgotten, 1500); /* 2000 - the slide */
  assert_int_equal(rl_streaming_stop(f.s, true, true), RL_OK);
  assert_int_equal(rl_streaming_state(f.s), RL_STOPPED);
  assert_int_equal(rl_streaming_start(f.s), RL_ESTATE);
  end(&f);
  assert_int_equal(f.destroyed, 1);
  rl_buf_free(&log);
}

static void test_failure_is_reported_and_batches_go_on(void **state)
{
  (void)state;
  fixture f = begin(1000, NULL, NULL);
  add_ticker(&f, 0);
  rl_buf log = {0};
  recorder a = {&f, "a", &log, 2000}, b = {&f, "b", &log, 0};
  rl_dstream_output(f.stream, "first", "job.lua:1", NULL, record, &a, NULL);
  rl_dstream_output(f.stream, "second", "job.lua:2", NULL, record, &b, NULL);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 3000), RL_OK);
  assert_string_equal(rl_buf_cstr(&log), "a@1000=1 b@1000=1 a@2000=1 b@2000=1 a@3000=1 b@3000=1 ");
  bool stopped = true;
  assert_int_equal(rl_streaming_await(f.s, 0, false, &stopped), RL_EUSER);
  assert_false(stopped);
  assert_string_equal(rl_error_message(), "batch 2000 ms: first at job.lua:1: told to fail");
  assert_int_equal(rl_streaming_await(f.s, 0, false, &stopped), RL_OK); /* once */
  end(&f);
  rl_buf_free(&log);
}

static rl_status union_of(void *user, rl_rdd *const *rdds, uint32_t n, int64_t time, rl_rdd **out)
{
  (void)time;
  ++*(int *)user;
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_UNION, .name = "union"});
  rl_status st = rl_rdd_apply(op, rdds, n, 0, out);
  rl_op_unref(op);
  return st;
}

static void test_missing_rdd_fails_the_batch(void **state)
{
  (void)state;
  fixture f = begin(1000, NULL, NULL);
  add_ticker(&f, 0);
  rl_dstream *always = f.stream, *both = NULL;
  add_ticker(&f, 2000);
  rl_dstream *parents[2] = {always, f.stream};
  int calls = 0;
  assert_int_equal(rl_dstream_transform(&(rl_op){.name = "transform"}, parents, 2, union_of, &calls, NULL, &both),
                   RL_OK);
  rl_buf log = {0};
  recorder a = {&f, "a", &log, 0}, b = {&f, "b", &log, 0};
  rl_dstream_output(both, "out", NULL, NULL, record, &a, NULL);
  rl_dstream_output(both, "out", NULL, NULL, record, &b, NULL);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 3000), RL_OK);
  assert_string_equal(rl_buf_cstr(&log), "a@1000=2 b@1000=2 a@3000=2 b@3000=2 ");
  assert_int_equal(calls, 2); /* once a batch, though two outputs ask */
  bool stopped;
  assert_int_equal(rl_streaming_await(f.s, 0, false, &stopped), RL_ESTATE);
  assert_non_null(strstr(rl_error_message(), "has no RDD at 2000 ms"));
  end(&f);
  rl_buf_free(&log);
}

static void test_no_output(void **state)
{
  (void)state;
  fixture f = begin(1000, NULL, NULL);
  add_ticker(&f, 0);
  assert_int_equal(rl_streaming_start(f.s), RL_EINVAL);
  assert_int_equal(rl_streaming_state(f.s), RL_STOPPED);
  assert_int_equal(rl_streaming_start(f.s), RL_ESTATE);
  end(&f);
}

static void test_rules_of_life(void **state)
{
  (void)state;
  fixture f = begin(1000, NULL, NULL);
  add_ticker(&f, 0);
  rl_buf log = {0};
  recorder a = {&f, "a", &log, 0};
  rl_dstream_output(f.stream, "out", NULL, NULL, record, &a, NULL);
  assert_int_equal(rl_streaming_remember(f.s, 5000), RL_OK);
  assert_int_equal(rl_streaming_remember(f.s, 5000), RL_EINVAL);
  rl_rdd *rdd;
  assert_int_equal(rl_dstream_get(f.stream, 1000, &rdd), RL_ESTATE);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_dstream_output(f.stream, "out", NULL, NULL, record, &a, NULL), RL_ESTATE);
  assert_non_null(strstr(rl_error_message(), "after the context was started"));
  rl_streaming *other;
  assert_int_equal(rl_streaming_new(f.c, 1000, &other), RL_OK);
  fixture g = {.c = f.c, .s = other};
  add_ticker(&g, 0);
  rl_dstream_output(g.stream, "out", NULL, NULL, record, &a, NULL);
  assert_int_equal(rl_streaming_start(other), RL_ESTATE); /* another is active */
  assert_ptr_equal(rl_streaming_active(), f.s);
  assert_int_equal(rl_streaming_stop(f.s, false, false), RL_OK);
  assert_null(rl_streaming_active());
  assert_int_equal(rl_streaming_start(other), RL_OK); /* on the same context */
  rl_streaming_unref(other);
  rl_streaming_unref(f.s);
  rl_context_unref(f.c);
  rl_buf_free(&log);
}

/* A receiver driven by the test itself. */
static rl_receiver *handed;
static rl_status take_receiver(void *self, rl_receiver *r)
{
  (void)self;
  handed = r;
  rl_receiver_started(r);
  return RL_OK;
}
static void nothing(void *self) { (void)self; }
static const rl_receiver_class by_hand = {"HandReceiver", "Hand stream", take_receiver, nothing, NULL, NULL, nothing};

static void test_receiver_blocks_become_partitions(void **state)
{
  (void)state;
  fixture f = begin(1000, NULL, NULL);
  assert_int_equal(rl_streaming_add_receiver(f.s, &by_hand, NULL, NULL, &f.stream), RL_OK);
  rl_buf log = {0};
  recorder a = {&f, "a", &log, 0};
  rl_dstream_output(f.stream, "out", NULL, NULL, record, &a, NULL);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  for (int64_t i = 0; i < 5; i++)
    assert_int_equal(rl_receiver_store(handed, &(rl_value){.type = RL_T_INT, .i = i}, 1), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 2000), RL_OK);
  static const char text[] = "one\ntwo\r\nthr";
  char *p;
  size_t room;
  assert_int_equal(rl_receiver_reserve(handed, sizeof text, &p, &room), RL_OK);
  memcpy(p, text, sizeof text - 1);
  assert_int_equal(rl_receiver_commit(handed, sizeof text - 1), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  rl_receiver_end_text(handed);
  assert_int_equal(rl_streaming_stop(f.s, true, true), RL_OK); /* gracefully: the last line is worked off */
  assert_string_equal(rl_buf_cstr(&log), "a@1000=5 a@2000=0 a@3000=2 a@4000=1 ");
  end(&f);
  rl_buf_free(&log);
}

static void count_events(void *user, const rl_event *e)
{
  rl_buf *log = user;
  static const char *names[] = {"S", "b", "B", "C", "o", "O", "r", "e", "s"};
  rl_buf_puts(log, names[e->kind]);
  if (e->kind == RL_EVENT_BATCH_COMPLETED) {
    rl_buf_printf(log, "%lld:%lld", (long long)e->batch.time,
                  (long long)(e->batch.ninputs ? e->batch.inputs[0].records : -1));
    assert_true(e->batch.total_us >= e->batch.processing_us && e->batch.since_tick_us >= e->batch.total_us);
  }
}

static void test_events(void **state)
{
  (void)state;
  fixture f = begin(1000, NULL, NULL);
  add_ticker(&f, 0);
  rl_buf log = {0}, events = {0};
  recorder a = {&f, "a", &log, 0};
  rl_dstream_output(f.stream, "out", NULL, NULL, record, &a, NULL);
  rl_streaming_add_listener(f.s, count_events, &events, NULL);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 2000), RL_OK);
  assert_string_equal(rl_buf_cstr(&events), "SbBoOC1000:1bBoOC2000:1");
  end(&f);
  rl_buf_free(&log);
  rl_buf_free(&events);
}

static void test_many_batches(void **state)
{
  (void)state;
  fixture f = begin(100, NULL, NULL);
  add_ticker(&f, 0);
  rl_buf log = {0};
  recorder a = {&f, "a", &log, 0};
  rl_dstream_output(f.stream, "out", NULL, NULL, record, &a, NULL);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  int64_t before = rl_mem_used();
  assert_int_equal(rl_streaming_advance(f.s, 100 * 2000), RL_OK);
  assert_int_equal(rl_mem_used(), before);
  end(&f);
  rl_buf_free(&log);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_batches_in_order),
    cmocka_unit_test(test_failure_is_reported_and_batches_go_on),
    cmocka_unit_test(test_missing_rdd_fails_the_batch),
    cmocka_unit_test(test_rules_of_life), cmocka_unit_test(test_no_output),
    cmocka_unit_test(test_receiver_blocks_become_partitions),
    cmocka_unit_test(test_events),
    cmocka_unit_test(test_many_batches),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
