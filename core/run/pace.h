/* The pace of a receiver: between what its source stores and its gatherer. It lets through as many records a second as
 * rille.streaming.receiver.maxRate and backpressure allow (sections 12.2 and 17 of the reference), and nothing while
 * memory is short (run/pressure.h). So the source is slowed down: what must not wait is told by its `hold` not to read
 * on, others wait in their store calls. Nothing is dropped.
 *
 * Text that was read and is not let through yet lies behind the gatherer's open line, in the very buffer it was read
 * into; a timer lets it through line by line. The source is held back meanwhile, so at most one buffer waits. At the
 * end of a connection, and when the receiver is stopped, what was read is let through at once.
 *
 * Whole blocks are not cut. With backpressure their records are counted, and the source is held back, or waits with the
 * next one, until the rate has allowed for them; otherwise they are not (docs/decisions/027).
 *
 * Calls as those of run/gather.h, which they stand for. */
#ifndef RL_RUN_PACE_H
#define RL_RUN_PACE_H

#include "run/context.h"
#include "run/gather.h"
#include "run/pressure.h"

typedef struct rl_pace rl_pace;

typedef struct rl_pace_spec {
  rl_context *context; /* for timers, until rl_pace_stop, and the limits */
  rl_pressure *pressure; /* referenced */
  void (*hold)(void *user, bool on); /* the source's, see rl_gather_spec; NULL: its calls wait */
  void *user;
} rl_pace_spec;

rl_pace *rl_pace_new(const rl_pace_spec *spec);
void rl_pace_delete(rl_pace *p); /* stopped; before its gatherer */
/* Before anything is stored. The gatherer was made with rl_pace_hold as its `hold`, where the source has one, and the
 * pace as `user`. */
void rl_pace_begin(rl_pace *p, rl_gather *g);
void rl_pace_hold(void *pace, bool on);

rl_status rl_pace_reserve(rl_pace *p, size_t least, char **at, size_t *room);
rl_status rl_pace_commit(rl_pace *p, size_t n, bool *cut_line);
void rl_pace_flush(rl_pace *p); /* what waits is let through now: before it is ended, dropped or followed by others */
rl_status rl_pace_store(rl_pace *p, const rl_value *fields, uint32_t n);
rl_status rl_pace_store_block(rl_pace *p, rl_chunks *chunks);

void rl_pace_update(void *pace, int64_t rate); /* any thread: a new rate, records a second */
void rl_pace_let_go(rl_pace *p); /* nothing is limited and nobody waits or is held from now on */
void rl_pace_stop(rl_pace *p);   /* behind the source's stop: the context is not used any more */

#endif
