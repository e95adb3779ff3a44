/* Reading topics of a mock cluster: RDDs over ranges, and the direct stream on the manual clock. What the mock cannot
 * do (transactions, expiry, growth) is tried with a real broker, in spec/kafka. */
#include <stdlib.h>

#include "engine.h"
#include "kafka_mock.h"
#include "source/kafka.h"
#include "streams.h"

static rl_context *context(void)
{
  const char *settings[] = {"rille.log.level", "off", NULL};
  return new_context(settings);
}

/* RDDs ------------------------------------------------------------------------------------------------------------- */

static rl_rdd *read_ranges(rl_context *c, mock *m, rl_kafka_records form, const rl_kafka_range *ranges, uint32_t n)
{
  const rl_kafka_setting settings[] = {{"bootstrap.servers", m->brokers}};
  rl_rdd *r = NULL;
  assert_int_equal(rl_rdd_kafka(rl_context_conf(c), settings, 1, form, ranges, n, &r), RL_OK);
  return r;
}

static void expect_records(rl_context *c, rl_rdd *r, const char *expected)
{
  char *text = collect(c, r);
  assert_string_equal(text, expected);
  rl_free(text);
}

static void test_exact_ranges(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 2);
  mock_fill(&m, "t", 0, 0, 10);
  mock_fill(&m, "t", 1, 100, 10);
  rl_context *c = context();
  rl_kafka_range ranges[] = {{"t", 1, 3, 5}, {"t", 0, 4, 4}, {"t", 0, 0, 2}};
  rl_rdd *r = read_ranges(c, &m, RL_KAFKA_VALUES, ranges, 3);
  assert_int_equal(rl_rdd_partitions(r), 3);
  expect_records(c, r, "103\n104\n0\n1\n");
  expect_records(c, r, "103\n104\n0\n1\n"); /* again the same */
  const rl_kafka_range *kept = NULL;
  uint32_t n = 0;
  assert_true(rl_rdd_kafka_ranges(r, &kept, &n));
  assert_int_equal(n, 3);
  assert_int_equal(kept[0].from, 3);
  rl_rdd_unref(r);
  rl_context_unref(c);
  mock_end(&m);
}

static void test_same_partition_at_once(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  mock_fill(&m, "t", 0, 0, 3000);
  rl_context *c = context();
  rl_kafka_range ranges[] = {{"t", 0, 0, 3000}, {"t", 0, 0, 3000}, {"t", 0, 1000, 3000}};
  rl_rdd *r = read_ranges(c, &m, RL_KAFKA_VALUES, ranges, 3);
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_OK);
  assert_int_equal(rl_job_count(job, 0), 3000);
  assert_int_equal(rl_job_count(job, 1), 3000);
  assert_int_equal(rl_job_count(job, 2), 2000);
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
  mock_end(&m);
}

static void test_forms_of_records(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  rd_kafka_headers_t *h = rd_kafka_headers_new(4);
  rd_kafka_header_add(h, "b", -1, "1", -1);
  rd_kafka_header_add(h, "a", -1, "2", -1);
  rd_kafka_header_add(h, "b", -1, "3", -1);
  rd_kafka_header_add(h, "c", -1, NULL, 0);
  mock_put(&m, "t", 0, "key", "value", h);
  mock_put(&m, "t", 0, NULL, "no key", NULL);
  mock_put(&m, "t", 0, "key", NULL, NULL);
  mock_put(&m, "t", 0, "", "", NULL);
  mock_flush(&m);
  rl_context *c = context();
  rl_kafka_range all = {"t", 0, 0, 4};
  rl_rdd *r = read_ranges(c, &m, RL_KAFKA_PAIRS, &all, 1);
  expect_records(c, r, "(key,value)\n(null,no key)\n(key,nil)\n(,)\n");
  rl_rdd_unref(r);
  r = read_ranges(c, &m, RL_KAFKA_VALUES, &all, 1);
  expect_records(c, r, "value\nno key\nnull\n\n");
  rl_rdd_unref(r);
  r = read_ranges(c, &m, RL_KAFKA_FULL, &all, 1);
  expect_records(c, r,
                 "(key,value,t,0,0,1000,{a=2,b={1,3},c=null})\n(null,no key,t,0,1,1000,{})\n"
                 "(key,nil,t,0,2,1000,{})\n(,,t,0,3,1000,{})\n");
  rl_rdd_unref(r);
  rl_context_unref(c);
  mock_end(&m);
}

