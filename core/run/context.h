/* A context: workers, scheduler, settings. One RDD job after another, or several at once, run on it; a streaming context stands on one.
 *
 * Threads: `sched` (timers, watchdog), one worker a core or as the master says (local[N]), and the driver, which is the thread that made the context. */
#ifndef RL_RUN_CONTEXT_H
#define RL_RUN_CONTEXT_H

#include <stdint.h>

#include "base/clock.h"
#include "data/fn.h"
#include "plan/rdd.h"
#include "run/conf.h"
#include "run/driver.h"
#include "run/interrupt.h"
#include "store/memory.h"

typedef struct rl_context rl_context;

/* What runs in each worker thread besides native functions (lua/ makes a Lua state here). All members may be NULL. */
typedef struct rl_worker_hooks {
  void *user;
  void *(*start)(void *user, uint32_t index);                    /* on the new worker thread; the result is rl_task.local */
  void (*stop)(void *user, void *local);                         /* on the worker thread, before it ends */
  void (*begin)(void *user, void *local, const rl_task *task);   /* before a task attempt */
  /* After it; the task's error is the thread's current error. Returns `status`, or why a task that went well fails after all. */
  rl_status (*end)(void *user, void *local, const rl_task *task, rl_status status);
  /* Makes the running task fail soon with `why`. Called in a signal handler on the worker thread: async-signal-safe, must not allocate. */
  void (*interrupt)(void *user, void *local, rl_status why);     /* RL_ETIMEOUT (over rille.task.maxSeconds) or RL_ECANCELLED */
} rl_worker_hooks;

/* Copies conf and hooks. Starts the threads. RL_EINVAL for a bad master. The returned context holds one reference. */
rl_status rl_context_new(const rl_conf *conf, const rl_worker_hooks *hooks, rl_context **out);
rl_context *rl_context_ref(rl_context *c);
void rl_context_unref(rl_context *c); /* the last one stops it; driver thread */
/* Cancels running jobs, joins all threads (a worker stuck in C is left behind, with one warning). Idempotent. Driver thread. */
void rl_context_stop(rl_context *c);
bool rl_context_is_stopped(const rl_context *c);

const rl_conf *rl_context_conf(const rl_context *c);
rl_driver *rl_context_driver(rl_context *c);
rl_memory *rl_context_memory(rl_context *c); /* lives as long as the context */
uint32_t rl_context_workers(const rl_context *c);
uint32_t rl_context_parallelism(const rl_context *c); /* rille.default.parallelism, else the number of workers */

/* Jobs ------------------------------------------------------------------------------------------------------------------------------ */

typedef enum rl_job_kind {
  RL_JOB_COLLECT, /* chunks of each partition are kept */
  RL_JOB_COUNT,   /* only the number of records of each partition */
  RL_JOB_RUN,     /* for effect: records are dropped as they come */
  RL_JOB_STATE,   /* `rdd` updates state (plan/stated.h): makes its version, if that is still to do, and reads nothing */
} rl_job_kind;

typedef struct rl_job_spec {
  rl_rdd *rdd;                /* referenced */
  rl_job_kind kind;
  const uint32_t *partitions; /* which; NULL: all */
  uint32_t n;                 /* how many are named */
  uint64_t limit;             /* COLLECT: stop a partition after this many records; 0: all */
  int64_t batch_time;         /* RL_NO_TIME outside of a batch */
  const char *what;           /* for messages: "count at job.lua:14"; copied */
} rl_job_spec;

typedef struct rl_job rl_job;

/* Starts a job; any thread. `done` (may be NULL) is posted to the driver when it has ended, also when it failed or was cancelled. */
rl_status rl_job_submit(rl_context *c, const rl_job_spec *spec, rl_message *done, rl_job **out);
bool rl_job_finished(const rl_job *j);
/* Serves driver messages until the job has ended; then its status, with the error as the thread's current one. Driver thread. */
rl_status rl_job_wait(rl_job *j);
rl_status rl_job_status(const rl_job *j); /* of a finished job; sets the thread's current error */
void rl_job_cancel(rl_job *j);            /* returns at once; the job then ends with RL_ECANCELLED */
/* Results of the i-th partition asked for; valid until the unref. */
const rl_chunks *rl_job_chunks(const rl_job *j, uint32_t i);
uint64_t rl_job_count(const rl_job *j, uint32_t i);
uint32_t rl_job_partitions(const rl_job *j);
void rl_context_cancel_jobs(rl_context *c); /* all that run; any thread */
void rl_job_unref(rl_job *j); /* the submitter's reference; a job still running goes on unwatched */

/* Updates: what tasks report besides records (accumulators, bad records) ------------------------------------------- */

/* A task attempt appends bytes to rl_task.updates, in entries of a form that those who write and take them agree on;
 * to core they are opaque. They count only when the attempt succeeds, so once a task, however often it is tried; a
 * stage whose output is reused does not run, and reports nothing again. When a stage has ended (also when it failed:
 * then those of its tasks that had succeeded), before its job has, they are here: in the order of its tasks, whichever
 * ended first, one stage after another.
 *
 * Appends to `out` what came since the last call, whole entries of whole stages; any thread. Nothing is dropped:
 * somebody takes them after every job, or they pile up. */
void rl_context_take_updates(rl_context *c, rl_buf *out);

/* Timers on the sched thread, for the parts of run/ and source/ ------------------------------------------------------------------------ */

typedef struct rl_timer {
  struct rl_timer *next;
  int64_t due_ns;                   /* monotonic */
  void (*fire)(struct rl_timer *t); /* on sched, without locks; must not block */
  bool armed;
  bool punctual; /* set before it is armed: to the microsecond, as far as the machine is idle */
} rl_timer;

void rl_timer_set(rl_context *c, rl_timer *t, int64_t due_ns); /* arms or moves; any thread */
/* Disarms; if it is firing now, waits until it has fired (unless called from sched itself). */
void rl_timer_cancel(rl_context *c, rl_timer *t);

#endif
