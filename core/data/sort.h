/* Sorting by the first field (rl_value_compare's order), stable.
 *
 * A sorted shuffle works without a sampling job: each map task sorts its whole output into one run; when all runs are
 * there, bounds are read off them at even distances; reduce task p merges the slices of all runs that fall between
 * bounds p-1 and p, runs in map order. */
#ifndef RL_DATA_SORT_H
#define RL_DATA_SORT_H

#include "base/status.h"
#include "data/chunk.h"

/* Sorts the records of `in` (left as it is) into `out` (empty). */
rl_status rl_sort_chunks(const rl_chunks *in, bool descending, rl_chunks *out);

typedef struct rl_bounds rl_bounds; /* counted, immutable: at most n - 1 keys, strictly in order */

/* Cuts `nruns` sorted runs into n ranges of about even size. Equal keys never part. Deterministic. */
rl_bounds *rl_bounds_pick(const rl_chunks *runs, size_t nruns, bool descending, uint32_t n);
rl_bounds *rl_bounds_ref(rl_bounds *b);
void rl_bounds_unref(rl_bounds *b);

/* Merges the records of range p of all runs into `out`, stable in run order. */
rl_status rl_sort_merge(const rl_chunks *runs, size_t nruns, const rl_bounds *b, bool descending, uint32_t p,
                        rl_chunks *out);

#endif
