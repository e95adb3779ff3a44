/* The records of a durable job: what its write-ahead log (store/wal.h) holds, and their bytes (docs/formats.md).
 *
 * In the order of the log:
 *   START     the job began, or began again, in this process
 *   BLOCK     a receiver cut a block; logged before its source is told that it is safe
 *   BEGIN     batch `time` has these inputs; on disk before anything of the batch is computed
 *   STATE     what one partition of an operator's update changed in batch `time`, and what it emitted. Means nothing
 *             before END. A later one of the same (time, uid, partition) takes the place of an earlier one
 *   END       the state of batch `time` is made: all its STATE records are behind us
 *   OUTPUT    an output of batch `time` is done and is not to be run again
 *   COMPLETE  all of batch `time` is over, or it was discarded
 *   LOST      written by a repair: what batches up to `time` had is not all there any more, and may be in windows
 *
 * A batch with BEGIN and without COMPLETE is pending: it is run again with the same inputs; with END, its state is not
 * computed again; what has OUTPUT is not run again.
 *
 * Encoding appends to a buffer and cannot fail. Decoding gives views into the record's bytes, checks everything, and is
 * RL_EDATA, with what is wrong, when the bytes are not as written here: they come from a disk. Integers are varints and
 * strings, lists and blobs have their length in front, as in the codec (data/codec.h). */
#ifndef RL_STORE_JOURNAL_H
#define RL_STORE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "data/codec.h"

#define RL_JOURNAL_VERSION 2 /* in START; a later one is RL_EUNSUPPORTED; 1: there is no graph in it */

/* Types of records in the log. */
typedef enum rl_journal_type {
  RL_JOURNAL_START = 1,
  RL_JOURNAL_BLOCK,
  RL_JOURNAL_BEGIN,
  RL_JOURNAL_STATE,
  RL_JOURNAL_END,
  RL_JOURNAL_OUTPUT,
  RL_JOURNAL_COMPLETE,
  RL_JOURNAL_LOST,
  RL_JOURNAL_TYPES /* one more than the last */
} rl_journal_type;

/* "START" ...; "type 99" is not known here: NULL. */
const char *rl_journal_name(unsigned type);

/* Bytes that lie somewhere else. */
typedef struct rl_slice {
  const char *p;
  size_t n;
} rl_slice;

typedef struct rl_journal_start {
  int64_t zero, batch_ms; /* the job's grid of batch times: fixed by its first START */
  int64_t now;            /* wall clock, ms */
  uint32_t script;        /* script version */
  rl_slice app, engine;   /* rille.app.name; version of Rille */
  rl_slice graph;         /* of the job (store/outline.h); empty: a START of version 1 */
} rl_journal_start;
void rl_journal_put_start(rl_buf *out, const rl_journal_start *r);
rl_status rl_journal_get_start(const char *p, size_t n, rl_journal_start *r);

/* Header of a BLOCK; what was received follows to the record's end: whole lines of text, or chunks one behind the other
 * (rl_chunk_encode). */
typedef struct rl_journal_block {
  rl_slice uid;      /* of the input */
  uint64_t records;  /* in it; > 0 */
  uint64_t position; /* of the stream behind it (rl_receiver_position) */
  bool text;
  rl_slice data; /* not encoded by rl_journal_put_block: the log gets it as a stretch of its own */
} rl_journal_block;
void rl_journal_put_block(rl_buf *out, const rl_journal_block *r);
rl_status rl_journal_get_block(const char *p, size_t n, rl_journal_block *r);

/* An input of a batch. */
typedef enum rl_journal_input_kind {
  RL_JOURNAL_NONE,   /* it can not give the same again */
  RL_JOURNAL_BLOCKS, /* a receiver: blocks by their records in the log, which come before the BEGIN */
  RL_JOURNAL_SAVED,  /* bytes of rl_input_class.save */
  RL_JOURNAL_PLACE   /* likewise, of an earlier batch: this one has nothing of the input, which the job did not have */
} rl_journal_input_kind;
typedef struct rl_journal_input {
  rl_slice uid;
  rl_journal_input_kind kind;
  int64_t records;   /* -1: not known */
  uint64_t position; /* BLOCKS: of the stream behind the newest block up to this batch */
  rl_slice bytes;    /* SAVED, PLACE */
  const uint64_t *blocks; /* BLOCKS, when encoding: sequences, ascending */
  uint64_t nblocks;
  rl_slice packed; /* BLOCKS, decoded: walk it with rl_journal_next_block */
} rl_journal_input;

/* BEGIN is written in pieces: put_begin, then ninputs times put_input. Read likewise, with a reader. */
typedef struct rl_journal_begin {
  int64_t time, zero, batch_ms;
  uint32_t script;
  uint64_t ninputs;
  rl_reader rest; /* decoded: the inputs */
} rl_journal_begin;
void rl_journal_put_begin(rl_buf *out, const rl_journal_begin *r);
void rl_journal_put_input(rl_buf *out, const rl_journal_input *in);
/* Checks the whole record, inputs and blocks included; so the two below cannot fail on it any more. */
rl_status rl_journal_get_begin(const char *p, size_t n, rl_journal_begin *r);
rl_status rl_journal_next_input(rl_journal_begin *r, rl_journal_input *in);
/* The next sequence of in->packed; false: the end. */
bool rl_journal_next_block(rl_journal_input *in, uint64_t *seq);

/* STATE: header and changes; chunks that were emitted follow, `chunks` of them (rl_chunk_encode). */
typedef struct rl_journal_state {
  int64_t time;
  rl_slice uid;
  uint32_t partition, partitions;
  bool timed;       /* as rl_state_operator */
  rl_slice changes; /* rl_state_update_encode */
  uint64_t chunks;
  rl_reader rest; /* decoded: the chunks, for rl_chunk_decode; not checked yet */
} rl_journal_state;
void rl_journal_put_state(rl_buf *out, const rl_journal_state *r); /* without the chunks: append them behind it */
rl_status rl_journal_get_state(const char *p, size_t n, rl_journal_state *r);

typedef struct rl_journal_end {
  int64_t time;
  rl_slice kept; /* as in COMPLETE, with what the state's tasks reported; empty: as at the mark before */
} rl_journal_end;
void rl_journal_put_end(rl_buf *out, const rl_journal_end *r);
rl_status rl_journal_get_end(const char *p, size_t n, rl_journal_end *r);

typedef struct rl_journal_output {
  int64_t time;
  rl_slice key;  /* stream's uid, output's name, count among its like */
  rl_slice kept; /* as in END, with what this output reported */
} rl_journal_output;
void rl_journal_put_output(rl_buf *out, const rl_journal_output *r);
rl_status rl_journal_get_output(const char *p, size_t n, rl_journal_output *r);

typedef struct rl_journal_complete {
  int64_t time;
  bool discarded; /* rille.streaming.onBatchFailure = skip: it is in no state and no output */
  rl_slice kept;  /* what the embedding language keeps from batch to batch (rl_streaming_keep): accumulators */
} rl_journal_complete;
void rl_journal_put_complete(rl_buf *out, const rl_journal_complete *r);
rl_status rl_journal_get_complete(const char *p, size_t n, rl_journal_complete *r);

typedef struct rl_journal_lost {
  int64_t time;
} rl_journal_lost;
void rl_journal_put_lost(rl_buf *out, const rl_journal_lost *r);
rl_status rl_journal_get_lost(const char *p, size_t n, rl_journal_lost *r);

#endif
