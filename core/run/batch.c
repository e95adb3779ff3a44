/* Batches: from the tick to completion. A tick (sched, or rl_streaming_advance) allocates blocks and leaves the batch
 * in `ticked`; the driver generates its RDDs in order of time and runs its outputs in order of registration, at most
 * rille.streaming.concurrentJobs at once. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/rate.h"
#include "run/stream.h"
#include "store/state.h"

static void pump(rl_streaming *s);

static rl_batch *new_batch(int64_t time, int64_t due_ns)
{
  rl_batch *b = RL_NEW(rl_batch);
  b->time = time;
  b->due_ns = due_ns;
  b->submitted = b->started = b->ended = RL_NO_TIME;
  return b;
}

static void queue_ticked(rl_streaming *s, rl_batch *b)
{
  pthread_mutex_lock(&s->lock);
  *s->last_ticked = b;
  s->last_ticked = &b->next;
  pthread_mutex_unlock(&s->lock);
  rl_driver_post(rl_context_driver(s->c), &s->tick_message);
}

void rl_batch_tick(rl_streaming *s, int64_t time, int64_t due_ns)
{
  rl_batch *b = new_batch(time, due_ns);
  if (s->durable) b->floor = rl_durable_floor(s->durable);
  rl_tracker_allocate(s->tracker, time);
  queue_ticked(s, b);
}

void rl_batch_resume(rl_streaming *s, const rl_past *past)
{
  rl_batch *b = new_batch(past->time, rl_mono_ns());
  b->past = past;
  b->floor = past->floor;
  queue_ticked(s, b);
}

static rl_batch *take_ticked(rl_streaming *s)
{
  pthread_mutex_lock(&s->lock);
  rl_batch *b = s->ticked;
  if (b) {
    s->ticked = b->next;
    if (!s->ticked) s->last_ticked = &s->ticked;
    b->next = NULL;
  }
  pthread_mutex_unlock(&s->lock);
  return b;
}

static void free_batch(rl_batch *b)
{
  for (uint32_t i = 0; i < b->nruns; i++) {
    rl_rdd_unref(b->runs[i].rdd);
    rl_free(b->runs[i].failure);
  }
  rl_roots_delete(b);
  for (uint32_t i = 0; i < b->ninputs; i++) rl_free(b->inputs[i].description);
  rl_free(b->runs);
  rl_free(b->inputs);
  rl_error_clear(&b->error);
  rl_free(b);
}

void rl_batch_add_input(rl_streaming *s, rl_input_info *info)
{
  rl_batch *b = s->generating;
  if (!b) { /* computed on demand, by slice: no batch reports it */
    rl_free(info->description);
    return;
  }
  b->inputs = rl_grow(b->inputs, &b->inputs_cap, b->ninputs + 1, sizeof *b->inputs);
  b->inputs[b->ninputs++] = *info;
}

/* Events ----------------------------------------------------------------------------------------------------------- */

static rl_output_info output_info(const rl_output_run *r)
{
  return (rl_output_info){.batch_time = r->batch->time,
                          .id = r->id,
                          .name = r->output->name,
                          .start = r->start,
                          .end = r->end,
                          .failure = r->failure};
}

static int64_t us_between(int64_t from_ns, int64_t to_ns) { return from_ns && to_ns ? (to_ns - from_ns) / 1000 : -1; }

static uint64_t spilled_total(rl_streaming *s)
{
  rl_memory_stats stats;
  rl_memory_stats_read(rl_context_memory(s->c), &stats);
  return stats.spilled_total;
}

