/* Reading the log for store/inspect.h. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "store/inspect.h"
#include "store/wal_impl.h"

#define TRIES 5 /* segments may be removed while they are read */

/* A BLOCK that was met. */
typedef struct block {
  uint64_t seq, records, bytes, position;
  uint32_t stock; /* index of its input in `stock` */
  bool used;
} block;

typedef struct scan {
  rl_inspect_log *out;
  block *blocks;
  size_t nblocks, cap;
} scan;

static char *copy(rl_slice s)
{
  return rl_strndup(s.p, s.n);
}

static bool is_named(const char *name, rl_slice s)
{
  return strlen(name) == s.n && memcmp(name, s.p, s.n) == 0;
}

/* Batches ---------------------------------------------------------------------------------------------------------- */

static void clear_batch(rl_inspect_batch *b)
{
  for (size_t i = 0; i < b->ninputs; i++) {
    rl_free(b->inputs[i].uid);
    rl_buf_free(&b->inputs[i].saved);
  }
  for (size_t i = 0; i < b->noutputs; i++) rl_free(b->outputs[i]);
  rl_free(b->inputs);
  rl_free(b->outputs);
  *b = (rl_inspect_batch){0};
}

static rl_inspect_batch *find_batch(const rl_inspect_log *l, int64_t time)
{
  for (size_t i = l->npending; i-- > 0;) {
    if (l->pending[i].time == time) return &l->pending[i];
  }
  return NULL;
}

static void drop_batch(rl_inspect_log *l, rl_inspect_batch *b)
{
  size_t at = (size_t)(b - l->pending);
  clear_batch(b);
  l->npending--;
  memmove(b, b + 1, (l->npending - at) * sizeof *b);
}

static block *find_block(const scan *s, uint64_t seq)
{
  size_t from = 0, to = s->nblocks;
  while (from < to) {
    size_t mid = from + (to - from) / 2;
    if (s->blocks[mid].seq < seq) from = mid + 1;
    else to = mid;
  }
  return from < s->nblocks && s->blocks[from].seq == seq ? &s->blocks[from] : NULL;
}

static void take_input(scan *s, rl_journal_input *from, rl_inspect_input *to)
{
  *to = (rl_inspect_input){.uid = copy(from->uid),
                           .kind = from->kind,
                           .records = from->records,
                           .position = from->position,
                           .blocks = from->nblocks,
                           .bytes = from->bytes.n};
  if (from->bytes.n > 0) rl_buf_add(&to->saved, from->bytes.p, from->bytes.n);
  uint64_t seq;
  while (rl_journal_next_block(from, &seq)) {
    block *b = find_block(s, seq);
    to->missing += b == NULL;
    to->bytes += b ? b->bytes : 0;
    if (b) b->used = true;
  }
}

static rl_inspect_batch read_batch(scan *s, const rl_journal_begin *begin)
{
  rl_journal_begin r = *begin;
  rl_inspect_batch b = {.time = r.time, .script = r.script, .ninputs = r.ninputs};
  b.inputs = rl_calloc(r.ninputs + 1, sizeof *b.inputs);
  for (size_t i = 0; i < b.ninputs; i++) {
    rl_journal_input in;
    (void)rl_journal_next_input(&r, &in); /* was checked with the record */
    take_input(s, &in, &b.inputs[i]);
  }
  return b;
}

/* State ------------------------------------------------------------------------------------------------------------ */

static rl_inspect_changes *changes_of(rl_inspect_log *l, rl_slice uid)
{
  for (size_t i = 0; i < l->nchanges; i++) {
    if (is_named(l->changes[i].uid, uid)) return &l->changes[i];
  }
  l->changes = rl_grow(l->changes, &l->changes_cap, l->nchanges + 1, sizeof *l->changes);
  rl_inspect_changes *c = &l->changes[l->nchanges++];
  *c = (rl_inspect_changes){copy(uid), RL_NO_TIME, 0, 0, RL_NO_TIME, RL_NO_TIME};
  return c;
}

static void end_state(rl_inspect_log *l, int64_t time)
{
  for (size_t i = 0; i < l->nchanges; i++) {
    rl_inspect_changes *c = &l->changes[i];
    if (c->open != time || c->version == time) continue;
    c->before = c->version;
    c->version = time;
  }
}

