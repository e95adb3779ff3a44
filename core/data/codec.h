/* The codec: one self-describing binary form of values, for blocks, spill, log, checkpoint and Kafka payloads.
 *
 * A value is a tag byte and what it needs:
 *   00 nil   01 null   02 false   03 true
 *   04 int: zigzag LEB128 varint        05 float: 8 bytes, little endian IEEE 754
 *   06 bytes: varint length, the bytes
 *   07 tuple: varint count, the fields (a nil field is tag 00)
 *   08 table: varint array length a, values at 1..a (never nil); varint pair count, (key, value) pairs sorted by
 * rl_value_compare of keys. The array part is the longest run 1..a without nil; keys are normalised (no float keys with
 * integer value), never nil or NaN; values never nil. So equal tables have equal bytes. Limits, checked in 64 bits in
 * both directions: depth RL_CODEC_MAX_DEPTH, RL_CODEC_MAX_BYTES for one value.
 *
 * A decoder never trusts lengths: each is checked against what is left. */
#ifndef RL_DATA_CODEC_H
#define RL_DATA_CODEC_H

#include "base/buf.h"
#include "base/status.h"
#include "data/value.h"

#define RL_CODEC_VERSION 1
#define RL_CODEC_MAX_DEPTH 100
#define RL_CODEC_MAX_BYTES (UINT64_C(1) << 30)

enum {
  RL_TAG_NIL,
  RL_TAG_NULL,
  RL_TAG_FALSE,
  RL_TAG_TRUE,
  RL_TAG_INT,
  RL_TAG_FLOAT,
  RL_TAG_BYTES,
  RL_TAG_TUPLE,
  RL_TAG_TABLE
};

/* Writing. Composite values are written as a header followed by their parts with the same calls. */
void rl_put_varint(rl_buf *b, uint64_t x);
void rl_put_int(rl_buf *b, int64_t x); /* tag included, as in all that follow */
void rl_put_float(rl_buf *b, double x);
void rl_put_bytes(rl_buf *b, const char *p, size_t n);
void rl_put_tuple(rl_buf *b, uint64_t fields);
/* Then the array values, rl_put_varint(pairs), the pairs in order. */
void rl_put_table(rl_buf *b, uint64_t array_length);
void rl_put_value(rl_buf *b, rl_value v);            /* any value; composite ones are copied as they are */

/* Reading: a cursor over bytes. */
typedef struct rl_reader {
  const char *p, *end;
} rl_reader;

rl_status rl_get_varint(rl_reader *r, uint64_t *x);
/* The next value as a view into the reader's bytes. A composite is skipped over and checked as a whole (depth, order,
 * limits), and given as its encoded bytes. RL_EDATA with the reason when malformed; the reader is then where the fault
 * is. */
rl_status rl_get_value(rl_reader *r, rl_value *v);

/* Walking a composite that rl_get_value accepted: *count fields of a tuple, or *array and *pairs of a table; then
 * rl_get_value (for a table: the array values first, then rl_walk_pairs for the count, then key, value, ...). */
rl_status rl_walk_tuple(rl_value v, rl_reader *r, uint64_t *count);
rl_status rl_walk_table(rl_value v, rl_reader *r, uint64_t *array);
rl_status rl_walk_pairs(rl_reader *r, uint64_t *pairs);

#endif
