/* The new log: the records that are kept, under new sequences; so the blocks that BEGINs name get theirs. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "store/files_place.h"
#include "store/repair_impl.h"
#include "store/wal_impl.h"

static rl_status append(rl_wal *w, uint16_t type, const rl_buf *b, uint64_t *seq)
{
  return rl_wal_append(w, type, &(rl_wal_part){.p = b->p, .n = b->n}, 1, seq);
}

/* An input with the blocks there are. */
static void put_input(const rl_salvage *s, rl_journal_input *in, rl_buf *out)
{
  uint64_t *blocks = rl_calloc(in->nblocks + 1, sizeof *blocks), seq, n = 0, records = 0;
  while (rl_journal_next_block(in, &seq)) {
    const rl_salvage_item *x = rl_salvage_find(s, seq);
    if (!x || x->written == 0) continue;
    blocks[n++] = x->written;
    records += x->records;
  }
  if (n < in->nblocks && in->records >= 0) in->records = (int64_t)records;
  in->blocks = blocks;
  in->nblocks = n;
  rl_journal_put_input(out, in);
  rl_free(blocks);
}

static rl_status put_begin(const rl_salvage *s, const rl_buf *payload, rl_buf *out)
{
  rl_journal_begin begin;
  rl_journal_input in;
  rl_status st = rl_journal_get_begin(payload->p, payload->n, &begin);
  if (st == RL_OK) rl_journal_put_begin(out, &begin);
  for (uint64_t i = 0; st == RL_OK && i < begin.ninputs; i++) {
    st = rl_journal_next_input(&begin, &in);
    if (st == RL_OK) put_input(s, &in, out);
  }
  return st;
}

static rl_status write_end(rl_wal *w, int64_t time)
{
  rl_buf b = {0};
  rl_journal_put_end(&b, &(rl_journal_end){.time = time});
  rl_status st = append(w, RL_JOURNAL_END, &b, NULL);
  rl_buf_free(&b);
  return st;
}

static rl_status write_complete(const rl_salvage *s, rl_wal *w, int64_t time)
{
  rl_buf b = {0};
  rl_journal_put_complete(&b, &(rl_journal_complete){time, false, {s->kept.p, s->kept.n}});
  rl_status st = append(w, RL_JOURNAL_COMPLETE, &b, NULL);
  rl_buf_free(&b);
  return st;
}

static rl_status write_item(const rl_salvage *s, rl_wal *w, rl_salvage_item *item)
{
  rl_buf payload = {0}, begin = {0};
  bool is_begin = item->type == RL_JOURNAL_BEGIN;
  rl_status st = rl_salvage_read(s, item, &payload);
  if (st == RL_OK && is_begin) st = put_begin(s, &payload, &begin);
  if (st == RL_OK) st = append(w, item->type, is_begin ? &begin : &payload, &item->written);
  if (st == RL_OK && item->end) st = write_end(w, item->time);
  if (st == RL_OK && item->complete) st = write_complete(s, w, item->time);
  rl_buf_free(&payload);
  rl_buf_free(&begin);
  return st;
}

static bool is_receiver(const rl_salvage *s, uint32_t name)
{
  for (size_t i = 0; i < s->nitems; i++) {
    if (s->items[i].type == RL_JOURNAL_BLOCK && s->items[i].name == name) return true;
  }
  return false;
}

/* What the batch had of this input is not known: it has nothing of it, and the input goes on where the last known one
 * had it. Were that one's files or ranges here once more, windows would have them twice. */
static void put_place(rl_journal_input *in, rl_buf *out)
{
  rl_buf bytes = {0};
  rl_files_place files;
  in->records = 0;
  if (rl_files_place_read(in->bytes.p, in->bytes.n, &files)) { /* a place of theirs has those of all batches before */
    rl_files_place_none(in->bytes.p, &files, &bytes);
    in->bytes = (rl_slice){bytes.p, bytes.n};
  } else {
    in->kind = RL_JOURNAL_PLACE;
  }
  rl_journal_put_input(out, in);
  rl_buf_free(&bytes);
}

