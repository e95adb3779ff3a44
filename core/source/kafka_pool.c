/* The readers that are kept between batches, and their clients. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "source/kafka_reader_impl.h"

/* Readers ---------------------------------------------------------------------------------------------------------- */

static void drop_held(rl_kafka_reader *r)
{
  for (; r->at < r->n; r->at++) rd_kafka_message_destroy(r->held[r->at]);
  r->at = r->n = 0;
}

void rl_kafka_reader_stop(rl_kafka_reader *r)
{
  drop_held(r);
  if (!r->queue) return;
  rd_kafka_consume_stop(r->rkt, r->partition);
  rd_kafka_queue_destroy(r->queue);
  r->queue = NULL;
}

rl_status rl_kafka_reader_start(rl_kafka_reader *r, int64_t from)
{
  rl_kafka_reader_stop(r);
  r->queue = rd_kafka_queue_new(r->client->rk);
  r->position = from;
  if (rd_kafka_consume_start_queue(r->rkt, r->partition, from, r->queue) == 0) return RL_OK;
  const char *reason = rd_kafka_err2str(rd_kafka_last_error());
  rd_kafka_queue_destroy(r->queue);
  r->queue = NULL;
  return rl_fail(RL_EIO, "%s/%" PRId32 " cannot be read from offset %" PRId64 ": %s", r->topic, r->partition, from,
                 reason);
}

static void delete_readers(rl_kafka_reader *r)
{
  while (r) {
    rl_kafka_reader *next = r->next;
    rl_kafka_reader_stop(r);
    rd_kafka_topic_destroy(r->rkt);
    rl_free(r->topic);
    rl_free(r);
    r = next;
  }
}

static void delete_clients(rl_kafka_client *c)
{
  while (c) {
    rl_kafka_client *next = c->next;
    rd_kafka_destroy_flags(c->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    rl_free(c);
    c = next;
  }
}

static bool is_of(const rl_kafka_reader *r, const rl_kafka_range *range)
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
static rl_kafka_reader *take_readers(rl_kafka_pool *p, const rl_kafka_range *ranges, uint32_t n)
{
  rl_kafka_reader *out = NULL;
  for (rl_kafka_reader **at = &p->readers; *at;) {
    rl_kafka_reader *r = *at;
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

static bool has_reader(const rl_kafka_pool *p, const rl_kafka_client *c)
{
  const rl_kafka_reader *r = p->readers;
  while (r && r->client != c) r = r->next;
  return r != NULL;
}

/* Likewise the clients that no reader is of. Locked. */
static rl_kafka_client *take_clients(rl_kafka_pool *p)
{
  rl_kafka_client *out = NULL;
  for (rl_kafka_client **at = &p->clients; *at;) {
    rl_kafka_client *c = *at;
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
  rl_kafka_reader *readers = take_readers(p, ranges, n);
  rl_kafka_client *clients = take_clients(p);
  pthread_mutex_unlock(&p->lock);
  delete_readers(readers);
  delete_clients(clients);
}

/* The idle one that is where the range begins, else any idle one of its partition. Locked. */
static rl_kafka_reader *find_idle(const rl_kafka_pool *p, const rl_kafka_range *range)
{
  rl_kafka_reader *found = NULL;
  for (rl_kafka_reader *r = p->readers; r; r = r->next) {
    if (r->busy || !is_of(r, range)) continue;
    if (r->position == range->from) return r;
    found = r;
  }
  return found;
}

/* A client reads a partition only once at a time. Locked. */
static bool reads(const rl_kafka_pool *p, const rl_kafka_client *c, const rl_kafka_range *range)
{
  for (const rl_kafka_reader *r = p->readers; r; r = r->next)
    if (r->client == c && is_of(r, range)) return true;
  return false;
}

static rl_status find_client(rl_kafka_pool *p, const rl_kafka_range *range, rl_kafka_client **out)
{
  rl_kafka_client *c = p->clients;
  while (c && reads(p, c, range)) c = c->next;
  if (!c) {
    rd_kafka_t *rk = NULL;
    rl_status st = rl_kafka_client_new(p->conf, RL_KAFKA_READ, p->health, NULL, &rk);
    if (st != RL_OK) return st;
    c = RL_NEW(rl_kafka_client);
    c->rk = rk;
    c->next = p->clients;
    p->clients = c;
  }
  *out = c;
  return RL_OK;
}

static rl_status add_reader(rl_kafka_pool *p, const rl_kafka_range *range, rl_kafka_reader **out)
{
  rl_kafka_client *c = NULL;
  rl_status st = find_client(p, range, &c);
  if (st != RL_OK) return st;
  rl_kafka_reader *r = RL_NEW(rl_kafka_reader);
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

rl_status rl_kafka_pool_acquire(rl_kafka_pool *p, const rl_kafka_range *range, rl_kafka_reader **out)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&p->lock);
  rl_kafka_reader *r = find_idle(p, range);
  if (!r) st = add_reader(p, range, &r);
  if (r) r->busy = true;
  pthread_mutex_unlock(&p->lock);
  *out = r;
  return st;
}

void rl_kafka_pool_release(rl_kafka_pool *p, rl_kafka_reader *r)
{
  pthread_mutex_lock(&p->lock);
  r->busy = false;
  pthread_mutex_unlock(&p->lock);
}

/* Each action over a batch reads it anew, and comes upon the same: that is said once. */
bool rl_kafka_pool_is_news(rl_kafka_pool *p, const rl_kafka_reader *r, int64_t to)
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
