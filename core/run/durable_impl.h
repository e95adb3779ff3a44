/* Between durable.c (writing), found.c (what is found at the start) and recover.c, recover_inputs.c (restoring it). Not
 * public. */
#ifndef RL_RUN_DURABLE_IMPL_H
#define RL_RUN_DURABLE_IMPL_H

#include "plan/stated.h"
#include "run/receiver_impl.h"
#include "run/stream.h"
#include "store/journal.h"
#include "store/logged_block.h"

/* A block of the earlier run. */
typedef struct rl_past_block {
  rl_wal_at at;
  char *uid; /* of its input */
  uint64_t records, position;
  size_t bytes;
  bool allocated; /* to a batch */
} rl_past_block;

/* What was read from the log at the start. */
typedef struct rl_found {
  bool started; /* there is a job */
  bool whole;   /* the log goes back to its beginning */
  int64_t zero, batch_ms;
  rl_past **batches; /* by time */
  size_t nbatches, batches_cap;
  int64_t settled; /* all batches up to here are complete */
  int64_t oldest;  /* and up to here no window has to look at them again, but as far as it looks back */
  int64_t gone;    /* what was received up to here cannot be had again; RL_NO_TIME: all can */
  int64_t lost;    /* likewise, by a repair; it is in `gone` */
  rl_past_block *blocks; /* by sequence */
  size_t nblocks, blocks_cap;
  int64_t image; /* newest version of the image where the log does not reach it; RL_NO_TIME */
  rl_buf graph;          /* of the newest START; empty: it has none */
  rl_buf kept;           /* of the newest mark; its batch's time, or RL_NO_TIME */
  int64_t kept_time;
} rl_found;

/* A batch whose records may still be asked for. */
typedef struct rl_retained {
  int64_t time;
  uint64_t floor;
} rl_retained;

struct rl_durable {
  rl_streaming *s;
  rl_wal *wal;
  rl_log_gate *gate; /* for blocks that are in the log only, and stages */
  bool logs_receivers;
  int64_t retain_ms; /* rille.history.retain */
  rl_state_log state_log;
  rl_found found;
  int64_t other_code; /* batches up to here may have been made by another script than today's; RL_NO_TIME: none */
  uint64_t kept;          /* hash of what the last mark had of rl_keeper */
  _Atomic uint64_t floor; /* what was not allocated to a batch yet comes behind */
  _Atomic int64_t settled; /* all batches up to here are complete, and that is on disk; RL_NO_TIME: none is known to be */
  rl_retained *retained;  /* by time; the last one stays always: it has the positions of the inputs */
  size_t nretained, retained_cap;

  /* Places of inputs that the job has no more: they go from BEGIN to BEGIN, for the day it has them again. Views into
   * `found`, or into what was joined for them. */
  rl_journal_input *carried;
  size_t ncarried, carried_cap;
  rl_buf *joined;
  size_t njoined, joined_cap;

  rl_message begun;  /* BEGIN is on disk, or failed */
  rl_error error;    /* written by the log's thread before it posts */
};

void rl_found_clear(rl_found *f);
rl_wal_visit rl_found_visit; /* user: the rl_found */
rl_past *rl_found_batch(rl_found *f, int64_t time); /* NULL: none */
rl_past_block *rl_found_block(const rl_found *f, uint64_t seq); /* likewise */
bool rl_slice_is(rl_slice s, const char *text);

/* Is the batch in the time that the stream looks back? */
bool rl_past_is_remembered(const rl_dstream *d, const rl_past *p);
/* May what the stream gave in it be asked for again: by the batch itself, or by a window of a later one? */
bool rl_past_is_needed(const rl_dstream *d, const rl_past *p);

/* RL_EUNSUPPORTED: the job has inputs that cannot give again what they gave. */
rl_status rl_check_inputs(const rl_streaming *s);
rl_status rl_restore_inputs(rl_streaming *s, const rl_past *p);
/* Of a batch that was discarded: its records are in nothing, but its inputs were taken, and go on behind it. */
rl_status rl_restore_places(rl_streaming *s, const rl_past *p);
/* Before all batches: no start loses a place that a record of the log has. */
rl_status rl_restore_old_places(rl_streaming *s);
/* Behind all batches. RL_EINVAL: there are records of an input that the job has no more. */
rl_status rl_restore_receivers(rl_streaming *s);

/* Compares the graph with the one recorded beside the state, or in the log: before anything of the job is done.
 * RL_EINVAL: an operator cannot go on with the state under its uid. RL_EDATA: there is a record, and no log. *out: what
 * is to be recorded in its place; in START, and then beside the state where it has `changed` there. */
rl_status rl_durable_compare_graph(rl_streaming *s, rl_buf *out, bool *changed);
rl_status rl_durable_record_graph(rl_streaming *s, const rl_buf *graph);

void rl_durable_retain(rl_durable *d, int64_t time, uint64_t floor);

#endif
