/* The workers: threads that take ready tasks, and the watchdog that looks after them. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/engine.h"
#include "store/kept_block.h"
#include "store/state.h"

#define GRACE_NS INT64_C(1000000000) /* from the interrupt to being taken for stuck in C */

static void add_thread(rl_context *c, uint32_t index);

void rl_pool_add(rl_context *c, rl_attempt *a)
{
  a->next = NULL;
  *c->last = a;
  c->last = &a->next;
  if (c->idle) pthread_cond_signal(&c->ready);
}

static rl_attempt *take(rl_context *c)
{
  rl_attempt *a = c->first;
  c->first = a->next;
  if (!c->first) c->last = &c->first;
  return a;
}


/* In the signal handler, on the worker. `why` was written before the signal was sent. */
static void interrupted(void *arg)
{
  rl_thread *t = arg;
  if (t->c->hooks.interrupt) t->c->hooks.interrupt(t->c->hooks.user, t->local, t->why);
}

/* The watchdog sleeps while nothing runs. */
static void arm_watchdog(rl_context *c)
{
  if (c->watching || c->stopping) return;
  c->watching = true;
  int64_t period = INT64_C(250000000);
  if (c->max_task_ns > 0 && c->max_task_ns / 4 < period) period = c->max_task_ns / 4;
  if (period < 5000000) period = 5000000;
  rl_timer_set(c, &c->watchdog, rl_mono_ns() + period);
}

/* Runs one attempt without the lock, then reports under it. False when this thread was given up meanwhile. */
static bool work(rl_context *c, rl_thread *t, rl_attempt *a)
{
  t->running = a;
  t->since_ns = rl_mono_ns();
  t->interrupted_ns = 0;
  bool run = !atomic_load(&a->stage->cancelled);
  uint32_t n = rl_task_spools(a->stage);
  arm_watchdog(c);
  pthread_mutex_unlock(&c->lock);

  rl_outcome o = {.spools = rl_calloc(n, sizeof(rl_spool *))};
  rl_status st = run ? rl_task_run(c, a, t->local, &o) : rl_fail(RL_ECANCELLED, "cancelled");
  if (st) rl_error_take(&o.error);

  pthread_mutex_lock(&c->lock);
  bool mine = !t->abandoned;
  t->running = NULL;
  if (mine) {
    rl_dag_task_ended(c, a, &o);
  } else {
    rl_outcome_drop_state(&o);
    rl_stage_unref(a->stage);
    rl_free(a);
  }
  pthread_mutex_unlock(&c->lock);
  rl_blocks_make_room(c->memory); /* for what receivers brought meanwhile */
  for (uint32_t i = 0; i < n; i++) rl_spool_unref(o.spools[i]); /* what nobody took over; files may go with it */
  rl_free(o.spools);
  rl_chunks_clear(&o.out);
  rl_outcome_drop_state(&o);
  rl_buf_free(&o.updates);
  rl_error_clear(&o.error);
  pthread_mutex_lock(&c->lock);
  return mine;
}

static void *thread_main(void *arg)
{
  rl_thread *t = arg;
  rl_context *c = t->c;
  rl_thread_signals();
  if (c->hooks.start) t->local = c->hooks.start(c->hooks.user, t->index);
  rl_interrupt_register(interrupted, t);
  pthread_mutex_lock(&c->lock);
  bool mine = true;
  while (mine) {
    while (!c->first && !c->stopping) {
      c->idle++;
      pthread_cond_wait(&c->ready, &c->lock);
      c->idle--;
    }
    if (!c->first) break;
    mine = work(c, t, take(c));
  }
  pthread_mutex_unlock(&c->lock);
  rl_interrupt_register(NULL, NULL);
  if (c->hooks.stop) c->hooks.stop(c->hooks.user, t->local);
  pthread_mutex_lock(&c->lock);
  t->ended = true;
  pthread_cond_broadcast(&c->ready);
  pthread_mutex_unlock(&c->lock);
  if (!mine) rl_context_unref(c); /* the reference it was abandoned with */
  return NULL;
}

static void add_thread(rl_context *c, uint32_t index)
{
  rl_thread *t = RL_NEW(rl_thread);
  t->c = c;
  t->index = index;
  int err = pthread_create(&t->thread, NULL, thread_main, t);
  if (err) {
    rl_err("cannot start worker %" PRIu32 ": %s", index, strerror(err));
    rl_free(t);
    return;
  }
  t->next = c->threads;
  c->threads = t;
}

