/* The direct stream's input. */
#include "source/kafka.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/rate.h"
#include "source/kafka_control.h"
#include "source/kafka_rate.h"
#include "source/kafka_rdd.h"

#define REFRESH_MS 10000     /* between looks at the metadata, unless topic.metadata.refresh.interval.ms is set */
#define COMMIT_WAIT_MS 5000  /* for commits under way, at the stop */
#define GONE_LOOKS 10        /* in a row, without a partition, before it is given up */
#define BEYOND_BATCHES 3     /* in a row with an end before the position, before that is taken for a new partition */

typedef struct part {
  char *topic;
  int32_t partition;
  int64_t position; /* the next batch begins here; -1: at the partition's beginning */
  unsigned missing; /* looks at the metadata in a row in which it was not there */
  unsigned beyond;  /* batches in a row in which the position was behind the partition's end */
} part;

typedef struct kafka_input {
  rl_input base;
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  rl_kafka_pool *pool;
  rl_kafka_control *control; /* between start and stop */
  rl_kafka_records form;
  char **topics;
  size_t ntopics;
  char *pattern;
  rl_kafka_ranges assign; /* partitions only */
  rl_kafka_ranges from;   /* where to begin */
  part *parts;
  size_t nparts, parts_cap;
  bool restored;
  int64_t looked_ns;    /* when the metadata was last looked at */
  rl_kafka_ranges last; /* of the newest batch, for save */
  int64_t last_time;    /* its time */
} kafka_input;

static const rl_conf *conf_of(const kafka_input *in)
{
  return rl_context_conf(rl_streaming_context(in->base.streaming));
}

/* Partitions ------------------------------------------------------------------------------------------------------- */

static part *find_part(const kafka_input *in, const char *topic, int32_t partition)
{
  for (size_t i = 0; i < in->nparts; i++) {
    part *p = &in->parts[i];
    if (p->partition == partition && strcmp(p->topic, topic) == 0) return p;
  }
  return NULL;
}

static void add_part(kafka_input *in, const char *topic, int32_t partition, int64_t position)
{
  in->parts = rl_grow(in->parts, &in->parts_cap, in->nparts + 1, sizeof *in->parts);
  in->parts[in->nparts++] = (part){.topic = rl_strdup(topic), .partition = partition, .position = position};
}

static void clear_parts(kafka_input *in)
{
  for (size_t i = 0; i < in->nparts; i++) rl_free(in->parts[i].topic);
  in->nparts = 0;
}

static bool has(const rl_kafka_ranges *l, const part *p)
{
  for (size_t i = 0; i < l->n; i++)
    if (l->v[i].partition == p->partition && strcmp(l->v[i].topic, p->topic) == 0) return true;
  return false;
}

/* Is it what the script asks for, whether or not it is there? */
static bool is_wanted(const kafka_input *in, const part *p)
{
  if (in->pattern) return rl_kafka_matches(in->pattern, p->topic);
  for (size_t i = 0; i < in->ntopics; i++)
    if (strcmp(in->topics[i], p->topic) == 0) return true;
  return has(&in->assign, p);
}

static rl_status find_parts(kafka_input *in, bool all, int wait_ms, rl_kafka_ranges *out)
{
  if (in->pattern) return rl_kafka_find_matching(in->control, in->pattern, wait_ms, out);
  if (in->ntopics > 0)
    return rl_kafka_find_topics(in->control, (const char *const *)in->topics, in->ntopics, all, wait_ms, out);
  for (size_t i = 0; i < in->assign.n; i++)
    rl_kafka_ranges_add(out, in->assign.v[i].topic, in->assign.v[i].partition, 0, 0);
  return RL_OK;
}

/* Gives up the partitions that were long not to be found. */
static bool drop_missing(kafka_input *in, const rl_kafka_ranges *found)
{
  size_t n = 0;
  for (size_t i = 0; i < in->nparts; i++) {
    part *p = &in->parts[i];
    p->missing = has(found, p) ? 0 : p->missing + 1;
    if (p->missing < GONE_LOOKS) {
      in->parts[n++] = *p;
      continue;
    }
    rl_warn("%s/%" PRId32 " is no longer there and no longer part of the stream", p->topic, p->partition);
    rl_free(p->topic);
  }
  bool dropped = n < in->nparts;
  in->nparts = n;
  return dropped;
}

