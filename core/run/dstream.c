/* The graph of DStreams: nodes, what each gives in a batch, and how long it is kept (section 3 of the reference). */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "plan/stated.h"
#include "run/stream.h"

rl_status rl_graph_check_open(const rl_streaming *s, const char *what)
{
  switch (rl_streaming_state(s)) {
  case RL_INITIALIZED: return RL_OK;
  case RL_ACTIVE:
    return rl_fail(RL_ESTATE, "%s: inputs, operations and outputs cannot be added after the context was started", what);
  default:
    return rl_fail(RL_ESTATE, "%s: inputs, operations and outputs cannot be added after the context was stopped", what);
  }
}

rl_dstream *rl_graph_add(rl_streaming *s, rl_node_kind kind, rl_op *op, rl_dstream *const *parents, uint32_t n)
{
  rl_dstream *d = RL_NEW(rl_dstream);
  d->s = s;
  d->kind = kind;
  d->op = op;
  d->nparents = n;
  d->parents = rl_calloc(n + 1, sizeof(rl_dstream *));
  if (n) memcpy(d->parents, parents, n * sizeof(rl_dstream *));
  d->slide = n ? parents[0]->slide : s->batch_ms;
  d->forgotten = RL_NO_TIME;
  d->label = op->site ? rl_format("%s at %s", op->name, op->site) : rl_strdup(op->name);
  d->next = s->nodes;
  s->nodes = d;
  return d;
}

rl_status rl_streaming_add_input(rl_streaming *s, rl_input *input, const char *site, rl_dstream **out)
{
  rl_status st = rl_graph_check_open(s, input->cls->name);
  if (st) {
    input->cls->destroy(input);
    return st;
  }
  input->streaming = s;
  input->id = s->next_input++;
  char *name = rl_format("%s [%" PRId32 "]", input->cls->name, input->id);
  rl_op like = {.kind = RL_OP_SOURCE, .name = name, .site = (char *)site};
  *out = rl_graph_add(s, RL_NODE_INPUT, rl_op_new(&like), NULL, 0);
  (*out)->input = input;
  (*out)->remember = input->remember_ms;
  rl_free(name);
  return RL_OK;
}

static rl_status check_parents(rl_op const *op, rl_dstream *const *parents, uint32_t n)
{
  if (n == 0) return rl_fail(RL_EINVAL, "%s needs at least one stream", op->name);
  for (uint32_t i = 1; i < n; i++) {
    if (parents[i]->s != parents[0]->s)
      return rl_fail(RL_EINVAL, "%s: the streams belong to different contexts", op->name);
    if (parents[i]->slide != parents[0]->slide)
      return rl_fail(RL_EINVAL,
                     "%s: the streams have different slides (%" PRId64 " ms and %" PRId64
                     " ms); a window over one of them can bring them together",
                     op->name, parents[0]->slide, parents[i]->slide);
  }
  return rl_graph_check_open(parents[0]->s, op->name);
}

rl_status rl_dstream_apply(rl_op *op, rl_dstream *const *parents, uint32_t n, rl_dstream **out)
{
  rl_status st = check_parents(op, parents, n);
  if (!st) *out = rl_graph_add(parents[0]->s, RL_NODE_OP, rl_op_ref(op), parents, n);
  return st;
}

rl_status rl_dstream_transform(const rl_op *named, rl_dstream *const *parents, uint32_t n, rl_transform_fn *fn,
                               void *user, void (*destroy)(void *), rl_dstream **out)
{
  rl_status st = check_parents(named, parents, n);
  if (st) {
    if (destroy) destroy(user);
    return st;
  }
  *out = rl_graph_add(parents[0]->s, RL_NODE_TRANSFORM, rl_op_new(named), parents, n);
  (*out)->transform = fn;
  (*out)->user = user;
  (*out)->destroy = destroy;
  return RL_OK;
}

rl_status rl_dstream_output(rl_dstream *d, const char *name, const char *site, const char *identity, rl_output_fn *fn,
                            void *user, void (*destroy)(void *))
{
  rl_status st = rl_graph_check_open(d->s, name);
  if (st) {
    if (destroy) destroy(user);
    return st;
  }
  rl_output *o = RL_NEW(rl_output);
  *o = (rl_output){.stream = d, .fn = fn, .user = user, .destroy = destroy};
  o->operation = identity ? rl_format("%s(%s)", name, identity) : rl_strdup(name);
  o->name = site ? rl_format("%s at %s", name, site) : rl_strdup(name);
  *d->s->last_output = o;
  d->s->last_output = &o->next;
  return RL_OK;
}

