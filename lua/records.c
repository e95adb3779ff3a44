/* Steps that need no Lua: they move whole records. */
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"
#include "operator.h"

typedef struct records records;
typedef rl_status advance(records *r, rl_chunk **out);

struct records {
  rl_pull pull;
  rl_pull *input;
  advance *next;
  const rl_step *step;
  int64_t left; /* take: how many more. countRecords: -1 when the count was given */
  rl_builder *builder;
  rl_buf scratch;
};

static rl_status take(records *r, rl_chunk **out)
{
  *out = NULL;
  if (r->left <= 0) return RL_OK;
  rl_chunk *c;
  rl_status st = rl_pull_next(r->input, &c);
  if (st != RL_OK || !c) return st;
  if ((int64_t)c->n > r->left) {
    *out = rl_chunk_slice(c, 0, (uint32_t)r->left);
    rl_chunk_unref(c);
  } else {
    *out = c;
  }
  r->left -= (*out)->n;
  return RL_OK;
}

static rl_status count(records *r, rl_chunk **out)
{
  *out = NULL;
  if (r->left < 0) return RL_OK;
  rl_status st;
  rl_chunk *c;
  int64_t n = 0;
  while ((st = rl_pull_next(r->input, &c)) == RL_OK && c) {
    n += c->n;
    rl_chunk_unref(c);
  }
  if (st != RL_OK) return st;
  r->left = -1;
  rl_value v = rl_int(n);
  st = rl_builder_add(r->builder, &v, 1);
  if (st == RL_OK) *out = rl_builder_finish(r->builder);
  return st;
}

static rl_status in_the_name_of(const records *r, rl_status st)
{
  const char *site = r->step->site;
  rl_error_prefix("%s%s%s: ", site ? site : "", site ? ": " : "", r->step->name);
  return st;
}

static rl_status pack_row(records *r, const rl_chunk *c, uint32_t row)
{
  uint32_t n = rl_chunk_arity(c, row);
  rl_value v = rl_chunk_get(c, 0, row);
  if (n > 1) {
    rl_buf_clear(&r->scratch);
    rl_put_tuple(&r->scratch, n);
    for (uint32_t col = 0; col < n; col++) rl_put_value(&r->scratch, rl_chunk_get(c, col, row));
    v = (rl_value){.type = RL_T_TUPLE, .s = {r->scratch.p, r->scratch.n}};
  }
  return rl_builder_add(r->builder, &v, 1);
}

static rl_status unpack_row(records *r, const rl_chunk *c, uint32_t row)
{
  rl_value packed = rl_chunk_get(c, 1, row), fields[RL_MAX_FIELDS];
  if (packed.type != RL_T_TUPLE) return rl_builder_add(r->builder, &packed, 1);
  rl_reader reader;
  uint64_t n;
  rl_status st = rl_walk_tuple(packed, &reader, &n);
  if (st == RL_OK && n > RL_MAX_FIELDS) st = rl_fail(RL_ELIMIT, "a record of more than %d values", RL_MAX_FIELDS);
  for (uint64_t i = 0; st == RL_OK && i < n; i++) st = rl_get_value(&reader, &fields[i]);
  return st == RL_OK ? rl_builder_add(r->builder, fields, (uint32_t)n) : st;
}

static rl_status convert(records *r, rl_status (*row)(records *, const rl_chunk *, uint32_t), rl_chunk **out)
{
  rl_chunk *c;
  *out = NULL;
  rl_status st = rl_pull_next(r->input, &c);
  if (st != RL_OK || !c) return st;
  for (uint32_t i = 0; st == RL_OK && i < c->n; i++) st = row(r, c, i);
  rl_chunk_unref(c);
  if (st != RL_OK) return in_the_name_of(r, st);
  *out = rl_builder_finish(r->builder);
  return RL_OK;
}

static rl_status pack(records *r, rl_chunk **out) { return convert(r, pack_row, out); }
static rl_status unpack(records *r, rl_chunk **out) { return convert(r, unpack_row, out); }

/* Of records behind a tag, those with this one, without it. A chunk that has none is passed over. */
static rl_status pick(records *r, bool tag, rl_chunk **out)
{
  rl_value fields[RL_MAX_FIELDS];
  rl_chunk *c;
  *out = NULL;
  while (!*out) {
    rl_status st = rl_pull_next(r->input, &c);
    if (st != RL_OK || !c) return st;
    for (uint32_t row = 0; st == RL_OK && row < c->n; row++) {
      if (rl_chunk_get(c, 0, row).b != tag) continue;
      uint32_t n = rl_chunk_arity(c, row);
      for (uint32_t col = 1; col < n; col++) fields[col - 1] = rl_chunk_get(c, col, row);
      st = rl_builder_add(r->builder, fields, n - 1);
    }
    rl_chunk_unref(c);
    if (st != RL_OK) return in_the_name_of(r, st);
    *out = rl_builder_finish(r->builder);
  }
  return RL_OK;
}

static rl_status passed(records *r, rl_chunk **out) { return pick(r, true, out); }
static rl_status diverted(records *r, rl_chunk **out) { return pick(r, false, out); }

static const struct {
  const char *kind;
  advance *next;
} kinds[] = {{"take", take}, {"countRecords", count}, {"pack", pack}, {"unpack", unpack},
             {"passed", passed}, {"diverted", diverted}};

static advance *find(const char *kind)
{
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].kind, kind) == 0) return kinds[i].next;
  return NULL;
}

static rl_status records_next(rl_pull *self, rl_chunk **out)
{
  records *r = (records *)self;
  return r->next(r, out);
}

static void records_close(rl_pull *self)
{
  records *r = (records *)self;
  rl_pull_close(r->input);
  rl_builder_delete(r->builder);
  rl_buf_free(&r->scratch);
  rl_free(r);
}

static const rl_pull_class records_class = {records_next, records_close};

bool rl_records_is(const char *kind)
{
  return find(kind) != NULL;
}

rl_pull *rl_records_open(const rl_step *step, rl_pull *input)
{
  records *r = RL_NEW(records);
  r->pull.cls = &records_class;
  r->input = input;
  r->next = find(step->kind);
  r->step = step;
  r->builder = rl_builder_new();
  if (r->next == take) r->left = step->param;
  return &r->pull;
}
