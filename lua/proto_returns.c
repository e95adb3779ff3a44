/* How many values a function gives: a walk over what can be reached of its code. */
#include "proto_impl.h"

#include "base/mem.h"

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
