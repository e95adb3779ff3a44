#include "recognise.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "dump.h"
#include "proto.h"
#include "values.h"

#define MAX_TEXT 300       /* of one expression */
#define MAX_EXPRESSIONS 16 /* of one function */
#define MAX_CODE 64        /* instructions of a function that is looked at */

/* Instructions of Lua 5.4 that occur in expressions: op 7 bits, A 8, k 1, B 8, C 8. */
enum {
  OP_MOVE = 0, OP_LOADI, OP_LOADF, OP_LOADK,
  OP_LOADFALSE = 5, OP_LFALSESKIP, OP_LOADTRUE, OP_LOADNIL,
  OP_GETTABLE = 12, OP_GETI, OP_GETFIELD,
  OP_SELF = 20, OP_ADDI, OP_ADDK,
  OP_BXORK = 31, OP_SHRI, OP_SHLI, OP_ADD,
  OP_SHR = 45, OP_MMBIN, OP_MMBINI, OP_MMBINK, OP_UNM, OP_BNOT, OP_NOT, OP_LEN, OP_CONCAT,
  OP_JMP = 56, OP_EQ, OP_LT, OP_LE, OP_EQK, OP_EQI, OP_LTI, OP_LEI, OP_GTI, OP_GEI,
  OP_TAILCALL = 69, OP_RETURN, OP_RETURN0, OP_RETURN1,
};

static unsigned op_of(uint32_t i) { return i & 0x7f; }
static unsigned a_of(uint32_t i) { return i >> 7 & 0xff; }
static bool k_of(uint32_t i) { return i >> 15 & 1; }
static unsigned b_of(uint32_t i) { return i >> 16 & 0xff; }
static unsigned c_of(uint32_t i) { return i >> 24; }
static int signed_b(uint32_t i) { return (int)b_of(i) - 127; }
static int signed_c(uint32_t i) { return (int)c_of(i) - 127; }
static unsigned bx_of(uint32_t i) { return i >> 15; }
static int signed_bx(uint32_t i) { return (int)bx_of(i) - 65535; }
static int jump_of(uint32_t i) { return (int)(i >> 7) - ((1 << 24) - 1); }

/* Registers hold what was worked out so far, as text. An absent text means: not known, give up when it is used. */
typedef struct expression {
  char *text;
  bool scalar; /* surely neither nil nor a table */
} expression;

typedef struct machine {
  const rl_proto *p;
  size_t pc;
  expression reg[256];
  expression out[MAX_EXPRESSIONS];
  int n; /* results; 0 until the return */
} machine;

/* Takes over text. False when there is none or too much of it. */
static bool set(machine *m, unsigned reg, char *text, bool scalar)
{
  if (text && strlen(text) > MAX_TEXT) {
    rl_free(text);
    text = NULL;
  }
  rl_free(m->reg[reg].text);
  m->reg[reg] = (expression){text, scalar};
  return text != NULL;
}

static const char *get(const machine *m, unsigned reg)
{
  return m->reg[reg].text;
}

/* Constants -------------------------------------------------------------------------------------------------------- */

static char *quoted(const char *s, size_t n)
{
  if (n > MAX_TEXT / 4) return NULL;
  rl_buf b = {0};
  rl_buf_putc(&b, '"');
  for (size_t i = 0; i < n; i++) rl_buf_printf(&b, "\\%03u", (unsigned)(unsigned char)s[i]);
  rl_buf_putc(&b, '"');
  char *text = rl_strdup(rl_buf_cstr(&b));
  rl_buf_free(&b);
  return text;
}

/* Exact, and without a decimal point, which the locale may have its own idea of: 0.75 is 0x18000000000000p-53. */
static char *float_text(double f)
{
  if (!isfinite(f)) return NULL;
  int exponent;
  double fraction = frexp(fabs(f), &exponent);
  return rl_format("%s0x%" PRIx64 "p%d", signbit(f) ? "-" : "", (uint64_t)ldexp(fraction, 53), exponent - 53);
}

