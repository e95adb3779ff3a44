#include "values.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/codec.h"

/* Lua -> values ---------------------------------------------------------------------------------------------------- */

/* A value on its way into codec form. A fault is noted where it is found; the levels above add the way to it as they
 * return. */
#define PATH_SHOWN 80 /* bytes of the way to a fault */

typedef struct encoder {
  lua_State *L;
  rl_buf *out;
  size_t start; /* of this value in `out` */
  int depth;
  const void *tables[RL_CODEC_MAX_DEPTH]; /* being written, outermost first */
  const char *fault;
  rl_buf path; /* ".callback[2]" */
} encoder;

static bool encode(encoder *e, int index);

static bool refuse(encoder *e, const char *fault)
{
  e->fault = fault;
  return false;
}

static bool is_name(const char *s, size_t n)
{
  if (n == 0 || n > 40 || (s[0] >= '0' && s[0] <= '9')) return false;
  for (size_t i = 0; i < n; i++) {
    char c = s[i];
    if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))) return false;
  }
  return true;
}

/* Puts the key at `index` in front of the way to the fault. */
static bool fault_below(encoder *e, int index)
{
  rl_buf path = {0};
  size_t n;
  if (lua_isinteger(e->L, index)) {
    rl_buf_printf(&path, "[%" PRId64 "]", (int64_t)lua_tointeger(e->L, index));
  } else if (lua_type(e->L, index) == LUA_TSTRING) {
    const char *s = lua_tolstring(e->L, index, &n);
    if (is_name(s, n))
      rl_buf_printf(&path, ".%.*s", (int)n, s);
    else
      rl_buf_printf(&path, "[\"%.*s\"]", (int)(n > 40 ? 40 : n), s);
  } else {
    rl_buf_printf(&path, "[a %s]", luaL_typename(e->L, index));
  }
  if (e->path.n > 0) rl_buf_add(&path, e->path.p, e->path.n);
  rl_buf_free(&e->path);
  e->path = path;
  return false;
}

static bool encode_tuple(encoder *e, int t)
{
  lua_State *L = e->L;
  lua_Integer n = rl_lua_tuple_count(L, t);
  if (n > RL_MAX_FIELDS) return refuse(e, "a tuple of more than 250 fields");
  rl_put_tuple(e->out, (uint64_t)n);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, t, i);
    bool ok = encode(e, lua_gettop(L));
    lua_pop(L, 1);
    if (!ok) {
      lua_pushinteger(L, i);
      fault_below(e, -1);
      lua_pop(L, 1);
      return false;
    }
  }
  return true;
}

static lua_Integer run_length(lua_State *L, int t)
{
  lua_Integer n = 0;
  while (lua_rawgeti(L, t, n + 1) != LUA_TNIL) {
    lua_pop(L, 1);
    n++;
  }
  lua_pop(L, 1);
  return n;
}

/* A (key, value) outside of the array part: where it lies in `out`. */
typedef struct pair {
  size_t at, n;
  rl_value key;
} pair;

typedef struct pairs {
  pair *v;
  size_t n, cap;
} pairs;

/* Keys inside composite keys are normalised too. */
static bool encode_key(encoder *e, int index)
{
  size_t at = e->out->n;
  if (!encode(e, index)) return false;
  rl_reader r = {e->out->p + at, e->out->p + e->out->n};
  rl_value key;
  rl_buf scratch = {0};
  if (rl_get_value(&r, &key) || rl_key_normalise(&key, &scratch)) {
    rl_buf_free(&scratch);
    return refuse(e, "a table key with nil or NaN in it");
  }
  if (scratch.n > 0) {
    e->out->n = at;
    rl_put_value(e->out, key);
  }
  rl_buf_free(&scratch);
  return true;
}

static bool encode_pairs_as_found(encoder *e, int t, lua_Integer array, pairs *found)
{
  lua_State *L = e->L;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    int key = lua_gettop(L) - 1;
    lua_Integer i = lua_isinteger(L, key) ? lua_tointeger(L, key) : 0;
    if (i < 1 || i > array) {
      found->v = rl_grow(found->v, &found->cap, found->n + 1, sizeof(pair));
      size_t at = e->out->n;
      if (!encode_key(e, key) || !encode(e, key + 1)) {
        fault_below(e, key);
        lua_pop(L, 2);
        return false;
      }
      found->v[found->n++] = (pair){.at = at, .n = e->out->n - at};
    }
    lua_pop(L, 1);
  }
  return true;
}

