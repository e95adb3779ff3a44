/* Received blocks that lie in the write-ahead log (BLOCK records, store/journal.h) and nowhere else: those of an earlier
 * run. They take no memory; each opening reads the record anew. */
#ifndef RL_STORE_LOGGED_BLOCK_H
#define RL_STORE_LOGGED_BLOCK_H

#include "data/block.h"
#include "store/wal.h"

/* A log that blocks read from, counted: blocks may outlive it. */
typedef struct rl_block_log rl_block_log;

rl_block_log *rl_block_log_new(rl_wal *w);
/* The log is about to be closed: waits for readings under way; later ones are RL_ECLOSED. */
void rl_block_log_close(rl_block_log *l);
void rl_block_log_unref(rl_block_log *l);

/* References the log. `at` is where the record lies; `records` and `bytes` are what it holds. */
rl_block *rl_block_logged(rl_block_log *l, const rl_wal_at *at, uint64_t records, size_t bytes);

#endif
