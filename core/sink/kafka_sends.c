#include "sink/kafka_sends.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sink/kafka_line.h"

/* How long one wait lasts. What others wait for may be taken by this one, and the other way round. */
#define SLICE_MS 10
#define SERVED_EVERY 64 /* messages */

typedef struct route {
  struct route *next;
  rd_kafka_topic_t *rkt;
} route;

struct rl_kafka_sends {
  rl_kafka_sends_spec spec; /* producer and transaction are referenced */
  rl_kafka_line *line;
  uint64_t transaction; /* number of the one that it has joined */
  rl_kafka_tally *tally;
  route *routes; /* topics so far, the newest first */
  rd_kafka_headers_t *headers; /* of the next message; NULL: none */
  rl_buf key, value;
  unsigned unserved;
};

rl_status rl_kafka_sends_open(const rl_kafka_sends_spec *spec, rl_kafka_sends **out)
{
  rl_kafka_line *line = NULL;
  uint64_t transaction = 0;
  rl_kafka_txn *txn = spec->transaction;
  rl_status st = txn ? rl_kafka_txn_join(txn, &transaction, &line) : rl_kafka_producer_line(spec->producer, &line);
  if (st != RL_OK) return st;
  rl_kafka_sends *s = RL_NEW(rl_kafka_sends);
  s->spec = *spec;
  rl_kafka_producer_ref(spec->producer);
  if (txn) rl_kafka_txn_ref(txn);
  s->line = line;
  s->transaction = transaction;
  s->tally = rl_kafka_tally_new();
  *out = s;
  return RL_OK;
}

void rl_kafka_sends_drop_headers(rl_kafka_sends *s)
{
  if (s->headers) rd_kafka_headers_destroy(s->headers);
  s->headers = NULL;
}

void rl_kafka_sends_close(rl_kafka_sends *s, rl_status st)
{
  if (!s) return;
  if (st != RL_OK && s->spec.transaction) rl_kafka_txn_spoil(s->spec.transaction, s->transaction);
  while (s->routes) {
    route *r = s->routes;
    s->routes = r->next;
    rd_kafka_topic_destroy(r->rkt);
    rl_free(r);
  }
  rl_kafka_sends_drop_headers(s);
  rl_buf_free(&s->key);
  rl_buf_free(&s->value);
  rl_kafka_tally_unref(s->tally);
  rl_kafka_line_unref(s->line);
  if (s->spec.transaction) rl_kafka_txn_unref(s->spec.transaction);
  rl_kafka_producer_unref(s->spec.producer);
  rl_free(s);
}

uint64_t rl_kafka_sends_under_way(const rl_kafka_sends *s) { return atomic_load(&s->tally->under_way); }

/* Failures --------------------------------------------------------------------------------------------------------- */

/* librdkafka names this as if the broker had said it. */
static rl_status too_large(const char *topic, size_t bytes, const char *setting)
{
  return rl_fail(RL_ELIMIT, "a record of %zu bytes for topic '%s' is too large for the producer's %s; set that "
                 "higher (brokers and topics have limits of their own)", bytes, topic, setting);
}

