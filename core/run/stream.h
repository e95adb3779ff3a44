/* Inside a streaming context. Not public. Driver thread only, but for the fields under `lock` (what a tick leaves for
 * the driver) and the event queue. */
#ifndef RL_RUN_STREAM_H
#define RL_RUN_STREAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "run/durable.h"
#include "run/receiver.h"
#include "run/service.h"
#include "run/streaming.h"

typedef struct rl_generated {
  int64_t time;
  rl_rdd *rdd; /* one reference; NULL: the stream has none in this batch */
} rl_generated;

typedef enum rl_node_kind {
  RL_NODE_INPUT,
  RL_NODE_OP,
  RL_NODE_TRANSFORM,
  RL_NODE_WINDOW,    /* window.c */
  RL_NODE_STATEFUL,  /* stateful.c */
  RL_NODE_SNAPSHOTS, /* likewise */
} rl_node_kind;

struct rl_dstream {
  rl_dstream *next; /* all nodes, newest first */
  rl_streaming *s;
  rl_node_kind kind;
  rl_input *input;
  rl_op *op; /* never NULL */
  rl_dstream **parents;
  uint32_t nparents;
  rl_transform_fn *transform;
  void *user;
  void (*destroy)(void *);
  struct rl_stateful_node *stateful; /* STATEFUL */
  int64_t slide, remember; /* ms */
  int64_t window;          /* ms further back than itself its parents are kept; 0: it looks at one batch only */
  int64_t forgotten;       /* what was up to here is gone, unless it is in `generated`; RL_NO_TIME: nothing is */
  bool reached;            /* from an output */
  rl_level level;          /* its RDDs are persisted at; NONE: not */
  char *label;
  rl_generated *generated; /* by time, oldest first */
  size_t ngenerated, generated_cap;
};

typedef struct rl_output {
  struct rl_output *next;
  rl_dstream *stream;
  char *name;      /* "print at job.lua:3" */
  char *operation; /* "print", "saveAsTextFiles(counts-)": with what tells it from others of its kind */
  rl_output_fn *fn;
  void *user;
  void (*destroy)(void *);
} rl_output;

typedef struct rl_batch rl_batch;

struct rl_output_run {
  rl_batch *batch;
  rl_output *output;
  rl_rdd *rdd;
  int32_t id;
  int64_t start, end;
  char *failure;
  bool started, done;
  bool follows; /* it failed as one before it did, which was told */
};

struct rl_batch {
  rl_batch *next;
  int64_t time;
  int64_t due_ns;                        /* when its tick was due, monotonic */
  int64_t submitted, started, ended;     /* configured clock */
  int64_t submitted_ns, started_ns, ended_ns;
  uint64_t spilled; /* in total, when it started */
  rl_input_info *inputs;
  uint32_t ninputs;
  size_t inputs_cap;
  rl_output_run *runs;
  uint32_t nruns, ndone;
  /* Versions of state, made before any output runs (roots.c). */
  struct rl_root *roots;
  uint32_t nroots, roots_done;
  bool roots_started;
  bool ready; /* the outputs may run */
  bool failed; /* a version could not be made */
  /* Of a durable job. */
  const rl_past *past; /* it was begun in an earlier run */
  uint64_t floor;      /* what it has in the log comes behind */
  bool discarded;      /* its records are in no state and no output */
  bool unfinished;     /* an output was not done: it stays pending */
  bool unread;         /* an input could not be read; `error` says why */
  rl_error error;
};

/* Times between two batches that no batch had. */
typedef struct rl_gap {
  int64_t after, before;
} rl_gap;

typedef struct rl_starter {
  struct rl_starter *next;
  rl_start_fn *fn;
  void *user;
  void (*destroy)(void *user);
} rl_starter;

typedef struct rl_queued_event rl_queued_event;

typedef struct rl_listener {
  struct rl_listener *next;
  rl_listener_fn *fn;
  void *user;
  void (*destroy)(void *);
} rl_listener;

typedef struct rl_event_queue {
  pthread_mutex_t lock;
  rl_queued_event *first, **last; /* under lock */
  size_t n, dropped;              /* likewise */
  atomic_bool wanted;             /* any listener? */
  rl_message message;
  rl_listener *listeners;         /* driver */
} rl_event_queue;

struct rl_streaming {
  uint32_t refs; /* driver */
  rl_context *c;
  rl_clock *clock;
  int64_t batch_ms;
  int64_t zero;
  int64_t remember; /* as asked for; 0: not */
  uint64_t code;    /* rl_streaming_set_code */
  _Atomic int state;
  rl_dstream *nodes;
  rl_output *outputs, **last_output;
  rl_starter *starters; /* in order */
  int32_t next_input;
  rl_tracker *tracker;
  rl_event_queue events;

