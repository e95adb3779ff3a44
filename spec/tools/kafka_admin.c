/* Topics and records for tests: kafka_admin BROKERS reads commands from standard input, a line each, words by tabs, and
 * answers each with a line: "ok" and a result, or "failed" and why. "-" as a key or value is a null.
 *
 *   create TOPIC PARTITIONS [NAME=VALUE...]     grow TOPIC PARTITIONS          delete TOPIC
 *   trim TOPIC PARTITION OFFSET                 removes the records before an offset
 *   fill TOPIC PARTITION FIRST COUNT            records (key "k<i>", value "v<i>") for i from FIRST
 *   spread TOPIC PARTITIONS KEYS FIRST COUNT    records (key "k<i mod KEYS>", value "<i>"), those of a key in a partition
 *   put TOPIC PARTITION KEY VALUE [NAME=VALUE...]  a record, with headers
 *   big TOPIC PARTITION BYTES                   a record of that size
 *   transaction commit|abort|leave TOPIC PARTITION FIRST COUNT   as fill; leave: open, until the next transaction
 *   end TOPIC PARTITION                         the offset behind the last record that is committed
 *   settled TOPIC PARTITION                     the same, as soon as no transaction is open: the brokers mark records as
 *                                               committed or not a little after they have answered
 *   ends TOPIC PARTITIONS                       the sum of them
 *   count TOPIC PARTITION FROM UNTIL            how many committed records have offsets from FROM to UNTIL - 1
 *   insync REPLICAS                             waits until all partitions of all topics have so many in step
 *   committed GROUP TOPIC PARTITION             an offset, or -1001 */
#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS 32
#define WAIT_MS 60000

static const char *brokers;
static char *word[WORDS];
static int words;
static char why[1024];
static int failed_deliveries;

static int fail(const char *what, const char *reason)
{
  snprintf(why, sizeof why, "%s: %s", what, reason);
  return -1;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
  (void)rk;
  (void)opaque;
  if (!m->err) return;
  failed_deliveries++;
  fail("delivery", rd_kafka_err2str(m->err));
}

static rd_kafka_t *client(rd_kafka_type_t type, const char *name, const char *value)
{
  char reason[512];
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  rd_kafka_conf_set(conf, "bootstrap.servers", brokers, reason, sizeof reason);
  rd_kafka_conf_set(conf, "linger.ms", "1", reason, sizeof reason);
  rd_kafka_conf_set(conf, "message.max.bytes", "50000000", reason, sizeof reason);
  rd_kafka_conf_set(conf, "log_level", "0", reason, sizeof reason);
  rd_kafka_conf_set(conf, "topic.metadata.propagation.max.ms", "60000", reason, sizeof reason);
  if (name) rd_kafka_conf_set(conf, name, value, reason, sizeof reason);
  if (type == RD_KAFKA_PRODUCER) {
    rd_kafka_conf_set(conf, "enable.idempotence", "true", reason, sizeof reason);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
  }
  rd_kafka_t *rk = rd_kafka_new(type, conf, reason, sizeof reason);
  if (!rk) {
    fprintf(stderr, "kafka_admin: %s\n", reason);
    exit(1);
  }
  return rk;
}

static rd_kafka_t *current;

static rd_kafka_t *producer(void)
{
  if (!current) current = client(RD_KAFKA_PRODUCER, NULL, NULL);
  return current;
}

/* The next one asks for everything anew. */
static void drop_producer(void)
{
  rd_kafka_destroy(producer());
  current = NULL;
}

/* Topics ----------------------------------------------------------------------------------------------------------- */

static const char *topic_failure(const rd_kafka_topic_result_t **results, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (rd_kafka_topic_result_error(results[i])) return rd_kafka_topic_result_error_string(results[i]);
  return NULL;
}

/* The answer to an admin request, as a reason; NULL: it went well. */
static const char *failure_of(const rd_kafka_event_t *ev)
{
  size_t n = 0;
  rd_kafka_event_t *e = (rd_kafka_event_t *)ev;
  if (!ev) return "no answer";
  if (rd_kafka_event_error(e)) return rd_kafka_event_error_string(e);
  const rd_kafka_CreateTopics_result_t *created = rd_kafka_event_CreateTopics_result(e);
  if (created) return topic_failure(rd_kafka_CreateTopics_result_topics(created, &n), n);
  const rd_kafka_DeleteTopics_result_t *deleted = rd_kafka_event_DeleteTopics_result(e);
  if (deleted) return topic_failure(rd_kafka_DeleteTopics_result_topics(deleted, &n), n);
  const rd_kafka_CreatePartitions_result_t *grown = rd_kafka_event_CreatePartitions_result(e);
  if (grown) return topic_failure(rd_kafka_CreatePartitions_result_topics(grown, &n), n);
  return NULL;
}

