/* Bounds: where a sort is cut into ranges, read off samples of the keys.
 *
 * A sample keeps keys by the hash of their record's number, fewer in proportion as there are more of them. So it does
 * not depend on how much fits into memory, and is the same whenever the same records come in the same order. */
#ifndef RL_DATA_BOUNDS_H
#define RL_DATA_BOUNDS_H

#include "base/status.h"
#include "data/chunk.h"

typedef struct rl_sample rl_sample; /* one owner */

/* Of what is to be cut into n ranges: all keys while they are few. */
rl_sample *rl_sample_new(uint32_t n);
void rl_sample_add(rl_sample *s, const rl_chunk *c); /* copies keys */
void rl_sample_delete(rl_sample *s);                 /* NULL is allowed */

typedef struct rl_bounds rl_bounds; /* counted, immutable: at most n - 1 keys, strictly in order */

/* Cuts what was sampled into n ranges of about even size; NULL among the samples is one of nothing. Equal keys never
 * part. Deterministic. */
rl_bounds *rl_bounds_pick(rl_sample *const *samples, size_t nsamples, bool descending, uint32_t n);
rl_bounds *rl_bounds_ref(rl_bounds *b);
void rl_bounds_unref(rl_bounds *b); /* NULL is allowed */

/* Range p holds the keys from bound p - 1 (inclusive) up to bound p (exclusive), in the order of the sort. False: there
 * are fewer ranges. */
bool rl_bounds_range(const rl_bounds *b, uint32_t p, const rl_value **from, const rl_value **to);

#endif
