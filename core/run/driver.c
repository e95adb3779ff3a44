#include "run/driver.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

struct rl_driver {
  pthread_t thread; /* set once */
  sem_t wakeups;    /* one per post or wake; more wake-ups than messages are harmless */
  pthread_mutex_t lock;
  rl_message *first, **last; /* under lock */
  int depth;                 /* driver thread only: messages being run */
  atomic_uint posting;       /* threads between giving the lock back and the end of a post */
};

rl_driver *rl_driver_new(void)
{
  rl_driver *d = RL_NEW(rl_driver);
  d->thread = pthread_self();
  sem_init(&d->wakeups, 0, 0);
  atomic_init(&d->posting, 0);
  pthread_mutex_init(&d->lock, NULL);
  d->last = &d->first;
  return d;
}

void rl_driver_delete(rl_driver *d)
{
  while (atomic_load_explicit(&d->posting, memory_order_acquire)) sched_yield(); /* their messages have run already */
  sem_destroy(&d->wakeups);
  pthread_mutex_destroy(&d->lock);
  rl_free(d);
}

void rl_driver_post(rl_driver *d, rl_message *m)
{
  pthread_mutex_lock(&d->lock);
  bool post = !m->queued;
  if (post) {
    m->queued = true;
    m->next = NULL;
    *d->last = m;
    d->last = &m->next;
    atomic_fetch_add_explicit(&d->posting, 1, memory_order_relaxed); /* seen by whoever took the message */
  }
  pthread_mutex_unlock(&d->lock);
  if (!post) return;
  sem_post(&d->wakeups); /* without the lock, for which the woken driver would have to wait */
  atomic_fetch_sub_explicit(&d->posting, 1, memory_order_release);
}

void rl_driver_cancel(rl_driver *d, rl_message *m)
{
  pthread_mutex_lock(&d->lock);
  if (m->queued) {
    rl_message **at = &d->first;
    while (*at != m) at = &(*at)->next;
    *at = m->next;
    if (d->last == &m->next) d->last = at;
    m->queued = false;
  }
  pthread_mutex_unlock(&d->lock);
}

void rl_driver_wake(rl_driver *d) { sem_post(&d->wakeups); }

static rl_message *take(rl_driver *d)
{
  pthread_mutex_lock(&d->lock);
  rl_message *m = d->first;
  if (m) {
    d->first = m->next;
    if (!d->first) d->last = &d->first;
    m->queued = false;
  }
  pthread_mutex_unlock(&d->lock);
  return m;
}

/* Waits for a wake-up; false when the deadline has passed. */
static bool wait_until(rl_driver *d, int64_t deadline_ns)
{
  if (deadline_ns < 0) {
    while (sem_wait(&d->wakeups) != 0 && errno == EINTR) continue;
    return true;
  }
  struct timespec ts = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
  while (sem_clockwait(&d->wakeups, CLOCK_MONOTONIC, &ts) != 0)
    if (errno != EINTR) return false;
  return true;
}

bool rl_driver_serve(rl_driver *d, bool (*done)(void *arg), void *arg, int64_t timeout_ns)
{
  int64_t deadline = timeout_ns < 0 ? -1 : rl_mono_ns() + timeout_ns;
  for (;;) {
    if (done(arg)) return true;
    rl_message *m = take(d);
    if (m) {
      d->depth++;
      m->run(m);
      d->depth--;
      /* A steady stream of messages must not hold it up. */
      if (deadline >= 0 && rl_mono_ns() >= deadline) return done(arg);
      continue;
    }
    if (timeout_ns == 0 || !wait_until(d, deadline)) return done(arg);
  }
}

bool rl_driver_is_here(const rl_driver *d) { return pthread_equal(d->thread, pthread_self()); }

bool rl_driver_in_message(const rl_driver *d) { return d->depth > 0; }