  /* batches, driver */
  int64_t latest;                    /* the last batch that was generated, or is; RL_NO_TIME: none yet */
  rl_batch *generating;              /* the one whose graph is being asked for RDDs now */
  rl_batch *queue, **last_batch;     /* generated, not yet complete, in order */
  uint32_t running, concurrent;      /* output runs */
  bool pumping;
  int64_t stuck;                     /* the first batch that stays pending; INT64_MAX: none */
  rl_batch *rooted;                  /* the one whose roots are to run or run; no batch is generated meanwhile */
  bool failed;                       /* the state of a batch could not be made, and the context stops */
  struct rl_state *store;            /* of its operators; NULL: none has any */
  char *checkpoint;                  /* directory; NULL: not durable */
  rl_durable *durable;               /* while it is active */
  rl_batch *beginning;               /* its inputs are on their way into the log; no batch is generated meanwhile */
  rl_keeper keeper;
  rl_message tick_message;
  rl_gap *gaps; /* those that somebody may still look at, oldest first */
  size_t ngaps, gaps_cap;

  /* ticks */
  rl_timer timer;
  pthread_mutex_t lock;
  rl_batch *ticked, **last_ticked; /* under lock: allocated, to be generated */
  int64_t next_tick;               /* under lock: time of the next batch; RL_NO_TIME: no more */
  int64_t last_tick;               /* under lock: behind which there is none; RL_NO_TIME: not known */
  bool ticks_now;                  /* under lock: a stop does not wait for the times of the last ones */
  int64_t looked;                  /* sched: the wall clock when it last looked at what is due; RL_NO_TIME: never */

  /* stopping, driver */
  bool stop_asked, stop_context, stop_graceful, stopping;
  bool working_off;     /* a part of stopping: outputs begin as ever, until the deadline */
  int64_t deadline_ns;  /* of a graceful stop that a call asked for, monotonic; INT64_MAX: none did */
  bool has_error;
  rl_error error;

  rl_service service;
};

/* streaming.c */
/* The end of one that is active, or failed to become it: inputs, log and state are closed, nothing is remembered. */
void rl_streaming_take_down(rl_streaming *s);

/* stop.c */
void rl_streaming_stop_now(rl_streaming *s, bool graceful); /* of one that is active and not stopping */
/* Serves until done(arg), or until a signal asks to stop, which in this wait are caught. Returns done(arg). */
bool rl_streaming_serve_or_signal(rl_streaming *s, bool (*done)(void *arg), void *arg);

/* ticks.c */
void rl_ticks_init(rl_streaming *s);
void rl_ticks_begin(rl_streaming *s, int64_t first); /* the time of the first batch */
void rl_ticks_next(rl_streaming *s); /* manual clock: moves it on to the next tick, which there is */
void rl_ticks_end(rl_streaming *s);  /* the pending tick and one more come, then none */
/* Before an end: where the clock went back, nobody waits until it has come to the last two, which come at once. */
void rl_ticks_hurry(rl_streaming *s);
void rl_ticks_cancel(rl_streaming *s); /* none comes any more */
bool rl_ticks_are_over(rl_streaming *s);

/* dstream.c */
rl_status rl_graph_check_open(const rl_streaming *s, const char *what); /* RL_ESTATE after start and after stop */
/* A node over parents[0..n); takes over op. Its slide is that of the parents. */
rl_dstream *rl_graph_add(rl_streaming *s, rl_node_kind kind, rl_op *op, rl_dstream *const *parents, uint32_t n);
/* Inputs that an output needs are read in their own batch, also where only the window of a later batch looks at it. */
rl_status rl_graph_read_inputs(rl_streaming *s, int64_t time);
void rl_graph_reach(rl_streaming *s);                   /* what outputs need, and how long it is remembered */
rl_status rl_graph_start_inputs(rl_streaming *s);
/* What a stream gave in a batch of an earlier run; takes over the reference. NULL: nothing. */
void rl_graph_restore(rl_dstream *d, int64_t time, rl_rdd *rdd);
void rl_graph_forget(rl_streaming *s, int64_t time);    /* all batches up to time are over: drops what nobody needs */
void rl_graph_discard(rl_streaming *s, int64_t time);   /* no stream has an RDD at that time, no state a version */
void rl_graph_release(rl_streaming *s);                 /* at the end: nothing is remembered any more */
void rl_graph_stop_inputs(rl_streaming *s);
void rl_graph_delete(rl_streaming *s);