static int finish(rd_kafka_queue_t *q)
{
  rd_kafka_event_t *ev = rd_kafka_queue_poll(q, WAIT_MS);
  const char *reason = failure_of(ev);
  int st = reason ? fail(word[0], reason) : 0;
  if (ev) rd_kafka_event_destroy(ev);
  rd_kafka_queue_destroy(q);
  return st;
}

/* Asks the brokers anew; -1: none. */
static int leader_of(const char *topic, int partition)
{
  const rd_kafka_metadata_t *md = NULL;
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(producer(), topic, NULL);
  int leader = -1;
  if (!rd_kafka_metadata(producer(), 0, rkt, &md, WAIT_MS)) {
    if (md->topic_cnt == 1 && partition < md->topics[0].partition_cnt)
      leader = md->topics[0].partitions[partition].leader;
    rd_kafka_metadata_destroy(md);
  }
  rd_kafka_topic_destroy(rkt);
  return leader;
}

static int has_partitions(const char *topic, int n)
{
  for (int i = 0; i < n; i++)
    if (leader_of(topic, i) < 0) return 0;
  return 1;
}

/* The brokers learn of it one after the other. */
static int wait_for_partitions(const char *topic, int n)
{
  for (int i = 0; i < 600; i++) {
    if (has_partitions(topic, n)) return 0;
    rd_kafka_poll(producer(), 100);
  }
  return fail(topic, "its partitions do not come up");
}

static int create(void)
{
  char reason[512];
  rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(word[1], atoi(word[2]), -1, reason, sizeof reason);
  if (!t) return fail("create", reason);
  for (int i = 3; i < words; i++) {
    char *value = strchr(word[i], '=');
    if (!value) return fail("create", "no value");
    *value++ = '\0';
    rd_kafka_NewTopic_set_config(t, word[i], value);
  }
  rd_kafka_queue_t *q = rd_kafka_queue_new(producer());
  rd_kafka_CreateTopics(producer(), &t, 1, NULL, q);
  rd_kafka_NewTopic_destroy(t);
  return finish(q) == 0 ? wait_for_partitions(word[1], atoi(word[2])) : -1;
}

static int grow(void)
{
  char reason[512];
  rd_kafka_NewPartitions_t *p = rd_kafka_NewPartitions_new(word[1], (size_t)atoi(word[2]), reason, sizeof reason);
  if (!p) return fail("grow", reason);
  rd_kafka_queue_t *q = rd_kafka_queue_new(producer());
  rd_kafka_CreatePartitions(producer(), &p, 1, NULL, q);
  rd_kafka_NewPartitions_destroy(p);
  return finish(q) == 0 ? wait_for_partitions(word[1], atoi(word[2])) : -1;
}

static int delete(void)
{
  rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(word[1]);
  rd_kafka_queue_t *q = rd_kafka_queue_new(producer());
  rd_kafka_DeleteTopics(producer(), &t, 1, NULL, q);
  rd_kafka_DeleteTopic_destroy(t);
  return finish(q);
}

static int trim(void)
{
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, word[1], atoi(word[2]))->offset = atoll(word[3]);
  rd_kafka_DeleteRecords_t *d = rd_kafka_DeleteRecords_new(list);
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_queue_t *q = rd_kafka_queue_new(producer());
  rd_kafka_DeleteRecords(producer(), &d, 1, NULL, q);
  rd_kafka_DeleteRecords_destroy(d);
  return finish(q);
}

/* Records ---------------------------------------------------------------------------------------------------------- */

static int send_record(rd_kafka_t *rk, const char *topic, int partition, const char *key, const char *value, size_t n,
                       rd_kafka_headers_t *headers)
{
  const rd_kafka_vu_t v[] = {
    {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
    {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)key, key ? strlen(key) : 0}},
    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)value, n}},
    {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
  };
  for (;;) {
    rd_kafka_error_t *e = rd_kafka_produceva(rk, v, sizeof v / sizeof *v);
    if (!e) return 0;
    rd_kafka_resp_err_t err = rd_kafka_error_code(e);
    rd_kafka_error_destroy(e);
    if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL) return fail("produce", rd_kafka_err2str(err));
    rd_kafka_poll(rk, 100);
  }
}

static int flush(rd_kafka_t *rk)
{
  rd_kafka_resp_err_t err = rd_kafka_flush(rk, WAIT_MS);
  if (err) return fail("flush", rd_kafka_err2str(err));
  int failed = failed_deliveries;
  failed_deliveries = 0;
  return failed ? -1 : 0;
}