/* Negative numbers need no parentheses here: every operand gets them from the code generator or from `binary`. */
static char *constant_text(const machine *m, unsigned index)
{
  if (index >= m->p->nk) return NULL;
  const rl_constant *k = &m->p->k[index];
  switch (k->type) {
    case RL_K_FALSE: return rl_strdup("false");
    case RL_K_TRUE: return rl_strdup("true");
    case RL_K_INT: return k->i == INT64_MIN ? NULL : rl_format("%" PRId64, k->i);
    case RL_K_FLOAT: return float_text(k->f);
    case RL_K_STRING: return quoted(k->s, k->n);
    case RL_K_NIL: return NULL;
  }
  return NULL;
}

static bool load_constant(machine *m, unsigned reg, char *text)
{
  return set(m, reg, text, true);
}

/* Operators -------------------------------------------------------------------------------------------------------- */

static const char *const arithmetic[] = {"+", "-", "*", "%", "^", "/", "//", "&", "|", "~", "<<", ">>"};

/* The operator of an instruction with a constant (ADDK to BXORK) or with two registers (ADD to SHR). */
static const char *operator_of(unsigned op)
{
  return op >= OP_ADD ? arithmetic[op - OP_ADD] : arithmetic[op - OP_ADDK];
}

static char *binary(const char *a, const char *op, const char *b)
{
  return a && b ? rl_format("((%s) %s (%s))", a, op, b) : NULL;
}

static bool with_constant(machine *m, uint32_t i)
{
  char *k = constant_text(m, c_of(i));
  bool ok = set(m, a_of(i), binary(get(m, b_of(i)), operator_of(op_of(i)), k), true);
  rl_free(k);
  return ok;
}

static bool with_immediate(machine *m, uint32_t i)
{
  char n[16];
  snprintf(n, sizeof n, "%d", signed_c(i));
  const char *r = get(m, b_of(i));
  switch (op_of(i)) {
    case OP_ADDI: return set(m, a_of(i), binary(r, "+", n), true);
    case OP_SHRI: return set(m, a_of(i), binary(r, ">>", n), true);
    default: return set(m, a_of(i), binary(n, "<<", r), true);
  }
}

static bool unary(machine *m, uint32_t i, const char *op)
{
  const char *r = get(m, b_of(i));
  return set(m, a_of(i), r ? rl_format("(%s (%s))", op, r) : NULL, true);
}

static bool concatenation(machine *m, uint32_t i)
{
  rl_buf b = {0};
  bool ok = true;
  rl_buf_putc(&b, '(');
  for (unsigned j = 0; ok && j < b_of(i) && a_of(i) + j < 256; j++) {
    const char *r = get(m, a_of(i) + j);
    ok = r && b.n <= MAX_TEXT;
    if (ok) rl_buf_printf(&b, "%s(%s)", j > 0 ? " .. " : "", r);
  }
  rl_buf_putc(&b, ')');
  ok = set(m, a_of(i), ok ? rl_strdup(rl_buf_cstr(&b)) : NULL, true);
  rl_buf_free(&b);
  return ok;
}

static bool field(machine *m, uint32_t i)
{
  const char *table = get(m, b_of(i));
  char *key = NULL;
  if (op_of(i) == OP_GETI)
    key = rl_format("%u", c_of(i));
  else if (op_of(i) == OP_GETTABLE)
    key = rl_strdup(get(m, c_of(i)));
  else
    key = constant_text(m, c_of(i));
  bool ok = set(m, a_of(i), table && key ? rl_format("(%s)[%s]", table, key) : NULL, false);
  rl_free(key);
  return ok;
}

/* Comparisons ------------------------------------------------------------------------------------------------------ */

