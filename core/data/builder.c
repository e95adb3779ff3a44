#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/chunk_impl.h"
#include "data/codec.h"

#define FIRST_ROWS 64
#define FIRST_BYTES 1024

/* Arrays have room for the builder's `cap` rows and are indexed by row: the next record overwrites one that failed. */
typedef struct column {
  rl_column c;      /* data is written while this is its only reference */
  size_t data_hint; /* size of the last chunk's data */
} column;

struct rl_builder {
  column *cols;
  size_t cols_cap;
  uint32_t ncols; /* largest arity so far; columns behind it are NIL */
  uint32_t n;
  uint32_t cap;      /* rows that the arrays have room for */
  uint32_t row_hint; /* records of the last chunk */
  uint8_t *arity;    /* NULL while all records have ncols fields */
  size_t bytes;      /* 8 a field and the data */
  rl_buf scratch;    /* one encoded value */
};

rl_builder *rl_builder_new(void)
{
  return RL_NEW(rl_builder);
}

static void clear_column(rl_column *c)
{
  rl_free(c->nulls);
  rl_free(rl_column_array(c));
  rl_bytes_unref(c->data);
  *c = (rl_column){.type = RL_COL_NIL};
}

void rl_builder_delete(rl_builder *b)
{
  if (!b) return;
  for (size_t i = 0; i < b->cols_cap; i++) clear_column(&b->cols[i].c);
  rl_free(b->cols);
  rl_free(b->arity);
  rl_buf_free(&b->scratch);
  rl_free(b);
}

uint32_t rl_builder_count(const rl_builder *b)
{
  return b->n;
}

size_t rl_builder_bytes(const rl_builder *b)
{
  return b->bytes;
}

bool rl_builder_full(const rl_builder *b)
{
  return b->n >= RL_CHUNK_RECORDS || b->bytes >= RL_CHUNK_BYTES;
}

/* Room. */

static size_t bitmap_bytes(uint32_t rows)
{
  return ((size_t)rows + 7) / 8;
}

static void grow_nulls(rl_column *c, uint32_t old_rows, uint32_t rows)
{
  size_t old = bitmap_bytes(old_rows);
  c->nulls = rl_realloc(c->nulls, bitmap_bytes(rows));
  memset(c->nulls + old, 0, bitmap_bytes(rows) - old);
}

static void resize_arrays(rl_builder *b, uint32_t rows)
{
  for (uint32_t i = 0; i < b->cols_cap; i++) {
    rl_column *c = &b->cols[i].c;
    if (c->nulls) grow_nulls(c, b->cap, rows);
    if (c->type != RL_COL_NIL) rl_column_set_array(c, rl_realloc(rl_column_array(c), rows * rl_column_width(c->type)));
  }
  if (b->arity) b->arity = rl_realloc(b->arity, rows);
  b->cap = rows;
}

static rl_status reserve_row(rl_builder *b)
{
  if (b->n < b->cap) return RL_OK;
  if (b->n > UINT32_MAX / 2) return rl_fail(RL_ELIMIT, "a chunk of more than %" PRIu32 " records", b->n);
  uint32_t first = b->row_hint > FIRST_ROWS ? b->row_hint : FIRST_ROWS;
  resize_arrays(b, b->cap == 0 ? first : b->cap * 2);
  return RL_OK;
}

static void reserve_columns(rl_builder *b, uint32_t n)
{
  size_t old = b->cols_cap;
  if (n <= old) return;
  b->cols = rl_grow(b->cols, &b->cols_cap, n, sizeof *b->cols);
  memset(b->cols + old, 0, (b->cols_cap - old) * sizeof *b->cols);
}

/* Changes the size of a buffer that only its caller holds. */
static rl_status resize_data(rl_bytes **data, size_t cap)
{
  size_t old = (*data)->cap;
  rl_bytes *moved = realloc(*data, sizeof(rl_bytes) + cap);
  if (!moved) return rl_fail(RL_ENOMEM, "no memory for a column of %zu bytes", cap);
  moved->cap = cap;
  rl_mem_add((int64_t)cap - (int64_t)old);
  *data = moved;
  return RL_OK;
}

/* The column's data with room for `more` bytes; NULL when that cannot be. */
static rl_bytes *reserve_data(column *k, size_t more)
{
  size_t n = k->c.data ? k->c.data->n : 0;
  if (more > UINT32_MAX - n) {
    rl_fail(RL_ELIMIT, "a column of more than 4 GiB in one chunk");
    return NULL;
  }
  size_t cap = k->c.data ? k->c.data->cap * 2 : k->data_hint;
  if (cap < FIRST_BYTES) cap = FIRST_BYTES;
  if (cap < n + more) cap = n + more;
  if (k->c.data) return resize_data(&k->c.data, cap) == RL_OK ? k->c.data : NULL;
  k->c.data = rl_bytes_new(cap);
  return k->c.data;
}

