/* Jobs and stages: the lineage cut at exchanges, stages run when what they read is there, tasks tried again, results handed back. Everything here under the context's lock
 * unless it says otherwise. */
#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "plan/stated.h"
#include "run/engine.h"

static void finish_stage(rl_context *c, rl_stage *s, rl_error *error);

/* Stages ------------------------------------------------------------------------------------------------------------------ */

/* The same for every run of the same operator in the same batch, whatever else the process did before. */
static uint64_t stage_seed(const rl_rdd *r, uint32_t dep, int64_t batch_time)
{
  const char *identity = r->op->uid ? r->op->uid : r->label;
  uint64_t h = rl_hash_bytes(identity, strlen(identity), dep);
  return rl_hash_u64((uint64_t)batch_time, h);
}

static rl_stage *new_stage(rl_context *c, rl_rdd *rdd, rl_rdd *target, uint32_t dep, int64_t batch_time)
{
  rl_stage *s = RL_NEW(rl_stage);
  s->refs = 1;
  s->id = c->next_stage++;
  s->rdd = rl_rdd_ref(rdd);
  s->target = target ? rl_rdd_ref(target) : NULL;
  s->dep = dep;
  s->batch_time = batch_time;
  s->seed = stage_seed(target ? target : rdd, dep, batch_time);
  atomic_init(&s->cancelled, false);
  return s;
}

void rl_stage_unref(rl_stage *s)
{
  if (--s->refs) return;
  rl_memory_hold_files(true); /* as in all that drops RDDs and spools here: the lock is held */
  rl_rdd_unref(s->rdd);
  rl_rdd_unref(s->target);
  rl_rdd_unref(s->state);
  rl_memory_hold_files(false);
  rl_free(s->parents);
  rl_free(s->dependents);
  rl_free(s);
}

static void depend(rl_stage *s, rl_stage *parent)
{
  if (!parent) return;
  s->parents = rl_grow(s->parents, &s->parents_cap, s->nparents + 1, sizeof *s->parents);
  s->parents[s->nparents++] = parent;
  parent->refs++;
  parent->dependents = rl_grow(parent->dependents, &parent->dependents_cap, parent->ndependents + 1, sizeof *parent->dependents);
  parent->dependents[parent->ndependents++] = s;
  s->waiting++;
}

/* Would a task find no records, and do nothing? What it would leave is what a stage has before its tasks have run. */
static bool needs_task(const rl_stage *s, uint32_t partition)
{
  return s->state || !rl_rdd_is_blank(s->rdd, partition, s->target ? s->target->op->map_fn : NULL);
}

static void start_stage(rl_context *c, rl_stage *s) /* NOLINT(misc-no-recursion) */
{
  for (uint32_t i = 0; i < s->ntasks; i++) {
    uint32_t partition = s->job && s->job->partitions ? s->job->partitions[i] : i;
    if (!needs_task(s, partition)) {
      s->done++;
      continue;
    }
    rl_attempt *a = RL_NEW(rl_attempt);
    a->stage = s;
    s->refs++;
    a->index = i;
    a->partition = partition;
    rl_pool_add(c, a);
  }
  if (s->done == s->ntasks) finish_stage(c, s, NULL);
}

/* Starts a stage that waits for nothing; NULL when it has ended already. */
static rl_stage *start_if_free(rl_context *c, rl_stage *s) /* NOLINT(misc-no-recursion) */
{
  if (s->waiting > 0) return s;
  s->refs++;
  start_stage(c, s);
  bool ended = s->ended;
  rl_stage_unref(s);
  return ended ? NULL : s;
}

static void find_parents(rl_context *c, rl_stage *s, rl_rdd *r, uint64_t mark);

/* The stage that fills an exchange: the one under way, or a new one with all that must come before it; NULL when it has
 * ended already. */
static rl_stage *map_stage(rl_context *c, rl_rdd *target, uint32_t dep, int64_t batch_time) /* NOLINT(misc-no-recursion) */
{
  rl_exchange *x = &target->exchanges[dep];
  if (x->stage) return x->stage;
  rl_stage *s = new_stage(c, target->parents[dep], target, dep, batch_time);
  s->ntasks = x->maps;
  x->stage = s; /* holds the first reference until the stage has ended */
  find_parents(c, s, s->rdd, ++c->next_mark);
  return start_if_free(c, s);
}

/* The stage that makes a version of state, likewise. */
static rl_stage *state_stage(rl_context *c, rl_rdd *r, int64_t batch_time) /* NOLINT(misc-no-recursion) */
{
  if (r->stated->stage) return r->stated->stage;
  rl_stage *s = new_stage(c, r->parents[0], NULL, 0, batch_time);
  s->state = rl_rdd_ref(r);
  s->ntasks = r->partitions;
  r->stated->stage = s; /* holds the first reference until the stage has ended */
  find_parents(c, s, s->rdd, ++c->next_mark);
  return start_if_free(c, s);
}

