/* What the log of a durable job has from earlier runs, and how streams, receivers and state get it back. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/durable_impl.h"

/* Reading the log -------------------------------------------------------------------------------------------------- */

static char *text_of(rl_slice s) { return rl_strndup(s.p, s.n); }

static bool is(rl_slice s, const char *text) { return strlen(text) == s.n && memcmp(s.p, text, s.n) == 0; }

bool rl_past_has_output(const rl_past *p, const char *key)
{
  for (size_t i = 0; i < p->noutputs; i++)
    if (strcmp(p->outputs[i], key) == 0) return true;
  return false;
}

rl_past *rl_found_batch(rl_found *f, int64_t time)
{
  size_t low = 0, high = f->nbatches;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (f->batches[middle]->time < time) low = middle + 1;
    else high = middle;
  }
  return low < f->nbatches && f->batches[low]->time == time ? f->batches[low] : NULL;
}

static int by_sequence(const void *key, const void *block)
{
  uint64_t a = *(const uint64_t *)key, b = ((const rl_past_block *)block)->at.seq;
  return a < b ? -1 : a > b;
}

static rl_past_block *find_block(const rl_found *f, uint64_t seq)
{
  return f->nblocks ? bsearch(&seq, f->blocks, f->nblocks, sizeof *f->blocks, by_sequence) : NULL;
}

static void free_past(rl_past *p)
{
  for (size_t i = 0; i < p->noutputs; i++) rl_free(p->outputs[i]);
  for (size_t i = 0; i < p->nstates; i++) rl_free(p->states[i].uid);
  rl_free(p->outputs);
  rl_free(p->begin);
  rl_free(p->states);
  rl_free(p);
}

void rl_found_clear(rl_found *f)
{
  for (size_t i = 0; i < f->nbatches; i++) free_past(f->batches[i]);
  for (size_t i = 0; i < f->nblocks; i++) rl_free(f->blocks[i].uid);
  rl_free(f->batches);
  rl_free(f->blocks);
  rl_buf_free(&f->kept);
  *f = (rl_found){.kept_time = RL_NO_TIME};
}

static rl_status found_start(rl_found *f, const rl_wal_record *r)
{
  rl_journal_start start;
  rl_status st = rl_journal_get_start(r->p, r->at.length, &start);
  if (st) return st;
  f->started = true;
  if (r->at.seq == 1) f->whole = true;
  f->zero = start.zero;
  f->batch_ms = start.batch_ms;
  return RL_OK;
}

static rl_status found_block(rl_found *f, const rl_wal_record *r)
{
  rl_journal_block block;
  rl_status st = rl_journal_get_block(r->p, r->at.length, &block);
  if (st) return st;
  f->blocks = rl_grow(f->blocks, &f->blocks_cap, f->nblocks + 1, sizeof *f->blocks);
  f->blocks[f->nblocks++] = (rl_past_block){.at = r->at,
                                            .uid = text_of(block.uid),
                                            .records = block.records,
                                            .position = block.position,
                                            .bytes = block.data.n};
  return RL_OK;
}

/* Marks the blocks of the batch; a block that is not in the log any more was not needed any more: so is the batch. */
static void claim_blocks(rl_found *f, rl_journal_input *in, rl_past *p)
{
  uint64_t seq;
  while (in->kind == RL_JOURNAL_BLOCKS && rl_journal_next_block(in, &seq)) {
    rl_past_block *b = find_block(f, seq);
    if (b) b->allocated = true;
    else p->stripped = true;
    if (seq < p->floor) p->floor = seq;
  }
}

static rl_status found_begin(rl_found *f, const rl_wal_record *r)
{
  rl_journal_begin begin;
  rl_journal_input in;
  rl_status st = rl_journal_get_begin(r->p, r->at.length, &begin);
  if (st) return st;
  if (f->nbatches && begin.time <= f->batches[f->nbatches - 1]->time)
    return rl_fail(RL_EDATA, "batch %" PRId64 " ms begins behind batch %" PRId64 " ms", begin.time,
                   f->batches[f->nbatches - 1]->time);
  rl_past *p = RL_NEW(rl_past);
  p->time = begin.time;
  p->floor = r->at.seq;
  p->begin_n = r->at.length;
  p->begin = rl_alloc(p->begin_n + 1);
  memcpy(p->begin, r->p, p->begin_n);
  for (uint64_t i = 0; i < begin.ninputs && rl_journal_next_input(&begin, &in) == RL_OK; i++)
    claim_blocks(f, &in, p);
  f->batches = rl_grow(f->batches, &f->batches_cap, f->nbatches + 1, sizeof(rl_past *));
  f->batches[f->nbatches++] = p;
  f->started = true;
  f->zero = begin.zero;
  f->batch_ms = begin.batch_ms;
  return RL_OK;
}

