/* The io thread: one libuv loop for all sockets, started with the first source that uses it and ended with the last. */
#ifndef RL_SOURCE_IO_H
#define RL_SOURCE_IO_H

#include <stdbool.h>
#include <uv.h>

#include "base/status.h"

typedef struct rl_io rl_io;

/* Something to do on the io thread; lies in its sender's struct, which outlives it. */
typedef struct rl_io_call {
  struct rl_io_call *next;
  void (*run)(struct rl_io_call *call);
  bool queued; /* under the io's lock */
} rl_io_call;

rl_status rl_io_acquire(rl_io **out);
/* The last one ends the thread; all handles of its users must be closed or closing. A thread that does not end within
 * 10 s (a name look-up in the system's resolver that hangs) is left behind with a warning. Not on the io thread. */
void rl_io_release(rl_io *io);
uv_loop_t *rl_io_loop(rl_io *io);             /* for use on the io thread */
void rl_io_post(rl_io *io, rl_io_call *call); /* any thread; a call still queued is not queued twice */

#endif
