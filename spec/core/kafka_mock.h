/* A mock cluster of librdkafka's, with a producer; for tests that need no real broker. Include after engine.h. */
#ifndef SPEC_CORE_KAFKA_MOCK_H
#define SPEC_CORE_KAFKA_MOCK_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <string.h>

#define MOCK_WAIT_MS 60000

typedef struct mock {
  rd_kafka_t *rk; /* a producer, which owns the cluster */
  rd_kafka_mock_cluster_t *cluster;
  char brokers[200];
} mock;

static inline void mock_begin(mock *m, int brokers)
{
  char reason[200], n[10];
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  snprintf(n, sizeof n, "%d", brokers);
  assert_int_equal(rd_kafka_conf_set(conf, "test.mock.num.brokers", n, reason, sizeof reason), RD_KAFKA_CONF_OK);
  assert_int_equal(rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason), RD_KAFKA_CONF_OK);
  m->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
  assert_non_null(m->rk);
  m->cluster = rd_kafka_handle_mock_cluster(m->rk);
  snprintf(m->brokers, sizeof m->brokers, "%s", rd_kafka_mock_cluster_bootstraps(m->cluster));
}

static inline void mock_end(mock *m) { rd_kafka_destroy(m->rk); }

static inline void mock_topic(mock *m, const char *topic, int partitions)
{
  assert_int_equal(rd_kafka_mock_topic_create(m->cluster, topic, partitions, 1), 0);
}

/* value NULL: a tombstone. headers (may be NULL) become the message's. */
static inline void mock_put(mock *m, const char *topic, int partition, const char *key, const char *value,
                            rd_kafka_headers_t *headers)
{
  const rd_kafka_vu_t v[] = {
    {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
    {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)key, key ? strlen(key) : 0}},
    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)value, value ? strlen(value) : 0}},
    {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = 1000},
  };
  assert_null(rd_kafka_produceva(m->rk, v, sizeof v / sizeof *v));
}

static inline void mock_flush(mock *m) { assert_int_equal(rd_kafka_flush(m->rk, MOCK_WAIT_MS), 0); }

/* Values "first" .. "first + n - 1", keys "k". */
static inline void mock_fill(mock *m, const char *topic, int partition, int first, int n)
{
  for (int i = first; i < first + n; i++) {
    char value[20];
    snprintf(value, sizeof value, "%d", i);
    mock_put(m, topic, partition, "k", value, NULL);
  }
  mock_flush(m);
}

#endif
