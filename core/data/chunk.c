#include "data/chunk.h"

#include <inttypes.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "data/chunk_impl.h"
#include "data/codec.h"

/* Making and freeing. */

static size_t bitmap_bytes(uint32_t n)
{
  return ((size_t)n + 7) / 8;
}

size_t rl_column_width(rl_coltype type)
{
  switch (type) {
  case RL_COL_NIL: return 0;
  case RL_COL_INT: return sizeof(int64_t);
  case RL_COL_FLOAT: return sizeof(double);
  case RL_COL_BOOL: return sizeof(uint8_t);
  case RL_COL_BYTES:
  case RL_COL_MIXED: return sizeof(rl_span);
  }
  return 0;
}

rl_chunk *rl_chunk_new(uint32_t n, uint32_t ncols)
{
  rl_chunk *c = RL_NEW(rl_chunk);
  atomic_init(&c->refs, 1);
  c->n = n;
  c->ncols = ncols;
  c->cols = rl_calloc(ncols, sizeof *c->cols);
  return c;
}

/* What the chunk itself holds, without the buffers that its spans point into: those count themselves. */
static size_t own_bytes(const rl_chunk *c)
{
  size_t bytes = sizeof *c + c->ncols * sizeof *c->cols + (c->arity ? c->n : 0);
  for (uint32_t i = 0; i < c->ncols; i++) {
    bytes += rl_column_width(c->cols[i].type) * c->n + (c->cols[i].nulls ? bitmap_bytes(c->n) : 0);
  }
  return bytes;
}

static size_t span_bytes(const rl_span *s, uint32_t n)
{
  size_t bytes = 0;
  for (uint32_t i = 0; i < n; i++) bytes += s[i].n;
  return bytes;
}

rl_chunk *rl_chunk_seal(rl_chunk *c)
{
  c->bytes = own_bytes(c);
  rl_mem_add((int64_t)c->bytes);
  for (uint32_t i = 0; i < c->ncols; i++) {
    if (c->cols[i].data) c->bytes += span_bytes(c->cols[i].s, c->n);
  }
  return c;
}

void rl_chunk_drop(rl_chunk *c)
{
  for (uint32_t i = 0; i < c->ncols; i++) {
    rl_free(c->cols[i].nulls);
    rl_free(rl_column_array(&c->cols[i]));
    rl_bytes_unref(c->cols[i].data);
  }
  rl_free(c->cols);
  rl_free(c->arity);
  rl_free(c);
}

rl_chunk *rl_chunk_ref(rl_chunk *c)
{
  atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
  return c;
}

void rl_chunk_unref(rl_chunk *c)
{
  if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) return;
  rl_mem_add(-(int64_t)own_bytes(c));
  rl_chunk_drop(c);
}

rl_chunk *rl_chunk_from_spans(rl_bytes *data, rl_span *spans, uint32_t n)
{
  rl_chunk *c = rl_chunk_new(n, 1);
  c->cols[0] = (rl_column){.type = RL_COL_BYTES, .s = spans, .data = rl_bytes_ref(data)};
  return rl_chunk_seal(c);
}

/* Reading. */

rl_value rl_value_view(const char *p, size_t n)
{
  rl_value v = rl_nil();
  rl_reader r = {p, p + n};
  if (n > 0 && *p == RL_TAG_TUPLE) return (rl_value){.type = RL_T_TUPLE, .s = {p, n}};
  if (n > 0 && *p == RL_TAG_TABLE) return (rl_value){.type = RL_T_TABLE, .s = {p, n}};
  return rl_get_value(&r, &v) == RL_OK ? v : rl_nil();
}

rl_value rl_chunk_get(const rl_chunk *c, uint32_t col, uint32_t row)
{
  if (col >= c->ncols) return rl_nil();
  const rl_column *k = &c->cols[col];
  if (rl_column_is_nil(k, row)) return rl_nil();
  switch (k->type) {
  case RL_COL_NIL: break;
  case RL_COL_INT: return rl_int(k->i[row]);
  case RL_COL_FLOAT: return rl_float(k->f[row]);
  case RL_COL_BOOL: return rl_bool(k->b[row]);
  case RL_COL_BYTES: return rl_str(k->data->data + k->s[row].at, k->s[row].n);
  case RL_COL_MIXED: return rl_value_view(k->data->data + k->s[row].at, k->s[row].n);
  }
  return rl_nil();
}

