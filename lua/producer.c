#include "producer.h"

#include <pthread.h>
#include <string.h>

#include "base/mem.h"
#include "bind_kafka.h"

typedef struct producer {
  rl_shared shared;
  rl_kafka_setting *settings; /* owned; a value that is NULL is not known */
  size_t nsettings;
  bool mute;
  pthread_mutex_t lock;
  rl_kafka_producer *kafka; /* NULL: not asked for yet, or mute */
} producer;

static void destroy(rl_shared *s)
{
  producer *p = (producer *)s;
  rl_kafka_producer_unref(p->kafka);
  pthread_mutex_destroy(&p->lock);
  for (size_t i = 0; i < p->nsettings; i++) {
    rl_free((char *)p->settings[i].name);
    rl_free((char *)p->settings[i].value);
  }
  rl_free(p->settings);
  rl_free(p);
}

const rl_shared_class rl_producer_class = {"rille.KafkaProducer", NULL, destroy};

static _Thread_local bool come_mute;

void rl_producers_come_mute(bool mute) { come_mute = mute; }

rl_shared *rl_producer_of(const rl_kafka_setting *settings, size_t n)
{
  producer *p = RL_NEW(producer);
  rl_shared_init(&p->shared, &rl_producer_class);
  p->settings = rl_calloc(n + 1, sizeof *p->settings);
  p->nsettings = n;
  p->mute = come_mute;
  for (size_t i = 0; i < n; i++)
    p->settings[i] = (rl_kafka_setting){rl_strdup(settings[i].name), rl_strdup(settings[i].value)};
  pthread_mutex_init(&p->lock, NULL);
  return &p->shared;
}

bool rl_producer_settings(const rl_shared *s, const rl_kafka_setting **settings, size_t *n)
{
  if (s->cls != &rl_producer_class) return false;
  *settings = ((const producer *)s)->settings;
  *n = ((const producer *)s)->nsettings;
  return true;
}

rl_status rl_producer_resolve(rl_shared *s, rl_kafka_producer **out)
{
  producer *p = (producer *)s;
  rl_status st = RL_OK;
  *out = NULL;
  if (p->mute) return RL_OK;
  pthread_mutex_lock(&p->lock);
  if (!p->kafka) st = rl_kafka_producer_get(p->settings, p->nsettings, &p->kafka);
  if (st == RL_OK) *out = rl_kafka_producer_ref(p->kafka);
  pthread_mutex_unlock(&p->lock);
  return st;
}

/* Of one that is mute only the settings are looked at. */
static rl_status check(producer *p)
{
  rl_kafka_producer *kafka = NULL;
  rl_status st = p->mute ? rl_kafka_producer_new(p->settings, p->nsettings, "", &kafka)
                         : rl_producer_resolve(&p->shared, &kafka);
  if (st == RL_OK && !p->mute) st = rl_kafka_producer_connect(kafka);
  rl_kafka_producer_unref(kafka);
  return st;
}

int rl_lua_kafka_producer(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  size_t n;
  const rl_kafka_setting *settings = rl_bind_kafka_settings(L, 1, &n);
  bool mute = rl_bind_flag(L, 1, "mute");
  rl_holder *h = rl_shared_push_empty(L, &rl_producer_class);
  producer *p = (producer *)rl_producer_of(settings, n);
  p->mute = mute;
  rl_shared_adopt(L, h, &p->shared);
  rl_bind_check(L, check(p));
  return 1;
}