static int fill_with(rd_kafka_t *rk, const char *topic, int partition, long first, long n)
{
  for (long i = first; i < first + n; i++) {
    char key[32], value[32];
    snprintf(key, sizeof key, "k%ld", i);
    snprintf(value, sizeof value, "v%ld", i);
    if (send_record(rk, topic, partition, key, value, strlen(value), NULL)) return -1;
  }
  return flush(rk);
}

static int spread(void)
{
  long partitions = atol(word[2]), keys = atol(word[3]), first = atol(word[4]), n = atol(word[5]);
  for (long i = first; i < first + n; i++) {
    char key[32], value[32];
    snprintf(key, sizeof key, "k%ld", i % keys);
    snprintf(value, sizeof value, "%ld", i);
    if (send_record(producer(), word[1], (int)(i % keys % partitions), key, value, strlen(value), NULL)) return -1;
  }
  return flush(producer());
}

static int fill(void) { return fill_with(producer(), word[1], atoi(word[2]), atol(word[3]), atol(word[4])); }

static int put(void)
{
  rd_kafka_headers_t *headers = words > 5 ? rd_kafka_headers_new(4) : NULL;
  for (int i = 5; i < words; i++) {
    char *value = strchr(word[i], '=');
    if (!value) return fail("put", "no value");
    *value++ = '\0';
    rd_kafka_header_add(headers, word[i], -1, strcmp(value, "-") == 0 ? NULL : value, -1);
  }
  const char *key = strcmp(word[3], "-") == 0 ? NULL : word[3];
  const char *value = strcmp(word[4], "-") == 0 ? NULL : word[4];
  int st = send_record(producer(), word[1], atoi(word[2]), key, value, value ? strlen(value) : 0, headers);
  return st ? st : flush(producer());
}

static int big(void)
{
  size_t n = (size_t)atol(word[3]);
  char *value = malloc(n);
  if (!value) return fail("big", "no memory");
  memset(value, 'x', n);
  int st = send_record(producer(), word[1], atoi(word[2]), NULL, value, n, NULL);
  free(value);
  return st ? st : flush(producer());
}

static int settle(const char *topic, int partition, long long *result);

static int transaction(void)
{
  int leave = strcmp(word[1], "leave") == 0;
  rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, "transactional.id", "rille-test");
  rd_kafka_error_t *e = rd_kafka_init_transactions(rk, WAIT_MS);
  if (!e) e = rd_kafka_begin_transaction(rk);
  int st = e ? 0 : fill_with(rk, word[2], atoi(word[3]), atol(word[4]), atol(word[5]));
  if (!e && !st && !leave)
    e = strcmp(word[1], "commit") == 0 ? rd_kafka_commit_transaction(rk, WAIT_MS)
                                       : rd_kafka_abort_transaction(rk, WAIT_MS);
  if (e) st = fail("transaction", rd_kafka_error_string(e));
  if (e) rd_kafka_error_destroy(e);
  rd_kafka_destroy(rk);
  long long end;
  return st || leave ? st : settle(word[2], atoi(word[3]), &end);
}

/* Questions -------------------------------------------------------------------------------------------------------- */

/* Also while leaders change: rd_kafka_query_watermark_offsets waits for ever for one that is gone (librdkafka issue 2588).
 * With a special number as its "time", the request for offsets by time asks for the end. */
static rd_kafka_resp_err_t ask_end(rd_kafka_t *rk, const char *topic, int partition, int wait_ms, int64_t *end)
{
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, partition);
  p->offset = RD_KAFKA_OFFSET_END;
  rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(rk, list, wait_ms);
  if (!err) err = p->err;
  *end = p->offset;
  rd_kafka_topic_partition_list_destroy(list);
  return err;
}

static int add_end(int partition, long long *result)
{
  rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
  for (int i = 0; i < 12; i++) {
    int64_t at;
    err = ask_end(producer(), word[1], partition, WAIT_MS / 12, &at);
    if (!err) {
      *result += at;
      return 0;
    }
    drop_producer();
  }
  return fail("end", rd_kafka_err2str(err));
}

/* The end of what is decided is that of all records. */
static int settle(const char *topic, int partition, long long *result)
{
  rd_kafka_t *of_all = client(RD_KAFKA_CONSUMER, "isolation.level", "read_uncommitted");
  rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
  int64_t all = 0, decided = -1;
  for (int i = 0; !err && decided < all && i < WAIT_MS / 20; i++) {
    if (i > 0) rd_kafka_poll(producer(), 20);
    err = ask_end(of_all, topic, partition, WAIT_MS, &all);
    if (!err) err = ask_end(producer(), topic, partition, WAIT_MS, &decided);
  }
  rd_kafka_destroy(of_all);
  if (err) return fail("settled", rd_kafka_err2str(err));
  if (decided < all) return fail("settled", "a transaction stays open");
  *result = decided;
  return 0;
}