/* window.c */
/* The parent's RDDs of (after, until] as one, oldest first; `op` (UNION) is how they are put together. */
rl_status rl_window_rdd(rl_dstream *parent, rl_op *op, int64_t after, int64_t until, rl_rdd **out);
rl_status rl_window_compute(rl_dstream *d, int64_t time, rl_rdd **out);
/* What is at the beginning of d's window at that time is gone. */
bool rl_window_is_cut(const rl_dstream *d, int64_t time);
/* It has no RDD then: a part of the window would be taken for the whole. False of what is no window. */
bool rl_window_is_withheld(const rl_dstream *d, int64_t time);

/* stateful.c */
rl_status rl_stateful_start(rl_streaming *s); /* opens the state of all operators that are reached */
void rl_stateful_stop(rl_streaming *s);       /* gives the store back; RDDs that are held elsewhere still have it */
rl_status rl_stateful_compute(rl_dstream *d, int64_t time, rl_rdd **out);
rl_status rl_snapshots_compute(rl_dstream *d, int64_t time, rl_rdd **out);
void rl_stateful_delete(struct rl_stateful_node *n);
const char *rl_stateful_form(const rl_dstream *d); /* of what a stateful stream keeps */
/* What is asked for in a later batch: the newest version of every window, if that is older than `time`. `newest` tells
 * which a stateful stream has, RL_NO_TIME for none: rl_stateful_sealed, or, before they are made again, who knows. */
typedef int64_t rl_stateful_newest(const rl_dstream *d);
rl_stateful_newest rl_stateful_sealed;
/* Of a window: its next version is made of the whole window, as it has none yet, or of the one it has not all can leave
 * any more. */
bool rl_stateful_begins(const rl_dstream *d);
int64_t rl_stateful_oldest(const rl_streaming *s, int64_t time, rl_stateful_newest *newest);

/* roots.c */
rl_status rl_roots_generate(rl_streaming *s, rl_batch *b);
void rl_roots_start(rl_streaming *s, rl_batch *b); /* takes one of the places of outputs until all have ended */
void rl_roots_delete(rl_batch *b);

/* batch.c */
void rl_batch_roots_done(rl_streaming *s, rl_batch *b); /* all roots have ended */
/* The thread's current error made a batch or an output of one fail: for await, or, where rille.streaming.onBatchFailure is
 * skip, for the log alone. */
void rl_batch_report(rl_streaming *s, rl_status st);
void rl_batch_start(rl_streaming *s, rl_batch *b);      /* the first of its jobs begins */
void rl_batch_resume(rl_streaming *s, const rl_past *past); /* queues a batch that was begun in an earlier run */
void rl_batch_begun(rl_streaming *s, rl_status st);     /* `beginning` is in the log, or its error is the current one */
/* What an output is known by in the log: its stream's uid, its name, and which one of that name it is. */
char *rl_output_key(const rl_output *o);
void rl_batch_tick(rl_streaming *s, int64_t time, int64_t due_ns); /* any thread: allocates and queues */
void rl_batch_on_message(rl_message *m);
bool rl_batch_idle(const rl_streaming *s);
void rl_batch_drop_queued(rl_streaming *s); /* what has not begun; at an immediate stop and at the end */
void rl_batch_add_input(rl_streaming *s, rl_input_info *info); /* moves the description */

/* starters.c */
rl_status rl_starters_run(rl_streaming *s);
void rl_starters_delete(rl_streaming *s);

/* catch_up.c */
/* Batches first..last could not begin in their time: does with them what rille.streaming.catchUp says, in one line that
 * begins with `why`. Who ticks: the sched thread, or the driver before it does. */
void rl_catch_up(rl_streaming *s, int64_t first, int64_t last, const char *why);
/* Sched: the tick of `due` is come, and it is `now`. The one that is to be run next: `due`, or, when that is so late
 * that the clock must have gone ahead or the process stood still, the newest that is due, the others being caught up
 * with. */
int64_t rl_catch_up_late(rl_streaming *s, int64_t due, int64_t now);
/* Sched: whenever it looks at the wall clock. Says so when that went back; `next`: of the batch that is waited for. */
void rl_catch_up_note_look(rl_streaming *s, int64_t now, int64_t next);
void rl_gaps_add(rl_streaming *s, int64_t after, int64_t before); /* the batches next to it, if it is one; in order */
void rl_gaps_note(rl_streaming *s, int64_t time); /* the batch of that time is about to be the latest */
bool rl_gaps_have(const rl_streaming *s, int64_t time);
void rl_gaps_forget(rl_streaming *s, int64_t until);

/* events.c */
void rl_events_init(rl_streaming *s);
void rl_events_delete(rl_streaming *s);
void rl_events_post(rl_streaming *s, const rl_event *e); /* copied; any thread */
bool rl_events_empty(rl_streaming *s);

#endif