static uint64_t put_ghost_inputs(const rl_salvage *s, rl_journal_begin *begin, rl_buf *out)
{
  uint64_t n = 0;
  bool *put = rl_calloc(s->nnames + 1, sizeof *put);
  rl_journal_input in;
  for (uint64_t i = 0; i < begin->ninputs && rl_journal_next_input(begin, &in) == RL_OK; i++) {
    uint32_t name = rl_salvage_name(s, in.uid);
    bool received = in.kind == RL_JOURNAL_BLOCKS;
    put[name] = true;
    in.nblocks = 0;
    if (received) in.records = 0;
    if (received && name < s->nnames && s->reached[name] > in.position) in.position = s->reached[name];
    if (in.kind == RL_JOURNAL_SAVED) put_place(&in, out);
    else rl_journal_put_input(out, &in);
    n++;
  }
  for (uint32_t i = 0; i < s->nnames; i++) {
    if (put[i] || !is_receiver(s, i)) continue;
    in = (rl_journal_input){{s->names[i], strlen(s->names[i])}, RL_JOURNAL_BLOCKS, 0, s->reached[i], {0}, NULL, 0, {0}};
    rl_journal_put_input(out, &in);
    n++;
  }
  rl_free(put);
  return n;
}

/* A batch whose BEGIN is lost. Without it the next start would make it once more; and what inputs remember from batch
 * to batch is in the last BEGIN. */
static rl_status write_ghost(const rl_salvage *s, rl_wal *w)
{
  const rl_salvage_item *last = rl_salvage_last_begin(s);
  rl_buf payload = {0}, inputs = {0}, b = {0};
  rl_journal_begin begin = {0};
  rl_status st = last ? rl_salvage_read(s, last, &payload) : RL_OK;
  if (st == RL_OK && last) st = rl_journal_get_begin(payload.p, payload.n, &begin);
  if (st == RL_OK) {
    uint64_t n = put_ghost_inputs(s, &begin, &inputs);
    rl_journal_put_begin(&b, &(rl_journal_begin){.time = s->ghost, .zero = s->zero, .batch_ms = s->batch_ms,
                                                 .script = s->script, .ninputs = n});
    rl_buf_add(&b, inputs.p, inputs.n);
    st = append(w, RL_JOURNAL_BEGIN, &b, NULL);
  }
  if (st == RL_OK) st = write_end(w, s->ghost);
  if (st == RL_OK) st = write_complete(s, w, s->ghost);
  rl_buf_free(&payload);
  rl_buf_free(&inputs);
  rl_buf_free(&b);
  return st;
}

/* Behind all else: when its segment is trimmed, so are the batches that it tells of. And before, as a log that was
 * damaged may be so again. */
static rl_status write_lost(const rl_salvage *s, rl_wal *w)
{
  rl_buf b = {0};
  rl_journal_put_lost(&b, &(rl_journal_lost){s->lost});
  rl_status st = append(w, RL_JOURNAL_LOST, &b, NULL);
  rl_buf_free(&b);
  return st;
}

/* A log with a record 1 goes back to the job's beginning, and an image that is lost is made of it. So the new one has
 * it only if the old one had, and nothing is lost that the image alone has now. */
static uint64_t first_of(const rl_salvage *s)
{
  if (s->first == 0) return rl_wal_floor_to_go_on(s->log);
  bool image_has_more = s->newest != RL_NO_TIME && (s->ngaps > 0 || s->ghost != RL_NO_TIME);
  return s->first == 1 && image_has_more ? 2 : s->first;
}

rl_status rl_salvage_write(rl_salvage *s, const char *path)
{
  rl_wal *w = NULL;
  rl_status st = rl_wal_open(&(rl_wal_spec){.dir = path, .first = first_of(s)}, &w);
  if (st != RL_OK) return st;
  if (s->lost != RL_NO_TIME) st = write_lost(s, w);
  for (size_t i = 0; i < s->nitems && st == RL_OK; i++) {
    if (!s->items[i].drop) st = write_item(s, w, &s->items[i]);
  }
  if (st == RL_OK && s->ghost != RL_NO_TIME) st = write_ghost(s, w);
  if (st == RL_OK && s->lost != RL_NO_TIME) st = write_lost(s, w);
  rl_error failure = RL_ERROR_NONE;
  if (st != RL_OK) rl_error_take(&failure);
  rl_status closed = rl_wal_close(w); /* all is on disk then */
  return st != RL_OK ? rl_error_raise(&failure) : closed;
}
