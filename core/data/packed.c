#include "data/packed.h"

#include <string.h>

#include "base/mem.h"
#include "data/chunk_impl.h"

/* Layout: u32 records, u32 columns, u8 "arities follow", the arities; each column: u8 type, u8 "nulls follow", the
 * bitmap, the array. Of spans the lengths only (u32), then u64 bytes and the bytes, closed up. */

static size_t bitmap_bytes(uint32_t n) { return ((size_t)n + 7) / 8; }

static bool has_spans(rl_coltype type) { return type == RL_COL_BYTES || type == RL_COL_MIXED; }

/* Nil values may have spans that mean nothing. */
static uint32_t span_n(const rl_column *k, uint32_t row) { return rl_column_is_nil(k, row) ? 0 : k->s[row].n; }

static void pack_spans(const rl_column *k, uint32_t n, rl_buf *out)
{
  uint64_t total = 0;
  rl_buf_reserve(out, n * sizeof(uint32_t) + sizeof total);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t length = span_n(k, i);
    rl_buf_add(out, &length, sizeof length);
    total += length;
  }
  rl_buf_add(out, &total, sizeof total);
  rl_buf_reserve(out, total);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t length = span_n(k, i);
    if (length > 0) rl_buf_add(out, k->data->data + k->s[i].at, length);
  }
}

void rl_chunk_pack(const rl_chunk *c, rl_buf *out)
{
  rl_buf_add(out, &c->n, sizeof c->n);
  rl_buf_add(out, &c->ncols, sizeof c->ncols);
  rl_buf_putc(out, c->arity != NULL);
  if (c->arity) rl_buf_add(out, c->arity, c->n);
  for (uint32_t i = 0; i < c->ncols; i++) {
    const rl_column *k = &c->cols[i];
    rl_buf_putc(out, (char)k->type);
    rl_buf_putc(out, k->nulls != NULL);
    if (k->nulls) rl_buf_add(out, k->nulls, bitmap_bytes(c->n));
    if (has_spans(k->type)) pack_spans(k, c->n, out);
    else rl_buf_add(out, rl_column_array(k), rl_column_width(k->type) * c->n);
  }
}

typedef struct cursor {
  const char *p, *end;
} cursor;

static bool get(cursor *r, void *to, size_t n)
{
  if ((size_t)(r->end - r->p) < n) return false;
  if (n > 0) memcpy(to, r->p, n);
  r->p += n;
  return true;
}

/* Every length is checked against what is left. */
static rl_status unpack_spans(cursor *r, rl_column *k, uint32_t n)
{
  const char *lengths = r->p;
  uint64_t total = 0, sum = 0;
  if ((size_t)(r->end - r->p) < n * sizeof(uint32_t)) return RL_EDATA;
  r->p += n * sizeof(uint32_t);
  if (!get(r, &total, sizeof total) || total > (size_t)(r->end - r->p) || total > UINT32_MAX) return RL_EDATA;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t length;
    memcpy(&length, lengths + i * sizeof length, sizeof length);
    if (length > total - sum) return RL_EDATA;
    k->s[i] = (rl_span){(uint32_t)sum, length};
    sum += length;
  }
  if (sum != total) return RL_EDATA;
  k->data = rl_bytes_from(r->p, total);
  r->p += total;
  return k->data ? RL_OK : RL_ENOMEM;
}

static rl_status unpack_column(cursor *r, rl_column *k, uint32_t n)
{
  uint8_t head[2];
  if (!get(r, head, sizeof head) || head[0] > RL_COL_MIXED) return RL_EDATA;
  size_t width = rl_column_width((rl_coltype)head[0]);
  /* Even a column of spans has four bytes a record: nothing large is allocated for a number that cannot be. */
  if (width > 0 && (size_t)(r->end - r->p) / (width > 4 ? 4 : 1) < n) return RL_EDATA;
  k->type = (rl_coltype)head[0];
  if (head[1]) {
    if ((size_t)(r->end - r->p) < bitmap_bytes(n)) return RL_EDATA;
    k->nulls = rl_alloc(bitmap_bytes(n));
    get(r, k->nulls, bitmap_bytes(n));
  }
  if (width == 0) return RL_OK;
  rl_column_set_array(k, rl_calloc(n, width));
  if (has_spans(k->type)) return unpack_spans(r, k, n);
  return get(r, rl_column_array(k), width * n) ? RL_OK : RL_EDATA;
}

static rl_status unpack(cursor *r, rl_chunk **out)
{
  uint32_t n, ncols;
  uint8_t arities;
  if (!get(r, &n, sizeof n) || !get(r, &ncols, sizeof ncols) || !get(r, &arities, 1)) return RL_EDATA;
  if (ncols > RL_MAX_FIELDS || (arities && (size_t)(r->end - r->p) < n)) return RL_EDATA;
  rl_chunk *c = rl_chunk_new(n, ncols);
  rl_status st = RL_OK;
  if (arities) {
    c->arity = rl_alloc(n);
    get(r, c->arity, n);
  }
  for (uint32_t i = 0; st == RL_OK && i < ncols; i++) st = unpack_column(r, &c->cols[i], n);
  if (st == RL_OK && r->p != r->end) st = RL_EDATA;
  if (st == RL_OK) *out = rl_chunk_seal(c);
  else rl_chunk_drop(c);
  return st;
}

rl_status rl_chunk_unpack(const char *p, size_t n, rl_chunk **out)
{
  cursor r = {p, p + n};
  rl_status st = unpack(&r, out);
  return st == RL_EDATA ? rl_fail(RL_EDATA, "malformed packed chunk at byte %zu of %zu", (size_t)(r.p - p), n) : st;
}
