/* A streaming context whose one output writes down what it gets, and a listener that writes down events. Include after
 * engine.h. */
#ifndef SPEC_CORE_STREAMS_H
#define SPEC_CORE_STREAMS_H

#include <string.h>

#include "base/log.h"
#include "run/streaming.h"

typedef struct streams {
  rl_context *c;
  rl_streaming *s;
  bool with_times;     /* "@1000 " and the records, each with a space behind it; otherwise the records, one a line */
  rl_buf records;
  uint64_t batches, partitions_max;
  rl_buf receiver;     /* receiver events: "started ", "stopped ", "error(message) " */
  rl_buf descriptions; /* of inputs in batches, each with ";" behind it */
  int64_t counted;     /* records as inputs tell */
  uint64_t limit;      /* records_reached waits for so many */
  uint64_t seen;
} streams;

static inline void streams_note_events(void *user, const rl_event *e)
{
  streams *f = user;
  if (e->kind == RL_EVENT_RECEIVER_STARTED) rl_buf_puts(&f->receiver, "started ");
  if (e->kind == RL_EVENT_RECEIVER_STOPPED) rl_buf_puts(&f->receiver, "stopped ");
  if (e->kind == RL_EVENT_RECEIVER_ERROR) rl_buf_printf(&f->receiver, "error(%s) ", e->receiver.last_error_message);
  for (uint32_t i = 0; e->kind == RL_EVENT_BATCH_SUBMITTED && i < e->batch.ninputs; i++) {
    f->counted += e->batch.inputs[i].records;
    if (e->batch.inputs[i].description) rl_buf_printf(&f->descriptions, "%s;", e->batch.inputs[i].description);
  }
}

static inline void streams_note_chunks(streams *f, const rl_chunks *list)
{
  for (size_t k = 0; k < list->n; k++) {
    for (uint32_t row = 0; row < list->v[k]->n; row++) {
      rl_chunk_format(list->v[k], row, &f->records);
      rl_buf_putc(&f->records, f->with_times ? ' ' : '\n');
      f->seen++;
    }
  }
}

static inline void streams_note_batch(void *user, rl_rdd *rdd, int64_t time, rl_output_run *out)
{
  streams *f = user;
  rl_job *job = NULL;
  f->batches++;
  if (rl_rdd_partitions(rdd) > f->partitions_max) f->partitions_max = rl_rdd_partitions(rdd);
  if (f->with_times) rl_buf_printf(&f->records, "@%lld ", (long long)time);
  rl_status st = run(f->c, rdd, RL_JOB_COLLECT, 0, &job);
  for (uint32_t p = 0; st == RL_OK && p < rl_job_partitions(job); p++) streams_note_chunks(f, rl_job_chunks(job, p));
  if (job) rl_job_unref(job);
  rl_output_done(out, st);
}

/* settings: pairs, NULL behind the last. */
static inline void streams_begin(streams *f, int64_t batch_ms, const char *const *settings)
{
  *f = (streams){.c = new_context(settings)};
  assert_int_equal(rl_streaming_new(f->c, batch_ms, &f->s), RL_OK);
  assert_int_equal(rl_streaming_add_listener(f->s, streams_note_events, f, NULL), RL_OK);
}

static inline void streams_output(streams *f, rl_dstream *d)
{
  assert_int_equal(rl_dstream_output(d, "note", NULL, NULL, streams_note_batch, f, NULL), RL_OK);
}

static inline void streams_end(streams *f)
{
  rl_streaming_unref(f->s);
  rl_context_unref(f->c);
  rl_buf_free(&f->records);
  rl_buf_free(&f->receiver);
  rl_buf_free(&f->descriptions);
}

/* Serves the driver until done(f), for five minutes at most. */
static inline void streams_until(streams *f, bool (*done)(void *f))
{
  if (!rl_driver_serve(rl_context_driver(f->c), done, f, INT64_C(300000000000)))
    fail_msg("nothing more happens; records: %s receiver: %s", rl_buf_cstr(&f->records), rl_buf_cstr(&f->receiver));
}

static inline bool streams_have_records(void *user)
{
  const streams *f = user;
  return f->seen >= f->limit;
}

static inline void streams_until_records(streams *f, uint64_t n)
{
  f->limit = n;
  streams_until(f, streams_have_records);
}

/* The engine's log, caught. */

static inline void streams_catch_line(void *user, rl_log_level level, const char *line)
{
  if (level < RL_LOG_WARN) return;
  rl_buf_puts(user, line);
  rl_buf_putc(user, '\n');
}

#endif
