/* Producers by their settings, and what is sent by them to a mock cluster. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine.h"
#include "kafka_mock.h"
#include "sink/kafka_line.h"
#include "sink/kafka_sends.h"
#include "source/kafka.h"

/* Settings and their number. */
#define SETTINGS(...) \
  (const rl_kafka_setting[]){__VA_ARGS__}, sizeof(const rl_kafka_setting[]){__VA_ARGS__} / sizeof(rl_kafka_setting)

static rl_kafka_producer *producer_of(const rl_kafka_setting *settings, size_t n)
{
  rl_kafka_producer *p = NULL;
  if (rl_kafka_producer_get(settings, n, &p) != RL_OK) fail_msg("%s", rl_error_message());
  return p;
}

static rl_status go_on(void *stop)
{
  return stop && atomic_load((atomic_bool *)stop) ? rl_fail(RL_ECANCELLED, "told to stop") : RL_OK;
}

static rl_kafka_sends *open_sends(rl_kafka_producer *p, atomic_bool *stop, int64_t until_ns)
{
  rl_kafka_sends *s = NULL;
  const rl_kafka_sends_spec spec = {.producer = p, .go_on = go_on, .user = stop, .until_ns = until_ns};
  assert_int_equal(rl_kafka_sends_open(&spec, &s), RL_OK);
  return s;
}

static rl_status send_text(rl_kafka_sends *s, const char *topic, const char *text)
{
  return rl_kafka_sends_message(
    s, topic, &(rl_kafka_message){.value = rl_str(text, strlen(text)), .partition = RL_KAFKA_ANY_PARTITION});
}

static int64_t count_of(mock *m, const char *topic, int partition)
{
  int64_t low = 0, high = 0;
  assert_int_equal(rd_kafka_query_watermark_offsets(m->rk, topic, partition, &low, &high, MOCK_WAIT_MS), 0);
  return high;
}

static void test_one_for_the_same_settings(void **state)
{
  (void)state;
  rl_kafka_producer *a = producer_of(SETTINGS({"sasl.password", "x"}, {"bootstrap.servers", "127.0.0.1:1"}));
  rl_kafka_producer *b = producer_of(SETTINGS({"sasl.password", "x"}, {"bootstrap.servers", "127.0.0.1:1"}));
  rl_kafka_producer *other = producer_of(SETTINGS({"sasl.password", "y"}, {"bootstrap.servers", "127.0.0.1:1"}));
  rl_kafka_producer *fewer = producer_of(SETTINGS({"bootstrap.servers", "127.0.0.1:1"}));
  assert_ptr_equal(a, b);
  assert_ptr_not_equal(a, other);
  assert_ptr_not_equal(a, fewer);
  rl_kafka_producer_unref(other);
  rl_kafka_producer *found = producer_of(SETTINGS({"sasl.password", NULL}, {"bootstrap.servers", "127.0.0.1:1"}));
  assert_ptr_equal(a, found);
  rl_kafka_producer_unref(a);
  rl_kafka_producer_unref(b);
  rl_kafka_producer_unref(found); /* the last */
  assert_int_equal(rl_kafka_producer_get(SETTINGS({"sasl.password", NULL}, {"bootstrap.servers", "127.0.0.1:1"}), &a),
                   RL_ESTATE);
  assert_non_null(strstr(rl_error_message(), "does not keep 'sasl.password'"));
  rl_kafka_producer_unref(fewer);
}

static void test_settings_that_are_refused(void **state)
{
  (void)state;
  rl_kafka_producer *p = NULL;
  rl_status st = rl_kafka_producer_get(SETTINGS({"linger", "5"}, {"bootstrap.servers", "127.0.0.1:1"}), &p);
  assert_int_equal(st, RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "unknown Kafka setting 'linger'"));
  st = rl_kafka_producer_get(SETTINGS({"acks", "1"}, {"bootstrap.servers", "127.0.0.1:1"}), &p);
  assert_int_equal(st, RL_EINVAL); /* they do not go together */
  assert_non_null(strstr(rl_error_message(), "enable.idempotence"));
  p = producer_of(SETTINGS({"acks", "1"}, {"enable.idempotence", "false"}, {"bootstrap.servers", "127.0.0.1:1"}));
  assert_int_equal(rl_kafka_producer_connect(p), RL_OK);
  rl_kafka_producer_unref(p);
}

