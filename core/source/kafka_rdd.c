/* RDDs over ranges of offsets. */
#include "source/kafka_rdd.h"

#include <inttypes.h>

#include "base/mem.h"

typedef struct kafka_source {
  rl_source base;
  rl_kafka_pool *pool;
  rl_kafka_records form;
  rl_kafka_ranges ranges;
} kafka_source;

static rl_status source_open(rl_source *self, uint32_t partition, const rl_task *task, rl_pull **out)
{
  kafka_source *s = (kafka_source *)self;
  const rl_kafka_range *r = &s->ranges.v[partition];
  if (r->from < r->until) return rl_kafka_read(s->pool, r, s->form, task, out);
  *out = rl_pull_empty();
  return RL_OK;
}

static void source_destroy(rl_source *self)
{
  kafka_source *s = (kafka_source *)self;
  rl_kafka_ranges_clear(&s->ranges);
  rl_kafka_pool_unref(s->pool);
  rl_free(s);
}

static const rl_source_class source_class = {.name = "Kafka", .open = source_open, .destroy = source_destroy};

rl_rdd *rl_rdd_from_kafka(rl_kafka_pool *pool, rl_kafka_records form, const rl_kafka_range *ranges, uint32_t n)
{
  kafka_source *s = RL_NEW(kafka_source);
  s->base = (rl_source){.refs = 1, .cls = &source_class, .partitions = n};
  s->pool = rl_kafka_pool_ref(pool);
  s->form = form;
  for (uint32_t i = 0; i < n; i++) {
    const rl_kafka_range *r = &ranges[i];
    rl_kafka_ranges_add(&s->ranges, r->topic, r->partition, r->from, r->until);
  }
  return rl_rdd_from_source(&s->base);
}

static rl_status check_range(const rl_kafka_range *r)
{
  if (r->partition >= 0 && r->from >= 0 && r->from <= r->until) return RL_OK;
  return rl_fail(RL_EINVAL, "the range of %s/%" PRId32 " from offset %" PRId64 " until %" PRId64 " is none", r->topic,
                 r->partition, r->from, r->until);
}

rl_status rl_rdd_kafka(const rl_conf *conf, const rl_kafka_setting *settings, size_t nsettings, rl_kafka_records form,
                       const rl_kafka_range *ranges, uint32_t n, rl_rdd **out)
{
  rl_status st = RL_OK;
  for (uint32_t i = 0; i < n && st == RL_OK; i++) st = check_range(&ranges[i]);
  rl_kafka_conf *c = NULL;
  if (st == RL_OK) st = rl_kafka_conf_new(settings, nsettings, RL_KAFKA_READ, &c);
  if (st != RL_OK) return st;
  rl_kafka_health *h = rl_kafka_health_new("Kafka RDD");
  rl_kafka_pool *pool = rl_kafka_pool_new(c, h, conf, false);
  *out = rl_rdd_from_kafka(pool, form, ranges, n);
  rl_kafka_pool_unref(pool);
  rl_kafka_health_unref(h);
  rl_kafka_conf_unref(c);
  return RL_OK;
}

bool rl_rdd_kafka_ranges(const rl_rdd *r, const rl_kafka_range **ranges, uint32_t *n)
{
  const rl_source *source = rl_rdd_source(r);
  if (!source || source->cls != &source_class) return false;
  const kafka_source *s = (const kafka_source *)source;
  *ranges = s->ranges.v;
  *n = source->partitions;
  return true;
}
