/* Kafka's side of bench/run kafka: fills a topic, and reads it with nothing but librdkafka.
 *
 *   bench_kafka fill BROKERS TOPIC PARTITIONS RECORDS   makes the topic anew; a record is a line of words
 *   bench_kafka read BROKERS TOPIC PARTITIONS RECORDS   reads all of it once for each line on standard input; prints
 *                                                       "SECONDS COUNT", from making the consumer to the last record
 *
 * The reader takes messages in batches off the consumer's queue, which is the fastest that librdkafka has. */
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 4096
#define WAIT_MS 60000

static const char *brokers, *topic;
static int partitions;
static long records;

static void die(const char *what, const char *reason)
{
  fprintf(stderr, "bench_kafka: %s: %s\n", what, reason);
  exit(1);
}

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
  char reason[512];
  if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) != RD_KAFKA_CONF_OK) die(name, reason);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
  char reason[512];
  set(conf, "bootstrap.servers", brokers);
  rd_kafka_t *rk = rd_kafka_new(type, conf, reason, sizeof reason);
  if (!rk) die("client", reason);
  return rk;
}

/* Filling ---------------------------------------------------------------------------------------------------------- */

static void finish(rd_kafka_queue_t *q)
{
  rd_kafka_event_t *ev = rd_kafka_queue_poll(q, WAIT_MS);
  if (!ev) die("topic", "no answer");
  if (rd_kafka_event_error(ev)) die("topic", rd_kafka_event_error_string(ev));
  rd_kafka_event_destroy(ev);
}

static size_t topic_partitions(rd_kafka_t *rk)
{
  const rd_kafka_metadata_t *md;
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
  rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, rkt, &md, WAIT_MS);
  if (err) die("metadata", rd_kafka_err2str(err));
  size_t n = md->topic_cnt > 0 ? (size_t)md->topics[0].partition_cnt : 0;
  rd_kafka_metadata_destroy(md);
  rd_kafka_topic_destroy(rkt);
  return n;
}

static void make_topic(rd_kafka_t *rk)
{
  char reason[512];
  rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
  rd_kafka_DeleteTopic_t *old = rd_kafka_DeleteTopic_new(topic);
  rd_kafka_DeleteTopics(rk, &old, 1, NULL, q);
  finish(q);
  while (topic_partitions(rk) > 0) rd_kafka_poll(rk, 100);
  rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic, partitions, -1, reason, sizeof reason);
  if (!made) die("topic", reason);
  rd_kafka_CreateTopics(rk, &made, 1, NULL, q);
  finish(q);
  while (topic_partitions(rk) != (size_t)partitions) rd_kafka_poll(rk, 100);
  rd_kafka_DeleteTopic_destroy(old);
  rd_kafka_NewTopic_destroy(made);
  rd_kafka_queue_destroy(q);
}

/* About 100 bytes; words repeat as in a text. */
static size_t make_line(char *line, size_t size, uint64_t i)
{
  size_t n = 0;
  for (int w = 0; w < 12; w++) {
    uint64_t z = (i * 12 + (uint64_t)w + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z ^= z >> 32;
    n += (size_t)snprintf(line + n, size - n, "%sword%03" PRIu64, w ? " " : "", z % (z & 64 ? 50 : 1000));
  }
  return n;
}

static void fill(void)
{
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "linger.ms", "20");
  set(conf, "queue.buffering.max.messages", "1000000");
  rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
  make_topic(rk);
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
  for (long i = 0; i < records; i++) {
    char line[200];
    size_t n = make_line(line, sizeof line, (uint64_t)i);
    while (rd_kafka_produce(rkt, (int32_t)(i % partitions), RD_KAFKA_MSG_F_COPY, line, n, NULL, 0, NULL) != 0) {
      if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
        die("produce", rd_kafka_err2str(rd_kafka_last_error()));
      rd_kafka_poll(rk, 10);
    }
    if (i % 1000 == 0) rd_kafka_poll(rk, 0);
  }
  if (rd_kafka_flush(rk, WAIT_MS)) die("flush", "records are left");
  rd_kafka_topic_destroy(rkt);
  rd_kafka_destroy(rk);
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

static rd_kafka_t *open_consumer(void)
{
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "group.id", "bench");
  set(conf, "enable.auto.commit", "false");
  set(conf, "enable.auto.offset.store", "false");
  rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, conf);
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
  for (int i = 0; i < partitions; i++) rd_kafka_topic_partition_list_add(list, topic, i)->offset = 0;
  rd_kafka_assign(rk, list);
  rd_kafka_topic_partition_list_destroy(list);
  return rk;
}

static void read_all(void)
{
  static rd_kafka_message_t *batch[BATCH];
  double begun = now();
  rd_kafka_t *rk = open_consumer();
  rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(rk);
  long count = 0;
  while (count < records) {
    ssize_t n = rd_kafka_consume_batch_queue(q, 10, batch, BATCH);
    for (ssize_t i = 0; i < n; i++) {
      count += batch[i]->err == 0;
      rd_kafka_message_destroy(batch[i]);
    }
  }
  printf("%.6f %ld\n", now() - begun, count);
  fflush(stdout);
  rd_kafka_queue_destroy(q);
  rd_kafka_consumer_close(rk);
  rd_kafka_destroy(rk);
}

static void serve(void)
{
  char line[100];
  while (fgets(line, sizeof line, stdin)) read_all();
}

int main(int argc, char **argv)
{
  if (argc != 6) die("usage", "bench_kafka fill|read BROKERS TOPIC PARTITIONS RECORDS");
  brokers = argv[2];
  topic = argv[3];
  partitions = atoi(argv[4]);
  records = atol(argv[5]);
  if (strcmp(argv[1], "fill") == 0) fill();
  else serve();
  return 0;
}
