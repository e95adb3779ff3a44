/* The streaming context: a graph of DStreams, a batch timer, and the batches under way (sections 1 to 4 and 16 of the
 * reference).
 *
 * Everything here is called on the driver thread, and all callbacks run there, while it serves messages
 * (rl_streaming_await, rl_job_wait). Only the timer, the receivers and the tasks run elsewhere: a tick (on sched) cuts
 * the open blocks, allocates blocks to the batch and leaves a message; the driver then generates the batch and runs its
 * outputs. So ticks stay on time whatever a callback does, and batches that are late queue up in order. */
#ifndef RL_RUN_STREAMING_H
#define RL_RUN_STREAMING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "plan/rdd.h"
#include "run/context.h"
#include "run/listener.h"

typedef struct rl_streaming rl_streaming;
typedef struct rl_dstream rl_dstream; /* owned by its context; lives as long as it */

typedef enum rl_life { RL_INITIALIZED, RL_ACTIVE, RL_STOPPED } rl_life;

/* batch_ms > 0. References the context. The clock is system or manual (from 0) as rille.streaming.clock says. */
rl_status rl_streaming_new(rl_context *c, int64_t batch_ms, rl_streaming **out);
rl_streaming *rl_streaming_ref(rl_streaming *s);
void rl_streaming_unref(rl_streaming *s); /* the last one stops it, not gracefully */

rl_context *rl_streaming_context(rl_streaming *s);
rl_clock *rl_streaming_clock(rl_streaming *s);
int64_t rl_streaming_batch_ms(const rl_streaming *s);
int64_t rl_streaming_zero_time(const rl_streaming *s); /* RL_NO_TIME before start */
rl_life rl_streaming_state(const rl_streaming *s);

/* Graph. RL_ESTATE after start ("... can not be added after the context was started") and after stop. -------------- */

/* An input. Subclass by putting it first in a larger struct. All calls on the driver thread. */
typedef struct rl_input rl_input;
typedef struct rl_input_class {
  const char *name; /* "Socket stream"; shown with the id: "Socket stream [0]" */
  rl_status (*start)(rl_input *self);                 /* the zero time is known; may be NULL */
  /* The batch's RDD: one reference, or NULL for none. Fills info->records and info->description (rl_alloc'd) when
   * known. */
  rl_status (*compute)(rl_input *self, int64_t time, rl_rdd **out, rl_input_info *info);
  /* Durable jobs (run/durable.h). `repeats`: compute gives the same for a time whenever it is asked, also in a later
   * process. Else both of the following, or a batch of this input cannot be had again, and a job that has one cannot be
   * recovered. save: right after `compute`, appends what restore needs to give the same RDD again; of a batch that
   * was not computed, or could not be, that nothing was taken, and the place as it was. restore: before `start` of a
   * recovered job, for each batch that may be asked for again, oldest first: the batch's RDD (one
   * reference, or NULL for none), and what save remembers of the input as a whole. Bytes come from a disk: RL_EDATA
   * when they are malformed. info as in compute. */
  bool repeats;
  rl_status (*save)(rl_input *self, int64_t time, rl_buf *out);
  rl_status (*restore)(rl_input *self, int64_t time, const char *p, size_t n, rl_rdd **out, rl_input_info *info);
  void (*forget)(rl_input *self, int64_t until);      /* batches with time <= until are over; may be NULL */
  void (*stop)(rl_input *self);                       /* may be NULL */
  void (*destroy)(rl_input *self);
} rl_input_class;
struct rl_input {
  const rl_input_class *cls;
  rl_streaming *streaming; /* set by rl_streaming_add_input; not counted */
  int32_t id;              /* likewise: counted from 0 over all inputs */
  int64_t remember_ms;     /* at least so long are its RDDs kept; 0: no wish */
  struct rl_rate *rate;    /* of one that can be slowed (run/rate.h); its own. NULL: not limited by backpressure */
};

/* Takes over input, also on failure. */
rl_status rl_streaming_add_input(rl_streaming *s, rl_input *input, const char *site, rl_dstream **out);

/* op applied to the parents' RDDs of every batch; none when a (the only) parent has none; for UNION and several parents
 * a missing RDD is an error of the batch. RL_EINVAL: parents of different contexts, empty list. */
rl_status rl_dstream_apply(rl_op *op, rl_dstream *const *parents, uint32_t n, rl_dstream **out);

/* fn runs on the driver at generation: rdds[i] of every parent (never NULL: a missing one is an error of the batch) ->
 * *out with one reference, never NULL. */
typedef rl_status rl_transform_fn(void *user, rl_rdd *const *rdds, uint32_t n, int64_t time, rl_rdd **out);
rl_status rl_dstream_transform(const rl_op *named, rl_dstream *const *parents, uint32_t n, rl_transform_fn *fn,
                               void *user, void (*destroy)(void *),
                               rl_dstream **out); /* name, site and uid come from `named` */

