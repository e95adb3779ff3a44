#include "source/kafka_group.h"

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/receiver.h"
#include "run/side_thread.h"
#include "source/kafka_columns.h"
#include "source/kafka_control.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define SLICE_MS 100             /* how long one wait lasts, between looks at whether it is to stop */
#define GATHER_NS (50 * NS_PER_MS) /* how long a block is filled */
#define GATHER_RECORDS 16384
#define FIELDS 7 /* of a record in full */
#define GATHER_BYTES ((size_t)8 << 20)
#define COMMIT_MS 5000
#define LOOK_NS NS_PER_S /* between looks whether a broker is back */
#define LOOK_MS 500      /* how long one lasts */
#define DOUBT_MS 3000    /* and one that decides whether all are gone */
#define GOODBYE_NS (2 * NS_PER_S) /* at the end: for what is on its way to disk */
#define STOP_NS (10 * NS_PER_S)

/* What was stored up to a position of the receiver: the offsets to commit when that is on disk. */
typedef struct stored {
  struct stored *next;
  uint64_t position;
  rd_kafka_topic_partition_list_t *offsets;
} stored;

typedef struct group {
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  rl_kafka_records records;
  rd_kafka_topic_partition_list_t *topics;
  rl_side_thread *thread;
  rl_receiver *receiver;
  atomic_bool stopping;
  _Atomic uint64_t durable; /* position up to which all is on disk */
  /* The thread's own. */
  rd_kafka_t *rk;
  rd_kafka_queue_t *committed;
  rd_kafka_message_t **messages; /* gathered, not yet stored; in the order in which they came */
  size_t n, cap, bytes;
  int64_t first_ns; /* when the first of them came */
  int64_t looked_ns; /* when it was last looked for a broker */
  uint64_t position; /* of what was stored last */
  stored *pending, **last; /* the oldest first */
} group;

static bool is_stopping(const group *g) { return atomic_load(&g->stopping); }

/* Blocks ----------------------------------------------------------------------------------------------------------- */

static void drop_messages(group *g)
{
  for (size_t i = 0; i < g->n; i++) rd_kafka_message_destroy(g->messages[i]);
  g->n = g->bytes = 0;
}

static bool same_partition(const rd_kafka_message_t *a, const rd_kafka_message_t *b)
{
  return a->partition == b->partition && strcmp(rd_kafka_topic_name(a->rkt), rd_kafka_topic_name(b->rkt)) == 0;
}

/* A chunk for each run of messages of one partition. */
static rl_status make_chunks(const group *g, rl_chunks *out)
{
  for (size_t from = 0, to; from < g->n; from = to) {
    to = from + 1;
    while (to < g->n && same_partition(g->messages[from], g->messages[to])) to++;
    rl_chunk *c = NULL;
    rl_status st = rl_kafka_columns(g->records, rd_kafka_topic_name(g->messages[from]->rkt), g->messages + from,
                                    (uint32_t)(to - from), &c);
    if (st != RL_OK) return st;
    rl_chunks_add(out, c);
  }
  return RL_OK;
}

/* Record by record, as those are what the rate is counted in; *n: how many were. */
static rl_status store_records(const group *g, const rl_chunks *chunks, size_t *n)
{
  rl_status st = RL_OK;
  for (size_t i = 0; i < chunks->n; i++) {
    const rl_chunk *c = chunks->v[i];
    for (uint32_t row = 0; row < c->n; row++) {
      rl_value fields[FIELDS];
      uint32_t arity = rl_chunk_arity(c, row);
      for (uint32_t k = 0; k < arity; k++) fields[k] = rl_chunk_get(c, k, row);
      st = rl_receiver_store(g->receiver, fields, arity);
      if (st != RL_OK) return st;
      ++*n;
    }
  }
  return st;
}

/* Offsets ---------------------------------------------------------------------------------------------------------- */

static void set_offset(rd_kafka_topic_partition_list_t *list, const char *topic, int32_t partition, int64_t offset)
{
  rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_find(list, topic, partition);
  if (!p) p = rd_kafka_topic_partition_list_add(list, topic, partition);
  p->offset = offset;
}

/* The first n messages are stored. */
static void note_stored(group *g, size_t n)
{
  stored *s = RL_NEW(stored);
  s->position = g->position += n;
  s->offsets = rd_kafka_topic_partition_list_new(8);
  for (size_t i = 0; i < n; i++) {
    const rd_kafka_message_t *m = g->messages[i];
    if (i + 1 < n && same_partition(m, g->messages[i + 1])) continue;
    set_offset(s->offsets, rd_kafka_topic_name(m->rkt), m->partition, m->offset + 1);
  }
  *g->last = s;
  g->last = &s->next;
}

