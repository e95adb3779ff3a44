/* A token bucket (section 12.2 of the reference): a permit a record, so many new ones a second, and as many as come in
 * one second kept for a burst. It begins without any. Taking more than there are leaves a debt, which is waited off
 * first.
 *
 * Pure: the caller says what time it is (monotonic, ns, never going back) and keeps calls apart. */
#ifndef RL_RUN_LIMITER_H
#define RL_RUN_LIMITER_H

#include <stdint.h>

#define RL_NO_RATE INT64_C(-1)

typedef struct rl_limiter {
  int64_t max;  /* records a second, whatever update says; RL_NO_RATE: no limit of its own */
  int64_t rate; /* RL_NO_RATE: not limited */
  double permits;
  int64_t at_ns;
} rl_limiter;

/* max, initial <= 0: none. It begins with the lesser of the two. */
void rl_limiter_init(rl_limiter *l, int64_t max, int64_t initial, int64_t now_ns);
/* A new rate, of which max is the most; <= 0 is ignored. */
void rl_limiter_update(rl_limiter *l, int64_t rate, int64_t now_ns);
/* How many whole permits there are; INT64_MAX when it does not limit, 0 in debt. */
int64_t rl_limiter_permits(rl_limiter *l, int64_t now_ns);
void rl_limiter_take(rl_limiter *l, uint64_t n, int64_t now_ns);
/* How long until there is a permit, with no more taken; 0: there is one. */
int64_t rl_limiter_wait_ns(rl_limiter *l, int64_t now_ns);

#endif