/* Windows: at every time on a grid of slide_ms from the zero time, the parent's RDDs of the last window_ms, that of the
 * time itself included, one after another (rl_rdd_apply of a UNION: what is partitioned alike stays so). Batches before
 * the first and those in which the parent has no RDD are left out; without any it is an RDD without partitions. Between
 * the times of its grid the stream has no RDD. The parent is persisted; persisting the window persists its parent.
 * RL_EINVAL as rl_window_check. */
rl_status rl_dstream_window(rl_dstream *parent, const rl_op *named, int64_t window_ms, int64_t slide_ms,
                            rl_dstream **out); /* name, site and uid come from `named` */
/* RL_EINVAL unless both are multiples of the slide of the stream they are for; the message begins with `name`. */
rl_status rl_window_check(const char *name, int64_t parent_slide_ms, int64_t window_ms, int64_t slide_ms);

/* Keyed state (store/state.h). In every batch, before its outputs, the operator's state is brought from its newest
 * version to that of the batch, by one job over the inputs of `update`; batches do so one after another, in order. A
 * failure (after the tasks' retries) discards the batch, and stops the context unless rille.streaming.onBatchFailure
 * is skip, which only logs it; so does one of generating the batch's RDDs, of whatever stream. */
typedef struct rl_stateful {
  rl_op *op;       /* RL_OP_STATE: name, site, and the uid its state is kept under */
  rl_op *update;   /* RL_OP_SHUFFLE by key, whose function reads and sets rl_task.state. Its parents are the stream's
                      RDD and, in the first batch, `initial`; of a window, what leaves it and what enters it */
  rl_rdd *initial; /* (key, state) records, or NULL */
  bool timed;      /* keys can time out */
  bool passing;    /* it holds nothing that its window does not: there is no warning that it ends with the process */
  bool always;     /* there is a version of every batch; otherwise not before the stream's first RDD */
  int64_t window_ms, slide_ms; /* 0, 0: no window */
  const char *form; /* of what is kept ("values"), copied: a start goes on with state of the same form only. NULL: "values" */
} rl_stateful;
/* All members are referenced or copied. The stream gives what the update's function emits. */
rl_status rl_dstream_stateful(const rl_stateful *spec, rl_dstream *parent, rl_dstream **out);
/* The whole state of every batch, (key, state), of a stream that rl_dstream_stateful gave. op: RL_OP_SNAPSHOT. */
rl_status rl_dstream_snapshots(rl_op *op, rl_dstream *stateful, rl_dstream **out);
struct rl_state;
/* Where the state is, between start and the end of the context; NULL when there is none. */
struct rl_state *rl_streaming_state_store(rl_streaming *s);

/* An output: run once a batch in which the stream has an RDD, in order of registration. It is asynchronous: run()
 * starts the work and returns; the work's end is told by rl_output_done (at once or later, exactly once, on the driver
 * thread). `rdd` is valid until then (reference it to keep it longer).
 *
 * `identity` tells the outputs of one operation on one stream apart, and stays the same when the job is started again: a
 * durable job knows by it which outputs of a batch are done, wherever they stand in its script. NULL: any is as good as
 * another. Those of one identity are numbered. */
typedef struct rl_output_run rl_output_run;
typedef void rl_output_fn(void *user, rl_rdd *rdd, int64_t time, rl_output_run *run);
rl_status rl_dstream_output(rl_dstream *d, const char *name, const char *site, const char *identity, rl_output_fn *fn,
                            void *user, void (*destroy)(void *));
/* Before rl_output_done, of one that fails only because one before it did: that one is in the log and raised, this is not
 * (it is, to whoever awaits again). */
void rl_output_follows(rl_output_run *run);
void rl_output_done(rl_output_run *run, rl_status status); /* a failure's error is the thread's current one */

void rl_dstream_persist(rl_dstream *d, rl_level level); /* its RDDs, as they are made; NONE: not */
int64_t rl_dstream_slide(const rl_dstream *d); /* ms */
int64_t rl_dstream_remembers(const rl_dstream *d); /* ms for which RDDs are kept; settled at start */
int32_t rl_dstream_input_id(const rl_dstream *d); /* -1 when it is no input */
rl_input *rl_dstream_input(const rl_dstream *d);  /* NULL when it is none */
const char *rl_dstream_label(const rl_dstream *d); /* "map at job.lua:3" */
/* The RDD of `time` (one reference), computed when need be; NULL in *out when the stream has none, or when what it
 * would be made of was forgotten. RL_ESTATE before start. */
rl_status rl_dstream_get(rl_dstream *d, int64_t time, rl_rdd **out);
void rl_dstream_debug(const rl_dstream *d, rl_buf *out); /* the graph above it, one line a node */

rl_status rl_streaming_remember(rl_streaming *s, int64_t ms); /* once only */

/* Durability (DESIGN section 5). ------------------------------------------------------------------------------------ */

/* The job's log and state are kept in `dir` (copied; made with mode 0700 when it is not there), from start on; what
 * start finds there is gone on with: state, pending batches with the same inputs, batches missed meanwhile
 * (rille.streaming.catchUp). NULL: not durable. Before start; RL_EINVAL for "". */
