/* JSON <-> Lua values. jansson reads texts and says what is right in a string (UTF-8, escapes); the mapping is ours:
 *
 *   object  <-> table with string keys        true, false <-> boolean
 *   array   <-> table 1..n, or a tuple        null        <-> rille.null
 *   integer <-> integer                       real        <-> float
 *
 * An empty table is an object, unless it is marked by rille.json.array. */
#include "json.h"

#include <float.h>
#include <jansson.h>
#include <lauxlib.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "capture.h"
#include "data/codec.h"
#include "values.h"

#define MAX_DEPTH RL_CODEC_MAX_DEPTH /* deeper values could not be in a record */

static char array_key; /* in the registry: the metatable of marked arrays */

/* Decoding --------------------------------------------------------------------------------------------------------- */

static int box_gc(lua_State *L)
{
  json_t **box = lua_touserdata(L, 1);
  json_decref(*box);
  *box = NULL;
  return 0;
}

/* Pushes a place for a document that the collector frees. */
static json_t **push_box(lua_State *L)
{
  json_t **box = lua_newuserdatauv(L, sizeof(json_t *), 0);
  *box = NULL;
  if (luaL_newmetatable(L, "rille.json document")) {
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return box;
}

/* Where the text first nests too deep; 0: nowhere. */
static size_t too_deep_at(const char *text, size_t n)
{
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    if (quoted) {
      if (c == '\\') i++;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > MAX_DEPTH) return i + 1;
    } else if (c == ']' || c == '}') {
      depth--;
    }
  }
  return 0;
}

static void push_json(lua_State *L, const json_t *v);

static void push_array(lua_State *L, const json_t *v) /* NOLINT(misc-no-recursion) */
{
  size_t n = json_array_size(v);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    push_json(L, json_array_get(v, i));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_object(lua_State *L, const json_t *v) /* NOLINT(misc-no-recursion) */
{
  json_t *object = (json_t *)v;
  lua_createtable(L, 0, (int)json_object_size(v));
  for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
    lua_pushstring(L, json_object_iter_key(it));
    push_json(L, json_object_iter_value(it));
    lua_rawset(L, -3);
  }
}

/* Depth: that of the text, which was looked at. */
static void push_json(lua_State *L, const json_t *v) /* NOLINT(misc-no-recursion) */
{
  luaL_checkstack(L, 6, NULL);
  switch (json_typeof(v)) {
    case JSON_OBJECT: push_object(L, v); break;
    case JSON_ARRAY: push_array(L, v); break;
    case JSON_STRING: lua_pushlstring(L, json_string_value(v), json_string_length(v)); break;
    case JSON_INTEGER: lua_pushinteger(L, json_integer_value(v)); break;
    case JSON_REAL: lua_pushnumber(L, json_real_value(v)); break;
    case JSON_TRUE:
    case JSON_FALSE: lua_pushboolean(L, json_is_true(v)); break;
    case JSON_NULL: rl_lua_push_null(L); break;
  }
}

static int fail_decode(lua_State *L, const json_error_t *e)
{
  char text[JSON_ERROR_TEXT_LENGTH];
  size_t n = strnlen(e->text, sizeof text - 1);
  for (size_t i = 0; i < n; i++) text[i] = (char)((unsigned char)e->text[i] < ' ' ? ' ' : e->text[i]);
  text[n] = '\0';
  return luaL_error(L, "rille.json.decode: %s at byte %d", text, e->position);
}

/* decode(text) */
static int decode(lua_State *L)
{
  size_t n;
  const char *text = luaL_checklstring(L, 1, &n);
  if (n > RL_JSON_MAX_BYTES)
    return luaL_error(L, "rille.json.decode: a text of more than %d MiB", RL_JSON_MAX_BYTES >> 20);
  size_t deep = too_deep_at(text, n);
  if (deep) return luaL_error(L, "rille.json.decode: nested more than %d deep at byte %d", MAX_DEPTH, (int)deep);
  json_t **box = push_box(L);
  json_error_t error;
  *box = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
  if (!*box) return fail_decode(L, &error);
  push_json(L, *box);
  json_decref(*box);
  *box = NULL;
  return 1;
}