static inline rl_status add_span(rl_builder *b, column *k, uint32_t row, const char *p, size_t n)
{
  rl_bytes *data = k->c.data;
  if (!data || n > data->cap - data->n) {
    data = reserve_data(k, n);
    if (!data) return rl_error_current()->code;
  }
  k->c.s[row] = (rl_span){(uint32_t)data->n, (uint32_t)n};
  if (n > 0) memcpy(data->data + data->n, p, n);
  data->n += n;
  b->bytes += n;
  return RL_OK;
}

/* Nil, and the types of columns. */

static void mark_nil(const rl_builder *b, rl_column *c, uint32_t row)
{
  if (c->type == RL_COL_NIL) return;
  size_t width = rl_column_width(c->type);
  memset((char *)rl_column_array(c) + row * width, 0, width);
  if (!c->nulls) c->nulls = rl_alloc(bitmap_bytes(b->cap));
  c->nulls[row >> 3] |= (uint8_t)(1u << (row & 7));
}

static inline void mark_present(rl_column *c, uint32_t row)
{
  if (c->nulls) c->nulls[row >> 3] &= (uint8_t)~(1u << (row & 7));
}

/* The first value that is not nil: all records before it have nil here. */
static void adopt_type(rl_builder *b, rl_column *c, rl_coltype type)
{
  c->type = type;
  rl_column_set_array(c, rl_calloc(b->cap, rl_column_width(type)));
  for (uint32_t row = 0; row < b->n; row++) mark_nil(b, c, row);
}

static rl_status add_encoded(rl_builder *b, column *k, uint32_t row, const rl_value *v)
{
  if (v->type >= RL_T_TUPLE) return add_span(b, k, row, v->s.p, v->s.n);
  rl_buf_clear(&b->scratch);
  rl_put_value(&b->scratch, *v);
  return add_span(b, k, row, b->scratch.p, b->scratch.n);
}

/* Encodes the values that a typed column has so far. The column is left as it was when there is no memory. */
static rl_status make_mixed(rl_builder *b, column *k)
{
  rl_chunk view = {.n = b->n, .ncols = 1, .cols = &k->c};
  column mixed = {.c = {.type = RL_COL_MIXED, .s = rl_calloc(b->cap, sizeof(rl_span))}, .data_hint = k->data_hint};
  rl_status st = RL_OK;
  for (uint32_t row = 0; row < b->n && st == RL_OK; row++) {
    rl_value v = rl_chunk_get(&view, 0, row);
    if (v.type != RL_T_NIL) st = add_encoded(b, &mixed, row, &v);
  }
  if (st != RL_OK) {
    clear_column(&mixed.c);
    return st;
  }
  if (k->c.data) b->bytes -= k->c.data->n;
  mixed.c.nulls = k->c.nulls;
  k->c.nulls = NULL;
  clear_column(&k->c);
  *k = mixed;
  return RL_OK;
}

static rl_coltype coltype_of(rl_type t)
{
  switch (t) {
  case RL_T_NIL: return RL_COL_NIL;
  case RL_T_BOOL: return RL_COL_BOOL;
  case RL_T_INT: return RL_COL_INT;
  case RL_T_FLOAT: return RL_COL_FLOAT;
  case RL_T_BYTES: return RL_COL_BYTES;
  default: return RL_COL_MIXED;
  }
}

/* Makes the column fit for a value of `type`: that type or MIXED. */
static rl_status fit_type(rl_builder *b, column *k, rl_coltype type)
{
  if (k->c.type == RL_COL_NIL) adopt_type(b, &k->c, type);
  else if (k->c.type != RL_COL_MIXED) return make_mixed(b, k);
  return RL_OK;
}

/* Adding. Values go to row b->n; the record counts when commit_row has run. */

static inline rl_status add_value(rl_builder *b, column *k, const rl_value *v)
{
  uint32_t row = b->n;
  rl_coltype type = coltype_of(v->type);
  if (type == RL_COL_NIL) {
    mark_nil(b, &k->c, row);
    return RL_OK;
  }
  if (k->c.type != type) {
    rl_status st = fit_type(b, k, type);
    if (st != RL_OK) return st;
  }
  mark_present(&k->c, row);
  switch (k->c.type) {
  case RL_COL_INT: k->c.i[row] = v->i; return RL_OK;
  case RL_COL_FLOAT: k->c.f[row] = v->f; return RL_OK;
  case RL_COL_BOOL: k->c.b[row] = v->b; return RL_OK;
  case RL_COL_BYTES: return add_span(b, k, row, v->s.p, v->s.n);
  default: return add_encoded(b, k, row, v);
  }
}

/* As add_value, from a column of the same type, not nil there. */
static inline rl_status add_same(rl_builder *b, column *k, const rl_column *from, uint32_t from_row)
{
  uint32_t row = b->n;
  mark_present(&k->c, row);
  switch (k->c.type) {
  case RL_COL_INT: k->c.i[row] = from->i[from_row]; return RL_OK;
  case RL_COL_FLOAT: k->c.f[row] = from->f[from_row]; return RL_OK;
  case RL_COL_BOOL: k->c.b[row] = from->b[from_row]; return RL_OK;
  default: return add_span(b, k, row, from->data->data + from->s[from_row].at, from->s[from_row].n);
  }
}

