/* The sched thread: timers, in order of their due times. */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/log.h"
#include "run/engine.h"

static void unlink_timer(rl_context *c, rl_timer *t)
{
  rl_timer **at = &c->timers;
  while (*at && *at != t) at = &(*at)->next;
  if (*at) *at = t->next;
  t->armed = false;
}

void rl_timer_set(rl_context *c, rl_timer *t, int64_t due_ns)
{
  pthread_mutex_lock(&c->timer_lock);
  if (t->armed) unlink_timer(c, t);
  t->due_ns = due_ns;
  t->armed = true;
  rl_timer **at = &c->timers;
  while (*at && (*at)->due_ns <= due_ns) at = &(*at)->next;
  t->next = *at;
  *at = t;
  if (c->timers == t) pthread_cond_signal(&c->timer_changed);
  pthread_mutex_unlock(&c->timer_lock);
}

void rl_timer_cancel(rl_context *c, rl_timer *t)
{
  pthread_mutex_lock(&c->timer_lock);
  bool self = pthread_equal(pthread_self(), c->sched);
  do {
    if (t->armed) unlink_timer(c, t);
    if (c->firing != t || self) break;
    pthread_cond_wait(&c->timer_fired, &c->timer_lock);
  } while (true); /* what fired may have armed it again */
  pthread_mutex_unlock(&c->timer_lock);
}

static void fire_first(rl_context *c)
{
  rl_timer *t = c->timers;
  c->timers = t->next;
  t->armed = false;
  c->firing = t;
  pthread_mutex_unlock(&c->timer_lock);
  t->fire(t);
  pthread_mutex_lock(&c->timer_lock);
  c->firing = NULL;
  pthread_cond_broadcast(&c->timer_fired);
}

/* A sleeping core is some 50 us late. For a timer that is to be punctual the thread has itself woken as much earlier as
 * it came too late the last times, and turns for what is left. Not where it came later than a sleeping core explains:
 * then the cores are busy, and have better to do. So it turns for MOST_EARLY_NS a timer at most, and not at all without
 * one. */
#define MOST_EARLY_NS INT64_C(100000)

static void learn(rl_context *c, int64_t late_ns)
{
  if (late_ns > MOST_EARLY_NS) late_ns = 0;
  c->early_ns += (late_ns - c->early_ns) / (late_ns > c->early_ns ? 2 : 8);
}

static void turn_until(rl_context *c, int64_t due_ns)
{
  pthread_mutex_unlock(&c->timer_lock);
  while (rl_mono_ns() < due_ns) continue;
  pthread_mutex_lock(&c->timer_lock);
}

/* Sleeps until the first timer is due, or the timers have changed. */
static void wait_first(rl_context *c)
{
  int64_t due = c->timers->due_ns;
  bool punctual = c->timers->punctual;
  int64_t until = punctual ? due - c->early_ns : due;
  struct timespec ts = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
  bool sleeps = rl_mono_ns() < until;
  if (sleeps && pthread_cond_clockwait(&c->timer_changed, &c->timer_lock, CLOCK_MONOTONIC, &ts) != ETIMEDOUT) return;
  if (sleeps && punctual) learn(c, rl_mono_ns() - until);
  if (punctual) turn_until(c, due);
}

static void *sched_main(void *arg)
{
  rl_context *c = arg;
  rl_thread_signals();
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* the default lets ticks come 50 us late; if it is refused they do */
  pthread_mutex_lock(&c->timer_lock);
  while (!c->sched_ends) {
    if (!c->timers) {
      pthread_cond_wait(&c->timer_changed, &c->timer_lock);
      continue;
    }
    if (c->timers->due_ns <= rl_mono_ns()) fire_first(c);
    else wait_first(c);
  }
  pthread_mutex_unlock(&c->timer_lock);
  return NULL;
}

rl_status rl_timers_start(rl_context *c)
{
  int err = pthread_create(&c->sched, NULL, sched_main, c);
  return err ? rl_fail(RL_ENOMEM, "cannot start the sched thread: %s", strerror(err)) : RL_OK;
}

void rl_timers_stop(rl_context *c)
{
  pthread_mutex_lock(&c->timer_lock);
  c->sched_ends = true;
  pthread_cond_broadcast(&c->timer_changed);
  pthread_mutex_unlock(&c->timer_lock);
  pthread_join(c->sched, NULL);
}
