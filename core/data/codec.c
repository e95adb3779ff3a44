#include "data/codec.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Writing. */

void rl_put_varint(rl_buf *b, uint64_t x)
{
  char bytes[10];
  size_t n = 0;
  for (; x >= 0x80; x >>= 7) bytes[n++] = (char)(0x80 | (x & 0x7f));
  bytes[n++] = (char)x;
  rl_buf_add(b, bytes, n);
}

void rl_put_int(rl_buf *b, int64_t x)
{
  rl_buf_putc(b, RL_TAG_INT);
  rl_put_varint(b, ((uint64_t)x << 1) ^ (x < 0 ? UINT64_MAX : 0));
}

void rl_put_float(rl_buf *b, double x)
{
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  char bytes[9] = {RL_TAG_FLOAT};
  for (int i = 0; i < 8; i++) bytes[1 + i] = (char)(bits >> (8 * i) & 0xff);
  rl_buf_add(b, bytes, sizeof bytes);
}

void rl_put_bytes(rl_buf *b, const char *p, size_t n)
{
  rl_buf_putc(b, RL_TAG_BYTES);
  rl_put_varint(b, n);
  rl_buf_add(b, p, n);
}

void rl_put_tuple(rl_buf *b, uint64_t fields)
{
  rl_buf_putc(b, RL_TAG_TUPLE);
  rl_put_varint(b, fields);
}

void rl_put_table(rl_buf *b, uint64_t array_length)
{
  rl_buf_putc(b, RL_TAG_TABLE);
  rl_put_varint(b, array_length);
}

void rl_put_value(rl_buf *b, rl_value v)
{
  switch (v.type) {
  case RL_T_NIL: rl_buf_putc(b, RL_TAG_NIL); break;
  case RL_T_NULL: rl_buf_putc(b, RL_TAG_NULL); break;
  case RL_T_BOOL: rl_buf_putc(b, v.b ? RL_TAG_TRUE : RL_TAG_FALSE); break;
  case RL_T_INT: rl_put_int(b, v.i); break;
  case RL_T_FLOAT: rl_put_float(b, v.f); break;
  case RL_T_BYTES: rl_put_bytes(b, v.s.p, v.s.n); break;
  case RL_T_TUPLE:
  case RL_T_TABLE: rl_buf_add(b, v.s.p, v.s.n); break;
  }
}

/* Reading. Every value has one encoding only: longer forms of varints, unsorted tables and the like are malformed. */

static size_t left(const rl_reader *r)
{
  return (size_t)(r->end - r->p);
}

static rl_status cut_short(void)
{
  return rl_fail(RL_EDATA, "malformed value: cut short");
}

rl_status rl_get_varint(rl_reader *r, uint64_t *x)
{
  uint64_t value = 0;
  for (const char *p = r->p; p < r->end; p++) {
    size_t at = (size_t)(p - r->p);
    uint8_t byte = (uint8_t)*p;
    if (at == 9 && byte > 1) return rl_fail(RL_EDATA, "malformed value: a number of more than 64 bits");
    value |= (uint64_t)(byte & 0x7f) << (7 * at);
    if (byte & 0x80) continue;
    if (byte == 0 && at > 0) return rl_fail(RL_EDATA, "malformed value: a number with superfluous bytes");
    r->p = p + 1;
    *x = value;
    return RL_OK;
  }
  return cut_short();
}

/* A count of things that take at least `each` bytes. */
static rl_status get_count(rl_reader *r, size_t each, uint64_t *n)
{
  rl_status st = rl_get_varint(r, n);
  if (st == RL_OK && *n > left(r) / each) st = cut_short();
  return st;
}

static rl_status get_int(rl_reader *r, rl_value *v)
{
  uint64_t x;
  rl_status st = rl_get_varint(r, &x);
  if (st == RL_OK) *v = rl_int((int64_t)(x >> 1) ^ -(int64_t)(x & 1));
  return st;
}

static rl_status get_float(rl_reader *r, rl_value *v)
{
  if (left(r) < 8) return cut_short();
  uint64_t bits = 0;
  for (int i = 0; i < 8; i++) bits |= (uint64_t)(uint8_t)r->p[i] << (8 * i);
  double f;
  memcpy(&f, &bits, sizeof f);
  r->p += 8;
  *v = rl_float(f);
  return RL_OK;
}

static rl_status get_bytes(rl_reader *r, rl_value *v)
{
  uint64_t n;
  rl_status st = rl_get_varint(r, &n);
  if (st != RL_OK) return st;
  if (n > RL_CODEC_MAX_BYTES) return rl_fail(RL_EDATA, "malformed value: a string of %" PRIu64 " bytes", n);
  if (n > left(r)) return cut_short();
  *v = rl_str(r->p, (size_t)n);
  r->p += n;
  return RL_OK;
}

/* Keys are equal when their bytes are: inside them there is one NaN, and no float that an integer could stand for. */
static bool is_key_float(double f)
{
  uint64_t bits;
  memcpy(&bits, &f, sizeof bits);
  if (isnan(f)) return bits == UINT64_C(0x7ff8000000000000);
  return !(f == floor(f) && f >= -0x1p63 && f < 0x1p63);
}

static rl_status get_nested(rl_reader *r, rl_value *v, int depth, bool in_key);

