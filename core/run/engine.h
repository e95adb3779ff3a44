/* Inside a context: workers, stages, timers. Not public.
 *
 * One lock (`lock`) guards the scheduler: jobs, stages, the queue of ready tasks, the workers' states. There is no scheduler thread in the way of a job: whoever submits it, or ends a task,
 * takes the lock and does the next step. So a batch costs few thread switches. The lock is never held while functions, operators or callbacks run. */
#ifndef RL_RUN_ENGINE_H
#define RL_RUN_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "plan/lineage.h"
#include "run/context.h"

/* Stages: tasks that can run once their parent stages are done. Counted under the lock. */
typedef struct rl_stage {
  uint32_t refs;
  uint64_t id;
  rl_rdd *rdd;      /* what its tasks compute; referenced */
  rl_rdd *target;   /* a map stage: the RDD whose exchange `dep` it fills; referenced. NULL: the result stage of `job`, or a state stage */
  uint32_t dep;
  rl_rdd *state;    /* a state stage: the RDD whose version it makes (plan/stated.h), of which `rdd` is the input; referenced */
  rl_job *job;      /* result stage: its job. Map stage: NULL, it may serve several */
  uint64_t limit;   /* the job's, which may be gone while a cancelled task still runs; likewise */
  rl_job_kind kind;
  uint32_t ntasks, done;
  uint32_t waiting; /* parent stages not done yet */
  bool ended;
  bool sealing; /* a state stage: its version is being made, without the lock */
  atomic_bool cancelled;
  int64_t batch_time;
  uint64_t seed;
  struct rl_stage **parents; /* counted, until this stage has ended */
  size_t nparents, parents_cap;
  struct rl_stage **dependents; /* not counted: they take themselves off when they end */
  size_t ndependents, dependents_cap;
  rl_buf *updates; /* of the tasks that succeeded, by index; NULL while none had any */
} rl_stage;

typedef struct rl_attempt {
  struct rl_attempt *next;
  rl_stage *stage; /* counted */
  uint32_t index;  /* of the task in its stage */
  uint32_t partition;
  uint32_t attempt;
} rl_attempt;

typedef struct rl_thread {
  struct rl_thread *next;
  rl_context *c;
  uint32_t index;
  pthread_t thread;
  /* under the lock */
  rl_attempt *running;
  int64_t since_ns;
  int64_t interrupted_ns; /* when it was last told to stop; 0: not */
  _Atomic rl_status why; /* read by the signal handler, without the lock */
  bool abandoned; /* replaced, stuck in C: whatever it still says is ignored */
  bool ended;
  /* its own */
  void *local;
} rl_thread;

struct rl_job {
  rl_context *c;
  uint32_t refs;
  rl_job *next; /* running jobs */
  rl_rdd *rdd;
  rl_job_kind kind;
  uint64_t limit;
  int64_t batch_time;
  uint64_t spilled; /* by the context, when it began */
  char *what;
  uint32_t n;
  uint32_t *partitions;
  rl_chunks *chunks;
  uint64_t *counts;
  rl_message *message;
  rl_stage *result; /* counted while it runs */
  rl_error error;
  atomic_bool finished; /* results and error are there and immutable */
};

struct rl_context {
  _Atomic uint32_t refs;
  rl_conf *conf;
  rl_worker_hooks hooks;
  rl_driver *driver;
  uint32_t nworkers, parallelism, max_failures;
  int64_t max_task_ns;
  bool stopped; /* driver thread */
  rl_memory *memory;

  pthread_mutex_t lock;
  pthread_cond_t ready; /* tasks, or the end */
  rl_attempt *first, **last;
  rl_thread *threads;
  uint32_t idle;
  rl_job *jobs;
  uint64_t next_stage, next_mark;
  rl_buf updates; /* of stages that have ended, until they are taken */
  bool watching; /* the watchdog's timer is set */
  bool stopping;

  pthread_t sched;
  pthread_mutex_t timer_lock;
  pthread_cond_t timer_changed, timer_fired;
  rl_timer *timers; /* by due time */
  rl_timer *firing;
  bool sched_ends;
  int64_t early_ns; /* by which sched has itself woken; its own */
  rl_timer watchdog;
};

/* dag.c */
/* What an attempt left. */
typedef struct rl_outcome {
  rl_chunks out;    /* a result's chunks */
  rl_runs *runs;    /* of a map task of a range shuffle */
  rl_spool **spools; /* what a map task left for each of the rl_task_spools partitions; NULL: nothing */
  uint64_t count;
  struct rl_state_update *state; /* of a state stage */
  rl_buf updates;
  rl_error error; /* code RL_OK: it succeeded */
} rl_outcome;

/* Locked; takes over what it keeps of the outcome; frees a. */
void rl_dag_task_ended(rl_context *c, rl_attempt *a, rl_outcome *o);
void rl_dag_cancel_all(rl_context *c); /* locked */
void rl_stage_unref(rl_stage *s);      /* locked */

/* pool.c */
rl_status rl_pool_start(rl_context *c);
void rl_pool_stop(rl_context *c);
void rl_pool_add(rl_context *c, rl_attempt *a); /* locked */
void rl_pool_interrupt(rl_context *c, const rl_stage *s); /* locked: tasks of this stage are told to stop */

/* task.c */
/* Runs one attempt: fills the outcome, but for the error, which is the thread's current one. No lock held. */
uint32_t rl_task_spools(const rl_stage *s);
rl_status rl_task_run(rl_context *c, const rl_attempt *a, void *local, rl_outcome *o);

/* timers.c */
rl_status rl_timers_start(rl_context *c);
void rl_timers_stop(rl_context *c);

#endif