/* Of a version that was begun in an earlier process, with another number of partitions, and never ended. */
static void drop_other_partitions(rl_past *p, const rl_journal_state *s)
{
  size_t n = 0;
  for (size_t i = 0; i < p->nstates; i++) {
    if (p->states[i].partitions != s->partitions && is(s->uid, p->states[i].uid)) rl_free(p->states[i].uid);
    else p->states[n++] = p->states[i];
  }
  p->nstates = n;
}

/* The last one counts: a stage that was run again logged all its partitions anew. */
static rl_past_state *state_place(rl_past *p, const rl_journal_state *s)
{
  drop_other_partitions(p, s);
  for (size_t i = 0; i < p->nstates; i++)
    if (p->states[i].partition == s->partition && is(s->uid, p->states[i].uid)) return &p->states[i];
  p->states = rl_grow(p->states, &p->states_cap, p->nstates + 1, sizeof *p->states);
  p->states[p->nstates] =
    (rl_past_state){.uid = text_of(s->uid), .partition = s->partition, .partitions = s->partitions};
  return &p->states[p->nstates++];
}

/* Marks of batches whose BEGIN is gone mean nothing any more. */
static rl_status found_state(rl_found *f, const rl_wal_record *r)
{
  rl_journal_state state;
  rl_status st = rl_journal_get_state(r->p, r->at.length, &state);
  rl_past *p = st ? NULL : rl_found_batch(f, state.time);
  if (p) state_place(p, &state)->at = r->at;
  return st;
}

/* Of the newest mark that has any. */
static void found_kept(rl_found *f, int64_t time, rl_slice kept)
{
  if (kept.n == 0) return;
  rl_buf_clear(&f->kept);
  rl_buf_add(&f->kept, kept.p, kept.n);
  f->kept_time = time;
}

static rl_status found_end(rl_found *f, const rl_wal_record *r)
{
  rl_journal_end end;
  rl_status st = rl_journal_get_end(r->p, r->at.length, &end);
  rl_past *p = st ? NULL : rl_found_batch(f, end.time);
  if (p) p->ended = true;
  if (!st) found_kept(f, end.time, end.kept);
  return st;
}

static rl_status found_output(rl_found *f, const rl_wal_record *r)
{
  rl_journal_output output;
  rl_status st = rl_journal_get_output(r->p, r->at.length, &output);
  rl_past *p = st ? NULL : rl_found_batch(f, output.time);
  if (!st) found_kept(f, output.time, output.kept);
  if (!p) return st;
  p->outputs = rl_grow(p->outputs, &p->outputs_cap, p->noutputs + 1, sizeof(char *));
  p->outputs[p->noutputs++] = text_of(output.key);
  return RL_OK;
}

static rl_status found_complete(rl_found *f, const rl_wal_record *r)
{
  rl_journal_complete complete;
  rl_status st = rl_journal_get_complete(r->p, r->at.length, &complete);
  if (st) return st;
  rl_past *p = rl_found_batch(f, complete.time);
  if (p) p->complete = true;
  if (p) p->discarded = complete.discarded;
  found_kept(f, complete.time, complete.kept);
  return RL_OK;
}

rl_status rl_found_visit(void *user, const rl_wal_record *r)
{
  rl_found *f = user;
  rl_status st = RL_OK;
  switch (r->at.type) {
  case RL_JOURNAL_START: st = found_start(f, r); break;
  case RL_JOURNAL_BLOCK: st = found_block(f, r); break;
  case RL_JOURNAL_BEGIN: st = found_begin(f, r); break;
  case RL_JOURNAL_STATE: st = found_state(f, r); break;
  case RL_JOURNAL_END: st = found_end(f, r); break;
  case RL_JOURNAL_OUTPUT: st = found_output(f, r); break;
  case RL_JOURNAL_COMPLETE: st = found_complete(f, r); break;
  default: st = rl_fail(RL_EUNSUPPORTED, "unknown type %u; a later version of Rille wrote it", (unsigned)r->at.type);
  }
  if (st) {
    const char *name = rl_journal_name(r->at.type);
    rl_error_prefix("record %" PRIu64 " of the log (%s), segment %" PRIu64 ", offset %" PRIu64 ": ", r->at.seq,
                    name ? name : "?", r->at.segment, r->at.offset);
  }
  return st;
}

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

