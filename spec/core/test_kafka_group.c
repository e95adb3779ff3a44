/* A member of a consumer group, with a mock cluster. */
#include <pthread.h>
#include <stdlib.h>

#include "engine.h"
#include "kafka_mock.h"
#include "records.h"
#include "source/kafka_group.h"
#include "streams.h"

static void begin(streams *f)
{
  const char *settings[] = {"rille.streaming.receiverRestartDelay", "10ms", NULL};
  rl_log_set_level(RL_LOG_OFF);
  streams_begin(f, 50, settings);
}

static void end(streams *f)
{
  assert_int_equal(rl_streaming_stop(f->s, true, true), RL_OK);
  streams_end(f);
  rl_log_set_level(RL_LOG_WARN);
}

static void start(streams *f, const char *brokers, const char *reset)
{
  const rl_kafka_setting settings[] = {{"bootstrap.servers", brokers},
                                       {"group.id", "g"},
                                       {"auto.offset.reset", reset},
                                       {"enable.partition.eof", "true"}}; /* what they give is no fault */
  const char *topics[] = {"a", "b"};
  const rl_kafka_group spec = {
    .settings = settings, .nsettings = 4, .records = RL_KAFKA_VALUES, .topics = topics, .ntopics = 2};
  rl_dstream *d = NULL;
  assert_int_equal(rl_source_kafka_group(f->s, &spec, "job.lua:1", &d), RL_OK);
  streams_output(f, d);
  assert_int_equal(rl_streaming_start(f->s), RL_OK);
}

static void mock_two_topics(mock *m)
{
  mock_begin(m, 1);
  mock_topic(m, "a", 2);
  mock_topic(m, "b", 1);
}

static bool has(const streams *f, const char *line) { return strstr(rl_buf_cstr((rl_buf *)&f->records), line) != NULL; }

static int64_t committed(mock *m, const char *topic, int partition)
{
  char reason[200];
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", m->brokers, reason, sizeof reason), RD_KAFKA_CONF_OK);
  assert_int_equal(rd_kafka_conf_set(conf, "group.id", "g", reason, sizeof reason), RD_KAFKA_CONF_OK);
  rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
  assert_non_null(rk);
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, topic, partition);
  assert_int_equal(rd_kafka_committed(rk, list, MOCK_WAIT_MS), 0);
  int64_t offset = list->elems[0].offset;
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_destroy(rk);
  return offset;
}

static void records_come_and_are_committed(void **state)
{
  (void)state;
  mock m;
  streams f;
  mock_two_topics(&m);
  mock_fill(&m, "a", 0, 100, 50);
  mock_fill(&m, "a", 1, 200, 50);
  mock_fill(&m, "b", 0, 300, 50);
  begin(&f);
  start(&f, m.brokers, "earliest");
  streams_until_records(&f, 150);
  assert_true(has(&f, "100\n") && has(&f, "149\n") && has(&f, "200\n") && has(&f, "249\n") && has(&f, "349\n"));
  end(&f);

  assert_int_equal(committed(&m, "a", 0), 50);
  assert_int_equal(committed(&m, "a", 1), 50);
  assert_int_equal(committed(&m, "b", 0), 50);
  mock_end(&m);
}

/* What the receiver's thread said. */
static struct said {
  pthread_mutex_t lock;
  rl_buf lines;
} said = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hear(void *user, rl_log_level level, const char *line)
{
  (void)user;
  (void)level;
  pthread_mutex_lock(&said.lock);
  rl_buf_printf(&said.lines, "%s\n", line);
  pthread_mutex_unlock(&said.lock);
}

static unsigned times_said(const char *text)
{
  unsigned n = 0;
  pthread_mutex_lock(&said.lock);
  for (const char *p = strstr(rl_buf_cstr(&said.lines), text); p; p = strstr(p + 1, text)) n++;
  pthread_mutex_unlock(&said.lock);
  return n;
}

static bool is_lost(void *user) { return (void)user, times_said("can be reached: ") > 0; }
static bool is_back(void *user) { return (void)user, times_said("answer again") > 0; }

