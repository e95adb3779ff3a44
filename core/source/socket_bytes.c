/* Bytes of a TCP connection for a converter, which runs on a thread of its own: it may take its time and wait in store
 * calls. Between the io thread and it lies a queue of pieces; when QUEUE_BYTES wait there, the socket is not read any
 * more. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "run/side_thread.h"
#include "source/sources.h"
#include "source/tcp.h"

#define QUEUE_BYTES ((size_t)1 << 20)
#define STOP_NS INT64_C(10000000000)

typedef struct piece {
  struct piece *next;
  uint64_t connection;
  size_t n; /* 0: the connection's end */
  char data[];
} piece;

typedef struct bytes_source {
  rl_tcp *tcp;
  rl_socket_bytes_fn *bytes;
  void *user;
  void (*destroy)(void *);
  rl_receiver *receiver;
  rl_side_thread *thread;
  uint64_t failed; /* its own: the connection whose bytes were refused */
  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t changed;
  piece *first, **last;
  size_t waiting;
  bool held, ends;
} bytes_source;

/* With the lock held. */
static void set_held(bytes_source *s, bool on)
{
  if (s->held == on) return;
  s->held = on;
  rl_tcp_hold(s->tcp, on);
}

/* io thread */

static void push(bytes_source *s, const char *p, size_t n)
{
  piece *new = rl_alloc(sizeof *new + n);
  new->connection = rl_tcp_connection(s->tcp);
  new->n = n;
  if (n > 0) memcpy(new->data, p, n);
  pthread_mutex_lock(&s->lock);
  *s->last = new;
  s->last = &new->next;
  s->waiting += n;
  if (s->waiting >= QUEUE_BYTES) set_held(s, true);
  pthread_cond_signal(&s->changed);
  pthread_mutex_unlock(&s->lock);
}

static rl_status bytes_data(void *self, rl_receiver *r, const char *p, size_t n)
{
  (void)r;
  push(self, p, n);
  return RL_OK;
}

static void bytes_end(void *self, rl_receiver *r)
{
  (void)r;
  push(self, NULL, 0);
}

static const rl_tcp_class bytes_tcp_class = {.data = bytes_data, .end = bytes_end};

/* The converter's thread. It works off what waits before it ends. */

static piece *pop(bytes_source *s)
{
  pthread_mutex_lock(&s->lock);
  while (!s->first && !s->ends) pthread_cond_wait(&s->changed, &s->lock);
  piece *p = s->first;
  if (p) {
    s->first = p->next;
    if (!s->first) s->last = &s->first;
    s->waiting -= p->n;
    if (s->waiting < QUEUE_BYTES / 2) set_held(s, false);
  }
  pthread_mutex_unlock(&s->lock);
  return p;
}

/* Behind a failure the rest of the connection is passed over, but not its end: each connection ends once for the
 * converter. */
static void convert(bytes_source *s, const piece *p)
{
  bool failed = s->failed == p->connection;
  if (failed && p->n > 0) return;
  rl_status st = s->bytes(s->user, s->receiver, p->data, p->n);
  if (st == RL_OK || failed) return;
  s->failed = p->connection;
  if (st != RL_ECANCELLED || !rl_receiver_is_stopping(s->receiver)) rl_tcp_break(s->tcp, p->connection);
}

static void bytes_main(void *arg)
{
  bytes_source *s = arg;
  for (piece *p = pop(s); p; p = pop(s)) {
    convert(s, p);
    rl_free(p);
  }
}

/* Driver. */

static bool end_thread(bytes_source *s)
{
  pthread_mutex_lock(&s->lock);
  s->ends = true;
  pthread_cond_signal(&s->changed);
  pthread_mutex_unlock(&s->lock);
  return rl_side_thread_end(s->thread, STOP_NS);
}

static rl_status bytes_start(void *self, rl_receiver *r)
{
  bytes_source *s = self;
  s->receiver = r;
  rl_status st = rl_side_thread_start(bytes_main, s, "a converter's thread", &s->thread);
  if (st != RL_OK) return st;
  st = rl_tcp_start(s->tcp, r);
  if (st != RL_OK) end_thread(s); /* nothing was given to it */
  return st;
}

static void bytes_stop(void *self)
{
  bytes_source *s = self;
  rl_tcp_stop(s->tcp);
  if (!end_thread(s)) rl_receiver_abandon(s->receiver);
}

static void bytes_destroy(void *self)
{
  bytes_source *s = self;
  if (s->destroy) s->destroy(s->user);
  rl_tcp_delete(s->tcp);
  pthread_cond_destroy(&s->changed);
  pthread_mutex_destroy(&s->lock);
  rl_free(s);
}

/* No `hold`: the converter's store calls wait, then the queue fills, then the socket is held back. */
static const rl_receiver_class bytes_class = {
  .name = "SocketReceiver",
  .stream = "Socket stream",
  .start = bytes_start,
  .stop = bytes_stop,
  .destroy = bytes_destroy,
};

rl_status rl_source_socket_bytes(rl_streaming *s, const char *host, int port, rl_socket_bytes_fn *bytes, void *user,
                                 void (*destroy)(void *), const char *site, rl_dstream **out)
{
  bytes_source *source = RL_NEW(bytes_source);
  source->bytes = bytes;
  source->user = user;
  source->destroy = destroy;
  source->last = &source->first;
  if (pthread_mutex_init(&source->lock, NULL) != 0 || pthread_cond_init(&source->changed, NULL) != 0) abort();
  rl_status st = rl_tcp_new(host, port, &bytes_tcp_class, source, &source->tcp);
  if (st == RL_OK) return rl_streaming_add_receiver(s, &bytes_class, source, site, out);
  bytes_destroy(source);
  return st;
}
