#include "run/streaming.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/signals.h"
#include "run/stream.h"
#include "store/state.h"

/* Driver threads of several contexts may exist in one process, but only one context may be active. */
static _Atomic(rl_streaming *) active;

/* Making and freeing ----------------------------------------------------------------------------------------------- */

rl_status rl_streaming_new(rl_context *c, int64_t batch_ms, rl_streaming **out)
{
  if (batch_ms <= 0)
    return rl_fail(RL_EINVAL, "the batch duration must be greater than 0, not %" PRId64 " ms", batch_ms);
  if (rl_context_is_stopped(c)) return rl_fail(RL_ESTATE, "the context was stopped");
  rl_streaming *s = RL_NEW(rl_streaming);
  s->refs = 1;
  s->c = rl_context_ref(c);
  const char *clock = rl_conf_text(rl_context_conf(c), "rille.streaming.clock");
  s->clock = clock[0] == 'm' ? rl_clock_new_manual(0) : rl_clock_new_system();
  s->batch_ms = batch_ms;
  s->zero = s->latest = RL_NO_TIME;
  s->stuck = s->deadline_ns = INT64_MAX;
  atomic_init(&s->state, RL_INITIALIZED);
  s->last_output = &s->outputs;
  s->last_batch = &s->queue;
  s->last_ticked = &s->ticked;
  s->concurrent = (uint32_t)rl_conf_int(rl_context_conf(c), "rille.streaming.concurrentJobs");
  s->tick_message.run = rl_batch_on_message;
  rl_ticks_init(s);
  pthread_mutex_init(&s->lock, NULL);
  rl_events_init(s);
  s->tracker = rl_tracker_new(s);
  *out = s;
  return RL_OK;
}

rl_streaming *rl_streaming_ref(rl_streaming *s)
{
  s->refs++;
  return s;
}

static void destroy(rl_streaming *s)
{
  rl_driver_cancel(rl_context_driver(s->c), &s->tick_message);
  rl_batch_drop_queued(s);
  rl_stateful_stop(s);
  rl_graph_delete(s);
  rl_starters_delete(s);
  rl_tracker_delete(s->tracker);
  rl_events_delete(s);
  rl_clock_delete(s->clock);
  rl_error_clear(&s->error);
  if (s->keeper.destroy) s->keeper.destroy(s->keeper.user);
  rl_free(s->checkpoint);
  rl_free(s->gaps);
  pthread_mutex_destroy(&s->lock);
  rl_context_unref(s->c);
  rl_free(s);
}

void rl_streaming_unref(rl_streaming *s)
{
  if (!s) return;
  if (s->refs == 1 && rl_streaming_state(s) == RL_ACTIVE && !s->stopping) rl_streaming_stop_now(s, false);
  if (--s->refs == 0) destroy(s);
}

rl_context *rl_streaming_context(rl_streaming *s) { return s->c; }
rl_clock *rl_streaming_clock(rl_streaming *s) { return s->clock; }
int64_t rl_streaming_batch_ms(const rl_streaming *s) { return s->batch_ms; }
int64_t rl_streaming_zero_time(const rl_streaming *s) { return s->zero; }
rl_life rl_streaming_state(const rl_streaming *s) { return (rl_life)atomic_load(&((rl_streaming *)s)->state); }
rl_tracker *rl_streaming_tracker(rl_streaming *s) { return s->tracker; }
rl_streaming *rl_streaming_active(void) { return atomic_load(&active); }

rl_status rl_streaming_remember(rl_streaming *s, int64_t ms)
{
  if (rl_streaming_state(s) != RL_INITIALIZED) return rl_fail(RL_ESTATE, "remember: the context was started already");
  if (s->remember)
    return rl_fail(RL_EINVAL, "remember was set before, to %" PRId64 " ms; it can be set once", s->remember);
  if (ms <= 0) return rl_fail(RL_EINVAL, "remember: the duration must be greater than 0");
  s->remember = ms;
  return RL_OK;
}

rl_status rl_streaming_checkpoint(rl_streaming *s, const char *dir)
{
  if (rl_streaming_state(s) != RL_INITIALIZED) return rl_fail(RL_ESTATE, "checkpoint: the context was started already");
  if (dir && !*dir) return rl_fail(RL_EINVAL, "checkpoint: the directory's name is empty");
  if (dir && strstr(dir, "://")) return rl_fail(RL_EINVAL, "checkpoint: '%s' is no directory of this machine", dir);
  rl_free(s->checkpoint);
  s->checkpoint = rl_strdup(dir);
  return RL_OK;
}

const char *rl_streaming_checkpoint_dir(const rl_streaming *s) { return s->checkpoint; }

void rl_streaming_keep(rl_streaming *s, const rl_keeper *keeper) { s->keeper = *keeper; }

/* What came first is what is raised: the rest may come of it. */
static void keep_error(rl_streaming *s, rl_error *e)
{
  if (s->has_error) {
    rl_error_clear(e);
    return;
  }
  rl_error_clear(&s->error);
  s->error = *e;
  s->has_error = true;
}

void rl_streaming_report(rl_streaming *s, rl_status status)
{
  (void)status;
  rl_error e;
  rl_error_take(&e);
  /* What an immediate stop cut off; the log ends before tasks do. */
  if (s->stopping && (e.code == RL_ECANCELLED || e.code == RL_ECLOSED)) {
    rl_error_clear(&e);
    return;
  }
  rl_err("%s", e.message); /* its traceback comes with await */
  keep_error(s, &e);
}