static char *compared(const machine *m, uint32_t i)
{
  static const char *const ops[] = {"==", "<", "<=", "==", "==", "<", "<=", ">", ">="};
  const char *op = ops[op_of(i) - OP_EQ], *a = get(m, a_of(i));
  char n[16];
  snprintf(n, sizeof n, "%d", signed_b(i));
  switch (op_of(i)) {
    case OP_EQ:
    case OP_LT:
    case OP_LE: return binary(a, op, get(m, b_of(i)));
    case OP_EQK: {
      char *k = constant_text(m, b_of(i)), *text = binary(a, op, k);
      rl_free(k);
      return text;
    }
    default: return binary(a, op, n);
  }
}

/* A comparison as a value: test, jump over the next, load false and skip, load true. */
static bool comparison(machine *m, uint32_t i)
{
  const uint32_t *next = m->p->code + m->pc;
  if (m->pc + 3 > m->p->ncode || op_of(next[0]) != OP_JMP || jump_of(next[0]) != 1) return false;
  if (op_of(next[1]) != OP_LFALSESKIP || op_of(next[2]) != OP_LOADTRUE || a_of(next[1]) != a_of(next[2])) return false;
  m->pc += 3;
  char *text = compared(m, i);
  if (text && !k_of(i)) {
    char *negated = rl_format("(not %s)", text);
    rl_free(text);
    text = negated;
  }
  return set(m, a_of(next[1]), text, true);
}

/* Running ---------------------------------------------------------------------------------------------------------- */

static bool finish(machine *m, unsigned first, unsigned n)
{
  if (n < 1 || n > MAX_EXPRESSIONS || first + n > 256) return false;
  for (unsigned j = 0; j < n; j++) {
    if (!get(m, first + j)) return false;
    m->out[j] = (expression){rl_strdup(get(m, first + j)), m->reg[first + j].scalar};
    m->n++;
  }
  return true;
}

static bool move(machine *m, uint32_t i)
{
  return set(m, a_of(i), rl_strdup(get(m, b_of(i))), m->reg[b_of(i)].scalar);
}

/* One instruction; false: this is no plain expression. */
static bool step(machine *m)
{
  uint32_t i = m->p->code[m->pc++];
  unsigned op = op_of(i), a = a_of(i);
  if (op >= OP_ADDK && op <= OP_BXORK) return with_constant(m, i);
  if (op >= OP_ADD && op <= OP_SHR) return set(m, a, binary(get(m, b_of(i)), operator_of(op), get(m, c_of(i))), true);
  if (op >= OP_EQ && op <= OP_GEI) return comparison(m, i);
  switch (op) {
    case OP_MOVE: return b_of(i) == a || move(m, i);
    case OP_LOADI: return load_constant(m, a, rl_format("%d", signed_bx(i)));
    case OP_LOADF: return load_constant(m, a, float_text(signed_bx(i)));
    case OP_LOADK: return load_constant(m, a, constant_text(m, bx_of(i)));
    case OP_LOADFALSE: return load_constant(m, a, rl_strdup("false"));
    case OP_LOADTRUE: return load_constant(m, a, rl_strdup("true"));
    case OP_GETTABLE:
    case OP_GETI:
    case OP_GETFIELD: return field(m, i);
    case OP_ADDI:
    case OP_SHRI:
    case OP_SHLI: return with_immediate(m, i);
    case OP_MMBIN:
    case OP_MMBINI:
    case OP_MMBINK: return true; /* the metamethod's turn of the operation before */
    case OP_UNM: return unary(m, i, "-");
    case OP_BNOT: return unary(m, i, "~");
    case OP_NOT: return unary(m, i, "not");
    case OP_LEN: return unary(m, i, "#");
    case OP_CONCAT: return concatenation(m, i);
    case OP_RETURN: return finish(m, a, b_of(i) - 1);
    case OP_RETURN1: return finish(m, a, 1);
    default: return false;
  }
}

