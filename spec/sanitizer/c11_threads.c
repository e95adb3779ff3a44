/* The threads of <threads.h> in terms of those that the thread sanitizer knows.
 *
 * gcc's sanitizer intercepts pthread_create and the like, not thrd_create: a thread that librdkafka starts is unknown
 * to it, and the first intercepted call there (malloc, for one) breaks the process. In glibc the types are the same
 * size as those of pthread. Loaded in trees built with the thread sanitizer only, before the C library. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "mtx_t");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "cnd_t");

typedef struct begin {
  thrd_start_t run;
  void *arg;
} begin;

static int result(int err)
{
  switch (err) {
  case 0: return thrd_success;
  case EBUSY: return thrd_busy;
  case ENOMEM: return thrd_nomem;
  case ETIMEDOUT: return thrd_timedout;
  default: return thrd_error;
  }
}

static void *run(void *arg)
{
  begin b = *(begin *)arg;
  free(arg);
  return (void *)(long)b.run(b.arg);
}

int thrd_create(thrd_t *t, thrd_start_t f, void *arg)
{
  begin *b = malloc(sizeof *b);
  if (!b) return thrd_nomem;
  *b = (begin){f, arg};
  int err = pthread_create((pthread_t *)t, NULL, run, b);
  if (err) free(b);
  return result(err);
}

int thrd_join(thrd_t t, int *value)
{
  void *returned = NULL;
  int err = pthread_join((pthread_t)t, &returned);
  if (value) *value = (int)(long)returned;
  return result(err);
}

thrd_t thrd_current(void) { return (thrd_t)pthread_self(); }

int mtx_init(mtx_t *m, int type)
{
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  if (type & mtx_recursive) pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
  int err = pthread_mutex_init((pthread_mutex_t *)m, &attr);
  pthread_mutexattr_destroy(&attr);
  return result(err);
}

void mtx_destroy(mtx_t *m) { pthread_mutex_destroy((pthread_mutex_t *)m); }
int mtx_lock(mtx_t *m) { return result(pthread_mutex_lock((pthread_mutex_t *)m)); }
int mtx_trylock(mtx_t *m) { return result(pthread_mutex_trylock((pthread_mutex_t *)m)); }
int mtx_unlock(mtx_t *m) { return result(pthread_mutex_unlock((pthread_mutex_t *)m)); }

int cnd_init(cnd_t *c) { return result(pthread_cond_init((pthread_cond_t *)c, NULL)); }
void cnd_destroy(cnd_t *c) { pthread_cond_destroy((pthread_cond_t *)c); }
int cnd_signal(cnd_t *c) { return result(pthread_cond_signal((pthread_cond_t *)c)); }
int cnd_broadcast(cnd_t *c) { return result(pthread_cond_broadcast((pthread_cond_t *)c)); }

int cnd_wait(cnd_t *c, mtx_t *m)
{
  return result(pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m));
}

int cnd_timedwait(cnd_t *restrict c, mtx_t *restrict m, const struct timespec *restrict until)
{
  return result(pthread_cond_timedwait((pthread_cond_t *)c, (pthread_mutex_t *)m, until));
}

void call_once(once_flag *flag, void (*f)(void)) { pthread_once((pthread_once_t *)flag, f); }
