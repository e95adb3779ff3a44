#include "run/rate.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/stream.h"

#define PREFIX "rille.streaming.backpressure."

/* The estimator ---------------------------------------------------------------------------------------------------- */

void rl_pid_init(rl_pid *p, const rl_conf *conf, int64_t batch_ms)
{
  *p = (rl_pid){.batch_ms = (double)batch_ms,
                .proportional = rl_conf_float(conf, PREFIX "pid.proportional"),
                .integral = rl_conf_float(conf, PREFIX "pid.integral"),
                .derived = rl_conf_float(conf, PREFIX "pid.derived"),
                .min_rate = rl_conf_float(conf, PREFIX "pid.minRate"),
                .time = -1,
                .rate = -1,
                .error = -1,
                .first = true};
}

bool rl_pid_learn(rl_pid *p, int64_t time_ms, int64_t records, double processing_ms, double scheduling_ms,
                  double *rate)
{
  if (time_ms <= p->time || records <= 0 || !(processing_ms > 0)) return false;
  double seconds = (double)(time_ms - p->time) / 1000;
  double processing_rate = (double)records / processing_ms * 1000;
  double error = p->rate - processing_rate;
  double past_error = scheduling_ms * processing_rate / p->batch_ms; /* the records that wait, spread over a batch */
  double change = (error - p->error) / seconds;
  p->time = time_ms;
  if (p->first) {
    p->first = false;
    p->rate = processing_rate;
    p->error = 0;
    return false;
  }
  double next = p->rate - p->proportional * error - p->integral * past_error - p->derived * change;
  p->rate = fmax(next, p->min_rate);
  p->error = error;
  *rate = p->rate;
  return true;
}

/* The controller --------------------------------------------------------------------------------------------------- */

struct rl_rate {
  rl_pid pid;
  int64_t now;
  void (*changed)(void *user, int64_t rate);
  void *user;
};

rl_status rl_rate_for(rl_streaming *s, rl_rate **out)
{
  const rl_conf *conf = rl_context_conf(rl_streaming_context(s));
  *out = NULL;
  if (!rl_conf_bool(conf, PREFIX "enabled")) return RL_OK;
  const char *estimator = rl_conf_text(conf, PREFIX "rateEstimator");
  if (strcmp(estimator, "pid") != 0)
    return rl_fail(RL_EINVAL, PREFIX "rateEstimator is '%s'; there is only pid", estimator);
  rl_rate *r = RL_NEW(rl_rate);
  rl_pid_init(&r->pid, conf, rl_streaming_batch_ms(s));
  r->now = rl_conf_is_set(conf, PREFIX "initialRate") ? rl_conf_int(conf, PREFIX "initialRate") : RL_NO_RATE;
  if (r->now <= 0) r->now = RL_NO_RATE;
  *out = r;
  return RL_OK;
}

void rl_rate_delete(rl_rate *r) { rl_free(r); }

void rl_rate_tell(rl_rate *r, void (*changed)(void *user, int64_t rate), void *user)
{
  r->changed = changed;
  r->user = user;
}

int64_t rl_input_rate(const rl_input *input) { return input->rate ? input->rate->now : RL_NO_RATE; }

/* Batches ---------------------------------------------------------------------------------------------------------- */

static double ms_between(int64_t from_ns, int64_t to_ns)
{
  return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

static void learn(const rl_dstream *d, const rl_batch *b, int64_t records)
{
  rl_rate *r = d->input->rate;
  double rate;
  /* A batch waits from its tick on, also for the driver to generate it: what runs there may be what holds it up. */
  if (!rl_pid_learn(&r->pid, b->ended, records, ms_between(b->started_ns, b->ended_ns),
                    ms_between(b->due_ns, b->started_ns), &rate))
    return;
  r->now = rate < 9e18 ? (int64_t)rate : INT64_MAX;
  rl_debug("batch %" PRId64 " ms: %s may bring %" PRId64 " records a second", b->time, d->label, r->now);
  if (r->changed) r->changed(r->user, r->now);
}

void rl_rates_learn(rl_streaming *s, const rl_batch *b)
{
  if (b->past) return; /* how fast it came is no measure: it is one of an earlier run */
  for (const rl_dstream *d = s->nodes; d; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->input->rate) continue;
    for (uint32_t i = 0; i < b->ninputs; i++)
      if (b->inputs[i].stream == d->input->id) learn(d, b, b->inputs[i].records);
  }
}
