#include "source/tcp.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "source/io.h"

#define BUFFER_BYTES ((size_t)64 << 10)
#define CONNECT_MS 10000 /* for one address; the system's own limit is minutes */
#define KEEPALIVE_S 60

/* A look-up and a connection are structs of their own: they end when libuv says so, which may be after their owner
 * stopped. */
typedef struct lookup {
  uv_getaddrinfo_t req;
  rl_tcp *owner; /* NULL: nobody waits for it */
} lookup;

typedef struct tcp_link {
  uv_tcp_t tcp;
  uv_connect_t req;
  uv_write_t write;
  char *out;     /* what `write` sends; NULL: nothing */
  rl_tcp *owner; /* NULL: it is closing */
} tcp_link;

struct rl_tcp {
  const rl_tcp_class *cls;
  void *self;
  char *host, *peer; /* peer: "host:port" */
  int port;
  rl_receiver *receiver;
  uint64_t delay_ms;
  atomic_bool held;
  rl_io_call start_call, stop_call, hold_call, break_call, wake_call;

  pthread_mutex_t lock; /* guards these */
  pthread_cond_t changed;
  rl_io *io; /* NULL unless started */
  bool stopped;
  rl_error why; /* of break_call */
  uint64_t broken;

  uv_loop_t *loop; /* from here on: io thread */
  uv_timer_t timer; /* the pause before the next attempt, or the time a connect may take */
  lookup *lookup;
  struct addrinfo *addresses, *next_address;
  tcp_link *link;
  bool connected, reading;
  uint64_t connection;
  int last_error; /* of the addresses tried so far */
  char *buffer;   /* where the class gives no room */
};

static void attempt(rl_tcp *t);
static void connect_next(rl_tcp *t);

/* Ending a connection and beginning the next. */

static void free_link(uv_handle_t *tcp) { rl_free(tcp->data); }

static void drop_link(rl_tcp *t)
{
  if (!t->link) return;
  t->link->owner = NULL;
  uv_close((uv_handle_t *)&t->link->tcp, free_link);
  t->link = NULL;
  t->connected = t->reading = false;
}

static void drop_addresses(rl_tcp *t)
{
  uv_freeaddrinfo(t->addresses);
  t->addresses = t->next_address = NULL;
}

static void on_pause_over(uv_timer_t *timer) { attempt(timer->data); }

/* `message` (owned) says what happened, `error` why. */
static void retry_later(rl_tcp *t, char *message, const char *error)
{
  bool was_connected = t->connected;
  drop_link(t);
  drop_addresses(t);
  if (was_connected) t->cls->end(t->self, t->receiver);
  char *told = rl_format("%s; trying again in %g s", message, (double)t->delay_ms / 1000);
  rl_receiver_error(t->receiver, told, error);
  rl_receiver_stopped(t->receiver, message);
  rl_free(told);
  rl_free(message);
  uv_timer_start(&t->timer, on_pause_over, t->delay_ms, 0);
}

static void not_connected(rl_tcp *t, int err)
{
  const char *reason = uv_strerror(err);
  retry_later(t, rl_format("cannot connect to %s: %s", t->peer, reason), reason);
}

/* With the thread's current error. */
static void data_refused(rl_tcp *t)
{
  rl_error why;
  rl_error_take(&why);
  retry_later(t, rl_format("%s; the connection to %s was closed", why.message, t->peer), why.message);
  rl_error_clear(&why);
}

/* Reading. */

static void on_room(uv_handle_t *tcp, size_t suggested, uv_buf_t *buf)
{
  (void)suggested;
  tcp_link *l = tcp->data;
  rl_tcp *t = l->owner;
  char *p = t->buffer;
  size_t n = BUFFER_BYTES;
  if (t->cls->room && t->cls->room(t->self, t->receiver, &p, &n) != RL_OK) n = 0; /* libuv then reads UV_ENOBUFS */
  *buf = uv_buf_init(p, n > INT32_MAX ? INT32_MAX : (unsigned)n);
}

static void read_failed(rl_tcp *t, int err)
{
  if (err == UV_ENOBUFS) {
    data_refused(t);
  } else if (err == UV_EOF) {
    retry_later(t, rl_format("the peer %s closed the connection", t->peer), "");
  } else {
    retry_later(t, rl_format("cannot read from %s: %s", t->peer, uv_strerror(err)), uv_strerror(err));
  }
}

static void stop_reading(rl_tcp *t)
{
  if (!t->reading) return;
  uv_read_stop((uv_stream_t *)&t->link->tcp);
  t->reading = false;
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
  tcp_link *l = tcp->data;
  rl_tcp *t = l->owner;
  if (n < 0) {
    read_failed(t, (int)n);
  } else if (n > 0) {
    if (t->cls->data(t->self, t->receiver, buf->base, (size_t)n) != RL_OK) {
      data_refused(t);
    } else if (atomic_load(&t->held)) {
      stop_reading(t);
    }
  }
}

