#include "data/value.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "data/codec.h"

/* Order. */

static int sign(bool less, bool greater)
{
  return (int)greater - (int)less;
}

/* Exact: no rounding of the integer. Equal by value: the integer comes first, so never 0. */
static int compare_int_float(int64_t i, double f)
{
  if (isnan(f) || f >= 0x1p63) return -1;
  if (f < -0x1p63) return 1;
  int64_t whole = (int64_t)f; /* towards zero */
  if (i != whole) return i < whole ? -1 : 1;
  return f < (double)whole ? 1 : -1;
}

static int compare_float(double a, double b)
{
  if (isnan(a) || isnan(b)) return sign(!isnan(a), !isnan(b));
  return sign(a < b, a > b);
}

static int compare_numbers(const rl_value *a, const rl_value *b)
{
  if (a->type == RL_T_INT) return b->type == RL_T_INT ? sign(a->i < b->i, a->i > b->i) : compare_int_float(a->i, b->f);
  return b->type == RL_T_INT ? -compare_int_float(b->i, a->f) : compare_float(a->f, b->f);
}

static int compare_bytes(const char *a, size_t an, const char *b, size_t bn)
{
  size_t n = an < bn ? an : bn;
  int c = n > 0 ? memcmp(a, b, n) : 0;
  return c != 0 ? c : sign(an < bn, an > bn);
}

/* Place of a type in the total order; both kinds of numbers share one. */
static int rank(rl_type t)
{
  return t == RL_T_FLOAT ? RL_T_INT : (int)t;
}

static int compare_scalars(const rl_value *a, const rl_value *b)
{
  int ra = rank(a->type), rb = rank(b->type);
  if (ra != rb) return sign(ra < rb, ra > rb);
  switch (a->type) {
  case RL_T_BOOL: return sign(a->b < b->b, a->b > b->b);
  case RL_T_INT:
  case RL_T_FLOAT: return compare_numbers(a, b);
  case RL_T_BYTES: return compare_bytes(a->s.p, a->s.n, b->s.p, b->s.n);
  default: return 0;
  }
}

/* The next encoded value: a scalar whole; of a composite its type, with the reader behind the tag. False at the end. */
static bool read_head(rl_reader *r, rl_value *v)
{
  if (r->p == r->end) return false;
  if (*r->p == RL_TAG_TUPLE || *r->p == RL_TAG_TABLE) {
    *v = (rl_value){.type = *r->p++ == RL_TAG_TUPLE ? RL_T_TUPLE : RL_T_TABLE};
    return true;
  }
  return rl_get_value(r, v) == RL_OK;
}

static int compare_encoded(rl_reader *a, rl_reader *b, int depth);

/* Two counted rows of values, each of `width` items (pairs have two). */
static int compare_rows(rl_reader *a, rl_reader *b, uint64_t width, int depth)
{
  uint64_t an = 0, bn = 0;
  if (rl_get_varint(a, &an) != RL_OK || rl_get_varint(b, &bn) != RL_OK) return 0;
  uint64_t n = (an < bn ? an : bn) * width;
  int c = 0;
  for (uint64_t i = 0; i < n && c == 0 && a->p < a->end; i++) c = compare_encoded(a, b, depth);
  return c != 0 ? c : sign(an < bn, an > bn);
}

/* Compares and moves both readers behind what was equal. Encoded values were checked when they were made; none is
 * deeper than the codec allows, the limit only bounds the recursion. */
static int compare_encoded(rl_reader *a, rl_reader *b, int depth)
{
  if (depth > RL_CODEC_MAX_DEPTH) return 0;
  rl_value x, y;
  bool has_a = read_head(a, &x), has_b = read_head(b, &y);
  if (!has_a || !has_b) return sign(!has_a && has_b, has_a && !has_b);
  if (x.type != y.type || x.type < RL_T_TUPLE) return compare_scalars(&x, &y);
  int c = compare_rows(a, b, 1, depth + 1);
  if (c == 0 && x.type == RL_T_TABLE) c = compare_rows(a, b, 2, depth + 1);
  return c;
}

static bool same_bytes(const rl_value *a, const rl_value *b)
{
  return a->s.n == b->s.n && (a->s.n == 0 || memcmp(a->s.p, b->s.p, a->s.n) == 0);
}

