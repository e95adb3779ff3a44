/* Worker states: one Lua state a worker thread, made by the context's hooks (core/run/context.h), sandboxed, counted
 * and interruptible.
 *
 * Sandbox: standard libraries with read-only tables; os.exit, os.setlocale, io.read, io.lines() and io.stdin raise;
 * print and io.write go to stdout. `require "rille"` gives the part of the library that makes sense in a worker:
 * tuple, null, once. Each image has its own _ENV over these (capture.h).
 *
 * Metering: the allocator counts and refuses beyond rille.task.maxMemory; a state that ran out is discarded after
 * the task. The interrupt (from a signal on this very thread) sets a hook on the running coroutine, found through
 * coroutine.create/wrap/resume of the sandbox, which publish it; the hook raises at every instruction until the
 * error has left all pcalls. */
#ifndef RL_LUA_WORKER_H
#define RL_LUA_WORKER_H

#include <lua.h>

#include "capture.h"
#include "run/context.h"

typedef struct rl_worker rl_worker;

/* What workers of one context share; outlives them. */
typedef struct rl_worker_config {
  int64_t max_bad_records; /* of one task; 0: no limit (which are diverted at all, the steps say) */
  int64_t max_memory;  /* bytes a state may hold; 0: no limit */
  int64_t patience_ns; /* from the begin of a task, while it waits for others; 0: no limit */
  char *package_path;  /* the driver's, for require inside closures */
  char *package_cpath;
} rl_worker_config;

/* hooks.user becomes `config` (kept by the caller). */
void rl_worker_hooks_init(rl_worker_hooks *hooks, rl_worker_config *config);

/* A state as workers have it, for a receiver's thread (its own loop, same sandbox). NULL when out of memory. */
rl_worker *rl_worker_new(const rl_worker_config *config);
void rl_worker_delete(rl_worker *w);
lua_State *rl_worker_state(rl_worker *w);
void rl_worker_interrupt(rl_worker *w, rl_status why); /* async-signal-safe, on the worker's thread */

/* Pushes the array of the image's restored roots, from the worker's cache or restored now. Protected call needed:
 * may raise. */
void rl_worker_push_image(rl_worker *w, rl_image *img);

/* lua_CFunction rille.once(name, f): what f returned, made once a state. For the driver's `rille` table too (under
 * the name "rille.once" for capture). */
int rl_lua_once(lua_State *L);

/* Message handler for lua_pcall: turns the error value into a string and keeps a traceback of the user's frames
 * (engine and library frames left out), to be put into an rl_error by rl_worker_fail. */
int rl_worker_traceback(lua_State *L);
/* After a failed lua_pcall/lua_resume (status, error value on top, popped): the thread's current error, with trace;
 * ENOMEM, ETIMEOUT, ECANCELLED told apart from EUSER. */
rl_status rl_worker_fail(rl_worker *w, lua_State *L, int status, const char *what);

#endif
