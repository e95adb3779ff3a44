/* A durable job: the log of a streaming context and what is found in it at the next start (DESIGN section 5,
 * docs/decisions/014). Not public.
 *
 * DIR/log is the write-ahead log (store/wal.h) with the records of store/journal.h, DIR/state the image of the state
 * (store/state.h). Who writes what:
 *
 *   BLOCK     receivers, as they cut (run/gather.c)
 *   BEGIN     the driver, once the inputs of the batch are read; only when it is on disk is anything computed
 *   STATE     the worker that seals an operator's version (plan/stated.h), before it does
 *   END       the driver, when all state of the batch is made
 *   OUTPUT, COMPLETE   the driver, when an output, or the last of them, is done
 *
 * Nothing waits for END, OUTPUT and COMPLETE: a batch whose marks are lost is run again, and gives the same. A version
 * may go into the image when its batch's COMPLETE is on disk, so the image is never ahead of a pending batch.
 *
 * When the log fails, no batch begins any more: the error is the context's, and it stops. On a full disk the log waits,
 * and with it BEGIN: batches and what sources bring pile up to their bounds, and go on when there is room.
 *
 * Driver thread, but for what is said otherwise. */
#ifndef RL_RUN_DURABLE_H
#define RL_RUN_DURABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "plan/rdd.h"
#include "store/wal.h"

struct rl_streaming;
struct rl_batch;
struct rl_output_run;

typedef struct rl_durable rl_durable;

/* Where the log has one partition of a version of state. */
typedef struct rl_past_state {
  char *uid;
  uint32_t partition, partitions;
  rl_wal_at at;
} rl_past_state;

/* What the log has of a batch of an earlier run. Lives until the stop. */
typedef struct rl_past {
  int64_t time;
  uint64_t floor; /* its records, and those of its blocks, have this sequence or a later one */
  bool ended;     /* its state is made */
  bool complete;  /* nothing is left to do */
  bool discarded;
  bool stripped;  /* blocks of it are not in the log any more: nobody needed it when they were removed */
  char **outputs; /* keys of those that are done */
  size_t noutputs, outputs_cap;
  char *begin; /* the BEGIN record */
  size_t begin_n;
  rl_past_state *states; /* the newest of each partition */
  size_t nstates, states_cap;
} rl_past;

bool rl_past_has_output(const rl_past *p, const char *key);

/* Opens log and state and reads what is there; the graph is reached, nothing else is started. Sets the zero time and
 * the latest batch when there are any. RL_ESTATE: another process has the directory; RL_EINVAL: the job cannot go on
 * with what is there, and why. */
rl_status rl_durable_open(struct rl_streaming *s);
/* Gives streams, receivers and the store what the earlier run left; then queues its pending batches and those missed
 * meanwhile. `restart`: the time of the first live batch, which it returns moved on when the clock went back. */
rl_status rl_durable_restore(struct rl_streaming *s);
void rl_durable_catch_up(struct rl_streaming *s, int64_t restart);
bool rl_durable_is_paused(const struct rl_streaming *s); /* the log waits for room on the disk */
/* Appends that wait return; for a stop that cannot wait for room on the disk. */
void rl_durable_give_up(struct rl_streaming *s);
void rl_durable_close(struct rl_streaming *s); /* before the state store closes, behind all batches. NULL durable: nothing */

/* Any thread: a tick is about to take blocks. What the batch will have comes behind the sequence it returns. */
uint64_t rl_durable_floor(rl_durable *d);
/* Logs the batch's inputs; rl_batch_begun follows, as a message. */
rl_status rl_durable_begin(struct rl_streaming *s, struct rl_batch *b);
/* What STATE records are written by: for rl_rdd_log_state. NULL when the job is not durable. */
const struct rl_state_log *rl_durable_state_log(struct rl_streaming *s);
void rl_durable_end(struct rl_streaming *s, const struct rl_batch *b);
void rl_durable_output(struct rl_streaming *s, const struct rl_output_run *r);
/* `settled`: all batches up to here are complete. */
void rl_durable_complete(struct rl_streaming *s, const struct rl_batch *b, int64_t settled);
/* Batches up to `settled` are complete, and are still asked for up to `remember` later: what lies before that, as far as
 * the log has it on disk that they are, is not needed any more. */
void rl_durable_forget(struct rl_streaming *s, int64_t settled, int64_t remember);
/* Batches up to this one may have been made by other texts than today's; RL_NO_TIME: none. */
int64_t rl_durable_other_code(const struct rl_streaming *s);

#endif
