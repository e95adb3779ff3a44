/* From an image to its durable form. */
#include "capture_durable.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/secrets.h"
#include "capture_durable_impl.h"
#include "data/codec.h"
#include "producer.h"
#include "proto.h"

const uint8_t rl_durable_kind[] = {
  [RL_R_STRING] = 1, [RL_R_TABLE] = 2, [RL_R_FUNCTION] = 3, [RL_R_CELL] = 4, [RL_R_ENV] = 5,    [RL_R_GLOBAL] = 6,
  [RL_R_NAMED] = 7,  [RL_R_MODULE] = 8, [RL_R_FIELD] = 9,   [RL_R_TEXT] = 10, [RL_R_SHARED] = 11,
};

typedef struct encoder {
  const rl_image *img;
  rl_buf *out;
  rl_buf *left; /* NULL: nobody wants to know */
  bool *told;   /* of all records: strings that were told of, where they are left out */
  int depth;    /* of broadcasts */
} encoder;

static rl_status encode(const rl_image *img, rl_buf *out, rl_buf *left, int depth);

/* --- what is secret ----------------------------------------------------------------------------------------------- */

/* The bytes of a string; NULL: it is none. */
static const char *text_of(const encoder *e, rl_coded v, size_t *n)
{
  *n = v.tag == RL_V_STRING ? v.n : 0;
  if (v.tag == RL_V_STRING) return v.s;
  if (v.tag != RL_V_RECORD) return NULL;
  rl_record kind;
  const char *p = rl_image_at(e->img, v.record, &kind);
  return kind == RL_R_STRING ? rl_get_bytes(&p, n) : NULL;
}

/* As settings are written: a float without a fraction as the integer. */
static const char *secret_number(rl_coded v, bool named)
{
  char text[32];
  int n = v.tag == RL_V_INT ? snprintf(text, sizeof text, "%" PRId64, (int64_t)v.i)
          : v.f == floor(v.f) && fabs(v.f) < 1e18 ? snprintf(text, sizeof text, "%.0f", v.f)
                                                  : snprintf(text, sizeof text, "%.14g", v.f);
  return named || n >= RL_SECRET_LONG ? rl_secret_is(text, (size_t)n) : NULL;
}

/* The setting whose secret the value is, or has in it; NULL: none. named: what it belongs to has a secret's name, so a
 * short one is no chance. */
static const char *secret_of(const encoder *e, rl_coded v, bool named)
{
  if (v.tag == RL_V_INT || v.tag == RL_V_FLOAT) return secret_number(v, named);
  size_t n;
  const char *text = text_of(e, v, &n);
  if (!text) return NULL;
  const char *setting = rl_secret_in(text, n);
  return setting || !named ? setting : rl_secret_is(text, n);
}

/* Likewise, by the name's value. */
static const char *secret_under(const encoder *e, rl_coded name, rl_coded v)
{
  size_t n;
  const char *setting = secret_of(e, v, false), *text = text_of(e, name, &n);
  if (setting || !text || !(setting = secret_of(e, v, true))) return setting;
  char *s = rl_strndup(text, n);
  if (!rl_secret_is_name(s)) setting = NULL;
  rl_free(s);
  return setting;
}

static void note_told(const encoder *e, rl_coded v)
{
  if (v.tag == RL_V_RECORD) e->told[v.record] = true;
}

static void tell(const encoder *e, const char *what, const char *name, size_t n, const char *setting)
{
  if (!e->left) return;
  if (e->left->n > 0) rl_buf_putc(e->left, '\n');
  char *line = rl_format("%s '%.*s' (the value of %s)", what, (int)(n < 100 ? n : 100), name, setting);
  rl_buf_puts(e->left, line);
  rl_free(line);
}

/* A function as its record has it; moves past it. */
typedef struct function {
  rl_coded source;
  uint32_t line, text;
  const char *dump;
  size_t dump_n;
  uint32_t upvalues;
  const char *cells;
} function;

static function read_function(const char *p)
{
  function f = {.source = rl_get_coded(&p), .line = 0};
  f.line = rl_get_u32(&p);
  f.text = rl_get_u32(&p);
  for (uint32_t levels = rl_get_u32(&p); levels > 0; levels--) rl_get_u32(&p);
  f.dump = rl_get_bytes(&p, &f.dump_n);
  f.upvalues = rl_get_u32(&p);
  f.cells = p;
  return f;
}

