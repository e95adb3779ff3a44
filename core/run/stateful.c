/* Stateful streams: what is put before the update's function in each batch, and where their state is. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "plan/stated.h"
#include "run/budget.h"
#include "run/stream.h"

typedef struct rl_stateful_node {
  rl_op *update, *both; /* `both`: the RDDs of several batches as one */
  rl_rdd *initial;
  bool timed, always, passing;
  bool told; /* that it begins anew */
  char *form;
  rl_state_op *state; /* from start on */
} rl_stateful_node;

struct rl_state *rl_streaming_state_store(rl_streaming *s) { return s->store; }

static rl_stateful_node *new_stateful(const rl_stateful *spec)
{
  rl_stateful_node *n = RL_NEW(rl_stateful_node);
  const rl_op both = {.kind = RL_OP_UNION, .name = spec->op->name, .site = spec->op->site};
  n->update = rl_op_ref(spec->update);
  n->both = rl_op_new(&both);
  n->initial = spec->initial ? rl_rdd_ref(spec->initial) : NULL;
  n->timed = spec->timed;
  n->always = spec->always;
  n->passing = spec->passing;
  n->form = rl_strdup(spec->form ? spec->form : "values");
  return n;
}

void rl_stateful_delete(rl_stateful_node *n)
{
  if (!n) return;
  rl_op_unref(n->update);
  rl_op_unref(n->both);
  rl_rdd_unref(n->initial);
  rl_free(n->form);
  rl_free(n);
}

rl_status rl_dstream_stateful(const rl_stateful *spec, rl_dstream *parent, rl_dstream **out)
{
  rl_status st = rl_graph_check_open(parent->s, spec->op->name);
  if (st) return st;
  if (spec->window_ms) st = rl_window_check(spec->op->name, parent->slide, spec->window_ms, spec->slide_ms);
  if (st) return st;
  if (!spec->op->uid) return rl_fail(RL_EINVAL, "%s: an operator with state needs a uid", spec->op->name);
  *out = rl_graph_add(parent->s, RL_NODE_STATEFUL, rl_op_ref(spec->op), &parent, 1);
  (*out)->stateful = new_stateful(spec);
  (*out)->window = spec->window_ms;
  if (spec->window_ms && !rl_level_keeps(parent->level)) rl_dstream_persist(parent, RL_LEVEL_MEMORY_ONLY_SER);
  if (spec->slide_ms) (*out)->slide = spec->slide_ms;
  return RL_OK;
}

rl_status rl_dstream_snapshots(rl_op *op, rl_dstream *stateful, rl_dstream **out)
{
  rl_status st = rl_graph_check_open(stateful->s, op->name);
  if (st) return st;
  if (stateful->kind != RL_NODE_STATEFUL) return rl_fail(RL_EINVAL, "%s: %s has no state", op->name, stateful->label);
  *out = rl_graph_add(stateful->s, RL_NODE_SNAPSHOTS, rl_op_ref(op), &stateful, 1);
  return RL_OK;
}

const char *rl_stateful_form(const rl_dstream *d) { return d->stateful->form; }

/* Start ------------------------------------------------------------------------------------------------------------ */

static bool has_state(const rl_dstream *d) { return d->kind == RL_NODE_STATEFUL && d->reached; }

/* One line for all. */
static void warn_of_end(const rl_streaming *s)
{
  const rl_dstream *first = NULL;
  uint32_t count = 0;
  for (const rl_dstream *d = s->nodes; d; d = d->next) { /* newest first */
    if (!has_state(d) || d->stateful->passing) continue;
    first = d;
    count++;
  }
  if (!first) return;
  char *others = count > 1 ? rl_format(" and of %" PRIu32 " more", count - 1) : rl_strdup("");
  rl_warn("the state of %s%s ends with this process: %s", first->label, others,
          s->checkpoint ? "rille.reliable is false, so the checkpoint directory is not used"
                        : "there is no checkpoint directory");
  rl_free(others);
}

/* A quarter of what there is for chunks and the like may be versions on their way into the image; one that is being
 * made may not be larger than all of it. */
static rl_status open_store(rl_streaming *s)
{
  const rl_conf *conf = rl_context_conf(s->c);
  const char *dir = rl_conf_text(conf, "rille.local.dir");
  if (!*dir) dir = getenv("TMPDIR");
  rl_budget budget;
  rl_status st = rl_budget_read(conf, &budget);
  if (st) return st;
  const rl_state_spec spec = {
    .dir = dir && *dir ? dir : "/tmp",
    .scratch = true,
    .overlay_bytes = (size_t)(budget.chunks / 4),
    .update_bytes = (size_t)budget.chunks,
  };
  return rl_state_open(&spec, &s->store);
}

rl_status rl_stateful_start(rl_streaming *s)
{
  rl_status st = RL_OK;
  for (rl_dstream *d = s->nodes; !st && d; d = d->next) {
    if (!has_state(d)) continue;
    if (!s->store) st = open_store(s); /* of a durable job it is open already */
    if (st) rl_error_prefix("the state of %s has no place (rille.local.dir): ", d->label);
    if (!st) st = rl_state_operator(s->store, d->op->uid, d->stateful->timed, &d->stateful->state);
  }
  if (!st && !s->durable) warn_of_end(s);
  return st;
}

