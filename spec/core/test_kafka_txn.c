/* Transactions of Kafka, with a mock cluster whose requests fail in all the ways there are. The mock forgets offsets of
 * transactions, so what is on record is for the specs with a real broker. */
#include <stdlib.h>

#include "engine.h"
#include "kafka_mock.h"
#include "sink/kafka.h"
#include "sink/kafka_line.h"

/* Kinds of requests. */
#define PRODUCE 0
#define INIT_PRODUCER_ID 22
#define ADD_OFFSETS_TO_TXN 25
#define END_TXN 26
#define TXN_OFFSET_COMMIT 28

typedef struct world {
  mock m;
  rl_context *c;
  rl_kafka_txn *txn;
  rl_fn *sink;
  int64_t time; /* of the batch */
} world;

static void begin(world *w, const char *seconds)
{
  mock_begin(&w->m, 1);
  mock_topic(&w->m, "t", 1);
  const char *settings[] = {"rille.log.level",       "off", "rille.task.maxFailures", "1",
                            "rille.task.maxSeconds", seconds, NULL};
  w->c = new_context(settings);
  const rl_kafka_setting brokers[] = {{"bootstrap.servers", w->m.brokers}};
  const rl_kafka_txn_spec spec = {.settings = brokers, .nsettings = 1, .id = "id", .marker = "t"};
  assert_int_equal(rl_kafka_txn_new(&spec, rl_context_conf(w->c), &w->txn), RL_OK);
  const rl_kafka_sink sink = {.settings = brokers, .nsettings = 1, .topic = "t", .transaction = w->txn};
  assert_int_equal(rl_sink_kafka_fn(&sink, rl_context_conf(w->c), &w->sink), RL_OK);
}

static void end(world *w)
{
  rl_fn_unref(w->sink);
  rl_kafka_txn_unref(w->txn);
  rl_context_unref(w->c);
  mock_end(&w->m);
}

static rl_status run_fn(world *w, rl_fn *fn, rl_rdd *over) /* gives fn and over up */
{
  rl_job *job = NULL;
  rl_rdd *r = apply((rl_op){.kind = RL_OP_NARROW, .name = "transaction", .fn = fn}, over);
  const rl_job_spec spec = {.rdd = r, .kind = RL_JOB_RUN, .batch_time = w->time, .what = "test"};
  rl_status st = rl_job_submit(w->c, &spec, NULL, &job);
  if (st == RL_OK) st = rl_job_wait(job);
  rl_job_unref(job);
  rl_rdd_unref(r);
  return st;
}

static rl_status run_begin(world *w) { return run_fn(w, rl_kafka_txn_begin_fn(w->txn), integers(0, 1, 1)); }
static rl_status run_commit(world *w) { return run_fn(w, rl_kafka_txn_commit_fn(w->txn), integers(0, 1, 1)); }
static rl_status run_send(world *w) { return run_fn(w, rl_fn_ref(w->sink), integers(0, 5, 2)); }

static void next_batch(world *w)
{
  const rl_kafka_txn_offset offsets[] = {{NULL, "from", 0, 7}, {"group", "from", 1, 8}, {"group", "from", 2, 9}};
  rl_kafka_txn_batch(w->txn, 1, offsets, 3);
}

static rl_status write_batch(world *w)
{
  w->time += 1000;
  next_batch(w);
  rl_status st = run_begin(w);
  if (st == RL_OK) st = run_send(w);
  return st == RL_OK ? run_commit(w) : st;
}

static void expect_message(const char *part)
{
  if (!strstr(rl_error_message(), part)) fail_msg("'%s' is not in: %s", part, rl_error_message());
}

/* As often as it is worth another try. */
static void expect_written(world *w)
{
  for (int i = 0; i < 4; i++) {
    if (write_batch(w) == RL_OK) return;
    if (!rl_kafka_txn_again(w->txn)) break;
  }
  fail_msg("%s", rl_error_message());
}

static void fail_requests(world *w, int kind, size_t n, rd_kafka_resp_err_t err)
{
  for (size_t i = 0; i < n; i++) rd_kafka_mock_push_request_errors(w->m.cluster, (int16_t)kind, 1, err);
}

