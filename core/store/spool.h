/* Spools: lists of chunks that may leave memory. What is kept beyond the operator that made it lies in one: persisted
 * partitions, the outputs of a shuffle's map tasks, runs of a sort, groups, received records, results of a state stage.
 *
 * A spool belongs to a memory manager (store/memory.h), which writes chunks to a spill file when memory runs short, and
 * reads them back, one at a time, when they are asked for. Files are checksummed, shared by the spools of a manager in
 * extents, and given back with the spool.
 *
 * One thread adds, then it is sealed; from then on any number of threads read at the same time. Counted. */
#ifndef RL_STORE_SPOOL_H
#define RL_STORE_SPOOL_H

#include "data/chunk.h"
#include "data/fn.h"
#include "store/memory.h"

typedef struct rl_spool rl_spool;

/* NULL manager: it stays in memory. */
rl_spool *rl_spool_new(rl_memory *m, rl_level level);
rl_spool *rl_spool_ref(rl_spool *s);
/* Spools of one group (an RDD's number; 0: none) are not dropped to make room for each other: of what does not fit as a
 * whole, a part is kept, instead of one half pushing out the other and back. Before anything is added. */
void rl_spool_set_group(rl_spool *s, uint64_t group);
void rl_spool_unref(rl_spool *s); /* NULL is allowed; any thread */

/* Takes over the reference, also on failure. May write this or other spools to disk, on this thread: RL_EIO names the
 * file. A spool that cannot be kept (level NONE, or memory only and there is none) is lost, and goes on counting. */
rl_status rl_spool_add(rl_spool *s, rl_chunk *c);
rl_status rl_spool_add_list(rl_spool *s, rl_chunks *list); /* moves the list out, also on failure */
void rl_spool_seal(rl_spool *s);

/* An operator over its chunks, in order, each with a reference of its own. References the spool, and keeps it from
 * being dropped until it is closed: rl_spool_is_lost does not change from false meanwhile. RL_EDATA for a damaged spill
 * file, naming file, offset and what it held. RL_ELOST when it is lost. */
rl_pull *rl_spool_open(rl_spool *s);
/* As above, from chunk `first` on. */
rl_pull *rl_spool_open_at(rl_spool *s, size_t first);

size_t rl_spool_chunks(const rl_spool *s);
uint64_t rl_spool_records(const rl_spool *s);
uint64_t rl_spool_bytes(const rl_spool *s);   /* in memory or not */
bool rl_spool_is_lost(rl_spool *s); /* dropped for want of memory by a level without disk; it must be computed anew */
/* For one that turned out to be damaged: it is lost from now on (not if it is needed). */
void rl_spool_lose(rl_spool *s);

#endif