/* Makes `s` wait for every exchange and every version of state it reads that is not there. What is cached is not looked
 * behind; should a partition be dropped before its task runs, the task computes it anew from exchanges and versions,
 * which were there when it was first computed and stay so for as long as their RDD lives. Depth is bounded by
 * RL_LINEAGE_MAX_DEPTH. */
static void find_parents(rl_context *c, rl_stage *s, rl_rdd *r, uint64_t mark) /* NOLINT(misc-no-recursion) */
{
  if (r->mark == mark) return;
  r->mark = mark;
  if (r->stated) {
    if (!atomic_load_explicit(&r->stated->done, memory_order_acquire)) depend(s, state_stage(c, r, s->batch_time));
    return;
  }
  if (rl_rdd_is_cached(r)) return;
  for (uint32_t i = 0; i < r->nparents; i++) {
    rl_exchange *x = r->op->kind == RL_OP_SHUFFLE ? &r->exchanges[i] : NULL;
    if (!x || x->narrow) find_parents(c, s, r->parents[i], mark);
    else if (!atomic_load_explicit(&x->done, memory_order_acquire)) depend(s, map_stage(c, r, i, s->batch_time));
  }
}

/* Jobs ---------------------------------------------------------------------------------------------------------------------- */

static void job_unref(rl_job *j)
{
  if (--j->refs) return;
  rl_memory_hold_files(true);
  rl_rdd_unref(j->rdd);
  rl_memory_hold_files(false);
  for (uint32_t i = 0; i < j->n; i++) rl_chunks_clear(&j->chunks[i]);
  rl_free(j->chunks);
  rl_free(j->counts);
  rl_free(j->partitions);
  rl_free(j->what);
  rl_error_clear(&j->error);
  rl_free(j);
}

static uint64_t spilled_total(rl_context *c)
{
  rl_memory_stats stats;
  rl_memory_stats_read(c->memory, &stats);
  return stats.spilled_total;
}

/* The last thing that touches the job for the scheduler. */
static void finish_job(rl_context *c, rl_job *j, rl_error *error)
{
  if (error) {
    j->error = *error;
    *error = RL_ERROR_NONE;
  }
  uint64_t spilled = spilled_total(c) - j->spilled;
  if (spilled > 0) rl_info("%s: %.1f MB were spilled to disk while it ran", j->what, (double)spilled / 1e6);
  rl_job **at = &c->jobs;
  while (*at != j) at = &(*at)->next;
  *at = j->next;
  j->result = NULL;
  atomic_store_explicit(&j->finished, true, memory_order_release);
  if (j->message) rl_driver_post(c->driver, j->message);
  else rl_driver_wake(c->driver);
  job_unref(j);
}

static void leave_parents(rl_context *c, rl_stage *s) /* NOLINT(misc-no-recursion) */
{
  for (size_t i = 0; i < s->nparents; i++) {
    rl_stage *parent = s->parents[i];
    size_t k = 0;
    for (size_t d = 0; d < parent->ndependents; d++)
      if (parent->dependents[d] != s) parent->dependents[k++] = parent->dependents[d];
    parent->ndependents = k;
    if (!parent->ended && !parent->sealing && k == 0) { /* nobody wants it any more */
      rl_error error;
      rl_fail(RL_ECANCELLED, "cancelled");
      rl_error_take(&error);
      finish_stage(c, parent, &error);
      rl_error_clear(&error);
    }
    rl_stage_unref(parent);
  }
  s->nparents = 0;
}

static void end_exchange(rl_stage *s, bool ok)
{
  rl_exchange *x = &s->target->exchanges[s->dep];
  x->stage = NULL;
  if (!ok) {
    rl_memory_hold_files(true);
    rl_exchange_clear(s->target, x);
    rl_memory_hold_files(false);
    return;
  }
  if (s->target->op->part == RL_PART_RANGE)
    x->bounds = rl_runs_bounds(x->runs, x->maps, s->target->op->descending, s->target->partitions);
  atomic_store_explicit(&x->done, true, memory_order_release);
}

static void end_state(rl_stage *s, bool ok)
{
  s->state->stated->stage = NULL;
  rl_memory_hold_files(true);
  if (!ok) rl_stated_clear(s->state);
  rl_memory_hold_files(false);
}

/* In the order of the tasks, whichever ended first. */
static void hand_over_updates(rl_context *c, rl_stage *s)
{
  if (!s->updates) return;
  for (uint32_t i = 0; i < s->ntasks; i++) {
    if (s->updates[i].n > 0) rl_buf_add(&c->updates, s->updates[i].p, s->updates[i].n);
    rl_buf_free(&s->updates[i]);
  }
  rl_free(s->updates);
  s->updates = NULL;
}