static rl_status skip_values(rl_reader *r, uint64_t n, int depth, bool in_key, bool nil_allowed)
{
  for (uint64_t i = 0; i < n; i++) {
    rl_value v;
    rl_status st = get_nested(r, &v, depth, in_key);
    if (st != RL_OK) return st;
    if (v.type == RL_T_NIL && !nil_allowed) return rl_fail(RL_EDATA, "malformed value: nil in a table");
  }
  return RL_OK;
}

static rl_status check_pair_key(const rl_value *key, uint64_t array)
{
  if (key->type == RL_T_NIL) return rl_fail(RL_EDATA, "malformed value: a table key is nil");
  if (key->type == RL_T_FLOAT && isnan(key->f)) return rl_fail(RL_EDATA, "malformed value: a table key is NaN");
  if (key->type == RL_T_INT && key->i >= 1 && (uint64_t)key->i <= array + 1) {
    return rl_fail(RL_EDATA, "malformed value: key %" PRId64 " belongs to the table's array part", key->i);
  }
  return RL_OK;
}

static rl_status skip_pairs(rl_reader *r, uint64_t array, int depth, bool in_key)
{
  uint64_t n;
  rl_status st = get_count(r, 2, &n);
  rl_value last = rl_nil();
  for (uint64_t i = 0; i < n && st == RL_OK; i++) {
    rl_value key;
    st = get_nested(r, &key, depth, true);
    if (st == RL_OK) st = check_pair_key(&key, array);
    if (st != RL_OK) return st;
    if (rl_value_compare(last, key) >= 0) return rl_fail(RL_EDATA, "malformed value: table keys out of order");
    st = skip_values(r, 1, depth, in_key, false);
    last = key;
  }
  return st;
}

static rl_status skip_composite(rl_reader *r, char tag, int depth, bool in_key)
{
  if (depth >= RL_CODEC_MAX_DEPTH) {
    return rl_fail(RL_EDATA, "malformed value: nested deeper than %d levels", RL_CODEC_MAX_DEPTH);
  }
  uint64_t n;
  rl_status st = get_count(r, 1, &n);
  if (st == RL_OK) st = skip_values(r, n, depth + 1, in_key, tag == RL_TAG_TUPLE);
  if (st == RL_OK && tag == RL_TAG_TABLE) st = skip_pairs(r, n, depth + 1, in_key);
  return st;
}

static rl_status get_composite(rl_reader *r, rl_value *v, int depth, bool in_key)
{
  const char *start = r->p - 1;
  char tag = *start;
  rl_status st = skip_composite(r, tag, depth, in_key);
  if (st != RL_OK) return st;
  size_t n = (size_t)(r->p - start);
  if (n > RL_CODEC_MAX_BYTES) return rl_fail(RL_EDATA, "malformed value: a composite of %zu bytes", n);
  *v = (rl_value){.type = tag == RL_TAG_TUPLE ? RL_T_TUPLE : RL_T_TABLE, .s = {start, n}};
  return RL_OK;
}

static rl_status get_key_float(rl_reader *r, rl_value *v, bool in_key)
{
  rl_status st = get_float(r, v);
  if (st == RL_OK && in_key && !is_key_float(v->f)) st = rl_fail(RL_EDATA, "malformed value: a key not normalised");
  return st;
}

/* depth: of the composites around it; at most RL_CODEC_MAX_DEPTH, so the recursion is bounded. */
static rl_status get_nested(rl_reader *r, rl_value *v, int depth, bool in_key)
{
  *v = rl_nil();
  if (r->p == r->end) return cut_short();
  switch (*r->p++) {
  case RL_TAG_NIL: return RL_OK;
  case RL_TAG_NULL: *v = rl_null(); return RL_OK;
  case RL_TAG_FALSE: *v = rl_bool(false); return RL_OK;
  case RL_TAG_TRUE: *v = rl_bool(true); return RL_OK;
  case RL_TAG_INT: return get_int(r, v);
  case RL_TAG_FLOAT: return get_key_float(r, v, in_key);
  case RL_TAG_BYTES: return get_bytes(r, v);
  case RL_TAG_TUPLE:
  case RL_TAG_TABLE: return get_composite(r, v, depth, in_key);
  default: r->p--; return rl_fail(RL_EDATA, "malformed value: unknown tag %u", (unsigned)(uint8_t)*r->p);
  }
}

rl_status rl_get_value(rl_reader *r, rl_value *v)
{
  return get_nested(r, v, 0, false);
}

static rl_status open_composite(rl_value v, char tag, rl_reader *r, uint64_t *n)
{
  *r = (rl_reader){v.s.p, v.s.p + v.s.n};
  if (v.s.n == 0 || *r->p != tag) {
    return rl_fail(RL_EDATA, "malformed value: not a %s", tag == RL_TAG_TUPLE ? "tuple" : "table");
  }
  r->p++;
  return get_count(r, 1, n);
}

rl_status rl_walk_tuple(rl_value v, rl_reader *r, uint64_t *count)
{
  return open_composite(v, RL_TAG_TUPLE, r, count);
}

rl_status rl_walk_table(rl_value v, rl_reader *r, uint64_t *array)
{
  return open_composite(v, RL_TAG_TABLE, r, array);
}

rl_status rl_walk_pairs(rl_reader *r, uint64_t *pairs)
{
  return get_count(r, 2, pairs);
}
