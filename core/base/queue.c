#include "base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"

struct rl_queue {
  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t not_empty, not_full;
  size_t head, n, cap; /* a ring: items[head .. head + n) mod cap */
  bool closed;
  void *items[];
};

static void init_cond(pthread_cond_t *cond)
{
  pthread_condattr_t attr;
  if (pthread_condattr_init(&attr) != 0 || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
      pthread_cond_init(cond, &attr) != 0) {
    abort();
  }
  pthread_condattr_destroy(&attr);
}

rl_queue *rl_queue_new(size_t capacity)
{
  if (capacity == 0) capacity = 1;
  if (capacity > (SIZE_MAX - sizeof(rl_queue)) / sizeof(void *)) abort();
  rl_queue *q = rl_alloc(sizeof(rl_queue) + capacity * sizeof(void *));
  if (pthread_mutex_init(&q->lock, NULL) != 0) abort();
  init_cond(&q->not_empty);
  init_cond(&q->not_full);
  q->cap = capacity;
  return q;
}

void rl_queue_delete(rl_queue *q)
{
  if (!q) return;
  pthread_cond_destroy(&q->not_full);
  pthread_cond_destroy(&q->not_empty);
  pthread_mutex_destroy(&q->lock);
  rl_free(q);
}

/* With the lock held. */
static bool put(rl_queue *q, void *item)
{
  if (q->closed || q->n == q->cap) return false;
  q->items[(q->head + q->n++) % q->cap] = item;
  pthread_cond_signal(&q->not_empty);
  return true;
}

bool rl_queue_push(rl_queue *q, void *item)
{
  pthread_mutex_lock(&q->lock);
  while (!q->closed && q->n == q->cap) pthread_cond_wait(&q->not_full, &q->lock);
  bool done = put(q, item);
  pthread_mutex_unlock(&q->lock);
  return done;
}

bool rl_queue_try_push(rl_queue *q, void *item)
{
  pthread_mutex_lock(&q->lock);
  bool done = put(q, item);
  pthread_mutex_unlock(&q->lock);
  return done;
}

static struct timespec deadline_after(int64_t timeout_ns)
{
  int64_t now = rl_mono_ns();
  int64_t at = timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
  return (struct timespec){.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)};
}

/* With the lock held: until there is an item, the queue is closed or the time is over. */
static void wait_for_item(rl_queue *q, int64_t timeout_ns)
{
  if (timeout_ns < 0) {
    while (q->n == 0 && !q->closed) pthread_cond_wait(&q->not_empty, &q->lock);
    return;
  }
  struct timespec deadline = deadline_after(timeout_ns);
  while (q->n == 0 && !q->closed) {
    if (pthread_cond_timedwait(&q->not_empty, &q->lock, &deadline) == ETIMEDOUT) return;
  }
}

void *rl_queue_pop(rl_queue *q, int64_t timeout_ns)
{
  void *item = NULL;
  pthread_mutex_lock(&q->lock);
  if (timeout_ns != 0) wait_for_item(q, timeout_ns);
  if (q->n > 0) {
    item = q->items[q->head];
    q->head = (q->head + 1) % q->cap;
    q->n--;
    pthread_cond_signal(&q->not_full);
  }
  pthread_mutex_unlock(&q->lock);
  return item;
}

void rl_queue_close(rl_queue *q)
{
  pthread_mutex_lock(&q->lock);
  q->closed = true;
  pthread_cond_broadcast(&q->not_empty);
  pthread_cond_broadcast(&q->not_full);
  pthread_mutex_unlock(&q->lock);
}

size_t rl_queue_size(rl_queue *q)
{
  pthread_mutex_lock(&q->lock);
  size_t n = q->n;
  pthread_mutex_unlock(&q->lock);
  return n;
}