static int compare_pairs(const void *a, const void *b)
{
  return rl_value_compare(((const pair *)a)->key, ((const pair *)b)->key);
}

/* Brings the pairs at out[from..) into the order of their keys. */
static bool sort_pairs(encoder *e, size_t from, pairs *found)
{
  rl_buf copy = {0};
  rl_buf_add(&copy, e->out->p + from, e->out->n - from);
  for (size_t i = 0; i < found->n; i++) {
    pair *p = &found->v[i];
    p->at -= from;
    rl_reader r = {copy.p + p->at, copy.p + p->at + p->n};
    (void)rl_get_value(&r, &p->key); /* our own encoding */
  }
  qsort(found->v, found->n, sizeof(pair), compare_pairs);
  bool ok = true;
  e->out->n = from;
  for (size_t i = 0; i < found->n && ok; i++) {
    if (i > 0 && compare_pairs(&found->v[i - 1], &found->v[i]) == 0)
      ok = refuse(e, "a table with two keys of the same content");
    else
      rl_buf_add(e->out, copy.p + found->v[i].at, found->v[i].n);
  }
  rl_buf_free(&copy);
  return ok;
}

static bool encode_pairs(encoder *e, int t, lua_Integer array)
{
  pairs found = {0};
  size_t from = e->out->n;
  bool ok = encode_pairs_as_found(e, t, array, &found);
  if (ok) {
    /* The count goes in front, and is known only now. */
    rl_buf count = {0};
    rl_put_varint(&count, found.n);
    if (found.n > 0) {
      rl_buf_reserve(e->out, count.n);
      memmove(e->out->p + from + count.n, e->out->p + from, e->out->n - from);
      memcpy(e->out->p + from, count.p, count.n);
      e->out->n += count.n;
      for (size_t i = 0; i < found.n; i++) found.v[i].at += count.n;
    } else {
      rl_buf_add(e->out, count.p, count.n);
    }
    if (found.n > 1) ok = sort_pairs(e, from + count.n, &found);
    rl_buf_free(&count);
  }
  rl_free(found.v);
  return ok;
}

static bool encode_plain_table(encoder *e, int t)
{
  lua_State *L = e->L;
  lua_Integer array = run_length(L, t);
  rl_put_table(e->out, (uint64_t)array);
  for (lua_Integer i = 1; i <= array; i++) {
    lua_rawgeti(L, t, i);
    bool ok = encode(e, lua_gettop(L));
    lua_pop(L, 1);
    if (!ok) {
      lua_pushinteger(L, i);
      fault_below(e, -1);
      lua_pop(L, 1);
      return false;
    }
  }
  return encode_pairs(e, t, array);
}

static bool encode_table(encoder *e, int t)
{
  lua_State *L = e->L;
  if (e->depth == RL_CODEC_MAX_DEPTH || !lua_checkstack(L, 8)) return refuse(e, "a table nested more than 100 deep");
  const void *self = lua_topointer(L, t);
  for (int i = 0; i < e->depth; i++)
    if (e->tables[i] == self) return refuse(e, "a table that contains itself");
  bool tuple = rl_lua_is_tuple(L, t);
  if (!tuple && lua_getmetatable(L, t)) {
    lua_pop(L, 1);
    return refuse(e, "a table with a metatable");
  }
  e->tables[e->depth++] = self;
  bool ok = tuple ? encode_tuple(e, t) : encode_plain_table(e, t);
  e->depth--;
  return ok;
}

static const char *fault_of_type(lua_State *L, int index)
{
  switch (lua_type(L, index)) {
    case LUA_TFUNCTION: return "a function";
    case LUA_TTHREAD: return "a coroutine";
    default: return "a userdata";
  }
}

