#include "source/kafka_reader.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "source/kafka_columns.h"
#include "source/kafka_ranges.h"

#define SLICE_MS 100 /* how long one wait lasts, between looks at whether the task was cancelled */
#define FIRST_FETCH 64
#define NUDGE_MS 100
#define DOUBT_NS INT64_C(2000000000) /* nothing came for so long: is there such a partition? */
#define DOUBT_MS 2000                /* for the answer */

typedef struct client {
  struct client *next;
  rd_kafka_t *rk;
} client;

typedef struct reader {
  struct reader *next;
  client *client;
  char *topic;
  int32_t partition;
  rd_kafka_topic_t *rkt;
  rd_kafka_queue_t *queue; /* NULL: not started */
  bool busy;
  int64_t position;        /* the next offset that was not handed out */
  rd_kafka_message_t *held[RL_CHUNK_RECORDS];
  size_t at, n; /* those of held that are still to be looked at */
  size_t usual; /* bytes of a message, on the average of late */
  bool full;    /* the queue was nearly full, and fetching may rest */
} reader;

struct rl_kafka_pool {
  _Atomic uint32_t refs;
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  bool ahead;
  int64_t queue_bytes, queue_messages; /* as much as librdkafka fetches ahead of a partition */
  int64_t wait_ns;  /* for the next record */
  int64_t total_ns; /* from the begin of a read, while it waits; 0: no limit */
  pthread_mutex_t lock; /* the lists, `busy` and `position` of readers that are not, `passed` */
  client *clients;
  reader *readers;
  rl_kafka_ranges passed; /* of each partition what was last said to be passed over */
};

/* Readers ---------------------------------------------------------------------------------------------------------- */

static void drop_held(reader *r)
{
  for (; r->at < r->n; r->at++) rd_kafka_message_destroy(r->held[r->at]);
  r->at = r->n = 0;
}

static void stop_reader(reader *r)
{
  drop_held(r);
  if (!r->queue) return;
  rd_kafka_consume_stop(r->rkt, r->partition);
  rd_kafka_queue_destroy(r->queue);
  r->queue = NULL;
}

static rl_status start_reader(reader *r, int64_t from)
{
  stop_reader(r);
  r->queue = rd_kafka_queue_new(r->client->rk);
  r->position = from;
  if (rd_kafka_consume_start_queue(r->rkt, r->partition, from, r->queue) == 0) return RL_OK;
  const char *reason = rd_kafka_err2str(rd_kafka_last_error());
  rd_kafka_queue_destroy(r->queue);
  r->queue = NULL;
  return rl_fail(RL_EIO, "%s/%" PRId32 " cannot be read from offset %" PRId64 ": %s", r->topic, r->partition, from,
                 reason);
}

static void delete_readers(reader *r)
{
  while (r) {
    reader *next = r->next;
    stop_reader(r);
    rd_kafka_topic_destroy(r->rkt);
    rl_free(r->topic);
    rl_free(r);
    r = next;
  }
}

static void delete_clients(client *c)
{
  while (c) {
    client *next = c->next;
    rd_kafka_destroy_flags(c->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    rl_free(c);
    c = next;
  }
}

static bool is_of(const reader *r, const rl_kafka_range *range)
{
  return r->partition == range->partition && strcmp(r->topic, range->topic) == 0;
}

/* Pool ------------------------------------------------------------------------------------------------------------- */

rl_kafka_pool *rl_kafka_pool_new(rl_kafka_conf *c, rl_kafka_health *h, const rl_conf *conf, bool ahead)
{
  rl_kafka_pool *p = RL_NEW(rl_kafka_pool);
  p->refs = 1;
  p->conf = rl_kafka_conf_ref(c);
  p->health = rl_kafka_health_ref(h);
  p->ahead = ahead;
  p->queue_bytes = rl_kafka_conf_number(c, "queued.max.messages.kbytes") * 1024;
  p->queue_messages = rl_kafka_conf_number(c, "queued.min.messages");
  p->wait_ns = rl_conf_us(conf, "rille.streaming.kafka.consumer.poll") * 1000;
  p->total_ns = rl_conf_us(conf, "rille.task.maxSeconds") * 900;
  pthread_mutex_init(&p->lock, NULL);
  return p;
}

rl_kafka_pool *rl_kafka_pool_ref(rl_kafka_pool *p)
{
  atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
  return p;
}

void rl_kafka_pool_unref(rl_kafka_pool *p)
{
  if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) > 1) return;
  delete_readers(p->readers);
  delete_clients(p->clients);
  rl_kafka_ranges_clear(&p->passed);
  pthread_mutex_destroy(&p->lock);
  rl_kafka_health_unref(p->health);
  rl_kafka_conf_unref(p->conf);
  rl_free(p);
}

