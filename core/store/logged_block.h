/* Received blocks that lie in the write-ahead log (BLOCK records, store/journal.h) and nowhere else: those of an earlier
 * run. They take no memory; each opening reads the record anew. */
#ifndef RL_STORE_LOGGED_BLOCK_H
#define RL_STORE_LOGGED_BLOCK_H

#include "data/block.h"
#include "store/log_gate.h"

/* References the gate; reading is RL_ECLOSED when it is closed. `at` is where the record lies; `records` and `bytes` are what it holds. */
rl_block *rl_block_logged(rl_log_gate *l, const rl_wal_at *at, uint64_t records, size_t bytes);

#endif
