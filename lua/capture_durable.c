/* From an image to its durable form. */
#include "capture_durable.h"

#include <string.h>

#include "base/hash.h"
#include "capture_durable_impl.h"
#include "data/codec.h"
#include "producer.h"

const uint8_t rl_durable_kind[] = {
  [RL_R_STRING] = 1, [RL_R_TABLE] = 2, [RL_R_FUNCTION] = 3, [RL_R_CELL] = 4, [RL_R_ENV] = 5,    [RL_R_GLOBAL] = 6,
  [RL_R_NAMED] = 7,  [RL_R_MODULE] = 8, [RL_R_FIELD] = 9,   [RL_R_TEXT] = 10, [RL_R_SHARED] = 11,
};

typedef struct encoder {
  const rl_image *img;
  rl_buf *out;
  int depth; /* of broadcasts */
} encoder;

static rl_status encode(const rl_image *img, rl_buf *out, int depth);

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

static void put_table(encoder *e, const char *p)
{
  rl_put_varint(e->out, rl_get_u32(&p));
  rl_put_varint(e->out, rl_get_u32(&p));
  put_next(e, &p);
  uint64_t pairs = rl_get_u64(&p);
  rl_put_varint(e->out, pairs);
  for (; pairs > 0; pairs--) {
    put_next(e, &p);
    put_next(e, &p);
  }
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
  rl_status st = encode(img, &value, e->depth + 1);
  if (st == RL_OK) rl_put_bytes(e->out, value.p, value.n);
  rl_image_unref(img);
  rl_buf_free(&value);
  return st;
}

static void put_producer(encoder *e, const rl_kafka_setting *settings, size_t n)
{
  rl_put_varint(e->out, n);
  for (size_t i = 0; i < n; i++) {
    const char *value = rl_kafka_is_secret(settings[i].name) ? NULL : settings[i].value;
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
      rl_put_varint(e->out, rl_get_u32(&p));
      put_next(e, &p);
      put_next(e, &p);
      break;
    case RL_R_CELL:
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
    rl_put_bytes(e->out, bytes, n);
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

static rl_status encode(const rl_image *img, rl_buf *out, int depth)
{
  if (depth > RL_DURABLE_DEPTH) return rl_fail(RL_ELIMIT, "broadcasts hold broadcasts too deeply for a checkpoint");
  encoder e = {.img = img, .out = out, .depth = depth};
  rl_status st = RL_OK;
  rl_buf_puts(out, RL_CLOSURE_MAGIC);
  size_t sum_at = out->n;
  rl_buf_add(out, (char[8]){0}, 8);
  put_front(&e);
  const char *p = img->data->data;
  put_next(&e, &p); /* package.path */
  put_next(&e, &p); /* package.cpath */
  rl_put_varint(out, img->nroots);
  for (size_t i = 0; i < img->nroots; i++) put_next(&e, &p);
  for (size_t i = 0; i < img->nrecords && st == RL_OK; i++) st = put_record(&e, (uint32_t)i);
  if (st == RL_OK) put_sum(out, sum_at);
  return st;
}

rl_status rl_closure_encode(const rl_image *img, rl_buf *out)
{
  return encode(img, out, 0);
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