/* Takes the idle readers that no range is for out of the list. Locked. */
static reader *take_readers(rl_kafka_pool *p, const rl_kafka_range *ranges, uint32_t n)
{
  reader *out = NULL;
  for (reader **at = &p->readers; *at;) {
    reader *r = *at;
    bool wanted = r->busy;
    for (uint32_t i = 0; i < n && !wanted; i++) wanted = is_of(r, &ranges[i]);
    if (wanted) {
      at = &r->next;
      continue;
    }
    *at = r->next;
    r->next = out;
    out = r;
  }
  return out;
}

static bool has_reader(const rl_kafka_pool *p, const client *c)
{
  const reader *r = p->readers;
  while (r && r->client != c) r = r->next;
  return r != NULL;
}

/* Likewise the clients that no reader is of. Locked. */
static client *take_clients(rl_kafka_pool *p)
{
  client *out = NULL;
  for (client **at = &p->clients; *at;) {
    client *c = *at;
    if (has_reader(p, c)) {
      at = &c->next;
      continue;
    }
    *at = c->next;
    c->next = out;
    out = c;
  }
  return out;
}

void rl_kafka_pool_prune(rl_kafka_pool *p, const rl_kafka_range *ranges, uint32_t n)
{
  pthread_mutex_lock(&p->lock);
  reader *readers = take_readers(p, ranges, n);
  client *clients = take_clients(p);
  pthread_mutex_unlock(&p->lock);
  delete_readers(readers);
  delete_clients(clients);
}

/* The idle one that is where the range begins, else any idle one of its partition. Locked. */
static reader *find_idle(const rl_kafka_pool *p, const rl_kafka_range *range)
{
  reader *found = NULL;
  for (reader *r = p->readers; r; r = r->next) {
    if (r->busy || !is_of(r, range)) continue;
    if (r->position == range->from) return r;
    found = r;
  }
  return found;
}

/* A client reads a partition only once at a time. Locked. */
static bool reads(const rl_kafka_pool *p, const client *c, const rl_kafka_range *range)
{
  for (const reader *r = p->readers; r; r = r->next)
    if (r->client == c && is_of(r, range)) return true;
  return false;
}

static rl_status find_client(rl_kafka_pool *p, const rl_kafka_range *range, client **out)
{
  client *c = p->clients;
  while (c && reads(p, c, range)) c = c->next;
  if (!c) {
    rd_kafka_t *rk = NULL;
    rl_status st = rl_kafka_client_new(p->conf, RL_KAFKA_READ, p->health, NULL, &rk);
    if (st != RL_OK) return st;
    c = RL_NEW(client);
    c->rk = rk;
    c->next = p->clients;
    p->clients = c;
  }
  *out = c;
  return RL_OK;
}

static rl_status add_reader(rl_kafka_pool *p, const rl_kafka_range *range, reader **out)
{
  client *c = NULL;
  rl_status st = find_client(p, range, &c);
  if (st != RL_OK) return st;
  reader *r = RL_NEW(reader);
  r->rkt = rd_kafka_topic_new(c->rk, range->topic, NULL);
  if (!r->rkt) {
    rl_free(r);
    return rl_fail(RL_EINVAL, "topic '%s': %s", range->topic, rd_kafka_err2str(rd_kafka_last_error()));
  }
  r->client = c;
  r->topic = rl_strdup(range->topic);
  r->partition = range->partition;
  r->position = -1;
  r->next = p->readers;
  p->readers = r;
  *out = r;
  return RL_OK;
}

static rl_status acquire(rl_kafka_pool *p, const rl_kafka_range *range, reader **out)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&p->lock);
  reader *r = find_idle(p, range);
  if (!r) st = add_reader(p, range, &r);
  if (r) r->busy = true;
  pthread_mutex_unlock(&p->lock);
  *out = r;
  return st;
}

static void release(rl_kafka_pool *p, reader *r)
{
  pthread_mutex_lock(&p->lock);
  r->busy = false;
  pthread_mutex_unlock(&p->lock);
}

/* Reading ---------------------------------------------------------------------------------------------------------- */