static void add_new(kafka_input *in, const rl_kafka_ranges *found)
{
  for (size_t i = 0; i < found->n; i++) {
    const rl_kafka_range *r = &found->v[i];
    if (find_part(in, r->topic, r->partition)) continue;
    rl_info("%s/%" PRId32 " joins the stream, from its beginning", r->topic, r->partition);
    add_part(in, r->topic, r->partition, -1);
  }
}

/* What the checkpoint has, and the script has no more. */
static void drop_unwanted(kafka_input *in)
{
  size_t n = 0;
  for (size_t i = 0; i < in->nparts; i++) {
    part *p = &in->parts[i];
    if (is_wanted(in, p)) {
      in->parts[n++] = *p;
      continue;
    }
    rl_warn("%s/%" PRId32 " is read no more: the script does not name it any longer; it is left at offset %" PRId64
            ", and read from its beginning if it comes back", p->topic, p->partition, p->position);
    rl_free(p->topic);
  }
  in->nparts = n;
}

static rl_kafka_ranges ranges_of_parts(const kafka_input *in)
{
  rl_kafka_ranges l = {0};
  for (size_t i = 0; i < in->nparts; i++) {
    const part *p = &in->parts[i];
    rl_kafka_ranges_add(&l, p->topic, p->partition, p->position, p->position);
  }
  return l;
}

static int64_t refresh_ms(const kafka_input *in)
{
  const char *set = rl_kafka_conf_get(in->conf, "topic.metadata.refresh.interval.ms");
  int64_t us = 0;
  return set && rl_conf_parse_us(set, 1, &us) ? us / 1000 : REFRESH_MS;
}

/* New topics and partitions join. When the brokers do not answer, the batch will tell. */
static void look_again(kafka_input *in, int wait_ms)
{
  if (in->assign.n > 0 || rl_mono_ns() - in->looked_ns < refresh_ms(in) * 1000000) return;
  rl_kafka_ranges found = {0};
  if (find_parts(in, false, wait_ms, &found) == RL_OK) {
    in->looked_ns = rl_mono_ns();
    bool dropped = drop_missing(in, &found);
    add_new(in, &found);
    rl_kafka_ranges now = ranges_of_parts(in);
    if (dropped) rl_kafka_pool_prune(in->pool, now.v, (uint32_t)now.n);
    rl_kafka_ranges_clear(&now);
  }
  rl_kafka_ranges_clear(&found);
}

/* Start ------------------------------------------------------------------------------------------------------------ */

static int64_t given_offset(const kafka_input *in, const rl_kafka_range *r)
{
  for (size_t i = 0; i < in->from.n; i++) {
    const rl_kafka_range *f = &in->from.v[i];
    if (f->partition == r->partition && strcmp(f->topic, r->topic) == 0) return f->from;
  }
  return -1;
}

/* Partitions that are assigned are not looked for later, so it is seen now that they are there. */
static rl_status check_assigned(const kafka_input *in, int wait_ms)
{
  const char **topics = rl_calloc(in->assign.n + 1, sizeof *topics);
  size_t n = 0;
  for (size_t i = 0; i < in->assign.n; i++)
    if (i == 0 || strcmp(in->assign.v[i].topic, in->assign.v[i - 1].topic) != 0) topics[n++] = in->assign.v[i].topic;
  rl_kafka_ranges found = {0};
  rl_status st = rl_kafka_find_topics(in->control, topics, n, true, wait_ms, &found);
  for (size_t i = 0; i < in->assign.n && st == RL_OK; i++) {
    const part p = {.topic = in->assign.v[i].topic, .partition = in->assign.v[i].partition};
    if (!has(&found, &p))
      st = rl_fail(RL_ENOTFOUND, "assign names %s/%" PRId32 ", and the topic has no such partition", p.topic,
                   p.partition);
  }
  rl_kafka_ranges_clear(&found);
  rl_free(topics);
  return st;
}