static void start_reading(rl_tcp *t)
{
  if (!t->connected || t->reading || atomic_load(&t->held)) return;
  int err = uv_read_start((uv_stream_t *)&t->link->tcp, on_room, on_read);
  if (err != 0) {
    read_failed(t, err);
  } else {
    t->reading = true;
  }
}

/* Writing. */

static void write_failed(rl_tcp *t, int err)
{
  retry_later(t, rl_format("cannot write to %s: %s", t->peer, uv_strerror(err)), uv_strerror(err));
}

/* Comes for every write, also for one that the closing of its link cuts off. */
static void on_written(uv_write_t *req, int status)
{
  tcp_link *l = req->data;
  rl_tcp *t = l->owner;
  rl_free(l->out);
  l->out = NULL;
  if (!t) return;
  if (status != 0) {
    write_failed(t, status);
  } else if (t->cls->sent) {
    t->cls->sent(t->self, t->receiver);
  }
}

void rl_tcp_send(rl_tcp *t, const char *p, size_t n)
{
  tcp_link *l = t->link;
  l->out = rl_alloc(n);
  memcpy(l->out, p, n);
  l->write.data = l;
  const uv_buf_t buf = uv_buf_init(l->out, (unsigned)n);
  int err = uv_write(&l->write, (uv_stream_t *)&l->tcp, &buf, 1, on_written);
  if (err == 0) return;
  rl_free(l->out);
  l->out = NULL;
  write_failed(t, err);
}

/* Connecting: the addresses of the name, one after another. */

static void on_connect(uv_connect_t *req, int status)
{
  tcp_link *l = req->data;
  rl_tcp *t = l->owner;
  if (!t) return;
  uv_timer_stop(&t->timer);
  if (status != 0) {
    t->last_error = status;
    drop_link(t);
    connect_next(t);
    return;
  }
  drop_addresses(t);
  uv_tcp_keepalive(&l->tcp, 1, KEEPALIVE_S); /* finds out about a peer that went without a word, where there is such */
  t->connected = true;
  t->connection++;
  if (t->cls->begin) t->cls->begin(t->self, t->receiver);
  start_reading(t);
}

static void on_connect_slow(uv_timer_t *timer)
{
  rl_tcp *t = timer->data;
  t->last_error = UV_ETIMEDOUT;
  drop_link(t);
  connect_next(t);
}

static int connect_to(rl_tcp *t, const struct sockaddr *address)
{
  tcp_link *l = RL_NEW(tcp_link);
  int err = uv_tcp_init(t->loop, &l->tcp);
  if (err != 0) {
    rl_free(l);
    return err;
  }
  l->tcp.data = l->req.data = l;
  l->owner = t;
  t->link = l;
  err = uv_tcp_connect(&l->req, &l->tcp, address, on_connect);
  if (err != 0) drop_link(t);
  return err;
}

static void connect_next(rl_tcp *t)
{
  while (t->next_address) {
    const struct addrinfo *a = t->next_address;
    t->next_address = a->ai_next;
    int err = connect_to(t, a->ai_addr);
    if (err == 0) {
      uv_timer_start(&t->timer, on_connect_slow, CONNECT_MS, 0);
      return;
    }
    t->last_error = err;
  }
  not_connected(t, t->last_error);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *addresses)
{
  lookup *l = req->data;
  rl_tcp *t = l->owner;
  rl_free(l);
  if (!t) {
    uv_freeaddrinfo(addresses);
    return;
  }
  t->lookup = NULL;
  t->addresses = t->next_address = addresses;
  t->last_error = status != 0 ? status : UV_EAI_NODATA;
  connect_next(t);
}

static void attempt(rl_tcp *t)
{
  rl_receiver_started(t->receiver);
  char service[16];
  snprintf(service, sizeof service, "%d", t->port);
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  lookup *l = RL_NEW(lookup);
  l->req.data = l;
  l->owner = t;
  int err = uv_getaddrinfo(t->loop, &l->req, on_lookup, t->host, service, &hints);
  if (err != 0) {
    rl_free(l);
    not_connected(t, err);
  } else {
    t->lookup = l;
  }
}

/* What other threads ask for. */

#define FROM_CALL(call, member) ((rl_tcp *)((char *)(call)-offsetof(rl_tcp, member)))

static void run_start(rl_io_call *call)
{
  rl_tcp *t = FROM_CALL(call, start_call);
  uv_timer_init(t->loop, &t->timer);
  t->timer.data = t;
  attempt(t);
}

static void run_hold(rl_io_call *call)
{
  rl_tcp *t = FROM_CALL(call, hold_call);
  if (atomic_load(&t->held)) {
    stop_reading(t);
  } else {
    start_reading(t);
  }
}

