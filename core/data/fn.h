/* Functions over records, and the operators that run them.
 *
 * core sees a user's function as an rl_fn: counted, immutable after it was captured, of some class. A class is a way to
 * run functions: Lua closures (lua/), or native ones (core/data/native.h). A run of neighbouring functions of one class
 * is opened together, so a class may fuse them into one. Operators pull: open, next chunk, close. So scheduler and
 * shuffle never know which they run.
 *
 * An operator is used by one thread, the worker of its task. */
#ifndef RL_DATA_FN_H
#define RL_DATA_FN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "data/chunk.h"

typedef struct rl_fn rl_fn;
typedef struct rl_pull rl_pull;
struct rl_memory;

/* What a running task tells the functions in it. Owned by the worker, valid while the task runs. */
typedef struct rl_task {
  uint64_t job, stage;
  uint32_t partition, attempt; /* attempt counts from 0 */
  uint32_t max_attempts;
  int64_t batch_time;          /* ms; RL_NO_TIME outside of batches */
  uint64_t seed;               /* from (operator, batch time, partition): the same for every attempt */
  void *local;                 /* what the context's rl_worker_hooks made for this worker (the Lua worker state) */
  atomic_bool *cancelled;      /* set from outside: stop soon with RL_ECANCELLED */
  struct rl_state_update *state; /* of a state stage: what the task reads and sets (store/state.h); else NULL */
  struct rl_memory *memory;    /* the context's (store/memory.h), for spools; NULL: none, all stays in memory */
  size_t quota;                /* bytes of records an operator may hold before it should write them to a spool */
  rl_buf *updates;             /* what this attempt adds to the context's updates, if it succeeds (run/context.h) */
} rl_task;

/* RL_ECANCELLED when the task was told to stop: for loops between chunks. */
static inline rl_status rl_task_check(const rl_task *t)
{
  if (!t->cancelled || !atomic_load_explicit(t->cancelled, memory_order_relaxed)) return RL_OK;
  return rl_fail(RL_ECANCELLED, "the task was cancelled");
}

/* An operator. Subclass by putting it first in a larger struct. */
typedef struct rl_pull_class {
  /* *out: the next chunk, one reference for the caller, never empty; NULL at the end (and again when asked again). */
  rl_status (*next)(rl_pull *self, rl_chunk **out);
  void (*close)(rl_pull *self); /* at any time, also before the end; frees self and closes its inputs */
} rl_pull_class;

struct rl_pull {
  const rl_pull_class *cls;
};

static inline rl_status rl_pull_next(rl_pull *p, rl_chunk **out) { return p->cls->next(p, out); }
static inline void rl_pull_close(rl_pull *p)
{
  if (p) p->cls->close(p);
}

typedef struct rl_fn_class {
  const char *name;
  /* Opens fns[0..n) one behind the other over inputs[0..ninputs) (more than one only where fns[0] takes several, as
   * cogroup does). The inputs become the operator's own, also on failure. n >= 1, all of this class. */
  rl_status (*open)(rl_fn *const *fns, size_t n, const rl_task *task, rl_pull **inputs, size_t ninputs, rl_pull **out);
  void (*destroy)(rl_fn *fn); /* at the last unref, on any thread */
} rl_fn_class;

struct rl_fn {
  _Atomic uint32_t refs;
  const rl_fn_class *cls;
  bool idle; /* where there are no records it neither gives any nor does anything else, so it need not run there */
};

rl_fn *rl_fn_ref(rl_fn *f);
void rl_fn_unref(rl_fn *f); /* NULL is allowed */

/* Ready-made operators. */
rl_pull *rl_pull_chunks(const rl_chunks *list);            /* over a list; references each chunk */
rl_pull *rl_pull_concat(rl_pull **inputs,
                        size_t n); /* one after another; takes over the inputs (the array is copied) */
rl_pull *rl_pull_empty(void);
rl_status rl_pull_drain(rl_pull *p, rl_chunks *out);       /* reads to the end; does not close */

#endif
