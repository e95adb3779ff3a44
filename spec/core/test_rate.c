/* Backpressure: the estimator and the limiter, by numbers worked out by hand from sections 12.2 and 17 of the
 * reference; which batches a controller learns from. */
#include <math.h>

#include "engine.h"
#include "run/rate.h"
#include "streams.h"

#define SECOND INT64_C(1000000000)

static rl_pid pid_with(int64_t batch_ms, const char *const *settings)
{
  rl_conf *conf = rl_conf_new();
  for (; settings && *settings; settings += 2) assert_int_equal(rl_conf_set(conf, settings[0], settings[1]), RL_OK);
  rl_pid p;
  rl_pid_init(&p, conf, batch_ms);
  rl_conf_delete(conf);
  return p;
}

static void learns(rl_pid *p, int64_t time, int64_t n, double processing, double scheduling, double expected)
{
  double rate = -1;
  assert_true(rl_pid_learn(p, time, n, processing, scheduling, &rate));
  if (fabs(rate - expected) > 1e-9 * expected) fail_msg("the rate is %.6f instead of %.6f", rate, expected);
}

static void learns_nothing(rl_pid *p, int64_t time, int64_t n, double processing, double scheduling)
{
  double rate = -1;
  assert_false(rl_pid_learn(p, time, n, processing, scheduling, &rate));
  assert_true(rate == -1);
}

static void the_rate_follows_what_was_worked_off(void **state)
{
  (void)state;
  rl_pid p = pid_with(1000, NULL);
  learns_nothing(&p, 1000, 1000, 500, 0); /* the first: 2000 a second to begin with */
  /* 2000 in 1.25 s: 1600/s. error 2000 - 1600 = 400; waiting 100 ms * 1600 / 1000 = 160; 2000 - 400 - 0.2 * 160 */
  learns(&p, 2000, 2000, 1250, 100, 1568);
  /* 1568 in 0.98 s: 1600/s. error -32; nothing waits: 1568 + 32 */
  learns(&p, 3000, 1568, 980, 0, 1600);
  /* 1600 in 2 s: 800/s. error 800; 2000 ms * 800 / 1000 = 1600; 1600 - 800 - 320 */
  learns(&p, 5000, 1600, 2000, 2000, 480);
}

static void each_weight_counts(void **state)
{
  (void)state;
  static const char *settings[] = {"rille.streaming.backpressure.pid.proportional", "0.5",
                                   "rille.streaming.backpressure.pid.integral", "0.1",
                                   "rille.streaming.backpressure.pid.derived", "0.25", NULL};
  rl_pid p = pid_with(500, settings);
  learns_nothing(&p, 1000, 1000, 500, 0); /* 2000/s, error 0 */
  /* 1600/s: error 400; 100 * 1600 / 500 = 320; (400 - 0) / 2 s = 200; 2000 - 200 - 32 - 50 */
  learns(&p, 3000, 2000, 1250, 100, 1718);
  /* 1718/s: error 0; 0; (0 - 400) / 4 s = -100; 1718 + 25 */
  learns(&p, 7000, 1718, 1000, 0, 1743);
}

static void the_rate_does_not_fall_below_the_least(void **state)
{
  (void)state;
  rl_pid p = pid_with(1000, NULL);
  learns_nothing(&p, 1000, 10, 1000, 0);
  learns(&p, 2000, 10, 1000, 0, 100);
  learns(&p, 3000, 10, 1000, 60000, 100); /* 10/s: error 90; 600 wait: 100 - 90 - 120 is below nothing */
  static const char *settings[] = {"spark.streaming.backpressure.pid.minRate", "7.5", NULL};
  p = pid_with(1000, settings);
  learns_nothing(&p, 1000, 1, 1000, 0);
  learns(&p, 2000, 1, 1000, 0, 7.5);
}

static void what_teaches_nothing_leaves_no_trace(void **state)
{
  (void)state;
  rl_pid p = pid_with(1000, NULL);
  learns_nothing(&p, 500, 0, 10, 0);
  learns_nothing(&p, 1000, 1000, 500, 0);
  learns_nothing(&p, 1500, 0, 1250, 100);  /* no records */
  learns_nothing(&p, 1600, 2000, 0, 100);  /* no time */
  learns_nothing(&p, 1000, 2000, 1250, 0); /* no later than the one before */
  learns_nothing(&p, 900, 2000, 1250, 0);
  learns(&p, 2000, 2000, 1250, 100, 1568);
}

