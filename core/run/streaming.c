#include "run/streaming.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/stream.h"
#include "store/state.h"

#define SECOND_NS INT64_C(1000000000)

/* Driver threads of several contexts may exist in one process, but only one context may be active. */
static _Atomic(rl_streaming *) active;
static volatile sig_atomic_t signals_seen; /* since the active context's start */
static _Atomic int64_t signal_ns;          /* when the first of them came */

/* Making and freeing ----------------------------------------------------------------------------------------------- */

static void on_timer(rl_timer *t);
static void stop_now(rl_streaming *s, bool graceful);

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
  s->zero = s->latest = s->looked = RL_NO_TIME;
  s->stuck = s->deadline_ns = INT64_MAX;
  atomic_init(&s->state, RL_INITIALIZED);
  s->last_output = &s->outputs;
  s->last_batch = &s->queue;
  s->last_ticked = &s->ticked;
  s->next_tick = s->last_tick = RL_NO_TIME;
  s->concurrent = (uint32_t)rl_conf_int(rl_context_conf(c), "rille.streaming.concurrentJobs");
  s->tick_message.run = rl_batch_on_message;
  s->timer.fire = on_timer;
  s->timer.punctual = true;
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
  if (s->refs == 1 && rl_streaming_state(s) == RL_ACTIVE && !s->stopping) stop_now(s, false);
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

/* Ticks ------------------------------------------------------------------------------------------------------------ */

static int64_t wall_ns(void)
{
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (int64_t)ts.tv_sec * SECOND_NS + ts.tv_nsec;
}

/* When `time` by the system's wall clock comes, on the monotonic clock. Read anew for every tick, so there is no drift.
 */
static int64_t mono_of(int64_t time_ms) { return rl_mono_ns() + time_ms * 1000000 - wall_ns(); }

/* The next tick that is due; RL_NO_TIME when none is. Behind the last one there is no next. */
static int64_t take_due(rl_streaming *s)
{
  int64_t now = wall_ns() / 1000000;
  pthread_mutex_lock(&s->lock);
  int64_t t = s->next_tick;
  bool ends = s->last_tick != RL_NO_TIME, due = t != RL_NO_TIME && (t <= now || s->ticks_now);
  pthread_mutex_unlock(&s->lock);
  if (t != RL_NO_TIME) rl_catch_up_note_look(s, now, t);
  if (!due) return RL_NO_TIME;
  if (!ends) t = rl_catch_up_late(s, t, now);
  pthread_mutex_lock(&s->lock);
  ends = s->last_tick != RL_NO_TIME && t >= s->last_tick;
  if (s->next_tick != RL_NO_TIME) s->next_tick = ends ? RL_NO_TIME : t + s->batch_ms;
  pthread_mutex_unlock(&s->lock);
  return t;
}

/* So often the wall clock is looked at, also when the next tick is far: it may have been set, and the monotonic one stands
 * still while the machine sleeps. */
#define LOOK_NS (3 * SECOND_NS)

static void on_timer(rl_timer *timer)
{
  rl_streaming *s = (rl_streaming *)((char *)timer - offsetof(rl_streaming, timer));
  int64_t t;
  while ((t = take_due(s)) != RL_NO_TIME) { /* late ones in order, none left out */
    int64_t due = mono_of(t), now = rl_mono_ns();
    rl_batch_tick(s, t, due < now ? due : now);
  }
  pthread_mutex_lock(&s->lock);
  int64_t next = s->next_tick;
  pthread_mutex_unlock(&s->lock);
  if (next == RL_NO_TIME) return;
  int64_t due = mono_of(next), look = rl_mono_ns() + LOOK_NS;
  rl_timer_set(s->c, &s->timer, due < look ? due : look);
}