static int settled(long long *result) { return settle(word[1], atoi(word[2]), result); }

static int end(long long *result) { return add_end(atoi(word[2]), result); }

static int ends(long long *result)
{
  int st = 0;
  for (int i = 0; st == 0 && i < atoi(word[2]); i++) st = add_end(i, result);
  return st;
}

/* The next record's offset; `until` when there is none before that, -1 when it cannot be read. */
static int64_t next_offset(rd_kafka_topic_t *rkt, int partition, int64_t until)
{
  rd_kafka_message_t *m = rd_kafka_consume(rkt, partition, WAIT_MS);
  int64_t offset = -1;
  if (!m) fail("count", "no record");
  else if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) fail("count", rd_kafka_message_errstr(m));
  else offset = m->err ? until : m->offset;
  if (m) rd_kafka_message_destroy(m);
  return offset;
}

/* With nothing but librdkafka, to compare with. */
static int count(long long *result)
{
  int partition = atoi(word[2]);
  int64_t until = atoll(word[4]), at = -1;
  rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, "enable.partition.eof", "true");
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, word[1], NULL);
  if (rd_kafka_consume_start(rkt, partition, atoll(word[3]))) {
    fail("count", rd_kafka_err2str(rd_kafka_last_error()));
  } else {
    while ((at = next_offset(rkt, partition, until)) >= 0 && at < until) ++*result;
    rd_kafka_consume_stop(rkt, partition);
  }
  rd_kafka_topic_destroy(rkt);
  rd_kafka_destroy(rk);
  return at < 0 ? -1 : 0;
}

static int are_in_step(int replicas)
{
  const rd_kafka_metadata_t *md = NULL;
  if (rd_kafka_metadata(producer(), 1, NULL, &md, WAIT_MS)) return 0;
  int are = 1;
  for (int i = 0; i < md->topic_cnt; i++)
    for (int j = 0; j < md->topics[i].partition_cnt; j++) are &= md->topics[i].partitions[j].isr_cnt >= replicas;
  rd_kafka_metadata_destroy(md);
  return are;
}

static int insync(void)
{
  for (int i = 0; i < 1200; i++) {
    if (are_in_step(atoi(word[1]))) return 0;
    rd_kafka_poll(producer(), 100);
  }
  return fail("insync", "some replicas stay behind");
}

static int committed(long long *result)
{
  rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, "group.id", word[1]);
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, word[2], atoi(word[3]));
  rd_kafka_resp_err_t err = rd_kafka_committed(rk, list, WAIT_MS);
  *result = list->elems[0].offset;
  rd_kafka_topic_partition_list_destroy(list);
  rd_kafka_destroy(rk);
  return err ? fail("committed", rd_kafka_err2str(err)) : 0;
}

/* Commands --------------------------------------------------------------------------------------------------------- */

static int run(long long *result)
{
  static const struct {
    const char *name;
    int words;
    int (*run)(void);
    int (*ask)(long long *);
  } commands[] = {
    {"create", 3, create, NULL}, {"grow", 3, grow, NULL},       {"delete", 2, delete, NULL},
    {"trim", 4, trim, NULL},     {"fill", 5, fill, NULL},       {"spread", 6, spread, NULL},
    {"put", 5, put, NULL},       {"big", 4, big, NULL},         {"transaction", 6, transaction, NULL},
    {"end", 3, NULL, end},       {"ends", 3, NULL, ends},       {"count", 5, NULL, count},
    {"insync", 2, insync, NULL}, {"committed", 4, NULL, committed}, {"settled", 3, NULL, settled},
  };
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(word[0], commands[i].name) != 0) continue;
    if (words < commands[i].words) return fail(word[0], "too few words");
    return commands[i].run ? commands[i].run() : commands[i].ask(result);
  }
  return fail(word[0], "no such command");
}

int main(int argc, char **argv)
{
  static char line[65536];
  if (argc != 2) {
    fprintf(stderr, "usage: kafka_admin BROKERS\n");
    return 2;
  }
  brokers = argv[1];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = '\0';
    words = 0;
    for (char *w = strtok(line, "\t"); w && words < WORDS; w = strtok(NULL, "\t")) word[words++] = w;
    if (words == 0) continue;
    long long result = 0;
    if (run(&result) == 0) printf("ok\t%lld\n", result);
    else printf("failed\t%s\n", why);
    fflush(stdout);
  }
  drop_producer();
  return 0;
}
