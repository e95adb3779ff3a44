/* Giving inputs and receivers of a durable job back what its earlier runs took. */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "run/durable_impl.h"
#include "store/files_place.h"

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
    const rl_past_block *b = rl_found_block(&durable->found, seq);
    if (b) blocks[n++] = rl_block_logged(durable->gate, &b->at, b->records, b->bytes);
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

/* Its place, and nothing of the batch. */
static rl_status restore_place(rl_dstream *d, const rl_past *p, const rl_journal_input *in)
{
  rl_input_info info = {.stream = d->input->id};
  rl_rdd *rdd = NULL;
  rl_status st = d->input->cls->restore(d->input, p->time, in->bytes.p, in->bytes.n, &rdd, &info);
  rl_free(info.description);
  rl_rdd_unref(rdd);
  return st;
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
  if (in->kind == RL_JOURNAL_PLACE && cls->restore) st = restore_place(d, p, in);
  rl_free(info.description);
  if (st) rl_error_prefix("%s, batch %" PRId64 " ms: ", d->label, p->time);
  if (st) rl_rdd_unref(rdd);
  else rl_graph_restore(d, p->time, rdd);
  return st;
}

static rl_journal_input find_named(const rl_past *p, rl_slice uid)
{
  rl_journal_begin begin;
  rl_journal_input in;
  if (rl_journal_get_begin(p->begin, p->begin_n, &begin) == RL_OK)
    for (uint64_t i = 0; i < begin.ninputs && rl_journal_next_input(&begin, &in) == RL_OK; i++)
      if (in.uid.n == uid.n && memcmp(in.uid.p, uid.p, uid.n) == 0) return in;
  return (rl_journal_input){.kind = RL_JOURNAL_NONE, .records = -1};
}

static rl_journal_input find_input(const rl_past *p, const rl_dstream *d)
{
  const char *uid = rl_dstream_uid(d);
  return find_named(p, (rl_slice){uid, strlen(uid)});
}

static bool has_place(const rl_journal_input *in)
{
  return in->kind == RL_JOURNAL_SAVED || in->kind == RL_JOURNAL_PLACE || in->kind == RL_JOURNAL_BLOCKS;
}

/* The newest record of where the input was, whatever the batches behind it have of it; NONE: there is none at all. */
static rl_journal_input newest_place(const rl_found *f, const rl_dstream *d)
{
  for (size_t i = f->nbatches; i-- > 0;) {
    const rl_journal_input in = find_input(f->batches[i], d);
    if (has_place(&in)) return in;
  }
  return (rl_journal_input){.kind = RL_JOURNAL_NONE, .records = -1};
}

/* Of inputs whose newest place is in a batch that nobody needs: the others get theirs with their batches. */
rl_status rl_restore_old_places(rl_streaming *s)
{
  const rl_found *f = &s->durable->found;
  rl_status st = RL_OK;
  for (rl_dstream *d = s->nodes; d && !st; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->reached || !d->input->cls->restore) continue;
    for (size_t i = f->nbatches; i-- > 0;) {
      const rl_past *p = f->batches[i];
      const rl_journal_input in = find_input(p, d);
      if (in.kind != RL_JOURNAL_SAVED && in.kind != RL_JOURNAL_PLACE) continue;
      if (!rl_past_is_remembered(d, p)) st = restore_place(d, p, &in);
      if (st) rl_error_prefix("%s, batch %" PRId64 " ms: ", d->label, p->time);
      break;
    }
  }
  return st;
}

static rl_status restore_place_only(rl_dstream *d, const rl_past *p)
{
  const rl_journal_input in = find_input(p, d);
  if (!d->input->cls->restore || (in.kind != RL_JOURNAL_SAVED && in.kind != RL_JOURNAL_PLACE)) return RL_OK;
  rl_status st = restore_place(d, p, &in);
  if (st) rl_error_prefix("%s, batch %" PRId64 " ms: ", d->label, p->time);
  return st;
}

/* Of a batch that windows cannot have any more the places stay: its files are not to be read again. */
rl_status rl_restore_inputs(rl_streaming *s, const rl_past *p)
{
  rl_status st = RL_OK;
  for (rl_dstream *d = s->nodes; d && !st; d = d->next) {
    if (d->kind != RL_NODE_INPUT || !d->reached) continue;
    if (rl_past_is_needed(d, p)) {
      const rl_journal_input in = find_input(p, d);
      st = restore_input(d, p, &in);
    } else if (rl_past_is_remembered(d, p)) {
      st = restore_place_only(d, p);
    }
  }
  return st;
}

/* Its records are in nothing, but its inputs were taken: they go on behind it. */
rl_status rl_restore_places(rl_streaming *s, const rl_past *p)
{
  rl_status st = RL_OK;
  for (rl_dstream *d = s->nodes; d && !st; d = d->next)
    if (d->kind == RL_NODE_INPUT && d->reached && rl_past_is_remembered(d, p)) st = restore_place_only(d, p);
  return st;
}

rl_status rl_check_inputs(const rl_streaming *s)
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

/* Receivers -------------------------------------------------------------------------------------------------------- */

/* A receiver goes on behind its newest block; what no batch has had yet is for the next. That is behind all that batches
 * have had, but where a repair has lost a BEGIN: so it is counted off what there is, and not on to what they had. */
