#include "run/pressure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define EPISODE_NS INT64_C(60000000000) /* without pressure, until it is news again */

struct rl_pressure {
  _Atomic uint32_t refs;
  rl_memory *memory;
  pthread_mutex_t lock; /* guards all below */
  rl_pressed *first;
  bool on, told;
  int64_t off_ns; /* when it last went */
};

rl_pressure *rl_pressure_new(rl_memory *m)
{
  rl_pressure *p = RL_NEW(rl_pressure);
  atomic_init(&p->refs, 1);
  p->memory = rl_memory_ref(m);
  if (pthread_mutex_init(&p->lock, NULL) != 0) abort();
  return p;
}

rl_pressure *rl_pressure_ref(rl_pressure *p)
{
  atomic_fetch_add(&p->refs, 1);
  return p;
}

void rl_pressure_unref(rl_pressure *p)
{
  if (!p || atomic_fetch_sub(&p->refs, 1) != 1) return;
  rl_memory_unref(p->memory);
  pthread_mutex_destroy(&p->lock);
  rl_free(p);
}

void rl_pressure_add(rl_pressure *p, rl_pressed *r)
{
  pthread_mutex_lock(&p->lock);
  r->next = p->first;
  p->first = r;
  pthread_mutex_unlock(&p->lock);
}

void rl_pressure_remove(rl_pressure *p, rl_pressed *r)
{
  pthread_mutex_lock(&p->lock);
  rl_pressed **at = &p->first;
  while (*at && *at != r) at = &(*at)->next;
  if (*at) *at = r->next;
  pthread_mutex_unlock(&p->lock);
}

static void tell(rl_pressure *p, size_t bytes)
{
  if (p->told && rl_mono_ns() - p->off_ns < EPISODE_NS) return;
  p->told = true;
  rl_warn("memory is nearly full (rille.memory.limit), %.1f MB of it with records that were received and not yet "
          "worked off; sources are held back until batches have caught up",
          (double)bytes / 1e6);
}

void rl_pressure_look(rl_pressure *p)
{
  pthread_mutex_lock(&p->lock);
  size_t bytes = 0;
  for (rl_pressed *r = p->first; r; r = r->next) bytes += r->bytes(r);
  bool on = rl_memory_is_short(p->memory, bytes, p->on);
  if (on != p->on) {
    if (on) tell(p, bytes);
    else p->off_ns = rl_mono_ns();
    p->on = on;
    for (rl_pressed *r = p->first; r; r = r->next) r->press(r, on);
  }
  pthread_mutex_unlock(&p->lock);
}
