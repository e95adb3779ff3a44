#include "run/limiter.h"

#include <math.h>

#define SECOND_NS 1e9

void rl_limiter_init(rl_limiter *l, int64_t max, int64_t initial, int64_t now_ns)
{
  *l = (rl_limiter){.max = max > 0 ? max : RL_NO_RATE, .rate = RL_NO_RATE, .at_ns = now_ns};
  l->rate = l->max;
  rl_limiter_update(l, initial, now_ns);
}

/* What has come since the last look, at the rate that held. */
static void refill(rl_limiter *l, int64_t now_ns)
{
  double most = (double)l->rate;
  l->permits += (double)(now_ns - l->at_ns) / SECOND_NS * most;
  if (l->permits > most) l->permits = most;
  l->at_ns = now_ns;
}

void rl_limiter_update(rl_limiter *l, int64_t rate, int64_t now_ns)
{
  if (rate <= 0) return;
  if (l->rate != RL_NO_RATE) refill(l, now_ns);
  l->rate = l->max != RL_NO_RATE && rate > l->max ? l->max : rate;
  l->at_ns = now_ns;
  if (l->permits > (double)l->rate) l->permits = (double)l->rate;
}

int64_t rl_limiter_permits(rl_limiter *l, int64_t now_ns)
{
  if (l->rate == RL_NO_RATE) return INT64_MAX;
  refill(l, now_ns);
  return l->permits > 0 ? (int64_t)l->permits : 0;
}

void rl_limiter_take(rl_limiter *l, uint64_t n, int64_t now_ns)
{
  if (l->rate == RL_NO_RATE) return;
  refill(l, now_ns);
  l->permits -= (double)n;
}

int64_t rl_limiter_wait_ns(rl_limiter *l, int64_t now_ns)
{
  if (rl_limiter_permits(l, now_ns) > 0) return 0;
  return (int64_t)ceil((1 - l->permits) / (double)l->rate * SECOND_NS);
}
