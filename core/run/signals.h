/* The signals that ask the active context of the process to stop (supervise.h has what a supervisor is told). They are
 * caught only while the driver waits; the handler counts them and ends the wait, and who waited obeys. How many there
 * were, and what a second one calls besides, is in streaming.h. Driver thread. */
#ifndef RL_RUN_SIGNALS_H
#define RL_RUN_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "run/driver.h"

/* What was in their place before. Begins as {0}. */
typedef struct rl_caught {
  bool on;
  struct sigaction old_int, old_term, old_hup;
} rl_caught;

/* From here on SIGINT, SIGTERM and, unless it is ignored, SIGHUP end the waits of d. Inside another wait that catches
 * them it does nothing, nor does its release. */
void rl_signals_catch(rl_driver *d, rl_caught *c);
void rl_signals_release(rl_caught *c);
/* At a context's start: none was seen. */
void rl_signals_reset(void);
/* When the first came, monotonic; known once rl_streaming_signals counts one. */
int64_t rl_signals_first_ns(void);

#endif
