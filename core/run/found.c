/* Reading the log of a durable job's earlier runs into a picture of it: which batches there are, how far each came, what
 * was received. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "run/durable_impl.h"

static char *text_of(rl_slice s) { return rl_strndup(s.p, s.n); }

bool rl_slice_is(rl_slice s, const char *text) { return strlen(text) == s.n && memcmp(s.p, text, s.n) == 0; }

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

rl_past_block *rl_found_block(const rl_found *f, uint64_t seq)
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
  rl_buf_free(&f->graph);
  *f = (rl_found){.kept_time = RL_NO_TIME, .lost = RL_NO_TIME};
}

static rl_status found_start(rl_found *f, const rl_wal_record *r)
{
  rl_journal_start start;
  rl_status st = rl_journal_get_start(r->p, r->at.length, &start);
  if (st) return st;
  f->started = true;
  rl_buf_clear(&f->graph);
  rl_buf_add(&f->graph, start.graph.p, start.graph.n);
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
    rl_past_block *b = rl_found_block(f, seq);
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
    if (p->states[i].partitions != s->partitions && rl_slice_is(s->uid, p->states[i].uid)) rl_free(p->states[i].uid);
    else p->states[n++] = p->states[i];
  }
  p->nstates = n;
}

/* The last one counts: a stage that was run again logged all its partitions anew. */
static rl_past_state *state_place(rl_past *p, const rl_journal_state *s)
{
  drop_other_partitions(p, s);
  for (size_t i = 0; i < p->nstates; i++)
    if (p->states[i].partition == s->partition && rl_slice_is(s->uid, p->states[i].uid)) return &p->states[i];
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

static rl_status found_lost(rl_found *f, const rl_wal_record *r)
{
  rl_journal_lost lost;
  rl_status st = rl_journal_get_lost(r->p, r->at.length, &lost);
  if (!st && lost.time > f->lost) f->lost = lost.time;
  return st;
}

rl_status rl_found_visit(void *user, const rl_wal_record *r)
{
  rl_found *f = user;
  rl_status st = RL_OK;
  if (r->at.seq == 1) f->whole = true; /* it may be another than the first START, where a repair lost that */
  switch (r->at.type) {
  case RL_JOURNAL_START: st = found_start(f, r); break;
  case RL_JOURNAL_BLOCK: st = found_block(f, r); break;
  case RL_JOURNAL_BEGIN: st = found_begin(f, r); break;
  case RL_JOURNAL_STATE: st = found_state(f, r); break;
  case RL_JOURNAL_END: st = found_end(f, r); break;
  case RL_JOURNAL_OUTPUT: st = found_output(f, r); break;
  case RL_JOURNAL_COMPLETE: st = found_complete(f, r); break;
  case RL_JOURNAL_LOST: st = found_lost(f, r); break;
  default: st = rl_fail(RL_EUNSUPPORTED, "unknown type %u; a later version of Rille wrote it", (unsigned)r->at.type);
  }
  if (st) {
    const char *name = rl_journal_name(r->at.type);
    rl_error_prefix("record %" PRIu64 " of the log (%s), segment %" PRIu64 ", offset %" PRIu64 ": ", r->at.seq,
                    name ? name : "?", r->at.segment, r->at.offset);
  }
  return st;
}
