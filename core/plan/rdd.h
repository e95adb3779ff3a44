/* RDDs: immutable, partitioned, lazily computed data sets; nodes of a lineage. Counted; may be built and released on
 * any thread, but one lineage is built by one thread at a time.
 *
 * Shuffle outputs stay with the RDD that reads them, so a second action on it does not run the map side again. A
 * persisted RDD keeps its partitions as they are first computed to their end. */
#ifndef RL_PLAN_RDD_H
#define RL_PLAN_RDD_H

#include "base/buf.h"
#include "data/block.h"
#include "data/chunk.h"
#include "data/fn.h"
#include "plan/op.h"
#include "store/memory.h"

typedef struct rl_rdd rl_rdd;

/* Where partitions come from. Subclass by putting it first in a larger struct. Counted; `open` may run on several
 * workers at once. */
typedef struct rl_source rl_source;
typedef struct rl_source_class {
  const char *name; /* "parallelize" */
  rl_status (*open)(rl_source *self, uint32_t partition, const rl_task *task, rl_pull **out);
  void (*destroy)(rl_source *self);
} rl_source_class;
struct rl_source {
  _Atomic uint32_t refs;
  const rl_source_class *cls;
  uint32_t partitions;
};

/* Takes over the caller's reference to `source`. */
rl_rdd *rl_rdd_from_source(rl_source *source);
const rl_source *rl_rdd_source(const rl_rdd *r); /* what an RDD of rl_rdd_from_source was made of; NULL: it is another */
rl_rdd *rl_rdd_from_chunks(rl_chunks *parts, uint32_t n); /* moves the lists out of parts[0..n) */
rl_rdd *rl_rdd_empty(uint32_t partitions);
/* One partition a block. References each. */
rl_rdd *rl_rdd_from_blocks(rl_block *const *blocks, uint32_t n);

/* Applies op (referenced) to parents (referenced). `parallelism` is used where the op leaves the number of partitions
 * open and no parent settles it: a parent's partitioner of the same kind first, then `parallelism` if not 0, then the
 * largest parent's count (3.7 of the reference). Fails with RL_EINVAL when the number of parents, or for ZIP that of
 * their partitions, does not fit the kind; with RL_ELIMIT when the lineage gets too deep or the partitions too many. */
rl_status rl_rdd_apply(rl_op *op, rl_rdd *const *parents, uint32_t n, uint32_t parallelism, rl_rdd **out);

rl_rdd *rl_rdd_ref(rl_rdd *r);
void rl_rdd_unref(rl_rdd *r); /* NULL is allowed */

uint64_t rl_rdd_id(const rl_rdd *r);
uint32_t rl_rdd_partitions(const rl_rdd *r);
/* RL_PART_HASH when partitioned by key into rl_rdd_partitions parts, else NONE. */
rl_partkind rl_rdd_partitioner(const rl_rdd *r);
const rl_op *rl_rdd_op(const rl_rdd *r);
const char *rl_rdd_label(const rl_rdd *r);       /* "reduceByKey at job.lua:12" */
void rl_rdd_set_name(rl_rdd *r, const char *name);
const char *rl_rdd_name(const rl_rdd *r);        /* NULL when none was set */
uint32_t rl_rdd_parents(const rl_rdd *r, rl_rdd *const **parents);
/* Do records of this parent change partitions on their way here? */
bool rl_rdd_is_exchanged(const rl_rdd *r, uint32_t parent);

/* Keeps partitions at `level` once computed. RL_ESTATE when it is persisted at another; NONE is unpersist, which drops
 * them. What was lost (a level without disk, short of memory; a damaged spill file) is computed anew. */
rl_status rl_rdd_persist(rl_rdd *r, rl_level level);
void rl_rdd_unpersist(rl_rdd *r);
bool rl_rdd_is_persisted(const rl_rdd *r);
rl_level rl_rdd_level(const rl_rdd *r);

/* The lineage as an indented list, as Spark's toDebugString: one line an RDD, "(2) reduceByKey at job.lua:7 [uid ...]",
 * "+-" at shuffles. */
void rl_rdd_debug(const rl_rdd *r, rl_buf *out);

#endif
