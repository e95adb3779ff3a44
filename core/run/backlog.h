/* What a receiver has brought and the batches have not worked off yet, in bytes: at `limit` its source is held back,
 * below half of it let go. Counted by the gatherer (run/gather.h) and its blocks, which may outlive it. Not public. */
#ifndef RL_RUN_BACKLOG_H
#define RL_RUN_BACKLOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "data/block.h"

typedef struct rl_backlog {
  rl_block_owner owner;
  _Atomic uint32_t refs;
  _Atomic size_t used;
  size_t limit;
  atomic_bool held;     /* changes with the gate locked */
  pthread_mutex_t gate; /* one change of `held` and its telling at a time */
  pthread_cond_t open;  /* not held, or let go */
  bool let_go;
  void (*hold)(void *user, bool on);
  void *user;
} rl_backlog;

/* One reference. `hold` as in rl_gather_spec. */
rl_backlog *rl_backlog_new(size_t limit, void (*hold)(void *user, bool on), void *user);
void rl_backlog_unref(rl_backlog *b);
void rl_backlog_changed(rl_backlog *b); /* after each change of `used`, without the gatherer's lock */
/* Until it is not held. Sources with a `hold` have been told and never wait here. RL_ECANCELLED: let go before. */
rl_status rl_backlog_wait(rl_backlog *b);
/* Until the log has what it was given; false: the receiver is let go before. */
bool rl_backlog_wait_durable(rl_backlog *b, const _Atomic uint64_t *durable, uint64_t position,
                             const atomic_bool *failed);

#endif
