/* Runs: sorting more than fits into memory, by the first field (data/order.h), stable.
 *
 * A sorter gathers records up to a quota, sorts them and writes them to a spool: a run. What comes out of it are its
 * runs, in the order of arrival, with the last key of each chunk, by which reading can begin in the middle. Merging
 * reads the runs of several sorters a chunk at a time, earlier runs first among equal keys; where even a chunk of each
 * would be too much, neighbouring runs are merged into longer ones first.
 *
 * A sorted shuffle works without a sampling job (docs/decisions/005): each map task has a sorter; when all have ended,
 * bounds are picked from their samples; reduce task p merges what of all runs lies between bounds p - 1 and p.
 *
 * A sorter has one owner. Runs are immutable: any number of threads merge them at the same time. */
#ifndef RL_STORE_RUNS_H
#define RL_STORE_RUNS_H

#include "data/bounds.h"
#include "data/fn.h"
#include "store/memory.h"

typedef struct rl_runs rl_runs;
typedef struct rl_sorter rl_sorter;

/* `ranges`: into how many the sort will be cut, for the sample; 0: it will not be. */
rl_sorter *rl_sorter_new(rl_memory *m, size_t quota, bool descending, uint32_t ranges);
rl_status rl_sorter_add(rl_sorter *s, rl_chunk *c); /* takes over the reference, also on failure */
rl_status rl_sorter_finish(rl_sorter *s, rl_runs **out);
void rl_sorter_delete(rl_sorter *s); /* NULL is allowed */

void rl_runs_delete(rl_runs *r); /* NULL is allowed; what was opened over them must be closed */
size_t rl_runs_count(const rl_runs *r);

/* NULL among the runs are those of nothing. */
rl_bounds *rl_runs_bounds(rl_runs *const *runs, size_t n, bool descending, uint32_t ranges);

typedef struct rl_merge {
  rl_runs *const *runs; /* of n sorters, in order; NULL: of nothing. They outlive the operator, the array need not */
  size_t n;
  bool descending;
  const rl_bounds *bounds; /* NULL: all records. Needed only while it is opened */
  uint32_t range;
  const rl_task *task; /* whose quota is for the chunks being read; it outlives the operator */
  const char *name; /* put in front of messages; it outlives the operator. NULL: nothing */
} rl_merge;

rl_status rl_merge_open(const rl_merge *m, rl_pull **out);

#endif