static void post_batch(rl_streaming *s, const rl_batch *b, rl_event_kind kind)
{
  if (!atomic_load(&s->events.wanted)) return;
  rl_output_info *outputs = rl_calloc(b->nruns + 1, sizeof *outputs);
  for (uint32_t i = 0; i < b->nruns; i++) outputs[i] = output_info(&b->runs[i]);
  rl_event e = {
    .kind = kind,
    .time = rl_clock_now(s->clock),
    .batch = {.time = b->time,
              .submitted = b->submitted,
              .started = b->started,
              .ended = b->ended,
              .scheduling_us = us_between(b->submitted_ns, b->started_ns),
              .processing_us = us_between(b->started_ns, b->ended_ns),
              .total_us = us_between(b->submitted_ns, b->ended_ns),
              .since_tick_us = us_between(b->due_ns, b->ended_ns),
              .spilled = b->ended_ns ? (int64_t)(spilled_total(s) - b->spilled) : -1,
              .inputs = b->inputs,
              .ninputs = b->ninputs,
              .outputs = outputs,
              .noutputs = b->nruns},
  };
  rl_events_post(s, &e);
  rl_free(outputs);
}

static void post_output(rl_streaming *s, const rl_output_run *r, rl_event_kind kind)
{
  rl_events_post(s, &(rl_event){.kind = kind, .time = rl_clock_now(s->clock), .output = output_info(r)});
}

/* Completion ------------------------------------------------------------------------------------------------------- */

void rl_batch_start(rl_streaming *s, rl_batch *b)
{
  b->started = rl_clock_now(s->clock);
  b->started_ns = rl_mono_ns();
  b->spilled = spilled_total(s);
  post_batch(s, b, RL_EVENT_BATCH_STARTED);
}

/* A batch of an earlier run that is to be run again and is not even generated; NULL: none is left. */
static const rl_batch *resumed(rl_streaming *s)
{
  pthread_mutex_lock(&s->lock);
  const rl_batch *b = s->ticked; /* they come first, and only this thread takes them */
  pthread_mutex_unlock(&s->lock);
  return b && b->past ? b : NULL;
}

/* The time up to which nothing is under way any more: batches may end in another order than they began. */
static int64_t settled(rl_streaming *s)
{
  const rl_batch *first = s->queue ? s->queue : s->generating ? s->generating : s->beginning;
  if (!first) first = resumed(s);
  int64_t time = first ? first->time - s->batch_ms : s->latest;
  return s->stuck <= time ? s->stuck - s->batch_ms : time;
}

/* It is run again at the next start: until then nothing passes it. */
static void stays_pending(rl_streaming *s, const rl_batch *b)
{
  if (b->time < s->stuck) s->stuck = b->time;
}

static void complete(rl_streaming *s, rl_batch *b)
{
  if (!b->started_ns) rl_batch_start(s, b); /* no output had an RDD */
  b->ended = rl_clock_now(s->clock);
  b->ended_ns = rl_mono_ns();
  rl_rates_learn(s, b);
  post_batch(s, b, RL_EVENT_BATCH_COMPLETED);
  rl_batch **at = &s->queue;
  while (*at != b) at = &(*at)->next;
  *at = b->next;
  if (s->last_batch == &b->next) s->last_batch = at;
  int64_t time = b->time;
  bool unfinished = b->unfinished;
  if (unfinished) stays_pending(s, b);
  if (s->durable && !unfinished) rl_durable_complete(s, b, settled(s));
  free_batch(b);
  rl_tracker_done(s->tracker, time);
  if (!unfinished) rl_graph_forget(s, settled(s));
}

/* Which of several that are alike one is, nothing tells when their number has changed: then it is none of them. */
char *rl_output_key(const rl_output *o)
{
  uint32_t twin = 0, twins = 0;
  bool met = false;
  for (const rl_output *other = o->stream->s->outputs; other; other = other->next) {
    met = met || other == o;
    bool alike = other->stream == o->stream && strcmp(other->operation, o->operation) == 0;
    twins += alike;
    twin += alike && !met;
  }
  if (twins == 1) return rl_format("%s/%s", rl_dstream_uid(o->stream), o->operation);
  return rl_format("%s/%s#%" PRIu32 "/%" PRIu32, rl_dstream_uid(o->stream), o->operation, twin, twins);
}