static void run_wake(rl_io_call *call)
{
  rl_tcp *t = FROM_CALL(call, wake_call);
  if (t->cls->woken) t->cls->woken(t->self, t->receiver);
}

/* With the thread's current error. */
static void report(rl_receiver *r)
{
  rl_error why;
  rl_error_take(&why);
  rl_receiver_error(r, why.message, "");
  rl_error_clear(&why);
}

static void run_break(rl_io_call *call)
{
  rl_tcp *t = FROM_CALL(call, break_call);
  pthread_mutex_lock(&t->lock);
  bool current = t->connected && t->connection == t->broken;
  rl_error_raise(&t->why);
  pthread_mutex_unlock(&t->lock);
  if (current) {
    data_refused(t);
  } else {
    report(t->receiver);
  }
}

static void on_stopped(uv_handle_t *timer)
{
  rl_tcp *t = timer->data;
  pthread_mutex_lock(&t->lock);
  t->stopped = true;
  pthread_cond_signal(&t->changed);
  pthread_mutex_unlock(&t->lock);
}

static void run_stop(rl_io_call *call)
{
  rl_tcp *t = FROM_CALL(call, stop_call);
  bool was_connected = t->connected;
  if (t->lookup) {
    t->lookup->owner = NULL;
    uv_cancel((uv_req_t *)&t->lookup->req);
    t->lookup = NULL;
  }
  drop_link(t);
  drop_addresses(t);
  if (was_connected) t->cls->end(t->self, t->receiver);
  uv_close((uv_handle_t *)&t->timer, on_stopped);
}

/* Life. */

rl_status rl_tcp_new(const char *host, int port, const rl_tcp_class *cls, void *self, rl_tcp **out)
{
  *out = NULL;
  if (!host || !*host) return rl_fail(RL_EINVAL, "the host name is empty");
  if (port < 1 || port > 65535) return rl_fail(RL_EINVAL, "port %d is not between 1 and 65535", port);
  rl_tcp *t = RL_NEW(rl_tcp);
  t->cls = cls;
  t->self = self;
  t->host = rl_strdup(host);
  t->port = port;
  t->peer = rl_format(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
  t->start_call.run = run_start;
  t->stop_call.run = run_stop;
  t->hold_call.run = run_hold;
  t->break_call.run = run_break;
  t->wake_call.run = run_wake;
  if (pthread_mutex_init(&t->lock, NULL) != 0 || pthread_cond_init(&t->changed, NULL) != 0) abort();
  *out = t;
  return RL_OK;
}

void rl_tcp_delete(rl_tcp *t)
{
  if (!t) return;
  pthread_cond_destroy(&t->changed);
  pthread_mutex_destroy(&t->lock);
  rl_error_clear(&t->why);
  rl_free(t->buffer);
  rl_free(t->peer);
  rl_free(t->host);
  rl_free(t);
}

rl_status rl_tcp_start(rl_tcp *t, rl_receiver *r)
{
  rl_io *io;
  rl_status st = rl_io_acquire(&io);
  if (st != RL_OK) return st;
  t->receiver = r;
  t->delay_ms = (uint64_t)rl_receiver_restart_delay_ms(r);
  t->loop = rl_io_loop(io);
  if (!t->cls->room) t->buffer = rl_alloc(BUFFER_BYTES);
  pthread_mutex_lock(&t->lock);
  t->io = io;
  pthread_mutex_unlock(&t->lock);
  rl_io_post(io, &t->start_call);
  return RL_OK;
}

void rl_tcp_stop(rl_tcp *t)
{
  pthread_mutex_lock(&t->lock);
  rl_io *io = t->io;
  t->io = NULL; /* no calls behind the stop */
  if (io) {
    rl_io_post(io, &t->stop_call);
    while (!t->stopped) pthread_cond_wait(&t->changed, &t->lock);
  }
  pthread_mutex_unlock(&t->lock);
  if (io) rl_io_release(io);
}

void rl_tcp_hold(rl_tcp *t, bool on)
{
  atomic_store(&t->held, on);
  pthread_mutex_lock(&t->lock);
  if (t->io) rl_io_post(t->io, &t->hold_call);
  pthread_mutex_unlock(&t->lock);
}

void rl_tcp_wake(rl_tcp *t)
{
  pthread_mutex_lock(&t->lock);
  if (t->io) rl_io_post(t->io, &t->wake_call);
  pthread_mutex_unlock(&t->lock);
}

void rl_tcp_break(rl_tcp *t, uint64_t connection)
{
  pthread_mutex_lock(&t->lock);
  bool runs = t->io != NULL;
  if (runs) {
    rl_error_clear(&t->why);
    rl_error_take(&t->why);
    t->broken = connection;
    rl_io_post(t->io, &t->break_call);
  }
  pthread_mutex_unlock(&t->lock);
  if (!runs) report(t->receiver);
}

uint64_t rl_tcp_connection(const rl_tcp *t) { return t->connection; }
