#include "source/kafka_control.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define RETRY_MS 100

typedef struct commit {
  struct commit *next;
  rl_kafka_committed_fn *done;
  void *user;
  void (*destroy)(void *);
} commit;

struct rl_kafka_control {
  rl_kafka_conf *conf;
  rl_kafka_health *health;
  rd_kafka_t *rk;
  rd_kafka_topic_t **topics; /* handles of those asked for: librdkafka keeps their metadata */
  size_t ntopics, topics_cap;
  rd_kafka_queue_t *answers; /* to commits */
  commit *commits; /* those under way */
  rl_kafka_ranges highest; /* `until`: the highest offset that was committed of a partition */
};

rl_status rl_kafka_control_new(rl_kafka_conf *c, rl_kafka_health *h, rl_kafka_control **out)
{
  rd_kafka_t *rk = NULL;
  rl_status st = rl_kafka_client_new(c, RL_KAFKA_ASK, h, NULL, &rk);
  if (st != RL_OK) return st;
  rl_kafka_control *k = RL_NEW(rl_kafka_control);
  k->conf = rl_kafka_conf_ref(c);
  k->health = rl_kafka_health_ref(h);
  k->rk = rk;
  k->answers = rd_kafka_queue_new(rk);
  *out = k;
  return RL_OK;
}

static void end_commit(rl_kafka_control *k, commit *c, const char *failure)
{
  commit **at = &k->commits;
  while (*at && *at != c) at = &(*at)->next;
  if (*at) *at = c->next;
  if (c->done) c->done(c->user, failure);
  else if (failure) rl_warn("Kafka at %s: offsets could not be committed: %s", rl_kafka_conf_brokers(k->conf), failure);
  if (c->destroy) c->destroy(c->user);
  rl_free(c);
}

