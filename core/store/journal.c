#include "store/journal.h"

#include <inttypes.h>

static const char *const names[RL_JOURNAL_TYPES] = {
    [RL_JOURNAL_START] = "START", [RL_JOURNAL_BLOCK] = "BLOCK",   [RL_JOURNAL_BEGIN] = "BEGIN",
    [RL_JOURNAL_STATE] = "STATE", [RL_JOURNAL_END] = "END",       [RL_JOURNAL_OUTPUT] = "OUTPUT",
    [RL_JOURNAL_COMPLETE] = "COMPLETE", [RL_JOURNAL_LOST] = "LOST",
};

const char *rl_journal_name(unsigned type)
{
  return type < RL_JOURNAL_TYPES ? names[type] : NULL;
}

/* Fields ----------------------------------------------------------------------------------------------------------- */

static void put_signed(rl_buf *out, int64_t x)
{
  rl_put_varint(out, ((uint64_t)x << 1) ^ (x < 0 ? UINT64_MAX : 0));
}

static void put_slice(rl_buf *out, rl_slice s)
{
  rl_put_varint(out, s.n);
  rl_buf_add(out, s.p, s.n);
}

/* The fields of a record one after the other: once one is bad, all that follow are left as they are. */
typedef struct fields {
  rl_reader r;
  rl_status st;
  const char *record; /* what it is, for messages */
} fields;

static fields fields_of(const char *record, const char *p, size_t n)
{
  return (fields){{p, n > 0 ? p + n : p}, RL_OK, record};
}

static size_t left(const fields *f)
{
  return (size_t)(f->r.end - f->r.p);
}

static void refuse(fields *f, const char *what)
{
  if (f->st == RL_OK) f->st = rl_fail(RL_EDATA, "malformed %s record: %s", f->record, what);
}

static void get_number(fields *f, uint64_t *x)
{
  if (f->st != RL_OK) return;
  f->st = rl_get_varint(&f->r, x);
  if (f->st != RL_OK) rl_error_prefix("malformed %s record: ", f->record);
}

static void get_signed(fields *f, int64_t *x)
{
  uint64_t u = 0;
  get_number(f, &u);
  if (f->st == RL_OK) *x = (int64_t)(u >> 1) ^ -(int64_t)(u & 1);
}

static void get_small(fields *f, uint32_t *x)
{
  uint64_t u = 0;
  get_number(f, &u);
  if (u > UINT32_MAX) refuse(f, "a number of more than 32 bits");
  if (f->st == RL_OK) *x = (uint32_t)u;
}

static void get_bool(fields *f, bool *x)
{
  uint64_t u = 0;
  get_number(f, &u);
  if (u > 1) refuse(f, "a mark that is neither 0 nor 1");
  if (f->st == RL_OK) *x = u == 1;
}

static void get_slice(fields *f, rl_slice *s)
{
  uint64_t n = 0;
  get_number(f, &n);
  if (n > left(f)) refuse(f, "cut short within a string");
  if (f->st != RL_OK) return;
  *s = (rl_slice){f->r.p, (size_t)n};
  f->r.p += n;
}

static rl_status end_of(fields *f)
{
  if (left(f) > 0) refuse(f, "bytes behind its end");
  return f->st;
}

/* START ------------------------------------------------------------------------------------------------------------ */

void rl_journal_put_start(rl_buf *out, const rl_journal_start *r)
{
  rl_put_varint(out, r->graph.n > 0 ? RL_JOURNAL_VERSION : 1);
  put_signed(out, r->zero);
  put_signed(out, r->batch_ms);
  put_signed(out, r->now);
  rl_put_varint(out, r->script);
  put_slice(out, r->app);
  put_slice(out, r->engine);
  if (r->graph.n > 0) put_slice(out, r->graph);
}

static void check_grid(fields *f, int64_t batch_ms)
{
  if (batch_ms <= 0) refuse(f, "the batch interval is not above 0");
}

