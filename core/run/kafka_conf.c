#include "run/kafka_conf.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/secrets.h"

/* Health ----------------------------------------------------------------------------------------------------------- */

struct rl_kafka_health {
  _Atomic uint32_t refs;
  pthread_mutex_t lock;
  char *label;
  char *brokers; /* of a member of a group */
  char *reason; /* librdkafka's last complaint; NULL: none */
  bool down;
  bool cut_off; /* down, as no broker can be reached */
  char *suspicion; /* why that may be so; NULL: nothing was said since it was last looked into */
  bool refused;    /* the suspicion: a broker refused this client */
  bool told;       /* that one refuses it where others do not */
};

rl_kafka_health *rl_kafka_health_new(const char *label)
{
  rl_kafka_health *h = RL_NEW(rl_kafka_health);
  h->refs = 1;
  h->label = rl_strdup(label);
  pthread_mutex_init(&h->lock, NULL);
  return h;
}

rl_kafka_health *rl_kafka_health_ref(rl_kafka_health *h)
{
  atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
  return h;
}

void rl_kafka_health_unref(rl_kafka_health *h)
{
  if (!h || atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) > 1) return;
  pthread_mutex_destroy(&h->lock);
  rl_free(h->label);
  rl_free(h->brokers);
  rl_free(h->reason);
  rl_free(h->suspicion);
  rl_free(h);
}

void rl_kafka_health_set_label(rl_kafka_health *h, const char *label)
{
  pthread_mutex_lock(&h->lock);
  rl_free(h->label);
  h->label = rl_strdup(label);
  pthread_mutex_unlock(&h->lock);
}

static void set_brokers(rl_kafka_health *h, const char *brokers)
{
  pthread_mutex_lock(&h->lock);
  rl_free(h->brokers);
  h->brokers = rl_strdup(brokers);
  pthread_mutex_unlock(&h->lock);
}

static void go_down(rl_kafka_health *h, const char *what)
{
  if (!h->down) rl_warn("%s: %s; its records wait until that is mended", h->label, what);
  h->down = true;
}

void rl_kafka_health_down(rl_kafka_health *h, const char *what)
{
  pthread_mutex_lock(&h->lock);
  go_down(h, what);
  pthread_mutex_unlock(&h->lock);
}

void rl_kafka_health_up(rl_kafka_health *h)
{
  pthread_mutex_lock(&h->lock);
  if (h->down) rl_warn("%s: all partitions answer again", h->label);
  h->down = h->cut_off = false;
  rl_free(h->reason);
  rl_free(h->suspicion);
  h->reason = h->suspicion = NULL;
  pthread_mutex_unlock(&h->lock);
}

void rl_kafka_health_suspect(rl_kafka_health *h, bool refused, const char *reason)
{
  pthread_mutex_lock(&h->lock);
  rl_free(h->suspicion);
  h->suspicion = rl_strdup(!refused && h->reason ? h->reason : reason);
  h->refused = refused;
  pthread_mutex_unlock(&h->lock);
}

bool rl_kafka_health_is_suspect(rl_kafka_health *h)
{
  pthread_mutex_lock(&h->lock);
  bool suspect = h->suspicion && !h->cut_off;
  pthread_mutex_unlock(&h->lock);
  return suspect;
}

/* One broker of many that is down is no matter, as others take over from it; one that refuses the client is told of, as
 * nobody else reads the partitions that it leads. */
static void look_into(rl_kafka_health *h, bool answered)
{
  const char *brokers = h->brokers ? h->brokers : "?";
  if (!answered) {
    char *what = rl_format("no broker of Kafka at %s can be reached: %s", brokers, h->suspicion);
    go_down(h, what);
    h->cut_off = true;
    rl_free(what);
  } else if (h->refused && !h->told) {
    h->told = true;
    rl_warn("%s: a broker of Kafka at %s refuses this client, others do not; records of partitions that it leads "
            "wait: %s", h->label, brokers, h->suspicion);
  }
}

void rl_kafka_health_looked(rl_kafka_health *h, bool answered)
{
  pthread_mutex_lock(&h->lock);
  if (h->suspicion) look_into(h, answered);
  rl_free(h->suspicion);
  h->suspicion = NULL;
  pthread_mutex_unlock(&h->lock);
}

bool rl_kafka_health_is_down(rl_kafka_health *h)
{
  pthread_mutex_lock(&h->lock);
  bool down = h->down;
  pthread_mutex_unlock(&h->lock);
  return down;
}

bool rl_kafka_health_is_cut_off(rl_kafka_health *h)
{
  pthread_mutex_lock(&h->lock);
  bool cut_off = h->cut_off;
  pthread_mutex_unlock(&h->lock);
  return cut_off;
}

