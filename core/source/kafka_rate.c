#include "source/kafka_rate.h"

/* Records a second of one partition; <= 0: no limit. Partitions share the estimate by what they have. */
static double rate_of(const rl_kafka_rate *r, int64_t lag, double total)
{
  if (r->estimate <= 0) return r->most;
  if (total <= 0) return 0;
  double share = (double)lag / total * r->estimate;
  return r->most > 0 && r->most < share ? r->most : share;
}

static int64_t limit_of(const rl_kafka_rate *r, double rate)
{
  double records = r->seconds * rate;
  int64_t limit = records < 9e18 ? (int64_t)records : INT64_MAX;
  return limit > r->least ? limit : r->least;
}

void rl_kafka_limits(const rl_kafka_rate *rate, const int64_t *lags, size_t n, int64_t *limits)
{
  double total = 0, sum = 0;
  for (size_t i = 0; i < n; i++) total += (double)lags[i];
  for (size_t i = 0; i < n; i++) sum += rate_of(rate, lags[i], total);
  for (size_t i = 0; i < n; i++) limits[i] = sum > 0 ? limit_of(rate, rate_of(rate, lags[i], total)) : INT64_MAX;
}
