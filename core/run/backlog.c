#include "run/backlog.h"

#include <stdlib.h>

#include "base/mem.h"

static bool should_hold(rl_backlog *b)
{
  size_t used = atomic_load(&b->used);
  return atomic_load(&b->held) ? used > b->limit / 2 : used >= b->limit;
}

/* After each change of `used`. The loop looks again after `held` was set: a release that came in between saw the old
 * value and left. */
void rl_backlog_changed(rl_backlog *b)
{
  if (should_hold(b) == atomic_load(&b->held)) return;
  pthread_mutex_lock(&b->gate);
  for (bool on = should_hold(b); on != atomic_load(&b->held); on = should_hold(b)) {
    atomic_store(&b->held, on);
    if (!on) pthread_cond_broadcast(&b->open);
    if (b->hold && !b->let_go) b->hold(b->user, on);
  }
  pthread_mutex_unlock(&b->gate);
}

void rl_backlog_unref(rl_backlog *b)
{
  if (atomic_fetch_sub(&b->refs, 1) != 1) return;
  pthread_cond_destroy(&b->open);
  pthread_mutex_destroy(&b->gate);
  rl_free(b);
}

static void released(rl_block_owner *owner, size_t bytes)
{
  rl_backlog *b = (rl_backlog *)owner;
  atomic_fetch_sub(&b->used, bytes);
  rl_backlog_changed(b);
  rl_backlog_unref(b);
}

rl_backlog *rl_backlog_new(size_t limit, void (*hold)(void *user, bool on), void *user)
{
  rl_backlog *b = RL_NEW(rl_backlog);
  b->owner.released = released;
  atomic_init(&b->refs, 1);
  b->limit = limit;
  b->hold = hold;
  b->user = user;
  if (pthread_mutex_init(&b->gate, NULL) != 0 || pthread_cond_init(&b->open, NULL) != 0) abort();
  return b;
}

rl_status rl_backlog_wait(rl_backlog *b)
{
  if (b->hold || !atomic_load(&b->held)) return RL_OK;
  pthread_mutex_lock(&b->gate);
  while (atomic_load(&b->held) && !b->let_go) pthread_cond_wait(&b->open, &b->gate);
  bool held = atomic_load(&b->held);
  pthread_mutex_unlock(&b->gate);
  return held ? rl_fail(RL_ECANCELLED, "the receiver is stopping") : RL_OK;
}

bool rl_backlog_wait_durable(rl_backlog *b, const _Atomic uint64_t *durable, uint64_t position,
                             const atomic_bool *failed)
{
  pthread_mutex_lock(&b->gate);
  while (atomic_load(durable) < position && !b->let_go && !atomic_load(failed)) pthread_cond_wait(&b->open, &b->gate);
  pthread_mutex_unlock(&b->gate);
  return atomic_load(durable) >= position;
}