static rl_value scalar(lua_State *L, int index)
{
  size_t n;
  const char *s;
  switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: return rl_bool(lua_toboolean(L, index));
    case LUA_TNUMBER:
      return lua_isinteger(L, index) ? rl_int(lua_tointeger(L, index)) : rl_float(lua_tonumber(L, index));
    case LUA_TSTRING: s = lua_tolstring(L, index, &n); return rl_str(s, n);
    case LUA_TUSERDATA: return rl_null();
    default: return rl_nil();
  }
}

static bool is_scalar(lua_State *L, int index)
{
  switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING: return true;
    case LUA_TUSERDATA: return rl_lua_is_null(L, index);
    default: return false;
  }
}

static bool encode(encoder *e, int index)
{
  if (lua_istable(e->L, index)) {
    if (!encode_table(e, index)) return false;
  } else if (is_scalar(e->L, index)) {
    rl_put_value(e->out, scalar(e->L, index));
  } else {
    return refuse(e, fault_of_type(e->L, index));
  }
  return e->out->n - e->start <= RL_CODEC_MAX_BYTES || refuse(e, "a value of more than 1 GB");
}

/* As rl_lua_to_value, but a composite's place is given as its offset in scratch. `field` (from 1; 0: none) is for
 * the message. */
static rl_status to_value(lua_State *L, int index, int field, rl_value *v, rl_buf *scratch)
{
  if (is_scalar(L, index)) {
    *v = scalar(L, index);
    return RL_OK;
  }
  encoder e = {.L = L, .out = scratch, .start = scratch->n};
  if (encode(&e, index)) {
    v->type = rl_lua_is_tuple(L, index) ? RL_T_TUPLE : RL_T_TABLE;
    v->s.p = (const char *)(uintptr_t)e.start; /* NOLINT(performance-no-int-to-ptr): an offset, see settle */
    v->s.n = scratch->n - e.start;
    return RL_OK;
  }
  scratch->n = e.start;
  rl_buf where = {0};
  if (field > 0) rl_buf_printf(&where, "field %d", field);
  bool cut = e.path.n > PATH_SHOWN;
  if (e.path.n > 0)
    rl_buf_printf(&where, "%s%.*s%s", where.n ? ", " : "", (int)(cut ? PATH_SHOWN : e.path.n), e.path.p,
                  cut ? "..." : "");
  if (where.n > 0)
    rl_fail(RL_EINVAL, "%s cannot be in a record (%s)", e.fault, rl_buf_cstr(&where));
  else
    rl_fail(RL_EINVAL, "%s cannot be in a record", e.fault);
  rl_buf_free(&where);
  rl_buf_free(&e.path);
  return RL_EINVAL;
}

static void settle(rl_value *v, const rl_buf *scratch)
{
  if (v->type == RL_T_TUPLE || v->type == RL_T_TABLE) v->s.p = scratch->p + (uintptr_t)v->s.p;
}

rl_status rl_lua_to_value(lua_State *L, int index, rl_value *v, rl_buf *scratch)
{
  index = lua_absindex(L, index);
  if (!lua_checkstack(L, 8)) return rl_fail(RL_ENOMEM, "no room on the Lua stack");
  rl_status st = to_value(L, index, 0, v, scratch);
  if (st == RL_OK) settle(v, scratch);
  return st;
}

rl_status rl_lua_to_record(lua_State *L, int first, int n, rl_value *out, uint32_t *n_out, rl_buf *scratch)
{
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return rl_fail(RL_ENOMEM, "no room on the Lua stack");
  first = lua_absindex(L, first);
  n = rl_lua_spread(L, &first, n);
  if (n < 0 || n > RL_MAX_FIELDS) {
    lua_settop(L, top);
    return rl_fail(RL_ELIMIT, "a record of more than %d values", RL_MAX_FIELDS);
  }
  if (n == 0 || lua_isnil(L, first)) {
    lua_settop(L, top);
    return rl_fail(RL_EINVAL, n == 0 ? "a record without a value" : "the first value of a record is nil");
  }
  rl_buf_clear(scratch);
  rl_status st = RL_OK;
  for (int i = 0; i < n && st == RL_OK; i++) st = to_value(L, first + i, n > 1 ? i + 1 : 0, &out[i], scratch);
  lua_settop(L, top);
  if (st) return st;
  for (int i = 0; i < n; i++) settle(&out[i], scratch);
  *n_out = (uint32_t)n;
  return RL_OK;
}

