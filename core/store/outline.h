/* The graph of a job as it is recorded beside its state (docs/formats.md): what rille inspect shows, and what tells a
 * start whether the state that is there was made by operators like today's. */
#ifndef RL_STORE_OUTLINE_H
#define RL_STORE_OUTLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define RL_OUTLINE_DBI "graph" /* its note: kind and name */
#define RL_OUTLINE_NAME "job"

/* What an operator's state is. */
typedef struct rl_outline_shape {
  char *uid;
  char *operation;            /* "updateStateByKey" */
  char *form;                 /* of what is kept: "values"; operators of one form can take over each other's state */
  int64_t window_ms, slide_ms; /* 0: no window */
} rl_outline_shape;

typedef struct rl_outline_stream {
  char *uid, *operation;
  char *site;        /* "job.lua:12", or "" */
  uint32_t *parents; /* places in `streams`, before its own */
  uint32_t nparents;
  char *form;                  /* of its state; "": it has none */
  int64_t window_ms, slide_ms; /* 0: no window */
} rl_outline_stream;

typedef struct rl_outline_output {
  uint32_t stream;
  char *name; /* "print at job.lua:3" */
  char *key;  /* what it is known by in the log */
} rl_outline_output;

typedef struct rl_outline {
  uint64_t code; /* a hash of the script's texts; 0: not known */
  int64_t since; /* batches up to this one may be of other texts than today's; RL_NO_TIME: none is known to be */
  rl_outline_stream *streams; /* parents before children */
  size_t nstreams, streams_cap;
  rl_outline_output *outputs; /* in the order they run in */
  size_t noutputs, outputs_cap;
  rl_outline_shape *kept; /* of state whose operator the job does not have now */
  size_t nkept, kept_cap;
} rl_outline;

void rl_outline_free(rl_outline *g); /* what is in it */
void rl_outline_encode(const rl_outline *g, rl_buf *out);
/* RL_EDATA: malformed. RL_EUNSUPPORTED: of another form. *out is empty then. */
rl_status rl_outline_decode(const char *p, size_t n, rl_outline *out);

/* What the graph tells of the state under a uid, today's or kept; views. False: nothing. */
bool rl_outline_find_shape(const rl_outline *g, const char *uid, rl_outline_shape *out);
/* May an operator of the shape `is` go on with state that one of the shape `was` made? */
bool rl_outline_fits(const rl_outline_shape *was, const rl_outline_shape *is);
/* "reduceByKeyAndWindow (window of sum, 4 s, every 1 s)" */
void rl_outline_describe(const rl_outline_shape *s, rl_buf *out);

#endif