void rl_kafka_control_delete(rl_kafka_control *k, int wait_ms)
{
  if (!k) return;
  rl_kafka_control_poll(k, wait_ms);
  while (k->commits) end_commit(k, k->commits, "the stream ended before the broker answered");
  rd_kafka_queue_destroy(k->answers);
  for (size_t i = 0; i < k->ntopics; i++) rd_kafka_topic_destroy(k->topics[i]);
  rl_free(k->topics);
  rd_kafka_destroy_flags(k->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
  rl_kafka_ranges_clear(&k->highest);
  rl_kafka_health_unref(k->health);
  rl_kafka_conf_unref(k->conf);
  rl_free(k);
}

static rl_status no_answer(const rl_kafka_control *k, const char *what, rd_kafka_resp_err_t err)
{
  char *reason = rl_kafka_health_reason(k->health);
  rl_fail(RL_EIO, "Kafka at %s: %s: %s%s", rl_kafka_conf_brokers(k->conf), what, rd_kafka_err2str(err), reason);
  rl_free(reason);
  return RL_EIO;
}

/* Partitions ------------------------------------------------------------------------------------------------------- */

static rl_status know_topic(rl_kafka_control *k, const char *name)
{
  for (size_t i = 0; i < k->ntopics; i++)
    if (strcmp(rd_kafka_topic_name(k->topics[i]), name) == 0) return RL_OK;
  rd_kafka_topic_t *rkt = rd_kafka_topic_new(k->rk, name, NULL);
  if (!rkt) return rl_fail(RL_EINVAL, "topic '%s': %s", name, rd_kafka_err2str(rd_kafka_last_error()));
  k->topics = rl_grow(k->topics, &k->topics_cap, k->ntopics + 1, sizeof(rd_kafka_topic_t *));
  k->topics[k->ntopics++] = rkt;
  return RL_OK;
}

static int by_number(const void *a, const void *b)
{
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

static void add_partitions(const rd_kafka_metadata_topic_t *t, rl_kafka_ranges *out)
{
  size_t n = (size_t)t->partition_cnt;
  int32_t *ids = rl_calloc(n + 1, sizeof *ids);
  for (size_t i = 0; i < n; i++) ids[i] = t->partitions[i].id;
  qsort(ids, n, sizeof *ids, by_number);
  for (size_t i = 0; i < n; i++) rl_kafka_ranges_add(out, t->topic, ids[i], 0, 0);
  rl_free(ids);
}

static const rd_kafka_metadata_topic_t *find_topic(const rd_kafka_metadata_t *md, const char *name)
{
  for (int i = 0; i < md->topic_cnt; i++)
    if (strcmp(md->topics[i].topic, name) == 0) return &md->topics[i];
  return NULL;
}

static rl_status add_topic(const rl_kafka_control *k, const rd_kafka_metadata_t *md, const char *name,
                           rl_kafka_ranges *out)
{
  const rd_kafka_metadata_topic_t *t = find_topic(md, name);
  rd_kafka_resp_err_t err = t ? t->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  if (t && t->partition_cnt > 0) {
    add_partitions(t, out);
    return RL_OK;
  }
  if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || !err) {
    return rl_fail(RL_ENOTFOUND, "there is no topic '%s' in Kafka at %s", name, rl_kafka_conf_brokers(k->conf));
  }
  return rl_fail(RL_EIO, "topic '%s' in Kafka at %s: %s", name, rl_kafka_conf_brokers(k->conf), rd_kafka_err2str(err));
}

rl_status rl_kafka_find_topics(rl_kafka_control *k, const char *const *topics, size_t n, bool all, int wait_ms,
                               rl_kafka_ranges *out)
{
  rl_status st = RL_OK;
  for (size_t i = 0; i < n && st == RL_OK; i++) st = know_topic(k, topics[i]);
  if (st != RL_OK) return st;
  const rd_kafka_metadata_t *md = NULL;
  rd_kafka_resp_err_t err = rd_kafka_metadata(k->rk, 0, NULL, &md, wait_ms);
  if (err) return no_answer(k, "its topics cannot be asked for", err);
  for (size_t i = 0; i < n && st == RL_OK; i++) {
    st = add_topic(k, md, topics[i], out);
    if (!all) st = RL_OK;
  }
  rd_kafka_metadata_destroy(md);
  return st;
}

static rl_status compile(const char *pattern, regex_t *re)
{
  int err = regcomp(re, pattern, REG_EXTENDED | REG_NOSUB); /* "a)(b" is none by itself */
  if (err == 0) {
    regfree(re);
    char *whole = rl_format("^(%s)$", pattern);
    err = regcomp(re, whole, REG_EXTENDED | REG_NOSUB);
    rl_free(whole);
  }
  if (err == 0) return RL_OK;
  char reason[200];
  regerror(err, re, reason, sizeof reason);
  return rl_fail(RL_EINVAL, "the pattern '%s' is no regular expression: %s", pattern, reason);
}

rl_status rl_kafka_check_pattern(const char *pattern)
{
  regex_t re;
  rl_status st = compile(pattern, &re);
  if (st == RL_OK) regfree(&re);
  return st;
}

static bool matches(const regex_t *re, const char *topic)
{
  return strncmp(topic, "__", 2) != 0 && regexec(re, topic, 0, NULL, 0) == 0;
}

bool rl_kafka_matches(const char *pattern, const char *topic)
{
  regex_t re;
  if (compile(pattern, &re) != RL_OK) {
    rl_error_drop();
    return false;
  }
  bool yes = matches(&re, topic);
  regfree(&re);
  return yes;
}

static int by_topic(const void *a, const void *b)
{
  return strcmp((*(const rd_kafka_metadata_topic_t *const *)a)->topic,
                (*(const rd_kafka_metadata_topic_t *const *)b)->topic);
}

rl_status rl_kafka_find_matching(rl_kafka_control *k, const char *pattern, int wait_ms, rl_kafka_ranges *out)
{
  regex_t re;
  rl_status st = compile(pattern, &re);
  if (st != RL_OK) return st;
  const rd_kafka_metadata_t *md = NULL;
  rd_kafka_resp_err_t err = rd_kafka_metadata(k->rk, 1, NULL, &md, wait_ms);
  if (err) {
    regfree(&re);
    return no_answer(k, "its topics cannot be asked for", err);
  }
  const rd_kafka_metadata_topic_t **found = rl_calloc((size_t)md->topic_cnt + 1, sizeof *found);
  size_t n = 0;
  for (int i = 0; i < md->topic_cnt; i++) {
    if (matches(&re, md->topics[i].topic)) found[n++] = &md->topics[i];
  }
  qsort(found, n, sizeof *found, by_topic);
  for (size_t i = 0; i < n; i++) add_partitions(found[i], out);
  rl_free(found);
  rd_kafka_metadata_destroy(md);
  regfree(&re);
  return RL_OK;
}

/* Offsets ---------------------------------------------------------------------------------------------------------- */

static rd_kafka_topic_partition_list_t *list_of(const rl_kafka_ranges *parts, int64_t offset)
{
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)parts->n);
  for (size_t i = 0; i < parts->n; i++) {
    rd_kafka_topic_partition_list_add(list, parts->v[i].topic, parts->v[i].partition)->offset = offset;
  }
  return list;
}

/* The answer of the i-th partition; lists keep their order. */
static int64_t answer(const rd_kafka_topic_partition_list_t *list, size_t i)
{
  const rd_kafka_topic_partition_t *p = &list->elems[i];
  return p->err || p->offset < 0 ? -1 : p->offset;
}

/* A request for the logical offset of every partition, one to each broker. With a special number as its "time" the
 * request for offsets by time asks for the ends. */
static rl_status ask_ends(rl_kafka_control *k, const rl_kafka_ranges *parts, int64_t end, int wait_ms,
                          rd_kafka_topic_partition_list_t **out)
{
  *out = list_of(parts, end);
  rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(k->rk, *out, wait_ms);
  return err ? no_answer(k, "the ends of partitions cannot be asked for", err) : RL_OK;
}

