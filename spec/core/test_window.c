/* Windows: which batches they hold, what is kept for them and for how long, which durations fit. */
#include <string.h>

#include "engine.h"
#include "run/streaming.h"
#include "streams.h"

/* An input whose RDD of a batch is the batch's time in seconds, except at `hole`, where it has none. */
typedef struct ticker {
  rl_input base;
  int64_t hole;
  bool none;    /* it never has one */
  bool quiet;   /* writes nothing down */
  rl_buf asked; /* the times it was asked for, each with a space behind it */
} ticker;

static rl_status ticker_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  ticker *t = (ticker *)self;
  if (!t->quiet) rl_buf_printf(&t->asked, "%lld ", (long long)time / 1000);
  if (time == t->hole || t->none) return RL_OK;
  info->records = 1;
  *out = integers(time / 1000, time / 1000, 1);
  return RL_OK;
}

static void ticker_destroy(rl_input *self)
{
  rl_buf_free(&((ticker *)self)->asked);
  rl_free(self);
}

static const rl_input_class ticker_class = {.name = "Ticker", .compute = ticker_compute, .destroy = ticker_destroy};

static const char *const manual[] = {"clock", "manual", "rille.log.level", "off", NULL};

static ticker *add_ticker(streams *f, int64_t hole, rl_dstream **out)
{
  ticker *t = RL_NEW(ticker);
  t->base.cls = &ticker_class;
  t->hole = hole;
  assert_int_equal(rl_streaming_add_input(f->s, &t->base, NULL, out), RL_OK);
  return t;
}

static ticker *begin(streams *f, int64_t hole, rl_dstream **out)
{
  streams_begin(f, 1000, manual);
  f->with_times = true;
  return add_ticker(f, hole, out);
}

static rl_dstream *window(rl_dstream *parent, int64_t window_s, int64_t slide_s)
{
  rl_dstream *d = NULL;
  const rl_op named = {.name = "window", .site = "job.lua:3"};
  assert_int_equal(rl_dstream_window(parent, &named, window_s * 1000, slide_s * 1000, &d), RL_OK);
  assert_int_equal(rl_dstream_slide(d), slide_s * 1000);
  return d;
}

static rl_dstream *applied(rl_dstream *parent, rl_op like)
{
  rl_op *op = rl_op_new(&like);
  rl_dstream *d = NULL;
  assert_int_equal(rl_dstream_apply(op, &parent, 1, &d), RL_OK);
  rl_op_unref(op);
  return d;
}

static rl_dstream *united(rl_dstream *parent) { return applied(parent, (rl_op){.kind = RL_OP_UNION, .name = "map"}); }

/* What a window over the ticker gives in so many seconds. */
static void expect(int64_t window_s, int64_t slide_s, int64_t hole, int64_t seconds, const char *records)
{
  streams f;
  rl_dstream *input;
  begin(&f, hole, &input);
  streams_output(&f, window(input, window_s, slide_s));
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, seconds * 1000), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), records);
  streams_end(&f);
}

static void test_which_batches(void **state)
{
  (void)state;
  expect(4, 2, 0, 6, "@2000 1 2 @4000 1 2 3 4 @6000 3 4 5 6 ");
  expect(3, 1, 0, 4, "@1000 1 @2000 1 2 @3000 1 2 3 @4000 2 3 4 ");
  expect(2, 2, 0, 4, "@2000 1 2 @4000 3 4 ");
  expect(2, 3, 0, 6, "@3000 2 3 @6000 5 6 ");
  expect(1, 1, 0, 2, "@1000 1 @2000 2 ");
}

static void test_missing_rdds_are_left_out(void **state)
{
  (void)state;
  expect(2, 1, 2000, 3, "@1000 1 @2000 1 @3000 3 ");
  expect(1, 1, 2000, 3, "@1000 1 @2000 @3000 3 "); /* an RDD without records: the batch runs */
}