rl_status rl_journal_get_start(const char *p, size_t n, rl_journal_start *r)
{
  fields f = fields_of("START", p, n);
  uint64_t version = 0;
  *r = (rl_journal_start){0};
  get_number(&f, &version);
  if (f.st == RL_OK && (version < 1 || version > RL_JOURNAL_VERSION)) {
    return rl_fail(RL_EUNSUPPORTED, "the log's records are of format %" PRIu64 ", and this Rille knows those up to %d: "
                   "use the one that wrote them", version, RL_JOURNAL_VERSION);
  }
  get_signed(&f, &r->zero);
  get_signed(&f, &r->batch_ms);
  check_grid(&f, r->batch_ms);
  get_signed(&f, &r->now);
  get_small(&f, &r->script);
  get_slice(&f, &r->app);
  get_slice(&f, &r->engine);
  if (version > 1) get_slice(&f, &r->graph);
  if (f.st == RL_OK && version > 1 && r->graph.n == 0) refuse(&f, "an empty graph");
  return end_of(&f);
}

/* BLOCK ------------------------------------------------------------------------------------------------------------ */

void rl_journal_put_block(rl_buf *out, const rl_journal_block *r)
{
  put_slice(out, r->uid);
  rl_put_varint(out, r->records);
  rl_put_varint(out, r->position);
  rl_put_varint(out, r->text);
}

rl_status rl_journal_get_block(const char *p, size_t n, rl_journal_block *r)
{
  fields f = fields_of("BLOCK", p, n);
  *r = (rl_journal_block){0};
  get_slice(&f, &r->uid);
  get_number(&f, &r->records);
  if (r->records == 0) refuse(&f, "a block of no records");
  get_number(&f, &r->position);
  get_bool(&f, &r->text);
  r->data = (rl_slice){f.r.p, left(&f)};
  return f.st;
}

/* BEGIN ------------------------------------------------------------------------------------------------------------ */

void rl_journal_put_begin(rl_buf *out, const rl_journal_begin *r)
{
  put_signed(out, r->time);
  put_signed(out, r->zero);
  put_signed(out, r->batch_ms);
  rl_put_varint(out, r->script);
  rl_put_varint(out, r->ninputs);
}

void rl_journal_put_input(rl_buf *out, const rl_journal_input *in)
{
  put_slice(out, in->uid);
  rl_put_varint(out, (uint64_t)in->kind);
  put_signed(out, in->records);
  if (in->kind == RL_JOURNAL_BLOCKS) {
    rl_put_varint(out, in->position);
    rl_put_varint(out, in->nblocks);
    for (uint64_t i = 0; i < in->nblocks; i++) rl_put_varint(out, in->blocks[i]);
  } else if (in->kind != RL_JOURNAL_NONE) {
    put_slice(out, in->bytes);
  }
}

static void get_blocks(fields *f, rl_journal_input *in)
{
  uint64_t last = 0, seq = 0;
  get_number(f, &in->position);
  get_number(f, &in->nblocks);
  in->packed.p = f->r.p;
  for (uint64_t i = 0; i < in->nblocks && f->st == RL_OK; i++) {
    get_number(f, &seq);
    if (seq <= last) refuse(f, "blocks out of order");
    last = seq;
  }
  in->packed.n = (size_t)(f->r.p - in->packed.p);
}

static void get_input(fields *f, rl_journal_input *in)
{
  uint64_t kind = 0;
  *in = (rl_journal_input){0};
  get_slice(f, &in->uid);
  get_number(f, &kind);
  if (kind > RL_JOURNAL_PLACE) refuse(f, "an input of an unknown kind");
  get_signed(f, &in->records);
  if (in->records < -1) refuse(f, "an input of less than no records");
  if (f->st != RL_OK) return;
  in->kind = (rl_journal_input_kind)kind;
  if (in->kind == RL_JOURNAL_BLOCKS) get_blocks(f, in);
  else if (in->kind != RL_JOURNAL_NONE) get_slice(f, &in->bytes);
}

rl_status rl_journal_get_begin(const char *p, size_t n, rl_journal_begin *r)
{
  fields f = fields_of("BEGIN", p, n);
  *r = (rl_journal_begin){0};
  get_signed(&f, &r->time);
  get_signed(&f, &r->zero);
  get_signed(&f, &r->batch_ms);
  check_grid(&f, r->batch_ms);
  get_small(&f, &r->script);
  get_number(&f, &r->ninputs);
  r->rest = f.r;
  for (uint64_t i = 0; i < r->ninputs && f.st == RL_OK; i++) {
    rl_journal_input in;
    get_input(&f, &in);
  }
  return end_of(&f);
}