void rl_chunk_format(const rl_chunk *c, uint32_t row, rl_buf *out)
{
  uint32_t n = rl_chunk_arity(c, row);
  if (n == 1) {
    rl_value_format(rl_chunk_get(c, 0, row), out);
    return;
  }
  for (uint32_t i = 0; i < n; i++) {
    rl_buf_putc(out, i == 0 ? '(' : ',');
    rl_value_format(rl_chunk_get(c, i, row), out);
  }
  rl_buf_putc(out, ')');
}

/* Slices. */

static uint8_t *slice_nulls(const rl_column *c, uint32_t from, uint32_t n)
{
  uint8_t *bits = NULL;
  for (uint32_t i = 0; i < n; i++) {
    if (!rl_column_is_nil(c, from + i)) continue;
    if (!bits) bits = rl_alloc(bitmap_bytes(n));
    bits[i >> 3] |= (uint8_t)(1u << (i & 7));
  }
  return bits;
}

/* Copies the bytes under the spans of `to` into a buffer of its own and points the spans there. */
static bool own_data(rl_column *to, const rl_bytes *data, uint32_t n)
{
  to->data = rl_bytes_new(span_bytes(to->s, n));
  if (!to->data) return false;
  for (uint32_t i = 0; i < n; i++) {
    rl_span s = to->s[i];
    to->s[i].at = (uint32_t)to->data->n;
    if (s.n > 0) memcpy(to->data->data + to->data->n, data->data + s.at, s.n);
    to->data->n += s.n;
  }
  return true;
}

static bool slice_column(rl_column *to, const rl_column *c, uint32_t from, uint32_t n, bool share)
{
  size_t width = rl_column_width(c->type);
  if (width == 0) return true;
  to->type = c->type;
  if (c->nulls) to->nulls = slice_nulls(c, from, n);
  rl_column_set_array(to, rl_calloc(n, width));
  memcpy(rl_column_array(to), (const char *)rl_column_array(c) + from * width, n * width);
  if (!c->data) return true;
  if (!share) return own_data(to, c->data, n);
  to->data = rl_bytes_ref(c->data);
  return true;
}

/* Sliced arities that are all the same are not kept. */
static uint8_t *slice_arity(const rl_chunk *c, uint32_t from, uint32_t n, uint32_t *ncols)
{
  bool same = true;
  *ncols = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t arity = rl_chunk_arity(c, from + i);
    if (i > 0 && arity != *ncols) same = false;
    if (arity > *ncols) *ncols = arity;
  }
  if (same) return NULL;
  uint8_t *copy = rl_alloc(n);
  memcpy(copy, c->arity + from, n);
  return copy;
}

rl_chunk *rl_chunk_slice(rl_chunk *c, uint32_t from, uint32_t n)
{
  if (from == 0 && n == c->n) return rl_chunk_ref(c);
  bool share = n > c->n / 2;
  uint32_t ncols;
  uint8_t *arity = slice_arity(c, from, n, &ncols);
  rl_chunk *s = rl_chunk_new(n, ncols);
  s->arity = arity;
  for (uint32_t i = 0; i < ncols; i++) {
    if (slice_column(&s->cols[i], &c->cols[i], from, n, share)) continue;
    rl_chunk_drop(s);
    return NULL;
  }
  return rl_chunk_seal(s);
}

/* Encoded chunks. */

#define CHUNK_VERSION RL_CODEC_VERSION

static void put_field(rl_buf *out, const rl_chunk *c, uint32_t col, uint32_t row)
{
  const rl_column *k = &c->cols[col];
  if (k->type == RL_COL_MIXED && !rl_column_is_nil(k, row)) rl_buf_add(out, k->data->data + k->s[row].at, k->s[row].n);
  else rl_put_value(out, rl_chunk_get(c, col, row));
}