void rl_stateful_stop(rl_streaming *s)
{
  for (rl_dstream *d = s->nodes; d; d = d->next)
    if (d->kind == RL_NODE_STATEFUL) d->stateful->state = NULL;
  rl_state_close(s->store);
  s->store = NULL;
}

int64_t rl_stateful_oldest(const rl_streaming *s, int64_t time, rl_stateful_newest *newest)
{
  for (const rl_dstream *d = s->store ? s->nodes : NULL; d; d = d->next) {
    if (d->kind != RL_NODE_STATEFUL || !d->reached || !d->window) continue;
    int64_t sealed = newest(d), due = time - (time - s->zero) % d->slide;
    if (sealed == RL_NO_TIME) continue;               /* it begins with the window as it is then */
    if (sealed < due && sealed < time) time = sealed; /* versions were discarded: what they had seen is still needed */
  }
  return time;
}

int64_t rl_stateful_sealed(const rl_dstream *d) { return rl_state_sealed(d->stateful->state); }

/* A batch ---------------------------------------------------------------------------------------------------------- */

/* What is to leave is computed by today's functions: it is not what entered, if those were others. */
static bool is_of_other_code(const rl_dstream *d) { return rl_stateful_sealed(d) <= rl_durable_other_code(d->s); }

bool rl_stateful_begins(const rl_dstream *d)
{
  int64_t before = rl_stateful_sealed(d);
  if (before <= d->s->zero || is_of_other_code(d)) return true;
  return rl_window_is_cut(d, before); /* the grid is another where all of the log is lost */
}

/* The job ran without it, or lost a part of its log: what is to leave cannot be had, and would stay for ever. */
static void tell_anew(rl_dstream *d)
{
  if (d->stateful->told) return;
  d->stateful->told = true;
  if (!rl_window_is_cut(d, rl_stateful_sealed(d))) {
    rl_info("%s: the script has changed since batch %" PRId64 " ms: the window '%s' is made anew of the log", d->label,
            rl_durable_other_code(d->s), d->op->uid);
    return;
  }
  rl_warn("%s: the state of '%s' is that of batch %" PRId64 " ms, and the log lacks what is to leave its window: it "
          "begins anew, with the first window that is whole", d->label, d->op->uid, rl_stateful_sealed(d));
}

/* What left the window since the newest version, and what entered it. A gap between the two windows is in neither. One
 * that begins has nothing to leave. *n == 0: its window is not whole yet, or the time is over. */
static rl_status window_inputs(rl_dstream *d, int64_t time, rl_rdd **rdds, uint32_t *n) /* NOLINT(misc-no-recursion) */
{
  int64_t w = d->window, before = rl_stateful_sealed(d);
  bool begins = rl_stateful_begins(d);
  if (begins && before != RL_NO_TIME) tell_anew(d);
  if (before >= time || rl_window_is_withheld(d, time)) return RL_OK;
  if (begins) before = d->s->zero;
  int64_t gone = time - w < before ? time - w : before, known = time - w > before ? time - w : before;
  rl_status st = rl_window_rdd(d->parents[0], d->stateful->both, before - w, gone, &rdds[0]);
  if (st) return st;
  *n = 1;
  st = rl_window_rdd(d->parents[0], d->stateful->both, known, time, &rdds[1]);
  if (!st) *n = 2;
  return st;
}

/* *n == 0: there is nothing to do yet. */
static rl_status plain_inputs(rl_dstream *d, int64_t time, rl_rdd **rdds, uint32_t *n) /* NOLINT(misc-no-recursion) */
{
  rl_stateful_node *node = d->stateful;
  bool first = rl_state_sealed(node->state) == RL_NO_TIME;
  rl_status st = rl_dstream_get(d->parents[0], time, &rdds[0]);
  if (st) return st;
  if (!rdds[0] && first && !node->always) return RL_OK;
  if (!rdds[0]) rdds[0] = rl_rdd_empty(0);
  *n = 1;
  if (first && node->initial) rdds[(*n)++] = rl_rdd_ref(node->initial);
  return RL_OK;
}

rl_status rl_stateful_compute(rl_dstream *d, int64_t time, rl_rdd **out) /* NOLINT(misc-no-recursion) */
{
  rl_stateful_node *node = d->stateful;
  rl_rdd *rdds[2] = {NULL, NULL}, *input = NULL;
  uint32_t n = 0;
  bool anew = d->window && rl_stateful_begins(d);
  rl_status st = d->window ? window_inputs(d, time, rdds, &n) : plain_inputs(d, time, rdds, &n);
  if (!st && n > 0) st = rl_rdd_apply(node->update, rdds, n, rl_context_parallelism(d->s->c), &input);
  if (!st && input) {
    *out = rl_rdd_update_state(d->op, input, node->state, time);
    if (anew) rl_rdd_begin_state(*out);
    rl_rdd_log_state(*out, rl_durable_state_log(d->s));
  }
  rl_rdd_unref(input);
  for (uint32_t i = 0; i < n; i++) rl_rdd_unref(rdds[i]);
  return st;
}

rl_status rl_snapshots_compute(rl_dstream *d, int64_t time, rl_rdd **out) /* NOLINT(misc-no-recursion) */
{
  rl_rdd *updated;
  rl_status st = rl_dstream_get(d->parents[0], time, &updated);
  if (st || !updated) return st;
  st = rl_rdd_snapshot(d->op, updated, out);
  rl_rdd_unref(updated);
  return st;
}