char *rl_kafka_health_reason(rl_kafka_health *h)
{
  pthread_mutex_lock(&h->lock);
  char *reason = h->reason ? rl_format(": %s", h->reason) : rl_strdup("");
  pthread_mutex_unlock(&h->lock);
  return reason;
}

/* "[thrd:127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/bootstrap: Connect to ... failed: Connection refused (after 0ms in
 * state CONNECT)", without the thread's name in front. */
static const char *skip_thread(const char *line)
{
  const char *end = line[0] == '[' ? strstr(line, "]: ") : NULL;
  return end ? end + 3 : line;
}

/* On any of librdkafka's threads. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *line)
{
  rl_kafka_health *h = rd_kafka_opaque(rk);
  rl_debug("librdkafka: %s: %s", facility, line);
  if (level > LOG_ERR) return;
  bool general = strcmp(facility, "ERROR") == 0; /* "1/1 brokers are down": the one before it says more */
  pthread_mutex_lock(&h->lock);
  if (h->reason && general) {
    pthread_mutex_unlock(&h->lock);
    return;
  }
  rl_free(h->reason);
  h->reason = rl_strdup(skip_thread(line));
  pthread_mutex_unlock(&h->lock);
}

/* Settings --------------------------------------------------------------------------------------------------------- */

/* Where they differ from librdkafka's; the user's win. What is queued is outside of the memory budget, so its bytes are
 * the limit that counts: for a reader per partition. A message that does not arrive is told of before the watchdog ends
 * the task that waits for it. Java's clients put a key into the same partition as murmur2_random. A transaction that is
 * not ended in time is undone by the brokers: the batch must have been computed by then. A topic that is not there is
 * told of before its records time out; brokers that make topics when they are asked for them do so in that time. */
static const struct {
  rl_kafka_setting base;
  bool reads, writes, transacts; /* transacts: only then */
} defaults[] = {
  {{"client.id", "rille"}, true, true, false},
  {{"reconnect.backoff.max.ms", "1000"}, true, true, false},
  {{"topic.metadata.propagation.max.ms", "5000"}, false, true, false},
  {{"queued.min.messages", "1000000"}, true, false, false},
  {{"queued.max.messages.kbytes", "32768"}, true, false, false},
  {{"fetch.wait.max.ms", "100"}, true, false, false},
  {{"enable.idempotence", "true"}, false, true, false},
  {{"partitioner", "murmur2_random"}, false, true, false},
  {{"message.timeout.ms", "30000"}, false, true, false},
  {{"queue.buffering.max.kbytes", "65536"}, false, true, false},
  {{"transaction.timeout.ms", "300000"}, false, true, true},
};
#define DEFAULTS (sizeof defaults / sizeof *defaults)

struct rl_kafka_conf {
  _Atomic uint32_t refs;
  rl_kafka_setting *v; /* owned */
  size_t n;
  rl_kafka_reset reset;
};

rl_kafka_conf *rl_kafka_conf_ref(rl_kafka_conf *c)
{
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

void rl_kafka_conf_unref(rl_kafka_conf *c)
{
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) > 1) return;
  for (size_t i = 0; i < c->n; i++) {
    rl_free((char *)c->v[i].name);
    rl_free((char *)c->v[i].value);
  }
  rl_free(c->v);
  rl_free(c);
}

const char *rl_kafka_conf_get(const rl_kafka_conf *c, const char *name)
{
  for (size_t i = c->n; i-- > 0;)
    if (strcmp(c->v[i].name, name) == 0) return c->v[i].value;
  return NULL;
}

int64_t rl_kafka_conf_number(const rl_kafka_conf *c, const char *name)
{
  const char *value = rl_kafka_conf_get(c, name);
  for (size_t i = 0; i < DEFAULTS && !value; i++)
    if (strcmp(defaults[i].base.name, name) == 0) value = defaults[i].base.value;
  return value ? strtoll(value, NULL, 10) : 0;
}

const char *rl_kafka_conf_brokers(const rl_kafka_conf *c)
{
  const char *brokers = rl_kafka_conf_get(c, "bootstrap.servers");
  return brokers ? brokers : rl_kafka_conf_get(c, "metadata.broker.list");
}

rl_kafka_reset rl_kafka_conf_reset(const rl_kafka_conf *c) { return c->reset; }

static bool is_one_of(const char *s, const char *const *words)
{
  for (; *words; words++)
    if (strcmp(s, *words) == 0) return true;
  return false;
}

