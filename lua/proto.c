#include "proto_impl.h"

#include <limits.h>
#include <lua.h>
#include <string.h>

#include "base/mem.h"

/* Functions nest no deeper than the parser's limit of C levels (200), which bounds every recursion over the tree. */
#define MAX_DEPTH 250

/* What rl_proto_read hands out: the tree's root, with the copy of the dump that slices point into. */
typedef struct root {
  rl_proto p;
  char *dump;
} root;

/* Errors are sticky: after the first, everything reads as zero, and the caller looks once at the end. */
typedef struct reader {
  const char *p, *end;
  bool bad;
  int depth;
} reader;

static size_t left(const reader *r)
{
  return (size_t)(r->end - r->p);
}

static const char *take(reader *r, size_t n)
{
  if (r->bad || left(r) < n) {
    r->bad = true;
    return NULL;
  }
  const char *p = r->p;
  r->p += n;
  return p;
}

static uint8_t take_byte(reader *r)
{
  const char *p = take(r, 1);
  return p ? (uint8_t)*p : 0;
}

/* Seven bits a byte, the highest first; the last byte has its top bit set. */
static size_t take_varint(reader *r, size_t limit)
{
  size_t x = 0;
  for (;;) {
    uint8_t b = take_byte(r);
    if (r->bad || x > (limit >> 7)) {
      r->bad = true;
      return 0;
    }
    x = (x << 7) | (b & 0x7f);
    if (b & 0x80) {
      break;
    }
  }
  if (x > limit) {
    r->bad = true;
    return 0;
  }
  return x;
}

static int take_int(reader *r)
{
  return (int)take_varint(r, INT_MAX);
}

/* A number of elements of at least `least` bytes each: more than the rest of the dump can hold is refused before
 * anything is allocated. */
static size_t take_count(reader *r, size_t least)
{
  size_t n = (size_t)take_int(r);
  if (n > left(r) / least) {
    r->bad = true;
    return 0;
  }
  return n;
}

static const char *take_string(reader *r, size_t *n)
{
  size_t size = take_varint(r, SIZE_MAX / 2);
  *n = size ? size - 1 : 0;
  return size ? take(r, size - 1) : NULL;
}

static void read_code(reader *r, rl_proto *p)
{
  size_t n = take_count(r, sizeof(uint32_t));
  const char *bytes = take(r, n * sizeof(uint32_t));
  if (!bytes || n == 0) {
    r->bad = true; /* every function ends in a return */
    return;
  }
  uint32_t *code = rl_calloc(n, sizeof *code);
  memcpy(code, bytes, n * sizeof *code);
  p->code = code;
  p->ncode = n;
}

static void read_fixed(reader *r, void *to, size_t n)
{
  const char *bytes = take(r, n);
  if (bytes) {
    memcpy(to, bytes, n);
  }
}

static void read_constant(reader *r, rl_constant *k)
{
  switch (take_byte(r)) {
    case 0x00:
      k->type = RL_K_NIL;
      break;
    case 0x01:
      k->type = RL_K_FALSE;
      break;
    case 0x11:
      k->type = RL_K_TRUE;
      break;
    case 0x03:
      k->type = RL_K_INT;
      read_fixed(r, &k->i, sizeof k->i);
      break;
    case 0x13:
      k->type = RL_K_FLOAT;
      read_fixed(r, &k->f, sizeof k->f);
      break;
    case 0x04:
    case 0x14:
      k->type = RL_K_STRING;
      k->s = take_string(r, &k->n);
      r->bad = r->bad || !k->s;
      break;
    default:
      r->bad = true;
  }
}

static void read_constants(reader *r, rl_proto *p)
{
  p->nk = take_count(r, 1);
  p->k = rl_calloc(p->nk, sizeof *p->k);
  for (size_t i = 0; i < p->nk && !r->bad; i++) {
    read_constant(r, &p->k[i]);
  }
}

static void read_upvalues(reader *r, rl_proto *p)
{
  p->nupvals = take_count(r, 3);
  if (p->nupvals > MAX_UPVALUES) {
    r->bad = true;
    p->nupvals = 0;
  }
  p->upvals = rl_calloc(p->nupvals, sizeof *p->upvals);
  for (size_t i = 0; i < p->nupvals; i++) {
    p->upvals[i].instack = take_byte(r) != 0;
    p->upvals[i].index = take_byte(r);
    take_byte(r); /* kind: of use to the compiler only */
  }
}

static void read_function(reader *r, rl_proto *p, const rl_proto *parent);

static void read_protos(reader *r, rl_proto *p)
{
  size_t n = take_count(r, 1);
  if (++r->depth > MAX_DEPTH) {
    r->bad = true;
  }
  p->protos = rl_calloc(n, sizeof(rl_proto *));
  for (size_t i = 0; i < n && !r->bad; i++) {
    p->protos[p->nprotos++] = RL_NEW(rl_proto);
    read_function(r, p->protos[i], p);
  }
  r->depth--;
}