/* May it be asked for again: by its own batch, or by a window of a later one? */
static bool is_needed(const rl_dstream *d, const rl_past *p)
{
  const rl_found *f = &d->s->durable->found;
  return p->time > f->settled - d->remember && p->time > f->gone;
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
  char *uid = text_of(head->uid);
  rl_state_op *op;
  rl_status st = rl_state_operator(s->store, uid, head->timed, &op);
  if (!st && p->time > rl_state_sealed(op)) {
    rl_state_changes *changes = rl_calloc(n, sizeof *changes);
    for (uint32_t i = 0; i < n; i++) changes[i] = (rl_state_changes){parts[i].head.changes.p, parts[i].head.changes.n};
    st = rl_state_replay(op, p->time, changes, n);
    rl_free(changes);
  }
  rl_dstream *d = stateful_node(s, uid);
  if (!st && d && is_needed(d, p)) st = restore_emitted(d, op, p->time, parts, n);
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
    if (d->kind != RL_NODE_SNAPSHOTS || !d->reached || !is_needed(d, p)) continue;
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
  if (d && is_needed(d, p)) return true;
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

/* Inputs ----------------------------------------------------------------------------------------------------------- */

static rl_status lost_blocks(const rl_dstream *d, const rl_past *p)
{
  return rl_fail(RL_EDATA, "%s: the log lacks received blocks of batch %" PRId64 " ms", d->label, p->time);
}

static rl_status restore_blocks(rl_dstream *d, const rl_past *p, rl_journal_input in, rl_rdd **out)
{
  rl_durable *durable = d->s->durable;
  rl_block **blocks = rl_calloc(in.nblocks + 1, sizeof(rl_block *));
  uint32_t n = 0;
  uint64_t seq;
  rl_status st = RL_OK;
  while (!st && rl_journal_next_block(&in, &seq)) {
    const rl_past_block *b = find_block(&durable->found, seq);
    if (b) blocks[n++] = rl_block_logged(durable->blocks, &b->at, b->records, b->bytes);
    else st = lost_blocks(d, p);
  }
  if (!st) *out = n ? rl_rdd_from_blocks(blocks, n) : rl_rdd_empty(0);
  for (uint32_t i = 0; i < n; i++) rl_block_unref(blocks[i]);
  rl_free(blocks);
  return st;
}

/* What was not logged: it is gone, which is said when it is missed. */
static rl_rdd *nothing_of(const rl_dstream *d, const rl_past *p, const rl_journal_input *in)
{
  if (!p->complete && in->records > 0 && rl_input_receiver(d->input))
    rl_warn("%s: %" PRId64 " records of batch %" PRId64 " ms were received without a log and are lost "
            "(rille.streaming.receiver.writeAheadLog.enable)",
            d->label, in->records, p->time);
  return rl_rdd_empty(0);
}

static rl_status restore_input(rl_dstream *d, const rl_past *p, const rl_journal_input *in)
{
  const rl_input_class *cls = d->input->cls;
  rl_input_info info = {.stream = d->input->id};
  rl_rdd *rdd = NULL;
  rl_status st = RL_OK;
  if (cls->repeats) st = cls->compute(d->input, p->time, &rdd, &info);
  else if (in->kind == RL_JOURNAL_BLOCKS && rl_input_receiver(d->input)) st = restore_blocks(d, p, *in, &rdd);
  else if (in->kind == RL_JOURNAL_SAVED && cls->restore)
    st = cls->restore(d->input, p->time, in->bytes.p, in->bytes.n, &rdd, &info);
  else rdd = nothing_of(d, p, in);
  rl_free(info.description);
  if (st) rl_error_prefix("%s, batch %" PRId64 " ms: ", d->label, p->time);
  else rl_graph_restore(d, p->time, rdd);
  return st;
}

static rl_journal_input find_input(const rl_past *p, const rl_dstream *d)
{
  rl_journal_begin begin;
  rl_journal_input in;
  if (rl_journal_get_begin(p->begin, p->begin_n, &begin) == RL_OK)
    for (uint64_t i = 0; i < begin.ninputs && rl_journal_next_input(&begin, &in) == RL_OK; i++)
      if (is(in.uid, rl_dstream_uid(d))) return in;
  return (rl_journal_input){.kind = RL_JOURNAL_NONE, .records = -1};
}

static rl_status restore_inputs(rl_streaming *s, const rl_past *p)
{
  rl_status st = RL_OK;
  for (rl_dstream *d = s->nodes; d && !st; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->reached || !is_needed(d, p)) continue;
    const rl_journal_input in = find_input(p, d);
    st = restore_input(d, p, &in);
  }
  return st;
}

