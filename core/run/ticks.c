/* When batches are due: by the timer, or by hand where the clock is a manual one. */
#include <stddef.h>
#include <time.h>

#include "base/clock.h"
#include "run/stream.h"

#define SECOND_NS INT64_C(1000000000)

static int64_t wall_ns(void)
{
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (int64_t)ts.tv_sec * SECOND_NS + ts.tv_nsec;
}

/* When `time` by the system's wall clock comes, on the monotonic clock, or in some decades if it comes later than that.
 * Read anew for every tick, so there is no drift. */
static int64_t mono_of(int64_t time_ms)
{
  const int64_t most_ms = INT64_MAX / 4 / 1000000;
  int64_t wall = wall_ns(), ahead_ms = time_ms - wall / 1000000;
  if (ahead_ms > most_ms) ahead_ms = most_ms;
  return rl_mono_ns() + ahead_ms * 1000000 - wall % 1000000;
}

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

/* So often the wall clock is looked at, also when the next tick is far: it may have been set, and the monotonic one
 * stands still while the machine sleeps. */
#define LOOK_NS (3 * SECOND_NS)

static void set_timer(rl_streaming *s, int64_t next)
{
  int64_t due = mono_of(next), look = rl_mono_ns() + LOOK_NS;
  rl_timer_set(s->c, &s->timer, due < look ? due : look);
}

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
  if (next != RL_NO_TIME) set_timer(s, next);
}

void rl_ticks_init(rl_streaming *s)
{
  s->next_tick = s->last_tick = s->looked = RL_NO_TIME;
  s->timer.fire = on_timer;
  s->timer.punctual = true;
}

static void set_next_tick(rl_streaming *s, int64_t time)
{
  pthread_mutex_lock(&s->lock);
  s->next_tick = time;
  pthread_mutex_unlock(&s->lock);
}

void rl_ticks_begin(rl_streaming *s, int64_t first)
{
  set_next_tick(s, first);
  if (!rl_clock_is_manual(s->clock)) set_timer(s, first);
}

void rl_ticks_next(rl_streaming *s)
{
  int64_t t = s->next_tick;
  rl_clock_set(s->clock, t);
  set_next_tick(s, t + s->batch_ms);
  rl_batch_tick(s, t, rl_mono_ns());
}

void rl_ticks_end(rl_streaming *s)
{
  pthread_mutex_lock(&s->lock);
  if (s->next_tick != RL_NO_TIME && s->last_tick == RL_NO_TIME) s->last_tick = s->next_tick + s->batch_ms;
  pthread_mutex_unlock(&s->lock);
}

void rl_ticks_hurry(rl_streaming *s)
{
  if (rl_clock_is_manual(s->clock)) return;
  pthread_mutex_lock(&s->lock);
  s->ticks_now = s->next_tick != RL_NO_TIME && s->next_tick - wall_ns() / 1000000 > s->batch_ms;
  if (s->ticks_now) s->last_tick = s->next_tick + s->batch_ms;
  pthread_mutex_unlock(&s->lock);
  if (s->ticks_now) rl_timer_set(s->c, &s->timer, rl_mono_ns());
}

bool rl_ticks_are_over(rl_streaming *s)
{
  pthread_mutex_lock(&s->lock);
  bool over = s->next_tick == RL_NO_TIME;
  pthread_mutex_unlock(&s->lock);
  return over;
}

void rl_ticks_cancel(rl_streaming *s)
{
  set_next_tick(s, RL_NO_TIME);
  rl_timer_cancel(s->c, &s->timer);
}