static rl_status not_delivered(const rl_kafka_sends *s, const char *topic, int32_t partition, rd_kafka_resp_err_t err)
{
  const char *brokers = rl_kafka_producer_brokers(s->spec.producer);
  if (err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    return rl_fail(RL_ENOTFOUND, "there is no topic '%s' in Kafka at %s, for which there is a record", topic, brokers);
  char *reason = rl_kafka_producer_reason(s->spec.producer);
  char *where = partition >= 0 ? rl_format(", partition %" PRId32, partition) : rl_strdup("");
  bool large = err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
  const char *limit = large ? " (max.message.bytes of the topic)" : "";
  rl_status st = rl_fail(large ? RL_ELIMIT : RL_EIO, "a record for topic '%s' was not taken by Kafka at %s%s: %s%s%s",
                         topic, brokers, where, rd_kafka_err2str(err), limit, reason);
  rl_free(where);
  rl_free(reason);
  return st;
}

static rl_status check_delivered(const rl_kafka_sends *s)
{
  pthread_mutex_lock(&s->tally->lock);
  rd_kafka_resp_err_t err = s->tally->err;
  rl_status st = err ? not_delivered(s, s->tally->topic, s->tally->partition, err) : RL_OK;
  pthread_mutex_unlock(&s->tally->lock);
  return st;
}

/* Waiting ---------------------------------------------------------------------------------------------------------- */

static rl_status too_late(const rl_kafka_sends *s)
{
  char *reason = rl_kafka_producer_reason(s->spec.producer);
  uint64_t n = rl_kafka_sends_under_way(s);
  rl_fail(RL_EIO, "Kafka at %s has not taken %" PRIu64 " record%s in time%s",
          rl_kafka_producer_brokers(s->spec.producer), n, n == 1 ? "" : "s", reason);
  rl_free(reason);
  return RL_EIO;
}

/* Serves delivery reports, and tells whether to go on. */
static rl_status wait_a_little(const rl_kafka_sends *s, int64_t until_ns)
{
  rd_kafka_poll(s->line->rk, SLICE_MS);
  if (until_ns != 0 && rl_mono_ns() >= until_ns && rl_kafka_sends_under_way(s) > 0) return too_late(s);
  return s->spec.go_on(s->spec.user);
}

rl_status rl_kafka_sends_serve(rl_kafka_sends *s)
{
  s->unserved = 0;
  rd_kafka_poll(s->line->rk, 0);
  rl_status st = s->spec.go_on(s->spec.user);
  return st == RL_OK ? check_delivered(s) : st;
}

static rl_status settle(rl_kafka_sends *s, int64_t until_ns, bool to_the_last)
{
  rl_status st = RL_OK;
  if (until_ns == 0 || (s->spec.until_ns != 0 && s->spec.until_ns < until_ns)) until_ns = s->spec.until_ns;
  while (st == RL_OK && rl_kafka_sends_under_way(s) > 0) {
    if (!to_the_last) st = check_delivered(s);
    if (st == RL_OK) st = wait_a_little(s, until_ns);
  }
  return st == RL_OK ? check_delivered(s) : st;
}

rl_status rl_kafka_sends_settle(rl_kafka_sends *s, int64_t until_ns) { return settle(s, until_ns, false); }
rl_status rl_kafka_sends_drain(rl_kafka_sends *s, int64_t until_ns) { return settle(s, until_ns, true); }

/* Messages --------------------------------------------------------------------------------------------------------- */

static rl_status find_route(rl_kafka_sends *s, const char *topic, rd_kafka_topic_t **out)
{
  route *r = s->routes;
  while (r && strcmp(rd_kafka_topic_name(r->rkt), topic) != 0) r = r->next;
  if (!r) {
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(s->line->rk, topic, NULL);
    if (!rkt) return rl_fail(RL_EINVAL, "topic '%s': %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
    r = RL_NEW(route);
    r->rkt = rkt;
    r->next = s->routes;
    s->routes = r;
  }
  *out = r->rkt;
  return RL_OK;
}

/* A field as bytes, or a nil for a null. */
static rl_status field_bytes(rl_value v, rl_buf *text, rl_value *out)
{
  *out = rl_nil();
  switch (v.type) {
  case RL_T_NIL:
  case RL_T_NULL: return RL_OK;
  case RL_T_BYTES: *out = rl_str(v.s.p ? v.s.p : "", v.s.n); return RL_OK;
  case RL_T_TUPLE:
  case RL_T_TABLE:
    return rl_fail(RL_EINVAL, "a %s cannot be sent to Kafka; make a string of it, with rille.json.encode for one",
                   v.type == RL_T_TUPLE ? "tuple" : "table");
  default: break;
  }
  rl_buf_clear(text);
  rl_value_format(v, text);
  *out = rl_str(text->p, text->n);
  return RL_OK;
}

rl_status rl_kafka_sends_header(rl_kafka_sends *s, const char *name, rl_value value)
{
  rl_value v;
  rl_status st = field_bytes(value, &s->value, &v);
  if (st != RL_OK) return st;
  if (!s->headers) s->headers = rd_kafka_headers_new(4);
  const void *p = v.type == RL_T_BYTES ? v.s.p : NULL;
  rd_kafka_resp_err_t err = rd_kafka_header_add(s->headers, name, -1, p, p ? (ssize_t)v.s.n : 0);
  return err ? rl_fail(RL_EINVAL, "header '%s': %s", name, rd_kafka_err2str(err)) : RL_OK;
}

/* Once; *err: why it was not queued. Its headers are librdkafka's when it was. */
static rl_status try_to_send(rl_kafka_sends *s, rd_kafka_topic_t *rkt, const rl_kafka_message *m,
                             rd_kafka_resp_err_t *err)
{
  const void *k = m->key.type == RL_T_BYTES ? m->key.s.p : NULL;
  const void *p = m->value.type == RL_T_BYTES ? m->value.s.p : NULL;
  const rd_kafka_vu_t v[] = {
    {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = rkt},
    {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = m->partition},
    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)k, k ? m->key.s.n : 0}},
    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)p, p ? m->value.s.n : 0}},
    {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = s->tally},
    {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = m->timestamp},
    {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = s->headers}, /* last: left out when there are none */
  };
  rl_kafka_txn *txn = s->spec.transaction;
  rl_status st = txn ? rl_kafka_txn_lock(txn, s->transaction) : RL_OK;
  if (st != RL_OK) return st;
  rd_kafka_error_t *e = rd_kafka_produceva(s->line->rk, v, sizeof v / sizeof *v - (s->headers ? 0 : 1));
  if (txn) rl_kafka_txn_unlock(txn);
  *err = rd_kafka_error_code(e);
  rd_kafka_error_destroy(e);
  if (!*err) s->headers = NULL;
  return RL_OK;
}

