/* Child processes that bytes go through: written to their standard input, read from their standard output. Standard
 * error, directory and environment are the caller's. Our ends are non-blocking and close-on-exec.
 *
 * A process leads a group of its own, so that ending it ends what it has started. A write to one that reads no more
 * raises SIGPIPE: threads that use this block it, as every engine thread does. One thread uses a process. */
#ifndef RL_BASE_PROCESS_H
#define RL_BASE_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct rl_process rl_process;

/* Runs argv[0], looked up in PATH, with argv (ends with NULL). `env`: "NAME=value" that replace what is there (ends
 * with NULL; may be NULL). `cancelled` (may be NULL) makes what waits end with RL_ECANCELLED. */
rl_status rl_process_start(const char *const *argv, const char *const *env, const atomic_bool *cancelled,
                           rl_process **out);

/* What is to be moved, and what was. */
typedef struct rl_process_io {
  const char *in; /* to be written; the call moves it on */
  size_t in_n;
  char *out; /* room for what is read; likewise */
  size_t room;
  bool ended; /* the process closed its output, and all of it was read */
} rl_process_io;

/* Waits until something can be moved, either way, and moves it. With room > 0 neither side can block the other. A
 * process that reads no more has all its input dropped. */
rl_status rl_process_move(rl_process *p, rl_process_io *io);
void rl_process_end_input(rl_process *p);

/* Waits until the process has ended. RL_EUSER unless its status is 0: "'sort -k2' ended with status 2". */
rl_status rl_process_wait(rl_process *p);

void rl_process_delete(rl_process *p); /* kills it when it still runs; NULL is allowed */

#endif
