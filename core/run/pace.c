#include "run/pace.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "data/text.h"
#include "run/limiter.h"

#define STEP_NS INT64_C(5000000) /* how often a source that is limited is let on: a step costs a thread switch */
#define WINDOW ((size_t)64 << 10) /* of text that is looked at at a time */
#define LOOK_BYTES ((size_t)64 << 10) /* after how many the memory is looked at */
#define DEBT_S 10 /* what a whole block may owe, at the rate that holds: how late the next one is at most */

enum { BY_BUDGET = 1, BY_RATE = 2, BY_MEMORY = 4 };

struct rl_pace {
  rl_timer timer; /* first: its callback gets back to the pace */
  rl_pressed pressed;
  rl_context *context;
  rl_pressure *pressure;
  rl_gather *gather;
  void (*hold)(void *user, bool on);
  void *user;
  _Atomic size_t looked; /* how much the gatherer had when the memory was last looked at */
  atomic_bool limited;   /* a rate holds */
  bool counts_blocks;    /* whole blocks are among what it holds for */

  pthread_mutex_t lock; /* guards these */
  rl_limiter limiter;
  char *room;       /* where the source reads to */
  char *text;       /* read and not let through: n bytes, up to `room` */
  size_t n;
  bool cut_line;    /* of what was let through by the timer; to be told */
  bool free;        /* let go */
  bool stopped;

  pthread_mutex_t gate; /* guards these; one telling at a time. Taken behind `lock` */
  pthread_cond_t changed;
  _Atomic unsigned held; /* by what; read without the gate, too */
  bool let_go;
};

/* Holding back ----------------------------------------------------------------------------------------------------- */

static void set_held(rl_pace *p, unsigned by, bool on)
{
  pthread_mutex_lock(&p->gate);
  unsigned before = atomic_load(&p->held), after = on ? before | by : before & ~by;
  atomic_store(&p->held, after);
  if ((before != 0) != (after != 0) && p->hold && !p->let_go) p->hold(p->user, after != 0);
  if (!on) pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->gate);
}

void rl_pace_hold(void *pace, bool on) { set_held(pace, BY_BUDGET, on); }

#define PACE_OF(r) ((rl_pace *)((char *)(r)-offsetof(rl_pace, pressed)))

static void press(rl_pressed *r, bool on) { set_held(PACE_OF(r), BY_MEMORY, on); }
static size_t pressed_bytes(rl_pressed *r) { return rl_gather_used(PACE_OF(r)->gather); }

/* Without the lock. */
static void look_at_memory(rl_pace *p)
{
  size_t now = rl_gather_used(p->gather), before = atomic_load(&p->looked);
  if (now < before + LOOK_BYTES && now >= before) return;
  atomic_store(&p->looked, now);
  rl_pressure_look(p->pressure);
}

/* The waits of sources without `hold`. */

static void wait_for_memory(rl_pace *p)
{
  if (p->hold || !(atomic_load_explicit(&p->held, memory_order_relaxed) & BY_MEMORY)) return;
  pthread_mutex_lock(&p->gate);
  while (atomic_load(&p->held) & BY_MEMORY && !p->let_go) pthread_cond_wait(&p->changed, &p->gate);
  pthread_mutex_unlock(&p->gate);
}

/* Until then, or until something has changed. */
static void wait_until(rl_pace *p, int64_t ns)
{
  struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  pthread_mutex_lock(&p->gate);
  if (!p->let_go) (void)pthread_cond_clockwait(&p->changed, &p->gate, CLOCK_MONOTONIC, &ts);
  pthread_mutex_unlock(&p->gate);
}

/* Waits for a step of the limiter: the lock is given back meanwhile. */
static void wait_step(rl_pace *p)
{
  int64_t now = rl_mono_ns(), wait = rl_limiter_wait_ns(&p->limiter, now);
  pthread_mutex_unlock(&p->lock);
  wait_until(p, now + (wait > STEP_NS ? wait : STEP_NS));
  pthread_mutex_lock(&p->lock);
}

/* Life ------------------------------------------------------------------------------------------------------------- */

static void on_timer(rl_timer *t);