/* A commit that fails does no harm: the next has it, or the records come again. */
static void commit(group *g, const rd_kafka_topic_partition_list_t *list)
{
  rd_kafka_resp_err_t err = rd_kafka_commit_queue(g->rk, list, g->committed, NULL, NULL);
  rd_kafka_event_t *e = err ? NULL : rd_kafka_queue_poll(g->committed, COMMIT_MS);
  if (e) err = rd_kafka_event_error(e);
  if (err || !e) {
    rl_debug("%s: offsets were not committed: %s", rl_receiver_label(g->receiver),
             err ? rd_kafka_err2str(err) : "no answer");
  }
  if (e) rd_kafka_event_destroy(e);
}

/* Moves into list what is on disk, or stored where nothing is logged. */
static void take_durable(group *g, rd_kafka_topic_partition_list_t *list)
{
  uint64_t durable = rl_receiver_is_logged(g->receiver) ? atomic_load(&g->durable) : g->position;
  while (g->pending && g->pending->position <= durable) {
    stored *s = g->pending;
    for (int i = 0; i < s->offsets->cnt; i++)
      set_offset(list, s->offsets->elems[i].topic, s->offsets->elems[i].partition, s->offsets->elems[i].offset);
    g->pending = s->next;
    if (!g->pending) g->last = &g->pending;
    rd_kafka_topic_partition_list_destroy(s->offsets);
    rl_free(s);
  }
}

static void commit_durable(group *g)
{
  if (!g->pending) return;
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
  take_durable(g, list);
  if (list->cnt > 0) commit(g, list);
  rd_kafka_topic_partition_list_destroy(list);
}

/* Stores what is gathered, and sends it on its way to disk. */
static rl_status store(group *g)
{
  rl_chunks chunks = {0};
  size_t n = 0;
  rl_status st = make_chunks(g, &chunks);
  if (st == RL_OK) st = store_records(g, &chunks, &n);
  rl_chunks_clear(&chunks);
  if (n > 0) note_stored(g, n);
  drop_messages(g);
  rl_receiver_flush(g->receiver);
  return st;
}

/* The group -------------------------------------------------------------------------------------------------------- */

static rl_status take(group *g, rd_kafka_message_t *m)
{
  if (m->err) {
    bool fatal = m->err == RD_KAFKA_RESP_ERR__FATAL || m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET;
    rl_status st = RL_OK;
    if (fatal) st = rl_fail(RL_EIO, "%s", rd_kafka_message_errstr(m));
    else if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) rl_kafka_health_down(g->health, rd_kafka_message_errstr(m));
    rd_kafka_message_destroy(m);
    return st;
  }
  if (g->n == 0) g->first_ns = rl_mono_ns();
  g->messages = rl_grow(g->messages, &g->cap, g->n + 1, sizeof *g->messages);
  g->messages[g->n++] = m;
  g->bytes += m->len + m->key_len;
  return RL_OK;
}

static bool is_full(const group *g)
{
  return g->n >= GATHER_RECORDS || g->bytes >= GATHER_BYTES || rl_mono_ns() - g->first_ns >= GATHER_NS;
}

/* Does any broker answer? */
static bool ask_any(const group *g, int wait_ms)
{
  const rd_kafka_metadata_t *md = NULL;
  if (rd_kafka_metadata(g->rk, 0, NULL, &md, wait_ms) != RD_KAFKA_RESP_ERR_NO_ERROR) return false;
  rd_kafka_metadata_destroy(md);
  return true;
}

/* What librdkafka complains of may concern one broker of several; and a partition that has no news gives no sign that
 * its broker is back. */
static void look_for_brokers(group *g)
{
  bool suspect = rl_kafka_health_is_suspect(g->health), cut_off = rl_kafka_health_is_cut_off(g->health);
  if ((!suspect && !cut_off) || rl_mono_ns() - g->looked_ns < LOOK_NS) return;
  bool answered = ask_any(g, suspect ? DOUBT_MS : LOOK_MS);
  if (suspect) rl_kafka_health_looked(g->health, answered);
  else if (answered) rl_kafka_health_up(g->health);
  g->looked_ns = rl_mono_ns();
}

static rl_status receive(group *g)
{
  rl_status st = RL_OK;
  while (st == RL_OK && !is_stopping(g)) {
    commit_durable(g);
    look_for_brokers(g);
    rd_kafka_message_t *m = rd_kafka_consumer_poll(g->rk, g->n > 0 ? (int)(GATHER_NS / NS_PER_MS) : SLICE_MS);
    if (m) st = take(g, m);
    if (st != RL_OK || g->n == 0 || (m && !is_full(g))) continue;
    if (rl_kafka_health_is_down(g->health)) rl_kafka_health_up(g->health);
    st = store(g);
  }
  return st;
}

static rl_status join(group *g)
{
  rl_status st = rl_kafka_client_new(g->conf, RL_KAFKA_JOIN, g->health, NULL, &g->rk);
  if (st != RL_OK) return st;
  g->committed = rd_kafka_queue_new(g->rk);
  rd_kafka_poll_set_consumer(g->rk);
  rd_kafka_resp_err_t err = rd_kafka_subscribe(g->rk, g->topics);
  return err ? rl_fail(RL_EIO, "cannot subscribe: %s", rd_kafka_err2str(err)) : RL_OK;
}

