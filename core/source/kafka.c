/* The direct stream's input. */
#include "source/kafka.h"

#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "run/rate.h"
#include "source/kafka_impl.h"
#include "source/kafka_rdd.h"

#define COMMIT_WAIT_MS 5000 /* for commits under way, at the stop */

static rl_status kafka_start(rl_input *self)
{
  rl_kafka_input *in = (rl_kafka_input *)self;
  int wait_ms = (int)(rl_conf_us(rl_kafka_input_conf(in), "rille.streaming.kafka.consumer.poll") / 1000);
  rl_status st = rl_kafka_control_new(in->conf, in->health, &in->control);
  return st ? st : rl_kafka_parts_begin(in, wait_ms);
}

/* A batch ---------------------------------------------------------------------------------------------------------- */

/* Not to hold up the driver: shorter, while it is known that no answer is to be expected. */
static int wait_for_bounds(const rl_kafka_input *in)
{
  int64_t ms = rl_streaming_batch_ms(in->base.streaming);
  if (rl_kafka_health_is_down(in->health)) return ms < 400 ? 100 : ms > 10000 ? 2500 : (int)(ms / 4);
  return ms < 500 ? 500 : ms > 10000 ? 10000 : (int)ms;
}

static void tell(const rl_kafka_ranges *ranges, rl_input_info *info)
{
  info->records = rl_kafka_ranges_sum(ranges);
  info->description = rl_kafka_ranges_describe(ranges);
}

static rl_status kafka_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  rl_kafka_input *in = (rl_kafka_input *)self;
  int wait_ms = wait_for_bounds(in);
  rl_kafka_control_poll(in->control, 0);
  rl_kafka_parts_look_again(in, wait_ms);
  int64_t *lags = rl_calloc(in->nparts + 1, sizeof *lags);
  rl_status st = rl_kafka_ask_lags(in, wait_ms, lags);
  if (st == RL_OK) {
    rl_kafka_limit_lags(in, lags);
    rl_kafka_ranges_clear(&in->last);
    in->last_time = time;
    for (size_t i = 0; i < in->nparts; i++) {
      rl_kafka_part *p = &in->parts[i];
      if (p->position < 0) continue; /* it joined, and its leader does not answer yet */
      rl_kafka_ranges_add(&in->last, p->topic, p->partition, p->position, p->position + lags[i]);
      p->position += lags[i];
    }
    *out = rl_rdd_from_kafka(in->pool, in->form, in->last.v, (uint32_t)in->last.n);
    tell(&in->last, info);
  }
  rl_free(lags);
  return st;
}

static rl_status kafka_save(rl_input *self, int64_t time, rl_buf *out)
{
  rl_kafka_input *in = (rl_kafka_input *)self;
  if (in->last_time != time) { /* it was not read */
    rl_kafka_ranges_clear(&in->last);
    for (size_t i = 0; i < in->nparts; i++) {
      const rl_kafka_part *p = &in->parts[i];
      if (p->position >= 0) rl_kafka_ranges_add(&in->last, p->topic, p->partition, p->position, p->position);
    }
    in->last_time = time;
  }
  rl_kafka_ranges_encode(&in->last, out);
  return RL_OK;
}

static rl_status kafka_restore(rl_input *self, int64_t time, const char *p, size_t n, rl_rdd **out,
                               rl_input_info *info)
{
  rl_kafka_input *in = (rl_kafka_input *)self;
  (void)time;
  rl_kafka_ranges ranges = {0};
  rl_status st = rl_kafka_ranges_decode(p, n, &ranges);
  if (st != RL_OK) return st;
  rl_kafka_parts_clear(in);
  for (size_t i = 0; i < ranges.n; i++)
    rl_kafka_parts_add(in, ranges.v[i].topic, ranges.v[i].partition, ranges.v[i].until);
  in->restored = true;
  *out = rl_rdd_from_kafka(in->pool, in->form, ranges.v, (uint32_t)ranges.n);
  tell(&ranges, info);
  rl_kafka_ranges_clear(&ranges);
  return RL_OK;
}

/* End -------------------------------------------------------------------------------------------------------------- */

static void kafka_stop(rl_input *self)
{
  rl_kafka_input *in = (rl_kafka_input *)self;
  rl_kafka_control_delete(in->control, COMMIT_WAIT_MS);
  in->control = NULL;
  rl_kafka_pool_prune(in->pool, NULL, 0);
}

static void kafka_destroy(rl_input *self)
{
  rl_kafka_input *in = (rl_kafka_input *)self;
  rl_kafka_control_delete(in->control, 0);
  rl_rate_delete(in->base.rate);
  rl_kafka_pool_unref(in->pool);
  rl_kafka_health_unref(in->health);
  rl_kafka_conf_unref(in->conf);
  for (size_t i = 0; i < in->ntopics; i++) rl_free(in->topics[i]);
  rl_free(in->topics);
  rl_free(in->pattern);
  rl_kafka_ranges_clear(&in->assign);
  rl_kafka_ranges_clear(&in->from);
  rl_kafka_ranges_clear(&in->last);
  rl_kafka_parts_clear(in);
  rl_free(in->parts);
  rl_free(in);
}

