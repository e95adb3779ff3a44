/* From the durable form to an image. All texts come first and are compiled when a function needs them, so one pass over
 * the records checks them and writes them as they are in an image. The first fault is kept in `st`; from then on what is
 * read is nothing, and nothing is written that anybody sees. */
#include <limits.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "capture_durable.h"
#include "capture_durable_impl.h"
#include "data/codec.h"
#include "dump.h"
#include "producer.h"

#define OUT_MAX ((size_t)1 << 30) /* as of what is captured */

typedef struct text {
  const char *p;
  size_t n;
  rl_proto *tree;     /* of the text under this name; NULL: not compiled yet */
  const char *source; /* the name */
  size_t source_n;
} text;

typedef struct decoder {
  lua_State *L;
  rl_reader r;
  const char *start;
  rl_status st;
  rl_buf out;
  size_t *at;
  rl_record *kinds; /* of all records */
  text *texts;      /* likewise, where it is one */
  size_t n;
  rl_shared **shared;
  size_t nshared, cap_shared;
  rl_buf dump, name;
  int depth;
} decoder;

#define KIND(k) (1u << (unsigned)(k))
/* What can be a value; variables, globals and texts cannot. */
#define OBJECTS \
  (KIND(RL_R_STRING) | KIND(RL_R_TABLE) | KIND(RL_R_FUNCTION) | KIND(RL_R_ENV) | KIND(RL_R_NAMED) | \
   KIND(RL_R_MODULE) | KIND(RL_R_FIELD) | KIND(RL_R_SHARED))
/* What a table's metatable can be; whether a module gives one is seen when it is set. */
#define TABLES (KIND(RL_R_TABLE) | KIND(RL_R_ENV) | KIND(RL_R_NAMED) | KIND(RL_R_MODULE) | KIND(RL_R_FIELD))

static void damaged(decoder *d, const char *what)
{
  if (d->st) return;
  d->st = rl_fail(RL_EDATA, "a recorded function is damaged at byte %zu: %s", (size_t)(d->r.p - d->start), what);
}

static size_t left(const decoder *d)
{
  return (size_t)(d->r.end - d->r.p);
}

static uint64_t get_varint(decoder *d, uint64_t limit, const char *what)
{
  uint64_t x = 0;
  if (d->st) return 0;
  if (rl_get_varint(&d->r, &x) || x > limit) {
    damaged(d, what);
    return 0;
  }
  return x;
}

/* A number of things that take at least a byte each. */
static uint64_t get_count(decoder *d, const char *what)
{
  return get_varint(d, left(d), what);
}

static uint8_t get_byte(decoder *d)
{
  if (!d->st && left(d) == 0) damaged(d, "it is cut short");
  return d->st ? 0 : (uint8_t)*d->r.p++;
}

/* A record of one of these kinds. */
static uint32_t get_record(decoder *d, unsigned kinds, const char *what)
{
  uint32_t record = (uint32_t)get_varint(d, d->n - 1, what);
  if (!d->st && !(KIND(d->kinds[record]) & kinds)) damaged(d, what);
  return d->st ? 0 : record;
}

static rl_value get_plain(decoder *d)
{
  rl_value v = rl_nil();
  if (!d->st && rl_get_value(&d->r, &v)) damaged(d, "a value is malformed");
  bool plain = v.type == RL_T_NIL || v.type == RL_T_BOOL || v.type == RL_T_INT || v.type == RL_T_FLOAT ||
               v.type == RL_T_BYTES;
  if (!plain) damaged(d, "a value is of another kind than can stand here");
  return d->st ? rl_nil() : v;
}

