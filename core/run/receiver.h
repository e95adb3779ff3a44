/* Receivers: sources that push. A receiver stores records or text; its supervisor (here) gathers them into blocks, cuts
 * blocks, holds the source back when too much waits, and tells listeners (sections 11 to 13 of the reference).
 *
 * A block is cut every rille.streaming.blockInterval (unset: min(200 ms, batch / 2)), at every tick, at RL_BLOCK_BYTES,
 * and at stop. It belongs to the first batch generated after it was cut. When blocks not yet worked off (open one
 * included) pass rille.streaming.receiver.maxBufferedBytes, the source is held back: store calls wait, and sources that
 * must not wait are told by their `hold` callback to stop reading for a while. Nothing is dropped.
 *
 * Which thread: a receiver's own (io loop, Lua receiver thread) calls the store functions, one thread at a time; the
 * sched thread cuts; the driver starts and stops. The open block is behind one lock per receiver, held for appends and
 * cuts only. */
#ifndef RL_RUN_RECEIVER_H
#define RL_RUN_RECEIVER_H

#include "data/block.h"
#include "run/streaming.h"

typedef struct rl_receiver rl_receiver;

/* What a source implements; `self` is its own struct. */
typedef struct rl_receiver_class {
  const char *name;   /* "SocketReceiver" */
  const char *stream; /* "Socket stream" */
  rl_status (*start)(void *self, rl_receiver *r); /* driver thread; must not block */
  /* Driver thread; when it returns nothing more is stored. Bounded: what does not end within 10 s is left behind with a
   * warning (rl_receiver_abandon). */
  void (*stop)(void *self);
  /* Stop reading / go on. Any thread, one call at a time; must neither wait nor call the receiver. NULL: store calls
   * wait instead. */
  void (*hold)(void *self, bool on);
  /* With the receiver's log on: all that was stored up to this position (rl_receiver_position) is on disk, and the
   * source may be told. On the log's thread, in order; short; must not call the receiver. NULL: it cannot be told. */
  void (*durable)(void *self, uint64_t position);
  void (*destroy)(void *self);
} rl_receiver_class;

/* Adds a receiver input. Takes over `self`, also on failure. */
rl_status rl_streaming_add_receiver(rl_streaming *s, const rl_receiver_class *cls, void *self, const char *site,
                                    rl_dstream **out);

/* How what comes of a receiver input is kept (default: RL_LEVEL_RECEIVED); before start, driver thread. It is never
 * dropped, so a level without disk holds the source back when memory is short. RL_EINVAL for NONE, or for a stream of
 * no receiver. */
rl_status rl_dstream_store_at(rl_dstream *d, rl_level level);

/* Text: room in the open buffer to read into (at least `least` bytes at *p, *room of them), then how many were filled.
 * A partial last line stays open until its end comes or `rl_receiver_end_text`. A line longer than
 * rille.streaming.receiver.maxRecordBytes is cut there, and reported once a connection. */
rl_status rl_receiver_reserve(rl_receiver *r, size_t least, char **p, size_t *room);
rl_status rl_receiver_commit(rl_receiver *r, size_t n);
void rl_receiver_end_text(rl_receiver *r); /* end of a connection: what is left without a line end is a line */

/* Is what is stored logged before it counts as received (rille.streaming.receiver.writeAheadLog.enable, and a
 * checkpoint directory)? From start on. */
bool rl_receiver_is_logged(const rl_receiver *r);
/* How many records (lines of text) the stream has stored in the job's life that are on disk: at start of a recovered
 * job, what its log has; later, what `durable` was told last. 0 when it is not logged. Any thread. */
uint64_t rl_receiver_position(rl_receiver *r);
/* Cuts the open block now, so that what was stored is on its way to disk. */
void rl_receiver_flush(rl_receiver *r);

/* One record into the open block. Waits while the source is held back (classes without `hold`), until it is being
 * stopped: RL_ECANCELLED. What is stored while `stop` runs and there is room still counts; behind it all is
 * RL_ECANCELLED. RL_ELIMIT: the record is too large, for the receiver's log, too; it is not stored. */
rl_status rl_receiver_store(rl_receiver *r, const rl_value *fields, uint32_t n);
/* A whole block of its own (moves the list, also on failure); logged, a large one is several. Not rate limited; waits likewise, and with
 * the receiver's log on until the block is on disk. */
rl_status rl_receiver_store_block(rl_receiver *r, rl_chunks *chunks);

bool rl_receiver_is_stopping(const rl_receiver *r);
int32_t rl_receiver_stream_id(const rl_receiver *r);
const char *rl_receiver_name(const rl_receiver *r); /* "SocketReceiver-0" */
const char *rl_receiver_label(const rl_receiver *r); /* "socket stream [0] at job.lua:3" */
rl_streaming *rl_receiver_streaming(rl_receiver *r);
int64_t rl_receiver_restart_delay_ms(const rl_receiver *r); /* rille.streaming.receiverRestartDelay */

/* Events, any thread: started, stopped (message or NULL), and an error that does not end it. Errors are logged, stamped
 * and passed to listeners. */
void rl_receiver_started(rl_receiver *r);
void rl_receiver_stopped(rl_receiver *r, const char *message);
void rl_receiver_error(rl_receiver *r, const char *message, const char *error);

/* For a stop that could not end a source's thread: neither the receiver nor its source is freed, ever; what the thread
 * still calls here fails or does nothing. Warns. */
void rl_receiver_abandon(rl_receiver *r);

/* For the batch timer (run/streaming.c) ---------------------------------------------------------------------------- */

/* All receivers of a streaming context: their blocks and which batch they belong to. */
typedef struct rl_tracker rl_tracker;

rl_tracker *rl_tracker_new(rl_streaming *s);
void rl_tracker_delete(rl_tracker *t);
/* Starts all receivers; the error of the first that fails, the others stopped. */
rl_status rl_tracker_start(rl_tracker *t);
/* Sched: cuts all open blocks and allocates what waits to batch `time`. */
void rl_tracker_allocate(rl_tracker *t, int64_t time);
bool rl_tracker_has_unallocated(rl_tracker *t);     /* blocks, or stored data not yet cut */
void rl_tracker_stop(rl_tracker *t);                /* stops all receivers and cuts what is open; blocks stay */
void rl_tracker_done(rl_tracker *t, int64_t time); /* batch `time` is over: its blocks no longer hold their sources back */
void rl_tracker_forget(rl_tracker *t, int64_t until); /* drops the allocations of batches <= until */

/* What run/streaming.c gives in turn. */
rl_tracker *rl_streaming_tracker(rl_streaming *s);
/* Any thread; copies what it keeps. */
void rl_streaming_post_receiver_event(rl_streaming *s, rl_event_kind kind, const rl_receiver_info *info);

#endif
