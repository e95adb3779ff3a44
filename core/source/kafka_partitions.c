/* Which partitions a stream reads, and where it begins to. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "source/kafka_impl.h"

#define REFRESH_MS 10000 /* between looks at the metadata, unless topic.metadata.refresh.interval.ms is set */
#define GONE_LOOKS 10    /* in a row, without a partition, before it is given up */

static rl_kafka_part *find_part(const rl_kafka_input *in, const char *topic, int32_t partition)
{
  for (size_t i = 0; i < in->nparts; i++) {
    rl_kafka_part *p = &in->parts[i];
    if (p->partition == partition && strcmp(p->topic, topic) == 0) return p;
  }
  return NULL;
}

void rl_kafka_parts_add(rl_kafka_input *in, const char *topic, int32_t partition, int64_t position)
{
  in->parts = rl_grow(in->parts, &in->parts_cap, in->nparts + 1, sizeof *in->parts);
  in->parts[in->nparts++] = (rl_kafka_part){.topic = rl_strdup(topic), .partition = partition, .position = position};
}

void rl_kafka_parts_clear(rl_kafka_input *in)
{
  for (size_t i = 0; i < in->nparts; i++) rl_free(in->parts[i].topic);
  in->nparts = 0;
}

bool rl_kafka_ranges_have(const rl_kafka_ranges *l, const rl_kafka_part *p)
{
  for (size_t i = 0; i < l->n; i++)
    if (l->v[i].partition == p->partition && strcmp(l->v[i].topic, p->topic) == 0) return true;
  return false;
}

/* Is it what the script asks for, whether or not it is there? */
static bool is_wanted(const rl_kafka_input *in, const rl_kafka_part *p)
{
  if (in->pattern) return rl_kafka_matches(in->pattern, p->topic);
  for (size_t i = 0; i < in->ntopics; i++)
    if (strcmp(in->topics[i], p->topic) == 0) return true;
  return rl_kafka_ranges_have(&in->assign, p);
}

static rl_status find_parts(rl_kafka_input *in, bool all, int wait_ms, rl_kafka_ranges *out)
{
  if (in->pattern) return rl_kafka_find_matching(in->control, in->pattern, wait_ms, out);
  if (in->ntopics > 0)
    return rl_kafka_find_topics(in->control, (const char *const *)in->topics, in->ntopics, all, wait_ms, out);
  for (size_t i = 0; i < in->assign.n; i++)
    rl_kafka_ranges_add(out, in->assign.v[i].topic, in->assign.v[i].partition, 0, 0);
  return RL_OK;
}

