#include "sink/kafka.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sink/kafka_line.h"

#define SLICE_MS 100 /* how long one wait lasts, between looks at whether the task was cancelled */

typedef struct sink_fn {
  rl_fn base;
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  char *topic;
  int64_t patience_ns; /* from the begin of a task, while it waits; 0: no limit */
  pthread_mutex_t lock;
  rl_kafka_txn *txn; /* NULL: none; else it has the producer */
  /* After a fatal error it is left to the tasks that use it, and the next one makes another. */
  rl_kafka_line *line; /* NULL: none yet */
} sink_fn;

static rl_status get_line(sink_fn *fn, rl_kafka_line **out)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&fn->lock);
  if (fn->line && rd_kafka_fatal_error(fn->line->rk, NULL, 0)) {
    rl_kafka_line_unref(fn->line);
    fn->line = NULL;
  }
  if (!fn->line) st = rl_kafka_line_new(fn->conf, RL_KAFKA_WRITE, fn->health, &fn->line);
  if (st == RL_OK) *out = rl_kafka_line_ref(fn->line);
  pthread_mutex_unlock(&fn->lock);
  return st;
}

/* One attempt. ----------------------------------------------------------------------------------------------------- */

typedef struct route {
  struct route *next;
  rd_kafka_topic_t *rkt;
} route;

typedef struct writer {
  sink_fn *fn;
  const rl_task *task;
  rl_kafka_line *line;
  uint64_t transaction;
  rl_kafka_tally *tally;
  route *routes; /* topics so far, the newest first */
  rl_buf key, value;
  int64_t since_ns;
} writer;

static rl_status find_route(writer *w, const char *topic, rd_kafka_topic_t **out)
{
  route *r = w->routes;
  while (r && strcmp(rd_kafka_topic_name(r->rkt), topic) != 0) r = r->next;
  if (!r) {
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(w->line->rk, topic, NULL);
    if (!rkt) return rl_fail(RL_EINVAL, "topic '%s': %s", topic, rd_kafka_err2str(rd_kafka_last_error()));
    r = RL_NEW(route);
    r->rkt = rkt;
    r->next = w->routes;
    w->routes = r;
  }
  *out = r->rkt;
  return RL_OK;
}

static rl_status not_delivered(const writer *w, const char *topic, rd_kafka_resp_err_t err)
{
  char *reason = rl_kafka_health_reason(w->fn->health);
  rl_status code = RL_EIO;
  if (err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) code = RL_ELIMIT;
  if (err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) code = RL_ENOTFOUND;
  rl_fail(code, "a record for topic '%s' was not taken by Kafka at %s: %s%s", topic,
          rl_kafka_conf_brokers(w->fn->conf), rd_kafka_err2str(err), reason);
  rl_free(reason);
  return code;
}

static rl_status check_delivered(const writer *w)
{
  pthread_mutex_lock(&w->tally->lock);
  rd_kafka_resp_err_t err = w->tally->err;
  rl_status st = err ? not_delivered(w, w->tally->topic, err) : RL_OK;
  pthread_mutex_unlock(&w->tally->lock);
  return st;
}

/* Serves delivery reports, and tells whether to go on. */
static rl_status wait_a_little(const writer *w, int ms)
{
  rd_kafka_poll(w->line->rk, ms);
  rl_status st = rl_task_check(w->task);
  if (st == RL_OK) st = check_delivered(w);
  if (st != RL_OK || ms == 0) return st;
  if (w->fn->patience_ns == 0 || rl_mono_ns() - w->since_ns < w->fn->patience_ns) return RL_OK;
  char *reason = rl_kafka_health_reason(w->fn->health);
  rl_fail(RL_EIO, "Kafka at %s takes no more records: %" PRIu64 " of the task are under way%s",
          rl_kafka_conf_brokers(w->fn->conf), atomic_load(&w->tally->under_way), reason);
  rl_free(reason);
  return RL_EIO;
}

