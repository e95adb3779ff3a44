/* How a streaming context ends, and the waits of the driver in which that happens. */
#include "base/clock.h"
#include "base/log.h"
#include "run/signals.h"
#include "run/stream.h"

#define SECOND_NS INT64_C(1000000000)

/* Stop ------------------------------------------------------------------------------------------------------------- */

/* No batch is worked off any more. */
static bool given_up(const rl_streaming *s) { return rl_streaming_signals() > 1 || s->failed; }

static bool nothing_unallocated(void *arg)
{
  rl_streaming *s = arg;
  return given_up(s) || !rl_tracker_has_unallocated(s->tracker);
}

static bool idle(void *arg)
{
  rl_streaming *s = arg;
  return rl_batch_idle(s) && rl_events_empty(s);
}

static bool idle_or_hurried(void *arg) { return rl_streaming_signals() > 1 || idle(arg); }

static bool worked_off(void *arg) { return given_up(arg) || idle(arg); }

static int64_t left(int64_t deadline_ns)
{
  int64_t ns = deadline_ns - rl_mono_ns();
  return ns > 0 ? ns : 0;
}

/* Ten batches, which may be decades, and centuries do not fit. */
static int64_t graceful_limit_ns(const rl_streaming *s)
{
  const int64_t longest_ms = INT64_MAX / 4 / 1000000;
  if (rl_conf_is_set(rl_context_conf(s->c), "rille.streaming.gracefulStopTimeout"))
    return rl_conf_us(rl_context_conf(s->c), "rille.streaming.gracefulStopTimeout") * 1000;
  int64_t ns = (s->batch_ms < longest_ms / 10 ? 10 * s->batch_ms : longest_ms) * 1000000;
  return ns > 10 * SECOND_NS ? ns : 10 * SECOND_NS;
}

static bool is_graceful(const rl_streaming *s)
{
  return rl_conf_bool(rl_context_conf(s->c), "rille.streaming.stopGracefullyOnShutdown");
}

/* The limit counts from the signal or the call: the driver may be in a callback then, and stops when that has ended. */
static int64_t deadline_of(const rl_streaming *s)
{
  if (rl_streaming_signals() == 0 || !is_graceful(s)) return s->deadline_ns;
  int64_t of_signal = rl_signals_first_ns() + graceful_limit_ns(s);
  return of_signal < s->deadline_ns ? of_signal : s->deadline_ns;
}

bool rl_streaming_is_overdue(const rl_streaming *s)
{
  int64_t deadline = deadline_of(s);
  return deadline != INT64_MAX && rl_mono_ns() >= deadline;
}

static void set_deadline(rl_streaming *s)
{
  if (s->deadline_ns == INT64_MAX) s->deadline_ns = rl_mono_ns() + graceful_limit_ns(s);
}

static bool ticks_over(void *arg) { return rl_ticks_are_over(arg) || given_up(arg); }

/* The pending tick and one more come (section 1 of the reference: a timer that is stopped without interrupt): so what
 * came last into a queue or a directory has its batch, too. On the manual clock no time passes any more. */
static void end_ticks(rl_streaming *s, int64_t deadline_ns)
{
  if (rl_clock_is_manual(s->clock)) return;
  rl_ticks_end(s);
  rl_driver_serve(rl_context_driver(s->c), ticks_over, s, left(deadline_ns));
}

static const char *where_it_is(const rl_streaming *s)
{
  if (!s->durable) return "lost";
  return rl_durable_is_paused(s) ? "in the log as far as that could be written, for the next start"
                                 : "in the log, for the next start";
}

/* What was received is allocated by a tick still to come and worked off. */
static void work_off(rl_streaming *s)
{
  rl_driver *d = rl_context_driver(s->c);
  set_deadline(s);
  int64_t deadline = deadline_of(s);
  s->working_off = true;
  if (rl_clock_is_manual(s->clock) && rl_tracker_has_unallocated(s->tracker)) rl_ticks_next(s);
  rl_ticks_hurry(s);
  bool done = rl_driver_serve(d, nothing_unallocated, s, left(deadline));
  if (done) end_ticks(s, deadline);
  rl_ticks_cancel(s);
  if (done) done = rl_driver_serve(d, worked_off, s, left(deadline));
  s->working_off = false;
  if (!done)
    rl_warn("the graceful stop was cut short after %.1f s (rille.streaming.gracefulStopTimeout); what was received and "
            "not worked off is %s",
            (double)graceful_limit_ns(s) / 1e9, where_it_is(s));
}

static void cut_off(rl_streaming *s)
{
  rl_driver *d = rl_context_driver(s->c);
  rl_ticks_cancel(s);
  rl_batch_drop_queued(s);
  if (s->running && !(rl_driver_serve(d, idle_or_hurried, s, 2 * SECOND_NS) && idle(s))) {
    rl_durable_give_up(s);
    rl_context_cancel_jobs(s->c);
    if (!rl_driver_serve(d, idle, s, 5 * SECOND_NS)) rl_warn("outputs still run and are left behind");
  }
}

void rl_streaming_stop_now(rl_streaming *s, bool graceful)
{
  s->stopping = true;
  rl_streaming_ref(s);
  rl_service_stopping(&s->service, s->stop_context);
  rl_tracker_stop(s->tracker);
  if (graceful) work_off(s);
  cut_off(s);
  rl_streaming_take_down(s);
  rl_driver_serve(rl_context_driver(s->c), idle, s, 0); /* the last events */
  rl_service_end(&s->service);
  rl_streaming_unref(s);
}

static void finish_stop(rl_streaming *s)
{
  bool context = s->stop_context;
  s->stop_asked = false;
  if (rl_streaming_state(s) == RL_ACTIVE && !s->stopping) rl_streaming_stop_now(s, s->stop_graceful);
  if (context) rl_context_stop(s->c);
}