static void brokers_that_cannot_be_reached_are_told_of_once(void **state)
{
  (void)state;
  mock m;
  streams f;
  mock_two_topics(&m);
  mock_fill(&m, "a", 0, 100, 5);
  begin(&f);
  rl_log_set_level(RL_LOG_WARN);
  rl_log_set_sink(hear, NULL);
  start(&f, m.brokers, "earliest");
  streams_until_records(&f, 5);
  rd_kafka_mock_broker_set_down(m.cluster, 1);
  streams_until(&f, is_lost);
  rd_kafka_mock_broker_set_up(m.cluster, 1);
  streams_until(&f, is_back); /* there is nothing new to read */
  assert_int_equal(times_said("no broker of Kafka at "), 1);
  assert_int_equal(times_said("afka group stream [0] at job.lua:1: "), 2);
  rl_log_set_sink(NULL, NULL);
  end(&f);
  mock_end(&m);
  rl_buf_free(&said.lines);
}

static unsigned suspect(rl_kafka_health *h, bool refused, bool answered)
{
  rl_kafka_health_suspect(h, refused, "broker 2: wrong password");
  if (rl_kafka_health_is_suspect(h)) rl_kafka_health_looked(h, answered);
  assert_false(rl_kafka_health_is_suspect(h));
  return times_said("group stream: ");
}

/* librdkafka complains each time that it tries a broker anew. */
static void one_broker_of_several_that_refuses_is_told_of_once(void **state)
{
  (void)state;
  rl_kafka_health *h = rl_kafka_health_new("group stream");
  rl_log_set_level(RL_LOG_WARN);
  rl_log_set_sink(hear, NULL);
  for (int i = 0; i < 3; i++) assert_int_equal(suspect(h, false, true), 0); /* one that is down: none */
  for (int i = 0; i < 3; i++) assert_int_equal(suspect(h, true, true), 1);
  assert_int_equal(times_said("refuses this client, others do not"), 1);
  assert_false(rl_kafka_health_is_down(h));
  for (int i = 0; i < 3; i++) assert_int_equal(suspect(h, true, false), 2); /* then all of them */
  assert_int_equal(times_said("no broker of Kafka at ? can be reached: broker 2: wrong password"), 1);
  assert_true(rl_kafka_health_is_cut_off(h));
  rl_kafka_health_up(h);
  for (int i = 0; i < 3; i++) assert_int_equal(suspect(h, true, true), 3);
  assert_int_equal(times_said("answer again"), 1);
  rl_log_set_sink(NULL, NULL);
  rl_kafka_health_unref(h);
  rl_buf_free(&said.lines);
}

static void a_stop_needs_no_broker(void **state)
{
  (void)state;
  streams f;
  begin(&f);
  start(&f, "127.0.0.1:1", "earliest");
  end(&f);
  assert_int_equal(f.seen, 0);
}

static rl_status refused(streams *f, const char *name, const char *value, const char *topic)
{
  const rl_kafka_setting settings[] = {{"bootstrap.servers", "b"}, {"group.id", "g"}, {name, value}};
  const rl_kafka_group spec = {.settings = settings, .nsettings = 3, .topics = &topic, .ntopics = 1};
  rl_dstream *d = NULL;
  return rl_source_kafka_group(f->s, &spec, NULL, &d);
}

static void wrong_settings_are_refused(void **state)
{
  (void)state;
  streams f;
  begin(&f);
  assert_int_equal(refused(&f, "enable.auto.commit", "true", "a"), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "enable.auto.commit can not be set to 'true'"));
  assert_int_equal(refused(&f, "auto.offset.reset", "none", "a"), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "auto.offset.reset is none"));
  assert_int_equal(refused(&f, "client.id", "x", "^("), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "'^(' is no regular expression"));
  assert_int_equal(refused(&f, "session.timeout.ms", "900000", "a"), RL_EINVAL); /* more than max.poll.interval.ms */
  assert_non_null(strstr(rl_error_message(), "max.poll.interval.ms"));
  streams_end(&f);
  rl_log_set_level(RL_LOG_WARN);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(records_come_and_are_committed),
    cmocka_unit_test(brokers_that_cannot_be_reached_are_told_of_once),
    cmocka_unit_test(one_broker_of_several_that_refuses_is_told_of_once),
    cmocka_unit_test(a_stop_needs_no_broker),
    cmocka_unit_test(wrong_settings_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