/* Line numbers and locals are stepped over; of the debug part only the upvalues' names are kept. */
static void read_debug(reader *r, rl_proto *p)
{
  size_t ignored;
  take(r, take_count(r, 1));
  for (size_t n = take_count(r, 2); n > 0 && !r->bad; n--) {
    take_int(r);
    take_int(r);
  }
  for (size_t n = take_count(r, 3); n > 0 && !r->bad; n--) {
    take_string(r, &ignored);
    take_int(r);
    take_int(r);
  }
  size_t names = take_count(r, 1);
  if (names > p->nupvals) {
    r->bad = true;
  }
  for (size_t i = 0; i < p->nupvals; i++) {
    size_t n = 0;
    const char *name = i < names ? take_string(r, &n) : NULL;
    p->upvals[i].name = rl_strndup(name ? name : "", n);
  }
}

static void read_function(reader *r, rl_proto *p, const rl_proto *parent)
{
  p->body = r->p;
  p->source = take_string(r, &p->source_n);
  if (!p->source && parent) {
    p->source = parent->source;
    p->source_n = parent->source_n;
  }
  p->line_defined = take_int(r);
  p->last_line = take_int(r);
  p->num_params = take_byte(r);
  p->is_vararg = take_byte(r) != 0;
  p->max_stack = take_byte(r);
  read_code(r, p);
  read_constants(r, p);
  read_upvalues(r, p);
  read_protos(r, p);
  read_debug(r, p);
  p->body_n = (size_t)(r->p - p->body);
}

/* What lua_dump writes first: signature, version, format, conversion probe, sizes, and two numbers to compare. */
static size_t make_header(char *h)
{
  const lua_Integer i = 0x5678;
  const lua_Number f = 370.5;
  static const char fixed[] = LUA_SIGNATURE "\x54\x00\x19\x93\r\n\x1a\n";
  size_t n = sizeof fixed - 1;
  memcpy(h, fixed, n);
  h[n++] = (char)sizeof(uint32_t);
  h[n++] = (char)sizeof(lua_Integer);
  h[n++] = (char)sizeof(lua_Number);
  memcpy(h + n, &i, sizeof i);
  n += sizeof i;
  memcpy(h + n, &f, sizeof f);
  return n + sizeof f;
}

static rl_status read_header(reader *r)
{
  char expected[64];
  size_t n = make_header(expected);
  const char *bytes = take(r, n);
  if (!bytes) {
    return rl_fail(RL_EDATA, "a dumped Lua function is cut short in its header");
  }
  if (memcmp(bytes, expected, n) != 0) {
    return rl_fail(RL_EUNSUPPORTED, "a dumped Lua function is not of this Lua (%s)", LUA_RELEASE);
  }
  take_byte(r); /* number of upvalues, repeated in the function */
  return RL_OK;
}

/* As lua_dump writes sizes; the reverse of take_varint. */
static void put_varint(rl_buf *out, size_t x)
{
  char bytes[10];
  size_t at = sizeof bytes;
  bytes[--at] = (char)(0x80 | (x & 0x7f));
  while (x >>= 7) bytes[--at] = (char)(x & 0x7f);
  rl_buf_add(out, bytes + at, sizeof bytes - at);
}

void rl_proto_cut(const rl_proto *p, rl_buf *out)
{
  char header[64];
  const char no_source = (char)0x80;
  rl_buf_add(out, header, make_header(header));
  rl_buf_putc(out, (char)p->nupvals);
  size_t skipped = 0;
  if (p->body[0] == no_source && p->source) {
    put_varint(out, p->source_n + 1);
    rl_buf_add(out, p->source, p->source_n);
    skipped = 1;
  }
  rl_buf_add(out, p->body + skipped, p->body_n - skipped);
}

rl_status rl_proto_read(const char *dump, size_t n, rl_proto **out)
{
  reader r = {.p = dump, .end = dump + n};
  rl_status st = read_header(&r);
  if (st != RL_OK) {
    return st;
  }
  root *t = RL_NEW(root);
  t->dump = rl_alloc(n);
  memcpy(t->dump, dump, n);
  size_t at = (size_t)(r.p - dump);
  r.p = t->dump + at;
  r.end = t->dump + n;
  read_function(&r, &t->p, NULL);
  if (r.bad || r.p != r.end) {
    st = rl_fail(RL_EDATA, "a dumped Lua function is damaged at byte %zu of %zu", (size_t)(r.p - t->dump), n);
    rl_proto_delete(&t->p);
    return st;
  }
  *out = &t->p;
  return RL_OK;
}

static void free_parts(rl_proto *p)
{
  for (size_t i = 0; i < p->nprotos; i++) {
    free_parts(p->protos[i]);
    rl_free(p->protos[i]);
  }
  for (size_t i = 0; i < p->nupvals; i++) {
    rl_free((char *)p->upvals[i].name);
  }
  rl_free((uint32_t *)p->code);
  rl_free(p->k);
  rl_free(p->upvals);
  rl_free(p->protos);
}

void rl_proto_delete(rl_proto *p)
{
  if (p) {
    root *t = (root *)p; /* a root's first member */
    free_parts(p);
    rl_free(t->dump);
    rl_free(t);
  }
}