static void discard_state(rl_inspect_log *l, int64_t time)
{
  for (size_t i = 0; i < l->nchanges; i++) {
    rl_inspect_changes *c = &l->changes[i];
    if (c->version == time) c->version = c->before;
  }
}

/* Records ---------------------------------------------------------------------------------------------------------- */

static rl_status on_start(scan *s, const rl_wal_record *r)
{
  rl_journal_start x;
  rl_inspect_log *l = s->out;
  rl_status st = rl_journal_get_start(r->p, r->at.length, &x);
  if (st != RL_OK) return st;
  rl_free(l->app);
  rl_free(l->engine);
  l->app = copy(x.app);
  l->engine = copy(x.engine);
  l->zero = x.zero;
  l->batch_ms = x.batch_ms;
  l->script = x.script;
  if (l->starts++ == 0) l->started = x.now;
  l->restarted = x.now;
  return RL_OK;
}

static uint32_t stock_of(rl_inspect_log *l, rl_slice uid)
{
  size_t i = 0;
  while (i < l->nstock && !is_named(l->stock[i].uid, uid)) i++;
  if (i == l->nstock) {
    l->stock = rl_grow(l->stock, &l->stock_cap, l->nstock + 1, sizeof *l->stock);
    l->stock[l->nstock++] = (rl_inspect_stock){.uid = copy(uid)};
  }
  return (uint32_t)i;
}

static rl_status on_block(scan *s, const rl_wal_record *r)
{
  rl_journal_block x;
  rl_status st = rl_journal_get_block(r->p, r->at.length, &x);
  if (st != RL_OK) return st;
  s->blocks = rl_grow(s->blocks, &s->cap, s->nblocks + 1, sizeof *s->blocks);
  s->blocks[s->nblocks++] = (block){r->at.seq, x.records, x.data.n, x.position, stock_of(s->out, x.uid), false};
  return RL_OK;
}

static rl_status on_begin(scan *s, const rl_wal_record *r)
{
  rl_journal_begin x;
  rl_inspect_log *l = s->out;
  rl_status st = rl_journal_get_begin(r->p, r->at.length, &x);
  if (st != RL_OK) return st;
  rl_inspect_batch *before = find_batch(l, x.time);
  if (before) drop_batch(l, before);
  clear_batch(&l->last);
  l->last = read_batch(s, &x);
  l->pending = rl_grow(l->pending, &l->pending_cap, l->npending + 1, sizeof *l->pending);
  l->pending[l->npending++] = read_batch(s, &x);
  l->zero = x.zero;
  l->batch_ms = x.batch_ms;
  l->script = x.script;
  if (l->first_batch == RL_NO_TIME) l->first_batch = x.time;
  l->last_batch = x.time;
  return RL_OK;
}

static rl_status on_state(scan *s, const rl_wal_record *r)
{
  rl_journal_state x;
  rl_status st = rl_journal_get_state(r->p, r->at.length, &x);
  if (st != RL_OK) return st;
  rl_inspect_changes *c = changes_of(s->out, x.uid);
  c->records++;
  c->bytes += r->at.length;
  c->open = x.time;
  return RL_OK;
}

static rl_status on_end(scan *s, const rl_wal_record *r)
{
  rl_journal_end x;
  rl_status st = rl_journal_get_end(r->p, r->at.length, &x);
  if (st != RL_OK) return st;
  rl_inspect_batch *b = find_batch(s->out, x.time);
  if (b) b->made = true;
  end_state(s->out, x.time);
  return RL_OK;
}

static rl_status on_output(scan *s, const rl_wal_record *r)
{
  rl_journal_output x;
  rl_status st = rl_journal_get_output(r->p, r->at.length, &x);
  rl_inspect_batch *b = st == RL_OK ? find_batch(s->out, x.time) : NULL;
  if (!b) return st;
  b->outputs = rl_grow(b->outputs, &b->outputs_cap, b->noutputs + 1, sizeof *b->outputs);
  b->outputs[b->noutputs++] = copy(x.key);
  return RL_OK;
}