static rl_status check_given(const kafka_input *in, const rl_kafka_ranges *found)
{
  for (size_t i = 0; i < in->from.n; i++) {
    const part p = {.topic = in->from.v[i].topic, .partition = in->from.v[i].partition};
    if (has(found, &p)) continue;
    return rl_fail(RL_EINVAL, "fromOffsets names %s/%" PRId32 ", which is not among the partitions of the stream",
                   p.topic, p.partition);
  }
  return RL_OK;
}

/* Where a partition without an offset begins, by its bounds. */
static rl_status first_position(const kafka_input *in, const rl_kafka_range *bounds, int64_t *position)
{
  if (bounds->until < 0) {
    return rl_fail(RL_EIO, "%s/%" PRId32 " in Kafka at %s is not there, or has no leader", bounds->topic,
                   bounds->partition, rl_kafka_conf_brokers(in->conf));
  }
  if (rl_kafka_conf_reset(in->conf) == RL_KAFKA_RESET_NONE) {
    const char *group = rl_kafka_conf_get(in->conf, "group.id");
    return rl_fail(RL_EINVAL, "%s/%" PRId32 " has no offset to begin at: fromOffsets has none, %s%s committed none, "
                   "and auto.offset.reset is none", bounds->topic, bounds->partition, group ? "group " : "no group",
                   group ? group : "");
  }
  *position = rl_kafka_conf_reset(in->conf) == RL_KAFKA_RESET_EARLIEST ? bounds->from : bounds->until;
  return RL_OK;
}

static rl_status place_parts(kafka_input *in, const rl_kafka_ranges *found, int wait_ms)
{
  rl_kafka_ranges bounds = {0}, committed = {0};
  for (size_t i = 0; i < found->n; i++) {
    rl_kafka_ranges_add(&bounds, found->v[i].topic, found->v[i].partition, 0, 0);
    rl_kafka_ranges_add(&committed, found->v[i].topic, found->v[i].partition, -1, -1);
  }
  rl_status st = rl_kafka_bounds(in->control, &bounds, wait_ms);
  if (st == RL_OK && rl_kafka_conf_get(in->conf, "group.id"))
    st = rl_kafka_committed(in->control, &committed, wait_ms);
  for (size_t i = 0; i < found->n && st == RL_OK; i++) {
    int64_t position = given_offset(in, &found->v[i]);
    if (position < 0) position = committed.v[i].from;
    if (position < 0) st = first_position(in, &bounds.v[i], &position);
    if (st == RL_OK) add_part(in, found->v[i].topic, found->v[i].partition, position);
  }
  rl_kafka_ranges_clear(&bounds);
  rl_kafka_ranges_clear(&committed);
  return st;
}

static rl_status kafka_start(rl_input *self)
{
  kafka_input *in = (kafka_input *)self;
  int wait_ms = (int)(rl_conf_us(conf_of(in), "rille.streaming.kafka.consumer.poll") / 1000);
  rl_kafka_ranges found = {0};
  rl_status st = rl_kafka_control_new(in->conf, in->health, &in->control);
  if (st == RL_OK && in->assign.n > 0) st = check_assigned(in, wait_ms);
  if (st == RL_OK) st = find_parts(in, true, wait_ms, &found);
  if (st == RL_OK && in->restored) {
    drop_unwanted(in);
    add_new(in, &found);
  } else if (st == RL_OK) {
    st = check_given(in, &found);
    if (st == RL_OK) st = place_parts(in, &found, wait_ms);
  }
  in->looked_ns = rl_mono_ns();
  rl_kafka_ranges_clear(&found);
  return st;
}

/* A batch ---------------------------------------------------------------------------------------------------------- */

/* Not to hold up the driver: shorter, while it is known that no answer is to be expected. */
static int wait_for_bounds(const kafka_input *in)
{
  int64_t ms = rl_streaming_batch_ms(in->base.streaming);
  if (rl_kafka_health_is_down(in->health)) return ms < 400 ? 100 : ms > 10000 ? 2500 : (int)(ms / 4);
  return ms < 500 ? 500 : ms > 10000 ? 10000 : (int)ms;
}

