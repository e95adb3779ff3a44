#include "base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"

struct rl_clock {
  bool manual;
  _Atomic int64_t now; /* manual only */
};

rl_clock *rl_clock_new_system(void)
{
  return RL_NEW(rl_clock);
}

rl_clock *rl_clock_new_manual(int64_t start_ms)
{
  rl_clock *c = RL_NEW(rl_clock);
  c->manual = true;
  atomic_init(&c->now, start_ms);
  return c;
}

void rl_clock_delete(rl_clock *c)
{
  rl_free(c);
}

bool rl_clock_is_manual(const rl_clock *c)
{
  return c->manual;
}

int64_t rl_clock_now(const rl_clock *c)
{
  return c->manual ? atomic_load(&c->now) : rl_wall_ms();
}

void rl_clock_set(rl_clock *c, int64_t now_ms)
{
  int64_t seen = atomic_load(&c->now);
  while (seen < now_ms && !atomic_compare_exchange_weak(&c->now, &seen, now_ms)) {
  }
}

static struct timespec read_clock(clockid_t id)
{
  struct timespec t;
  if (clock_gettime(id, &t) != 0) abort(); /* fails for unknown clocks only */
  return t;
}

int64_t rl_wall_ms(void)
{
  struct timespec t = read_clock(CLOCK_REALTIME);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t rl_mono_ns(void)
{
  struct timespec t = read_clock(CLOCK_MONOTONIC);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
