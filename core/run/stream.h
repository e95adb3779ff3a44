/* Inside a streaming context. Not public. Driver thread only, but for the fields under `lock` (what a tick leaves for
 * the driver) and the event queue. */
#ifndef RL_RUN_STREAM_H
#define RL_RUN_STREAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "run/receiver.h"
#include "run/streaming.h"

typedef struct rl_generated {
  int64_t time;
  rl_rdd *rdd; /* one reference; NULL: the stream has none in this batch */
} rl_generated;

typedef enum rl_node_kind { RL_NODE_INPUT, RL_NODE_OP, RL_NODE_TRANSFORM } rl_node_kind;

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
  int64_t slide, remember; /* ms */
  bool reached;            /* from an output */
  rl_level level;          /* its RDDs are persisted at; NONE: not */
  char *label;
  rl_generated *generated; /* by time, oldest first */
  size_t ngenerated, generated_cap;
};

typedef struct rl_output {
  struct rl_output *next;
  rl_dstream *stream;
  char *name;
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
};

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
  _Atomic int state;
  rl_dstream *nodes;
  rl_output *outputs, **last_output;
  int32_t next_input;
  rl_tracker *tracker;
  rl_event_queue events;

  /* batches, driver */
  int64_t latest;                    /* the last batch that was generated, or is; RL_NO_TIME: none yet */
  rl_batch *generating;              /* the one whose graph is being asked for RDDs now */
  rl_batch *queue, **last_batch;     /* generated, not yet complete, in order */
  uint32_t running, concurrent;      /* output runs */
  bool pumping;
  rl_message tick_message;

  /* ticks */
  rl_timer timer;
  pthread_mutex_t lock;
  rl_batch *ticked, **last_ticked; /* under lock: allocated, to be generated */
  int64_t next_tick;               /* under lock: time of the next batch; RL_NO_TIME: no more */

  /* stopping, driver */
  bool stop_asked, stop_context, stop_graceful, stopping;
  bool has_error;
  rl_error error;
};

/* dstream.c */
rl_status rl_graph_start(rl_streaming *s);              /* initialise, remember durations, inputs' start */
void rl_graph_forget(rl_streaming *s, int64_t time);    /* a batch was completed: drops what nobody needs */
void rl_graph_stop_inputs(rl_streaming *s);
void rl_graph_delete(rl_streaming *s);

/* batch.c */
void rl_batch_tick(rl_streaming *s, int64_t time, int64_t due_ns); /* any thread: allocates and queues */
void rl_batch_on_message(rl_message *m);
bool rl_batch_idle(const rl_streaming *s);
void rl_batch_drop_queued(rl_streaming *s); /* what has not begun; at an immediate stop and at the end */
void rl_batch_add_input(rl_streaming *s, rl_input_info *info); /* moves the description */

/* events.c */
void rl_events_init(rl_streaming *s);
void rl_events_delete(rl_streaming *s);
void rl_events_post(rl_streaming *s, const rl_event *e); /* copied; any thread */
bool rl_events_empty(rl_streaming *s);

#endif