/* A job that leaves failed batches out must not fail for ever at what is gone. */
static bool goes_on(const kafka_input *in)
{
  return strcmp(rl_conf_text(conf_of(in), "rille.streaming.onBatchFailure"), "skip") == 0;
}

static char *what_is_lost(const part *p, const rl_kafka_range *bounds)
{
  if (p->position > bounds->until)
    return rl_format("offset %" PRId64 " is no longer there (now it has %" PRId64 " to %" PRId64 "): the topic was "
                     "deleted and made anew, or cut short", p->position, bounds->from, bounds->until);
  return rl_format("offsets %" PRId64 " to %" PRId64 " are no longer there (now it has %" PRId64 " to %" PRId64 ")",
                   p->position, bounds->from - 1, bounds->from, bounds->until);
}

/* The position is not between the partition's bounds. */
static rl_status on_lost(const kafka_input *in, part *p, const rl_kafka_range *bounds)
{
  rl_kafka_reset reset = rl_kafka_conf_reset(in->conf);
  bool resets = reset == RL_KAFKA_RESET_EARLIEST || reset == RL_KAFKA_RESET_LATEST, moves = resets || goes_on(in);
  int64_t to = reset == RL_KAFKA_RESET_LATEST ? bounds->until : bounds->from;
  char *lost = what_is_lost(p, bounds);
  rl_status st = RL_OK;
  if (moves)
    rl_warn("%s/%" PRId32 ": %s; it goes on at %" PRId64 ", %s", p->topic, p->partition, lost, to,
            resets ? "as auto.offset.reset says" : "behind a batch that is left out (rille.streaming.onBatchFailure)");
  if (!resets)
    st = rl_fail(RL_EDATA, "%s/%" PRId32 ": %s%s", p->topic, p->partition, lost,
                 moves ? "" : "; with auto.offset.reset the job goes on without what is gone");
  if (moves) p->position = to;
  if (moves) p->beyond = 0;
  rl_free(lost);
  return st;
}

/* Brings the position between the bounds; *lag: what is there to be read. Just after a change of leader the end can be
 * before the position, for a while. */
static rl_status settle(const kafka_input *in, part *p, const rl_kafka_range *bounds, int64_t *lag)
{
  rl_status st = RL_OK;
  if (p->position < 0) p->position = bounds->from;
  p->beyond = p->position > bounds->until ? p->beyond + 1 : 0;
  if (p->position < bounds->from || p->beyond >= BEYOND_BATCHES) st = on_lost(in, p, bounds);
  *lag = bounds->until > p->position ? bounds->until - p->position : 0;
  return st;
}

/* All of them, so that one batch fails for all that is lost. */
static rl_status measure(kafka_input *in, const rl_kafka_ranges *bounds, int64_t *lags)
{
  rl_status st = RL_OK;
  const rl_kafka_range *silent = NULL;
  for (size_t i = 0; i < in->nparts && (st == RL_OK || goes_on(in)); i++) {
    rl_status one = RL_OK;
    if (bounds->v[i].until < 0) silent = &bounds->v[i];
    else one = settle(in, &in->parts[i], &bounds->v[i], &lags[i]);
    if (one != RL_OK) st = one;
  }
  if (st != RL_OK) return st;
  if (silent) {
    char *what = rl_format("%s/%" PRId32 " has no leader that answers", silent->topic, silent->partition);
    rl_kafka_health_down(in->health, what);
    rl_free(what);
  } else {
    rl_kafka_health_up(in->health);
  }
  return RL_OK;
}

/* How many records every partition has to be read; all 0 while no broker answers. */
static rl_status ask_lags(kafka_input *in, int wait_ms, int64_t *lags)
{
  rl_kafka_ranges bounds = ranges_of_parts(in);
  rl_status st = rl_kafka_bounds(in->control, &bounds, wait_ms);
  if (st == RL_OK) {
    st = measure(in, &bounds, lags);
  } else {
    rl_kafka_health_down(in->health, rl_error_message());
    st = RL_OK;
  }
  rl_kafka_ranges_clear(&bounds);
  return st;
}