static rl_status not_queued(const rl_kafka_sends *s, const char *topic, const rl_kafka_message *m,
                            rd_kafka_resp_err_t err)
{
  size_t bytes = (m->key.type == RL_T_BYTES ? m->key.s.n : 0) + (m->value.type == RL_T_BYTES ? m->value.s.n : 0);
  if (err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) return too_large(topic, bytes, "message.max.bytes");
  if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL) return not_delivered(s, topic, m->partition, err);
  if (bytes > rl_kafka_producer_queue_bytes(s->spec.producer))
    return too_large(topic, bytes, "queue.buffering.max.kbytes");
  return RL_OK;
}

static rl_status queue_message(rl_kafka_sends *s, rd_kafka_topic_t *rkt, const rl_kafka_message *m)
{
  rl_kafka_tally_add(s->tally);
  rl_status st = RL_OK;
  while (st == RL_OK) {
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    st = try_to_send(s, rkt, m, &err);
    if (st != RL_OK) break;
    if (!err) return RL_OK;
    st = not_queued(s, rd_kafka_topic_name(rkt), m, err);
    if (st == RL_OK) st = wait_a_little(s, s->spec.until_ns);
    if (st == RL_OK) st = check_delivered(s);
  }
  rl_kafka_tally_take(s->tally);
  return st;
}

rl_status rl_kafka_sends_message(rl_kafka_sends *s, const char *topic, const rl_kafka_message *m)
{
  rd_kafka_topic_t *rkt = NULL;
  rl_kafka_message bytes = *m;
  rl_status st = find_route(s, topic, &rkt);
  if (st == RL_OK) st = field_bytes(m->key, &s->key, &bytes.key);
  if (st == RL_OK) st = field_bytes(m->value, &s->value, &bytes.value);
  if (st == RL_OK) st = queue_message(s, rkt, &bytes);
  rl_kafka_sends_drop_headers(s);
  return st == RL_OK && ++s->unserved >= SERVED_EVERY ? rl_kafka_sends_serve(s) : st;
}