static rl_status read_reset(rl_kafka_conf *c)
{
  static const char *const earliest[] = {"earliest", "smallest", "beginning", NULL};
  static const char *const latest[] = {"latest", "largest", "end", NULL};
  static const char *const none[] = {"none", "error", NULL};
  const char *s = rl_kafka_conf_get(c, "auto.offset.reset");
  if (!s) c->reset = RL_KAFKA_RESET_UNSET;
  else if (is_one_of(s, earliest)) c->reset = RL_KAFKA_RESET_EARLIEST;
  else if (is_one_of(s, latest)) c->reset = RL_KAFKA_RESET_LATEST;
  else if (is_one_of(s, none)) c->reset = RL_KAFKA_RESET_NONE;
  else return rl_fail(RL_EINVAL, "auto.offset.reset is '%s'; it must be earliest, latest or none", s);
  return RL_OK;
}

/* Settings that are the stream's own: what they may be, and why. */
static rl_status check_own(const rl_kafka_conf *c, rl_kafka_use use)
{
  static const struct {
    const char *name, *value, *why;
  } own[] = {
    {"enable.auto.commit", "false", "offsets are committed once their records are safe or worked off"},
    {"auto.commit.enable", "false", "offsets are committed once their records are safe or worked off"},
    {"enable.partition.eof", "true", "the stream needs to know where a partition ends"},
    {"transactional.id", "", "it is for sinks with transactional = true"},
    {"delivery.report.only.error", "false", "a task is done when all that it sent is acknowledged"},
  };
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
    const char *value = rl_kafka_conf_get(c, own[i].name);
    if (use == RL_KAFKA_TRANSACT && strcmp(own[i].name, "transactional.id") == 0) continue;
    if (value && strcmp(value, own[i].value) != 0) {
      return rl_fail(RL_EINVAL, "%s can not be set to '%s': %s", own[i].name, value, own[i].why);
    }
  }
  return RL_OK;
}

static rl_status set(rd_kafka_conf_t *to, const char *name, const char *value)
{
  char reason[512] = "";
  rd_kafka_conf_res_t res = rd_kafka_conf_set(to, name, value, reason, sizeof reason);
  if (res == RD_KAFKA_CONF_OK) return RL_OK;
  if (res == RD_KAFKA_CONF_UNKNOWN) {
    return rl_fail(RL_EINVAL, "unknown Kafka setting '%s' (librdkafka %s): %s", name, rd_kafka_version_str(), reason);
  }
  if (rl_secret_is_name(name)) return rl_fail(RL_EINVAL, "librdkafka refuses the value of '%s'", name);
  return rl_fail(RL_EINVAL, "Kafka setting '%s': %s", name, reason);
}

/* What a consumer must have, whoever set it otherwise was refused. */
static const rl_kafka_setting consumers[] = {
  {"enable.auto.commit", "false"},  {"auto.commit.enable", "false"}, {"enable.auto.offset.store", "false"},
  {"enable.partition.eof", "true"}, {"auto.offset.reset", "error"},
};
#define CONSUMERS (sizeof consumers / sizeof *consumers)

/* A member of a group begins where librdkafka finds that it should; a stream sees to that itself. */
static rl_status fill_member(const rl_kafka_conf *c, rd_kafka_conf_t *to)
{
  static const char *const resets[] = {
    [RL_KAFKA_RESET_EARLIEST] = "earliest", [RL_KAFKA_RESET_LATEST] = "latest", [RL_KAFKA_RESET_NONE] = "error"};
  rl_status st = set(to, "enable.auto.commit", "false");
  if (st == RL_OK) st = set(to, "enable.auto.offset.store", "false");
  return st == RL_OK && resets[c->reset] ? set(to, "auto.offset.reset", resets[c->reset]) : st;
}

static bool is_producer(rl_kafka_use use) { return use == RL_KAFKA_WRITE || use == RL_KAFKA_TRANSACT; }

/* A transaction shorter than our message.timeout.ms: librdkafka finds one that fits. */
static bool ends_soon(const rl_kafka_conf *c) { return rl_kafka_conf_number(c, "transaction.timeout.ms") < 30000; }

static bool is_address(const char *name)
{
  return strcmp(name, "bootstrap.servers") == 0 || strcmp(name, "metadata.broker.list") == 0;
}

