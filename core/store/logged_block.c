#include "store/logged_block.h"

#include "base/mem.h"
#include "data/codec.h"
#include "data/text.h"
#include "store/journal.h"

typedef struct logged {
  rl_block_home home; /* first */
  rl_log_gate *log;
  rl_wal_at at;
} logged;

static rl_status read_record(const logged *b, rl_bytes **out)
{
  rl_wal *w = rl_log_gate_enter(b->log);
  if (!w) return rl_fail(RL_ECLOSED, "a received block is in the log only, and the context was stopped");
  rl_status st = rl_wal_read(w, &b->at, out);
  rl_log_gate_leave(b->log);
  return st;
}

/* Its records, cut or decoded as they are asked for. */
typedef struct logged_pull {
  rl_pull base;
  rl_block *block;
  rl_bytes *record; /* NULL until the first is asked for */
  bool text;
  size_t at, end; /* text: lines left in the record */
  rl_reader rest; /* else: chunks left */
} logged_pull;

static rl_status first(logged_pull *p)
{
  rl_journal_block head;
  rl_status st = read_record((const logged *)p->block->home, &p->record);
  if (st == RL_OK) st = rl_journal_get_block(p->record->data, p->record->n, &head);
  if (st != RL_OK) return st;
  p->text = head.text;
  p->at = (size_t)(head.data.p - p->record->data);
  p->end = p->at + head.data.n;
  p->rest = (rl_reader){head.data.p, head.data.p + head.data.n};
  return RL_OK;
}

static rl_status logged_next(rl_pull *self, rl_chunk **out)
{
  logged_pull *p = (logged_pull *)self;
  *out = NULL;
  rl_status st = p->record ? RL_OK : first(p);
  if (st != RL_OK) return st;
  if (p->text) *out = rl_text_next(p->record, &p->at, p->end);
  else if (p->rest.p < p->rest.end) st = rl_chunk_decode(&p->rest, out);
  return st;
}

static void logged_close(rl_pull *self)
{
  logged_pull *p = (logged_pull *)self;
  rl_bytes_unref(p->record);
  rl_block_unref(p->block);
  rl_free(p);
}

static const rl_pull_class pull_class = {logged_next, logged_close};

static rl_pull *logged_open(rl_block *b)
{
  logged_pull *p = RL_NEW(logged_pull);
  *p = (logged_pull){.base.cls = &pull_class, .block = rl_block_ref(b)};
  return &p->base;
}

static void logged_leave(rl_block *b)
{
  logged *l = (logged *)b->home;
  rl_log_gate_unref(l->log);
  rl_free(l);
}

static const rl_block_home_class home_class = {logged_open, logged_leave};

rl_block *rl_block_logged(rl_log_gate *l, const rl_wal_at *at, uint64_t records, size_t bytes)
{
  logged *home = RL_NEW(logged);
  *home = (logged){.home.cls = &home_class, .log = rl_log_gate_ref(l), .at = *at};
  rl_block *b = RL_NEW(rl_block);
  atomic_init(&b->refs, 1);
  atomic_init(&b->owner, NULL);
  b->records = records;
  b->bytes = bytes;
  b->seq = at->seq;
  b->home = &home->home;
  return b;
}