void rl_chunk_encode(const rl_chunk *c, rl_buf *out)
{
  size_t start = out->n;
  rl_buf_reserve(out, c->bytes);
  rl_buf_add(out, (char[]){'R', 'C', CHUNK_VERSION}, 3);
  rl_put_varint(out, c->n);
  for (uint32_t row = 0; row < c->n; row++) {
    uint32_t arity = rl_chunk_arity(c, row);
    rl_put_varint(out, arity);
    for (uint32_t col = 0; col < arity; col++) put_field(out, c, col, row);
  }
  uint64_t sum = rl_hash_bytes(out->p + start, out->n - start, 0);
  for (int i = 0; i < 8; i++) rl_buf_putc(out, (char)(sum >> (8 * i) & 0xff));
}

static rl_status get_head(rl_reader *r, uint64_t *n)
{
  if (r->end - r->p < 3 || r->p[0] != 'R' || r->p[1] != 'C') {
    return rl_fail(RL_EDATA, "malformed chunk: no chunk begins here");
  }
  if (r->p[2] != CHUNK_VERSION) {
    return rl_fail(RL_EUNSUPPORTED, "chunk of format version %u; this engine reads version %d",
                   (unsigned)(uint8_t)r->p[2], CHUNK_VERSION);
  }
  r->p += 3;
  rl_status st = rl_get_varint(r, n);
  if (st != RL_OK) return st;
  if (*n == 0) return rl_fail(RL_EDATA, "malformed chunk: no records");
  if (*n > (uint64_t)(r->end - r->p) / 2) return rl_fail(RL_EDATA, "malformed chunk: cut short");
  if (*n > UINT32_MAX) return rl_fail(RL_EDATA, "malformed chunk: %" PRIu64 " records", *n);
  return RL_OK;
}

static rl_status get_record(rl_reader *r, rl_builder *b)
{
  rl_value fields[RL_MAX_FIELDS];
  uint64_t n;
  rl_status st = rl_get_varint(r, &n);
  if (st == RL_OK && (n == 0 || n > RL_MAX_FIELDS)) {
    st = rl_fail(RL_EDATA, "malformed chunk: a record of %" PRIu64 " fields", n);
  }
  for (uint64_t i = 0; st == RL_OK && i < n; i++) st = rl_get_value(r, &fields[i]);
  if (st != RL_OK) return st;
  if (fields[0].type == RL_T_NIL) return rl_fail(RL_EDATA, "malformed chunk: a record's first value is nil");
  return rl_builder_add(b, fields, (uint32_t)n);
}

static rl_status check_sum(rl_reader *r, const char *start)
{
  if (r->end - r->p < 8) return rl_fail(RL_EDATA, "malformed chunk: cut short");
  uint64_t sum = rl_hash_bytes(start, (size_t)(r->p - start), 0);
  for (int i = 0; i < 8; i++) {
    if ((uint8_t)r->p[i] != (uint8_t)(sum >> (8 * i))) return rl_fail(RL_EDATA, "malformed chunk: wrong checksum");
  }
  r->p += 8;
  return RL_OK;
}

rl_status rl_chunk_decode(rl_reader *r, rl_chunk **out)
{
  const char *start = r->p;
  uint64_t n = 0;
  rl_status st = get_head(r, &n);
  if (st != RL_OK) return st;
  rl_builder *b = rl_builder_new();
  for (uint64_t i = 0; st == RL_OK && i < n; i++) st = get_record(r, b);
  if (st == RL_OK) st = check_sum(r, start);
  if (st == RL_OK) *out = rl_builder_finish(b);
  rl_builder_delete(b);
  return st;
}

/* Lists. */

void rl_chunks_add(rl_chunks *l, rl_chunk *c)
{
  l->v = rl_grow(l->v, &l->cap, l->n + 1, sizeof(rl_chunk *));
  l->v[l->n++] = c;
}

void rl_chunks_clear(rl_chunks *l)
{
  for (size_t i = 0; i < l->n; i++) rl_chunk_unref(l->v[i]);
  rl_free(l->v);
  *l = (rl_chunks){0};
}

uint64_t rl_chunks_records(const rl_chunks *l)
{
  uint64_t n = 0;
  for (size_t i = 0; i < l->n; i++) n += l->v[i]->n;
  return n;
}

size_t rl_chunks_bytes(const rl_chunks *l)
{
  size_t n = 0;
  for (size_t i = 0; i < l->n; i++) n += l->v[i]->bytes;
  return n;
}