static void test_bad_ranges(void **state)
{
  (void)state;
  rl_context *c = context();
  mock m = {.brokers = "localhost:1"};
  const rl_kafka_setting settings[] = {{"bootstrap.servers", m.brokers}};
  rl_kafka_range backwards = {"t", 0, 5, 4};
  rl_rdd *r = NULL;
  assert_int_equal(rl_rdd_kafka(rl_context_conf(c), settings, 1, RL_KAFKA_PAIRS, &backwards, 1, &r), RL_EINVAL);
  assert_string_equal(rl_error_message(), "the range of t/0 from offset 5 until 4 is none");
  const rl_kafka_range *kept = NULL;
  uint32_t n = 0;
  r = rl_rdd_empty(1);
  assert_false(rl_rdd_kafka_ranges(r, &kept, &n));
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_no_broker(void **state)
{
  (void)state;
  const char *conf[] = {"rille.log.level", "off", "rille.streaming.kafka.consumer.poll", "200ms",
                        "rille.task.maxFailures", "1", NULL};
  rl_context *c = new_context(conf);
  const rl_kafka_setting settings[] = {{"bootstrap.servers", "127.0.0.1:1"}};
  rl_kafka_range range = {"t", 0, 0, 1};
  rl_rdd *r = NULL;
  rl_job *job = NULL;
  assert_int_equal(rl_rdd_kafka(rl_context_conf(c), settings, 1, RL_KAFKA_PAIRS, &range, 1, &r), RL_OK);
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "no record of t/0 at offset 0 (of a range to 1) came within"));
  assert_non_null(strstr(rl_error_message(), "127.0.0.1:1"));
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
}

static void test_a_range_beyond_the_end(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  const char *conf[] = {"rille.log.level", "off", "rille.streaming.kafka.consumer.poll", "1s",
                        "rille.task.maxFailures", "1", NULL};
  rl_context *c = new_context(conf);
  const rl_kafka_setting settings[] = {{"bootstrap.servers", m.brokers}, {"auto.offset.reset", "earliest"}};
  rl_kafka_range range = {"t", 0, 0, 5};
  rl_rdd *r = NULL;
  rl_job *job = NULL;
  assert_int_equal(rl_rdd_kafka(rl_context_conf(c), settings, 2, RL_KAFKA_PAIRS, &range, 1, &r), RL_OK);
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "(of a range to 5) came within"));
  assert_non_null(strstr(rl_error_message(), ": the partition ends at 0"));
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
  mock_end(&m);
}

/* A leader that does not answer when it is asked what is left of a partition holds nobody up for long. */
static void test_bounds_that_are_not_told(void **state)
{
  (void)state;
  mock m;
  mock_begin(&m, 1);
  mock_topic(&m, "t", 1);
  mock_fill(&m, "t", 0, 0, 3);
  const char *settings[] = {"rille.log.level", "off", "rille.streaming.kafka.consumer.poll", "3",
                            "rille.task.maxFailures", "1", NULL};
  rl_context *c = new_context(settings);
  const rl_kafka_range range = {"t", 0, 100, 110};
  rl_rdd *r = read_ranges(c, &m, RL_KAFKA_VALUES, &range, 1);
  rl_job *job = NULL;
  assert_int_equal(run(c, r, RL_JOB_COUNT, 0, &job), RL_EDATA);
  assert_non_null(strstr(rl_error_message(), "offset 100 is not there (now it has 0 to 3)"));
  rl_job_unref(job);
  const int list_offsets = 2, late_ms = 30000;
  for (int i = 0; i < 4; i++) {
    rd_kafka_mock_broker_push_request_error_rtts(m.cluster, 1, list_offsets, 1, RD_KAFKA_RESP_ERR_NO_ERROR, late_ms);
  }
  if (run(c, r, RL_JOB_COUNT, 0, &job) != RL_EIO) fail_msg("%s", rl_error_message());
  assert_non_null(strstr(rl_error_message(), "offset 100 is not there, and its bounds cannot be asked for"));
  rl_job_unref(job);
  rl_rdd_unref(r);
  rl_context_unref(c);
  mock_end(&m);
}

/* The stream ------------------------------------------------------------------------------------------------------- */

typedef struct fixture {
  streams base;
  mock m;
  rl_buf log;
  rl_dstream *stream;
} fixture;

/* A batch waits no longer than this for the broker to tell what there is, and then takes nothing. */
#define BATCH_MS 5000

static void begin(fixture *f, const char *key, const char *value)
{
  const char *settings[] = {"clock", "manual", "rille.streaming.kafka.consumer.poll", "20", key, value, NULL};
  *f = (fixture){0};
  mock_begin(&f->m, 1);
  streams_begin(&f->base, BATCH_MS, settings);
  f->base.with_times = true;
  rl_log_set_level(RL_LOG_WARN);
  rl_log_set_sink(streams_catch_line, &f->log);
}