rl_status rl_streaming_checkpoint(rl_streaming *s, const char *dir);
const char *rl_streaming_checkpoint_dir(const rl_streaming *s); /* NULL: none */
/* Is there a job's log in the directory? Looks only; false also when it cannot be looked at. */
bool rl_checkpoint_exists(const char *dir);
/* Does the start go on with a job of an earlier process? The zero time is that job's then. While active. */
bool rl_streaming_is_recovered(const rl_streaming *s);
/* The name under which an input or output is known from one start to the next; inputs have none before it is set. */
void rl_dstream_set_uid(rl_dstream *d, const char *uid);
const char *rl_dstream_uid(const rl_dstream *d); /* the operation's name when none was set */
/* What the embedding language keeps from batch to batch (accumulators). save appends what it has, whenever the state of
 * a batch is made, an output of it is done, or all of it: what is done is not done again, so what it reported has to be
 * in there. restore is called by start with what an earlier run saved last. Driver thread. Before start, at most one. */
typedef struct rl_keeper {
  void (*save)(void *user, int64_t time, rl_buf *out);
  rl_status (*restore)(void *user, const char *p, size_t n);
  void (*destroy)(void *user);
  void *user;
} rl_keeper;
void rl_streaming_keep(rl_streaming *s, const rl_keeper *keeper);
/* A hash of the texts that the job's functions come from. After another one than at the last start, windows that are
 * kept up are made anew of the log, so that what leaves them is what entered. Before start; 0, or never: not known. */
void rl_streaming_set_code(rl_streaming *s, uint64_t code);

/* For outputs that can tell at the start that they will never work. Called in rl_streaming_start, in the order in which
 * they were added, once the job's directory is its own and before its inputs start or a batch begins. What fails is the
 * start's error; what will pass by itself is not to fail. Not behind the start: RL_ESTATE. Takes over user, also when
 * it fails. */
typedef rl_status rl_start_fn(void *user);
rl_status rl_streaming_on_start(rl_streaming *s, rl_start_fn *fn, void *user, void (*destroy)(void *user));

/* Life ------------------------------------------------------------------------------------------------------------- */

/* RL_EINVAL without an output; RL_ESTATE when another context of the process is active, or this one was started or
 * stopped (a second start of an active one only warns). A failure of a source's start leaves it STOPPED. */
rl_status rl_streaming_start(rl_streaming *s);
/* Graceful: receivers stop, all that was received is processed, then the rest as in an immediate stop; both waits share
 * rille.streaming.gracefulStopTimeout. Serves messages while it waits. Called from inside a callback it only asks for
 * the stop, which then happens in rl_streaming_await (or the next wait of the driver at top level). */
rl_status rl_streaming_stop(rl_streaming *s, bool stop_context, bool graceful);
/* Stops at once and without a word, wherever the caller stands, also inside a callback that will not return, and also
 * what was never started: for the end of the program, and for what could not start. */
void rl_streaming_abort(rl_streaming *s);
/* Waits for the stop: RL_OK and *stopped = true; or for timeout_ms (< 0: for ever): *stopped = false. A failure
 * reported while running (batch, output, source that gave up) is returned once, as its own status. With `signals`,
 * SIGINT, SIGTERM and (unless ignored) SIGHUP are caught meanwhile: the first asks for a stop (graceful as
 * rille.streaming.stopGracefullyOnShutdown says), a second stops at once. */
rl_status rl_streaming_await(rl_streaming *s, int64_t timeout_ms, bool signals, bool *stopped);
/* Serves messages for ms; a stop (asked for by a callback, or by a signal with `signals`) is done meanwhile and ends it
 * early. Failures stay for rl_streaming_await. */
void rl_streaming_sleep(rl_streaming *s, int64_t ms, bool signals);

/* What the handler of a second and further signal calls besides (async-signal-safe; NULL: nothing): it should make a
 * callback that does not come back fail. From the third signal on the process dies of it. Process-wide; driver thread.
 */
void rl_streaming_on_hurry(void (*fn)(void *arg), void *arg);
/* How often a signal asked for a stop of this process's context: 0, 1, 2 ... */
int rl_streaming_signals(void);
/* A graceful stop is over its limit: nothing is begun any more, also while the driver is still held up in a callback. */
bool rl_streaming_is_overdue(const rl_streaming *s);
rl_streaming *rl_streaming_active(void); /* the started and not yet stopped one; no reference; NULL when none */
/* Logs the thread's current error, and stores it for await, which raises the first that there is; driver thread. */
void rl_streaming_report(rl_streaming *s, rl_status status);
/* The same without the line in the log. */
void rl_streaming_note(rl_streaming *s);
/* Logs it, with its traceback, and that is all: the job goes on. Driver thread. */
void rl_streaming_pass_over(rl_streaming *s);

/* Manual clock: moves it on by ms and waits (serving messages) until everything this caused has finished. RL_ESTATE
 * with a system clock. */
rl_status rl_streaming_advance(rl_streaming *s, int64_t ms);

rl_status rl_streaming_add_listener(rl_streaming *s, rl_listener_fn *fn, void *user, void (*destroy)(void *));

#endif