static void test_windows_of_windows(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  begin(&f, 0, &input);
  streams_output(&f, window(window(input, 2, 1), 4, 2));
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 4000), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), "@2000 1 1 2 @4000 1 1 2 2 3 3 4 ");
  streams_end(&f);
}

static void test_one_partitioner_is_kept(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  begin(&f, 0, &input);
  rl_op by_key = {.kind = RL_OP_SHUFFLE, .name = "partitionBy", .part = RL_PART_HASH, .partitions = 3};
  rl_dstream *hashed = window(applied(input, by_key), 4, 2), *appended = window(input, 4, 2);
  streams_output(&f, hashed);
  streams_output(&f, appended);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 4000), RL_OK);
  rl_rdd *rdd;
  assert_int_equal(rl_dstream_get(hashed, 4000, &rdd), RL_OK);
  assert_int_equal(rl_rdd_partitioner(rdd), RL_PART_HASH);
  assert_int_equal(rl_rdd_partitions(rdd), 3);
  rl_rdd_unref(rdd);
  assert_int_equal(rl_dstream_get(appended, 4000, &rdd), RL_OK);
  assert_int_equal(rl_rdd_partitioner(rdd), RL_PART_NONE);
  assert_int_equal(rl_rdd_partitions(rdd), 4);
  assert_string_equal(rl_rdd_label(rdd), "window at job.lua:3");
  rl_rdd_unref(rdd);
  streams_end(&f);
}

/* The worked example of the reference, section 3.3. */
static void test_remember_durations(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  begin(&f, 0, &input);
  rl_dstream *map = united(input), *inner = window(map, 2, 1), *outer = window(inner, 4, 2);
  streams_output(&f, outer);
  assert_int_equal(rl_streaming_remember(f.s, 3000), RL_OK);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_dstream_remembers(outer), 3000);
  assert_int_equal(rl_dstream_remembers(inner), 7000);
  assert_int_equal(rl_dstream_remembers(map), 9000);
  assert_int_equal(rl_dstream_remembers(input), 9000);
  streams_end(&f);
}

static bool has_rdd(rl_dstream *d, int64_t time)
{
  rl_rdd *rdd;
  assert_int_equal(rl_dstream_get(d, time, &rdd), RL_OK);
  rl_rdd_unref(rdd);
  return rdd != NULL;
}

static void test_keeps_what_is_needed_and_no_more(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  ticker *t = begin(&f, 0, &input);
  rl_dstream *sliding = window(input, 4, 2);
  streams_output(&f, sliding);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 20000), RL_OK);
  /* The window remembers its slide of 2 s, its parent 4 s more. */
  assert_false(has_rdd(sliding, 16000)); /* never with a part of its batches */
  assert_true(has_rdd(sliding, 18000));  /* made once more */
  assert_true(has_rdd(sliding, 20000));
  assert_false(has_rdd(input, 14000));
  for (int64_t time = 15000; time <= 20000; time += 1000) assert_true(has_rdd(input, time));
  /* Read in its own batch, once. */
  assert_string_equal(rl_buf_cstr(&t->asked), "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 ");
  streams_end(&f);
}

/* State that has not begun, as its stream had no RDD yet, keeps nothing of other streams. */
static void test_state_that_has_not_begun_keeps_nothing(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input, *never, *remembering;
  begin(&f, 0, &input);
  add_ticker(&f, 0, &never)->none = true;
  rl_stateful spec = {
    .op = rl_op_new(&(rl_op){.kind = RL_OP_STATE, .name = "state", .uid = "state"}),
    .update = rl_op_new(&(rl_op){.kind = RL_OP_SHUFFLE, .name = "update", .part = RL_PART_HASH, .partitions = 1})};
  assert_int_equal(rl_dstream_stateful(&spec, never, &remembering), RL_OK);
  rl_op_unref(spec.op);
  rl_op_unref(spec.update);
  streams_output(&f, input);
  streams_output(&f, remembering);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 5000), RL_OK);
  for (int64_t time = 1000; time <= 4000; time += 1000) assert_false(has_rdd(input, time));
  assert_true(has_rdd(input, 5000));
  streams_end(&f);
}