/* Did a stop or a second signal make it fail? Then nobody is to blame, and it is not passed over. */
static bool hurried(const rl_streaming *s) { return s->stopping || rl_streaming_signals() > 1; }

/* While a graceful stop works batches off, failures are as before; over its limit they may come of that. */
static bool skips_failures(const rl_streaming *s)
{
  return (s->working_off || !s->stopping) && rl_streaming_signals() < 2 && !rl_streaming_is_overdue(s) &&
         rl_conf_text(rl_context_conf(s->c), "rille.streaming.onBatchFailure")[1] == 'k'; /* skip */
}

static void stop_failed(rl_streaming *s)
{
  s->failed = s->stop_asked = true;
  s->stop_graceful = false;
  rl_driver_wake(rl_context_driver(s->c));
}

void rl_batch_report(rl_streaming *s, rl_status st)
{
  if (skips_failures(s)) rl_streaming_pass_over(s);
  else rl_streaming_report(s, st);
}

/* In a durable job an output is done, or its batch stays pending: nothing is passed over but where the settings say so.
 * The job stops; at its next start this output alone is run again. */
static void note_output(rl_streaming *s, const rl_output_run *r, rl_status status)
{
  if (status && !skips_failures(s)) {
    r->batch->unfinished = true;
    if (!hurried(s)) stop_failed(s);
    return;
  }
  rl_durable_output(s, r);
}

void rl_output_follows(rl_output_run *r) { r->follows = true; }

void rl_output_done(rl_output_run *r, rl_status status)
{
  rl_batch *b = r->batch;
  rl_streaming *s = r->output->stream->s;
  r->done = true;
  r->end = rl_clock_now(s->clock);
  if (status) {
    r->failure = rl_strdup(rl_error_message());
    rl_error_prefix("batch %" PRId64 " ms: %s: ", b->time, r->output->name);
    if (r->follows) rl_streaming_note(s);
    else rl_batch_report(s, status);
    if (skips_failures(s)) rl_warn("batch %" PRId64 " ms: what %s would have given is left out", b->time, r->output->name);
  }
  if (s->durable) note_output(s, r, status);
  post_output(s, r, RL_EVENT_OUTPUT_COMPLETED);
  rl_rdd_unref(r->rdd);
  r->rdd = NULL;
  s->running--;
  if (++b->ndone == b->nruns) complete(s, b);
  pump(s);
}

static rl_output_run *next_run(rl_streaming *s)
{
  for (rl_batch *b = s->queue; b; b = b->next)
    for (uint32_t i = 0; b->ready && i < b->nruns; i++)
      if (!b->runs[i].started) return &b->runs[i];
  return NULL;
}

static void start_run(rl_streaming *s, rl_output_run *r)
{
  r->started = true;
  if (!r->batch->started_ns) rl_batch_start(s, r->batch);
  r->start = rl_clock_now(s->clock);
  post_output(s, r, RL_EVENT_OUTPUT_STARTED);
  r->output->fn(r->output->user, r->rdd, r->batch->time, r);
}

/* May a batch or an output begin? */
static bool goes_on(const rl_streaming *s)
{
  return !s->failed && rl_streaming_signals() < 2 && !rl_streaming_is_overdue(s);
}

/* Starts outputs, and behind those the roots of the batch that comes next, while there is room and nobody hurries the
 * stop. What is started may end before the call returns, which comes back here: the outer call goes on then. */
static void pump(rl_streaming *s)
{
  if (s->pumping) return;
  s->pumping = true;
  while (s->running < s->concurrent && goes_on(s)) {
    rl_output_run *r = next_run(s);
    if (r) {
      s->running++;
      start_run(s, r);
    } else if (s->rooted && !s->rooted->roots_started) {
      s->running++;
      rl_batch_start(s, s->rooted);
      rl_roots_start(s, s->rooted);
    } else {
      break;
    }
  }
  s->pumping = false;
}