/* What the function calls the variable, for the caller to free; NULL: it has no such. */
static char *name_in(const function *f, uint32_t cell)
{
  const char *p = f->cells;
  uint32_t i = 0;
  while (i < f->upvalues && rl_get_u32(&p) != cell) i++;
  if (i == f->upvalues) return NULL;
  rl_proto *tree = NULL;
  rl_status st = rl_proto_read(f->dump, f->dump_n, &tree);
  char *name = rl_strdup(st == RL_OK && i < tree->nupvals && *tree->upvals[i].name ? tree->upvals[i].name : "?");
  rl_proto_delete(tree);
  if (st != RL_OK) rl_error_drop();
  return name;
}

static char *name_of_cell(const encoder *e, uint32_t cell)
{
  char *name = NULL;
  for (size_t i = 0; i < e->img->nrecords && !name; i++) {
    rl_record kind;
    const char *p = rl_image_at(e->img, (uint32_t)i, &kind);
    if (kind != RL_R_FUNCTION) continue;
    function f = read_function(p);
    name = name_in(&f, cell);
  }
  return name ? name : rl_strdup("?");
}

/* The name of a chunk that was compiled from a text may have a secret in it as the text has, and is needed. */
static bool is_source(const encoder *e, uint32_t record)
{
  for (size_t i = 0; i < e->img->nrecords; i++) {
    rl_record kind;
    const char *p = rl_image_at(e->img, (uint32_t)i, &kind);
    if (kind != RL_R_FUNCTION) continue;
    function f = read_function(p);
    if (f.source.tag == RL_V_RECORD && f.source.record == record) return true;
  }
  return false;
}

/* The setting whose secret a string has in it that is written empty; NULL: it is written, or is none. */
static const char *hidden(const encoder *e, uint32_t record)
{
  rl_record kind;
  size_t n;
  const char *p = rl_image_at(e->img, record, &kind);
  if (kind != RL_R_STRING) return NULL;
  p = rl_get_bytes(&p, &n);
  const char *setting = rl_secret_in(p, n);
  return setting && !is_source(e, record) ? setting : NULL;
}

/* Of strings that are no value of a variable, field or global: names of these. */
static void tell_rest(const encoder *e)
{
  for (uint32_t i = 0; i < e->img->nrecords; i++) {
    const char *setting = e->told[i] ? NULL : hidden(e, i);
    if (setting) tell(e, "the string", "?", 1, setting);
  }
}

/* --- records ------------------------------------------------------------------------------------------------------ */

static void put_coded(encoder *e, rl_coded v)
{
  rl_buf *out = e->out;
  switch (v.tag) {
    case RL_V_NIL:
      rl_put_value(out, rl_nil());
      break;
    case RL_V_FALSE:
    case RL_V_TRUE:
      rl_put_value(out, rl_bool(v.tag == RL_V_TRUE));
      break;
    case RL_V_INT:
      rl_put_int(out, v.i);
      break;
    case RL_V_FLOAT:
      rl_put_float(out, v.f);
      break;
    case RL_V_STRING:
      rl_put_bytes(out, v.s, v.n);
      break;
    case RL_V_RECORD:
      rl_buf_putc(out, RL_DURABLE_RECORD);
      rl_put_varint(out, v.record);
      break;
  }
}

static void put_next(encoder *e, const char **p)
{
  put_coded(e, rl_get_coded(p));
}

/* A field that has a secret in it; tells of it. */
static bool is_left_out(const encoder *e, rl_coded key, rl_coded value, bool tells)
{
  const char *of_key = secret_of(e, key, false), *of_value = secret_under(e, key, value);
  if (!of_key && !of_value) return false;
  bool named = !of_key && key.tag == RL_V_STRING;
  if (of_key) note_told(e, key);
  if (of_value) note_told(e, value);
  if (tells) tell(e, "the field", named ? key.s : "?", named ? key.n : 1, of_key ? of_key : of_value);
  return true;
}

/* How many of the pairs at p are kept. */
static uint64_t kept_pairs(const encoder *e, const char *p, uint64_t pairs)
{
  uint64_t n = 0;
  for (; pairs > 0; pairs--) {
    rl_coded key = rl_get_coded(&p), value = rl_get_coded(&p);
    n += !is_left_out(e, key, value, false);
  }
  return n;
}

static void put_table(encoder *e, const char *p)
{
  uint32_t array = rl_get_u32(&p), rest = rl_get_u32(&p);
  const char *at = p;
  rl_get_coded(&at); /* the metatable */
  uint64_t pairs = rl_get_u64(&at), kept = kept_pairs(e, at, pairs);
  rl_put_varint(e->out, kept == pairs ? array : 0); /* hints for making it */
  rl_put_varint(e->out, kept == pairs ? rest : 0);
  put_next(e, &p);
  rl_put_varint(e->out, kept);
  for (p = at; pairs > 0; pairs--) {
    rl_coded key = rl_get_coded(&p), value = rl_get_coded(&p);
    if (is_left_out(e, key, value, true)) continue;
    put_coded(e, key);
    put_coded(e, value);
  }
}