static void restore_receiver(rl_streaming *s, const rl_dstream *d, rl_receiver *r)
{
  rl_durable *durable = s->durable;
  const rl_found *f = &durable->found;
  const char *uid = rl_dstream_uid(d);
  uint64_t position = newest_place(f, d).position, waiting = 0;
  for (size_t i = 0; i < f->nblocks; i++) {
    rl_past_block *b = &f->blocks[i];
    if (strcmp(b->uid, uid) != 0) continue;
    if (b->position > position) position = b->position;
    if (b->allocated) continue;
    b->allocated = true;
    waiting += b->records;
    rl_gather_restore(rl_receiver_gather(r), rl_block_logged(durable->gate, &b->at, b->records, b->bytes));
  }
  (void)rl_receiver_begin(r, position - (waiting < position ? waiting : position));
  if (durable->logs_receivers) rl_receiver_log(r, durable->wal, uid, position);
}

static bool has_input(const rl_streaming *s, rl_slice uid)
{
  for (const rl_dstream *d = s->nodes; d; d = d->next)
    if (d->kind == RL_NODE_INPUT && d->reached && rl_slice_is(uid, rl_dstream_uid(d))) return true;
  return false;
}

/* How long a file stream remembers what it took, at least. */
static int64_t files_memory(const rl_streaming *s)
{
  const char *name = "rille.streaming.fileStream.minRememberDuration";
  return rl_conf_us(rl_context_conf(s->c), name) / 1000 + s->batch_ms;
}

/* A file stream's place in the newest batch has the files of that batch; those of the batches before it go with it, as
 * far back as the stream would remember them, or it would read them again when the job has it once more. */
static void join_files(rl_streaming *s, rl_journal_input *in)
{
  rl_durable *d = s->durable;
  const rl_found *f = &d->found;
  int64_t from = f->batches[f->nbatches - 1]->time - files_memory(s);
  rl_files_place *places = rl_calloc(f->nbatches, sizeof *places);
  size_t n = 0;
  bool more = true;
  for (size_t i = f->nbatches; more && i-- > 0 && f->batches[i]->time > from;) {
    const rl_journal_input past = find_named(f->batches[i], in->uid);
    if (past.kind != RL_JOURNAL_SAVED && past.kind != RL_JOURNAL_PLACE) continue;
    more = rl_files_place_read(past.bytes.p, past.bytes.n, &places[n]);
    n += more;
    if (past.kind == RL_JOURNAL_PLACE) more = false; /* it has those before it */
  }
  if (n > 1) {
    d->joined = rl_grow(d->joined, &d->joined_cap, d->njoined + 1, sizeof *d->joined);
    rl_buf *bytes = &d->joined[d->njoined++];
    *bytes = (rl_buf){0};
    rl_files_place_join(in->bytes.p, places, n, bytes);
    in->bytes = (rl_slice){bytes->p, bytes->n};
  }
  rl_free(places);
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
    if (in.kind == RL_JOURNAL_SAVED) {
      join_files(s, &in);
      in.kind = RL_JOURNAL_PLACE;
    }
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
                   "name any more; give it back, or go on without them with %s = true", records, uid, drop);
  rl_warn("%s: %" PRIu64 " records received for '%s' are left out (%s): they stay in the log until it is cut, and are "
          "counted should the input come back before", s->checkpoint, records, uid, drop);
  return RL_OK;
}

static bool has_something(const rl_journal_input *in)
{
  rl_files_place files;
  if (in->kind == RL_JOURNAL_BLOCKS) return in->nblocks > 0;
  if (in->kind != RL_JOURNAL_SAVED) return false;
  return rl_files_place_read(in->bytes.p, in->bytes.n, &files) ? files.count > 0 : in->records != 0;
}

/* What a batch still to be run took of an input that is gone: its place is behind that already. */
static rl_status check_pending_batch(const rl_streaming *s, const rl_past *p)
{
  const char *drop = "rille.checkpoint.allowDropped";
  rl_journal_begin begin;
  rl_journal_input in;
  if (rl_journal_get_begin(p->begin, p->begin_n, &begin) != RL_OK) return RL_OK;
  for (uint64_t i = 0; i < begin.ninputs && rl_journal_next_input(&begin, &in) == RL_OK; i++) {
    if (has_input(s, in.uid) || !has_something(&in)) continue;
    if (!rl_conf_bool(rl_context_conf(s->c), drop))
      return rl_fail(RL_EINVAL, "batch %" PRId64 " ms was not complete, and has records of '%.*s', while the job has no "
                     "input of that name any more; give it back, or go on without them with %s = true", p->time,
                     (int)in.uid.n, in.uid.p, drop);
    rl_warn("%s: batch %" PRId64 " ms runs without its records of '%.*s' (%s)", s->checkpoint, p->time, (int)in.uid.n,
            in.uid.p, drop);
  }
  return RL_OK;
}

static rl_status check_pending(const rl_streaming *s)
{
  const rl_found *f = &s->durable->found;
  rl_status st = RL_OK;
  for (size_t i = 0; i < f->nbatches && !st; i++)
    if (!f->batches[i]->complete) st = check_pending_batch(s, f->batches[i]);
  return st;
}

rl_status rl_restore_receivers(rl_streaming *s)
{
  for (rl_dstream *d = s->nodes; d; d = d->next) {
    rl_receiver *r = d->kind == RL_NODE_INPUT ? rl_input_receiver(d->input) : NULL;
    if (r) restore_receiver(s, d, r);
  }
  carry_places(s);
  rl_status st = check_orphans(s);
  return st ? st : check_pending(s);
}