/* What may pass is tried again, call by call; where librdkafka will not, all of the batch. */
static void test_retriable(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "60");
  fail_requests(&w, INIT_PRODUCER_ID, 2, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
  fail_requests(&w, ADD_OFFSETS_TO_TXN, 2, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
  fail_requests(&w, TXN_OFFSET_COMMIT, 2, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
  fail_requests(&w, END_TXN, 2, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
  expect_written(&w);
  expect_written(&w);
  end(&w);
}

/* What brokers will never give is told when the job starts. */
static void test_start(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "60");
  fail_requests(&w, INIT_PRODUCER_ID, 1, RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT);
  assert_int_equal(rl_kafka_txn_start(w.txn), RL_EINVAL);
  expect_message("takes no transaction.timeout.ms of 300000, as it is above the brokers' transaction.max.timeout.ms");
  fail_requests(&w, INIT_PRODUCER_ID, 1, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
  assert_int_equal(rl_kafka_txn_start(w.txn), RL_EINVAL);
  expect_message("gives no transactions to 'id': ");
  fail_requests(&w, INIT_PRODUCER_ID, 2, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS);
  assert_int_equal(rl_kafka_txn_start(w.txn), RL_OK);
  expect_written(&w);
  end(&w);
}

static void test_start_without_brokers(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "60");
  rd_kafka_mock_broker_set_down(w.m.cluster, 1);
  assert_int_equal(rl_kafka_txn_start(w.txn), RL_OK);
  rd_kafka_mock_broker_set_up(w.m.cluster, 1);
  expect_written(&w);
  end(&w);
}

/* The transaction is undone, and all of it is worth another try. */
static void test_abortable(void **state)
{
  (void)state;
  static const struct {
    int kind;
    rd_kafka_resp_err_t err;
  } cases[] = {{TXN_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED},
               {END_TXN, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING}};
  world w = {0};
  begin(&w, "60");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fail_requests(&w, cases[i].kind, 1, cases[i].err);
    assert_int_equal(write_batch(&w), RL_EIO);
    assert_true(rl_kafka_txn_again(w.txn));
    expect_written(&w);
    assert_false(rl_kafka_txn_again(w.txn));
  }
  end(&w);
}

static void test_fenced(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "60");
  fail_requests(&w, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
  assert_int_equal(write_batch(&w), RL_ESTATE);
  expect_message("another process writes to Kafka as 'id' and has taken over");
  assert_false(rl_kafka_txn_again(w.txn));
  assert_int_equal(write_batch(&w), RL_ESTATE); /* it does not take the id back */
  expect_message("has taken over");
  end(&w);
}

static void test_refused_record(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "60");
  fail_requests(&w, PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
  assert_int_equal(write_batch(&w), RL_ELIMIT);
  assert_false(rl_kafka_txn_again(w.txn));
  expect_written(&w);
  end(&w);
}

/* What was left open is over: nothing joins it, and it is undone by the next. */
static void test_left_open(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "60");
  next_batch(&w);
  assert_int_equal(run_begin(&w), RL_OK);
  uint64_t transaction;
  struct rl_kafka_line *line;
  assert_int_equal(rl_kafka_txn_join(w.txn, &transaction, &line), RL_OK);
  assert_int_equal(rl_kafka_txn_lock(w.txn, transaction), RL_OK);
  rl_kafka_txn_unlock(w.txn);
  assert_int_equal(run_begin(&w), RL_OK);
  assert_int_equal(rl_kafka_txn_lock(w.txn, transaction), RL_ECANCELLED);
  rl_fail(RL_EIO, "an old attempt");
  rl_kafka_txn_spoil(w.txn, transaction); /* is no matter of the new one */
  assert_false(rl_kafka_txn_again(w.txn));
  assert_int_equal(run_commit(&w), RL_OK);
  assert_int_equal(rl_kafka_txn_join(w.txn, &transaction, &line), RL_ECANCELLED);
  assert_int_equal(run_commit(&w), RL_ESTATE);
  rl_kafka_line_unref(line);
  end(&w);
}

static void test_no_broker(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "3");
  rd_kafka_mock_broker_set_down(w.m.cluster, 1);
  next_batch(&w);
  assert_int_equal(run_begin(&w), RL_EIO);
  expect_message("transactions cannot be had of Kafka at ");
  assert_true(rl_kafka_txn_again(w.txn));
  rd_kafka_mock_broker_set_up(w.m.cluster, 1);
  end(&w);
}

static void test_times(void **state)
{
  (void)state;
  world w = {0};
  begin(&w, "60");
  assert_false(rl_kafka_txn_has(w.txn, 0));
  rl_kafka_txn_batch(w.txn, 1, NULL, 0);
  assert_int_equal(run_begin(&w), RL_OK);
  assert_int_equal(run_commit(&w), RL_OK); /* nothing in it */
  assert_false(rl_kafka_txn_has(w.txn, 0));
  expect_written(&w);
  assert_true(rl_kafka_txn_has(w.txn, 1000));
  assert_false(rl_kafka_txn_has(w.txn, 1001));
  rl_kafka_txn_batch(w.txn, 2, NULL, 0);
  assert_false(rl_kafka_txn_has(w.txn, 1000)); /* another job's */
  end(&w);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_retriable),      cmocka_unit_test(test_start),
    cmocka_unit_test(test_start_without_brokers),
    cmocka_unit_test(test_abortable), cmocka_unit_test(test_fenced),
    cmocka_unit_test(test_refused_record), cmocka_unit_test(test_left_open), cmocka_unit_test(test_no_broker),
    cmocka_unit_test(test_times),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