static rl_value get_bytes(decoder *d, const char *what)
{
  rl_value v = get_plain(d);
  if (!d->st && v.type != RL_T_BYTES) damaged(d, what);
  return d->st ? rl_str("", 0) : v;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static void put_string(decoder *d, rl_value v)
{
  rl_image_put_u8(&d->out, RL_V_STRING);
  rl_image_put_bytes(&d->out, v.s.p, v.s.n);
}

static void put_plain(decoder *d, rl_value v)
{
  switch (v.type) {
    case RL_T_BOOL:
      rl_image_put_u8(&d->out, v.b ? RL_V_TRUE : RL_V_FALSE);
      break;
    case RL_T_INT:
      rl_image_put_u8(&d->out, RL_V_INT);
      rl_buf_add(&d->out, &v.i, sizeof v.i);
      break;
    case RL_T_FLOAT:
      rl_image_put_u8(&d->out, RL_V_FLOAT);
      rl_buf_add(&d->out, &v.f, sizeof v.f);
      break;
    case RL_T_BYTES:
      put_string(d, v);
      break;
    default:
      rl_image_put_u8(&d->out, RL_V_NIL);
      break;
  }
}

static bool is_record_next(const decoder *d)
{
  return !d->st && left(d) > 0 && *d->r.p == RL_DURABLE_RECORD;
}

static void move_record_value(decoder *d, unsigned kinds)
{
  d->r.p++;
  uint32_t record = get_record(d, kinds, "a value is a record that cannot be one");
  rl_image_put_u8(&d->out, RL_V_RECORD);
  rl_image_put_u32(&d->out, record);
}

static void move_value(decoder *d)
{
  if (is_record_next(d)) move_record_value(d, OBJECTS);
  else put_plain(d, get_plain(d));
}

/* Nil, or a record of one of these kinds. */
static void move_optional(decoder *d, unsigned kinds)
{
  if (is_record_next(d)) {
    move_record_value(d, kinds);
    return;
  }
  if (get_plain(d).type != RL_T_NIL) damaged(d, "a value is of another kind than can stand here");
  rl_image_put_u8(&d->out, RL_V_NIL);
}

/* A string, here or in a record of its own. */
static void move_string(decoder *d)
{
  if (is_record_next(d)) move_record_value(d, KIND(RL_R_STRING));
  else put_string(d, get_bytes(d, "a name is no string"));
}

/* A string that stands here. */
static rl_value move_name(decoder *d)
{
  rl_value name = get_bytes(d, "a name is no string");
  if (!d->st && (name.s.n == 0 || memchr(name.s.p, '\0', name.s.n))) damaged(d, "a name is not as names are");
  put_string(d, name);
  return name;
}

/* --- functions ---------------------------------------------------------------------------------------------------- */

static rl_status compile(decoder *d, const text *t, const char *source, rl_proto **tree)
{
  lua_State *L = d->L;
  size_t skipped = source[0] == '@' ? rl_text_start(t->p, t->n) : 0;
  if (!lua_checkstack(L, 10)) return rl_fail(RL_ENOMEM, "no room on the Lua stack to compile a recorded function");
  int how = luaL_loadbufferx(L, t->p + skipped, t->n - skipped, source, "t");
  rl_status st = RL_OK;
  if (how != LUA_OK) {
    st = rl_fail(how == LUA_ERRMEM ? RL_ENOMEM : RL_EDATA, "a recorded text does not compile: %s", lua_tostring(L, -1));
  } else {
    rl_lua_dump(L, -1, &d->dump);
    st = rl_proto_read(d->dump.p, d->dump.n, tree);
  }
  lua_pop(L, 1);
  return st;
}

/* The tree of a text under a name; NULL when it cannot be made. */
static const rl_proto *tree_of(decoder *d, uint32_t record, rl_value source)
{
  text *t = &d->texts[record];
  if (d->st) return NULL;
  if (t->tree && t->source_n == source.s.n && memcmp(t->source, source.s.p, source.s.n) == 0) return t->tree;
  rl_proto_delete(t->tree);
  t->tree = NULL;
  t->source = source.s.p;
  t->source_n = source.s.n;
  rl_buf_clear(&d->name);
  rl_buf_add(&d->name, source.s.p, source.s.n);
  d->st = compile(d, t, rl_buf_cstr(&d->name), &t->tree);
  return t->tree;
}

/* The string that comes next, without moving on: where a long one lies is not read yet. */
static rl_value peek_source(decoder *d, const rl_value *strings)
{
  rl_reader at = d->r;
  rl_value v;
  if (is_record_next(d)) {
    d->r.p++;
    v = strings[get_record(d, KIND(RL_R_STRING), "a function's source name is no string")];
  } else {
    v = get_bytes(d, "a function's source name is no string");
  }
  if (!d->st && (v.s.n == 0 || memchr(v.s.p, '\0', v.s.n))) damaged(d, "a function's source name is not as they are");
  d->r = at;
  return v;
}

static void move_upvalues(decoder *d, const rl_proto *p)
{
  uint64_t n = get_count(d, "a function has too many variables");
  if (!d->st && n != p->nupvals) damaged(d, "a function has another number of variables than its text says");
  rl_image_put_u32(&d->out, (uint32_t)n);
  for (; n > 0 && !d->st; n--)
    rl_image_put_u32(&d->out, get_record(d, KIND(RL_R_CELL), "a variable of a function is none"));
}

static void move_function(decoder *d, const rl_value *strings)
{
  rl_value source = peek_source(d, strings);
  move_string(d);
  uint64_t line = get_varint(d, INT_MAX, "a line number is too large");
  uint32_t record = get_record(d, KIND(RL_R_TEXT), "a function's text is none");
  const rl_proto *p = tree_of(d, record, source);
  rl_image_put_u32(&d->out, (uint32_t)line);
  rl_image_put_u32(&d->out, record);
  uint64_t levels = get_varint(d, RL_PATH_MAX, "a function is nested too deeply");
  rl_image_put_u32(&d->out, (uint32_t)levels);
  for (; levels > 0 && !d->st; levels--) {
    uint64_t i = get_varint(d, UINT32_MAX, "a function is not in its text");
    if (!d->st && i >= p->nprotos) damaged(d, "a function is not in its text");
    if (d->st) return;
    rl_image_put_u32(&d->out, (uint32_t)i);
    p = p->protos[i];
  }
  if (!d->st && (uint64_t)p->line_defined != line) damaged(d, "a function is in another line of its text");
  if (d->st) return;
  rl_buf_clear(&d->dump);
  rl_proto_cut(p, &d->dump);
  rl_image_put_bytes(&d->out, d->dump.p, d->dump.n);
  move_upvalues(d, p);
}

/* --- other records ------------------------------------------------------------------------------------------------ */

static void move_table(decoder *d)
{
  uint64_t array = get_count(d, "a table is too large"), rest = get_count(d, "a table is too large");
  rl_image_put_u32(&d->out, (uint32_t)array);
  rl_image_put_u32(&d->out, (uint32_t)rest);
  move_optional(d, TABLES);
  uint64_t pairs = get_count(d, "a table is too large");
  if (!d->st && array + rest > pairs) damaged(d, "a table has fewer fields than it says");
  rl_image_put_u64(&d->out, pairs);
  for (; pairs > 0 && !d->st; pairs--) {
    move_value(d);
    move_value(d);
  }
}

static void move_module(decoder *d)
{
  uint8_t form = get_byte(d);
  if (!d->st && form > RL_MODULE_LOADER) damaged(d, "a module is of an unknown form");
  rl_image_put_u8(&d->out, form);
  move_name(d);
  if (form == RL_MODULE_TEXT) {
    uint32_t record = get_record(d, KIND(RL_R_TEXT), "a module's text is none");
    const text *t = &d->texts[record];
    rl_image_put_u32(&d->out, record);
    rl_image_put_u64(&d->out, d->st ? 0 : rl_hash_bytes(t->p, t->n, RL_HASH_SEED));
    move_name(d);
  } else if (form == RL_MODULE_LOADER) {
    if (!is_record_next(d)) damaged(d, "a module's loader is none");
    else move_record_value(d, KIND(RL_R_FUNCTION));
  }
}

static rl_status decode(lua_State *L, const char *p, size_t n, int depth, rl_image **out);

static rl_shared *get_broadcast(decoder *d)
{
  rl_image *img = NULL;
  rl_value v = get_bytes(d, "a broadcast's value is none");
  if (!d->st) d->st = decode(d->L, v.s.p, v.s.n, d->depth + 1, &img);
  return d->st ? NULL : rl_broadcast_of(img);
}

static rl_shared *get_accumulator(decoder *d)
{
  rl_shared *s = NULL;
  rl_value name = get_plain(d), number = get_plain(d);
  if (number.type != RL_T_INT || (name.type != RL_T_NIL && name.type != RL_T_BYTES))
    damaged(d, "an accumulator is malformed");
  if (!d->st) d->st = rl_accumulator_find(d->L, name, number.i, &s);
  return s;
}

/* A string without NULs, for the caller to free; NULL for nil, or when it is something else. */
static char *get_text(decoder *d, const char *what)
{
  rl_value v = get_plain(d);
  if (v.type == RL_T_NIL) return NULL;
  if (v.type != RL_T_BYTES || memchr(v.s.p, '\0', v.s.n)) damaged(d, what);
  return d->st ? NULL : rl_strndup(v.s.p, v.s.n);
}

static rl_shared *get_producer(decoder *d)
{
  rl_shared *s = NULL;
  size_t n = get_count(d, "a Kafka producer has too many settings");
  rl_kafka_setting *v = rl_calloc(n + 1, sizeof *v);
  for (size_t i = 0; i < n && !d->st; i++) {
    v[i].name = get_text(d, "a setting of a Kafka producer is malformed");
    v[i].value = get_text(d, "a setting of a Kafka producer is malformed");
    if (!v[i].name) damaged(d, "a setting of a Kafka producer has no name");
  }
  if (!d->st) s = rl_producer_of(v, n);
  for (size_t i = 0; i < n; i++) {
    rl_free((char *)v[i].name);
    rl_free((char *)v[i].value);
  }
  rl_free(v);
  return s;
}

static rl_shared *get_shared(decoder *d)
{
  switch (get_byte(d)) {
    case RL_DURABLE_BROADCAST:
      return get_broadcast(d);
    case RL_DURABLE_ACCUMULATOR:
      return get_accumulator(d);
    case RL_DURABLE_PRODUCER:
      return get_producer(d);
    default:
      damaged(d, "a shared object is of an unknown kind");
      return NULL;
  }
}

static void move_shared(decoder *d)
{
  rl_shared *s = get_shared(d);
  if (!s) return;
  rl_image_put_u32(&d->out, (uint32_t)d->nshared);
  rl_image_put_u8(&d->out, RL_V_NIL);
  d->shared = rl_grow(d->shared, &d->cap_shared, d->nshared + 1, sizeof(rl_shared *));
  d->shared[d->nshared++] = s;
}

static void move_body(decoder *d, uint32_t record, const rl_value *strings)
{
  switch (d->kinds[record]) {
    case RL_R_STRING:
      rl_image_put_bytes(&d->out, strings[record].s.p, strings[record].s.n);
      break;
    case RL_R_TABLE:
      move_table(d);
      break;
    case RL_R_FUNCTION:
      move_function(d, strings);
      break;
    case RL_R_CELL:
      move_value(d);
      break;
    case RL_R_ENV:
      break;
    case RL_R_GLOBAL:
      rl_image_put_u32(&d->out, get_record(d, KIND(RL_R_ENV), "a global is in no environment"));
      move_string(d);
      move_value(d);
      break;
    case RL_R_NAMED:
      move_name(d);
      break;
    case RL_R_MODULE:
      move_module(d);
      break;
    case RL_R_FIELD:
      rl_image_put_u32(&d->out, get_record(d, KIND(RL_R_MODULE), "a field is of no module"));
      move_string(d);
      break;
    case RL_R_TEXT:
      rl_image_put_bytes(&d->out, d->texts[record].p, d->texts[record].n);
      break;
    case RL_R_SHARED:
      move_shared(d);
      break;
  }
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static void read_kinds(decoder *d)
{
  d->n = get_count(d, "there are too many records");
  if (!d->st && (d->n == 0 || d->n >= RL_NO_RECORD)) damaged(d, "there are no records");
  if (d->st) return;
  d->kinds = rl_calloc(d->n, sizeof *d->kinds);
  d->texts = rl_calloc(d->n, sizeof *d->texts);
  d->at = rl_calloc(d->n, sizeof *d->at);
  for (size_t i = 0; i < d->n; i++) {
    uint8_t on_disk = get_byte(d);
    unsigned kind = RL_R_STRING;
    while (kind <= RL_R_SHARED && rl_durable_kind[kind] != on_disk) kind++;
    if (!d->st && kind > RL_R_SHARED) damaged(d, "a record is of an unknown kind");
    d->kinds[i] = d->st ? RL_R_STRING : (rl_record)kind;
  }
}

static void read_texts(decoder *d)
{
  for (size_t i = 0; i < d->n && !d->st; i++) {
    if (d->kinds[i] != RL_R_TEXT) continue;
    rl_value v = get_bytes(d, "a text is none");
    d->texts[i].p = v.s.p;
    d->texts[i].n = v.s.n;
  }
}

/* Long strings; a function may be named by one. */
static void read_strings(decoder *d, rl_value *strings)
{
  for (size_t i = 0; i < d->n && !d->st; i++)
    if (d->kinds[i] == RL_R_STRING) strings[i] = get_bytes(d, "a string is none");
}

static size_t read_roots(decoder *d)
{
  put_string(d, get_bytes(d, "package.path is no string"));
  put_string(d, get_bytes(d, "package.cpath is no string"));
  size_t n = get_count(d, "there are too many functions");
  for (size_t i = 0; i < n && !d->st; i++) move_value(d);
  return n;
}

static size_t read_all(decoder *d)
{
  if (get_varint(d, UINT32_MAX, "the version of Lua is malformed") != LUA_VERSION_NUM && !d->st)
    d->st = rl_fail(RL_EUNSUPPORTED, "a recorded function is of another version of Lua than " LUA_VERSION);
  read_kinds(d);
  if (d->st) return 0;
  rl_value *strings = rl_calloc(d->n, sizeof *strings);
  read_texts(d);
  read_strings(d, strings);
  size_t nroots = read_roots(d);
  for (size_t i = 0; i < d->n && !d->st; i++) {
    d->at[i] = d->out.n;
    rl_image_put_u8(&d->out, (uint8_t)d->kinds[i]);
    move_body(d, (uint32_t)i, strings);
    if (!d->st && d->out.n > OUT_MAX) d->st = rl_fail(RL_ELIMIT, "recorded functions take more than 1 GiB");
  }
  if (!d->st && left(d) > 0) damaged(d, "there is more than there should be");
  rl_free(strings);
  return nroots;
}

static rl_status check_front(const char *p, size_t n)
{
  const size_t magic_n = strlen(RL_CLOSURE_MAGIC);
  if (n < magic_n + 8) return rl_fail(RL_EDATA, "a recorded function is cut short: it has %zu bytes", n);
  if (memcmp(p, RL_CLOSURE_MAGIC, magic_n - 1) != 0) return rl_fail(RL_EDATA, "these bytes are no recorded function");
  if (memcmp(p, RL_CLOSURE_MAGIC, magic_n) != 0)
    return rl_fail(RL_EUNSUPPORTED, "a recorded function has a form (%.8s) that this release does not know", p);
  uint64_t sum = 0;
  for (int i = 7; i >= 0; i--) sum = sum << 8 | (uint8_t)p[magic_n + (size_t)i];
  if (sum != rl_hash_bytes(p + magic_n + 8, n - magic_n - 8, RL_HASH_SEED))
    return rl_fail(RL_EDATA, "a recorded function is damaged: its checksum is wrong");
  return RL_OK;
}

static void decoder_free(decoder *d)
{
  for (size_t i = 0; d->texts && i < d->n; i++) rl_proto_delete(d->texts[i].tree);
  for (size_t i = 0; i < d->nshared; i++) rl_shared_unref(d->shared[i]);
  rl_free(d->shared);
  rl_free(d->kinds);
  rl_free(d->texts);
  rl_free(d->at);
  rl_buf_free(&d->out);
  rl_buf_free(&d->dump);
  rl_buf_free(&d->name);
}

static rl_status decode(lua_State *L, const char *p, size_t n, int depth, rl_image **out)
{
  rl_status st = check_front(p, n);
  if (st == RL_OK && depth > RL_DURABLE_DEPTH) st = rl_fail(RL_EDATA, "recorded broadcasts are nested too deeply");
  if (st != RL_OK) return st;
  const size_t front = strlen(RL_CLOSURE_MAGIC) + 8;
  decoder d = {.L = L, .r = {p + front, p + n}, .start = p, .depth = depth};
  size_t nroots = read_all(&d);
  if (d.st == RL_OK) {
    *out = rl_image_new(&d.out, d.at, d.n, nroots, RL_SCRIPT_FIRST);
    d.at = NULL;
    d.st = *out ? RL_OK : RL_ENOMEM;
  }
  if (d.st == RL_OK) {
    (*out)->shared = d.shared;
    (*out)->nshared = d.nshared;
    d.shared = NULL;
    d.nshared = 0;
  }
  decoder_free(&d);
  return d.st;
}

rl_status rl_closure_decode(lua_State *L, const char *p, size_t n, rl_image **out)
{
  return decode(L, p, n, 0, out);
}
