/* Events: what happens in a streaming context, for listeners in C or Lua (section 19 of the reference).
 *
 * Posted on any thread, delivered in order on the driver thread while it serves messages. The queue holds RL_EVENTS_MAX
 * events; beyond it the newest are dropped, counted, and the number is logged with the next delivery. Events happen
 * only while listeners are registered, except that the batch fields are kept for the last batches. */
#ifndef RL_RUN_LISTENER_H
#define RL_RUN_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#define RL_EVENTS_MAX 10000

typedef enum rl_event_kind {
  RL_EVENT_STREAMING_STARTED, /* time */
  RL_EVENT_BATCH_SUBMITTED,   /* batch */
  RL_EVENT_BATCH_STARTED,
  RL_EVENT_BATCH_COMPLETED,
  RL_EVENT_OUTPUT_STARTED, /* output */
  RL_EVENT_OUTPUT_COMPLETED,
  RL_EVENT_RECEIVER_STARTED, /* receiver */
  RL_EVENT_RECEIVER_ERROR,
  RL_EVENT_RECEIVER_STOPPED,
} rl_event_kind;

typedef struct rl_input_info {
  int32_t stream;     /* input stream id */
  int64_t records;    /* 0 when the source cannot tell */
  char *description;  /* owned by the event; NULL: none */
  bool lists_files;   /* the description is paths, one a line */
} rl_input_info;

typedef struct rl_output_info {
  int64_t batch_time;
  int32_t id;
  const char *name;        /* "print at job.lua:9" */
  int64_t start, end;      /* ms by the configured clock; RL_NO_TIME when not yet */
  const char *failure;     /* message, or NULL */
} rl_output_info;

typedef struct rl_batch_info {
  int64_t time;
  int64_t submitted, started, ended; /* ms by the configured clock; RL_NO_TIME when not yet */
  int64_t scheduling_us, processing_us, total_us; /* durations by the monotonic clock; -1 when not yet */
  int64_t since_tick_us;             /* from the moment the tick was due to the end; -1 when not yet */
  int64_t spilled;                   /* bytes written to spill files while it was worked off; -1 when not yet */
  const rl_input_info *inputs;
  uint32_t ninputs;
  const rl_output_info *outputs;
  uint32_t noutputs;
} rl_batch_info;

typedef struct rl_receiver_info {
  int32_t stream;
  const char *name; /* "SocketReceiver-0" */
  bool active;
  const char *last_error_message; /* "" when none */
  const char *last_error;
  int64_t last_error_time; /* ms by the configured clock; -1: never */
} rl_receiver_info;

typedef struct rl_event {
  rl_event_kind kind;
  int64_t time;
  rl_batch_info batch;
  rl_output_info output;
  rl_receiver_info receiver;
} rl_event;

/* `on_event` gets a view that is valid during the call. */
typedef void rl_listener_fn(void *user, const rl_event *event);

#endif
