#include "sink/kafka_producer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "sink/kafka_line.h"

struct rl_kafka_producer {
  _Atomic uint32_t refs; /* of one that is listed it goes to 0 only under the list's lock */
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  pthread_mutex_t lock;
  rl_kafka_line *line; /* NULL: none yet */

  bool listed;
  rl_kafka_producer *next;
  rl_kafka_setting *settings; /* of one that is listed; owned */
  size_t nsettings;
};

/* Those of the process; none is kept alive by it. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static rl_kafka_producer *list;

rl_status rl_kafka_producer_new(const rl_kafka_setting *settings, size_t n, const char *what, rl_kafka_producer **out)
{
  rl_kafka_conf *conf = NULL;
  rl_status st = rl_kafka_conf_new(settings, n, RL_KAFKA_WRITE, &conf);
  if (st != RL_OK) return st;
  rl_kafka_producer *p = RL_NEW(rl_kafka_producer);
  p->refs = 1;
  p->conf = conf;
  p->health = rl_kafka_health_new(what);
  pthread_mutex_init(&p->lock, NULL);
  *out = p;
  return RL_OK;
}

rl_kafka_producer *rl_kafka_producer_ref(rl_kafka_producer *p)
{
  atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
  return p;
}

static void destroy(rl_kafka_producer *p)
{
  rl_kafka_line_unref(p->line);
  pthread_mutex_destroy(&p->lock);
  rl_kafka_health_unref(p->health);
  rl_kafka_conf_unref(p->conf);
  for (size_t i = 0; i < p->nsettings; i++) {
    rl_free((char *)p->settings[i].name);
    rl_free((char *)p->settings[i].value);
  }
  rl_free(p->settings);
  rl_free(p);
}

void rl_kafka_producer_unref(rl_kafka_producer *p)
{
  if (!p) return;
  bool listed = p->listed;
  if (listed) pthread_mutex_lock(&list_lock);
  bool last = atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1;
  if (listed && last) {
    rl_kafka_producer **at = &list;
    while (*at != p) at = &(*at)->next;
    *at = p->next;
  }
  if (listed) pthread_mutex_unlock(&list_lock);
  if (last) destroy(p);
}

rl_status rl_kafka_producer_line(rl_kafka_producer *p, rl_kafka_line **out)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&p->lock);
  if (p->line && rd_kafka_fatal_error(p->line->rk, NULL, 0)) {
    rl_kafka_line_unref(p->line);
    p->line = NULL;
  }
  if (!p->line) st = rl_kafka_line_new(p->conf, RL_KAFKA_WRITE, p->health, &p->line);
  if (st == RL_OK) *out = rl_kafka_line_ref(p->line);
  pthread_mutex_unlock(&p->lock);
  return st;
}

rl_status rl_kafka_producer_connect(rl_kafka_producer *p)
{
  rl_kafka_line *line = NULL;
  rl_status st = rl_kafka_producer_line(p, &line);
  rl_kafka_line_unref(line);
  return st;
}

const char *rl_kafka_producer_brokers(const rl_kafka_producer *p) { return rl_kafka_conf_brokers(p->conf); }
size_t rl_kafka_producer_queue_bytes(const rl_kafka_producer *p)
{
  return (size_t)rl_kafka_conf_number(p->conf, "queue.buffering.max.kbytes") * 1024;
}

char *rl_kafka_producer_reason(rl_kafka_producer *p) { return rl_kafka_health_reason(p->health); }

/* The list --------------------------------------------------------------------------------------------------------- */

static bool is_meant(const rl_kafka_producer *p, const rl_kafka_setting *settings, size_t n)
{
  bool same = p->nsettings == n;
  for (size_t i = 0; i < n && same; i++) {
    const char *value = settings[i].value;
    same = strcmp(p->settings[i].name, settings[i].name) == 0 && (!value || strcmp(p->settings[i].value, value) == 0);
  }
  return same;
}

static rl_status make_listed(const rl_kafka_setting *settings, size_t n, rl_kafka_producer **out)
{
  for (size_t i = 0; i < n; i++) {
    if (settings[i].value) continue;
    return rl_fail(RL_ESTATE,
                   "this Kafka producer came out of a checkpoint, which does not keep '%s'; make one with the same "
                   "settings before, with rille.kafka.producer",
                   settings[i].name);
  }
  rl_kafka_producer *p = NULL;
  rl_status st = rl_kafka_producer_new(settings, n, "Kafka producer", &p);
  if (st != RL_OK) return st;
  p->settings = rl_calloc(n + 1, sizeof *p->settings);
  p->nsettings = n;
  for (size_t i = 0; i < n; i++)
    p->settings[i] = (rl_kafka_setting){rl_strdup(settings[i].name), rl_strdup(settings[i].value)};
  p->listed = true;
  p->next = list;
  list = p;
  *out = p;
  return RL_OK;
}

rl_status rl_kafka_producer_get(const rl_kafka_setting *settings, size_t n, rl_kafka_producer **out)
{
  rl_status st = RL_OK;
  pthread_mutex_lock(&list_lock);
  rl_kafka_producer *p = list;
  while (p && !is_meant(p, settings, n)) p = p->next;
  if (p) *out = rl_kafka_producer_ref(p);
  else st = make_listed(settings, n, out);
  pthread_mutex_unlock(&list_lock);
  return st;
}