/* Generation ------------------------------------------------------------------------------------------------------- */

/* Did an earlier run of the job see to it? */
static bool is_done(const rl_batch *b, const rl_output *o)
{
  if (!b->past || b->past->noutputs == 0) return false;
  char *key = rl_output_key(o);
  bool done = rl_past_has_output(b->past, key);
  rl_free(key);
  return done;
}

/* What the script has changed since is not known again, and an output that was not done must never be taken for one that
 * was: so it runs again, rather than not at all. */
static void warn_of_changed_outputs(const rl_batch *b, size_t known)
{
  size_t unknown = b->past ? b->past->noutputs - known : 0;
  if (unknown == 0) return;
  rl_warn("batch %" PRId64 " ms: %zu %s done before the job was stopped %s not in the script any more, or changed: what "
          "is changed runs again", b->time, unknown, unknown == 1 ? "output" : "outputs", unknown == 1 ? "is" : "are");
}

static rl_status generate(rl_streaming *s, rl_batch *b)
{
  uint32_t outputs = 0;
  size_t done = 0;
  for (rl_output *o = s->outputs; o; o = o->next) outputs++;
  b->runs = rl_calloc(outputs + 1, sizeof *b->runs);
  for (rl_output *o = s->outputs; o; o = o->next) {
    rl_rdd *rdd = NULL;
    rl_status st = rl_dstream_get(o->stream, b->time, &rdd);
    if (st) return st;
    if (!rdd) continue;
    if (is_done(b, o)) {
      done++;
      rl_rdd_unref(rdd);
      continue;
    }
    b->runs[b->nruns] = (rl_output_run){
      .batch = b, .output = o, .rdd = rdd, .id = (int32_t)b->nruns, .start = RL_NO_TIME, .end = RL_NO_TIME};
    b->nruns++;
  }
  warn_of_changed_outputs(b, done);
  rl_status st = rl_graph_read_inputs(s, b->time);
  return st ? st : rl_roots_generate(s, b);
}

/* A batch that cannot be generated, or whose state cannot be made, has no outputs. */
static void drop_runs(rl_batch *b)
{
  for (uint32_t i = 0; i < b->nruns; i++) rl_rdd_unref(b->runs[i].rdd);
  b->nruns = b->ndone = 0;
}

/* What stands on a version that was not made is discarded with the batch; by default the context stops, as the versions
 * to come would lack it. */
static void fail_batch(rl_streaming *s, rl_batch *b)
{
  drop_runs(b);
  if (skips_failures(s) && b->past && b->past->ended) { /* versions of later batches may stand on its */
    rl_warn("batch %" PRId64 " ms: its state was made before, and stays; what its outputs would have given is left out",
            b->time);
    return;
  }
  if (skips_failures(s)) {
    b->discarded = true;
    rl_graph_discard(s, b->time);
    rl_warn("batch %" PRId64 " ms is left out: its records are in no state and no output", b->time);
    return;
  }
  b->unfinished = true;
  stop_failed(s);
}

static void submit(rl_streaming *s, rl_batch *b)
{
  s->generating = b;
  rl_status st = b->unread ? rl_error_raise(&b->error) : generate(s, b);
  s->generating = NULL;
  b->submitted = rl_clock_now(s->clock);
  b->submitted_ns = rl_mono_ns();
  *s->last_batch = b;
  s->last_batch = &b->next;
  post_batch(s, b, RL_EVENT_BATCH_SUBMITTED);
  if (st) {
    rl_error_prefix("batch %" PRId64 " ms: ", b->time);
    rl_batch_report(s, st);
    if (s->store) fail_batch(s, b); /* state would lack it */
    else drop_runs(b);
  } else if (b->nroots > 0) {
    s->rooted = b;
    return;
  }
  b->ready = true;
  if (b->nruns == 0) complete(s, b);
}

