#include "sink/kafka.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "sink/kafka_sends.h"

typedef struct sink_fn {
  rl_fn base;
  rl_kafka_producer *producer;
  char *topic;
  int64_t patience_ns; /* from the begin of a task, while it waits; 0: no limit */
  rl_kafka_txn *txn;   /* NULL: none; else it has the client */
} sink_fn;

/* One attempt. ----------------------------------------------------------------------------------------------------- */

typedef struct writer {
  sink_fn *fn;
  const rl_task *task;
  rl_kafka_sends *sends; /* NULL: there was no record yet */
  rl_buf topic;
  int64_t since_ns;
} writer;

static rl_status go_on(void *task) { return rl_task_check(task); }

static rl_status open_sends(writer *w)
{
  const rl_kafka_sends_spec spec = {.producer = w->fn->producer,
                                    .transaction = w->fn->txn,
                                    .go_on = go_on,
                                    .user = (void *)w->task,
                                    .until_ns = w->fn->patience_ns ? w->since_ns + w->fn->patience_ns : 0};
  return rl_kafka_sends_open(&spec, &w->sends);
}

static rl_status pick_topic(writer *w, const rl_chunk *c, uint32_t row, const char **topic)
{
  rl_value v = rl_chunk_get(c, 0, row);
  if (v.type != RL_T_BYTES || v.s.n == 0 || memchr(v.s.p, '\0', v.s.n)) {
    return rl_fail(RL_EINVAL, "the topic of a record must be a string that is not empty");
  }
  rl_buf_clear(&w->topic);
  rl_buf_add(&w->topic, v.s.p, v.s.n);
  *topic = rl_buf_cstr(&w->topic);
  return RL_OK;
}

static rl_status write_record(writer *w, const rl_chunk *c, uint32_t row)
{
  const char *topic = w->fn->topic;
  uint32_t first = topic ? 0 : 1, n = rl_chunk_arity(c, row) - first;
  if (n < 1 || n > 2)
    return rl_fail(RL_EINVAL, "a record of %" PRIu32 " values; Kafka takes (key, value), or a value", n);
  rl_status st = topic ? RL_OK : pick_topic(w, c, row, &topic);
  if (st != RL_OK) return st;
  const rl_kafka_message m = {.key = n == 2 ? rl_chunk_get(c, first, row) : rl_nil(),
                              .value = rl_chunk_get(c, first + n - 1, row),
                              .partition = RL_KAFKA_ANY_PARTITION};
  return rl_kafka_sends_message(w->sends, topic, &m);
}

static rl_status write_chunk(writer *w, const rl_chunk *c)
{
  rl_status st = RL_OK;
  for (uint32_t row = 0; row < c->n && st == RL_OK; row++) st = write_record(w, c, row);
  return st == RL_OK ? rl_kafka_sends_serve(w->sends) : st;
}

static rl_status write_all(writer *w, rl_pull *input)
{
  for (;;) {
    rl_chunk *c = NULL;
    rl_status st = rl_pull_next(input, &c);
    if (st != RL_OK) return st;
    if (!c) break;
    if (!w->sends) st = open_sends(w);
    if (st == RL_OK) st = write_chunk(w, c);
    rl_chunk_unref(c);
    if (st != RL_OK) return st;
  }
  return w->sends ? rl_kafka_sends_settle(w->sends, 0) : RL_OK;
}

static rl_status write_partition(sink_fn *fn, const rl_task *task, rl_pull *input)
{
  writer w = {.fn = fn, .task = task, .since_ns = rl_mono_ns()};
  rl_status st = write_all(&w, input);
  rl_kafka_sends_close(w.sends, st);
  rl_buf_free(&w.topic);
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
  rl_kafka_txn_unref(fn->txn);
  rl_kafka_producer_unref(fn->producer);
  rl_free(fn->topic);
  rl_free(fn);
}

rl_status rl_sink_kafka_fn(const rl_kafka_sink *spec, const rl_conf *conf, rl_fn **out)
{
  static const rl_fn_class cls = {.name = "Kafka sink", .open = sink_open, .destroy = sink_destroy};
  rl_kafka_producer *producer = NULL;
  rl_status st = rl_kafka_producer_new(spec->settings, spec->nsettings, "Kafka sink", &producer);
  if (st != RL_OK) return st;
  sink_fn *fn = RL_NEW(sink_fn);
  fn->base.refs = 1;
  fn->base.cls = &cls;
  fn->producer = producer;
  fn->topic = rl_strdup(spec->topic);
  fn->txn = spec->transaction ? rl_kafka_txn_ref(spec->transaction) : NULL;
  fn->patience_ns = rl_conf_us(conf, "rille.task.maxSeconds") * 900;
  *out = &fn->base;
  return RL_OK;
}
