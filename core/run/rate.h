/* Backpressure (section 17 of the reference): how many records a second an input may bring, learnt from how fast
 * batches were worked off. Only inputs that can be slowed have a controller: receivers (run/pace.h), and direct sources
 * that take shorter ranges.
 *
 * An input of this kind gets its controller with rl_rate_for before it is added, as rl_input.rate, and deletes it with
 * itself. Batches tell it of themselves (rl_rates_learn). A direct source asks rl_input_rate when it computes a batch.
 * All on the driver thread. */
#ifndef RL_RUN_RATE_H
#define RL_RUN_RATE_H

#include <stdbool.h>

#include "run/limiter.h"
#include "run/streaming.h"

/* The estimator. Pure. */

typedef struct rl_pid {
  double batch_ms;
  double proportional, integral, derived, min_rate;
  int64_t time; /* ms: the end of the last batch that it learnt from; -1: none yet */
  double rate, error;
  bool first;
} rl_pid;

/* As rille.streaming.backpressure.pid.* says. */
void rl_pid_init(rl_pid *p, const rl_conf *conf, int64_t batch_ms);
/* A batch that ended at `time_ms` had so many records, took so long, and had waited so long before. True: *rate is the
 * new rate in records a second. A batch without records, or one that ended no later than the one before, teaches
 * nothing; the first only gives a rate to begin with. */
bool rl_pid_learn(rl_pid *p, int64_t time_ms, int64_t records, double processing_ms, double scheduling_ms,
                  double *rate);

/* The controller of an input. */

typedef struct rl_rate rl_rate;

/* *out: NULL when rille.streaming.backpressure.enabled is off. RL_EINVAL for an unknown rateEstimator. */
rl_status rl_rate_for(rl_streaming *s, rl_rate **out);
void rl_rate_delete(rl_rate *r); /* NULL is allowed */
/* Who is told of each new rate, at once. At most one. */
void rl_rate_tell(rl_rate *r, void (*changed)(void *user, int64_t rate), void *user);

/* Records a second that the input may bring now: the newest estimate, before the first
 * rille.streaming.backpressure.initialRate; RL_NO_RATE: as many as it likes. */
int64_t rl_input_rate(const rl_input *input);

struct rl_batch;
/* A batch has completed: the controllers of its inputs learn from it. */
void rl_rates_learn(rl_streaming *s, const struct rl_batch *b);

#endif
