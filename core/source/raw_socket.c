/* Blocks of encoded chunks from a TCP server: one frame, one block. */
#include "base/mem.h"
#include "run/budget.h"
#include "source/frame.h"
#include "source/sources.h"
#include "source/tcp.h"

typedef struct raw_socket {
  rl_tcp *tcp;
  rl_frames frames; /* io thread */
} raw_socket;

static rl_status store_frame(void *user, rl_chunks *chunks) { return rl_receiver_store_block(user, chunks); }

static rl_status raw_data(void *self, rl_receiver *r, const char *p, size_t n)
{
  raw_socket *raw = self;
  return rl_frames_feed(&raw->frames, p, n, store_frame, r);
}

static void raw_end(void *self, rl_receiver *r)
{
  raw_socket *raw = self;
  if (rl_frames_is_open(&raw->frames) && !rl_receiver_is_stopping(r))
    rl_receiver_error(r, "the connection ended in the middle of a frame; what had come of it is dropped", "");
  rl_frames_reset(&raw->frames);
}

static const rl_tcp_class raw_tcp_class = {.data = raw_data, .end = raw_end};

/* A frame is held whole before it becomes a block, so it may be as large as what may wait. */
static rl_status raw_start(void *self, rl_receiver *r)
{
  raw_socket *raw = self;
  rl_budget budget = {0};
  rl_budget_read(rl_context_conf(rl_streaming_context(rl_receiver_streaming(r))), &budget);
  raw->frames.limit = budget.receiver > 0 ? (size_t)budget.receiver : UINT32_MAX;
  return rl_tcp_start(raw->tcp, r);
}

static void raw_stop(void *self) { rl_tcp_stop(((raw_socket *)self)->tcp); }
static void raw_hold(void *self, bool on) { rl_tcp_hold(((raw_socket *)self)->tcp, on); }

static void raw_destroy(void *self)
{
  raw_socket *raw = self;
  rl_tcp_delete(raw->tcp);
  rl_frames_reset(&raw->frames);
  rl_free(raw);
}

static const rl_receiver_class raw_class = {
  .name = "RawSocketReceiver",
  .stream = "Raw socket stream",
  .start = raw_start,
  .stop = raw_stop,
  .hold = raw_hold,
  .destroy = raw_destroy,
};

rl_status rl_source_raw_socket(rl_streaming *s, const char *host, int port, const char *site, rl_dstream **out)
{
  raw_socket *raw = RL_NEW(raw_socket);
  rl_status st = rl_tcp_new(host, port, &raw_tcp_class, raw, &raw->tcp);
  if (st == RL_OK) return rl_streaming_add_receiver(s, &raw_class, raw, site, out);
  raw_destroy(raw);
  return st;
}