/* Gives up the partitions that were long not to be found. */
static bool drop_missing(rl_kafka_input *in, const rl_kafka_ranges *found)
{
  size_t n = 0;
  for (size_t i = 0; i < in->nparts; i++) {
    rl_kafka_part *p = &in->parts[i];
    p->missing = rl_kafka_ranges_have(found, p) ? 0 : p->missing + 1;
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

static void add_new(rl_kafka_input *in, const rl_kafka_ranges *found)
{
  for (size_t i = 0; i < found->n; i++) {
    const rl_kafka_range *r = &found->v[i];
    if (find_part(in, r->topic, r->partition)) continue;
    rl_info("%s/%" PRId32 " joins the stream, from its beginning", r->topic, r->partition);
    rl_kafka_parts_add(in, r->topic, r->partition, -1);
  }
}

/* What the checkpoint has, and the script has no more. */
static void drop_unwanted(rl_kafka_input *in)
{
  size_t n = 0;
  for (size_t i = 0; i < in->nparts; i++) {
    rl_kafka_part *p = &in->parts[i];
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

rl_kafka_ranges rl_kafka_parts_ranges(const rl_kafka_input *in)
{
  rl_kafka_ranges l = {0};
  for (size_t i = 0; i < in->nparts; i++) {
    const rl_kafka_part *p = &in->parts[i];
    rl_kafka_ranges_add(&l, p->topic, p->partition, p->position, p->position);
  }
  return l;
}

static int64_t refresh_ms(const rl_kafka_input *in)
{
  const char *set = rl_kafka_conf_get(in->conf, "topic.metadata.refresh.interval.ms");
  int64_t us = 0;
  return set && rl_conf_parse_us(set, 1, &us) ? us / 1000 : REFRESH_MS;
}

/* New topics and partitions join. When the brokers do not answer, the batch will tell. */
void rl_kafka_parts_look_again(rl_kafka_input *in, int wait_ms)
{
  if (in->assign.n > 0 || rl_mono_ns() - in->looked_ns < refresh_ms(in) * 1000000) return;
  rl_kafka_ranges found = {0};
  if (find_parts(in, false, wait_ms, &found) == RL_OK) {
    in->looked_ns = rl_mono_ns();
    bool dropped = drop_missing(in, &found);
    add_new(in, &found);
    rl_kafka_ranges now = rl_kafka_parts_ranges(in);
    if (dropped) rl_kafka_pool_prune(in->pool, now.v, (uint32_t)now.n);
    rl_kafka_ranges_clear(&now);
  }
  rl_kafka_ranges_clear(&found);
}

/* Start ------------------------------------------------------------------------------------------------------------ */

static int64_t given_offset(const rl_kafka_input *in, const rl_kafka_range *r)
{
  for (size_t i = 0; i < in->from.n; i++) {
    const rl_kafka_range *f = &in->from.v[i];
    if (f->partition == r->partition && strcmp(f->topic, r->topic) == 0) return f->from;
  }
  return -1;
}

/* Partitions that are assigned are not looked for later, so it is seen now that they are there. */
static rl_status check_assigned(const rl_kafka_input *in, int wait_ms)
{
  const char **topics = rl_calloc(in->assign.n + 1, sizeof *topics);
  size_t n = 0;
  for (size_t i = 0; i < in->assign.n; i++)
    if (i == 0 || strcmp(in->assign.v[i].topic, in->assign.v[i - 1].topic) != 0) topics[n++] = in->assign.v[i].topic;
  rl_kafka_ranges found = {0};
  rl_status st = rl_kafka_find_topics(in->control, topics, n, true, wait_ms, &found);
  for (size_t i = 0; i < in->assign.n && st == RL_OK; i++) {
    const rl_kafka_part p = {.topic = in->assign.v[i].topic, .partition = in->assign.v[i].partition};
    if (!rl_kafka_ranges_have(&found, &p))
      st = rl_fail(RL_ENOTFOUND, "assign names %s/%" PRId32 ", and the topic has no such partition", p.topic,
                   p.partition);
  }
  rl_kafka_ranges_clear(&found);
  rl_free(topics);
  return st;
}

static rl_status check_given(const rl_kafka_input *in, const rl_kafka_ranges *found)
{
  for (size_t i = 0; i < in->from.n; i++) {
    const rl_kafka_part p = {.topic = in->from.v[i].topic, .partition = in->from.v[i].partition};
    if (rl_kafka_ranges_have(found, &p)) continue;
    return rl_fail(RL_EINVAL, "fromOffsets names %s/%" PRId32 ", which is not among the partitions of the stream",
                   p.topic, p.partition);
  }
  return RL_OK;
}

/* Where a partition without an offset begins, by its bounds. */
static rl_status first_position(const rl_kafka_input *in, const rl_kafka_range *bounds, int64_t *position)
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

static rl_status place_parts(rl_kafka_input *in, const rl_kafka_ranges *found, int wait_ms)
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
    if (st == RL_OK) rl_kafka_parts_add(in, found->v[i].topic, found->v[i].partition, position);
  }
  rl_kafka_ranges_clear(&bounds);
  rl_kafka_ranges_clear(&committed);
  return st;
}

rl_status rl_kafka_parts_begin(rl_kafka_input *in, int wait_ms)
{
  rl_kafka_ranges found = {0};
  rl_status st = in->assign.n > 0 ? check_assigned(in, wait_ms) : RL_OK;
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