static void put_cell(encoder *e, uint32_t record, const char *p)
{
  rl_coded v = rl_get_coded(&p);
  const char *setting = secret_of(e, v, true);
  char *name = setting ? name_of_cell(e, record) : NULL;
  if (name && !rl_secret_is_name(name)) setting = secret_of(e, v, false);
  if (setting) {
    note_told(e, v);
    tell(e, "the variable", name, strlen(name), setting);
  }
  rl_free(name);
  put_coded(e, setting ? (rl_coded){.tag = RL_V_NIL} : v);
}

static void put_global(encoder *e, const char *p)
{
  rl_put_varint(e->out, rl_get_u32(&p));
  rl_coded name = rl_get_coded(&p), v = rl_get_coded(&p);
  const char *setting = secret_under(e, name, v);
  bool named = name.tag == RL_V_STRING;
  if (setting) note_told(e, v);
  if (setting) tell(e, "the global", named ? name.s : "?", named ? name.n : 1, setting);
  put_coded(e, name);
  put_coded(e, setting ? (rl_coded){.tag = RL_V_NIL} : v);
}

static rl_status put_function(encoder *e, const char *p)
{
  size_t dump_n;
  put_next(e, &p);
  uint32_t line = rl_get_u32(&p);
  uint32_t text = rl_get_u32(&p);
  if (text == RL_NO_RECORD) {
    return rl_fail(RL_EINVAL, "a function that begins in line %u of its chunk has no source text", line);
  }
  rl_put_varint(e->out, line);
  rl_put_varint(e->out, text);
  uint32_t levels = rl_get_u32(&p);
  rl_put_varint(e->out, levels);
  for (; levels > 0; levels--) rl_put_varint(e->out, rl_get_u32(&p));
  rl_get_bytes(&p, &dump_n);
  uint32_t upvalues = rl_get_u32(&p);
  rl_put_varint(e->out, upvalues);
  for (; upvalues > 0; upvalues--) rl_put_varint(e->out, rl_get_u32(&p));
  return RL_OK;
}

static void put_module(encoder *e, const char *p)
{
  rl_module_form form = (rl_module_form)rl_get_u8(&p);
  rl_buf_putc(e->out, (char)form);
  put_next(e, &p);
  if (form == RL_MODULE_TEXT) {
    rl_put_varint(e->out, rl_get_u32(&p));
    rl_get_u64(&p); /* the hash of the text: made anew */
    put_next(e, &p);
  } else if (form == RL_MODULE_LOADER) {
    put_next(e, &p);
  }
}

static rl_status put_broadcast(encoder *e, rl_shared *s)
{
  rl_buf value = {0};
  rl_image *img = rl_broadcast_image(s);
  if (!img) return rl_fail(RL_EINVAL, "a broadcast that was destroyed cannot be written to a checkpoint");
  rl_status st = encode(img, &value, e->left, e->depth + 1);
  if (st == RL_OK) rl_put_bytes(e->out, value.p, value.n);
  rl_image_unref(img);
  rl_buf_free(&value);
  return st;
}

static void put_producer(encoder *e, const rl_kafka_setting *settings, size_t n)
{
  rl_put_varint(e->out, n);
  for (size_t i = 0; i < n; i++) {
    const char *value = rl_secret_is_name(settings[i].name) ? NULL : settings[i].value;
    rl_put_bytes(e->out, settings[i].name, strlen(settings[i].name));
    rl_put_value(e->out, value ? rl_str(value, strlen(value)) : rl_nil());
  }
}

static rl_status put_shared(encoder *e, const char *p)
{
  rl_shared *s = e->img->shared[rl_get_u32(&p)];
  const char *name;
  int64_t number;
  if (rl_accumulator_identity(s, &name, &number)) {
    rl_buf_putc(e->out, RL_DURABLE_ACCUMULATOR);
    rl_put_value(e->out, name ? rl_str(name, strlen(name)) : rl_nil());
    rl_put_int(e->out, number);
    return RL_OK;
  }
  const rl_kafka_setting *settings;
  size_t n;
  if (rl_producer_settings(s, &settings, &n)) {
    rl_buf_putc(e->out, RL_DURABLE_PRODUCER);
    put_producer(e, settings, n);
    return RL_OK;
  }
  rl_buf_putc(e->out, RL_DURABLE_BROADCAST);
  return put_broadcast(e, s);
}