rl_pace *rl_pace_new(const rl_pace_spec *spec)
{
  const rl_conf *conf = rl_context_conf(spec->context);
  const char *most = "rille.streaming.receiver.maxRate", *initial = "rille.streaming.backpressure.initialRate";
  rl_pace *p = RL_NEW(rl_pace);
  p->timer.fire = on_timer;
  p->pressed.bytes = pressed_bytes;
  p->pressed.press = press;
  p->context = spec->context;
  p->pressure = rl_pressure_ref(spec->pressure);
  p->hold = spec->hold;
  p->user = spec->user;
  p->counts_blocks = rl_conf_bool(conf, "rille.streaming.backpressure.enabled");
  rl_limiter_init(&p->limiter, rl_conf_is_set(conf, most) ? rl_conf_int(conf, most) : RL_NO_RATE,
                  rl_conf_is_set(conf, initial) ? rl_conf_int(conf, initial) : RL_NO_RATE, rl_mono_ns());
  atomic_init(&p->limited, p->limiter.rate != RL_NO_RATE);
  if (pthread_mutex_init(&p->lock, NULL) != 0 || pthread_mutex_init(&p->gate, NULL) != 0 ||
      pthread_cond_init(&p->changed, NULL) != 0)
    abort();
  return p;
}

void rl_pace_begin(rl_pace *p, rl_gather *g)
{
  p->gather = g;
  rl_pressure_add(p->pressure, &p->pressed);
}

void rl_pace_delete(rl_pace *p)
{
  rl_pressure_remove(p->pressure, &p->pressed);
  rl_pressure_unref(p->pressure);
  pthread_cond_destroy(&p->changed);
  pthread_mutex_destroy(&p->gate);
  pthread_mutex_destroy(&p->lock);
  rl_free(p);
}

/* Text ------------------------------------------------------------------------------------------------------------- */

static bool ends_line(const char *p, const char *end)
{
  return *p == '\n' || (*p == '\r' && (p + 1 == end || p[1] != '\n'));
}

/* How much of p[0..n) has no more than `most` ends of lines; *lines: how many it has. */
static size_t some_lines(const char *p, size_t n, int64_t most, uint64_t *lines)
{
  const char *end = p + n, *at = p;
  *lines = rl_text_count(p, n) - (n > 0 && !ends_line(end - 1, end));
  if (*lines <= (uint64_t)most) return n;
  for (int64_t left = most; left > 0; at++) left -= ends_line(at, end);
  *lines = (uint64_t)most;
  return (size_t)(at - p);
}

/* Lets through what the limiter allows, or all, at the expense of what comes later. Locked, so whoever calls makes room
 * on disk behind it. */
static rl_status feed(rl_pace *p, bool all)
{
  rl_status st = RL_OK;
  while (st == RL_OK && p->n > 0) {
    int64_t now = rl_mono_ns(), permits = rl_limiter_permits(&p->limiter, now);
    size_t n = p->n;
    if (permits < INT64_MAX) {
      if (permits == 0 && !all) return RL_OK;
      uint64_t lines;
      n = some_lines(p->text, n < WINDOW ? n : WINDOW, all ? INT64_MAX : permits, &lines);
      rl_limiter_take(&p->limiter, lines, now);
    }
    bool cut_line = false;
    st = rl_gather_commit_only(p->gather, n, &cut_line);
    p->cut_line |= cut_line;
    p->text += n;
    p->n -= n;
  }
  if (st) p->n = 0; /* it takes no more */
  return st;
}

/* Where there is nobody to tell of a failure: the source's next call fails itself. */
static void feed_quietly(rl_pace *p, bool all)
{
  rl_error error;
  if (feed(p, all) == RL_OK) return;
  rl_error_take(&error);
  rl_error_clear(&error);
}

/* When there is something to do for the timer. Locked. */
static void set_timer(rl_pace *p)
{
  int64_t now = rl_mono_ns(), wait = rl_limiter_wait_ns(&p->limiter, now);
  if (!p->stopped) rl_timer_set(p->context, &p->timer, now + (wait > STEP_NS ? wait : STEP_NS));
}

/* Is the source to go on? Locked. */
static bool may_go_on(rl_pace *p)
{
  return p->n == 0 && (p->free || rl_limiter_wait_ns(&p->limiter, rl_mono_ns()) == 0);
}