static const rl_input_class kafka_class = {
  .name = "Kafka stream",
  .start = kafka_start,
  .compute = kafka_compute,
  .save = kafka_save,
  .restore = kafka_restore,
  .stop = kafka_stop,
  .destroy = kafka_destroy,
};

rl_status rl_kafka_commit(rl_dstream *d, const rl_kafka_range *ranges, size_t n, rl_kafka_committed_fn *done,
                          void *user, void (*destroy)(void *))
{
  rl_status st = RL_OK;
  rl_kafka_input *in = (rl_kafka_input *)rl_dstream_input(d);
  if (!in || in->base.cls != &kafka_class) {
    st = rl_fail(RL_EINVAL, "commitAsync: %s is no Kafka stream", rl_dstream_label(d));
  } else if (!rl_kafka_conf_get(in->conf, "group.id")) {
    st = rl_fail(RL_EINVAL, "commitAsync: set [\"group.id\"], under which offsets are committed");
  } else if (!in->control) {
    st = rl_fail(RL_ESTATE, "commitAsync: the stream does not run");
  }
  if (st == RL_OK) rl_kafka_control_commit(in->control, ranges, n, done, user, destroy);
  else if (destroy) destroy(user);
  return st;
}

/* Making ----------------------------------------------------------------------------------------------------------- */

static rl_status check_spec(const rl_kafka_stream *spec)
{
  int ways = (spec->ntopics > 0) + (spec->pattern != NULL) + (spec->nassign > 0);
  if (ways != 1) return rl_fail(RL_EINVAL, "a Kafka stream needs one of topics, pattern and assign, and not more");
  for (size_t i = 0; i < spec->nfrom; i++) {
    const rl_kafka_offset *f = &spec->from[i];
    if (f->offset >= 0 && f->partition >= 0) continue;
    return rl_fail(RL_EINVAL, "fromOffsets: %s/%" PRId32 " at %" PRId64 " is no offset", f->topic, f->partition,
                   f->offset);
  }
  return spec->pattern ? rl_kafka_check_pattern(spec->pattern) : RL_OK;
}

static rl_kafka_input *new_input(const rl_kafka_stream *spec, rl_kafka_conf *c, const rl_conf *conf)
{
  rl_kafka_input *in = RL_NEW(rl_kafka_input);
  in->base.cls = &kafka_class;
  in->conf = c;
  in->health = rl_kafka_health_new("Kafka stream");
  in->pool = rl_kafka_pool_new(c, in->health, conf, true);
  in->form = spec->records;
  in->pattern = rl_strdup(spec->pattern);
  in->topics = rl_calloc(spec->ntopics + 1, sizeof(char *));
  for (size_t i = 0; i < spec->ntopics; i++) {
    bool again = false;
    for (size_t j = 0; j < i; j++) again |= strcmp(spec->topics[j], spec->topics[i]) == 0;
    if (!again) in->topics[in->ntopics++] = rl_strdup(spec->topics[i]);
  }
  for (size_t i = 0; i < spec->nassign; i++) {
    const rl_kafka_part p = {.topic = (char *)spec->assign[i].topic, .partition = spec->assign[i].partition};
    if (!rl_kafka_ranges_have(&in->assign, &p)) rl_kafka_ranges_add(&in->assign, p.topic, p.partition, 0, 0);
  }
  for (size_t i = 0; i < spec->nfrom; i++)
    rl_kafka_ranges_add(&in->from, spec->from[i].topic, spec->from[i].partition, spec->from[i].offset, 0);
  return in;
}

rl_status rl_source_kafka(rl_streaming *s, const rl_kafka_stream *spec, const char *site, rl_dstream **out)
{
  rl_kafka_conf *c = NULL;
  rl_status st = check_spec(spec);
  if (st == RL_OK) st = rl_kafka_conf_new(spec->settings, spec->nsettings, RL_KAFKA_ASK, &c);
  if (st != RL_OK) return st;
  rl_rate *rate = NULL;
  st = rl_rate_for(s, &rate);
  if (st != RL_OK) {
    rl_kafka_conf_unref(c);
    return st;
  }
  rl_kafka_input *in = new_input(spec, c, rl_context_conf(rl_streaming_context(s)));
  in->base.rate = rate;
  st = rl_streaming_add_input(s, &in->base, site, out);
  if (st == RL_OK) rl_kafka_health_set_label(in->health, rl_dstream_label(*out));
  return st;
}
