#include "source/kafka_reader.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "source/kafka_columns.h"
#include "source/kafka_reader_impl.h"

#define SLICE_MS 100 /* how long one wait lasts, between looks at whether the task was cancelled */
#define FIRST_FETCH 64
#define NUDGE_MS 100
#define DOUBT_NS INT64_C(2000000000) /* nothing came for so long: is there such a partition? */
#define DOUBT_MS 2000                /* for the answer */
#define REASON_MS 10000              /* for what is said when it is given up */

typedef struct read {
  rl_pull base;
  rl_kafka_pool *pool;
  rl_kafka_reader *r; /* NULL: at the end */
  const rl_task *task;
  char *topic;
  int64_t until;
  rl_kafka_records form;
  int64_t since_ns;    /* when the read began */
  int64_t progress_ns; /* when something last came */
  bool asked;          /* whether the partition is there */
} read;

static void finish(read *in)
{
  if (!in->r) return;
  rd_kafka_poll(in->r->client->rk, 0); /* what librdkafka has to say, which the log had already, does not pile up */
  if (!in->pool->ahead) rl_kafka_reader_stop(in->r);
  rl_kafka_pool_release(in->pool, in->r);
  in->r = NULL;
}

/* The reader's state is not known any more: the next read starts it anew. */
static rl_status give_up(read *in, rl_status st)
{
  rl_kafka_reader_stop(in->r);
  in->r->position = -1;
  finish(in);
  return st;
}

/* The range goes on at `to`; what is before it is not there. */
static rl_status pass_over(read *in, int64_t to, int64_t low, int64_t high)
{
  rl_kafka_reader *r = in->r;
  if (rl_kafka_pool_is_news(in->pool, r, to)) {
    rl_warn("%s/%" PRId32 ": offsets %" PRId64 " to %" PRId64 " are %s there (now it has %" PRId64 " to %" PRId64
            ") and are passed over, as auto.offset.reset says", in->topic, r->partition, r->position, to - 1,
            r->position < low ? "no longer" : "not", low, high);
  }
  if (to < in->until) return rl_kafka_reader_start(r, to);
  rl_kafka_reader_stop(r);
  r->position = to;
  return RL_OK;
}

/* One bound of what is there. With a special number as its "time" the request for offsets by time asks for it;
 * rd_kafka_query_watermark_offsets would wait for ever for a leader that is gone (librdkafka's issue 2588). */
static rd_kafka_resp_err_t ask_bound(const read *in, int64_t which, int64_t wait_ms, int64_t *out)
{
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, in->r->topic, in->r->partition);
  tp->offset = which;
  rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(in->r->client->rk, list, (int)wait_ms);
  if (!err) err = tp->err;
  *out = tp->offset;
  rd_kafka_topic_partition_list_destroy(list);
  return err;
}

/* The position is not there. A range is fixed: what is left of it is read, whichever end auto.offset.reset names. */
static rl_status on_lost(read *in)
{
  rl_kafka_reader *r = in->r;
  rl_kafka_reset reset = rl_kafka_conf_reset(in->pool->conf);
  int64_t low = -1, high = -1, wait_ms = in->pool->wait_ns / 1000000;
  rd_kafka_resp_err_t err = ask_bound(in, RD_KAFKA_OFFSET_BEGINNING, wait_ms, &low);
  if (!err) err = ask_bound(in, RD_KAFKA_OFFSET_END, wait_ms, &high);
  if (err) {
    return rl_fail(RL_EIO, "%s/%" PRId32 ": offset %" PRId64 " is not there, and its bounds cannot be asked for: %s",
                   r->topic, r->partition, r->position, rd_kafka_err2str(err));
  }
  if (low <= r->position && r->position <= high) { /* a leader that does not know of it yet */
    return rl_fail(RL_EIO, "%s/%" PRId32 " was not given from offset %" PRId64 " on, though it has %" PRId64
                   " to %" PRId64, r->topic, r->partition, r->position, low, high);
  }
  if (reset != RL_KAFKA_RESET_EARLIEST && reset != RL_KAFKA_RESET_LATEST) {
    return rl_fail(RL_EDATA, "%s/%" PRId32 ": offset %" PRId64 " is %s there (now it has %" PRId64 " to %" PRId64
                   "); with auto.offset.reset the job goes on without it",
                   r->topic, r->partition, r->position, r->position < low ? "no longer" : "not", low, high);
  }
  bool some = r->position < low && low < in->until;
  return pass_over(in, some ? low : in->until, low, high);
}

