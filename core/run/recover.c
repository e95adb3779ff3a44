/* Restoring a context from what the log of its earlier runs has (found.c): state here, inputs in recover_inputs.c; then
 * the batches that are still to be run. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/durable_impl.h"

/* State ------------------------------------------------------------------------------------------------------------ */

/* One partition's STATE record, read back. */
typedef struct part {
  rl_bytes *bytes;
  rl_journal_state head;
} part;

static rl_dstream *stateful_node(const rl_streaming *s, const char *uid)
{
  for (rl_dstream *d = s->nodes; d; d = d->next)
    if (d->kind == RL_NODE_STATEFUL && d->reached && strcmp(uid, d->op->uid) == 0) return d;
  return NULL;
}

bool rl_past_is_remembered(const rl_dstream *d, const rl_past *p)
{
  return p->time > d->s->durable->found.oldest - d->remember;
}

bool rl_past_is_needed(const rl_dstream *d, const rl_past *p)
{
  return rl_past_is_remembered(d, p) && (p->time > d->s->durable->found.gone || !p->complete);
}

static rl_status emitted_of(const rl_streaming *s, part *p, rl_spool **out)
{
  *out = rl_spool_new(rl_context_memory(s->c), RL_LEVEL_WORK);
  rl_status st = RL_OK;
  for (uint64_t i = 0; i < p->head.chunks && !st; i++) {
    rl_chunk *c;
    st = rl_chunk_decode(&p->head.rest, &c);
    if (!st) st = rl_spool_add(*out, c);
  }
  rl_spool_seal(*out);
  return st;
}

static rl_status restore_emitted(rl_dstream *d, rl_state_op *op, int64_t time, part *parts, uint32_t n)
{
  rl_spool **out = rl_calloc(n, sizeof(rl_spool *));
  rl_status st = RL_OK;
  for (uint32_t i = 0; i < n && !st; i++) st = emitted_of(d->s, &parts[i], &out[i]);
  if (st == RL_OK) {
    rl_graph_restore(d, time, rl_rdd_restore_state(d->op, op, time, out, n));
  } else {
    for (uint32_t i = 0; i < n; i++) rl_spool_unref(out[i]);
  }
  rl_free(out);
  return st;
}

/* parts[0..n): of all partitions of one operator's version. */
static rl_status restore_version(rl_streaming *s, const rl_past *p, part *parts, uint32_t n)
{
  const rl_journal_state *head = &parts[0].head;
  char *uid = rl_strndup(head->uid.p, head->uid.n);
  rl_state_op *op;
  rl_status st = rl_state_operator(s->store, uid, head->timed, &op);
  if (!st && p->time > rl_state_sealed(op)) {
    rl_state_changes *changes = rl_calloc(n, sizeof *changes);
    for (uint32_t i = 0; i < n; i++) changes[i] = (rl_state_changes){parts[i].head.changes.p, parts[i].head.changes.n};
    st = rl_state_replay(op, p->time, changes, n);
    rl_free(changes);
  }
  rl_dstream *d = stateful_node(s, uid);
  if (!st && d && rl_past_is_needed(d, p)) st = restore_emitted(d, op, p->time, parts, n);
  if (st) rl_error_prefix("state of '%s', batch %" PRId64 " ms: ", uid, p->time);
  rl_free(uid);
  return st;
}

static rl_status read_part(const rl_streaming *s, const rl_wal_at *at, part *out)
{
  rl_status st = rl_wal_read(s->durable->wal, at, &out->bytes);
  return st ? st : rl_journal_get_state(out->bytes->data, out->bytes->n, &out->head);
}

static int by_operator(const void *a, const void *b)
{
  const rl_journal_state *x = &((const part *)a)->head, *y = &((const part *)b)->head;
  size_t n = x->uid.n < y->uid.n ? x->uid.n : y->uid.n;
  int order = n ? memcmp(x->uid.p, y->uid.p, n) : 0;
  if (order) return order;
  if (x->uid.n != y->uid.n) return x->uid.n < y->uid.n ? -1 : 1;
  return x->partition < y->partition ? -1 : x->partition > y->partition;
}