/* Ends a stage, well (error NULL) or not; what waits for it goes on or fails with the same error. Depth: stages above one another, bounded by the lineage's. */
static void finish_stage(rl_context *c, rl_stage *s, rl_error *error) /* NOLINT(misc-no-recursion) */
{
  s->ended = true;
  if (error) {
    atomic_store(&s->cancelled, true);
    rl_pool_interrupt(c, s);
  }
  if (s->target) end_exchange(s, !error);
  if (s->state) end_state(s, !error);
  hand_over_updates(c, s);
  leave_parents(c, s);
  rl_stage **dependents = s->dependents;
  size_t n = s->ndependents;
  s->dependents = NULL;
  s->ndependents = s->dependents_cap = 0;
  for (size_t i = 0; i < n; i++) dependents[i]->refs++; /* the end of one may be that of another, which it waited for */
  for (size_t i = 0; i < n; i++) {
    rl_stage *d = dependents[i];
    if (!d->ended && !error) {
      if (--d->waiting == 0) start_stage(c, d);
    } else if (!d->ended) {
      rl_error copy = RL_ERROR_NONE;
      rl_error_copy(&copy, error);
      finish_stage(c, d, &copy);
      rl_error_clear(&copy);
    }
    rl_stage_unref(d);
  }
  rl_free(dependents);
  if (s->job) finish_job(c, s->job, error);
  rl_stage_unref(s);
}

static void keep_updates(rl_stage *s, uint32_t index, rl_buf *updates)
{
  if (updates->n == 0) return;
  if (!s->updates) s->updates = rl_calloc(s->ntasks, sizeof *s->updates);
  s->updates[index] = *updates;
  *updates = (rl_buf){0};
}

static void keep_output(rl_stage *s, uint32_t index, rl_outcome *o)
{
  keep_updates(s, index, &o->updates);
  if (s->state) {
    s->state->stated->out[index] = o->spools[0];
    s->state->stated->updates[index] = o->state;
    o->spools[0] = NULL;
    o->state = NULL;
    return;
  }
  if (s->job) {
    s->job->chunks[index] = o->out;
    s->job->counts[index] = o->count;
    o->out = (rl_chunks){0};
    return;
  }
  rl_exchange *x = &s->target->exchanges[s->dep];
  uint32_t n = rl_task_spools(s);
  if (n == 0) {
    x->runs[index] = o->runs;
    o->runs = NULL;
    return;
  }
  memcpy(x->out + (size_t)index * n, o->spools, n * sizeof(rl_spool *));
  memset(o->spools, 0, n * sizeof(rl_spool *));
}

static bool try_again(rl_context *c, rl_attempt *a, const rl_error *error)
{
  if (!error->retriable || a->attempt + 1 >= c->max_failures || c->stopping) return false;
  rl_info("%s, partition %" PRIu32 ", attempt %" PRIu32 " of %" PRIu32 " failed: %s", a->stage->rdd->label, a->partition, a->attempt + 1, c->max_failures,
          error->message);
  a->attempt++;
  rl_pool_add(c, a);
  return true;
}

/* All tasks of a state stage have succeeded: their updates become a version, which may take a while, without the lock.
 * The stage is not ended by others meanwhile, so nobody begins another for the same version; when all that wait for it are
 * cancelled, it makes its version all the same. */
static void seal_stage(rl_context *c, rl_stage *s)
{
  rl_rdd *r = s->state;
  s->sealing = true;
  pthread_mutex_unlock(&c->lock);
  rl_error error = RL_ERROR_NONE;
  if (rl_stated_seal(r) != RL_OK) {
    rl_error_prefix("%s: ", r->label);
    rl_error_take(&error);
  }
  pthread_mutex_lock(&c->lock);
  s->sealing = false;
  finish_stage(c, s, error.code ? &error : NULL);
  rl_error_clear(&error);
}

void rl_dag_task_ended(rl_context *c, rl_attempt *a, rl_outcome *o)
{
  rl_stage *s = a->stage;
  if (!s->ended) {
    if (o->error.code == RL_OK) {
      keep_output(s, a->index, o);
      if (++s->done == s->ntasks && s->state) seal_stage(c, s);
      else if (s->done == s->ntasks) finish_stage(c, s, NULL);
    } else {
      if (try_again(c, a, &o->error)) return;
      finish_stage(c, s, &o->error);
    }
  }
  rl_stage_unref(s);
  rl_free(a);
}

/* Public: take the lock ------------------------------------------------------------------------------------------------------------ */

