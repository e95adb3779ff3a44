/* The graph of a durable job beside its state (store/outline.h): whether the state that is there was made by operators
 * like today's, and writing down how the job is now. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/durable_impl.h"
#include "store/outline.h"
#include "store/state.h"

/* Today's graph ---------------------------------------------------------------------------------------------------- */

/* An operation is made of one or more nodes, all of its name and site: its parts before the last have its uid and their
 * number, "UID:1". */
static bool is_part(const rl_dstream *part, const rl_dstream *whole)
{
  const char *uid = rl_dstream_uid(whole), *other = rl_dstream_uid(part);
  size_t n = strlen(uid);
  if (part->kind == RL_NODE_INPUT || strcmp(part->label, whole->label) != 0) return false;
  if (strncmp(uid, other, n) != 0) return false;
  if (other[n] == '\0') return true;
  const char *number = other + n + 1;
  return other[n] == ':' && *number && strspn(number, "0123456789") == strlen(number);
}

typedef struct drawing {
  const rl_dstream **nodes; /* that are reached, parents before children */
  size_t n;
  size_t *whole; /* by node: the last node of its operation */
  uint32_t *place; /* by node that is the last: in the outline */
} drawing;

static void find_nodes(const rl_streaming *s, drawing *x)
{
  for (const rl_dstream *d = s->nodes; d; d = d->next) x->n += d->reached;
  x->nodes = rl_calloc(x->n + 1, sizeof *x->nodes);
  x->whole = rl_calloc(x->n + 1, sizeof *x->whole);
  x->place = rl_calloc(x->n + 1, sizeof *x->place);
  size_t at = x->n;
  for (const rl_dstream *d = s->nodes; d; d = d->next) /* newest first */
    if (d->reached) x->nodes[--at] = d;
}

static size_t index_of(const drawing *x, const rl_dstream *d)
{
  size_t i = 0;
  while (x->nodes[i] != d) i++;
  return i;
}

static void find_wholes(drawing *x)
{
  for (size_t i = 0; i < x->n; i++) x->whole[i] = i;
  for (size_t i = x->n; i-- > 0;) {
    const rl_dstream *whole = x->nodes[x->whole[i]];
    for (uint32_t k = 0; k < x->nodes[i]->nparents; k++)
      if (is_part(x->nodes[i]->parents[k], whole)) x->whole[index_of(x, x->nodes[i]->parents[k])] = x->whole[i];
  }
}

static void add_parent(rl_outline_stream *s, uint32_t place)
{
  s->parents = rl_realloc(s->parents, (s->nparents + 1) * sizeof *s->parents);
  s->parents[s->nparents++] = place;
}

/* What the nodes of one operation are together; `last` is the last of them. */
static void draw_stream(const drawing *x, size_t last, rl_outline_stream *out)
{
  const rl_dstream *d = x->nodes[last];
  const char *form = "";
  *out = (rl_outline_stream){.uid = rl_strdup(rl_dstream_uid(d)),
                             .operation = rl_strdup(d->op->name),
                             .site = rl_strdup(d->op->site ? d->op->site : "")};
  for (size_t i = 0; i <= last; i++) {
    const rl_dstream *part = x->nodes[i];
    if (x->whole[i] != last) continue;
    if (part->kind == RL_NODE_STATEFUL) form = rl_stateful_form(part);
    if (part->window > 0) {
      out->window_ms = part->window;
      out->slide_ms = part->slide;
    }
    for (uint32_t k = 0; k < part->nparents; k++) {
      size_t whole = x->whole[index_of(x, part->parents[k])];
      if (whole != last) add_parent(out, x->place[whole]);
    }
  }
  out->form = rl_strdup(form);
}

static void draw_outputs(const rl_streaming *s, const drawing *x, rl_outline *out)
{
  for (const rl_output *o = s->outputs; o; o = o->next) {
    out->outputs = rl_grow(out->outputs, &out->outputs_cap, out->noutputs + 1, sizeof *out->outputs);
    out->outputs[out->noutputs++] = (rl_outline_output){
      .stream = x->place[x->whole[index_of(x, o->stream)]], .name = rl_strdup(o->name), .key = rl_output_key(o)};
  }
}

