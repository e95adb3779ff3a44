/* The parts of Kafka that need no broker: limits of a batch, ranges on disk, settings. */
#include "engine.h"
#include "run/kafka_conf.h"
#include "source/kafka_rate.h"
#include "source/kafka_ranges.h"

#include <string.h>

/* Rates (section 18.3 of the reference). --------------------------------------------------------------------------- */

static void expect_limits(rl_kafka_rate rate, const int64_t *lags, const int64_t *expected, size_t n)
{
  int64_t limits[8];
  rl_kafka_limits(&rate, lags, n, limits);
  for (size_t i = 0; i < n; i++) assert_int_equal(limits[i], expected[i]);
}

static void test_no_limit(void **state)
{
  (void)state;
  expect_limits((rl_kafka_rate){.least = 1, .seconds = 1}, (int64_t[]){5, 0}, (int64_t[]){INT64_MAX, INT64_MAX}, 2);
}

static void test_most_by_seconds(void **state)
{
  (void)state;
  expect_limits((rl_kafka_rate){.most = 10, .least = 1, .seconds = 2.5}, (int64_t[]){1000, 3}, (int64_t[]){25, 25}, 2);
}

static void test_least_is_per_batch(void **state)
{
  (void)state;
  expect_limits((rl_kafka_rate){.most = 10, .least = 7, .seconds = 0.1}, (int64_t[]){1000}, (int64_t[]){7}, 1);
}

static void test_estimate_by_lag(void **state)
{
  (void)state;
  expect_limits((rl_kafka_rate){.estimate = 100, .least = 1, .seconds = 1}, (int64_t[]){300, 100, 0},
                (int64_t[]){75, 25, 1}, 3);
}

static void test_estimate_and_most(void **state)
{
  (void)state;
  expect_limits((rl_kafka_rate){.estimate = 100, .most = 30, .least = 1, .seconds = 1}, (int64_t[]){300, 100},
                (int64_t[]){30, 25}, 2);
}

static void test_estimate_with_nothing_there(void **state)
{
  (void)state;
  expect_limits((rl_kafka_rate){.estimate = 100, .least = 1, .seconds = 1}, (int64_t[]){0, 0},
                (int64_t[]){INT64_MAX, INT64_MAX}, 2);
}

static void test_limits_beyond_numbers(void **state)
{
  (void)state;
  expect_limits((rl_kafka_rate){.most = 1e18, .least = 1, .seconds = 1e6}, (int64_t[]){1}, (int64_t[]){INT64_MAX}, 1);
}

/* Ranges ----------------------------------------------------------------------------------------------------------- */

static rl_kafka_ranges some_ranges(void)
{
  rl_kafka_ranges l = {0};
  rl_kafka_ranges_add(&l, "orders", 0, 5, 9);
  rl_kafka_ranges_add(&l, "orders", 1, INT64_C(1) << 40, INT64_C(1) << 40);
  rl_kafka_ranges_add(&l, "a.b-c_d", 2147483647, 0, INT64_MAX - 1);
  return l;
}

static void test_ranges_come_back(void **state)
{
  (void)state;
  rl_kafka_ranges l = some_ranges(), back = {0};
  rl_buf bytes = {0};
  rl_kafka_ranges_encode(&l, &bytes);
  assert_int_equal(rl_kafka_ranges_decode(bytes.p, bytes.n, &back), RL_OK);
  assert_int_equal(back.n, l.n);
  for (size_t i = 0; i < l.n; i++) {
    assert_string_equal(back.v[i].topic, l.v[i].topic);
    assert_int_equal(back.v[i].partition, l.v[i].partition);
    assert_int_equal(back.v[i].from, l.v[i].from);
    assert_int_equal(back.v[i].until, l.v[i].until);
  }
  rl_kafka_ranges_clear(&l);
  rl_kafka_ranges_clear(&back);
  rl_buf_free(&bytes);
}

/* Every proper beginning, and every byte changed: no more is promised than that nothing breaks. */
static void test_malformed_ranges(void **state)
{
  (void)state;
  rl_kafka_ranges l = some_ranges(), back = {0};
  rl_buf bytes = {0};
  rl_kafka_ranges_encode(&l, &bytes);
  for (size_t n = 0; n < bytes.n; n++) {
    assert_int_equal(rl_kafka_ranges_decode(bytes.p, n, &back), RL_EDATA);
    assert_int_equal(back.n, 0);
  }
  rl_buf_putc(&bytes, 0);
  assert_int_equal(rl_kafka_ranges_decode(bytes.p, bytes.n, &back), RL_EDATA);
  for (size_t i = 0; i + 1 < bytes.n; i++) {
    for (int bit = 0; bit < 8; bit++) {
      bytes.p[i] ^= (char)(1 << bit);
      rl_kafka_ranges_decode(bytes.p, bytes.n - 1, &back);
      rl_kafka_ranges_clear(&back);
      bytes.p[i] ^= (char)(1 << bit);
    }
  }
  rl_kafka_ranges_clear(&l);
  rl_buf_free(&bytes);
}