rl_status rl_journal_next_input(rl_journal_begin *r, rl_journal_input *in)
{
  fields f = {r->rest, RL_OK, "BEGIN"};
  get_input(&f, in);
  r->rest = f.r;
  return f.st;
}

bool rl_journal_next_block(rl_journal_input *in, uint64_t *seq)
{
  if (in->packed.n == 0) return false;
  rl_reader r = {in->packed.p, in->packed.p + in->packed.n};
  if (rl_get_varint(&r, seq) != RL_OK) return false; /* not after rl_journal_get_begin, which has read them all */
  in->packed = (rl_slice){r.p, (size_t)(r.end - r.p)};
  return true;
}

/* STATE ------------------------------------------------------------------------------------------------------------ */

void rl_journal_put_state(rl_buf *out, const rl_journal_state *r)
{
  put_signed(out, r->time);
  put_slice(out, r->uid);
  rl_put_varint(out, r->partition);
  rl_put_varint(out, r->partitions);
  rl_put_varint(out, r->timed);
  put_slice(out, r->changes);
  rl_put_varint(out, r->chunks);
}

rl_status rl_journal_get_state(const char *p, size_t n, rl_journal_state *r)
{
  fields f = fields_of("STATE", p, n);
  *r = (rl_journal_state){0};
  get_signed(&f, &r->time);
  get_slice(&f, &r->uid);
  get_small(&f, &r->partition);
  get_small(&f, &r->partitions);
  if (r->partition >= r->partitions) refuse(&f, "a partition beyond the last");
  get_bool(&f, &r->timed);
  get_slice(&f, &r->changes);
  get_number(&f, &r->chunks);
  r->rest = f.r;
  if (r->chunks > left(&f)) refuse(&f, "cut short before its chunks");
  return r->chunks == 0 ? end_of(&f) : f.st;
}

/* The marks of a batch --------------------------------------------------------------------------------------------- */

void rl_journal_put_end(rl_buf *out, const rl_journal_end *r)
{
  put_signed(out, r->time);
  put_slice(out, r->kept);
}

rl_status rl_journal_get_end(const char *p, size_t n, rl_journal_end *r)
{
  fields f = fields_of("END", p, n);
  *r = (rl_journal_end){0};
  get_signed(&f, &r->time);
  get_slice(&f, &r->kept);
  return end_of(&f);
}

void rl_journal_put_output(rl_buf *out, const rl_journal_output *r)
{
  put_signed(out, r->time);
  put_slice(out, r->key);
  put_slice(out, r->kept);
}

rl_status rl_journal_get_output(const char *p, size_t n, rl_journal_output *r)
{
  fields f = fields_of("OUTPUT", p, n);
  *r = (rl_journal_output){0};
  get_signed(&f, &r->time);
  get_slice(&f, &r->key);
  get_slice(&f, &r->kept);
  return end_of(&f);
}

void rl_journal_put_complete(rl_buf *out, const rl_journal_complete *r)
{
  put_signed(out, r->time);
  rl_put_varint(out, r->discarded);
  put_slice(out, r->kept);
}

rl_status rl_journal_get_complete(const char *p, size_t n, rl_journal_complete *r)
{
  fields f = fields_of("COMPLETE", p, n);
  *r = (rl_journal_complete){0};
  get_signed(&f, &r->time);
  get_bool(&f, &r->discarded);
  get_slice(&f, &r->kept);
  return end_of(&f);
}

/* LOST ------------------------------------------------------------------------------------------------------------- */

void rl_journal_put_lost(rl_buf *out, const rl_journal_lost *r) { put_signed(out, r->time); }

rl_status rl_journal_get_lost(const char *p, size_t n, rl_journal_lost *r)
{
  fields f = fields_of("LOST", p, n);
  *r = (rl_journal_lost){0};
  get_signed(&f, &r->time);
  return end_of(&f);
}