static void draw(const rl_streaming *s, rl_outline *out)
{
  drawing x = {0};
  find_nodes(s, &x);
  find_wholes(&x);
  for (size_t i = 0; i < x.n; i++) {
    if (x.whole[i] != i) continue;
    out->streams = rl_grow(out->streams, &out->streams_cap, out->nstreams + 1, sizeof *out->streams);
    x.place[i] = (uint32_t)out->nstreams;
    draw_stream(&x, i, &out->streams[out->nstreams++]);
  }
  draw_outputs(s, &x, out);
  rl_free(x.nodes);
  rl_free(x.whole);
  rl_free(x.place);
}

/* Comparing -------------------------------------------------------------------------------------------------------- */

/* Is there a version of this state, in the image or in the log? */
static bool has_version(const rl_streaming *s, const char *uid)
{
  const rl_found *f = &s->durable->found;
  rl_state_op *op = rl_state_find(s->store, uid);
  if (op && rl_state_sealed(op) != RL_NO_TIME) return true;
  for (size_t i = 0; i < f->nbatches; i++) {
    const rl_past *p = f->batches[i];
    for (size_t k = 0; k < p->nstates && p->ended && !p->discarded; k++)
      if (strcmp(p->states[k].uid, uid) == 0) return true;
  }
  return false;
}

static rl_status refuse(const rl_streaming *s, const rl_outline_shape *was, const rl_outline_stream *is)
{
  const rl_outline_shape today = {is->uid, is->operation, is->form, is->window_ms, is->slide_ms};
  rl_buf before = {0}, now = {0};
  rl_outline_describe(was, &before);
  rl_outline_describe(&today, &now);
  rl_status st = rl_fail(RL_EINVAL,
                         "%s: the state of '%s' is that of %s, and at %s there is %s now, which cannot go on with it; give "
                         "that operator another uid (:uid(name)), under which it begins anew, or leave it as it was",
                         s->checkpoint, is->uid, rl_buf_cstr(&before), *is->site ? is->site : "its place",
                         rl_buf_cstr(&now));
  rl_buf_free(&before);
  rl_buf_free(&now);
  return st;
}

static rl_status compare(const rl_streaming *s, const rl_outline *before, const rl_outline *now)
{
  for (size_t i = 0; i < now->nstreams; i++) {
    const rl_outline_stream *is = &now->streams[i];
    const rl_outline_shape today = {is->uid, is->operation, is->form, is->window_ms, is->slide_ms};
    rl_outline_shape was;
    if (!*is->form || !rl_outline_find_shape(before, is->uid, &was)) continue;
    if (!rl_outline_fits(&was, &today) && has_version(s, is->uid)) return refuse(s, &was, is);
  }
  return RL_OK;
}

static void keep(rl_outline *now, const rl_outline_shape *was)
{
  now->kept = rl_grow(now->kept, &now->kept_cap, now->nkept + 1, sizeof *now->kept);
  now->kept[now->nkept++] = (rl_outline_shape){rl_strdup(was->uid), rl_strdup(was->operation), rl_strdup(was->form),
                                               was->window_ms, was->slide_ms};
}

/* State stays when nobody takes it, and so does what is known of it. */
static void carry(const rl_streaming *s, const rl_outline *before, rl_outline *now)
{
  rl_outline_shape was, is;
  for (size_t i = 0; i < before->nstreams + before->nkept; i++) {
    const char *uid = i < before->nstreams ? before->streams[i].uid : before->kept[i - before->nstreams].uid;
    if (!rl_outline_find_shape(before, uid, &was) || rl_outline_find_shape(now, uid, &is)) continue;
    if (has_version(s, uid)) keep(now, &was);
  }
}

