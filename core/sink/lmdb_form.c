#include "sink/lmdb_form.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"

#define NUMBER_ROOM 40
#define SHOWN 60

/* As Lua writes it, with more digits where those are needed to read the same float again. */
static int write_float(double f, char room[NUMBER_ROOM])
{
  int n = snprintf(room, NUMBER_ROOM, "%.14g", f);
  if (isfinite(f) && strtod(room, NULL) != f) n = snprintf(room, NUMBER_ROOM, "%.17g", f);
  if (room[strspn(room, "-0123456789")] == '\0') n += snprintf(room + n, NUMBER_ROOM - (size_t)n, ".0");
  return n;
}

static int write_int(int64_t i, char room[NUMBER_ROOM])
{
  return snprintf(room, NUMBER_ROOM, "%" PRId64, i);
}

static const char *type_name(rl_type type)
{
  static const char *const names[] = {[RL_T_NIL] = "nil",         [RL_T_NULL] = "null",   [RL_T_BOOL] = "a boolean",
                                      [RL_T_INT] = "a number",    [RL_T_FLOAT] = "a number", [RL_T_BYTES] = "a string",
                                      [RL_T_TUPLE] = "a tuple",   [RL_T_TABLE] = "a table"};
  return names[type];
}

static rl_status put_text(rl_value v, rl_buf *out)
{
  char room[NUMBER_ROOM];
  switch (v.type) {
  case RL_T_BYTES: rl_buf_add(out, v.s.p, v.s.n); return RL_OK;
  case RL_T_BOOL: rl_buf_puts(out, v.b ? "true" : "false"); return RL_OK;
  case RL_T_INT: rl_buf_add(out, room, (size_t)write_int(v.i, room)); return RL_OK;
  case RL_T_FLOAT: rl_buf_add(out, room, (size_t)write_float(v.f, room)); return RL_OK;
  default:
    return rl_fail(RL_EINVAL, "it is %s, which has no text form; make a string of it, or choose the format 'binary'",
                   type_name(v.type));
  }
}

rl_status rl_lmdb_put_key(rl_lmdb_format format, rl_value key, rl_buf *out)
{
  rl_buf scratch = {0};
  rl_status st = rl_key_read(&key, &scratch);
  if (st == RL_OK && format == RL_LMDB_TEXT) st = put_text(key, out);
  else if (st == RL_OK) rl_put_value(out, key);
  rl_buf_free(&scratch);
  return st;
}

rl_status rl_lmdb_put_value(rl_lmdb_format format, rl_value value, rl_buf *out)
{
  if (format == RL_LMDB_TEXT) return put_text(value, out);
  rl_put_value(out, value);
  return RL_OK;
}

static rl_status get_binary(const char *p, size_t n, rl_value *v)
{
  rl_reader r = {p, p + n};
  rl_status st = rl_get_value(&r, v);
  if (st == RL_OK && r.p != r.end) return rl_fail(RL_EDATA, "%zu bytes too many", (size_t)(r.end - r.p));
  return st;
}

rl_status rl_lmdb_get_key(rl_lmdb_format format, const char *p, size_t n, rl_value *key)
{
  if (format == RL_LMDB_BINARY) return get_binary(p, n, key);
  *key = rl_str(p, n);
  return RL_OK;
}

/* A number only if exactly these bytes are written for it: so bytes never change on the way through a job. */
static bool read_number(const char *p, size_t n, rl_value *v)
{
  char text[NUMBER_ROOM], again[NUMBER_ROOM], *end;
  if (n == 0 || n >= sizeof text || !strchr("-0123456789", p[0])) return false;
  memcpy(text, p, n);
  text[n] = '\0';
  errno = 0;
  *v = rl_int(strtoll(text, &end, 10));
  if (errno != 0 || *end != '\0') {
    *v = rl_float(strtod(text, &end));
    return *end == '\0' && isfinite(v->f) && (size_t)write_float(v->f, again) == n && memcmp(again, p, n) == 0;
  }
  return (size_t)write_int(v->i, again) == n && memcmp(again, p, n) == 0;
}

rl_status rl_lmdb_get_value(rl_lmdb_format format, const char *p, size_t n, rl_value *value)
{
  if (format == RL_LMDB_BINARY) return get_binary(p, n, value);
  if (!read_number(p, n, value)) *value = rl_str(p, n);
  return RL_OK;
}

void rl_lmdb_show(rl_value v, rl_buf *out)
{
  rl_buf text = {0};
  rl_value_format(v, &text);
  rl_buf_add(out, text.p, text.n < SHOWN ? text.n : SHOWN);
  if (text.n > SHOWN) rl_buf_puts(out, "...");
  rl_buf_free(&text);
}
