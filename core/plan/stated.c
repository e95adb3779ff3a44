#include "plan/stated.h"

#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "data/codec.h"
#include "plan/lineage.h"

/* Making them ------------------------------------------------------------------------------------------------------ */

rl_rdd *rl_rdd_update_state(rl_op *op, rl_rdd *input, rl_state_op *state, int64_t time)
{
  rl_rdd *r = rl_rdd_new(op, &input, 1, input->partitions);
  r->part = RL_PART_HASH;
  r->stated = RL_NEW(rl_stated);
  r->stated->op = state;
  rl_state_ref(rl_state_of(state));
  r->stated->time = time;
  r->stated->updates = rl_calloc(input->partitions + (size_t)1, sizeof(rl_state_update *));
  r->stated->out = rl_calloc(input->partitions + (size_t)1, sizeof(rl_spool *));
  atomic_init(&r->stated->done, false);
  atomic_init(&r->stated->wanted, false);
  atomic_init(&r->stated->pinned, false);
  return r;
}

void rl_rdd_begin_state(rl_rdd *r) { r->stated->anew = true; }

void rl_rdd_log_state(rl_rdd *r, const rl_state_log *log)
{
  if (!log) return;
  r->stated->log = *log;
  log->ref(log->user);
}

rl_rdd *rl_rdd_restore_state(rl_op *op, rl_state_op *state, int64_t time, rl_spool **out, uint32_t n)
{
  rl_rdd *none = rl_rdd_empty(n), *r = rl_rdd_update_state(op, none, state, time);
  rl_rdd_unref(none);
  for (uint32_t p = 0; p < n; p++) r->stated->out[p] = out[p];
  atomic_store(&r->stated->done, true);
  return r;
}

bool rl_rdd_state_is_done(const rl_rdd *r) { return atomic_load(&r->stated->done); }

static void pin(rl_stated *s)
{
  if (!atomic_exchange(&s->pinned, true)) rl_state_pin(s->op, s->time);
}

rl_status rl_rdd_snapshot(rl_op *op, rl_rdd *updated, rl_rdd **out)
{
  rl_stated *s = updated->stated;
  atomic_store(&s->wanted, true);
  if (atomic_load(&s->done) && !atomic_load(&s->pinned)) {
    if (rl_state_sealed(s->op) != s->time)
      return rl_fail(RL_ESTATE, "%s: the state has moved on from %" PRId64 " ms", op->name, s->time);
    pin(s);
  }
  *out = rl_rdd_new(op, &updated, 1, updated->partitions);
  (*out)->part = RL_PART_HASH;
  return RL_OK;
}

/* The version ------------------------------------------------------------------------------------------------------ */

static rl_status log_partitions(const rl_rdd *r)
{
  const rl_stated *s = r->stated;
  rl_status st = RL_OK;
  for (uint32_t p = 0; s->log.write && p < r->partitions && !st; p++)
    st = s->log.write(s->log.user, s->op, s->time, p, r->partitions, s->updates[p], s->out[p]);
  return st;
}

rl_status rl_stated_seal(rl_rdd *r)
{
  rl_stated *s = r->stated;
  rl_status st = log_partitions(r);
  if (st) return st; /* the updates are cleared with the stage */
  st = rl_state_seal(s->op, s->time, s->updates, r->partitions);
  for (uint32_t p = 0; p < r->partitions; p++) s->updates[p] = NULL; /* the seal took them over */
  if (st) return st;
  atomic_store(&s->done, true);
  if (atomic_load(&s->wanted)) pin(s); /* in this order: a snapshot that is made now sees to it otherwise */
  return RL_OK;
}

void rl_stated_clear(rl_rdd *r)
{
  for (uint32_t p = 0; p < r->partitions; p++) {
    rl_state_update_delete(r->stated->updates[p]);
    r->stated->updates[p] = NULL;
    rl_spool_unref(r->stated->out[p]);
    r->stated->out[p] = NULL;
  }
}

void rl_stated_undo(rl_rdd *r)
{
  const rl_stated *s = r->stated;
  if (!atomic_load(&s->done) || rl_state_unseal(s->op, s->time) == RL_OK) return;
  rl_error e;
  rl_error_take(&e);
  rl_err("%s: %s", r->label, e.message);
  rl_error_clear(&e);
}

void rl_stated_delete(rl_rdd *r)
{
  rl_stated *s = r->stated;
  if (!s) return;
  rl_stated_clear(r);
  if (atomic_load(&s->pinned)) rl_state_unpin(s->op, s->time);
  rl_state_close(rl_state_of(s->op));
  if (s->log.write) s->log.unref(s->log.user);
  rl_free(s->updates);
  rl_free(s->out);
  rl_free(s);
}

/* Snapshots -------------------------------------------------------------------------------------------------------- */

typedef struct snapshot {
  rl_pull base;
  bool first;
  rl_state_scan *scan;
  rl_builder *builder;
} snapshot;

static rl_status first_field(rl_value *v)
{
  rl_reader r;
  uint64_t fields;
  rl_status st = rl_walk_tuple(*v, &r, &fields);
  return st ? st : rl_get_value(&r, v);
}

static rl_status snapshot_next(rl_pull *self, rl_chunk **out)
{
  snapshot *s = (snapshot *)self;
  bool found = true;
  while (!rl_builder_full(s->builder)) {
    rl_value pair[2];
    int64_t stamp;
    rl_status st = rl_state_scan_next(s->scan, &pair[0], &pair[1], &stamp, &found);
    if (!st && found && s->first) st = first_field(&pair[1]);
    if (!st && found) st = rl_builder_add(s->builder, pair, 2);
    if (st) return st;
    if (!found) break;
  }
  *out = rl_builder_finish(s->builder);
  return RL_OK;
}

static void snapshot_close(rl_pull *self)
{
  snapshot *s = (snapshot *)self;
  rl_state_scan_close(s->scan);
  rl_builder_delete(s->builder);
  rl_free(s);
}

static const rl_pull_class snapshot_class = {snapshot_next, snapshot_close};

rl_status rl_snapshot_open(rl_rdd *r, uint32_t partition, rl_pull **out)
{
  const rl_stated *of = r->parents[0]->stated;
  uint32_t from, to;
  rl_partition_groups(partition, r->partitions, &from, &to);
  rl_state_scan *scan;
  rl_status st = rl_state_scan_open(of->op, of->time, from, to, NULL, 0, &scan);
  if (st) return st;
  snapshot *s = RL_NEW(snapshot);
  s->base.cls = &snapshot_class;
  s->scan = scan;
  s->first = r->op->first;
  s->builder = rl_builder_new();
  *out = &s->base;
  return RL_OK;
}