static rl_status on_error(read *in, const rd_kafka_message_t *m)
{
  rl_kafka_reader *r = in->r;
  switch (m->err) {
  case RD_KAFKA_RESP_ERR__PARTITION_EOF:
    if (m->offset > r->position) r->position = m->offset;
    return RL_OK;
  case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
  case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE: return on_lost(in);
  case RD_KAFKA_RESP_ERR__TRANSPORT: /* it goes on by itself when the broker is back */
  case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
  case RD_KAFKA_RESP_ERR__RESOLVE:
  case RD_KAFKA_RESP_ERR__TIMED_OUT: return RL_OK;
  case RD_KAFKA_RESP_ERR__BAD_MSG:
  case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    return rl_fail(RL_EDATA, "%s/%" PRId32 ", at or behind offset %" PRId64 ": %s", r->topic, r->partition, r->position,
                   rd_kafka_message_errstr(m));
  default:
    return rl_fail(RL_EIO, "%s/%" PRId32 " cannot be read at offset %" PRId64 ": %s", r->topic, r->partition,
                   r->position, rd_kafka_message_errstr(m));
  }
}

/* Where librdkafka's position is beyond ours, nothing but gaps and marks of transactions is between them. Only while no
 * message is held. */
static void follow_gaps(rl_kafka_reader *r)
{
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, r->topic, r->partition);
  if (!rd_kafka_position(r->client->rk, list) && tp->offset > r->position) r->position = tp->offset;
  rd_kafka_topic_partition_list_destroy(list);
}

static bool has_partition(const rd_kafka_metadata_topic_t *t, int32_t partition)
{
  for (int i = 0; i < t->partition_cnt; i++)
    if (t->partitions[i].id == partition) return true;
  return false;
}