/* Encoding --------------------------------------------------------------------------------------------------------- */

typedef struct encoder {
  lua_State *L;
  rl_buf *out;
  bool sorted;
  int depth;
} encoder;

static int refuse(const encoder *e, const char *what)
{
  return luaL_error(e->L, "rille.json.encode: %s", what);
}

static int append(const char *bytes, size_t n, void *out)
{
  rl_buf_add(out, bytes, n);
  return 0;
}

static bool is_plain(const char *s, size_t n)
{
  for (size_t i = 0; i < n; i++)
    if (s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\') return false;
  return true;
}

static void put_string(const encoder *e, const char *s, size_t n)
{
  if (is_plain(s, n)) {
    rl_buf_putc(e->out, '"');
    if (n > 0) rl_buf_add(e->out, s, n);
    rl_buf_putc(e->out, '"');
    return;
  }
  json_t *string = json_stringn(s, n);
  if (!string) refuse(e, "a string that is not UTF-8 (bytes need an encoding of their own)");
  int failed = json_dump_callback(string, append, e->out, JSON_ENCODE_ANY | JSON_COMPACT);
  json_decref(string);
  if (failed) refuse(e, "out of memory");
}

/* The shortest digits that read back as the same float, and always the look of one. */
static void put_float(const encoder *e, double x)
{
  char digits[40];
  if (!isfinite(x)) refuse(e, "JSON has no infinities and no NaN; use rille.null, or leave the field out");
  for (int precision = 15; precision <= DBL_DECIMAL_DIG; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, x);
    if (strtod(digits, NULL) == x) break;
  }
  char *point = strchr(digits, lua_getlocaledecpoint());
  if (point) *point = '.';
  rl_buf_puts(e->out, digits);
  if (!strpbrk(digits, ".e")) rl_buf_puts(e->out, ".0");
}

static void put(encoder *e, int index);

static void put_array(encoder *e, int t, lua_Integer n) /* NOLINT(misc-no-recursion) */
{
  rl_buf_putc(e->out, '[');
  for (lua_Integer i = 1; i <= n; i++) {
    if (i > 1) rl_buf_putc(e->out, ',');
    lua_rawgeti(e->L, t, i);
    put(e, lua_gettop(e->L));
    lua_pop(e->L, 1);
  }
  rl_buf_putc(e->out, ']');
}

typedef struct key {
  const char *s;
  size_t n;
} key;

static int compare_keys(const void *a, const void *b)
{
  const key *x = a, *y = b;
  int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
  return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Pushes the keys of the table, which are strings and stay in it. */
static const key *push_keys(const encoder *e, int t, lua_Integer n)
{
  lua_State *L = e->L;
  key *keys = lua_newuserdatauv(L, (size_t)(n ? n : 1) * sizeof *keys, 0);
  size_t i = 0;
  for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1), i++) keys[i].s = lua_tolstring(L, -2, &keys[i].n);
  if (e->sorted) qsort(keys, (size_t)n, sizeof *keys, compare_keys);
  return keys;
}

static void put_object(encoder *e, int t, lua_Integer n) /* NOLINT(misc-no-recursion) */
{
  lua_State *L = e->L;
  const key *keys = push_keys(e, t, n);
  rl_buf_putc(e->out, '{');
  for (lua_Integer i = 0; i < n; i++) {
    if (i > 0) rl_buf_putc(e->out, ',');
    put_string(e, keys[i].s, keys[i].n);
    rl_buf_putc(e->out, ':');
    lua_pushlstring(L, keys[i].s, keys[i].n);
    lua_rawget(L, t);
    put(e, lua_gettop(L));
    lua_pop(L, 1);
  }
  rl_buf_putc(e->out, '}');
  lua_pop(L, 1);
}

