/* Sorting in memory by the first field (data/order.h), stable. What does not fit: store/runs.h. */
#ifndef RL_DATA_SORT_H
#define RL_DATA_SORT_H

#include "base/status.h"
#include "data/chunk.h"

#define RL_SORT_ITEM_BYTES 32 /* that sorting needs for a record besides its chunks */

/* Sorts the records of `in` (left as it is), and gives them in chunks of about `chunk_bytes` at most to the sink, which
 * takes each chunk, also on failure. */
typedef rl_status rl_chunk_sink(void *to, rl_chunk *chunk);
rl_status rl_sort_chunks(const rl_chunks *in, bool descending, size_t chunk_bytes, rl_chunk_sink *sink, void *to);

#endif
