/* Spools for others in core/store. Not public. */
#ifndef RL_STORE_SPOOL_IMPL_H
#define RL_STORE_SPOOL_IMPL_H

#include "store/memory_impl.h"
#include "store/spool.h"

/* Adds to memory (a level with it) and makes no room: for those who must not wait. Takes over the reference. */
void rl_spool_put(rl_spool *s, rl_chunk *c);
/* It is written before anything else is, also when memory is not short. Before anything is added. */
void rl_spool_hurry(rl_spool *s);

#endif
