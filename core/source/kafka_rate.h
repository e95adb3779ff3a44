/* How much of each partition a batch reads (section 18.3 of the reference). */
#ifndef RL_SOURCE_KAFKA_RATE_H
#define RL_SOURCE_KAFKA_RATE_H

#include <stddef.h>
#include <stdint.h>

typedef struct rl_kafka_rate {
  double estimate; /* records a second that the job can bear, of all partitions together; <= 0: not known */
  double most;     /* records a second of one partition; <= 0: no limit */
  int64_t least;   /* records a batch (not a second) of one partition, where there is a limit at all */
  double seconds;  /* length of a batch */
} rl_kafka_rate;

/* lags[i] >= 0: records that partition i has. limits[i] (out): how many of them the batch takes at most, INT64_MAX
 * where there is no limit. */
void rl_kafka_limits(const rl_kafka_rate *rate, const int64_t *lags, size_t n, int64_t *limits);

#endif
