/* The second copy of the `_2` storage levels: an interface to a place that keeps it, for programs that have one. Without a
 * target (the normal case: there is one process) no second copy is made, and a `_2` level is what it is without `_2`.
 *
 * With one, each piece of a `_2` level (a chunk of a persisted partition, a received block) is handed to the target once:
 * persisted ones as they are stored, received ones when they leave memory, as whoever receives must not wait for a target.
 * It is asked for when the piece at hand turns out to be damaged, and for what a level without disk had to drop. The target
 * is a convenience: one that fails costs the copy, with a warning, never the piece itself.
 *
 * Functions are called on any thread, several at once, without locks; they may wait. */
#ifndef RL_STORE_REPLICA_H
#define RL_STORE_REPLICA_H

#include "base/buf.h"
#include "store/memory.h"

typedef struct rl_replica {
  void *user;
  rl_status (*put)(void *user, uint64_t id, const char *p, size_t n); /* ids are unique to the manager */
  rl_status (*get)(void *user, uint64_t id, rl_buf *out);             /* appends what was put */
  void (*drop)(void *user, uint64_t id);                              /* it will not be asked for any more */
} rl_replica;

/* Before anything is kept; copied. */
void rl_memory_set_replica(rl_memory *m, const rl_replica *target);

#endif