static void parameters_out_of_range_are_refused(void **state)
{
  (void)state;
  static const char *const bad[][2] = {{"rille.streaming.backpressure.pid.proportional", "-1"},
                                       {"rille.streaming.backpressure.pid.integral", "x"},
                                       {"rille.streaming.backpressure.pid.derived", "-0.5"},
                                       {"rille.streaming.backpressure.pid.minRate", "0"},
                                       {"rille.streaming.receiver.maxRate", "1.5"},
                                       {"rille.memory.fraction", "1.5"}};
  rl_conf *conf = rl_conf_new();
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(rl_conf_set(conf, bad[i][0], bad[i][1]), RL_EINVAL);
    assert_non_null(strstr(rl_error_message(), bad[i][0]));
  }
  assert_int_equal(rl_conf_set(conf, "rille.streaming.receiver.maxRate", "-1"), RL_OK);
  assert_int_equal(rl_conf_set(conf, "rille.streaming.receiver.maxRate", "5000000"), RL_OK);
  assert_int_equal(rl_conf_set(conf, "rille.streaming.backpressure.pid.proportional", "12"), RL_OK);
  rl_conf_delete(conf);
}

/* The limiter ------------------------------------------------------------------------------------------------------ */

static void permits_come_with_time_and_are_kept_for_a_second(void **state)
{
  (void)state;
  rl_limiter l;
  int64_t t = 5 * SECOND;
  rl_limiter_init(&l, 100, RL_NO_RATE, t);
  assert_int_equal(rl_limiter_permits(&l, t), 0);
  assert_int_equal(rl_limiter_wait_ns(&l, t), SECOND / 100);
  assert_int_equal(rl_limiter_permits(&l, t += SECOND / 2), 50);
  assert_int_equal(rl_limiter_wait_ns(&l, t), 0);
  assert_int_equal(rl_limiter_permits(&l, t += 5 * SECOND), 100);
  rl_limiter_take(&l, 30, t);
  assert_int_equal(rl_limiter_permits(&l, t), 70);
  rl_limiter_take(&l, 100, t); /* 30 more than there are */
  assert_int_equal(rl_limiter_permits(&l, t), 0);
  assert_int_equal(rl_limiter_wait_ns(&l, t), 31 * (SECOND / 100));
  assert_int_equal(rl_limiter_permits(&l, t + 31 * (SECOND / 100)), 1);
}

static int64_t begins_with(int64_t max, int64_t initial)
{
  rl_limiter l;
  rl_limiter_init(&l, max, initial, 0);
  return l.rate;
}

static void it_begins_with_the_lesser_rate(void **state)
{
  (void)state;
  assert_int_equal(begins_with(100, 50), 50);
  assert_int_equal(begins_with(100, 500), 100);
  assert_int_equal(begins_with(100, RL_NO_RATE), 100);
  assert_int_equal(begins_with(RL_NO_RATE, 50), 50);
  assert_int_equal(begins_with(0, 0), RL_NO_RATE);
  assert_int_equal(begins_with(-5, -5), RL_NO_RATE);
}

static void a_new_rate_holds_from_now_on_and_not_above_the_most(void **state)
{
  (void)state;
  rl_limiter l;
  rl_limiter_init(&l, 100, RL_NO_RATE, 0);
  rl_limiter_update(&l, 40, SECOND); /* 100 have come, of which 40 stay */
  assert_int_equal(rl_limiter_permits(&l, SECOND), 40);
  rl_limiter_take(&l, 40, SECOND);
  assert_int_equal(rl_limiter_permits(&l, SECOND + SECOND / 2), 20);
  rl_limiter_update(&l, 500, SECOND + SECOND / 2);
  assert_int_equal(l.rate, 100);
  assert_int_equal(rl_limiter_permits(&l, 2 * SECOND), 70);
  rl_limiter_update(&l, 0, 2 * SECOND);
  rl_limiter_update(&l, -1, 2 * SECOND);
  assert_int_equal(l.rate, 100);
}

static void without_a_rate_there_is_no_limit_until_one_comes(void **state)
{
  (void)state;
  rl_limiter l;
  rl_limiter_init(&l, RL_NO_RATE, RL_NO_RATE, 0);
  rl_limiter_take(&l, 1000000, SECOND);
  assert_int_equal(rl_limiter_permits(&l, SECOND), INT64_MAX);
  assert_int_equal(rl_limiter_wait_ns(&l, SECOND), 0);
  rl_limiter_update(&l, 10, 9 * SECOND);
  assert_int_equal(rl_limiter_permits(&l, 9 * SECOND), 0);
  assert_int_equal(rl_limiter_permits(&l, 10 * SECOND), 10);
}

