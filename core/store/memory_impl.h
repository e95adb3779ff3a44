/* Between memory.c (budget, whose turn it is), spool.c (chunks) and those that keep other things there. Not public.
 *
 * One lock a manager guards: the budget, the list of keepers, what keepers say is theirs below, the tables of the spill
 * files. It is never held during file calls, compression or packing, nor while a chunk is freed. */
#ifndef RL_STORE_MEMORY_IMPL_H
#define RL_STORE_MEMORY_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "store/memory.h"
#include "store/replica.h"
#include "store/spill.h"

/* Something that keeps bytes in memory and can be asked to give them up: a spool, a received block. */
typedef struct rl_keeper rl_keeper;

typedef struct rl_keeper_class {
  /* Locked: may anything of it go now? (Not what is being written already.) */
  bool (*can_go)(const rl_keeper *k);
  /* Locked: a reference, or false when the last one is just going. */
  bool (*try_ref)(rl_keeper *k);
  /* Not locked, referenced: writes or drops a piece. RL_EIO. Done when it finds nothing any more. */
  rl_status (*give_up)(rl_keeper *k);
  void (*unref)(rl_keeper *k); /* not locked */
} rl_keeper_class;

struct rl_keeper {
  const rl_keeper_class *cls;
  rl_keeper *next, *prev; /* least recently used first; locked, as all below */
  bool stays;             /* immutable: it can never go, and only counts */
  uint64_t group;         /* immutable: not asked for the sake of another of its group; 0: none */
  bool hurry;             /* immutable: it is to go as soon as it can, whatever room there is */
  size_t kept;            /* bytes in memory; it is in the list while there are any */
};

struct rl_memory {
  _Atomic uint32_t refs;
  size_t limit, budget, floor, quota; /* bytes; see rl_memory_spec */
  bool compress;
  rl_spill *spill;
  rl_replica replica; /* functions NULL: none */
  pthread_mutex_t lock;
  rl_keeper list, hurried; /* heads of rings: all others, and those in a hurry */
  size_t storage;  /* kept by all keepers */
  size_t leaving;  /* of it, what is being written now */
  bool told_full;  /* that spilling fails was said once */
  uint64_t spilled, dropped, writes, next_copy;
};

void rl_memory_lock(rl_memory *m);
void rl_memory_unlock(rl_memory *m);

/* Locked: `more` (or, negative, less) is kept; counts it, and makes it the most recently used when `used`. */
void rl_keeper_count(rl_memory *m, rl_keeper *k, int64_t more, bool used);

/* Locked: would n bytes more of storage fit, without anybody giving up any? */
bool rl_memory_has_room(const rl_memory *m, size_t n);

/* Not locked: something cannot be spilled (the thread's current error says why), and `instead` is done. Warned of once
 * a manager. */
void rl_memory_tell_full(rl_memory *m, const char *instead);

/* Not locked: has keepers give up until storage fits, for one of this group. *fits (may be NULL): it does. */
rl_status rl_memory_make_room(rl_memory *m, uint64_t group, bool *fits);

/* Not locked. Writes p[0..n) to the spill files, counted for manager and thread. */
rl_status rl_memory_spill(rl_memory *m, const char *p, size_t n, rl_extent *out);

/* Not locked. Second copies; an id of 0 is none. */
bool rl_replica_is_wanted(const rl_memory *m, rl_level level);
uint64_t rl_replica_put(rl_memory *m, const char *p, size_t n);
rl_status rl_replica_get(rl_memory *m, uint64_t id, rl_buf *out); /* replaces what is in `out` */
void rl_replica_drop(rl_memory *m, uint64_t id);

#endif