/* librdkafka waits for a partition that is not there as for one that has no records yet. */
static rl_status check_there(const read *in)
{
  const rl_kafka_reader *r = in->r;
  const char *brokers = rl_kafka_conf_brokers(in->pool->conf);
  const rd_kafka_metadata_t *md = NULL;
  if (rd_kafka_metadata(r->client->rk, 0, r->rkt, &md, DOUBT_MS)) return RL_OK; /* no answer: it is waited for */
  rl_status st = RL_OK;
  const rd_kafka_metadata_topic_t *t = md->topic_cnt == 1 ? &md->topics[0] : NULL;
  if (t && t->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    st = rl_fail(RL_ENOTFOUND, "there is no topic '%s' in Kafka at %s", r->topic, brokers);
  else if (t && !t->err && !has_partition(t, r->partition))
    st = rl_fail(RL_ENOTFOUND, "topic '%s' in Kafka at %s has no partition %" PRId32 " (it has %d)", r->topic, brokers,
                 r->partition, t->partition_cnt);
  rd_kafka_metadata_destroy(md);
  return st;
}

/* Why nothing came: brokers that are away, or a partition that is not that long: anew under its name, or cut short. Behind
 * its end there may be what a transaction has not decided yet, so this is no loss that auto.offset.reset could mend. */
static char *why_nothing(const read *in)
{
  char *reason = rl_kafka_health_reason(in->pool->health);
  int64_t end = -1;
  if (reason[0] || ask_bound(in, RD_KAFKA_OFFSET_END, REASON_MS, &end) || end < 0 || end >= in->until) return reason;
  rl_free(reason);
  return rl_format(": the partition ends at %" PRId64, end);
}

static rl_status check_patience(read *in)
{
  int64_t now = rl_mono_ns();
  if (!in->asked && now - in->progress_ns > DOUBT_NS) {
    in->asked = true;
    rl_status st = check_there(in);
    if (st != RL_OK) return st;
  }
  bool over = now - in->progress_ns > in->pool->wait_ns;
  if (in->pool->total_ns > 0 && now - in->since_ns > in->pool->total_ns) over = true;
  if (!over) return RL_OK;
  char *reason = why_nothing(in);
  rl_fail(RL_EIO, "no record of %s/%" PRId32 " at offset %" PRId64 " (of a range to %" PRId64 ") came within %" PRId64
          " s%s", in->topic, in->r->partition, in->r->position, in->until,
          (now - in->progress_ns) / INT64_C(1000000000), reason);
  rl_free(reason);
  return RL_EIO;
}

/* Once a partition's queue is full, librdkafka looks at it again only when something else wakes the broker's thread,
 * which can take a second. A question to that broker does. */
static void nudge(read *in)
{
  rl_kafka_reader *r = in->r;
  int64_t most = r->usual > 0 ? in->pool->queue_bytes / (int64_t)r->usual : INT64_MAX;
  if (most > in->pool->queue_messages) most = in->pool->queue_messages;
  int64_t n = (int64_t)rd_kafka_queue_length(r->queue);
  if (n > most / 4 * 3) r->full = true;
  if (!r->full || n > most / 2) return;
  r->full = false;
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_list_add(list, r->topic, r->partition)->offset = RD_KAFKA_OFFSET_END;
  rd_kafka_offsets_for_times(r->client->rk, list, NUDGE_MS);
  rd_kafka_topic_partition_list_destroy(list);
}

/* What is there, else, after a wait, what comes first. None: only gaps came, or nothing. */
static rl_status fetch(read *in)
{
  rl_kafka_reader *r = in->r;
  size_t want = r->usual > 0 ? RL_CHUNK_BYTES / r->usual + 1 : FIRST_FETCH;
  if (want > RL_CHUNK_RECORDS) want = RL_CHUNK_RECORDS;
  r->at = r->n = 0;
  nudge(in);
  ssize_t n = rd_kafka_consume_batch_queue(r->queue, 0, r->held, want);
  if (n > 0) {
    r->n = (size_t)n;
    return RL_OK;
  }
  follow_gaps(r);
  if (r->position >= in->until) return RL_OK;
  rd_kafka_message_t *m = rd_kafka_consume_queue(r->queue, SLICE_MS);
  if (!m) return check_patience(in);
  r->held[r->n++] = m;
  return RL_OK;
}

/* How many of the held messages, from `at` on, make the next chunk; moves the position behind them. */
static size_t choose(const read *in, size_t *bytes)
{
  rl_kafka_reader *r = in->r;
  size_t k = 0;
  for (*bytes = 0; r->at + k < r->n && *bytes < RL_CHUNK_BYTES; k++) {
    const rd_kafka_message_t *m = r->held[r->at + k];
    if (m->err || m->offset < r->position || m->offset >= in->until) break;
    r->position = m->offset + 1;
    *bytes += m->len + m->key_len;
  }
  return k;
}

static rl_status make_chunk(read *in, size_t n, size_t bytes, rl_chunk **out)
{
  rl_kafka_reader *r = in->r;
  rl_status st = rl_kafka_columns(in->form, in->topic, r->held + r->at, (uint32_t)n, out);
  for (size_t end = r->at + n; r->at < end; r->at++) rd_kafka_message_destroy(r->held[r->at]);
  r->usual = (r->usual + bytes / n + 1) / (r->usual > 0 ? 2 : 1);
  return st;
}

/* A message that goes into no chunk: an error, one behind the range (kept for the next), or one before the position. */
static rl_status take_other(read *in)
{
  rl_kafka_reader *r = in->r;
  rd_kafka_message_t *m = r->held[r->at];
  if (!m->err && m->offset >= in->until) {
    r->position = in->until;
    return RL_OK;
  }
  r->at++;
  rl_status st = m->err ? on_error(in, m) : RL_OK;
  rd_kafka_message_destroy(m);
  return st;
}

static rl_status step(read *in, rl_chunk **out)
{
  rl_kafka_reader *r = in->r;
  if (r->at == r->n) {
    rl_status st = fetch(in);
    if (st != RL_OK || r->at == r->n) return st;
    in->progress_ns = rl_mono_ns();
  }
  size_t bytes, n = choose(in, &bytes);
  return n > 0 ? make_chunk(in, n, bytes, out) : take_other(in);
}

static rl_status read_next(rl_pull *self, rl_chunk **out)
{
  read *in = (read *)self;
  *out = NULL;
  while (in->r && !*out && in->r->position < in->until) {
    rl_status st = rl_task_check(in->task);
    if (st == RL_OK) st = step(in, out);
    if (st != RL_OK) return give_up(in, st);
  }
  if (!*out) finish(in);
  return RL_OK;
}

static void read_close(rl_pull *self)
{
  read *in = (read *)self;
  finish(in);
  rl_kafka_pool_unref(in->pool);
  rl_free(in->topic);
  rl_free(in);
}

rl_status rl_kafka_read(rl_kafka_pool *p, const rl_kafka_range *range, rl_kafka_records form, const rl_task *task,
                        rl_pull **out)
{
  static const rl_pull_class cls = {.next = read_next, .close = read_close};
  rl_kafka_reader *r = NULL;
  rl_status st = rl_kafka_pool_acquire(p, range, &r);
  if (st != RL_OK) return st;
  if (r->position != range->from || !r->queue) st = rl_kafka_reader_start(r, range->from);
  if (st != RL_OK) {
    rl_kafka_pool_release(p, r);
    return st;
  }
  read *in = RL_NEW(read);
  *in = (read){.base.cls = &cls, .pool = rl_kafka_pool_ref(p), .r = r, .task = task, .topic = rl_strdup(range->topic),
               .until = range->until, .form = form, .since_ns = rl_mono_ns()};
  in->progress_ns = in->since_ns;
  *out = &in->base;
  return RL_OK;
}