/* The controller --------------------------------------------------------------------------------------------------- */

/* A direct source that says how many records each of its batches has. */
typedef struct direct {
  rl_input base;
  int64_t records; /* of the next batch */
  int64_t told;    /* the last rate it was told */
} direct;

static rl_status direct_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  (void)time;
  info->records = ((direct *)self)->records;
  *out = integers(1, 10, 1);
  return RL_OK;
}

static void direct_destroy(rl_input *self)
{
  rl_rate_delete(self->rate);
  rl_free(self);
}

static const rl_input_class direct_class = {
  .name = "Direct stream", .compute = direct_compute, .destroy = direct_destroy};

static void tell(void *user, int64_t rate) { ((direct *)user)->told = rate; }

static direct *begin(streams *f, const char *const *settings)
{
  streams_begin(f, 1000, settings);
  direct *in = RL_NEW(direct);
  in->base.cls = &direct_class;
  assert_int_equal(rl_rate_for(f->s, &in->base.rate), RL_OK);
  if (in->base.rate) rl_rate_tell(in->base.rate, tell, in);
  rl_dstream *d;
  assert_int_equal(rl_streaming_add_input(f->s, &in->base, NULL, &d), RL_OK);
  streams_output(f, d);
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
  return in;
}

static void batch(streams *f, direct *in, int64_t records)
{
  in->records = records;
  assert_int_equal(rl_streaming_advance(f->s, 1000), RL_OK);
}

static void an_input_learns_its_rate_from_its_batches(void **state)
{
  (void)state;
  static const char *settings[] = {"clock", "manual", "rille.streaming.backpressure.enabled", "true",
                                   "rille.streaming.backpressure.initialRate", "55", NULL};
  streams f;
  direct *in = begin(&f, settings);
  assert_int_equal(rl_input_rate(&in->base), 55);
  batch(&f, in, 100000);
  assert_int_equal(rl_input_rate(&in->base), 55);
  batch(&f, in, 0);
  assert_int_equal(rl_input_rate(&in->base), 55);
  assert_int_equal(in->told, 0);
  batch(&f, in, 1000000000); /* in what cannot be more than minutes */
  int64_t rate = rl_input_rate(&in->base);
  assert_true(rate > 1000000);
  assert_int_equal(in->told, rate);
  batch(&f, in, 0);
  assert_int_equal(rl_input_rate(&in->base), rate);
  batch(&f, in, 1);
  assert_true(rl_input_rate(&in->base) < rate);
  streams_end(&f);
}

static void without_backpressure_nothing_limits_an_input(void **state)
{
  (void)state;
  static const char *settings[] = {"clock", "manual", "rille.streaming.backpressure.initialRate", "55", NULL};
  streams f;
  direct *in = begin(&f, settings);
  for (int i = 0; i < 3; i++) batch(&f, in, 1000);
  assert_null(in->base.rate);
  assert_int_equal(rl_input_rate(&in->base), RL_NO_RATE);
  streams_end(&f);
}

static void an_unknown_estimator_is_refused(void **state)
{
  (void)state;
  static const char *settings[] = {"rille.streaming.backpressure.enabled", "true",
                                   "rille.streaming.backpressure.rateEstimator", "bbr", NULL};
  streams f;
  streams_begin(&f, 1000, settings);
  rl_rate *r;
  assert_int_equal(rl_rate_for(f.s, &r), RL_EINVAL);
  assert_string_equal(rl_error_message(), "rille.streaming.backpressure.rateEstimator is 'bbr'; there is only pid");
  streams_end(&f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_rate_follows_what_was_worked_off),
    cmocka_unit_test(each_weight_counts),
    cmocka_unit_test(the_rate_does_not_fall_below_the_least),
    cmocka_unit_test(what_teaches_nothing_leaves_no_trace),
    cmocka_unit_test(parameters_out_of_range_are_refused),
    cmocka_unit_test(permits_come_with_time_and_are_kept_for_a_second),
    cmocka_unit_test(it_begins_with_the_lesser_rate),
    cmocka_unit_test(a_new_rate_holds_from_now_on_and_not_above_the_most),
    cmocka_unit_test(without_a_rate_there_is_no_limit_until_one_comes),
    cmocka_unit_test(an_input_learns_its_rate_from_its_batches),
    cmocka_unit_test(without_backpressure_nothing_limits_an_input),
    cmocka_unit_test(an_unknown_estimator_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