/* Everything that a message can have, as a stream of the full form reads it. */
static void test_what_a_message_has(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 3);
  rl_kafka_producer *p = producer_of(SETTINGS({"bootstrap.servers", m.brokers}));
  rl_kafka_sends *s = open_sends(p, NULL, 0);
  assert_int_equal(rl_kafka_sends_header(s, "given", rl_str("up", 2)), RL_OK);
  rl_kafka_sends_drop_headers(s);
  assert_int_equal(rl_kafka_sends_header(s, "a", rl_int(1)), RL_OK);
  assert_int_equal(rl_kafka_sends_header(s, "b", rl_null()), RL_OK);
  const rl_kafka_message all = {.key = rl_bool(true), .value = rl_float(2.5), .partition = 2, .timestamp = 77};
  const rl_kafka_message tombstone = {.key = rl_str("", 0), .partition = 2, .timestamp = 78};
  const rl_kafka_message table = {.value = {.type = RL_T_TABLE}, .partition = 2};
  assert_int_equal(rl_kafka_sends_message(s, "t", &all), RL_OK);
  assert_int_equal(rl_kafka_sends_message(s, "t", &tombstone), RL_OK);
  assert_int_equal(rl_kafka_sends_message(s, "t", &table), RL_EINVAL);
  assert_int_equal(rl_kafka_sends_settle(s, 0), RL_OK);
  assert_int_equal(rl_kafka_sends_under_way(s), 0);
  rl_kafka_sends_close(s, RL_OK);
  const char *quiet[] = {"rille.log.level", "off", NULL};
  rl_context *c = new_context(quiet);
  rl_kafka_range range = {"t", 2, 0, 2};
  rl_rdd *r = NULL;
  const rl_kafka_setting settings[] = {{"bootstrap.servers", m.brokers}};
  assert_int_equal(rl_rdd_kafka(rl_context_conf(c), settings, 1, RL_KAFKA_FULL, &range, 1, &r), RL_OK);
  char *text = collect(c, r);
  if (!strstr(text, "(true,2.5,t,2,0,77,") || !strstr(text, "(,nil,t,2,1,78,")) fail_msg("%s", text);
  if (!strstr(text, "a=1") || !strstr(text, "b=null") || strstr(text, "given")) fail_msg("%s", text);
  rl_free(text);
  rl_rdd_unref(r);
  rl_context_unref(c);
  rl_kafka_producer_unref(p);
  mock_end(&m);
}

static void test_more_than_the_queue_takes(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  rl_kafka_producer *p = producer_of(
    SETTINGS({"queue.buffering.max.messages", "10"}, {"linger.ms", "0"}, {"bootstrap.servers", m.brokers}));
  rl_kafka_sends *s = open_sends(p, NULL, 0);
  for (int i = 0; i < 200; i++) assert_int_equal(send_text(s, "t", "x"), RL_OK);
  assert_true(rl_kafka_sends_under_way(s) <= 10);
  assert_int_equal(rl_kafka_sends_settle(s, 0), RL_OK);
  rl_kafka_sends_close(s, RL_OK);
  rl_kafka_producer_unref(p);
  assert_int_equal(count_of(&m, "t", 0), 200);
  mock_end(&m);
}

