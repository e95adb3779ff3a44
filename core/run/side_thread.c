#include "run/side_thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "run/interrupt.h"

#define NS_PER_S INT64_C(1000000000)

struct rl_side_thread {
  _Atomic int refs; /* the thread's and its owner's */
  void (*main)(void *arg);
  void *arg;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool ended; /* under lock */
};

static void unref(rl_side_thread *t)
{
  if (atomic_fetch_sub(&t->refs, 1) != 1) return;
  pthread_cond_destroy(&t->changed);
  pthread_mutex_destroy(&t->lock);
  rl_free(t);
}

static void *run(void *arg)
{
  rl_side_thread *t = arg;
  rl_thread_signals();
  t->main(t->arg);
  pthread_mutex_lock(&t->lock);
  t->ended = true;
  pthread_cond_signal(&t->changed);
  pthread_mutex_unlock(&t->lock);
  unref(t);
  return NULL;
}

rl_status rl_side_thread_start(void (*main)(void *arg), void *arg, const char *what, rl_side_thread **out)
{
  rl_side_thread *t = RL_NEW(rl_side_thread);
  atomic_init(&t->refs, 2);
  t->main = main;
  t->arg = arg;
  if (pthread_mutex_init(&t->lock, NULL) != 0 || pthread_cond_init(&t->changed, NULL) != 0) abort();
  int err = pthread_create(&t->thread, NULL, run, t);
  if (err != 0) {
    atomic_store(&t->refs, 1);
    unref(t);
    return rl_fail(RL_ENOMEM, "cannot start %s: %s", what, strerror(err));
  }
  *out = t;
  return RL_OK;
}

bool rl_side_thread_end(rl_side_thread *t, int64_t limit_ns)
{
  int64_t due = rl_mono_ns() + limit_ns;
  const struct timespec until = {.tv_sec = due / NS_PER_S, .tv_nsec = due % NS_PER_S};
  pthread_mutex_lock(&t->lock);
  while (!t->ended && pthread_cond_clockwait(&t->changed, &t->lock, CLOCK_MONOTONIC, &until) == 0) continue;
  bool ended = t->ended;
  pthread_mutex_unlock(&t->lock);
  if (ended) {
    pthread_join(t->thread, NULL);
  } else {
    pthread_detach(t->thread);
  }
  unref(t);
  return ended;
}