/* Called when a record's arity differs from the others' for the first time. */
static void keep_arity(rl_builder *b)
{
  b->arity = rl_alloc(b->cap);
  memset(b->arity, (int)b->ncols, b->n);
}

static void commit_row(rl_builder *b, uint32_t arity)
{
  for (uint32_t i = arity; i < b->ncols; i++) mark_nil(b, &b->cols[i].c, b->n);
  if (b->n > 0 && arity != b->ncols && !b->arity) keep_arity(b);
  if (b->arity) b->arity[b->n] = (uint8_t)arity;
  if (arity > b->ncols) b->ncols = arity;
  b->n++;
  b->bytes += (size_t)arity * 8;
}

/* Columns that no record has yet go back to NIL; in the others the next record overwrites the row. */
static rl_status abandon_row(rl_builder *b, rl_status st)
{
  for (size_t i = b->ncols; i < b->cols_cap; i++) clear_column(&b->cols[i].c);
  return st;
}

static rl_status begin_row(rl_builder *b, uint32_t arity)
{
  reserve_columns(b, arity);
  return reserve_row(b);
}

static rl_status check_record(const rl_value *fields, uint32_t n)
{
  if (n == 0) return rl_fail(RL_EINVAL, "a record without a value");
  if (n > RL_MAX_FIELDS) return rl_fail(RL_ELIMIT, "a record of %" PRIu32 " values, more than %d", n, RL_MAX_FIELDS);
  if (fields[0].type == RL_T_NIL) return rl_fail(RL_EINVAL, "the first value of a record is nil");
  for (uint32_t i = 0; i < n; i++) {
    if (fields[i].type >= RL_T_BYTES && fields[i].s.n > RL_CODEC_MAX_BYTES) {
      return rl_fail(RL_ELIMIT, "a value of %zu bytes, more than %" PRIu64, fields[i].s.n, RL_CODEC_MAX_BYTES);
    }
  }
  return RL_OK;
}

rl_status rl_builder_add(rl_builder *b, const rl_value *fields, uint32_t n)
{
  rl_status st = check_record(fields, n);
  if (st == RL_OK) st = begin_row(b, n);
  for (uint32_t i = 0; i < n && st == RL_OK; i++) st = add_value(b, &b->cols[i], &fields[i]);
  if (st != RL_OK) return abandon_row(b, st);
  commit_row(b, n);
  return RL_OK;
}

static rl_status add_field(rl_builder *b, column *k, const rl_chunk *from, uint32_t col, uint32_t row)
{
  const rl_column *c = &from->cols[col];
  if (c->type == k->c.type && !rl_column_is_nil(c, row)) return add_same(b, k, c, row);
  rl_value v = rl_chunk_get(from, col, row);
  return add_value(b, k, &v);
}

rl_status rl_builder_add_row(rl_builder *b, const rl_chunk *from, uint32_t row)
{
  uint32_t n = rl_chunk_arity(from, row);
  rl_status st = begin_row(b, n);
  for (uint32_t i = 0; i < n && st == RL_OK; i++) st = add_field(b, &b->cols[i], from, i, row);
  if (st != RL_OK) return abandon_row(b, st);
  commit_row(b, n);
  return RL_OK;
}

/* Finishing. */

static bool is_wasteful(size_t n, size_t cap)
{
  return cap - n > n / 8 + 64;
}

/* Moves the column's arrays into the chunk. */
static void hand_over(rl_builder *b, column *k, rl_column *to)
{
  rl_column *c = &k->c;
  if (c->data) {
    k->data_hint = c->data->n < RL_CHUNK_BYTES ? c->data->n + c->data->n / 8 : RL_CHUNK_BYTES;
    if (is_wasteful(c->data->n, c->data->cap)) resize_data(&c->data, c->data->n);
  }
  if (c->type != RL_COL_NIL && is_wasteful(b->n, b->cap)) {
    rl_column_set_array(c, rl_realloc(rl_column_array(c), b->n * rl_column_width(c->type)));
  }
  *to = *c;
  *c = (rl_column){.type = RL_COL_NIL};
}

rl_chunk *rl_builder_finish(rl_builder *b)
{
  if (b->n == 0) return NULL;
  rl_chunk *c = rl_chunk_new(b->n, b->ncols);
  for (uint32_t i = 0; i < b->ncols; i++) hand_over(b, &b->cols[i], &c->cols[i]);
  c->arity = b->arity;
  b->arity = NULL;
  b->row_hint = b->n < RL_CHUNK_RECORDS ? b->n : RL_CHUNK_RECORDS;
  b->n = b->cap = b->ncols = 0;
  b->bytes = 0;
  return rl_chunk_seal(c);
}
