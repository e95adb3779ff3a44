/* A TCP connection to a server as a source has it: looked up, connected, read from and written to, and when it fails or
 * ends, told so and made anew after rille.streaming.receiverRestartDelay, for ever. Lives on the io thread. */
#ifndef RL_SOURCE_TCP_H
#define RL_SOURCE_TCP_H

#include "run/receiver.h"

typedef struct rl_tcp rl_tcp;

/* What a source does with it; all on the io thread. A failure ends the connection with that error. */
typedef struct rl_tcp_class {
  /* Where to read to. NULL: a buffer of the connection's own. */
  rl_status (*room)(void *self, rl_receiver *r, char **p, size_t *n);
  /* n > 0 bytes have come, into the room if one was given. */
  rl_status (*data)(void *self, rl_receiver *r, const char *p, size_t n);
  /* The end of a connection that was made, for whatever reason. */
  void (*end)(void *self, rl_receiver *r);
  /* A connection was made. NULL is allowed from here on. */
  void (*begin)(void *self, rl_receiver *r);
  /* All of rl_tcp_send was taken by the system. */
  void (*sent)(void *self, rl_receiver *r);
  /* rl_tcp_wake was called, once or several times; also while there is no connection. */
  void (*woken)(void *self, rl_receiver *r);
} rl_tcp_class;

/* RL_EINVAL for a host or port that cannot be. */
rl_status rl_tcp_new(const char *host, int port, const rl_tcp_class *cls, void *self, rl_tcp **out);
void rl_tcp_delete(rl_tcp *t); /* not started, or stopped; NULL is allowed */

rl_status rl_tcp_start(rl_tcp *t, rl_receiver *r);
/* Stops reading and closes; when it returns no callback runs any more. Not on the io thread. */
void rl_tcp_stop(rl_tcp *t);
void rl_tcp_hold(rl_tcp *t, bool on); /* stop reading, go on; any thread, at any time */
/* Ends connection number `connection` as a failed `data` does; if that has ended meanwhile, the error is only reported.
 * It is the thread's current one. Any thread. */
void rl_tcp_break(rl_tcp *t, uint64_t connection);
/* Sends bytes (copied) to the peer; not before all of the last call's were `sent`. A failure ends the connection, maybe
 * before this returns. io thread, from `begin` to `end`. */
void rl_tcp_send(rl_tcp *t, const char *p, size_t n);
void rl_tcp_wake(rl_tcp *t); /* has `woken` called soon, unless it is stopped; any thread, at any time */
uint64_t rl_tcp_connection(const rl_tcp *t); /* counted from 1; io thread */

#endif