/* A batch of a durable job is generated when it is in the log what its inputs are; until then none is. What cannot be
 * read is told when it would be generated. */
static void begin(rl_streaming *s, rl_batch *b)
{
  s->generating = b;
  rl_status st = rl_graph_read_inputs(s, b->time);
  s->generating = NULL;
  b->unread = st != RL_OK;
  if (st) rl_error_take(&b->error);
  s->beginning = b;
  if (rl_durable_begin(s, b) != RL_OK) rl_batch_begun(s, RL_EIO);
}

static void generate_ticked(rl_streaming *s)
{
  rl_batch *b;
  while (!s->rooted && !s->beginning && goes_on(s) && (b = take_ticked(s))) {
    if (!b->past) rl_gaps_note(s, b->time);
    if (!s->durable || !b->past) s->latest = b->time;
    if (s->durable && !b->past) {
      begin(s, b);
    } else {
      submit(s, b);
      pump(s);
    }
  }
}

void rl_batch_begun(rl_streaming *s, rl_status st)
{
  rl_batch *b = s->beginning;
  s->beginning = NULL;
  if (!b) { /* a stop has dropped it */
    if (st) rl_error_drop();
    return;
  }
  if (st) {
    rl_error_prefix("batch %" PRId64 " ms cannot begin: ", b->time);
    rl_streaming_report(s, st);
    free_batch(b);
    stop_failed(s);
    return;
  }
  rl_streaming_ref(s);
  submit(s, b);
  pump(s);
  generate_ticked(s);
  rl_streaming_unref(s);
}

void rl_batch_roots_done(rl_streaming *s, rl_batch *b)
{
  rl_streaming_ref(s);
  s->rooted = NULL;
  s->running--;
  if (b->failed) fail_batch(s, b);
  else if (s->durable) rl_durable_end(s, b);
  if (s->store && !s->durable) rl_state_end(s->store, b->time);
  b->ready = true;
  if (b->ndone == b->nruns) complete(s, b);
  pump(s);
  generate_ticked(s);
  rl_streaming_unref(s);
}

void rl_batch_on_message(rl_message *m)
{
  rl_streaming *s = (rl_streaming *)((char *)m - offsetof(rl_streaming, tick_message));
  /* A transform waits for an action of its own; whoever generates takes the next tick as well. */
  if (s->generating) return;
  rl_streaming_ref(s);
  generate_ticked(s);
  rl_streaming_unref(s);
}

bool rl_batch_idle(const rl_streaming *s)
{
  rl_streaming *w = (rl_streaming *)s;
  pthread_mutex_lock(&w->lock);
  bool idle = !s->ticked && !s->queue && !s->generating && !s->beginning;
  pthread_mutex_unlock(&w->lock);
  return idle;
}

/* Outputs that have not begun are taken as done; tells whether anything still runs (it ends by itself). */
static bool skip_waiting_outputs(rl_batch *b)
{
  for (uint32_t i = 0; i < b->nruns; i++) {
    if (b->runs[i].started) continue;
    b->runs[i].started = b->runs[i].done = b->unfinished = true;
    b->ndone++;
  }
  return b->ndone < b->nruns || (b->roots_started && b->roots_done < b->nroots);
}

void rl_batch_drop_queued(rl_streaming *s)
{
  rl_batch *b;
  while ((b = take_ticked(s))) {
    if (b->past) stays_pending(s, b);
    free_batch(b);
  }
  if (s->beginning) {
    stays_pending(s, s->beginning);
    free_batch(s->beginning);
  }
  s->beginning = NULL;
  rl_batch **at = &s->queue;
  while ((b = *at)) {
    if (skip_waiting_outputs(b)) {
      at = &b->next;
      continue;
    }
    *at = b->next;
    stays_pending(s, b);
    if (s->rooted == b) s->rooted = NULL;
    free_batch(b);
  }
  s->last_batch = at;
}
