/* What the files of proto.h share, and no other: proto.c reads dumps and cuts them; proto_returns.c how many values a
 * function gives; proto_names.c the variables and globals it uses. */
#ifndef RL_LUA_PROTO_IMPL_H
#define RL_LUA_PROTO_IMPL_H

#include "proto.h"

/* Of one function: their numbers have 8 bits. */
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

static inline unsigned op_of(uint32_t i)
{
  return i & 0x7f;
}

static inline unsigned a_of(uint32_t i)
{
  return (i >> 7) & 0xff;
}

static inline unsigned b_of(uint32_t i)
{
  return (i >> 16) & 0xff;
}

static inline unsigned c_of(uint32_t i)
{
  return i >> 24;
}

static inline int64_t bx_of(uint32_t i)
{
  return i >> 15;
}

static inline int64_t jump_of(uint32_t i)
{
  return (int64_t)(i >> 7) - JUMP_OFFSET;
}

#endif
