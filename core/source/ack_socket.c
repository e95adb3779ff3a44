/* Lines from a TCP server that keeps them until they are acknowledged (docs/ack-protocol.md).
 *
 * The engine counts lines by their \n, as the sender does, over all connections and runs: a line is a record, and its
 * number is the stream's position behind it. So nothing may become a record that is not a whole line: an unfinished one
 * stays here, and goes with its connection.
 *
 * How far the log is, its thread says; the io thread then tells the sender the newest position there is, one write at a
 * time. So a sender that does not read costs one short write, however long it sleeps. */
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "source/sources.h"
#include "source/tcp.h"

#define PROTOCOL "RILLE-ACK 1"

typedef struct ack_socket {
  rl_tcp *tcp;
  rl_dstream *stream;
  _Atomic uint64_t durable; /* lines on disk */
  size_t limit;             /* of a line */
  uint64_t stored;          /* io thread, from here on: lines given to the receiver, in the job's life */
  uint64_t told;            /* the last position sent on this connection */
  bool connected, announced;
  bool sending;  /* what was sent last is not gone yet */
  bool singly;   /* a line with a \r of its own came: it and those behind it are stored one by one */
  rl_buf begun;  /* a line whose end has not come */
} ack_socket;

/* Telling. */

static void send_line(ack_socket *s, const rl_buf *line)
{
  s->sending = true;
  rl_tcp_send(s->tcp, line->p, line->n);
}

/* Not before all that was stored is on disk: the sender would send what is on its way there a second time. */
static void announce(ack_socket *s, uint64_t durable)
{
  if (durable != s->stored) return;
  s->announced = true;
  s->told = durable;
  rl_buf line = {0};
  rl_buf_printf(&line, PROTOCOL " %" PRIu64 " %s\n", durable, rl_dstream_uid(s->stream));
  send_line(s, &line);
  rl_buf_free(&line);
}

static void acknowledge(ack_socket *s, uint64_t durable)
{
  if (durable == s->told) return;
  s->told = durable;
  rl_buf line = {0};
  rl_buf_printf(&line, "ACK %" PRIu64 "\n", durable);
  send_line(s, &line);
  rl_buf_free(&line);
}

static void tell(ack_socket *s)
{
  if (!s->connected || s->sending) return;
  uint64_t durable = atomic_load(&s->durable);
  if (s->announced) {
    acknowledge(s, durable);
  } else {
    announce(s, durable);
  }
}

/* Lines. */

/* p[0 .. n) begins with a line: its length with its \n, and *text without its end. */
static size_t measure(const char *p, size_t n, size_t *text)
{
  size_t at = (size_t)((const char *)memchr(p, '\n', n) - p);
  *text = at > 0 && p[at - 1] == '\r' ? at - 1 : at;
  return at + 1;
}

/* The lines up to the first that is too long: their bytes, and how many they are. */
static size_t good_lines(const ack_socket *s, const char *p, size_t n, uint64_t *lines)
{
  size_t good = 0, text;
  *lines = 0;
  while (good < n) {
    size_t line = measure(p + good, n - good, &text);
    if (text > s->limit) break;
    good += line;
    ++*lines;
  }
  return good;
}

/* A \r that is no part of a line's end: text (data/text.h) would make two lines of it. */
static bool has_lone_cr(const char *p, size_t n)
{
  const char *end = p + n;
  for (const char *cr = memchr(p, '\r', n); cr; cr = memchr(cr + 1, '\r', (size_t)(end - cr - 1)))
    if (cr[1] != '\n') return true;
  return false;
}

static rl_status store_text(rl_receiver *r, const char *p, size_t n)
{
  char *room;
  size_t size;
  rl_status st = rl_receiver_reserve(r, n, &room, &size);
  if (st != RL_OK) return st;
  memcpy(room, p, n);
  return rl_receiver_commit(r, n);
}

static rl_status store_singly(ack_socket *s, rl_receiver *r, const char *p, size_t n)
{
  if (!s->singly) rl_receiver_flush(r); /* what is open as text comes before */
  s->singly = true;
  rl_status st = RL_OK;
  for (size_t at = 0, text; at < n && st == RL_OK;) {
    const char *line = p + at;
    at += measure(line, n - at, &text);
    rl_value v = rl_str(line, text);
    st = rl_receiver_store(r, &v, 1);
    if (st == RL_OK) s->stored++;
  }
  return st;
}

static rl_status too_long(const ack_socket *s)
{
  return rl_fail(RL_ELIMIT, "line %" PRIu64 " is longer than %zu bytes (rille.streaming.receiver.maxRecordBytes)",
                 s->stored + 1, s->limit);
}

/* Whole lines. */
static rl_status store(ack_socket *s, rl_receiver *r, const char *p, size_t n)
{
  uint64_t lines;
  size_t good = good_lines(s, p, n, &lines);
  rl_status st = RL_OK;
  if (good > 0 && (s->singly || has_lone_cr(p, good))) {
    st = store_singly(s, r, p, good);
  } else if (good > 0) {
    st = store_text(r, p, good);
    if (st == RL_OK) s->stored += lines;
  }
  return st == RL_OK && good < n ? too_long(s) : st;
}