static void test_ranges_described(void **state)
{
  (void)state;
  rl_kafka_ranges l = {0};
  assert_null(rl_kafka_ranges_describe(&l));
  rl_kafka_ranges_add(&l, "a", 0, 5, 9);
  rl_kafka_ranges_add(&l, "a", 1, 7, 7);
  rl_kafka_ranges_add(&l, "b", 0, 0, 1);
  char *text = rl_kafka_ranges_describe(&l);
  assert_string_equal(text, "topic: a\tpartition: 0\toffsets: 5 to 9\ntopic: b\tpartition: 0\toffsets: 0 to 1");
  assert_int_equal(rl_kafka_ranges_sum(&l), 5);
  rl_free(text);
  rl_kafka_ranges_clear(&l);
}

/* Settings --------------------------------------------------------------------------------------------------------- */

static const rl_kafka_setting brokers = {"bootstrap.servers", "localhost:1"};

static void expect_refused(const char *name, const char *value, const char *part)
{
  const rl_kafka_setting settings[] = {brokers, {name, value}};
  rl_kafka_conf *c = NULL;
  assert_int_equal(rl_kafka_conf_new(settings, 2, RL_KAFKA_ASK, &c), RL_EINVAL);
  if (!strstr(rl_error_message(), part)) fail_msg("'%s' is not in: %s", part, rl_error_message());
  assert_null(strchr(rl_error_message(), '\n'));
}

static void test_settings_refused(void **state)
{
  (void)state;
  expect_refused("fetch.min.bites", "1", "unknown Kafka setting 'fetch.min.bites'");
  expect_refused("fetch.min.bytes", "many", "fetch.min.bytes");
  expect_refused("auto.offset.reset", "first", "it must be earliest, latest or none");
  expect_refused("enable.auto.commit", "true", "offsets are committed once their records are safe");
  expect_refused("transactional.id", "x", "it is for sinks with transactional = true");
  expect_refused("enable.partition.eof", "false", "where a partition ends");
  expect_refused("delivery.report.only.error", "true", "all that it sent is acknowledged");
}

static void test_brokers_needed(void **state)
{
  (void)state;
  rl_kafka_conf *c = NULL;
  assert_int_equal(rl_kafka_conf_new(NULL, 0, RL_KAFKA_WRITE, &c), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "brokers ="));
}

static void test_secrets_in_no_message(void **state)
{
  (void)state;
  const rl_kafka_setting settings[] = {brokers, {"ssl.key.pem", "hush-hush"}, {"security.protocol", "ssl"}};
  rl_kafka_conf *c = NULL;
  rl_status st = rl_kafka_conf_new(settings, 3, RL_KAFKA_READ, &c);
  if (st == RL_OK) {
    rl_kafka_health *h = rl_kafka_health_new("test");
    struct rd_kafka_s *rk = NULL;
    assert_int_equal(rl_kafka_client_new(c, RL_KAFKA_READ, h, NULL, &rk), RL_EINVAL);
    rl_kafka_health_unref(h);
    rl_kafka_conf_unref(c);
  }
  assert_null(strstr(rl_error_message(), "hush-hush"));
}

static void test_settings_kept(void **state)
{
  (void)state;
  const rl_kafka_setting settings[] = {brokers, {"group.id", "g"}, {"auto.offset.reset", "smallest"}};
  rl_kafka_conf *c = NULL;
  assert_int_equal(rl_kafka_conf_new(settings, 3, RL_KAFKA_READ, &c), RL_OK);
  assert_string_equal(rl_kafka_conf_get(c, "group.id"), "g");
  assert_null(rl_kafka_conf_get(c, "client.id"));
  assert_string_equal(rl_kafka_conf_brokers(c), "localhost:1");
  assert_int_equal(rl_kafka_conf_reset(c), RL_KAFKA_RESET_EARLIEST);
  rl_kafka_conf_unref(c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_no_limit),
    cmocka_unit_test(test_most_by_seconds),
    cmocka_unit_test(test_least_is_per_batch),
    cmocka_unit_test(test_estimate_by_lag),
    cmocka_unit_test(test_estimate_and_most),
    cmocka_unit_test(test_estimate_with_nothing_there),
    cmocka_unit_test(test_limits_beyond_numbers),
    cmocka_unit_test(test_ranges_come_back),
    cmocka_unit_test(test_malformed_ranges),
    cmocka_unit_test(test_ranges_described),
    cmocka_unit_test(test_settings_refused),
    cmocka_unit_test(test_brokers_needed),
    cmocka_unit_test(test_secrets_in_no_message),
    cmocka_unit_test(test_settings_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
