/* Received blocks in a memory manager's care: never dropped, but written to a spill file under pressure and read back when
 * they are opened, given back with the block.
 *
 * Blocks of text share buffers, and a buffer is freed when all its blocks have let go of it. They are written in the order
 * in which they came, so buffers empty one after another. */
#ifndef RL_STORE_KEPT_BLOCK_H
#define RL_STORE_KEPT_BLOCK_H

#include "data/block.h"
#include "store/memory.h"

/* Before the block is shared. A level without disk stays in memory, one without memory is written with the next
 * opportunity. Only counts: it never waits and writes nothing, so it may be called with locks held, on any thread. */
void rl_block_keep(rl_block *b, rl_memory *m, rl_level level);

/* Writes what should not or cannot stay in memory. A disk that cannot be written is warned of once: the blocks stay. */
void rl_blocks_make_room(rl_memory *m);

#endif
