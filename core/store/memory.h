/* The memory manager: one budget for what a context keeps and works with, and the spill files beside it.
 *
 * rille.memory.limit covers chunks, state overlays, buffers of operators, and the limits of all Lua states, which are
 * set aside first. Of the rest `fraction` (rille.memory.fraction) is shared by storage (spools that are kept: persisted
 * partitions, received blocks, shuffle outputs) and execution (what running tasks hold: quota). Storage may fill it all
 * while execution does not need it; execution pushes storage out down to storageFraction of it.
 *
 * Short of memory the manager takes spools, least recently used first: those of levels with disk are written to a spill
 * file; persisted partitions of levels without disk are dropped, and computed anew when asked for; what a pending batch
 * needs is never dropped. The thread that asks for memory does that work, so a fast producer is slowed down.
 *
 * Spill files lie in a folder of this process in rille.local.dir, made with the first spill, mode 0700; folders left by
 * processes that are no more are removed when a context starts. All file calls go through base/file.h. */
#ifndef RL_STORE_MEMORY_H
#define RL_STORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct rl_memory rl_memory;

/* Storage levels, with Spark's names. A chunk is columns in contiguous buffers already, so serialised levels differ
 * from the others only where rille.rdd.compress is set: then they are kept compressed. */
typedef struct rl_level {
  bool memory, disk, serialised;
  bool off_heap;  /* only a name: nothing here lies on a collected heap */
  bool needed;    /* not a cache: it cannot be computed anew, so it is never dropped */
  uint8_t copies; /* 2 for `_2` levels: store/replica.h */
} rl_level;

static inline bool rl_level_keeps(rl_level l) { return l.memory || l.disk; }

#define RL_LEVEL_NONE ((rl_level){0})
#define RL_LEVEL_WORK ((rl_level){.memory = true, .disk = true, .needed = true, .copies = 1})
#define RL_LEVEL_MEMORY_ONLY ((rl_level){.memory = true, .copies = 1})
#define RL_LEVEL_MEMORY_ONLY_SER ((rl_level){.memory = true, .serialised = true, .copies = 1})
#define RL_LEVEL_MEMORY_AND_DISK_SER ((rl_level){.memory = true, .disk = true, .serialised = true, .copies = 1})

#define RL_LEVEL_RECEIVED ((rl_level){.memory = true, .disk = true, .serialised = true, .copies = 2})

/* RL_EINVAL lists the names. "NONE" gives neither memory nor disk. OFF_HEAP keeps
 * as MEMORY_AND_DISK_SER does. */
rl_status rl_level_parse(const char *name, rl_level *out);
const char *rl_level_name(rl_level level); /* a name that parses to it; "NONE" for one that has none */

typedef struct rl_memory_spec {
  size_t limit;          /* bytes for chunks, overlays and buffers: the limits of Lua states are off already */
  double fraction, storage_fraction;
  uint32_t tasks;        /* that run at the same time */
  bool compress;         /* rille.rdd.compress */
  const char *local_dir; /* rille.local.dir; NULL: $TMPDIR, else /tmp */
} rl_memory_spec;

rl_memory *rl_memory_new(const rl_memory_spec *spec);
rl_memory *rl_memory_ref(rl_memory *m);
void rl_memory_unref(rl_memory *m); /* the last one removes the spill folder; NULL is allowed */

/* Nothing is spilled any more (RL_ECLOSED), and the spill folder is removed. For a context that stops while
 * spools of its RDDs may live on. */
void rl_memory_close(rl_memory *m);

/* From `on` on, until it is called as often without, this thread waits for no files when spools go: their disk space is
 * given back a little later, by whoever calls next what may wait. For those who hold a lock. */
void rl_memory_hold_files(bool on);
void rl_memory_sweep(rl_memory *m); /* gives back now what is due; waits for files */

/* What one task may hold of records before it should write them to a spool: its share of execution memory. The same for
 * all tasks at all times, so what is spilled where does not depend on who ran beside it. No manager: SIZE_MAX. */
size_t rl_memory_quota(const rl_memory *m);

typedef struct rl_memory_stats {
  uint64_t limit, storage, spilled_now; /* bytes: budget, kept in memory, lying in spill files now */
  uint64_t spilled_total, dropped_total; /* bytes so far */
  uint64_t spool_writes;
} rl_memory_stats;
void rl_memory_stats_read(rl_memory *m, rl_memory_stats *out);

/* Is memory nearly full of what may be kept in it (so that something will be spilled soon), with `bytes` a good part of
 * that? `still`: it was so before; then less of both will do. */
bool rl_memory_is_short(rl_memory *m, size_t bytes, bool still);

/* The default of rille.memory.limit: 60 % of the machine's memory, or of the cgroup's limit where that is less. */
uint64_t rl_memory_default_limit(void);

#endif
