/* Lines of text from a TCP server, read into the blocks' own buffers. */
#include "base/mem.h"
#include "source/sources.h"
#include "source/tcp.h"

#define ROOM_LEAST 4096 /* less is not worth a read */

static rl_status text_room(void *self, rl_receiver *r, char **p, size_t *n)
{
  (void)self;
  return rl_receiver_reserve(r, ROOM_LEAST, p, n);
}

static rl_status text_data(void *self, rl_receiver *r, const char *p, size_t n)
{
  (void)self;
  (void)p; /* it is where text_room said */
  return rl_receiver_commit(r, n);
}

static void text_end(void *self, rl_receiver *r)
{
  (void)self;
  rl_receiver_end_text(r);
}

static const rl_tcp_class text_class = {.room = text_room, .data = text_data, .end = text_end};

/* The source is its connection. */

static rl_status socket_start(void *self, rl_receiver *r) { return rl_tcp_start(self, r); }
static void socket_stop(void *self) { rl_tcp_stop(self); }
static void socket_hold(void *self, bool on) { rl_tcp_hold(self, on); }
static void socket_destroy(void *self) { rl_tcp_delete(self); }

static const rl_receiver_class socket_class = {
  .name = "SocketReceiver",
  .stream = "Socket stream",
  .start = socket_start,
  .stop = socket_stop,
  .hold = socket_hold,
  .destroy = socket_destroy,
};

rl_status rl_source_socket(rl_streaming *s, const char *host, int port, const char *site, rl_dstream **out)
{
  rl_tcp *tcp;
  rl_status st = rl_tcp_new(host, port, &text_class, NULL, &tcp);
  return st == RL_OK ? rl_streaming_add_receiver(s, &socket_class, tcp, site, out) : st;
}