static void test_inputs_are_told_in_their_own_batch(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  begin(&f, 0, &input);
  streams_output(&f, window(input, 3, 3));
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_int_equal(f.counted, 1);
  assert_int_equal(rl_streaming_advance(f.s, 2000), RL_OK);
  assert_int_equal(f.counted, 3);
  streams_end(&f);
}

static bool is_persisted(rl_dstream *d, int64_t time)
{
  rl_rdd *rdd;
  assert_int_equal(rl_dstream_get(d, time, &rdd), RL_OK);
  bool yes = rl_rdd_is_persisted(rdd);
  rl_rdd_unref(rdd);
  return yes;
}

static void test_persists_the_parent(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  begin(&f, 0, &input);
  rl_dstream *map = united(input), *over = window(map, 2, 1);
  rl_dstream_persist(over, RL_LEVEL_MEMORY_ONLY_SER);
  streams_output(&f, over);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 1000), RL_OK);
  assert_false(is_persisted(input, 1000));
  assert_true(is_persisted(map, 1000));
  assert_false(is_persisted(over, 1000));
  streams_end(&f);
}

/* An output that leaves its first batch open until the third is under way. On the system clock: the manual one moves
 * on when all is done. */
#define BATCH 20

typedef struct held {
  streams f;
  rl_dstream *stream;
  rl_output_run *first;
  bool kept, dropped, over;
} held;

static void hold(void *user, rl_rdd *rdd, int64_t time, rl_output_run *run)
{
  (void)rdd;
  held *h = user;
  if (time == rl_streaming_zero_time(h->f.s) + BATCH) h->first = run;
  else rl_output_done(run, RL_OK);
}

static void let_go(void *user, rl_rdd *rdd, int64_t time, rl_output_run *run)
{
  (void)rdd;
  held *h = user;
  int64_t first = rl_streaming_zero_time(h->f.s) + BATCH;
  if (time == first + INT64_C(2) * BATCH) {
    h->kept = has_rdd(h->stream, first);
    rl_output_done(h->first, RL_OK);
    h->dropped = !has_rdd(h->stream, first);
    h->over = true;
  }
  rl_output_done(run, RL_OK);
}

static bool is_over(void *user) { return ((held *)user)->over; }

static void test_a_pending_batch_keeps_its_data(void **state)
{
  (void)state;
  const char *const settings[] = {"rille.log.level", "off", "rille.streaming.concurrentJobs", "2", NULL};
  held h = {0};
  streams_begin(&h.f, BATCH, settings);
  add_ticker(&h.f, 0, &h.stream);
  assert_int_equal(rl_dstream_output(h.stream, "hold", NULL, NULL, hold, &h, NULL), RL_OK);
  assert_int_equal(rl_dstream_output(h.stream, "let go", NULL, NULL, let_go, &h, NULL), RL_OK);
  assert_int_equal(rl_streaming_start(h.f.s), RL_OK);
  streams_until(&h.f, is_over);
  assert_true(h.kept);
  assert_true(h.dropped);
  streams_end(&h.f);
}

static void refuse(rl_dstream *parent, int64_t window_ms, int64_t slide_ms, const char *message)
{
  rl_dstream *d;
  const rl_op named = {.name = "window", .site = "job.lua:3"};
  assert_int_equal(rl_dstream_window(parent, &named, window_ms, slide_ms, &d), RL_EINVAL);
  assert_string_equal(rl_error_message(), message);
}

