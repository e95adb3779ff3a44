/* How much there is to read, and how much of it a batch takes. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/rate.h"
#include "source/kafka_impl.h"
#include "source/kafka_rate.h"

#define BEYOND_BATCHES 3 /* in a row with an end before the position, before that is taken for a new partition */

/* A job that leaves failed batches out must not fail for ever at what is gone. */
static bool goes_on(const rl_kafka_input *in)
{
  return strcmp(rl_conf_text(rl_kafka_input_conf(in), "rille.streaming.onBatchFailure"), "skip") == 0;
}

static char *what_is_lost(const rl_kafka_part *p, const rl_kafka_range *bounds)
{
  if (p->position > bounds->until)
    return rl_format("offset %" PRId64 " is no longer there (now it has %" PRId64 " to %" PRId64 "): the topic was "
                     "deleted and made anew, or cut short", p->position, bounds->from, bounds->until);
  return rl_format("offsets %" PRId64 " to %" PRId64 " are no longer there (now it has %" PRId64 " to %" PRId64 ")",
                   p->position, bounds->from - 1, bounds->from, bounds->until);
}

/* The position is not between the partition's bounds. */
static rl_status on_lost(const rl_kafka_input *in, rl_kafka_part *p, const rl_kafka_range *bounds)
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
static rl_status settle(const rl_kafka_input *in, rl_kafka_part *p, const rl_kafka_range *bounds, int64_t *lag)
{
  rl_status st = RL_OK;
  if (p->position < 0) p->position = bounds->from;
  p->beyond = p->position > bounds->until ? p->beyond + 1 : 0;
  if (p->position < bounds->from || p->beyond >= BEYOND_BATCHES) st = on_lost(in, p, bounds);
  *lag = bounds->until > p->position ? bounds->until - p->position : 0;
  return st;
}

/* All of them, so that one batch fails for all that is lost. */
static rl_status measure(rl_kafka_input *in, const rl_kafka_ranges *bounds, int64_t *lags)
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
rl_status rl_kafka_ask_lags(rl_kafka_input *in, int wait_ms, int64_t *lags)
{
  rl_kafka_ranges bounds = rl_kafka_parts_ranges(in);
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

void rl_kafka_limit_lags(const rl_kafka_input *in, int64_t *lags)
{
  const rl_conf *conf = rl_kafka_input_conf(in);
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