rl_status rl_kafka_bounds(rl_kafka_control *k, rl_kafka_ranges *parts, int wait_ms)
{
  if (parts->n == 0) return RL_OK;
  int64_t until_ns = rl_mono_ns() + (int64_t)wait_ms * 1000000;
  rd_kafka_topic_partition_list_t *first = NULL, *last = NULL;
  rl_status st = ask_ends(k, parts, RD_KAFKA_OFFSET_END, wait_ms, &last);
  int left = (int)((until_ns - rl_mono_ns()) / 1000000);
  if (st == RL_OK) st = ask_ends(k, parts, RD_KAFKA_OFFSET_BEGINNING, left > 50 ? left : 50, &first);
  for (size_t i = 0; i < parts->n && st == RL_OK; i++) {
    rl_kafka_range *r = &parts->v[i];
    r->from = answer(first, i);
    r->until = answer(last, i);
    if (r->from < 0 || r->until < 0) r->from = r->until = -1;
  }
  if (first) rd_kafka_topic_partition_list_destroy(first);
  if (last) rd_kafka_topic_partition_list_destroy(last);
  return st;
}

static rd_kafka_resp_err_t ask_committed(rl_kafka_control *k, rl_kafka_ranges *parts, int wait_ms)
{
  rd_kafka_topic_partition_list_t *list = list_of(parts, RD_KAFKA_OFFSET_INVALID);
  rd_kafka_resp_err_t err = rd_kafka_committed(k->rk, list, wait_ms);
  for (size_t i = 0; i < parts->n && !err; i++) {
    err = list->elems[i].err;
    parts->v[i].from = answer(list, i);
  }
  rd_kafka_topic_partition_list_destroy(list);
  return err;
}

/* The group's coordinator is on its way to another broker, or not made yet; librdkafka looks for it again by itself. */
static bool will_be_found(rd_kafka_resp_err_t err)
{
  return err == RD_KAFKA_RESP_ERR_NOT_COORDINATOR || err == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
         err == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
}

rl_status rl_kafka_committed(rl_kafka_control *k, rl_kafka_ranges *parts, int wait_ms)
{
  if (parts->n == 0) return RL_OK;
  int64_t until_ns = rl_mono_ns() + (int64_t)wait_ms * 1000000;
  rd_kafka_resp_err_t err = ask_committed(k, parts, wait_ms);
  for (int left = wait_ms; will_be_found(err) && left > RETRY_MS; left = (int)((until_ns - rl_mono_ns()) / 1000000)) {
    rd_kafka_poll(k->rk, RETRY_MS);
    err = ask_committed(k, parts, left);
  }
  return err ? no_answer(k, "committed offsets cannot be asked for", err) : RL_OK;
}

/* Commits ---------------------------------------------------------------------------------------------------------- */

/* Makes its end the highest of its partition; false when one as high was committed before. */
static bool raise_highest(rl_kafka_control *k, const rl_kafka_range *r)
{
  for (size_t i = 0; i < k->highest.n; i++) {
    rl_kafka_range *h = &k->highest.v[i];
    if (h->partition != r->partition || strcmp(h->topic, r->topic) != 0) continue;
    bool higher = r->until > h->until;
    if (higher) h->until = r->until;
    return higher;
  }
  rl_kafka_ranges_add(&k->highest, r->topic, r->partition, 0, r->until);
  return true;
}

void rl_kafka_control_commit(rl_kafka_control *k, const rl_kafka_range *ranges, size_t n,
                                  rl_kafka_committed_fn *done, void *user, void (*destroy)(void *))
{
  commit *c = RL_NEW(commit);
  *c = (commit){.next = k->commits, .done = done, .user = user, .destroy = destroy};
  k->commits = c;
  rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
  for (size_t i = 0; i < n; i++) {
    if (raise_highest(k, &ranges[i])) {
      rd_kafka_topic_partition_list_add(list, ranges[i].topic, ranges[i].partition)->offset = ranges[i].until;
    }
  }
  rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
  if (list->cnt > 0) err = rd_kafka_commit_queue(k->rk, list, k->answers, NULL, c);
  if (list->cnt == 0 || err) end_commit(k, c, err ? rd_kafka_err2str(err) : NULL);
  rd_kafka_topic_partition_list_destroy(list);
}

static const char *failure_of(rd_kafka_event_t *ev)
{
  rd_kafka_resp_err_t err = rd_kafka_event_error(ev);
  const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
  for (int i = 0; list && i < list->cnt && !err; i++) err = list->elems[i].err;
  return err ? rd_kafka_err2str(err) : NULL;
}

void rl_kafka_control_poll(rl_kafka_control *k, int wait_ms)
{
  int64_t until_ns = rl_mono_ns() + (int64_t)wait_ms * 1000000;
  rd_kafka_poll(k->rk, 0); /* what librdkafka has to say, which the log had already, does not pile up */
  while (k->commits) {
    int64_t left = (until_ns - rl_mono_ns()) / 1000000;
    rd_kafka_event_t *ev = rd_kafka_queue_poll(k->answers, left > 0 ? (int)left : 0);
    if (!ev) return;
    if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_OFFSET_COMMIT) {
      end_commit(k, rd_kafka_event_opaque(ev), failure_of(ev));
    }
    rd_kafka_event_destroy(ev);
  }
}