rl_status rl_streaming_stop(rl_streaming *s, bool stop_context, bool graceful)
{
  rl_life state = rl_streaming_state(s);
  s->stop_context = stop_context;
  s->stop_graceful = graceful;
  if (state != RL_ACTIVE) {
    rl_warn("stop: the streaming context was %s", state == RL_STOPPED ? "stopped already" : "not started");
    atomic_store(&s->state, RL_STOPPED);
    if (stop_context && !rl_driver_in_message(rl_context_driver(s->c))) rl_context_stop(s->c);
    return RL_OK;
  }
  if (rl_driver_in_message(rl_context_driver(s->c))) {
    s->stop_asked = true;
    if (graceful) set_deadline(s);
    rl_driver_wake(rl_context_driver(s->c));
    return RL_OK;
  }
  finish_stop(s);
  return RL_OK;
}

void rl_streaming_abort(rl_streaming *s)
{
  if (rl_streaming_state(s) == RL_INITIALIZED) atomic_store(&s->state, RL_STOPPED);
  if (rl_streaming_state(s) == RL_ACTIVE && !s->stopping) rl_streaming_stop_now(s, false);
}

/* Waiting ---------------------------------------------------------------------------------------------------------- */

static bool something_to_do(void *arg)
{
  rl_streaming *s = arg;
  return rl_streaming_state(s) == RL_STOPPED || s->stop_asked || s->has_error || rl_streaming_signals() > 0;
}

static rl_status take_error(rl_streaming *s)
{
  if (!s->has_error) return RL_OK;
  s->has_error = false;
  return rl_error_raise(&s->error);
}

static void obey_signal(rl_streaming *s)
{
  if (rl_streaming_signals() == 0 || rl_streaming_state(s) != RL_ACTIVE) return;
  bool graceful = is_graceful(s);
  rl_info("stopping%s", graceful ? ": working off what was received (a second signal stops at once)" : " at once");
  rl_streaming_stop(s, true, graceful);
}

rl_status rl_streaming_await(rl_streaming *s, int64_t timeout_ms, bool signals, bool *stopped)
{
  if (rl_driver_in_message(rl_context_driver(s->c)))
    return rl_fail(RL_ESTATE, "awaitTermination cannot be called inside a function that the engine called");
  rl_caught c = {0};
  rl_streaming_ref(s);
  if (signals) rl_signals_catch(rl_context_driver(s->c), &c);
  rl_driver_serve(rl_context_driver(s->c), something_to_do, s, timeout_ms < 0 ? -1 : timeout_ms * 1000000);
  if (s->stop_asked) finish_stop(s);
  else if (!s->has_error) obey_signal(s);
  rl_signals_release(&c);
  *stopped = rl_streaming_state(s) == RL_STOPPED;
  rl_status st = take_error(s);
  rl_streaming_unref(s);
  return st;
}

static bool stop_wanted(void *arg)
{
  rl_streaming *s = arg;
  return rl_streaming_state(s) == RL_STOPPED || s->stop_asked || rl_streaming_signals() > 0;
}

static bool never(void *arg)
{
  (void)arg;
  return false;
}

void rl_streaming_sleep(rl_streaming *s, int64_t ms, bool signals)
{
  rl_driver *d = rl_context_driver(s->c);
  if (rl_driver_in_message(d)) {
    rl_driver_serve(d, never, NULL, ms * 1000000);
    return;
  }
  rl_caught c = {0};
  rl_streaming_ref(s);
  if (signals) rl_signals_catch(rl_context_driver(s->c), &c);
  rl_driver_serve(d, stop_wanted, s, ms * 1000000);
  if (s->stop_asked) finish_stop(s);
  else obey_signal(s);
  rl_signals_release(&c);
  rl_streaming_unref(s);
}

/* Batches that wait behind a failure are not begun any more. */
static void finish_what_began(rl_streaming *s)
{
  rl_driver_serve(rl_context_driver(s->c), worked_off, s, -1);
  if (s->stop_asked) finish_stop(s);
}

rl_status rl_streaming_advance(rl_streaming *s, int64_t ms)
{
  if (!rl_clock_is_manual(s->clock))
    return rl_fail(RL_ESTATE, "the clock is the system's; set rille.streaming.clock to manual to move it by hand");
  if (ms < 0) return rl_fail(RL_EINVAL, "a clock cannot go back");
  rl_driver *d = rl_context_driver(s->c);
  if (rl_driver_in_message(d))
    return rl_fail(RL_ESTATE, "the clock cannot be moved inside a function that the engine called");
  int64_t until = rl_clock_now(s->clock) + ms;
  rl_streaming_ref(s);
  finish_what_began(s);
  while (rl_streaming_state(s) == RL_ACTIVE && s->next_tick != RL_NO_TIME && s->next_tick <= until) {
    rl_ticks_next(s);
    finish_what_began(s);
  }
  rl_clock_set(s->clock, until);
  rl_driver_serve(d, worked_off, s, -1);
  rl_streaming_unref(s);
  return RL_OK;
}

typedef struct either {
  bool (*done)(void *arg);
  void *arg;
} either;

static bool done_or_signalled(void *arg)
{
  const either *e = arg;
  return rl_streaming_signals() > 0 || e->done(e->arg);
}

bool rl_streaming_serve_or_signal(rl_streaming *s, bool (*done)(void *arg), void *arg)
{
  rl_caught c = {0};
  either e = {done, arg};
  rl_signals_catch(rl_context_driver(s->c), &c);
  rl_driver_serve(rl_context_driver(s->c), done_or_signalled, &e, -1);
  rl_signals_release(&c);
  return done(arg);
}