static rl_status check_whole(const rl_past *p, const part *parts, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (parts[i].head.partition != i || parts[i].head.partitions != n)
      return rl_fail(RL_EDATA, "the log lacks a part of the state '%.*s' of batch %" PRId64 " ms", (int)parts[0].head.uid.n,
                     parts[0].head.uid.p, p->time);
  return RL_OK;
}

static rl_status restore_parts(rl_streaming *s, const rl_past *p, part *parts, size_t n)
{
  rl_status st = RL_OK;
  for (size_t from = 0, to; from < n && !st; from = to) {
    for (to = from + 1; to < n && parts[to].head.uid.n == parts[from].head.uid.n &&
                        memcmp(parts[to].head.uid.p, parts[from].head.uid.p, parts[from].head.uid.n) == 0;)
      to++;
    st = check_whole(p, parts + from, to - from);
    if (!st) st = restore_version(s, p, parts + from, (uint32_t)(to - from));
  }
  return st;
}

/* Snapshots are made while their version is the newest; from then on it is pinned. Where the image has moved past it,
 * nobody needed it when the job last ran. */
static rl_status restore_snapshots(rl_streaming *s, const rl_past *p)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    if (d->kind != RL_NODE_SNAPSHOTS || !d->reached || !rl_past_is_needed(d, p)) continue;
    rl_rdd *rdd;
    rl_status st = rl_dstream_get(d, p->time, &rdd);
    if (st == RL_ESTATE) rl_graph_restore(d, p->time, NULL);
    else if (st) return st;
    else rl_rdd_unref(rdd);
  }
  return RL_OK;
}

/* What the image has already, and nobody asks for, need not even be read. */
static bool is_wanted(const rl_streaming *s, const rl_past *p, const char *uid)
{
  const rl_dstream *d = stateful_node(s, uid);
  if (d && rl_past_is_needed(d, p)) return true;
  rl_state_op *op = rl_state_find(s->store, uid);
  return !op || rl_state_sealed(op) < p->time;
}

static rl_status restore_state(rl_streaming *s, const rl_past *p)
{
  part *parts = rl_calloc(p->nstates + 1, sizeof *parts);
  rl_status st = RL_OK;
  size_t n = 0;
  for (size_t i = 0; i < p->nstates && !st; i++)
    if (is_wanted(s, p, p->states[i].uid)) st = read_part(s, &p->states[i].at, &parts[n++]);
  if (!st) {
    qsort(parts, n, sizeof *parts, by_operator);
    st = restore_parts(s, p, parts, n);
  }
  for (size_t i = 0; i < n; i++) rl_bytes_unref(parts[i].bytes);
  rl_free(parts);
  return st ? st : restore_snapshots(s, p);
}

/* A log that goes back to the job's beginning has all batches whose results the image has. */
static rl_status check_beginning(rl_streaming *s, int64_t image)
{
  const rl_found *f = &s->durable->found;
  const char *drop = "rille.checkpoint.allowDropped";
  if (!f->whole || image == RL_NO_TIME || image >= f->zero) return RL_OK;
  if (!rl_conf_bool(rl_context_conf(s->c), drop))
    return rl_fail(RL_EDATA, "the state is that of batch %" PRId64 " ms, and the log is that of a job that began later, "
                   "at %" PRId64 " ms: they do not belong together; put back the right one, or a copy made by rille "
                   "backup, or go on with both as they are, with %s = true", image, f->zero, drop);
  rl_warn("%s: the state of batch %" PRId64 " ms is older than the job of the log (%s)", s->checkpoint, image, drop);
  return RL_OK;
}