/* What is on its way to disk is told the group before it is left; what does not arrive comes again. */
static void say_goodbye(group *g)
{
  const struct timespec moment = {.tv_nsec = 10 * NS_PER_MS};
  int64_t until = rl_mono_ns() + GOODBYE_NS;
  commit_durable(g);
  while (g->pending && rl_mono_ns() < until) {
    nanosleep(&moment, NULL);
    commit_durable(g);
  }
  while (g->pending) {
    stored *s = g->pending;
    g->pending = s->next;
    rd_kafka_topic_partition_list_destroy(s->offsets);
    rl_free(s);
  }
  g->last = &g->pending;
}

static void leave(group *g)
{
  drop_messages(g);
  if (!g->rk) return;
  say_goodbye(g);
  rd_kafka_consumer_close(g->rk);
  rd_kafka_queue_destroy(g->committed);
  rd_kafka_destroy(g->rk);
  g->rk = NULL;
}

static void pause_a_while(const group *g)
{
  int64_t until = rl_mono_ns() + rl_receiver_restart_delay_ms(g->receiver) * NS_PER_MS;
  const struct timespec slice = {.tv_nsec = SLICE_MS * NS_PER_MS};
  while (!is_stopping(g) && rl_mono_ns() < until) nanosleep(&slice, NULL);
}

static void run(void *arg)
{
  group *g = arg;
  rl_receiver_started(g->receiver);
  while (!is_stopping(g)) {
    rl_status st = join(g);
    if (st == RL_OK) st = receive(g);
    bool failed = st != RL_OK && st != RL_ECANCELLED;
    if (failed) rl_receiver_error(g->receiver, "the consumer ended and is made anew", rl_error_message());
    leave(g);
    if (st != RL_OK) pause_a_while(g);
  }
}

/* The receiver ----------------------------------------------------------------------------------------------------- */

static rl_status group_start(void *self, rl_receiver *r)
{
  group *g = self;
  g->receiver = r;
  rl_kafka_health_set_label(g->health, rl_receiver_label(r));
  g->position = rl_receiver_position(r);
  atomic_store(&g->durable, g->position);
  atomic_store(&g->stopping, false);
  return rl_side_thread_start(run, g, rl_receiver_name(r), &g->thread);
}

static void group_stop(void *self)
{
  group *g = self;
  atomic_store(&g->stopping, true);
  if (!rl_side_thread_end(g->thread, STOP_NS)) rl_receiver_abandon(g->receiver);
  g->thread = NULL;
}

static void group_durable(void *self, uint64_t position)
{
  group *g = self;
  atomic_store(&g->durable, position);
}

static void group_destroy(void *self)
{
  group *g = self;
  rd_kafka_topic_partition_list_destroy(g->topics);
  rl_kafka_health_unref(g->health);
  rl_kafka_conf_unref(g->conf);
  rl_free(g->messages);
  rl_free(g);
}

static rl_status check_topics(const rl_kafka_group *spec)
{
  rl_status st = RL_OK;
  for (size_t i = 0; i < spec->ntopics && st == RL_OK; i++)
    if (spec->topics[i][0] == '^') st = rl_kafka_check_pattern(spec->topics[i]);
  return st;
}

/* A member that finds no offset has to begin somewhere: it is asked of no one else. */
static rl_status check_reset(const rl_kafka_conf *conf)
{
  if (rl_kafka_conf_reset(conf) != RL_KAFKA_RESET_NONE) return RL_OK;
  return rl_fail(RL_EINVAL, "auto.offset.reset is none: a stream of a group begins a partition of which the group "
                 "committed nothing at earliest or latest");
}

rl_status rl_source_kafka_group(rl_streaming *s, const rl_kafka_group *spec, const char *site, rl_dstream **out)
{
  static const rl_receiver_class cls = {.name = "KafkaReceiver",
                                        .stream = "Kafka group stream",
                                        .start = group_start,
                                        .stop = group_stop,
                                        .durable = group_durable,
                                        .destroy = group_destroy};
  rl_kafka_conf *conf = NULL;
  rl_status st = check_topics(spec);
  if (st == RL_OK) st = rl_kafka_conf_new(spec->settings, spec->nsettings, RL_KAFKA_JOIN, &conf);
  if (st == RL_OK) st = check_reset(conf);
  if (st != RL_OK) {
    rl_kafka_conf_unref(conf);
    return st;
  }
  group *g = RL_NEW(group);
  g->conf = conf;
  g->health = rl_kafka_health_new("Kafka group stream");
  g->records = spec->records;
  g->last = &g->pending;
  g->topics = rd_kafka_topic_partition_list_new((int)spec->ntopics);
  for (size_t i = 0; i < spec->ntopics; i++)
    rd_kafka_topic_partition_list_add(g->topics, spec->topics[i], RD_KAFKA_PARTITION_UA);
  return rl_streaming_add_receiver(s, &cls, g, site, out);
}