/* What a stream gives at a time ------------------------------------------------------------------------------------ */

static rl_generated *find(const rl_dstream *d, int64_t time)
{
  size_t low = 0, high = d->ngenerated;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (d->generated[middle].time < time) low = middle + 1;
    else high = middle;
  }
  return low < d->ngenerated && d->generated[low].time == time ? &d->generated[low] : NULL;
}

static void remember(rl_dstream *d, int64_t time, rl_rdd *rdd)
{
  d->generated = rl_grow(d->generated, &d->generated_cap, d->ngenerated + 1, sizeof *d->generated);
  size_t i = d->ngenerated++;
  for (; i > 0 && d->generated[i - 1].time > time; i--) d->generated[i] = d->generated[i - 1];
  d->generated[i] = (rl_generated){time, rdd};
}

/* A time that no batch had, because it was missed and left out, has nothing; a window may ask for it all the same. In a
 * durable job an input is read by the batch that begins, once and never again. */
static bool is_gap(const rl_dstream *d, int64_t time)
{
  const rl_batch *b = d->s->generating;
  if (rl_gaps_have(d->s, time)) return true;
  return d->s->durable && d->reached && !(b && b->time == time);
}

static rl_status compute_input(rl_dstream *d, int64_t time, rl_rdd **out)
{
  if (time <= d->forgotten) return RL_OK; /* asked again, an input would give what belongs to another batch */
  if (is_gap(d, time)) {
    *out = rl_rdd_empty(0);
    return RL_OK;
  }
  rl_input_info info = {.stream = d->input->id};
  rl_status st = d->input->cls->compute(d->input, time, out, &info);
  if (st) rl_free(info.description);
  else rl_batch_add_input(d->s, &info);
  return st;
}

static rl_status missing(const rl_dstream *d, const rl_dstream *parent, int64_t time)
{
  return rl_fail(RL_ESTATE, "%s: %s has no RDD at %" PRId64 " ms, and %s needs one of every stream", d->label,
                 parent->label, time, d->op->name);
}

/* Does it stand on a window that reaches further back than what a restart found? */
static bool is_withheld(const rl_dstream *d, int64_t time) /* NOLINT(misc-no-recursion) */
{
  if (rl_window_is_withheld(d, time)) return true;
  for (uint32_t i = 0; i < d->nparents && d->kind != RL_NODE_STATEFUL; i++)
    if (is_withheld(d->parents[i], time)) return true;
  return false;
}

/* The parents' RDDs into rdds[0..nparents); *none when the only parent of a plain operation has none, or any is
 * withheld. */
static rl_status parent_rdds(rl_dstream *d, int64_t time, rl_rdd **rdds, bool *none) /* NOLINT(misc-no-recursion) */
{
  bool strict = d->kind == RL_NODE_TRANSFORM || d->nparents > 1 || d->op->kind == RL_OP_UNION;
  for (uint32_t i = 0; i < d->nparents; i++) {
    rl_status st = rl_dstream_get(d->parents[i], time, &rdds[i]);
    if (st) return st;
    if (!rdds[i] && strict && !is_withheld(d->parents[i], time)) return missing(d, d->parents[i], time);
    if (!rdds[i]) *none = true;
  }
  return RL_OK;
}

static rl_status compute_derived(rl_dstream *d, int64_t time, rl_rdd **out) /* NOLINT(misc-no-recursion) */
{
  rl_rdd **rdds = rl_calloc(d->nparents, sizeof(rl_rdd *));
  bool none = false;
  rl_status st = parent_rdds(d, time, rdds, &none);
  if (!st && !none) {
    if (d->kind == RL_NODE_TRANSFORM) st = d->transform(d->user, rdds, d->nparents, time, out);
    else st = rl_rdd_apply(d->op, rdds, d->nparents, rl_context_parallelism(d->s->c), out);
  }
  for (uint32_t i = 0; i < d->nparents; i++) rl_rdd_unref(rdds[i]);
  rl_free(rdds);
  return st;
}

