#include <string.h>

#include "base/mem.h"
#include "capture_internal.h"

rl_image *rl_image_new(const rl_buf *data, size_t *at, size_t nrecords, size_t nroots, uint32_t script)
{
  static _Atomic uint64_t last_id;
  rl_bytes *bytes = rl_bytes_from(data->p, data->n);
  if (!bytes) {
    rl_free(at);
    return NULL;
  }
  rl_image *img = RL_NEW(rl_image);
  atomic_init(&img->refs, 1);
  img->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
  img->data = bytes;
  img->at = at;
  img->nrecords = nrecords;
  img->nroots = nroots;
  img->script = script;
  return img;
}

rl_image *rl_image_ref(rl_image *img)
{
  atomic_fetch_add_explicit(&img->refs, 1, memory_order_relaxed);
  return img;
}

void rl_image_unref(rl_image *img)
{
  if (img && atomic_fetch_sub_explicit(&img->refs, 1, memory_order_acq_rel) == 1) {
    for (size_t i = 0; i < img->nshared; i++) rl_shared_unref(img->shared[i]);
    rl_free(img->shared);
    rl_bytes_unref(img->data);
    rl_free(img->at);
    rl_free(img);
  }
}

uint64_t rl_image_id(const rl_image *img)
{
  return img->id;
}

uint32_t rl_image_script(const rl_image *img)
{
  return img->script;
}

size_t rl_image_size(const rl_image *img)
{
  return img->data->n + img->nrecords * sizeof *img->at;
}

void rl_image_put_u8(rl_buf *out, uint8_t x)
{
  rl_buf_putc(out, (char)x);
}

void rl_image_put_u32(rl_buf *out, uint32_t x)
{
  rl_buf_add(out, &x, sizeof x);
}

void rl_image_put_u64(rl_buf *out, uint64_t x)
{
  rl_buf_add(out, &x, sizeof x);
}

void rl_image_put_bytes(rl_buf *out, const char *p, size_t n)
{
  rl_image_put_u64(out, n);
  if (n > 0) {
    rl_buf_add(out, p, n);
  }
}

uint8_t rl_get_u8(const char **p)
{
  return (uint8_t)*(*p)++;
}

static void get(const char **p, void *to, size_t n)
{
  memcpy(to, *p, n);
  *p += n;
}

uint32_t rl_get_u32(const char **p)
{
  uint32_t x;
  get(p, &x, sizeof x);
  return x;
}

uint64_t rl_get_u64(const char **p)
{
  uint64_t x;
  get(p, &x, sizeof x);
  return x;
}

const char *rl_get_bytes(const char **p, size_t *n)
{
  *n = (size_t)rl_get_u64(p);
  const char *bytes = *p;
  *p += *n;
  return bytes;
}

rl_coded rl_get_coded(const char **p)
{
  rl_coded v = {.tag = (rl_tag)rl_get_u8(p)};
  switch (v.tag) {
    case RL_V_INT:
      get(p, &v.i, sizeof v.i);
      break;
    case RL_V_FLOAT:
      get(p, &v.f, sizeof v.f);
      break;
    case RL_V_STRING:
      v.s = rl_get_bytes(p, &v.n);
      break;
    case RL_V_RECORD:
      v.record = rl_get_u32(p);
      break;
    case RL_V_NIL:
    case RL_V_FALSE:
    case RL_V_TRUE:
      break;
  }
  return v;
}

const char *rl_image_at(const rl_image *img, uint32_t record, rl_record *kind)
{
  const char *p = img->data->data + img->at[record];
  *kind = (rl_record)rl_get_u8(&p);
  return p;
}

/* The bytes of a string, wherever they lie. */
static const char *string_of(const rl_image *img, const rl_coded *v, size_t *n)
{
  *n = v->n;
  if (v->tag == RL_V_RECORD) {
    rl_record kind;
    const char *p = rl_image_at(img, v->record, &kind);
    return rl_get_bytes(&p, n);
  }
  return v->tag == RL_V_STRING ? v->s : "";
}

static void visit_function(const rl_image *img, const char *p, void (*visit)(void *user, const rl_image_fn *fn),
                           void *user)
{
  uint32_t path[RL_PATH_MAX];
  rl_image_fn fn = {.path = path};
  rl_coded source = rl_get_coded(&p);
  fn.source = string_of(img, &source, &fn.source_n);
  fn.line = (int)rl_get_u32(&p);
  uint32_t text = rl_get_u32(&p);
  if (text != RL_NO_RECORD) {
    rl_record kind;
    const char *t = rl_image_at(img, text, &kind);
    fn.text = rl_get_bytes(&t, &fn.text_n);
  }
  fn.npath = rl_get_u32(&p);
  for (size_t i = 0; i < fn.npath; i++) {
    path[i] = rl_get_u32(&p);
  }
  visit(user, &fn);
}

void rl_image_functions(const rl_image *img, void (*visit)(void *user, const rl_image_fn *fn), void *user)
{
  for (size_t i = 0; i < img->nrecords; i++) {
    rl_record kind;
    const char *p = rl_image_at(img, (uint32_t)i, &kind);
    if (kind == RL_R_FUNCTION) {
      visit_function(img, p, visit, user);
    }
  }
}