static void limit_lags(const kafka_input *in, int64_t *lags)
{
  const rl_conf *conf = conf_of(in);
  int64_t estimate = rl_input_rate(&in->base);
  const rl_kafka_rate rate = {
    .estimate = estimate == RL_NO_RATE ? 0 : (double)estimate,
    .most = (double)rl_conf_int(conf, "rille.streaming.kafka.maxRatePerPartition"),
    .least = rl_conf_int(conf, "rille.streaming.kafka.minRatePerPartition"),
    .seconds = (double)rl_streaming_batch_ms(in->base.streaming) / 1000,
  };
  int64_t *limits = rl_calloc(in->nparts + 1, sizeof *limits);
  rl_kafka_limits(&rate, lags, in->nparts, limits);
  for (size_t i = 0; i < in->nparts; i++)
    if (lags[i] > limits[i]) lags[i] = limits[i];
  rl_free(limits);
}

static void tell(const rl_kafka_ranges *ranges, rl_input_info *info)
{
  info->records = rl_kafka_ranges_sum(ranges);
  info->description = rl_kafka_ranges_describe(ranges);
}

static rl_status kafka_compute(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info)
{
  kafka_input *in = (kafka_input *)self;
  int wait_ms = wait_for_bounds(in);
  rl_kafka_control_poll(in->control, 0);
  look_again(in, wait_ms);
  int64_t *lags = rl_calloc(in->nparts + 1, sizeof *lags);
  rl_status st = ask_lags(in, wait_ms, lags);
  if (st == RL_OK) {
    limit_lags(in, lags);
    rl_kafka_ranges_clear(&in->last);
    in->last_time = time;
    for (size_t i = 0; i < in->nparts; i++) {
      part *p = &in->parts[i];
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
  kafka_input *in = (kafka_input *)self;
  if (in->last_time != time) { /* it was not read */
    rl_kafka_ranges_clear(&in->last);
    for (size_t i = 0; i < in->nparts; i++) {
      const part *p = &in->parts[i];
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
  kafka_input *in = (kafka_input *)self;
  (void)time;
  rl_kafka_ranges ranges = {0};
  rl_status st = rl_kafka_ranges_decode(p, n, &ranges);
  if (st != RL_OK) return st;
  clear_parts(in);
  for (size_t i = 0; i < ranges.n; i++) add_part(in, ranges.v[i].topic, ranges.v[i].partition, ranges.v[i].until);
  in->restored = true;
  *out = rl_rdd_from_kafka(in->pool, in->form, ranges.v, (uint32_t)ranges.n);
  tell(&ranges, info);
  rl_kafka_ranges_clear(&ranges);
  return RL_OK;
}

/* End -------------------------------------------------------------------------------------------------------------- */

static void kafka_stop(rl_input *self)
{
  kafka_input *in = (kafka_input *)self;
  rl_kafka_control_delete(in->control, COMMIT_WAIT_MS);
  in->control = NULL;
  rl_kafka_pool_prune(in->pool, NULL, 0);
}

static void kafka_destroy(rl_input *self)
{
  kafka_input *in = (kafka_input *)self;
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
  clear_parts(in);
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
  kafka_input *in = (kafka_input *)rl_dstream_input(d);
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

static kafka_input *new_input(const rl_kafka_stream *spec, rl_kafka_conf *c, const rl_conf *conf)
{
  kafka_input *in = RL_NEW(kafka_input);
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
    const part p = {.topic = (char *)spec->assign[i].topic, .partition = spec->assign[i].partition};
    if (!has(&in->assign, &p)) rl_kafka_ranges_add(&in->assign, p.topic, p.partition, 0, 0);
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
  kafka_input *in = new_input(spec, c, rl_context_conf(rl_streaming_context(s)));
  in->base.rate = rate;
  st = rl_streaming_add_input(s, &in->base, site, out);
  if (st == RL_OK) rl_kafka_health_set_label(in->health, rl_dstream_label(*out));
  return st;
}
