/* Clocks. Stamps come from the configured clock (system or manual), durations from the monotonic one.
 * The manual clock is what tests move by hand; reading and setting it is atomic. */
#ifndef RL_BASE_CLOCK_H
#define RL_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define RL_NO_TIME INT64_MIN /* "no batch time", "never" */

typedef struct rl_clock rl_clock;

rl_clock *rl_clock_new_system(void);
rl_clock *rl_clock_new_manual(int64_t start_ms);
void rl_clock_delete(rl_clock *c);
bool rl_clock_is_manual(const rl_clock *c);
int64_t rl_clock_now(const rl_clock *c);           /* ms since the epoch */
void rl_clock_set(rl_clock *c, int64_t now_ms);    /* manual only; never goes back */

int64_t rl_wall_ms(void); /* system wall clock, ms */
int64_t rl_mono_ns(void); /* CLOCK_MONOTONIC, ns */

#endif
