#include "store/log_gate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"

struct rl_log_gate {
  _Atomic uint32_t refs;
  pthread_rwlock_t lock; /* guards what follows; who is inside reads */
  rl_wal *wal;           /* NULL: closed */
};

rl_log_gate *rl_log_gate_new(rl_wal *w)
{
  rl_log_gate *g = RL_NEW(rl_log_gate);
  atomic_init(&g->refs, 1);
  if (pthread_rwlock_init(&g->lock, NULL) != 0) abort();
  g->wal = w;
  return g;
}

rl_log_gate *rl_log_gate_ref(rl_log_gate *g)
{
  atomic_fetch_add(&g->refs, 1);
  return g;
}

void rl_log_gate_unref(rl_log_gate *g)
{
  if (!g || atomic_fetch_sub(&g->refs, 1) != 1) return;
  pthread_rwlock_destroy(&g->lock);
  rl_free(g);
}

rl_wal *rl_log_gate_enter(rl_log_gate *g)
{
  pthread_rwlock_rdlock(&g->lock);
  rl_wal *w = g->wal;
  if (!w) pthread_rwlock_unlock(&g->lock);
  return w;
}

void rl_log_gate_leave(rl_log_gate *g) { pthread_rwlock_unlock(&g->lock); }

void rl_log_gate_close(rl_log_gate *g)
{
  rl_wal *w = rl_log_gate_enter(g);
  if (!w) return;
  rl_wal_stop(w);
  rl_log_gate_leave(g);
  pthread_rwlock_wrlock(&g->lock);
  g->wal = NULL;
  pthread_rwlock_unlock(&g->lock);
}