static void test_durations_must_fit(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  begin(&f, 0, &input);
  refuse(input, 2000, 1500,
         "window: the slide of 1.5 s is no multiple of the stream's slide of 1 s; 1 s or 2 s would fit");
  refuse(input, 10100, 1000,
         "window: the window of 10.1 s is no multiple of the stream's slide of 1 s; 10 s or 11 s would fit");
  refuse(input, 500, 1000, "window: the window of 0.5 s is no multiple of the stream's slide of 1 s; 1 s would fit");
  refuse(input, 0, 1000, "window: the window of 0 s is no multiple of the stream's slide of 1 s; 1 s would fit");
  refuse(window(input, 4, 2), 4000, 3000,
         "window: the slide of 3 s is no multiple of the stream's slide of 2 s; 2 s or 4 s would fit");
  rl_dstream *both[2] = {window(input, 4, 2), input}, *d;
  rl_op *op = rl_op_new(&(rl_op){.kind = RL_OP_UNION, .name = "union"});
  assert_int_equal(rl_dstream_apply(op, both, 2, &d), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "different slides (2000 ms and 1000 ms)"));
  rl_op_unref(op);
  streams_output(&f, both[0]);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_dstream_window(input, &(rl_op){.name = "window"}, 1000, 1000, &d), RL_ESTATE);
  streams_end(&f);
}

static void test_a_window_without_end(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input, *all;
  begin(&f, 0, &input);
  int64_t longest = INT64_MAX - INT64_MAX % 1000;
  assert_int_equal(rl_dstream_window(input, &(rl_op){.name = "window"}, longest, 3000, &all), RL_OK);
  streams_output(&f, all);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_dstream_remembers(input), INT64_MAX);
  assert_int_equal(rl_streaming_advance(f.s, 6000), RL_OK);
  assert_string_equal(rl_buf_cstr(&f.records), "@3000 1 2 3 @6000 1 2 3 4 5 6 ");
  streams_end(&f);
}

static void count(void *user, rl_rdd *rdd, int64_t time, rl_output_run *out)
{
  (void)time;
  rl_job *job = NULL;
  rl_status st = run(user, rdd, RL_JOB_COUNT, 0, &job);
  rl_job_unref(job);
  rl_output_done(out, st);
}

static void test_memory_is_flat(void **state)
{
  (void)state;
  streams f;
  rl_dstream *input;
  begin(&f, 0, &input)->quiet = true;
  rl_op by_key = {.kind = RL_OP_SHUFFLE, .name = "partitionBy", .part = RL_PART_HASH, .partitions = 2};
  rl_dstream *over = window(window(applied(input, by_key), 6, 2), 8, 4);
  assert_int_equal(rl_dstream_output(over, "count", NULL, NULL, count, f.c, NULL), RL_OK);
  assert_int_equal(rl_streaming_start(f.s), RL_OK);
  assert_int_equal(rl_streaming_advance(f.s, 96000), RL_OK);
  int64_t before = rl_mem_used();
  assert_int_equal(rl_streaming_advance(f.s, INT64_C(4000) * 1000), RL_OK);
  /* Of 4000 batches one chunk each would be far more; a worker may still be letting go of its last one. */
  assert_in_range(rl_mem_used(), 1, before + 1024);
  streams_end(&f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_which_batches),
    cmocka_unit_test(test_missing_rdds_are_left_out),
    cmocka_unit_test(test_windows_of_windows),
    cmocka_unit_test(test_one_partitioner_is_kept),
    cmocka_unit_test(test_remember_durations),
    cmocka_unit_test(test_keeps_what_is_needed_and_no_more),
    cmocka_unit_test(test_state_that_has_not_begun_keeps_nothing),
    cmocka_unit_test(test_inputs_are_told_in_their_own_batch),
    cmocka_unit_test(test_persists_the_parent),
    cmocka_unit_test(test_a_pending_batch_keeps_its_data),
    cmocka_unit_test(test_durations_must_fit),
    cmocka_unit_test(test_a_window_without_end),
    cmocka_unit_test(test_memory_is_flat),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
