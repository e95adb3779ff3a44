#include "proto.h"

#include <limits.h>
#include <lua.h>
#include <string.h>

#include "base/mem.h"

/* Functions nest no deeper than the parser's limit of C levels (200), which bounds every recursion over the tree. */
#define MAX_DEPTH 250

#define MAX_UPVALUES 256

/* The opcodes that matter here, with their numbers in Lua 5.4. Fields of an instruction: op 7 bits, A 8, k 1, B 8, C 8;
 * or Bx (17 bits) behind A, or sJ (25 bits, with an offset) behind the opcode. */
enum {
  OP_LOADK = 3,
  OP_LOADKX = 4,
  OP_LFALSESKIP = 6,
  OP_LOADNIL = 8,
  OP_GETUPVAL = 9,
  OP_SETUPVAL = 10,
  OP_GETTABUP = 11,
  OP_GETTABLE = 12,
  OP_GETFIELD = 14,
  OP_SETTABUP = 15,
  OP_SETTABLE = 16,
  OP_SETFIELD = 18,
  OP_NEWTABLE = 19, /* the first of many that set their register A, */
  OP_MMBIN = 46,    /* but for three: this, */
  OP_MMBINK = 48,   /* the one between, and this, */
  OP_CONCAT = 53,   /* up to here */
  OP_JMP = 56,
  OP_EQ = 57, /* the first of the tests */
  OP_TESTSET = 67, /* the last of them */
  OP_CALL = 68,
  OP_TAILCALL = 69,
  OP_RETURN = 70,
  OP_RETURN0 = 71,
  OP_RETURN1 = 72,
  OP_FORLOOP = 73,
  OP_FORPREP = 74,
  OP_TFORPREP = 75,
  OP_TFORCALL = 76,
  OP_TFORLOOP = 77,
  OP_CLOSURE = 79,
  OP_VARARG = 80
};

#define JUMP_OFFSET ((1 << 24) - 1)

static unsigned op_of(uint32_t i)
{
  return i & 0x7f;
}

static unsigned a_of(uint32_t i)
{
  return (i >> 7) & 0xff;
}

static unsigned b_of(uint32_t i)
{
  return (i >> 16) & 0xff;
}

static unsigned c_of(uint32_t i)
{
  return i >> 24;
}

static int64_t bx_of(uint32_t i)
{
  return i >> 15;
}