/* `for_trial`: without what it would connect to. */
static rl_status fill(const rl_kafka_conf *c, rl_kafka_use use, bool for_trial, rd_kafka_conf_t *to)
{
  bool writes = is_producer(use);
  rl_status st = RL_OK;
  for (size_t i = 0; i < DEFAULTS && st == RL_OK; i++) {
    if (use != RL_KAFKA_TRANSACT && defaults[i].transacts) continue;
    if (use == RL_KAFKA_TRANSACT && ends_soon(c) && strcmp(defaults[i].base.name, "message.timeout.ms") == 0) continue;
    if (writes ? defaults[i].writes : defaults[i].reads) st = set(to, defaults[i].base.name, defaults[i].base.value);
  }
  for (size_t i = 0; i < c->n && st == RL_OK; i++) {
    const char *name = c->v[i].name;
    if (for_trial && is_address(name)) continue;
    if (use == RL_KAFKA_READ && strncmp(name, "group.", 6) == 0) continue; /* it reads for no group */
    if (!writes && strcmp(name, "auto.offset.reset") == 0) continue;       /* see below */
    st = set(to, name, c->v[i].value);
  }
  if (st == RL_OK && use == RL_KAFKA_JOIN) return fill_member(c, to);
  for (size_t i = 0; i < CONSUMERS && st == RL_OK && !writes; i++) st = set(to, consumers[i].name, consumers[i].value);
  return st;
}

/* Settings that contradict one another are found when a client is made of them, which would be long after the call. */
static rl_status try_client(const rl_kafka_conf *c, rl_kafka_use use)
{
  char reason[512] = "";
  rd_kafka_conf_t *trial = rd_kafka_conf_new();
  rl_status st = fill(c, use, true, trial);
  rd_kafka_conf_set_log_cb(trial, NULL);
  rd_kafka_type_t type = is_producer(use) ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER;
  rd_kafka_t *rk = st == RL_OK ? rd_kafka_new(type, trial, reason, sizeof reason) : NULL;
  if (rk) rd_kafka_destroy(rk);
  else rd_kafka_conf_destroy(trial);
  return rk || st != RL_OK ? st : rl_fail(RL_EINVAL, "no Kafka client can be made with these settings: %s", reason);
}

static rl_status check(rl_kafka_conf *c, rl_kafka_use use)
{
  if (!rl_kafka_conf_brokers(c) || !*rl_kafka_conf_brokers(c)) {
    return rl_fail(RL_EINVAL, "the address of a Kafka broker is needed: brokers = \"localhost:9092\"");
  }
  rl_status st = read_reset(c);
  if (st == RL_OK) st = check_own(c, use);
  if (st != RL_OK) return st;
  rd_kafka_conf_t *trial = rd_kafka_conf_new();
  st = fill(c, use, false, trial);
  rd_kafka_conf_destroy(trial);
  return st == RL_OK && (is_producer(use) || use == RL_KAFKA_JOIN) ? try_client(c, use) : st;
}

rl_status rl_kafka_conf_new(const rl_kafka_setting *settings, size_t n, rl_kafka_use use, rl_kafka_conf **out)
{
  rl_kafka_conf *c = RL_NEW(rl_kafka_conf);
  c->refs = 1;
  c->n = n;
  c->v = rl_calloc(n + 1, sizeof *c->v);
  for (size_t i = 0; i < n; i++) {
    c->v[i] = (rl_kafka_setting){rl_strdup(settings[i].name), rl_strdup(settings[i].value)};
    rl_secret_note(c->v[i].name, c->v[i].value);
  }
  rl_status st = check(c, use);
  if (st == RL_OK) *out = c;
  else rl_kafka_conf_unref(c);
  return st;
}

/* For members of a group, on the thread that polls: nothing else tells them. */
static void on_error(rd_kafka_t *rk, int err, const char *reason, void *health)
{
  (void)rk;
  bool refused = err == RD_KAFKA_RESP_ERR__AUTHENTICATION || err == RD_KAFKA_RESP_ERR__SSL;
  if (refused || err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) rl_kafka_health_suspect(health, refused, reason);
}

rl_status rl_kafka_client_new(const rl_kafka_conf *c, rl_kafka_use use, rl_kafka_health *h,
                              rl_kafka_delivered_fn *delivered, rd_kafka_t **out)
{
  char reason[512] = "";
  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  rl_status st = fill(c, use, false, conf);
  if (st == RL_OK) {
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_opaque(conf, h);
    if (delivered) rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    if (use == RL_KAFKA_JOIN) {
      set_brokers(h, rl_kafka_conf_brokers(c));
      rd_kafka_conf_set_error_cb(conf, on_error);
    }
    *out = rd_kafka_new(is_producer(use) ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    if (*out) return RL_OK; /* conf is its own now */
    st = rl_fail(RL_EINVAL, "no Kafka client can be made with these settings: %s", reason);
  }
  rd_kafka_conf_destroy(conf);
  return st;
}
