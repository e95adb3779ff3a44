/* Writing to topics of a mock cluster, read back by ranges. */
#include <stdlib.h>

#include "engine.h"
#include "kafka_mock.h"
#include "sink/kafka.h"
#include "source/kafka.h"

/* Records as an RDD of one partition. */
static rl_rdd *records(const rl_value (*v)[3], const uint32_t *arity, size_t n)
{
  rl_chunks list = {0};
  rl_builder *b = rl_builder_new();
  for (size_t i = 0; i < n; i++) assert_int_equal(rl_builder_add(b, v[i], arity[i]), RL_OK);
  rl_chunks_add(&list, rl_builder_finish(b));
  rl_builder_delete(b);
  return rl_rdd_from_chunks(&list, 1);
}

/* Sends what rdd has (given up); `more`: settings besides the brokers. */
static rl_status send_all(rl_context *c, mock *m, const char *topic, const rl_kafka_setting *more, rl_rdd *rdd)
{
  rl_kafka_setting settings[4] = {{"bootstrap.servers", m->brokers}};
  size_t n = 1;
  for (; more && more->name; more++) settings[n++] = *more;
  rl_fn *fn = NULL;
  rl_job *job = NULL;
  const rl_kafka_sink spec = {.settings = settings, .nsettings = n, .topic = topic};
  assert_int_equal(rl_sink_kafka_fn(&spec, rl_context_conf(c), &fn), RL_OK);
  rl_rdd *writer = apply((rl_op){.kind = RL_OP_NARROW, .name = "send", .fn = fn}, rdd);
  rl_status st = run(c, writer, RL_JOB_RUN, 0, &job);
  rl_job_unref(job);
  rl_rdd_unref(writer);
  return st;
}

static void expect_topic(rl_context *c, mock *m, const char *topic, int64_t n, const char *expected)
{
  const rl_kafka_setting settings[] = {{"bootstrap.servers", m->brokers}};
  rl_kafka_range range = {(char *)topic, 0, 0, n};
  rl_rdd *r = NULL;
  assert_int_equal(rl_rdd_kafka(rl_context_conf(c), settings, 1, RL_KAFKA_PAIRS, &range, 1, &r), RL_OK);
  char *text = collect(c, r);
  assert_string_equal(text, expected);
  rl_free(text);
  rl_rdd_unref(r);
}

static rl_context *context(const char *key, const char *value)
{
  const char *settings[] = {"rille.log.level", "off", "rille.task.maxFailures", "1", key, value, NULL};
  return new_context(settings);
}

static void test_what_is_sent(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  rl_context *c = context(NULL, NULL);
  const rl_value v[][3] = {{rl_str("k", 1), rl_str("v", 1)}, {rl_null(), rl_str("", 0)}, {rl_int(7), rl_float(2.5)},
                           {rl_str("", 0), rl_nil()},        {rl_str("alone", 5)},      {rl_bool(true), rl_null()}};
  const uint32_t arity[] = {2, 2, 2, 2, 1, 2};
  assert_int_equal(send_all(c, &m, "t", NULL, records(v, arity, 6)), RL_OK);
  expect_topic(c, &m, "t", 6, "(k,v)\n(null,)\n(7,2.5)\n(,nil)\n(null,alone)\n(true,nil)\n");
  rl_context_unref(c);
  mock_end(&m);
}

static void test_topics_of_records(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "a", 1);
  mock_topic(&m, "b", 1);
  rl_context *c = context(NULL, NULL);
  const rl_value v[][3] = {{rl_str("a", 1), rl_str("k", 1), rl_str("1", 1)},
                           {rl_str("b", 1), rl_str("k", 1), rl_str("2", 1)},
                           {rl_str("a", 1), rl_str("3", 1)}};
  const uint32_t arity[] = {3, 3, 2};
  assert_int_equal(send_all(c, &m, NULL, NULL, records(v, arity, 3)), RL_OK);
  expect_topic(c, &m, "a", 2, "(k,1)\n(null,3)\n");
  expect_topic(c, &m, "b", 1, "(k,2)\n");
  rl_context_unref(c);
  mock_end(&m);
}

static void test_more_than_the_queue_takes(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  rl_context *c = context(NULL, NULL);
  static const rl_kafka_setting small[] = {{"queue.buffering.max.messages", "10"}, {"linger.ms", "0"}, {NULL, NULL}};
  assert_int_equal(send_all(c, &m, "t", small, integers(1, 300, 3)), RL_OK);
  const rl_kafka_setting settings[] = {{"bootstrap.servers", m.brokers}};
  rl_kafka_range range = {"t", 0, 0, 300};
  rl_rdd *r = NULL;
  rl_job *job = NULL;
  assert_int_equal(rl_rdd_kafka(rl_context_conf(c), settings, 1, RL_KAFKA_VALUES, &range, 1, &r), RL_OK);
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_OK);
  assert_int_equal(rl_job_count(job, 0), 300);
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
  mock_end(&m);
}

static void expect_refused(rl_value key, rl_value value, const char *part)
{
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  rl_context *c = context(NULL, NULL);
  const rl_value v[][3] = {{key, value, rl_int(1)}};
  const uint32_t arity[] = {value.type == RL_T_NIL ? 3 : 2};
  assert_int_equal(send_all(c, &m, "t", NULL, records(v, arity, 1)), RL_EINVAL);
  if (!strstr(rl_error_message(), part)) fail_msg("'%s' is not in: %s", part, rl_error_message());
  rl_context_unref(c);
  mock_end(&m);
}

static void test_what_cannot_be_sent(void **state)
{
  (void)state;
  const char table[] = {8, 0, 0};
  expect_refused(rl_str("k", 1), (rl_value){.type = RL_T_TABLE, .s = {table, sizeof table}}, "rille.json.encode");
  expect_refused(rl_str("k", 1), rl_nil(), "a record of 3 values");
}

static void test_broker_refuses(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  rl_context *c = context(NULL, NULL);
  rd_kafka_mock_push_request_errors(m.cluster, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
  assert_int_equal(send_all(c, &m, "t", NULL, integers(1, 3, 1)), RL_ELIMIT);
  assert_non_null(strstr(rl_error_message(), "a record for topic 't' was not taken by Kafka at "));
  rl_context_unref(c);
  mock_end(&m);
}

static void test_no_broker(void **state)
{
  (void)state;
  mock m = {.brokers = "127.0.0.1:1"};
  rl_context *c = context("rille.task.maxSeconds", "5");
  assert_int_equal(send_all(c, &m, "t", NULL, integers(1, 3, 1)), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "Kafka at 127.0.0.1:1 has not taken 3 records in time"));
  rl_context_unref(c);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_what_is_sent),         cmocka_unit_test(test_topics_of_records),
    cmocka_unit_test(test_more_than_the_queue_takes), cmocka_unit_test(test_what_cannot_be_sent),
    cmocka_unit_test(test_broker_refuses),       cmocka_unit_test(test_no_broker),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
