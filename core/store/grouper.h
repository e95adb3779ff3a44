/* Grouping more than fits into memory: records go in as they come, and come out key by key, keys in the order of first
 * sight, the records of each in the order in which they came.
 *
 * The number of a record at which its key was first seen orders the groups. While the keys fit they are looked up as
 * records come, and (first, record) is sorted externally (store/runs.h). When they fit no more, records of further keys
 * are spread by bits of the key's hash over spools, which are worked off one after another in the same way, down to
 * where their keys fit. So it is keys that memory must hold, a part of them at a time; of the values of a key there may
 * be any number.
 *
 * One owner. */
#ifndef RL_STORE_GROUPER_H
#define RL_STORE_GROUPER_H

#include "data/fn.h"

typedef struct rl_grouper rl_grouper;
typedef struct rl_groups rl_groups;

rl_grouper *rl_grouper_new(const rl_task *task); /* which outlives it and the groups */
/* A record: its normalised key, and what comes back with it. Copied. RL_EIO and the like of spools. */
rl_status rl_grouper_add(rl_grouper *g, rl_value key, uint32_t side, rl_value value);
rl_status rl_grouper_finish(rl_grouper *g, rl_groups **out);
void rl_grouper_delete(rl_grouper *g); /* NULL is allowed */

/* To the next group: *key, a view until the next call; false in *any at the end. What is left of the one before is
 * passed over. */
rl_status rl_groups_next(rl_groups *g, rl_value *key, bool *any);
/* The next record of the group: *value, a view until the next call of either. */
rl_status rl_groups_value(rl_groups *g, uint32_t *side, rl_value *value, bool *any);
void rl_groups_delete(rl_groups *g); /* NULL is allowed */

#endif
