/* RDDs over keyed state (store/state.h): what a stateful operator gives in one batch.
 *
 * An RL_OP_STATE RDD makes version `time` of its operator, once: its *state stage* computes all partitions of `input`
 * (a shuffle by key whose function reads and sets state through rl_task.state), keeps what they emit, and seals the
 * updates of all partitions together. From then on it is `done`, and its partitions are what was emitted; nothing of it
 * is ever computed again. An RL_OP_SNAPSHOT RDD over it is the whole state of that version, as (key, value), read when
 * it is asked for; the version is pinned while the RL_OP_STATE RDD lives.
 *
 * Life of the state stage: the scheduler has at most one for an RDD (`stage`, under its lock). Tasks leave their
 * updates in `updates`; rl_stated_seal then runs on one worker, without the lock. A stage that fails leaves no trace,
 * and may be run again. */
#ifndef RL_PLAN_STATED_H
#define RL_PLAN_STATED_H

#include <stdatomic.h>

#include "plan/rdd.h"
#include "store/spool.h"
#include "store/state.h"

/* Takes op (kind RL_OP_STATE; referenced) and input (referenced). References the operator's store. */
rl_rdd *rl_rdd_update_state(rl_op *op, rl_rdd *input, rl_state_op *state, int64_t time);
/* The whole state that `updated` (an RL_OP_STATE RDD; referenced) leaves; op of kind RL_OP_SNAPSHOT. To be made before
 * it is done, or while its version is the operator's newest; RL_ESTATE afterwards, unless another was made in time. */
rl_status rl_rdd_snapshot(rl_op *op, rl_rdd *updated, rl_rdd **out);

/* Of a durable job: called for each partition of n, on a thread that may wait, before version `time` is sealed.
 * `emitted` may be NULL. A failure fails the stage. The RDD keeps a reference to `user`: its stage may outlive the job. */
typedef struct rl_state_log {
  rl_status (*write)(void *user, rl_state_op *op, int64_t time, uint32_t partition, uint32_t n,
                     const rl_state_update *update, rl_spool *emitted);
  void (*ref)(void *user);
  void (*unref)(void *user);
  void *user;
} rl_state_log;
void rl_rdd_log_state(rl_rdd *r, const rl_state_log *log); /* before any job on it, once. Copied; NULL: it is not logged */
/* Nothing of the version before is in its own; before any job on it. */
void rl_rdd_begin_state(rl_rdd *r);
/* What an RL_OP_STATE RDD was in an earlier run: done, having emitted out[0..n) (takes the references over; none is
 * NULL). Its version is the operator's, or the image has moved past it: then no snapshot can be made of it. */
rl_rdd *rl_rdd_restore_state(rl_op *op, rl_state_op *state, int64_t time, rl_spool **out, uint32_t n);
bool rl_rdd_state_is_done(const rl_rdd *r);

/* For the scheduler ------------------------------------------------------------------------------------------------ */

typedef struct rl_stated {
  rl_state_op *op;
  int64_t time;
  bool anew;                 /* rl_rdd_begin_state */
  rl_state_update **updates; /* of the partitions whose task has succeeded; until they are sealed */
  rl_spool **out;            /* what each partition emitted */
  atomic_bool done;          /* sealed: `out` is immutable */
  atomic_bool wanted;        /* a snapshot stands on it: its version is to be pinned */
  atomic_bool pinned;
  rl_state_log log; /* write NULL: not logged */
  void *stage; /* the scheduler's: the stage under way; under its lock */
} rl_stated;

/* All partitions are there: makes the version. No lock held; once, by one thread. */
rl_status rl_stated_seal(rl_rdd *r);
void rl_stated_clear(rl_rdd *r); /* after a failure: drops what its tasks left */
/* Its batch, which has not ended, is discarded: takes the version back if it was made. No stage of it is under way. */
void rl_stated_undo(rl_rdd *r);
void rl_stated_delete(rl_rdd *r);
/* The snapshot's partition. */
rl_status rl_snapshot_open(rl_rdd *r, uint32_t partition, rl_pull **out);

#endif
