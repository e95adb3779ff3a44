/* Inside an RDD: what the planner and the scheduler share. Not public.
 *
 * An rl_exchange is the link of a SHUFFLE RDD to one parent. Its map outputs are filled in by the scheduler, one map
 * task at a time, before `done`; from then on they are immutable and read by any worker. */
#ifndef RL_PLAN_LINEAGE_H
#define RL_PLAN_LINEAGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "plan/rdd.h"
#include "store/runs.h"
#include "store/spool.h"

typedef struct rl_exchange {
  bool narrow; /* the parent is already partitioned as needed: partition p comes from its partition p, no exchange */
  uint32_t maps;        /* partitions of the parent */
  rl_spool **out;       /* HASH, ROUND_ROBIN: out[map * partitions + p]; NULL: no records went there */
  rl_runs **runs;       /* RANGE: runs[map] are sorted runs */
  rl_bounds *bounds;    /* RANGE, once done */
  atomic_bool done;     /* all of the above is there and immutable */
  void *stage;          /* the scheduler's: the stage that fills it now; under its lock */
} rl_exchange;

struct rl_rdd {
  _Atomic uint32_t refs;
  uint64_t id;
  rl_op *op;          /* never NULL */
  rl_rdd **parents;
  uint32_t nparents;
  uint32_t depth;     /* longest way up; bounded, as opening a partition recurses */
  rl_source *source;  /* SOURCE */
  uint32_t partitions;
  rl_partkind part;   /* how its records are spread by key: HASH or NONE */
  rl_exchange *exchanges; /* SHUFFLE: one a parent */
  struct rl_stated *stated; /* STATE (plan/stated.h) */
  bool zipped;        /* UNION of parents with one partitioner: partition i is all partitions i */
  char *label;
  uint64_t mark;      /* the scheduler's, under its lock: the last walk that came by */

  pthread_mutex_t lock; /* guards what follows */
  char *name;
  rl_level level;       /* NONE: not persisted */
  rl_spool **cache;     /* persisted: one a partition, NULL until it was computed to its end. It may have been lost */
};

#define RL_LINEAGE_MAX_DEPTH 4000

/* An RDD without a kind's own parts; op and parents are referenced. */
rl_rdd *rl_rdd_new(rl_op *op, rl_rdd *const *parents, uint32_t n, uint32_t partitions);

/* Opens a partition of `r` with the functions tail[0..n) behind it. Exchanges it reads must be done. Worker threads. */
rl_status rl_rdd_open(rl_rdd *r, uint32_t partition, const rl_task *task, rl_fn *const *tail, size_t n, rl_pull **out);

/* Is it plain, with nothing run, that the partition has no records, and that nobody could tell whether a task was run to
 * find that out? Exchanges and versions it reads must be done. `tail` (or NULL) is a function behind it. Any thread. */
bool rl_rdd_is_blank(rl_rdd *r, uint32_t partition, const rl_fn *tail);

/* Is the partition a list that has no records? */
bool rl_source_is_blank(const rl_source *source, uint32_t partition);

/* The parent's partitions that make up one of a COALESCE RDD. */
void rl_coalesced_range(const rl_rdd *r, uint32_t partition, uint32_t *from, uint32_t *to);

/* Gives back what map tasks left for an exchange. */
void rl_exchange_clear(const rl_rdd *target, rl_exchange *x);

/* Are all partitions of a persisted RDD there (so that nothing above it need run)? */
bool rl_rdd_is_cached(rl_rdd *r);

#endif