typedef struct read {
  rl_pull base;
  rl_kafka_pool *pool;
  reader *r; /* NULL: at the end */
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
  if (!in->pool->ahead) stop_reader(in->r);
  release(in->pool, in->r);
  in->r = NULL;
}

/* The reader's state is not known any more: the next read starts it anew. */
static rl_status give_up(read *in, rl_status st)
{
  stop_reader(in->r);
  in->r->position = -1;
  finish(in);
  return st;
}

/* Each action over a batch reads it anew, and comes upon the same: that is said once. */
static bool is_news(rl_kafka_pool *p, const reader *r, int64_t to)
{
  bool told = false;
  pthread_mutex_lock(&p->lock);
  rl_kafka_range *last = NULL;
  for (size_t i = 0; i < p->passed.n && !last; i++)
    if (is_of(r, &p->passed.v[i])) last = &p->passed.v[i];
  if (last) {
    told = last->from == r->position && last->until == to;
    last->from = r->position;
    last->until = to;
  } else {
    rl_kafka_ranges_add(&p->passed, r->topic, r->partition, r->position, to);
  }
  pthread_mutex_unlock(&p->lock);
  return !told;
}

/* The range goes on at `to`; what is before it is not there. */
static rl_status pass_over(read *in, int64_t to, int64_t low, int64_t high)
{
  reader *r = in->r;
  if (is_news(in->pool, r, to)) {
    rl_warn("%s/%" PRId32 ": offsets %" PRId64 " to %" PRId64 " are %s there (now it has %" PRId64 " to %" PRId64
            ") and are passed over, as auto.offset.reset says", in->topic, r->partition, r->position, to - 1,
            r->position < low ? "no longer" : "not", low, high);
  }
  if (to < in->until) return start_reader(r, to);
  stop_reader(r);
  r->position = to;
  return RL_OK;
}

/* One bound of what is there. With a special number as its "time" the request for offsets by time asks for it;
 * rd_kafka_query_watermark_offsets would wait for ever for a leader that is gone (librdkafka's issue 2588). */
static rd_kafka_resp_err_t ask_bound(const read *in, int64_t which, int64_t *out)
{
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
  rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_add(list, in->r->topic, in->r->partition);
  tp->offset = which;
  rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(in->r->client->rk, list, (int)(in->pool->wait_ns / 1000000));
  if (!err) err = tp->err;
  *out = tp->offset;
  rd_kafka_topic_partition_list_destroy(list);
  return err;
}

/* The position is not there. A range is fixed: what is left of it is read, whichever end auto.offset.reset names. */
static rl_status on_lost(read *in)
{
  reader *r = in->r;
  rl_kafka_reset reset = rl_kafka_conf_reset(in->pool->conf);
  int64_t low = -1, high = -1;
  rd_kafka_resp_err_t err = ask_bound(in, RD_KAFKA_OFFSET_BEGINNING, &low);
  if (!err) err = ask_bound(in, RD_KAFKA_OFFSET_END, &high);
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
  reader *r = in->r;
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
static void follow_gaps(reader *r)
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
  const reader *r = in->r;
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
  char *reason = rl_kafka_health_reason(in->pool->health);
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
  reader *r = in->r;
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
  reader *r = in->r;
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
  reader *r = in->r;
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
  reader *r = in->r;
  rl_status st = rl_kafka_columns(in->form, in->topic, r->held + r->at, (uint32_t)n, out);
  for (size_t end = r->at + n; r->at < end; r->at++) rd_kafka_message_destroy(r->held[r->at]);
  r->usual = (r->usual + bytes / n + 1) / (r->usual > 0 ? 2 : 1);
  return st;
}

/* A message that goes into no chunk: an error, one behind the range (kept for the next), or one before the position. */
static rl_status take_other(read *in)
{
  reader *r = in->r;
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
  reader *r = in->r;
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
  reader *r = NULL;
  rl_status st = acquire(p, range, &r);
  if (st != RL_OK) return st;
  if (r->position != range->from || !r->queue) st = start_reader(r, range->from);
  if (st != RL_OK) {
    release(p, r);
    return st;
  }
  read *in = RL_NEW(read);
  *in = (read){.base.cls = &cls, .pool = rl_kafka_pool_ref(p), .r = r, .task = task, .topic = rl_strdup(range->topic),
               .until = range->until, .form = form, .since_ns = rl_mono_ns()};
  in->progress_ns = in->since_ns;
  *out = &in->base;
  return RL_OK;
}