void rl_streaming_note(rl_streaming *s)
{
  rl_error e;
  rl_error_take(&e);
  keep_error(s, &e);
}

void rl_streaming_pass_over(rl_streaming *s)
{
  rl_error e;
  rl_error_take(&e);
  rl_err("%s", e.message);
  char *rest = e.trace;
  for (char *line; (line = strsep(&rest, "\n"));)
    if (*line) rl_err("%s", line);
  rl_free(e.trace);
  e.trace = NULL;
  if (s->has_error) { /* that one is to be raised */
    rl_error_clear(&e);
    return;
  }
  rl_error_clear(&s->error);
  s->error = e;
}

/* Start ------------------------------------------------------------------------------------------------------------ */

static rl_status check_start(rl_streaming *s)
{
  if (rl_streaming_state(s) == RL_STOPPED)
    return rl_fail(RL_ESTATE, "the streaming context was stopped; it cannot be started again, make a new one");
  if (!s->outputs) {
    atomic_store(&s->state, RL_STOPPED); /* a start that fails in itself is the end (section 2.3 of the reference) */
    return rl_fail(RL_EINVAL,
                   "no output operation was registered, so there is nothing to do; add print, foreachRDD or a save");
  }
  if (rl_context_is_stopped(s->c)) return rl_fail(RL_ESTATE, "the context was stopped");
  rl_streaming *none = NULL;
  if (!atomic_compare_exchange_strong(&active, &none, s))
    return rl_fail(RL_ESTATE, "another streaming context of this process is active; stop it first");
  return RL_OK;
}

static bool is_reliable(const rl_streaming *s)
{
  return s->checkpoint && rl_conf_bool(rl_context_conf(s->c), "rille.reliable");
}

static rl_status check_receiver_log(const rl_streaming *s)
{
  const char *enable = "rille.streaming.receiver.writeAheadLog.enable";
  if (!rl_conf_bool(rl_context_conf(s->c), enable) || is_reliable(s)) return RL_OK;
  return rl_fail(RL_EINVAL, "%s needs a checkpoint directory; set one with StreamingContext:checkpoint", enable);
}

static rl_status start_all(rl_streaming *s)
{
  rl_status st = check_receiver_log(s);
  rl_graph_reach(s);
  if (!st && is_reliable(s)) st = rl_durable_open(s);
  if (!st) st = rl_stateful_start(s);
  if (!st && s->durable) st = rl_durable_restore(s);
  if (!st) st = rl_starters_run(s);
  if (!st) st = rl_graph_start_inputs(s);
  return st ? st : rl_tracker_start(s->tracker);
}

/* The time of the first batch. A job that is started again keeps its grid (section 1 of the reference). A manual clock
 * goes on from the last batch. */
static int64_t first_tick(rl_streaming *s)
{
  if (s->latest != RL_NO_TIME && rl_clock_is_manual(s->clock)) {
    int64_t jump = rl_conf_us(rl_context_conf(s->c), "rille.streaming.manualClock.jump") / 1000;
    if (rl_clock_now(s->clock) < s->latest + jump) rl_clock_set(s->clock, s->latest + jump);
  }
  int64_t now = rl_clock_now(s->clock), first = ((now - s->zero) / s->batch_ms + 1) * s->batch_ms + s->zero;
  int64_t last = s->latest == RL_NO_TIME ? s->zero : s->latest; /* at the zero time and before there is no batch */
  if (first > last) return first;
  rl_warn("the clock went back: it is %" PRId64 " ms, and %s %" PRId64 " ms; the next batch comes after it, in %" PRId64
          " s", now, s->latest == RL_NO_TIME ? "the job's zero time is" : "the last batch was that of", last,
          (last + s->batch_ms - now) / 1000);
  return last + s->batch_ms;
}

void rl_streaming_take_down(rl_streaming *s)
{
  rl_graph_stop_inputs(s);
  rl_durable_close(s);
  /* Before pins go: the image is not to pass what windows still look at. */
  if (is_reliable(s) && s->store) rl_state_shut(s->store);
  rl_graph_release(s);
  rl_stateful_stop(s);
  atomic_store(&active, NULL);
  atomic_store(&s->state, RL_STOPPED);
}

rl_status rl_streaming_start(rl_streaming *s)
{
  if (rl_streaming_state(s) == RL_ACTIVE) {
    rl_warn("start: the streaming context is active already");
    return RL_OK;
  }
  rl_status st = check_start(s);
  if (st) return st;
  s->zero = rl_clock_now(s->clock) / s->batch_ms * s->batch_ms;
  rl_signals_reset(); /* one that comes while the start waits for the disk is obeyed when it is through */
  st = start_all(s);
  if (st) {
    rl_error e;
    rl_error_take(&e);
    rl_tracker_stop(s->tracker);
    rl_streaming_take_down(s);
    return rl_error_raise(&e);
  }
  atomic_store(&s->state, RL_ACTIVE);
  int64_t first = first_tick(s);
  if (s->durable) rl_durable_catch_up(s, first);
  rl_events_post(s, &(rl_event){.kind = RL_EVENT_STREAMING_STARTED, .time = rl_clock_now(s->clock)});
  rl_ticks_begin(s, first);
  rl_service_start(&s->service, s->c, s->batch_ms);
  return RL_OK;
}
