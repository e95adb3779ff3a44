/* Chunks: a few thousand records as typed columns; immutable, counted, the unit in which everything moves.
 *
 * A record is a tuple of 1 to RL_MAX_FIELDS values. Column c holds the c-th values of all records. Arity is kept per
 * record: a nil field is not an absent field. The first value of a record is never nil.
 *
 * A bytes column is a row of spans (offset, length) over one counted buffer. So a block of received text is a column
 * over the very bytes that came from the socket, with the line ends between the spans (docs/decisions/003 says why not
 * plain Arrow offsets). */
#ifndef RL_DATA_CHUNK_H
#define RL_DATA_CHUNK_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"
#include "data/value.h"

#define RL_MAX_FIELDS 250
#define RL_CHUNK_RECORDS 4096            /* builders are finished at this many records ... */
#define RL_CHUNK_BYTES (UINT64_C(1) << 20) /* ... or this many bytes, whichever comes first */

typedef enum rl_coltype { RL_COL_NIL, RL_COL_INT, RL_COL_FLOAT, RL_COL_BOOL, RL_COL_BYTES, RL_COL_MIXED } rl_coltype;

typedef struct rl_span {
  uint32_t at, n;
} rl_span;

typedef struct rl_column {
  rl_coltype type;
  uint8_t *nulls; /* bit i set: value i is nil or absent; NULL: none is. (RL_COL_NIL: all are, and the rest is NULL) */
  union {
    int64_t *i;
    double *f;
    uint8_t *b;
    rl_span *s; /* BYTES: the bytes; MIXED: one encoded value each */
  };
  rl_bytes *data; /* BYTES, MIXED: what the spans point into; one reference held */
} rl_column;

typedef struct rl_chunk {
  _Atomic uint32_t refs;
  uint32_t n;       /* records */
  uint32_t ncols;   /* largest arity */
  uint8_t *arity;   /* of each record; NULL: all have ncols */
  rl_column *cols;
  size_t bytes;     /* what it counts for in memory budgets (shared buffers by the part its spans cover) */
} rl_chunk;

rl_chunk *rl_chunk_ref(rl_chunk *c);
void rl_chunk_unref(rl_chunk *c); /* NULL is allowed */

static inline uint32_t rl_chunk_arity(const rl_chunk *c, uint32_t row) { return c->arity ? c->arity[row] : c->ncols; }
static inline bool rl_column_is_nil(const rl_column *c, uint32_t row)
{
  return c->type == RL_COL_NIL || (c->nulls && (c->nulls[row >> 3] >> (row & 7) & 1));
}

/* Nil when absent; a view, valid while the chunk is held. */
rl_value rl_chunk_get(const rl_chunk *c, uint32_t col, uint32_t row);

/* One bytes column over `data`, a record a span; takes over `spans` (rl_alloc'd), references `data`. */
rl_chunk *rl_chunk_from_spans(rl_bytes *data, rl_span *spans, uint32_t n);

/* Records [from, from + n): a new chunk. Copies, so that a small slice does not hold a large buffer, unless it is most
 * of the chunk. */
rl_chunk *rl_chunk_slice(rl_chunk *c, uint32_t from, uint32_t n);

/* A record's text: one value as rl_value_format, several as (a,b,...). */
void rl_chunk_format(const rl_chunk *c, uint32_t row, rl_buf *out);

/* Whole chunk <-> bytes. Layout: 'R' 'C', version, varint n, then each record: varint arity, its values; xxh3-64 of all
 * before it, 8 bytes little endian. rl_chunk_decode checks everything and reads exactly one chunk from the reader. */
void rl_chunk_encode(const rl_chunk *c, rl_buf *out);
struct rl_reader;
rl_status rl_chunk_decode(struct rl_reader *r, rl_chunk **out);

/* Builder: append records, take a chunk. One owner. Columns take the type of their first non-nil value and become MIXED
 * at the first that differs. */
typedef struct rl_builder rl_builder;

rl_builder *rl_builder_new(void);
void rl_builder_delete(rl_builder *b);
/* Appends a record of n fields (copied). RL_EINVAL for n == 0, RL_ELIMIT for n > RL_MAX_FIELDS or a value over
 * RL_CODEC_MAX_BYTES, RL_EINVAL when the first is nil. */
rl_status rl_builder_add(rl_builder *b, const rl_value *fields, uint32_t n);
rl_status rl_builder_add_row(rl_builder *b, const rl_chunk *from, uint32_t row); /* copies a record of another chunk */
uint32_t rl_builder_count(const rl_builder *b);
size_t rl_builder_bytes(const rl_builder *b);
bool rl_builder_full(const rl_builder *b); /* RL_CHUNK_RECORDS or RL_CHUNK_BYTES reached */
/* NULL when empty; the builder is empty again and keeps its memory's size as a hint. */
rl_chunk *rl_builder_finish(rl_builder *b);

/* A list of chunks, in order; {0} is empty. Each entry holds a reference. */
typedef struct rl_chunks {
  rl_chunk **v;
  size_t n, cap;
} rl_chunks;

void rl_chunks_add(rl_chunks *l, rl_chunk *c); /* takes over the reference */
void rl_chunks_clear(rl_chunks *l);            /* unrefs all and frees */
uint64_t rl_chunks_records(const rl_chunks *l);
size_t rl_chunks_bytes(const rl_chunks *l);

#endif
