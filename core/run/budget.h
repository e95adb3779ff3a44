/* How rille.memory.limit is shared out. The limits of all Lua states are set aside first: one a worker, and one for the
 * driver and the receivers together. The rest is for chunks, overlays and buffers: the memory manager's
 * (store/memory.h). */
#ifndef RL_RUN_BUDGET_H
#define RL_RUN_BUDGET_H

#include "run/conf.h"
#include "store/memory.h"

typedef struct rl_budget {
  uint64_t limit;    /* rille.memory.limit, or its default */
  int64_t lua;       /* what a worker's Lua state may hold; 0: no limit */
  uint64_t chunks;   /* what is left */
  uint64_t receiver; /* received and not worked off, per receiver, before the source is held back; 0: no limit */
} rl_budget;

/* RL_EINVAL when the limit is too small for the workers; the message says what would fit. *out is filled in all the
 * same. */
rl_status rl_budget_read(const rl_conf *conf, rl_budget *out);

/* A manager as the settings say. Same errors. */
rl_status rl_budget_memory(const rl_conf *conf, rl_memory **out);

#endif