static rl_status begin_line(ack_socket *s, const char *p, size_t n)
{
  if (n > 0) rl_buf_add(&s->begun, p, n);
  size_t text = s->begun.n;
  if (text > 0 && s->begun.p[text - 1] == '\r') text--;
  return text > s->limit ? too_long(s) : RL_OK;
}

static rl_status end_line(ack_socket *s, rl_receiver *r, const char *p, size_t n)
{
  rl_buf_add(&s->begun, p, n);
  rl_status st = store(s, r, s->begun.p, s->begun.n);
  rl_buf_clear(&s->begun);
  return st;
}

/* The connection. */

static rl_status ack_data(void *self, rl_receiver *r, const char *p, size_t n)
{
  ack_socket *s = self;
  if (!s->announced)
    return rl_fail(RL_EDATA, "the peer sent before it was told from which line on; it does not speak the acknowledging "
                             "line protocol");
  const char *first = memchr(p, '\n', n), *last = memrchr(p, '\n', n);
  if (!first) return begin_line(s, p, n);
  const char *from = p;
  rl_status st = RL_OK;
  if (s->begun.n > 0) {
    from = first + 1;
    st = end_line(s, r, p, (size_t)(from - p));
  }
  const char *rest = last + 1;
  if (st == RL_OK && rest > from) st = store(s, r, from, (size_t)(rest - from));
  return st == RL_OK ? begin_line(s, rest, (size_t)(p + n - rest)) : st;
}

static void ack_begin(void *self, rl_receiver *r)
{
  ack_socket *s = self;
  s->connected = true;
  s->singly = false;
  rl_receiver_flush(r); /* what is open holds up the announcement */
  tell(s);
}

static void ack_end(void *self, rl_receiver *r)
{
  (void)r;
  ack_socket *s = self;
  s->connected = s->announced = s->sending = false;
  rl_buf_free(&s->begun);
}

static void ack_sent(void *self, rl_receiver *r)
{
  (void)r;
  ack_socket *s = self;
  s->sending = false;
  tell(s);
}

static void ack_woken(void *self, rl_receiver *r)
{
  (void)r;
  tell(self);
}

static const rl_tcp_class ack_tcp_class = {
  .data = ack_data,
  .end = ack_end,
  .begin = ack_begin,
  .sent = ack_sent,
  .woken = ack_woken,
};

/* The source. */

static size_t line_limit(rl_receiver *r)
{
  const rl_conf *conf = rl_context_conf(rl_streaming_context(rl_receiver_streaming(r)));
  int64_t bytes = rl_conf_size(conf, "rille.streaming.receiver.maxRecordBytes");
  return bytes > 0 ? (size_t)bytes : SIZE_MAX; /* 0: no limit */
}

static rl_status not_logged(rl_receiver *r)
{
  const char *way = rl_streaming_checkpoint_dir(rl_receiver_streaming(r))
                      ? "leave rille.reliable and rille.streaming.receiver.writeAheadLog.enable on"
                      : "give it a checkpoint directory";
  return rl_fail(RL_ESTATE, "%s: ack: lines are acknowledged when they are in a log on disk, and this job has none; %s",
                 rl_receiver_label(r), way);
}

static rl_status ack_start(void *self, rl_receiver *r)
{
  ack_socket *s = self;
  if (!rl_receiver_is_logged(r)) return not_logged(r);
  s->stored = rl_receiver_position(r);
  atomic_store(&s->durable, s->stored);
  s->limit = line_limit(r);
  return rl_tcp_start(s->tcp, r);
}

static void ack_durable(void *self, uint64_t position)
{
  ack_socket *s = self;
  atomic_store(&s->durable, position);
  rl_tcp_wake(s->tcp);
}

static void ack_stop(void *self) { rl_tcp_stop(((ack_socket *)self)->tcp); }
static void ack_hold(void *self, bool on) { rl_tcp_hold(((ack_socket *)self)->tcp, on); }

static void ack_destroy(void *self)
{
  ack_socket *s = self;
  rl_tcp_delete(s->tcp);
  rl_free(s);
}

static const rl_receiver_class ack_class = {
  .name = "SocketReceiver",
  .stream = "Socket stream",
  .start = ack_start,
  .stop = ack_stop,
  .hold = ack_hold,
  .durable = ack_durable,
  .destroy = ack_destroy,
};

rl_status rl_source_ack_socket(rl_streaming *s, const char *host, int port, const char *site, rl_dstream **out)
{
  ack_socket *source = RL_NEW(ack_socket);
  rl_status st = rl_tcp_new(host, port, &ack_tcp_class, source, &source->tcp);
  if (st != RL_OK) {
    ack_destroy(source);
    return st;
  }
  st = rl_streaming_add_receiver(s, &ack_class, source, site, out);
  if (st == RL_OK) source->stream = *out;
  return st;
}
