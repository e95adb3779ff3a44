/* The variables a function assigns, and the globals and fields it names, with those of the functions nested in it. */
#include "proto_impl.h"

#include <string.h>

#include "base/mem.h"

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