static int64_t jump_of(uint32_t i)
{
  return (int64_t)(i >> 7) - JUMP_OFFSET;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

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

/* --- returns ------------------------------------------------------------------------------------------------------ */

/* Reachability: instructions seen, and those still to be looked at. */
typedef struct flow {
  const rl_proto *p;
  bool *seen;
  size_t *todo;
  size_t ntodo;
  bool bad; /* a jump out of the function */
} flow;

static void go_to(flow *f, int64_t pc)
{
  if (pc < 0 || pc >= (int64_t)f->p->ncode) {
    f->bad = true;
  } else if (!f->seen[pc]) {
    f->seen[pc] = true;
    f->todo[f->ntodo++] = (size_t)pc;
  }
}

static void follow(flow *f, size_t at)
{
  uint32_t i = f->p->code[at];
  unsigned op = op_of(i);
  int64_t next = (int64_t)at + 1;
  if (op >= OP_EQ && op <= OP_TESTSET) {
    go_to(f, next + 1);
  }
  switch (op) {
    case OP_LFALSESKIP:
      go_to(f, next + 1);
      return;
    case OP_JMP:
      go_to(f, next + jump_of(i));
      return;
    case OP_TFORPREP:
      go_to(f, next + bx_of(i));
      return;
    case OP_FORPREP:
      go_to(f, next + bx_of(i) + 1);
      break;
    case OP_FORLOOP:
    case OP_TFORLOOP:
      go_to(f, next - bx_of(i));
      break;
    default:
      break;
  }
  go_to(f, next);
}

/* Values given by the return at `i`: a number, or -1 for an open one; false when `i` is no return. */
static bool returned(uint32_t i, int *n)
{
  switch (op_of(i)) {
    case OP_RETURN0:
      *n = 0;
      return true;
    case OP_RETURN1:
      *n = 1;
      return true;
    case OP_RETURN:
      *n = (int)b_of(i) - 1;
      return true;
    case OP_TAILCALL:
      *n = -1;
      return true;
    default:
      return false;
  }
}

int rl_proto_returns(const rl_proto *p)
{
  flow f = {.p = p, .seen = rl_calloc(p->ncode, sizeof(bool)), .todo = rl_calloc(p->ncode, sizeof(size_t))};
  bool any = false;
  bool varies = false;
  int result = -1;
  go_to(&f, 0);
  while (f.ntodo > 0 && !varies && !f.bad) {
    size_t at = f.todo[--f.ntodo];
    int n;
    if (returned(p->code[at], &n)) {
      varies = n < 0 || (any && n != result);
      any = true;
      result = n;
    } else {
      follow(&f, at);
    }
  }
  rl_free(f.seen);
  rl_free(f.todo);
  return varies || f.bad ? -1 : result;
}

/* --- upvalues and globals ----------------------------------------------------------------------------------------- */

/* Which upvalues of a function are the variable that is being followed. */
typedef struct upset {
  bool on[MAX_UPVALUES];
} upset;

/* The upvalues of `inner` that are, through its enclosing function, those of `outer`. */
static bool upset_enter(upset *inner, const rl_proto *p, const upset *outer)
{
  bool any = false;
  memset(inner, 0, sizeof *inner);
  for (size_t i = 0; i < p->nupvals; i++) {
    inner->on[i] = !p->upvals[i].instack && outer->on[p->upvals[i].index];
    any = any || inner->on[i];
  }
  return any;
}

static bool assigns(const rl_proto *p, const upset *set)
{
  for (size_t pc = 0; pc < p->ncode; pc++) {
    if (op_of(p->code[pc]) == OP_SETUPVAL && set->on[b_of(p->code[pc])]) {
      return true;
    }
  }
  for (size_t i = 0; i < p->nprotos; i++) {
    upset inner;
    if (upset_enter(&inner, p->protos[i], set) && assigns(p->protos[i], &inner)) {
      return true;
    }
  }
  return false;
}

bool rl_proto_assigns_upvalue(const rl_proto *p, size_t index)
{
  upset set = {{false}};
  if (index >= p->nupvals) {
    return false;
  }
  set.on[index] = true;
  return assigns(p, &set);
}

typedef struct field {
  const char *name;
  size_t n;
  bool assigned;
} field;

typedef struct fields {
  field *v;
  size_t n, cap;
  bool dynamic;  /* used in other ways than by constant names */
  bool computed; /* indexed by a value */
} fields;

static void note_field(fields *f, const rl_proto *p, size_t k, bool assigned)
{
  if (k >= p->nk || p->k[k].type != RL_K_STRING) {
    f->dynamic = true;
    return;
  }
  const rl_constant *c = &p->k[k];
  for (size_t i = 0; i < f->n; i++) {
    if (f->v[i].n == c->n && memcmp(f->v[i].name, c->s, c->n) == 0) {
      f->v[i].assigned = f->v[i].assigned || assigned;
      return;
    }
  }
  f->v = rl_grow(f->v, &f->cap, f->n + 1, sizeof *f->v);
  f->v[f->n++] = (field){.name = c->s, .n = c->n, .assigned = assigned};
}

/* The constant that the instruction at `pc` loads into a register, or -1. */
static int64_t loaded_constant(const rl_proto *p, size_t pc, size_t *next)
{
  if (pc < p->ncode && op_of(p->code[pc]) == OP_LOADK) {
    *next = pc + 1;
    return bx_of(p->code[pc]);
  }
  if (pc + 1 < p->ncode && op_of(p->code[pc]) == OP_LOADKX) {
    *next = pc + 2;
    return (int64_t)(p->code[pc + 1] >> 7);
  }
  return -1;
}

/* Does the instruction set register `reg`? (Of calls and the like: it may.) */
static bool sets_register(uint32_t i, uint32_t reg)
{
  uint32_t op = op_of(i), a = a_of(i);
  switch (op) {
    case OP_SETUPVAL:
      return false;
    case OP_LOADNIL:
      return a <= reg && reg <= a + b_of(i);
    case OP_CALL:
    case OP_TAILCALL:
    case OP_TFORCALL:
    case OP_VARARG:
      return a <= reg;
    case OP_TESTSET:
    case OP_CLOSURE:
      return a == reg;
    default:
      break;
  }
  bool sets_a = op < OP_SETTABUP || (op >= OP_NEWTABLE && op <= OP_CONCAT && (op < OP_MMBIN || op > OP_MMBINK));
  return sets_a && a == reg;
}

/* Register `reg` holds the table from `pc` on: notes its fields until the register is set again. Jumps are passed over,
 * so a name too many may be noted. */
static void follow_register(fields *f, const rl_proto *p, size_t pc, uint32_t reg)
{
  for (; pc < p->ncode; pc++) {
    uint32_t i = p->code[pc];
    if (op_of(i) == OP_GETFIELD && b_of(i) == reg) {
      note_field(f, p, c_of(i), false);
    } else if (op_of(i) == OP_SETFIELD && a_of(i) == reg) {
      note_field(f, p, b_of(i), true);
    } else if ((op_of(i) == OP_GETTABLE && b_of(i) == reg) || (op_of(i) == OP_SETTABLE && a_of(i) == reg)) {
      f->computed = true;
    }
    if (sets_register(i, reg)) {
      return;
    }
  }
}

static bool is_name(const rl_proto *p, size_t k, const char *name)
{
  return k < p->nk && p->k[k].type == RL_K_STRING && p->k[k].n == strlen(name) &&
         memcmp(p->k[k].s, name, p->k[k].n) == 0;
}

/* A name longer than a short string, or behind the 256th constant, does not fit GETTABUP: the compiler loads table and
 * name into registers, one right behind the other, and the access follows (at once, for a read). */
static void note_indirect(fields *f, const rl_proto *p, size_t pc)
{
  size_t next;
  int64_t k = loaded_constant(p, pc + 1, &next);
  if (k < 0) {
    f->dynamic = true;
    follow_register(f, p, pc + 1, a_of(p->code[pc]));
    return;
  }
  uint32_t access = next < p->ncode ? p->code[next] : 0;
  bool read = op_of(access) == OP_GETTABLE && b_of(access) == a_of(p->code[pc]) &&
              c_of(access) == a_of(p->code[pc + 1]);
  f->dynamic = f->dynamic || !read;
  note_field(f, p, (size_t)k, !read);
}

static void collect(fields *f, const rl_proto *p, const upset *set)
{
  for (size_t pc = 0; pc < p->ncode; pc++) {
    uint32_t i = p->code[pc];
    switch (op_of(i)) {
      case OP_GETTABUP:
        if (set->on[b_of(i)]) {
          note_field(f, p, c_of(i), false);
          if (is_name(p, c_of(i), "_G")) {
            follow_register(f, p, pc + 1, a_of(i)); /* _G.name is a global as well */
          }
        }
        break;
      case OP_SETTABUP:
        if (set->on[a_of(i)]) {
          note_field(f, p, b_of(i), true);
        }
        break;
      case OP_GETUPVAL:
        if (set->on[b_of(i)]) {
          note_indirect(f, p, pc);
        }
        break;
      case OP_SETUPVAL:
        f->dynamic = f->dynamic || set->on[b_of(i)];
        break;
      default:
        break;
    }
  }
  for (size_t i = 0; i < p->nprotos; i++) {
    upset inner;
    if (upset_enter(&inner, p->protos[i], set)) {
      collect(f, p->protos[i], &inner);
    }
  }
}

static void visit_fields(const rl_proto *p, const upset *set,
                         void (*visit)(void *user, const char *name, size_t n, bool assigned), void *user,
                         bool *dynamic)
{
  fields f = {0};
  collect(&f, p, set);
  for (size_t i = 0; visit && i < f.n; i++) {
    visit(user, f.v[i].name, f.v[i].n, f.v[i].assigned);
  }
  if (dynamic) {
    *dynamic = f.dynamic;
  }
  rl_free(f.v);
}

static upset environments(const rl_proto *p)
{
  upset set = {{false}};
  for (size_t i = 0; i < p->nupvals; i++) {
    set.on[i] = strcmp(p->upvals[i].name, "_ENV") == 0;
  }
  return set;
}

void rl_proto_globals(const rl_proto *p, void (*visit)(void *user, const char *name, size_t n, bool assigned),
                      void *user, bool *dynamic)
{
  upset set = environments(p);
  visit_fields(p, &set, visit, user, dynamic);
}

bool rl_proto_computes_globals(const rl_proto *p)
{
  upset set = environments(p);
  fields f = {0};
  collect(&f, p, &set);
  rl_free(f.v);
  return f.computed;
}

void rl_proto_fields(const rl_proto *p, size_t index,
                     void (*visit)(void *user, const char *name, size_t n, bool assigned), void *user, bool *dynamic)
{
  upset set = {{false}};
  if (index < p->nupvals) {
    set.on[index] = true;
  }
  visit_fields(p, &set, visit, user, dynamic);
}

static bool reads_require(const rl_proto *p, uint32_t i)
{
  return op_of(i) == OP_GETTABUP && is_name(p, c_of(i), "require");
}

void rl_proto_requires(const rl_proto *p, void (*visit)(void *user, const char *name, size_t n), void *user)
{
  for (size_t pc = 0; pc < p->ncode; pc++) {
    size_t next;
    int64_t k = reads_require(p, p->code[pc]) ? loaded_constant(p, pc + 1, &next) : -1;
    if (k >= 0 && (size_t)k < p->nk && p->k[k].type == RL_K_STRING) {
      visit(user, p->k[k].s, p->k[k].n);
    }
  }
  for (size_t i = 0; i < p->nprotos; i++) {
    rl_proto_requires(p->protos[i], visit, user);
  }
}