static rl_job *new_job(rl_context *c, const rl_job_spec *spec, rl_message *done)
{
  rl_job *j = RL_NEW(rl_job);
  j->c = c;
  j->refs = 2; /* the submitter's and the scheduler's */
  j->rdd = rl_rdd_ref(spec->rdd);
  j->kind = spec->kind;
  j->limit = spec->limit;
  j->batch_time = spec->batch_time;
  j->what = rl_strdup(spec->what ? spec->what : "job");
  j->n = spec->partitions ? spec->n : rl_rdd_partitions(spec->rdd);
  if (spec->partitions) {
    j->partitions = rl_calloc(j->n ? j->n : 1, sizeof *j->partitions);
    if (j->n) memcpy(j->partitions, spec->partitions, j->n * sizeof *j->partitions);
  }
  j->chunks = rl_calloc(j->n ? j->n : 1, sizeof *j->chunks);
  j->counts = rl_calloc(j->n ? j->n : 1, sizeof *j->counts);
  j->message = done;
  j->spilled = spilled_total(c);
  atomic_init(&j->finished, false);
  return j;
}

static void start_job(rl_context *c, rl_job *j)
{
  j->next = c->jobs;
  c->jobs = j;
  if (j->n == 0 && j->kind != RL_JOB_STATE) {
    finish_job(c, j, NULL);
    return;
  }
  rl_stage *s = new_stage(c, j->rdd, NULL, 0, j->batch_time);
  s->job = j;
  s->limit = j->limit;
  s->kind = j->kind;
  s->ntasks = j->kind == RL_JOB_STATE ? 0 : j->n;
  j->result = s;
  find_parents(c, s, j->rdd, ++c->next_mark);
  if (s->waiting == 0) start_stage(c, s);
}

rl_status rl_job_submit(rl_context *c, const rl_job_spec *spec, rl_message *done, rl_job **out)
{
  for (uint32_t i = 0; spec->partitions && i < spec->n; i++)
    if (spec->partitions[i] >= rl_rdd_partitions(spec->rdd))
      return rl_fail(RL_EINVAL, "%s: there is no partition %" PRIu32 "; the RDD has %" PRIu32, spec->what, spec->partitions[i], rl_rdd_partitions(spec->rdd));
  pthread_mutex_lock(&c->lock);
  if (c->stopping) {
    pthread_mutex_unlock(&c->lock);
    return rl_fail(RL_ESTATE, "%s: the context was stopped", spec->what ? spec->what : "job");
  }
  *out = new_job(c, spec, done);
  start_job(c, *out);
  pthread_mutex_unlock(&c->lock);
  return RL_OK;
}

static void cancel(rl_context *c, rl_job *j)
{
  rl_error error;
  rl_fail(RL_ECANCELLED, "%s was cancelled", j->what);
  rl_error_take(&error);
  if (j->result) finish_stage(c, j->result, &error);
  rl_error_clear(&error);
}

void rl_job_cancel(rl_job *j)
{
  rl_context *c = j->c;
  pthread_mutex_lock(&c->lock);
  if (!atomic_load(&j->finished)) cancel(c, j);
  pthread_mutex_unlock(&c->lock);
}

void rl_dag_cancel_all(rl_context *c)
{
  while (c->jobs) cancel(c, c->jobs);
}

void rl_context_cancel_jobs(rl_context *c)
{
  pthread_mutex_lock(&c->lock);
  rl_dag_cancel_all(c);
  pthread_mutex_unlock(&c->lock);
}

void rl_context_take_updates(rl_context *c, rl_buf *out)
{
  pthread_mutex_lock(&c->lock);
  if (c->updates.n > 0) rl_buf_add(out, c->updates.p, c->updates.n);
  rl_buf_free(&c->updates);
  pthread_mutex_unlock(&c->lock);
}

bool rl_job_finished(const rl_job *j) { return atomic_load_explicit(&((rl_job *)j)->finished, memory_order_acquire); }

static bool job_done(void *arg) { return rl_job_finished(arg); }

rl_status rl_job_wait(rl_job *j)
{
  rl_driver_serve(j->c->driver, job_done, j, -1);
  return rl_job_status(j);
}

rl_status rl_job_status(const rl_job *j)
{
  if (j->error.code == RL_OK) return RL_OK;
  rl_error copy = RL_ERROR_NONE;
  rl_error_copy(&copy, &j->error);
  return rl_error_raise(&copy);
}

const rl_chunks *rl_job_chunks(const rl_job *j, uint32_t i) { return &j->chunks[i]; }
uint64_t rl_job_count(const rl_job *j, uint32_t i) { return j->counts[i]; }
uint32_t rl_job_partitions(const rl_job *j) { return j->n; }

void rl_job_unref(rl_job *j)
{
  if (!j) return;
  rl_context *c = j->c;
  pthread_mutex_lock(&c->lock);
  job_unref(j);
  pthread_mutex_unlock(&c->lock);
  rl_memory_sweep(c->memory);
}