/* The image has versions of batches only that are complete in the log: else this is not the log that belongs to it. */
static rl_status check_image(rl_streaming *s)
{
  rl_found *f = &s->durable->found;
  const char *drop = "rille.checkpoint.allowDropped";
  int64_t log = f->nbatches ? f->batches[f->nbatches - 1]->time : RL_NO_TIME, image = rl_state_newest(s->store);
  if (image <= log) return check_beginning(s, image);
  if (!rl_conf_bool(rl_context_conf(s->c), drop))
    return rl_fail(RL_EDATA, "the state is that of batch %" PRId64 " ms, which the log does not have: part of the log is "
                   "missing, or the directory was copied while the job ran; put back a copy made by rille backup, or go on "
                   "with this state, without what the log would have had, with %s = true", image, drop);
  rl_warn("%s: the log lacks what led to the state of batch %" PRId64 " ms; inputs may be read again (%s)", s->checkpoint,
          image, drop);
  for (size_t i = 0; i < f->nbatches; i++) f->batches[i]->complete = true;
  f->image = image;
  return RL_OK;
}

/* State stays when nobody takes it, but whoever renamed an operator should know. */
static void tell_state(void *user, const char *uid, uint64_t keys)
{
  const rl_streaming *s = user;
  if (keys > 0 && !stateful_node(s, uid))
    rl_warn("%s: there is state of '%s' (%" PRIu64 " keys), and the job has no operator of that uid; it is kept", s->checkpoint,
            uid, keys);
}

/* All of it -------------------------------------------------------------------------------------------------------- */

/* Of a discarded batch no stream has anything, and it is not to be made later for a window. */
static void restore_discarded(rl_streaming *s, int64_t time)
{
  for (rl_dstream *d = s->nodes; d; d = d->next)
    if (d->reached && (time - s->zero) % d->slide == 0) rl_graph_restore(d, time, NULL);
}

