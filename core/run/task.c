/* One attempt of one task: the records of a partition, into an exchange or a result. */
#include <inttypes.h>

#include "base/hash.h"
#include "plan/stated.h"
#include "run/engine.h"

uint32_t rl_task_spools(const rl_stage *s)
{
  if (s->state) return 1;
  if (!s->target || s->target->op->part == RL_PART_RANGE) return 0;
  return s->target->partitions;
}

typedef rl_status consume(void *to, rl_chunk *chunk, bool *enough);

static rl_status run_through(rl_pull *in, const rl_task *task, consume *f, void *to)
{
  bool enough = false;
  while (!enough) {
    if (atomic_load_explicit(task->cancelled, memory_order_relaxed)) return rl_fail(RL_ECANCELLED, "cancelled");
    rl_chunk *chunk;
    rl_status st = rl_pull_next(in, &chunk);
    if (st || !chunk) return st;
    st = f(to, chunk, &enough);
    rl_chunk_unref(chunk);
    if (st) return st;
  }
  return RL_OK;
}

typedef struct result {
  const rl_stage *stage;
  rl_chunks *out;
  uint64_t count;
} result;

static rl_status keep(void *to, rl_chunk *chunk, bool *enough)
{
  result *r = to;
  uint64_t n = chunk->n;
  if (r->stage->limit && r->count + n >= r->stage->limit) {
    n = r->stage->limit - r->count;
    *enough = true;
  }
  r->count += n;
  if (r->stage->kind == RL_JOB_COLLECT)
    rl_chunks_add(r->out, n == chunk->n ? rl_chunk_ref(chunk) : rl_chunk_slice(chunk, 0, (uint32_t)n));
  return RL_OK;
}

/* What a state stage emits is kept. */
static rl_status keep_emitted(void *to, rl_chunk *chunk, bool *enough)
{
  (void)enough;
  return rl_spool_add(to, rl_chunk_ref(chunk));
}

/* The map side of a shuffle: what an output has complete goes to its spool, and when what is still being filled gets
 * too much, that too. */
typedef struct split {
  rl_splitter *splitter;
  const rl_task *task;
  rl_spool **out;
} split;

static rl_status spool(void *to, uint32_t output, rl_chunk *chunk)
{
  const split *s = to;
  if (!s->out[output]) s->out[output] = rl_spool_new(s->task->memory, RL_LEVEL_WORK);
  return rl_spool_add(s->out[output], chunk);
}

static rl_status split_chunk(void *to, rl_chunk *chunk, bool *enough)
{
  (void)enough;
  split *s = to;
  rl_status st = rl_splitter_add(s->splitter, chunk);
  if (st) return st;
  st = rl_splitter_flush(s->splitter, false, spool, s);
  if (!st && rl_splitter_bytes(s->splitter) > s->task->quota) st = rl_splitter_flush(s->splitter, true, spool, s);
  return st;
}

static rl_status sort_chunk(void *to, rl_chunk *chunk, bool *enough)
{
  (void)enough;
  return rl_sorter_add(to, rl_chunk_ref(chunk));
}

static rl_status run_split(const rl_rdd *target, rl_pull *in, const rl_task *task, rl_spool **out)
{
  const rl_op *op = target->op;
  split s = {rl_splitter_new(op->part, target->partitions, op->part == RL_PART_HASH, task->seed), task, out};
  rl_status st = run_through(in, task, split_chunk, &s);
  if (st == RL_EINVAL) /* a key that is none, a record that is no pair */
    rl_error_prefix("%s%s%s: ", op->site ? op->site : "", op->site ? ": " : "", op->name);
  if (!st) st = rl_splitter_flush(s.splitter, true, spool, &s);
  for (uint32_t i = 0; i < target->partitions; i++)
    if (out[i]) rl_spool_seal(out[i]);
  rl_splitter_delete(s.splitter);
  return st;
}

static rl_status run_map(const rl_rdd *target, rl_pull *in, const rl_task *task, rl_outcome *o)
{
  const rl_op *op = target->op;
  if (op->part == RL_PART_RANGE) {
    rl_sorter *s = rl_sorter_new(task->memory, task->quota, op->descending, target->partitions);
    rl_status st = run_through(in, task, sort_chunk, s);
    if (!st) st = rl_sorter_finish(s, &o->runs);
    rl_sorter_delete(s);
    return st;
  }
  return run_split(target, in, task, o->spools);
}

static rl_status run_state(rl_pull *in, const rl_task *task, rl_outcome *o)
{
  o->spools[0] = rl_spool_new(task->memory, RL_LEVEL_WORK);
  rl_status st = run_through(in, task, keep_emitted, o->spools[0]);
  rl_spool_seal(o->spools[0]);
  return st;
}

rl_status rl_task_run(rl_context *c, const rl_attempt *a, void *local, rl_outcome *o)
{
  rl_stage *s = a->stage;
  rl_task task = {
    .job = s->id,
    .stage = s->id,
    .partition = a->partition,
    .attempt = a->attempt,
    .max_attempts = c->max_failures,
    .batch_time = s->batch_time,
    .seed = rl_hash_u64(a->partition, s->seed),
    .local = local,
    .cancelled = &s->cancelled,
    .memory = c->memory,
    .quota = rl_memory_quota(c->memory),
    .updates = &o->updates,
  };
  if (c->hooks.begin) c->hooks.begin(c->hooks.user, local, &task);
  rl_fn *map_fn = s->target ? s->target->op->map_fn : NULL;
  rl_pull *in = NULL;
  rl_status st = RL_OK;
  if (s->state) st = rl_state_update_new(s->state->stated->op, a->partition, s->state->partitions, &o->state);
  if (!st && s->state && s->state->stated->anew) rl_state_update_anew(o->state);
  task.state = o->state;
  if (!st) st = rl_rdd_open(s->rdd, a->partition, &task, &map_fn, map_fn ? 1 : 0, &in);
  if (!st && s->target) {
    st = run_map(s->target, in, &task, o);
  } else if (!st && s->state) {
    st = run_state(in, &task, o);
    if (!st) st = rl_state_update_sweep(o->state);
  } else if (!st) {
    result r = {s, &o->out, 0};
    st = run_through(in, &task, keep, &r);
    o->count = r.count;
  }
  rl_pull_close(in);
  if (o->state) rl_state_update_rest(o->state);
  return c->hooks.end ? c->hooks.end(c->hooks.user, local, &task, st) : st;
}