/* How many entries a table has, and how many of them have strings for keys. */
static lua_Integer count_entries(lua_State *L, int t, lua_Integer *strings)
{
  lua_Integer n = 0;
  *strings = 0;
  for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) ++*strings;
    n++;
  }
  return n;
}

static bool is_marked(lua_State *L, int t)
{
  if (!lua_getmetatable(L, t)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
  bool marked = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return marked;
}

static void put_plain_table(encoder *e, int t) /* NOLINT(misc-no-recursion) */
{
  lua_State *L = e->L;
  lua_Integer strings, entries = count_entries(L, t, &strings), n = (lua_Integer)lua_rawlen(L, t);
  bool marked = is_marked(L, t);
  if (!marked && lua_getmetatable(L, t)) refuse(e, "a table with a metatable");
  if (strings == entries && !marked) {
    put_object(e, t, entries);
  } else if (strings == 0 && entries == n) {
    put_array(e, t, n);
  } else if (strings == 0) {
    refuse(e, "a table with keys that are neither 1 to n (an array) nor strings (an object)");
  } else {
    refuse(e, "a table with string keys and others: it is neither an array nor an object");
  }
}

static void put_table(encoder *e, int t) /* NOLINT(misc-no-recursion) */
{
  if (e->depth == MAX_DEPTH) refuse(e, "a table nested more than 100 deep, or one that contains itself");
  luaL_checkstack(e->L, 10, NULL);
  e->depth++;
  if (rl_lua_is_tuple(e->L, t))
    put_array(e, t, rl_lua_tuple_count(e->L, t));
  else
    put_plain_table(e, t);
  e->depth--;
}

static void put(encoder *e, int index) /* NOLINT(misc-no-recursion) */
{
  lua_State *L = e->L;
  size_t n;
  const char *s;
  if (e->out->n > RL_JSON_MAX_BYTES) refuse(e, "a text of more than 64 MiB");
  switch (lua_type(L, index)) {
    case LUA_TNIL: rl_buf_puts(e->out, "null"); return;
    case LUA_TBOOLEAN: rl_buf_puts(e->out, lua_toboolean(L, index) ? "true" : "false"); return;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index))
        rl_buf_printf(e->out, "%lld", (long long)lua_tointeger(L, index));
      else
        put_float(e, lua_tonumber(L, index));
      return;
    case LUA_TSTRING:
      s = lua_tolstring(L, index, &n);
      put_string(e, s, n);
      return;
    case LUA_TTABLE: put_table(e, index); return;
    default: break;
  }
  if (!rl_lua_is_null(L, index)) luaL_error(L, "rille.json.encode: a %s has no form in JSON", luaL_typename(L, index));
  rl_buf_puts(e->out, "null");
}

/* encode(value[, { sorted = false }]) */
static int encode(lua_State *L)
{
  luaL_checkany(L, 1);
  encoder e = {.L = L, .sorted = true};
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    e.sorted = lua_getfield(L, 2, "sorted") == LUA_TNIL || lua_toboolean(L, -1);
  }
  lua_settop(L, 1);
  e.out = rl_lua_push_buf(L);
  put(&e, 1);
  if (e.out->n > RL_JSON_MAX_BYTES) refuse(&e, "a text of more than 64 MiB");
  lua_pushlstring(L, e.out->p, e.out->n);
  return 1;
}

/* array([t]): the table, marked as an array, also when it is empty. */
static int array(lua_State *L)
{
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
  lua_setmetatable(L, 1);
  return 1;
}

static void make_mark(lua_State *L)
{
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "rille.json.array");
  lua_setfield(L, -2, "__name");
  rl_capture_register(L, -1, "rille.json.array metatable");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
}

void rl_json_open(lua_State *L)
{
  static const luaL_Reg functions[] = {{"decode", decode}, {"encode", encode}, {"array", array}, {NULL, NULL}};
  make_mark(L);
  luaL_newlib(L, functions);
  rl_capture_register_library(L, "rille.json");
}
