/* Reading a dumped Lua function (lua_dump, Lua 5.4): the tree of prototypes with what the engine wants to know of each.
 *
 * Only dumps made in this process are read (never bytes from disk or network), but the reader checks every length all
 * the same. */
#ifndef RL_LUA_PROTO_H
#define RL_LUA_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

typedef struct rl_upvaldesc {
  const char *name; /* "" when stripped */
  bool instack;     /* a local of the enclosing function, else an upvalue of it */
  uint8_t index;
} rl_upvaldesc;

typedef struct rl_constant {
  enum { RL_K_NIL, RL_K_FALSE, RL_K_TRUE, RL_K_INT, RL_K_FLOAT, RL_K_STRING } type;
  int64_t i;
  double f;
  const char *s; /* not NUL-terminated */
  size_t n;
} rl_constant;

typedef struct rl_proto rl_proto;
struct rl_proto {
  const char *source; /* as in the dump, or the parent's when the dump left it out; NULL when stripped */
  size_t source_n;
  int line_defined, last_line;
  int num_params;
  bool is_vararg;
  int max_stack;
  const uint32_t *code;
  size_t ncode;
  rl_constant *k;
  size_t nk;
  rl_upvaldesc *upvals;
  size_t nupvals;
  rl_proto **protos;
  size_t nprotos;
  const char *body; /* the bytes of this prototype in the dump, from its source name to its end */
  size_t body_n;
};

/* Parses a dump. All pointers live in *out's own memory (strings are copied). RL_EUNSUPPORTED when the header is not
 * this Lua's. */
rl_status rl_proto_read(const char *dump, size_t n, rl_proto **out);
void rl_proto_delete(rl_proto *p);

/* Appends a dump of this prototype alone, as lua_dump would give it of a function made from it: a nested one gets the
 * source name that it shares with the outermost. */
void rl_proto_cut(const rl_proto *p, rl_buf *out);

/* Number of values every reachable return of the function gives, or -1 when it varies or cannot be told (tail calls,
 * varargs, open calls). A function that can run off its end returns 0 there. Unreachable instructions (the implicit
 * return behind a `return`) do not count. */
int rl_proto_returns(const rl_proto *p);

/* Does this function, or one nested in it, assign upvalue `index` of this function? */
bool rl_proto_assigns_upvalue(const rl_proto *p, size_t index);

/* Calls `visit` for each global name the function or one nested in it reads or writes (names of fields of its _ENV
 * upvalue, also by way of _G), each once. `dynamic` tells that _ENV is also used in other ways (passed on, indexed by a non-constant). */
void rl_proto_globals(const rl_proto *p, void (*visit)(void *user, const char *name, size_t n, bool assigned),
                      void *user, bool *dynamic);

/* Does the function, or one nested in it, look up globals by names that it works out, as in _G[name]? */
bool rl_proto_computes_globals(const rl_proto *p);

/* The same as rl_proto_globals for the fields of one upvalue: `local G = _G` makes globals fields of another upvalue than _ENV, and a
 * stripped function has no names. In both functions `visit` must return (no Lua error may leave it), and `name` is
 * valid during the call. `visit` and `dynamic` may be NULL. */
void rl_proto_fields(const rl_proto *p, size_t index,
                     void (*visit)(void *user, const char *name, size_t n, bool assigned), void *user, bool *dynamic);

/* Calls `visit` for each name that the function or one nested in it hands to the global `require` as a constant. Names
 * may come more than once. */
void rl_proto_requires(const rl_proto *p, void (*visit)(void *user, const char *name, size_t n), void *user);

#endif
