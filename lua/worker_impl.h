/* Shared by the files of worker.h and luafn.h; private to them.
 *
 *   pool.c       its small blocks of memory
 *   worker.c     the state's life: allocator, hooks of the context, interrupts, the cache of images
 *   sandbox.c    what the state offers
 *   failure.c    from Lua errors to rl_error
 *   luafn.c      rl_fn over Lua functions; opening a chain of them
 *   operator.c   one fused segment as an rl_pull
 *   library.c    what generated code calls; keyed.c, grouped.c: the part of it for aggregation by key
 *   badness.c    records that are diverted
 *   recognise.c  what a function's bytecode tells; tokens.c: words of a text
 *   records.c    steps that need no Lua
 *   badness.c    records that are diverted */
#ifndef RL_LUA_WORKER_IMPL_H
#define RL_LUA_WORKER_IMPL_H

#include <lua.h>
#include <signal.h>

#include "pool.h"
#include "producer.h"
#include "worker.h"

#define RL_BAD_SAMPLES 3 /* bad records that the log shows */

typedef struct rl_badness {
  int64_t count;
  int nsamples;
  rl_buf samples; /* encoded: "map at job.lua:3: what went wrong: the record" each */
} rl_badness;

struct rl_worker {
  const rl_worker_config *config;
  lua_State *L;        /* NULL when it could not be made */
  rl_pool pool;
  size_t used;         /* bytes the state holds */
  bool refused;        /* memory was asked for and refused, and none was given since */
  bool exhausted;      /* ran out of memory: to be discarded */
  const rl_task *task; /* NULL between tasks */
  uint64_t attempts;   /* begun so far */
  int64_t begun_ns;    /* of the running attempt; monotonic */
  uint64_t epoch;      /* up to which broadcasts' copies were dropped */
  rl_badness bad;      /* of the running attempt */
  rl_outboxes outboxes; /* what it has sent to Kafka; in a receiver, which has no attempts, what that has */
  lua_State *engine;   /* the coroutine of the operator that runs; it is not the user's to yield from */
  rl_buf trace;        /* kept by rl_worker_traceback for rl_worker_fail */
  rl_buf where;        /* likewise: "job.lua:3" */

  /* Read by the signal handler. */
  lua_State *volatile running;
  volatile sig_atomic_t interrupted; /* an rl_status, 0: no */
};

static inline rl_worker *rl_worker_of(lua_State *L) { return *(rl_worker **)lua_getextraspace(L); }

/* Raised in place of an error value when the cause is kept elsewhere: in the operator, or as an interrupt. */
extern const char rl_raised;
int rl_raise(lua_State *L);

/* lua_resume with `co` published as the running coroutine; *from* is what ran before. */
int rl_worker_resume(rl_worker *w, lua_State *co, int nargs, int *nresults);
/* lua_resetthread, published likewise: runs what is still to be closed. The error value is left on co. */
int rl_worker_reset(rl_worker *w, lua_State *co);
/* To be called when a published coroutine has returned to L: an interrupt goes on there. */
void rl_worker_check_interrupt(lua_State *L);

/* A bounded cache in the registry, under the address `cache`: what was not used since `limit` other entries came may
 * be gone. get: replaces the key on top by its value (nil when absent) and tells whether there is one. put: pops key
 * and value. */
bool rl_recent_get(lua_State *L, const void *cache);
void rl_recent_put(lua_State *L, const void *cache, lua_Integer limit);

/* Sandbox, in two parts: first the functions that are closed or replaced, then (what travels by name being
 * registered) the tables made read-only. */
void rl_sandbox_functions(lua_State *L);
void rl_sandbox_freeze(lua_State *L);

/* Registers what generated code calls and loads the code generator. */
void rl_luafn_prepare(lua_State *L);

/* Pushes the text of the error value at `index`: a table without __tostring is shown as records are. May raise. */
void rl_failure_push_text(lua_State *L, int index);

/* badness.c: what generated code calls (rille.guard) for a bad record; a new attempt; the report of one that went well. */
int rl_badness_add(lua_State *L);
void rl_badness_begin(rl_worker *w);
void rl_badness_report(rl_worker *w, const rl_task *task);

/* Appends the user's frames of a thread to `trace`, the first one's "file:line" to `where`. Returns the current line
 * of the innermost generated function, 0 if there is none. */
int rl_failure_frames(lua_State *L, rl_buf *trace, rl_buf *where);

#endif