/* A record that is damaged is no reason not to start: what it says is made anew. */
static rl_status read_note(const rl_streaming *s, rl_buf *bytes, rl_outline *out, bool *found)
{
  rl_status st = rl_state_get_note(s->store, RL_OUTLINE_DBI, RL_OUTLINE_NAME, bytes, found);
  if (st == RL_OK && *found) st = rl_outline_decode(bytes->p, bytes->n, out);
  if (st != RL_EDATA) return st;
  rl_error e;
  rl_error_take(&e);
  rl_warn("%s: %s: the graph is taken from the log", s->checkpoint, e.message);
  rl_error_clear(&e);
  rl_buf_clear(bytes);
  *found = false;
  return RL_OK;
}

/* A state that was made anew of the log has no note, and the log may have lost the START that has the graph, too. */
static void tell_unknown(const rl_streaming *s, const rl_outline *now)
{
  for (size_t i = 0; i < now->nstreams; i++) {
    const rl_outline_stream *is = &now->streams[i];
    if (!*is->form || !has_version(s, is->uid)) continue;
    rl_warn("%s: the job's graph is recorded neither beside the state nor in the log: whether its state was made by "
            "operators like today's is not known (that of '%s', and %s at %s)", s->checkpoint, is->uid, is->operation,
            *is->site ? is->site : "its place");
    return;
  }
}

/* As recorded beside the state, or else in the newest START of the log; *note: the former. */
static rl_status read_before(const rl_streaming *s, const rl_outline *now, rl_buf *note, rl_outline *out)
{
  const rl_buf *logged = &s->durable->found.graph;
  bool found = false;
  rl_status st = read_note(s, note, out, &found);
  if (st || found) return st;
  if (logged->n) return rl_outline_decode(logged->p, logged->n, out);
  tell_unknown(s, now);
  return RL_OK;
}

/* The first record of a log is on disk before the graph is. */
static rl_status check_log(const rl_streaming *s, bool recorded)
{
  const char *drop = "rille.checkpoint.allowDropped";
  if (!recorded || s->durable->found.started) return RL_OK;
  if (!rl_conf_bool(rl_context_conf(s->c), drop))
    return rl_fail(RL_EDATA, "%s: the state of a job is there, and its log is missing; put back a copy made by rille "
                   "backup, or go on with this state, without what the log would have had, with %s = true",
                   s->checkpoint, drop);
  if (rl_state_newest(s->store) == RL_NO_TIME) /* else it is told of with the state */
    rl_warn("%s: the job's log is missing; inputs may be read again (%s)", s->checkpoint, drop);
  return RL_OK;
}

void rl_streaming_set_code(rl_streaming *s, uint64_t code) { s->code = code; }

int64_t rl_durable_other_code(const rl_streaming *s) { return s->durable ? s->durable->other_code : RL_NO_TIME; }

/* What is not known of one start is taken to be as at the one before. */
static void compare_code(const rl_streaming *s, const rl_outline *before, rl_outline *now)
{
  const rl_found *f = &s->durable->found;
  now->code = s->code ? s->code : before->code;
  now->since = before->since;
  if (!before->code || now->code == before->code) return;
  int64_t logged = f->nbatches ? f->batches[f->nbatches - 1]->time : RL_NO_TIME, imaged = rl_state_newest(s->store);
  now->since = logged > imaged ? logged : imaged;
}

rl_status rl_durable_compare_graph(rl_streaming *s, rl_buf *out, bool *changed)
{
  rl_outline before = {.since = RL_NO_TIME}, now = {0};
  rl_buf note = {0};
  draw(s, &now);
  rl_status st = read_before(s, &now, &note, &before);
  if (!st) st = check_log(s, note.n > 0);
  if (!st) st = compare(s, &before, &now);
  if (!st) {
    carry(s, &before, &now);
    compare_code(s, &before, &now);
    s->durable->other_code = now.since;
    rl_outline_encode(&now, out);
    *changed = note.n != out->n || memcmp(note.p, out->p, out->n) != 0;
  }
  rl_outline_free(&before);
  rl_outline_free(&now);
  rl_buf_free(&note);
  return st;
}

rl_status rl_durable_record_graph(rl_streaming *s, const rl_buf *graph)
{
  return rl_state_put_note(s->store, RL_OUTLINE_DBI, RL_OUTLINE_NAME, graph->p, graph->n);
}