/* Values -> Lua ---------------------------------------------------------------------------------------------------- */

static int size_hint(uint64_t n)
{
  return n > INT_MAX ? INT_MAX : (int)n;
}

/* Chunks hold only what was checked on its way in, so a malformed value here is a fault of the engine's. */
static rl_value next_value(lua_State *L, rl_reader *r)
{
  rl_value v;
  if (rl_get_value(r, &v)) luaL_error(L, "%s", rl_error_message());
  return v;
}

static void push_tuple(lua_State *L, rl_value v)
{
  rl_reader r;
  uint64_t n;
  if (rl_walk_tuple(v, &r, &n)) luaL_error(L, "%s", rl_error_message());
  lua_createtable(L, size_hint(n), 1);
  for (uint64_t i = 1; i <= n; i++) {
    rl_lua_push_value(L, next_value(L, &r));
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  rl_lua_seal_tuple(L, (lua_Integer)n);
}

static void push_table(lua_State *L, rl_value v)
{
  rl_reader r;
  uint64_t array, count;
  if (rl_walk_table(v, &r, &array)) luaL_error(L, "%s", rl_error_message());
  lua_createtable(L, size_hint(array), 0);
  for (uint64_t i = 1; i <= array; i++) {
    rl_lua_push_value(L, next_value(L, &r));
    lua_rawseti(L, -2, (lua_Integer)i);
  }
  if (rl_walk_pairs(&r, &count)) luaL_error(L, "%s", rl_error_message());
  for (uint64_t i = 0; i < count; i++) {
    rl_lua_push_value(L, next_value(L, &r));
    rl_lua_push_value(L, next_value(L, &r));
    lua_rawset(L, -3);
  }
}

void rl_lua_push_value(lua_State *L, rl_value v)
{
  switch (v.type) {
    case RL_T_NIL: lua_pushnil(L); break;
    case RL_T_NULL: rl_lua_push_null(L); break;
    case RL_T_BOOL: lua_pushboolean(L, v.b); break;
    case RL_T_INT: lua_pushinteger(L, v.i); break;
    case RL_T_FLOAT: lua_pushnumber(L, v.f); break;
    case RL_T_BYTES: lua_pushlstring(L, v.s.n ? v.s.p : "", v.s.n); break;
    case RL_T_TUPLE:
      luaL_checkstack(L, 6, "value nested too deep");
      push_tuple(L, v);
      break;
    case RL_T_TABLE:
      luaL_checkstack(L, 6, "value nested too deep");
      push_table(L, v);
      break;
  }
}

int rl_lua_push_fields(lua_State *L, const rl_chunk *c, uint32_t row)
{
  uint32_t n = rl_chunk_arity(c, row);
  luaL_checkstack(L, (int)n + 6, "record too long");
  for (uint32_t i = 0; i < n; i++) rl_lua_push_value(L, rl_chunk_get(c, i, row));
  return (int)n;
}

void rl_lua_push_record(lua_State *L, const rl_chunk *c, uint32_t row)
{
  uint32_t n = rl_chunk_arity(c, row);
  if (n == 1) {
    rl_lua_push_value(L, rl_chunk_get(c, 0, row));
    return;
  }
  lua_createtable(L, (int)n, 1);
  for (uint32_t i = 0; i < n; i++) {
    rl_lua_push_value(L, rl_chunk_get(c, i, row));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  rl_lua_seal_tuple(L, n);
}

/* Text ------------------------------------------------------------------------------------------------------------- */

rl_status rl_lua_format(lua_State *L, int index, rl_buf *out)
{
  rl_buf scratch = {0};
  rl_value v;
  rl_status st = rl_lua_to_value(L, index, &v, &scratch);
  if (st == RL_OK) rl_value_format(v, out);
  rl_buf_free(&scratch);
  return st;
}