/* A receiver goes on behind its newest block; what no batch has had yet is for the next. */
static void restore_receiver(rl_streaming *s, const rl_dstream *d, rl_receiver *r)
{
  rl_durable *durable = s->durable;
  const rl_found *f = &durable->found;
  const char *uid = rl_dstream_uid(d);
  uint64_t position = 0;
  if (f->nbatches) position = find_input(f->batches[f->nbatches - 1], d).position;
  (void)rl_receiver_begin(r, position);
  for (size_t i = 0; i < f->nblocks; i++) {
    rl_past_block *b = &f->blocks[i];
    if (strcmp(b->uid, uid) != 0) continue;
    if (b->position > position) position = b->position;
    if (b->allocated) continue;
    b->allocated = true;
    rl_gather_restore(rl_receiver_gather(r), rl_block_logged(durable->blocks, &b->at, b->records, b->bytes));
  }
  if (durable->logs_receivers) rl_receiver_log(r, durable->wal, uid, position);
}

static bool has_input(const rl_streaming *s, rl_slice uid)
{
  for (const rl_dstream *d = s->nodes; d; d = d->next)
    if (d->kind == RL_NODE_INPUT && is(uid, rl_dstream_uid(d))) return true;
  return false;
}

/* Of the newest batch: it has the places of all inputs, also of those that were carried on to it. */
static void carry_places(rl_streaming *s)
{
  rl_durable *d = s->durable;
  rl_journal_begin begin;
  rl_journal_input in;
  if (!d->found.nbatches) return;
  const rl_past *last = d->found.batches[d->found.nbatches - 1];
  if (rl_journal_get_begin(last->begin, last->begin_n, &begin) != RL_OK) return;
  for (uint64_t i = 0; i < begin.ninputs && rl_journal_next_input(&begin, &in) == RL_OK; i++) {
    if (has_input(s, in.uid)) continue;
    in.blocks = NULL; /* its blocks were that batch's */
    in.nblocks = 0;
    in.records = -1;
    d->carried = rl_grow(d->carried, &d->carried_cap, d->ncarried + 1, sizeof *d->carried);
    d->carried[d->ncarried++] = in;
    rl_warn("%s: the job has no input '%.*s' any more; its place is kept", s->checkpoint, (int)in.uid.n, in.uid.p);
  }
}

/* Records that were acknowledged, and that no batch of this job would have. */
static rl_status check_orphans(const rl_streaming *s)
{
  const rl_found *f = &s->durable->found;
  const char *drop = "rille.checkpoint.allowDropped";
  uint64_t records = 0;
  const char *uid = NULL;
  for (size_t i = 0; i < f->nblocks; i++) {
    const rl_past_block *b = &f->blocks[i];
    if (b->allocated || (uid && strcmp(uid, b->uid) != 0)) continue;
    uid = b->uid;
    records += b->records;
  }
  if (!uid) return RL_OK;
  if (!rl_conf_bool(rl_context_conf(s->c), drop))
    return rl_fail(RL_EINVAL, "%" PRIu64 " records received for '%s' were in no batch yet, and the job has no input of that "
                   "name any more; give it back, or drop them with %s = true", records, uid, drop);
  rl_warn("%s: %" PRIu64 " records received for '%s' are dropped (%s)", s->checkpoint, records, uid, drop);
  return RL_OK;
}

static rl_status restore_receivers(rl_streaming *s)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    rl_receiver *r = d->kind == RL_NODE_INPUT ? rl_input_receiver(d->input) : NULL;
    if (r) restore_receiver(s, d, r);
  }
  carry_places(s);
  return check_orphans(s);
}

/* The image has versions of batches only that are complete in the log: else this is not the log that belongs to it. */
static rl_status check_image(rl_streaming *s)
{
  rl_found *f = &s->durable->found;
  const char *drop = "rille.checkpoint.allowDropped";
  int64_t log = f->nbatches ? f->batches[f->nbatches - 1]->time : RL_NO_TIME, image = rl_state_newest(s->store);
  if (image <= log) return RL_OK;
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

/* Its records are in nothing, but its inputs were taken: they go on behind it. */
static rl_status restore_places(rl_streaming *s, const rl_past *p)
{
  rl_status st = RL_OK;
  for (rl_dstream *d = s->nodes; d && !st; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->reached || !d->input->cls->restore || !is_needed(d, p)) continue;
    const rl_journal_input in = find_input(p, d);
    if (in.kind != RL_JOURNAL_SAVED) continue;
    rl_input_info info = {.stream = d->input->id};
    rl_rdd *rdd = NULL;
    st = d->input->cls->restore(d->input, p->time, in.bytes.p, in.bytes.n, &rdd, &info);
    rl_free(info.description);
    rl_rdd_unref(rdd);
    if (st) rl_error_prefix("%s, batch %" PRId64 " ms: ", d->label, p->time);
  }
  return st;
}