static rl_status compute(rl_dstream *d, int64_t time, rl_rdd **out) /* NOLINT(misc-no-recursion) */
{
  switch (d->kind) {
  case RL_NODE_INPUT: return compute_input(d, time, out);
  case RL_NODE_STATEFUL: return rl_stateful_compute(d, time, out);
  case RL_NODE_SNAPSHOTS: return rl_snapshots_compute(d, time, out);
  case RL_NODE_WINDOW: return rl_window_compute(d, time, out);
  default: return compute_derived(d, time, out);
  }
}

rl_status rl_dstream_get(rl_dstream *d, int64_t time, rl_rdd **out) /* NOLINT(misc-no-recursion) */
{
  *out = NULL;
  if (d->s->zero == RL_NO_TIME) return rl_fail(RL_ESTATE, "%s: the context was not started", d->label);
  if (time <= d->s->zero || (time - d->s->zero) % d->slide != 0) return RL_OK;
  /* Asked for early, a batch would be remembered without what is still to come. */
  if (d->s->latest == RL_NO_TIME || time > d->s->latest) return RL_OK;
  rl_generated *g = find(d, time);
  if (!g) {
    rl_rdd *rdd = NULL;
    rl_status st = compute(d, time, &rdd);
    if (st) return st;
    /* one that a function persisted keeps its own level */
    if (rdd && rl_level_keeps(d->level)) (void)rl_rdd_persist(rdd, d->level);
    remember(d, time, rdd);
    g = find(d, time);
  }
  if (g->rdd) *out = rl_rdd_ref(g->rdd);
  return RL_OK;
}

rl_status rl_graph_read_inputs(rl_streaming *s, int64_t time)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->reached) continue;
    rl_rdd *rdd;
    rl_status st = rl_dstream_get(d, time, &rdd);
    if (st) return st;
    rl_rdd_unref(rdd);
  }
  return RL_OK;
}

/* Start, clearing, end --------------------------------------------------------------------------------------------- */

/* From each output down: a stream keeps its RDDs at least its slide, and as long as what stands on it; what a window
 * looks at, as long as the window besides. Streams that many paths lead to are not walked again in vain. */
static void reach(rl_dstream *d, int64_t remember_ms) /* NOLINT(misc-no-recursion) */
{
  if (d->reached && remember_ms <= d->remember) return;
  d->reached = true;
  if (d->remember < d->slide) d->remember = d->slide;
  if (d->remember < remember_ms) d->remember = remember_ms;
  int64_t of_parents = d->window > INT64_MAX - d->remember ? INT64_MAX : d->remember + d->window;
  for (uint32_t i = 0; i < d->nparents; i++) reach(d->parents[i], of_parents);
}

void rl_graph_reach(rl_streaming *s)
{
  for (rl_output *o = s->outputs; o; o = o->next) reach(o->stream, s->remember);
}

void rl_graph_restore(rl_dstream *d, int64_t time, rl_rdd *rdd)
{
  if (rdd && rl_level_keeps(d->level)) (void)rl_rdd_persist(rdd, d->level);
  remember(d, time, rdd);
}

rl_status rl_graph_start_inputs(rl_streaming *s)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->input->cls->start) continue;
    rl_status st = d->input->cls->start(d->input);
    if (st) return st;
  }
  return RL_OK;
}

static void drop_until(rl_dstream *d, int64_t until)
{
  bool unpersist = rl_conf_bool(rl_context_conf(d->s->c), "rille.streaming.unpersist");
  size_t n = 0;
  while (n < d->ngenerated && d->generated[n].time <= until) {
    rl_rdd *rdd = d->generated[n++].rdd;
    if (rdd && unpersist) rl_rdd_unpersist(rdd);
    rl_rdd_unref(rdd);
  }
  if (!n) return;
  d->ngenerated -= n;
  memmove(d->generated, d->generated + n, d->ngenerated * sizeof *d->generated);
}