/* Sends the interrupt to a worker. Locked. */
static void interrupt(rl_thread *t, rl_status why, int64_t now)
{
  if (t->interrupted_ns || t->abandoned || t->ended) return;
  t->why = why;
  t->interrupted_ns = now;
  pthread_kill(t->thread, rl_interrupt_signal());
}

void rl_pool_interrupt(rl_context *c, const rl_stage *s)
{
  for (rl_thread *t = c->threads; t; t = t->next)
    if (t->running && t->running->stage == s) interrupt(t, RL_ECANCELLED, rl_mono_ns());
}

/* A worker that did not answer the interrupt: its task fails for good, another thread takes its place. Locked. */
static void abandon(rl_context *c, rl_thread *t)
{
  rl_attempt *a = t->running;
  double seconds = (double)(rl_mono_ns() - t->since_ns) / 1e9;
  t->abandoned = true;
  atomic_fetch_add(&c->refs, 1);
  pthread_detach(t->thread);
  rl_warn("worker %" PRIu32 " does not come back from C code after %.1f s (%s, partition %" PRIu32 "); it is left behind and replaced", t->index, seconds,
          a->stage->rdd->label, a->partition);
  rl_outcome o = {0};
  rl_fail(RL_ETIMEOUT,
          "%s, partition %" PRIu32 ": stuck for %.1f s in a C function that cannot be interrupted (a pattern that backtracks without end?); the task is not tried again",
          a->stage->rdd->label, a->partition, seconds);
  rl_error_take(&o.error);
  rl_attempt *report = RL_NEW(rl_attempt);
  *report = *a;
  report->stage->refs++;
  rl_dag_task_ended(c, report, &o);
  rl_error_clear(&o.error);
  add_thread(c, t->index);
}

static void watch(rl_timer *timer)
{
  rl_context *c = (rl_context *)((char *)timer - offsetof(rl_context, watchdog));
  pthread_mutex_lock(&c->lock);
  int64_t now = rl_mono_ns();
  bool busy = false;
  c->watching = false;
  for (rl_thread *t = c->threads; t; t = t->next) {
    if (!t->running || t->abandoned) continue;
    busy = true;
    if (!t->interrupted_ns && c->max_task_ns > 0 && now - t->since_ns > c->max_task_ns) interrupt(t, RL_ETIMEOUT, now);
    else if (t->interrupted_ns && now - t->interrupted_ns > GRACE_NS) abandon(c, t);
    else if (t->interrupted_ns) pthread_kill(t->thread, rl_interrupt_signal()); /* the first may have come before its task began */
  }
  if (busy) arm_watchdog(c);
  pthread_mutex_unlock(&c->lock);
}

rl_status rl_pool_start(rl_context *c)
{
  c->last = &c->first;
  c->watchdog.fire = watch;
  pthread_mutex_lock(&c->lock);
  for (uint32_t i = 0; i < c->nworkers; i++) add_thread(c, i);
  bool any = c->threads != NULL;
  pthread_mutex_unlock(&c->lock);
  return any ? RL_OK : rl_fail(RL_ENOMEM, "no worker thread could be started");
}

static bool all_ended(const rl_context *c)
{
  for (const rl_thread *t = c->threads; t; t = t->next)
    if (!t->ended && !t->abandoned) return false;
  return true;
}

/* Waits up to `ns` for the workers to end. Locked. */
static bool wait_ended(rl_context *c, int64_t ns)
{
  int64_t deadline = rl_mono_ns() + ns;
  struct timespec ts = {.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};
  while (!all_ended(c))
    if (pthread_cond_clockwait(&c->ready, &c->lock, CLOCK_MONOTONIC, &ts) == ETIMEDOUT) return all_ended(c);
  return true;
}

void rl_pool_stop(rl_context *c)
{
  pthread_mutex_lock(&c->lock);
  c->stopping = true;
  rl_dag_cancel_all(c);
  pthread_cond_broadcast(&c->ready);
  if (!wait_ended(c, 2 * GRACE_NS))
    for (rl_thread *t = c->threads; t; t = t->next)
      if (!t->ended && !t->abandoned) {
        rl_warn("worker %" PRIu32 " does not end; it is left behind", t->index);
        t->abandoned = true;
        atomic_fetch_add(&c->refs, 1);
        pthread_detach(t->thread);
      }
  rl_thread **at = &c->threads;
  while (*at) {
    rl_thread *t = *at;
    if (t->abandoned) { /* it may still come back and look at this */
      at = &t->next;
      continue;
    }
    *at = t->next;
    pthread_mutex_unlock(&c->lock);
    pthread_join(t->thread, NULL);
    rl_free(t);
    pthread_mutex_lock(&c->lock);
  }
  pthread_mutex_unlock(&c->lock);
}
