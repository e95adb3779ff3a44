/* Where records go in a shuffle.
 *
 * HASH: the key (first field, normalised) is hashed with RL_HASH_SEED to one of RL_KEY_GROUPS key groups; partition p
 * of n owns the groups g with g * n / RL_KEY_GROUPS == p. With n > RL_KEY_GROUPS the surplus partitions are empty. Two
 * hash partitioners are equal when n is. ROUND_ROBIN: record i of a map task goes to (start + i) % n, start from the
 * task's seed. RANGE: used for sorting; see store/runs.h. */
#ifndef RL_DATA_PARTITION_H
#define RL_DATA_PARTITION_H

#include "base/status.h"
#include "data/chunk.h"

#define RL_KEY_GROUPS 256

typedef enum rl_partkind { RL_PART_NONE, RL_PART_HASH, RL_PART_ROUND_ROBIN, RL_PART_RANGE } rl_partkind;

static inline uint32_t rl_key_group(uint64_t hash) { return (uint32_t)(hash & (RL_KEY_GROUPS - 1)); }
static inline uint32_t rl_group_partition(uint32_t group, uint32_t n)
{
  return (uint32_t)((uint64_t)group * n / RL_KEY_GROUPS);
}

/* The key groups [*from, *to) of a partition; none where there are more partitions than groups. */
void rl_partition_groups(uint32_t partition, uint32_t n, uint32_t *from, uint32_t *to);

/* Distributes chunks over n outputs. One owner. */
typedef struct rl_splitter rl_splitter;

/* pair: records must have a key and a value; those with more than two fields become (key, tuple of the rest), the key
 * is stored normalised, and a one-value record is RL_EINVAL "a record of one value where (key, value) is needed".
 * Without it (ROUND_ROBIN) records pass whole. */
rl_splitter *rl_splitter_new(rl_partkind kind, uint32_t n, bool pair, uint64_t seed);
rl_status rl_splitter_add(rl_splitter *s, const rl_chunk *c);
/* Hands over what an output has complete, in order; `all`: also what is still being filled. The sink takes the chunk,
 * also on failure. */
typedef rl_status rl_split_sink(void *to, uint32_t output, rl_chunk *chunk);
rl_status rl_splitter_flush(rl_splitter *s, bool all, rl_split_sink *sink, void *to);
size_t rl_splitter_bytes(const rl_splitter *s); /* held now */
/* Moves what was collected for each output into out[0..n). */
void rl_splitter_finish(rl_splitter *s, rl_chunks *out);
void rl_splitter_delete(rl_splitter *s);

#endif