static void end(fixture *f)
{
  streams_end(&f->base);
  rl_log_set_sink(NULL, NULL);
  mock_end(&f->m);
  rl_buf_free(&f->log);
}

/* Adds a stream of the values of topics or of a pattern; `more` are further settings. */
static rl_status add_stream(fixture *f, rl_kafka_stream spec, const rl_kafka_setting *more)
{
  rl_kafka_setting settings[8] = {{"bootstrap.servers", f->m.brokers},
                                  {"topic.metadata.refresh.interval.ms", "10"}};
  spec.settings = settings;
  spec.nsettings = 2;
  for (; more && more->name; more++) settings[spec.nsettings++] = *more;
  spec.records = RL_KAFKA_VALUES;
  rl_status st = rl_source_kafka(f->base.s, &spec, "job.lua:1", &f->stream);
  if (st == RL_OK) streams_output(&f->base, f->stream);
  return st;
}

static const rl_kafka_setting earliest[] = {{"auto.offset.reset", "earliest"}, {NULL, NULL}};
static const rl_kafka_setting latest[] = {{NULL, NULL}};
static const char *const topic_t[] = {"t"};

static void advance(fixture *f, int64_t ms) { assert_int_equal(rl_streaming_advance(f->base.s, ms), RL_OK); }

static void expect_batches(fixture *f, const char *expected)
{
  assert_string_equal(rl_buf_cstr(&f->base.records), expected);
}

static void start(fixture *f) { assert_int_equal(rl_streaming_start(f->base.s), RL_OK); }

static void test_batches_go_on_where_the_last_ended(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 2);
  mock_fill(&f.m, "t", 0, 0, 2);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, earliest), RL_OK);
  start(&f);
  advance(&f, BATCH_MS);
  mock_fill(&f.m, "t", 0, 2, 1);
  mock_fill(&f.m, "t", 1, 10, 2);
  advance(&f, BATCH_MS);
  advance(&f, BATCH_MS);
  expect_batches(&f, "@5000 0 1 @10000 2 10 11 @15000 ");
  assert_int_equal(f.base.partitions_max, 2);
  assert_int_equal(f.base.counted, 5);
  assert_string_equal(rl_buf_cstr(&f.base.descriptions),
                      "topic: t\tpartition: 0\toffsets: 0 to 2;"
                      "topic: t\tpartition: 0\toffsets: 2 to 3\ntopic: t\tpartition: 1\toffsets: 0 to 2;");
  end(&f);
}

static void test_latest_without_a_setting(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 1);
  mock_fill(&f.m, "t", 0, 0, 5);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, latest), RL_OK);
  start(&f);
  mock_fill(&f.m, "t", 0, 5, 1);
  advance(&f, BATCH_MS);
  expect_batches(&f, "@5000 5 ");
  end(&f);
}

static void test_given_offsets(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 2);
  mock_fill(&f.m, "t", 0, 0, 5);
  mock_fill(&f.m, "t", 1, 10, 5);
  const rl_kafka_offset assign[] = {{"t", 1, 0}, {"t", 0, 0}, {"t", 1, 0}}, from[] = {{"t", 1, 3}};
  rl_kafka_stream spec = {.assign = assign, .nassign = 3, .from = from, .nfrom = 1};
  assert_int_equal(add_stream(&f, spec, earliest), RL_OK);
  start(&f);
  advance(&f, BATCH_MS);
  expect_batches(&f, "@5000 13 14 0 1 2 3 4 ");
  end(&f);
}

static void test_rate_per_partition(void **state)
{
  (void)state;
  fixture f;
  begin(&f, "rille.streaming.kafka.maxRatePerPartition", "1");
  mock_topic(&f.m, "t", 1);
  mock_fill(&f.m, "t", 0, 0, 11);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, earliest), RL_OK);
  start(&f);
  advance(&f, 3 * BATCH_MS);
  expect_batches(&f, "@5000 0 1 2 3 4 @10000 5 6 7 8 9 @15000 10 ");
  end(&f);
}

static void test_topics_that_match_join(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "logs.a", 1);
  mock_topic(&f.m, "xlogs.b", 1);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.pattern = "logs\\..|other"}, latest), RL_OK);
  start(&f);
  advance(&f, BATCH_MS);
  mock_topic(&f.m, "logs.c", 1);
  mock_fill(&f.m, "logs.c", 0, 7, 1);
  mock_fill(&f.m, "xlogs.b", 0, 8, 1);
  while (f.base.seen == 0) advance(&f, BATCH_MS); /* until the metadata is looked at again */
  assert_non_null(strstr(rl_buf_cstr(&f.base.descriptions), "topic: logs.c\tpartition: 0\toffsets: 0 to 1"));
  assert_int_equal(f.base.counted, 1);
  end(&f);
}

