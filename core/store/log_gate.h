/* The way to a log for those who may outlive it: received blocks that lie in the log only, stages whose job was given up.
 * Whoever uses the log is inside meanwhile; when it is to be closed, the gate is, and nobody gets in any more. Counted.
 * Any thread. */
#ifndef RL_STORE_LOG_GATE_H
#define RL_STORE_LOG_GATE_H

#include "store/wal.h"

typedef struct rl_log_gate rl_log_gate;

rl_log_gate *rl_log_gate_new(rl_wal *w); /* one reference */
rl_log_gate *rl_log_gate_ref(rl_log_gate *g);
void rl_log_gate_unref(rl_log_gate *g); /* NULL is allowed */

/* The log, until leave; NULL when it is closed: then there is nothing to leave. */
rl_wal *rl_log_gate_enter(rl_log_gate *g);
void rl_log_gate_leave(rl_log_gate *g);

/* The log is about to be closed: stops it, so that nobody waits for room inside, and waits until all have left. */
void rl_log_gate_close(rl_log_gate *g);

#endif