void rl_graph_forget(rl_streaming *s, int64_t time)
{
  int64_t longest = s->batch_ms;
  time = rl_stateful_oldest(s, time, rl_stateful_sealed);
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    drop_until(d, time - d->remember); /* what is not reached may have been asked for by slice */
    if (d->reached && d->forgotten < time - d->remember) d->forgotten = time - d->remember;
    if (d->kind != RL_NODE_INPUT) continue;
    if (d->reached && d->remember > longest) longest = d->remember;
    if (d->input->cls->forget) d->input->cls->forget(d->input, time - (d->reached ? d->remember : 0));
  }
  rl_tracker_forget(s->tracker, time - longest);
  rl_gaps_forget(s, time - longest);
  if (s->durable) rl_durable_forget(s, time, longest);
}

void rl_graph_discard(rl_streaming *s, int64_t time)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    rl_generated *g = find(d, time);
    if (!g) { /* it is not to be made later, for a window */
      if (d->reached && (time - s->zero) % d->slide == 0) remember(d, time, NULL);
      continue;
    }
    if (g->rdd && d->kind == RL_NODE_STATEFUL) rl_stated_undo(g->rdd);
    rl_rdd_unref(g->rdd);
    g->rdd = NULL;
  }
}

void rl_graph_release(rl_streaming *s)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) drop_until(d, INT64_MAX);
}

void rl_graph_stop_inputs(rl_streaming *s)
{
  for (rl_dstream *d = s->nodes; d; d = d->next)
    if (d->kind == RL_NODE_INPUT && d->input->cls->stop) d->input->cls->stop(d->input);
}

static void delete_node(rl_dstream *d)
{
  for (size_t i = 0; i < d->ngenerated; i++) rl_rdd_unref(d->generated[i].rdd);
  rl_free(d->generated);
  if (d->destroy) d->destroy(d->user);
  rl_stateful_delete(d->stateful);
  if (d->input) d->input->cls->destroy(d->input);
  rl_op_unref(d->op);
  rl_free(d->parents);
  rl_free(d->label);
  rl_free(d);
}

void rl_graph_delete(rl_streaming *s)
{
  while (s->outputs) {
    rl_output *o = s->outputs;
    s->outputs = o->next;
    if (o->destroy) o->destroy(o->user);
    rl_free(o->name);
    rl_free(o->operation);
    rl_free(o);
  }
  while (s->nodes) {
    rl_dstream *d = s->nodes;
    s->nodes = d->next;
    delete_node(d);
  }
}

/* Looking at it ---------------------------------------------------------------------------------------------------- */

void rl_dstream_persist(rl_dstream *d, rl_level level) /* NOLINT(misc-no-recursion) */
{
  if (d->kind == RL_NODE_WINDOW) rl_dstream_persist(d->parents[0], level);
  else d->level = level;
}

int64_t rl_dstream_slide(const rl_dstream *d) { return d->slide; }
int64_t rl_dstream_remembers(const rl_dstream *d) { return d->remember; }
const char *rl_dstream_uid(const rl_dstream *d) { return d->op->uid ? d->op->uid : d->op->name; }

void rl_dstream_set_uid(rl_dstream *d, const char *uid)
{
  rl_op like = *d->op;
  like.uid = (char *)uid;
  rl_op *named = rl_op_new(&like);
  rl_op_unref(d->op);
  d->op = named;
}

int32_t rl_dstream_input_id(const rl_dstream *d) { return d->input ? d->input->id : -1; }
rl_input *rl_dstream_input(const rl_dstream *d) { return d->input; }
const char *rl_dstream_label(const rl_dstream *d) { return d->label; }

static void debug_level(const rl_dstream *d, rl_buf *out, unsigned indent) /* NOLINT(misc-no-recursion) */
{
  for (; d; indent += 2) {
    rl_buf_printf(out, "%*s%s", (int)indent, "", d->label);
    if (d->op->uid) rl_buf_printf(out, " [uid %s]", d->op->uid);
    if (rl_level_keeps(d->level)) rl_buf_puts(out, " [persisted]");
    rl_buf_putc(out, '\n');
    for (uint32_t i = 0; d->nparents > 1 && i < d->nparents; i++) debug_level(d->parents[i], out, indent + 2);
    d = d->nparents == 1 ? d->parents[0] : NULL;
  }
}

void rl_dstream_debug(const rl_dstream *d, rl_buf *out) { debug_level(d, out, 0); }
