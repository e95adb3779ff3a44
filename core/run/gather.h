/* Gathering: what one source stores becomes blocks. The part of a receiver that knows nothing of streaming contexts.
 *
 * Text. The source reads into the open buffer (reserve, commit). A cut takes what is between the last cut and the end
 * of the last whole line as a block over that same buffer, and filling goes on behind it: bytes once cut never change,
 * so workers read them while the source writes further on. Only when a buffer has no room left is anything copied: the
 * partial last line, into the next buffer.
 *
 *     data:  | cut into blocks | whole lines | partial line | room |
 *                              at            whole          fill    cap
 *
 * Budget. Whole lines, records and blocks not yet released count; a partial line does not (it is bounded by max_record,
 * and holding the source back for it would be for ever). At max_buffered the source is held back, below half of it let
 * go.
 *
 * Log. A logged gatherer hands each block to the write-ahead log as it is cut, so blocks lie there in the order in which
 * they were cut. Nothing waits for the disk but rl_gather_store_block; who allocates blocks to a batch does so in the
 * same log, behind them. A block is one record of the log, whose size is limited: what is stored as one block is logged
 * as several where it is large, and a record that is too large for one is refused.
 *
 * Store, reserve, commit and end_text are called by one thread at a time, cut, take and the rest by any. One lock, held
 * for appends and cuts only. */
#ifndef RL_RUN_GATHER_H
#define RL_RUN_GATHER_H

#include <stdbool.h>
#include <stddef.h>

#include "data/block.h"
#include "store/memory.h"
#include "store/wal.h"

/* A list of blocks, in order; {0} is empty. Each entry holds a reference. */
typedef struct rl_blocks {
  rl_block **v;
  size_t n, cap;
} rl_blocks;

void rl_blocks_add(rl_blocks *l, rl_block *b); /* takes over the reference */
void rl_blocks_clear(rl_blocks *l);

typedef struct rl_gather_spec {
  size_t max_record;   /* a longer line is cut; > 0 */
  size_t max_buffered; /* > 0 */
  /* Any thread, one call at a time, without the gatherer's lock; must neither wait nor call the gatherer. NULL: store
   * calls wait instead. */
  void (*hold)(void *user, bool on);
  void *user;
  rl_memory *memory; /* keeps the blocks; it outlives the gatherer. NULL: they stay in memory */
  rl_level level;
  size_t most_logged; /* bytes of a block in the log; 0: RL_GATHER_MOST_LOGGED */
} rl_gather_spec;

#define RL_GATHER_MOST_LOGGED ((size_t)RL_WAL_RECORD_MOST - ((size_t)16 << 20)) /* less by what else is in a record */

typedef struct rl_gather rl_gather;

void rl_gather_set_level(rl_gather *g, rl_level level); /* of blocks cut from now on */
rl_gather *rl_gather_new(const rl_gather_spec *spec);
void rl_gather_delete(rl_gather *g); /* blocks that are still out may outlive it */

/* From now on blocks are logged; before anything is stored. */
typedef struct rl_gather_log {
  rl_wal *wal;
  const char *uid;   /* copied: whose blocks they are */
  uint64_t position; /* records of earlier runs */
  /* All up to this position are on disk; the log's thread, in order. NULL: nobody is told. */
  void (*durable)(void *user, uint64_t position);
  void *user;
} rl_gather_log;
void rl_gather_log_to(rl_gather *g, const rl_gather_log *log);
bool rl_gather_is_logged(const rl_gather *g);
uint64_t rl_gather_position(rl_gather *g); /* on disk; any thread */
/* A block of an earlier run that no batch has had; before anything is stored. Takes over the reference. */
void rl_gather_restore(rl_gather *g, rl_block *b);

/* See run/receiver.h. *cut_line: a line was longer than max_record. RL_ECANCELLED once closed. */
rl_status rl_gather_reserve(rl_gather *g, size_t least, char **p, size_t *room);
rl_status rl_gather_commit(rl_gather *g, size_t n, bool *cut_line);
rl_status rl_gather_commit_only(rl_gather *g, size_t n, bool *cut_line); /* without what may wait for a disk ... */
void rl_gather_make_room(rl_gather *g);                                  /* ... which is this */
size_t rl_gather_used(const rl_gather *g); /* bytes in the budget */
void rl_gather_end_text(rl_gather *g);
/* Logged: RL_ELIMIT for a record that is too large for the log; nothing of the call is stored then. */
rl_status rl_gather_store(rl_gather *g, const rl_value *fields, uint32_t n);
rl_status rl_gather_store_block(rl_gather *g, rl_chunks *chunks); /* takes the chunks, also on failure; logged: waits */

void rl_gather_cut(rl_gather *g);
void rl_gather_take(rl_gather *g, rl_blocks *out); /* cuts, and moves out all blocks */
bool rl_gather_is_empty(rl_gather *g);              /* no blocks, and nothing open */

void rl_gather_let_go(rl_gather *g); /* nobody waits and `hold` is not called from now on */
void rl_gather_close(rl_gather *g);  /* cuts all, a partial line too; nothing more is taken. Blocks stay */

#endif