static rl_status restore_batch(rl_streaming *s, const rl_past *p)
{
  if (p->discarded) {
    restore_discarded(s, p->time);
    return restore_places(s, p);
  }
  rl_status st = restore_inputs(s, p);
  return !st && p->ended ? restore_state(s, p) : st;
}

static rl_status check_inputs(const rl_streaming *s)
{
  for (const rl_dstream *d = s->nodes; d; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->reached) continue;
    const rl_input_class *cls = d->input->cls;
    if (cls->repeats || cls->restore || rl_input_receiver(d->input)) continue;
    if (!s->durable->found.started) {
      rl_warn("%s: the job cannot be recovered with it, as it cannot give again what it gave", d->label);
      continue;
    }
    return rl_fail(RL_EUNSUPPORTED, "%s cannot give again what it gave before, so the job in %s cannot be recovered with "
                   "it; use another directory, or another source", d->label, s->checkpoint);
  }
  return RL_OK;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* All batches up to `settled` are complete: what streams remember goes by it, as in rl_graph_forget. */
static void settle(rl_streaming *s)
{
  rl_found *f = &s->durable->found;
  s->latest = f->settled = f->batches[f->nbatches - 1]->time;
  for (size_t i = f->nbatches; i-- > 0;)
    if (!f->batches[i]->complete) f->settled = f->batches[i]->time - s->batch_ms;
  f->gone = RL_NO_TIME;
  for (size_t i = 0; i < f->nbatches; i++)
    if (f->batches[i]->complete && f->batches[i]->stripped) f->gone = f->batches[i]->time;
  bool shorter = false;
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    if (!d->reached) continue;
    shorter = shorter || f->gone > f->settled - d->remember;
    d->forgotten = larger(f->settled - d->remember, f->gone);
  }
  if (shorter)
    rl_warn("%s: windows look further back than the log, which begins behind %" PRId64 " ms: they begin there",
            s->checkpoint, f->gone);
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
  rl_status st = check_inputs(s);
  if (!st) st = check_image(s);
  if (f->nbatches) settle(s);
  if (f->image > s->latest) s->latest = f->image;
  set_floor(d);
  for (size_t i = 0; i < f->nbatches && !st; i++) st = restore_batch(s, f->batches[i]);
  if (!st) st = restore_receivers(s);
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

static void tick_missed(rl_streaming *s, int64_t first, int64_t last)
{
  for (int64_t t = first; t <= last; t += s->batch_ms) rl_batch_tick(s, t, rl_mono_ns());
}

static char *count_batches(int64_t n) { return rl_format("%" PRId64 " batch%s", n, n == 1 ? " was" : "es were"); }

static void catch_up_missed(rl_streaming *s, int64_t first, int64_t last)
{
  const rl_conf *conf = rl_context_conf(s->c);
  const char *how = rl_conf_text(conf, "rille.streaming.catchUp"), *then;
  int64_t missed = (last - first) / s->batch_ms + 1, limit = rl_conf_int(conf, "rille.streaming.catchUpLimit");
  if (how[0] == 'a' && missed <= limit) {
    tick_missed(s, first, last);
    then = "run now";
  } else if (how[0] == 'a') {
    tick_missed(s, last - (limit - 1) * s->batch_ms, last);
    then = "run now, the oldest of them as one (rille.streaming.catchUpLimit)";
  } else if (how[0] == 'm') {
    tick_missed(s, last, last);
    then = "run as one";
  } else {
    then = "left to the next one, which has what they would have had";
  }
  char *count = count_batches(missed);
  rl_warn("%s missed since %" PRId64 " ms: %s (rille.streaming.catchUp = %s)", count, first, then, how);
  rl_free(count);
}

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
  char *count = count_batches((int64_t)pending);
  if (pending) rl_warn("%s not complete: run again, with the same inputs", count);
  rl_free(count);
  int64_t first = (s->latest == RL_NO_TIME ? s->zero : s->latest) + s->batch_ms;
  if (first < restart) catch_up_missed(s, first, restart - s->batch_ms);
}