static void set_next_tick(rl_streaming *s, int64_t time)
{
  pthread_mutex_lock(&s->lock);
  s->next_tick = time;
  pthread_mutex_unlock(&s->lock);
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

rl_status rl_streaming_start(rl_streaming *s)
{
  if (rl_streaming_state(s) == RL_ACTIVE) {
    rl_warn("start: the streaming context is active already");
    return RL_OK;
  }
  rl_status st = check_start(s);
  if (st) return st;
  s->zero = rl_clock_now(s->clock) / s->batch_ms * s->batch_ms;
  signals_seen = 0; /* one that comes while the start waits for the disk is obeyed when it is through */
  st = start_all(s);
  if (st) {
    rl_error e;
    rl_error_take(&e);
    rl_tracker_stop(s->tracker);
    rl_graph_stop_inputs(s);
    rl_durable_close(s);
    if (is_reliable(s) && s->store) rl_state_shut(s->store);
    rl_graph_release(s);
    rl_stateful_stop(s);
    atomic_store(&s->state, RL_STOPPED);
    atomic_store(&active, NULL);
    return rl_error_raise(&e);
  }
  atomic_store(&s->state, RL_ACTIVE);
  int64_t first = first_tick(s);
  if (s->durable) rl_durable_catch_up(s, first);
  set_next_tick(s, first);
  rl_events_post(s, &(rl_event){.kind = RL_EVENT_STREAMING_STARTED, .time = rl_clock_now(s->clock)});
  if (!rl_clock_is_manual(s->clock)) rl_timer_set(s->c, &s->timer, mono_of(first));
  rl_service_start(&s->service, s->c, s->batch_ms);
  return RL_OK;
}

/* Signals ---------------------------------------------------------------------------------------------------------- */

static rl_driver *volatile signalled; /* whose wait the handler ends */

int rl_streaming_signals(void) { return signals_seen; }

static void (*volatile hurry)(void *);
static void *volatile hurry_arg;

void rl_streaming_on_hurry(void (*fn)(void *arg), void *arg)
{
  hurry = NULL; /* so that the handler never sees a function with another's argument */
  atomic_signal_fence(memory_order_seq_cst);
  hurry_arg = arg;
  atomic_signal_fence(memory_order_seq_cst);
  hurry = fn;
}

#define SAME_SIGNAL_NS (SECOND_NS / 50) /* a program and its process group may both be sent the one Ctrl-C */

static void on_signal(int sig)
{
  static volatile int64_t last_ns;
  int saved = errno;
  int64_t now = rl_mono_ns();
  bool same = signals_seen == 1 && now - last_ns < SAME_SIGNAL_NS;
  last_ns = now;
  if (signals_seen == 0) atomic_store(&signal_ns, now); /* before it counts */
  if (!same) signals_seen = signals_seen + 1;
  void (*fn)(void *) = hurry;
  if (signals_seen > 2) { /* nothing has helped */
    signal(sig, SIG_DFL);
    raise(sig);
  }
  if (signals_seen > 1 && fn) fn(hurry_arg);
  if (signalled) rl_driver_wake(signalled);
  errno = saved;
}

typedef struct caught {
  bool on;
  struct sigaction old_int, old_term, old_hup;
} caught;

static void catch_signals(rl_streaming *s, caught *c)
{
  if (signalled) return; /* an outer wait has them */
  signalled = rl_context_driver(s->c);
  struct sigaction act = {.sa_handler = on_signal};
  sigemptyset(&act.sa_mask);
  c->on = sigaction(SIGINT, &act, &c->old_int) == 0 && sigaction(SIGTERM, &act, &c->old_term) == 0 &&
          sigaction(SIGHUP, NULL, &c->old_hup) == 0;
  if (c->on && c->old_hup.sa_handler != SIG_IGN) sigaction(SIGHUP, &act, NULL); /* ignored: nohup */
}

static void release_signals(caught *c)
{
  if (!c->on) return;
  sigaction(SIGINT, &c->old_int, NULL);
  sigaction(SIGTERM, &c->old_term, NULL);
  sigaction(SIGHUP, &c->old_hup, NULL);
  signalled = NULL;
}

typedef struct either {
  bool (*done)(void *arg);
  void *arg;
} either;

static bool done_or_signalled(void *arg)
{
  const either *e = arg;
  return signals_seen > 0 || e->done(e->arg);
}

bool rl_streaming_serve_or_signal(rl_streaming *s, bool (*done)(void *arg), void *arg)
{
  caught c = {0};
  either e = {done, arg};
  catch_signals(s, &c);
  rl_driver_serve(rl_context_driver(s->c), done_or_signalled, &e, -1);
  release_signals(&c);
  return done(arg);
}

/* Stop ------------------------------------------------------------------------------------------------------------- */

typedef bool condition(void *arg);

/* No batch is worked off any more. */
static bool given_up(const rl_streaming *s) { return signals_seen > 1 || s->failed; }

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

static bool idle_or_hurried(void *arg) { return signals_seen > 1 || idle(arg); }

static bool worked_off(void *arg) { return given_up(arg) || idle(arg); }

static bool ticks_over(void *arg)
{
  rl_streaming *s = arg;
  pthread_mutex_lock(&s->lock);
  bool over = s->next_tick == RL_NO_TIME;
  pthread_mutex_unlock(&s->lock);
  return over || given_up(s);
}

static int64_t left(int64_t deadline_ns)
{
  int64_t ns = deadline_ns - rl_mono_ns();
  return ns > 0 ? ns : 0;
}

static void manual_tick(rl_streaming *s)
{
  int64_t t = s->next_tick;
  rl_clock_set(s->clock, t);
  set_next_tick(s, t + s->batch_ms);
  rl_batch_tick(s, t, rl_mono_ns());
}

static int64_t graceful_limit_ns(const rl_streaming *s)
{
  if (rl_conf_is_set(rl_context_conf(s->c), "rille.streaming.gracefulStopTimeout"))
    return rl_conf_us(rl_context_conf(s->c), "rille.streaming.gracefulStopTimeout") * 1000;
  int64_t ns = 10 * s->batch_ms * 1000000;
  return ns > 10 * SECOND_NS ? ns : 10 * SECOND_NS;
}

static bool is_graceful(const rl_streaming *s)
{
  return rl_conf_bool(rl_context_conf(s->c), "rille.streaming.stopGracefullyOnShutdown");
}

/* The limit counts from the signal or the call: the driver may be in a callback then, and stops when that has ended. */
static int64_t deadline_of(const rl_streaming *s)
{
  if (signals_seen == 0 || !is_graceful(s)) return s->deadline_ns;
  int64_t of_signal = atomic_load(&signal_ns) + graceful_limit_ns(s);
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

/* The pending tick and one more come (section 1 of the reference: a timer that is stopped without interrupt): so what
 * came last into a queue or a directory has its batch, too. On the manual clock no time passes any more. */
static void end_ticks(rl_streaming *s, int64_t deadline_ns)
{
  if (rl_clock_is_manual(s->clock)) return;
  pthread_mutex_lock(&s->lock);
  if (s->next_tick != RL_NO_TIME && s->last_tick == RL_NO_TIME) s->last_tick = s->next_tick + s->batch_ms;
  pthread_mutex_unlock(&s->lock);
  rl_driver_serve(rl_context_driver(s->c), ticks_over, s, left(deadline_ns));
}

/* Where the clock went back, nobody waits until it has come to the last batches: they are ticked at once. */
static void hurry_ticks(rl_streaming *s)
{
  if (rl_clock_is_manual(s->clock)) return;
  pthread_mutex_lock(&s->lock);
  s->ticks_now = s->next_tick != RL_NO_TIME && s->next_tick - wall_ns() / 1000000 > s->batch_ms;
  if (s->ticks_now) s->last_tick = s->next_tick + s->batch_ms;
  pthread_mutex_unlock(&s->lock);
  if (s->ticks_now) rl_timer_set(s->c, &s->timer, rl_mono_ns());
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
  if (rl_clock_is_manual(s->clock) && rl_tracker_has_unallocated(s->tracker)) manual_tick(s);
  hurry_ticks(s);
  bool done = rl_driver_serve(d, nothing_unallocated, s, left(deadline));
  if (done) end_ticks(s, deadline);
  set_next_tick(s, RL_NO_TIME);
  rl_timer_cancel(s->c, &s->timer);
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
  set_next_tick(s, RL_NO_TIME);
  rl_timer_cancel(s->c, &s->timer);
  rl_batch_drop_queued(s);
  if (s->running && !(rl_driver_serve(d, idle_or_hurried, s, 2 * SECOND_NS) && idle(s))) {
    rl_durable_give_up(s);
    rl_context_cancel_jobs(s->c);
    if (!rl_driver_serve(d, idle, s, 5 * SECOND_NS)) rl_warn("outputs still run and are left behind");
  }
}

static void stop_now(rl_streaming *s, bool graceful)
{
  s->stopping = true;
  rl_streaming_ref(s);
  rl_service_stopping(&s->service, s->stop_context);
  rl_tracker_stop(s->tracker);
  if (graceful) work_off(s);
  cut_off(s);
  rl_graph_stop_inputs(s);
  rl_durable_close(s);
  if (is_reliable(s)) rl_state_shut(s->store); /* before pins go: the image is not to pass what windows still look at */
  rl_graph_release(s);
  rl_stateful_stop(s);
  atomic_store(&active, NULL);
  atomic_store(&s->state, RL_STOPPED);
  rl_driver_serve(rl_context_driver(s->c), idle, s, 0); /* the last events */
  rl_service_end(&s->service);
  rl_streaming_unref(s);
}

static void finish_stop(rl_streaming *s)
{
  bool context = s->stop_context;
  s->stop_asked = false;
  if (rl_streaming_state(s) == RL_ACTIVE && !s->stopping) stop_now(s, s->stop_graceful);
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
  if (rl_streaming_state(s) == RL_ACTIVE && !s->stopping) stop_now(s, false);
}

/* Waiting ---------------------------------------------------------------------------------------------------------- */

static bool something_to_do(void *arg)
{
  rl_streaming *s = arg;
  return rl_streaming_state(s) == RL_STOPPED || s->stop_asked || s->has_error || signals_seen > 0;
}

static rl_status take_error(rl_streaming *s)
{
  if (!s->has_error) return RL_OK;
  s->has_error = false;
  return rl_error_raise(&s->error);
}

static void obey_signal(rl_streaming *s)
{
  if (signals_seen == 0 || rl_streaming_state(s) != RL_ACTIVE) return;
  bool graceful = is_graceful(s);
  rl_info("stopping%s", graceful ? ": working off what was received (a second signal stops at once)" : " at once");
  rl_streaming_stop(s, true, graceful);
}

rl_status rl_streaming_await(rl_streaming *s, int64_t timeout_ms, bool signals, bool *stopped)
{
  if (rl_driver_in_message(rl_context_driver(s->c)))
    return rl_fail(RL_ESTATE, "awaitTermination cannot be called inside a function that the engine called");
  caught c = {0};
  rl_streaming_ref(s);
  if (signals) catch_signals(s, &c);
  rl_driver_serve(rl_context_driver(s->c), something_to_do, s, timeout_ms < 0 ? -1 : timeout_ms * 1000000);
  if (s->stop_asked) finish_stop(s);
  else if (!s->has_error) obey_signal(s);
  release_signals(&c);
  *stopped = rl_streaming_state(s) == RL_STOPPED;
  rl_status st = take_error(s);
  rl_streaming_unref(s);
  return st;
}

static bool stop_wanted(void *arg)
{
  rl_streaming *s = arg;
  return rl_streaming_state(s) == RL_STOPPED || s->stop_asked || signals_seen > 0;
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
  caught c = {0};
  rl_streaming_ref(s);
  if (signals) catch_signals(s, &c);
  rl_driver_serve(d, stop_wanted, s, ms * 1000000);
  if (s->stop_asked) finish_stop(s);
  else obey_signal(s);
  release_signals(&c);
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
    manual_tick(s);
    finish_what_began(s);
  }
  rl_clock_set(s->clock, until);
  rl_driver_serve(d, worked_off, s, -1);
  rl_streaming_unref(s);
  return RL_OK;
}