/* Of two that share a producer only the one whose message is refused learns of it. */
static void test_a_refusal_is_told_to_whose_it_is(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  mock_topic(&m, "u", 1);
  rl_kafka_producer *p = producer_of(SETTINGS({"linger.ms", "0"}, {"bootstrap.servers", m.brokers}));
  rl_kafka_sends *bad = open_sends(p, NULL, 0), *good = open_sends(p, NULL, 0);
  rd_kafka_mock_push_request_errors(m.cluster, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
  assert_int_equal(send_text(bad, "t", "large"), RL_OK);
  assert_int_equal(rl_kafka_sends_settle(bad, 0), RL_ELIMIT);
  assert_int_equal(send_text(good, "u", "small"), RL_OK);
  assert_int_equal(rl_kafka_sends_settle(good, 0), RL_OK);
  assert_int_equal(send_text(bad, "t", "later"), RL_OK);
  assert_int_equal(rl_kafka_sends_drain(bad, 0), RL_ELIMIT); /* it stays; the later one has arrived */
  if (!strstr(rl_error_message(), "a record for topic 't' was not taken by Kafka at ") ||
      !strstr(rl_error_message(), ", partition 0: Broker: Message size too large"))
    fail_msg("%s", rl_error_message());
  assert_int_equal(rl_kafka_sends_under_way(bad), 0);
  rl_kafka_sends_close(bad, RL_ELIMIT);
  rl_kafka_sends_close(good, RL_OK);
  rl_kafka_producer_unref(p);
  assert_int_equal(count_of(&m, "t", 0), 1);
  assert_int_equal(count_of(&m, "u", 0), 1);
  mock_end(&m);
}

static void test_waiting_ends(void **state)
{
  (void)state;
  rl_kafka_producer *p = producer_of(SETTINGS({"bootstrap.servers", "127.0.0.1:1"}));
  atomic_bool stop = false;
  rl_kafka_sends *s = open_sends(p, &stop, 0);
  assert_int_equal(send_text(s, "t", "x"), RL_OK);
  assert_int_equal(rl_kafka_sends_settle(s, rl_mono_ns() + 1), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "Kafka at 127.0.0.1:1 has not taken 1 record in time"));
  atomic_store(&stop, true);
  assert_int_equal(rl_kafka_sends_settle(s, 0), RL_ECANCELLED);
  rl_kafka_sends_close(s, RL_ECANCELLED); /* with a message under way */
  rl_kafka_producer_unref(p);
}

static void test_another_client_after_a_fatal_error(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  rl_kafka_producer *p = producer_of(SETTINGS({"bootstrap.servers", m.brokers}));
  rl_kafka_line *line = NULL;
  assert_int_equal(rl_kafka_producer_line(p, &line), RL_OK);
  assert_int_equal(rd_kafka_test_fatal_error(line->rk, RD_KAFKA_RESP_ERR__FATAL, "for the test"), 0);
  rl_kafka_line_unref(line);
  rl_kafka_sends *s = open_sends(p, NULL, 0);
  assert_int_equal(send_text(s, "t", "x"), RL_OK);
  assert_int_equal(rl_kafka_sends_settle(s, 0), RL_OK);
  rl_kafka_sends_close(s, RL_OK);
  rl_kafka_producer_unref(p);
  mock_end(&m);
}

#define SENDERS 4
#define EACH 500

typedef struct sender {
  pthread_t thread;
  const char *brokers;
} sender;

/* Each asks for the producer by its settings, as functions in several workers do. */
static void *send_some(void *arg)
{
  const sender *me = arg;
  rl_kafka_producer *p = producer_of(SETTINGS({"bootstrap.servers", me->brokers}));
  rl_kafka_sends *s = open_sends(p, NULL, 0);
  rl_status st = RL_OK;
  for (int i = 0; i < EACH && st == RL_OK; i++) st = send_text(s, "t", "x");
  if (st == RL_OK) st = rl_kafka_sends_settle(s, 0);
  rl_kafka_sends_close(s, st);
  rl_kafka_producer_unref(p);
  return st == RL_OK ? arg : NULL;
}

static void test_several_threads(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  sender senders[SENDERS];
  for (int i = 0; i < SENDERS; i++) {
    senders[i].brokers = m.brokers;
    assert_int_equal(pthread_create(&senders[i].thread, NULL, send_some, &senders[i]), 0);
  }
  for (int i = 0; i < SENDERS; i++) {
    void *ok = NULL;
    assert_int_equal(pthread_join(senders[i].thread, &ok), 0);
    assert_non_null(ok);
  }
  assert_int_equal(count_of(&m, "t", 0), SENDERS * EACH);
  mock_end(&m);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_one_for_the_same_settings),        cmocka_unit_test(test_settings_that_are_refused),
    cmocka_unit_test(test_what_a_message_has),               cmocka_unit_test(test_more_than_the_queue_takes),
    cmocka_unit_test(test_a_refusal_is_told_to_whose_it_is), cmocka_unit_test(test_waiting_ends),
    cmocka_unit_test(test_another_client_after_a_fatal_error), cmocka_unit_test(test_several_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