static void test_missing_topic(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 1);
  rd_kafka_mock_topic_set_error(f.m.cluster, "gone", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
  static const char *const topics[] = {"t", "gone"};
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topics, .ntopics = 2}, latest), RL_OK);
  assert_int_equal(rl_streaming_start(f.base.s), RL_ENOTFOUND);
  assert_non_null(strstr(rl_error_message(), "there is no topic 'gone' in Kafka at "));
  end(&f);
}

static void test_no_broker_at_the_start(void **state)
{
  (void)state;
  fixture f;
  begin(&f, "rille.streaming.kafka.consumer.poll", "300ms");
  snprintf(f.m.brokers, sizeof f.m.brokers, "127.0.0.1:1");
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, latest), RL_OK);
  assert_int_equal(rl_streaming_start(f.base.s), RL_EIO);
  assert_non_null(strstr(rl_error_message(), "Kafka at 127.0.0.1:1: "));
  end(&f);
}

static uint32_t occurrences(const char *text, const char *part)
{
  uint32_t n = 0;
  for (const char *p = strstr(text, part); p; p = strstr(p + 1, part)) n++;
  return n;
}

static void test_broker_down_for_a_while(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 1);
  mock_fill(&f.m, "t", 0, 0, 2);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, earliest), RL_OK);
  start(&f);
  advance(&f, BATCH_MS);
  mock_fill(&f.m, "t", 0, 2, 2);
  rd_kafka_mock_broker_set_down(f.m.cluster, 1);
  advance(&f, 2 * BATCH_MS);
  expect_batches(&f, "@5000 0 1 @10000 @15000 ");
  assert_int_equal(occurrences(rl_buf_cstr(&f.log), "Kafka stream [0] at job.lua:1: "), 1);
  rd_kafka_mock_broker_set_up(f.m.cluster, 1);
  while (f.base.seen < 4) advance(&f, BATCH_MS);
  assert_int_equal(occurrences(rl_buf_cstr(&f.log), "Kafka stream [0] at job.lua:1: "), 2);
  assert_int_equal(occurrences(rl_buf_cstr(&f.log), "answer again"), 1);
  assert_non_null(strstr(rl_buf_cstr(&f.base.records), " 2 3 "));
  end(&f);
}

static void expect_saved(rl_input *in, int64_t time, const unsigned char *bytes, size_t n)
{
  rl_buf saved = {0};
  assert_int_equal(in->cls->save(in, time, &saved), RL_OK);
  assert_int_equal(saved.n, n);
  assert_memory_equal(saved.p, bytes, n);
  rl_buf_free(&saved);
}

/* What a recovered job does: the same batch again, and on from there. */
static void test_restored(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 2);
  mock_fill(&f.m, "t", 0, 0, 4);
  mock_fill(&f.m, "t", 1, 10, 1);
  rl_buf saved = {0};
  const unsigned char ranges[] = {1, 1, 1, 't', 0, 1, 3}; /* of t/0: from 1 until 3 */
  rl_buf_add(&saved, ranges, sizeof ranges);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, latest), RL_OK);
  rl_input *in = rl_dstream_input(f.stream);
  rl_rdd *r = NULL;
  rl_input_info info = {0};
  assert_int_equal(in->cls->restore(in, BATCH_MS, saved.p, saved.n - 1, &r, &info), RL_EDATA);
  assert_int_equal(in->cls->restore(in, BATCH_MS, saved.p, saved.n, &r, &info), RL_OK);
  assert_int_equal(info.records, 2);
  expect_records(f.base.c, r, "1\n2\n");
  const unsigned char unread[] = {1, 1, 1, 't', 0, 3, 3}, read[] = {1, 2, 1, 't', 0, 3, 4, 1, 't', 1, 0, 1};
  expect_saved(in, BATCH_MS + 1, unread, sizeof unread); /* of a batch that could not be read: the place alone */
  start(&f);
  advance(&f, BATCH_MS);
  expect_batches(&f, "@5000 3 10 "); /* t/1 joined meanwhile */
  expect_saved(in, BATCH_MS, read, sizeof read);
  const unsigned char behind[] = {1, 2, 1, 't', 0, 4, 4, 1, 't', 1, 1, 1};
  expect_saved(in, 2 * BATCH_MS, behind, sizeof behind);
  rl_free(info.description);
  rl_rdd_unref(r);
  rl_buf_free(&saved);
  end(&f);
}

