/* Roots: the jobs that bring every operator's state to the batch, before any of its outputs runs. They run together
 * (the scheduler sees to it that one that reads another's comes behind it); the next batch is not generated before
 * they have ended, so versions are made in order, and each batch is generated knowing the newest. */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "plan/stated.h"
#include "run/stream.h"

typedef struct rl_root {
  rl_message message;
  rl_streaming *s;
  rl_batch *batch;
  rl_rdd *rdd;
  rl_job *job;
} rl_root;

static void on_ended(rl_message *m);

static void add_root(rl_streaming *s, rl_batch *b, rl_rdd *rdd)
{
  rl_root *r = &b->roots[b->nroots++];
  *r = (rl_root){.message = {.run = on_ended}, .s = s, .batch = b, .rdd = rdd};
}

/* Also where only the window of a later batch looks at them: later the state has moved on. */
static rl_status generate_snapshots(rl_streaming *s, int64_t time)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    if (d->kind != RL_NODE_SNAPSHOTS || !d->reached) continue;
    rl_rdd *rdd;
    rl_status st = rl_dstream_get(d, time, &rdd);
    if (st) return st;
    rl_rdd_unref(rdd);
  }
  return RL_OK;
}

rl_status rl_roots_generate(rl_streaming *s, rl_batch *b)
{
  uint32_t n = 0;
  for (const rl_dstream *d = s->nodes; d; d = d->next) n += d->kind == RL_NODE_STATEFUL && d->reached;
  if (n) b->roots = rl_calloc(n, sizeof *b->roots);
  for (rl_dstream *d = s->nodes; n && d; d = d->next) {
    if (d->kind != RL_NODE_STATEFUL || !d->reached) continue;
    rl_rdd *rdd;
    rl_status st = rl_dstream_get(d, b->time, &rdd);
    if (st) return st;
    if (rdd && !rl_rdd_state_is_done(rdd)) add_root(s, b, rdd);
    else rl_rdd_unref(rdd); /* none, or made before the job was started again */
  }
  return generate_snapshots(s, b->time);
}

/* A failure is also that of the roots that stand on its state: it is told once. */
static void report(const rl_root *r, rl_status st)
{
  const char *before = r->s->error.message;
  if (r->batch->failed && before && strcmp(before, rl_error_message()) == 0) rl_error_drop();
  else rl_batch_report(r->s, st);
}

static void ended(rl_root *r, rl_status st)
{
  rl_batch *b = r->batch;
  if (st) {
    rl_error_prefix("batch %" PRId64 " ms: ", b->time);
    report(r, st);
    b->failed = true;
  }
  if (++b->roots_done == b->nroots) rl_batch_roots_done(r->s, b);
}

static void on_ended(rl_message *m)
{
  rl_root *r = (rl_root *)m;
  ended(r, rl_job_status(r->job));
}

void rl_roots_start(rl_streaming *s, rl_batch *b)
{
  b->roots_started = true;
  uint32_t n = b->nroots; /* the last one to end may free the batch */
  for (uint32_t i = 0; i < n; i++) {
    rl_root *r = &b->roots[i];
    const rl_job_spec spec = {.rdd = r->rdd, .kind = RL_JOB_STATE, .batch_time = b->time, .what = rl_rdd_label(r->rdd)};
    rl_status st = rl_job_submit(s->c, &spec, &r->message, &r->job);
    if (st) ended(r, st);
  }
}

void rl_roots_delete(rl_batch *b)
{
  for (uint32_t i = 0; i < b->nroots; i++) {
    rl_job_unref(b->roots[i].job);
    rl_rdd_unref(b->roots[i].rdd);
  }
  rl_free(b->roots);
}