static rl_status on_complete(scan *s, const rl_wal_record *r)
{
  rl_journal_complete x;
  rl_status st = rl_journal_get_complete(r->p, r->at.length, &x);
  if (st != RL_OK) return st;
  rl_inspect_batch *b = find_batch(s->out, x.time);
  if (b) drop_batch(s->out, b);
  if (x.discarded) discard_state(s->out, x.time);
  else s->out->last_complete = x.time;
  return RL_OK;
}

static rl_status take_record(scan *s, const rl_wal_record *r)
{
  rl_journal_lost lost;
  switch (r->at.type) {
  case RL_JOURNAL_START: return on_start(s, r);
  case RL_JOURNAL_BLOCK: return on_block(s, r);
  case RL_JOURNAL_BEGIN: return on_begin(s, r);
  case RL_JOURNAL_STATE: return on_state(s, r);
  case RL_JOURNAL_END: return on_end(s, r);
  case RL_JOURNAL_OUTPUT: return on_output(s, r);
  case RL_JOURNAL_COMPLETE: return on_complete(s, r);
  case RL_JOURNAL_LOST: return rl_journal_get_lost(r->p, r->at.length, &lost);
  default: return rl_fail(RL_EDATA, "a record of type %u, which this Rille does not know", (unsigned)r->at.type);
  }
}

static void note_damage(rl_inspect_log *l, const char *message)
{
  if (l->damages++ == 0) l->damage = rl_strdup(message);
}

static void count_record(rl_inspect_log *l, const rl_wal_record *r)
{
  unsigned type = r->at.type < RL_JOURNAL_TYPES ? r->at.type : 0;
  l->types[type].records++;
  l->types[type].bytes += r->at.length;
  if (l->first == 0) l->first = r->at.seq;
  l->next = r->at.seq + 1;
  for (size_t i = l->nsegments; i-- > 0;) {
    if (l->segments[i].first != r->at.segment) continue;
    l->segments[i].records++;
    break;
  }
}

static rl_status visit(void *user, const rl_wal_record *r)
{
  scan *s = user;
  count_record(s->out, r);
  if (take_record(s, r) == RL_OK) return RL_OK;
  rl_error_prefix("record %" PRIu64 " in segment log-%016" PRIx64 " at offset %" PRIu64 ": ", r->at.seq, r->at.segment,
                  r->at.offset);
  note_damage(s->out, rl_error_message());
  return RL_OK;
}

static void damaged(void *user, const rl_wal_damage *d)
{
  scan *s = user;
  if (!d->torn) note_damage(s->out, d->message);
  else if (!s->out->torn) s->out->torn = rl_strdup(d->message);
}

/* -------------------------------------------------------------------------------------------------------------------*/

static rl_status list_segments(const char *path, rl_inspect_log *l)
{
  rl_wal_firsts firsts = {0};
  rl_status st = rl_wal_list(path, false, &firsts);
  for (size_t i = 0; i < firsts.n && st == RL_OK; i++) {
    char *file = rl_wal_path(path, firsts.v[i]);
    rl_inspect_segment g = {.first = firsts.v[i]};
    st = rl_file_size(file, &g.bytes);
    rl_free(file);
    if (st != RL_OK) break;
    l->segments = rl_grow(l->segments, &l->segments_cap, l->nsegments + 1, sizeof *l->segments);
    l->segments[l->nsegments++] = g;
    l->bytes += g.bytes;
  }
  if (st == RL_OK && l->nsegments > 0) l->next = l->segments[l->nsegments - 1].first;
  rl_free(firsts.v);
  return st;
}

static void add_up_stock(scan *s)
{
  for (size_t i = 0; i < s->nblocks; i++) {
    const block *b = &s->blocks[i];
    if (b->used) continue;
    rl_inspect_stock *stock = &s->out->stock[b->stock];
    stock->blocks++;
    stock->records += b->records;
    stock->bytes += b->bytes;
    stock->position = b->position;
  }
}

static rl_status read_once(const char *path, rl_inspect_log *out)
{
  scan s = {.out = out};
  *out = (rl_inspect_log){.first_batch = RL_NO_TIME, .last_batch = RL_NO_TIME, .last_complete = RL_NO_TIME};
  rl_status st = list_segments(path, out);
  if (st == RL_OK) st = rl_wal_verify(path, &(rl_wal_verifier){visit, damaged, &s});
  if (st == RL_EDATA && out->damages > 0) st = RL_OK;
  if (st == RL_OK) add_up_stock(&s);
  rl_free(s.blocks);
  return st;
}