int rl_value_compare(rl_value a, rl_value b)
{
  if (a.type != b.type || a.type < RL_T_TUPLE) return compare_scalars(&a, &b);
  if (same_bytes(&a, &b)) return 0;
  rl_reader ra = {a.s.p, a.s.p + a.s.n}, rb = {b.s.p, b.s.p + b.s.n};
  return compare_encoded(&ra, &rb, 0);
}

bool rl_value_equal(rl_value a, rl_value b)
{
  if (a.type != b.type) return false;
  return a.type == RL_T_BYTES ? same_bytes(&a, &b) : rl_value_compare(a, b) == 0;
}

/* Keys. */

/* Lua's rule for float keys: whole and within the integers. -0.0 becomes 0. */
static bool float_to_int(double f, int64_t *i)
{
  if (!(f >= -0x1p63 && f < 0x1p63) || f != floor(f)) return false;
  *i = (int64_t)f;
  return true;
}

static void put_normal_scalar(rl_buf *out, rl_value v)
{
  int64_t i;
  if (v.type == RL_T_FLOAT && float_to_int(v.f, &i)) v = rl_int(i);
  else if (v.type == RL_T_FLOAT && isnan(v.f)) v.f = (double)NAN; /* one NaN: inside keys, NaN equals NaN */
  rl_put_value(out, v);
}

static rl_status normalise_encoded(rl_reader *r, rl_buf *out, int depth);

static rl_status normalise_row(rl_reader *r, rl_buf *out, uint64_t width, int depth)
{
  uint64_t n;
  rl_status st = rl_get_varint(r, &n);
  if (st == RL_OK) rl_put_varint(out, n);
  for (uint64_t i = 0; st == RL_OK && i < n; i++) {
    for (uint64_t k = 0; st == RL_OK && k < width; k++) st = normalise_encoded(r, out, depth);
  }
  return st;
}

/* Table keys are normal already, so their order stays. */
static rl_status normalise_encoded(rl_reader *r, rl_buf *out, int depth)
{
  if (depth > RL_CODEC_MAX_DEPTH) return rl_fail(RL_ELIMIT, "key is nested deeper than %d levels", RL_CODEC_MAX_DEPTH);
  rl_value v;
  if (!read_head(r, &v)) return rl_fail(RL_EDATA, "malformed key");
  if (v.type < RL_T_TUPLE) {
    put_normal_scalar(out, v);
    return RL_OK;
  }
  rl_buf_putc(out, v.type == RL_T_TUPLE ? RL_TAG_TUPLE : RL_TAG_TABLE);
  rl_status st = normalise_row(r, out, 1, depth + 1);
  if (st == RL_OK && v.type == RL_T_TABLE) st = normalise_row(r, out, 2, depth + 1);
  return st;
}

static rl_status normalise_composite(rl_value *v, rl_buf *scratch)
{
  rl_buf_clear(scratch);
  rl_buf_reserve(scratch, v->s.n);
  rl_reader r = {v->s.p, v->s.p + v->s.n};
  rl_status st = normalise_encoded(&r, scratch, 0);
  if (st != RL_OK) return st;
  rl_value normal = {.type = v->type, .s = {scratch->p, scratch->n}};
  if (!same_bytes(v, &normal)) *v = normal;
  return RL_OK;
}

rl_status rl_key_read(rl_value *v, rl_buf *scratch)
{
  if (rl_key_normalise(v, scratch) == RL_OK) return RL_OK;
  rl_error why;
  rl_error_take(&why);
  rl_status st = rl_fail(why.code, "a %s; leave such records out with filter before it, or give them another key",
                         why.message);
  rl_error_clear(&why);
  return st;
}

rl_status rl_key_normalise(rl_value *v, rl_buf *scratch)
{
  int64_t i;
  switch (v->type) {
  case RL_T_NIL: return rl_fail(RL_EINVAL, "key is nil");
  case RL_T_FLOAT:
    if (isnan(v->f)) return rl_fail(RL_EINVAL, "key is NaN");
    if (float_to_int(v->f, &i)) *v = rl_int(i);
    return RL_OK;
  case RL_T_TUPLE:
  case RL_T_TABLE: return normalise_composite(v, scratch);
  default: return RL_OK;
  }
}

