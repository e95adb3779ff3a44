/* What is kept between tasks, as operators: persisted partitions, and what map tasks left for a partition. Both lie in
 * spools. Worker threads; the RDD outlives the operators. */
#ifndef RL_PLAN_KEPT_H
#define RL_PLAN_KEPT_H

#include "plan/lineage.h"

/* Reads a persisted partition; NULL when it is not there. One that turns out to be damaged fails the task retriably,
 * and is computed anew then. */
rl_pull *rl_kept_open(rl_rdd *r, uint32_t p);

/* Passes `in` (taken over) on, and keeps it as partition p of r. */
rl_pull *rl_kept_tee(rl_pull *in, rl_rdd *r, uint32_t p, const rl_task *task);

/* Reads what map tasks left for partition p in exchange i, in map order. HASH and ROUND_ROBIN. */
rl_pull *rl_exchange_open(rl_rdd *r, uint32_t i, uint32_t p);

/* Merges what of all runs belongs into partition p. RANGE. */
rl_status rl_sorted_open(rl_rdd *r, uint32_t i, uint32_t p, const rl_task *task, rl_pull **out);

#endif