/* Sched thread, which must not wait for a disk: room is made by the source, and by the workers. */
static void on_timer(rl_timer *t)
{
  rl_pace *p = (rl_pace *)t;
  pthread_mutex_lock(&p->lock);
  feed_quietly(p, p->free);
  if (may_go_on(p)) set_held(p, BY_RATE, false);
  else set_timer(p);
  pthread_mutex_unlock(&p->lock);
  look_at_memory(p);
}

rl_status rl_pace_reserve(rl_pace *p, size_t least, char **at, size_t *room)
{
  rl_pace_flush(p);
  rl_status st = rl_gather_reserve(p->gather, least, at, room);
  p->room = *at;
  return st;
}

rl_status rl_pace_commit(rl_pace *p, size_t n, bool *cut_line)
{
  pthread_mutex_lock(&p->lock);
  if (p->n == 0) p->text = p->room;
  p->room += n;
  p->n += n;
  rl_status st = feed(p, p->free);
  while (!p->hold && p->n > 0) {
    wait_step(p);
    st = feed(p, p->free);
  }
  if (p->n > 0) {
    set_held(p, BY_RATE, true);
    set_timer(p);
  }
  *cut_line = p->cut_line;
  p->cut_line = false;
  pthread_mutex_unlock(&p->lock);
  rl_gather_make_room(p->gather);
  look_at_memory(p);
  wait_for_memory(p);
  return st;
}

void rl_pace_flush(rl_pace *p)
{
  pthread_mutex_lock(&p->lock);
  feed_quietly(p, true);
  pthread_mutex_unlock(&p->lock);
}

/* Records ---------------------------------------------------------------------------------------------------------- */

/* Waits for a permit and takes n, or those of DEBT_S if that is less: a long block is not to keep a source away until
 * the rate that it was taken at is a memory. Sources with `hold` get them at once, and are held back when there are none
 * left. */
static void take_permits(rl_pace *p, uint64_t n)
{
  pthread_mutex_lock(&p->lock);
  while (!p->hold && !p->free && rl_limiter_wait_ns(&p->limiter, rl_mono_ns()) > 0) wait_step(p);
  if (n > 1) n = (uint64_t)fmin((double)n, (double)p->limiter.rate * DEBT_S);
  rl_limiter_take(&p->limiter, n, rl_mono_ns());
  if (p->hold && !may_go_on(p)) {
    set_held(p, BY_RATE, true);
    set_timer(p);
  }
  pthread_mutex_unlock(&p->lock);
}

rl_status rl_pace_store(rl_pace *p, const rl_value *fields, uint32_t n)
{
  wait_for_memory(p);
  if (atomic_load_explicit(&p->limited, memory_order_relaxed)) take_permits(p, 1);
  rl_status st = rl_gather_store(p->gather, fields, n);
  look_at_memory(p);
  return st;
}

rl_status rl_pace_store_block(rl_pace *p, rl_chunks *chunks)
{
  wait_for_memory(p);
  if (p->counts_blocks && atomic_load_explicit(&p->limited, memory_order_relaxed))
    take_permits(p, rl_chunks_records(chunks));
  rl_status st = rl_gather_store_block(p->gather, chunks);
  look_at_memory(p);
  return st;
}

/* From outside ----------------------------------------------------------------------------------------------------- */

void rl_pace_update(void *pace, int64_t rate)
{
  rl_pace *p = pace;
  pthread_mutex_lock(&p->lock);
  int64_t before = p->limiter.rate;
  rl_limiter_update(&p->limiter, rate, rl_mono_ns());
  atomic_store(&p->limited, p->limiter.rate != RL_NO_RATE);
  bool waits = atomic_load(&p->held) & BY_RATE;
  if (waits && p->limiter.rate > before) set_timer(p); /* which was set for later */
  pthread_mutex_unlock(&p->lock);
  pthread_mutex_lock(&p->gate);
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->gate);
}

void rl_pace_let_go(rl_pace *p)
{
  pthread_mutex_lock(&p->lock);
  p->free = true;
  feed_quietly(p, true);
  pthread_mutex_unlock(&p->lock);
  pthread_mutex_lock(&p->gate);
  p->let_go = true;
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->gate);
}

void rl_pace_stop(rl_pace *p)
{
  pthread_mutex_lock(&p->lock);
  p->stopped = true;
  pthread_mutex_unlock(&p->lock);
  rl_timer_cancel(p->context, &p->timer);
}