rl_status rl_inspect_log_read(const char *dir, rl_inspect_log *out)
{
  char *path = rl_checkpoint_log(dir);
  rl_status st = RL_OK;
  for (int i = 0; i < TRIES; i++) {
    st = read_once(path, out);
    if (st != RL_ENOTFOUND) break;
    if (i + 1 < TRIES) rl_inspect_log_free(out);
  }
  rl_free(path);
  return st;
}

void rl_inspect_log_free(rl_inspect_log *l)
{
  for (size_t i = 0; i < l->npending; i++) clear_batch(&l->pending[i]);
  clear_batch(&l->last);
  for (size_t i = 0; i < l->nstock; i++) rl_free(l->stock[i].uid);
  for (size_t i = 0; i < l->nchanges; i++) rl_free(l->changes[i].uid);
  rl_free(l->segments);
  rl_free(l->pending);
  rl_free(l->stock);
  rl_free(l->changes);
  rl_free(l->app);
  rl_free(l->engine);
  rl_free(l->torn);
  rl_free(l->damage);
  *l = (rl_inspect_log){0};
}

/* Does it fit the image? ------------------------------------------------------------------------------------------- */

typedef struct reach {
  int64_t newest; /* batch */
  int64_t zero;   /* of the job; the beginning of time where the log does not go back to that */
} reach;

static rl_status note_reach(void *user, const rl_wal_record *r)
{
  reach *to = user;
  rl_journal_start start;
  rl_journal_begin x;
  if (r->at.seq == 1 && r->at.type == RL_JOURNAL_START && !rl_journal_get_start(r->p, r->at.length, &start))
    to->zero = start.zero;
  if (r->at.type != RL_JOURNAL_BEGIN || rl_journal_get_begin(r->p, r->at.length, &x) != RL_OK) return RL_OK;
  if (x.time > to->newest) to->newest = x.time;
  return RL_OK;
}

/* A start makes the log's first segment before it makes the image. */
static bool is_gone(const char *log)
{
  rl_wal_firsts firsts = {0};
  rl_status st = rl_wal_list(log, false, &firsts);
  bool gone = st == RL_OK && firsts.n == 0;
  if (st != RL_OK) rl_error_drop();
  rl_free(firsts.v);
  return gone || st == RL_ENOTFOUND;
}

static bool has_reach(const char *log, reach *to)
{
  rl_status st = RL_ENOTFOUND;
  for (int i = 0; i < TRIES && st == RL_ENOTFOUND; i++) {
    *to = (reach){RL_NO_TIME, RL_NO_TIME};
    st = rl_wal_verify(log, &(rl_wal_verifier){note_reach, NULL, to});
  }
  if (st != RL_OK) rl_error_drop();
  return st == RL_OK;
}

char *rl_inspect_misfit(const char *dir, const rl_inspect_image *i)
{
  int64_t version = RL_NO_TIME;
  if (!i->found || i->damage) return NULL;
  for (size_t k = 0; k < i->nops; k++)
    if (i->ops[k].version > version) version = i->ops[k].version;
  char *log = rl_checkpoint_log(dir), *why = NULL;
  reach to;
  if (is_gone(log)) why = rl_format("damaged log: %s: there is none, and there is a state", log);
  else if (!has_reach(log, &to)) why = NULL;
  else if (version != RL_NO_TIME && version < to.zero)
    why = rl_format("damaged log: %s: the state is that of batch %" PRId64 " ms, and the log is that of a job that "
                    "began later, at %" PRId64 " ms: they do not belong together", log, version, to.zero);
  else if (to.newest < version)
    why = rl_format("damaged log: %s: the state is that of batch %" PRId64 " ms, which it does not have: part of the "
                    "log is missing, or the directory was copied while the job ran", log, version);
  if (why) {
    char *advice = rl_format("%s; put back a copy made by rille backup (`rille inspect %s --repair --from BACKUP`), or "
                             "go on without what is lost, with rille.checkpoint.allowDropped = true", why, dir);
    rl_free(why);
    why = advice;
  }
  rl_free(log);
  return why;
}