static rl_status restore_batch(rl_streaming *s, const rl_past *p)
{
  if (p->discarded) {
    restore_discarded(s, p->time);
    return rl_restore_places(s, p);
  }
  rl_status st = rl_restore_inputs(s, p);
  return !st && p->ended ? restore_state(s, p) : st;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* The version that a stateful stream will have: the image's, or a later one of the log. */
static int64_t newest_version(const rl_dstream *d)
{
  const rl_found *f = &d->s->durable->found;
  for (size_t i = f->nbatches; i-- > 0 && f->batches[i]->time > rl_stateful_sealed(d);) {
    const rl_past *p = f->batches[i];
    for (size_t k = 0; k < p->nstates && p->ended && !p->discarded; k++)
      if (strcmp(p->states[k].uid, d->op->uid) == 0) return p->time;
  }
  return rl_stateful_sealed(d);
}

/* Up to here what was received cannot be had again. Before the oldest batch of a log that was trimmed (also when it
 * was repaired, which numbers the records anew) there were others; of one whose blocks are missing nobody needs
 * anything; and a repair says what it could not bring back. */
static int64_t gone_until(const rl_streaming *s)
{
  const rl_found *f = &s->durable->found;
  int64_t gone = f->lost, oldest = f->batches[0]->time;
  if (!f->whole && oldest > s->zero + s->batch_ms) gone = larger(gone, oldest - s->batch_ms);
  for (size_t i = 0; i < f->nbatches; i++)
    if (f->batches[i]->complete && f->batches[i]->stripped) gone = larger(gone, f->batches[i]->time);
  return gone;
}

static void tell_shorter(const rl_streaming *s)
{
  const rl_found *f = &s->durable->found;
  bool shorter = false;
  for (const rl_dstream *d = s->nodes; d; d = d->next)
    shorter = shorter || (d->reached && d->window && f->gone > f->oldest - d->window);
  if (shorter && f->gone == f->lost)
    rl_warn("%s: windows look back at batch %" PRId64 " ms, of which a repair found the log to have lost records: they "
            "begin behind it", s->checkpoint, f->gone);
  else if (shorter)
    rl_warn("%s: windows look further back than the log, which begins behind %" PRId64 " ms: they begin there",
            s->checkpoint, f->gone);
}

/* All batches up to `settled` are complete: what streams remember goes by it, as in rl_graph_forget. */
static void settle(rl_streaming *s)
{
  rl_found *f = &s->durable->found;
  s->latest = f->settled = f->batches[f->nbatches - 1]->time;
  for (size_t i = f->nbatches; i-- > 0;)
    if (!f->batches[i]->complete) f->settled = f->batches[i]->time - s->batch_ms;
  f->oldest = rl_stateful_oldest(s, f->settled, newest_version);
  f->gone = gone_until(s);
  for (rl_dstream *d = s->nodes; d; d = d->next)
    if (d->reached) d->forgotten = larger(f->oldest - d->remember, f->gone);
  tell_shorter(s);
}

/* What no batch of an earlier run had, either. */
static void restore_gaps(rl_streaming *s)
{
  const rl_found *f = &s->durable->found;
  for (size_t i = f->whole ? 0 : 1; i < f->nbatches; i++)
    rl_gaps_add(s, i > 0 ? f->batches[i - 1]->time : s->zero, f->batches[i]->time);
}

static void forget_until(rl_streaming *s, int64_t time)
{
  s->latest = larger(s->latest, time);
  for (rl_dstream *d = s->nodes; d; d = d->next)
    if (d->reached) d->forgotten = larger(d->forgotten, time);
}

static void set_floor(rl_durable *d)
{
  const rl_found *f = &d->found;
  rl_wal_stats stats;
  rl_wal_stats_read(d->wal, &stats);
  uint64_t floor = stats.next;
  for (size_t i = 0; i < f->nblocks; i++)
    if (!f->blocks[i].allocated && f->blocks[i].at.seq < floor) floor = f->blocks[i].at.seq;
  atomic_store(&d->floor, floor);
  for (size_t i = 0; i < f->nbatches; i++) rl_durable_retain(d, f->batches[i]->time, f->batches[i]->floor);
  for (size_t i = d->nretained; i-- > 0; floor = d->retained[i].floor) /* BEGIN may stand behind blocks of later ones */
    if (floor < d->retained[i].floor) d->retained[i].floor = floor;
}

rl_status rl_durable_restore(rl_streaming *s)
{
  rl_durable *d = s->durable;
  rl_found *f = &d->found;
  rl_status st = rl_check_inputs(s);
  if (!st) st = check_image(s);
  if (f->nbatches) settle(s);
  restore_gaps(s);
  if (f->image != RL_NO_TIME) forget_until(s, f->image); /* the log lacks batches up to there */
  set_floor(d);
  if (!st) st = rl_restore_old_places(s);
  for (size_t i = 0; i < f->nbatches && !st; i++) st = restore_batch(s, f->batches[i]);
  if (!st) st = rl_restore_receivers(s);
  if (!st) rl_state_each_operator(s->store, tell_state, s);
  if (!st && f->kept_time != RL_NO_TIME && s->keeper.restore) st = s->keeper.restore(s->keeper.user, f->kept.p, f->kept.n);
  if (st) rl_error_prefix("%s: ", s->checkpoint);
  return st;
}

bool rl_streaming_is_recovered(const rl_streaming *s) { return s->durable && s->durable->found.started; }

bool rl_checkpoint_exists(const char *dir)
{
  char *path = rl_path_join(dir, "log");
  bool found = rl_wal_exists(path);
  rl_free(path);
  return found;
}

/* Catching up ------------------------------------------------------------------------------------------------------ */

void rl_durable_catch_up(rl_streaming *s, int64_t restart)
{
  const rl_found *f = &s->durable->found;
  if (!f->started) return;
  size_t pending = 0;
  for (size_t i = 0; i < f->nbatches; i++) {
    if (f->batches[i]->complete) continue;
    rl_batch_resume(s, f->batches[i]);
    pending++;
  }
  if (pending)
    rl_warn("%zu %s not complete: run again, with the same inputs", pending,
            pending == 1 ? "batch was" : "batches were");
  int64_t first = (s->latest == RL_NO_TIME ? s->zero : s->latest) + s->batch_ms;
  if (first < restart) rl_catch_up(s, first, restart - s->batch_ms, "");
}