/* Once; *err: why it was not queued. */
static rl_status try_to_send(writer *w, rd_kafka_topic_t *rkt, rl_value key, rl_value value, rd_kafka_resp_err_t *err)
{
  void *payload = value.type == RL_T_BYTES ? (void *)value.s.p : NULL;
  const void *k = key.type == RL_T_BYTES ? key.s.p : NULL;
  rl_kafka_txn *txn = w->fn->txn;
  rl_status st = txn ? rl_kafka_txn_lock(txn, w->transaction) : RL_OK;
  if (st != RL_OK) return st;
  int failed = rd_kafka_produce(rkt, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, payload, payload ? value.s.n : 0, k,
                                k ? key.s.n : 0, w->tally);
  *err = failed ? rd_kafka_last_error() : RD_KAFKA_RESP_ERR_NO_ERROR;
  if (txn) rl_kafka_txn_unlock(txn);
  return RL_OK;
}

static rl_status send_message(writer *w, rd_kafka_topic_t *rkt, rl_value key, rl_value value)
{
  rl_kafka_tally_add(w->tally);
  rl_status st = RL_OK;
  while (st == RL_OK) {
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    st = try_to_send(w, rkt, key, value, &err);
    if (st == RL_OK && !err) return RL_OK;
    if (st == RL_OK) {
      st = err == RD_KAFKA_RESP_ERR__QUEUE_FULL ? wait_a_little(w, SLICE_MS)
                                                : not_delivered(w, rd_kafka_topic_name(rkt), err);
    }
  }
  rl_kafka_tally_take(w->tally);
  return st;
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

static rl_status pick_topic(writer *w, const rl_chunk *c, uint32_t row, rd_kafka_topic_t **rkt)
{
  rl_value v = rl_chunk_get(c, 0, row);
  if (v.type != RL_T_BYTES || v.s.n == 0 || memchr(v.s.p, '\0', v.s.n)) {
    return rl_fail(RL_EINVAL, "the topic of a record must be a string that is not empty");
  }
  rl_buf_clear(&w->key);
  rl_buf_add(&w->key, v.s.p, v.s.n);
  return find_route(w, rl_buf_cstr(&w->key), rkt);
}

static rl_status write_record(writer *w, const rl_chunk *c, uint32_t row)
{
  uint32_t first = w->fn->topic ? 0 : 1, n = rl_chunk_arity(c, row) - first;
  rd_kafka_topic_t *rkt = NULL;
  rl_value key = rl_nil(), value;
  if (n < 1 || n > 2)
    return rl_fail(RL_EINVAL, "a record of %" PRIu32 " values; Kafka takes (key, value), or a value", n);
  rl_status st = w->fn->topic ? find_route(w, w->fn->topic, &rkt) : pick_topic(w, c, row, &rkt);
  if (st == RL_OK && n == 2) st = field_bytes(rl_chunk_get(c, first, row), &w->key, &key);
  if (st == RL_OK) st = field_bytes(rl_chunk_get(c, first + n - 1, row), &w->value, &value);
  return st == RL_OK ? send_message(w, rkt, key, value) : st;
}

static rl_status join_line(writer *w)
{
  rl_kafka_txn *txn = w->fn->txn;
  return txn ? rl_kafka_txn_join(txn, &w->transaction, &w->line) : get_line(w->fn, &w->line);
}

static rl_status write_chunk(writer *w, const rl_chunk *c)
{
  rl_status st = RL_OK;
  for (uint32_t row = 0; row < c->n && st == RL_OK; row++) st = write_record(w, c, row);
  return st == RL_OK ? wait_a_little(w, 0) : st;
}

static rl_status write_all(writer *w, rl_pull *input)
{
  for (;;) {
    rl_chunk *c = NULL;
    rl_status st = rl_pull_next(input, &c);
    if (st != RL_OK) return st;
    if (!c) break;
    if (!w->line) st = join_line(w);
    if (st == RL_OK) st = write_chunk(w, c);
    rl_chunk_unref(c);
    if (st != RL_OK) return st;
  }
  rl_status st = RL_OK;
  while (st == RL_OK && atomic_load(&w->tally->under_way) > 0) st = wait_a_little(w, SLICE_MS);
  return st == RL_OK ? check_delivered(w) : st;
}

static rl_status write_partition(sink_fn *fn, const rl_task *task, rl_pull *input)
{
  writer w = {.fn = fn, .task = task, .tally = rl_kafka_tally_new(), .since_ns = rl_mono_ns()};
  rl_status st = write_all(&w, input);
  if (st != RL_OK && w.line && fn->txn) rl_kafka_txn_spoil(fn->txn, w.transaction);
  while (w.routes) {
    route *r = w.routes;
    w.routes = r->next;
    rd_kafka_topic_destroy(r->rkt);
    rl_free(r);
  }
  rl_buf_free(&w.key);
  rl_buf_free(&w.value);
  rl_kafka_tally_unref(w.tally);
  rl_kafka_line_unref(w.line);
  return st;
}

/* The function. ---------------------------------------------------------------------------------------------------- */

typedef struct sink_pull {
  rl_pull base;
  sink_fn *fn; /* its task holds it */
  const rl_task *task;
  rl_pull *input;
  bool done;
} sink_pull;

static rl_status sink_next(rl_pull *self, rl_chunk **out)
{
  sink_pull *p = (sink_pull *)self;
  *out = NULL;
  if (p->done) return RL_OK;
  p->done = true;
  return write_partition(p->fn, p->task, p->input);
}

static void sink_close(rl_pull *self)
{
  sink_pull *p = (sink_pull *)self;
  rl_pull_close(p->input);
  rl_free(p);
}

static rl_status sink_open(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs,
                           rl_pull **out)
{
  static const rl_pull_class cls = {.next = sink_next, .close = sink_close};
  rl_pull *input = ninputs == 1 ? inputs[0] : rl_pull_concat(inputs, ninputs);
  for (size_t i = 0; i < n; i++) {
    sink_pull *p = RL_NEW(sink_pull);
    *p = (sink_pull){.base.cls = &cls, .fn = (sink_fn *)fns[i], .task = task, .input = input};
    input = &p->base;
  }
  *out = input;
  return RL_OK;
}

static void sink_destroy(rl_fn *self)
{
  sink_fn *fn = (sink_fn *)self;
  rl_kafka_line_unref(fn->line);
  rl_kafka_txn_unref(fn->txn);
  pthread_mutex_destroy(&fn->lock);
  rl_kafka_health_unref(fn->health);
  rl_kafka_conf_unref(fn->conf);
  rl_free(fn->topic);
  rl_free(fn);
}

rl_status rl_sink_kafka_fn(const rl_kafka_sink *spec, const rl_conf *conf, rl_fn **out)
{
  static const rl_fn_class cls = {.name = "Kafka sink", .open = sink_open, .destroy = sink_destroy};
  rl_kafka_conf *c = NULL;
  rl_status st = rl_kafka_conf_new(spec->settings, spec->nsettings, RL_KAFKA_WRITE, &c);
  if (st != RL_OK) return st;
  sink_fn *fn = RL_NEW(sink_fn);
  fn->base.refs = 1;
  fn->base.cls = &cls;
  fn->conf = c;
  fn->health = rl_kafka_health_new("Kafka sink");
  fn->topic = rl_strdup(spec->topic);
  fn->txn = spec->transaction ? rl_kafka_txn_ref(spec->transaction) : NULL;
  fn->patience_ns = rl_conf_us(conf, "rille.task.maxSeconds") * 900;
  pthread_mutex_init(&fn->lock, NULL);
  *out = &fn->base;
  return RL_OK;
}