static void run(machine *m)
{
  for (int j = 0; j < m->p->num_params; j++) set(m, (unsigned)j, rl_format("$%d", j + 1), false);
  while (m->n == 0 && m->pc < m->p->ncode)
    if (!step(m)) break;
}

static void free_machine(machine *m)
{
  for (size_t j = 0; j < 256; j++) rl_free(m->reg[j].text);
  for (int j = 0; j < m->n; j++) rl_free(m->out[j].text);
  rl_free(m);
}

/* text:gmatch("pattern"): look the method up, load the constant, tail call. A capture would give other values than
 * the match. */
static const rl_constant *gmatch_pattern(const rl_proto *p)
{
  const uint32_t *c = p->code;
  if (p->num_params != 1 || p->is_vararg || p->ncode < 4 || p->ncode > 5) return NULL;
  if (op_of(c[0]) != OP_SELF || op_of(c[1]) != OP_LOADK || op_of(c[2]) != OP_TAILCALL) return NULL;
  if (b_of(c[0]) != 0 || !k_of(c[0]) || c_of(c[0]) >= p->nk || bx_of(c[1]) >= p->nk) return NULL;
  if (a_of(c[1]) != a_of(c[0]) + 2 || a_of(c[2]) != a_of(c[0]) || b_of(c[2]) != 3) return NULL;
  const rl_constant *method = &p->k[c_of(c[0])], *pattern = &p->k[bx_of(c[1])];
  if (method->type != RL_K_STRING || method->n != 6 || memcmp(method->s, "gmatch", 6) != 0) return NULL;
  if (pattern->type != RL_K_STRING || memchr(pattern->s, '(', pattern->n)) return NULL;
  return pattern;
}

/* Telling ---------------------------------------------------------------------------------------------------------- */

/* What was found out, kept where a Lua error cannot lose it. */
typedef struct findings {
  int parameters, returns;
  int n; /* expressions, each with a NUL behind it in `text` */
  bool scalar, has_pattern;
  rl_buf *text;
} findings;

static void find_expressions(const rl_proto *p, findings *f)
{
  const rl_constant *pattern = gmatch_pattern(p);
  if (pattern) {
    f->has_pattern = true;
    rl_buf_add(f->text, pattern->s, pattern->n);
    return;
  }
  if (p->is_vararg || p->ncode > MAX_CODE) return;
  machine *m = RL_NEW(machine);
  m->p = p;
  run(m);
  f->n = m->n;
  f->scalar = m->n > 0 && m->out[0].scalar;
  for (int j = 0; j < m->n; j++) rl_buf_add(f->text, m->out[j].text, strlen(m->out[j].text) + 1);
  free_machine(m);
}

static void look_at(lua_State *L, findings *f)
{
  rl_buf *dump = rl_lua_push_buf(L);
  rl_proto *p;
  rl_lua_dump(L, 1, dump);
  if (rl_proto_read(dump->p, dump->n, &p) == RL_OK) {
    f->parameters = p->is_vararg ? -1 : p->num_params;
    f->returns = rl_proto_returns(p);
    find_expressions(p, f);
    rl_proto_delete(p);
  }
  lua_pop(L, 1);
}

int rl_recognise(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  findings f = {.parameters = -1, .returns = -1};
  f.text = rl_lua_push_buf(L);
  if (!lua_iscfunction(L, 1)) look_at(L, &f);
  lua_pushinteger(L, f.parameters);
  lua_pushinteger(L, f.returns);
  if (f.n > 0) {
    lua_createtable(L, f.n, 0);
    const char *text = f.text->p;
    for (int j = 1; j <= f.n; j++, text += strlen(text) + 1) {
      lua_pushstring(L, text);
      lua_rawseti(L, -2, j);
    }
  } else {
    lua_pushnil(L);
  }
  lua_pushboolean(L, f.scalar);
  if (f.has_pattern)
    lua_pushlstring(L, f.text->n ? f.text->p : "", f.text->n);
  else
    lua_pushnil(L);
  return 5;
}