static rl_status put_record(encoder *e, uint32_t record)
{
  rl_record kind;
  const char *p = rl_image_at(e->img, record, &kind);
  switch (kind) {
    case RL_R_TABLE:
      put_table(e, p);
      break;
    case RL_R_FUNCTION:
      return put_function(e, p);
    case RL_R_GLOBAL:
      put_global(e, p);
      break;
    case RL_R_CELL:
      put_cell(e, record, p);
      break;
    case RL_R_NAMED:
      put_next(e, &p);
      break;
    case RL_R_MODULE:
      put_module(e, p);
      break;
    case RL_R_FIELD:
      rl_put_varint(e->out, rl_get_u32(&p));
      put_next(e, &p);
      break;
    case RL_R_SHARED:
      return put_shared(e, p);
    case RL_R_ENV:
    case RL_R_STRING: /* in front, as */
    case RL_R_TEXT:
      break;
  }
  return RL_OK;
}

static void put_all_of(encoder *e, rl_record wanted)
{
  for (size_t i = 0; i < e->img->nrecords; i++) {
    rl_record kind;
    size_t n;
    const char *p = rl_image_at(e->img, (uint32_t)i, &kind);
    if (kind != wanted) continue;
    const char *bytes = rl_get_bytes(&p, &n);
    rl_put_bytes(e->out, bytes, hidden(e, (uint32_t)i) ? 0 : n);
  }
}

/* Kinds of all records, texts and strings: what is needed to check and compile the rest while it is read. */
static void put_front(encoder *e)
{
  rl_put_varint(e->out, LUA_VERSION_NUM);
  rl_put_varint(e->out, e->img->nrecords);
  for (size_t i = 0; i < e->img->nrecords; i++) {
    rl_record kind;
    rl_image_at(e->img, (uint32_t)i, &kind);
    rl_buf_putc(e->out, (char)rl_durable_kind[kind]);
  }
  put_all_of(e, RL_R_TEXT);
  put_all_of(e, RL_R_STRING);
}

static void put_sum(rl_buf *out, size_t at)
{
  uint64_t sum = rl_hash_bytes(out->p + at + 8, out->n - at - 8, RL_HASH_SEED);
  for (int i = 0; i < 8; i++) out->p[at + (size_t)i] = (char)(sum >> (8 * i) & 0xff);
}

static rl_status encode(const rl_image *img, rl_buf *out, rl_buf *left, int depth)
{
  if (depth > RL_DURABLE_DEPTH) return rl_fail(RL_ELIMIT, "broadcasts hold broadcasts too deeply for a checkpoint");
  encoder e = {.img = img, .out = out, .left = left, .depth = depth,
               .told = rl_calloc(img->nrecords + 1, sizeof *e.told)};
  rl_status st = RL_OK;
  rl_buf_puts(out, RL_CLOSURE_MAGIC);
  size_t sum_at = out->n;
  rl_buf_add(out, (char[8]){0}, 8);
  put_front(&e);
  const char *p = img->data->data;
  put_next(&e, &p); /* package.path */
  put_next(&e, &p); /* package.cpath */
  rl_put_varint(out, img->nroots);
  for (size_t i = 0; i < img->nroots; i++) {
    rl_coded v = rl_get_coded(&p);
    const char *setting = secret_of(&e, v, false);
    if (setting) note_told(&e, v);
    if (setting) tell(&e, "the value", "", 0, setting);
    put_coded(&e, setting ? (rl_coded){.tag = RL_V_NIL} : v);
  }
  for (size_t i = 0; i < img->nrecords && st == RL_OK; i++) st = put_record(&e, (uint32_t)i);
  if (st == RL_OK) tell_rest(&e);
  if (st == RL_OK) put_sum(out, sum_at);
  rl_free(e.told);
  return st;
}

rl_status rl_closure_encode(const rl_image *img, rl_buf *out, rl_buf *left)
{
  return encode(img, out, left, 0);
}

void rl_image_modules(const rl_image *img,
                      void (*visit)(void *user, const char *name, size_t name_n, const char *source, size_t source_n,
                                    const char *text, size_t text_n),
                      void *user)
{
  for (size_t i = 0; i < img->nrecords; i++) {
    rl_record kind;
    size_t text_n;
    const char *p = rl_image_at(img, (uint32_t)i, &kind);
    if (kind != RL_R_MODULE || rl_get_u8(&p) != RL_MODULE_TEXT) continue;
    rl_coded name = rl_get_coded(&p);
    const char *text = rl_image_at(img, rl_get_u32(&p), &kind);
    text = rl_get_bytes(&text, &text_n);
    rl_get_u64(&p);
    rl_coded source = rl_get_coded(&p);
    visit(user, name.s, name.n, source.s, source.n, text, text_n);
  }
}
