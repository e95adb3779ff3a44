/* Operations: what an RDD or a DStream does with its parents. One description serves both: an RDD is an op over RDDs, a
 * derived DStream is an op applied to its parents' RDDs in every batch. Immutable and counted. */
#ifndef RL_PLAN_OP_H
#define RL_PLAN_OP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "data/fn.h"
#include "data/partition.h"

typedef enum rl_opkind {
  RL_OP_SOURCE,   /* no parents: a source's partitions */
  RL_OP_NARROW,   /* one parent, fn over each partition */
  RL_OP_SHUFFLE,  /* one or more parents, exchanged by key, round robin or order; fn (optional) on the receiving side */
  RL_OP_UNION,    /* any number of parents, one after another */
  RL_OP_COALESCE, /* one parent, neighbouring partitions joined to `partitions` (never more than there are) */
  RL_OP_ZIP,      /* several parents with as many partitions each: their i-th records as one (plan/pairing.h) */
  RL_OP_CARTESIAN, /* two parents: every record of the one with every one of the other; n * m partitions */
  RL_OP_STATE,    /* one parent, whose records become a version of an operator's state (plan/stated.h) */
  RL_OP_SNAPSHOT, /* the whole state that an RL_OP_STATE leaves */
} rl_opkind;

typedef struct rl_op {
  _Atomic uint32_t refs;
  rl_opkind kind;
  char *name; /* "reduceByKey" */
  char *site; /* "job.lua:12", or NULL */
  char *uid;  /* the operator's identity (DESIGN section 6), or NULL */
  rl_fn *fn;     /* NARROW: required. SHUFFLE: the receiving side, or NULL: records pass */
  rl_fn *map_fn; /* SHUFFLE: the sending side of every parent (map-side combine, sort key), or NULL */
  rl_partkind part;    /* SHUFFLE */
  uint32_t partitions; /* SHUFFLE, COALESCE: 0 = default */
  bool descending;     /* SHUFFLE by RL_PART_RANGE */
  bool uneven;         /* ZIP: partitions may differ in length */
  bool first;          /* SNAPSHOT: each state is a tuple, of which only the first field is wanted */
  bool keeps_keys;     /* NARROW: keys stay what they are, so the parent's partitioner holds */
} rl_op;

/* Strings are copied, fns referenced. */
rl_op *rl_op_new(const rl_op *like);
rl_op *rl_op_ref(rl_op *op);
void rl_op_unref(rl_op *op);

#endif