uint64_t rl_key_hash(rl_value v)
{
  uint64_t bits = 0;
  switch (v.type) {
  case RL_T_BYTES: return rl_hash_bytes(v.s.p, v.s.n, RL_HASH_SEED);
  case RL_T_TUPLE:
  case RL_T_TABLE: return rl_hash_bytes(v.s.p, v.s.n, RL_HASH_SEED ^ (uint64_t)v.type);
  case RL_T_INT: return rl_hash_u64((uint64_t)v.i, RL_HASH_SEED);
  case RL_T_FLOAT: memcpy(&bits, &v.f, sizeof bits); break;
  case RL_T_BOOL: bits = v.b; break;
  default: break;
  }
  return rl_hash_u64(bits, RL_HASH_SEED + (uint64_t)v.type * UINT64_C(0x9e3779b97f4a7c15));
}

bool rl_key_equal(rl_value a, rl_value b)
{
  if (a.type != b.type) return false;
  switch (a.type) {
  case RL_T_INT: return a.i == b.i;
  case RL_T_FLOAT: return a.f == b.f;
  case RL_T_BOOL: return a.b == b.b;
  case RL_T_BYTES:
  case RL_T_TUPLE:
  case RL_T_TABLE: return same_bytes(&a, &b);
  default: return true;
  }
}

/* Text. */

static void format_float(double f, rl_buf *out)
{
  char s[32];
  int n = snprintf(s, sizeof s, "%.14g", f);
  rl_buf_add(out, s, (size_t)n);
  if (s[strspn(s, "-0123456789")] == '\0') rl_buf_puts(out, ".0");
}

static void format_int(int64_t i, rl_buf *out)
{
  char s[20];
  size_t at = sizeof s;
  uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
  do {
    s[--at] = (char)('0' + u % 10);
    u /= 10;
  } while (u > 0);
  if (i < 0) s[--at] = '-';
  rl_buf_add(out, s + at, sizeof s - at);
}

static void format_scalar(const rl_value *v, rl_buf *out)
{
  switch (v->type) {
  case RL_T_NULL: rl_buf_puts(out, "null"); break;
  case RL_T_BOOL: rl_buf_puts(out, v->b ? "true" : "false"); break;
  case RL_T_INT: format_int(v->i, out); break;
  case RL_T_FLOAT: format_float(v->f, out); break;
  case RL_T_BYTES: rl_buf_add(out, v->s.p, v->s.n); break;
  default: rl_buf_puts(out, "nil"); break;
  }
}

static bool format_encoded(rl_reader *r, rl_buf *out, int depth);

/* One counted row: "a,b" or, of pairs, "k=v,k=v"; with a comma in front when something stands before it. */
static bool format_row(rl_reader *r, rl_buf *out, bool pairs, bool *first, int depth)
{
  uint64_t n;
  if (rl_get_varint(r, &n) != RL_OK) return false;
  for (uint64_t i = 0; i < n; i++) {
    if (!*first) rl_buf_putc(out, ',');
    *first = false;
    if (!format_encoded(r, out, depth)) return false;
    if (!pairs) continue;
    rl_buf_putc(out, '=');
    if (!format_encoded(r, out, depth)) return false;
  }
  return true;
}

static bool format_encoded(rl_reader *r, rl_buf *out, int depth)
{
  rl_value v;
  if (depth > RL_CODEC_MAX_DEPTH || !read_head(r, &v)) return false;
  if (v.type < RL_T_TUPLE) {
    format_scalar(&v, out);
    return true;
  }
  bool table = v.type == RL_T_TABLE, first = true;
  rl_buf_putc(out, table ? '{' : '(');
  bool whole = format_row(r, out, false, &first, depth + 1) && (!table || format_row(r, out, true, &first, depth + 1));
  rl_buf_putc(out, table ? '}' : ')');
  return whole;
}

void rl_value_format(rl_value v, rl_buf *out)
{
  if (v.type < RL_T_TUPLE) {
    format_scalar(&v, out);
    return;
  }
  rl_reader r = {v.s.p, v.s.p + v.s.n};
  if (!format_encoded(&r, out, 0)) rl_buf_puts(out, "...");
}