static void test_wrong_specs(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  const rl_kafka_offset part[] = {{"t", 0, 0}}, bad[] = {{"t", 0, -1}};
  assert_int_equal(add_stream(&f, (rl_kafka_stream){0}, latest), RL_EINVAL);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.pattern = "t", .assign = part, .nassign = 1}, latest), RL_EINVAL);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.pattern = "("}, latest), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "is no regular expression"));
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.pattern = "t", .from = bad, .nfrom = 1}, latest), RL_EINVAL);
  end(&f);
}

/* Commits ---------------------------------------------------------------------------------------------------------- */

typedef struct commits {
  int done, failed;
} commits;

static void on_committed(void *user, const char *failure)
{
  commits *c = user;
  c->done++;
  if (failure) c->failed++;
}

static void test_commits(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 1);
  mock_fill(&f.m, "t", 0, 0, 9);
  static const rl_kafka_setting group[] = {{"group.id", "g"}, {NULL, NULL}};
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, group), RL_OK);
  const rl_kafka_range high = {"t", 0, 0, 7}, low = {"t", 0, 0, 5};
  commits c = {0};
  assert_int_equal(rl_kafka_commit(f.stream, &high, 1, on_committed, &c, NULL), RL_ESTATE);
  start(&f);
  assert_int_equal(rl_kafka_commit(f.stream, &high, 1, on_committed, &c, NULL), RL_OK);
  assert_int_equal(rl_kafka_commit(f.stream, &low, 1, on_committed, &c, NULL), RL_OK); /* nothing to be done */
  assert_int_equal(c.done, 1);
  rl_streaming_stop(f.base.s, false, false); /* waits for the answer */
  assert_int_equal(c.done, 2);
  assert_int_equal(c.failed, 0);
  streams_end(&f.base);

  /* The next one begins there. */
  const char *settings[] = {"clock", "manual", NULL};
  streams_begin(&f.base, BATCH_MS, settings);
  f.base.with_times = true;
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, group), RL_OK);
  start(&f);
  advance(&f, BATCH_MS);
  expect_batches(&f, "@5000 7 8 ");
  end(&f);
}

/* The broker that keeps the group's offsets has changed, twice: a start goes on asking. */
static void test_coordinator_that_changes(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 1);
  mock_fill(&f.m, "t", 0, 0, 3);
  static const rl_kafka_setting group[] = {{"group.id", "g"}, {"auto.offset.reset", "earliest"}, {NULL, NULL}};
  const int offset_fetch = 9;
  rd_kafka_mock_push_request_errors(f.m.cluster, offset_fetch, 3, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
                                    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_COORDINATOR);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, group), RL_OK);
  start(&f);
  advance(&f, BATCH_MS);
  expect_batches(&f, "@5000 0 1 2 ");
  end(&f);
}

static void test_commit_without_group(void **state)
{
  (void)state;
  fixture f;
  begin(&f, NULL, NULL);
  mock_topic(&f.m, "t", 1);
  assert_int_equal(add_stream(&f, (rl_kafka_stream){.topics = topic_t, .ntopics = 1}, latest), RL_OK);
  const rl_kafka_range range = {"t", 0, 0, 7};
  assert_int_equal(rl_kafka_commit(f.stream, &range, 1, NULL, NULL, NULL), RL_EINVAL);
  assert_non_null(strstr(rl_error_message(), "group.id"));
  end(&f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_exact_ranges),
    cmocka_unit_test(test_same_partition_at_once),
    cmocka_unit_test(test_forms_of_records),
    cmocka_unit_test(test_bad_ranges),
    cmocka_unit_test(test_no_broker),
    cmocka_unit_test(test_a_range_beyond_the_end),
    cmocka_unit_test(test_bounds_that_are_not_told),
    cmocka_unit_test(test_batches_go_on_where_the_last_ended),
    cmocka_unit_test(test_latest_without_a_setting),
    cmocka_unit_test(test_given_offsets),
    cmocka_unit_test(test_rate_per_partition),
    cmocka_unit_test(test_topics_that_match_join),
    cmocka_unit_test(test_missing_topic),
    cmocka_unit_test(test_no_broker_at_the_start),
    cmocka_unit_test(test_broker_down_for_a_while),
    cmocka_unit_test(test_restored),
    cmocka_unit_test(test_wrong_specs),
    cmocka_unit_test(test_commits),
    cmocka_unit_test(test_coordinator_that_changes),
    cmocka_unit_test(test_commit_without_group),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
